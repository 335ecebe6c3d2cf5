//! Transactions that are broadcast and looked for in blocks: from where, when, and what a reorganisation does to it.
#![allow(clippy::unwrap_used, reason = "a test that can not go on has failed")]

mod lab;

use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use andon_bitcoin::client::{
    BroadcastOptions, BroadcastState, Command, Config, Discovery, Endpoint, Event, Submission,
};
use bitcoin::consensus::deserialize;
use bitcoin::hashes::Hash;
use bitcoin::{Block, OutPoint, ScriptBuf, Transaction, Txid, Witness};
use lab::chain::script;
use lab::{Asked, Chain, Lab, Peer, config};

const HEIGHT: u32 = 1000;

fn blocks(height: u32) -> Chain {
    let mut chain = Chain::new();
    chain.grow_blocks(height, 1, |_| script(1));
    chain
}

/// Adds a block with a transaction that is not a coinbase.
fn with_transaction(mut chain: Chain) -> (Chain, Transaction) {
    let outpoint = OutPoint::new(Txid::from_byte_array([7; 32]), 0);
    let spent = ScriptBuf::new_p2wpkh(&bitcoin::WPubkeyHash::all_zeros());
    chain.grow_spend(outpoint, ScriptBuf::new(), Witness::from_slice(&[[3; 64]]), &spent, script(2));
    let body = chain.body(chain.height()).unwrap();
    let block: Block = deserialize(&body.block).unwrap();
    (chain, block.txdata[1].clone())
}

fn broadcast(transaction: &Transaction) -> Command {
    let options = BroadcastOptions::default();
    Command::Broadcast { transactions: vec![Submission::new(transaction.clone())], options }
}

/// Filters that were asked for: the lowest, how many requests, when the first.
fn filters(lab: &Lab) -> Option<(u32, usize, Duration)> {
    let asked = lab.asked.iter().filter_map(|(at, _, asked)| match asked {
        Asked::Filters(first, _) => Some((*first, at.since(andon_kernel::Instant::ZERO))),
        _ => None,
    });
    let asked: Vec<_> = asked.collect();
    let lowest = asked.iter().map(|(first, _)| *first).min()?;
    Some((lowest, asked.len(), asked[0].1))
}

fn state(lab: &Lab) -> Option<BroadcastState> {
    lab.events.iter().rev().find_map(|event| match event {
        Event::Broadcast { state, .. } => Some(*state),
        _ => None,
    })
}

fn is_confirmed(lab: &Lab, height: u32) -> bool {
    matches!(state(lab), Some(BroadcastState::Confirmed { block }) if block.height == height)
}

/// Given before anything is known, it is looked for from some blocks below the tip, as that turns out to be, and no lower.
#[test]
fn what_is_given_before_the_headers_are_there_is_not_looked_for_in_all_of_them() {
    let chain = Rc::new(blocks(HEIGHT));
    let (_, transaction) = with_transaction(blocks(1));
    let mut lab = Lab::new(config(1), vec![Peer::new(&chain)]);
    lab.command(broadcast(&transaction));
    lab.sync();
    lab.run_for(Duration::from_secs(10));
    assert_eq!(filters(&lab).map(|(lowest, ..)| lowest), Some(HEIGHT + 1 - 6));
    // The same after a month without it: what is stored is as old as that.
    let mut longer = (*chain).clone();
    longer.grow_blocks(500, 1, |_| script(1));
    let longer = Rc::new(longer);
    let mut lab = Lab::new(config(1), vec![Peer::new(&chain)]);
    lab.sync();
    lab.restart();
    lab.peers[0].chain = longer.clone();
    lab.asked.clear();
    lab.command(broadcast(&transaction));
    lab.sync_to(longer.tip());
    lab.run_for(Duration::from_secs(10));
    assert_eq!(filters(&lab).map(|(lowest, ..)| lowest), Some(HEIGHT + 500 + 1 - 6));
}

/// It was in a block before it was given.
#[test]
fn what_is_in_one_of_the_last_blocks_is_found_there() {
    let (mut chain, transaction) = with_transaction(blocks(HEIGHT));
    chain.grow_blocks(3, 3, |_| script(1));
    let chain = Rc::new(chain);
    for early in [true, false] {
        let mut lab = Lab::new(config(1), vec![Peer::new(&chain)]);
        if !early {
            lab.sync();
            lab.run_for(Duration::from_secs(5));
        }
        lab.command(broadcast(&transaction));
        lab.run_until("the block", |lab| is_confirmed(lab, HEIGHT + 1));
    }
}

/// Filters that are asked for in the moment of a broadcast would show whose it is.
#[test]
fn nobody_sees_by_the_filters_when_something_is_broadcast() {
    let (chain, transaction) = with_transaction(blocks(HEIGHT));
    let chain = Rc::new(chain);
    let mut waits = Vec::new();
    for seed in 0..8 {
        let address = SocketAddr::from((Ipv4Addr::new(60, 0, 3, 4), 30_000));
        let discovery = Discovery { dns_seeds: false, fixed_seeds: false, ..Discovery::default() };
        let found = Config { discovery: Some(discovery), seed: [seed; 32], ..config(0) };
        let config = Config { peers: vec![Endpoint::Address(address)], ..found };
        let mut lab = Lab::new(config, vec![Peer::new(&chain)]);
        lab.sync();
        lab.run_for(Duration::from_secs(100));
        assert_eq!(filters(&lab), None);
        let given = lab.now.since(andon_kernel::Instant::ZERO);
        lab.command(broadcast(&transaction));
        lab.run_until("the block", |lab| is_confirmed(lab, HEIGHT + 1));
        waits.push((filters(&lab).unwrap().2 - given).as_secs());
    }
    assert!(waits.iter().all(|wait| (20..=121).contains(wait)), "{waits:?}");
    waits.sort_unstable();
    waits.dedup();
    assert!(waits.len() > 4, "they are drawn: {waits:?}");
}

/// Its block is gone, and the chain that took its place is so much longer that what is settled in it would be forgotten.
#[test]
fn a_transaction_whose_block_is_gone_is_broadcast_again_however_long_the_new_chain_is() {
    let common = blocks(HEIGHT);
    let (old, transaction) = with_transaction(common.clone());
    let mut new = common;
    new.grow_blocks(150, 9, |_| script(1));
    let (old, new) = (Rc::new(old), Rc::new(new));
    for restarts in [false, true] {
        let mut lab = Lab::new(config(1), vec![Peer::new(&old)]);
        lab.sync();
        lab.command(broadcast(&transaction));
        lab.run_until("the block", |lab| is_confirmed(lab, HEIGHT + 1));
        lab.let_the_disk_finish();
        if restarts {
            lab.restart();
            lab.peers[0].chain = new.clone();
        } else {
            lab.switch(0, &new);
        }
        lab.sync_to(new.tip());
        lab.run_for(Duration::from_secs(60));
        let now = state(&lab);
        assert!(
            matches!(now, Some(BroadcastState::Waiting | BroadcastState::Announced)),
            "{now:?}, restarts: {restarts}"
        );
        // In the new chain it is found as well.
        let mut longer = (*new).clone();
        longer = with_transaction(longer).0;
        lab.peers[0].chain = Rc::new(longer);
        lab.announce(0);
        lab.run_until("the other block", |lab| is_confirmed(lab, HEIGHT + 151));
    }
}
