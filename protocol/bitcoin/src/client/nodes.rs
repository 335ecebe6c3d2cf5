//! Nodes that nobody has configured: the address book at work. Which are dialled and for what, what they tell of others,
//! where the first come from, and what is stored of it all.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use andon_kernel::{BatchWriter, ConnId, Instant, Now, Rng, Ticket, UnixTime};
use bitcoin::p2p::ServiceFlags;

use super::api::{PeerPurpose, Reason};
use super::config::{Config, Discovery, Endpoint, default_port};
use super::dial::TargetId;
use super::gossip::Teller;
use super::peer::{Handshake, Origin, Peer, Whom};
use super::ways::reachable;
use super::{Client, Event, Misbehaviour, Refusal, RequestId, Then, Timer, Turn};
use crate::addresses::limits::{BAN, FIXED_SEEDS_AFTER, POOR_BOOK};
use crate::addresses::{
    AddressBook, AddressNetworks, Anchors, Barred, Dial, DnsSeed, Location, Outbound, Policy, Purpose,
    Required, SeedQuery, Source, Subnet, Table, Welcome, dns_seeds,
};
use crate::wire::{Host, Message, NodeAddress};

/// Connections to nodes of the book, at most: more would serve nobody.
const MAX_CONNECTIONS: usize = 64;

/// The same where each byte costs: as many as have to agree by default.
const METERED_CONNECTIONS: usize = 2;

/// Connections of the book's nodes with which no seed is asked: the book works.
const ENOUGH: usize = 2;

/// DNS seeds that are asked at once: if one lies, two others are heard too.
const SEEDS_AT_ONCE: usize = 3;

/// How long the book's own nodes are tried before seeds are asked: a book of few nodes, one of many.
const BEFORE_SEEDS: Duration = Duration::from_secs(11);
const BEFORE_SEEDS_WITH_MANY: Duration = Duration::from_secs(5 * 60);

/// How long an empty book waits for all seeds that were asked, until it may go by the answers of some alone.
const SEED_PATIENCE: Duration = Duration::from_secs(5);

/// How often the time between two rounds of seeds doubles: up to an hour and a half, for whoever is offline.
const MAX_SEED_DOUBLINGS: u32 = 9;

/// Requests to seeds that are under way at most.
const MAX_SEEDS_ASKED: usize = 64;

/// How long a node that is connected for nothing else may take to tell of others.
const TELLING: Duration = Duration::from_secs(30);

/// How often what has changed in the book is written, and anchors are looked for.
const KEEP_INTERVAL: Duration = Duration::from_secs(5 * 60);

/// The same for the first time: what a new book has learnt is worth the most.
const KEEP_FIRST: Duration = Duration::from_secs(30);

/// Nodes of the address book.
#[derive(Debug)]
pub(super) struct Nodes {
    rng: Rng,
    book: AddressBook,
    barred: Barred,
    anchors: Anchors,
    outbound: Outbound,
    pub(super) teller: Teller,
    /// Where peers that were given were dialled last.
    given: BTreeMap<TargetId, Location>,
    /// Questions to DNS seeds that have not been asked in this round.
    seeds: Vec<SeedQuery>,
    asked: BTreeMap<Ticket, SeedQuery>,
    /// How many were asked by an empty book, and until when it waits for their answers.
    first_answers: Option<(usize, Instant)>,
    rounds: u32,
    /// Since when seeds are asked in vain.
    seeking_since: Option<Instant>,
    is_stale: bool,
    /// Whether somebody may be to be dialled.
    is_due: bool,
}

impl Nodes {
    /// Those that were stored. `None`: none are to be found.
    pub(super) fn new(
        config: &Config,
        book: AddressBook,
        barred: Barred,
        anchors: Anchors,
        rng: Rng,
    ) -> Option<Box<Self>> {
        let discovery = config.discovery.as_ref()?;
        let policy = policy(config, discovery);
        let outbound = Outbound::new(policy, anchors.get());
        let teller = Teller::new(rng.fork("news"));
        Some(Box::new(Self {
            rng,
            book,
            barred,
            anchors,
            outbound,
            teller,
            given: BTreeMap::new(),
            seeds: Vec::new(),
            asked: BTreeMap::new(),
            first_answers: None,
            rounds: 0,
            seeking_since: None,
            is_stale: false,
            is_due: true,
        }))
    }

