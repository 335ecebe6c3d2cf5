//! The command line: what can be said, and how it is parsed into types. Texts that can only be judged together with
//! others (an address and the network) stay texts here; `watch` parses them.

use std::fmt;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr;

use andon_bitcoin::client::FilterCache;
use bitcoin::{BlockHash, Network, Work};
use clap::{ArgAction, ArgGroup, Args, Parser, Subcommand, ValueEnum};

use crate::birthday::Birthday;
use crate::error::Error;
use crate::nodes::NodeArguments;
use crate::recording::RecordingArguments;
use crate::replay::ReplayArguments;
use crate::system;

/// Everything that was said on the command line.
#[derive(Debug, Parser)]
#[command(
    name = "andon",
    version,
    about = "A Bitcoin light client: finds payments by compact block filters (BIP157, BIP158)",
    long_about = "A Bitcoin light client. It fetches block headers and compact block filters from Bitcoin nodes, checks \
                  them, and reads only the blocks whose filters match what you watch. Nobody learns what that is.",
    after_help = "Without a command the demo runs.",
    after_long_help = AFTER_HELP
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) output: OutputArguments,
}

/// How to speak.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputArguments {
    /// Print one JSON object a line on standard output; the last one is what it came to
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Show no progress and no news; findings, warnings and what it came to are still printed
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// Log what happens inside, on standard error; twice for more (shows no progress bars)
    #[arg(long, short, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve a small real chain on this machine and sync it: a few seconds, no network, nothing left behind
    Demo,
    /// Find the payments to and from addresses, scripts or descriptors
    Sync(Box<SyncArguments>),
    /// Broadcast transactions, and wait until they spread
    ///
    /// Connections that are asked for filters and blocks hear nothing of them: others are made for nothing else, to a node of
    /// --peer only where no other node is known. What is not in a block at the end is kept, and goes on with the next broadcast
    /// or sync, for 14 days.
    Broadcast(Box<BroadcastArguments>),
    /// Tell what the transactions of the last blocks paid, and what nodes take at least
    ///
    /// The blocks are fetched, each of a node that is drawn: on mainnet they have about 1.5 MB each. An average is above the
    /// least that came in; nothing is said of what waits.
    Fees(Box<FeesArguments>),
    /// Show the block headers that are kept, write them to a file, or take them from one; no network is used
    #[command(subcommand, arg_required_else_help = false)]
    Headers(HeadersCommand),
    /// Save what can be saved of a damaged data directory; no network is used
    ///
    /// What can still be read is kept, and the next sync fetches the rest. The damaged database stays beside the new one,
    /// as andon.sqlite.damaged.
    Repair(DataArguments),
    /// Run a recorded run again, turn by turn; no network is used, and no data directory
    ///
    /// It shows what came in and what went out, and ends with code 0 only if all that went out is what went out when it was
    /// recorded, bit for bit. With --quiet it shows the end of it alone.
    Replay(ReplayArguments),
}

#[derive(Debug, Subcommand)]
pub(crate) enum HeadersCommand {
    /// Show the header of a block of the best chain
    Show {
        /// Which block; without it the last one
        #[arg(value_name = "HEIGHT|HASH")]
        block: Option<Which>,
        #[command(flatten)]
        data: DataArguments,
    },
    /// Write all block headers and filter headers of the best chain to a file
    ///
    /// The file is complete or it is not there: it is written under another name first.
    Export {
        /// The file
        file: PathBuf,
        /// Write over the file if there is one
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        data: DataArguments,
    },
    /// Take block headers and filter headers from a file that `headers export` wrote
    ///
    /// Block headers are checked as a peer's are: their rules, their links, their work. Filter headers can't be checked
    /// without the filters and are believed, so take them from a file that you trust. A data directory that does not exist
    /// yet begins where the file does, and others go on from where they are.
    Import {
        /// The file
        file: PathBuf,
        /// Take the block headers alone: the next sync asks peers for the filter headers
        #[arg(long)]
        no_filter_headers: bool,
        #[command(flatten)]
        data: DataArguments,
    },
}

