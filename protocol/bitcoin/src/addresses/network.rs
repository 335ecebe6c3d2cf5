//! Which network a host is of, and whether it can be reached from anywhere in it.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::wire::Host;

/// A network of addresses (BIP155).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AddressNetwork {
    /// IPv4.
    Ipv4,
    /// IPv6, and what is tunnelled through it.
    Ipv6,
    /// Tor's onion services, version 3.
    TorV3,
    /// I2P.
    I2p,
    /// CJDNS.
    Cjdns,
}

impl AddressNetwork {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Ipv4, Self::Ipv6, Self::TorV3, Self::I2p, Self::Cjdns];

    /// The network that a host can be reached in. `None`: it can't be reached from elsewhere, see [`is_routable`].
    pub fn of(host: &Host) -> Option<Self> {
        is_routable(host).then(|| Self::claimed(host))
    }

    /// The network that a host is said to be in.
    pub(super) const fn claimed(host: &Host) -> Self {
        match host {
            Host::Ip(IpAddr::V4(_)) => Self::Ipv4,
            Host::Ip(IpAddr::V6(_)) => Self::Ipv6,
            Host::TorV3(_) => Self::TorV3,
            Host::I2p(_) => Self::I2p,
            Host::Cjdns(_) => Self::Cjdns,
        }
    }

    /// Whether anybody can make as many addresses as they like there, so that groups of them mean nothing.
    pub const fn is_private(self) -> bool {
        matches!(self, Self::TorV3 | Self::I2p | Self::Cjdns)
    }
}

/// A set of networks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "record", serde(try_from = "u8"))]
pub struct AddressNetworks(u8);

#[cfg(feature = "record")]
impl TryFrom<u8> for AddressNetworks {
    type Error = &'static str;

    fn try_from(networks: u8) -> Result<Self, &'static str> {
        let known = Self::ALL.0;
        if networks & !known == 0 { Ok(Self(networks)) } else { Err("there is no such network") }
    }
}

impl AddressNetworks {
    /// Every network.
    pub const ALL: Self = Self(0b1_1111);

    /// What a plain socket reaches: IPv4 and IPv6.
    pub const CLEAR: Self = Self(0b11);

    /// None.
    pub const NONE: Self = Self(0);

    /// With `network` as well.
    #[must_use]
    pub const fn with(self, network: AddressNetwork) -> Self {
        Self(self.0 | 1 << network as u8)
    }

    /// Those that are in `others` as well.
    #[must_use]
    pub const fn and(self, others: Self) -> Self {
        Self(self.0 & others.0)
    }

    /// Whether `network` is one of them.
    pub const fn contains(self, network: AddressNetwork) -> bool {
        self.0 >> network as u8 & 1 == 1
    }

    /// Those in it, in order.
    pub fn iter(self) -> impl Iterator<Item = AddressNetwork> {
        AddressNetwork::ALL.into_iter().filter(move |network| self.contains(*network))
    }
}

impl FromIterator<AddressNetwork> for AddressNetworks {
    fn from_iter<I: IntoIterator<Item = AddressNetwork>>(networks: I) -> Self {
        networks.into_iter().fold(Self::NONE, Self::with)
    }
}

/// Whether a host can be reached from anywhere in its network: not an address of a private network, of one link or of
/// this machine, none that documents use, and none of another network in disguise.
///
/// The ranges are those that Bitcoin Core leaves out (RFC 1918, 2544, 3849, 3927, 4193, 4843, 4862, 5737, 6598, 7343).
pub fn is_routable(host: &Host) -> bool {
    match host {
        Host::Ip(IpAddr::V4(ip)) => is_routable_v4(*ip),
        Host::Ip(IpAddr::V6(ip)) => is_routable_v6(*ip),
        // All that is known of a CJDNS address is that it begins so.
        Host::Cjdns(ip) => is_cjdns(IpAddr::V6(*ip)),
        Host::TorV3(_) | Host::I2p(_) => true,
    }
}

/// Whether an IP address is one of CJDNS, or of nothing else that is in use: `fc00::/8`. Private networks have the other
/// half of `fc00::/7` (RFC 4193).
pub const fn is_cjdns(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.octets()[0] == 0xfc)
}

fn is_routable_v4(ip: Ipv4Addr) -> bool {
    let unroutable = match ip.octets() {
        // This network, this machine.
        [0 | 127, ..] => true,
        // Private networks, benchmarks, one link, carriers' own, documents.
        [10, ..] | [192, 168, ..] | [172, 16..=31, ..] => true,
        [198, 18 | 19, ..] => true,
        [169, 254, ..] => true,
        [100, 64..=127, ..] => true,
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => true,
        [255, 255, 255, 255] => true,
        _ => false,
    };
    !unroutable
}

fn is_routable_v6(ip: Ipv6Addr) -> bool {
    if ip.is_unspecified() || ip.is_loopback() || ip.to_ipv4_mapped().is_some() {
        return false;
    }
    let unroutable = match ip.segments() {
        // Documents.
        [0x2001, 0x0db8, ..] => true,
        // One link.
        [0xfe80, 0, 0, 0, ..] => true,
        // One site: with it onion services of version 2, and names, as Bitcoin wrote them into IPv6.
        [0xfc00..=0xfdff, ..] => true,
        // Hashes of keys (ORCHID), both versions.
        [0x2001, 0x0010..=0x002f, ..] => true,
        _ => false,
    };
    !unroutable
}

/// The IPv4 address that an IPv6 address stands for: by translation (RFC 6052, RFC 6145), 6to4 (RFC 3964) or Teredo
/// (RFC 4380). Whoever has one of these has as many of the others as it likes.
pub(super) fn linked_ipv4(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let octets = ip.octets();
    let last = [octets[12], octets[13], octets[14], octets[15]];
    match ip.segments() {
        [0x0064, 0xff9b, 0, 0, 0, 0, ..] | [0, 0, 0, 0, 0xffff, 0, ..] => Some(last.into()),
        [0x2002, ..] => Some([octets[2], octets[3], octets[4], octets[5]].into()),
        [0x2001, 0x0000, ..] => Some(last.map(|byte| !byte).into()),
        _ => None,
    }
}
