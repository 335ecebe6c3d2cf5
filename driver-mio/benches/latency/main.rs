//! How long it takes from a block's arrival to the application's event.
//!
//! A client under each driver follows a node over loopback; both are in this process, each on its threads. The node mines
//! a block, waits until the client has told that it is checked, and mines the next. Each other block pays a watched script:
//! of these the time is from the block to [`Event::Touched`], of the others from the filter to [`Event::Checked`]. Both
//! events are told when what they say is on the disk. The time begins when the node has the whole message and has not yet
//! given it to the system; it ends when the application's thread has the event. Connections are not encrypted, so that the
//! node's messages can be told apart.
//!
//! `cargo bench --bench latency`. `ANDON_BLOCKS` says how many; `ANDON_DIRECTORIES` in which directories SQLite's files are
//! beside a store in memory, separated by colons: some on a disk, some in memory.

#![allow(clippy::unwrap_used, reason = "a benchmark that can't go on has nothing to tell")]

#[path = "../common/blocks.rs"]
mod blocks;
mod node;
mod timed;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use andon_bitcoin::client::{Birthday, Client, Command, Config, Encryption, Endpoint, Event};
use andon_kernel::MemoryStore;
use andon_mio::{Handle, Waker};
use andon_store::SqliteStore;
use bitcoin::{Network, ScriptBuf};

use node::{Message, Node};
use timed::{Timed, Times};

/// Bytes of a large block: without witnesses, of which these have none, there can be no more than a million.
const LARGE: usize = 900_000;

/// What is measured of one block.
#[derive(Default)]
struct Sample {
    /// From the announcement to the event.
    whole: Duration,
    /// From the last message that was needed to the event.
    last: Duration,
    /// Of that: until the client has given the store what must be on the disk before the event.
    client: Duration,
    /// Until the store has said that it is.
    store: Duration,
    /// Until the application has the event.
    event: Duration,
    /// Commits between the announcement and the event.
    commits: usize,
}

fn main() {
    let count = std::env::var("ANDON_BLOCKS").map_or(200, |text| text.parse().unwrap());
    let directories = std::env::var("ANDON_DIRECTORIES").unwrap_or_else(|_| {
        let target = Path::new(env!("CARGO_MANIFEST_DIR"));
        format!("/dev/shm:{}", target.display())
    });
    println!(
        "| driver | store | block | from the last message to the event, median | 9 of 10 within | of it the client | \
         the store | the event's way | from the announcement, median | commits meanwhile |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for directory in directories.split(':').map(Path::new) {
        println!(
            "| none | {} | one write and its sync | {} | | | | | | 1 |",
            file_system(directory),
            sync_alone(directory)
        );
    }
    for bytes in [0, LARGE] {
        let mut stores: Vec<Option<PathBuf>> = vec![None];
        stores.extend(directories.split(':').map(|directory| Some(directory.into())));
        for store in &stores {
            macro_rules! run {
                ($name:literal, $driver:ident) => {
                    let start = |config: Config, times: &Times| {
                        let driver = $driver::Driver::new($driver::Options::default()).unwrap();
                        let waker = driver.waker();
                        match store {
                            None => driver.spawn(Client::new(config), in_memory(times)).unwrap(),
                            Some(directory) => {
                                driver.spawn(Client::new(config), on_disk(directory, times, waker)).unwrap()
                            }
                        }
                    };
                    measure($name, store.as_deref(), bytes, count, start);
                };
            }
            run!("mio", andon_mio);
            run!("smol", andon_smol);
            run!("tokio", andon_tokio);
        }
    }
}

/// What a directory's disk takes for the least that is durable, in the middle of a hundred times.
fn sync_alone(directory: &Path) -> String {
    let mut file = tempfile::tempfile_in(directory).unwrap();
    let mut times: Vec<Duration> = (0..100)
        .map(|_| {
            let before = now();
            file.write_all(&[7; 4096]).unwrap();
            file.sync_data().unwrap();
            now() - before
        })
        .collect();
    times.sort();
    milliseconds(times[50])
}

