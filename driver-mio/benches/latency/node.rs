//! A node that mines, and notes when it has told what.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use andon_bitcoin::server::{Chain, Command, Config, Event, Server};
use andon_kernel::{Input, Machine, MemoryStore, Now, Outbox, Output};
use andon_mio::{Application, Driver, Options};
use bitcoin::{Network, ScriptBuf};

use crate::blocks::{Miner, fixture};

/// What it tells a client of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    Headers,
    Filter,
    Block,
}

/// A node on loopback.
pub(crate) struct Node {
    pub(crate) addr: SocketAddr,
    application: Application<Command, Event>,
    events: JoinHandle<()>,
    miner: Miner,
    sent: Arc<Mutex<Vec<(Message, Instant)>>>,
}

impl Node {
    pub(crate) fn start() -> Self {
        let blocks = fixture();
        let miner = Miner::after(&blocks);
        let listen = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))];
        let driver = Driver::new(Options { listen, ..Options::default() }).unwrap();
        let addr = driver.local_addresses()[0];
        let sent = Arc::new(Mutex::new(Vec::new()));
        let server = Server::new(Config::new(Network::Regtest, [5; 32]), Chain::new(blocks).unwrap());
        let machine = Telling { server, sent: Arc::clone(&sent) };
        let (application, ending) = driver.spawn(machine, MemoryStore::new()).unwrap().split();
        let taker = application.clone();
        let events = std::thread::spawn(move || {
            while taker.recv().is_some() {}
            ending.join().unwrap();
        });
        Self { addr, application, events, miner, sent }
    }

    pub(crate) fn height(&self) -> u32 {
        self.miner.height
    }

    /// One more block, which is announced.
    pub(crate) fn mine(&mut self, pays: &ScriptBuf, bytes: usize) {
        let block = self.miner.mine(pays, bytes);
        self.sent.lock().unwrap().clear();
        self.application.command(Command::Extend(vec![block])).unwrap();
    }

    /// When it gave a message of the last block to its driver.
    pub(crate) fn sent(&self, message: Message) -> Instant {
        let sent = self.sent.lock().unwrap();
        let mut all = sent.iter().filter(|(kind, _)| *kind == message).map(|(_, at)| *at);
        // The first announcement, and the last piece of anything else.
        let found = if message == Message::Headers { all.next() } else { all.next_back() };
        found.unwrap_or_else(|| panic!("{message:?} was not sent"))
    }

    pub(crate) fn stop(self) {
        self.application.stop();
        self.events.join().unwrap();
    }
}

/// The server, which notes the time of each message as soon as it is in the outbox: before it is written.
struct Telling {
    server: Server,
    sent: Arc<Mutex<Vec<(Message, Instant)>>>,
}

impl Machine for Telling {
    type Command = Command;
    type Event = Event;

    fn handle(&mut self, now: Now, input: Input<'_, Command>, out: &mut Outbox<Event>) {
        let before = out.len();
        self.server.handle(now, input, out);
        for output in out.peek_from(before) {
            if let Output::Send { bytes, .. } = output
                && let Some(message) = message(bytes)
            {
                self.sent.lock().unwrap().push((message, crate::now()));
            }
        }
    }

    fn deadline(&self) -> Option<andon_kernel::Instant> {
        self.server.deadline()
    }
}

/// What begins here (after the network's four bytes), if it is of interest.
fn message(bytes: &[u8]) -> Option<Message> {
    match bytes.get(4..16)? {
        b"headers\0\0\0\0\0" | b"inv\0\0\0\0\0\0\0\0\0" => Some(Message::Headers),
        b"cfilter\0\0\0\0\0" => Some(Message::Filter),
        b"block\0\0\0\0\0\0\0" => Some(Message::Block),
        _ => None,
    }
}
