//! Interrupts the driver's wait, from any thread.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mio::{Registry, Token};

/// Makes the driver look at its store, its commands and its stop flag again: for a store's own thread, when a request
/// is complete. Cheap to clone and to call.
#[derive(Clone, Debug)]
pub struct Waker {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Whether a wake-up is under way that the driver has not seen: then another would be a wasted system call.
    under_way: AtomicBool,
    waker: mio::Waker,
}

impl Waker {
    pub(crate) fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        let waker = mio::Waker::new(registry, token)?;
        Ok(Self { inner: Arc::new(Inner { under_way: AtomicBool::new(false), waker }) })
    }

    /// Wakes the driver. Nothing happens if it has ended.
    pub fn wake(&self) {
        if !self.inner.under_way.swap(true, Ordering::SeqCst) && self.inner.waker.wake().is_err() {
            // The system could not take it (it is out of memory): the next call tries again.
            self.inner.under_way.store(false, Ordering::SeqCst);
        }
    }

    /// Notes that the driver is awake. What the callers had done before is seen by what the driver looks at after this.
    pub(crate) fn seen(&self) {
        self.inner.under_way.swap(false, Ordering::SeqCst);
    }
}
