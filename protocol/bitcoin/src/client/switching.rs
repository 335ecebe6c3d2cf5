//! The switch to a staged branch: copied into the place of the best chain above the fork, one difficulty period at a time.
//! It goes on where it was if it is cut short; until it is complete the client does nothing else.

use andon_kernel::Rows;
use bitcoin::block::Header;

use alloc::vec::Vec;

use super::record::{self, Switch, Tip};
use super::start::{Fault, Loading, Step, Went};
use super::{Client, Then, Turn};
use crate::headers::PERIOD;

const DAMAGE: Fault = Fault::Damage("headers of a branch are missing or do not follow each other");

impl Client {
    /// Begins to switch to the branch that is staged, which leaves the best chain after `fork`.
    pub(super) fn begin_switch(&mut self, turn: &mut Turn<'_>, fork: u32, to: Tip) {
        let switch = Switch { fork, to, next: fork + 1 };
        let start = self.chain.start().height();
        let old_tip = self.chain.tip();
        self.search_goes_back(turn, fork + 1);
        let positions = self.search.watches.positions();
        self.start_again(turn, |client, turn, loading| {
            client.store(turn, Vec::new(), Then::Nothing, |batch| {
                record::put_switch(batch, &switch);
                // Whole rows go: the few filter headers below the fork among them are asked for again.
                let filter_row = record::row_first(start, fork + 1);
                batch.delete_from(record::FILTER_HEADERS, &record::height_key(filter_row));
                record::put_positions(batch, &positions);
            });
            loading.left = Some(old_tip);
            loading.switch = Some(switch);
            client.load_switch_head(turn, loading, &switch);
        });
    }

    /// Loads the headers that stand before the next one to be copied, in its row and its period.
    pub(super) fn load_switch_head(&mut self, turn: &mut Turn<'_>, loading: &mut Loading, switch: &Switch) {
        let last = switch.next - 1;
        let start = self.chain.start().height();
        let from = (last - last % PERIOD).max(start);
        self.load_height_rows(turn, loading, Step::SwitchHead, record::HEADERS, from, last);
    }

    pub(super) fn take_switch_head(
        &mut self,
        turn: &mut Turn<'_>,
        loading: &mut Loading,
        rows: Rows<'_>,
    ) -> Result<Went, Fault> {
        let switch = loading.switch.ok_or(DAMAGE)?;
        let last = switch.next - 1;
        let from = (last - last % PERIOD).max(self.chain.start().height());
        loading.head = record::read_headers(rows, from, last).ok_or(DAMAGE)?;
        let first = rows.iter().next();
        loading.head_work =
            first.and_then(|(key, value)| record::read_header_row(key, value, &mut Vec::new())?);
        self.load_switch_page(turn, loading, &switch);
        Ok(Went::On)
    }

    fn load_switch_page(&mut self, turn: &mut Turn<'_>, loading: &mut Loading, switch: &Switch) {
        let high = page_end(switch);
        self.load_height_rows(turn, loading, Step::Switch, record::STAGED, switch.next, high);
    }

    pub(super) fn switch_page(
        &mut self,
        turn: &mut Turn<'_>,
        loading: &mut Loading,
        rows: Rows<'_>,
    ) -> Result<Went, Fault> {
        let mut switch = loading.switch.ok_or(DAMAGE)?;
        let (start, high) = (self.chain.start().height(), page_end(&switch));
        let mut staged = Vec::new();
        let mut period_work = None;
        for (key, value) in rows.iter() {
            let work = record::read_header_row(key, value, &mut staged).ok_or(DAMAGE)?;
            period_work = work.or(period_work);
        }
        staged.retain(|stored| (switch.next..=high).contains(&stored.height));
        let whole = staged.first().is_some_and(|first| first.height == switch.next)
            && staged.last().is_some_and(|last| last.height == high);
        let follows = loading.head.last().zip(staged.first()).is_some_and(|(last, first)| {
            last.height + 1 < first.height || last.hash == first.header.prev_blockhash
        });
        if !whole || !follows {
            return Err(DAMAGE);
        }
        // Rows are written whole: with what stands before the branch in its first one.
        let row = record::row_first(start, switch.next);
        let period = (switch.next - switch.next % PERIOD).max(start);
        let before = loading.head.iter().filter(|stored| stored.height < switch.next);
        let all: Vec<_> = before.chain(&staged).filter(|stored| stored.height >= period).collect();
        let headers: Vec<Header> =
            all.iter().filter(|stored| stored.height >= row).map(|stored| stored.header).collect();
        let complete = (high + 1).is_multiple_of(PERIOD);
        // Of a row that begins a period and that the branch leaves the best chain in, the best chain's own row tells.
        let work = period_work.or(loading.head_work);
        switch.next = high + 1;
        let done = high == switch.to.block.height;
        self.store(turn, Vec::new(), Then::Nothing, |batch| {
            record::put_headers(batch, record::HEADERS, row, &headers, |_| work);
            if complete {
                record::put_hashes(batch, period, all.iter().map(|stored| stored.hash));
            }
            if done {
                let above = record::row_first(start, high) / record::ROW * record::ROW + record::ROW;
                batch.delete_from(record::HEADERS, &record::height_key(above));
                batch.delete_from(record::STAGED, &[]);
                record::put_tip(batch, &switch.to);
                record::put_settled(batch);
            } else {
                record::put_switch(batch, &switch);
            }
        });
        if done {
            loading.switch = None;
            // The fork is told by the last header before it.
            loading.head.retain(|stored| stored.height <= switch.fork);
            self.load_anew(turn, loading);
        } else {
            loading.switch = Some(switch);
            self.load_switch_page(turn, loading, &switch);
        }
        Ok(Went::On)
    }
}

/// The last height of the next page.
fn page_end(switch: &Switch) -> u32 {
    let period_end = switch.next - switch.next % PERIOD + PERIOD - 1;
    period_end.min(switch.to.block.height)
}
