//! A small world in virtual time: one client, some servers, links with a delay, and bytes that come in pieces.
//!
//! Everything is drawn from one seed, so a run repeats. Both ends are held to the contract by `Checked`.

#![allow(dead_code, reason = "each test uses a part of it")]

mod disk;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use andon_bitcoin::client::{self, Client};
use andon_bitcoin::server::{self, Server};
use andon_kernel::{
    Checked, ConnId, Disconnect, Effect, Input, Instant, Link, Machine, MemoryStore, Now, Rng, Shell, Store,
    UnixTime,
};

pub(crate) use disk::Disk;

/// When the world begins: after the fixture's last block.
pub(crate) const BEGIN: u64 = 1_800_000_000;

/// One way over a link.
const DELAY: Duration = Duration::from_millis(40);

pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) client: Node<Client, Disk>,
    pub(crate) servers: Vec<Node<Server, MemoryStore>>,
    rng: Rng,
    queue: BTreeMap<(Instant, u64), Delivery>,
    sequence: u64,
    links: Vec<Wire>,
    accepted: u64,
    /// How many bytes come at once, at most.
    pub(crate) piece: usize,
    /// How long the client's disk takes at most; `None`: nothing is ever waited for.
    pub(crate) disk_delay: Option<Duration>,
    /// Servers that can't be reached.
    pub(crate) down: BTreeSet<usize>,
    /// A digest of everything that happened, to compare runs.
    pub(crate) trace: Vec<String>,
}

pub(crate) struct Node<M: Machine, S> {
    pub(crate) shell: Option<Shell<Checked<M>, S>>,
    pub(crate) events: Vec<M::Event>,
    started: bool,
}

struct Wire {
    server: usize,
    client_conn: ConnId,
    server_conn: ConnId,
    open: bool,
    connected: bool,
    paused: [bool; 2],
    held: [Vec<u8>; 2],
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Side {
    Client,
    Server(usize),
}

enum Delivery {
    /// To the client, from its disk.
    Written,
    Connected {
        link: usize,
    },
    Refused {
        conn: ConnId,
    },
    Bytes {
        link: usize,
        to: Side,
        bytes: Vec<u8>,
    },
    Drained {
        link: usize,
        to: Side,
    },
    Closed {
        link: usize,
        to: Side,
        reason: Disconnect,
    },
}

enum Arrival {
    Bytes(Vec<u8>),
    Drained,
    Closed(Disconnect),
}

impl Arrival {
    fn input<C>(&mut self, conn: ConnId) -> Input<'_, C> {
        match self {
            Self::Bytes(bytes) => Input::Received { conn, bytes },
            Self::Drained => Input::Drained { conn },
            Self::Closed(reason) => Input::Disconnected { conn, reason: *reason },
        }
    }
}

impl<M: Machine, S: Store<Error = Infallible>> Node<M, S> {
    fn new(machine: M, store: S) -> Self {
        Self { shell: Some(Shell::new(Checked::new(machine), store)), events: Vec::new(), started: false }
    }
}

/// The address of a server.
pub(crate) fn address(server: usize) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 10_000 + server as u16))
}

