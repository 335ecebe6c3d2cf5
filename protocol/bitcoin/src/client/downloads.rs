//! Which peer is asked for which filters and blocks (BIP157): each for as much as its measured rate lets it send in a few
//! seconds, so much ahead that its link is never idle; towards the end for less, so that all end at once.
//!
//! A request can't be called back, so what a slow peer owes is asked of a faster one as well, once that one has nothing
//! else to do: the upper part, so that the two meet. What comes twice is no fault of either.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use andon_kernel::{ConnId, Instant};
use bitcoin::BlockHash;
use bitcoin::hashes::Hash;
use bitcoin::p2p::ServiceFlags;

use super::filters::Owed;
use super::peer::{MAX_LATE_BLOCKS, Peer};
use super::{Client, Reason, Timer, Turn};
use crate::wire::{FilterRequest, INV_BLOCK, INV_WITNESS_BLOCK, INV_WITNESS_FLAG, Inventory, Items, Message};

/// Filters of one request at most. A server queues an answer whole, and 250 recent filters have five megabytes.
const MOST: u32 = 250;

/// Filters of one request at least, where as many are left.
const LEAST: u32 = 4;

/// Filters of a request to a peer whose rate is not known, and how many such requests it gets.
const FIRST: u32 = 25;
const FIRST_REQUESTS: usize = 2;

/// How long a peer takes for one request at most, by its rate: 100 filters of a recent block from one that sends 400 KB
/// a second. A slower one is asked for fewer than 100.
const CHUNK_TIME: Duration = Duration::from_secs(5);

/// Requests for filters that a peer owes at most.
const MAX_REQUESTS: usize = 16;

/// What a peer owes at least, beside what is under way because of its latency, in time by its rate.
const MARGIN: Duration = Duration::from_millis(100);

/// How much sooner a part must come from another peer for it to be asked of that one too; and how often it is looked at
/// while peers have nothing else to do.
const LEAST_GAIN: Duration = Duration::from_millis(250);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How much sooner a block must come from another peer than in half the time, for it to be asked of that one too.
const BLOCK_GAIN: Duration = Duration::from_secs(1);

/// Blocks that one peer is asked for at a time; no more than one if it owes more than can come in this time.
const MAX_BLOCKS: usize = 8;
const BLOCKS_TIME: Duration = Duration::from_secs(5);

/// A peer that owes filters which take longer than this is asked for a block only if no other can be.
const LONG_REQUEST: Duration = Duration::from_millis(500);

/// Peers that would send a block in this time are as good as each other.
const SOON: Duration = Duration::from_millis(500);

/// What a peer is taken to send, in bytes a second, while that is not known.
const USUAL_RATE: u64 = 500_000;

/// Blocks below the tip that a pruned peer serves (BIP159), less two for those it may be ahead of us.
pub(super) const LIMITED_DEPTH: u32 = 286;

/// When a peer that did not have a block is asked again.
const AFTER_REFUSAL: Duration = Duration::from_secs(30);

/// New blocks whose filters are asked for together with their filter headers: so many can be held until those have come.
const EARLY: u32 = 3;

impl Client {
    /// About what a peer has still to send of filters and blocks, in bytes.
    pub(super) fn backlog(&self, conn: ConnId) -> u64 {
        let blocks = self.search.blocks.owed_by(conn) as u64 * self.search.blocks.average();
        self.filter_backlog(conn) + blocks
    }

    fn filter_backlog(&self, conn: ConnId) -> u64 {
        let late = self.peers.get(&conn).map_or(0, Peer::late_filters);
        let (owed, _) = self.search.filters.owed_by(conn);
        owed + u64::from(late) * self.search.filters.average()
    }

    /// How long until a peer has sent what it owes, and so many bytes more.
    fn time_until(&self, conn: ConnId, more: u64, now: Instant) -> Duration {
        let Some(peer) = self.peers.get(&conn) else { return Duration::MAX };
        let bytes = self.backlog(conn) + more;
        let usual = Duration::from_micros(bytes.saturating_mul(1_000_000) / USUAL_RATE);
        peer.pace.latency().saturating_add(peer.pace.time_for(bytes, now).unwrap_or(usual))
    }

