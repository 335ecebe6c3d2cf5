//! The socket for datagrams.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use mio::net::UdpSocket;
use mio::{Interest, Registry, Token};

/// How many datagrams are given to the machine in one round.
pub(crate) const DATAGRAMS_PER_ROUND: usize = 64;

/// A bound socket and whether a datagram may wait at it.
#[derive(Debug)]
pub(crate) struct Datagrams {
    socket: UdpSocket,
    address: SocketAddr,
    ready: bool,
}

impl Datagrams {
    /// Binds a socket.
    pub(crate) fn bind(registry: &Registry, token: Token, address: SocketAddr) -> io::Result<Self> {
        let mut socket = UdpSocket::bind(address)?;
        registry.register(&mut socket, token, Interest::READABLE)?;
        let address = socket.local_addr()?;
        Ok(Self { socket, address, ready: true })
    }

    /// Where it is bound, with the port that the system chose if it did.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn set_ready(&mut self) {
        self.ready = true;
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.ready
    }

    /// Sends one. It may be lost: on the way, as here, where the system has no room for it.
    pub(crate) fn send(&self, to: SocketAddr, bytes: &[u8]) {
        let _ = self.socket.send_to(bytes, to);
    }

    /// Receives one into `buffer`, which holds the largest there is. None: there is none now.
    pub(crate) fn receive(&mut self, buffer: &mut [u8]) -> Option<(usize, SocketAddr)> {
        // Errors are of datagrams sent before (nobody was there to take them), and each is told once.
        for _ in 0..DATAGRAMS_PER_ROUND {
            match self.socket.recv_from(buffer) {
                Ok(received) => return Some(received),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.ready = false;
                    return None;
                }
                Err(_) => {}
            }
        }
        // A socket that gives nothing but errors is asked again when it reports something.
        self.ready = false;
        None
    }
}
