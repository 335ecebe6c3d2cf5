//! Connections: two ends, and what is on the way to each, in order.

use core::net::SocketAddr;
use std::collections::VecDeque;

use andon_kernel::{ConnId, Disconnect};

use super::node::NodeId;
use super::time::Time;

/// One end of a connection that may be over: then its generation is an old one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EndRef {
    pipe: u32,
    /// Twice the generation, and which end.
    generation: u32,
}

impl EndRef {
    pub(super) const fn side(self) -> usize {
        (self.generation & 1) as usize
    }

    pub(super) const fn other(self) -> Self {
        Self { pipe: self.pipe, generation: self.generation ^ 1 }
    }
}

#[derive(Debug)]
pub(super) struct Pipe {
    generation: u32,
    /// As [`Network::latency`](super::network::Network) found it, under which edition of the links.
    pub(super) latency: Option<(u32, u64)>,
    pub(super) ends: [End; 2],
}

#[derive(Debug)]
pub(super) struct End {
    pub(super) node: NodeId,
    pub(super) conn: ConnId,
    /// Where it was dialled to, of the end that did.
    pub(super) remote: Option<SocketAddr>,
    pub(super) state: State,
    /// Whether it counts as one of its node's connections.
    pub(super) has_slot: bool,
    /// Whether nothing more can be sent: the end follows the last byte, or has.
    pub(super) is_shut: bool,
    /// Whether whoever sends here was told that nobody listens any more.
    pub(super) has_reset: bool,
    /// What is on the way here.
    pub(super) incoming: Flow,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Dialled, and its node has not been told of an answer.
    Dialling,
    /// Let in by the system, and its node has not been told.
    Waiting,
    Open,
    /// Closed by its node; what was sent is still going out, or the other side has not closed.
    Lingering,
    /// Over, its socket is closed, and its node is about to be told so.
    Closing,
    /// Its node has been told.
    Gone,
    /// Its node vanished without a word, or was never there.
    Vanished,
}

impl Pipe {
    /// Whether both ends are done with.
    fn is_over(&self) -> bool {
        self.ends.iter().all(|end| matches!(end.state, State::Gone | State::Vanished))
    }
}

impl State {
    /// Whether its node will hear what comes.
    pub(super) const fn is_live(self) -> bool {
        matches!(self, Self::Dialling | Self::Waiting | Self::Open)
    }
}

/// Bytes to one end, in order.
#[derive(Debug, Default)]
pub(super) struct Flow {
    /// On the line. The first one's arrival is in the world's queue if `is_arriving`.
    pub(super) wire: Wire,
    pub(super) is_arriving: bool,
    /// Arrived, and not taken yet.
    pub(super) held: VecDeque<Vec<u8>>,
    /// Whether a delivery of what is held is in the world's queue.
    pub(super) is_releasing: bool,
    pub(super) is_paused: bool,
    /// Waits for room on the line.
    pub(super) backlog: VecDeque<Vec<u8>>,
    pub(super) backlog_bytes: usize,
    /// On the line and held, and how much of it there may be.
    pub(super) window: usize,
    pub(super) most: usize,
    /// When the last of it has left the sender's line, how much of that was put there since the line last had nothing of it, and whether
    /// more waits for that.
    pub(super) leaves: Time,
    pub(super) ahead: usize,
    pub(super) waits_for_line: bool,
    /// Nothing arrives before this.
    pub(super) last: Time,
    /// How often the sender asked to be told when all has gone to the socket.
    pub(super) flushes: u32,
    /// What follows the last byte, and is not on the line yet.
    pub(super) end: Option<Disconnect>,
    /// The end that has come, and whether the node has been told that its other half is open still.
    pub(super) came: Option<Disconnect>,
    pub(super) is_half_told: bool,
    /// Whether bytes that waited to be sent were lost with it: that is told even to who does not read.
    pub(super) has_failed: bool,
    /// When it is given up, as nothing gets through; never, while something does.
    pub(super) gives_up: Time,
}

#[derive(Debug)]
pub(super) struct Segment {
    pub(super) at: Time,
    pub(super) sequence: u64,
    pub(super) what: Carried,
    /// Whether it has gone over the receiver's line.
    pub(super) is_in: bool,
}

/// Segments in order. The first one lies at hand: mostly there is no other.
#[derive(Debug, Default)]
pub(super) struct Wire {
    first: Option<Segment>,
    rest: VecDeque<Segment>,
}

impl Wire {
    pub(super) fn push(&mut self, segment: Segment) {
        match self.first {
            None => self.first = Some(segment),
            Some(_) => self.rest.push_back(segment),
        }
    }

    pub(super) fn pop(&mut self) -> Option<Segment> {
        let first = self.first.take()?;
        self.first = self.rest.pop_front();
        if self.first.is_none() && self.rest.capacity() > 64 {
            self.rest = VecDeque::new();
        }
        Some(first)
    }

    pub(super) const fn first(&mut self) -> Option<&mut Segment> {
        self.first.as_mut()
    }

