//! What is watched, and how far each part of it has been searched for.
//!
//! Scripts and outputs that have been searched for up to the same height form a group, and a group is searched for in one
//! pass. One that is added from an earlier block begins a group of its own there: it alone is looked for, until its group
//! has reached the next one, and both go on together. So many wallets take one pass, whatever their birthdays, and adding
//! to them costs what lies between. The lowest group is worked on; beside it the highest, while it is near the tip: a new
//! block is not kept waiting by what is searched for far below.
//!
//! What is searched for newest first has a descent beside its group: see `descents`.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use andon_kernel::{BatchWriter, Instant};
use bitcoin::{Amount, OutPoint, ScriptBuf, TxIn};

use super::api::{BlockId, RequestId, Touch, TouchKind};
use super::descents::{Descended, Descent, Descents};
use super::record;
use super::shapes::Shapes;
use crate::filter::Query;

/// How far below the tip the highest group may be that is searched for beside the lowest: a day. What it searches there is
/// searched once more for those from below.
const NEAR: u32 = 144;

/// The name of a group that is alone.
const ALONE: GroupId = 0;

/// The name of a group.
pub(super) type GroupId = u32;

/// How far the search is, as it is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Positions {
    /// Of each group, the first height that is to be searched.
    pub(super) groups: BTreeMap<GroupId, u32>,
    pub(super) descents: BTreeMap<GroupId, Descended>,
    /// What was remembered of blocks from this height on is void.
    pub(super) void: Option<u32>,
}

impl Positions {
    /// Goes back to a height with whatever is above it.
    pub(super) fn lower(&mut self, height: u32) {
        self.groups.values_mut().for_each(|next| *next = height.min(*next));
        self.descents.values_mut().for_each(|at| at.lower(height));
        self.void = Some(self.void.map_or(height, |void| void.min(height)));
    }
}

/// Since which block something is watched, and the group that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Watch {
    pub(super) from: u32,
    pub(super) group: GroupId,
    /// If it is searched for newest first, and that has not come to its end: the descent that it belongs to.
    pub(super) descent: Option<GroupId>,
    pub(super) origin: Option<Origin>,
}

impl Watch {
    /// Whether a group or a descent looks for it at a height.
    pub(super) fn is_of(&self, id: GroupId, height: u32) -> bool {
        self.group == id || (self.descent == Some(id) && self.from <= height)
    }
}

/// Which descriptor a script was derived of, at which index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) descriptor: u32,
    pub(super) index: u32,
}

/// An output that is watched for its spending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WatchedOutpoint {
    pub(super) script: ScriptBuf,
    pub(super) amount: Option<Amount>,
    pub(super) watch: Watch,
}

/// A search for the spending of an output, which ends when it is found or the tip is reached.
#[derive(Clone, Debug)]
pub(super) struct SpendSearch {
    pub(super) outpoint: OutPoint,
    pub(super) script: ScriptBuf,
    /// By which the application knows it.
    pub(super) request: Option<RequestId>,
    group: GroupId,
}

/// What is watched.
#[derive(Debug, Default)]
pub(super) struct Watches {
    scripts: BTreeMap<ScriptBuf, Watch>,
    outpoints: BTreeMap<OutPoint, WatchedOutpoint>,
    spends: Vec<SpendSearch>,
    /// Scripts that find transactions which are broadcast, and the group that looks for them. Not stored here.
    traced: Option<(GroupId, BTreeSet<ScriptBuf>)>,
    /// The lowest is first. When they are arranged no two are at the same height.
    groups: Vec<Group>,
    pub(super) descents: Descents,
    is_arranged: bool,
    named: GroupId,
    /// The first height from which anything is watched.
    birthday: Option<u32>,
    /// Which shapes their scripts have.
    shapes: Shapes,
    /// What was remembered of blocks from this height on is void, and that is not stored yet.
    void: Option<u32>,
}

