//! Transactions that a client broadcasts, against servers in a small world: they spread, are found in blocks, survive
//! restarts, and nobody who is asked for filters hears of them.
#![allow(clippy::unwrap_used, reason = "a test that can not go on has failed")]

mod common;
mod world;

use std::time::Duration;

use andon_bitcoin::broadcast::{BROADCASTS, FINAL_DEPTH};
use andon_bitcoin::client::{
    Birthday, BroadcastOptions, BroadcastState, Command, Config, Endpoint, Event, Fees, PeerPurpose, Reason,
    Skip, Submission, SubmitError,
};
use andon_bitcoin::fixture::regtest;
use andon_bitcoin::server::{self, Chain, Server};
use bitcoin::block::{Header, Version};
use bitcoin::{Amount, Block, FeeRate, Network, OutPoint, Transaction, Txid};
use world::{World, address};

const SECOND: Duration = Duration::from_secs(1);
const HEIGHT: u32 = 12;

fn config(servers: usize) -> Config {
    let mut config = Config::new(Network::Regtest, [1; 32]);
    config.discovery = None;
    config.peers = (0..servers).map(|server| Endpoint::Address(address(server))).collect();
    config
}

/// A block with these beside its coinbase, which pays a script of the block's number.
fn mine(parent: &Header, number: u64, more: &[Transaction]) -> Block {
    let mut transactions = vec![common::coinbase(number, common::script(number))];
    transactions.extend_from_slice(more);
    let mut block = common::block(parent.block_hash(), parent.time + 60, transactions);
    block.header.version = Version::from_consensus(0x2000_0000);
    while block.header.validate_pow(block.header.target()).is_err() {
        block.header.nonce += 1;
    }
    block
}

fn chain() -> Vec<Block> {
    let mut chain = vec![regtest().chain[0].block()];
    for height in 1..=u64::from(HEIGHT) {
        chain.push(mine(&chain.last().unwrap().header, height, &[]));
    }
    chain
}

/// A transaction that spends the coinbase at a height.
fn spend(height: u32) -> Transaction {
    let coinbase = chain()[height as usize].txdata[0].compute_txid();
    common::spend(OutPoint::new(coinbase, 0), common::script(7000 + u64::from(height)))
}

fn child(parent: &Transaction) -> Transaction {
    common::spend(OutPoint::new(parent.compute_txid(), 0), common::script(9000))
}

fn server(number: usize, adjust: impl FnOnce(&mut server::Config)) -> Server {
    let mut config = server::Config::new(Network::Regtest, [number as u8 + 100; 32]);
    adjust(&mut config);
    Server::new(config, Chain::new(chain()).unwrap())
}

fn world_of(servers: usize) -> World {
    World::new(5, config(servers), (0..servers).map(|number| server(number, |_| {})).collect())
}

fn broadcast(transactions: &[&Transaction]) -> Command {
    broadcast_with(transactions, false)
}

fn broadcast_with(transactions: &[&Transaction], private: bool) -> Command {
    let submission = |transaction: &&Transaction| Submission::new((*transaction).clone());
    let options = BroadcastOptions { private, ..BroadcastOptions::default() };
    Command::Broadcast { transactions: transactions.iter().map(submission).collect(), options }
}

/// The states that a transaction was told to be in, since the client's start.
fn states(world: &World, txid: Txid) -> Vec<BroadcastState> {
    let states = world.client.events.iter().filter_map(|event| match event {
        Event::Broadcast { txid: told, state, .. } if *told == txid => Some(*state),
        _ => None,
    });
    states.collect()
}

fn is(world: &World, transaction: &Transaction, state: BroadcastState) -> bool {
    states(world, transaction.compute_txid()).last() == Some(&state)
}

fn is_confirmed(world: &World, transaction: &Transaction, height: u32) -> bool {
    matches!(
        states(world, transaction.compute_txid()).last(),
        Some(BroadcastState::Confirmed { block }) if block.height == height
    )
}

