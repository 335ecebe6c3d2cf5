//! A salvage beside what the pages' damage does: wrong directories, a process that is killed, a disk that ends, what
//! the machine is told.

#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use andon_kernel::Space;
use andon_store::{OpenError, SALVAGED, Salvage, SqliteStore, salvage};
use common::pages::{self, PAGE};
use common::{OTHER, SPACE, disk, rows, sqlite};
use fastrand::Rng;
use rusqlite::Connection;
use tempfile::tempdir;

const DATABASE: &str = "andon.sqlite";

fn refused(path: &Path) -> OpenError {
    salvage(path).map(|salvage| panic!("{} was salvaged: {salvage:?}", path.display())).unwrap_err()
}

/// Fills a store with rows of 100 bytes, and closes it.
fn fill(directory: &Path, space: Space, count: u32) {
    let mut client = sqlite(directory);
    client.put(|batch| {
        for index in 0..count {
            batch.put(space, &index.to_be_bytes(), &[index as u8; 100]);
        }
    });
    client.settle();
}

/// Zeroes the pages that lie on the way to a row or hold it, but for the root.
fn damage(directory: &Path, space: Space, index: u32) {
    let path = directory.join(DATABASE);
    let mut file = fs::read(&path).unwrap();
    let page = leaf(directory, space, index);
    file[(page as usize - 1) * PAGE..][..PAGE].fill(0);
    fs::write(path, file).unwrap();
}

/// The page that holds a row and no others' way.
fn leaf(directory: &Path, space: Space, index: u32) -> u32 {
    let path = directory.join(DATABASE);
    let connection = Connection::open(&path).unwrap();
    let sql = "SELECT rootpage FROM sqlite_schema WHERE name = ?1";
    let root: u32 = connection.query_row(sql, (format!("raw_{}", space.name()),), |row| row.get(0)).unwrap();
    let rows = pages::rows(&fs::read(&path).unwrap(), root);
    let pages = &rows[&index.to_be_bytes()[..]];
    let others: BTreeSet<u32> = rows.values().flatten().copied().collect();
    // The way to a leaf has more pages than the way to any page above it.
    let depth = rows.values().map(BTreeSet::len).max().unwrap();
    assert_eq!(pages.len(), depth, "row {index} lies above others");
    assert!(others.len() > depth);
    let count = |page: &u32| rows.values().filter(|pages| pages.contains(page)).count();
    *pages.iter().min_by_key(|page| count(page)).unwrap()
}

/// What a salvage says, as text.
fn summary(salvage: &Salvage) -> String {
    let spaces: Vec<_> = salvage
        .spaces
        .iter()
        .map(|space| format!("{} {}{}", space.name, space.rows, if space.lost { " lost" } else { "" }))
        .collect();
    format!("{}{}", spaces.join(", "), if salvage.lost { "; lost" } else { "" })
}

