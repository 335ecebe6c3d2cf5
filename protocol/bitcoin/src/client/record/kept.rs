//! Rows of filters that are kept.

use alloc::vec::Vec;

use andon_kernel::BatchWriter;
use bitcoin::BlockHash;
use bitcoin::hashes::Hash;

use super::{CACHED, FILTERS, SEAL, height_key, put, unseal};
use crate::client::cache::Part;
use crate::wire::Reader;

pub(in crate::client) fn put_filter(
    batch: &mut BatchWriter<'_>,
    height: u32,
    hash: &BlockHash,
    filter: &[u8],
) {
    let mut value = Vec::with_capacity(32 + filter.len() + SEAL);
    value.extend_from_slice(hash.as_byte_array());
    value.extend_from_slice(filter);
    put(batch, FILTERS, &height_key(height), &mut value);
}

/// A filter that was kept: its height, its block, itself. `None`: it is not what was put.
pub(in crate::client) fn read_filter<'a>(key: &[u8], value: &'a [u8]) -> Option<(u32, BlockHash, &'a [u8])> {
    let (hash, filter) = unseal(key, value)?.split_first_chunk()?;
    Some((u32::from_be_bytes(key.try_into().ok()?), BlockHash::from_byte_array(*hash), filter))
}

pub(in crate::client) fn put_cached(batch: &mut BatchWriter<'_>, first: u32, part: Part) {
    let mut value = part.last.to_be_bytes().to_vec();
    value.extend_from_slice(&part.bytes.to_be_bytes());
    put(batch, CACHED, &height_key(first), &mut value);
}

/// A part of the filters that are kept. `None`: it is not what was put.
pub(in crate::client) fn read_cached(key: &[u8], value: &[u8]) -> Option<(u32, Part)> {
    let first = u32::from_be_bytes(key.try_into().ok()?);
    let mut reader = Reader::new(unseal(key, value)?);
    let last = u32::from_be_bytes(reader.array().ok()?);
    let bytes = u64::from_be_bytes(reader.array().ok()?);
    (first <= last && last < u32::MAX).then_some((first, Part { last, bytes }))
}
