//! What is stored: two rows for each transaction, so that what changes often is short, and how far the chain was searched.
//!
//! | space | key | value |
//! |---|---|---|
//! | `broadcasts` | txid (32), 0 | version (1), fee (8; all ones: not known), how many scripts (2), each with its length (2), transaction |
//! | `broadcasts` | 0 (1 byte) | version (1), the first height whose block has not been looked through (4) |
//! | `broadcasts` | txid (32), 1 | version (1), private (1), progress (1), added, expires, last round (8 each; the last 0: none), replaced by (32; zeros: not), settled: 0, or 1 and a block, or 2, a block and a txid (32) |
//!
//! A block is its height (4) and its hash (32). Numbers are little-endian. Each value ends with a checksum (4) of its key and
//! of what comes before it. What peers were told is not stored: after a restart they are others.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use andon_kernel::{BatchWriter, Now, Rng, Space, UnixTime};
use bitcoin::consensus::encode::{deserialize, serialize};
use bitcoin::hashes::Hash;
use bitcoin::{Amount, BlockHash, ScriptBuf, Transaction, Txid};

use super::entry::{Entry, Progress, Settled};
use super::limits::{MAX_BYTES, MAX_EXPIRY, MAX_SCRIPT, MAX_TRANSACTIONS};
use super::submission::{Options, Submission, check};
use super::{Outgoing, period};
use crate::addresses::RowError;
use crate::headers::BlockId;
use crate::rows;
use crate::wire::{Malformed, Reader};

/// Transactions that are being broadcast.
pub const BROADCASTS: Space = Space::new("broadcasts");

/// The version of these encodings.
const VERSION: u8 = 1;

const SEARCHED: u8 = 0;
const SEARCHED_KEY: &[u8] = &[SEARCHED];
const BODY: u8 = 0;
const STATE: u8 = 1;
const NO_FEE: u64 = u64::MAX;

/// What of a transaction is to be stored: its state in any case.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Changed {
    pub(super) body: bool,
}

impl Outgoing {
    /// Whether [`store`](Self::store) would write or remove something now.
    pub fn is_unstored(&self) -> bool {
        let searched_changed = self.searched_changed && !self.searched_is_foreign;
        !self.changed.is_empty() || searched_changed || !self.unreadable.is_empty()
    }

    /// Puts into a batch what has changed since the last time.
    pub fn store(&mut self, batch: &mut BatchWriter<'_>) {
        for key in core::mem::take(&mut self.unreadable) {
            let mut after = key.clone();
            after.push(0);
            batch.delete(BROADCASTS, &key, &after);
        }
        if core::mem::take(&mut self.searched_changed)
            && !self.searched_is_foreign
            && let Some(searched) = self.searched
        {
            let mut value = Vec::from([VERSION]);
            value.extend_from_slice(&searched.to_le_bytes());
            rows::put(batch, BROADCASTS, SEARCHED_KEY, &mut value);
        }
        for (txid, changed) in core::mem::take(&mut self.changed) {
            let Some(entry) = self.entries.get(&txid) else {
                let mut after = key(&txid, STATE);
                after.push(0);
                batch.delete(BROADCASTS, &key(&txid, BODY), &after);
                continue;
            };
            if changed.body {
                rows::put(batch, BROADCASTS, &key(&txid, BODY), &mut body(&entry.submission));
            }
            rows::put(batch, BROADCASTS, &key(&txid, STATE), &mut state(entry));
        }
    }
}

/// Transactions that are read from their rows, which come in the order of their keys.
///
/// Reading is total: what can't be used is told of, left out, and removed when the others are stored next; what another
/// version wrote is left where it is, with all else that there is of the same transaction.
#[derive(Debug)]
pub struct Restoring {
    outgoing: Outgoing,
    body: Option<(Txid, Submission)>,
    /// Those of which another version wrote a row, and which.
    foreign: BTreeMap<Txid, u8>,
}

impl Restoring {
    /// Before the first row.
    pub fn new(rng: Rng) -> Self {
        Self { outgoing: Outgoing::new(rng), body: None, foreign: BTreeMap::new() }
    }

    /// Whether a row is no transaction's: it says how far they were looked for.
    pub fn is_of_search(key: &[u8]) -> bool {
        key == SEARCHED_KEY
    }

