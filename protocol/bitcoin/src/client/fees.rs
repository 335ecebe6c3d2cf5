//! What is known of fees: what peers say that they take at least, of whatever use they are, and what blocks paid, whatever they
//! were read for.

use alloc::collections::VecDeque;

use andon_kernel::ConnId;

use super::agreement::Voter;
use super::api::{Fees, RequestId};
use super::peer::Handshake;
use super::{Client, Event, Turn};
use crate::fees::{FeeFilters, RecentBlocks};

/// What is known, and who wants to know it.
#[derive(Debug)]
pub(super) struct KnownFees {
    filters: FeeFilters<ConnId, Voter>,
    pub(super) recent: RecentBlocks,
    /// Of how many blocks.
    orders: VecDeque<(Option<RequestId>, u32)>,
}

impl KnownFees {
    pub(super) fn new() -> Self {
        Self { filters: FeeFilters::new(), recent: RecentBlocks::new(), orders: VecDeque::new() }
    }

    pub(super) fn order(&mut self, request: Option<RequestId>, blocks: u32) {
        self.orders.push_back((request, blocks));
    }

    /// How many orders wait.
    pub(super) fn orders(&self) -> usize {
        self.orders.len()
    }

    /// Forgets a request.
    pub(super) fn cancel(&mut self, id: RequestId) {
        self.orders.retain(|(request, _)| *request != Some(id));
    }

    /// A peer is gone.
    pub(super) fn peer_gone(&mut self, conn: ConnId) {
        self.filters.remove(&conn);
    }
}

impl Client {
    /// Tells what is known to whoever asked.
    pub(super) fn tell_fees(&mut self, turn: &mut Turn<'_>) {
        while let Some((request, blocks)) = self.fees.orders.pop_front() {
            let from = (self.chain.tip_height() + 1).saturating_sub(blocks);
            let fees = Fees { least: self.fees.filters.median(), paid: self.fees.recent.rates(from) };
            self.answer(turn, request, Event::Fees(fees));
        }
    }

    /// A peer has named the rate below which it wants to hear of nothing.
    pub(super) fn note_fee_filter(&mut self, conn: ConnId, least: u64) {
        let Some(peer) = self.peers.get(&conn) else { return };
        let voter = self.voter(peer);
        self.fees.filters.set(conn, voter, least);
        if let Some(peer) = self.peers.get_mut(&conn).filter(|peer| peer.handshake == Handshake::Broadcast) {
            peer.fee_filter = Some(least);
            self.broadcasting.outgoing.fee_filter(conn, least);
            self.broadcasting.is_due();
        }
    }
}
