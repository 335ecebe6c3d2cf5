//! A node that lies: a server at heart, and a layer around it through which all goes that is said.

use core::fmt;
use std::collections::BTreeMap;
use std::sync::Arc;

use andon_bitcoin::server::{Chain, Command, Server};
use andon_bitcoin::wire::Message;
use andon_kernel::{ConnId, Effect, Input, Instant, Link, MemoryStore, Now, Rng, Shell, Timers};

use super::forged::Forged;
use super::line::{Line, Said, frame};
use super::{Asked, Camp, Controller, Garbage, Lie, Means, Told};
use crate::random::Stream;
use crate::world::{Node, NodeInput, Port};

/// A peer that lies to who dials it.
pub struct LyingServer {
    pub(super) lie: Lie,
    pub(super) means: Means,
    pub(super) magic: [u8; 4],
    /// What the honest network has, as far as it knows.
    pub(super) chain: Chain,
    pub(super) forged: Option<Arc<Forged>>,
    /// The last height that it shows, where it shows less than it has.
    pub(super) shows: Option<u32>,
    server: Shell<Server, MemoryStore>,
    rng: Rng,
    pub(super) lines: BTreeMap<ConnId, Line>,
    /// When each connection has its next message that nobody asked for.
    pub(super) unasked: Timers<ConnId>,
    /// The camp's: what is drawn from it is the same for all members.
    pub(super) common: Stream,
    /// Its own.
    pub(super) own: Stream,
    pub(super) told: Told,
    pub(super) asked: Asked,
    /// How often one filter was asked for, and no other with it, by height.
    pub(super) asked_for_one: BTreeMap<u32, u64>,
    controller: Option<Controller>,
    /// What it does in this turn; `None`: what an honest node does.
    pub(super) now_does: Option<Lie>,
}

/// What the server at heart has done, for a connection.
enum Deed {
    Say(ConnId, Vec<u8>),
    Pause(ConnId, bool),
    Flush(ConnId),
    Close(ConnId, bool),
}

impl fmt::Debug for LyingServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LyingServer")
            .field("lie", &self.lie)
            .field("told", &self.told)
            .finish_non_exhaustive()
    }
}

impl LyingServer {
    /// One that lies in this way about a chain. Others with the same lie, means, chain and seed say the same: a [`Camp`], which is
    /// cheaper where there are many. Its own secrets follow from its configuration's seed.
    pub fn new(lie: Lie, means: Means, chain: &Chain, seed: u64) -> Self {
        let own = means.server.seed;
        Camp::new(lie, means, chain.clone(), seed).member(own)
    }

    pub(super) fn of(camp: &Camp, seed: [u8; 32]) -> Self {
        let Camp { lie, means, chain, forged, .. } = camp.clone();
        let mut config = means.server.clone();
        config.seed = seed;
        // Frames between the two of them: towards others it is its own.
        config.encryption = false;
        let shows = match lie {
            Lie::StaleChain => Some(means.from.saturating_sub(1).min(chain.height())),
            Lie::WithheldHeaders => Some(chain.height().saturating_sub(means.depth)),
            _ => None,
        };
        let [first, ..] = seed.as_chunks::<8>().0 else { unreachable!("32 bytes are four times eight") };
        Self {
            lie,
            magic: config.network.magic().to_bytes(),
            server: Shell::new(Server::new(config, chain.clone()), MemoryStore::new()),
            means,
            chain,
            forged,
            shows,
            rng: Rng::new(seed).fork("liar"),
            lines: BTreeMap::new(),
            unasked: Timers::new(),
            common: Stream::new(camp.seed).fork("camp"),
            own: Stream::new(u64::from_le_bytes(*first)).fork("liar"),
            told: Told::default(),
            asked: Asked::default(),
            asked_for_one: BTreeMap::new(),
            controller: None,
            now_does: Some(lie),
        }
    }

    /// One that this one controls.
    pub fn controlled_by(mut self, controller: &Controller) -> Self {
        self.controller = Some(controller.clone());
        self
    }

    /// One that does what an honest node does, and counts what it is asked.
    pub fn waiting(mut self) -> Self {
        self.now_does = None;
        self
    }

    /// Its lie.
    pub const fn lie(&self) -> Lie {
        self.lie
    }

    /// What it has told so far.
    pub const fn told(&self) -> &Told {
        &self.told
    }

    /// What it was asked so far.
    pub const fn asked(&self) -> &Asked {
        &self.asked
    }

