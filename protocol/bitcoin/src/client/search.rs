//! From filter headers to findings: who is asked for which filters and blocks, and what is told, in order and only
//! when it is durable.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

use andon_kernel::{ConnId, Rows, Ticket};
use bitcoin::hashes::Hash;
use bitcoin::{BlockHash, FilterHeader};

use super::api::{Answer, Count, Event, Progress, RequestId, Touch};
use super::blocks::{Blocks, Fetch};
use super::cache::{Cache, Part};
use super::config::FilterCache;
use super::decoys::Decoys;
use super::descents::Resolving;
use super::descriptors::Descriptors;
use super::filters::{Filters, Matched};
use super::findings::Findings;
use super::peer::{Headers, Peer};
use super::record::{self, TouchKey};
use super::segments::Source;
use super::taking_back::TakingBack;
use super::watches::{Arranged, GroupId, Merged, MergedDescent, Watches};
use super::watching::{Dating, WatchOrder};
use super::{Client, Misbehaviour, Then, Turn, queries};
use crate::wire::{CommandName, FILTER_TYPE_BASIC};

/// Matching blocks that are not read at which no more filters are asked for: a filter can match everywhere.
const MAX_WANTED: usize = 2000;

/// Filters in which nothing is found, and the time that they take, after which it is stored how far the search is. So many are
/// asked for once more if the process is killed; and each time costs some pages of the disk.
const UNSETTLED: u32 = 2000;
const UNSETTLED_TIME: Duration = Duration::from_secs(120);

pub(super) const CFILTER: CommandName = CommandName::new("cfilter");
pub(super) const BLOCK: CommandName = CommandName::new("block");

/// The search for what touches the watched scripts.
#[derive(Debug)]
pub(super) struct Search {
    pub(super) watches: Watches,
    pub(super) descriptors: Descriptors,
    pub(super) findings: Findings,
    pub(super) filters: Filters,
    pub(super) blocks: Blocks,
    pub(super) cache: Cache,
    /// How many requests for filters and blocks have been made.
    pub(super) requests: u64,
    pub(super) orders: VecDeque<(Option<RequestId>, WatchOrder)>,
    pub(super) dating: Option<Dating>,
    pub(super) taking_back: TakingBack,
    pub(super) resolving: Option<Resolving>,
}

/// What a peer was asked for and nobody waits for any more.
#[derive(Debug, Default)]
pub(super) struct Late {
    pub(super) filters: u32,
    pub(super) blocks: Vec<BlockHash>,
}

impl Search {
    /// Nothing is watched. The window of filters may hold so many bytes.
    pub(super) fn new(filter_window: usize, cache: FilterCache, decoys: Decoys) -> Self {
        Self {
            watches: Watches::default(),
            descriptors: Descriptors::default(),
            findings: Findings::default(),
            filters: Filters::new(filter_window, decoys),
            blocks: Blocks::default(),
            cache: Cache::new(cache),
            requests: 0,
            orders: VecDeque::new(),
            dating: None,
            taking_back: TakingBack::No,
            resolving: None,
        }
    }

    /// Notes what the application wants watched. It is carried out when what is under way allows.
    pub(super) fn order(&mut self, request: Option<RequestId>, order: WatchOrder) {
        self.orders.push_back((request, order));
    }

    /// Notes that everything below `next` is durable for a group.
    pub(super) fn searched(&mut self, group: GroupId, next: u32) {
        if let Some(group) = self.watches.group_mut(group) {
            group.durable = next.min(group.next);
        }
    }

    /// Whether `peer` owes filters or blocks.
    pub(super) fn is_waiting_for(&self, peer: ConnId) -> bool {
        self.filters.is_waiting_for(peer) || self.blocks.is_waiting_for(peer)
    }

    /// Takes back what `peer` was asked for and has not sent.
    pub(super) fn release(&mut self, peer: ConnId) -> Late {
        Late { filters: self.filters.release(peer), blocks: self.blocks.release(peer) }
    }

    /// Whether everything up to the tip has been searched, durably, or there is nothing to search for.
    pub(super) fn is_done(&self, tip: u32) -> bool {
        self.watches.is_done(tip)
            && self.orders.is_empty()
            && self.taking_back == TakingBack::No
            && !self.descriptors.is_deriving()
    }

