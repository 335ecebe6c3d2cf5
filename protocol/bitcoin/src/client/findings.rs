//! What is watched, and what was found: received outputs are remembered, so that their spending is noticed.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use bitcoin::{Amount, Block, OutPoint, ScriptBuf, Txid};

use super::api::{BlockId, Touch, TouchKind};
use super::record::TouchKey;
use crate::filter::Query;

/// The watched scripts and the outputs that they received.
#[derive(Debug)]
pub(super) struct Findings {
    watched: BTreeMap<ScriptBuf, u32>,
    query: Query,
    outputs: BTreeMap<OutPoint, (ScriptBuf, Amount)>,
}

/// What a block may have to do with the watched scripts: what it pays them, and everything it spends.
///
/// Which of that had been received is known only when all blocks before it have been looked at.
#[derive(Debug)]
pub(super) struct Digest(Vec<Transaction>);

#[derive(Debug)]
struct Transaction {
    txid: Txid,
    spent: Vec<OutPoint>,
    received: Vec<(u32, ScriptBuf, Amount)>,
}

impl Findings {
    /// Nothing is watched.
    pub(super) fn new() -> Self {
        Self { watched: BTreeMap::new(), query: Query::new([]), outputs: BTreeMap::new() }
    }

    /// The watched scripts, each with the height it is watched from.
    pub(super) fn watched(&self) -> &BTreeMap<ScriptBuf, u32> {
        &self.watched
    }

    /// Watches these scripts and no others.
    pub(super) fn watch(&mut self, watched: BTreeMap<ScriptBuf, u32>) {
        self.query = Query::new(watched.keys().map(|script| script.as_bytes()));
        self.watched = watched;
    }

    /// The watched scripts, prepared for matching.
    pub(super) fn query(&self) -> &Query {
        &self.query
    }

    /// The script of an output that was received and is not spent yet.
    pub(super) fn script_of(&self, outpoint: &OutPoint) -> Option<&[u8]> {
        self.outputs.get(outpoint).map(|(script, _)| script.as_bytes())
    }

    /// Takes from a block what may matter.
    pub(super) fn digest(&self, block: &Block) -> Digest {
        let transactions = block.txdata.iter().map(|transaction| {
            let outputs = (0..).zip(&transaction.output);
            let received = outputs
                .filter(|(_, output)| self.watched.contains_key(&output.script_pubkey))
                .map(|(index, output)| (index, output.script_pubkey.clone(), output.value));
            let spent = transaction.input.iter().map(|input| input.previous_output);
            Transaction {
                txid: transaction.compute_txid(),
                spent: spent.collect(),
                received: received.collect(),
            }
        });
        Digest(transactions.collect())
    }

    /// Finds what touched the watched scripts in a block, after all blocks before it, and takes it in.
    pub(super) fn settle(&mut self, block: BlockId, digest: Digest) -> Vec<(TouchKey, Touch)> {
        let mut touches = Vec::new();
        for (position, transaction) in (0..).zip(digest.0) {
            let mut add = |kind, script, amount| {
                let touch = Touch { block, txid: transaction.txid, kind, script, amount };
                touches.push((TouchKey::new(block.height, position, kind), touch));
            };
            for (input, outpoint) in (0..).zip(transaction.spent) {
                if let Some((script, amount)) = self.outputs.remove(&outpoint) {
                    add(TouchKind::Spent { input, outpoint }, script, amount);
                }
            }
            for (output, script, amount) in transaction.received {
                let outpoint = OutPoint { txid: transaction.txid, vout: output };
                self.outputs.insert(outpoint, (script.clone(), amount));
                add(TouchKind::Received { output }, script, amount);
            }
        }
        touches
    }

    /// Takes in a finding that had been stored. In the chain's order.
    pub(super) fn restore(&mut self, touch: &Touch) {
        match touch.kind {
            TouchKind::Received { output } => {
                let outpoint = OutPoint { txid: touch.txid, vout: output };
                self.outputs.insert(outpoint, (touch.script.clone(), touch.amount));
            }
            TouchKind::Spent { outpoint, .. } => {
                self.outputs.remove(&outpoint);
            }
        }
    }

    /// Takes a finding back. Against the chain's order.
    pub(super) fn take_back(&mut self, touch: &Touch) {
        match touch.kind {
            TouchKind::Received { output } => {
                self.outputs.remove(&OutPoint { txid: touch.txid, vout: output });
            }
            TouchKind::Spent { outpoint, .. } => {
                self.outputs.insert(outpoint, (touch.script.clone(), touch.amount));
            }
        }
    }
}
