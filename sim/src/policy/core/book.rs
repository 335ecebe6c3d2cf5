//! The address manager: who stands in the two tables, and how nodes come, move and go.

use std::cell::Cell;

use andon_bitcoin::addresses::AsMap;

use super::entry::{DAY, Entry, HOUR, MINUTE};
use super::grid::{Grid, NOBODY};
use super::index::Index;
use super::placement::{GroupNumber, Placer, group_of};
use super::rules::{Era, Eviction, NewTable, Rules};
use crate::policy::{Address, Census};
use crate::random::Stream;

/// Who waits for the place of another among the tried.
pub(super) const MAX_COLLISIONS: usize = 10;
/// Who was reached, or tested, within this time.
const REPLACEMENT: u32 = 4 * HOUR;
const TEST_WINDOW: u32 = 40 * MINUTE;
pub(super) const MAX_REFERENCES: usize = 8;

/// An address that is told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    pub(super) address: Address,
    /// The group of who tells of it.
    pub(super) source: GroupNumber,
    pub(super) time: u32,
    pub(super) penalty: u32,
}

/// What became of an address that was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Added {
    New,
    Reference,
    Known,
    Taken,
}

/// What became of a node that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reached {
    Unknown,
    Tried,
    Moved,
    Collides,
}

#[derive(Debug)]
pub(super) struct Book {
    pub(super) rules: Rules,
    pub(super) placer: Placer,
    pub(super) map: Option<AsMap>,
    pub(super) entries: Vec<Entry>,
    /// Of each entry its places among the new but for the first.
    pub(super) more_places: Vec<[u16; MAX_REFERENCES - 1]>,
    pub(super) free: Vec<u32>,
    pub(super) index: Index,
    pub(super) new: Grid,
    pub(super) tried: Grid,
    /// Of each bucket of sets a time up to which nobody in it stops being worth his place.
    pub(super) quiet: Vec<u32>,
    /// Entries that were heard of and not reached.
    pub(super) new_entries: u32,
    /// Addresses that wait for a place among the tried, first come first.
    pub(super) collisions: Vec<Address>,
    last_good: u32,
}

/// The room of a book that is gone, for the thread's next: there are thousands of trials.
struct Room {
    entries: Vec<Entry>,
    more_places: Vec<[u16; MAX_REFERENCES - 1]>,
    free: Vec<u32>,
    index: Index,
    new: Grid,
    tried: Grid,
}

thread_local! {
    static SPARE: Cell<Option<Box<Room>>> = const { Cell::new(None) };
}

impl Room {
    fn new() -> Self {
        Self {
            entries: Vec::new(),
            more_places: Vec::new(),
            free: Vec::new(),
            index: Index::new(),
            new: Grid::none(),
            tried: Grid::none(),
        }
    }
}

impl Drop for Book {
    fn drop(&mut self) {
        let mut room = Room::new();
        core::mem::swap(&mut room.entries, &mut self.entries);
        core::mem::swap(&mut room.more_places, &mut self.more_places);
        core::mem::swap(&mut room.free, &mut self.free);
        core::mem::swap(&mut room.index, &mut self.index);
        core::mem::swap(&mut room.new, &mut self.new);
        core::mem::swap(&mut room.tried, &mut self.tried);
        SPARE.set(Some(Box::new(room)));
    }
}

impl Book {
    pub(super) fn new(rules: Rules, placer: Placer, map: Option<AsMap>) -> Self {
        let has_sets = rules.new_table == NewTable::Sets;
        let Room { mut entries, mut more_places, mut free, mut index, new, tried } =
            *SPARE.take().unwrap_or_else(|| Box::new(Room::new()));
        entries.clear();
        more_places.clear();
        free.clear();
        index.clear();
        Self {
            new: new.renew(rules.new_buckets, has_sets),
            tried: tried.renew(rules.tried_buckets, rules.eviction != Eviction::Deterministic),
            quiet: vec![u32::MAX; if has_sets { rules.new_buckets as usize } else { 0 }],
            rules,
            placer,
            map,
            entries,
            more_places,
            free,
            index,
            new_entries: 0,
            collisions: Vec::new(),
            last_good: 1,
        }
    }

