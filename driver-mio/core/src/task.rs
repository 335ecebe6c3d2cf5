//! A whole driver as one future.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use andon_kernel::{Instant, Machine, Store};

use crate::reactor::{Reactor, Source};
use crate::{DriverEnd, DriverError, Next, Options, Rounds, Signals};

/// A reactor that wakes tasks.
pub trait AsyncReactor: Reactor {
    /// Sets the task's one timer to fire in `left`; none: not at all. The timer keeps what it was set to: a call with the
    /// same `at` as the last, unless it has fired, need do nothing. Ready: it fires at once, and is unset.
    fn set_timer(&mut self, context: &mut Context<'_>, timer: Option<(Instant, Duration)>) -> Poll<()>;

    /// Has the task polled again after others, and what waits for sockets, have had their turn.
    fn give_way(&mut self, context: &mut Context<'_>);
}

/// A driver as one future, which is ready when the driver has ended. What it ended with is told to the
/// [`Ending`](crate::Ending).
///
/// One round for each poll, so that what else runs in the same thread has its turn. Dropping it before it is ready
/// closes everything at once.
pub struct Task<M: Machine, S, R: Reactor> {
    /// None: the driver has ended. Before `end`, so that sockets and store are closed when anybody hears of it.
    rounds: Option<Rounds<M, S, R>>,
    end: Option<DriverEnd<M::Command, M::Event>>,
    signals: Signals,
    /// Kept for its memory.
    sources: Vec<Source>,
}

/// Nothing in it is ever pinned.
impl<M: Machine, S, R: Reactor> Unpin for Task<M, S, R> {}

impl<M, S, R> Task<M, S, R>
where
    M: Machine,
    R: AsyncReactor,
    S: Store,
    S::Error: Send + Sync,
{
    /// A driver that begins with the first poll. `signals` are the reactor's, and their waker is the one that `end` was
    /// made with.
    pub fn new(
        machine: M,
        store: S,
        reactor: R,
        options: &Options,
        signals: Signals,
        end: DriverEnd<M::Command, M::Event>,
    ) -> Self {
        let rounds = Rounds::new(machine, store, reactor, options, &end);
        Self { rounds: Some(rounds), end: Some(end), signals, sources: Vec::new() }
    }

    /// One round. Ready: it was the last.
    fn round(&mut self, context: &mut Context<'_>) -> Poll<Result<(), DriverError>> {
        let Some(rounds) = &mut self.rounds else { return Poll::Ready(Ok(())) };
        self.signals.begin(context.waker());
        self.signals.take(&mut self.sources);
        for source in self.sources.drain(..) {
            rounds.notice(source);
        }
        match rounds.round()? {
            Next::Finished => return Poll::Ready(Ok(())),
            Next::Round => rounds.reactor().give_way(context),
            Next::Wait(at) => {
                let timer = at.map(|at| (at, rounds.time_until(at)));
                if rounds.reactor().set_timer(context, timer).is_ready() {
                    rounds.reactor().give_way(context);
                }
            }
        }
        Poll::Pending
    }
}

impl<M, S, R> Future for Task<M, S, R>
where
    M: Machine,
    R: AsyncReactor,
    S: Store,
    S::Error: Send + Sync,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        // Nothing of what a panic leaves is used again: it is dropped here.
        let round = catch_unwind(AssertUnwindSafe(|| this.round(context)));
        let result = match round {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(result)) => result,
            Err(payload) => Err(DriverError::panicked(&*payload)),
        };
        let rounds = this.rounds.take();
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(rounds)));
        let result = result.and(dropped.map_err(|payload| DriverError::panicked(&*payload)));
        if let Some(end) = this.end.take() {
            end.finish(result);
        }
        Poll::Ready(())
    }
}