    /// Whether a peer is to be asked for more filters now: what it owes would end before the answer to the next request
    /// begins.
    fn has_room(&self, conn: ConnId, now: Instant) -> bool {
        let Some(peer) = self.peers.get(&conn) else { return false };
        let (_, requests) = self.search.filters.owed_by(conn);
        let Some(rate) = peer.pace.rate(now) else { return requests < FIRST_REQUESTS };
        let ahead = peer.pace.latency() * 3 / 2 + MARGIN;
        let bytes = bytes_in(rate, ahead).max(self.search.filters.average());
        requests < MAX_REQUESTS && self.backlog(conn) <= bytes
    }

    /// Peers that can be asked for filters now, with the height up to which they serve: who would send one first comes
    /// first.
    pub(super) fn able(&self, now: Instant) -> Vec<(ConnId, u32)> {
        let able = self.peers.iter().filter_map(|(conn, peer)| Some((*conn, self.serves_filters(peer)?)));
        let mut able: Vec<(ConnId, u32)> = able.collect();
        able.sort_by_cached_key(|(conn, _)| self.time_until(*conn, self.search.filters.average(), now));
        able
    }

    /// How many filters a peer is asked for at once: as many as its rate allows, and no more than its half of what is left.
    fn chunk(&self, conn: ConnId, able: &[(ConnId, u32)], now: Instant) -> u32 {
        let rate = |conn: ConnId| self.peers.get(&conn).and_then(|peer| peer.pace.rate(now));
        let Some(own) = rate(conn) else { return FIRST };
        let free = self.search.filters.unasked();
        let left = u64::from(free) + u64::from(self.unopened(self.chain.tip_height()));
        let all: u64 = able.iter().filter_map(|(conn, _)| rate(*conn)).sum();
        let share = match able {
            [_] => u64::MAX,
            _ => left * (own / 1000 + 1) / (all / 1000 + 1) / 2,
        };
        let fits = bytes_in(own, CHUNK_TIME) / self.search.filters.average().max(1);
        share.min(fits).clamp(LEAST.into(), MOST.into()) as u32
    }

    /// Asks peers for filters: those that nobody is asked for, then those that slower peers owe.
    pub(super) fn ask_for_filters(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now.instant;
        self.note_idle_peers(now);
        self.ask_for_early_filters(turn);
        let looks = self.peers.len() > 1
            && !self.config.metered
            && self.search.filters.has_requests()
            && self.timers.get(Timer::TakeOver).is_none();
        if !looks && !self.search.filters.has_free() {
            return;
        }
        let able = self.able(now);
        // New blocks do not wait for what is searched far below.
        let highest = self.search.watches.group_at(self.chain.tip_height());
        let urgent = highest.map_or(0, |(group, _)| group.next);
        let mut has_idle = false;
        for (conn, best) in &able {
            while self.has_room(*conn, now) {
                let most = self.chunk(*conn, &able, now);
                let serial = self.next_request();
                let request = self.search.filters.ask(*conn, serial, *best, most, urgent);
                let request = match request {
                    None if looks => self.take_over(*conn, *best, serial, now),
                    request => request,
                };
                let Some(request) = request else {
                    has_idle = true;
                    break;
                };
                self.send(turn, *conn, &Message::GetCFilters(request));
                self.note_asked(*conn, now);
            }
        }
        if looks && has_idle && self.peers.keys().any(|conn| self.search.filters.is_waiting_for(*conn)) {
            self.timers.set(Timer::TakeOver, now + LOOK_AGAIN);
        }
    }

    /// Up to `limit`, how many filters of the lowest group's pass are not open yet.
    fn unopened(&self, limit: u32) -> u32 {
        let watches = &self.search.watches;
        let Some((_, end)) = watches.lowest_pass() else { return 0 };
        let limit = end.min(limit);
        self.search.filters.open_to(limit).map_or(0, |open| limit.saturating_sub(open))
    }

    pub(super) fn next_request(&mut self) -> u64 {
        self.search.requests += 1;
        self.search.requests
    }

    pub(super) fn note_asked(&mut self, conn: ConnId, now: Instant) {
        self.asked.insert(conn);
        if let Some(peer) = self.peers.get_mut(&conn) {
            peer.pace.asked(now);
        }
    }

    fn note_idle_peers(&mut self, now: Instant) {
        for conn in self.connections() {
            if self.backlog(conn) == 0
                && let Some(peer) = self.peers.get_mut(&conn)
            {
                peer.pace.idle(now);
            }
        }
    }

