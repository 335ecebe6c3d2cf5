//! What outlives a run: data of an older format, and data that was damaged. Nothing wrong is told, what is sound is kept,
//! and in the end the store holds what one holds that nothing has happened to.
//!
//! `ANDON_SEEDS` is how many random damages are tried, `ANDON_FIRST_SEED` the first.

#![allow(clippy::type_complexity, clippy::redundant_locals, reason = "tables of what is done to a store")]
#![allow(clippy::unwrap_used, reason = "a test that can not go on has failed")]

mod common;
mod ledger;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

use andon_bitcoin::client::{Birthday, Command, Config, Event, Failure, HeaderQuery, Start};
use andon_bitcoin::fixture::regtest;
use andon_bitcoin::points::StartPoint;
use andon_kernel::{Rng, UnixTime};
use bitcoin::hashes::{Hash, HashEngine, siphash24};
use bitcoin::{Network, ScriptBuf};
use ledger::harm::{HARMS, Harm};
use ledger::old::Old;
use ledger::{Dump, Ledger, PAYEES, Room, SEAL, Shelf, key, payee, same};

const PERIOD: u32 = 2016;

/// Headers to a row.
const ROW: u32 = 16;

fn config() -> Config {
    Config { discovery: None, ..Config::new(Network::Regtest, [8; 32]) }
}

fn scripts() -> Vec<ScriptBuf> {
    (0..PAYEES).map(payee).collect()
}

/// What a client has stored that knew nothing else, and watched these scripts from the first block on.
fn fresh(ledger: &Arc<Ledger>, scripts: &[ScriptBuf]) -> Shelf {
    let mut room = Room::new(config(), Shelf::new(), &[ledger]);
    room.watch(scripts, 0);
    room.sync(ledger.tip().height);
    room.end()
}

// Format 1.

/// The rows of the present format that say the same as an old store: those of one that knew nothing else, as far as the
/// old one went.
fn taken_over(present: &Shelf, old: &Old) -> Dump {
    let mut dump = present.dump();
    let below = |at: &[u8], height: u32| u32::from_be_bytes(at[..4].try_into().unwrap()) < height;
    dump.retain(|(space, at), _| match *space {
        "touches" => old.next.is_some_and(|next| below(at, next)),
        "filter_headers" => below(at, old.filter_headers),
        "watched" => old.next.is_some(),
        _ => true,
    });
    // Without their checksums, and the last row of filter headers as far as it is known: both are made of what is there.
    if let Some(row) = dump.last_entry_of("filter_headers") {
        let first = u32::from_be_bytes(row.0[..4].try_into().unwrap());
        row.1.truncate(32 * (old.filter_headers - first) as usize);
    }
    dump
}

