//! From filter headers to findings: who is asked for which filters and blocks, and what is told, in order and only
//! when it is durable.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use andon_kernel::{ConnId, Rows, Ticket};
use bitcoin::block::Header;
use bitcoin::consensus::encode::Decodable;
use bitcoin::hashes::Hash;
use bitcoin::{BlockHash, FilterHeader, ScriptBuf};

use super::api::{Birthday, BlockId, Count, Event, Progress, Touch};
use super::blocks::Blocks;
use super::filters::Filters;
use super::findings::Findings;
use super::peer::{Headers, Peer};
use super::record::{self, TouchKey};
use super::taking_back::TakingBack;
use super::watching::{Dating, WatchOrder};
use super::{Client, Misbehaviour, StopBlock, Then, Turn};
use crate::block;
use crate::wire::{CommandName, FILTER_TYPE_BASIC};

/// Matching blocks that are not read at which no more filters are asked for: a filter can match everywhere.
const MAX_WANTED: usize = 2000;

const CFILTER: CommandName = CommandName::new("cfilter");
const BLOCK: CommandName = CommandName::new("block");

/// The search for what touches the watched scripts.
#[derive(Debug)]
pub(super) struct Search {
    pub(super) findings: Findings,
    pub(super) filters: Filters,
    pub(super) blocks: Blocks,
    /// How many requests for filters and blocks have been made.
    pub(super) requests: u64,
    /// The first height whose findings have not been given to the store. `None`: nothing is watched.
    pub(super) next: Option<u32>,
    /// The same, of what is durable.
    pub(super) durable: Option<u32>,
    /// The last block whose filter has been matched, above `next`.
    pub(super) matched_to: Option<BlockId>,
    pub(super) orders: VecDeque<WatchOrder>,
    pub(super) dating: Option<Dating>,
    pub(super) taking_back: TakingBack,
    /// Findings from this height on are void without a word for each: a `Rescan` said so.
    pub(super) void_from: Option<u32>,
}

/// What a peer was asked for and nobody waits for any more.
#[derive(Debug, Default)]
pub(super) struct Late {
    pub(super) filters: u32,
    pub(super) blocks: Vec<BlockHash>,
}

impl Search {
    /// Nothing is watched. The window of filters may hold so many bytes.
    pub(super) fn new(filter_window: usize) -> Self {
        Self {
            findings: Findings::new(),
            filters: Filters::new(filter_window),
            blocks: Blocks::default(),
            requests: 0,
            next: None,
            durable: None,
            matched_to: None,
            orders: VecDeque::new(),
            dating: None,
            taking_back: TakingBack::No,
            void_from: None,
        }
    }

    /// Takes up what was stored.
    pub(super) fn restore(&mut self, watched: BTreeMap<ScriptBuf, u32>, next: Option<u32>) {
        self.findings.watch(watched);
        self.next = next;
        self.durable = next;
    }

    /// Takes up a finding that was stored, also one that is void: it is taken back next.
    pub(super) fn restore_touch(&mut self, touch: &Touch) {
        self.findings.restore(touch);
    }

    /// Findings at or above the first height that is to be searched are to be taken back, if there are any.
    pub(super) fn begin_taking_back(&mut self) {
        self.taking_back = if self.next.is_some() { TakingBack::Storing } else { TakingBack::No };
    }

    /// Notes what the application wants watched. It is carried out when what is under way allows.
    pub(super) fn order(&mut self, scripts: Vec<ScriptBuf>, from: Birthday, only: bool) {
        if only {
            // Orders that have not been carried out would be undone by this one.
            self.orders.clear();
            self.dating = None;
        }
        self.orders.push_back(WatchOrder { scripts, from, only });
    }

    /// Notes that everything below `next` is durable.
    pub(super) fn searched(&mut self, next: u32) {
        self.durable = self.next.map(|limit| limit.min(next));
    }

