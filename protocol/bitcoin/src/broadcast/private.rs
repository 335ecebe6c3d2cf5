//! Private broadcast: a fresh connection for each transaction, to a peer that is used for nothing else.
//!
//! A family of transactions goes over one connection: that of the last of them, which carries its parents.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::time::Duration;

use andon_kernel::{ConnId, Instant, Now};
use bitcoin::Txid;

use super::entry::Progress;
use super::limits::{
    MAX_PRIVATE, MAX_PRIVATE_RETRY, PRIVATE_CONNECTION, PRIVATE_GAP, PRIVATE_GAP_SPREAD, PRIVATE_RETRY,
};
use super::peers::{Identity, Peer, Traits};
use super::{Outgoing, period};
use crate::broadcast::rows::Changed;

/// What a private connection is there for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Private {
    txid: Txid,
    /// When it is closed whatever has come of it.
    until: Instant,
    /// Whether the peer has answered a ping after it got the transaction: it has read it, and may go.
    is_acknowledged: bool,
}

impl Outgoing {
    /// The next transaction that a private connection is due for. Dial somebody who is used for nothing else, and say so by
    /// [`dialled`](Self::dialled); if there is nobody, the same is due again after a while. There are [`MAX_PRIVATE`] at
    /// once, and some seconds between their beginnings.
    pub fn next_private(&mut self, now: Now) -> Option<Txid> {
        if self.private_at > now.instant || !self.has_private_place() {
            return None;
        }
        let due = self.entries.iter().filter(|(txid, entry)| {
            entry.private
                && entry.is_live()
                && entry.connection.is_none()
                && entry.due <= now.instant
                && !self.is_carried(txid)
        });
        // Whoever has waited longest: the others' next round may come before all have had their first.
        let txid = *due.min_by_key(|(_, entry)| entry.due)?.0;
        let spread = self.rng.below(PRIVATE_GAP_SPREAD.as_micros() as u64);
        self.private_at = now.instant + PRIVATE_GAP + Duration::from_micros(spread);
        let entry = self.entries.get_mut(&txid)?;
        let wait = PRIVATE_RETRY.saturating_mul(1 << entry.failures.min(10)).min(MAX_PRIVATE_RETRY);
        entry.failures = entry.failures.saturating_add(1);
        entry.due = now.instant + wait;
        entry.round_since = Some(now.unix);
        self.changed.entry(txid).or_insert(Changed { body: false });
        Some(txid)
    }

    /// Whether there may be one more private connection.
    pub(super) fn has_private_place(&self) -> bool {
        let opened = self.entries.values().filter_map(|entry| entry.connection);
        let open = self.peers.iter().filter(|(_, peer)| peer.private.is_some()).map(|(conn, _)| *conn);
        opened.chain(open).collect::<BTreeSet<ConnId>>().len() < MAX_PRIVATE
    }

    /// A connection is being opened for a transaction.
    pub fn dialled(&mut self, conn: ConnId, txid: &Txid) {
        if let Some(entry) = self.entries.get_mut(txid) {
            entry.connection = Some(conn);
        }
    }

    /// The peer of a private connection has finished its handshake. It is told of the one transaction.
    pub fn private_connected(
        &mut self,
        conn: ConnId,
        identity: Identity,
        txid: Txid,
        traits: Traits,
        now: Now,
    ) {
        let until = now.instant + PRIVATE_CONNECTION;
        let mut peer = Peer::new(identity, traits);
        peer.private = Some(Private { txid, until, is_acknowledged: false });
        self.peers.insert(conn, peer);
    }

    /// Whether a transaction has parents here that go with it.
    pub fn has_parents(&self, txid: &Txid) -> bool {
        self.ancestors(txid).iter().any(|parent| self.entries[parent].is_live())
    }

    /// The peer of a private connection has answered the ping that was sent behind the last transaction that it was given.
    pub fn acknowledged(&mut self, conn: ConnId) {
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        if let Some(mut private) = peer.private.filter(|private| peer.was_served(&private.txid)) {
            private.is_acknowledged = true;
            peer.private = Some(private);
        }
    }

    /// Connections that have done what they were there for, or could not: private ones; and those of the others who were told
    /// of a transaction in an earlier round that came to nothing. Others are to come in their place.
    pub fn to_close(&self, now: Now) -> Vec<ConnId> {
        let done = self.peers.iter().filter(|(_, peer)| match &peer.private {
            Some(private) => private.until <= now.instant || self.is_done(peer, private),
            None => peer.leaves_at.is_some_and(|at| at <= now.instant),
        });
        done.map(|(conn, _)| *conn).collect()
    }

    fn is_done(&self, peer: &Peer, private: &Private) -> bool {
        let Some(entry) = self.entries.get(&private.txid).filter(|entry| entry.is_live()) else {
            return true;
        };
        let parents = self.ancestors(&private.txid);
        if peer.skip(&self.payment(entry, &parents)).is_some() {
            return true;
        }
        // What spends something unknown to the peer has it ask for that too, in its time.
        let needed = parents.iter().filter(|parent| {
            let parent = &self.entries[*parent];
            parent.is_live() && parent.progress < Progress::Seen
        });
        // A node that did not take a parent by itself asks for it once more when it has the child.
        let child = peer.last_served(&private.txid);
        private.is_acknowledged && needed.into_iter().all(|parent| peer.last_served(parent) > child)
    }

    pub(super) fn private_ends(&self) -> impl Iterator<Item = Instant> {
        self.peers.values().filter_map(|peer| Some(peer.private?.until))
    }

    /// Who is to be told of a private transaction: a connection of its own, or that of one that spends it.
    pub(super) fn private_audience(&mut self, txid: &Txid, ancestors: &BTreeSet<Txid>) -> Vec<ConnId> {
        let Some(entry) = self.entries.get(txid) else { return Vec::new() };
        let family = self.descendants(txid);
        let payment = self.payment(entry, ancestors);
        let mut audience = Vec::new();
        let mut skipped = Vec::new();
        for (&conn, peer) in &self.peers {
            let Some(private) = peer.private else { continue };
            if entry.told.contains_key(&conn) || (private.txid != *txid && !family.contains(&private.txid)) {
                continue;
            }
            match peer.skip(&payment) {
                Some(reason) => skipped.push((conn, reason)),
                None => audience.push(conn),
            }
        }
        for (conn, reason) in skipped {
            self.note_skipped(*txid, conn, reason);
        }
        audience
    }

    /// Whether a private transaction goes over the connection of one that spends it.
    pub(super) fn is_carried(&self, txid: &Txid) -> bool {
        let mut family = self.descendants(txid).into_iter();
        family.any(|child| self.entries.get(&child).is_some_and(|child| child.private && child.is_live()))
    }

    /// A private connection has come to what it is there for: the next is due when the others' next round would be.
    pub(super) fn served_privately(&mut self, conn: ConnId, now: Instant) {
        let Some(private) = self.peers.get_mut(&conn).and_then(|peer| peer.private.as_mut()) else { return };
        private.is_acknowledged = false;
        let Some(entry) = self.entries.get_mut(&private.txid) else { return };
        entry.failures = 0;
        entry.due = now + period(entry.progress, &mut self.rng);
    }
}
