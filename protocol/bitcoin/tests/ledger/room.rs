//! A client with peers that answer at once. Everything that can happen without time passing happens in one call.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use andon_bitcoin::client::{
    Birthday, BlockId, Client, Command, Config, Encryption, Endpoint, Event, HeaderQuery, Import,
    ImportError, Reason, Touch,
};
use andon_bitcoin::wire::{FrameReader, INV_BLOCK, Inventory, Message, PROTOCOL_VERSION, Version};
use andon_kernel::{Checked, ConnId, Disconnect, Effect, Input, Instant, Link, Now, Shell, UnixTime};
use bitcoin::block::Header;
use bitcoin::p2p::ServiceFlags;
use bitcoin::{FilterHeader, ScriptBuf};

use super::{BEGIN, Finding, Ledger, Shelf};

const FIRST_PORT: u16 = 30_000;

/// How long a test waits for anything at most.
const PATIENCE: Duration = Duration::from_secs(600);

pub(crate) struct Room {
    shell: Shell<Checked<Client>, Shelf>,
    now: Instant,
    magic: [u8; 4],
    peers: Vec<Arc<Ledger>>,
    open: BTreeMap<ConnId, usize>,
    readers: BTreeMap<ConnId, FrameReader>,
    /// What is on the way to the client.
    wire: VecDeque<Arrival>,
    pub(crate) events: Vec<Event>,
    /// What the client has sent last, to whom: for the message of a failed assertion.
    sent: VecDeque<String>,
}

enum Arrival {
    Connected(ConnId, SocketAddr),
    Bytes(ConnId, Vec<u8>),
    Closed(ConnId, Disconnect),
}

/// Where the peer with this index is.
fn endpoint(index: usize) -> Endpoint {
    Endpoint::Address(SocketAddr::from(([127, 0, 0, 1], FIRST_PORT + index as u16)))
}

impl Room {
    /// A client that has started on what the shelf holds, with a peer for each ledger.
    pub(crate) fn new(mut config: Config, shelf: Shelf, peers: &[&Arc<Ledger>]) -> Self {
        config.peers = (0..peers.len()).map(endpoint).collect();
        config.encryption = Encryption::Off;
        let magic = config.network.magic().to_bytes();
        let mut room = Self {
            shell: Shell::new(Checked::new(Client::new(config)), shelf),
            now: Instant::ZERO,
            magic,
            peers: peers.iter().map(|ledger| Arc::clone(ledger)).collect(),
            open: BTreeMap::new(),
            readers: BTreeMap::new(),
            wire: VecDeque::new(),
            events: Vec::new(),
            sent: VecDeque::new(),
        };
        room.turn(Input::Start);
        room
    }

    /// There is one more peer, with this chain: where it is.
    pub(crate) fn lend(&mut self, ledger: &Arc<Ledger>) -> Endpoint {
        self.peers.push(Arc::clone(ledger));
        endpoint(self.peers.len() - 1)
    }

    /// The end of the process: what it had stored.
    pub(crate) fn end(self) -> Shelf {
        let (_, mut shelf) = self.shell.into_parts();
        shelf.restart();
        shelf
    }

    pub(crate) fn shelf(&self) -> &Shelf {
        self.shell.store()
    }

    /// The store under the running client.
    pub(crate) fn shelf_mut(&mut self) -> &mut Shelf {
        self.shell.store_mut()
    }

    pub(crate) fn command(&mut self, command: Command) {
        self.turn(Input::Command(command));
    }

    pub(crate) fn watch(&mut self, scripts: &[ScriptBuf], from: u32) {
        self.command(Command::Watch { scripts: scripts.into(), from: Birthday::Height(from) });
    }

    /// What a query comes to.
    pub(crate) fn find(&mut self, query: HeaderQuery) -> Option<(BlockId, Header)> {
        let before = self.events.len();
        self.command(Command::FindHeader(query));
        let mut answers = self.events[before..].iter().filter_map(|event| match event {
            Event::Header { query: asked, found } => {
                assert_eq!(*asked, query);
                Some(*found)
            }
            _ => None,
        });
        let answer = answers.next().expect("each look-up is answered");
        assert_eq!(answers.next(), None, "a look-up is answered once");
        answer
    }

    /// Looks a header up, whatever comes of it.
    pub(crate) fn look(&mut self, query: HeaderQuery) {
        self.find(query);
    }

    /// What an export gives.
    pub(crate) fn export(&mut self, from: u32, count: u32) -> (Vec<Header>, Vec<FilterHeader>) {
        let before = self.events.len();
        self.command(Command::Export { from, count });
        let mut answers = self.events[before..].iter().filter_map(|event| match event {
            Event::Exported { from: asked, headers, filter_headers } => {
                assert_eq!(*asked, from);
                Some((headers.clone(), filter_headers.clone()))
            }
            _ => None,
        });
        let answer = answers.next();
        assert!(answers.next().is_none(), "an export is answered once");
        answer.unwrap_or_else(|| panic!("an export was not answered: {}", self.story()))
    }

