//! Reorganisations of 1, 3 and 20 blocks, while our program is connected and while it is not running.

use andon_kernel::Rng;
use bitcoin::OutPoint;
use serde_json::{Value, json};

use crate::bitcoind::Bitcoind;
use crate::miner::{Lock, Miner};
use crate::ours::{Ours, interrupt, wait_until_synced};
use crate::view::{Payment, assert_as_core_knows, found, in_block, known_by_core, told};

/// A node that has a branch of `depth` blocks as its best one, and knows a longer one that it does not take.
struct Forked {
    node: Bitcoind,
    watched: Vec<Lock>,
    fork: u64,
    /// The first block of the branch that it does not take.
    other: String,
    other_tip: String,
    purse: Vec<OutPoint>,
}

impl Forked {
    fn new(depth: u32) -> Option<Self> {
        let node = Bitcoind::start()?;
        let watched = Lock::series(7, 15);
        let mut miner = Miner::new(&node);
        miner.history(18, &watched);
        let fork = node.height();
        let before = miner.purse();
        // Both branches spend the same coins, for other payments.
        let other = branch(&mut miner, depth + 1, &watched[5..]);
        let other_tip = node.tip();
        node.call("invalidateblock", json!([other]));
        assert_eq!(node.height(), fork);
        let purse = miner.purse();
        miner.put_back(before);
        branch(&mut miner, depth, &watched[..10]);
        node.wait_for_filters();
        assert_eq!(node.height(), fork + u64::from(depth));
        Some(Self { node, watched, fork, other, other_tip, purse })
    }

    /// What is in the best branch.
    fn payments(&self) -> Vec<Payment> {
        let heights = self.fork + 1..=self.node.height();
        let mut payments: Vec<_> = heights
            .flat_map(|height| in_block(&self.node, &self.node.hash_at(height), &self.watched))
            .collect();
        payments.sort();
        payments
    }

    /// The node takes the longer branch, all at once.
    fn reorganise(&self) {
        self.node.call("reconsiderblock", json!([self.other]));
        assert_eq!(self.node.tip(), self.other_tip);
        self.node.wait_for_filters();
    }

    /// Demands that what was taken back is the payments of the branch that was left.
    #[track_caller]
    fn assert_taken_back(&self, objects: &[Value], left: &[Payment], old_tip: &str) {
        assert!(!left.is_empty());
        assert_eq!(told(objects, &["taken_back"]), left);
        let reorganised: Vec<_> = objects.iter().filter(|object| object["event"] == "reorganised").collect();
        assert_eq!(reorganised.len(), 1, "{reorganised:?}");
        let fork = json!({"height": self.fork, "hash": self.node.hash_at(self.fork)});
        assert_eq!(reorganised[0]["fork"], fork);
        assert_eq!(reorganised[0]["old_tip"]["hash"], old_tip);
        assert_eq!(reorganised[0]["new_tip"]["hash"], self.other_tip);
        // In this order: the branch is left, what was in it is void.
        let index = |event: &str| objects.iter().position(|object| object["event"] == event).unwrap();
        assert!(index("reorganised") < index("taken_back"));
        let last_taken_back = objects.iter().rposition(|object| object["event"] == "taken_back").unwrap();
        let new =
            |object: &Value| object["event"] == "received" && object["block"] == self.other_tip.as_str();
        assert!(last_taken_back < objects.iter().position(new).unwrap());
    }
}

/// Mines a branch with a payment in each block; gives the hash of its first block.
fn branch(miner: &mut Miner<'_>, blocks: u32, watched: &[Lock]) -> String {
    let mut first = None;
    let mut coins = Vec::new();
    for number in 0..blocks as usize {
        let lock = &watched[number % watched.len()];
        let payment = miner.pay_locks(&[(lock.clone(), 30_000)], &mut coins);
        let mut transactions = vec![payment];
        if number % 3 == 2 {
            transactions.push(miner.spend(&coins.split_off(1), watched[0].script.clone(), 12_345));
        }
        let hash = miner.block(&transactions);
        first.get_or_insert(hash);
    }
    first.unwrap()
}

fn while_connected(depth: u32) {
    let Some(forked) = Forked::new(depth) else { return };
    let Forked { node, watched, .. } = &forked;
    let (left, old_tip) = (forked.payments(), node.tip());
    let ours = Ours::new(watched);
    let mut running = ours.follow(node);
    wait_until_synced(&mut running, &old_tip);
    forked.reorganise();
    wait_until_synced(&mut running, &forked.other_tip);
    // And it goes on.
    branch(&mut Miner::resume(node, forked.purse.clone()), 2, watched);
    wait_until_synced(&mut running, &node.tip());
    let objects = interrupt(running);
    forked.assert_taken_back(&objects, &left, &old_tip);
    assert_as_core_knows(objects.last().unwrap(), node, watched);
    println!("{depth} blocks left: {} payments taken back", left.len());
}

