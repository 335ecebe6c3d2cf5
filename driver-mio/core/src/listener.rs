//! Who may wait at a listener, and when it is worth looking.

use std::io::ErrorKind;
use std::time::Duration;

use andon_kernel::Instant;

use crate::network::Network;
use crate::reactor::Reactor;

/// How many connections are accepted in one round at one listener, so that a flood of them starves nobody.
const ACCEPTS_PER_ROUND: usize = 64;

/// How long nothing is accepted after the system refused for want of files or memory: trying again at once would spin.
pub(crate) const REST: Duration = Duration::from_millis(250);

/// Whether someone may wait at a bound socket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listener {
    /// Its number with the reactor.
    number: usize,
    ready: bool,
    /// Accepts nothing before.
    resume: Instant,
}

impl Listener {
    /// Someone may wait already.
    pub(crate) fn new(number: usize) -> Self {
        Self { number, ready: true, resume: Instant::ZERO }
    }

    pub(crate) fn set_ready(&mut self) {
        self.ready = true;
    }

    /// When [`accept`](Self::accept) has work; none: when the reactor says so.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.ready.then_some(self.resume)
    }

    /// Accepts those who wait, a bounded number of them.
    pub(crate) fn accept<R: Reactor>(&mut self, now: Instant, network: &mut Network<R>) {
        if !self.ready || now < self.resume {
            return;
        }
        for _ in 0..ACCEPTS_PER_ROUND {
            match network.reactor.accept(self.number) {
                Ok((accepted, remote)) => network.accept(accepted, remote),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => {
                        self.ready = false;
                        return;
                    }
                    // One who waited has gone: the next may be well.
                    ErrorKind::Interrupted | ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset => {}
                    _ => {
                        self.resume = now + REST;
                        return;
                    }
                },
            }
        }
    }
}
