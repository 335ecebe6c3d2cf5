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
//! | `meta` | `descent`, and its number (4) | where its step begins, the next height to search for it, and the height from which on that has been done (4 each): see `descents` |
//! | `meta` | `switch` | absent, or a switch to the staged branch that is under way: see `switching` |
//! | `meta` | `migrated` | absent, or how far a migration from an older format is: see `migration` |
//! | `headers` | height of the row's first (4) | hash of the block before it (32), the chain work before it (32) if it begins a difficulty period, then headers without the hash before them (48 each) |
//! | `filter_headers` | height of the row's first (4) | filter headers (32 each) |
//! | `hashes` | part of the hash (1), difficulty period (4) | for each block of the period whose hash begins with the part: the next bytes of its hash (5), its place in the period (2) |
//! | `staged` | as `headers` | a branch from below the window that has shown its work, before it becomes the best chain |
//! | `watched` | script | the height from which it is watched (4); its group (4), unless that is 0 and nothing follows; of a script that was derived, the number of its descriptor (4) and the index (4); the number of its descent (4), while it has one |
//! | `outputs` | outpoint (36) | the height from which it is watched (4), its group (4), satoshis (8, all ones if not given), script |
//! | `descriptors` | number (4) | the height from which it is watched, the gap, how many are watched at first, how many have been derived (4 each), its text |
//! | `filters` | height (4) | the block's hash (32), its filter: see `cache` |
//! | `spends` | height (4) | the block's hash (32); of each transaction that may spend what is watched its id (32), its index (4), how many inputs (4), and of each the index (4) and a hash of its outpoint (8): see `descents` |
//! | `cached` | height of the first filter of a part (4) | height of the last (4), bytes of all (8) |
//! | `touches` | height (4), transaction's index (4), 0 for an input or 1 for an output (1), its index (4) | block hash (32), txid (32), satoshis (8, all ones if not known), for an input the outpoint (36), script |
//! | `told` | number (8) | what the application was told under it and has not acknowledged: 0 for a finding, 1 for one that was taken back, 2 for the state of a broadcast (1), and what it was; of number 0, up to which number all is acknowledged (8), and whether the last run's application acknowledged (1): see `journal` |
//!
//! Rows of headers and filter headers hold [`ROW`] of them, from one multiple of it to the next; the first begins where
//! the chain starts. Touches at or above the `next` of their script's group, and those of scripts that are not watched, are
//! to be taken back: a reorganisation, or a search begun again, was cut short.

mod chain;
mod kept;
mod spends;
mod told;
mod watched;

use alloc::vec::Vec;

use andon_kernel::{BatchWriter, Space};
use bitcoin::block::Header;
use bitcoin::consensus::encode::{Decodable, Encodable};
use bitcoin::hashes::Hash;
use bitcoin::p2p::Magic;
use bitcoin::{BlockHash, Network, Work};

use super::api::BlockId;
use super::descents::Descended;
use super::watches::{GroupId, Positions};
use crate::headers::Lineage;
use crate::rows::{SEAL, put, unseal};
use crate::wire::{Malformed, Reader};

pub(super) use chain::{
    StoredHeader, hash_heights, hashes_range, put_filter_headers, put_hashes, put_headers,
    read_filter_header_row, read_filter_headers, read_header_row, read_headers,
};
pub(super) use kept::{put_cached, put_filter, read_cached, read_filter};
pub(super) use spends::{outpoint_hash, put_spends, read_spends};
pub(super) use told::{
    Begun, is_begun_key, is_told, put_acknowledged, put_disregarded, put_told, read_begun, read_told,
    told_number,
};
pub(super) use watched::{
    TouchKey, delete_descriptor, delete_watched_outpoint, old_watched_from, put_descriptor, put_touch,
    put_watched, put_watched_outpoint, read_descriptor, read_touch, take_over_touch, watched,
    watched_outpoint,
};

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
pub(super) const SPENDS: Space = Space::new("spends");
pub(super) const TOLD: Space = Space::new("told");

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
const DESCENT_KEY: &[u8] = b"descent";
const SWITCH_KEY: &[u8] = b"switch";
const MIGRATED_KEY: &[u8] = b"migrated";

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
            _ if is_next(key) || is_descent(key) => !is_old,
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
                self.next.groups.insert(group, u32::from_be_bytes(reader.array()?));
            }
            _ if is_descent(key) => {
                let id = key[DESCENT_KEY.len()..].try_into().map_or(0, u32::from_be_bytes);
                let mut number = || reader.array().map(u32::from_be_bytes);
                let at = Descended { start: number()?, next: number()?, below: number()? };
                if at.start > at.next || at.next > at.below {
                    return Err(Malformed);
                }
                self.next.descents.insert(id, at);
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

/// Whether a key of `meta` is that of a descent.
pub(super) fn is_descent(key: &[u8]) -> bool {
    key.strip_prefix(DESCENT_KEY).is_some_and(|id| id.len() == 4)
}

fn descent_key(id: GroupId) -> Vec<u8> {
    [DESCENT_KEY, &id.to_be_bytes()].concat()
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
    for (group, next) in &positions.groups {
        put_next(batch, *group, *next);
    }
    for (id, at) in &positions.descents {
        put_descent(batch, *id, *at);
    }
    if let Some(void) = positions.void {
        batch.delete_from(SPENDS, &height_key(void));
    }
}

pub(super) fn put_descent(batch: &mut BatchWriter<'_>, id: GroupId, at: Descended) {
    let mut value = [at.start, at.next, at.below].map(u32::to_be_bytes).concat();
    put(batch, META, &descent_key(id), &mut value);
}

/// Forgets a descent.
pub(super) fn delete_descent(batch: &mut BatchWriter<'_>, id: GroupId) {
    delete(batch, META, &descent_key(id));
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
