//! One request for filters, and what of it has come.

use alloc::vec::Vec;

use andon_kernel::ConnId;
use bitcoin::BlockHash;

#[derive(Debug)]
pub(super) struct Request {
    pub(super) peer: ConnId,
    pub(super) serial: u64,
    pub(super) first: u32,
    /// Which filters have come from this peer.
    pub(super) came: Vec<bool>,
    /// How many of them have not.
    pub(super) owed: u32,
    /// Bytes of a filter, on average over those that have come; of the last ones from anyone, until one has.
    pub(super) average: u64,
    pub(super) any_came: bool,
    /// From this height on another peer is asked as well.
    pub(super) shared_from: Option<u32>,
    /// It is for what another was asked for before.
    pub(super) is_second: bool,
    /// The blocks, if it was made before their filter headers were known.
    pub(super) early: Vec<BlockHash>,
}

impl Request {
    pub(super) fn last(&self) -> u32 {
        self.first + self.came.len() as u32 - 1
    }

    /// Whether the filter at a height may still come from this peer.
    pub(super) fn owes(&self, height: u32) -> bool {
        let place = height.checked_sub(self.first);
        place.and_then(|place| self.came.get(place as usize)) == Some(&false)
    }

    pub(super) fn bytes(&self) -> u64 {
        u64::from(self.owed) * self.average
    }

    pub(super) fn owed_heights(&self) -> impl DoubleEndedIterator<Item = u32> + '_ {
        (self.first..=self.last()).filter(|height| self.owes(*height))
    }

    pub(super) fn overlaps(&self, other: &Self) -> bool {
        self.first <= other.last() && other.first <= self.last()
    }

    /// Waits for what it owes of these heights no more. Returns how many that are.
    pub(super) fn forgo(&mut self, first: u32, last: u32) -> u32 {
        let mut forgone = 0;
        for height in first.max(self.first)..=last.min(self.last()) {
            let came = &mut self.came[(height - self.first) as usize];
            forgone += u32::from(!*came);
            *came = true;
        }
        self.owed -= forgone;
        forgone
    }
}
