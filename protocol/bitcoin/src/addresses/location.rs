//! Where a node listens, and who told of it.

use core::fmt;
use core::net::{IpAddr, SocketAddr};

use bitcoin::hashes::{Hash, sha256};

use super::names::{i2p_hash, i2p_name, onion_key, onion_name};
use super::network::is_cjdns;
use crate::client::Endpoint;
use crate::wire::{Host, NodeAddress};

/// Where a node listens: what tells two nodes of the book apart. One host may have several, by port.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    /// On which network, and where in it.
    pub host: Host,
    /// Zero where the network has none.
    pub port: u16,
}

impl Location {
    /// The socket address, in the networks that a plain socket reaches.
    pub const fn socket_addr(&self) -> Option<SocketAddr> {
        match self.host {
            Host::Ip(ip) => Some(SocketAddr::new(ip, self.port)),
            _ => None,
        }
    }
}

impl Location {
    /// Where an endpoint is, if that can be said without looking a name up.
    pub(crate) fn of(endpoint: &Endpoint) -> Option<Self> {
        let (name, port) = match endpoint {
            Endpoint::Address(addr) => return Some(Self::from(*addr)),
            Endpoint::Host { name, port } => (name.to_ascii_lowercase(), *port),
        };
        let host = if let Some(label) = name.strip_suffix(".onion") {
            // Whatever is before it leads to the same service.
            Host::TorV3(onion_key(label.rsplit('.').next().unwrap_or(label))?)
        } else {
            Host::I2p(i2p_hash(name.strip_suffix(".b32.i2p")?)?)
        };
        Some(Self { host, port })
    }

    /// Where a connection to it goes. `None`: nothing here leads there.
    pub(crate) fn endpoint(&self) -> Option<Endpoint> {
        let address = |ip: IpAddr| Endpoint::Address(SocketAddr::new(ip, self.port));
        Some(match &self.host {
            Host::Ip(ip) => address(*ip),
            Host::Cjdns(ip) => address(IpAddr::V6(*ip)),
            Host::TorV3(key) => Endpoint::Host { name: onion_name(key), port: self.port },
            Host::I2p(hash) if self.port == 0 => Endpoint::Host { name: i2p_name(hash), port: 0 },
            Host::I2p(_) => return None,
        })
    }
}

impl From<SocketAddr> for Location {
    /// An IPv4 address that is written as one of IPv6 becomes what it is; so does one of CJDNS (`fc00::/8`).
    fn from(address: SocketAddr) -> Self {
        let host = match address.ip().to_canonical() {
            IpAddr::V6(ip) if is_cjdns(IpAddr::V6(ip)) => Host::Cjdns(ip),
            ip => Host::Ip(ip),
        };
        Self { host, port: address.port() }
    }
}

impl From<&NodeAddress> for Location {
    fn from(address: &NodeAddress) -> Self {
        Self { host: address.host, port: address.port }
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(IpAddr::V4(ip)) => write!(f, "{ip}:{}", self.port),
            Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]:{}", self.port),
            Host::Cjdns(ip) => write!(f, "cjdns [{ip}]:{}", self.port),
            Host::TorV3(key) => write!(f, "{}:{}", onion_name(key), self.port),
            Host::I2p(hash) => write!(f, "{}:{}", i2p_name(hash), self.port),
        }
    }
}

/// Who told of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A node.
    Node(Host),
    /// Something that has a name: a DNS seed, the fixed seeds. Each is a group of its own.
    Named([u8; 10]),
}

impl Source {
    /// The source of that name.
    pub fn named(name: &str) -> Self {
        let hash = sha256::Hash::hash(name.as_bytes());
        Self::Named(*hash.as_byte_array().first_chunk().expect("a hash has 32 bytes"))
    }
}
