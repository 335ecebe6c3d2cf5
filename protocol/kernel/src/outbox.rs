//! The effects of a turn: a queue of small operations over one arena of bytes, both used again.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;
use core::ops::{Bound, Range};

use crate::storage::{ChangeKind, ChangeSpan};
use crate::{Batch, ConnId, Order, Output, Scan, Space, Ticket};

/// What a machine wants done, in order. The caller owns it; the machine appends, the driver pops.
pub struct Outbox<E> {
    queue: VecDeque<Operation<E>>,
    arena: Vec<u8>,
    changes: Vec<ChangeSpan>,
    /// Effects taken out since it was empty.
    taken: usize,
    /// Turns in a row that needed little.
    quiet: u8,
}

/// Memory that an emptied outbox keeps for the next turn; a burst's surplus goes back.
const KEPT_BYTES: usize = 256 * 1024;

/// What it keeps of each kind after as many turns that needed no more: a machine that follows a chain, among thousands, does
/// not hold what its first sync took.
const LITTLE: usize = 4 * 1024;
const QUIET_TURNS: u8 = 32;

enum Operation<E> {
    Connect {
        conn: ConnId,
        addr: SocketAddr,
    },
    Send {
        conn: ConnId,
        bytes: Range<usize>,
    },
    Pause {
        conn: ConnId,
        paused: bool,
    },
    Flush {
        conn: ConnId,
    },
    Close {
        conn: ConnId,
        flush: bool,
    },
    Datagram {
        to: SocketAddr,
        bytes: Range<usize>,
    },
    Resolve {
        ticket: Ticket,
        host: String,
        port: u16,
    },
    Load {
        ticket: Ticket,
        space: Space,
        from: Bound<Range<usize>>,
        to: Bound<Range<usize>>,
        order: Order,
        limit: u32,
    },
    Store {
        ticket: Ticket,
        changes: Range<usize>,
    },
    /// Apart, for events are few and large: each send would be as large in the queue.
    Event(Box<E>),
}

impl<E> Outbox<E> {
    /// An empty one.
    pub const fn new() -> Self {
        Self { queue: VecDeque::new(), arena: Vec::new(), changes: Vec::new(), taken: 0, quiet: 0 }
    }

    /// Opens a connection. Exactly one `Connected` or `Disconnected` answers it.
    pub fn connect(&mut self, conn: ConnId, addr: SocketAddr) {
        self.queue.push_back(Operation::Connect { conn, addr });
    }

    /// Sends what `write` appends to the buffer; nothing if it appends nothing. The buffer holds other bytes already.
    pub fn send(&mut self, conn: ConnId, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.arena.len();
        write(&mut self.arena);
        if self.arena.len() > start {
            self.queue.push_back(Operation::Send { conn, bytes: start..self.arena.len() });
        }
    }

    /// Stops (or goes on) reading from a connection.
    pub fn pause(&mut self, conn: ConnId, paused: bool) {
        self.queue.push_back(Operation::Pause { conn, paused });
    }

    /// Asks for one `Drained` when everything sent so far has been handed to the socket.
    pub fn flush(&mut self, conn: ConnId) {
        self.queue.push_back(Operation::Flush { conn });
    }

    /// Closes a connection, after what was sent if `flush`. One `Disconnected` answers it.
    pub fn close(&mut self, conn: ConnId, flush: bool) {
        self.queue.push_back(Operation::Close { conn, flush });
    }

    /// Sends one datagram.
    pub fn datagram(&mut self, to: SocketAddr, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.arena.len();
        write(&mut self.arena);
        self.queue.push_back(Operation::Datagram { to, bytes: start..self.arena.len() });
    }

    /// Looks a host name up. One `Resolved` answers it.
    pub fn resolve(&mut self, ticket: Ticket, host: &str, port: u16) {
        self.queue.push_back(Operation::Resolve { ticket, host: host.into(), port });
    }