    pub(super) const fn len(&self) -> u32 {
        self.new_entries + self.tried.total()
    }

    pub(super) fn entry(&self, id: u32) -> &Entry {
        &self.entries[id as usize]
    }

    /// What counts as one owner.
    pub(super) fn group(&self, address: Address) -> GroupNumber {
        group_of(address, self.map.as_ref())
    }

    /// The place of an address among the tried, where each has one.
    pub(super) fn tried_cell(&self, address: Address) -> u32 {
        self.placer.tried_cell(address, self.group(address), &self.rules)
    }

    /// Who stands in the book under this host, whatever the port, where there is one port per host.
    fn find_host(&self, address: Address) -> Option<u32> {
        let is_by_host = self.rules.era == Era::Old;
        let hash = self.placer.fingerprint(address, is_by_host);
        self.index.find(hash, |id| {
            let held = self.entry(id).address();
            held.ip == address.ip && (is_by_host || held.port == address.port)
        })
    }

    pub(super) fn find(&self, address: Address) -> Option<u32> {
        self.find_host(address).filter(|&id| self.entry(id).address() == address)
    }

    /// Notes an address that was told.
    pub(super) fn add(&mut self, heard: &Heard, now: u32, stream: &mut Stream) -> Added {
        self.add_with(heard, now, &mut |bound| stream.below(bound))
    }

    /// As [`add`](Self::add). `draw` draws below a bound: whether a node that has a place gets another (by zero), and who goes.
    pub(super) fn add_with(&mut self, heard: &Heard, now: u32, draw: &mut impl FnMut(u64) -> u64) -> Added {
        let known = self.find_host(heard.address);
        if let Some(id) = known {
            let max_references = self.rules.max_references;
            let is_online = i64::from(now) - i64::from(heard.time) < i64::from(DAY);
            let step = if is_online { HOUR } else { DAY };
            let entry = &mut self.entries[id as usize];
            if i64::from(entry.time) < i64::from(heard.time) - i64::from(step) - i64::from(heard.penalty) {
                entry.time = heard.time - heard.penalty;
            }
            if heard.time <= entry.time || entry.is_tried || entry.references == max_references {
                return Added::Known;
            }
            if draw(1 << entry.references) != 0 {
                return Added::Known;
            }
        }
        if self.new.is_sets {
            self.add_to_set(known, heard, now, draw)
        } else {
            self.add_to_cell(known, heard, now)
        }
    }

    fn add_to_set(
        &mut self,
        known: Option<u32>,
        heard: &Heard,
        now: u32,
        draw: &mut impl FnMut(u64) -> u64,
    ) -> Added {
        let group = self.group(heard.address);
        let bucket = self.placer.new_bucket(heard.address, group, heard.source, &self.rules);
        if known.is_some_and(|id| self.new.position(bucket, id).is_some()) {
            return Added::Known;
        }
        let id = known.unwrap_or_else(|| self.create(heard));
        if self.new.is_full(bucket) {
            self.shrink(bucket, now, draw);
        }
        self.put_in_set(bucket, id, now);
        if known.is_some() { Added::Reference } else { Added::New }
    }

    fn add_to_cell(&mut self, known: Option<u32>, heard: &Heard, now: u32) -> Added {
        let group = self.group(heard.address);
        let cell = self.placer.new_cell(heard.address, group, heard.source, &self.rules);
        let occupant = self.new.at(cell);
        if occupant != NOBODY {
            if known == Some(occupant) {
                return Added::Known;
            }
            let entry = self.entry(occupant);
            if !(entry.is_terrible(now) || entry.references > 1 && known.is_none()) {
                return if known.is_some() { Added::Known } else { Added::Taken };
            }
            self.clear_new(cell);
        }
        let id = known.unwrap_or_else(|| self.create(heard));
        self.put_in_cell(cell, id);
        if known.is_some() { Added::Reference } else { Added::New }
    }