/// What is searched for in one pass.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) id: GroupId,
    /// The first height whose findings have not been given to the store.
    pub(super) next: u32,
    /// The same, of what is durable.
    pub(super) durable: u32,
    /// The last block whose filter has been matched, above `next`.
    pub(super) matched_to: Option<BlockId>,
    /// When `next` was given to the store last.
    pub(super) settled_at: Instant,
    pub(super) query: Query,
    /// Scripts and outputs in it, which are stored.
    pub(super) members: usize,
    /// Whether the query is for what belongs to it now.
    pub(super) is_prepared: bool,
}

/// Two groups have met and are one, or one has another name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Merged {
    /// The group that is left, and where it is.
    pub(super) into: GroupId,
    pub(super) next: u32,
    /// The one that is gone.
    pub(super) gone: GroupId,
    /// What has come to the other.
    pub(super) scripts: Vec<ScriptBuf>,
    pub(super) outpoints: Vec<OutPoint>,
}

/// What became of groups.
#[derive(Debug, Default)]
pub(super) struct Arranged {
    pub(super) merged: Vec<Merged>,
    /// Groups that are gone because nothing belongs to them any more, each with the heights that it was to search.
    pub(super) gone: Vec<(GroupId, u32, u32)>,
    pub(super) descents: Vec<MergedDescent>,
}

/// Two descents have met and are one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MergedDescent {
    pub(super) into: GroupId,
    pub(super) gone: GroupId,
    pub(super) scripts: Vec<ScriptBuf>,
}

/// Rows of what is watched.
#[derive(Debug, Default)]
pub(super) struct Records {
    scripts: Vec<(ScriptBuf, Watch)>,
    outpoints: Vec<(OutPoint, WatchedOutpoint)>,
}

impl Records {
    pub(super) fn put(&self, batch: &mut BatchWriter<'_>) {
        for (script, watch) in &self.scripts {
            record::put_watched(batch, script.as_bytes(), *watch);
        }
        for (outpoint, watched) in &self.outpoints {
            record::put_watched_outpoint(batch, outpoint, watched);
        }
    }
}

impl Watches {
    /// The watched scripts, each with the height it is watched from.
    pub(super) fn scripts(&self) -> &BTreeMap<ScriptBuf, Watch> {
        &self.scripts
    }

    /// The outputs that are watched for their spending.
    pub(super) fn outpoints(&self) -> &BTreeMap<OutPoint, WatchedOutpoint> {
        &self.outpoints
    }

    /// The spendings that are searched for.
    pub(super) fn spends(&self) -> &[SpendSearch] {
        &self.spends
    }

    /// A group, or that of a descent.
    pub(super) fn group_mut(&mut self, id: GroupId) -> Option<&mut Group> {
        let descents = self.descents.iter_mut().map(|descent| &mut descent.group);
        self.groups.iter_mut().chain(descents).find(|group| group.id == id)
    }

    /// The height below which everything has been searched for all that is watched. `None`: there is none yet, for
    /// something is searched for newest first.
    pub(super) fn checked_below(&self) -> Option<u32> {
        if !self.descents.is_empty() {
            return None;
        }
        self.groups.iter().find(|group| group.members > 0).map(|group| group.next)
    }

    /// The same, of what is durable, and was told.
    pub(super) fn told_below(&self) -> Option<u32> {
        self.checked_below()?;
        let stored = self.groups.iter().filter(|group| group.members > 0);
        stored.map(|group| group.durable.min(group.next)).min()
    }

    /// Whether anything in a group is stored.
    pub(super) fn is_stored(&self, id: GroupId) -> bool {
        self.groups.iter().any(|group| group.id == id && group.members > 0)
    }

    /// The groups, highest first, each with the last height that it may search before it meets the one above; then the
    /// descent that is under way.
    pub(super) fn ends(&self) -> Vec<(GroupId, u32)> {
        let groups = (0..self.groups.len()).rev().map(|place| (self.groups[place].id, self.end(place)));
        groups.chain(self.descending().map(|descent| (descent.group.id, descent.below - 1))).collect()
    }

