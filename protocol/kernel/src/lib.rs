//! The contract between a deterministic protocol machine and the driver that gives it a network, a clock and a disk.
//!
//! A [`Machine`] is a function of how it was built and of its inputs, in order: it owns no socket, no clock, no file
//! and no source of randomness. A driver feeds it one [`Input`] at a time and carries out the [`Output`]s that the
//! turn left in the [`Outbox`]. So the same machine runs under any event loop, in a simulator and in a fuzzer, and a
//! recorded list of inputs replays to the same effects.
//!
//! What both sides promise (checked by [`Checked`]):
//!
//! 1. A turn never blocks and never fails. A peer's fault becomes a close and an event that says why; a caller's
//!    fault a reply; a fault of our own a panic.
//! 2. Effects happen in the outbox's order, before the next input. What must be durable first waits for
//!    [`Input::Stored`].
//! 3. Received bytes are lent for the turn and taken whole.
//! 4. Nothing is unbounded: a connection's send queue has a cap (then it ends as [`Disconnect::SendQueueFull`]), and
//!    a machine with much to send asks for a [`Output::Flush`] and goes on at its [`Input::Drained`].
//! 5. Time comes in with each turn and [`Now::instant`] never goes back. After [`Input::Wake`] the deadline is later
//!    than that turn. Early and extra wakes do no harm.
//! 6. Randomness is drawn from an [`Rng`] built from a seed.
//! 7. A [`ConnId`] or [`Ticket`] is never used twice, and an input for one that the machine has let go is ignored.
//! 8. A turn does a bounded amount of work; what is left is due one microsecond later.
//! 9. [`Input::Start`] comes first. After [`Input::Stop`] a machine closes its connections, opens none and has no
//!    deadline; the driver ends when what was stored is durable and the sockets are closed.
//!
//! A run can be recorded and run again, bit for bit: see [`recording`].
//!
//! This crate knows of no protocol. It is `no_std` and forbids unsafe code, and so is every machine: then the
//! compiler proves them pure.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod checked;
mod identity;
mod memory;
mod outbox;
mod random;
pub mod recording;
mod shell;
mod storage;
mod time;
mod timers;

pub use checked::Checked;
pub use identity::{ConnId, Names, Ticket};
pub use memory::MemoryStore;
pub use outbox::{BatchWriter, Outbox};
pub use random::Rng;
pub use shell::{Effect, Shell};
pub use storage::{Batch, Change, Completion, Order, PAGE_BYTES, Rows, RowsBuffer, Scan, Space, Store};
pub use time::{Instant, Now, UnixTime};
pub use timers::Timers;

use alloc::string::String;
use core::net::SocketAddr;

/// A deterministic protocol.
pub trait Machine {
    /// What the application asks for: plain data.
    type Command;
    /// What the application is told: plain data.
    type Event;

