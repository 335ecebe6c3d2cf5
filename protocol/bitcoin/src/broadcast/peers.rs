//! Peers that transactions are announced to: whom to tell, what is served, and what they tell.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::fmt;

use andon_kernel::{ConnId, Instant, Now};
use bitcoin::consensus::encode::serialize;
use bitcoin::hashes::Hash;
use bitcoin::{Txid, Wtxid};

use super::entry::{Entry, Progress};
use super::limits::{FIRST_HALF, MAX_SERVED, TAKES_NOTHING};
use super::{Notice, Outgoing, period};
use crate::wire::{INV_TX, INV_WITNESS_TX, INV_WTX, Inventory};

/// What is known of a peer when its handshake is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traits {
    /// Whether it takes transactions (`relay` of its `version`). One that does not lets go whoever announces one.
    pub relays: bool,
    /// Whether transactions are announced by their wtxid (BIP339).
    pub wtxid_relay: bool,
}

/// Why a peer is not told of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Skip {
    /// It takes no transactions.
    TakesNone,
    /// It takes none that pay as little.
    FeeFilter {
        /// What it asks for at least, in satoshis for 1000 virtual bytes.
        least: u64,
    },
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TakesNone => f.write_str("it takes no transactions"),
            Self::FeeFilter { least } if *least >= TAKES_NOTHING => {
                f.write_str("it takes no transactions while it is syncing")
            }
            Self::FeeFilter { least } => {
                write!(f, "it takes none that pay less than {least} satoshis for 1000 virtual bytes")
            }
        }
    }
}

#[derive(Debug)]
pub(super) struct Peer {
    traits: Traits,
    /// In satoshis for 1000 virtual bytes.
    fee_filter: u64,
    /// What it was told of, or may ask for as a parent of that.
    told: BTreeMap<Txid, Told>,
    /// What it has announced.
    has: BTreeSet<Txid>,
    /// What it was noted as skipped for.
    skipped: BTreeSet<(Txid, bool)>,
    /// How often it was given anything.
    servings: u64,
    /// If it is there for one transaction alone.
    pub(super) private: Option<super::private::Private>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Told {
    /// How often it was given it in this round.
    served: u8,
    /// When it was given it last, counted in what it was given.
    last_served: Option<u64>,
}

impl Peer {
    pub(super) const fn new(traits: Traits) -> Self {
        Self {
            traits,
            fee_filter: 0,
            told: BTreeMap::new(),
            has: BTreeSet::new(),
            skipped: BTreeSet::new(),
            servings: 0,
            private: None,
        }
    }

    pub(super) fn was_served(&self, txid: &Txid) -> bool {
        self.last_served(txid).is_some()
    }

    /// When it was given it last, to be compared with others.
    pub(super) fn last_served(&self, txid: &Txid) -> Option<u64> {
        self.told.get(txid)?.last_served
    }

    pub(super) fn serve_again(&mut self, txid: &Txid) {
        if let Some(told) = self.told.get_mut(txid) {
            told.served = 0;
        }
    }

    pub(super) fn forget(&mut self, txid: &Txid) {
        self.told.remove(txid);
        self.has.remove(txid);
        self.skipped.retain(|(skipped, _)| skipped != txid);
    }
}

impl Outgoing {
    /// A peer has finished its handshake. Of several it is told some transactions, and listened to for the others.
    pub fn peer_connected(&mut self, conn: ConnId, traits: Traits) {
        self.peers.insert(conn, Peer::new(traits));
    }

    /// Whether a peer has been taken in, and is not gone.
    pub fn is_connected(&self, conn: ConnId) -> bool {
        self.peers.contains_key(&conn)
    }

    /// Whether a peer takes one of those that are to be announced or were not seen yet: who takes none is not told of any, and
    /// has none to announce.
    pub fn is_of_use(&self, conn: ConnId) -> bool {
        let takes = |peer: &Peer| {
            let mut needy = self.entries.iter().filter(|(_, entry)| entry.needs_peers());
            needy.any(|(txid, entry)| self.skip(entry, txid, peer).is_none())
        };
        self.peers.get(&conn).is_some_and(takes)
    }

