//! Peers that transactions are announced to: whom to tell, what is served, and what they tell.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::fmt;

use andon_kernel::{ConnId, Instant, Now};
use bitcoin::consensus::encode::serialize;
use bitcoin::hashes::Hash;
use bitcoin::{Txid, Wtxid};

use super::entry::{Entry, Progress};
use super::limits::{ALONE, FIRST_HALF, MAX_SERVED, TAKES_NOTHING};
use super::{Notice, Outgoing, period};
use crate::addresses::Group;
use crate::wire::{INV_TX, INV_WITNESS_TX, INV_WTX, Inventory};

/// What is known of a peer when its handshake is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traits {
    /// Whether it takes transactions (`relay` of its `version`). One that does not lets go whoever announces one.
    pub relays: bool,
    /// Whether transactions are announced by their wtxid (BIP339).
    pub wtxid_relay: bool,
}

/// Who a peer is, whatever connection leads to it: it can repeat on one what it was told on another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Identity {
    /// One of a group of addresses: whoever has one of them may have many.
    Group(Group),
    /// One that is known apart from others, by a number.
    Own(u32),
    /// The only peer that there can be: each of its connections counts for itself.
    Connection(ConnId),
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
    pub(super) identity: Identity,
    traits: Traits,
    /// In satoshis for 1000 virtual bytes.
    fee_filter: u64,
    /// What it was told of, or may ask for as a parent of that.
    told: BTreeMap<Txid, Told>,
    /// When it was told of something last.
    told_at: Option<Instant>,
    /// What it has announced.
    has: BTreeSet<Txid>,
    /// What it was noted as skipped for.
    skipped: BTreeSet<(Txid, bool)>,
    /// How often it was given anything.
    servings: u64,
    /// It is told of nothing more, and when it is let go: it may still ask for what it was told of last.
    pub(super) leaves_at: Option<Instant>,
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

/// What a transaction pays, and what those of its parents do that it may have to pay for: satoshis and virtual bytes. What is
/// not known is taken to be enough.
#[derive(Debug)]
pub(super) struct Payment {
    own: Option<(u64, u64)>,
    parents: Vec<(u64, u64)>,
}

impl Payment {
    /// Whether it pays a rate, in satoshis for 1000 virtual bytes, with those of its parents that do not pay it themselves.
    fn reaches(&self, least: u64) -> bool {
        let pays = |fee: u64, size: u64| u128::from(fee) * 1000 >= u128::from(least) * u128::from(size);
        let Some((mut fees, mut sizes)) = self.own else { return true };
        for &(fee, size) in self.parents.iter().filter(|(fee, size)| !pays(*fee, *size)) {
            (fees, sizes) = (fees + fee, sizes + size);
        }
        pays(fees, sizes)
    }
}

