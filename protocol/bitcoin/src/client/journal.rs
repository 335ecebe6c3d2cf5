//! What the application has been told and has not acknowledged, where it acknowledges: kept in the order in which it was told, so
//! that a crash at any instant neither loses nor repeats anything.
//!
//! What is told is written with the batch that brings it about. What is acknowledged is removed; the rest is told again at
//! the start, as it was told first.

use alloc::vec::Vec;
use core::ops::Bound;

use andon_kernel::{BatchWriter, Order, Rows};

use super::api::Event;
use super::record::Begun;
use super::start::{Fault, Loading, Step, Went};
use super::{Client, Then, Turn, record};

/// What may be told and not acknowledged before the search waits: some ten megabytes on the disk.
const MAX_OPEN: u64 = 100_000;

/// What is told again in one turn.
const PAGE: u32 = 500;

/// By how much numbers go on above those that were seen, where there are others.
const UNSEEN: u64 = 1 << 40;

/// How far the application is with what it was told.
#[derive(Debug)]
pub(super) struct Journal {
    is_on: bool,
    /// The number of the last that is written down, or is about to be.
    last: u64,
    /// The number of the last mark.
    told: u64,
    /// Everything up to this one is acknowledged.
    acknowledged: u64,
    /// Whether the application has not acknowledged anything in an earlier run: then it hears of all that was found.
    is_new: bool,
    /// What is acknowledged before everything is read.
    early: u64,
}

impl Journal {
    pub(super) const fn new(is_on: bool) -> Self {
        Self { is_on, last: 0, told: 0, acknowledged: 0, is_new: true, early: 0 }
    }

    /// Whether so much is not acknowledged that nothing is to be added.
    pub(super) const fn is_full(&self) -> bool {
        self.is_on && self.last - self.acknowledged >= MAX_OPEN
    }

    /// What is up to this number need not be told again, if it has not been.
    pub(super) fn acknowledge_early(&mut self, number: u64) {
        self.early = self.early.max(number);
    }

    /// A mark is told.
    pub(super) const fn told(&mut self, number: u64) {
        self.told = number;
    }

    /// Whether the application holds findings of earlier runs, which are not told again.
    pub(super) const fn is_held_elsewhere(&self) -> bool {
        self.is_on && !self.is_new
    }

    /// Writes those events down that are to be acknowledged, and puts a mark behind them.
    pub(super) fn note(&mut self, batch: &mut BatchWriter<'_>, events: &mut Vec<Event>) {
        if !self.is_on {
            return;
        }
        let before = self.last;
        for event in events.iter() {
            if record::put_told(batch, self.last + 1, event) {
                self.last += 1;
            }
        }
        if self.last > before {
            // Ahead of an answer or a `Checked` that stands for them as well.
            let last = events.iter().rposition(record::is_told).map_or(events.len(), |at| at + 1);
            events.insert(last, Event::Mark(self.last));
        }
    }
}

impl Client {
    /// The application has kept what it was told up to a number.
    pub(super) fn acknowledge(&mut self, turn: &mut Turn<'_>, number: u64) {
        // What is not told yet can't have been kept.
        let number = number.min(self.journal.told);
        if !self.journal.is_on || number <= self.journal.acknowledged {
            return;
        }
        self.journal.acknowledged = number;
        self.store(turn, Vec::new(), Then::Nothing, |batch| record::put_acknowledged(batch, number, true));
    }

    /// Begins to read what is not acknowledged. If nothing is to be: what an earlier run has left of it goes.
    pub(super) fn load_journal(&mut self, turn: &mut Turn<'_>, loading: &mut Loading) {
        loading.is_first_told = true;
        let (space, from) = (record::TOLD, Bound::Unbounded);
        self.load_step(turn, loading, Step::Told, space, (from, Bound::Unbounded), Order::Ascending, PAGE);
    }

