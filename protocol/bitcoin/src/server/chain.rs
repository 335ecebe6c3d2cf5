//! The chain that a server serves: its blocks with their filters and filter headers (BIP157, BIP158), and the branches
//! that it left.
//!
//! It checks that blocks connect and spend what exists, for the filters need that. It checks no proof of work, no
//! scripts and no amounts: a server serves what it is given, so that a test can give it anything.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use bitcoin::block::Header;
use bitcoin::consensus::{deserialize, serialize};
use bitcoin::hashes::Hash;
use bitcoin::{Block, BlockHash, FilterHash, FilterHeader, OutPoint, ScriptBuf, Work};

use super::limits::{SPACING, STALE_AGE_LIMIT};
use crate::filter::{self, MissingPrevout};

/// Blocks from a genesis block on, ready to be served. Copies share everything until one of them changes, and the blocks for
/// ever.
#[derive(Clone, Debug)]
pub struct Chain {
    state: Arc<State>,
}

#[derive(Clone, Debug, Default)]
struct State {
    /// Each block that was ever in the best chain, in the order in which they came.
    blocks: Vec<Arc<Served>>,
    by_hash: BTreeMap<BlockHash, BlockIndex>,
    /// The best chain, by height.
    best: Vec<BlockIndex>,
    /// What each block of the best chain spent.
    spent: Vec<Vec<(OutPoint, ScriptBuf)>>,
    /// The scripts of the outputs that the tip leaves unspent.
    unspent: BTreeMap<OutPoint, ScriptBuf>,
}

/// A position in [`Chain::blocks`]. It stays valid: blocks are never removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockIndex(u32);

/// A block and all that is said of it.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) hash: BlockHash,
    pub(super) header: Header,
    pub(super) height: u32,
    /// Itself for the genesis block.
    parent: BlockIndex,
    /// From the genesis block on. No real chain's comes near the limit of the type.
    work: u128,
    /// As it goes over the wire, with witnesses.
    pub(super) bytes: Box<[u8]>,
    pub(super) has_witness: bool,
    pub(super) filter: Box<[u8]>,
    pub(super) filter_hash: FilterHash,
    pub(super) filter_header: FilterHeader,
}

impl Chain {
    /// The chain of these blocks, the genesis block first.
    ///
    /// # Errors
    /// If there is none, or one does not follow the one before it, or spends what does not exist.
    pub fn new(blocks: impl IntoIterator<Item = Block>) -> Result<Self, ChainError> {
        Self::with_filters(blocks.into_iter().map(|block| (block, None)))
    }

