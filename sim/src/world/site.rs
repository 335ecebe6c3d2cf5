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

/// A place with what changes: what a turn looks at first, and behind it what is looked at by dials. What most nodes never have is apart, for
/// most nodes of a large world do nothing.
#[derive(Debug)]
pub(super) struct Site {
    /// When its process began.
    pub(super) boot: Time,
    /// When it will be woken as things stand.
    pub(super) armed: Time,
    pub(super) skew: i64,
    pub(super) is_up: bool,
    /// Whether its node has had its first turn.
    pub(super) has_started: bool,
    /// Whether its driver has stopped: nobody is let in, and nobody dialled.
    pub(super) is_stopped: bool,
    /// Whether its node is told what comes; else it waits until it is.
    pub(super) reads: bool,
    /// Whether the world's queue says that the next of what waits for it is told.
    pub(super) is_resuming: bool,
    /// As [`keeps_half`](super::Node::keeps_half).
    pub(super) keeps_half: bool,
    /// Which part of a divided network it is in.
    pub(super) island: u8,
    pub(super) region: u8,
    pub(super) reach: Reach,
    pub(super) bandwidth: (u32, u32),
    /// When its line is free, each way.
    pub(super) up_free: Time,
    pub(super) down_free: Time,
    /// When else it will be woken, as was asked for earlier and stands in the world's queue: the soonest last.
    pub(super) later_wakes: Vec<Time>,
    /// By connection, in order.
    pub(super) ends: Vec<(ConnId, EndRef)>,
    /// Counts its processes.
    pub(super) epoch: u32,
    /// How many connections count towards the limit.
    pub(super) used: u32,
    /// Of what is open, how many others dialled, and how many there may be.
    pub(super) inbound: u32,
    pub(super) most_inbound: u32,
    /// How many it has accepted.
    pub(super) accepted: u64,
    /// Which state its way out is in, for datagrams.
    pub(super) datagrams_are_bad: bool,
    /// Whether it still has the address of its place.
    pub(super) has_own: bool,
    pub(super) address: SocketAddr,
    /// `None`: wide ones.
    limits: Option<Box<Limits>>,
    rare: Option<Box<Rare>>,
}

/// What most nodes never have.
#[derive(Debug, Default)]
pub(super) struct Rare {
    /// Its other addresses.
    pub(super) aliases: Vec<SocketAddr>,
    /// What waits until its node is told again what comes.
    pub(super) put_off: VecDeque<Happening>,
    /// How many dials and datagrams that is.
    pub(super) dials_put_off: usize,
    pub(super) datagrams_put_off: usize,
    /// To whom it has sent datagrams while it was hidden, the last first.
    let_in: Vec<SocketAddr>,
    /// How many look-ups are under way.
    pub(super) look_ups: u32,
}

impl Site {
    pub(super) fn new(place: Place) -> Self {
        let Place { address, reach, region, bandwidth, inbound, skew, limits } = place;
        Self {
            boot: Time::ZERO,
            armed: Time::NEVER,
            skew,
            is_up: false,
            has_started: false,
            is_stopped: false,
            reads: true,
            is_resuming: false,
            keeps_half: false,
            island: 0,
            region,
            reach,
            bandwidth,
            up_free: Time::ZERO,
            down_free: Time::ZERO,
            later_wakes: Vec::new(),
            ends: Vec::new(),
            epoch: 0,
            used: 0,
            inbound: 0,
            most_inbound: inbound,
            accepted: 0,
            datagrams_are_bad: false,
            has_own: true,
            address,
            limits: (limits != Limits::WIDE).then(|| Box::new(limits)),
            rare: None,
        }
    }

    /// Has it come into the cache.
    pub(super) fn look_at(&self) -> u64 {
        self.boot.as_nanos() ^ self.up_free.as_nanos() ^ u64::from(self.epoch)
    }

    pub(super) fn limits(&self) -> &Limits {
        self.limits.as_deref().unwrap_or(&Limits::WIDE)
    }

    pub(super) fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// What waits until its node is told again what comes.
    pub(super) fn all_put_off(&self) -> impl Iterator<Item = &Happening> {
        self.rare.iter().flat_map(|rare| &rare.put_off)
    }

    /// How many dials that is.
    pub(super) fn dials_put_off(&self) -> usize {
        self.rare.as_ref().map_or(0, |rare| rare.dials_put_off)
    }

    /// Takes all of it out.
    pub(super) fn take_put_off(&mut self) -> VecDeque<Happening> {
        let Some(rare) = &mut self.rare else { return VecDeque::new() };
        (rare.dials_put_off, rare.datagrams_put_off) = (0, 0);
        core::mem::take(&mut rare.put_off)
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
        (self.inbound, self.used) = (0, 0);
        if let Some(rare) = &mut self.rare {
            rare.look_ups = 0;
        }
        ends
    }

    /// Whether its node is told what comes now: it takes it, and has been told all that came before.
    pub(super) fn takes(&self) -> bool {
        self.reads && self.rare.as_ref().is_none_or(|rare| rare.put_off.is_empty())
    }

    /// All of its connections, with those that its system has let in and that it has not been told of.
    pub(super) fn all_ends(&self) -> Vec<EndRef> {
        let waiting = self.all_put_off().filter_map(|happening| match happening {
            Happening::Accepted(end) => Some(*end),
            _ => None,
        });
        self.ends.iter().map(|(_, end)| *end).chain(waiting).collect()
    }

    /// From where it dials an address, or sends there: one of the same family, if it has any.
    pub(super) fn address_towards(&self, to: SocketAddr) -> SocketAddr {
        let aliases = || self.rare.iter().flat_map(|rare| &rare.aliases);
        let own = || self.has_own.then_some(&self.address).into_iter().chain(aliases());
        let same = own().find(|address| address.is_ipv4() == to.is_ipv4());
        same.or_else(|| own().next()).copied().unwrap_or(self.address)
    }

    /// It sends a datagram: what comes from there is let in, if little else is let in.
    pub(super) fn let_in(&mut self, from: SocketAddr) {
        if self.reach != Reach::Hidden {
            return;
        }
        let known = &mut self.rare().let_in;
        if known.first() != Some(&from) {
            known.retain(|known| *known != from);
            known.truncate(LET_IN - 1);
            known.insert(0, from);
        }
    }

    /// Whether a datagram is let in.
    pub(super) fn lets_in(&self, from: SocketAddr) -> bool {
        self.reach != Reach::Hidden || self.rare.as_ref().is_some_and(|rare| rare.let_in.contains(&from))
    }

    /// An address is taken from it.
    pub(super) fn lose(&mut self, address: SocketAddr) {
        self.has_own &= address != self.address;
        if let Some(rare) = &mut self.rare {
            rare.aliases.retain(|alias| *alias != address);
        }
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
