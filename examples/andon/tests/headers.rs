//! `headers`: what is kept, written to a file and taken from one.
//!
//! `ANDON_HEADERS` is the length of the long chain that goes through a file (10,000 without it); time and memory are
//! printed. `ANDON_CHAIN_DATA` is a folder of real chain data.

#![allow(clippy::unwrap_used, reason = "it is a test")]

mod common;

use std::fs;
use std::path::Path;
use std::time::Duration;

use andon_bitcoin::points;
use andon_bitcoin::server::Command;
use bitcoin::block::Header;
use bitcoin::consensus::{deserialize, serialize};
use bitcoin::hashes::{Hash, sha256};
use bitcoin::{FilterHeader, Network};
use common::file::{HeaderFile, long_chain, mined, next, sealed, without_work};
use common::{
    Ended, FIXTURE, Node, Running, andon, assert_found_everything, blocks, closed, offline, run, show,
    stale_blocks, sync, synced,
};
use serde_json::{Value, json};

fn export(home: &Path, data: &str, file: &str) -> Ended {
    run(offline(home, data, &["headers", "export"]).arg(home.join(file)))
}

fn import(home: &Path, data: &str, file: &str) -> Ended {
    run(offline(home, data, &["headers", "import"]).arg(home.join(file)))
}

/// Demands that an import came to this: headers and filter headers taken, and the tip.
#[track_caller]
fn assert_imported(ended: &Ended, headers: u32, filter_headers: u32, tip: u32) -> Value {
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
    let imported = ended.last();
    assert_eq!(
        (&imported["event"], &imported["complete"], &imported["headers"], &imported["filter_headers"]),
        (&"imported".into(), &true.into(), &headers.into(), &filter_headers.into()),
        "{imported}"
    );
    assert_eq!(imported["tip"]["height"], tip, "{imported}");
    imported
}

#[test]
fn what_was_synced_goes_through_a_file_into_a_new_directory() {
    let home = tempfile::tempdir().unwrap();
    let node = synced(home.path(), 289);
    let ended = export(home.path(), "data", "file");
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
    let bytes = fs::read(home.path().join("file")).unwrap();
    assert!(bytes == HeaderFile::bundled().bytes(), "the file is as its description says");
    let tip = json!({"height": 289, "hash": FIXTURE.chain[289].hash().to_string()});
    let exported = ended.last();
    let expected = json!({
        "event": "exported",
        "network": "regtest",
        "file": home.path().join("file").display().to_string(),
        "first": 0,
        "tip": tip,
        "headers": 290,
        "filter_headers": 290,
        "bytes": bytes.len(),
        "sha256": sha256::Hash::hash(&bytes).to_string(),
        "seconds": exported["seconds"],
        "peak_memory_bytes": exported["peak_memory_bytes"],
    });
    assert_eq!(exported, expected);
    assert!(ended.objects().iter().any(|object| object["event"] == "progress"), "{ended:?}");

    let imported = assert_imported(&import(home.path(), "other/new", "file"), 289, 290, 289);
    assert_eq!((&imported["tip"], &imported["headers_not_kept"]), (&tip, &0.into()));
    assert_eq!(imported["filter_headers_tip"], 289);
    let again = export(home.path(), "other/new", "again");
    assert_eq!(again.code, Some(0), "{again:?}");
    assert!(fs::read(home.path().join("again")).unwrap() == bytes);

    // What was taken is not asked of a peer again.
    fs::rename(home.path().join("data"), home.path().join("old")).unwrap();
    fs::rename(home.path().join("other/new"), home.path().join("data")).unwrap();
    let ended = run(&mut sync(home.path(), node.address, &[]));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_found_everything(&ended.last());
    assert_eq!(ended.objects()[0]["tip"], tip, "from the beginning");
    let first = ended.objects().into_iter().find(|object| object["event"] == "progress").unwrap();
    assert_eq!((&first["headers"]["done"], &first["filter_headers"]["done"]), (&289.into(), &289.into()));
}

