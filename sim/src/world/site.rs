//! Where a node lives: its address, its clock, its line, and whether it is up.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::VecDeque;

use andon_kernel::ConnId;

use super::network::Happening;
use super::pipe::EndRef;
use super::time::Time;

/// What happens to who dials a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// It is let in.
    #[default]
    Open,
    /// It is refused: nothing listens.
    Closed,
    /// Nothing answers: the node is behind a NAT or a firewall. Datagrams come from those to whom it has sent some: the last 64 of them.
    Hidden,
}

/// How a node is put into a world.
#[derive(Clone, Debug)]
pub struct Place {
    /// Where it listens, and from where it dials.
    pub address: SocketAddr,
    /// What happens to who dials it.
    pub reach: Reach,
    /// Its region, for the latency.
    pub region: u8,
    /// What its line carries, in bytes a second: away from it and towards it. Zero: no limit.
    pub bandwidth: (u32, u32),
    /// How many connections it accepts at a time. Who comes later is let in and closed.
    pub inbound: u32,
    /// How far its calendar is off, in seconds.
    pub skew: i64,
    /// What its driver allows.
    pub limits: Limits,
}

/// What a node's driver allows, as `andon_driver::Options` says for real ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many connections there may be at once: those being opened and being closed count too. A dial more fails; who dials the node then
    /// is let in and closed.
    pub connections: u32,
    /// How many bytes may wait for one connection's socket; beyond that it ends.
    pub send_queue: usize,
    /// How long a dial may take.
    pub dial: Duration,
    /// Whether it has a socket for datagrams. Without it they are dropped.
    pub datagrams: bool,
}

impl Limits {
    /// As drivers begin, but with any number of connections, and with a socket for datagrams.
    pub const WIDE: Self =
        Self { connections: u32::MAX, send_queue: 8 << 20, dial: Duration::from_secs(10), datagrams: true };
}

impl Place {
    /// At an address, on a line without limits, with a clock that is right.
    pub const fn at(address: SocketAddr) -> Self {
        Self {
            address,
            reach: Reach::Open,
            region: 0,
            bandwidth: (0, 0),
            inbound: u32::MAX,
            skew: 0,
            limits: Limits::WIDE,
        }
    }
}

/// From how many addresses datagrams are let in to who is hidden.
const LET_IN: usize = 64;

/// A place with what changes.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) place: Place,
    /// Whether it still has the address of its place, and its other ones.
    pub(super) has_own: bool,
    pub(super) aliases: Vec<SocketAddr>,
    pub(super) is_up: bool,
    /// Whether its node has had its first turn.
    pub(super) has_started: bool,
    /// Whether its driver has stopped: nobody is let in, and nobody dialled.
    pub(super) is_stopped: bool,
    /// Whether its node is told what comes, and what waits until it is.
    pub(super) reads: bool,
    pub(super) put_off: VecDeque<Happening>,
    /// How many dials and datagrams that is.
    pub(super) dials_put_off: usize,
    pub(super) datagrams_put_off: usize,
    /// Whether the world's queue says that the next of it is told.
    pub(super) is_resuming: bool,
    /// As [`keeps_half`](super::Node::keeps_half).
    pub(super) keeps_half: bool,
    /// Which part of a divided network it is in.
    pub(super) island: u8,
    /// When its process began.
    pub(super) boot: Time,
    /// Counts its processes.
    pub(super) epoch: u32,
    /// When it will be woken as things stand.
    pub(super) armed: Time,
    /// When else, as was asked for earlier and stands in the world's queue: the soonest last.
    pub(super) later_wakes: Vec<Time>,
    /// When its line is free, each way.
    pub(super) up_free: Time,
    pub(super) down_free: Time,
    /// To whom it has sent datagrams while it was hidden, the last first.
    pub(super) let_in: Vec<SocketAddr>,
    /// Which state its way out is in, for datagrams.
    pub(super) datagrams_are_bad: bool,
    /// How many it has accepted.
    pub(super) accepted: u64,
    /// Of what is open, how many others dialled.
    pub(super) inbound: u32,
    /// How many connections count towards the limit.
    pub(super) used: u32,
    /// How many look-ups are under way.
    pub(super) look_ups: u32,
    /// By connection, in order.
    pub(super) ends: Vec<(ConnId, EndRef)>,
}

