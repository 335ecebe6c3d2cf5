//! Andon's own client, by the very code that it runs: its address book, its rules for dialling, its anchors and its allowance
//! for gossip.

use core::net::IpAddr;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use andon_bitcoin::addresses::limits::{FIXED_SEEDS_AFTER, GOSSIP_PENALTY};
use andon_bitcoin::addresses::{
    AddressBook, AddressNetworks, Allowance, Anchors, Barred, Choice, Dial, Grouping, Location, Outbound,
    Placement, Places, SeedQuery, Table, Welcome,
};
use andon_bitcoin::client::Encryption;
use andon_bitcoin::wire::{Host, NodeAddress};
use andon_kernel::{Instant, Now, Rng, UnixTime};
use bitcoin::Network;
use bitcoin::p2p::ServiceFlags;

use super::book::{Book, Drawn, ip};
use super::{Address, Census, Policy, Purpose, Source, Step, Told};
use crate::random::Stream;

/// Andon's address book alone.
#[derive(Debug)]
pub struct OwnBook {
    book: AddressBook,
    rng: Rng,
}

/// Andon's client, as far as whom it dials goes.
#[derive(Debug)]
pub struct Own {
    book: OwnBook,
    outbound: Outbound,
    anchors: Anchors,
    barred: Barred,
    rules: andon_bitcoin::addresses::Policy,
    /// Of peers that are connected.
    allowances: BTreeMap<Address, Allowance>,
    purposes: BTreeMap<Address, andon_bitcoin::addresses::Purpose>,
    /// To be told to whoever runs it: a node whose purpose was fulfilled by a handshake is gone by then.
    seeds_due: Option<Instant>,
    /// When who is connected is next noted, and anchors are looked for.
    keep_due: Instant,
}

/// As the client does.
const KEEP_INTERVAL: Duration = Duration::from_secs(10 * 60);
/// As the client does: how long it waits for the nodes of a book that is not empty, before it asks DNS seeds.
const BEFORE_SEEDS: Duration = Duration::from_secs(11);
/// And how many connections are enough not to ask.
const ENOUGH: usize = 2;

impl OwnBook {
    /// An empty book.
    pub fn new(grouping: Grouping, mut stream: Stream) -> Self {
        let mut rng = Rng::new(stream.seed());
        let placement = Placement::new(rng.bytes());
        Self { book: AddressBook::with_placement(grouping, placement), rng }
    }

    /// The book itself.
    pub const fn get(&self) -> &AddressBook {
        &self.book
    }
}

impl Own {
    /// A client with an empty book, that has not started.
    pub fn new(grouping: Grouping, stream: Stream) -> Self {
        let rules = andon_bitcoin::addresses::Policy {
            networks: AddressNetworks::CLEAR,
            // Whether a node speaks the encrypted transport is not part of this world.
            encryption: Encryption::Off,
            ..Default::default()
        };
        Self {
            book: OwnBook::new(grouping, stream),
            outbound: Outbound::new(rules, &[]),
            anchors: Anchors::new(),
            barred: Barred::new(),
            rules,
            allowances: BTreeMap::new(),
            purposes: BTreeMap::new(),
            seeds_due: None,
            keep_due: Instant::ZERO,
        }
    }

    /// Who would be dialled first after a restart.
    pub fn anchors(&self) -> Vec<Address> {
        self.anchors.get().iter().filter_map(|anchor| address(&anchor.location)).collect()
    }

    fn keep(&mut self, now: Now) {
        self.outbound.note_connected(&mut self.book.book, now);
        let best = self.outbound.best(now.instant);
        if !best.is_empty() {
            self.anchors.set(&best);
        }
        self.keep_due = now.instant + KEEP_INTERVAL;
    }

    fn close(&mut self, now: Now, address: Address) {
        self.purposes.remove(&address);
        self.allowances.remove(&address);
        self.outbound.ended(&location(address), &mut self.book.book, now);
    }

    fn working(&self) -> usize {
        self.allowances.len()
    }
}

impl Policy for Own {
    fn start(&mut self, now: Now) {
        self.outbound = Outbound::new(self.rules, self.anchors.get());
        self.allowances.clear();
        self.purposes.clear();
        self.seeds_due = Some(if self.book.is_empty() { now.instant } else { now.instant + BEFORE_SEEDS });
        self.keep_due = now.instant + KEEP_INTERVAL;
    }

