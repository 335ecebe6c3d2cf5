//! Filters that the application asks for, to match by itself: checked against filter headers that are trusted, from the disk if
//! they are kept there, else from one peer after the other. A few at a time, and no more until it asks again: it is never
//! flooded.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::ops::Bound;

use andon_kernel::{ConnId, Order, Rows, Ticket};
use bitcoin::hashes::Hash;
use bitcoin::{BlockHash, FilterHeader};

use super::api::{BlockId, Event, FetchedFilter, RequestId};
use super::{Client, Misbehaviour, Turn, record};
use crate::filter;
use crate::wire::{FILTER_TYPE_BASIC, FilterRequest, Message};

/// Filters that are given at once, at most.
const MAX_COUNT: u32 = 100;

const HEADERS_DAMAGED: &str = "block headers are missing or do not follow each other";
const FILTER_HEADERS_DAMAGED: &str = "filter headers are missing or unreadable";

/// What the application asked for and has not got. The first is worked on.
#[derive(Debug, Default)]
pub(super) struct FilterFetches {
    orders: VecDeque<Fetch>,
}

#[derive(Debug)]
struct Fetch {
    from: u32,
    count: u32,
    request: Option<RequestId>,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Waiting,
    Loading(Loading),
    Fetching(Fetching),
}

/// What is being read of the disk.
#[derive(Debug)]
struct Loading {
    first: u32,
    last: u32,
    headers: Ticket,
    hashes: Option<Vec<BlockHash>>,
    filter_headers: Ticket,
    links: Option<Vec<FilterHeader>>,
    /// The next page of filters that are kept. `None`: they have come.
    page: Option<Ticket>,
    kept: BTreeMap<u32, Vec<u8>>,
}

/// What comes from peers.
#[derive(Debug)]
struct Fetching {
    first: u32,
    hashes: Vec<BlockHash>,
    /// The filter header before the first, and then theirs.
    links: Vec<FilterHeader>,
    filters: Vec<Option<Vec<u8>>>,
    asked: Option<Asked>,
}

/// Who is asked, by which request, and for which of them by their places: none of those had come by then.
#[derive(Clone, Copy, Debug)]
struct Asked {
    peer: ConnId,
    serial: u64,
    first: usize,
    last: usize,
}

impl Fetching {
    /// Takes a filter in, if it is the one that is committed to.
    fn take(&mut self, place: usize, bytes: &[u8]) -> bool {
        let is_right = filter::header(filter::hash(bytes), self.links[place]) == self.links[place + 1];
        if is_right {
            self.filters[place] = Some(bytes.into());
        }
        is_right
    }

    /// The first run of those that have not come, by their places.
    fn missing(&self) -> Option<(usize, usize)> {
        let first = self.filters.iter().position(Option::is_none)?;
        let run = self.filters[first..].iter().take_while(|filter| filter.is_none()).count();
        Some((first, first + run - 1))
    }

    /// How many of those have not come that were asked for.
    fn owed(&self, asked: Asked) -> usize {
        self.filters[asked.first..=asked.last].iter().filter(|filter| filter.is_none()).count()
    }
}

impl FilterFetches {
    pub(super) fn order(&mut self, from: u32, count: u32, request: Option<RequestId>) {
        self.orders.push_back(Fetch { from, count, request, stage: Stage::Waiting });
    }

    pub(super) fn len(&self) -> usize {
        self.orders.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.orders.is_empty()
    }

    /// Whether `peer` owes filters.
    pub(super) fn is_waiting_for(&self, peer: ConnId) -> bool {
        self.fetching().is_some_and(|fetching| fetching.asked.is_some_and(|asked| asked.peer == peer))
    }

    /// Whether `peer` has not answered a request up to `serial`, though it has answered what came after it.
    pub(super) fn is_unanswered(&self, peer: ConnId, serial: u64) -> bool {
        let asked = self.fetching().and_then(|fetching| fetching.asked);
        asked.is_some_and(|asked| asked.peer == peer && asked.serial <= serial)
    }

    fn fetching(&self) -> Option<&Fetching> {
        match &self.orders.front()?.stage {
            Stage::Fetching(fetching) => Some(fetching),
            Stage::Waiting | Stage::Loading(_) => None,
        }
    }

    fn fetching_mut(&mut self) -> Option<&mut Fetching> {
        match &mut self.orders.front_mut()?.stage {
            Stage::Fetching(fetching) => Some(fetching),
            Stage::Waiting | Stage::Loading(_) => None,
        }
    }

    /// Takes back what `peer` was asked for: how many it may still send.
    fn release(&mut self, peer: ConnId) -> u32 {
        let Some(fetching) = self.fetching_mut() else { return 0 };
        let asked = fetching.asked.take_if(|asked| asked.peer == peer);
        asked.map_or(0, |asked| fetching.owed(asked) as u32)
    }
}

