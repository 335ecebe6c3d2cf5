//! Whom to connect to for transactions: nodes of the address book, and where there is none, or none that can be reached, peers
//! that were given, once more.

use alloc::vec::Vec;
use core::time::Duration;

use andon_kernel::ConnId;
use bitcoin::Txid;

use super::agreement::Voter;
use super::broadcasting::CONNECTIONS;
use super::config::Endpoint;
use super::dial::TargetId;
use super::peer::{Origin, Peer, Whom};
use super::ways::Way;
use super::{Client, Reason, Turn};
use crate::broadcast::Identity;

/// The same to a peer that is the only one: one that is told, and one on which it says what it has.
const CONNECTIONS_TO_THE_ONLY_ONE: usize = 2;

/// How long nodes of the address book are tried before peers that were given are told, where both are to be had: those are
/// asked for filters.
const BEFORE_GIVEN: Duration = Duration::from_secs(60);

impl Client {
    /// Lets nodes of the address book go that take nothing of what is to be told, for others to come in their place: after a
    /// while, and after a longer one the more of them there are, so that a book of nothing else is not dialled through.
    pub(super) fn drop_who_takes_none(&mut self, turn: &mut Turn<'_>) {
        let outgoing = &self.broadcasting.outgoing;
        if !outgoing.needs_peers() {
            return;
        }
        let takes_none = |(conn, peer): &(&ConnId, &Peer)| {
            let is_found = matches!(peer.origin, Origin::Broadcast { whom: Whom::Found(_), only: None });
            is_found && outgoing.is_connected(**conn) && !outgoing.is_of_use(**conn)
        };
        let useless = self.peers.iter().filter(takes_none).map(|(conn, _)| *conn);
        for conn in useless.collect::<Vec<_>>() {
            self.drop_peer(turn, conn, Reason::TakesNone);
        }
    }

    /// How many connections for transactions there are, private ones aside.
    fn broadcast_connections(&self) -> usize {
        self.peers.values().filter(|peer| matches!(peer.origin, Origin::Broadcast { only: None, .. })).count()
    }

    pub(super) fn needs_dial(&self) -> bool {
        self.broadcasting.outgoing.needs_peers() && self.broadcast_connections() < self.broadcast_target()
    }

    /// How many there are to be.
    fn broadcast_target(&self) -> usize {
        if self.nodes.is_some() {
            return CONNECTIONS;
        }
        CONNECTIONS.min(self.targets.ids().len()) + self.connections_to_one() - 1
    }

    /// How many there may be to one peer that was given: two, if no other that was given takes what is to be told.
    fn connections_to_one(&self) -> usize {
        let takes = self.targets.ids().into_iter().filter(|target| !self.is_useless(*target));
        if takes.count() == 1 { CONNECTIONS_TO_THE_ONLY_ONE } else { 1 }
    }

    /// Whether a peer that was given is known to take nothing of what is to be told.
    fn is_useless(&self, target: TargetId) -> bool {
        let outgoing = &self.broadcasting.outgoing;
        let mut theirs = self.peers.iter().filter(|(_, peer)| {
            matches!(peer.origin, Origin::Broadcast { whom: Whom::Given(other), only: None } if other == target)
        });
        theirs.any(|(conn, _)| outgoing.is_connected(*conn) && !outgoing.is_of_use(*conn))
    }

    pub(super) fn dial_for_broadcast(&mut self, turn: &mut Turn<'_>) {
        while let Some(txid) = self.broadcasting.outgoing.next_private(turn.now) {
            if let Some(conn) = self.dial_one_for_broadcast(turn, Some(txid)) {
                self.broadcasting.outgoing.dialled(conn, &txid);
            }
        }
        if !self.broadcasting.outgoing.needs_peers() {
            let idle = |peer: &Peer| matches!(peer.origin, Origin::Broadcast { only: None, .. });
            let idle = self.peers.iter().filter(|(_, peer)| idle(peer)).map(|(conn, _)| *conn);
            for conn in idle.collect::<Vec<_>>() {
                self.drop_peer(turn, conn, Reason::Told);
            }
            return;
        }
        while self.needs_dial() && self.broadcasting.retry_at <= turn.now.instant {
            if self.dial_one_for_broadcast(turn, None).is_none() {
                self.broadcasting.put_off(turn.now.instant);
            }
        }
    }

