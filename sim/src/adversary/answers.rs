//! What the server at heart answers: passed on, changed, or left out.

use andon_bitcoin::wire::{FILTER_TYPE_BASIC, INV_BLOCK, Inventory, MAX_HEADERS, Message, Version};
use andon_kernel::{ConnId, Now};
use bitcoin::block::Header;
use bitcoin::hashes::Hash;
use bitcoin::p2p::ServiceFlags;
use bitcoin::{BlockHash, FilterHash, FilterHeader};

use super::{Lie, LyingServer};
use crate::world::Port;

impl LyingServer {
    /// Says what the server at heart says, or something else.
    pub(super) fn answer(&mut self, now: Now, conn: ConnId, message: Message<'_>, port: &mut Port<'_>) {
        match message {
            Message::Version(version) => {
                let version = self.introduce(version);
                self.send(now, conn, &Message::Version(version), port);
            }
            Message::Headers(headers) => {
                let headers: Vec<Header> = headers.iter().collect();
                self.answer_headers(now, conn, headers, port);
            }
            Message::Inv(inventory) if self.shown().is_some() => {
                let all: Vec<Inventory> = inventory.iter().collect();
                let told: Vec<Inventory> = all.iter().filter(|item| self.shows(item)).copied().collect();
                if told.len() < all.len() {
                    self.told.withheld_headers += 1;
                }
                if !told.is_empty() {
                    self.send(now, conn, &Message::Inv(told.as_slice().into()), port);
                }
            }
            Message::CFHeaders { stop_hash, filter_hashes, .. } if self.does(Lie::FalseFilterHeaders) => {
                match self.forge_filter_headers(&stop_hash, filter_hashes.len()) {
                    Some((previous_filter_header, hashes)) => {
                        let filter_hashes = hashes.as_slice().into();
                        let message = Message::CFHeaders {
                            filter_type: FILTER_TYPE_BASIC,
                            stop_hash,
                            previous_filter_header,
                            filter_hashes,
                        };
                        self.send(now, conn, &message, port);
                    }
                    None => self.send(now, conn, &message, port),
                }
            }
            Message::CFCheckpt { stop_hash, ref filter_headers, .. }
                if self.does(Lie::FalseFilterHeaders) =>
            {
                let right: Vec<FilterHeader> = filter_headers.iter().collect();
                let said: Vec<FilterHeader> = (1u32..)
                    .zip(&right)
                    .map(|(number, right)| self.forged_header(number * 1000).unwrap_or(*right))
                    .collect();
                self.told.false_filter_headers += u64::from(said != right);
                let filter_headers = said.as_slice().into();
                let filter_type = FILTER_TYPE_BASIC;
                self.send(now, conn, &Message::CFCheckpt { filter_type, stop_hash, filter_headers }, port);
            }
            Message::CFilter { block_hash, filter, .. } => {
                self.answer_filter(now, conn, block_hash, filter, port);
            }
            message => self.send(now, conn, &message, port),
        }
    }

    /// Its `version`: as the server at heart has it, but for what it says of the transport and of its chain.
    fn introduce<'a>(&self, version: Version<'a>) -> Version<'a> {
        let mut version = version;
        if self.means.server.encryption {
            version.services.add(ServiceFlags::P2P_V2);
        }
        if let (Some(shows), true) = (self.shows, self.does(Lie::StaleChain)) {
            version.start_height = i32::try_from(shows).unwrap_or(i32::MAX);
        }
        version
    }

    /// The last height that is shown, where that is not the tip's.
    fn shown(&self) -> Option<u32> {
        let holds_back = self.does(Lie::StaleChain) || self.does(Lie::WithheldHeaders);
        self.shows.filter(|_| holds_back)
    }

    fn shows(&self, item: &Inventory) -> bool {
        let height = || self.chain.height_of(&BlockHash::from_byte_array(item.hash));
        item.kind != INV_BLOCK
            || self.shown().is_none_or(|shown| height().is_some_and(|height| height <= shown))
    }

    fn answer_headers(&mut self, now: Now, conn: ConnId, mut headers: Vec<Header>, port: &mut Port<'_>) {
        debug_assert!(headers.len() <= MAX_HEADERS, "a server of ours keeps to the limit");
        let Some(line) = self.lines.get_mut(&conn) else { return };
        let is_answer = line.owed_headers > 0;
        line.owed_headers = line.owed_headers.saturating_sub(1);
        if let Some(shown) = self.shown() {
            let above = |header: &Header| {
                self.chain.height_of(&header.block_hash()).is_none_or(|height| height > shown)
            };
            if let Some(first) = headers.iter().position(above) {
                headers.truncate(first);
                self.told.withheld_headers += 1;
                // An announcement of nothing would be none.
                if headers.is_empty() && !is_answer {
                    return;
                }
            }
        }
        self.send(now, conn, &Message::Headers(headers.as_slice().into()), port);
    }

    /// The filter header before a range that ends with a block, and its filter hashes, as the camp has them.
    fn forge_filter_headers(
        &mut self,
        stop: &BlockHash,
        count: usize,
    ) -> Option<(FilterHeader, Vec<FilterHash>)> {
        let last = self.chain.height_of(stop)?;
        let first = (last + 1).checked_sub(u32::try_from(count).ok()?)?;
        let forged = self.forged.as_ref()?;
        let before = match first.checked_sub(1) {
            Some(below) => forged.filter_header(below)?,
            None => FilterHeader::all_zeros(),
        };
        let hashes = (first..=last).map(|height| forged.filter_hash(height)).collect::<Option<Vec<_>>>()?;
        let is_false = forged.filter_header(last) != self.chain.filter_header(stop);
        self.told.false_filter_headers += u64::from(is_false);
        Some((before, hashes))
    }

    fn forged_header(&self, height: u32) -> Option<FilterHeader> {
        self.forged.as_ref()?.filter_header(height)
    }

    fn answer_filter(
        &mut self,
        now: Now,
        conn: ConnId,
        block_hash: BlockHash,
        filter: &[u8],
        port: &mut Port<'_>,
    ) {
        let height = self.chain.height_of(&block_hash);
        if let (Some(height), true) = (height, self.does(Lie::OmittedFilters))
            && self.omits(height)
        {
            self.told.omitted_filters += 1;
            return;
        }
        let forges = self.does(Lie::FalseFilterHeaders) || self.does(Lie::FalseFilters);
        let forged = self.forged.clone().filter(|_| forges);
        let said = height.zip(forged.as_deref()).and_then(|(height, forged)| forged.filter(height));
        self.told.false_filters += u64::from(said.is_some());
        let filter = said.unwrap_or(filter);
        self.send(now, conn, &Message::CFilter { filter_type: FILTER_TYPE_BASIC, block_hash, filter }, port);
    }

    /// Whether the filter of a block is left out: it shows what is to be hidden.
    fn omits(&self, height: u32) -> bool {
        let hides = &self.means.hides;
        let shows = || {
            let block = self.chain.block_at(height)?;
            let mut outputs = block.txdata.iter().flat_map(|transaction| &transaction.output);
            Some(outputs.any(|output| hides.contains(&output.script_pubkey)))
        };
        height >= self.means.from && (hides.is_empty() || shows() == Some(true))
    }
}
