//! How nodes come to their places, and leave them.

use super::book::Book;
use super::entry::{HORIZON, MINUTE};
use super::grid::NOBODY;
use super::rules::{BUCKET_SIZE, Eviction};
use crate::random::Stream;

impl Book {
    pub(super) fn put_in_set(&mut self, bucket: u32, id: u32, now: u32) {
        self.new.push(bucket, id);
        self.add_place(id, bucket as u16);
        let entry = self.entry(id);
        let is_lasting = entry.time <= now + 10 * MINUTE && entry.attempts < 3;
        let until = if is_lasting { entry.time.saturating_add(HORIZON) } else { 0 };
        let quiet = &mut self.quiet[bucket as usize];
        *quiet = until.min(*quiet);
    }

    pub(super) fn put_in_cell(&mut self, cell: u32, id: u32) {
        self.new.put(cell, id);
        self.add_place(id, cell as u16);
    }

    pub(super) fn place(&self, id: u32, at: usize) -> u16 {
        if at == 0 { self.entry(id).place } else { self.more_places[id as usize][at - 1] }
    }

    fn set_place(&mut self, id: u32, at: usize, place: u16) {
        if at == 0 {
            self.entries[id as usize].place = place;
        } else {
            self.more_places[id as usize][at - 1] = place;
        }
    }

    fn add_place(&mut self, id: u32, place: u16) {
        self.set_place(id, self.entry(id).references.into(), place);
        self.entries[id as usize].references += 1;
    }

    /// Makes room in a full bucket of sets: for whoever is not worth his place, or for the oldest of four.
    pub(super) fn shrink(&mut self, bucket: u32, now: u32, draw: &mut impl FnMut(u64) -> u64) {
        let held = self.new.bucket(bucket);
        let mut goes = None;
        if self.quiet[bucket as usize] < now {
            let mut until = u32::MAX;
            for (position, &id) in held.iter().enumerate() {
                let entry = self.entry(id);
                if entry.is_terrible(now) {
                    goes = Some(position);
                    break;
                }
                let is_lasting = entry.time <= now + 10 * MINUTE && entry.attempts < 3;
                until = until.min(if is_lasting { entry.time.saturating_add(HORIZON) } else { 0 });
            }
            if goes.is_none() {
                self.quiet[bucket as usize] = until;
            }
        }
        let position = goes.unwrap_or_else(|| {
            let drawn: [usize; 4] = core::array::from_fn(|_| draw(held.len() as u64) as usize);
            drawn
                .into_iter()
                .min_by_key(|&position| self.entry(held[position]).time)
                .expect("four were drawn")
        });
        let id = held[position];
        self.new.swap_remove(bucket, position);
        self.drop_place(id, bucket as u16);
    }

    /// Empties a cell of the new. Whoever stood there stays if he has other places.
    pub(super) fn clear_new(&mut self, cell: u32) {
        let id = self.new.at(cell);
        if id != NOBODY {
            self.new.clear(cell);
            self.drop_place(id, cell as u16);
        }
    }

    fn drop_place(&mut self, id: u32, place: u16) {
        let count = usize::from(self.entry(id).references);
        let at = (0..count).find(|&at| self.place(id, at) == place).expect("it stands there");
        self.set_place(id, at, self.place(id, count - 1));
        let entry = &mut self.entries[id as usize];
        entry.references -= 1;
        if entry.references == 0 {
            self.new_entries -= 1;
            let hash = self.fingerprint(self.entry(id).address());
            self.index.remove(hash, id);
            self.free.push(id);
            let address = self.entry(id).address();
            self.collisions.retain(|waiting| *waiting != address);
        }
    }

    /// Moves one of the new to the tried.
    pub(super) fn make_tried(&mut self, id: u32, now: u32, stream: &mut Stream) {
        let references = usize::from(self.entry(id).references);
        // Where there is room for sure once it has gone. Bitcoin Core takes the first bucket that it finds from a random one on.
        let origin = self.place(id, if references > 1 { stream.index(references) } else { 0 });
        for at in 0..references {
            let place = self.place(id, at);
            if self.new.is_sets {
                let bucket = u32::from(place);
                let position = self.new.position(bucket, id).expect("it stands in its buckets");
                self.new.swap_remove(bucket, position);
            } else {
                self.new.clear(place.into());
            }
        }
        let entry = &mut self.entries[id as usize];
        (entry.references, entry.is_tried) = (0, true);
        self.new_entries -= 1;
        self.put_among_tried(id, origin, now, stream);
    }

    /// Puts one that stands nowhere among the tried. Whoever loses its place there goes back to the new; to `origin`, where
    /// there is room for sure, if its own bucket is full.
    pub(super) fn put_among_tried(&mut self, id: u32, origin: u16, now: u32, stream: &mut Stream) {
        let address = self.entry(id).address();
        if self.tried.is_sets {
            let bucket = self.placer.tried_bucket(address, self.group(address), &self.rules);
            if !self.tried.is_full(bucket) {
                self.tried.push(bucket, id);
                return;
            }
            let position = self.whom_to_evict(bucket, stream);
            let older = self.tried.replace(bucket, position, id);
            self.move_back(older, origin, now);
        } else {
            let cell = self.tried_cell(address);
            let older = self.tried.at(cell);
            if older != NOBODY {
                self.tried.clear(cell);
                self.move_back(older, origin, now);
            }
            self.tried.put(cell, id);
        }
    }

    fn whom_to_evict(&mut self, bucket: u32, stream: &mut Stream) -> usize {
        let size = BUCKET_SIZE as usize;
        let (is_as_meant, is_random) =
            (self.rules.eviction == Eviction::OldestOfFour, self.rules.eviction == Eviction::Random);
        if is_random {
            return stream.index(size);
        }
        let mut oldest: Option<(u32, usize)> = None;
        for at in 0..4 {
            let drawn = at + stream.index(size - at);
            self.tried.swap(bucket, at, drawn);
            let time = self.entry(self.tried.bucket(bucket)[at]).last_success;
            if oldest.is_none_or(|(held, _)| time < held) {
                oldest = Some((time, if is_as_meant { at } else { drawn }));
            }
        }
        oldest.expect("four were looked at").1
    }

    /// Puts one that has lost its place among the tried among the new again.
    fn move_back(&mut self, id: u32, origin: u16, now: u32) {
        self.new_entries += 1;
        let entry = &mut self.entries[id as usize];
        entry.is_tried = false;
        let (address, source) = (entry.address(), entry.source);
        let group = self.group(address);
        if self.new.is_sets {
            let bucket = self.placer.new_bucket(address, group, source, &self.rules);
            let bucket = if self.new.is_full(bucket) { origin.into() } else { bucket };
            self.put_in_set(bucket, id, now);
        } else {
            let cell = self.placer.new_cell(address, group, source, &self.rules);
            self.clear_new(cell);
            self.put_in_cell(cell, id);
        }
    }
}
