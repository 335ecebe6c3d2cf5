//! Headers that the application looks up, takes out, or brings in, and blocks that it wants to have.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::ops::{Bound, Range};

use andon_kernel::{Order as ScanOrder, Rows, Ticket};
use bitcoin::BlockHash;
use bitcoin::block::Header;

use super::api::{BlockId, Event, HeaderQuery, Import, ImportError, RequestId};
use super::blocks::Fetch;
use super::record::{self, StoredHeader};
use super::{Client, Then, Turn};
use crate::headers::{PERIOD, Stop};
use crate::wire::MAX_HEADERS;

/// Headers that are given or taken at once, at most.
const MAX_COUNT: usize = MAX_HEADERS;

/// Rows of the index of hashes that one look-up reads at once.
const INDEX_PAGE: u32 = 20_000;

const HEADERS_DAMAGED: &str = "block headers are missing or do not follow each other";
const FILTER_HEADERS_DAMAGED: &str = "filter headers are missing or unreadable";
const INDEX_DAMAGED: &str = "a part of the index of hashes is missing or unreadable";

/// What the application asked for.
#[derive(Debug)]
pub(super) enum Order {
    Find(Find),
    Export { from: u32, count: u32, request: Option<RequestId> },
    Import(Import, Option<RequestId>),
}

/// A block that is looked up, and what of it is wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Find {
    pub(super) query: HeaderQuery,
    pub(super) wants: Wants,
    pub(super) request: Option<RequestId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wants {
    Header,
    Block,
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
        find: Find,
        height: u32,
    },
    /// A page of the index. Of each whole period of the chain, as it was when the index was asked, there is a row.
    Index(Index),
    /// The header at the last of these heights, if it has this hash: else the one before.
    Candidate {
        find: Find,
        hash: BlockHash,
        heights: Vec<u32>,
    },
    /// Headers that are taken out; their filter headers come right behind.
    ExportedHeaders {
        export: Export,
        then: Ticket,
    },
    ExportedFilterHeaders {
        export: Export,
        headers: Option<Vec<Header>>,
    },
}

/// A hash that is looked up in the index: what has been read of it.
#[derive(Debug)]
struct Index {
    find: Find,
    hash: BlockHash,
    /// Blocks whose hashes begin as this one.
    heights: Vec<u32>,
    periods: Range<u32>,
    /// How many of the periods had a row.
    seen: u32,
}

/// Headers that are taken out, and of what is known when they are asked for, the last and the last filter header.
#[derive(Clone, Copy, Debug)]
struct Export {
    from: u32,
    count: u32,
    to: u32,
    filter_header: Option<u32>,
    request: Option<RequestId>,
}

impl Queries {
    /// Notes what the application asks for: it is done when the client runs.
    pub(super) fn order(&mut self, order: Order) {
        self.orders.push_back(order);
    }

    /// How much is asked for that is not answered.
    pub(super) fn len(&self) -> usize {
        self.orders.len() + self.waiting.len()
    }

    /// Whether nothing is asked for that is not answered.
    pub(super) fn is_empty(&self) -> bool {
        self.orders.is_empty() && self.waiting.is_empty()
    }

    /// Forgets a request that has not been begun with; of one that has, what comes is told to nobody.
    pub(super) fn cancel(&mut self, id: RequestId) {
        self.orders.retain(|order| order.request() != Some(id));
    }
}

impl Order {
    const fn request(&self) -> Option<RequestId> {
        match self {
            Self::Find(Find { request, .. }) | Self::Export { request, .. } | Self::Import(_, request) => {
                *request
            }
        }
    }
}

impl Client {
    /// Does what the application asked for, as far as that is possible now.
    pub(super) fn carry_out_queries(&mut self, turn: &mut Turn<'_>) {
        while let Some(order) = self.queries.orders.pop_front() {
            match order {
                Order::Find(find) => self.find_block(turn, find),
                Order::Export { from, count, request } => self.export(turn, from, count, request),
                Order::Import(import, request) => self.import(turn, &import, request),
            }
        }
    }

