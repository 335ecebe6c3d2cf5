//! The network: dials, datagrams, names. Bytes on their way are in [`bytes`](super::bytes), ends of connections in [`ends`](super::ends).
//!
//! Connections have TCP's semantics: bytes arrive in order or not at all, what is lost comes later, a dial is accepted, refused or
//! not answered, an end is told or never heard of.

use core::net::SocketAddr;
use core::time::Duration;
use std::fmt;

use andon_kernel::{ConnId, Disconnect, Link, Ticket, UnixTime};

use super::addresses::Addresses;
use super::digest::Digest;
use super::links::Links;
use super::names::Names;
use super::node::{NodeId, NodeInput};
use super::pipe::{EndRef, Pipes, State};
use super::queue::Queue;
use super::site::{Reach, Site, carried};
use super::time::Time;
use super::trace::{Trace, Traced};
use crate::random::Stream;

/// Everything between the nodes.
pub(super) struct Network {
    pub(super) seed: u64,
    pub(super) now: Time,
    pub(super) queue: Queue<Happening>,
    pub(super) sites: Vec<Site>,
    pub(super) by_address: Addresses,
    pub(super) pipes: Pipes,
    pub(super) digest: Digest,
    pub(super) names: Names,
    pub(super) trace: Option<Box<dyn Trace>>,
    pub(super) counts: Counts,
    pub(super) links: Links,
    /// Counts how often the links may have been changed, from one.
    links_edition: u32,
    /// Whether the network was ever divided.
    pub(super) has_islands: bool,
    /// Where a dial to nobody's address leads.
    pub(super) nowhere: Reach,
    pub(super) streams: Streams,
    /// What a node has sent in this turn and may go on sending.
    pub(super) gathered: Vec<u8>,
    pub(super) gathered_for: Option<ConnId>,
    /// In a turn that gives a node bytes: of which connection.
    pub(super) delivered: Option<(ConnId, EndRef)>,
    pub(super) pool: Vec<Vec<u8>>,
    pub(super) datagrams: Slots<Datagram>,
    pub(super) look_ups: Slots<LookUp>,
}

/// What is drawn for one purpose changes nothing of what is drawn for another.
#[derive(Debug)]
pub(super) struct Streams {
    pub(super) delays: Stream,
    pub(super) pieces: Stream,
    datagrams: Stream,
    names: Stream,
}

/// What has happened in a world so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Inputs that nodes were given.
    pub events: u64,
    /// Dials.
    pub dials: u64,
    /// Bytes sent over connections.
    pub bytes: u64,
    /// Datagrams that no node was told of: lost on the way, sent to nobody, or dropped by a system.
    pub datagrams_lost: u64,
}

/// What is to happen.
#[derive(Clone, Copy, Debug)]
pub(super) enum Happening {
    Start(NodeId, u32),
    Wake(NodeId),
    Due(NodeId, u32),
    /// A dial has come to where it leads.
    Opening(EndRef),
    /// The node there is told of it.
    Accepted(EndRef),
    /// Who dialled learns that it was let in.
    Opened(EndRef),
    /// A dial has taken as long as it may.
    DialLimit(EndRef),
    /// Bytes, or the end, have come.
    Arrived(EndRef),
    /// What waits for the sender's line goes on.
    Line(EndRef),
    /// Bytes that were held back go on.
    Release(EndRef),
    Drained(EndRef),
    /// The node is told that the other side has closed its half.
    HalfClosed(EndRef),
    /// The node is told that it is over.
    Ended(EndRef, Disconnect),
    /// A connection that its node has closed has had its time.
    Linger(EndRef),
    /// Nothing has got through for long.
    GivenUp(EndRef),
    /// What was sent to a machine that vanished comes there once more.
    Probe(EndRef),
    Datagram(u32),
    Resolved(u32),
    /// A node that takes inputs again is told the next of what was put off.
    Resume(NodeId),
}

impl Happening {
    /// Where bytes arrive, or the end.
    const fn arrives(self) -> Option<EndRef> {
        if let Self::Arrived(end) = self { Some(end) } else { None }
    }
}

