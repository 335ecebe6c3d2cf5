//! What the tests of the program share: nodes to sync from, and the program itself, run as a person runs it.

#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "it is a part of tests")]

#[cfg(target_os = "linux")]
pub(crate) mod behind;
pub(crate) mod daemon;
pub(crate) mod file;
#[cfg(target_os = "linux")]
pub(crate) mod namespace;
pub(crate) mod proxy;
pub(crate) mod spending;

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread;
use std::time::Duration;

use andon_bitcoin::fixture::{self, Fixture};
use andon_bitcoin::server::{self, Chain, Server};
use andon_kernel::MemoryStore;
use andon_mio::{Driver, Handle, Options};
use bitcoin::p2p::ServiceFlags;
use bitcoin::{Block, Network};
use serde_json::Value;

/// The bundled chain.
pub(crate) static FIXTURE: LazyLock<Fixture> = LazyLock::new(fixture::regtest);

/// Nothing takes as long as this, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Blocks of the bundled chain, by height.
pub(crate) fn blocks(heights: impl IntoIterator<Item = u32>) -> Vec<Block> {
    heights.into_iter().map(|height| FIXTURE.chain[height as usize].block()).collect()
}

/// The blocks of the branch that was left.
pub(crate) fn stale_blocks() -> Vec<Block> {
    FIXTURE.stale.iter().map(|block| block.block()).collect()
}

/// The watched scripts as arguments of the program.
pub(crate) fn watch() -> Vec<String> {
    FIXTURE.watch_scripts.iter().flat_map(|script| ["--script".into(), script.to_hex_string()]).collect()
}

/// A node on loopback.
pub(crate) struct Node {
    handle: Handle<server::Command, server::Event>,
    pub(crate) address: SocketAddr,
}

impl Node {
    /// Serves these blocks.
    pub(crate) fn start(blocks: Vec<Block>) -> Self {
        Self::start_with(server::Config::new(Network::Regtest, [7; 32]), blocks)
    }

    pub(crate) fn start_with(config: server::Config, blocks: Vec<Block>) -> Self {
        let listen = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))];
        let driver = Driver::new(Options { listen, ..Options::default() }).unwrap();
        let address = driver.local_addresses()[0];
        let server = Server::new(config, Chain::new(blocks).unwrap());
        Self { handle: driver.spawn(server, MemoryStore::new()).unwrap(), address }
    }

    pub(crate) fn command(&self, command: server::Command) {
        self.handle.command(command).unwrap();
    }

    pub(crate) fn stop(self) {
        self.handle.stop();
        self.handle.join().unwrap();
    }
}

/// A node that serves blocks and no filters.
pub(crate) fn node_without_filters() -> Node {
    let mut config = server::Config::new(Network::Regtest, [8; 32]);
    config.services = ServiceFlags::NETWORK | ServiceFlags::WITNESS;
    Node::start_with(config, blocks(0..290))
}

/// An address of this machine where nobody listens.
pub(crate) fn closed() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// The programs, one on each driver. They differ in nothing else: the first of them stands for all in most tests.
pub(crate) const PROGRAMS: [&str; 3] =
    [env!("CARGO_BIN_EXE_andon-mio"), env!("CARGO_BIN_EXE_andon-smol"), env!("CARGO_BIN_EXE_andon-tokio")];

/// The program with these arguments. What it might find of the user's own is out of its sight.
pub(crate) fn andon<A: AsRef<std::ffi::OsStr>>(
    home: &Path,
    arguments: impl IntoIterator<Item = A>,
) -> Command {
    program(PROGRAMS[0], home, arguments)
}

/// The same of one of [`PROGRAMS`].
pub(crate) fn program<A: AsRef<std::ffi::OsStr>>(
    program: &str,
    home: &Path,
    arguments: impl IntoIterator<Item = A>,
) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).env("HOME", home).env("TMPDIR", home).stdin(Stdio::null());
    for name in ["XDG_DATA_HOME", "NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "RUST_LOG"] {
        command.env_remove(name);
    }
    command
}

/// `sync` on regtest from a node, with `--json`, of all the scripts.
pub(crate) fn sync(home: &Path, node: SocketAddr, more: &[&str]) -> Command {
    sync_by(PROGRAMS[0], home, node, more)
}

/// The same by one of [`PROGRAMS`].
pub(crate) fn sync_by(by: &str, home: &Path, node: SocketAddr, more: &[&str]) -> Command {
    let peer = node.to_string();
    let mut command = program(by, home, ["sync", "--json", "--network", "regtest", "--peer", &peer]);
    command.args(watch()).arg("--data-dir").arg(home.join("data")).args(more);
    command
}

/// Another command on regtest with `--json`, on the directory `data` in `home`.
pub(crate) fn offline(home: &Path, data: &str, arguments: &[&str]) -> Command {
    let mut command = andon(home, arguments);
    command.args(["--json", "--network", "regtest", "--data-dir"]).arg(home.join(data));
    command
}

/// A directory `data` in `home` with everything up to a height.
pub(crate) fn synced(home: &Path, last: u32) -> Node {
    let node = Node::start(blocks(0..=last));
    let ended = run(&mut sync(home, node.address, &[]));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    node
}

