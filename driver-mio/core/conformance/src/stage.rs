//! Where the cases are played: over sockets and threads of the system, or in a world that simulates them.
//!
//! Whatever blocks does so for [`LIMIT`] at most, of the stage's own time, so that a failure does not hang.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use andon_driver::{CommandError, DriverError, Options, Received, Waker};
use andon_kernel::{Checked, Store};

use crate::puppet::{Command, Event, Puppet};

/// Nothing on loopback takes this long.
pub const LIMIT: Duration = Duration::from_secs(60);

/// A driver with what is around it: a network that has nothing but loopback, and time. Its clones are the same stage.
pub trait Stage: Clone + Send + Sync + 'static {
    /// A driver whose sockets are bound.
    type Bound: Bound<Application = Self::Application>;
    /// The application's end of one that runs.
    type Application: Application + Send + Sync + 'static;
    /// The other side's sockets.
    type Listener: Listener<Stream = Self::Stream>;
    /// A connection.
    type Stream: Stream;
    /// A socket for datagrams.
    type Datagrams: Datagrams;
    /// What keeps an address from answering.
    type Silence;
    /// Something that is done beside the case.
    type Work: Work;

    /// A driver: binds the sockets that the options name.
    fn driver(&self, options: Options) -> io::Result<Self::Bound>;

    /// A listener of the other side's.
    fn listen(&self, at: SocketAddr) -> io::Result<Self::Listener>;

    /// A connection of the other side's making.
    fn connect(&self, to: SocketAddr) -> io::Result<Self::Stream>;

    /// A socket for datagrams on loopback.
    fn datagrams(&self) -> io::Result<Self::Datagrams>;

    /// An address at which dials are not answered; `None`: the system answers always.
    fn silent(&self) -> Option<(SocketAddr, Self::Silence)>;

    /// Lets time pass.
    fn sleep(&self, time: Duration);

    /// Lets as much time pass as a processor takes for so many idle steps.
    fn hesitate(&self, steps: u32);

    /// Does something beside the case: it may block, and it has the streams and ends that it was given.
    fn work(&self, work: impl FnOnce() + Send + 'static) -> Self::Work;
}

/// A driver whose sockets are bound.
pub trait Bound {
    /// Of the stage.
    type Application: Application;

    /// Where it accepts connections, in the order of the options.
    fn local_addresses(&self) -> &[SocketAddr];

    /// Where the socket for datagrams is bound.
    fn datagram_address(&self) -> Option<SocketAddr>;

    /// What a store calls when a request is complete.
    fn waker(&self) -> Waker;

    /// Runs a machine over a store.
    fn run<S>(self, machine: Checked<Puppet>, store: S) -> Self::Application
    where
        S: Store + Send + 'static,
        S::Error: Send + Sync;
}

/// The application's end of a driver that runs, as `andon_driver::Handle` is one. Dropped, it stops the driver.
pub trait Application {
    /// Gives a command.
    fn command(&self, command: Command) -> Result<(), CommandError<Command>>;

    /// The next event; `None`: the driver has ended.
    fn recv(&self) -> Option<Event>;

    /// The next event, if there is one in time.
    fn recv_timeout(&self, timeout: Duration) -> Received<Event>;

    /// Asks the driver to stop.
    fn stop(&self);

    /// Waits for the driver's end, and takes no more events.
    fn join(self) -> Result<(), DriverError>;

    /// Lets a moment pass.
    fn rest(&self);
}

/// Accepts connections. Dropped, it leaves its address to others, and who dials that is refused.
pub trait Listener {
    /// Of the stage.
    type Stream;

    /// Where.
    fn local_addr(&self) -> SocketAddr;

    /// The next.
    fn accept(&self) -> io::Result<Self::Stream>;
}

/// A connection's other side, that blocks. Dropped, it is closed, as systems do: with a reset if there are unread bytes.
pub trait Stream: Read + Write + Send + 'static {
    /// One more for the same socket, which is closed with the last.
    #[must_use]
    fn twin(&self) -> Self;

    /// Closes the half that writes.
    fn shut(&self);

    /// Breaks the connection off.
    fn reset(self);

    /// About how much the system keeps that was not read.
    fn set_receive_buffer(&self, bytes: usize);

    /// About how much the system keeps that was not sent.
    fn set_send_buffer(&self, bytes: usize);

    /// Sends small writes at once.
    fn set_nodelay(&self);
}

/// A socket for datagrams.
pub trait Datagrams {
    /// Where.
    fn local_addr(&self) -> SocketAddr;

    /// Sends one.
    fn send(&self, bytes: &[u8], to: SocketAddr);

    /// Receives one, and from whom.
    fn receive(&self) -> (Vec<u8>, SocketAddr);
}

/// Something that is done beside a case.
pub trait Work {
    /// Waits until it is done.
    ///
    /// # Panics
    /// If it has.
    fn join(self);
}
