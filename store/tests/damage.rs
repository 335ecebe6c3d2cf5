//! Databases damaged in many ways: a store says so, and never panics; and a salvage keeps each row that can be reached.

#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use andon_kernel::Space;
use andon_store::{OpenError, Options, Salvage, SqliteStore, StoreError, salvage};
use common::pages::{self, PAGE};
use common::{Client, Done, OTHER, Query, Row, SPACE, sqlite, try_sqlite};
use fastrand::Rng;
use rusqlite::Connection;
use tempfile::tempdir;

const LARGE: Space = Space::new("large");
const FEW: Space = Space::new("few");
const SPACES: [Space; 4] = [SPACE, OTHER, LARGE, FEW];

const DATABASE: &str = "andon.sqlite";
const LOG: &str = "andon.sqlite-wal";

/// So few that each key can be tried where rows are missing: so a salvage finds each row that can be reached.
const ROWS: u32 = 250;

/// A database as it was before it was damaged.
struct Original {
    file: Vec<u8>,
    log: Vec<u8>,
    in_log: BTreeSet<u32>,
    spaces: BTreeMap<&'static str, BTreeMap<Vec<u8>, Stored>>,
}

struct Stored {
    value: Vec<u8>,
    /// The pages that must be whole for it to be read.
    pages: BTreeSet<u32>,
}

impl Original {
    /// A store that was closed.
    fn closed() -> Self {
        let directory = tempdir().unwrap();
        fill(&mut sqlite(directory.path()), 0..ROWS);
        Self::of(directory.path())
    }

    /// A store that was killed: its last rows are in the log only.
    fn killed() -> Self {
        let directory = tempdir().unwrap();
        fill(&mut sqlite(directory.path()), 0..170);
        let copy = tempdir().unwrap();
        let mut client = sqlite(directory.path());
        fill(&mut client, 170..ROWS);
        for name in [DATABASE, LOG] {
            fs::copy(directory.path().join(name), copy.path().join(name)).unwrap();
        }
        let original = Self::of(copy.path());
        assert!(pages::in_log(&original.log).len() > 20);
        original
    }

    fn of(directory: &Path) -> Self {
        let file = fs::read(directory.join(DATABASE)).unwrap();
        let log = fs::read(directory.join(LOG)).unwrap_or_default();
        let in_log = pages::in_log(&log);
        let mut client = sqlite(directory);
        let rows = SPACES.map(|space| client.rows(space));
        drop(client);
        // As it is when the log is copied into it.
        let whole = fs::read(directory.join(DATABASE)).unwrap();
        let connection = Connection::open(directory.join(DATABASE)).unwrap();
        let mut spaces = BTreeMap::new();
        for (space, rows) in SPACES.into_iter().zip(rows) {
            let sql = "SELECT rootpage FROM sqlite_schema WHERE name = ?1";
            let root =
                connection.query_row(sql, (format!("raw_{}", space.name()),), |row| row.get(0)).unwrap();
            let mut pages = pages::rows(&whole, root);
            let stored = rows.into_iter().map(|(key, value)| {
                let pages = pages.remove(&key).unwrap();
                (key, Stored { value, pages })
            });
            spaces.insert(space.name(), stored.collect());
            assert!(pages.is_empty(), "rows that were not loaded: {pages:?}");
        }
        Self { file, log, in_log, spaces }
    }

    fn pages(&self) -> u32 {
        (self.file.len() / PAGE) as u32
    }

    /// The pages that are no longer what they were. The log has some of them once more.
    fn damaged(&self, damage: &Damage) -> BTreeSet<u32> {
        &damage.pages(self.pages()) - &self.in_log
    }

    fn rows(&self, space: Space) -> &BTreeMap<Vec<u8>, Stored> {
        &self.spaces[space.name()]
    }

    /// Writes it down, damaged.
    fn write(&self, damage: &Damage, directory: &Path) {
        let mut file = self.file.clone();
        damage.apply(&mut file);
        fs::write(directory.join(DATABASE), file).unwrap();
        if !self.log.is_empty() {
            fs::write(directory.join(LOG), &self.log).unwrap();
        }
    }
}

