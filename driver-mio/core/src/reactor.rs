//! What a driver's own part is: sockets, and the news of which of them are ready.

use std::io;
use std::net::SocketAddr;
use std::task::Poll;

/// The sockets of one driver: those that were bound for it, and those that it opens.
///
/// Everything here returns at once. What would have to wait says [`WouldBlock`](io::ErrorKind::WouldBlock), and from then
/// on the reactor owes one [`notice`](crate::Rounds::notice) of that source when it is worth trying again; not before,
/// and none for what was never refused. (Extra ones do no harm.)
pub trait Reactor {
    /// A connection that was accepted and has no slot yet.
    type Accepted;
    /// A connection.
    type Stream: Stream;

    /// Begins to open a connection, as `slot`, without waiting for an answer.
    ///
    /// # Errors
    /// If it failed already. What fails later is told by [`Stream::poll_dial`].
    fn dial(&mut self, slot: usize, addr: SocketAddr) -> io::Result<Self::Stream>;

    /// Accepts one of those who wait at a listener, which are counted from 0 in the order of
    /// [`Options::listen`](crate::Options::listen).
    ///
    /// # Errors
    /// If nobody waits, or the system refuses.
    fn accept(&mut self, listener: usize) -> io::Result<(Self::Accepted, SocketAddr)>;

    /// Begins to serve what was accepted, as `slot`.
    ///
    /// # Errors
    /// If the system has no room for it.
    fn open(&mut self, slot: usize, accepted: Self::Accepted) -> io::Result<Self::Stream>;

    /// Closes a connection at once. Its slot may be given to another, for which a late notice does no harm.
    fn close(&mut self, stream: Self::Stream);

    /// Closes all listeners.
    fn close_listeners(&mut self);

    /// Receives one datagram into `buffer`, which holds the largest there is.
    ///
    /// # Errors
    /// If there is none; also of datagrams sent before, which nobody took.
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)>;

    /// Sends one datagram. It may be lost: on the way, as here, where the system has no room for it, or without a socket.
    fn send(&mut self, to: SocketAddr, bytes: &[u8]);
}

/// A connection's socket.
pub trait Stream {
    /// What became of a dial: until it is ready it is asked after each notice. Then the other methods may be used.
    fn poll_dial(&mut self) -> Poll<io::Result<()>>;

    /// This side's address.
    ///
    /// # Errors
    /// As the system's.
    fn local_addr(&self) -> io::Result<SocketAddr>;

    /// The other side's address.
    ///
    /// # Errors
    /// As the system's.
    fn peer_addr(&self) -> io::Result<SocketAddr>;

    /// Has small writes sent at once (`TCP_NODELAY`).
    ///
    /// # Errors
    /// As the system's.
    fn set_nodelay(&self) -> io::Result<()>;

    /// Reads once. 0: the other side has closed its half.
    ///
    /// # Errors
    /// If there is nothing to read now, or the connection has ended.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Asked after a read that left room in its buffer: whether the next one would surely say that there is nothing. Then
    /// that one is not tried, and the reactor owes a notice as if it had been. A peer that marks bytes as urgent, which nothing here
    /// does, may stop a read before the end of what there is: what it sends behind them waits for its next bytes.
    fn is_emptied(&mut self) -> bool {
        false
    }

    /// Writes as much as the socket takes.
    ///
    /// # Errors
    /// If it takes nothing now, or the connection has ended.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Closes our half, after what was written.
    ///
    /// # Errors
    /// As the system's.
    fn shut(&mut self) -> io::Result<()>;
}

/// Which socket a notice is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Somebody may wait at this listener.
    Listener(usize),
    /// There may be a datagram.
    Datagrams,
    /// A connection, by its slot.
    Connection {
        /// As it was given to [`Reactor::dial`] or [`Reactor::open`].
        slot: usize,
        /// There may be something to read, if only the end.
        readable: bool,
        /// The socket may take bytes.
        writable: bool,
        /// The end is there to be read, behind what came before it: of a reactor that tells it with that, once for both.
        ended: bool,
    },
}
