//! What the configuration says of the chain: where it starts, which blocks are in it, and how much work it has. All of it
//! is checked before anything is built on it.

use alloc::vec::Vec;

use bitcoin::Work;
use bitcoin::block::Header;

use super::Client;
use super::api::{Birthday, BlockId, Failure};
use super::config::{MAX_KNOWN_BLOCK_GAP, Start};
use crate::headers::Lineage;
use crate::points::{self, StartPoint};

/// The highest block that a chain may start with: none will be mined there, and all numbers fit.
const LONGEST: u32 = u32::MAX / 2;

impl Client {
    /// The block that the chain is to start with, as the configuration has it.
    pub(super) fn start_block(&self) -> Result<(Header, Lineage), Failure> {
        let network = self.config.network;
        let rules = self.chain.rules();
        let point = match &self.config.start {
            Start::Genesis => return Ok((rules.genesis(), Lineage::genesis(rules))),
            Start::Before(Birthday::Height(height)) => {
                points::before_height(network, height.saturating_sub(1))
            }
            Start::Before(Birthday::Time(time)) => points::before_time(network, *time),
            Start::Point(point) => point.clone(),
        };
        let StartPoint { height, work, headers } = point;
        let unusable = |why| Failure::UnusableStart { why };
        let header = *headers.last().ok_or(unusable("it has no header"))?;
        if height == 0 {
            return match header == rules.genesis() {
                true => Ok((header, Lineage::genesis(rules))),
                false => Err(unusable("it is not the network's first block")),
            };
        }
        if height > LONGEST {
            return Err(unusable("no chain is that long"));
        }
        let lineage = Lineage::from_headers(rules, &headers, height, work).ok_or(unusable(
            "its headers do not follow each other, lack proof of work, or do not reach down to the first of the period",
        ))?;
        let least = headers.iter().fold(Work::from_be_bytes([0; 32]), |least, header| least + header.work());
        let whole = headers.len() as u32 == height + 1;
        if work < least || whole && work != least {
            return Err(unusable("its work is not that of its headers and what is below them"));
        }
        if whole && headers.first() != Some(&rules.genesis()) {
            return Err(unusable("it does not go back to the network's first block"));
        }
        let contradicts = self.known_blocks().any(|known| {
            let back = height.checked_sub(known.height).map_or(usize::MAX, |back| back as usize);
            let at = headers.len().checked_sub(1).and_then(|last| last.checked_sub(back));
            at.is_some_and(|at| headers[at].block_hash() != known.hash)
        });
        if contradicts {
            return Err(unusable("it contradicts a block that is known to be in the best chain"));
        }
        let proven = self.known_blocks().any(|known| known.height > height + 10);
        if headers.len() < 11.min(height as usize + 1) && !proven {
            return Err(unusable("eleven headers are needed where no known block follows"));
        }
        Ok((header, lineage))
    }

    /// The blocks that are known to be in the best chain.
    pub(super) fn known_blocks(&self) -> impl Iterator<Item = BlockId> {
        let compiled = points::known_blocks(self.config.network);
        let compiled = compiled.into_iter().map(|(height, hash)| BlockId { height, hash });
        compiled.chain(self.config.known_blocks.iter().copied())
    }

    /// # Errors
    /// Why the known blocks that were given can't be used.
    pub(super) fn check_known_blocks(&self) -> Result<(), &'static str> {
        if self.config.known_blocks.is_empty() {
            return Ok(());
        }
        let mut known: Vec<BlockId> = self.known_blocks().collect();
        known.sort_unstable_by_key(|block| block.height);
        if known.windows(2).any(|pair| pair[0].height == pair[1].height && pair[0].hash != pair[1].hash) {
            return Err("two of them have the same height");
        }
        let mut heights: Vec<u32> = known.iter().map(|block| block.height).collect();
        if let Start::Point(StartPoint { height, .. }) = self.config.start {
            // What lies below is not asked for.
            heights.retain(|known| *known > height);
            heights.insert(0, height);
        }
        if heights.windows(2).any(|pair| pair[1] - pair[0] > MAX_KNOWN_BLOCK_GAP) {
            return Err("two of them lie more than 32,000 blocks apart");
        }
        Ok(())
    }

    pub(super) fn minimum_work(&self) -> Work {
        self.config.minimum_work.unwrap_or_else(|| points::minimum_chain_work(self.config.network))
    }
}
