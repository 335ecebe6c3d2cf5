//! The sockets, registered with the system once and for both directions: it tells of each change, edge-triggered.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::task::Poll;

use andon_driver::{Options, Reactor, Source, Stream};
use mio::event::{Event, Source as EventSource};
use mio::net::{TcpListener, TcpStream, UdpSocket};
use mio::{Interest, Registry};

use crate::tokens::{FIRST_SOCKET, token};

/// The number of the socket for datagrams.
const DATAGRAMS: usize = FIRST_SOCKET;
/// The number of the first listener; those of connections come after the last.
const FIRST_LISTENER: usize = FIRST_SOCKET + 1;

/// Everything that is bound or open.
#[derive(Debug)]
pub(crate) struct Sockets {
    registry: Arc<Registry>,
    /// Whose they are, of those that share the wait.
    member: usize,
    listeners: Vec<TcpListener>,
    datagrams: Option<UdpSocket>,
    /// The number of the connection with slot 0.
    first_connection: usize,
}

impl Sockets {
    /// Binds what the options name.
    pub(crate) fn bind(registry: Arc<Registry>, member: usize, options: &Options) -> io::Result<Self> {
        let first_connection = FIRST_LISTENER + options.listen.len();
        let mut sockets = Self { registry, member, listeners: Vec::new(), datagrams: None, first_connection };
        for (index, address) in options.listen.iter().enumerate() {
            let mut listener = TcpListener::bind(*address)?;
            sockets.register(FIRST_LISTENER + index, &mut listener, Interest::READABLE)?;
            sockets.listeners.push(listener);
        }
        if let Some(address) = options.datagram {
            let mut socket = UdpSocket::bind(address)?;
            sockets.register(DATAGRAMS, &mut socket, Interest::READABLE)?;
            sockets.datagrams = Some(socket);
        }
        Ok(sockets)
    }

    /// Where the listeners are bound, with the ports that the system chose if it did.
    pub(crate) fn listening(&self) -> io::Result<Vec<SocketAddr>> {
        self.listeners.iter().map(TcpListener::local_addr).collect()
    }

    /// Where the socket for datagrams is bound.
    pub(crate) fn datagrams(&self) -> io::Result<Option<SocketAddr>> {
        self.datagrams.as_ref().map(UdpSocket::local_addr).transpose()
    }

    /// What an event is of, which is not the waker's, by the number of the socket.
    pub(crate) fn source(&self, socket: usize, event: &Event) -> Source {
        if socket == DATAGRAMS {
            return Source::Datagrams;
        }
        match socket.checked_sub(self.first_connection) {
            None => Source::Listener(socket - FIRST_LISTENER),
            // Errors count as both, for reading and writing say which.
            Some(slot) => Source::Connection {
                slot,
                readable: event.is_readable() || event.is_read_closed() || event.is_error(),
                writable: event.is_writable() || event.is_write_closed() || event.is_error(),
                ended: event.is_read_closed() || event.is_error(),
            },
        }
    }

    fn register(&self, socket: usize, source: &mut impl EventSource, interest: Interest) -> io::Result<()> {
        let token = token(self.member, socket).ok_or(ErrorKind::OutOfMemory)?;
        self.registry.register(source, token, interest)
    }

    fn connection(&self, slot: usize, mut stream: TcpStream) -> io::Result<Connection> {
        let both = Interest::READABLE | Interest::WRITABLE;
        self.register(self.first_connection + slot, &mut stream, both)?;
        Ok(Connection(stream))
    }
}

impl Reactor for Sockets {
    type Accepted = TcpStream;
    type Stream = Connection;

    fn dial(&mut self, slot: usize, addr: SocketAddr) -> io::Result<Connection> {
        self.connection(slot, TcpStream::connect(addr)?)
    }

    fn accept(&mut self, listener: usize) -> io::Result<(TcpStream, SocketAddr)> {
        self.listeners.get(listener).ok_or(ErrorKind::WouldBlock)?.accept()
    }

    fn open(&mut self, slot: usize, accepted: TcpStream) -> io::Result<Connection> {
        self.connection(slot, accepted)
    }

    fn close(&mut self, mut stream: Connection) {
        // Dropping the socket ends the registration as well; some systems like to be told.
        let _ = self.registry.deregister(&mut stream.0);
    }

    fn close_listeners(&mut self) {
        self.listeners.clear();
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.datagrams.as_ref().ok_or(ErrorKind::WouldBlock)?.recv_from(buffer)
    }

    fn send(&mut self, to: SocketAddr, bytes: &[u8]) {
        if let Some(socket) = &self.datagrams {
            let _ = socket.send_to(bytes, to);
        }
    }
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection(TcpStream);

impl Stream for Connection {
    fn poll_dial(&mut self) -> Poll<io::Result<()>> {
        match self.0.take_error() {
            Ok(Some(error)) | Err(error) => return Poll::Ready(Err(error)),
            Ok(None) => {}
        }
        match self.0.peer_addr() {
            Ok(_) => Poll::Ready(Ok(())),
            Err(error) if error.kind() == ErrorKind::NotConnected => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.peer_addr()
    }

    fn set_nodelay(&self) -> io::Result<()> {
        self.0.set_nodelay(true)
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }

    /// As the manuals of epoll and kqueue have it. Elsewhere mio tells again only of what has said that it would block.
    fn is_emptied(&mut self) -> bool {
        cfg!(any(
            target_os = "android",
            target_os = "dragonfly",
            target_os = "freebsd",
            target_os = "ios",
            target_os = "linux",
            target_os = "macos",
            target_os = "netbsd",
            target_os = "openbsd",
            target_os = "tvos",
            target_os = "visionos",
            target_os = "watchos",
        ))
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn shut(&mut self) -> io::Result<()> {
        self.0.shutdown(Shutdown::Write)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use mio::Poll;

    use super::*;

    #[test]
    fn small_writes_are_sent_at_once() {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let registry = Arc::new(Poll::new().unwrap().registry().try_clone().unwrap());
        let mut sockets = Sockets::bind(registry, 0, &Options::default()).unwrap();
        let mut connection = sockets.dial(0, listener.local_addr().unwrap()).unwrap();
        let _peer = listener.accept().unwrap();
        while connection.poll_dial().is_pending() {
            std::thread::yield_now();
        }
        connection.set_nodelay().unwrap();
        assert!(connection.0.nodelay().unwrap());
    }
}
