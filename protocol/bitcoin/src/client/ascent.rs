//! Chains of little work, and branches from below the window: one at a time, of one peer, shown before any of it is kept
//! (`WorkProof`). A branch is staged on the disk when it has shown its work, and becomes the best chain from there. One
//! that ends before it has rests: what its peer adds to it is taken up from there, unless another chain needs the place.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::Bound;
use core::time::Duration;

use andon_kernel::{ConnId, Instant, Order, Rows, Ticket};
use bitcoin::block::Header;
use bitcoin::hashes::Hash;
use bitcoin::{BlockHash, Work};

use super::api::{BlockId, Event};
use super::peer::Headers;
use super::record::{self, StoredHeader, Tip};
use super::{Client, Misbehaviour, Then, Timer, Turn};
use crate::headers::{HeaderError, Kept, Lineage, PERIOD, Place, WorkProof, WorkProofError};
use crate::wire::{Items, MAX_HEADERS};

/// Headers by which a chain may be longer than its peer claimed when it connected.
const CLAIM_SLACK: u32 = 20_000;

/// Chains without enough work, or answers with nothing new, that a peer may show, and none that becomes the best, before it
/// is let go.
pub(super) const MAX_FRUITLESS: u32 = 10;

/// How long a peer may take to show a chain, and how many headers a second buy it more time after that: less than the
/// slowest line that is in use brings. Nothing is told to be complete while a peer is showing one.
const PATIENCE: Duration = Duration::from_secs(10 * 60);
const LEAST_PER_SECOND: u32 = 100;

/// How much faster than it should a network may have found blocks, from any block on: the first testnet's are six times as
/// many as its age says.
const MAX_HASTE: u64 = 10;

/// Headers that an announcement has at most, as Bitcoin Core sends them.
pub(super) const MAX_ANNOUNCED: usize = 8;

/// Headers below a post that are loaded with it: the times before it are among them.
const BELOW_POST: u32 = record::ROW;

/// What is being done about a chain that can't be judged at once.
#[derive(Debug)]
pub(super) enum Ascent {
    /// The headers before the block that it branches off from are being loaded.
    Loading {
        conn: ConnId,
        ticket: Ticket,
        post: BlockId,
    },
    Proving(Box<Proving>),
    /// It is staged, and compared with the best chain to see where they part.
    Comparing(Comparing),
}

#[derive(Debug)]
pub(super) struct Proving {
    conn: ConnId,
    proof: WorkProof,
    purpose: Purpose,
    /// Of a staged branch: the headers of its last row, and the work up to the last of them.
    row: Vec<Header>,
    row_first: u32,
    work: Work,
    /// Whether its peer has shown all that it has: another chain may take its place.
    rests: bool,
    /// Since when its peer is showing it.
    since: Instant,
}

#[derive(Debug)]
pub(super) struct Comparing {
    /// The height below the staged branch.
    base: u32,
    to: Tip,
    /// The next height to compare.
    next: u32,
    ticket: Ticket,
    /// Loaded from the staged branch; the best chain's come next.
    staged: Option<Vec<StoredHeader>>,
}

/// What a chain is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It goes on from the tip.
    Extend,
    /// It branches off below.
    Stage,
    /// It branches off below the start, and is told to the application.
    Report,
}

impl Client {
    /// Whether a chain of this peer is under way.
    pub(super) fn is_ascending(&self, conn: ConnId) -> bool {
        matches!(&self.ascent, Some(Ascent::Proving(proving)) if proving.conn == conn)
    }

    /// Loads what it takes to judge a branch from a block far below the window.
    pub(super) fn load_ascent(&mut self, turn: &mut Turn<'_>, conn: ConnId, post: BlockId) {
        if !self.can_ascend(turn) {
            return self.withhold(turn, conn);
        }
        let low = post.height - BELOW_POST;
        let ticket = self.load_headers(turn, record::HEADERS, low, post.height);
        self.ascent = Some(Ascent::Loading { conn, ticket, post });
    }

