//! The wait between the rounds of one machine: for sockets, the waker or the clock.

use std::io::ErrorKind;
use std::time::Duration;

use andon_driver::{Buffer, DriverError, Next, Rounds, Waker};
use andon_kernel::{Machine, Store};
use mio::{Events, Poll};

use crate::sockets::Sockets;
use crate::tokens::{WAKER, parts};

/// How many sockets the system reports at once; the others follow in the next round.
pub(crate) const EVENTS: usize = 1024;

/// Runs until the machine has been stopped and everything is closed and stored.
pub(crate) fn run<M, S>(
    mut rounds: Rounds<M, S, Sockets>,
    mut poll: Poll,
    waker: &Waker,
) -> Result<(), DriverError>
where
    M: Machine,
    S: Store,
    S::Error: Send + Sync,
{
    let mut events = Events::with_capacity(EVENTS);
    let mut buffer = Buffer::new();
    loop {
        let timeout = match rounds.round(&mut buffer)? {
            Next::Finished => return Ok(()),
            Next::Round => Some(Duration::ZERO),
            Next::Wait(at) => at.map(|at| rounds.time_until(at)),
        };
        match poll.poll(&mut events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(DriverError::Io(error)),
        }
        for event in &events {
            if event.token() == WAKER {
                waker.seen();
            } else {
                let source = rounds.reactor().source(parts(event.token()).1, event);
                rounds.notice(source);
            }
        }
    }
}
