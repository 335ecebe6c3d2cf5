//! Headers between blocks that are known to be in the best chain: asked of several peers at once, a few ranges in flight
//! with each, so that round trips do not add up. A range is proven by the block that it ends with; its headers keep all
//! rules all the same, when their turn comes.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use andon_kernel::ConnId;
use bitcoin::BlockHash;
use bitcoin::block::Header;

use super::api::{BlockId, Event, Failure, ImportError};
use super::ascent::MAX_ANNOUNCED;
use super::config::MAX_KNOWN_BLOCK_GAP;
use super::headers::HEADERS_TIMEOUT;
use super::peer::Headers;
use super::{Client, Misbehaviour, Timer, Turn};
use crate::headers::HeaderChain;
use crate::wire::{CommandName, Items, MAX_HEADERS};

/// Headers in open ranges at most, those included that have not come: what is held out of order is bounded by it. No two
/// known blocks lie further apart.
const MAX_OPEN_HEADERS: u32 = MAX_KNOWN_BLOCK_GAP;

/// Ranges that one peer is asked for at a time: enough to hide a round trip.
const MAX_ASKED: usize = 4;

/// How long the peer that was asked for the lowest range may hold up one that could be asked for more, at first. It
/// doubles whenever another is asked instead, for there may be none that is faster, and halves with each range that comes.
const LEAST_PATIENCE: Duration = Duration::from_secs(4);
const MOST_PATIENCE: Duration = Duration::from_secs(60 * 60);

const HEADERS: CommandName = CommandName::new("headers");

/// What is to be fetched between known blocks.
#[derive(Debug)]
pub(super) struct Ranges {
    /// The block after which the first range begins.
    from: Option<BlockId>,
    /// Those above the tip of the chain, lowest first.
    known: VecDeque<BlockId>,
    open: VecDeque<Range>,
    /// How long one peer may hold the others up.
    patience: Duration,
}

impl Default for Ranges {
    fn default() -> Self {
        Self { from: None, known: VecDeque::new(), open: VecDeque::new(), patience: LEAST_PATIENCE }
    }
}

#[derive(Debug)]
struct Range {
    from: BlockId,
    to: BlockId,
    asked: Option<ConnId>,
    headers: Vec<(Header, BlockHash)>,
}

impl Range {
    fn last(&self) -> BlockHash {
        self.headers.last().map_or(self.from.hash, |(_, hash)| *hash)
    }

    /// Puts a header behind the one that it follows, in the place of what stood there. False: it follows none of these.
    fn place(&mut self, header: &Header, hash: BlockHash) -> bool {
        let before = self.headers.iter().rposition(|(_, known)| *known == header.prev_blockhash);
        let at = match before {
            Some(before) => before + 1,
            None if header.prev_blockhash == self.from.hash => 0,
            None => return false,
        };
        if self.headers.get(at).is_none_or(|(_, known)| *known != hash) {
            self.headers.truncate(at);
            self.headers.push((*header, hash));
        }
        true
    }

    fn is_complete(&self) -> bool {
        self.headers.len() as u32 == self.to.height - self.from.height
    }
}

impl Ranges {
    /// Begins with what is known above the tip: from the tip on, or from the last known block below it. Where that lies too
    /// far below, the chain goes on as peers show it.
    pub(super) fn new(chain: &HeaderChain, known: impl Iterator<Item = BlockId>) -> Self {
        let tip = chain.tip();
        let mut known: Vec<BlockId> = known.collect();
        known.sort_unstable_by_key(|block| block.height);
        known.dedup_by_key(|block| block.height);
        let last = known.iter().rev().find(|block| block.height <= tip.height).copied();
        let from = last.into_iter().chain([chain.start().block()]).find(|block| chain.holds(*block));
        let above = known.into_iter().filter(|block| from.is_some() && block.height > tip.height);
        Self { from, known: above.collect(), ..Self::default() }
    }

    /// Whether there are ranges to fetch.
    pub(super) fn is_active(&self) -> bool {
        !self.known.is_empty() || !self.open.is_empty()
    }

