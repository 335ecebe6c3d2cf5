//! Filters (BIP157, BIP158): asked for in chunks of many lengths, each checked against its filter header and matched
//! when it comes.
//!
//! What is being searched is a window of segments: the blocks' hashes and filter headers, and which filters have come.
//! Requests lie over it and know nothing of where a segment ends. Whichever order they are answered in, and
//! whichever peer leaves out what, every filter is accounted for. A filter is matched and forgotten, so the window
//! holds 66 bytes for each: hash, filter header, and two marks.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use andon_kernel::{ConnId, Ticket};
use bitcoin::{BlockHash, FilterHeader};

use super::Misbehaviour;
use super::api::BlockId;
use super::decoys::Decoys;
use super::requests::Request;
use super::segments::{Context, Done, Segment, Source, Took};
use super::watches::Watches;
use crate::filter::{self, Scratch};
use crate::wire::{FILTER_TYPE_BASIC, FilterRequest};

/// Filters that are made durable as searched at a time.
const SEGMENT: u32 = 250;

/// What the window holds for a filter: hash, filter header, and whether it has come, of the segment and of a request.
const BYTES_PER_FILTER: usize = 32 + 32 + 1 + 1;

/// Filters that have come already and are asked for again, so that those on both sides of them make one request.
const MAX_GAP: u32 = 4;

/// Bytes of a message with a filter beside the filter.
const OVERHEAD: u64 = 60;

/// What a filter is taken to have before one has come: as one of a recent block.
const USUAL_FILTER: u64 = 20_000;

/// What is open, and what is asked of whom.
#[derive(Debug)]
pub(super) struct Filters {
    segments: BTreeMap<u32, Segment>,
    /// In the order in which they were made.
    requests: Vec<Request>,
    /// Heights that have not come and that nobody is asked for: the first and the last of each run.
    free: BTreeMap<u32, u32>,
    /// Filters that came before their filter headers.
    held: Vec<Held>,
    /// Blocks whose filters matched since these were taken, and decoys.
    matched: Vec<Matched>,
    pub(super) decoys: Decoys,
    /// Bytes of a filter, on average over the last ones.
    average: u64,
    /// Bytes that the window may hold.
    room: usize,
    scratch: Scratch,
}

#[derive(Debug)]
struct Held {
    peer: ConnId,
    block: BlockId,
    bytes: Vec<u8>,
}

/// Filters that a peer was asked for and that another could be asked for as well.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owed {
    pub(super) peer: ConnId,
    pub(super) serial: u64,
    /// How many the peer has to send until it has sent these, these included; and about how many bytes those have.
    pub(super) ahead: u32,
    pub(super) bytes: u64,
    /// How many of them have not come from anyone.
    pub(super) missing: u32,
}

/// What came of a filter: its block, if it has been taken in for the first time. What is wrong with it comes with its height.
pub(super) type Looked = Result<Option<BlockId>, (u32, Misbehaviour)>;

/// A peer has answered other requests since, and not these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unanswered {
    /// It said nothing at all.
    Silence,
    /// It left this one out.
    LeftOut(BlockId),
}

/// A block that is to be asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Matched {
    pub(super) block: BlockId,
    /// Whether its filter does not match.
    pub(super) is_decoy: bool,
}

impl Filters {
    /// Nothing is open. The window may hold so many bytes.
    pub(super) fn new(room: usize, decoys: Decoys) -> Self {
        Self {
            segments: BTreeMap::new(),
            requests: Vec::new(),
            free: BTreeMap::new(),
            held: Vec::new(),
            matched: Vec::new(),
            decoys,
            average: USUAL_FILTER,
            room,
            scratch: Scratch::default(),
        }
    }

    /// The heights of the next segment to open of those from `next` to `limit`, if there is room. One segment is always open.
    pub(super) fn next_segment(&self, next: u32, limit: u32) -> Option<(u32, u32)> {
        let last = self.segments.range(..=limit).next_back().map(|(_, segment)| segment.stop + 1);
        let start = last.map_or(next, |above| above.max(next));
        let stop = limit.min(start.saturating_add(SEGMENT - 1));
        let open: usize = self.segments.values().map(|segment| segment.received.len()).sum();
        let held = (open + stop.saturating_sub(start) as usize + 1).saturating_mul(BYTES_PER_FILTER);
        let is_first = last.is_none_or(|last| last <= next);
        (start <= limit && (is_first || held <= self.room)).then_some((start, stop))
    }