    /// Chooses what a peer with nothing else to do is asked for that slower ones owe: of what holds the search up if the
    /// window is full, else of what would come last.
    fn take_over(&mut self, conn: ConnId, best: u32, serial: u64, now: Instant) -> Option<FilterRequest> {
        let pace = self.peers.get(&conn)?.pace;
        let average = self.search.filters.average();
        let own = pace.time_for(average, now)?;
        let begins = self.time_until(conn, 0, now);
        let eta = |owed: Owed| {
            let peer = self.peers.get(&owed.peer)?;
            let bytes = owed.bytes + u64::from(peer.late_filters()) * average;
            peer.pace.time_for(bytes, now).map(|time| (time, owed))
        };
        let owed = self.search.filters.owed_by_others(conn);
        let is_full = self.unopened(self.trusted_filter_headers().saturating_sub(1)) > 0;
        let mut slow = owed.into_iter().filter_map(eta);
        let (time, owed) = if is_full { slow.next()? } else { slow.max_by_key(|(time, _)| *time)? };
        // So many come from either by the time at which the two meet.
        let ahead = u128::from(owed.ahead.max(1));
        let theirs = time.as_micros() / ahead;
        let saved = time.as_micros().checked_sub(begins.as_micros())?;
        let count = (saved / (own.as_micros() + theirs).max(1)).min(owed.missing.into()) as u32;
        let comes = begins.saturating_add(own.saturating_mul(count));
        if count == 0 || comes.saturating_add(LEAST_GAIN) > time {
            return None;
        }
        self.search.filters.share(conn, serial, best, &owed, count.min(MOST))
    }

    /// At the tip: asks for the filters of new blocks together with their filter headers, so that a new block costs one
    /// round trip.
    fn ask_for_early_filters(&mut self, turn: &mut Turn<'_>) {
        let tip = self.chain.tip_height();
        let next = self.filter_headers.next();
        let Some((group, _)) = self.search.watches.group_at(tip) else { return };
        let first = group.first_unmatched().max(next);
        if first > tip || tip - first >= EARLY || self.search.filters.is_open_from(group.next) {
            return;
        }
        if !self.headers_are_current() {
            return;
        }
        let now = turn.now.instant;
        // Behind the request for filter headers they come right after them.
        let source = self.filter_ranges.source();
        let able = self.peers.iter().filter(|(_, peer)| self.serves(peer).is_some_and(|best| best >= tip));
        let able = able.filter(|(_, peer)| peer.dissent.is_none()).map(|(conn, _)| *conn);
        let by_time = |conn: &ConnId| {
            (Some(*conn) != source, self.time_until(*conn, self.search.filters.average(), now))
        };
        let Some(conn) = able.min_by_key(by_time) else { return };
        let hashes: Option<Vec<BlockHash>> =
            (first..=tip).map(|height| self.chain.at(height).map(|(_, hash)| hash)).collect();
        let Some(hashes) = hashes else { return };
        let serial = self.next_request();
        if let Some(request) = self.search.filters.ask_early(conn, serial, first, hashes) {
            self.send(turn, conn, &Message::GetCFilters(request));
            self.note_asked(conn, now);
        }
    }

    /// Looks at filters that came before their filter headers.
    pub(super) fn take_held_filters(&mut self, turn: &mut Turn<'_>) {
        loop {
            let search = &mut self.search;
            match search.filters.take_held(&search.watches) {
                None => return,
                Some((_, bytes, Ok(taken))) => {
                    if let Some(block) = taken {
                        self.keep_filter(turn, block.height, &block.hash, &bytes);
                    }
                }
                Some((conn, _, Err((height, misbehaviour)))) => {
                    if let Err(misbehaviour) = self.charge(conn, height, misbehaviour) {
                        self.drop_peer(turn, conn, Reason::Misbehaved(misbehaviour));
                    }
                }
            }
        }
    }