    /// The descent that is under way, with its step: there is none while anything is searched for from below.
    pub(super) fn descending(&self) -> Option<&Descent> {
        let descent = self.descents.first()?;
        (descent.has_step() && self.is_below_groups(descent)).then_some(descent)
    }

    /// Whether no group has anything to search where a descent has.
    fn is_below_groups(&self, descent: &Descent) -> bool {
        self.groups.first().is_none_or(|lowest| lowest.next >= descent.below)
    }

    /// The first height of the lowest pass that is not settled, and the last that it may search.
    pub(super) fn lowest_pass(&self) -> Option<(u32, u32)> {
        match self.descending() {
            Some(descent) => Some((descent.group.next, descent.below - 1)),
            None => Some((self.groups.first()?.next, self.end(0))),
        }
    }

    /// The first height from which anything is watched.
    pub(super) fn birthday(&self) -> Option<u32> {
        self.birthday
    }

    /// How far each group is that is stored, to be stored.
    pub(super) fn positions(&mut self) -> Positions {
        let stored = self.groups.iter().filter(|group| group.members > 0);
        let groups = stored.map(|group| (group.id, group.next)).collect();
        Positions { groups, descents: self.descents.positions(), void: self.void.take() }
    }

    /// The groups that are worked on, where filters up to `limit` can be searched: each with the last height that it may
    /// search before it meets the one above.
    pub(super) fn active(&self, limit: u32) -> Vec<(GroupId, u32)> {
        let able = self.groups.iter().take_while(|group| group.next <= limit).count();
        let follows = |place: &usize| *place > 0 && limit - self.groups[*place].next < NEAR;
        let highest = able.checked_sub(1).filter(follows);
        let active = highest.into_iter().chain((able > 0).then_some(0));
        let active = active.map(|place| (self.groups[place].id, self.end(place).min(limit)));
        let descent = self.descending().filter(|descent| descent.group.next <= limit);
        active.chain(descent.map(|descent| (descent.group.id, limit.min(descent.below - 1)))).collect()
    }

    /// The last height below the group above.
    fn end(&self, place: usize) -> u32 {
        self.groups.get(place + 1).map_or(u32::MAX, |above| above.next.saturating_sub(1))
    }

    /// Which group searches a height, and up to which.
    pub(super) fn group_at(&self, height: u32) -> Option<(&Group, u32)> {
        if let Some(place) = self.groups.iter().rposition(|group| group.next <= height) {
            return Some((&self.groups[place], self.end(place)));
        }
        let descent = self.descending().filter(|descent| (descent.start..descent.below).contains(&height))?;
        Some((&descent.group, descent.below - 1))
    }

    /// What is looked for at a height.
    pub(super) fn query_at(&self, height: u32) -> Option<&Query> {
        self.group_at(height).map(|(group, _)| &group.query)
    }

    /// Whether everything up to `tip` has been searched, durably, for all that is watched.
    pub(super) fn is_done(&self, tip: u32) -> bool {
        let mut stored = self.groups.iter().filter(|group| group.members > 0);
        self.descents.is_empty() && stored.all(|group| group.next > tip && group.durable == group.next)
    }

    /// Whether a finding stands: its script or its output is watched, and has been searched for there.
    pub(super) fn stands(&self, touch: &Touch) -> bool {
        let by_script = self.scripts.get(&touch.script);
        let by_outpoint = match &touch.kind {
            TouchKind::Spent { outpoint, .. } => self.outpoints.get(outpoint),
            TouchKind::Received { .. } => None,
        };
        let mut watches = by_script.into_iter().chain(by_outpoint.map(|watched| &watched.watch));
        watches.any(|watch| self.has_searched(watch, touch.block.height))
    }

    /// Whether something has been searched for at a height.
    pub(super) fn has_searched(&self, watch: &Watch, height: u32) -> bool {
        let group = self.groups.iter().find(|group| group.id == watch.group);
        group.is_some_and(|group| group.next > height)
            && watch.descent.is_none_or(|descent| self.descents.has_searched(descent, height))
    }

