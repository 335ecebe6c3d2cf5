//! Filter headers from several peers at once, and what lies about them come to: each range is proven by the checkpoints that
//! its sender has named itself, so its own word convicts it.
//!
//! `ANDON_SEEDS` is how many random worlds there are, `ANDON_FIRST_SEED` the first.
#![allow(clippy::unwrap_used, reason = "a test that can not go on has failed")]

mod lab;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use andon_bitcoin::client::{Birthday, Command, Event, Misbehaviour, Reason};
use andon_bitcoin::filter;
use andon_bitcoin::wire::CommandName;
use andon_kernel::Rng;
use bitcoin::hashes::Hash;
use bitcoin::{FilterHash, FilterHeader};
use lab::chain::script;
use lab::filter_headers::{
    LIE, branch, chain_with_blocks, filter_headers, honest, number, sending, soon, stored, sync, world,
};
use lab::peer::Given;
use lab::{Asked, Chain, Lab, Peer, config, endpoint};

fn misbehaved(misbehaviour: Misbehaviour) -> Reason {
    Reason::Misbehaved(misbehaviour)
}

fn hiding(chain: &Chain) -> Rc<Chain> {
    Rc::new(chain.with_filter(LIE, filter::build(&chain.hash(LIE), core::iter::empty::<&[u8]>())))
}

/// A peer that names other checkpoints than its chain has, from the height `from` on.
fn naming(chain: &Rc<Chain>, from: u32) -> Peer {
    let mut peer = Peer::new(chain);
    peer.names = Box::new(move |chain, height| {
        let named = (1..).zip(chain.checkpoints(height));
        let lie = FilterHeader::from_byte_array([7; 32]);
        Some(named.map(|(number, header)| if number * 1000 >= from { lie } else { header }).collect())
    });
    peer
}

fn other_hash(hashes: &mut [FilterHash], place: usize) {
    hashes[place] = FilterHash::from_byte_array([9; 32]);
}

/// Checkpoints that are right and filter headers that are not: its own word convicts who sends them, and the others give
/// what it did not.
#[test]
fn who_does_not_lead_to_its_own_checkpoint_is_let_go() {
    const TIP: u32 = 60_000;
    let chain = Rc::new(Chain::with_height(TIP, 0));
    type Lie = fn(&mut FilterHeader, &mut Vec<FilterHash>);
    let table: [(&str, Lie); 4] = [
        ("the first", |_, hashes| other_hash(hashes, 0)),
        ("one in the middle", |_, hashes| other_hash(hashes, 700)),
        ("the last", |_, hashes| {
            let last = hashes.len() - 1;
            other_hash(hashes, last);
        }),
        ("what they follow from", |previous, _| *previous = FilterHeader::from_byte_array([9; 32])),
    ];
    for (what, lie) in table {
        for who in [0, 1, 3] {
            let mut lab = world(&chain, honest(4, &chain));
            lab.peers[who] = sending(&chain, 20_000, lie);
            sync(&mut lab, &chain);
            let [(ref whose, Reason::Misbehaved(Misbehaviour::ContradictsOwnFilterHeader(height)))] =
                lab.farewells()[..]
            else {
                panic!("{what} of {who}: {:?}", lab.farewells())
            };
            assert_eq!(*whose, endpoint(who), "{what}");
            assert!(height >= 20_000 && height.is_multiple_of(1000), "{what}: {height}");
            assert!(stored(&lab) == filter_headers(&chain, 0), "{what} of {who}");
        }
    }
}

/// A peer that gives another number of filter headers than it was asked for, or some that it was not.
#[test]
fn answers_that_fit_no_question() {
    const TIP: u32 = 60_000;
    let chain = Rc::new(Chain::with_height(TIP, 0));
    type Lie = fn(&mut FilterHeader, &mut Vec<FilterHash>);
    let table: [(&str, Lie); 3] = [
        ("one less", |_, hashes| hashes.truncate(hashes.len() - 1)),
        ("one more", |_, hashes| hashes.push(FilterHash::from_byte_array([9; 32]))),
        ("none", |_, hashes| hashes.clear()),
    ];
    for (what, lie) in table {
        let mut lab = world(&chain, honest(3, &chain));
        lab.peers[1] = sending(&chain, 20_000, lie);
        sync(&mut lab, &chain);
        let wrong = misbehaved(Misbehaviour::WrongAnswer(CommandName::new("cfheaders")));
        assert_eq!(lab.farewells(), [(endpoint(1), wrong)], "{what}");
        assert!(stored(&lab) == filter_headers(&chain, 0), "{what}");
    }
}

