//! Each request, over each driver: what it completes with.
#![allow(clippy::unwrap_used, reason = "a test that can not go on has failed")]

mod common;

use std::time::Duration;

use andon_bitcoin::client::{
    Birthday, BlockId, BroadcastOptions, BroadcastState, Budget, Descriptor, Endpoint, Event, Import,
    Lookahead, PauseReason, PeerStage, Refusal, Start, Submission, SubmitError, TouchKind, WatchedOutput,
};
use andon_bitcoin::fees::{BlockFees, NoFees};
use andon_bitcoin::points::StartPoint;
use andon_client::{Client, RequestError};
use andon_kernel::UnixTime;
use bitcoin::hashes::Hash;
use bitcoin::{BlockHash, Network, OutPoint, Transaction};
use common::{Driver, Node, config, fixture, scripts, start, stop, until, until_synced};

over_each_driver! {
    the_chain_can_be_asked_for
    what_is_watched_is_found_and_forgotten
    descriptors_are_watched_and_forgotten
    spendings_are_found
    fees_are_told
    a_broadcast_can_be_followed
    a_broadcast_that_can_not_be_is_refused
    peers_come_and_go
    one_sync_within_a_budget
    a_budget_that_another_order_ends_is_cancelled
    a_client_that_can_not_work_refuses_everything
}

fn block_id(fixture: &andon_bitcoin::fixture::Fixture, height: usize) -> BlockId {
    BlockId { height: height as u32, hash: fixture.chain[height].hash() }
}

fn the_chain_can_be_asked_for<D: Driver>() {
    let fixture = fixture();
    let node = Node::whole(&fixture);
    let last = fixture.chain.len() - 1;
    let (client, mut events, ending) = start::<D>(config([node.address]));
    until_synced(&mut events, last);

    let tip = client.tip().wait().unwrap();
    assert_eq!(tip.block, block_id(&fixture, last));
    assert_eq!((tip.work, tip.is_current), (fixture.chain_work, true));
    assert_eq!(tip.header, fixture.chain[last].block().header);
    assert_eq!(tip.target, tip.header.target());
    for height in [0, 1, 150, last] {
        let (id, block) = (block_id(&fixture, height), fixture.chain[height].block());
        assert_eq!(client.header_at(height as u32).wait(), Ok(Some((id, block.header))));
        assert_eq!(client.header(id.hash).wait(), Ok(Some((id, block.header))));
        assert_eq!(client.height_of(id.hash).wait(), Ok(Some(id.height)));
        assert_eq!(client.block(id.hash).wait(), Ok(Some((id, block.clone()))));
        assert_eq!(client.block_at(height as u32).wait(), Ok(Some((id, block))));
    }
    let nowhere = BlockHash::all_zeros();
    assert_eq!(client.header_at(last as u32 + 1).wait(), Ok(None));
    assert_eq!(client.header(nowhere).wait(), Ok(None));
    assert_eq!(client.height_of(nowhere).wait(), Ok(None));
    assert_eq!(client.block(nowhere).wait(), Ok(None));

    let exported = client.export(10, 20).wait().unwrap();
    assert_eq!((exported.from, exported.headers.len(), exported.filter_headers.len()), (10, 20, 20));
    let headers = fixture.chain[10..30].iter().map(|block| block.block().header);
    assert!(exported.headers.iter().copied().eq(headers));
    assert!(
        exported.filter_headers.iter().eq(fixture.chain[10..30].iter().map(|block| &block.filter_header))
    );
    let filters = client.filters(10, 20).wait().unwrap();
    let expected = fixture.chain[10..30].iter().map(|block| (block.hash(), block.filter));
    assert!(filters.iter().map(|one| (one.block.hash, &one.filter[..])).eq(expected));
    let imported = client.import(Import { headers: exported.headers, ..Import::default() }).wait().unwrap();
    assert_eq!((imported.tip, imported.stopped), (tip.block, None));
    assert_eq!(imported.filter_headers as usize, last + 1);
    stop(client, ending);
}

