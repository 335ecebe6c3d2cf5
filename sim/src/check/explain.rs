//! Why a peer was dialled: who told of it and when, where it was put in the book of addresses, when it was dialled and for what, and what
//! came of that. All of it is what can be seen from outside: what came over connections in the clear, names, dials, events, and the
//! client's own rows.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use andon_bitcoin::addresses::{ADDRESSES, Grouping, Location, Places, Restoring, Source};
use andon_bitcoin::client::{Endpoint, Event};
use andon_bitcoin::wire::{FrameReader, Host, Message};
use andon_kernel::{ConnId, Rng};
use bitcoin::Network;

use super::member::Watched;
use crate::world::{NodeId, NodeInput, Time, Trace, Traced};

/// Something that happened with a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// When.
    pub at: Time,
    /// In which turn.
    pub turn: u64,
    /// What, in words.
    pub what: String,
}

/// What is known of a peer's way to the client. Shared by who looks at the network and who looks at the client.
#[derive(Debug)]
pub(super) struct Explaining {
    client: NodeId,
    address: SocketAddr,
    name: String,
    /// What nodes are called, by their addresses.
    names: BTreeMap<IpAddr, String>,
    causes: Vec<Cause>,
    turn: u64,
    /// Connections of the client: whereto, and what comes in the clear.
    connections: BTreeMap<ConnId, (SocketAddr, Option<FrameReader>)>,
    row: Option<Vec<u8>>,
}

impl Explaining {
    pub(super) fn new(
        client: NodeId,
        address: SocketAddr,
        name: String,
        given: &str,
        names: BTreeMap<IpAddr, String>,
    ) -> Rc<RefCell<Self>> {
        let begin = Cause { at: Time::ZERO, turn: 0, what: format!("{address}: {given}") };
        Rc::new(RefCell::new(Self {
            client,
            address,
            name,
            names,
            causes: vec![begin],
            turn: 0,
            connections: BTreeMap::new(),
            row: None,
        }))
    }

    /// All that happened, in order.
    pub(super) fn take(&mut self) -> Vec<Cause> {
        core::mem::take(&mut self.causes)
    }

    fn note(&mut self, at: Time, what: String) {
        self.causes.push(Cause { at, turn: self.turn, what });
    }

    fn called(&self, ip: IpAddr) -> String {
        self.names.get(&ip).cloned().unwrap_or_else(|| ip.to_string())
    }

    /// Looks at what the client tells its application, and at what it has written down.
    pub(super) fn look(&mut self, at: Time, client: &Watched) {
        for event in client.host.watch.news() {
            let (endpoint, what) = match event {
                Event::PeerConnected { endpoint, purpose, transport, .. } => {
                    (endpoint, format!("its handshake is finished, for {purpose:?} ({transport})"))
                }
                Event::PeerDisconnected { endpoint, purpose, connected, reason } => {
                    let worked = if *connected { "" } else { ", and was never worked with" };
                    (endpoint, format!("it is gone: {reason}. It was dialled for {purpose:?}{worked}"))
                }
                _ => continue,
            };
            let is_it = match endpoint {
                Endpoint::Address(address) => *address == self.address,
                Endpoint::Host { name, .. } => *name == self.name,
            };
            if is_it {
                self.note(at, what);
            }
        }
        self.look_at_book(at, client);
    }

