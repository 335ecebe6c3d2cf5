//! What is asked of a liar: which of it the server at heart hears, and what it is answered otherwise.

use andon_bitcoin::wire::{FilterRequest, INV_BLOCK, INV_WITNESS_FLAG, Inventory, Message};
use andon_kernel::{ConnId, Input, Now};
use bitcoin::BlockHash;
use bitcoin::hashes::Hash;

use super::{Lie, LyingServer};
use crate::world::Port;

impl LyingServer {
    /// Takes a message. True: the server at heart is to have it as it is.
    pub(super) fn hear(&mut self, now: Now, conn: ConnId, message: Message<'_>, port: &mut Port<'_>) -> bool {
        self.count(&message);
        match message {
            Message::Verack => self.is_ready(now, conn),
            Message::GetHeaders(request) => {
                let first = request.locator.at(0);
                if self.does(Lie::LowWorkFlood) && self.show_cheap_headers(now, conn, first, port) {
                    return false;
                }
                if let Some(line) = self.lines.get_mut(&conn) {
                    line.owed_headers += 1;
                }
            }
            Message::GetCFHeaders(request) | Message::GetCFilters(request) => {
                return self.is_indexed(&request.stop_hash, |height| height);
            }
            // Of checkpoints the last counts.
            Message::GetCFCheckpt { stop_hash, .. } => {
                return self.is_indexed(&stop_hash, |height| height / 1000 * 1000);
            }
            Message::GetData(wanted) if self.does(Lie::WithheldBlocks) => {
                let all: Vec<Inventory> = wanted.iter().collect();
                let given: Vec<Inventory> =
                    all.iter().filter(|wanted| !self.withholds(wanted)).copied().collect();
                self.told.withheld_blocks += (all.len() - given.len()) as u64;
                if given.len() < all.len() {
                    if !given.is_empty() {
                        let message = Message::GetData(given.as_slice().into());
                        let mut bytes = Vec::new();
                        message.write(&mut bytes, self.magic);
                        self.give(now, Input::Received { conn, bytes: &mut bytes }, port);
                    }
                    return false;
                }
            }
            _ => {}
        }
        true
    }

    /// Whether it shows headers that nobody else has.
    const fn makes_headers(&self) -> bool {
        self.does(Lie::ReorganisationStorm) || self.does(Lie::LowWorkFlood)
    }

    fn count(&mut self, message: &Message<'_>) {
        let is_one =
            |request: &FilterRequest| self.chain.height_of(&request.stop_hash) == Some(request.start_height);
        if let Message::GetCFilters(request) = message
            && is_one(request)
        {
            *self.asked_for_one.entry(request.start_height).or_default() += 1;
        }
        let asked = &mut self.asked;
        let (place, count) = match message {
            Message::GetHeaders(_) => (&mut asked.headers, 1),
            Message::GetCFHeaders(request) if is_one(request) => (&mut asked.filter_header, 1),
            Message::GetCFHeaders(_) => (&mut asked.filter_headers, 1),
            Message::GetCFCheckpt { .. } => (&mut asked.checkpoints, 1),
            Message::GetCFilters(request) if is_one(request) => (&mut asked.filter, 1),
            Message::GetCFilters(_) => (&mut asked.filters, 1),
            Message::GetData(wanted) => {
                let blocks = wanted.iter().filter(|wanted| wanted.kind & !INV_WITNESS_FLAG == INV_BLOCK);
                (&mut asked.blocks, blocks.count() as u64)
            }
            Message::GetAddr => (&mut asked.addresses, 1),
            _ => return,
        };
        *place += count;
    }

    fn withholds(&self, wanted: &Inventory) -> bool {
        let is_block = wanted.kind & !INV_WITNESS_FLAG == INV_BLOCK;
        let height = self.chain.height_of(&BlockHash::from_byte_array(wanted.hash));
        is_block && height.is_none_or(|height| height >= self.means.from)
    }

    /// Whether filters up to a block are there to be told of. Of blocks that are its own making nothing is.
    fn is_indexed(&mut self, stop: &BlockHash, needs: impl FnOnce(u32) -> u32) -> bool {
        let height = self.chain.height_of(stop);
        let lags = self.does(Lie::LaggingIndex);
        let indexed = self.chain.height().saturating_sub(self.means.depth);
        let is_there = match height {
            Some(height) => !lags || needs(height) <= indexed,
            // What has left the chain is served by who had it; who asks for what nobody has is let go by such a node.
            None => self.chain.filter_header(stop).is_some() || !self.makes_headers(),
        };
        self.told.unanswered += u64::from(!is_there);
        is_there
    }
}