fn is_synced(world: &World, height: u32) -> bool {
    world.client.events.iter().any(|event| matches!(event, Event::Synced(block) if block.height == height))
}

fn keeps(world: &World, server: usize, transaction: &Transaction) -> bool {
    let txid = transaction.compute_txid();
    let kept = |event: &server::Event| matches!(event, server::Event::TransactionKept { txid: kept, .. } if *kept == txid);
    world.servers[server].events.iter().any(kept)
}

/// Runs for a time in which what one server keeps reaches the others.
fn spread(world: &mut World, transactions: &[&Transaction], time: Duration) {
    for _ in 0..time.as_secs() {
        world.run_for(SECOND);
        for transaction in transactions {
            let have: Vec<bool> =
                (0..world.servers.len()).map(|server| keeps(world, server, transaction)).collect();
            for server in (0..have.len()).filter(|server| have.contains(&true) && !have[*server]) {
                world.server_command(server, server::Command::AddTransaction((*transaction).clone()));
            }
        }
    }
}

fn extend(world: &mut World, from: &Header, number: u64, transactions: &[Transaction]) -> Block {
    let block = mine(from, number, transactions);
    for server in 0..world.servers.len() {
        world.server_command(server, server::Command::Extend(vec![block.clone()]));
    }
    block
}

fn tip() -> Header {
    chain().last().unwrap().header
}

/// The user agents that a server was told, and whether the peers are gone.
fn visitors(world: &World, server: usize) -> Vec<(String, bool)> {
    let events = &world.servers[server].events;
    let connected = events.iter().filter_map(|event| match event {
        server::Event::PeerConnected { peer, user_agent, .. } => Some((*peer, user_agent.clone())),
        _ => None,
    });
    let gone = |conn| {
        events
            .iter()
            .any(|event| matches!(event, server::Event::PeerDisconnected { peer, .. } if *peer == conn))
    };
    connected.map(|(conn, user_agent)| (user_agent, gone(conn))).collect()
}

fn bad_ends(world: &World) -> Vec<Reason> {
    let reasons = world.client.events.iter().filter_map(|event| match event {
        Event::PeerDisconnected { reason, .. } if *reason != Reason::Told => Some(reason.clone()),
        _ => None,
    });
    reasons.collect()
}

#[test]
fn a_transaction_spreads_and_is_found_in_a_block_though_nothing_is_watched() {
    let mut world = world_of(3);
    let transaction = spend(1);
    world.command(broadcast(&[&transaction]));
    spread(&mut world, &[&transaction], 30 * SECOND);
    use BroadcastState::{Announced, Seen, Sent, Waiting};
    assert_eq!(states(&world, transaction.compute_txid()), [Waiting, Announced, Sent, Seen]);
    assert!((0..3).all(|server| keeps(&world, server, &transaction)));
    // The connections that were made for it are gone, the others are there.
    for server in 0..3 {
        let there = visitors(&world, server).into_iter().filter(|(_, gone)| !gone).count();
        assert_eq!(there, 1, "{:?}", visitors(&world, server));
    }
    assert_eq!(bad_ends(&world), []);
    let block = extend(&mut world, &tip(), 500, std::slice::from_ref(&transaction));
    world.run_until("it is confirmed", |world| is_confirmed(world, &transaction, HEIGHT + 1));
    // An empty block says nothing of it; a reorganisation begins it again.
    extend(&mut world, &block.header, 501, &[]);
    world.run_for(10 * SECOND);
    assert!(is_confirmed(&world, &transaction, HEIGHT + 1));
    let mut branch = vec![mine(&tip(), 600, &[])];
    for number in 601..603 {
        branch.push(mine(&branch.last().unwrap().header, number, &[]));
    }
    for server in 0..3 {
        let blocks = branch.clone();
        world.server_command(server, server::Command::Reorganise { fork_height: HEIGHT, blocks });
    }
    world.run_until("it is begun again", |world| is(world, &transaction, Seen));
    let last = branch.last().unwrap().header;
    extend(&mut world, &last, 700, std::slice::from_ref(&transaction));
    world.run_until("it is confirmed again", |world| is_confirmed(world, &transaction, HEIGHT + 4));
    assert_eq!(bad_ends(&world), []);
}