    /// Goes back to `height`, for the chain has changed there. False: nothing from there on has been searched.
    pub(super) fn go_back(&mut self, height: u32) -> bool {
        if self.next.is_none_or(|next| next <= height) {
            return false;
        }
        self.next = Some(height);
        self.durable = self.durable.map(|durable| durable.min(height));
        if self.taking_back == TakingBack::No {
            self.taking_back = TakingBack::Storing;
        }
        true
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
        let searched = match self.next {
            Some(next) if !self.findings.watched().is_empty() => next > tip && self.durable == self.next,
            _ => true,
        };
        searched && self.orders.is_empty() && self.taking_back == TakingBack::No
    }

    /// Counts what is done, of filters from the height `first` on.
    pub(super) fn count(&self, tip: u32, first: u32, progress: &mut Progress) {
        let (Some(next), Some(birthday)) = (self.next, self.findings.watched().values().min()) else {
            return;
        };
        let next = next.max(first);
        let from = (*birthday).max(first).min(next);
        let matched = self.matched_to.map_or(next, |block| block.height + 1) + self.filters.received();
        let total = (tip + 1).max(matched);
        progress.filters = Count { done: matched - from, total: total - from };
        let read = self.blocks.read();
        progress.blocks = Count { done: read, total: read + self.blocks.unread() };
    }
}

