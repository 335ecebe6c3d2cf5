//! What requests are answered with: plain data.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use andon_kernel::ConnId;
use bitcoin::block::Header;
use bitcoin::p2p::ServiceFlags;
use bitcoin::{FeeRate, Target, Work};

use super::api::{BlockId, Event};
use super::config::Endpoint;
use super::reasons::{PeerPurpose, Reason};
use crate::transport::TransportVersion;

/// By which an application knows a request. It may be used again after the answer; whoever counts up need not think of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
pub struct RequestId(pub u64);

/// The one answer to a request.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Answer {
    /// It has been carried out; what the client remembers of it is durable.
    Done,
    /// What the command asks for, as the event that it brings about where it is no request.
    Event(Box<Event>),
    /// It was [cancelled](super::Command::Cancel). What had been carried out by then stands.
    Cancelled,
    /// It was not answered in the time that it had. What had been carried out by then stands.
    TimedOut,
    /// It is not carried out.
    Refused(Refusal),
}

/// Why a request is not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The client [can't work](super::Event::Failed) with what is stored.
    Failed,
    /// An earlier request has this number, and is not answered yet: that one is not concerned by this answer.
    NumberInUse,
    /// 4096 requests are not answered yet; or, of a command that is no request, 8192 commands are not carried out yet.
    TooMany,
    /// It is a request of a request, or of a cancellation.
    NoRequest,
    /// 256 peers have been given.
    TooManyPeers,
    /// There are 10,000 bans, or no nodes are found beside those that are given.
    NoBan,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Failed => "the client can't work with what is stored",
            Self::NumberInUse => "another request has this number",
            Self::TooMany => "too many requests are not answered yet",
            Self::NoRequest => "this is no command that can be a request",
            Self::TooManyPeers => "as many peers have been given as there can be",
            Self::NoBan => "there are too many bans, or no nodes to ban",
        })
    }
}

impl core::error::Error for Refusal {}

/// The best chain's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChainTip {
    /// Height and hash.
    pub block: BlockId,
    /// Its header.
    pub header: Header,
    /// The work of the chain up to it.
    pub work: Work,
    /// What its hash had to be below.
    pub target: Target,
    /// Whether every connected peer has shown all of its chain, and at least one that it has this tip.
    pub is_current: bool,
    /// The last block up to which everything that is watched has been searched for. `None`: nothing is watched, or nothing has
    /// been searched.
    pub checked: Option<u32>,
}

/// One peer: connected, being connected, or given and waiting to be dialled again.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PeerStatus {
    /// Where it is; as it was given, if it was.
    pub endpoint: Endpoint,
    /// What it is connected for.
    pub purpose: PeerPurpose,
    /// How far the connection is.
    pub stage: PeerStage,
}

/// How far a connection is.
#[derive(Clone, Debug, PartialEq)]
pub enum PeerStage {
    /// It was given, and is dialled again later.
    Waiting {
        /// In how long; `None`: its name is being looked up, or the client is [paused](super::Command::Pause).
        dialled_in: Option<Duration>,
        /// Why it is not connected, if it has been dialled.
        reason: Option<Reason>,
        /// How often in a row that failed.
        failures: u32,
    },
    /// It is being connected: the handshake is not finished.
    Connecting {
        /// Since when.
        elapsed: Duration,
    },
    /// The handshake is finished.
    Connected(PeerStatistics),
}

/// What is known of a connected peer.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PeerStatistics {
    /// The connection.
    pub peer: ConnId,
    /// How long it has been connected, from the dial on.
    pub elapsed: Duration,
    /// As the peer says.
    pub user_agent: String,
    /// As the peer says.
    pub services: ServiceFlags,
    /// Whether the connection is encrypted.
    pub transport: TransportVersion,
    /// The height of its chain, as the peer says.
    pub claimed: u32,
    /// The best block that it has shown.
    pub shown: Option<BlockId>,
    /// Bytes that came from it, the handshake included.
    pub bytes_received: u64,
    /// Bytes that were sent to it, the handshake included.
    pub bytes_sent: u64,
    /// From a request to the first byte of its answer, on average over the last ones.
    pub latency: Option<Duration>,
    /// Bytes a second while it owed something. `None`: not measured yet.
    pub rate: Option<u64>,
    /// How long nothing has come from it.
    pub silent: Duration,
    /// About how many bytes of filters and blocks it has been asked for and has not sent.
    pub owed_bytes: u64,
    /// Whether it left requests unanswered, so that others are asked for now.
    pub is_passed_over: bool,
}

/// What is known of fees ([`fees`](crate::fees) says what that is worth).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fees {
    /// The lowest rate that peers take, the median of groups of peers, and how many groups that is of. `None`: none has
    /// said.
    pub least: Option<(FeeRate, usize)>,
    /// What the transactions of blocks paid on average, of those of the blocks asked for that were read since the start,
    /// the lowest rate first: for a percentile.
    pub paid: Vec<FeeRate>,
}

/// What the network may cost until the client pauses by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
pub struct Budget {
    /// Bytes that come and go, counted from the command. What was asked for before the last of them may still come: no more
    /// than one read of a socket is counted beyond.
    pub bytes: Option<u64>,
    /// Time.
    pub time: Option<Duration>,
    /// Whether to pause as soon as everything up to the tip has been searched, and each transaction that is broadcast has been
    /// sent to somebody.
    pub until_synced: bool,
}

/// Why the client is paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PauseReason {
    /// It was asked for.
    Asked,
    /// Everything is done that the [`Budget`] was for.
    Synced,
    /// The budget's bytes have been spent.
    Bytes,
    /// The budget's time is over.
    Time,
}
