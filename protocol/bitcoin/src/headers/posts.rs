//! Blocks of the best chain far below its tip, ever sparser: what a locator names there. Their number grows with the
//! logarithm of the chain's length.
//!
//! They lie at first blocks of difficulty periods. With `k` periods below the window, post `i` is at period
//! `((k >> i) - 1) << i`: each time `k` grows by one, a post either stays or takes the place of the one before it.

use alloc::vec::Vec;

use bitcoin::BlockHash;

use super::BlockId;
use super::rules::PERIOD;

#[derive(Clone, Debug, Default)]
pub(super) struct Posts {
    /// Periods below the window.
    periods: u32,
    /// By level. `None`: it lies below the first block that is known.
    levels: Vec<Option<BlockId>>,
}

impl Posts {
    /// The heights of the posts of a chain whose window is whole from `floor` on, highest first.
    pub(super) fn heights(floor: u32) -> impl Iterator<Item = u32> {
        let periods = floor.div_ceil(PERIOD);
        (0..32).map_while(move |level| Some(((periods >> level).checked_sub(1)? << level) * PERIOD))
    }

    /// Takes up those of a stored chain: `hash` knows the block at a height, unless it lies too far down.
    pub(super) fn restore(floor: u32, hash: impl Fn(u32) -> Option<BlockHash>) -> Self {
        let post = |height| Some(BlockId { height, hash: hash(height)? });
        Self { periods: floor.div_ceil(PERIOD), levels: Self::heights(floor).map(post).collect() }
    }

    /// Moves on to a window that is whole from one period further up. `passed` is the first block of the period that it
    /// leaves behind, unless that is not known.
    pub(super) fn advance(&mut self, passed: Option<BlockHash>) {
        let height = self.periods * PERIOD;
        self.periods += 1;
        let post = passed.map(|hash| BlockId { height, hash });
        if self.periods.is_power_of_two() {
            self.levels.push(None);
        }
        // From the sparsest down, so that each still finds the one before it as it was.
        for level in (1..self.levels.len()).rev() {
            if self.periods.is_multiple_of(1 << level) {
                self.levels[level] = self.levels[level - 1];
            }
        }
        if let Some(first) = self.levels.first_mut() {
            *first = post;
        }
    }

    /// Highest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = BlockId> {
        self.levels.iter().copied().flatten()
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use bitcoin::BlockHash;
    use bitcoin::hashes::Hash;

    use super::{PERIOD, Posts};

    fn hash(height: u32) -> BlockHash {
        BlockHash::hash(&height.to_le_bytes())
    }

    #[test]
    fn posts_are_the_same_whether_the_chain_grew_or_was_taken_up() {
        let mut grown = Posts::default();
        for periods in 1..=1000 {
            grown.advance(Some(hash((periods - 1) * PERIOD)));
            let taken_up = Posts::restore(periods * PERIOD, |height| Some(hash(height)));
            let heights: Vec<u32> = Posts::heights(periods * PERIOD).collect();
            assert_eq!(grown.iter().map(|post| post.height).collect::<Vec<_>>(), heights);
            assert!(grown.iter().eq(taken_up.iter()), "after {periods} periods");
            assert!(grown.iter().all(|post| post.hash == hash(post.height)));
            assert!(heights.is_sorted_by(|higher, lower| higher > lower));
            assert_eq!(heights.first(), Some(&((periods - 1) * PERIOD)));
            assert_eq!(heights.last(), Some(&0));
        }
        assert_eq!(grown.levels.len(), 10);
    }
}
