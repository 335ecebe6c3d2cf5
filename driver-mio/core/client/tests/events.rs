//! Events that are let go, never read, awaited; and what requests do meanwhile.
#![allow(clippy::unwrap_used, reason = "a test that can not go on has failed")]

mod common;

use std::time::Duration;

use andon_bitcoin::client::{
    Birthday, Budget, Endpoint, Event, PauseReason, PeerStage, PeerStatus, TouchKind,
};
use andon_client::RequestError;
use andon_driver::Options;
use common::{Driver, Node, config, execute, fixture, scripts, start_with, stop, until_synced};

over_each_driver! {
    events_that_are_let_go_hold_nothing_up
    events_that_nobody_reads_hold_the_network_up_and_no_more
    the_end_comes_with_events_that_nobody_reads
    events_can_be_awaited
    events_are_a_stream
}

fn small() -> Options {
    Options { event_queue: 1, command_queue: 1, ..Options::default() }
}

fn events_that_are_let_go_hold_nothing_up<D: Driver>() {
    let fixture = fixture();
    let node = Node::whole(&fixture);
    let (client, events, ending) = start_with::<D>(small(), config([node.address]));
    // The queue has room for one, so the client can't even start while nobody reads.
    assert_eq!(client.tip().wait_timeout(Duration::from_millis(100)), None);
    drop(events);
    client.watch(scripts(&fixture), Birthday::Height(0)).wait().unwrap();
    let outcome = client.sync_once(Budget::default()).wait().unwrap();
    assert_eq!(
        (outcome.reason, outcome.checked),
        (PauseReason::Synced, Some(fixture.chain.len() as u32 - 1))
    );
    client.resume().wait().unwrap();
    assert!(client.block_at(7).wait().unwrap().is_some());
    stop(client, ending);
}

fn events_that_nobody_reads_hold_the_network_up_and_no_more<D: Driver>() {
    const QUEUE: usize = 8;
    let fixture = fixture();
    let node = Node::whole(&fixture);
    let options = Options { event_queue: QUEUE, command_queue: 1, ..Options::default() };
    let (client, mut events, ending) = start_with::<D>(options, config([]));
    client.tip().wait().unwrap();
    // Each that goes tells something, at once.
    let nobody = || Endpoint::Address(([127, 0, 0, 1], 1).into());
    let goings = || {
        (0..QUEUE).map(|_| {
            client.add_peer(nobody()).detach().unwrap();
            client.remove_peer(nobody()).started()
        })
    };
    let full: Vec<_> = goings().collect();
    client.add_peer(Endpoint::Address(node.address)).detach().unwrap();
    // What is at hand is told all the same.
    for _ in 0..100 {
        assert_eq!(client.tip().wait().unwrap().block.height, 0);
        assert!(client.header_at(0).wait().unwrap().is_some());
        let peers = client.peers().wait().unwrap();
        assert!(matches!(peers[..], [PeerStatus { stage: PeerStage::Connecting { .. }, .. }]), "{peers:?}");
    }
    // What needs the network or the store waits, and has its deadline.
    let late = client.block_at(0).within(Duration::from_millis(20)).wait();
    assert_eq!(late, Err(RequestError::TimedOut));
    let late = client.set_metered(false).within(Duration::from_millis(20)).wait();
    assert_eq!(late, Err(RequestError::TimedOut));
    // What they tell fills the queue once more: then everything waits, and what is given up leaves nothing.
    let overfull: Vec<_> = goings().collect();
    let mut tip = client.tip();
    assert_eq!(tip.wait_timeout(Duration::from_millis(100)), None);
    let waiting = (client.open_requests(), client.waiting_commands());
    (0..10_000).for_each(|_| drop(client.tip().started()));
    assert_eq!((client.open_requests(), client.waiting_commands()), waiting);
    assert!(waiting.1 > 0);
    // All of it goes on when events are read.
    until_synced(&mut events, fixture.chain.len() - 1);
    drop(events);
    for going in full.into_iter().chain(overfull) {
        assert_eq!(going.wait(), Ok(()));
    }
    assert!(tip.wait_timeout(common::PATIENCE).unwrap().is_ok());
    drop(tip);
    stop(client, ending);
}

fn the_end_comes_with_events_that_nobody_reads<D: Driver>() {
    let fixture = fixture();
    let node = Node::whole(&fixture);
    let (client, mut events, ending) = start_with::<D>(small(), config([node.address]));
    let mut open: Vec<_> = (0..500).map(|_| client.block_at(0).started()).collect();
    // The client starts, and tells it: the queue is full.
    assert_eq!(open[0].wait_timeout(Duration::from_millis(100)), None);
    client.shutdown();
    ending.join().unwrap();
    for request in open {
        assert_eq!(request.wait(), Err(RequestError::Ended));
    }
    while events.recv().is_some() {}
    assert_eq!(execute(events.next_event()), None);
}

fn events_can_be_awaited<D: Driver>() {
    let fixture = fixture();
    let node = Node::whole(&fixture);
    let (client, mut events, ending) = start_with::<D>(small(), config([node.address]));
    let watching = client.watch(scripts(&fixture), Birthday::Height(0)).started();
    let last = fixture.chain.len() as u32 - 1;
    let received = execute(async {
        let mut received = 0;
        while let Some(event) = events.next_event().await {
            match event {
                Event::Touched(touch) => {
                    received += usize::from(matches!(touch.kind, TouchKind::Received { .. }));
                }
                Event::Synced(tip) if tip.height == last => break,
                _ => {}
            }
        }
        received
    });
    watching.wait().unwrap();
    assert_eq!(received, fixture.expected.len());
    drop(events);
    stop(client, ending);
}

fn events_are_a_stream<D: Driver>() {
    let fixture = fixture();
    let node = Node::whole(&fixture);
    let (client, mut events, ending) = start_with::<D>(small(), config([node.address]));
    let last = fixture.chain.len() as u32 - 1;
    let mut next = || {
        execute(std::future::poll_fn(|context| {
            #[cfg(feature = "stream")]
            return futures_core::Stream::poll_next(std::pin::Pin::new(&mut events), context);
            #[cfg(not(feature = "stream"))]
            return events.poll_next(context);
        }))
    };
    while !matches!(next().unwrap(), Event::Synced(tip) if tip.height == last) {}
    client.shutdown();
    while next().is_some() {}
    stop(client, ending);
}