trait LastEntry {
    fn last_entry_of(&mut self, space: &'static str) -> Option<(Vec<u8>, &mut Vec<u8>)>;
}

impl LastEntry for Dump {
    fn last_entry_of(&mut self, space: &'static str) -> Option<(Vec<u8>, &mut Vec<u8>)> {
        let mut rows = self.iter_mut().filter(|((of, _), _)| *of == space);
        rows.next_back().map(|((_, at), value)| (at.clone(), value))
    }
}

/// A dump without the checksums, and without how far the search is.
fn bare(dump: &Dump) -> Dump {
    let rows = dump.iter().filter(|((_, at), _)| at != b"next");
    let bare = |((space, at), value): (&(&'static str, Vec<u8>), &Vec<u8>)| {
        ((*space, at.clone()), value[..value.len() - SEAL].to_vec())
    };
    rows.map(bare).collect()
}

fn migrated(room: &Room) -> bool {
    room.events.contains(&Event::Migrated { from: 1 })
}

/// What a store of the first format becomes: at once, and when it has synced.
fn becomes(ledger: &Arc<Ledger>, scripts: &[ScriptBuf], old: &Old, present: &Shelf, what: &str) {
    let before = old.shelf(ledger, scripts, present);
    let room = Room::new(config(), before, &[]);
    assert!(migrated(&room), "{what}");
    assert_eq!(room.repairs(), [], "{what}");
    assert_eq!(room.failure(), None, "{what}");
    let checked = old.next.and_then(|next| next.checked_sub(1));
    assert_eq!(room.started(), Some((ledger.tip(), checked)), "{what}");
    let known: BTreeSet<_> =
        ledger.findings(scripts, 0).into_iter().filter(|found| Some(found.0) < old.next).collect();
    assert_eq!(room.findings(), known, "{what}");
    let shelf = room.end();
    let mut expected = bare(&present.dump());
    let reached = taken_over(present, old);
    expected.retain(|row, _| reached.contains_key(row));
    if let Some((first, value)) = expected.last_entry_of("filter_headers") {
        let first = u32::from_be_bytes(first[..4].try_into().unwrap());
        value.truncate(32 * (old.filter_headers - first) as usize);
    }
    same(&bare(&shelf.dump()), &expected, what);
    assert_eq!(
        shelf.get("meta", b"next").map(|value| value[..4].to_vec()),
        old.next.map(|next| key(next).into())
    );

    let mut room = Room::new(config(), shelf, &[ledger]);
    assert!(!migrated(&room), "{what}: a second time");
    room.watch(scripts, 0);
    room.sync(ledger.tip().height);
    assert_eq!(room.findings(), ledger.findings(scripts, 0), "{what}");
    assert_eq!(room.farewells(), [], "{what}");
    same(&room.end().dump(), &present.dump(), what);
}

#[test]
fn data_of_the_first_format_is_taken_over() {
    let long = Ledger::regtest(9999);
    for headers in [1, 2, 15, 16, 17, 2015, 2016, 2017, 2018, 4032, 4033, 10_000] {
        let ledger = Arc::new(long.up_to(headers - 1));
        let present = fresh(&ledger, &scripts());
        let counts: BTreeSet<u32> = [0, 1, 16, 2015, 2016, 2017, headers / 2, headers - 1, headers].into();
        for filter_headers in counts.into_iter().filter(|count| *count <= headers) {
            let nexts = [None, Some(0), Some(filter_headers / 2), Some(filter_headers)];
            // What is watched makes little difference to how many headers there are.
            let nexts = if filter_headers == headers { &nexts[..] } else { &nexts[3..] };
            for &next in nexts {
                let old = Old { headers, filter_headers, next };
                let what = format!("{headers} headers, {filter_headers} filter headers, next {next:?}");
                becomes(&ledger, &scripts(), &old, &present, &what);
            }
        }
    }
}

#[test]
fn data_of_the_first_format_with_many_findings_is_taken_over() {
    let fixture = regtest();
    let scripts: Vec<ScriptBuf> = fixture.watch_scripts.iter().map(|script| (*script).into()).collect();
    let ledger = Arc::new(Ledger::fixture(&fixture));
    let present = fresh(&ledger, &scripts);
    assert_eq!(present.rows("touches").len(), fixture.expected.len());
    for next in [0, 1, 100, 150, 289, 290] {
        let old = Old { headers: 290, filter_headers: 290, next: Some(next) };
        becomes(&ledger, &scripts, &old, &present, &format!("next {next}"));
    }
    // More findings than one page has.
    let mut many = present.clone();
    let old = Old { headers: 290, filter_headers: 290, next: Some(290) };
    let touches = present.rows("touches");
    let mut shelf = old.shelf(&ledger, &scripts, &present);
    for copy in 1..30_u32 {
        for (at, value) in &touches {
            // The same again, at other places of the same transactions.
            let at = [&at[..9], &(copy * 100_000 + u32::from(at[12])).to_be_bytes()].concat();
            shelf.put("touch", &at, &value[..value.len() - SEAL]);
            many.put("touches", &at, value);
        }
    }
    let count = many.rows("touches").len();
    assert!(count > 2000, "{count}");
    let room = Room::new(config(), shelf, &[]);
    assert_eq!(room.repairs(), []);
    let told = room.events.iter().filter(|event| matches!(event, Event::Touched(_))).count();
    assert_eq!(told, count);
    let keys = |shelf: &Shelf| shelf.rows("touches").into_iter().map(|(at, _)| at).collect::<Vec<_>>();
    assert_eq!(keys(&room.end()), keys(&many));
}

/// A process that is killed between any two batches goes on where it was.
#[test]
fn a_migration_that_is_cut_short_goes_on() {
    let ledger = Arc::new(Ledger::regtest(6100));
    let present = fresh(&ledger, &scripts());
    let old = Old { headers: 6101, filter_headers: 4500, next: Some(4400) };
    let before = old.shelf(&ledger, &scripts(), &present);
    let whole = Room::new(config(), before.clone(), &[]);
    let batches = whole.shelf().written;
    assert!(batches >= 9, "{batches}");
    let whole = whole.end().dump();
    for first in 0..=batches {
        for second in [0, 1, 3, usize::MAX] {
            let mut room = Room::new(config(), before.clone().cut_after(first), &[]);
            if second < usize::MAX {
                room = Room::new(config(), room.end().cut_after(second), &[]);
            }
            let room = Room::new(config(), room.end(), &[]);
            assert_eq!(room.started(), Some((ledger.tip(), Some(4399))), "cut after {first} and {second}");
            assert_eq!(room.repairs(), []);
            room.tells_the_truth(&ledger, &scripts(), "cut short");
            same(&room.end().dump(), &whole, &format!("cut after {first} and {second} of {batches} batches"));
        }
    }
}

/// Of damaged old data the part below is kept, to a header or two: the last that nothing confirms is let go.
#[test]
fn of_damaged_data_of_the_first_format_the_part_below_is_kept() {
    let headers = 4500;
    let ledger = Arc::new(Ledger::regtest(headers - 1));
    let present = fresh(&ledger, &scripts());
    let old = Old { headers, filter_headers: headers, next: Some(headers) };
    let sound = old.shelf(&ledger, &scripts(), &present);
    for height in [0, 1, 15, 16, 17, 2014, 2015, 2016, 2017, 4031, 4032, headers - 2, headers - 1] {
        for harm in HARMS.into_iter().chain((0..8).map(|part| Harm::Flipped(part * 130 + 30))) {
            let what = format!("{harm:?} to the header at {height}");
            let mut shelf = sound.clone();
            harm.befall(&mut shelf, "header", &key(height));
            let room = Room::new(config(), shelf, &[]);
            assert!(migrated(&room), "{what}");
            assert!(!room.repairs().is_empty(), "{what}");
            let kept = room.started().unwrap().0;
            assert_eq!(kept, ledger.block(kept.height), "{what}");
            let least = height.saturating_sub(2);
            assert!((least..=height.saturating_sub(1)).contains(&kept.height), "{what}: {kept:?}");
            room.tells_the_truth(&ledger, &scripts(), &what);
            heals(room.end(), &ledger, &present, &what);
        }
    }
    // A flipped byte of a filter header can't be told from one that was right: nothing confirmed them.
    for height in [0, 1, 16, 2015, 2016, 4032, headers - 1] {
        for harm in [Harm::Gone, Harm::Empty, Harm::Short, Harm::Long] {
            let what = format!("{harm:?} to the filter header at {height}");
            let mut shelf = sound.clone();
            harm.befall(&mut shelf, "filter_header", &key(height));
            let room = Room::new(config(), shelf, &[]);
            assert_eq!(room.started().map(|(tip, _)| tip), Some(ledger.tip()), "{what}");
            room.tells_the_truth(&ledger, &scripts(), &what);
            heals(room.end(), &ledger, &present, &what);
        }
    }
    let touches = sound.rows("touch");
    for (at, _) in [&touches[0], &touches[touches.len() / 2], &touches[touches.len() - 1]] {
        for harm in [Harm::Empty, Harm::Garbage(2)] {
            let mut shelf = sound.clone();
            harm.befall(&mut shelf, "touch", at);
            let room = Room::new(config(), shelf, &[]);
            if harm == Harm::Empty {
                assert!(!room.repairs().is_empty());
                room.tells_the_truth(&ledger, &scripts(), "an unreadable finding");
                heals(room.end(), &ledger, &present, "an unreadable finding");
            }
        }
    }
    for harm in [Harm::Empty, Harm::Short, Harm::Long] {
        let mut shelf = sound.clone();
        harm.befall(&mut shelf, "watch", scripts()[1].as_bytes());
        let room = Room::new(config(), shelf, &[]);
        assert!(!room.repairs().is_empty());
        room.tells_the_truth(&ledger, &scripts(), "an unreadable script");
        heals(room.end(), &ledger, &present, "an unreadable script");
    }
    for at in [&b"tip"[..], b"next"] {
        for harm in [Harm::Gone, Harm::Empty, Harm::Short, Harm::Garbage(1)] {
            let what = format!("{harm:?} to {at:?}");
            let mut shelf = sound.clone();
            if harm == Harm::Garbage(1) && at == b"next" {
                continue;
            }
            harm.befall(&mut shelf, "meta", at);
            let room = Room::new(config(), shelf, &[]);
            let kept = room.started().unwrap().0;
            assert!(kept.height >= headers - 2, "{what}: {kept:?}");
            room.tells_the_truth(&ledger, &scripts(), &what);
            heals(room.end(), &ledger, &present, &what);
        }
    }
    // Nothing but the record of the format.
    let mut shelf = sound;
    for space in ["header", "filter_header", "watch", "touch"] {
        shelf.clear(space);
    }
    shelf.delete("meta", b"tip");
    shelf.delete("meta", b"next");
    let room = Room::new(config(), shelf, &[]);
    assert_eq!(room.started(), Some((ledger.block(0), None)));
    heals(room.end(), &ledger, &present, "nothing but a format");
}

/// From what is stored the client syncs, finds everything, blames nobody, and has stored what one has that nothing has
/// happened to.
fn heals(shelf: Shelf, ledger: &Arc<Ledger>, present: &Shelf, what: &str) {
    heals_with(config(), &scripts(), shelf, ledger, present, what);
}

fn heals_with(
    config: Config,
    scripts: &[ScriptBuf],
    shelf: Shelf,
    ledger: &Arc<Ledger>,
    present: &Shelf,
    what: &str,
) {
    let mut room = Room::new(config, shelf, &[ledger]);
    room.watch(scripts, 0);
    room.sync(ledger.tip().height);
    let first = if ledger.base == 0 { 0 } else { ledger.base + 1 };
    assert_eq!(room.findings(), ledger.findings(scripts, first), "{what}");
    assert_eq!(room.farewells(), [], "{what}");
    room.tells_the_truth(ledger, scripts, what);
    same(&room.end().dump(), &present.dump(), what);
}

// Repair.

/// A chain of which the store has rows that no start reads: below the window of headers, and that of filter headers.
const LONG: u32 = 13_007;

fn long() -> &'static (Arc<Ledger>, Shelf) {
    static LONG_CHAIN: OnceLock<(Arc<Ledger>, Shelf)> = OnceLock::new();
    LONG_CHAIN.get_or_init(|| {
        let ledger = Arc::new(Ledger::regtest(LONG));
        let shelf = fresh(&ledger, &scripts());
        (ledger, shelf)
    })
}

/// A shorter one, all of which is read at the start.
const SHORT: u32 = 2500;

fn short() -> &'static (Arc<Ledger>, Shelf) {
    static SHORT_CHAIN: OnceLock<(Arc<Ledger>, Shelf)> = OnceLock::new();
    SHORT_CHAIN.get_or_init(|| {
        let ledger = Arc::new(Ledger::regtest(SHORT));
        let shelf = fresh(&ledger, &scripts());
        (ledger, shelf)
    })
}