    /// Asks peers for blocks: each of one that is drawn from those who would send it soon.
    pub(super) fn ask_for_blocks(&mut self, turn: &mut Turn<'_>) {
        if self.search.blocks.is_empty() {
            return;
        }
        let now = turn.now.instant;
        let serial = self.next_request();
        let mut wanted: BTreeMap<ConnId, Vec<Inventory>> = BTreeMap::new();
        for height in self.search.blocks.free() {
            // What holds the search up comes first: the others wait for it.
            let Some(conn) = self.who_serves_block(height, None, now) else { break };
            wanted.entry(conn).or_default().extend(self.note_block(conn, serial, height));
        }
        for height in self.search.blocks.free_to_fetch() {
            if let Some(conn) = self.who_serves_block(height, None, now) {
                wanted.entry(conn).or_default().extend(self.note_block(conn, serial, height));
            }
        }
        let average = self.search.blocks.average();
        if let Some((height, slow)) = self.search.blocks.single().filter(|_| !self.config.metered)
            && let Some(conn) = self.who_serves_block(height, Some(slow), now)
        {
            let comes = self.time_until(conn, average, now);
            if comes.saturating_mul(2).saturating_add(BLOCK_GAIN) < self.time_until(slow, 0, now) {
                wanted.entry(conn).or_default().extend(self.note_block(conn, serial, height));
            }
        }
        for (conn, wanted) in wanted {
            self.send(turn, conn, &Message::GetData(wanted.as_slice().into()));
            self.note_asked(conn, now);
        }
    }

    fn note_block(&mut self, conn: ConnId, serial: u64, height: u32) -> Option<Inventory> {
        let hash = self.search.blocks.ask(conn, serial, height)?;
        Some(Inventory::block(INV_WITNESS_BLOCK, hash))
    }

    /// Who is asked for a block: it is drawn from those who would send it in twice the time of the first, so that nobody sees
    /// more of the blocks that are of interest than others do, and nobody can make us ask it by being a little faster. Beside
    /// one that is asked already, and slow, it is the first. `None`: nobody is there, or all those owe enough blocks for now.
    fn who_serves_block(&self, height: u32, beside: Option<ConnId>, now: Instant) -> Option<ConnId> {
        let able = self.peers.iter().filter(|(conn, peer)| {
            let least = match peer.services.has(ServiceFlags::NETWORK) {
                true => 0,
                false => self.chain.tip_height().saturating_sub(LIMITED_DEPTH),
            };
            self.serves(peer).is_some_and(|best| (least..=best).contains(&height))
                && Some(**conn) != beside
                && !self.search.blocks.is_refused_by(height, **conn)
        });
        let average = self.search.blocks.average();
        let by_time = able.map(|(conn, peer)| {
            let filters = peer.pace.time_for(self.filter_backlog(*conn), now).unwrap_or_default();
            (filters > LONG_REQUEST, self.time_until(*conn, average, now), *conn)
        });
        let mut by_time: Vec<(bool, Duration, ConnId)> = by_time.collect();
        by_time.sort_unstable();
        let (is_busy, soonest, first) = *by_time.first()?;
        let has_room = |conn: ConnId| {
            let owed = self.search.blocks.owed_by(conn);
            let late = self.peers.get(&conn).map_or(0, Peer::late_blocks);
            owed < MAX_BLOCKS
                && owed + late < MAX_LATE_BLOCKS
                && (owed == 0 || self.time_until(conn, 0, now) <= BLOCKS_TIME)
        };
        if beside.is_some() {
            return Some(first).filter(|first| has_room(*first));
        }
        let soon = soonest.saturating_mul(2).max(SOON);
        by_time.retain(|(busy, time, _)| (*busy, *time) <= (is_busy, soon));
        let with_room: Vec<ConnId> =
            by_time.into_iter().map(|(.., conn)| conn).filter(|conn| has_room(*conn)).collect();
        // Drawn for each block anew, and the same whenever it is looked at.
        let mut rng = self.rng.fork_indexed("block", height.into());
        (!with_room.is_empty()).then(|| with_room[rng.below(with_room.len() as u64) as usize])
    }

    /// A peer says that it does not have blocks that it was asked for: others are asked.
    pub(super) fn on_not_found(&mut self, turn: &Turn<'_>, conn: ConnId, missing: Items<'_, Inventory>) {
        let blocks = missing.iter().filter(|item| item.kind & !INV_WITNESS_FLAG == INV_BLOCK);
        let mut refused = false;
        for item in blocks.take(MAX_BLOCKS) {
            refused |= self.search.blocks.refuse(conn, &BlockHash::from_byte_array(item.hash));
        }
        if refused && self.timers.get(Timer::Retry(conn)).is_none() {
            self.timers.set(Timer::Retry(conn), turn.now.instant + AFTER_REFUSAL);
        }
    }
}

fn bytes_in(rate: u64, time: Duration) -> u64 {
    u64::try_from(u128::from(rate) * time.as_micros() / 1_000_000).unwrap_or(u64::MAX)
}