    /// Takes a row.
    ///
    /// # Errors
    /// If it can't be used. Without the row that says how far the chain was searched [`Outgoing::searched`] is `None`.
    pub fn take(&mut self, key: &[u8], value: &[u8], now: Now) -> Result<(), RowError> {
        let contents = unseal(key, value);
        let taken = match *key {
            [ref txid @ .., kind @ (BODY | STATE)] if txid.len() == 32 => {
                let txid = Txid::from_slice(txid).expect("it has 32 bytes");
                return self.take_one(txid, kind, contents, now);
            }
            [SEARCHED] => contents.and_then(|contents| self.take_searched(contents)),
            _ => contents.and(Err(RowError::Damaged)),
        };
        match taken {
            // What another version wrote is not ours to remove: that may come back to it.
            Err(RowError::Version(_)) => self.outgoing.searched_is_foreign |= *key == [SEARCHED],
            Err(_) => self.outgoing.unreadable.push(key.into()),
            Ok(()) => {}
        }
        taken
    }

    /// What there was.
    pub fn finish(mut self) -> Outgoing {
        if let Some((txid, _)) = self.body.take() {
            self.outgoing.changed.insert(txid, Changed { body: true });
        }
        let Self { mut outgoing, foreign, .. } = self;
        let (entries, changed) = (&outgoing.entries, &mut outgoing.changed);
        changed.retain(|txid, _| !entries.contains_key(txid) && !foreign.contains_key(txid));
        outgoing
    }

    fn take_searched(&mut self, contents: &[u8]) -> Result<(), RowError> {
        let mut reader = Reader::new(contents);
        let searched = reader.u32()?;
        if !reader.rest().is_empty() {
            return Err(RowError::Damaged);
        }
        self.outgoing.searched = Some(searched);
        Ok(())
    }

    /// A row of a transaction.
    fn take_one(
        &mut self,
        txid: Txid,
        kind: u8,
        contents: Result<&[u8], RowError>,
        now: Now,
    ) -> Result<(), RowError> {
        if let Err(RowError::Version(version)) = contents {
            self.foreign.insert(txid, version);
        }
        // One row without the other says nothing.
        if let Some(version) = self.foreign.get(&txid) {
            return Err(RowError::Version(*version));
        }
        let taken = if kind == BODY {
            contents.and_then(|contents| read_body(txid, contents)).map(|submission| {
                // Without its state nothing is broadcast: it may have been withdrawn.
                if let Some((other, _)) = self.body.replace((txid, submission)) {
                    self.outgoing.changed.insert(other, Changed { body: true });
                }
            })
        } else {
            match self.body.take() {
                Some((other, submission)) if other == txid => {
                    contents.and_then(|contents| self.take_state(submission, txid, contents, now))
                }
                other => {
                    self.body = other;
                    Err(RowError::Impossible)
                }
            }
        };
        if taken.is_err() && !self.outgoing.entries.contains_key(&txid) {
            self.outgoing.changed.insert(txid, Changed { body: true });
        }
        taken
    }

    fn take_state(
        &mut self,
        submission: Submission,
        txid: Txid,
        contents: &[u8],
        now: Now,
    ) -> Result<(), RowError> {
        let mut reader = Reader::new(contents);
        let private = flag(reader.u8()?)?;
        let progress = match reader.u8()? {
            0 => Progress::Waiting,
            1 => Progress::Announced,
            2 => Progress::Sent,
            3 => Progress::Seen,
            _ => return Err(RowError::Impossible),
        };
        let [added, expires, round] = [reader.u64()?, reader.u64()?, reader.u64()?];
        let replaced: [u8; 32] = reader.array()?;
        let settled = match reader.u8()? {
            0 => None,
            1 => Some(Settled::Confirmed { block: read_block(&mut reader)? }),
            2 => {
                let block = read_block(&mut reader)?;
                Some(Settled::Conflicted { by: Txid::from_byte_array(reader.array()?), block })
            }
            _ => return Err(RowError::Impossible),
        };
        if !reader.rest().is_empty() {
            return Err(RowError::Damaged);
        }
        let outgoing = &mut self.outgoing;
        let fits =
            outgoing.entries.len() < MAX_TRANSACTIONS && outgoing.bytes + submission.size() <= MAX_BYTES;
        if !fits {
            return Err(RowError::Impossible);
        }
        let mut due = now.instant;
        // What somebody has already is not sent again because of a restart: of private ones each start would tell.
        let has_time = progress == Progress::Seen || (private && progress == Progress::Sent);
        if let Some(since) = Some(round).filter(|_| round > 0 && has_time) {
            let passed = Duration::from_secs(now.unix.as_secs().saturating_sub(since));
            due += period(progress, &mut outgoing.rng).saturating_sub(passed);
        }
        let added = UnixTime::from_secs(added);
        let mut entry = Entry::new(submission, private, added, due);
        // One that was given again ends later than a year after it was given first, and before that if the clock was set back
        // between. From a clock that went ahead nothing lasts longer than it could if it were given now.
        entry.expires = UnixTime::from_secs(expires).min(added.max(now.unix) + MAX_EXPIRY);
        entry.progress = progress;
        entry.settled = settled;
        entry.replaced_by = Some(Txid::from_byte_array(replaced)).filter(|_| replaced != [0; 32]);
        entry.round_since = Some(UnixTime::from_secs(round)).filter(|_| round > 0);
        outgoing.put_in(txid, entry);
        outgoing.changed.remove(&txid);
        Ok(())
    }
}