    pub(super) fn set_policy(&mut self, policy: Policy) {
        self.outbound.set_policy(policy);
        self.is_due = true;
    }

    pub(super) const fn policy(&self) -> &Policy {
        self.outbound.policy()
    }

    /// Whether a host is banned or discouraged.
    pub(super) fn bars(&self, host: &Host, now: Now) -> bool {
        self.barred.contains(host, now)
    }

    fn is_changed(&self) -> bool {
        self.book.unstored() > 0 || self.barred.bans.is_changed() || self.anchors.is_changed()
    }

    fn put(&mut self, batch: &mut BatchWriter<'_>) {
        self.book.store(batch);
        self.barred.bans.store(batch);
        self.anchors.store(batch);
    }

    /// When the book is first looked at for whether it finds anybody.
    fn before_seeds(&self) -> Duration {
        match self.book.len() {
            0 => Duration::ZERO,
            1..POOR_BOOK => BEFORE_SEEDS,
            _ => BEFORE_SEEDS_WITH_MANY,
        }
    }
}

/// Questions to seeds, the first last. Those come first that tell of nodes with filters, for only such can be chosen from before anybody is
/// connected; and each of these seeds once before any is asked twice, so that the first answers are of as many seeds as can be.
fn in_turn(seeds: &[DnsSeed], rng: &mut Rng) -> Vec<SeedQuery> {
    let mut all: Vec<(bool, usize, SeedQuery)> = Vec::new();
    for seed in seeds {
        let mut queries = seed.queries();
        rng.shuffle(&mut queries);
        let rank = |query: &SeedQuery| !query.services.has(ServiceFlags::COMPACT_FILTERS);
        all.extend(queries.into_iter().enumerate().map(|(turn, query)| (rank(&query), turn, query)));
    }
    rng.shuffle(&mut all);
    all.sort_by_key(|(rank, turn, _)| core::cmp::Reverse((*rank, *turn)));
    all.into_iter().map(|(_, _, query)| query).collect()
}

/// How nodes are chosen. Where each byte costs there are only so many as can contradict each other, and none is tested.
fn policy(config: &Config, discovery: &Discovery) -> Policy {
    let most = if config.metered { METERED_CONNECTIONS } else { MAX_CONNECTIONS };
    Policy {
        required: Required::light_client(),
        peers: discovery.connections.min(most),
        networks: discovery.networks.and(reachable(config)),
        has_feelers: discovery.feelers && !config.metered,
        encryption: config.encryption,
    }
}

impl Client {
    /// Each byte costs from now on, or does no longer.
    pub(super) fn set_metered(&mut self, turn: &mut Turn<'_>, metered: bool) {
        self.config.metered = metered;
        self.search.filters.decoys.set_off(metered);
        if let (Some(nodes), Some(discovery)) = (self.nodes.as_deref_mut(), &self.config.discovery) {
            nodes.set_policy(policy(&self.config, discovery));
        }
        if metered {
            self.spare_connections(turn);
        }
    }

    /// Where each byte costs: lets go whoever is more than needed, and whatever is under way for others than them.
    pub(super) fn spare_connections(&mut self, turn: &mut Turn<'_>) {
        let is_spare = |peer: &Peer| {
            let is_aside = matches!(
                peer.origin,
                Origin::Book { purpose: Purpose::Feeler | Purpose::Addresses, .. } | Origin::Seed(_)
            );
            is_aside && peer.handshake != Handshake::Aside
        };
        let working = self.peers.values().filter(|peer| peer.is_ready()).count();
        if working > 0 {
            let spare = self.peers.iter().filter(|(_, peer)| is_spare(peer)).map(|(conn, _)| *conn);
            for conn in spare.collect::<Vec<_>>() {
                self.drop_peer(turn, conn, Reason::Spared);
            }
        }
        while self.drop_surplus(turn, Reason::Spared) {}
    }

