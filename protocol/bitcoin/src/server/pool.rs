//! Transactions that a server keeps: those that spend what exists, and for a while those whose parents it lacks.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use andon_kernel::ConnId;
use bitcoin::consensus::{deserialize, serialize};
use bitcoin::hashes::Hash;
use bitcoin::{Block, OutPoint, Transaction, Txid, Wtxid};

use super::chain::Chain;
use crate::wire::{INV_TX, INV_WITNESS_TX, INV_WTX, Inventory};

/// The weight above which Bitcoin Core relays no transaction.
const MAX_WEIGHT: u64 = 400_000;
/// Transactions without parents that are kept, and their bytes.
const MAX_ORPHANS: usize = 100;
const MAX_ORPHAN_BYTES: usize = 1_000_000;

/// Transactions by their ids.
#[derive(Debug, Default)]
pub(super) struct Pool {
    transactions: BTreeMap<Txid, Pooled>,
    by_wtxid: BTreeMap<Wtxid, Txid>,
    spent: BTreeMap<OutPoint, Txid>,
    bytes: usize,
    orphans: BTreeMap<Txid, Orphan>,
    orphan_bytes: usize,
}

#[derive(Debug)]
struct Pooled {
    wtxid: Wtxid,
    outputs: usize,
    /// With witnesses.
    bytes: Box<[u8]>,
}

#[derive(Debug)]
struct Orphan {
    from: ConnId,
    transaction: Transaction,
    size: usize,
}

/// What became of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is kept, and so are those that had waited for it. In their order.
    Kept(Vec<Txid>),
    /// It waits for these parents, or would, were there room.
    Lacks(Vec<Txid>),
    /// It is known, or not wanted.
    Refused,
}

impl Pool {
    pub(super) fn wtxid(&self, txid: &Txid) -> Option<Wtxid> {
        self.transactions.get(txid).map(|pooled| pooled.wtxid)
    }

    pub(super) fn txids(&self) -> Vec<Txid> {
        self.transactions.keys().copied().collect()
    }

    /// The transaction that an entry of an `inv` or a `getdata` names, if it is here.
    pub(super) fn find(&self, inventory: &Inventory) -> Option<Txid> {
        match inventory.kind {
            INV_WTX => self.by_wtxid.get(&Wtxid::from_byte_array(inventory.hash)).copied(),
            INV_TX | INV_WITNESS_TX => {
                let txid = Txid::from_byte_array(inventory.hash);
                self.transactions.contains_key(&txid).then_some(txid)
            }
            _ => None,
        }
    }

    /// Whether something that an `inv` names need not be asked for.
    pub(super) fn knows(&self, inventory: &Inventory) -> bool {
        let is_orphan = || match inventory.kind {
            INV_WTX => self
                .orphans
                .values()
                .any(|orphan| orphan.transaction.compute_wtxid().to_byte_array() == inventory.hash),
            _ => self.orphans.contains_key(&Txid::from_byte_array(inventory.hash)),
        };
        self.find(inventory).is_some() || is_orphan()
    }

    /// What a `getdata` is answered with: by its txid alone, without witnesses.
    pub(super) fn serve(&self, request: &Inventory) -> Option<Vec<u8>> {
        let pooled = self.transactions.get(&self.find(request)?)?;
        if request.kind != INV_TX {
            return Some(pooled.bytes.to_vec());
        }
        let mut transaction: Transaction =
            deserialize(&pooled.bytes).expect("the bytes were written from one");
        transaction.input.iter_mut().for_each(|input| input.witness.clear());
        Some(serialize(&transaction))
    }

