//! What a node knows of the watched scripts, gathered block by block from what it says itself, and what our program found.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::bitcoind::Bitcoind;
use crate::miner::Lock;

/// A payment to or from a watched script.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Payment {
    pub(crate) height: u64,
    pub(crate) block: String,
    txid: String,
    way: Way,
    script: String,
    sats: u64,
}

impl Payment {
    /// Whether a script received it, and did not spend it.
    pub(crate) fn is_received(&self) -> bool {
        matches!(self.way, Way::Received { .. })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Received { vout: u64 },
    Spent { vin: u64, spends_txid: String, spends_vout: u64 },
}

/// Every payment in the best chain of the node.
pub(crate) fn known_by_core(node: &Bitcoind, watched: &[Lock]) -> Vec<Payment> {
    let mut payments: Vec<_> = in_blocks(node, &node.hashes(), watched).into_iter().flatten().collect();
    payments.sort();
    payments
}

/// Every payment in each of these blocks of the node.
pub(crate) fn in_blocks(node: &Bitcoind, hashes: &[String], watched: &[Lock]) -> Vec<Vec<Payment>> {
    let watched = scripts(watched);
    let parameters: Vec<Value> = hashes.iter().map(|hash| json!([hash, 3])).collect();
    node.call_each("getblock", &parameters).iter().map(|block| payments_of(block, &watched)).collect()
}

/// Every payment in a block of the node.
pub(crate) fn in_block(node: &Bitcoind, hash: &str, watched: &[Lock]) -> Vec<Payment> {
    payments_of(&node.call("getblock", json!([hash, 3])), &scripts(watched))
}

fn scripts(watched: &[Lock]) -> BTreeSet<String> {
    watched.iter().map(|lock| lock.script.to_hex_string()).collect()
}

fn payments_of(block: &Value, watched: &BTreeSet<String>) -> Vec<Payment> {
    let mut payments = Vec::new();
    let hash = text(&block["hash"]);
    for transaction in list(&block["tx"]) {
        let mut add = |output: &Value, way| {
            let script = text(&output["scriptPubKey"]["hex"]);
            if watched.contains(&script) {
                let (height, txid) = (number(&block["height"]), text(&transaction["txid"]));
                let sats = (output["value"].as_f64().unwrap() * 1e8).round() as u64;
                payments.push(Payment { height, block: hash.clone(), txid, way, script, sats });
            }
        };
        for output in list(&transaction["vout"]) {
            add(output, Way::Received { vout: number(&output["n"]) });
        }
        for (input, vin) in list(&transaction["vin"]).iter().zip(0..) {
            if input["coinbase"].is_null() {
                let (spends_txid, spends_vout) = (text(&input["txid"]), number(&input["vout"]));
                add(&input["prevout"], Way::Spent { vin, spends_txid, spends_vout });
            }
        }
    }
    payments
}

/// Every payment in a summary of the program.
pub(crate) fn found(summary: &Value) -> Vec<Payment> {
    let mut payments: Vec<_> =
        list(&summary["payments"]).iter().chain(list(&summary["spent"])).map(payment).collect();
    payments.sort();
    payments
}

/// Every payment that the program told of by events of these names, in the order of the chain.
pub(crate) fn told(objects: &[Value], events: &[&str]) -> Vec<Payment> {
    let of_interest = |object: &&Value| events.iter().any(|&event| object["event"] == event);
    let mut payments: Vec<_> = objects.iter().filter(of_interest).map(payment).collect();
    payments.sort();
    payments
}

/// A payment as the program's JSON has it.
pub(crate) fn payment(object: &Value) -> Payment {
    let way = if object["vin"].is_null() {
        Way::Received { vout: number(&object["vout"]) }
    } else {
        Way::Spent {
            vin: number(&object["vin"]),
            spends_txid: text(&object["spends_txid"]),
            spends_vout: number(&object["spends_vout"]),
        }
    };
    Payment {
        height: number(&object["height"]),
        block: text(&object["block"]),
        txid: text(&object["txid"]),
        way,
        script: text(&object["script"]),
        sats: number(&object["sats"]),
    }
}

/// Those payments that concern these.
pub(crate) fn of_these(payments: Vec<Payment>, watched: &[Lock]) -> Vec<Payment> {
    let watched = scripts(watched);
    payments.into_iter().filter(|payment| watched.contains(&payment.script)).collect()
}

/// Demands that a summary has what the node knows, no more and no less, up to the node's tip.
#[track_caller]
pub(crate) fn assert_as_core_knows(summary: &Value, node: &Bitcoind, watched: &[Lock]) {
    assert_as_known(summary, node, &known_by_core(node, watched));
}

/// The same where the payments up to the node's tip are at hand, in order.
#[track_caller]
pub(crate) fn assert_as_known(summary: &Value, node: &Bitcoind, known: &[Payment]) {
    assert_eq!((&summary["event"], &summary["network"]), (&"summary".into(), &"regtest".into()));
    assert_eq!(summary["complete"], true, "{summary}");
    assert_eq!((&summary["tip_height"], &summary["tip_hash"]), (&node.height().into(), &node.tip().into()));
    let found = found(summary);
    assert!(!known.is_empty(), "the test must have something to find");
    let missed: Vec<_> = known.iter().filter(|payment| !found.contains(payment)).collect();
    let surplus: Vec<_> = found.iter().filter(|payment| !known.contains(payment)).collect();
    assert!(missed.is_empty() && surplus.is_empty(), "missed {missed:?}, too many {surplus:?}");
    assert_eq!(found, known);
    let sum = |is_received: bool| {
        let payments = known.iter().filter(|payment| payment.is_received() == is_received);
        (payments.clone().count() as u64, payments.map(|payment| payment.sats).sum::<u64>())
    };
    let summed = |count: &str, sats: &str| (number(&summary[count]), number(&summary[sats]));
    assert_eq!(summed("payment_count", "received_sats"), sum(true));
    assert_eq!(summed("spent_count", "spent_sats"), sum(false));
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[track_caller]
fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

#[track_caller]
fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}
