//! Headers between blocks that are known to be in the best chain: asked of several peers at once, a few ranges in flight
//! with each, so that round trips do not add up. A range is proven by the block that it ends with; its headers keep all
//! rules all the same, when their turn comes.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use andon_kernel::ConnId;
use bitcoin::BlockHash;
use bitcoin::block::Header;

use super::api::{BlockId, Event, ImportError};
use super::peer::Headers;
use super::{Client, Misbehaviour, Timer, Turn};
use crate::headers::{HeaderChain, Stop};
use crate::wire::{CommandName, Items, MAX_HEADERS};

/// Headers in open ranges at most, those included that have not come: what is held out of order is bounded by it.
const MAX_OPEN_HEADERS: u32 = 32_000;

/// Ranges that one peer is asked for at a time: enough to hide a round trip.
const MAX_ASKED: usize = 4;

const HEADERS: CommandName = CommandName::new("headers");

/// What is to be fetched between known blocks.
#[derive(Debug, Default)]
pub(super) struct Ranges {
    /// The block after which the first range begins.
    from: Option<BlockId>,
    /// Those above the tip of the chain, lowest first.
    known: VecDeque<BlockId>,
    open: VecDeque<Range>,
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
        Self { from, known: above.collect(), open: VecDeque::new() }
    }

    /// Whether there are ranges to fetch.
    pub(super) fn is_active(&self) -> bool {
        !self.known.is_empty() || !self.open.is_empty()
    }

    /// Whether a peer owes headers of a range.
    pub(super) fn is_waiting_for(&self, peer: ConnId) -> bool {
        self.open.iter().any(|range| range.asked == Some(peer) && !range.is_complete())
    }

    /// Chooses the next range for a peer.
    fn ask(&mut self, peer: ConnId) -> Option<(BlockHash, BlockHash)> {
        let asked = self.open.iter().filter(|range| range.asked == Some(peer) && !range.is_complete());
        if asked.count() >= MAX_ASKED {
            return None;
        }
        if !self.open.iter().any(|range| range.asked.is_none()) {
            let from = self.open.back().map(|range| range.to).or(self.from)?;
            let open: u32 = self.open.iter().map(|range| range.to.height - range.from.height).sum();
            let next = self.known.front()?;
            if open > 0 && open + (next.height - from.height) > MAX_OPEN_HEADERS {
                return None;
            }
            let to = self.known.pop_front()?;
            self.open.push_back(Range { from, to, asked: None, headers: Vec::new() });
        }
        let free = self.open.iter_mut().find(|range| range.asked.is_none())?;
        free.asked = Some(peer);
        Some((free.last(), free.to.hash))
    }

    /// Takes back what a peer was asked for and has not sent.
    pub(super) fn release(&mut self, peer: ConnId) {
        for range in self.open.iter_mut().filter(|range| range.asked == Some(peer) && !range.is_complete()) {
            range.asked = None;
            range.headers = Vec::new();
        }
    }

    /// Gives all up: the chain goes on as peers show it.
    pub(super) fn give_up(&mut self) {
        *self = Self::default();
    }
}

impl Client {
    /// Asks each peer that can be asked for a few ranges.
    pub(super) fn ask_for_ranges(&mut self, turn: &mut Turn<'_>) {
        for conn in self.connections() {
            let able = self.peers.get(&conn).is_some_and(|peer| {
                peer.is_ready() && peer.passed_over.is_none() && peer.headers != Headers::Withheld
            });
            while able && let Some((last, stop)) = self.ranges.ask(conn) {
                self.ask_headers(turn, conn, &[last], stop);
                self.asked.insert(conn);
            }
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
        let ranges = &mut self.ranges.open;
        let Some(range) = ranges
            .iter_mut()
            .find(|range| range.asked == Some(conn) && !range.is_complete() && Some(range.last()) == parent)
        else {
            if self.ranges.is_waiting_for(conn) && (headers.is_empty() || headers.len() > 1) {
                // It does not have the block that it was asked to go on from: it is syncing itself, or on another chain.
                self.range_withheld(turn, conn);
            }
            // An announcement says nothing yet: it is asked for when the ranges are done.
            return Ok(());
        };
        peer.note_answer();
        let room = (range.to.height - range.from.height) as usize - range.headers.len();
        if headers.len() > room {
            return Err(Misbehaviour::WrongAnswer(HEADERS));
        }
        let mut last = range.last();
        for (header, hash) in headers.hashed() {
            if header.prev_blockhash != last {
                return Err(Misbehaviour::HeadersDiscontinuous);
            }
            last = hash;
            range.headers.push((header, hash));
        }
        if range.is_complete() {
            if last != range.to.hash {
                return Err(Misbehaviour::ContradictsKnownBlock(range.to.height));
            }
            peer.best = Some(peer.best.filter(|best| best.height > range.to.height).unwrap_or(range.to));
            self.ranges_done(turn);
        } else if headers.len() == MAX_HEADERS {
            let stop = range.to.hash;
            self.ask_headers(turn, conn, &[last], stop);
            self.asked.insert(conn);
        } else {
            self.range_withheld(turn, conn);
        }
        if !self.ranges.is_waiting_for(conn) {
            self.timers.cancel(Timer::Headers(conn));
            if let Some(peer) = self.peers.get_mut(&conn).filter(|peer| peer.headers == Headers::Asked) {
                peer.headers = Headers::Wanted;
            }
        }
        Ok(())
    }

    /// A peer does not have what it was asked for: others are asked.
    fn range_withheld(&mut self, turn: &mut Turn<'_>, conn: ConnId) {
        self.ranges.release(conn);
        self.withhold(turn, conn);
        if let Some(peer) = self.peers.get(&conn).filter(|peer| peer.claimed > self.chain.tip_height()) {
            let endpoint = self.targets.endpoint(peer.target).clone();
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
            range.asked = None;
            if range.is_complete() {
                if range.last() != range.to.hash {
                    range.headers = Vec::new();
                    return Err(ImportError::Unconnected);
                }
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
            for headers in range.headers.chunks(MAX_HEADERS) {
                let taken = self.chain.take_proven(headers.iter().copied(), turn.now.unix);
                self.chain_changed(turn, &taken);
                if let Some(stop) = taken.stopped {
                    // A known block proves them, and they break a rule: the block that is "known" is wrong, or the rule is.
                    debug_assert!(!matches!(stop, Stop::Invalid(_)), "a proven header is invalid: {stop:?}");
                    return self.ranges.give_up();
                }
            }
        }
    }
}
