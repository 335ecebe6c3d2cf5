//! How fast the address book is and how much memory it takes, beside Kyoto's; and how much of each one attacker gets.
//!
//! `cargo bench --bench addresses`, in this folder
//!
//! Times are medians over rounds. Kyoto's book has the tables that Kyoto gives it: 16 buckets of 16, and 4 of 16. At the end the
//! benchmark fails if a claim about ours does not hold.
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark that can not go on has failed")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use andon_bitcoin::addresses::{
    ADDRESSES, AddressBook, AddressNetworks, AsMap, Choice, Grouping, Location, Placement, Restoring, Source,
    Table, is_routable,
};
use andon_bitcoin::wire::{Host, NodeAddress};
use andon_kernel::{MemoryStore, Outbox, Output, Rng, Store, Ticket, UnixTime};
use bitcoin::p2p::ServiceFlags;
use bitcoin::p2p::address::AddrV2;
use bitcoin_address_book::{Record, Table as KyotoTable};
use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const NOW: UnixTime = UnixTime::from_secs(1_750_000_000);
/// When nothing was tried a moment ago.
const LATER: UnixTime = UnixTime::from_secs(1_750_003_600);

/// As many nodes as a real node's book had that had run for months.
const NODES: usize = 75_000;

/// Of these, those that were reached.
const TRIED: usize = 10_000;

/// Operations in a round, and rounds.
const OPERATIONS: usize = 2000;
const ROUNDS: usize = 31;

/// Memory of a node in a full book, at most.
const MOST_BYTES: usize = 190;

/// The share of all choices that an attacker with one group gets in a young book, at most: it can have half of the new, and
/// half of the choices are of those that were reached.
const MOST_CHOSEN: f64 = 0.35;

const ANY: Choice = Choice { networks: AddressNetworks::ALL, only_new: false };

fn host(rng: &mut Rng) -> Host {
    loop {
        let host = if rng.below(7) == 0 {
            Host::Ip(Ipv6Addr::from_bits(0x2a << 120 | u128::from(rng.u64()) << 40).into())
        } else {
            Host::Ip(Ipv4Addr::from_bits(rng.u64() as u32).into())
        };
        if is_routable(&host) {
            return host;
        }
    }
}

fn node(host: Host) -> NodeAddress {
    let time = NOW.as_secs() as u32;
    NodeAddress { time, services: ServiceFlags::NETWORK | ServiceFlags::COMPACT_FILTERS, host, port: 8333 }
}

fn add(book: &mut AddressBook, host: Host, source: &Source, rng: &mut Rng) {
    black_box(book.add(&node(host), source, Duration::ZERO, NOW, rng));
}

fn full(grouping: Grouping, rng: &mut Rng) -> AddressBook {
    let mut book = AddressBook::with_placement(grouping, Placement::new([1; 32]));
    let sources: Vec<Source> = (0..3000).map(|_| Source::Node(host(rng))).collect();
    while book.len() < NODES {
        let host = host(rng);
        let source = &sources[rng.below(3000) as usize];
        add(&mut book, host, source, rng);
        if book.count(Table::Tried, AddressNetworks::ALL) < TRIED {
            book.good(&Location { host, port: 8333 }, NOW);
        }
    }
    book
}

/// Keeps the compiler from leaving out what nobody uses.
fn done<T>(value: T) {
    black_box(value);
}

/// Nanoseconds for an operation: the median of rounds.
fn time(mut round: impl FnMut() -> Duration) -> f64 {
    let mut times: Vec<f64> = (0..ROUNDS).map(|_| round().as_secs_f64() * 1e9 / OPERATIONS as f64).collect();
    times.sort_by(f64::total_cmp);
    times[ROUNDS / 2]
}

#[allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn clock(run: impl FnOnce()) -> Duration {
    let start = Instant::now();
    run();
    start.elapsed()
}

fn ours(book: &mut AddressBook, name: &str, rng: &mut Rng) {
    let known: Vec<Location> = book.entries().map(|entry| entry.location).collect();
    let some = |rng: &mut Rng| known[rng.below(known.len() as u64) as usize];
    let source = Source::Node(host(rng));
    let other = time(|| {
        let hosts: Vec<Host> = (0..OPERATIONS).map(|_| host(rng)).collect();
        clock(|| hosts.into_iter().for_each(|host| add(book, host, &source, rng)))
    });
    let again = time(|| {
        let hosts: Vec<Host> = (0..OPERATIONS).map(|_| some(rng).host).collect();
        clock(|| hosts.into_iter().for_each(|host| add(book, host, &source, rng)))
    });
    let select = time(|| clock(|| (0..OPERATIONS).for_each(|_| done(book.select(ANY, LATER, rng)))));
    let attempt = time(|| {
        let nodes: Vec<Location> = (0..OPERATIONS).map(|_| some(rng)).collect();
        clock(|| nodes.iter().for_each(|node| book.attempt(node, true, NOW)))
    });
    let good = time(|| {
        let nodes: Vec<Location> = (0..OPERATIONS).map(|_| some(rng)).collect();
        clock(|| nodes.iter().for_each(|node| done(book.good(node, NOW))))
    });
    let sample = time(|| clock(|| done(book.sample(1000, 23, None, NOW, rng)))) * OPERATIONS as f64 / 1e3;
    println!(
        "| {name} | {} | {other:.0} | {again:.0} | {select:.0} | {attempt:.0} | {good:.0} | {sample:.0} |",
        book.len()
    );
}

