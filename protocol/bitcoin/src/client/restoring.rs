//! What is watched and what was found for it, taken up at the start: what the last run has told is told again.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::ops::Bound;

use andon_kernel::{BatchWriter, Order, Rows};
use bitcoin::ScriptBuf;

use super::api::Event;
use super::descents::Descended;
use super::start::{ALL, Fault, Loading, PAGE, Step, Went};
use super::watches::{GroupId, Watch};
use super::{Client, Then, Turn, record};

/// The group of what is searched for anew because it is lost how far that was.
const ANEW: GroupId = GroupId::MAX / 2;

impl Client {
    /// Loads the index of filters that are kept. If none are to be: whether there are any, entered or not.
    pub(super) fn load_cached(&mut self, turn: &mut Turn<'_>, loading: &mut Loading) {
        let (space, limit) = match self.search.cache.is_off() {
            true => (record::FILTERS, 1),
            false => (record::CACHED, PAGE),
        };
        self.load_step(turn, loading, Step::Cached, space, ALL, Order::Ascending, limit);
    }

    /// Takes up the index of filters that are kept. If none are to be, they go.
    pub(super) fn take_cached(
        &mut self,
        turn: &mut Turn<'_>,
        loading: &mut Loading,
        rows: Rows<'_>,
        more: bool,
    ) -> Result<Went, Fault> {
        if !self.search.cache.is_off() {
            // What is unreadable is not known of, and is asked of peers.
            loading.cached.extend(rows.iter().filter_map(|(key, value)| record::read_cached(key, value)));
            if self.load_more(turn, loading, rows, more) {
                return Ok(Went::On);
            }
            self.restore_kept_filters(turn, core::mem::take(&mut loading.cached));
        } else if !rows.is_empty() {
            self.store(turn, Vec::new(), Then::Nothing, |batch| {
                batch.delete_from(record::CACHED, &[]);
                batch.delete_from(record::FILTERS, &[]);
            });
        }
        self.load_from(turn, loading, Step::Watched, record::WATCH, Bound::Unbounded);
        Ok(Went::On)
    }

    pub(super) fn take_watched(
        &mut self,
        turn: &mut Turn<'_>,
        loading: &mut Loading,
        rows: Rows<'_>,
        more: bool,
    ) -> Result<Went, Fault> {
        for (key, value) in rows.iter() {
            let script = ScriptBuf::from_bytes(key.into());
            let watch = record::watched(key, value).unwrap_or_else(|| {
                // Since when is lost, or a part of the script. It is looked for in every block.
                let watch = Watch { from: 0, group: ANEW, descent: None, origin: None };
                loading.positions.groups.insert(ANEW, 0);
                let what = "a watched script was unreadable, or since when it is";
                self.search_repaired(turn, loading, what, |batch| {
                    record::put_watched(batch, script.as_bytes(), watch);
                });
                watch
            });
            loading.watched.insert(script, watch);
        }
        if !self.load_more(turn, loading, rows, more) {
            self.load_from(turn, loading, Step::Outputs, record::OUTPUTS, Bound::Unbounded);
        }
        Ok(Went::On)
    }

    pub(super) fn take_outputs(
        &mut self,
        turn: &mut Turn<'_>,
        loading: &mut Loading,
        rows: Rows<'_>,
        more: bool,
    ) -> Result<Went, Fault> {
        for (key, value) in rows.iter() {
            match record::watched_outpoint(key, value) {
                Some((outpoint, watched)) => {
                    loading.outpoints.insert(outpoint, watched);
                }
                // Nothing tells what its script was.
                None => self.search_repaired(
                    turn,
                    loading,
                    "a watched output was unreadable, and is lost",
                    |batch| {
                        record::delete(batch, record::OUTPUTS, key);
                    },
                ),
            }
        }
        if self.load_more(turn, loading, rows, more) {
            return Ok(Went::On);
        }
        self.restore_positions(turn, loading);
        let (watched, outpoints) =
            (core::mem::take(&mut loading.watched), core::mem::take(&mut loading.outpoints));
        self.search.watches.restore(watched, outpoints, &loading.positions);
        // What has been searched was trusted.
        let searched = loading.positions.groups.values().max().copied().unwrap_or(0);
        self.filter_headers.trust(searched.min(self.filter_headers.next()));
        let checked = self.search.watches.checked_below().and_then(|next| next.checked_sub(1));
        turn.out.event(Event::Started { tip: self.chain.tip(), checked });
        self.load_from(turn, loading, Step::Descriptors, record::DESCRIPTORS, Bound::Unbounded);
        Ok(Went::On)
    }

    pub(super) fn take_descriptors(
        &mut self,
        turn: &mut Turn<'_>,
        loading: &mut Loading,
        rows: Rows<'_>,
        more: bool,
    ) -> Result<Went, Fault> {
        for (key, value) in rows.iter() {
            match record::read_descriptor(key, value) {
                Some((number, tracked)) => self.search.descriptors.restore(number, tracked),
                // What has been derived of it is watched as before.
                None => self.search_repaired(turn, loading, "a watched descriptor was unreadable", |batch| {
                    record::delete(batch, record::DESCRIPTORS, key);
                }),
            }
        }
        if !self.load_more(turn, loading, rows, more) {
            self.load_journal(turn, loading);
        }
        Ok(Went::On)
    }

