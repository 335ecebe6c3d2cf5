//! Sockets that accept connections.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use andon_kernel::Instant;
use mio::net::TcpListener;
use mio::{Interest, Registry, Token};

use crate::network::Network;

/// How many connections are accepted in one round, so that a flood of them starves nobody.
const ACCEPTS_PER_ROUND: usize = 64;

/// How long nothing is accepted after the system refused for want of files or memory: trying again at once would spin.
const REST: Duration = Duration::from_millis(250);

/// A bound socket and whether someone may wait at it.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    ready: bool,
    /// Accepts nothing before.
    resume: Instant,
}

impl Listener {
    /// Binds a socket.
    pub(crate) fn bind(registry: &Registry, token: Token, address: SocketAddr) -> io::Result<Self> {
        let mut socket = TcpListener::bind(address)?;
        registry.register(&mut socket, token, Interest::READABLE)?;
        let address = socket.local_addr()?;
        Ok(Self { socket, address, ready: true, resume: Instant::ZERO })
    }

    /// Where it is bound, with the port that the system chose if it did.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn set_ready(&mut self) {
        self.ready = true;
    }

    /// When [`accept`](Self::accept) has work; none: when the socket says so.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.ready.then_some(self.resume)
    }

    /// Accepts those who wait, a bounded number of them.
    pub(crate) fn accept(&mut self, now: Instant, network: &mut Network) {
        if !self.ready || now < self.resume {
            return;
        }
        for _ in 0..ACCEPTS_PER_ROUND {
            match self.socket.accept() {
                Ok((stream, remote)) => network.accept(stream, remote),
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
