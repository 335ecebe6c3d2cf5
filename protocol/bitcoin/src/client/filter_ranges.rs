//! Who is asked for which filter headers (BIP157): one peer, the source, for a few ranges in its order; and every peer that
//! has named the same checkpoints, for the ranges that end with one of them.
//!
//! A filter header commits to all filters below it. So a range that ends with the filter header which its sender and the
//! source have both named is what the source has, whoever sent it; and if it does not end so, its sender has contradicted
//! itself. Ranges come in any order and are taken in from the lowest on. What waits for a lower one is bounded. A range
//! that holds up peers which have nothing else to do is asked of one of them as well.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

use andon_kernel::{ConnId, Instant, Rows, Ticket};
use bitcoin::{BlockHash, FilterHash, FilterHeader};

use super::api::Reason;
use super::checkpoints::{FAR, INTERVAL};
use super::filter_headers::Refusal;
use super::peer::{Headers, Peer};
use super::{Client, Misbehaviour, Timer, Turn, record};
use crate::filter;
use crate::wire::{CommandName, FILTER_TYPE_BASIC, FilterRequest, Items, MAX_CFHEADERS, Message};

/// Ranges that a peer owes at most: enough to hide a round trip. As many are open beyond the checkpoints.
const MAX_ASKED: usize = 4;

/// Filter headers in open ranges at most, those included that have not come: a megabyte.
const MAX_OPEN: u32 = 32_000;

/// How long a range may hold up a peer that could be asked for more.
const PATIENCE: Duration = Duration::from_secs(4);

const CFHEADERS: CommandName = CommandName::new("cfheaders");

/// What is asked for and has not been taken in.
#[derive(Debug, Default)]
pub(super) struct FilterRanges {
    source: Option<ConnId>,
    /// In order; the first begins with the first filter header that is missing.
    open: VecDeque<Range>,
    /// How many ranges a peer gets at a time, if that is fewer than the most.
    shares: BTreeMap<ConnId, usize>,
}

#[derive(Debug)]
struct Range {
    start: u32,
    stop: u32,
    block: Stop,
    asked: Vec<ConnId>,
    asked_at: Instant,
    answer: Option<Answer>,
}

/// The block that a range ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    Loading(Ticket),
    Known(BlockHash),
}

/// Filter headers that follow from `previous`.
#[derive(Debug)]
struct Answer {
    from: ConnId,
    previous: FilterHeader,
    headers: Vec<FilterHeader>,
}

impl Range {
    fn count(&self) -> u32 {
        self.stop - self.start + 1
    }

    fn is_for(&self, stop_hash: BlockHash, count: usize) -> bool {
        self.block == Stop::Known(stop_hash) && self.answer.is_none() && count as u32 == self.count()
    }

    fn is_owed_by(&self, conn: ConnId) -> bool {
        self.answer.is_none() && self.asked.contains(&conn)
    }
}

impl FilterRanges {
    /// The peer that is asked for what no checkpoints cover, and whose checkpoints stand for the rest.
    pub(super) fn source(&self) -> Option<ConnId> {
        self.source
    }

    /// Whether anything is asked for that has not been taken in.
    pub(super) fn is_waiting(&self) -> bool {
        !self.open.is_empty()
    }

    /// Whether a peer owes an answer.
    pub(super) fn is_waiting_for(&self, conn: ConnId) -> bool {
        self.open.iter().any(|range| range.is_owed_by(conn))
    }

    fn owed_by(&self, conn: ConnId) -> usize {
        self.open.iter().filter(|range| range.is_owed_by(conn)).count()
    }

    fn share(&self, conn: ConnId) -> usize {
        self.shares.get(&conn).copied().unwrap_or(MAX_ASKED)
    }

    /// A peer is asked for nothing any more. Returns how many answers it owes.
    fn release(&mut self, conn: ConnId) -> u32 {
        let mut owed = 0;
        for range in self.open.iter_mut().filter(|range| range.is_owed_by(conn)) {
            range.asked.retain(|asked| *asked != conn);
            owed += 1;
        }
        self.source = self.source.filter(|source| *source != conn);
        owed
    }

