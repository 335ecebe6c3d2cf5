//! Syncing from the genesis block, again, and after having been killed.

use std::process::Stdio;
use std::thread;
use std::time::Duration;

use andon_kernel::Rng;

use crate::bitcoind::Bitcoind;
use crate::common::run;
use crate::miner::{Lock, Miner};
use crate::ours::Ours;
use crate::view::{assert_as_core_knows, found, told};

/// Bytes that an encrypted handshake has at most, beside what is said.
const GARBAGE: u64 = 4200;

#[test]
fn finds_from_genesis_on_what_core_knows() {
    let Some(node) = Bitcoind::start() else { return };
    let watched = Lock::series(1, 25);
    let mut miner = Miner::new(&node);
    miner.history(360, &watched);
    node.wait_for_filters();
    let ours = Ours::new(&watched);
    let objects = ours.succeed(&node);
    let summary = objects.last().unwrap();
    assert_as_core_knows(summary, &node, &watched);
    // Each was told of once, before the summary.
    assert_eq!(told(&objects, &["received", "spent"]), found(summary));
    println!(
        "{} blocks: {} payments received, {} spent, {} bytes received, {} bytes sent",
        node.height(),
        summary["payment_count"],
        summary["spent_count"],
        summary["bytes_received"],
        summary["bytes_sent"]
    );
}

#[test]
fn a_second_run_costs_little_and_a_later_one_only_what_is_new() {
    let Some(node) = Bitcoind::start() else { return };
    let watched = Lock::series(2, 10);
    let mut miner = Miner::new(&node);
    miner.history(120, &watched);
    node.wait_for_filters();
    let ours = Ours::new(&watched);
    let bytes = |summary: &serde_json::Value| summary["bytes_received"].as_u64().unwrap();
    let first = ours.succeed(&node).pop().unwrap();
    assert_as_core_knows(&first, &node, &watched);
    let second = ours.succeed(&node).pop().unwrap();
    assert_as_core_knows(&second, &node, &watched);
    miner.history(7, &watched);
    node.wait_for_filters();
    let third = ours.succeed(&node).pop().unwrap();
    assert_as_core_knows(&third, &node, &watched);
    assert_ne!(found(&third), found(&second));
    let fourth = ours.succeed(&node).pop().unwrap();
    assert_eq!(found(&fourth), found(&third));
    println!(
        "{} seconds; bytes received: {} at first, {} with nothing new, {} with 7 more blocks, {} with nothing new",
        second["seconds"]["total"],
        bytes(&first),
        bytes(&second),
        bytes(&third),
        bytes(&fourth)
    );
    assert!(bytes(&first) > 30_000 && bytes(&second) < 2_000 + GARBAGE && bytes(&fourth) < 2_000 + GARBAGE);
    assert!(bytes(&third) < 15_000 + GARBAGE);
}

/// Scripts of every type, paid and spent by a real wallet's transactions, far apart: both ways find the same.
#[test]
fn newest_first_finds_the_same_and_the_last_payments_first() {
    let Some(node) = Bitcoind::start() else { return };
    let watched = Lock::series(4, 25);
    let mut miner = Miner::new(&node);
    miner.history(200, &watched);
    miner.empty(1200);
    // These spend what was received before.
    miner.history(200, &watched);
    node.wait_for_filters();
    let ours = Ours::new(&watched);
    let ended = run(&mut ours.command("regtest", node.address, &["--newest-first"]));
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{}", ended.stdout);
    let objects = ended.objects();
    let summary = objects.last().unwrap();
    assert_as_core_knows(summary, &node, &watched);
    assert_eq!(told(&objects, &["received", "spent"]), found(summary));
    let heights = objects.iter().filter(|object| object["event"] == "received" || object["event"] == "spent");
    let heights: Vec<u64> = heights.map(|object| object["height"].as_u64().unwrap()).collect();
    let first = node.height() - heights[0];
    assert!(first < 144, "{heights:?}");
    let across =
        found(summary).iter().filter(|payment| !payment.is_received() && payment.height > 1400).count();
    println!(
        "{} payments, the first {first} blocks below the tip; {across} spent in the second part",
        heights.len()
    );
    assert!(across > 20);
    // With what it has, another run the other way finds no more and no less.
    let again = ours.succeed(&node).pop().unwrap();
    assert_eq!(found(&again), found(summary));
}

#[test]
fn a_run_that_is_killed_again_and_again_completes() {
    let Some(node) = Bitcoind::start() else { return };
    let watched = Lock::series(3, 20);
    let mut miner = Miner::new(&node);
    miner.history(240, &watched);
    miner.empty(1500);
    miner.history(60, &watched);
    node.wait_for_filters();
    let whole = Ours::new(&watched).succeed(&node).pop().unwrap();
    assert_as_core_knows(&whole, &node, &watched);
    let payments = found(&whole);
    let whole = Duration::from_secs_f64(whole["seconds"]["total"].as_f64().unwrap());
    // The moments are random, and so is what the program is doing then; what must be there in the end is not.
    let mut rng = Rng::new([3; 32]);
    let mut killed = Vec::new();
    for _ in 0..8 {
        let ours = Ours::new(&watched);
        let mut kills = 0;
        while kills < 30 && !ends_within(&ours, &node, &mut rng, whole) {
            kills += 1;
        }
        killed.push(kills);
        let summary = ours.succeed(&node).pop().unwrap();
        assert_eq!((&summary["complete"], &summary["tip_hash"]), (&true.into(), &node.tip().into()));
        assert_eq!(found(&summary), payments);
    }
    println!(
        "killed at random moments of the first {whole:?}, so many times until it was complete: {killed:?}"
    );
}

/// Runs the program for a random time of at most `limit`, then kills it. Whether it had come to its end.
fn ends_within(ours: &Ours, node: &Bitcoind, rng: &mut Rng, limit: Duration) -> bool {
    let mut command = ours.command("regtest", node.address, &[]);
    // Nobody reads, so nothing must make it wait.
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    thread::sleep(Duration::from_micros(rng.below(limit.as_micros() as u64 + 1)));
    let ended = child.try_wait().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(ended.is_none_or(|status| status.success()));
    ended.is_some()
}