    /// Dials somebody who is asked for nothing else.
    fn dial_one_for_broadcast(&mut self, turn: &mut Turn<'_>, only: Option<Txid>) -> Option<ConnId> {
        let now = turn.now.instant;
        let since = *self.broadcasting.nobody_since.get_or_insert(now);
        let may_be_given = self.nodes.is_none() || now >= since + BEFORE_GIVEN;
        // Where the book's nodes could not be reached, they are tried on beside.
        let given_first = may_be_given && (self.nodes.is_none() || self.broadcasting.rng.below(2) == 0);
        let mut chosen = if given_first { self.given_for_broadcast(only) } else { None };
        if chosen.is_none() {
            chosen = self.found_for_broadcast(turn);
        }
        if chosen.is_none() && may_be_given && !given_first {
            chosen = self.given_for_broadcast(only);
        }
        let (whom, endpoint, may_encrypt) = chosen?;
        let origin = Origin::Broadcast { whom, only };
        let dialled = self.connect(turn, origin, endpoint.clone(), endpoint, may_encrypt).ok();
        if let (None, Whom::Found(location)) = (dialled, whom) {
            self.not_for_broadcast(turn, &location);
        }
        dialled
    }

    fn found_for_broadcast(&mut self, turn: &Turn<'_>) -> Option<(Whom, Endpoint, bool)> {
        let (location, endpoint, may_encrypt) = self.next_for_broadcast(turn)?;
        Some((Whom::Found(location), endpoint, may_encrypt))
    }

    /// A peer goes by another connection from now on.
    pub(super) fn broadcast_peer_moved(&mut self, origin: Origin, conn: ConnId) {
        if let Origin::Broadcast { only: Some(txid), .. } = origin {
            self.broadcasting.outgoing.dialled(conn, &txid);
        }
    }

    /// A peer that was given, with the fewest connections for transactions, and where it is.
    fn given_for_broadcast(&mut self, only: Option<Txid>) -> Option<(Whom, Endpoint, bool)> {
        let open = |target| {
            let theirs = self.peers.values().filter(|peer| match peer.origin {
                Origin::Broadcast { whom: Whom::Given(other), only: theirs } => {
                    other == target && theirs.is_some() == only.is_some()
                }
                _ => false,
            });
            theirs.count()
        };
        let targets = self.targets.ids();
        let most = self.connections_to_one();
        let mut able = Vec::new();
        for target in targets {
            let endpoint = self.targets.endpoint(target);
            let endpoint = match Way::to(endpoint, &self.config) {
                Ok(Way::LookUp) => {
                    // Its name was looked up for the connection that there is.
                    let connected = self.peers.values().find(|peer| peer.origin == Origin::Given(target));
                    connected.map(|peer| peer.remote.clone())
                }
                Ok(_) => Some(endpoint.clone()),
                Err(_) => None,
            };
            let count = open(target);
            let is_able = only.is_some() || (count < most && !self.is_useless(target));
            able.extend(endpoint.filter(|_| is_able).map(|endpoint| (count, target, endpoint)));
        }
        self.broadcasting.rng.shuffle(&mut able);
        let (_, target, endpoint) = able.into_iter().min_by_key(|(count, ..)| *count)?;
        Some((Whom::Given(target), endpoint, true))
    }

    /// Who a peer is to those who tell of transactions. The only one has nobody beside it to show that they spread.
    pub(super) fn broadcast_identity(&self, conn: ConnId) -> Option<Identity> {
        if self.nodes.is_none() && self.targets.ids().len() == 1 {
            return Some(Identity::Connection(conn));
        }
        Some(match self.voter(self.peers.get(&conn)?) {
            Voter::Group(group) => Identity::Group(group),
            Voter::Own(target) => Identity::Own(target.number()),
        })
    }
}