fn fill(client: &mut Client<SqliteStore>, indices: std::ops::Range<u32>) {
    let value = |index: u32, len: usize| -> Vec<u8> {
        (0..len as u32).map(|at| (index.wrapping_mul(0x9e37_79b9).rotate_left(at % 32) >> 7) as u8).collect()
    };
    client.put(|batch| {
        for index in indices {
            batch.put(SPACE, &index.to_be_bytes(), &value(index, 700 + index as usize % 120));
            // In no order.
            batch.put(OTHER, &[index.wrapping_mul(77) as u8], &value(index, 80));
            if index % 7 == 0 {
                batch.put(LARGE, &index.to_be_bytes(), &value(index, index as usize * 131 % 9000));
            }
            if index % 80 == 0 {
                batch.put(FEW, format!("row {index}").as_bytes(), &value(index, 10));
            }
        }
        // Pages that are free then.
        batch.delete(SPACE, &100u32.to_be_bytes(), &130u32.to_be_bytes());
    });
    client.settle();
}

#[derive(Clone, Debug)]
enum Damage {
    Zeros(BTreeSet<u32>),
    Noise(BTreeSet<u32>, u64),
    /// Cut off at a length.
    Cut(usize),
    /// Bytes that are changed, and how.
    Changed(Vec<(usize, u8)>),
}

impl Damage {
    fn apply(&self, file: &mut Vec<u8>) {
        match self {
            Self::Zeros(pages) => each_page(file, pages, |page| page.fill(0)),
            Self::Noise(pages, seed) => {
                let mut rng = Rng::with_seed(*seed);
                each_page(file, pages, |page| rng.fill(page));
            }
            Self::Cut(len) => file.truncate(*len),
            Self::Changed(bytes) => bytes.iter().for_each(|(at, change)| file[*at] ^= change),
        }
    }

    /// The pages of a file of so many that it changes.
    fn pages(&self, all: u32) -> BTreeSet<u32> {
        match self {
            Self::Zeros(pages) | Self::Noise(pages, _) => pages.clone(),
            Self::Cut(len) => ((len / PAGE) as u32 + 1..=all).collect(),
            Self::Changed(bytes) => bytes.iter().map(|(at, _)| (at / PAGE) as u32 + 1).collect(),
        }
    }

    /// Whether SQLite is sure to see it, except on pages that hold nothing but a part of a value.
    fn is_plain(&self) -> bool {
        match self {
            Self::Zeros(_) | Self::Noise(..) => true,
            Self::Cut(len) => len.is_multiple_of(PAGE),
            Self::Changed(_) => false,
        }
    }
}

fn each_page(file: &mut [u8], pages: &BTreeSet<u32>, mut change: impl FnMut(&mut [u8])) {
    for page in pages {
        change(&mut file[(*page as usize - 1) * PAGE..][..PAGE]);
    }
}

/// Opens a store, reads all of it, writes to it and closes it: the rows that were read, or what it failed with.
fn use_store(directory: &Path) -> Result<BTreeMap<&'static str, Vec<Row>>, Failure> {
    let mut client = try_sqlite(directory, &Options::default()).map_err(Failure::Open)?;
    let mut rows = BTreeMap::new();
    for space in SPACES {
        let up = read(&mut client, &Query::all(space))?;
        let mut down = read(&mut client, &Query::all(space).descending())?;
        down.reverse();
        assert_eq!(up, down);
        rows.insert(space.name(), up);
    }
    for index in (0..300u32).step_by(10) {
        client.try_put(|batch| {
            for space in SPACES {
                batch.put(space, &(index + 5).to_be_bytes(), &[index as u8; 500]);
                batch.delete(space, &index.to_be_bytes(), &(index + 2).to_be_bytes());
            }
        })?;
    }
    while andon_kernel::Store::outstanding(&client.store) > 0 {
        client.try_next()?;
    }
    client.store.close()?;
    Ok(rows)
}