#[test]
fn a_directory_goes_on_from_where_it_is() {
    let home = tempfile::tempdir().unwrap();
    let node = synced(home.path(), 200);
    HeaderFile::bundled().write(&home.path().join("file"));
    assert_imported(&import(home.path(), "data", "file"), 89, 89, 289);
    assert_imported(&import(home.path(), "data", "file"), 0, 0, 289);
    // A file that ends earlier, and one that begins later.
    let mut part = HeaderFile::bundled();
    part.headers.truncate(100);
    part.filter_headers.truncate(90);
    part.write(&home.path().join("part"));
    assert_imported(&import(home.path(), "data", "part"), 0, 0, 289);
    node.command(Command::Extend(blocks(201..290)));
    let ended = run(&mut sync(home.path(), node.address, &[]));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_found_everything(&ended.last());

    let mut part = HeaderFile::bundled();
    part.start = 150;
    part.headers.drain(..150);
    part.filter_headers.drain(..150);
    part.write(&home.path().join("part"));
    let ended = import(home.path(), "new", "part");
    ended.failed(1, &["begins with block 150, which this program does not know"]);
    ended.failed_as("unknown_start");
    assert!(!home.path().join("new").exists(), "nothing was made");
    let other = tempfile::tempdir().unwrap();
    synced(other.path(), 149);
    part.write(&other.path().join("part"));
    assert_imported(&import(other.path(), "data", "part"), 140, 140, 289);
    let other = tempfile::tempdir().unwrap();
    synced(other.path(), 148);
    part.write(&other.path().join("part"));
    let ended = import(other.path(), "data", "part");
    ended.failed(1, &["begins with block 150, and the chain in", "ends with block 148"]);
    ended.failed_as("gap");
}

#[test]
fn filter_headers_are_taken_only_if_they_are_wanted_and_fit() {
    let home = tempfile::tempdir().unwrap();
    let file = HeaderFile::bundled();
    file.write(&home.path().join("file"));
    let ended = run(offline(home.path(), "data", &["headers", "import", "--no-filter-headers"])
        .arg(home.path().join("file")));
    let imported = assert_imported(&ended, 289, 0, 289);
    assert_eq!(imported["filter_headers_tip"], Value::Null);
    assert_eq!(show(home.path(), "data", "100").last()["filter_header"], Value::Null);
    let exported = export(home.path(), "data", "none").last();
    assert_eq!((&exported["headers"], &exported["filter_headers"]), (&290.into(), &0.into()));
    assert_imported(&import(home.path(), "other", "none"), 289, 0, 289);
    // Those of a part of the chain, then the rest.
    let mut part = file.clone();
    part.filter_headers.truncate(100);
    part.write(&home.path().join("part"));
    assert_imported(&import(home.path(), "data", "part"), 0, 100, 289);
    assert_imported(&import(home.path(), "data", "file"), 0, 190, 289);
    // Others than those that are kept.
    let mut wrong = file;
    wrong.filter_headers[289] = FilterHeader::from_byte_array([7; 32]);
    wrong.write(&home.path().join("wrong"));
    let ended = import(home.path(), "data", "wrong");
    ended.failed(1, &["the filter header of block 289 in", "is not the one that is kept"]);
    ended.failed_as("other_filter_headers");
    let kept = show(home.path(), "data", "289").last();
    assert_eq!(kept["filter_header"], FIXTURE.chain[289].filter_header.to_string());
}

#[test]
fn the_chain_with_more_work_is_followed() {
    let home = tempfile::tempdir().unwrap();
    let node = Node::start(blocks(0..=280));
    node.command(Command::Extend(stale_blocks()));
    let before = run(&mut sync(home.path(), node.address, &[]));
    assert_eq!((before.code, &before.last()["tip_height"]), (Some(0), &287.into()), "{before:?}");
    assert_eq!(export(home.path(), "data", "stale").code, Some(0));
    HeaderFile::bundled().write(&home.path().join("file"));
    let ended = import(home.path(), "data", "file");
    assert_imported(&ended, 9, 9, 289);
    let reorganised = ended.objects().into_iter().find(|object| object["event"] == "reorganised").unwrap();
    assert_eq!(
        (&reorganised["fork"]["height"], &reorganised["old_tip"]["height"]),
        (&280.into(), &287.into())
    );
    node.command(Command::Reorganise { fork_height: 280, blocks: blocks(281..290) });
    let ended = run(&mut sync(home.path(), node.address, &[]));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_found_everything(&ended.last());
    // The other way round it is told, and nothing changes.
    let ended = import(home.path(), "data", "stale");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let imported = ended.last();
    assert_eq!((&imported["headers"], &imported["headers_not_kept"]), (&0.into(), &7.into()));
    assert_eq!((&imported["tip"]["height"], &imported["filter_headers"]), (&289.into(), &0.into()));
    let told = ended.objects();
    let warned = told.iter().find(|object| object["event"] == "warning").unwrap()["what"].as_str().unwrap();
    assert!(warned.contains("after block 280, and has less work"), "{warned}");
    assert_found_everything(&run(&mut sync(home.path(), node.address, &[])).last());
}

