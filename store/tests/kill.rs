//! A process that stores without end is killed again and again; what it was told is stored is there, whole.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use andon_store::salvage;
use common::{Client, Done, OTHER, Query, SPACE, sqlite};

const KILLS: u32 = 20;

/// Says to this test binary that it is the process to be killed, and where it stores.
const DIRECTORY: &str = "ANDON_STORE_KILL_TEST";

/// Batches that are kept; each one takes the one before those away.
const KEPT: u32 = 30;

#[test]
fn a_killed_process_has_what_was_stored() {
    let directory = tempfile::tempdir().unwrap();
    let mut rng = fastrand::Rng::with_seed(20);
    let mut killed_at = Vec::new();
    for kill in 0..KILLS {
        let delay = Duration::from_micros(rng.u64(..60_000));
        let reported = store_and_kill(directory.path(), delay);
        let newest = check(directory.path());
        // No report: it was killed before its first batch was stored, or before it could say so.
        let expected = reported.or(killed_at.last().copied().flatten());
        assert!(
            newest >= expected,
            "kill {kill}: {reported:?} was reported stored, and {newest:?} is the newest"
        );
        killed_at.push(newest);
    }
    let stored = killed_at.iter().flatten().max();
    assert!(stored > Some(&KEPT), "hardly anything was stored between the kills: {killed_at:?}");
    println!("newest batch after each kill: {killed_at:?}");
}

#[test]
fn a_directory_that_was_being_made_can_be_used() {
    let mut rng = fastrand::Rng::with_seed(21);
    for _ in 0..KILLS {
        let directory = tempfile::tempdir().unwrap();
        let reported = store_and_kill(directory.path(), Duration::from_micros(rng.u64(..4000)));
        let newest = check(directory.path());
        assert!(newest >= reported, "{reported:?} was reported stored, and {newest:?} is the newest");
    }
}

#[test]
fn a_salvage_that_is_killed_is_finished_or_done_again() {
    let original = tempfile::tempdir().unwrap();
    while store_and_kill(original.path(), Duration::from_millis(30)) < Some(KEPT) {}
    // The log is copied, and then there is another one.
    check(original.path());
    store_and_kill(original.path(), Duration::from_millis(10));
    let file = original.path().join("andon.sqlite");
    let mut content = fs::read(&file).unwrap();
    let page = content.len() / 4096 / 2 * 4096;
    content[page..page + 4096].fill(0);
    fs::write(&file, content).unwrap();
    let copy = || {
        let directory = tempfile::tempdir().unwrap();
        for name in ["andon.sqlite", "andon.sqlite-wal"] {
            fs::copy(original.path().join(name), directory.path().join(name)).unwrap();
        }
        directory
    };
    let undisturbed = copy();
    let expected = salvage(undisturbed.path()).unwrap();
    assert!(expected.spaces.iter().all(|space| space.rows > 0), "{expected:?}");
    let rows = |directory: &Path| [SPACE, OTHER].map(|space| sqlite(directory).rows(space));
    let mut rng = fastrand::Rng::with_seed(22);
    let mut cut_short = 0;
    for kill in 0..KILLS {
        let directory = copy();
        let delay = Duration::from_micros(rng.u64(..30_000));
        let done = run_and_kill("salvages_until_it_is_killed", directory.path(), delay);
        cut_short += u32::from(done.is_empty());
        if kill % 2 == 0 {
            assert_eq!(salvage(directory.path()).unwrap(), expected, "kill {kill}");
        } else if !directory.path().join("andon.sqlite.salvaged").exists() && done.is_empty() {
            // Nothing has happened to the damaged one, or all.
            salvage(directory.path()).unwrap();
        }
        assert!(rows(directory.path()) == rows(undisturbed.path()), "kill {kill}");
    }
    println!("{cut_short} of {KILLS} were cut short");
    assert!(cut_short > 0);
}

/// Lets a process store for some time after it is ready; the newest batch that it reported stored.
fn store_and_kill(directory: &Path, delay: Duration) -> Option<u32> {
    let lines = run_and_kill("stores_until_it_is_killed", directory, delay);
    lines.iter().filter_map(|line| line.strip_prefix("stored ")?.parse().ok()).next_back()
}

/// Lets a process run for some time after it is ready; what it said then.
fn run_and_kill(role: &str, directory: &Path, delay: Duration) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", role, "--nocapture"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // From here it is about to open the store, or at work.
    let ready = lines.by_ref().map_while(Result::ok).find(|line| line.ends_with("ready"));
    assert!(ready.is_some(), "the process ended by itself");
    std::thread::sleep(delay);
    child.kill().unwrap();
    let said = lines.map_while(Result::ok).collect();
    assert_eq!(child.wait().unwrap().signal(), Some(9), "the process ended by itself");
    said
}

/// Checks that each batch is there as a whole or not at all, and returns the newest.
fn check(directory: &Path) -> Option<u32> {
    let mut client = sqlite(directory);
    let last = newest(&mut client)?;
    let first = last.saturating_sub(KEPT - 1);
    let expected: Vec<_> = (first..=last).flat_map(rows_of).collect();
    assert_eq!(client.rows(SPACE), expected, "batches {first} to {last}");
    let expected: Vec<_> = (0..=last).map(|batch| (batch.to_be_bytes().to_vec(), vec![])).collect();
    assert_eq!(client.rows(OTHER), expected);
    Some(last)
}

fn newest(client: &mut Client<andon_store::SqliteStore>) -> Option<u32> {
    let (rows, _) = client.page(&Query::all(OTHER).descending().limit(1));
    rows.first().map(|(key, _)| u32::from_be_bytes(key[..].try_into().unwrap()))
}

/// The rows of a batch: different in number and length from one to the next, some longer than a page of the database.
fn rows_of(batch: u32) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    (0..batch % 7 + 1).map(move |index| {
        let key = [batch.to_be_bytes(), index.to_be_bytes()].concat();
        (key, vec![(batch ^ index) as u8; (batch * 131 % 9000) as usize])
    })
}

/// Not a test of itself: the process that is killed.
#[test]
fn stores_until_it_is_killed() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    say("\nready\n");
    let mut client = sqlite(directory.as_ref());
    let mut next = newest(&mut client).map_or(0, |last| last + 1);
    let mut reported = next;
    loop {
        // Several at a time, so that some are committed together and some wait.
        while andon_kernel::Store::outstanding(&client.store) < 5 {
            client.put(|batch| {
                batch.put(OTHER, &next.to_be_bytes(), b"");
                for (key, value) in rows_of(next) {
                    batch.put(SPACE, &key, &value);
                }
                if let Some(old) = next.checked_sub(KEPT) {
                    batch.delete(SPACE, &old.to_be_bytes(), &(old + 1).to_be_bytes());
                }
            });
            next += 1;
        }
        assert!(matches!(client.next(), Done::Stored(_)));
        say(&format!("stored {reported}\n"));
        reported += 1;
    }
}

/// Not a test of itself: the process that is killed.
#[test]
fn salvages_until_it_is_killed() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    say("\nready\n");
    salvage(directory).unwrap();
    say("done\n");
    loop {
        std::thread::park();
    }
}

fn say(line: &str) {
    let mut out = std::io::stdout();
    out.write_all(line.as_bytes()).and_then(|()| out.flush()).unwrap();
}
