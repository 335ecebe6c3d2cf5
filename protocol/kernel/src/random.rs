//! The one source of randomness: a ChaCha20 stream (RFC 8439's block function, with a 64-bit counter), forked by label.
//!
//! All of a machine's choices come from the 32-byte seed it was built with, so a run repeats, and an attacker who
//! sees some of the choices learns nothing of the others.

use core::fmt;

use chacha20::cipher::{KeyIvInit, StreamCipher};
use chacha20::{ChaCha20Legacy, Key, LegacyNonce, R20, hchacha};

/// A seeded generator. It has no `Clone`: two copies would draw alike, and a nonce would be used twice.
pub struct Rng {
    root: Key,
    stream: ChaCha20Legacy,
}

impl Rng {
    /// The generator of a seed. The seed must be secret and from the operating system wherever it guards anything.
    pub fn new(seed: [u8; 32]) -> Self {
        let root = Key::from(seed);
        // The stream's key is derived too, so that what is drawn tells nothing of what forks draw.
        let key = absorb(&root, 0, b"stream");
        Self { root, stream: ChaCha20Legacy::new(&key, &LegacyNonce::default()) }
    }

    /// A generator independent of this one and of those with other labels.
    ///
    /// The same label gives the same generator, however much was drawn in between: use each once.
    pub fn fork(&self, label: &str) -> Self {
        Self::new(absorb(&self.root, 1, label.as_bytes()).into())
    }

    /// The `index`-th generator of a family, for one per connection and the like.
    pub fn fork_indexed(&self, label: &str, index: u64) -> Self {
        let family = absorb(&self.root, 2, label.as_bytes());
        Self::new(absorb(&family, 3, &index.to_le_bytes()).into())
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        bytes.fill(0);
        self.stream.apply_keystream(bytes);
    }

    /// `N` random bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }

    /// A random 64-bit number.
    pub fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.bytes())
    }

    /// A number in `0..bound`, each as likely as the others.
    ///
    /// # Panics
    /// If `bound` is zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "a number below zero was asked for");
        // Lemire's method: the high half of a product, drawn again in the few cases that would favour some results.
        loop {
            let product = u128::from(self.u64()) * u128::from(bound);
            if product as u64 >= bound.wrapping_neg() % bound {
                return (product >> 64) as u64;
            }
        }
    }

    /// Puts `items` in a random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }
}

impl fmt::Debug for Rng {
    /// Shows nothing of the state: it is secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rng")
    }
}

/// Derives a key from `root` and a labelled input, by a cascade of HChaCha20 over its blocks.
///
/// HChaCha20 is a pseudorandom function, and a cascade of one is too where no input is a prefix of another: the
/// length in the first block sees to that.
fn absorb(root: &Key, domain: u8, input: &[u8]) -> Key {
    let mut block = [0; 16];
    block[0] = domain;
    block[8..].copy_from_slice(&(input.len() as u64).to_le_bytes());
    let mut key = hchacha::<R20>(root, &block.into());
    for chunk in input.chunks(16) {
        let mut block = [0; 16];
        block[..chunk.len()].copy_from_slice(chunk);
        key = hchacha::<R20>(&key, &block.into());
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn repeats_from_its_seed_and_differs_by_label() {
        let mut first = Rng::new([7; 32]);
        let mut second = Rng::new([7; 32]);
        assert_eq!(first.bytes::<100>(), second.bytes::<100>());
        let draws: Vec<u64> = [
            first.fork("a").u64(),
            first.fork("b").u64(),
            first.fork("").u64(),
            first.fork("0123456789abcdef").u64(),
            first.fork("0123456789abcdef\0").u64(),
            first.fork_indexed("a", 0).u64(),
            first.fork_indexed("a", 1).u64(),
            first.fork("a").fork("a").u64(),
            Rng::new([8; 32]).u64(),
            Rng::new([7; 32]).u64(),
        ]
        .into();
        for (index, draw) in draws.iter().enumerate() {
            assert!(!draws[..index].contains(draw), "draw {index} repeats an earlier one");
        }
        assert_eq!(first.fork("a").u64(), second.fork("a").u64());
    }

    #[test]
    fn the_stream_is_pinned() {
        // A change here changes every recorded run: it must be meant.
        let mut rng = Rng::new([0; 32]);
        assert_eq!([rng.u64(), rng.fork("pinned").u64()], PINNED);
    }

    const PINNED: [u64; 2] = [1_313_326_685_411_174_800, 15_973_762_672_046_387_451];

    #[test]
    fn below_reaches_each_number_evenly() {
        let mut rng = Rng::new([1; 32]);
        let mut counts = [0u32; 6];
        for _ in 0..6000 {
            counts[rng.below(6) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
        assert_eq!(rng.below(1), 0);
    }

    #[test]
    fn shuffling_keeps_every_item() {
        let mut items: Vec<u32> = (0..50).collect();
        Rng::new([2; 32]).shuffle(&mut items);
        assert_ne!(items, (0..50).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..50).collect::<Vec<_>>());
    }
}
