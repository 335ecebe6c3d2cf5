//! Today's rules beside those of the client's address book, which follow Bitcoin Core's: the same operations, and the same
//! entries in the same cells.

use std::collections::BTreeMap;
use std::time::Duration;

use andon_bitcoin::addresses::{
    Added as BookAdded, AddressBook, AddressNetworks, Cell, Choice, Grouping, Location, Placement,
    Reached as BookReached, Source as BookSource, Table,
};
use andon_bitcoin::wire::{Host, NodeAddress};
use andon_kernel::{Rng, UnixTime};

use super::book::{Added, Book, Heard, Reached};
use super::grid::NOBODY;
use super::placement::{Placer, location};
use super::rules::{BUCKET_SIZE, Rules};
use crate::policy::Address;
use crate::random::Stream;

const BEGIN: u32 = 1_750_000_000;
const MINUTE: u64 = 60;
const DAY: u64 = 24 * 60 * MINUTE;

/// Few enough that they meet again, and many enough that they are in each other's way.
fn address(stream: &mut Stream) -> Address {
    let [a, b] = [20 + stream.below(64), stream.below(4)];
    let ip = a << 24 | b << 16 | stream.below(16) << 8 | (1 + stream.below(8));
    Address { ip: ip as u32, port: if stream.below(4) == 0 { 8334 } else { 8333 } }
}

struct Both {
    ours: Book,
    theirs: AddressBook,
    now: u32,
    step: u64,
}

impl Both {
    fn unix(&self) -> UnixTime {
        UnixTime::from_secs(self.now.into())
    }

    /// What both draw in this step.
    fn rng(&self) -> Rng {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.step.to_le_bytes());
        Rng::new(seed)
    }

    fn add(&mut self, address: Address, source: Address, time: u32, penalty: u32) -> Added {
        let is_own = source.ip == address.ip;
        let heard = Heard {
            address,
            source: source.slash16().into(),
            time,
            penalty: if is_own { 0 } else { penalty },
        };
        let mut rng = self.rng();
        let added = self.ours.add_with(&heard, self.now, &mut |bound| rng.below(bound));
        let Location { host, port } = location(address);
        let services = bitcoin::p2p::ServiceFlags::NONE;
        let told = NodeAddress { time, services, host, port };
        let source = BookSource::Node(location(source).host);
        let penalty = Duration::from_secs(penalty.into());
        let theirs = self.theirs.add(&told, &source, penalty, self.unix(), &mut self.rng());
        let same = matches!(
            (added, theirs),
            (Added::New, BookAdded::New)
                | (Added::Reference, BookAdded::Reference)
                | (Added::Known, BookAdded::Known)
                | (Added::Taken, BookAdded::Taken)
        );
        assert!(same, "step {}: {added:?} {theirs:?}", self.step);
        added
    }

    fn good(&mut self, address: Address, stream: &mut Stream) -> Reached {
        let reached = self.ours.good(address, self.now, stream);
        let theirs = self.theirs.good(&location(address), self.unix());
        let same = matches!(
            (reached, theirs),
            (Reached::Unknown, BookReached::Unknown)
                | (Reached::Tried, BookReached::Tried)
                | (Reached::Moved, BookReached::Moved)
                | (Reached::Collides, BookReached::Collides(_))
        );
        assert!(same, "step {}: {reached:?} {theirs:?}", self.step);
        reached
    }

    fn attempt(&mut self, address: Address, is_counted: bool) {
        self.ours.attempt(address, is_counted, self.now);
        self.theirs.attempt(&location(address), is_counted, self.unix());
    }

    fn connected(&mut self, address: Address) {
        self.ours.connected(address, self.now);
        self.theirs.connected(&location(address), self.unix());
    }

    /// Both decide on who waits. The client asks in addition that we are online, which it is told here.
    fn resolve(&mut self, stream: &mut Stream) -> usize {
        let nobody = Location { host: Host::Ip([9, 9, 9, 9].into()), port: 1 };
        self.theirs.connected(&nobody, self.unix());
        self.theirs.resolve_collisions(self.unix());
        let moved = self.ours.resolve(self.now, stream);
        // Bitcoin Core notes whom it gives a place as reached; the client does not.
        for address in &moved {
            self.theirs.good(&location(*address), self.unix());
        }
        assert_eq!(self.ours.collisions.len(), self.theirs.collisions(), "step {}", self.step);
        moved.len()
    }

    /// Everything that either knows.
    fn compare(&self) {
        for (table, grid) in [(Table::New, &self.ours.new), (Table::Tried, &self.ours.tried)] {
            for bucket in 0..grid.buckets() {
                for position in 0..BUCKET_SIZE {
                    let id = grid.at(bucket * BUCKET_SIZE + position);
                    let theirs = self.theirs.at(table, Cell::new(bucket as u16, position as u16));
                    if id == NOBODY {
                        assert_eq!(theirs, None, "step {}: {table:?} {bucket} {position}", self.step);
                        continue;
                    }
                    let entry = self.ours.entry(id);
                    let theirs = theirs.expect("somebody stands there in both");
                    let facts = |time, success, tried, attempts, references, is_tried| {
                        (time, success, tried, attempts, references, is_tried)
                    };
                    assert_eq!(location(entry.address()), theirs.location, "step {}", self.step);
                    assert_eq!(
                        facts(
                            entry.time,
                            entry.last_success,
                            entry.last_try,
                            entry.attempts,
                            entry.references.into(),
                            entry.is_tried
                        ),
                        facts(
                            theirs.time,
                            theirs.last_success,
                            theirs.last_try,
                            theirs.attempts,
                            theirs.references(),
                            theirs.is_tried()
                        ),
                        "step {}: {:?}",
                        self.step,
                        theirs.location
                    );
                    assert_eq!(entry.is_terrible(self.now), theirs.is_terrible(self.now));
                    let (ours, theirs) = (entry.chance(false, self.now), theirs.chance(self.now));
                    assert_eq!(ours, theirs, "step {}", self.step);
                }
            }
        }
        assert_eq!(self.ours.len() as usize, self.theirs.len());
    }
}

