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

/// In six lines of the cache: of ten thousand connections each is looked at when the others have driven it out, and waiting for memory is
/// what a world of many nodes does most.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Pipe {
    pub(super) ends: [End; 2],
    generation: u32,
    /// Under which edition of the links the latency was found; zero: it was not.
    pub(super) edition: u32,
    /// As [`Network::latency`](super::Network) found it.
    pub(super) latency: u64,
}

const _: () = assert!(size_of::<Pipe>() == 384, "a connection takes six lines of the cache");

#[derive(Debug)]
pub(super) struct End {
    pub(super) node: NodeId,
    pub(super) conn: ConnId,
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
#[derive(Debug)]
pub(super) struct Flow {
    /// On the line. The first one's arrival is in the world's queue if `is_arriving`.
    pub(super) wire: Wire,
    pub(super) is_arriving: bool,
    /// Arrived, and not taken yet.
    pub(super) held: Row<Vec<u8>>,
    /// Whether a delivery of what is held is in the world's queue.
    pub(super) is_releasing: bool,
    pub(super) is_paused: bool,
    /// Waits for room on the line.
    pub(super) backlog: Backlog,
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
}

/// Segments in order. The first one lies at hand: mostly there is no other.
///
/// It is no `Option`: to take that out of its place copies what is not there as well, and waits for it.
#[derive(Debug)]
pub(super) struct Wire {
    is_empty: bool,
    /// Whether the first one has gone over the receiver's line.
    pub(super) is_in: bool,
    first: Segment,
    rest: VecDeque<Segment>,
}

impl Wire {
    const NEW: Self = Self {
        is_empty: true,
        is_in: false,
        first: Segment { at: Time::ZERO, sequence: 0, what: Carried::Bytes(Vec::new()) },
        rest: VecDeque::new(),
    };

    pub(super) fn push(&mut self, segment: Segment) {
        if core::mem::take(&mut self.is_empty) {
            self.first = segment;
        } else {
            self.rest.push_back(segment);
        }
    }

    pub(super) fn pop(&mut self) -> Option<Carried> {
        if self.is_empty {
            return None;
        }
        self.is_in = false;
        let first = core::mem::replace(&mut self.first.what, Carried::Bytes(Vec::new()));
        match self.rest.pop_front() {
            None => self.is_empty = true,
            Some(next) => {
                self.first = next;
                if self.rest.is_empty() && self.rest.capacity() > KEPT {
                    self.rest = VecDeque::new();
                }
            }
        }
        Some(first)
    }

    pub(super) const fn first(&mut self) -> Option<&mut Segment> {
        if self.is_empty { None } else { Some(&mut self.first) }
    }

    /// Forgets what comes after `last`, and gives how many bytes of it there were.
    pub(super) fn forget_after(&mut self, last: Time) -> usize {
        let mut bytes = 0;
        while let Some(segment) = self.rest.back().filter(|segment| segment.at > last) {
            bytes += segment.what.bytes();
            self.rest.pop_back();
        }
        if self.rest.is_empty() && !self.is_empty && !self.is_in && self.first.at > last {
            bytes += self.first.what.bytes();
            (self.is_empty, self.first.what) = (true, Carried::Bytes(Vec::new()));
        }
        bytes
    }
}

/// What an emptied queue of a connection keeps its memory for.
const KEPT: usize = 4;

/// A queue that is mostly empty, and then no more than a pointer.
#[expect(clippy::box_collection, reason = "it lies apart, for it is mostly not there")]
#[derive(Debug)]
pub(super) struct Row<T>(Option<Box<VecDeque<T>>>);

impl<T> Default for Row<T> {
    fn default() -> Self {
        Self::NEW
    }
}

impl<T> Row<T> {
    const NEW: Self = Self(None);

    pub(super) fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(|row| row.is_empty())
    }

    pub(super) fn push_back(&mut self, what: T) {
        self.0.get_or_insert_default().push_back(what);
    }

    pub(super) fn pop_front(&mut self) -> Option<T> {
        let row = self.0.as_mut()?;
        let first = row.pop_front();
        if row.is_empty() && row.capacity() > KEPT {
            self.0 = None;
        }
        first
    }

    /// Takes everything out.
    pub(super) fn take(&mut self) -> impl Iterator<Item = T> + use<T> {
        self.0.take().into_iter().flat_map(|row| *row)
    }
}

/// Bytes that wait for room on a line.
#[derive(Debug, Default)]
pub(super) struct Backlog(Option<Box<(VecDeque<Vec<u8>>, usize)>>);