fn kyoto(name: &str, rng: &mut Rng) {
    let mut table = KyotoTable::<16, 16, 8>::new();
    let record = |rng: &mut Rng, source: &IpAddr| {
        let ip = AddrV2::Ipv4(Ipv4Addr::from_bits(rng.u64() as u32));
        Record::new(ip, 8333, ServiceFlags::NETWORK, source)
    };
    let sources: Vec<IpAddr> = (0..3000).map(|_| Ipv4Addr::from_bits(rng.u64() as u32).into()).collect();
    let mut held = 0;
    for _ in 0..400_000 {
        let source = sources[rng.below(3000) as usize];
        let record = record(rng, &source);
        held += usize::from(table.add(&record).is_none());
    }
    let other = time(|| {
        let records: Vec<Record> = (0..OPERATIONS).map(|_| record(rng, &sources[0])).collect();
        clock(|| records.iter().for_each(|record| done(table.add(record))))
    });
    let select = time(|| clock(|| (0..OPERATIONS).for_each(|_| done(table.select()))));
    println!("| {name} | {held} | {other:.0} | | {select:.0} | | | |");
}

/// 150 nodes of a DNS seed, of which ten were reached; then some groups of sources tell of ten thousand. The share of choices
/// that are theirs, in ours and in Kyoto's.
fn attacked(groups: u32, rng: &mut Rng) -> (f64, f64) {
    let honest: Vec<Ipv4Addr> = (0..150)
        .map(|_| Ipv4Addr::from_bits(rng.u64() as u32))
        .filter(|ip| is_routable(&Host::Ip((*ip).into())) && ip.octets()[0] < 240)
        .collect();
    let start = rng.u64() as u32;
    let hostile = |number: u32| {
        Ipv4Addr::from_bits(240 << 24 | start.wrapping_add(number.wrapping_mul(0x9e37_79b1)) >> 4)
    };
    let teller = |number: u32| Ipv4Addr::new(66, (start as u8).wrapping_add((number % groups) as u8), 1, 1);

    let mut book = AddressBook::new(Grouping::by_prefix(), rng);
    let seed = Source::named("seed");
    for ip in &honest {
        add(&mut book, Host::Ip((*ip).into()), &seed, rng);
    }
    for ip in &honest[..10] {
        book.good(&Location { host: Host::Ip((*ip).into()), port: 8333 }, NOW);
    }
    for number in 0..10_000 {
        let source = Source::Node(Host::Ip(teller(number).into()));
        add(&mut book, Host::Ip(hostile(number).into()), &source, rng);
    }
    let is_hostile = |ip: Ipv4Addr| ip.octets()[0] >= 240;
    let ours = (0..CHOICES).filter(|_| match book.select(ANY, LATER, rng).unwrap().location.host {
        Host::Ip(IpAddr::V4(ip)) => is_hostile(ip),
        _ => false,
    });
    let ours = ours.count() as f64 / CHOICES as f64;

    let mut new = KyotoTable::<16, 16, 8>::new();
    let mut tried = KyotoTable::<4, 16, 2>::new();
    let record = |ip: Ipv4Addr, source: Ipv4Addr| {
        Record::new(AddrV2::Ipv4(ip), 8333, ServiceFlags::NETWORK, &source.into())
    };
    for ip in &honest {
        new.add(&record(*ip, Ipv4Addr::new(1, 1, 1, 1)));
    }
    for ip in &honest[..10] {
        tried.add(&record(*ip, Ipv4Addr::new(1, 1, 1, 1)));
    }
    for number in 0..10_000 {
        new.add(&record(hostile(number), teller(number)));
    }
    let theirs = (0..CHOICES).filter(|number| {
        let chosen = if number % 2 == 0 { new.select() } else { tried.select() };
        matches!(chosen.unwrap().network_addr().0, AddrV2::Ipv4(ip) if is_hostile(ip))
    });
    (ours, theirs.count() as f64 / CHOICES as f64)
}