    fn hear(&mut self, now: Now, source: Source, told: &[Told], asked: bool) {
        let Source::Peer(peer) = source else {
            self.book.hear(now.unix, source, told);
            self.outbound.wake();
            return;
        };
        let Some(allowance) = self.allowances.get_mut(&peer) else { return };
        if asked {
            allowance.asked();
        }
        let mut told: Vec<_> = told.iter().map(node_address).collect();
        let teller = andon_bitcoin::addresses::Source::Node(location(peer).host);
        let networks = self.rules.networks;
        let OwnBook { book, rng } = &mut self.book;
        if book.hear(&mut told, &teller, allowance, networks, &self.barred, now, rng).new > 0 {
            self.outbound.wake();
        }
    }

    /// A light client listens to nobody.
    fn accepted(&mut self, _now: Now, _address: Address) {}

    fn next(&mut self, now: Now) -> Step {
        if self.keep_due <= now.instant {
            self.keep(now);
        }
        if self.seeds_due.is_some_and(|due| due <= now.instant) {
            self.seeds_due = None;
            if self.working() < ENOUGH.min(self.rules.peers) {
                // Whoever still has nobody asks again.
                self.seeds_due = Some(now.instant + FIXED_SEEDS_AFTER);
                return Step::AskSeeds;
            }
        }
        let OwnBook { book, rng } = &mut self.book;
        while let Some(Dial { location, purpose, .. }) =
            self.outbound.next(book, &self.barred, false, now, rng)
        {
            let Some(address) = address(&location) else {
                // Nothing else was ever told.
                self.outbound.ended(&location, book, now);
                continue;
            };
            self.purposes.insert(address, purpose);
            return Step::Dial { address, purpose: purpose_of(purpose) };
        }
        let due = [self.outbound.deadline(), self.seeds_due, Some(self.keep_due)];
        Step::Wait(due.into_iter().flatten().min())
    }

    fn connected(&mut self, now: Now, address: Address, _purpose: Purpose) -> bool {
        let location = location(address);
        let services = self.book.book.entry(&location).map_or(services(true), |entry| entry.services);
        match self.outbound.welcome(&location, services, &mut self.book.book, now) {
            Welcome::Keep => {
                self.allowances.insert(address, Allowance::new(now.instant));
                true
            }
            Welcome::AskAndClose | Welcome::Close => {
                self.close(now, address);
                false
            }
        }
    }

    fn failed(&mut self, now: Now, address: Address, _purpose: Purpose) {
        if self.purposes.get(&address) == Some(&andon_bitcoin::addresses::Purpose::Anchor) {
            self.anchors.remove(&location(address));
        }
        self.close(now, address);
    }

    fn ended(&mut self, now: Now, address: Address) {
        self.close(now, address);
    }

    fn outgoing(&self) -> Vec<(Address, Purpose)> {
        let purpose = |address| self.purposes.get(address).map(|purpose| (*address, purpose_of(*purpose)));
        self.allowances.keys().filter_map(purpose).collect()
    }

    fn census(&self, is_adversary: &mut dyn FnMut(Address) -> bool) -> Census {
        self.book.census(is_adversary)
    }

    /// A light client tells nobody of anybody; its book could.
    fn tell(&mut self, now: Now) -> Vec<Told> {
        self.book.tell(now.unix)
    }
}

