//! The application's end of a driver: commands, events, stopping and waiting for the end.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::Waker;
use crate::channel::{Commands, Events};

/// A running driver. Dropping it stops the driver, without waiting for it.
#[derive(Debug)]
pub struct Handle<C, E> {
    shared: Arc<Shared<C, E>>,
    stopper: Stopper,
    /// Taken by [`join`](Self::join).
    thread: Option<JoinHandle<Result<(), DriverError>>>,
}

/// What the application's threads and the driver's have in common.
#[derive(Debug)]
pub(crate) struct Shared<C, E> {
    pub(crate) commands: Commands<C>,
    pub(crate) events: Events<E>,
}

impl<C, E> Handle<C, E> {
    pub(crate) fn new(
        shared: Arc<Shared<C, E>>,
        stopper: Stopper,
        thread: JoinHandle<Result<(), DriverError>>,
    ) -> Self {
        Self { shared, stopper, thread: Some(thread) }
    }

    /// Gives the machine a command. Never blocks.
    ///
    /// # Errors
    /// Gives the command back if too many wait already, or if the driver has ended or been asked to.
    pub fn command(&self, command: C) -> Result<(), CommandError<C>> {
        if self.stopper.is_stopped() {
            return Err(CommandError::Ended(command));
        }
        self.shared.commands.push(command)?;
        self.stopper.waker.wake();
        Ok(())
    }

    /// Waits for the next event. `None`: the driver has ended and every event was taken.
    pub fn recv(&self) -> Option<E> {
        match self.shared.events.pop(None) {
            Received::Event(event) => Some(event),
            Received::Ended | Received::TimedOut => None,
        }
    }

    /// Waits for the next event, for `timeout` at most.
    pub fn recv_timeout(&self, timeout: Duration) -> Received<E> {
        self.shared.events.pop(Some(timeout))
    }

    /// Asks for an orderly stop: commands given before are still taken, the machine closes its connections, the store
    /// finishes. Events of all that can be received until [`recv`](Self::recv) says that the end has come.
    pub fn stop(&self) {
        self.stopper.stop();
    }

    /// Something that stops the driver from anywhere, such as a handler for Ctrl-C.
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Waits for the end, which [`stop`](Self::stop) or a fault brings about. Events that come until then are dropped.
    ///
    /// # Errors
    /// Why the driver ended, if not because it was asked to.
    pub fn join(mut self) -> Result<(), DriverError> {
        // Nobody can receive any more, and a full queue must not keep the driver from ending.
        self.shared.events.abandon();
        let thread =
            self.thread.take().expect("only `join` takes the thread, and it takes the handle with it");
        thread.join().unwrap_or_else(|payload| Err(DriverError::panicked(&*payload)))
    }
}

impl<C, E> Drop for Handle<C, E> {
    fn drop(&mut self) {
        self.shared.events.abandon();
        self.stopper.stop();
    }
}

/// Stops a driver, from any thread.
#[derive(Clone, Debug)]
pub struct Stopper {
    requested: Arc<AtomicBool>,
    waker: Waker,
}

impl Stopper {
    pub(crate) fn new(waker: Waker) -> Self {
        Self { requested: Arc::new(AtomicBool::new(false)), waker }
    }

    /// Asks for an orderly stop, as [`Handle::stop`] does. Once is enough; more do no harm.
    pub fn stop(&self) {
        self.requested.store(true, Ordering::SeqCst);
        self.waker.wake();
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.requested.load(Ordering::SeqCst)
    }
}

/// What [`Handle::recv_timeout`] came back with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received<E> {
    /// The next event.
    Event(E),
    /// There was none in that time.
    TimedOut,
    /// The driver has ended and every event was taken.
    Ended,
}

/// A command that was not taken, with the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandError<C> {
    /// As many as the driver holds are waiting. Later there will be room.
    Full(C),
    /// The driver has ended, or has been asked to.
    Ended(C),
}

impl<C> fmt::Display for CommandError<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "too many commands are waiting",
            Self::Ended(_) => "the driver has ended",
        })
    }
}

impl<C: fmt::Debug> Error for CommandError<C> {}

/// Why a driver ended that was not asked to.
#[derive(Debug)]
#[non_exhaustive]
pub enum DriverError {
    /// The system's wait for sockets failed.
    Io(io::Error),
    /// The store could go on no longer.
    Store(Box<dyn Error + Send + Sync>),
    /// A fault of ours: the machine, the store or the driver panicked, with this message.
    Panicked(String),
}

impl DriverError {
    pub(crate) fn panicked(payload: &(dyn std::any::Any + Send)) -> Self {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
        Self::Panicked(text.unwrap_or_else(|| "a panic without a message".to_owned()))
    }
}

impl fmt::Display for DriverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "waiting for the network failed: {error}"),
            Self::Store(error) => write!(f, "the store failed: {error}"),
            Self::Panicked(message) => write!(f, "a fault in the program: {message}"),
        }
    }
}

impl Error for DriverError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Store(error) => Some(&**error),
            Self::Panicked(_) => None,
        }
    }
}
