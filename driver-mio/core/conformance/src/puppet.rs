//! The machine of the cases, and the means to run it.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use andon_driver::{CommandError, Options, Received};
use andon_kernel::{
    Checked, ConnId, Disconnect, Input, Instant, Link, Machine, MemoryStore, Names, Now, Outbox, Space,
};

use crate::stage::*;

/// A port of the system's choice, on loopback.
pub(crate) const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

pub(crate) const SPACE: Space = Space::new("test");

/// What a [`Puppet`] is told to do.
#[derive(Clone, Debug)]
pub enum Command {
    Dial(SocketAddr),
    /// A dial and its close in one turn.
    DialAndClose(SocketAddr),
    Send(ConnId, Vec<u8>),
    /// All of them in one turn.
    SendAll(ConnId, Vec<Vec<u8>>),
    /// Sends, and closes in the same turn.
    SendAndClose(ConnId, Vec<u8>, bool),
    /// Unpauses in the same turn as it pauses.
    PauseTwice(ConnId),
    Pause(ConnId, bool),
    Flush(ConnId),
    Close(ConnId, bool),
    Resolve(String, u16),
    Datagram(SocketAddr, Vec<u8>),
    Store,
    Panic,
    Mark(u32),
}

/// What a [`Puppet`] hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Connected(ConnId, SocketAddr, Link),
    Received(ConnId, Vec<u8>),
    Drained(ConnId),
    Disconnected(ConnId, Disconnect),
    Datagram(SocketAddr, Vec<u8>),
    Resolved(Vec<SocketAddr>),
    Stored,
    Mark(u32),
    Woken,
    Stopped,
}

/// What a test sees of a machine without its events.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) inputs: AtomicU64,
    pub(crate) wakes: AtomicU64,
    /// The driver reads the deadline in each round.
    pub(crate) deadlines: AtomicU64,
    pub(crate) received: AtomicU64,
}

pub(crate) fn count(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::SeqCst)
}

/// A machine that does what it is told and tells what it hears.
#[derive(Debug, Default)]
pub struct Puppet {
    /// Sends back what it receives, instead of telling of it.
    pub(crate) echo: bool,
    /// Only counts what it receives.
    pub(crate) quiet: bool,
    /// Wakes itself so often.
    pub(crate) every: Option<Duration>,
    /// Tells of each wake.
    pub(crate) tell_wakes: bool,
    /// Closes so when it stops.
    pub(crate) flush_at_stop: bool,
    /// Sends this, 64 KiB at a time with a flush after each, to everyone who connects.
    pub(crate) pour: usize,
    pub(crate) counts: Arc<Counts>,
    pub(crate) state: State,
}

/// What a puppet remembers.
#[derive(Debug, Default)]
pub(crate) struct State {
    names: Names,
    open: BTreeSet<ConnId>,
    dialled: BTreeSet<ConnId>,
    deadline: Option<Instant>,
    poured: usize,
    stopped: bool,
}

/// The byte at a position of what tests send.
pub(crate) fn pattern(from: usize, len: usize) -> Vec<u8> {
    (from..from + len).map(|at| (at.wrapping_mul(2_654_435_761) >> 11) as u8).collect()
}