impl World {
    pub(crate) fn new(seed: u64, config: client::Config, servers: Vec<Server>) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        Self {
            now: Instant::ZERO,
            client: Node::new(Client::new(config), Disk::new()),
            servers: servers.into_iter().map(|server| Node::new(server, MemoryStore::new())).collect(),
            rng: Rng::new(bytes),
            queue: BTreeMap::new(),
            sequence: 0,
            links: Vec::new(),
            accepted: 0,
            piece: 100_000,
            disk_delay: None,
            down: BTreeSet::new(),
            trace: Vec::new(),
        }
    }

    /// Kills the client and starts it anew on what it had stored.
    pub(crate) fn restart(&mut self, config: client::Config) {
        let shell = self.client.shell.take().expect("the client is there");
        let (_, mut store) = shell.into_parts();
        store.restart();
        for link in 0..self.links.len() {
            if core::mem::take(&mut self.links[link].open) && self.links[link].connected {
                let to = Side::Server(self.links[link].server);
                self.push(DELAY, Delivery::Closed { link, to, reason: Disconnect::Reset });
            }
        }
        // What was on the way to the client is lost with its connections.
        self.queue.retain(|_, delivery| match delivery {
            Delivery::Connected { .. } | Delivery::Refused { .. } | Delivery::Written => false,
            Delivery::Bytes { to, .. } | Delivery::Drained { to, .. } | Delivery::Closed { to, .. } => {
                *to != Side::Client
            }
        });
        self.client = Node::new(Client::new(config), store);
    }

    /// Breaks all connections of a server.
    pub(crate) fn cut(&mut self, server: usize) {
        for link in 0..self.links.len() {
            if self.links[link].server == server && core::mem::take(&mut self.links[link].open) {
                if self.links[link].connected {
                    self.push(
                        DELAY,
                        Delivery::Closed { link, to: Side::Server(server), reason: Disconnect::Reset },
                    );
                }
                self.push(DELAY, Delivery::Closed { link, to: Side::Client, reason: Disconnect::Reset });
            }
        }
    }

    pub(crate) fn command(&mut self, command: client::Command) {
        self.begin();
        self.client_turn(Input::Command(command));
    }

    pub(crate) fn server_command(&mut self, server: usize, command: server::Command) {
        self.begin();
        self.server_turn(server, Input::Command(command));
    }

    /// Runs until `done`, or for an hour.
    ///
    /// # Panics
    /// If the hour passes.
    pub(crate) fn run_until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let limit = self.now + Duration::from_secs(3600);
        self.begin();
        while !done(self) {
            assert!(self.step(limit), "an hour passed and {what} did not happen: {:?}", self.client.events);
        }
    }

    /// Runs for a time.
    pub(crate) fn run_for(&mut self, duration: Duration) {
        let limit = self.now + duration;
        self.begin();
        while self.step(limit) {}
        self.now = limit;
    }

    fn begin(&mut self) {
        for server in 0..self.servers.len() {
            if !self.servers[server].started {
                self.servers[server].started = true;
                self.server_turn(server, Input::Start);
            }
        }
        if !self.client.started {
            self.client.started = true;
            self.client_turn(Input::Start);
        }
    }

    fn step(&mut self, limit: Instant) -> bool {
        let client = self.client.shell.as_ref().and_then(|shell| shell.deadline()).map(|at| (at, 0));
        let servers = self.servers.iter().enumerate().filter_map(|(index, node)| {
            node.shell.as_ref().and_then(|shell| shell.deadline()).map(|at| (at, index + 1))
        });
        let timer = client.into_iter().chain(servers).min();
        let delivery = self.queue.keys().next().copied();
        match (timer, delivery) {
            (Some((at, node)), delivery) if delivery.is_none_or(|(due, _)| at <= due) && at <= limit => {
                self.now = self.now.max(at);
                match node {
                    0 => self.wake_client(),
                    node => self.wake_server(node - 1),
                }
            }
            (_, Some(key)) if key.0 <= limit => {
                self.now = self.now.max(key.0);
                let delivery = self.queue.remove(&key).expect("it was seen");
                self.deliver(delivery);
            }
            _ => return false,
        }
        true
    }

    fn time(&self) -> Now {
        Now { instant: self.now, unix: UnixTime::from_secs(BEGIN + self.now.as_micros() / 1_000_000) }
    }

    fn push(&mut self, delay: Duration, delivery: Delivery) {
        self.sequence += 1;
        self.queue.insert((self.now + delay, self.sequence), delivery);
    }

    fn deliver(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Written => self.write(),
            Delivery::Connected { link } => {
                let Wire { server, client_conn, server_conn, open, .. } = self.links[link];
                if !open {
                    return;
                }
                self.links[link].connected = true;
                let from = SocketAddr::from(([127, 0, 0, 1], 50_000));
                self.server_turn(
                    server,
                    Input::Connected { conn: server_conn, remote: from, link: Link::Inbound },
                );
                self.client_turn(Input::Connected {
                    conn: client_conn,
                    remote: address(server),
                    link: Link::Outbound,
                });
            }
            Delivery::Refused { conn } => {
                self.client_turn(Input::Disconnected { conn, reason: Disconnect::Refused });
            }
            Delivery::Bytes { link, to, bytes } => {
                let side = usize::from(to != Side::Client);
                if self.links[link].paused[side] {
                    self.links[link].held[side].extend_from_slice(&bytes);
                    return;
                }
                if self.links[link].open {
                    self.arrive(link, to, Arrival::Bytes(bytes));
                }
            }
            Delivery::Drained { link, to } => {
                if self.links[link].open {
                    self.arrive(link, to, Arrival::Drained);
                }
            }
            Delivery::Closed { link, to, reason } => {
                self.arrive(link, to, Arrival::Closed(reason));
            }
        }
    }

    fn conn(&self, link: usize, side: Side) -> ConnId {
        match side {
            Side::Client => self.links[link].client_conn,
            Side::Server(_) => self.links[link].server_conn,
        }
    }

    fn arrive(&mut self, link: usize, to: Side, mut arrival: Arrival) {
        let conn = self.conn(link, to);
        match to {
            Side::Client => self.client_turn(arrival.input(conn)),
            Side::Server(server) => self.server_turn(server, arrival.input(conn)),
        }
    }

    fn client_turn(&mut self, input: Input<'_, client::Command>) {
        let now = self.time();
        let Some(mut shell) = self.client.shell.take() else { return };
        self.trace.push(format!("{:?} client {input:?}", self.now));
        shell.turn(now, input);
        self.finish_client(shell);
    }

    fn finish_client(&mut self, mut shell: Shell<Checked<Client>, Disk>) {
        self.carry_out(&mut shell, Side::Client, |world, event| world.client.events.push(event));
        match self.disk_delay {
            None => {
                while shell.store().waiting() > 0 {
                    shell.store_mut().write(1);
                    self.complete(&mut shell);
                }
            }
            Some(most) if shell.store().waiting() > 0 => {
                let delay = Duration::from_micros(self.rng.below(most.as_micros() as u64 + 1));
                self.push(delay, Delivery::Written);
            }
            Some(_) => {}
        }
        self.client.shell = Some(shell);
    }

    /// The disk has written something of what waits for it.
    fn write(&mut self) {
        let Some(mut shell) = self.client.shell.take() else { return };
        let waiting = shell.store().waiting();
        if waiting > 0 {
            shell.store_mut().write(self.rng.below(waiting as u64) as usize + 1);
            self.complete(&mut shell);
        }
        self.finish_client(shell);
    }

    fn complete(&mut self, shell: &mut Shell<Checked<Client>, Disk>) {
        let now = self.time();
        while shell.complete(now).expect("memory does not fail") {
            self.carry_out(shell, Side::Client, |world, event| world.client.events.push(event));
        }
    }

    fn server_turn(&mut self, server: usize, input: Input<'_, server::Command>) {
        let now = self.time();
        let Some(mut shell) = self.servers[server].shell.take() else { return };
        shell.turn(now, input);
        self.carry_out(&mut shell, Side::Server(server), |world, event| {
            world.servers[server].events.push(event)
        });
        self.servers[server].shell = Some(shell);
    }

    fn wake_client(&mut self) {
        let now = self.time();
        let Some(mut shell) = self.client.shell.take() else { return };
        shell.wake(now);
        self.finish_client(shell);
    }

    fn wake_server(&mut self, server: usize) {
        let now = self.time();
        let Some(mut shell) = self.servers[server].shell.take() else { return };
        if shell.wake(now) {
            self.carry_out(&mut shell, Side::Server(server), |world, event| {
                world.servers[server].events.push(event);
            });
        }
        self.servers[server].shell = Some(shell);
    }

    fn carry_out<M: Machine, S: Store<Error = Infallible>>(
        &mut self,
        shell: &mut Shell<M, S>,
        side: Side,
        event_to: impl Fn(&mut Self, M::Event),
    ) {
        while let Some(effect) = shell.pop().expect("memory does not fail") {
            match effect {
                Effect::Connect { conn, addr } => self.connect(conn, addr),
                Effect::Send { conn, bytes } => self.send(side, conn, bytes),
                Effect::Flush { conn } => {
                    if let Some(link) = self.link(side, conn) {
                        self.push(DELAY, Delivery::Drained { link, to: side });
                    }
                }
                Effect::Pause { conn, paused } => self.pause(side, conn, paused),
                Effect::Close { conn, .. } => self.close(side, conn),
                Effect::Event(event) => event_to(self, event),
                Effect::Datagram { .. } | Effect::Resolve { .. } => panic!("no test needs this"),
            }
        }
    }

    fn connect(&mut self, conn: ConnId, addr: SocketAddr) {
        let server = (addr.port() - 10_000) as usize;
        if server >= self.servers.len() || self.down.contains(&server) {
            self.push(DELAY, Delivery::Refused { conn });
            return;
        }
        let server_conn = ConnId::accepted(self.accepted);
        self.accepted += 1;
        self.links.push(Wire {
            server,
            client_conn: conn,
            server_conn,
            open: true,
            connected: false,
            paused: [false; 2],
            held: [Vec::new(), Vec::new()],
        });
        let link = self.links.len() - 1;
        self.push(DELAY, Delivery::Connected { link });
    }

    /// The link that a machine names. `None`: it was refused, and the machine has not been told yet.
    fn link(&self, side: Side, conn: ConnId) -> Option<usize> {
        self.links.iter().rposition(|link| match side {
            // After a restart the client counts anew: the newest is meant.
            Side::Client => link.client_conn == conn,
            Side::Server(server) => link.server == server && link.server_conn == conn,
        })
    }

    fn send(&mut self, side: Side, conn: ConnId, bytes: &[u8]) {
        let Some(link) = self.link(side, conn) else { return };
        let to = self.other(side, link);
        let mut rest = bytes;
        while !rest.is_empty() {
            let length = (self.rng.below(self.piece as u64) as usize + 1).min(rest.len());
            let (piece, after) = rest.split_at(length);
            self.push(DELAY, Delivery::Bytes { link, to, bytes: piece.to_vec() });
            rest = after;
        }
    }

    fn other(&self, side: Side, link: usize) -> Side {
        match side {
            Side::Client => Side::Server(self.links[link].server),
            Side::Server(_) => Side::Client,
        }
    }

    fn pause(&mut self, side: Side, conn: ConnId, paused: bool) {
        let Some(link) = self.link(side, conn) else { return };
        let index = usize::from(side != Side::Client);
        self.links[link].paused[index] = paused;
        let held = core::mem::take(&mut self.links[link].held[index]);
        if !paused && !held.is_empty() {
            // Before anything that is still on its way.
            self.sequence += 1;
            self.queue.insert((self.now, 0), Delivery::Bytes { link, to: side, bytes: held });
        }
    }

    fn close(&mut self, side: Side, conn: ConnId) {
        let Some(link) = self.link(side, conn).filter(|&link| self.links[link].open) else { return };
        self.links[link].open = false;
        let other = self.other(side, link);
        self.push(Duration::ZERO, Delivery::Closed { link, to: side, reason: Disconnect::Closed });
        if self.links[link].connected {
            self.push(DELAY, Delivery::Closed { link, to: other, reason: Disconnect::ClosedByPeer });
        }
    }
}
