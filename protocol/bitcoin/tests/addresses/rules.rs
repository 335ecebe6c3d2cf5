//! The book's rules, one by one.

use std::collections::BTreeMap;
use std::time::Duration;

use andon_bitcoin::addresses::limits::GOSSIP_PENALTY;
use andon_bitcoin::addresses::{
    Added, AddressBook, AddressNetwork, AddressNetworks, Choice, Location, Reached, Source, Table,
};
use andon_bitcoin::wire::Host;
use andon_kernel::Rng;
use bitcoin::p2p::ServiceFlags;

use super::people::{DAY, HOUR, MINUTE, NOW, add, any, at, book, force, node, rivals, source, v4};

const ALL: Choice = Choice { networks: AddressNetworks::ALL, only_new: false };

fn rng() -> Rng {
    Rng::new([9; 32])
}

#[test]
fn what_is_told_is_noted_once() {
    let (mut book, mut rng) = (book(1), rng());
    let location = v4(8, 8, 8, 8);
    assert_eq!(add(&mut book, location, &source(9, 9), NOW, &mut rng), Added::New);
    assert_eq!(add(&mut book, location, &source(9, 9), NOW, &mut rng), Added::Known);
    // Another port is another node.
    assert_eq!(add(&mut book, Location { port: 1, ..location }, &source(9, 9), NOW, &mut rng), Added::New);
    assert_eq!(add(&mut book, v4(10, 0, 0, 1), &source(9, 9), NOW, &mut rng), Added::Unroutable);
    assert_eq!((book.len(), book.count(Table::New, AddressNetworks::ALL)), (2, 2));
    let entry = book.entry(&location).unwrap();
    assert_eq!((u64::from(entry.time), entry.references(), entry.source), (NOW, 1, source(9, 9)));
    assert!(book.entry(&v4(10, 0, 0, 1)).is_none());
    assert!(book.remove(&location) && !book.remove(&location));
    assert_eq!(book.len(), 1);
}

#[test]
fn gossip_counts_as_older_than_it_says_unless_it_is_of_the_teller() {
    let location = v4(8, 8, 8, 8);
    for (source, time, expected) in [
        (source(9, 9), NOW, NOW - 2 * HOUR),
        (Source::Node(location.host), NOW, NOW),
        (source(9, 9), HOUR, 0),
    ] {
        let mut book = book(1);
        book.add(&node(location, time), &source, GOSSIP_PENALTY, at(NOW), &mut rng());
        assert_eq!(u64::from(book.entry(&location).unwrap().time), expected);
    }
}

#[test]
fn the_time_moves_in_steps_and_services_add_up() {
    let location = v4(8, 8, 8, 8);
    // First heard of at, then told of at, by gossip or not: the time that is noted.
    for (first, then, penalty, expected) in [
        (NOW - 3 * HOUR, NOW - 2 * HOUR, 0, NOW - 3 * HOUR),
        (NOW - 3 * HOUR, NOW - 2 * HOUR + 1, 0, NOW - 2 * HOUR + 1),
        (NOW - 3 * HOUR, NOW, 2 * HOUR, NOW - 3 * HOUR),
        (NOW - 3 * HOUR - 1, NOW, 2 * HOUR, NOW - 2 * HOUR),
        (NOW - 3 * DAY, NOW - 2 * DAY, 0, NOW - 3 * DAY),
        (NOW - 3 * DAY, NOW - 2 * DAY + 1, 0, NOW - 2 * DAY + 1),
        (NOW, NOW - DAY, 0, NOW),
        (0, 10, 0, 0),
    ] {
        let (mut book, mut rng) = (book(1), rng());
        add(&mut book, location, &source(9, 9), first, &mut rng);
        let mut again = node(location, then);
        again.services = ServiceFlags::P2P_V2;
        book.add(&again, &source(7, 7), Duration::from_secs(penalty), at(NOW), &mut rng);
        let entry = book.entry(&location).unwrap();
        assert_eq!(u64::from(entry.time), expected, "{first} {then} {penalty}");
        assert!(entry.services.has(ServiceFlags::P2P_V2 | ServiceFlags::COMPACT_FILTERS));
        book.set_services(&location, ServiceFlags::WITNESS);
        assert_eq!(book.entry(&location).unwrap().services, ServiceFlags::WITNESS);
    }
}