    /// Looks for nodes, from the start or after a pause.
    pub(super) fn resume_finding(&mut self, turn: &Turn<'_>) {
        let Some(nodes) = self.nodes.as_deref_mut().filter(|_| !self.pause.is_paused()) else { return };
        // What could not be reached before may be reached now.
        nodes.is_due = true;
        nodes.outbound.wake();
        (nodes.rounds, nodes.seeking_since) = (0, None);
        self.timers.set(Timer::Seeds, turn.now.instant + nodes.before_seeds());
        self.timers.set(Timer::KeepNodes, turn.now.instant + KEEP_FIRST);
    }

    /// A peer is given no more.
    pub(super) fn forget_given(&mut self, target: TargetId) {
        let Some(nodes) = self.nodes.as_deref_mut() else { return };
        if let Some(location) = nodes.given.remove(&target)
            && !nodes.given.values().any(|other| *other == location)
        {
            nodes.outbound.unconfigure(&location);
            nodes.is_due = true;
        }
    }

    /// Dials whoever is due.
    pub(super) fn dial_nodes(&mut self, turn: &mut Turn<'_>) {
        let may_dial = !self.pause.is_paused();
        let Some(nodes) = self.nodes.as_deref_mut().filter(|nodes| nodes.is_due && may_dial) else { return };
        nodes.is_due = false;
        let held = nodes.held_for_answers(turn.now.instant);
        let most = held.map_or(usize::MAX, |(most, _)| most);
        let Nodes { outbound, book, barred, rng, is_stale, .. } = nodes;
        let mut dials = Vec::new();
        while outbound.open().len() < most
            && let Some(dial) = outbound.next(book, barred, *is_stale, turn.now, rng)
        {
            match dial.location.endpoint() {
                Some(endpoint) => dials.push((dial, endpoint)),
                None => outbound.ended(&dial.location, book, turn.now),
            }
        }
        let is_held = outbound.open().len() >= most;
        match held.filter(|_| is_held).map(|(_, until)| until).or_else(|| outbound.deadline()) {
            Some(deadline) => self.timers.set(Timer::Nodes, deadline.max(turn.now.instant)),
            None => self.timers.cancel(Timer::Nodes),
        }
        for (Dial { location, services, purpose }, endpoint) in dials {
            // Who is not said to know encryption is not troubled with it. What it says itself counts the next time.
            let may_encrypt = services.has(ServiceFlags::P2P_V2);
            let origin = Origin::Book { location, purpose };
            if self.connect(turn, origin, endpoint.clone(), endpoint, may_encrypt).is_err()
                && let Some(nodes) = self.nodes.as_deref_mut()
            {
                // An anchor, say, of a network that an earlier run was in.
                nodes.outbound.ended(&location, &mut nodes.book, turn.now);
            }
        }
    }

    /// Somebody of the book to tell of transactions, or to hear of them, and whether it knows encryption.
    pub(super) fn next_for_broadcast(&mut self, turn: &Turn<'_>) -> Option<(Location, Endpoint, bool)> {
        let nodes = self.nodes.as_deref_mut()?;
        let Nodes { outbound, book, barred, rng, .. } = nodes;
        let dial = outbound.next_for_broadcast(book, barred, turn.now, rng)?;
        let Some(endpoint) = dial.location.endpoint() else {
            outbound.ended(&dial.location, book, turn.now);
            return None;
        };
        Some((dial.location, endpoint, dial.services.has(ServiceFlags::P2P_V2)))
    }

    /// No way leads to it.
    pub(super) fn not_for_broadcast(&mut self, turn: &Turn<'_>, location: &Location) {
        if let Some(nodes) = self.nodes.as_deref_mut() {
            nodes.outbound.ended(location, &mut nodes.book, turn.now);
        }
    }

    /// The time for another look at who is to be dialled has come.
    pub(super) fn nodes_are_due(&mut self) {
        if let Some(nodes) = &mut self.nodes {
            nodes.is_due = true;
        }
    }

    /// No block has come for long, or one has.
    pub(super) fn note_stale(&mut self, is_stale: bool) {
        if let Some(nodes) = &mut self.nodes
            && (is_stale || nodes.is_stale)
        {
            nodes.is_stale = is_stale;
            nodes.is_due |= is_stale;
        }
    }