    /// Asks for the rows of a range of keys, at most `limit`. One `Loaded` answers it.
    pub fn load(
        &mut self,
        ticket: Ticket,
        space: Space,
        (from, to): (Bound<&[u8]>, Bound<&[u8]>),
        order: Order,
        limit: u32,
    ) {
        let mut keep = |bound: Bound<&[u8]>| {
            bound.map(|key| {
                let start = self.arena.len();
                self.arena.extend_from_slice(key);
                start..self.arena.len()
            })
        };
        let (from, to) = (keep(from), keep(to));
        self.queue.push_back(Operation::Load { ticket, space, from, to, order, limit });
    }

    /// Makes what `write` puts in the batch durable, all or nothing. One `Stored` answers it.
    pub fn store(&mut self, ticket: Ticket, write: impl FnOnce(&mut BatchWriter<'_>)) {
        let start = self.changes.len();
        write(&mut BatchWriter { arena: &mut self.arena, changes: &mut self.changes });
        self.queue.push_back(Operation::Store { ticket, changes: start..self.changes.len() });
    }

    /// Tells the application.
    pub fn event(&mut self, event: E) {
        self.queue.push_back(Operation::Event(Box::new(event)));
    }

    /// Takes out the next effect.
    pub fn pop(&mut self) -> Option<Output<'_, E>> {
        let Some(operation) = self.queue.pop_front() else {
            self.end_turn();
            return None;
        };
        self.taken += 1;
        let bytes = |span: Range<usize>| &self.arena[span];
        Some(match operation {
            Operation::Connect { conn, addr } => Output::Connect { conn, addr },
            Operation::Send { conn, bytes: span } => Output::Send { conn, bytes: bytes(span) },
            Operation::Pause { conn, paused } => Output::Pause { conn, paused },
            Operation::Flush { conn } => Output::Flush { conn },
            Operation::Close { conn, flush } => Output::Close { conn, flush },
            Operation::Datagram { to, bytes: span } => Output::Datagram { to, bytes: bytes(span) },
            Operation::Resolve { ticket, host, port } => Output::Resolve { ticket, host, port },
            Operation::Load { ticket, space, from, to, order, limit } => {
                Output::Load(Scan { ticket, space, from: from.map(bytes), to: to.map(bytes), order, limit })
            }
            Operation::Store { ticket, changes } => {
                Output::Store { ticket, batch: Batch { changes: &self.changes[changes], bytes: &self.arena } }
            }
            Operation::Event(event) => Output::Event(*event),
        })
    }

    /// Everything is carried out: what is kept for the next turn is decided.
    fn end_turn(&mut self) {
        let (operation, change) = (size_of::<Operation<E>>(), size_of::<ChangeSpan>());
        let needed =
            self.arena.len().max(self.taken * operation).max(self.changes.len().saturating_mul(change));
        self.taken = 0;
        self.quiet = if needed > LITTLE { 0 } else { self.quiet + 1 };
        let kept = if self.quiet == QUIET_TURNS {
            self.quiet = 0;
            LITTLE
        } else {
            KEPT_BYTES
        };
        self.queue.shrink_to(kept / operation);
        self.arena.clear();
        self.arena.shrink_to(kept);
        self.changes.clear();
        self.changes.shrink_to(kept / change);
    }

