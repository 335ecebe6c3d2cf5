//! Headers or filter headers that contradict themselves: what is sound is kept from the start up to the first fault, and
//! the rest is asked for again. The index of hashes is made anew on the way.

use alloc::vec::Vec;
use core::ops::Bound;

use andon_kernel::Rows;
use bitcoin::{BlockHash, Work};

use super::api::BlockId;
use super::record::{self, StoredHeader, Tip};
use super::start::{Fault, Loading, Step, Went};
use super::{Client, Phase, Then, Turn};
use crate::headers::PERIOD;

/// How far a look at everything is.
#[derive(Debug, Default)]
pub(super) struct Scan {
    what: &'static str,
    /// The last sound header, and the work up to it.
    kept: Option<(StoredHeader, Work)>,
    /// Hashes of the period that is being looked at.
    hashes: Vec<BlockHash>,
    /// The next filter header.
    filter_headers: u32,
    /// Whether there are any headers, sound or not.
    any: bool,
}

impl Client {
    /// Repairs what is stored while the client runs.
    pub(super) fn repair(&mut self, turn: &mut Turn<'_>, what: &'static str) {
        if matches!(self.phase, Phase::Running) {
            self.start_again(turn, |client, turn, loading| client.begin_repair(turn, loading, what));
        }
    }

    /// Begins to look at everything from the start up.
    pub(super) fn begin_repair(&mut self, turn: &mut Turn<'_>, loading: &mut Loading, what: &'static str) {
        loading.repaired = Some(what);
        loading.left = None;
        loading.scan = Scan { what, ..Scan::default() };
        self.load_from(turn, loading, Step::RepairHeaders, record::HEADERS, Bound::Unbounded);
    }

    pub(super) fn scan_headers(
        &mut self,
        turn: &mut Turn<'_>,
        loading: &mut Loading,
        rows: Rows<'_>,
        more: bool,
    ) -> Result<Went, Fault> {
        let start = self.chain.start().block();
        let start_work = self.chain.start().work();
        let scan = &mut loading.scan;
        scan.any |= !rows.is_empty();
        let mut complete: Vec<(u32, Vec<BlockHash>)> = Vec::new();
        let mut fault = false;
        for (key, value) in rows.iter() {
            let mut row: Vec<StoredHeader> = scan.kept.iter().map(|(last, _)| *last).collect();
            let known = row.len();
            let read = record::read_header_row(key, value, &mut row);
            let begins = known > 0 || row.first().is_some_and(|first| first.height == start.height);
            let Some(period_work) = read.filter(|_| begins) else {
                fault = true;
                break;
            };
            let mut work = match &scan.kept {
                Some((_, work)) => *work,
                None => start_work - row[0].header.work(),
            };
            let sound = row[known..].iter().all(|stored| {
                let header = &stored.header;
                self.chain.rules().claimed_work(header.bits).is_some()
                    && header.target().is_met_by(stored.hash)
                    && (stored.height != start.height || stored.hash == start.hash)
            });
            if !sound || period_work.is_some_and(|recorded| recorded != work) {
                fault = true;
                break;
            }
            for stored in &row[known..] {
                work = work + stored.header.work();
                scan.kept = Some((*stored, work));
                scan.hashes.push(stored.hash);
                if (stored.height + 1).is_multiple_of(PERIOD) {
                    let hashes = core::mem::take(&mut scan.hashes);
                    complete.push((stored.height + 1 - hashes.len() as u32, hashes));
                }
            }
        }
        if !complete.is_empty() {
            self.store(turn, Vec::new(), Then::Nothing, |batch| {
                for (from, hashes) in &complete {
                    record::put_hashes(batch, *from, hashes.iter().copied());
                }
            });
        }
        match rows.iter().last().filter(|_| more && !fault) {
            Some((last, _)) => {
                self.load_from(turn, loading, Step::RepairHeaders, record::HEADERS, Bound::Excluded(last));
            }
            None => {
                loading.scan.filter_headers = start.height;
                let all = Bound::Unbounded;
                self.load_from(turn, loading, Step::RepairFilterHeaders, record::FILTER_HEADERS, all);
            }
        }
        Ok(Went::On)
    }

    pub(super) fn scan_filter_headers(
        &mut self,
        turn: &mut Turn<'_>,
        loading: &mut Loading,
        rows: Rows<'_>,
        more: bool,
    ) -> Result<Went, Fault> {
        let start = *self.chain.start();
        let top = loading.scan.kept.map_or(start.height(), |(last, _)| last.height);
        let mut fault = false;
        for (key, value) in rows.iter() {
            let row = record::read_filter_header_row(key, value);
            match row {
                Some((first, headers))
                    if first == loading.scan.filter_headers && first + headers.len() as u32 <= top + 1 =>
                {
                    loading.scan.filter_headers += headers.len() as u32;
                }
                _ => {
                    fault = true;
                    break;
                }
            }
        }
        if let Some((last, _)) = rows.iter().last().filter(|_| more && !fault) {
            let after = Bound::Excluded(last);
            self.load_from(turn, loading, Step::RepairFilterHeaders, record::FILTER_HEADERS, after);
            return Ok(Went::On);
        }
        if loading.recordless && loading.scan.kept.is_none() {
            if loading.scan.any || !loading.empty {
                // Whatever it is, it does not begin where this chain does: it is not this client's to remove.
                return Err(Fault::Damage(loading.scan.what));
            }
            self.begin_new(turn, loading);
            return Ok(Went::On);
        }
        self.cut(turn, loading);
        Ok(Went::On)
    }

    /// Removes what is not sound.
    fn cut(&mut self, turn: &mut Turn<'_>, loading: &mut Loading) {
        let scan = core::mem::take(&mut loading.scan);
        let (start, network) = (*self.chain.start(), self.config.network);
        let (tip, above) = match scan.kept {
            Some((last, work)) => {
                let block = BlockId { height: last.height, hash: last.hash };
                (Tip { block, work }, last.height + 1)
            }
            None => (Tip { block: start.block(), work: start.work() }, start.height()),
        };
        let header = *self.chain.start_header();
        self.search_goes_back(turn, above);
        let mut positions = match loading.again {
            true => self.search.watches.positions(),
            false => loading.positions.clone(),
        };
        // None is above what is kept.
        positions.lower(above);
        let filter_headers = scan.filter_headers;
        self.forget_kept_filters(turn, filter_headers);
        let whole_start = scan.kept.is_some();
        self.store(turn, Vec::new(), Then::Nothing, |batch| {
            batch.delete_from(record::HEADERS, &record::height_key(above));
            batch.delete_from(record::FILTER_HEADERS, &record::height_key(filter_headers));
            batch.delete_from(record::STAGED, &[]);
            // Those that come anew may not be the same.
            let kept = above.min(filter_headers);
            for space in [record::FILTERS, record::CACHED] {
                batch.delete_from(space, &record::height_key(kept));
            }
            record::put_format(batch, network);
            record::put_start(batch, &header, &start);
            if !whole_start {
                let before = start.work() - header.work();
                record::put_headers(batch, record::HEADERS, start.height(), [&header], |_| Some(before));
            }
            record::put_tip(batch, &tip);
            record::put_settled(batch);
            record::put_positions(batch, &positions);
        });
        loading.switch = None;
        loading.repaired = Some(scan.what);
        loading.recordless = false;
        self.load_anew(turn, loading);
    }
}