    /// How often it was asked for the filter of the block at a height, and for no other with it.
    pub fn asked_for_filter(&self, height: u32) -> u64 {
        self.asked_for_one.get(&height).copied().unwrap_or(0)
    }

    /// How often its own lie was told.
    pub const fn times(&self) -> u64 {
        self.told.times(self.lie)
    }

    /// The chain that it knows of.
    pub const fn chain(&self) -> &Chain {
        &self.chain
    }

    /// What the honest chain has become: a later copy of the one that it knows of. Anything else changes nothing.
    pub fn follow(&mut self, now: Now, chain: &Chain, port: &mut Port<'_>) {
        if self.chain.clone().follow(chain).is_err() {
            return;
        }
        self.chain = chain.clone();
        if let Some(forged) = &mut self.forged {
            Arc::make_mut(forged).follow(chain);
        }
        self.look_for_orders(now);
        self.give(now, Input::Command(Command::Follow(chain.clone())), port);
        self.settle(now);
    }

    /// What it does in this turn.
    pub(super) const fn does(&self, lie: Lie) -> bool {
        matches!(self.now_does, Some(now) if now as u8 == lie as u8)
    }

    fn look_for_orders(&mut self, now: Now) {
        if let Some(controller) = &self.controller {
            self.now_does = controller.ordered(self.lie, now.unix);
        }
    }

    /// Gives the server at heart an input, and does what it does.
    pub(super) fn give(&mut self, now: Now, input: Input<'_, Command>, port: &mut Port<'_>) {
        self.server.turn(now, input);
        self.carry_out(now, port);
    }

    fn carry_out(&mut self, now: Now, port: &mut Port<'_>) {
        let mut deeds = Vec::new();
        loop {
            match self.server.pop() {
                Ok(None) => break,
                Ok(Some(Effect::Send { conn, bytes })) => deeds.push(Deed::Say(conn, bytes.to_vec())),
                Ok(Some(Effect::Pause { conn, paused })) => deeds.push(Deed::Pause(conn, paused)),
                Ok(Some(Effect::Flush { conn })) => deeds.push(Deed::Flush(conn)),
                Ok(Some(Effect::Close { conn, flush })) => deeds.push(Deed::Close(conn, flush)),
                // A server dials nobody and looks nothing up; what it tells its application is of no interest.
                Ok(Some(_)) => {}
                Err(never) => match never {},
            }
        }
        for deed in deeds {
            match deed {
                Deed::Say(conn, mut bytes) => {
                    let Some(line) = self.lines.get_mut(&conn) else { continue };
                    for said in line.overhear(&mut bytes) {
                        self.say(now, conn, &said, port);
                    }
                }
                Deed::Pause(conn, paused) => port.pause(conn, paused),
                Deed::Flush(conn) => port.flush(conn),
                Deed::Close(conn, flush) => self.close(conn, flush, port),
            }
        }
    }

    /// Passes on what the server at heart says, or what it is to be instead.
    fn say(&mut self, now: Now, conn: ConnId, said: &Said, port: &mut Port<'_>) {
        let (command, payload) = said;
        let message = Message::decode(*command, payload).unwrap_or(Message::Other(*command, payload));
        self.answer(now, conn, message, port);
    }

    /// Sends a message.
    pub(super) fn send(&mut self, now: Now, conn: ConnId, message: &Message<'_>, port: &mut Port<'_>) {
        let Some(line) = self.lines.get_mut(&conn) else { return };
        let bytes = line.write(message);
        self.send_bytes(now, conn, &bytes, port);
    }

    /// Sends bytes, at once or drip by drip.
    pub(super) fn send_bytes(&mut self, now: Now, conn: ConnId, bytes: &[u8], port: &mut Port<'_>) {
        let drips = self.does(Lie::SlowDrip);
        let Some(line) = self.lines.get_mut(&conn).filter(|line| !line.is_closed) else { return };
        if bytes.is_empty() {
            return;
        }
        if drips || !line.dripping.is_empty() {
            line.dripping.extend(bytes);
            if self.unasked.get(conn).is_none() {
                self.unasked.set(conn, now.instant + self.means.pace);
            }
            return;
        }
        self.put_out(now, conn, bytes, port);
    }

    /// Sends bytes at once, and pays for them.
    pub(super) fn put_out(&mut self, now: Now, conn: ConnId, bytes: &[u8], port: &mut Port<'_>) {
        self.told.bytes += bytes.len() as u64;
        if let Some(controller) = &self.controller {
            controller.pay(now.unix, bytes.len());
        }
        port.send(conn, bytes);
    }