    /// The effects from position `start` on, without taking them out.
    pub fn peek_from(&self, start: usize) -> impl Iterator<Item = Output<'_, &E>> {
        self.queue.range(start.min(self.queue.len())..).map(|operation| self.peek(operation))
    }

    fn peek<'a>(&'a self, operation: &'a Operation<E>) -> Output<'a, &'a E> {
        let bytes = |span: &Range<usize>| &self.arena[span.clone()];
        match operation {
            Operation::Connect { conn, addr } => Output::Connect { conn: *conn, addr: *addr },
            Operation::Send { conn, bytes: span } => Output::Send { conn: *conn, bytes: bytes(span) },
            Operation::Pause { conn, paused } => Output::Pause { conn: *conn, paused: *paused },
            Operation::Flush { conn } => Output::Flush { conn: *conn },
            Operation::Close { conn, flush } => Output::Close { conn: *conn, flush: *flush },
            Operation::Datagram { to, bytes: span } => Output::Datagram { to: *to, bytes: bytes(span) },
            Operation::Resolve { ticket, host, port } => {
                Output::Resolve { ticket: *ticket, host: host.clone(), port: *port }
            }
            Operation::Load { ticket, space, from, to, order, limit } => Output::Load(Scan {
                ticket: *ticket,
                space: *space,
                from: from.as_ref().map(bytes),
                to: to.as_ref().map(bytes),
                order: *order,
                limit: *limit,
            }),
            Operation::Store { ticket, changes } => Output::Store {
                ticket: *ticket,
                batch: Batch { changes: &self.changes[changes.clone()], bytes: &self.arena },
            },
            Operation::Event(event) => Output::Event(event),
        }
    }

    /// Whether the next effect is for the store.
    pub(crate) fn store_is_next(&self) -> bool {
        matches!(self.queue.front(), Some(Operation::Load { .. } | Operation::Store { .. }))
    }

    /// How many effects wait.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

impl<E> Default for Outbox<E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<E: fmt::Debug> fmt::Debug for Outbox<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.peek_from(0)).finish()
    }
}

/// Writes the changes of one batch.
#[derive(Debug)]
pub struct BatchWriter<'a> {
    arena: &'a mut Vec<u8>,
    changes: &'a mut Vec<ChangeSpan>,
}

impl BatchWriter<'_> {
    /// Sets `key`, in place of the value it had.
    pub fn put(&mut self, space: Space, key: &[u8], value: &[u8]) {
        self.change(ChangeKind::Put, space, key, value);
    }

    /// Removes the keys from `from` (included) to `to` (excluded).
    pub fn delete(&mut self, space: Space, from: &[u8], to: &[u8]) {
        self.change(ChangeKind::DeleteTo, space, from, to);
    }

    /// Removes the keys from `from` (included) to the end of the space.
    pub fn delete_from(&mut self, space: Space, from: &[u8]) {
        self.change(ChangeKind::DeleteToEnd, space, from, &[]);
    }

    fn change(&mut self, kind: ChangeKind, space: Space, head: &[u8], tail: &[u8]) {
        let position =
            |arena: &Vec<u8>| u32::try_from(arena.len()).expect("a turn's effects are shorter than 4 GiB");
        let start = position(self.arena);
        self.arena.extend_from_slice(head);
        let middle = position(self.arena);
        self.arena.extend_from_slice(tail);
        let end = position(self.arena);
        self.changes.push(ChangeSpan { kind, space, start, middle, end });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_emptied_outbox_gives_back_what_a_burst_took() {
        let mut out = Outbox::<()>::new();
        for index in 0..100_000 {
            out.store(Ticket::new(index), |batch| batch.delete_from(Space::new("space"), b"key"));
        }
        while out.pop().is_some() {}
        let kept = [
            out.arena.capacity(),
            out.queue.capacity() * size_of::<Operation<()>>(),
            out.changes.capacity() * size_of::<ChangeSpan>(),
        ];
        assert!(kept.iter().all(|bytes| (1..=KEPT_BYTES).contains(bytes)), "{kept:?} bytes are kept");

        // And almost all of it when nothing more like that comes.
        for _ in 0..QUIET_TURNS {
            out.store(Ticket::new(0), |batch| batch.delete_from(Space::new("space"), b"key"));
            while out.pop().is_some() {}
        }
        let kept = [
            out.arena.capacity(),
            out.queue.capacity() * size_of::<Operation<()>>(),
            out.changes.capacity() * size_of::<ChangeSpan>(),
        ];
        assert!(kept.iter().all(|bytes| (1..=LITTLE).contains(bytes)), "{kept:?} bytes are kept");
    }
}