#[test]
fn further_places_are_ever_rarer_and_eight_at_most() {
    let (mut book, mut rng) = (book(1), rng());
    let location = v4(8, 8, 8, 8);
    let mut told_until = [0u32; 9];
    for told in 0..200_000u32 {
        let [_, _, first, second] = (told % 20_000).to_be_bytes();
        // Each time it is a little newer: else nothing of it is news.
        let now = NOW + u64::from(told);
        book.add(&node(location, now), &source(first + 20, second), GOSSIP_PENALTY, at(now), &mut rng);
        let references = book.entry(&location).unwrap().references();
        if told_until[references] == 0 {
            told_until[references] = told + 1;
        }
    }
    assert!(told_until[1..].is_sorted() && told_until[8] > 0, "{told_until:?}");
    // Its second place took two tries or so, its eighth a hundred and more.
    assert!(told_until[2] < 30 && told_until[8] > 100 && told_until[8] < 2000, "{told_until:?}");
    assert_eq!((book.len(), book.count(Table::New, AddressNetworks::ALL)), (1, 1));
    // One that stands in many places is moved to the tried out of all of them.
    assert_eq!(book.good(&location, at(NOW)), Reached::Moved);
    let entry = book.entry(&location).unwrap();
    assert!(entry.is_tried() && entry.references() == 0);
    assert_eq!(book.count(Table::New, AddressNetworks::ALL), 0);
    // And is not told of any more.
    assert_eq!(add(&mut book, location, &source(99, 99), NOW + DAY, &mut rng), Added::Known);
}

#[test]
fn a_place_is_kept_by_who_is_worth_it() {
    // Two nodes of the same place among the new, by the same source.
    let told_by = source(9, 9);
    let prepared = || {
        let mut book = book(1);
        let mut rng = rng();
        let first = any(0);
        assert_eq!(add(&mut book, first, &told_by, NOW, &mut rng), Added::New);
        let second = (1..)
            .map(any)
            .find(|location| {
                let mut trial = super::people::book(1);
                add(&mut trial, first, &told_by, NOW, &mut rng);
                add(&mut trial, *location, &told_by, NOW, &mut rng) == Added::Taken
            })
            .unwrap();
        (book, rng, first, second)
    };
    let (mut book, mut rng, first, second) = prepared();
    assert_eq!(add(&mut book, second, &told_by, NOW, &mut rng), Added::Taken);
    assert!(book.entry(&second).is_none());
    // It is no longer worth its place: a month later, or after three attempts without success.
    assert_eq!(add(&mut book, second, &told_by, NOW + 31 * DAY, &mut rng), Added::New);
    assert!(book.entry(&first).is_none());

    let (mut book, mut rng, first, second) = prepared();
    for hour in 0..3 {
        // Another node is reached in between: so it is not us who are offline.
        book.good(&v4(1, 1, 1, 1), at(NOW + hour * HOUR + 1));
        book.attempt(&first, true, at(NOW + hour * HOUR));
    }
    assert_eq!(book.entry(&first).unwrap().attempts, 3);
    let now = NOW + 2 * HOUR;
    assert_eq!(add(&mut book, second, &told_by, now + MINUTE, &mut rng), Added::Taken, "it is being tried");
    assert_eq!(add(&mut book, second, &told_by, now + MINUTE + 1, &mut rng), Added::New);

    // It has another place, and the newcomer has none.
    let (mut book, mut rng, first, second) = prepared();
    for told in 0..1000u64 {
        let second = (told % 200) as u8;
        let now = NOW + told * 2 * HOUR;
        book.add(&node(first, now), &source(77, second), Duration::from_secs(1), at(now), &mut rng);
    }
    assert!(book.entry(&first).unwrap().references() > 1);
    let references = book.entry(&first).unwrap().references();
    assert_eq!(add(&mut book, second, &told_by, NOW + 2000 * HOUR, &mut rng), Added::New);
    assert_eq!(book.entry(&first).unwrap().references(), references - 1);
}

#[test]
fn attempts_count_once_until_somebody_is_reached() {
    let (mut book, mut rng) = (book(1), rng());
    let location = v4(8, 8, 8, 8);
    add(&mut book, location, &source(9, 9), NOW, &mut rng);
    let attempts = |book: &AddressBook| book.entry(&location).unwrap().attempts;
    book.attempt(&location, false, at(NOW));
    assert_eq!((attempts(&book), u64::from(book.entry(&location).unwrap().last_try)), (0, NOW));
    for minute in 1..10 {
        book.attempt(&location, true, at(NOW + minute));
        assert_eq!(attempts(&book), 1);
    }
    book.good(&v4(1, 1, 1, 1), at(NOW + 20));
    book.attempt(&location, true, at(NOW + 21));
    assert_eq!(attempts(&book), 2);
    assert_eq!(book.good(&location, at(NOW + 30)), Reached::Moved);
    let entry = book.entry(&location).unwrap();
    assert_eq!((entry.attempts, u64::from(entry.last_success), u64::from(entry.time)), (0, NOW + 30, NOW));
    assert_eq!(book.good(&location, at(NOW + 40)), Reached::Tried);
    assert_eq!(book.good(&v4(1, 1, 1, 1), at(NOW)), Reached::Unknown);
    // What is not in the book is not made up.
    book.attempt(&v4(1, 1, 1, 1), true, at(NOW));
    book.connected(&v4(1, 1, 1, 1), at(NOW));
    assert_eq!(book.len(), 1);
}