    /// Begins to look at a chain after `base`, of which `headers` are the first.
    pub(super) fn begin_ascent(
        &mut self,
        turn: &mut Turn<'_>,
        conn: ConnId,
        base: Lineage,
        headers: Items<'_, Header>,
    ) -> Result<(), Misbehaviour> {
        let extends = base.block() == self.chain.tip();
        let purpose = if extends { Purpose::Extend } else { Purpose::Stage };
        self.ascend(turn, conn, base, purpose, headers)
    }

    pub(super) fn ascend(
        &mut self,
        turn: &mut Turn<'_>,
        conn: ConnId,
        base: Lineage,
        purpose: Purpose,
        headers: Items<'_, Header>,
    ) -> Result<(), Misbehaviour> {
        if !self.can_ascend(turn) {
            self.withhold(turn, conn);
            return Ok(());
        }
        self.start_proof(turn, conn, base, purpose);
        // What lies before the base is known.
        let skip = headers.iter().position(|header| header.prev_blockhash == *base.hash());
        if let Some(skip) = skip {
            return self.prove(turn, conn, headers.hashed().skip(skip), headers.len());
        }
        // They go on from a branch that is kept, and which begins further down.
        self.ask_headers(turn, conn, &[*base.hash()], BlockHash::all_zeros());
        Ok(())
    }

    /// Whether there is room for a chain. One that rests makes it.
    fn can_ascend(&mut self, turn: &mut Turn<'_>) -> bool {
        if matches!(&self.ascent, Some(Ascent::Proving(proving)) if proving.rests) {
            self.drop_ascent(turn);
        }
        self.ascent.is_none()
    }

    /// The last block of the chain of this peer that rests, if one does.
    pub(super) fn resting(&self, of: ConnId) -> Option<BlockHash> {
        match &self.ascent {
            Some(Ascent::Proving(proving)) if proving.conn == of && proving.rests => {
                Some(*proving.proof.last().hash())
            }
            _ => None,
        }
    }

    fn start_proof(&mut self, turn: &Turn<'_>, conn: ConnId, base: Lineage, purpose: Purpose) {
        let claimed = self.peers.get(&conn).map_or(0, |peer| peer.claimed);
        let rules = self.chain.rules().clone();
        // A claim costs nothing: it counts for no more than the time since the base allows, or than we have above it.
        let age = turn.now.unix.as_secs().saturating_sub(base.time().into());
        let plausible = u32::try_from(age / rules.spacing() * MAX_HASTE).unwrap_or(u32::MAX);
        let ours = self.chain.tip_height().saturating_sub(base.height());
        let above = claimed.saturating_sub(base.height()).min(plausible.max(ours));
        let limit = above.saturating_add(CLAIM_SLACK);
        let proof = WorkProof::new(rules, base, self.chain.goal(), limit, turn.now.unix, &mut self.rng);
        self.ascent = Some(Ascent::Proving(Box::new(Proving {
            conn,
            proof,
            purpose,
            row: Vec::new(),
            row_first: base.height() + 1,
            work: base.work(),
            rests: false,
            since: turn.now.instant,
        })));
    }

    pub(super) fn on_ascent(
        &mut self,
        turn: &mut Turn<'_>,
        conn: ConnId,
        headers: Items<'_, Header>,
    ) -> Result<(), Misbehaviour> {
        let Some(Ascent::Proving(proving)) = &self.ascent else { return Ok(()) };
        let last = *proving.proof.last().hash();
        // What it showed before may come once more.
        if let Some(skip) = headers.iter().position(|header| header.prev_blockhash == last) {
            return self.prove(turn, conn, headers.hashed().skip(skip), headers.len());
        }
        if proving.rests {
            return self.on_rest(turn, conn, headers);
        }
        if (1..=MAX_ANNOUNCED).contains(&headers.len()) {
            // An announcement in between.
            return Ok(());
        }
        // It has no more, or is on another chain by now.
        self.fruitless(turn, conn, headers.is_empty())
    }

