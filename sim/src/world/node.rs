//! What lives in a world.

use core::net::SocketAddr;

use andon_kernel::{ConnId, Disconnect, Instant, Link, Now, Ticket};

use super::port::Port;

/// A node of a world, counted from zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

impl NodeId {
    pub(super) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// What happens to a node: [`andon_kernel::Input`] without what an application and a store say, since those are the node's own.
#[derive(Debug)]
#[expect(missing_docs, reason = "each is the kernel's input of the same name")]
pub enum NodeInput<'a> {
    Start,
    Wake,
    Connected {
        conn: ConnId,
        remote: SocketAddr,
        link: Link,
    },
    Received {
        conn: ConnId,
        bytes: &'a mut [u8],
    },
    Drained {
        conn: ConnId,
    },
    Disconnected {
        conn: ConnId,
        reason: Disconnect,
    },
    Datagram {
        from: SocketAddr,
        bytes: &'a mut [u8],
    },
    Resolved {
        ticket: Ticket,
        addrs: &'a [SocketAddr],
    },
    /// The other side sends no more. Only for a node that [keeps its half](Node::keeps_half); others are told that it is over.
    HalfClosed {
        conn: ConnId,
    },
    /// The time that was asked for by [`Port::after`] is over: a disk, or something else of the node's own, goes on.
    Due,
}

/// A node: a deterministic function of its inputs, as a machine is, with its store and its application.
pub trait Node {
    /// Takes one input; what is to be done goes through `port`, at once.
    fn turn(&mut self, now: Now, input: NodeInput<'_>, port: &mut Port<'_>);

    /// When [`NodeInput::Wake`] is due at the latest, on the node's clock. Read after each turn, and whenever the world likes.
    fn deadline(&self) -> Option<Instant>;

    /// Whether it takes what the network tells it now. Asked after each turn; what comes meanwhile waits, as does who dials it. It is woken
    /// all the same.
    fn reads(&self) -> bool {
        true
    }

    /// Whether its connections stay open when the other side has closed its half, until it closes its own. Drivers of machines close both.
    /// Asked when it starts.
    fn keeps_half(&self) -> bool {
        false
    }
}
