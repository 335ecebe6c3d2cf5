//! What the application says to the client and hears from it: plain data.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use andon_kernel::{ConnId, UnixTime};
use bitcoin::block::Header;
use bitcoin::p2p::ServiceFlags;
use bitcoin::{
    Amount, Block, BlockHash, FilterHash, FilterHeader, Network, OutPoint, ScriptBuf, Transaction, Txid,
    Work, Wtxid,
};

use super::config::Endpoint;
use super::descriptors::{Descriptor, Lookahead};
pub use super::progress::{Count, Progress, SyncPhase};
pub use super::reasons::{PeerPurpose, Reason};
pub use super::replies::{
    Answer, Budget, ChainTip, Fees, PauseReason, PeerStage, PeerStatistics, PeerStatus, Refusal, RequestId,
};
use crate::addresses::Subnet;
pub use crate::broadcast::{
    Options as BroadcastOptions, Skip, State as BroadcastState, Submission, SubmitError,
};
use crate::filter::Omission;
pub use crate::headers::{BlockId, HeaderError};
pub use crate::transport::{ProxyFailure, SamFailure, TransportVersion};

/// What an application asks of the client.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
pub enum Command {
    /// Connect to one more peer. One that is known already changes nothing; more than 256 are refused, each by an
    /// [`Event::PeerDisconnected`].
    AddPeer(Endpoint),
    /// Connect to a peer no more that was given, and let it go: an [`Event::PeerDisconnected`] tells. One that was not given
    /// changes nothing. It may still be found, where nodes are.
    RemovePeer(Endpoint),
    /// Close all connections, store what there is to store, and dial nobody until [`Resume`](Self::Resume).
    /// [`Event::Paused`] tells when that is durable. What needs no network goes on; a paused client wakes for nothing.
    Pause,
    /// Go on after [`Pause`](Self::Pause), or after a start [as paused](super::Config::paused); with a budget, until that is
    /// spent: then the client pauses by itself. A later one takes the place of an earlier budget. As a
    /// [request](Self::Request) with a budget it is answered by the [`Event::Paused`] that ends it.
    Resume(Option<Budget>),
    /// Whether each byte costs. Then nothing is done that the result does not need: no decoy blocks, no tests of nodes, no
    /// news told on, no block or filter asked of two peers for speed, and no more than two connections to found nodes.
    SetMetered(bool),
    /// Everything that was told up to the [`Event::Mark`] with this number is kept by the application: it is not told again
    /// after a restart. See [`Config::acknowledged`](super::Config::acknowledged).
    Acknowledge(u64),
    /// Carry a command out, and tell what comes of it by exactly one [`Event::Answered`] with this number: what the command
    /// asks for, in place of the event of its own; or that it is done, and durable if it is remembered. What is asked before
    /// what is stored has been read waits for that.
    Request {
        /// Of the application's choice; of those that are not answered no two may be the same.
        id: RequestId,
        /// Any but a request or a cancellation.
        command: Box<Self>,
        /// How long it may take: then it is given up as by a [`Cancel`](Self::Cancel), and answered as [`Answer::TimedOut`].
        within: Option<Duration>,
    },
    /// Give a request up: it is answered as [`Answer::Cancelled`] at once, unless it has been answered. What was carried out
    /// stands; what is under way for nothing else ends.
    Cancel(RequestId),
    /// Tell the best chain's end. [`Event::Tip`] answers.
    TellTip,
    /// Tell of the peers. [`Event::Peers`] answers.
    TellPeers,
    /// Watch these scripts (output scripts, `scriptPubKey`) too, in blocks from `from` on.
    ///
    /// What is watched is remembered. Scripts that are watched already from there on, or from before, change nothing.
    /// Others are searched for from there, and no other script with them; what had been found stands.
    Watch {
        /// Duplicates and empty ones do no harm.
        scripts: Vec<ScriptBuf>,
        /// The first block that can touch them.
        from: Birthday,
    },
    /// As [`Watch`](Self::Watch), and forget every other script with what was found for it, but for those of descriptors.
    WatchOnly {
        /// Duplicates and empty ones do no harm.
        scripts: Vec<ScriptBuf>,
        /// The first block that can touch them.
        from: Birthday,
    },
    /// Watch these outputs too, for their spending alone: what else is paid to their scripts is not told. Remembered, as
    /// scripts are. A spending stays found when its output is watched by its script as well; whoever does both, from
    /// different blocks, may hear of it twice.
    WatchOutputs {
        /// Duplicates do no harm.
        outputs: Vec<WatchedOutput>,
        /// The first block that can spend them.
        from: Birthday,
    },
    /// Watch these no more, and forget what was found for them: an [`Event::TakenBack`] for each finding. What is not
    /// watched changes nothing.
    Unwatch {
        /// Scripts.
        scripts: Vec<ScriptBuf>,
        /// Outputs that were given to [`WatchOutputs`](Self::WatchOutputs).
        outputs: Vec<OutPoint>,
    },
    /// Watch the scripts of these output descriptors too, as far ahead as is wanted, and further as they are used.
    ///
    /// Remembered, as scripts are. One that is watched already from there on, or from before, changes nothing but its
    /// lookahead. An [`Event::DescriptorDerived`] tells how many scripts are watched.
    WatchDescriptors {
        /// Duplicates do no harm.
        descriptors: Vec<Descriptor>,
        /// How far ahead.
        lookahead: Lookahead,
        /// The first block that can touch their scripts.
        from: Birthday,
        /// Whether to forget every other descriptor, with what was found for it.
        only: bool,
    },
    /// Watch these no more, and forget what was found for them, as [`Unwatch`](Self::Unwatch) does.
    UnwatchDescriptors {
        /// Those that are not watched change nothing.
        descriptors: Vec<Descriptor>,
    },
    /// Search once more for all that is watched, from a block on, as if it had never been searched from there. What had
    /// been found there is told as [`Event::TakenBack`].
    Rescan {
        /// The first block. Nothing is searched for below the block from which it is watched.
        from: Birthday,
    },
    /// Find the transaction that spends an output. [`Event::SpendSearched`] answers, once for each, when it is found or the
    /// tip is reached. Not remembered: one that is not answered when the client ends must be given again.
    FindSpend {
        /// The output.
        outpoint: OutPoint,
        /// Its script: what filters are searched for.
        script: ScriptBuf,
        /// The first block that can spend it: the one with the output.
        from: Birthday,
    },
    /// Dial no nodes of a subnet until a time, and let those go that are connected: it is told as [`Event::Banned`] when it is
    /// durable. Peers that were given are not concerned.
    Ban {
        /// An address, or all that begin as it does.
        subnet: Subnet,
        /// When the ban ends.
        until: UnixTime,
    },
    /// Lift the ban of exactly this subnet. One that has none changes nothing.
    LiftBan {
        /// As it was banned.
        subnet: Subnet,
    },
    /// Broadcast transactions that belong together, as parents and children, until each is in a block, contradicted by one,
    /// or too old. [`Event::Broadcast`] tells how far each is; [`Event::BroadcastRefused`] answers if they can't be.
    ///
    /// They are remembered, and go on after a restart. Connections of their own are made for them: nobody who is asked
    /// for filters or blocks is told of a transaction. One that is given again begins anew.
    Broadcast {
        /// At most 25, in any order.
        transactions: Vec<Submission>,
        /// How, and for how long.
        options: BroadcastOptions,
    },
    /// Broadcast a transaction no more, nor those that spend it. One that is not being broadcast changes nothing.
    WithdrawBroadcast {
        /// Which.
        txid: Txid,
    },
    /// Tell what is known of fees. [`Event::Fees`] answers, once for each. What blocks paid is known of those that were read:
    /// for more, [fetch](Self::FetchBlock) some first.
    TellFees {
        /// Of how many of the last blocks.
        blocks: u32,
    },
    /// Look a header of the best chain up. [`Event::Header`] answers, once for each.
    FindHeader(HeaderQuery),
    /// Fetch a block of the best chain, from a peer that is drawn. [`Event::Block`] answers, once for each: when a peer has
    /// sent it, which may take as long as none has it. No more than four are fetched at a time. What it paid counts among
    /// what [`TellFees`](Self::TellFees) tells.
    FetchBlock(HeaderQuery),
    /// Fetch filters of the best chain (BIP158), for an application that matches by itself: from the disk as far as they
    /// [are kept](super::Config::filter_cache), else from peers, each checked against its filter header. [`Event::Filters`]
    /// answers, once for each, in order; one is worked on at a time. What is watched is searched for all the same.
    FetchFilters {
        /// The first height.
        from: u32,
        /// How many at most; no more than 100 are given at once.
        count: u32,
    },
    /// Read headers and filter headers of the best chain. [`Event::Exported`] answers, once for each.
    Export {
        /// The first height.
        from: u32,
        /// How many at most; no more than 2000 are given at once.
        count: u32,
    },
    /// Take headers, and filter headers, that come from elsewhere than a peer: a file. They are checked as a peer's are.
    /// [`Event::Imported`] answers, once for each.
    Import(Import),
}

