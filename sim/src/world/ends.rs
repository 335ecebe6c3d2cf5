//! Ends of connections: closed by a node, by the other side, by a fault, or by time.
//!
//! A connection has two halves, as TCP's: the end of each comes behind its last byte. A node's driver answers the other side's end with
//! its own at once, unless the node [keeps its half](super::Node::keeps_half).

use core::time::Duration;

use andon_kernel::{ConnId, Disconnect};

use super::bytes::SOCKET;
use super::network::{Happening, Network, SEND_LIMIT};
use super::node::NodeId;
use super::pipe::{EndRef, State};
use super::time::Time;

/// How long a closed connection may take to send what it holds and to be closed by the other side, as with a driver.
const LINGER: Duration = Duration::from_secs(5);

impl Network {
    // By a node.

    /// A machine's close. With `flush` everything is sent first, and the other side's end waited for.
    pub(super) fn close(&mut self, node: NodeId, conn: ConnId, flush: bool) {
        let Some(end) = self.sites[node.index()].end(conn) else { return };
        let Some(mine) = self.pipes.end(end) else { return };
        match mine.state {
            State::Dialling => {
                self.conclude(end, Disconnect::Closed);
                self.finish(end.other(), Disconnect::Reset);
            }
            State::Open if flush && !mine.incoming.is_broken() => self.linger(end),
            State::Open => {
                self.conclude(end, Disconnect::Closed);
                self.hang_up(end);
            }
            State::Waiting | State::Lingering | State::Closing | State::Gone | State::Vanished => {}
        }
    }

    fn linger(&mut self, end: EndRef) {
        let Some(mine) = self.pipes.end(end) else { return };
        mine.state = State::Lingering;
        // Thrown away, as what comes later: closing with unread bytes would take back what was sent last.
        for bytes in mine.incoming.held.take() {
            mine.incoming.window -= bytes.len();
        }
        self.queue.push(self.now + LINGER, Happening::Linger(end));
        self.pump(end);
        self.shut(end);
    }

    /// Closes a node's half, behind what was sent.
    pub(super) fn shut_half(&mut self, node: NodeId, conn: ConnId) {
        let Some(end) = self.sites[node.index()].end(conn) else { return };
        if self.pipes.end(end).is_some_and(|mine| mine.state == State::Open) {
            self.shut(end);
        }
    }

    fn shut(&mut self, end: EndRef) {
        let Some(pipe) = self.pipes.get(end) else { return };
        if !core::mem::replace(&mut pipe.ends[end.side()].is_shut, true) {
            let towards = &mut pipe.ends[end.other().side()].incoming;
            towards.flushes = 0;
            // What has broken off already needs no other end.
            if towards.end.is_none() {
                towards.end = Some(Disconnect::ClosedByPeer);
            }
        }
        self.pump(end.other());
    }

    /// Breaks a connection off, as a socket does that is closed with no time to linger.
    pub(super) fn reset(&mut self, node: NodeId, conn: ConnId) {
        let Some(end) = self.sites[node.index()].end(conn) else { return };
        self.conclude(end, Disconnect::Closed);
        self.finish(end.other(), Disconnect::Reset);
    }

    /// A node's driver stops: nobody is let in any more, nobody dialled, and what the machine has left open is closed after what was sent.
    pub(super) fn stop(&mut self, node: NodeId) {
        self.sites[node.index()].is_stopped = true;
        let conns: Vec<ConnId> = self.sites[node.index()].ends.iter().map(|(conn, _)| *conn).collect();
        for conn in conns {
            self.close(node, conn, true);
        }
    }

    /// A node's process ends: its system closes its sockets.
    pub(super) fn exit(&mut self, node: NodeId) {
        self.delivered = None;
        let ends = self.end_process(node);
        // All are gone before the first socket is closed: nothing that comes of that is told, or counted, any more.
        for end in &ends {
            if let Some(mine) = self.pipes.end(*end) {
                (mine.state, mine.has_slot) = (State::Gone, false);
            }
        }
        for end in ends {
            self.hang_up(end);
            self.pipes.release(end);
        }
    }

    /// A machine's power fails: what has not left it by now never does, and nobody answers for it until it is asked again.
    pub(super) fn lose_power(&mut self, node: NodeId) {
        self.end_process(node);
        let site = &mut self.sites[node.index()];
        (site.up_free, site.down_free) = (Time::ZERO, Time::ZERO);
        self.forget_datagrams(node);
        // Those, too, that its processes were done with, and that its system was closing.
        for first in self.pipes.all() {
            for end in [first, first.other()] {
                if self.pipes.end(end).is_some_and(|mine| mine.node == node) {
                    self.vanish(end);
                }
            }
        }
    }