    /// Puts a node in as a saved book has it, if there is room for it: among the tried if it was reached.
    pub(super) fn load(&mut self, heard: &Heard, reached: Option<u32>, now: u32) -> bool {
        if self.find_host(heard.address).is_some() {
            return false;
        }
        let Heard { address, source, .. } = *heard;
        let group = self.group(address);
        let (rules, placer) = (&self.rules, &self.placer);
        let place = match (reached, self.new.is_sets, self.tried.is_sets) {
            (Some(_), _, true) => placer.tried_bucket(address, group, rules),
            (Some(_), _, false) => placer.tried_cell(address, group, rules),
            (None, true, _) => placer.new_bucket(address, group, source, rules),
            (None, false, _) => placer.new_cell(address, group, source, rules),
        };
        let grid = if reached.is_some() { &self.tried } else { &self.new };
        let has_room = if grid.is_sets { !grid.is_full(place) } else { grid.at(place) == NOBODY };
        if !has_room {
            return false;
        }
        let id = self.create(heard);
        match reached {
            Some(time) => {
                self.new_entries -= 1;
                let entry = &mut self.entries[id as usize];
                (entry.is_tried, entry.last_success) = (true, time);
                if self.tried.is_sets { self.tried.push(place, id) } else { self.tried.put(place, id) }
            }
            None if self.new.is_sets => self.put_in_set(place, id, now),
            None => self.put_in_cell(place, id),
        }
        true
    }

    /// Forgets what no file holds: dials, and who waits for a place.
    pub(super) fn restart(&mut self) {
        for entry in &mut self.entries {
            (entry.last_try, entry.last_counted) = (0, 0);
        }
        self.collisions.clear();
        self.last_good = 1;
    }

    /// Notes a dial, which counts as failed until the node is reached if `is_counted`.
    pub(super) fn attempt(&mut self, address: Address, is_counted: bool, now: u32) {
        let Some(id) = self.find(address) else { return };
        let is_today = self.rules.era == Era::Today;
        let last_good = self.last_good;
        let entry = &mut self.entries[id as usize];
        entry.last_try = now;
        if !is_today {
            entry.attempts = entry.attempts.saturating_add(1);
        } else if is_counted && entry.last_counted < last_good {
            entry.last_counted = now;
            entry.attempts = entry.attempts.saturating_add(1);
        }
        if entry.attempts >= 3 && self.new.is_sets {
            for at in 0..usize::from(self.entry(id).references) {
                let bucket = self.place(id, at);
                self.quiet[usize::from(bucket)] = 0;
            }
        }
    }

    /// Notes a node that has connected to us and listens: it is added, if it is not there, and counts as reached.
    pub(super) fn accept(&mut self, heard: &Heard, now: u32, stream: &mut Stream) {
        match self.find_host(heard.address) {
            Some(id) if self.entry(id).address() == heard.address => {
                self.good_entry(id, now, stream);
            }
            // Another port of the host is known.
            Some(_) => {}
            None if self.new.is_sets && !self.rules.test_before_evict => {
                self.accept_unknown(heard, now, stream);
            }
            None => {
                self.add(heard, now, stream);
                self.good(heard.address, now, stream);
            }
        }
    }

    /// The same in one go for one that is not there, as happens most: it takes a place among the new, and leaves it at once.
    fn accept_unknown(&mut self, heard: &Heard, now: u32, stream: &mut Stream) {
        let group = self.group(heard.address);
        let bucket = self.placer.new_bucket(heard.address, group, heard.source, &self.rules);
        if self.new.is_full(bucket) {
            self.shrink(bucket, now, &mut |bound| stream.below(bound));
        }
        let id = self.create(heard);
        self.last_good = now;
        self.new_entries -= 1;
        let is_timed = self.rules.era < Era::Today;
        let entry = &mut self.entries[id as usize];
        (entry.last_success, entry.last_try, entry.is_tried) = (now, now, true);
        if is_timed {
            entry.time = now;
        }
        self.put_among_tried(id, bucket as u16, now, stream);
    }

    /// Notes that a node was reached.
    pub(super) fn good(&mut self, address: Address, now: u32, stream: &mut Stream) -> Reached {
        self.last_good = now;
        match self.find(address) {
            Some(id) => self.good_entry(id, now, stream),
            None => Reached::Unknown,
        }
    }

