//! A machine from its first round to the end of its driver.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use andon_kernel::{Machine, Store};

use crate::reactor::Reactor;
use crate::{DriverEnd, DriverError, Options, Rounds};

/// A machine that runs, and what is told when it has ended. Dropped before that, it closes everything at once, and the
/// driver was abandoned.
pub struct Running<M: Machine, S, R: Reactor> {
    /// Before `end`, so that sockets and store are closed when anybody hears of it.
    rounds: Rounds<M, S, R>,
    end: DriverEnd<M::Command, M::Event>,
}

impl<M, S, R> Running<M, S, R>
where
    M: Machine,
    R: Reactor,
    S: Store,
    S::Error: Send + Sync,
{
    /// As [`Rounds::new`].
    pub fn new(
        machine: M,
        store: S,
        reactor: R,
        options: &Options,
        end: DriverEnd<M::Command, M::Event>,
    ) -> Self {
        Self { rounds: Rounds::new(machine, store, reactor, options, &end), end }
    }

    /// The rounds.
    pub fn rounds(&mut self) -> &mut Rounds<M, S, R> {
        &mut self.rounds
    }

    /// A piece of a driver's work: its value, or none if that was the last.
    ///
    /// # Errors
    /// As the work's; and a panic in it is an error too. After an error there is no other piece: the driver is to be
    /// [closed](Self::close) with it.
    pub fn work<T>(
        &mut self,
        work: impl FnOnce(&mut Rounds<M, S, R>) -> Result<Option<T>, DriverError>,
    ) -> Result<Option<T>, DriverError> {
        // Nothing of what a panic leaves is used again: it is dropped.
        catch_unwind(AssertUnwindSafe(|| work(&mut self.rounds)))
            .unwrap_or_else(|payload| Err(DriverError::panicked(payload)))
    }

    /// Closes sockets and store, and tells of the end. A store may take its time.
    pub fn close(self, result: Result<(), DriverError>) {
        let Self { rounds, end } = self;
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(rounds)));
        end.finish(result.and(dropped.map_err(DriverError::panicked)));
    }
}

impl<M: Machine, S, R: Reactor> fmt::Debug for Running<M, S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").finish_non_exhaustive()
    }
}