#[test]
fn a_connection_moves_the_time_in_steps_of_twenty_minutes() {
    let (mut book, mut rng) = (book(1), rng());
    let location = v4(8, 8, 8, 8);
    add(&mut book, location, &source(9, 9), NOW, &mut rng);
    for (after, expected) in
        [(20 * MINUTE, 0), (20 * MINUTE + 1, 20 * MINUTE + 1), (30 * MINUTE, 20 * MINUTE + 1)]
    {
        book.connected(&location, at(NOW + after));
        assert_eq!(u64::from(book.entry(&location).unwrap().time), NOW + expected);
    }
}

/// A book in which one node stands among the tried, since `NOW`, and another waits for its place since `then`.
fn waiting(then: u64) -> (AddressBook, Rng, Location, Location) {
    let (mut book, mut rng) = (book(1), rng());
    let (older, newer) = rivals(&book, 0);
    force(&mut book, older, NOW, &mut rng);
    force(&mut book, newer, NOW, &mut rng);
    assert_eq!(book.good(&older, at(NOW)), Reached::Moved);
    book.resolve_collisions(at(then));
    assert_eq!(book.good(&newer, at(then)), Reached::Collides(older));
    assert_eq!(book.good(&newer, at(then)), Reached::Collides(older));
    assert_eq!(book.collisions(), 1);
    assert_eq!(book.collision(&mut rng).unwrap().location, older);
    (book, rng, older, newer)
}

fn somebody_is_reached(book: &mut AddressBook, now: u64) {
    book.good(&v4(1, 1, 1, 1), at(now));
}

#[test]
fn who_was_reached_lately_keeps_its_place() {
    let (mut book, _, older, newer) = waiting(NOW + HOUR);
    somebody_is_reached(&mut book, NOW + 4 * HOUR - 1);
    book.resolve_collisions(at(NOW + 4 * HOUR - 1));
    assert_eq!(book.collisions(), 0);
    assert!(book.entry(&older).unwrap().is_tried() && !book.entry(&newer).unwrap().is_tried());
}

#[test]
fn who_fails_its_test_gives_its_place_up() {
    let start = NOW + 5 * HOUR;
    let (mut book, mut rng, older, newer) = waiting(start);
    book.resolve_collisions(at(start + 1));
    book.attempt(&older, true, at(start + 10));
    somebody_is_reached(&mut book, start + 20);
    book.resolve_collisions(at(start + 70));
    assert!(book.entry(&older).unwrap().is_tried(), "it has a minute to answer");
    book.resolve_collisions(at(start + 71));
    assert_eq!(book.collisions(), 0);
    assert!(book.collision(&mut rng).is_none());
    let (older, newer) = (book.entry(&older).unwrap(), book.entry(&newer).unwrap());
    assert!(newer.is_tried() && !older.is_tried());
    // It has one place among the new, and what was known of it is not lost.
    assert_eq!((older.references(), older.attempts, u64::from(older.last_success)), (1, 1, NOW));
    assert_eq!(u64::from(newer.last_success), start, "when it was reached, not when it was moved");
}

#[test]
fn who_passes_its_test_keeps_its_place() {
    let start = NOW + 5 * HOUR;
    let (mut book, _, older, _) = waiting(start);
    book.attempt(&older, true, at(start + 10));
    assert_eq!(book.good(&older, at(start + 11)), Reached::Tried);
    book.resolve_collisions(at(start + 100));
    assert!(book.entry(&older).unwrap().is_tried());
    assert_eq!(book.collisions(), 0);
}

#[test]
fn a_failed_test_while_offline_is_none() {
    let start = NOW + 5 * HOUR;
    let (mut book, _, older, _) = waiting(start);
    book.attempt(&older, true, at(start + 10));
    for minute in 1..120 {
        book.resolve_collisions(at(start + minute * MINUTE));
        assert!(book.entry(&older).unwrap().is_tried(), "nobody answers");
    }
    book.connected(&v4(1, 1, 1, 1), at(start + 2 * HOUR));
    book.resolve_collisions(at(start + 2 * HOUR));
    assert!(!book.entry(&older).unwrap().is_tried(), "somebody does");
}