/// A filter, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedFilter {
    /// The block.
    pub block: BlockId,
    /// As it is sent (BIP158): [`filter::Query`](crate::filter::Query) compares it with scripts.
    pub filter: Vec<u8>,
}

/// An output that is watched for its spending.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
pub struct WatchedOutput {
    /// Which.
    pub outpoint: OutPoint,
    /// Its script (`scriptPubKey`): what filters are searched for. With a wrong one the spending is not found.
    pub script: ScriptBuf,
    /// What it has, if that is to be told with its spending.
    #[cfg_attr(feature = "record", serde(with = "bitcoin::amount::serde::as_sat::opt", default))]
    pub amount: Option<Amount>,
}

/// Which header, or block, is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
pub enum HeaderQuery {
    /// The one at this height.
    Height(u32),
    /// The one with this hash.
    Hash(BlockHash),
}

/// Headers, and filter headers, from elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
pub struct Import {
    /// Consecutive headers, at most 2000. The first one's parent is in the best chain.
    pub headers: Vec<Header>,
    /// The height of the first filter header.
    pub filter_headers_from: u32,
    /// Consecutive filter headers, at most 2000, of blocks of the best chain. Those that are known must be the same.
    pub filter_headers: Vec<FilterHeader>,
}

/// Why an [`Import`] was not taken whole.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImportError {
    /// There are more than 2000 of a kind.
    TooMany,
    /// The first header's parent is not in the part of the chain that headers can go on from.
    Unconnected,
    /// The headers do not follow each other.
    Discontinuous,
    /// A header breaks a rule.
    Invalid(HeaderError),
    /// The headers have too little work.
    LowWork,
    /// The filter headers do not go on from those that are known, or are of blocks that are not.
    FilterHeadersUnconnected,
    /// A filter header is not the one that is known for its block.
    FilterHeadersContradict {
        /// Its height.
        height: u32,
    },
}

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany => f.write_str("there are more than 2000 at once"),
            Self::Unconnected => f.write_str("the headers do not go on from a known block"),
            Self::Discontinuous => f.write_str("the headers do not follow each other"),
            Self::Invalid(error) => write!(f, "a header is invalid: {error}"),
            Self::LowWork => f.write_str("the headers have too little work"),
            Self::FilterHeadersUnconnected => {
                f.write_str("the filter headers do not go on from those that are known")
            }
            Self::FilterHeadersContradict { height } => {
                write!(f, "the filter header at height {height} is not the one that is known")
            }
        }
    }
}

