//! Basic compact block filters (BIP158): building them, and asking whether one matches a set of watched scripts.
//!
//! A filter is a Golomb-coded set: the number of its elements, then the distances between their sorted hashes. Whether
//! a filter is the right one for its block is the business of filter headers, not of this file.

use alloc::vec::Vec;
use core::fmt;

use bitcoin::hashes::{Hash, HashEngine, siphash24};
use bitcoin::opcodes::all::OP_RETURN;
use bitcoin::{Block, BlockHash, FilterHash, FilterHeader, OutPoint};

use crate::wire::{Reader, write_compact_size};

/// Bits of a distance that are written as they are.
const REMAINDER_BITS: u32 = 19;
/// One in so many elements of other blocks matches by chance.
const FALSE_POSITIVE_RATE: u64 = 784_931;
/// No filter has more elements than the limit on any count in the protocol, which decoding holds to as well. So their
/// number times [`FALSE_POSITIVE_RATE`] fits in 64 bits.
const MAX_ELEMENTS: u64 = 0x0200_0000;

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

    let hasher = Hasher::new(block_hash, count);
    let mut values: Vec<u64> = scripts.iter().map(|script| hasher.hash(script)).collect();
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

/// Builds a block's basic filter: its output scripts except those that begin with `OP_RETURN`, and the scripts that
/// its inputs spend, which `prevout_script` knows.
///
/// # Errors
/// If `prevout_script` does not know one that it was asked for. It is asked for outputs of this very block too.
pub fn basic<S: AsRef<[u8]>>(
    block: &Block,
    mut prevout_script: impl FnMut(&OutPoint) -> Option<S>,
) -> Result<Vec<u8>, MissingPrevout> {
    let mut spent = Vec::new();
    for transaction in block.txdata.iter().skip(1) {
        for input in &transaction.input {
            let outpoint = input.previous_output;
            spent.push(prevout_script(&outpoint).ok_or(MissingPrevout(outpoint))?);
        }
    }
    let outputs = block.txdata.iter().flat_map(|transaction| &transaction.output);
    let created = outputs
        .map(|output| output.script_pubkey.as_bytes())
        .filter(|script| script.first() != Some(&OP_RETURN.to_u8()));
    Ok(build(&block.block_hash(), created.chain(spent.iter().map(AsRef::as_ref))))
}

/// The hash of a filter, as `cfheaders` carries it.
pub fn hash(filter: &[u8]) -> FilterHash {
    FilterHash::hash(filter)
}

/// The header of a filter: it commits to the filter and to all filters before it. Before the first, it is all zeros.
pub fn header(filter_hash: FilterHash, previous: FilterHeader) -> FilterHeader {
    let mut engine = FilterHeader::engine();
    engine.input(filter_hash.as_byte_array());
    engine.input(previous.as_byte_array());
    FilterHeader::from_engine(engine)
}

/// Watched scripts, ready to be looked for in filters.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// The scripts, one after the other.
    bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
}

impl Query {
    /// Looks for any of `scripts`. Duplicates and empty ones do no harm: no filter holds an empty script.
    pub fn new<'a>(scripts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut scripts: Vec<&[u8]> = scripts.into_iter().filter(|script| !script.is_empty()).collect();
        scripts.sort_unstable();
        scripts.dedup();
        let mut query = Self::default();
        for script in scripts {
            query.bytes.extend_from_slice(script);
            query.ends.push(query.bytes.len());
        }
        query
    }

    /// How many scripts are looked for.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Whether a block's filter holds one of the scripts. One in 784,931 scripts that it does not hold matches too.
    ///
    /// Each filter is decoded to its end, and held to the rules that Bitcoin Core holds filters to. So whether it is
    /// an error depends on the filter alone, not on what is watched or on where the first match lies; it costs nothing
    /// where there is no match, which is nearly always. `scratch` is memory to use again; what is in it is of no
    /// concern.
    ///
    /// # Errors
    /// If `filter` is not the encoding of a set. The work is bounded by its length, whatever it claims.
    pub fn matches(
        &self,
        block_hash: &BlockHash,
        filter: &[u8],
        scratch: &mut Vec<u64>,
    ) -> Result<bool, DecodeError> {
        let mut front = Reader::new(filter);
        let count = front.compact_size().map_err(|_| DecodeError::Count)? as u64;
        let rest = front.rest();
        // An element takes a bit to end its quotient, and its remainder: what can't be there need not be looked for.
        if count * u64::from(1 + REMAINDER_BITS) > rest.len() as u64 * 8 {
            return Err(DecodeError::Truncated);
        }

        scratch.clear();
        if count > 0 {
            let hasher = Hasher::new(block_hash, count);
            let mut start = 0;
            scratch.extend(self.ends.iter().map(|&end| {
                let script = &self.bytes[start..end];
                start = end;
                hasher.hash(script)
            }));
            scratch.sort_unstable();
        }

        let mut wanted = scratch.iter().copied();
        let mut next = wanted.next();
        let mut found = false;
        let mut value: u64 = 0;
        let mut reader = BitReader::new(rest);
        for _ in 0..count {
            value = value.saturating_add(reader.read_distance()?);
            while let Some(candidate) = next
                && candidate <= value
            {
                found |= candidate == value;
                next = wanted.next();
            }
        }
        if reader.whole_bytes_left() { Err(DecodeError::Excess) } else { Ok(found) }
    }
}