    fn vanish(&mut self, end: EndRef) {
        let latency = self.latency_of(end);
        let longest = latency.saturating_add(self.links.most_jitter(latency));
        let now = self.now;
        let Some(pipe) = self.pipes.get(end) else { return };
        let mine = &mut pipe.ends[end.side()];
        (mine.state, mine.has_slot) = (State::Vanished, false);
        drop(mine.incoming.held.take());
        mine.incoming.gives_up = Time::NEVER;
        let towards = &mut pipe.ends[end.other().side()].incoming;
        towards.forget_queued(0);
        (towards.end, towards.flushes) = (None, 0);
        // What comes later than it takes has not left, or would have to be sent again.
        towards.forget_after(if towards.is_arriving { now.plus(longest) } else { Time::ZERO });
        self.pump(end);
        self.pipes.release(end);
    }

    // By the system.

    /// A socket is closed: what it has taken goes out, and its end behind that; with unread bytes it is a reset.
    pub(super) fn hang_up(&mut self, end: EndRef) {
        let Some(mine) = self.pipes.end(end) else { return };
        let has_unread = mine.incoming.held.take().next().is_some();
        if has_unread {
            mine.has_reset = true;
            self.finish(end.other(), Disconnect::Reset);
            return;
        }
        if let Some(other) = self.pipes.end(end.other()) {
            other.incoming.forget_queued(SOCKET);
        }
        self.shut(end);
    }

    /// Bytes have come to a socket that is closed.
    pub(super) fn answer_with_reset(&mut self, end: EndRef) {
        let Some(mine) = self.pipes.end(end) else { return };
        if !core::mem::replace(&mut mine.has_reset, true) {
            self.finish(end.other(), Disconnect::Reset);
        }
    }

    /// What is on the way to `end` and not on the line is lost, and the end comes behind the rest.
    pub(super) fn finish(&mut self, end: EndRef, reason: Disconnect) {
        let Some(other) = self.pipes.end(end) else { return };
        if other.state.is_live() || other.state == State::Lingering {
            other.incoming.forget_queued(0);
            other.incoming.flushes = 0;
            other.incoming.end = Some(reason);
            self.pump(end);
        }
    }

    /// Breaks a connection off, for both ends.
    pub(super) fn cut(&mut self, end: EndRef) {
        self.end_came(end, Disconnect::Reset);
        self.end_came(end.other(), Disconnect::Reset);
    }

    /// The end has come to `end`, behind all that was sent.
    pub(super) fn end_came(&mut self, end: EndRef, reason: Disconnect) {
        let Some(pipe) = self.pipes.get(end) else { return };
        let flow = &mut pipe.ends[end.side()].incoming;
        if flow.is_broken() {
            return;
        }
        flow.came = Some(reason);
        if flow.is_broken() {
            let towards = &mut pipe.ends[end.other().side()].incoming;
            let had_queued = towards.backlog.bytes() > SOCKET || towards.flushes > 0;
            towards.forget_queued(0);
            towards.flushes = 0;
            pipe.ends[end.side()].incoming.has_failed = had_queued;
        }
        self.tell_end(end);
        self.settle(end);
    }

    /// Tells a node of an end that has come, when it has taken all before it.
    pub(super) fn tell_end(&mut self, end: EndRef) {
        let Some(mine) = self.pipes.end(end) else { return };
        let (node, flow) = (mine.node, &mut mine.incoming);
        let Some(reason) = flow.came else { return };
        let site = &self.sites[node.index()];
        let may_be_read = flow.held.is_empty() && !flow.is_paused && site.takes();
        // A driver that writes what waits learns it by that, and reads from a paused connection no more.
        let is_written = flow.is_paused && flow.has_failed;
        if mine.state != State::Open || !(may_be_read || is_written) {
            return;
        }
        if flow.is_broken() || !site.keeps_half {
            self.conclude(end, reason);
            self.hang_up(end);
        } else if !core::mem::replace(&mut flow.is_half_told, true) {
            self.queue.push(self.now, Happening::HalfClosed(end));
        }
    }

    /// A node that keeps its half is told that the other is closed.
    pub(super) fn half_closed(&mut self, end: EndRef) -> Option<(NodeId, ConnId)> {
        let mine = self.pipes.end(end).filter(|mine| mine.state == State::Open)?;
        Some((mine.node, mine.conn))
    }

