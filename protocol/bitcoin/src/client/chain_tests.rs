//! The chain alone: most work, ties, locators, the window, what is stored and taken up again.

use std::vec::Vec;

use andon_kernel::UnixTime;
use bitcoin::block::{Header, Version};
use bitcoin::hashes::Hash;
use bitcoin::{BlockHash, CompactTarget, Network, TxMerkleNode};

use super::super::rules::HeaderError;
use super::{Chain, MAX_BRANCH_HEADERS, SLACK, Stop, WINDOW};

const NOW: UnixTime = UnixTime::from_secs(1_900_000_000);

/// `count` headers after `parent`, a minute apart, with regtest's proof of work; branches with other tags differ.
fn mined(parent: &Header, count: u32, tag: u8) -> Vec<Header> {
    let mut parent = *parent;
    (0..count)
        .map(|_| {
            parent = mine(&parent, parent.time + 60, tag);
            parent
        })
        .collect()
}

fn mine(parent: &Header, time: u32, tag: u8) -> Header {
    let mut header = Header {
        version: Version::from_consensus(4),
        prev_blockhash: parent.block_hash(),
        merkle_root: TxMerkleNode::from_byte_array([tag; 32]),
        time,
        bits: CompactTarget::from_consensus(0x207f_ffff),
        nonce: 0,
    };
    while !header.target().is_met_by(header.block_hash()) {
        header.nonce += 1;
    }
    header
}

fn new() -> (Chain, Header) {
    let chain = Chain::new(Network::Regtest);
    let genesis = *chain.at(0).expect("the first block is there").0;
    (chain, genesis)
}

#[test]
fn most_work_wins_and_the_first_seen_on_a_tie() {
    let (mut chain, genesis) = new();
    let first = mined(&genesis, 5, 1);
    let second = mined(&genesis, 6, 2);
    assert_eq!(chain.extend(first.iter().copied(), NOW).changed_from, Some(1));
    let tie = chain.extend(second[..5].iter().copied(), NOW);
    assert_eq!((tie.changed_from, tie.left), (None, None));
    assert_eq!(chain.tip().hash, first[4].block_hash());
    let won = chain.extend(second[5..].iter().copied(), NOW);
    assert_eq!(won.changed_from, Some(1));
    assert_eq!(won.left.map(|tip| tip.hash), Some(first[4].block_hash()));
    assert_eq!(chain.tip().hash, second[5].block_hash());
    // And back: what was left is still known, and needs no more than what is new.
    let more = mined(&first[4], 2, 1);
    let back = chain.extend(more.iter().copied(), NOW);
    assert_eq!((back.changed_from, chain.tip_height()), (Some(1), 7));
    assert_eq!(chain.common(super::BlockId { height: 6, hash: second[5].block_hash() }), Some(0));
    for (height, header) in (1..).zip(first.iter().chain(&more)) {
        assert_eq!(chain.at(height).map(|(_, hash)| hash), Some(header.block_hash()));
    }
}

#[test]
fn a_locator_is_newest_first_and_ever_sparser() {
    let (mut chain, genesis) = new();
    assert_eq!(chain.locator(0), [genesis.block_hash()]);
    let headers = mined(&genesis, 5000, 0);
    chain.extend(headers.iter().copied(), NOW);
    let locator = chain.locator(4999);
    let heights: Vec<u32> =
        locator.iter().map(|hash| chain.height_of(hash).expect("it is in the chain")).collect();
    assert_eq!(heights[..12], [4999, 4998, 4997, 4996, 4995, 4994, 4993, 4992, 4991, 4990, 4988, 4984]);
    assert_eq!(heights.last(), Some(&0));
    assert!(heights.is_sorted_by(|higher, lower| higher > lower));
    assert!(locator.len() <= 25, "{}", locator.len());
}

