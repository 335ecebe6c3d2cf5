//! A machine as the group's thread sees it, whatever its types.

use std::time::Duration;

use andon_driver::{Buffer, DriverError, Next, Running};
use andon_kernel::{Machine, Store};
use mio::event::Event;

use crate::sockets::Sockets;

/// One machine that runs, with its store and its sockets.
pub(crate) trait Member: Send {
    /// Notes what the system tells of a socket, by its number.
    fn notice(&mut self, socket: usize, event: &Event) -> Step;

    /// One round.
    fn round(&mut self, buffer: &mut Buffer) -> Step;

    /// Closes everything and tells of the end. A store may take its time.
    fn close(self: Box<Self>, result: Result<(), DriverError>);
}

/// What follows.
#[derive(Debug)]
pub(crate) enum Step {
    /// The next round, after those of the others.
    Round,
    /// The next round when something happens, or when this time is over, if there is one.
    Wait(Option<Duration>),
    /// It is over, and is to be closed.
    Over(Result<(), DriverError>),
}

impl<M, S> Member for Running<M, S, Sockets>
where
    M: Machine + Send,
    M::Command: Send,
    M::Event: Send,
    S: Store + Send,
    S::Error: Send + Sync,
{
    fn notice(&mut self, socket: usize, event: &Event) -> Step {
        over(self.work(|rounds| {
            let source = rounds.reactor().source(socket, event);
            rounds.notice(source);
            Ok(Some(Step::Round))
        }))
    }

    fn round(&mut self, buffer: &mut Buffer) -> Step {
        over(self.work(|rounds| {
            Ok(match rounds.round(buffer)? {
                Next::Finished => None,
                Next::Round => Some(Step::Round),
                Next::Wait(at) => Some(Step::Wait(at.map(|at| rounds.time_until(at)))),
            })
        }))
    }

    fn close(self: Box<Self>, result: Result<(), DriverError>) {
        Self::close(*self, result);
    }
}

fn over(worked: Result<Option<Step>, DriverError>) -> Step {
    match worked {
        Ok(Some(step)) => step,
        Ok(None) => Step::Over(Ok(())),
        Err(error) => Step::Over(Err(error)),
    }
}
