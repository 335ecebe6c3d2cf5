//! Filter headers (BIP157): each follows from the one before it and its filter's hash, from the first block on.
//!
//! They are taken from one peer at a time, a few ranges in flight. Whether other peers agree: see `agreement`.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use andon_kernel::ConnId;
use bitcoin::hashes::Hash;
use bitcoin::{BlockHash, FilterHash, FilterHeader};

use super::agreement::Agreement;
use super::api::{BlockId, ImportError};
use super::peer::Peer;
use super::{Client, Misbehaviour, StopBlock, Then, Turn, record};
use crate::filter;
use crate::headers::WINDOW;
use crate::wire::{CommandName, FILTER_TYPE_BASIC, FilterRequest, Items, MAX_CFHEADERS, Message};

/// Ranges that are asked for ahead of the answer: enough to hide a round trip.
const MAX_ASKED: usize = 4;

/// Filter headers that are kept at most: below the block headers' window none is left that a branch could need.
const KEPT: usize = 2 * WINDOW as usize;

const CFHEADERS: CommandName = CommandName::new("cfheaders");

/// The chain of filter headers, as far as it is known.
#[derive(Debug, Default)]
pub(super) struct FilterHeaders {
    /// The last of them; the first one here is the one at height `next - window.len()`.
    window: VecDeque<FilterHeader>,
    /// The height of the first one that is not known.
    next: u32,
    /// The height of the first one there can be. If it is not the network's first block, the one at that height comes as
    /// the predecessor of the next.
    start: u32,
    asked: VecDeque<Asked>,
    source: Option<ConnId>,
    /// So many, from the first block on, were enough peers' at some time.
    trusted: u32,
}

/// Why an answer is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    /// It follows from another filter header at this height.
    Apart(u32, FilterHeader),
    /// The filter header that is known at this height is another.
    Known(u32),
}

#[derive(Debug)]
struct Asked {
    start: u32,
    stop: BlockId,
    answer: Option<(FilterHeader, Vec<FilterHash>)>,
}

impl Asked {
    fn is_for(&self, stop_hash: BlockHash, count: usize) -> bool {
        self.stop.hash == stop_hash
            && self.answer.is_none()
            && count as u32 == self.stop.height - self.start + 1
    }
}

impl FilterHeaders {
    /// None yet, of a chain that starts at this height.
    pub(super) fn new(start: u32) -> Self {
        Self { start, next: if start == 0 { 0 } else { start + 1 }, ..Self::default() }
    }

    /// Takes up stored ones of a chain that starts at `start`: the last of them, ending below height `next`.
    pub(super) fn restore(start: u32, next: u32, window: VecDeque<FilterHeader>) -> Self {
        Self { window, next, start, ..Self::default() }
    }

    /// The height from which filters can be checked.
    pub(super) fn first_filter(&self) -> u32 {
        if self.start == 0 { 0 } else { self.start + 1 }
    }

    /// Whether the one that the first is to follow from is still to come.
    fn lacks_base(&self) -> bool {
        self.start > 0 && self.window.is_empty()
    }

    /// The height of the first one that is not known.
    pub(super) fn next(&self) -> u32 {
        self.next
    }

    /// The height of the last one that is known.
    pub(super) fn last(&self) -> Option<u32> {
        self.next.checked_sub(1).filter(|_| !self.window.is_empty())
    }

    /// The one at a height, if it is at hand. The one below height zero is all zeros.
    pub(super) fn before(&self, height: u32) -> Option<FilterHeader> {
        let Some(height) = height.checked_sub(1) else { return Some(FilterHeader::all_zeros()) };
        let back = self.next.checked_sub(height).filter(|&back| back > 0)? as usize;
        self.window.get(self.window.len().checked_sub(back)?).copied()
    }

    /// How many, from the first block on, were enough peers' at some time.
    pub(super) fn trusted(&self) -> u32 {
        // Filters are searched above the block that the chain starts with.
        self.trusted.max(self.first_filter())
    }

    /// Notes that so many are.
    pub(super) fn trust(&mut self, count: u32) {
        self.trusted = self.trusted.max(count);
    }

    /// Forgets those from the height `from` on. What was asked for is asked anew.
    pub(super) fn truncate(&mut self, from: u32) -> Option<(ConnId, u32)> {
        let surplus = self.next.saturating_sub(from);
        for _ in 0..surplus {
            self.window.pop_back();
        }
        self.next = (self.next - surplus).max(self.first_filter());
        self.trusted = self.trusted.min(from);
        self.set_source(self.source)
    }

    /// The peer that is asked, if one is.
    pub(super) fn source(&self) -> Option<ConnId> {
        self.source
    }

    /// Asks this peer from now on. Returns the one that was asked before, with how many answers it owes.
    pub(super) fn set_source(&mut self, source: Option<ConnId>) -> Option<(ConnId, u32)> {
        let owed = self.asked.iter().filter(|asked| asked.answer.is_none()).count() as u32;
        self.asked.clear();
        core::mem::replace(&mut self.source, source).map(|before| (before, owed))
    }