/// Whose data, and where it is kept.
#[derive(Debug, Args)]
pub(crate) struct DataArguments {
    /// Whose chain
    #[arg(long, value_enum, default_value_t = NetworkName::Mainnet)]
    pub(crate) network: NetworkName,
    /// Where what has been learnt is kept, so that the next run goes on from there
    ///
    /// Default: the directory andon/NETWORK where this system keeps applications' data
    /// (on Linux ~/.local/share/andon/mainnet).
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}

impl DataArguments {
    /// The network.
    pub(crate) fn network(&self) -> Network {
        self.network.into()
    }

    /// The directory that was named, or the network's own.
    ///
    /// # Errors
    /// If none was named and the system names no place for a user's data.
    pub(crate) fn directory(&self) -> Result<PathBuf, Error> {
        match &self.data_dir {
            Some(path) => Ok(path.clone()),
            None => system::default_data_dir(self.network()),
        }
    }
}

#[derive(Debug, Args)]
#[command(group(
    ArgGroup::new("watch").required(true).multiple(true).args(["addresses", "scripts", "script_files", "descriptors"])
))]
pub(crate) struct SyncArguments {
    #[command(flatten)]
    pub(crate) data: DataArguments,
    #[command(flatten)]
    pub(crate) nodes: NodeArguments,
    #[command(flatten)]
    pub(crate) recording: RecordingArguments,
    #[command(flatten)]
    pub(crate) watch: WatchArguments,
    /// Where to begin to search: a block height, or a day as YYYY-MM-DD (UTC)
    ///
    /// No payment before it is looked for. Block headers are fetched from the last block before it that this program
    /// knows (on mainnet, testnet and signet one a year or more). Without it the search begins with the first block, which
    /// on mainnet means to download about 13 GB of filters.
    #[arg(long, value_name = "HEIGHT|DATE", default_value = "0")]
    pub(crate) birthday: Birthday,
    /// Fetch and check all block headers from the network's first block on, whatever the birthday
    ///
    /// A chain in the data directory that begins with a later block is fetched anew.
    #[arg(long)]
    pub(crate) from_genesis: bool,
    /// Keep no chain that has less work than this, in hex
    ///
    /// A node that you trust tells it as chainwork (bitcoin-cli getblockchaininfo). Default: what the network's best chain is
    /// known to have.
    #[arg(long, value_name = "HEX", value_parser = parse_work)]
    pub(crate) minimum_work: Option<Work>,
    /// Keep filters in the data directory: all since the birthday, or the last of them up to so many megabytes
    ///
    /// What is watched later is then searched for without asking for them again; only blocks whose filters match are. A filter
    /// of mainnet has 25 KB today. Without this option those that an earlier run has kept are removed.
    #[arg(long, value_name = "all|MB", value_parser = parse_cache)]
    pub(crate) keep_filters: Option<FilterCache>,
    /// Search from the tip downwards: what was paid lately is found first
    ///
    /// Payments come in steps, from a day's blocks to a month's, each step in the chain's order.
    #[arg(long)]
    pub(crate) newest_first: bool,
    /// Ask for one of N blocks that do not match, too, so that a request for a block says little about what is watched
    ///
    /// A block of mainnet has about 1.5 MB: with a thousand a year costs 80 MB.
    #[arg(long, value_name = "N")]
    pub(crate) decoy_blocks: Option<NonZeroU32>,
    /// Go on at the tip: tell of new blocks until interrupted
    #[arg(long)]
    pub(crate) follow: bool,
    /// Give up after this time without a peer, or without anything new from one (not with --follow)
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) timeout: u64,
}

#[derive(Debug, Args)]
pub(crate) struct BroadcastArguments {
    /// Signed transactions in hex, or files of such, one a line; several that are given belong together, as parents and
    /// children
    #[arg(required = true, value_name = "HEX|FILE")]
    pub(crate) transactions: Vec<String>,
    #[command(flatten)]
    pub(crate) data: DataArguments,
    #[command(flatten)]
    pub(crate) nodes: NodeArguments,
    #[command(flatten)]
    pub(crate) recording: RecordingArguments,
    /// Give each transaction, or each family of them, to one node at a time, over a connection that ends with it
    ///
    /// Together with --proxy and Tor nobody learns where it comes from.
    #[arg(long)]
    pub(crate) private: bool,
    /// What a transaction pays, in satoshis; repeat it for several, in their order
    ///
    /// With it peers are passed over that take none that pay as little, and a parent that pays too little goes with its child.
    #[arg(long = "fee", value_name = "SATS")]
    pub(crate) fees: Vec<u64>,
    /// When to end: when peers that were not told of them announce them, or when they are in a block
    #[arg(long, value_enum, default_value_t = Until::Seen)]
    pub(crate) until: Until,
    /// Give up waiting after this time
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=1_209_600))]
    pub(crate) timeout: u64,
}

