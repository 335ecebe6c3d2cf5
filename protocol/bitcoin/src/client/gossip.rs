//! News of nodes, told on: what a peer tells of a few nodes goes to two others, by the rules of Bitcoin Core, if that is wanted.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::time::Duration;

use andon_kernel::{ConnId, Instant, Rng};
use bitcoin::hashes::{HashEngine, siphash24};

use super::{Client, Timer, Turn};
use crate::addresses::{AddressNetwork, Required, exponential};
use crate::wire::{Host, MAX_ADDRESSES, Message, NodeAddress};

/// News are about a few nodes; more in a message is an answer to somebody.
const MAX_NEWS: usize = 10;

/// News are about nodes that were seen within this time.
const FRESH: Duration = Duration::from_secs(10 * 60);

/// The mean time that news wait, so that they come in company and their way can't be timed.
const WAIT: Duration = Duration::from_secs(30);

/// Addresses that a peer is remembered to know, until all are forgotten.
const MAX_KNOWN: usize = 5000;

const DAY: u64 = 24 * 60 * 60;

/// What a peer is to be told of.
#[derive(Debug, Default)]
pub(super) struct News {
    waiting: Vec<NodeAddress>,
    /// What it has told or was told, by a hash.
    known: BTreeSet<u64>,
    /// Whether it takes addresses of every kind (BIP155).
    pub(super) takes_v2: bool,
    /// Whether it owes an answer to a request for addresses, which is no news.
    pub(super) owes_answer: bool,
}

impl News {
    fn know(&mut self, hash: u64) -> bool {
        if self.known.len() >= MAX_KNOWN {
            self.known.clear();
        }
        self.known.insert(hash)
    }
}

/// Who is told of what, drawn from this.
#[derive(Debug)]
pub(super) struct Teller {
    secret: (u64, u64),
    rng: Rng,
}

impl Teller {
    pub(super) fn new(mut rng: Rng) -> Self {
        Self { secret: (rng.u64(), rng.u64()), rng }
    }

    /// Of an address, on a day, for a peer.
    fn hash(&self, address: &NodeAddress, day: u64, peer: u64) -> u64 {
        let (first, second) = self.secret;
        let mut engine = siphash24::HashEngine::with_keys(first, second);
        match &address.host {
            Host::Ip(core::net::IpAddr::V4(ip)) => engine.input(&ip.octets()),
            Host::Ip(core::net::IpAddr::V6(ip)) | Host::Cjdns(ip) => engine.input(&ip.octets()),
            Host::TorV3(key) | Host::I2p(key) => engine.input(key),
        }
        engine.input(&address.port.to_le_bytes());
        engine.input(&day.to_le_bytes());
        engine.input(&peer.to_le_bytes());
        siphash24::Hash::from_engine_to_u64(engine)
    }
}

impl Client {
    /// Looks whether what a peer has told is news, and who is to be told of it: not of nodes that serve nothing, or that are
    /// barred.
    pub(super) fn note_news(&mut self, turn: &Turn<'_>, conn: ConnId, told: &[NodeAddress]) {
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        let is_answer = core::mem::take(&mut peer.news.owes_answer);
        let tells = self.config.discovery.is_some_and(|discovery| discovery.tells);
        let (Some(nodes), true) = (self.nodes.as_deref(), tells && peer.is_ready()) else { return };
        let now = turn.now.unix.as_secs();
        for address in told {
            let hash = nodes.teller.hash(address, 0, 0);
            peer.news.know(hash);
        }
        if is_answer || told.len() > MAX_NEWS {
            return;
        }
        let is_news = |address: &&NodeAddress| {
            let time = u64::from(address.time);
            time + FRESH.as_secs() > now
                && time <= now + FRESH.as_secs()
                && Required::addresses().are_met_by(address.services)
                && !nodes.bars(&address.host, turn.now)
        };
        for address in told.iter().filter(is_news) {
            let Some(network) = AddressNetwork::of(&address.host) else { continue };
            let is_reachable = nodes.policy().networks.contains(network);
            // Not at midnight for all addresses at once.
            let hash = nodes.teller.hash(address, 0, 0);
            let day = (now + hash % DAY) / DAY;
            // What nobody here reaches goes to two of some, to one of others.
            let listeners = if is_reachable || hash & 1 == 0 { 2 } else { 1 };
            let others = self.peers.iter().filter(|(other, peer)| **other != conn && peer.is_ready());
            let mut drawn: Vec<(u64, ConnId)> =
                others.map(|(other, _)| (nodes.teller.hash(address, day, other.as_u64()), *other)).collect();
            drawn.sort_unstable_by_key(|drawn| Reverse(*drawn));
            for (_, other) in drawn.into_iter().take(listeners) {
                let Some(peer) = self.peers.get_mut(&other) else { continue };
                let fits = peer.news.takes_v2 || matches!(address.host, Host::Ip(_));
                if fits
                    && peer.news.waiting.len() < MAX_ADDRESSES
                    && peer.news.know(nodes.teller.hash(address, 0, 0))
                {
                    peer.news.waiting.push(*address);
                }
            }
        }
        self.time_news(turn.now.instant);
    }

    /// Draws when those are told for whom something waits.
    fn time_news(&mut self, now: Instant) {
        let Some(nodes) = self.nodes.as_deref_mut() else { return };
        for (conn, _) in self.peers.iter().filter(|(_, peer)| !peer.news.waiting.is_empty()) {
            let timer = Timer::News(*conn);
            if self.timers.get(timer).is_none() {
                self.timers.set(timer, now + exponential(WAIT, &mut nodes.teller.rng));
            }
        }
    }

    /// Tells a peer what waits for it.
    pub(super) fn tell_news(&mut self, turn: &mut Turn<'_>, conn: ConnId) {
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        let news = core::mem::take(&mut peer.news.waiting);
        if self.config.metered {
            return;
        }
        let message = if peer.news.takes_v2 { Message::AddrV2(news) } else { Message::Addr(news) };
        self.send(turn, conn, &message);
    }
}