    fn look_at_book(&mut self, at: Time, client: &Watched) {
        let IpAddr::V4(ip) = self.address.ip() else { return };
        // As the rows' keys are: a node, of IPv4, its address and its port.
        let mut key = vec![1, 1];
        key.extend_from_slice(&ip.octets());
        key.extend_from_slice(&self.address.port().to_be_bytes());
        let written = client.host.store().written();
        let row = written.rows(ADDRESSES).find(|(found, _)| *found == key).map(|(_, value)| value.to_vec());
        if row == self.row {
            return;
        }
        let is_gone = row.is_none();
        self.row = row;
        if is_gone {
            return self.note(at, "it is no longer in the book".to_owned());
        }
        let mut restoring = Restoring::new(Grouping::by_prefix(), &mut Rng::new([0; 32]));
        for (key, value) in written.rows(ADDRESSES) {
            // What can't be used is left out.
            let _ = restoring.take(key, value);
        }
        let (book, _) = restoring.finish();
        let location = Location { host: Host::Ip(self.address.ip()), port: self.address.port() };
        let Some(entry) = book.entry(&location) else { return };
        let source = match entry.source {
            Source::Node(Host::Ip(ip)) => self.called(ip),
            Source::Node(host) => format!("{host:?}"),
            Source::Named(_) => "a seed".to_owned(),
        };
        let place = match &entry.places {
            Places::Tried => {
                let cell = book.tried_cell(&location);
                format!("among those reached, bucket {} place {}", cell.bucket(), cell.position())
            }
            Places::New(references) => {
                let cells = references.cells().iter();
                let cells: Vec<String> =
                    cells.map(|cell| format!("bucket {} place {}", cell.bucket(), cell.position())).collect();
                format!("among those heard of, {}", cells.join(", "))
            }
        };
        let what = format!(
            "the book has it written down: {source} told of it first; {place}; {} attempts since it was reached last",
            entry.attempts
        );
        self.note(at, what);
    }

    fn happened(&mut self, at: Time, node: NodeId, what: &Traced<'_>) {
        self.turn += u64::from(matches!(what, Traced::Input(_)));
        if node != self.client {
            return;
        }
        match what {
            Traced::Connect { conn, addr } => {
                let magic = Network::Regtest.magic().to_bytes();
                self.connections.insert(*conn, (*addr, Some(FrameReader::new(magic))));
                if *addr == self.address {
                    self.note(at, format!("it is dialled, as {conn:?}"));
                }
            }
            Traced::Resolve { host, .. } if *host == self.name => {
                self.note(at, format!("its name {host} is looked up"));
            }
            Traced::Input(NodeInput::Resolved { addrs, .. }) if addrs.contains(&self.address) => {
                self.note(at, "a name leads to it".to_owned());
            }
            Traced::Input(NodeInput::Connected { conn, remote, .. }) if *remote == self.address => {
                self.note(at, format!("{conn:?} is open"));
            }
            Traced::Input(NodeInput::Disconnected { conn, reason })
                if self.connections.remove(conn).is_some_and(|(remote, _)| remote == self.address) =>
            {
                self.note(at, format!("{conn:?} is over: {reason}"));
            }
            Traced::Input(NodeInput::Received { conn, bytes }) if self.is_told_of(*conn, bytes) => {
                let teller = self.connections.get(conn).map(|(remote, _)| self.called(remote.ip()));
                self.note(at, format!("{} tells of it", teller.unwrap_or_default()));
            }
            _ => {}
        }
    }

    /// Whether some bytes, if they are no secret, tell of the peer.
    fn is_told_of(&mut self, conn: ConnId, bytes: &[u8]) -> bool {
        let Some((_, reader)) = self.connections.get_mut(&conn) else { return false };
        let Some(frames) = reader else { return false };
        let (mut rest, mut is_told) = (bytes, false);
        loop {
            match frames.next(&mut rest) {
                Ok(Some(frame)) => {
                    if let Ok(Message::Addr(told) | Message::AddrV2(told)) =
                        Message::decode(frame.command, frame.payload)
                    {
                        is_told |= told.iter().any(|told| {
                            told.host == Host::Ip(self.address.ip()) && told.port == self.address.port()
                        });
                    }
                }
                Ok(None) => return is_told,
                Err(_) => {
                    *reader = None;
                    return is_told;
                }
            }
        }
    }
}

/// Looks at the network for an explanation, and lets another look as well.
pub(super) struct Listening {
    pub(super) explaining: Rc<RefCell<Explaining>>,
    pub(super) other: Option<Box<dyn Trace>>,
}

impl Trace for Listening {
    fn happened(&mut self, at: Time, node: NodeId, what: Traced<'_>) {
        self.explaining.borrow_mut().happened(at, node, &what);
        if let Some(other) = &mut self.other {
            other.happened(at, node, what);
        }
    }
}
