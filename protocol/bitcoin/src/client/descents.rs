//! Searching newest first: what was paid lately is found before what was paid long ago.
//!
//! What is watched belongs to a group, which goes up from the tip with the chain, and to a descent, which goes down to where
//! it is watched from, step by step. Each step is searched upwards, as everything is; the first have a day's blocks, and each
//! of the next twice as many up to a month's. A step ends with a question that a search upwards never has: an output that was
//! received in it may be spent in a block above, which has been read when nobody knew of that output. So of each block that is
//! read meanwhile, what it spends is remembered on the disk: a hash of each outpoint whose input may spend what is watched,
//! by its shape. For a wallet without taproot scripts that is next to nothing.
//!
//! One descent is under way at a time: one that has begun a step, else the highest, which goes down until it meets the next.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::ops::Bound;

use andon_kernel::{Order, Rows, Ticket};
use bitcoin::{OutPoint, ScriptBuf, Txid};

use super::api::{BlockId, Event, Touch, TouchKind};
use super::record::{self, TouchKey};
use super::watches::{Group, GroupId, Watch};
use super::{Client, Then, Turn};

/// Blocks of a first step, and of any step at most.
const FIRST_STEP: u32 = 144;
const MAX_STEP: u32 = 32 * FIRST_STEP;

/// Blocks whose remembered spendings are looked through at a time.
const PAGE: u32 = 16;

/// How far a descent is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Descended {
    /// From here up to `next` its step has been searched.
    pub(super) start: u32,
    pub(super) next: u32,
    /// From here on everything has been searched.
    pub(super) below: u32,
}

impl Descended {
    /// Nothing below a height has been searched.
    pub(super) const fn at(height: u32) -> Self {
        Self { start: height, next: height, below: height }
    }

    /// What is above a height counts no longer as searched by it.
    pub(super) fn lower(&mut self, height: u32) {
        self.start = self.start.min(height);
        self.next = self.next.min(height);
        self.below = self.below.min(height);
    }
}

/// What is searched for newest first, down to the same height.
#[derive(Debug)]
pub(super) struct Descent {
    /// Its step: `next` is the first height of it that is to be searched.
    pub(super) group: Group,
    pub(super) start: u32,
    pub(super) below: u32,
    /// The lowest height from which anything of it is watched.
    floor: u32,
    /// Blocks that the next step has.
    length: u32,
    /// Outputs that were received in this step and are not spent in it.
    receipts: BTreeSet<OutPoint>,
}

/// The descents. The one that has got least far down is first.
#[derive(Debug, Default)]
pub(super) struct Descents(Vec<Descent>);

/// An input of a block that has been read, which may spend what is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Remembered {
    pub(super) txid: Txid,
    /// Of the transaction in its block.
    pub(super) position: u32,
    pub(super) input: u32,
    /// Of what it spends: see [`record::outpoint_hash`].
    pub(super) hash: u64,
}

/// A step is at its end, and what is remembered of blocks above it is being looked through.
#[derive(Debug)]
pub(super) struct Resolving {
    ticket: Ticket,
    descent: GroupId,
    found: Vec<(TouchKey, Touch)>,
}

impl Descent {
    /// Whether a step is under way.
    pub(super) fn has_step(&self) -> bool {
        self.start < self.below
    }

    /// How far it is.
    pub(super) fn at(&self) -> Descended {
        Descended { start: self.start, next: self.group.next, below: self.below }
    }

    /// How many blocks are to be searched below what has been settled.
    pub(super) fn left(&self) -> u32 {
        let step = if self.has_step() { self.below - self.group.next } else { 0 };
        step + self.start.saturating_sub(self.floor)
    }
}

impl Descents {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Descent> {
        self.0.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Descent> {
        self.0.iter_mut()
    }

    /// The one that goes on: that which has begun a step, else the highest.
    pub(super) fn first(&self) -> Option<&Descent> {
        self.0.iter().find(|descent| descent.has_step()).or(self.0.first())
    }

    fn named(&self, id: GroupId) -> Option<&Descent> {
        self.0.iter().find(|descent| descent.group.id == id)
    }

