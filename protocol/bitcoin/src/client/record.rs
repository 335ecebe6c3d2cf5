//! What is stored: spaces, keys, values, and the version of it all. Numbers in keys are big-endian, so that the order
//! of keys is the order of heights.
//!
//! | space | key | value |
//! |---|---|---|
//! | `meta` | `format` | version (4 bytes), the network's four bytes |
//! | `meta` | `tip` | height (4), hash (32), chain work (32, big-endian) |
//! | `meta` | `next` | the next height to search (4); absent: nothing is watched |
//! | `header` | height (4) | block header (80) |
//! | `filter_header` | height (4) | filter header (32) |
//! | `watch` | script | the height from which it is watched (4) |
//! | `touch` | height (4), transaction's index (4), 0 for an input or 1 for an output (1), its index (4) | block hash (32), txid (32), satoshis (8), for an input the outpoint (36), script |
//!
//! Touches at or above `next` are to be taken back: a reorganisation, or a search begun again, was cut short.

use alloc::vec::Vec;

use andon_kernel::{BatchWriter, Space};
use bitcoin::block::Header;
use bitcoin::consensus::encode::{Decodable, Encodable};
use bitcoin::hashes::Hash;
use bitcoin::p2p::Magic;
use bitcoin::{Amount, BlockHash, FilterHeader, Network, OutPoint, ScriptBuf, Txid, Work};

use super::api::{BlockId, Touch, TouchKind};
use crate::wire::{Item, Malformed, Reader};

pub(super) const META: Space = Space::new("meta");
pub(super) const HEADER: Space = Space::new("header");
pub(super) const FILTER_HEADER: Space = Space::new("filter_header");
pub(super) const WATCH: Space = Space::new("watch");
pub(super) const TOUCH: Space = Space::new("touch");

/// The version of these encodings.
pub(super) const FORMAT: u32 = 1;

const FORMAT_KEY: &[u8] = b"format";
const TIP_KEY: &[u8] = b"tip";
const NEXT_KEY: &[u8] = b"next";

/// The key of a height; of the first of several rows at that height.
pub(super) fn height_key(height: u32) -> [u8; 4] {
    height.to_be_bytes()
}

/// The height that a key begins with.
pub(super) fn key_height(key: &[u8]) -> Option<u32> {
    key.first_chunk().map(|height| u32::from_be_bytes(*height))
}

/// The rows of `meta`.
#[derive(Debug, Default)]
pub(super) struct Meta {
    pub(super) format: Option<(u32, Option<Network>)>,
    pub(super) tip: Option<(BlockId, Work)>,
    pub(super) next: Option<u32>,
}

impl Meta {
    /// Reads one row; rows that are not known are passed over.
    pub(super) fn read(&mut self, key: &[u8], value: &[u8]) -> Result<(), Malformed> {
        let mut reader = Reader::new(value);
        match key {
            FORMAT_KEY => {
                let version = u32::from_be_bytes(reader.array()?);
                self.format = Some((version, Magic::from_bytes(reader.array()?).try_into().ok()));
            }
            TIP_KEY => {
                let height = u32::from_be_bytes(reader.array()?);
                let tip = BlockId { height, hash: reader.item()? };
                self.tip = Some((tip, Work::from_be_bytes(reader.array()?)));
            }
            NEXT_KEY => self.next = Some(u32::from_be_bytes(reader.array()?)),
            _ => {}
        }
        Ok(())
    }
}

pub(super) fn put_format(batch: &mut BatchWriter<'_>, network: Network) {
    let mut value = [0; 8];
    value[..4].copy_from_slice(&FORMAT.to_be_bytes());
    value[4..].copy_from_slice(&network.magic().to_bytes());
    batch.put(META, FORMAT_KEY, &value);
}

pub(super) fn put_tip(batch: &mut BatchWriter<'_>, tip: BlockId, work: Work) {
    let mut value = [0; 68];
    value[..4].copy_from_slice(&tip.height.to_be_bytes());
    value[4..36].copy_from_slice(tip.hash.as_byte_array());
    value[36..].copy_from_slice(&work.to_be_bytes());
    batch.put(META, TIP_KEY, &value);
}

pub(super) fn put_next(batch: &mut BatchWriter<'_>, next: u32) {
    batch.put(META, NEXT_KEY, &next.to_be_bytes());
}

pub(super) fn put_header(batch: &mut BatchWriter<'_>, height: u32, header: &Header) {
    let mut value = [0; 80];
    header.consensus_encode(&mut &mut value[..]).expect("a header has 80 bytes");
    batch.put(HEADER, &height_key(height), &value);
}

pub(super) fn read_header(value: &[u8]) -> Option<Header> {
    (value.len() == 80).then(|| Header::consensus_decode(&mut &value[..]).ok()).flatten()
}

pub(super) fn put_filter_header(batch: &mut BatchWriter<'_>, height: u32, header: &FilterHeader) {
    batch.put(FILTER_HEADER, &height_key(height), header.as_byte_array());
}

pub(super) fn read_filter_header(value: &[u8]) -> Option<FilterHeader> {
    FilterHeader::from_slice(value).ok()
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
    value.extend_from_slice(&touch.amount.to_sat().to_le_bytes());
    if let TouchKind::Spent { outpoint, .. } = touch.kind {
        outpoint.consensus_encode(&mut value).expect("writing to memory succeeds");
    }
    value.extend_from_slice(touch.script.as_bytes());
    batch.put(TOUCH, &key.0, &value);
}

pub(super) fn read_touch(key: &[u8], value: &[u8]) -> Result<Touch, Malformed> {
    let mut place = Reader::new(key);
    let mut reader = Reader::new(value);
    let height = u32::from_be_bytes(place.array()?);
    place.take(4)?;
    let side = place.u8()?;
    let index = u32::from_be_bytes(place.array()?);
    let block = BlockId { height, hash: reader.item::<BlockHash>()? };
    let txid = Txid::from_byte_array(reader.array()?);
    let amount = Amount::from_sat(reader.u64()?);
    let kind = match side {
        0 => {
            let outpoint = OutPoint::consensus_decode(&mut reader.take(36)?).map_err(|_| Malformed)?;
            TouchKind::Spent { input: index, outpoint }
        }
        1 => TouchKind::Received { output: index },
        _ => return Err(Malformed),
    };
    Ok(Touch { block, txid, kind, script: ScriptBuf::from_bytes(reader.rest().into()), amount })
}

/// What follows the last key of a page, as the low end of the next scan.
pub(super) fn watch_from(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_be_bytes)
}