#[test]
fn checkpoints_of_another_count_are_no_answer() {
    const TIP: u32 = 30_500;
    let chain = Rc::new(Chain::with_height(TIP, 0));
    for count in [0, 1, 29, 31, 100_000] {
        for who in [0, 1] {
            let mut lab = world(&chain, honest(2, &chain));
            lab.peers[who].names = Box::new(move |chain, height| {
                let mut named = chain.checkpoints(height);
                named.resize(count, FilterHeader::from_byte_array([7; 32]));
                Some(named)
            });
            sync(&mut lab, &chain);
            let wrong = misbehaved(Misbehaviour::WrongAnswer(CommandName::new("cfcheckpt")));
            assert_eq!(lab.farewells(), [(endpoint(who), wrong)], "{count}");
            assert!(stored(&lab) == filter_headers(&chain, 0), "{count}");
        }
    }
}

/// A peer that names others than it gives, wherever they begin: it is let go, whether it comes first or not, and the chain
/// is the honest ones'.
#[test]
fn checkpoints_that_lie() {
    const TIP: u32 = 40_000;
    let chain = Rc::new(chain_with_blocks(TIP));
    for from in [1000, 8000, 23_000, 40_000] {
        for who in 0..3 {
            let mut lab = world(&chain, honest(3, &chain));
            lab.peers[who] = naming(&chain, from);
            soon(&mut lab, "the sync", |lab| lab.synced == Some(chain.tip()) && !lab.farewells().is_empty());
            let what = format!("from {from} on, of {who}");
            let [(whose, Reason::Misbehaved(reason))] = &lab.farewells()[..] else {
                panic!("{what}: {:?}", lab.farewells())
            };
            assert_eq!(*whose, endpoint(who), "{what}");
            // By what it gave, or by its filter, once it was heard.
            let fits = match reason {
                Misbehaviour::ContradictsOwnFilterHeader(height) => {
                    *height >= from && height.is_multiple_of(1000)
                }
                reason => *reason == Misbehaviour::WrongFilter,
            };
            assert!(fits, "{what}: {reason}");
            assert!(stored(&lab) == filter_headers(&chain, 0), "{what}");
        }
    }
}

/// What is known beforehand convicts at once: nothing of it is taken, and nobody else is troubled.
#[test]
fn checkpoints_against_known_filter_headers_convict_at_once() {
    const TIP: u32 = 40_000;
    let chain = Rc::new(chain_with_blocks(TIP));
    let liar = hiding(&chain);
    for known in [vec![1000], vec![30_000], vec![500, 2000, 39_000]] {
        for who in 0..2 {
            let mut lab = world(&chain, honest(2, &chain));
            lab.config.known_filter_headers =
                known.iter().map(|height| (*height, chain.filter_header(*height))).collect();
            lab.peers[who] = Peer::new(&liar);
            sync(&mut lab, &chain);
            let what = format!("{known:?}, {who}");
            let [(ref whose, Reason::Misbehaved(Misbehaviour::ContradictsKnownFilterHeader(height)))] =
                lab.farewells()[..]
            else {
                panic!("{what}: {:?}", lab.farewells())
            };
            assert_eq!(*whose, endpoint(who), "{what}");
            // Its filter headers and its checkpoints come in one piece.
            assert!(known.contains(&height), "{what}");
            assert!(stored(&lab) == filter_headers(&chain, 0), "{what}");
            assert!(!lab.events.iter().any(|event| matches!(event, Event::FalseFilter { .. })), "{what}");
            let one = lab.asked.iter().filter(|(_, _, asked)| match asked {
                Asked::FilterHeaders(start, stop) => start == stop,
                _ => false,
            });
            assert!(one.count() <= 3, "{what}: nothing is halved");
        }
    }
}

