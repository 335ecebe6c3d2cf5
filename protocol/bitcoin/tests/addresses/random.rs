//! What holds whatever happens: a million random operations, crashes among them, and attackers who fill what they can.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use andon_bitcoin::addresses::limits::GOSSIP_PENALTY;
use andon_bitcoin::addresses::{
    ADDRESSES, Added, AddressBook, AddressNetwork, AddressNetworks, Cell, Choice, Entry, Grouping, Location,
    Placement, Places, Reached, Source, Table, is_routable,
};
use andon_bitcoin::wire::{Host, NodeAddress};
use andon_kernel::Rng;
use bitcoin::p2p::ServiceFlags;

use super::disk::{Disk, restore};
use super::people::{DAY, NOW, at, book, node, v4};

/// A host of any network; some can't be reached. Few enough that they meet again.
fn host(rng: &mut Rng) -> Host {
    let [a, b, c, d, ..] = rng.bytes::<8>();
    match rng.below(10) {
        0..=4 => Host::Ip(Ipv4Addr::new(a % 64, b % 4, c % 16, d % 8).into()),
        5 | 6 => {
            let prefix =
                [0x2001_0470, 0x2001_4860, 0x2a01_0000, 0x2002_0808, 0xfc00_0000][usize::from(a % 5)];
            Host::Ip(
                std::net::Ipv6Addr::from_bits(prefix << 96 | u128::from(b % 64) << 88 | u128::from(c % 16))
                    .into(),
            )
        }
        7 => Host::TorV3([a; 32]),
        8 => Host::I2p([a; 32]),
        _ => Host::Cjdns(std::net::Ipv6Addr::from_bits(
            0xfc << 120 | u128::from(a) << 112 | u128::from(b % 16),
        )),
    }
}

fn location(rng: &mut Rng) -> Location {
    let port = if rng.below(4) == 0 { 8334 } else { 8333 };
    Location { host: host(rng), port }
}

/// Everything that must hold of a book.
fn check(book: &AddressBook, placement: &Placement, grouping: &Grouping) {
    let mut cells = BTreeMap::new();
    for table in [Table::New, Table::Tried] {
        for bucket in 0..1024 {
            for position in 0..64 {
                let cell = Cell::new(bucket, position);
                if let Some(entry) = book.at(table, cell) {
                    cells.insert((table == Table::Tried, cell), entry.location);
                }
            }
        }
    }
    let mut counts = BTreeMap::<(bool, AddressNetwork), usize>::new();
    let mut places = 0;
    for entry in book.entries() {
        let Entry { location, .. } = entry;
        assert_eq!(book.entry(location), Some(entry), "it is found");
        let network = AddressNetwork::of(&location.host).expect("only what can be reached is in the book");
        *counts.entry((entry.is_tried(), network)).or_default() += 1;
        match &entry.places {
            Places::Tried => {
                let cell = placement.tried(location, &grouping.of(&location.host));
                assert_eq!(cells.get(&(true, cell)), Some(location), "it stands where it belongs");
                assert!(entry.last_success > 0 && entry.references() == 0);
                places += 1;
            }
            Places::New(references) => {
                let held = references.cells();
                assert!((1..=8).contains(&held.len()) && held.windows(2).all(|pair| pair[0] < pair[1]));
                for cell in held {
                    assert_eq!(cells.get(&(false, *cell)), Some(location), "it stands where it belongs");
                }
                places += held.len();
            }
        }
    }
    assert_eq!(places, cells.len(), "no cell has anything else");
    for network in AddressNetwork::ALL {
        for table in [Table::New, Table::Tried] {
            let networks = AddressNetworks::NONE.with(network);
            let count = counts.get(&(table == Table::Tried, network)).copied().unwrap_or(0);
            assert_eq!(book.count(table, networks), count, "{network:?}");
        }
    }
}

fn content(book: &AddressBook) -> BTreeMap<Location, Entry> {
    book.entries().map(|entry| (entry.location, *entry)).collect()
}

