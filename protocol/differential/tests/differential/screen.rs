//! What Bitcoin Core asks of a message before its engine sees it: work that comes near the best chain's.

use bitcoin::BlockHash;
use bitcoin::block::Header;

use crate::tree::{Answer, Block, HeaderTree, Refusal};

/// How many blocks' work below the best chain's a message may end at least.
pub(crate) const DEPTH: u32 = 144;

/// A side that is told only what passes. Every block on regtest has the same work, so heights stand for it; headers are
/// taken to follow each other and to keep the rules.
pub(crate) struct Screened<S>(pub(crate) S);

impl<S: HeaderTree> HeaderTree for Screened<S> {
    fn take(&mut self, headers: &[Header], now: u64) -> Answer {
        let known = headers.iter().take_while(|header| self.0.find(&header.block_hash()).is_some()).count();
        let new = &headers[known..];
        let parent = new.first().and_then(|first| self.0.find(&first.prev_blockhash));
        if let Some(parent) = parent
            && parent + new.len() as u32 + DEPTH < self.0.tip().height
        {
            return Answer { taken: known, refused: Some(Refusal::LowWork) };
        }
        self.0.take(headers, now)
    }

    fn tip(&self) -> Block {
        self.0.tip()
    }

    fn find(&self, hash: &BlockHash) -> Option<u32> {
        self.0.find(hash)
    }
}