    /// Whether an input may spend what a watched script receives: false only if that can't be.
    pub(super) fn may_spend(&self, input: &TxIn) -> bool {
        self.shapes.may_spend(input, |script| self.scripts.contains_key(script))
    }

    /// The group that begins at a height, which nothing need belong to yet.
    pub(super) fn group_from(&mut self, next: u32) -> GroupId {
        match self.groups.binary_search_by_key(&next, |group| group.next) {
            Ok(place) => self.groups[place].id,
            Err(place) => {
                let id = self.named;
                self.named += 1;
                self.groups.insert(place, Group::new(id, next));
                id
            }
        }
    }

    /// The descent from a height on that has not taken a step, or a new one.
    pub(super) fn descent_from(&mut self, height: u32) -> GroupId {
        if let Some(id) = self.descents.waiting_at(height) {
            return id;
        }
        // The names below are of groups alone.
        self.named = self.named.max(ALONE + 1);
        let id = self.named;
        self.named += 1;
        self.descents.begin(Group::new(id, height), Descended::at(height));
        id
    }

    /// Takes the next step of the descent that is first. False: none is to be taken.
    pub(super) fn descend(&mut self) -> bool {
        self.descents.first().is_some_and(|descent| self.is_below_groups(descent)) && self.descents.step()
    }

    /// Takes out descents that are over. Returns the scripts that belonged to them as well.
    pub(super) fn end_descents(&mut self) -> (Vec<Descent>, Vec<ScriptBuf>) {
        let over = self.descents.take_over();
        let mut scripts = Vec::new();
        if over.iter().any(|descent| descent.group.members > 0) {
            let is_over = |id| over.iter().any(|descent| Some(descent.group.id) == id);
            for (script, watch) in self.scripts.iter_mut().filter(|(_, watch)| is_over(watch.descent)) {
                watch.descent = None;
                scripts.push(script.clone());
            }
        }
        (over, scripts)
    }

    /// Notes that the step of a descent is at its end.
    pub(super) fn finish_step(&mut self, id: GroupId) {
        self.descents.finish_step(id);
        self.is_arranged = false;
    }

    /// Takes in a finding of what is searched for newest first.
    pub(super) fn note_descended(&mut self, touch: &Touch) {
        if !self.descents.is_empty() {
            let descent = self.scripts.get(&touch.script).and_then(|watch| watch.descent);
            self.descents.note(descent, touch);
        }
    }

    /// Makes one of descents that have met. Returns which are gone, and what has come to others.
    fn merge_descents(&mut self) -> Vec<MergedDescent> {
        let mut merged = Vec::new();
        while let Some((into, gone)) = self.descents.merge() {
            let mut scripts = Vec::new();
            for (script, watch) in self.scripts.iter_mut().filter(|(_, watch)| watch.descent == Some(gone)) {
                watch.descent = Some(into);
                scripts.push(script.clone());
            }
            merged.push(MergedDescent { into, gone, scripts });
        }
        merged
    }

    /// Watches these in a group. Those that are watched already leave the group in which they are.
    pub(super) fn watch(
        &mut self,
        group: GroupId,
        scripts: impl IntoIterator<Item = (ScriptBuf, Watch)>,
        outpoints: impl IntoIterator<Item = (OutPoint, WatchedOutpoint)>,
    ) {
        let mut changed = BTreeSet::from([group]);
        for (script, watch) in scripts {
            let left = self.scripts.insert(script, Watch { group, ..watch });
            changed.extend(left.map(|watch| watch.group));
        }
        for (outpoint, mut watched) in outpoints {
            watched.watch.group = group;
            let left = self.outpoints.insert(outpoint, watched);
            changed.extend(left.map(|watched| watched.watch.group));
        }
        self.count_members();
        changed.into_iter().for_each(|group| self.change(group));
    }