impl core::error::Error for ImportError {}

/// The first block of interest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
pub enum Birthday {
    /// The block at this height.
    Height(u32),
    /// The first block from two hours before this time on: block times are that loose.
    Time(UnixTime),
}

/// What the client tells the application. Findings and their taking back are derived from what is durable.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// What was stored has been read. Recorded findings follow, as [`Event::Touched`]; of those, as
    /// [`Event::TakenBack`], the ones whose taking back was cut short by the end of the last run; then news.
    Started {
        /// The best block known.
        tip: BlockId,
        /// Everything up to this height has been checked already.
        checked: Option<u32>,
    },
    /// The client can't work with what is stored; it does nothing more.
    Failed(Failure),
    /// A peer finished the handshake, and the client works with it.
    PeerConnected {
        /// The connection.
        peer: ConnId,
        /// Where it is; as it was given, if it was.
        endpoint: Endpoint,
        /// Whether it was given or found.
        purpose: PeerPurpose,
        /// As the peer says.
        user_agent: String,
        /// As the peer says.
        services: ServiceFlags,
        /// The height of its chain, as the peer says.
        height: u32,
        /// Whether the connection is encrypted.
        transport: TransportVersion,
    },
    /// A peer could not be reached, or is gone. One that was given will be dialled again.
    PeerDisconnected {
        /// Where it is; as it was given, if it was.
        endpoint: Endpoint,
        /// What it was connected for.
        purpose: PeerPurpose,
        /// Whether the client worked with it: an [`Event::PeerConnected`] was told.
        connected: bool,
        /// Why.
        reason: Reason,
    },
    /// A peer claims a longer chain than it shows: it may be syncing itself. It is asked again.
    PeerWithholds {
        /// As it was given.
        endpoint: Endpoint,
        /// The height that it claimed in its handshake.
        claimed: u32,
    },
    /// A peer left a filter out of an answer and sent others of it. Another is asked for it, or the same one later.
    FilterLeftOut {
        /// As it was given.
        endpoint: Endpoint,
        /// The block whose filter it is.
        block: BlockId,
    },
    /// A transaction that is broadcast is in another state. After [`Event::Started`] the states of those that were stored.
    Broadcast {
        /// Which.
        txid: Txid,
        /// The same, with its witnesses.
        wtxid: Wtxid,
        /// How far it is. It is stored.
        state: BroadcastState,
    },
    /// A peer is not told of a transaction. Once for each connection and reason.
    BroadcastSkipped {
        /// Which.
        txid: Txid,
        /// As it was given, or found.
        endpoint: Endpoint,
        /// Why.
        reason: Skip,
    },
    /// Transactions are not broadcast; nothing has changed.
    BroadcastRefused {
        /// Their ids, as they were given.
        txids: Vec<Txid>,
        /// Why.
        error: SubmitError,
    },
    /// The one answer to a [`Command::Request`].
    Answered {
        /// Its number.
        id: RequestId,
        /// What came of it.
        answer: Answer,
    },
    /// Findings and states of broadcasts that were told before this, and since the last one, are stored as not acknowledged:
    /// [`Command::Acknowledge`] with this number when they are kept. Only where [`Config::acknowledged`](super::Config::acknowledged)
    /// says so.
    Mark(u64),
    /// The client is paused: no connection is open, none is dialled, and what was learnt is stored.
    Paused {
        /// Why.
        reason: PauseReason,
        /// Everything up to this height has been checked.
        checked: Option<u32>,
        /// Bytes that came and went since the [`Command::Resume`], or the start.
        bytes: u64,
    },
    /// What a [`Command::TellTip`] asked for.
    Tip(ChainTip),
    /// What a [`Command::TellPeers`] asked for: connected ones in the order in which they were dialled, then given ones that are
    /// not connected.
    Peers(Vec<PeerStatus>),
    /// What a [`Command::TellFees`] asked for.
    Fees(Fees),
    /// What a [`Command::FindHeader`] asked for.
    Header {
        /// As it was asked.
        query: HeaderQuery,
        /// The block, if it is in the best chain and not below its start.
        found: Option<(BlockId, Header)>,
    },
    /// What a [`Command::FetchBlock`] asked for. Its transactions are those that its header stands for, with their witnesses.
    Block {
        /// As it was asked.
        query: HeaderQuery,
        /// The block, if it is in the best chain and not below its start.
        found: Option<(BlockId, Block)>,
    },
    /// What a [`Command::FetchFilters`] asked for: fewer than asked where the chain ends, or where it is not known yet which
    /// filters are right; none where it does not reach.
    Filters {
        /// As it was asked.
        from: u32,
        /// Of consecutive blocks, from that one on; or from the first whose filter can be checked, if that lies above it.
        filters: Vec<FetchedFilter>,
    },
    /// What a [`Command::Export`] asked for: fewer than asked where the chain ends, none where it does not reach.
    Exported {
        /// The first height.
        from: u32,
        /// Consecutive headers.
        headers: Vec<Header>,
        /// Consecutive filter headers from the same height on, as far as they are known.
        filter_headers: Vec<FilterHeader>,
    },
    /// What a [`Command::Import`] came to. What was sound in it is kept, also if not all was.
    Imported {
        /// The best block now.
        tip: BlockId,
        /// How many filter headers are known, counted from height 0.
        filter_headers: u32,
        /// Why not all of it was taken.
        stopped: Option<ImportError>,
    },
    /// What is stored had a fault. What lies below it is kept, the rest is fetched again.
    Repaired {
        /// Where.
        what: &'static str,
        /// The block up to which headers are kept.
        kept: BlockId,
    },
    /// What is stored was in an older format, and has been taken over into the present one.
    Migrated {
        /// The format that it was in.
        from: u32,
    },
    /// A peer has shown a chain with more work than ours that branches off below the block that ours starts with. It can't
    /// be followed from there: begin again with a lower [`Start`](super::Start), if it is to be.
    HeavierBelowStart {
        /// As the peer was given.
        endpoint: Endpoint,
        /// The height at which it had more work.
        height: u32,
        /// Its work there.
        work: Work,
    },
    /// Scripts are to be watched from a block that lies below the start of the chain. They are watched from `first` on.
    BirthdayBelowStart {
        /// As it was asked for.
        birthday: u32,
        /// The first block whose filter can be checked.
        first: u32,
    },
    /// A peer vouched for a filter that its block proves false (BIP157). It is let go, as its
    /// [`Event::PeerDisconnected`] tells; what was believed of it is dropped by an [`Event::FilterHeadersReplaced`].
    FalseFilter {
        /// As the peer was given.
        endpoint: Endpoint,
        /// The block.
        block: BlockId,
        /// The hash of the filter, which is served to whoever asks for it and to which its filter header commits.
        filter_hash: FilterHash,
        /// What the block shows and the filter does not hold. `None`: the filter can't even be decoded.
        omission: Option<Omission>,
    },
    /// Peers name different filter headers from this height on, and the block there proves neither false: a filter that
    /// holds too much can't be told from a right one. More groups of peers decide. Told again when the decision changes.
    FilterHeadersDisputed {
        /// The first height where they differ.
        height: u32,
        /// Groups of peers for those that were had before.
        ours: u32,
        /// Groups of peers for others.
        theirs: u32,
        /// What is done.
        decision: Decision,
    },
    /// Filter headers from this height on were false, or those of fewer peers: others take their place. What had been found
    /// with them comes right after, as [`Event::TakenBack`], and is searched for again.
    FilterHeadersReplaced {
        /// The first height.
        from: u32,
    },
    /// No node of this subnet is dialled until this time: it was asked for, or one has vouched for a false filter, for which
    /// it is banned for a day.
    Banned {
        /// An address, or all that begin as it does.
        subnet: Subnet,
        /// When the ban ends.
        until: UnixTime,
    },
    /// A ban was not made: there are 10,000, or no nodes are found beside those that are given.
    BanRefused {
        /// As it was asked for.
        subnet: Subnet,
    },
    /// A command that was no request is not carried out. Of one that was, [`Event::Answered`] tells.
    CommandRefused(Refusal),
    /// A ban was lifted.
    BanLifted {
        /// As it was asked for.
        subnet: Subnet,
    },
    /// No block has come for [`Config::stale_tip`](super::Config::stale_tip). One more peer was asked for headers, if one is connected.
    StaleTip {
        /// The best block known.
        tip: BlockId,
    },
    /// How far everything is. At most ten times a second, and once more at [`Event::Synced`].
    Progress(Progress),
    /// Another branch has more work: the blocks above `fork` are no longer in the best chain.
    ///
    /// What had been found in them comes right after, as [`Event::TakenBack`].
    Reorganised {
        /// The last block that both branches have.
        fork: BlockId,
        /// The tip that was.
        old_tip: BlockId,
        /// The tip that is.
        new_tip: BlockId,
    },
    /// The search goes back, for what was added to the watched or for all of it. What had been found stands, unless an
    /// [`Event::TakenBack`] follows.
    Rescan {
        /// The first height that is searched.
        from: u32,
    },
    /// So many scripts of a descriptor are watched now, durably: from its first index on.
    DescriptorDerived {
        /// The descriptor, as [`Descriptor::paths`] has it.
        descriptor: String,
        /// How many.
        scripts: u32,
    },
    /// What a [`Command::FindSpend`] asked for.
    SpendSearched {
        /// As it was asked for.
        outpoint: OutPoint,
        /// Its spending, if there is one up to `checked`. A reorganisation that undoes it is not told: watch the output if
        /// that matters.
        spend: Option<Spend>,
        /// The last block that was searched.
        checked: BlockId,
    },
    /// A block's filter matched a watched script, and the block was read. What touched a script follows; nothing, if
    /// the filter matched by chance (once in 784,931 scripts and blocks).
    Matched(BlockId),
    /// A transaction of the best chain pays a watched script, or spends what one received.
    Touched(Touch),
    /// A finding is void: its block is no longer in the best chain, its script or output is no longer watched, or it is
    /// searched for once more.
    TakenBack(Touch),
    /// Each block up to this one has been checked for all that is watched, and what was found has been told. Goes down at
    /// [`Event::Reorganised`] and [`Event::Rescan`]. While scripts that were added are searched for far below, new blocks are
    /// checked for the others, and what is found in them is told without this.
    Checked(BlockId),
    /// Everything up to the tip has been checked, and no connected peer knows of a better one. Once for each tip.
    Synced(BlockId),
}

