//! What the application's end of a driver answers with, if not with an event.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::io;

/// What [`Handle::recv_timeout`](crate::Handle::recv_timeout) came back with.
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
    /// What the driver ran on, such as an async runtime, ended or dropped it before it had been stopped.
    Abandoned,
}

impl DriverError {
    /// What a panic left.
    pub(crate) fn panicked(payload: Box<dyn Any + Send>) -> Self {
        let payload = match payload.downcast::<&str>() {
            Ok(text) => return Self::Panicked((*text).to_owned()),
            Err(payload) => payload,
        };
        match payload.downcast::<String>() {
            Ok(text) => Self::Panicked(*text),
            Err(payload) => {
                // Dropping it may panic again.
                std::mem::forget(payload);
                Self::Panicked("a panic without a message".to_owned())
            }
        }
    }
}

impl fmt::Display for DriverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "waiting for the network failed: {error}"),
            Self::Store(error) => write!(f, "the store failed: {error}"),
            Self::Panicked(message) => write!(f, "a fault in the program: {message}"),
            Self::Abandoned => f.write_str("what the driver ran on ended before it"),
        }
    }
}

impl Error for DriverError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Store(error) => Some(&**error),
            Self::Panicked(_) | Self::Abandoned => None,
        }
    }
}