    /// Takes one input and appends every effect to `out`. Never blocks, never fails.
    fn handle(&mut self, now: Now, input: Input<'_, Self::Command>, out: &mut Outbox<Self::Event>);

    /// When [`Input::Wake`] is due at the latest; `None`: never. A level: read it after every turn.
    fn deadline(&self) -> Option<Instant>;
}

/// What a driver tells a machine, one at a time.
#[derive(Debug)]
pub enum Input<'a, C> {
    /// The first input.
    Start,
    /// Close everything; what follows are the last answers of the store and the network.
    Stop,
    /// The deadline has come, or may have.
    Wake,
    /// The application asks for something.
    Command(C),
    /// A dial succeeded, or someone dialled us.
    Connected {
        /// From [`Output::Connect`], or new where we accepted.
        conn: ConnId,
        /// The other end.
        remote: SocketAddr,
        /// Which side opened it.
        link: Link,
    },
    /// Bytes came, in order. Lent mutably, so that they can be decrypted where they lie.
    Received {
        /// On a connection that is open.
        conn: ConnId,
        /// Never empty.
        bytes: &'a mut [u8],
    },
    /// Everything sent before an [`Output::Flush`] has been handed to the socket. Once for each flush.
    Drained {
        /// On a connection that is open.
        conn: ConnId,
    },
    /// A connection ended or could not be opened. Exactly once for each dial and each accept.
    Disconnected {
        /// Not to be seen again.
        conn: ConnId,
        /// Why, as far as the driver knows.
        reason: Disconnect,
    },
    /// A datagram came.
    Datagram {
        /// Who sent it, or claims to have.
        from: SocketAddr,
        /// Its contents.
        bytes: &'a mut [u8],
    },
    /// A host name was looked up.
    Resolved {
        /// Of the [`Output::Resolve`].
        ticket: Ticket,
        /// Empty: it has none, or the look-up failed.
        addrs: &'a [SocketAddr],
    },
    /// Rows of a scan.
    Loaded {
        /// Of the [`Output::Load`].
        ticket: Ticket,
        /// In the scan's order.
        rows: Rows<'a>,
        /// Whether the range holds rows after these.
        more: bool,
    },
    /// A batch is durable from here on.
    Stored {
        /// Of the [`Output::Store`].
        ticket: Ticket,
    },
}

/// Which side opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// We did.
    Outbound,
    /// The other side did.
    Inbound,
}

/// Why a connection ended, as far as a driver knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Disconnect {
    /// The machine closed it.
    Closed,
    /// The other side closed it in order.
    ClosedByPeer,
    /// Nobody listens there.
    Refused,
    /// The other side, or something on the way, broke it off.
    Reset,
    /// The other side did not take more bytes while the cap on what waits for it was reached.
    SendQueueFull,
    /// No answer within the driver's limit or the system's.
    TimedOut,
    /// As many connections as the driver takes are open.
    TooManyConnections,
    /// There is no way there.
    Unreachable,
    /// Anything else the system said.
    Failed,
}

impl core::fmt::Display for Disconnect {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Closed => "closed by us",
            Self::ClosedByPeer => "closed by the peer",
            Self::Refused => "connection refused",
            Self::Reset => "connection reset",
            Self::SendQueueFull => "the peer does not read what it is sent",
            Self::TimedOut => "timed out",
            Self::TooManyConnections => "too many connections",
            Self::Unreachable => "unreachable",
            Self::Failed => "connection failed",
        })
    }
}

/// What a machine wants done. A driver pops these in order.
#[derive(Debug)]
pub enum Output<'a, E> {
    /// Open a connection.
    Connect {
        /// New.
        conn: ConnId,
        /// Whereto.
        addr: SocketAddr,
    },
    /// Send bytes, after those sent before.
    Send {
        /// Open.
        conn: ConnId,
        /// Never empty.
        bytes: &'a [u8],
    },
    /// Stop reading from a connection, or go on.
    Pause {
        /// Open.
        conn: ConnId,
        /// Whether to stop.
        paused: bool,
    },
    /// Answer with [`Input::Drained`] when everything sent so far has been handed to the socket.
    Flush {
        /// Open.
        conn: ConnId,
    },
    /// Close a connection. [`Input::Disconnected`] follows.
    Close {
        /// Open or being opened.
        conn: ConnId,
        /// Whether what was sent still goes out first.
        flush: bool,
    },
    /// Send a datagram; it may be lost.
    Datagram {
        /// Whereto.
        to: SocketAddr,
        /// Its contents.
        bytes: &'a [u8],
    },
    /// Look a host name up.
    Resolve {
        /// New.
        ticket: Ticket,
        /// As the user wrote it.
        host: String,
        /// Goes into the addresses.
        port: u16,
    },
    /// Read rows.
    Load(Scan<'a>),
    /// Make changes durable, all or nothing.
    Store {
        /// New.
        ticket: Ticket,
        /// In order.
        batch: Batch<'a>,
    },
    /// Tell the application.
    Event(E),
}
