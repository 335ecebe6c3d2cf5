//! What SQLite adds: files that last, a directory that can be in many a wrong state, a disk that ends.

#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod common;

use std::error::Error;
use std::fs;
use std::ops::Bound::{Included, Unbounded};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use andon_kernel::Store;
use andon_store::{OpenError, Options, SqliteStore, StoreError};
use common::{Client, Done, OTHER, Query, SPACE, disk, rows, sqlite, try_sqlite};
use rusqlite::{Connection, OpenFlags};
use tempfile::{TempDir, tempdir};

fn file(directory: &TempDir) -> PathBuf {
    directory.path().join("andon.sqlite")
}

fn open(path: &Path) -> Result<SqliteStore, OpenError> {
    SqliteStore::open(path, || {})
}

fn refused(path: &Path) -> OpenError {
    match open(path) {
        Ok(_) => panic!("{} was opened", path.display()),
        Err(error) => error,
    }
}

#[test]
fn errors_can_be_passed_anywhere() {
    fn check<E: Error + Clone + Send + Sync + 'static>() {}
    check::<OpenError>();
    check::<StoreError>();
}

#[test]
fn what_was_submitted_outlives_the_store() {
    let directory = tempdir().unwrap();
    let mut client = sqlite(directory.path());
    client.put(|batch| batch.put(SPACE, b"a", b"settled"));
    client.settle();
    client.put(|batch| batch.put(SPACE, b"b", b"not settled"));
    client.load(&Query::all(SPACE));
    drop(client);

    let mut client = sqlite(directory.path());
    assert_eq!(client.rows(SPACE), rows(&[("a", "settled"), ("b", "not settled")]));
    client.put(|batch| batch.put(SPACE, b"c", b"closed"));
    client.store.close().unwrap();

    let mut client = sqlite(directory.path());
    assert_eq!(client.rows(SPACE).len(), 3);
    drop(client);
    assert!(!directory.path().join("andon.sqlite-wal").exists(), "the log is copied at the end");
}

#[test]
fn a_store_ends_though_nobody_collects_its_pages() {
    let directory = tempdir().unwrap();
    let mut client = sqlite(directory.path());
    client.put(|batch| batch.put(SPACE, b"large", &vec![1; 1 << 20]));
    for _ in 0..40 {
        client.load(&Query::all(SPACE));
    }
    // The thread holds as many pages as it may, and waits.
    while client.poll().unwrap().is_none() {
        std::thread::yield_now();
    }
    client.put(|batch| batch.put(OTHER, b"a", b"after the scans"));
    drop(client);
    assert_eq!(sqlite(directory.path()).rows(OTHER), rows(&[("a", "after the scans")]));
}

#[test]
fn one_store_has_a_directory_at_a_time() {
    let directory = tempdir().unwrap();
    let first = open(directory.path()).unwrap();
    let expected = OpenError::Locked { path: directory.path().into() };
    assert_eq!(refused(directory.path()), expected);
    assert!(expected.to_string().ends_with("is in use by another process"), "{expected}");
    drop(first);
    open(directory.path()).unwrap();
}

