//! The other side's sockets, as nodes: each does what a system does for a blocking socket, and bytes that were not read stay in the network.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use andon_driver_conformance::stage::{self, LIMIT};
use andon_kernel::{ConnId, Disconnect, Instant, Now};
use andon_sim::world::{Node, NodeId, NodeInput, Port};

use crate::stage::{Scenery, Stagehands};

/// Sockets of one address.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    connections: BTreeMap<ConnId, Socket>,
    /// Let in and not accepted.
    waiting: VecDeque<ConnId>,
    datagrams: VecDeque<(Vec<u8>, SocketAddr)>,
}

#[derive(Debug, Default)]
struct Socket {
    /// What has come for a read and was more than that wanted.
    left: VecDeque<u8>,
    /// Whether a read waits; else it is paused.
    reads: bool,
    has_end: bool,
    over: Option<Disconnect>,
}

impl Node for Sockets {
    fn turn(&mut self, _: Now, input: NodeInput<'_>, port: &mut Port<'_>) {
        match input {
            NodeInput::Connected { conn, .. } => {
                port.pause(conn, true);
                self.connections.insert(conn, Socket::default());
                if conn.is_accepted() {
                    self.waiting.push_back(conn);
                }
            }
            NodeInput::Received { conn, bytes } => {
                port.pause(conn, true);
                let socket = self.connections.entry(conn).or_default();
                socket.reads = false;
                socket.left.extend(&*bytes);
            }
            NodeInput::HalfClosed { conn } => self.connections.entry(conn).or_default().has_end = true,
            NodeInput::Disconnected { conn, reason } => {
                self.connections.entry(conn).or_default().over = Some(reason);
            }
            NodeInput::Datagram { from, bytes } => self.datagrams.push_back((bytes.to_vec(), from)),
            NodeInput::Start
            | NodeInput::Wake
            | NodeInput::Due
            | NodeInput::Drained { .. }
            | NodeInput::Resolved { .. } => {}
        }
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }

    fn keeps_half(&self) -> bool {
        true
    }
}

fn error(reason: Disconnect) -> io::Error {
    io::Error::from(match reason {
        Disconnect::Refused => ErrorKind::ConnectionRefused,
        Disconnect::TimedOut => ErrorKind::TimedOut,
        Disconnect::Reset => ErrorKind::ConnectionReset,
        _ => ErrorKind::NotConnected,
    })
}

impl Sockets {
    fn read(&mut self, conn: ConnId, most: usize, port: &mut Port<'_>) -> Option<io::Result<Vec<u8>>> {
        let socket = self.connections.entry(conn).or_default();
        if !socket.left.is_empty() {
            let count = most.min(socket.left.len());
            return Some(Ok(socket.left.drain(..count).collect()));
        }
        if socket.has_end {
            return Some(Ok(Vec::new()));
        }
        if let Some(reason) = socket.over {
            return Some(Err(error(reason)));
        }
        if !std::mem::replace(&mut socket.reads, true) {
            port.pause(conn, false);
        }
        None
    }

    fn write(&mut self, conn: ConnId, bytes: &[u8], port: &mut Port<'_>) -> Option<io::Result<usize>> {
        if let Some(reason) = self.connections.entry(conn).or_default().over {
            return Some(Err(error(reason)));
        }
        let count = port.room(conn).min(bytes.len());
        port.send(conn, &bytes[..count]);
        (count > 0).then_some(Ok(count))
    }

    fn close(&mut self, conn: ConnId, port: &mut Port<'_>) {
        // What was taken out of the network and never read is unread, too.
        if self.connections.remove(&conn).is_some_and(|socket| !socket.left.is_empty()) {
            port.reset(conn);
        } else {
            port.close(conn, false);
        }
    }

    fn close_listener(&mut self, port: &mut Port<'_>) {
        for conn in std::mem::take(&mut self.waiting) {
            port.reset(conn);
        }
    }
}

/// Which socket, and the way to it. Closed with the last who has it.
struct Owned {
    turns: Stagehands,
    node: NodeId,
    conn: ConnId,
}

impl Drop for Owned {
    fn drop(&mut self) {
        let (node, conn) = (self.node, self.conn);
        let act = move |scene: &mut Scenery| {
            scene.sockets(node, |sockets, port| sockets.close(conn, port));
            Some(())
        };
        self.turns.ask_what_is_there(Duration::ZERO, act);
    }
}

/// A connection.
pub(crate) struct Stream(Arc<Owned>);

