//! The demo, as the program's default runs it.

#![allow(clippy::unwrap_used, reason = "it is a test")]

mod common;

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use common::{PROGRAMS, Running, andon, assert_found_everything, program, run};

fn assert_empty(directory: &Path) {
    let left: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.is_empty(), "{left:?} is left behind");
}

#[test]
fn finds_what_is_there_and_leaves_nothing_behind() {
    for by in PROGRAMS {
        let home = tempfile::tempdir().unwrap();
        let ended = run(&mut program(by, home.path(), ["--json"]));
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert_eq!(ended.stderr, "");
        assert_found_everything(&ended.last());
        let objects = ended.objects();
        let named = |name: &str| objects.iter().filter(|object| object["event"] == name).count();
        assert_eq!(named("step"), 3);
        assert_eq!(named("peer_connected"), 1);
        assert_eq!(named("reorganised"), 1);
        assert_eq!(named("summary"), 1);
        // The first synchronisation, five blocks, the seven of the branch that is left, and the nine at once.
        assert_eq!(named("synced"), 1 + 5 + 7 + 1);
        let taken_back =
            objects.iter().filter(|object| object["event"] == "taken_back" && object["kind"] == "received");
        assert_eq!(named("received"), 76 + taken_back.count());
        assert_empty(home.path());
    }
}

#[test]
fn tells_people_in_words() {
    let home = tempfile::tempdir().unwrap();
    let ended = run(&mut andon(home.path(), ["demo"]));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    for text in [
        "Received   76 payments, together 0.00792095 BTC (792,095 sat)",
        "Found all 76 payments that Bitcoin Core lists: none missed, none made up.",
        "Everything is checked up to block 289 of regtest.",
        "Reorganisation after block 280: 7 blocks taken back, 9 blocks new",
    ] {
        assert!(ended.stdout.contains(text), "{text:?} is not in {}", ended.stdout);
    }
    assert!(
        !ended.stdout.contains('\u{1b}') && !ended.stderr.contains('\u{1b}'),
        "escape sequences without a terminal"
    );
    assert_empty(home.path());
}

#[test]
fn ends_in_order_when_interrupted() {
    for by in PROGRAMS {
        let home = tempfile::tempdir().unwrap();
        // Both streams end in one pipe that nobody reads meanwhile: it is full before the demo can be through.
        let (mut reader, writer) = io::pipe().unwrap();
        let mut command = program(by, home.path(), ["demo", "--json", "-vv"]);
        let mut child = command.stdout(writer.try_clone().unwrap()).stderr(writer).spawn().unwrap();
        drop(command);
        reader.read_exact(&mut [0; 100]).unwrap();
        let kill = format!("kill -INT {}", child.id());
        assert!(std::process::Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130), "{text}");
        assert!(text.lines().any(|line| line.starts_with("{\"event\":\"summary\",\"complete\":")), "{text}");
        assert_empty(home.path());
    }
}

#[test]
fn ends_quietly_when_nobody_reads() {
    let home = tempfile::tempdir().unwrap();
    let mut running = Running::start(&mut andon(home.path(), ["demo"]));
    running.line().unwrap();
    running.close_stdout();
    let ended = running.end();
    assert_eq!((ended.code, ended.stderr.contains("error")), (Some(141), false), "{}", ended.stderr);
    assert_empty(home.path());
}
