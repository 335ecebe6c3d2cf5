//! Asking peers for block headers (BIP130), and what follows when the chain changes.

use alloc::vec::Vec;
use core::time::Duration;

use andon_kernel::ConnId;
use bitcoin::BlockHash;
use bitcoin::block::Header;
use bitcoin::hashes::Hash;

use super::api::{BlockId, Event};
use super::ascent::{MAX_FRUITLESS, Purpose};
use super::peer::Headers;
use super::record::Tip;
use super::{Client, Misbehaviour, Phase, Then, Timer, Turn, record};
use crate::headers::{HeaderError, Lineage, PERIOD, Place, Stop, Taken};
use crate::wire::{
    CommandName, GetHeaders, INV_BLOCK, Inventory, Items, MAX_HEADERS, MAX_INVENTORY, Message,
};

/// How long a peer may take to answer a request for headers, as in Bitcoin Core.
pub(super) const HEADERS_TIMEOUT: Duration = Duration::from_secs(120);

/// When a peer that showed less than it claims is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(30);

/// Headers that Bitcoin Core announces at once, at most, and what each of them weighs among what a peer may send unasked: they
/// are looked up, which is work.
const MAX_ANNOUNCED: usize = 8;
const ANNOUNCED_BYTES: usize = 128;

/// Messages in a row with unknown parents after which a peer is let go: each is answered by a request that an honest
/// peer answers with headers that connect. Announcements that come before that answer do not count.
const MAX_UNCONNECTED: u32 = 100;

/// Headers beside the best chain that one peer may have kept before one of its own becomes the best: two messages of a
/// branch that is about to win, and no flood.
const MAX_BESIDE: u32 = 2 * MAX_HEADERS as u32;

/// How much higher a full message must end at least than the one before it, unless it shows a branch: an honest one begins
/// where that ended, or a block or two below. Others could be shown for ever, and nothing is complete until they end.
const LEAST_FURTHER: u32 = MAX_HEADERS as u32 / 2;

const HEADERS: CommandName = CommandName::new("headers");

/// How much of the time after which a tip is stale passes until one more peer is asked.
const STALE_AGAIN: u32 = 3;

