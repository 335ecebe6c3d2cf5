//! Asking peers for block headers (BIP130), and what follows when the chain changes.

use alloc::vec::Vec;
use core::time::Duration;

use andon_kernel::ConnId;
use bitcoin::BlockHash;
use bitcoin::block::Header;
use bitcoin::hashes::Hash;

use super::api::{BlockId, Event};
use super::chain::{Extension, Stop};
use super::peer::Headers;
use super::rules::HeaderError;
use super::{Client, Misbehaviour, Then, Timer, Turn, record};
use crate::wire::{
    CommandName, GetHeaders, INV_BLOCK, Inventory, Items, MAX_HEADERS, MAX_INVENTORY, Message,
};

/// How long a peer may take to answer a request for headers, as in Bitcoin Core.
const HEADERS_TIMEOUT: Duration = Duration::from_secs(120);

/// When a peer that showed less than it claims is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(30);

/// Messages in a row with unknown parents after which a peer is let go, as Bitcoin Core once had it: each is answered
/// by a request that an honest peer answers with headers that connect.
const MAX_UNCONNECTED: u32 = 10;

impl Client {
    /// Asks each peer for headers that is to be asked. Until the chain is complete, one at a time: they would all send
    /// the same.
    pub(super) fn ask_for_headers(&mut self, turn: &mut Turn<'_>) {
        let busy = self.peers.values().any(|peer| peer.headers == Headers::Asked);
        let current = self.peers.values().any(|peer| peer.is_ready() && peer.headers == Headers::Done);
        if busy && !current {
            return;
        }
        let wanted: Vec<ConnId> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.is_ready() && peer.headers == Headers::Wanted)
            .map(|(conn, _)| *conn)
            .take(if current { usize::MAX } else { 1 })
            .collect();
        for conn in wanted {
            // From below the tip, so that a peer that has the tip shows it: an empty answer would show nothing.
            self.ask_headers_from(turn, conn, self.chain.tip_height().saturating_sub(1));
        }
    }

    fn ask_headers_from(&mut self, turn: &mut Turn<'_>, conn: ConnId, height: u32) {
        let locator = self.chain.locator(height);
        let request = GetHeaders { locator: locator.as_slice().into(), stop_hash: BlockHash::all_zeros() };
        self.send(turn, conn, &Message::GetHeaders(request));
        self.timers.set(Timer::Headers(conn), turn.now.instant + HEADERS_TIMEOUT);
        if let Some(peer) = self.peers.get_mut(&conn) {
            peer.headers = Headers::Asked;
        }
    }

    /// Whether the connected peers have shown all their headers, and at least one as much as it claims.
    pub(super) fn headers_are_current(&self) -> bool {
        let mut ready = self.peers.values().filter(|peer| peer.is_ready());
        ready.clone().any(|peer| peer.headers == Headers::Done)
            && ready.all(|peer| matches!(peer.headers, Headers::Done | Headers::Withheld))
    }

    pub(super) fn on_headers(
        &mut self,
        turn: &mut Turn<'_>,
        conn: ConnId,
        headers: Items<'_, Header>,
    ) -> Result<(), Misbehaviour> {
        if headers.len() > MAX_HEADERS {
            return Err(Misbehaviour::TooManyHeaders);
        }
        let extension = self.chain.extend(headers.iter(), turn.now.unix);
        self.chain_changed(turn, &extension);
        let tip = self.chain.tip_height();
        let Some(peer) = self.peers.get_mut(&conn) else { return Ok(()) };
        if let Some(last) = extension.last {
            peer.best = Some(last);
            peer.unconnected = 0;
            peer.claimed = peer.claimed.max(last.height);
        }
        let was_asked = peer.headers == Headers::Asked;
        match extension.stopped {
            None => {}
            Some(Stop::Invalid(HeaderError::NotYet)) => {}
            Some(Stop::Invalid(HeaderError::ProofOfWork)) => return Err(Misbehaviour::WrongProofOfWork),
            Some(Stop::Invalid(HeaderError::Forbidden)) => return Err(Misbehaviour::InvalidHeader),
            // A branch from so far back can't be judged with what is at hand. It is not followed.
            Some(Stop::Invalid(HeaderError::OutOfReach)) => {}
            Some(Stop::Discontinuous) => return Err(Misbehaviour::HeadersDiscontinuous),
            Some(Stop::TooManyBranches) => return Err(Misbehaviour::TooManyBranches),
            Some(Stop::Unconnected) => {
                peer.unconnected += 1;
                if peer.unconnected > MAX_UNCONNECTED {
                    return Err(Misbehaviour::HeadersUnconnected);
                }
                // The peer is ahead of us: what is between will come.
                if !was_asked {
                    peer.headers = Headers::Wanted;
                    return Ok(());
                }
            }
        }
        if !was_asked {
            return Ok(());
        }
        self.timers.cancel(Timer::Headers(conn));
        peer.note_answer();
        if headers.len() == MAX_HEADERS && extension.stopped.is_none() {
            let from = peer.best.filter(|best| self.chain.height_of(&best.hash).is_some());
            match from {
                Some(best) => self.ask_headers_from(turn, conn, best.height),
                // It is showing a branch that does not have the most work yet.
                None => self.ask_branch_from(turn, conn),
            }
            return Ok(());
        }
        if headers.is_empty() && tip == 0 && peer.claimed == 0 {
            peer.best = Some(self.chain.tip());
        }
        // A height that was claimed in the handshake and is not shown: the peer is syncing itself, or it lies.
        let shown = peer.best.map_or(0, |best| best.height);
        if peer.claimed > shown && peer.claimed > tip {
            let event = Event::PeerWithholds {
                endpoint: self.targets.endpoint(peer.target).clone(),
                claimed: peer.claimed,
            };
            peer.headers = Headers::Withheld;
            self.timers.set(Timer::Retry(conn), turn.now.instant + ASK_AGAIN);
            turn.out.event(event);
        } else {
            peer.headers = Headers::Done;
        }
        Ok(())
    }

    /// Asks for what follows the branch that a peer is showing.
    fn ask_branch_from(&mut self, turn: &mut Turn<'_>, conn: ConnId) {
        let Some(best) = self.peers.get(&conn).and_then(|peer| peer.best) else { return };
        let mut locator = Vec::from([best.hash]);
        locator.extend(self.chain.locator(self.chain.common(best).unwrap_or(0)));
        locator.truncate(crate::wire::MAX_LOCATOR);
        let request = GetHeaders { locator: locator.as_slice().into(), stop_hash: BlockHash::all_zeros() };
        self.send(turn, conn, &Message::GetHeaders(request));
        self.timers.set(Timer::Headers(conn), turn.now.instant + HEADERS_TIMEOUT);
    }

    /// A peer announces blocks by their hashes, as Bitcoin Core does when more than eight are new.
    pub(super) fn on_inv(
        &mut self,
        conn: ConnId,
        command: CommandName,
        inventory: Items<'_, Inventory>,
    ) -> Result<(), Misbehaviour> {
        if inventory.len() > MAX_INVENTORY {
            return Err(Misbehaviour::Malformed(command));
        }
        let Some(peer) = self.peers.get_mut(&conn) else { return Ok(()) };
        for item in inventory.iter().filter(|item| item.kind == INV_BLOCK) {
            match self.chain.find(&BlockHash::from_byte_array(item.hash)) {
                // Another peer was faster. This one has shown it too.
                Some(known) => peer.best = Some(known),
                None if peer.headers != Headers::Asked => peer.headers = Headers::Wanted,
                None => {}
            }
        }
        Ok(())
    }

    /// Makes a change of the best chain durable, and takes back what it takes back.
    fn chain_changed(&mut self, turn: &mut Turn<'_>, extension: &Extension) {
        let Some(from) = extension.changed_from else { return };
        self.synced = None;
        let tip = self.chain.tip();
        let work = self.chain.work();
        let mut events = Vec::new();
        let mut then = Then::Nothing;
        if let Some(old_tip) = extension.left {
            let fork = from - 1;
            let hash = self.chain.at(fork).map(|(_, hash)| hash).expect("a branch begins in the window");
            events.push(Event::Reorganised { fork: BlockId { height: fork, hash }, old_tip, new_tip: tip });
            let owed = self.filter_headers.truncate(fork);
            if let Some(peer) = owed.and_then(|(conn, _)| self.peers.get_mut(&conn)) {
                peer.expect_late_filter_headers(owed.map_or(0, |(_, owed)| owed));
            }
            self.filter_header_stop = super::StopBlock::Unknown;
            self.give_up_search();
            if self.search.go_back(fork + 1) {
                then = Then::TakeBack;
            }
        }
        let next = (then == Then::TakeBack).then_some(from);
        let left = extension.left;
        let headers: Vec<Header> = (from..=tip.height)
            .filter_map(|height| self.chain.at(height).map(|(header, _)| *header))
            .collect();
        self.store(turn, events, then, |batch| {
            if left.is_some_and(|left| left.height > tip.height) {
                batch.delete_from(record::HEADER, &record::height_key(tip.height + 1));
            }
            if left.is_some() {
                batch.delete_from(record::FILTER_HEADER, &record::height_key(from));
            }
            for (height, header) in (from..).zip(&headers) {
                record::put_header(batch, height, header);
            }
            record::put_tip(batch, tip, work);
            if let Some(next) = next {
                record::put_next(batch, next);
            }
        });
    }
}
