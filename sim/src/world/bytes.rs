//! Bytes on their way: from a sender's queue to its socket, over the line, and to whoever takes them.

use andon_kernel::{ConnId, Disconnect};

use super::network::{Happening, Network, SEND_LIMIT};
use super::node::NodeId;
use super::pipe::{Carried, EndRef, Segment, State};
use super::site::carried;
use super::time::Time;

/// What a socket takes that the line does not.
pub(super) const SOCKET: usize = 256 * 1024;
/// What is delivered at once, as a driver reads.
const READ: usize = 64 * 1024;
/// What a system waits for before it sends again, in nanoseconds: at first at least, and later at most.
const LEAST_WAIT: u64 = 200_000_000;
const LONGEST_WAIT: u64 = 120_000_000_000;
/// Buffers that are kept to be used again, and how large: a burst's surplus goes back.
const KEPT_BUFFERS: usize = 1024;
const KEPT_BYTES: usize = 4096;

impl Network {
    /// Takes bytes that may go out with those before and behind them.
    pub(super) fn gather(&mut self, node: NodeId, conn: ConnId, bytes: &[u8]) {
        // Nothing is no piece of anything: it would come as nothing.
        if bytes.is_empty() {
            return;
        }
        if self.gathered_for != Some(conn) {
            self.send_gathered(node);
            self.gathered_for = Some(conn);
        }
        self.gathered.extend_from_slice(bytes);
    }

    pub(super) fn send_gathered(&mut self, node: NodeId) {
        let Some(conn) = self.gathered_for.take() else { return };
        let mut bytes = core::mem::take(&mut self.gathered);
        if let Some(end) = self.sender(node, conn, bytes.len()) {
            match self.links.pieces {
                None if bytes.len() <= READ => {
                    self.queue_up(end.other(), bytes);
                    bytes = self.pool.pop().unwrap_or_default();
                }
                _ => self.queue_pieces(end.other(), &bytes),
            }
            self.sent(node, end);
        }
        bytes.clear();
        bytes.shrink_to(KEPT_BYTES);
        self.gathered = bytes;
    }

    /// The end from which a node can send so many bytes that reach somebody.
    fn sender(&mut self, node: NodeId, conn: ConnId, bytes: usize) -> Option<EndRef> {
        // Mostly it answers what it was just given, and then nothing has to be looked up.
        let end = match self.delivered {
            Some((delivered, end)) if delivered == conn => end,
            _ => self.sites[node.index()].end(conn)?,
        };
        let pipe = self.pipes.get(end)?;
        let mine = &mut pipe.ends[end.side()];
        if mine.state != State::Open || mine.is_shut {
            return None;
        }
        // A write to a connection that was broken off fails, whether its end could be read or not.
        if let Some(reason) = mine.incoming.came.filter(|_| mine.incoming.is_broken()) {
            self.conclude(end, reason);
            return None;
        }
        self.counts.bytes += bytes as u64;
        Some(end)
    }

    fn queue_up(&mut self, end: EndRef, bytes: Vec<u8>) {
        let Some(receiver) = self.pipes.end(end) else { return };
        let flow = &mut receiver.incoming;
        if flow.backlog.is_empty()
            && flow.end.is_none()
            && flow.has_room(bytes.len())
            && flow.has_line(bytes.len(), self.now)
            && receiver.state != State::Vanished
            && !self.is_divided(end)
        {
            return self.transmit(end, Carried::Bytes(bytes));
        }
        if let Some(receiver) = self.pipes.end(end) {
            receiver.incoming.backlog.push_back(bytes);
        }
    }