/// The first, the second, some in the middle, and the last rows of a space.
fn some_rows(shelf: &Shelf, space: &'static str) -> Vec<Vec<u8>> {
    let rows = shelf.rows(space);
    let count = rows.len();
    let places: BTreeSet<usize> = [0, 1, count / 3, count / 2, count.saturating_sub(2), count - 1]
        .into_iter()
        .filter(|at| *at < count)
        .collect();
    places.into_iter().map(|at| rows[at].0.clone()).collect()
}

/// Each row that a start reads, harmed in each way.
#[test]
fn a_start_repairs_what_it_reads() {
    let (ledger, present) = short();
    for space in ["headers", "filter_headers", "watched", "touches"] {
        for at in some_rows(present, space) {
            for harm in HARMS {
                // A finding that is gone without a trace is not missed: the store says what it lost.
                if (space, harm) == ("touches", Harm::Gone) {
                    continue;
                }
                let what = format!("{harm:?} to {space} {at:02x?}");
                let mut shelf = present.clone();
                harm.befall(&mut shelf, space, &at);
                let room = Room::new(config(), shelf, &[]);
                assert_eq!(room.failure(), None, "{what}");
                room.tells_the_truth(ledger, &scripts(), &what);
                let kept = match space {
                    // Whole rows go, and all that follow. The first is made anew.
                    "headers" => u32::from_be_bytes(at[..].try_into().unwrap()).saturating_sub(1),
                    _ => SHORT,
                };
                // The last filter headers are asked for again, as if they had never come; a script as if it were a new one.
                let unnoticed = harm == Harm::Gone
                    && (space == "watched"
                        || (space, &at[..]) == ("filter_headers", &key(SHORT - SHORT % ROW)[..]));
                if !unnoticed {
                    let repairs = room.repairs();
                    let told: Vec<u32> = repairs.iter().map(|(_, kept)| kept.height).collect();
                    assert_eq!(told, [kept], "{what}: {repairs:?}");
                }
                assert_eq!(room.started().unwrap().0, ledger.block(kept), "{what}");
                let shelf = room.end();
                let repaired_once = Room::new(config(), shelf.clone(), &[]);
                assert_eq!(repaired_once.repairs(), [], "{what}: again");
                heals(shelf, ledger, present, &what);
            }
        }
    }
}

