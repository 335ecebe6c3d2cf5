//! Which way leads to a peer: straight there, through the proxy, or through a router of I2P; or none, for networks that this
//! machine is not in.

use core::net::SocketAddr;

use super::{Config, Endpoint, Reason};
use crate::addresses::{AddressNetwork, AddressNetworks, is_cjdns};

/// How a connection to a peer is begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// By dialling it.
    Straight(SocketAddr),
    /// By dialling the proxy, which is told the address or the name.
    Proxy(SocketAddr),
    /// By having the router of I2P make a session first, and dialling it again.
    I2p(SocketAddr),
    /// By looking its name up first.
    LookUp,
}

impl Way {
    /// The only one that may be taken.
    ///
    /// # Errors
    /// If there is none.
    pub(super) fn to(remote: &Endpoint, config: &Config) -> Result<Self, Reason> {
        match (remote, &config.proxy) {
            // Whoever is not in that network would ask a stranger's router for it, or the proxy's.
            (Endpoint::Address(addr), _) if is_cjdns(addr.ip()) && !config.cjdns => Err(Reason::OutsideCjdns),
            // Names of that network are nobody else's business.
            (Endpoint::Host { .. }, _) if remote.is_i2p() => {
                config.i2p.map(Self::I2p).ok_or(Reason::I2pWithoutRouter)
            }
            (_, Some(proxy)) => Ok(Self::Proxy(proxy.address)),
            (Endpoint::Address(addr), None) => Ok(Self::Straight(*addr)),
            (Endpoint::Host { .. }, None) if remote.is_onion() => Err(Reason::OnionWithoutProxy),
            (Endpoint::Host { .. }, None) => Ok(Self::LookUp),
        }
    }
}

/// The networks that some way leads to.
pub(super) fn reachable(config: &Config) -> AddressNetworks {
    let with = |networks: AddressNetworks, (is_reachable, network)| {
        if is_reachable { networks.with(network) } else { networks }
    };
    let more = [
        (config.proxy.is_some(), AddressNetwork::TorV3),
        (config.i2p.is_some(), AddressNetwork::I2p),
        (config.cjdns, AddressNetwork::Cjdns),
    ];
    more.into_iter().fold(AddressNetworks::CLEAR, with)
}
