//! Peers that are there for transactions: what they are sent and what they send, from the end of the handshake on.

use alloc::vec::Vec;

use andon_kernel::ConnId;
use bitcoin::Txid;
use bitcoin::hashes::Hash;

use super::broadcasting::RETRY;
use super::peer::{Handshake, Origin, Peer, Whom};
use super::{Client, Misbehaviour, Reason, Timer, Turn};
use crate::wire::{INV_TX, INV_WITNESS_TX, INV_WTX, Inventory, MAX_INVENTORY, Message};

impl Client {
    /// A peer that was dialled for transactions has shaken hands.
    pub(super) fn broadcast_peer_ready(&mut self, turn: &mut Turn<'_>, conn: ConnId) {
        let nonce = self.rng.u64();
        let Some(identity) = self.broadcast_identity(conn) else { return };
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        if matches!(peer.origin, Origin::Broadcast { whom: Whom::Found(_), .. }) {
            self.broadcasting.nobody_since = None;
        }
        if peer.is_private() {
            self.broadcasting.reached(turn.now.instant);
        }
        let outgoing = &mut self.broadcasting.outgoing;
        match peer.origin {
            Origin::Broadcast { only: Some(txid), .. } if !outgoing.has_parents(&txid) => {
                // At once, as others do who are there for the same.
                outgoing.private_connected(conn, identity, txid, peer.relay, turn.now);
                self.broadcasting.is_due = true;
                self.timers.cancel(Timer::Handshake(conn));
            }
            _ => {
                // Nodes name their fee filter behind the handshake: what it was is known when they answer.
                peer.behind = Some(nonce);
                self.send(turn, conn, &Message::Ping(nonce));
            }
        }
    }

    /// A peer has answered the ping that was sent behind the handshake, or behind a transaction.
    fn broadcast_peer_answered(&mut self, turn: &Turn<'_>, conn: ConnId, nonce: u64) {
        let Some(identity) = self.broadcast_identity(conn) else { return };
        let Some(peer) = self.peers.get_mut(&conn).filter(|peer| peer.behind == Some(nonce)) else { return };
        peer.behind = None;
        self.timers.cancel(Timer::Handshake(conn));
        let outgoing = &mut self.broadcasting.outgoing;
        match peer.origin {
            Origin::Broadcast { only: Some(_), .. } if outgoing.is_connected(conn) => {
                outgoing.acknowledged(conn);
            }
            Origin::Broadcast { only: Some(txid), .. } => {
                outgoing.private_connected(conn, identity, txid, peer.relay, turn.now);
            }
            _ => outgoing.peer_connected(conn, identity, peer.relay),
        }
        if let Some(least) = peer.fee_filter {
            outgoing.fee_filter(conn, least);
        }
        if outgoing.is_of_use(conn) {
            self.broadcasting.useless = 0;
        }
        self.broadcasting.is_due = true;
    }

    pub(super) fn broadcast_peer_gone(
        &mut self,
        turn: &Turn<'_>,
        conn: ConnId,
        peer: &Peer,
        reason: &Reason,
    ) {
        if matches!(peer.origin, Origin::Broadcast { .. }) {
            match reason {
                _ if peer.is_private() => {}
                Reason::Told => {}
                Reason::TakesNone => self.broadcasting.put_off(turn.now.instant),
                _ if peer.handshake == Handshake::Broadcast => {
                    let soon = turn.now.instant + RETRY;
                    self.broadcasting.retry_at = self.broadcasting.retry_at.max(soon);
                }
                _ => self.broadcasting.put_off(turn.now.instant),
            }
            self.broadcasting.outgoing.peer_gone(conn);
            self.broadcasting.is_due = true;
        }
    }