    /// Counts what is done, of filters from the height `first` on.
    pub(super) fn count(&self, tip: u32, first: u32, progress: &mut Progress) {
        let Some((next, end)) = self.watches.lowest_pass() else { return };
        let Some((group, _)) = self.watches.group_at(next) else { return };
        let from = self.watches.birthday().unwrap_or(next).max(first);
        progress.filters = match self.watches.descending() {
            Some(descent) => {
                let total = (tip + 1).saturating_sub(from);
                let matched = group.first_unmatched() - group.next + self.filters.received(end);
                Count { done: total.saturating_sub(descent.left().saturating_sub(matched)), total }
            }
            None => {
                let from = from.min(next.max(first));
                let matched = group.first_unmatched().max(first) + self.filters.received(end);
                Count { done: matched - from, total: (tip + 1).max(matched) - from }
            }
        };
        let read = self.blocks.read();
        progress.blocks = Count { done: read, total: read + self.blocks.unread() };
    }
}

impl Client {
    /// Carries out orders, opens segments, asks for filters and blocks, and stores and tells what is complete.
    pub(super) fn go_on_searching(&mut self, turn: &mut Turn<'_>) {
        if self.journal.is_full() && self.search.taking_back == TakingBack::No {
            // The application is behind. What is wanted, and what comes, waits for it.
            return;
        }
        if self.search.taking_back == TakingBack::No {
            self.carry_out_orders(turn);
            self.trace_broadcasts(turn);
            self.derive_scripts(turn);
        }
        self.end_spend_searches(turn);
        self.arrange_groups(turn);
        if self.search.taking_back == TakingBack::No {
            self.descend(turn);
        }
        if self.search.descriptors.is_deriving() {
            // What is not derived yet would be searched for in a pass of its own.
            return;
        }
        if let Some(limit) = self.trusted_filter_headers().checked_sub(1) {
            for (group, end) in self.search.watches.active(limit) {
                self.open_segments(turn, group, end);
            }
        }
        self.read_kept_filters(turn);
        self.take_held_filters(turn);
        self.take_segments(turn);
        self.ask_for_blocks(turn);
        self.ask_for_filters(turn);
        if self.search.taking_back == TakingBack::No {
            self.settle(turn, false);
            self.derive_more(turn);
        }
    }

    /// The height up to which a peer can be asked now, if it can.
    pub(super) fn serves(&self, peer: &Peer) -> Option<u32> {
        let shown = matches!(peer.headers, Headers::Done | Headers::Withheld);
        if !peer.is_ready() || !shown || peer.passed_over.is_some() {
            return None;
        }
        peer.best.and_then(|best| self.chain.common(best))
    }

    /// Opens segments of a group's pass, which may go up to the height `end`.
    fn open_segments(&mut self, turn: &mut Turn<'_>, group: GroupId, end: u32) {
        loop {
            let search = &mut self.search;
            if search.blocks.searched() >= MAX_WANTED {
                return;
            }
            let Some(group) = search.watches.group_mut(group) else { return };
            let next = group.first_unmatched().max(self.filter_headers.first_filter());
            let Some((start, stop)) = search.filters.next_segment(next, end) else { return };
            let (stop, source) = self.source_of(start, stop);
            let is_kept = matches!(source, Source::Disk(_));
            let hashes: Option<Vec<BlockHash>> =
                (start..=stop).map(|height| self.chain.at(height).map(|(_, hash)| hash)).collect();
            let links: Option<Vec<FilterHeader>> = match is_kept {
                true => Some(Vec::new()),
                false => (start..=stop + 1).map(|height| self.filter_headers.before(height)).collect(),
            };
            match (hashes, links) {
                (Some(hashes), Some(links)) => self.search.filters.open(start, source, hashes, links),
                _ => {
                    let headers = self.load_headers(turn, record::HEADERS, start, stop);
                    let before = start.saturating_sub(1);
                    let filter_headers =
                        (!is_kept).then(|| self.load_headers(turn, record::FILTER_HEADERS, before, stop));
                    self.search.filters.open_loading(start, stop, source, headers, filter_headers);
                }
            }
        }
    }

    /// Where the filters of a segment come from, up to which height all from there.
    fn source_of(&self, start: u32, stop: u32) -> (u32, Source) {
        let cache = &self.search.cache;
        match cache.covers(start) {
            Ok(last) => (stop.min(last), Source::Disk(start)),
            Err(next) => {
                let stop = next.map_or(stop, |next| stop.min(next - 1));
                (stop, if cache.is_off() { Source::Peers } else { Source::Kept(0) })
            }
        }
    }

