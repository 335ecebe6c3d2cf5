//! Stops a driver from anywhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::Waker;

/// Stops a driver, from any thread.
#[derive(Clone, Debug)]
pub struct Stopper {
    requested: Arc<AtomicBool>,
    waker: Waker,
}

impl Stopper {
    pub(crate) fn new(waker: Waker) -> Self {
        Self { requested: Arc::new(AtomicBool::new(false)), waker }
    }

    /// Asks for an orderly stop, as [`Handle::stop`](crate::Handle::stop) does. Once is enough; more do no harm.
    pub fn stop(&self) {
        self.requested.store(true, Ordering::SeqCst);
        self.waker.wake();
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.requested.load(Ordering::SeqCst)
    }

    pub(crate) fn waker(&self) -> &Waker {
        &self.waker
    }
}
