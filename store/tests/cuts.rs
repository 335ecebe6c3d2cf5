//! The stream of writes is cut at every write: what is left on the disk opens, without a repair, and holds the batches up to
//! one of them and no others, all that were told to be stored among them.
//!
//! SQLite has two ways of writing here. A log grows by frames of a page each, and what it holds counts up to the last commit
//! that is whole. A new database has a journal instead: what the pages were goes there and is synced, then they are
//! written, then the journal is emptied. So both files are taken at each moment between, and cut further within each write, by
//! sectors and in the midst of them; and of the pages that a commit writes any part may have come to the disk.

#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use andon_kernel::Space;
use andon_store::SqliteStore;
use common::pages::PAGE;
use common::{Client, OTHER, SPACE, sqlite};
use fastrand::Rng;
use tempfile::{TempDir, tempdir};

const DATABASE: &str = "andon.sqlite";
const LOG: &str = "andon.sqlite-wal";
const JOURNAL: &str = "andon.sqlite-journal";

/// Bytes before the log's first frame, and before a frame's page.
const LOG_HEADER: usize = 32;
const FRAME: usize = 24 + PAGE;

/// What a disk writes as a whole, or not at all.
const SECTOR: usize = 512;

/// A row of this space for each batch, and in it nothing else: which batches there are.
const BATCHES: Space = Space::new("batches");

/// One batch of a kind that is different from one to the next: rows that are new, changed and gone, some longer than a page.
fn put(client: &mut Client<SqliteStore>, batch: u32) {
    client.put(|writer| {
        writer.put(BATCHES, &batch.to_be_bytes(), b"");
        for index in 0..batch % 5 + 1 {
            let key = [batch.to_be_bytes(), index.to_be_bytes()].concat();
            writer.put(SPACE, &key, &vec![(batch ^ index) as u8; (batch * 1313 % 7000) as usize]);
        }
        writer.put(OTHER, b"changed by each", &vec![batch as u8; (batch * 97 % 3000) as usize]);
        if let Some(old) = batch.checked_sub(6) {
            writer.delete(SPACE, &old.to_be_bytes(), &(old + 1).to_be_bytes());
        }
    });
}

type Content = [Vec<common::Row>; 3];

fn content(client: &mut Client<SqliteStore>) -> Content {
    [BATCHES, SPACE, OTHER].map(|space| client.rows(space))
}

/// What there is after each number of batches, by a store in memory.
fn contents(batches: u32) -> Vec<Content> {
    let directory = tempdir().unwrap();
    let mut client = sqlite(directory.path());
    let mut all = vec![content(&mut client)];
    for batch in 0..batches {
        put(&mut client, batch);
        all.push(content(&mut client));
    }
    all
}