/// Liars whose chain is whole: it holds together, and others than theirs are wanted of an honest one. Wherever they stand,
/// one honest peer convicts them all, by the block.
#[test]
fn whole_lies_are_judged_by_the_block() {
    const TIP: u32 = 50_000;
    let chain = Rc::new(chain_with_blocks(TIP));
    let liar = hiding(&chain);
    for order in ["hl", "lh", "llh", "lhl", "hll", "hhl", "hlh", "lhh", "lllh"] {
        let sides = order.chars().map(|side| Peer::new(if side == 'l' { &liar } else { &chain }));
        let mut lab = world(&chain, sides.collect());
        lab.command(Command::Watch { scripts: vec![script(u64::from(LIE))], from: Birthday::Height(20) });
        lab.peers.iter_mut().for_each(|peer| peer.withholds_filters = false);
        soon(&mut lab, "the end of the liars", |lab| {
            lab.farewells().len() == order.matches('l').count() && stored(lab) == filter_headers(&chain, 0)
        });
        let mut gone = lab.farewells();
        gone.sort_by_key(|(endpoint, _)| endpoint.clone());
        let liars = order.char_indices().filter(|(_, side)| *side == 'l');
        let convicted = misbehaved(Misbehaviour::FalseFilterHeader(LIE));
        assert_eq!(
            gone,
            liars.map(|(peer, _)| (endpoint(peer), convicted.clone())).collect::<Vec<_>>(),
            "{order}"
        );
        // Between the last checkpoint that is the same, of which there is none, and the first that is not.
        let one = lab.asked.iter().filter(|(_, _, asked)| match asked {
            Asked::FilterHeaders(start, stop) => start == stop && *start < 1000,
            _ => false,
        });
        assert!((1..=10 * order.len()).contains(&one.count()), "{order}");
    }
}

/// Nobody is left who vouched for what a liar had stored. The checkpoints of those who come say that it is another's.
#[test]
fn what_a_liar_has_left_is_replaced() {
    const TIP: u32 = 60_000;
    let chain = Rc::new(chain_with_blocks(TIP));
    for (lie, left) in [(LIE, 31_500), (20_000, 31_000), (31_000, 31_500)] {
        let empty = filter::build(&chain.hash(lie), core::iter::empty::<&[u8]>());
        let liar = Rc::new(chain.with_filter(lie, empty));
        for count in [1, 3] {
            let what = format!("{lie} to {left}, {count} peers");
            let mut lab = world(&chain, vec![Peer::new(&liar)]);
            lab.peers[0].indexed = left;
            lab.run_for(Duration::from_secs(100));
            lab.restart();
            let kept = lab.rows("filter_headers").len() as u32;
            assert!((left / 16 - 150..=left / 16 + 1).contains(&kept), "{what}: {kept}");
            lab.peers = honest(count, &chain);
            lab.config = config(count);
            soon(&mut lab, "the sync", |lab| lab.synced == Some(chain.tip()));
            assert!(stored(&lab) == filter_headers(&chain, 0), "{what}");
            assert!(
                !lab.farewells().iter().any(|(_, reason)| matches!(reason, Reason::Misbehaved(_))),
                "{what}"
            );
        }
    }
}

/// Two liars that name the same and one honest peer, while connections end and the process does.
#[test]
fn lies_over_restarts() {
    const TIP: u32 = 40_000;
    let chain = Rc::new(chain_with_blocks(TIP));
    let liar = hiding(&chain);
    for order in ["llh", "hll", "lhl"] {
        for life in [1, 4, 9, 12, 17, 22] {
            let peers = order.chars().map(|side| Peer::new(if side == 'l' { &liar } else { &chain }));
            let mut lab = world(&chain, peers.collect());
            lab.crash_after = Some(lab.batches() + life);
            lab.run_for(Duration::from_secs(3));
            lab.restart();
            soon(&mut lab, "the right ones", |lab| {
                lab.synced == Some(chain.tip()) && stored(lab) == filter_headers(&chain, 0)
            });
            let convicted = misbehaved(Misbehaviour::FalseFilterHeader(LIE));
            for (whose, reason) in lab.farewells() {
                let who = (0..3).find(|peer| endpoint(*peer) == whose).unwrap();
                assert_eq!((&order[who..=who], reason), ("l", convicted.clone()), "{order}, {life}");
            }
        }
    }
}

