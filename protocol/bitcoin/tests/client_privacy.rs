//! What peers see: who is asked for blocks, and for which.
#![allow(clippy::unwrap_used, reason = "a test that can not go on has failed")]

mod lab;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::rc::Rc;

use andon_bitcoin::client::{Birthday, Command, Config, Event};
use lab::chain::script;
use lab::{Asked, Chain, Lab, Peer, config};

const TIP: u32 = 2000;

fn chain() -> Rc<Chain> {
    let mut chain = Chain::new();
    chain.grow_blocks(TIP, 1, |height| {
        script(if height.is_multiple_of(50) { 1 } else { 100 + u64::from(height) })
    });
    Rc::new(chain)
}

/// Who was asked for which blocks.
fn asked(lab: &Lab) -> BTreeMap<u32, Vec<usize>> {
    let mut asked: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (_, peer, what) in &lab.asked {
        if let Asked::Blocks(heights) = what {
            heights.iter().for_each(|height| asked.entry(*height).or_default().push(*peer));
        }
    }
    asked
}

fn synced(peers: usize, seed: u8, decoys: u32) -> Lab {
    let chain = chain();
    let config = Config { decoy_blocks: NonZeroU32::new(decoys), seed: [seed; 32], ..config(peers) };
    let mut lab = Lab::new(config, (0..peers).map(|_| Peer::new(&chain)).collect());
    lab.command(Command::Watch { scripts: vec![script(1)], from: Birthday::Height(1) });
    lab.sync();
    lab
}

/// No peer is asked for nearly all, and nobody can tell beforehand who is asked for which.
#[test]
fn blocks_are_asked_of_peers_that_are_drawn() {
    let mut of_block_1000 = BTreeSet::new();
    for seed in 0..12 {
        let lab = synced(4, seed, 0);
        let asked = asked(&lab);
        assert_eq!(
            asked.keys().copied().collect::<Vec<_>>(),
            (1..=TIP).filter(|height| height % 50 == 0).collect::<Vec<_>>()
        );
        let mut counts = [0; 4];
        asked.values().for_each(|peers| counts[peers[0]] += 1);
        // Of 40 each is asked for ten, give or take: four standard deviations are eleven.
        assert!(counts.iter().all(|count| (1..=22).contains(count)), "{counts:?}");
        of_block_1000.insert(asked[&1000][0]);
    }
    assert!(of_block_1000.len() >= 3, "{of_block_1000:?}");
}

/// Blocks that concern nobody are asked for as well; which ones depends on nothing that is watched or found, and nothing is
/// told of them.
#[test]
fn blocks_that_do_not_match_are_asked_for_as_decoys() {
    let matching: BTreeSet<u32> = (1..=TIP).filter(|height| height % 50 == 0).collect();
    let mut all = Vec::new();
    for seed in 0..3 {
        let lab = synced(2, seed, 20);
        let asked: BTreeSet<u32> = asked(&lab).into_keys().collect();
        assert!(matching.is_subset(&asked));
        let decoys: BTreeSet<u32> = asked.difference(&matching).copied().collect();
        // Of 1960 one in 20: 98, give or take 40.
        assert!((58..=138).contains(&decoys.len()), "{}", decoys.len());
        let told = |event: &Event| match event {
            Event::Matched(block) => Some(block.height),
            _ => None,
        };
        assert_eq!(lab.events.iter().filter_map(told).collect::<BTreeSet<_>>(), matching);
        let touched = lab.events.iter().filter(|event| matches!(event, Event::Touched(_))).count();
        assert_eq!(touched, matching.len());
        all.push(decoys);
    }
    assert!(all[0] != all[1] && all[1] != all[2]);
    assert_eq!(asked(&synced(2, 7, 0)).len(), matching.len());
}

/// A new block that concerns nobody is asked for as often as any.
#[test]
fn there_are_decoys_at_the_tip() {
    let mut lab = synced(2, 3, 4);
    let before = asked(&lab).len();
    let mut chain = Rc::unwrap_or_clone(chain());
    for number in 0..60 {
        chain.grow_blocks(1, 2, |_| script(7000 + number));
        let longer = Rc::new(chain.clone());
        (0..2).for_each(|peer| lab.switch(peer, &longer));
        lab.sync_to(longer.tip());
    }
    let decoys = asked(&lab).len() - before;
    assert!((4..=30).contains(&decoys), "{decoys}");
}
