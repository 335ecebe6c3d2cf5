//! Building a filter.

use alloc::vec::Vec;

use bitcoin::BlockHash;

use super::{MAX_ELEMENTS, REMAINDER_BITS, keys_of, range_of, reduce};
use crate::wire::write_compact_size;

/// Builds the filter that holds `scripts`, keyed by the block's hash. Duplicates count once, empty ones not at all.
///
/// # Panics
/// If there are more scripts than a count in the protocol can be (2^25).
pub fn build<'a>(block_hash: &BlockHash, scripts: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut scripts: Vec<&[u8]> = scripts.into_iter().filter(|script| !script.is_empty()).collect();
    scripts.sort_unstable();
    scripts.dedup();
    let count = scripts.len() as u64;
    assert!(count <= MAX_ELEMENTS, "a filter was to hold {count} scripts");

    let (keys, range) = (keys_of(block_hash), range_of(count));
    let mut values: Vec<u64> = scripts.iter().map(|script| reduce(keys.hash(script), range)).collect();
    values.sort_unstable();

    let mut filter = Vec::with_capacity(9 + values.len() * 3);
    write_compact_size(&mut filter, count);
    let mut writer = BitWriter { bytes: filter, pending: 0, bits: 0 };
    let mut last = 0;
    for value in values {
        writer.write_distance(value - last);
        last = value;
    }
    writer.finish()
}

/// Writes bits, the most significant of each byte first.
struct BitWriter {
    bytes: Vec<u8>,
    /// The last `bits` written, fewer than 8 between calls.
    pending: u64,
    bits: u32,
}

impl BitWriter {
    /// A quotient of ones ended by a zero, then the remainder.
    fn write_distance(&mut self, distance: u64) {
        let mut ones = distance >> REMAINDER_BITS;
        while ones > 0 {
            let some = ones.min(32) as u32;
            self.write((1 << some) - 1, some);
            ones -= u64::from(some);
        }
        self.write(distance & ((1 << REMAINDER_BITS) - 1), 1 + REMAINDER_BITS);
    }

    fn write(&mut self, value: u64, bits: u32) {
        self.pending = self.pending << bits | value;
        self.bits += bits;
        while self.bits >= 8 {
            self.bits -= 8;
            self.bytes.push((self.pending >> self.bits) as u8);
        }
        self.pending &= (1 << self.bits) - 1;
    }

    fn finish(mut self) -> Vec<u8> {
        if self.bits > 0 {
            self.write(0, 8 - self.bits);
        }
        self.bytes
    }
}
