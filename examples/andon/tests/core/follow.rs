//! Following a node at its tip: block by block, in a burst, and while the node itself is restarted.

use serde_json::json;

use crate::bitcoind::Bitcoind;
use crate::miner::{Lock, Miner};
use crate::ours::{Ours, interrupt, wait_until_synced};
use crate::view::{assert_as_core_knows, in_block, payment};

#[test]
fn each_live_block_is_found_after_it_is_mined() {
    let Some(node) = Bitcoind::start() else { return };
    let watched = Lock::series(4, 10);
    let mut miner = Miner::new(&node);
    miner.history(12, &watched);
    let ours = Ours::new(&watched);
    let mut running = ours.follow(&node);
    wait_until_synced(&mut running, &node.tip());
    for number in 0..12_u8 {
        let payments: Vec<_> =
            watched.iter().cycle().skip(number.into()).take(2).map(|lock| (lock.clone(), 1_000)).collect();
        let transaction = miner.pay_locks(&payments, &mut Vec::new());
        let hash = miner.block(&[transaction]);
        for expected in in_block(&node, &hash, &watched) {
            let told = running.wait_for("received", |object| object["block"] == hash.as_str());
            assert_eq!(payment(&told), expected);
        }
        wait_until_synced(&mut running, &hash);
    }
    assert_as_core_knows(interrupt(running).last().unwrap(), &node, &watched);
}

#[test]
fn a_burst_of_30_blocks_is_found() {
    let Some(node) = Bitcoind::start() else { return };
    let watched = Lock::series(5, 10);
    let mut miner = Miner::new(&node);
    miner.history(12, &watched);
    let fork = node.height();
    // The node makes the blocks, forgets them, and is given them back later: the first one last, so that all the others
    // become part of the chain at once.
    miner.history(30, &watched);
    let blocks = node.blocks_from(fork + 1);
    assert_eq!(blocks.len(), 30);
    let Some(other) = Bitcoind::start() else { return };
    for block in node_blocks(&node, fork) {
        other.submit(&block);
    }
    let ours = Ours::new(&watched);
    let mut running = ours.follow(&other);
    wait_until_synced(&mut running, &other.tip());
    for block in &blocks {
        let header = bitcoin::consensus::encode::serialize_hex(&block.header);
        assert!(other.call("submitheader", json!([header])).is_null());
    }
    for block in blocks.iter().rev() {
        other.submit(block);
    }
    assert_eq!(other.tip(), node.tip());
    wait_until_synced(&mut running, &node.tip());
    let objects = interrupt(running);
    assert_as_core_knows(objects.last().unwrap(), &node, &watched);
    let tips: Vec<_> = objects
        .iter()
        .filter(|object| object["event"] == "synced")
        .map(|object| object["height"].to_string())
        .collect();
    println!("synced at heights {}", tips.join(", "));
}

/// The blocks after the genesis block, up to a height.
fn node_blocks(node: &Bitcoind, height: u64) -> Vec<bitcoin::Block> {
    (1..=height).map(|height| node.block(&node.hash_at(height))).collect()
}

#[test]
fn a_restart_of_the_node_is_survived() {
    let Some(mut node) = Bitcoind::start() else { return };
    let watched = Lock::series(6, 10);
    let mut miner = Miner::new(&node);
    miner.history(12, &watched);
    let purse = miner.purse();
    let ours = Ours::new(&watched);
    let mut running = ours.follow(&node);
    wait_until_synced(&mut running, &node.tip());
    node.stop();
    running.wait_for("peer_disconnected", |object| object["connected"] == true);
    node.start_again();
    Miner::resume(&node, purse).history(8, &watched);
    wait_until_synced(&mut running, &node.tip());
    assert_as_core_knows(interrupt(running).last().unwrap(), &node, &watched);
}

#[test]
fn blocks_that_come_during_the_first_sync_are_found() {
    let Some(node) = Bitcoind::start() else { return };
    let watched = Lock::series(13, 10);
    let mut miner = Miner::new(&node);
    miner.history(60, &watched);
    let ours = Ours::new(&watched);
    let mut running = ours.follow(&node);
    miner.history(150, &watched);
    wait_until_synced(&mut running, &node.tip());
    assert_as_core_knows(interrupt(running).last().unwrap(), &node, &watched);
}

#[test]
fn blocks_that_come_while_the_network_is_off_are_found() {
    let Some(node) = Bitcoind::start() else { return };
    let watched = Lock::series(14, 10);
    let mut miner = Miner::new(&node);
    miner.history(12, &watched);
    let ours = Ours::new(&watched);
    let mut running = ours.follow(&node);
    wait_until_synced(&mut running, &node.tip());
    node.call("setnetworkactive", json!([false]));
    running.wait_for("peer_disconnected", |object| object["connected"] == true);
    miner.history(30, &watched);
    node.call("setnetworkactive", json!([true]));
    wait_until_synced(&mut running, &node.tip());
    assert_as_core_knows(interrupt(running).last().unwrap(), &node, &watched);
}