    /// A peer that was given is dialled at this address: the book does not dial it, now or between its connections, for it would
    /// be two peers then, or be told of transactions; and its group is taken.
    pub(super) fn note_given(&mut self, target: TargetId, remote: &Endpoint) {
        let (Some(nodes), Some(location)) = (&mut self.nodes, Location::of(remote)) else { return };
        let before = nodes.given.insert(target, location);
        if let Some(before) = before.filter(|before| !nodes.given.values().any(|other| other == before)) {
            nodes.outbound.unconfigure(&before);
        }
        nodes.outbound.configure(location);
    }

    /// A node of the book has shaken hands: what it is good for.
    pub(super) fn welcome(&mut self, turn: &Turn<'_>, conn: ConnId) -> Welcome {
        let (Some(nodes), Some(peer)) = (self.nodes.as_deref_mut(), self.peers.get_mut(&conn)) else {
            return Welcome::Keep;
        };
        match &mut peer.origin {
            Origin::Given(_) => {
                // It is a node, whoever named it.
                if let Endpoint::Address(addr) = &peer.remote {
                    nodes.book.good(&Location::from(*addr), turn.now.unix);
                }
                Welcome::Keep
            }
            Origin::Seed(_) => Welcome::AskAndClose,
            Origin::Broadcast { whom: Whom::Found(location), .. } => {
                nodes.outbound.welcome(location, peer.services, &mut nodes.book, turn.now)
            }
            Origin::Broadcast { whom: Whom::Given(_), .. } => Welcome::Keep,
            Origin::Book { location, purpose } => {
                nodes.is_due = true;
                let welcome = nodes.outbound.welcome(location, peer.services, &mut nodes.book, turn.now);
                match welcome {
                    Welcome::Keep if *purpose == Purpose::Addresses => *purpose = Purpose::Peer,
                    Welcome::Close | Welcome::AskAndClose if *purpose != Purpose::Feeler => {
                        nodes.anchors.remove(location);
                    }
                    _ => {}
                }
                welcome
            }
        }
    }

    /// Asks a peer for addresses of others, once.
    pub(super) fn ask_for_addresses(&mut self, turn: &mut Turn<'_>, conn: ConnId) {
        let Some(nodes) = self.nodes.as_deref() else { return };
        // A thousand addresses are some twenty kilobytes.
        let is_spared = self.config.metered && nodes.book.len() >= POOR_BOOK;
        let Some(peer) = self.peers.get_mut(&conn).filter(|_| !is_spared) else { return };
        peer.addresses.asked();
        peer.news.owes_answer = true;
        self.send(turn, conn, &Message::GetAddr);
    }

    /// Has a peer tell of others and nothing else.
    pub(super) fn ask_aside(&mut self, turn: &mut Turn<'_>, conn: ConnId) {
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        peer.handshake = Handshake::Aside;
        self.timers.set(Timer::Handshake(conn), turn.now.instant + TELLING);
        self.ask_for_addresses(turn, conn);
    }

    /// Takes what a peer tells of others. True: that is all that it is connected for.
    pub(super) fn hear_of(&mut self, turn: &Turn<'_>, conn: ConnId, mut told: Vec<NodeAddress>) -> bool {
        // Only who tells on what it is told needs it as it was.
        let tells = !self.config.metered && self.config.discovery.is_some_and(|discovery| discovery.tells);
        let news = if tells { told.clone() } else { Vec::new() };
        let (Some(nodes), Some(peer)) = (self.nodes.as_deref_mut(), self.peers.get_mut(&conn)) else {
            return false;
        };
        let teller = peer.teller();
        let Nodes { book, outbound, barred, rng, .. } = nodes;
        let networks = outbound.policy().networks;
        let heard = book.hear(&mut told, &teller, &mut peer.addresses, networks, barred, turn.now, rng);
        if heard.new > 0 {
            outbound.wake();
            nodes.is_due = true;
        }
        // A node that tells of itself alone has not answered.
        let is_done = peer.handshake == Handshake::Aside && told.len() > 1;
        // Who tells more than it may is not passed on.
        if heard.surplus == 0 {
            self.note_news(turn, conn, &news);
        }
        is_done
    }