    /// Whether a block is one that they lead to: it is to become part of the chain.
    pub(super) fn lead_to(&self, block: BlockId) -> bool {
        self.open.iter().any(|range| range.to == block) || self.known.contains(&block)
    }

    /// Whether a peer owes headers of a range.
    pub(super) fn is_waiting_for(&self, peer: ConnId) -> bool {
        self.open.iter().any(|range| range.asked == Some(peer) && !range.is_complete())
    }

    /// How many ranges a peer owes headers of.
    fn owed_by(&self, peer: ConnId) -> usize {
        self.open.iter().filter(|range| range.asked == Some(peer) && !range.is_complete()).count()
    }

    /// The peer that owes the lowest range.
    fn first_owed_by(&self) -> Option<ConnId> {
        self.open.front().and_then(|range| range.asked)
    }

    /// Chooses the next range for a peer.
    fn ask(&mut self, peer: ConnId) -> Option<(BlockHash, BlockHash)> {
        if !self.open.iter().any(|range| range.asked.is_none()) {
            let from = self.open.back().map(|range| range.to).or(self.from)?;
            let open: u32 = self.open.iter().map(|range| range.to.height - range.from.height).sum();
            let next = self.known.front()?;
            if open + (next.height - from.height) > MAX_OPEN_HEADERS {
                return None;
            }
            let to = self.known.pop_front()?;
            self.open.push_back(Range { from, to, asked: None, headers: Vec::new() });
        }
        let free = self.open.iter_mut().find(|range| range.asked.is_none())?;
        free.asked = Some(peer);
        Some((free.last(), free.to.hash))
    }

    /// Takes back what a peer was asked for and has not sent. Returns how many answers it owes.
    pub(super) fn release(&mut self, peer: ConnId) -> u32 {
        self.release_those(peer, |_| true)
    }

    fn release_those(&mut self, peer: ConnId, which: impl Fn(&Range) -> bool) -> u32 {
        let mut owed = 0;
        for range in self.open.iter_mut().filter(|range| range.asked == Some(peer) && !range.is_complete()) {
            if which(range) {
                range.asked = None;
                range.headers = Vec::new();
                owed += 1;
            }
        }
        owed
    }

    /// Gives all up: the chain goes on as peers show it.
    pub(super) fn give_up(&mut self) {
        *self = Self::default();
    }
}

impl Client {
    /// Asks each peer that can be asked for a few ranges: next the one that owes the fewest, and of these one that has held
    /// nobody up.
    pub(super) fn ask_for_ranges(&mut self, turn: &mut Turn<'_>) {
        let least_owed = loop {
            let able = self.peers.iter().filter(|(_, peer)| {
                // One that is still sending what others were asked for in the meantime has enough to do.
                peer.is_ready()
                    && peer.passed_over.is_none()
                    && peer.headers != Headers::Withheld
                    && !peer.owes_late_headers()
            });
            let by_debt =
                able.map(|(conn, peer)| (self.ranges.owed_by(*conn), peer.times_passed_over, *conn));
            let Some((owed, _, conn)) = by_debt.min() else { break None };
            if owed >= MAX_ASKED {
                break Some(owed);
            }
            let Some((last, stop)) = self.ranges.ask(conn) else { break Some(owed) };
            self.ask_headers(turn, conn, &[last], stop);
            self.asked.insert(conn);
        };
        let is_held_up = least_owed == Some(0) && self.ranges.first_owed_by().is_some();
        if !is_held_up {
            self.timers.cancel(Timer::HoldUp);
        } else if self.timers.get(Timer::HoldUp).is_none() {
            self.timers.set(Timer::HoldUp, turn.now.instant + self.ranges.patience);
        }
    }

    /// A peer has had nothing to do for some time, for the lowest range has not come: it is asked for it instead.
    pub(super) fn ranges_are_held_up(&mut self, turn: &Turn<'_>) {
        if let Some(conn) = self.ranges.first_owed_by() {
            self.ranges.patience = (self.ranges.patience * 2).min(MOST_PATIENCE);
            self.pass_over(turn, conn, self.config.stall_timeout);
        }
    }