#[test]
fn whoever_is_asked_for_filters_hears_nothing_of_it() {
    let mut world = world_of(2);
    let transaction = spend(1);
    world.run_until("the sync", |world| is_synced(world, HEIGHT));
    world.command(broadcast(&[&transaction]));
    spread(&mut world, &[&transaction], 30 * SECOND);
    for server in 0..2 {
        let events = &world.servers[server].events;
        let first = events.iter().find_map(|event| match event {
            server::Event::PeerConnected { peer, .. } => Some(*peer),
            _ => None,
        });
        for event in events {
            if let server::Event::TransactionKept { from: Some(from), .. } = event {
                assert_ne!(Some(*from), first, "it came over the connection for filters");
            }
        }
    }
    assert!(is(&world, &transaction, BroadcastState::Seen));
    let purposes = world.client.events.iter().filter_map(|event| match event {
        Event::PeerConnected { purpose, .. } => Some(*purpose),
        _ => None,
    });
    let purposes: Vec<_> = purposes.collect();
    assert_eq!(purposes[..2], [PeerPurpose::Configured; 2]);
    assert!(purposes[2..].iter().all(|purpose| *purpose == PeerPurpose::Broadcast));
    assert_eq!(
        purposes.len(),
        4,
        "one more to each of them: one is told, and the other shows that it spreads"
    );
}

#[test]
fn with_one_peer_it_is_told_on_one_connection_and_heard_on_another() {
    let mut world = world_of(1);
    let transaction = spend(1);
    world.command(broadcast(&[&transaction]));
    world.run_until("it is seen", |world| is(world, &transaction, BroadcastState::Seen));
    assert_eq!(visitors(&world, 0).len(), 3);
}

#[test]
fn a_family_goes_together() {
    let mut world = world_of(2);
    let parent = spend(1);
    let child = child(&parent);
    world.command(broadcast(&[&child, &parent]));
    spread(&mut world, &[&parent, &child], 30 * SECOND);
    for transaction in [&parent, &child] {
        assert!(is(&world, transaction, BroadcastState::Seen));
    }
    extend(&mut world, &tip(), 500, &[parent.clone(), child.clone()]);
    world.run_until("both are confirmed", |world| {
        is_confirmed(world, &parent, HEIGHT + 1) && is_confirmed(world, &child, HEIGHT + 1)
    });
}

#[test]
fn who_takes_no_transactions_is_passed_over_and_keeps_its_connection() {
    let servers = vec![server(0, |config| config.relay = false)];
    let mut world = World::new(5, config(1), servers);
    let transaction = spend(1);
    world.command(broadcast(&[&transaction]));
    world.run_for(60 * SECOND);
    let skipped: Vec<_> = world
        .client
        .events
        .iter()
        .filter_map(|event| match event {
            Event::BroadcastSkipped { txid, endpoint, reason } => Some((*txid, endpoint.clone(), *reason)),
            _ => None,
        })
        .collect();
    let expected = (transaction.compute_txid(), Endpoint::Address(address(0)), Skip::TakesNone);
    assert!(!skipped.is_empty() && skipped.iter().all(|skipped| *skipped == expected), "{skipped:?}");
    assert_eq!(states(&world, transaction.compute_txid()), [BroadcastState::Waiting]);
    assert_eq!(bad_ends(&world), []);
    assert!(!keeps(&world, 0, &transaction));
}