fn milliseconds(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn now() -> Instant {
    Instant::now()
}

fn in_memory(times: &Times) -> Timed<MemoryStore> {
    Timed::new(MemoryStore::new(), times.clone())
}

/// A store in a directory of its own, which goes with it.
fn on_disk(directory: &Path, times: &Times, waker: Waker) -> Timed<SqliteStore> {
    let own = tempfile::tempdir_in(directory).unwrap();
    let noted = times.clone();
    let store = SqliteStore::open(own.path(), move || {
        noted.durable();
        waker.wake();
    });
    Timed::new(store.unwrap(), times.clone()).within(own)
}

fn measure(
    name: &str,
    store: Option<&Path>,
    bytes: usize,
    count: u32,
    start: impl Fn(Config, &Times) -> Handle<Command, Event>,
) {
    let mut node = Node::start();
    let times = Times::default();
    let mut config = Config::new(Network::Regtest, [9; 32]);
    config.discovery = None;
    config.encryption = Encryption::Off;
    config.peers.push(Endpoint::Address(node.addr));
    let client = start(config, &times);
    let watched = blocks::script(0);
    let from = Birthday::Height(0);
    client.command(Command::Watch { scripts: vec![watched.clone()], from }).unwrap();
    wait_for(&client, |event| matches!(event, Event::Synced(block) if block.height == node.height()));
    // A new database waits for two seconds before it has its log.
    std::thread::sleep(Duration::from_millis(2500));
    let (mut matched, mut others) = (Vec::new(), Vec::new());
    for number in 0..count {
        let pays: ScriptBuf = if number % 2 == 0 { watched.clone() } else { blocks::script(1 + number) };
        times.clear();
        node.mine(&pays, bytes);
        let height = node.height();
        let (event, last) = if number % 2 == 0 {
            (
                wait_for(
                    &client,
                    |event| matches!(event, Event::Touched(touch) if touch.block.height == height),
                ),
                Message::Block,
            )
        } else {
            (
                wait_for(&client, |event| matches!(event, Event::Checked(block) if block.height == height)),
                Message::Filter,
            )
        };
        let announced = node.sent(Message::Headers);
        let last = node.sent(last);
        let (stored, durable, commits) = times.of(last, event);
        let sample = Sample {
            whole: event - announced,
            last: event - last,
            client: stored - last,
            store: durable - stored,
            event: event - durable,
            commits,
        };
        if number % 2 == 0 {
            matched.push(sample)
        } else {
            others.push(sample)
        }
        wait_for(&client, |event| matches!(event, Event::Synced(block) if block.height == height));
    }
    client.stop();
    client.join().unwrap();
    node.stop();
    let store =
        store.map_or("in memory".to_owned(), |directory| format!("SQLite, {}", file_system(directory)));
    let size = if bytes == 0 { "small" } else { "0.9 MB" };
    print(name, &store, &format!("{size}, pays"), &matched);
    print(name, &store, &format!("{size}, does not"), &others);
}

fn print(name: &str, store: &str, what: &str, samples: &[Sample]) {
    let at = |tenths: usize, of: fn(&Sample) -> Duration| {
        let mut values: Vec<Duration> = samples.iter().map(of).collect();
        values.sort();
        milliseconds(values[values.len() * tenths / 10])
    };
    let commits: usize = samples.iter().map(|sample| sample.commits).sum();
    println!(
        "| {name} | {store} | {what} | {} | {} | {} | {} | {} | {} | {:.1} |",
        at(5, |sample| sample.last),
        at(9, |sample| sample.last),
        at(5, |sample| sample.client),
        at(5, |sample| sample.store),
        at(5, |sample| sample.event),
        at(5, |sample| sample.whole),
        commits as f64 / samples.len() as f64,
    );
}

/// Waits for an event. When it came.
fn wait_for(client: &Handle<Command, Event>, mut is: impl FnMut(&Event) -> bool) -> Instant {
    loop {
        let event = client.recv().expect("the client goes on");
        let at = now();
        if let Event::Failed(failure) = &event {
            panic!("{failure}");
        }
        if is(&event) {
            return at;
        }
    }
}

/// The kind of file system that a directory is in.
fn file_system(directory: &Path) -> String {
    let directory = directory.canonicalize().unwrap();
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    let fields = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    let within = fields.filter(|(mount, _)| directory.starts_with(mount));
    within.max_by_key(|(mount, _)| mount.len()).map_or("unknown".to_owned(), |(_, kind)| kind.to_owned())
}
