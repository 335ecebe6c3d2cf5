//! One TCP connection: what is known of its socket, and the bytes that wait to be sent on it.
//!
//! Edge-triggered: a reactor tells of readiness once, so it is remembered here until the socket says `WouldBlock`.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::task::Poll;

use andon_kernel::Disconnect;

use crate::reactor::Stream;

/// Sent bytes wait for the end of the turn up to this size, so that small messages go out together.
const GATHERED_BYTES: usize = 16 * 1024;

/// Memory that an empty send queue keeps; a burst's surplus goes back.
const KEPT_BYTES: usize = 64 * 1024;

/// How often a closed connection is read from in one round.
const DISCARDS_PER_ROUND: usize = 4;

/// A socket and where it stands.
#[derive(Debug)]
pub(crate) struct Connection<S> {
    pub(crate) stream: S,
    pub(crate) remote: SocketAddr,
    pub(crate) phase: Phase,
    /// Not to be read from, says the machine.
    pub(crate) paused: bool,
    /// Waits in the network's list of connections with input.
    pub(crate) queued: bool,
    /// Waits in the network's list of closed connections with work.
    pub(crate) queued_closing: bool,
    /// Waits in the network's list of others that have work without the machine.
    pub(crate) queued_noticed: bool,
    /// There may be something to read, if only the end.
    readable: bool,
    /// The other side has ended, or will send no more: after all that can be read there is that to be read.
    ended: bool,
    /// The socket may take bytes.
    writable: bool,
    /// Writing failed, for this reason. What can still be read comes before the machine is told.
    broken: Option<Disconnect>,
    /// After a close: the other side has closed its half too.
    read_closed: bool,
    send_queue: VecDeque<u8>,
    /// How many bytes were put in the send queue, ever.
    sent: u64,
    /// How many had been at each flush that has not been answered.
    flushes: VecDeque<u64>,
}

/// From the dial or the accept to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Dialled; the other side has not answered.
    Connecting,
    /// Open, and the machine has not been told.
    Connected,
    /// Open.
    Open,
    /// The machine has closed it; what was sent is still going out, or the other side has not closed its half.
    Closing {
        /// Whether everything went out and our half is closed.
        shut: bool,
    },
}

/// What became of a dial so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dial {
    Pending,
    Connected,
    Failed(Disconnect),
}

/// What reading gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// This many bytes, more than none.
    Bytes(usize),
    /// There is nothing to read now, or it must not be read.
    Nothing,
    /// The connection has ended.
    Ended(Disconnect),
}

/// The send queue's cap was reached.
#[derive(Debug)]
pub(crate) struct SendQueueFull;

impl<S: Stream> Connection<S> {
    pub(crate) fn new(stream: S, remote: SocketAddr, phase: Phase) -> Self {
        let connection = Self {
            stream,
            remote,
            phase,
            paused: false,
            queued: false,
            queued_closing: false,
            queued_noticed: false,
            readable: true,
            ended: false,
            writable: true,
            broken: None,
            read_closed: false,
            send_queue: VecDeque::new(),
            sent: 0,
            flushes: VecDeque::new(),
        };
        if phase == Phase::Connected {
            connection.send_at_once();
        }
        connection
    }

    /// The dial has succeeded.
    pub(crate) fn set_connected(&mut self) {
        self.phase = Phase::Connected;
        self.send_at_once();
    }

    /// Small messages must not wait for an answer to earlier ones.
    fn send_at_once(&self) {
        // A socket that refuses has ended, and reading will tell.
        let _ = self.stream.set_nodelay();
    }

    /// Looks what became of a dial, after the socket reported something.
    pub(crate) fn check_dial(&mut self) -> Dial {
        match self.stream.poll_dial() {
            Poll::Pending => Dial::Pending,
            Poll::Ready(Err(error)) => Dial::Failed(disconnect_reason(&error)),
            Poll::Ready(Ok(())) => match (self.stream.local_addr(), self.stream.peer_addr()) {
                // On loopback a socket that dials a port nobody listens on may be given that port, and so meet itself.
                (Ok(local), Ok(peer)) if local == peer => Dial::Failed(Disconnect::Refused),
                _ => Dial::Connected,
            },
        }
    }

    pub(crate) fn set_readable(&mut self) {
        self.readable = true;
    }

    pub(crate) fn set_ended(&mut self) {
        self.ended = true;
    }

    pub(crate) fn set_writable(&mut self) {
        self.writable = true;
    }

    /// Whether the machine has something to hear from this connection.
    pub(crate) fn has_input(&self) -> bool {
        match self.phase {
            Phase::Connecting | Phase::Closing { .. } => false,
            Phase::Connected => true,
            Phase::Open => self.broken.is_some() || self.is_drained() || (self.readable && !self.paused),
        }
    }

    /// Whether writing failed, so that nothing more will go out.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    /// Whether bytes wait that the socket may take now.
    pub(crate) fn can_write(&self) -> bool {
        self.writable && !self.send_queue.is_empty()
    }

