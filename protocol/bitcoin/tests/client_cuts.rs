//! The process ends behind each batch that it writes, in turn, over the whole of a life: the first sync, growth, a
//! reorganisation, a new search. What it had told by then is told again, or was in a block that was left; and it ends as one that
//! was never disturbed.

#![allow(clippy::unwrap_used, reason = "it is a test")]

mod lab;

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use andon_bitcoin::client::{Birthday, Command, Event, TouchKind};
use bitcoin::consensus::deserialize;
use bitcoin::{Block, BlockHash, ScriptBuf};
use lab::chain::script;
use lab::{Chain, Lab, Peer, config};

/// The last block that both branches have.
const FORK: u32 = 70;

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(600);

type Finding = (BlockHash, TouchKind);

/// Blocks of which every third pays one of two scripts.
fn paying(trunk: &Chain, count: u32, tag: u8) -> Chain {
    let mut chain = trunk.clone();
    let own = (u64::from(tag) + 1) << 32;
    chain.grow_blocks(count, tag, |height| {
        script(if height % 3 == 0 { u64::from(1 + height / 3 % 2) } else { own | u64::from(height) })
    });
    chain
}

fn watch(number: u64) -> Command {
    let scripts: Vec<ScriptBuf> = vec![script(number)];
    Command::Watch { scripts, from: Birthday::Height(1) }
}

/// What pays one of the first scripts.
fn payments(chain: &Chain, scripts: u64) -> BTreeSet<Finding> {
    let watched: Vec<ScriptBuf> = (1..=scripts).map(script).collect();
    let blocks =
        (1..=chain.height()).map(|height| deserialize::<Block>(&chain.body(height).unwrap().block).unwrap());
    let paying = blocks.filter(|block| watched.contains(&block.txdata[0].output[0].script_pubkey));
    paying.map(|block| (block.block_hash(), TouchKind::Received { output: 0 })).collect()
}

/// What stands by what was told; each is told once.
fn standing(events: &[Event]) -> BTreeSet<Finding> {
    let mut found = BTreeSet::new();
    for event in events {
        match event {
            Event::Touched(touch) => {
                assert!(found.insert((touch.block.hash, touch.kind)), "told twice: {touch:?}");
            }
            Event::TakenBack(touch) => {
                assert!(found.remove(&(touch.block.hash, touch.kind)), "never told: {touch:?}");
            }
            _ => {}
        }
    }
    found
}

/// The chains of a life, one after the other, and how many scripts are watched with each.
struct Life {
    steps: [(Rc<Chain>, u64); 4],
    disk_delay: Option<Duration>,
}

impl Life {
    fn new(disk_delay: Option<Duration>) -> Self {
        let trunk = paying(&Chain::new(), FORK, 0);
        let old = Rc::new(paying(&trunk, 9, 1));
        let new = Rc::new(paying(&trunk, 10, 2));
        let longer = Rc::new(paying(&new, 4, 2));
        Self { steps: [(old, 1), (Rc::clone(&new), 1), (longer.clone(), 1), (longer, 2)], disk_delay }
    }

    fn lab(&self) -> Lab {
        let mut lab = Lab::new(config(1), vec![Peer::new(&self.steps[0].0)]);
        lab.disk_delay = self.disk_delay;
        lab
    }

    /// Goes on from a step, until the end or until the process ends: the step that it was at.
    fn go_on(&self, lab: &mut Lab, from: usize) -> usize {
        for (step, (chain, scripts)) in self.steps.iter().enumerate().skip(from) {
            if lab.peers[0].chain.tip() != chain.tip() {
                lab.switch(0, chain);
            }
            (1..=*scripts).for_each(|number| lab.command(watch(number)));
            lab.run_for(LONG);
            if lab.has_crashed() {
                return step;
            }
        }
        self.steps.len() - 1
    }

    /// Everything that was ever to be found up to a step.
    fn found_up_to(&self, step: usize) -> BTreeSet<Finding> {
        self.steps[..=step].iter().flat_map(|(chain, scripts)| payments(chain, *scripts)).collect()
    }
}

#[test]
fn a_process_may_end_behind_each_batch() {
    for disk_delay in [None, Some(Duration::from_millis(70))] {
        let life = Life::new(disk_delay);
        let mut undisturbed = life.lab();
        life.go_on(&mut undisturbed, 0);
        let (last, scripts) = &life.steps[3];
        let truth = payments(last, *scripts);
        assert_eq!(standing(&undisturbed.events), truth);
        let batches = undisturbed.batches();
        assert!(batches > 10, "{batches}");
        let mut again = 0;
        for batch in 1..=batches {
            let what = format!("batch {batch} of {batches}, {disk_delay:?}");
            let mut lab = life.lab();
            lab.crash_after = Some(batch);
            let step = life.go_on(&mut lab, 0);
            assert!(lab.has_crashed(), "{what}");
            let told = standing(&lab.events);
            // Nobody is there to ask: what is told now was stored.
            lab.peers[0].up = false;
            lab.restart();
            lab.run_for(Duration::from_secs(20));
            let repaired = |lab: &Lab| {
                lab.events.iter().any(|event| matches!(event, Event::Failed(_) | Event::Repaired { .. }))
            };
            assert!(!repaired(&lab), "{what}: {:?}", lab.events);
            let stored = standing(&lab.events);
            let chain = &life.steps[step].0;
            let lost = told.difference(&stored).filter(|(block, _)| chain.height_of(block).is_some());
            assert_eq!(lost.collect::<Vec<_>>(), Vec::<&Finding>::new(), "{what}");
            assert!(stored.is_subset(&life.found_up_to(step)), "{what}");
            again += stored.len();
            // And it goes on, as if nothing had been.
            lab.peers[0].up = true;
            lab.restart();
            life.go_on(&mut lab, step);
            assert!(!repaired(&lab), "{what}: {:?}", lab.events);
            assert_eq!(standing(&lab.events), truth, "{what}");
        }
        println!("{batches} batches, {again} findings told again, {disk_delay:?}");
        assert!(again > 0);
    }
}
