//! Views, and the names of tables: what another program finds, and what becomes of a database of the first schema.

#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use andon_kernel::Space;
use andon_store::{OpenError, Options, SqliteStore, salvage};
use common::{OTHER, Row, SPACE, rows, sqlite, try_sqlite};
use rusqlite::Connection;
use tempfile::tempdir;

fn file(directory: &Path) -> PathBuf {
    directory.join("andon.sqlite")
}

fn with_views(views: &[(&str, &str)]) -> Options {
    let mut options = Options::default();
    options.views = views.iter().map(|(name, select)| ((*name).into(), (*select).into())).collect();
    options
}

fn refused(directory: &Path, options: &Options) -> OpenError {
    match SqliteStore::open_with(directory, options, || {}) {
        Ok(_) => panic!("{options:?} was taken"),
        Err(error) => error,
    }
}

const LENGTHS: (&str, &str) =
    ("lengths", "SELECT hex(key) AS name, length(value) AS length FROM {some_space}");

/// What another program reads of it.
fn lengths(directory: &Path) -> Vec<(String, i64)> {
    let reader = Connection::open(file(directory)).unwrap();
    let mut statement = reader.prepare("SELECT name, length FROM lengths").unwrap();
    let rows = statement.query_map((), |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

fn schema(directory: &Path) -> Vec<(String, String)> {
    let reader = Connection::open(file(directory)).unwrap();
    let mut statement = reader.prepare("SELECT type, name FROM sqlite_schema ORDER BY name").unwrap();
    let rows = statement.query_map((), |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

fn count(directory: &Path, sql: &str) -> i64 {
    Connection::open(file(directory)).unwrap().query_row(sql, (), |row| row.get(0)).unwrap()
}

#[test]
fn a_view_is_there_before_its_first_row() {
    let directory = tempdir().unwrap();
    let mut client = try_sqlite(directory.path(), &with_views(&[LENGTHS])).unwrap();
    assert_eq!(client.rows(SPACE), []);
    drop(client);
    assert_eq!(lengths(directory.path()), []);
    let mut client = try_sqlite(directory.path(), &with_views(&[LENGTHS])).unwrap();
    client.put(|batch| batch.put(SPACE, b"\x01\xff", b"four"));
    client.settle();
    // While it is in use; and then without the option, which leaves the view alone.
    assert_eq!(lengths(directory.path()), [("01FF".into(), 4)]);
    drop(client);
    let mut client = sqlite(directory.path());
    client.put(|batch| batch.put(SPACE, b"\x02", b"five."));
    client.settle();
    assert_eq!(lengths(directory.path()), [("01FF".into(), 4), ("02".into(), 5)]);
}

#[test]
fn a_view_is_made_once_and_made_anew_when_it_is_another() {
    let directory = tempdir().unwrap();
    let options = with_views(&[LENGTHS, ("both", "SELECT count(*) FROM {some_space}, {other_space}")]);
    let version = |options: &Options| {
        drop(try_sqlite(directory.path(), options).unwrap());
        count(directory.path(), "PRAGMA schema_version")
    };
    let made = version(&options);
    assert_eq!(version(&options), made);
    assert_eq!(version(&Options::default()), made);
    let changed =
        with_views(&[("lengths", "SELECT 'x' AS name, 7 AS length FROM {third} UNION ALL SELECT 'y', 8")]);
    assert!(version(&changed) > made);
    assert_eq!(lengths(directory.path()), [("y".into(), 8)]);
    let schema = schema(directory.path());
    let names: Vec<&str> =
        schema.iter().map(|(_, name)| name.as_str()).filter(|name| !name.starts_with("sqlite_")).collect();
    assert_eq!(names, ["both", "lengths", "raw_other_space", "raw_some_space", "raw_third"]);
}

#[test]
fn what_a_person_made_stays() {
    let directory = tempdir().unwrap();
    drop(sqlite(directory.path()));
    let made = "CREATE TABLE lengths (name, length); INSERT INTO lengths VALUES ('mine', 1)";
    Connection::open(file(directory.path())).unwrap().execute_batch(made).unwrap();
    for _ in 0..2 {
        let mut client = try_sqlite(directory.path(), &with_views(&[LENGTHS])).unwrap();
        client.put(|batch| batch.put(SPACE, b"a", b"1"));
        client.settle();
        assert_eq!(lengths(directory.path()), [("mine".into(), 1)]);
    }
}

#[test]
fn a_view_that_can_not_be_is_refused_and_changes_nothing() {
    let table = [
        ("Lengths", "SELECT 1", "name"),
        ("raw_lengths", "SELECT 1", "name"),
        ("sqlite_lengths", "SELECT 1", "name"),
        ("", "SELECT 1", "name"),
        ("lengths", "SELECT key FROM {some_space", "no end"),
        ("lengths", "SELECT key FROM {some space}", "name"),
        ("lengths", "SELECT", "incomplete input"),
        ("lengths", "SELECT rowing FROM {some_space}", "no such column"),
        ("lengths", "SELECT key FROM elsewhere", "no such table"),
        ("lengths", "SELECT 1; DROP TABLE \"raw_some_space\"", ""),
    ];
    let directory = tempdir().unwrap();
    let mut client = sqlite(directory.path());
    client.put(|batch| batch.put(SPACE, b"a", b"1"));
    drop(client);
    let before = schema(directory.path());
    for (name, select, expected) in table {
        let error = refused(
            directory.path(),
            &with_views(&[("sound", "SELECT key FROM {other_space}"), (name, select)]),
        );
        assert!(
            matches!(&error, OpenError::View { name: found, .. } if found == name),
            "{select}: {error:?}"
        );
        assert!(error.to_string().contains(expected), "{select}: {error}");
        assert_eq!(schema(directory.path()), before, "{select}");
    }
    assert_eq!(sqlite(directory.path()).rows(SPACE), rows(&[("a", "1")]));
}

#[test]
fn a_salvage_keeps_views() {
    let directory = tempdir().unwrap();
    let mut client = try_sqlite(directory.path(), &with_views(&[LENGTHS])).unwrap();
    client.put(|batch| batch.put(SPACE, b"a", b"1"));
    drop(client);
    let mine = "CREATE VIEW mine AS SELECT 'mine' AS name; CREATE VIEW broken AS SELECT * FROM gone";
    Connection::open(file(directory.path())).unwrap().execute_batch(mine).unwrap();
    let salvaged = salvage(directory.path()).unwrap();
    assert!(!salvaged.lost, "{salvaged:?}");
    assert_eq!(lengths(directory.path()), [("61".into(), 1)]);
    assert_eq!(count(directory.path(), "SELECT count(*) FROM mine"), 1);
    let mut client = try_sqlite(directory.path(), &with_views(&[LENGTHS])).unwrap();
    assert_eq!(client.rows(SPACE), rows(&[("a", "1")]));
}

/// The same batches write the same pages with views as without.
#[test]
fn views_cost_a_row_nothing() {
    let pages = |options: &Options| {
        let directory = tempdir().unwrap();
        drop(try_sqlite(directory.path(), options).unwrap());
        // A database that is not new has a log, and that has a frame for each page that is written.
        let mut client = try_sqlite(directory.path(), options).unwrap();
        // Both have the tables.
        client.put(|batch| [SPACE, OTHER].into_iter().for_each(|space| batch.put(space, b"", b"")));
        client.settle();
        let log = directory.path().join("andon.sqlite-wal");
        let before = fs::metadata(&log).unwrap().len();
        for index in 0..200u32 {
            client.put(|batch| {
                batch.put(SPACE, &index.to_be_bytes(), &[1; 500]);
                batch.put(OTHER, &[index as u8], &[2; 50]);
            });
            client.settle();
        }
        fs::metadata(&log).unwrap().len() - before
    };
    let views = with_views(&[LENGTHS, ("both", "SELECT count(*) FROM {some_space}, {other_space}")]);
    assert_eq!(pages(&views), pages(&Options::default()));
}

/// A database as the first schema had it, in the log's mode or in the journal's.
fn old(directory: &Path, mode: &str, more: &str) {
    let table = |name: &str| {
        format!(
            "CREATE TABLE \"{name}\" (key BLOB NOT NULL PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;"
        )
    };
    let sql = format!(
        "PRAGMA journal_mode = {mode}; BEGIN;
         PRAGMA application_id = {}; PRAGMA user_version = 1;
         {}{}{}{}
         INSERT INTO some_space VALUES (x'61', x'31'), (x'62', x'32');
         INSERT INTO other_space VALUES (x'63', x'33');
         INSERT INTO _sqlite_schema VALUES (x'64', x'34');
         INSERT INTO __sqlite_schema VALUES (x'65', x'35');
         {more}
         COMMIT;",
        0x414e_444e,
        table("some_space"),
        table("other_space"),
        table("_sqlite_schema"),
        table("__sqlite_schema"),
    );
    Connection::open(file(directory)).unwrap().execute_batch(&sql).unwrap();
}

fn old_rows() -> [(&'static str, Vec<Row>); 4] {
    [
        ("some_space", rows(&[("a", "1"), ("b", "2")])),
        ("other_space", rows(&[("c", "3")])),
        ("sqlite_schema", rows(&[("d", "4")])),
        ("_sqlite_schema", rows(&[("e", "5")])),
    ]
}

fn assert_old_rows(directory: &Path, options: &Options) {
    let mut client = try_sqlite(directory, options).unwrap();
    for (space, expected) in old_rows() {
        assert_eq!(client.rows(Space::new(space)), expected, "{space}");
    }
}

#[test]
fn the_first_schema_is_taken_over() {
    let views = with_views(&[LENGTHS]);
    for (mode, more) in [
        ("WAL", ""),
        ("DELETE", ""),
        ("DELETE", "CREATE VIEW mine AS SELECT count(*) FROM some_space;"),
        ("DELETE", "CREATE VIEW broken AS SELECT * FROM gone;"),
    ] {
        let directory = tempdir().unwrap();
        old(directory.path(), mode, more);
        for _ in 0..2 {
            assert_old_rows(directory.path(), &views);
            assert_eq!(count(directory.path(), "PRAGMA user_version"), 2, "{more}");
            assert_eq!(lengths(directory.path()), [("61".into(), 1), ("62".into(), 1)]);
            let verdict = Connection::open(file(directory.path())).unwrap();
            let verdict: String = verdict.query_row("PRAGMA integrity_check", (), |row| row.get(0)).unwrap();
            assert_eq!(verdict, "ok", "{more}");
        }
        if more.contains("mine") {
            assert_eq!(count(directory.path(), "SELECT * FROM mine"), 2);
        }
        // What was renamed is what a salvage knows.
        let salvaged = salvage(directory.path()).unwrap();
        assert!(!salvaged.lost, "{salvaged:?}");
        assert_old_rows(directory.path(), &Options::default());
    }
}

#[test]
fn the_first_schema_is_salvaged() {
    let directory = tempdir().unwrap();
    old(directory.path(), "DELETE", "CREATE VIEW mine AS SELECT count(*) FROM some_space;");
    let salvaged = salvage(directory.path()).unwrap();
    let kept: Vec<_> = salvaged.spaces.iter().map(|space| (space.name.as_str(), space.rows)).collect();
    assert_eq!(kept, [("_sqlite_schema", 1), ("other_space", 1), ("some_space", 2), ("sqlite_schema", 1)]);
    assert!(!salvaged.lost);
    assert_old_rows(directory.path(), &Options::default());
    assert_eq!(count(directory.path(), "PRAGMA user_version"), 2);
}

/// A version that damage has set back loses nothing.
#[test]
fn tables_that_have_their_new_names_keep_them() {
    for salvages in [false, true] {
        let directory = tempdir().unwrap();
        old(directory.path(), "DELETE", "");
        assert_old_rows(directory.path(), &Options::default());
        Connection::open(file(directory.path())).unwrap().execute_batch("PRAGMA user_version = 1").unwrap();
        if salvages {
            assert!(!salvage(directory.path()).unwrap().lost);
        }
        assert_old_rows(directory.path(), &Options::default());
    }
}
