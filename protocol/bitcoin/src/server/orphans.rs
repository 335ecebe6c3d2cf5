//! Transactions whose parents a server lacks: kept until these come, or their sender goes, or others need the room.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use andon_kernel::ConnId;
use bitcoin::hashes::Hash;
use bitcoin::{OutPoint, Transaction, Txid, Wtxid};

use super::limits::{MAX_ORPHAN_BYTES, MAX_ORPHANS};

/// A transaction with what is computed of it once.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) transaction: Transaction,
    pub(super) txid: Txid,
    pub(super) wtxid: Wtxid,
    /// Bytes, with witnesses.
    pub(super) size: usize,
}

impl Named {
    pub(super) fn new(transaction: Transaction) -> Self {
        let (txid, wtxid) = (transaction.compute_txid(), transaction.compute_wtxid());
        let size = transaction.total_size();
        Self { transaction, txid, wtxid, size }
    }
}

/// Transactions that wait, by their ids.
#[derive(Debug, Default)]
pub(super) struct Orphans {
    orphans: BTreeMap<Txid, Orphan>,
    by_wtxid: BTreeMap<Wtxid, Txid>,
    /// What they spend, each with who spends it.
    spent: BTreeSet<(OutPoint, Txid)>,
    /// What each peer has sent of them.
    shares: BTreeMap<ConnId, Share>,
    bytes: usize,
    /// Of the next one to come.
    number: u64,
}

#[derive(Debug)]
struct Orphan {
    named: Named,
    from: ConnId,
    number: u64,
}

#[derive(Debug, Default)]
struct Share {
    /// By their numbers, the oldest first.
    txids: BTreeMap<u64, Txid>,
    bytes: usize,
}

impl Share {
    /// What it takes of the room: of the places or of the bytes, whichever is more.
    fn size(&self) -> usize {
        self.bytes.max(self.txids.len() * (MAX_ORPHAN_BYTES / MAX_ORPHANS))
    }
}

impl Orphans {
    pub(super) fn has(&self, txid: &Txid) -> bool {
        self.orphans.contains_key(txid)
    }

    pub(super) fn has_wtxid(&self, wtxid: &Wtxid) -> bool {
        self.by_wtxid.contains_key(wtxid)
    }

    pub(super) fn transaction(&self, txid: &Txid) -> Option<&Transaction> {
        self.orphans.get(txid).map(|orphan| &orphan.named.transaction)
    }

    /// All of them, in the order in which they came.
    pub(super) fn txids(&self) -> Vec<Txid> {
        let by_number: BTreeMap<u64, Txid> =
            self.orphans.iter().map(|(txid, orphan)| (orphan.number, *txid)).collect();
        by_number.into_values().collect()
    }

    /// Those that spend an output of this transaction.
    pub(super) fn children(&self, parent: &Txid) -> BTreeSet<Txid> {
        self.spenders(OutPoint::new(*parent, 0), OutPoint::new(*parent, u32::MAX)).collect()
    }

    /// Keeps one that is not among them. If there is no room, the oldest of whoever takes the most of it give way.
    pub(super) fn add(&mut self, named: Named, from: ConnId) {
        let (txid, number) = (named.txid, self.number);
        self.number += 1;
        self.bytes += named.size;
        self.by_wtxid.insert(named.wtxid, txid);
        self.spent.extend(named.transaction.input.iter().map(|input| (input.previous_output, txid)));
        let share = self.shares.entry(from).or_default();
        share.txids.insert(number, txid);
        share.bytes += named.size;
        self.orphans.insert(txid, Orphan { named, from, number });
        while self.orphans.len() > MAX_ORPHANS || self.bytes > MAX_ORPHAN_BYTES {
            let largest = self.shares.values().max_by_key(|share| share.size());
            let oldest = largest.and_then(|share| share.txids.values().next()).copied();
            self.remove(&oldest.expect("what takes the room is somebody's"));
        }
    }

    /// Takes one out; says who had sent it.
    pub(super) fn remove(&mut self, txid: &Txid) -> Option<(Named, ConnId)> {
        let Orphan { named, from, number } = self.orphans.remove(txid)?;
        self.bytes -= named.size;
        self.by_wtxid.remove(&named.wtxid);
        for input in &named.transaction.input {
            self.spent.remove(&(input.previous_output, *txid));
        }
        let share = self.shares.get_mut(&from).expect("what was sent is in a share");
        share.txids.remove(&number);
        share.bytes -= named.size;
        if share.txids.is_empty() {
            self.shares.remove(&from);
        }
        Some((named, from))
    }

    /// Forgets those that spend this.
    pub(super) fn remove_spenders(&mut self, outpoint: OutPoint) {
        for txid in self.spenders(outpoint, outpoint).collect::<Vec<_>>() {
            self.remove(&txid);
        }
    }

    /// Forgets what a peer has sent.
    pub(super) fn peer_gone(&mut self, conn: ConnId) {
        let share = self.shares.get(&conn).map(|share| share.txids.values().copied().collect::<Vec<_>>());
        for txid in share.into_iter().flatten() {
            self.remove(&txid);
        }
    }

    fn spenders(&self, first: OutPoint, last: OutPoint) -> impl Iterator<Item = Txid> {
        let (lowest, highest) = (Txid::from_byte_array([0; 32]), Txid::from_byte_array([0xff; 32]));
        self.spent.range((first, lowest)..=(last, highest)).map(|(_, txid)| *txid)
    }
}