#[derive(Debug)]
pub(super) struct Datagram {
    pub(super) to: NodeId,
    pub(super) from: SocketAddr,
    pub(super) bytes: Vec<u8>,
    /// Who sent it, and when it has left there.
    by: NodeId,
    left: Time,
    /// Whether it never will.
    is_lost: bool,
}

#[derive(Debug)]
pub(super) struct LookUp {
    pub(super) node: NodeId,
    pub(super) epoch: u32,
    pub(super) ticket: Ticket,
    pub(super) addrs: Vec<SocketAddr>,
}

/// As long as a system sends again before it gives a connection up.
pub(super) const SEND_LIMIT: Duration = Duration::from_secs(924);
/// How many dials, and how many datagrams, wait for a node that takes nothing: one dial more is not answered, one datagram more is lost.
const BACKLOG: usize = 4096;
/// How many look-ups a node may have under way, as with a driver: one more fails at once.
const LOOK_UPS: u32 = 64;
/// After which an answer to a dial that did not get through is sent again.
const AGAIN: Duration = Duration::from_secs(1);
/// For how many things at once memory is asked.
const LOOK_AHEAD: usize = 32;
/// A round trip to an address that nobody has.
const NOWHERE: Duration = Duration::from_millis(100);

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Network at {:?}, {} connections, {} to come", self.now, self.pipes.len(), self.queue.len())
    }
}

impl Network {
    pub(super) fn new(seed: u64, links: Links) -> Self {
        let stream = Stream::new(seed);
        Self {
            seed,
            now: Time::ZERO,
            queue: Queue::new(),
            sites: Vec::new(),
            by_address: Addresses::default(),
            pipes: Pipes::default(),
            digest: Digest::default(),
            names: Names::default(),
            trace: None,
            counts: Counts::default(),
            links,
            links_edition: 1,
            has_islands: false,
            nowhere: Reach::Hidden,
            streams: Streams {
                delays: stream.fork("delays"),
                pieces: stream.fork("pieces"),
                datagrams: stream.fork("datagrams"),
                names: stream.fork("names"),
            },
            gathered: Vec::new(),
            gathered_for: None,
            delivered: None,
            pool: Vec::new(),
            datagrams: Slots::default(),
            look_ups: Slots::default(),
        }
    }

    pub(super) const fn links_mut(&mut self) -> &mut Links {
        self.links_edition += 1;
        &mut self.links
    }

    pub(super) const fn is_traced(&self) -> bool {
        self.trace.is_some()
    }

