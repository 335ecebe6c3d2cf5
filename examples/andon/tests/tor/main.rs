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

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use common::behind::{self, Behind, assert_synced_from};
use common::{Running, assert_found_everything, run};
use network::TorNetwork;

/// A service that does not exist in this network: its name is one of those in Tor's own documents.
const NOBODY: &str = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion";

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
    let patience = Duration::from_secs(420);
    let Some(Behind { program, home, node }) =
        Behind::enter("TOR_EXE", "a_node_behind_an_onion_service", patience)
    else {
        return;
    };
    let begin = Instant::now();
    let mut tor = TorNetwork::start(program, home.path());
    let onion = tor.serve(node.address);
    let (proxy, mut control) = tor.client();
    println!("the first circuit of the private network stands after {:.1?}", begin.elapsed());
    tor.wait("a way to the onion service", 120, |_| reaches(proxy, &onion).then_some(()));
    println!("its onion service can be reached after {:.1?}", begin.elapsed());

    let way = proxy.to_string();
    let sync =
        |home: &Path, peers: &[&str], more: &[&str]| behind::sync(home, &["--proxy", &way], peers, more);
    let syncing = Instant::now();
    let ended = run(&mut sync(home.path(), &[&onion], &["--proxy-isolation"]));
    assert_synced_from(&ended, &format!("{onion}:18444"));
    println!("290 blocks are synced through {onion} in {:.1?}", syncing.elapsed());

    behind::assert_broadcasts_go_to(home.path(), &["--proxy", &way, "--proxy-isolation"], &onion);

    // Two connections at once, by their logins on two circuits; and without, on one.
    let peers = [format!("{onion}:18444"), format!("{onion}:18445")];
    let peers = peers.each_ref().map(String::as_str);
    for (isolation, circuits) in [("on", 2), ("off", 1)] {
        let home = home.path().join(isolation);
        std::fs::create_dir(&home).unwrap();
        let before = control.circuits();
        let more = ["--proxy-isolation", isolation, "--follow"];
        let mut running = Running::start(&mut sync(&home, &peers, &more));
        for _ in peers {
            running.wait_for("peer_connected", |_| true);
        }
        let after = control.circuits();
        // By their numbers: without a login all are alike.
        let new: Vec<_> = after.iter().filter(|(circuit, _)| !before.contains_key(*circuit)).collect();
        println!(
            "isolation {isolation}: {} circuits to the service before, {new:?} with two peers",
            before.len()
        );
        let logins: BTreeSet<_> = new.iter().map(|(_, login)| login.as_str()).collect();
        if isolation == "on" {
            assert_eq!((new.len(), logins.len()), (circuits, circuits), "{before:?} {after:?}");
            assert!(logins.iter().all(|login| !login.is_empty()), "{logins:?}");
        } else {
            // One for both, or the one that was opened without a login before.
            let without = |login: &String| login.is_empty();
            assert!(new.len() <= circuits && after.values().any(without), "{before:?} {after:?}");
            assert!(logins.iter().all(|login| login.is_empty()), "{logins:?}");
        }
        running.wait_for("synced", |object| object["height"] == 289);
        running.signal("INT");
        assert_found_everything(&running.end().last());
    }

    // Tor says what is the matter, and so does the program.
    let ended = run(&mut sync(home.path(), &[NOBODY], &[]));
    ended.failed(1, &["the onion service can't be found"]);
    ended.failed_as("proxy");
    node.stop();
}