    /// Opens a segment whose blocks and filter headers are being loaded.
    ///
    /// `None` for the filter headers: they are not needed, for the filters are kept.
    pub(super) fn open_loading(
        &mut self,
        start: u32,
        stop: u32,
        source: Source,
        headers: Ticket,
        filter_headers: Option<Ticket>,
    ) {
        let links = filter_headers.is_none().then(Vec::new);
        let context = Context::Loading { headers, filter_headers, hashes: None, links };
        self.open_with(start, stop, source, context);
    }

    /// Opens a segment. `links` are its filter headers and the one before the first; none are needed of filters that are
    /// kept.
    pub(super) fn open(
        &mut self,
        start: u32,
        source: Source,
        hashes: Vec<BlockHash>,
        links: Vec<FilterHeader>,
    ) {
        let stop = start + hashes.len() as u32 - 1;
        self.open_with(start, stop, source, Context::Ready { hashes, links });
        self.free_all(start, stop);
    }

    fn open_with(&mut self, start: u32, stop: u32, source: Source, context: Context) {
        self.segments.insert(start, Segment::new(start, stop, source, context));
    }

    /// Notes what nobody is asked for of a segment that is ready.
    fn free_all(&mut self, start: u32, stop: u32) {
        for request in self.requests.iter_mut().filter(|request| request.last() <= stop) {
            request.early.clear();
        }
        if matches!(self.segments.get(&start), Some(Segment { source: Source::Disk(_), .. })) {
            return;
        }
        for height in start..=stop {
            let held = self.held.iter().any(|held| held.block.height == height);
            if !held && !self.is_asked(height) {
                self.put_free(height);
            }
        }
    }

    fn is_asked(&self, height: u32) -> bool {
        self.requests.iter().any(|request| request.owes(height))
    }

    fn put_free(&mut self, height: u32) {
        // Of two filters that were held for one height both may be wrong.
        if self.free.range(..=height).next_back().is_some_and(|(_, end)| *end >= height) {
            return;
        }
        let last = self.free.remove(&(height + 1)).unwrap_or(height);
        match self.free.range_mut(..=height).next_back() {
            Some((_, end)) if *end + 1 == height => *end = last,
            _ => {
                self.free.insert(height, last);
            }
        }
    }

    /// Takes loaded blocks or filter headers in; both are told the first and the last height of the segment. False: what
    /// came does not fit what was asked for.
    pub(super) fn loaded(
        &mut self,
        ticket: Ticket,
        hashes: impl Fn(u32, u32) -> Option<Vec<BlockHash>>,
        links: impl Fn(u32, u32) -> Option<Vec<FilterHeader>>,
    ) -> bool {
        for (&start, segment) in &mut self.segments {
            match segment.loaded(start, ticket, &hashes, &links) {
                Took::Nothing => {}
                Took::Part => return true,
                Took::All => {
                    let stop = segment.stop;
                    self.free_all(start, stop);
                    return true;
                }
                Took::Misfit => return false,
            }
        }
        // The segment was given up in the meantime.
        true
    }

    /// Whether there are filters that nobody is asked for.
    pub(super) fn has_free(&self) -> bool {
        !self.free.is_empty()
    }

    /// Whether any request has not been answered in full.
    pub(super) fn has_requests(&self) -> bool {
        !self.requests.is_empty()
    }

    /// Whether anything is open or asked for from a height on.
    pub(super) fn is_open_from(&self, height: u32) -> bool {
        self.segments.values().next_back().is_some_and(|segment| segment.stop >= height)
            || self.requests.iter().any(|request| request.last() >= height)
    }

    /// How many filters are open that nobody is asked for.
    pub(super) fn unasked(&self) -> u32 {
        self.free.iter().map(|(first, last)| last - first + 1).sum()
    }