    pub(super) fn traced<'a>(&mut self, node: NodeId, what: impl FnOnce() -> Traced<'a>) {
        if let Some(trace) = &mut self.trace {
            trace.happened(self.now, node, what());
        }
    }

    /// Takes an input into the digest, and shows it.
    pub(super) fn told(&mut self, node: NodeId, unix: UnixTime, input: &NodeInput<'_>) {
        self.counts.events += 1;
        self.digest.absorb(self.now.as_nanos());
        self.digest.absorb(unix.as_secs());
        let (kind, detail) = match input {
            NodeInput::Start => (1, 0),
            NodeInput::Wake => (2, 0),
            NodeInput::Due => (3, 0),
            NodeInput::Connected { conn, link, .. } => (4 + u64::from(*link == Link::Inbound), conn.as_u64()),
            NodeInput::Received { conn, .. } => (6, conn.as_u64()),
            NodeInput::Drained { conn } => (7, conn.as_u64()),
            NodeInput::Disconnected { conn, .. } => (8, conn.as_u64()),
            NodeInput::Datagram { .. } => (9, 0),
            NodeInput::Resolved { ticket, .. } => (10, ticket.as_u64()),
            NodeInput::HalfClosed { conn } => (11, conn.as_u64()),
        };
        self.digest.absorb(u64::from(node.0) << 8 | kind);
        self.digest.absorb(detail);
        match input {
            NodeInput::Received { bytes, .. } => self.digest.absorb_bytes(bytes),
            NodeInput::Datagram { from, bytes } => {
                self.digest.absorb_address(*from);
                self.digest.absorb_bytes(bytes);
            }
            NodeInput::Connected { remote, .. } => self.digest.absorb_address(*remote),
            NodeInput::Disconnected { reason, .. } => self.digest.absorb(reason_number(*reason)),
            NodeInput::Resolved { addrs, .. } => {
                self.digest.absorb(addrs.len() as u64);
                for addr in *addrs {
                    self.digest.absorb_address(*addr);
                }
            }
            _ => {}
        }
        if let Some(trace) = &mut self.trace {
            trace.happened(self.now, node, Traced::Input(input));
        }
    }

    /// One way between two nodes, in nanoseconds.
    pub(super) fn latency(&self, a: NodeId, b: NodeId) -> u64 {
        let region = |node: NodeId| self.sites.get(node.index()).map_or(0, |site| site.region);
        self.links.between(self.seed, (a, region(a)), (b, region(b)))
    }

    /// One way over a connection, in nanoseconds. Remembered: the two nodes lie far apart in memory.
    pub(super) fn latency_of(&mut self, end: EndRef) -> u64 {
        let edition = self.links_edition;
        let Some(pipe) = self.pipes.get(end) else { return 0 };
        if pipe.edition == edition {
            return pipe.latency;
        }
        let [a, b] = [pipe.ends[0].node, pipe.ends[1].node];
        let latency = self.latency(a, b);
        if let Some(pipe) = self.pipes.get(end) {
            (pipe.edition, pipe.latency) = (edition, latency);
        }
        latency
    }

    pub(super) fn after(&mut self, node: NodeId, time: Duration) {
        let epoch = self.sites[node.index()].epoch;
        self.queue.push(self.now + time, Happening::Due(node, epoch));
    }

    /// Looks at connections and places that are needed for what comes next.
    pub(super) fn look_ahead(&self) {
        let arriving = || self.next_happenings().filter_map(Happening::arrives);
        core::hint::black_box(arriving().fold(0, |sum, end| sum ^ self.pipes.look_at(end)));
        let behind = arriving().fold(0, |sum, end| sum ^ self.pipes.look_behind(end));
        let places = self.next_nodes().filter_map(|node| self.sites.get(node.index()));
        core::hint::black_box(places.fold(u64::from(behind), |sum, site| sum ^ site.look_at()));
    }

    /// The nodes that are told next, as far as that is seen ahead.
    pub(super) fn next_nodes(&self) -> impl Iterator<Item = NodeId> {
        self.next_happenings().filter_map(|happening| match happening {
            Happening::Wake(node) => Some(node),
            Happening::Arrived(end) => Some(self.pipes.node_of(end)),
            _ => None,
        })
    }

    fn next_happenings(&self) -> impl Iterator<Item = Happening> {
        self.queue.near().take(LOOK_AHEAD)
    }

    // What a node that takes nothing is told later.

    /// Puts off what a node would be told now, if it takes nothing. Gives it back if it does.
    pub(super) fn unless_put_off(&mut self, happening: Happening) -> Option<Happening> {
        let node = match happening {
            Happening::Accepted(end)
            | Happening::Opened(end)
            | Happening::Drained(end)
            | Happening::HalfClosed(end)
            | Happening::Ended(end, _) => self.pipes.end(end)?.node,
            Happening::Datagram(slot) => self.datagrams.get(slot)?.to,
            Happening::Resolved(slot) => self.look_ups.get(slot)?.node,
            _ => return Some(happening),
        };
        let Some(site) = self.sites.get_mut(node.index()).filter(|site| !site.takes() && site.is_up) else {
            return Some(happening);
        };
        match happening {
            Happening::Datagram(slot) if site.rare().datagrams_put_off >= BACKLOG => {
                self.counts.datagrams_lost += 1;
                self.datagrams.take(slot);
                return None;
            }
            Happening::Datagram(_) => site.rare().datagrams_put_off += 1,
            Happening::Accepted(_) => site.rare().dials_put_off += 1,
            _ => {}
        }
        site.rare().put_off.push_back(happening);
        None
    }

    /// The next of what was put off, for a node that takes it now.
    pub(super) fn resume(&mut self, node: NodeId) -> Option<Happening> {
        let site = &mut self.sites[node.index()];
        site.is_resuming = false;
        if !site.reads || !site.is_up {
            return None;
        }
        let Some(happening) = site.rare().put_off.pop_front() else {
            let ends: Vec<EndRef> = site.ends.iter().map(|(_, end)| *end).collect();
            for end in ends {
                self.release(end);
            }
            return None;
        };
        match happening {
            Happening::Datagram(_) => site.rare().datagrams_put_off -= 1,
            Happening::Accepted(_) => site.rare().dials_put_off -= 1,
            _ => {}
        }
        self.go_on(node);
        Some(happening)
    }

    /// Tells a node that takes inputs again what waits: what was put off, one after the other as long as it takes it, and then bytes.
    fn go_on(&mut self, node: NodeId) {
        if !core::mem::replace(&mut self.sites[node.index()].is_resuming, true) {
            self.queue.push(self.now, Happening::Resume(node));
        }
    }

    /// A node's process has ended, and nothing that it would have been told is kept. Gives the connections that it had.
    pub(super) fn end_process(&mut self, node: NodeId) -> Vec<EndRef> {
        let site = &mut self.sites[node.index()];
        let ends = site.end_process();
        for happening in site.take_put_off() {
            match happening {
                Happening::Datagram(slot) => {
                    self.counts.datagrams_lost += 1;
                    self.datagrams.take(slot);
                }
                Happening::Resolved(slot) => drop(self.look_ups.take(slot)),
                _ => {}
            }
        }
        ends
    }

    /// A node takes inputs again, or no longer.
    pub(super) fn set_reads(&mut self, node: NodeId, reads: bool) {
        let site = &mut self.sites[node.index()];
        if core::mem::replace(&mut site.reads, reads) == reads || !reads {
            return;
        }
        self.go_on(node);
    }

    // Dials.

    pub(super) fn connect(&mut self, node: NodeId, conn: ConnId, addr: SocketAddr) {
        // In the rest of the turn in which its process ended.
        if !self.sites[node.index()].is_up {
            return;
        }
        self.counts.dials += 1;
        let end = self.pipes.open(node, conn, addr);
        let site = &mut self.sites[node.index()];
        site.add(conn, end);
        let refusal = if site.is_stopped {
            Some(Disconnect::Closed)
        } else if site.used >= site.limits().connections {
            Some(Disconnect::TooManyConnections)
        } else if is_for_many(addr) {
            Some(Disconnect::Unreachable)
        } else {
            None
        };
        if let Some(reason) = refusal {
            self.queue.push(self.now, Happening::Ended(end, reason));
            return;
        }
        site.used += 1;
        let limit = site.limits().dial;
        if let Some(mine) = self.pipes.end(end) {
            mine.has_slot = true;
        }
        let limit = self.now + limit;
        if limit != Time::NEVER {
            self.queue.push(limit, Happening::DialLimit(end));
        }
        let Some(target) = self.by_address.get(&addr, &self.sites) else {
            self.unanswered(end, self.nowhere, NOWHERE);
            return;
        };
        if let Some(other) = self.pipes.end(end.other()) {
            other.node = target;
        }
        let latency = self.latency(node, target);
        let delay = self.links.delay(latency, 0, &mut self.streams.delays);
        self.queue.push(self.now.plus(latency.saturating_add(delay)), Happening::Opening(end));
    }

    /// A dial comes to nothing: it is refused, or not answered until it has taken as long as it may.
    fn unanswered(&mut self, end: EndRef, reach: Reach, after: Duration) {
        if reach == Reach::Closed {
            self.queue.push(self.now + after, Happening::Ended(end, Disconnect::Refused));
        }
    }

    /// A dial has come to where it leads: the system there lets it in, or not.
    pub(super) fn opening(&mut self, end: EndRef) {
        let Some(pipe) = self.pipes.get(end) else { return };
        let (dialler, target) = (pipe.ends[0].node, pipe.ends[1].node);
        if pipe.ends[0].state != State::Dialling {
            self.pipes.release(end);
            return;
        }
        let latency = self.latency(dialler, target);
        let back = latency.saturating_add(self.links.delay(latency, 0, &mut self.streams.delays));
        let island = self.sites[dialler.index()].island;
        let site = &self.sites[target.index()];
        let reach = if !site.is_up || site.island != island || site.dials_put_off() >= BACKLOG {
            Reach::Hidden
        } else if site.is_stopped {
            Reach::Closed
        } else {
            site.reach
        };
        if reach != Reach::Open {
            self.unanswered(end, reach, Duration::from_nanos(back));
            return;
        }
        let at = self.now.plus(back);
        let Some(pipe) = self.pipes.get(end) else { return };
        pipe.ends[0].incoming.last = at;
        pipe.ends[1].state = State::Waiting;
        self.queue.push(at, Happening::Opened(end));
        self.queue.push(self.now, Happening::Accepted(end.other()));
    }

    /// A node is told who dialled it: by which name, and from where. Or it is not, as it has too many.
    pub(super) fn accepted(&mut self, end: EndRef) -> Option<(NodeId, ConnId, SocketAddr)> {
        let pipe = self.pipes.get(end).filter(|pipe| pipe.ends[1].state == State::Waiting)?;
        let (dialler, target) = (pipe.ends[0].node, pipe.ends[1].node);
        let site = &self.sites[target.index()];
        let is_full = site.inbound >= site.most_inbound || site.used >= site.limits().connections;
        if is_full || site.is_stopped || !site.is_up {
            self.hang_up(end);
            if let Some(mine) = self.pipes.end(end) {
                mine.state = State::Gone;
            }
            self.pipes.release(end);
            return None;
        }
        let dialled = self.pipes.remote(end);
        let from = self.sites[dialler.index()].address_towards(dialled);
        let site = &mut self.sites[target.index()];
        let conn = ConnId::accepted(site.accepted);
        site.accepted += 1;
        site.used += 1;
        site.add(conn, end);
        // As many ports as a machine gives out, one after the other.
        let remote = SocketAddr::new(from.ip(), 32_768 + (site.accepted % 28_232) as u16);
        let mine = self.pipes.end(end)?;
        mine.conn = conn;
        mine.state = State::Open;
        mine.has_slot = true;
        self.release(end);
        Some((target, conn, remote))
    }

    /// A dial has taken as long as it may.
    pub(super) fn dial_limit(&mut self, end: EndRef) {
        let Some(mine) = self.pipes.end(end).filter(|mine| mine.state == State::Dialling) else { return };
        // Its system has the answer, if the node has only not been told.
        let is_it = |put_off: &Happening| matches!(put_off, Happening::Opened(opened) if *opened == end);
        if !self.sites[mine.node.index()].all_put_off().any(is_it) {
            self.conclude(end, Disconnect::TimedOut);
            self.finish(end.other(), Disconnect::Reset);
        }
    }

    /// Who dialled learns that it was let in. Gives whom to tell.
    pub(super) fn opened(&mut self, end: EndRef) -> Option<(NodeId, ConnId, SocketAddr)> {
        let is_divided = self.is_divided(end);
        let mine = self.pipes.end(end).filter(|mine| mine.state == State::Dialling)?;
        if is_divided {
            self.queue.push(self.now + AGAIN, Happening::Opened(end));
            return None;
        }
        mine.state = State::Open;
        let (node, conn) = (mine.node, mine.conn);
        self.release(end);
        Some((node, conn, self.pipes.remote(end)))
    }

    // Datagrams and names.

    pub(super) fn datagram(&mut self, node: NodeId, to: SocketAddr, bytes: &[u8]) {
        if self.send_datagram(node, to, bytes).is_none() {
            self.counts.datagrams_lost += 1;
        }
    }

    /// `None`: it gets nowhere.
    fn send_datagram(&mut self, node: NodeId, to: SocketAddr, bytes: &[u8]) -> Option<()> {
        let site = &mut self.sites[node.index()];
        if !site.limits().datagrams || !site.is_up {
            return None;
        }
        site.let_in(to);
        let from = site.address_towards(to);
        let target = self.by_address.get(&to, &self.sites)?;
        if self.are_apart(node, target) {
            return None;
        }
        let site = &mut self.sites[node.index()];
        if self.links.datagrams.step(&mut site.datagrams_are_bad, &mut self.streams.datagrams) {
            return None;
        }
        let rate = site.bandwidth.0;
        let left = carried(self.now, &mut site.up_free, rate, bytes.len());
        let latency = self.latency(node, target);
        let jitter = self.streams.datagrams.below(self.links.most_jitter(latency).saturating_add(1));
        let bytes = bytes.to_vec();
        let datagram = Datagram { to: target, from, bytes, by: node, left, is_lost: false };
        let slot = self.datagrams.put(datagram);
        self.queue.push(left.plus(latency.saturating_add(jitter)), Happening::Datagram(slot));
        Some(())
    }

    /// A datagram, if it gets to its node.
    pub(super) fn datagram_at(&mut self, slot: u32) -> Option<Datagram> {
        let datagram = self.datagrams.take(slot)?;
        let site = &self.sites[datagram.to.index()];
        let is_there = site.is_up && !site.is_stopped && !datagram.is_lost;
        let is_let_in = site.lets_in(datagram.from) && site.limits().datagrams;
        if !is_there || !is_let_in || self.are_apart(datagram.by, datagram.to) {
            self.counts.datagrams_lost += 1;
            return None;
        }
        Some(datagram)
    }

    /// A machine's power has failed: what has not left it by now never does.
    pub(super) fn forget_datagrams(&mut self, by: NodeId) {
        let now = self.now;
        for datagram in self.datagrams.places.iter_mut().flatten() {
            datagram.is_lost |= datagram.by == by && datagram.left > now;
        }
    }

    pub(super) fn resolve(&mut self, node: NodeId, ticket: Ticket, host: &str, port: u16) {
        let site = &mut self.sites[node.index()];
        if !site.is_up {
            return;
        }
        let epoch = site.epoch;
        let (addrs, after) = if site.rare().look_ups >= LOOK_UPS {
            (Vec::new(), Duration::ZERO)
        } else {
            self.names.look_up(host, port, &mut self.streams.names)
        };
        site.rare().look_ups += 1;
        let slot = self.look_ups.put(LookUp { node, epoch, ticket, addrs });
        self.queue.push(self.now + after, Happening::Resolved(slot));
    }

    pub(super) fn look_up_at(&mut self, slot: u32) -> Option<LookUp> {
        let look_up = self.look_ups.take(slot)?;
        let site = &mut self.sites[look_up.node.index()];
        if !site.is_up || site.epoch != look_up.epoch {
            return None;
        }
        site.rare().look_ups -= 1;
        Some(look_up)
    }
}

