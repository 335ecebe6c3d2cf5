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
    /// that come until then are dropped, unless there are other ends.
    ///
    /// # Errors
    /// Why the driver ended, if not because it was asked to.
    pub fn join(self) -> Result<(), DriverError> {
        let Self { application, ending } = self;
        application.set_joined();
        drop(application);
        ending.join()
    }
}