    /// A closed connection is over when the socket has taken everything and the other side has closed, too, or has broken it off.
    pub(super) fn settle(&mut self, end: EndRef) {
        let Some(pipe) = self.pipes.get(end) else { return };
        let mine = &pipe.ends[end.side()];
        let has_sent = pipe.ends[end.other().side()].incoming.backlog.bytes() <= SOCKET;
        let came = mine.incoming.came.is_some();
        if mine.state == State::Lingering && came && (has_sent || mine.incoming.is_broken()) {
            self.conclude(end, Disconnect::Closed);
        }
    }

    /// A closed connection has had its time.
    pub(super) fn lingered(&mut self, end: EndRef) {
        if self.pipes.end(end).is_some_and(|mine| mine.state == State::Lingering) {
            self.conclude(end, Disconnect::Closed);
            self.hang_up(end);
        }
    }

    /// It is over for `end`: its node is told so next.
    pub(super) fn conclude(&mut self, end: EndRef, reason: Disconnect) {
        let Some(mine) = self.pipes.end(end) else { return };
        if mine.state.is_live() || mine.state == State::Lingering {
            mine.state = State::Closing;
            let has_slot = core::mem::take(&mut mine.has_slot);
            self.sites[mine.node.index()].used -= u32::from(has_slot);
            self.queue.push(self.now, Happening::Ended(end, reason));
        }
    }

    /// Gives whom to tell that a connection is over; each end once.
    pub(super) fn ended(&mut self, end: EndRef, reason: Disconnect) -> Option<(NodeId, ConnId, Disconnect)> {
        let mine = self.pipes.end(end)?;
        let reason = match mine.state {
            State::Gone | State::Vanished | State::Waiting => return None,
            State::Lingering => Disconnect::Closed,
            State::Dialling | State::Open | State::Closing => reason,
        };
        let was_cut_short = mine.state != State::Closing;
        mine.state = State::Gone;
        drop(mine.incoming.held.take());
        let (node, conn, has_slot) = (mine.node, mine.conn, core::mem::take(&mut mine.has_slot));
        // Given up, or refused: the other end, if there is one, hears of it.
        if was_cut_short {
            self.finish(end.other(), Disconnect::Reset);
        }
        let site = &mut self.sites[node.index()];
        site.used -= u32::from(has_slot);
        site.remove(conn);
        self.pipes.release(end);
        Some((node, conn, reason))
    }

    // By a divided network.

    pub(super) fn is_divided(&mut self, end: EndRef) -> bool {
        if !self.has_islands {
            return false;
        }
        let Some(pipe) = self.pipes.get(end) else { return false };
        let [a, b] = [pipe.ends[0].node, pipe.ends[1].node];
        self.are_apart(a, b)
    }

    /// Whether two are on different islands. Nobody is on all of them.
    pub(super) fn are_apart(&self, a: NodeId, b: NodeId) -> bool {
        if !self.has_islands {
            return false;
        }
        let island = |node: NodeId| self.sites.get(node.index()).map(|site| site.island);
        matches!((island(a), island(b)), (Some(a), Some(b)) if a != b)
    }

    /// Nothing gets through to `end`: it is given up after a while, by who has something to send.
    pub(super) fn stick(&mut self, end: EndRef) {
        let Some(receiver) = self.pipes.end(end) else { return };
        let flow = &mut receiver.incoming;
        if flow.is_waiting() && flow.gives_up == Time::NEVER {
            flow.gives_up = self.now + SEND_LIMIT;
            self.queue.push(flow.gives_up, Happening::GivenUp(end));
        }
        self.handed_over(end);
    }

    /// Nothing has got through to `end` for long: its sender gives up, unless it has got on meanwhile.
    pub(super) fn given_up(&mut self, end: EndRef) {
        let Some(pipe) = self.pipes.get(end) else { return };
        let sends = pipe.ends[end.other().side()].state;
        let flow = &mut pipe.ends[end.side()].incoming;
        // Of an earlier division, if it is not of now.
        if flow.gives_up == self.now && (sends.is_live() || sends == State::Lingering) {
            flow.gives_up = Time::NEVER;
            if !flow.is_arriving {
                flow.forget_after(Time::ZERO);
            }
            self.end_came(end.other(), Disconnect::TimedOut);
            self.finish(end, Disconnect::Reset);
        }
    }
}
