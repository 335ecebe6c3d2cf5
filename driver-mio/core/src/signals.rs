//! Which sockets of a future were woken: each has wakers of its own, and all wake the one task.
//!
//! So a task with thousands of sockets looks only at those that have something, and there is no task for each.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{self, Wake};

use crate::Waker;
use crate::reactor::Source;
use crate::waker::wake_task;

/// What was signalled since the task looked, and the task.
#[derive(Clone, Debug)]
pub struct Signals {
    inner: Arc<Inner>,
    waker: Waker,
}

#[derive(Debug)]
struct Inner {
    /// Who is to be woken; none before the first poll.
    task: Mutex<Option<task::Waker>>,
    /// Each at most once.
    raised: Mutex<Vec<Arc<Signal>>>,
}

/// Which way of a connection a waker is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Reading.
    Read,
    /// Writing, and opening.
    Write,
}

/// The waker of one socket in one direction.
#[derive(Debug)]
pub(crate) struct Signal {
    source: Source,
    raised: AtomicBool,
    signals: Weak<Inner>,
    waker: Waker,
}

impl Signals {
    /// Of a task that has not begun.
    pub fn new() -> Self {
        let inner = Arc::new(Inner { task: Mutex::new(None), raised: Mutex::new(Vec::new()) });
        let for_waker = Arc::clone(&inner);
        let waker = Waker::new(move || {
            let task = lock(&for_waker.task).clone();
            // Before the first poll there is nobody to wake: that poll looks at everything.
            if let Some(task) = task {
                wake_task(task);
            }
            Ok(())
        });
        Self { inner, waker }
    }

    /// What interrupts the task's wait.
    pub fn waker(&self) -> &Waker {
        &self.waker
    }

    /// A listener's waker.
    pub fn listener(&self, number: usize) -> task::Waker {
        self.signal(Source::Listener(number))
    }

    /// The waker of the socket for datagrams.
    pub fn datagrams(&self) -> task::Waker {
        self.signal(Source::Datagrams)
    }

    /// The waker of a connection in one direction.
    pub fn connection(&self, slot: usize, direction: Direction) -> task::Waker {
        let readable = direction == Direction::Read;
        let writable = direction == Direction::Write;
        self.signal(Source::Connection { slot, readable, writable, ended: false })
    }

    fn signal(&self, source: Source) -> task::Waker {
        let signals = Arc::downgrade(&self.inner);
        let waker = self.waker.clone();
        Arc::new(Signal { source, raised: AtomicBool::new(false), signals, waker }).into()
    }

    /// The task is being polled: from here on `task` is woken, and what was signalled before is in the next
    /// [`take`](Self::take).
    pub(crate) fn begin(&self, task: &task::Waker) {
        let mut current = lock(&self.inner.task);
        if !current.as_ref().is_some_and(|current| current.will_wake(task)) {
            let former = current.replace(task.clone());
            drop(current);
            drop(former);
        } else {
            drop(current);
        }
        self.waker.seen();
    }

    /// What was signalled since the last call. `taken` is kept for its memory.
    pub(crate) fn take<'a>(&self, taken: &'a mut Vec<Arc<Signal>>) -> impl Iterator<Item = Source> + use<'a> {
        std::mem::swap(taken, &mut *lock(&self.inner.raised));
        taken.drain(..).map(|signal| {
            // First, so that what comes from here on is signalled again.
            signal.raised.store(false, Ordering::SeqCst);
            signal.source
        })
    }
}

impl Default for Signals {
    fn default() -> Self {
        Self::new()
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.raised.swap(true, Ordering::SeqCst) {
            return;
        }
        if let Some(signals) = self.signals.upgrade() {
            lock(&signals.raised).push(Arc::clone(self));
            self.waker.wake();
        }
    }
}

/// No code that can panic runs while one is locked but the clone of a waker, which leaves everything as it was.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
