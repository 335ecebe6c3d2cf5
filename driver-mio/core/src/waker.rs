//! Interrupts a driver's wait, from any thread.

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task;

/// Makes the driver look at its store, its commands and its stop flag again: for a store's own thread, when a request
/// is complete. Cheap to clone and to call. The same type on every driver.
#[derive(Clone, Debug)]
pub struct Waker {
    inner: Arc<Inner>,
}

struct Inner {
    /// Whether a wake-up is under way that the driver has not seen: then another would be a wasted system call.
    under_way: AtomicBool,
    interrupt: Box<Interrupt>,
}

/// What ends a reactor's wait.
type Interrupt = dyn Fn() -> io::Result<()> + Send + Sync;

impl Waker {
    /// For a driver: `interrupt` ends its wait, or the next one if it does not wait now. An error says that the system
    /// could not take it, and the next call of [`wake`](Self::wake) tries again.
    pub fn new(interrupt: impl Fn() -> io::Result<()> + Send + Sync + 'static) -> Self {
        let interrupt = Box::new(interrupt);
        Self { inner: Arc::new(Inner { under_way: AtomicBool::new(false), interrupt }) }
    }

    /// Wakes the driver. Nothing happens if it has ended.
    pub fn wake(&self) {
        if !self.inner.under_way.swap(true, Ordering::SeqCst) && (self.inner.interrupt)().is_err() {
            // The system could not take it (it is out of memory): the next call tries again.
            self.inner.under_way.store(false, Ordering::SeqCst);
        }
    }

    /// For a driver: notes that it is awake. What the callers had done before is seen by what it looks at after this.
    pub fn seen(&self) {
        self.inner.under_way.swap(false, Ordering::SeqCst);
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("under_way", &self.under_way).finish_non_exhaustive()
    }
}

/// Wakes a task of the application. What wakes it is the application's code: a panic of that stays here.
pub fn wake_task(waker: task::Waker) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
        // Dropping it may panic again.
        std::mem::forget(payload);
    }
}