    /// Up to which height filters are open, of those up to `limit`.
    pub(super) fn open_to(&self, limit: u32) -> Option<u32> {
        self.segments.range(..=limit).next_back().map(|(_, segment)| segment.stop)
    }

    /// Asks `peer`, which can serve blocks up to `best`, for filters that nobody is asked for: for no more than `most`, the
    /// lowest from `urgent` on, or the lowest of all.
    pub(super) fn ask(
        &mut self,
        peer: ConnId,
        serial: u64,
        best: u32,
        most: u32,
        urgent: u32,
    ) -> Option<FilterRequest> {
        let runs = [self.free.range(urgent..).next(), self.free.first_key_value()];
        let (&first, &end) = runs.into_iter().flatten().find(|(first, _)| **first <= best)?;
        let limit = best.min(first.saturating_add(most.max(1) - 1));
        let (mut start, mut end) = (first, end);
        let last = loop {
            self.free.remove(&start);
            let last = end.min(limit);
            if end > last {
                self.free.insert(last + 1, end);
                break last;
            }
            match self.free.range(last..).next() {
                // What lies between them is taken as coming twice, which it can be only while it is open: with two groups, or newest
                // first, it may have been searched before what is below.
                Some((&above, &stop))
                    if above <= limit
                        && above - last - 1 <= MAX_GAP
                        && (last + 1..above).all(|height| self.hash(height).is_some()) =>
                {
                    (start, end) = (above, stop);
                }
                _ => break last,
            }
        };
        self.request(peer, serial, first, last, false)
    }

    fn request(
        &mut self,
        peer: ConnId,
        serial: u64,
        first: u32,
        last: u32,
        is_second: bool,
    ) -> Option<FilterRequest> {
        let stop_hash = self.hash(last)?;
        let came = alloc::vec![false; (last - first + 1) as usize];
        self.requests.push(Request {
            peer,
            serial,
            first,
            came,
            owed: last - first + 1,
            average: self.average,
            any_came: false,
            shared_from: None,
            is_second,
            early: Vec::new(),
        });
        Some(FilterRequest { filter_type: FILTER_TYPE_BASIC, start_height: first, stop_hash })
    }

    /// Asks `peer` for filters whose headers are being fetched, from the height `first` on.
    pub(super) fn ask_early(
        &mut self,
        peer: ConnId,
        serial: u64,
        first: u32,
        hashes: Vec<BlockHash>,
    ) -> Option<FilterRequest> {
        let stop_hash = *hashes.last()?;
        self.requests.push(Request {
            peer,
            serial,
            first,
            came: alloc::vec![false; hashes.len()],
            owed: hashes.len() as u32,
            average: self.average,
            any_came: false,
            shared_from: None,
            is_second: false,
            early: hashes,
        });
        Some(FilterRequest { filter_type: FILTER_TYPE_BASIC, start_height: first, stop_hash })
    }

    /// What `peer` could be asked for though others are asked for it, in the order in which those were asked.
    pub(super) fn owed_by_others(&self, peer: ConnId) -> Vec<Owed> {
        let mut ahead: BTreeMap<ConnId, (u32, u64)> = BTreeMap::new();
        let mut owed = Vec::new();
        for request in self.requests.iter().filter(|request| request.peer != peer) {
            let (filters, bytes) = ahead.entry(request.peer).or_default();
            *filters += request.owed;
            *bytes += request.bytes();
            if request.is_second || !request.early.is_empty() {
                continue;
            }
            let missing = self.single(request).count() as u32;
            if missing > 0 {
                let (peer, serial) = (request.peer, request.serial);
                owed.push(Owed { peer, serial, ahead: *filters, bytes: *bytes, missing });
            }
        }
        owed
    }

    /// The heights of a request that have not come from anyone, and that nobody else is asked for.
    fn single<'a>(&'a self, request: &'a Request) -> impl DoubleEndedIterator<Item = u32> + 'a {
        let below = request.shared_from.unwrap_or(u32::MAX);
        request.owed_heights().filter(move |height| *height < below && self.is_missing(*height))
    }

    fn is_missing(&self, height: u32) -> bool {
        self.segment(height).is_some_and(|(start, segment)| !segment.received[(height - start) as usize])
    }

