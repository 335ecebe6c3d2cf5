//! What the application says to the client and hears from it: plain data.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use andon_kernel::{ConnId, Disconnect, UnixTime};
use bitcoin::block::Header;
use bitcoin::p2p::ServiceFlags;
use bitcoin::{
    Amount, Block, BlockHash, FeeRate, FilterHash, FilterHeader, Network, OutPoint, ScriptBuf, Transaction,
    Txid, Work, Wtxid,
};

use super::Misbehaviour;
use super::config::Endpoint;
use super::descriptors::{Descriptor, Lookahead};
use crate::addresses::Subnet;
pub use crate::broadcast::{
    Options as BroadcastOptions, Skip, State as BroadcastState, Submission, SubmitError,
};
use crate::filter::Omission;
pub use crate::headers::{BlockId, HeaderError};
pub use crate::transport::{ProxyFailure, SamFailure, TransportVersion};

/// What an application asks of the client.
#[derive(Clone, Debug)]
pub enum Command {
    /// Connect to one more peer. One that is known already changes nothing; more than 256 are refused, each by an
    /// [`Event::PeerDisconnected`].
    AddPeer(Endpoint),
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

/// An output that is watched for its spending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchedOutput {
    /// Which.
    pub outpoint: OutPoint,
    /// Its script (`scriptPubKey`): what filters are searched for. With a wrong one the spending is not found.
    pub script: ScriptBuf,
    /// What it has, if that is to be told with its spending.
    pub amount: Option<Amount>,
}

/// Which header, or block, is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderQuery {
    /// The one at this height.
    Height(u32),
    /// The one with this hash.
    Hash(BlockHash),
}

/// Headers, and filter headers, from elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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

/// How far each part is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Block headers; the total is the highest that a peer claims.
    pub headers: Count,
    /// Filter headers, up to the block headers' tip.
    pub filter_headers: Count,
    /// Filters from the birthday to the tip.
    pub filters: Count,
    /// Blocks whose filters matched.
    pub blocks: Count,
    /// Bytes received since the start.
    pub bytes_received: u64,
    /// Bytes sent since the start.
    pub bytes_sent: u64,
}

/// A part of a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Of them, these are done.
    pub done: u32,
    /// Of all that are known of now.
    pub total: u32,
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

/// Why a peer is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The connection ended, or could not be opened.
    Connection(Disconnect),
    /// The host name has no address, or the look-up failed.
    Unresolved,
    /// The connection to the proxy ended before it stood, or could not be opened.
    ProxyUnreachable(Disconnect),
    /// The proxy did not connect.
    Proxy(ProxyFailure),
    /// An onion service can be reached through a proxy only.
    OnionWithoutProxy,
    /// A destination of I2P can be reached through a router of that network only
    /// ([`Config::i2p`](super::Config::i2p)).
    I2pWithoutRouter,
    /// The connection to the router of I2P ended before it stood, or could not be opened.
    I2pUnreachable(Disconnect),
    /// The router of I2P did not connect.
    I2p(SamFailure),
    /// Its address is one of CJDNS (`fc00::/8`), and [`Config::cjdns`](super::Config::cjdns) does not say that this machine is
    /// in that network.
    OutsideCjdns,
    /// It closed the encrypted connection without a word, and no other is allowed: it may not know encryption.
    EncryptionRefused,
    /// It closed the connection without a word: it may be of another network, full, or have banned us.
    ClosedBeforeVersion,
    /// It broke the protocol.
    Misbehaved(Misbehaviour),
    /// It lacks services that a light client needs.
    MissingServices(ServiceFlags),
    /// It speaks a version of the protocol from before 70013.
    ObsoleteVersion(u32),
    /// It is this client.
    SelfConnection,
    /// It did not finish the handshake in time.
    HandshakeTimeout,
    /// It went on with an encrypted handshake in a way that does not fit ours, and did not finish it in time: as a peer of
    /// another network does.
    ForeignHandshake,
    /// It did not answer a ping, and sent nothing else.
    PingTimeout,
    /// It did not answer a request for headers.
    HeadersTimeout,
    /// It serves a chain that branches off below the block that ours starts with.
    OtherChain,
    /// As many peers as the client takes were given before. It is not dialled.
    TooManyPeers,
    /// It was dialled to see whether there is a node, and there is.
    Tested,
    /// It was dialled to ask for addresses of others, and has told them or had the time for it.
    Asked,
    /// It was dialled because no block came, and now there is one connection more than there are to be.
    Surplus,
    /// It is in a subnet that was banned.
    Banned,
    /// It was connected for transactions, and has done its part.
    Told,
    /// It was connected for transactions, and takes none.
    TakesNone,
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

/// What a peer is connected for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerPurpose {
    /// The client's work. It was given.
    Configured,
    /// The client's work. It was found in the address book.
    Found,
    /// To see whether there is a node where the address book has one. Nothing is asked of it.
    Feeler,
    /// To ask for addresses of others. Nothing else is asked of it.
    Addresses,
    /// To tell of transactions, or to hear of them. Nothing else is asked of it.
    Broadcast,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection(disconnect) => disconnect.fmt(f),
            Self::Unresolved => f.write_str("the host name has no address"),
            Self::ProxyUnreachable(disconnect) => write!(f, "the proxy can't be reached: {disconnect}"),
            Self::Proxy(failure) => write!(f, "the proxy did not connect: {failure}"),
            Self::OnionWithoutProxy => f.write_str("an onion service can be reached through a proxy only"),
            Self::I2pWithoutRouter => {
                f.write_str("a destination of I2P can be reached through a router of that network only")
            }
            Self::I2pUnreachable(disconnect) => {
                write!(f, "the router of I2P can't be reached: {disconnect}")
            }
            Self::I2p(failure) => write!(f, "the router of I2P did not connect: {failure}"),
            Self::OutsideCjdns => {
                f.write_str("its address is one of CJDNS, and this machine is not said to be in that network")
            }
            Self::EncryptionRefused => f.write_str(
                "it closed the encrypted connection without a word (it knows no encryption, is full, or banned us)",
            ),
            Self::ClosedBeforeVersion => f.write_str(
                "it closed the connection without a word (of another network, full, or it banned us)",
            ),
            Self::Misbehaved(misbehaviour) => misbehaviour.fmt(f),
            Self::MissingServices(services) => write!(f, "it lacks services: {services}"),
            Self::ObsoleteVersion(version) => {
                write!(f, "it speaks an obsolete version of the protocol: {version}")
            }
            Self::SelfConnection => f.write_str("it is ourselves"),
            Self::HandshakeTimeout => f.write_str("it did not finish the handshake in time"),
            Self::ForeignHandshake => {
                f.write_str("its encrypted handshake does not fit ours (it may be of another network)")
            }
            Self::PingTimeout => f.write_str("it did not answer a ping"),
            Self::HeadersTimeout => f.write_str("it did not answer a request for headers"),
            Self::OtherChain => f.write_str("it is on another chain, which branches off below our start"),
            Self::TooManyPeers => f.write_str("too many peers were given"),
            Self::Tested => f.write_str("it was tested, and is there"),
            Self::Asked => f.write_str("it was asked for addresses of others"),
            Self::Surplus => f.write_str("one connection more than is wanted"),
            Self::Banned => f.write_str("it is banned"),
            Self::Told => f.write_str("it was connected for transactions, and is not needed for them any more"),
            Self::TakesNone => f.write_str("it takes no transactions"),
        }
    }
}
