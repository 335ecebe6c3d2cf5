//! Transactions that a server keeps: those that spend what exists, and for a while those whose parents it lacks.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use andon_kernel::ConnId;
use bitcoin::consensus::{deserialize, serialize};
use bitcoin::hashes::Hash;
use bitcoin::{Block, OutPoint, Transaction, Txid, Wtxid};

use super::chain::Chain;
use super::limits::MAX_WEIGHT;
use super::orphans::{Named, Orphans};
use crate::wire::{INV_TX, INV_WITNESS_TX, INV_WTX, Inventory};

/// Transactions by their ids.
#[derive(Debug, Default)]
pub(super) struct Pool {
    transactions: BTreeMap<Txid, Pooled>,
    by_wtxid: BTreeMap<Wtxid, Txid>,
    spent: BTreeMap<OutPoint, Txid>,
    bytes: usize,
    orphans: Orphans,
}

#[derive(Debug)]
struct Pooled {
    wtxid: Wtxid,
    spends: Box<[OutPoint]>,
    outputs: usize,
    /// With witnesses.
    bytes: Box<[u8]>,
}

/// A transaction that is kept now, and who sent it: the application, if nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) txid: Txid,
    pub(super) from: Option<ConnId>,
}

/// What became of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is kept, and so are those that had waited for it. Parents before their children.
    Kept(Vec<Kept>),
    /// It waits for these parents, or would, were there room.
    Lacks(BTreeSet<Txid>),
    /// It is known, or not wanted.
    Refused,
}

/// What a change of the chain does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// Kept no longer.
    pub(super) gone: Vec<Txid>,
    /// Kept from now on: what they waited for has come. Parents before their children.
    pub(super) kept: Vec<Kept>,
}

/// What is to be done with a transaction.
enum Verdict {
    Fits,
    Lacks(BTreeSet<Txid>),
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

    /// Whether what an `inv` names is here and waits for its parents.
    pub(super) fn is_waiting(&self, inventory: &Inventory) -> bool {
        match inventory.kind {
            INV_WTX => self.orphans.has_wtxid(&Wtxid::from_byte_array(inventory.hash)),
            _ => self.orphans.has(&Txid::from_byte_array(inventory.hash)),
        }
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
        if !is_sound(&transaction) {
            return Taken::Refused;
        }
        let named = Named::new(transaction);
        if self.transactions.contains_key(&named.txid) || self.orphans.has(&named.txid) {
            return Taken::Refused;
        }
        match self.judge(&named.transaction, chain) {
            Verdict::Fits if self.bytes + named.size <= max_bytes => {
                self.insert(&named);
                let mut kept = Vec::from([Kept { txid: named.txid, from }]);
                self.keep_descendants(&mut kept, chain, max_bytes);
                Taken::Kept(kept)
            }
            Verdict::Lacks(parents) => {
                if let Some(from) = from {
                    self.orphans.add(named, from);
                }
                Taken::Lacks(parents)
            }
            Verdict::Fits | Verdict::Refused => Taken::Refused,
        }
    }

    /// Forgets what a peer's transactions wait for.
    pub(super) fn peer_gone(&mut self, conn: ConnId) {
        self.orphans.peer_gone(conn);
    }

    /// The chain has these blocks now: what they have goes, and what spends the same or what is not there any more; what
    /// waited for something in them waits no longer.
    pub(super) fn chain_changed(&mut self, blocks: &[Block], chain: &Chain, max_bytes: usize) -> Change {
        let Change { mut gone, mut kept } = Change::default();
        for transaction in blocks.iter().flat_map(|block| &block.txdata) {
            self.remove(&transaction.compute_txid(), &mut gone);
            for input in &transaction.input {
                if let Some(rival) = self.spent.get(&input.previous_output).copied() {
                    self.remove_family(rival, &mut gone);
                }
                self.orphans.remove_spenders(input.previous_output);
            }
        }
        // Other blocks may have taken the place of some. What is lost by a removal is a descendant, and goes with it.
        let is_lost = |outpoint: &OutPoint| !chain.is_unspent(outpoint) && !self.has_output(outpoint);
        let lost: Vec<Txid> =
            self.spent.iter().filter(|(outpoint, _)| is_lost(outpoint)).map(|(_, txid)| *txid).collect();
        for txid in lost {
            self.remove_family(txid, &mut gone);
        }
        for txid in self.orphans.txids() {
            kept.extend(self.retry(&txid, chain, max_bytes));
        }
        self.keep_descendants(&mut kept, chain, max_bytes);
        Change { gone, kept }
    }

