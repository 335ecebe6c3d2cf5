//! Filter headers (BIP157): each follows from the one before it and its filter's hash, from the first block on.
//!
//! Who is asked for them: see `filter_ranges`. Whether other peers agree: see `agreement`.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use bitcoin::FilterHeader;
use bitcoin::hashes::Hash;

use super::agreement::Agreement;
use super::api::ImportError;
use super::peer::Peer;
use super::{Client, Then, Turn, record};
use crate::headers::WINDOW;

/// Filter headers that are kept at most: below the block headers' window none is left that a branch could need.
const KEPT: usize = 2 * WINDOW as usize;

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
    /// So many, from the first block on, were enough peers' at some time.
    trusted: u32,
}

/// Why filter headers are not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It follows from another filter header at this height.
    Apart(u32, FilterHeader),
    /// The filter header that is known at this height is another.
    Known(u32),
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

    /// Forgets those from the height `from` on.
    pub(super) fn truncate(&mut self, from: u32) {
        let surplus = self.next.saturating_sub(from);
        for _ in 0..surplus {
            self.window.pop_back();
        }
        self.next = (self.next - surplus).max(self.first_filter());
        self.trusted = self.trusted.min(from);
    }

    /// Takes some that go on where the known ones end, and are said to follow from `previous`. Returns them with their
    /// heights; with `previous`, if that was not known.
    ///
    /// # Errors
    /// Why none of them is taken.
    pub(super) fn take(
        &mut self,
        previous: FilterHeader,
        headers: Vec<FilterHeader>,
        agreement: &Agreement,
    ) -> Result<Vec<(u32, FilterHeader)>, Refusal> {
        let mut first = self.next;
        let mut headers = headers;
        if self.lacks_base() {
            first -= 1;
            headers.insert(0, previous);
        } else if self.before(self.next) != Some(previous) {
            return Err(Refusal::Apart(self.next.saturating_sub(1), previous));
        }
        if let Some(height) = agreement.contradicted_by(first, &headers) {
            return Err(Refusal::Known(height));
        }
        self.next = first + headers.len() as u32;
        let new = (first..).zip(headers.iter().copied()).collect();
        if self.window.capacity() - self.window.len() < headers.len() {
            // To double would leave up to a half unused for good.
            self.window.reserve_exact(headers.len().max(self.window.len() / 8));
        }
        self.window.extend(headers);
        self.trim();
        Ok(new)
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
    /// The height up to which a peer can be asked for filter headers now, if it can: also while it is still showing its
    /// block headers, for filter headers that follow right behind need no block looked up in the store.
    pub(super) fn serves_filter_headers(&self, peer: &Peer) -> Option<u32> {
        if !peer.is_ready() || peer.passed_over.is_some() {
            return None;
        }
        self.chain.common(peer.best?)
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
        self.checkpoints.forget_above(height);
        self.forget_filter_headers_from(height + 1);
    }

    /// Forgets filter headers from a height on, and what peers said of them.
    pub(super) fn forget_filter_headers_from(&mut self, from: u32) {
        self.forget_agreement_from(from);
        self.checkpoints.compare_from(from);
        self.filter_headers.truncate(from);
        self.forget_filter_ranges();
    }
}