    /// A connection to a node of the book has ended.
    pub(super) fn node_ended(&mut self, turn: &mut Turn<'_>, peer: &Peer, reason: &Reason) {
        let Some(nodes) = self.nodes.as_deref_mut() else { return };
        nodes.is_due = true;
        let host = match (peer.origin, &peer.remote) {
            (Origin::Book { location, .. }, _) => {
                nodes.outbound.ended(&location, &mut nodes.book, turn.now);
                // It may be us who can't be reached.
                let is_its_own = !matches!(reason, Reason::Paused | Reason::Spared);
                if is_its_own && peer.handshake == Handshake::Version && nodes.outbound.is_online() {
                    nodes.anchors.remove(&location);
                }
                location.host
            }
            (Origin::Broadcast { whom: Whom::Found(location), .. }, _) => {
                nodes.outbound.ended(&location, &mut nodes.book, turn.now);
                location.host
            }
            (Origin::Given(_), Endpoint::Address(addr)) => Location::from(*addr).host,
            _ => return,
        };
        match reason {
            // It vouched for what its block proves false: that is no mistake of a link or of ours.
            Reason::Misbehaved(Misbehaviour::FalseFilterHeader(_)) => {
                let until = UnixTime::from_secs(turn.now.unix.as_secs() + BAN.as_secs());
                self.ban(turn, Subnet::host(&host), until);
            }
            Reason::Misbehaved(_) | Reason::OtherChain => {
                nodes.barred.discouraged.add(&host, turn.now.instant)
            }
            _ => {}
        }
    }

    /// The application bans a subnet.
    pub(super) fn order_ban(
        &mut self,
        turn: &mut Turn<'_>,
        request: Option<RequestId>,
        subnet: Subnet,
        until: UnixTime,
    ) {
        if self.ban(turn, subnet, until) {
            self.done(turn, request);
        } else {
            self.refuse(turn, request, Refusal::NoBan, Event::BanRefused { subnet });
        }
    }

    /// Bans a subnet, and lets its nodes go. False: that can't be.
    fn ban(&mut self, turn: &mut Turn<'_>, subnet: Subnet, until: UnixTime) -> bool {
        let banned = self.nodes.as_deref_mut().map(|nodes| {
            let banned = nodes.barred.bans.ban(subnet, until, turn.now.unix);
            nodes.is_due = true;
            banned
        });
        if !matches!(banned, Some(Ok(()))) {
            return false;
        }
        self.keep_nodes(turn, Vec::from([Event::Banned { subnet, until }]));
        let is_in = |peer: &Peer| match peer.origin {
            Origin::Book { location, .. } | Origin::Broadcast { whom: Whom::Found(location), .. } => {
                subnet.contains(&location.host)
            }
            _ => false,
        };
        let theirs = self.peers.iter().filter(|(_, peer)| is_in(peer)).map(|(conn, _)| *conn);
        for conn in theirs.collect::<Vec<_>>() {
            self.drop_peer(turn, conn, Reason::Banned);
        }
        true
    }

    /// Lifts a ban.
    pub(super) fn lift_ban(&mut self, turn: &mut Turn<'_>, subnet: Subnet) {
        let Some(nodes) = self.nodes.as_deref_mut() else { return };
        if nodes.barred.bans.lift(&subnet) {
            nodes.is_due = true;
            self.keep_nodes(turn, Vec::from([Event::BanLifted { subnet }]));
        }
    }

