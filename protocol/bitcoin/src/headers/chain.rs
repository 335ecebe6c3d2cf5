//! The header chain: a window of the best one, and the branches beside it. Most work wins; the first seen, on a tie.
//!
//! The window reaches far enough back to judge whatever branches off in its upper part. What lies below it is known by
//! its [posts](super::posts) alone; a branch from down there is judged along its own headers, by a
//! [`WorkProof`](super::WorkProof).

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use andon_kernel::UnixTime;
use bitcoin::block::Header;
use bitcoin::{BlockHash, CompactTarget, Network, Work};

use super::branches::Branches;
use super::posts::Posts;
use super::rules::{HeaderError, PERIOD, Rules};
use super::{BlockId, Lineage};
use crate::wire::MAX_LOCATOR;

/// Headers of the best chain that are kept at least.
pub const WINDOW: u32 = 3 * PERIOD;

/// Headers by which the window overshoots before it is cut.
pub const SLACK: u32 = PERIOD;

/// Hashes at the top of a locator that lie one block apart.
pub const LOCATOR_DENSE: usize = 10;

/// Headers below the first whole period that the window holds as well, for the eleven times before it.
const MARGIN: u32 = 16;

/// Headers of a message for which the room is kept until the next one: as many as come when blocks are announced. Those of
/// the first sync would take 300 KB for as long as the client runs.
const KEPT: usize = 16;

/// How far below the tip a branch that is kept may end, in blocks of the tip's difficulty, as in Bitcoin Core.
const BRANCH_DEPTH: u32 = 144;

/// The best chain's upper part, and branches from it.
#[derive(Clone, Debug)]
pub struct HeaderChain {
    rules: Rules,
    /// What a chain must have before any of it is kept.
    minimum_work: Work,
    /// Nothing below its last block is known.
    start: Lineage,
    start_header: Header,
    genesis: BlockHash,
    /// Height of the window's first header.
    base: u32,
    window: VecDeque<Entry>,
    /// The best chain, for its next header.
    tip: Lineage,
    posts: Posts,
    branches: Branches,
    pending: Vec<Entry>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) header: Header,
    pub(super) hash: BlockHash,
    /// Of all blocks up to this one.
    pub(super) work: Work,
    regular_bits: CompactTarget,
}

/// What a list of headers did to the chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// The lowest height at which the best chain changed, if it did.
    pub changed_from: Option<u32>,
    /// The tip that was left for another branch, if that happened.
    pub left: Option<BlockId>,
    /// The last header of the list that is in the chain or on a branch.
    pub last: Option<BlockId>,
    /// How many headers of the list are new, and beside the best chain.
    pub beside: u32,
    /// Why the list was not taken to its end.
    pub stopped: Option<Stop>,
}

/// Why headers were not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stop {
    /// The first one's parent is not at hand.
    Unconnected,
    /// One does not follow from the one before it in the list.
    Discontinuous,
    /// One breaks a rule.
    Invalid(HeaderError),
    /// They keep the rules, but all of them together do not have the work that is asked of a branch, or of any chain.
    /// None was kept. This is the best chain up to the block after which they, or the branch that they go on from, leave
    /// it.
    LowWork(Box<Lineage>),
}

/// Where a block is that a list of headers may go on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// What follows it can be judged at once.
    AtHand,
    /// In the best chain, below the window: the headers before it must be loaded.
    Below(BlockId),
    /// It is the block that the chain starts with, and lies below the window.
    Start,
    /// It is the network's first block, and lies below the block that the chain starts with.
    BeforeStart,
    /// It is none that a locator named.
    Unknown,
}

/// Where a known block is.
#[derive(Clone, Copy)]
enum At {
    Best(u32),
    Branch(BlockHash, u32),
}

impl HeaderChain {
    /// The chain of a network that has nothing but its first block, without a minimum of work.
    pub fn new(network: Network) -> Self {
        let rules = Rules::new(network);
        let (genesis, lineage) = (rules.genesis(), Lineage::genesis(&rules));
        Self::from_start(rules, &genesis, lineage)
    }