fn what_is_watched_is_found_and_forgotten<D: Driver>() {
    let fixture = fixture();
    let node = Node::whole(&fixture);
    let last = fixture.chain.len() - 1;
    let (client, mut events, ending) = start::<D>(config([]));
    client.watch(scripts(&fixture), Birthday::Height(0)).wait().unwrap();
    // Not before: a client that watches nothing is soon synced.
    client.add_peer(Endpoint::Address(node.address)).wait().unwrap();
    let mut found = Vec::new();
    let mut gather = |events: &mut andon_client::Events, height: usize| {
        found.clear();
        until(events, "the findings", |event| {
            if let Event::Touched(touch) = event
                && let TouchKind::Received { output } = touch.kind
            {
                found.push((touch.block.height, OutPoint::new(touch.txid, output)));
            }
            matches!(event, Event::Synced(tip) if tip.height as usize == height)
        });
        found.sort_unstable();
        found.clone()
    };
    let mut expected: Vec<_> =
        fixture.expected.iter().map(|output| (output.height, output.outpoint)).collect();
    expected.sort_unstable();
    assert_eq!(gather(&mut events, last), expected);

    // Once more from a height, and from a date, and all of it.
    client.rescan_from(Birthday::Height(200)).wait().unwrap();
    let above: Vec<_> = expected.iter().copied().filter(|(height, _)| *height >= 200).collect();
    assert_eq!(gather(&mut events, last), above);
    client.rescan_from(Birthday::Time(UnixTime::from_secs(0))).wait().unwrap();
    assert_eq!(gather(&mut events, last), expected);
    client.rescan().wait().unwrap();
    assert_eq!(gather(&mut events, last), expected);

    // One alone; none.
    let one = scripts(&fixture)[0].clone();
    client.watch_only([one.clone()], Birthday::Height(0)).wait().unwrap();
    let is_other = |event: &Event| matches!(event, Event::TakenBack(touch) if touch.script != one);
    until(&mut events, "others taken back", is_other);
    client.unwatch([one.clone()]).wait().unwrap();
    until(
        &mut events,
        "the last taken back",
        |event| matches!(event, Event::TakenBack(touch) if touch.script == one),
    );
    stop(client, ending);
}

/// A spending in the chain of what another block has.
fn spending(
    fixture: &andon_bitcoin::fixture::Fixture,
) -> (usize, OutPoint, bitcoin::TxOut, Transaction, usize) {
    let mut outputs = std::collections::BTreeMap::new();
    for (height, block) in fixture.chain.iter().enumerate() {
        for transaction in block.block().txdata {
            for input in &transaction.input {
                let from: Option<&(usize, bitcoin::TxOut)> = outputs.get(&input.previous_output);
                if let Some((from, output)) = from.filter(|(from, _)| *from < height) {
                    return (*from, input.previous_output, output.clone(), transaction.clone(), height);
                }
            }
            let txid = transaction.compute_txid();
            for (vout, output) in (0..).zip(&transaction.output) {
                outputs.insert(OutPoint { txid, vout }, (height, output.clone()));
            }
        }
    }
    panic!("nothing is spent")
}

fn descriptors_are_watched_and_forgotten<D: Driver>() {
    let fixture = fixture();
    let node = Node::whole(&fixture);
    let last = fixture.chain.len() - 1;
    let (client, mut events, ending) = start::<D>(config([node.address]));
    until_synced(&mut events, last);
    assert_eq!(client.tip().wait().unwrap().checked, None);
    let parse = |key: &str| Descriptor::parse(&format!("wpkh({key})"), Network::Regtest).unwrap();
    let one = parse("02c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5");
    let two = parse("02f9308a019258c31049344f85f89d5229b531c845836f99b08601f113bce036f9");
    let from = Birthday::Height(0);
    let mut derived = |descriptor: &Descriptor| {
        let path = descriptor.paths()[0].clone();
        until(&mut events, "its script", |event| {
            *event == Event::DescriptorDerived { descriptor: path.clone(), scripts: 1 }
        });
        until_synced(&mut events, last);
    };
    client.watch_descriptors([one.clone()], Lookahead::default(), from).wait().unwrap();
    derived(&one);
    assert_eq!(client.tip().wait().unwrap().checked, Some(last as u32));
    client.watch_only_descriptors([two.clone()], Lookahead::default(), from).wait().unwrap();
    derived(&two);
    // The first is not watched any more, and the second is.
    client.unwatch_descriptors([one]).wait().unwrap();
    assert_eq!(client.tip().wait().unwrap().checked, Some(last as u32));
    client.unwatch_descriptors([two]).wait().unwrap();
    assert_eq!(client.tip().wait().unwrap().checked, None);
    stop(client, ending);
}

fn spendings_are_found<D: Driver>() {
    let fixture = fixture();
    let node = Node::whole(&fixture);
    let (client, mut events, ending) = start::<D>(config([node.address]));
    let (from, outpoint, output, transaction, height) = spending(&fixture);
    let from = Birthday::Height(from as u32);
    let searched = client.find_spend(outpoint, output.script_pubkey.clone(), from).wait().unwrap();
    let spend = searched.spend.unwrap();
    assert_eq!((spend.block, spend.transaction), (block_id(&fixture, height), transaction.clone()));
    let nobody = OutPoint::new(outpoint.txid, 1_000);
    let searched = client.find_spend(nobody, output.script_pubkey.clone(), from).wait().unwrap();
    assert_eq!((searched.outpoint, searched.spend), (nobody, None));
    assert_eq!(searched.checked, block_id(&fixture, fixture.chain.len() - 1));
    let watched = WatchedOutput { outpoint, script: output.script_pubkey, amount: Some(output.value) };
    client.watch_outputs([watched], from).wait().unwrap();
    let is_it = |event: &Event| matches!(event, Event::Touched(touch) if touch.txid == transaction.compute_txid() && touch.amount == Some(output.value));
    until(&mut events, "the spending", is_it);
    client.unwatch_outputs([outpoint]).wait().unwrap();
    until(&mut events, "the spending taken back", |event| matches!(event, Event::TakenBack(_)));
    stop(client, ending);
}

