//! A store that fails or lags, and a machine that panics.

use std::collections::VecDeque;
use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use andon_driver::{DriverError, Options, Received, Waker};
use andon_kernel::{Batch, Checked, Completion, MemoryStore, Scan, Store, Ticket};

use crate::puppet::*;
use crate::stage::*;

#[derive(Debug)]
struct DiskFull;

impl fmt::Display for DiskFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the disk is full")
    }
}

impl std::error::Error for DiskFull {}

/// Takes a number of batches.
struct Failing {
    left: usize,
    inner: MemoryStore,
}

impl Store for Failing {
    type Error = DiskFull;

    fn load(&mut self, scan: Scan<'_>) -> Result<(), DiskFull> {
        let Ok(()) = self.inner.load(scan);
        Ok(())
    }

    fn store(&mut self, ticket: Ticket, batch: Batch<'_>) -> Result<(), DiskFull> {
        self.left = self.left.checked_sub(1).ok_or(DiskFull)?;
        let Ok(()) = self.inner.store(ticket, batch);
        Ok(())
    }

    fn complete(&mut self) -> Result<Option<Completion<'_>>, DiskFull> {
        let Ok(completion) = self.inner.complete();
        Ok(completion)
    }

    fn outstanding(&self) -> usize {
        self.inner.outstanding()
    }

    fn is_congested(&self) -> bool {
        false
    }
}

pub fn a_store_that_fails_ends_the_driver_with_its_error<S: Stage>(stage: &S) {
    let driver = stage.driver(listening()).unwrap();
    let addr = driver.local_addresses()[0];
    let store = Failing { left: 2, inner: MemoryStore::new() };
    let run = driver.run(Checked::new(Puppet::default()), store);
    let (_, mut peer) = accepted(stage, &run, addr);
    for _ in 0..2 {
        tell(&run, Command::Store);
        expect(&run, &Event::Stored);
    }
    tell(&run, Command::Mark(1));
    tell(&run, Command::Store);
    // What was told before can be taken still; then comes the end, and the sockets are closed.
    expect(&run, &Event::Mark(1));
    assert_eq!(run.recv(), None);
    assert!(matches!(peer.read(&mut [0]), Ok(0) | Err(_)));
    assert!(run.command(Command::Mark(2)).is_err());
    match run.join() {
        Err(DriverError::Store(error)) => assert_eq!(error.to_string(), "the disk is full"),
        other => panic!("{other:?}"),
    }
}

pub fn a_machine_that_panics_ends_the_driver_with_its_message<S: Stage>(stage: &S) {
    let (run, addr) = start(stage, listening(), Puppet::default());
    let (_, mut peer) = accepted(stage, &run, addr);
    tell(&run, Command::Panic);
    assert_eq!(run.recv_timeout(LIMIT), Received::Ended);
    assert!(matches!(peer.read(&mut [0]), Ok(0) | Err(_)));
    match run.join() {
        Err(DriverError::Panicked(message)) => assert_eq!(message, "told to panic"),
        other => panic!("{other:?}"),
    }
}

/// A store with a thread of its own that completes nothing until it is let.
struct Lagging {
    inner: MemoryStore,
    gate: Arc<Gate>,
}

struct Gate {
    open: AtomicBool,
    outstanding: AtomicUsize,
    waker: Mutex<VecDeque<Waker>>,
}

impl Gate {
    fn open(&self) {
        self.open.store(true, Ordering::SeqCst);
        self.waker.lock().unwrap().iter().for_each(Waker::wake);
    }
}

impl Store for Lagging {
    type Error = std::convert::Infallible;

    fn load(&mut self, scan: Scan<'_>) -> Result<(), Self::Error> {
        self.inner.load(scan)
    }

    fn store(&mut self, ticket: Ticket, batch: Batch<'_>) -> Result<(), Self::Error> {
        self.gate.outstanding.fetch_add(1, Ordering::SeqCst);
        self.inner.store(ticket, batch)
    }

    fn complete(&mut self) -> Result<Option<Completion<'_>>, Self::Error> {
        if !self.gate.open.load(Ordering::SeqCst) {
            return Ok(None);
        }
        self.inner.complete()
    }

    fn outstanding(&self) -> usize {
        self.inner.outstanding()
    }

    fn is_congested(&self) -> bool {
        !self.gate.open.load(Ordering::SeqCst) && self.inner.outstanding() > 0
    }
}

fn lagging<S: Stage>(
    stage: &S,
    options: Options,
    puppet: Puppet,
) -> (S::Application, std::net::SocketAddr, Arc<Gate>) {
    let driver = stage.driver(options).unwrap();
    let addr = driver.local_addresses()[0];
    let gate = Arc::new(Gate {
        open: AtomicBool::new(false),
        outstanding: AtomicUsize::new(0),
        waker: Mutex::new([driver.waker()].into()),
    });
    let store = Lagging { inner: MemoryStore::new(), gate: gate.clone() };
    (driver.run(Checked::new(puppet), store), addr, gate)
}

