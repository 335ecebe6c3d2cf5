//! A server under test, whose effects read as lines of text.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

use andon_bitcoin::server::{Chain, Command, Config, Event, Reason, Server};
use andon_bitcoin::transport::initiate;
use andon_bitcoin::wire::{
    FrameReader, GetHeaders, INV_BLOCK, INV_TX, INV_WITNESS_BLOCK, INV_WITNESS_TX, INV_WTX, Inventory,
    Message, Version,
};
use andon_kernel::{
    Checked, ConnId, Disconnect, Input, Instant, Link, Machine, Now, Outbox, Output, UnixTime,
};
use bitcoin::hashes::Hash;
use bitcoin::p2p::ServiceFlags;
use bitcoin::{Block, BlockHash, Network, Txid};

use crate::common;
use crate::pair::{Side, by, shaped};

pub(crate) const MAGIC: [u8; 4] = [0xfa, 0xbf, 0xb5, 0xda];

pub(crate) struct Table {
    machine: Checked<Server>,
    out: Outbox<Event>,
    now: Instant,
    accepted: u64,
    conns: BTreeMap<ConnId, Seen>,
    /// Names for blocks, to read effects by.
    names: BTreeMap<BlockHash, String>,
    /// Transactions that were kept, and who sent them.
    pub(crate) kept: Vec<(Txid, Option<ConnId>)>,
    sent_last: Option<ConnId>,
}

#[derive(Default)]
struct Seen {
    sent: Vec<u8>,
    flushes: u32,
    closed: bool,
    /// Whether what it is sent is not looked at.
    deaf: bool,
    /// The peer's end, if it is encrypted.
    side: Option<Side>,
}

/// Of a server that takes no encrypted connections: then what comes before a version is read as well.
pub(crate) fn config() -> Config {
    let mut config = encrypting();
    config.encryption = false;
    config
}

pub(crate) fn encrypting() -> Config {
    Config::new(Network::Regtest, [7; 32])
}

impl Table {
    /// A server with a chain of `count` blocks, named by their heights.
    pub(crate) fn new(count: u32) -> Self {
        Self::with(config(), common::blocks(count))
    }

    pub(crate) fn with(config: Config, blocks: Vec<Block>) -> Self {
        let names = (0..).zip(&blocks).map(|(height, block)| (block.block_hash(), u32::to_string(&height)));
        let names = names.collect();
        let machine = Checked::new(Server::new(config, Chain::new(blocks).unwrap()));
        let mut table = Self {
            machine,
            out: Outbox::new(),
            now: Instant::from_micros(1_000_000),
            accepted: 0,
            conns: BTreeMap::new(),
            names,
            kept: Vec::new(),
            sent_last: None,
        };
        assert_eq!(table.input(Input::Start), [""; 0]);
        table
    }

    pub(crate) fn machine(&self) -> &Server {
        self.machine.machine()
    }

    pub(crate) fn chain(&self) -> &Chain {
        self.machine.machine().chain()
    }

    pub(crate) fn hash(&self, height: u32) -> BlockHash {
        self.chain().hash_at(height).unwrap()
    }

    /// Gives the blocks of a branch names: the prefix and their height.
    pub(crate) fn name(&mut self, prefix: &str, from: u32, blocks: &[Block]) {
        for (height, block) in (from..).zip(blocks) {
            self.names.insert(block.block_hash(), format!("{prefix}{height}"));
        }
    }