    /// How far one is, if it is one.
    pub(super) fn at(&self, id: GroupId) -> Option<Descended> {
        self.named(id).map(Descent::at)
    }

    /// Whether what belongs to one has been searched for at a height that its group has reached.
    pub(super) fn has_searched(&self, id: GroupId, height: u32) -> bool {
        self.named(id).is_none_or(|descent| {
            height >= descent.below || (descent.start..descent.group.next).contains(&height)
        })
    }

    /// The height from which on what belongs to one has been searched for.
    pub(super) fn searched_from(&self, id: GroupId) -> u32 {
        self.named(id).map_or(0, |descent| descent.below)
    }

    /// How far those are that are stored.
    pub(super) fn positions(&self) -> BTreeMap<GroupId, Descended> {
        let stored = self.0.iter().filter(|descent| descent.group.members > 0);
        stored.map(|descent| (descent.group.id, descent.at())).collect()
    }

    /// One that begins at a height and has not taken a step.
    pub(super) fn waiting_at(&self, height: u32) -> Option<GroupId> {
        let waiting = self.0.iter().find(|descent| descent.below == height && !descent.has_step());
        waiting.map(|descent| descent.group.id)
    }

    /// Adds one.
    pub(super) fn begin(&mut self, group: Group, at: Descended) {
        let Descended { start, below, .. } = at;
        let receipts = BTreeSet::new();
        self.0.push(Descent { group, start, below, floor: 0, length: FIRST_STEP, receipts });
        self.sort();
    }

    fn sort(&mut self) {
        self.0.sort_by_key(|descent| core::cmp::Reverse(descent.below));
    }

    /// Takes the next step. False: one is under way, or there is nothing left.
    pub(super) fn step(&mut self) -> bool {
        if self.0.iter().any(Descent::has_step) {
            return false;
        }
        let met = self.0.get(1).map_or(0, |lower| lower.below);
        let Some(descent) = self.0.first_mut() else { return false };
        let least = descent.floor.max(met);
        if least >= descent.below {
            return false;
        }
        descent.start = descent.below.saturating_sub(descent.length).max(least);
        descent.length = (descent.length * 2).min(MAX_STEP);
        descent.group.begin_at(descent.start);
        true
    }

    /// Notes that the step of one is at its end, and what it received is settled.
    pub(super) fn finish_step(&mut self, id: GroupId) {
        if let Some(descent) = self.0.iter_mut().find(|descent| descent.group.id == id) {
            descent.below = descent.start;
            descent.group.begin_at(descent.start);
            descent.receipts.clear();
        }
        self.sort();
    }

    /// Removes those that have come to their ends, or that nothing belongs to any more, and returns them.
    pub(super) fn take_over(&mut self) -> Vec<Descent> {
        let is_over = |descent: &mut Descent| {
            descent.group.members == 0 || (!descent.has_step() && descent.floor >= descent.below)
        };
        self.0.extract_if(.., is_over).collect()
    }

    /// Makes one of two that have met. Returns the one that is left and the one that is gone.
    pub(super) fn merge(&mut self) -> Option<(GroupId, GroupId)> {
        let have_met =
            |pair: &[Descent]| pair[0].below == pair[1].below && !pair[0].has_step() && !pair[1].has_step();
        let place = self.0.windows(2).position(have_met)?;
        let other = self.0.remove(place + 1);
        let descent = &mut self.0[place];
        let (into, gone) = (descent.group.id.min(other.group.id), descent.group.id.max(other.group.id));
        descent.group.id = into;
        descent.group.is_prepared = false;
        descent.floor = descent.floor.min(other.floor);
        descent.length = descent.length.max(other.length);
        Some((into, gone))
    }

    /// Notes that what belongs to them may have changed.
    pub(super) fn change(&mut self) {
        self.0.iter_mut().for_each(|descent| descent.group.is_prepared = false);
    }

