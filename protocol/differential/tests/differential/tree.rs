//! What both sides are to the comparison: something that takes messages of headers and has a best chain.

use bitcoin::BlockHash;
use bitcoin::block::Header;

/// A chain of headers on regtest, with the branches beside it.
pub(crate) trait HeaderTree {
    /// Takes the headers of one message, each the parent of the next, by a clock of seconds since 1970.
    fn take(&mut self, headers: &[Header], now: u64) -> Answer;

    /// The best block.
    fn tip(&self) -> Block;

    /// The height of a block that was taken.
    fn find(&self, hash: &BlockHash) -> Option<u32>;
}

/// Where a block is and which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) height: u32,
    pub(crate) hash: BlockHash,
}

/// What was done with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Headers from the message's start that were taken, or were there.
    pub(crate) taken: usize,
    /// What the next one was refused for, if there is one.
    pub(crate) refused: Option<Refusal>,
}

/// Why a header is refused. The order is that of Bitcoin Core's checks: the first that fails is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Refusal {
    /// The hash is above the target that the header itself states, or that is no target (`high-hash`).
    ProofOfWork,
    /// The parent was not taken (`prev-blk-not-found`).
    Unconnected,
    /// The stated target is not the one that the rules ask for (`bad-diffbits`).
    Difficulty,
    /// The time is not past the median of the eleven before (`time-too-old`).
    TooOld,
    /// The time is more than two hours ahead of the clock (`time-too-new`).
    TooNew,
    /// The version is below what the height asks for (`bad-version`).
    Version,
    /// All of the message would still have too little work. The engine never says so: Bitcoin Core sees to that before
    /// it comes to the engine.
    LowWork,
}

impl Refusal {
    /// All that the engine says.
    pub(crate) const ALL: [Self; 6] =
        [Self::ProofOfWork, Self::Unconnected, Self::Difficulty, Self::TooOld, Self::TooNew, Self::Version];
}