    /// One turn. The effects of more than one connection are told apart by nobody: tests look at one at a time.
    pub(crate) fn input(&mut self, input: Input<'_, Command>) -> Vec<String> {
        let now = Now { instant: self.now, unix: UnixTime::from_secs(1_700_000_000) };
        self.machine.handle(now, input, &mut self.out);
        let mut lines = Vec::new();
        let mut closing_flushes = false;
        while let Some(output) = self.out.pop() {
            match output {
                Output::Send { conn, bytes } => {
                    self.sent_last = Some(conn);
                    let seen = self.conns.get_mut(&conn).unwrap();
                    seen.sent.extend_from_slice(bytes);
                    let mut show = |command, payload: &[u8]| {
                        lines.push(describe(&Message::decode(command, payload).unwrap(), &self.names));
                    };
                    if seen.deaf {
                        continue;
                    }
                    if let Some(side) = &mut seen.side {
                        assert_eq!(side.receive(&mut bytes.to_vec()), None);
                        side.read.drain(..).for_each(|(command, payload)| show(command, &payload));
                        continue;
                    }
                    let mut reader = FrameReader::new(MAGIC);
                    let mut rest = bytes;
                    let frame = reader.next(&mut rest).unwrap().unwrap();
                    assert!(rest.is_empty(), "each message is sent on its own");
                    show(frame.command, frame.payload);
                }
                Output::Pause { paused, .. } => lines.push(if paused { "pause" } else { "resume" }.into()),
                Output::Flush { conn } => {
                    self.conns.get_mut(&conn).unwrap().flushes += 1;
                    lines.push("flush".into());
                }
                Output::Close { conn, flush } => {
                    closing_flushes = flush;
                    if let Some(seen) = self.conns.get_mut(&conn) {
                        seen.closed = true;
                    }
                    lines.push("close".into());
                }
                Output::Event(event) => lines.push(match event {
                    Event::PeerConnected { user_agent, .. } => format!("connected {user_agent}"),
                    Event::PeerDisconnected { connected, reason, .. } => {
                        // Who is refused gets what was answered before; whoever is gone or stalls, nothing more.
                        assert_eq!(
                            std::mem::take(&mut closing_flushes),
                            matches!(reason, Reason::Refused(_))
                        );
                        format!("gone {}: {reason}", if connected { "after" } else { "before" })
                    }
                    Event::ChainChanged { height, .. } => format!("tip {height}"),
                    Event::TransactionKept { txid, from } => {
                        self.kept.push((txid, from));
                        "kept".into()
                    }
                    Event::Rejected(rejection) => format!("rejected: {rejection}"),
                }),
                other => panic!("{other:?}"),
            }
        }
        lines
    }

    pub(crate) fn command(&mut self, command: Command) -> Vec<String> {
        self.input(Input::Command(command))
    }

    /// A connection that has not said anything.
    pub(crate) fn accept(&mut self) -> (ConnId, Vec<String>) {
        let conn = ConnId::accepted(self.accepted);
        self.accepted += 1;
        self.conns.insert(conn, Seen::default());
        let remote = SocketAddr::from(([127, 0, 0, 1], 50_000));
        let lines = self.input(Input::Connected { conn, remote, link: Link::Inbound });
        (conn, lines)
    }

    /// An encrypted connection, its keys agreed on and nothing said.
    pub(crate) fn accept_encrypted(&mut self, garbage: u16, piece: usize) -> ConnId {
        let (conn, _) = self.accept();
        let mut sent = Vec::new();
        let halves = initiate(MAGIC, by(self.accepted), shaped(garbage), &mut sent);
        self.conns.get_mut(&conn).unwrap().side = Some(Side::new(halves, sent));
        assert_eq!(self.carry(conn, piece), [""; 0]);
        conn
    }

    /// Carries what an encrypted peer sends, in pieces.
    pub(crate) fn carry(&mut self, conn: ConnId, piece: usize) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(side) = &mut self.conns.get_mut(&conn).unwrap().side
            && !side.sent.is_empty()
        {
            for piece in std::mem::take(&mut side.sent).chunks(piece) {
                lines.extend(self.receive(conn, piece));
            }
        }
        lines
    }

    /// The end of an encrypted peer.
    pub(crate) fn side(&mut self, conn: ConnId) -> &mut Side {
        self.conns.get_mut(&conn).unwrap().side.as_mut().unwrap()
    }

    /// A connection with its handshake done.
    pub(crate) fn connect(&mut self) -> ConnId {
        let (conn, lines) = self.accept();
        assert_eq!(lines, [""; 0]);
        let lines = self.receive(conn, &[bytes(&version()), bytes(&Message::Verack)].concat());
        assert!(lines.contains(&"connected /test/".into()), "{lines:?}");
        conn
    }

    /// Bytes from a peer, once.
    pub(crate) fn receive(&mut self, conn: ConnId, bytes: &[u8]) -> Vec<String> {
        self.input(Input::Received { conn, bytes: &mut bytes.to_vec() })
    }

    /// Bytes from a peer that does not read what it is sent.
    pub(crate) fn receive_raw(&mut self, conn: ConnId, bytes: &[u8]) -> Vec<String> {
        self.conns.get_mut(&conn).unwrap().deaf = true;
        self.receive(conn, bytes)
    }

    pub(crate) fn drain(&mut self, conn: ConnId) -> Vec<String> {
        let seen = self.conns.get_mut(&conn).unwrap();
        assert!(seen.flushes > 0);
        seen.flushes -= 1;
        self.input(Input::Drained { conn })
    }

    pub(crate) fn waits(&self, conn: ConnId) -> bool {
        self.conns[&conn].flushes > 0 && !self.conns[&conn].closed
    }

    /// A message from a peer that takes all it is sent: what is said about the flow is left out.
    pub(crate) fn ask(&mut self, conn: ConnId, message: &Message<'_>) -> Vec<String> {
        let mut lines = match &mut self.conns.get_mut(&conn).unwrap().side {
            Some(side) => {
                side.write(message);
                self.carry(conn, usize::MAX)
            }
            None => self.receive(conn, &bytes(message)),
        };
        while self.waits(conn) {
            lines.extend(self.drain(conn));
        }
        lines.retain(|line| !["pause", "flush", "resume"].contains(&line.as_str()));
        lines
    }

    /// Who was sent something last.
    pub(crate) fn sent_last(&self) -> ConnId {
        self.sent_last.unwrap()
    }

    /// All bytes that a peer was sent.
    pub(crate) fn sent(&self, conn: ConnId) -> &[u8] {
        &self.conns[&conn].sent
    }

    pub(crate) fn disconnected(&mut self, conn: ConnId) -> Vec<String> {
        self.input(Input::Disconnected { conn, reason: Disconnect::ClosedByPeer })
    }

    /// Lets time pass and wakes the machine whenever it is due.
    pub(crate) fn pass(&mut self, duration: Duration) -> Vec<String> {
        let end = self.now + duration;
        let mut lines = Vec::new();
        while let Some(deadline) = self.machine.deadline().filter(|&deadline| deadline <= end) {
            self.now = self.now.max(deadline);
            lines.extend(self.input(Input::Wake));
        }
        self.now = end;
        lines
    }
}