    fn good_entry(&mut self, id: u32, now: u32, stream: &mut Stream) -> Reached {
        self.last_good = now;
        let is_timed = self.rules.era < Era::Today;
        let entry = &mut self.entries[id as usize];
        (entry.last_success, entry.last_try, entry.attempts) = (now, now, 0);
        if is_timed {
            entry.time = now;
        }
        let address = entry.address();
        if entry.is_tried {
            return Reached::Tried;
        }
        if self.rules.test_before_evict {
            let cell = self.tried_cell(address);
            if self.tried.at(cell) != NOBODY {
                if self.collisions.len() < MAX_COLLISIONS && !self.collisions.contains(&address) {
                    self.collisions.push(address);
                }
                return Reached::Collides;
            }
        }
        self.make_tried(id, now, stream);
        Reached::Moved
    }

    /// Notes that a node is connected, or was until now.
    pub(super) fn connected(&mut self, address: Address, now: u32) {
        if let Some(id) = self.find(address) {
            let entry = &mut self.entries[id as usize];
            if now.saturating_sub(entry.time) > 20 * MINUTE {
                entry.time = now;
            }
        }
    }

    /// Decides on who waits for the place of another among the tried. Returns who got one.
    pub(super) fn resolve(&mut self, now: u32, stream: &mut Stream) -> Vec<Address> {
        let mut moved = Vec::new();
        let mut at = 0;
        while let Some(&address) = self.collisions.get(at) {
            let Some(id) = self.find(address).filter(|&id| !self.entry(id).is_tried) else {
                self.collisions.remove(at);
                continue;
            };
            let newer = *self.entry(id);
            let older = self.tried.at(self.tried_cell(address));
            let (is_decided, goes) = if older == NOBODY {
                (true, true)
            } else {
                let older = self.entry(older);
                if now.saturating_sub(older.last_success) < REPLACEMENT {
                    (true, false)
                } else if now.saturating_sub(older.last_try) < REPLACEMENT {
                    let failed = now.saturating_sub(older.last_try) > MINUTE;
                    (failed, failed)
                } else {
                    let untested = now.saturating_sub(newer.last_success) > TEST_WINDOW;
                    (untested, untested)
                }
            };
            if !is_decided {
                at += 1;
                continue;
            }
            self.collisions.remove(at);
            if goes {
                self.last_good = now;
                let entry = &mut self.entries[id as usize];
                (entry.last_success, entry.last_try, entry.attempts) = (now, now, 0);
                self.make_tried(id, now, stream);
                moved.push(address);
            }
        }
        moved
    }

    /// A node among the tried whose place another waits for.
    pub(super) fn to_be_tested(&self, stream: &mut Stream) -> Option<Address> {
        if self.collisions.is_empty() {
            return None;
        }
        let newer = self.entry(self.find(self.collisions[stream.index(self.collisions.len())])?);
        let older = self.tried.at(self.tried_cell(newer.address()));
        (older != NOBODY).then(|| self.entry(older).address())
    }

    pub(super) fn census(&self, is_adversary: &mut dyn FnMut(Address) -> bool) -> Census {
        let mut census = Census { new: self.new.total(), tried: self.tried.total(), ..Census::default() };
        for entry in self.entries.iter().filter(|entry| entry.is_there()) {
            if is_adversary(entry.address()) {
                census.tried_adversary += u32::from(entry.is_tried);
                census.new_adversary += u32::from(entry.references);
            }
        }
        census
    }

    /// Those that stand in the book.
    pub(super) fn standing(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.is_there())
    }

    fn create(&mut self, heard: &Heard) -> u32 {
        let Heard { address, source, time, penalty } = *heard;
        let entry = Entry {
            ip: address.ip,
            port: address.port,
            attempts: 0,
            references: 0,
            is_tried: false,
            place: 0,
            source,
            time: time.saturating_sub(penalty),
            last_success: 0,
            last_try: 0,
            last_counted: 0,
        };
        self.new_entries += 1;
        let id = if let Some(id) = self.free.pop() {
            self.entries[id as usize] = entry;
            id
        } else {
            self.entries.push(entry);
            self.more_places.push([0; MAX_REFERENCES - 1]);
            self.entries.len() as u32 - 1
        };
        self.index.insert(self.fingerprint(address), id);
        id
    }

    pub(super) fn fingerprint(&self, address: Address) -> u64 {
        self.placer.fingerprint(address, self.rules.era == Era::Old)
    }
}
