//! Block headers: the rules of every network, and the chain with the most work, in a memory that does not depend on its
//! length.
//!
//! | part | owns |
//! |---|---|
//! | [`Rules`], [`Lineage`] | whether a header follows from those before it: difficulty, proof of work, time, version |
//! | [`HeaderChain`] | a window of the best chain, the branches beside it, most work, locators |
//! | [`WorkProof`] | what a chain of too little work is held to before any of it is kept |
//!
//! Nothing here knows of peers or of what is stored: `client` uses it, and so may a test, a benchmark or an explorer.

mod branches;
mod chain;
mod lineage;
mod posts;
mod rules;
mod work_proof;

pub use chain::{HeaderChain, LOCATOR_DENSE, Place, SLACK, Stop, Taken, WINDOW};
pub use lineage::Lineage;
pub use rules::{HeaderError, PERIOD, Rules};
pub use work_proof::{Kept, WorkProof, WorkProofError};

use bitcoin::BlockHash;

/// A block by height and hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
pub struct BlockId {
    /// Blocks before it.
    pub height: u32,
    /// Of its header.
    pub hash: BlockHash,
}
