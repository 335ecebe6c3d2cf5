//! Rows of what the application was told and has not acknowledged.

use alloc::boxed::Box;
use alloc::vec::Vec;

use andon_kernel::{BatchWriter, Rows};
use bitcoin::hashes::Hash;
use bitcoin::{Amount, BlockHash, OutPoint, ScriptBuf, Txid, Wtxid};

use super::{TOLD, put, unseal};
use crate::client::api::{BlockId, BroadcastState, Derivation, Event, Touch, TouchKind};
use crate::wire::{Malformed, Reader};

/// The key of how far that is acknowledged: below all others.
const BEGUN_KEY: [u8; 8] = 0u64.to_be_bytes();

const TOUCHED: u8 = 0;
const TAKEN_BACK: u8 = 1;
const BROADCAST: u8 = 2;

/// No amount, as a number of satoshis.
const UNKNOWN: u64 = u64::MAX;

/// How far the application is, as the first rows of all say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::client) enum Begun {
    /// Nothing was ever acknowledged, nor begun to be.
    Never,
    /// Everything up to this number has been acknowledged.
    At {
        number: u64,
        /// Whether the last run was of an application that acknowledges.
        is_on: bool,
    },
    /// It is lost.
    Unreadable {
        /// The number before the first that is not acknowledged, if there is one.
        before: Option<u64>,
    },
}

/// Whether an event is one that is to be acknowledged.
pub(in crate::client) const fn is_told(event: &Event) -> bool {
    matches!(event, Event::Touched(_) | Event::TakenBack(_) | Event::Broadcast { .. })
}

/// Writes down what is told under a number. False: it is nothing that is acknowledged.
pub(in crate::client) fn put_told(batch: &mut BatchWriter<'_>, number: u64, event: &Event) -> bool {
    let mut value = Vec::with_capacity(160);
    match event {
        Event::Touched(touch) => {
            value.push(TOUCHED);
            write_touch(touch, &mut value);
        }
        Event::TakenBack(touch) => {
            value.push(TAKEN_BACK);
            write_touch(touch, &mut value);
        }
        Event::Broadcast { txid, wtxid, state } => {
            value.push(BROADCAST);
            value.extend_from_slice(txid.as_byte_array());
            value.extend_from_slice(wtxid.as_byte_array());
            write_state(state, &mut value);
        }
        _ => return false,
    }
    put(batch, TOLD, &number.to_be_bytes(), &mut value);
    true
}

/// Forgets what is acknowledged, and notes how far that is: numbers go on from there.
pub(in crate::client) fn put_acknowledged(batch: &mut BatchWriter<'_>, number: u64, is_on: bool) {
    batch.delete(TOLD, &1u64.to_be_bytes(), &number.saturating_add(1).to_be_bytes());
    let mut value = number.to_be_bytes().to_vec();
    value.push(is_on.into());
    put(batch, TOLD, &BEGUN_KEY, &mut value);
}

/// Forgets all that was told, and notes that nobody acknowledges: numbers go on if somebody does again.
pub(in crate::client) fn put_disregarded(batch: &mut BatchWriter<'_>, number: u64) {
    batch.delete_from(TOLD, &1u64.to_be_bytes());
    put_acknowledged(batch, number, false);
}

/// Whether a key is that of how far all is acknowledged.
pub(in crate::client) fn is_begun_key(key: &[u8]) -> bool {
    key == BEGUN_KEY
}

/// The number that a key stands for.
pub(in crate::client) fn told_number(key: &[u8]) -> Option<u64> {
    key.try_into().ok().map(u64::from_be_bytes)
}

/// How far the application is, by the first rows of the space.
pub(in crate::client) fn read_begun(rows: Rows<'_>) -> Begun {
    let mut rows = rows.iter();
    let Some((key, value)) = rows.next().filter(|(key, _)| is_begun_key(key)) else { return Begun::Never };
    match unseal(key, value).and_then(|value| value.split_first_chunk()) {
        Some((number, [is_on @ (0 | 1)])) => {
            Begun::At { number: u64::from_be_bytes(*number), is_on: *is_on == 1 }
        }
        _ => Begun::Unreadable { before: rows.next().and_then(|(key, _)| told_number(key)?.checked_sub(1)) },
    }
}

/// What was told, with its number. `None`: it is not what was put.
pub(in crate::client) fn read_told(key: &[u8], value: &[u8]) -> Option<(u64, Box<Event>)> {
    let number = told_number(key)?;
    let mut reader = Reader::new(unseal(key, value)?);
    Some((number, Box::new(read_event(&mut reader).ok()?)))
}