#[test]
fn who_can_not_be_tested_gives_its_place_up_in_forty_minutes() {
    let start = NOW + 5 * HOUR;
    let (mut book, _, older, _) = waiting(start);
    for minute in 1..=41 {
        somebody_is_reached(&mut book, start + minute * MINUTE);
        book.resolve_collisions(at(start + minute * MINUTE));
        assert_eq!(book.entry(&older).unwrap().is_tried(), minute <= 40, "after {minute} minutes");
    }
}

#[test]
fn sleep_is_no_failed_test() {
    let start = NOW + 5 * HOUR;
    let (mut book, _, older, _) = waiting(start);
    for night in 1..=4 {
        let now = start + night * 8 * HOUR;
        somebody_is_reached(&mut book, now);
        book.resolve_collisions(at(now));
        assert!(book.entry(&older).unwrap().is_tried(), "after {night} nights");
    }
    somebody_is_reached(&mut book, start + 40 * HOUR);
    book.resolve_collisions(at(start + 40 * HOUR));
    assert!(!book.entry(&older).unwrap().is_tried(), "ten minutes of each night count");
}

#[test]
fn who_waits_for_a_place_that_is_empty_gets_it() {
    let (mut book, _, older, newer) = waiting(NOW + 5 * HOUR);
    assert!(book.remove(&older));
    book.resolve_collisions(at(NOW + 5 * HOUR));
    assert!(book.entry(&newer).unwrap().is_tried());
    assert_eq!(book.collisions(), 0);
    let (mut book, _, older, newer) = waiting(NOW + 5 * HOUR);
    assert!(book.remove(&newer));
    assert_eq!(book.collisions(), 0);
    book.resolve_collisions(at(NOW + 9 * HOUR));
    assert!(book.entry(&older).unwrap().is_tried());
}

#[test]
fn ten_wait_at_most() {
    let (mut book, mut rng) = (book(1), rng());
    let mut waiting = 0;
    for pair in 0..12 {
        let (older, newer) = rivals(&book, pair * 10_000);
        force(&mut book, older, NOW, &mut rng);
        force(&mut book, newer, NOW, &mut rng);
        assert_eq!(book.good(&older, at(NOW)), Reached::Moved);
        assert_eq!(book.good(&newer, at(NOW)), Reached::Collides(older));
        waiting += 1;
        assert_eq!(book.collisions(), waiting.min(10));
    }
}

/// How often each node is chosen.
fn choices(book: &AddressBook, choice: Choice, rounds: u32) -> BTreeMap<Location, u32> {
    let mut rng = rng();
    let mut counts = BTreeMap::new();
    for _ in 0..rounds {
        if let Some(entry) = book.select(choice, at(NOW + HOUR), &mut rng) {
            *counts.entry(entry.location).or_default() += 1;
        }
    }
    counts
}

#[test]
fn half_of_all_choices_were_reached_before() {
    let (mut book, mut rng) = (book(1), rng());
    assert_eq!(choices(&book, ALL, 10).len(), 0);
    for index in 0..200 {
        force(&mut book, any(index), NOW, &mut rng);
    }
    let chosen = choices(&book, ALL, 20_000);
    assert_eq!(chosen.len(), 200, "each is chosen");
    assert_eq!(book.good(&any(0), at(NOW)), Reached::Moved);
    let chosen = choices(&book, ALL, 10_000);
    assert!((4700..5300).contains(&chosen[&any(0)]), "{} of 10,000", chosen[&any(0)]);
    assert!(!choices(&book, Choice { only_new: true, ..ALL }, 5000).contains_key(&any(0)));
    // Of one table there is only what it has.
    for index in 1..200 {
        book.remove(&any(index));
    }
    assert_eq!(choices(&book, ALL, 10), BTreeMap::from([(any(0), 10)]));
    assert_eq!(choices(&book, Choice { only_new: true, ..ALL }, 10).len(), 0);
}

#[test]
fn each_bucket_is_as_likely_as_the_others_and_each_node_in_it() {
    let (mut book, mut rng) = (book(3), rng());
    for index in 0..60 {
        force(&mut book, any(index), NOW, &mut rng);
    }
    let mut per_bucket = BTreeMap::<u16, Vec<Location>>::new();
    for entry in book.entries() {
        let andon_bitcoin::addresses::Places::New(references) = &entry.places else { unreachable!() };
        per_bucket.entry(references.cells()[0].bucket()).or_default().push(entry.location);
    }
    let chosen = choices(&book, ALL, 60_000);
    let expected = 60_000 / per_bucket.len() as u32;
    for nodes in per_bucket.values() {
        let count: u32 = nodes.iter().map(|node| chosen[node]).sum();
        assert!(count.abs_diff(expected) < expected / 4, "{count} of {expected} for {nodes:?}");
        for node in nodes {
            let (count, expected) = (chosen[node], count / nodes.len() as u32);
            assert!(count.abs_diff(expected) < expected / 4, "{count} of {expected} for {node:?}");
        }
    }
}

