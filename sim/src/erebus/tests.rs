#![allow(clippy::unwrap_used, reason = "settings of tests are right, or the test has failed")]

use core::net::Ipv4Addr;
use core::time::Duration;

use andon_bitcoin::addresses::{AddressBook, AddressNetworks, Choice, Grouping, Location, Source, Table};
use andon_bitcoin::wire::{Host, NodeAddress};
use andon_kernel::{Rng, UnixTime};
use bitcoin::p2p::ServiceFlags;

use super::tables::{DAY, Rules, Tables};
use super::*;
use crate::cells_for_tests::models;
use crate::experiment::{Measure, Outcome};
use crate::random::Stream;

const FILL: &str = include_str!("../../experiments/e6-erebus-fill.toml");
const TRICKLE: &str = include_str!("../../experiments/e6-erebus-trickle.toml");

fn measure(outcome: &Outcome, name: &str) -> i64 {
    match outcome.measures[name] {
        Measure::Happened(happened) => i64::from(happened),
        Measure::Count(count) | Measure::Millionths(count) => count,
    }
}

#[test]
fn prefixes_fill_what_the_corrected_formula_says() {
    for (name, model) in models(FILL, load) {
        let outcome = model.trial(1);
        let (buckets, corrected) = (measure(&outcome, "buckets") * 1_000_000, measure(&outcome, "corrected"));
        assert!((buckets - corrected).abs() < corrected / 14, "{name}: {buckets} {corrected}");
        assert!(corrected <= measure(&outcome, "paper"), "{name}");
    }
}

/// The quick tables and our own book are of the same rules: the same gossip, dials and months fill them alike.
#[test]
fn the_tables_are_filled_as_our_own_book_is() {
    let (mut stream, mut rng) = (Stream::new(1), Rng::new([1; 32]));
    let mut tables = Tables::new(Rules::CORE, 7);
    let mut book = AddressBook::new(Grouping::by_prefix(), &mut rng);
    let start = 1_700_000_000;
    let group_of = |node: u32| (node % 900) as u16;
    let ip = |group: u16, host: u32| Ipv4Addr::from_bits((u32::from(group) + 0x1000) << 16 | host);
    let location = |node: u32| Location { host: Host::Ip(ip(group_of(node), node / 900).into()), port: 8333 };
    let is_up = |node: u32| node.is_multiple_of(4);
    let choice = Choice { networks: AddressNetworks::ALL, only_new: true };
    for step in 0..25_000u32 {
        // Forty days in all.
        let now = start + step * (40 * DAY / 25_000);
        let unix = UnixTime::from_secs(u64::from(now));
        for _ in 0..2 {
            let (node, source) = (stream.below(40_000) as u32, stream.below(300) as u16);
            let time = now - stream.below(u64::from(5 * DAY)) as u32;
            tables.add(node, group_of(node), source, time, 7200, now, &mut stream);
            let Location { host, port } = location(node);
            let address = NodeAddress { time, services: ServiceFlags::NETWORK, host, port };
            let source = Source::Node(Host::Ip(ip(source, 9).into()));
            book.add(&address, &source, Duration::from_secs(7200), unix, &mut rng);
        }
        tables.resolve(now);
        let node = tables.collision(&mut stream);
        if let Some(node) = node.or_else(|| tables.select(true, now, &mut stream).map(|entry| entry.node)) {
            tables.attempt(node, now);
            if is_up(node) {
                tables.good(node, now);
            }
        }
        book.resolve_collisions(unix);
        let entry = match book.collision(&mut rng) {
            Some(entry) => Some(entry),
            None => book.select(choice, unix, &mut rng),
        };
        if let Some(found) = entry.map(|entry| entry.location) {
            book.attempt(&found, true, unix);
            let Host::Ip(core::net::IpAddr::V4(found_ip)) = found.host else {
                panic!("only these were told")
            };
            let (group, host) = ((found_ip.to_bits() >> 16) - 0x1000, found_ip.to_bits() & 0xffff);
            if is_up(host * 900 + group) {
                book.good(&found, unix);
            }
        }
    }
    let theirs = |table| book.count(table, AddressNetworks::ALL) as i64;
    for (name, ours, theirs) in [
        ("new", i64::from(tables.new_count), theirs(Table::New)),
        ("tried", i64::from(tables.tried_count), theirs(Table::Tried)),
    ] {
        assert!(ours > 1000 && (ours - theirs).abs() * 25 < ours, "{name}: {ours} {theirs}");
    }
    let [new, tried] = tables.cells();
    let cells: usize = book.entries().map(|entry| entry.references()).sum();
    let ours = new.count();
    assert!(ours.abs_diff(cells) * 25 < ours, "{ours} {cells}");
    assert_eq!(tried.count(), tables.tried_count as usize);
}