#[test]
fn a_person_can_read_a_store_in_use() {
    let directory = tempdir().unwrap();
    let mut client = sqlite(directory.path());
    client.put(|batch| batch.put(SPACE, b"\x01\xff", b"value"));
    client.settle();
    let reader = Connection::open_with_flags(file(&directory), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let found: (String, String) = reader
        .query_row("SELECT hex(key), CAST(value AS TEXT) FROM raw_some_space", (), |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    assert_eq!(found, ("01FF".into(), "value".into()));
}

/// While a new database is filled each page is written once; then it gets its log, and nothing of it is lost.
#[test]
fn a_new_database_gets_its_log_when_it_has_been_filled() {
    let directory = tempdir().unwrap();
    let log = directory.path().join("andon.sqlite-wal");
    let mut client = sqlite(directory.path());
    let value = [7; 1000];
    for number in 0..3000_u32 {
        client.put(|batch| batch.put(SPACE, &number.to_be_bytes(), &value));
    }
    client.settle();
    assert!(!log.exists());
    // Nothing comes for a while.
    let mut more = 0;
    while !log.exists() {
        thread::sleep(Duration::from_secs(3));
        client.put(|batch| batch.put(OTHER, b"key", &value));
        client.settle();
        more += 1;
        assert!(more < 20);
    }
    drop(client);
    let connection = Connection::open(file(&directory)).unwrap();
    let count: u32 =
        connection.query_row("SELECT count(*) FROM raw_some_space", (), |row| row.get(0)).unwrap();
    assert_eq!(count, 3000);
}

#[test]
fn a_missing_directory_is_made() {
    let parent = tempdir().unwrap();
    // Characters that mean something in a URI, in SQL and in a shell.
    let path = parent.path().join("two/levels of ?mode=memory&'\"%20#");
    let mut client = sqlite(&path);
    client.put(|batch| batch.put(SPACE, b"a", b"1"));
    client.settle();
    assert!(path.join("andon.sqlite").exists());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o700);
        for name in ["andon.sqlite", "andon.sqlite-journal", "andon.lock"] {
            assert_eq!(mode(&path.join(name)), 0o600, "{name}");
        }
        // A database that is not new has a log.
        drop(client);
        let mut client = sqlite(&path);
        client.put(|batch| batch.put(SPACE, b"b", b"1"));
        client.settle();
        assert_eq!(mode(&path.join("andon.sqlite-wal")), 0o600);
    }
}

#[test]
fn a_file_is_not_a_directory() {
    let parent = tempdir().unwrap();
    let path = parent.path().join("file");
    fs::write(&path, "text").unwrap();
    for path in [path.clone(), path.join("below"), path.join("far/below")] {
        assert!(matches!(refused(&path), OpenError::NotADirectory { .. }), "{:?}", refused(&path));
    }
    assert_eq!(fs::read(&path).unwrap(), b"text");
}

#[test]
fn another_kind_of_file_is_left_alone() {
    for content in [&b"not a database"[..], &[0; 5000], &[b'S'; 100_000]] {
        let directory = tempdir().unwrap();
        fs::write(file(&directory), content).unwrap();
        assert_eq!(refused(directory.path()), OpenError::NotADatabase { path: file(&directory) });
        assert_eq!(fs::read(file(&directory)).unwrap(), content);
    }
    let directory = tempdir().unwrap();
    fs::create_dir(file(&directory)).unwrap();
    assert_eq!(refused(directory.path()), OpenError::NotADatabase { path: file(&directory) });
}

#[test]
fn the_database_of_another_program_is_left_alone() {
    let table = [
        "CREATE TABLE accounts (name TEXT)",
        "PRAGMA application_id = 7",
        "PRAGMA user_version = 1",
        "PRAGMA application_id = 7; CREATE TABLE accounts (name TEXT); PRAGMA journal_mode = WAL",
    ];
    for sql in table {
        let directory = tempdir().unwrap();
        Connection::open(file(&directory)).unwrap().execute_batch(sql).unwrap();
        let before = fs::read(file(&directory)).unwrap();
        assert_eq!(refused(directory.path()), OpenError::Foreign { path: file(&directory) }, "{sql}");
        assert_eq!(fs::read(file(&directory)).unwrap(), before, "{sql}");
    }
}

#[test]
fn a_newer_schema_is_left_alone() {
    let directory = tempdir().unwrap();
    drop(open(directory.path()).unwrap());
    Connection::open(file(&directory)).unwrap().execute_batch("PRAGMA user_version = 9").unwrap();
    let error = refused(directory.path());
    assert_eq!(error, OpenError::Newer { path: file(&directory), found: 9, supported: 2 });
    assert!(error.to_string().contains("newer version"), "{error}");

    Connection::open(file(&directory)).unwrap().execute_batch("PRAGMA user_version = -1").unwrap();
    assert!(matches!(refused(directory.path()), OpenError::Damaged { .. }));
}

