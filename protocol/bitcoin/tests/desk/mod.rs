//! A client on a desk: a test plays its driver and its peers, one input at a time, and reads every effect.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::net::SocketAddr;
use std::time::Duration;

use andon_bitcoin::client::{Client, Command, Config, Encryption, Endpoint, Event, Reason};
use andon_bitcoin::fixture::{Fixture, regtest};
use andon_bitcoin::wire::{
    FILTER_TYPE_BASIC, FilterRequest, FrameReader, Message, PROTOCOL_VERSION, Version,
};
use andon_bitcoin::{filter, wire};
use andon_kernel::{
    Checked, ConnId, Disconnect, Effect, Input, Instant, Link, MemoryStore, Now, Shell, UnixTime,
};
use bitcoin::block::Header;
use bitcoin::hashes::Hash;
use bitcoin::p2p::ServiceFlags;
use bitcoin::{BlockHash, FilterHash, FilterHeader, Network};

pub(crate) const MAGIC: [u8; 4] = [0xfa, 0xbf, 0xb5, 0xda];

/// After the fixture's last block.
pub(crate) const BEGIN: u64 = 1_800_000_000;

pub(crate) struct Desk {
    pub(crate) shell: Shell<Checked<Client>, MemoryStore>,
    pub(crate) now: Instant,
    pub(crate) fixture: Fixture,
    /// What was sent since it was looked at last: names, with what they ask for.
    pub(crate) sent: Vec<(ConnId, Vec<u8>)>,
    pub(crate) events: Vec<Event>,
    pub(crate) closed: Vec<ConnId>,
    pub(crate) dialled: Vec<ConnId>,
    pub(crate) resolving: Vec<andon_kernel::Ticket>,
    /// How many bytes a turn brings at most.
    pub(crate) piece: usize,
    magic: [u8; 4],
    /// Nonces of the pings that were sent, which are left out of what was sent.
    pub(crate) pings: Vec<u64>,
}

pub(crate) fn peer_address(index: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 20_000 + index))
}

pub(crate) fn services() -> ServiceFlags {
    ServiceFlags::NETWORK | ServiceFlags::WITNESS | ServiceFlags::COMPACT_FILTERS
}

pub(crate) fn version(height: i32) -> Version<'static> {
    Version {
        protocol: PROTOCOL_VERSION,
        services: services(),
        time: BEGIN as i64,
        nonce: 77,
        user_agent: b"/test:1/",
        start_height: height,
        relay: true,
    }
}

impl Desk {
    /// A client that has dialled as many peers and watches the fixture's scripts.
    pub(crate) fn new(peers: u16) -> Self {
        let mut config = Config::new(Network::Regtest, [9; 32]);
        config.discovery = None;
        config.peers = (0..peers).map(|index| Endpoint::Address(peer_address(index))).collect();
        Self::with(config)
    }

    /// Its peers are played by hand, so nothing is encrypted.
    pub(crate) fn with(mut config: Config) -> Self {
        config.encryption = Encryption::Off;
        Self::encrypting(config)
    }

    /// As configured.
    pub(crate) fn encrypting(config: Config) -> Self {
        let magic = config.network.magic().to_bytes();
        let mut desk = Self {
            magic,
            pings: Vec::new(),
            shell: Shell::new(Checked::new(Client::new(config)), MemoryStore::new()),
            now: Instant::ZERO,
            fixture: regtest(),
            sent: Vec::new(),
            events: Vec::new(),
            closed: Vec::new(),
            dialled: Vec::new(),
            resolving: Vec::new(),
            piece: usize::MAX,
        };
        desk.turn(Input::Start);
        let scripts = desk.fixture.watch_scripts.iter().map(|script| (*script).into()).collect();
        desk.turn(Input::Command(Command::Watch {
            scripts,
            from: andon_bitcoin::client::Birthday::Height(0),
        }));
        desk
    }

    pub(crate) fn turn(&mut self, input: Input<'_, Command>) {
        let now = self.time();
        self.shell.turn(now, input);
        self.carry_out();
        while self.shell.complete(now).expect("memory does not fail") {
            self.carry_out();
        }
    }