    /// Asks seeds, if the book finds nobody.
    pub(super) fn seek(&mut self, turn: &mut Turn<'_>) {
        let working = self.peers.values().filter(|peer| peer.is_ready() && peer.is_of_the_book()).count();
        let (Some(nodes), Some(discovery)) = (self.nodes.as_deref_mut(), &self.config.discovery) else {
            return;
        };
        let now = turn.now.instant;
        if working >= ENOUGH.min(nodes.outbound.policy().peers) {
            nodes.seeking_since = None;
            nodes.rounds = 0;
            self.timers.set(Timer::Seeds, now + BEFORE_SEEDS_WITH_MANY);
            return;
        }
        let since = *nodes.seeking_since.get_or_insert(now);
        let network = self.config.network;
        let seeds = if discovery.dns_seeds { dns_seeds(network) } else { &[] };
        let fixed_wait = if seeds.is_empty() { Duration::ZERO } else { FIXED_SEEDS_AFTER };
        if discovery.fixed_seeds && now >= since + fixed_wait {
            nodes.add_fixed_seeds(network, turn.now);
        }
        if nodes.seeds.is_empty() {
            nodes.seeds = in_turn(seeds, &mut nodes.rng);
            nodes.rounds = nodes.rounds.saturating_add(1);
        }
        if nodes.seeds.is_empty() {
            // The fixed seeds were all that there is.
            return self.timers.cancel(Timer::Seeds);
        }
        let wait = BEFORE_SEEDS * (1 << nodes.rounds.saturating_sub(1).min(MAX_SEED_DOUBLINGS));
        let mut next = now + wait;
        if now < since + fixed_wait {
            next = next.min(since + fixed_wait);
        }
        self.timers.set(Timer::Seeds, next);
        let mut asked = Vec::new();
        while asked.len() < SEEDS_AT_ONCE && nodes.asked.len() + asked.len() < MAX_SEEDS_ASKED {
            let Some(query) = nodes.seeds.pop() else { break };
            asked.push(query);
        }
        if nodes.book.is_empty() {
            nodes.first_answers = Some((asked.len(), now + SEED_PATIENCE));
        }
        for query in asked {
            self.ask_seed(turn, query);
        }
    }

    /// Asks a DNS seed; through a proxy, which looks the name up and connects to one of its nodes, that node.
    fn ask_seed(&mut self, turn: &mut Turn<'_>, query: SeedQuery) {
        let port = default_port(self.config.network);
        if self.config.proxy.is_none() {
            let ticket = self.names.ticket();
            turn.out.resolve(ticket, &query.host, port);
            if let Some(nodes) = &mut self.nodes {
                nodes.asked.insert(ticket, query);
            }
            return;
        }
        let endpoint = Endpoint::Host { name: query.host.trim_end_matches('.').to_string(), port };
        // The proxy is a way to any name.
        let _ = self.connect(turn, Origin::Seed(query.source), endpoint.clone(), endpoint, true);
    }

    /// Takes a DNS seed's answer in.
    pub(super) fn seed_answered(&mut self, turn: &Turn<'_>, ticket: Ticket, addrs: &[SocketAddr]) {
        let Some(nodes) = self.nodes.as_deref_mut() else { return };
        let Some(query) = nodes.asked.remove(&ticket) else { return };
        // The others' answers may be dialled for, whatever this one is.
        nodes.is_due |= nodes.first_answers.is_some();
        let answer: Vec<_> = addrs.iter().map(SocketAddr::ip).collect();
        let Nodes { book, rng, .. } = nodes;
        if book.add_seed_answer(&query, &answer, self.config.network, turn.now.unix, rng) > 0 {
            nodes.outbound.wake();
            nodes.is_due = true;
        }
    }

    /// Notes who is connected, looks for anchors, lets the one go that is too many, and writes down what has changed.
    pub(super) fn keep_nodes_now(&mut self, turn: &mut Turn<'_>) {
        let Some(nodes) = self.nodes.as_deref_mut() else { return };
        nodes.note(turn.now);
        self.timers.set(Timer::KeepNodes, turn.now.instant + KEEP_INTERVAL);
        self.keep_nodes(turn, Vec::new());
        self.drop_surplus(turn, Reason::Surplus);
    }

    /// Writes down what has changed, and tells events then.
    pub(super) fn keep_nodes(&mut self, turn: &mut Turn<'_>, events: Vec<Event>) {
        let Some(mut nodes) = self.nodes.take() else { return };
        if nodes.is_changed() {
            self.store(turn, events, Then::Nothing, |batch| nodes.put(batch));
        } else {
            events.into_iter().for_each(|event| turn.out.event(event));
        }
        self.nodes = Some(nodes);
    }

    /// The client is about to stop.
    pub(super) fn keep_nodes_at_the_end(&mut self, turn: &mut Turn<'_>) {
        if let Some(nodes) = self.nodes.as_deref_mut() {
            nodes.note(turn.now);
            self.keep_nodes(turn, Vec::new());
        }
    }

