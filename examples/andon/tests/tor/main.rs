//! Real onion services: the program, a Tor for it, a private Tor network, and a node behind an onion service of it.
//!
//! Tor is the program that the environment variable `TOR_EXE` names (Debian's package `tor` has it, and `tor-gencert`,
//! which must lie beside it or in the path); without it the test prints so and passes. All of it runs in a network
//! namespace, from which nothing leads out; Linux only.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "it is a test")]
#![allow(
    clippy::disallowed_methods,
    reason = "this test waits for a real network, and says how long that took"
)]

#[path = "../common/mod.rs"]
mod common;
mod network;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use common::daemon::named_by;
use common::namespace::enter;
use common::{Node, Running, andon, assert_found_everything, blocks, run, watch};
use network::TorNetwork;

/// A service that does not exist in this network: its name is one of those in Tor's own documents.
const NOBODY: &str = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion";

/// `sync` through a proxy.
fn sync(home: &Path, peers: &[&str], proxy: SocketAddr, more: &[&str]) -> Command {
    let mut command = andon(home, ["sync", "--json", "--network", "regtest", "--proxy", &proxy.to_string()]);
    command.args(peers.iter().flat_map(|peer| ["--peer", peer]));
    command.args(watch()).arg("--data-dir").arg(home.join("data")).args(more);
    command
}

/// Whether Tor connects to an onion service now. It may take its time.
fn reaches(proxy: SocketAddr, onion: &str) -> bool {
    let mut stream = TcpStream::connect(proxy).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let name = [&[5, 1, 0, 3, onion.len() as u8], onion.as_bytes(), &18444_u16.to_be_bytes()].concat();
    stream.write_all(&[5, 1, 0]).unwrap();
    stream.read_exact(&mut [0; 2]).unwrap();
    stream.write_all(&name).unwrap();
    let mut answer = [0; 2];
    stream.read_exact(&mut answer).is_ok_and(|()| answer == [5, 0])
}

#[test]
fn a_node_behind_an_onion_service() {
    let Some(program) = named_by("TOR_EXE") else { return };
    if !enter("a_node_behind_an_onion_service", Duration::from_secs(420)) {
        return;
    }
    let begin = Instant::now();
    let home = tempfile::tempdir().unwrap();
    let node = Node::start(blocks(0..290));
    let mut tor = TorNetwork::start(program, home.path());
    let onion = tor.serve(node.address);
    let (proxy, mut control) = tor.client();
    println!("the first circuit of the private network stands after {:.1?}", begin.elapsed());
    tor.wait("a way to the onion service", 120, |_| reaches(proxy, &onion).then_some(()));
    println!("its onion service can be reached after {:.1?}", begin.elapsed());

    let syncing = Instant::now();
    let ended = run(&mut sync(home.path(), &[&onion], proxy, &["--proxy-isolation"]));
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
    assert_found_everything(&ended.last());
    let objects = ended.objects();
    let connected = objects.iter().find(|object| object["event"] == "peer_connected").unwrap();
    assert_eq!(connected["transport"], "v2");
    assert_eq!(connected["peer"], format!("{onion}:18444"));
    println!("290 blocks are synced through {onion} in {:.1?}", syncing.elapsed());

    // Two connections at once, by their logins on two circuits; and without, on one.
    let peers = [format!("{onion}:18444"), format!("{onion}:18445")];
    let peers = peers.each_ref().map(String::as_str);
    for (isolation, circuits) in [("on", 2), ("off", 1)] {
        let home = home.path().join(isolation);
        std::fs::create_dir(&home).unwrap();
        let before = control.logins();
        let more = ["--proxy-isolation", isolation, "--follow"];
        let mut running = Running::start(&mut sync(&home, &peers, proxy, &more));
        for _ in peers {
            running.wait_for("peer_connected", |_| true);
        }
        let after = control.logins();
        let mut new: Vec<&String> = after.iter().filter(|login| !before.contains(login)).collect();
        println!(
            "isolation {isolation}: {} circuits to the service before, {} with two peers",
            before.len(),
            after.len()
        );
        new.sort();
        new.dedup();
        if isolation == "on" {
            assert_eq!(new.len(), circuits, "{before:?} {after:?}");
        } else {
            // The one that was opened without a login before, or one for both.
            assert!(new.len() <= circuits && after.len() <= before.len() + circuits, "{before:?} {after:?}");
        }
        running.wait_for("synced", |object| object["height"] == 289);
        running.signal("INT");
        assert_found_everything(&running.end().last());
    }

    // Tor says what is the matter, and so does the program.
    let ended = run(&mut sync(home.path(), &[NOBODY], proxy, &[]));
    ended.failed(1, &["the onion service can't be found"]);
    ended.failed_as("proxy");
    node.stop();
}
