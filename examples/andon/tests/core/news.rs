//! New blocks and reorganisations are announced by our server as Bitcoin Core announces them.

use std::net::SocketAddr;

use andon_bitcoin::server::{Command, Config};
use andon_bitcoin::wire::{CommandName, Message};
use bitcoin::hashes::Hash;
use bitcoin::{Block, BlockHash, Network};
use serde_json::json;

use crate::bitcoind::{Bitcoind, FILTERS};
use crate::common::Node;
use crate::comparison::{describe, headers};
use crate::miner::Miner;
use crate::raw_peer::{RawPeer, bytes};

/// Peers of one node, each of another kind.
struct Listeners(Vec<(&'static str, RawPeer)>);

impl Listeners {
    /// Peers that know the tip because they were told of it, or know of nothing, or of the fork alone.
    fn connect(address: SocketAddr, tip: BlockHash, fork: BlockHash) -> Self {
        let before = |hash| headers(&[], hash);
        let prefers = bytes(&Message::SendHeaders);
        let listener = |name, messages: Vec<Vec<u8>>| {
            let mut peer = RawPeer::introduced(address, true);
            peer.send(&messages.concat());
            assert!(!peer.answers().closed);
            (name, peer)
        };
        Self(vec![
            listener("wants no headers, knows nothing", vec![]),
            listener("wants no headers, knows the tip", vec![before(tip)]),
            listener("wants headers, knows nothing", vec![prefers.clone()]),
            listener("wants headers, knows the fork", vec![prefers.clone(), before(fork)]),
            listener("wants headers, knows the tip", vec![prefers.clone(), before(tip)]),
            listener(
                "wants headers, asked for those after the fork",
                vec![prefers, headers(&[fork], BlockHash::all_zeros())],
            ),
        ])
    }

    /// What each hears next of the chain, as text.
    fn hear(&mut self) -> Vec<String> {
        let is_news = |command| [CommandName::new("headers"), CommandName::new("inv")].contains(&command);
        self.0
            .iter_mut()
            .map(|(name, peer)| {
                let heard = peer.read_until(|answer| is_news(answer.command));
                let heard: Vec<_> =
                    heard.iter().filter(|answer| is_news(answer.command)).map(describe).collect();
                format!("{name}: {}", heard.join(", "))
            })
            .collect()
    }
}

/// Both nodes leave `left` blocks for `new` ones; then each finds one more block.
#[track_caller]
fn compare(left: u32, new: u32) {
    let Some(core) = Bitcoind::start_with(&[&FILTERS[..], &["-v2transport=0"]].concat()) else { return };
    let mut miner = Miner::new(&core);
    let fork = core.height();
    miner.empty(new);
    let branch: Vec<Block> = core.blocks_from(fork + 1);
    let first = branch[0].block_hash().to_string();
    core.call("invalidateblock", json!([first]));
    if left > 0 {
        miner.empty(left);
    }
    let ours = Node::start_with(Config::new(Network::Regtest, [4; 32]), core.blocks_from(0));
    let (tip, fork_hash) = (core.tip().parse().unwrap(), core.hash_at(fork).parse().unwrap());
    let mut of_core = Listeners::connect(core.address, tip, fork_hash);
    let mut of_ours = Listeners::connect(ours.address, tip, fork_hash);

    core.call("reconsiderblock", json!([first]));
    ours.command(Command::Reorganise { fork_height: fork as u32, blocks: branch });
    assert_eq!(of_ours.hear(), of_core.hear(), "{left} blocks left for {new}");
    // Twice, as what was announced before decides how.
    for _ in 0..2 {
        miner.empty(1);
        ours.command(Command::Extend(vec![core.block(&core.tip())]));
        assert_eq!(of_ours.hear(), of_core.hear(), "one more block after {left} were left for {new}");
    }
}

#[test]
fn one_block_is_announced_as_by_core() {
    compare(0, 1);
}

#[test]
fn short_reorganisations_are_announced_as_by_core() {
    compare(1, 2);
    compare(7, 8);
}

#[test]
fn long_reorganisations_are_announced_as_by_core() {
    compare(8, 9);
    compare(19, 20);
}