    /// Whether the source owes an answer.
    pub(super) fn is_waiting(&self) -> bool {
        !self.asked.is_empty()
    }

    /// The last height of the next range to ask for, up to `limit`, if there is room for one more.
    pub(super) fn next_stop(&self, limit: u32) -> Option<u32> {
        let start = self.next_start();
        (self.asked.len() < MAX_ASKED && start <= limit).then(|| limit.min(start + MAX_CFHEADERS - 1))
    }

    /// Notes that the source is asked for the next range, which ends with `stop`.
    pub(super) fn ask(&mut self, stop: BlockId) -> FilterRequest {
        let start = self.next_start();
        self.asked.push_back(Asked { start, stop, answer: None });
        FilterRequest { filter_type: FILTER_TYPE_BASIC, start_height: start, stop_hash: stop.hash }
    }

    fn next_start(&self) -> u32 {
        self.asked.back().map_or(self.next, |asked| asked.stop.height + 1)
    }

    /// Whether an answer that ends with `stop_hash` and has `count` filter hashes is waited for.
    fn expects(&self, stop_hash: BlockHash, count: usize) -> bool {
        self.asked.iter().any(|asked| asked.is_for(stop_hash, count))
    }

    /// Takes an answer that is expected. Returns the heights and values that are new, in order and possibly none yet, and why
    /// what follows them is not taken, if it is not.
    fn answer(
        &mut self,
        stop_hash: BlockHash,
        previous: FilterHeader,
        hashes: Items<'_, FilterHash>,
        agreement: &Agreement,
    ) -> (Vec<(u32, FilterHeader)>, Result<(), Refusal>) {
        let asked = self.asked.iter_mut().find(|asked| asked.is_for(stop_hash, hashes.len()));
        asked.expect("the answer is expected").answer = Some((previous, hashes.iter().collect()));
        let mut new = Vec::new();
        let mut taken_all = Ok(());
        while let Some((previous, hashes)) = self.asked.front_mut().and_then(|asked| asked.answer.take()) {
            self.asked.pop_front();
            let mut taken = Vec::with_capacity(hashes.len() + 1);
            if self.lacks_base() {
                taken.push((self.next - 1, previous));
            } else if self.before(self.next) != Some(previous) {
                taken_all = Err(Refusal::Apart(self.next.saturating_sub(1), previous));
                break;
            }
            let mut header = previous;
            for (height, hash) in (self.next..).zip(hashes) {
                header = filter::header(hash, header);
                taken.push((height, header));
            }
            let headers: Vec<FilterHeader> = taken.iter().map(|(_, header)| *header).collect();
            let first = taken.first().map_or(self.next, |(height, _)| *height);
            if let Some(height) = agreement.contradicted_by(first, &headers) {
                taken_all = Err(Refusal::Known(height));
                break;
            }
            self.window.extend(headers);
            self.next = taken.last().map_or(self.next, |(height, _)| height + 1);
            new.append(&mut taken);
        }
        self.trim();
        (new, taken_all)
    }

    fn trim(&mut self) {
        let surplus = self.window.len().saturating_sub(KEPT);
        self.window.drain(..surplus);
    }

    /// Takes some that come from elsewhere, from the height `from` on, for blocks up to `tip`. Returns those that are new.
    pub(super) fn import(
        &mut self,
        from: u32,
        headers: &[FilterHeader],
        tip: u32,
    ) -> Result<Vec<(u32, FilterHeader)>, ImportError> {
        let base = if self.lacks_base() { self.start } else { self.next };
        let end = u32::try_from(headers.len()).ok().and_then(|count| from.checked_add(count));
        if from > base || end.is_none_or(|end| end > tip + 1) {
            return Err(ImportError::FilterHeadersUnconnected);
        }
        let mut new = Vec::new();
        for (height, header) in (from..).zip(headers) {
            if height < base {
                let known = height.checked_add(1).and_then(|above| self.before(above));
                if known.is_some_and(|known| known != *header) {
                    return Err(ImportError::FilterHeadersContradict { height });
                }
                continue;
            }
            new.push((height, *header));
        }
        for (height, header) in &new {
            self.window.push_back(*header);
            self.next = height + 1;
        }
        self.trim();
        Ok(new)
    }
}

impl Client {
    /// Asks the source of filter headers for those that are missing, or chooses another source.
    pub(super) fn ask_for_filter_headers(&mut self, turn: &mut Turn<'_>) {
        let next = self.filter_headers.next();
        if self.filter_headers.source().is_none() {
            let mut able = self
                .peers
                .iter()
                .filter(|(_, peer)| peer.is_of_one_mind() && self.agreement.dispute.is_none())
                .filter(|(_, peer)| self.serves_filter_headers(peer).is_some_and(|best| best >= next));
            let Some(source) = able.next().map(|(conn, _)| *conn) else { return };
            self.filter_headers.set_source(Some(source));
        }
        let Some(source) = self.filter_headers.source() else { return };
        let Some(best) = self.peers.get(&source).and_then(|peer| self.serves_filter_headers(peer)) else {
            return;
        };
        if best < next && !self.filter_headers.is_waiting() {
            // It has nothing that is missing. Another may.
            self.filter_headers.set_source(None);
            return;
        }
        while let Some(height) = self.filter_headers.next_stop(best) {
            let Some(stop) = self.filter_header_stop(turn, height) else { return };
            let request = self.filter_headers.ask(stop);
            self.send(turn, source, &Message::GetCFHeaders(request));
            self.asked.insert(source);
        }
    }