#[test]
fn a_fee_filter_above_what_is_paid_passes_the_peer_over() {
    let servers = vec![server(0, |config| config.fee_filter = 5000), server(1, |_| {})];
    let mut world = World::new(5, config(2), servers);
    let transaction = spend(1);
    let fee = Amount::from_sat(2 * transaction.vsize() as u64);
    let submission = Submission::new(transaction.clone()).with_fee(fee);
    world
        .command(Command::Broadcast { transactions: vec![submission], options: BroadcastOptions::default() });
    world.run_until("it is sent", |world| is(world, &transaction, BroadcastState::Sent));
    // The one that takes it shows on another connection that it has it, once nobody else may come who would.
    world.run_until("it is seen", |world| is(world, &transaction, BroadcastState::Seen));
    world.run_for(60 * SECOND);
    assert!(keeps(&world, 1, &transaction) && !keeps(&world, 0, &transaction));
    let least = Skip::FeeFilter { least: 5000 };
    assert!(world.client.events.iter().any(|event| {
        matches!(event, Event::BroadcastSkipped { reason, endpoint, .. }
            if *reason == least && *endpoint == Endpoint::Address(address(0)))
    }));
}

#[test]
fn it_survives_a_restart_at_any_moment() {
    for pause in (0..40).map(|step| Duration::from_millis(step * 150)) {
        let mut world = world_of(2);
        world.disk_delay = Some(Duration::from_millis(30));
        let transaction = spend(1);
        world.run_until("the sync", |world| is_synced(world, HEIGHT));
        world.command(broadcast(&[&transaction]));
        world.run_until("it is taken", |world| !states(world, transaction.compute_txid()).is_empty());
        world.run_for(pause);
        let told = *states(&world, transaction.compute_txid()).last().unwrap();
        world.restart(config(2));
        world.run_until("it is read", |world| !states(world, transaction.compute_txid()).is_empty());
        let state = states(&world, transaction.compute_txid())[0];
        let rank = |state| match state {
            BroadcastState::Waiting => 0,
            BroadcastState::Announced => 1,
            BroadcastState::Sent => 2,
            BroadcastState::Seen => 3,
            other => panic!("{other:?}"),
        };
        assert!(rank(state) >= rank(told), "{told:?} was told, and {state:?} is stored");
        spread(&mut world, &[&transaction], 40 * SECOND);
        assert!(is(&world, &transaction, BroadcastState::Seen), "after {pause:?}");
        // What is found while nobody runs is found at the next start.
        world.restart(config(2));
        extend(&mut world, &tip(), 500, std::slice::from_ref(&transaction));
        let confirmed = |world: &World| is_confirmed(world, &transaction, HEIGHT + 1);
        world.run_until("it is found", confirmed);
        world.restart(config(2));
        world.run_until("it is remembered", confirmed);
        world.run_for(60 * SECOND);
        assert_eq!(states(&world, transaction.compute_txid()).len(), 1);
    }
}

#[test]
fn a_block_that_spends_the_same_ends_it() {
    let mut world = world_of(2);
    let transaction = spend(1);
    let child = child(&transaction);
    world.run_until("the sync", |world| is_synced(world, HEIGHT));
    let script = common::script(1);
    let submission = Submission { spent_scripts: vec![script], ..Submission::new(transaction.clone()) };
    let transactions = vec![submission, Submission::new(child.clone())];
    world.command(Command::Broadcast { transactions, options: BroadcastOptions::default() });
    world.run_for(SECOND);
    let mut rival = transaction.clone();
    rival.output[0].script_pubkey = common::script(4321);
    extend(&mut world, &tip(), 500, std::slice::from_ref(&rival));
    world.run_until("it is contradicted", |world| {
        [&transaction, &child].iter().all(|one| {
            matches!(
                states(world, one.compute_txid()).last(),
                Some(BroadcastState::Conflicted { by, block })
                    if *by == rival.compute_txid() && block.height == HEIGHT + 1
            )
        })
    });
}

#[test]
fn a_block_from_just_before_it_was_given_is_looked_at_too() {
    let mut world = world_of(1);
    let transaction = spend(1);
    let block = extend(&mut world, &tip(), 500, std::slice::from_ref(&transaction));
    extend(&mut world, &block.header, 501, &[]);
    world.run_until("the sync", |world| is_synced(world, HEIGHT + 2));
    world.command(broadcast(&[&transaction]));
    world.run_until("it is found", |world| is_confirmed(world, &transaction, HEIGHT + 1));
}

