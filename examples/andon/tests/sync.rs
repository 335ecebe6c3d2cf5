//! `sync` against a node on loopback that serves the bundled chain.

#![allow(clippy::unwrap_used, reason = "it is a test")]

mod common;

use std::fs;

use andon_bitcoin::server::Command;
use bitcoin::Network;
use common::{
    FIXTURE, Node, PROGRAMS, Running, andon, assert_found_everything, blocks, node_without_filters, run,
    stale_blocks, sync, sync_by, watch,
};
use serde_json::Value;

/// Bytes that an encrypted handshake has at most, beside what is said.
const GARBAGE: u64 = 4200;

fn node() -> Node {
    Node::start(blocks(0..290))
}

/// A summary without what differs from run to run.
fn lasting(summary: &Value) -> Value {
    let mut summary = summary.clone();
    for field in ["bytes_received", "bytes_sent", "seconds", "peak_memory_bytes"] {
        assert!(summary.as_object_mut().unwrap().remove(field).is_some(), "{field} is missing");
    }
    summary
}

#[test]
fn finds_exactly_what_is_there_and_goes_on_from_there() {
    let node = node();
    for by in PROGRAMS {
        let home = tempfile::tempdir().unwrap();
        let first = run(&mut sync_by(by, home.path(), node.address, &[]));
        assert_eq!((first.code, first.stderr.as_str()), (Some(0), ""), "{first:?}");
        assert_found_everything(&first.last());
        let first = first.last();
        for phase in ["headers", "filter_headers", "filters", "blocks", "total"] {
            assert!(first["seconds"][phase].is_number(), "{phase}: {first}");
        }
        assert!(cfg!(not(target_os = "linux")) || first["peak_memory_bytes"].as_u64().unwrap() > 1 << 20);

        let second = run(&mut sync_by(by, home.path(), node.address, &[]));
        assert_eq!(second.code, Some(0), "{second:?}");
        let started = &second.objects()[0];
        assert_eq!((&started["event"], &started["checked"]), (&"started".into(), &289.into()));
        let second = second.last();
        assert_eq!(lasting(&first), lasting(&second));
        let bytes = |summary: &Value| summary["bytes_received"].as_u64().unwrap();
        assert!(
            bytes(&first) > 50_000 && bytes(&second) < 2_000 + GARBAGE,
            "{} then {}",
            bytes(&first),
            bytes(&second)
        );
    }
}

#[test]
fn finds_only_what_is_asked_for() {
    let home = tempfile::tempdir().unwrap();
    let node = node();
    let first = FIXTURE.expected[0];
    let expected: Vec<u64> = FIXTURE
        .expected
        .iter()
        .filter(|output| output.script == first.script)
        .map(|output| output.amount.to_sat())
        .collect();
    let everything = run(&mut sync(home.path(), node.address, &[]));
    assert_eq!(everything.code, Some(0), "{everything:?}");
    let address = bitcoin::Address::from_script(first.script, Network::Regtest).unwrap().to_string();
    // In the same directory: what was found for other scripts is not told again.
    for _ in 0..2 {
        let mut command =
            andon(home.path(), ["sync", "--json", "--network", "regtest", "--address", &address]);
        command.args(["--peer", &node.address.to_string(), "--data-dir"]).arg(home.path().join("data"));
        let summary = run(&mut command).last();
        assert_eq!(summary["received_sats"], expected.iter().sum::<u64>(), "{summary}");
        assert_eq!(summary["payment_count"], expected.len());
        assert_eq!(summary["payments"][0]["address"], address);
    }
}

#[test]
fn reads_scripts_from_files_and_keeps_data_where_the_system_does() {
    let home = tempfile::tempdir().unwrap();
    let node = node();
    let file = home.path().join("scripts");
    let lines: Vec<String> = FIXTURE.watch_scripts.iter().map(|script| script.to_hex_string()).collect();
    fs::write(&file, format!("# mine\n\n{}\n", lines.join(" # one\n"))).unwrap();
    let mut command = andon(home.path(), ["sync", "--network", "regtest", "--birthday", "120", "--scripts"]);
    let ended = run(command.arg(&file).args(["--peer", &node.address.to_string()]));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("76 payments, together 0.00792095 BTC (792,095 sat)"), "{}", ended.stdout);
    assert_eq!(ended.stdout.matches("  received  ").count(), 76, "{}", ended.stdout);
    assert!(ended.stderr.contains("Connected to 127.0.0.1:"), "{}", ended.stderr);
    if cfg!(target_os = "linux") {
        assert!(home.path().join(".local/share/andon/regtest/andon.sqlite").is_file());
    }
}