/// A store with a thread of its own, which fails when it is told to, after so many requests.
struct FailingLater {
    inner: MemoryStore,
    completes: usize,
    has_failed: Arc<AtomicBool>,
}

impl Store for FailingLater {
    type Error = DiskFull;

    fn load(&mut self, scan: Scan<'_>) -> Result<(), DiskFull> {
        let Ok(()) = self.inner.load(scan);
        Ok(())
    }

    fn store(&mut self, ticket: Ticket, batch: Batch<'_>) -> Result<(), DiskFull> {
        let Ok(()) = self.inner.store(ticket, batch);
        Ok(())
    }

    fn complete(&mut self) -> Result<Option<Completion<'_>>, DiskFull> {
        if !self.has_failed.load(Ordering::SeqCst) {
            return Ok(None);
        }
        self.completes = self.completes.checked_sub(1).ok_or(DiskFull)?;
        let Ok(completion) = self.inner.complete();
        Ok(completion)
    }

    fn outstanding(&self) -> usize {
        self.inner.outstanding()
    }

    fn is_congested(&self) -> bool {
        false
    }
}

pub fn a_store_that_fails_later_ends_the_driver_though_nobody_takes_events<S: Stage>(stage: &S) {
    const STORED: usize = 20;
    const QUEUE: u32 = 4;
    let puppet = Puppet::default();
    let counts = puppet.counts.clone();
    let driver = stage.driver(Options { event_queue: QUEUE as usize, ..listening() }).unwrap();
    let (addr, waker, has_failed) = (driver.local_addresses()[0], driver.waker(), Arc::default());
    let store = FailingLater {
        inner: MemoryStore::new(),
        completes: STORED - 1,
        has_failed: Arc::clone(&has_failed),
    };
    let run = driver.run(Checked::new(puppet), store);
    let (_, mut peer) = accepted(stage, &run, addr);
    (0..STORED).for_each(|_| tell(&run, Command::Store));
    (0..QUEUE).for_each(|mark| tell(&run, Command::Mark(mark)));
    // The start, the connection and the commands: from here on there is no room.
    let inputs = 2 + STORED as u64 + u64::from(QUEUE);
    wait_until(stage, "a full queue", || count(&counts.inputs) == inputs);
    has_failed.store(true, Ordering::SeqCst);
    waker.wake();
    // Nobody has taken an event, and the sockets are closed.
    match peer.read(&mut [0]) {
        Ok(count) => assert_eq!(count, 0),
        Err(error) => {
            let still_open = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
            assert!(!still_open, "the driver runs on");
        }
    }
    assert_eq!(count(&counts.inputs), inputs, "what is held off was given to the machine");
    (0..QUEUE).for_each(|mark| expect(&run, &Event::Mark(mark)));
    assert_eq!(run.recv(), None);
    assert!(matches!(run.join(), Err(DriverError::Store(_))));
}

pub fn while_the_store_lags_nothing_is_let_in_but_timers<S: Stage>(stage: &S) {
    let puppet = Puppet { every: Some(Duration::from_millis(1)), ..Puppet::default() };
    let counts = puppet.counts.clone();
    let (run, addr, gate) = lagging(stage, listening(), puppet);
    let (conn, mut peer) = accepted(stage, &run, addr);
    tell(&run, Command::Store);
    wait_until(stage, "a request to the store", || gate.outstanding.load(Ordering::SeqCst) == 1);
    peer.write_all(b"later").unwrap();
    run.command(Command::Mark(1)).unwrap();
    let wakes = count(&counts.wakes);
    wait_until(stage, "50 wakes", || count(&counts.wakes) >= wakes + 50);
    assert_eq!(run.recv_timeout(Duration::ZERO), Received::TimedOut);
    gate.open();
    // The order of these is the driver's.
    let events = [next(&run), next(&run), next(&run)];
    for expected in [Event::Stored, Event::Mark(1), Event::Received(conn, b"later".to_vec())] {
        assert!(events.contains(&expected), "{expected:?} is not in {events:?}");
    }
    stop(run);
}

pub fn a_stop_waits_for_the_store<S: Stage>(stage: &S) {
    let (run, _, gate) = lagging(stage, listening(), Puppet::default());
    tell(&run, Command::Store);
    run.stop();
    expect(&run, &Event::Stopped);
    assert_eq!(run.recv_timeout(Duration::from_millis(200)), Received::TimedOut);
    gate.open();
    expect(&run, &Event::Stored);
    assert_eq!(run.recv(), None);
    run.join().unwrap();
}
