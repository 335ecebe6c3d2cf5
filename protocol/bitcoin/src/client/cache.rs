//! Filters that are kept on the disk, so that what is watched later is searched for without a network.
//!
//! A filter is written when it has come and fits its filter header; a part is entered in the index when a whole segment has
//! come. Only what the index has is read. Each filter lies beside its block's hash, and what is known no longer
//! (filter headers that were replaced, blocks that have gone) leaves the disk before anything takes its place: so a
//! filter that is read needs no filter header.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ops::Bound;

use andon_kernel::{BatchWriter, Order, Rows, Ticket};
use bitcoin::BlockHash;

use super::api::Event;
use super::config::FilterCache;
use super::search::Search;
use super::{Client, Then, Turn, record};

/// Filters that are read at once: less than a megabyte, as they are today.
const PAGE: u32 = 32;

/// Pages that are under way: while one is searched the next ones are read.
const AHEAD: usize = 4;

/// Filters of a part of the index at most.
const PART: u32 = 250;

/// What is kept, and what of it is being read.
#[derive(Debug)]
pub(super) struct Cache {
    limit: u64,
    /// By the first height.
    parts: BTreeMap<u32, Part>,
    /// Bytes of all parts.
    bytes: u64,
    pages: Vec<Page>,
}

/// Filters that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) last: u32,
    pub(super) bytes: u64,
}

#[derive(Clone, Copy, Debug)]
struct Page {
    ticket: Ticket,
    first: u32,
    last: u32,
}

/// Changes of the index.
#[derive(Debug, Default)]
struct Changes {
    /// Filters from the first height on go, up to the last or all of them.
    gone: Vec<(u32, Option<u32>)>,
    /// Behind that.
    put: Vec<(u32, Part)>,
}

impl Changes {
    fn write(&self, batch: &mut BatchWriter<'_>) {
        for space in [record::FILTERS, record::CACHED] {
            for (first, last) in &self.gone {
                let first = record::height_key(*first);
                match last {
                    Some(last) => batch.delete(space, &first, &record::height_key(last + 1)),
                    None => batch.delete_from(space, &first),
                }
            }
        }
        for (first, part) in &self.put {
            record::put_cached(batch, *first, *part);
        }
    }
}

impl Cache {
    /// Nothing is kept yet.
    pub(super) fn new(config: FilterCache) -> Self {
        let limit = match config {
            FilterCache::Off => 0,
            FilterCache::All => u64::MAX,
            FilterCache::Bytes(limit) => limit,
        };
        Self { limit, parts: BTreeMap::new(), bytes: 0, pages: Vec::new() }
    }

    pub(super) fn is_off(&self) -> bool {
        self.limit == 0
    }

    /// Takes up the index. The lowest go if there is less room than there was.
    fn restore(&mut self, parts: BTreeMap<u32, Part>) -> Changes {
        self.bytes = parts.values().map(|part| part.bytes).fold(0, u64::saturating_add);
        self.parts = parts;
        let mut changes = Changes::default();
        self.make_room(&mut changes);
        changes
    }

    /// Forgets the lowest until there are no more bytes than there may be.
    fn make_room(&mut self, changes: &mut Changes) {
        while self.bytes > self.limit
            && let Some((_, gone)) = self.parts.pop_first()
        {
            self.bytes -= gone.bytes;
            changes.gone = Vec::from([(0, Some(gone.last))]);
            changes.put.retain(|(first, _)| *first > gone.last);
        }
    }

    /// Up to which height filters are kept from this one on, one part of them. `Err`: it is not kept, and the next that is.
    pub(super) fn covers(&self, height: u32) -> Result<u32, Option<u32>> {
        let below = self.parts.range(..=height).next_back().filter(|(_, part)| part.last >= height);
        match below {
            Some((_, part)) => Ok(part.last),
            None => Err(self.parts.range(height..).next().map(|(first, _)| *first)),
        }
    }

    /// Whether filters that end below the tip by so many bytes are to be kept: those that come after them would take their
    /// place otherwise.
    pub(super) fn has_room(&self, above: u64) -> bool {
        !self.is_off() && above < self.limit
    }

    /// Enters filters that have been written. The lowest go where there is no more room.
    fn add(&mut self, first: u32, part: Part) -> Changes {
        let mut changes = Changes::default();
        let before = self.parts.range(..first).next_back().map(|(first, part)| (*first, *part));
        let grown = before.filter(|(low, before)| before.last + 1 == first && part.last - low < PART);
        let (first, part) = match grown {
            Some((low, before)) => (low, Part { last: part.last, bytes: before.bytes + part.bytes }),
            None => (first, part),
        };
        if let Some(replaced) = self.parts.insert(first, part) {
            self.bytes -= replaced.bytes;
        }
        self.bytes += part.bytes;
        changes.put.push((first, part));
        self.make_room(&mut changes);
        changes
    }

