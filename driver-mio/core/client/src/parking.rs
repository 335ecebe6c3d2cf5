//! Futures waited for by a thread, without an executor.

use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

/// A thread that waits.
#[derive(Default)]
struct Parked {
    /// Whether it is worth polling again.
    is_woken: Mutex<bool>,
    woken: Condvar,
}

impl Parked {
    fn lock(&self) -> MutexGuard<'_, bool> {
        self.is_woken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits to be woken; false: not before `timeout`.
    fn park(&self, timeout: Option<Duration>) -> bool {
        let sleeps = |is_woken: &mut bool| !*is_woken;
        let guard = self.lock();
        let mut guard = match timeout {
            None => self.woken.wait_while(guard, sleeps).unwrap_or_else(PoisonError::into_inner),
            Some(timeout) => {
                let waited = self.woken.wait_timeout_while(guard, timeout, sleeps);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        };
        std::mem::take(&mut *guard)
    }
}

impl Wake for Parked {
    fn wake(self: Arc<Self>) {
        *self.lock() = true;
        self.woken.notify_one();
    }
}

/// Waits for a future and blocks the thread meanwhile.
pub(crate) fn wait<F: Future + Unpin>(future: &mut F) -> F::Output {
    match wait_until(future, None) {
        Some(output) => output,
        None => unreachable!("there was no limit"),
    }
}

/// As [`wait`], for `timeout` at most. `None`: it was not ready in that time, and can be waited for again.
pub(crate) fn wait_timeout<F: Future + Unpin>(future: &mut F, timeout: Duration) -> Option<F::Output> {
    // A time that no clock reaches is none.
    wait_until(future, now().checked_add(timeout))
}

fn wait_until<F: Future + Unpin>(future: &mut F, deadline: Option<Instant>) -> Option<F::Output> {
    let parked = Arc::new(Parked::default());
    let waker = Waker::from(Arc::clone(&parked));
    loop {
        if let Poll::Ready(output) = Pin::new(&mut *future).poll(&mut Context::from_waker(&waker)) {
            return Some(output);
        }
        let left = deadline.map(|deadline| deadline.saturating_duration_since(now()));
        if !parked.park(left) {
            return None;
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a thread of the application waits here, and no machine is told"
)]
fn now() -> Instant {
    Instant::now()
}
