//! Which node is chosen out of the book.

use super::book::Book;
use super::entry::ONE;
use super::grid::{Draw, Grid};
use super::rules::{Era, Selection};
use crate::random::Stream;

impl Book {
    /// Chooses a node, when there are so many outgoing connections. `None`: there is none to choose.
    pub(super) fn select(&self, outgoing: u32, only_new: bool, now: u32, stream: &mut Stream) -> Option<u32> {
        let grid = self.table(outgoing, only_new, stream)?;
        let by_age = self.rules.selection != Selection::Random;
        let draw = match (self.rules.selection, self.rules.era) {
            (Selection::FreshEntries, _) | (_, Era::Middle) => Draw::Entry,
            (_, Era::Old) => Draw::Bucket,
            (_, Era::Today) => Draw::Scan,
        };
        // Each draw that is not taken makes the next a fifth likelier: so one is taken in the end.
        let mut factor = ONE;
        loop {
            let id = grid.draw(draw, stream);
            let chance = (u128::from(self.entry(id).chance(by_age, now)) * u128::from(factor)) >> 32;
            if u128::from(stream.u64() >> 32) < chance {
                return Some(id);
            }
            // Beyond this everybody is taken who has any chance, and who has none has a bit of one.
            factor = if factor < 1 << 62 { factor + factor / 5 } else { factor };
            if factor >= 1 << 62 {
                return Some(id);
            }
        }
    }

    fn table(&self, outgoing: u32, only_new: bool, stream: &mut Stream) -> Option<&Grid> {
        let (new, tried) = (self.new_entries, self.tried.total());
        if new == 0 || only_new {
            let grid = if only_new { &self.new } else { &self.tried };
            return (grid.total() > 0).then_some(grid);
        }
        let is_tried = match self.rules.selection {
            Selection::Random => tried > 0 && stream.below(2) == 0,
            Selection::Fresh | Selection::FreshEntries => {
                let bias = u64::from(10 + 10 * outgoing.min(8));
                // Square roots to 16 binary places, rounded down.
                let root = |count: u32| (u64::from(count) << 32).isqrt();
                let (for_tried, for_new) = (root(tried) * (100 - bias), root(new) * bias);
                stream.below(for_tried + for_new) < for_tried
            }
        };
        Some(if is_tried { &self.tried } else { &self.new })
    }
}
