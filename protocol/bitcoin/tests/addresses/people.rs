//! Addresses, sources and books to test with.

use std::net::Ipv4Addr;
use std::time::Duration;

use andon_bitcoin::addresses::{Added, AddressBook, Grouping, Location, Placement, Source, is_routable};
use andon_bitcoin::wire::{Host, NodeAddress};
use andon_kernel::{Rng, UnixTime};
use bitcoin::p2p::ServiceFlags;

pub(crate) const NOW: u64 = 1_750_000_000;
pub(crate) const MINUTE: u64 = 60;
pub(crate) const HOUR: u64 = 60 * MINUTE;
pub(crate) const DAY: u64 = 24 * HOUR;

pub(crate) fn at(seconds: u64) -> UnixTime {
    UnixTime::from_secs(seconds)
}

pub(crate) fn book(seed: u8) -> AddressBook {
    AddressBook::with_placement(Grouping::by_prefix(), Placement::new([seed; 32]))
}

pub(crate) fn v4(first: u8, second: u8, third: u8, fourth: u8) -> Location {
    Location { host: Host::Ip(Ipv4Addr::new(first, second, third, fourth).into()), port: 8333 }
}

/// The `index`-th routable IPv4 address of a sequence in which neighbours have nothing in common.
pub(crate) fn any(index: u32) -> Location {
    let mut bits = index;
    loop {
        bits = bits.wrapping_mul(0x9e37_79b1).wrapping_add(0x1234_5677);
        let host = Host::Ip(Ipv4Addr::from_bits(bits).into());
        if is_routable(&host) {
            return Location { host, port: 8333 };
        }
    }
}

pub(crate) fn node(location: Location, time: u64) -> NodeAddress {
    let services = ServiceFlags::NETWORK | ServiceFlags::WITNESS | ServiceFlags::COMPACT_FILTERS;
    NodeAddress { time: time as u32, services, host: location.host, port: location.port }
}

pub(crate) fn source(first: u8, second: u8) -> Source {
    Source::Node(v4(first, second, 1, 1).host)
}

/// Adds a node that was heard of now.
pub(crate) fn add(
    book: &mut AddressBook,
    location: Location,
    source: &Source,
    now: u64,
    rng: &mut Rng,
) -> Added {
    book.add(&node(location, now), source, Duration::ZERO, at(now), rng)
}

/// Adds a node from sources of ever other groups until it is in.
pub(crate) fn force(book: &mut AddressBook, location: Location, now: u64, rng: &mut Rng) {
    for number in 0u16.. {
        let [first, second] = number.to_be_bytes();
        if matches!(add(book, location, &source(first + 20, second), now, rng), Added::New) {
            return;
        }
    }
}

/// Two nodes that have the same place among the tried, neither of which is in the book.
pub(crate) fn rivals(book: &AddressBook, from: u32) -> (Location, Location) {
    let mut seen = std::collections::BTreeMap::new();
    (from..)
        .find_map(|index| {
            let location = any(index);
            let cell = book.tried_cell(&location);
            seen.insert(cell, location).map(|other| (other, location))
        })
        .unwrap()
}