    /// The chain that has nothing but the block `header`, with which `start` ends.
    ///
    /// # Panics
    /// If `start` does not end with that block.
    pub fn from_start(rules: Rules, header: &Header, start: Lineage) -> Self {
        assert_eq!(header.block_hash(), *start.hash(), "the start of a chain ends with its header");
        let entry = Entry {
            header: *header,
            hash: *start.hash(),
            work: start.work(),
            regular_bits: start.regular_bits(),
        };
        let genesis = rules.genesis().block_hash();
        let mut posts = Posts::default();
        let base = start.height();
        (0..base.div_ceil(PERIOD)).for_each(|_| posts.advance(None));
        Self {
            rules,
            minimum_work: Work::from_be_bytes([0; 32]),
            start,
            start_header: *header,
            genesis,
            base,
            window: VecDeque::from([entry]),
            tip: start,
            posts,
            branches: Branches::default(),
            pending: Vec::new(),
        }
    }

    /// Asks this work of any chain before it is kept.
    pub fn set_minimum_work(&mut self, work: Work) {
        self.minimum_work = work;
    }

    /// The lowest header that [`restore`](Self::restore) wants of a chain from `start` to `tip`, and the heights of the
    /// blocks below it whose hashes it wants, highest first.
    pub fn needed(start: u32, tip: u32) -> (u32, impl Iterator<Item = u32>) {
        let whole = (tip + 1).saturating_sub(WINDOW) / PERIOD * PERIOD;
        let base = whole.saturating_sub(MARGIN).max(start);
        let least = start + MARGIN;
        (base, Posts::heights(floor_of(base, start)).filter(move |&post| post >= least))
    }

    /// Takes up a stored chain that starts as this one: `headers` from the height that [`needed`](Self::needed) says up
    /// to the tip, which has `work`, and `posts`, the hashes at the heights that it says.
    ///
    /// `None`: they do not follow each other, or contradict what is known of the start.
    pub fn restore(
        &self,
        headers: &[Header],
        work: Work,
        posts: impl Fn(u32) -> Option<BlockHash>,
        base: u32,
    ) -> Option<Self> {
        let mut chain = Self { window: VecDeque::with_capacity(headers.len()), base, ..self.clone() };
        let mut work_above = work;
        let mut proof = (CompactTarget::from_consensus(0), self.start.proof());
        for pair in headers.windows(2) {
            if pair[1].prev_blockhash != pair[0].block_hash() {
                return None;
            }
        }
        for header in headers.iter().rev() {
            if header.bits != proof.0 {
                proof = (header.bits, self.rules.claimed_work(header.bits)?);
            }
            let entry = Entry {
                header: *header,
                hash: header.block_hash(),
                work: work_above,
                regular_bits: header.bits,
            };
            chain.window.push_front(entry);
            work_above = checked_sub(work_above, proof.1)?;
        }
        let first = chain.window.front_mut()?;
        let mut regular_bits = first.regular_bits;
        if base == self.start.height() {
            if first.hash != *self.start.hash() || first.work != self.start.work() {
                return None;
            }
            regular_bits = self.start.regular_bits();
            first.regular_bits = regular_bits;
        }
        for (height, entry) in (base..).zip(&mut chain.window).skip(1) {
            regular_bits = self.rules.regular_bits(entry.header.bits, height, regular_bits);
            entry.regular_bits = regular_bits;
        }
        let floor = floor_of(base, self.start.height());
        let least = self.start.height() + MARGIN;
        chain.posts = Posts::restore(floor, |height| if height >= least { posts(height) } else { None });
        chain.branches = Branches::default();
        chain.tip = chain.lineage_of(At::Best(chain.base + chain.window.len() as u32 - 1))?;
        Some(chain)
    }

    /// The rules that it keeps.
    pub const fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The block that the chain starts with, and what the rules know of it.
    pub const fn start(&self) -> &Lineage {
        &self.start
    }