#[test]
fn a_half_made_store_is_made_anew() {
    for sql in ["", "PRAGMA journal_mode = WAL", "CREATE TABLE a (b); DROP TABLE a"] {
        let directory = tempdir().unwrap();
        fs::write(file(&directory), "").unwrap();
        Connection::open(file(&directory)).unwrap().execute_batch(sql).unwrap();
        let mut client = sqlite(directory.path());
        client.put(|batch| batch.put(SPACE, b"a", b"1"));
        assert_eq!(client.rows(SPACE).len(), 1, "{sql}");
    }
}

/// A store with 2000 rows, closed.
fn filled(directory: &TempDir) {
    let mut client = sqlite(directory.path());
    client.put(|batch| {
        for index in 0..2000u32 {
            batch.put(SPACE, &index.to_be_bytes(), &[1; 100]);
        }
    });
    client.settle();
}

/// Overwrites a part of the database.
fn overwrite(directory: &TempDir, part: std::ops::Range<usize>) {
    let mut content = fs::read(file(directory)).unwrap();
    content[part].fill(0xa5);
    fs::write(file(directory), content).unwrap();
}

#[test]
fn damage_to_the_first_page_is_found_at_once() {
    for part in [100..4096, 16..18, 0..4096] {
        let directory = tempdir().unwrap();
        filled(&directory);
        overwrite(&directory, part.clone());
        let error = refused(directory.path());
        assert!(
            matches!(error, OpenError::Damaged { .. } | OpenError::NotADatabase { .. }),
            "{part:?}: {error:?}"
        );
    }
}

#[test]
fn damage_further_on_is_found_when_it_is_read() {
    let directory = tempdir().unwrap();
    filled(&directory);
    let len = fs::metadata(file(&directory)).unwrap().len() as usize;
    overwrite(&directory, 4096..len);
    let mut client = sqlite(directory.path());
    client.load(&Query::all(SPACE));
    let error = client.try_next().unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
    assert_fails(&mut client, &error);
    assert_eq!(client.store.close().unwrap_err(), error);
}

#[test]
fn a_changed_table_is_damage() {
    for sql in [
        "ALTER TABLE raw_some_space RENAME COLUMN value TO content",
        "DROP TABLE raw_some_space; CREATE TABLE raw_some_space (key, value); INSERT INTO raw_some_space VALUES (1, 'text')",
    ] {
        let directory = tempdir().unwrap();
        filled(&directory);
        Connection::open(file(&directory)).unwrap().execute_batch(sql).unwrap();
        let mut client = sqlite(directory.path());
        client.load(&Query::all(SPACE));
        let error = client.try_next().unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{sql}: {error:?}");
    }
}

#[test]
fn a_file_that_is_cut_off_while_it_is_used_is_damage() {
    for (writes, reads) in [(true, false), (false, true), (true, true)] {
        let directory = tempdir().unwrap();
        filled(&directory);
        let mut client = sqlite(directory.path());
        client.put(|batch| batch.put(OTHER, b"a", b"1"));
        client.settle();
        fs::OpenOptions::new().write(true).open(file(&directory)).unwrap().set_len(4096).unwrap();
        if writes {
            client.put(|batch| batch.put(SPACE, &[0, 0, 3, 77], b"1"));
        }
        if reads {
            // It may have failed by then.
            let _ = client.try_load(&Query::all(SPACE));
        }
        // The log can't be copied into what is left, or rows on pages that are gone can't be read.
        while client.store.outstanding() > 0 && client.try_next().is_ok() {}
        let error = client.store.close().unwrap_err();
        assert!(matches!(&error, StoreError::Damaged { detail } if !detail.is_empty()), "{error:?}");
    }
}

