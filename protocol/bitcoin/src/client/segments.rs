//! Pieces of the window of filters: the blocks of each, what their filters are checked against, and which have come.

use alloc::vec::Vec;

use andon_kernel::Ticket;
use bitcoin::{BlockHash, FilterHeader};

use super::api::BlockId;

/// Blocks that follow each other, and which of their filters have come.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) stop: u32,
    pub(super) source: Source,
    pub(super) context: Context,
    /// Which filters have come, by their place in the segment.
    pub(super) received: Vec<bool>,
    pub(super) missing: u32,
}

/// Where the filters of a segment come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// From peers.
    Peers,
    /// From peers, and they are kept on the disk: so many bytes up to now.
    Kept(u64),
    /// From the disk: the first height that has not been asked for.
    Disk(u32),
}

/// A segment that has come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Done {
    pub(super) first: u32,
    pub(super) last: BlockId,
    pub(super) source: Source,
}

/// The blocks of a segment with their filter headers, and the filter header before the first.
#[derive(Debug)]
pub(super) enum Context {
    Loading {
        headers: Ticket,
        filter_headers: Option<Ticket>,
        hashes: Option<Vec<BlockHash>>,
        links: Option<Vec<FilterHeader>>,
    },
    Ready {
        hashes: Vec<BlockHash>,
        links: Vec<FilterHeader>,
    },
}

/// What came of rows that were loaded for a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Took {
    /// They are not for this one.
    Nothing,
    /// More is needed.
    Part,
    /// That was all.
    All,
    /// They do not fit what was asked for.
    Misfit,
}

impl Segment {
    /// None of its filters have come.
    pub(super) fn new(start: u32, stop: u32, source: Source, context: Context) -> Self {
        let missing = stop - start + 1;
        Self { stop, source, context, received: alloc::vec![false; missing as usize], missing }
    }

    /// The hash of its block at a height, if it is known.
    pub(super) fn hash(&self, start: u32, height: u32) -> Option<BlockHash> {
        match &self.context {
            Context::Ready { hashes, .. } => hashes.get((height - start) as usize).copied(),
            Context::Loading { .. } => None,
        }
    }

    /// Notes that a filter has come.
    pub(super) fn receive(&mut self, place: usize) {
        self.received[place] = true;
        self.missing -= 1;
    }

    /// Takes loaded blocks or filter headers in; both are told the first and the last height.
    pub(super) fn loaded(
        &mut self,
        start: u32,
        ticket: Ticket,
        hashes: impl FnOnce(u32, u32) -> Option<Vec<BlockHash>>,
        links: impl FnOnce(u32, u32) -> Option<Vec<FilterHeader>>,
    ) -> Took {
        let Context::Loading { headers, filter_headers, hashes: known_hashes, links: known_links } =
            &mut self.context
        else {
            return Took::Nothing;
        };
        let count = self.received.len();
        if ticket == *headers {
            *known_hashes = hashes(start, self.stop).filter(|hashes| hashes.len() == count);
            if known_hashes.is_none() {
                return Took::Misfit;
            }
        } else if Some(ticket) == *filter_headers {
            *known_links = links(start, self.stop).filter(|links| links.len() == count + 1);
            if known_links.is_none() {
                return Took::Misfit;
            }
        } else {
            return Took::Nothing;
        }
        match (&mut *known_hashes, &mut *known_links) {
            (Some(hashes), Some(links)) => {
                let (hashes, links) = (core::mem::take(hashes), core::mem::take(links));
                self.context = Context::Ready { hashes, links };
                Took::All
            }
            _ => Took::Part,
        }
    }
}