impl Client {
    /// Asks each peer for headers that is to be asked. Until the chain is complete, one at a time: they would all send
    /// the same. Whoever has shown all that it has goes behind those that have not, however often it announces more, or
    /// one that announces with each answer would keep the others from being asked.
    pub(super) fn ask_for_headers(&mut self, turn: &mut Turn<'_>) {
        if self.ranges.is_active() {
            return self.ask_for_ranges(turn);
        }
        let busy = self.peers.values().any(|peer| peer.headers == Headers::Asked);
        let current = self.peers.values().any(|peer| peer.is_ready() && peer.headers == Headers::Done);
        if busy && !current {
            return;
        }
        let mut wanted: Vec<(u64, ConnId)> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.is_ready() && peer.headers == Headers::Wanted)
            .map(|(conn, peer)| (peer.shown, *conn))
            .collect();
        wanted.sort_unstable();
        wanted.truncate(if current { usize::MAX } else { 1 });
        for (_, conn) in wanted {
            // From below the tip, so that a peer that has the tip shows it: an empty answer would show nothing.
            self.ask_headers_from(turn, conn, self.chain.tip_height().saturating_sub(1));
        }
    }

    fn ask_headers_from(&mut self, turn: &mut Turn<'_>, conn: ConnId, height: u32) {
        let mut locator = self.chain.locator(height);
        if let Some(last) = self.resting(conn) {
            locator.insert(0, last);
            locator.truncate(crate::wire::MAX_LOCATOR);
        }
        self.ask_headers(turn, conn, &locator, BlockHash::all_zeros());
    }

    /// Asks a peer for what follows the first block of `locator` that it knows.
    pub(super) fn ask_headers(
        &mut self,
        turn: &mut Turn<'_>,
        conn: ConnId,
        locator: &[BlockHash],
        stop_hash: BlockHash,
    ) {
        let request = GetHeaders { locator: locator.into(), stop_hash };
        self.send(turn, conn, &Message::GetHeaders(request));
        self.timers.set(Timer::Headers(conn), turn.now.instant + HEADERS_TIMEOUT);
        if let Some(peer) = self.peers.get_mut(&conn) {
            peer.headers = Headers::Asked;
        }
    }

    /// Whether the connected peers have shown all their headers, and at least one as much as it claims.
    pub(super) fn headers_are_current(&self) -> bool {
        let mut ready = self.peers.values().filter(|peer| peer.is_ready());
        !self.ranges.is_active()
            && ready.clone().any(|peer| peer.headers == Headers::Done)
            && ready.all(|peer| matches!(peer.headers, Headers::Done | Headers::Withheld))
    }

    pub(super) fn on_headers(
        &mut self,
        turn: &mut Turn<'_>,
        conn: ConnId,
        headers: Items<'_, Header>,
    ) -> Result<(), Misbehaviour> {
        if headers.len() > MAX_HEADERS {
            return Err(Misbehaviour::TooManyHeaders);
        }
        if !matches!(self.phase, Phase::Running) {
            // The chain is being read anew; whoever was asked is asked again then.
            self.ask_for_headers_anew(conn);
            return Ok(());
        }
        if self.ranges.is_active() {
            return self.on_range(turn, conn, headers);
        }
        if let Some(peer) = self.peers.get_mut(&conn) {
            // It may be a range's that comes late: the chain has that by now, and it is an answer like any other.
            peer.take_late_headers();
        }
        if self.is_ascending(conn) {
            return self.on_ascent(turn, conn, headers);
        }
        let taken = self.chain.take(headers.hashed(), turn.now.unix);
        if let Some(peer) = self.peers.get_mut(&conn).filter(|_| taken.changed_from.is_some()) {
            peer.showed = Some(turn.now.instant);
        }
        self.chain_changed(turn, &taken);
        let Some(peer) = self.peers.get_mut(&conn) else { return Ok(()) };
        let was_asked = peer.headers == Headers::Asked;
        // Each full message of whoever shows what it has goes on where the one before it ended.
        let further = taken.left.is_some()
            || taken.beside > 0
            || headers.len() < MAX_HEADERS
            || taken
                .last
                .is_some_and(|last| peer.best.is_none_or(|best| last.height >= best.height + LEAST_FURTHER));
        if let Some(last) = taken.last {
            peer.best = Some(last);
            peer.claimed = peer.claimed.max(last.height);
            if further {
                peer.unconnected = 0;
            }
        }
        peer.beside += taken.beside;
        if taken.changed_from.is_some() {
            peer.beside = 0;
            if further {
                peer.fruitless = 0;
            }
        }
        if peer.beside > MAX_BESIDE {
            return Err(Misbehaviour::TooManyBranches);
        }
        let mut goes_on = headers.len() == MAX_HEADERS;
        match taken.stopped {
            None => {}
            Some(Stop::Invalid(HeaderError::NotYet)) => {
                // It is looked at again when its time may have come.
                goes_on = false;
                if !was_asked {
                    peer.headers = Headers::Withheld;
                    self.timers.set(Timer::Retry(conn), turn.now.instant + ASK_AGAIN);
                }
            }
            Some(Stop::Invalid(error)) => return Err(Misbehaviour::InvalidHeader(error)),
            Some(Stop::Discontinuous) => return Err(Misbehaviour::HeadersDiscontinuous),
            Some(Stop::LowWork(base)) => {
                peer.unconnected = 0;
                if was_asked && goes_on {
                    return self.begin_ascent(turn, conn, *base, headers);
                }
                // A chain of so little work is of no use, and no fault.
                peer.best = Some(base.block());
                goes_on &= !was_asked;
            }
            Some(Stop::Unconnected) => {
                let parent = headers.at(0).map(|header| header.prev_blockhash);
                match parent.map(|parent| self.chain.place(&parent)) {
                    Some(Place::Below(post)) if was_asked => {
                        self.load_ascent(turn, conn, post);
                        return Ok(());
                    }
                    Some(Place::Start) if was_asked => {
                        let start = *self.chain.start();
                        return self.begin_ascent(turn, conn, start, headers);
                    }
                    Some(Place::BeforeStart) if was_asked => {
                        let genesis = Lineage::genesis(self.chain.rules());
                        return self.ascend(turn, conn, genesis, Purpose::Report, headers);
                    }
                    _ => {}
                }
                // The peer is ahead of us: what is between will come. It is no answer to what was asked, for that goes on
                // from a block that is known: unless the window has moved on, and a branch in it was let go since.
                let answers = goes_on || peer.best.map(|best| best.hash) == parent;
                if was_asked && !answers && headers.len() <= MAX_ANNOUNCED {
                    // News of the peer's, ahead of the answer that it is about to give: they bring about no further request, so
                    // what they weigh is all that there is to count.
                    let weight = headers.len() * ANNOUNCED_BYTES;
                    if !peer.charge(weight, turn.now.instant) {
                        return Err(Misbehaviour::Flooding);
                    }
                    return Ok(());
                }
                peer.unconnected += 1;
                if peer.unconnected > MAX_UNCONNECTED {
                    return Err(Misbehaviour::HeadersUnconnected);
                }
                if !was_asked || answers {
                    peer.headers = Headers::Wanted;
                }
                return Ok(());
            }
        }
        if !was_asked {
            if goes_on {
                // No announcement is as long: it is an answer, and what came before it was none.
                peer.headers = Headers::Wanted;
            }
            return Ok(());
        }
        if goes_on && !further {
            peer.fruitless += 1;
            if peer.fruitless > MAX_FRUITLESS {
                return Err(Misbehaviour::WrongAnswer(HEADERS));
            }
        }
        peer.note_answer();
        let best = peer.best;
        self.timers.cancel(Timer::Headers(conn));
        match best {
            Some(best) if goes_on && self.chain.holds(best) => {
                self.ask_headers_from(turn, conn, best.height);
            }
            // It is showing a branch that does not have the most work yet.
            Some(best) if goes_on => {
                let common = self.chain.common(best).unwrap_or(0);
                let mut locator = Vec::from([best.hash]);
                locator.extend(self.chain.locator(common));
                locator.truncate(crate::wire::MAX_LOCATOR);
                self.ask_headers(turn, conn, &locator, BlockHash::all_zeros());
            }
            _ => self.headers_shown(turn, conn, headers.is_empty()),
        }
        Ok(())
    }

    /// A peer has shown all its headers. What it claims to have beyond them it keeps back: it is syncing itself, or it
    /// lies.
    pub(super) fn headers_shown(&mut self, turn: &mut Turn<'_>, conn: ConnId, nothing: bool) {
        let tip = self.chain.tip();
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        if nothing && tip == self.chain.start().block() && peer.claimed == tip.height {
            peer.best = Some(tip);
        }
        self.times_shown += 1;
        peer.shown = self.times_shown;
        let shown = peer.best.map_or(0, |best| best.height);
        if peer.claimed > shown && peer.claimed > tip.height {
            let event = Event::PeerWithholds { endpoint: peer.endpoint.clone(), claimed: peer.claimed };
            turn.out.event(event);
            self.withhold(turn, conn);
        } else {
            peer.headers = Headers::Done;
        }
    }

    /// Leaves a peer alone that has not shown what it claims, for a while.
    pub(super) fn withhold(&mut self, turn: &Turn<'_>, conn: ConnId) {
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        peer.headers = Headers::Withheld;
        self.timers.cancel(Timer::Headers(conn));
        self.timers.set(Timer::Retry(conn), turn.now.instant + ASK_AGAIN);
    }

    /// Whatever a peer was asked for, it is asked for headers from the tip next.
    pub(super) fn ask_for_headers_anew(&mut self, conn: ConnId) {
        self.timers.cancel(Timer::Headers(conn));
        if let Some(peer) = self.peers.get_mut(&conn) {
            peer.headers = Headers::Wanted;
        }
    }

    /// A peer announces blocks by their hashes, as Bitcoin Core does when more than eight are new.
    pub(super) fn on_inv(
        &mut self,
        conn: ConnId,
        command: CommandName,
        inventory: Items<'_, Inventory>,
    ) -> Result<(), Misbehaviour> {
        if inventory.len() > MAX_INVENTORY {
            return Err(Misbehaviour::Malformed(command));
        }
        let Some(peer) = self.peers.get_mut(&conn) else { return Ok(()) };
        let mut blocks = inventory.iter().filter(|item| item.kind == INV_BLOCK);
        // The last is the best: a look through the window for each of many would be a gift to who sends them.
        if let Some(item) = blocks.by_ref().last() {
            match self.chain.find(&BlockHash::from_byte_array(item.hash)) {
                // Another peer was faster. This one has shown it too.
                Some(known) => peer.best = Some(known),
                None if peer.headers != Headers::Asked => peer.headers = Headers::Wanted,
                None => {}
            }
        }
        Ok(())
    }

    /// Asks one more peer for headers, for no block has come for a long time. Nobody is let go for it.
    pub(super) fn tip_is_stale(&mut self, turn: &mut Turn<'_>) {
        let ready = |peer: &&super::Peer| peer.is_ready() && peer.headers == Headers::Done;
        let mut able: Vec<ConnId> =
            self.peers.iter().filter(|(_, peer)| ready(peer)).map(|(conn, _)| *conn).collect();
        able.sort_unstable_by_key(|conn| (*conn <= self.asked_when_stale.unwrap_or(*conn), *conn));
        self.asked_when_stale = able.first().copied();
        if let Some(conn) = self.asked_when_stale {
            self.ask_for_headers_anew(conn);
        }
        self.note_stale(true);
        turn.out.event(Event::StaleTip { tip: self.chain.tip() });
        self.timers.set(Timer::StaleTip, turn.now.instant + self.config.stale_tip / STALE_AGAIN);
    }

    /// From now on no block comes for a while before the tip is stale.
    pub(super) fn tip_is_fresh(&mut self, turn: &Turn<'_>) {
        if !self.pause.is_paused() {
            self.timers.set(Timer::StaleTip, turn.now.instant + self.config.stale_tip);
        }
    }

    /// Makes a change of the best chain durable, and takes back what it takes back.
    pub(super) fn chain_changed(&mut self, turn: &mut Turn<'_>, taken: &Taken) {
        let Some(from) = taken.changed_from else { return };
        self.synced = None;
        self.note_stale(false);
        self.tip_is_fresh(turn);
        let tip = self.chain.tip();
        let mut events = Vec::new();
        let mut then = Then::Nothing;
        if let Some(old_tip) = taken.left {
            let fork = from - 1;
            let hash = self.chain.at(fork).map(|(_, hash)| hash).expect("a branch begins in the window");
            events.push(Event::Reorganised { fork: BlockId { height: fork, hash }, old_tip, new_tip: tip });
            self.forget_filter_headers_above(fork);
            self.restart_fetch(fork + 1);
            self.ascent_left(turn, fork);
            if self.search_goes_back(turn, fork + 1) {
                then = Then::TakeBack;
            }
        }
        // Behind the way back: what was settled in a block that is gone is not, however far the chain goes on.
        self.broadcasting.grown(tip.height);
        let positions = (then == Then::TakeBack).then(|| self.search.watches.positions());
        let left = taken.left;
        let start = self.chain.start().height();
        let first = record::row_first(start, from);
        let headers: Vec<Header> = (first..=tip.height)
            .map(|height| *self.chain.at(height).expect("what is new is in the window, with its row").0)
            .collect();
        let works: Vec<_> = (first..=tip.height)
            .filter(|height| height.is_multiple_of(PERIOD))
            .map(|height| (height, self.work_before(height)))
            .collect();
        // Periods that are complete now.
        let periods: Vec<(u32, Vec<BlockHash>)> = (from / PERIOD..(tip.height + 1) / PERIOD)
            .map(|period| {
                let low = (period * PERIOD).max(start);
                let hashes = (low..(period + 1) * PERIOD).map_while(|height| Some(self.chain.at(height)?.1));
                (low, hashes.collect())
            })
            .collect();
        let end = Tip { block: tip, work: self.chain.work() };
        let filter_row = left.and_then(|_| self.filter_header_row(from));
        self.store(turn, events, then, |batch| {
            if left.is_some_and(|left| left.height > tip.height) {
                let above = record::row_first(start, tip.height) / record::ROW * record::ROW + record::ROW;
                batch.delete_from(record::HEADERS, &record::height_key(above));
            }
            if left.is_some() {
                batch
                    .delete_from(record::FILTER_HEADERS, &record::height_key(record::row_first(start, from)));
            }
            if let Some((first, row)) = filter_row {
                record::put_filter_headers(batch, first, row);
            }
            let work = |height| works.iter().find(|(at, _)| *at == height).map(|(_, work)| *work);
            record::put_headers(batch, record::HEADERS, first, &headers, work);
            for (low, hashes) in &periods {
                record::put_hashes(batch, *low, hashes.iter().copied());
            }
            record::put_tip(batch, &end);
            if let Some(positions) = &positions {
                record::put_positions(batch, positions);
            }
        });
    }

    /// The work of the best chain before a block that is in the window.
    pub(super) fn work_before(&self, height: u32) -> bitcoin::Work {
        let (header, _) = self.chain.at(height).expect("the block is in the window");
        let work = self.chain.work_at(height).expect("the block is in the window");
        work - header.work()
    }
}