#[test]
fn a_log_that_can_not_be_copied_into_the_database_is_damage() {
    let directory = tempdir().unwrap();
    let mut client = sqlite(directory.path());
    // More than the checkpoint's own tolerance of a file that is too short.
    for index in 0..20u32 {
        client.put(|batch| batch.put(SPACE, &index.to_be_bytes(), &vec![1; 200_000]));
        client.settle();
    }
    drop(client);
    let mut client = sqlite(directory.path());
    client.put(|batch| batch.put(OTHER, b"a", b"1"));
    client.settle();
    fs::OpenOptions::new().write(true).open(file(&directory)).unwrap().set_len(8192).unwrap();
    let error = client.store.close().unwrap_err();
    assert!(matches!(&error, StoreError::Damaged { detail } if !detail.is_empty()), "{error:?}");
}

#[test]
fn rows_that_are_not_in_order_are_damage() {
    let directory = tempdir().unwrap();
    filled(&directory);
    let mut content = fs::read(file(&directory)).unwrap();
    // The last key is found among the rows, and becomes the first one's.
    let key = 1999u32.to_be_bytes();
    let row = [&key[..], &[1; 100]].concat();
    let at = content.windows(row.len()).rposition(|window| window == row).unwrap();
    content[at..at + 4].fill(0);
    fs::write(file(&directory), content).unwrap();
    for query in [Query::all(SPACE), Query::all(SPACE).descending()] {
        let mut client = sqlite(directory.path());
        client.load(&query);
        let error = client.try_next().unwrap_err();
        assert_eq!(error, StoreError::Damaged { detail: "rows are out of order".into() });
    }
}

#[test]
fn a_header_that_forbids_writing_is_damage() {
    let directory = tempdir().unwrap();
    filled(&directory);
    // The version of the format, as far as writing goes.
    overwrite(&directory, 18..19);
    assert!(
        matches!(refused(directory.path()), OpenError::Damaged { .. }),
        "{:?}",
        refused(directory.path())
    );
}

/// Every call says the same, again and again.
fn assert_fails(client: &mut Client<SqliteStore>, expected: &StoreError) {
    for _ in 0..3 {
        assert_eq!(client.try_load(&Query::all(OTHER)).as_ref(), Err(expected));
        assert_eq!(client.try_put(|batch| batch.put(OTHER, b"a", b"1")).as_ref(), Err(expected));
        assert_eq!(client.poll().as_ref(), Err(expected));
    }
}

/// Stores batches of 16 KiB until the store fails: how many are stored, and why it failed.
fn store_until_full(client: &mut Client<SqliteStore>) -> (u32, StoreError) {
    for index in 0..u32::MAX {
        let result = client
            .try_put(|batch| {
                batch.put(SPACE, &index.to_be_bytes(), &[index as u8; 16 * 1024]);
                batch.put(OTHER, &index.to_be_bytes(), b"");
            })
            .and_then(|_| client.try_next());
        match result {
            Ok(done) => assert!(matches!(done, Done::Stored(_))),
            Err(error) => return (index, error),
        }
    }
    panic!("the disk has no end");
}

/// What a store holds that took `stored` batches and failed at the next; then it goes on.
fn assert_recovers(client: &mut Client<SqliteStore>, stored: u32) {
    let indices: Vec<_> = (0..stored).map(|index| index.to_be_bytes().to_vec()).collect();
    for space in [SPACE, OTHER] {
        let found: Vec<_> = client.rows(space).into_iter().map(|(key, _)| key).collect();
        assert_eq!(found, indices, "{space:?}");
    }
    client.put(|batch| batch.put(SPACE, b"\xff", &[0; 100_000]));
    client.settle();
    let (found, _) = client.page(&Query::range(Included(b"\xff"), Unbounded));
    assert_eq!(found.len(), 1);
}

