//! What a light client can know of fees, so that no single peer can make it up.
//!
//! - **What blocks paid** ([`RecentBlocks`]): of a block that was read whole, its coinbase says what all its transactions paid
//!   together, and so what they paid on average. That is proven by the block. It is above the least that came in: at
//!   times of many transactions an average is dearer than what would have done, and one transaction that pays too much, by
//!   mistake or to its own miner, lifts its block's. So take the median of several blocks, or a percentile, and not the last
//!   one. What single transactions paid can't be known: that takes the amounts of what they spend. Nothing is
//!   said of what waits to be confirmed.
//! - **What peers take at least** ([`FeeFilters`]): each names a rate below which it wants to hear of nothing (BIP133). It is
//!   the peer's word, rounded by up to a tenth so that the peer is not known by it. One vote for each group of peers, and the
//!   median of these: who does not have half of the groups moves it no further than between what others said. It is the floor
//!   below which a transaction does not spread, not what gets it confirmed.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;

use bitcoin::{Amount, Block, BlockHash, FeeRate, Network, Transaction, Weight};

use crate::broadcast::TAKES_NOTHING;
use crate::headers::BlockId;

/// Blocks that are remembered at most: about a day's.
pub const MAX_BLOCKS: usize = 144;

/// What the transactions of a block paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockFees {
    /// All together: what the coinbase took beyond the subsidy. A miner may take less than it may.
    pub total: Amount,
    /// Of all transactions but the coinbase.
    pub weight: Weight,
}

/// Why a block does not say what its transactions paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoFees {
    /// It has no transactions but the coinbase.
    Empty,
    /// Its coinbase takes less than the subsidy, or more than there is.
    Coinbase,
}

impl fmt::Display for NoFees {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the block has no transactions but its coinbase",
            Self::Coinbase => "the coinbase takes less than the subsidy",
        })
    }
}

impl core::error::Error for NoFees {}

impl BlockFees {
    /// Of a block that is known to be the one at this height: all of its transactions count.
    ///
    /// # Errors
    /// If it does not say.
    pub fn of(block: &Block, height: u32, network: Network) -> Result<Self, NoFees> {
        let coinbase = block.txdata.first().ok_or(NoFees::Empty)?;
        let weight = block.txdata.iter().map(Transaction::weight).sum();
        Self::new(coinbase, weight, block.txdata.len(), height, network)
    }

    /// The same, of a block that is not at hand whole: its coinbase, what its transactions weigh, the coinbase among them, and
    /// how many they are.
    ///
    /// # Errors
    /// If it does not say.
    pub fn new(
        coinbase: &Transaction,
        weight: Weight,
        transactions: usize,
        height: u32,
        network: Network,
    ) -> Result<Self, NoFees> {
        let taken =
            coinbase.output.iter().try_fold(Amount::ZERO, |sum, output| sum.checked_add(output.value));
        let total = taken.and_then(|taken| taken.checked_sub(subsidy(height, network)));
        // Nobody here checks that a block makes no more than it may: whoever does not care for its work can claim anything.
        let total = total.filter(|total| *total <= Amount::MAX_MONEY).ok_or(NoFees::Coinbase)?;
        if transactions < 2 {
            return Err(NoFees::Empty);
        }
        let weight = weight
            .checked_sub(coinbase.weight())
            .filter(|others| *others > Weight::ZERO)
            .ok_or(NoFees::Empty)?;
        Ok(Self { total, weight })
    }

    /// What they paid on average, each counted by its weight.
    pub fn average(&self) -> FeeRate {
        let weight = self.weight.to_wu().max(1);
        FeeRate::from_sat_per_kwu(self.total.to_sat().saturating_mul(1000) / weight)
    }
}

/// What a block brings into being, by its height.
pub const fn subsidy(height: u32, network: Network) -> Amount {
    let interval = match network {
        Network::Regtest => 150,
        _ => 210_000,
    };
    let halvings = height / interval;
    // As the rules have it: a number of 64 bits is shifted by less than 64.
    if halvings >= 64 { Amount::ZERO } else { Amount::from_sat(5_000_000_000 >> halvings) }
}