#[test]
fn a_file_that_is_not_sound_changes_nothing() {
    let home = tempfile::tempdir().unwrap();
    let _node = synced(home.path(), 100);
    assert_eq!(export(home.path(), "data", "before").code, Some(0));
    let before = fs::read(home.path().join("before")).unwrap();
    let good = HeaderFile::bundled();
    let bytes = good.bytes();
    let changed = |at: usize, byte: u8| {
        let mut bytes = bytes.clone();
        bytes[at] ^= byte;
        bytes
    };
    let counts = |start: u32, headers: u32, filter_headers: u32| {
        let mut bytes = bytes[..bytes.len() - 32].to_vec();
        for (at, number) in [(16, start), (20, headers), (24, filter_headers)] {
            bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
        }
        sealed(bytes)
    };
    let other = |network: Network| HeaderFile { magic: network.magic().to_bytes(), ..good.clone() }.bytes();
    let cases: &[(&str, Vec<u8>, &str, &str)] = &[
        ("empty", Vec::new(), "foreign_file", "is no file of headers"),
        ("a text", b"height,hash\n0,0f91\n".to_vec(), "foreign_file", "is no file of headers"),
        ("the mark alone", bytes[..8].to_vec(), "damaged_file", "is cut off: it has 8 bytes"),
        ("a part of the beginning", bytes[..40].to_vec(), "damaged_file", "is cut off"),
        ("no headers", bytes[..60].to_vec(), "damaged_file", "has 60 bytes of 32572"),
        ("half of it", bytes[..bytes.len() / 2].to_vec(), "damaged_file", "is cut off"),
        ("no checksum", bytes[..bytes.len() - 32].to_vec(), "damaged_file", "is cut off"),
        ("all but a byte", bytes[..bytes.len() - 1].to_vec(), "damaged_file", "is cut off"),
        ("a byte more", [&bytes[..], &[0]].concat(), "damaged_file", "should have 32572"),
        ("another one behind", [&bytes[..], &bytes[..]].concat(), "damaged_file", "should have 32572"),
        ("a bit in a header", changed(60 + 80 * 200, 1), "damaged_file", "checksum"),
        ("a bit in a filter header", changed(60 + 80 * 290 + 32 * 200, 1), "damaged_file", "checksum"),
        ("a bit in the checksum", changed(bytes.len() - 1, 1), "damaged_file", "checksum"),
        ("a bit in the work", changed(59, 1), "damaged_file", "checksum"),
        ("no blocks", counts(0, 0, 0), "damaged_file", "contradict"),
        ("more filter headers than headers", counts(0, 290, 291), "damaged_file", "contradict"),
        ("as many blocks as can be", counts(0, u32::MAX, u32::MAX), "damaged_file", "is cut off"),
        ("more blocks than can be", counts(u32::MAX, u32::MAX, 1), "damaged_file", "contradict"),
        ("fewer blocks", counts(0, 289, 290), "damaged_file", "contradict"),
        ("fewer filter headers", counts(0, 290, 289), "damaged_file", "should have"),
        ("another version", HeaderFile { version: 2, ..good.clone() }.bytes(), "newer_file", "version 2"),
        ("of mainnet", other(Network::Bitcoin), "other_network_file", "is of mainnet, not of regtest"),
        (
            "of no network",
            HeaderFile { magic: [1, 2, 3, 4], ..good.clone() }.bytes(),
            "other_network_file",
            "does not know: 01020304",
        ),
    ];
    for (name, bytes, kind, text) in cases {
        fs::write(home.path().join("bad"), bytes).unwrap();
        for data in ["data", "new"] {
            let ended = import(home.path(), data, "bad");
            ended.failed(1, &["bad", text]);
            ended.failed_as(kind);
            assert!(!home.path().join("new").exists(), "{name}: nothing was made");
        }
        let mut command = offline(home.path(), "data", &["headers", "export", "--force"]);
        assert_eq!(run(command.arg(home.path().join("after"))).code, Some(0));
        assert!(fs::read(home.path().join("after")).unwrap() == before, "{name}");
    }
    for (path, text) in [("data", "is no file"), ("none", "can't be read")] {
        let ended = import(home.path(), "new2", path);
        ended.failed(1, &[text]);
        ended.failed_as("file");
    }
}