    /// The header of the block that the chain starts with.
    pub const fn start_header(&self) -> &Header {
        &self.start_header
    }

    /// The best chain, for its next header.
    pub const fn lineage(&self) -> &Lineage {
        &self.tip
    }

    /// The best block.
    pub const fn tip(&self) -> BlockId {
        self.tip.block()
    }

    /// The best block's height.
    pub const fn tip_height(&self) -> u32 {
        self.tip.height()
    }

    /// Work of the best chain.
    pub const fn work(&self) -> Work {
        self.tip.work()
    }

    /// The header and hash at a height of the best chain, if they are in the window.
    pub fn at(&self, height: u32) -> Option<(&Header, BlockHash)> {
        self.entry(height).map(|entry| (&entry.header, entry.hash))
    }

    /// The work of the best chain up to and with the block at a height, if it is in the window.
    pub fn work_at(&self, height: u32) -> Option<Work> {
        self.entry(height).map(|entry| entry.work)
    }

    /// Whether this block is in the best chain, and in the window.
    pub fn holds(&self, block: BlockId) -> bool {
        self.entry(block.height).is_some_and(|entry| entry.hash == block.hash)
    }

    /// The height of a block of the best chain, if it is in the window. Looks at all of it: for what a peer names.
    pub fn height_of(&self, hash: &BlockHash) -> Option<u32> {
        let back = self.window.iter().rev().position(|entry| entry.hash == *hash)?;
        Some(self.tip_height() - back as u32)
    }

    /// A block that is known, in the window or on a branch.
    pub fn find(&self, hash: &BlockHash) -> Option<BlockId> {
        let height = match self.branches.get(hash) {
            Some(branch) => branch.height,
            None => self.height_of(hash)?,
        };
        Some(BlockId { height, hash: *hash })
    }

    /// How many headers beside the best chain are kept.
    pub fn branch_headers(&self) -> usize {
        self.branches.len()
    }

    /// The block of the best chain from which `block` branches off, or itself: the highest that a peer whose best
    /// block it is can serve.
    pub fn common(&self, block: BlockId) -> Option<u32> {
        let BlockId { mut height, mut hash } = block;
        loop {
            match self.entry(height) {
                Some(entry) if entry.hash == hash => return Some(height),
                // It has sunk below the window since: if it was in the best chain then, it is now.
                None if height < self.base => return Some(height),
                _ => {}
            }
            let branch = self.branches.get(&hash)?;
            hash = branch.entry.header.prev_blockhash;
            height = height.checked_sub(1)?;
        }
    }

    /// Where a block is that headers may go on from.
    pub fn place(&self, hash: &BlockHash) -> Place {
        if *hash == *self.tip.hash() || self.branches.get(hash).is_some() {
            return Place::AtHand;
        }
        let low = self.floor();
        if self.height_of(hash).is_some_and(|height| height >= low) {
            return Place::AtHand;
        }
        if let Some(post) = self.posts.iter().find(|post| post.hash == *hash) {
            return Place::Below(post);
        }
        if *hash == *self.start.hash() {
            Place::Start
        } else if *hash == self.genesis {
            Place::BeforeStart
        } else {
            Place::Unknown
        }
    }

    /// Hashes of the best chain from `from` down, newest first, ever sparser, then the block that it starts with, then the
    /// network's first: with any of them as parent an answer can be judged.
    pub fn locator(&self, from: u32) -> Vec<BlockHash> {
        let mut hashes = Vec::new();
        let floor = self.floor();
        let mut height = from.clamp(floor, self.tip_height());
        let mut step = 1;
        loop {
            hashes.extend(self.at(height).map(|(_, hash)| hash));
            if hashes.len() >= LOCATOR_DENSE {
                step *= 2;
            }
            if height < floor + step {
                break;
            }
            height -= step;
        }
        hashes.extend(self.posts.iter().map(|post| post.hash));
        hashes.truncate(MAX_LOCATOR - 2);
        for last in [*self.start.hash(), self.genesis] {
            if hashes.last() != Some(&last) {
                hashes.push(last);
            }
        }
        hashes
    }