    fn segment(&self, height: u32) -> Option<(u32, &Segment)> {
        let (start, segment) = self.segments.range(..=height).next_back()?;
        (height <= segment.stop).then_some((*start, segment))
    }

    /// Where the segment begins that holds a height.
    pub(super) fn start_of(&self, height: u32) -> Option<u32> {
        self.segment(height).map(|(start, _)| start)
    }

    fn hash(&self, height: u32) -> Option<BlockHash> {
        self.segment(height).and_then(|(start, segment)| segment.hash(start, height))
    }

    /// Asks `peer` for the last `count` of what another owes.
    pub(super) fn share(
        &mut self,
        peer: ConnId,
        serial: u64,
        best: u32,
        owed: &Owed,
        count: u32,
    ) -> Option<FilterRequest> {
        let place = self.requests.iter().position(|request| request.serial == owed.serial)?;
        let heights: Vec<u32> = self.single(&self.requests[place]).rev().take(count as usize).collect();
        let (&last, &first) = (heights.first()?, heights.last()?);
        if last > best {
            return None;
        }
        self.requests[place].shared_from = Some(first);
        self.request(peer, serial, first, last, true)
    }

    /// About how many bytes of filters `peer` has still to send, and how many requests that is.
    pub(super) fn owed_by(&self, peer: ConnId) -> (u64, usize) {
        let requests = self.requests.iter().filter(|request| request.peer == peer);
        requests.fold((0, 0), |(bytes, count), request| (bytes + request.bytes(), count + 1))
    }

    /// Whether `peer` owes filters that nobody has sent.
    pub(super) fn is_waiting_for(&self, peer: ConnId) -> bool {
        let mut requests = self.requests.iter().filter(|request| request.peer == peer);
        requests.any(|request| {
            request.owed_heights().any(|height| !request.early.is_empty() || self.is_missing(height))
        })
    }

    /// Bytes of a filter, on average.
    pub(super) fn average(&self) -> u64 {
        self.average
    }

    /// Takes one filter from `peer`.
    ///
    /// `None`: the peer is not asked for it, or has sent it before. What is wrong with it comes with its height.
    pub(super) fn receive(
        &mut self,
        peer: ConnId,
        block_hash: BlockHash,
        bytes: &[u8],
        watches: &Watches,
    ) -> Option<Looked> {
        let (place, height) =
            self.requests.iter().enumerate().filter(|(_, request)| request.peer == peer).find_map(
                |(place, request)| {
                    // Filters come in order as a rule: the first that is missing is the first place to look.
                    let mut heights = request.owed_heights();
                    let hash = |height: u32| match request.early.get((height - request.first) as usize) {
                        Some(hash) => Some(*hash),
                        None => self.hash(height),
                    };
                    heights.find(|height| hash(*height) == Some(block_hash)).map(|height| (place, height))
                },
            )?;
        let length = bytes.len() as u64 + OVERHEAD;
        self.average = (self.average * 15 + length) / 16;
        let request = &mut self.requests[place];
        request.average = if request.any_came { (request.average * 7 + length) / 8 } else { length };
        request.came[(height - request.first) as usize] = true;
        request.any_came = true;
        request.owed -= 1;
        if request.owed == 0 {
            self.requests.remove(place);
        }
        let block = BlockId { height, hash: block_hash };
        Some(self.take(peer, block, bytes, watches).map_err(|misbehaviour| (height, misbehaviour)))
    }

