//! Our server, driven by hand.

use std::net::SocketAddr;

use andon_bitcoin::server::{Chain, Command, Config, Event, Server};
use andon_kernel::{
    Checked, ConnId, Disconnect, Input, Instant, Link, Machine, Now, Outbox, Output, UnixTime,
};
use bitcoin::{Block, Network};

use crate::node::{Answer, Node, Received, Stream, is_announcement, is_pong};

pub(crate) struct Ours {
    machine: Checked<Server>,
    out: Outbox<Event>,
    conn: u64,
    closed: bool,
    cut: Stream,
    queue: Vec<Received>,
}

impl Ours {
    pub(crate) fn start(best: &[Block], stale: &[Block], fork_height: u32) -> Self {
        let fork = fork_height as usize + 1;
        let mut chain = Chain::new(best[..fork].iter().cloned()).unwrap();
        chain.extend(stale).unwrap();
        chain.reorganise(fork_height, &best[fork..]).unwrap();
        let machine = Checked::new(Server::new(Config::new(Network::Regtest, [1; 32]), chain));
        let (out, cut) = (Outbox::new(), Stream::new());
        let mut ours = Self { machine, out, conn: 0, closed: false, cut, queue: Vec::new() };
        ours.input(Input::Start);
        ours
    }

    fn input(&mut self, input: Input<'_, Command>) {
        let now = Now { instant: Instant::from_micros(1), unix: UnixTime::from_secs(0) };
        self.machine.handle(now, input, &mut self.out);
        let mut flushes = 0;
        while let Some(output) = self.out.pop() {
            match output {
                Output::Send { conn, bytes } if conn == ConnId::accepted(self.conn) => {
                    self.queue.extend(self.cut.cut(bytes));
                }
                Output::Flush { .. } => flushes += 1,
                Output::Close { .. } => self.closed = true,
                _ => {}
            }
        }
        let conn = ConnId::accepted(self.conn);
        (0..flushes).for_each(|_| self.input(Input::Drained { conn }));
    }
}

impl Node for Ours {
    fn connect(&mut self) {
        if self.conn > 0 {
            let conn = ConnId::accepted(self.conn);
            self.input(Input::Disconnected { conn, reason: Disconnect::ClosedByPeer });
        }
        self.conn += 1;
        self.closed = false;
        self.cut = Stream::new();
        self.queue.clear();
        let remote = SocketAddr::from(([127, 0, 0, 1], 1));
        self.input(Input::Connected { conn: ConnId::accepted(self.conn), remote, link: Link::Inbound });
    }

    fn say(&mut self, bytes: &[u8]) {
        self.input(Input::Received { conn: ConnId::accepted(self.conn), bytes: &mut bytes.to_vec() });
    }

    fn hear(&mut self, nonce: u64) -> Answer {
        let mut messages = std::mem::take(&mut self.queue);
        match messages.iter().position(|message| is_pong(message, nonce)) {
            Some(place) => {
                self.queue = messages.split_off(place + 1);
                messages.pop();
                (messages, false)
            }
            None => {
                assert!(self.closed, "no pong came, and the connection is open");
                (messages, true)
            }
        }
    }

    fn adopt(&mut self, fork_height: u32, blocks: &[Block]) -> Received {
        self.input(Input::Command(Command::Reorganise { fork_height, blocks: blocks.into() }));
        self.queue.drain(..).find(is_announcement).unwrap()
    }
}
