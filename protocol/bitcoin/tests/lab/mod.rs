//! A laboratory: one client, peers that serve chains made on the spot, links with a latency, a disk that takes its time
//! and forgets at a crash what it had not written. All in virtual time, all drawn from one seed.

#![allow(dead_code, reason = "each test uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

pub(crate) mod chain;
pub(crate) mod damage;
#[path = "../world/disk.rs"]
mod disk;
pub(crate) mod filter_headers;
pub(crate) mod nodes;
pub(crate) mod peer;
pub(crate) mod proxy;
pub(crate) mod router;
mod wire;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use andon_bitcoin::client::{
    BlockId, Client, Command, Config, Encryption, Endpoint, Event, Import, Progress, Reason,
};
use andon_bitcoin::wire::Message;
use andon_kernel::{
    Checked, ConnId, Disconnect, Effect, Input, Instant, Link, MemoryStore, Now, Rng, Shell, Space, Ticket,
    UnixTime,
};
use bitcoin::block::Header;
use bitcoin::hashes::Hash;
use bitcoin::{BlockHash, Network};

pub(crate) use chain::Chain;
pub(crate) use disk::Disk;
pub(crate) use peer::Peer;

use peer::Answer;
use proxy::Proxy;
use router::Router;
use wire::Wire;

pub(crate) const MAGIC: [u8; 4] = [0xfa, 0xbf, 0xb5, 0xda];

/// When the laboratory opens: long after any block of a chain here.
pub(crate) const BEGIN: u64 = 1_800_000_000;

/// Bytes that a turn brings at most, as those of a driver do. Messages that come together come in one turn.
const PIECE: usize = 64 * 1024;

pub(crate) struct Lab {
    pub(crate) now: Instant,
    /// Seconds since 1970 at the beginning.
    pub(crate) begin: u64,
    pub(crate) config: Config,
    pub(crate) peers: Vec<Peer>,
    /// Between the client and its peers, if there is one.
    pub(crate) proxy: Option<Proxy>,
    /// The same for those in I2P.
    pub(crate) router: Option<Router>,
    /// Whom the client dialled.
    pub(crate) dialled: Vec<SocketAddr>,
    /// Names that it had looked up.
    pub(crate) resolved: Vec<String>,
    /// What names are found to stand for.
    pub(crate) names: BTreeMap<String, Vec<SocketAddr>>,
    /// Names of which nobody says anything, ever, by their ends.
    pub(crate) mute: Vec<&'static str>,
    /// All but progress, of this run of the client.
    pub(crate) events: Vec<Event>,
    pub(crate) progress: Progress,
    /// The last one told, unless something has changed since.
    pub(crate) synced: Option<BlockId>,
    /// One way.
    pub(crate) latency: Duration,
    /// By which an answer is later at most.
    pub(crate) jitter: Duration,
    /// Bytes a second that a peer sends; `None`: any number.
    pub(crate) rate: Option<u64>,
    /// How long the disk takes for each request; `None`: nothing is ever waited for.
    pub(crate) disk_delay: Option<Duration>,
    /// The batch after which the process ends.
    pub(crate) crash_after: Option<usize>,
    /// Bytes that came to the client.
    pub(crate) bytes: u64,
    /// What peers were asked for: when, and who.
    pub(crate) asked: Vec<(Instant, usize, Asked)>,
    /// How long each of those waits until the peer has sent what it was asked for before.
    pub(crate) waits: Vec<Duration>,
    shell: Option<Shell<Checked<Client>, Disk>>,
    /// What is left of a process that has ended.
    left: Option<Disk>,
    started: bool,
    lines: BTreeMap<ConnId, Line>,
    queue: BTreeMap<(Instant, u64), Delivery>,
    sequence: u64,
    writing: bool,
    rng: Rng,
}

/// A request of the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Headers,
    FilterHeaders(u32, u32),
    Checkpoints(u32),
    Filters(u32, u32),
    Blocks(Vec<u32>),
}

struct Line {
    peer: usize,
    open: bool,
    /// Whether the client knows that it is.
    connected: bool,
    stalled: bool,
    wire: Wire,
    /// How far the proxy is that stands before the peer.
    proxy: Option<proxy::Stage>,
    /// Whether it has come to a router of I2P, and no further.
    router: bool,
    /// When what was sent last to the client arrives.
    arrives: Instant,
    /// When the peer has sent what it was to send.
    idle: Instant,
}