    /// Goes back with what has been searched above a height. False: nothing has.
    pub(super) fn go_back(&mut self, height: u32) -> bool {
        let mut any = false;
        for descent in self.0.iter_mut().filter(|descent| descent.below > height) {
            any = true;
            let mut at = descent.at();
            at.lower(height);
            (descent.start, descent.below) = (at.start, at.below);
            descent.group.go_back(at.next);
            if !descent.has_step() {
                descent.group.begin_at(at.next);
            }
        }
        self.sort();
        any
    }

    /// Counts what belongs to each.
    pub(super) fn count_members<'a>(&mut self, watches: impl Iterator<Item = &'a Watch>) {
        if self.0.is_empty() {
            return;
        }
        let mut members: BTreeMap<GroupId, (usize, u32)> = BTreeMap::new();
        for watch in watches {
            if let Some(descent) = watch.descent {
                let (count, floor) = members.entry(descent).or_insert((0, u32::MAX));
                *count += 1;
                *floor = watch.from.min(*floor);
            }
        }
        for descent in &mut self.0 {
            (descent.group.members, descent.floor) =
                members.remove(&descent.group.id).unwrap_or((0, u32::MAX));
        }
    }

    /// Takes in a finding of what belongs to one.
    pub(super) fn note(&mut self, id: Option<GroupId>, touch: &Touch) {
        match touch.kind {
            TouchKind::Received { output } => {
                let descent = self.0.iter_mut().find(|descent| Some(descent.group.id) == id);
                if let Some(descent) = descent
                    && (descent.start..descent.below).contains(&touch.block.height)
                {
                    descent.receipts.insert(OutPoint { txid: touch.txid, vout: output });
                }
            }
            TouchKind::Spent { outpoint, .. } => {
                for descent in &mut self.0 {
                    descent.receipts.remove(&outpoint);
                }
            }
        }
    }
}

impl Client {
    /// Goes on with what is searched for newest first: ends a step, and takes the next.
    pub(super) fn descend(&mut self, turn: &mut Turn<'_>) {
        while !self.search.watches.descents.is_empty() && self.search.resolving.is_none() {
            let step = self.search.watches.descending().map(|descent| (descent.group.id, descent.at()));
            match step {
                Some((id, at)) if at.next == at.below => {
                    self.resolve(turn, id, Bound::Included(&record::height_key(at.below)), Vec::new());
                }
                Some(_) => return,
                None if self.search.watches.descend() => {}
                None => return,
            }
            // One that has come to its end is over, and those that have met are one.
            self.arrange_groups(turn);
        }
    }

    /// Removes descents that are over. With the last of them goes what was remembered.
    pub(super) fn end_descents(&mut self, turn: &mut Turn<'_>) {
        let (over, scripts) = self.search.watches.end_descents();
        if over.is_empty() {
            return;
        }
        for descent in over.iter().filter(|descent| descent.has_step()) {
            self.give_up_search(descent.start, descent.below - 1);
        }
        let records = self.search.watches.records(&scripts, &[]);
        let is_last = self.search.watches.descents.is_empty();
        let height = self.search.watches.checked_below().filter(|_| !scripts.is_empty());
        let height = height.and_then(|next| next.checked_sub(1));
        let checked = height.and_then(|height| Some(BlockId { height, hash: self.chain.at(height)?.1 }));
        let events = checked.map(Event::Checked).into_iter().collect();
        self.store(turn, events, Then::Nothing, |batch| {
            records.put(batch);
            over.iter().for_each(|descent| record::delete_descent(batch, descent.group.id));
            if is_last {
                batch.delete_from(record::SPENDS, &[]);
            }
        });
    }

    /// Looks through what is remembered of blocks above a step for the spending of what was received in it.
    fn resolve(
        &mut self,
        turn: &mut Turn<'_>,
        id: GroupId,
        from: Bound<&[u8]>,
        found: Vec<(TouchKey, Touch)>,
    ) {
        if self.receipts(id).is_empty() {
            return self.finish_step(turn, id, found);
        }
        let ticket = self.names.ticket();
        turn.out.load(ticket, record::SPENDS, (from, Bound::Unbounded), Order::Ascending, PAGE);
        self.search.resolving = Some(Resolving { ticket, descent: id, found });
    }