    /// What an import comes to.
    pub(crate) fn import(&mut self, import: Import) -> (BlockId, u32, Option<ImportError>) {
        let before = self.events.len();
        self.command(Command::Import(import));
        let mut answers = self.events[before..].iter().filter_map(|event| match event {
            Event::Imported { tip, filter_headers, stopped } => {
                Some((*tip, *filter_headers, stopped.clone()))
            }
            _ => None,
        });
        let answer = answers.next().expect("each import is answered");
        assert_eq!(answers.next(), None, "an import is answered once");
        answer
    }

    /// Every event speaks of blocks and findings of this chain, as they are.
    pub(crate) fn tells_the_truth(&self, ledger: &Ledger, scripts: &[ScriptBuf], what: &str) {
        let truth = ledger.findings(scripts, ledger.base);
        let is_in = |block: &BlockId| ledger.height_of(&block.hash) == Some(block.height);
        for event in &self.events {
            let sound = match event {
                Event::Started { tip: block, .. }
                | Event::Repaired { kept: block, .. }
                | Event::Imported { tip: block, .. }
                | Event::StaleTip { tip: block }
                | Event::Matched(block)
                | Event::Checked(block)
                | Event::Synced(block) => is_in(block),
                Event::Touched(touch) | Event::TakenBack(touch) => {
                    let Touch { block, txid, kind, script, amount, .. } = touch;
                    is_in(block)
                        && scripts.contains(script)
                        && truth.contains(&(block.height, *txid, *kind, amount.unwrap()))
                }
                Event::Header { found: Some((block, header)), .. } => {
                    is_in(block) && ledger.header(block.height) == *header
                }
                _ => true,
            };
            assert!(sound, "{what}: {event:?}");
        }
    }

    /// The peer is on this chain from now on, and says that it has a new block.
    pub(crate) fn announce(&mut self, peer: usize, ledger: &Arc<Ledger>) {
        self.peers[peer] = Arc::clone(ledger);
        let news = [Inventory::block(INV_BLOCK, ledger.tip().hash)];
        for conn in self.conns(peer) {
            let mut bytes = Vec::new();
            Message::Inv(news[..].into()).write(&mut bytes, self.magic);
            self.wire.push_back(Arrival::Bytes(conn, bytes));
        }
        self.settle();
    }

    fn conns(&self, peer: usize) -> Vec<ConnId> {
        self.open.iter().filter(|(_, index)| **index == peer).map(|(conn, _)| *conn).collect()
    }

    /// Lets time pass until the client is done with the chain up to this height.
    ///
    /// # Panics
    /// If that takes too long.
    pub(crate) fn sync(&mut self, height: u32) {
        let end = self.now + PATIENCE;
        while !self.is_synced(height) {
            assert!(self.now < end, "not synced to {height}: {}", self.story());
            self.pass(Duration::from_secs(1));
        }
    }

    /// Whether the last thing that it told of its state is that it is done up to this height.
    pub(crate) fn is_synced(&self, height: u32) -> bool {
        let state = self.events.iter().rev().find_map(|event| match event {
            Event::Synced(block) => Some(block.height == height),
            Event::Rescan { .. } | Event::Reorganised { .. } => Some(false),
            _ => None,
        });
        state == Some(true)
    }

