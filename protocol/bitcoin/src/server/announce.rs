//! New blocks, told to peers: as headers to those that prefer them (BIP130), else as an `inv` of the tip.

use alloc::vec::Vec;

use super::Reason;
use super::chain::{BlockIndex, Chain};
use super::limits::MAX_ANNOUNCED;
use super::session::Session;
use crate::wire::{INV_BLOCK, Inventory, Message};

/// The newest blocks above a fork, the lowest first: all that an announcement may need.
pub(super) fn news(chain: &Chain, fork_height: u32) -> Vec<BlockIndex> {
    let first = (fork_height + 1).max((chain.height() + 1).saturating_sub(MAX_ANNOUNCED as u32));
    (first..=chain.height()).filter_map(|height| chain.at(height)).collect()
}

impl Session<'_> {
    /// Hears of new blocks, and announces them as soon as what the peer asked for before is answered.
    pub(super) fn hear(&mut self, news: &[BlockIndex]) -> Result<(), Reason> {
        let pending = &mut self.peer.news;
        pending.extend_from_slice(news);
        // One more than can be told as headers is as good as any number.
        pending.drain(..pending.len().saturating_sub(MAX_ANNOUNCED + 1));
        self.proceed(&mut [])
    }

    pub(super) fn announce(&mut self) {
        let news = core::mem::take(&mut self.peer.news);
        let Some(&newest) = news.last() else { return };
        if let Some(headers) = self.headers_to_announce(&news) {
            if !headers.is_empty() {
                self.peer.best_sent = Some(newest);
                self.send(&Message::Headers(headers.as_slice().into()));
            }
        } else if !self.has_header(newest) {
            let tip = self.shared.chain.block(newest).hash;
            self.send(&Message::Inv([Inventory::block(INV_BLOCK, tip)].as_slice().into()));
        }
    }

    /// The headers that are new to the peer; `None` if they would not connect for it, or it does not want headers.
    fn headers_to_announce(&self, news: &[BlockIndex]) -> Option<Vec<bitcoin::block::Header>> {
        if !self.peer.prefers_headers || news.len() > MAX_ANNOUNCED {
            return None;
        }
        let chain = &self.shared.chain;
        let mut headers = Vec::new();
        let mut last = None;
        for &index in news {
            let parent = chain.parent(index);
            if !chain.is_in_best(index) || (last.is_some() && parent != last) {
                return None;
            }
            last = Some(index);
            if headers.is_empty() {
                if self.has_header(index) {
                    continue;
                }
                if parent.is_some_and(|parent| !self.has_header(parent)) {
                    return None;
                }
            }
            headers.push(chain.block(index).header);
        }
        Some(headers)
    }

    /// Whether the peer is known to have this block's header: it said so, or was sent it.
    fn has_header(&self, index: BlockIndex) -> bool {
        let chain = &self.shared.chain;
        let height = chain.block(index).height;
        [self.peer.best_known, self.peer.best_sent]
            .into_iter()
            .flatten()
            .any(|best| chain.ancestor(best, height) == Some(index))
    }

    /// Notes that the peer has a block, by its own word.
    pub(super) fn learn(&mut self, hash: &bitcoin::BlockHash) {
        let chain = &self.shared.chain;
        let Some(index) = chain.find(hash) else { return };
        if self.peer.best_known.is_none_or(|best| chain.has_as_much_work(index, best)) {
            self.peer.best_known = Some(index);
        }
    }
}