    /// Checks and matches a filter that a peer was asked for, unless another has sent it.
    fn take(
        &mut self,
        peer: ConnId,
        block: BlockId,
        bytes: &[u8],
        watches: &Watches,
    ) -> Result<Option<BlockId>, Misbehaviour> {
        let known = self.segments.range_mut(..=block.height).next_back();
        let known = known.filter(|(_, segment)| block.height <= segment.stop);
        let Some((start, segment)) = known else {
            self.hold(peer, block, bytes);
            return Ok(None);
        };
        let Context::Ready { links, .. } = &segment.context else {
            self.hold(peer, block, bytes);
            return Ok(None);
        };
        let place = (block.height - *start) as usize;
        if segment.received[place] || matches!(segment.source, Source::Disk(_)) {
            return Ok(None);
        }
        let result = if filter::header(filter::hash(bytes), links[place]) == links[place + 1] {
            match watches.query_at(block.height) {
                Some(query) => query
                    .matches(&block.hash, bytes, &mut self.scratch)
                    .map_err(|_| Misbehaviour::UndecodableFilter),
                None => Ok(false),
            }
        } else {
            Err(Misbehaviour::WrongFilter)
        };
        match result {
            Ok(matches) => {
                let is_decoy = !matches && self.decoys.contain(&block.hash);
                if matches || is_decoy {
                    self.matched.push(Matched { block, is_decoy });
                }
                segment.receive(place);
                if let Source::Kept(kept) = &mut segment.source {
                    *kept += bytes.len() as u64;
                }
                // One that was held for this height may have been wrong: whoever was to be asked for it then is not any more.
                let first = self.free.range(..=block.height).next_back();
                if first.is_some_and(|(_, end)| *end >= block.height) {
                    self.take_free(block.height, block.height);
                }
                Ok(Some(block))
            }
            Err(misbehaviour) => {
                if !self.is_asked(block.height) {
                    self.put_free(block.height);
                }
                Err(misbehaviour)
            }
        }
    }

    /// Keeps a filter until its filter header is known. What there is no room for is asked for again then.
    fn hold(&mut self, peer: ConnId, block: BlockId, bytes: &[u8]) {
        let held: usize = self.held.iter().map(|held| held.bytes.len()).sum();
        if held + bytes.len() <= self.room {
            self.held.push(Held { peer, block, bytes: bytes.into() });
        }
    }

    /// Takes a filter that was held and can be looked at now. Returns who sent it, and what is wrong with it, with its height.
    pub(super) fn take_held(&mut self, watches: &Watches) -> Option<(ConnId, Vec<u8>, Looked)> {
        let place = self.held.iter().position(|held| self.hash(held.block.height).is_some())?;
        let Held { peer, block, bytes } = self.held.remove(place);
        let taken = self.take(peer, block, &bytes, watches);
        Some((peer, bytes, taken.map_err(|misbehaviour| (block.height, misbehaviour))))
    }

    /// Whether the filter at a height, which has come, is one to keep on the disk; `has_room` says for the first of a segment
    /// whether the segment is, by about how many bytes come above it.
    pub(super) fn keeps(&mut self, height: u32, tip: u32, has_room: impl FnOnce(u64) -> bool) -> bool {
        let segment = self.segments.range_mut(..=height).next_back();
        let Some((_, segment)) = segment.filter(|(_, segment)| height <= segment.stop) else { return false };
        let is_first = segment.missing as usize + 1 == segment.received.len();
        let above = u64::from(tip.saturating_sub(segment.stop)).saturating_mul(self.average);
        if is_first && !has_room(above) {
            segment.source = Source::Peers;
        }
        matches!(segment.source, Source::Kept(_))
    }

    /// The next filters to load from the disk, so many at most: the first and the last height.
    pub(super) fn next_page(&mut self, most: u32) -> Option<(u32, u32)> {
        self.segments.values_mut().find_map(|segment| {
            let Segment { source: Source::Disk(next), context: Context::Ready { .. }, stop, .. } = segment
            else {
                return None;
            };
            let page = (*next <= *stop).then(|| (*next, (*stop).min(*next + (most - 1))))?;
            *next = page.1 + 1;
            Some(page)
        })
    }

    /// Matches a filter from the disk. `None`: it is another block's, or no filter.
    pub(super) fn take_kept(
        &mut self,
        height: u32,
        hash: &BlockHash,
        bytes: &[u8],
        watches: &Watches,
    ) -> Option<()> {
        let (start, segment) = self.segments.range_mut(..=height).next_back()?;
        let place = (height - *start) as usize;
        let Context::Ready { hashes, .. } = &segment.context else { return None };
        if hashes.get(place) != Some(hash) || *segment.received.get(place)? {
            return None;
        }
        let matches = match watches.query_at(height) {
            Some(query) => query.matches(hash, bytes, &mut self.scratch).ok()?,
            None => false,
        };
        let is_decoy = !matches && self.decoys.contain(hash);
        if matches || is_decoy {
            self.matched.push(Matched { block: BlockId { height, hash: *hash }, is_decoy });
        }
        segment.receive(place);
        Some(())
    }