    /// A message of a peer that is here for transactions.
    pub(super) fn on_broadcast_message(
        &mut self,
        turn: &mut Turn<'_>,
        conn: ConnId,
        message: Message<'_>,
    ) -> Result<(), Reason> {
        let command = message.command();
        let Some(peer) = self.peers.get(&conn) else { return Ok(()) };
        if let Origin::Broadcast { only: Some(txid), .. } = peer.origin {
            return self.on_private_message(turn, conn, txid, message);
        }
        match message {
            Message::Ping(nonce) => self.send(turn, conn, &Message::Pong(nonce)),
            Message::Pong(nonce) => self.broadcast_peer_answered(turn, conn, nonce),
            Message::FeeFilter(least) => self.note_fee_filter(conn, least),
            Message::Inv(inventory) | Message::GetData(inventory) if inventory.len() > MAX_INVENTORY => {
                return Err(Reason::Misbehaved(Misbehaviour::Malformed(command)));
            }
            Message::Inv(inventory) => {
                for announced in inventory.iter() {
                    self.broadcasting.outgoing.heard(conn, &announced, turn.now);
                }
                self.broadcasting.is_due = true;
            }
            Message::GetData(requests) => {
                let missing = self.serve_transactions(turn, conn, requests.iter());
                if !missing.is_empty() {
                    self.send(turn, conn, &Message::NotFound(missing.as_slice().into()));
                }
            }
            Message::Version(_) => return Err(Reason::Misbehaved(Misbehaviour::OutOfTurn(command))),
            // What it has to say of blocks and of other nodes concerns others.
            _ => {}
        }
        Ok(())
    }

    /// A message of a peer that is here for one transaction. It is answered as Bitcoin Core answers there, so that nothing
    /// tells one from the other: pings among what is ignored, and whoever asks for anything else is let go. A family of
    /// several, which Bitcoin Core has not, is served in any order.
    fn on_private_message(
        &mut self,
        turn: &mut Turn<'_>,
        conn: ConnId,
        txid: Txid,
        message: Message<'_>,
    ) -> Result<(), Reason> {
        let command = message.command();
        match message {
            Message::Pong(nonce) => self.broadcast_peer_answered(turn, conn, nonce),
            Message::FeeFilter(least) => self.note_fee_filter(conn, least),
            Message::GetData(requests) => {
                if requests.len() > MAX_INVENTORY {
                    return Err(Reason::Misbehaved(Misbehaviour::Malformed(command)));
                }
                let is_it = |one: &Inventory| one.kind == INV_TX && one.hash == *txid.as_byte_array();
                let is_family = self.broadcasting.outgoing.has_parents(&txid);
                let is_right = is_family || (requests.len() == 1 && requests.iter().all(|one| is_it(&one)));
                if !is_right {
                    return Err(Reason::Misbehaved(Misbehaviour::OutOfTurn(command)));
                }
                let missing = self.serve_transactions(turn, conn, requests.iter());
                if !is_family && !missing.is_empty() {
                    return Err(Reason::Misbehaved(Misbehaviour::OutOfTurn(command)));
                }
                // Its answer says that the transaction has been read: the connection may end then.
                let nonce = self.rng.u64();
                if let Some(peer) = self.peers.get_mut(&conn) {
                    peer.behind = Some(nonce);
                }
                self.send(turn, conn, &Message::Ping(nonce));
            }
            Message::Version(_) => return Err(Reason::Misbehaved(Misbehaviour::OutOfTurn(command))),
            _ => {}
        }
        Ok(())
    }

    /// Sends what is asked for. Returns what there is not, or no more.
    fn serve_transactions(
        &mut self,
        turn: &mut Turn<'_>,
        conn: ConnId,
        requests: impl Iterator<Item = Inventory>,
    ) -> Vec<Inventory> {
        let mut missing = Vec::new();
        for request in requests.filter(|request| matches!(request.kind, INV_TX | INV_WTX | INV_WITNESS_TX)) {
            match self.broadcasting.outgoing.serve(conn, &request, turn.now) {
                Some(bytes) => {
                    self.send(turn, conn, &Message::Tx(&bytes));
                    self.broadcasting.is_due = true;
                }
                None => missing.push(request),
            }
        }
        missing
    }
}
