//! A node that serves a chain it is given, as Bitcoin Core would: for tests, demonstrations and simulations.
//!
//! [`Server`] is a machine that only listens. Towards its peers it does what Bitcoin Core 28 does with default
//! settings and `-blockfilterindex -peerblockfilters`: the same answers in the same order, the same limits, the same
//! silences and the same disconnects (BIP31, 130, 133, 155, 157, 324, 339, and the first protocol).
//!
//! It keeps transactions that peers announce, up to a number of bytes, and tells its other peers of them. Of these it
//! checks only that they spend what exists and nothing else spends: no scripts, no amounts, no fees; the first one of two stays.
//! What lacks a parent has its sender asked for it. Unlike a node it gives any of them to whoever asks.
//!
//! What it does not do: it relays no addresses; it takes no blocks from peers; it knows no bloom filters, no compact blocks
//! (who asks for one gets the whole block, as for an old one), and does not answer `getblocks`; it bans nobody; what
//! was in a block that is replaced is not kept again.
//!
//! Answers are made in slices: once 256 KiB are on their way to a peer, the server neither reads from it nor makes
//! more for it until those have been handed to the socket. So what waits for a peer is bounded by a slice and a
//! message, and by what one read brought.

mod addresses;
mod announce;
mod answer;
mod api;
mod chain;
mod handshake;
mod limits;
mod orphans;
mod peer;
mod pool;
mod relay;
mod session;

pub use api::{Command, Config, Event, Reason, Refusal, Rejection};
pub use chain::{Chain, ChainError};

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::SocketAddr;

use bitcoin::{Block, Transaction, Txid};

use andon_kernel::{ConnId, Input, Instant, Link, Machine, Now, Outbox, Rng, Timers};

use addresses::Addresses;
use peer::{Alarm, Peer};
use pool::{Change, Taken};
use relay::Relay;
use session::{Session, Shared};

use crate::transport::{Shape, respond, unencrypted};

/// Serves a chain.
#[derive(Debug)]
pub struct Server {
    shared: Shared,
    peers: BTreeMap<ConnId, Peer>,
    timers: Timers<(ConnId, Alarm)>,
    stopped: bool,
}

impl Server {
    /// A server of this chain.
    pub fn new(mut config: Config, chain: Chain) -> Self {
        let addresses = Addresses::new(core::mem::take(&mut config.addresses));
        let rng = Rng::new(config.seed).fork("server");
        let magic = config.network.magic().to_bytes();
        Self {
            shared: Shared { config, magic, chain, addresses, relay: Relay::default(), rng },
            peers: BTreeMap::new(),
            timers: Timers::new(),
            stopped: false,
        }
    }

    /// The transactions that it keeps, in the order of their ids.
    pub fn transactions(&self) -> Vec<Txid> {
        self.shared.relay.pool.txids()
    }

    /// The chain that it serves.
    pub fn chain(&self) -> &Chain {
        &self.shared.chain
    }

    fn connected(&mut self, now: Instant, conn: ConnId, remote: SocketAddr, out: &mut Outbox<Event>) {
        if self.peers.len() >= self.shared.config.max_peers || self.stopped {
            let reason = if self.stopped { Reason::Stopped } else { Reason::TooManyPeers };
            out.close(conn, false);
            out.event(Event::PeerDisconnected { peer: conn, remote, connected: false, reason });
            return;
        }
        let Shared { config, magic, rng, .. } = &self.shared;
        let halves = if config.encryption {
            respond(*magic, rng.fork_indexed("transport", conn.as_u64()), Shape::default())
        } else {
            unencrypted(*magic)
        };
        self.peers.insert(conn, Peer::new(remote, halves, now));
        self.timers.set((conn, Alarm::Handshake), now + self.shared.config.handshake_timeout);
        self.timers.set((conn, Alarm::Inactivity), now + self.shared.config.inactivity_timeout);
    }