/// What a harmed record of the store's own comes to.
#[test]
fn records_of_the_store_s_own_are_repaired() {
    let (ledger, present) = short();
    for (at, _) in present.rows("meta") {
        for harm in HARMS.into_iter().chain((0..25).map(|part| Harm::Flipped(part * 40))) {
            let what = format!("{harm:?} to {:?}", String::from_utf8_lossy(&at));
            let mut shelf = present.clone();
            harm.befall(&mut shelf, "meta", &at);
            let room = Room::new(config(), shelf, &[]);
            room.tells_the_truth(ledger, &scripts(), &what);
            assert_eq!(room.failure(), None, "{what}");
            let told: Vec<_> = room.repairs().iter().map(|(_, kept)| *kept).collect();
            assert_eq!(told, [ledger.tip()], "{what}");
            let checked = (at != b"next").then_some(SHORT);
            assert_eq!(room.started(), Some((ledger.tip(), checked)), "{what}");
            let shelf = room.end();
            assert_eq!(Room::new(config(), shelf.clone(), &[]).repairs(), [], "{what}: again");
            heals(shelf, ledger, present, &what);
        }
    }
    // Records that nobody knows do no harm, nor do those of what is not under way.
    for at in ["a", "mig", "zzz"] {
        let mut shelf = present.clone();
        shelf.put("meta", at.as_bytes(), b"what is this");
        let room = Room::new(config(), shelf, &[]);
        assert_eq!((room.repairs(), room.failure()), (Vec::new(), None), "{at}");
        assert_eq!(room.started(), Some((ledger.tip(), Some(SHORT))), "{at}");
    }
    for at in ["switch", "migrated"] {
        for value in [&b""[..], &[0; 4], &[0; 76], &[0xff; 80], &[1; 72]] {
            let what = format!("{at} is {value:?}");
            let mut shelf = present.clone();
            shelf.put("meta", at.as_bytes(), value);
            let room = Room::new(config(), shelf, &[]);
            assert_eq!(room.failure(), None, "{what}");
            let told: Vec<_> = room.repairs().iter().map(|(_, kept)| *kept).collect();
            assert_eq!(told, [ledger.tip()], "{what}");
            heals(room.end(), ledger, present, &what);
        }
    }
}

