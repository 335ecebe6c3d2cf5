//! The end of a driver: told once by the driver, and waited for by whoever wants to know why.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{self, Context, Poll};

use crate::shared::Shared;
use crate::waker::wake_task;
use crate::{DriverError, Handle, Options, Waker};

/// Waits for a driver's end: a thread by [`join`](Self::join), a task by awaiting it.
///
/// Neither stops the driver, and a driver with a full queue of events and nobody who takes them goes on only when it
/// has been asked to stop.
#[derive(Debug)]
pub struct Ending {
    told: Arc<Told>,
}

#[derive(Debug)]
struct Told {
    state: Mutex<TellState>,
    arrived: Condvar,
}

#[derive(Debug)]
struct TellState {
    result: Option<Result<(), DriverError>>,
    /// Whether it has been told, so that none is there only because it was taken.
    is_told: bool,
    waker: Option<task::Waker>,
}

impl Told {
    /// No code that can panic runs while it is locked, so a poisoned lock guards a sound state.
    fn lock(&self) -> MutexGuard<'_, TellState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TellState {
    /// Takes the result, if it has been told.
    fn take(&mut self) -> Option<Result<(), DriverError>> {
        let result = self.result.take();
        assert!(
            result.is_some() || !self.is_told,
            "a driver's end was waited for again after it had been told"
        );
        result
    }
}

impl Ending {
    /// Waits for the end and blocks the thread meanwhile.
    ///
    /// # Errors
    /// Why the driver ended, if not because it was asked to.
    ///
    /// # Panics
    /// If it was awaited before, by reference, and was ready then: the end is told once.
    pub fn join(self) -> Result<(), DriverError> {
        let mut state = self.told.lock();
        loop {
            match state.take() {
                Some(result) => return result,
                None => state = self.told.arrived.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

impl Future for Ending {
    type Output = Result<(), DriverError>;

    /// # Panics
    /// If it is polled again after it was ready, as futures may.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.told.lock();
        if let Some(result) = state.take() {
            return Poll::Ready(result);
        }
        // The former one may be the last to hold a task that owns the driver's end: it is dropped outside of the lock.
        let former = state.waker.replace(context.waker().clone());
        drop(state);
        drop(former);
        Poll::Pending
    }
}

/// The driver's end of the queues. Whoever drops it unused has abandoned the driver.
#[derive(Debug)]
pub struct DriverEnd<C, E> {
    pub(crate) shared: Arc<Shared<C, E>>,
    told: Option<Arc<Told>>,
}

/// The application's end and the driver's. `waker` interrupts the driver's wait.
pub fn ends<C, E>(options: &Options, waker: Waker) -> (Handle<C, E>, DriverEnd<C, E>) {
    let shared = Shared::new(options, waker);
    let state = Mutex::new(TellState { result: None, is_told: false, waker: None });
    let told = Arc::new(Told { state, arrived: Condvar::new() });
    let handle = Handle::new(Arc::clone(&shared), Ending { told: Arc::clone(&told) });
    (handle, DriverEnd { shared, told: Some(told) })
}

impl<C, E> DriverEnd<C, E> {
    /// Does a driver's work, on this thread, and tells of its end; a panic is an end, too.
    ///
    /// `work` owns the sockets and the store, so that they are closed when anybody hears of it.
    pub fn run(self, work: impl FnOnce() -> Result<(), DriverError>) {
        // Nothing of what a panic leaves is used again: the work owns it all, and only queues are shared.
        let result = catch_unwind(AssertUnwindSafe(work));
        self.finish(result.unwrap_or_else(|payload| Err(DriverError::panicked(payload))));
    }

    /// The sockets and the store are closed, so whoever hears of the end may open them again.
    pub(crate) fn finish(mut self, result: Result<(), DriverError>) {
        self.tell(result);
    }

    fn tell(&mut self, result: Result<(), DriverError>) {
        let Some(told) = self.told.take() else { return };
        // Whoever waits for the end is told of it, whatever the desk does, and commands that are dropped.
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(self.shared.close_commands()))) {
            std::mem::forget(payload);
        }
        self.shared.tell_desk_of_the_end();
        self.shared.events.end();
        let mut state = told.lock();
        state.result = Some(result);
        state.is_told = true;
        let waker = state.waker.take();
        drop(state);
        told.arrived.notify_all();
        if let Some(waker) = waker {
            wake_task(waker);
        }
    }
}

impl<C, E> Drop for DriverEnd<C, E> {
    fn drop(&mut self) {
        self.tell(Err(DriverError::Abandoned));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_for_an_end_that_was_told_is_told_so_and_does_not_hang() {
        for again in [|ending| drop(Ending::join(ending)), |mut ending| drop(awaited(&mut ending))] {
            let (handle, end) = ends::<(), ()>(&Options::default(), Waker::new(|| Ok(())));
            let (_application, mut ending) = handle.split();
            assert!(awaited(&mut ending).is_pending());
            end.finish(Ok(()));
            assert!(matches!(awaited(&mut ending), Poll::Ready(Ok(()))));
            let payload = catch_unwind(AssertUnwindSafe(|| again(ending))).unwrap_err();
            let message = payload.downcast_ref::<&str>().unwrap();
            assert_eq!(*message, "a driver's end was waited for again after it had been told");
        }
    }

    fn awaited(ending: &mut Ending) -> Poll<Result<(), DriverError>> {
        Pin::new(ending).poll(&mut Context::from_waker(task::Waker::noop()))
    }
}
