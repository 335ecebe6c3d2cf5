//! A world in virtual time: nodes, and the network between them.
//!
//! What is to happen stands in a queue ordered by time and, at the same time, by when it was put there; nothing else decides what
//! comes next. The same seed and the same calls give the same run, bit for bit, and [`World::digest`] says so.
//!
//! - [`Node`]: what lives here. [`Host`] makes one of any [`andon_kernel::Machine`] with its store.
//! - [`Links`]: latency, jitter, loss, and what a region is; bandwidth is each node's own ([`Place`]).
//! - Faults: [`World::crash`], [`World::cut`], [`World::divide`], [`World::set_skew`], [`World::set_reach`].
//! - [`Name`]: what host names lead to. [`Disk`]: a store that takes its time and forgets what it has not written.
//! - [`Trace`]: to look at a run while it runs.

mod addresses;
mod application;
mod bytes;
mod digest;
mod disk;
mod ends;
mod host;
mod links;
mod names;
mod network;
mod node;
mod pipe;
mod port;
mod queue;
mod site;
#[cfg(test)]
mod tests;
mod time;
mod trace;

pub use application::{EventQueue, Room, Watch};
pub(crate) use digest::Digest;
pub use disk::{Disk, Pace, Storage};
pub use host::Host;
pub use links::{GilbertElliott, INTERNET, Latency, Links, Regions};
pub use names::Name;
pub use network::Counts;
pub use node::{Node, NodeId, NodeInput};
pub use port::Port;
pub use site::{Limits, Place, Reach};
pub use time::Time;
pub use trace::{Trace, Traced};

use core::net::SocketAddr;

use andon_kernel::{Instant, Link, Now, UnixTime};

use network::{Happening, Network};
use pipe::State;
use site::Site;

/// A world of nodes.
#[derive(Debug)]
pub struct World<N> {
    nodes: Vec<N>,
    network: Network,
    begins: UnixTime,
}

/// How a node ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// Its process dies; its system closes the connections, and tells the other sides: of an end in order, or, where there were bytes that
    /// nobody had read, of a reset.
    Process,
    /// Its power fails: what has not left it by now never does, and the other sides are told nothing.
    Power,
}

/// One step of a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A node was given an input.
    Turn(NodeId),
    /// Something happened that no node was told of.
    Silent,
}

impl<N: Node> World<N> {
    /// An empty world. Its calendar begins at `begins`.
    pub fn new(seed: u64, begins: UnixTime, links: Links) -> Self {
        Self { nodes: Vec::new(), network: Network::new(seed, links), begins }
    }

    /// Puts a node into the world. It starts now, when those that are put there now can be dialled, and before anything else happens to it.
    ///
    /// # Panics
    /// If another node has its address.
    pub fn add(&mut self, place: Place, node: N) -> NodeId {
        let id = NodeId(u32::try_from(self.nodes.len()).expect("fewer than four thousand million nodes"));
        assert!(self.at(place.address).is_none(), "two nodes have the address {}", place.address);
        let network = &mut self.network;
        network.sites.push(Site::new(place));
        network.by_address.add_own(id, &network.sites);
        self.nodes.push(node);
        self.boot(id);
        id
    }

    fn boot(&mut self, id: NodeId) {
        let now = self.network.now;
        let keeps_half = self.nodes[id.index()].keeps_half();
        let site = &mut self.network.sites[id.index()];
        site.begin_process(now, keeps_half);
        let epoch = site.epoch;
        self.network.queue.push(now, Happening::Start(id, epoch));
    }

    /// The world's time.
    pub const fn now(&self) -> Time {
        self.network.now
    }

    /// The right calendar time.
    pub const fn unix(&self) -> UnixTime {
        UnixTime::from_secs(self.begins.as_secs().saturating_add(self.network.now.as_secs()))
    }

    /// A digest of every input that every node was given so far, with the node's time and all that the input says.
    pub const fn digest(&self) -> u64 {
        self.network.digest.value()
    }

    /// What has happened so far.
    pub const fn counts(&self) -> Counts {
        self.network.counts
    }

    /// How many connections are open or being opened.
    pub fn connections(&self) -> usize {
        self.network.pipes.len()
    }