    /// Takes headers that do not go on from the chain that rests.
    fn on_rest(
        &mut self,
        turn: &mut Turn<'_>,
        conn: ConnId,
        headers: Items<'_, Header>,
    ) -> Result<(), Misbehaviour> {
        let asked = self.peers.get(&conn).is_some_and(|peer| peer.headers == Headers::Asked);
        match headers.at(0).map(|first| self.chain.place(&first.prev_blockhash)) {
            None if asked => {
                self.timers.cancel(Timer::Headers(conn));
                self.headers_shown(turn, conn, true);
            }
            None => {}
            // It is further than that: what is between is asked for.
            Some(Place::Unknown) if !asked => self.ask_for_headers_anew(conn),
            Some(Place::Unknown) => {}
            // It is on another chain by now.
            Some(_) => {
                self.drop_ascent(turn);
                return self.on_headers(turn, conn, headers);
            }
        }
        Ok(())
    }

    fn prove(
        &mut self,
        turn: &mut Turn<'_>,
        conn: ConnId,
        headers: impl Iterator<Item = (Header, BlockHash)>,
        count: usize,
    ) -> Result<(), Misbehaviour> {
        let Some(Ascent::Proving(proving)) = &mut self.ascent else { return Ok(()) };
        let Some(peer) = self.peers.get_mut(&conn) else { return Ok(()) };
        peer.note_answer();
        if peer.headers != Headers::Asked {
            // It goes on from where it rested.
            proving.since = turn.now.instant;
        }
        let mut released = Vec::new();
        let kept = match proving.proof.take(headers, turn.now.unix, &mut released) {
            Ok(kept) => kept,
            Err(error) => {
                self.drop_ascent(turn);
                return match error {
                    WorkProofError::Invalid(HeaderError::NotYet) => {
                        self.withhold(turn, conn);
                        Ok(())
                    }
                    WorkProofError::Invalid(error) => Err(Misbehaviour::InvalidHeader(error)),
                    WorkProofError::Discontinuous => Err(Misbehaviour::HeadersDiscontinuous),
                    WorkProofError::TooLong => Err(Misbehaviour::LowWorkChain),
                    _ => Err(Misbehaviour::ChangedChain),
                };
            }
        };
        let (base, last, purpose) = (*proving.proof.base(), *proving.proof.last(), proving.purpose);
        let proven = proving.proof.proven();
        proving.rests &= proven.is_none();
        let shown = [last.height(), proven.map_or(base.height(), |(height, _)| height)];
        let shown: u32 = shown.into_iter().map(|height| height - base.height()).sum();
        let patience = PATIENCE + Duration::from_secs(u64::from(shown / LEAST_PER_SECOND));
        let too_slow = turn.now.instant.since(proving.since) > patience;
        match purpose {
            Purpose::Extend => {
                let tip = self.chain.tip().hash;
                if released.first().is_some_and(|first| first.prev_blockhash != tip) {
                    // Another chain was faster: this one is looked at again, beside it.
                    self.drop_ascent(turn);
                    self.ask_for_headers_anew(conn);
                    return Ok(());
                }
                for headers in released.chunks(MAX_HEADERS) {
                    let hashed = headers.iter().map(|header| (*header, header.block_hash()));
                    let taken = self.chain.take_worked(hashed, turn.now.unix);
                    self.chain_changed(turn, &taken);
                }
            }
            Purpose::Stage if !released.is_empty() => self.stage(turn, &released),
            _ => {}
        }
        match kept {
            // Others are heard first. It may begin again.
            Kept::More if count == MAX_HEADERS && too_slow => return self.give_up_ascent(turn, conn),
            Kept::More if count == MAX_HEADERS => {
                self.ask_headers(turn, conn, &[*last.hash()], BlockHash::all_zeros());
            }
            Kept::More if proven.is_some() => return self.fruitless(turn, conn, false),
            Kept::More => return self.rest(turn, conn),
            Kept::Again if purpose == Purpose::Report => {
                self.drop_ascent(turn);
                let (height, work) = proven.expect("it has just shown its work");
                self.report_heavier(turn, conn, height, work);
            }
            Kept::Again => self.ask_headers(turn, conn, &[*base.hash()], BlockHash::all_zeros()),
            Kept::Done => {
                if let Some(peer) = self.peers.get_mut(&conn) {
                    peer.fruitless = 0;
                }
                match purpose {
                    Purpose::Stage => {
                        // It is asked for more when it is clear where the branch begins: what it would answer now would go
                        // on from a chain that is about to be left.
                        self.timers.cancel(Timer::Headers(conn));
                        let to = Tip { block: last.block(), work: last.work() };
                        self.compare(turn, base.height(), to, base.height() + 1);
                    }
                    Purpose::Extend | Purpose::Report => {
                        self.ascent = None;
                        self.ask_for_headers_anew(conn);
                    }
                }
            }
        }
        Ok(())
    }