    pub(super) fn close(&mut self, conn: ConnId, flush: bool, port: &mut Port<'_>) {
        if let Some(line) = self.lines.get_mut(&conn)
            && !core::mem::replace(&mut line.is_closed, true)
        {
            self.unasked.cancel(conn);
            port.close(conn, flush);
        }
    }

    fn connected(&mut self, now: Now, conn: ConnId, port: &mut Port<'_>) {
        let garbage = Garbage::of(self.common.fork("garbage").u64().wrapping_add(self.told.connections));
        let rng = self.rng.fork_indexed("transport", conn.as_u64());
        let line = Line::new(self.magic, self.means.server.encryption, rng, garbage);
        self.lines.insert(conn, line);
        self.told.connections += 1;
        if self.does(Lie::Garbage) && garbage.is_first() {
            self.unasked.set(conn, now.instant);
            self.speak_unasked(now, port);
        }
    }

    fn received(&mut self, now: Now, conn: ConnId, bytes: &mut [u8], port: &mut Port<'_>) {
        let Some(line) = self.lines.get_mut(&conn).filter(|line| !line.is_closed) else { return };
        if self.now_does == Some(Lie::Garbage) && line.garbage.is_first() {
            // It listens to nothing.
            return;
        }
        let mut reply = Vec::new();
        let heard = line.hear(bytes, &mut reply);
        self.send_bytes(now, conn, &reply, port);
        let Ok(heard) = heard else { return self.close(conn, false, port) };
        for (command, payload) in heard {
            let message = Message::decode(command, &payload).unwrap_or(Message::Other(command, &payload));
            if self.hear(now, conn, message, port) {
                let mut bytes = frame(self.magic, command, &payload);
                self.give(now, Input::Received { conn, bytes: &mut bytes }, port);
            }
        }
    }

    /// The other side has finished the handshake: what nobody asks for may begin.
    pub(super) fn is_ready(&mut self, now: Now, conn: ConnId) {
        let Some(line) = self.lines.get_mut(&conn) else { return };
        if !core::mem::replace(&mut line.is_ready, true) {
            self.told.handshakes += 1;
            if self.now_does.is_some_and(Lie::is_unasked) {
                self.unasked.set(conn, now.instant + self.means.pace);
            }
        }
    }

    /// Sees to it that who begins to strike, or to lie otherwise, begins on connections that are open.
    fn settle(&mut self, now: Now) {
        if self.controller.is_none() || !self.now_does.is_some_and(Lie::is_unasked) {
            return;
        }
        for (conn, line) in self.lines.iter().filter(|(_, line)| line.is_ready && !line.is_closed) {
            if self.unasked.get(*conn).is_none() && line.unasked < self.means.most {
                self.unasked.set(*conn, now.instant + self.means.pace);
            }
        }
    }
}

impl Node for LyingServer {
    fn turn(&mut self, now: Now, input: NodeInput<'_>, port: &mut Port<'_>) {
        self.look_for_orders(now);
        match input {
            NodeInput::Start => self.give(now, Input::Start, port),
            NodeInput::Wake => {
                if self.server.wake(now) {
                    self.carry_out(now, port);
                }
                self.speak_unasked(now, port);
            }
            NodeInput::Connected { conn, remote, link: Link::Inbound } => {
                self.connected(now, conn, port);
                self.give(now, Input::Connected { conn, remote, link: Link::Inbound }, port);
            }
            NodeInput::Received { conn, bytes } => self.received(now, conn, bytes, port),
            NodeInput::Drained { conn } => self.give(now, Input::Drained { conn }, port),
            NodeInput::Disconnected { conn, reason } => {
                self.lines.remove(&conn);
                self.unasked.cancel(conn);
                self.give(now, Input::Disconnected { conn, reason }, port);
            }
            // It dials nobody, looks nothing up, and takes no datagrams.
            NodeInput::Connected { link: Link::Outbound, .. }
            | NodeInput::Datagram { .. }
            | NodeInput::Resolved { .. }
            | NodeInput::HalfClosed { .. }
            | NodeInput::Due => {}
        }
        self.settle(now);
    }

    fn deadline(&self) -> Option<Instant> {
        [self.server.deadline(), self.unasked.next()].into_iter().flatten().min()
    }
}