/// Files of a directory as they are at some moment.
#[derive(Clone, Debug, Default, PartialEq)]
struct Files(BTreeMap<&'static str, Vec<u8>>);

impl Files {
    fn of(directory: &Path) -> Self {
        let read = |name| Some((name, fs::read(directory.join(name)).ok()?));
        Self([DATABASE, LOG, JOURNAL].into_iter().filter_map(read).collect())
    }

    fn bytes(&self, name: &str) -> &[u8] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    fn with(&self, name: &'static str, bytes: Vec<u8>) -> Self {
        let mut files = self.clone();
        files.0.insert(name, bytes);
        files
    }

    /// Written down, in memory where the system has such a place: thousands of them are.
    fn write(&self) -> TempDir {
        let directory = TempDir::new_in("/dev/shm").or_else(|_| tempdir()).unwrap();
        for (name, bytes) in &self.0 {
            fs::write(directory.path().join(name), bytes).unwrap();
        }
        directory
    }
}

/// Opens what is left after a cut: how many batches it holds, at least `least` and at most `most`, all of them whole. And it
/// goes on from there.
#[track_caller]
fn check(files: &Files, contents: &[Content], least: usize, most: usize, what: &str) -> usize {
    let directory = files.write();
    let mut client = sqlite(directory.path());
    let found = content(&mut client);
    let batches = found[0].len();
    assert!(found == contents[batches], "{what}: {batches} batches, and not what is of them");
    assert!((least..=most).contains(&batches), "{what}: {batches} batches, of {least} to {most}");
    if batches + 1 < contents.len() {
        put(&mut client, batches as u32);
        drop(client);
        let mut client = sqlite(directory.path());
        assert!(content(&mut client) == contents[batches + 1], "{what}: it does not go on");
    }
    batches
}

/// Places within bytes that were written from one length to another: each sector, and some in the midst of one.
fn cuts(from: usize, to: usize) -> impl Iterator<Item = usize> {
    let sectors = (from / SECTOR + 1..=to / SECTOR).map(|sector| sector * SECTOR);
    let within = [from + 1, from + 8, from + 100, to.saturating_sub(1)];
    sectors.chain(within).filter(move |cut| (from..to).contains(cut))
}

/// The log, cut behind each frame and within each.
#[test]
fn the_log_is_cut_at_every_write() {
    const BATCHES: u32 = 10;
    let contents = contents(BATCHES);
    let directory = tempdir().unwrap();
    drop(sqlite(directory.path()));
    // It has been used before: so it has a log.
    let mut client = sqlite(directory.path());
    let mut stored = Vec::new();
    for batch in 0..BATCHES {
        put(&mut client, batch);
        client.settle();
        stored.push(fs::metadata(directory.path().join(LOG)).unwrap().len() as usize);
    }
    let files = Files::of(directory.path());
    let log = files.bytes(LOG).to_vec();
    assert_eq!(log.len(), stored[BATCHES as usize - 1]);
    assert_eq!((log.len() - LOG_HEADER) % FRAME, 0);
    let frames = (log.len() - LOG_HEADER) / FRAME;
    let mut tried = 0;
    let mut last = 0;
    for frame in 0..=frames {
        let whole = LOG_HEADER + frame * FRAME;
        let next = (whole + FRAME).min(log.len());
        // Within the header too, which is the first of all writes.
        let before = (frame == 0).then_some([0, 1, 24, LOG_HEADER - 1]).into_iter().flatten();
        for len in before.chain([whole]).chain(cuts(whole, next)) {
            let least = stored.iter().filter(|end| **end <= len).count();
            let found = check(
                &files.with(LOG, log[..len].to_vec()),
                &contents,
                least,
                least,
                &format!("{len} bytes"),
            );
            assert!(found >= last || len < LOG_HEADER, "{len} bytes hold less than fewer");
            last = found;
            tried += 1;
            // What comes after may be there in length and not in content: another file's, or nothing.
            if len == whole && frame < frames {
                for fill in [0, 0xa5] {
                    let mut torn = log[..len].to_vec();
                    torn.resize(log.len(), fill);
                    check(
                        &files.with(LOG, torn),
                        &contents,
                        least,
                        least,
                        &format!("{len} bytes, then {fill:#x}"),
                    );
                    tried += 1;
                }
            }
        }
    }
    assert_eq!(last, BATCHES as usize);
    println!("{frames} frames of {BATCHES} batches, cut at {tried} places");
}

/// The frames of the last commit come to the disk in any order, as long as it has not been told of.
#[test]
fn frames_that_are_not_synced_come_in_any_order() {
    let contents = contents(8);
    let directory = tempdir().unwrap();
    drop(sqlite(directory.path()));
    let mut client = sqlite(directory.path());
    for batch in 0..8 {
        let synced =
            fs::metadata(directory.path().join(LOG)).map_or(LOG_HEADER as u64, |log| log.len()) as usize;
        put(&mut client, batch);
        client.settle();
        let files = Files::of(directory.path());
        let log = files.bytes(LOG);
        let synced = synced.max(LOG_HEADER);
        let frames = (log.len() - synced) / FRAME;
        for missing in 0..frames {
            let mut torn = log.to_vec();
            torn[synced + missing * FRAME..][..FRAME].fill(0);
            let stored = batch as usize;
            check(
                &files.with(LOG, torn),
                &contents,
                stored,
                stored,
                &format!("batch {batch} without frame {missing}"),
            );
        }
    }
}

/// While the log is copied into the database, any part of the pages may have been written.
#[test]
fn a_copied_log_is_cut_at_every_page() {
    const BATCHES: u32 = 10;
    let contents = contents(BATCHES);
    let directory = tempdir().unwrap();
    drop(sqlite(directory.path()));
    let mut client = sqlite(directory.path());
    for batch in 0..BATCHES {
        put(&mut client, batch);
    }
    client.settle();
    let before = Files::of(directory.path());
    drop(client);
    // Its end copied the log.
    let after = Files::of(directory.path());
    assert!(after.bytes(LOG).is_empty() && !before.bytes(LOG).is_empty());
    let (old, new) = (before.bytes(DATABASE), after.bytes(DATABASE));
    let all = BATCHES as usize;
    let pages = new.len() / PAGE;
    for page in 0..pages {
        for end in [page * PAGE, page * PAGE + SECTOR, page * PAGE + PAGE - SECTOR] {
            let mut mixed = new[..end].to_vec();
            mixed.extend_from_slice(old.get(end..).unwrap_or_default());
            check(&before.with(DATABASE, mixed), &contents, all, all, &format!("copied up to {end}"));
        }
        // One page alone, before those below it: the file has a hole.
        let mut alone = old.to_vec();
        alone.resize(alone.len().max((page + 1) * PAGE), 0);
        alone[page * PAGE..][..PAGE].copy_from_slice(&new[page * PAGE..][..PAGE]);
        check(&before.with(DATABASE, alone), &contents, all, all, &format!("page {page} alone"));
    }
    // The database is whole and synced, and the log is still there or gone: its end is one truncation. A part of it would be older
    // than the database, and no system leaves one.
    check(&after.with(LOG, before.bytes(LOG).to_vec()), &contents, all, all, "copied, with the log");
    check(&after, &contents, all, all, "copied, without the log");
}

/// A database that is being filled: the journal, as it is with each commit, cut at each sector, and the database written up
/// to any page.
#[test]
fn the_journal_is_cut_at_every_write() {
    const BATCHES: u32 = 12;
    let contents = contents(BATCHES);
    let directory = tempdir().unwrap();
    let mut client = sqlite(directory.path());
    // All of them at once: if nothing comes for a while it has been filled.
    let mut moments = vec![Files::of(directory.path())];
    for batch in 0..BATCHES {
        put(&mut client, batch);
        client.settle();
        moments.push(Files::of(directory.path()));
    }
    let mut tried = 0;
    for (batch, moments) in moments.windows(2).enumerate() {
        let (before, after) = (&moments[0], &moments[1]);
        assert!(after.bytes(JOURNAL).is_empty() && after.bytes(LOG).is_empty());
        let (done, next) = (batch, batch + 1);
        check(after, &contents, next, next, "stored");
        let (old, new) = (before.bytes(DATABASE), after.bytes(DATABASE));
        let journal = journal(old, new);
        // Before the journal is synced no page of the database is written: whatever there is of it, the database is as it was.
        // At first it does not say how many pages it has; that is written when they are synced.
        let mut uncounted = journal.clone();
        uncounted[8..12].fill(0);
        for journal in [&journal, &uncounted] {
            for len in cuts(0, journal.len()).chain([0, journal.len()]) {
                let files = before.with(JOURNAL, journal[..len].to_vec());
                check(&files, &contents, done, done, &format!("batch {batch}: {len} bytes of the journal"));
                tried += 1;
            }
        }
        // Then it is there as a whole, and any part of the pages may be written.
        let pages = new.len() / PAGE;
        let mut rng = Rng::with_seed(batch as u64);
        for page in 0..=pages {
            let end = page * PAGE;
            let torn = (end + SECTOR * rng.usize(1..8)).min(new.len());
            for end in [end, torn] {
                let mut mixed = new[..end].to_vec();
                mixed.extend_from_slice(old.get(end..).unwrap_or_default());
                let files = before.with(JOURNAL, journal.clone()).with(DATABASE, mixed);
                check(&files, &contents, done, done, &format!("batch {batch}: written up to {end}"));
                tried += 1;
            }
            let mut some = old.to_vec();
            some.resize(new.len().max(old.len()), 0);
            for page in (0..pages).filter(|_| rng.bool()) {
                some[page * PAGE..][..PAGE].copy_from_slice(&new[page * PAGE..][..PAGE]);
            }
            let files = before.with(JOURNAL, journal.clone()).with(DATABASE, some);
            check(&files, &contents, done, done, &format!("batch {batch}: some pages"));
            tried += 1;
        }
        // The journal is emptied: that is the commit. It is one write, which is there or not.
        let files = after.with(JOURNAL, journal);
        check(&files, &contents, done, done, &format!("batch {batch}: just before its commit"));
    }
    println!("{BATCHES} commits, cut at {tried} places");
}

/// The journal with which SQLite goes from one content to another: a sector that says how many pages the database had and how
/// many follow, and each page as it was, with a checksum. <https://www.sqlite.org/fileformat2.html#the_rollback_journal>
fn journal(old: &[u8], new: &[u8]) -> Vec<u8> {
    const NONCE: u32 = 0x1234_5678;
    let changed = |page: &usize| {
        let range = page * PAGE..(page + 1) * PAGE;
        new.get(range.clone()) != old.get(range)
    };
    let pages: Vec<usize> = (0..old.len() / PAGE).filter(changed).collect();
    let mut journal = vec![0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
    for number in [pages.len() as u32, NONCE, (old.len() / PAGE) as u32, SECTOR as u32, PAGE as u32] {
        journal.extend_from_slice(&number.to_be_bytes());
    }
    journal.resize(SECTOR, 0);
    for page in pages {
        let content = &old[page * PAGE..][..PAGE];
        journal.extend_from_slice(&(page as u32 + 1).to_be_bytes());
        journal.extend_from_slice(content);
        // Of every two hundredth byte from the end.
        let sampled =
            (1..=PAGE.div_ceil(200)).filter_map(|step| PAGE.checked_sub(200 * step).filter(|at| *at > 0));
        let sum = sampled.fold(NONCE, |sum, at| sum.wrapping_add(content[at].into()));
        journal.extend_from_slice(&sum.to_be_bytes());
    }
    journal
}
