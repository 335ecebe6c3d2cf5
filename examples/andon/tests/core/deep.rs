//! Reorganisations from far below all that the program keeps at hand, back and forth: while it is connected, while it is
//! stopped, and while it is killed again and again.

use std::thread;
use std::time::{Duration, Instant};

use andon_kernel::Rng;
use bitcoin::OutPoint;
use serde_json::{Value, json};

use crate::bitcoind::Bitcoind;
use crate::ledger::{Ledger, Told};
use crate::miner::{Lock, Miner};
use crate::ours::Ours;
use crate::view::{assert_as_core_knows, assert_as_known, of_these, told};

/// Where the branches part, and where the first one ends: with more than four difficulty periods in between.
const FORK: u64 = 300;
const FIRST_TIP: u64 = 9_000;

/// A node with two branches.
struct Deep<'a> {
    miner: Miner<'a>,
    watched: &'a [Lock],
    purse: Vec<OutPoint>,
    fork: String,
    /// The first block of each branch.
    first: Vec<String>,
}

impl<'a> Deep<'a> {
    /// The node is on the first branch.
    fn new(node: &'a Bitcoind, watched: &'a [Lock]) -> Self {
        let mut miner = Miner::new(node);
        miner.history(60, watched);
        miner.empty((FORK - node.height()) as u32);
        let (purse, fork) = (miner.purse(), node.tip());
        let mut deep = Self { miner, watched, purse, fork, first: Vec::new() };
        deep.grow(FIRST_TIP);
        deep.first.push(node.hash_at(FORK + 1));
        deep
    }

    /// Mines up to a height, with payments at both ends.
    fn grow(&mut self, height: u64) {
        let node = self.miner.node;
        let count = (height - node.height()) as u32;
        let paying = 24.min(count / 2);
        self.miner.history(paying, self.watched);
        self.miner.empty(count - 2 * paying);
        self.miner.history(paying, &self.watched[5..]);
        node.wait_for_filters();
        assert_eq!(node.height(), height);
    }

    /// The node leaves its branch for a new one up to a height.
    fn leave(&mut self, height: u64) {
        let node = self.miner.node;
        node.call("invalidateblock", json!([self.first[0]]));
        assert_eq!(node.tip(), self.fork);
        self.miner.put_back(self.purse.clone());
        self.grow(height);
        self.first.push(node.hash_at(FORK + 1));
    }

    /// The node goes back to the first branch, and adds to it up to a height.
    fn go_back(&mut self, height: u64) {
        let node = self.miner.node;
        node.call("invalidateblock", json!([self.first[1]]));
        node.call("reconsiderblock", json!([self.first[0]]));
        assert_eq!(node.height(), FIRST_TIP);
        self.grow(height);
    }

    /// Demands that a run found what there is, up to the node's tip.
    #[track_caller]
    fn assert_found(&self, objects: &[Value], ledger: &Ledger) {
        let node = self.miner.node;
        assert_as_known(objects.last().unwrap(), node, &ledger.payments_up_to(&node.tip()));
    }

    /// Demands that a run told of one reorganisation, from the fork on.
    #[track_caller]
    fn assert_left_at_the_fork(&self, objects: &[Value], old_tip: &str) {
        let all: Vec<_> = objects.iter().filter(|object| object["event"] == "reorganised").collect();
        assert_eq!(all.len(), 1, "{all:?}");
        assert_eq!(all[0]["fork"], json!({"height": FORK, "hash": self.fork}));
        assert_eq!(all[0]["old_tip"]["hash"], old_tip);
        assert!(!told(objects, &["taken_back"]).is_empty());
    }

    /// Demands that whoever searches everything anew, from the headers and filter headers that are stored, finds what is
    /// there: every filter is checked against them.
    #[track_caller]
    fn assert_stored_right(&self, ours: &Ours, ledger: &Ledger) {
        let node = self.miner.node;
        let others = &self.watched[3..];
        ours.watch(others);
        let objects = ours.succeed(node);
        let known = of_these(ledger.payments_up_to(&node.tip()), others);
        assert_as_known(objects.last().unwrap(), node, &known);
        let surprises = ["peer_disconnected", "repaired", "warning", "reorganised"];
        let surprise = objects.iter().find(|object| surprises.iter().any(|name| object["event"] == *name));
        assert_eq!(surprise, None);
        // And again, as they are wanted the next time.
        ours.watch(self.watched);
        self.assert_found(&ours.succeed(node), ledger);
    }

    /// Runs the program again and again, and kills it at random moments, until it gets to the tip: later and later, from
    /// moments on that lie within `whole`. Gives how often it was killed.
    #[track_caller]
    fn kill_until_it_gets_there(&self, ours: &Ours, whole: Duration, ledger: &Ledger, rng: &mut Rng) -> u32 {
        let tip = self.miner.node.tip();
        for kills in 1..=60 {
            let follower = ours.follower(&[self.miner.node]);
            let limit = whole.as_micros() as u64 * kills / 30;
            thread::sleep(Duration::from_micros(rng.below(limit)));
            let done = follower.heard().synced.as_ref() == Some(&tip);
            ledger.check(&follower.kill());
            if done {
                return kills as u32;
            }
        }
        panic!("it does not get there");
    }
}