    /// Lets time pass, with every wake that falls into it.
    pub(crate) fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(at) = self.shell.deadline().filter(|&at| at <= end) {
            self.now = self.now.max(at);
            let now = self.time();
            self.shell.wake(now);
            self.carry_out();
            while self.shell.complete(now).expect("memory does not fail") {
                self.carry_out();
            }
        }
        self.now = end;
    }

    fn time(&self) -> Now {
        Now { instant: self.now, unix: UnixTime::from_secs(BEGIN + self.now.as_micros() / 1_000_000) }
    }

    fn carry_out(&mut self) {
        while let Some(effect) = self.shell.pop().expect("memory does not fail") {
            match effect {
                Effect::Connect { conn, .. } => self.dialled.push(conn),
                Effect::Send { conn, bytes } => self.sent.push((conn, bytes.to_vec())),
                Effect::Close { conn, .. } => self.closed.push(conn),
                Effect::Event(event) => self.events.push(event),
                Effect::Resolve { ticket, .. } => self.resolving.push(ticket),
                effect => panic!("{effect:?}"),
            }
        }
    }

    pub(crate) fn connect(&mut self, conn: ConnId) {
        self.turn(Input::Connected { conn, remote: peer_address(0), link: Link::Outbound });
    }

    pub(crate) fn bytes(&mut self, conn: ConnId, bytes: &[u8]) {
        for piece in bytes.chunks(self.piece.min(bytes.len())) {
            if !self.closed.contains(&conn) {
                self.turn(Input::Received { conn, bytes: &mut piece.to_vec() });
            }
        }
    }

    pub(crate) fn receive(&mut self, conn: ConnId, message: &Message<'_>) {
        let mut bytes = Vec::new();
        message.write(&mut bytes, self.magic);
        self.bytes(conn, &bytes);
    }

    /// Connects and finishes the handshake; the peer claims this height.
    pub(crate) fn handshake(&mut self, conn: ConnId, height: i32) {
        self.connect(conn);
        self.receive(conn, &Message::Version(version(height)));
        self.receive(conn, &Message::Verack);
    }

    /// The first peer, past the handshake, with the fixture's headers up to `height` given.
    pub(crate) fn with_headers(height: u32) -> (Self, ConnId) {
        let mut desk = Self::new(1);
        let conn = desk.dialled[0];
        desk.handshake(conn, height as i32);
        let headers = desk.headers(1, height);
        desk.receive(conn, &Message::Headers(headers.as_slice().into()));
        (desk, conn)
    }

    /// As that, and with the filter headers.
    pub(crate) fn with_filter_headers(height: u32) -> (Self, ConnId) {
        let (mut desk, conn) = Self::with_headers(height);
        desk.give_filter_headers(conn, 0, height);
        (desk, conn)
    }

    pub(crate) fn headers(&self, from: u32, to: u32) -> Vec<Header> {
        (from..=to).map(|height| self.fixture.chain[height as usize].block().header).collect()
    }

    pub(crate) fn hash(&self, height: u32) -> BlockHash {
        self.fixture.chain[height as usize].hash()
    }

    pub(crate) fn filter_hashes(&self, from: u32, to: u32) -> Vec<FilterHash> {
        (from..=to).map(|height| filter::hash(self.fixture.chain[height as usize].filter)).collect()
    }

    pub(crate) fn previous(&self, height: u32) -> FilterHeader {
        match height {
            0 => FilterHeader::all_zeros(),
            height => self.fixture.chain[height as usize - 1].filter_header,
        }
    }

    pub(crate) fn give_filter_headers(&mut self, conn: ConnId, from: u32, to: u32) {
        let hashes = self.filter_hashes(from, to);
        self.receive(
            conn,
            &Message::CFHeaders {
                filter_type: FILTER_TYPE_BASIC,
                stop_hash: self.hash(to),
                previous_filter_header: self.previous(from),
                filter_hashes: hashes.as_slice().into(),
            },
        );
    }

    pub(crate) fn give_filter(&mut self, conn: ConnId, height: u32) {
        let block = self.fixture.chain[height as usize];
        self.receive(
            conn,
            &Message::CFilter {
                filter_type: FILTER_TYPE_BASIC,
                block_hash: block.hash(),
                filter: block.filter,
            },
        );
    }

    pub(crate) fn give_block(&mut self, conn: ConnId, height: u32) {
        let block = self.fixture.chain[height as usize];
        self.receive(conn, &Message::Block(block.bytes));
    }

    /// Names of the messages sent since this was asked last, each with what it asks for.
    pub(crate) fn take_sent(&mut self) -> Vec<String> {
        let mut names = Vec::new();
        for (_, bytes) in std::mem::take(&mut self.sent) {
            let mut reader = FrameReader::new(self.magic);
            let mut rest = bytes.as_slice();
            while let Some(frame) = reader.next(&mut rest).expect("the client sends frames") {
                let message =
                    Message::decode(frame.command, frame.payload).expect("it sends what it can read");
                match message {
                    Message::Ping(nonce) => self.pings.push(nonce),
                    message => names.push(self.name(&message)),
                }
            }
        }
        names
    }

    fn name(&self, message: &Message<'_>) -> String {
        let height = |hash: &BlockHash| {
            let chain = self.fixture.chain.iter();
            chain
                .clone()
                .find(|block| block.hash() == *hash)
                .map_or_else(|| "?".into(), |block| block.height.to_string())
        };
        let range =
            |request: &FilterRequest| format!("{}..={}", request.start_height, height(&request.stop_hash));
        match message {
            Message::GetHeaders(request) => {
                format!("getheaders {}", height(&request.locator.at(0).expect("a locator is not empty")))
            }
            Message::GetCFHeaders(request) => format!("getcfheaders {}", range(request)),
            Message::GetCFilters(request) => format!("getcfilters {}", range(request)),
            Message::GetData(wanted) => {
                let heights: Vec<String> =
                    wanted.iter().map(|item| height(&BlockHash::from_byte_array(item.hash))).collect();
                format!("getdata {}", heights.join(","))
            }
            other => other.command().to_string(),
        }
    }

    /// Why the peer was let go.
    pub(crate) fn farewell(&self) -> Option<Reason> {
        self.events.iter().rev().find_map(|event| match event {
            Event::PeerDisconnected { reason, .. } => Some(reason.clone()),
            _ => None,
        })
    }

    pub(crate) fn disconnect(&mut self, conn: ConnId, reason: Disconnect) {
        self.turn(Input::Disconnected { conn, reason });
    }

    pub(crate) fn is_synced(&self) -> bool {
        self.events.iter().any(|event| matches!(event, Event::Synced(_)))
    }
}

/// A frame with any name and contents.
pub(crate) fn frame(command: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    wire::write_frame(&mut bytes, MAGIC, wire::CommandName::new(command), |out| {
        out.extend_from_slice(payload)
    });
    bytes
}
