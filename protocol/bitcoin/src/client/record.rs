//! What is stored: spaces, keys, values, and the version of it all. Numbers in keys are big-endian, so that the order
//! of keys is the order of heights.
//!
//! Each value ends with a checksum (4 bytes) of its key and of what comes before it, which the table
//! leaves out: a database finds pages that make no sense, and takes a changed byte within a row for what was stored.
//!
//! | space | key | value |
//! |---|---|---|
//! | `meta` | `format` | version (4 bytes), the network's four bytes |
//! | `meta` | `start` | the block that the chain starts with (80), what the rules know of it (a lineage) |
//! | `meta` | `tip` | height (4), hash (32), chain work (32, big-endian) |
//! | `meta` | `next`, and the number of a group (4) unless it is 0 | the next height to search for that group (4); absent: it watches nothing |
//! | `meta` | `switch` | absent, or a switch to the staged branch that is under way: see `switching` |
//! | `meta` | `migrated` | absent, or how far a migration from an older format is: see `migration` |
//! | `headers` | height of the row's first (4) | hash of the block before it (32), the chain work before it (32) if it begins a difficulty period, then headers without the hash before them (48 each) |
//! | `filter_headers` | height of the row's first (4) | filter headers (32 each) |
//! | `hashes` | part of the hash (1), difficulty period (4) | for each block of the period whose hash begins with the part: the next bytes of its hash (5), its place in the period (2) |
//! | `staged` | as `headers` | a branch from below the window that has shown its work, before it becomes the best chain |
//! | `watched` | script | the height from which it is watched (4); its group (4), unless that is 0 and nothing follows; of a script that was derived, the number of its descriptor (4) and the index (4) |
//! | `outputs` | outpoint (36) | the height from which it is watched (4), its group (4), satoshis (8, all ones if not given), script |
//! | `descriptors` | number (4) | the height from which it is watched, the gap, how many are watched at first, how many have been derived (4 each), its text |
//! | `filters` | height (4) | the block's hash (32), its filter: see `cache` |
//! | `cached` | height of the first filter of a part (4) | height of the last (4), bytes of all (8) |
//! | `touches` | height (4), transaction's index (4), 0 for an input or 1 for an output (1), its index (4) | block hash (32), txid (32), satoshis (8, all ones if not known), for an input the outpoint (36), script |
//!
//! Rows of headers and filter headers hold [`ROW`] of them, from one multiple of it to the next; the first begins where
//! the chain starts. Touches at or above the `next` of their script's group, and those of scripts that are not watched, are
//! to be taken back: a reorganisation, or a search begun again, was cut short.

use alloc::vec::Vec;

use andon_kernel::{BatchWriter, Rows, Space};
use bitcoin::block::{Header, Version};
use bitcoin::consensus::encode::{Decodable, Encodable};
use bitcoin::hashes::{Hash, HashEngine, siphash24};
use bitcoin::p2p::Magic;
use bitcoin::{
    Amount, BlockHash, CompactTarget, FilterHeader, Network, OutPoint, ScriptBuf, TxMerkleNode, Txid, Work,
};

use super::api::{BlockId, Touch, TouchKind};
use super::cache::Part;
use super::descriptors::Tracked;
use super::watches::{GroupId, Origin, Positions, Watch, WatchedOutpoint};
use crate::headers::{Lineage, PERIOD};
use crate::wire::{Item, Malformed, Reader};

pub(super) const META: Space = Space::new("meta");
pub(super) const HEADERS: Space = Space::new("headers");
pub(super) const FILTER_HEADERS: Space = Space::new("filter_headers");
pub(super) const HASHES: Space = Space::new("hashes");
pub(super) const STAGED: Space = Space::new("staged");
pub(super) const WATCH: Space = Space::new("watched");
pub(super) const OUTPUTS: Space = Space::new("outputs");
pub(super) const DESCRIPTORS: Space = Space::new("descriptors");
pub(super) const TOUCH: Space = Space::new("touches");
pub(super) const FILTERS: Space = Space::new("filters");
pub(super) const CACHED: Space = Space::new("cached");