#[test]
fn a_whole_store_keeps_all() {
    let directory = tempdir().unwrap();
    fill(directory.path(), SPACE, 1000);
    fill(directory.path(), OTHER, 3);
    let mut client = sqlite(directory.path());
    // A name that SQLite keeps to itself, and a space that holds nothing any more.
    client.put(|batch| {
        batch.put(Space::new("sqlite_schema"), b"a", b"1");
        batch.put(Space::new("was_full"), b"a", b"1");
        batch.delete_from(Space::new("was_full"), b"");
    });
    let before = client.rows(SPACE);
    drop(client);
    let salvaged = salvage(directory.path()).unwrap();
    assert_eq!(summary(&salvaged), "other_space 3, some_space 1000, sqlite_schema 1, was_full 0");
    let mut client = sqlite(directory.path());
    assert_eq!(client.rows(SPACE), before);
    assert_eq!(client.rows(OTHER).len(), 3);
    assert_eq!(client.rows(Space::new("sqlite_schema")), rows(&[("a", "1")]));
    let report = client.rows(SALVAGED);
    let numbers: Vec<_> =
        report.iter().map(|(key, value)| (str::from_utf8(key).unwrap(), &value[..])).collect();
    assert_eq!(
        numbers,
        [
            ("", &[0][..]),
            ("other_space", &[0, 0, 0, 0, 0, 0, 0, 3, 0]),
            ("some_space", &[0, 0, 0, 0, 0, 0, 3, 232, 0]),
            ("sqlite_schema", &[0, 0, 0, 0, 0, 0, 0, 1, 0]),
            ("was_full", &[0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ]
    );
}

#[test]
fn what_was_lost_is_told_until_a_machine_takes_note() {
    let directory = tempdir().unwrap();
    fill(directory.path(), SPACE, 1000);
    fill(directory.path(), OTHER, 1000);
    damage(directory.path(), SPACE, 500);
    let first = salvage(directory.path()).unwrap();
    assert_eq!(summary(&first), "other_space 1000, some_space 968 lost; lost");
    // The rows that were lost stay lost, though the store is whole now.
    assert_eq!(summary(&salvage(directory.path()).unwrap()), summary(&first));
    let mut client = sqlite(directory.path());
    assert_eq!(client.rows(SALVAGED)[2].1, [0, 0, 0, 0, 0, 0, 3, 200, 1]);
    client.put(|batch| batch.delete_from(SALVAGED, b""));
    drop(client);
    assert_eq!(summary(&salvage(directory.path()).unwrap()), "other_space 1000, some_space 968");
}

#[test]
fn the_damaged_one_is_kept_until_the_next() {
    let directory = tempdir().unwrap();
    let kept = directory.path().join("andon.sqlite.damaged");
    fill(directory.path(), SPACE, 1000);
    for index in [100, 700] {
        damage(directory.path(), SPACE, index);
        let before = fs::read(directory.path().join(DATABASE)).unwrap();
        salvage(directory.path()).unwrap();
        assert_eq!(fs::read(&kept).unwrap(), before);
    }
    let names: BTreeSet<_> =
        fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let known = ["andon.lock", DATABASE, "andon.sqlite.damaged"].map(Into::into);
    assert!(names.is_superset(&known.into()), "{names:?}");
    let others = names.iter().filter(|name| !name.to_str().unwrap().starts_with("andon.sqlite.damaged"));
    assert_eq!(others.count(), 2, "{names:?}");
}

#[test]
#[cfg(unix)]
fn it_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempdir().unwrap();
    fill(directory.path(), SPACE, 10);
    salvage(directory.path()).unwrap();
    for name in [DATABASE, "andon.sqlite.damaged"] {
        let mode = fs::metadata(directory.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[test]
fn nothing_is_left_of_what_is_no_database() {
    for content in [&b""[..], b"not a database", &[0; 5000], &[b'S'; 100_000]] {
        let directory = tempdir().unwrap();
        fs::write(directory.path().join(DATABASE), content).unwrap();
        assert_eq!(summary(&salvage(directory.path()).unwrap()), "; lost");
        assert_eq!(fs::read(directory.path().join("andon.sqlite.damaged")).unwrap(), content);
        let mut client = sqlite(directory.path());
        assert_eq!(client.rows(SALVAGED), [(vec![], vec![1])]);
        client.put(|batch| batch.put(SPACE, b"a", b"1"));
        assert_eq!(client.rows(SPACE).len(), 1);
    }
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let table = [
        ("CREATE TABLE accounts (name TEXT)", "is the database of another program"),
        ("PRAGMA application_id = 7", "is the database of another program"),
        ("PRAGMA application_id = 1095648334; PRAGMA user_version = 3", "was made by a newer version"),
    ];
    for (sql, expected) in table {
        let directory = tempdir().unwrap();
        let path = directory.path().join(DATABASE);
        Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        let before = fs::read(&path).unwrap();
        let error = refused(directory.path());
        assert!(error.to_string().contains(expected), "{sql}: {error}");
        assert_eq!(fs::read(&path).unwrap(), before);
        let names = fs::read_dir(directory.path()).unwrap().count();
        assert_eq!(names, 2, "the database and the lock");
    }
}

#[test]
fn a_directory_that_can_not_be_salvaged_is_named() {
    let parent = tempdir().unwrap();
    let missing = parent.path().join("missing");
    assert_eq!(refused(&missing), OpenError::NotADirectory { path: missing.clone() });
    assert!(!missing.exists());
    assert!(matches!(refused(parent.path()), OpenError::Io { .. }));
    let directory = parent.path().join("data");
    fill(&directory, SPACE, 10);
    let store = SqliteStore::open(&directory, || {}).unwrap();
    assert_eq!(refused(&directory), OpenError::Locked { path: directory.clone() });
    drop(store);
    salvage(&directory).unwrap();
    fs::remove_file(directory.join(DATABASE)).unwrap();
    fs::create_dir(directory.join(DATABASE)).unwrap();
    assert_eq!(refused(&directory), OpenError::NotADatabase { path: directory.join(DATABASE) });
}

#[test]
fn a_disk_that_ends_changes_nothing() {
    let parent = tempdir().unwrap();
    let Some(disk) = disk::small(parent.path()) else { return };
    let original = parent.path().join("original");
    fill(&original, SPACE, 10_000);
    damage(&original, SPACE, 5000);
    let before = fs::read(original.join(DATABASE)).unwrap();
    fs::write(disk.path.join(DATABASE), &before).unwrap();
    let error = salvage(&disk.path);
    let after = fs::read(disk.path.join(DATABASE)).unwrap();
    let has_new = disk.path.join("andon.sqlite.new").exists();
    drop(disk);
    assert!(matches!(error, Err(OpenError::Full { .. })), "{error:?}");
    assert!(before == after && !has_new);
}

#[test]
fn a_salvage_that_was_cut_short_is_finished_or_done_again() {
    let original = tempdir().unwrap();
    fill(original.path(), SPACE, 1000);
    damage(original.path(), SPACE, 500);
    let damaged = fs::read(original.path().join(DATABASE)).unwrap();
    let expected = salvage(original.path()).unwrap();
    let new = fs::read(original.path().join(DATABASE)).unwrap();
    type Files<'a> = &'a [(&'a str, &'a [u8])];
    let table: &[(&str, Files<'_>)] = &[
        ("half written", &[(DATABASE, &damaged), ("andon.sqlite.new", &new[..3 * PAGE])]),
        ("written", &[(DATABASE, &damaged), ("andon.sqlite.new", &new)]),
        ("complete", &[(DATABASE, &damaged), ("andon.sqlite.salvaged", &new)]),
        ("old one moved", &[("andon.sqlite.damaged", &damaged), ("andon.sqlite.salvaged", &new)]),
    ];
    for (moment, files) in table {
        for opened_first in [false, true] {
            let directory = tempdir().unwrap();
            for (name, content) in *files {
                fs::write(directory.path().join(name), content).unwrap();
            }
            let is_complete = directory.path().join("andon.sqlite.salvaged").exists();
            if opened_first && is_complete {
                // Whoever opens it reads of the salvage in it.
                let mut client = sqlite(directory.path());
                assert_eq!(client.rows(SALVAGED).len(), 2, "{moment}");
                assert_eq!(client.rows(SPACE).len(), 968, "{moment}");
            }
            assert_eq!(salvage(directory.path()).unwrap(), expected, "{moment}");
            assert_eq!(sqlite(directory.path()).rows(SPACE).len(), 968, "{moment}");
            if !(opened_first && is_complete) {
                assert!(
                    fs::read(directory.path().join("andon.sqlite.damaged")).unwrap() == damaged,
                    "{moment}"
                );
            }
        }
    }
}

#[test]
fn a_schema_that_is_partly_damaged_names_the_other_spaces() {
    let directory = tempdir().unwrap();
    fill(directory.path(), SPACE, 100);
    fill(directory.path(), OTHER, 200);
    let path = directory.path().join(DATABASE);
    let mut file = fs::read(&path).unwrap();
    // Within the text that made the table.
    let text = b"CREATE TABLE \"raw_some_space\" (key BLOB";
    let at = file.windows(text.len()).position(|window| window == text).unwrap();
    file[at + text.len()] = b'!';
    fs::write(&path, file).unwrap();
    let error = SqliteStore::open(directory.path(), || {}).map(drop).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
    assert_eq!(summary(&salvage(directory.path()).unwrap()), "other_space 200; lost");
    assert_eq!(sqlite(directory.path()).rows(OTHER).len(), 200);
}

#[test]
fn a_large_store_loses_little_more_than_its_damaged_pages() {
    // Keys that are far apart, as heights and hashes are.
    let directory = tempdir().unwrap();
    let mut client = sqlite(directory.path());
    let key = |index: u32| (index * 16).to_be_bytes();
    let hash =
        |index: u32| [(u64::from(index) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes(); 4].concat();
    client.put(|batch| {
        for index in 0..8000 {
            batch.put(SPACE, &key(index), &[index as u8; 800]);
            batch.put(OTHER, &hash(index), &[index as u8; 40]);
        }
    });
    client.settle();
    drop(client);
    let path = directory.path().join(DATABASE);
    let intact = fs::read(&path).unwrap();
    let connection = Connection::open(&path).unwrap();
    let table = |space: Space| {
        let sql = "SELECT rootpage FROM sqlite_schema WHERE name = ?1";
        let root = connection.query_row(sql, (format!("raw_{}", space.name()),), |row| row.get(0)).unwrap();
        pages::rows(&intact, root)
    };
    let tables = [(SPACE, table(SPACE)), (OTHER, table(OTHER))];
    drop(connection);
    for seed in 0..8 {
        let mut rng = Rng::with_seed(seed);
        let count = if seed % 2 == 0 { 30 } else { 300 };
        let damaged: BTreeSet<u32> = (0..count).map(|_| rng.u32(2..=(intact.len() / PAGE) as u32)).collect();
        let mut file = intact.clone();
        for page in &damaged {
            file[(*page as usize - 1) * PAGE..][..PAGE].fill(0);
        }
        fs::write(&path, file).unwrap();
        let salvaged = salvage(directory.path()).unwrap();
        for (space, rows) in &tables {
            let whole: Vec<bool> = rows.values().map(|pages| pages.is_disjoint(&damaged)).collect();
            // A row by itself on a page above others, which are damaged before and after it, is not found.
            let in_runs =
                whole.chunk_by(|before, after| before == after).filter(|run| run[0] && run.len() > 1);
            let (least, most) = (in_runs.flatten().count(), whole.iter().filter(|whole| **whole).count());
            let kept = salvaged.spaces.iter().find(|kept| kept.name == space.name()).unwrap();
            println!("seed {seed}: {space:?}: {} rows kept, of {least} to {most}", kept.rows);
            assert!((least as u64..=most as u64).contains(&kept.rows), "seed {seed}: {space:?}");
        }
    }
}