impl Client {
    /// Carries out orders, opens segments, asks for filters and blocks, and stores and tells what is complete.
    pub(super) fn go_on_searching(&mut self, turn: &mut Turn<'_>) {
        if self.search.taking_back == TakingBack::No {
            self.carry_out_orders(turn);
        }
        if self.search.next.is_none() || self.search.findings.watched().is_empty() {
            return;
        }
        self.open_segments(turn);
        self.take_held_filters(turn);
        self.take_segments();
        self.ask_for_blocks(turn);
        self.ask_for_filters(turn);
        if self.search.taking_back == TakingBack::No {
            self.settle(turn);
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

    fn open_segments(&mut self, turn: &mut Turn<'_>) {
        let Some(limit) = self.trusted_filter_headers().checked_sub(1) else { return };
        loop {
            let search = &self.search;
            if search.blocks.len() >= MAX_WANTED {
                return;
            }
            let next = search.matched_to.map(|block| block.height + 1).or(search.next).unwrap_or(0);
            let next = next.max(self.filter_headers.first_filter());
            let Some((start, stop)) = search.filters.next_segment(next, limit) else { return };
            let hashes: Option<Vec<BlockHash>> =
                (start..=stop).map(|height| self.chain.at(height).map(|(_, hash)| hash)).collect();
            let links: Option<Vec<FilterHeader>> =
                (start..=stop + 1).map(|height| self.filter_headers.before(height)).collect();
            match (hashes, links) {
                (Some(hashes), Some(links)) => self.search.filters.open(start, hashes, links),
                _ => {
                    let headers = self.load_headers(turn, record::HEADERS, start, stop);
                    let before = start.saturating_sub(1);
                    let filter_headers = self.load_headers(turn, record::FILTER_HEADERS, before, stop);
                    self.search.filters.open_loading(start, stop, headers, filter_headers);
                }
            }
        }
    }

    pub(super) fn on_filter(
        &mut self,
        conn: ConnId,
        filter_type: u8,
        block_hash: BlockHash,
        filter: &[u8],
    ) -> Result<(), Misbehaviour> {
        if filter_type != FILTER_TYPE_BASIC {
            return Err(Misbehaviour::WrongAnswer(CFILTER));
        }
        if self.on_disputed_filter(conn, block_hash, filter)? {
            return Ok(());
        }
        let received = self.search.filters.receive(conn, block_hash, filter, self.search.findings.query());
        if let Some(Err((height, misbehaviour))) = received {
            return self.charge(conn, height, misbehaviour);
        }
        let Some(peer) = self.peers.get_mut(&conn) else { return Ok(()) };
        match received {
            Some(_) => {}
            None if peer.take_late_filter() => {}
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

    fn take_segments(&mut self) {
        let mut late = BTreeMap::new();
        for block in self.search.filters.take_matched() {
            self.search.blocks.want(block);
        }
        while let Some(last) = self.search.filters.take_done(&mut late) {
            self.search.matched_to = Some(last);
        }
        for (conn, filters) in late {
            if let Some(peer) = self.peers.get_mut(&conn) {
                peer.expect_late_filters(filters);
            }
        }
    }

    pub(super) fn on_block(&mut self, conn: ConnId, bytes: &[u8]) -> Result<(), Misbehaviour> {
        let header = Header::consensus_decode(&mut &*bytes).map_err(|_| Misbehaviour::Malformed(BLOCK))?;
        let hash = header.block_hash();
        if self.on_disputed_block(conn, hash, bytes)? {
            return Ok(());
        }
        let Some(peer) = self.peers.get_mut(&conn) else { return Ok(()) };
        let Some(height) = self.search.blocks.asked_of(conn, &hash) else {
            return if peer.take_late_block(&hash) { Ok(()) } else { Err(Misbehaviour::Unrequested(BLOCK)) };
        };
        let segwit = height >= block::segwit_height(self.config.network);
        let block = block::verify(bytes, &hash, segwit).map_err(|_| Misbehaviour::WrongBlock)?;
        peer.note_answer();
        let digest = self.search.findings.digest(&block);
        let other = self.search.blocks.receive(conn, height, bytes.len(), digest);
        if let Some(peer) = other.and_then(|other| self.peers.get_mut(&other)) {
            peer.expect_late_block(hash);
        }
        Ok(())
    }

    /// Stores and tells what has been found in the blocks up to the first that is missing.
    fn settle(&mut self, turn: &mut Turn<'_>) {
        let mut done = None;
        let mut events = Vec::new();
        let mut found: Vec<(TouchKey, Touch)> = Vec::new();
        let limit = self.search.matched_to.map(|block| block.height);
        while let Some((block, digest)) = limit.and_then(|limit| self.search.blocks.take_read(limit)) {
            let touches = self.search.findings.settle(block, digest);
            events.push(Event::Matched(block));
            events.extend(touches.iter().map(|(_, touch)| Event::Touched(touch.clone())));
            found.extend(touches);
            done = Some(block);
        }
        if limit.is_some_and(|limit| self.search.blocks.first().is_none_or(|first| first > limit)) {
            done = self.search.matched_to.take();
        }
        let Some(done) = done else { return };
        let next = done.height + 1;
        assert!(
            self.search.next.is_some_and(|before| before < next),
            "the search went on from where it had not been"
        );
        self.search.next = Some(next);
        events.push(Event::Checked(done));
        self.store(turn, events, Then::Searched(next), |batch| {
            for (key, touch) in &found {
                record::put_touch(batch, *key, touch);
            }
            record::put_next(batch, next);
        });
    }

    /// Gives up all filters and blocks that are under way.
    pub(super) fn give_up_search(&mut self) {
        for (conn, filters) in self.search.filters.clear() {
            if let Some(peer) = self.peers.get_mut(&conn) {
                peer.expect_late_filters(filters);
            }
        }
        for (conn, hash) in self.search.blocks.clear() {
            if let Some(peer) = self.peers.get_mut(&conn) {
                peer.expect_late_block(hash);
            }
        }
        self.search.matched_to = None;
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
        if let TakingBack::Loading(asked, from) = self.search.taking_back
            && asked == ticket
        {
            return self.take_back(turn, rows, from);
        }
        if self.ascent_loaded(turn, ticket, rows)
            || self.dispute_loaded(turn, ticket, rows)
            || self.query_loaded(turn, ticket, rows, more)
        {
            return;
        }
        let one =
            |height| record::read_headers(rows, height, height).and_then(|headers| headers.first().copied());
        if let StopBlock::Loading(asked, height) = self.filter_header_stop
            && asked == ticket
        {
            match one(height) {
                Some(found) => {
                    self.filter_header_stop = StopBlock::Known(BlockId { height, hash: found.hash });
                }
                None => self.repair(turn, MISSING),
            }
            return;
        }
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
