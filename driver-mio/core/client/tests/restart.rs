//! Acknowledgement over processes that are killed: nothing that was acknowledged is told again, and nothing else is lost.
#![allow(clippy::unwrap_used, reason = "a test that can not go on has failed")]

mod common;

use std::collections::{BTreeSet, VecDeque};
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use andon_bitcoin::client::{self, Birthday, Budget, Event, PauseReason};
use andon_client::{Client, Request};
use andon_driver::{Options, Received};
use andon_store::SqliteStore;
use bitcoin::Network;
use common::{Driver, Mio, Node, Smol, Tokio, config, fixture, scripts, start};

/// Says to a process of this program that it is a child: where it works, with whom, how many events it has room for, what it
/// watches, where it is killed.
const CHILD: &str = "ANDON_CLIENT_CHILD";

/// Where a child waits to be killed, at its first mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kill {
    BeforeKeeping,
    BeforeAcknowledging,
    AfterAcknowledging,
    Never,
}

const KILLS: [Kill; 4] =
    [Kill::BeforeKeeping, Kill::BeforeAcknowledging, Kill::AfterAcknowledging, Kill::Never];

/// Writes to the log what became of findings, in one piece: told, kept, acknowledged.
fn log(directory: &Path, what: char, touches: &[String]) {
    let mut file = OpenOptions::new().create(true).append(true).open(directory.join("log")).unwrap();
    let lines: String = touches.iter().map(|touch| format!("{what} {touch}\n")).collect();
    file.write_all(lines.as_bytes()).unwrap();
}

/// Tells the parent that it is time, and waits.
fn be_killed() -> ! {
    println!("now");
    std::io::stdout().flush().unwrap();
    loop {
        std::thread::park();
    }
}

/// What a child does.
fn work<D: Driver>(directory: &Path, node: SocketAddr, event_queue: usize, watched: usize, kill: Kill) {
    let mut config = config([node]);
    (config.acknowledged, config.paused) = (true, true);
    let open = |waker: andon_driver::Waker| {
        SqliteStore::open(directory.join("store"), move || waker.wake()).unwrap()
    };
    let options = Options { event_queue, ..Options::default() };
    let handle = D::spawn(options, client::Client::new(config), open);
    let (client, mut events, ending) = Client::new(handle, Network::Regtest);
    let watch = client.watch(scripts(&fixture()).into_iter().take(watched), Birthday::Height(0)).started();
    let mut sync = client.sync_once(Budget::default()).started();
    let mut outcome = None;
    let mut told = Vec::new();
    // Whoever reads the events waits for nothing that they may hold up.
    let mut acknowledged: VecDeque<(Request<()>, Vec<String>)> = VecDeque::new();
    loop {
        // When it is complete, everything it found has been told, and waits to be taken.
        outcome = outcome.or_else(|| sync.wait_timeout(Duration::ZERO));
        while let Some((request, _)) = acknowledged.front_mut() {
            let Some(durable) = request.wait_timeout(Duration::ZERO) else { break };
            durable.unwrap();
            let (_, touches) = acknowledged.pop_front().unwrap();
            log(directory, 'A', &touches);
            if kill == Kill::AfterAcknowledging {
                be_killed();
            }
        }
        let is_over = outcome.is_some() && acknowledged.is_empty();
        match events.recv_timeout(Duration::from_millis(if is_over { 0 } else { 10 })) {
            Received::Event(Event::Touched(touch)) => told.push(format!("{touch:?}")),
            Received::Event(Event::TakenBack(touch)) => panic!("nothing was given up: {touch:?}"),
            Received::Event(Event::Mark(mark)) => {
                log(directory, 'T', &told);
                if kill == Kill::BeforeKeeping {
                    be_killed();
                }
                log(directory, 'K', &told);
                if kill == Kill::BeforeAcknowledging {
                    be_killed();
                }
                acknowledged.push_back((client.acknowledge(mark).started(), std::mem::take(&mut told)));
            }
            Received::Event(_) => {}
            Received::TimedOut if is_over => break,
            Received::TimedOut => {}
            Received::Ended => panic!("the driver has ended"),
        }
    }
    assert_eq!(told, Vec::<String>::new(), "a mark follows what is told");
    assert_eq!(outcome.unwrap().unwrap().reason, PauseReason::Synced);
    watch.wait().unwrap();
    client.shutdown();
    ending.join().unwrap();
    println!("done");
}

