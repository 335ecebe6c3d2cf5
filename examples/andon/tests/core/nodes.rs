//! Several nodes as peers: on different branches, behind, without enough work of their own, or pruned.

use std::time::Instant;

use serde_json::{Value, json};

use crate::bitcoind::{Bitcoind, FILTERS};
use crate::common::run;
use crate::ledger::{Ledger, Told};
use crate::miner::{Lock, Miner};
use crate::ours::Ours;
use crate::view::{assert_as_core_knows, known_by_core, told};

fn start(count: usize) -> Option<Vec<Bitcoind>> {
    (0..count).map(|_| Bitcoind::start()).collect()
}

/// How many events of this name there are that are about this node.
fn count(objects: &[Value], event: &str, node: &Bitcoind) -> usize {
    let address = node.address.to_string();
    objects.iter().filter(|object| object["event"] == event && object["peer"] == address.as_str()).count()
}

/// Three nodes that part after the same block, each with a longer branch than the one before it; one after the other is
/// seen, then overtaken, and in the end they find each other.
fn on_different_branches(series: u8, branches: [u32; 3]) {
    let Some(nodes) = start(3) else { return };
    let begin = Instant::now();
    let watched = Lock::series(series, 15);
    let mut miners = vec![Miner::new(&nodes[0])];
    miners[0].history(60, &watched);
    let (fork, purse) = (nodes[0].height(), miners[0].purse());
    for node in &nodes[1..] {
        node.take_from(&nodes[0], fork);
        miners.push(Miner::resume(node, purse.clone()));
    }
    for (number, (miner, length)) in miners.iter_mut().zip(branches).enumerate() {
        // Each its own payments, and its own blocks even where there are none.
        miner.history(12, &watched[number..]);
        miner.block_for(&watched[number].script, &[]);
        miner.empty(length - 13);
        miner.node.wait_for_filters();
    }
    // The one with the least work comes first.
    let [first, second, third] = [&nodes[0], &nodes[1], &nodes[2]];
    let ours = Ours::new(&watched);
    let follower = ours.follower(&[first, second, third]);
    follower.wait_until_synced(&third.tip());
    // Those that are behind overtake.
    miners[0].empty((third.height() - first.height()) as u32 + 1);
    follower.wait_until_synced(&first.tip());
    miners[1].history((first.height() - second.height()) as u32 + 6, &watched);
    follower.wait_until_synced(&second.tip());
    let best = second.tip();
    for node in [first, third] {
        node.connect(second);
        node.wait_for_tip(best.parse().unwrap());
    }
    // All find blocks for each other.
    let mut purse = miners[1].purse();
    for number in [0, 2, 1] {
        let miner = &mut miners[number];
        miner.put_back(purse);
        miner.history(6, &watched);
        purse = miner.purse();
        let tip = miner.node.tip();
        nodes.iter().for_each(|node| node.wait_for_tip(tip.parse().unwrap()));
        follower.wait_until_synced(&tip);
    }
    let objects = follower.interrupt();
    assert_as_core_knows(objects.last().unwrap(), second, &watched);
    assert_as_core_knows(objects.last().unwrap(), third, &watched);
    let miners: Vec<&Miner<'_>> = miners.iter().collect();
    let told: Told = Ledger::read(&miners, &watched).check(&objects);
    println!("branches of {branches:?} blocks: {told:?}; {:?}", begin.elapsed());
    assert_eq!(told.lost, 0);
    assert!(told.reorganisations >= 2 && told.deepest > u64::from(branches[0]));
}

#[test]
fn on_branches_of_30_blocks_are_all_seen() {
    on_different_branches(20, [30, 34, 38]);
}

#[test]
fn on_branches_of_2500_blocks_are_all_seen() {
    on_different_branches(21, [2_500, 2_520, 2_540]);
}