fn fees_are_told<D: Driver>() {
    let fixture = fixture();
    let node = Node::whole(&fixture);
    let (client, mut events, ending) = start::<D>(config([node.address]));
    until_synced(&mut events, fixture.chain.len() - 1);
    let paying = fixture.chain.iter().rev().find(|block| block.block().txdata.len() > 1).unwrap();
    let expected = BlockFees::of(&paying.block(), paying.height, Network::Regtest).unwrap();
    assert_eq!(client.block_fees(paying.hash()).wait(), Ok(expected));
    assert_eq!(client.average_fee_rate(paying.hash()).wait(), Ok(expected.average()));
    let empty = fixture.chain.iter().find(|block| block.block().txdata.len() == 1).unwrap();
    assert_eq!(client.average_fee_rate(empty.hash()).wait(), Err(RequestError::NoFees(NoFees::Empty)));
    assert_eq!(client.average_fee_rate(BlockHash::all_zeros()).wait(), Err(RequestError::UnknownBlock));
    let known = client.fees(1_000).wait().unwrap();
    assert!(known.paid.contains(&expected.average()));
    assert_eq!(client.broadcast_min_feerate().wait().unwrap(), known.least.map(|(rate, _)| rate));
    stop(client, ending);
}

/// A transaction that this node, which checks no signatures, takes.
fn transaction() -> Transaction {
    use bitcoin::{Amount, ScriptBuf, Sequence, TxIn, TxOut, Witness, absolute, transaction};
    Transaction {
        version: transaction::Version::TWO,
        lock_time: absolute::LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::new(bitcoin::Txid::from_byte_array([7; 32]), 0),
            script_sig: ScriptBuf::new(),
            sequence: Sequence::MAX,
            witness: Witness::from_slice(&[[1; 64]]),
        }],
        output: vec![TxOut {
            value: Amount::from_sat(10_000),
            script_pubkey: ScriptBuf::from_bytes([&[0, 20][..], &[3; 20]].concat()),
        }],
    }
}

fn a_broadcast_can_be_followed<D: Driver>() {
    let fixture = fixture();
    let node = Node::whole(&fixture);
    let (client, mut events, ending) = start::<D>(config([node.address]));
    until_synced(&mut events, fixture.chain.len() - 1);
    let transaction = transaction();
    let txid = transaction.compute_txid();
    let mut life = client.follow(txid);
    assert_eq!((life.txid(), life.state()), (txid, None));
    assert_eq!(life.wait_changed_timeout(Duration::from_millis(1)), None);
    assert_eq!(client.broadcast([transaction]).wait(), Ok(vec![txid]));
    assert_eq!(life.wait_sent(), Some(BroadcastState::Sent));
    assert_eq!(life.state(), Some(BroadcastState::Sent));
    // The events tell the same.
    let mut states = Vec::new();
    until(&mut events, "the states", |event| {
        if let Event::Broadcast { state, .. } = event {
            states.push(*state);
        }
        matches!(event, Event::Broadcast { state: BroadcastState::Sent, .. })
    });
    assert_eq!(states, [BroadcastState::Waiting, BroadcastState::Announced, BroadcastState::Sent]);
    // Followed by another, from here on.
    let mut second = client.follow(txid);
    assert_eq!(second.state(), Some(BroadcastState::Sent));
    assert_eq!(common::execute(second.changed()), Some(BroadcastState::Sent));
    client.withdraw(txid).wait().unwrap();
    assert_eq!(common::execute(second.changed()), Some(BroadcastState::Withdrawn));
    assert_eq!(life.wait_sent(), Some(BroadcastState::Withdrawn));
    drop(second);
    client.shutdown();
    assert_eq!(life.wait_changed(), None);
    drop(life);
    stop(client, ending);
}

fn a_broadcast_that_can_not_be_is_refused<D: Driver>() {
    let (client, _events, ending) = start::<D>(config([]));
    let none: [Transaction; 0] = [];
    assert_eq!(client.broadcast(none).wait(), Err(RequestError::BroadcastRefused(SubmitError::Empty)));
    let coinbase = fixture().chain[1].block().txdata[0].clone();
    let refused = SubmitError::Coinbase(coinbase.compute_txid());
    let options = BroadcastOptions { private: true, ..BroadcastOptions::default() };
    let request = client.broadcast_with([Submission::new(coinbase)], options);
    assert_eq!(request.wait(), Err(RequestError::BroadcastRefused(refused)));
    stop(client, ending);
}