/// `headers show` of one block.
pub(crate) fn show(home: &Path, data: &str, block: &str) -> Ended {
    run(&mut offline(home, data, &["headers", "show", block]))
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// Each line as an object.
    pub(crate) fn objects(&self) -> Vec<Value> {
        self.stdout.lines().map(parse).collect()
    }

    /// The last line as an object.
    pub(crate) fn last(&self) -> Value {
        parse(self.stdout.lines().last().unwrap_or_else(|| panic!("nothing was printed: {self:?}")))
    }

    /// Demands an exit code and texts on standard error.
    #[track_caller]
    pub(crate) fn failed(&self, code: i32, texts: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        for text in texts {
            assert!(self.stderr.contains(text), "{text:?} is not in {}", self.stderr);
        }
        assert!(self.stderr.contains("error: ") && self.stderr.contains("\n  help: "), "{}", self.stderr);
    }

    /// Demands that the last line on standard output is an error of this kind.
    #[track_caller]
    pub(crate) fn failed_as(&self, kind: &str) {
        let last = self.last();
        assert_eq!((&last["event"], &last["kind"]), (&"error".into(), &kind.into()), "{self:?}");
        assert!(last["what"].is_string() && last["help"].is_string(), "{last}");
    }
}

fn parse(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line:?}"))
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> Ended {
    Running::start(command).end()
}

/// A command at work. Killed when dropped.
pub(crate) struct Running {
    child: Arc<Mutex<Child>>,
    lines: Option<BufReader<ChildStdout>>,
    stderr: Option<thread::JoinHandle<String>>,
    read: String,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self::start_within(command, PATIENCE)
    }

    /// One that may take so long.
    pub(crate) fn start_within(command: &mut Command, patience: Duration) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut stderr = child.stderr.take().unwrap();
        let stderr = thread::spawn(move || {
            let mut text = String::new();
            stderr.read_to_string(&mut text).unwrap();
            text
        });
        let child = Arc::new(Mutex::new(child));
        // So that nothing hangs: a child that takes too long is killed, which ends every wait for it.
        let watched = Arc::clone(&child);
        thread::spawn(move || {
            thread::sleep(patience);
            // Nothing happens if it has been waited for.
            let _ = watched.lock().unwrap().kill();
        });
        Self { child, lines: Some(lines), stderr: Some(stderr), read: String::new() }
    }

    /// The next line of standard output.
    pub(crate) fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        self.lines.as_mut().unwrap().read_line(&mut line).unwrap();
        self.read.push_str(&line);
        (!line.is_empty()).then(|| line.trim_end().to_owned())
    }

    /// Reads until an event of this name that satisfies the condition.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, event: &str, condition: impl Fn(&Value) -> bool) -> Value {
        loop {
            let Some(line) = self.line() else {
                panic!("the program ended before {event}: {:?}", self.finish());
            };
            let object = parse(&line);
            if object["event"] == event && condition(&object) {
                return object;
            }
        }
    }

    /// Sends a signal, by its name without `SIG`.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.lock().unwrap().id();
        let sent = Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status().unwrap();
        assert!(sent.success());
    }

    /// Reads no more.
    pub(crate) fn close_stdout(&mut self) {
        drop(self.lines.take());
    }

    /// Waits for the end.
    pub(crate) fn end(mut self) -> Ended {
        self.finish()
    }

    fn finish(&mut self) -> Ended {
        let mut stdout = std::mem::take(&mut self.read);
        if let Some(mut lines) = self.lines.take() {
            lines.read_to_string(&mut stdout).unwrap();
        }
        let code = loop {
            if let Some(status) = self.child.lock().unwrap().try_wait().unwrap() {
                break status.code();
            }
            thread::sleep(Duration::from_millis(5));
        };
        Ended { code, stdout, stderr: self.stderr.take().unwrap().join().unwrap() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut child = self.child.lock().unwrap();
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Runs a command that is none of ours; `None` if it can't be run or fails.
pub(crate) fn system(command: &mut Command) -> Option<Output> {
    command.output().ok().filter(|output| output.status.success())
}

/// Demands that a summary lists exactly what is in the bundled chain.
#[track_caller]
pub(crate) fn assert_found_everything(summary: &Value) {
    assert_eq!(summary["event"], "summary");
    assert_eq!(summary["complete"], true, "{summary}");
    assert_eq!(summary["network"], "regtest");
    let tip = FIXTURE.chain.last().unwrap();
    assert_eq!(summary["tip_height"], tip.height);
    assert_eq!(summary["tip_hash"], tip.hash().to_string());
    let mut found: Vec<(u64, String, String, u64, String, u64)> = summary["payments"]
        .as_array()
        .unwrap()
        .iter()
        .map(|payment| {
            let text = |field: &str| payment[field].as_str().unwrap().to_owned();
            let number = |field: &str| payment[field].as_u64().unwrap();
            (number("height"), text("block"), text("txid"), number("vout"), text("script"), number("sats"))
        })
        .collect();
    let mut expected: Vec<_> = FIXTURE
        .expected
        .iter()
        .map(|output| {
            (
                u64::from(output.height),
                FIXTURE.chain[output.height as usize].hash().to_string(),
                output.outpoint.txid.to_string(),
                u64::from(output.outpoint.vout),
                output.script.to_hex_string(),
                output.amount.to_sat(),
            )
        })
        .collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    assert_eq!(summary["payment_count"], 76);
    assert_eq!(summary["received_sats"], 792_095);
    let heights: std::collections::BTreeSet<u32> =
        FIXTURE.expected.iter().map(|output| output.height).collect();
    let matched = summary["heights_matched"].as_array().unwrap();
    assert!(heights.iter().all(|&height| matched.contains(&height.into())), "{matched:?}");
}