    /// Sends bytes after those that wait, or lets them wait too, `cap` at most.
    pub(crate) fn send(&mut self, bytes: &[u8], cap: usize) -> Result<(), SendQueueFull> {
        let mut rest = bytes;
        if self.send_queue.len() + rest.len() > GATHERED_BYTES {
            self.write_queue();
            if self.send_queue.is_empty() {
                rest = &rest[self.write(rest)..];
            }
        }
        if self.broken.is_some() {
            return Ok(());
        }
        if self.send_queue.len() + rest.len() > cap {
            return Err(SendQueueFull);
        }
        self.send_queue.extend(rest);
        self.sent += bytes.len() as u64;
        Ok(())
    }

    /// Gives the socket what waits, as much as it takes.
    pub(crate) fn write_queue(&mut self) {
        while self.can_write() {
            let (mut head, tail) = self.send_queue.as_slices();
            if head.is_empty() {
                head = tail;
            }
            match self.stream.write(head) {
                Ok(taken) => {
                    self.send_queue.drain(..taken);
                }
                Err(error) => self.write_failed(&error),
            }
        }
        if self.send_queue.is_empty() {
            self.send_queue.shrink_to(KEPT_BYTES);
        }
    }

    /// Writes past the queue, which is empty. Returns how much the socket took.
    fn write(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while self.writable && self.broken.is_none() && taken < bytes.len() {
            match self.stream.write(&bytes[taken..]) {
                Ok(more) => taken += more,
                Err(error) => self.write_failed(&error),
            }
        }
        taken
    }

    fn write_failed(&mut self, error: &io::Error) {
        match error.kind() {
            ErrorKind::Interrupted => {}
            ErrorKind::WouldBlock => self.writable = false,
            _ => {
                self.broken = Some(disconnect_reason(error));
                self.writable = false;
                self.readable = true; // What came before the end is read first; then reading tells of the end.
                self.send_queue = VecDeque::new();
                self.flushes = VecDeque::new();
            }
        }
    }

    /// Asks for [`take_drained`](Self::take_drained) to be true once more when everything sent so far has gone.
    pub(crate) fn flush(&mut self) {
        if self.broken.is_none() {
            self.flushes.push_back(self.sent);
        }
    }

    fn is_drained(&self) -> bool {
        let gone = self.sent - self.send_queue.len() as u64;
        self.flushes.front().is_some_and(|&flush| flush <= gone)
    }

    /// Takes out one flush that is done.
    pub(crate) fn take_drained(&mut self) -> bool {
        let drained = self.phase == Phase::Open && self.is_drained();
        if drained {
            self.flushes.pop_front();
        }
        drained
    }

    /// Reads once into `buffer`, for the machine.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Read {
        if self.phase != Phase::Open {
            return Read::Nothing;
        }
        match (self.broken, self.paused) {
            (Some(reason), true) => return Read::Ended(reason),
            (None, true) => return Read::Nothing,
            (_, false) => {}
        }
        match (self.read_once(buffer), self.broken) {
            (Read::Nothing | Read::Ended(_), Some(reason)) => Read::Ended(reason),
            (read, _) => read,
        }
    }

    fn read_once(&mut self, buffer: &mut [u8]) -> Read {
        while self.readable {
            match self.stream.read(buffer) {
                Ok(0) => return Read::Ended(Disconnect::ClosedByPeer),
                Ok(count) => {
                    // One look less at a socket that has no more, which is most of them each time.
                    if count < buffer.len() && !self.ended && self.stream.is_emptied() {
                        self.readable = false;
                    }
                    return Read::Bytes(count);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.readable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Read::Ended(disconnect_reason(&error)),
            }
        }
        Read::Nothing
    }

    /// The machine has closed it: no flush is answered any more.
    pub(crate) fn begin_closing(&mut self) {
        self.phase = Phase::Closing { shut: false };
        self.flushes = VecDeque::new();
    }

    /// One bounded piece of what is left to do after a close. Whether there is more at once.
    pub(crate) fn close_on(&mut self, buffer: &mut [u8]) -> bool {
        self.write_queue();
        if self.phase == (Phase::Closing { shut: false }) && self.send_queue.is_empty() {
            // So the other side sees the end after the last byte. If it fails the connection is gone; reading tells.
            let _ = self.stream.shut();
            self.phase = Phase::Closing { shut: true };
        }
        // What comes is thrown away: closing with unread bytes would make the system take back what we sent last.
        for _ in 0..DISCARDS_PER_ROUND {
            match self.read_once(buffer) {
                Read::Bytes(_) => {}
                Read::Nothing => return false,
                Read::Ended(Disconnect::ClosedByPeer) => {
                    self.read_closed = true;
                    self.readable = false;
                    return false;
                }
                Read::Ended(reason) => {
                    self.broken = Some(reason);
                    return false;
                }
            }
        }
        true
    }

    /// Whether nothing is left to do after a close.
    pub(crate) fn is_over(&self) -> bool {
        self.broken.is_some() || (self.read_closed && self.phase == (Phase::Closing { shut: true }))
    }
}

/// What a machine is told of an error.
pub(crate) fn disconnect_reason(error: &io::Error) -> Disconnect {
    match error.kind() {
        ErrorKind::ConnectionRefused => Disconnect::Refused,
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => {
            Disconnect::Reset
        }
        ErrorKind::TimedOut => Disconnect::TimedOut,
        ErrorKind::HostUnreachable
        | ErrorKind::NetworkUnreachable
        | ErrorKind::NetworkDown
        | ErrorKind::AddrNotAvailable => Disconnect::Unreachable,
        _ => Disconnect::Failed,
    }
}
