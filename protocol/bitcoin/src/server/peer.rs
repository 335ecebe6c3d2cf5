//! What a server knows of one peer.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::SocketAddr;

use andon_kernel::Instant;
use bitcoin::p2p::ServiceFlags;

use super::answer::Answer;
use super::chain::BlockIndex;
use super::relay::PeerRelay;
use crate::transport::{Reader, Writer};

/// One connection.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) remote: SocketAddr,
    pub(super) reader: Reader,
    pub(super) writer: Writer,
    /// What came behind the request that is being answered.
    pub(super) backlog: Vec<u8>,
    pub(super) phase: Phase,
    pub(super) user_agent: String,
    pub(super) services: ServiceFlags,
    /// What is being answered.
    pub(super) answer: Option<Answer>,
    /// Bytes sent that have not been seen to leave.
    pub(super) unflushed: usize,
    /// Since when nothing more is read or made until what was sent has left.
    pub(super) waiting_since: Option<Instant>,
    pub(super) is_paused: bool,
    pub(super) last_received: Instant,
    pub(super) last_drained: Instant,
    pub(super) ping: Ping,
    pub(super) prefers_headers: bool,
    pub(super) wants_addrv2: bool,
    pub(super) was_told_addresses: bool,
    /// Blocks that have become part of the best chain and were not announced yet, the lowest first.
    pub(super) news: Vec<BlockIndex>,
    pub(super) relay: PeerRelay,
    /// The best block that the peer is known to have, from what it said.
    pub(super) best_known: Option<BlockIndex>,
    /// The last header that it was sent, or could have been.
    pub(super) best_sent: Option<BlockIndex>,
}

/// How far a peer's handshake is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing was heard of it.
    New,
    /// Its version was answered.
    Introduced {
        /// The newest version of the protocol that both speak.
        common: u32,
        /// Whether it wants to hear of transactions.
        relay: bool,
        connected: bool,
    },
}

/// The pings to a peer.
#[derive(Debug, Default)]
pub(super) struct Ping {
    /// Of the ping that is not answered.
    pub(super) nonce: Option<u64>,
    pub(super) sent: Option<Instant>,
    /// One is to be sent as soon as something may be.
    pub(super) is_due: bool,
}

/// What a peer's timers are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Alarm {
    Handshake,
    Inactivity,
    Ping,
    /// Transactions are to be asked for.
    Request,
    /// Transactions are to be told.
    Tell,
}

impl Alarm {
    pub(super) const ALL: [Self; 5] =
        [Self::Handshake, Self::Inactivity, Self::Ping, Self::Request, Self::Tell];
}

impl Peer {
    pub(super) fn new(remote: SocketAddr, (reader, writer): (Reader, Writer), now: Instant) -> Self {
        Self {
            remote,
            reader,
            writer,
            backlog: Vec::new(),
            phase: Phase::New,
            user_agent: String::new(),
            services: ServiceFlags::NONE,
            answer: None,
            unflushed: 0,
            waiting_since: None,
            is_paused: false,
            last_received: now,
            last_drained: now,
            ping: Ping::default(),
            prefers_headers: false,
            wants_addrv2: false,
            was_told_addresses: false,
            news: Vec::new(),
            relay: PeerRelay::default(),
            best_known: None,
            best_sent: None,
        }
    }

    /// Whether the handshake is finished.
    pub(super) fn is_connected(&self) -> bool {
        matches!(self.phase, Phase::Introduced { connected: true, .. })
    }

    /// Whether it wants to hear of transactions.
    pub(super) fn wants_transactions(&self) -> bool {
        matches!(self.phase, Phase::Introduced { relay: true, .. })
    }
}
