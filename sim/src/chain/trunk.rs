//! Chains that many worlds begin with: made once in a process, and the same in each.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use andon_bitcoin::server::Chain;
use bitcoin::{Block, BlockHash};

use super::maker::{Maker, Mined};
use crate::random::Stream;

/// A chain of one of some lengths. A longer one goes on where a shorter one ends.
#[derive(Debug)]
pub struct Trunk {
    /// From the first block on.
    pub blocks: Vec<Arc<Mined>>,
    /// The same, to be served.
    pub chain: Chain,
    /// The heights of all.
    pub(super) heights: BTreeMap<BlockHash, u32>,
}

/// How many blocks they have above the first one. Filters have checkpoints at each thousandth block: two lengths are beyond some.
pub const LENGTHS: [u32; 6] = [0, 25, 80, 160, 1100, 2100];

/// Seconds since 1970 of the first block that was made.
const FIRST: u32 = 1_700_000_000;
const SPACING: u32 = 600;

impl Trunk {
    /// The one of this length.
    ///
    /// # Panics
    /// If it is none of [`LENGTHS`].
    pub fn of(length: u32) -> &'static Self {
        static TRUNKS: [OnceLock<Trunk>; LENGTHS.len()] = [const { OnceLock::new() }; LENGTHS.len()];
        let at = LENGTHS.iter().position(|known| *known == length).expect("there are trunks of some lengths");
        TRUNKS[at].get_or_init(|| match at.checked_sub(1) {
            None => Self::first(),
            Some(shorter) => Self::of(LENGTHS[shorter]).grown(length),
        })
    }

    /// When its last block was made, in seconds since 1970.
    pub fn time(&self) -> u32 {
        self.blocks.last().map_or(FIRST, |last| last.block.header.time.max(FIRST))
    }

    fn first() -> Self {
        let genesis = Mined::genesis();
        let chain = Chain::new([genesis.block.clone()]).expect("it is a first block");
        Self { heights: BTreeMap::from([(genesis.hash, 0)]), blocks: vec![genesis], chain }
    }

    fn grown(&self, length: u32) -> Self {
        let (mut blocks, mut heights) = (self.blocks.clone(), self.heights.clone());
        let mut maker = Maker::new(Stream::new(1).fork_indexed("trunk", length.into()));
        for height in blocks.len() as u32..=length {
            let mined = maker.block(&blocks, FIRST + height * SPACING);
            heights.insert(mined.hash, height);
            blocks.push(mined);
        }
        let mut chain = self.chain.clone();
        let new: Vec<Block> = blocks[self.blocks.len()..].iter().map(|mined| mined.block.clone()).collect();
        chain.extend(&new).expect("what was made follows what was there");
        Self { blocks, chain, heights }
    }
}
