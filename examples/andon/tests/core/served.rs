//! Bitcoin Core syncs from our server, and follows it.

use bitcoin::{Block, Network};

use andon_bitcoin::server::{Command, Config};

use crate::bitcoind::Bitcoind;
use crate::common::{FIXTURE, Node, blocks, stale_blocks};

fn tip(blocks: &[Block]) -> bitcoin::BlockHash {
    blocks.last().unwrap().block_hash()
}

fn core_of(server: &Node) -> Option<Bitcoind> {
    Bitcoind::start_with(&[&format!("-connect={}", server.address)])
}

#[test]
fn core_syncs_the_fixture_from_our_server_alone() {
    let all = blocks(0..FIXTURE.chain.len() as u32);
    let server = Node::start(all.clone());
    let Some(node) = core_of(&server) else { return };
    node.wait_for_tip(tip(&all));
    assert_eq!(node.height(), 289);
    let peers = node.call("getpeerinfo", serde_json::json!([]));
    println!("{} blocks from {} over {}", all.len(), peers[0]["subver"], peers[0]["transport_protocol_type"]);
    assert_eq!(peers.as_array().unwrap().len(), 1);
    assert_eq!(peers[0]["addr"], server.address.to_string());
}

#[test]
fn core_follows_our_server() {
    let fork = FIXTURE.fork_height;
    let real = blocks(fork + 1..FIXTURE.chain.len() as u32);
    let stale = stale_blocks();
    let server = Node::start_with(Config::new(Network::Regtest, [5; 32]), blocks(0..=fork - 10));
    let Some(node) = core_of(&server) else { return };
    node.wait_for_tip(FIXTURE.chain[fork as usize - 10].hash());
    // One by one, as headers.
    for height in fork - 9..fork {
        server.command(Command::Extend(blocks([height])));
        node.wait_for_tip(FIXTURE.chain[height as usize].hash());
    }
    server.command(Command::Extend([blocks([fork]), stale.clone()].concat()));
    node.wait_for_tip(tip(&stale));
    server.command(Command::Reorganise { fork_height: fork, blocks: real.clone() });
    node.wait_for_tip(tip(&real));
    assert_eq!(node.height(), 289);
    let tips = node.call("getchaintips", serde_json::json!([]));
    let has = |hash: bitcoin::BlockHash, status: &str| {
        let mut tips = tips.as_array().unwrap().iter();
        tips.any(|tip| tip["hash"] == hash.to_string() && tip["status"] == status)
    };
    assert!(has(tip(&real), "active") && has(tip(&stale), "valid-fork"), "{tips}");
}

/// More than 8 at once are announced as an `inv` of the tip, and Core asks for the rest.
#[test]
fn core_takes_a_burst_from_our_server() {
    let all = blocks(0..FIXTURE.chain.len() as u32);
    let server = Node::start(all[..200].to_vec());
    let Some(node) = core_of(&server) else { return };
    node.wait_for_tip(tip(&all[..200]));
    server.command(Command::Extend(all[200..230].to_vec()));
    node.wait_for_tip(tip(&all[..230]));
    server.command(Command::Extend(all[230..].to_vec()));
    node.wait_for_tip(tip(&all));
}
