//! Looking at a run while it runs.

use core::net::SocketAddr;

use andon_kernel::ConnId;

use super::node::{NodeId, NodeInput};
use super::time::Time;

/// What a node was told, or did.
#[derive(Debug)]
#[expect(missing_docs, reason = "each is the input or the effect of the same name")]
pub enum Traced<'a> {
    Input(&'a NodeInput<'a>),
    Connect {
        conn: ConnId,
        addr: SocketAddr,
    },
    Send {
        conn: ConnId,
        bytes: &'a [u8],
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
    /// A node's half is closed, behind what was sent.
    Shut {
        conn: ConnId,
    },
    /// It is broken off.
    Reset {
        conn: ConnId,
    },
    Datagram {
        to: SocketAddr,
        bytes: &'a [u8],
    },
    Resolve {
        host: &'a str,
        port: u16,
    },
    /// Something that a node said of itself: an event for its application, as a rule.
    Note {
        text: &'a str,
    },
}

/// Looks at a run. It sees everything and can change nothing.
pub trait Trace {
    /// Something happened.
    fn happened(&mut self, at: Time, node: NodeId, what: Traced<'_>);
}
