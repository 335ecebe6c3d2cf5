//! Random requests to SQLite and to the kernel's store in memory: the answers are the same.

#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod common;

use std::ops::Bound;

use andon_kernel::{Order, Space};
use common::{Done, OTHER, Query, SPACE, memory, sqlite};
use fastrand::Rng;

#[test]
fn sqlite_answers_as_memory_does() {
    // A seed that once failed is kept here.
    for seed in [1, 2, 3, 4, fastrand::u64(..)] {
        run(seed);
    }
}

/// Names the seed if the run panics.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed with seed {}", self.0);
        }
    }
}

fn run(seed: u64) {
    let named = Seed(seed);
    let mut rng = Rng::with_seed(named.0);
    let directory = tempfile::tempdir().unwrap();
    let mut model = memory();
    let mut real = sqlite(directory.path());
    let (mut expected, mut found) = (Vec::new(), Vec::new());
    for _ in 0..1500 {
        match rng.u32(..100) {
            0..45 => {
                let changes: Vec<Change> = (0..rng.usize(..8)).map(|_| Change::random(&mut rng)).collect();
                model.put(|batch| changes.iter().for_each(|change| change.write(batch)));
                real.put(|batch| changes.iter().for_each(|change| change.write(batch)));
            }
            45..80 => {
                let query = query(&mut rng);
                model.load(&query);
                real.load(&query);
            }
            80..99 => {
                for _ in 0..rng.usize(..20) {
                    found.extend(real.poll().unwrap());
                }
            }
            _ => {
                // A restart: what was submitted is kept, answers that were not collected are not.
                found.append(&mut real.settle());
                drop(real);
                real = sqlite(directory.path());
                expected.append(&mut model.settle());
                let store = std::mem::take(&mut model.store);
                model = memory();
                model.store = store;
            }
        }
    }
    expected.append(&mut model.settle());
    found.append(&mut real.settle());
    assert!(expected.iter().any(|done| matches!(done, Done::Loaded { rows, .. } if rows.len() > 5)));
    for (index, (expected, found)) in expected.iter().zip(&found).enumerate() {
        assert_eq!(expected, found, "completion {index}");
    }
    assert_eq!(expected.len(), found.len());
    for space in [SPACE, OTHER] {
        assert_eq!(model.rows(space), real.rows(space));
    }
}

enum Change {
    Put(Space, Vec<u8>, Vec<u8>),
    Delete(Space, Vec<u8>, Option<Vec<u8>>),
}

impl Change {
    fn random(rng: &mut Rng) -> Self {
        let space = space(rng);
        match rng.u32(..20) {
            0..15 => {
                let len = if rng.u32(..30) == 0 { rng.usize(..20_000) } else { rng.usize(..40) };
                let fill = rng.u8(..);
                Self::Put(space, key(rng), vec![fill; len])
            }
            15..19 => Self::Delete(space, key(rng), Some(key(rng))),
            _ => Self::Delete(space, [key(rng), vec![200]].concat(), None),
        }
    }

    fn write(&self, batch: &mut andon_kernel::BatchWriter<'_>) {
        match self {
            Self::Put(space, key, value) => batch.put(*space, key, value),
            Self::Delete(space, from, Some(to)) => batch.delete(*space, from, to),
            Self::Delete(space, from, None) => batch.delete_from(*space, from),
        }
    }
}

fn space(rng: &mut Rng) -> Space {
    if rng.bool() { SPACE } else { OTHER }
}

/// Short keys over few bytes, so that they meet.
fn key(rng: &mut Rng) -> Vec<u8> {
    (0..rng.usize(..4)).map(|_| *rng.choice(&[0, 1, 127, 128, 200, 255]).unwrap()).collect()
}

fn query(rng: &mut Rng) -> Query {
    let bound = |rng: &mut Rng| match rng.u32(..3) {
        0 => Bound::Unbounded,
        1 => Bound::Included(key(rng)),
        _ => Bound::Excluded(key(rng)),
    };
    Query {
        space: space(rng),
        from: bound(rng),
        to: bound(rng),
        order: if rng.bool() { Order::Ascending } else { Order::Descending },
        limit: if rng.bool() { rng.u32(..20) } else { u32::MAX },
    }
}
