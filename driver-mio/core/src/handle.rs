//! A running driver, as who started it holds it.

use std::sync::Arc;
use std::time::Duration;

use crate::shared::Shared;
use crate::{Application, CommandError, DriverError, Ending, Receive, Received, Stopper};

/// A running driver: one [`Application`] end and its [`Ending`]. The same type on every driver.
///
/// Dropping it stops the driver, without waiting for it, unless there are other ends.
#[derive(Debug)]
pub struct Handle<C, E> {
    application: Application<C, E>,
    ending: Ending,
}

impl<C, E> Handle<C, E> {
    pub(crate) fn new(shared: Arc<Shared<C, E>>, ending: Ending) -> Self {
        Self { application: Application::new(shared), ending }
    }

    /// One more end, for another thread or task.
    pub fn application(&self) -> Application<C, E> {
        self.application.clone()
    }

    /// The application's end, which can be cloned, and what waits for the driver's.
    pub fn split(self) -> (Application<C, E>, Ending) {
        (self.application, self.ending)
    }

    /// Gives the machine a command. Never blocks.
    ///
    /// # Errors
    /// Gives the command back if too many wait already, or if the driver has ended or been asked to.
    pub fn command(&self, command: C) -> Result<(), CommandError<C>> {
        self.application.command(command)
    }

    /// As [`Application::recv`].
    pub fn recv(&self) -> Option<E> {
        self.application.recv()
    }

    /// As [`Application::recv_timeout`].
    pub fn recv_timeout(&self, timeout: Duration) -> Received<E> {
        self.application.recv_timeout(timeout)
    }

    /// As [`Application::recv_async`].
    pub fn recv_async(&self) -> Receive<'_, C, E> {
        self.application.recv_async()
    }

    /// As [`Application::stop`].
    pub fn stop(&self) {
        self.application.stop();
    }

    /// As [`Application::stopper`].
    pub fn stopper(&self) -> Stopper {
        self.application.stopper()
    }

    /// Waits for the end, which [`stop`](Self::stop) or a fault brings about, and blocks the thread meanwhile. Events
    /// that come until then are dropped, unless there are other ends; when the last of those is dropped, the driver stops.
    ///
    /// # Errors
    /// Why the driver ended, if not because it was asked to.
    pub fn join(self) -> Result<(), DriverError> {
        let Self { application, ending } = self;
        application.leave_to_join();
        ending.join()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::{DriverEnd, Options, Waker, ends};

    fn driver() -> (Handle<(), ()>, DriverEnd<(), ()>) {
        ends(&Options::default(), Waker::new(|| Ok(())))
    }

    #[test]
    fn the_last_end_stops_the_driver_though_somebody_joins() {
        for others in [1, 2, 5] {
            let (handle, end) = driver();
            let mut others: Vec<_> = (0..others).map(|_| handle.application()).collect();
            let joiner = thread::spawn(move || handle.join());
            while end.shared.ends() > others.len() {
                thread::yield_now();
            }
            while let Some(other) = others.pop() {
                assert!(!end.shared.stopper.is_stopped());
                drop(other);
            }
            assert!(end.shared.stopper.is_stopped());
            end.finish(Ok(()));
            joiner.join().unwrap().unwrap();
        }
    }

    #[test]
    fn joining_alone_is_no_wish_to_stop() {
        let (handle, end) = driver();
        let joiner = thread::spawn(move || handle.join());
        while end.shared.ends() > 0 {
            thread::yield_now();
        }
        assert!(!end.shared.stopper.is_stopped());
        end.finish(Ok(()));
        joiner.join().unwrap().unwrap();
    }
}