fn read_event(reader: &mut Reader<'_>) -> Result<Event, Malformed> {
    let event = match reader.u8()? {
        TOUCHED => Event::Touched(read_touch(reader)?),
        TAKEN_BACK => Event::TakenBack(read_touch(reader)?),
        BROADCAST => Event::Broadcast {
            txid: Txid::from_byte_array(reader.array()?),
            wtxid: Wtxid::from_byte_array(reader.array()?),
            state: read_state(reader)?,
        },
        _ => return Err(Malformed),
    };
    if reader.rest().is_empty() { Ok(event) } else { Err(Malformed) }
}

fn write_block(block: &BlockId, out: &mut Vec<u8>) {
    out.extend_from_slice(&block.height.to_le_bytes());
    out.extend_from_slice(block.hash.as_byte_array());
}

fn read_block(reader: &mut Reader<'_>) -> Result<BlockId, Malformed> {
    Ok(BlockId { height: reader.u32()?, hash: BlockHash::from_byte_array(reader.array()?) })
}

fn write_touch(touch: &Touch, out: &mut Vec<u8>) {
    write_block(&touch.block, out);
    out.extend_from_slice(touch.txid.as_byte_array());
    match touch.kind {
        TouchKind::Received { output } => {
            out.push(1);
            out.extend_from_slice(&output.to_le_bytes());
        }
        TouchKind::Spent { input, outpoint } => {
            out.push(0);
            out.extend_from_slice(&input.to_le_bytes());
            out.extend_from_slice(outpoint.txid.as_byte_array());
            out.extend_from_slice(&outpoint.vout.to_le_bytes());
        }
    }
    out.extend_from_slice(&touch.amount.map_or(UNKNOWN, Amount::to_sat).to_le_bytes());
    write_bytes(touch.script.as_bytes(), out);
    out.push(touch.derivation.is_some().into());
    if let Some(Derivation { descriptor, index }) = &touch.derivation {
        out.extend_from_slice(&index.to_le_bytes());
        write_bytes(descriptor.as_bytes(), out);
    }
}

fn read_touch(reader: &mut Reader<'_>) -> Result<Touch, Malformed> {
    let block = read_block(reader)?;
    let txid = Txid::from_byte_array(reader.array()?);
    let side = reader.u8()?;
    let index = reader.u32()?;
    let kind = match side {
        0 => {
            let txid = Txid::from_byte_array(reader.array()?);
            TouchKind::Spent { input: index, outpoint: OutPoint { txid, vout: reader.u32()? } }
        }
        1 => TouchKind::Received { output: index },
        _ => return Err(Malformed),
    };
    let amount = Some(reader.u64()?).filter(|amount| *amount != UNKNOWN).map(Amount::from_sat);
    let script = ScriptBuf::from_bytes(read_bytes(reader)?.into());
    let derivation = match reader.u8()? {
        0 => None,
        _ => {
            let index = reader.u32()?;
            let descriptor = core::str::from_utf8(read_bytes(reader)?).map_err(|_| Malformed)?.into();
            Some(Derivation { descriptor, index })
        }
    };
    Ok(Touch { block, txid, kind, script, amount, derivation })
}

fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn read_bytes<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], Malformed> {
    let length = reader.u32()? as usize;
    reader.take(length)
}

fn write_state(state: &BroadcastState, out: &mut Vec<u8>) {
    let kind = match state {
        BroadcastState::Waiting => 0,
        BroadcastState::Announced => 1,
        BroadcastState::Sent => 2,
        BroadcastState::Seen => 3,
        BroadcastState::Confirmed { .. } => 4,
        BroadcastState::Conflicted { .. } => 5,
        BroadcastState::Replaced { .. } => 6,
        BroadcastState::Expired => 7,
        BroadcastState::Withdrawn => 8,
    };
    out.push(kind);
    match state {
        BroadcastState::Confirmed { block } => write_block(block, out),
        BroadcastState::Conflicted { by, block } => {
            out.extend_from_slice(by.as_byte_array());
            write_block(block, out);
        }
        BroadcastState::Replaced { by } => out.extend_from_slice(by.as_byte_array()),
        _ => {}
    }
}