#[test]
fn a_store_at_its_limit_is_full() {
    let directory = tempdir().unwrap();
    let mut options = Options::default();
    options.max_bytes = Some(1 << 20);
    let mut client = try_sqlite(directory.path(), &options).unwrap();
    let (stored, error) = store_until_full(&mut client);
    assert_eq!(error, StoreError::Full);
    assert!((50..64).contains(&stored), "{stored} batches of 16 KiB in 1 MiB");
    assert_fails(&mut client, &error);
    drop(client);
    assert!(fs::metadata(file(&directory)).unwrap().len() <= 1 << 20);
    assert_recovers(&mut sqlite(directory.path()), stored);
}

#[test]
fn a_full_disk_is_full() {
    let parent = tempdir().unwrap();
    let Some(disk) = disk::small(parent.path()) else { return };
    let directory = disk.path.join("data");
    let mut client = sqlite(&directory);
    let (stored, error) = store_until_full(&mut client);
    drop(client);
    let copy = parent.path().join("copy");
    fs::create_dir(&copy).unwrap();
    for entry in fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, copy.join(path.file_name().unwrap())).unwrap();
    }
    // As it is, there is no room to open it; and on a disk that is full from the start neither.
    fs::write(disk.path.join("rest"), vec![0; 4 << 20]).unwrap_err();
    let reopened = open(&directory).map(drop);
    let made = open(&disk.path.join("other")).map(drop);
    drop(disk);
    assert_eq!(error, StoreError::Full);
    assert!(stored > 10, "{stored}");
    assert!(matches!(reopened, Ok(()) | Err(OpenError::Full { .. })), "{reopened:?}");
    assert!(matches!(made, Err(OpenError::Full { .. })), "{made:?}");
    assert_recovers(&mut sqlite(&copy), stored);
}

#[test]
#[cfg(unix)]
fn a_directory_that_may_not_be_written_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let parent = tempdir().unwrap();
    let directory = parent.path().join("data");
    drop(open(&directory).unwrap());
    let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    set(&directory, 0o500);
    if fs::write(directory.join("probe"), "").is_ok() {
        println!("skipped: this user may write anywhere");
        return;
    }
    // The files are there and could be written, but not the log beside them.
    assert!(matches!(refused(&directory), OpenError::NoPermission { .. }), "{:?}", refused(&directory));
    set(&directory, 0o000);
    assert!(matches!(refused(&directory), OpenError::NoPermission { .. }), "{:?}", refused(&directory));
    set(&directory, 0o700);
    set(&directory.join("andon.sqlite"), 0o400);
    let expected = OpenError::NoPermission { path: directory.join("andon.sqlite") };
    assert_eq!(refused(&directory), expected);
    assert!(expected.to_string().starts_with("no permission"), "{expected}");
    set(parent.path(), 0o500);
    assert!(matches!(refused(&parent.path().join("new")), OpenError::NoPermission { .. }));
    set(parent.path(), 0o700);
}

#[test]
fn congestion_ends_when_the_queue_does() {
    let directory = tempdir().unwrap();
    let mut client = sqlite(directory.path());
    // Someone else writes: until they are done the store can't.
    let writer = Connection::open(file(&directory)).unwrap();
    writer.execute_batch("BEGIN IMMEDIATE").unwrap();
    for index in 0..8 {
        assert!(!client.store.is_congested(), "after {index} quarters of a MiB");
        client.put(|batch| batch.put(SPACE, &[index], &vec![0; 1 << 18]));
    }
    assert!(client.store.is_congested());
    writer.execute_batch("ROLLBACK").unwrap();
    client.settle();
    assert!(!client.store.is_congested());

    writer.execute_batch("BEGIN IMMEDIATE").unwrap();
    client.put(|batch| batch.put(SPACE, b"a", b""));
    for _ in 1..4096 {
        assert!(!client.store.is_congested());
        client.load(&Query::all(OTHER));
    }
    assert!(client.store.is_congested());
    writer.execute_batch("ROLLBACK").unwrap();
    client.settle();
    assert!(!client.store.is_congested());
}