    /// A peer has named the lowest fee rate that it takes, in satoshis for 1000 virtual bytes.
    pub fn fee_filter(&mut self, conn: ConnId, least: u64) {
        if let Some(peer) = self.peers.get_mut(&conn) {
            peer.fee_filter = least;
        }
    }

    /// A peer is gone, or a private connection could not be opened.
    pub fn peer_gone(&mut self, conn: ConnId) {
        let peer = self.peers.remove(&conn);
        for (txid, entry) in &mut self.entries {
            if entry.connection == Some(conn) {
                entry.connection = None;
            }
            // Whoever left without having asked leaves its place to another.
            if entry.progress < Progress::Seen && !peer.as_ref().is_some_and(|peer| peer.was_served(txid)) {
                entry.told.remove(&conn);
            }
        }
    }

    /// What is to be announced now, by an `inv` to each of these peers. They are taken to have been told.
    pub fn announce(&mut self, now: Now) -> Vec<(ConnId, Vec<Inventory>)> {
        let mut lists: BTreeMap<ConnId, Vec<Inventory>> = BTreeMap::new();
        for txid in self.in_order() {
            for conn in self.choose(&txid) {
                let inventory = self.tell(conn, txid, now.instant);
                lists.entry(conn).or_default().extend(inventory);
            }
        }
        lists.into_iter().collect()
    }

    /// Peers that are to be told of a transaction.
    fn choose(&mut self, txid: &Txid) -> Vec<ConnId> {
        let Some(entry) = self.entries.get(txid).filter(|entry| entry.is_live()) else { return Vec::new() };
        if entry.private {
            return self.private_audience(txid);
        }
        if !entry.is_open {
            return Vec::new();
        }
        let told = entry.told.clone();
        let tells_all = entry.tells_rest && entry.progress < Progress::Sent;
        let mut candidates = Vec::new();
        let mut skipped = Vec::new();
        for (&conn, peer) in self.peers.iter().filter(|(_, peer)| peer.private.is_none()) {
            match self.skip(entry, txid, peer) {
                Some(reason) => skipped.push((conn, reason)),
                None if peer.has.contains(txid) => {}
                None => candidates.push(conn),
            }
        }
        for (conn, reason) in skipped {
            self.note_skipped(*txid, conn, reason);
        }
        let all = candidates.len();
        candidates.retain(|conn| !told.contains(conn));
        let wanted = if tells_all { all } else { all.div_ceil(2) };
        let missing = wanted.saturating_sub(told.len()).min(candidates.len());
        if missing == 0 {
            return Vec::new();
        }
        self.rng.shuffle(&mut candidates);
        // Who was told of a parent is the one to be told of its child.
        let ancestors = self.ancestors(txid);
        let knows = |conn: &ConnId| ancestors.iter().any(|parent| self.entries[parent].told.contains(conn));
        candidates.sort_by_key(|conn| !knows(conn));
        candidates.truncate(missing);
        candidates
    }

    /// Why a peer is not to be told of a transaction.
    pub(super) fn skip(&self, entry: &Entry, txid: &Txid, peer: &Peer) -> Option<Skip> {
        let least = peer.fee_filter;
        if !peer.traits.relays {
            Some(Skip::TakesNone)
        } else if least >= TAKES_NOTHING || !self.pays(entry, txid, least) {
            Some(Skip::FeeFilter { least })
        } else {
            None
        }
    }

    /// Whether a transaction pays a rate, with those of its parents that do not pay it themselves. What is not known is
    /// taken to be enough.
    fn pays(&self, entry: &Entry, txid: &Txid, least: u64) -> bool {
        let pays = |fee: u64, size: u64| u128::from(fee) * 1000 >= u128::from(least) * u128::from(size);
        let Some(fee) = entry.fee() else { return true };
        let (mut fees, mut sizes) = (fee, entry.virtual_size);
        for parent in self.ancestors(txid) {
            let parent = &self.entries[&parent];
            let is_taken = !parent.is_live() || parent.progress == Progress::Seen;
            if let Some(fee) = parent.fee().filter(|_| !is_taken)
                && !pays(fee, parent.virtual_size)
            {
                fees += fee;
                sizes += parent.virtual_size;
            }
        }
        pays(fees, sizes)
    }

