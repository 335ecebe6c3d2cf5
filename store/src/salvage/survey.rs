//! Where a damaged table can be read.
//!
//! SQLite finds a row by the pages on the way to it, so a page that is damaged hides what is below it and nothing else:
//! beyond it the table can be read again from any key that lies beyond. Which keys do nobody knows, so some are tried:
//! near both ends of what is missing, first close by and then further away each time, and then evenly spread. So rows
//! are found that take an eighth of what is missing before or after them, and all rows where few keys are missing.

use std::ops::{Bound, RangeBounds};

use andon_kernel::Order;

use super::source::{Read, Table};
use crate::OpenError;

/// Keys that are tried in a table. A key that leads nowhere costs microseconds.
const PROBES: usize = 100_000;

/// Bytes of keys that are held at a time: what else is readable is given up then.
const HELD_BYTES: usize = 4 << 20;

/// How finely what is missing is searched: it is halved so many times.
const HALVINGS: u32 = 8;

/// Bytes of a key that are varied, after those that all keys around have in common. As a number they leave room for
/// computing with [`HALVINGS`].
const WINDOW: usize = 14;

/// Rows that follow each other and can be read.
#[derive(Debug)]
pub(super) struct Run {
    /// The lowest key and the highest.
    pub(super) first: Vec<u8>,
    pub(super) last: Vec<u8>,
    /// How they were found: from this end of this gap.
    pub(super) gap: Gap,
    pub(super) order: Order,
}

/// The runs after a key (`None`: from the start), in order.
pub(super) fn readable(table: &mut Table<'_>, after: Option<Vec<u8>>) -> Result<Vec<Run>, OpenError> {
    let all = Gap { low: after.map_or(Bound::Unbounded, Bound::Excluded), high: Bound::Unbounded };
    let mut survey = Survey {
        table,
        runs: Vec::new(),
        held_bytes: 0,
        probes: PROBES,
        gaps: Vec::new(),
        doubtful: Vec::new(),
    };
    survey.look(all, Order::Descending)?;
    while let Some(gap) = survey.gaps.pop().or_else(|| survey.doubtful.pop()) {
        survey.search(&gap)?;
    }
    let mut runs = survey.runs;
    runs.sort_unstable_by(|a, b| a.first.cmp(&b.first));
    Ok(runs)
}

struct Survey<'t, 's> {
    table: &'t mut Table<'s>,
    runs: Vec<Run>,
    held_bytes: usize,
    probes: usize,
    /// Where damage ended the reading. The last one is above the rows that were found last, where the most is to be
    /// found: those that hide nothing, and take the most looking for it, wait meanwhile.
    gaps: Vec<Gap>,
    /// Where the reading came to an end: but a key that is damaged may be beyond the end, and rows behind it not.
    doubtful: Vec<Gap>,
}

impl Survey<'_, '_> {
    /// Tries keys in a gap until one leads to rows; the smaller gaps that are left then are searched in their turn.
    fn search(&mut self, gap: &Gap) -> Result<(), OpenError> {
        for point in gap.points(self.table.longest_key()) {
            if self.probes == 0 || self.held_bytes >= HELD_BYTES {
                break;
            }
            self.probes -= 1;
            let below = Gap { low: gap.low.clone(), high: Bound::Excluded(point.clone()) };
            let above = Gap { low: Bound::Included(point), high: gap.high.clone() };
            let down = self.read(&below, Order::Descending)?;
            let up = self.read(&above, Order::Ascending)?;
            if down.last.is_some() || up.last.is_some() {
                self.note(below, Order::Descending, down);
                self.note(above, Order::Ascending, up);
                break;
            }
        }
        Ok(())
    }

    fn look(&mut self, gap: Gap, order: Order) -> Result<(), OpenError> {
        let read = self.read(&gap, order)?;
        self.note(gap, order, read);
        Ok(())
    }

    fn read(&mut self, gap: &Gap, order: Order) -> Result<Read, OpenError> {
        self.table.read(gap.range(), order, |_, _| Ok(()))
    }

    /// Keeps what was read of a gap from one of its ends, and the rest of the gap.
    fn note(&mut self, gap: Gap, order: Order, read: Read) {
        let mut rest = gap.clone();
        if let (Some(first), Some(last)) = (read.first, read.last) {
            match order {
                Order::Ascending => rest.low = Bound::Excluded(last.clone()),
                Order::Descending => rest.high = Bound::Excluded(last.clone()),
            }
            // A run has two keys, and so has a gap; each run leaves one gap more.
            self.held_bytes += 3 * (first.len() + last.len()) + size_of::<(Run, Gap)>();
            let (first, last) = if order == Order::Ascending { (first, last) } else { (last, first) };
            self.runs.push(Run { first, last, gap, order });
        }
        if read.damaged {
            self.gaps.push(rest);
        } else {
            self.doubtful.push(rest);
        }
    }
}

/// Keys between which it is not known what there is.
#[derive(Clone, Debug)]
pub(super) struct Gap {
    pub(super) low: Bound<Vec<u8>>,
    pub(super) high: Bound<Vec<u8>>,
}

