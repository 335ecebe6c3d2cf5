//! Kyoto's book, by the crate that Kyoto uses, `bitcoin-address-book`: in its version 0.1.1, and in 0.2, which Kyoto 0.8 has.
//!
//! # What is the crate's, and what is not
//!
//! Who is in which table is decided by the crate's own code: each addition and each removal is made there first, and what it
//! answers is what happens. Two things can't be had from it:
//!
//! - It draws by hashing [`std::time::SystemTime::now`], so no seed repeats a draw.
//! - It takes the time from there too. In 0.1.1 no rule depends on it (its comparison is always true); in 0.2 a node that was
//!   dialled within the last minute is passed over, by the wall clock, which stands still for a simulation.
//!
//! So `Mirror` says in which cell what stands, by the rules that the crate's documentation and behaviour show, and draws by them
//! from the seed and in virtual time. Each of the crate's answers is held against it as they come, and its draws are compared with
//! the crate's in a test. Placement needs no seed: it is the standard library's default hash without a key, the same in every
//! client in the world. So far it is SipHash-1-3 over the machine's own representation of lengths, and may be another one in
//! another version of Rust: on machines of 32 bits, or of the other byte order, other addresses would share a cell, as many as here.
//!
//! The rules of Kyoto's that are around the tables are Kyoto's own (`network/mod.rs`) in other words.

mod mirror;
mod shipped;

use core::time::Duration;
use std::collections::BTreeMap;

use andon_kernel::UnixTime;

use super::book::{Book, Drawn};
use super::client::{Client, Rules, Seeds};
use super::{Address, Census, Source, Told};
use crate::random::Stream;
use mirror::{Held, Mirror};
use shipped::Shipped;

/// Which version of the crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// 0.1.1: bucket and place in it come from the same hash.
    V0_1,
    /// 0.2.2: the place in a bucket comes from another one.
    V0_2,
}

/// One of the two tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Table {
    New,
    Tried,
}

/// Kyoto's client, which keeps one connection unless it is told otherwise, for two hours at most.
pub const RULES: Rules = Rules {
    outgoing: 1,
    at_once: 1,
    one_per_group: false,
    only_serving: false,
    draws: 1,
    draws_before_recent: 0,
    draws_before_ports: 0,
    pause: Duration::from_millis(10),
    failures_to_pause: u32::MAX,
    seeds: Seeds::WheneverEmpty,
    longest: Some(Duration::from_secs(2 * 60 * 60)),
};

/// Kyoto's book.
#[derive(Debug)]
pub struct Kyoto {
    stream: Stream,
    shipped: Box<dyn Shipped>,
    new: Mirror,
    tried: Mirror,
    /// What was drawn and is being dialled or connected: it is found by its source too.
    drawn: BTreeMap<Address, Held>,
}

/// An address as it is told, and whom of: together they are its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Record {
    address: Address,
    source: [u8; 4],
    serves: bool,
}

impl Kyoto {
    /// An empty book.
    pub fn new(version: Version, stream: Stream) -> Self {
        Self {
            stream,
            shipped: shipped::new(version),
            new: Mirror::new(version, 16, 8),
            tried: Mirror::new(version, 4, 2),
            drawn: BTreeMap::new(),
        }
    }

    /// A client with an empty book, that keeps `outgoing` connections: one to 15.
    pub fn client(version: Version, outgoing: usize, stream: Stream) -> Client<Self> {
        Client::new(Self::new(version, stream), Rules { outgoing, ..RULES })
    }

    /// The number of the part of the table that a source reaches, of eight.
    pub fn part(source: core::net::Ipv4Addr) -> u32 {
        mirror::hash_source(source) % 8
    }

    fn mirror(&mut self, table: Table) -> &mut Mirror {
        match table {
            Table::New => &mut self.new,
            Table::Tried => &mut self.tried,
        }
    }

    /// Adds a record where nobody is. Returns who is.
    fn add(&mut self, table: Table, record: Record) -> Option<Address> {
        let theirs = self.shipped.add(table, &record);
        let ours = self.mirror(table).add(record);
        assert_eq!(theirs, ours, "the mirror shows what the crate does");
        theirs
    }