impl Puppet {
    fn command(&mut self, command: Command, out: &mut Outbox<Event>) {
        match command {
            Command::Dial(addr) => self.dial(addr, out),
            Command::DialAndClose(addr) => {
                let conn = self.state.names.conn();
                out.connect(conn, addr);
                out.close(conn, true);
            }
            Command::Send(conn, bytes) if self.state.open.contains(&conn) => {
                out.send(conn, |buffer| buffer.extend(bytes));
            }
            Command::SendAll(conn, all) if self.state.open.contains(&conn) => {
                for bytes in all {
                    out.send(conn, |buffer| buffer.extend(bytes));
                }
            }
            Command::SendAndClose(conn, bytes, flush) if self.state.open.remove(&conn) => {
                out.send(conn, |buffer| buffer.extend(bytes));
                out.close(conn, flush);
            }
            Command::PauseTwice(conn) if self.state.open.contains(&conn) => {
                out.pause(conn, true);
                out.pause(conn, false);
            }
            Command::Pause(conn, paused) if self.state.open.contains(&conn) => out.pause(conn, paused),
            Command::Flush(conn) if self.state.open.contains(&conn) => out.flush(conn),
            Command::Close(conn, flush) if self.state.open.remove(&conn) => out.close(conn, flush),
            Command::Resolve(host, port) => out.resolve(self.state.names.ticket(), &host, port),
            Command::Datagram(to, bytes) => out.datagram(to, |buffer| buffer.extend(bytes)),
            Command::Store => {
                out.store(self.state.names.ticket(), |batch| batch.put(SPACE, b"key", b"value"))
            }
            Command::Panic => panic!("told to panic"),
            Command::Mark(mark) => out.event(Event::Mark(mark)),
            // The connection has ended meanwhile.
            Command::Send(..)
            | Command::SendAll(..)
            | Command::SendAndClose(..)
            | Command::PauseTwice(..)
            | Command::Pause(..)
            | Command::Flush(..)
            | Command::Close(..) => {}
        }
    }

    fn dial(&mut self, addr: SocketAddr, out: &mut Outbox<Event>) {
        let conn = self.state.names.conn();
        self.state.dialled.insert(conn);
        out.connect(conn, addr);
    }

    fn pour(&mut self, conn: ConnId, out: &mut Outbox<Event>) {
        let len = (self.pour - self.state.poured).min(64 * 1024);
        if len > 0 {
            out.send(conn, |buffer| buffer.extend(pattern(self.state.poured, len)));
            out.flush(conn);
            self.state.poured += len;
        }
    }
}

impl Machine for Puppet {
    type Command = Command;
    type Event = Event;