/// The record that says which format the data is in.
fn format(version: u32) -> Vec<u8> {
    let mut value = version.to_be_bytes().to_vec();
    value.extend_from_slice(&Network::Regtest.magic().to_bytes());
    let mut seal = siphash24::HashEngine::with_keys(b"format".len() as u64, value.len() as u64);
    seal.input(b"format");
    seal.input(&value);
    let seal = siphash24::Hash::from_engine_to_u64(seal) as u32;
    value.extend_from_slice(&seal.to_le_bytes());
    value
}

#[test]
fn data_of_another_network_or_a_newer_format_is_named() {
    let (_, present) = short();
    for network in [Network::Bitcoin, Network::Testnet, Network::Testnet4, Network::Signet] {
        let room =
            Room::new(Config { discovery: None, ..Config::new(network, [8; 32]) }, present.clone(), &[]);
        assert_eq!(room.failure(), Some(Failure::OtherNetwork { found: Network::Regtest }));
        same(&room.end().dump(), &present.dump(), "nothing is changed");
    }
    for found in [0, 3, 4, u32::MAX] {
        let mut shelf = present.clone();
        shelf.put("meta", b"format", &format(found));
        let before = shelf.dump();
        let room = Room::new(config(), shelf, &[]);
        assert_eq!(room.failure(), Some(Failure::OtherVersion { found, expected: 2 }));
        same(&room.end().dump(), &before, "nothing is changed");
    }
    // A store that says of itself that it is of the first format, and has nothing that is.
    let mut shelf = present.clone();
    shelf.put("meta", b"format", &format(1)[..8]);
    let (ledger, present) = short();
    let room = Room::new(config(), shelf, &[]);
    room.tells_the_truth(ledger, &scripts(), "a wrong format");
    heals(room.end(), ledger, present, "a wrong format");
}

/// Without the records of the store's own, the headers show what it is.
#[test]
fn a_store_without_its_records_is_taken_up_if_it_begins_as_the_chain_does() {
    let (ledger, present) = short();
    assert_eq!(present.get("meta", b"format"), Some(format(2)));
    let mut recordless = present.clone();
    recordless.clear("meta");
    let room = Room::new(config(), recordless.clone(), &[]);
    let told: Vec<_> = room.repairs().iter().map(|(_, kept)| *kept).collect();
    assert_eq!(told, [ledger.tip(), ledger.tip()], "how far the search was is lost too");
    assert_eq!(room.started(), Some((ledger.tip(), None)));
    assert_eq!(room.findings(), BTreeSet::new(), "they are searched for again");
    heals(room.end(), ledger, present, "no records");

    // What begins otherwise is not this client's to remove.
    for start in [Network::Testnet4, Network::Signet] {
        let room =
            Room::new(Config { discovery: None, ..Config::new(start, [8; 32]) }, recordless.clone(), &[]);
        assert!(matches!(room.failure(), Some(Failure::Damaged { .. })), "{:?}", room.failure());
        same(&room.end().dump(), &recordless.dump(), "nothing is changed");
    }
    let mut headless = recordless.clone();
    headless.delete("headers", &key(0));
    let room = Room::new(config(), headless.clone(), &[]);
    assert!(matches!(room.failure(), Some(Failure::Damaged { .. })), "{:?}", room.failure());
    same(&room.end().dump(), &headless.dump(), "nothing is changed");

    // Scripts that are watched outlast the chain.
    let mut bare = recordless;
    for space in ["headers", "filter_headers", "hashes"] {
        bare.clear(space);
    }
    let room = Room::new(config(), bare, &[]);
    assert_eq!(room.started(), Some((ledger.block(0), None)));
    assert_eq!(room.findings(), BTreeSet::new());
    heals(room.end(), ledger, present, "nothing but scripts and findings");
}