fn is_connected(client: &Client, address: std::net::SocketAddr) -> bool {
    let peers = client.peers().wait().unwrap();
    let peer = peers.iter().find(|peer| peer.endpoint == Endpoint::Address(address));
    peer.is_some_and(|peer| matches!(peer.stage, PeerStage::Connected(_)))
}

fn peers_come_and_go<D: Driver>() {
    let fixture = fixture();
    let node = Node::whole(&fixture);
    let (client, mut events, ending) = start::<D>(config([]));
    assert_eq!(client.peers().wait(), Ok(Vec::new()));
    let endpoint = Endpoint::Address(node.address);
    client.add_peer(endpoint.clone()).wait().unwrap();
    until(&mut events, "the connection", |event| matches!(event, Event::PeerConnected { .. }));
    let peers = client.peers().wait().unwrap();
    let PeerStage::Connected(statistics) = &peers[0].stage else { panic!("{peers:?}") };
    assert!(statistics.bytes_received > 0 && statistics.bytes_sent > 0 && statistics.claimed > 0);
    client.set_metered(true).wait().unwrap();
    client.pause().wait().unwrap();
    assert!(!is_connected(&client, node.address));
    client.resume().wait().unwrap();
    until(&mut events, "the connection again", |event| matches!(event, Event::PeerConnected { .. }));
    assert!(is_connected(&client, node.address));
    client.remove_peer(endpoint).wait().unwrap();
    assert_eq!(client.peers().wait(), Ok(Vec::new()));
    let subnet = "203.0.113.0/24".parse().unwrap();
    // There is no address book here.
    let ban = client.ban(subnet, UnixTime::from_secs(4_000_000_000)).wait();
    assert_eq!(ban, Err(RequestError::Refused(Refusal::NoBan)));
    client.lift_ban(subnet).wait().unwrap();
    client.acknowledge(1).wait().unwrap();
    stop(client, ending);
}

fn one_sync_within_a_budget<D: Driver>() {
    let fixture = fixture();
    let last = fixture.chain.len() - 1;
    let node = Node::start(&fixture, last - 1);
    let mut config = config([node.address]);
    config.paused = true;
    let (client, events, ending) = start::<D>(config);
    drop(events);
    client.watch(scripts(&fixture), Birthday::Height(0)).wait().unwrap();
    // Too little, then enough.
    let little = Budget { bytes: Some(1_000), ..Budget::default() };
    let outcome = client.sync_once(little).wait().unwrap();
    assert_eq!(outcome.reason, PauseReason::Bytes);
    assert!(outcome.bytes >= 1_000 && outcome.checked != Some(last as u32 - 1));
    let outcome = client.sync_once(Budget::default()).wait().unwrap();
    assert_eq!((outcome.reason, outcome.checked), (PauseReason::Synced, Some(last as u32 - 1)));
    assert!(!is_connected(&client, node.address));
    node.extend(&fixture, last..=last);
    let outcome =
        client.sync_once(Budget { time: Some(common::PATIENCE), ..Budget::default() }).wait().unwrap();
    assert_eq!((outcome.reason, outcome.checked), (PauseReason::Synced, Some(last as u32)));
    let short = Budget { time: Some(Duration::from_millis(1)), ..Budget::default() };
    let outcome = client.resume_within(short).wait().unwrap();
    assert_eq!(outcome.reason, PauseReason::Time);
    stop(client, ending);
}

fn a_budget_that_another_order_ends_is_cancelled<D: Driver>() {
    let (client, _events, ending) = start::<D>(config([]));
    let first = client.sync_once(Budget::default()).started();
    client.resume().wait().unwrap();
    assert_eq!(first.wait(), Err(RequestError::Cancelled));
    let second = client.sync_once(Budget::default()).started();
    client.pause().wait().unwrap();
    assert_eq!(second.wait().unwrap().reason, PauseReason::Asked);
    stop(client, ending);
}

fn a_client_that_can_not_work_refuses_everything<D: Driver>() {
    let mut config = config([]);
    // A start of one's own has headers.
    config.start = Start::Point(StartPoint { height: 2016, work: fixture().chain_work, headers: Vec::new() });
    let (client, mut events, ending) = start::<D>(config);
    let early = client.tip().started();
    until(&mut events, "the failure", |event| matches!(event, Event::Failed(_)));
    let refused = RequestError::Refused(Refusal::Failed);
    assert_eq!(early.wait(), Err(refused));
    assert_eq!(client.tip().wait(), Err(refused));
    assert_eq!(client.watch(scripts(&fixture()), Birthday::Height(0)).wait(), Err(refused));
    assert!(client.is_running());
    stop(client, ending);
}
