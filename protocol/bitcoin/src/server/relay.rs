//! Transactions, to and from a peer: they are asked for some time after they were announced, of one peer at a time, and told
//! to the others.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use andon_kernel::{ConnId, Instant, Outbox};
use bitcoin::consensus::deserialize;
use bitcoin::hashes::Hash;
use bitcoin::p2p::ServiceFlags;
use bitcoin::{Transaction, Txid};

use super::limits::{ANSWER, MAX_ASKED, MAX_OFFERS, MAX_TOLD};
use super::peer::Alarm;
use super::pool::{Kept, Pool, Taken};
use super::session::{Session, Shared};
use super::{Event, Reason};
use crate::wire::{INV_TX, INV_WITNESS_FLAG, INV_WITNESS_TX, INV_WTX, Inventory, Message};

/// What an `inv` has named.
type Name = (u32, [u8; 32]);

/// What all peers have in common of transactions.
#[derive(Debug, Default)]
pub(super) struct Relay {
    pub(super) pool: Pool,
    /// Whom something was asked of, and until when it may take.
    asked: BTreeMap<Name, (ConnId, Instant)>,
    /// Kept in this turn, and not yet told to the peers.
    pub(super) kept: Vec<Kept>,
    /// Asked of somebody who will not send it: others may be asked at once.
    pub(super) freed: Vec<Name>,
}

impl Relay {
    pub(super) fn peer_gone(&mut self, conn: ConnId) {
        self.asked.retain(|name, (asked, _)| {
            if *asked == conn {
                self.freed.push(*name);
            }
            *asked != conn
        });
        self.pool.peer_gone(conn);
    }

    /// Says what is kept now, and remembers to tell the peers.
    pub(super) fn keep(&mut self, kept: Vec<Kept>, out: &mut Outbox<Event>) {
        for &Kept { txid, from } in &kept {
            out.event(Event::TransactionKept { txid, from });
        }
        self.kept.extend(kept);
    }
}

/// What is known of one peer's transactions.
#[derive(Debug, Default)]
pub(super) struct PeerRelay {
    /// What it announced and did not send.
    offers: BTreeMap<Name, Offer>,
    /// What it has, or was told, of those that are kept.
    knows: BTreeSet<Txid>,
    /// What it is to be told, of those that are kept.
    untold: BTreeSet<Txid>,
    /// It is to be asked, or told, as soon as something may be sent.
    pub(super) is_request_due: bool,
    pub(super) is_tell_due: bool,
    pub(super) wtxid_relay: bool,
}

#[derive(Debug)]
struct Offer {
    /// From when on it may be asked for.
    ready: Instant,
    was_asked: bool,
}

