//! The side that is tested.

use andon_bitcoin::headers::{HeaderChain, HeaderError, Stop};
use andon_kernel::UnixTime;
use bitcoin::block::Header;
use bitcoin::{BlockHash, Network, Work};

use crate::tree::{Answer, Block, HeaderTree, Refusal};

/// The header chain that the client stands on.
pub(crate) struct Ours(HeaderChain);

impl Ours {
    pub(crate) fn new(network: Network) -> Self {
        Self(HeaderChain::new(network))
    }
}

impl HeaderTree for Ours {
    fn take(&mut self, headers: &[Header], now: u64) -> Answer {
        let hashed = headers.iter().map(|header| (*header, header.block_hash()));
        let taken = self.0.take(hashed, UnixTime::from_secs(now));
        let count = taken.last.map_or(0, |last| {
            let place = headers.iter().position(|header| header.block_hash() == last.hash);
            1 + place.expect("the last that was taken is of this message")
        });
        let refused = taken.stopped.map(|stop| match stop {
            Stop::Unconnected => Refusal::Unconnected,
            Stop::LowWork(_) => Refusal::LowWork,
            Stop::Invalid(HeaderError::ProofOfWork) => Refusal::ProofOfWork,
            Stop::Invalid(HeaderError::Difficulty) => Refusal::Difficulty,
            Stop::Invalid(HeaderError::TimeTooEarly) => Refusal::TooOld,
            Stop::Invalid(HeaderError::NotYet) => Refusal::TooNew,
            Stop::Invalid(HeaderError::Version) => Refusal::Version,
            other => panic!("refused for something that no message has: {other:?}"),
        });
        Answer { taken: count, refused }
    }

    fn tip(&self) -> Block {
        let tip = self.0.tip();
        // The engine does not tell its work; on regtest every block has that of two hashes.
        let mut work = [0; 32];
        work[24..].copy_from_slice(&(2 * (u64::from(tip.height) + 1)).to_be_bytes());
        assert_eq!(self.0.work(), Work::from_be_bytes(work), "the work of the best chain");
        Block { height: tip.height, hash: tip.hash }
    }

    fn find(&self, hash: &BlockHash) -> Option<u32> {
        self.0.find(hash).map(|block| block.height)
    }
}
