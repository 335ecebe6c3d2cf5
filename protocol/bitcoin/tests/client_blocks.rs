//! Blocks that the application fetches: of the best chain, whole, from whoever has them, beside what is searched.
#![allow(clippy::unwrap_used, reason = "a test that can not go on has failed")]

mod lab;

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use andon_bitcoin::client::{
    Birthday, BlockId, Command, Event, HeaderQuery, Misbehaviour, PeerPurpose, Reason,
};
use bitcoin::consensus::deserialize;
use bitcoin::hashes::Hash;
use bitcoin::{Block, BlockHash};
use lab::chain::script;
use lab::{Asked, Chain, Lab, Peer, config};

const TIP: u32 = 300;

fn chain() -> Chain {
    let mut chain = Chain::new();
    chain.grow_blocks(TIP, 1, |height| script(u64::from(height)));
    chain
}

/// A client that is at the tip of its peers' chain and watches nothing.
fn synced(chain: &Rc<Chain>, peers: usize) -> Lab {
    let mut lab = Lab::new(config(peers), (0..peers).map(|_| Peer::new(chain)).collect());
    lab.run_until("all peers' headers", |lab| {
        lab.progress.headers.done == chain.height()
            && lab.events.iter().filter(|event| matches!(event, Event::PeerConnected { .. })).count() == peers
    });
    lab.run_for(Duration::from_secs(2));
    lab
}

fn fetch(lab: &mut Lab, query: HeaderQuery) {
    lab.command(Command::FetchBlock(query));
}

type Fetched = (HeaderQuery, Option<(BlockId, Block)>);

fn fetched(lab: &Lab) -> Vec<Fetched> {
    let blocks = lab.events.iter().filter_map(|event| match event {
        Event::Block { query, found } => Some((*query, found.clone())),
        _ => None,
    });
    blocks.collect()
}

/// What is to come of a query for the block at this height.
fn answer(query: HeaderQuery, chain: &Chain, height: u32) -> Fetched {
    let block = deserialize(&chain.body(height).unwrap().block).unwrap();
    (query, Some((chain.block(height), block)))
}

fn at(height: u32) -> HeaderQuery {
    HeaderQuery::Height(height)
}

/// Blocks that were asked for, in order; of how many peers.
fn asked(lab: &Lab) -> (Vec<u32>, usize) {
    let mut peers = BTreeSet::new();
    let mut blocks = Vec::new();
    for (_, peer, asked) in &lab.asked {
        if let Asked::Blocks(heights) = asked {
            peers.insert(*peer);
            blocks.extend(heights);
        }
    }
    (blocks, peers.len())
}

#[test]
fn a_block_is_fetched_by_height_and_by_hash() {
    let chain = Rc::new(chain());
    let mut lab = synced(&chain, 2);
    let mut expected = Vec::new();
    for height in [0, 1, 150, TIP] {
        for query in [at(height), HeaderQuery::Hash(chain.hash(height))] {
            fetch(&mut lab, query);
            expected.push(answer(query, &chain, height));
            lab.run_until("the block", |lab| fetched(lab).len() == expected.len());
        }
    }
    let unknown = [at(TIP + 1), at(u32::MAX), HeaderQuery::Hash(BlockHash::all_zeros())];
    for query in unknown {
        fetch(&mut lab, query);
        expected.push((query, None));
        lab.run_until("the answer", |lab| fetched(lab).len() == expected.len());
    }
    assert_eq!(fetched(&lab), expected);
    assert_eq!(lab.farewells(), []);
}

#[test]
fn each_request_has_its_answer_and_a_block_comes_once() {
    let chain = Rc::new(chain());
    let mut lab = synced(&chain, 1);
    for _ in 0..3 {
        fetch(&mut lab, at(7));
        fetch(&mut lab, HeaderQuery::Hash(chain.hash(7)));
    }
    lab.run_until("six answers", |lab| fetched(lab).len() == 6);
    lab.run_for(Duration::from_secs(10));
    for (query, found) in fetched(&lab) {
        assert_eq!((query, found), answer(query, &chain, 7));
    }
    assert_eq!(fetched(&lab).len(), 6);
    assert_eq!(asked(&lab).0, [7]);
}

#[test]
fn a_few_are_asked_for_at_a_time_of_several_peers() {
    let chain = Rc::new(chain());
    let mut lab = synced(&chain, 3);
    lab.latency = Duration::from_millis(100);
    for height in 1..=60 {
        fetch(&mut lab, at(height));
    }
    lab.run_for(Duration::from_millis(50));
    assert_eq!(asked(&lab).0.len(), 0, "the requests are on their way");
    let (mut most, mut came) = (0, 0);
    lab.run_until("all of them", |lab| {
        came = fetched(lab).len();
        most = most.max(asked(lab).0.len() - came.min(asked(lab).0.len()));
        came == 60
    });
    let (blocks, peers) = asked(&lab);
    assert_eq!(blocks.iter().copied().collect::<BTreeSet<u32>>(), (1..=60).collect());
    assert!(most <= 4, "{most} at a time");
    assert_eq!(peers, 3, "each is drawn");
}

