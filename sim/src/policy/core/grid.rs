//! A table of buckets of 64 places, in which ids stand: anywhere in a bucket, or each in a place of its own.

use super::rules::BUCKET_SIZE;
use crate::random::Stream;

/// Nobody.
pub(super) const NOBODY: u32 = u32::MAX;

const SIZE: usize = BUCKET_SIZE as usize;

/// How someone is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Draw {
    /// Any bucket that is not empty, then any in it; in a table of cells as [`Scan`](Self::Scan).
    Bucket,
    /// Any in the table.
    Entry,
    /// Any bucket that is not empty, then the first in it from any cell on.
    Scan,
}

#[derive(Debug)]
pub(super) struct Grid {
    /// In the tables of sets the first of each bucket are taken.
    cells: Vec<u32>,
    counts: Vec<u8>,
    total: u32,
    pub(super) is_sets: bool,
}

impl Grid {
    /// Without a bucket, until it is renewed.
    pub(super) const fn none() -> Self {
        Self { cells: Vec::new(), counts: Vec::new(), total: 0, is_sets: false }
    }

    /// An empty table in the room of another.
    pub(super) fn renew(mut self, buckets: u32, is_sets: bool) -> Self {
        let buckets = buckets as usize;
        self.cells.clear();
        self.cells.resize(buckets * SIZE, NOBODY);
        self.counts.clear();
        self.counts.resize(buckets, 0);
        (self.total, self.is_sets) = (0, is_sets);
        self
    }

    pub(super) const fn total(&self) -> u32 {
        self.total
    }

    pub(super) fn count(&self, bucket: u32) -> usize {
        self.counts[bucket as usize].into()
    }

    pub(super) fn is_full(&self, bucket: u32) -> bool {
        self.count(bucket) == SIZE
    }

    pub(super) fn at(&self, cell: u32) -> u32 {
        self.cells[cell as usize]
    }

    /// Those of a bucket, in a table of sets.
    pub(super) fn bucket(&self, bucket: u32) -> &[u32] {
        let from = bucket as usize * SIZE;
        &self.cells[from..from + self.count(bucket)]
    }

    pub(super) const fn buckets(&self) -> u32 {
        self.counts.len() as u32
    }

    /// Those of a bucket, in any table.
    pub(super) fn standing(&self, bucket: u32) -> impl Iterator<Item = u32> {
        self.cells[bucket as usize * SIZE..][..SIZE].iter().copied().filter(|&id| id != NOBODY)
    }

    /// Adds someone to a bucket that is not full, in a table of sets.
    pub(super) fn push(&mut self, bucket: u32, id: u32) {
        let count = self.count(bucket);
        debug_assert!(self.is_sets && count < SIZE);
        self.cells[bucket as usize * SIZE + count] = id;
        self.counts[bucket as usize] += 1;
        self.total += 1;
    }

    /// Takes the one at a position of a bucket out, in a table of sets. The last takes his place.
    pub(super) fn swap_remove(&mut self, bucket: u32, position: usize) {
        let (from, last) = (bucket as usize * SIZE, self.count(bucket) - 1);
        debug_assert!(self.is_sets && position <= last);
        self.cells[from + position] = self.cells[from + last];
        self.cells[from + last] = NOBODY;
        self.counts[bucket as usize] -= 1;
        self.total -= 1;
    }

    /// The position of someone in a bucket, in a table of sets: the last is looked at first.
    pub(super) fn position(&self, bucket: u32, id: u32) -> Option<usize> {
        self.bucket(bucket).iter().rposition(|&held| held == id)
    }

    /// Swaps two of a bucket, in a table of sets.
    pub(super) fn swap(&mut self, bucket: u32, one: usize, other: usize) {
        let from = bucket as usize * SIZE;
        self.cells.swap(from + one, from + other);
    }

    /// Puts someone in the place of another, in a table of sets.
    pub(super) fn replace(&mut self, bucket: u32, position: usize, id: u32) -> u32 {
        core::mem::replace(&mut self.cells[bucket as usize * SIZE + position], id)
    }

    /// Puts someone in an empty cell.
    pub(super) fn put(&mut self, cell: u32, id: u32) {
        debug_assert!(!self.is_sets && self.cells[cell as usize] == NOBODY);
        self.cells[cell as usize] = id;
        self.counts[cell as usize / SIZE] += 1;
        self.total += 1;
    }

    /// Empties a cell.
    pub(super) fn clear(&mut self, cell: u32) {
        debug_assert!(!self.is_sets && self.cells[cell as usize] != NOBODY);
        self.cells[cell as usize] = NOBODY;
        self.counts[cell as usize / SIZE] -= 1;
        self.total -= 1;
    }

    /// Draws someone.
    ///
    /// # Panics
    /// If there is nobody.
    pub(super) fn draw(&self, how: Draw, stream: &mut Stream) -> u32 {
        assert!(self.total > 0, "somebody is drawn where there is somebody");
        loop {
            let bucket = stream.index(self.counts.len());
            let count = usize::from(self.counts[bucket]);
            let cells = &self.cells[bucket * SIZE..][..SIZE];
            if how != Draw::Entry && count == 0 {
                continue;
            }
            if how == Draw::Bucket && self.is_sets {
                return cells[stream.index(count)];
            }
            let from = stream.index(SIZE);
            if how == Draw::Entry {
                if cells[from] != NOBODY {
                    return cells[from];
                }
            } else {
                let mut round = cells[from..].iter().chain(&cells[..from]);
                return *round.find(|&&id| id != NOBODY).expect("the bucket is not empty");
            }
        }
    }
}