#[test]
fn failures_make_a_node_rarer_and_not_impossible() {
    let (mut book, mut rng) = (book(1), rng());
    force(&mut book, any(0), NOW, &mut rng);
    force(&mut book, any(1), NOW, &mut rng);
    for failure in 0..8 {
        somebody_is_reached(&mut book, NOW + 2 * failure + 1);
        book.attempt(&any(0), true, at(NOW + 2 * failure));
    }
    assert_eq!(book.entry(&any(0)).unwrap().attempts, 8);
    let chosen = choices(&book, ALL, 20_000);
    // Its chance is 0.036 in a draw, and grows with each draw that is not taken.
    let share = f64::from(chosen[&any(0)]) / 20_000.0;
    assert!((0.02..0.06).contains(&share), "{share}");
    // When there is nobody else, it is taken.
    book.remove(&any(1));
    book.attempt(&any(0), true, at(NOW + HOUR));
    assert_eq!(choices(&book, ALL, 100)[&any(0)], 100);
}

#[test]
fn choices_and_counts_are_by_network() {
    let (mut book, mut rng) = (book(1), rng());
    let hosts = [
        any(0).host,
        Host::Ip("2001:4860::1".parse().unwrap()),
        Host::TorV3([3; 32]),
        Host::I2p([4; 32]),
        Host::Cjdns("fc11::1".parse().unwrap()),
    ];
    for (index, host) in hosts.into_iter().enumerate() {
        let location = Location { host, port: 8333 };
        force(&mut book, location, NOW, &mut rng);
        if index % 2 == 0 {
            assert_eq!(book.good(&location, at(NOW)), Reached::Moved);
        }
    }
    for (index, network) in AddressNetwork::ALL.into_iter().enumerate() {
        let networks: AddressNetworks = [network].into_iter().collect();
        let is_tried = index % 2 == 0;
        assert_eq!(book.count(Table::Tried, networks), usize::from(is_tried), "{network:?}");
        assert_eq!(book.count(Table::New, networks), usize::from(!is_tried), "{network:?}");
        let chosen = choices(&book, Choice { networks, only_new: false }, 20);
        assert_eq!(chosen.keys().map(|location| location.host).collect::<Vec<_>>(), [hosts[index]]);
        let only_new = choices(&book, Choice { networks, only_new: true }, 20);
        assert_eq!(only_new.len(), usize::from(!is_tried));
        let told = book.sample(1000, 100, Some(network), at(NOW), &mut rng);
        assert_eq!(told.iter().map(|address| address.host).collect::<Vec<_>>(), [hosts[index]]);
    }
    assert_eq!(book.count(Table::Tried, AddressNetworks::ALL), 3);
    assert_eq!(choices(&book, Choice { networks: AddressNetworks::NONE, only_new: false }, 5).len(), 0);
}

#[test]
fn others_are_told_of_a_part() {
    let (mut book, mut rng) = (book(1), rng());
    assert_eq!(book.sample(1000, 23, None, at(NOW), &mut rng), []);
    for index in 0..6000 {
        add(
            &mut book,
            any(index),
            &source((index % 90) as u8 + 20, 1),
            NOW - u64::from(index % 2) * 29 * DAY,
            &mut rng,
        );
    }
    let count = book.len();
    for (most, percent, expected) in [
        (1000, 23, 1000),
        (usize::MAX, 23, count * 23 / 100),
        (usize::MAX, 100, count),
        (10, 100, 10),
        (0, 100, 0),
    ] {
        let told = book.sample(most, percent, None, at(NOW), &mut rng);
        let mut locations: Vec<_> = told.iter().map(Location::from).collect();
        locations.sort_unstable();
        locations.dedup();
        assert_eq!((told.len(), locations.len()), (expected, expected), "{most} {percent}");
        assert!(locations.iter().all(|location| book.entry(location).is_some()));
    }
    // Two days later half of them are not worth it.
    let told = book.sample(usize::MAX, 100, None, at(NOW + 2 * DAY), &mut rng);
    let fresh = book.entries().filter(|entry| u64::from(entry.time) == NOW).count();
    assert_eq!(told.len(), fresh);
    assert!(fresh > count / 3 && fresh < count * 2 / 3);
}