/// With the right checksum: somebody made it on purpose.
#[test]
fn a_file_that_lies_is_refused_where_it_begins_to() {
    let good = HeaderFile::bundled();
    let with = |change: &dyn Fn(&mut HeaderFile)| {
        let mut file = good.clone();
        change(&mut file);
        file
    };
    let late = |parent: &Header| {
        let mut header = next(parent, 1);
        header.time = u32::MAX;
        mined(header)
    };
    // What, the file, the kind of error, what is said, and up to which height headers are kept.
    let cases: [(&str, HeaderFile, &str, &str, u32); 8] = [
        (
            "a header without work",
            with(&|file| file.headers[250] = without_work(file.headers[250])),
            "invalid_file",
            "block 250 in",
            249,
        ),
        (
            "a block that does not follow",
            with(&|file| file.headers[250] = next(&file.headers[100], 1)),
            "invalid_file",
            "do not follow each other",
            249,
        ),
        (
            "a block of another chain",
            with(&|file| {
                let genesis = file.headers[0];
                file.headers = std::iter::successors(Some(Header { nonce: 9, ..genesis }), |parent| {
                    Some(next(parent, 1))
                })
                .take(290)
                .collect();
            }),
            "other_chain",
            "block 0, with which the file begins, is not the one that regtest has",
            0,
        ),
        (
            "more work than there is",
            with(&|file| file.work = file.work + file.work),
            "other_chain",
            "block 0, with which the file begins",
            0,
        ),
        (
            "a block from the future",
            with(&|file| file.headers[289] = late(&file.headers[288])),
            "invalid_file",
            "block 289 in",
            288,
        ),
        (
            "a block from before its time",
            with(&|file| {
                let mut header = next(&file.headers[288], 0);
                header.time = file.headers[270].time;
                file.headers[289] = mined(header);
            }),
            "invalid_file",
            "block 289 in",
            288,
        ),
        (
            "another difficulty",
            with(&|file| {
                let mut header = next(&file.headers[288], 1);
                header.bits = bitcoin::CompactTarget::from_consensus(0x207f_fffe);
                file.headers[289] = mined(header);
            }),
            "invalid_file",
            "block 289 in",
            288,
        ),
        (
            "a height that it does not have",
            with(&|file| file.start = 1_000_000),
            "unknown_start",
            "begins with block 1,000,000",
            0,
        ),
    ];
    for (name, file, kind, text, kept) in cases {
        let home = tempfile::tempdir().unwrap();
        file.write(&home.path().join("bad"));
        let ended = import(home.path(), "data", "bad");
        ended.failed(1, &[text]);
        ended.failed_as(kind);
        if kept == 0 {
            assert!(!home.path().join("data").exists(), "{name}: nothing was made");
            continue;
        }
        let objects = ended.objects();
        let imported = &objects[objects.len() - 2];
        assert_eq!(
            (&imported["event"], &imported["complete"], &imported["headers"], &imported["filter_headers"]),
            (&"imported".into(), &false.into(), &kept.into(), &0.into()),
            "{name}: {imported}"
        );
        let tip = run(&mut offline(home.path(), "data", &["headers", "show"])).last();
        assert_eq!(
            (&tip["height"], &tip["block"]),
            (&kept.into(), &FIXTURE.chain[kept as usize].hash().to_string().into())
        );
        // What was kept is of use.
        let node = Node::start(blocks(0..290));
        assert_found_everything(&run(&mut sync(home.path(), node.address, &[])).last());
    }
}

#[test]
fn where_there_is_no_data_nothing_is_written() {
    let home = tempfile::tempdir().unwrap();
    export(home.path(), "data", "file").failed_as("no_data");
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0, "nothing was made");
}