/// The version of these encodings.
pub(super) const FORMAT: u32 = 2;

/// The version of those that are taken over: see `migration`.
pub(super) const OLD_FORMAT: u32 = 1;

/// Headers, and filter headers, to a row. It divides a difficulty period.
pub(super) const ROW: u32 = 16;

const FORMAT_KEY: &[u8] = b"format";
const START_KEY: &[u8] = b"start";
const TIP_KEY: &[u8] = b"tip";
const NEXT_KEY: &[u8] = b"next";
const SWITCH_KEY: &[u8] = b"switch";
const MIGRATED_KEY: &[u8] = b"migrated";

/// A header without the hash of the block before it.
const BARE: usize = 48;

/// Bytes of the checksum that ends a value.
const SEAL: usize = 4;

/// The checksum of a row: against what happens to disks, not against people.
fn seal(key: &[u8], value: &[u8]) -> [u8; SEAL] {
    let mut engine = siphash24::HashEngine::with_keys(key.len() as u64, value.len() as u64);
    engine.input(key);
    engine.input(value);
    (siphash24::Hash::from_engine_to_u64(engine) as u32).to_le_bytes()
}

/// Puts a row, with its checksum.
fn put(batch: &mut BatchWriter<'_>, space: Space, key: &[u8], value: &mut Vec<u8>) {
    let seal = seal(key, value);
    value.extend_from_slice(&seal);
    batch.put(space, key, value);
}

/// A value without its checksum. `None`: it is not what was put.
fn unseal<'a>(key: &[u8], value: &'a [u8]) -> Option<&'a [u8]> {
    let (value, end) = value.split_last_chunk()?;
    (seal(key, value) == *end).then_some(value)
}

/// The key of a height; of the first of several rows at that height.
pub(super) fn height_key(height: u32) -> [u8; 4] {
    height.to_be_bytes()
}

/// The height that a key begins with.
pub(super) fn key_height(key: &[u8]) -> Option<u32> {
    key.first_chunk().map(|height| u32::from_be_bytes(*height))
}

/// The height of the first block in the row that holds `height`, of a chain that starts at `start`.
pub(super) fn row_first(start: u32, height: u32) -> u32 {
    (height - height % ROW).max(start)
}

/// A chain's end: height, hash and work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tip {
    pub(super) block: BlockId,
    pub(super) work: Work,
}

/// A switch to a staged branch that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Switch {
    /// The last block that both have.
    pub(super) fork: u32,
    /// The end of the branch.
    pub(super) to: Tip,
    /// The next header to be copied.
    pub(super) next: u32,
}

/// How far a migration is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Migrated {
    /// The next header to be taken over, with the hash and the work of the chain before it.
    pub(super) next: u32,
    pub(super) previous: BlockHash,
    pub(super) work: Work,
}

/// The rows of `meta`.
#[derive(Debug, Default)]
pub(super) struct Meta {
    pub(super) format: Option<(u32, Network)>,
    pub(super) start: Option<(Header, Lineage)>,
    pub(super) tip: Option<Tip>,
    pub(super) next: Positions,
    pub(super) switch: Option<Switch>,
    pub(super) migrated: Option<Migrated>,
}