impl Client {
    /// Goes on with what was asked for.
    pub(super) fn fetch_filters(&mut self, turn: &mut Turn<'_>) {
        while let Some(fetch) = self.filter_fetches.orders.front() {
            let (from, count, request) = (fetch.from, fetch.count, fetch.request);
            match &fetch.stage {
                Stage::Waiting => {
                    let first = from.max(self.filter_headers.first_filter());
                    let last = count.min(MAX_COUNT).checked_sub(1).and_then(|more| from.checked_add(more));
                    let known = self.trusted_filter_headers().min(self.chain.tip_height() + 1);
                    let last = last.unwrap_or(0).min(known.saturating_sub(1));
                    let is_given_up = request.is_some_and(|id| !self.requests.is_open(id));
                    if is_given_up || count == 0 || known == 0 || first > last {
                        self.filter_fetches.orders.pop_front();
                        self.answer(turn, request, Event::Filters { from, filters: Vec::new() });
                        continue;
                    }
                    self.load_to_fetch(turn, first, last);
                    return;
                }
                Stage::Loading(_) => return,
                Stage::Fetching(fetching) => {
                    if fetching.missing().is_some() {
                        self.ask_for_fetched(turn);
                        return;
                    }
                    self.finish_fetch(turn);
                }
            }
        }
    }

    fn load_to_fetch(&mut self, turn: &mut Turn<'_>, first: u32, last: u32) {
        let headers = self.load_headers(turn, record::HEADERS, first, last);
        let before = first.saturating_sub(1);
        let filter_headers = self.load_headers(turn, record::FILTER_HEADERS, before, last);
        let page = (!self.search.cache.is_off())
            .then(|| self.load_kept_page(turn, Bound::Included(&record::height_key(first)), last));
        if let Some(fetch) = self.filter_fetches.orders.front_mut() {
            fetch.stage = Stage::Loading(Loading {
                first,
                last,
                headers,
                hashes: None,
                filter_headers,
                links: None,
                page,
                kept: BTreeMap::new(),
            });
        }
    }

    fn load_kept_page(&mut self, turn: &mut Turn<'_>, from: Bound<&[u8; 4]>, last: u32) -> Ticket {
        let ticket = self.names.ticket();
        let high = record::height_key(last);
        let from = from.map(|key| &key[..]);
        turn.out.load(
            ticket,
            record::FILTERS,
            (from, Bound::Included(&high[..])),
            Order::Ascending,
            MAX_COUNT,
        );
        ticket
    }

    /// Takes rows that were loaded for this. False: they were loaded for something else.
    pub(super) fn filter_fetch_loaded(
        &mut self,
        turn: &mut Turn<'_>,
        ticket: Ticket,
        rows: Rows<'_>,
        more: bool,
    ) -> bool {
        let Some(Fetch { stage: Stage::Loading(loading), .. }) = self.filter_fetches.orders.front_mut()
        else {
            return false;
        };
        let (first, last) = (loading.first, loading.last);
        if ticket == loading.headers {
            let read = record::read_headers(rows, first, last);
            loading.hashes = read.map(|read| read.into_iter().map(|stored| stored.hash).collect());
            if loading.hashes.is_none() {
                self.restart_fetch(0);
                self.repair(turn, HEADERS_DAMAGED);
                return true;
            }
        } else if ticket == loading.filter_headers {
            let before = first.saturating_sub(1);
            loading.links = record::read_filter_headers(rows, before, last).map(|mut read| {
                if first == 0 {
                    read.insert(0, FilterHeader::all_zeros());
                }
                read
            });
            if loading.links.is_none() {
                self.restart_fetch(0);
                self.repair(turn, FILTER_HEADERS_DAMAGED);
                return true;
            }
        } else if Some(ticket) == loading.page {
            // What is unreadable, or of a block that is not in the best chain any more, is asked of peers.
            for (height, _, bytes) in rows.iter().filter_map(|(key, value)| record::read_filter(key, value)) {
                loading.kept.insert(height, bytes.into());
            }
            let next = rows.iter().last().filter(|_| more);
            let next = next.and_then(|(key, _)| <[u8; 4]>::try_from(key).ok());
            loading.page = None;
            if let Some(key) = next {
                let page = self.load_kept_page(turn, Bound::Excluded(&key), last);
                if let Some(Fetch { stage: Stage::Loading(loading), .. }) =
                    self.filter_fetches.orders.front_mut()
                {
                    loading.page = Some(page);
                }
            }
        } else {
            return false;
        }
        self.begin_fetching();
        true
    }

