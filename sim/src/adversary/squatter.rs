//! Somebody who takes the places that a node has for who dials it, and keeps them.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::BTreeMap;

use andon_bitcoin::transport::{Incoming, Reader, Writer, unencrypted};
use andon_bitcoin::wire::{Message, PROTOCOL_VERSION, Version};
use andon_kernel::{ConnId, Instant, Link, Names, Now};
use bitcoin::Network;
use bitcoin::p2p::ServiceFlags;

use super::Controller;
use crate::world::{Node, NodeInput, Port};

/// How long it waits before it dials for a place that it did not get, or has lost.
const AGAIN: Duration = Duration::from_secs(10);

/// Dials one node, as often as it is told to, shakes hands, and says no more than keeps each connection open. What is asked of it it
/// does not answer, but for pings.
#[derive(Debug)]
pub struct Squatter {
    target: SocketAddr,
    network: Network,
    wants: usize,
    names: Names,
    seats: BTreeMap<ConnId, Seat>,
    again: Option<Instant>,
    taken: u64,
    lost: u64,
    bytes: u64,
    controller: Option<Controller>,
}

#[derive(Debug)]
struct Seat {
    reader: Reader,
    writer: Writer,
    is_taken: bool,
}

impl Squatter {
    /// One that is to hold so many places of the node at an address.
    pub fn new(network: Network, target: SocketAddr, wants: usize) -> Self {
        Self {
            target,
            network,
            wants,
            names: Names::default(),
            seats: BTreeMap::new(),
            again: None,
            taken: 0,
            lost: 0,
            bytes: 0,
            controller: None,
        }
    }

    /// One that this one controls: it dials while it may, and pays for what it sends.
    pub fn controlled_by(mut self, controller: &Controller) -> Self {
        self.controller = Some(controller.clone());
        self
    }

    /// How many places it has.
    pub fn holds(&self) -> usize {
        self.seats.values().filter(|seat| seat.is_taken).count()
    }

    /// How many places it has got so far, and how many of its connections have ended.
    pub const fn history(&self) -> (u64, u64) {
        (self.taken, self.lost)
    }

    /// Bytes that it has sent.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    fn dial(&mut self, now: Now, port: &mut Port<'_>) {
        self.again = None;
        let waits = self.controller.as_ref().is_some_and(|controller| !controller.strikes(now.unix));
        if waits {
            self.again = Some(now.instant + AGAIN);
            return;
        }
        while self.seats.len() < self.wants {
            let conn = self.names.conn();
            let (reader, writer) = unencrypted(self.network.magic().to_bytes());
            self.seats.insert(conn, Seat { reader, writer, is_taken: false });
            port.connect(conn, self.target);
        }
    }

    fn send(&mut self, now: Now, conn: ConnId, message: &Message<'_>, port: &mut Port<'_>) {
        let Some(seat) = self.seats.get_mut(&conn) else { return };
        let mut bytes = Vec::new();
        seat.writer.write(message, &mut bytes);
        self.bytes += bytes.len() as u64;
        if let Some(controller) = &self.controller {
            controller.pay(now.unix, bytes.len());
        }
        port.send(conn, &bytes);
    }

    fn introduce(&mut self, now: Now, conn: ConnId, port: &mut Port<'_>) {
        let version = Version {
            protocol: PROTOCOL_VERSION,
            services: ServiceFlags::NETWORK | ServiceFlags::WITNESS,
            time: i64::try_from(now.unix.as_secs()).unwrap_or(i64::MAX),
            nonce: conn.as_u64() + 1,
            user_agent: b"/Satoshi:28.1.0/",
            start_height: 0,
            relay: false,
        };
        self.send(now, conn, &Message::Version(version), port);
    }

    fn received(&mut self, now: Now, conn: ConnId, bytes: &mut [u8], port: &mut Port<'_>) {
        let Some(seat) = self.seats.get_mut(&conn) else { return };
        let mut incoming = Incoming::new(bytes);
        let mut replies = Vec::new();
        loop {
            match seat.reader.next(&mut incoming) {
                Ok(Some(frame)) => match Message::decode(frame.command, frame.payload) {
                    Ok(Message::Version(_)) => replies.push(Message::Verack),
                    Ok(Message::Verack) => {
                        self.taken += u64::from(!core::mem::replace(&mut seat.is_taken, true));
                    }
                    Ok(Message::Ping(nonce)) => replies.push(Message::Pong(nonce)),
                    _ => {}
                },
                Ok(None) => break,
                // No node sends that; if one does, its place is worth nothing.
                Err(_) => return port.close(conn, false),
            }
        }
        for reply in replies {
            self.send(now, conn, &reply, port);
        }
    }
}

impl Node for Squatter {
    fn turn(&mut self, now: Now, input: NodeInput<'_>, port: &mut Port<'_>) {
        match input {
            NodeInput::Start | NodeInput::Wake => self.dial(now, port),
            NodeInput::Connected { conn, link: Link::Outbound, .. } => self.introduce(now, conn, port),
            // Nobody is let in.
            NodeInput::Connected { conn, link: Link::Inbound, .. } => port.close(conn, false),
            NodeInput::Received { conn, bytes } => self.received(now, conn, bytes, port),
            NodeInput::Disconnected { conn, .. } => {
                if self.seats.remove(&conn).is_some() {
                    self.lost += 1;
                    self.again.get_or_insert(now.instant + AGAIN);
                }
            }
            NodeInput::Drained { .. }
            | NodeInput::Datagram { .. }
            | NodeInput::Resolved { .. }
            | NodeInput::HalfClosed { .. }
            | NodeInput::Due => {}
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.again
    }
}