fn run(steps: u64, seed: u64) -> BTreeMap<String, u32> {
    let placement = Placement::new([seed as u8; 32]);
    let mut both = Both {
        ours: Book::new(Rules::CORE_28, Placer::Exact(placement), None),
        theirs: AddressBook::with_placement(Grouping::by_prefix(), placement),
        now: BEGIN,
        step: 0,
    };
    let mut stream = Stream::new(seed);
    let mut known = vec![address(&mut stream)];
    let mut happened = BTreeMap::<String, u32>::new();
    for step in 0..steps {
        both.step = step;
        // Minutes go by; weeks only while nobody waits, for the client does not count time in which it may have slept.
        let is_long = both.ours.collisions.is_empty() && stream.below(5000) == 0;
        both.now += stream.below(if is_long { 20 * DAY } else { MINUTE }) as u32;
        let some = known[stream.index(known.len())];
        let what = match stream.below(100) {
            0..=54 => {
                let address = if stream.below(4) == 0 { some } else { address(&mut stream) };
                let time = both.now as u64 + 700 - stream.below(2 * DAY);
                let source = self::address(&mut stream);
                let added = both.add(address, source, time as u32, 2 * 60 * MINUTE as u32);
                if added == Added::New {
                    if known.len() < 4000 {
                        known.push(address);
                    } else {
                        let at = stream.index(known.len());
                        known[at] = address;
                    }
                }
                format!("{added:?}")
            }
            55..=69 => {
                both.attempt(some, stream.below(2) == 0);
                "attempt".into()
            }
            70..=89 => {
                // The time of who waits and is reached again counts anew in Bitcoin Core, and not in the client.
                if both.ours.collisions.contains(&some) {
                    "waits".into()
                } else {
                    format!("{:?}", both.good(some, &mut stream))
                }
            }
            90..=93 => {
                if let Some(older) = both.ours.to_be_tested(&mut stream) {
                    both.attempt(older, true);
                    if stream.below(2) == 0 {
                        both.good(older, &mut stream);
                    }
                }
                "test".into()
            }
            _ => {
                both.connected(some);
                "connected".into()
            }
        };
        *happened.entry(what).or_default() += 1;
        let moved = both.resolve(&mut stream);
        *happened.entry("resolved".into()).or_default() += moved as u32;
        if step % 20_000 == 0 {
            both.compare();
        }
    }
    both.compare();
    happened
}

