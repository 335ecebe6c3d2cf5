//! What each program of `examples/embed-*` must do, as one test for all of them: find what pays an address, say so, end,
//! go on from there, and be short.

#![allow(clippy::unwrap_used, reason = "it is a part of tests")]

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use andon_bitcoin::fixture::{self, ExpectedOutput, Fixture};
use andon_bitcoin::server::{self, Chain, Server};
use andon_kernel::MemoryStore;
use andon_mio::{Driver, Handle, Options};
use bitcoin::{Address, Network};

/// The most lines that the `main.rs` of such a program has, comments included.
const MAX_LINES: usize = 60;

/// An address of regtest that nobody pays.
const ADDRESS: &str = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080";

/// Nothing takes as long as this, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// The tests of the program of this name.
#[macro_export]
macro_rules! embedding {
    ($name:literal) => {
        #[test]
        fn finds_what_pays_an_address_and_goes_on_from_there() {
            $crate::finds_what_pays(env!(concat!("CARGO_BIN_EXE_", $name)));
        }

        #[test]
        fn wrong_arguments_are_told() {
            $crate::refuses_wrong_arguments(env!(concat!("CARGO_BIN_EXE_", $name)), $name);
        }

        #[test]
        fn is_short() {
            $crate::is_short(include_str!("../src/main.rs"));
        }
    };
}

/// The test of one that ends in order when it is told to.
#[macro_export]
macro_rules! interruption {
    ($name:literal) => {
        #[cfg(unix)]
        #[test]
        fn ends_in_order_when_interrupted() {
            $crate::ends_when_interrupted(env!(concat!("CARGO_BIN_EXE_", $name)));
        }
    };
}

/// Demands that a text has few lines.
pub fn is_short(text: &str) {
    let lines = text.lines().count();
    assert!(lines <= MAX_LINES, "it has {lines} lines, and may have {MAX_LINES}");
}

/// Runs the program against a node with the bundled chain: first one that lacks the last blocks and does not encrypt, which
/// is found out by a connection that fails; then one that has all of them.
pub fn finds_what_pays(program: &str) {
    let fixture = fixture::regtest();
    let tip = fixture.chain.len() as u32 - 1;
    let script = most_paid(&fixture);
    let expected = |last: u32| {
        let paid = fixture.expected.iter().filter(|output| output.script == script && output.height <= last);
        paid.map(line).collect::<Vec<_>>()
    };
    let address = Address::from_script(script, Network::Regtest).unwrap().to_string();
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("data");
    let mut payments = Vec::new();
    for last in [tip - 60, tip] {
        let (node, peer) = serve(&fixture, last, last == tip);
        let arguments = ["regtest", &peer.to_string(), directory.to_str().unwrap(), &address, "100"];
        let (code, stdout, stderr) = run(program, home.path(), &arguments);
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
        let found: Vec<&str> = stdout.lines().filter(|line| line.starts_with("block ")).collect();
        assert_eq!(found, expected(last), "{stdout}");
        assert_eq!(stdout.lines().last(), Some(&*format!("synced up to block {last}")), "{stdout}");
        node.stop();
        node.join().unwrap();
        payments.push(found.len());
    }
    assert!(0 < payments[0] && payments[0] < payments[1], "{payments:?}: both runs have something to find");
}

/// Interrupts the program while it waits for a peer that does not answer.
pub fn ends_when_interrupted(program: &str) {
    let home = tempfile::tempdir().unwrap();
    // The system takes the connection, and nobody else does.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let peer = silent.local_addr().unwrap().to_string();
    let mut child = start(program, home.path(), &["regtest", &peer, "data", ADDRESS, "0"]);
    // It says that it has read what is stored, and from then on it can be told to stop.
    let mut first = [0; 7];
    child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    assert_eq!(&first, b"Started");
    let kill = format!("kill -INT {}", child.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    let (code, stdout, stderr) = end(child);
    assert_eq!((code, stderr.as_str(), stdout.contains("synced")), (Some(0), "", false), "{stdout}");
}

/// Runs the program with arguments that are none: each is told with how it is used, and nothing is made.
pub fn refuses_wrong_arguments(program: &str, name: &str) {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("data");
    let directory = directory.to_str().unwrap();
    let right = ["regtest", "127.0.0.1:1", directory, ADDRESS, "0"];
    let mut cases = vec![vec![], right[..4].to_vec(), [&right[..], &["more"]].concat()];
    let of_another_network = "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4";
    for (index, wrong) in [(0, "moonnet"), (1, "a b"), (3, "nonsense"), (3, of_another_network), (4, "soon")]
    {
        let mut arguments = right.to_vec();
        arguments[index] = wrong;
        cases.push(arguments);
    }
    for arguments in cases {
        let (code, stdout, stderr) = run(program, home.path(), &arguments);
        assert_eq!((code, stdout.as_str()), (Some(1), ""), "{arguments:?}: {stderr}");
        let usage = format!("\nusage: {name} NETWORK PEER DIRECTORY ADDRESS HEIGHT\n");
        assert!(stderr.starts_with("error: ") && stderr.ends_with(&usage), "{arguments:?}: {stderr}");
    }
    assert_eq!(home.path().read_dir().unwrap().count(), 0, "something was made");
}

/// The watched script that is paid most often.
fn most_paid(fixture: &Fixture) -> &'static bitcoin::Script {
    let count =
        |script: &&bitcoin::Script| fixture.expected.iter().filter(|output| output.script == *script).count();
    fixture.watch_scripts.iter().copied().max_by_key(count).unwrap()
}

/// A payment, as the programs tell it.
fn line(output: &ExpectedOutput) -> String {
    let (height, index, amount) = (output.height, output.outpoint.vout, output.amount);
    format!("block {height}: Received {{ output: {index} }}, Some({amount:?})")
}

/// A node on loopback with the chain up to this height.
fn serve(
    fixture: &Fixture,
    last: u32,
    encryption: bool,
) -> (Handle<server::Command, server::Event>, SocketAddr) {
    let listen = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))];
    let driver = Driver::new(Options { listen, ..Options::default() }).unwrap();
    let address = driver.local_addresses()[0];
    let chain = Chain::new(fixture.chain[..=last as usize].iter().map(|block| block.block())).unwrap();
    let mut config = server::Config::new(Network::Regtest, [7; 32]);
    config.encryption = encryption;
    (driver.spawn(Server::new(config, chain), MemoryStore::new()).unwrap(), address)
}

/// Runs a program to its end: its exit code, and what it wrote to standard output and standard error.
fn run(program: &str, home: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    end(start(program, home, arguments))
}

fn start(program: &str, home: &Path, arguments: &[&str]) -> Child {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(home).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn end(mut child: Child) -> (Option<i32>, String, String) {
    const STEP: Duration = Duration::from_millis(5);
    let (stdout, stderr) = (text(child.stdout.take().unwrap()), text(child.stderr.take().unwrap()));
    let mut left = PATIENCE.as_millis() / STEP.as_millis();
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None if left == 0 => break child.kill().and_then(|()| child.wait()).unwrap(),
            None => left -= 1,
        }
        thread::sleep(STEP);
    };
    (status.code(), stdout.join().unwrap(), stderr.join().unwrap())
}

/// Reads to the end, beside whatever else is done.
fn text(mut stream: impl Read + Send + 'static) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    })
}