    /// All that was to be loaded may have come: what is kept need not be asked for.
    fn begin_fetching(&mut self) {
        let Some(fetch) = self.filter_fetches.orders.front_mut() else { return };
        let Stage::Loading(loading) = &mut fetch.stage else { return };
        let Loading { first, last, hashes: Some(hashes), links: Some(links), page: None, kept, .. } = loading
        else {
            return;
        };
        let count = (*last - *first + 1) as usize;
        let (hashes, links) = (core::mem::take(hashes), core::mem::take(links));
        if hashes.len() != count || links.len() != count + 1 {
            // The chain has changed while they were read.
            fetch.stage = Stage::Waiting;
            return;
        }
        let mut fetching =
            Fetching { first: *first, hashes, links, filters: alloc::vec![None; count], asked: None };
        for (height, bytes) in core::mem::take(kept) {
            fetching.take((height - fetching.first) as usize, &bytes);
        }
        fetch.stage = Stage::Fetching(fetching);
    }

    /// Asks the peer that would send them first for the first run of those that are missing.
    fn ask_for_fetched(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now.instant;
        let Some(fetching) = self.filter_fetches.fetching().filter(|fetching| fetching.asked.is_none())
        else {
            return;
        };
        let Some((first, last)) = fetching.missing() else { return };
        let (start_height, stop_hash) = (fetching.first + first as u32, fetching.hashes[last]);
        let highest = fetching.first + last as u32;
        let able = self.able(now);
        let Some((conn, _)) = able.into_iter().find(|(_, best)| *best >= highest) else { return };
        let serial = self.next_request();
        if let Some(fetching) = self.filter_fetches.fetching_mut() {
            fetching.asked = Some(Asked { peer: conn, serial, first, last });
        }
        let request = FilterRequest { filter_type: FILTER_TYPE_BASIC, start_height, stop_hash };
        self.send(turn, conn, &Message::GetCFilters(request));
        self.note_asked(conn, now);
    }

    /// Takes a filter that a peer was asked for here. False: it was not.
    ///
    /// # Errors
    /// If it is not the one that its filter header commits to.
    pub(super) fn on_fetched_filter(
        &mut self,
        conn: ConnId,
        block_hash: BlockHash,
        bytes: &[u8],
    ) -> Result<bool, Misbehaviour> {
        let Some(fetching) = self.filter_fetches.fetching_mut() else { return Ok(false) };
        let Some(asked) = fetching.asked.filter(|asked| asked.peer == conn) else { return Ok(false) };
        let Some(place) = fetching.hashes.iter().position(|hash| *hash == block_hash) else {
            return Ok(false);
        };
        if fetching.filters[place].is_some() {
            return Ok(false);
        }
        let is_right = fetching.take(place, bytes);
        let height = fetching.first + place as u32;
        // Some may have come before their turn: the peer was asked for them by the search as well, and still sends the others.
        fetching.asked = Some(asked).filter(|asked| fetching.owed(*asked) > 0);
        if !is_right {
            return self.charge(conn, height, Misbehaviour::WrongFilter).map(|()| true);
        }
        if let Some(peer) = self.peers.get_mut(&conn) {
            peer.note_answer();
        }
        Ok(true)
    }

    fn finish_fetch(&mut self, turn: &mut Turn<'_>) {
        let Some(Fetch { from, request, stage: Stage::Fetching(fetching), .. }) =
            self.filter_fetches.orders.pop_front()
        else {
            return;
        };
        let heights = fetching.first..;
        let blocks = heights.zip(fetching.hashes).map(|(height, hash)| BlockId { height, hash });
        let filters = blocks.zip(fetching.filters.into_iter().flatten());
        let filters = filters.map(|(block, filter)| FetchedFilter { block, filter }).collect();
        self.answer(turn, request, Event::Filters { from, filters });
    }

    /// Others are asked for what a peer was asked for. What it still sends is no fault.
    pub(super) fn release_filter_fetch(&mut self, conn: ConnId) {
        let late = self.filter_fetches.release(conn);
        if let Some(peer) = self.peers.get_mut(&conn) {
            peer.expect_late_filters(late);
        }
    }

    /// Blocks from a height on, or their filter headers, are not those that they were: what reaches there is begun anew.
    pub(super) fn restart_fetch(&mut self, height: u32) {
        let Some(fetch) = self.filter_fetches.orders.front() else { return };
        let reaches = match &fetch.stage {
            Stage::Waiting => false,
            Stage::Loading(loading) => loading.last >= height,
            Stage::Fetching(fetching) => fetching.first + fetching.hashes.len() as u32 > height,
        };
        if !reaches {
            return;
        }
        if let Some(asked) = self.filter_fetches.fetching().and_then(|fetching| fetching.asked) {
            self.release_filter_fetch(asked.peer);
        }
        if let Some(fetch) = self.filter_fetches.orders.front_mut() {
            fetch.stage = Stage::Waiting;
        }
    }

    /// The application gives a request up.
    pub(super) fn cancel_filter_fetch(&mut self, id: RequestId) {
        let is_first = self.filter_fetches.orders.front().is_some_and(|fetch| fetch.request == Some(id));
        if is_first {
            self.restart_fetch(0);
        }
        self.filter_fetches.orders.retain(|fetch| fetch.request != Some(id));
    }
}