impl Meta {
    /// Reads one row; rows that are not known are passed over. In the order of their keys: the format is first.
    pub(super) fn read(&mut self, key: &[u8], value: &[u8]) -> Result<(), Malformed> {
        // What the oldest format had has no checksums.
        let is_old = self.format.is_some_and(|(version, _)| version == OLD_FORMAT);
        let sealed = match key {
            START_KEY | TIP_KEY | SWITCH_KEY => !is_old,
            MIGRATED_KEY => true,
            _ if is_next(key) => !is_old,
            _ => false,
        };
        let value = if sealed { unseal(key, value).ok_or(Malformed)? } else { value };
        let mut reader = Reader::new(value);
        match key {
            FORMAT_KEY => {
                let version = u32::from_be_bytes(reader.array()?);
                let network = Magic::from_bytes(reader.array()?).try_into().map_err(|_| Malformed)?;
                let sound = match reader.rest() {
                    [] => version == OLD_FORMAT,
                    _ => unseal(key, value).is_some(),
                };
                self.format = Some(sound.then_some((version, network)).ok_or(Malformed)?);
            }
            START_KEY => {
                let header = Header::consensus_decode(&mut reader.take(80)?).map_err(|_| Malformed)?;
                self.start = Some((header, Lineage::decode(reader.rest()).ok_or(Malformed)?));
            }
            TIP_KEY => self.tip = Some(Tip::read(&mut reader)?),
            SWITCH_KEY => {
                let (fork, next) = (u32::from_be_bytes(reader.array()?), u32::from_be_bytes(reader.array()?));
                self.switch = Some(Switch { fork, next, to: Tip::read(&mut reader)? });
            }
            MIGRATED_KEY => {
                let Tip { block, work } = Tip::read(&mut reader)?;
                self.migrated = Some(Migrated { next: block.height, previous: block.hash, work });
            }
            _ if is_next(key) => {
                let group = key[NEXT_KEY.len()..].try_into().map_or(0, u32::from_be_bytes);
                self.next.insert(group, u32::from_be_bytes(reader.array()?));
            }
            _ => {}
        }
        Ok(())
    }
}

/// Whether a key of `meta` is that of the next height to search for a group.
pub(super) fn is_next(key: &[u8]) -> bool {
    key.strip_prefix(NEXT_KEY).is_some_and(|group| matches!(group.len(), 0 | 4))
}

fn next_key(group: GroupId) -> Vec<u8> {
    let mut key = NEXT_KEY.to_vec();
    if group > 0 {
        key.extend_from_slice(&group.to_be_bytes());
    }
    key
}

impl Tip {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let height = u32::from_be_bytes(reader.array()?);
        let block = BlockId { height, hash: reader.item()? };
        Ok(Self { block, work: Work::from_be_bytes(reader.array()?) })
    }

    fn bytes(&self) -> [u8; 68] {
        let mut value = [0; 68];
        value[..4].copy_from_slice(&self.block.height.to_be_bytes());
        value[4..36].copy_from_slice(self.block.hash.as_byte_array());
        value[36..].copy_from_slice(&self.work.to_be_bytes());
        value
    }
}

pub(super) fn put_format(batch: &mut BatchWriter<'_>, network: Network) {
    let mut value = FORMAT.to_be_bytes().to_vec();
    value.extend_from_slice(&network.magic().to_bytes());
    put(batch, META, FORMAT_KEY, &mut value);
}

pub(super) fn put_start(batch: &mut BatchWriter<'_>, header: &Header, lineage: &Lineage) {
    let mut value = Vec::with_capacity(256);
    header.consensus_encode(&mut value).expect("writing to memory succeeds");
    value.extend_from_slice(&lineage.encode());
    put(batch, META, START_KEY, &mut value);
}

pub(super) fn put_tip(batch: &mut BatchWriter<'_>, tip: &Tip) {
    put(batch, META, TIP_KEY, &mut tip.bytes().into());
}

pub(super) fn put_next(batch: &mut BatchWriter<'_>, group: GroupId, next: u32) {
    put(batch, META, &next_key(group), &mut next.to_be_bytes().into());
}

pub(super) fn put_positions(batch: &mut BatchWriter<'_>, positions: &Positions) {
    for (group, next) in positions {
        put_next(batch, *group, *next);
    }
}

/// Forgets how far a group was.
pub(super) fn delete_next(batch: &mut BatchWriter<'_>, group: GroupId) {
    delete(batch, META, &next_key(group));
}

/// Deletes one row.
pub(super) fn delete(batch: &mut BatchWriter<'_>, space: Space, key: &[u8]) {
    batch.delete(space, key, &[key, &[0]].concat());
}