    /// Lets a peer's part run, and closes the connection if it says so.
    fn run(
        &mut self,
        now: Now,
        conn: ConnId,
        out: &mut Outbox<Event>,
        part: impl FnOnce(&mut Session<'_>) -> Result<(), Reason>,
    ) {
        let Self { shared, peers, timers, .. } = self;
        let Some(peer) = peers.get_mut(&conn) else { return };
        let mut session = Session { now, conn, peer, shared, timers, out };
        if let Err(reason) = part(&mut session) {
            // What it was answered before goes out, as it does where each message is written when it is made.
            out.close(conn, matches!(reason, Reason::Refused(_)));
            self.forget(conn, reason, out);
        }
        self.spread(now, out);
    }

    /// Has every peer hear of transactions that are kept since the last time, and of those that it may be asked for.
    fn spread(&mut self, now: Now, out: &mut Outbox<Event>) {
        let kept = core::mem::take(&mut self.shared.relay.kept);
        let freed = core::mem::take(&mut self.shared.relay.freed);
        if kept.is_empty() && freed.is_empty() {
            return;
        }
        let Self { shared, peers, timers, .. } = self;
        for (&conn, peer) in peers {
            let mut session = Session { now, conn, peer, shared, timers, out };
            session.hear_transactions(&kept);
            session.hear_freed(&freed);
        }
    }

    fn forget(&mut self, conn: ConnId, reason: Reason, out: &mut Outbox<Event>) {
        let Some(peer) = self.peers.remove(&conn) else { return };
        for alarm in Alarm::ALL {
            self.timers.cancel((conn, alarm));
        }
        self.shared.relay.peer_gone(conn);
        let (remote, connected) = (peer.remote, peer.is_connected());
        out.event(Event::PeerDisconnected { peer: conn, remote, connected, reason });
    }

    fn command(&mut self, now: Now, command: Command, out: &mut Outbox<Event>) {
        let changed = match command {
            Command::AddAddresses(addresses) => {
                if !self.shared.addresses.add(addresses) {
                    out.event(Event::Rejected(Rejection::TooManyAddresses));
                }
                return;
            }
            Command::AddTransaction(transaction) => return self.add_transaction(now, transaction, out),
            Command::Extend(blocks) => self.reorganise(self.shared.chain.height(), blocks),
            Command::Reorganise { fork_height, blocks } => self.reorganise(fork_height, blocks),
            Command::Follow(later) => self.follow(&later),
        };
        let (fork_height, blocks) = match changed {
            Ok(changed) => changed,
            Err(error) => return out.event(Event::Rejected(Rejection::Blocks(error))),
        };
        let Shared { chain, relay, config, .. } = &mut self.shared;
        out.event(Event::ChainChanged { height: chain.height(), tip: chain.tip() });
        let Change { gone, kept } = relay.pool.chain_changed(&blocks, chain, config.mempool_bytes);
        self.peers.values_mut().for_each(|peer| peer.relay.forget(&gone));
        relay.keep(kept, out);
        let news = announce::news(&self.shared.chain, fork_height);
        for conn in self.conns() {
            self.run(now, conn, out, |session| session.hear(&news));
        }
    }

    /// Gives the fork's height and the blocks above it.
    fn reorganise(&mut self, fork_height: u32, blocks: Vec<Block>) -> Result<(u32, Vec<Block>), ChainError> {
        self.shared.chain.reorganise(fork_height, &blocks).map(|()| (fork_height, blocks))
    }

    fn follow(&mut self, later: &Chain) -> Result<(u32, Vec<Block>), ChainError> {
        let chain = &mut self.shared.chain;
        let fork_height = chain.follow(later)?;
        let above = (fork_height + 1..=chain.height()).filter_map(|height| chain.at(height));
        Ok((fork_height, above.map(|index| chain.block(index).read()).collect()))
    }

    fn add_transaction(&mut self, now: Now, transaction: Transaction, out: &mut Outbox<Event>) {
        let Shared { relay, chain, config, .. } = &mut self.shared;
        let Taken::Kept(kept) = relay.pool.take(transaction, None, chain, config.mempool_bytes) else {
            return out.event(Event::Rejected(Rejection::Transaction));
        };
        relay.keep(kept, out);
        self.spread(now, out);
    }

    fn wake(&mut self, now: Now, out: &mut Outbox<Event>) {
        while let Some((conn, alarm)) = self.timers.expire(now.instant) {
            self.run(now, conn, out, |session| session.alarm(alarm));
        }
    }

    fn stop(&mut self, out: &mut Outbox<Event>) {
        self.stopped = true;
        for conn in self.conns() {
            out.close(conn, false);
            self.forget(conn, Reason::Stopped, out);
        }
    }

    fn conns(&self) -> Vec<ConnId> {
        self.peers.keys().copied().collect()
    }
}

impl Machine for Server {
    type Command = Command;
    type Event = Event;

    fn handle(&mut self, now: Now, input: Input<'_, Command>, out: &mut Outbox<Event>) {
        match input {
            Input::Stop => self.stop(out),
            Input::Wake => self.wake(now, out),
            Input::Command(command) => self.command(now, command, out),
            Input::Connected { conn, remote, link: Link::Inbound } => {
                self.connected(now.instant, conn, remote, out);
            }
            Input::Received { conn, bytes } => self.run(now, conn, out, |session| session.received(bytes)),
            Input::Drained { conn } => self.run(now, conn, out, |session| session.drained()),
            Input::Disconnected { conn, reason } => {
                self.forget(conn, Reason::Connection(reason), out);
                self.spread(now, out);
            }
            // It dials nobody, looks nothing up, stores nothing and takes no datagrams.
            Input::Start
            | Input::Connected { link: Link::Outbound, .. }
            | Input::Datagram { .. }
            | Input::Resolved { .. }
            | Input::Loaded { .. }
            | Input::Stored { .. } => {}
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.timers.next()
    }
}