#[derive(Debug, Args)]
pub(crate) struct FeesArguments {
    #[command(flatten)]
    pub(crate) data: DataArguments,
    #[command(flatten)]
    pub(crate) nodes: NodeArguments,
    #[command(flatten)]
    pub(crate) recording: RecordingArguments,
    /// How many of the last blocks to read
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=144))]
    pub(crate) blocks: u32,
    /// Give up after this time
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) timeout: u64,
}

/// When a broadcast has come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Until {
    /// Others announce it
    Seen,
    /// It is in a block
    Confirmed,
}

#[derive(Debug, Args)]
#[group(skip)]
pub(crate) struct WatchArguments {
    /// An address to watch; repeatable
    #[arg(long = "address", value_name = "ADDRESS")]
    pub(crate) addresses: Vec<String>,
    /// An output script (scriptPubKey) to watch, in hex; repeatable
    #[arg(long = "script", value_name = "HEX")]
    pub(crate) scripts: Vec<String>,
    /// A file of output scripts to watch: hex, one a line; blank lines and what follows a # are skipped
    #[arg(long = "scripts", value_name = "FILE")]
    pub(crate) script_files: Vec<PathBuf>,
    /// An output descriptor to watch, with or without a wildcard, <0;1> and a checksum; repeatable
    #[arg(long = "descriptor", value_name = "DESCRIPTOR")]
    pub(crate) descriptors: Vec<String>,
    /// How many scripts of each descriptor with a wildcard to watch at first: indexes 0 to N-1
    ///
    /// It doubles when less than the gap is left above the last one that is used, and what is new is searched for from the
    /// birthday on.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) range: u32,
    /// How many scripts of a descriptor in a row may be unused: so many above the last that is used are always watched
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) gap: u32,
}

/// Chain work as other programs print it.
fn parse_work(text: &str) -> Result<Work, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    let hex = (1..=64).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let work = hex.then(|| Work::from_unprefixed_hex(digits).ok()).flatten();
    work.ok_or_else(|| "not a number of at most 64 hex digits".into())
}

/// Which filters to keep.
fn parse_cache(text: &str) -> Result<FilterCache, String> {
    match text.parse::<u32>() {
        _ if text == "all" => Ok(FilterCache::All),
        Ok(megabytes) if megabytes > 0 => Ok(FilterCache::Bytes(u64::from(megabytes) * 1_000_000)),
        _ => Err("neither 'all' nor a number of megabytes from 1 up".into()),
    }
}

/// A block, as a person names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// By its height.
    Height(u32),
    /// By its hash.
    Hash(BlockHash),
}

impl FromStr for Which {
    type Err = WhichError;

    fn from_str(text: &str) -> Result<Self, WhichError> {
        // A hash has more digits than any height.
        if text.len() == 64 {
            return text.parse().map(Self::Hash).map_err(|_| WhichError);
        }
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(WhichError);
        }
        text.parse().map(Self::Height).map_err(|_| WhichError)
    }
}

/// Why a text is no [`Which`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WhichError;

impl fmt::Display for WhichError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("neither a block height nor a block hash of 64 hex digits")
    }
}

impl std::error::Error for WhichError {}

/// A network by the name that people use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum NetworkName {
    /// The one with real bitcoins
    #[value(alias = "bitcoin", alias = "main")]
    Mainnet,
    /// The third test network
    #[value(alias = "testnet3", alias = "test")]
    Testnet,
    /// The fourth test network
    Testnet4,
    /// The signed test network
    Signet,
    /// Your own
    Regtest,
}

impl From<NetworkName> for Network {
    fn from(name: NetworkName) -> Self {
        match name {
            NetworkName::Mainnet => Self::Bitcoin,
            NetworkName::Testnet => Self::Testnet,
            NetworkName::Testnet4 => Self::Testnet4,
            NetworkName::Signet => Self::Signet,
            NetworkName::Regtest => Self::Regtest,
        }
    }
}

