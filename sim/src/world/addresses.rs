//! Who has which address.
//!
//! A node's own address stands in its site, so that the table of them is a number for each: a world of many nodes is mostly nodes that are
//! addresses and nothing else.

use core::net::{IpAddr, SocketAddr};
use std::collections::BTreeMap;

use super::node::NodeId;
use super::site::Site;
use crate::random::mix;

/// Addresses by node.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    /// Nodes by a hash of their own address, each as near behind its place as there was room. A power of two of them, or none.
    own: Vec<u32>,
    /// Places that are not free, with those whose node has lost its address.
    used: usize,
    /// All others.
    others: BTreeMap<SocketAddr, NodeId>,
}

const FREE: u32 = u32::MAX;
const LOST: u32 = u32::MAX - 1;

impl Addresses {
    pub(super) fn get(&self, address: &SocketAddr, sites: &[Site]) -> Option<NodeId> {
        match self.place(address, sites) {
            Some(place) => Some(NodeId(self.own[place])),
            None if self.others.is_empty() => None,
            None => self.others.get(address).copied(),
        }
    }

    /// Puts a node's own address in, which nobody has.
    pub(super) fn add_own(&mut self, node: NodeId, sites: &[Site]) {
        // Three quarters full at most.
        if (self.used + 1) * 4 > self.own.len() * 3 {
            let nodes: Vec<u32> = self.own.iter().copied().filter(|&node| node < LOST).collect();
            self.own = vec![FREE; ((nodes.len() + 1) * 2).next_power_of_two()];
            self.used = nodes.len();
            for node in nodes {
                self.put(node, sites);
            }
        }
        self.put(node.0, sites);
        self.used += 1;
    }

    /// Puts in another address of a node, which nobody has.
    pub(super) fn add_other(&mut self, node: NodeId, address: SocketAddr) {
        self.others.insert(address, node);
    }

    /// Takes an address out. Gives whose it was.
    pub(super) fn remove(&mut self, address: &SocketAddr, sites: &[Site]) -> Option<NodeId> {
        match self.place(address, sites) {
            Some(place) => Some(NodeId(core::mem::replace(&mut self.own[place], LOST))),
            None => self.others.remove(address),
        }
    }

    fn put(&mut self, node: u32, sites: &[Site]) {
        let mut place = self.first(&sites[node as usize].address);
        while self.own[place] != FREE {
            place = (place + 1) % self.own.len();
        }
        self.own[place] = node;
    }

    fn place(&self, address: &SocketAddr, sites: &[Site]) -> Option<usize> {
        if self.own.is_empty() {
            return None;
        }
        let mut place = self.first(address);
        loop {
            match self.own[place] {
                FREE => return None,
                LOST => {}
                node if sites[node as usize].address == *address => return Some(place),
                _ => {}
            }
            place = (place + 1) % self.own.len();
        }
    }

    /// Where a search begins.
    fn first(&self, address: &SocketAddr) -> usize {
        let ip = match address.ip() {
            IpAddr::V4(ip) => u64::from(ip.to_bits()),
            IpAddr::V6(ip) => mix(ip.to_bits() as u64) ^ (ip.to_bits() >> 64) as u64,
        };
        mix(ip << 16 ^ u64::from(address.port())) as usize % self.own.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;
    use crate::world::Place;

    #[test]
    fn finds_what_an_ordered_map_finds() {
        let mut stream = Stream::new(1);
        let (mut addresses, mut sites) = (Addresses::default(), Vec::new());
        let mut expected = BTreeMap::new();
        let mut any = || {
            let [a, b, ..] = stream.u64().to_le_bytes();
            let v6 = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, b % 16];
            let ip = if a % 4 == 0 { IpAddr::from(v6) } else { IpAddr::from([10, 0, 0, b]) };
            (SocketAddr::new(ip, u16::from(a) % 7), stream.below(4))
        };
        for _ in 0..20_000 {
            let (address, what) = any();
            assert_eq!(addresses.get(&address, &sites), expected.get(&address).copied());
            match (what, expected.get(&address)) {
                (0, None) => {
                    let node = NodeId(sites.len() as u32);
                    sites.push(Site::new(Place::at(address)));
                    addresses.add_own(node, &sites);
                    expected.insert(address, node);
                }
                (1, None) if !sites.is_empty() => {
                    let node = NodeId(sites.len() as u32 / 2);
                    addresses.add_other(node, address);
                    expected.insert(address, node);
                }
                (2, _) => {
                    assert_eq!(addresses.remove(&address, &sites), expected.remove(&address));
                }
                _ => {}
            }
        }
        assert!(expected.len() > 500 && addresses.others.len() > 100);
    }
}