#[test]
fn a_block_that_one_lacks_and_one_changes_comes_from_the_third() {
    let chain = Rc::new(chain());
    let mut lab = synced(&chain, 3);
    lab.peers[0].lacks = (0..=TIP).collect();
    lab.peers[1].mutates = (0..=TIP).collect();
    for height in 100..120 {
        fetch(&mut lab, at(height));
    }
    lab.run_until("all of them", |lab| fetched(lab).len() == 20);
    let mut came = fetched(&lab);
    came.sort_by_key(|(_, found)| found.as_ref().unwrap().0.height);
    let expected: Vec<Fetched> = (100..120).map(|height| answer(at(height), &chain, height)).collect();
    assert_eq!(came, expected);
    let wrong = Reason::Misbehaved(Misbehaviour::WrongBlock);
    assert!(lab.farewells().iter().all(|(peer, reason)| (peer, reason) == (&lab::endpoint(1), &wrong)));
    assert!(!lab.farewells().is_empty(), "the one that changes blocks is let go");
}

/// Nobody has the block of the application: it waits, and what is searched does not wait with it.
#[test]
fn what_nobody_has_holds_nothing_up() {
    let chain = Rc::new(chain());
    let mut lab = synced(&chain, 2);
    for peer in &mut lab.peers {
        peer.lacks = vec![3, 4, 5, 6, 7, 8];
    }
    for height in 3..=8 {
        fetch(&mut lab, at(height));
    }
    lab.run_for(Duration::from_secs(5));
    // Many match, so that what waits for blocks before is as much as can be.
    let scripts = (20..=TIP).map(|height| script(u64::from(height))).collect();
    lab.command(Command::Watch { scripts, from: Birthday::Height(0) });
    let matched = |lab: &Lab| lab.events.iter().filter(|event| matches!(event, Event::Matched(_))).count();
    lab.run_until("the search", |lab| matched(lab) as u32 == TIP - 19);
    assert_eq!(fetched(&lab), []);
    fetch(&mut lab, at(250));
    lab.peers[1].lacks.clear();
    lab.run_until("the rest", |lab| fetched(lab).len() == 7);
    assert_eq!(lab.farewells(), []);
}

/// The search and the application want the same: it is fetched once, and stays wanted when the search gives it up.
#[test]
fn the_search_and_the_application_share_a_block() {
    let chain = Rc::new(chain());
    let mut lab = synced(&chain, 1);
    lab.command(Command::Watch { scripts: vec![script(200)], from: Birthday::Height(0) });
    fetch(&mut lab, at(200));
    let touched = |lab: &Lab| lab.events.iter().filter(|event| matches!(event, Event::Touched(_))).count();
    lab.run_until("both", |lab| fetched(lab).len() == 1 && touched(lab) == 1);
    assert_eq!(fetched(&lab), [answer(at(200), &chain, 200)]);

    let mut lab = synced(&chain, 1);
    lab.peers[0].keeps_back = vec![100];
    lab.command(Command::Watch { scripts: vec![script(100)], from: Birthday::Height(0) });
    lab.run_until("the request", |lab| asked(lab).0.contains(&100));
    fetch(&mut lab, at(100));
    lab.command(Command::Unwatch { scripts: vec![script(100)], outputs: Vec::new() });
    lab.run_for(Duration::from_secs(1));
    lab.peers[0].keeps_back.clear();
    lab.run_until("the block", |lab| fetched(lab).len() == 1);
    assert_eq!(fetched(&lab), [answer(at(100), &chain, 100)]);
    assert_eq!(touched(&lab), 0);
}

#[test]
fn a_reorganisation_answers_with_the_chain_as_it_is() {
    let old = Rc::new(chain());
    let mut lab = synced(&old, 1);
    lab.peers[0].keeps_back = vec![290, 295];
    let lost = HeaderQuery::Hash(old.hash(295));
    for query in [at(290), at(295), lost] {
        fetch(&mut lab, query);
    }
    lab.run_until("the requests", |lab| [290, 295].iter().all(|height| asked(lab).0.contains(height)));
    let mut new = old.cut(291);
    new.grow_blocks(20, 2, |_| script(1));
    let new = Rc::new(new);
    lab.peers[0].keeps_back.clear();
    lab.switch(0, &new);
    lab.announce(0);
    lab.run_until("three answers", |lab| fetched(lab).len() == 3);
    let mut came = fetched(&lab);
    came.sort_by_key(|(query, _)| *query == at(295));
    came.sort_by_key(|(_, found)| found.is_none());
    assert_eq!(came, [answer(at(290), &old, 290), answer(at(295), &new, 295), (lost, None)]);
    assert_eq!(lab.farewells(), []);
}

#[test]
fn a_peer_that_goes_is_replaced_and_comes_again() {
    let chain = Rc::new(chain());
    let mut lab = synced(&chain, 1);
    lab.peers[0].keeps_back = vec![9];
    fetch(&mut lab, at(9));
    lab.run_until("the request", |lab| asked(lab).0 == [9]);
    lab.cut(0);
    lab.peers[0].keeps_back.clear();
    lab.run_until("the block", |lab| fetched(lab).len() == 1);
    assert_eq!(fetched(&lab), [answer(at(9), &chain, 9)]);
    let again =
        |event: &&Event| matches!(event, Event::PeerConnected { purpose: PeerPurpose::Configured, .. });
    assert_eq!(lab.events.iter().filter(again).count(), 2);
}