    /// Nothing is asked for any more. Returns who owes answers, one for each.
    fn clear(&mut self) -> Vec<ConnId> {
        let open = core::mem::take(&mut self.open);
        open.into_iter().filter(|range| range.answer.is_none()).flat_map(|range| range.asked).collect()
    }
}

impl Client {
    /// Takes in what has come, and asks peers for the filter headers that are missing.
    pub(super) fn ask_for_filter_headers(&mut self, turn: &mut Turn<'_>) {
        self.take_filter_ranges(turn);
        if !matches!(self.phase, super::Phase::Running) {
            return;
        }
        self.compare_checkpoints(turn);
        self.ask_for_checkpoints(turn);
        self.choose_filter_header_source(turn);
        self.open_filter_ranges(turn);
        self.hand_out_filter_ranges(turn);
    }

    /// The height up to which a peer can be asked for filter headers now, if it can: as far as it has shown blocks.
    fn gives_filter_headers(&self, conn: ConnId, peer: &Peer) -> Option<u32> {
        if !peer.is_ready() || peer.passed_over.is_some() {
            return None;
        }
        let by_checkpoints = self.checkpoints.shown(conn).map(|to| to.min(self.chain.tip_height()));
        self.serves_filter_headers(peer).max(by_checkpoints)
    }

    /// Whether a peer can be asked for filter headers that follow from ours.
    fn follows_ours(&self, conn: ConnId, peer: &Peer) -> bool {
        peer.is_of_one_mind() && !self.checkpoints.differ(conn)
    }

    fn choose_filter_header_source(&mut self, turn: &Turn<'_>) {
        let next = self.filter_headers.next();
        let fit = self.peers.iter().filter(|(conn, peer)| {
            self.follows_ours(**conn, peer)
                && self.gives_filter_headers(**conn, peer).is_some_and(|to| to >= next)
        });
        let fit: Vec<ConnId> = fit.map(|(conn, _)| *conn).collect();
        let source = self.filter_ranges.source.filter(|conn| {
            // One that has nothing that is missing makes room for another that may. What a peer has can be unknown for a
            // moment, while block headers come in any order.
            self.peers.get(conn).is_some_and(|peer| {
                let ends = self.gives_filter_headers(*conn, peer).is_some_and(|to| to < next);
                self.follows_ours(*conn, peer) && (!ends || self.filter_ranges.is_waiting())
            })
        });
        // With checkpoints others can help.
        let reaches = |conn: &ConnId| self.checkpoints.reach(*conn, next);
        let relief = source.and_then(|source| self.relief_of(source, &fit, turn.now.instant));
        let chosen = match self.agreement.dispute {
            // Which filter headers are right is open.
            Some(_) => source,
            None if relief.is_some() => relief,
            None if source.as_ref().is_some_and(reaches) => source,
            None => fit.iter().copied().find(reaches).or(source).or(fit.first().copied()),
        };
        if chosen == self.filter_ranges.source {
            return;
        }
        self.filter_ranges.source = chosen;
        let Some(chosen) = chosen else { return };
        for range in &mut self.filter_ranges.open {
            let theirs = self.checkpoints.at(chosen, range.stop);
            let came = range.answer.as_ref().and_then(|answer| answer.headers.last());
            if theirs.is_some() && came.is_some() && theirs.as_ref() != came {
                // Another's word: its own is asked for.
                range.answer = None;
                range.asked.clear();
            }
        }
    }

    /// Who is to take the place of a source that takes long, if nobody can give what it owes as it is: nobody has named the
    /// same.
    fn relief_of(&self, source: ConnId, fit: &[ConnId], now: Instant) -> Option<ConnId> {
        let slow = self.filter_ranges.open.iter().find(|range| range.is_owed_by(source))?;
        if slow.asked.len() > 1 || slow.asked_at + PATIENCE > now {
            return None;
        }
        let named = self.checkpoints.at(source, slow.stop);
        let mut idle = fit.iter().copied().filter(|conn| {
            let owes_late = self.peers.get(conn).is_some_and(Peer::owes_late_filter_headers);
            *conn != source && self.filter_ranges.owed_by(*conn) == 0 && !owes_late
        });
        if named.is_some() && idle.clone().any(|conn| self.checkpoints.at(conn, slow.stop) == named) {
            return None;
        }
        let with_checkpoints = idle.clone().find(|conn| self.checkpoints.reach(*conn, slow.start));
        with_checkpoints.or_else(|| idle.next())
    }

