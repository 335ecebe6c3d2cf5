//! Filters (BIP157, BIP158): asked for in chunks, each checked against its filter header and matched when it comes.
//!
//! A few chunks are open at a time, each asked of one peer; whichever order they are answered in, and whichever peer
//! leaves out what, every filter is accounted for.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use andon_kernel::{ConnId, Ticket};
use bitcoin::{BlockHash, FilterHeader};

use super::Misbehaviour;
use super::api::BlockId;
use crate::filter::{self, Query, Scratch};
use crate::wire::{FILTER_TYPE_BASIC, FilterRequest};

/// Filters for one request. A server queues an answer whole, and 250 recent filters have five megabytes.
const CHUNK: u32 = 250;

/// Chunks that are open at most: what may be asked for above the first filter that is missing.
const MAX_OPEN: usize = 16;

/// Chunks that are asked of one peer at a time: one comes while the next is being asked for.
const MAX_ASKED: usize = 2;

/// The open chunks.
#[derive(Debug, Default)]
pub(super) struct Filters {
    chunks: BTreeMap<u32, Chunk>,
    scratch: Scratch,
}

#[derive(Debug)]
struct Chunk {
    stop: u32,
    context: Context,
    asked: Option<ConnId>,
    /// Which filters have come, by their place in the chunk.
    received: Vec<bool>,
    missing: u32,
    matched: Vec<BlockId>,
}

/// The blocks of a chunk with their filter headers, and the filter header before the first.
#[derive(Debug)]
enum Context {
    Loading {
        headers: Ticket,
        filter_headers: Ticket,
        hashes: Option<Vec<BlockHash>>,
        links: Option<Vec<FilterHeader>>,
    },
    Ready {
        hashes: Vec<BlockHash>,
        links: Vec<FilterHeader>,
    },
}

/// A request that a peer has not answered in full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Released {
    /// Filters of it that may still come.
    pub(super) filters: u32,
}

impl Filters {
    /// The heights of the next chunk to open, up to `limit`, if there is room; `next` is the first to search.
    pub(super) fn next_chunk(&self, next: u32, limit: u32) -> Option<(u32, u32)> {
        let start = self.chunks.values().next_back().map_or(next, |chunk| chunk.stop + 1);
        (start <= limit && self.chunks.len() < MAX_OPEN).then(|| (start, limit.min(start + CHUNK - 1)))
    }

    /// Opens a chunk whose blocks and filter headers are being loaded.
    pub(super) fn open_loading(&mut self, start: u32, stop: u32, headers: Ticket, filter_headers: Ticket) {
        let context = Context::Loading { headers, filter_headers, hashes: None, links: None };
        self.open_with(start, stop, context);
    }

    /// Opens a chunk. `links` are its filter headers and the one before the first.
    pub(super) fn open(&mut self, start: u32, hashes: Vec<BlockHash>, links: Vec<FilterHeader>) {
        let stop = start + hashes.len() as u32 - 1;
        self.open_with(start, stop, Context::Ready { hashes, links });
    }

    fn open_with(&mut self, start: u32, stop: u32, context: Context) {
        let missing = stop - start + 1;
        let received = alloc::vec![false; missing as usize];
        self.chunks
            .insert(start, Chunk { stop, context, asked: None, received, missing, matched: Vec::new() });
    }

    /// Takes loaded blocks or filter headers in; both are told the first and the last height of the chunk. False: what came
    /// does not fit what was asked for.
    pub(super) fn loaded(
        &mut self,
        ticket: Ticket,
        hashes: impl FnOnce(u32, u32) -> Option<Vec<BlockHash>>,
        links: impl FnOnce(u32, u32) -> Option<Vec<FilterHeader>>,
    ) -> bool {
        for (start, chunk) in &mut self.chunks {
            let Context::Loading { headers, filter_headers, hashes: known_hashes, links: known_links } =
                &mut chunk.context
            else {
                continue;
            };
            if ticket == *headers {
                *known_hashes = hashes(*start, chunk.stop);
            } else if ticket == *filter_headers {
                *known_links = links(*start, chunk.stop);
            } else {
                continue;
            }
            let count = chunk.received.len();
            let fits = known_hashes.as_ref().is_none_or(|hashes| hashes.len() == count)
                && known_links.as_ref().is_none_or(|links| links.len() == count + 1)
                && (known_hashes.is_some() || ticket != *headers)
                && (known_links.is_some() || ticket != *filter_headers);
            if !fits {
                return false;
            }
            if let (Some(_), Some(_)) = (&known_hashes, &known_links) {
                let (hashes, links) = (known_hashes.take(), known_links.take());
                chunk.context =
                    Context::Ready { hashes: hashes.unwrap_or_default(), links: links.unwrap_or_default() };
            }
            return true;
        }
        // The chunk was given up in the meantime.
        true
    }

