//! What a chain has to do with what somebody watches.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use andon_bitcoin::client::TouchKind;
use bitcoin::{OutPoint, ScriptBuf, Txid};

use super::maker::Mined;

/// Where, in which transaction, and which way.
pub type Finding = (u32, Txid, TouchKind);

/// What somebody watches, each from a height on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watched {
    /// Scripts: what is paid to them, and what spends that.
    pub scripts: BTreeMap<ScriptBuf, u32>,
    /// Outputs, for their spending alone, with their scripts. None of a script that is watched as well.
    pub outputs: BTreeMap<OutPoint, (ScriptBuf, u32)>,
}

/// What is to be found in a chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Truth {
    /// What must be found.
    pub found: BTreeSet<Finding>,
    /// What may be known beside that: it is true, and lies below the height from which it is watched now.
    pub possible: BTreeSet<Finding>,
}

impl Truth {
    /// The truth about a chain.
    pub fn of(chain: &[Arc<Mined>], watched: &Watched) -> Self {
        let mut truth = Self::default();
        let mut received: BTreeMap<OutPoint, bool> = BTreeMap::new();
        for (height, mined) in (0..).zip(chain) {
            for (transaction, txid) in mined.block.txdata.iter().zip(&mined.txids) {
                for (input, spent) in (0..).zip(&transaction.input) {
                    let outpoint = spent.previous_output;
                    let finding = (height, *txid, TouchKind::Spent { input, outpoint });
                    if let Some(is_found) = received.remove(&outpoint) {
                        truth.add(finding, is_found);
                    }
                    if let Some((_, from)) = watched.outputs.get(&outpoint) {
                        truth.add(finding, *from <= height);
                    }
                }
                for (output, paid) in (0..).zip(&transaction.output) {
                    if let Some(from) = watched.scripts.get(&paid.script_pubkey) {
                        received.insert(OutPoint { txid: *txid, vout: output }, *from <= height);
                        truth.add((height, *txid, TouchKind::Received { output }), *from <= height);
                    }
                }
            }
        }
        truth
    }

    fn add(&mut self, finding: Finding, is_found: bool) {
        if is_found {
            self.found.insert(finding);
        } else {
            self.possible.insert(finding);
        }
    }
}