    /// Takes the blocks that are to be asked for since the last time.
    pub(super) fn take_matched(&mut self) -> Vec<Matched> {
        core::mem::take(&mut self.matched)
    }

    /// Takes out the lowest segment of those from `next` to `limit` if all its filters have come. What may still come of it, because two peers were asked, is added to `late`.
    pub(super) fn take_done(
        &mut self,
        next: u32,
        limit: u32,
        late: &mut BTreeMap<ConnId, u32>,
    ) -> Option<Done> {
        let lowest = self.segments.range(next..).next();
        let start = *lowest.filter(|(start, segment)| **start <= limit && segment.missing == 0)?.0;
        let segment = self.segments.remove(&start)?;
        let Context::Ready { hashes, .. } = &segment.context else {
            unreachable!("a filter is only taken in when its filter header is known")
        };
        let last = BlockId { height: segment.stop, hash: *hashes.last().expect("a segment is not empty") };
        for request in &mut self.requests {
            *late.entry(request.peer).or_default() += request.forgo(start, segment.stop);
        }
        self.requests.retain(|request| request.owed > 0);
        Some(Done { first: start, last, source: segment.source })
    }

    /// How many filters of the open segments up to `limit` have come.
    pub(super) fn received(&self, limit: u32) -> u32 {
        self.segments
            .range(..=limit)
            .map(|(_, segment)| segment)
            .map(|segment| segment.received.len() as u32 - segment.missing)
            .sum()
    }

    /// What `peer` has not answered of the requests up to `serial`, though it has answered what was asked after them.
    pub(super) fn unanswered(&self, peer: ConnId, serial: u64) -> Option<Unanswered> {
        let mut requests =
            self.requests.iter().filter(|request| request.peer == peer && request.serial <= serial);
        let request = requests.next()?;
        let left_out = request.owed_heights().next().filter(|_| request.any_came);
        let block = left_out.and_then(|height| {
            let early = request.early.get((height - request.first) as usize).copied();
            Some(BlockId { height, hash: early.or_else(|| self.hash(height))? })
        });
        Some(block.map_or(Unanswered::Silence, Unanswered::LeftOut))
    }

    /// Takes back what `peer` was asked for. Returns how many filters of it may still come.
    pub(super) fn release(&mut self, peer: ConnId) -> u32 {
        let (released, kept) = core::mem::take(&mut self.requests)
            .into_iter()
            .partition::<Vec<Request>, _>(|request| request.peer == peer);
        self.requests = kept;
        let mut late = 0;
        for request in &released {
            late += request.owed;
            for other in self.requests.iter_mut().filter(|other| other.overlaps(request)) {
                other.shared_from = None;
                other.is_second = false;
            }
            for height in request.owed_heights() {
                if self.hash(height).is_some() && self.is_missing(height) && !self.is_asked(height) {
                    self.put_free(height);
                }
            }
        }
        late
    }

    /// Gives up the segments that have any of these heights. Returns how many filters were asked of whom.
    pub(super) fn give_up(&mut self, first: u32, last: u32) -> BTreeMap<ConnId, u32> {
        let mut late = BTreeMap::new();
        self.held.retain(|held| !(first..=last).contains(&held.block.height));
        let overlap = self.segments.range(..=last).filter(|(_, segment)| segment.stop >= first);
        let gone: Vec<(u32, u32)> = overlap.map(|(start, segment)| (*start, segment.stop)).collect();
        // What was asked for early has no segment.
        let early = self.requests.iter().filter(|request| !request.early.is_empty());
        let early = early.map(|request| (request.first.max(first), request.last().min(last)));
        let gone: Vec<(u32, u32)> = gone.into_iter().chain(early).filter(|(low, high)| low <= high).collect();
        for (low, high) in gone {
            self.segments.remove(&low);
            self.take_free(low, high);
            self.matched.retain(|matched| !(low..=high).contains(&matched.block.height));
            for request in &mut self.requests {
                *late.entry(request.peer).or_default() += request.forgo(low, high);
            }
        }
        self.requests.retain(|request| request.owed > 0);
        late
    }