    /// Takes the headers of one message, each with its hash. All that changes of the best chain is in the window until the
    /// next call.
    pub fn take(&mut self, headers: impl Iterator<Item = (Header, BlockHash)>, now: UnixTime) -> Taken {
        let threshold = self.threshold();
        self.take_above(threshold, headers, now, false)
    }

    /// Takes headers that go on from the tip, and that a known block above has among its ancestors.
    pub fn take_proven(
        &mut self,
        headers: impl Iterator<Item = (Header, BlockHash)>,
        now: UnixTime,
    ) -> Taken {
        self.take_above(Work::from_be_bytes([0; 32]), headers, now, true)
    }

    /// Takes headers whose chain has shown the work that is asked of it: see [`WorkProof`](super::WorkProof).
    pub fn take_worked(
        &mut self,
        headers: impl Iterator<Item = (Header, BlockHash)>,
        now: UnixTime,
    ) -> Taken {
        self.take_above(Work::from_be_bytes([0; 32]), headers, now, false)
    }

    /// What a chain must have in work to become the best one.
    pub fn goal(&self) -> Work {
        let mut one = [0; 32];
        one[31] = 1;
        (self.tip.work() + Work::from_be_bytes(one)).max(self.minimum_work)
    }

    fn take_above(
        &mut self,
        threshold: Work,
        headers: impl Iterator<Item = (Header, BlockHash)>,
        now: UnixTime,
        proven: bool,
    ) -> Taken {
        let mut taken = Taken::default();
        let mut at: Option<At> = None;
        // Once there is one, headers are new and judged.
        let mut lineage: Option<Lineage> = None;
        let mut pending = core::mem::take(&mut self.pending);
        let mut previous: Option<BlockHash> = None;
        for (header, hash) in headers {
            if previous.is_some_and(|previous| previous != header.prev_blockhash) {
                taken.stopped = Some(Stop::Discontinuous);
                break;
            }
            previous = Some(hash);
            if lineage.is_none() {
                if let Some(known) = self.known(at, &header, &hash) {
                    at = Some(known);
                    taken.last = Some(known.block(hash));
                    continue;
                }
                let parent = at.or_else(|| self.locate(&header.prev_blockhash));
                at = parent;
                lineage = parent.and_then(|parent| self.lineage_of(parent));
            }
            let Some(lineage) = &mut lineage else {
                taken.stopped = Some(Stop::Unconnected);
                break;
            };
            if let Err(error) = lineage.advance(&self.rules, &header, hash, now, proven) {
                taken.stopped = Some(Stop::Invalid(error));
                break;
            }
            let (work, regular_bits) = (lineage.work(), lineage.regular_bits());
            pending.push(Entry { header, hash, work, regular_bits });
        }
        if let (Some(lineage), Some(parent), Some(first)) = (lineage, at, pending.first()) {
            if lineage.work() < threshold {
                // What is wrong with the rest matters more than what the sound part lacks.
                if taken.stopped.is_none()
                    && let Some(fork) = self.common(parent.block(first.header.prev_blockhash))
                    && let Some(fork) = self.lineage_of(At::Best(fork))
                {
                    taken.stopped = Some(Stop::LowWork(Box::new(fork)));
                }
            } else {
                let parent = first.header.prev_blockhash;
                self.keep(&pending, parent, lineage, &mut taken);
            }
        }
        pending.clear();
        pending.shrink_to(KEPT);
        self.pending = pending;
        self.trim(taken.changed_from);
        taken
    }

    /// What any header that is kept must at least have in work, with all before it and those that come with it.
    fn threshold(&self) -> Work {
        let depth = times(self.tip.proof(), BRANCH_DEPTH);
        let near = checked_sub(self.tip.work(), depth).unwrap_or(Work::from_be_bytes([0; 32]));
        near.max(self.minimum_work)
    }

