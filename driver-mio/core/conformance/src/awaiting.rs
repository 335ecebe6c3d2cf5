//! The application's end under an executor, which is the simplest there is: a thread that parks between two polls.

use std::future::Future;
use std::io::Write;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use andon_driver::{Application, DriverError, Options, Received};

use crate::Driver;
use crate::puppet::*;
use crate::stage::{LIMIT, Stage};
use crate::system::System;

/// Wakes a thread and counts how often.
struct Unpark {
    thread: Thread,
    wakes: AtomicU64,
}

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.wakes.fetch_add(1, Ordering::SeqCst);
        self.thread.unpark();
    }
}

fn unpark() -> Arc<Unpark> {
    Arc::new(Unpark { thread: thread::current(), wakes: AtomicU64::new(0) })
}

fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(unpark());
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        thread::park_timeout(LIMIT);
    }
}

async fn all(application: Application<Command, Event>) -> Vec<Event> {
    let mut events = Vec::new();
    while let Some(event) = application.recv_async().await {
        events.push(event);
    }
    events
}

fn marks(range: std::ops::Range<u32>) -> Vec<Event> {
    range.map(Event::Mark).chain([Event::Stopped]).collect()
}

pub fn an_event_can_be_awaited_by_any_executor<D: Driver + 'static>() {
    fn sent<T: Send>(value: T) -> T {
        value
    }
    let (run, _) = start(&System::<D>::default(), Options::default(), Puppet::default());
    let (application, ending) = run.split();
    let taker = {
        let future = sent(all(application.clone()));
        thread::spawn(move || block_on(future))
    };
    for mark in 0..50 {
        application.command(Command::Mark(mark)).unwrap();
        thread::sleep(Duration::from_millis(1));
    }
    application.stop();
    assert_eq!(taker.join().unwrap(), marks(0..50));
    ending.join().unwrap();
}

pub fn a_future_that_is_dropped_loses_no_event<D: Driver + 'static>() {
    let (run, _) = start(&System::<D>::default(), Options::default(), Puppet::default());
    for mark in 0..200 {
        let counted = unpark();
        let waker = Waker::from(counted.clone());
        {
            let mut future = pin!(run.recv_async());
            assert!(future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            tell(&run, Command::Mark(mark));
            if mark % 2 == 0 {
                // The event is there and the future knows of it.
                wait_until(&System::<D>::default(), "a wake-up", || counted.wakes.load(Ordering::SeqCst) > 0);
            }
        }
        if mark % 3 == 0 {
            expect(&run, &Event::Mark(mark));
        } else {
            assert_eq!(block_on(run.recv_async()), Some(Event::Mark(mark)));
        }
    }
    assert_eq!(stop(run), [Event::Stopped]);
}

pub fn threads_and_tasks_take_each_event_once<D: Driver + 'static>() {
    const COUNT: u32 = 3_000;
    let (run, _) =
        start(&System::<D>::default(), Options { event_queue: 8, ..Options::default() }, Puppet::default());
    let takers: Vec<_> = (0..6)
        .map(|index| {
            let application = run.application();
            thread::spawn(move || match index % 3 {
                0 => std::iter::from_fn(|| application.recv()).collect(),
                1 => block_on(all(application)),
                _ => {
                    // Looks once and goes away, over and over, as in a `select!` with something more urgent.
                    let mut events = Vec::new();
                    let waker = Waker::from(unpark());
                    loop {
                        match pin!(application.recv_async()).poll(&mut Context::from_waker(&waker)) {
                            Poll::Ready(Some(event)) => events.push(event),
                            Poll::Ready(None) => return events,
                            Poll::Pending => thread::sleep(Duration::from_micros(100)),
                        }
                    }
                }
            })
        })
        .collect();
    for mark in 0..COUNT {
        tell(&run, Command::Mark(mark));
    }
    run.stop();
    let mut taken: Vec<u32> = takers
        .into_iter()
        .flat_map(|taker| taker.join().unwrap())
        .filter_map(|event| match event {
            Event::Mark(mark) => Some(mark),
            _ => None,
        })
        .collect();
    taken.sort_unstable();
    assert_eq!(taken, (0..COUNT).collect::<Vec<_>>());
    run.join().unwrap();
}

pub fn a_stream_gives_everything_and_then_the_end<D: Driver + 'static>() {
    let (run, _) = start(&System::<D>::default(), Options::default(), Puppet::default());
    let (application, ending) = run.split();
    let mut stream = application.events();
    for mark in 0..50 {
        application.command(Command::Mark(mark)).unwrap();
    }
    application.stop();
    drop(application);
    let mut events = Vec::new();
    while let Some(event) = block_on(std::future::poll_fn(|context| stream.poll_next(context))) {
        events.push(event);
    }
    assert_eq!(events, marks(0..50));
    assert_eq!(block_on(std::future::poll_fn(|context| stream.poll_next(context))), None);
    ending.join().unwrap();
}

pub fn the_end_can_be_awaited<D: Driver + 'static>() {
    let (run, _) = start(&System::<D>::default(), Options::default(), Puppet::default());
    let (application, ending) = run.split();
    let waiting = thread::spawn(move || block_on(ending));
    application.stop();
    waiting.join().unwrap().unwrap();

    let (run, _) = start(&System::<D>::default(), Options::default(), Puppet::default());
    let (application, ending) = run.split();
    application.command(Command::Panic).unwrap();
    match block_on(ending) {
        Err(DriverError::Panicked(message)) => assert_eq!(message, "told to panic"),
        other => panic!("{other:?}"),
    }
    assert_eq!(block_on(application.recv_async()), None);
}

pub fn the_driver_stops_with_the_last_end<D: Driver + 'static>() {
    let (run, _) = start(&System::<D>::default(), Options::default(), Puppet::default());
    let (first, ending) = run.split();
    let second = first.clone();
    drop(first);
    second.command(Command::Mark(1)).unwrap();
    assert_eq!(second.recv(), Some(Event::Mark(1)));
    let third = second.events();
    drop(second);
    drop(third);
    ending.join().unwrap();
}

pub fn joining_leaves_the_events_to_other_ends<D: Driver + 'static>() {
    let (run, _) =
        start(&System::<D>::default(), Options { event_queue: 4, ..Options::default() }, Puppet::default());
    let other = run.application();
    let joiner = thread::spawn(move || run.join());
    // A join is no wish to stop.
    for mark in 0..50 {
        other.command(Command::Mark(mark)).unwrap();
        assert_eq!(other.recv_timeout(LIMIT), Received::Event(Event::Mark(mark)));
    }
    other.stop();
    assert_eq!(block_on(all(other)), [Event::Stopped]);
    joiner.join().unwrap().unwrap();
}

pub fn a_task_that_takes_events_makes_room_for_more<D: Driver + 'static>() {
    const LEN: usize = 8 << 20;
    let (run, addr) =
        start(&System::<D>::default(), Options { event_queue: 4, ..listening() }, Puppet::default());
    let mut peer = System::<D>::default().connect(addr).unwrap();
    let writer = thread::spawn(move || peer.write_all(&pattern(0, LEN)).unwrap());
    let mut all = Vec::new();
    while all.len() < LEN {
        match block_on(run.recv_async()) {
            Some(Event::Received(_, bytes)) => all.extend(bytes),
            Some(Event::Connected(..)) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(all == pattern(0, LEN));
    writer.join().unwrap();
    stop(run);
}
