//! What the application says to the server and hears from it: plain data.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;

use andon_kernel::{ConnId, Disconnect};
use bitcoin::p2p::ServiceFlags;
use bitcoin::{Block, BlockHash, Network, Transaction, Txid};

use super::{Chain, ChainError};
use crate::transport::{TransportError, TransportVersion};
use crate::wire::NodeAddress;

/// How a server is built. [`Config::new`] has the defaults.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whose chain.
    pub network: Network,
    /// Where every random choice comes from. Secret; from the operating system, except in a simulation.
    pub seed: [u8; 32],
    /// What the server calls itself to its peers (BIP14), at most 256 bytes; more is cut off.
    pub user_agent: String,
    /// What the server says it serves, and does. Without `COMPACT_FILTERS` it gives no filters; with
    /// `NETWORK_LIMITED` and without `NETWORK` no blocks deeper than 290.
    pub services: ServiceFlags,
    /// Whether it takes encrypted connections (BIP324) beside others, and says so (`P2P_V2`).
    pub encryption: bool,
    /// Whether it takes transactions and tells its peers of them. Without this, a peer that sends or announces one is
    /// disconnected.
    pub relay: bool,
    /// The lowest fee rate that peers hear of, in satoshis for 1000 virtual bytes. Told if [`relay`](Self::relay).
    pub fee_filter: u64,
    /// Bytes of transactions that it keeps at most; zero: it keeps none, and asks for none.
    pub mempool_bytes: usize,
    /// How long after a transaction was announced to it the server asks for it, and how long after it has one it announces
    /// it. Bitcoin Core asks after two seconds whoever has dialled it, and announces after five on average.
    pub transaction_delay: Duration,
    /// Nodes that it tells peers of. More can be added by [`Command::AddAddresses`].
    pub addresses: Vec<NodeAddress>,
    /// Filters exist up to this height only: an index that lags behind. What needs a higher one is not answered.
    pub filter_index_height: Option<u32>,
    /// Below this height of the tip, `getheaders` is answered by no headers: a node that is syncing itself.
    pub minimum_height: u32,
    /// How many peers at once; one more is disconnected at once.
    pub max_peers: usize,
    /// How long a peer may take from the connection to the end of the handshake.
    pub handshake_timeout: Duration,
    /// How often a peer is pinged.
    pub ping_interval: Duration,
    /// How long a peer may send nothing, take nothing of what it is sent, or leave a ping unanswered.
    pub inactivity_timeout: Duration,
}

impl Config {
    /// The defaults for a network; `seed` as in [`Config::seed`].
    pub fn new(network: Network, seed: [u8; 32]) -> Self {
        Self {
            network,
            seed,
            user_agent: concat!("/andon-server:", env!("CARGO_PKG_VERSION"), "/").to_string(),
            services: ServiceFlags::NETWORK
                | ServiceFlags::WITNESS
                | ServiceFlags::COMPACT_FILTERS
                | ServiceFlags::NETWORK_LIMITED,
            encryption: true,
            relay: true,
            fee_filter: 1000,
            mempool_bytes: 5_000_000,
            transaction_delay: Duration::from_secs(2),
            addresses: Vec::new(),
            filter_index_height: None,
            minimum_height: 0,
            // All of these as Bitcoin Core has them: it keeps 114 of its 125 connections for those who dial it.
            max_peers: 114,
            handshake_timeout: Duration::from_secs(60),
            ping_interval: Duration::from_secs(120),
            inactivity_timeout: Duration::from_secs(20 * 60),
        }
    }
}

/// What an application asks of the server.
#[derive(Clone, Debug)]
pub enum Command {
    /// Tell peers of these nodes too. A list that was drawn for peers lately goes on being told for a day.
    AddAddresses(Vec<NodeAddress>),
    /// Take a transaction as from a peer, and announce it.
    AddTransaction(Transaction),
    /// Add blocks after the tip, and announce them.
    Extend(Vec<Block>),
    /// Serve what a copy of the chain has become, and announce it. Many servers that follow one chain share it.
    Follow(Chain),
    /// Replace the blocks above a height by a branch that has more work, and announce it.
    Reorganise {
        /// The last block that stays.
        fork_height: u32,
        /// From the height after it.
        blocks: Vec<Block>,
    },
}