/// What is done about filter headers that peers differ about and that nothing proves false.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// As many are for one as for the other. The search does not go past the height below until another peer decides.
    Open,
    /// More are for those that were had before.
    Kept,
    /// More are for the others, which are taken.
    Replaced,
}

/// A payment to a watched script, or one from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Touch {
    /// The block it is in.
    pub block: BlockId,
    /// The transaction.
    pub txid: Txid,
    /// Which way.
    pub kind: TouchKind,
    /// The watched script.
    pub script: ScriptBuf,
    /// Received or spent. `None`: spent from a [`WatchedOutput`] that was given without.
    pub amount: Option<Amount>,
    /// Where the script comes from, if it was derived.
    pub derivation: Option<Derivation>,
}

/// A script's place in a descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Derivation {
    /// The descriptor, as [`Descriptor::paths`] has it.
    pub descriptor: String,
    /// The index.
    pub index: u32,
}

/// The spending of an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spend {
    /// The block it is in.
    pub block: BlockId,
    /// The input's index.
    pub input: u32,
    /// The transaction, with its witnesses.
    pub transaction: Transaction,
}

/// Which way a payment goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TouchKind {
    /// An output pays the script.
    Received {
        /// The output's index.
        output: u32,
    },
    /// An input spends an output that had paid it.
    Spent {
        /// The input's index.
        input: u32,
        /// What it spends.
        outpoint: OutPoint,
    },
}

/// Why a client can't work with what is stored, or with its configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// It is another network's.
    OtherNetwork {
        /// Whose it is.
        found: Network,
    },
    /// It was written in another format.
    OtherVersion {
        /// Its version.
        found: u32,
        /// Ours.
        expected: u32,
    },
    /// The start that was given can't be begun with.
    UnusableStart {
        /// Why not.
        why: &'static str,
    },
    /// The known blocks that were given can't all be in one chain, or lie too far apart.
    UnusableKnownBlocks {
        /// Why not.
        why: &'static str,
    },
    /// It contradicts itself.
    Damaged {
        /// Where.
        what: &'static str,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherNetwork { found } => write!(f, "the data is of another network: {found}"),
            Self::OtherVersion { found, expected } => {
                write!(f, "the data is in format {found}, and this program reads format {expected}")
            }
            Self::UnusableStart { why } => write!(f, "the chain can't start there: {why}"),
            Self::UnusableKnownBlocks { why } => write!(f, "the known blocks can't be used: {why}"),
            Self::Damaged { what } => write!(f, "the data is damaged: {what}"),
        }
    }
}