/// What the last blocks paid, as far as they were read.
#[derive(Clone, Debug, Default)]
pub struct RecentBlocks {
    blocks: BTreeMap<u32, (BlockHash, FeeRate)>,
}

impl RecentBlocks {
    /// None.
    pub const fn new() -> Self {
        Self { blocks: BTreeMap::new() }
    }

    /// Takes a block of the best chain in, in place of what was at its height. Of more than [`MAX_BLOCKS`] the lowest go.
    pub fn add(&mut self, block: BlockId, fees: BlockFees) {
        self.blocks.insert(block.height, (block.hash, fees.average()));
        while self.blocks.len() > MAX_BLOCKS {
            self.blocks.pop_first();
        }
    }

    /// Forgets blocks above a height: they are no longer in the best chain.
    pub fn rewind(&mut self, fork_height: u32) {
        let _ = self.blocks.split_off(&fork_height.saturating_add(1));
    }

    /// Whether a block was taken in.
    pub fn has(&self, block: &BlockId) -> bool {
        self.blocks.get(&block.height).is_some_and(|(hash, _)| *hash == block.hash)
    }

    /// What the blocks from a height on paid on average, the lowest rate first.
    pub fn rates(&self, from: u32) -> Vec<FeeRate> {
        let mut rates: Vec<FeeRate> = self.blocks.range(from..).map(|(_, (_, rate))| *rate).collect();
        rates.sort_unstable();
        rates
    }

    /// The rate that so many in a hundred of the blocks from a height on stayed at or below (nearest rank; 50: the lower
    /// median), and how many blocks that is of. `None`: no block was read.
    ///
    /// # Panics
    /// If `percent` is above 100.
    pub fn percentile(&self, percent: u8, from: u32) -> Option<(FeeRate, usize)> {
        assert!(percent <= 100, "a percentile is at most 100");
        let rates = self.rates(from);
        let rank = (rates.len() * usize::from(percent)).div_ceil(100).max(1);
        Some((*rates.get(rank - 1)?, rates.len()))
    }
}

/// What peers take at least. `P` names a peer, `G` the group that it is of: nobody has peers in many groups for little.
#[derive(Clone, Debug)]
pub struct FeeFilters<P, G> {
    peers: BTreeMap<P, (G, u64)>,
}

impl<P: Ord, G: Ord + Clone> FeeFilters<P, G> {
    /// Nobody's.
    pub const fn new() -> Self {
        Self { peers: BTreeMap::new() }
    }

    /// A peer has named its rate, in satoshis for 1000 virtual bytes: it takes the place of the one that it named before.
    pub fn set(&mut self, peer: P, group: G, least: u64) {
        self.peers.insert(peer, (group, least));
    }

    /// A peer is gone, and its vote with it.
    pub fn remove(&mut self, peer: &P) {
        self.peers.remove(peer);
    }

    /// The median of what groups of peers take at least, and how many groups that is of. Of an even number the lower one of
    /// the two in the middle: what pays too little can be made to pay more, what paid too much is gone.
    ///
    /// Who is syncing takes nothing, and has no vote. `None`: nobody has.
    pub fn median(&self) -> Option<(FeeRate, usize)> {
        let mut groups: BTreeMap<&G, Vec<u64>> = BTreeMap::new();
        for (group, least) in self.peers.values().filter(|(_, least)| *least < TAKES_NOTHING) {
            groups.entry(group).or_default().push(*least);
        }
        let votes: Vec<u64> = groups.into_values().filter_map(middle).collect();
        let count = votes.len();
        // A thousand weight units are 250 virtual bytes.
        middle(votes).map(|least| (FeeRate::from_sat_per_kwu(least.div_ceil(4)), count))
    }
}

impl<P: Ord, G: Ord + Clone> Default for FeeFilters<P, G> {
    fn default() -> Self {
        Self::new()
    }
}

/// The lower median.
fn middle(mut votes: Vec<u64>) -> Option<u64> {
    votes.sort_unstable();
    votes.get(votes.len().checked_sub(1)? / 2).copied()
}
