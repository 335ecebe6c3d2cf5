//! The header chain: a window of the best one, and the branches beside it. Most work wins; the first seen, on a tie.
//!
//! The window reaches far enough back for the difficulty rules along any branch that starts in its upper part. What
//! lies below it is in the store.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use andon_kernel::UnixTime;
use bitcoin::block::Header;
use bitcoin::params::Params;
use bitcoin::{BlockHash, CompactTarget, Network, Work};

use super::api::BlockId;
use super::rules::{self, Ancestors, HeaderError};
use crate::wire::MAX_LOCATOR;

/// Headers of the best chain that are kept at least: two periods of difficulty for the rules to look back over, and
/// a third for branches to start in.
pub(super) const WINDOW: u32 = 3 * 2016;

/// Headers by which the window overshoots before it is cut.
const SLACK: u32 = 2016;

/// Headers beside the best chain that are kept at most. With real proof of work they are few.
const MAX_BRANCH_HEADERS: usize = 10_000;

/// The best chain's upper part, and branches from it.
#[derive(Debug)]
pub(super) struct Chain {
    params: Params,
    genesis: BlockHash,
    /// Height of the window's first header.
    base: u32,
    window: VecDeque<Entry>,
    heights: BTreeMap<BlockHash, u32>,
    branches: BTreeMap<BlockHash, Branch>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    header: Header,
    hash: BlockHash,
    /// Of all blocks up to this one.
    work: Work,
    /// Unknown for the window's first blocks, where it depends on what lies below.
    regular_bits: Option<CompactTarget>,
}

#[derive(Clone, Copy, Debug)]
struct Branch {
    entry: Entry,
    height: u32,
}

/// What a list of headers did to the chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extension {
    /// The lowest height at which the best chain changed, if it did.
    pub(super) changed_from: Option<u32>,
    /// The tip that was left for another branch, if that happened.
    pub(super) left: Option<BlockId>,
    /// The last header of the list that is in the chain or on a branch.
    pub(super) last: Option<BlockId>,
    /// Why the list was not taken to its end.
    pub(super) stopped: Option<Stop>,
}

/// Why headers were not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The first one's parent is unknown.
    Unconnected,
    /// One does not follow from the one before it in the list.
    Discontinuous,
    /// One breaks a rule.
    Invalid(HeaderError),
    /// There is no more room for branches.
    TooManyBranches,
}

impl Chain {
    /// The chain of a network that has nothing but its first block.
    pub(super) fn new(network: Network) -> Self {
        let params = Params::new(network);
        let header = bitcoin::constants::genesis_block(&params).header;
        let hash = header.block_hash();
        let entry = Entry { header, hash, work: header.work(), regular_bits: Some(header.bits) };
        Self {
            params,
            genesis: hash,
            base: 0,
            window: VecDeque::from([entry]),
            heights: BTreeMap::from([(hash, 0)]),
            branches: BTreeMap::new(),
        }
    }

    /// Takes up a stored chain: its upper `headers`, which end at `tip_height` with `work` in all.
    ///
    /// `None`: they do not follow each other, or do not begin with this network's first block where they should.
    pub(super) fn restore(network: Network, tip_height: u32, work: Work, headers: &[Header]) -> Option<Self> {
        let mut chain = Self::new(network);
        let base = (tip_height + 1).checked_sub(u32::try_from(headers.len()).ok()?)?;
        let mut work = work;
        let mut window = VecDeque::with_capacity(headers.len());
        let mut child: Option<&Header> = None;
        for header in headers.iter().rev() {
            let hash = header.block_hash();
            if child.is_some_and(|child| child.prev_blockhash != hash) {
                return None;
            }
            window.push_front(Entry { header: *header, hash, work, regular_bits: None });
            work = checked_sub(work, header.work())?;
            child = Some(header);
        }
        let mut regular = None;
        for (height, entry) in (base..).zip(&mut window) {
            regular = rules::regular_bits(&chain.params, &entry.header, height, regular);
            entry.regular_bits = regular;
        }
        let first = window.front()?;
        if base == 0 && first.hash != chain.genesis {
            return None;
        }
        chain.heights = (base..).zip(&window).map(|(height, entry)| (entry.hash, height)).collect();
        chain.base = base;
        chain.window = window;
        Some(chain)
    }