    /// Empties the place of a record, whoever is there.
    fn remove(&mut self, table: Table, record: &Record) {
        self.shipped.remove(table, record);
        self.mirror(table).remove(record);
    }
}

impl Book for Kyoto {
    fn hear(&mut self, _now: UnixTime, source: Source, told: &[Told]) {
        let (source, is_seed) = match source {
            Source::Peer(peer) => (super::book::ip(peer).octets(), false),
            // All seeds are one source, of this address.
            Source::DnsSeed(_) => ([1, 1, 1, 1], true),
            // There is no such list.
            Source::Fixed => return,
        };
        for Told { address, serves, .. } in told {
            // A seed's answer does not say what is served, and what gossip says is not looked at.
            let record = Record { address: *address, source, serves: *serves && !is_seed };
            if self.shipped.count(Table::New, &record) >= shipped::MAX_COUNT {
                continue;
            }
            if self.add(Table::New, record).is_some()
                && self.shipped.is_conflict_terrible(Table::New, &record)
            {
                self.remove(Table::New, &record);
                self.add(Table::New, record);
            }
        }
    }

    fn is_empty(&self) -> bool {
        let is_empty = |table, mirror: &Mirror| {
            let is_empty = self.shipped.is_empty(table);
            assert_eq!(is_empty, mirror.is_empty(), "the mirror shows what the crate has");
            is_empty
        };
        is_empty(Table::New, &self.new) && is_empty(Table::Tried, &self.tried)
    }

    fn draw(&mut self, now: UnixTime) -> Option<Drawn> {
        let Self { stream, new, tried, .. } = self;
        let (first, second) = if stream.below(2) == 0 { (&tried, &new) } else { (&new, &tried) };
        let mut draw = |mirror: &Mirror| mirror.draw(now, stream);
        let held = draw(first).or_else(|| draw(second))?;
        self.drawn.insert(held.record.address, held);
        let Record { address, serves, .. } = held.record;
        Some(Drawn { address, serves, last_try: held.last_attempt })
    }

    fn dialled(&mut self, _now: UnixTime, _address: Address) {}

    fn reached(&mut self, now: UnixTime, address: Address) {
        // By whom it was told when it was drawn. Who is reached without that is looked for.
        let is_it = |held: &&Held| held.record.address == address;
        let held = self.drawn.get(&address).or_else(|| self.new.held().find(is_it));
        let Some(Held { record, .. }) = held.copied() else { return };
        self.remove(Table::New, &record);
        // Whoever stands in the place gives way, untested.
        if self.add(Table::Tried, record).is_some() {
            self.remove(Table::Tried, &record);
            self.add(Table::Tried, record);
        }
        self.shipped.succeeded(&record);
        self.tried.attempted(&record, now);
    }

    fn failed(&mut self, now: UnixTime, address: Address) {
        // Noted of whoever has its place among the tried, if anybody, and never among the new.
        if let Some(Held { record, .. }) = self.drawn.remove(&address) {
            self.shipped.failed(&record);
            self.tried.attempted(&record, now);
        }
    }

    fn ended(&mut self, _now: UnixTime, address: Address) {
        self.drawn.remove(&address);
    }

    fn census(&self, is_adversary: &mut dyn FnMut(Address) -> bool) -> Census {
        let mut count = |mirror: &Mirror| {
            let addresses = || mirror.held().map(|held| held.record.address);
            (addresses().count() as u32, addresses().filter(|address| is_adversary(*address)).count() as u32)
        };
        let ((new, new_adversary), (tried, tried_adversary)) = (count(&self.new), count(&self.tried));
        Census { new, new_adversary, tried, tried_adversary }
    }

    fn buckets(&self, is_wanted: &mut dyn FnMut(Address) -> bool) -> (u32, u32) {
        (self.new.buckets(is_wanted), self.tried.buckets(is_wanted))
    }

    /// Kyoto tells nobody of anybody.
    fn tell(&mut self, _now: UnixTime) -> Vec<Told> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests;
