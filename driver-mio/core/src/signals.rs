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

/// The task holds this, and so does the reactor; its wakers do not. What they wake may own the task, and they are kept for
/// longer than the driver runs: they must keep neither alive.
#[derive(Debug, Default)]
struct Inner {
    task: Mutex<Task>,
    raised: Mutex<Raised>,
}

/// Who is to be woken.
#[derive(Debug, Default)]
enum Task {
    /// It has not been polled: that poll looks at everything.
    #[default]
    New,
    Polled(task::Waker),
    /// It is over, and wants no more.
    Over,
}

#[derive(Debug, Default)]
struct Raised {
    /// Each at most once.
    signals: Vec<Arc<Signal>>,
    /// Nobody looks any more.
    is_closed: bool,
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
        let inner = Arc::new(Inner::default());
        let for_waker = Arc::downgrade(&inner);
        let waker = Waker::new(move || {
            let Some(inner) = for_waker.upgrade() else { return Ok(()) };
            let task = match &*lock(&inner.task) {
                Task::Polled(task) => Some(task.clone()),
                Task::New | Task::Over => None,
            };
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
        let is_known = matches!(&*current, Task::Polled(current) if current.will_wake(task));
        let former = (!is_known).then(|| std::mem::replace(&mut *current, Task::Polled(task.clone())));
        drop(current);
        drop(former);
        self.waker.seen();
    }

    /// The task is over: nobody is woken any more, and nothing of it is kept.
    pub(crate) fn close(&self) {
        let task = std::mem::replace(&mut *lock(&self.inner.task), Task::Over);
        let mut raised = lock(&self.inner.raised);
        raised.is_closed = true;
        let signals = std::mem::take(&mut raised.signals);
        drop(raised);
        // Outside of the locks: a task may be dropped with its last waker, and whatever it owns.
        drop((task, signals));
    }

    /// What was signalled since the last call. `taken` is kept for its memory.
    pub(crate) fn take<'a>(&self, taken: &'a mut Vec<Arc<Signal>>) -> impl Iterator<Item = Source> + use<'a> {
        std::mem::swap(taken, &mut lock(&self.inner.raised).signals);
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
        let Some(signals) = self.signals.upgrade() else { return };
        let mut raised = lock(&signals.raised);
        if !raised.is_closed {
            raised.signals.push(Arc::clone(self));
            drop(raised);
            self.waker.wake();
        }
    }
}

/// No code that can panic runs while one is locked but the clone of a waker, which leaves everything as it was.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn what_outlives_the_task_keeps_nothing_of_it() {
        let signals = Signals::new();
        let inner = Arc::downgrade(&signals.inner);
        let woken = Arc::new(Woken::default());
        signals.begin(&Arc::clone(&woken).into());
        let (stopper, socket) = (signals.waker().clone(), signals.connection(0, Direction::Read));
        let raised = signals.connection(1, Direction::Read);
        raised.wake_by_ref();
        assert_eq!(woken.0.load(Ordering::SeqCst), 1);
        // It was raised, and nobody has looked.
        drop(raised);
        drop(signals);
        assert_eq!((inner.strong_count(), Arc::strong_count(&woken)), (0, 1));
        stopper.wake();
        socket.wake_by_ref();
        assert_eq!(woken.0.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_task_that_is_over_is_let_go_at_once() {
        let signals = Signals::new();
        let woken = Arc::new(Woken::default());
        signals.begin(&Arc::clone(&woken).into());
        let (stopper, socket) = (signals.waker().clone(), signals.connection(0, Direction::Read));
        let raised = signals.connection(1, Direction::Write);
        raised.wake_by_ref();
        signals.close();
        assert_eq!(Arc::strong_count(&woken), 1);
        for _ in 0..3 {
            signals.waker.seen();
            stopper.wake();
            socket.wake_by_ref();
        }
        assert_eq!((woken.0.load(Ordering::SeqCst), signals.take(&mut Vec::new()).count()), (1, 0));
    }
}
