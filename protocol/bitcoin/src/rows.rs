//! Rows of what is stored: each value ends with a checksum of its key and of what comes before it. A database finds pages that
//! make no sense, and takes a changed byte within a row for what was stored.

use alloc::vec::Vec;

use andon_kernel::{BatchWriter, Space};
use bitcoin::hashes::{HashEngine, siphash24};

/// Bytes of the checksum that ends a value.
pub(crate) const SEAL: usize = 4;

/// The checksum of a row: against what happens to disks, not against people.
fn seal(key: &[u8], value: &[u8]) -> [u8; SEAL] {
    let mut engine = siphash24::HashEngine::with_keys(key.len() as u64, value.len() as u64);
    engine.input(key);
    engine.input(value);
    (siphash24::Hash::from_engine_to_u64(engine) as u32).to_le_bytes()
}

/// Puts a row, with its checksum.
pub(crate) fn put(batch: &mut BatchWriter<'_>, space: Space, key: &[u8], value: &mut Vec<u8>) {
    let seal = seal(key, value);
    value.extend_from_slice(&seal);
    batch.put(space, key, value);
}

/// A value without its checksum. `None`: it is not what was put.
pub(crate) fn unseal<'a>(key: &[u8], value: &'a [u8]) -> Option<&'a [u8]> {
    let (value, end) = value.split_last_chunk()?;
    (seal(key, value) == *end).then_some(value)
}