impl Site {
    pub(super) const fn new(place: Place) -> Self {
        Self {
            place,
            has_own: true,
            aliases: Vec::new(),
            is_up: false,
            has_started: false,
            is_stopped: false,
            reads: true,
            put_off: VecDeque::new(),
            dials_put_off: 0,
            datagrams_put_off: 0,
            is_resuming: false,
            keeps_half: false,
            island: 0,
            boot: Time::ZERO,
            epoch: 0,
            armed: Time::NEVER,
            later_wakes: Vec::new(),
            up_free: Time::ZERO,
            down_free: Time::ZERO,
            let_in: Vec::new(),
            datagrams_are_bad: false,
            accepted: 0,
            inbound: 0,
            used: 0,
            look_ups: 0,
            ends: Vec::new(),
        }
    }

    /// A process begins.
    pub(super) fn begin_process(&mut self, now: Time, keeps_half: bool) {
        self.is_up = true;
        self.has_started = false;
        self.is_stopped = false;
        self.reads = true;
        self.keeps_half = keeps_half;
        self.epoch += 1;
        self.accepted = 0;
        // On a whole microsecond, as the node's clock counts them.
        self.boot = Time::from_nanos(now.as_nanos() / 1000 * 1000);
    }

    /// The process has ended. Gives the connections that it had. What was put off is the network's to forget.
    pub(super) fn end_process(&mut self) -> Vec<EndRef> {
        self.is_up = false;
        self.epoch += 1;
        self.armed = Time::NEVER;
        self.later_wakes = Vec::new();
        let ends = self.all_ends();
        self.ends = Vec::new();
        (self.inbound, self.used, self.look_ups) = (0, 0, 0);
        ends
    }

    /// Whether its node is told what comes now: it takes it, and has been told all that came before.
    pub(super) fn takes(&self) -> bool {
        self.reads && self.put_off.is_empty()
    }

    /// All of its connections, with those that its system has let in and that it has not been told of.
    pub(super) fn all_ends(&self) -> Vec<EndRef> {
        let waiting = self.put_off.iter().filter_map(|happening| match happening {
            Happening::Accepted(end) => Some(*end),
            _ => None,
        });
        self.ends.iter().map(|(_, end)| *end).chain(waiting).collect()
    }

    /// From where it dials an address, or sends there: one of the same family, if it has any.
    pub(super) fn address_towards(&self, to: SocketAddr) -> SocketAddr {
        let own = || self.has_own.then_some(&self.place.address).into_iter().chain(&self.aliases);
        let same = own().find(|address| address.is_ipv4() == to.is_ipv4());
        same.or_else(|| own().next()).copied().unwrap_or(self.place.address)
    }

    /// It sends a datagram: what comes from there is let in, if little else is let in.
    pub(super) fn let_in(&mut self, from: SocketAddr) {
        if self.place.reach == Reach::Hidden && self.let_in.first() != Some(&from) {
            self.let_in.retain(|known| *known != from);
            self.let_in.truncate(LET_IN - 1);
            self.let_in.insert(0, from);
        }
    }

    /// Whether a datagram is let in.
    pub(super) fn lets_in(&self, from: SocketAddr) -> bool {
        self.place.reach != Reach::Hidden || self.let_in.contains(&from)
    }

    /// An address is taken from it.
    pub(super) fn lose(&mut self, address: SocketAddr) {
        self.has_own &= address != self.place.address;
        self.aliases.retain(|alias| *alias != address);
    }

    pub(super) fn end(&self, conn: ConnId) -> Option<EndRef> {
        let at = self.ends.binary_search_by_key(&conn, |(conn, _)| *conn).ok()?;
        Some(self.ends[at].1)
    }

    pub(super) fn add(&mut self, conn: ConnId, end: EndRef) {
        match self.ends.binary_search_by_key(&conn, |(conn, _)| *conn) {
            Ok(_) => panic!("a connection's name was used twice: {conn:?}"),
            Err(at) => self.ends.insert(at, (conn, end)),
        }
        self.inbound += u32::from(conn.is_accepted());
    }

    pub(super) fn remove(&mut self, conn: ConnId) {
        if let Ok(at) = self.ends.binary_search_by_key(&conn, |(conn, _)| *conn) {
            self.ends.remove(at);
            self.inbound -= u32::from(conn.is_accepted());
            if self.ends.is_empty() {
                self.ends = Vec::new();
            }
        }
    }
}

/// When a line that carries `rate` bytes a second and is free at `free` has carried so many bytes that it is given at `at`.
pub(super) fn carried(at: Time, free: &mut Time, rate: u32, bytes: usize) -> Time {
    if rate == 0 {
        return at;
    }
    let nanos = (bytes as u64).saturating_mul(1_000_000_000) / u64::from(rate);
    *free = at.max(*free).plus(nanos);
    *free
}