    /// Opens as many ranges as may be open, up to where the source has blocks.
    fn open_filter_ranges(&mut self, turn: &mut Turn<'_>) {
        let Some(source) = self.filter_ranges.source else { return };
        let Some(limit) = self.peers.get(&source).and_then(|peer| self.gives_filter_headers(source, peer))
        else {
            return;
        };
        // A range that ends where block headers end is a short one: more of those are on their way.
        let grows = self.ranges.is_active() && self.peers.values().any(|peer| peer.headers == Headers::Asked);
        loop {
            let open = &self.filter_ranges.open;
            let start = open.back().map_or(self.filter_headers.next(), |range| range.stop + 1);
            let whole = start.saturating_add(MAX_CFHEADERS - 1);
            let even = whole / INTERVAL * INTERVAL;
            let checkpoint = self.checkpoints.last(source).min(even);
            let is_covered = checkpoint > 0 && (start..=limit).contains(&checkpoint);
            let stop = match is_covered {
                true => checkpoint,
                // Checkpoints are on their way.
                false if limit.saturating_sub(start) >= FAR => even,
                false => limit.min(whole),
            };
            let is_short = !is_covered && stop == limit && stop < whole;
            if start > limit || (is_short && grows) {
                return;
            }
            let count: u32 = open.iter().map(Range::count).sum();
            let uncovered = open.iter().filter(|range| self.checkpoints.at(source, range.stop).is_none());
            let has_room = is_covered || uncovered.count() < MAX_ASKED;
            if !has_room || count + (stop - start + 1) > MAX_OPEN {
                return;
            }
            let block = match self.chain.at(stop) {
                Some((_, hash)) => Stop::Known(hash),
                None => Stop::Loading(self.load_headers(turn, record::HEADERS, stop, stop)),
            };
            let asked_at = turn.now.instant;
            let range = Range { start, stop, block, asked: Vec::new(), asked_at, answer: None };
            self.filter_ranges.open.push_back(range);
        }
    }

    /// Asks peers for the ranges that nobody is asked for, next the one that owes the fewest; and who has nothing to do, for
    /// those that others take long for.
    fn hand_out_filter_ranges(&mut self, turn: &mut Turn<'_>) {
        self.timers.cancel(Timer::FilterRanges);
        if self.filter_ranges.open.iter().all(|range| range.answer.is_some()) {
            return;
        }
        let able: Vec<ConnId> = self
            .peers
            .iter()
            .filter(|(conn, peer)| {
                self.follows_ours(**conn, peer) && self.gives_filter_headers(**conn, peer).is_some()
            })
            .map(|(conn, _)| *conn)
            .collect();
        loop {
            let next = able.iter().filter_map(|conn| {
                let owed = self.filter_ranges.owed_by(*conn);
                let free = self.filter_ranges.open.iter().position(|range| {
                    range.answer.is_none() && range.asked.is_empty() && self.can_give(*conn, range)
                });
                let passed_over = self.peers.get(conn)?.times_passed_over;
                (owed < self.filter_ranges.share(*conn)).then_some((owed, passed_over, *conn, free?))
            });
            let Some((_, _, conn, place)) = next.min() else { break };
            self.ask_for_filter_range(turn, conn, place);
        }
        let mut look_again: Option<Instant> = None;
        for conn in able {
            while self.filter_ranges.owed_by(conn) == 0 {
                let mut slow = self
                    .filter_ranges
                    .open
                    .iter()
                    .enumerate()
                    .filter(|(_, range)| range.answer.is_none() && range.asked.len() == 1);
                let Some((_, lowest)) = slow.clone().next() else { break };
                let given = slow.find(|(_, range)| self.can_give(conn, range));
                // Of one that it can't give, it may become the source.
                let due = given.map_or(lowest, |(_, range)| range).asked_at + PATIENCE;
                if due > turn.now.instant {
                    look_again = Some(look_again.map_or(due, |at| at.min(due)));
                    break;
                }
                let Some((place, range)) = given else { break };
                if let Some(slow) = range.asked.first().copied() {
                    self.filter_ranges.shares.insert(slow, 1);
                }
                self.ask_for_filter_range(turn, conn, place);
            }
        }
        if let Some(at) = look_again {
            self.timers.set(Timer::FilterRanges, at);
        }
    }

