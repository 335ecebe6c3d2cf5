//! Answers to requests for headers, filters and blocks, with the limits that Bitcoin Core sets.

use alloc::vec::Vec;

use bitcoin::hashes::Hash;
use bitcoin::p2p::ServiceFlags;
use bitcoin::{BlockHash, FilterHeader};

use super::chain::BlockIndex;
use super::handshake::is_transaction;
use super::limits::{CHECKPOINT_INTERVAL, PRUNED_DEPTH, SLICE};
use super::session::Session;
use super::{Reason, Refusal};
use crate::wire::{
    FILTER_TYPE_BASIC, FilterRequest, GetHeaders, INV_BLOCK, INV_COMPACT_BLOCK, INV_WITNESS_BLOCK, Inventory,
    MAX_CFHEADERS, MAX_CFILTERS, MAX_HEADERS, MAX_LOCATOR, Message,
};

/// An answer of which a part has been sent.
#[derive(Debug)]
pub(super) enum Answer {
    /// To `getdata`.
    Data {
        requests: Vec<Inventory>,
        /// How many of them have been answered.
        done: usize,
    },
    /// To `getcfilters`.
    Filters { stop: BlockIndex, next_height: u32 },
}

impl Session<'_> {
    /// Sends the next part of an answer; returns what is left of it.
    pub(super) fn go_on(&mut self, answer: Answer) -> Result<Option<Answer>, Reason> {
        match answer {
            Answer::Data { requests, done } => {
                let done = self.data(&requests, done)?;
                Ok((done < requests.len()).then_some(Answer::Data { requests, done }))
            }
            Answer::Filters { stop, next_height } => {
                let chain = &self.shared.chain;
                let Some(index) = chain.ancestor(stop, next_height) else { return Ok(None) };
                let block = chain.block(index);
                let message = Message::CFilter {
                    filter_type: FILTER_TYPE_BASIC,
                    block_hash: block.hash,
                    filter: &block.filter,
                };
                super::session::write(self.out, self.conn, self.peer, &message);
                Ok((index != stop).then_some(Answer::Filters { stop, next_height: next_height + 1 }))
            }
        }
    }

    /// Answers `getheaders`.
    pub(super) fn headers(&mut self, request: &GetHeaders<'_>) -> Result<(), Reason> {
        if request.locator.len() > MAX_LOCATOR {
            return Err(Reason::Refused(Refusal::LongLocator));
        }
        let chain = &self.shared.chain;
        if chain.height() < self.shared.config.minimum_height {
            // As a node that knows that it lacks most of the chain.
            self.send(&Message::Headers([].as_slice().into()));
            return Ok(());
        }
        let mut headers = Vec::new();
        let mut last = None;
        if request.locator.is_empty() {
            // Without a locator, the one header is asked for, wherever it is.
            match chain.find(&request.stop_hash).filter(|&index| chain.is_served(index)) {
                None => return Ok(()),
                Some(index) => {
                    headers.push(chain.block(index).header);
                    last = Some(index);
                }
            }
        } else {
            let known = request.locator.iter().filter_map(|hash| chain.find(&hash));
            let fork = known.into_iter().find(|&index| chain.is_in_best(index));
            let fork_height = fork.map_or(0, |index| chain.block(index).height);
            for height in fork_height + 1..=chain.height() {
                let Some(index) = chain.at(height) else { break };
                let block = chain.block(index);
                headers.push(block.header);
                if headers.len() == MAX_HEADERS || block.hash == request.stop_hash {
                    last = Some(index);
                    break;
                }
            }
        }
        self.peer.best_sent = Some(last.unwrap_or_else(|| chain.tip_index()));
        self.send(&Message::Headers(headers.as_slice().into()));
        Ok(())
    }

    /// Begins to answer `getcfilters`.
    pub(super) fn filters(&mut self, request: &FilterRequest) -> Result<(), Reason> {
        let stop = self.filter_range(request, MAX_CFILTERS)?;
        if self.is_indexed(self.shared.chain.block(stop).height) {
            self.peer.answer = Some(Answer::Filters { stop, next_height: request.start_height });
        }
        Ok(())
    }

    /// Answers `getcfheaders`.
    pub(super) fn filter_headers(&mut self, request: &FilterRequest) -> Result<(), Reason> {
        let stop = self.filter_range(request, MAX_CFHEADERS)?;
        let chain = &self.shared.chain;
        let stop_height = chain.block(stop).height;
        if !self.is_indexed(stop_height) {
            return Ok(());
        }
        let at = |height| chain.ancestor(stop, height).map(|index| chain.block(index));
        let previous = request.start_height.checked_sub(1).and_then(at);
        let hashes: Vec<_> = (request.start_height..=stop_height)
            .filter_map(|height| at(height).map(|block| block.filter_hash))
            .collect();
        self.send(&Message::CFHeaders {
            filter_type: FILTER_TYPE_BASIC,
            stop_hash: request.stop_hash,
            previous_filter_header: previous.map_or(FilterHeader::all_zeros(), |block| block.filter_header),
            filter_hashes: hashes.as_slice().into(),
        });
        Ok(())
    }

    /// Answers `getcfcheckpt`.
    pub(super) fn checkpoints(&mut self, filter_type: u8, stop_hash: BlockHash) -> Result<(), Reason> {
        let request = FilterRequest { filter_type, start_height: 0, stop_hash };
        let stop = self.filter_range(&request, u32::MAX)?;
        let chain = &self.shared.chain;
        let count = chain.block(stop).height / CHECKPOINT_INTERVAL;
        if !self.is_indexed(count * CHECKPOINT_INTERVAL) {
            return Ok(());
        }
        let headers: Vec<_> = (1..=count)
            .filter_map(|number| chain.ancestor(stop, number * CHECKPOINT_INTERVAL))
            .map(|index| chain.block(index).filter_header)
            .collect();
        self.send(&Message::CFCheckpt {
            filter_type: FILTER_TYPE_BASIC,
            stop_hash,
            filter_headers: headers.as_slice().into(),
        });
        Ok(())
    }

    /// The block at the end of a range of filters, if a peer may ask for the range.
    fn filter_range(&self, request: &FilterRequest, limit: u32) -> Result<BlockIndex, Reason> {
        let refuse = |refusal| Err(Reason::Refused(refusal));
        if request.filter_type != FILTER_TYPE_BASIC
            || !self.shared.config.services.has(ServiceFlags::COMPACT_FILTERS)
        {
            return refuse(Refusal::FilterType);
        }
        let chain = &self.shared.chain;
        let Some(stop) = chain.find(&request.stop_hash).filter(|&index| chain.is_served(index)) else {
            return refuse(Refusal::UnknownStopHash);
        };
        match chain.block(stop).height.checked_sub(request.start_height) {
            Some(distance) if distance < limit => Ok(stop),
            _ => refuse(Refusal::FilterRange),
        }
    }

    fn is_indexed(&self, height: u32) -> bool {
        self.shared.config.filter_index_height.is_none_or(|indexed| height <= indexed)
    }

    /// Answers a part of `getdata`, as Bitcoin Core does: the transactions up to the next entry of another kind, that
    /// entry, and what was not found of the transactions. Returns how many entries have been answered so far.
    fn data(&mut self, requests: &[Inventory], done: usize) -> Result<usize, Reason> {
        let rest = &requests[done..];
        let transactions = rest.iter().take_while(|request| is_transaction(request.kind)).count();
        let (wanted, rest) = rest.split_at(transactions);
        // A peer that wants to hear of none is not even told that there are none.
        if self.peer.wants_transactions() {
            let mut missing = Vec::new();
            let mut answered = 0;
            for request in wanted {
                if self.peer.unflushed >= SLICE {
                    break;
                }
                match self.shared.relay.pool.serve(request) {
                    Some(bytes) => self.send(&Message::Tx(&bytes)),
                    None => missing.push(*request),
                }
                answered += 1;
            }
            if answered < transactions {
                if !missing.is_empty() {
                    self.send(&Message::NotFound(missing.as_slice().into()));
                }
                return Ok(done + answered);
            }
            if let Some(request) = rest.first() {
                self.block(request)?;
            }
            if !missing.is_empty() {
                self.send(&Message::NotFound(missing.as_slice().into()));
            }
        } else if let Some(request) = rest.first() {
            self.block(request)?;
        }
        Ok(done + transactions + rest.len().min(1))
    }

    fn block(&mut self, request: &Inventory) -> Result<(), Reason> {
        let is_stripped = match request.kind {
            INV_BLOCK => true,
            INV_WITNESS_BLOCK | INV_COMPACT_BLOCK => false,
            _ => return Ok(()),
        };
        let chain = &self.shared.chain;
        let index = chain.find(&BlockHash::from_byte_array(request.hash));
        let Some(index) = index.filter(|&index| chain.is_served(index)) else { return Ok(()) };
        let block = chain.block(index);
        let services = self.shared.config.services;
        if services.has(ServiceFlags::NETWORK_LIMITED)
            && !services.has(ServiceFlags::NETWORK)
            && chain.height().saturating_sub(block.height) > PRUNED_DEPTH
        {
            return Err(Reason::Refused(Refusal::BlockTooDeep));
        }
        let mut write =
            |bytes: &[u8]| super::session::write(self.out, self.conn, self.peer, &Message::Block(bytes));
        if is_stripped && block.has_witness {
            write(&block.stripped())
        } else {
            write(&block.bytes)
        }
        Ok(())
    }
}