    /// Lets time pass.
    pub(crate) fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(at) = self.shell.deadline().filter(|&at| at <= end) {
            self.now = self.now.max(at);
            let now = self.time();
            self.shell.wake(now);
            self.carry_out();
            self.settle();
        }
        self.now = end;
    }

    /// The last events, without those that only tell of progress, and what was sent: for the message of a failed assertion.
    pub(crate) fn story(&self) -> String {
        let told = self.events.iter().filter(|event| {
            !matches!(event, Event::Progress(_) | Event::Touched(_) | Event::Matched(_) | Event::TakenBack(_))
        });
        let lines: Vec<String> = told.map(|event| format!("{event:?}")).collect();
        format!("{}\n{:?}", lines[lines.len().saturating_sub(30)..].join("\n"), self.sent)
    }

    /// What an application that believes every event holds now. Nothing is told twice, nothing taken back that had not been
    /// told.
    pub(crate) fn findings(&self) -> BTreeSet<Finding> {
        let mut view: BTreeSet<Finding> = BTreeSet::new();
        let key = |touch: &Touch| (touch.block.height, touch.txid, touch.kind, touch.amount.unwrap());
        for event in &self.events {
            match event {
                Event::Started { .. } => view.clear(),
                Event::Touched(touch) => assert!(view.insert(key(touch)), "told twice: {touch:?}"),
                Event::TakenBack(touch) => {
                    assert!(view.remove(&key(touch)), "taken back and never told: {touch:?}");
                }
                _ => {}
            }
        }
        view
    }

    /// What was repaired, and the height that was kept.
    pub(crate) fn repairs(&self) -> Vec<(&'static str, BlockId)> {
        let repairs = self.events.iter().filter_map(|event| match event {
            Event::Repaired { what, kept } => Some((*what, *kept)),
            _ => None,
        });
        repairs.collect()
    }

    /// Why the client gave up, if it did.
    pub(crate) fn failure(&self) -> Option<andon_bitcoin::client::Failure> {
        self.events.iter().find_map(|event| match event {
            Event::Failed(failure) => Some(failure.clone()),
            _ => None,
        })
    }

    /// Why peers were let go.
    pub(crate) fn farewells(&self) -> Vec<Reason> {
        let reasons = self.events.iter().filter_map(|event| match event {
            Event::PeerDisconnected { reason, .. } => Some(reason.clone()),
            _ => None,
        });
        reasons.collect()
    }

    /// The tip with which the client started.
    pub(crate) fn started(&self) -> Option<(BlockId, Option<u32>)> {
        self.events.iter().rev().find_map(|event| match event {
            Event::Started { tip, checked } => Some((*tip, *checked)),
            _ => None,
        })
    }

    fn time(&self) -> Now {
        Now { instant: self.now, unix: UnixTime::from_secs(BEGIN + self.now.as_micros() / 1_000_000) }
    }

    fn turn(&mut self, input: Input<'_, Command>) {
        let now = self.time();
        self.shell.turn(now, input);
        self.carry_out();
        self.settle();
    }

    /// What was asked for comes, until nothing more does.
    fn settle(&mut self) {
        let now = self.time();
        loop {
            while self.shell.complete(now).expect("memory does not fail") {
                self.carry_out();
            }
            let Some(arrival) = self.wire.pop_front() else { return };
            match arrival {
                Arrival::Connected(conn, remote) => {
                    self.shell.turn(now, Input::Connected { conn, remote, link: Link::Outbound });
                }
                Arrival::Bytes(conn, mut bytes) if self.open.contains_key(&conn) => {
                    self.shell.turn(now, Input::Received { conn, bytes: &mut bytes });
                }
                Arrival::Bytes(..) => {}
                Arrival::Closed(conn, reason) => self.shell.turn(now, Input::Disconnected { conn, reason }),
            }
            self.carry_out();
        }
    }

    fn carry_out(&mut self) {
        let mut sent = Vec::new();
        while let Some(effect) = self.shell.pop().expect("memory does not fail") {
            match effect {
                Effect::Connect { conn, addr } => {
                    self.open.insert(conn, usize::from(addr.port() - FIRST_PORT));
                    self.readers.insert(conn, FrameReader::new(self.magic));
                    self.wire.push_back(Arrival::Connected(conn, addr));
                }
                Effect::Send { conn, bytes } => sent.push((conn, bytes.to_vec())),
                Effect::Close { conn, .. } => {
                    self.open.remove(&conn);
                    self.wire.push_back(Arrival::Closed(conn, Disconnect::Closed));
                }
                Effect::Event(event) => self.events.push(event),
                effect => panic!("{effect:?}"),
            }
        }
        for (conn, bytes) in sent {
            self.hear(conn, &bytes);
        }
    }

    /// A peer hears something.
    fn hear(&mut self, conn: ConnId, bytes: &[u8]) {
        let Some(&peer) = self.open.get(&conn) else { return };
        let ledger = Arc::clone(&self.peers[peer]);
        let mut reader = self.readers.remove(&conn).expect("an open connection has a reader");
        let mut rest = bytes;
        let mut answers = Vec::new();
        while let Some(frame) = reader.next(&mut rest).expect("the client sends frames") {
            let question = Message::decode(frame.command, frame.payload).expect("it sends what it can read");
            self.sent.push_back(format!("{conn:?} {}", question.command()));
            if self.sent.len() > 30 {
                self.sent.pop_front();
            }
            if let Message::Version(_) = question {
                version(&ledger).write(&mut answers, self.magic);
                Message::Verack.write(&mut answers, self.magic);
            }
            ledger.answer(&question, &mut answers);
        }
        self.readers.insert(conn, reader);
        if !answers.is_empty() {
            self.wire.push_back(Arrival::Bytes(conn, answers));
        }
    }
}

fn version(ledger: &Ledger) -> Message<'static> {
    Message::Version(Version {
        protocol: PROTOCOL_VERSION,
        services: ServiceFlags::NETWORK | ServiceFlags::WITNESS | ServiceFlags::COMPACT_FILTERS,
        time: BEGIN as i64,
        nonce: 77,
        user_agent: b"/ledger:1/",
        start_height: ledger.tip().height as i32,
        relay: true,
    })
}