#[test]
fn child() {
    let Ok(orders) = std::env::var(CHILD) else { return };
    let orders: Vec<&str> = orders.split('|').collect();
    let [directory, node, event_queue, watched, kill, driver] = orders[..] else { panic!("{orders:?}") };
    let (directory, node) = (PathBuf::from(directory), node.parse().unwrap());
    let (event_queue, watched) = (event_queue.parse().unwrap(), watched.parse().unwrap());
    let kill = KILLS[kill.parse::<usize>().unwrap()];
    match driver {
        "mio" => work::<Mio>(&directory, node, event_queue, watched, kill),
        "smol" => work::<Smol>(&directory, node, event_queue, watched, kill),
        "tokio" => work::<Tokio>(&directory, node, event_queue, watched, kill),
        other => panic!("{other}"),
    }
}

/// Runs a child to its end. Whether it was killed.
fn run(
    directory: &Path,
    node: SocketAddr,
    event_queue: usize,
    watched: usize,
    kill: usize,
    driver: &str,
) -> bool {
    let orders = format!("{}|{node}|{event_queue}|{watched}|{kill}|{driver}", directory.display());
    let mut child: Child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(CHILD, orders)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // The harness writes its own around it, and the test's name on the same line.
    let word = lines
        .by_ref()
        .map(|line| line.unwrap())
        .find_map(|line| ["now", "done"].into_iter().find(|word| line.ends_with(word)));
    match word {
        Some("now") => {
            child.kill().unwrap();
            child.wait().unwrap();
            true
        }
        Some(_) => {
            lines.for_each(drop);
            assert!(child.wait().unwrap().success());
            false
        }
        None => panic!("the child failed: {:?}", child.wait()),
    }
}

fn what_was_acknowledged_is_told_once<D: Driver>(driver: &str, event_queue: usize) {
    let fixture = fixture();
    let node = Node::whole(&fixture);
    let directory = tempfile::tempdir().unwrap();
    let all = fixture.watch_scripts.len();
    let mut killed = 0;
    for watched in 1..=all {
        for kill in 0..3 {
            killed += usize::from(run(directory.path(), node.address, event_queue, watched, kill, driver));
        }
    }
    assert!(!run(directory.path(), node.address, event_queue, all, 3, driver));
    assert!(killed >= 3 * 3, "{killed}");

    let text = std::fs::read_to_string(directory.path().join("log")).unwrap();
    let (mut kept, mut acknowledged) = (BTreeSet::new(), BTreeSet::new());
    for line in text.lines() {
        match line.split_at(2) {
            ("T ", touch) => assert!(!acknowledged.contains(touch), "told again: {touch}"),
            ("K ", touch) => drop(kept.insert(touch.to_owned())),
            ("A ", touch) => drop(acknowledged.insert(touch.to_owned())),
            _ => panic!("{line}"),
        }
    }
    assert_eq!(kept, acknowledged);
    // As a client that was never killed finds it.
    let (client, events, ending) = start::<D>(config([node.address]));
    let reader = common::read(events);
    client.watch(scripts(&fixture), Birthday::Height(0)).wait().unwrap();
    client.sync_once(Budget::default()).wait().unwrap();
    common::stop(client, ending);
    let expected: BTreeSet<String> = reader
        .join()
        .unwrap()
        .into_iter()
        .filter_map(|event| match event {
            Event::Touched(touch) => Some(format!("{touch:?}")),
            _ => None,
        })
        .collect();
    assert!(expected.len() > fixture.expected.len() / 2);
    assert_eq!(kept, expected);
}

/// As many as there are without a word about it.
fn many() -> usize {
    Options::default().event_queue
}

#[test]
fn over_mio() {
    what_was_acknowledged_is_told_once::<Mio>("mio", many());
}

#[test]
fn over_smol() {
    what_was_acknowledged_is_told_once::<Smol>("smol", many());
}

#[test]
fn over_tokio() {
    what_was_acknowledged_is_told_once::<Tokio>("tokio", many());
}

#[test]
fn over_mio_with_room_for_one_event() {
    what_was_acknowledged_is_told_once::<Mio>("mio", 1);
}

#[test]
fn over_smol_with_room_for_one_event() {
    what_was_acknowledged_is_told_once::<Smol>("smol", 1);
}

#[test]
fn over_tokio_with_room_for_one_event() {
    what_was_acknowledged_is_told_once::<Tokio>("tokio", 1);
}
