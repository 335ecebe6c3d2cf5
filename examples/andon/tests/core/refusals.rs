//! Nodes that can't be synced from: what our program says of them.

use crate::bitcoind::Bitcoind;
use crate::common::run;
use crate::miner::Lock;
use crate::ours::Ours;

#[test]
fn a_node_without_filters_is_named_as_such() {
    let Some(node) = Bitcoind::start_with(&["-blockfilterindex=1", "-peerblockfilters=0"]) else { return };
    let ended = Ours::new(&Lock::series(9, 1)).run(&node);
    ended.failed(1, &[&node.address.to_string(), "services", "-blockfilterindex=1 -peerblockfilters=1"]);
    ended.failed_as("missing_services");
}

#[test]
fn a_node_of_another_network_is_named_as_such() {
    let Some(node) = Bitcoind::start() else { return };
    // With encryption it takes a while to be seen: neither side can read the other's.
    for (network, transport) in [("signet", "v1"), ("mainnet", "prefer-v2"), ("testnet4", "v1")] {
        let ours = Ours::new(&Lock::series(9, 1));
        let ended = run(&mut ours.command(network, node.address, &["--transport", transport]));
        ended.failed(1, &[&node.address.to_string(), "another network", "--network"]);
        ended.failed_as("other_network");
    }
}