/// What the server tells the application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A peer finished the handshake.
    PeerConnected {
        /// The connection.
        peer: ConnId,
        /// The other end.
        remote: SocketAddr,
        /// As the peer says, with `?` for what is not plain text.
        user_agent: String,
        /// As the peer says.
        services: ServiceFlags,
        /// As the peer began.
        transport: TransportVersion,
    },
    /// A peer is gone.
    PeerDisconnected {
        /// The connection.
        peer: ConnId,
        /// The other end.
        remote: SocketAddr,
        /// Whether the handshake had been finished.
        connected: bool,
        /// Why.
        reason: Reason,
    },
    /// A transaction that was not known is kept.
    TransactionKept {
        /// Which.
        txid: Txid,
        /// Who sent it; the application, if nobody.
        from: Option<ConnId>,
    },
    /// The chain has a new tip.
    ChainChanged {
        /// Of the tip.
        height: u32,
        /// Of the tip.
        tip: BlockHash,
    },
    /// A command could not be carried out; it changed nothing.
    Rejected(Rejection),
}

/// Why a command could not be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rejection {
    /// The blocks don't fit the chain.
    Blocks(ChainError),
    /// The server would know of more addresses than it keeps.
    TooManyAddresses,
    /// The transaction spends what does not exist or is spent, or is known, or there is no room for it.
    Transaction,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blocks(error) => error.fmt(f),
            Self::TooManyAddresses => f.write_str("too many addresses"),
            Self::Transaction => f.write_str("the transaction is not taken"),
        }
    }
}

/// Why a peer is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The connection ended.
    Connection(Disconnect),
    /// It did not finish the handshake in time.
    HandshakeTimeout,
    /// It sent nothing for too long, or took nothing of what it was sent.
    Inactive,
    /// It sent bytes that can't be read on.
    Transport(TransportError),
    /// It speaks a version of the protocol that is too old.
    ObsoleteVersion(u32),
    /// It left a ping unanswered.
    PingTimeout,
    /// It asked for what Bitcoin Core disconnects for, or sent it.
    Refused(Refusal),
    /// The server was stopped.
    Stopped,
    /// As many peers as the server takes were connected.
    TooManyPeers,
}

/// What Bitcoin Core disconnects a peer for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each is said by its Display")]
pub enum Refusal {
    BlockTooDeep,
    BloomFilter,
    FeatureAfterVerack,
    FilterRange,
    FilterType,
    LongAddressList,
    LongHeaders,
    LongInventory,
    LongLocator,
    MalformedSendCmpct,
    Transaction,
    UnknownStopHash,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection(disconnect) => disconnect.fmt(f),
            Self::Transport(error) => error.fmt(f),
            Self::HandshakeTimeout => f.write_str("it did not finish the handshake in time"),
            Self::Inactive => f.write_str("it sent or took nothing for too long"),
            Self::ObsoleteVersion(version) => write!(f, "obsolete version {version}"),
            Self::PingTimeout => f.write_str("it did not answer a ping"),
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Stopped => f.write_str("the server was stopped"),
            Self::TooManyPeers => f.write_str("too many peers"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BlockTooDeep => "it asked for a block deeper than a pruned node serves",
            Self::BloomFilter => "it asked for bloom filters or the mempool",
            Self::FeatureAfterVerack => "it negotiated a feature after the handshake",
            Self::FilterRange => "it asked for too many filters, or for none",
            Self::FilterType => "it asked for filters of a type that is not served",
            Self::LongAddressList => "it sent more than 1000 addresses",
            Self::LongHeaders => "it sent more than 2000 headers",
            Self::LongInventory => "it sent more than 50,000 entries",
            Self::LongLocator => "it sent a locator of more than 101 hashes",
            Self::MalformedSendCmpct => "it sent a malformed sendcmpct",
            Self::Transaction => "it sent a transaction, and none are taken",
            Self::UnknownStopHash => "it asked for filters up to a block that is not served",
        })
    }
}