    /// Notes where a script that is watched comes from.
    pub(super) fn set_origin(&mut self, script: &ScriptBuf, origin: Origin) {
        if let Some(watch) = self.scripts.get_mut(script) {
            watch.origin = Some(origin);
        }
    }

    /// The rows of some that are watched.
    pub(super) fn records(&self, scripts: &[ScriptBuf], outpoints: &[OutPoint]) -> Records {
        let script = |script: &ScriptBuf| Some((script.clone(), *self.scripts.get(script)?));
        let outpoint = |outpoint: &OutPoint| Some((*outpoint, self.outpoints.get(outpoint)?.clone()));
        Records {
            scripts: scripts.iter().filter_map(script).collect(),
            outpoints: outpoints.iter().filter_map(outpoint).collect(),
        }
    }

    /// Notes that something has come to a group, or left it.
    fn change(&mut self, group: GroupId) {
        self.is_arranged = false;
        self.descents.change();
        if let Some(group) = self.group_mut(group) {
            group.is_prepared = false;
        }
    }

    /// Searches for the spending of an output in a group.
    pub(super) fn search_spend(
        &mut self,
        group: GroupId,
        outpoint: OutPoint,
        script: ScriptBuf,
        request: Option<RequestId>,
    ) {
        self.spends.push(SpendSearch { outpoint, script, request, group });
        self.change(group);
    }

    /// How many spendings are searched.
    pub(super) fn spend_searches(&self) -> usize {
        self.spends.len()
    }

    /// Looks for transactions that are broadcast in a group, by these scripts, in place of others.
    pub(super) fn trace(&mut self, traced: Option<(GroupId, BTreeSet<ScriptBuf>)>) {
        let groups = [traced.as_ref(), self.traced.as_ref()].map(|traced| traced.map(|(group, _)| *group));
        self.traced = traced;
        groups.into_iter().flatten().for_each(|group| self.change(group));
    }

    /// Looks for fewer scripts of transactions that are broadcast from now on. False: they are not fewer.
    pub(super) fn trace_fewer(&mut self, scripts: &BTreeSet<ScriptBuf>) -> bool {
        let Some((group, traced)) = self.traced.as_mut().filter(|(_, traced)| scripts.is_subset(traced))
        else {
            return false;
        };
        traced.clone_from(scripts);
        let group = *group;
        self.change(group);
        true
    }

    /// Whether transactions that are broadcast are looked for in a group.
    pub(super) fn is_traced(&self, id: GroupId) -> bool {
        self.traced.as_ref().is_some_and(|(group, _)| *group == id)
    }

    /// The first height at which transactions that are broadcast have not been looked for.
    pub(super) fn traced_from(&self) -> Option<u32> {
        let (id, _) = self.traced.as_ref()?;
        Some(self.groups.iter().find(|group| group.id == *id)?.next)
    }

    /// Ends searches for spendings, by themselves and by how far their group is, and returns which.
    pub(super) fn take_spends(&mut self, is_over: impl Fn(&SpendSearch, u32) -> bool) -> Vec<SpendSearch> {
        let groups = &self.groups;
        let next = |id| groups.iter().find(|group| group.id == id).map_or(0, |group| group.next);
        let over = self.spends.extract_if(.., |spend| is_over(spend, next(spend.group)));
        let over: Vec<SpendSearch> = over.collect();
        over.iter().for_each(|spend| self.change(spend.group));
        over
    }

    /// Watches these no more.
    pub(super) fn unwatch(&mut self, scripts: &[ScriptBuf], outpoints: &[OutPoint]) {
        let scripts = scripts.iter().filter_map(|script| self.scripts.remove(script));
        let mut left: BTreeSet<GroupId> = scripts.map(|watch| watch.group).collect();
        let outpoints = outpoints.iter().filter_map(|outpoint| self.outpoints.remove(outpoint));
        left.extend(outpoints.map(|watched| watched.watch.group));
        left.into_iter().for_each(|group| self.change(group));
        self.count_members();
    }