    /// Forgets filters from a height on. `None`: there are none.
    fn truncate(&mut self, from: u32) -> Option<Changes> {
        self.pages.retain(|page| page.last < from);
        let gone = self.parts.split_off(&from);
        let mut changes = Changes { gone: Vec::from([(from, None)]), put: Vec::new() };
        let cut = self.parts.last_entry().filter(|entry| entry.get().last >= from);
        if gone.is_empty() && cut.is_none() {
            return None;
        }
        self.bytes -= gone.values().map(|part| part.bytes).sum::<u64>();
        if let Some(mut entry) = cut {
            let (first, part) = (*entry.key(), entry.get_mut());
            // How many bytes those that stay have is not known: their share.
            let (kept, all) = (u64::from(from - first), u64::from(part.last + 1 - first));
            let stay = part.bytes / all * kept + part.bytes % all * kept / all;
            self.bytes -= part.bytes - stay;
            *part = Part { last: from - 1, bytes: stay };
            changes.put.push((first, *part));
        }
        Some(changes)
    }

    /// Forgets the part that has a height.
    fn remove(&mut self, height: u32) -> Option<Changes> {
        let (first, part) =
            self.parts.range(..=height).next_back().filter(|(_, part)| part.last >= height)?;
        let (first, part) = (*first, *part);
        self.parts.remove(&first);
        self.bytes -= part.bytes;
        Some(Changes { gone: Vec::from([(first, Some(part.last))]), put: Vec::new() })
    }

    /// Reads nothing more of these heights.
    pub(super) fn give_up(&mut self, first: u32, last: u32) {
        self.pages.retain(|page| page.last < first || page.first > last);
    }
}

impl Client {
    /// Writes a filter that has just been taken in.
    pub(super) fn keep_filter(&mut self, turn: &mut Turn<'_>, height: u32, hash: &BlockHash, filter: &[u8]) {
        let Search { filters, cache, .. } = &mut self.search;
        if filters.keeps(height, self.chain.tip_height(), |above| cache.has_room(above)) {
            self.store(turn, Vec::new(), Then::Nothing, |batch| {
                record::put_filter(batch, height, hash, filter);
            });
        }
    }

    /// Takes up what the index has.
    pub(super) fn restore_kept_filters(&mut self, turn: &mut Turn<'_>, parts: BTreeMap<u32, Part>) {
        let changes = self.search.cache.restore(parts);
        if !changes.gone.is_empty() {
            self.store(turn, Vec::new(), Then::Nothing, |batch| changes.write(batch));
        }
    }

    /// Enters the filters of a segment that have all come.
    pub(super) fn enter_filters(&mut self, turn: &mut Turn<'_>, first: u32, part: Part) {
        let changes = self.search.cache.add(first, part);
        self.store(turn, Vec::new(), Then::Nothing, |batch| changes.write(batch));
    }

    /// Forgets filters from a height on. Whatever makes that necessary is stored after it.
    pub(super) fn forget_kept_filters(&mut self, turn: &mut Turn<'_>, from: u32) {
        if let Some(changes) = self.search.cache.truncate(from) {
            self.store(turn, Vec::new(), Then::Nothing, |batch| changes.write(batch));
        }
    }

    /// Reads the next filters that are kept and wanted.
    pub(super) fn read_kept_filters(&mut self, turn: &mut Turn<'_>) {
        while self.search.cache.pages.len() < AHEAD
            && let Some((first, last)) = self.search.filters.next_page(PAGE)
        {
            self.load_kept_filters(turn, first, last);
        }
    }

    fn load_kept_filters(&mut self, turn: &mut Turn<'_>, first: u32, last: u32) {
        let ticket = self.names.ticket();
        let (low, high) = (record::height_key(first), record::height_key(last));
        let range = (Bound::Included(&low[..]), Bound::Included(&high[..]));
        turn.out.load(ticket, record::FILTERS, range, Order::Ascending, PAGE);
        self.search.cache.pages.push(Page { ticket, first, last });
    }

    /// Searches filters that were loaded. False: they were loaded for something else.
    pub(super) fn kept_filters_loaded(
        &mut self,
        turn: &mut Turn<'_>,
        ticket: Ticket,
        rows: Rows<'_>,
        more: bool,
    ) -> bool {
        let Some(place) = self.search.cache.pages.iter().position(|page| page.ticket == ticket) else {
            return false;
        };
        let Page { first, last, .. } = self.search.cache.pages.swap_remove(place);
        let mut next = first;
        for (key, value) in rows.iter() {
            let read = record::read_filter(key, value).filter(|(height, ..)| *height == next);
            let search = &mut self.search;
            let taken = read.and_then(|(height, hash, filter)| {
                search.filters.take_kept(height, &hash, filter, &search.watches)
            });
            if taken.is_none() {
                break;
            }
            next += 1;
        }
        if next <= last {
            if more && next > first {
                self.load_kept_filters(turn, next, last);
            } else {
                self.kept_filters_damaged(turn, next);
            }
        }
        true
    }

    /// A filter is not what was written: it and those beside it are asked of peers again.
    fn kept_filters_damaged(&mut self, turn: &mut Turn<'_>, height: u32) {
        let kept = self.chain.tip();
        turn.out.event(Event::Repaired { what: "a filter that was kept is missing or unreadable", kept });
        let end = self.search.watches.group_at(height).map_or(u32::MAX, |(_, end)| end);
        self.give_up_search(height, end);
        if let Some(changes) = self.search.cache.remove(height) {
            self.store(turn, Vec::new(), Then::Nothing, |batch| changes.write(batch));
        }
    }
}
