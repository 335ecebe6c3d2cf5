//! Encrypted connections (BIP324) with Bitcoin Core at the other end, and what is done where it does not take them; all of
//! it through a proxy too.

use andon_bitcoin::server::Config;
use bitcoin::Network;
use serde_json::{Value, json};

use crate::bitcoind::{Bitcoind, FILTERS, wait_for};
use crate::common::proxy::Proxy;
use crate::common::{FIXTURE, Node, Running, blocks, run};
use crate::miner::{Lock, Miner};
use crate::ours::{Ours, interrupt, wait_until_synced};
use crate::view::assert_as_core_knows;

const ONION: &str = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion";

fn node(encrypts: bool) -> Option<Bitcoind> {
    let encryption = if encrypts { "-v2transport=1" } else { "-v2transport=0" };
    Bitcoind::start_with(&[&FILTERS[..], &[encryption]].concat())
}

/// How the node's only peer speaks, as the node has it.
fn transport_of(node: &Bitcoind) -> String {
    let peers = wait_for("the only peer", || {
        let peers = node.call("getpeerinfo", json!([]));
        (peers.as_array().unwrap().len() == 1).then_some(peers)
    });
    peers[0]["transport_protocol_type"].as_str().unwrap().to_owned()
}

#[test]
fn core_is_found_the_same_over_either_transport() {
    for encrypts in [true, false] {
        let Some(node) = node(encrypts) else { return };
        let watched = Lock::series(31, 10);
        let mut miner = Miner::new(&node);
        miner.history(150, &watched);
        node.wait_for_filters();
        let cases: &[(&[&str], &str)] = match encrypts {
            true => &[(&[], "v2"), (&["--transport", "v2"], "v2"), (&["--transport", "v1"], "v1")],
            false => &[(&[], "v1"), (&["--transport", "v1"], "v1")],
        };
        for (arguments, expected) in cases {
            let proxy = Proxy::start(&[(ONION, node.address)]);
            for through in [false, true] {
                let ours = Ours::new(&watched);
                let proxy = proxy.address.to_string();
                let more: &[&str] = if through { &["--proxy", &proxy, "--proxy-isolation"] } else { &[] };
                let more = [*arguments, more, &["--follow"]].concat();
                let mut running = Running::start(&mut ours.command("regtest", node.address, &more));
                wait_until_synced(&mut running, &node.tip());
                assert_eq!(transport_of(&node), *expected, "{encrypts} {more:?}");
                // New blocks come over it as well.
                miner.history(2, &watched);
                wait_until_synced(&mut running, &node.tip());
                let objects = interrupt(running);
                let connected: Vec<&Value> =
                    objects.iter().filter(|object| object["event"] == "peer_connected").collect();
                let told: Vec<&str> =
                    connected.iter().filter_map(|object| object["transport"].as_str()).collect();
                assert_eq!(told, [*expected], "{encrypts} {more:?}");
                assert_as_core_knows(objects.last().unwrap(), &node, &watched);
                wait_for("the end of the connection", || {
                    node.call("getpeerinfo", json!([])).as_array().unwrap().is_empty().then_some(())
                });
            }
            // As an onion service, which the proxy alone knows.
            let ours = Ours::new(&watched);
            let mut command = ours.command("regtest", node.address, arguments);
            command.args(["--peer", ONION, "--proxy", &proxy.address.to_string()]);
            let ended = run(&mut command);
            assert_eq!(ended.code, Some(0), "{ended:?}");
            assert!(proxy.met().targets.iter().any(|target| target.starts_with(ONION)));
        }
        if !encrypts {
            let ours = Ours::new(&watched);
            let ended = run(&mut ours.command("regtest", node.address, &["--transport", "v2"]));
            ended.failed(1, &["closed the encrypted connection without a word"]);
        }
    }
}

/// Core dials our server, and speaks as both can: it falls back by itself.
#[test]
fn core_dials_our_server_over_either_transport() {
    for (core, ours, expected) in
        [(true, true, "v2"), (true, false, "v1"), (false, true, "v1"), (false, false, "v1")]
    {
        let mut config = Config::new(Network::Regtest, [33; 32]);
        config.encryption = ours;
        let server = Node::start_with(config, blocks(0..FIXTURE.chain.len() as u32));
        let encryption = if core { "-v2transport=1" } else { "-v2transport=0" };
        let connect = format!("-connect={}", server.address);
        let Some(node) = Bitcoind::start_with(&[&connect, encryption]) else { return };
        node.wait_for_tip(FIXTURE.chain[289].hash());
        assert_eq!(transport_of(&node), expected, "Core: {core}, ours: {ours}");
        server.stop();
    }
}