    /// Where a header is that is known already; `at` is where its parent is, if that has been found.
    fn known(&self, at: Option<At>, header: &Header, hash: &BlockHash) -> Option<At> {
        if let Some(branch) = self.branches.get(hash) {
            return Some(At::Branch(*hash, branch.height));
        }
        match at {
            Some(At::Best(parent)) => {
                self.entry(parent + 1).filter(|entry| entry.hash == *hash).map(|_| At::Best(parent + 1))
            }
            // A branch leads away from the best chain and never back.
            Some(At::Branch(..)) => None,
            // What follows the tip is new: the one case that must be fast.
            None if header.prev_blockhash == *self.tip.hash() => None,
            None => self.height_of(hash).map(At::Best),
        }
    }

    fn locate(&self, hash: &BlockHash) -> Option<At> {
        if *hash == *self.tip.hash() {
            return Some(At::Best(self.tip_height()));
        }
        match self.branches.get(hash) {
            Some(branch) => Some(At::Branch(*hash, branch.height)),
            None => self.height_of(hash).map(At::Best),
        }
    }

    /// The chain up to a known block, for the header after it. `None`: what it takes lies below the window.
    fn lineage_of(&self, at: At) -> Option<Lineage> {
        let (hash, height) = match at {
            At::Best(height)
                if height == self.tip_height() && *self.tip.hash() == self.entry(height)?.hash =>
            {
                return Some(self.tip);
            }
            At::Best(height) => (self.entry(height)?.hash, height),
            At::Branch(hash, height) => (hash, height),
        };
        if height == self.start.height() && hash == *self.start.hash() {
            return Some(self.start);
        }
        let last = match at {
            At::Best(height) => self.entry(height)?,
            At::Branch(hash, _) => &self.branches.get(&hash)?.entry,
        };
        let first_height = height - height % PERIOD;
        let mut times = Vec::with_capacity(11);
        let mut period_first = None;
        for (height, entry) in (0..=height).rev().zip(self.ancestry(height, hash)) {
            if times.len() < 11 {
                times.push(entry.header.time);
            }
            if height == first_height {
                period_first = Some(entry.header);
            }
            if period_first.is_some() && times.len() == 11 {
                break;
            }
        }
        if height.min(10) as usize >= times.len() && self.base > self.start.height() {
            return None;
        }
        let period_first = period_first.or_else(|| {
            // The start knows the first block of its own period, which lies below it.
            (first_height < self.start.height()).then(|| {
                let first = self.start.period_first();
                Header { time: first.time, bits: first.bits, ..last.header }
            })
        })?;
        // Below the start there are the times that it brings.
        let below = self.start.times_below();
        let times = times.into_iter().chain(below);
        let lineage = Lineage::at_period(&last.header, height, last.work);
        Some(lineage.with_past(last.regular_bits, &period_first, times))
    }

    /// A block and its ancestors, down to the window's first header.
    fn ancestry(&self, height: u32, hash: BlockHash) -> impl Iterator<Item = &Entry> {
        let mut next = Some((height, hash));
        core::iter::from_fn(move || {
            let (height, hash) = next?;
            let entry = match self.entry(height).filter(|entry| entry.hash == hash) {
                Some(entry) => entry,
                None => &self.branches.get(&hash)?.entry,
            };
            next = height.checked_sub(1).map(|below| (below, entry.header.prev_blockhash));
            Some(entry)
        })
    }

    /// Keeps headers that were judged: on the best chain, or beside it, or so that they become it.
    fn keep(&mut self, pending: &[Entry], parent: BlockHash, lineage: Lineage, taken: &mut Taken) {
        let first = lineage.height() + 1 - pending.len() as u32;
        taken.last = Some(lineage.block());
        if parent == *self.tip.hash() {
            // An eighth more at least, when there is no room: to double would leave up to a half unused for good.
            let more = pending.len().max(self.window.len() / 8);
            if self.window.capacity() - self.window.len() < pending.len() {
                self.window.reserve_exact(more);
            }
            self.window.extend(pending);
            self.tip = lineage;
            taken.changed_from = Some(first);
            return;
        }
        self.branches.make_room(pending.len(), &parent);
        for (height, entry) in (first..).zip(pending) {
            self.branches.insert(*entry, height);
        }
        if lineage.work() <= self.tip.work() {
            taken.beside = pending.len() as u32;
            return;
        }
        taken.left = Some(self.tip());
        let fork = self.switch_to(*lineage.hash());
        self.tip = lineage;
        taken.changed_from = Some(fork + 1);
        self.branches.make_room(0, &BlockHash::from_raw_hash(bitcoin::hashes::Hash::all_zeros()));
    }