/// Rows far below, which only a question or a search from there on reads.
#[test]
fn what_a_start_does_not_read_is_repaired_when_it_is_needed() {
    let (ledger, present) = long();
    let row = |height: u32| key(height - height % ROW).to_vec();
    let asked: [(&str, fn(&mut Room, u32)); 5] = [
        ("by height", |room, height| room.look(HeaderQuery::Height(height))),
        ("by hash", |room, height| room.look(HeaderQuery::Hash(long().0.block(height).hash))),
        ("export", |room, height| drop(room.export(height.saturating_sub(20), 40))),
        ("a search", |room, height| {
            room.watch(&[payee(0), payee(1), payee(2), payee(3)], height.saturating_sub(300));
        }),
        ("a search from a date", |room, height| {
            let time = UnixTime::from_secs(u64::from(long().0.header(height).time) + 7200);
            room.command(Command::Watch { scripts: vec![payee(3)], from: Birthday::Time(time) });
        }),
    ];
    for (space, height) in [
        ("headers", 0),
        ("headers", 17),
        ("headers", 2016),
        ("headers", 5000),
        ("filter_headers", 40),
        ("filter_headers", 800),
    ] {
        for (question, ask) in asked {
            for harm in [Harm::Gone, Harm::Flipped(700)] {
                let reads = match (space, question) {
                    ("filter_headers", question) => ["export", "a search"].contains(&question),
                    (_, "a search from a date") => height == 5000,
                    (_, "by hash" | "by height") => height > 0,
                    _ => true,
                };
                if !reads {
                    continue;
                }
                let what = format!("{harm:?} to {space} {height}, {question}");
                let mut room = Room::new(config(), present.clone(), &[ledger]);
                room.sync(LONG);
                harm.befall(room.shelf_mut(), space, &row(height));
                ask(&mut room, height);
                room.sync(LONG);
                assert_eq!(room.repairs().len(), 1, "{what}: {}", room.story());
                let kept = room.repairs()[0].1;
                if space == "headers" {
                    assert_eq!(kept.height, (height - height % ROW).saturating_sub(1), "{what}");
                }
                let scripts = [payee(0), payee(1), payee(2)];
                assert_eq!(room.findings(), ledger.findings(&scripts, 0), "{what}");
                room.tells_the_truth(ledger, &scripts, &what);
                assert_eq!(room.farewells(), [], "{what}");
                let mut dump = room.end().dump();
                dump.remove(&("watched", payee(3).to_bytes()));
                same(&dump, &present.dump(), &what);
            }
        }
    }
}

/// An answer that takes what is damaged comes after the repair, and is right.
#[test]
fn a_question_that_meets_damage_is_answered_after_the_repair() {
    let (ledger, present) = long();
    for harm in [Harm::Gone, Harm::Empty, Harm::Flipped(300), Harm::Garbage(3)] {
        // A header that is gone: not known, until it has been fetched again.
        let mut shelf = present.clone();
        harm.befall(&mut shelf, "headers", &key(4000));
        let mut room = Room::new(config(), shelf.clone(), &[]);
        assert_eq!(room.find(HeaderQuery::Height(4005)), None, "{harm:?}");
        assert_eq!(room.repairs().len(), 1, "{harm:?}");
        assert_eq!(room.find(HeaderQuery::Height(3999)), Some((ledger.block(3999), ledger.header(3999))));
        assert_eq!(room.find(HeaderQuery::Height(4000)), None);
        let mut room = Room::new(config(), shelf, &[]);
        assert_eq!(room.export(3995, 10).0, ledger.headers(3995, 3999), "{harm:?}");
        heals(room.end(), ledger, present, "headers");

        // The index: made anew, and nothing is lost.
        for period in 0..LONG / PERIOD {
            let hash = ledger.block(period * PERIOD + 1000).hash;
            let part = hash.as_byte_array()[0] / 64;
            let at = [&[part][..], &key(period)].concat();
            let mut shelf = present.clone();
            harm.befall(&mut shelf, "hashes", &at);
            let mut room = Room::new(config(), shelf, &[]);
            for height in [period * PERIOD + 1000, 1500, LONG - 1] {
                let found = room.find(HeaderQuery::Hash(ledger.block(height).hash));
                assert_eq!(found, Some((ledger.block(height), ledger.header(height))), "{harm:?} {period}");
            }
            let lost = ledger.branch(LONG - 100, LONG - 50, 9).tip().hash;
            assert_eq!(room.find(HeaderQuery::Hash(lost)), None, "{harm:?} {period}");
            let again = room.repairs();
            assert!(again.len() <= 1 && again.iter().all(|(_, kept)| *kept == ledger.tip()), "{again:?}");
            let unharmed = room.events.iter().all(|event| !matches!(event, Event::Failed(_)));
            assert!(unharmed);
            if !again.is_empty() {
                same(&room.end().dump(), &present.dump(), &format!("{harm:?} {period}"));
            }
        }

        // Filter headers.
        let mut shelf = present.clone();
        harm.befall(&mut shelf, "filter_headers", &key(160));
        let mut room = Room::new(config(), shelf, &[]);
        let (headers, filter_headers) = room.export(150, 100);
        assert_eq!(headers, ledger.headers(150, 249), "{harm:?}");
        assert_eq!(filter_headers, ledger.filter_headers(150, 159), "{harm:?}");
        heals(room.end(), ledger, present, "filter headers");
    }
}