enum Delivery {
    Connected(ConnId),
    Refused(ConnId),
    ToClient(ConnId, Vec<u8>),
    ToPeer(ConnId, Vec<u8>),
    Closed(ConnId, Disconnect),
    Written,
    Resolved(Ticket, Vec<SocketAddr>),
}

fn asked(chain: &Chain, message: &Message<'_>) -> Option<Asked> {
    let stop = |hash: &BlockHash| chain.height_of(hash).unwrap_or(u32::MAX);
    match message {
        Message::GetHeaders(_) => Some(Asked::Headers),
        Message::GetCFHeaders(request) => {
            Some(Asked::FilterHeaders(request.start_height, stop(&request.stop_hash)))
        }
        Message::GetCFCheckpt { stop_hash, .. } => Some(Asked::Checkpoints(stop(stop_hash))),
        Message::GetCFilters(request) => Some(Asked::Filters(request.start_height, stop(&request.stop_hash))),
        Message::GetData(wanted) => Some(Asked::Blocks(
            wanted.iter().map(|item| stop(&BlockHash::from_byte_array(item.hash))).collect(),
        )),
        _ => None,
    }
}

/// The configuration of a client of so many peers. Nothing is encrypted, for tests count bytes; unless `LAB_ENCRYPTION` is set,
/// to see what depends on that.
pub(crate) fn config(peers: usize) -> Config {
    let mut config = Config::new(Network::Regtest, [3; 32]);
    config.discovery = None;
    if std::env::var_os("LAB_ENCRYPTION").is_none() {
        config.encryption = Encryption::Off;
    }
    config.peers = (0..peers).map(endpoint).collect();
    config
}

pub(crate) fn endpoint(peer: usize) -> Endpoint {
    Endpoint::Address(SocketAddr::from(([127, 0, 0, 1], 30_000 + peer as u16)))
}

impl Lab {
    pub(crate) fn new(config: Config, peers: Vec<Peer>) -> Self {
        Self::on(MemoryStore::new(), config, peers)
    }

    /// A client that finds this in its store.
    pub(crate) fn on(store: MemoryStore, config: Config, peers: Vec<Peer>) -> Self {
        Self {
            now: Instant::ZERO,
            begin: BEGIN,
            config,
            peers,
            proxy: None,
            router: None,
            dialled: Vec::new(),
            resolved: Vec::new(),
            names: BTreeMap::new(),
            mute: Vec::new(),
            events: Vec::new(),
            progress: Progress::default(),
            synced: None,
            latency: Duration::from_millis(20),
            jitter: Duration::ZERO,
            rate: None,
            disk_delay: None,
            crash_after: None,
            bytes: 0,
            asked: Vec::new(),
            waits: Vec::new(),
            shell: None,
            left: Some(Disk::holding(store)),
            started: false,
            lines: BTreeMap::new(),
            queue: BTreeMap::new(),
            sequence: 0,
            writing: false,
            rng: Rng::new([11; 32]),
        }
    }

    /// A client of one peer, which has taken the peer's whole chain.
    pub(crate) fn synced_with(chain: &std::rc::Rc<Chain>) -> Self {
        let mut lab = Self::new(config(1), vec![Peer::new(chain)]);
        lab.sync();
        lab
    }

    fn begin(&mut self) {
        if !self.started {
            self.started = true;
            let disk = self.left.take().expect("there is a disk");
            self.shell = Some(Shell::new(Checked::new(Client::new(self.config.clone())), disk));
            self.turn(Input::Start);
        }
    }

    /// Ends the process, if it has not ended by itself, and prepares the next, which begins when the laboratory goes on.
    pub(crate) fn restart(&mut self) {
        self.crash();
        if let Some(disk) = &mut self.left {
            disk.restart();
        }
        self.started = false;
        self.crash_after = None;
        self.writing = false;
        self.lines.clear();
        self.queue.clear();
        self.events.clear();
        self.synced = None;
        self.peers.iter_mut().for_each(|peer| peer.first_locator.clear());
    }

    fn crash(&mut self) {
        if let Some(shell) = self.shell.take() {
            self.left = Some(shell.into_parts().1);
        }
    }

    pub(crate) fn has_crashed(&self) -> bool {
        self.started && self.shell.is_none()
    }

