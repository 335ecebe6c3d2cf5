//! Where an address has its places, and what counts as one owner.

use andon_bitcoin::addresses::{AsMap, Group, Grouping, Location, Placement, Source as BookSource};
use andon_bitcoin::wire::Host;
use std::net::Ipv4Addr;

use super::rules::{BUCKET_SIZE, Rules};
use crate::policy::{Address, Source};
use crate::random::{Stream, mix};

/// What tells groups apart: by prefix the first two bytes, by a map the number of the autonomous system and a bit.
pub(super) type GroupNumber = u32;

const SYSTEM: GroupNumber = 1 << 31;
const SEED: GroupNumber = 1 << 30;
const FIXED: GroupNumber = SEED | 1 << 16;

/// The group of an address.
pub(super) fn group_of(address: Address, map: Option<&AsMap>) -> GroupNumber {
    let ip = Ipv4Addr::from_bits(address.ip);
    match map.and_then(|map| map.lookup(ip.to_ipv6_mapped())) {
        Some(system) => SYSTEM | system,
        None => address.slash16().into(),
    }
}

/// The group of a source.
pub(super) fn group_of_source(source: Source, map: Option<&AsMap>) -> GroupNumber {
    match source {
        Source::Peer(address) => group_of(address, map),
        Source::DnsSeed(number) => SEED | GroupNumber::from(number),
        Source::Fixed => FIXED,
    }
}

/// Decides on places by a key.
#[derive(Debug)]
pub(super) enum Placer {
    /// By a quick function that nobody attacks here: distributed as Bitcoin Core's.
    Mixed { keys: [u64; 4] },
    /// As Bitcoin Core does, bit for bit, with its present tables and groups by prefix.
    Exact(Placement),
}

impl Placer {
    pub(super) fn mixed(stream: &mut Stream) -> Self {
        Self::Mixed { keys: core::array::from_fn(|_| stream.u64()) }
    }

    /// A number by which an address is found.
    pub(super) const fn fingerprint(&self, address: Address, is_by_host: bool) -> u64 {
        let key = match self {
            Self::Mixed { keys } => keys[0],
            Self::Exact(_) => 0,
        };
        let port = if is_by_host { 0 } else { address.port };
        mix(key ^ (address.ip as u64) << 16 ^ port as u64)
    }

    /// The bucket of an address among the tried.
    pub(super) fn tried_bucket(&self, address: Address, group: GroupNumber, rules: &Rules) -> u32 {
        match self {
            Self::Mixed { keys } => {
                let number = u64::from(address.ip) << 16 | u64::from(address.port);
                let share = below(mix(keys[1] ^ number), rules.tried_buckets_per_group);
                below(mix(keys[2] ^ u64::from(group) << 16 ^ u64::from(share)), rules.tried_buckets)
            }
            Self::Exact(placement) => {
                u32::from(placement.tried(&location(address), &book_group(group)).bucket())
            }
        }
    }

    /// The bucket of an address among the new, by who told of it.
    pub(super) fn new_bucket(
        &self,
        address: Address,
        group: GroupNumber,
        source: GroupNumber,
        rules: &Rules,
    ) -> u32 {
        match self {
            Self::Mixed { keys } => {
                let pair = u64::from(group) << 32 | u64::from(source);
                let share = below(mix(keys[3] ^ pair), rules.new_buckets_per_source_group);
                // Apart from what is asked for the tried.
                below(mix(!keys[2] ^ u64::from(source) << 16 ^ u64::from(share)), rules.new_buckets)
            }
            Self::Exact(placement) => {
                let place = placement.new_from(&location(address), &book_group(group), &book_group(source));
                u32::from(place.bucket())
            }
        }
    }

    /// The cell of an address in its bucket among the tried.
    pub(super) fn tried_cell(&self, address: Address, group: GroupNumber, rules: &Rules) -> u32 {
        match self {
            Self::Mixed { .. } => self.cell(address, self.tried_bucket(address, group, rules), 1 << 62),
            Self::Exact(placement) => {
                let cell = placement.tried(&location(address), &book_group(group));
                u32::from(cell.bucket()) * BUCKET_SIZE + u32::from(cell.position())
            }
        }
    }

    /// The cell of an address in its bucket among the new, by who told of it.
    pub(super) fn new_cell(
        &self,
        address: Address,
        group: GroupNumber,
        source: GroupNumber,
        rules: &Rules,
    ) -> u32 {
        match self {
            Self::Mixed { .. } => self.cell(address, self.new_bucket(address, group, source, rules), 0),
            Self::Exact(placement) => {
                let cell = placement.new_from(&location(address), &book_group(group), &book_group(source));
                u32::from(cell.bucket()) * BUCKET_SIZE + u32::from(cell.position())
            }
        }
    }

    fn cell(&self, address: Address, bucket: u32, table: u64) -> u32 {
        let Self::Mixed { keys } = self else { unreachable!("the exact placement names cells itself") };
        let number = u64::from(address.ip) << 16 | u64::from(address.port);
        let position = mix(mix(keys[0] ^ number) ^ u64::from(bucket) ^ table) % u64::from(BUCKET_SIZE);
        bucket * BUCKET_SIZE + position as u32
    }
}

/// The upper half of a random number as one below a bound that is small beside 2³².
const fn below(random: u64, bound: u32) -> u32 {
    (((random >> 32) * bound as u64) >> 32) as u32
}

/// An address as the client's book has it.
pub(super) fn location(address: Address) -> Location {
    Location { host: Host::Ip(Ipv4Addr::from_bits(address.ip).into()), port: address.port }
}

/// A group by prefix as the client's book has it.
fn book_group(group: GroupNumber) -> Group {
    let source = match group {
        FIXED => BookSource::named("fixed"),
        seed if seed & SEED != 0 => BookSource::named(&format!("seed {}", seed & 0xff)),
        prefix => BookSource::Node(Host::Ip(Ipv4Addr::from_bits(prefix << 16 | 0x0101).into())),
    };
    Grouping::by_prefix().of_source(&source)
}