/// A node that knows nothing is asked first, and learns later what the others know.
#[test]
fn one_that_has_nothing_yet_is_followed_as_it_learns() {
    let Some(nodes) = start(2) else { return };
    let (full, empty) = (&nodes[0], &nodes[1]);
    let watched = Lock::series(22, 10);
    let mut miner = Miner::new(full);
    miner.history(60, &watched);
    // Alone, it is all there is to be known.
    let ours = Ours::new(&watched);
    let follower = ours.follower(&[empty]);
    follower.wait_until_synced(&empty.tip());
    assert_eq!(empty.height(), 0);
    empty.connect(full);
    empty.wait_for_tip(full.tip().parse().unwrap());
    follower.wait_until_synced(&full.tip());
    miner.history(6, &watched);
    follower.wait_until_synced(&full.tip());
    let objects = follower.interrupt();
    assert_as_core_knows(objects.last().unwrap(), full, &watched);
    assert_eq!(count(&objects, "peer_disconnected", empty), 0);
}

/// A node in initial download shows a part of the chain and announces nothing.
#[test]
fn one_that_is_far_behind_keeps_nobody_from_the_tip() {
    let Some(nodes) = start(2) else { return };
    let (full, behind) = (&nodes[0], &nodes[1]);
    let watched = Lock::series(23, 10);
    // So old that whoever has this alone knows that it is not the end.
    let now = full.call("getblockheader", json!([full.hash_at(0)]))["time"].as_u64().unwrap();
    full.call("setmocktime", json!([now + 7 * 24 * 60 * 60]));
    let mut miner = Miner::new(full);
    miner.history(60, &watched);
    behind.take_from(full, 120);
    miner.empty(2_400);
    miner.history(12, &watched);
    full.call("setmocktime", json!([0]));
    assert_eq!(behind.call("getblockchaininfo", json!([]))["initialblockdownload"], true);
    behind.wait_for_filters();
    let ours = Ours::new(&watched);
    let follower = ours.follower(&[behind, full]);
    follower.wait_until_synced(&full.tip());
    // It goes on to learn, and is the only one that is left.
    behind.connect(full);
    behind.wait_for_tip(full.tip().parse().unwrap());
    miner.history(6, &watched);
    follower.wait_until_synced(&full.tip());
    behind.wait_for_tip(full.tip().parse().unwrap());
    assert_eq!(behind.call("getblockchaininfo", json!([]))["initialblockdownload"], false);
    full.call("setnetworkactive", json!([false]));
    let mut heir = Miner::resume(behind, miner.purse());
    heir.history(6, &watched);
    follower.wait_until_synced(&behind.tip());
    let objects = follower.interrupt();
    assert_as_core_knows(objects.last().unwrap(), behind, &watched);
    assert_eq!(count(&objects, "peer_disconnected", behind), 0);
}

/// A node whose chain has less work than it asks for itself answers every question for headers with none.
#[test]
fn one_that_shows_no_headers_is_told_of_and_passed_over() {
    let more_work = format!("-minimumchainwork={:064x}", 1_u64 << 40);
    let Some(silent) = Bitcoind::start_with(&[&FILTERS[..], &[&more_work]].concat()) else { return };
    let Some(full) = Bitcoind::start() else { return };
    let watched = Lock::series(24, 10);
    let mut miner = Miner::new(&full);
    miner.history(60, &watched);
    silent.take_from(&full, full.height());
    assert_eq!(silent.tip(), full.tip());
    let ours = Ours::new(&watched);
    // Alone, it is of no use.
    let ended = run(&mut ours.command("regtest", silent.address, &["--timeout", "2"]));
    ended.failed(1, &["nothing new has come"]);
    ended.failed_as("stalled");
    let objects = ended.objects();
    assert_eq!(count(&objects, "peer_withholds", &silent), 1);
    assert_eq!(count(&objects, "peer_disconnected", &silent), 0);
    let withheld = objects.iter().find(|object| object["event"] == "peer_withholds").unwrap();
    assert_eq!(withheld["claimed_height"], full.height());
    // With another one it keeps nobody from anything.
    let follower = ours.follower(&[&silent, &full]);
    follower.wait_until_synced(&full.tip());
    miner.history(6, &watched);
    follower.wait_until_synced(&full.tip());
    let objects = follower.interrupt();
    assert_as_core_knows(objects.last().unwrap(), &full, &watched);
    assert_eq!(count(&objects, "peer_disconnected", &silent), 0);
}