pub(super) fn put_switch(batch: &mut BatchWriter<'_>, switch: &Switch) {
    let mut value = Vec::with_capacity(80);
    value.extend_from_slice(&switch.fork.to_be_bytes());
    value.extend_from_slice(&switch.next.to_be_bytes());
    value.extend_from_slice(&switch.to.bytes());
    put(batch, META, SWITCH_KEY, &mut value);
}

pub(super) fn put_migrated(batch: &mut BatchWriter<'_>, migrated: &Migrated) {
    let block = BlockId { height: migrated.next, hash: migrated.previous };
    put(batch, META, MIGRATED_KEY, &mut Tip { block, work: migrated.work }.bytes().into());
}

/// Notes that no switch and no migration is under way.
pub(super) fn put_settled(batch: &mut BatchWriter<'_>) {
    for key in [SWITCH_KEY, MIGRATED_KEY] {
        delete(batch, META, key);
    }
}

/// Packs headers, from the row that begins at `first` on: `work` is that of the chain before a height, where a row wants
/// it. `headers` begin with the block at `first`, which is where a row begins.
pub(super) fn put_headers<'a>(
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
pub(super) struct StoredHeader {
    pub(super) height: u32,
    pub(super) header: Header,
    pub(super) hash: BlockHash,
}

/// Reads one row of headers: appends them to `headers`, and returns the work before the first, if the row has it.
///
/// `None`: it is no such row, or does not go on from the last one in `headers`.
pub(super) fn read_header_row(
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
pub(super) fn read_headers(rows: Rows<'_>, from: u32, to: u32) -> Option<Vec<StoredHeader>> {
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
pub(super) fn put_filter_headers(
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
pub(super) fn read_filter_header_row<'a>(
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
pub(super) fn read_filter_headers(rows: Rows<'_>, from: u32, to: u32) -> Option<Vec<FilterHeader>> {
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

/// Parts by which hashes are told apart first: one for each value of a hash's first four bits.
const PARTS: u8 = 16;

/// The bytes of a hash that an entry of the index holds, after the first.
const PREFIX: usize = 5;

/// Puts the hashes of one difficulty period, which begin at `from`, into the index.
pub(super) fn put_hashes(
    batch: &mut BatchWriter<'_>,
    from: u32,
    hashes: impl Iterator<Item = BlockHash> + Clone,
) {
    let mut entries = Vec::new();
    for part in 0..PARTS {
        entries.clear();
        for (place, hash) in ((from % PERIOD) as u16..).zip(hashes.clone()) {
            let bytes = hash.as_byte_array();
            if bytes[0] / PARTS == part {
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

fn hashes_key(part: u8, period: u32) -> [u8; 5] {
    let mut key = [part; 5];
    key[1..].copy_from_slice(&period.to_be_bytes());
    key
}

/// The keys between which the index knows of `hash`: included, excluded.
pub(super) fn hashes_range(hash: &BlockHash) -> ([u8; 1], [u8; 1]) {
    let part = hash.as_byte_array()[0] / PARTS;
    ([part], [part + 1])
}

/// Adds the heights at which a row of the index has a hash that begins as `hash` does: at most one, but by rare chance.
/// Returns the row's difficulty period. `None`: it is no such row.
pub(super) fn hash_heights(
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

/// Where a touch is in its block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TouchKey([u8; 13]);

impl TouchKey {
    pub(super) fn new(height: u32, transaction: u32, kind: TouchKind) -> Self {
        let (side, index) = match kind {
            TouchKind::Spent { input, .. } => (0, input),
            TouchKind::Received { output } => (1, output),
        };
        let mut key = [0; 13];
        key[..4].copy_from_slice(&height.to_be_bytes());
        key[4..8].copy_from_slice(&transaction.to_be_bytes());
        key[8] = side;
        key[9..].copy_from_slice(&index.to_be_bytes());
        Self(key)
    }
}

pub(super) fn put_touch(batch: &mut BatchWriter<'_>, key: TouchKey, touch: &Touch) {
    let mut value = Vec::with_capacity(144);
    touch.block.hash.write(&mut value);
    value.extend_from_slice(touch.txid.as_byte_array());
    value.extend_from_slice(&satoshis(touch.amount).to_le_bytes());
    if let TouchKind::Spent { outpoint, .. } = touch.kind {
        outpoint.consensus_encode(&mut value).expect("writing to memory succeeds");
    }
    value.extend_from_slice(touch.script.as_bytes());
    put(batch, TOUCH, &key.0, &mut value);
}

pub(super) fn read_touch(key: &[u8], value: &[u8]) -> Result<Touch, Malformed> {
    read_old_touch(key, unseal(key, value).ok_or(Malformed)?)
}

/// Takes a finding over from the oldest format. False: it can't be read.
pub(super) fn take_over_touch(batch: &mut BatchWriter<'_>, key: &[u8], value: &[u8]) -> bool {
    let readable = read_old_touch(key, value).is_ok();
    if readable {
        put(batch, TOUCH, key, &mut value.into());
    }
    readable
}

fn read_old_touch(key: &[u8], value: &[u8]) -> Result<Touch, Malformed> {
    let mut place = Reader::new(key);
    let mut reader = Reader::new(value);
    let height = u32::from_be_bytes(place.array()?);
    place.take(4)?;
    let side = place.u8()?;
    let index = u32::from_be_bytes(place.array()?);
    let block = BlockId { height, hash: reader.item::<BlockHash>()? };
    let txid = Txid::from_byte_array(reader.array()?);
    let amount = amount(reader.u64()?);
    let kind = match side {
        0 => {
            let outpoint = OutPoint::consensus_decode(&mut reader.take(36)?).map_err(|_| Malformed)?;
            TouchKind::Spent { input: index, outpoint }
        }
        1 => TouchKind::Received { output: index },
        _ => return Err(Malformed),
    };
    let script = ScriptBuf::from_bytes(reader.rest().into());
    Ok(Touch { block, txid, kind, script, amount, derivation: None })
}

pub(super) fn put_watched(batch: &mut BatchWriter<'_>, script: &[u8], watch: Watch) {
    let mut value = watch.from.to_be_bytes().to_vec();
    if watch.group > 0 || watch.origin.is_some() {
        value.extend_from_slice(&watch.group.to_be_bytes());
    }
    if let Some(Origin { descriptor, index }) = watch.origin {
        value.extend_from_slice(&descriptor.to_be_bytes());
        value.extend_from_slice(&index.to_be_bytes());
    }
    put(batch, WATCH, script, &mut value);
}

/// Since when a script is watched. `None`: that, or the script, is not what was put.
pub(super) fn watched(script: &[u8], value: &[u8]) -> Option<Watch> {
    let (numbers, rest) = unseal(script, value)?.as_chunks();
    let number = |at: usize| numbers.get(at).copied().map(u32::from_be_bytes);
    let is_whole = rest.is_empty() && [1, 2, 4].contains(&numbers.len());
    let origin = number(2).zip(number(3)).map(|(descriptor, index)| Origin { descriptor, index });
    is_whole.then_some(Watch { from: number(0)?, group: number(1).unwrap_or(0), origin })
}

/// Since when a script is watched, in the oldest format.
pub(super) fn old_watched_from(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_be_bytes)
}

pub(super) fn put_watched_outpoint(
    batch: &mut BatchWriter<'_>,
    outpoint: &OutPoint,
    watched: &WatchedOutpoint,
) {
    let Watch { from, group, .. } = watched.watch;
    let mut value = [from.to_be_bytes(), group.to_be_bytes()].concat();
    value.extend_from_slice(&satoshis(watched.amount).to_le_bytes());
    value.extend_from_slice(watched.script.as_bytes());
    put(batch, OUTPUTS, &outpoint_key(outpoint), &mut value);
}

pub(super) fn delete_watched_outpoint(batch: &mut BatchWriter<'_>, outpoint: &OutPoint) {
    delete(batch, OUTPUTS, &outpoint_key(outpoint));
}

fn outpoint_key(outpoint: &OutPoint) -> Vec<u8> {
    let mut key = Vec::with_capacity(36);
    outpoint.consensus_encode(&mut key).expect("writing to memory succeeds");
    key
}

/// A watched output. `None`: it is not what was put.
pub(super) fn watched_outpoint(key: &[u8], value: &[u8]) -> Option<(OutPoint, WatchedOutpoint)> {
    let mut reader = Reader::new(unseal(key, value)?);
    let outpoint = OutPoint::consensus_decode(&mut &*key).ok().filter(|_| key.len() == 36)?;
    let from = u32::from_be_bytes(reader.array().ok()?);
    let group = u32::from_be_bytes(reader.array().ok()?);
    let amount = amount(reader.u64().ok()?);
    let script = ScriptBuf::from_bytes(reader.rest().into());
    Some((outpoint, WatchedOutpoint { script, amount, watch: Watch { from, group, origin: None } }))
}

/// More than there can be: no amount.
const NO_AMOUNT: u64 = u64::MAX;

fn satoshis(amount: Option<Amount>) -> u64 {
    amount.map_or(NO_AMOUNT, Amount::to_sat)
}

fn amount(satoshis: u64) -> Option<Amount> {
    (satoshis != NO_AMOUNT).then_some(Amount::from_sat(satoshis))
}

pub(super) fn put_filter(batch: &mut BatchWriter<'_>, height: u32, hash: &BlockHash, filter: &[u8]) {
    let mut value = Vec::with_capacity(32 + filter.len() + SEAL);
    value.extend_from_slice(hash.as_byte_array());
    value.extend_from_slice(filter);
    put(batch, FILTERS, &height_key(height), &mut value);
}

/// A filter that was kept: its height, its block, itself. `None`: it is not what was put.
pub(super) fn read_filter<'a>(key: &[u8], value: &'a [u8]) -> Option<(u32, BlockHash, &'a [u8])> {
    let (hash, filter) = unseal(key, value)?.split_first_chunk()?;
    Some((u32::from_be_bytes(key.try_into().ok()?), BlockHash::from_byte_array(*hash), filter))
}

pub(super) fn put_cached(batch: &mut BatchWriter<'_>, first: u32, part: Part) {
    let mut value = part.last.to_be_bytes().to_vec();
    value.extend_from_slice(&part.bytes.to_be_bytes());
    put(batch, CACHED, &height_key(first), &mut value);
}

/// A part of the filters that are kept. `None`: it is not what was put.
pub(super) fn read_cached(key: &[u8], value: &[u8]) -> Option<(u32, Part)> {
    let first = u32::from_be_bytes(key.try_into().ok()?);
    let mut reader = Reader::new(unseal(key, value)?);
    let last = u32::from_be_bytes(reader.array().ok()?);
    let bytes = u64::from_be_bytes(reader.array().ok()?);
    (first <= last && last < u32::MAX).then_some((first, Part { last, bytes }))
}

pub(super) fn put_descriptor(batch: &mut BatchWriter<'_>, number: u32, tracked: &Tracked) {
    put(batch, DESCRIPTORS, &number.to_be_bytes(), &mut tracked.encode());
}

pub(super) fn delete_descriptor(batch: &mut BatchWriter<'_>, number: u32) {
    delete(batch, DESCRIPTORS, &number.to_be_bytes());
}

/// A descriptor, by its number. `None`: it is not what was put.
pub(super) fn read_descriptor(key: &[u8], value: &[u8]) -> Option<(u32, Tracked)> {
    let number = u32::from_be_bytes(key.try_into().ok()?);
    Some((number, Tracked::decode(unseal(key, value)?)?))
}
