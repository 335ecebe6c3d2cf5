//! A real destination of I2P: the program, a router for it, a private I2P network, and a node behind a destination of it.
//!
//! The router is the i2pd that the environment variable `I2PD_EXE` names (Debian has a package of that name); without it the
//! test prints so and passes. All of it runs in a network namespace, from which nothing leads out; Linux only.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "it is a test")]
#![allow(
    clippy::disallowed_methods,
    reason = "this test waits for a real network, and says how long that took"
)]

#[path = "../common/mod.rs"]
mod common;
mod network;

use std::time::{Duration, Instant};

use common::behind::{self, Behind, assert_synced_from};
use common::{Ended, Running};
use network::{Destination, I2pNetwork};

/// The destination of nobody.
const NOBODY: &str = "ukeu3k5oycgaauneqgtnvselmt4yemvoilkln7jpvamvfx7dnkdq.b32.i2p";

#[test]
fn a_node_behind_a_destination_of_i2p() {
    let patience = Duration::from_secs(600);
    let Some(Behind { program, home, node }) =
        Behind::enter("I2PD_EXE", "a_node_behind_a_destination_of_i2p", patience)
    else {
        return;
    };
    let begin = Instant::now();
    let mut network = I2pNetwork::start(&program, home.path());
    let destination = Destination::lead_to(node.address, 1, &mut network);
    println!("the node's destination has tunnels after {:.1?}", begin.elapsed());

    let sam = I2pNetwork::sam(0).to_string();
    let sync = |peer: &str| -> Ended {
        let mut command = behind::sync(home.path(), &["--i2p-sam", &sam], &[peer], &["--timeout", "240"]);
        Running::start_within(&mut command, Duration::from_secs(250)).end()
    };
    // A destination that has just been published may not be found at once.
    let mut failures = 0;
    let (ended, took) = loop {
        let syncing = Instant::now();
        let ended = sync(&destination.name);
        if ended.code == Some(0) || failures == 3 {
            break (ended, syncing.elapsed());
        }
        println!("not yet, after {:.1?}: {}", syncing.elapsed(), ended.stderr.trim_end());
        ended.failed_as("i2p");
        network.assert_running();
        failures += 1;
    };
    assert_synced_from(&ended, &format!("{}:0", destination.name));
    println!("290 blocks are synced through {} in {took:.1?}, after {failures} failures", destination.name);

    behind::assert_broadcasts_go_to(home.path(), &["--i2p-sam", &sam], &destination.name);

    // The router says what is the matter, and so does the program.
    let ended = sync(NOBODY);
    ended.failed(1, &["the destination can't be found"]);
    ended.failed_as("i2p");
    node.stop();
}