impl Stream {
    pub(crate) fn connect(turns: &Stagehands, to: SocketAddr) -> io::Result<Self> {
        const CONN: ConnId = ConnId::dialled(0);
        let node = turns.act(move |scene| {
            let node = scene.add_sockets(None);
            scene.sockets(node, |_, port| port.connect(CONN, to));
            node
        });
        let connected = turns.ask(LIMIT, move |scene| {
            scene.sockets(node, |sockets, _| match sockets.connections.get(&CONN)?.over {
                None => Some(Ok(())),
                Some(reason) => Some(Err(error(reason))),
            })
        });
        connected.ok_or(ErrorKind::TimedOut)??;
        Ok(Self(Arc::new(Owned { turns: turns.clone(), node, conn: CONN })))
    }

    fn ask<R: Send + 'static>(
        &self,
        mut attempt: impl FnMut(&mut Sockets, ConnId, &mut Port<'_>) -> Option<io::Result<R>> + Send + 'static,
    ) -> io::Result<R> {
        let (node, conn) = (self.0.node, self.0.conn);
        let attempt =
            move |scene: &mut Scenery| scene.sockets(node, |sockets, port| attempt(sockets, conn, port));
        self.0.turns.ask(LIMIT, attempt).unwrap_or_else(|| Err(ErrorKind::TimedOut.into()))
    }

    fn act(&self, act: impl FnOnce(ConnId, &mut Port<'_>) + Send + 'static) {
        let (node, conn) = (self.0.node, self.0.conn);
        self.0.turns.act(move |scene| scene.sockets(node, |_, port| act(conn, port)));
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len();
        let bytes = self.ask(move |sockets, conn, port| sockets.read(conn, most, port))?;
        buffer[..bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len())
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let bytes = bytes.to_vec();
        self.ask(move |sockets, conn, port| sockets.write(conn, &bytes, port))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl stage::Stream for Stream {
    fn twin(&self) -> Self {
        Self(Arc::clone(&self.0))
    }

    fn shut(&self) {
        self.act(|conn, port| port.shut(conn));
    }

    fn reset(self) {
        self.act(|conn, port| port.reset(conn));
    }

    fn set_receive_buffer(&self, bytes: usize) {
        self.act(move |conn, port| port.set_window(conn, bytes));
    }

    /// What a socket takes is the same for all.
    fn set_send_buffer(&self, _: usize) {}

    /// Nothing waits for more in a world.
    fn set_nodelay(&self) {}
}

/// Accepts connections.
pub(crate) struct Listener {
    turns: Stagehands,
    node: NodeId,
    address: SocketAddr,
}

impl Listener {
    pub(crate) fn new(turns: &Stagehands, at: SocketAddr) -> io::Result<Self> {
        let (node, address) = turns.act(move |scene| {
            let address = scene.free_address(at)?;
            Ok::<_, io::Error>((scene.add_sockets(Some(address)), address))
        })?;
        Ok(Self { turns: turns.clone(), node, address })
    }
}

impl stage::Listener for Listener {
    type Stream = Stream;

    fn local_addr(&self) -> SocketAddr {
        self.address
    }

    fn accept(&self) -> io::Result<Stream> {
        let node = self.node;
        let accepted =
            self.turns.ask(LIMIT, move |scene| scene.sockets(node, |sockets, _| sockets.waiting.pop_front()));
        let conn = accepted.ok_or(ErrorKind::TimedOut)?;
        Ok(Stream(Arc::new(Owned { turns: self.turns.clone(), node, conn })))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let (node, address) = (self.node, self.address);
        let act = move |scene: &mut Scenery| {
            scene.world.remove_address(address);
            scene.sockets(node, Sockets::close_listener);
            Some(())
        };
        self.turns.ask_what_is_there(Duration::ZERO, act);
    }
}

/// A socket for datagrams.
pub(crate) struct Datagrams {
    turns: Stagehands,
    node: NodeId,
    address: SocketAddr,
}

impl Datagrams {
    pub(crate) fn new(turns: &Stagehands) -> Self {
        let (node, address) = turns.act(|scene| {
            let node = scene.add_sockets(None);
            (node, scene.world.address(node))
        });
        Self { turns: turns.clone(), node, address }
    }
}

impl stage::Datagrams for Datagrams {
    fn local_addr(&self) -> SocketAddr {
        self.address
    }

    fn send(&self, bytes: &[u8], to: SocketAddr) {
        let (node, bytes) = (self.node, bytes.to_vec());
        self.turns.act(move |scene| scene.sockets(node, |_, port| port.datagram(to, &bytes)));
    }

    fn receive(&self) -> (Vec<u8>, SocketAddr) {
        let node = self.node;
        let attempt =
            move |scene: &mut Scenery| scene.sockets(node, |sockets, _| sockets.datagrams.pop_front());
        self.turns.ask(LIMIT, attempt).expect("a datagram")
    }
}

impl Drop for Datagrams {
    fn drop(&mut self) {
        let address = self.address;
        let act = move |scene: &mut Scenery| {
            scene.world.remove_address(address);
            Some(())
        };
        self.turns.ask_what_is_there(Duration::ZERO, act);
    }
}
