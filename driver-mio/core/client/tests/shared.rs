//! One client, many threads and tasks: each request completes once, whoever asks and however it is waited for.
#![allow(clippy::unwrap_used, reason = "a test that can not go on has failed")]

mod common;

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake};
use std::thread;
use std::time::Duration;

use andon_bitcoin::client::{Birthday, Budget, Endpoint, Event, PauseReason, Refusal};
use andon_client::{Client, Request, RequestError};
use common::{Driver, Node, config, execute, fixture, scripts, start, stop, until, until_synced};

over_each_driver! {
    thousands_from_many_threads_complete_once
    no_more_are_open_than_the_client_takes
    any_executor_will_do
    what_is_dropped_is_cancelled
    a_dropped_sync_pauses
    a_deadline_is_kept
    a_thread_may_stop_waiting_and_wait_again
    what_is_let_go_is_carried_out
    nothing_is_asked_before_it_is_waited_for
    a_waker_that_panics_harms_nobody
}

/// What nobody can send where no peer is.
fn never(client: &Client) -> Request<Option<(andon_bitcoin::client::BlockId, bitcoin::Block)>> {
    client.block_at(0)
}

fn thousands_from_many_threads_complete_once<D: Driver>() {
    const THREADS: usize = 16;
    const EACH: usize = 250;
    let fixture = fixture();
    let node = Node::whole(&fixture);
    let (client, mut events, ending) = start::<D>(config([node.address]));
    until_synced(&mut events, fixture.chain.len() - 1);
    let reader = common::read(events);
    let completed: usize = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (client, fixture) = (client.clone(), &fixture);
                scope.spawn(move || {
                    let heights: Vec<usize> =
                        (0..EACH).map(|index| (index * THREADS + thread) % fixture.chain.len()).collect();
                    let requests: Vec<_> =
                        heights.iter().map(|height| client.header_at(*height as u32).started()).collect();
                    let watches = client.watch(scripts(fixture), Birthday::Height(thread as u32)).started();
                    for (height, request) in heights.iter().zip(requests) {
                        let (block, header) = request.wait().unwrap().unwrap();
                        assert_eq!(block.hash, fixture.chain[*height].hash());
                        assert_eq!(header.block_hash(), block.hash);
                    }
                    watches.wait().unwrap();
                    // And waited for one by one.
                    (0..50).for_each(|_| assert!(client.tip().wait().unwrap().is_current));
                    heights.len()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(completed, THREADS * EACH);
    stop(client, ending);
    let answers = reader.join().unwrap().into_iter().filter(|event| matches!(event, Event::Answered { .. }));
    assert_eq!(answers.count(), 0, "answers are no events");
}

fn no_more_are_open_than_the_client_takes<D: Driver>() {
    let (client, _events, ending) = start::<D>(config([]));
    let open: Vec<_> = (0..4096).map(|_| never(&client).started()).collect();
    assert_eq!(client.tip().wait(), Err(RequestError::Refused(Refusal::TooMany)));
    assert_eq!(client.open_requests(), 4096);
    drop(open);
    assert_eq!(client.open_requests(), 0);
    assert_eq!(client.tip().wait().unwrap().block.height, 0);
    stop(client, ending);
}

fn any_executor_will_do<D: Driver>() {
    const TASKS: u32 = 200;
    let fixture = fixture();
    let node = Node::whole(&fixture);
    let last = fixture.chain.len() - 1;
    let (client, mut events, ending) = start::<D>(config([node.address]));
    // One that is written by hand.
    execute(async {
        while let Some(event) = events.next_event().await {
            if matches!(event, Event::Synced(tip) if tip.height as usize == last) {
                break;
            }
        }
        assert_eq!(client.tip().await.unwrap().block.height as usize, last);
    });
    // Tokio's, with several threads.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let tasks: Vec<_> = (0..TASKS)
        .map(|height| {
            let client = client.clone();
            runtime.spawn(async move { client.header_at(height).await.unwrap().unwrap().0.height })
        })
        .collect();
    let heights: Vec<u32> = runtime.block_on(async {
        let mut heights = Vec::new();
        for task in tasks {
            heights.push(task.await.unwrap());
        }
        heights
    });
    assert!(heights.into_iter().eq(0..TASKS));
    // Smol's.
    async_io::block_on(async {
        let requests: Vec<_> = (0..TASKS).map(|height| client.header_at(height).started()).collect();
        for (height, request) in (0..).zip(requests) {
            assert_eq!(request.await.unwrap().unwrap().0.height, height);
        }
    });
    // A request that was polled in one may be awaited in another.
    let mut moved = client.block_at(3);
    let early = execute(std::future::poll_fn(|context| Poll::Ready(Pin::new(&mut moved).poll(context))));
    let answer = match early {
        Poll::Ready(answer) => answer,
        Poll::Pending => async_io::block_on(moved),
    };
    assert_eq!(answer.unwrap().unwrap().0.height, 3);
    stop(client, ending);
}

fn what_is_dropped_is_cancelled<D: Driver>() {
    let (client, _events, ending) = start::<D>(config([]));
    // If they stayed open, the last ones would be refused.
    for round in 0..3 {
        let open: Vec<_> = (0..2_000).map(|_| never(&client).started()).collect();
        if round > 0 {
            // All of them have been taken by then.
            client.tip().wait().unwrap();
        }
        drop(open);
        assert_eq!(client.open_requests(), 0);
        assert_eq!(client.tip().wait().unwrap().block.height, 0);
    }
    stop(client, ending);
}

fn a_dropped_sync_pauses<D: Driver>() {
    let (client, mut events, ending) = start::<D>(config([]));
    let sync = client.sync_once(Budget::default()).started();
    client.tip().wait().unwrap();
    drop(sync);
    let paused = until(&mut events, "the pause", |event| matches!(event, Event::Paused { .. }));
    assert!(matches!(paused, Event::Paused { reason: PauseReason::Asked, .. }));
    stop(client, ending);
}

fn a_deadline_is_kept<D: Driver>() {
    let (client, _events, ending) = start::<D>(config([]));
    assert_eq!(never(&client).within(Duration::from_millis(1)).wait(), Err(RequestError::TimedOut));
    let hurried = client.with_deadline(Duration::from_millis(20));
    let requests: Vec<_> = (0..500).map(|_| never(&hurried).started()).collect();
    for request in requests {
        assert_eq!(request.wait(), Err(RequestError::TimedOut));
    }
    assert_eq!(execute(never(&hurried)), Err(RequestError::TimedOut));
    assert_eq!(hurried.tip().wait().unwrap().block.height, 0);
    // A budget's request that is late pauses.
    let late = client.sync_once(Budget::default()).within(Duration::from_millis(1)).wait();
    assert_eq!(late, Err(RequestError::TimedOut));
    assert!(client.resume_within(Budget { time: Some(Duration::ZERO), ..Budget::default() }).wait().is_ok());
    stop(hurried, ending);
}

fn a_thread_may_stop_waiting_and_wait_again<D: Driver>() {
    let fixture = fixture();
    let node = Node::whole(&fixture);
    let (client, mut events, ending) = start::<D>(config([]));
    let mut request = client.block_at(0);
    assert_eq!(request.wait_timeout(Duration::from_millis(10)), None);
    assert_eq!(request.wait_timeout(Duration::ZERO), None);
    assert_eq!(client.open_requests(), 1);
    client.add_peer(Endpoint::Address(node.address)).wait().unwrap();
    let reader = thread::spawn(move || {
        until(&mut events, "a peer", |event| matches!(event, Event::PeerConnected { .. }))
    });
    let (block, _) = request.wait_timeout(common::PATIENCE).unwrap().unwrap().unwrap();
    assert_eq!(block.hash, fixture.chain[0].hash());
    drop(request);
    reader.join().unwrap();
    stop(client, ending);
}

fn what_is_let_go_is_carried_out<D: Driver>() {
    let (client, _events, ending) = start::<D>(config([]));
    let peer = Endpoint::Address("127.0.0.1:1".parse().unwrap());
    client.add_peer(peer.clone()).detach().unwrap();
    assert_eq!(client.open_requests(), 0);
    assert_eq!(client.peers().wait().unwrap()[0].endpoint, peer);
    stop(client, ending);
}

fn nothing_is_asked_before_it_is_waited_for<D: Driver>() {
    let (client, _events, ending) = start::<D>(config([]));
    let request = client.add_peer(Endpoint::Address("127.0.0.1:1".parse().unwrap()));
    assert_eq!((client.open_requests(), client.waiting_commands()), (0, 0));
    assert_eq!(client.peers().wait(), Ok(Vec::new()));
    drop(request);
    assert_eq!(client.peers().wait(), Ok(Vec::new()));
    stop(client, ending);
}

/// Panics when it is woken.
struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("a waker panics");
    }
}

fn a_waker_that_panics_harms_nobody<D: Driver>() {
    let (client, mut events, ending) = start::<D>(config([]));
    let waker = Arc::new(Panics).into();
    let mut context = Context::from_waker(&waker);
    let mut requests: Vec<_> = (0..10).map(|_| never(&client).within(Duration::from_millis(1))).collect();
    for request in &mut requests {
        let _ = Pin::new(request).poll(&mut context);
    }
    while events.poll_next(&mut context).is_ready() {}
    for request in requests {
        assert_eq!(request.wait(), Err(RequestError::TimedOut));
    }
    assert_eq!(client.tip().wait().unwrap().block.height, 0);
    // Nor at the end.
    let mut last = pin!(never(&client));
    assert!(last.as_mut().poll(&mut context).is_pending());
    while events.poll_next(&mut context).is_ready() {}
    let mut ending = ending;
    assert!(Pin::new(&mut ending).poll(&mut context).is_pending());
    client.shutdown();
    ending.join().unwrap();
    assert_eq!(execute(last), Err(RequestError::Ended));
}