fn key(txid: &Txid, kind: u8) -> Vec<u8> {
    let mut key = Vec::with_capacity(34);
    key.extend_from_slice(txid.as_byte_array());
    key.push(kind);
    key
}

fn body(submission: &Submission) -> Vec<u8> {
    let mut value = Vec::with_capacity(submission.size() + 64);
    value.push(VERSION);
    value.extend_from_slice(&submission.fee.map_or(NO_FEE, Amount::to_sat).to_le_bytes());
    // A transaction of a bounded weight has fewer than 10,000 inputs.
    value.extend_from_slice(&(submission.spent_scripts.len() as u16).to_le_bytes());
    for script in &submission.spent_scripts {
        value.extend_from_slice(&(script.len() as u16).to_le_bytes());
        value.extend_from_slice(script.as_bytes());
    }
    value.extend_from_slice(&serialize(&submission.transaction));
    value
}

fn read_body(txid: Txid, contents: &[u8]) -> Result<Submission, RowError> {
    let mut reader = Reader::new(contents);
    let fee = reader.u64()?;
    let mut spent_scripts = Vec::new();
    for _ in 0..u16::from_le_bytes(reader.array()?) {
        let length = u16::from_le_bytes(reader.array()?).into();
        if length > MAX_SCRIPT {
            return Err(RowError::Impossible);
        }
        spent_scripts.push(ScriptBuf::from_bytes(reader.take(length)?.into()));
    }
    let transaction: Transaction = deserialize(reader.rest()).map_err(|_| RowError::Damaged)?;
    let fee = (fee != NO_FEE).then_some(Amount::from_sat(fee));
    let is_its_own = transaction.compute_txid() == txid;
    let submission = Submission { transaction, fee, spent_scripts };
    let is_sound = check(core::slice::from_ref(&submission), &Options::default()).is_ok();
    if is_its_own && is_sound { Ok(submission) } else { Err(RowError::Impossible) }
}

fn state(entry: &Entry) -> Vec<u8> {
    let mut value = Vec::with_capacity(160);
    value.push(VERSION);
    value.push(entry.private.into());
    value.push(match entry.progress {
        Progress::Waiting => 0,
        Progress::Announced => 1,
        Progress::Sent => 2,
        Progress::Seen => 3,
    });
    for time in [entry.added, entry.expires, entry.round_since.unwrap_or_default()] {
        value.extend_from_slice(&time.as_secs().to_le_bytes());
    }
    value.extend_from_slice(&entry.replaced_by.map_or([0; 32], |by| by.to_byte_array()));
    match entry.settled {
        None => value.push(0),
        Some(Settled::Confirmed { block }) => {
            value.push(1);
            write_block(&block, &mut value);
        }
        Some(Settled::Conflicted { by, block }) => {
            value.push(2);
            write_block(&block, &mut value);
            value.extend_from_slice(by.as_byte_array());
        }
    }
    value
}

fn write_block(block: &BlockId, out: &mut Vec<u8>) {
    out.extend_from_slice(&block.height.to_le_bytes());
    out.extend_from_slice(block.hash.as_byte_array());
}

fn read_block(reader: &mut Reader<'_>) -> Result<BlockId, Malformed> {
    Ok(BlockId { height: reader.u32()?, hash: BlockHash::from_byte_array(reader.array()?) })
}

const fn flag(byte: u8) -> Result<bool, RowError> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(RowError::Impossible),
    }
}

/// A value without its checksum and its version.
fn unseal<'a>(key: &[u8], value: &'a [u8]) -> Result<&'a [u8], RowError> {
    match rows::unseal(key, value) {
        Some([VERSION, value @ ..]) => Ok(value),
        Some([version, ..]) => Err(RowError::Version(*version)),
        Some([]) | None => Err(RowError::Damaged),
    }
}
