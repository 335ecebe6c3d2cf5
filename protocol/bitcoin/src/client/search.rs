//! From filter headers to findings: who is asked for which filters and blocks, and what is told, in order and only
//! when it is durable.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::ops::Bound;

use andon_kernel::{ConnId, Order, Rows, Ticket};
use bitcoin::block::Header;
use bitcoin::consensus::encode::Decodable;
use bitcoin::hashes::Hash;
use bitcoin::p2p::ServiceFlags;
use bitcoin::{BlockHash, FilterHash, FilterHeader, ScriptBuf};

use super::api::{Birthday, BlockId, Count, Event, Progress, Touch};
use super::blocks::Blocks;
use super::filters::Filters;
use super::findings::Findings;
use super::peer::{Headers, Peer};
use super::record::{self, TouchKey};
use super::{Client, Misbehaviour, Phase, StopBlock, Then, Turn};
use crate::block;
use crate::wire::{CommandName, FILTER_TYPE_BASIC, INV_WITNESS_BLOCK, Inventory, Items, Message};

/// Blocks below the tip that a pruned peer serves (BIP159), less two for those it may be ahead of us.
const LIMITED_DEPTH: u32 = 286;

/// Findings that are taken back in one batch.
const TAKE_BACK_PAGE: u32 = 500;

/// How much earlier than a birthday a block's time may be that is later in truth.
const TIME_SLACK: u64 = 2 * 60 * 60;

const CFILTER: CommandName = CommandName::new("cfilter");
const CFHEADERS: CommandName = CommandName::new("cfheaders");
const BLOCK: CommandName = CommandName::new("block");

/// The search for what touches the watched scripts.
#[derive(Debug)]
pub(super) struct Search {
    findings: Findings,
    filters: Filters,
    blocks: Blocks,
    /// The first height whose findings have not been given to the store. `None`: nothing is watched.
    next: Option<u32>,
    /// The same, of what is durable.
    durable: Option<u32>,
    /// The last block whose filter has been matched, above `next`.
    matched_to: Option<BlockId>,
    orders: VecDeque<WatchOrder>,
    dating: Option<Dating>,
    taking_back: TakingBack,
    /// Findings from this height on are void without a word for each: a `Rescan` said so.
    void_from: Option<u32>,
}

/// Scripts that are to be watched.
#[derive(Debug)]
struct WatchOrder {
    scripts: Vec<ScriptBuf>,
    from: Birthday,
    only: bool,
}

