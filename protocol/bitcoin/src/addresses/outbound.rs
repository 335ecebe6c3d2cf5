//! Whom to dial: which connections there are and which are missing, and the choice of a node for each.
//!
//! The rules are Bitcoin Core's for outbound connections, with what a light client needs of a node in the place of what a
//! node needs. Of each group of addresses one is dialled at a time, since nodes of one group are one owner's for all that
//! is known; peers that the user has configured are counted in that, and otherwise left alone: they are neither dialled
//! nor dropped from here.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::time::Duration;

use andon_kernel::{Instant, Now, Rng};
use bitcoin::p2p::ServiceFlags;

use super::anchors::Anchor;
use super::bans::Barred;
use super::book::AddressBook;
use super::group::Group;
use super::limits::{
    ANCHOR_AGE, ANCHORS, DIAL_INTERVAL, FAILURES_TO_SLOW, FEELER_INTERVAL, GROUPS_TO_COUNT_FAILURES,
    MAX_LATELY, MAX_NOBODY_DOUBLINGS, MAX_SLOWINGS, NOBODY_WAIT, OUTBOUND, POOR_BOOK,
};
use super::location::Location;
use super::network::{AddressNetwork, AddressNetworks};
use super::pick::{Wanted, pick};
use crate::client::Encryption;

/// Services that a node must have: all of one set and one of another at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Required {
    /// All of these.
    pub all: ServiceFlags,
    /// One of these; or none, if there are none.
    pub any: ServiceFlags,
}

const WHOLE_NODE: u64 = 1;
const WITNESS: u64 = 1 << 3;
const COMPACT_FILTERS: u64 = 1 << 6;
const LAST_BLOCKS: u64 = 1 << 10;

impl Required {
    /// What a light client needs: filters, blocks with witnesses, and the last blocks at least.
    pub fn light_client() -> Self {
        Self {
            all: ServiceFlags::from(COMPACT_FILTERS | WITNESS),
            any: ServiceFlags::from(WHOLE_NODE | LAST_BLOCKS),
        }
    }

    /// The same, with all blocks: to search far below the tip.
    pub fn whole_chain() -> Self {
        Self { any: ServiceFlags::from(WHOLE_NODE), ..Self::light_client() }
    }

    /// What a node needs to know of many others.
    pub fn addresses() -> Self {
        Self { all: ServiceFlags::NONE, any: ServiceFlags::from(WHOLE_NODE | LAST_BLOCKS) }
    }

    /// Whether a node with these has what is required.
    pub fn are_met_by(&self, services: ServiceFlags) -> bool {
        let has_one = self.any == ServiceFlags::NONE || services.to_u64() & self.any.to_u64() != 0;
        services.has(self.all) && has_one
    }
}

/// How many connections there are to be, and to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Connections for the client's work, besides those to configured peers.
    pub peers: usize,
    /// The networks that can be reached.
    pub networks: AddressNetworks,
    /// What a node must serve.
    pub required: Required,
    /// Whether nodes of the encrypted transport are preferred, or nobody else is dialled.
    pub encryption: Encryption,
    /// Whether nodes are tested that nothing is wanted from, now and then. It costs a handshake each.
    pub has_feelers: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            peers: OUTBOUND,
            networks: AddressNetworks::CLEAR,
            required: Required::light_client(),
            encryption: Encryption::Preferred,
            has_feelers: true,
        }
    }
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The client's work; the node was one of the last run's.
    Anchor,
    /// The client's work.
    Peer,
    /// To hear of blocks that the others do not tell of: one more than there are to be.
    Extra,
    /// To see whether there is a node. Nothing else.
    Feeler,
    /// To ask for addresses, since the book has nobody who serves what is required.
    Addresses,
    /// To tell of transactions, or to hear of them. Nothing else.
    Broadcast,
}

impl Purpose {
    /// Whether the connection stays, as one of a group of its own.
    const fn stays(self) -> bool {
        matches!(self, Self::Anchor | Self::Peer | Self::Extra)
    }
}

/// A node to dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dial {
    /// Where it listens.
    pub location: Location,
    /// What it is said to serve: the encrypted transport among it, or not.
    pub services: ServiceFlags,
    /// What for.
    pub purpose: Purpose,
}

