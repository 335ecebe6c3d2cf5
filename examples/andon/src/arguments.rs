//! The command line: what can be said, and how it is parsed into types. Texts that can only be judged together with
//! others (an address and the network) stay texts here; `watch` parses them.

use std::path::PathBuf;

use bitcoin::Network;
use clap::{ArgAction, ArgGroup, Args, Parser, Subcommand, ValueEnum};

use crate::birthday::Birthday;

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
    /// Print one JSON object a line on standard output; the last one is the summary
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Show no progress and no news of peers; findings, warnings and the summary are still printed
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
}

#[derive(Debug, Args)]
#[command(group(
    ArgGroup::new("watch").required(true).multiple(true).args(["addresses", "scripts", "script_files", "descriptors"])
))]
pub(crate) struct SyncArguments {
    /// Whose chain
    #[arg(long, value_enum, default_value_t = NetworkName::Mainnet)]
    pub(crate) network: NetworkName,
    /// A node to connect to, and nobody else; repeat it, or separate several by commas
    ///
    /// The node must serve compact block filters (Bitcoin Core: -blockfilterindex=1 -peerblockfilters=1). Without a port
    /// it is the network's: 8333, testnet 18333, testnet4 48333, signet 38333, regtest 18444.
    #[arg(long = "peer", value_name = "HOST[:PORT]", value_delimiter = ',')]
    pub(crate) peers: Vec<String>,
    #[command(flatten)]
    pub(crate) watch: WatchArguments,
    /// Where to begin to search: a block height, or a day as YYYY-MM-DD (UTC)
    ///
    /// No payment before it is looked for. Without it the search begins with the first block, which on mainnet means to
    /// download about 13 GB of filters.
    #[arg(long, value_name = "HEIGHT|DATE", default_value = "0")]
    pub(crate) birthday: Birthday,
    /// Where to keep what has been learnt, so that the next run goes on from there
    ///
    /// Default: the directory andon/NETWORK where this system keeps applications' data
    /// (on Linux ~/.local/share/andon/mainnet).
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Go on at the tip: tell of new blocks until interrupted
    #[arg(long)]
    pub(crate) follow: bool,
    /// Give up after this time without a peer, or without anything new from one (not with --follow)
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) timeout: u64,
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
    /// How many scripts of each descriptor with a wildcard to watch: indexes 0 to N-1
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) range: u32,
}

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
  0    everything up to the tip has been checked, every matching block read
  1    it failed; what happened and what to do is on standard error
  2    the arguments are wrong
  130  interrupted (Ctrl-C, or told to terminate); what was done is kept
  141  whoever read standard output went away

With --json each line is an object. Its field \"event\" says which:
  started            network, tip, checked (a height, or null):
                     what was known from before
  peer_connected     peer, user_agent, height
  peer_disconnected  peer, connected (whether it had been), reason
  peer_withholds     peer, claimed_height: it may be syncing itself
  progress           headers, filter_headers, filters, blocks
                     (each with done and total),
                     bytes_received, bytes_sent
  matched            height, block: its filter matched, and it was read
  received           height, block, txid, vout, script, address (or null),
                     sats
  spent              height, block, txid, vin, spends_txid, spends_vout,
                     script, address (or null), sats
  taken_back         kind (received or spent), and the fields of that
  reorganised        fork, old_tip, new_tip
  rescan             from: what was found from this height on is void,
                     and told anew
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
A tip or a fork is an object of height and hash. The last line is the
summary, or the error if the run failed.";
