//! The start: what is stored is read back and checked, recorded findings are told again, and the peers are dialled.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::ops::Bound;

use andon_kernel::{Order, Rows, Space, Ticket};
use bitcoin::block::Header;
use bitcoin::{FilterHeader, ScriptBuf, Work};

use super::api::{BlockId, Event, Failure};
use super::chain::{Chain, WINDOW};
use super::filter_headers::FilterHeaders;
use super::record::{self, Meta};
use super::{Client, Phase, Turn};

/// Findings that are told in one turn.
const TOUCH_PAGE: u32 = 500;

/// Other rows are bounded by the size of a page.
const PAGE: u32 = 20_000;

/// What is being read, one step after the other.
#[derive(Debug)]
pub(super) struct Loading {
    ticket: Ticket,
    step: Step,
    tip: Option<(BlockId, Work)>,
    next: Option<u32>,
    headers: Vec<Header>,
    filter_headers: VecDeque<FilterHeader>,
    filter_headers_next: u32,
    watched: BTreeMap<ScriptBuf, u32>,
    /// The block whose findings were told last.
    told: Option<BlockId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Meta,
    Headers,
    FilterHeaders,
    Watched,
    Touches,
}

impl Client {
    pub(super) fn start(&mut self, turn: &mut Turn<'_>) {
        let ticket = self.names.ticket();
        turn.out.load(ticket, record::META, (Bound::Unbounded, Bound::Unbounded), Order::Ascending, PAGE);
        self.phase = Phase::Loading(Box::new(Loading {
            ticket,
            step: Step::Meta,
            tip: None,
            next: None,
            headers: Vec::new(),
            filter_headers: VecDeque::new(),
            filter_headers_next: 0,
            watched: BTreeMap::new(),
            told: None,
        }));
    }

    pub(super) fn loaded(&mut self, turn: &mut Turn<'_>, ticket: Ticket, rows: Rows<'_>, more: bool) {
        match &self.phase {
            Phase::Running => return self.loaded_while_running(turn, ticket, rows),
            Phase::Loading(loading) if loading.ticket == ticket => {}
            Phase::New | Phase::Loading(_) | Phase::Stopped => return,
        }
        let Phase::Loading(loading) = core::mem::replace(&mut self.phase, Phase::Stopped) else { return };
        let step = loading.step;
        let taken = match step {
            Step::Meta => self.take_meta(turn, loading, rows),
            Step::Headers => self.take_headers(turn, loading, rows, more),
            Step::FilterHeaders => self.take_filter_headers(turn, loading, rows),
            Step::Watched => self.take_watched(turn, loading, rows, more),
            Step::Touches => self.take_touches(turn, loading, rows, more),
        };
        if let Err(failure) = taken {
            turn.out.event(Event::Failed(failure));
        }
    }

    fn take_meta(
        &mut self,
        turn: &mut Turn<'_>,
        mut loading: Box<Loading>,
        rows: Rows<'_>,
    ) -> Result<(), Failure> {
        let mut meta = Meta::default();
        for (key, value) in rows.iter() {
            meta.read(key, value)
                .map_err(|_| Failure::Damaged { what: "a record of the store's own is unreadable" })?;
        }
        let Some((version, network)) = meta.format else {
            if !rows.is_empty() {
                return Err(Failure::Damaged { what: "the record of its format is missing" });
            }
            self.begin_new(turn);
            return Ok(());
        };
        if version != record::FORMAT {
            return Err(Failure::OtherVersion { found: version, expected: record::FORMAT });
        }
        match network {
            Some(network) if network == self.config.network => {}
            Some(found) => return Err(Failure::OtherNetwork { found }),
            None => return Err(Failure::Damaged { what: "the record of its network is unreadable" }),
        }
        let tip = meta.tip.ok_or(Failure::Damaged { what: "the record of the tip is missing" })?;
        loading.tip = Some(tip);
        loading.next = meta.next;
        self.load_last(turn, loading, Step::Headers, record::HEADER, WINDOW);
        Ok(())
    }

    /// Nothing is stored yet.
    fn begin_new(&mut self, turn: &mut Turn<'_>) {
        let (network, tip, work) = (self.config.network, self.chain.tip(), self.chain.work());
        let genesis = *self.chain.at(0).expect("a new chain has its first block").0;
        self.store(turn, Vec::new(), super::Then::Nothing, |batch| {
            record::put_format(batch, network);
            record::put_header(batch, 0, &genesis);
            record::put_tip(batch, tip, work);
        });
        turn.out.event(Event::Started { tip, checked: None });
        self.run(turn);
    }

    fn take_headers(
        &mut self,
        turn: &mut Turn<'_>,
        mut loading: Box<Loading>,
        rows: Rows<'_>,
        more: bool,
    ) -> Result<(), Failure> {
        const DAMAGED: Failure =
            Failure::Damaged { what: "block headers are missing or do not follow each other" };
        let (tip, work) = loading.tip.ok_or(DAMAGED)?;
        let mut expected = tip.height.checked_sub(loading.headers.len() as u32);
        for (key, value) in rows.iter() {
            if expected.is_none() || record::key_height(key) != expected {
                return Err(DAMAGED);
            }
            loading.headers.push(record::read_header(value).ok_or(DAMAGED)?);
            expected = expected.and_then(|height| height.checked_sub(1));
        }
        let wanted = WINDOW.min(tip.height + 1) as usize;
        if loading.headers.len() < wanted {
            if rows.is_empty() || !more {
                return Err(DAMAGED);
            }
            let from = record::height_key(tip.height - loading.headers.len() as u32);
            let rest = (wanted - loading.headers.len()) as u32;
            self.load_step(
                turn,
                loading,
                Step::Headers,
                record::HEADER,
                (Bound::Unbounded, Bound::Included(&from)),
                Order::Descending,
                rest,
            );
            return Ok(());
        }
        loading.headers.reverse();
        let headers = core::mem::take(&mut loading.headers);
        self.chain = Chain::restore(self.config.network, tip.height, work, &headers).ok_or(DAMAGED)?;
        if self.chain.tip() != tip {
            return Err(DAMAGED);
        }
        self.load_last(turn, loading, Step::FilterHeaders, record::FILTER_HEADER, 2 * WINDOW);
        Ok(())
    }