    pub(super) fn note_skipped(&mut self, txid: Txid, conn: ConnId, reason: Skip) {
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        if peer.skipped.insert((txid, reason == Skip::TakesNone)) {
            self.notices.push_back(Notice::Skipped { txid, peer: conn, reason });
        }
    }

    /// Notes that a peer is told of a transaction, and may ask for its parents. Returns the entry of the `inv`.
    pub(super) fn tell(&mut self, conn: ConnId, txid: Txid, now: Instant) -> Option<Inventory> {
        let ancestors = self.ancestors(&txid);
        let entry = self.entries.get_mut(&txid)?;
        let peer = self.peers.get_mut(&conn)?;
        for parent in ancestors {
            peer.told.entry(parent).or_default();
        }
        peer.told.entry(txid).or_default();
        if entry.told.is_empty() && !entry.private {
            // A round counts from when somebody was told.
            entry.due = now + period(entry.progress, &mut self.rng);
        }
        entry.told.insert(conn);
        if !entry.private && entry.rest_at.is_none() && !entry.tells_rest {
            entry.rest_at = Some(now + FIRST_HALF);
        }
        let wtxid = entry.wtxid;
        let inventory = if peer.traits.wtxid_relay {
            Inventory { kind: INV_WTX, hash: wtxid.to_byte_array() }
        } else {
            Inventory { kind: INV_TX, hash: txid.to_byte_array() }
        };
        self.progress(txid, Progress::Announced, now);
        Some(inventory)
    }

    /// What a peer has asked for by an entry of a `getdata`: the contents of a `tx`. `None`: it is to be told that there is no
    /// such (`notfound`), since it was not told of it, or got it twice in this round already.
    pub fn serve(&mut self, conn: ConnId, request: &Inventory, now: Now) -> Option<Vec<u8>> {
        let txid = self.named(request)?;
        let entry = self.entries.get(&txid).filter(|entry| entry.is_live())?;
        let peer = self.peers.get_mut(&conn)?;
        let told = peer.told.get_mut(&txid)?;
        if told.served >= MAX_SERVED {
            return None;
        }
        told.served += 1;
        peer.servings += 1;
        told.last_served = Some(peer.servings);
        // With its witnesses however it is named: nodes ask those who claim to serve no witnesses by the bare kind, and
        // take a transaction without them for a broken one.
        let bytes = serialize(&entry.submission.transaction);
        self.progress(txid, Progress::Sent, now.instant);
        self.served_privately(conn, now.instant);
        Some(bytes)
    }

    /// A peer has announced a transaction by an entry of an `inv`.
    pub fn heard(&mut self, conn: ConnId, announced: &Inventory, now: Now) {
        let Some(txid) = self.named(announced) else { return };
        if let Some(peer) = self.peers.get_mut(&conn) {
            // It could repeat what it was told.
            if peer.private.is_some() || peer.told.contains_key(&txid) {
                return;
            }
            // It may say so fifty thousand times in a message.
            if !peer.has.insert(txid) {
                return;
            }
        }
        if self.entries.get(&txid).is_none_or(|entry| entry.progress == Progress::Seen) {
            return;
        }
        // Who has a transaction has what it spends.
        for txid in self.ancestors(&txid).into_iter().chain([txid]) {
            self.progress(txid, Progress::Seen, now.instant);
        }
    }

    /// Which one an entry of an `inv` or a `getdata` names.
    fn named(&self, inventory: &Inventory) -> Option<Txid> {
        match inventory.kind {
            INV_WTX => self.by_wtxid.get(&Wtxid::from_byte_array(inventory.hash)).copied(),
            INV_TX | INV_WITNESS_TX => {
                Some(Txid::from_byte_array(inventory.hash)).filter(|txid| self.entries.contains_key(txid))
            }
            _ => None,
        }
    }
}
