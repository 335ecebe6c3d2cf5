//! Sockets that are bound, before anything runs on them.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};

use crate::Options;

/// The standard library's sockets that [`Options`] name, for drivers whose reactors take those over.
#[derive(Debug)]
pub struct Bound {
    /// In the order of [`Options::listen`].
    pub listeners: Vec<TcpListener>,
    /// If there is to be one.
    pub datagrams: Option<UdpSocket>,
    addresses: Vec<SocketAddr>,
    datagram_address: Option<SocketAddr>,
}

impl Bound {
    /// Binds them. Those who connect from here on wait to be accepted.
    ///
    /// # Errors
    /// If an address can't be bound, as when its port is in use.
    pub fn new(options: &Options) -> io::Result<Self> {
        let listeners: Vec<_> = options.listen.iter().map(TcpListener::bind).collect::<io::Result<_>>()?;
        let addresses = listeners.iter().map(TcpListener::local_addr).collect::<io::Result<_>>()?;
        let datagrams = options.datagram.map(UdpSocket::bind).transpose()?;
        let datagram_address = datagrams.as_ref().map(UdpSocket::local_addr).transpose()?;
        Ok(Self { listeners, datagrams, addresses, datagram_address })
    }

    /// Where connections are accepted, in the order of [`Options::listen`]; ports that the system chose are known.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where the socket for datagrams is bound, if there is one.
    pub fn datagram_address(&self) -> Option<SocketAddr> {
        self.datagram_address
    }
}