    pub(super) fn on_range(
        &mut self,
        turn: &mut Turn<'_>,
        conn: ConnId,
        headers: Items<'_, Header>,
    ) -> Result<(), Misbehaviour> {
        let Some(peer) = self.peers.get_mut(&conn) else { return Ok(()) };
        let parent = headers.at(0).map(|header| header.prev_blockhash);
        let holds_up = self.ranges.first_owed_by() == Some(conn);
        let ranges = &mut self.ranges.open;
        let Some(range) = ranges
            .iter_mut()
            .find(|range| range.asked == Some(conn) && !range.is_complete() && Some(range.last()) == parent)
        else {
            if (1..=MAX_ANNOUNCED).contains(&headers.len()) {
                // An announcement says nothing yet: it is asked for when the ranges are done.
            } else if peer.take_late_headers() {
                self.on_late_range(turn, conn, headers);
                self.headers_came(turn, conn);
            } else if self.ranges.is_waiting_for(conn) {
                // It does not have the block that it was asked to go on from: it is syncing itself, or on another chain.
                self.range_withheld(turn, conn, None);
            }
            return Ok(());
        };
        peer.note_answer();
        if holds_up {
            // Whether these are of the lowest range or of another: it is under way.
            self.timers.cancel(Timer::HoldUp);
        }
        let room = (range.to.height - range.from.height) as usize - range.headers.len();
        let mut last = range.last();
        let Some(new) = linked(last, headers.hashed().take(room)) else {
            return Err(Misbehaviour::HeadersDiscontinuous);
        };
        last = new.last().map_or(last, |(_, hash)| *hash);
        // Nothing is put into the range that is no part of it: what is complete is proven.
        if new.len() == room && last != range.to.hash {
            return Err(Misbehaviour::ContradictsKnownBlock(range.to.height));
        }
        if headers.len() > room {
            return Err(Misbehaviour::WrongAnswer(HEADERS));
        }
        range.headers.extend(new);
        if range.is_complete() {
            peer.best = Some(peer.best.filter(|best| best.height > range.to.height).unwrap_or(range.to));
            self.ranges_done(turn);
        } else if headers.len() == MAX_HEADERS {
            let (stop, before) = (range.to.hash, peer.headers);
            self.ask_headers(turn, conn, &[last], stop);
            self.asked.insert(conn);
            if let Some(peer) = self.peers.get_mut(&conn).filter(|_| before == Headers::Withheld) {
                // It is asked for the rest of what it has begun to send, and for nothing else.
                peer.headers = before;
            }
        } else {
            let from = range.from;
            self.range_withheld(turn, conn, Some(from));
        }
        self.headers_came(turn, conn);
        Ok(())
    }

    /// Headers of a range that another was asked for in the meantime: if they are all of it, that one is not waited for.
    fn on_late_range(&mut self, turn: &mut Turn<'_>, conn: ConnId, headers: Items<'_, Header>) {
        let parent = headers.at(0).map(|header| header.prev_blockhash);
        let Some(range) = self.ranges.open.iter_mut().find(|range| {
            let count = (range.to.height - range.from.height) as usize;
            !range.is_complete() && Some(range.from.hash) == parent && count == headers.len()
        }) else {
            return;
        };
        let Some(new) = linked(range.from.hash, headers.hashed()) else { return };
        if new.last().is_none_or(|(_, last)| *last != range.to.hash) {
            return;
        }
        range.headers = new;
        if let Some(other) = range.asked.replace(conn) {
            self.expect_late_headers(turn, other);
        }
        self.ranges_done(turn);
    }

    /// What a peer was asked for has come from elsewhere.
    fn expect_late_headers(&mut self, turn: &Turn<'_>, conn: ConnId) {
        if let Some(peer) = self.peers.get_mut(&conn) {
            peer.expect_late_headers(1);
        }
        self.headers_came(turn, conn);
    }

    /// Waits for no headers of a peer any more, if it owes none; and for the next as long as for the first.
    fn headers_came(&mut self, turn: &Turn<'_>, conn: ConnId) {
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        if peer.owes_late_headers() || self.ranges.is_waiting_for(conn) {
            return self.timers.set(Timer::Headers(conn), turn.now.instant + HEADERS_TIMEOUT);
        }
        self.timers.cancel(Timer::Headers(conn));
        if peer.headers == Headers::Asked {
            peer.headers = Headers::Wanted;
        }
    }

