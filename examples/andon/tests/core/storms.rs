//! Storms: a node that leaves branch after branch, at random depths, takes up old ones again, falls back to less work and
//! overtakes, while our program follows it, or is killed and started again.

use std::thread;
use std::time::{Duration, Instant};

use andon_kernel::Rng;
use bitcoin::OutPoint;
use serde_json::{Value, json};

use crate::bitcoind::Bitcoind;
use crate::follower::Follower;
use crate::ledger::{Ledger, Told};
use crate::miner::{Coin, Lock, Miner, coin_of, transaction};
use crate::ours::Ours;
use crate::view::assert_as_core_knows;

/// A node in a storm, and what is known of it.
struct Storm<'a> {
    node: &'a Bitcoind,
    miner: Miner<'a>,
    watched: &'a [Lock],
    rng: Rng,
    /// Nothing at or below this height is left: the purse is in there.
    floor: u64,
    purse: Vec<OutPoint>,
    /// What watched scripts have received, on whatever branch.
    coins: Vec<Coin>,
    /// The first blocks of branches that were left.
    left: Vec<String>,
    figures: Figures,
}

#[derive(Debug, Default)]
struct Figures {
    forks: u32,
    deepest: u64,
    below_144: u32,
    taken_up_again: u32,
    fallbacks: u32,
    bursts: u32,
    kills: u32,
}

impl<'a> Storm<'a> {
    fn new(node: &'a Bitcoind, watched: &'a [Lock], seed: u8) -> Self {
        let mut miner = Miner::new(node);
        let purse = miner.purse();
        let floor = node.height();
        miner.history(60, watched);
        miner.empty(2100);
        let (coins, left, figures) = (Vec::new(), Vec::new(), Figures::default());
        Self { node, miner, watched, rng: Rng::new([seed; 32]), floor, purse, coins, left, figures }
    }

    fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.rng.below(high + 1 - low)
    }

    /// Leaves a branch for a new one. Most forks are shallow, as they are in life; a few begin below all that a node sends
    /// in one message.
    fn fork(&mut self, overtake: Option<u64>) {
        let depth = match self.rng.below(100) {
            0..60 => self.between(1, 12),
            60..85 => self.between(1, 144),
            85..98 => self.between(145, 300),
            _ => self.between(1950, 2150),
        };
        let height = self.node.height();
        let depth = depth.min(height - self.floor);
        let first = self.node.hash_at(height + 1 - depth);
        self.node.call("invalidateblock", json!([first]));
        self.left.push(first);
        self.figures.forks += 1;
        self.figures.deepest = self.figures.deepest.max(depth);
        self.figures.below_144 += u32::from(depth > 144);
        // An older branch may be the best one now.
        let height = self.node.height();
        let count = match overtake {
            Some(highest) => (highest + self.between(1, 3)).saturating_sub(height),
            None => self.between(1, depth),
        };
        self.grow(count);
    }

    /// Takes up a branch that was left, if one was.
    fn take_up_again(&mut self) {
        if self.left.is_empty() {
            return;
        }
        let index = self.rng.below(self.left.len() as u64) as usize;
        let first = self.left.swap_remove(index);
        self.node.call("reconsiderblock", json!([first]));
        self.figures.taken_up_again += 1;
    }

    /// Mines blocks; there are payments in a few of them.
    fn grow(&mut self, count: u64) {
        let mut rest = count;
        for _ in 0..3 {
            let empty = self.between(0, rest);
            self.miner.empty(empty as u32);
            rest -= empty;
            if rest > 0 {
                self.pay();
                rest -= 1;
            }
        }
        self.miner.empty(rest as u32);
    }

    /// Mines a block with a payment: a reward, a coin of the purse, or a coin of a watched script that moves on.
    fn pay(&mut self) {
        let watched = self.watched;
        let one = &watched[self.rng.below(watched.len() as u64) as usize];
        let other = &watched[self.rng.below(watched.len() as u64) as usize];
        let transaction = match self.rng.below(4) {
            0 => None,
            1 => self.unspent_coin().map(|coin| {
                let sats = coin.amount.to_sat() - 1_000;
                self.miner.spend(&[coin], one.script.clone(), sats)
            }),
            _ => self.unspent_in_purse().map(|outpoint| {
                let outputs = [(one, 40_000), (other, 50_000)].map(|(lock, sats)| bitcoin::TxOut {
                    value: bitcoin::Amount::from_sat(sats),
                    script_pubkey: lock.script.clone(),
                });
                transaction([outpoint], outputs.into())
            }),
        };
        let Some(transaction) = transaction else {
            self.miner.block_for(&one.script, &[]);
            return;
        };
        let locks = [one, other].into_iter().zip(0..transaction.output.len() as u32);
        self.coins.extend(locks.map(|(lock, output)| coin_of(&transaction, output, lock.clone())));
        self.miner.block(&[transaction]);
    }

    fn unspent_in_purse(&mut self) -> Option<OutPoint> {
        let some: Vec<OutPoint> =
            (0..8).map(|_| self.purse[self.rng.below(self.purse.len() as u64) as usize]).collect();
        self.first_unspent(&some).map(|index| some[index])
    }

    fn unspent_coin(&mut self) -> Option<Coin> {
        let rich: Vec<&Coin> = self.coins.iter().filter(|coin| coin.amount.to_sat() > 10_000).collect();
        if rich.is_empty() {
            return None;
        }
        let some: Vec<Coin> =
            (0..8).map(|_| rich[self.rng.below(rich.len() as u64) as usize].clone()).collect();
        let outpoints: Vec<OutPoint> = some.iter().map(|coin| coin.outpoint).collect();
        self.first_unspent(&outpoints).map(|index| some[index].clone())
    }

    /// Which of these is there, and not spent, in the branch that the node is on.
    fn first_unspent(&self, outpoints: &[OutPoint]) -> Option<usize> {
        let parameters: Vec<Value> = outpoints
            .iter()
            .map(|outpoint| json!([outpoint.txid.to_string(), outpoint.vout, false]))
            .collect();
        self.node.call_each("gettxout", &parameters).iter().position(|output| !output.is_null())
    }
}