/// A block spends an output that is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MissingPrevout(pub OutPoint);

impl fmt::Display for MissingPrevout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the block spends {}, which is not known", self.0)
    }
}

impl core::error::Error for MissingPrevout {}

/// Why bytes are no filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// The number of elements is missing, not in its shortest form, or above 2^25.
    Count,
    /// Whole bytes follow the last element.
    Excess,
    /// It ends before the last element.
    Truncated,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Count => "the filter's number of elements is not well-formed",
            Self::Excess => "the filter goes on after its last element",
            Self::Truncated => "the filter ends before its last element",
        })
    }
}

impl core::error::Error for DecodeError {}

/// Maps scripts evenly to `0..count * FALSE_POSITIVE_RATE`, by a hash keyed with the block's hash.
struct Hasher {
    keys: (u64, u64),
    range: u64,
}

impl Hasher {
    fn new(block_hash: &BlockHash, count: u64) -> Self {
        let bytes = block_hash.as_byte_array();
        let key = |start| {
            let bytes: &[u8; 8] = bytes[start..].first_chunk().expect("a hash has 32 bytes");
            u64::from_le_bytes(*bytes)
        };
        Self { keys: (key(0), key(8)), range: count * FALSE_POSITIVE_RATE }
    }

    fn hash(&self, script: &[u8]) -> u64 {
        let hash = siphash24::Hash::hash_to_u64_with_keys(self.keys.0, self.keys.1, script);
        ((u128::from(hash) * u128::from(self.range)) >> 64) as u64
    }
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

/// Reads bits, the most significant of each byte first, from a window of one word.
struct BitReader<'a> {
    rest: &'a [u8],
    /// The next bits, from the top. Below the first `bits` of them there are zeros or bits that `rest` still holds.
    window: u64,
    /// At most 63.
    bits: u32,
}

impl<'a> BitReader<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, window: 0, bits: 0 }
    }

    fn read_distance(&mut self) -> Result<u64, DecodeError> {
        let mut quotient = 0;
        loop {
            self.fill();
            let ones = self.window.leading_ones();
            if ones < self.bits {
                quotient += u64::from(ones);
                self.skip(ones + 1);
                break;
            }
            if self.bits == 0 {
                return Err(DecodeError::Truncated);
            }
            quotient += u64::from(self.bits);
            self.skip(self.bits);
        }
        if self.bits < REMAINDER_BITS {
            self.fill();
            if self.bits < REMAINDER_BITS {
                return Err(DecodeError::Truncated);
            }
        }
        let remainder = self.window >> (u64::BITS - REMAINDER_BITS);
        self.skip(REMAINDER_BITS);
        // The quotient is at most the number of bits there are: no slice is long enough to overflow this.
        Ok(quotient << REMAINDER_BITS | remainder)
    }

    /// Takes in bytes until the window holds 56 bits or more, or all there are.
    fn fill(&mut self) {
        if let Some(word) = self.rest.first_chunk() {
            self.window |= u64::from_be_bytes(*word) >> self.bits;
            let bytes = (63 - self.bits) / 8;
            self.rest = &self.rest[bytes as usize..];
            self.bits += bytes * 8;
        } else {
            while self.bits < 56
                && let Some((&byte, rest)) = self.rest.split_first()
            {
                self.window |= u64::from(byte) << (56 - self.bits);
                self.rest = rest;
                self.bits += 8;
            }
        }
    }

    fn skip(&mut self, bits: u32) {
        self.window <<= bits;
        self.bits -= bits;
    }

    /// Whether bytes are left of which no bit was read.
    fn whole_bytes_left(&self) -> bool {
        self.bits >= 8 || !self.rest.is_empty()
    }
}