    /// A chain has ended without the work that is asked of it: it may go on.
    fn rest(&mut self, turn: &mut Turn<'_>, conn: ConnId) -> Result<(), Misbehaviour> {
        let Some(Ascent::Proving(proving)) = &mut self.ascent else { return Ok(()) };
        let base = proving.proof.base().block();
        let last = proving.proof.last().block();
        if self.chain.holds(last) {
            return self.shown_the_best(turn, conn, last);
        }
        let rested = core::mem::replace(&mut proving.rests, true);
        let Some(peer) = self.peers.get_mut(&conn) else { return Ok(()) };
        peer.fruitless += u32::from(!rested);
        if peer.fruitless > MAX_FRUITLESS {
            return Err(Misbehaviour::LowWorkChain);
        }
        peer.best = Some(base);
        self.timers.cancel(Timer::Headers(conn));
        self.headers_shown(turn, conn, false);
        Ok(())
    }

    /// A chain was not shown to the end that its peer had begun to show: it has no more of it, or has left it.
    fn fruitless(&mut self, turn: &mut Turn<'_>, conn: ConnId, nothing: bool) -> Result<(), Misbehaviour> {
        let Some(Ascent::Proving(proving)) = &self.ascent else { return Ok(()) };
        let base = proving.proof.base().block();
        let last = proving.proof.last().block();
        if nothing && self.chain.holds(last) {
            return self.shown_the_best(turn, conn, last);
        }
        self.drop_ascent(turn);
        let Some(peer) = self.peers.get_mut(&conn) else { return Ok(()) };
        peer.fruitless += 1;
        if peer.fruitless > MAX_FRUITLESS {
            return Err(Misbehaviour::LowWorkChain);
        }
        peer.best = Some(base);
        self.timers.cancel(Timer::Headers(conn));
        if nothing {
            self.headers_shown(turn, conn, false);
        } else {
            self.ask_for_headers_anew(conn);
        }
        Ok(())
    }

    /// A chain takes too long.
    fn give_up_ascent(&mut self, turn: &mut Turn<'_>, conn: ConnId) -> Result<(), Misbehaviour> {
        self.drop_ascent(turn);
        self.withhold(turn, conn);
        let Some(peer) = self.peers.get_mut(&conn) else { return Ok(()) };
        peer.fruitless += 1;
        if peer.fruitless > MAX_FRUITLESS { Err(Misbehaviour::LowWorkChain) } else { Ok(()) }
    }

    /// What was shown from far down is the best chain, up to this block.
    fn shown_the_best(
        &mut self,
        turn: &mut Turn<'_>,
        conn: ConnId,
        last: BlockId,
    ) -> Result<(), Misbehaviour> {
        self.drop_ascent(turn);
        if let Some(peer) = self.peers.get_mut(&conn) {
            peer.best = Some(last);
        }
        self.timers.cancel(Timer::Headers(conn));
        self.headers_shown(turn, conn, false);
        Ok(())
    }

    fn report_heavier(&mut self, turn: &mut Turn<'_>, conn: ConnId, height: u32, work: Work) {
        let Some(peer) = self.peers.get(&conn) else { return };
        let endpoint = peer.endpoint.clone();
        turn.out.event(Event::HeavierBelowStart { endpoint, height, work });
        // It serves another chain: nothing of it is of use here.
        self.drop_peer(turn, conn, super::Reason::OtherChain);
    }