    /// Notes that these heights are not to be asked for.
    fn take_free(&mut self, first: u32, last: u32) {
        let overlap = self.free.range(..=last).filter(|(_, end)| **end >= first);
        let overlap: Vec<(u32, u32)> = overlap.map(|(start, end)| (*start, *end)).collect();
        for (start, end) in overlap {
            self.free.remove(&start);
            if start < first {
                self.free.insert(start, first - 1);
            }
            if end > last {
                self.free.insert(last + 1, end);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::hashes::Hash;

    use super::*;

    /// A request leaps over a few that have come, but not over what is not open any more: that would seem unasked.
    #[test]
    fn one_request_is_for_what_is_open() {
        let hashes =
            |from: u8, to: u8| (from..=to).map(|height| BlockHash::from_byte_array([height; 32])).collect();
        let links = |count: usize| alloc::vec![FilterHeader::all_zeros(); count + 1];
        for is_open in [false, true] {
            let decoys = Decoys::new(None, &mut andon_kernel::Rng::new([1; 32]));
            let mut filters = Filters::new(1 << 20, decoys);
            filters.open(25, Source::Peers, hashes(25, 25), links(1));
            if is_open {
                filters.open(26, Source::Peers, hashes(26, 26), links(1));
                filters.take_free(26, 26);
            }
            filters.open(27, Source::Peers, hashes(27, 28), links(2));
            let peer = ConnId::dialled(0);
            let asked =
                filters.ask(peer, 1, 100, 100, 0).map(|request| (request.start_height, request.stop_hash));
            let last = if is_open { 28 } else { 25 };
            assert_eq!(asked, Some((25, BlockHash::from_byte_array([last; 32]))));
        }
    }

    /// A wrong filter was held for a height, and a right one: nobody is to be asked for it any more, or a request would end in a block
    /// that is not open, and what is below it be asked of nobody.
    #[test]
    fn what_has_come_is_not_free() {
        let bytes = [0];
        let right = filter::header(filter::hash(&bytes), FilterHeader::all_zeros());
        let hash = |height: u8| BlockHash::from_byte_array([height; 32]);
        let mut filters = Filters::new(1 << 20, Decoys::new(None, &mut andon_kernel::Rng::new([1; 32])));
        let watches = Watches::default();
        let peer = ConnId::dialled(0);
        let block = BlockId { height: 27, hash: hash(27) };
        filters.hold(peer, block, &[1, 2]);
        filters.hold(peer, block, &bytes);
        filters.open(27, Source::Peers, [hash(27)].into(), [FilterHeader::all_zeros(), right].into());
        filters.open(26, Source::Peers, [hash(26)].into(), alloc::vec![FilterHeader::all_zeros(); 2]);
        let wrong = filters.take_held(&watches).map(|(_, _, looked)| looked);
        assert_eq!(wrong, Some(Err((27, Misbehaviour::WrongFilter))));
        assert_eq!(filters.free, BTreeMap::from([(26, 27)]));
        let taken = filters.take_held(&watches).map(|(_, _, looked)| looked);
        assert_eq!(taken, Some(Ok(Some(block))));
        assert_eq!(filters.free, BTreeMap::from([(26, 26)]));
        let done = filters.take_done(27, 27, &mut BTreeMap::new());
        assert_eq!(done.map(|done| done.first), Some(27));
        assert_eq!(filters.ask(peer, 1, 100, 100, 0).map(|request| request.stop_hash), Some(hash(26)));
    }

    #[test]
    fn what_is_free_is_free_once() {
        let mut filters = Filters::new(1 << 20, Decoys::new(None, &mut andon_kernel::Rng::new([1; 32])));
        for height in [5, 6, 7, 9, 5, 6, 7, 9, 8, 8] {
            filters.put_free(height);
        }
        assert_eq!(filters.free, BTreeMap::from([(5, 9)]));
    }
}
