//! Filter headers in ranges between a real node's checkpoints.

use bitcoin::Network;
use bitcoin::consensus::encode::deserialize_hex;
use serde_json::{Value, json};

use crate::bitcoind::Bitcoind;
use crate::common::file::HeaderFile;
use crate::common::{offline, run};
use crate::gate;
use crate::miner::{Lock, Miner};
use crate::ours::Ours;
use crate::view::assert_as_core_knows;

/// Filter headers that are thousands behind are taken in ranges between a real node's checkpoints, from all nodes at once.
#[test]
fn filter_headers_far_behind_come_between_checkpoints() {
    let log = ["-blockfilterindex=1", "-peerblockfilters=1", "-debug=net"];
    let Some(node) = Bitcoind::start_with(&log) else { return };
    let watched = Lock::series(5, 10);
    let mut miner = Miner::new(&node);
    miner.history(120, &watched);
    miner.empty(8600);
    miner.history(40, &watched);
    node.wait_for_filters();
    let Some(other) = Bitcoind::start_with(&log) else { return };
    other.connect(&node);
    other.wait_for_tip(node.tip().parse().unwrap());
    other.wait_for_filters();
    // The block headers are known already, from a file.
    let parameters: Vec<Value> = node.hashes().iter().map(|hash| json!([hash, false])).collect();
    let headers = node.call_each("getblockheader", &parameters);
    let headers = headers.iter().map(|header| deserialize_hex(header.as_str().unwrap()).unwrap()).collect();
    let ours = Ours::new(&watched);
    let file = ours.home().join("headers");
    HeaderFile::new(Network::Regtest, headers, Vec::new()).write(&file);
    let imported = run(offline(ours.home(), "data", &["headers", "import"]).arg(&file));
    assert_eq!((imported.code, imported.stderr.as_str()), (Some(0), ""), "{}", imported.stdout);
    // Whoever answers first waits until the other has been asked as well.
    let held = &[("getcfcheckpt", "cfcheckpt"), ("getcfheaders", "cfheaders")];
    let [way, other_way] = gate::ways([node.address, other.address], held);
    let more = ["--peer", &other_way.to_string(), "--transport", "v1"];
    let ended = run(&mut ours.command("regtest", way, &more));
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{}", ended.stdout);
    assert_as_core_knows(ended.objects().last().unwrap(), &node, &watched);
    let asked = |node: &Bitcoind, message: &str| node.log().matches(&format!("received: {message} ")).count();
    let both = [&node, &other];
    let checkpoints = both.map(|node| asked(node, "getcfcheckpt"));
    let ranges = both.map(|node| asked(node, "getcfheaders"));
    println!("asked for checkpoints: {checkpoints:?} times, for filter headers: {ranges:?} times");
    assert_eq!(checkpoints, [1, 1]);
    // 8,760 filter headers, 2,000 at most at once.
    assert!(ranges.iter().sum::<usize>() >= 5 && !ranges.contains(&0));
}