fn read_state(reader: &mut Reader<'_>) -> Result<BroadcastState, Malformed> {
    Ok(match reader.u8()? {
        0 => BroadcastState::Waiting,
        1 => BroadcastState::Announced,
        2 => BroadcastState::Sent,
        3 => BroadcastState::Seen,
        4 => BroadcastState::Confirmed { block: read_block(reader)? },
        5 => {
            let by = Txid::from_byte_array(reader.array()?);
            BroadcastState::Conflicted { by, block: read_block(reader)? }
        }
        6 => BroadcastState::Replaced { by: Txid::from_byte_array(reader.array()?) },
        7 => BroadcastState::Expired,
        8 => BroadcastState::Withdrawn,
        _ => return Err(Malformed),
    })
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use andon_kernel::{Outbox, Output, RowsBuffer, Ticket};

    use super::*;

    fn rows(write: impl FnOnce(&mut BatchWriter<'_>)) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut out = Outbox::<()>::new();
        out.store(Ticket::new(0), write);
        let Some(Output::Store { batch, .. }) = out.pop() else { panic!("a batch was stored") };
        let put = batch.changes().filter_map(|change| match change {
            andon_kernel::Change::Put { key, value, .. } => Some((key.to_vec(), value.to_vec())),
            _ => None,
        });
        put.collect()
    }

    fn events() -> Vec<Event> {
        let block = BlockId { height: 700_000, hash: BlockHash::from_byte_array([3; 32]) };
        let (txid, by) = (Txid::from_byte_array([1; 32]), Txid::from_byte_array([2; 32]));
        let outpoint = OutPoint { txid: by, vout: 9 };
        let derivation = Some(Derivation { descriptor: "wpkh(xpub/0/*)".to_string(), index: 77 });
        let received = Touch {
            block,
            txid,
            kind: TouchKind::Received { output: 4 },
            script: ScriptBuf::from_bytes([0x51; 22].into()),
            amount: Some(Amount::from_sat(12_345)),
            derivation,
        };
        let spent = Touch {
            kind: TouchKind::Spent { input: 2, outpoint },
            amount: None,
            derivation: None,
            ..received.clone()
        };
        let states = [
            BroadcastState::Waiting,
            BroadcastState::Announced,
            BroadcastState::Sent,
            BroadcastState::Seen,
            BroadcastState::Confirmed { block },
            BroadcastState::Conflicted { by, block },
            BroadcastState::Replaced { by },
            BroadcastState::Expired,
            BroadcastState::Withdrawn,
        ];
        let wtxid = Wtxid::from_byte_array([8; 32]);
        let touches = [received, spent]
            .into_iter()
            .flat_map(|touch| [Event::Touched(touch.clone()), Event::TakenBack(touch)]);
        touches.chain(states.map(|state| Event::Broadcast { txid, wtxid, state })).collect()
    }

    #[test]
    fn what_was_told_is_read_as_it_was_told() {
        for (number, event) in (1..).zip(events()) {
            let rows = rows(|batch| assert!(put_told(batch, number, &event)));
            let [(key, value)] = &rows[..] else { panic!("{event:?} has {} rows", rows.len()) };
            assert_eq!(read_told(key, value), Some((number, Box::new(event))));
            for end in 0..value.len() {
                assert!(read_told(key, &value[..end]).is_none(), "{end} bytes of it were enough");
            }
        }
    }

    #[test]
    fn how_far_the_application_is_is_read_as_it_was_put() {
        let begun = |rows: &[(Vec<u8>, Vec<u8>)]| {
            let mut buffer = RowsBuffer::new();
            rows.iter().for_each(|(key, value)| buffer.push(key, value));
            read_begun(buffer.rows())
        };
        assert_eq!(begun(&[]), Begun::Never);
        let event = Event::Broadcast {
            txid: Txid::all_zeros(),
            wtxid: Wtxid::all_zeros(),
            state: BroadcastState::Seen,
        };
        let told = rows(|batch| assert!(put_told(batch, 42, &event)));
        assert_eq!(begun(&told), Begun::Never, "it was cut short");
        for is_on in [true, false] {
            let mut all = rows(|batch| put_acknowledged(batch, 41, is_on));
            all.extend(told.clone());
            assert_eq!(begun(&all), Begun::At { number: 41, is_on });
            for place in 0..all[0].1.len() {
                let mut damaged = all.clone();
                damaged[0].1[place] ^= 0x10;
                assert_eq!(begun(&damaged), Begun::Unreadable { before: Some(41) });
                assert_eq!(begun(&damaged[..1]), Begun::Unreadable { before: None });
            }
        }
    }

    #[test]
    fn what_is_not_acknowledged_is_not_written() {
        let block = BlockId { height: 1, hash: BlockHash::from_byte_array([3; 32]) };
        for event in [Event::Checked(block), Event::Matched(block), Event::Mark(3)] {
            assert!(rows(|batch| assert!(!put_told(batch, 1, &event))).is_empty() && !is_told(&event));
        }
    }
}
