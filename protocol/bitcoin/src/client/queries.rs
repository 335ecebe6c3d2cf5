//! Headers that the application looks up, takes out, or brings in.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::ops::Bound;

use andon_kernel::{Order as ScanOrder, Rows, Ticket};
use bitcoin::BlockHash;
use bitcoin::block::Header;

use super::api::{BlockId, Event, HeaderQuery, Import, ImportError};
use super::record::{self, StoredHeader};
use super::{Client, Turn};
use crate::headers::Stop;
use crate::wire::MAX_HEADERS;

/// Headers that are given or taken at once, at most.
const MAX_COUNT: usize = MAX_HEADERS;

/// Rows of the index of hashes that one look-up reads at once.
const INDEX_PAGE: u32 = 20_000;

/// What the application asked for.
#[derive(Debug)]
pub(super) enum Order {
    Find(HeaderQuery),
    Export { from: u32, count: u32 },
    Import(Import),
}

/// What has been asked for and is not answered.
#[derive(Debug, Default)]
pub(super) struct Queries {
    orders: VecDeque<Order>,
    waiting: BTreeMap<Ticket, Waiting>,
}

/// What is done when rows have come.
#[derive(Debug)]
enum Waiting {
    /// The header at this height.
    Height {
        query: HeaderQuery,
        height: u32,
    },
    /// A page of the index.
    Index {
        hash: BlockHash,
        heights: Vec<u32>,
    },
    /// The header at the last of these heights, if it has this hash: else the one before.
    Candidate {
        hash: BlockHash,
        heights: Vec<u32>,
    },
    ExportedHeaders {
        from: u32,
        to: u32,
    },
    ExportedFilterHeaders {
        from: u32,
        to: u32,
        headers: Vec<Header>,
    },
}

impl Queries {
    /// Notes what the application asks for: it is done when the client runs.
    pub(super) fn order(&mut self, order: Order) {
        self.orders.push_back(order);
    }
}

impl Client {
    /// Does what the application asked for, as far as that is possible now.
    pub(super) fn carry_out_queries(&mut self, turn: &mut Turn<'_>) {
        while let Some(order) = self.queries.orders.pop_front() {
            match order {
                Order::Find(query) => self.find_header(turn, query),
                Order::Export { from, count } => self.export(turn, from, count),
                Order::Import(import) => self.import(turn, &import),
            }
        }
    }

    fn find_header(&mut self, turn: &mut Turn<'_>, query: HeaderQuery) {
        let (start, tip) = (self.chain.start().block(), self.chain.tip());
        let height = match query {
            HeaderQuery::Height(height) => Some(height),
            HeaderQuery::Hash(hash) if hash == start.hash => Some(start.height),
            HeaderQuery::Hash(hash) => self.chain.height_of(&hash),
        };
        match (height, query) {
            (Some(height), _) if !(start.height..=tip.height).contains(&height) => {
                turn.out.event(Event::Header { query, found: None });
            }
            (Some(height), _) => match self.chain.at(height) {
                Some((header, hash)) => {
                    let found = Some((BlockId { height, hash }, *header));
                    turn.out.event(Event::Header { query, found });
                }
                None => {
                    let ticket = self.load_headers(turn, record::HEADERS, height, height);
                    self.queries.waiting.insert(ticket, Waiting::Height { query, height });
                }
            },
            (None, HeaderQuery::Hash(hash)) => {
                let (low, _) = record::hashes_range(&hash);
                self.load_index(turn, hash, Bound::Included(&low), Vec::new());
            }
            (None, HeaderQuery::Height(_)) => unreachable!("a height is a height"),
        }
    }

    fn load_index(&mut self, turn: &mut Turn<'_>, hash: BlockHash, from: Bound<&[u8]>, heights: Vec<u32>) {
        let ticket = self.names.ticket();
        let (_, high) = record::hashes_range(&hash);
        let range = (from, Bound::Excluded(&high[..]));
        turn.out.load(ticket, record::HASHES, range, ScanOrder::Ascending, INDEX_PAGE);
        self.queries.waiting.insert(ticket, Waiting::Index { hash, heights });
    }

    /// Looks at the headers whose hashes begin as the one that is looked for.
    fn try_candidate(&mut self, turn: &mut Turn<'_>, hash: BlockHash, mut heights: Vec<u32>) {
        let tip = self.chain.tip_height();
        // What the index says of blocks that the chain has left is void.
        while heights.last().is_some_and(|height| *height > tip) {
            heights.pop();
        }
        match heights.last() {
            None => {
                turn.out.event(Event::Header { query: HeaderQuery::Hash(hash), found: None });
            }
            Some(&height) => {
                let ticket = self.load_headers(turn, record::HEADERS, height, height);
                self.queries.waiting.insert(ticket, Waiting::Candidate { hash, heights });
            }
        }
    }

