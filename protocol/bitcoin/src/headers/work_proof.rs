//! A chain of little work is asked for twice before any of it is kept: first to see that it has the work that is asked of
//! it, remembering almost nothing, then to take it. After Bitcoin Core's headers presync.
//!
//! Whoever mines a long chain at the least difficulty costs us no memory with it and no disk. In the first pass one salted
//! bit of every few hundredth header is remembered; in the second each of these bits must be the same again, and headers
//! are let go only with a buffer of many bits behind them. A peer that shows another chain the second time is found out.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt;

use andon_kernel::{Rng, UnixTime};
use bitcoin::block::Header;
use bitcoin::hashes::{Hash, siphash24};
use bitcoin::{BlockHash, Work};

use super::Lineage;
use super::rules::{HeaderError, Rules};

/// Headers from one remembered bit to the next, as in Bitcoin Core.
const COMMITMENT_PERIOD: u32 = 600;

/// Headers that are held back in the second pass: some 25 bits have been the same again when the first of them is let go.
const HELD_BACK: usize = 15_000;

/// Blocks a second that the rules for times allow at most: one in six of a chain may share a second.
const MAX_BLOCKS_PER_SECOND: u64 = 6;

/// A chain that one peer shows, from a known block on, and that must have more work than others before it is kept.
#[derive(Clone, Debug)]
pub struct WorkProof {
    rules: Rules,
    base: Lineage,
    goal: Work,
    /// Headers that it may have at most until it has the work.
    limit: u32,
    keys: (u64, u64),
    /// Which headers of each period are remembered.
    offset: u32,
    commitments: Bits,
    pass: Pass,
    /// Where it had the work.
    proven: Option<(u32, Work)>,
}

#[derive(Clone, Debug)]
enum Pass {
    First(Lineage),
    Second { tip: Lineage, held_back: VecDeque<Header>, reached: bool },
}

/// What to do after a message was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Ask for what follows [`WorkProof::last`].
    More,
    /// It has the work. Ask for it again, from its base on.
    Again,
    /// It has been taken whole.
    Done,
}

/// Why a chain is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WorkProofError {
    /// A header does not follow from the one before it.
    Discontinuous,
    /// A header breaks a rule.
    Invalid(HeaderError),
    /// It went on for longer than it can take to have the work.
    TooLong,
    /// It is not the chain that was shown the first time.
    Changed,
}

impl fmt::Display for WorkProofError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Discontinuous => f.write_str("its headers do not follow each other"),
            Self::Invalid(error) => error.fmt(f),
            Self::TooLong => f.write_str("it goes on and on without the work that is asked of it"),
            Self::Changed => f.write_str("it is another chain the second time"),
        }
    }
}

impl core::error::Error for WorkProofError {}

impl WorkProof {
    /// A proof that a chain after `base` has at least `goal` in work. It may have at most `limit` headers until then.
    pub fn new(rules: Rules, base: Lineage, goal: Work, limit: u32, now: UnixTime, rng: &mut Rng) -> Self {
        // No chain can hold more blocks than that between its base and now.
        let span = now.as_secs().saturating_add(2 * 60 * 60).saturating_sub(base.time().into());
        let possible = u32::try_from(span.saturating_mul(MAX_BLOCKS_PER_SECOND)).unwrap_or(u32::MAX);
        Self {
            rules,
            base,
            goal,
            limit: limit.min(possible),
            keys: (rng.u64(), rng.u64()),
            offset: (rng.u64() % u64::from(COMMITMENT_PERIOD)) as u32,
            commitments: Bits::default(),
            pass: Pass::First(base),
            proven: None,
        }
    }

    /// The block that it goes on from.
    pub const fn base(&self) -> &Lineage {
        &self.base
    }

    /// The last header that was taken, in this pass.
    pub const fn last(&self) -> &Lineage {
        match &self.pass {
            Pass::First(tip) | Pass::Second { tip, .. } => tip,
        }
    }

    /// The work that it is to have.
    pub const fn goal(&self) -> Work {
        self.goal
    }

    /// Whether it has shown its work, and is being taken.
    pub const fn is_proven(&self) -> bool {
        self.proven.is_some()
    }

    /// The height at which it had the work that is asked of it, and the work that it had there.
    pub const fn proven(&self) -> Option<(u32, Work)> {
        self.proven
    }

    /// Takes the headers of one message, which go on from [`last`](Self::last); appends to `released` those that may be
    /// kept from here on.
    ///
    /// # Errors
    /// The chain is not to be taken, and the proof is of no more use.
    pub fn take(
        &mut self,
        headers: impl Iterator<Item = (Header, BlockHash)>,
        now: UnixTime,
        released: &mut Vec<Header>,
    ) -> Result<Kept, WorkProofError> {
        for (header, hash) in headers {
            self.take_one(&header, hash, now)?;
            // What follows comes again in the second pass.
            if let Pass::First(tip) = &self.pass
                && tip.work() >= self.goal
            {
                self.proven = Some((tip.height(), tip.work()));
                self.pass = Pass::Second { tip: self.base, held_back: VecDeque::new(), reached: false };
                return Ok(Kept::Again);
            }
        }
        let Pass::Second { held_back, reached, .. } = &mut self.pass else { return Ok(Kept::More) };
        let surplus = if *reached { held_back.len() } else { held_back.len().saturating_sub(HELD_BACK) };
        released.extend(held_back.drain(..surplus));
        Ok(if *reached { Kept::Done } else { Kept::More })
    }

    fn take_one(&mut self, header: &Header, hash: BlockHash, now: UnixTime) -> Result<(), WorkProofError> {
        let tip = match &mut self.pass {
            Pass::First(tip) | Pass::Second { tip, .. } => tip,
        };
        if header.prev_blockhash != *tip.hash() {
            return Err(WorkProofError::Discontinuous);
        }
        tip.advance(&self.rules, header, hash, now, false).map_err(WorkProofError::Invalid)?;
        let count = tip.height() - self.base.height();
        let enough = tip.work() >= self.goal;
        let marked = (tip.height() % COMMITMENT_PERIOD == self.offset).then(|| {
            let (first, second) = self.keys;
            siphash24::Hash::hash_to_u64_with_keys(first, second, hash.as_byte_array()) & 1 == 1
        });
        match &mut self.pass {
            Pass::First(_) => {
                if count > self.limit && !enough {
                    return Err(WorkProofError::TooLong);
                }
                if let Some(bit) = marked {
                    self.commitments.push(bit);
                }
            }
            Pass::Second { held_back, reached, .. } => {
                // Beyond the last one that was remembered there is nothing to compare.
                if let Some(bit) = marked
                    && !*reached
                    && self.commitments.pop() != Some(bit)
                {
                    return Err(WorkProofError::Changed);
                }
                *reached |= enough;
                held_back.push_back(*header);
            }
        }
        Ok(())
    }
}

/// Bits, first in, first out.
#[derive(Clone, Debug, Default)]
struct Bits {
    words: Vec<u64>,
    len: usize,
    taken: usize,
}

impl Bits {
    fn push(&mut self, bit: bool) {
        if self.len.is_multiple_of(64) {
            self.words.push(0);
        }
        if let Some(word) = self.words.last_mut() {
            *word |= u64::from(bit) << (self.len % 64);
        }
        self.len += 1;
    }

    fn pop(&mut self) -> Option<bool> {
        let at = self.taken;
        (at < self.len).then(|| {
            self.taken += 1;
            self.words[at / 64] >> (at % 64) & 1 == 1
        })
    }
}

#[cfg(test)]
#[path = "work_proof_tests.rs"]
mod tests;