    /// The height up to which a peer can be asked for filter headers now, if it can: also while it is still showing its
    /// block headers, for filter headers that follow right behind need no block looked up in the store.
    pub(super) fn serves_filter_headers(&self, peer: &Peer) -> Option<u32> {
        if !peer.is_ready() || peer.passed_over.is_some() {
            return None;
        }
        self.chain.common(peer.best?)
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
        let ticket = self.load_headers(turn, record::HEADERS, height, height);
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
        peer.note_answer();
        if let Some(hash) = hashes.at(0).filter(|_| hashes.len() == 1)
            && self.on_filter_header(turn, conn, stop_hash, filter::header(hash, previous))?
        {
            return Ok(());
        }
        let Some(peer) = self.peers.get_mut(&conn) else { return Ok(()) };
        if self.filter_headers.source() != Some(conn) || !self.filter_headers.expects(stop_hash, hashes.len())
        {
            return if peer.take_late_filter_headers() {
                Ok(())
            } else if self.filter_headers.source() == Some(conn) && self.filter_headers.is_waiting() {
                Err(Misbehaviour::WrongAnswer(CFHEADERS))
            } else {
                Err(Misbehaviour::Unrequested(CFHEADERS))
            };
        }
        let agreed = peer.agrees;
        let (new, taken_all) = self.filter_headers.answer(stop_hash, previous, hashes, &self.agreement);
        self.store_filter_headers(turn, &new);
        if let Some((last, _)) = new.last() {
            self.agrees_up_to(conn, *last);
        }
        match taken_all {
            Ok(()) => Ok(()),
            Err(Refusal::Apart(height, _)) if agreed > height || self.filter_headers.next() == 0 => {
                Err(Misbehaviour::FilterHeadersDiscontinuous)
            }
            Err(Refusal::Apart(height, theirs)) => {
                // It never said what those before are. Who is right is another question.
                self.forget_filter_header_source();
                match self.agreement.dispute {
                    None => self.begin_dispute(turn, conn, height, theirs),
                    Some(_) => Ok(()),
                }
            }
            Err(Refusal::Known(height)) => {
                // It has vouched for those below as well: they are taken from the last on that are proven.
                let proven = self.proven_filter_headers();
                if proven < self.filter_headers.next() {
                    self.replace_filter_headers(turn, proven);
                }
                Err(Misbehaviour::ContradictsKnownFilterHeader(height))
            }
        }
    }

    /// Makes new filter headers durable: with those that stand before them in their row.
    pub(super) fn store_filter_headers(&mut self, turn: &mut Turn<'_>, new: &[(u32, FilterHeader)]) {
        let Some(&(from, _)) = new.first() else { return };
        let (first, row) = self.filter_header_row(from).unwrap_or((from, Vec::new()));
        self.store(turn, Vec::new(), Then::Nothing, |batch| {
            let headers = row.iter().copied().chain(new.iter().map(|(_, header)| *header));
            record::put_filter_headers(batch, first, headers);
        });
    }

    /// The filter headers that stand before the one at `height` in its row, if there are any: from which height on.
    pub(super) fn filter_header_row(&self, height: u32) -> Option<(u32, Vec<FilterHeader>)> {
        let first = record::row_first(self.chain.start().height(), height);
        let end = height.min(self.filter_headers.next());
        let row: Vec<FilterHeader> = (first..end)
            .map(|height| {
                let header = self.filter_headers.before(height + 1);
                header.expect("the filter headers of the last rows are at hand")
            })
            .collect();
        (!row.is_empty()).then_some((first, row))
    }

    /// Forgets filter headers of blocks that are no longer in the chain.
    pub(super) fn forget_filter_headers_above(&mut self, height: u32) {
        self.forget_filter_headers_from(height + 1);
    }

    /// Forgets filter headers from a height on, and what peers said of them.
    pub(super) fn forget_filter_headers_from(&mut self, from: u32) {
        self.forget_agreement_from(from);
        let owed = self.filter_headers.truncate(from);
        if let Some((conn, owed)) = owed
            && let Some(peer) = self.peers.get_mut(&conn)
        {
            peer.expect_late_filter_headers(owed);
        }
        self.filter_header_stop = StopBlock::Unknown;
    }

    /// Waits for no filter headers any more.
    pub(super) fn forget_filter_header_source(&mut self) {
        let owed = self.filter_headers.set_source(None);
        if let Some((conn, owed)) = owed
            && let Some(peer) = self.peers.get_mut(&conn)
        {
            peer.expect_late_filter_headers(owed);
        }
        self.filter_header_stop = StopBlock::Unknown;
    }
}