/// The rows of what is broadcast, without the one that says how far it was looked for.
fn rows(world: &World) -> usize {
    let store = world.client.shell.as_ref().unwrap().store().written();
    store.rows(BROADCASTS).filter(|(key, _)| key.len() > 1).count()
}

/// A hundred blocks on an end is final, whether anything else is looked for or not: nothing of it is stored any more.
#[test]
fn what_lies_deep_in_the_chain_is_forgotten() {
    for goes_on in [false, true] {
        let mut world = world_of(1);
        let (transaction, other) = (spend(1), spend(2));
        world.run_until("the sync", |world| is_synced(world, HEIGHT));
        world.command(broadcast(&[&transaction]));
        if goes_on {
            world.command(broadcast(&[&other]));
        }
        world.run_until("it is seen", |world| is(world, &transaction, BroadcastState::Seen));
        let first = extend(&mut world, &tip(), 500, std::slice::from_ref(&transaction));
        world.run_until("it is confirmed", |world| is_confirmed(world, &transaction, HEIGHT + 1));
        let others = if goes_on { 2 } else { 0 };
        let mut last = first.header;
        for number in 1..FINAL_DEPTH {
            assert_eq!(rows(&world), 2 + others, "{number} blocks deep");
            last = extend(&mut world, &last, 500 + u64::from(number), &[]).header;
            world.run_until("the next block", |world| is_synced(world, HEIGHT + 1 + number));
            world.run_for(SECOND);
        }
        assert_eq!(rows(&world), others, "{FINAL_DEPTH} blocks deep");
        world.restart(config(1));
        world.run_for(10 * SECOND);
        assert_eq!(states(&world, transaction.compute_txid()), []);
        assert_eq!(states(&world, other.compute_txid()).is_empty(), !goes_on);
    }
}

#[test]
fn what_can_not_be_broadcast_is_refused_and_what_is_withdrawn_ends() {
    let mut world = world_of(1);
    let mut wrong = spend(1);
    wrong.version = bitcoin::transaction::Version(9);
    let good = spend(2);
    world.command(broadcast(&[&good, &wrong]));
    world.run_for(SECOND);
    let txids = vec![good.compute_txid(), wrong.compute_txid()];
    let error = SubmitError::Version(wrong.compute_txid());
    assert!(world.client.events.contains(&Event::BroadcastRefused { txids, error }));
    assert_eq!(states(&world, good.compute_txid()), []);
    world.command(broadcast(&[&good]));
    world.command(Command::WithdrawBroadcast { txid: good.compute_txid() });
    world.command(Command::WithdrawBroadcast { txid: wrong.compute_txid() });
    world.run_for(60 * SECOND);
    assert!(is(&world, &good, BroadcastState::Withdrawn));
    assert!(!keeps(&world, 0, &good), "it was withdrawn before anybody was told");
    world.restart(config(1));
    world.run_for(60 * SECOND);
    assert_eq!(states(&world, good.compute_txid()), []);
}

#[test]
fn private_ones_go_over_connections_of_their_own() {
    let mut world = world_of(3);
    let (first, second) = (spend(1), spend(2));
    world.run_until("the sync", |world| is_synced(world, HEIGHT));
    world.command(broadcast_with(&[&first, &second], true));
    spread(&mut world, &[&first, &second], 40 * SECOND);
    for transaction in [&first, &second] {
        let all =
            [BroadcastState::Waiting, BroadcastState::Announced, BroadcastState::Sent, BroadcastState::Seen];
        assert_eq!(states(&world, transaction.compute_txid()), all, "each is told once");
    }
    let all: Vec<_> = (0..3).flat_map(|server| visitors(&world, server)).collect();
    // Each has given its transaction, and is gone.
    let private: Vec<_> = all.iter().filter(|(user_agent, _)| user_agent == "/pynode:0.0.1/").collect();
    assert_eq!(private.len(), 2, "{all:?}");
    assert!(private.iter().all(|(_, gone)| *gone));
    // What came from the client came over these: nobody else was told.
    let mut from_client = 0;
    for server in 0..3 {
        let events = &world.servers[server].events;
        for event in events {
            let server::Event::TransactionKept { from: Some(from), .. } = event else { continue };
            from_client += 1;
            assert!(events.iter().any(|event| {
                matches!(event, server::Event::PeerConnected { peer, user_agent, .. }
                    if peer == from && user_agent == "/pynode:0.0.1/")
            }));
        }
    }
    assert_eq!(from_client, 2);
    assert_eq!(bad_ends(&world), []);
}