    fn take_filter_headers(
        &mut self,
        turn: &mut Turn<'_>,
        mut loading: Box<Loading>,
        rows: Rows<'_>,
    ) -> Result<(), Failure> {
        const DAMAGED: Failure = Failure::Damaged { what: "filter headers are missing" };
        let mut expected = None;
        for (key, value) in rows.iter() {
            let height = record::key_height(key).ok_or(DAMAGED)?;
            if expected.is_some_and(|expected| height != expected) {
                return Err(DAMAGED);
            }
            if expected.is_none() {
                loading.filter_headers_next = height.checked_add(1).ok_or(DAMAGED)?;
            }
            loading.filter_headers.push_front(record::read_filter_header(value).ok_or(DAMAGED)?);
            expected = Some(height.wrapping_sub(1));
        }
        let complete = loading.filter_headers.len() as u32 == loading.filter_headers_next.min(2 * WINDOW);
        if !complete || loading.filter_headers_next > self.chain.tip_height() + 1 {
            return Err(DAMAGED);
        }
        let window = core::mem::take(&mut loading.filter_headers);
        self.filter_headers = FilterHeaders::restore(loading.filter_headers_next, window);
        self.load_from(turn, loading, Step::Watched, record::WATCH, Bound::Unbounded);
        Ok(())
    }

    fn take_watched(
        &mut self,
        turn: &mut Turn<'_>,
        mut loading: Box<Loading>,
        rows: Rows<'_>,
        more: bool,
    ) -> Result<(), Failure> {
        const DAMAGED: Failure = Failure::Damaged { what: "a watched script is unreadable" };
        for (key, value) in rows.iter() {
            let from = record::watch_from(value).ok_or(DAMAGED)?;
            loading.watched.insert(ScriptBuf::from_bytes(key.into()), from);
        }
        if let Some((last, _)) = rows.iter().last().filter(|_| more) {
            self.load_from(turn, loading, Step::Watched, record::WATCH, Bound::Excluded(last));
            return Ok(());
        }
        self.search.restore(core::mem::take(&mut loading.watched), loading.next);
        let checked = loading.next.and_then(|next| next.checked_sub(1));
        turn.out.event(Event::Started { tip: self.chain.tip(), checked });
        self.load_from(turn, loading, Step::Touches, record::TOUCH, Bound::Unbounded);
        Ok(())
    }

    /// Tells what had been found. What lies above the search is void, for a reorganisation was cut short before all of
    /// that could be told: it is told all the same, so that its taking back, which follows, makes sense to who hears it.
    fn take_touches(
        &mut self,
        turn: &mut Turn<'_>,
        mut loading: Box<Loading>,
        rows: Rows<'_>,
        more: bool,
    ) -> Result<(), Failure> {
        let mut last = None;
        for (key, value) in rows.iter() {
            let touch = record::read_touch(key, value)
                .map_err(|_| Failure::Damaged { what: "a finding is unreadable" })?;
            self.search.restore_touch(&touch);
            if loading.told != Some(touch.block) {
                turn.out.event(Event::Matched(touch.block));
                loading.told = Some(touch.block);
            }
            turn.out.event(Event::Touched(touch));
            last = Some(key);
        }
        if let Some(last) = last.filter(|_| more) {
            self.load_from(turn, loading, Step::Touches, record::TOUCH, Bound::Excluded(last));
            return Ok(());
        }
        self.run(turn);
        self.search.begin_taking_back();
        self.take_back_page(turn);
        Ok(())
    }

    fn run(&mut self, turn: &mut Turn<'_>) {
        for endpoint in core::mem::take(&mut self.config.peers) {
            self.add_peer(turn, endpoint);
        }
        self.phase = Phase::Running;
        for target in self.targets.ids() {
            self.dial(turn, target);
        }
    }

    fn load_last(
        &mut self,
        turn: &mut Turn<'_>,
        loading: Box<Loading>,
        step: Step,
        space: Space,
        limit: u32,
    ) {
        self.load_step(
            turn,
            loading,
            step,
            space,
            (Bound::Unbounded, Bound::Unbounded),
            Order::Descending,
            limit,
        );
    }

    fn load_from(
        &mut self,
        turn: &mut Turn<'_>,
        loading: Box<Loading>,
        step: Step,
        space: Space,
        from: Bound<&[u8]>,
    ) {
        let limit = if step == Step::Touches { TOUCH_PAGE } else { PAGE };
        self.load_step(turn, loading, step, space, (from, Bound::Unbounded), Order::Ascending, limit);
    }

    #[expect(clippy::too_many_arguments, reason = "those of a scan, and where the start is")]
    fn load_step(
        &mut self,
        turn: &mut Turn<'_>,
        mut loading: Box<Loading>,
        step: Step,
        space: Space,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        order: Order,
        limit: u32,
    ) {
        loading.ticket = self.names.ticket();
        loading.step = step;
        turn.out.load(loading.ticket, space, range, order, limit);
        self.phase = Phase::Loading(loading);
    }
}
