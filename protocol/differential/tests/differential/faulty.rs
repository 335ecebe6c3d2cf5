//! Sides with one fault each, to see that the comparison finds it.

use bitcoin::BlockHash;
use bitcoin::block::Header;

use crate::tree::{Answer, Block, HeaderTree};

/// A fault that a header chain may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Allows a second more ahead of the clock.
    FastClock,
    /// Of two blocks with the same work the last seen is the best.
    LastSeenWins,
    /// Knows nothing but the best chain's tip.
    Forgets,
    /// Takes versions for unsigned numbers: negative ones are high.
    UnsignedVersions,
    /// Fails on a header of the last second.
    PanicsAtTheEnd,
}

/// A side with a fault.
pub(crate) struct Faulty<S> {
    pub(crate) side: S,
    pub(crate) fault: Fault,
    pub(crate) last_seen: Option<Block>,
}

impl<S: HeaderTree> HeaderTree for Faulty<S> {
    fn take(&mut self, headers: &[Header], now: u64) -> Answer {
        let now = now + u64::from(self.fault == Fault::FastClock);
        assert!(
            self.fault != Fault::PanicsAtTheEnd || headers.iter().all(|header| header.time != u32::MAX),
            "the fault that was asked for"
        );
        let mut answer = self.side.take(headers, now);
        if let Some(header) = headers.get(answer.taken)
            && self.fault == Fault::UnsignedVersions
            && answer.refused == Some(crate::tree::Refusal::Version)
            && header.version.to_consensus() < 0
        {
            answer = Answer { taken: answer.taken + 1, refused: None };
        }
        if let Some(last) = answer.taken.checked_sub(1).map(|last| headers[last].block_hash()) {
            self.last_seen = self.side.find(&last).map(|height| Block { height, hash: last });
        }
        answer
    }

    fn tip(&self) -> Block {
        let tip = self.side.tip();
        let last = self.last_seen.filter(|last| last.height == tip.height);
        last.filter(|_| self.fault == Fault::LastSeenWins).unwrap_or(tip)
    }

    fn find(&self, hash: &BlockHash) -> Option<u32> {
        let tip = self.tip();
        if self.fault == Fault::Forgets {
            return (tip.hash == *hash).then_some(tip.height);
        }
        self.side.find(hash)
    }
}