/// A short attack on a young node: all that the long ones are, but in seconds.
#[test]
fn an_attack_moves_in_the_directions_that_were_published() {
    let settings = |change: &str| {
        let text = "[victim]\nage_days = 3\noutgoing = 8\nnew_buckets = 64\ntried_buckets = 16\nfeelers = true\ntests = true\n\
            [honest]\nreachable = 2000\nunreachable = 8000\ntold_reachable = 0.3\ntold_per_1000s = 100\nduring_attack = 0.1\n\
            leaves_per_day = 0.2\nfor_good = 0.5\n[attack]\ndays = 20\ntold_per_1000s = 300\nagain_days = 10\ngroups = 500\n\
            restart_above = 0.15\n";
        let (from, to) = change.split_once(" -> ").unwrap_or(("", ""));
        assert!(text.contains(from));
        load("erebus", text.replace(from, to).parse().unwrap()).unwrap().unwrap()
    };
    let mean = |change: &str, name: &str| {
        (0..4).map(|seed| measure(&settings(change).trial(seed), name)).sum::<i64>() / 4
    };
    let base = mean("", "success");
    assert!(base > 100_000, "{base}");
    assert!(mean("outgoing = 8 -> outgoing = 16", "success") < base);
    assert!(mean("told_per_1000s = 300 -> told_per_1000s = 30", "success") < base);
    assert!(mean("feelers = true -> feelers = false", "tried") < mean("", "tried"));
    let outcome = settings("").trial(3);
    assert_eq!(outcome, settings("").trial(3));
    assert_ne!(outcome.digest, settings("").trial(4).digest);
    assert_eq!(outcome.series.len(), 80);
    assert_eq!(measure(&outcome, "success"), outcome.series[76].value);
}

#[test]
fn the_experiments_are_read_and_wrong_settings_are_not() {
    assert_eq!(models(TRICKLE, load).len(), 8);
    let wrong = |change: &str| {
        let (from, to) = change.split_once(" -> ").unwrap();
        let text = TRICKLE.replace(from, to);
        std::panic::catch_unwind(|| models(&text, load)).is_err()
    };
    for change in [
        "outgoing = 8 -> outgoing = 0",
        "told_reachable = 0.2 -> told_reachable = 1.5",
        "reachable = 10000 -> reachable = 10",
        "again_days = 30 -> again_days = 0",
        "groups = 1000 -> groups = 0",
        "told_per_1000s = 2000        -> told_per_1000s = 100000",
        "tests = true -> tests = true\ncolour = 1",
    ] {
        assert!(wrong(change), "{change}");
    }
}

/// The paper's figures, from one trial each: takes half a minute.
#[test]
#[ignore = "takes half a minute"]
fn weeks_of_it_come_out_as_published() {
    let bands = [
        ("a node of 30 days", "day_eclipsed", 32..=48),
        ("a node of 50 days", "success", 130_000..=230_000),
        ("tables of a quarter and 16 connections", "success", 0..=100_000),
    ];
    let models = models(TRICKLE, load);
    for (cell, name, band) in bands {
        let (_, model) = models.iter().find(|(name, _)| name == cell).unwrap();
        let outcome = model.trial(1);
        println!("{cell}: {:?}", outcome.measures);
        let value = measure(&outcome, name);
        assert!(band.contains(&value), "{cell}: {name} {value}");
    }
}
