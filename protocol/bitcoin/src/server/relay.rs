//! Transactions, to and from a peer: they are asked for some time after they were announced, of one peer at a time, and told
//! to the others.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::time::Duration;

use andon_kernel::{ConnId, Instant};
use bitcoin::consensus::deserialize;
use bitcoin::hashes::Hash;
use bitcoin::p2p::ServiceFlags;
use bitcoin::{Transaction, Txid};

use super::peer::Alarm;
use super::pool::{Pool, Taken};
use super::session::Session;
use super::{Event, Reason};
use crate::wire::{INV_TX, INV_WITNESS_FLAG, INV_WITNESS_TX, INV_WTX, Inventory, Message};

/// What is remembered of what one peer announces, as in Bitcoin Core.
const MAX_OFFERS: usize = 5000;
/// Transactions that are asked of one peer at a time.
const MAX_ASKED: usize = 100;
/// How long a peer may take to send what it was asked for, before another is.
const ANSWER: Duration = Duration::from_secs(60);
/// Entries of an `inv` of transactions, at most.
const MAX_TOLD: usize = 1000;

/// What an `inv` has named.
type Name = (u32, [u8; 32]);

/// What all peers have in common of transactions.
#[derive(Debug, Default)]
pub(super) struct Relay {
    pub(super) pool: Pool,
    /// Whom something was asked of, and until when it may take.
    asked: BTreeMap<Name, (ConnId, Instant)>,
    /// Kept in this turn, and not yet told to the peers.
    pub(super) kept: Vec<Txid>,
}

impl Relay {
    pub(super) fn peer_gone(&mut self, conn: ConnId) {
        self.asked.retain(|_, (asked, _)| *asked != conn);
        self.pool.peer_gone(conn);
    }
}

/// What is known of one peer's transactions.
#[derive(Debug, Default)]
pub(super) struct PeerRelay {
    /// What it announced, and when it may be asked for that.
    offers: BTreeMap<Name, Instant>,
    /// What it has, or was told.
    knows: BTreeSet<Txid>,
    /// What it is to be told.
    untold: BTreeSet<Txid>,
    pub(super) wtxid_relay: bool,
}

