//! The world's randomness: streams forked by label, so that drawing more in one place changes nothing in another.
//!
//! Nothing here is secret: who needs that draws from [`andon_kernel::Rng`]. Everything is decided by whole numbers, for
//! functions of floating-point numbers differ between machines.

use core::ops::RangeBounds;

/// A stream of random numbers.
#[derive(Debug)]
pub struct Stream {
    root: u64,
    draws: fastrand::Rng,
}

/// A probability, as a whole number of parts of 2⁶⁴; certainty is a case of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chance(Option<u64>);

impl Stream {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Self {
        let root = mix(seed ^ 0x9e37_79b9_7f4a_7c15);
        Self { root, draws: fastrand::Rng::with_seed(mix(root)) }
    }

    /// A stream independent of this one and of those with other labels. The same label gives the same stream, however much was drawn.
    pub fn fork(&self, label: &str) -> Self {
        let absorb = |root: u64, byte: u8| mix(root.rotate_left(8) ^ u64::from(byte));
        Self::new(label.bytes().fold(mix(self.root ^ label.len() as u64), absorb))
    }

    /// The `index`-th of a family of streams, for one per node and the like.
    pub fn fork_indexed(&self, label: &str, index: u64) -> Self {
        let family = self.fork(label).root;
        Self::new(mix(family ^ mix(index)))
    }

    /// Any 64-bit number.
    pub fn u64(&mut self) -> u64 {
        self.draws.u64(..)
    }

    /// A number in `0..bound`.
    ///
    /// # Panics
    /// If `bound` is zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.draws.u64(..bound)
    }

    /// A number of a range.
    ///
    /// # Panics
    /// If the range is empty.
    pub fn within(&mut self, range: impl RangeBounds<u64>) -> u64 {
        self.draws.u64(range)
    }

    /// One of a slice's items by its place.
    ///
    /// # Panics
    /// If there is none.
    pub fn index(&mut self, length: usize) -> usize {
        self.below(length as u64) as usize
    }

    /// Whether something happens that happens with this probability. Draws in any case.
    pub fn happens(&mut self, chance: Chance) -> bool {
        let drawn = self.u64();
        chance.covers(drawn)
    }

    /// Puts `items` in a random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        // As from the dependency on a machine of 64 bits, which draws numbers of the machine's size.
        for last in 1..items.len() {
            items.swap(last, self.index(last + 1));
        }
    }

    /// 32 bytes, as the seed of a machine.
    pub fn seed(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for word in bytes.chunks_exact_mut(8) {
            word.copy_from_slice(&self.u64().to_le_bytes());
        }
        bytes
    }
}

impl Chance {
    /// It never happens.
    pub const NEVER: Self = Self(Some(0));
    /// It always happens.
    pub const ALWAYS: Self = Self(None);

    /// So many parts of 2⁶⁴.
    pub const fn parts(parts: u64) -> Self {
        Self(Some(parts))
    }

    /// Whether something happens for this one of all numbers of 64 bits: for the share of them that the probability is.
    pub fn covers(self, number: u64) -> bool {
        self.0.is_none_or(|parts| number < parts)
    }

    /// The whole part of this share of a number.
    pub fn part_of(self, whole: u64) -> u64 {
        self.0.map_or(whole, |parts| ((u128::from(parts) * u128::from(whole)) >> 64) as u64)
    }

    /// `part` of `whole`.
    ///
    /// # Panics
    /// If `whole` is zero.
    pub fn of(part: u64, whole: u64) -> Self {
        assert!(whole > 0, "a part of nothing is no probability");
        if part >= whole {
            return Self::ALWAYS;
        }
        Self(Some(((u128::from(part) << 64) / u128::from(whole)) as u64))
    }

    /// A probability that someone wrote down; `None` if it is not from 0 to 1. Exact: a product with a power of two.
    pub fn new(probability: f64) -> Option<Self> {
        if !(0.0..=1.0).contains(&probability) {
            return None;
        }
        Some(if probability == 1.0 {
            Self::ALWAYS
        } else {
            Self(Some((probability * 18_446_744_073_709_551_616.0) as u64))
        })
    }
}

/// A bijection of 64-bit numbers in which every bit of the result depends on every bit of the input (splitmix64's finisher).
pub const fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_from_its_seed_and_differs_by_label() {
        let (mut first, mut second) = (Stream::new(7), Stream::new(7));
        assert_eq!([first.u64(), first.u64()], [second.u64(), second.u64()]);
        let draws = [
            first.fork("a").u64(),
            first.fork("b").u64(),
            first.fork("").u64(),
            first.fork("ab").u64(),
            first.fork("ba").u64(),
            first.fork_indexed("a", 0).u64(),
            first.fork_indexed("a", 1).u64(),
            Stream::new(8).fork("a").u64(),
        ];
        let distinct: std::collections::BTreeSet<_> = draws.into_iter().collect();
        assert_eq!(distinct.len(), draws.len());
        assert_eq!(first.fork("a").u64(), draws[0]);
    }

    /// Experiments that were published name a seed: what it gives must not change with a dependency.
    #[test]
    fn a_seed_gives_these_numbers_for_ever() {
        let mut stream = Stream::new(1).fork("pinned");
        let drawn = [stream.u64(), stream.below(1000), stream.within(5..=6)];
        assert_eq!(drawn, PINNED);
        let mut order: Vec<u8> = (0..12).collect();
        stream.shuffle(&mut order);
        assert_eq!(order, ORDER);
        assert_eq!(stream.seed(), SEED);
    }
    const PINNED: [u64; 3] = [9_791_508_358_767_176_724, 500, 5];
    const ORDER: [u8; 12] = [7, 3, 1, 5, 2, 4, 10, 11, 6, 0, 8, 9];
    const SEED: [u8; 32] = [
        153, 16, 96, 68, 206, 176, 243, 208, 164, 230, 174, 81, 147, 138, 93, 70, 90, 183, 69, 15, 113, 243,
        85, 2, 40, 216, 210, 216, 27, 16, 72, 47,
    ];

    #[test]
    fn chances_are_what_they_say() {
        let mut stream = Stream::new(3);
        let mut count = |chance| (0..100_000).filter(|_| stream.happens(chance)).count();
        assert_eq!((count(Chance::NEVER), count(Chance::ALWAYS)), (0, 100_000));
        assert_eq!((count(Chance::of(3, 3)), count(Chance::of(9, 3))), (100_000, 100_000));
        let quarter = count(Chance::of(1, 4));
        assert!((24_500..25_500).contains(&quarter), "{quarter}");
        assert_eq!(Chance::new(0.25), Some(Chance::of(1, 4)));
        assert_eq!([Chance::new(-0.1), Chance::new(1.1), Chance::new(f64::NAN)], [None; 3]);
    }
}
