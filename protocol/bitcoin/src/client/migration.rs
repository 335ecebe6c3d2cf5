//! Data of an older format, taken over page by page: it goes on where it was if it is cut short.
//!
//! Format 1 had a row of 80 bytes for each header in the space `header`, and one of 32 for each filter header in
//! `filter_header`, both by height, from the network's first block on; what is in `watched` and `touches` now was in
//! `watch` and `touch`. Nothing had a checksum: a header is believed if the next one follows from it, or if it is the tip
//! that was recorded.

use alloc::vec::Vec;
use core::ops::Bound;

use andon_kernel::{Rows, Space};
use bitcoin::block::Header;
use bitcoin::consensus::encode::Decodable;
use bitcoin::hashes::Hash;
use bitcoin::{BlockHash, FilterHeader, Work};

use super::api::{BlockId, Event};
use super::record::{self, Meta, Migrated, Tip};
use super::start::{Fault, Loading, Step, Went};
use super::watches::{GroupId, Watch};
use super::{Client, Then, Turn};
use crate::headers::{Lineage, PERIOD};

const OLD_HEADER: Space = Space::new("header");
const OLD_FILTER_HEADER: Space = Space::new("filter_header");
const OLD_WATCH: Space = Space::new("watch");
const OLD_TOUCH: Space = Space::new("touch");

/// All scripts were in one group.
const ONLY_GROUP: GroupId = 0;

/// How far a migration is.
#[derive(Debug, Default)]
pub(super) struct Migration {
    at: Option<Migrated>,
    /// The tip that was recorded.
    tip: Option<BlockHash>,
    filter_headers: u32,
    /// The height to search from, as it was recorded, or lower if something below was unreadable.
    next: Option<u32>,
    /// Whether anything did not make sense.
    damaged: bool,
}

impl Client {
    pub(super) fn begin_migration(&mut self, turn: &mut Turn<'_>, loading: &mut Loading, meta: &Meta) {
        let none = Work::from_be_bytes([0; 32]);
        let begin = Migrated { next: 0, previous: BlockHash::all_zeros(), work: none };
        let at = meta.migrated.unwrap_or(begin);
        loading.migration = Migration {
            at: Some(at),
            tip: meta.tip.map(|tip| tip.block.hash),
            next: meta.next.groups.get(&ONLY_GROUP).copied(),
            ..Migration::default()
        };
        let from = record::height_key(at.next);
        self.load_from(turn, loading, Step::MigrateHeaders, OLD_HEADER, Bound::Included(&from));
    }

    pub(super) fn migrate_headers(
        &mut self,
        turn: &mut Turn<'_>,
        loading: &mut Loading,
        rows: Rows<'_>,
        more: bool,
    ) -> Result<Went, Fault> {
        let begin = loading.migration.at.ok_or(Fault::Damage("a migration has no beginning"))?;
        let mut at = begin;
        let mut headers: Vec<(Header, Migrated)> = Vec::new();
        // One row more than is taken over: it shows that the last of those is sound.
        let mut followed = false;
        let mut fault = false;
        for (key, value) in rows.iter() {
            let sound = self.old_header(&at, key, value);
            followed = sound.is_some();
            fault = !followed;
            let Some(next) = sound.filter(|_| headers.len() < PERIOD as usize) else { break };
            at = next.1;
            headers.push(next);
            followed = false;
        }
        let taken_up = headers.is_empty() && !fault;
        if !followed && !taken_up && loading.migration.tip != Some(at.previous) {
            // The last one may be what is wrong.
            fault = true;
            headers.pop();
            at = headers.last().map_or(begin, |(_, at)| *at);
        }
        let complete = headers.len() as u32 == PERIOD;
        let end = fault || !followed || !complete;
        loading.migration.damaged |= fault || end && more;
        self.store(turn, Vec::new(), Then::Nothing, |batch| {
            let all = headers.iter().map(|(header, _)| header);
            record::put_headers(batch, record::HEADERS, begin.next, all, |_| Some(begin.work));
            if complete {
                record::put_hashes(batch, begin.next, headers.iter().map(|(_, at)| at.previous));
            }
            if end {
                batch.delete_from(OLD_HEADER, &[]);
            } else {
                batch.delete(OLD_HEADER, &record::height_key(begin.next), &record::height_key(at.next));
            }
            record::put_migrated(batch, &at);
        });
        loading.migration.at = Some(at);
        if end {
            // Filter headers that were taken over before the migration was cut short are taken over again: they are where
            // they were until all are.
            let all = Bound::Unbounded;
            self.load_from(turn, loading, Step::MigrateFilterHeaders, OLD_FILTER_HEADER, all);
        } else {
            let from = record::height_key(at.next);
            self.load_from(turn, loading, Step::MigrateHeaders, OLD_HEADER, Bound::Included(&from));
        }
        Ok(Went::On)
    }