/// What to do with a node that has shaken hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Welcome {
    /// It serves what is required: work with it.
    Keep,
    /// Ask it for addresses, and close the connection when they have come.
    AskAndClose,
    /// It has answered, and that was all. Or it does not serve what is required.
    Close,
}

/// The connections that there are, and the times at which more are due.
#[derive(Debug)]
pub struct Outbound {
    policy: Policy,
    open: BTreeMap<Location, Open>,
    configured: BTreeSet<Location>,
    /// Who was told of transactions, and who was asked for something.
    told: Lately,
    worked: Lately,
    /// Not yet dialled, the first last.
    anchors: Vec<Anchor>,
    feeler_due: Option<Instant>,
    /// Whether one more is looked for, for no block comes.
    wants_extra: bool,
    /// Until then there was nobody to dial.
    nobody_until: Option<Instant>,
    /// How often in a row.
    nobody_times: u32,
    /// Up to when dials have been made in advance of their pace.
    paced: Instant,
    /// Connections in a row that came to nothing.
    failures: u32,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    purpose: Purpose,
    /// Of networks where groups mean something.
    group: Option<Group>,
    services: ServiceFlags,
    /// Since when the handshake is done.
    since: Option<Instant>,
}

/// The last nodes that something was done with: [`MAX_LATELY`] of them, the older half of which is forgotten at once.
#[derive(Debug, Default)]
struct Lately {
    newer: BTreeSet<Location>,
    older: BTreeSet<Location>,
}

impl Lately {
    fn add(&mut self, location: Location) {
        if self.newer.len() >= MAX_LATELY / 2 && !self.newer.contains(&location) {
            self.older = core::mem::take(&mut self.newer);
        }
        self.newer.insert(location);
    }

    fn contain(&self, location: &Location) -> bool {
        self.newer.contains(location) || self.older.contains(location)
    }

    fn is_empty(&self) -> bool {
        self.newer.is_empty() && self.older.is_empty()
    }
}

impl Outbound {
    /// Without a connection. The anchors are dialled first.
    pub fn new(policy: Policy, anchors: &[Anchor]) -> Self {
        let anchors = anchors.iter().take(ANCHORS).rev().copied().collect();
        Self {
            policy,
            open: BTreeMap::new(),
            configured: BTreeSet::new(),
            told: Lately::default(),
            worked: Lately::default(),
            anchors,
            feeler_due: None,
            wants_extra: false,
            nobody_until: None,
            nobody_times: 0,
            paced: Instant::ZERO,
            failures: 0,
        }
    }