    /// What was received in the step of a descent and is not known to be spent.
    fn receipts(&self, id: GroupId) -> Vec<OutPoint> {
        let findings = &self.search.findings;
        let receipts =
            self.search.watches.descents.named(id).into_iter().flat_map(|descent| &descent.receipts);
        receipts.filter(|outpoint| findings.script_of(outpoint).is_some()).copied().collect()
    }

    /// Looks through a page. False: it was loaded for something else.
    pub(super) fn remembered_loaded(
        &mut self,
        turn: &mut Turn<'_>,
        ticket: Ticket,
        rows: Rows<'_>,
        more: bool,
    ) -> bool {
        let Some(resolving) = self.search.resolving.take_if(|resolving| resolving.ticket == ticket) else {
            return false;
        };
        let Resolving { descent, mut found, .. } = resolving;
        let receipts = self.receipts(descent);
        for (key, value) in rows.iter() {
            let Some((block, remembered)) = record::read_spends(key, value) else {
                self.remembered_damaged(turn);
                return true;
            };
            let hashes: BTreeMap<u64, OutPoint> = receipts
                .iter()
                .map(|outpoint| (record::outpoint_hash(&block.hash, outpoint), *outpoint))
                .collect();
            for Remembered { txid, position, input, hash } in remembered {
                if let Some(&outpoint) = hashes.get(&hash)
                    && let Some((script, amount)) = self.search.findings.output(&outpoint)
                {
                    let kind = TouchKind::Spent { input, outpoint };
                    let (script, amount) = (script.clone(), Some(amount));
                    let touch = Touch { block, txid, kind, script, amount, derivation: None };
                    found.push((TouchKey::new(block.height, position, kind), touch));
                }
            }
        }
        match rows.iter().last().filter(|_| more) {
            Some((last, _)) => self.resolve(turn, descent, Bound::Excluded(last), found),
            None => self.finish_step(turn, descent, found),
        }
        true
    }

    /// Tells what was found for a step above it, and notes that it is at its end.
    fn finish_step(&mut self, turn: &mut Turn<'_>, id: GroupId, mut found: Vec<(TouchKey, Touch)>) {
        let search = &mut self.search;
        for (_, touch) in &mut found {
            search.descriptors.note_derivation(touch, &search.watches);
            search.findings.restore(touch, &search.watches);
        }
        // Those that watch the output have heard of it.
        let watches = &search.watches;
        found.retain(|(_, touch)| match touch.kind {
            TouchKind::Spent { outpoint, .. } => {
                let watched = watches.outpoints().get(&outpoint);
                !watched.is_some_and(|watched| watches.has_searched(&watched.watch, touch.block.height))
            }
            TouchKind::Received { .. } => true,
        });
        search.watches.finish_step(id);
        let at = search.watches.descents.at(id);
        let events = found.iter().map(|(_, touch)| Event::Touched(touch.clone())).collect();
        self.store(turn, events, Then::Nothing, |batch| {
            for (key, touch) in &found {
                record::put_touch(batch, *key, touch);
            }
            if let Some(at) = at {
                record::put_descent(batch, id, at);
            }
        });
    }

    /// What was remembered can't be read: what is searched for newest first is searched for anew, from below.
    fn remembered_damaged(&mut self, turn: &mut Turn<'_>) {
        let kept = self.chain.tip();
        turn.out.event(Event::Repaired { what: "what blocks spend was unreadable", kept });
        let mut scripts: BTreeMap<u32, Vec<(ScriptBuf, Watch)>> = BTreeMap::new();
        for (script, watch) in
            self.search.watches.scripts().iter().filter(|(_, watch)| watch.descent.is_some())
        {
            let from = scripts.entry(watch.from).or_default();
            from.push((script.clone(), Watch { descent: None, ..*watch }));
        }
        self.search_anew(turn, scripts, BTreeMap::new());
    }

    /// Gives up looking through what is remembered: it begins again when what has changed is settled.
    pub(super) fn give_up_resolving(&mut self) {
        self.search.resolving = None;
    }
}