    /// Whether a peer can be asked for a range: if it has named the filter header at the end as the source has, and is not
    /// still sending what others were asked for in the meantime; or if it is the source.
    fn can_give(&self, conn: ConnId, range: &Range) -> bool {
        let (Some(source), Some(peer)) = (self.filter_ranges.source, self.peers.get(&conn)) else {
            return false;
        };
        let has = self.gives_filter_headers(conn, peer).is_some_and(|to| to >= range.stop);
        if !has || matches!(range.block, Stop::Loading(_)) || range.asked.contains(&conn) {
            return false;
        }
        let same = |height: u32| self.checkpoints.at(conn, height) == self.checkpoints.at(source, height);
        match self.checkpoints.at(source, range.stop) {
            None => conn == source,
            Some(_) => {
                same(range.stop) && same(range.start.saturating_sub(1)) && !peer.owes_late_filter_headers()
            }
        }
    }

    fn ask_for_filter_range(&mut self, turn: &mut Turn<'_>, conn: ConnId, place: usize) {
        let Some(range) = self.filter_ranges.open.get_mut(place) else { return };
        let Stop::Known(stop_hash) = range.block else { return };
        range.asked.push(conn);
        range.asked_at = turn.now.instant;
        let request = FilterRequest { filter_type: FILTER_TYPE_BASIC, start_height: range.start, stop_hash };
        self.send(turn, conn, &Message::GetCFHeaders(request));
        self.asked.insert(conn);
    }

    /// Takes loaded rows, if they have the block that a range ends with. False: they have not.
    pub(super) fn filter_range_loaded(
        &mut self,
        turn: &mut Turn<'_>,
        ticket: Ticket,
        rows: Rows<'_>,
    ) -> bool {
        let mut open = self.filter_ranges.open.iter_mut();
        let Some(range) = open.find(|range| range.block == Stop::Loading(ticket)) else { return false };
        let found = record::read_headers(rows, range.stop, range.stop);
        match found.and_then(|found| found.first().map(|stored| stored.hash)) {
            Some(hash) => range.block = Stop::Known(hash),
            None => self.repair(turn, "block headers are missing or do not follow each other"),
        }
        true
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
        peer.note_answer();
        if let Some(hash) = hashes.at(0).filter(|_| hashes.len() == 1)
            && self.on_filter_header(turn, conn, stop_hash, filter::header(hash, previous))?
        {
            return Ok(());
        }
        let Some(peer) = self.peers.get_mut(&conn) else { return Ok(()) };
        let open = &self.filter_ranges.open;
        let for_it = open.iter().position(|range| range.is_for(stop_hash, hashes.len()));
        let is_owed = for_it.is_some_and(|place| open[place].is_owed_by(conn));
        if !is_owed && !peer.take_late_filter_headers() {
            let waits = self.filter_ranges.is_waiting_for(conn);
            return Err(match waits {
                true => Misbehaviour::WrongAnswer(CFHEADERS),
                false => Misbehaviour::Unrequested(CFHEADERS),
            });
        }
        let Some(place) = for_it else { return Ok(()) };
        let (start, stop) = (open[place].start, open[place].stop);
        let named = self.checkpoints.at(conn, stop);
        if !is_owed && named.is_none() {
            // Another was asked for it, and nothing shows that it is the same.
            return Ok(());
        }
        let mut headers = Vec::with_capacity(hashes.len());
        headers.extend(hashes.iter().scan(previous, |last, hash| {
            *last = filter::header(hash, *last);
            Some(*last)
        }));
        if let Some(height) = self.checkpoints.contradicted_by(conn, start, previous, &headers) {
            return Err(Misbehaviour::ContradictsOwnFilterHeader(height));
        }
        if let Some(height) = self.agreement.contradicted_by(start, &headers) {
            // It has vouched for those below as well: they are taken from the last on that are proven.
            self.drop_unproven_of(turn, conn);
            return Err(Misbehaviour::ContradictsKnownFilterHeader(height));
        }
        if let Some(block) = self.agreement.proven_false_among(start, &headers)
            && self.chain.holds(block)
        {
            return Err(Misbehaviour::FalseFilterHeader(block.height));
        }
        let source = self.filter_ranges.source;
        let wanted = source.and_then(|source| self.checkpoints.at(source, stop));
        let range = &mut self.filter_ranges.open[place];
        range.asked.retain(|other| *other != conn);
        // Else the source is another now, and does not name the same: who does is asked.
        if wanted.is_none_or(|wanted| headers.last() == Some(&wanted)) {
            range.answer = Some(Answer { from: conn, previous, headers });
            for other in core::mem::take(&mut range.asked) {
                self.expect_late_filter_headers(other, 1);
            }
        }
        if is_owed {
            let share = self.filter_ranges.share(conn);
            self.filter_ranges.shares.insert(conn, (share + 1).min(MAX_ASKED));
        }
        Ok(())
    }