    /// Groups of which it is lost how far they were begin anew.
    fn restore_positions(&mut self, turn: &mut Turn<'_>, loading: &mut Loading) {
        let mut birthdays: BTreeMap<GroupId, u32> = BTreeMap::new();
        let scripts = loading.watched.values();
        for Watch { from, group, .. } in
            scripts.chain(loading.outpoints.values().map(|watched| &watched.watch))
        {
            let lowest = birthdays.entry(*group).or_insert(*from);
            *lowest = (*lowest).min(*from);
        }
        birthdays.retain(|group, _| !loading.positions.groups.contains_key(group));
        let descents = loading.watched.values().filter_map(|watch| watch.descent);
        let lost: BTreeSet<GroupId> =
            descents.filter(|descent| !loading.positions.descents.contains_key(descent)).collect();
        if !birthdays.is_empty() || !lost.is_empty() {
            loading.positions.groups.extend(birthdays);
            let lowest = loading.positions.groups.values().min().copied().unwrap_or(0);
            loading.positions.descents.extend(lost.into_iter().map(|lost| (lost, Descended::at(lowest))));
            self.search_repaired(turn, loading, "the record of how far the search was is missing", |_| {});
        }
        // A switch or a repair that this start has finished, or a start further down, may have lowered the chain.
        let end = self.chain.tip_height() + 1;
        loading.positions.lower(end);
    }

    fn search_repaired(
        &mut self,
        turn: &mut Turn<'_>,
        loading: &Loading,
        what: &'static str,
        write: impl FnOnce(&mut BatchWriter<'_>),
    ) {
        turn.out.event(Event::Repaired { what, kept: self.chain.tip() });
        self.store(turn, Vec::new(), Then::Nothing, |batch| {
            write(batch);
            record::put_positions(batch, &loading.positions);
        });
    }

    /// Tells what had been found. What does not stand, for a taking back was cut short before all of that could be told, is
    /// told all the same, so that its taking back, which follows, makes sense to who hears it.
    pub(super) fn take_touches(
        &mut self,
        turn: &mut Turn<'_>,
        loading: &mut Loading,
        rows: Rows<'_>,
        more: bool,
    ) -> Result<Went, Fault> {
        let mut events = Vec::new();
        for (key, value) in rows.iter() {
            let Ok(mut touch) = record::read_touch(key, value) else {
                if self.journal.is_held_elsewhere() {
                    self.touch_lost(turn, loading, key);
                    continue;
                }
                self.tell_again(turn, events);
                self.touch_repaired(turn, loading, key);
                return Ok(Went::Done);
            };
            if !self.search.watches.stands(&touch) {
                loading.void.get_or_insert(touch.block.height);
            }
            self.search.findings.restore(&touch, &self.search.watches);
            self.search.watches.note_descended(&touch);
            self.search.descriptors.note_derivation(&mut touch, &self.search.watches);
            if loading.told != Some(touch.block) {
                events.push(Event::Matched(touch.block));
                loading.told = Some(touch.block);
            }
            events.push(Event::Touched(touch));
        }
        self.tell_again(turn, events);
        Ok(if self.load_more(turn, loading, rows, more) { Went::On } else { Went::Done })
    }

    /// A finding is unreadable that the application holds, with all after it: those are taken back, and searched for again. What
    /// this one was can't be told.
    fn touch_lost(&mut self, turn: &mut Turn<'_>, loading: &mut Loading, key: &[u8]) {
        let height = record::key_height(key).unwrap_or(0).min(self.chain.tip_height());
        self.search.watches.go_back(height);
        loading.void = loading.void.map_or(Some(height), |void| Some(void.min(height)));
        let kept = self.chain.tip();
        turn.out.event(Event::Repaired { what: "a finding was unreadable", kept });
        let positions = self.search.watches.positions();
        self.store(turn, Vec::new(), Then::Nothing, |batch| {
            record::delete(batch, record::TOUCH, key);
            record::put_positions(batch, &positions);
        });
    }

    /// A finding is unreadable: it and all after it are searched for again.
    fn touch_repaired(&mut self, turn: &mut Turn<'_>, loading: &mut Loading, key: &[u8]) {
        let height = record::key_height(key).unwrap_or(0).min(self.chain.tip_height());
        self.search.watches.go_back(height);
        loading.void = loading.void.map_or(Some(height), |void| Some(void.min(height)));
        let kept = self.chain.tip();
        turn.out.event(Event::Repaired { what: "a finding was unreadable", kept });
        let positions = self.search.watches.positions();
        self.store(turn, Vec::new(), Then::Nothing, |batch| {
            batch.delete_from(record::TOUCH, key);
            record::put_positions(batch, &positions);
        });
    }
}
