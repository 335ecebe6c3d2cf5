//! What peers tell: how much of it, and what is made of it.

use std::time::Duration;

use andon_bitcoin::addresses::{AddressNetworks, Allowance, Barred, Heard, Location, Source, Subnet};
use andon_bitcoin::wire::{Host, NodeAddress};
use andon_kernel::{Instant, Now, Rng};
use bitcoin::p2p::ServiceFlags;

use super::people::{DAY, HOUR, MINUTE, NOW, any, at, book, node, v4};

const START: Instant = Instant::from_micros(1_000_000);

fn now(seconds: u64) -> Now {
    Now { instant: START + Duration::from_secs(seconds), unix: at(NOW + seconds) }
}

#[test]
fn a_peer_may_tell_one_in_ten_seconds_and_what_it_was_asked_for() {
    let mut allowance = Allowance::new(START);
    let take = |allowance: &mut Allowance, seconds: f64| {
        let now = START + Duration::from_secs_f64(seconds);
        (0..5000).take_while(|_| allowance.take(now)).count()
    };
    for (seconds, expected) in
        [(0.0, 1), (0.0, 0), (9.9, 0), (10.0, 1), (19.0, 0), (20.0, 1), (120.0, 10), (20.0, 0)]
    {
        assert_eq!(take(&mut allowance, seconds), expected, "after {seconds} s");
    }
    allowance.asked();
    assert_eq!(take(&mut allowance, 120.0), 1000);
    // What is saved up is bounded, however long it takes.
    assert_eq!(take(&mut allowance, 1e9), 1000);
    allowance.asked();
    allowance.asked();
    assert_eq!(take(&mut allowance, 1e9), 2000);
    // Small steps add up.
    let mut allowance = Allowance::new(START);
    let taken = (0..100_000).filter(|step| allowance.take(START + Duration::from_millis(*step))).count();
    assert_eq!(taken, 10);
}

#[test]
fn what_is_told_is_sifted() {
    let mut barred = Barred::new();
    barred.bans.ban("50.0.0.0/8".parse::<Subnet>().unwrap(), at(NOW + DAY), at(NOW)).unwrap();
    barred.discouraged.add(&v4(60, 1, 1, 1).host, START);
    let nothing = NodeAddress { services: ServiceFlags::NONE, ..node(v4(70, 1, 1, 1), NOW) };
    let only_filters = NodeAddress { services: ServiceFlags::COMPACT_FILTERS, ..node(v4(71, 1, 1, 1), NOW) };
    let tor = Location { host: Host::TorV3([1; 32]), port: 8333 };
    let teller = v4(9, 9, 9, 9);
    let rows = [
        // What is told, and the time that is noted for it, if it is.
        (node(v4(40, 1, 1, 1), NOW), Some(NOW - 2 * HOUR)),
        (node(v4(41, 1, 1, 1), NOW + 10 * MINUTE), Some(NOW + 10 * MINUTE - 2 * HOUR)),
        (node(v4(42, 1, 1, 1), NOW + 10 * MINUTE + 1), Some(NOW - 5 * DAY - 2 * HOUR)),
        (node(v4(43, 1, 1, 1), 100_000_000), Some(NOW - 5 * DAY - 2 * HOUR)),
        (node(v4(44, 1, 1, 1), 0), Some(NOW - 5 * DAY - 2 * HOUR)),
        (node(v4(45, 1, 1, 1), u64::from(u32::MAX)), Some(NOW - 5 * DAY - 2 * HOUR)),
        // Its own address.
        (node(teller, NOW - 5), Some(NOW - 5)),
        (node(v4(50, 1, 1, 1), NOW), None),
        (node(v4(60, 1, 1, 1), NOW), None),
        (nothing, None),
        (only_filters, None),
        (node(tor, NOW), None),
        (node(v4(10, 0, 0, 1), NOW), None),
    ];
    for seed in 0..20 {
        let (mut book, mut rng) = (book(1), Rng::new([seed; 32]));
        let mut allowance = Allowance::new(START);
        allowance.asked();
        let mut told = rows.map(|(address, _)| address);
        let heard = book.hear(
            &mut told,
            &Source::Node(teller.host),
            &mut allowance,
            AddressNetworks::CLEAR,
            &barred,
            now(0),
            &mut rng,
        );
        assert_eq!(heard, Heard { new: 7, noted: 7, useless: 6, surplus: 0 });
        for (address, time) in rows {
            let entry = book.entry(&Location::from(&address));
            assert_eq!(entry.map(|entry| u64::from(entry.time)), time, "{address:?}");
            assert!(entry.is_none_or(|entry| entry.source == Source::Node(teller.host)));
        }
    }
}

#[test]
fn which_part_of_too_much_is_taken_is_not_the_tellers_choice() {
    let mut firsts = 0;
    for seed in 0..50 {
        let (mut book, mut rng) = (book(1), Rng::new([seed; 32]));
        let mut told: Vec<_> = (0..1000).map(|index| node(any(index), NOW)).collect();
        let mut allowance = Allowance::new(START);
        let heard = book.hear(
            &mut told,
            &Source::Node(v4(9, 9, 9, 9).host),
            &mut allowance,
            AddressNetworks::ALL,
            &Barred::new(),
            now(100),
            &mut rng,
        );
        assert_eq!((heard.noted, heard.surplus), (11, 989));
        firsts += (0..11).filter(|index| book.entry(&any(*index)).is_some()).count();
    }
    assert!(firsts < 30, "{firsts} of the first eleven");
}
