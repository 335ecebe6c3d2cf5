//! What this driver is to the executor that runs it.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::future::Future;
use std::pin::pin;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake};
use std::thread::{self, Thread};
use std::time::Duration;

use andon_kernel::{
    Batch, Completion, Input, Instant, Machine, MemoryStore, Now, Outbox, Scan, Store, Ticket,
};
use andon_smol::{Driver, Options, Received};

/// Does nothing.
struct Idle;

impl Machine for Idle {
    type Command = ();
    type Event = ();

    fn handle(&mut self, _: Now, _: Input<'_, ()>, _: &mut Outbox<()>) {}

    fn deadline(&self) -> Option<Instant> {
        None
    }
}

/// A store whose end takes as long as somebody else likes.
struct Slow {
    inner: MemoryStore,
    begins: Sender<()>,
    gate: Mutex<Receiver<()>>,
}

impl Store for Slow {
    type Error = std::convert::Infallible;

    fn load(&mut self, scan: Scan<'_>) -> Result<(), Self::Error> {
        self.inner.load(scan)
    }

    fn store(&mut self, ticket: Ticket, batch: Batch<'_>) -> Result<(), Self::Error> {
        self.inner.store(ticket, batch)
    }

    fn complete(&mut self) -> Result<Option<Completion<'_>>, Self::Error> {
        self.inner.complete()
    }

    fn outstanding(&self) -> usize {
        self.inner.outstanding()
    }

    fn is_congested(&self) -> bool {
        false
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        self.begins.send(()).unwrap();
        // A thread that waited for this to end could not let it.
        self.gate.get_mut().unwrap().recv_timeout(Duration::from_secs(20)).expect("the executor goes on");
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[test]
fn a_store_that_takes_its_time_to_close_does_not_hold_the_executor_up() {
    let ((begins, begun), (open, gate)) = (channel(), channel());
    let slow = Slow { inner: MemoryStore::new(), begins, gate: Mutex::new(gate) };
    let (handle, future) = Driver::new(Options::default()).unwrap().future(Idle, slow).unwrap();
    handle.stop();
    let waker = Arc::new(Unpark(thread::current())).into();
    let mut future = pin!(future);
    while begun.try_recv().is_err() {
        assert!(future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        thread::park_timeout(Duration::from_millis(10));
    }
    // Whoever hears of the end may open the store again, so it is not told before; nor is the future ready.
    assert_eq!(handle.recv_timeout(Duration::from_millis(100)), Received::TimedOut);
    assert!(future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    open.send(()).unwrap();
    while future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
        thread::park();
    }
    handle.join().unwrap();
}