#[test]
fn peers_that_can_not_be_reached_are_waited_for() {
    for private in [false, true] {
        let mut world = world_of(2);
        world.down.extend([0, 1]);
        let transaction = spend(1);
        world.command(broadcast_with(&[&transaction], private));
        world.run_for(600 * SECOND);
        assert!(is(&world, &transaction, BroadcastState::Waiting));
        let attempts =
            world.client.events.iter().filter(|event| {
                matches!(event, Event::PeerDisconnected { purpose: PeerPurpose::Broadcast, .. })
            });
        let attempts = attempts.count();
        assert!((10..=40).contains(&attempts), "{attempts} attempts in ten minutes");
        world.down.clear();
        spread(&mut world, &[&transaction], 360 * SECOND);
        assert!(is(&world, &transaction, BroadcastState::Seen), "private: {private}");
    }
}

#[test]
fn fees_are_told_as_far_as_they_are_known() {
    let least = [1000, 1500, 1200, 1100];
    let servers = (0..4).map(|number| server(number, |config| config.fee_filter = least[number]));
    let mut world = World::new(5, config(4), servers.collect());
    // Blocks are read when they have something that is watched.
    world.command(Command::Watch {
        scripts: vec![common::script(500), common::script(501), common::script(502)],
        from: Birthday::Height(0),
    });
    let transaction = spend(1);
    let weight = transaction.weight().to_wu();
    let block = extend_paying(&mut world, &tip(), 500, &transaction, weight * 2);
    let next = spend(2);
    let block = extend_paying(&mut world, &block.header, 501, &next, weight * 7);
    extend(&mut world, &block.header, 502, &[]);
    world.run_until("the sync", |world| is_synced(world, HEIGHT + 3));
    let mut ask = |blocks| {
        world.command(Command::TellFees { blocks });
        world.client.events.iter().rev().find_map(|event| match event {
            Event::Fees(fees) => Some(fees.clone()),
            _ => None,
        })
    };
    // The lower of the two in the middle; and two satoshis for a weight unit, and seven.
    let least = Some((FeeRate::from_sat_per_kwu(1100 / 4), 4));
    let rates = [2, 7].map(|rate| FeeRate::from_sat_per_kwu(rate * 1000));
    assert_eq!(ask(144), Some(Fees { least, paid: rates.into() }));
    assert_eq!(ask(2), Some(Fees { least, paid: vec![rates[1]] }));
    assert_eq!(ask(1), Some(Fees { least, paid: vec![] }));
    assert_eq!(ask(0), Some(Fees { least, paid: vec![] }));
}

/// A block whose coinbase takes so much beyond the subsidy.
fn extend_paying(
    world: &mut World,
    parent: &Header,
    number: u64,
    transaction: &Transaction,
    fees: u64,
) -> Block {
    let mut block = mine(parent, number, std::slice::from_ref(transaction));
    block.txdata[0].output[0].value += Amount::from_sat(fees);
    block.header.merkle_root = block.compute_merkle_root().unwrap();
    while block.header.validate_pow(block.header.target()).is_err() {
        block.header.nonce += 1;
    }
    for server in 0..world.servers.len() {
        world.server_command(server, server::Command::Extend(vec![block.clone()]));
    }
    block
}
