//! Many scenarios, on all cores.
//!
//! Threads take seeds by number, and what comes of them is gathered by number: nothing of it depends on which was faster.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;

use bitcoin::hashes::{Hash, HashEngine, sha256};

use super::draw::draw;
use super::failure::Failure;
use super::play::{Options, Outcome, run};
use super::sabotage::Sabotage;
use super::seen::Sight;
use crate::world::Time;

/// What came of many.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The first seed.
    pub first: u64,
    /// How many there were.
    pub worlds: u64,
    /// Which failed, and how.
    pub failures: Vec<(u64, Failure)>,
    /// How many came to what.
    pub seen: Vec<(Sight, &'static str, u64)>,
    /// Of everything that happened in any.
    pub digest: sha256::Hash,
    /// Turns of all nodes.
    pub turns: u64,
    /// How long all were, in seconds of theirs.
    pub seconds: u64,
    /// How long it took after the faults until the client knew what is true: half of all worlds, all but one of a hundred, and the
    /// slowest with its seed. In milliseconds.
    pub settled: (u64, u64, (u64, u64)),
    /// The most that a client held in memory, by its own description, and the seed.
    pub held: (usize, u64),
}

/// Plays the scenarios of these seeds. `progress` hears of each that is done, and how many have failed.
pub fn many(
    first: u64,
    count: u64,
    threads: NonZeroUsize,
    sabotage: Option<Sabotage>,
    progress: &mut dyn FnMut(usize),
) -> Summary {
    let next = AtomicU64::new(0);
    let (sender, receiver) = mpsc::channel();
    let mut gathering = Gathering::default();
    thread::scope(|scope| {
        for _ in 0..(threads.get() as u64).min(count) {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    let options = Options { sabotage, ..Options::default() };
                    let outcome = run(&draw(first + number), options);
                    if sender.send((number, outcome)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let mut waiting = BTreeMap::new();
        for (number, outcome) in receiver {
            waiting.insert(number, outcome);
            while let Some(outcome) = waiting.remove(&gathering.worlds) {
                gathering.take(first + gathering.worlds, outcome);
                progress(gathering.failures.len());
            }
        }
    });
    gathering.finish(first)
}

struct Gathering {
    worlds: u64,
    failures: Vec<(u64, Failure)>,
    seen: [u64; Sight::ALL.len()],
    engine: sha256::HashEngine,
    turns: u64,
    time: u64,
    settled: Vec<(u64, u64)>,
    held: (usize, u64),
}

impl Default for Gathering {
    fn default() -> Self {
        Self {
            worlds: 0,
            failures: Vec::new(),
            seen: [0; Sight::ALL.len()],
            engine: sha256::Hash::engine(),
            turns: 0,
            time: 0,
            settled: Vec::new(),
            held: (0, 0),
        }
    }
}

impl Gathering {
    fn take(&mut self, seed: u64, outcome: Outcome) {
        let Outcome { failure, digest, seen, turns, time, settled, held, .. } = outcome;
        self.worlds += 1;
        self.failures.extend(failure.map(|failure| (seed, failure)));
        for (count, (sight, _)) in self.seen.iter_mut().zip(Sight::ALL) {
            *count += u64::from(seen.has(sight));
        }
        self.engine.input(&digest.to_le_bytes());
        self.turns += turns;
        self.time += (time - Time::ZERO).as_secs();
        self.settled.extend(settled.map(|settled| (settled.as_millis() as u64, seed)));
        self.held = self.held.max((held, seed));
    }

    fn finish(mut self, first: u64) -> Summary {
        self.settled.sort_unstable();
        let at =
            |part: usize| self.settled.get(self.settled.len() * part / 100).map_or(0, |settled| settled.0);
        Summary {
            first,
            worlds: self.worlds,
            seen: Sight::ALL
                .iter()
                .zip(self.seen)
                .map(|((sight, name), count)| (*sight, *name, count))
                .collect(),
            digest: sha256::Hash::from_engine(self.engine),
            turns: self.turns,
            seconds: self.time,
            settled: (at(50), at(99), self.settled.last().copied().unwrap_or_default()),
            held: self.held,
            failures: self.failures,
        }
    }
}
