//! Rows of block headers, of filter headers, and of the index of hashes.

use alloc::vec::Vec;

use andon_kernel::{BatchWriter, Rows, Space};
use bitcoin::block::{Header, Version};
use bitcoin::hashes::Hash;
use bitcoin::{BlockHash, CompactTarget, FilterHeader, TxMerkleNode, Work};

use super::{FILTER_HEADERS, HASHES, ROW, delete, height_key, key_height, put, unseal};
use crate::headers::PERIOD;
use crate::wire::Reader;

/// A header without the hash of the block before it.
const BARE: usize = 48;

/// Packs headers, from the row that begins at `first` on: `work` is that of the chain before a height, where a row wants
/// it. `headers` begin with the block at `first`, which is where a row begins.
pub(in crate::client) fn put_headers<'a>(
    batch: &mut BatchWriter<'_>,
    space: Space,
    first: u32,
    headers: impl IntoIterator<Item = &'a Header>,
    work: impl Fn(u32) -> Option<Work>,
) {
    let mut row = Vec::with_capacity(64 + BARE * ROW as usize);
    let mut row_at = first;
    for (height, header) in (first..).zip(headers) {
        if height.is_multiple_of(ROW) && !row.is_empty() {
            put(batch, space, &height_key(row_at), &mut row);
            row.clear();
        }
        if row.is_empty() {
            row_at = height;
            row.extend_from_slice(header.prev_blockhash.as_byte_array());
            if height.is_multiple_of(PERIOD) {
                let work = work(height).expect("the work before each period is known");
                row.extend_from_slice(&work.to_be_bytes());
            }
        }
        row.extend_from_slice(&header.version.to_consensus().to_le_bytes());
        row.extend_from_slice(header.merkle_root.as_byte_array());
        row.extend_from_slice(&header.time.to_le_bytes());
        row.extend_from_slice(&header.bits.to_consensus().to_le_bytes());
        row.extend_from_slice(&header.nonce.to_le_bytes());
    }
    if !row.is_empty() {
        put(batch, space, &height_key(row_at), &mut row);
    }
}

/// A header as it was read: its height, itself, its hash.
#[derive(Clone, Copy, Debug)]
pub(in crate::client) struct StoredHeader {
    pub(in crate::client) height: u32,
    pub(in crate::client) header: Header,
    pub(in crate::client) hash: BlockHash,
}

/// Reads one row of headers: appends them to `headers`, and returns the work before the first, if the row has it.
///
/// `None`: it is no such row, or does not go on from the last one in `headers`.
pub(in crate::client) fn read_header_row(
    key: &[u8],
    value: &[u8],
    headers: &mut Vec<StoredHeader>,
) -> Option<Option<Work>> {
    let first = u32::from_be_bytes(key.try_into().ok()?);
    let mut reader = Reader::new(unseal(key, value)?);
    let mut previous: BlockHash = reader.item().ok()?;
    let follows =
        headers.last().is_none_or(|last| last.height.checked_add(1) == Some(first) && last.hash == previous);
    let work = match first.is_multiple_of(PERIOD) {
        true => Some(Work::from_be_bytes(reader.array().ok()?)),
        false => None,
    };
    let rest = reader.rest();
    let count = (rest.len() / BARE) as u32;
    let whole = rest.len().is_multiple_of(BARE) && (1..=ROW - first % ROW).contains(&count);
    if !follows || !whole {
        return None;
    }
    let mut reader = Reader::new(rest);
    for height in first..first.checked_add(count)? {
        let header = Header {
            version: Version::from_consensus(i32::from_le_bytes(reader.array().ok()?)),
            prev_blockhash: previous,
            merkle_root: TxMerkleNode::from_byte_array(reader.array().ok()?),
            time: reader.u32().ok()?,
            bits: CompactTarget::from_consensus(reader.u32().ok()?),
            nonce: reader.u32().ok()?,
        };
        previous = header.block_hash();
        headers.push(StoredHeader { height, header, hash: previous });
    }
    Some(work)
}

/// Reads the headers from `from` up to `to` out of rows that hold more. `None`: they are not all there.
pub(in crate::client) fn read_headers(rows: Rows<'_>, from: u32, to: u32) -> Option<Vec<StoredHeader>> {
    let mut headers = Vec::new();
    for (key, value) in rows.iter() {
        read_header_row(key, value, &mut headers)?;
    }
    headers.retain(|stored| (from..=to).contains(&stored.height));
    let whole = headers.first().is_some_and(|first| first.height == from)
        && headers.last().is_some_and(|last| last.height == to);
    whole.then_some(headers)
}

