//! Real headers from each network's first block on: mainnet's first retargets, testnet3's minimum-difficulty blocks,
//! signet. They keep every rule; with one of them left out or changed they do not.

mod common;
mod desk;

use std::path::Path;

use andon_bitcoin::client::{Config, Endpoint, Event, Misbehaviour, Reason};
use andon_bitcoin::wire::{MAX_HEADERS, Message};
use bitcoin::block::Header;
use bitcoin::consensus::deserialize;
use bitcoin::{CompactTarget, Network};
use desk::{Desk, peer_address};

fn headers(folder: &Path, file: &str) -> Vec<Header> {
    let bytes = common::read(&folder.join("headers").join(file));
    bytes.chunks_exact(80).map(|header| deserialize(header).expect("80 bytes are a header")).collect()
}

/// Gives a client headers from the one after the first block on. Returns the height that it reached, and why not all.
fn give(network: Network, headers: &[Header]) -> (u32, Option<Reason>) {
    let mut config = Config::new(network, [3; 32]);
    config.peers = vec![Endpoint::Address(peer_address(0))];
    let mut desk = Desk::with(config);
    let conn = desk.dialled[0];
    desk.handshake(conn, headers.len() as i32);
    for message in headers.chunks(MAX_HEADERS) {
        if desk.closed.is_empty() {
            desk.receive(conn, &Message::Headers(message.into()));
            desk.pass(std::time::Duration::from_millis(200));
        }
    }
    let height = desk.events.iter().rev().find_map(|event| match event {
        Event::Progress(progress) => Some(progress.headers.done),
        _ => None,
    });
    (height.unwrap_or(0), desk.farewell())
}

#[test]
fn real_chains_keep_the_rules() {
    let Some(folder) = common::chain_data() else { return };
    let chains = [
        (Network::Bitcoin, "main-0-10236.bin.xz", 10_236),
        (Network::Testnet, "testnet3-0-35141.bin.xz", 35_141),
        (Network::Signet, "signet-0-2016.bin.xz", 2016),
    ];
    for (network, file, height) in chains {
        let headers = headers(&folder, file);
        assert_eq!(give(network, &headers[1..]), (height, None), "{network}");
    }
}

#[test]
fn a_changed_header_is_noticed_where_it_is() {
    let Some(folder) = common::chain_data() else { return };
    let wrong = Some(Reason::Misbehaved(Misbehaviour::WrongProofOfWork));
    let main = headers(&folder, "main-0-10236.bin.xz");
    let testnet = headers(&folder, "testnet3-0-35141.bin.xz");
    // The least difficulty is testnet's to allow, and only after twenty minutes.
    let minimum = CompactTarget::from_consensus(0x1d00_ffff);
    let late = (2017..testnet.len())
        .find(|&height| testnet[height].bits == minimum && testnet[height - 1].bits != minimum)
        .expect("testnet3 has such blocks");
    let mut hurried = testnet[1..=late].to_vec();
    hurried[late - 1].time = hurried[late - 2].time + 1;
    assert_eq!(give(Network::Testnet, &hurried).1, wrong);
    // A block in the middle that claims another difficulty than its period's.
    let mut easy = main[1..5000].to_vec();
    easy[4000].bits = CompactTarget::from_consensus(0x207f_ffff);
    let (height, reason) = give(Network::Bitcoin, &easy);
    assert_eq!((height, reason), (4000, wrong));
}