impl PeerRelay {
    /// Forgets what is not kept any more.
    pub(super) fn forget(&mut self, gone: &[Txid]) {
        for txid in gone {
            self.knows.remove(txid);
            self.untold.remove(txid);
        }
    }
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
        } else {
            self.want((inventory.kind, inventory.hash));
        }
    }

    /// Asks a peer for something, after a while.
    fn want(&mut self, name: Name) {
        let ready = self.now.instant + self.shared.config.transaction_delay;
        let offers = &mut self.peer.relay.offers;
        if offers.len() < MAX_OFFERS && !offers.contains_key(&name) {
            offers.insert(name, Offer { ready, was_asked: false });
            self.request_by(ready);
        }
    }

    /// Others may be asked for these: if this one has announced one, and was not asked yet, it is.
    pub(super) fn hear_freed(&mut self, freed: &[Name]) {
        let offers = freed.iter().filter_map(|name| self.peer.relay.offers.get(name));
        let first = offers.filter(|offer| !offer.was_asked).map(|offer| offer.ready).min();
        if let Some(ready) = first {
            self.request_by(ready.max(self.now.instant));
        }
    }

    fn request_by(&mut self, at: Instant) {
        let key = (self.conn, Alarm::Request);
        if self.timers.get(key).is_none_or(|set| at < set) {
            self.timers.set(key, at);
        }
    }

    /// Asks for what may be asked for by now.
    pub(super) fn request(&mut self) {
        self.peer.relay.is_request_due = false;
        let now = self.now.instant;
        let relay = &mut self.shared.relay;
        let conn = self.conn;
        let mut under_way = relay.asked.values().filter(|(asked, _)| *asked == conn).count();
        let mut requests = Vec::new();
        let mut next: Option<Instant> = None;
        self.peer.relay.offers.retain(|name, offer| {
            let inventory = Inventory { kind: name.0, hash: name.1 };
            let is_here = relay.pool.find(&inventory).is_some();
            let at = match relay.asked.get(name) {
                // It did not send what it had announced; or it came from another, or under another name.
                Some((asked, until)) if *asked == conn && (is_here || *until <= now) => {
                    relay.asked.remove(name);
                    under_way -= 1;
                    return false;
                }
                Some((asked, until)) if *asked == conn => *until,
                _ if is_here => return false,
                // Another has been asked since, for it took its time.
                _ if offer.was_asked => return false,
                Some((_, until)) if *until > now => *until,
                // It is here and waits for its parents: until it is kept, it may be needed again.
                _ if relay.pool.is_waiting(&inventory) => now + ANSWER,
                _ if offer.ready > now => offer.ready,
                _ if under_way >= MAX_ASKED => now + self.shared.config.transaction_delay.max(ANSWER / 60),
                _ => {
                    under_way += 1;
                    offer.was_asked = true;
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
            relay.freed.push(name);
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
        let Shared { config, chain, relay, .. } = &mut *self.shared;
        if config.mempool_bytes == 0 {
            return Ok(());
        }
        match relay.pool.take(transaction, Some(self.conn), chain, config.mempool_bytes) {
            Taken::Kept(kept) => relay.keep(kept, self.out),
            // Parents are asked for by their txids, of who sent the child.
            Taken::Lacks(parents) => {
                parents.iter().for_each(|txid| self.want((INV_TX, txid.to_byte_array())))
            }
            Taken::Refused => {}
        }
        if self.shared.relay.pool.wtxid(&txid).is_some() {
            self.peer.relay.knows.insert(txid);
        }
        Ok(())
    }

    /// Hears of transactions that are kept now, to tell the peer of them after a while.
    pub(super) fn hear_transactions(&mut self, kept: &[Kept]) {
        let relay = &mut self.peer.relay;
        // It may have sent one long ago that had to wait.
        let own = kept.iter().filter(|kept| kept.from == Some(self.conn));
        relay.knows.extend(own.map(|kept| kept.txid));
        if !self.peer.is_connected() || !self.peer.wants_transactions() || !self.shared.config.relay {
            return;
        }
        let relay = &mut self.peer.relay;
        let before = relay.untold.len();
        relay.untold.extend(kept.iter().map(|kept| kept.txid).filter(|txid| !relay.knows.contains(txid)));
        let key = (self.conn, Alarm::Tell);
        if relay.untold.len() > before && self.timers.get(key).is_none() {
            self.timers.set(key, self.now.instant + self.shared.config.transaction_delay);
        }
    }

    /// Tells the peer of transactions, unless it has announced them meanwhile: of as many as a message has, and of more as
    /// soon as something may be sent again.
    pub(super) fn tell_transactions(&mut self) {
        let pool = &self.shared.relay.pool;
        let relay = &mut self.peer.relay;
        let mut inventory = Vec::new();
        while inventory.len() < MAX_TOLD
            && let Some(txid) = relay.untold.pop_first()
        {
            let wtxid = pool.wtxid(&txid).expect("what is not kept any more is not told");
            if !relay.knows.insert(txid) {
                continue;
            }
            inventory.push(if relay.wtxid_relay {
                Inventory { kind: INV_WTX, hash: wtxid.to_byte_array() }
            } else {
                Inventory { kind: INV_TX, hash: txid.to_byte_array() }
            });
        }
        relay.is_tell_due = !relay.untold.is_empty();
        if !inventory.is_empty() {
            self.send(&Message::Inv(inventory.as_slice().into()));
        }
    }
}