impl Backlog {
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// How many bytes.
    pub(super) fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |backlog| backlog.1)
    }

    pub(super) fn push_back(&mut self, piece: Vec<u8>) {
        let (pieces, bytes) = &mut **self.0.get_or_insert_default();
        *bytes += piece.len();
        pieces.push_back(piece);
    }

    /// How long the first piece is.
    pub(super) fn first(&self) -> Option<usize> {
        self.0.as_ref()?.0.front().map(Vec::len)
    }

    pub(super) fn pop_front(&mut self) -> Option<Vec<u8>> {
        let (pieces, bytes) = &mut **self.0.as_mut()?;
        let piece = pieces.pop_front()?;
        *bytes -= piece.len();
        if pieces.is_empty() {
            self.0 = None;
        }
        Some(piece)
    }

    /// Forgets the last of it, so that so many bytes are left.
    fn truncate(&mut self, left: usize) {
        while self.bytes() > left {
            let Some((pieces, bytes)) = self.0.as_deref_mut() else { return };
            let Some(mut last) = pieces.pop_back() else { return };
            let too_much = *bytes - left;
            *bytes -= last.len();
            if last.len() > too_much {
                last.truncate(last.len() - too_much);
                *bytes += last.len();
                pieces.push_back(last);
            }
            if pieces.is_empty() {
                self.0 = None;
            }
        }
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
        !self.backlog.is_empty() || self.end.is_some() || (!self.is_arriving && !self.wire.is_empty)
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
        self.backlog.truncate(socket);
    }
}

impl End {
    const fn new(node: NodeId, conn: ConnId, state: State) -> Self {
        Self { node, conn, state, has_slot: false, is_shut: false, has_reset: false, incoming: Flow::NEW }
    }
}

impl Flow {
    const NEW: Self = Self {
        wire: Wire::NEW,
        is_arriving: false,
        held: Row::NEW,
        is_releasing: false,
        is_paused: false,
        backlog: Backlog(None),
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
    /// For each, where it was dialled to.
    remotes: Vec<SocketAddr>,
    free: Vec<u32>,
}

impl Pipes {
    /// A connection that a node dials; the other end is nobody yet.
    pub(super) fn open(&mut self, node: NodeId, conn: ConnId, remote: SocketAddr) -> EndRef {
        let ends = [End::new(node, conn, State::Dialling), End::new(NodeId(u32::MAX), conn, State::Vanished)];
        if let Some(pipe) = self.free.pop() {
            let place = &mut self.places[pipe as usize];
            place.ends = ends;
            place.edition = 0;
            self.remotes[pipe as usize] = remote;
            return EndRef { pipe, generation: place.generation };
        }
        let pipe = u32::try_from(self.places.len()).expect("fewer than four thousand million connections");
        self.places.push(Pipe { ends, generation: 0, edition: 0, latency: 0 });
        self.remotes.push(remote);
        EndRef { pipe, generation: 0 }
    }

    /// Where a connection that is not over was dialled to.
    pub(super) fn remote(&self, end: EndRef) -> SocketAddr {
        self.remotes[end.pipe as usize]
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

    /// Has a connection come into the cache.
    pub(super) fn look_at(&self, end: EndRef) -> u64 {
        let Some(Pipe { ends: [a, b], latency, .. }) = self.places.get(end.pipe as usize) else { return 0 };
        // Of each of the lines that an end lies in.
        let look = |End { node, conn, incoming, .. }: &End| {
            let Flow { wire, window, most, last, flushes, .. } = incoming;
            let (at, rest) = (wire.first.at.as_nanos(), !wire.rest.is_empty());
            let numbers = [conn.as_u64(), last.as_nanos(), *window as u64, *most as u64, at];
            numbers.iter().fold(u64::from(node.0 ^ flushes ^ u32::from(rest)), |sum, number| sum ^ number)
        };
        look(a) ^ look(b) ^ latency
    }

    /// Has bytes that come to an end come into the cache, and what is behind them.
    pub(super) fn look_behind(&self, end: EndRef) -> u8 {
        let Some(pipe) = self.places.get(end.pipe as usize) else { return 0 };
        let Wire { first, rest, .. } = &pipe.ends[end.side()].incoming.wire;
        let first = match &first.what {
            Carried::Bytes(bytes) => bytes.first().copied().unwrap_or(0),
            Carried::End(_) => 0,
        };
        first ^ rest.front().map_or(0, |next| next.at.as_nanos() as u8)
    }

    /// Whose an end is, or was.
    pub(super) fn node_of(&self, end: EndRef) -> NodeId {
        self.places.get(end.pipe as usize).map_or(NodeId(u32::MAX), |pipe| pipe.ends[end.side()].node)
    }

    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }
}