    /// How many nodes there are, up or not.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// A node, to look at.
    pub fn node(&self, id: NodeId) -> &N {
        &self.nodes[id.index()]
    }

    /// A node, to change without giving it a turn.
    pub fn node_mut(&mut self, id: NodeId) -> &mut N {
        &mut self.nodes[id.index()]
    }

    /// All nodes.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &N)> {
        self.nodes.iter().enumerate().map(|(index, node)| (NodeId(index as u32), node))
    }

    /// Who has an address.
    pub fn at(&self, address: SocketAddr) -> Option<NodeId> {
        self.network.by_address.get(&address, &self.network.sites)
    }

    /// A node's address.
    pub fn address(&self, id: NodeId) -> SocketAddr {
        self.network.sites[id.index()].address
    }

    /// Whether a node is up.
    pub fn is_up(&self, id: NodeId) -> bool {
        self.network.sites[id.index()].is_up
    }

    /// Gives a node one more address.
    ///
    /// # Panics
    /// If somebody has it.
    pub fn add_address(&mut self, id: NodeId, address: SocketAddr) {
        assert!(self.at(address).is_none(), "two nodes have the address {address}");
        self.network.by_address.add_other(id, address);
        self.network.sites[id.index()].rare().aliases.push(address);
    }

    /// Takes an address from whoever has it: nobody is there any more, another may be given it, and its node uses it no more if it has
    /// another one.
    pub fn remove_address(&mut self, address: SocketAddr) {
        let network = &mut self.network;
        if let Some(id) = network.by_address.remove(&address, &network.sites) {
            network.sites[id.index()].lose(address);
        }
    }

    /// Shows the run from here on.
    pub fn set_trace(&mut self, trace: Option<Box<dyn Trace>>) {
        self.network.trace = trace;
    }

    /// What a host name leads to from here on; `None`: nothing.
    pub fn set_name(&mut self, host: &str, name: Option<Name>) {
        self.network.names.set(host, name);
    }

    /// What lies between nodes from here on.
    pub const fn links_mut(&mut self) -> &mut Links {
        self.network.links_mut()
    }

    /// What happens to dials to addresses that nobody has. As the world begins: nothing answers.
    pub const fn set_nowhere(&mut self, reach: Reach) {
        self.network.nowhere = reach;
    }

    /// What happens to who dials a node from here on.
    pub fn set_reach(&mut self, id: NodeId, reach: Reach) {
        self.network.sites[id.index()].reach = reach;
    }

    /// How far a node's calendar is off from here on, in seconds.
    pub fn set_skew(&mut self, id: NodeId, seconds: i64) {
        self.network.sites[id.index()].skew = seconds;
    }

    /// What a node's line carries from here on, in bytes a second, away from it and towards it. Zero: no limit.
    pub fn set_bandwidth(&mut self, id: NodeId, bandwidth: (u32, u32)) {
        self.network.sites[id.index()].bandwidth = bandwidth;
    }

    /// Ends a node. It takes no part until [`restart`](Self::restart).
    pub fn crash(&mut self, id: NodeId, how: Crash) {
        let network = &mut self.network;
        match how {
            Crash::Process => network.exit(id),
            Crash::Power => network.lose_power(id),
        }
    }

    /// Starts a node that has ended, as another process on the same machine.
    ///
    /// # Panics
    /// If it is up.
    pub fn restart(&mut self, id: NodeId, node: N) {
        assert!(!self.is_up(id), "a node that is up is started");
        self.nodes[id.index()] = node;
        self.boot(id);
    }

    /// Breaks off every connection between two nodes; `None`: with anybody.
    pub fn cut(&mut self, id: NodeId, with: Option<NodeId>) {
        let ends = self.network.sites[id.index()].all_ends();
        for end in ends {
            let other = self.network.pipes.end(end.other()).map(|other| other.node);
            if with.is_none() || with == other {
                self.network.cut(end);
            }
        }
    }

    /// Puts nodes on an island: nothing passes between islands, and of what is on its way only what systems send again, when the islands
    /// are joined. Names are answered on all. A world begins as one, of number 0.
    pub fn divide(&mut self, nodes: impl IntoIterator<Item = NodeId>, island: u8) {
        self.network.has_islands = true;
        for id in nodes {
            self.network.sites[id.index()].island = island;
        }
        // Those, too, whose nodes are done with them: what they have sent is their systems'.
        for end in self.network.pipes.all() {
            self.network.pump(end);
            self.network.pump(end.other());
        }
    }

    /// Gives a node a turn of the caller's making, a command as a rule, after the one in which it starts. It must be up.
    ///
    /// # Panics
    /// If it is not.
    pub fn with<R>(&mut self, id: NodeId, act: impl FnOnce(&mut N, Now, &mut Port<'_>) -> R) -> R {
        assert!(self.is_up(id), "a node that is down is given a turn");
        self.start(id);
        let now = self.time_at(id);
        self.network.digest.absorb(self.network.now.as_nanos());
        self.network.digest.absorb(u64::from(id.0) << 8);
        self.network.digest.absorb(now.unix.as_secs());
        let mut port = Port { network: &mut self.network, node: id };
        let result = act(&mut self.nodes[id.index()], now, &mut port);
        self.finish(id);
        result
    }

    /// The next thing that happens, if it does so until `limit`; `None`: nothing does, and it is `limit`.
    pub fn step(&mut self, limit: Time) -> Option<Step> {
        let Some((_, is_fresh)) = self.network.queue.next().filter(|(at, _)| *at <= limit) else {
            self.network.now = self.network.now.max(limit);
            return None;
        };
        if is_fresh {
            self.look_ahead();
        }
        let (at, happening) = self.network.queue.pop()?;
        self.network.now = at;
        Some(match self.happen(happening) {
            Some(node) => Step::Turn(node),
            None => Step::Silent,
        })
    }

    /// Has memory come into the cache that is needed for what comes next, of all of it at once: the processor waits for memory once and not
    /// for each, which is most of what it does in a world of many nodes. Nothing comes of it but that.
    fn look_ahead(&self) {
        self.network.look_ahead();
        // A deadline lies where a machine keeps what it has to do.
        let deadlines = self.network.next_nodes().filter_map(|node| self.nodes.get(node.index())?.deadline());
        core::hint::black_box(deadlines.fold(0, |sum, at| sum ^ at.as_micros()));
    }

    /// Runs until a time.
    pub fn run_until(&mut self, limit: Time) {
        while self.step(limit).is_some() {}
    }

    /// Runs for a time.
    pub fn run_for(&mut self, time: core::time::Duration) {
        self.run_until(self.network.now + time);
    }

    /// Runs while `goes_on` says so. False: it says so still, and it is `limit`.
    pub fn run_while(&mut self, limit: Time, mut goes_on: impl FnMut(&Self) -> bool) -> bool {
        while goes_on(self) {
            if self.step(limit).is_none() {
                return false;
            }
        }
        true
    }

    fn happen(&mut self, happening: Happening) -> Option<NodeId> {
        let network = &mut self.network;
        let happening = match happening {
            Happening::Resume(node) => network.resume(node)?,
            other => network.unless_put_off(other)?,
        };
        match happening {
            Happening::Start(node, epoch) => {
                let site = &network.sites[node.index()];
                (site.is_up && site.epoch == epoch && !site.has_started).then(|| {
                    self.start(node);
                    node
                })
            }
            Happening::Wake(node) => {
                let now = network.now;
                let site = &mut network.sites[node.index()];
                if site.armed != now || !site.is_up {
                    return None;
                }
                site.armed = site.later_wakes.pop().unwrap_or(Time::NEVER);
                if self.nodes[node.index()].deadline().is_none_or(|at| at > self.time_at(node).instant) {
                    self.arm(node);
                    return None;
                }
                Some(self.turn(node, NodeInput::Wake))
            }
            Happening::Due(node, epoch) => {
                let site = &network.sites[node.index()];
                (site.is_up && site.epoch == epoch).then(|| self.turn(node, NodeInput::Due))
            }
            Happening::Opening(end) => {
                network.opening(end);
                None
            }
            Happening::Accepted(end) => {
                let (node, conn, remote) = network.accepted(end)?;
                Some(self.turn(node, NodeInput::Connected { conn, remote, link: Link::Inbound }))
            }
            Happening::Opened(end) => {
                let (node, conn, remote) = network.opened(end)?;
                Some(self.turn(node, NodeInput::Connected { conn, remote, link: Link::Outbound }))
            }
            Happening::DialLimit(end) => {
                network.dial_limit(end);
                None
            }
            Happening::Arrived(end) => network.arrived(end).map(|arrival| self.deliver(arrival)),
            Happening::Line(end) => {
                network.line_is_free(end);
                None
            }
            Happening::Release(end) => {
                let arrival = network.released(end)?;
                let node = self.deliver(arrival);
                // Behind the bytes, which may be answered.
                self.network.tell_end(end);
                Some(node)
            }
            Happening::Drained(end) => {
                let end = network.pipes.end(end).filter(|end| end.state == State::Open)?;
                let (node, conn) = (end.node, end.conn);
                Some(self.turn(node, NodeInput::Drained { conn }))
            }
            Happening::Ended(end, reason) => {
                let (node, conn, reason) = network.ended(end, reason)?;
                Some(self.turn(node, NodeInput::Disconnected { conn, reason }))
            }
            Happening::HalfClosed(end) => {
                let (node, conn) = network.half_closed(end)?;
                Some(self.turn(node, NodeInput::HalfClosed { conn }))
            }
            // It is what was put off that happens.
            Happening::Resume(_) => None,
            Happening::Linger(end) => {
                network.lingered(end);
                None
            }
            Happening::GivenUp(end) => {
                network.given_up(end);
                None
            }
            Happening::Probe(end) => {
                network.probe(end);
                None
            }
            Happening::Datagram(slot) => {
                let mut datagram = network.datagram_at(slot)?;
                let (from, bytes) = (datagram.from, &mut datagram.bytes);
                Some(self.turn(datagram.to, NodeInput::Datagram { from, bytes }))
            }
            Happening::Resolved(slot) => {
                let found = network.look_up_at(slot)?;
                Some(self.turn(found.node, NodeInput::Resolved { ticket: found.ticket, addrs: &found.addrs }))
            }
        }
    }

    fn deliver(&mut self, arrival: bytes::Arrival) -> NodeId {
        let bytes::Arrival { node, conn, end, mut bytes } = arrival;
        self.network.delivered = Some((conn, end));
        self.turn(node, NodeInput::Received { conn, bytes: &mut bytes });
        self.network.delivered = None;
        self.network.give_back(bytes);
        node
    }

    /// Gives a node its first turn, if it has not had it.
    fn start(&mut self, id: NodeId) {
        if !core::mem::replace(&mut self.network.sites[id.index()].has_started, true) {
            self.give(id, NodeInput::Start);
        }
    }

    fn turn(&mut self, id: NodeId, input: NodeInput<'_>) -> NodeId {
        self.start(id);
        if self.is_up(id) {
            self.give(id, input);
        }
        id
    }

    fn give(&mut self, id: NodeId, input: NodeInput<'_>) {
        let now = self.time_at(id);
        self.network.told(id, now.unix, &input);
        let mut port = Port { network: &mut self.network, node: id };
        self.nodes[id.index()].turn(now, input, &mut port);
        self.finish(id);
    }

    fn finish(&mut self, id: NodeId) {
        self.network.send_gathered(id);
        if !self.is_up(id) {
            return;
        }
        let reads = self.nodes[id.index()].reads();
        self.network.set_reads(id, reads);
        self.arm(id);
    }

    /// Sees to it that a node is woken when it is due.
    fn arm(&mut self, id: NodeId) {
        let Some(deadline) = self.nodes[id.index()].deadline() else { return };
        let now = self.network.now;
        let site = &mut self.network.sites[id.index()];
        let at = site.boot.plus(deadline.as_micros().saturating_mul(1000));
        let at = at.max(now);
        if at < site.armed {
            // The later one is not put into the queue again.
            if site.armed != Time::NEVER {
                site.later_wakes.push(site.armed);
            }
            site.armed = at;
            self.network.queue.push(at, Happening::Wake(id));
        }
    }

    /// The time on a node's clocks.
    fn time_at(&self, id: NodeId) -> Now {
        let site = &self.network.sites[id.index()];
        let instant = Instant::from_micros(self.network.now.nanos_since(site.boot) / 1000);
        let unix = self.unix().as_secs().saturating_add_signed(site.skew);
        Now { instant, unix: UnixTime::from_secs(unix) }
    }
}