    /// What is asked for.
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Asks for other connections from now on. Those that there are stay.
    pub fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
        self.nobody_until = None;
        self.nobody_times = 0;
    }

    /// Notes an address of a peer that the user has configured: it is dialled by others, and its group is taken.
    pub fn configure(&mut self, location: Location) {
        self.configured.insert(location);
    }

    /// Notes that a peer is configured no longer.
    pub fn unconfigure(&mut self, location: &Location) {
        self.configured.remove(location);
    }

    /// Notes that the book has more nodes than when there was nobody to dial, or that the network is back.
    pub fn wake(&mut self) {
        self.nobody_until = None;
        self.nobody_times = 0;
        self.failures = 0;
        self.paced = Instant::ZERO;
    }

    /// The next node to dial, if one is due: to be called after every change until there is none, and at
    /// [`deadline`](Self::deadline). It counts as open from then on, until [`ended`](Self::ended).
    ///
    /// `is_stale` says that no block has come for so long that one more peer is to be asked.
    pub fn next(
        &mut self,
        book: &mut AddressBook,
        barred: &Barred,
        is_stale: bool,
        now: Now,
        rng: &mut Rng,
    ) -> Option<Dial> {
        let feeler_due = *self.feeler_due.get_or_insert_with(|| feeler_after(now.instant, rng));
        book.resolve_collisions(now.unix);
        let staying = self.staying();
        let is_short = staying < self.policy.peers;
        if is_short && self.ready() > now.instant {
            return None;
        }
        if is_short && let Some(dial) = self.next_anchor(book, barred, now) {
            return Some(self.dial(dial, book, now));
        }
        let may_look = self.nobody_until.is_none_or(|until| until <= now.instant);
        let has_extra = || self.open.values().any(|open| open.purpose == Purpose::Extra);
        self.wants_extra = !is_short && is_stale && staying <= self.policy.peers && !has_extra();
        let purpose = if is_short {
            Some(Purpose::Peer)
        } else if self.wants_extra && self.ready() <= now.instant {
            Some(Purpose::Extra)
        } else {
            None
        };
        if let Some(purpose) = purpose.filter(|_| may_look) {
            let required = self.policy.required;
            if let Some(dial) = self.choose(purpose, required, book, barred, now, rng) {
                self.nobody_times = 0;
                return Some(self.dial(dial, book, now));
            }
            // Nobody serves what is required, as far as is known: others may know somebody.
            let is_asking = self.open.values().any(|open| open.purpose == Purpose::Addresses);
            if !is_asking
                && let Some(dial) =
                    self.choose(Purpose::Addresses, Required::addresses(), book, barred, now, rng)
            {
                return Some(self.dial(dial, book, now));
            }
            let doublings = self.nobody_times.min(MAX_NOBODY_DOUBLINGS);
            self.nobody_until = Some(now.instant + NOBODY_WAIT * (1 << doublings));
            self.nobody_times = self.nobody_times.saturating_add(1);
        }
        if self.policy.has_feelers && !is_short && feeler_due <= now.instant {
            self.feeler_due = Some(feeler_after(now.instant, rng));
            if self.open.values().any(|open| open.purpose == Purpose::Feeler) {
                return None;
            }
            let dial = self.choose(Purpose::Feeler, Required::addresses(), book, barred, now, rng)?;
            return Some(self.dial(dial, book, now));
        }
        None
    }

    /// A node to tell of transactions, or to hear of them: one that is connected for nothing else, of a group that has no
    /// connection. It counts as open from then on, until [`ended`](Self::ended).
    pub fn next_for_broadcast(
        &mut self,
        book: &mut AddressBook,
        barred: &Barred,
        now: Now,
        rng: &mut Rng,
    ) -> Option<Dial> {
        let dial = self.choose(Purpose::Broadcast, Required::addresses(), book, barred, now, rng)?;
        Some(self.dial(dial, book, now))
    }

    /// Whether nodes of two groups are connected, or as many as there are to be: else a failure may be ours.
    pub fn is_online(&self) -> bool {
        let connected = || self.open.values().filter(|open| open.since.is_some() && open.purpose.stays());
        let groups: BTreeSet<_> = connected().filter_map(|open| open.group).collect();
        let private = connected().filter(|open| open.group.is_none()).count();
        groups.len() + private >= self.policy.peers.saturating_sub(1).min(GROUPS_TO_COUNT_FAILURES)
    }

    /// Whether there are more connections that stay than there are to be.
    pub fn has_surplus(&self) -> bool {
        self.staying() > self.policy.peers
    }

    fn staying(&self) -> usize {
        self.open.values().filter(|open| open.purpose.stays()).count()
    }

    /// When [`next`](Self::next) is due without a change.
    pub fn deadline(&self) -> Option<Instant> {
        let staying = self.staying();
        if staying < self.policy.peers {
            return Some(self.nobody_until.unwrap_or_default().max(self.ready()));
        }
        let extra = self.wants_extra.then(|| self.nobody_until.unwrap_or_default().max(self.ready()));
        self.feeler_due.filter(|_| self.policy.has_feelers).into_iter().chain(extra).min()
    }

    /// Notes that a node has shaken hands, and what it said that it serves.
    pub fn welcome(
        &mut self,
        location: &Location,
        services: ServiceFlags,
        book: &mut AddressBook,
        now: Now,
    ) -> Welcome {
        book.set_services(location, services);
        book.good(location, now.unix);
        let serves = self.policy.required.are_met_by(services);
        let has_room = self.staying() < self.policy.peers
            && self.group(location, book).is_none_or(|group| !self.taken(book).contains(&group));
        let Some(open) = self.open.get_mut(location) else { return Welcome::Close };
        open.since = Some(now.instant);
        open.services = services;
        match open.purpose {
            Purpose::Broadcast => self.told.add(*location),
            purpose if purpose.stays() && serves => self.worked.add(*location),
            _ => {}
        }
        self.failures = 0;
        let otherwise = if book.len() < POOR_BOOK { Welcome::AskAndClose } else { Welcome::Close };
        match open.purpose {
            Purpose::Feeler => Welcome::Close,
            Purpose::Anchor | Purpose::Peer | Purpose::Extra if serves => Welcome::Keep,
            Purpose::Anchor | Purpose::Peer | Purpose::Extra => otherwise,
            // It serves more than was known.
            Purpose::Addresses if serves && has_room => {
                open.purpose = Purpose::Peer;
                self.worked.add(*location);
                Welcome::Keep
            }
            Purpose::Addresses => Welcome::AskAndClose,
            Purpose::Broadcast => Welcome::Keep,
        }
    }

    /// Notes that a connection has ended, or could not be made.
    pub fn ended(&mut self, location: &Location, book: &mut AddressBook, now: Now) {
        match self.open.remove(location) {
            Some(open) if open.since.is_some() => book.connected(location, now.unix),
            Some(open) if open.purpose != Purpose::Broadcast => {
                self.failures = self.failures.saturating_add(1);
            }
            Some(_) | None => {}
        }
        // The one that was dialled for a stale tip is a peer as the others are, once one of those has gone.
        if self.staying() <= self.policy.peers {
            let extra = self.open.values_mut().filter(|open| open.purpose == Purpose::Extra);
            extra.for_each(|open| open.purpose = Purpose::Peer);
        }
    }

    /// Notes in the book that the nodes that are connected are: to be called every twenty minutes or so.
    pub fn note_connected(&self, book: &mut AddressBook, now: Now) {
        for (location, _) in self.open.iter().filter(|(_, open)| open.since.is_some()) {
            book.connected(location, now.unix);
        }
    }

    /// Those that are connected or being dialled, with what for.
    pub fn open(&self) -> impl ExactSizeIterator<Item = (&Location, Purpose)> {
        self.open.iter().map(|(location, open)| (location, open.purpose))
    }

    /// Those that are to be dialled first after a restart: who has served the longest, and ten minutes at least.
    pub fn best(&self, now: Instant) -> Vec<Anchor> {
        let mut serving: Vec<_> = self
            .open
            .iter()
            .filter(|(_, open)| open.purpose.stays())
            .filter_map(|(location, open)| Some((open.since?, location, open.services)))
            .filter(|(since, ..)| now.since(*since) >= ANCHOR_AGE)
            .collect();
        serving.sort_unstable_by_key(|(since, location, _)| (*since, *location));
        let anchors = serving.into_iter().take(ANCHORS);
        anchors.map(|(_, location, services)| Anchor { location: *location, services }).collect()
    }

    fn dial(&mut self, dial: Dial, book: &mut AddressBook, now: Now) -> Dial {
        let Dial { location, services, purpose } = dial;
        book.attempt(&location, self.is_online(), now.unix);
        // As many at once as there are to be connections, then one at a time. Who dials for transactions has a pace of its own.
        let slowings = (self.failures / FAILURES_TO_SLOW).min(MAX_SLOWINGS);
        if purpose != Purpose::Broadcast {
            self.paced = self.paced.max(now.instant) + DIAL_INTERVAL * (1 << slowings);
        }
        let group = self.group(&location, book);
        self.open.insert(location, Open { purpose, group, services, since: None });
        dial
    }

    /// When the next dial may be made.
    fn ready(&self) -> Instant {
        let burst = DIAL_INTERVAL * u32::try_from(self.policy.peers).unwrap_or(u32::MAX);
        let burst = u64::try_from(burst.as_micros()).unwrap_or(u64::MAX);
        Instant::from_micros(self.paced.as_micros().saturating_sub(burst))
    }

    fn next_anchor(&mut self, book: &AddressBook, barred: &Barred, now: Now) -> Option<Dial> {
        while let Some(Anchor { location, services }) = self.anchors.pop() {
            let network = AddressNetwork::of(&location.host);
            let is_reachable = network.is_some_and(|network| self.policy.networks.contains(network));
            let is_free = !self.configured.contains(&location)
                && !self.open.contains_key(&location)
                && self.group(&location, book).is_none_or(|group| !self.taken(book).contains(&group));
            if is_reachable && is_free && !barred.contains(&location.host, now) {
                return Some(Dial { location, services, purpose: Purpose::Anchor });
            }
        }
        None
    }

    fn choose(
        &self,
        purpose: Purpose,
        required: Required,
        book: &mut AddressBook,
        barred: &Barred,
        now: Now,
        rng: &mut Rng,
    ) -> Option<Dial> {
        let is_broadcast = purpose == Purpose::Broadcast;
        let has_group = purpose.stays() || is_broadcast;
        let taken = if has_group { self.taken(book) } else { BTreeSet::new() };
        // Who is asked for filters is told of no transaction, and the other way round.
        let others = match purpose {
            Purpose::Broadcast => Some(&self.worked),
            _ if purpose.stays() => Some(&self.told),
            _ => None,
        };
        let is_free = |location: &Location, book: &AddressBook| {
            !self.open.contains_key(location)
                && !self.configured.contains(location)
                && !barred.contains(&location.host, now)
                && self.group(location, book).is_none_or(|group| !taken.contains(&group))
        };
        let mut required = required;
        if self.policy.encryption == Encryption::Required {
            required.all.add(ServiceFlags::P2P_V2);
        }
        let wanted = Wanted {
            networks: self.policy.networks,
            required,
            is_feeler: purpose == Purpose::Feeler,
            prefers_encrypted: self.policy.encryption != Encryption::Off && has_group,
        };
        // Who is connected needs no test.
        if wanted.is_feeler {
            for (location, _) in self.open.iter().filter(|(_, open)| open.since.is_some()) {
                if book.is_to_be_tested(location) {
                    book.good(location, now.unix);
                }
            }
        }
        let is_new = |location: &Location, book: &AddressBook| {
            is_free(location, book) && others.is_none_or(|others| !others.contain(location))
        };
        let mut picked = pick(book, &wanted, is_new, now.unix, rng);
        if picked.is_none() && others.is_some_and(|others| !others.is_empty()) {
            // Of few nodes each may have to do for both.
            picked = pick(book, &wanted, is_free, now.unix, rng);
        }
        let entry = picked?;
        Some(Dial { location: entry.location, services: entry.services, purpose })
    }

    /// The groups that have a connection that stays, or one for transactions.
    fn taken(&self, book: &AddressBook) -> BTreeSet<Group> {
        let holds = |open: &&Open| open.purpose.stays() || open.purpose == Purpose::Broadcast;
        let open = self.open.values().filter(holds).filter_map(|open| open.group);
        open.chain(self.configured.iter().filter_map(|location| self.group(location, book))).collect()
    }

    /// The group of a node, in networks where it means something.
    fn group(&self, location: &Location, book: &AddressBook) -> Option<Group> {
        let network = AddressNetwork::of(&location.host)?;
        (!network.is_private()).then(|| book.group(location))
    }
}

fn feeler_after(now: Instant, rng: &mut Rng) -> Instant {
    now + exponential(FEELER_INTERVAL, rng)
}

/// A time of the exponential distribution with this mean, by von Neumann's method: it compares random numbers, and needs
/// no logarithm.
pub fn exponential(mean: Duration, rng: &mut Rng) -> Duration {
    let mut whole = 0u32;
    loop {
        // The first number is taken if the run of falling numbers that begins with it is of odd length.
        let first = rng.u64() >> 32;
        let (mut last, mut length) = (first, 1u32);
        loop {
            let next = rng.u64() >> 32;
            if next >= last {
                break;
            }
            last = next;
            length += 1;
        }
        if length % 2 == 1 {
            let part = (mean.as_micros() * u128::from(first)) >> 32;
            return mean.saturating_mul(whole) + Duration::from_micros(part as u64);
        }
        whole += 1;
    }
}