    /// Asks `peer`, which can serve blocks up to `best`, for what is missing of the lowest chunk that nobody is asked
    /// for. Returns with the request how many filters it covers that have come already, from a peer that sent no more.
    pub(super) fn ask(&mut self, peer: ConnId, best: u32) -> Option<(FilterRequest, u32)> {
        let owed = self.chunks.values().filter(|chunk| chunk.asked == Some(peer) && chunk.missing > 0);
        if owed.count() >= MAX_ASKED {
            return None;
        }
        let free = self.chunks.iter_mut().find(|(_, chunk)| chunk.asked.is_none() && chunk.missing > 0);
        let (start, chunk) = free.filter(|(_, chunk)| chunk.stop <= best)?;
        let Context::Ready { hashes, .. } = &chunk.context else { return None };
        let first = chunk.received.iter().position(|&received| !received)?;
        let last = chunk.received.iter().rposition(|&received| !received)?;
        chunk.asked = Some(peer);
        let request = FilterRequest {
            filter_type: FILTER_TYPE_BASIC,
            start_height: start + first as u32,
            stop_hash: hashes[last],
        };
        Some((request, (last - first + 1) as u32 - chunk.missing))
    }

    /// Whether `peer` owes filters.
    pub(super) fn is_waiting_for(&self, peer: ConnId) -> bool {
        self.chunks.values().any(|chunk| chunk.asked == Some(peer) && chunk.missing > 0)
    }

    /// Takes one filter from `peer`.
    ///
    /// `None`: it is of no chunk that the peer is asked for, or has come before.
    pub(super) fn receive(
        &mut self,
        peer: ConnId,
        block_hash: BlockHash,
        bytes: &[u8],
        query: &Query,
    ) -> Option<Result<(), Misbehaviour>> {
        let asked = self.chunks.iter_mut().filter(|(_, chunk)| chunk.asked == Some(peer));
        for (start, chunk) in asked {
            let Context::Ready { hashes, links } = &chunk.context else { continue };
            // Filters come in order as a rule: the first that is missing is the first place to look.
            let first = chunk.received.iter().position(|&received| !received).unwrap_or(0);
            let (before, after) = hashes.split_at(first);
            let place = after.iter().position(|hash| *hash == block_hash).map(|place| place + first);
            let Some(place) = place.or_else(|| before.iter().position(|hash| *hash == block_hash)) else {
                continue;
            };
            if chunk.received[place] {
                return None;
            }
            if filter::header(filter::hash(bytes), links[place]) != links[place + 1] {
                return Some(Err(Misbehaviour::WrongFilter));
            }
            match query.matches(&block_hash, bytes, &mut self.scratch) {
                Ok(true) => chunk.matched.push(BlockId { height: start + place as u32, hash: block_hash }),
                Ok(false) => {}
                Err(_) => return Some(Err(Misbehaviour::UndecodableFilter)),
            }
            chunk.received[place] = true;
            chunk.missing -= 1;
            return Some(Ok(()));
        }
        None
    }

    /// Takes out the lowest chunk if all its filters have come: its last block, and those that matched.
    pub(super) fn take_done(&mut self) -> Option<(BlockId, Vec<BlockId>)> {
        let entry = self.chunks.first_entry().filter(|entry| entry.get().missing == 0)?;
        let mut chunk = entry.remove();
        let Context::Ready { hashes, .. } = &chunk.context else {
            unreachable!("a filter is only taken in when its filter header is known")
        };
        let last = BlockId { height: chunk.stop, hash: *hashes.last().expect("a chunk is not empty") };
        chunk.matched.sort_unstable_by_key(|block| block.height);
        Some((last, chunk.matched))
    }

    /// How many filters of the open chunks have come.
    pub(super) fn received(&self) -> u32 {
        self.chunks.values().map(|chunk| chunk.received.len() as u32 - chunk.missing).sum()
    }

    /// Takes back what `peer` was asked for and has not sent.
    pub(super) fn release(&mut self, peer: ConnId) -> Released {
        let mut filters = 0;
        for chunk in self.chunks.values_mut().filter(|chunk| chunk.asked == Some(peer) && chunk.missing > 0) {
            chunk.asked = None;
            filters += chunk.missing;
        }
        Released { filters }
    }

    /// Gives all open chunks up. Returns what was asked of whom.
    pub(super) fn clear(&mut self) -> Vec<(ConnId, Released)> {
        let chunks = core::mem::take(&mut self.chunks);
        let asked = chunks.into_values().filter_map(|chunk| Some((chunk.asked?, chunk.missing)));
        asked.map(|(peer, filters)| (peer, Released { filters })).collect()
    }
}
