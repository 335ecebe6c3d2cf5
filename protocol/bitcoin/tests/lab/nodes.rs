//! Laboratories of nodes that are found: each in a group of its own, and known by what others tell of it.

use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;

use andon_bitcoin::client::{Config, Discovery, Endpoint, Event, PeerPurpose};
use andon_bitcoin::wire::{Host, NodeAddress};
use bitcoin::p2p::ServiceFlags;

use super::chain::script;
use super::{BEGIN, Chain, Lab, Peer, config};

pub(crate) fn chain(height: u32) -> Rc<Chain> {
    let mut chain = Chain::new();
    chain.grow_blocks(height, 1, |height| script(u64::from(height)));
    Rc::new(chain)
}

/// Where the laboratory's peer of this number is, in a /16 of its own.
pub(crate) fn at(peer: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::new(60 + (peer >> 8) as u8, peer as u8, 3, 4), 30_000 + peer))
}

pub(crate) fn full() -> ServiceFlags {
    ServiceFlags::NETWORK | ServiceFlags::WITNESS | ServiceFlags::COMPACT_FILTERS
}

pub(crate) fn told(at: SocketAddr, services: ServiceFlags) -> NodeAddress {
    NodeAddress { time: BEGIN as u32 - 3600, services, host: Host::Ip(at.ip()), port: at.port() }
}

pub(crate) fn finding(connections: usize) -> Config {
    let discovery = Discovery { connections, ..Discovery::default() };
    Config { discovery: Some(discovery), ..config(0) }
}

/// A laboratory of so many nodes, of which the first is given to the client and tells of all.
pub(crate) fn lab_of(nodes: u16, connections: usize) -> Lab {
    let chain = chain(20);
    let mut peers: Vec<Peer> = (0..nodes).map(|_| Peer::new(&chain)).collect();
    peers[0].tells = (1..nodes).map(|peer| told(at(peer), full())).collect();
    let mut config = finding(connections);
    config.peers = vec![Endpoint::Address(at(0))];
    Lab::new(config, peers)
}

/// Who is connected, and for what, as the application was told.
pub(crate) fn connected(lab: &Lab) -> Vec<(SocketAddr, PeerPurpose)> {
    let mut connected = Vec::new();
    for event in &lab.events {
        match event {
            Event::PeerConnected { endpoint: Endpoint::Address(addr), purpose, .. } => {
                assert!(!connected.contains(&(*addr, *purpose)), "connected twice: {addr}");
                connected.push((*addr, *purpose));
            }
            Event::PeerDisconnected {
                endpoint: Endpoint::Address(addr), purpose, connected: true, ..
            } => {
                let place = connected.iter().position(|one| *one == (*addr, *purpose));
                connected.remove(place.expect("it was connected"));
            }
            _ => {}
        }
    }
    connected
}

pub(crate) fn found(lab: &Lab) -> usize {
    connected(lab).iter().filter(|(_, purpose)| *purpose == PeerPurpose::Found).count()
}