#[test]
fn of_9000_blocks_and_back() {
    let Some(node) = Bitcoind::start() else { return };
    let begin = Instant::now();
    let watched = Lock::series(18, 20);
    let mut deep = Deep::new(&node, &watched);
    let [connected, stopped, killed] = [(); 3].map(|()| Ours::new(&watched));
    let follower = connected.follower(&[&node]);
    let mut tips = vec![node.tip()];
    follower.wait_until_synced(&tips[0]);
    let ledger = Ledger::read(&[&deep.miner], &watched);
    for ours in [&stopped, &killed] {
        deep.assert_found(&ours.succeed(&node), &ledger);
    }
    println!("at the first tip after {:?}", begin.elapsed());
    let mut rng = Rng::new([18; 32]);
    for back in [false, true] {
        // One looks on as the other branch grows and overtakes. The others find it complete.
        let old_tip = tips.last().unwrap().clone();
        if back {
            deep.go_back(FIRST_TIP + 260)
        } else {
            deep.leave(FIRST_TIP + 200)
        }
        let mined = begin.elapsed();
        tips.push(node.tip());
        follower.wait_until_synced(&node.tip());
        let followed = begin.elapsed();
        let ledger = Ledger::read(&[&deep.miner], &watched);
        let objects = stopped.succeed(&node);
        ledger.check(&objects);
        deep.assert_left_at_the_fork(&objects, &old_tip);
        deep.assert_found(&objects, &ledger);
        deep.assert_stored_right(&stopped, &ledger);
        let seconds = objects.last().unwrap()["seconds"]["total"].as_f64().unwrap();
        let kills =
            deep.kill_until_it_gets_there(&killed, Duration::from_secs_f64(seconds), &ledger, &mut rng);
        deep.assert_found(&killed.succeed(&node), &ledger);
        deep.assert_stored_right(&killed, &ledger);
        println!(
            "mined after {mined:?}, followed after {followed:?}; from a stop it takes {seconds} s; killed {kills} times"
        );
    }
    let objects = follower.interrupt();
    let ledger = Ledger::read(&[&deep.miner], &watched);
    deep.assert_found(&objects, &ledger);
    let told: Told = ledger.check(&objects);
    let forks: Vec<_> = objects.iter().filter(|object| object["event"] == "reorganised").collect();
    let old_tips: Vec<_> = forks.iter().map(|object| object["old_tip"]["hash"].as_str().unwrap()).collect();
    assert_eq!(old_tips, tips[..2]);
    assert!(forks.iter().all(|object| object["fork"] == json!({"height": FORK, "hash": deep.fork})));
    assert_eq!((told.lost, told.deepest), (0, FIRST_TIP + 200 - FORK));
    deep.assert_stored_right(&connected, &ledger);
    println!("{told:?}; {} blocks; {:?}", ledger.len(), begin.elapsed());
}

/// The node leaves so much that nothing of what it finds instead has enough work to be kept, and finds block after block
/// until it has more than ever. Whoever is connected waits for that, and takes none of it amiss.
fn while_it_grows(series: u8, depth: u64) {
    let Some(node) = Bitcoind::start() else { return };
    let watched = Lock::series(series, 10);
    let mut miner = Miner::new(&node);
    miner.history(60, &watched);
    let (fork, purse) = (node.height(), miner.purse());
    miner.empty(depth as u32 - 12);
    miner.history(12, &watched);
    let old_tip = node.tip();
    let ours = Ours::new(&watched);
    let follower = ours.follower(&[&node]);
    follower.wait_until_synced(&old_tip);
    node.call("invalidateblock", json!([node.hash_at(fork + 1)]));
    miner.put_back(purse);
    miner.history(12, &watched[5..]);
    // Sometimes it says nothing for a while, sometimes much at a stroke.
    let mut rng = Rng::new([series; 32]);
    while node.height() + 40 < fork + depth {
        miner.empty(1 + rng.below(depth / 20) as u32);
        node.wait_until_answered();
        assert_eq!(follower.heard().synced.as_ref(), Some(&old_tip));
        miner.empty(1);
    }
    miner.empty((fork + depth - node.height()) as u32);
    node.wait_until_answered();
    assert_eq!(follower.heard().synced.as_ref(), Some(&old_tip), "the first one stays on a tie");
    miner.empty(1);
    follower.wait_until_synced(&node.tip());
    let objects = follower.interrupt();
    assert_as_core_knows(objects.last().unwrap(), &node, &watched);
    let told = Ledger::read(&[&miner], &watched).check(&objects);
    println!("{told:?}");
    assert_eq!((told.reorganisations, told.deepest, told.lost), (1, depth, 0));
}

#[test]
fn of_200_blocks_while_the_other_branch_grows() {
    while_it_grows(27, 200);
}

#[test]
fn of_2500_blocks_while_the_other_branch_grows() {
    while_it_grows(28, 2_500);
}