    pub(super) fn on_filter(
        &mut self,
        turn: &mut Turn<'_>,
        conn: ConnId,
        filter_type: u8,
        block_hash: BlockHash,
        filter: &[u8],
    ) -> Result<(), Misbehaviour> {
        if filter_type != FILTER_TYPE_BASIC {
            return Err(Misbehaviour::WrongAnswer(CFILTER));
        }
        let is_elsewhere = self.on_disputed_filter(conn, block_hash, filter)?
            || self.on_fetched_filter(conn, block_hash, filter)?;
        let received = self.search.filters.receive(conn, block_hash, filter, &self.search.watches);
        if is_elsewhere
            && received.is_some()
            && let Some(peer) = self.peers.get_mut(&conn)
        {
            // It was asked for the search as well, and comes once more: else it would seem to have left it out.
            peer.expect_late_filters(1);
        }
        if let Some(Ok(Some(block))) = received {
            self.keep_filter(turn, block.height, &block_hash, filter);
        }
        if let Some(Err((height, misbehaviour))) = received {
            return self.charge(conn, height, misbehaviour);
        }
        let Some(peer) = self.peers.get_mut(&conn) else { return Ok(()) };
        match received {
            Some(_) => {}
            None if is_elsewhere || peer.take_late_filter() => {}
            None => return Err(Misbehaviour::Unrequested(CFILTER)),
        }
        peer.note_answer();
        Ok(())
    }

    /// A filter that is not the one that was wanted is its sender's fault, unless it was asked before it had named the filter
    /// header there: then it may have another, and is heard about that.
    ///
    /// # Errors
    /// The fault.
    pub(super) fn charge(
        &self,
        conn: ConnId,
        height: u32,
        misbehaviour: Misbehaviour,
    ) -> Result<(), Misbehaviour> {
        let agrees = self.peers.get(&conn).map_or(0, |peer| peer.agrees);
        let has_named_it = agrees.max(self.proven_filter_headers()) > height;
        if misbehaviour == Misbehaviour::WrongFilter && !has_named_it { Ok(()) } else { Err(misbehaviour) }
    }

    fn take_segments(&mut self, turn: &mut Turn<'_>) {
        let mut late = BTreeMap::new();
        let mut kept = Vec::new();
        for matched in self.search.filters.take_matched() {
            self.search.blocks.want(matched);
        }
        for (group, end) in self.search.watches.ends() {
            let Search { watches, filters, .. } = &mut self.search;
            let Some(group) = watches.group_mut(group) else { continue };
            while let Some(done) = filters.take_done(group.first_unmatched(), end, &mut late) {
                group.matched_to = Some(done.last);
                if let Source::Kept(bytes) = done.source {
                    kept.push((done.first, Part { last: done.last.height, bytes }));
                }
            }
        }
        for (first, part) in kept {
            self.enter_filters(turn, first, part);
        }
        self.expect_late_filters(late);
    }

    fn expect_late_filters(&mut self, late: BTreeMap<ConnId, u32>) {
        for (conn, filters) in late {
            if let Some(peer) = self.peers.get_mut(&conn) {
                peer.expect_late_filters(filters);
            }
        }
    }

    /// Stores and tells what has been found, for each group in its blocks up to the first that is missing; `all` of it, also
    /// where nothing has been found and little has been searched.
    pub(super) fn settle(&mut self, turn: &mut Turn<'_>, all: bool) {
        for (group, end) in self.search.watches.ends() {
            self.settle_group(turn, group, end, all);
        }
    }