    fn find_block(&mut self, turn: &mut Turn<'_>, find: Find) {
        let (start, tip) = (self.chain.start().block(), self.chain.tip());
        let height = match find.query {
            HeaderQuery::Height(height) => Some(height),
            HeaderQuery::Hash(hash) if hash == start.hash => Some(start.height),
            HeaderQuery::Hash(hash) => self.chain.height_of(&hash),
        };
        match (height, find.query) {
            (Some(height), _) if !(start.height..=tip.height).contains(&height) => {
                self.found(turn, find, None);
            }
            (Some(height), _) => match self.chain.at(height) {
                Some((header, hash)) => {
                    let found = Some((BlockId { height, hash }, *header));
                    self.found(turn, find, found);
                }
                None => {
                    let ticket = self.load_headers(turn, record::HEADERS, height, height);
                    self.queries.waiting.insert(ticket, Waiting::Height { find, height });
                }
            },
            (None, HeaderQuery::Hash(hash)) => {
                let (low, _) = record::hashes_range(&hash);
                let periods = start.height.div_ceil(PERIOD)..(tip.height + 1) / PERIOD;
                let index = Index { find, hash, heights: Vec::new(), periods, seen: 0 };
                self.load_index(turn, Bound::Included(&low), index);
            }
            (None, HeaderQuery::Height(_)) => unreachable!("a height is a height"),
        }
    }

    /// Answers with what a look-up has found, or has its block fetched.
    fn found(&mut self, turn: &mut Turn<'_>, find: Find, found: Option<(BlockId, Header)>) {
        let Find { query, wants, request } = find;
        if request.is_some_and(|id| !self.requests.is_open(id)) {
            return;
        }
        match (wants, found) {
            (Wants::Header, found) => self.answer(turn, request, Event::Header { query, found }),
            (Wants::Block, None) => self.answer(turn, request, Event::Block { query, found: None }),
            (Wants::Block, Some((block, _))) => {
                let is_in_chain = block.height <= self.chain.tip_height()
                    && self.chain.at(block.height).is_none_or(|(_, hash)| hash == block.hash);
                if is_in_chain {
                    self.search.blocks.fetch(Fetch { query, request }, block);
                } else {
                    // The chain has left it while its header was read.
                    self.queries.order(Order::Find(find));
                }
            }
        }
    }

    fn load_index(&mut self, turn: &mut Turn<'_>, from: Bound<&[u8]>, index: Index) {
        let ticket = self.names.ticket();
        let (_, high) = record::hashes_range(&index.hash);
        let range = (from, Bound::Excluded(&high[..]));
        turn.out.load(ticket, record::HASHES, range, ScanOrder::Ascending, INDEX_PAGE);
        self.queries.waiting.insert(ticket, Waiting::Index(index));
    }

    /// Something that an answer takes is damaged: it is repaired, and the answer is looked for again.
    fn ask_after_repair(&mut self, turn: &mut Turn<'_>, order: Order, what: &'static str) {
        self.queries.order(order);
        self.repair(turn, what);
    }

