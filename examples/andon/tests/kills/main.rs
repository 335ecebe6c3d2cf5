//! The program is killed at random instants, again and again, on each driver, while it syncs, follows and is told of
//! reorganisations: nothing that it had said of findings is lost, and nothing is made up.
//!
//! A life is a data directory and a node whose chain grows and reorganises meanwhile. Each run in it is killed (`SIGKILL`), some just
//! after they were asked to stop, when the database's log is copied; the last one goes on to the end. What a run wrote to its
//! standard output, a file, by its end is what it had told, however it ended.
//!
//! `ANDON_KILLS` says how many kills on each driver: by default few, and on the first driver alone.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "it is a test")]

mod chain;
#[path = "../common/mod.rs"]
mod common;
mod history;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use andon_bitcoin::server;
use common::{Node, PROGRAMS, program};

use chain::{Mined, WATCHED, script};
use history::{History, How};

/// Kills in one life, and the longest time after which one comes. A first sync takes a half of that or less.
const KILLS_OF_A_LIFE: u32 = 12;
const LONGEST: Duration = Duration::from_millis(320);

/// Blocks at the beginning of a life.
const BLOCKS: u32 = 220;

/// Nothing takes as long, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(2);

#[test]
fn what_was_told_outlives_kills() {
    let kills = std::env::var("ANDON_KILLS").ok().map(|text| text.parse::<u32>().unwrap());
    let programs = if kills.is_some() { &PROGRAMS[..] } else { &PROGRAMS[..1] };
    let first = fastrand::u64(..);
    for by in programs {
        let mut total = BTreeMap::new();
        let mut left = kills.unwrap_or(36);
        let mut life = 0;
        while left > 0 {
            let count = left.min(KILLS_OF_A_LIFE);
            let seed = first.wrapping_add(life);
            live(by, seed, count, &mut total);
            left -= count;
            life += 1;
        }
        println!(
            "{}: {life} lives from seed {first}, {total:?}",
            Path::new(by).file_name().unwrap().display()
        );
        assert_eq!(total["kills"], kills.unwrap_or(36));
        assert!(total["findings told again"] > 0 && total["reorganisations"] > 0, "{total:?}");
    }
}

/// One life, with so many kills.
fn live(by: &str, seed: u64, kills: u32, total: &mut BTreeMap<&'static str, u32>) {
    let named = Seed(seed);
    let mut rng = fastrand::Rng::with_seed(named.0);
    let home = tempfile::tempdir().unwrap();
    let mut mined = Mined::new(&mut rng, BLOCKS);
    let node = Node::start(mined.blocks().to_vec());
    let mut history = History::default();
    let mut count = |what, by: usize| *total.entry(what).or_default() += by as u32;
    for kill in 0..kills {
        // A new database gets its log when nothing has come for two seconds: some first runs are killed about then.
        let filled = Duration::from_millis(1900) * u32::from(kill == 0 && seed.is_multiple_of(8));
        let output = home.path().join("told");
        let mut child = start(by, home.path(), &node, &["--follow"], &output);
        let is_asked_to_stop = rng.u32(..4) == 0;
        // The chain changes up to three times while it runs.
        let changes = rng.u32(..4);
        for change in 0..=changes {
            if change == changes {
                thread::sleep(filled);
            }
            thread::sleep(LONGEST.mul_f64(rng.f64() / f64::from(changes + 1)));
            if rng.u32(..=changes) > 0 {
                let command = mined.change(&mut rng);
                count("reorganisations", usize::from(matches!(command, server::Command::Reorganise { .. })));
                node.command(command);
            }
        }
        if is_asked_to_stop {
            signal(&child, "TERM");
            thread::sleep(Duration::from_micros(rng.u64(..6000)));
        }
        let ended_before = child.try_wait().unwrap().is_some();
        assert!(!ended_before || is_asked_to_stop, "it ended by itself: {}", said(home.path()));
        child.kill().unwrap();
        let status = child.wait().unwrap();
        let was_killed = status.signal() == Some(9);
        assert!(was_killed || is_asked_to_stop, "{status}: {}", said(home.path()));
        count("kills", 1);
        count("killed while stopping", usize::from(was_killed && is_asked_to_stop));
        count("had stopped", usize::from(!was_killed));
        let run = history.take(&fs::read(&output).unwrap(), &mined, How::Killed);
        count("findings told again", run.told_again);
        count("new findings", run.new);
        count("taken back", run.taken_back);
        count("killed before the first word", usize::from(run.is_silent));
        count("killed in the first sync", usize::from(!run.is_synced && !history.was_synced()));
    }
    // The last run goes on to the end.
    let output = home.path().join("told");
    let mut child = start(by, home.path(), &node, &[], &output);
    let status = wait(&mut child);
    assert!(status.success(), "{status}: {}", said(home.path()));
    history.take(&fs::read(&output).unwrap(), &mined, How::Complete);
    history.assert_is(&mined);
    node.stop();
}