/// A pruned node has all filters, and the blocks of the last two days.
#[test]
fn one_that_is_pruned_is_asked_for_what_it_has() {
    let Some(pruned) = Bitcoind::start_with(&[&FILTERS[..], &["-prune=1", "-fastprune"]].concat()) else {
        return;
    };
    let Some(full) = Bitcoind::start() else { return };
    let watched = Lock::series(25, 10);
    let mut miner = Miner::new(&full);
    miner.history(60, &watched);
    miner.empty(900);
    miner.history(120, &watched);
    pruned.take_from(&full, full.height());
    pruned.wait_for_filters();
    let first = pruned.call("pruneblockchain", json!([700])).as_u64().unwrap();
    println!("pruned up to block {first} of {}", full.height());
    assert!(first > 162, "what was paid at first is gone");
    let known = known_by_core(&full, &watched);

    // What is recent is found with it alone.
    let birthday = full.height() - 200;
    let recent = Ours::new(&watched);
    let more = ["--birthday", &birthday.to_string()];
    let ended = run(&mut recent.command("regtest", pruned.address, &more));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let objects = ended.objects();
    let received: Vec<_> =
        known.iter().filter(|known| known.is_received() && known.height >= birthday).cloned().collect();
    assert!(!received.is_empty());
    assert_eq!(told(&objects, &["received"]), received);

    // What is not waits for another node, and it is not asked for it: it would hang up.
    let ours = Ours::new(&watched);
    let ended = run(&mut ours.command("regtest", pruned.address, &["--timeout", "2"]));
    ended.failed_as("stalled");
    assert_eq!(count(&ended.objects(), "peer_disconnected", &pruned), 0);
    let follower = ours.follower(&[&pruned, &full]);
    follower.wait_until_synced(&full.tip());
    let objects = follower.interrupt();
    assert_as_core_knows(objects.last().unwrap(), &full, &watched);
    assert_eq!(count(&objects, "peer_disconnected", &pruned), 0);
}

/// A chain is kept when it has the work that it is asked to have, and not before.
#[test]
fn one_with_too_little_work_is_believed_when_it_has_more() {
    let Some(node) = Bitcoind::start() else { return };
    let watched = Lock::series(26, 10);
    let mut miner = Miner::new(&node);
    miner.history(60, &watched);
    let (missing, height) = (2_300, node.height());
    let work = node.call("getblockchaininfo", json!([]))["chainwork"].as_str().unwrap().to_owned();
    let work = u64::from_str_radix(&work, 16).unwrap();
    // Each block of regtest counts for two.
    assert_eq!(work, 2 * (height + 1));
    let minimum = format!("{:x}", work + 2 * missing);
    let ours = Ours::new(&watched);
    let follower = ours.follower_with(&[&node], &["--minimum-work", &minimum]);
    follower.wait_until("its connection", |heard| {
        heard.objects.iter().any(|object| object["event"] == "peer_connected")
    });
    miner.empty(missing as u32 - 1);
    node.wait_until_answered();
    let checked = |object: &Value| object["event"] == "checked" && object["height"] != 0;
    let early = follower.heard().objects.iter().find(|object| checked(object)).cloned();
    assert_eq!(early, None);
    miner.empty(1);
    follower.wait_until_synced(&node.tip());
    miner.history(6, &watched);
    follower.wait_until_synced(&node.tip());
    let objects = follower.interrupt();
    assert_as_core_knows(objects.last().unwrap(), &node, &watched);
    assert_eq!(count(&objects, "peer_disconnected", &node), 0);
}