    /// Makes the branch that ends in `hash` the best chain's window. Returns the height it branches off from.
    fn switch_to(&mut self, hash: BlockHash) -> u32 {
        let mut path = Vec::new();
        let mut hash = hash;
        let mut fork = None;
        while let Some(branch) = self.branches.remove(&hash) {
            path.push(branch.entry);
            hash = branch.entry.header.prev_blockhash;
            fork = Some(branch.height - 1);
        }
        let fork = fork.expect("a branch was just kept");
        assert!(
            self.entry(fork).is_some_and(|entry| entry.hash == hash),
            "a branch begins at the best chain"
        );
        while self.base + self.window.len() as u32 - 1 > fork {
            let height = self.base + self.window.len() as u32 - 1;
            let entry = self.window.pop_back().expect("the fork is in the window");
            self.branches.insert(entry, height);
        }
        self.window.extend(path.into_iter().rev());
        fork
    }

    /// The lowest height from which the window is whole: branches can be judged from there on.
    fn floor(&self) -> u32 {
        floor_of(self.base, self.start.height())
    }

    /// Cuts the window to its size, with the branches that began below it. What has changed is yet to be stored, and stays
    /// whole with the period that it begins in.
    fn trim(&mut self, changed_from: Option<u32>) {
        if self.window.len() <= (WINDOW + SLACK + MARGIN) as usize {
            return;
        }
        let low = (self.tip_height() + 1 - WINDOW).min(changed_from.unwrap_or(u32::MAX));
        let base = (low / PERIOD * PERIOD).saturating_sub(MARGIN).max(self.base);
        let floor = self.floor();
        let floor_after = floor_of(base, self.start.height());
        for period in floor.div_ceil(PERIOD)..floor_after / PERIOD {
            let height = period * PERIOD;
            let known = height >= self.start.height() + MARGIN;
            let hash = self.entry(height).filter(|_| known).map(|entry| entry.hash);
            self.posts.advance(hash);
        }
        while self.base < base {
            self.window.pop_front();
            self.base += 1;
        }
        if self.branches.len() > 0 {
            let mut branches = core::mem::take(&mut self.branches);
            branches.prune(|height, hash| {
                height >= floor_after && self.entry(height).is_some_and(|entry| entry.hash == *hash)
            });
            self.branches = branches;
        }
    }

    fn entry(&self, height: u32) -> Option<&Entry> {
        self.window.get(height.checked_sub(self.base)? as usize)
    }
}

impl At {
    const fn block(self, hash: BlockHash) -> BlockId {
        match self {
            Self::Best(height) | Self::Branch(_, height) => BlockId { height, hash },
        }
    }
}

/// The height from which a window is whole that begins at `base`, of a chain that starts at `start`.
const fn floor_of(base: u32, start: u32) -> u32 {
    if base == start { start } else { base + MARGIN }
}

fn checked_sub(work: Work, less: Work) -> Option<Work> {
    (work >= less).then(|| work - less)
}

/// `work`, `count` times over.
fn times(work: Work, count: u32) -> Work {
    let mut sum = Work::from_be_bytes([0; 32]);
    for bit in (0..32 - count.leading_zeros()).rev() {
        sum = sum + sum;
        if count >> bit & 1 == 1 {
            sum = sum + work;
        }
    }
    sum
}

#[cfg(test)]
#[path = "chain_tests.rs"]
mod tests;