#[test]
fn a_million_operations() {
    let grouping = Grouping::by_prefix();
    let placement = Placement::new([5; 32]);
    let mut book = AddressBook::with_placement(grouping.clone(), placement);
    let mut rng = Rng::new([6; 32]);
    let mut disk = Disk::default();
    let mut stored = BTreeMap::new();
    let mut now = NOW;
    // Who was seen lately: what happens to nodes happens mostly to these.
    let mut known: Vec<Location> = vec![v4(8, 8, 8, 8)];
    let mut happened = BTreeMap::<String, u32>::new();
    for step in 0..1_000_000u32 {
        // Minutes go by, and once in a while weeks.
        now += if rng.below(20_000) == 0 { rng.below(40 * DAY) } else { rng.below(60) };
        let some = known[rng.below(known.len() as u64) as usize];
        let what = match rng.below(100) {
            0..=54 => {
                let location = if rng.below(4) == 0 { some } else { location(&mut rng) };
                let mut address = node(location, now + 700 - rng.below(DAY));
                address.services = ServiceFlags::from(rng.below(1 << 12));
                if rng.below(50) == 0 {
                    address.time = rng.u64() as u32;
                }
                let source =
                    if rng.below(9) == 0 { Source::named("seed") } else { Source::Node(host(&mut rng)) };
                let added = book.add(&address, &source, GOSSIP_PENALTY, at(now), &mut rng);
                assert_eq!(added == Added::Unroutable, !is_routable(&location.host));
                assert!(book.entry(&location).is_some() || matches!(added, Added::Taken | Added::Unroutable));
                if added == Added::New {
                    if known.len() < 5000 {
                        known.push(location);
                    } else {
                        let at = rng.below(5000) as usize;
                        known[at] = location;
                    }
                }
                format!("{added:?}")
            }
            55..=69 => {
                book.attempt(&some, rng.below(2) == 0, at(now));
                "attempt".into()
            }
            70..=79 => {
                let was_known = book.entry(&some).is_some();
                let reached = book.good(&some, at(now));
                assert_eq!(reached == Reached::Unknown, !was_known);
                let is_tried = book.entry(&some).is_some_and(Entry::is_tried);
                assert_eq!(is_tried, matches!(reached, Reached::Tried | Reached::Moved));
                match reached {
                    Reached::Collides(_) => "collides".into(),
                    other => format!("{other:?}"),
                }
            }
            80..=84 => {
                book.connected(&some, at(now));
                book.set_services(&some, ServiceFlags::from(rng.below(1 << 12)));
                "connected".into()
            }
            85..=89 => {
                let before = book.collisions();
                book.resolve_collisions(at(now));
                if book.collisions() < before { "resolved".into() } else { "resolve".into() }
            }
            90 => {
                book.remove(&some);
                "remove".into()
            }
            91..=96 => {
                let networks: AddressNetworks =
                    AddressNetwork::ALL.into_iter().filter(|_| rng.below(2) == 0).collect();
                let choice = Choice { networks, only_new: rng.below(2) == 0 };
                let chosen = book.select(choice, at(now), &mut rng);
                if let Some(entry) = chosen {
                    assert!(networks.contains(AddressNetwork::of(&entry.location.host).unwrap()));
                    assert!(!(choice.only_new && entry.is_tried()));
                }
                let there_is = book.count(Table::New, networks) > 0
                    || !choice.only_new && book.count(Table::Tried, networks) > 0;
                assert_eq!(chosen.is_some(), there_is);
                "select".into()
            }
            97 => {
                if let Some(entry) = book.collision(&mut rng) {
                    assert!(entry.is_tried());
                }
                assert!(book.collisions() <= 10);
                "collision".into()
            }
            _ => {
                let unstored = book.unstored();
                let changes = disk.write(|batch| book.store(batch));
                // A change costs a row; only what was never stored is all written.
                assert!(changes <= unstored + 2, "{changes} rows for {unstored} changes");
                assert_eq!(book.unstored(), 0);
                if changes > 0 && disk.batches() % 4000 == 0 {
                    stored = content(&book);
                    // A crash: what is durable makes the same book.
                    let (restored, came, errors) = restore(&disk.rows(ADDRESSES), grouping.clone());
                    assert_eq!(errors, []);
                    assert_eq!((came.kept, came.moved, came.without_place), (stored.len(), 0, 0));
                    assert_eq!(content(&restored), stored);
                    check(&restored, &placement, &grouping);
                    book = restored;
                    assert_eq!(book.unstored(), 0);
                }
                "store".into()
            }
        };
        *happened.entry(what).or_default() += 1;
        if step % 250_000 == 0 || step == 999_999 {
            check(&book, &placement, &grouping);
        }
    }
    println!("{} nodes, {} of them tried; {happened:?}", book.len(), {
        book.count(Table::Tried, AddressNetworks::ALL)
    });
    let all = "New Reference Known Taken Unroutable attempt Unknown Tried Moved collides connected resolved resolve \
               remove select collision store";
    for what in all.split(' ') {
        assert!(happened.get(what).is_some_and(|count| *count > 100), "{what}: {happened:?}");
    }
    assert!(!stored.is_empty() && book.len() > 10_000);
}