    fn handle(&mut self, now: Now, input: Input<'_, Command>, out: &mut Outbox<Event>) {
        self.counts.inputs.fetch_add(1, Ordering::SeqCst);
        match input {
            Input::Start => self.state.deadline = self.every.map(|every| now.instant + every),
            Input::Stop => {
                self.state.stopped = true;
                self.state.deadline = None;
                for conn in std::mem::take(&mut self.state.open) {
                    out.close(conn, self.flush_at_stop);
                }
                for conn in std::mem::take(&mut self.state.dialled) {
                    out.close(conn, false);
                }
                out.event(Event::Stopped);
            }
            Input::Wake => {
                if self.state.deadline.is_some_and(|deadline| deadline <= now.instant) {
                    self.counts.wakes.fetch_add(1, Ordering::SeqCst);
                    self.state.deadline = self.every.map(|every| now.instant + every);
                    if self.tell_wakes {
                        out.event(Event::Woken);
                    }
                }
            }
            Input::Command(command) => self.command(command, out),
            Input::Connected { conn, remote, link } => {
                self.state.dialled.remove(&conn);
                if self.state.stopped {
                    return;
                }
                self.state.open.insert(conn);
                out.event(Event::Connected(conn, remote, link));
                self.pour(conn, out);
            }
            Input::Received { conn, bytes } => {
                assert!(self.state.open.contains(&conn), "received on {conn:?}, which is closed");
                self.counts.received.fetch_add(bytes.len() as u64, Ordering::SeqCst);
                if self.echo {
                    out.send(conn, |buffer| buffer.extend_from_slice(bytes));
                } else if !self.quiet {
                    out.event(Event::Received(conn, bytes.to_vec()));
                }
            }
            Input::Drained { conn } => {
                assert!(self.state.open.contains(&conn), "drained {conn:?}, which is closed");
                out.event(Event::Drained(conn));
                self.pour(conn, out);
            }
            Input::Disconnected { conn, reason } => {
                self.state.open.remove(&conn);
                self.state.dialled.remove(&conn);
                out.event(Event::Disconnected(conn, reason));
            }
            Input::Datagram { from, bytes } => out.event(Event::Datagram(from, bytes.to_vec())),
            Input::Resolved { addrs, .. } => out.event(Event::Resolved(addrs.to_vec())),
            Input::Loaded { .. } => {}
            Input::Stored { .. } => out.event(Event::Stored),
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.counts.deadlines.fetch_add(1, Ordering::SeqCst);
        self.state.deadline
    }
}

pub(crate) fn listening() -> Options {
    Options { listen: vec![LOOPBACK], ..Options::default() }
}

/// Runs a machine. The address is the listener's, if the options have one.
pub(crate) fn start<S: Stage>(stage: &S, options: Options, puppet: Puppet) -> (S::Application, SocketAddr) {
    let driver = stage.driver(options).unwrap();
    let addr = driver.local_addresses().first().copied().unwrap_or(LOOPBACK);
    (driver.run(Checked::new(puppet), MemoryStore::new()), addr)
}

pub(crate) fn next<A: Application>(run: &A) -> Event {
    match run.recv_timeout(LIMIT) {
        Received::Event(event) => event,
        other => panic!("{other:?} instead of an event"),
    }
}

/// Asserts that this is the next event.
pub(crate) fn expect<A: Application>(run: &A, expected: &Event) {
    assert_eq!(&next(run), expected);
}

/// The connection that the next event announces.
pub(crate) fn connected<A: Application>(run: &A) -> ConnId {
    match next(run) {
        Event::Connected(conn, ..) => conn,
        other => panic!("{other:?} instead of a connection"),
    }
}

/// The end that the next event tells of.
pub(crate) fn disconnected<A: Application>(run: &A) -> (ConnId, Disconnect) {
    match next(run) {
        Event::Disconnected(conn, reason) => (conn, reason),
        other => panic!("{other:?} instead of an end"),
    }
}

/// Takes this many bytes of a connection, in as many events as they come in.
pub(crate) fn received<A: Application>(run: &A, conn: ConnId, len: usize) -> Vec<u8> {
    let mut all = Vec::new();
    while all.len() < len {
        match next(run) {
            Event::Received(from, bytes) if from == conn => all.extend(bytes),
            other => panic!("{other:?} instead of bytes"),
        }
    }
    assert_eq!(all.len(), len, "more bytes than were sent");
    all
}

/// Gives a command, later if there is no room now.
pub(crate) fn tell<A: Application>(run: &A, command: Command) {
    let mut command = command;
    while let Err(error) = run.command(command) {
        match error {
            CommandError::Full(back) => command = back,
            CommandError::Ended(back) => panic!("the driver has ended before {back:?}"),
        }
        run.rest();
    }
}

/// A connected pair: the machine's dial and the test's socket.
pub(crate) fn dialled<S: Stage>(stage: &S, run: &S::Application) -> (ConnId, S::Stream) {
    let listener = stage.listen(LOOPBACK).unwrap();
    tell(run, Command::Dial(listener.local_addr()));
    let peer = listener.accept().unwrap();
    (connected(run), peer)
}

/// A connected pair: the machine's accept and the test's socket.
pub(crate) fn accepted<S: Stage>(stage: &S, run: &S::Application, addr: SocketAddr) -> (ConnId, S::Stream) {
    let peer = stage.connect(addr).unwrap();
    (connected(run), peer)
}

pub(crate) fn read(peer: &mut impl Stream, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    peer.read_exact(&mut bytes).unwrap();
    bytes
}

/// Writes a pattern beside the case.
pub(crate) fn write_all<S: Stage>(stage: &S, peer: &S::Stream, len: usize) -> S::Work {
    let mut peer = peer.twin();
    stage.work(move || {
        for from in (0..len).step_by(50_000) {
            peer.write_all(&pattern(from, 50_000.min(len - from))).unwrap();
        }
    })
}

/// Takes what is left until the end, and asserts that the driver ended as it should.
pub(crate) fn stop<A: Application>(run: A) -> Vec<Event> {
    run.stop();
    let mut left = Vec::new();
    while let Some(event) = run.recv() {
        left.push(event);
    }
    run.join().unwrap();
    left
}

/// Waits until a condition holds that something else brings about.
pub(crate) fn wait_until<S: Stage>(stage: &S, what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..LIMIT.as_millis() / 5 {
        if holds() {
            return;
        }
        stage.sleep(Duration::from_millis(5));
    }
    panic!("{what} did not come about");
}