/// Packs filter headers, from the row that begins at `first` on.
pub(in crate::client) fn put_filter_headers(
    batch: &mut BatchWriter<'_>,
    first: u32,
    headers: impl IntoIterator<Item = FilterHeader>,
) {
    let mut row = Vec::with_capacity(32 * ROW as usize);
    let mut row_at = first;
    for (height, header) in (first..).zip(headers) {
        if height.is_multiple_of(ROW) && !row.is_empty() {
            put(batch, FILTER_HEADERS, &height_key(row_at), &mut row);
            row.clear();
        }
        if row.is_empty() {
            row_at = height;
        }
        row.extend_from_slice(header.as_byte_array());
    }
    if !row.is_empty() {
        put(batch, FILTER_HEADERS, &height_key(row_at), &mut row);
    }
}

/// Reads one row of filter headers: the height of the first, and them. `None`: it is no such row.
pub(in crate::client) fn read_filter_header_row<'a>(
    key: &[u8],
    value: &'a [u8],
) -> Option<(u32, impl DoubleEndedIterator<Item = FilterHeader> + ExactSizeIterator + use<'a>)> {
    let first = u32::from_be_bytes(key.try_into().ok()?);
    let (headers, rest) = unseal(key, value)?.as_chunks::<32>();
    let whole = rest.is_empty() && (1..=(ROW - first % ROW) as usize).contains(&headers.len());
    let headers = headers.iter().map(|header| FilterHeader::from_byte_array(*header));
    (whole && first.checked_add(headers.len() as u32).is_some()).then_some((first, headers))
}

/// Reads the filter headers from `from` up to `to` out of rows that hold more. `None`: they are not all there.
pub(in crate::client) fn read_filter_headers(
    rows: Rows<'_>,
    from: u32,
    to: u32,
) -> Option<Vec<FilterHeader>> {
    let mut wanted = Vec::new();
    let mut next = from;
    for (key, value) in rows.iter() {
        let (first, headers) = read_filter_header_row(key, value)?;
        for (height, header) in (first..).zip(headers) {
            if height == next && height <= to {
                wanted.push(header);
                next += 1;
            }
        }
    }
    (wanted.len() as u32 == to + 1 - from).then_some(wanted)
}

/// Parts by which hashes are told apart first: one for each value of a hash's first two bits. More would make a look-up faster,
/// and have each period written to more pages.
const PARTS: u8 = 4;

/// The bytes of a hash that an entry of the index holds, after the first.
const PREFIX: usize = 5;

/// Puts the hashes of one difficulty period, which begin at `from`, into the index.
pub(in crate::client) fn put_hashes(
    batch: &mut BatchWriter<'_>,
    from: u32,
    hashes: impl Iterator<Item = BlockHash> + Clone,
) {
    let mut entries = Vec::new();
    for part in 0..PARTS {
        entries.clear();
        for (place, hash) in ((from % PERIOD) as u16..).zip(hashes.clone()) {
            let bytes = hash.as_byte_array();
            if part_of(hash) == part {
                entries.extend_from_slice(&bytes[1..=PREFIX]);
                entries.extend_from_slice(&place.to_be_bytes());
            }
        }
        let key = hashes_key(part, from / PERIOD);
        if entries.is_empty() {
            delete(batch, HASHES, &key);
        } else {
            put(batch, HASHES, &key, &mut entries);
        }
    }
}

fn part_of(hash: BlockHash) -> u8 {
    hash.as_byte_array()[0] / (u8::MAX / PARTS + 1)
}

fn hashes_key(part: u8, period: u32) -> [u8; 5] {
    let mut key = [part; 5];
    key[1..].copy_from_slice(&period.to_be_bytes());
    key
}

/// The keys between which the index knows of `hash`: included, excluded.
pub(in crate::client) fn hashes_range(hash: &BlockHash) -> ([u8; 1], [u8; 1]) {
    let part = part_of(*hash);
    ([part], [part + 1])
}

/// Adds the heights at which a row of the index has a hash that begins as `hash` does: at most one, but by rare chance.
/// Returns the row's difficulty period. `None`: it is no such row.
pub(in crate::client) fn hash_heights(
    key: &[u8],
    value: &[u8],
    hash: &BlockHash,
    heights: &mut Vec<u32>,
) -> Option<u32> {
    let period = key.get(1..).and_then(key_height)?;
    let prefix = &hash.as_byte_array()[1..=PREFIX];
    for entry in unseal(key, value)?.chunks_exact(PREFIX + 2) {
        let (head, place) = entry.split_at(PREFIX);
        if head == prefix
            && let Ok(place) = place.try_into()
        {
            let place = u32::from(u16::from_be_bytes(place));
            heights.extend(period.checked_mul(PERIOD).and_then(|first| first.checked_add(place)));
        }
    }
    Some(period)
}
