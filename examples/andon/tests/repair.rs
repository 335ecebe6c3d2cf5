//! `repair`: a damaged data directory goes on with what can be saved, and nothing is missed.

#![allow(clippy::unwrap_used, reason = "it is a test")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use bitcoin::consensus::serialize;
use bitcoin::hashes::Hash;
use common::{FIXTURE, Node, Running, andon, assert_found_everything, closed, offline, run, sync};

/// SQLite's pages.
const PAGE: usize = 4096;

fn database(home: &Path) -> PathBuf {
    home.join("data/andon.sqlite")
}

/// A directory `data` in `home` with everything, and the node that it is from.
fn synced(home: &Path) -> Node {
    let node = common::synced(home, 289);
    assert!(!home.join("data/andon.sqlite-wal").exists(), "all of it is in one file");
    node
}

/// Makes each page unreadable that has these bytes in it.
fn damage(home: &Path, bytes: &[u8]) {
    let mut file = fs::read(database(home)).unwrap();
    let mut found = 0;
    for page in
        file.chunks_mut(PAGE).skip(1).filter(|page| page.windows(bytes.len()).any(|part| part == bytes))
    {
        page.fill(0xee);
        found += 1;
    }
    assert!(found > 0, "no page has them");
    fs::write(database(home), file).unwrap();
}

#[test]
fn what_can_be_read_is_saved_and_the_rest_is_fetched_again() {
    let header = serialize(&FIXTURE.chain[100].block().header);
    let filter_header = FIXTURE.chain[120].filter_header.to_byte_array();
    let finding = FIXTURE.expected[40].outpoint.txid.to_byte_array();
    let script = FIXTURE.watch_scripts[3].as_bytes();
    // What is damaged, the bytes that are there, whether the search begins anew, and whether headers are lost.
    let cases: [(&str, &[u8], bool, bool); 4] = [
        ("a header", &header[36..], false, true),
        ("a filter header", &filter_header, false, false),
        ("a finding", &finding, true, false),
        ("what is watched, or found for it", script, true, false),
    ];
    for (what, bytes, again, headers) in cases {
        let home = tempfile::tempdir().unwrap();
        let node = synced(home.path());
        damage(home.path(), bytes);
        let ended = run(&mut sync(home.path(), node.address, &[]));
        ended.failed(1, &["is damaged", "`repair --network regtest --data-dir ", "/data`"]);
        ended.failed_as("damaged");

        let ended = run(&mut offline(home.path(), "data", &["repair"]));
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{what}: {ended:?}");
        let salvaged = ended.last();
        assert_eq!(
            (&salvaged["event"], &salvaged["lost"], &salvaged["search_again"]),
            (&"salvaged".into(), &true.into(), &again.into()),
            "{what}: {salvaged}"
        );
        let tip = salvaged["tip"]["height"].as_u64().unwrap();
        assert!(if headers { tip < 100 } else { tip == 289 }, "{what}: {salvaged}");
        let repaired = ended.objects().iter().any(|object| object["event"] == "repaired");
        assert!(repaired || !headers, "{what}: {ended:?}");
        assert!(home.path().join("data/andon.sqlite.damaged").exists(), "the damaged one is kept");

        let ended = run(&mut sync(home.path(), node.address, &[]));
        assert_eq!(ended.code, Some(0), "{what}: {ended:?}");
        assert_found_everything(&ended.last());
    }
}

#[test]
fn a_database_whose_tables_are_unknown_can_be_repaired() {
    let home = tempfile::tempdir().unwrap();
    let node = synced(home.path());
    let mut file = fs::read(database(home.path())).unwrap();
    // Behind SQLite's own beginning of the file lies the list of tables.
    file[100..PAGE].fill(0xee);
    fs::write(database(home.path()), file).unwrap();
    let ended = run(&mut sync(home.path(), node.address, &[]));
    ended.failed(1, &["is damaged", "`repair --network regtest --data-dir "]);
    ended.failed_as("damaged");
    let ended = run(&mut offline(home.path(), "data", &["repair"]));
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
    assert_eq!(
        (&ended.last()["lost"], &ended.last()["search_again"]),
        (&true.into(), &true.into()),
        "{ended:?}"
    );
    let ended = run(&mut sync(home.path(), node.address, &[]));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_found_everything(&ended.last());
}

#[test]
fn a_database_that_is_beyond_saving_begins_anew() {
    let home = tempfile::tempdir().unwrap();
    let node = synced(home.path());
    let len = fs::read(database(home.path())).unwrap().len();
    fs::write(database(home.path()), vec![0xee; len]).unwrap();
    let ended = run(&mut sync(home.path(), node.address, &[]));
    ended.failed(1, &["is not an SQLite database", "`repair --network regtest"]);
    ended.failed_as("foreign");
    let mut command = andon(home.path(), ["repair", "--network", "regtest", "--data-dir"]);
    let ended = run(command.arg(home.path().join("data")));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.starts_with("Nothing could be saved."), "{}", ended.stdout);
    let ended = run(&mut sync(home.path(), node.address, &[]));
    assert_eq!((ended.code, &ended.objects()[0]["tip"]["height"]), (Some(0), &0.into()));
    assert_found_everything(&ended.last());
}

#[test]
fn a_sound_database_loses_nothing() {
    let home = tempfile::tempdir().unwrap();
    let node = synced(home.path());
    for _ in 0..2 {
        let ended = run(&mut offline(home.path(), "data", &["repair"]));
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
        let salvaged = ended.last();
        assert_eq!(
            (&salvaged["lost"], &salvaged["search_again"]),
            (&false.into(), &false.into()),
            "{salvaged}"
        );
        assert_eq!((&salvaged["tip"]["height"], &salvaged["filter_headers_tip"]), (&289.into(), &289.into()));
        let lost = salvaged["spaces"].as_array().unwrap().iter().any(|space| space["lost"] != false);
        assert!(!lost, "{salvaged}");
    }
    let ended = run(&mut sync(home.path(), node.address, &[]));
    assert_eq!(ended.objects()[0]["checked"], 289, "{ended:?}");
    assert_found_everything(&ended.last());
}

#[test]
fn what_is_not_there_or_in_use_is_not_repaired() {
    let home = tempfile::tempdir().unwrap();
    let ended = run(&mut offline(home.path(), "data", &["repair"]));
    ended.failed(1, &["there is no data in"]);
    ended.failed_as("no_data");
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0, "nothing was made");
    let node = synced(home.path());
    let mut first = Running::start(&mut sync(home.path(), node.address, &["--follow"]));
    first.wait_for("synced", |_| true);
    run(&mut offline(home.path(), "data", &["repair"])).failed_as("locked");
    first.signal("TERM");
    assert_eq!(first.end().code, Some(130));
    let mut command = andon(home.path(), ["repair", "--json", "--network", "signet", "--data-dir"]);
    run(command.arg(home.path().join("data"))).failed_as("other_network_data");
    assert_found_everything(&run(&mut sync(home.path(), node.address, &[])).last());
    run(&mut sync(home.path(), closed(), &[])).failed_as("unreachable");
}