    /// Gives up what is under way, with what was staged of it.
    pub(super) fn drop_ascent(&mut self, turn: &mut Turn<'_>) {
        if self.ascent.take().is_some() {
            self.store(turn, Vec::new(), Then::Nothing, |batch| batch.delete_from(record::STAGED, &[]));
        }
    }

    /// The best chain was left above `fork`: a branch that was judged from above there is none of it any more.
    pub(super) fn ascent_left(&mut self, turn: &mut Turn<'_>, fork: u32) {
        let conn = match &self.ascent {
            Some(Ascent::Proving(proving))
                if proving.purpose == Purpose::Stage && proving.proof.base().height() > fork =>
            {
                Some(proving.conn)
            }
            // It may have been compared with what is no more.
            Some(Ascent::Comparing(_)) => None,
            _ => return,
        };
        self.drop_ascent(turn);
        match conn {
            Some(conn) => self.ask_for_headers_anew(conn),
            None => self.connections().into_iter().for_each(|conn| self.ask_for_headers_anew(conn)),
        }
    }

    /// A peer is gone: what it was showing is given up, unless it is all here.
    pub(super) fn ascent_lost(&mut self, turn: &mut Turn<'_>, gone: ConnId) {
        let of = match &self.ascent {
            Some(Ascent::Loading { conn, .. }) => Some(*conn),
            Some(Ascent::Proving(proving)) => Some(proving.conn),
            Some(Ascent::Comparing(_)) | None => None,
        };
        if of == Some(gone) {
            self.drop_ascent(turn);
        }
    }

    /// Stages headers that have shown their work.
    fn stage(&mut self, turn: &mut Turn<'_>, headers: &[Header]) {
        let Some(Ascent::Proving(proving)) = &mut self.ascent else { return };
        let Proving { row, row_first, work, .. } = &mut **proving;
        let begins = row.is_empty();
        let first = *row_first;
        let mut works = Vec::new();
        for (height, header) in (first + row.len() as u32..).zip(headers) {
            if height.is_multiple_of(PERIOD) {
                works.push((height, *work));
            }
            if height.is_multiple_of(record::ROW) {
                *row_first = height;
            }
            *work = *work + header.work();
        }
        let all: Vec<Header> = row.iter().chain(headers).copied().collect();
        *row = all[(*row_first - first) as usize..].to_vec();
        // A row that is put again begins a period only if all of it is new.
        if first.is_multiple_of(PERIOD) && !works.iter().any(|(at, _)| *at == first) {
            let before = all.iter().rev().fold(*work, |work, header| work - header.work());
            works.push((first, before));
        }
        self.store(turn, Vec::new(), Then::Nothing, |batch| {
            if begins {
                // An earlier one may have been cut short.
                batch.delete_from(record::STAGED, &[]);
            }
            let work = |height| works.iter().find(|(at, _)| *at == height).map(|(_, work)| *work);
            record::put_headers(batch, record::STAGED, first, &all, work);
        });
    }

    /// Loads the next page of a staged branch, to see where it leaves the best chain.
    fn compare(&mut self, turn: &mut Turn<'_>, base: u32, to: Tip, next: u32) {
        let high = (next + PERIOD - 1).min(to.block.height);
        let ticket = self.load_rows(turn, record::STAGED, base + 1, next, high);
        self.ascent = Some(Ascent::Comparing(Comparing { base, to, next, ticket, staged: None }));
    }

    /// Takes rows that were loaded for what is under way. False: they were loaded for something else.
    pub(super) fn ascent_loaded(&mut self, turn: &mut Turn<'_>, ticket: Ticket, rows: Rows<'_>) -> bool {
        match &mut self.ascent {
            Some(Ascent::Loading { conn, ticket: asked, post }) if *asked == ticket => {
                let (conn, post) = (*conn, *post);
                self.ascent = None;
                self.begin_from_post(turn, conn, post, rows);
                true
            }
            Some(Ascent::Comparing(comparing)) if comparing.ticket == ticket => {
                self.compared(turn, rows);
                true
            }
            _ => false,
        }
    }

