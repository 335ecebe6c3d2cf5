//! Transactions that are broadcast, and a process that ends in the middle of a change of the chain: what was in a block that
//! is no longer in the chain is announced again, and what is in another block of it is found there.

#![allow(clippy::unwrap_used, reason = "it is a test")]

mod lab;

use std::rc::Rc;
use std::time::Duration;

use andon_bitcoin::client::{BroadcastOptions, BroadcastState, Command, Event, Submission};
use andon_kernel::{MemoryStore, Space};
use bitcoin::consensus::deserialize;
use bitcoin::hashes::Hash;
use bitcoin::{Block, OutPoint, ScriptBuf, Transaction, Txid, Witness};
use lab::chain::{filter_of, script};
use lab::damage::change;
use lab::{Chain, Lab, Peer, config};

/// How a process may end: with a disk that writes at once, or with one that lags behind and forgets.
const DISKS: [Option<Duration>; 2] = [None, Some(Duration::from_millis(150))];

/// Adds blocks in which nothing is found.
fn grow(chain: &mut Chain, count: u32, tag: u8) {
    chain.grow_filters(count, tag, &filter_of(1));
}

/// Adds a block with the transaction.
fn confirm(chain: &mut Chain) {
    let outpoint = OutPoint::new(Txid::from_byte_array([7; 32]), 0);
    let witness = Witness::from_slice(&[[5; 64]]);
    chain.grow_spend(outpoint, ScriptBuf::new(), witness, &script(1), script(2));
}

/// The transaction.
fn transaction() -> Transaction {
    let mut chain = Chain::new();
    confirm(&mut chain);
    let block: Block = deserialize(&chain.body(1).unwrap().block).unwrap();
    block.txdata[1].clone()
}

/// What a client has stored that broadcasts a transaction and has looked for it up to the tip: it is in this block, or in none.
fn stored(chain: &Rc<Chain>, transaction: &Transaction, height: Option<u32>) -> MemoryStore {
    let mut lab = Lab::synced_with(chain);
    let submission = Submission { spent_scripts: vec![script(1)], ..Submission::new(transaction.clone()) };
    let options = BroadcastOptions::default();
    lab.command(Command::Broadcast { transactions: vec![submission], options });
    let confirmed = height.map(|height| BroadcastState::Confirmed { block: chain.block(height) });
    let expected = confirmed.unwrap_or(BroadcastState::Announced);
    lab.run_until("what it comes to", |lab| state(lab, transaction) == Some(expected));
    lab.run_for(Duration::from_secs(60));
    lab.let_the_disk_finish();
    assert_eq!(state(&lab, transaction), Some(expected));
    lab.store().clone()
}

/// What was told of it last.
fn state(lab: &Lab, transaction: &Transaction) -> Option<BroadcastState> {
    lab.events.iter().rev().find_map(|event| match event {
        Event::Broadcast { txid, state, .. } if *txid == transaction.compute_txid() => Some(*state),
        _ => None,
    })
}

fn is_told(lab: &Lab, transaction: &Transaction) -> bool {
    let names = [transaction.compute_txid().to_byte_array(), transaction.compute_wtxid().to_byte_array()];
    lab.peers[0].told.iter().any(|told| names.contains(told))
}

/// A client that finds this in its store, and a peer that has another chain.
fn switching(store: &MemoryStore, new: &Rc<Chain>, disk_delay: Option<Duration>) -> Lab {
    let mut lab = Lab::on(store.clone(), config(1), vec![Peer::new(new)]);
    lab.disk_delay = disk_delay;
    lab
}