    /// Looks at the headers whose hashes begin as the one that is looked for.
    fn try_candidate(&mut self, turn: &mut Turn<'_>, find: Find, hash: BlockHash, mut heights: Vec<u32>) {
        let tip = self.chain.tip_height();
        // What the index says of blocks that the chain has left is void.
        while heights.last().is_some_and(|height| *height > tip) {
            heights.pop();
        }
        match heights.last() {
            None => self.found(turn, find, None),
            Some(&height) => {
                let ticket = self.load_headers(turn, record::HEADERS, height, height);
                self.queries.waiting.insert(ticket, Waiting::Candidate { find, hash, heights });
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
            Waiting::Height { find, height } => match one(height) {
                Some(found) => self.found(turn, find, Some(found)),
                None => self.ask_after_repair(turn, Order::Find(find), HEADERS_DAMAGED),
            },
            Waiting::Index(mut index) => {
                let find = index.find;
                let mut last = None;
                for (key, value) in rows.iter() {
                    let Some(period) = record::hash_heights(key, value, &index.hash, &mut index.heights)
                    else {
                        // The repair makes those anew that there are to be: this one may be of blocks that are gone.
                        self.store(turn, Vec::new(), Then::Nothing, |batch| {
                            record::delete(batch, record::HASHES, key);
                        });
                        self.ask_after_repair(turn, Order::Find(find), INDEX_DAMAGED);
                        return true;
                    };
                    index.seen += u32::from(index.periods.contains(&period));
                    last = Some(key);
                }
                match last.filter(|_| more) {
                    Some(last) => {
                        self.load_index(turn, Bound::Excluded(last), index);
                    }
                    // That none of a period's hashes begins with a part is too rare to happen.
                    None if index.seen < index.periods.len() as u32 => {
                        self.ask_after_repair(turn, Order::Find(find), INDEX_DAMAGED);
                    }
                    None => self.try_candidate(turn, find, index.hash, index.heights),
                }
            }
            Waiting::Candidate { find, hash, mut heights } => match heights.pop().and_then(one) {
                Some(found) if found.0.hash == hash => self.found(turn, find, Some(found)),
                Some(_) => self.try_candidate(turn, find, hash, heights),
                None => self.ask_after_repair(turn, Order::Find(find), HEADERS_DAMAGED),
            },
            Waiting::ExportedHeaders { export, then } => {
                let read = record::read_headers(rows, export.from, export.to);
                let read = read.map(|headers| headers.into_iter().map(|stored| stored.header).collect());
                if let Some(Waiting::ExportedFilterHeaders { headers, .. }) =
                    self.queries.waiting.get_mut(&then)
                {
                    *headers = read;
                }
            }
            Waiting::ExportedFilterHeaders { export, headers } => {
                let Export { from, count, filter_header, request, .. } = export;
                let filter_headers = match filter_header {
                    Some(last) => record::read_filter_headers(rows, from, last),
                    None => Some(Vec::new()),
                };
                match (headers, filter_headers) {
                    (Some(headers), Some(filter_headers)) => {
                        self.answer(turn, request, Event::Exported { from, headers, filter_headers });
                    }
                    (headers, _) => {
                        let what = if headers.is_none() { HEADERS_DAMAGED } else { FILTER_HEADERS_DAMAGED };
                        self.ask_after_repair(turn, Order::Export { from, count, request }, what);
                    }
                }
            }
        }
        true
    }

    fn export(&mut self, turn: &mut Turn<'_>, from: u32, count: u32, request: Option<RequestId>) {
        let count = count.min(MAX_COUNT as u32);
        let last = count.checked_sub(1).and_then(|count| from.checked_add(count));
        let to = last.unwrap_or(u32::MAX).min(self.chain.tip_height());
        if count == 0 || from < self.chain.start().height() || from > to {
            let nothing = Event::Exported { from, headers: Vec::new(), filter_headers: Vec::new() };
            return self.answer(turn, request, nothing);
        }
        let known = self.filter_headers.last().filter(|last| *last >= from);
        let export = Export { from, count, to, filter_header: known.map(|last| last.min(to)), request };
        // Both at once, so that both are of the chain as it is now.
        let headers = self.load_headers(turn, record::HEADERS, from, to);
        let then = self.load_headers(turn, record::FILTER_HEADERS, from, to);
        self.queries.waiting.insert(headers, Waiting::ExportedHeaders { export, then });
        self.queries.waiting.insert(then, Waiting::ExportedFilterHeaders { export, headers: None });
    }

    fn import(&mut self, turn: &mut Turn<'_>, import: &Import, request: Option<RequestId>) {
        let stopped = self.take_import(turn, import).err();
        let (tip, filter_headers) = (self.chain.tip(), self.filter_headers.next());
        self.answer(turn, request, Event::Imported { tip, filter_headers, stopped });
    }

    fn take_import(&mut self, turn: &mut Turn<'_>, import: &Import) -> Result<(), ImportError> {
        let Import { headers, filter_headers_from, filter_headers } = import;
        if headers.len() > MAX_COUNT || filter_headers.len() > MAX_COUNT {
            return Err(ImportError::TooMany);
        }
        let proven = if self.ranges.is_active() { self.import_ranges(turn, headers)? } else { 0 };
        // Beyond the last known block the rules and the work decide.
        let hashed = headers[proven..].iter().map(|header| (*header, header.block_hash()));
        let taken = self.chain.take(hashed, turn.now.unix);
        self.chain_changed(turn, &taken);
        match taken.stopped {
            None => {}
            Some(Stop::Unconnected) => return Err(ImportError::Unconnected),
            Some(Stop::Discontinuous) => return Err(ImportError::Discontinuous),
            Some(Stop::Invalid(error)) => return Err(ImportError::Invalid(error)),
            Some(Stop::LowWork(_)) => return Err(ImportError::LowWork),
        }
        if !filter_headers.is_empty() {
            let tip = self.chain.tip_height();
            if let Some(height) = self.agreement.contradicted_by(*filter_headers_from, filter_headers) {
                return Err(ImportError::FilterHeadersContradict { height });
            }
            let new = self.filter_headers.import(*filter_headers_from, filter_headers, tip)?;
            if !new.is_empty() {
                self.forget_filter_header_source();
            }
            self.store_filter_headers(turn, &new);
        }
        Ok(())
    }
}