    /// Looks at what waited for these, and for what is kept of that, and so on: all of it is added to them.
    fn keep_descendants(&mut self, kept: &mut Vec<Kept>, chain: &Chain, max_bytes: usize) {
        let mut next = 0;
        while let Some(Kept { txid: parent, .. }) = kept.get(next) {
            for child in self.orphans.children(parent) {
                kept.extend(self.retry(&child, chain, max_bytes));
            }
            next += 1;
        }
    }

    /// Looks again at a transaction that waits. It waits on while it lacks something, and else is kept or forgotten.
    fn retry(&mut self, txid: &Txid, chain: &Chain, max_bytes: usize) -> Option<Kept> {
        let verdict = self.judge(self.orphans.transaction(txid)?, chain);
        if matches!(verdict, Verdict::Lacks(_)) {
            return None;
        }
        let (named, from) = self.orphans.remove(txid)?;
        let fits = matches!(verdict, Verdict::Fits) && self.bytes + named.size <= max_bytes;
        fits.then(|| {
            self.insert(&named);
            Kept { txid: *txid, from: Some(from) }
        })
    }

    fn judge(&self, transaction: &Transaction, chain: &Chain) -> Verdict {
        let mut missing = BTreeSet::new();
        for input in &transaction.input {
            let outpoint = &input.previous_output;
            if self.spent.contains_key(outpoint) {
                return Verdict::Refused;
            }
            if !chain.is_unspent(outpoint) && !self.has_output(outpoint) {
                missing.insert(outpoint.txid);
            }
        }
        if missing.is_empty() {
            Verdict::Fits
        } else if missing.iter().any(|parent| self.transactions.contains_key(parent)) {
            // What is here has no such output.
            Verdict::Refused
        } else {
            Verdict::Lacks(missing)
        }
    }

    fn insert(&mut self, named: &Named) {
        let Named { transaction, txid, wtxid, size } = named;
        let spends: Box<[OutPoint]> = transaction.input.iter().map(|input| input.previous_output).collect();
        self.spent.extend(spends.iter().map(|outpoint| (*outpoint, *txid)));
        self.bytes += size;
        self.by_wtxid.insert(*wtxid, *txid);
        let bytes = serialize(transaction).into();
        let outputs = transaction.output.len();
        self.transactions.insert(*txid, Pooled { wtxid: *wtxid, spends, outputs, bytes });
    }

    fn remove(&mut self, txid: &Txid, gone: &mut Vec<Txid>) {
        let Some(pooled) = self.transactions.remove(txid) else { return };
        self.bytes -= pooled.bytes.len();
        self.by_wtxid.remove(&pooled.wtxid);
        for outpoint in &pooled.spends {
            self.spent.remove(outpoint);
        }
        gone.push(*txid);
    }

    fn remove_family(&mut self, txid: Txid, gone: &mut Vec<Txid>) {
        let mut open = Vec::from([txid]);
        while let Some(next) = open.pop() {
            self.remove(&next, gone);
            let outputs = OutPoint::new(next, 0)..=OutPoint::new(next, u32::MAX);
            open.extend(self.spent.range(outputs).map(|(_, child)| *child));
        }
    }

    fn has_output(&self, outpoint: &OutPoint) -> bool {
        let parent = self.transactions.get(&outpoint.txid);
        parent.is_some_and(|parent| (outpoint.vout as usize) < parent.outputs)
    }
}

/// Whether a transaction could be one, wherever it stands, and Bitcoin Core would relay it by its size.
fn is_sound(transaction: &Transaction) -> bool {
    let spent: BTreeSet<&OutPoint> = transaction.input.iter().map(|input| &input.previous_output).collect();
    !spent.is_empty()
        && spent.len() == transaction.input.len()
        && !spent.iter().any(|outpoint| outpoint.is_null())
        && !transaction.output.is_empty()
        && transaction.weight().to_wu() <= MAX_WEIGHT
}