    /// After a stale tip there is one connection too many: of the book's nodes the one goes that has shown the lowest chain,
    /// or that has been the longest without a new block; of those the youngest. False: there is none.
    fn drop_surplus(&mut self, turn: &mut Turn<'_>, reason: Reason) -> bool {
        let is_spared = reason == Reason::Spared;
        let Some(nodes) = self.nodes.as_deref().filter(|nodes| is_spared || !nodes.is_stale) else {
            return false;
        };
        if !nodes.outbound.has_surplus() {
            return false;
        }
        let theirs = self.peers.iter().filter(|(_, peer)| {
            (peer.is_ready() || is_spared) && peer.is_of_the_book() && peer.purpose() == PeerPurpose::Found
        });
        let last = theirs.min_by_key(|(conn, peer)| {
            (peer.best.map(|best| best.height), peer.showed, core::cmp::Reverse(**conn))
        });
        let last = last.map(|(conn, _)| *conn);
        if let Some(conn) = last {
            self.drop_peer(turn, conn, reason);
        }
        last.is_some()
    }
}

impl Nodes {
    fn note(&mut self, now: Now) {
        self.outbound.note_connected(&mut self.book, now);
        let best = self.outbound.best(now.instant);
        if !best.is_empty() {
            self.anchors.set(&best);
        }
        self.barred.bans.sweep(now.unix);
    }

    /// How many connections there may be while seeds that an empty book has asked owe answers, and until when: as large a part of
    /// all as the part of the seeds that has answered. Else whichever is the first to answer would have all of them, and
    /// the others be asked for nothing. `None`: as many as there are to be.
    fn held_for_answers(&mut self, now: Instant) -> Option<(usize, Instant)> {
        let (asked, until) = self.first_answers?;
        let owed = self.asked.len().min(asked);
        if owed == 0 || now >= until {
            self.first_answers = None;
            return None;
        }
        Some((self.outbound.policy().peers * (asked - owed) / asked, until))
    }

    /// Takes the nodes that are compiled in, of networks of which the book has nobody.
    fn add_fixed_seeds(&mut self, network: bitcoin::Network, now: Now) {
        let networks = self.outbound.policy().networks;
        let is_empty = |one: &crate::addresses::AddressNetwork| {
            let one = AddressNetworks::NONE.with(*one);
            self.book.count(Table::New, one) == 0 && self.book.count(Table::Tried, one) == 0
        };
        let empty: AddressNetworks = networks.iter().filter(is_empty).collect();
        if self.book.add_fixed_seeds(network, empty, now.unix, &mut self.rng) > 0 {
            self.outbound.wake();
            self.is_due = true;
        }
    }
}

impl Peer {
    /// Whether it was found, and works.
    pub(super) const fn is_of_the_book(&self) -> bool {
        matches!(self.origin, Origin::Book { .. })
    }

    /// What it is connected for.
    pub(super) const fn purpose(&self) -> PeerPurpose {
        match self.origin {
            Origin::Given(_) => PeerPurpose::Configured,
            Origin::Book { purpose: Purpose::Feeler, .. } => PeerPurpose::Feeler,
            Origin::Book { purpose: Purpose::Addresses, .. } | Origin::Seed(_) => PeerPurpose::Addresses,
            Origin::Broadcast { .. } => PeerPurpose::Broadcast,
            Origin::Book { .. } => PeerPurpose::Found,
        }
    }

    /// As whom it tells of others.
    fn teller(&self) -> Source {
        match (self.origin, &self.remote) {
            (Origin::Book { location, .. } | Origin::Broadcast { whom: Whom::Found(location), .. }, _) => {
                Source::Node(location.host)
            }
            (Origin::Seed(source), _) => source,
            (Origin::Given(_) | Origin::Broadcast { .. }, Endpoint::Address(addr)) => {
                Source::Node(Location::from(*addr).host)
            }
            (Origin::Given(_) | Origin::Broadcast { .. }, Endpoint::Host { name, .. }) => Source::named(name),
        }
    }
}