#[test]
fn no_file_is_written_over_unasked() {
    let home = tempfile::tempdir().unwrap();
    let _node = synced(home.path(), 100);
    fs::write(home.path().join("file"), "mine").unwrap();
    let ended = export(home.path(), "data", "file");
    ended.failed(1, &["exists", "--force"]);
    ended.failed_as("exists");
    assert_eq!(fs::read(home.path().join("file")).unwrap(), b"mine");
    let mut command = offline(home.path(), "data", &["headers", "export", "--force"]);
    assert_eq!(run(command.arg(home.path().join("file"))).code, Some(0));
    assert_imported(&import(home.path(), "new", "file"), 100, 101, 100);
    export(home.path(), "data", "no/where").failed_as("file");
    let mut names: Vec<_> =
        fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["data", "file", "new"], "nothing else is left");
}

/// The block that a chain can begin with is known; nothing below it is.
#[test]
fn a_chain_that_begins_with_a_start_point_goes_through_a_file() {
    let home = tempfile::tempdir().unwrap();
    let point = points::start_points(Network::Bitcoin).pop().unwrap();
    let hash = point.headers[0].block_hash().to_string();
    let mut file = HeaderFile::new(
        Network::Bitcoin,
        point.headers.clone(),
        vec![FilterHeader::from_byte_array([5; 32])],
    );
    (file.start, file.work) = (point.height, point.work);
    file.write(&home.path().join("file"));
    let mainnet = |arguments: &[&str], file: Option<&str>| {
        let mut command = andon(home.path(), arguments);
        command.args(file.map(|file| home.path().join(file)));
        run(command.args(["--json", "--data-dir"]).arg(home.path().join("data")))
    };
    let imported = assert_imported(&mainnet(&["headers", "import"], Some("file")), 0, 0, point.height);
    assert_eq!(imported["tip"]["hash"], hash);
    for which in [point.height.to_string(), hash] {
        let shown = mainnet(&["headers", "show", &which], None).last();
        assert_eq!(
            (&shown["height"], &shown["network"]),
            (&point.height.into(), &"mainnet".into()),
            "{shown}"
        );
    }
    let below = mainnet(&["headers", "show", "0"], None);
    below.failed_as("not_found");
    let exported = mainnet(&["headers", "export"], Some("again")).last();
    assert_eq!((&exported["first"], &exported["headers"]), (&point.height.into(), &1.into()));
    // A file from further down is of no use to it, and one with a made-up beginning is none.
    let genesis = points::start_points(Network::Bitcoin).swap_remove(0);
    let lower = HeaderFile::new(Network::Bitcoin, genesis.headers, Vec::new());
    lower.write(&home.path().join("lower"));
    let imported = assert_imported(&mainnet(&["headers", "import"], Some("lower")), 0, 0, point.height);
    assert_eq!(imported["headers_not_kept"], 1);
    let made_up = HeaderFile { headers: vec![next(&long_chain(2).headers[1], 1)], ..file };
    made_up.write(&home.path().join("made_up"));
    mainnet(&["headers", "import"], Some("made_up")).failed_as("other_chain");
}

