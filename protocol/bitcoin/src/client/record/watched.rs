//! Rows of what is watched, and of what was found for it.

use alloc::vec::Vec;

use andon_kernel::BatchWriter;
use bitcoin::consensus::encode::{Decodable, Encodable};
use bitcoin::hashes::Hash;
use bitcoin::{Amount, BlockHash, OutPoint, ScriptBuf, Txid};

use super::{DESCRIPTORS, OUTPUTS, TOUCH, WATCH, delete, put, unseal};
use crate::client::api::{BlockId, Touch, TouchKind};
use crate::client::descriptors::Tracked;
use crate::client::watches::{Origin, Watch, WatchedOutpoint};
use crate::wire::{Item, Malformed, Reader};

/// Where a touch is in its block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::client) struct TouchKey([u8; 13]);

impl TouchKey {
    pub(in crate::client) fn new(height: u32, transaction: u32, kind: TouchKind) -> Self {
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

pub(in crate::client) fn put_touch(batch: &mut BatchWriter<'_>, key: TouchKey, touch: &Touch) {
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

pub(in crate::client) fn read_touch(key: &[u8], value: &[u8]) -> Result<Touch, Malformed> {
    read_old_touch(key, unseal(key, value).ok_or(Malformed)?)
}

/// Takes a finding over from the oldest format. False: it can't be read.
pub(in crate::client) fn take_over_touch(batch: &mut BatchWriter<'_>, key: &[u8], value: &[u8]) -> bool {
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

pub(in crate::client) fn put_watched(batch: &mut BatchWriter<'_>, script: &[u8], watch: Watch) {
    let mut value = watch.from.to_be_bytes().to_vec();
    if watch.group > 0 || watch.origin.is_some() || watch.descent.is_some() {
        value.extend_from_slice(&watch.group.to_be_bytes());
    }
    if let Some(Origin { descriptor, index }) = watch.origin {
        value.extend_from_slice(&descriptor.to_be_bytes());
        value.extend_from_slice(&index.to_be_bytes());
    }
    if let Some(descent) = watch.descent {
        value.extend_from_slice(&descent.to_be_bytes());
    }
    put(batch, WATCH, script, &mut value);
}

/// Since when a script is watched. `None`: that, or the script, is not what was put.
pub(in crate::client) fn watched(script: &[u8], value: &[u8]) -> Option<Watch> {
    let (numbers, rest) = unseal(script, value)?.as_chunks();
    let number = |at: usize| numbers.get(at).copied().map(u32::from_be_bytes);
    let (has_origin, has_descent) = match numbers.len() {
        1 | 2 => (false, false),
        3 => (false, true),
        4 => (true, false),
        5 => (true, true),
        _ => return None,
    };
    let origin = number(2).zip(number(3)).map(|(descriptor, index)| Origin { descriptor, index });
    let origin = origin.filter(|_| has_origin);
    let descent = number(numbers.len() - 1).filter(|_| has_descent && rest.is_empty());
    let watch = Watch { from: number(0)?, group: number(1).unwrap_or(0), descent, origin };
    rest.is_empty().then_some(watch)
}

/// Since when a script is watched, in the oldest format.
pub(in crate::client) fn old_watched_from(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_be_bytes)
}

pub(in crate::client) fn put_watched_outpoint(
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

pub(in crate::client) fn delete_watched_outpoint(batch: &mut BatchWriter<'_>, outpoint: &OutPoint) {
    delete(batch, OUTPUTS, &outpoint_key(outpoint));
}

fn outpoint_key(outpoint: &OutPoint) -> Vec<u8> {
    let mut key = Vec::with_capacity(36);
    outpoint.consensus_encode(&mut key).expect("writing to memory succeeds");
    key
}

/// A watched output. `None`: it is not what was put.
pub(in crate::client) fn watched_outpoint(key: &[u8], value: &[u8]) -> Option<(OutPoint, WatchedOutpoint)> {
    let mut reader = Reader::new(unseal(key, value)?);
    let outpoint = OutPoint::consensus_decode(&mut &*key).ok().filter(|_| key.len() == 36)?;
    let from = u32::from_be_bytes(reader.array().ok()?);
    let group = u32::from_be_bytes(reader.array().ok()?);
    let amount = amount(reader.u64().ok()?);
    let script = ScriptBuf::from_bytes(reader.rest().into());
    let watch = Watch { from, group, descent: None, origin: None };
    Some((outpoint, WatchedOutpoint { script, amount, watch }))
}

/// More than there can be: no amount.
const NO_AMOUNT: u64 = u64::MAX;

fn satoshis(amount: Option<Amount>) -> u64 {
    amount.map_or(NO_AMOUNT, Amount::to_sat)
}

fn amount(satoshis: u64) -> Option<Amount> {
    (satoshis != NO_AMOUNT).then_some(Amount::from_sat(satoshis))
}

pub(in crate::client) fn put_descriptor(batch: &mut BatchWriter<'_>, number: u32, tracked: &Tracked) {
    put(batch, DESCRIPTORS, &number.to_be_bytes(), &mut tracked.encode());
}

pub(in crate::client) fn delete_descriptor(batch: &mut BatchWriter<'_>, number: u32) {
    delete(batch, DESCRIPTORS, &number.to_be_bytes());
}

/// A descriptor, by its number. `None`: it is not what was put.
pub(in crate::client) fn read_descriptor(key: &[u8], value: &[u8]) -> Option<(u32, Tracked)> {
    let number = u32::from_be_bytes(key.try_into().ok()?);
    Some((number, Tracked::decode(unseal(key, value)?)?))
}