#[test]
fn the_window_is_bounded_and_what_began_below_it_is_let_go() {
    let (mut chain, genesis) = new();
    let trunk = mined(&genesis, WINDOW + SLACK + 100, 0);
    // A branch from far below, that reaches into what will be the window.
    let base = (SLACK + 100) as usize;
    let branch = mined(&trunk[base - 300], 400, 1);
    chain.extend(trunk[..base + 200].iter().copied(), NOW);
    chain.extend(branch[..350].iter().copied(), NOW);
    assert!(chain.find(&branch[349].block_hash()).is_some());
    for message in trunk[base + 200..].chunks(2000) {
        chain.extend(message.iter().copied(), NOW);
    }
    assert!(chain.window.len() <= (WINDOW + SLACK) as usize);
    assert_eq!(chain.at(5), None);
    assert!(chain.find(&branch[349].block_hash()).is_none());
    let late = chain.extend(branch[350..].iter().copied(), NOW);
    assert_eq!(late.stopped, Some(Stop::Unconnected));
    let locator = chain.locator(chain.tip_height());
    assert_eq!(locator.last(), Some(&genesis.block_hash()));
}

#[test]
fn branches_have_an_end() {
    let (mut chain, genesis) = new();
    chain.extend(mined(&genesis, 3, 0).into_iter(), NOW);
    let mut stopped = None;
    for number in 0..=MAX_BRANCH_HEADERS as u32 {
        let header = mine(&genesis, genesis.time + 1 + number, 9);
        stopped = chain.extend([header].into_iter(), NOW).stopped;
        if stopped.is_some() {
            break;
        }
    }
    assert_eq!(stopped, Some(Stop::TooManyBranches));
    assert_eq!(chain.branches.len(), MAX_BRANCH_HEADERS);
    assert_eq!(chain.tip_height(), 3);
}

#[test]
fn what_was_stored_is_taken_up_as_it_was() {
    let (mut chain, genesis) = new();
    let headers = mined(&genesis, 700, 0);
    chain.extend(headers.iter().copied(), NOW);
    let all: Vec<Header> = std::iter::once(genesis).chain(headers.iter().copied()).collect();
    for from in [0, 1, 300] {
        let upper = &all[from..];
        let restored = Chain::restore(Network::Regtest, 700, chain.work(), upper).expect("it is a chain");
        assert_eq!((restored.tip(), restored.work()), (chain.tip(), chain.work()));
        for height in from as u32..=700 {
            assert_eq!(
                restored.entry(height).map(|entry| entry.work),
                chain.entry(height).map(|entry| entry.work)
            );
        }
    }
    let mut gap = all.clone();
    gap.remove(350);
    assert!(Chain::restore(Network::Regtest, 699, chain.work(), &gap).is_none(), "a header is missing");
    assert!(Chain::restore(Network::Regtest, 5, chain.work(), &all).is_none(), "more headers than heights");
    assert!(
        Chain::restore(Network::Signet, 700, chain.work(), &all).is_none(),
        "another network's first block"
    );
    assert!(
        Chain::restore(Network::Regtest, 700, genesis.work(), &all[1..]).is_none(),
        "less work than it has"
    );
    assert!(Chain::restore(Network::Regtest, 700, chain.work(), &[]).is_none(), "nothing");
}

#[test]
fn a_list_is_taken_up_to_what_is_wrong_with_it() {
    let (mut chain, genesis) = new();
    let headers = mined(&genesis, 20, 0);
    let mut early = headers.clone();
    early[15] = mine(&headers[14], headers[9].time, 0);
    let table: [(Vec<Header>, u32, Stop); 3] = [
        ([&headers[..5], &headers[6..]].concat(), 5, Stop::Discontinuous),
        (early, 15, Stop::Invalid(HeaderError::Forbidden)),
        (mined(&mine(&genesis, 9, 9), 2, 0), 0, Stop::Unconnected),
    ];
    for (list, height, stop) in table {
        let mut chain = new().0;
        let extension = chain.extend(list.into_iter(), NOW);
        assert_eq!((chain.tip_height(), extension.stopped), (height, Some(stop)));
    }
    let soon = UnixTime::from_secs(u64::from(headers[9].time) - 2 * 60 * 60);
    let extension = chain.extend(headers.iter().copied(), soon);
    assert_eq!((chain.tip_height(), extension.stopped), (10, Some(Stop::Invalid(HeaderError::NotYet))));
    assert_eq!(chain.extend(headers.iter().copied(), NOW).stopped, None);
    assert_eq!(chain.tip_height(), 20);
    let unknown = super::BlockId { height: 3, hash: BlockHash::all_zeros() };
    assert_eq!(chain.common(unknown), None);
}