impl Peer {
    pub(super) const fn new(identity: Identity, traits: Traits) -> Self {
        Self {
            identity,
            traits,
            fee_filter: 0,
            told: BTreeMap::new(),
            told_at: None,
            has: BTreeSet::new(),
            skipped: BTreeSet::new(),
            servings: 0,
            leaves_at: None,
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

    /// It was told of a transaction, which came to nothing: it leaves its place to another.
    pub(super) fn has_had_its_turn(&mut self, now: Instant) {
        if self.private.is_none() && self.leaves_at.is_none() {
            self.leaves_at = Some(self.told_at.map_or(now, |told_at| now.max(told_at + FIRST_HALF)));
        }
    }

    /// Why it is not to be told of a transaction.
    pub(super) fn skip(&self, payment: &Payment) -> Option<Skip> {
        let least = self.fee_filter;
        if !self.traits.relays {
            Some(Skip::TakesNone)
        } else if least >= TAKES_NOTHING || !payment.reaches(least) {
            Some(Skip::FeeFilter { least })
        } else {
            None
        }
    }
}

impl Outgoing {
    /// A peer has finished its handshake. Of several it is told some transactions, and listened to for the others.
    pub fn peer_connected(&mut self, conn: ConnId, identity: Identity, traits: Traits) {
        self.peers.insert(conn, Peer::new(identity, traits));
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
            needy.any(|(txid, entry)| peer.skip(&self.payment(entry, &self.ancestors(txid))).is_none())
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

    /// When one of those who have had their turn is to go.
    pub(super) fn leaving(&self) -> impl Iterator<Item = Instant> {
        self.peers.values().filter_map(|peer| peer.leaves_at)
    }

    /// What is to be announced now, by an `inv` to each of these peers. They are taken to have been told.
    pub fn announce(&mut self, now: Now) -> Vec<(ConnId, Vec<Inventory>)> {
        self.believe_the_only_one(now.instant);
        let mut lists: BTreeMap<ConnId, Vec<Inventory>> = BTreeMap::new();
        for txid in self.in_order() {
            let entry = self.entries.get(&txid).filter(|entry| entry.is_live());
            let Some(entry) = entry.filter(|entry| entry.private || entry.is_open) else { continue };
            let is_private = entry.private;
            let ancestors = self.ancestors(&txid);
            let audience = if is_private {
                self.private_audience(&txid, &ancestors)
            } else {
                self.choose(&txid, &ancestors)
            };
            for conn in audience {
                let inventory = self.tell(conn, txid, &ancestors, now.instant);
                lists.entry(conn).or_default().extend(inventory);
            }
        }
        lists.into_iter().collect()
    }

    /// Peers that are to be told of a transaction.
    fn choose(&mut self, txid: &Txid, ancestors: &BTreeSet<Txid>) -> Vec<ConnId> {
        let Some(entry) = self.entries.get(txid) else { return Vec::new() };
        let payment = self.payment(entry, ancestors);
        let told: BTreeSet<Identity> = entry.told.values().copied().collect();
        let tells_all = entry.tells_rest && entry.progress < Progress::Sent;
        let mut candidates = Vec::new();
        let mut skipped = Vec::new();
        for (&conn, peer) in &self.peers {
            if peer.private.is_some() || peer.leaves_at.is_some() {
                continue;
            }
            match peer.skip(&payment) {
                Some(reason) => skipped.push((conn, reason)),
                None if peer.has.contains(txid) => {}
                None => candidates.push((conn, peer.identity)),
            }
        }
        for (conn, reason) in skipped {
            self.note_skipped(*txid, conn, reason);
        }
        // Who was told on one connection is no witness on another.
        let all = candidates.iter().map(|(_, identity)| identity).collect::<BTreeSet<_>>().len();
        candidates.retain(|(_, identity)| !told.contains(identity));
        let wanted = if tells_all { all } else { all.div_ceil(2) };
        let missing = wanted.saturating_sub(told.len());
        if missing == 0 || candidates.is_empty() {
            return Vec::new();
        }
        self.rng.shuffle(&mut candidates);
        // Who was told of a parent is the one to be told of its child.
        let knows =
            |conn: &ConnId| ancestors.iter().any(|parent| self.entries[parent].told.contains_key(conn));
        candidates.sort_by_key(|(conn, _)| !knows(conn));
        let mut chosen = BTreeSet::new();
        candidates.retain(|(_, identity)| chosen.insert(*identity));
        candidates.truncate(missing);
        candidates.into_iter().map(|(conn, _)| conn).collect()
    }

    /// What a transaction pays, and its parents.
    pub(super) fn payment(&self, entry: &Entry, ancestors: &BTreeSet<Txid>) -> Payment {
        let own = entry.fee().map(|fee| (fee, entry.virtual_size));
        let parents = ancestors.iter().map(|parent| &self.entries[parent]);
        // What has spread needs nobody to pay for it.
        let parents = parents.filter(|parent| parent.is_live() && parent.progress < Progress::Seen);
        let parents = parents.filter_map(|parent| Some((parent.fee()?, parent.virtual_size))).collect();
        Payment { own, parents }
    }

    pub(super) fn note_skipped(&mut self, txid: Txid, conn: ConnId, reason: Skip) {
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        if peer.skipped.insert((txid, reason == Skip::TakesNone)) {
            self.notices.push_back(Notice::Skipped { txid, peer: conn, reason });
        }
    }

    /// Notes that a peer is told of a transaction, and may ask for its parents. Returns the entry of the `inv`.
    fn tell(
        &mut self,
        conn: ConnId,
        txid: Txid,
        ancestors: &BTreeSet<Txid>,
        now: Instant,
    ) -> Option<Inventory> {
        let peer = self.peers.get_mut(&conn)?;
        for told in ancestors.iter().chain([&txid]) {
            peer.told.entry(*told).or_default();
            if let Some(entry) = self.entries.get_mut(told) {
                entry.inform(peer.identity);
            }
        }
        peer.told_at = Some(now);
        let entry = self.entries.get_mut(&txid)?;
        if entry.told.is_empty() && !entry.private {
            // A round counts from when somebody was told.
            entry.due = now + period(entry.progress, &mut self.rng);
        }
        entry.told.insert(conn, peer.identity);
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
        // Of whom it is not known yet who it is nothing is believed.
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        // It could repeat what it was told; and it may say so fifty thousand times in a message.
        if peer.private.is_some() || peer.told.contains_key(&txid) || !peer.has.insert(txid) {
            return;
        }
        let identity = peer.identity;
        let entry = self.entries.get_mut(&txid);
        let Some(entry) = entry.filter(|entry| entry.progress < Progress::Seen) else { return };
        if entry.informed.contains(&identity) {
            // On another connection it was told.
            entry.repeated_by = Some(identity);
            return;
        }
        self.is_seen(txid, now.instant);
    }

    /// A transaction spreads. Who has it has what it spends.
    fn is_seen(&mut self, txid: Txid, now: Instant) {
        for txid in self.ancestors(&txid).into_iter().chain([txid]) {
            self.progress(txid, Progress::Seen, now);
        }
    }

    /// What one repeats that was told counts if nobody else takes it, for as long as others may need to come.
    pub(super) fn believe_the_only_one(&mut self, now: Instant) {
        let repeated = self.entries.iter().filter_map(|(txid, entry)| {
            let by = entry.repeated_by.filter(|_| entry.is_live() && entry.progress < Progress::Seen)?;
            let payment = self.payment(entry, &self.ancestors(txid));
            let takes_it = |peer: &Peer| peer.private.is_none() && peer.skip(&payment).is_none();
            let who: BTreeSet<Identity> =
                self.peers.values().filter(|peer| takes_it(peer)).map(|peer| peer.identity).collect();
            Some((*txid, who.len() == 1 && who.contains(&by)))
        });
        for (txid, is_alone) in repeated.collect::<Vec<_>>() {
            let Some(entry) = self.entries.get_mut(&txid) else { continue };
            entry.alone_since = if is_alone { entry.alone_since.or(Some(now)) } else { None };
            if entry.alone_since.is_some_and(|since| since + ALONE <= now) {
                self.is_seen(txid, now);
            }
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
