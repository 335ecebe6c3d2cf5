//! The sockets, registered with the system once and for both directions: it tells of each change, edge-triggered.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr};
use std::task::Poll;

use andon_driver::{Options, Reactor, Source, Stream};
use mio::event::Event;
use mio::net::{TcpListener, TcpStream, UdpSocket};
use mio::{Interest, Registry, Token};

/// The token of the waker.
pub(crate) const WAKER: Token = Token(0);
/// The token of the socket for datagrams.
const DATAGRAMS: Token = Token(1);
/// The token of the first listener; those of connections come after the last.
const FIRST_LISTENER: usize = 2;

/// Everything that is bound or open.
#[derive(Debug)]
pub(crate) struct Sockets {
    registry: Registry,
    listeners: Vec<TcpListener>,
    datagrams: Option<UdpSocket>,
    /// The token of the connection with slot 0.
    first_connection: usize,
}

impl Sockets {
    /// Binds what the options name.
    pub(crate) fn bind(registry: Registry, options: &Options) -> io::Result<Self> {
        let mut listeners = Vec::new();
        for (index, address) in options.listen.iter().enumerate() {
            let mut listener = TcpListener::bind(*address)?;
            registry.register(&mut listener, Token(FIRST_LISTENER + index), Interest::READABLE)?;
            listeners.push(listener);
        }
        let mut datagrams = options.datagram.map(UdpSocket::bind).transpose()?;
        if let Some(socket) = &mut datagrams {
            registry.register(socket, DATAGRAMS, Interest::READABLE)?;
        }
        let first_connection = FIRST_LISTENER + listeners.len();
        Ok(Self { registry, listeners, datagrams, first_connection })
    }

    /// Where the listeners are bound, with the ports that the system chose if it did.
    pub(crate) fn listening(&self) -> io::Result<Vec<SocketAddr>> {
        self.listeners.iter().map(TcpListener::local_addr).collect()
    }

    /// Where the socket for datagrams is bound.
    pub(crate) fn datagrams(&self) -> io::Result<Option<SocketAddr>> {
        self.datagrams.as_ref().map(UdpSocket::local_addr).transpose()
    }

    /// What an event that is not the waker's is of.
    pub(crate) fn source(&self, event: &Event) -> Source {
        let Token(token) = event.token();
        if event.token() == DATAGRAMS {
            return Source::Datagrams;
        }
        match token.checked_sub(self.first_connection) {
            None => Source::Listener(token - FIRST_LISTENER),
            // Errors count as both, for reading and writing say which.
            Some(slot) => Source::Connection {
                slot,
                readable: event.is_readable() || event.is_read_closed() || event.is_error(),
                writable: event.is_writable() || event.is_write_closed() || event.is_error(),
            },
        }
    }

    fn register(&self, slot: usize, mut stream: TcpStream) -> io::Result<Connection> {
        let token = Token(self.first_connection + slot);
        self.registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Connection(stream))
    }
}

impl Reactor for Sockets {
    type Accepted = TcpStream;
    type Stream = Connection;

    fn dial(&mut self, slot: usize, addr: SocketAddr) -> io::Result<Connection> {
        self.register(slot, TcpStream::connect(addr)?)
    }

    fn accept(&mut self, listener: usize) -> io::Result<(TcpStream, SocketAddr)> {
        self.listeners.get(listener).ok_or(ErrorKind::WouldBlock)?.accept()
    }

    fn open(&mut self, slot: usize, accepted: TcpStream) -> io::Result<Connection> {
        self.register(slot, accepted)
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
        let registry = Poll::new().unwrap().registry().try_clone().unwrap();
        let mut sockets = Sockets::bind(registry, &Options::default()).unwrap();
        let mut connection = sockets.dial(0, listener.local_addr().unwrap()).unwrap();
        let _peer = listener.accept().unwrap();
        while connection.poll_dial().is_pending() {
            std::thread::yield_now();
        }
        connection.set_nodelay().unwrap();
        assert!(connection.0.nodelay().unwrap());
    }
}