/// The process ends after each batch in turn, from the restart on which another chain is found to a while after the client has
/// gone over to it. What is told and done of the transaction is right at each start, and in the end. It is in these blocks of
/// the two chains, or in none.
fn ends_anywhere(old: &Rc<Chain>, new: &Rc<Chain>, transaction: &Transaction, at: [Option<u32>; 2]) {
    let store = stored(old, transaction, at[0]);
    let confirmed = |chain: &Chain, at: Option<u32>| {
        at.map(|height| BroadcastState::Confirmed { block: chain.block(height) })
    };
    let (left, found) = (confirmed(old, at[0]), confirmed(new, at[1]));
    for disk_delay in DISKS {
        let mut lab = switching(&store, new, disk_delay);
        lab.run_until("the reorganisation", |lab| !lab.reorganisations().is_empty());
        lab.run_for(Duration::from_secs(2));
        let batches = lab.batches();
        assert!(batches >= 3, "{batches}");
        let mut starts = [0, 0];
        for batch in 1..=batches {
            let what = format!("{at:?}: batch {batch} of {batches}, {disk_delay:?}");
            let mut lab = switching(&store, new, disk_delay);
            lab.crash_after = Some(batch);
            lab.run_for(Duration::from_secs(600));
            assert!(lab.has_crashed(), "{what}");
            // The next one, which is alone, believes nothing of a block that is not in its chain.
            lab.peers[0].up = false;
            lab.restart();
            lab.run_for(Duration::from_secs(20));
            let tip = lab.started().unwrap();
            let is_new = new.height_of(&tip.hash).is_some();
            assert!(is_new || tip == old.tip(), "{what}: {tip:?}");
            starts[usize::from(is_new)] += 1;
            let told = state(&lab, transaction);
            assert!(told.is_some() && (!is_new || left.is_none() || told != left), "{what}: {told:?}");
            // One that meets the peer again announces it, or finds it.
            lab.peers[0].up = true;
            lab.peers[0].told.clear();
            lab.restart();
            lab.run_until(&what, |lab| {
                let last = state(lab, transaction);
                if found.is_some() { last == found } else { is_told(lab, transaction) && last != left }
            });
            lab.run_for(Duration::from_secs(60));
            let last = state(&lab, transaction);
            assert!(last == found.or(Some(BroadcastState::Announced)), "{what}: {last:?}");
            let fault =
                lab.events.iter().find(|event| matches!(event, Event::Failed(_) | Event::Repaired { .. }));
            assert_eq!(fault, None, "{what}");
        }
        assert!(starts.iter().all(|count| *count > 0), "some end before and some after: {starts:?}");
    }
}

/// Two branches of a chain, from the block at its tip on: with so many blocks, and the transaction in one of them or in none.
fn branches(trunk: &Chain, branches: [(u32, Option<u32>); 2]) -> [Rc<Chain>; 2] {
    let mut tag = 0;
    branches.map(|(count, at)| {
        tag += 1;
        let mut chain = trunk.clone();
        let end = trunk.height() + count;
        if let Some(at) = at {
            grow(&mut chain, at - 1 - trunk.height(), tag);
            confirm(&mut chain);
        }
        let rest = end - chain.height();
        grow(&mut chain, rest, tag);
        Rc::new(chain)
    })
}

#[test]
fn a_process_that_ends_while_the_chain_changes() {
    let mut trunk = Chain::new();
    grow(&mut trunk, 50, 0);
    for at in
        [[Some(51), None], [Some(51), Some(52)], [Some(52), Some(51)], [None, Some(51)], [None, Some(53)]]
    {
        let [old, new] = branches(&trunk, [(3, at[0]), (5, at[1])]);
        ends_anywhere(&old, &new, &transaction(), at);
    }
}

/// Where what says how far it was looked for is lost, it is looked for in all blocks since it was given.
#[test]
fn what_was_found_by_nobody_is_found_though_nothing_says_where_to_look() {
    let mut trunk = Chain::new();
    grow(&mut trunk, 50, 0);
    let [chain, _] = branches(&trunk, [(25, Some(52)), (1, None)]);
    let store = stored(&Rc::new(trunk), &transaction(), None);
    for damages in [false, true] {
        // It is twenty-five blocks later: their headers are taken, and no filters.
        let mut lab = switching(&store, &chain, None);
        lab.begin += 25 * 600;
        lab.peers[0].withholds_filters = true;
        lab.run_for(Duration::from_secs(10));
        assert_eq!(lab.progress.headers.done, lab.progress.headers.total);
        assert_eq!(state(&lab, &transaction()), Some(BroadcastState::Announced));
        let mut store = lab.store().clone();
        let (key, mut value) = lab.rows("broadcasts").into_iter().find(|(key, _)| key.len() == 1).unwrap();
        change(&mut store, |batch| {
            value[2] ^= 1;
            let space = Space::new("broadcasts");
            if damages { batch.put(space, &key, &value) } else { batch.delete(space, &key, &[1]) }
        });
        let mut lab = switching(&store, &chain, None);
        lab.begin += 25 * 600;
        let found = BroadcastState::Confirmed { block: chain.block(52) };
        lab.run_until("the block with it", |lab| state(lab, &transaction()) == Some(found));
    }
}

/// A branch from far down is copied over the old chain, period by period.
#[test]
fn a_process_that_ends_in_the_middle_of_a_deep_switch() {
    let trunk = Chain::with_height(900, 0);
    for at in [[Some(9000), None], [None, Some(8950)]] {
        let [old, new] = branches(&trunk, [(8101, at[0]), (8103, at[1])]);
        ends_anywhere(&old, &new, &transaction(), at);
    }
}
