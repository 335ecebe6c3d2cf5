//! A chain as it grows and is reorganised.

use std::collections::BTreeMap;
use std::sync::Arc;

use andon_bitcoin::server::Chain;
use bitcoin::{Block, BlockHash};

use super::maker::{Maker, Mined};
use super::trunk::Trunk;

/// The best chain that there is, and every block that ever was in it or in a branch beside it.
#[derive(Debug)]
pub struct History {
    trunk: &'static Trunk,
    best: Vec<Arc<Mined>>,
    /// The best chain, to be served. Whoever has followed it can follow it again.
    chain: Chain,
    /// What is not in the trunk, with heights.
    others: BTreeMap<BlockHash, (u32, Arc<Mined>)>,
}

impl History {
    /// One that begins with a trunk.
    pub fn new(trunk: &'static Trunk) -> Self {
        Self { trunk, best: trunk.blocks.clone(), chain: trunk.chain.clone(), others: BTreeMap::new() }
    }

    /// The best chain.
    pub fn best(&self) -> &[Arc<Mined>] {
        &self.best
    }

    /// The best chain, to be served.
    pub const fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Blocks above the first.
    pub fn height(&self) -> u32 {
        self.best.len() as u32 - 1
    }

    /// The last block's hash.
    pub fn tip(&self) -> BlockHash {
        self.best.last().expect("a chain has a first block").hash
    }

    /// A block that is in the best chain, or was, or is in a branch beside it; with its height.
    pub fn find(&self, hash: &BlockHash) -> Option<(u32, &Arc<Mined>)> {
        if let Some(&height) = self.trunk.heights.get(hash) {
            return Some((height, &self.trunk.blocks[height as usize]));
        }
        self.others.get(hash).map(|(height, mined)| (*height, mined))
    }

    /// Replaces the last `depth` blocks of the best chain by `depth + count` others, made at about `time`. With a depth of zero it grows.
    /// The first block stays.
    pub fn reorganise(&mut self, depth: u32, count: u32, maker: &mut Maker, time: u32) {
        let fork = self.height().saturating_sub(depth);
        let depth = self.height() - fork;
        self.best.truncate(fork as usize + 1);
        for _ in 0..depth + count.max(1) {
            let mined = maker.block(&self.best, time);
            self.remember(self.best.len() as u32, &mined);
            self.best.push(mined);
        }
        let new: Vec<Block> =
            self.best[fork as usize + 1..].iter().map(|mined| mined.block.clone()).collect();
        self.chain.reorganise(fork, &new).expect("what was made follows what was there, and has more work");
    }

    /// Makes blocks that follow others than the best chain's last.
    pub fn branch(
        &mut self,
        below: &[Arc<Mined>],
        count: u32,
        maker: &mut Maker,
        time: u32,
    ) -> Vec<Arc<Mined>> {
        let mut branch = below.to_vec();
        for _ in 0..count {
            let mined = maker.block(&branch, time);
            self.remember(branch.len() as u32, &mined);
            branch.push(mined);
        }
        branch
    }

    fn remember(&mut self, height: u32, mined: &Arc<Mined>) {
        self.others.insert(mined.hash, (height, mined.clone()));
    }
}