impl Gap {
    pub(super) fn range(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        (self.low.as_ref().map(Vec::as_slice), self.high.as_ref().map(Vec::as_slice))
    }

    /// The keys to try. They have at most the length of the longest key that is known (0: none is).
    fn points(&self, longest_key: usize) -> impl Iterator<Item = Vec<u8>> {
        let (low, high) = (key(&self.low), key(&self.high));
        let common = match (low, high) {
            (Some(low), Some(high)) => low.iter().zip(high).take_while(|(low, high)| low == high).count(),
            _ => 0,
        };
        let window = match longest_key {
            0 => WINDOW,
            longest => longest.saturating_sub(common).clamp(1, WINDOW),
        };
        // The part of a key that is varied, as a number.
        let number = |key: &[u8]| {
            let bytes = key[common..].iter().chain(std::iter::repeat(&0)).take(window);
            bytes.fold(0u128, |number, byte| number << 8 | u128::from(*byte))
        };
        let start = low.map_or(0, number);
        let end = high.map_or(1 << (8 * window), number);
        let width = end.saturating_sub(start);
        // All, if they are few: else each an eighth further away from one end than the last, and then all over.
        let (few, many, halvings) = if width <= 1 << HALVINGS { (width, 0, 0) } else { (0, width, HALVINGS) };
        let steps = (1..8).chain((0..8 * window).flat_map(|bit| (8u128..16).map(move |part| part << bit)));
        let near =
            steps.take_while(move |step| *step <= many).flat_map(move |step| [start + step, end - step]);
        let spread = (1..=halvings).flat_map(move |halving| {
            (1..1u128 << halving).step_by(2).map(move |part| start + ((many * part) >> halving))
        });
        let numbers = (start..=start + few).chain(near).chain(spread);
        let prefix = low.map_or(&[][..], |low| &low[..common]).to_vec();
        numbers
            .filter(move |number| *number < 1 << (8 * window))
            .map(move |number| [&prefix[..], &number.to_be_bytes()[16 - window..]].concat())
            .filter(|point| (self.low.as_ref(), self.high.as_ref()).contains(point))
    }
}

fn key(bound: &Bound<Vec<u8>>) -> Option<&[u8]> {
    match bound {
        Bound::Included(key) | Bound::Excluded(key) => Some(key),
        Bound::Unbounded => None,
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Bound::{Excluded, Included, Unbounded};

    use super::*;

    fn points(low: Bound<&[u8]>, high: Bound<&[u8]>, longest: usize) -> Vec<Vec<u8>> {
        let gap = Gap { low: low.map(<[u8]>::to_vec), high: high.map(<[u8]>::to_vec) };
        gap.points(longest).collect()
    }

    #[test]
    fn keys_that_are_tried_lie_in_the_gap() {
        type Key = Bound<&'static [u8]>;
        let table: &[(Key, Key, usize)] = &[
            (Unbounded, Unbounded, 0),
            (Unbounded, Unbounded, 1),
            (Unbounded, Unbounded, 1000),
            (Unbounded, Excluded(b"b"), 4),
            (Excluded(b"b"), Unbounded, 4),
            (Included(b"\xff\xff"), Unbounded, 2),
            (Excluded(b"\xff\xff"), Unbounded, 2),
            (Excluded(b"a"), Excluded(b"b"), 1),
            (Excluded(b"a"), Excluded(b"a\0"), 2),
            (Excluded(b"ab"), Excluded(b"abcd"), 4),
            (Excluded(b"the same for many bytes: a"), Excluded(b"the same for many bytes: b"), 60),
            (Excluded(b""), Excluded(b"\0"), 1),
        ];
        for (low, high, longest) in table {
            for point in points(*low, *high, *longest) {
                assert!((*low, *high).contains(&point[..]), "{point:?} in {low:?} to {high:?}");
                assert!(*longest == 0 || point.len() <= (*longest).max(1), "{point:?} of {longest}");
            }
        }
    }

    #[test]
    fn a_narrow_gap_is_tried_key_by_key() {
        let mut tried = points(Excluded(&[7, 1, 0]), Excluded(&[7, 1, 200]), 3);
        tried.sort_unstable();
        tried.dedup();
        assert_eq!(tried, (1..200).map(|last| vec![7, 1, last]).collect::<Vec<_>>());
    }

    #[test]
    fn a_wide_gap_is_tried_near_its_ends_and_all_over() {
        let tried = points(Excluded(&1000u32.to_be_bytes()), Unbounded, 4);
        let tried: Vec<u32> =
            tried.iter().map(|key| u32::from_be_bytes(key[..].try_into().unwrap())).collect();
        for expected in [1001, 1002, 1003, 1018, 1000 + (9 << 20), u32::MAX, u32::MAX - 8, (1 << 31) + 500] {
            assert!(tried.contains(&expected), "{expected} in {tried:?}");
        }
        let mut sorted = tried.clone();
        sorted.sort_unstable();
        let widest = sorted.windows(2).map(|pair| pair[1] - pair[0]).max();
        assert!(widest <= Some((u32::MAX >> 8) + 1), "{widest:?}");
        assert!(tried.len() < 800);
    }
}
