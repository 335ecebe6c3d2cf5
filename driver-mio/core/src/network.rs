//! All connections of a driver: their names and slots, dials, closes and time limits, and which of them have work.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use andon_kernel::{ConnId, Disconnect, Instant, Timers};

use crate::Options;
use crate::connection::{Connection, Dial, Phase, Read, disconnect_reason};
use crate::reactor::Reactor;

/// How long a closed connection may take to send what it holds and to be closed by the other side.
const LINGER: Duration = Duration::from_secs(5);

/// Every TCP connection of the driver.
#[derive(Debug)]
pub(crate) struct Network<R: Reactor> {
    pub(crate) reactor: R,
    max_connections: usize,
    send_queue_bytes: usize,
    connect_timeout: Duration,
    connections: BTreeMap<ConnId, Connection<R::Stream>>,
    slots: Slots,
    /// The limit of a dial or of a close.
    timers: Timers<ConnId>,
    /// Connections that have something for the machine, each once; some may have ended since.
    ready: VecDeque<ConnId>,
    /// Closed ones that have work without the machine.
    closing: VecDeque<ConnId>,
    /// Those that were sent on in the current turn.
    sent: Vec<ConnId>,
    /// What the machine has to be told of ends.
    ended: VecDeque<(ConnId, Disconnect)>,
    accepted: u64,
    /// Whether dials are refused, as the machine has stopped.
    stopped: bool,
}

impl<R: Reactor> Network<R> {
    /// No connection.
    pub(crate) fn new(reactor: R, options: &Options) -> Self {
        Self {
            reactor,
            max_connections: options.max_connections,
            send_queue_bytes: options.send_queue_bytes,
            connect_timeout: options.connect_timeout,
            connections: BTreeMap::new(),
            slots: Slots::default(),
            timers: Timers::new(),
            ready: VecDeque::new(),
            closing: VecDeque::new(),
            sent: Vec::new(),
            ended: VecDeque::new(),
            accepted: 0,
            stopped: false,
        }
    }

    /// Starts to open a connection. A failure, too, is told later.
    pub(crate) fn dial(&mut self, now: Instant, conn: ConnId, addr: SocketAddr) {
        let failure = if self.stopped {
            Disconnect::Closed
        } else if self.connections.len() >= self.max_connections {
            Disconnect::TooManyConnections
        } else {
            let slot = self.slots.take(conn);
            match self.reactor.dial(slot, addr) {
                Ok(stream) => {
                    self.connections.insert(conn, Connection::new(stream, slot, addr, Phase::Connecting));
                    self.timers.set(conn, now + self.connect_timeout);
                    return;
                }
                Err(error) => {
                    self.slots.free(slot);
                    disconnect_reason(&error)
                }
            }
        };
        self.ended.push_back((conn, failure));
    }

    /// Takes in a connection that was accepted, or closes it if there are too many.
    pub(crate) fn accept(&mut self, accepted: R::Accepted, remote: SocketAddr) {
        if self.connections.len() >= self.max_connections {
            return;
        }
        let conn = ConnId::accepted(self.accepted);
        let slot = self.slots.take(conn);
        match self.reactor.open(slot, accepted) {
            Ok(stream) => {
                self.accepted += 1;
                self.connections.insert(conn, Connection::new(stream, slot, remote, Phase::Connected));
                self.queue(conn);
            }
            Err(_) => self.slots.free(slot),
        }
    }

    /// Sends bytes. Nothing happens if the connection has just ended.
    pub(crate) fn send(&mut self, conn: ConnId, bytes: &[u8]) {
        let cap = self.send_queue_bytes;
        let Some(connection) = self.open(conn) else { return };
        if connection.send(bytes, cap).is_err() {
            self.end(conn, Disconnect::SendQueueFull);
        } else if self.sent.last() != Some(&conn) {
            self.sent.push(conn);
        }
    }

    /// Writes what the turn's effects left in send queues.
    pub(crate) fn end_turn(&mut self) {
        while let Some(conn) = self.sent.pop() {
            if let Some(connection) = self.connections.get_mut(&conn) {
                connection.write_queue();
            }
            self.queue(conn);
        }
    }

    /// Answers once when everything sent so far has gone.
    pub(crate) fn flush(&mut self, conn: ConnId) {
        if let Some(connection) = self.open(conn) {
            connection.flush();
            self.queue(conn);
        }
    }

    /// Stops reading, or goes on.
    pub(crate) fn pause(&mut self, conn: ConnId, paused: bool) {
        if let Some(connection) = self.open(conn) {
            connection.paused = paused;
            self.queue(conn);
        }
    }