    /// The best block.
    pub(super) fn tip(&self) -> BlockId {
        BlockId { height: self.tip_height(), hash: self.tip_entry().hash }
    }

    /// The best block's height.
    pub(super) fn tip_height(&self) -> u32 {
        self.base + self.window.len() as u32 - 1
    }

    /// Work of the best chain.
    pub(super) fn work(&self) -> Work {
        self.tip_entry().work
    }

    /// The header and hash at a height of the best chain, if they are in the window.
    pub(super) fn at(&self, height: u32) -> Option<(&Header, BlockHash)> {
        self.entry(height).map(|entry| (&entry.header, entry.hash))
    }

    /// The height of a block of the best chain, if it is in the window.
    pub(super) fn height_of(&self, hash: &BlockHash) -> Option<u32> {
        self.heights.get(hash).copied()
    }

    /// A block that is known, in the window or on a branch.
    pub(super) fn find(&self, hash: &BlockHash) -> Option<BlockId> {
        let height = self.height_of(hash).or_else(|| self.branches.get(hash).map(|branch| branch.height))?;
        Some(BlockId { height, hash: *hash })
    }

    /// The block of the best chain from which `block` branches off, or itself: the highest that a peer whose best
    /// block it is can serve.
    pub(super) fn common(&self, block: BlockId) -> Option<u32> {
        let mut hash = block.hash;
        loop {
            if let Some(height) = self.height_of(&hash) {
                return Some(height);
            }
            match self.branches.get(&hash) {
                Some(branch) => hash = branch.entry.header.prev_blockhash,
                // It has sunk below the window since: if it was in the best chain then, it is now.
                None => return (block.height < self.base).then_some(block.height),
            }
        }
    }

    /// Hashes of the best chain from `from` down, newest first, exponentially spaced, the network's first last.
    pub(super) fn locator(&self, from: u32) -> Vec<BlockHash> {
        let mut hashes = Vec::new();
        let mut height = from.clamp(self.base, self.tip_height());
        let mut step = 1;
        loop {
            hashes.extend(self.at(height).map(|(_, hash)| hash));
            if hashes.len() >= 10 {
                step *= 2;
            }
            if height < self.base + step || hashes.len() == MAX_LOCATOR - 1 {
                break;
            }
            height -= step;
        }
        if hashes.last() != Some(&self.genesis) {
            hashes.push(self.genesis);
        }
        hashes
    }

    /// Takes the headers of one message.
    pub(super) fn extend(&mut self, headers: impl Iterator<Item = Header>, now: UnixTime) -> Extension {
        let mut extension = Extension::default();
        let mut previous: Option<BlockHash> = None;
        for header in headers {
            if previous.is_some_and(|previous| previous != header.prev_blockhash) {
                extension.stopped = Some(Stop::Discontinuous);
                break;
            }
            match self.take(header, now, &mut extension) {
                Ok(block) => {
                    previous = Some(block.hash);
                    extension.last = Some(block);
                }
                Err(stop) => {
                    extension.stopped = Some(stop);
                    break;
                }
            }
        }
        self.trim();
        extension
    }