    /// Takes rows that were loaded for a query. False: they were loaded for something else.
    pub(super) fn query_loaded(
        &mut self,
        turn: &mut Turn<'_>,
        ticket: Ticket,
        rows: Rows<'_>,
        more: bool,
    ) -> bool {
        let Some(waiting) = self.queries.waiting.remove(&ticket) else { return false };
        let one = |height| {
            let headers = record::read_headers(rows, height, height)?;
            headers.first().map(|StoredHeader { height, header, hash }| {
                (BlockId { height: *height, hash: *hash }, *header)
            })
        };
        match waiting {
            Waiting::Height { query, height } => turn.out.event(Event::Header { query, found: one(height) }),
            Waiting::Index { hash, mut heights } => {
                let mut last = None;
                for (key, value) in rows.iter() {
                    record::hash_heights(key, value, &hash, &mut heights);
                    last = Some(key);
                }
                match last.filter(|_| more) {
                    Some(last) => self.load_index(turn, hash, Bound::Excluded(last), heights),
                    None => self.try_candidate(turn, hash, heights),
                }
            }
            Waiting::Candidate { hash, mut heights } => {
                let found = heights.pop().and_then(one).filter(|(block, _)| block.hash == hash);
                match found {
                    Some(_) => turn.out.event(Event::Header { query: HeaderQuery::Hash(hash), found }),
                    None => self.try_candidate(turn, hash, heights),
                }
            }
            Waiting::ExportedHeaders { from, to } => {
                let headers = record::read_headers(rows, from, to).unwrap_or_default();
                let headers = headers.into_iter().map(|stored| stored.header).collect();
                let ticket = self.load_headers(turn, record::FILTER_HEADERS, from, to);
                self.queries.waiting.insert(ticket, Waiting::ExportedFilterHeaders { from, to, headers });
            }
            Waiting::ExportedFilterHeaders { from, to, headers } => {
                let known = self.filter_headers.next().checked_sub(1).filter(|last| *last >= from);
                let filter_headers =
                    known.and_then(|last| record::read_filter_headers(rows, from, to.min(last)));
                let filter_headers = filter_headers.unwrap_or_default();
                turn.out.event(Event::Exported { from, headers, filter_headers });
            }
        }
        true
    }

    fn export(&mut self, turn: &mut Turn<'_>, from: u32, count: u32) {
        let count = count.min(MAX_COUNT as u32);
        let last = count.checked_sub(1).and_then(|count| from.checked_add(count));
        let to = last.unwrap_or(u32::MAX).min(self.chain.tip_height());
        if count == 0 || from < self.chain.start().height() || from > to {
            return turn.out.event(Event::Exported { from, headers: Vec::new(), filter_headers: Vec::new() });
        }
        let ticket = self.load_headers(turn, record::HEADERS, from, to);
        self.queries.waiting.insert(ticket, Waiting::ExportedHeaders { from, to });
    }

    fn import(&mut self, turn: &mut Turn<'_>, import: &Import) {
        let stopped = self.take_import(turn, import).err();
        let (tip, filter_headers) = (self.chain.tip(), self.filter_headers.next());
        turn.out.event(Event::Imported { tip, filter_headers, stopped });
    }

    fn take_import(&mut self, turn: &mut Turn<'_>, import: &Import) -> Result<(), ImportError> {
        let Import { headers, filter_headers_from, filter_headers } = import;
        if headers.len() > MAX_COUNT || filter_headers.len() > MAX_COUNT {
            return Err(ImportError::TooMany);
        }
        if self.ranges.is_active() {
            self.import_ranges(turn, headers)?;
        } else {
            let hashed = headers.iter().map(|header| (*header, header.block_hash()));
            let taken = self.chain.take(hashed, turn.now.unix);
            self.chain_changed(turn, &taken);
            match taken.stopped {
                None => {}
                Some(Stop::Unconnected) => return Err(ImportError::Unconnected),
                Some(Stop::Discontinuous) => return Err(ImportError::Discontinuous),
                Some(Stop::Invalid(error)) => return Err(ImportError::Invalid(error)),
                Some(Stop::LowWork(_)) => return Err(ImportError::LowWork),
            }
        }
        if !filter_headers.is_empty() {
            let tip = self.chain.tip_height();
            let new = self.filter_headers.import(*filter_headers_from, filter_headers, tip)?;
            if !new.is_empty() {
                self.forget_filter_header_source();
            }
            self.store_filter_headers(turn, &new);
        }
        Ok(())
    }
}