    /// Gives up what has been matched at these heights and is not settled. Returns the first height that is to be matched
    /// once more.
    pub(super) fn give_up(&mut self, first: u32, last: u32) -> u32 {
        let mut low = first;
        let descents = self.descents.iter_mut().map(|descent| &mut descent.group);
        for group in self.groups.iter_mut().chain(descents).filter(|group| group.next <= last) {
            if group.matched_to.is_some_and(|block| block.height >= first) {
                group.matched_to = None;
                low = low.min(group.next);
            }
        }
        low
    }

    /// Goes back to a height with whatever has been searched above it. False: nothing has.
    pub(super) fn go_back(&mut self, height: u32) -> bool {
        let mut any = false;
        for group in self.groups.iter_mut().filter(|group| group.next > height) {
            any = true;
            group.begin_at(height);
        }
        if !self.descents.is_empty() {
            any |= self.descents.go_back(height);
            self.is_arranged = false;
            if any {
                self.void = Some(self.void.map_or(height, |void| void.min(height)));
            }
        }
        any
    }

    /// Whether there is nothing to [`arrange`](Self::arrange).
    pub(super) fn is_arranged(&self) -> bool {
        self.is_arranged && self.groups.is_sorted_by(|below, above| below.next < above.next)
    }

    /// Drops groups that nothing belongs to, makes one of those that have met, and prepares those that have changed.
    pub(super) fn arrange(&mut self) -> Arranged {
        let searched = self.spends.iter().map(|spend| spend.group);
        let searched: Vec<GroupId> = searched.chain(self.traced.iter().map(|(group, _)| *group)).collect();
        let is_empty = |group: &Group| group.members == 0 && !searched.contains(&group.id);
        let gone = (0..self.groups.len()).filter(|place| is_empty(&self.groups[*place]));
        let gone =
            gone.map(|place| (self.groups[place].id, self.groups[place].next, self.end(place))).collect();
        self.groups.retain(|group| !is_empty(group));
        let mut merged = Vec::new();
        while let Some(place) = self.groups.windows(2).position(|pair| pair[0].next == pair[1].next) {
            merged.push(self.merge(place));
        }
        // One that is alone has the first name: then what is stored is the same however it came about.
        let mut stored = (0..self.groups.len()).filter(|place| self.groups[*place].members > 0);
        if let (Some(place), None) = (stored.next(), stored.next())
            && self.groups[place].id != ALONE
            && self.groups.iter().all(|group| group.id != ALONE)
        {
            merged.push(self.rename(place, self.groups[place].id, ALONE));
        }
        let descents = self.merge_descents();
        self.count_members();
        self.prepare();
        self.is_arranged = true;
        Arranged { merged, gone, descents }
    }

    fn count_members(&mut self) {
        let mut members: BTreeMap<GroupId, usize> = BTreeMap::new();
        self.birthday = None;
        self.shapes = Shapes::of(self.scripts.keys());
        for watch in self.scripts.values().chain(self.outpoints.values().map(|outpoint| &outpoint.watch)) {
            *members.entry(watch.group).or_default() += 1;
            self.birthday = Some(self.birthday.map_or(watch.from, |birthday| birthday.min(watch.from)));
        }
        for group in &mut self.groups {
            group.members = members.remove(&group.id).unwrap_or(0);
        }
        self.descents.count_members(self.scripts.values());
    }

    /// Makes one group of the one at a place and the next, which has the older name.
    fn merge(&mut self, place: usize) -> Merged {
        let above = self.groups.remove(place + 1);
        let group = &mut self.groups[place];
        let (into, gone) = (group.id.min(above.id), group.id.max(above.id));
        group.members += above.members;
        group.durable = group.durable.min(above.durable);
        group.matched_to = None;
        group.is_prepared = false;
        self.rename(place, gone, into)
    }