#[derive(Debug)]
enum Failure {
    Open(OpenError),
    Store(StoreError),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

fn read(client: &mut Client<SqliteStore>, query: &Query) -> Result<Vec<Row>, StoreError> {
    client.try_load(query)?;
    match client.try_next()? {
        Done::Loaded { rows, more: false, .. } => Ok(rows),
        other => panic!("a scan was answered by {other:?}"),
    }
}

/// Damages a database, uses it as it is, and salvages it.
fn check(original: &Original, damage: &Damage) {
    println!("{damage:?}");
    let directory = tempdir().unwrap();
    original.write(damage, directory.path());
    check_use(original, damage, use_store(directory.path()));

    let directory = tempdir().unwrap();
    original.write(damage, directory.path());
    let damaged = fs::read(directory.path().join(DATABASE)).unwrap();
    let salvaged = match salvage(directory.path()) {
        Ok(salvaged) => salvaged,
        Err(OpenError::Foreign { .. } | OpenError::Newer { .. })
            if !damage.is_plain() && damage.pages(original.pages()).contains(&1) =>
        {
            return;
        }
        Err(error) => panic!("{error}"),
    };
    assert_eq!(fs::read(directory.path().join("andon.sqlite.damaged")).unwrap(), damaged);
    let rows = use_store(directory.path()).unwrap_or_else(|failure| panic!("{failure:?}"));
    check_rows(original, damage, &salvaged, &rows);
    let connection = Connection::open(directory.path().join(DATABASE)).unwrap();
    let verdict: String = connection.query_row("PRAGMA integrity_check", (), |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok");
}

fn check_use(original: &Original, damage: &Damage, found: Result<BTreeMap<&str, Vec<Row>>, Failure>) {
    match found {
        // A file of no bytes is a new one.
        Ok(rows) if matches!(damage, Damage::Cut(0)) => assert!(rows.values().all(Vec::is_empty)),
        Ok(rows) if damage.is_plain() => {
            for (space, rows) in rows {
                let before = &original.spaces[space];
                assert!(rows.iter().map(|(key, _)| key).eq(before.keys()), "{space} has other rows");
                for (key, value) in rows {
                    let stored = &before[&key];
                    let whole = stored.pages.is_disjoint(&original.damaged(damage));
                    assert!(value == stored.value || !whole, "{space}: {key:?} has changed");
                }
            }
        }
        Ok(_) => {}
        Err(
            Failure::Open(OpenError::Damaged { detail, .. }) | Failure::Store(StoreError::Damaged { detail }),
        ) => {
            assert!(!detail.is_empty());
        }
        Err(Failure::Open(OpenError::NotADatabase { .. })) => {
            assert!(damage.pages(original.pages()).contains(&1));
        }
        Err(Failure::Open(OpenError::Foreign { .. } | OpenError::Newer { .. }))
            if !damage.is_plain() && damage.pages(original.pages()).contains(&1) => {}
        Err(other) => panic!("{other:?}"),
    }
}

/// Checks what a salvage kept: all rows that no damage lies before, and no others.
fn check_rows(
    original: &Original,
    damage: &Damage,
    salvaged: &Salvage,
    rows: &BTreeMap<&'static str, Vec<Row>>,
) {
    let damaged = original.damaged(damage);
    let schema_damaged = damaged.contains(&1);
    let mut lost_any = false;
    for space in SPACES {
        let before = original.rows(space);
        let kept: BTreeMap<_, _> = rows[space.name()].iter().cloned().collect();
        let reported = salvaged.spaces.iter().find(|reported| reported.name == space.name());
        assert_eq!(kept.len() as u64, reported.map_or(0, |reported| reported.rows), "{space:?}");
        if schema_damaged {
            assert!(kept.len() <= before.len());
            continue;
        }
        let reported = reported.unwrap();
        let whole = |stored: &Stored| stored.pages.is_disjoint(&damaged);
        let expected = before.values().filter(|stored| whole(stored)).count();
        let ends = [before.values().next(), before.values().next_back()];
        let has_ends = ends.into_iter().flatten().all(whole);
        let order: Vec<_> = before.iter().collect();
        for (index, (key, stored)) in order.iter().enumerate().filter(|(_, (_, stored))| whole(stored)) {
            // A row on a page above others, between two of these that are damaged, is not found; nor is one that is not
            // in order with a damaged key beside it.
            let around = [index.wrapping_sub(1), index + 1].map(|index| order.get(index));
            let mut around = around.into_iter().flatten().map(|(_, stored)| whole(stored));
            let is_hidden =
                if damage.is_plain() { !around.any(|whole| whole) } else { around.any(|whole| !whole) };
            match kept.get(*key) {
                Some(value) => assert!(*value == stored.value, "{space:?}: {key:?} has changed"),
                None if space == LARGE || is_hidden => {}
                // Between two keys that are known each key was tried; beyond the last one that can't be.
                None => assert!(!has_ends, "{space:?}: {key:?} was not kept"),
            }
        }
        if space == LARGE {
            check_ends(before, &damaged, &kept);
        } else if damage.is_plain() {
            assert!(kept.len() <= expected, "{space:?}");
            assert_eq!(reported.lost, expected < before.len(), "{space:?}");
        }
        lost_any |= reported.lost;
        println!("  {space:?}: {} of {} rows kept", kept.len(), before.len());
    }
    if damage.is_plain() {
        assert_eq!(salvaged.lost, lost_any || schema_damaged);
    }
}

/// Of rows that lie on several pages one may be in the way to others. But all are kept that are before the first damage
/// or after the last; except perhaps the one beside it.
fn check_ends(
    before: &BTreeMap<Vec<u8>, Stored>,
    damaged: &BTreeSet<u32>,
    kept: &BTreeMap<Vec<u8>, Vec<u8>>,
) {
    let whole = |(_, stored): &(&Vec<u8>, &Stored)| stored.pages.is_disjoint(damaged);
    let low: Vec<_> = before.iter().take_while(whole).collect();
    let high: Vec<_> = before.iter().rev().take_while(whole).collect();
    for end in [low, high] {
        for (key, stored) in &end[..end.len().saturating_sub(1)] {
            assert!(kept.get(*key) == Some(&stored.value), "{key:?} was not kept");
        }
    }
}

/// The seeds of damages that are drawn at random: by default few.
fn seeds() -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let first = number("ANDON_FIRST_SEED").unwrap_or(0);
    first..first + number("ANDON_SEEDS").unwrap_or(25)
}

/// Some pages, mostly few.
fn some_pages(rng: &mut Rng, all: u32) -> BTreeSet<u32> {
    let count = *rng.choice(&[1, 1, 1, 2, 3, 5, 20]).unwrap();
    // The first one is tried by itself.
    (0..count).map(|_| rng.u32(2..=all)).collect()
}

#[test]
fn each_page_may_be_damaged() {
    let original = Original::closed();
    for page in 1..=original.pages() {
        check(&original, &Damage::Zeros([page].into()));
    }
}

#[test]
fn many_pages_may_be_damaged() {
    for original in [Original::closed(), Original::killed()] {
        for seed in seeds() {
            let mut rng = Rng::with_seed(seed);
            let pages = some_pages(&mut rng, original.pages());
            check(&original, &if seed % 2 == 0 { Damage::Zeros(pages) } else { Damage::Noise(pages, seed) });
        }
        check(&original, &Damage::Noise([1].into(), 1));
    }
}

#[test]
fn a_file_may_be_cut_off_anywhere() {
    let original = Original::closed();
    let file_len = original.file.len();
    let lens = [0, 1, 15, 16, 99, 100, 511, 512, 1000, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE, file_len - 1];
    let others = seeds().map(|seed| {
        let len = Rng::with_seed(seed).usize(..file_len);
        if seed % 2 == 0 { len } else { len / PAGE * PAGE }
    });
    for len in lens.into_iter().chain(others) {
        check(&original, &Damage::Cut(len));
    }
}

#[test]
fn bytes_may_change() {
    for original in [Original::closed(), Original::killed()] {
        for seed in seeds() {
            let mut rng = Rng::with_seed(seed);
            // Of the first page every third time.
            let end = if seed % 3 == 0 { PAGE } else { original.file.len() };
            let count = rng.usize(1..20);
            let bytes = (0..count).map(|_| (rng.usize(..end), rng.u8(1..))).collect();
            check(&original, &Damage::Changed(bytes));
        }
    }
}