    /// A peer does not have what it was asked for: others are asked for this range, if it is known which it is, and for
    /// all that it has not begun to send.
    fn range_withheld(&mut self, turn: &mut Turn<'_>, conn: ConnId, from: Option<BlockId>) {
        let mut released =
            self.ranges.release_those(conn, |range| range.headers.is_empty() || Some(range.from) == from);
        if released == 0 {
            released = self.ranges.release(conn);
        }
        if let Some(peer) = self.peers.get_mut(&conn) {
            // The answer that says so has come.
            peer.expect_late_headers(released.saturating_sub(1));
        }
        self.withhold(turn, conn);
        if let Some(peer) = self.peers.get(&conn).filter(|peer| peer.claimed > self.chain.tip_height()) {
            let endpoint = peer.endpoint.clone();
            turn.out.event(Event::PeerWithholds { endpoint, claimed: peer.claimed });
        }
    }

    /// Takes headers that come from elsewhere than a peer, up to the last known block: how many of them. Those that are known
    /// may come again.
    pub(super) fn import_ranges(
        &mut self,
        turn: &mut Turn<'_>,
        headers: &[Header],
    ) -> Result<usize, ImportError> {
        for (taken, header) in headers.iter().enumerate() {
            let hash = header.block_hash();
            let Some(range) = self.range_to_import() else { return Ok(taken) };
            if !range.place(header, hash) {
                if self.chain.height_of(&hash).is_some() {
                    continue;
                }
                return Err(ImportError::Unconnected);
            }
            // Whoever was asked for the range is not waited for: what comes twice is passed over.
            let asked = range.asked.take();
            let complete = range.is_complete();
            let contradicts = complete && range.last() != range.to.hash;
            if contradicts {
                range.headers = Vec::new();
            }
            if let Some(asked) = asked {
                self.expect_late_headers(turn, asked);
            }
            if contradicts {
                return Err(ImportError::Unconnected);
            }
            if complete {
                self.ranges_done(turn);
            }
        }
        Ok(headers.len())
    }

    /// The lowest range, with what the chain has of it.
    fn range_to_import(&mut self) -> Option<&mut Range> {
        if self.ranges.open.is_empty()
            && let (Some(from), Some(to)) = (self.ranges.from, self.ranges.known.pop_front())
        {
            let known = from.height + 1..=self.chain.tip_height();
            let headers =
                known.map_while(|height| self.chain.at(height).map(|(header, hash)| (*header, hash)));
            let headers = headers.collect();
            self.ranges.open.push_back(Range { from, to, asked: None, headers });
        }
        self.ranges.open.front_mut()
    }

    /// Takes complete ranges in, in order.
    fn ranges_done(&mut self, turn: &mut Turn<'_>) {
        while self.ranges.open.front().is_some_and(Range::is_complete)
            && let Some(range) = self.ranges.open.pop_front()
        {
            self.ranges.from = Some(range.to);
            self.timers.cancel(Timer::HoldUp);
            self.ranges.patience = (self.ranges.patience / 2).max(LEAST_PATIENCE);
            for headers in range.headers.chunks(MAX_HEADERS) {
                let taken = self.chain.take_proven(headers.iter().copied(), turn.now.unix);
                self.chain_changed(turn, &taken);
                if taken.stopped.is_some() {
                    // Its hash proves that this is the chain that was meant.
                    let why = "the chain to one of them breaks the rules";
                    return self.fail(turn, Failure::UnusableKnownBlocks { why });
                }
            }
        }
    }
}

/// Headers with their hashes, if each follows from the one before it, the first one from `parent`.
fn linked(
    parent: BlockHash,
    headers: impl Iterator<Item = (Header, BlockHash)>,
) -> Option<Vec<(Header, BlockHash)>> {
    let mut last = parent;
    let mut linked = Vec::new();
    for (header, hash) in headers {
        if header.prev_blockhash != last {
            return None;
        }
        last = hash;
        linked.push((header, hash));
    }
    Some(linked)
}