#[test]
fn a_long_chain_goes_through_a_file_and_an_interrupted_import_goes_on() {
    let home = tempfile::tempdir().unwrap();
    let count: u32 = std::env::var("ANDON_HEADERS").map_or(10_000, |count| count.parse().unwrap());
    let file = long_chain(count as usize);
    file.write(&home.path().join("file"));
    let mut first =
        Running::start(offline(home.path(), "data", &["headers", "import"]).arg(home.path().join("file")));
    first.wait_for("progress", |_| true);
    first.signal("INT");
    let interrupted = first.end();
    assert!([Some(130), Some(0)].contains(&interrupted.code), "{interrupted:?}");
    let ended = import(home.path(), "data", "file");
    assert_eq!((ended.code, &ended.last()["tip"]["height"]), (Some(0), &(count - 1).into()), "{ended:?}");

    // Wherever it is when it is killed: at what has been shown, or a little later.
    for later in 0..10 {
        let mut command = offline(home.path(), "killed", &["headers", "import"]);
        let mut killed = Running::start(command.arg(home.path().join("file")));
        killed.wait_for(if later == 0 { "progress" } else { "started" }, |_| true);
        std::thread::sleep(Duration::from_millis(4 * later));
        killed.signal("KILL");
        killed.end();
    }
    let ended = import(home.path(), "killed", "file");
    assert_eq!((ended.code, &ended.last()["tip"]["height"]), (Some(0), &(count - 1).into()), "{ended:?}");
    let mut first =
        Running::start(offline(home.path(), "killed", &["headers", "export"]).arg(home.path().join("none")));
    first.wait_for("progress", |_| true);
    first.signal("INT");
    let interrupted = first.end();
    let complete = home.path().join("none").exists();
    assert_eq!(interrupted.code, Some(if complete { 0 } else { 130 }), "{interrupted:?}");
    let left = fs::read_dir(home.path()).unwrap().count();
    assert_eq!(left, 3 + usize::from(complete), "a part of a file is left");

    // In two parts: what is kept of the first does not reach down to where the file begins.
    let mut part = file.clone();
    let most = count - count / 20;
    part.headers.truncate(most as usize);
    part.filter_headers.truncate(most as usize);
    part.write(&home.path().join("part"));
    assert_imported(&import(home.path(), "parts", "part"), most - 1, most, most - 1);
    assert_imported(&import(home.path(), "parts", "file"), count - most, count - most, count - 1);

    let ended = import(home.path(), "new", "file");
    let imported = assert_imported(&ended, count - 1, count, count - 1);
    let exported = export(home.path(), "new", "again");
    assert_eq!(exported.code, Some(0), "{exported:?}");
    assert!(fs::read(home.path().join("again")).unwrap() == file.bytes());
    for (what, object) in [("imported", imported), ("exported", exported.last())] {
        let memory = object["peak_memory_bytes"].as_u64();
        println!("{count} headers {what} in {} s, at most {memory:?} bytes of memory", object["seconds"]);
        assert!(memory.is_none_or(|bytes| bytes < 64 << 20), "{object}");
    }
    let last = file.headers.last().unwrap();
    for (block, height) in [(last.block_hash(), count - 1), (file.headers[5].block_hash(), 5)] {
        assert_eq!(show(home.path(), "new", &block.to_string()).last()["height"], height);
    }
}