/// Choices from each attacked book, and such books.
const CHOICES: u32 = 5000;
const ATTACKS: u32 = 20;

/// How many of the places of Kyoto's table of new nodes any address can have.
fn kyoto_cells(rng: &mut Rng) -> usize {
    let mut table = KyotoTable::<16, 16, 8>::new();
    let mut held = 0;
    for _ in 0..200_000 {
        let source = Ipv4Addr::from_bits(rng.u64() as u32).into();
        let ip = AddrV2::Ipv4(Ipv4Addr::from_bits(rng.u64() as u32));
        held += usize::from(table.add(&Record::new(ip, 8333, ServiceFlags::NETWORK, &source)).is_none());
    }
    held
}

fn main() {
    let mut rng = Rng::new([2; 32]);
    let empty = AddressBook::with_placement(Grouping::by_prefix(), Placement::new([1; 32]));
    let before = MEMORY.current_usage();
    let twin = AddressBook::with_placement(Grouping::by_prefix(), Placement::new([1; 32]));
    let of_empty = MEMORY.current_usage() - before;
    drop((empty, twin));

    let before = MEMORY.current_usage();
    let mut book = full(Grouping::by_prefix(), &mut rng);
    let unstored = MEMORY.current_usage() - before;
    let mut store = MemoryStore::new();
    let mut out = Outbox::<()>::new();
    let encode = clock(|| out.store(Ticket::new(1), |batch| book.store(batch)));
    let Some(Output::Store { ticket, batch }) = out.pop() else { panic!("a batch was stored") };
    let (rows, size) = (batch.changes().len() - 1, batch.size());
    store.store(ticket, batch).unwrap();
    drop(out);
    let with_store = MEMORY.current_usage();
    let kept = book.len();
    drop(book);
    let of_full = with_store - MEMORY.current_usage();
    let mut restoring = Restoring::new(Grouping::by_prefix(), &mut rng);
    let decode = clock(|| {
        store.rows(ADDRESSES).for_each(|(key, value)| restoring.take(key, value).unwrap());
    });
    let (mut book, restored) = restoring.finish();
    assert_eq!((book.len(), restored.kept), (kept, kept));
    drop(store);
    println!(
        "\nmemory: empty {of_empty} bytes; {kept} nodes {of_full} bytes, {} each ({unstored} before they are stored)",
        of_full / kept
    );
    println!(
        "rows: {rows} of {} bytes on average, written in {} ms, read in {} ms",
        size / rows,
        encode.as_millis(),
        decode.as_millis()
    );

    println!("\nnanoseconds, medians of {ROUNDS} rounds of {OPERATIONS}; the last column microseconds");
    println!("| book | nodes | add another | add again | choose | attempt | good | sample of 1000 |");
    println!("|---|---:|---:|---:|---:|---:|---:|---:|");
    ours(&mut book, "full, by prefix", &mut rng);
    if let Some(folder) = common::chain_data() {
        let bytes = common::read(&folder.join("p2p/asmap-1764864000.dat.xz"));
        let mut map = None;
        let check = clock(|| map = Some(AsMap::new(bytes).unwrap()));
        let grouping = Grouping::by_map(map.unwrap());
        let hosts: Vec<Host> = (0..OPERATIONS).map(|_| host(&mut rng)).collect();
        let lookup = time(|| clock(|| hosts.iter().for_each(|host| done(grouping.autonomous_system(host)))));
        ours(&mut full(grouping, &mut rng), "full, by AS", &mut rng);
        println!("\nAS map: checked in {} ms, looked up in {lookup:.0} ns\n", check.as_millis());
    }
    kyoto("Kyoto's, new", &mut rng);

    println!("\nplaces that new nodes can have: ours 65,536, Kyoto's {} of 256", kyoto_cells(&mut rng));
    println!("\nhow often {CHOICES} choices in each of {ATTACKS} books are the attacker's, on average");
    println!("| groups of the attacker | ours | Kyoto's |");
    println!("|---:|---:|---:|");
    let mut of_one_group = 1.0;
    for groups in [1, 4, 16, 64] {
        let shares: Vec<_> = (0..ATTACKS).map(|_| attacked(groups, &mut rng)).collect();
        let mean = |shares: Vec<f64>| shares.iter().sum::<f64>() / f64::from(ATTACKS);
        let (here, there) = shares.into_iter().unzip();
        let (here, there) = (mean(here), mean(there));
        println!("| {groups} | {:.1} % | {:.1} % |", here * 100.0, there * 100.0);
        if groups == 1 {
            of_one_group = here;
        }
    }
    assert!(of_full / kept <= MOST_BYTES, "{} bytes for each node", of_full / kept);
    assert!(of_one_group <= MOST_CHOSEN, "{of_one_group} of all choices");
}
