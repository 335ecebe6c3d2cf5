//! SipHash-2-4, of several messages at once: one round after the other they are too slow a chain of steps for a processor
//! that does several at a time.
//!
//! After J.-P. Aumasson and D. J. Bernstein, "SipHash: a fast short-input PRF". What is keyed here is public; nothing
//! about it has to take the same time.

use alloc::vec::Vec;

use super::lanes::Lane;
#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
use super::lanes::Pair;

/// Messages that are hashed side by side: on x86_64 two as words and four as pairs of words, of the mixes that its registers
/// hold the one that measured fastest.
#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
const LANES: usize = 6;

/// Messages that are hashed side by side.
#[cfg(not(all(target_arch = "x86_64", target_feature = "sse2")))]
const LANES: usize = 4;

/// The state that a key begins with.
#[derive(Clone, Copy)]
pub(super) struct Keys([u64; 4]);

/// Messages of the same number of words, in groups of [`LANES`]: first of each group the first words, then the second.
#[derive(Clone, Debug, Default)]
pub(super) struct Messages {
    words: usize,
    groups: Vec<[u64; LANES]>,
    len: usize,
}

/// A message as words: eight bytes each, the last with what is left and the length.
pub(super) fn words_of(message: &[u8]) -> impl Iterator<Item = u64> {
    let (words, rest) = message.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    last[7] = message.len() as u8;
    words.iter().map(|word| u64::from_le_bytes(*word)).chain([u64::from_le_bytes(last)])
}

impl Messages {
    /// None yet, of so many words each.
    pub(super) const fn new(words: usize) -> Self {
        Self { words, groups: Vec::new(), len: 0 }
    }

    /// One more.
    ///
    /// # Panics
    /// If it has another number of words.
    pub(super) fn push(&mut self, message: &[u8]) {
        let lane = self.len % LANES;
        if lane == 0 {
            self.groups.resize(self.groups.len() + self.words, [0; LANES]);
        }
        let first = self.groups.len() - self.words;
        let mut count = 0;
        for (word, group) in words_of(message).zip(&mut self.groups[first..]) {
            group[lane] = word;
            count += 1;
        }
        assert_eq!(
            (count, message.len() / 8 + 1),
            (self.words, self.words),
            "messages have the same number of words"
        );
        self.len += 1;
    }

    /// The hashes of all, in order.
    #[inline]
    pub(super) fn hashes(&self, keys: Keys, mut take: impl FnMut(u64)) {
        let full = self.len / LANES * self.words;
        let (full, rest) = self.groups.split_at(full);
        for group in full.chunks_exact(self.words) {
            keys.hash_group(group).into_iter().for_each(&mut take);
        }
        if !rest.is_empty() {
            keys.hash_group(rest).into_iter().take(self.len % LANES).for_each(take);
        }
    }
}

impl Keys {
    pub(super) const fn new(first: u64, second: u64) -> Self {
        Self([
            first ^ 0x736f_6d65_7073_6575,
            second ^ 0x646f_7261_6e64_6f6d,
            first ^ 0x6c79_6765_6e65_7261,
            second ^ 0x7465_6462_7974_6573,
        ])
    }

    /// The hash of one message.
    pub(super) fn hash(self, message: &[u8]) -> u64 {
        let mut state: State<u64, 1> = begin(self);
        words_of(message).for_each(|word| compress(&mut state, [word]));
        let [hash] = finish(state);
        hash
    }

    #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
    #[inline]
    fn hash_group(self, words: &[[u64; LANES]]) -> [u64; LANES] {
        let mut single: State<u64, 2> = begin(self);
        let mut pairs: State<Pair, 2> = begin(self);
        for [a, b, c, d, e, f] in words {
            compress(&mut single, [*a, *b]);
            compress(&mut pairs, [Pair::new(*c, *d), Pair::new(*e, *f)]);
        }
        let ([a, b], [cd, ef]) = (finish(single), finish(pairs));
        let ([c, d], [e, f]) = (cd.words(), ef.words());
        [a, b, c, d, e, f]
    }

    #[cfg(not(all(target_arch = "x86_64", target_feature = "sse2")))]
    #[inline]
    fn hash_group(self, words: &[[u64; LANES]]) -> [u64; LANES] {
        let mut state = begin(self);
        words.iter().for_each(|word| compress(&mut state, *word));
        finish(state)
    }
}

/// The four words of each message's state.
type State<L, const N: usize> = [[L; N]; 4];

#[inline(always)]
fn begin<L: Lane, const N: usize>(keys: Keys) -> State<L, N> {
    keys.0.map(|word| [L::of(word); N])
}

#[inline(always)]
fn compress<L: Lane, const N: usize>(state: &mut State<L, N>, words: [L; N]) {
    for (word, value) in words.iter().zip(&mut state[3]) {
        *value = value.xor(*word);
    }
    round(state);
    round(state);
    for (word, value) in words.iter().zip(&mut state[0]) {
        *value = value.xor(*word);
    }
}

#[inline(always)]
fn finish<L: Lane, const N: usize>(mut state: State<L, N>) -> [L; N] {
    state[2] = state[2].map(|word| word.xor(L::of(0xff)));
    for _ in 0..4 {
        round(&mut state);
    }
    let [a, b, c, d] = state;
    core::array::from_fn(|lane| a[lane].xor(b[lane]).xor(c[lane]).xor(d[lane]))
}

#[inline(always)]
fn round<L: Lane, const N: usize>([a, b, c, d]: &mut State<L, N>) {
    for lane in 0..N {
        let (mut v0, mut v1, mut v2, mut v3) = (a[lane], b[lane], c[lane], d[lane]);
        v0 = v0.plus(v1);
        v2 = v2.plus(v3);
        v1 = v1.rotate_13().xor(v0);
        v3 = v3.rotate_16().xor(v2);
        v0 = v0.rotate_32();
        v2 = v2.plus(v1);
        v0 = v0.plus(v3);
        v1 = v1.rotate_17().xor(v2);
        v3 = v3.rotate_21().xor(v0);
        v2 = v2.rotate_32();
        (a[lane], b[lane], c[lane], d[lane]) = (v0, v1, v2, v3);
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::hashes::siphash24;

    use super::*;

    /// Of every length, and for groups that are full and not, the same as another implementation's.
    #[test]
    fn equals_another_implementation() {
        let bytes: Vec<u8> = (0..300_u32).map(|at| (at * 7 % 251) as u8).collect();
        for len in 0..300 {
            let (first, second) =
                (0x0706_0504_0302_0100_u64.wrapping_mul(len as u64 + 1), !(len as u64) << 20);
            let keys = Keys::new(first, second);
            let mut messages = Messages::new(len / 8 + 1);
            let mut expected = Vec::new();
            for end in len..=bytes.len().min(len + len % 11) {
                let message = &bytes[end - len..end];
                expected.push(siphash24::Hash::hash_to_u64_with_keys(first, second, message));
                assert_eq!(keys.hash(message), expected[expected.len() - 1]);
                messages.push(message);
            }
            let mut hashes = Vec::new();
            messages.hashes(keys, |hash| hashes.push(hash));
            assert_eq!(hashes, expected, "{len}");
        }
    }
}