    /// The header that a row holds, and the chain up to it. `None`: it does not follow from what is `at`.
    fn old_header(&self, at: &Migrated, key: &[u8], value: &[u8]) -> Option<(Header, Migrated)> {
        let rules = self.chain.rules();
        let header = Header::consensus_decode(&mut &*value).ok().filter(|_| value.len() == 80)?;
        let work = rules.claimed_work(header.bits)?;
        let hash = header.block_hash();
        let follows = *key == record::height_key(at.next)
            && header.prev_blockhash == at.previous
            && header.target().is_met_by(hash)
            && (at.next > 0 || header == rules.genesis());
        let reached = Migrated { next: at.next + 1, previous: hash, work: at.work + work };
        follows.then_some((header, reached))
    }

    pub(super) fn migrate_filter_headers(
        &mut self,
        turn: &mut Turn<'_>,
        loading: &mut Loading,
        rows: Rows<'_>,
        more: bool,
    ) -> Result<Went, Fault> {
        let migration = &mut loading.migration;
        let top = migration.at.map_or(0, |at| at.next);
        let first = migration.filter_headers;
        let mut next = first;
        let mut headers = Vec::new();
        for (key, value) in rows.iter() {
            let header = FilterHeader::from_slice(value).ok();
            let Some(header) = header.filter(|_| *key == record::height_key(next) && next < top) else {
                migration.damaged = true;
                break;
            };
            headers.push(header);
            next += 1;
        }
        let end = !more || headers.len() as u32 != PERIOD;
        migration.filter_headers = next;
        self.store(turn, Vec::new(), Then::Nothing, |batch| {
            record::put_filter_headers(batch, first, headers);
            if end {
                batch.delete_from(OLD_FILTER_HEADER, &[]);
            }
        });
        let from = record::height_key(next);
        let (step, space, from) = match end {
            true => (Step::MigrateWatched, OLD_WATCH, Bound::Unbounded),
            false => (Step::MigrateFilterHeaders, OLD_FILTER_HEADER, Bound::Included(&from[..])),
        };
        self.load_from(turn, loading, step, space, from);
        Ok(Went::On)
    }

    pub(super) fn migrate_watched(
        &mut self,
        turn: &mut Turn<'_>,
        loading: &mut Loading,
        rows: Rows<'_>,
        more: bool,
    ) -> Result<Went, Fault> {
        let migration = &mut loading.migration;
        let mut watched = Vec::new();
        for (script, value) in rows.iter() {
            // Since when is lost, if it can't be read: it is looked for in every block.
            let from = record::old_watched_from(value).unwrap_or_else(|| {
                migration.damaged = true;
                migration.next = Some(0);
                0
            });
            watched.push((script, from));
        }
        let next = migration.next;
        self.store(turn, Vec::new(), Then::Nothing, |batch| {
            for (script, from) in watched {
                let watch = Watch { from, group: ONLY_GROUP, descent: None, origin: None };
                record::put_watched(batch, script, watch);
            }
            if !more {
                batch.delete_from(OLD_WATCH, &[]);
            }
            if let Some(next) = next {
                record::put_next(batch, ONLY_GROUP, next);
            }
        });
        if !self.load_more(turn, loading, rows, more) {
            self.load_from(turn, loading, Step::MigrateTouches, OLD_TOUCH, Bound::Unbounded);
        }
        Ok(Went::On)
    }

    pub(super) fn migrate_touches(
        &mut self,
        turn: &mut Turn<'_>,
        loading: &mut Loading,
        rows: Rows<'_>,
        more: bool,
    ) -> Result<Went, Fault> {
        let Migration { at, next, damaged, .. } = &mut loading.migration;
        let at = at.ok_or(Fault::Damage("a migration has no beginning"))?;
        let network = self.config.network;
        let (genesis, lineage) = (self.chain.rules().genesis(), Lineage::genesis(self.chain.rules()));
        let last = at.next.checked_sub(1).map(|height| BlockId { height, hash: at.previous });
        self.store(turn, Vec::new(), Then::Nothing, |batch| {
            for (key, value) in rows.iter() {
                if !record::take_over_touch(batch, key, value) {
                    // It is searched for again.
                    *damaged = true;
                    *next = next.map(|next| next.min(record::key_height(key).unwrap_or(0)));
                }
            }
            if let Some(next) = *next {
                record::put_next(batch, ONLY_GROUP, next.min(at.next));
            }
            if more {
                return;
            }
            batch.delete_from(OLD_TOUCH, &[]);
            record::put_format(batch, network);
            record::put_start(batch, &genesis, &lineage);
            record::put_settled(batch);
            if let Some(block) = last {
                record::put_tip(batch, &Tip { block, work: at.work });
            }
        });
        if self.load_more(turn, loading, rows, more) {
            return Ok(Went::On);
        }
        turn.out.event(Event::Migrated { from: record::OLD_FORMAT });
        if loading.migration.damaged {
            let kept = last.unwrap_or(lineage.block());
            turn.out.event(Event::Repaired { what: "data of an older format contradicted itself", kept });
        }
        self.load_anew(turn, loading);
        Ok(Went::On)
    }
}