/// Starts a program on the data directory of a life.
fn start(by: &str, home: &Path, node: &Node, more: &[&str], output: &Path) -> Child {
    let mut command = program(by, home, ["sync", "--json", "--network", "regtest"]);
    command.arg("--peer").arg(node.address.to_string()).arg("--data-dir").arg(home.join("data")).args(more);
    for number in 0..WATCHED {
        command.arg("--script").arg(script(number).to_hex_string());
    }
    let errors = File::create(home.join("errors")).unwrap();
    command.stdin(Stdio::null()).stdout(File::create(output).unwrap()).stderr(errors).spawn().unwrap()
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status();
    assert!(sent.unwrap().success());
}

fn wait(child: &mut Child) -> std::process::ExitStatus {
    for _ in 0..PATIENCE.as_millis() / POLL.as_millis() {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        thread::sleep(POLL);
    }
    let _ = child.kill();
    panic!("the last run does not come to an end");
}

fn said(home: &Path) -> String {
    fs::read_to_string(home.join("errors")).unwrap()
}

/// The checks see what they are there for.
#[test]
fn a_history_that_can_not_be_is_seen() {
    let mut rng = fastrand::Rng::with_seed(1);
    let mut mined = Mined::new(&mut rng, 40);
    let lines: Vec<String> = mined
        .findings()
        .into_iter()
        .map(|(kind, block, txid, index)| {
            let place = if kind == "spent" { "vin" } else { "vout" };
            format!(r#"{{"event":"{kind}","block":"{block}","txid":"{txid}","{place}":{index}}}"#)
        })
        .collect();
    let all = lines.concat().replace("}{", "}\n{") + "\n";
    let rest = lines[1..].concat().replace("}{", "}\n{") + "\n";
    let back = lines[0].replacen(r#""event":"received""#, r#""event":"taken_back","kind":"received""#, 1);
    let back = back.replacen(r#""event":"spent""#, r#""event":"taken_back","kind":"spent""#, 1) + "\n";
    let connected = "{\"event\":\"peer_connected\"}\n";
    let synced = "{\"event\":\"synced\"}\n";
    let repaired = "{\"event\":\"repaired\"}\n";
    let check = |mined: &Mined, runs: &[String]| {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut history = History::default();
            for run in runs {
                history.take(run.as_bytes(), mined, How::Killed);
            }
            history.assert_is(mined);
        }));
        result.is_ok()
    };
    let whole = all.clone() + connected + synced;
    // The last line was cut off: what it says was not told.
    let cut = format!("{all}{connected}{}", &back[..30]);
    let table: [(&str, &[String], bool); 10] = [
        ("as it was", &[whole.clone(), whole.clone()], true),
        ("killed while it told again", &[whole.clone(), rest.clone(), whole.clone()], true),
        ("killed in the midst of a line", &[cut, whole.clone()], true),
        ("lost", &[whole.clone(), rest.clone() + connected, whole.clone()], false),
        (
            "lost, and a run between said nothing",
            &[whole.clone(), String::new(), rest.clone() + connected + &lines[0] + "\n"],
            false,
        ),
        ("missed", &[rest.clone() + connected + synced], false),
        ("told twice", &[whole.clone() + &lines[0] + "\n"], false),
        ("taken back, and never told", &[rest + connected + &back], false),
        ("taken back, and in the chain", &[whole.clone() + &back], false),
        ("repaired", &[repaired.to_owned() + &whole], false),
    ];
    for (what, runs, expected) in table {
        assert_eq!(check(&mined, runs), expected, "{what}");
    }
    // What is found in blocks that are left may go; but not stay.
    while !matches!(mined.change(&mut rng), server::Command::Reorganise { .. }) {}
    assert!(!check(&mined, &[whole]), "stays");
}

/// Names the seed if a life fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("failed in the life of seed {}", self.0);
        }
    }
}