    /// Tells again what is not acknowledged.
    pub(super) fn take_told(
        &mut self,
        turn: &mut Turn<'_>,
        loading: &mut Loading,
        rows: Rows<'_>,
        more: bool,
    ) -> Result<Went, Fault> {
        let is_first = core::mem::replace(&mut loading.is_first_told, false);
        if is_first {
            let begun = record::read_begun(rows);
            match begun {
                Begun::Never => {}
                Begun::At { number, is_on } => {
                    (self.journal.last, self.journal.acknowledged) = (number, number);
                    self.journal.is_new = !is_on;
                }
                Begun::Unreadable { before } => {
                    // Numbers that were given out are not given out again, whatever they were.
                    let above = before.unwrap_or_else(|| turn.now.unix.as_secs() << 20);
                    (self.journal.last, self.journal.acknowledged) = (above, above);
                    self.journal.is_new = false;
                    self.journal_damaged(turn, "up to where all is acknowledged was unreadable");
                    self.store(turn, Vec::new(), Then::Nothing, |batch| {
                        record::put_acknowledged(batch, above, true);
                    });
                }
            }
            self.journal.told = self.journal.acknowledged;
        }
        if !self.journal.is_on || self.journal.is_new {
            // Nobody acknowledges, or an earlier run was cut short while it began. Numbers that were given out are not given out
            // again, so that an old acknowledgement can't be taken for one of what is told later.
            let numbers = rows.iter().filter_map(|(key, _)| record::told_number(key));
            let highest = numbers.max().unwrap_or(0);
            let is_left = highest > 0 || (!self.journal.is_on && !self.journal.is_new);
            if is_left {
                let unseen = if more { UNSEEN } else { 0 };
                let number = self.journal.last.max(highest).saturating_add(unseen);
                (self.journal.last, self.journal.acknowledged, self.journal.told) = (number, number, number);
                self.store(turn, Vec::new(), Then::Nothing, |batch| record::put_disregarded(batch, number));
            }
            return Ok(Went::Done);
        }
        let mut unreadable = Vec::new();
        let mut told = None;
        for (key, value) in rows.iter().filter(|(key, _)| !record::is_begun_key(key)) {
            let read = record::read_told(key, value);
            let number = read.as_ref().map(|(number, _)| *number).or_else(|| record::told_number(key));
            self.journal.last = self.journal.last.max(number.unwrap_or(0));
            match read {
                // It has been kept since the last run.
                Some((number, _)) if number <= self.journal.early => told = Some(number),
                Some((number, event)) => {
                    turn.out.event(*event);
                    told = Some(number);
                }
                None => unreadable.push(key),
            }
        }
        if let Some(number) = told {
            self.journal.told = number;
            if number > self.journal.early {
                turn.out.event(Event::Mark(number));
            }
        }
        if !unreadable.is_empty() {
            self.journal_damaged(
                turn,
                "something that was told and is not acknowledged was unreadable, and is lost",
            );
            self.store(turn, Vec::new(), Then::Nothing, |batch| {
                unreadable.iter().for_each(|key| record::delete(batch, record::TOLD, key));
            });
        }
        Ok(if self.load_more(turn, loading, rows, more) { Went::On } else { Went::Done })
    }

    fn journal_damaged(&self, turn: &mut Turn<'_>, what: &'static str) {
        turn.out.event(Event::Repaired { what, kept: self.chain.tip() });
    }

    /// Tells what is recorded, at the start: to an application that acknowledges, if it is new to that.
    pub(super) fn tell_again(&mut self, turn: &mut Turn<'_>, events: Vec<Event>) {
        if !self.journal.is_on {
            events.into_iter().for_each(|event| turn.out.event(event));
        } else if self.journal.is_new && !events.is_empty() {
            self.store(turn, events, Then::Nothing, |_| {});
        }
    }

    /// All that was found is told, or written down to be told: from here on the journal has it all.
    pub(super) fn journal_begun(&mut self, turn: &mut Turn<'_>) {
        if self.journal.is_on && self.journal.is_new {
            let before = self.journal.acknowledged;
            self.store(turn, Vec::new(), Then::Nothing, |batch| {
                record::put_acknowledged(batch, before, true)
            });
        }
    }
}