/// The name of a network, as `--network` takes it.
pub(crate) fn network_name(network: Network) -> &'static str {
    match network {
        Network::Bitcoin => "mainnet",
        Network::Testnet => "testnet",
        Network::Testnet4 => "testnet4",
        Network::Signet => "signet",
        Network::Regtest => "regtest",
    }
}

const AFTER_HELP: &str = "\
Without a command the demo runs.

Exit codes:
  0    done; of sync: everything up to the tip has been checked,
       every matching block read; of broadcast: all have spread
  1    it failed; what happened and what to do is on standard error
  2    the arguments are wrong
  130  interrupted (Ctrl-C, or told to terminate); what was done is kept
  141  whoever read standard output went away

With --json each line is an object. Its field \"event\" says which:
  started            network, tip, checked (a height, or null):
                     what is known at the start
  repaired           what, kept: what was kept had a fault; headers are
                     sound up to the block kept
  migrated           from: the data was in this older format
  peer_connected     peer, user_agent, height, transport (v1 or v2)
  peer_disconnected  peer, connected (whether it had been), reason
  peer_withholds     peer, claimed_height: it may be syncing itself
  heavier_below_start
                     peer, height, work (hex): it shows a chain with more
                     work that leaves ours below its first block
  birthday_below_start
                     birthday, first: the search begins at first
  broadcast          txid, wtxid, state (waiting, announced, sent, seen,
                     confirmed, conflicted, replaced, expired, withdrawn),
                     and as it applies height, block, by (a txid)
  broadcast_skipped  txid, peer, reason: the peer is not told of it
  broadcasts         transactions (each with txid, and as above), seconds:
                     what broadcast came to
  fees               tip (a height), blocks, paid_sat_per_kvb (of each
                     block, the lowest first), least_sat_per_kvb (or
                     null), least_groups, seconds: what fees came to
  stale_tip          tip: no block has come for a while
  progress           headers, filter_headers (heights), filters, blocks
                     (each with done and total),
                     bytes_received, bytes_sent;
                     of other commands: checksum, headers,
                     filter_headers, as far as they have such parts
  matched            height, block: its filter matched, and it was read
  received           height, block, txid, vout, script, address (or null),
                     sats; of a script that was derived: descriptor, index
  spent              height, block, txid, vin, spends_txid, spends_vout,
                     script, address (or null), sats; as above
  derived            descriptor, scripts: so many of it are watched now
  taken_back         kind (received or spent), and the fields of that
  reorganised        fork, old_tip, new_tip
  rescan             from: what has come to be watched is searched for
                     from this height on; what was found stands
  checked            height, block: everything up to here is checked
  synced             height, block: this is the tip
  warning            what
  step               step: first_sync, new_blocks, reorganisation (demo)
  error              kind, what, help (or null)
  summary            complete, network, tip_height, tip_hash,
                     heights_matched, false_matches,
                     payments (as received), payment_count, received_sats,
                     spent (as above), spent_count, spent_sats,
                     bytes_received, bytes_sent,
                     seconds (headers, filter_headers, filters, blocks,
                     total; null: not done, or nothing to do),
                     peak_memory_bytes (or null)
  header             network, height, block, previous, merkle_root, time,
                     version, bits, nonce, hex, filter_header (or null)
  exported           network, file, first (height), tip, headers,
                     filter_headers, bytes, sha256, seconds,
                     peak_memory_bytes (or null)
  imported           complete, network, file, data_dir, headers,
                     filter_headers, headers_not_kept, tip,
                     filter_headers_tip (or null), seconds,
                     peak_memory_bytes (or null)
  salvaged           network, data_dir, lost, spaces (name, rows, lost),
                     tip, filter_headers_tip (or null), search_again
  turn               turn (from 0), offset (in the recording), seconds,
                     unix, input, effects, deadline, agrees (null where
                     the recording does not say): of replay
  replayed           turns, agreed, unknown, first_difference (a turn, or
                     null), end (complete, until, break, bounded, cut_off,
                     damaged, panicked, no_panic, interrupted), bytes,
                     simulated_seconds, seconds: what replay came to
A tip, a fork or a block kept is an object of height and hash. The last line
is what the command came to (summary, header, exported, imported,
salvaged), or the error if it failed.";