/// With each change stored, and a crash after any of them, what is durable is what was stored.
#[test]
fn a_crash_at_each_step() {
    let grouping = Grouping::by_prefix();
    let mut book = book(7);
    let (mut disk, mut rng) = (Disk::default(), Rng::new([8; 32]));
    let mut now = NOW;
    let mut durable = content(&book);
    disk.write(|batch| book.store(batch));
    for _ in 0..1500 {
        now += rng.below(1200);
        // So few nodes that they take each other's places.
        let location = v4(8, rng.below(3) as u8, 0, rng.below(200) as u8);
        match rng.below(6) {
            0..=2 => {
                let source = Source::Node(v4(rng.below(99) as u8 + 20, 1, 1, 1).host);
                book.add(&node(location, now), &source, Duration::ZERO, at(now), &mut rng);
            }
            3 => {
                book.good(&location, at(now));
                book.resolve_collisions(at(now));
            }
            4 => book.attempt(&location, true, at(now)),
            _ => {
                book.remove(&location);
            }
        }
        // What was not stored is lost, and nothing else.
        let (restored, _, errors) = restore(&disk.rows(ADDRESSES), grouping.clone());
        assert_eq!((content(&restored), errors), (durable, vec![]));
        disk.write(|batch| book.store(batch));
        durable = content(&book);
    }
    assert!(durable.len() > 50 && durable.values().any(Entry::is_tried));
}

/// Every place can be reached: a table of which a part stays empty forever is a smaller table for the attacker to fill.
#[test]
fn the_whole_of_both_tables_can_be_filled() {
    let (mut book, mut rng) = (book(9), Rng::new([10; 32]));
    let mut new = BTreeSet::new();
    let mut tried = BTreeSet::new();
    let placement = Placement::new([9; 32]);
    let grouping = Grouping::by_prefix();
    let mut index = 0u32;
    while new.len() < 65_536 || tried.len() < 16_384 {
        index += 1;
        assert!(index < 2_000_000, "{} and {} places were reached", new.len(), tried.len());
        let location = super::people::any(index);
        let group = grouping.of(&location.host);
        let [first, second, ..] = rng.bytes::<8>();
        let source = grouping.of(&v4(first % 126 + 1, second, 1, 1).host);
        if new.len() < 65_536 {
            new.insert(placement.new_from(&location, &group, &source));
        }
        if tried.len() < 16_384 {
            tried.insert(placement.tried(&location, &group));
        }
    }
    println!("{index} addresses reach all places of both tables");
    // And the book fills up with them.
    for index in 0..150_000 {
        let location = super::people::any(index);
        let [first, second, ..] = rng.bytes::<8>();
        let source = Source::Node(v4(first % 126 + 1, second, 1, 1).host);
        book.add(&node(location, NOW), &source, Duration::ZERO, at(NOW), &mut rng);
        if index % 2 == 0 {
            book.good(&location, at(NOW));
        }
    }
    let tried = book.count(Table::Tried, AddressNetworks::ALL);
    let new = book.count(Table::New, AddressNetworks::ALL);
    assert!(tried > 14_000 && new > 40_000, "{tried} tried, {new} new");
}

/// Who has one group of addresses and tells of anything reaches 64 buckets of the new; who has one group of nodes that
/// answer, eight buckets of the tried.
#[test]
fn one_group_fills_its_share_and_no_more() {
    let (mut book, mut rng) = (book(11), Rng::new([12; 32]));
    for index in 0..300_000u32 {
        let [_, second, third, fourth] = index.to_be_bytes();
        let teller = Source::Node(v4(66, 66, third, fourth).host);
        let address = NodeAddress {
            host: v4(second % 100 + 20, third, fourth, 1).host,
            ..node(super::people::any(index), NOW)
        };
        book.add(&address, &teller, GOSSIP_PENALTY, at(NOW), &mut rng);
    }
    let buckets = |book: &AddressBook, table| {
        let cells = (0..1024).flat_map(|bucket| (0..64).map(move |position| Cell::new(bucket, position)));
        let taken = cells.filter(|cell| book.at(table, *cell).is_some());
        taken.map(Cell::bucket).collect::<BTreeSet<_>>().len()
    };
    let reached = buckets(&book, Table::New);
    assert!((50..=64).contains(&reached), "{reached} buckets of the new");
    assert!(book.len() <= 64 * 64 && book.len() > 3000, "{}", book.len());

    // A whole /16 of nodes, told of by everybody.
    let mut book = super::people::book(13);
    for index in 0..65_536u32 {
        let [_, _, third, fourth] = index.to_be_bytes();
        let location = v4(66, 66, third, fourth);
        let source = Source::Node(v4(third % 100 + 20, fourth, 1, 1).host);
        book.add(&node(location, NOW), &source, Duration::ZERO, at(NOW), &mut rng);
        book.good(&location, at(NOW));
    }
    let reached = buckets(&book, Table::Tried);
    assert!((6..=8).contains(&reached), "{reached} buckets of the tried");
    assert!(book.count(Table::Tried, AddressNetworks::ALL) <= 512);
}
