//! Addresses of nodes as they gossip them: `addr`, and `addrv2` (BIP155).

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bitcoin::p2p::ServiceFlags;

use super::codec::{Malformed, Reader, write_compact_size};

/// Entries in an `addr` or `addrv2`, at most.
pub const MAX_ADDRESSES: usize = 1000;

/// Where a node is said to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeAddress {
    /// When it was last heard of, in seconds since 1970.
    pub time: u32,
    /// What it is said to serve.
    pub services: ServiceFlags,
    /// On which network, and where in it.
    pub host: Host,
    /// Zero where the network has none.
    pub port: u16,
}

/// A network address of one of the kinds of BIP155.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
pub enum Host {
    /// IPv4 or IPv6.
    Ip(IpAddr),
    /// The public key of an onion service, version 3.
    TorV3([u8; 32]),
    /// The hash of an I2P destination.
    I2p([u8; 32]),
    /// An address of the CJDNS overlay.
    Cjdns(Ipv6Addr),
}

const IPV4: u8 = 1;
const IPV6: u8 = 2;
const TORV3: u8 = 4;
const I2P: u8 = 5;
const CJDNS: u8 = 6;

/// The longest address that BIP155 allows, in bytes.
const MAX_HOST: usize = 512;

/// Reads the contents of an `addr`.
pub(super) fn read_v1(reader: &mut Reader<'_>) -> Result<Vec<NodeAddress>, Malformed> {
    let count = read_count(reader)?;
    (0..count)
        .map(|_| {
            let time = reader.u32()?;
            let services = ServiceFlags::from(reader.u64()?);
            let host = Host::Ip(Ipv6Addr::from(reader.array::<16>()?).to_canonical());
            Ok(NodeAddress { time, services, host, port: u16::from_be_bytes(reader.array()?) })
        })
        .collect()
}

/// Writes the contents of an `addr`: those that fit in one, which are those of IPv4 and IPv6.
pub(super) fn write_v1(addresses: &[NodeAddress], out: &mut Vec<u8>) {
    let fitting = || {
        addresses.iter().filter_map(|address| match address.host {
            Host::Ip(IpAddr::V4(ip)) => Some((address, ip.to_ipv6_mapped())),
            Host::Ip(IpAddr::V6(ip)) => Some((address, ip)),
            _ => None,
        })
    };
    write_compact_size(out, fitting().count() as u64);
    for (address, ip) in fitting() {
        out.extend_from_slice(&address.time.to_le_bytes());
        out.extend_from_slice(&address.services.to_u64().to_le_bytes());
        out.extend_from_slice(&ip.octets());
        out.extend_from_slice(&address.port.to_be_bytes());
    }
}

/// Reads the contents of an `addrv2`; addresses of networks that are not known here are passed over.
pub(super) fn read_v2(reader: &mut Reader<'_>) -> Result<Vec<NodeAddress>, Malformed> {
    let count = read_count(reader)?;
    let mut addresses = Vec::new();
    for _ in 0..count {
        let time = reader.u32()?;
        let services = ServiceFlags::from(read_services(reader)?);
        let network = reader.u8()?;
        let length = reader.compact_size()?;
        if length > MAX_HOST {
            return Err(Malformed);
        }
        let host = read_host(network, reader.take(length)?)?;
        let port = u16::from_be_bytes(reader.array()?);
        addresses.extend(host.map(|host| NodeAddress { time, services, host, port }));
    }
    Ok(addresses)
}

/// Writes the contents of an `addrv2`.
pub(super) fn write_v2(addresses: &[NodeAddress], out: &mut Vec<u8>) {
    write_compact_size(out, addresses.len() as u64);
    for address in addresses {
        out.extend_from_slice(&address.time.to_le_bytes());
        write_compact_size(out, address.services.to_u64());
        let mut host = |network, bytes: &[u8]| {
            out.push(network);
            write_compact_size(out, bytes.len() as u64);
            out.extend_from_slice(bytes);
        };
        match address.host {
            Host::Ip(IpAddr::V4(ip)) => host(IPV4, &ip.octets()),
            Host::Ip(IpAddr::V6(ip)) => host(IPV6, &ip.octets()),
            Host::TorV3(key) => host(TORV3, &key),
            Host::I2p(hash) => host(I2P, &hash),
            Host::Cjdns(ip) => host(CJDNS, &ip.octets()),
        }
        out.extend_from_slice(&address.port.to_be_bytes());
    }
}

fn read_count(reader: &mut Reader<'_>) -> Result<usize, Malformed> {
    let count = reader.compact_size()?;
    if count > MAX_ADDRESSES { Err(Malformed) } else { Ok(count) }
}

/// Services are a compact size in an `addrv2`, and a set of bits: no limit on the number holds for them.
fn read_services(reader: &mut Reader<'_>) -> Result<u64, Malformed> {
    Ok(match reader.u8()? {
        0xff => reader.u64()?,
        0xfe => reader.u32()?.into(),
        0xfd => u16::from_le_bytes(reader.array()?).into(),
        byte => byte.into(),
    })
}

fn read_host(network: u8, bytes: &[u8]) -> Result<Option<Host>, Malformed> {
    fn exact<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Malformed> {
        bytes.try_into().map_err(|_| Malformed)
    }
    Ok(Some(match network {
        IPV4 => Host::Ip(Ipv4Addr::from(exact::<4>(bytes)?).into()),
        IPV6 => Host::Ip(Ipv6Addr::from(exact::<16>(bytes)?).into()),
        TORV3 => Host::TorV3(exact(bytes)?),
        I2P => Host::I2p(exact(bytes)?),
        CJDNS => Host::Cjdns(Ipv6Addr::from(exact::<16>(bytes)?)),
        _ => return Ok(None),
    }))
}
