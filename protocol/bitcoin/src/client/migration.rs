//! Data of an older format, taken over period by period: it goes on where it was if it is cut short.
//!
//! Format 1 had a row of 80 bytes for each header in the space `header`, and one of 32 for each filter header in
//! `filter_header`, both by height, from the network's first block on.

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
use super::{Client, Then, Turn};
use crate::headers::{Lineage, PERIOD};

pub(super) const OLD_FORMAT: u32 = 1;

const OLD_HEADER: Space = Space::new("header");
const OLD_FILTER_HEADER: Space = Space::new("filter_header");

/// How far a migration is.
#[derive(Debug, Default)]
pub(super) struct Migration {
    at: Option<Migrated>,
    filter_headers: u32,
}

impl Client {
    pub(super) fn begin_migration(&mut self, turn: &mut Turn<'_>, loading: &mut Loading, meta: &Meta) {
        let none = Work::from_be_bytes([0; 32]);
        let begin = Migrated { next: 0, previous: BlockHash::all_zeros(), work: none };
        let at = *loading.migration.at.insert(meta.migrated.unwrap_or(begin));
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
        let mut at = loading.migration.at.ok_or(Fault::Damage("a migration has no beginning"))?;
        let first = at.next;
        let work_before = at.work;
        let mut headers = Vec::new();
        let mut hashes = Vec::new();
        let mut fault = false;
        for (key, value) in rows.iter() {
            let header = Header::consensus_decode(&mut &*value).ok().filter(|_| value.len() == 80);
            let follows = header.filter(|header| {
                record::key_height(key) == Some(at.next) && header.prev_blockhash == at.previous
            });
            let Some(header) = follows else {
                fault = true;
                break;
            };
            at = Migrated { next: at.next + 1, previous: header.block_hash(), work: at.work + header.work() };
            headers.push(header);
            hashes.push(at.previous);
        }
        // Pages are whole periods, so that rows are: what is left of the last one is its end.
        let complete = headers.len() as u32 == PERIOD;
        let end = fault || !more || !complete;
        let last = at
            .next
            .checked_sub(1)
            .map(|height| Tip { block: BlockId { height, hash: at.previous }, work: at.work });
        self.store(turn, Vec::new(), Then::Nothing, |batch| {
            record::put_headers(batch, record::HEADERS, first, &headers, |_| Some(work_before));
            if complete {
                record::put_hashes(batch, first, hashes.iter().copied());
            }
            if end {
                batch.delete_from(OLD_HEADER, &[]);
            } else {
                batch.delete(OLD_HEADER, &record::height_key(first), &record::height_key(at.next));
            }
            if let Some(last) = last {
                record::put_tip(batch, &last);
            }
            record::put_migrated(batch, &at);
        });
        loading.migration.at = Some(at);
        if end {
            // Filter headers that were taken over before the migration was cut short are taken over again: they are where
            // they were until the end.
            loading.migration.filter_headers = 0;
            self.load_from(turn, loading, Step::MigrateFilterHeaders, OLD_FILTER_HEADER, Bound::Unbounded);
        } else {
            let from = record::height_key(at.next);
            self.load_from(turn, loading, Step::MigrateHeaders, OLD_HEADER, Bound::Included(&from));
        }
        Ok(Went::On)
    }

    pub(super) fn migrate_filter_headers(
        &mut self,
        turn: &mut Turn<'_>,
        loading: &mut Loading,
        rows: Rows<'_>,
        more: bool,
    ) -> Result<Went, Fault> {
        let top = loading.migration.at.map_or(0, |at| at.next);
        let first = loading.migration.filter_headers;
        let mut next = first;
        let mut headers = Vec::new();
        for (key, value) in rows.iter() {
            let header = FilterHeader::from_slice(value).ok();
            let Some(header) = header.filter(|_| record::key_height(key) == Some(next) && next < top) else {
                break;
            };
            headers.push(header);
            next += 1;
        }
        let end = !more || headers.len() as u32 != PERIOD;
        loading.migration.filter_headers = next;
        let network = self.config.network;
        let (genesis, lineage) = (self.chain.rules().genesis(), Lineage::genesis(self.chain.rules()));
        let next_search = loading.next().map(|search| search.min(top));
        self.store(turn, Vec::new(), Then::Nothing, |batch| {
            record::put_filter_headers(batch, first, headers);
            if end {
                batch.delete_from(OLD_FILTER_HEADER, &[]);
                record::put_format(batch, network);
                record::put_start(batch, &genesis, &lineage);
                record::put_settled(batch);
                if let Some(next) = next_search {
                    record::put_next(batch, next);
                }
            }
        });
        if end {
            turn.out.event(Event::Migrated { from: OLD_FORMAT });
            self.load_anew(turn, loading);
        } else {
            let from = record::height_key(next);
            self.load_from(
                turn,
                loading,
                Step::MigrateFilterHeaders,
                OLD_FILTER_HEADER,
                Bound::Included(&from),
            );
        }
        Ok(Went::On)
    }
}