/// A world of peers of every kind, drawn from a seed: they come and go, the chain is reorganised, the process ends.
fn random_world(seed: u64) {
    const TIP: u32 = 30_000;
    let mut rng = Rng::new([31; 32]).fork_indexed("world", seed);
    let mut chain = Rc::new(chain_with_blocks(TIP));
    let lie = [LIE, 9000, 21_000][rng.below(3) as usize];
    let mut liar = {
        let filter = filter::build(&chain.hash(lie), core::iter::empty::<&[u8]>());
        Rc::new(chain.with_filter(lie, filter))
    };
    let mut good = Vec::new();
    let mut peers = Vec::new();
    for place in 0..rng.below(5) + 2 {
        let kind = if place == 0 { 0 } else { rng.below(8) };
        let mut peer = match kind {
            4 => Peer::new(&liar),
            5 => naming(&chain, rng.below(30) as u32 * 1000 + 1000),
            6 => {
                let mut peer = Peer::new(&chain);
                let from = rng.below(20_000) as u32;
                // About a block that is whole.
                peer.gives = Box::new(move |chain, start, stop| {
                    let (previous, mut hashes) = chain.filter_range(start, stop);
                    if start >= from && stop > start && stop.is_multiple_of(1000) {
                        let last = hashes.len() - 1;
                        other_hash(&mut hashes, last);
                    }
                    Given::These(previous, hashes)
                });
                peer
            }
            7 => {
                let mut peer = Peer::new(&chain);
                peer.names = Box::new(|_, _| Some(Vec::new()));
                peer
            }
            _ => Peer::new(&chain),
        };
        match kind {
            1 => peer.indexed = rng.below(u64::from(TIP)) as u32,
            2 => peer.rate = Some([10_000, 50_000, 200_000][rng.below(3) as usize]),
            3 => peer.names = Box::new(|_, _| None),
            _ => {}
        }
        good.push(kind < 4);
        peers.push(peer);
    }
    // Somebody is there who has all.
    let first = rng.below(peers.len() as u64) as usize;
    peers.swap(0, first);
    good.swap(0, first);
    let mut lab = world(&chain, peers);
    lab.jitter = Duration::from_millis(rng.below(300));
    lab.latency = Duration::from_millis(1 + rng.below(200));
    lab.disk_delay =
        [None, Some(Duration::from_millis(3)), Some(Duration::from_millis(40))][rng.below(3) as usize];
    if rng.below(2) == 0 {
        lab.config.known_filter_headers =
            vec![(500, chain.filter_header(500)), (10_000, chain.filter_header(10_000))];
    }
    let honest_left = |lab: &Lab| {
        for (whose, reason) in lab.farewells() {
            let who = (0..good.len()).find(|peer| endpoint(*peer) == whose).unwrap();
            // The announcement of a new chain may fall into a handshake here.
            let lied = match &reason {
                Reason::Misbehaved(misbehaviour) => !matches!(misbehaviour, Misbehaviour::OutOfTurn(_)),
                _ => false,
            };
            assert!(!good[who] || !lied, "{who} was honest: {reason}");
        }
    };
    for _ in 0..rng.below(12) {
        lab.run_for(Duration::from_millis(rng.below(900)));
        match rng.below(6) {
            0 => {
                honest_left(&lab);
                lab.restart();
            }
            1 => lab.cut(rng.below(good.len() as u64) as usize),
            2 => lab.crash_after = Some(lab.batches() + 1 + rng.below(4) as usize),
            3 => {
                let fork = TIP - rng.below(2000) as u32;
                let count = 1 + rng.below(50) as u32;
                let tag = rng.below(200) as u8 + 1;
                chain = branch(&chain, fork.min(chain.height()), chain.height() + count, tag);
                liar = branch(&liar, fork.min(liar.height()), chain.height(), tag);
                for peer in 0..good.len() {
                    let own = if lab.peers[peer].chain.filter_header(lie) == chain.filter_header(lie) {
                        &chain
                    } else {
                        &liar
                    };
                    let own = own.clone();
                    match lab.has_crashed() {
                        true => lab.peers[peer].chain = own,
                        false => lab.switch(peer, &own),
                    }
                }
            }
            4 => {
                let peer = rng.below(good.len() as u64) as usize;
                lab.peers[peer].up ^= true;
            }
            _ => {}
        }
        if lab.has_crashed() {
            honest_left(&lab);
            lab.restart();
        }
    }
    lab.crash_after = None;
    honest_left(&lab);
    if lab.has_crashed() {
        lab.restart();
    }
    lab.peers.iter_mut().for_each(|peer| peer.up = true);
    lab.peers.iter_mut().zip(&good).filter(|(_, good)| **good).for_each(|(peer, _)| peer.indexed = u32::MAX);
    soon(&mut lab, "the right ones", |lab| {
        lab.synced == Some(chain.tip()) && stored(lab) == filter_headers(&chain, 0)
    });
    honest_left(&lab);
}

#[test]
fn whatever_peers_do_the_right_filter_headers_come() {
    let first = u64::from(number("ANDON_FIRST_SEED", 0));
    for seed in first..first + u64::from(number("ANDON_SEEDS", 12)) {
        if catch_unwind(AssertUnwindSafe(|| random_world(seed))).is_err() {
            panic!("run it again by ANDON_FIRST_SEED={seed} ANDON_SEEDS=1");
        }
    }
}