    /// As [`new`](Self::new), with filters of another making in the place of the blocks' own where there are any: they are
    /// served as they are, right or wrong.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_filters(
        blocks: impl IntoIterator<Item = (Block, Option<Vec<u8>>)>,
    ) -> Result<Self, ChainError> {
        let mut chain = Self { state: Arc::default() };
        for (block, filter) in blocks {
            let parent = chain.state.best.last().map_or(BlockHash::all_zeros(), |&tip| chain.block(tip).hash);
            if block.header.prev_blockhash != parent {
                return Err(ChainError::NotConnected(block.block_hash()));
            }
            chain.connect(&block, filter)?;
        }
        if chain.state.best.is_empty() { Err(ChainError::NoBlocks) } else { Ok(chain) }
    }

    /// Adds blocks after the tip: all or, if one can't be, none.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn extend(&mut self, blocks: &[Block]) -> Result<(), ChainError> {
        self.reorganise(self.height(), blocks)
    }

    /// Replaces the blocks above `fork_height` by others that have more work: by all or, if one can't be, by none.
    /// The blocks that were replaced are kept, for peers that ask for them.
    ///
    /// # Errors
    /// As [`new`](Self::new), and if the chain is not that high, or the new branch has no more work than the old one.
    pub fn reorganise(&mut self, fork_height: u32, blocks: &[Block]) -> Result<(), ChainError> {
        let Some(&fork) = self.state.best.get(fork_height as usize) else {
            return Err(ChainError::NoFork(fork_height));
        };
        if blocks.is_empty() {
            return Err(ChainError::NoBlocks);
        }
        let mut work = self.block(fork).work;
        let mut parent = self.block(fork).hash;
        for block in blocks {
            if block.header.prev_blockhash != parent {
                return Err(ChainError::NotConnected(block.block_hash()));
            }
            parent = block.block_hash();
            work = work.saturating_add(proof(&block.header));
        }
        if work <= self.block(self.tip_index()).work {
            return Err(ChainError::LessWork);
        }

        let old: Vec<BlockIndex> = self.state.best[fork_height as usize + 1..].to_vec();
        self.disconnect_above(fork_height);
        for block in blocks {
            if let Err(error) = self.connect(block, None) {
                self.disconnect_above(fork_height);
                for index in old {
                    let block = self.block(index).read();
                    self.connect(&block, None).expect("the branch was connected before");
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// Takes over what `later`, a copy of this chain, has become, and gives the last height at which the two agree. Costs
    /// nothing: that copy is shared.
    ///
    /// # Errors
    /// If `later` is no later copy of this chain, or has no more work.
    pub fn follow(&mut self, later: &Self) -> Result<u32, ChainError> {
        // Blocks are only ever added, so the same one at the same place means that all before it are the same.
        let newest = self.state.blocks.len() - 1;
        let is_copy = |block: &Arc<Served>| Arc::ptr_eq(block, &self.state.blocks[newest]);
        if !later.state.blocks.get(newest).is_some_and(is_copy) {
            return Err(ChainError::NotACopy);
        }
        if later.block(later.tip_index()).work <= self.block(self.tip_index()).work {
            return Err(ChainError::LessWork);
        }
        let both = self.state.best.iter().zip(&later.state.best);
        let fork_height = both.take_while(|(mine, other)| mine == other).count() - 1;
        self.state = later.state.clone();
        Ok(fork_height as u32)
    }

    /// Blocks before the tip.
    pub fn height(&self) -> u32 {
        (self.state.best.len() - 1) as u32
    }

    /// The hash of the tip.
    pub fn tip(&self) -> BlockHash {
        self.block(self.tip_index()).hash
    }

    /// The hash of a block of the best chain.
    pub fn hash_at(&self, height: u32) -> Option<BlockHash> {
        Some(self.block(self.at(height)?).hash)
    }

    /// The height of a block of the best chain.
    pub fn height_of(&self, hash: &BlockHash) -> Option<u32> {
        self.find(hash).filter(|&index| self.is_in_best(index)).map(|index| self.block(index).height)
    }

    /// The header of a block of the best chain.
    pub fn header_at(&self, height: u32) -> Option<Header> {
        Some(self.block(self.at(height)?).header)
    }

    /// A block of the best chain.
    pub fn block_at(&self, height: u32) -> Option<Block> {
        Some(self.block(self.at(height)?).read())
    }

    /// The filter that is served of a block of the best chain.
    pub fn filter_at(&self, height: u32) -> Option<&[u8]> {
        Some(&self.block(self.at(height)?).filter)
    }

    /// The filter header of a block, in the best chain or one that was.
    pub fn filter_header(&self, hash: &BlockHash) -> Option<FilterHeader> {
        Some(self.block(self.find(hash)?).filter_header)
    }

    /// Whether the best chain has this output and has not spent it.
    pub(super) fn is_unspent(&self, outpoint: &OutPoint) -> bool {
        self.state.unspent.contains_key(outpoint)
    }

    pub(super) fn tip_index(&self) -> BlockIndex {
        *self.state.best.last().expect("a chain has a genesis block")
    }

    pub(super) fn at(&self, height: u32) -> Option<BlockIndex> {
        self.state.best.get(height as usize).copied()
    }

    pub(super) fn find(&self, hash: &BlockHash) -> Option<BlockIndex> {
        self.state.by_hash.get(hash).copied()
    }

    pub(super) fn block(&self, index: BlockIndex) -> &Served {
        &self.state.blocks[index.0 as usize]
    }

    pub(super) fn parent(&self, index: BlockIndex) -> Option<BlockIndex> {
        let block = self.block(index);
        (block.height > 0).then_some(block.parent)
    }

    pub(super) fn is_in_best(&self, index: BlockIndex) -> bool {
        self.at(self.block(index).height) == Some(index)
    }

    /// The block at `height` on the way down from `index`.
    pub(super) fn ancestor(&self, index: BlockIndex, height: u32) -> Option<BlockIndex> {
        if height > self.block(index).height {
            return None;
        }
        let mut index = index;
        while self.block(index).height > height {
            if self.is_in_best(index) {
                return self.at(height);
            }
            index = self.block(index).parent;
        }
        Some(index)
    }

    /// Whether the chain up to `index` has at least the work of that up to `other`.
    pub(super) fn has_as_much_work(&self, index: BlockIndex, other: BlockIndex) -> bool {
        self.block(index).work >= self.block(other).work
    }

    /// Whether Bitcoin Core would serve this block: it is in the best chain, or left it less than a month ago, by its
    /// time and by the work done since.
    pub(super) fn is_served(&self, index: BlockIndex) -> bool {
        if self.is_in_best(index) {
            return true;
        }
        let (tip, block) = (self.block(self.tip_index()), self.block(index));
        let age = i64::from(tip.header.time) - i64::from(block.header.time);
        let month_of_work = proof(&tip.header).saturating_mul((STALE_AGE_LIMIT / SPACING).into());
        age < STALE_AGE_LIMIT.into() && tip.work.saturating_sub(block.work) < month_of_work
    }

    /// Adds a block that follows the tip, with this filter or its own.
    fn connect(&mut self, block: &Block, filter: Option<Vec<u8>>) -> Result<(), ChainError> {
        let mut spent = Vec::new();
        let state = Arc::make_mut(&mut self.state);
        for (position, transaction) in block.txdata.iter().enumerate() {
            // The first is the coinbase: its input spends nothing.
            for input in transaction.input.iter().filter(|_| position > 0) {
                let outpoint = input.previous_output;
                let Some(script) = state.unspent.remove(&outpoint) else {
                    state.restore(block, spent);
                    return Err(ChainError::MissingPrevout(MissingPrevout(outpoint)));
                };
                spent.push((outpoint, script));
            }
            let txid = transaction.compute_txid();
            for (output, number) in transaction.output.iter().zip(0..) {
                state.unspent.insert(OutPoint::new(txid, number), output.script_pubkey.clone());
            }
        }

        let hash = block.block_hash();
        let index = match self.find(&hash) {
            Some(index) => index,
            None => {
                // The filter asks for what is spent in the order in which it was gathered.
                let mut scripts = spent.iter().map(|(_, script)| script);
                let own = || filter::basic(block, |_| scripts.next()).map_err(ChainError::MissingPrevout);
                let filter = filter.map_or_else(own, Ok)?;
                self.insert(block, hash, filter)
            }
        };
        let state = Arc::make_mut(&mut self.state);
        state.best.push(index);
        state.spent.push(spent);
        Ok(())
    }

    fn insert(&mut self, block: &Block, hash: BlockHash, filter: Vec<u8>) -> BlockIndex {
        let index =
            BlockIndex(u32::try_from(self.state.blocks.len()).expect("there are fewer than 2^32 blocks"));
        let parent = self.state.best.last().map(|&parent| self.block(parent));
        let filter_hash = filter::hash(&filter);
        let previous = parent.map_or(FilterHeader::all_zeros(), |parent| parent.filter_header);
        let inputs = block.txdata.iter().flat_map(|transaction| &transaction.input);
        let served = Arc::new(Served {
            hash,
            header: block.header,
            height: parent.map_or(0, |parent| parent.height + 1),
            parent: self.state.best.last().copied().unwrap_or(index),
            work: parent.map_or(0, |parent| parent.work).saturating_add(proof(&block.header)),
            bytes: serialize(block).into(),
            has_witness: inputs.into_iter().any(|input| !input.witness.is_empty()),
            filter: filter.into(),
            filter_hash,
            filter_header: filter::header(filter_hash, previous),
        });
        let state = Arc::make_mut(&mut self.state);
        state.blocks.push(served);
        state.by_hash.insert(hash, index);
        index
    }

    fn disconnect_above(&mut self, height: u32) {
        while self.height() > height {
            let block = self.block(self.tip_index()).read();
            let state = Arc::make_mut(&mut self.state);
            let spent = state.spent.pop().expect("each block of the best chain has one");
            state.best.pop();
            state.restore(&block, spent);
        }
    }
}

impl State {
    /// Puts back what a block spent, and takes out what it created.
    fn restore(&mut self, block: &Block, spent: Vec<(OutPoint, ScriptBuf)>) {
        self.unspent.extend(spent);
        for transaction in &block.txdata {
            let txid = transaction.compute_txid();
            for number in 0..transaction.output.len() as u32 {
                self.unspent.remove(&OutPoint::new(txid, number));
            }
        }
    }
}

impl Served {
    /// The block.
    pub(super) fn read(&self) -> Block {
        deserialize(&self.bytes).expect("the bytes were written from a block")
    }

    /// The block without witnesses, as it goes over the wire.
    pub(super) fn stripped(&self) -> Vec<u8> {
        let mut block = self.read();
        for input in block.txdata.iter_mut().flat_map(|transaction| &mut transaction.input) {
            input.witness.clear();
        }
        serialize(&block)
    }
}

/// The work of one block.
fn proof(header: &Header) -> u128 {
    let work: Work = header.work();
    let (high, low) = {
        let bytes = work.to_be_bytes();
        let half = |start| {
            let bytes: &[u8; 16] = bytes[start..].first_chunk().expect("work has 32 bytes");
            u128::from_be_bytes(*bytes)
        };
        (half(0), half(16))
    };
    if high == 0 { low } else { u128::MAX }
}

/// Why blocks are no chain, or don't become part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChainError {
    /// The new branch has no more work than the old one.
    LessWork,
    /// A block spends what does not exist.
    MissingPrevout(MissingPrevout),
    /// There is no block.
    NoBlocks,
    /// The chain is not as high as the fork.
    NoFork(u32),
    /// What is to be followed is no later copy of the chain.
    NotACopy,
    /// This block does not follow the one before it.
    NotConnected(BlockHash),
}

impl fmt::Display for ChainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LessWork => f.write_str("the new branch has no more work than the old one"),
            Self::MissingPrevout(missing) => missing.fmt(f),
            Self::NoBlocks => f.write_str("there is no block"),
            Self::NotACopy => f.write_str("it is no later copy of the chain"),
            Self::NoFork(height) => write!(f, "the chain has no block at height {height}"),
            Self::NotConnected(hash) => write!(f, "block {hash} does not follow the one before it"),
        }
    }
}

impl core::error::Error for ChainError {}