    /// Takes what belongs to one group into the one at a place, which has the name `into` from now on.
    fn rename(&mut self, place: usize, gone: GroupId, into: GroupId) -> Merged {
        let group = &mut self.groups[place];
        group.id = into;
        let mut merged = Merged { into, next: group.next, gone, scripts: Vec::new(), outpoints: Vec::new() };
        for (script, watch) in self.scripts.iter_mut().filter(|(_, watch)| watch.group == gone) {
            watch.group = into;
            merged.scripts.push(script.clone());
        }
        for (outpoint, watched) in
            self.outpoints.iter_mut().filter(|(_, watched)| watched.watch.group == gone)
        {
            watched.watch.group = into;
            merged.outpoints.push(*outpoint);
        }
        self.spends.iter_mut().filter(|spend| spend.group == gone).for_each(|spend| spend.group = into);
        self.traced.iter_mut().filter(|(group, _)| *group == gone).for_each(|(group, _)| *group = into);
        merged
    }

    /// Makes the queries of groups that have changed anew.
    fn prepare(&mut self) {
        let descents = self.descents.iter().map(|descent| &descent.group);
        let changed = self.groups.iter().chain(descents).filter(|group| !group.is_prepared);
        let mut wanted: BTreeMap<GroupId, Vec<&[u8]>> = changed.map(|group| (group.id, Vec::new())).collect();
        let scripts = self.scripts.iter().flat_map(|(script, watch)| {
            [Some(watch.group), watch.descent].into_iter().flatten().map(move |group| (group, script))
        });
        let outpoints = self.outpoints.values().map(|watched| (watched.watch.group, &watched.script));
        let spends = self.spends.iter().map(|spend| (spend.group, &spend.script));
        let traced =
            self.traced.iter().flat_map(|(group, scripts)| scripts.iter().map(|script| (*group, script)));
        for (group, script) in scripts.chain(outpoints).chain(spends).chain(traced) {
            if let Some(wanted) = wanted.get_mut(&group) {
                wanted.push(script.as_bytes());
            }
        }
        let descents = self.descents.iter_mut().map(|descent| &mut descent.group);
        for group in self.groups.iter_mut().chain(descents) {
            if let Some(scripts) = wanted.remove(&group.id) {
                group.query = Query::new(scripts);
                group.is_prepared = true;
            }
        }
    }

    /// Takes up what was stored.
    pub(super) fn restore(
        &mut self,
        scripts: BTreeMap<ScriptBuf, Watch>,
        outpoints: BTreeMap<OutPoint, WatchedOutpoint>,
        positions: &Positions,
    ) {
        (self.scripts, self.outpoints) = (scripts, outpoints);
        self.groups = positions.groups.iter().map(|(id, next)| Group::new(*id, *next)).collect();
        self.groups.sort_unstable_by_key(|group| group.next);
        for (id, at) in &positions.descents {
            self.descents.begin(Group::new(*id, at.next), *at);
        }
        self.count_members();
        self.is_arranged = false;
        let last = positions.groups.keys().next_back().max(positions.descents.keys().next_back());
        self.named = last.map_or(0, |id| id + 1);
    }
}

impl SpendSearch {
    /// Whether it is for the spending of this output, in this group.
    pub(super) fn is_for(&self, outpoint: &OutPoint, group: GroupId) -> bool {
        self.outpoint == *outpoint && self.group == group
    }
}

impl Group {
    /// Begins at a height.
    pub(super) fn begin_at(&mut self, height: u32) {
        (self.next, self.durable, self.matched_to) = (height, self.durable.min(height), None);
    }

    /// Goes back to a height, if it is above it.
    pub(super) fn go_back(&mut self, height: u32) {
        if self.next > height {
            self.begin_at(height);
        }
    }

    /// The first height whose filter has not been matched, of those below which all have.
    pub(super) fn first_unmatched(&self) -> u32 {
        self.matched_to.map_or(self.next, |block| block.height + 1)
    }

    fn new(id: GroupId, next: u32) -> Self {
        Self {
            id,
            next,
            durable: next,
            matched_to: None,
            settled_at: Instant::ZERO,
            query: Query::default(),
            members: 0,
            is_prepared: false,
        }
    }
}
