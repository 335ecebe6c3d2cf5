//! Rows of what blocks spend, which is remembered while anything is searched for newest first.

use alloc::vec::Vec;

use andon_kernel::BatchWriter;
use bitcoin::consensus::encode::Encodable;
use bitcoin::hashes::{Hash, HashEngine, siphash24};
use bitcoin::{BlockHash, OutPoint, Txid};

use super::{SPENDS, height_key, put, unseal};
use crate::client::api::BlockId;
use crate::client::descents::Remembered;
use crate::wire::{Item, Reader};

/// A hash of an outpoint, under the hash of the block that spends it: that two are the same for one block is a matter of one in
/// 2^64.
pub(in crate::client) fn outpoint_hash(block: &BlockHash, outpoint: &OutPoint) -> u64 {
    let bytes = block.as_byte_array();
    let key = |at: usize| u64::from_le_bytes(core::array::from_fn(|index| bytes[at + index]));
    let mut engine = siphash24::HashEngine::with_keys(key(0), key(8));
    engine.input(outpoint.txid.as_byte_array());
    engine.input(&outpoint.vout.to_le_bytes());
    siphash24::Hash::from_engine_to_u64(engine)
}

pub(in crate::client) fn put_spends(batch: &mut BatchWriter<'_>, block: BlockId, remembered: &[Remembered]) {
    let mut value = Vec::with_capacity(32 + 20 * remembered.len());
    block.hash.write(&mut value);
    for inputs in remembered.chunk_by(|one, next| one.position == next.position) {
        inputs[0].txid.consensus_encode(&mut value).expect("writing to memory succeeds");
        value.extend_from_slice(&inputs[0].position.to_be_bytes());
        value.extend_from_slice(&(inputs.len() as u32).to_be_bytes());
        for Remembered { input, hash, .. } in inputs {
            value.extend_from_slice(&input.to_be_bytes());
            value.extend_from_slice(&hash.to_be_bytes());
        }
    }
    put(batch, SPENDS, &height_key(block.height), &mut value);
}

/// What a block spends that may be watched. `None`: it is not what was put.
pub(in crate::client) fn read_spends(key: &[u8], value: &[u8]) -> Option<(BlockId, Vec<Remembered>)> {
    let height = u32::from_be_bytes(key.try_into().ok()?);
    let mut reader = Reader::new(unseal(key, value)?);
    let block = BlockId { height, hash: reader.item::<BlockHash>().ok()? };
    let mut remembered = Vec::new();
    while !reader.rest().is_empty() {
        let txid = Txid::from_byte_array(reader.array().ok()?);
        let position = u32::from_be_bytes(reader.array().ok()?);
        for _ in 0..u32::from_be_bytes(reader.array().ok()?) {
            let input = u32::from_be_bytes(reader.array().ok()?);
            let hash = u64::from_be_bytes(reader.array().ok()?);
            remembered.push(Remembered { txid, position, input, hash });
        }
    }
    Some((block, remembered))
}