#[test]
fn the_same_operations_the_same_cells() {
    let happened = run(200_000, 1);
    let all = "New Reference Known Taken attempt Unknown Tried Moved Collides waits test connected resolved";
    for what in all.split(' ') {
        assert!(happened.get(what).is_some_and(|count| *count > 20), "{what}: {happened:?}");
    }
}

#[test]
#[ignore = "twenty million operations"]
fn the_same_for_long() {
    for seed in 2..12 {
        println!("{:?}", run(2_000_000, seed));
    }
}

/// Drawn from equal books, nodes come as often, by table and bucket.
#[test]
fn draws_have_the_same_shares() {
    let placement = Placement::new([7; 32]);
    let mut both = Both {
        ours: Book::new(Rules::CORE_28, Placer::Exact(placement), None),
        theirs: AddressBook::with_placement(Grouping::by_prefix(), placement),
        now: BEGIN,
        step: 0,
    };
    let mut stream = Stream::new(3);
    for step in 0..3000 {
        both.step = step;
        let (address, source) = (address(&mut stream), address(&mut stream));
        both.add(address, source, BEGIN, 0);
        match step % 6 {
            0 => drop(both.good(address, &mut stream)),
            1 => both.attempt(address, true),
            _ => {}
        }
    }
    both.now += 3600;
    both.compare();
    let (mut rng, draws) = (Rng::new([9; 32]), 40_000);
    // By table and by sixteen buckets. Within a bucket they differ: from a random cell on Bitcoin Core takes whom it finds first, and
    // so favours who stands behind a gap; the client takes any.
    let mut drawn = [BTreeMap::<(bool, u32), i32>::new(), BTreeMap::new()];
    let place = |address: Address| {
        let entry = both.ours.entry(both.ours.find(address).expect("both have it"));
        match entry.is_tried {
            true => Some((true, both.ours.tried_cell(address) / BUCKET_SIZE / 16)),
            false => (entry.references == 1).then(|| (false, u32::from(entry.place) / BUCKET_SIZE / 16)),
        }
    };
    for _ in 0..draws {
        let id = both.ours.select(0, false, both.now, &mut stream).expect("there are some");
        let ours = place(both.ours.entry(id).address());
        let choice = Choice { networks: AddressNetworks::ALL, only_new: false };
        let location = both.theirs.select(choice, both.unix(), &mut rng).expect("there are some").location;
        let Host::Ip(std::net::IpAddr::V4(ip)) = location.host else { panic!("all are of IPv4") };
        let theirs = place(Address { ip: ip.to_bits(), port: location.port });
        for (drawn, place) in drawn.iter_mut().zip([ours, theirs]) {
            if let Some(place) = place {
                *drawn.entry(place).or_default() += 1;
            }
        }
    }
    let [ours, theirs] = drawn;
    assert!(ours.len() >= 60 && ours.len() == theirs.len());
    for (place, ours) in ours {
        let theirs = theirs.get(&place).copied().unwrap_or(0);
        // Five standard deviations of the difference of two such counts.
        let allowed = 5 * (ours + theirs).isqrt() + 5;
        assert!((ours - theirs).abs() <= allowed, "{place:?}: {ours} {theirs}");
    }
}
