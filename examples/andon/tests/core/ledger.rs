//! Every block that a node has ever had, also those it has left, with the payments in it: what our program should tell at
//! any moment follows from that.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::miner::{Lock, Miner};
use crate::view::{Payment, in_blocks, payment};

/// All blocks, by their hashes.
#[derive(Debug)]
pub(crate) struct Ledger(BTreeMap<String, Entry>);

#[derive(Debug)]
struct Entry {
    height: u64,
    parent: Option<String>,
    payments: Vec<Payment>,
}

/// What a run of the program has told.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// How often it left a branch, and the greatest number of blocks that it left at once.
    pub(crate) reorganisations: usize,
    pub(crate) deepest: u64,
    pub(crate) taken_back: usize,
    /// How often a peer hung up.
    pub(crate) lost: usize,
    /// How often everything up to the tip was checked.
    pub(crate) synced: usize,
}

impl Told {
    /// Adds what another run told.
    pub(crate) fn add(&mut self, other: &Self) {
        self.reorganisations += other.reorganisations;
        self.deepest = self.deepest.max(other.deepest);
        self.taken_back += other.taken_back;
        self.lost += other.lost;
        self.synced += other.synced;
    }
}

/// A peer may be asked for blocks that it has left by then, and hangs up.
const CLOSED: &str = "closed by the peer";

impl Ledger {
    /// The network's first block and all that these have mined, each as its own node knows it.
    pub(crate) fn read(miners: &[&Miner<'_>], watched: &[Lock]) -> Self {
        let mut blocks = BTreeMap::new();
        for miner in miners {
            let node = miner.node;
            let first = [node.hash_at(0)];
            let hashes: Vec<&String> = first.iter().chain(&miner.mined).collect();
            let parameters: Vec<Value> = hashes.iter().map(|hash| json!([hash])).collect();
            let mut paying = Vec::new();
            for (hash, header) in hashes.into_iter().zip(node.call_each("getblockheader", &parameters)) {
                // Where there is a single transaction, the reward goes where nobody looks, unless it was said otherwise.
                if header["nTx"] != 1 || miner.rewards.contains(hash) {
                    paying.push(hash.clone());
                }
                let parent = header["previousblockhash"].as_str().map(str::to_owned);
                let height = header["height"].as_u64().unwrap();
                blocks.insert(hash.clone(), Entry { height, parent, payments: Vec::new() });
            }
            for (hash, payments) in paying.iter().zip(in_blocks(node, &paying, watched)) {
                blocks.get_mut(hash).unwrap().payments = payments;
            }
        }
        Self(blocks)
    }

    /// How many blocks there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The last block that two branches have in common.
    fn fork(&self, one: &str, other: &str) -> (u64, String) {
        let (mut one, mut other) = (one, other);
        while one != other {
            let higher = if self.0[one].height >= self.0[other].height { &mut one } else { &mut other };
            *higher = self.0[*higher].parent.as_deref().unwrap();
        }
        (self.0[one].height, one.to_owned())
    }

    /// The payments in a block and all before it.
    pub(crate) fn payments_up_to(&self, hash: &str) -> Vec<Payment> {
        let mut payments = Vec::new();
        let mut next = Some(hash);
        while let Some(hash) = next {
            let entry = &self.0[hash];
            payments.extend_from_slice(&entry.payments);
            next = entry.parent.as_deref();
        }
        payments.sort();
        payments
    }

    /// Demands that what one run told makes sense, line by line: each branch was left for a better one, exactly where they
    /// part; what was found is in a block, and is taken back once and only if it was told; and whenever everything was
    /// checked, exactly the payments up to the tip stood.
    #[track_caller]
    pub(crate) fn check(&self, objects: &[Value]) -> Told {
        let mut told = Told::default();
        let mut standing: Vec<Payment> = Vec::new();
        for object in objects {
            match object["event"].as_str().unwrap() {
                "reorganised" => {
                    let (old, new) = (&object["old_tip"], &object["new_tip"]);
                    let height = |block: &Value| block["height"].as_u64().unwrap();
                    assert!(height(new) > height(old), "a better branch was left: {object}");
                    let (fork, hash) = self.fork(&text(&old["hash"]), &text(&new["hash"]));
                    assert_eq!(object["fork"], json!({"height": fork, "hash": hash}), "{object}");
                    told.reorganisations += 1;
                    told.deepest = told.deepest.max(height(old) - fork);
                }
                "received" | "spent" => {
                    let found = payment(object);
                    assert!(self.0[&found.block].payments.contains(&found), "{object}");
                    assert!(!standing.contains(&found), "told twice: {object}");
                    standing.push(found);
                }
                "taken_back" => {
                    let index = standing.iter().position(|standing| *standing == payment(object));
                    standing.swap_remove(index.unwrap_or_else(|| panic!("it was not told: {object}")));
                    told.taken_back += 1;
                }
                "synced" => {
                    standing.sort();
                    assert_eq!(standing, self.payments_up_to(&text(&object["block"])), "{object}");
                    told.synced += 1;
                }
                "started" | "peer_connected" | "progress" | "matched" | "checked" | "summary" => {}
                "peer_disconnected" => {
                    assert_eq!(object["reason"], CLOSED, "{object}");
                    told.lost += 1;
                }
                "warning" => assert!(text(&object["what"]).contains(CLOSED), "{object}"),
                _ => panic!("nothing gives a reason for {object}"),
            }
        }
        told
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}