/// A chain that starts further up: what is damaged is fetched from the start on.
#[test]
fn a_chain_that_starts_further_up_is_repaired_from_its_start() {
    let whole = Ledger::regtest(6500);
    for start in [2016, 2030, 4041, 4047] {
        let mut config = config();
        let from = (start - start % PERIOD).min(start - 10);
        config.start = Start::Point(StartPoint {
            height: start,
            work: whole.work(start),
            headers: whole.headers(from, start).into(),
        });
        let ledger = Arc::new(whole.clone());
        let mut room = Room::new(config.clone(), Shelf::new(), &[&ledger]);
        room.watch(&scripts(), start + 1);
        room.sync(6500);
        let present = room.end();
        for space in ["headers", "filter_headers"] {
            for at in some_rows(&present, space) {
                for harm in [Harm::Empty, Harm::Flipped(400)] {
                    let what = format!("start {start}, {harm:?} to {space} {at:02x?}");
                    let mut shelf = present.clone();
                    harm.befall(&mut shelf, space, &at);
                    let room = Room::new(config.clone(), shelf, &[]);
                    assert_eq!(room.repairs().len(), 1, "{what}");
                    let kept = room.repairs()[0].1;
                    let first = u32::from_be_bytes(at[..].try_into().unwrap());
                    let expected = if space == "headers" { (first - 1).max(start) } else { 6500 };
                    assert_eq!(kept, ledger.block(expected), "{what}");
                    let mut room = Room::new(config.clone(), room.end(), &[&ledger]);
                    room.sync(6500);
                    assert_eq!(room.findings(), ledger.findings(&scripts(), start + 1), "{what}");
                    assert_eq!(room.farewells(), [], "{what}");
                    same(&room.end().dump(), &present.dump(), &what);
                }
            }
        }
    }
}