#[test]
fn a_birthday_leaves_out_what_came_before() {
    let home = tempfile::tempdir().unwrap();
    let node = node();
    let summary = run(&mut sync(home.path(), node.address, &["--birthday", "258"])).last();
    let expected = FIXTURE.expected.iter().filter(|output| output.height >= 258).count();
    assert_eq!(
        (&summary["complete"], &summary["payment_count"]),
        (&true.into(), &expected.into()),
        "{summary}"
    );
    let header = blocks([0])[0].header;
    assert!(header.time < 1_700_000_000, "the first block is of 2011");
    let home = tempfile::tempdir().unwrap();
    let summary = run(&mut sync(home.path(), node.address, &["--birthday", "2011-02-03"])).last();
    assert_found_everything(&summary);
}

#[test]
fn follows_new_blocks_and_reorganisations_until_interrupted() {
    for by in PROGRAMS {
        let home = tempfile::tempdir().unwrap();
        let node = Node::start(blocks(0..=270));
        let mut running = Running::start(&mut sync_by(by, home.path(), node.address, &["--follow"]));
        let at = |height: u32| move |object: &Value| object["height"] == height;
        running.wait_for("synced", at(270));
        for block in blocks(271..=280) {
            let hash = block.block_hash().to_string();
            node.command(Command::Extend(vec![block]));
            running.wait_for("synced", move |object| object["block"] == hash);
        }
        node.command(Command::Extend(stale_blocks()));
        running.wait_for("synced", at(287));
        node.command(Command::Reorganise { fork_height: 280, blocks: blocks(281..290) });
        let reorganised = running.wait_for("reorganised", |_| true);
        assert_eq!(reorganised["fork"]["height"], 280);
        assert_eq!(reorganised["old_tip"]["hash"], FIXTURE.stale.last().unwrap().hash().to_string());
        running.wait_for("synced", at(289));
        running.signal("INT");
        let ended = running.end();
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(130), ""), "{ended:?}");
        assert_found_everything(&ended.last());
        // Whoever only adds up what the events say comes to the same.
        let mut sum = 0;
        for object in ended.objects() {
            match (object["event"].as_str().unwrap(), object["kind"].as_str()) {
                ("received", _) => sum += object["sats"].as_i64().unwrap(),
                ("taken_back", Some("received")) => sum -= object["sats"].as_i64().unwrap(),
                _ => {}
            }
        }
        assert_eq!(sum, 792_095);
    }
}

#[test]
fn notices_a_reorganisation_that_happened_meanwhile() {
    let home = tempfile::tempdir().unwrap();
    let node = Node::start(blocks(0..=280));
    node.command(Command::Extend(stale_blocks()));
    let before = run(&mut sync(home.path(), node.address, &[])).last();
    assert_eq!((&before["complete"], &before["tip_height"]), (&true.into(), &287.into()), "{before}");
    node.command(Command::Reorganise { fork_height: 280, blocks: blocks(281..290) });
    let ended = run(&mut sync(home.path(), node.address, &[]));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_found_everything(&ended.last());
    assert!(ended.objects().iter().any(|object| object["event"] == "reorganised"));
}

#[test]
fn a_killed_run_goes_on_where_it_was() {
    let home = tempfile::tempdir().unwrap();
    let node = node();
    // After how many lines it is killed; each run begins by telling again what was found before. And each is on another
    // driver: what is stored is the same.
    for (lines, by) in [0, 1, 2, 5, 3, 30, 8, 60, 90, 120].into_iter().zip(PROGRAMS.into_iter().cycle()) {
        let mut running = Running::start(&mut sync_by(by, home.path(), node.address, &[]));
        for _ in 0..lines {
            if running.line().is_none() {
                break;
            }
        }
        running.signal("KILL");
        running.end();
    }
    let ended = run(&mut sync(home.path(), node.address, &[]));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_found_everything(&ended.last());
}

#[test]
fn two_peers_serve_as_well_as_one() {
    let home = tempfile::tempdir().unwrap();
    let (one, other) = (node(), node());
    let peers = format!("{}, {}", one.address, other.address);
    let mut command = andon(home.path(), ["sync", "--json", "--network", "regtest", "--peer", &peers]);
    let ended = run(command.args(watch()).arg("--data-dir").arg(home.path().join("data")));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_found_everything(&ended.last());
}

#[test]
fn one_bad_peer_does_no_harm_to_a_good_one() {
    let home = tempfile::tempdir().unwrap();
    let bad = node_without_filters();
    let good = node();
    let mut command = sync(home.path(), bad.address, &["--peer", &good.address.to_string()]);
    let ended = run(&mut command);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_found_everything(&ended.last());
}