    /// Takes a transaction from a peer, or from the application.
    pub(super) fn take(
        &mut self,
        transaction: Transaction,
        from: Option<ConnId>,
        chain: &Chain,
        max_bytes: usize,
    ) -> Taken {
        let txid = transaction.compute_txid();
        let size = transaction.total_size();
        let is_sound = !transaction.input.is_empty()
            && !transaction.output.is_empty()
            && !transaction.input.iter().any(|input| input.previous_output.is_null())
            && transaction.weight().to_wu() <= MAX_WEIGHT;
        if !is_sound || self.transactions.contains_key(&txid) || self.orphans.contains_key(&txid) {
            return Taken::Refused;
        }
        let mut missing: Vec<Txid> = Vec::new();
        for input in &transaction.input {
            let outpoint = &input.previous_output;
            if self.spent.contains_key(outpoint) {
                return Taken::Refused;
            }
            if !chain.is_unspent(outpoint) && !self.has_output(outpoint) && !missing.contains(&outpoint.txid)
            {
                missing.push(outpoint.txid);
            }
        }
        if !missing.is_empty() {
            // What is here or in the chain has no such output.
            if missing.iter().any(|parent| self.transactions.contains_key(parent)) {
                return Taken::Refused;
            }
            if let Some(from) = from
                && self.orphans.len() < MAX_ORPHANS
                && self.orphan_bytes + size <= MAX_ORPHAN_BYTES
            {
                self.orphan_bytes += size;
                self.orphans.insert(txid, Orphan { from, transaction, size });
            }
            return Taken::Lacks(missing);
        }
        if self.bytes + size > max_bytes {
            return Taken::Refused;
        }
        self.insert(txid, &transaction, size);
        let mut kept = Vec::from([txid]);
        for child in self.orphans_of(&txid) {
            let orphan = self.take_orphan(&child).expect("it was found just now");
            if let Taken::Kept(more) = self.take(orphan.transaction, Some(orphan.from), chain, max_bytes) {
                kept.extend(more);
            }
        }
        Taken::Kept(kept)
    }

    /// Forgets what a peer's transactions wait for.
    pub(super) fn peer_gone(&mut self, conn: ConnId) {
        let gone = self.orphans.iter().filter(|(_, orphan)| orphan.from == conn);
        for txid in gone.map(|(txid, _)| *txid).collect::<Vec<_>>() {
            self.take_orphan(&txid);
        }
    }

    /// A block has these: they, and what spends the same or what is not there any more, go.
    pub(super) fn confirm(&mut self, block: &Block) {
        for transaction in &block.txdata {
            self.remove(&transaction.compute_txid());
            for input in &transaction.input {
                if let Some(rival) = self.spent.get(&input.previous_output).copied() {
                    self.remove_family(rival);
                }
            }
        }
    }

    /// Other blocks have taken the place of some: what spends nothing that exists goes.
    pub(super) fn recheck(&mut self, chain: &Chain) {
        let lost = |pool: &Self| {
            let mut inputs = pool.spent.iter();
            let lost = inputs.find(|(outpoint, _)| !chain.is_unspent(outpoint) && !pool.has_output(outpoint));
            lost.map(|(_, txid)| *txid)
        };
        while let Some(txid) = lost(self) {
            self.remove_family(txid);
        }
    }

    fn insert(&mut self, txid: Txid, transaction: &Transaction, size: usize) {
        let wtxid = transaction.compute_wtxid();
        for input in &transaction.input {
            self.spent.insert(input.previous_output, txid);
        }
        self.bytes += size;
        self.by_wtxid.insert(wtxid, txid);
        self.transactions.insert(
            txid,
            Pooled { wtxid, outputs: transaction.output.len(), bytes: serialize(transaction).into() },
        );
    }

    fn remove(&mut self, txid: &Txid) {
        let Some(pooled) = self.transactions.remove(txid) else { return };
        self.bytes -= pooled.bytes.len();
        self.by_wtxid.remove(&pooled.wtxid);
        self.spent.retain(|_, spender| spender != txid);
    }

    fn remove_family(&mut self, txid: Txid) {
        let mut open = Vec::from([txid]);
        while let Some(next) = open.pop() {
            self.remove(&next);
            let outputs = OutPoint::new(next, 0)..=OutPoint::new(next, u32::MAX);
            open.extend(self.spent.range(outputs).map(|(_, child)| *child));
        }
    }

    fn has_output(&self, outpoint: &OutPoint) -> bool {
        let parent = self.transactions.get(&outpoint.txid);
        parent.is_some_and(|parent| (outpoint.vout as usize) < parent.outputs)
    }

    fn orphans_of(&self, parent: &Txid) -> Vec<Txid> {
        let waits = |orphan: &Orphan| {
            orphan.transaction.input.iter().any(|input| input.previous_output.txid == *parent)
        };
        self.orphans.iter().filter(|(_, orphan)| waits(orphan)).map(|(txid, _)| *txid).collect()
    }

    fn take_orphan(&mut self, txid: &Txid) -> Option<Orphan> {
        let orphan = self.orphans.remove(txid)?;
        self.orphan_bytes -= orphan.size;
        Some(orphan)
    }
}
