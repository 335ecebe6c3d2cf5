//! Addresses of nodes, told by Bitcoin Core: who is found by them, and what is kept. Nodes have public addresses here that
//! only a proxy on this machine knows; nothing is dialled but that.

use std::net::{Ipv4Addr, SocketAddr};

use serde_json::{Value, json};

use crate::bitcoind::{Bitcoind, FILTERS};
use crate::common::proxy::Proxy;
use crate::common::{Running, andon};
use crate::miner::{Lock, Miner};
use crate::ours::{Ours, interrupt, wait_until_synced};
use crate::view::assert_as_core_knows;

const PORT: u16 = 18_444;

/// The names of each node, each in a group of its own: of five that a node knows it tells one.
const NAMES: u8 = 5;

fn place(node: usize, name: u8) -> Ipv4Addr {
    Ipv4Addr::new(60 + node as u8, name, 2, 3)
}

/// Which node's name a peer is.
fn node_of(object: &Value) -> Option<usize> {
    let address: SocketAddr = object["peer"].as_str()?.parse().ok()?;
    let SocketAddr::V4(address) = address else { return None };
    usize::from(address.ip().octets()[0]).checked_sub(60)
}

fn wait_until_found(running: &mut Running, node: usize) {
    running.wait_for("peer_connected", |object| {
        // As the address book of Core has it, which was told no more.
        object["purpose"] == "found" && object["transport"] == "v1" && node_of(object) == Some(node)
    });
}

/// The first node knows the second alone, that the third, and that the first by another name. We are told of the first and find
/// the others one after the other; the next time we are told of nobody, and find them by what we have kept.
#[test]
fn nodes_are_found_by_what_others_tell() {
    let nodes: Option<Vec<Bitcoind>> =
        (0..3).map(|_| Bitcoind::start_with(&[&FILTERS[..], &["-v2transport=1"]].concat())).collect();
    let Some(nodes) = nodes else { return };
    // Before anybody asks for addresses: what a node answers first it answers for a day.
    for (number, node) in nodes.iter().enumerate() {
        // Where a name's place in the node's book is taken, another one is given.
        let mut known = 0;
        for name in 1..100 {
            let told = place((number + 1) % 3, name).to_string();
            known += u8::from(node.call("addpeeraddress", json!([told, PORT, false]))["success"] == true);
            if known == NAMES {
                break;
            }
        }
        assert_eq!(known, NAMES);
    }
    let watched = Lock::series(41, 10);
    let mut miner = Miner::new(&nodes[0]);
    miner.history(120, &watched);
    for node in &nodes[1..] {
        node.connect(&nodes[0]);
        node.wait_for_tip(nodes[0].tip().parse().unwrap());
    }
    nodes.iter().for_each(Bitcoind::wait_for_filters);
    let names: Vec<(String, SocketAddr)> = (0..3)
        .flat_map(|node| (0..100).map(move |name| (node, name)))
        .map(|(node, name)| (format!("{}:{PORT}", place(node, name)), nodes[node].address))
        .collect();
    let names: Vec<(&str, SocketAddr)> = names.iter().map(|(name, node)| (&name[..], *node)).collect();
    let proxy = Proxy::start(&names);
    let address = proxy.address.to_string();
    let ours = Ours::new(&watched);
    let more = ["--proxy", &address, "--no-dns-seeds", "--follow", "--discover", "--connections", "3"];
    let given = SocketAddr::from((place(0, 0), PORT));
    let mut running = Running::start(&mut ours.command("regtest", given, &more));
    [1, 2, 0].into_iter().for_each(|node| wait_until_found(&mut running, node));
    wait_until_synced(&mut running, &nodes[0].tip());
    // They work: a block of one of them comes.
    miner.history(3, &watched);
    wait_until_synced(&mut running, &nodes[0].tip());
    let objects = interrupt(running);
    assert_as_core_knows(objects.last().unwrap(), &nodes[0], &watched);
    let dials = proxy.met().targets.len();
    assert!((4..20).contains(&dials), "{:?}", proxy.met().targets);

    let mut command = andon(ours.home(), ["sync", "--json", "--network", "regtest"]);
    command.arg("--scripts").arg(ours.home().join("scripts"));
    command.arg("--data-dir").arg(ours.home().join("data")).args(more);
    let mut running = Running::start(&mut command);
    wait_until_synced(&mut running, &nodes[0].tip());
    miner.history(2, &watched);
    wait_until_synced(&mut running, &nodes[0].tip());
    let objects = interrupt(running);
    assert_as_core_knows(objects.last().unwrap(), &nodes[0], &watched);
    let connected: Vec<&Value> =
        objects.iter().filter(|object| object["event"] == "peer_connected").collect();
    let found = connected.iter().filter_map(|object| node_of(object)).count();
    // They have said themselves since that they know encryption.
    assert!(
        connected.iter().all(|object| object["purpose"] == "found" && object["transport"] == "v2"),
        "{connected:?}"
    );
    println!("{dials} dials the first time; {found} nodes the second time, told of nobody");
    assert!((1..=3).contains(&found));
}