    fn take(&mut self, header: Header, now: UnixTime, extension: &mut Extension) -> Result<BlockId, Stop> {
        let hash = header.block_hash();
        if let Some(known) = self.find(&hash) {
            return Ok(known);
        }
        let (parent_height, parent) = match self.height_of(&header.prev_blockhash) {
            Some(height) => (height, *self.entry(height).expect("what has a height is in the window")),
            None => {
                let parent = self.branches.get(&header.prev_blockhash).ok_or(Stop::Unconnected)?;
                (parent.height, parent.entry)
            }
        };
        let height = parent_height + 1;
        let lineage = Lineage { chain: self, parent: &parent, parent_height };
        rules::check(&self.params, &header, hash, height, &lineage, now).map_err(Stop::Invalid)?;
        let regular_bits = rules::regular_bits(&self.params, &header, height, parent.regular_bits);
        let entry = Entry { header, hash, work: parent.work + header.work(), regular_bits };
        if header.prev_blockhash == self.tip_entry().hash {
            self.push(entry);
            extension.changed_from = Some(extension.changed_from.map_or(height, |from| from.min(height)));
        } else {
            if self.branches.len() >= MAX_BRANCH_HEADERS {
                return Err(Stop::TooManyBranches);
            }
            self.branches.insert(hash, Branch { entry, height });
            if entry.work > self.work() {
                let old_tip = self.tip();
                let fork = self.switch_to(hash);
                extension.changed_from =
                    Some(extension.changed_from.map_or(fork + 1, |from| from.min(fork + 1)));
                extension.left = Some(extension.left.unwrap_or(old_tip));
            }
        }
        Ok(BlockId { height, hash })
    }

    /// Makes the branch that ends in `hash` the best chain. Returns the height it branches off from.
    fn switch_to(&mut self, hash: BlockHash) -> u32 {
        let mut path = Vec::new();
        let mut hash = hash;
        let fork = loop {
            match self.branches.remove(&hash) {
                Some(branch) => {
                    path.push(branch.entry);
                    hash = branch.entry.header.prev_blockhash;
                }
                None => break self.height_of(&hash).expect("a branch begins at the best chain"),
            }
        };
        while self.tip_height() > fork {
            let height = self.tip_height();
            let entry = self.window.pop_back().expect("the fork is in the window");
            self.heights.remove(&entry.hash);
            self.branches.insert(entry.hash, Branch { entry, height });
        }
        for entry in path.into_iter().rev() {
            self.push(entry);
        }
        fork
    }

    fn push(&mut self, entry: Entry) {
        self.window.push_back(entry);
        self.heights.insert(entry.hash, self.tip_height());
    }

    /// Cuts the window to its size, with the branches that began below it.
    fn trim(&mut self) {
        if self.window.len() <= (WINDOW + SLACK) as usize {
            return;
        }
        while self.window.len() > WINDOW as usize {
            let entry = self.window.pop_front().expect("the window is not empty");
            self.heights.remove(&entry.hash);
            self.base += 1;
        }
        // Lowest first, so that a header goes with its parent.
        let mut order: Vec<(u32, BlockHash)> =
            self.branches.iter().map(|(hash, branch)| (branch.height, *hash)).collect();
        order.sort_unstable();
        for (_, hash) in order {
            let parent = self.branches[&hash].entry.header.prev_blockhash;
            if self.find(&parent).is_none() {
                self.branches.remove(&hash);
            }
        }
    }

    fn entry(&self, height: u32) -> Option<&Entry> {
        self.window.get(height.checked_sub(self.base)? as usize)
    }

    fn tip_entry(&self) -> &Entry {
        self.window.back().expect("the window is never empty")
    }
}

/// The ancestors of a header to come, along the branch of its parent.
struct Lineage<'a> {
    chain: &'a Chain,
    parent: &'a Entry,
    parent_height: u32,
}

impl Ancestors for Lineage<'_> {
    fn at(&self, height: u32) -> Option<&Header> {
        let mut hash = &self.parent.hash;
        let mut at = self.parent_height;
        while let Some(branch) = self.chain.branches.get(hash) {
            if at == height {
                return Some(&branch.entry.header);
            }
            hash = &branch.entry.header.prev_blockhash;
            at -= 1;
        }
        // From here down the branch is the best chain.
        if height > at || self.chain.height_of(hash) != Some(at) {
            return None;
        }
        self.chain.entry(height).map(|entry| &entry.header)
    }

    fn regular_bits(&self) -> Option<CompactTarget> {
        self.parent.regular_bits
    }
}

fn checked_sub(work: Work, less: Work) -> Option<Work> {
    (work >= less).then(|| work - less)
}