    fn queue_pieces(&mut self, end: EndRef, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let length = match self.links.pieces {
                Some(most) => self.streams.pieces.within(1..=u64::from(most.max(1))) as usize,
                None => READ,
            };
            let (piece, after) = rest.split_at(length.min(rest.len()));
            let mut buffer = self.pool.pop().unwrap_or_default();
            buffer.extend_from_slice(piece);
            self.queue_up(end, buffer);
            rest = after;
        }
    }

    /// What was sent from `end` has gone to its socket, or waits for it.
    fn sent(&mut self, node: NodeId, end: EndRef) {
        let other = end.other();
        if self.pipes.end(other).is_none_or(|receiver| receiver.incoming.backlog.is_empty()) {
            return;
        }
        self.pump(other);
        let waits = self.pipes.end(other).map_or(0, |receiver| receiver.incoming.backlog.bytes());
        if waits > SOCKET.saturating_add(self.sites[node.index()].limits().send_queue) {
            self.conclude(end, Disconnect::SendQueueFull);
            self.hang_up(end);
        }
    }

    /// The other side vanished: what was sent there, and would come in so many nanoseconds, finds nobody.
    fn lost(&mut self, end: EndRef, after: u64) {
        let Some(other) = self.pipes.end(end.other()) else { return };
        if other.incoming.gives_up == Time::NEVER {
            other.incoming.gives_up = self.now + SEND_LIMIT;
            self.queue.push(self.now.plus(after).min(other.incoming.gives_up), Happening::Probe(end));
        }
    }

    /// What was sent to a machine that vanished comes there once more. If somebody is there again, it is answered with a reset; if not, it
    /// is sent again after twice as long, until it is given up.
    pub(super) fn probe(&mut self, end: EndRef) {
        let (is_divided, latency) = (self.is_divided(end), self.latency_of(end));
        let Some(pipe) = self.pipes.get(end) else { return };
        let (mine, other) = (&pipe.ends[end.side()], &pipe.ends[end.other().side()]);
        let waits = (mine.state.is_live() || mine.state == State::Lingering) && !mine.incoming.is_broken();
        if !waits || other.state != State::Vanished {
            return;
        }
        let (there, gives_up) = (other.node, other.incoming.gives_up);
        if self.now >= gives_up {
            self.end_came(end, Disconnect::TimedOut);
            return;
        }
        if !is_divided && self.sites.get(there.index()).is_some_and(|site| site.is_up) {
            self.transmit(end, Carried::End(Disconnect::Reset));
        }
        let elapsed = (SEND_LIMIT.as_nanos() as u64).saturating_sub(gives_up.nanos_since(self.now));
        let first = latency.saturating_mul(4).max(LEAST_WAIT);
        let at = self.now.plus(elapsed.saturating_add(first).min(LONGEST_WAIT)).min(gives_up);
        self.queue.push(at, Happening::Probe(end));
    }

    /// Puts on the line towards `end` what it takes.
    pub(super) fn pump(&mut self, end: EndRef) {
        let Some(pipe) = self.pipes.get(end) else { return };
        let (sender, receiver) = (pipe.ends[end.other().side()].node, pipe.ends[end.side()].node);
        if sender.0 == u32::MAX {
            return;
        }
        if pipe.ends[end.side()].state == State::Vanished {
            if pipe.ends[end.side()].incoming.is_waiting() {
                let latency = self.latency_of(end);
                self.lost(end.other(), latency);
            }
            return self.handed_over(end);
        }
        if self.are_apart(sender, receiver) {
            self.stick(end);
            return;
        }
        if self.has_islands {
            self.send_again(end);
        }
        loop {
            let Some(pipe) = self.pipes.get(end) else { return };
            let flow = &mut pipe.ends[end.side()].incoming;
            flow.gives_up = Time::NEVER;
            let what = if let Some(bytes) = flow.backlog.first() {
                if !flow.has_room(bytes) {
                    break;
                }
                if !flow.has_line(bytes, self.now) {
                    if !core::mem::replace(&mut flow.waits_for_line, true) {
                        self.queue.push(flow.leaves, Happening::Line(end));
                    }
                    break;
                }
                let Some(bytes) = flow.backlog.pop_front() else { break };
                Carried::Bytes(bytes)
            } else if let Some(reason) = flow.end.take() {
                Carried::End(reason)
            } else {
                break;
            };
            self.transmit(end, what);
        }
        self.handed_over(end);
    }

    /// What did not come, as the network was divided, comes now.
    fn send_again(&mut self, end: EndRef) {
        let at = self.now.plus(self.latency_of(end));
        let Some(receiver) = self.pipes.end(end) else { return };
        let flow = &mut receiver.incoming;
        if flow.is_arriving {
            return;
        }
        if let Some(first) = flow.wire.first() {
            first.at = first.at.max(at);
            flow.last = flow.last.max(first.at);
            flow.is_arriving = true;
            self.queue.push_in_place(first.at, first.sequence, Happening::Arrived(end));
        }
    }

    /// The line has carried what a connection had put there.
    pub(super) fn line_is_free(&mut self, end: EndRef) {
        if let Some(receiver) = self.pipes.end(end) {
            receiver.incoming.waits_for_line = false;
            self.pump(end);
        }
    }

    /// Puts something on the line towards `end`, behind all that is there.
    fn transmit(&mut self, end: EndRef, what: Carried) {
        let latency = self.latency_of(end);
        let Some(pipe) = self.pipes.get(end) else { return };
        let size = match &what {
            Carried::Bytes(bytes) => bytes.len(),
            Carried::End(_) => 0,
        };
        let site = &mut self.sites[pipe.ends[end.other().side()].node.index()];
        let left = carried(self.now, &mut site.up_free, site.bandwidth.0, size);
        let delay = self.links.delay(latency, size, &mut self.streams.delays);
        let sequence = self.queue.sequence();
        let flow = &mut pipe.ends[end.side()].incoming;
        flow.window += size;
        flow.ahead = if flow.leaves <= self.now { size } else { flow.ahead + size };
        flow.leaves = left;
        flow.last = flow.last.max(left.plus(latency.saturating_add(delay)));
        flow.wire.push(Segment { at: flow.last, sequence, what });
        if !core::mem::replace(&mut flow.is_arriving, true) {
            self.queue.push_in_place(flow.last, sequence, Happening::Arrived(end));
        }
    }

    /// Tells the sender that everything has gone to the socket, if it asked and it has.
    pub(super) fn handed_over(&mut self, end: EndRef) {
        let Some(pipe) = self.pipes.get(end) else { return };
        let flow = &mut pipe.ends[end.side()].incoming;
        if flow.backlog.bytes() <= SOCKET {
            for _ in 0..core::mem::take(&mut flow.flushes) {
                self.queue.push(self.now, Happening::Drained(end.other()));
            }
        }
        self.settle(end.other());
    }

    /// Something has come to `end`. Gives what its node is told.
    pub(super) fn arrived(&mut self, end: EndRef) -> Option<Arrival> {
        let now = self.now;
        let is_divided = self.is_divided(end);
        let pipe = self.pipes.get(end)?;
        let receiver = &mut pipe.ends[end.side()];
        let node = receiver.node;
        let rate = self.sites.get(node.index()).map_or(0, |site| site.bandwidth.1);
        let is_in = receiver.incoming.wire.is_in;
        let Some(segment) = receiver.incoming.wire.first() else {
            // It never left.
            receiver.incoming.is_arriving = false;
            return None;
        };
        if segment.at > now {
            self.queue.push_in_place(segment.at, segment.sequence, Happening::Arrived(end));
            return None;
        }
        if is_divided && !is_in {
            // It does not come before it is sent again, if there is somebody to do so.
            receiver.incoming.is_arriving = false;
            if pipe.ends[end.other().side()].state == State::Vanished {
                pipe.ends[end.side()].incoming.forget_after(Time::ZERO);
            } else {
                self.stick(end);
            }
            return None;
        }
        if rate > 0 && !is_in {
            let size = segment.what.bytes();
            let through = carried(now, &mut self.sites[node.index()].down_free, rate, size);
            if through > now {
                segment.at = through;
                receiver.incoming.wire.is_in = true;
                self.queue.push(through, Happening::Arrived(end));
                return None;
            }
        }
        let what = receiver.incoming.wire.pop()?;
        match receiver.incoming.wire.first() {
            Some(next) => self.queue.push_in_place(next.at.max(now), next.sequence, Happening::Arrived(end)),
            None => receiver.incoming.is_arriving = false,
        }
        let bytes = match what {
            Carried::Bytes(bytes) => bytes,
            Carried::End(reason) => {
                self.end_came(end, reason);
                return None;
            }
        };
        let (state, conn) = (receiver.state, receiver.conn);
        let flow = &mut receiver.incoming;
        let takes = state == State::Open && !flow.is_paused && flow.held.is_empty();
        if state.is_live() && !(takes && self.sites[node.index()].takes()) {
            flow.held.push_back(bytes);
            return None;
        }
        flow.window -= bytes.len();
        let waits = !flow.backlog.is_empty();
        match state {
            State::Dialling | State::Waiting | State::Open => {
                if waits {
                    self.pump(end);
                }
                return Some(Arrival { node, conn, end, bytes });
            }
            // Thrown away, so that the other side gets through with what it sends, and then closes.
            State::Lingering => {
                if waits {
                    self.pump(end);
                }
            }
            State::Closing | State::Gone => self.answer_with_reset(end),
            State::Vanished => self.lost(end.other(), 0),
        }
        self.give_back(bytes);
        None
    }

    /// The next of what was held back for `end`. Gives what its node is told.
    pub(super) fn released(&mut self, end: EndRef) -> Option<Arrival> {
        let receiver = self.pipes.end(end)?;
        let (node, conn, state) = (receiver.node, receiver.conn, receiver.state);
        let flow = &mut receiver.incoming;
        flow.is_releasing = false;
        if flow.is_paused || state != State::Open || !self.sites[node.index()].takes() {
            return None;
        }
        let bytes = flow.held.pop_front()?;
        flow.window -= bytes.len();
        if !flow.held.is_empty() {
            flow.is_releasing = true;
            self.queue.push(self.now, Happening::Release(end));
        }
        self.pump(end);
        Some(Arrival { node, conn, end, bytes })
    }

    /// What was held back for `end` may go on.
    pub(super) fn release(&mut self, end: EndRef) {
        let Some(receiver) = self.pipes.end(end) else { return };
        if receiver.incoming.held.is_empty() {
            self.tell_end(end);
        } else if !core::mem::replace(&mut receiver.incoming.is_releasing, true) {
            self.queue.push(self.now, Happening::Release(end));
        }
    }

    /// How much a node takes of what comes before the other side waits.
    pub(super) fn set_window(&mut self, node: NodeId, conn: ConnId, most: usize) {
        let end = self.sites[node.index()].end(conn);
        if let Some(end) = end
            && let Some(mine) = self.pipes.end(end)
        {
            mine.incoming.most = most;
            self.pump(end);
        }
    }

    /// How many bytes a connection's socket takes now.
    pub(super) fn room(&mut self, node: NodeId, conn: ConnId) -> usize {
        let Some(end) = self.sites[node.index()].end(conn) else { return 0 };
        if !self.pipes.end(end).is_some_and(|mine| mine.state == State::Open && !mine.is_shut) {
            return 0;
        }
        self.pipes.end(end.other()).map_or(0, |other| SOCKET.saturating_sub(other.incoming.backlog.bytes()))
    }

    pub(super) fn give_back(&mut self, mut bytes: Vec<u8>) {
        if self.pool.len() < KEPT_BUFFERS && bytes.capacity() <= KEPT_BYTES {
            bytes.clear();
            self.pool.push(bytes);
        }
    }

    pub(super) fn pause(&mut self, node: NodeId, conn: ConnId, paused: bool) {
        let Some(end) = self.sites[node.index()].end(conn) else { return };
        if let Some(mine) = self.pipes.end(end) {
            mine.incoming.is_paused = paused;
        }
        if paused {
            self.tell_end(end);
        } else {
            self.release(end);
        }
    }

    pub(super) fn flush(&mut self, node: NodeId, conn: ConnId) {
        let Some(end) = self.sites[node.index()].end(conn) else { return };
        let Some(pipe) = self.pipes.get(end) else { return };
        let mine = &pipe.ends[end.side()];
        if mine.state != State::Open || mine.incoming.is_broken() {
            return;
        }
        pipe.ends[end.other().side()].incoming.flushes += 1;
        self.handed_over(end.other());
    }
}

/// Bytes for a node.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) node: NodeId,
    pub(super) conn: ConnId,
    pub(super) end: EndRef,
    pub(super) bytes: Vec<u8>,
}