impl Book for OwnBook {
    fn hear(&mut self, now: UnixTime, source: Source, told: &[Told]) {
        let Self { book, rng } = self;
        match source {
            Source::Peer(peer) => {
                let teller = andon_bitcoin::addresses::Source::Node(location(peer).host);
                for one in told {
                    book.add(&node_address(one), &teller, GOSSIP_PENALTY, now, rng);
                }
            }
            Source::DnsSeed(number) => {
                let query = SeedQuery {
                    host: format!("seed {number}"),
                    services: services(true),
                    source: andon_bitcoin::addresses::Source::named(&format!("seed {number}")),
                };
                let answer: Vec<_> = told.iter().map(|one| IpAddr::from(ip(one.address))).collect();
                book.add_seed_answer(&query, &answer, Network::Bitcoin, now, rng);
            }
            Source::Fixed => {
                let source = andon_bitcoin::addresses::Source::named("fixed seeds");
                for one in told {
                    book.add(&node_address(one), &source, Duration::ZERO, now, rng);
                }
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.book.is_empty()
    }

    fn draw(&mut self, now: UnixTime) -> Option<Drawn> {
        let choice = Choice { networks: AddressNetworks::CLEAR, only_new: false };
        let entry = self.book.select(choice, now, &mut self.rng)?;
        Some(Drawn {
            address: address(&entry.location)?,
            serves: entry.services.has(ServiceFlags::COMPACT_FILTERS),
            last_try: (entry.last_try > 0).then(|| UnixTime::from_secs(u64::from(entry.last_try))),
        })
    }

    fn dialled(&mut self, now: UnixTime, address: Address) {
        self.book.resolve_collisions(now);
        self.book.attempt(&location(address), true, now);
    }

    fn reached(&mut self, now: UnixTime, address: Address) {
        self.book.good(&location(address), now);
    }

    fn failed(&mut self, _now: UnixTime, _address: Address) {}

    fn ended(&mut self, now: UnixTime, address: Address) {
        self.book.connected(&location(address), now);
    }

    fn census(&self, is_adversary: &mut dyn FnMut(Address) -> bool) -> Census {
        let mut census = Census::default();
        for entry in self.book.entries() {
            let theirs = u32::from(address(&entry.location).is_some_and(&mut *is_adversary));
            let references = entry.references() as u32;
            census.new += references;
            census.new_adversary += theirs * references;
            census.tried += u32::from(entry.is_tried());
            census.tried_adversary += theirs * u32::from(entry.is_tried());
        }
        debug_assert!(self.book.count(Table::Tried, AddressNetworks::ALL) == census.tried as usize);
        census
    }

    fn buckets(&self, is_wanted: &mut dyn FnMut(Address) -> bool) -> (u32, u32) {
        let mut tables = [BTreeSet::new(), BTreeSet::new()];
        for entry in self.book.entries() {
            if !address(&entry.location).is_some_and(&mut *is_wanted) {
                continue;
            }
            match &entry.places {
                Places::New(references) => {
                    tables[0].extend(references.cells().iter().map(|cell| cell.bucket()))
                }
                Places::Tried => {
                    tables[1].insert(self.book.tried_cell(&entry.location).bucket());
                }
            }
        }
        let [new, tried] = tables.map(|buckets| buckets.len() as u32);
        (new, tried)
    }

    fn tell(&mut self, now: UnixTime) -> Vec<Told> {
        let most = andon_bitcoin::wire::MAX_ADDRESSES;
        let sample = self.book.sample(most, 23, None, now, &mut self.rng);
        let told = |told: NodeAddress| {
            let address = address(&Location::from(&told))?;
            Some(Told { address, time: told.time, serves: told.services.has(ServiceFlags::COMPACT_FILTERS) })
        };
        sample.into_iter().filter_map(told).collect()
    }
}

const fn purpose_of(purpose: andon_bitcoin::addresses::Purpose) -> Purpose {
    use andon_bitcoin::addresses::Purpose as Theirs;
    match purpose {
        Theirs::Anchor => Purpose::Anchor,
        Theirs::Peer | Theirs::Addresses | Theirs::Broadcast => Purpose::Full,
        Theirs::Extra => Purpose::Extra,
        Theirs::Feeler => Purpose::Feeler,
    }
}

fn location(address: Address) -> Location {
    Location { host: Host::Ip(ip(address).into()), port: address.port }
}

const fn address(location: &Location) -> Option<Address> {
    match location.host {
        Host::Ip(IpAddr::V4(ip)) => Some(Address { ip: ip.to_bits(), port: location.port }),
        _ => None,
    }
}

fn services(serves: bool) -> ServiceFlags {
    let node = ServiceFlags::NETWORK | ServiceFlags::WITNESS;
    if serves { node | ServiceFlags::COMPACT_FILTERS } else { node }
}

fn node_address(told: &Told) -> NodeAddress {
    let Told { address, time, serves } = *told;
    NodeAddress { time, services: services(serves), host: location(address).host, port: address.port }
}