    /// Takes in what has come, from the lowest on.
    fn take_filter_ranges(&mut self, turn: &mut Turn<'_>) {
        while self.filter_ranges.open.front().is_some_and(|range| range.answer.is_some())
            && let Some(Range { start, answer: Some(answer), .. }) = self.filter_ranges.open.pop_front()
        {
            assert_eq!(
                start,
                self.filter_headers.next(),
                "ranges were open of filter headers that are known"
            );
            let Answer { from, previous, headers } = answer;
            match self.filter_headers.take(previous, headers, &self.agreement) {
                Ok(new) => {
                    self.store_filter_headers(turn, &new);
                    if let Some((last, _)) = new.last() {
                        self.agrees_up_to(from, *last);
                    }
                }
                Err(refusal) => return self.refuse_filter_range(turn, from, refusal),
            }
        }
    }

    /// What a peer sent does not follow from what is known.
    fn refuse_filter_range(&mut self, turn: &mut Turn<'_>, from: ConnId, refusal: Refusal) {
        self.forget_filter_header_source();
        let Some(peer) = self.peers.get(&from) else { return };
        let result = match refusal {
            Refusal::Apart(height, _) if peer.agrees > height || self.filter_headers.next() == 0 => {
                Err(Misbehaviour::FilterHeadersDiscontinuous)
            }
            // It never said what those before are. Who is right is another question.
            Refusal::Apart(height, theirs) if self.agreement.dispute.is_none() => {
                self.begin_dispute(turn, from, height, theirs)
            }
            Refusal::Apart(..) => Ok(()),
            Refusal::Known(height) => {
                self.drop_unproven_of(turn, from);
                Err(Misbehaviour::ContradictsKnownFilterHeader(height))
            }
        };
        if let Err(misbehaviour) = result {
            self.drop_peer(turn, from, Reason::Misbehaved(misbehaviour));
        }
    }

    /// A peer has contradicted what is known beforehand: what nobody else vouches for is dropped.
    pub(super) fn drop_unproven_of(&mut self, turn: &mut Turn<'_>, conn: ConnId) {
        let proven = self.proven_filter_headers();
        let mut others = self.peers.iter().filter(|(other, peer)| **other != conn && peer.is_of_one_mind());
        if self.filter_headers.last().is_some_and(|last| last >= proven)
            && !others.any(|(_, peer)| peer.agrees > proven)
        {
            self.replace_filter_headers(turn, proven);
        }
    }

    /// A peer is gone, or passed over.
    pub(super) fn release_filter_ranges(&mut self, conn: ConnId) {
        let owed = self.filter_ranges.release(conn);
        self.expect_late_filter_headers(conn, owed);
        if !self.peers.contains_key(&conn) {
            self.filter_ranges.shares.remove(&conn);
            self.checkpoints.forget(conn);
        }
    }

    /// Waits for no filter headers any more.
    pub(super) fn forget_filter_header_source(&mut self) {
        self.forget_filter_ranges();
        self.filter_ranges.source = None;
    }

    /// The same, of what has been asked for so far.
    pub(super) fn forget_filter_ranges(&mut self) {
        for conn in self.filter_ranges.clear() {
            self.expect_late_filter_headers(conn, 1);
        }
    }

    fn expect_late_filter_headers(&mut self, conn: ConnId, messages: u32) {
        if let Some(peer) = self.peers.get_mut(&conn) {
            peer.expect_late_filter_headers(messages);
        }
    }
}