    /// Forgets what comes after `last`, and gives how many bytes of it there were.
    pub(super) fn forget_after(&mut self, last: Time) -> usize {
        let mut bytes = 0;
        while let Some(segment) =
            self.rest.back().or(self.first.as_ref()).filter(|segment| segment.at > last && !segment.is_in)
        {
            bytes += segment.what.bytes();
            if self.rest.pop_back().is_none() {
                self.first = None;
            }
        }
        bytes
    }
}

#[derive(Debug)]
pub(super) enum Carried {
    Bytes(Vec<u8>),
    End(Disconnect),
}

impl Carried {
    pub(super) const fn bytes(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::End(_) => 0,
        }
    }
}

/// What is on a line, or arrived and not taken, at most, unless a node says otherwise: then the sender waits.
const WINDOW: usize = 4 << 20;
/// What one connection may put before others' bytes on a line that has not carried it yet.
const AHEAD: usize = 64 * 1024;

impl Flow {
    /// Whether the line takes so many bytes more. An idle line takes any piece, so that none waits for ever.
    pub(super) const fn has_room(&self, bytes: usize) -> bool {
        self.window == 0 || self.window + bytes <= self.most
    }

    /// Whether the sender's line takes so many bytes more now, besides those of other connections.
    pub(super) fn has_line(&self, bytes: usize, now: Time) -> bool {
        self.leaves <= now || self.ahead + bytes <= AHEAD
    }

    /// Whether something waits that is not on the line, or that did not get through.
    pub(super) fn is_waiting(&self) -> bool {
        !self.backlog.is_empty() || self.end.is_some() || (!self.is_arriving && self.wire.first.is_some())
    }

    /// Forgets what is on the line and arrives after `last`.
    pub(super) fn forget_after(&mut self, last: Time) {
        self.window -= self.wire.forget_after(last);
    }

    /// Whether it was broken off: what is sent the other way fails.
    pub(super) const fn is_broken(&self) -> bool {
        !matches!(self.came, None | Some(Disconnect::ClosedByPeer))
    }

    /// What is taken from a sender whose socket is closed: all that the socket had not taken yet.
    pub(super) fn forget_queued(&mut self, socket: usize) {
        while self.backlog_bytes > socket {
            let Some(mut last) = self.backlog.pop_back() else { return };
            let too_much = self.backlog_bytes - socket;
            self.backlog_bytes -= last.len();
            if last.len() > too_much {
                last.truncate(last.len() - too_much);
                self.backlog_bytes += last.len();
                self.backlog.push_back(last);
            }
        }
    }
}

impl End {
    const fn new(node: NodeId, conn: ConnId, state: State) -> Self {
        Self {
            node,
            conn,
            remote: None,
            state,
            has_slot: false,
            is_shut: false,
            has_reset: false,
            incoming: Flow::NEW,
        }
    }
}

impl Flow {
    const NEW: Self = Self {
        wire: Wire { first: None, rest: VecDeque::new() },
        is_arriving: false,
        held: VecDeque::new(),
        is_releasing: false,
        is_paused: false,
        backlog: VecDeque::new(),
        backlog_bytes: 0,
        window: 0,
        most: WINDOW,
        leaves: Time::ZERO,
        ahead: 0,
        waits_for_line: false,
        last: Time::ZERO,
        flushes: 0,
        end: None,
        came: None,
        is_half_told: false,
        has_failed: false,
        gives_up: Time::NEVER,
    };
}

/// All connections, in places that are used again.
#[derive(Debug, Default)]
pub(super) struct Pipes {
    places: Vec<Pipe>,
    free: Vec<u32>,
}

impl Pipes {
    /// A connection that a node dials; the other end is nobody yet.
    pub(super) fn open(&mut self, node: NodeId, conn: ConnId) -> EndRef {
        let ends = [End::new(node, conn, State::Dialling), End::new(NodeId(u32::MAX), conn, State::Vanished)];
        if let Some(pipe) = self.free.pop() {
            let place = &mut self.places[pipe as usize];
            place.ends = ends;
            place.latency = None;
            return EndRef { pipe, generation: place.generation };
        }
        let pipe = u32::try_from(self.places.len()).expect("fewer than four thousand million connections");
        self.places.push(Pipe { generation: 0, latency: None, ends });
        EndRef { pipe, generation: 0 }
    }

    /// `None`: it is over.
    pub(super) fn get(&mut self, end: EndRef) -> Option<&mut Pipe> {
        self.places.get_mut(end.pipe as usize).filter(|pipe| pipe.generation == end.generation & !1)
    }

    pub(super) fn end(&mut self, end: EndRef) -> Option<&mut End> {
        self.get(end).map(|pipe| &mut pipe.ends[end.side()])
    }

    /// All that are not over, by their first ends. Takes as long as there are connections.
    pub(super) fn all(&self) -> Vec<EndRef> {
        let all = self.places.iter().zip(0..).filter(|(pipe, _)| !pipe.is_over());
        all.map(|(place, pipe)| EndRef { pipe, generation: place.generation }).collect()
    }

    /// Gives the place back if both ends are done with.
    pub(super) fn release(&mut self, end: EndRef) {
        let Some(pipe) = self.get(end) else { return };
        if pipe.is_over() {
            pipe.generation = pipe.generation.wrapping_add(2);
            for end in &mut pipe.ends {
                end.incoming = Flow::NEW;
            }
            self.free.push(end.pipe);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }
}
