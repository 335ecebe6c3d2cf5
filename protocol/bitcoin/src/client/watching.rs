//! What the application wants watched, or searched for: since which block, found by date where it was given so, and what
//! that does to a search under way.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use andon_kernel::Ticket;
use bitcoin::block::Header;
use bitcoin::{OutPoint, ScriptBuf};

use super::api::{Birthday, Event, RequestId, WatchedOutput};
use super::descriptors::{Descriptor, Lookahead};
use super::taking_back::TakingBack;
use super::watches::{GroupId, Origin, Watch, WatchedOutpoint};
use super::{Client, Then, Turn, record};

/// How much earlier than a birthday a block's time may be that is later in truth.
const TIME_SLACK: u64 = 2 * 60 * 60;

/// What the application wants, and from which block on.
#[derive(Debug)]
pub(super) enum WatchOrder {
    Scripts { scripts: Vec<ScriptBuf>, from: Birthday, only: bool },
    Outputs { outputs: Vec<WatchedOutput>, from: Birthday },
    Unwatch { scripts: Vec<ScriptBuf>, outputs: Vec<OutPoint> },
    Rescan { from: Birthday },
    FindSpend { outpoint: OutPoint, script: ScriptBuf, from: Birthday },
    Descriptors { descriptors: Vec<Descriptor>, lookahead: Lookahead, from: Birthday, only: bool },
    UnwatchDescriptors { descriptors: Vec<Descriptor> },
}

/// A search for the first block at or after a time: it is in `low..=high`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dating {
    pub(super) ticket: Option<Ticket>,
    pub(super) time: u64,
    pub(super) low: u32,
    pub(super) high: u32,
}

impl WatchOrder {
    /// Whether it may be carried out newest first.
    const fn is_for_scripts(&self) -> bool {
        matches!(self, Self::Scripts { .. } | Self::Descriptors { .. })
    }

    const fn from(&self) -> Option<Birthday> {
        match self {
            Self::Scripts { from, .. }
            | Self::Outputs { from, .. }
            | Self::Rescan { from }
            | Self::FindSpend { from, .. }
            | Self::Descriptors { from, .. } => Some(*from),
            Self::Unwatch { .. } | Self::UnwatchDescriptors { .. } => None,
        }
    }
}