pub(crate) fn bytes(message: &Message<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.write(&mut bytes, MAGIC);
    bytes
}

/// A frame of any name and contents.
pub(crate) fn frame(name: &str, payload: &[u8]) -> Vec<u8> {
    bytes(&Message::Other(andon_bitcoin::wire::CommandName::new(name), payload))
}

pub(crate) fn version() -> Message<'static> {
    version_of(70016)
}

pub(crate) fn version_of(protocol: u32) -> Message<'static> {
    Message::Version(Version {
        protocol,
        services: ServiceFlags::WITNESS,
        time: 0,
        nonce: 5,
        user_agent: b"/test/",
        start_height: 0,
        relay: false,
    })
}

pub(crate) fn get_headers(locator: &[BlockHash], stop_hash: BlockHash) -> Message<'_> {
    Message::GetHeaders(GetHeaders { locator: locator.into(), stop_hash })
}

pub(crate) fn zero() -> BlockHash {
    BlockHash::all_zeros()
}

fn describe(message: &Message<'_>, names: &BTreeMap<BlockHash, String>) -> String {
    let name = |hash: &BlockHash| names.get(hash).cloned().unwrap_or_else(|| "?".into());
    let inventory = |line: &mut String, inventory: Inventory| {
        let hash = BlockHash::from_byte_array(inventory.hash);
        match inventory.kind {
            INV_BLOCK | INV_WITNESS_BLOCK => write!(line, " block {}", name(&hash)),
            INV_TX => write!(line, " tx"),
            INV_WITNESS_TX => write!(line, " witness tx"),
            INV_WTX => write!(line, " wtx"),
            kind => write!(line, " kind {kind}"),
        }
        .unwrap();
    };
    match message {
        Message::Headers(headers) => match headers.len() {
            0 => "headers none".into(),
            count => {
                let at = |index| name(&headers.at(index).unwrap().block_hash());
                format!("headers {} to {}", at(0), at(count - 1))
            }
        },
        Message::CFilter { block_hash, .. } => format!("cfilter {}", name(block_hash)),
        Message::CFHeaders { stop_hash, filter_hashes, .. } => {
            format!("cfheaders {} to {}", filter_hashes.len(), name(stop_hash))
        }
        Message::CFCheckpt { stop_hash, filter_headers, .. } => {
            format!("cfcheckpt {} to {}", filter_headers.len(), name(stop_hash))
        }
        Message::Block(bytes) => format!("block {}", name(&BlockHash::hash(&bytes[..80]))),
        Message::Inv(list) => list.iter().fold("inv".into(), |mut line, entry| {
            inventory(&mut line, entry);
            line
        }),
        Message::GetData(list) => list.iter().fold("getdata".into(), |mut line, entry| {
            inventory(&mut line, entry);
            line
        }),
        Message::Tx(bytes) => format!("tx {}", bytes.len()),
        Message::NotFound(list) => format!("notfound {}", list.len()),
        Message::Pong(nonce) => format!("pong {nonce}"),
        Message::Addr(addresses) | Message::AddrV2(addresses) => {
            format!("{} {}", message.command(), addresses.len())
        }
        other => other.command().to_string(),
    }
}