/// What our program must be synced to: the best tip that the node has ever had while it could be seen.
struct Best {
    height: u64,
    hash: String,
}

impl Best {
    /// Takes note of where the node is. Whether it has more work than ever.
    fn note(&mut self, node: &Bitcoind) -> bool {
        let height = node.height();
        let better = height > self.height;
        if better {
            *self = Self { height, hash: node.tip() };
        }
        better
    }
}

fn storm(seed: u8, forks: u32, kills: bool) {
    let Some(node) = Bitcoind::start() else { return };
    let begin = Instant::now();
    let watched = Lock::series(seed, 20);
    let mut storm = Storm::new(&node, &watched, seed);
    let ours = Ours::new(&watched);
    let mut runs = Vec::new();
    let mut follower = ours.follower(&[&node]);
    let mut best = Best { height: node.height(), hash: node.tip() };
    follower.wait_until_synced(&best.hash);
    while storm.figures.forks < forks {
        let before = follower.heard().objects.len();
        let burst = storm.rng.below(16) == 0;
        if storm.rng.below(4) == 0 {
            storm.take_up_again();
        }
        let mut better = best.note(&node);
        if burst {
            storm.figures.bursts += 1;
            for _ in 0..storm.between(2, 4) {
                let overtake = (storm.rng.below(2) == 0).then_some(best.height);
                storm.fork(overtake);
                better |= best.note(&node);
            }
        }
        // Whoever looks on may or may not have seen what was the best in between: in the end it is the last.
        let overtake = better || storm.rng.below(10) < 7;
        storm.fork(overtake.then_some(best.height));
        better |= best.note(&node);
        let killed = kills && storm.rng.below(5) == 0;
        if killed {
            thread::sleep(Duration::from_micros(storm.rng.below(100_000)));
            runs.push(follower.kill());
            follower = ours.follower(&[&node]);
            storm.figures.kills += 1;
        }
        if better || killed {
            follower.wait_until_synced(&best.hash);
        } else {
            storm.figures.fallbacks += 1;
            node.wait_until_answered();
            assert_nothing_changed(&follower, before, &best);
        }
    }
    // The end is one that the node is at.
    storm.fork(Some(best.height));
    follower.wait_until_synced(&node.tip());
    let objects = follower.interrupt();
    assert_as_core_knows(objects.last().unwrap(), &node, &watched);
    runs.push(objects);
    let ledger = Ledger::read(&[&storm.miner], &watched);
    let mut told = Told::default();
    runs.iter().for_each(|objects| told.add(&ledger.check(objects)));
    println!(
        "{:?}; {} blocks; the program told: {told:?}; {:?}",
        storm.figures,
        ledger.len(),
        begin.elapsed()
    );
    assert!(storm.figures.deepest >= 1950 && storm.figures.fallbacks > 0 && storm.figures.taken_up_again > 0);
    assert!(told.reorganisations as u32 > forks / 4 && told.taken_back > 0);
    assert_eq!(kills, storm.figures.kills > 0);
}

#[track_caller]
fn assert_nothing_changed(follower: &Follower, before: usize, best: &Best) {
    let (new, synced) = {
        let heard = follower.heard();
        (heard.objects[before..].to_vec(), heard.synced.clone())
    };
    assert_eq!(new, [] as [Value; 0], "nothing has more work than {} at {}", best.hash, best.height);
    assert_eq!(synced.as_ref(), Some(&best.hash));
}

#[test]
fn of_200_forks_is_followed() {
    storm(16, 200, false);
}

#[test]
fn of_100_forks_is_followed_by_one_that_is_killed_again_and_again() {
    storm(17, 100, true);
}