    fn settle_group(&mut self, turn: &mut Turn<'_>, id: GroupId, end: u32, all: bool) {
        let now = turn.now.instant;
        let last = end.min(self.trusted_filter_headers().saturating_sub(1));
        let Search { watches, descriptors, findings, blocks, .. } = &mut self.search;
        let Some(group) = watches.group_mut(id) else { return };
        let Some(limit) = group.matched_to.map(|block| block.height) else { return };
        let before = group.next;
        let mut done = None;
        let mut events = Vec::new();
        let mut found: Vec<(TouchKey, Touch)> = Vec::new();
        let mut spends = Vec::new();
        let mut remembered = Vec::new();
        while let Some((Matched { block, is_decoy }, digest)) = blocks.take_read(before, limit) {
            for touch in &digest.broadcast {
                self.broadcasting.outgoing.settle(touch, block);
                self.broadcasting.is_due();
            }
            if let Some(fees) = digest.fees {
                self.fees.recent.add(block, fees);
            }
            let settled = findings.settle(block, digest, id, watches);
            if !is_decoy {
                events.push(Event::Matched(block));
            }
            for (key, mut touch) in settled.touches {
                descriptors.note_derivation(&mut touch, watches);
                watches.note_descended(&touch);
                events.push(Event::Touched(touch.clone()));
                found.push((key, touch));
            }
            spends.extend(settled.spends);
            if !watches.descents.is_empty() && !settled.remembered.is_empty() {
                remembered.push((block, settled.remembered));
            }
            done = Some(block);
        }
        let Some(group) = watches.group_mut(id) else { return };
        if blocks.first(before, limit).is_none() {
            let is_due =
                limit >= last || limit + 1 - before >= UNSETTLED || now >= group.settled_at + UNSETTLED_TIME;
            if done.is_none() && !is_due && !all {
                return;
            }
            done = group.matched_to.take();
        }
        let Some(done) = done else { return };
        let next = done.height + 1;
        assert!(before < next && done.height <= end, "the search went on from where it had not been");
        (group.next, group.settled_at) = (next, now);
        if watches.is_traced(id) {
            self.broadcasting.searched(next);
        }
        for (outpoint, spend) in spends {
            let checked = spend.block;
            // It may have been searched for more than once: each search has its answer.
            for search in watches.take_spends(|search, _| search.is_for(&outpoint, id)) {
                let found = Event::SpendSearched { outpoint, spend: Some(spend.clone()), checked };
                events.push(match search.request {
                    Some(id) => Event::Answered { id, answer: Answer::Event(Box::new(found)) },
                    None => found,
                });
            }
        }
        let is_stored = watches.is_stored(id);
        let descended = watches.descents.at(id);
        if is_stored && watches.checked_below() == Some(next) {
            events.push(Event::Checked(done));
        }
        self.store(turn, events, Then::Searched(id, next), |batch| {
            for (key, touch) in &found {
                record::put_touch(batch, *key, touch);
            }
            for (block, remembered) in &remembered {
                record::put_spends(batch, *block, remembered);
            }
            match descended {
                Some(at) => record::put_descent(batch, id, at),
                None if is_stored => record::put_next(batch, id, next),
                None => {}
            }
        });
        self.descend(turn);
        self.end_spend_searches(turn);
        self.arrange_groups(turn);
    }

    /// Tells of outputs that are not spent up to the tip.
    fn end_spend_searches(&mut self, turn: &mut Turn<'_>) {
        if self.search.watches.spends().is_empty() || !self.headers_are_current() {
            return;
        }
        let checked = self.chain.tip();
        for search in self.search.watches.take_spends(|_, next| next > checked.height) {
            let outpoint = search.outpoint;
            let nothing = Event::SpendSearched { outpoint, spend: None, checked };
            self.answer(turn, search.request, nothing);
        }
    }

    /// Makes one of groups that have met. What was matched without what has come to it is matched once more.
    pub(super) fn arrange_groups(&mut self, turn: &mut Turn<'_>) {
        if self.search.watches.is_arranged() {
            return;
        }
        // Before anything else is searched for where they have been.
        self.end_descents(turn);
        let Arranged { merged, gone, descents } = self.search.watches.arrange();
        self.store_merged_descents(turn, &descents);
        for (_, first, last) in &gone {
            self.give_up_search(*first, *last);
        }
        for merged in &merged {
            let end = self.search.watches.group_at(merged.next).map_or(u32::MAX, |(_, end)| end);
            self.give_up_search(merged.next, end);
        }
        if !gone.is_empty() {
            self.store(turn, Vec::new(), Then::Nothing, |batch| {
                gone.iter().for_each(|(gone, ..)| record::delete_next(batch, *gone));
            });
        }
        for Merged { into, next, gone, scripts, outpoints } in &merged {
            if !self.search.watches.is_stored(*into) {
                continue;
            }
            let watched = self.search.watches.records(scripts, outpoints);
            self.store(turn, Vec::new(), Then::Searched(*into, *next), |batch| {
                watched.put(batch);
                record::delete_next(batch, *gone);
                record::put_next(batch, *into, *next);
            });
        }
    }