impl Session<'_> {
    /// A peer has announced a transaction.
    pub(super) fn offered(&mut self, inventory: &Inventory) {
        // Who has agreed to wtxids announces nothing else (BIP339).
        let expected = if self.peer.relay.wtxid_relay { INV_WTX } else { INV_TX };
        if inventory.kind != expected || self.shared.config.mempool_bytes == 0 {
            return;
        }
        if let Some(txid) = self.shared.relay.pool.find(inventory) {
            self.peer.relay.knows.insert(txid);
        } else if !self.shared.relay.pool.knows(inventory) {
            self.want((inventory.kind, inventory.hash));
        }
    }

    /// Asks a peer for something, after a while.
    fn want(&mut self, name: Name) {
        let ready = self.now.instant + self.shared.config.transaction_delay;
        let offers = &mut self.peer.relay.offers;
        if offers.len() < MAX_OFFERS && !offers.contains_key(&name) {
            offers.insert(name, ready);
            let key = (self.conn, Alarm::Request);
            if self.timers.get(key).is_none_or(|at| ready < at) {
                self.timers.set(key, ready);
            }
        }
    }

    /// Asks for what may be asked for by now.
    pub(super) fn request(&mut self) {
        let now = self.now.instant;
        let relay = &mut self.shared.relay;
        let conn = self.conn;
        let mut under_way = relay.asked.values().filter(|(asked, _)| *asked == conn).count();
        let mut requests = Vec::new();
        let mut next: Option<Instant> = None;
        self.peer.relay.offers.retain(|name, ready| {
            if relay.pool.knows(&Inventory { kind: name.0, hash: name.1 }) {
                return false;
            }
            let at = match relay.asked.get(name) {
                // It did not send what it had announced.
                Some((asked, until)) if *asked == conn && *until <= now => {
                    relay.asked.remove(name);
                    under_way -= 1;
                    return false;
                }
                Some((_, until)) if *until > now => *until,
                _ if *ready > now => *ready,
                _ if under_way >= MAX_ASKED => now + self.shared.config.transaction_delay.max(ANSWER / 60),
                _ => {
                    under_way += 1;
                    relay.asked.insert(*name, (conn, now + ANSWER));
                    requests.push(*name);
                    now + ANSWER
                }
            };
            next = Some(next.map_or(at, |next| next.min(at)));
            true
        });
        if let Some(next) = next {
            self.timers.set((self.conn, Alarm::Request), next);
        }
        if !requests.is_empty() {
            // Old style: with witnesses all the same (BIP144), of whoever says that it knows them, as Bitcoin Core asks.
            let kind_of_old = match self.peer.services.has(ServiceFlags::WITNESS) {
                true => INV_WITNESS_TX,
                false => INV_TX,
            };
            let as_asked = |kind: u32| if kind == INV_TX { kind_of_old } else { kind };
            let requests: Vec<Inventory> =
                requests.into_iter().map(|(kind, hash)| Inventory { kind: as_asked(kind), hash }).collect();
            self.send(&Message::GetData(requests.as_slice().into()));
        }
    }

    /// A peer has no such transactions.
    pub(super) fn not_found(&mut self, inventory: impl Iterator<Item = Inventory>) {
        for Inventory { kind, hash } in inventory {
            self.answered((kind & !INV_WITNESS_FLAG, hash));
        }
    }

    fn answered(&mut self, name: Name) {
        let relay = &mut self.shared.relay;
        if relay.asked.get(&name).is_some_and(|(asked, _)| *asked == self.conn) {
            relay.asked.remove(&name);
        }
        self.peer.relay.offers.remove(&name);
    }

    /// A peer has sent a transaction.
    pub(super) fn transaction(&mut self, bytes: &[u8]) -> Result<(), Reason> {
        // As Bitcoin Core: what can't be read is dropped, and the peer stays.
        let Ok(transaction) = deserialize::<Transaction>(bytes) else { return Ok(()) };
        let txid = transaction.compute_txid();
        self.answered((INV_WTX, transaction.compute_wtxid().to_byte_array()));
        self.answered((INV_TX, txid.to_byte_array()));
        self.peer.relay.knows.insert(txid);
        let shared = &mut self.shared;
        let max_bytes = shared.config.mempool_bytes;
        match shared.relay.pool.take(transaction, Some(self.conn), &shared.chain, max_bytes) {
            Taken::Kept(kept) => {
                for &txid in &kept {
                    self.out.event(Event::TransactionKept { txid, from: Some(self.conn) });
                }
                shared.relay.kept.extend(kept);
            }
            // Parents are asked for by their txids, of who sent the child.
            Taken::Lacks(parents) => {
                parents.iter().for_each(|txid| self.want((INV_TX, txid.to_byte_array())))
            }
            Taken::Refused => {}
        }
        // What it has is remembered as long as it is of use.
        let pool = &self.shared.relay.pool;
        self.peer.relay.knows.retain(|txid| pool.wtxid(txid).is_some());
        Ok(())
    }

    /// Hears of transactions that are kept now, to tell the peer of them after a while.
    pub(super) fn hear_transactions(&mut self, kept: &[Txid]) {
        if !self.peer.is_connected() || !self.peer.wants_transactions() || !self.shared.config.relay {
            return;
        }
        let relay = &mut self.peer.relay;
        let new = kept.iter().filter(|txid| !relay.knows.contains(*txid)).copied();
        let before = relay.untold.len();
        relay.untold.extend(new.collect::<Vec<_>>());
        let key = (self.conn, Alarm::Tell);
        if relay.untold.len() > before && self.timers.get(key).is_none() {
            self.timers.set(key, self.now.instant + self.shared.config.transaction_delay);
        }
    }

    /// Tells the peer of transactions, unless they are gone or it has announced them meanwhile.
    pub(super) fn tell_transactions(&mut self) {
        let pool = &self.shared.relay.pool;
        let relay = &mut self.peer.relay;
        let mut inventory = Vec::new();
        for txid in core::mem::take(&mut relay.untold) {
            let Some(wtxid) = pool.wtxid(&txid).filter(|_| !relay.knows.contains(&txid)) else { continue };
            relay.knows.insert(txid);
            inventory.push(if relay.wtxid_relay {
                Inventory { kind: INV_WTX, hash: wtxid.to_byte_array() }
            } else {
                Inventory { kind: INV_TX, hash: txid.to_byte_array() }
            });
        }
        for part in inventory.chunks(MAX_TOLD) {
            self.send(&Message::Inv(part.into()));
        }
    }
}