    /// Closes, after what was sent has gone if `flush`.
    pub(crate) fn close(&mut self, now: Instant, conn: ConnId, flush: bool) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        match connection.phase {
            Phase::Closing { .. } => {}
            Phase::Open if flush && !connection.is_broken() => {
                connection.begin_closing();
                self.timers.set(conn, now + LINGER);
                self.queue_closing(conn);
            }
            Phase::Connecting | Phase::Connected | Phase::Open => self.end(conn, Disconnect::Closed),
        }
    }

    /// The machine has stopped: closes what it left open, and opens nothing more.
    pub(crate) fn stop(&mut self, now: Instant) {
        self.stopped = true;
        let open: Vec<ConnId> = self.connections.keys().copied().collect();
        for conn in open {
            self.close(now, conn, true);
        }
    }

    /// Ends connections whose time is up.
    pub(crate) fn expire(&mut self, now: Instant) {
        while let Some(conn) = self.timers.expire(now) {
            let Some(connection) = self.connections.get(&conn) else { continue };
            let reason = match connection.phase {
                Phase::Closing { .. } => Disconnect::Closed,
                Phase::Connecting | Phase::Connected | Phase::Open => Disconnect::TimedOut,
            };
            self.end(conn, reason);
        }
    }

    /// When [`expire`](Self::expire) is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Notes what the reactor tells of a connection, and does what needs no machine.
    pub(crate) fn notice(&mut self, slot: usize, readable: bool, writable: bool) {
        let Some(conn) = self.slots.conn(slot) else { return };
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        if connection.phase == Phase::Connecting {
            match connection.check_dial() {
                Dial::Pending => return,
                Dial::Failed(reason) => return self.end(conn, reason),
                Dial::Connected => {
                    connection.set_connected();
                    self.timers.cancel(conn);
                }
            }
        }
        if readable {
            connection.set_readable();
        }
        if writable {
            connection.set_writable();
            connection.write_queue();
        }
        if matches!(connection.phase, Phase::Closing { .. }) {
            self.queue_closing(conn);
        } else {
            self.queue(conn);
        }
    }

    /// Goes on with closed connections: one bounded piece of work for each that has some.
    pub(crate) fn serve_closing(&mut self, buffer: &mut [u8]) {
        for _ in 0..self.closing.len() {
            let Some(conn) = self.closing.pop_front() else { return };
            let Some(connection) = self.connections.get_mut(&conn) else { continue };
            connection.queued_closing = false;
            let more = connection.close_on(buffer);
            if connection.is_over() {
                self.end(conn, Disconnect::Closed);
            } else if more {
                self.queue_closing(conn);
            }
        }
    }

    fn queue_closing(&mut self, conn: ConnId) {
        if let Some(connection) = self.connections.get_mut(&conn)
            && !connection.queued_closing
        {
            connection.queued_closing = true;
            self.closing.push_back(conn);
        }
    }

    /// Whether closed connections have work now.
    pub(crate) fn has_closing(&self) -> bool {
        !self.closing.is_empty()
    }

    /// The next end that the machine has to be told of.
    pub(crate) fn take_ended(&mut self) -> Option<(ConnId, Disconnect)> {
        self.ended.pop_front()
    }

    /// How many ends the machine has to be told of.
    pub(crate) fn ended(&self) -> usize {
        self.ended.len()
    }

    /// How many connections may have something for the machine.
    pub(crate) fn ready(&self) -> usize {
        self.ready.len()
    }

    /// The next connection that has something for the machine.
    pub(crate) fn take_ready(&mut self) -> Option<ConnId> {
        while let Some(conn) = self.ready.pop_front() {
            if let Some(connection) = self.connections.get_mut(&conn) {
                connection.queued = false;
                if connection.has_input() {
                    return Some(conn);
                }
            }
        }
        None
    }

    /// Lists a connection if it has something for the machine.
    pub(crate) fn queue(&mut self, conn: ConnId) {
        if let Some(connection) = self.connections.get_mut(&conn)
            && !connection.queued
            && connection.has_input()
        {
            connection.queued = true;
            self.ready.push_back(conn);
        }
    }

    /// Opens a connection that is about to be announced to the machine. Returns its other end.
    pub(crate) fn take_connected(&mut self, conn: ConnId) -> Option<SocketAddr> {
        let connection = self.connections.get_mut(&conn)?;
        if connection.phase != Phase::Connected {
            return None;
        }
        connection.phase = Phase::Open;
        Some(connection.remote)
    }

    /// Takes out one flush that is done.
    pub(crate) fn take_drained(&mut self, conn: ConnId) -> bool {
        self.connections.get_mut(&conn).is_some_and(|connection| connection.take_drained())
    }

    /// Reads bytes for the machine. How many; none: there are none, or the connection has ended.
    pub(crate) fn read(&mut self, conn: ConnId, buffer: &mut [u8]) -> Option<usize> {
        match self.connections.get_mut(&conn)?.read(buffer) {
            Read::Bytes(count) => Some(count),
            Read::Nothing => None,
            Read::Ended(reason) => {
                self.end(conn, reason);
                None
            }
        }
    }

    /// Whether there is no connection, and no end that has not been told.
    pub(crate) fn is_empty(&self) -> bool {
        self.connections.is_empty() && self.ended.is_empty()
    }

    /// A connection that the machine may use.
    fn open(&mut self, conn: ConnId) -> Option<&mut Connection<R::Stream>> {
        self.connections.get_mut(&conn).filter(|connection| connection.phase == Phase::Open)
    }

    /// Forgets a connection, closes its socket and notes that the machine has to be told.
    fn end(&mut self, conn: ConnId, reason: Disconnect) {
        let Some(connection) = self.connections.remove(&conn) else { return };
        self.reactor.close(connection.stream);
        self.slots.free(connection.slot);
        self.timers.cancel(conn);
        // What was accepted and never announced ends unseen.
        if !(conn.is_accepted() && connection.phase == Phase::Connected) {
            self.ended.push_back((conn, reason));
        }
    }
}

/// Which slot stands for which connection. Slots are used again: a late notice for an earlier holder only makes the
/// driver look at a socket for nothing.
#[derive(Debug, Default)]
struct Slots {
    holders: Vec<Option<ConnId>>,
    free: Vec<usize>,
}

impl Slots {
    fn take(&mut self, conn: ConnId) -> usize {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.holders.push(None);
            self.holders.len() - 1
        });
        self.holders[slot] = Some(conn);
        slot
    }

    fn free(&mut self, slot: usize) {
        self.holders[slot] = None;
        self.free.push(slot);
    }

    fn conn(&self, slot: usize) -> Option<ConnId> {
        self.holders.get(slot).copied().flatten()
    }
}