/// Real headers, between blocks that are known.
#[test]
fn real_headers_are_taken_as_far_as_known_blocks_prove_them() {
    let Some(folder) = std::env::var_os("ANDON_CHAIN_DATA") else {
        println!("skipped: no chain data");
        return;
    };
    let read = |name: &str| -> Option<Vec<Header>> {
        let path = Path::new(&folder).join("headers").join(name);
        let unpacked = common::system(std::process::Command::new("xz").arg("-dc").arg(path))?;
        Some(unpacked.stdout.as_chunks::<80>().0.iter().map(|bytes| deserialize(bytes).unwrap()).collect())
    };
    let (Some(first), Some(headers)) = (read("main-0-10236.bin.xz"), read("main-150000-340000.bin.xz"))
    else {
        println!("skipped: the files can't be unpacked by xz");
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let mainnet = |arguments: &[&str], data: &str| {
        run(andon(home.path(), arguments).args(["--json", "--data-dir"]).arg(home.path().join(data)))
    };
    let path = home.path().join("file").display().to_string();

    assert_eq!(first.len(), 10_237);
    let merkle_root = first[5300].merkle_root.to_byte_array();
    HeaderFile::new(Network::Bitcoin, first, Vec::new()).write(Path::new(&path));
    let imported = assert_imported(&mainnet(&["headers", "import", &path], "lower"), 10_000, 0, 10_000);
    assert_eq!(imported["headers_not_kept"], 236);
    // After damage, from a block that lies between known ones.
    let database = home.path().join("lower/andon.sqlite");
    let mut pages = fs::read(&database).unwrap();
    let damaged = pages.chunks_mut(4096).filter(|page| page.windows(32).any(|part| part == merkle_root));
    damaged.for_each(|page| page.fill(0xee));
    fs::write(&database, pages).unwrap();
    mainnet(&["headers", "show", "5300"], "lower").failed_as("damaged");
    let kept = mainnet(&["repair"], "lower").last()["tip"]["height"].as_u64().unwrap() as u32;
    assert!((4000..5300).contains(&kept), "{kept}");
    assert_imported(&mainnet(&["headers", "import", &path], "lower"), 10_000 - kept, 0, 10_000);

    let point = points::before_height(Network::Bitcoin, 200_000);
    let from = (point.height - 150_000) as usize;
    assert_eq!(headers[from..from + 1], point.headers);
    let mut file = HeaderFile::new(Network::Bitcoin, headers[from..].to_vec(), Vec::new());
    (file.start, file.work) = (point.height, point.work);
    file.write(Path::new(&path));
    let ended = mainnet(&["headers", "import", &path], "upper");
    let imported = assert_imported(&ended, 340_000 - point.height, 0, 340_000);
    println!("{} real headers imported in {} s", imported["headers"], imported["seconds"]);
    let shown = mainnet(&["headers", "show", "300000"], "upper").last();
    assert_eq!(shown["block"], "000000000000000082ccf8f1557c5d40b21edabb18d2d691cfbf87118bac7254");
    let again = home.path().join("again").display().to_string();
    let exported = mainnet(&["headers", "export", &again], "upper");
    assert_eq!((exported.code, &exported.last()["first"]), (Some(0), &point.height.into()));
    assert!(fs::read(again).unwrap() == file.bytes());

    // A header of a valid form that is not the one between two known blocks.
    let mut wrong = file;
    wrong.headers.truncate(5000);
    wrong.headers[4000].nonce ^= 1;
    wrong.write(Path::new(&path));
    let ended = mainnet(&["headers", "import", &path], "wrong");
    ended.failed_as("other_chain");
    assert_eq!(serialize(&wrong.headers[0]), serialize(&point.headers[0]));
}

/// No peer is reached: the chain is at its beginning.
#[test]
fn a_birthday_chooses_where_a_chain_begins() {
    let home = tempfile::tempdir().unwrap();
    let peer = closed().to_string();
    let tip = |data: &str, arguments: &[&str]| {
        let mut command =
            andon(home.path(), ["sync", "--json", "--script", "51", "--peer", &peer, "--data-dir"]);
        let ended = run(command.arg(home.path().join(data)).args(arguments));
        ended.failed_as("unreachable");
        let started = ended.objects()[0].clone();
        assert_eq!(started["event"], "started", "{ended:?}");
        let height = started["tip"]["height"].as_u64().unwrap() as u32;
        let network = if arguments.contains(&"regtest") { Network::Regtest } else { Network::Bitcoin };
        let point = points::before_height(network, height);
        assert_eq!(
            (point.height, started["tip"]["hash"].as_str().unwrap()),
            (height, &*point.headers[0].block_hash().to_string())
        );
        height
    };
    // Of January 2024 are the blocks about 824,000; block 846,720 is of June 2024.
    assert_eq!(tip("1", &[]), 0);
    assert_eq!(tip("2", &["--birthday", "2024-01-15"]), 794_304);
    assert_eq!(tip("3", &["--birthday", "2024-07-01"]), 846_720);
    assert_eq!(tip("4", &["--birthday", "846720"]), 794_304);
    assert_eq!(tip("5", &["--birthday", "846721"]), 846_720);
    assert_eq!(tip("6", &["--birthday", "60480"]), 0);
    assert_eq!(tip("7", &["--birthday", "2024-01-15", "--from-genesis"]), 0);
    assert_eq!(tip("8", &["--network", "regtest", "--birthday", "100"]), 0);
    // Later runs: a later birthday changes nothing, an earlier one begins lower.
    assert_eq!(tip("3", &["--birthday", "2026-01-01"]), 846_720);
    assert_eq!(tip("3", &["--birthday", "2024-01-15"]), 794_304);
    assert_eq!(tip("3", &["--birthday", "2024-07-01"]), 794_304);
    assert_eq!(tip("3", &["--birthday", "2024-07-01", "--from-genesis"]), 0);
    assert_eq!(tip("3", &["--birthday", "2024-07-01"]), 0);
    // People are told.
    let mut command = andon(
        home.path(),
        ["sync", "--script", "51", "--peer", &peer, "--birthday", "2024-07-01", "--data-dir"],
    );
    let ended = run(command.arg(home.path().join("9")));
    assert!(ended.stderr.contains("The chain begins with block 846,720, a known one"), "{}", ended.stderr);
}

#[test]
fn a_chain_with_too_little_work_is_not_kept() {
    let home = tempfile::tempdir().unwrap();
    let node = Node::start(blocks(0..290));
    // A block of regtest has a work of two.
    let ended = run(&mut sync(home.path(), node.address, &["--minimum-work", "245", "--timeout", "2"]));
    ended.failed_as("stalled");
    let tip = run(&mut offline(home.path(), "data", &["headers", "show"])).last();
    assert_eq!(tip["height"], 0);
    assert_found_everything(&run(&mut sync(home.path(), node.address, &["--minimum-work", "0x244"])).last());
}
