//! `--transport` and `--proxy`: how the program reaches its peers.

#![allow(clippy::unwrap_used, reason = "it is a test")]

mod common;

use andon_bitcoin::server;
use bitcoin::Network;
use common::proxy::Proxy;
use common::{Ended, Node, andon, assert_found_everything, blocks, closed, run, sync, watch};

const ONION: &str = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion";

fn node_that(encrypts: bool) -> Node {
    let mut config = server::Config::new(Network::Regtest, [9; 32]);
    config.encryption = encrypts;
    Node::start_with(config, blocks(0..290))
}

/// The transports of the connections that were told.
fn transports(ended: &Ended) -> Vec<String> {
    let objects = ended.objects();
    let connected = objects.iter().filter(|object| object["event"] == "peer_connected");
    connected.map(|object| object["transport"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn connections_are_encrypted_as_far_as_wanted_and_known() {
    for (arguments, encrypts, expected) in [
        (&[][..], true, Some("v2")),
        (&[], false, Some("v1")),
        (&["--transport", "prefer-v2"], true, Some("v2")),
        (&["--transport", "v2"], true, Some("v2")),
        (&["--transport", "v2"], false, None),
        (&["--transport", "v1"], true, Some("v1")),
    ] {
        let home = tempfile::tempdir().unwrap();
        let node = node_that(encrypts);
        let ended = run(&mut sync(home.path(), node.address, arguments));
        match expected {
            Some(transport) => {
                assert_eq!(ended.code, Some(0), "{ended:?}");
                assert_found_everything(&ended.last());
                assert_eq!(transports(&ended), [transport], "{arguments:?}");
            }
            None => {
                ended.failed(1, &["closed the encrypted connection without a word", "--transport prefer-v2"]);
                ended.failed_as("unencrypted");
            }
        }
        node.stop();
    }
}

/// `sync` from a peer of any name, through a proxy.
fn through(home: &std::path::Path, peers: &[&str], proxy: &str, more: &[&str]) -> Ended {
    let mut command = andon(home, ["sync", "--json", "--network", "regtest", "--proxy", proxy]);
    command.args(peers.iter().flat_map(|peer| ["--peer", peer]));
    run(command.args(watch()).arg("--data-dir").arg(home.join("data")).args(more))
}

#[test]
fn everything_goes_through_the_proxy() {
    for encrypts in [true, false] {
        let home = tempfile::tempdir().unwrap();
        let node = node_that(encrypts);
        let proxy = Proxy::start(&[(ONION, node.address), ("node.invalid", node.address)]);
        let address = proxy.address.to_string();
        // A name that nobody else knows, and nobody is asked for.
        let ended = through(home.path(), &["node.invalid:7"], &address, &[]);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
        assert_found_everything(&ended.last());
        let dials = if encrypts { 1 } else { 2 };
        assert_eq!(proxy.met().targets, vec!["node.invalid:7"; dials]);
        assert_eq!(proxy.met().logins, []);
        assert_eq!(transports(&ended), [if encrypts { "v2" } else { "v1" }]);

        let peers = [ONION, &node.address.to_string()];
        let ended = through(home.path(), &peers, &address, &["--proxy-isolation"]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let met = proxy.met();
        assert!(met.targets[dials..].contains(&format!("{ONION}:18444")), "{met:?}");
        let mut logins = met.logins.clone();
        logins.sort();
        logins.dedup();
        assert_eq!(
            (logins.len(), met.logins.len()),
            (met.logins.len(), met.targets.len() - dials),
            "{met:?}"
        );

        let ended = through(home.path(), &[ONION], &format!("me:a secret@{address}"), &[]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert_eq!(proxy.met().logins.last().unwrap(), &("me".to_owned(), "a secret".to_owned()));
        node.stop();
    }
}

#[test]
fn what_fails_about_a_proxy_says_so() {
    let home = tempfile::tempdir().unwrap();
    let nobody = closed().to_string();
    let ended = through(home.path(), &["127.0.0.1:1"], &nobody, &[]);
    ended.failed(1, &["the proxy can't be reached: connection refused", "check the --proxy"]);
    ended.failed_as("proxy");

    let proxy = Proxy::start(&[]);
    let ended = through(home.path(), &[ONION], &proxy.address.to_string(), &[]);
    ended.failed(1, &["the host is unreachable from there"]);
    ended.failed_as("proxy");

    // A Bitcoin node is no proxy.
    let node = node_that(true);
    let ended = through(home.path(), &["127.0.0.1:1"], &node.address.to_string(), &["--timeout", "1"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    node.stop();

    let mut command = andon(home.path(), ["sync", "--json", "--network", "regtest", "--peer", ONION]);
    let ended = run(command.args(watch()).arg("--data-dir").arg(home.path().join("data")));
    ended.failed(1, &["an onion service can be reached through a proxy only", "127.0.0.1:9050"]);
    ended.failed_as("no_proxy");

    // An address of CJDNS is told to no proxy unless that is asked for.
    let before = proxy.met().targets.len();
    for more in [&["--proxy", &proxy.address.to_string()][..], &[]] {
        let cjdns = ["sync", "--json", "--network", "regtest", "--peer", "[fc12::7]:18444"];
        let mut command = andon(home.path(), cjdns);
        let ended = run(command.args(watch()).arg("--data-dir").arg(home.path().join("data")).args(more));
        ended.failed(1, &["this machine is not said to be in that network", "give --cjdns"]);
        ended.failed_as("no_cjdns");
    }

    // And a name of I2P to a router of that network only.
    let there = "ukeu3k5oycgaauneqgtnvselmt4yemvoilkln7jpvamvfx7dnkdq.b32.i2p";
    let router = closed().to_string();
    for (more, kind, texts) in [
        (
            ["--proxy", &proxy.address.to_string()],
            "no_i2p",
            ["through a router of that network only", "127.0.0.1:7656"],
        ),
        (
            ["--i2p-sam", &router],
            "i2p",
            ["the router of I2P can't be reached: connection refused", "check the --i2p-sam"],
        ),
        // A proxy is no router.
        (
            ["--i2p-sam", &proxy.address.to_string()],
            "i2p",
            ["it closed the connection before it had answered", "SAM is on"],
        ),
    ] {
        let mut command = andon(home.path(), ["sync", "--json", "--network", "regtest", "--peer", there]);
        let ended = run(command.args(watch()).arg("--data-dir").arg(home.path().join("data")).args(more));
        ended.failed(1, &texts);
        ended.failed_as(kind);
    }
    assert_eq!(proxy.met().targets.len(), before);
}
