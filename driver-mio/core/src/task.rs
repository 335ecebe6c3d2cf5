//! A whole driver as one future.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use andon_kernel::{Instant, Machine, Store};

use crate::closing::Closing;
use crate::reactor::Reactor;
use crate::signals::Signal;
use crate::{Buffer, DriverEnd, Next, Options, Running, Signals};

/// A reactor that wakes tasks.
pub trait AsyncReactor: Reactor {
    /// Sets the task's one timer to fire in `left`; none: not at all. The timer keeps what it was set to: a call with the
    /// same `at` as the last, unless it has fired, need do nothing. Ready: it fires at once, and is unset.
    fn set_timer(&mut self, context: &mut Context<'_>, timer: Option<(Instant, Duration)>) -> Poll<()>;

    /// Has the task polled again after others, and what waits for sockets, have had their turn.
    fn give_way(&mut self, context: &mut Context<'_>);
}

/// A driver as one future, which is ready when the driver has ended, and what it ended with has been told to the
/// [`Ending`](crate::Ending).
///
/// One round for each poll, so that what else runs in the same thread has its turn. Sockets and store are closed on a thread of
/// their own at the end, since a store may wait for its disk, and the future waits for that. Dropping it before the end closes
/// everything at once, on the thread that drops it.
pub struct Task<M: Machine, S, R: Reactor> {
    stage: Stage<M, S, R>,
    signals: Signals,
    /// Kept for its memory.
    taken: Vec<Arc<Signal>>,
    buffer: Buffer,
}

/// From the first round to the end.
enum Stage<M: Machine, S, R: Reactor> {
    Running(Box<Running<M, S, R>>),
    Closing(Closing),
    Over,
}

impl<M: Machine, S, R: Reactor> Drop for Task<M, S, R> {
    /// The reactor has signals as well, which nothing may keep alive from here on.
    fn drop(&mut self) {
        self.signals.close();
    }
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
        let running = Running::new(machine, store, reactor, options, end);
        Self { stage: Stage::Running(Box::new(running)), signals, taken: Vec::new(), buffer: Buffer::new() }
    }
}

impl<M, S, R> Future for Task<M, S, R>
where
    M: Machine + Send + 'static,
    M::Command: Send,
    M::Event: Send,
    R: AsyncReactor + Send + 'static,
    R::Stream: Send,
    S: Store + Send + 'static,
    S::Error: Send + Sync,
{
    type Output = ();

    /// One round.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Self { stage, signals, taken, buffer } = self.get_mut();
        let mut current = match std::mem::replace(stage, Stage::Over) {
            Stage::Running(running) => running,
            Stage::Closing(closing) => {
                let closed = closing.poll(context);
                if closed.is_pending() {
                    *stage = Stage::Closing(closing);
                }
                return closed;
            }
            Stage::Over => return Poll::Ready(()),
        };
        let result = current.work(|rounds| {
            signals.begin(context.waker());
            for source in signals.take(taken) {
                rounds.notice(source);
            }
            match rounds.round(buffer)? {
                Next::Finished => return Ok(None),
                Next::Round => rounds.reactor().give_way(context),
                Next::Wait(at) => {
                    let timer = at.map(|at| (at, rounds.time_until(at)));
                    if rounds.reactor().set_timer(context, timer).is_ready() {
                        rounds.reactor().give_way(context);
                    }
                }
            }
            Ok(Some(()))
        });
        match result {
            Ok(Some(())) => {
                *stage = Stage::Running(current);
                Poll::Pending
            }
            ended => {
                // Whoever polled may keep this for long.
                signals.close();
                let closing = Closing::begin(*current, ended.map(drop));
                let closed = closing.poll(context);
                if closed.is_pending() {
                    *stage = Stage::Closing(closing);
                }
                closed
            }
        }
    }
}
