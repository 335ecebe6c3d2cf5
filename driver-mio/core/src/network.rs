//! All connections of a driver: their names and slots, dials, closes and time limits, and which of them have work.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use andon_kernel::{ConnId, Disconnect, Instant, Timers};

use crate::Options;
use crate::connection::{Connection, Dial, Phase, Read, disconnect_reason};
use crate::reactor::Reactor;
use crate::slots::{Place, Slots};

/// How long a closed connection may take to send what it holds and to be closed by the other side.
const LINGER: Duration = Duration::from_secs(5);

/// Every TCP connection of the driver.
#[derive(Debug)]
pub(crate) struct Network<R: Reactor> {
    pub(crate) reactor: R,
    max_connections: usize,
    send_queue_bytes: usize,
    connect_timeout: Duration,
    connections: Slots<Connection<R::Stream>>,
    /// The limit of a dial or of a close.
    timers: Timers<ConnId>,
    /// Connections that have something for the machine, each once; some may have ended since.
    ready: VecDeque<Place>,
    /// Closed ones that have work without the machine.
    closing: VecDeque<Place>,
    /// Others that have: a dial of which something is known, a socket that takes more.
    noticed: VecDeque<Place>,
    /// Those that were sent on in the current turn.
    sent: Vec<Place>,
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
            connections: Slots::new(),
            timers: Timers::new(),
            ready: VecDeque::new(),
            closing: VecDeque::new(),
            noticed: VecDeque::new(),
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
            let slot = self.connections.take();
            match self.reactor.dial(slot, addr) {
                Ok(stream) => {
                    let connection = Connection::new(stream, addr, Phase::Connecting);
                    self.connections.insert(Place { conn, slot }, connection);
                    self.timers.set(conn, now + self.connect_timeout);
                    return;
                }
                Err(error) => {
                    self.connections.give_back(slot);
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
        let slot = self.connections.take();
        match self.reactor.open(slot, accepted) {
            Ok(stream) => {
                let place = Place { conn: ConnId::accepted(self.accepted), slot };
                self.accepted += 1;
                self.connections.insert(place, Connection::new(stream, remote, Phase::Connected));
                self.queue(place);
            }
            Err(_) => self.connections.give_back(slot),
        }
    }

    /// Sends bytes. Nothing happens if the connection has just ended.
    pub(crate) fn send(&mut self, conn: ConnId, bytes: &[u8]) {
        let cap = self.send_queue_bytes;
        let Some((place, connection)) = self.open(conn) else { return };
        if connection.send(bytes, cap).is_err() {
            self.end(place, Disconnect::SendQueueFull);
        } else if self.sent.last() != Some(&place) {
            self.sent.push(place);
        }
    }

    /// Writes what the turn's effects left in send queues.
    pub(crate) fn end_turn(&mut self) {
        while let Some(place) = self.sent.pop() {
            if let Some(connection) = self.connections.get_mut(place) {
                connection.write_queue();
            }
            self.queue(place);
        }
    }

    /// Answers once when everything sent so far has gone.
    pub(crate) fn flush(&mut self, conn: ConnId) {
        if let Some((place, connection)) = self.open(conn) {
            connection.flush();
            self.queue(place);
        }
    }

    /// Stops reading, or goes on.
    pub(crate) fn pause(&mut self, conn: ConnId, paused: bool) {
        if let Some((place, connection)) = self.open(conn) {
            connection.paused = paused;
            self.queue(place);
        }
    }

    /// Closes, after what was sent has gone if `flush`.
    pub(crate) fn close(&mut self, now: Instant, conn: ConnId, flush: bool) {
        let Some((place, connection)) = self.find(conn) else { return };
        match connection.phase {
            Phase::Closing { .. } => {}
            Phase::Open if flush && !connection.is_broken() => {
                connection.begin_closing();
                self.timers.set(conn, now + LINGER);
                self.queue_closing(place);
            }
            Phase::Connecting | Phase::Connected | Phase::Open => self.end(place, Disconnect::Closed),
        }
    }

    /// The machine has stopped: closes what it left open, and opens nothing more.
    pub(crate) fn stop(&mut self, now: Instant) {
        self.stopped = true;
        for conn in self.connections.names() {
            self.close(now, conn, true);
        }
    }

    /// Ends connections whose time is up.
    pub(crate) fn expire(&mut self, now: Instant) {
        while let Some(conn) = self.timers.expire(now) {
            let Some((place, connection)) = self.find(conn) else { continue };
            let reason = match connection.phase {
                Phase::Closing { .. } => Disconnect::Closed,
                // It may have been answered in time, and not looked at.
                Phase::Connecting if connection.queued_noticed => match connection.check_dial() {
                    Dial::Pending => Disconnect::TimedOut,
                    Dial::Failed(reason) => reason,
                    Dial::Connected => {
                        connection.set_connected();
                        self.queue(place);
                        continue;
                    }
                },
                Phase::Connecting | Phase::Connected | Phase::Open => Disconnect::TimedOut,
            };
            self.end(place, reason);
        }
    }

    /// When [`expire`](Self::expire) is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Notes what the reactor tells of a connection. What is to be done about it is done in rounds: however much is told at
    /// once, it keeps nobody waiting.
    pub(crate) fn notice(&mut self, slot: usize, readable: bool, writable: bool, ended: bool) {
        let Some(place) = self.connections.holder(slot) else { return };
        let Some(connection) = self.connections.get_mut(place) else { return };
        if ended {
            connection.set_ended();
        }
        if readable {
            connection.set_readable();
        }
        if writable {
            connection.set_writable();
        }
        match connection.phase {
            Phase::Closing { .. } => self.queue_closing(place),
            Phase::Connecting => self.queue_noticed(place),
            Phase::Connected | Phase::Open => {
                if connection.can_write() {
                    self.queue_noticed(place);
                }
                self.queue(place);
            }
        }
    }

    /// Goes on with one connection of which something was noticed: one bounded piece of work.
    pub(crate) fn serve_noticed(&mut self) {
        let Some(place) = self.noticed.pop_front() else { return };
        let Some(connection) = self.connections.get_mut(place) else { return };
        connection.queued_noticed = false;
        match connection.phase {
            Phase::Connecting => match connection.check_dial() {
                Dial::Pending => return,
                Dial::Failed(reason) => return self.end(place, reason),
                Dial::Connected => {
                    connection.set_connected();
                    self.timers.cancel(place.conn);
                }
            },
            Phase::Connected | Phase::Open => connection.write_queue(),
            // It was closed meanwhile, and is in that list.
            Phase::Closing { .. } => return,
        }
        self.queue(place);
    }

    /// Goes on with one closed connection: one bounded piece of work.
    pub(crate) fn serve_closing(&mut self, buffer: &mut [u8]) {
        let Some(place) = self.closing.pop_front() else { return };
        let Some(connection) = self.connections.get_mut(place) else { return };
        connection.queued_closing = false;
        let more = connection.close_on(buffer);
        if connection.is_over() {
            self.end(place, Disconnect::Closed);
        } else if more {
            self.queue_closing(place);
        }
    }

    fn queue_noticed(&mut self, place: Place) {
        if let Some(connection) = self.connections.get_mut(place)
            && !connection.queued_noticed
        {
            connection.queued_noticed = true;
            self.noticed.push_back(place);
        }
    }

    fn queue_closing(&mut self, place: Place) {
        if let Some(connection) = self.connections.get_mut(place)
            && !connection.queued_closing
        {
            connection.queued_closing = true;
            self.closing.push_back(place);
        }
    }

    /// How many closed connections may have work now.
    pub(crate) fn closing(&self) -> usize {
        self.closing.len()
    }

    /// How many others may have work that needs no machine.
    pub(crate) fn noticed(&self) -> usize {
        self.noticed.len()
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
    pub(crate) fn take_ready(&mut self) -> Option<Place> {
        while let Some(place) = self.ready.pop_front() {
            if let Some(connection) = self.connections.get_mut(place) {
                connection.queued = false;
                if connection.has_input() {
                    return Some(place);
                }
            }
        }
        None
    }

    /// Lists a connection if it has something for the machine.
    pub(crate) fn queue(&mut self, place: Place) {
        if let Some(connection) = self.connections.get_mut(place)
            && !connection.queued
            && connection.has_input()
        {
            connection.queued = true;
            self.ready.push_back(place);
        }
    }

    /// Opens a connection that is about to be announced to the machine. Returns its other end.
    pub(crate) fn take_connected(&mut self, place: Place) -> Option<SocketAddr> {
        let connection = self.connections.get_mut(place)?;
        if connection.phase != Phase::Connected {
            return None;
        }
        connection.phase = Phase::Open;
        Some(connection.remote)
    }

    /// Takes out one flush that is done.
    pub(crate) fn take_drained(&mut self, place: Place) -> bool {
        self.connections.get_mut(place).is_some_and(|connection| connection.take_drained())
    }

    /// Reads bytes for the machine. How many; none: there are none, or the connection has ended.
    pub(crate) fn read(&mut self, place: Place, buffer: &mut [u8]) -> Option<usize> {
        match self.connections.get_mut(place)?.read(buffer) {
            Read::Bytes(count) => Some(count),
            Read::Nothing => None,
            Read::Ended(reason) => {
                self.end(place, reason);
                None
            }
        }
    }

    /// Whether a connection has something for the machine.
    pub(crate) fn has_input(&mut self, place: Place) -> bool {
        self.connections.get_mut(place).is_some_and(|connection| connection.has_input())
    }

    /// Whether there is no connection, and no end that has not been told.
    pub(crate) fn is_empty(&self) -> bool {
        self.connections.is_empty() && self.ended.is_empty()
    }

    fn find(&mut self, conn: ConnId) -> Option<(Place, &mut Connection<R::Stream>)> {
        let place = self.connections.find(conn)?;
        Some((place, self.connections.get_mut(place)?))
    }

    /// A connection that the machine may use.
    fn open(&mut self, conn: ConnId) -> Option<(Place, &mut Connection<R::Stream>)> {
        self.find(conn).filter(|(_, connection)| connection.phase == Phase::Open)
    }

    /// Forgets a connection, closes its socket and notes that the machine has to be told.
    fn end(&mut self, place: Place, reason: Disconnect) {
        let Some(connection) = self.connections.remove(place) else { return };
        self.reactor.close(connection.stream);
        let conn = place.conn;
        self.timers.cancel(conn);
        // What was accepted and never announced ends unseen.
        if !(conn.is_accepted() && connection.phase == Phase::Connected) {
            self.ended.push_back((conn, reason));
        }
    }
}
