//! What the application wants watched: since which block, found by date where it was given so, and what that does to
//! a search under way.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use andon_kernel::Ticket;
use bitcoin::ScriptBuf;
use bitcoin::block::Header;

use super::api::{Birthday, Event};
use super::findings::Findings;
use super::taking_back::TakingBack;
use super::{Client, Then, Turn, record};

/// How much earlier than a birthday a block's time may be that is later in truth.
const TIME_SLACK: u64 = 2 * 60 * 60;

/// Scripts that are to be watched.
#[derive(Debug)]
pub(super) struct WatchOrder {
    pub(super) scripts: Vec<ScriptBuf>,
    pub(super) from: Birthday,
    pub(super) only: bool,
}

/// A search for the first block at or after a time: it is in `low..=high`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dating {
    pub(super) ticket: Option<Ticket>,
    pub(super) time: u64,
    pub(super) low: u32,
    pub(super) high: u32,
}

impl Client {
    /// Carries out what the application wants, as far as that is possible now.
    pub(super) fn carry_out_orders(&mut self, turn: &mut Turn<'_>) {
        while let Some(order) = self.search.orders.front() {
            let Some(from) = (match order.from {
                Birthday::Height(height) => Some(height),
                Birthday::Time(time) => {
                    let time = time.as_secs().saturating_sub(TIME_SLACK);
                    self.date(turn, time)
                }
            }) else {
                return;
            };
            self.search.dating = None;
            let Some(order) = self.search.orders.pop_front() else { return };
            self.watch(turn, order.scripts, from, order.only);
            if self.search.taking_back != TakingBack::No {
                return;
            }
        }
    }

    /// The height of the first block at or after `time`; that of the tip if there is none. `None`: not known yet.
    ///
    /// Times of blocks rise but for an hour or two, which the slack before the time makes up for.
    fn date(&mut self, turn: &mut Turn<'_>, time: u64) -> Option<u32> {
        if !self.headers_are_current() {
            return None;
        }
        let tip = self.chain.tip_height();
        let low = self.chain.start().height();
        let mut dating = self.search.dating.unwrap_or(Dating { ticket: None, time, low, high: tip });
        dating.high = dating.high.min(tip);
        while dating.ticket.is_none() && dating.low < dating.high {
            let middle = dating.middle();
            match self.chain.at(middle) {
                Some((header, _)) => dating.narrow(middle, header),
                None => dating.ticket = Some(self.load_headers(turn, record::HEADERS, middle, middle)),
            }
        }
        self.search.dating = Some(dating);
        dating.ticket.is_none().then_some(dating.low)
    }

    fn watch(&mut self, turn: &mut Turn<'_>, scripts: Vec<ScriptBuf>, from: u32, only: bool) {
        let first = self.filter_headers.first_filter();
        if from < first {
            turn.out.event(Event::BirthdayBelowStart { birthday: from, first });
        }
        let from = from.max(first);
        let known = self.search.findings.watched();
        let scripts = scripts.into_iter().filter(|script| !script.is_empty());
        let mut wanted: BTreeMap<ScriptBuf, u32> = scripts.map(|script| (script, from)).collect();
        let reset = only && !(known.len() == wanted.len() && known.keys().eq(wanted.keys()));
        if reset {
            return self.watch_anew(turn, wanted, from);
        }
        wanted.retain(|script, from| known.get(script).is_none_or(|since| since > from));
        if wanted.is_empty() {
            return;
        }
        let mut watched = known.clone();
        watched.extend(wanted.iter().map(|(script, from)| (script.clone(), *from)));
        self.search.findings.watch(watched);
        self.give_up_search();
        let goes_back = self.search.go_back(from);
        let mut events = Vec::new();
        let mut then = Then::Nothing;
        if goes_back {
            events.push(Event::Rescan { from });
            then = Then::TakeBack;
            self.search.void_from = Some(self.search.void_from.map_or(from, |void| void.min(from)));
        }
        let next = *self.search.next.get_or_insert(from);
        self.search.durable.get_or_insert(from);
        self.synced = None;
        self.store(turn, events, then, |batch| {
            put_watched(batch, &wanted);
            record::put_next(batch, next);
        });
    }

    /// Forgets what was watched and found, and watches these scripts.
    fn watch_anew(&mut self, turn: &mut Turn<'_>, watched: BTreeMap<ScriptBuf, u32>, from: u32) {
        let was_watching = self.search.next.is_some();
        self.give_up_search();
        self.search.findings = Findings::new();
        self.search.findings.watch(watched.clone());
        self.search.next = Some(from);
        self.search.durable = Some(from);
        self.synced = None;
        let events = if was_watching { Vec::from([Event::Rescan { from: 0 }]) } else { Vec::new() };
        self.store(turn, events, Then::Nothing, |batch| {
            batch.delete_from(record::WATCH, &[]);
            batch.delete_from(record::TOUCH, &[]);
            put_watched(batch, &watched);
            record::put_next(batch, from);
        });
    }
}

impl Dating {
    /// The height that is looked at next.
    pub(super) const fn middle(&self) -> u32 {
        self.low + (self.high - self.low) / 2
    }

    /// Takes in the block at the height in the middle.
    pub(super) fn narrow(&mut self, middle: u32, header: &Header) {
        if u64::from(header.time) >= self.time { self.high = middle } else { self.low = middle + 1 }
    }
}

fn put_watched(batch: &mut andon_kernel::BatchWriter<'_>, watched: &BTreeMap<ScriptBuf, u32>) {
    for (script, from) in watched {
        record::put_watched(batch, script.as_bytes(), *from);
    }
}