    /// What is written.
    pub(crate) fn store(&self) -> &MemoryStore {
        match (&self.shell, &self.left) {
            (Some(shell), _) => shell.store().written(),
            (None, Some(disk)) => disk.written(),
            (None, None) => unreachable!("there is a disk"),
        }
    }

    /// Batches that have been written since the beginning, over all processes.
    pub(crate) fn batches(&self) -> usize {
        match (&self.shell, &self.left) {
            (Some(shell), _) => shell.store().batches(),
            (None, disk) => disk.as_ref().map_or(0, Disk::batches),
        }
    }

    /// When the client wakes by itself, if it does.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.shell.as_ref().and_then(Shell::deadline)
    }

    /// The rows of a space.
    pub(crate) fn rows(&self, space: &'static str) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.store().rows(Space::new(space)).map(|(key, value)| (key.into(), value.into())).collect()
    }

    pub(crate) fn command(&mut self, command: Command) {
        self.begin();
        self.turn(Input::Command(command));
    }

    /// Until everything is told to be done, up to the best tip of the peers.
    pub(crate) fn sync(&mut self) {
        let tip = self.peers.iter().map(|peer| peer.chain.tip()).max_by_key(|tip| tip.height).unwrap();
        self.sync_to(tip);
    }

    pub(crate) fn sync_to(&mut self, tip: BlockId) {
        self.run_until("the sync", |lab| lab.synced == Some(tip));
    }

    /// Runs until `done`, or for a day.
    ///
    /// # Panics
    /// If the day passes, or the process ends.
    pub(crate) fn run_until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let limit = self.now + Duration::from_secs(24 * 3600);
        self.begin();
        while !done(self) {
            let tail = self.events.len().saturating_sub(12);
            assert!(
                self.step(limit),
                "{what} did not happen: {:?} {:?}",
                &self.events[tail..],
                self.progress.headers
            );
        }
    }

    /// Runs until all is written that there is to write.
    pub(crate) fn let_the_disk_finish(&mut self) {
        let waiting = |lab: &Self| lab.shell.as_ref().is_some_and(|shell| shell.store().waiting() > 0);
        self.run_until("the end of writing", |lab| !waiting(lab));
    }

    /// Runs for a time, or until the process ends.
    pub(crate) fn run_for(&mut self, duration: Duration) {
        let limit = self.now + duration;
        self.begin();
        while self.step(limit) {}
        self.now = self.now.max(limit);
    }

    fn step(&mut self, limit: Instant) -> bool {
        let Some(shell) = &self.shell else { return false };
        let timer = shell.deadline();
        let delivery = self.queue.keys().next().copied();
        match (timer, delivery) {
            (Some(at), delivery) if at <= limit && delivery.is_none_or(|(due, _)| at <= due) => {
                self.now = self.now.max(at);
                let now = self.time();
                let Some(mut shell) = self.shell.take() else { return false };
                shell.wake(now);
                self.finish(shell);
            }
            (_, Some(key)) if key.0 <= limit => {
                self.now = self.now.max(key.0);
                let delivery = self.queue.remove(&key).unwrap();
                self.deliver(key.0, delivery);
            }
            _ => return false,
        }
        true
    }

    pub(crate) fn time(&self) -> Now {
        Now { instant: self.now, unix: UnixTime::from_secs(self.begin + self.now.as_micros() / 1_000_000) }
    }

    fn push(&mut self, at: Instant, delivery: Delivery) {
        self.sequence += 1;
        self.queue.insert((at, self.sequence), delivery);
    }

    fn deliver(&mut self, at: Instant, delivery: Delivery) {
        match delivery {
            Delivery::Written => {
                self.writing = false;
                let Some(mut shell) = self.shell.take() else { return };
                if self.write(&mut shell) {
                    self.finish(shell);
                } else {
                    self.left = Some(shell.into_parts().1);
                }
            }
            Delivery::Connected(conn) => {
                if let Some(line) = self.lines.get_mut(&conn).filter(|line| line.open) {
                    line.connected = true;
                    let remote = SocketAddr::from(([127, 0, 0, 1], 1));
                    self.turn(Input::Connected { conn, remote, link: Link::Outbound });
                }
            }
            Delivery::Refused(conn) => {
                self.turn(Input::Disconnected { conn, reason: Disconnect::Refused });
            }
            Delivery::ToClient(conn, mut bytes) => {
                while let Some((key, Delivery::ToClient(other, _))) = self.queue.first_key_value()
                    && key.0 == at
                    && *other == conn
                {
                    let Some((_, Delivery::ToClient(_, more))) = self.queue.pop_first() else {
                        unreachable!("it was seen")
                    };
                    bytes.extend_from_slice(&more);
                }
                for piece in bytes.chunks_mut(PIECE) {
                    if self.lines.get(&conn).is_some_and(|line| line.open) {
                        self.bytes += piece.len() as u64;
                        self.turn(Input::Received { conn, bytes: piece });
                    }
                }
            }
            Delivery::ToPeer(conn, bytes) => self.tell_peer(conn, &bytes),
            Delivery::Resolved(ticket, addrs) => self.turn(Input::Resolved { ticket, addrs: &addrs }),
            Delivery::Closed(conn, reason) => {
                // Both sides may have ended it.
                if self.lines.remove(&conn).is_some() {
                    self.turn(Input::Disconnected { conn, reason });
                }
            }
        }
    }

    fn tell_peer(&mut self, conn: ConnId, bytes: &[u8]) {
        let Some(line) = self.lines.get_mut(&conn).filter(|line| line.open && !line.stalled) else { return };
        if let Some(stage) = line.proxy {
            return self.tell_proxy(conn, stage, bytes);
        }
        if line.router {
            return self.tell_router(conn, bytes);
        }
        let peer = line.peer;
        let idle = line.idle;
        let Some(came) = line.wire.receive(bytes.to_vec()) else { return self.hang_up(conn) };
        if !came.answer.is_empty() {
            self.send_bytes(conn, came.answer);
        }
        let mut answers = Vec::new();
        for (command, payload) in came.messages {
            let message = Message::decode(command, &payload).expect("it sends what it can read");
            if std::env::var_os("LAB_TRACE").is_some() {
                eprintln!(
                    "{:?} -> {peer} {} {:?}",
                    self.now,
                    message.command(),
                    match &message {
                        Message::GetHeaders(g) if !g.locator.is_empty() => (
                            self.peers[peer].chain.height_of(&g.locator.at(0).unwrap()),
                            self.peers[peer].chain.height_of(&g.stop_hash),
                            g.locator.len()
                        ),
                        Message::GetCFHeaders(r) =>
                            (Some(r.start_height), self.peers[peer].chain.height_of(&r.stop_hash), 0),
                        _ => (None, None, 0),
                    }
                );
            }
            if let Some(asked) = asked(&self.peers[peer].chain, &message) {
                self.asked.push((self.now, peer, asked));
                self.waits.push(idle.since(self.now));
            }
            self.peers[peer].on(&message, &mut answers);
        }
        for answer in answers {
            match answer {
                Answer::Send(bytes) => self.send(conn, bytes),
                Answer::Stall => {
                    self.lines.entry(conn).and_modify(|line| line.stalled = true);
                    return;
                }
                Answer::HangUp => return self.hang_up(conn),
            }
        }
    }

    /// Sends bytes from the peer to the client.
    fn send(&mut self, conn: ConnId, bytes: Vec<u8>) {
        if std::env::var_os("LAB_TRACE").is_some() {
            eprintln!(
                "{:?} <- {:?} {} {}",
                self.now,
                conn,
                String::from_utf8_lossy(&bytes[4..16]),
                bytes.len()
            );
        }
        let Some(line) = self.lines.get_mut(&conn) else { return };
        let bytes = line.wire.write(bytes);
        self.send_bytes(conn, bytes);
    }

    /// Sends bytes as they are.
    fn send_bytes(&mut self, conn: ConnId, bytes: Vec<u8>) {
        let jitter = Duration::from_micros(self.rng.below(self.jitter.as_micros() as u64 + 1));
        let Some(peer) = self.lines.get(&conn).filter(|line| line.open).map(|line| line.peer) else { return };
        let own = self.peers.get(peer).and_then(|peer| peer.rate);
        let rate = own.map(|rate| rate as u64).or(self.rate);
        for piece in bytes.chunks(own.unwrap_or(bytes.len())) {
            let Some(line) = self.lines.get_mut(&conn) else { return };
            let takes = rate.map_or(0, |rate| piece.len() as u64 * 1_000_000 / rate);
            line.idle = line.idle.max(self.now) + Duration::from_micros(takes);
            line.arrives = line.arrives.max(line.idle + self.latency + jitter);
            let at = line.arrives;
            self.push(at, Delivery::ToClient(conn, piece.to_vec()));
        }
    }

    /// The peer ends the connection.
    fn hang_up(&mut self, conn: ConnId) {
        let Some(line) = self.lines.get_mut(&conn).filter(|line| line.open) else { return };
        line.stalled = true;
        let at = line.arrives.max(self.now + self.latency);
        self.push(at, Delivery::Closed(conn, Disconnect::ClosedByPeer));
    }

    /// The connection of a peer, if there is one.
    pub(crate) fn conn(&self, peer: usize) -> Option<ConnId> {
        self.lines.iter().rev().find(|(_, line)| line.open && line.peer == peer).map(|(conn, _)| *conn)
    }

    /// A peer ends its connection.
    pub(crate) fn cut(&mut self, peer: usize) {
        if let Some(conn) = self.conn(peer) {
            self.hang_up(conn);
        }
    }

    /// A peer sends nothing more on its connection, and nothing of what it has sent arrives any more.
    pub(crate) fn fall_silent(&mut self, peer: usize) {
        let Some(conn) = self.conn(peer) else { return };
        self.lines.entry(conn).and_modify(|line| line.stalled = true);
        self.queue.retain(|_, delivery| !matches!(delivery, Delivery::ToClient(to, _) if *to == conn));
    }

    /// A peer goes over to another chain, and announces its best block by hash.
    pub(crate) fn switch(&mut self, peer: usize, chain: &std::rc::Rc<Chain>) {
        self.peers[peer].chain = chain.clone();
        self.announce(peer);
    }

    /// A peer announces its best block by hash.
    pub(crate) fn announce(&mut self, peer: usize) {
        let tip = self.peers[peer].chain.tip();
        if let Some(conn) = self.conn(peer).filter(|conn| self.lines[conn].connected) {
            self.send(conn, peer::inv(tip));
        }
    }

    /// A peer sends headers that nobody asked it for.
    pub(crate) fn push_headers(&mut self, peer: usize, headers: &[Header]) {
        if let Some(conn) = self.conn(peer) {
            self.send(conn, peer::headers(headers));
        }
    }

    /// A peer sends a message that nobody asked it for.
    pub(crate) fn push_message(&mut self, peer: usize, message: &Message<'_>) {
        let mut bytes = Vec::new();
        message.write(&mut bytes, MAGIC);
        if let Some(conn) = self.conn(peer) {
            self.send(conn, bytes);
        }
    }

    fn turn(&mut self, input: Input<'_, Command>) {
        let now = self.time();
        let Some(mut shell) = self.shell.take() else { return };
        shell.turn(now, input);
        self.finish(shell);
    }

    /// Carries out what a turn left, and lets the disk go on.
    fn finish(&mut self, mut shell: Shell<Checked<Client>, Disk>) {
        self.carry_out(&mut shell);
        match self.disk_delay {
            None => {
                while shell.store().waiting() > 0 {
                    if !self.write(&mut shell) {
                        self.left = Some(shell.into_parts().1);
                        return;
                    }
                }
            }
            Some(delay) if shell.store().waiting() > 0 && !self.writing => {
                self.writing = true;
                let at = self.now + delay;
                self.push(at, Delivery::Written);
            }
            Some(_) => {}
        }
        self.shell = Some(shell);
    }

    /// Carries out the disk's oldest request. False: the process ends with it.
    fn write(&mut self, shell: &mut Shell<Checked<Client>, Disk>) -> bool {
        shell.store_mut().write(1);
        if self.crash_after == Some(shell.store().batches()) {
            return false;
        }
        let now = self.time();
        while shell.complete(now).expect("memory does not fail") {
            self.carry_out(shell);
        }
        true
    }

    fn carry_out(&mut self, shell: &mut Shell<Checked<Client>, Disk>) {
        while let Some(effect) = shell.pop().expect("memory does not fail") {
            match effect {
                Effect::Connect { conn, addr } => self.connect(conn, addr),
                Effect::Send { conn, bytes } => {
                    let (at, bytes) = (self.now + self.latency, bytes.to_vec());
                    self.push(at, Delivery::ToPeer(conn, bytes));
                }
                Effect::Close { conn, .. } => {
                    if let Some(line) = self.lines.get_mut(&conn) {
                        line.open = false;
                    }
                    let at = self.now;
                    self.push(at, Delivery::Closed(conn, Disconnect::Closed));
                }
                Effect::Resolve { ticket, host, .. } => {
                    let addrs = self.names.get(&host).cloned().unwrap_or_default();
                    let at = self.now + self.latency * 2;
                    if !self.mute.iter().any(|end| host.ends_with(end)) {
                        self.push(at, Delivery::Resolved(ticket, addrs));
                    }
                    self.resolved.push(host);
                }
                Effect::Event(event) => self.told(event),
                other => panic!("no test needs this: {other:?}"),
            }
        }
    }

    fn told(&mut self, event: Event) {
        if std::env::var_os("LAB_TRACE").is_some() && !matches!(event, Event::Progress(_)) {
            eprintln!("{:?} {event:?}", self.now);
        }
        match event {
            Event::Progress(progress) => {
                self.progress = progress;
                return;
            }
            Event::Synced(block) => self.synced = Some(block),
            Event::Reorganised { .. } | Event::Rescan { .. } => self.synced = None,
            _ => {}
        }
        self.events.push(event);
    }

    fn connect(&mut self, conn: ConnId, addr: SocketAddr) {
        self.dialled.push(addr);
        let at = self.now + self.latency * 2;
        let proxied = addr == proxy::address();
        let routed = addr == router::address();
        let peer = match proxied || routed {
            true => usize::MAX,
            false => usize::from(addr.port().wrapping_sub(30_000)),
        };
        let up = match (proxied, routed) {
            (true, _) => self.proxy.is_some(),
            (_, true) => self.router.is_some(),
            _ => self.peers.get(peer).is_some_and(|peer| peer.up),
        };
        if !up {
            return self.push(at, Delivery::Refused(conn));
        }
        let line = Line {
            peer,
            wire: Wire::new(conn, self.peers.get(peer).is_some_and(|peer| peer.knows_encryption)),
            proxy: proxied.then_some(proxy::Stage::Method),
            router: routed,
            open: true,
            connected: false,
            stalled: false,
            arrives: Instant::ZERO,
            idle: Instant::ZERO,
        };
        self.lines.insert(conn, line);
        self.push(at, Delivery::Connected(conn));
    }

    /// Why connections ended, and whose.
    pub(crate) fn farewells(&self) -> Vec<(Endpoint, Reason)> {
        let farewells = self.events.iter().filter_map(|event| match event {
            Event::PeerDisconnected { endpoint, reason, .. } => Some((endpoint.clone(), reason.clone())),
            _ => None,
        });
        farewells.collect()
    }

    /// Each reorganisation that was told: height of the fork, old tip, new tip.
    pub(crate) fn reorganisations(&self) -> Vec<(BlockId, BlockId, BlockId)> {
        let told = self.events.iter().filter_map(|event| match event {
            Event::Reorganised { fork, old_tip, new_tip } => Some((*fork, *old_tip, *new_tip)),
            _ => None,
        });
        told.collect()
    }

    /// The best block that was stored, as the start told.
    pub(crate) fn started(&self) -> Option<BlockId> {
        self.events.iter().find_map(|event| match event {
            Event::Started { tip, .. } => Some(*tip),
            _ => None,
        })
    }

    /// All headers from `from` on, as the client gives them out.
    pub(crate) fn exported(&mut self, from: u32) -> Vec<Header> {
        let mut all: Vec<Header> = Vec::new();
        loop {
            let next = from + all.len() as u32;
            let before = self.events.len();
            self.command(Command::Export { from: next, count: 2000 });
            let page = |lab: &Self| {
                lab.events[before..].iter().find_map(|event| match event {
                    Event::Exported { from, headers, .. } if *from == next => Some(headers.clone()),
                    _ => None,
                })
            };
            self.run_until("the export", |lab| page(lab).is_some());
            let headers = page(self).unwrap();
            if headers.is_empty() {
                return all;
            }
            all.extend(headers);
        }
    }

    pub(crate) fn import(&mut self, headers: &[Header]) {
        let headers = headers.to_vec();
        self.command(Command::Import(Import { headers, filter_headers_from: 0, filter_headers: Vec::new() }));
    }
}
