//! Groups of addresses: those that one owner can have many of count as one.

use core::fmt;
use core::net::IpAddr;

use super::as_map::AsMap;
use super::location::Source;
use super::network::{is_routable, linked_ipv4};
use crate::wire::Host;

/// A group of addresses: an IPv4 /16, an IPv6 /32 (of Hurricane Electric, whose /48 anybody gets, a /36), an autonomous
/// system if there is a map of them, a sixteenth of Tor, I2P or CJDNS, all that can't be reached, or one named source.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group {
    length: u8,
    /// The network's number in Bitcoin Core's counting, then as many bytes as it has in common.
    bytes: [u8; 11],
}

// As Bitcoin Core counts networks: the numbers are part of what places are computed from.
const UNROUTABLE: u8 = 0;
const IPV4: u8 = 1;
const IPV6: u8 = 2;
const TORV3: u8 = 3;
const I2P: u8 = 4;
const CJDNS: u8 = 5;
const NAMED: u8 = 6;

impl Group {
    fn new(network: u8, head: &[u8]) -> Self {
        let mut bytes = [0; 11];
        bytes[0] = network;
        bytes[1..=head.len()].copy_from_slice(head);
        Self { length: 1 + head.len() as u8, bytes }
    }

    /// What it is told apart by.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.as_bytes() {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// How addresses are grouped: by what they begin with, or by a map of autonomous systems.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
pub struct Grouping {
    map: Option<AsMap>,
}

impl Grouping {
    /// By what addresses begin with.
    pub const fn by_prefix() -> Self {
        Self { map: None }
    }

    /// By the autonomous system, for those that the map knows.
    pub const fn by_map(map: AsMap) -> Self {
        Self { map: Some(map) }
    }

    /// What tells groupings apart: zero, or the hash of the map.
    pub fn version(&self) -> [u8; 32] {
        self.map.as_ref().map_or([0; 32], AsMap::version)
    }

    /// The number of the autonomous system that a host is in. `None`: there is no map, or it does not know.
    pub fn autonomous_system(&self, host: &Host) -> Option<u32> {
        let (map, Host::Ip(ip)) = (self.map.as_ref()?, host) else { return None };
        if !is_routable(host) {
            return None;
        }
        map.lookup(match ip {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => linked_ipv4(*ip).map_or(*ip, |ip| ip.to_ipv6_mapped()),
        })
    }

    /// The group of a host.
    pub fn of(&self, host: &Host) -> Group {
        // One system has one group, in IPv4 and IPv6 together.
        if let Some(number) = self.autonomous_system(host) {
            return Group::new(IPV6, &number.to_le_bytes());
        }
        if !is_routable(host) {
            return Group::new(UNROUTABLE, &[]);
        }
        // Of a byte of which only the first four bits count, the others are ones.
        let half = |byte: u8| byte | 0x0f;
        match host {
            Host::Ip(IpAddr::V4(ip)) => Group::new(IPV4, &ip.octets()[..2]),
            Host::Ip(IpAddr::V6(ip)) => {
                let octets = ip.octets();
                match (linked_ipv4(*ip), octets) {
                    (Some(ip), _) => Group::new(IPV4, &ip.octets()[..2]),
                    (None, [0x20, 0x01, 0x04, 0x70, next, ..]) => {
                        Group::new(IPV6, &[0x20, 0x01, 0x04, 0x70, half(next)])
                    }
                    _ => Group::new(IPV6, &octets[..4]),
                }
            }
            Host::TorV3(key) => Group::new(TORV3, &[half(key[0])]),
            Host::I2p(hash) => Group::new(I2P, &[half(hash[0])]),
            // The first byte is the same for all.
            Host::Cjdns(ip) => Group::new(CJDNS, &[ip.octets()[0], half(ip.octets()[1])]),
        }
    }

    /// The group of a source.
    pub fn of_source(&self, source: &Source) -> Group {
        match source {
            Source::Node(host) => self.of(host),
            Source::Named(name) => Group::new(NAMED, name),
        }
    }
}