    /// Makes durable that descents have met.
    fn store_merged_descents(&mut self, turn: &mut Turn<'_>, merged: &[MergedDescent]) {
        for MergedDescent { into, gone, scripts } in merged {
            let Some(at) = self.search.watches.descents.at(*into) else { continue };
            let watched = self.search.watches.records(scripts, &[]);
            self.store(turn, Vec::new(), Then::Nothing, |batch| {
                watched.put(batch);
                record::delete_descent(batch, *gone);
                record::put_descent(batch, *into, at);
            });
        }
    }

    /// Gives up the filters and blocks at these heights that are under way, and what a pass through them has come to that is
    /// not settled.
    pub(super) fn give_up_search(&mut self, first: u32, last: u32) {
        let first = self.search.watches.give_up(first, last);
        let first = self.search.filters.start_of(first).unwrap_or(first);
        self.search.cache.give_up(first, last);
        let late = self.search.filters.give_up(first, last);
        self.expect_late_filters(late);
        let late = self.search.blocks.give_up(first, last);
        self.expect_late_blocks(late);
    }

    fn expect_late_blocks(&mut self, late: Vec<(ConnId, BlockHash)>) {
        for (conn, hash) in late {
            if let Some(peer) = self.peers.get_mut(&conn) {
                peer.expect_late_block(hash);
            }
        }
    }

    /// Goes back to `height` with all that is searched for, for the chain or its filter headers have changed there. False:
    /// nothing from there on has been searched.
    pub(super) fn search_goes_back(&mut self, turn: &mut Turn<'_>, height: u32) -> bool {
        // Durable before the change of the chain is: if the process ends in the middle of that, it is searched again.
        self.broadcasting.rewind(height, turn.now);
        self.fees.recent.rewind(height.saturating_sub(1));
        self.keep_broadcasts(turn);
        self.give_up_resolving();
        self.give_up_search(height, u32::MAX);
        let (queries, late) = self.search.blocks.unfetch(height);
        self.expect_late_blocks(late);
        for Fetch { query, request } in queries {
            let find = queries::Find { query, wants: queries::Wants::Block, request };
            self.queries.order(queries::Order::Find(find));
        }
        self.forget_kept_filters(turn, height);
        let goes_back = self.search.watches.go_back(height);
        if goes_back {
            self.search.taking_back.begin(height);
        }
        goes_back
    }

    /// Takes loaded rows to who waits for them, once the start is over.
    pub(super) fn loaded_while_running(
        &mut self,
        turn: &mut Turn<'_>,
        ticket: Ticket,
        rows: Rows<'_>,
        more: bool,
    ) {
        const MISSING: &str = "block headers are missing or do not follow each other";
        if self.search.taking_back.is_loading(ticket) {
            return self.take_back(turn, rows, more);
        }
        if self.kept_filters_loaded(turn, ticket, rows, more)
            || self.remembered_loaded(turn, ticket, rows, more)
            || self.ascent_loaded(turn, ticket, rows)
            || self.dispute_loaded(turn, ticket, rows)
            || self.filter_range_loaded(turn, ticket, rows)
            || self.filter_fetch_loaded(turn, ticket, rows, more)
            || self.query_loaded(turn, ticket, rows, more)
        {
            return;
        }
        let one =
            |height| record::read_headers(rows, height, height).and_then(|headers| headers.first().copied());
        if let Some(dating) = self.search.dating.as_mut().filter(|dating| dating.ticket == Some(ticket)) {
            dating.ticket = None;
            let middle = dating.middle();
            match one(middle) {
                Some(found) => dating.narrow(middle, &found.header),
                None => self.repair(turn, MISSING),
            }
            return;
        }
        let hashes = |start, stop| {
            let headers = record::read_headers(rows, start, stop)?;
            Some(headers.into_iter().map(|stored| stored.hash).collect())
        };
        let links = |start: u32, stop| {
            let mut links = Vec::new();
            if start == 0 {
                links.push(FilterHeader::all_zeros());
            }
            links.extend(record::read_filter_headers(rows, start.saturating_sub(1), stop)?);
            Some(links)
        };
        if !self.search.filters.loaded(ticket, hashes, links) {
            self.repair(turn, "block headers or filter headers are missing");
        }
    }
}