/// Things that wait, in places that are used again.
#[derive(Debug)]
pub(super) struct Slots<T> {
    places: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { places: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slots<T> {
    fn put(&mut self, what: T) -> u32 {
        if let Some(slot) = self.free.pop() {
            self.places[slot as usize] = Some(what);
            return slot;
        }
        self.places.push(Some(what));
        (self.places.len() - 1) as u32
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    fn get(&self, slot: u32) -> Option<&T> {
        self.places.get(slot as usize)?.as_ref()
    }

    fn take(&mut self, slot: u32) -> Option<T> {
        let what = self.places.get_mut(slot as usize)?.take();
        if what.is_some() {
            self.free.push(slot);
        }
        what
    }
}

/// Whether an address is everybody's: nobody can be connected to there.
const fn is_for_many(addr: SocketAddr) -> bool {
    match addr {
        SocketAddr::V4(addr) => addr.ip().is_broadcast() || addr.ip().is_multicast(),
        SocketAddr::V6(addr) => addr.ip().is_multicast(),
    }
}

const fn reason_number(reason: Disconnect) -> u64 {
    match reason {
        Disconnect::Closed => 1,
        Disconnect::ClosedByPeer => 2,
        Disconnect::Refused => 3,
        Disconnect::Reset => 4,
        Disconnect::SendQueueFull => 5,
        Disconnect::TimedOut => 6,
        Disconnect::TooManyConnections => 7,
        Disconnect::Unreachable => 8,
        _ => 9,
    }
}
