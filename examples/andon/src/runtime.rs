//! What the program needs of a driver. Each driver's program implements it; nothing else here knows which one runs.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use andon_kernel::{Machine, Store};

/// A driver, as far as this program needs it.
pub trait Runtime {
    /// Runs a machine over the store that `open` opens, in the background.
    ///
    /// `open` is given what the store calls when a request is complete.
    ///
    /// # Errors
    /// If the driver can't be set up, or as `open`.
    fn start<M, S, E>(
        machine: M,
        listen: Option<SocketAddr>,
        open: impl FnOnce(Wake) -> Result<S, E>,
    ) -> Result<Started<M::Command, M::Event>, StartError<E>>
    where
        M: Machine + Send + 'static,
        M::Command: Send + 'static,
        M::Event: Send + 'static,
        S: Store + Send + 'static,
        S::Error: Send + Sync;
}

/// Wakes a driver, from any thread.
pub type Wake = Box<dyn Fn() + Send>;

/// A machine that runs.
pub struct Started<C, E> {
    /// To talk to it.
    pub running: Box<dyn Running<C, E>>,
    /// Where it accepts connections, if it was asked to.
    pub listening: Option<SocketAddr>,
}

impl<C, E> fmt::Debug for Started<C, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Started").field("listening", &self.listening).finish_non_exhaustive()
    }
}

/// A machine under a driver.
pub trait Running<C, E> {
    /// Gives the machine a command. `false`: it was not taken, as too many wait or the driver has ended.
    fn command(&self, command: C) -> bool;

    /// Waits for the next event, for `timeout` at most.
    fn receive(&self, timeout: Duration) -> Received<E>;

    /// Asks for an orderly stop; events can be received until the end.
    fn stop(&self);

    /// Does the same from another thread.
    fn stopper(&self) -> Box<dyn Fn() + Send>;

    /// Waits for the end.
    ///
    /// # Errors
    /// Why the driver ended, if not because it was asked to.
    fn join(self: Box<Self>) -> Result<(), RunError>;
}

/// What there was to receive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received<E> {
    /// The next event.
    Event(E),
    /// There was none in that time.
    TimedOut,
    /// The driver has ended and every event was taken.
    Ended,
}

/// Why a machine could not be started.
#[derive(Debug)]
pub enum StartError<E> {
    /// The system refused the driver something: a socket, a thread, the address to listen on.
    Driver(io::Error),
    /// The store could not be opened.
    Store(E),
}

/// Why a driver ended that was not asked to.
#[derive(Debug)]
pub enum RunError {
    /// The system's wait for the network failed.
    Network(io::Error),
    /// The store could go on no longer.
    Store(Box<dyn Error + Send + Sync>),
    /// A fault in the program, with its message.
    Panicked(String),
    /// Anything else, in the driver's words.
    Other(String),
}