/// A search for the first block at or after a time: it is in `low..=high`.
#[derive(Clone, Copy, Debug)]
struct Dating {
    ticket: Option<Ticket>,
    time: u64,
    low: u32,
    high: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TakingBack {
    No,
    /// A batch that makes it necessary is not durable yet, or one that does a part of it.
    Storing,
    /// The page from this height on is being loaded.
    Loading(Ticket, u32),
}

/// What a peer was asked for and nobody waits for any more.
#[derive(Debug, Default)]
pub(super) struct Late {
    pub(super) filters: u32,
    pub(super) blocks: Vec<BlockHash>,
}

impl Search {
    /// Nothing is watched.
    pub(super) fn new() -> Self {
        Self {
            findings: Findings::new(),
            filters: Filters::default(),
            blocks: Blocks::default(),
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

    /// Takes up a finding that was stored. False: it is void.
    pub(super) fn restore_touch(&mut self, touch: &Touch) -> bool {
        let stands = self.next.is_some_and(|next| touch.block.height < next);
        if stands {
            self.findings.restore(touch);
        }
        stands
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
        Late { filters: self.filters.release(peer).filters, blocks: self.blocks.release(peer) }
    }

    /// Whether everything up to the tip has been searched, durably, or there is nothing to search for.
    pub(super) fn is_done(&self, tip: u32) -> bool {
        let searched = match self.next {
            Some(next) => next > tip && self.durable == self.next,
            None => true,
        };
        searched && self.orders.is_empty() && self.taking_back == TakingBack::No
    }

    /// Counts what is done.
    pub(super) fn count(&self, tip: u32, progress: &mut Progress) {
        let (Some(next), Some(birthday)) = (self.next, self.findings.watched().values().min()) else {
            return;
        };
        let from = (*birthday).min(next);
        let matched = self.matched_to.map_or(next, |block| block.height + 1) + self.filters.received();
        progress.filters = Count { done: matched - from, total: (tip + 1).max(matched) - from };
        let read = self.blocks.read();
        progress.blocks = Count { done: read, total: read + self.blocks.unread() };
    }
}

impl Client {
    /// Asks the source of filter headers for those that are missing, or chooses another source.
    pub(super) fn ask_for_filter_headers(&mut self, turn: &mut Turn<'_>) {
        let next = self.filter_headers.next();
        if self.filter_headers.source().is_none() {
            let mut able =
                self.peers.iter().filter(|(_, peer)| self.serves(peer).is_some_and(|best| best >= next));
            let Some(source) = able.next().map(|(conn, _)| *conn) else { return };
            self.filter_headers.set_source(Some(source));
        }
        let Some(source) = self.filter_headers.source() else { return };
        let Some(best) = self.peers.get(&source).and_then(|peer| self.serves(peer)) else { return };
        if best < next && !self.filter_headers.is_waiting() {
            // It has nothing that is missing. Another may.
            self.filter_headers.set_source(None);
            return;
        }
        while let Some(height) = self.filter_headers.next_stop(best) {
            let Some(stop) = self.filter_header_stop(turn, height) else { return };
            let request = self.filter_headers.ask(stop);
            self.send(turn, source, &Message::GetCFHeaders(request));
        }
    }

    /// The block at `height`, from the window or the store. `None`: it is being loaded.
    fn filter_header_stop(&mut self, turn: &mut Turn<'_>, height: u32) -> Option<BlockId> {
        if let Some((_, hash)) = self.chain.at(height) {
            return Some(BlockId { height, hash });
        }
        match self.filter_header_stop {
            StopBlock::Known(block) if block.height == height => return Some(block),
            StopBlock::Loading(_, loading) if loading == height => return None,
            _ => {}
        }
        let ticket = self.load_heights(turn, record::HEADER, height, height);
        self.filter_header_stop = StopBlock::Loading(ticket, height);
        None
    }

    pub(super) fn on_filter_headers(
        &mut self,
        turn: &mut Turn<'_>,
        conn: ConnId,
        filter_type: u8,
        stop_hash: BlockHash,
        previous: FilterHeader,
        hashes: Items<'_, FilterHash>,
    ) -> Result<(), Misbehaviour> {
        let Some(peer) = self.peers.get_mut(&conn) else { return Ok(()) };
        if filter_type != FILTER_TYPE_BASIC {
            return Err(Misbehaviour::WrongAnswer(CFHEADERS));
        }
        // What was given up comes first: a peer answers in order.
        if peer.take_late_filter_headers() {
            peer.note_answer();
            return Ok(());
        }
        if self.filter_headers.source() != Some(conn) {
            return Err(Misbehaviour::Unrequested(CFHEADERS));
        }
        peer.note_answer();
        let new = self.filter_headers.answer(stop_hash, previous, hashes)?;
        if !new.is_empty() {
            self.store(turn, Vec::new(), Then::Nothing, |batch| {
                for (height, header) in &new {
                    record::put_filter_header(batch, *height, header);
                }
            });
        }
        Ok(())
    }

    /// Carries out orders, opens chunks, asks for filters and blocks, and stores and tells what is complete.
    pub(super) fn go_on_searching(&mut self, turn: &mut Turn<'_>) {
        if self.search.taking_back == TakingBack::No {
            self.carry_out_orders(turn);
        }
        if self.search.next.is_none() || self.search.findings.watched().is_empty() {
            return;
        }
        self.open_chunks(turn);
        self.ask_for_filters(turn);
        self.take_chunks();
        self.ask_for_blocks(turn);
        if self.search.taking_back == TakingBack::No {
            self.settle(turn);
        }
    }

    /// The height up to which a peer can be asked now, if it can.
    fn serves(&self, peer: &Peer) -> Option<u32> {
        let shown = matches!(peer.headers, Headers::Done | Headers::Withheld);
        if !peer.is_ready() || !shown || peer.passed_over.is_some() {
            return None;
        }
        peer.best.and_then(|best| self.chain.common(best))
    }

    fn open_chunks(&mut self, turn: &mut Turn<'_>) {
        let Some(limit) = self.filter_headers.next().checked_sub(1) else { return };
        loop {
            let search = &self.search;
            let next = search.matched_to.map(|block| block.height + 1).or(search.next).unwrap_or(0);
            let Some((start, stop)) = search.filters.next_chunk(next, limit) else { return };
            let hashes: Option<Vec<BlockHash>> =
                (start..=stop).map(|height| self.chain.at(height).map(|(_, hash)| hash)).collect();
            let links: Option<Vec<FilterHeader>> =
                (start..=stop + 1).map(|height| self.filter_headers.before(height)).collect();
            match (hashes, links) {
                (Some(hashes), Some(links)) => self.search.filters.open(start, hashes, links),
                _ => {
                    let headers = self.load_heights(turn, record::HEADER, start, stop);
                    let before = start.saturating_sub(1);
                    let filter_headers = self.load_heights(turn, record::FILTER_HEADER, before, stop);
                    self.search.filters.open_loading(start, stop, headers, filter_headers);
                }
            }
        }
    }

    fn load_heights(
        &mut self,
        turn: &mut Turn<'_>,
        space: andon_kernel::Space,
        from: u32,
        to: u32,
    ) -> Ticket {
        let ticket = self.names.ticket();
        let (low, high) = (record::height_key(from), record::height_key(to));
        turn.out.load(
            ticket,
            space,
            (Bound::Included(&low), Bound::Included(&high)),
            Order::Ascending,
            to - from + 1,
        );
        ticket
    }

    fn ask_for_filters(&mut self, turn: &mut Turn<'_>) {
        for conn in self.connections() {
            let Some(best) = self.peers.get(&conn).and_then(|peer| self.serves(peer)) else { continue };
            while let Some(request) = self.search.filters.ask(conn, best) {
                self.send(turn, conn, &Message::GetCFilters(request));
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
        let Some(peer) = self.peers.get_mut(&conn) else { return Ok(()) };
        if filter_type != FILTER_TYPE_BASIC {
            return Err(Misbehaviour::WrongAnswer(CFILTER));
        }
        match self.search.filters.receive(conn, block_hash, filter, self.search.findings.query()) {
            Some(result) => result?,
            None if peer.take_late_filter() => {}
            None => return Err(Misbehaviour::Unrequested(CFILTER)),
        }
        peer.note_answer();
        Ok(())
    }

    fn take_chunks(&mut self) {
        while let Some((last, matched)) = self.search.filters.take_done() {
            matched.into_iter().for_each(|block| self.search.blocks.want(block));
            self.search.matched_to = Some(last);
        }
    }

    fn ask_for_blocks(&mut self, turn: &mut Turn<'_>) {
        if self.search.blocks.first().is_none() {
            return;
        }
        for conn in self.connections() {
            let Some(peer) = self.peers.get(&conn) else { continue };
            let Some(best) = self.serves(peer) else { continue };
            let least = match peer.services.has(ServiceFlags::NETWORK) {
                true => 0,
                false => self.chain.tip_height().saturating_sub(LIMITED_DEPTH),
            };
            let hashes = self.search.blocks.ask(conn, least, best);
            if !hashes.is_empty() {
                let wanted: Vec<Inventory> =
                    hashes.into_iter().map(|hash| Inventory::block(INV_WITNESS_BLOCK, hash)).collect();
                self.send(turn, conn, &Message::GetData(wanted.as_slice().into()));
            }
        }
    }

    pub(super) fn on_block(&mut self, conn: ConnId, bytes: &[u8]) -> Result<(), Misbehaviour> {
        let Some(peer) = self.peers.get_mut(&conn) else { return Ok(()) };
        let header = Header::consensus_decode(&mut &*bytes).map_err(|_| Misbehaviour::Malformed(BLOCK))?;
        let hash = header.block_hash();
        let Some(height) = self.search.blocks.asked_of(conn, &hash) else {
            return if peer.take_late_block(&hash) { Ok(()) } else { Err(Misbehaviour::Unrequested(BLOCK)) };
        };
        let segwit = height >= block::segwit_height(self.config.network);
        let block = block::verify(bytes, &hash, segwit).map_err(|_| Misbehaviour::WrongBlock)?;
        peer.note_answer();
        let digest = self.search.findings.digest(&block);
        self.search.blocks.receive(height, digest);
        Ok(())
    }

    /// Stores and tells what has been found in the blocks up to the first that is missing.
    fn settle(&mut self, turn: &mut Turn<'_>) {
        let mut done = None;
        let mut events = Vec::new();
        let mut found: Vec<(TouchKey, Touch)> = Vec::new();
        while let Some((block, digest)) = self.search.blocks.take_read() {
            let touches = self.search.findings.settle(block, digest);
            events.push(Event::Matched(block));
            events.extend(touches.iter().map(|(_, touch)| Event::Touched(touch.clone())));
            found.extend(touches);
            done = Some(block);
        }
        if self.search.blocks.first().is_none() && self.search.matched_to.is_some() {
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
        for (conn, released) in self.search.filters.clear() {
            if let Some(peer) = self.peers.get_mut(&conn) {
                peer.expect_late_filters(released.filters);
            }
        }
        for (conn, hash) in self.search.blocks.clear() {
            if let Some(peer) = self.peers.get_mut(&conn) {
                peer.expect_late_block(hash);
            }
        }
        self.search.matched_to = None;
    }

    fn carry_out_orders(&mut self, turn: &mut Turn<'_>) {
        while let Some(order) = self.search.orders.front() {
            let Some(from) = (match order.from {
                Birthday::Height(height) => Some(height),
                Birthday::Time(time) => {
                    let time = time.as_secs().saturating_sub(TIME_SLACK);
                    self.date(turn, time)
                }
            }) else {
                return;
            };
            self.search.dating = None;
            let Some(order) = self.search.orders.pop_front() else { return };
            self.watch(turn, order.scripts, from, order.only);
            if self.search.taking_back != TakingBack::No {
                return;
            }
        }
    }

    /// The height of the first block at or after `time`; that of the tip if there is none. `None`: not known yet.
    ///
    /// Times of blocks rise but for an hour or two, which the slack before the time makes up for.
    fn date(&mut self, turn: &mut Turn<'_>, time: u64) -> Option<u32> {
        if !self.headers_are_current() {
            return None;
        }
        let tip = self.chain.tip_height();
        let mut dating = self.search.dating.unwrap_or(Dating { ticket: None, time, low: 0, high: tip });
        dating.high = dating.high.min(tip);
        while dating.ticket.is_none() && dating.low < dating.high {
            let middle = dating.low + (dating.high - dating.low) / 2;
            match self.chain.at(middle) {
                Some((header, _)) => dating.narrow(middle, header),
                None => dating.ticket = Some(self.load_heights(turn, record::HEADER, middle, middle)),
            }
        }
        self.search.dating = Some(dating);
        dating.ticket.is_none().then_some(dating.low)
    }

    fn watch(&mut self, turn: &mut Turn<'_>, scripts: Vec<ScriptBuf>, from: u32, only: bool) {
        let known = self.search.findings.watched();
        let scripts = scripts.into_iter().filter(|script| !script.is_empty());
        let mut wanted: BTreeMap<ScriptBuf, u32> = scripts.map(|script| (script, from)).collect();
        let reset = only && !(known.len() == wanted.len() && known.keys().eq(wanted.keys()));
        if reset {
            return self.watch_anew(turn, wanted, from);
        }
        wanted.retain(|script, from| known.get(script).is_none_or(|since| since > from));
        if wanted.is_empty() {
            return;
        }
        let mut watched = known.clone();
        watched.extend(wanted.iter().map(|(script, from)| (script.clone(), *from)));
        self.search.findings.watch(watched);
        self.give_up_search();
        let goes_back = self.search.go_back(from);
        let mut events = Vec::new();
        let mut then = Then::Nothing;
        if goes_back {
            events.push(Event::Rescan { from });
            then = Then::TakeBack;
            self.search.void_from = Some(self.search.void_from.map_or(from, |void| void.min(from)));
        }
        let next = *self.search.next.get_or_insert(from);
        self.search.durable.get_or_insert(from);
        self.synced = None;
        self.store(turn, events, then, |batch| {
            put_watched(batch, &wanted);
            record::put_next(batch, next);
        });
    }

    /// Forgets what was watched and found, and watches these scripts.
    fn watch_anew(&mut self, turn: &mut Turn<'_>, watched: BTreeMap<ScriptBuf, u32>, from: u32) {
        let was_watching = self.search.next.is_some();
        self.give_up_search();
        self.search.findings = Findings::new();
        self.search.findings.watch(watched.clone());
        self.search.next = Some(from);
        self.search.durable = Some(from);
        self.synced = None;
        let events = if was_watching { Vec::from([Event::Rescan { from: 0 }]) } else { Vec::new() };
        self.store(turn, events, Then::Nothing, |batch| {
            batch.delete_from(record::WATCH, &[]);
            batch.delete_from(record::TOUCH, &[]);
            put_watched(batch, &watched);
            record::put_next(batch, from);
        });
    }

    /// Loads the highest findings at or above the first height that is to be searched: they are void.
    pub(super) fn take_back_page(&mut self, turn: &mut Turn<'_>) {
        let Some(next) = self.search.next else { return };
        if matches!(self.search.taking_back, TakingBack::Loading(..)) {
            // Under way already; it looks again when its page has come.
            return;
        }
        let ticket = self.names.ticket();
        let low = record::height_key(next);
        turn.out.load(
            ticket,
            record::TOUCH,
            (Bound::Included(&low), Bound::Unbounded),
            Order::Descending,
            TAKE_BACK_PAGE,
        );
        self.search.taking_back = TakingBack::Loading(ticket, next);
    }

    fn take_back(&mut self, turn: &mut Turn<'_>, rows: Rows<'_>, from: u32) {
        self.search.taking_back = TakingBack::Storing;
        let mut events = Vec::new();
        let mut lowest = None;
        for (key, value) in rows.iter() {
            let Ok(touch) = record::read_touch(key, value) else {
                return self.damaged(turn, "a finding is unreadable");
            };
            self.search.findings.take_back(&touch);
            lowest = Some(key);
            if self.search.void_from.is_none_or(|void| touch.block.height < void) {
                events.push(Event::TakenBack(touch));
            }
        }
        match lowest {
            // The page was the highest there is: what is above its lowest row went with it.
            Some(lowest) => {
                self.store(turn, events, Then::TakeBack, |batch| batch.delete_from(record::TOUCH, lowest))
            }
            None if self.search.next == Some(from) => {
                self.search.taking_back = TakingBack::No;
                self.search.void_from = None;
            }
            None => self.take_back_page(turn),
        }
    }

    /// Takes loaded rows to who waits for them, once the start is over.
    pub(super) fn loaded_while_running(&mut self, turn: &mut Turn<'_>, ticket: Ticket, rows: Rows<'_>) {
        if let TakingBack::Loading(asked, from) = self.search.taking_back
            && asked == ticket
        {
            return self.take_back(turn, rows, from);
        }
        let first =
            || rows.iter().next().and_then(|(key, value)| Some((record::key_height(key)?, read(value)?)));
        if let StopBlock::Loading(asked, height) = self.filter_header_stop
            && asked == ticket
        {
            match first() {
                Some((at, header)) if at == height => {
                    self.filter_header_stop = StopBlock::Known(BlockId { height, hash: header.block_hash() });
                }
                _ => self.damaged(turn, "a block header is missing"),
            }
            return;
        }
        if let Some(dating) = self.search.dating.as_mut().filter(|dating| dating.ticket == Some(ticket)) {
            dating.ticket = None;
            match first() {
                Some((height, header)) => dating.narrow(height, &header),
                None => self.damaged(turn, "a block header is missing"),
            }
            return;
        }
        let hashes = || rows.iter().map(|(_, value)| read(value).map(|header| header.block_hash())).collect();
        let links = |start| {
            let mut links = Vec::new();
            if start == 0 {
                links.push(FilterHeader::all_zeros());
            }
            for (_, value) in rows.iter() {
                links.push(record::read_filter_header(value)?);
            }
            Some(links)
        };
        if !self.search.filters.loaded(ticket, hashes, links) {
            self.damaged(turn, "block headers or filter headers are missing");
        }
    }

    pub(super) fn damaged(&mut self, turn: &mut Turn<'_>, what: &'static str) {
        if !matches!(self.phase, Phase::Stopped) {
            turn.out.event(Event::Failed(super::Failure::Damaged { what }));
            self.stop(turn);
        }
    }
}

impl Dating {
    fn narrow(&mut self, middle: u32, header: &Header) {
        if u64::from(header.time) >= self.time { self.high = middle } else { self.low = middle + 1 }
    }
}

fn read(value: &[u8]) -> Option<Header> {
    record::read_header(value)
}

fn put_watched(batch: &mut andon_kernel::BatchWriter<'_>, watched: &BTreeMap<ScriptBuf, u32>) {
    for (script, from) in watched {
        batch.put(record::WATCH, script.as_bytes(), &record::height_key(*from));
    }
}
