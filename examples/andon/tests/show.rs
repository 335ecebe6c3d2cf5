//! `headers show`: one block, by its height or its hash.

#![allow(clippy::unwrap_used, reason = "it is a test")]

mod common;

use std::fs;

use common::{FIXTURE, Running, andon, blocks, offline, run, show, sync, synced};
use serde_json::json;

#[test]
fn blocks_are_shown_by_height_and_hash() {
    let home = tempfile::tempdir().unwrap();
    let ended = show(home.path(), "data", "0");
    ended.failed(1, &["there is no data in"]);
    ended.failed_as("no_data");
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0, "nothing was made");

    let node = synced(home.path(), 289);
    let header = blocks([123])[0].header;
    let hash = FIXTURE.chain[123].hash().to_string();
    let expected = json!({
        "event": "header",
        "network": "regtest",
        "height": 123,
        "block": hash,
        "previous": FIXTURE.chain[122].hash().to_string(),
        "merkle_root": header.merkle_root.to_string(),
        "time": header.time,
        "version": header.version.to_consensus(),
        "bits": 0x207f_ffff,
        "nonce": header.nonce,
        "hex": bitcoin::consensus::encode::serialize_hex(&header),
        "filter_header": FIXTURE.chain[123].filter_header.to_string(),
    });
    for block in ["123", &hash, &hash.to_uppercase()] {
        let ended = show(home.path(), "data", block);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
        assert_eq!(ended.last(), expected);
    }
    for height in [0, 1, 288, 289] {
        let hash = FIXTURE.chain[height].hash().to_string();
        assert_eq!(show(home.path(), "data", &height.to_string()).last()["block"], hash);
        assert_eq!(show(home.path(), "data", &hash).last()["height"], height);
    }
    assert_eq!(run(&mut offline(home.path(), "data", &["headers", "show"])).last()["height"], 289);
    let stale = FIXTURE.stale[0].hash().to_string();
    for (block, text) in [
        ("290", "block 290 is not kept here"),
        ("4294967295", "block 4,294,967,295 is not kept here"),
        (&stale, "no block of the chain that is kept here has the hash"),
    ] {
        let ended = show(home.path(), "data", block);
        ended.failed(1, &[text, "blocks 0 to 289 are kept in"]);
        ended.failed_as("not_found");
    }
    for block in ["", "4294967296", "-1", "12a", &hash[1..], &format!("{}g", &hash[1..])] {
        let ended = run(&mut offline(home.path(), "data", &["headers", "show", "--", block]));
        assert_eq!(ended.code, Some(2), "{block}: {ended:?}");
    }

    let people = run(andon(home.path(), ["headers", "show", "123", "--network", "regtest", "--data-dir"])
        .arg(home.path().join("data")));
    assert_eq!((people.code, people.stderr.as_str()), (Some(0), ""));
    for text in [
        "Block 123 of regtest\n",
        &format!("\n  Hash          {hash}\n"),
        "\n  Bits          0x207fffff\n",
        " UTC\n",
    ] {
        assert!(people.stdout.contains(text), "{text:?} is not in {}", people.stdout);
    }
    assert!(people.stdout.lines().all(|line| line.len() <= 80), "{}", people.stdout);

    // Not while another is at work there, and not as another network's.
    let mut first = Running::start(&mut sync(home.path(), node.address, &["--follow"]));
    first.wait_for("synced", |_| true);
    show(home.path(), "data", "0").failed_as("locked");
    first.signal("TERM");
    assert_eq!(first.end().code, Some(130));
    let ended = run(andon(home.path(), ["headers", "show", "--json", "--network", "signet", "--data-dir"])
        .arg(home.path().join("data")));
    ended.failed_as("other_network_data");
}