/// A switch to another branch that was cut short, and whose rows were damaged then.
#[test]
fn a_switch_that_is_cut_short_and_damaged_ends_on_the_best_chain() {
    let (ledger, present) = long();
    let branch = Arc::new(ledger.branch(4500, LONG + 1, 5));
    let expected = fresh(&branch, &scripts());
    // Everything that it writes until it is on the other branch.
    let switching = |shelf: Shelf| {
        let mut room = Room::new(config(), shelf, &[ledger]);
        room.pass(std::time::Duration::from_secs(1));
        room.announce(0, &branch);
        room.pass(std::time::Duration::from_secs(60));
        room
    };
    let batches = switching(present.clone()).shelf().written;
    let mut met = 0;
    for cut in 1..=batches {
        let shelf = switching(present.clone().cut_after(cut)).end();
        if shelf.get("meta", b"switch").is_none() {
            continue;
        }
        met += 1;
        let mut harmed: Vec<(&'static str, Vec<u8>)> =
            vec![("meta", b"switch".into()), ("meta", b"tip".into())];
        harmed.extend(some_rows(&shelf, "staged").into_iter().map(|at| ("staged", at)));
        harmed.extend([4496, 4512, 6048, 8000, 10_000].map(|height| ("headers", key(height).into())));
        for (space, at) in harmed {
            for harm in [Harm::Gone, Harm::Flipped(600)] {
                let what = format!("cut after {cut} of {batches}, {harm:?} to {space} {at:02x?}");
                let mut shelf = shelf.clone();
                harm.befall(&mut shelf, space, &at);
                let mut room = Room::new(config(), shelf, &[&branch]);
                room.watch(&scripts(), 0);
                room.sync(LONG + 1);
                assert_eq!(room.failure(), None, "{what}");
                assert_eq!(room.findings(), branch.findings(&scripts(), 0), "{what}");
                assert_eq!(room.farewells(), [], "{what}");
                let mut room = room;
                // What no start and no search has read is looked for now.
                room.look(HeaderQuery::Height(4500));
                for height in (0..=LONG).step_by(16) {
                    room.look(HeaderQuery::Height(height));
                }
                room.sync(LONG + 1);
                same(&room.end().dump(), &expected.dump(), &what);
            }
        }
    }
    assert!(met >= 3, "{met} of {batches}");
}

/// What a process that was killed had staged, or garbage, is not in the way of the next branch.
#[test]
fn rows_that_were_left_staged_do_no_harm() {
    let (ledger, present) = long();
    let branch = Arc::new(ledger.branch(4500, LONG + 1, 6));
    let expected = fresh(&branch, &scripts());
    for height in [0, 4033, 4500, 4501, 5000, 6048, 9000, LONG + 16] {
        let mut shelf = present.clone();
        shelf.put("staged", &key(height), &[1; 100]);
        shelf.put("staged", b"", b"");
        let mut room = Room::new(config(), shelf, &[ledger]);
        room.sync(LONG);
        room.announce(0, &branch);
        room.sync(LONG + 1);
        assert_eq!(room.repairs(), [], "{height}");
        assert_eq!(room.findings(), branch.findings(&scripts(), 0));
        same(&room.end().dump(), &expected.dump(), &format!("{height}"));
    }
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

/// Several rows of any kind, harmed in any way, before a start or under a client that runs.
#[test]
fn random_damage_is_repaired_or_named() {
    let first = number("ANDON_FIRST_SEED", 0);
    for seed in first..first + number("ANDON_SEEDS", 60) {
        let run = catch_unwind(AssertUnwindSafe(|| random_damage(seed)));
        assert!(run.is_ok(), "run it again by ANDON_FIRST_SEED={seed} ANDON_SEEDS=1");
    }
}

fn random_damage(seed: u64) {
    let mut rng = Rng::new([17; 32]).fork_indexed("damage", seed);
    let (ledger, present) = if rng.below(4) == 0 { long() } else { short() };
    let tip = ledger.tip().height;
    let running = rng.below(3) == 0;
    let mut room = if running {
        let mut room = Room::new(config(), present.clone(), &[ledger]);
        room.watch(&scripts(), 0);
        room.sync(tip);
        room
    } else {
        Room::new(config(), Shelf::new(), &[])
    };
    let mut shelf = present.clone();
    let mut harmed = Vec::new();
    for _ in 0..=rng.below(4) {
        let spaces = ["headers", "headers", "filter_headers", "hashes", "meta", "watched", "touches"];
        let space = spaces[rng.below(spaces.len() as u64) as usize];
        let rows = shelf.rows(space);
        let Some((at, _)) = rows.get(rng.below(rows.len().max(1) as u64) as usize) else { continue };
        let harm = match rng.below(8) {
            0 => Harm::Gone,
            1 => Harm::Short,
            2 => Harm::Zeros,
            3 | 4 => Harm::Garbage(rng.u64()),
            _ => Harm::Flipped(rng.below(1000) as usize),
        };
        if (space, harm) == ("touches", Harm::Gone)
            || shelf.get(space, at).is_none_or(|value| value.is_empty())
        {
            continue;
        }
        harm.befall(&mut shelf, space, at);
        if running && space != "meta" {
            match shelf.get(space, at) {
                Some(value) => room.shelf_mut().put(space, at, &value),
                None => room.shelf_mut().delete(space, at),
            }
        }
        harmed.push(format!("{harm:?} to {space} {at:02x?}"));
    }
    let what = format!("seed {seed}, running {running}: {}", harmed.join(", "));
    if !running {
        room = Room::new(config(), shelf, &[]);
    }
    for _ in 0..20 {
        let height = rng.below(u64::from(tip) + 2) as u32;
        match rng.below(4) {
            0 => room.look(HeaderQuery::Height(height)),
            1 if height <= tip => room.look(HeaderQuery::Hash(ledger.block(height).hash)),
            2 => {
                let (headers, filter_headers) = room.export(height, 100);
                assert!(
                    headers.iter().zip(height..).all(|(header, at)| ledger.header(at) == *header),
                    "{what}"
                );
                let sound = filter_headers
                    .iter()
                    .zip(height..)
                    .all(|(header, at)| ledger.filter_headers(at, at) == [*header]);
                assert!(sound, "{what}");
            }
            _ => {}
        }
    }
    room.tells_the_truth(ledger, &scripts(), &what);
    assert_eq!(room.failure(), None, "{what}");
    // Two more starts, with a peer: one to mend what has been read, one to see that it is mended.
    let mut room = Room::new(config(), room.end(), &[ledger]);
    room.watch(&scripts(), 0);
    room.sync(tip);
    assert_eq!(room.findings(), ledger.findings(&scripts(), 0), "{what}");
    assert_eq!(room.farewells(), [], "{what}");
    // What nothing has read so far.
    for from in (0..=tip).step_by(2000) {
        drop(room.export(from, 2000));
        room.sync(tip);
    }
    for part in 0..4_u8 {
        let height = (0..=tip).find(|height| ledger.block(*height).hash.as_byte_array()[0] / 64 == part);
        let hash = ledger.branch(1, 2, u64::from(part)).tip().hash;
        room.look(HeaderQuery::Hash(hash));
        room.look(HeaderQuery::Hash(ledger.block(height.unwrap()).hash));
        // One that is in the chain is at hand: one that is not makes the client look.
        let mut bytes = hash.to_byte_array();
        bytes[0] = part * 64 + 1;
        room.look(HeaderQuery::Hash(bitcoin::BlockHash::from_byte_array(bytes)));
        room.sync(tip);
    }
    room.tells_the_truth(ledger, &scripts(), &what);
    let mut dump = room.end().dump();
    // A script whose name was damaged is watched until it is told otherwise.
    dump.retain(|(space, at), _| {
        *space != "watched" || scripts().iter().any(|script| script.as_bytes() == at)
    });
    same(&dump, &present.dump(), &what);
}