    fn begin_from_post(&mut self, turn: &mut Turn<'_>, conn: ConnId, post: BlockId, rows: Rows<'_>) {
        let low = post.height - BELOW_POST;
        let mut headers = Vec::new();
        let mut work = None;
        for (key, value) in rows.iter() {
            match record::read_header_row(key, value, &mut headers) {
                Some(before) => work = before.or(work),
                None => return self.repair(turn, "block headers do not follow each other"),
            }
        }
        headers.retain(|stored| (low..=post.height).contains(&stored.height));
        let last =
            headers.last().filter(|last| last.hash == post.hash && headers.len() as u32 == BELOW_POST + 1);
        let (Some(last), Some(work)) = (last, work) else {
            return self.repair(turn, "block headers are missing");
        };
        let work = work + last.header.work();
        let headers: Vec<Header> = headers.iter().map(|stored| stored.header).collect();
        let Some(base) = Lineage::from_headers(self.chain.rules(), &headers, post.height, work) else {
            return self.repair(turn, "a block header lacks its proof of work");
        };
        if self.peers.contains_key(&conn) {
            self.start_proof(turn, conn, base, Purpose::Stage);
            self.ask_headers(turn, conn, &[post.hash], BlockHash::all_zeros());
        }
    }

    fn compared(&mut self, turn: &mut Turn<'_>, rows: Rows<'_>) {
        let Some(Ascent::Comparing(comparing)) = &mut self.ascent else { return };
        let Comparing { base, to, next, .. } = *comparing;
        let high = (next + PERIOD - 1).min(to.block.height);
        let Some(staged) = comparing.staged.take() else {
            let Some(staged) = record::read_headers(rows, next, high) else {
                return self.repair(turn, "headers of a branch are missing");
            };
            let tip = self.chain.tip_height();
            if next > tip {
                return self.switch_from(turn, tip, to);
            }
            let ticket = self.load_headers(turn, record::HEADERS, next, high.min(tip));
            self.ascent = Some(Ascent::Comparing(Comparing { base, to, next, ticket, staged: Some(staged) }));
            return;
        };
        let mut ours = Vec::new();
        for (key, value) in rows.iter() {
            if record::read_header_row(key, value, &mut ours).is_none() {
                return self.repair(turn, "block headers do not follow each other");
            }
        }
        let ours: Vec<&StoredHeader> = ours.iter().filter(|stored| stored.height >= next).collect();
        let same =
            staged.iter().zip(&ours).take_while(|(theirs, ours)| theirs.hash == ours.hash).count() as u32;
        if same == staged.len() as u32 && high < to.block.height {
            return self.compare(turn, base, to, high + 1);
        }
        self.switch_from(turn, next + same - 1, to);
    }

    /// Switches to the staged branch that leaves the best chain after `fork`, if it still has more work.
    fn switch_from(&mut self, turn: &mut Turn<'_>, fork: u32, to: Tip) {
        if to.work <= self.chain.work() {
            self.drop_ascent(turn);
            return self.connections().into_iter().for_each(|conn| self.ask_for_headers_anew(conn));
        }
        self.ascent = None;
        self.begin_switch(turn, fork, to);
    }

    /// Loads the rows that hold headers of the best chain.
    pub(super) fn load_headers(
        &mut self,
        turn: &mut Turn<'_>,
        space: andon_kernel::Space,
        from: u32,
        to: u32,
    ) -> Ticket {
        let start = self.chain.start().height();
        self.load_rows(turn, space, start, from, to)
    }

    /// Loads the rows that hold a range of heights, of a space whose first row begins at `start`.
    pub(super) fn load_rows(
        &mut self,
        turn: &mut Turn<'_>,
        space: andon_kernel::Space,
        start: u32,
        from: u32,
        to: u32,
    ) -> Ticket {
        let ticket = self.names.ticket();
        let low = record::height_key(record::row_first(start, from));
        let high = record::height_key(to);
        let range = (Bound::Included(&low[..]), Bound::Included(&high[..]));
        turn.out.load(ticket, space, range, Order::Ascending, (to - from) / record::ROW + 2);
        ticket
    }
}