impl Client {
    /// Carries out what the application wants, as far as that is possible now.
    pub(super) fn carry_out_orders(&mut self, turn: &mut Turn<'_>) {
        if !self.search.orders.is_empty() {
            // What it gives up is asked for once more.
            self.settle(turn, true);
        }
        while let Some((_, order)) = self.search.orders.front() {
            if order.is_for_scripts() && self.config.newest_first && !self.headers_are_current() {
                // The newest are not known yet.
                return;
            }
            let Some(from) = (match order.from() {
                None => Some(0),
                Some(Birthday::Height(height)) => Some(height),
                Some(Birthday::Time(time)) => {
                    let time = time.as_secs().saturating_sub(TIME_SLACK);
                    self.date(turn, time)
                }
            }) else {
                return;
            };
            self.search.dating = None;
            let Some((request, order)) = self.search.orders.pop_front() else { return };
            let is_search = matches!(order, WatchOrder::FindSpend { .. });
            match order {
                WatchOrder::Scripts { scripts, only, .. } => self.watch_scripts(turn, scripts, from, only),
                WatchOrder::Outputs { outputs, .. } => self.watch_outputs(turn, outputs, from),
                WatchOrder::Unwatch { scripts, outputs } => self.unwatch(turn, &scripts, &outputs),
                WatchOrder::Rescan { .. } => self.rescan(turn, from),
                WatchOrder::FindSpend { outpoint, script, .. } => {
                    self.find_spend(turn, outpoint, script, from, request);
                }
                WatchOrder::Descriptors { descriptors, lookahead, only, .. } => {
                    self.watch_descriptors(turn, descriptors, from, lookahead, only);
                }
                WatchOrder::UnwatchDescriptors { descriptors } => {
                    self.unwatch_descriptors(turn, &descriptors);
                }
            }
            if !is_search {
                self.done(turn, request);
            }
            self.arrange_groups(turn);
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
        // One of an order that was given up is of no use.
        let dating = self.search.dating.filter(|dating| dating.time == time);
        let mut dating = dating.unwrap_or(Dating { ticket: None, time, low, high: tip });
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

    /// The first height that can be searched, from one that was asked for.
    pub(super) fn first_searched(&self, turn: &mut Turn<'_>, from: u32) -> u32 {
        let first = self.filter_headers.first_filter();
        if from < first {
            turn.out.event(Event::BirthdayBelowStart { birthday: from, first });
        }
        from.max(first)
    }

    /// The group that begins at a height. What is under way above it, up to the next group, is matched once more.
    pub(super) fn begin_group(&mut self, from: u32) -> GroupId {
        // What is searched for newest first waits until nothing is searched for from below any more.
        let descent = self.search.watches.descending().map(|descent| (descent.start, descent.below - 1));
        if let Some((first, last)) = descent.filter(|(_, last)| from <= *last) {
            self.give_up_search(first, last);
        }
        if let Some((_, end)) = self.search.watches.group_at(from) {
            self.give_up_search(from, end);
        }
        self.search.watches.group_from(from)
    }

    /// What scripts that are watched from a height on belong to: a group that begins there, or one at the tip and a descent.
    fn begin_scripts(&mut self, from: u32) -> (GroupId, Option<GroupId>) {
        let above = self.chain.tip_height() + 1;
        if from >= above || !self.goes_down() {
            return (self.begin_group(from), None);
        }
        let group = self.begin_group(above);
        (group, Some(self.search.watches.descent_from(above)))
    }

    /// Whether scripts are searched for newest first: if that is wanted, and while any are.
    fn goes_down(&self) -> bool {
        self.config.newest_first || !self.search.watches.descents.is_empty()
    }

    fn watch_scripts(&mut self, turn: &mut Turn<'_>, scripts: Vec<ScriptBuf>, from: u32, only: bool) {
        let from = self.first_searched(turn, from);
        let mut wanted: BTreeSet<ScriptBuf> =
            scripts.into_iter().filter(|script| !script.is_empty()).collect();
        let goes_back = self.search.watches.checked_below().is_some_and(|next| next > from);
        let known = self.search.watches.scripts();
        if only {
            // Those of descriptors go with these.
            let others =
                known.iter().filter(|(script, watch)| watch.origin.is_none() && !wanted.contains(*script));
            let others: Vec<ScriptBuf> = others.map(|(script, _)| script.clone()).collect();
            self.unwatch(turn, &others, &[]);
        }
        let known = self.search.watches.scripts();
        wanted.retain(|script| known.get(script).is_none_or(|watch| watch.from > from));
        let is_void = wanted.iter().any(|script| known.contains_key(script));
        let wanted: Vec<ScriptBuf> = wanted.into_iter().collect();
        if wanted.is_empty() {
            return;
        }
        let origins: Vec<Option<Origin>> =
            wanted.iter().map(|script| known.get(script).and_then(|watch| watch.origin)).collect();
        let (group, descent) = self.begin_scripts(from);
        let watches = wanted.iter().zip(origins);
        let watches =
            watches.map(|(script, origin)| (script.clone(), Watch { from, group, descent, origin }));
        self.search.watches.watch(group, watches, []);
        self.watched(turn, from, goes_back, is_void, &wanted, &[]);
    }

    /// Watches scripts that were derived from a height on.
    pub(super) fn watch_derived(
        &mut self,
        turn: &mut Turn<'_>,
        scripts: Vec<(ScriptBuf, Origin)>,
        from: u32,
    ) {
        let goes_back = self.search.watches.checked_below().is_some_and(|next| next > from);
        let known = self.search.watches.scripts();
        let is_void =
            scripts.iter().any(|(script, _)| known.get(script).is_some_and(|watch| watch.from > from));
        let all: Vec<ScriptBuf> = scripts.iter().map(|(script, _)| script.clone()).collect();
        let is_known = |script: &ScriptBuf| known.get(script).is_some_and(|watch| watch.from <= from);
        let (known, new): (Vec<_>, Vec<_>) = scripts.into_iter().partition(|(script, _)| is_known(script));
        let goes_back = goes_back && !new.is_empty();
        for (script, origin) in known {
            self.search.watches.set_origin(&script, origin);
        }
        if !new.is_empty() {
            let (group, descent) = self.begin_scripts(from);
            let watch = |(script, origin)| (script, Watch { from, group, descent, origin: Some(origin) });
            self.search.watches.watch(group, new.into_iter().map(watch), []);
        }
        self.watched(turn, from, goes_back, is_void, &all, &[]);
        self.arrange_groups(turn);
    }

    fn watch_outputs(&mut self, turn: &mut Turn<'_>, outputs: Vec<WatchedOutput>, from: u32) {
        let from = self.first_searched(turn, from);
        let known = self.search.watches.outpoints();
        let mut wanted: BTreeMap<OutPoint, WatchedOutpoint> = BTreeMap::new();
        for WatchedOutput { outpoint, script, amount } in outputs {
            let watch = Watch { from, group: 0, descent: None, origin: None };
            let is_new =
                known.get(&outpoint).is_none_or(|known| known.watch.from > from || known.script != script);
            if is_new && !script.is_empty() {
                wanted.insert(outpoint, WatchedOutpoint { script, amount, watch });
            }
        }
        if wanted.is_empty() {
            return;
        }
        let is_void = wanted.keys().any(|outpoint| known.contains_key(outpoint));
        let goes_back = self.search.watches.checked_below().is_some_and(|next| next > from);
        let outpoints: Vec<OutPoint> = wanted.keys().copied().collect();
        let group = self.begin_group(from);
        self.search.watches.watch(group, [], wanted);
        self.watched(turn, from, goes_back, is_void, &[], &outpoints);
    }

    /// Makes durable what has come to be watched from a height on, and takes back what was found for it if it was watched
    /// before.
    fn watched(
        &mut self,
        turn: &mut Turn<'_>,
        from: u32,
        goes_back: bool,
        is_void: bool,
        scripts: &[ScriptBuf],
        outpoints: &[OutPoint],
    ) {
        let records = self.search.watches.records(scripts, outpoints);
        let positions = self.search.watches.positions();
        let events = if goes_back { Vec::from([Event::Rescan { from }]) } else { Vec::new() };
        if is_void {
            self.search.taking_back.begin(from);
        }
        let then = if is_void { Then::TakeBack } else { Then::Nothing };
        self.synced = None;
        self.store(turn, events, then, |batch| {
            records.put(batch);
            record::put_positions(batch, &positions);
        });
    }

    pub(super) fn unwatch(&mut self, turn: &mut Turn<'_>, scripts: &[ScriptBuf], outpoints: &[OutPoint]) {
        let watches = &mut self.search.watches;
        let is_known = scripts.iter().any(|script| watches.scripts().contains_key(script))
            || outpoints.iter().any(|outpoint| watches.outpoints().contains_key(outpoint));
        if !is_known {
            return;
        }
        watches.unwatch(scripts, outpoints);
        self.give_up_resolving();
        self.search.findings.forget_unwatched(&self.search.watches);
        self.search.taking_back.begin(0);
        self.synced = None;
        self.store(turn, Vec::new(), Then::TakeBack, |batch| {
            scripts.iter().for_each(|script| record::delete(batch, record::WATCH, script.as_bytes()));
            outpoints.iter().for_each(|outpoint| record::delete_watched_outpoint(batch, outpoint));
        });
    }

    /// Searches once more from a height on, for each script and output from where it is watched.
    fn rescan(&mut self, turn: &mut Turn<'_>, from: u32) {
        let from = self.first_searched(turn, from);
        let mut scripts: BTreeMap<u32, Vec<(ScriptBuf, Watch)>> = BTreeMap::new();
        let mut outpoints: BTreeMap<u32, Vec<(OutPoint, WatchedOutpoint)>> = BTreeMap::new();
        let watches = &self.search.watches;
        for (script, watch) in watches.scripts() {
            let searched = watch.descent.map_or(0, |descent| watches.descents.searched_from(descent));
            let low = from.max(watch.from).max(searched);
            if watches.has_searched(watch, low) {
                scripts.entry(low).or_default().push((script.clone(), *watch));
            }
        }
        for (outpoint, watched) in watches.outpoints() {
            let low = from.max(watched.watch.from);
            if watches.has_searched(&watched.watch, low) {
                outpoints.entry(low).or_default().push((*outpoint, watched.clone()));
            }
        }
        self.search_anew(turn, scripts, outpoints);
    }

    /// Searches for these once more, from the heights by which they come. What was found for them there is taken back.
    pub(super) fn search_anew(
        &mut self,
        turn: &mut Turn<'_>,
        mut scripts: BTreeMap<u32, Vec<(ScriptBuf, Watch)>>,
        mut outpoints: BTreeMap<u32, Vec<(OutPoint, WatchedOutpoint)>>,
    ) {
        let lows: BTreeSet<u32> = scripts.keys().chain(outpoints.keys()).copied().collect();
        let Some(&lowest) = lows.first() else { return };
        let mut moved = (Vec::new(), Vec::new());
        for low in lows {
            let group = self.begin_group(low);
            let scripts = scripts.remove(&low).unwrap_or_default();
            let outpoints = outpoints.remove(&low).unwrap_or_default();
            moved.0.extend(scripts.iter().map(|(script, _)| script.clone()));
            moved.1.extend(outpoints.iter().map(|(outpoint, _)| *outpoint));
            self.search.watches.watch(group, scripts, outpoints);
        }
        self.watched(turn, lowest, true, true, &moved.0, &moved.1);
    }

    fn find_spend(
        &mut self,
        turn: &mut Turn<'_>,
        outpoint: OutPoint,
        script: ScriptBuf,
        from: u32,
        request: Option<RequestId>,
    ) {
        let from = self.first_searched(turn, from);
        let group = self.begin_group(from);
        self.search.watches.search_spend(group, outpoint, script, request);
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