fn while_stopped(depth: u32) {
    let Some(forked) = Forked::new(depth) else { return };
    let Forked { node, watched, .. } = &forked;
    let (left, old_tip) = (forked.payments(), node.tip());
    let ours = Ours::new(watched);
    assert_as_core_knows(ours.succeed(node).last().unwrap(), node, watched);
    forked.reorganise();
    let objects = ours.succeed(node);
    forked.assert_taken_back(&objects, &left, &old_tip);
    assert_as_core_knows(objects.last().unwrap(), node, watched);
    // It is told of once.
    let objects = ours.succeed(node);
    assert_eq!(told(&objects, &["taken_back"]), []);
    assert_as_core_knows(objects.last().unwrap(), node, watched);
}

#[test]
fn of_1_block_while_connected() {
    while_connected(1);
}

#[test]
fn of_3_blocks_while_connected() {
    while_connected(3);
}

#[test]
fn of_20_blocks_while_connected() {
    while_connected(20);
}

#[test]
fn of_1_block_while_stopped() {
    while_stopped(1);
}

#[test]
fn of_3_blocks_while_stopped() {
    while_stopped(3);
}

#[test]
fn of_20_blocks_while_stopped() {
    while_stopped(20);
}

/// The new branch grows block by block under the eyes of the program, and overtakes.
#[test]
fn a_branch_that_overtakes_block_by_block() {
    let Some(node) = Bitcoind::start() else { return };
    let watched = Lock::series(8, 15);
    let mut miner = Miner::new(&node);
    miner.history(6, &watched);
    let purse = miner.purse();
    let first = branch(&mut miner, 3, &watched[..10]);
    let old_tip = node.tip();
    let ours = Ours::new(&watched);
    let mut running = ours.follow(&node);
    wait_until_synced(&mut running, &old_tip);
    node.call("invalidateblock", json!([first]));
    miner.put_back(purse);
    branch(&mut miner, 5, &watched[5..]);
    wait_until_synced(&mut running, &node.tip());
    let objects = interrupt(running);
    assert_eq!(objects.iter().filter(|object| object["event"] == "reorganised").count(), 1);
    assert_as_core_knows(objects.last().unwrap(), &node, &watched);
}

/// The node leaves a branch for one with less work, as when its user told it to: whoever has seen the better one keeps
/// it, until the other one is better.
#[test]
fn a_node_that_falls_back_takes_nothing_back_until_it_overtakes() {
    let Some(node) = Bitcoind::start() else { return };
    let watched = Lock::series(9, 15);
    let mut miner = Miner::new(&node);
    miner.history(6, &watched);
    let purse = miner.purse();
    let first = branch(&mut miner, 5, &watched[..10]);
    node.wait_for_filters();
    let (old_tip, ours) = (node.tip(), Ours::new(&watched));
    let before = ours.succeed(&node).pop().unwrap();
    assert_as_core_knows(&before, &node, &watched);
    node.call("invalidateblock", json!([first]));
    miner.put_back(purse);
    branch(&mut miner, 3, &watched[5..]);
    node.wait_for_filters();
    let objects = ours.succeed(&node);
    assert_eq!(told(&objects, &["taken_back"]), []);
    let summary = objects.last().unwrap();
    assert_eq!((&summary["tip_hash"], found(summary)), (&old_tip.as_str().into(), found(&before)));
    branch(&mut miner, 3, &watched[5..]);
    node.wait_for_filters();
    assert_as_core_knows(ours.succeed(&node).last().unwrap(), &node, &watched);
}

#[test]
fn whoever_follows_many_reorganisations_ends_with_what_core_knows() {
    let Some(node) = Bitcoind::start() else { return };
    let watched = Lock::series(15, 15);
    let mut miner = Miner::new(&node);
    miner.history(12, &watched);
    let ours = Ours::new(&watched);
    let mut running = ours.follow(&node);
    wait_until_synced(&mut running, &node.tip());
    let mut rng = Rng::new([15; 32]);
    for _ in 0..25 {
        let depth = 1 + rng.below(12);
        node.call("invalidateblock", json!([node.hash_at(node.height() + 1 - depth)]));
        branch(&mut miner, (depth + 1 + rng.below(3)) as u32, &watched[rng.below(10) as usize..]);
        // Now and then it is not given the time to see a branch to its end.
        if rng.below(2) == 0 {
            wait_until_synced(&mut running, &node.tip());
        }
    }
    wait_until_synced(&mut running, &node.tip());
    let objects = interrupt(running);
    assert_as_core_knows(objects.last().unwrap(), &node, &watched);
    // Whoever adds up what was told comes to the same.
    let taken_back = told(&objects, &["taken_back"]);
    let mut standing = told(&objects, &["received", "spent"]);
    for payment in &taken_back {
        let index = standing.iter().position(|other| other == payment);
        standing.remove(index.expect("only what was told of is taken back"));
    }
    assert_eq!(standing, known_by_core(&node, &watched));
    let reorganisations = objects.iter().filter(|object| object["event"] == "reorganised").count();
    println!("{reorganisations} reorganisations, {} payments taken back", taken_back.len());
    assert_as_core_knows(ours.succeed(&node).last().unwrap(), &node, &watched);
}
