//! The rules that a block header must keep, given the headers before it: difficulty, proof of work, time, version.
//!
//! As in Bitcoin Core's `CheckBlockHeader` and `ContextualCheckBlockHeader`, for every network; with BIP34, 65 and 66
//! as far as headers show them, and BIP94 on testnet4. Signet's solution is in the block, so headers can't show it.

use core::fmt;
use core::time::Duration;

use andon_kernel::UnixTime;
use bitcoin::block::Header;
use bitcoin::params::Params;
use bitcoin::{BlockHash, CompactTarget, Network, Target, Work};

use super::Lineage;

/// Blocks from one change of the difficulty to the next.
pub const PERIOD: u32 = 2016;

/// A header this far ahead of our clock is not yet valid.
const MAX_FUTURE: Duration = Duration::from_secs(2 * 60 * 60);

/// How far the first block of testnet4's periods may lie before the one in front of it (BIP94).
const MAX_TIMEWARP: u32 = 600;

/// Why a header does not follow from those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeaderError {
    /// It claims another difficulty than the rules demand.
    Difficulty,
    /// Its hash is above the target that it claims.
    ProofOfWork,
    /// Its time is not above the median of the eleven blocks before it.
    TimeTooEarly,
    /// It begins a period more than 600 seconds before the block in front of it (BIP94).
    TimeWarp,
    /// Its version is one that was given up at a lower height (BIP34, BIP66, BIP65).
    Version,
    /// It is more than two hours ahead of our clock: not yet valid, and no fault.
    NotYet,
    /// What the rules look back at lies below the first header that is known, and no known block proves it.
    OutOfReach,
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Difficulty => "it claims another difficulty than is due",
            Self::ProofOfWork => "its hash is above its target",
            Self::TimeTooEarly => "its time is not above the median of the eleven blocks before it",
            Self::TimeWarp => "it begins a period too long before the block in front of it",
            Self::Version => "its version is obsolete",
            Self::NotYet => "it is more than two hours ahead of our clock",
            Self::OutOfReach => "what it must be checked against is not known",
        })
    }
}

impl core::error::Error for HeaderError {}

/// A network's rules for headers.
#[derive(Clone, Debug)]
pub struct Rules {
    params: Params,
    /// The least difficulty, and so the greatest target.
    limit: CompactTarget,
    /// Heights from which a version is the least that is allowed.
    version_floors: [(u32, i32); 3],
}

impl Rules {
    /// Those of `network`.
    pub fn new(network: Network) -> Self {
        let params = Params::new(network);
        let limit = params.max_attainable_target.to_compact_lossy();
        // Regtest has them all from its first block on, as in Bitcoin Core.
        let height = |height: u32| if network == Network::Regtest { 1 } else { height };
        let version_floors = [
            (height(params.bip34_height), 2),
            (height(params.bip66_height), 3),
            (height(params.bip65_height), 4),
        ];
        Self { params, limit, version_floors }
    }

    /// Whose they are.
    pub const fn network(&self) -> Network {
        self.params.network
    }

    /// The network's first header.
    pub fn genesis(&self) -> Header {
        bitcoin::constants::genesis_block(&self.params).header
    }

    /// Seconds from one block to the next, as the difficulty is meant to keep them.
    pub const fn spacing(&self) -> u64 {
        self.params.pow_target_spacing
    }

    /// The least difficulty that a header may claim.
    pub const fn limit(&self) -> CompactTarget {
        self.limit
    }

    /// Checks `header` as the next one after `lineage`. `hash` is its hash. `proven`: a known block above has it among
    /// its ancestors, so that its time needs no check against times that are not known, nor against our clock.
    ///
    /// # Errors
    /// The first rule that it breaks: difficulty, proof of work, time, clock, version, in Bitcoin Core's order.
    pub(super) fn check(
        &self,
        lineage: &Lineage,
        header: &Header,
        hash: &BlockHash,
        now: UnixTime,
        proven: bool,
    ) -> Result<(), HeaderError> {
        let height = lineage.height() + 1;
        if header.bits != self.required_bits(lineage, header.time)? {
            return Err(HeaderError::Difficulty);
        }
        if !lineage.target_of(header.bits).is_met_by(*hash) {
            return Err(HeaderError::ProofOfWork);
        }
        match lineage.is_above_median(header.time) {
            Some(false) => return Err(HeaderError::TimeTooEarly),
            None if !proven => return Err(HeaderError::OutOfReach),
            _ => {}
        }
        if self.params.network == Network::Testnet4
            && height.is_multiple_of(PERIOD)
            && header.time < lineage.time().saturating_sub(MAX_TIMEWARP)
        {
            return Err(HeaderError::TimeWarp);
        }
        if !proven && u64::from(header.time) > (now + MAX_FUTURE).as_secs() {
            return Err(HeaderError::NotYet);
        }
        let version = header.version.to_consensus();
        if version < 4 && self.version_floors.iter().any(|&(from, least)| height >= from && version < least) {
            return Err(HeaderError::Version);
        }
        Ok(())
    }

    /// The difficulty that the block after `lineage` must have if its time is `time`.
    fn required_bits(&self, lineage: &Lineage, time: u32) -> Result<CompactTarget, HeaderError> {
        let params = &self.params;
        if (lineage.height() + 1).is_multiple_of(PERIOD) {
            let first = lineage.period_first();
            // The clamp that follows makes a negative time span and one of zero the same.
            let timespan = u64::from(lineage.time()).saturating_sub(first.time.into());
            let base = if params.network == Network::Testnet4 { first.bits } else { lineage.bits() };
            return Ok(CompactTarget::from_next_work_required(base, timespan, params));
        }
        if !params.allow_min_difficulty_blocks {
            return Ok(lineage.bits());
        }
        if u64::from(time) > u64::from(lineage.time()) + 2 * params.pow_target_spacing {
            return Ok(self.limit);
        }
        Ok(lineage.regular_bits())
    }

    /// The difficulty that a block passes on within its period: its own, or, if it was mined under testnet's exception
    /// for slow blocks, its parent's. Kept with each header, so that no rule has to walk back over a run of such blocks.
    pub(super) fn regular_bits(
        &self,
        bits: CompactTarget,
        height: u32,
        parents: CompactTarget,
    ) -> CompactTarget {
        let exception =
            self.params.allow_min_difficulty_blocks && bits == self.limit && !height.is_multiple_of(PERIOD);
        if exception { parents } else { bits }
    }

    /// The work that a header claims with its bits; `None` if they are no target, or one above the network's limit.
    pub fn claimed_work(&self, bits: CompactTarget) -> Option<Work> {
        let limit = Target::from_compact(self.limit);
        // Sizes above 32 bytes would overflow, and are above every limit.
        if bits.to_consensus() >> 24 > 32 {
            return None;
        }
        let target = Target::from_compact(bits);
        (target != Target::ZERO && target <= limit).then(|| target.to_work())
    }
}
