//! Basic compact block filters (BIP158): building them, and asking whether one matches a set of watched scripts.
//!
//! A filter is a Golomb-coded set: the number of its elements, then the distances between their sorted hashes. Whether
//! a filter is the right one for its block is the business of filter headers, not of this file.

mod decode;
mod encode;
mod judge;
mod lanes;
mod query;
mod siphash;

use alloc::vec::Vec;
use core::fmt;

use bitcoin::hashes::{Hash, HashEngine};
use bitcoin::opcodes::all::OP_RETURN;
use bitcoin::{Block, BlockHash, FilterHash, FilterHeader, OutPoint};

pub use decode::DecodeError;
pub use encode::build;
pub(crate) use judge::scripts_told;
pub use judge::{Omission, Place, omission};
pub use query::{Query, Scratch};
use siphash::Keys;

/// Bits of a distance that are written as they are.
const REMAINDER_BITS: u32 = 19;
/// One in so many elements of other blocks matches by chance.
const FALSE_POSITIVE_RATE: u64 = 784_931;
/// No filter has more elements than the limit on any count in the protocol, which decoding holds to as well. So their
/// number times [`FALSE_POSITIVE_RATE`] fits in 64 bits.
const MAX_ELEMENTS: u64 = 0x0200_0000;

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

/// A block spends an output that is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MissingPrevout(pub OutPoint);

impl fmt::Display for MissingPrevout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the block spends {}, which is not known", self.0)
    }
}

impl core::error::Error for MissingPrevout {}

/// The numbers that the elements of a filter with `count` elements map to are below this.
const fn range_of(count: u64) -> u64 {
    count * FALSE_POSITIVE_RATE
}

/// Maps the hash of a script evenly to the numbers below `range`.
const fn reduce(hash: u64, range: u64) -> u64 {
    ((hash as u128 * range as u128) >> 64) as u64
}

/// The keys of a block's filter: the first bytes of its hash.
fn keys_of(block_hash: &BlockHash) -> Keys {
    let bytes = block_hash.as_byte_array();
    let key = |start| {
        let bytes: &[u8; 8] = bytes[start..].first_chunk().expect("a hash has 32 bytes");
        u64::from_le_bytes(*bytes)
    };
    Keys::new(key(0), key(8))
}
