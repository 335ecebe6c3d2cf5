//! A node's way out: what it does in a turn goes to the network at once.

use core::net::SocketAddr;
use core::time::Duration;

use andon_kernel::{ConnId, Ticket};

use super::network::Network;
use super::node::NodeId;
use super::trace::Traced;

/// What a node does with, in a turn. Bytes for one connection that are sent one after the other go out as one.
#[derive(Debug)]
pub struct Port<'a> {
    pub(super) network: &'a mut Network,
    pub(super) node: NodeId,
}

impl Port<'_> {
    /// Which node's it is.
    pub const fn node(&self) -> NodeId {
        self.node
    }

    /// Opens a connection.
    pub fn connect(&mut self, conn: ConnId, addr: SocketAddr) {
        self.network.send_gathered(self.node);
        self.network.traced(self.node, || Traced::Connect { conn, addr });
        self.network.connect(self.node, conn, addr);
    }

    /// Sends bytes.
    pub fn send(&mut self, conn: ConnId, bytes: &[u8]) {
        self.network.traced(self.node, || Traced::Send { conn, bytes });
        self.network.gather(self.node, conn, bytes);
    }

    /// Stops reading from a connection, or goes on.
    pub fn pause(&mut self, conn: ConnId, paused: bool) {
        self.network.send_gathered(self.node);
        self.network.traced(self.node, || Traced::Pause { conn, paused });
        self.network.pause(self.node, conn, paused);
    }

    /// Asks to be told when everything sent so far has gone to the socket.
    pub fn flush(&mut self, conn: ConnId) {
        self.network.send_gathered(self.node);
        self.network.traced(self.node, || Traced::Flush { conn });
        self.network.flush(self.node, conn);
    }

    /// Closes a connection, after what was sent if `flush`.
    pub fn close(&mut self, conn: ConnId, flush: bool) {
        self.network.send_gathered(self.node);
        self.network.traced(self.node, || Traced::Close { conn, flush });
        self.network.close(self.node, conn, flush);
    }

    /// Breaks a connection off: the other side is told [`Reset`](andon_kernel::Disconnect::Reset).
    pub fn reset(&mut self, conn: ConnId) {
        self.network.send_gathered(self.node);
        self.network.traced(self.node, || Traced::Reset { conn });
        self.network.reset(self.node, conn);
    }

    /// Closes our half of a connection, behind what was sent; what the other side sends still comes.
    pub fn shut(&mut self, conn: ConnId) {
        self.network.send_gathered(self.node);
        self.network.traced(self.node, || Traced::Shut { conn });
        self.network.shut_half(self.node, conn);
    }

    /// How many bytes a connection's socket takes at once; what is sent beyond that waits in the node.
    pub fn room(&mut self, conn: ConnId) -> usize {
        self.network.send_gathered(self.node);
        self.network.room(self.node, conn)
    }

    /// How many bytes may be on their way here, or here and not taken, before the other side waits: 4 MiB unless this is called.
    pub fn set_window(&mut self, conn: ConnId, bytes: usize) {
        self.network.set_window(self.node, conn, bytes);
    }

    /// How many connections there are: those being opened and being closed count too.
    pub fn connections(&self) -> usize {
        self.network.sites[self.node.index()].ends.len()
    }

    /// Stops the node's driver: nobody is let in any more, nobody dialled, and what is open is closed after what was sent.
    pub fn stop(&mut self) {
        self.network.send_gathered(self.node);
        self.network.stop(self.node);
    }

    /// Ends the node's process, as [`Crash::Process`](super::Crash::Process) does: this is its last turn.
    pub fn exit(&mut self) {
        self.network.send_gathered(self.node);
        self.network.exit(self.node);
    }

    /// Sends a datagram.
    pub fn datagram(&mut self, to: SocketAddr, bytes: &[u8]) {
        self.network.send_gathered(self.node);
        self.network.traced(self.node, || Traced::Datagram { to, bytes });
        self.network.datagram(self.node, to, bytes);
    }

    /// Looks a name up.
    pub fn resolve(&mut self, ticket: Ticket, host: &str, port: u16) {
        self.network.traced(self.node, || Traced::Resolve { host, port });
        self.network.resolve(self.node, ticket, host, port);
    }

    /// Asks for [`Due`](super::NodeInput::Due) after a time, once for each call.
    pub fn after(&mut self, time: Duration) {
        self.network.after(self.node, time);
    }

    /// Says something to whoever traces the run.
    pub fn note(&mut self, text: impl FnOnce() -> String) {
        if self.network.is_traced() {
            let text = text();
            self.network.traced(self.node, || Traced::Note { text: &text });
        }
    }
}
