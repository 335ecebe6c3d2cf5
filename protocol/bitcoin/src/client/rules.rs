//! The rules that a block header must keep, given the headers before it: proof of work, difficulty, time, version.
//!
//! As in Bitcoin Core's `CheckBlockHeader` and `ContextualCheckBlockHeader`, for every network; with BIP34, 65 and 66
//! as far as headers show them, and BIP94 on testnet4. Signet's solution is in the block, so headers can't show it.

use core::time::Duration;

use andon_kernel::UnixTime;
use bitcoin::block::Header;
use bitcoin::params::Params;
use bitcoin::{BlockHash, CompactTarget, Network, Target};

/// A header this far ahead of our clock is not yet valid.
const MAX_FUTURE: Duration = Duration::from_secs(2 * 60 * 60);

/// Times whose median the next block's time must exceed.
const MEDIAN_TIMES: usize = 11;

/// How far the first block of testnet4's periods may lie before the one in front of it (BIP94).
const MAX_TIMEWARP: u32 = 600;

/// Why a header does not follow from those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderError {
    /// Wrong difficulty, or a hash above its target.
    ProofOfWork,
    /// Time or version.
    Forbidden,
    /// Too far ahead of our clock: not yet valid, and no fault.
    NotYet,
    /// What the rules look back at is no longer at hand.
    OutOfReach,
}

/// The ancestors of a header, by height: along its own branch.
pub(super) trait Ancestors {
    /// The ancestor at `height`, if it is at hand.
    fn at(&self, height: u32) -> Option<&Header>;

    /// The [`regular_bits`] of the parent, if they are known.
    fn regular_bits(&self) -> Option<CompactTarget>;
}

/// The difficulty that a block passes on within its period: its own, or, if it was mined under testnet's exception for
/// slow blocks, its parent's. Kept with each header, so that no rule has to walk back over a run of such blocks.
pub(super) fn regular_bits(
    params: &Params,
    header: &Header,
    height: u32,
    parents: Option<CompactTarget>,
) -> Option<CompactTarget> {
    let exception = params.allow_min_difficulty_blocks
        && header.bits == params.max_attainable_target.to_compact_lossy()
        && !is_retarget(params, height);
    if exception { parents } else { Some(header.bits) }
}

/// Checks `header` as the block at `height`, whose ancestors are `ancestors`.
pub(super) fn check(
    params: &Params,
    header: &Header,
    hash: BlockHash,
    height: u32,
    ancestors: &impl Ancestors,
    now: UnixTime,
) -> Result<(), HeaderError> {
    let parent = ancestors.at(height - 1).ok_or(HeaderError::OutOfReach)?;
    if header.bits != required_bits(params, header.time, height, parent, ancestors)? {
        return Err(HeaderError::ProofOfWork);
    }
    if !Target::from_compact(header.bits).is_met_by(hash) {
        return Err(HeaderError::ProofOfWork);
    }
    if header.time <= median_time(height, ancestors)? {
        return Err(HeaderError::Forbidden);
    }
    if params.network == Network::Testnet4
        && is_retarget(params, height)
        && header.time < parent.time.saturating_sub(MAX_TIMEWARP)
    {
        return Err(HeaderError::Forbidden);
    }
    let version = header.version.to_consensus();
    let floors = [(params.bip34_height, 2), (params.bip66_height, 3), (params.bip65_height, 4)];
    if floors.iter().any(|&(from, least)| height >= from && version < least) {
        return Err(HeaderError::Forbidden);
    }
    if u64::from(header.time) > (now + MAX_FUTURE).as_secs() {
        return Err(HeaderError::NotYet);
    }
    Ok(())
}

fn is_retarget(params: &Params, height: u32) -> bool {
    u64::from(height).is_multiple_of(params.difficulty_adjustment_interval())
}

fn required_bits(
    params: &Params,
    time: u32,
    height: u32,
    parent: &Header,
    ancestors: &impl Ancestors,
) -> Result<CompactTarget, HeaderError> {
    let interval = params.difficulty_adjustment_interval() as u32;
    if is_retarget(params, height) {
        let first = ancestors.at(height - interval).ok_or(HeaderError::OutOfReach)?;
        // The clamp that follows makes a negative time span and one of zero the same.
        let timespan = u64::from(parent.time).saturating_sub(first.time.into());
        let base = if params.network == Network::Testnet4 { first.bits } else { parent.bits };
        return Ok(CompactTarget::from_next_work_required(base, timespan, params));
    }
    if !params.allow_min_difficulty_blocks {
        return Ok(parent.bits);
    }
    let limit = params.max_attainable_target.to_compact_lossy();
    if u64::from(time) > u64::from(parent.time) + 2 * params.pow_target_spacing {
        return Ok(limit);
    }
    ancestors.regular_bits().ok_or(HeaderError::OutOfReach)
}

/// The median time of the (up to) eleven blocks before `height`.
fn median_time(height: u32, ancestors: &impl Ancestors) -> Result<u32, HeaderError> {
    let count = MEDIAN_TIMES.min(height as usize);
    let mut times = [0; MEDIAN_TIMES];
    for (back, time) in times[..count].iter_mut().enumerate() {
        *time = ancestors.at(height - 1 - back as u32).ok_or(HeaderError::OutOfReach)?.time;
    }
    times[..count].sort_unstable();
    Ok(times[count / 2])
}
