//! Compares Andon's light client with Kyoto (the crate `bip157`): both sync the headers and filter headers of the same
//! chain, and search its filters if they are asked to, from the same server, over loopback, one after the other.
//! `usage` measures what a search costs them from a start point on, over links of several speeds.
//!
//! The server and each run of a client is a process of its own, which this program makes of itself: so the peak memory
//! of a client's process is that client's alone.
//!
//! | file | owns |
//! |---|---|
//! | `chain` | the blocks that are served |
//! | `full` | those of them that are as large as today's |
//! | `serve` | the process that serves them |
//! | `links` | slow links to it |
//! | `start` | a block of the chain to begin at |
//! | `andon`, `kyoto` | the process of each client |
//! | `findings` | what they find, and are to find |
//! | `lines` | what these processes tell on standard output |
//! | `child` | starting them, listening to them |
//! | `task` | one run of a client, ended in time and checked |
//! | `compare`, `table` | the runs that compare their speed, and what is printed of them |
//! | `usage`, `costs` | the runs over links, and what is printed of them |
//! | `units` | figures as they are printed |
//! | `system` | clock, memory, processor time, disk |

mod andon;
mod chain;
mod child;
mod compare;
mod costs;
mod findings;
mod full;
mod kyoto;
mod lines;
mod links;
mod serve;
mod start;
mod system;
mod table;
mod task;
mod units;
mod usage;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bitcoin::BlockHash;
use clap::{Args, Parser, Subcommand, ValueEnum};

use chain::Plan;
use start::Start;

/// What goes wrong is told to a person; nothing decides by its kind.
type Error = Box<dyn std::error::Error + Send + Sync>;

/// Andon and Kyoto sync the headers and filter headers of the same chain.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    part: Option<Part>,
    #[command(flatten)]
    comparison: Comparison,
}

#[derive(Debug, Args)]
struct Comparison {
    /// Blocks after the first one; several numbers, separated by commas, are compared one after the other
    #[arg(long, value_name = "N", default_value = "1000000", value_delimiter = ',')]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    blocks: Vec<u32>,
    /// Elements of each filter. With more than none the clients go on: they search all filters, and read what matches
    #[arg(long, value_name = "E", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    elements: u32,
    /// How many scripts they look for
    #[arg(long, value_name = "S", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    scripts: u32,
    /// How often each client syncs them, the two taking turns
    #[arg(long, value_name = "R", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
    /// After how long a run is ended and what it reached is told
    #[arg(long, value_name = "SECONDS", default_value = "3600", value_parser = seconds)]
    time_limit: Duration,
    /// Run this client only
    #[arg(long, value_enum)]
    only: Option<Client>,
}

/// The clients that are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Client {
    Andon,
    Kyoto,
}

/// Another comparison; or what a process does that this program made of itself.
#[derive(Debug, Subcommand)]
enum Part {
    /// Search filters from a start point on, over links of several speeds: Kyoto's published table of what it uses
    Usage(usage::Usage),
    #[command(hide = true)]
    Serve {
        #[command(flatten)]
        plan: Plan,
    },
    #[command(hide = true)]
    Andon {
        #[command(flatten)]
        goal: Goal,
        #[arg(long)]
        directory: PathBuf,
    },
    #[command(hide = true)]
    Kyoto {
        #[command(flatten)]
        goal: Goal,
    },
}

/// Where a client syncs from, and what it must reach.
#[derive(Clone, Debug, Args)]
struct Goal {
    /// What is served. With no scripts to look for it is done when it knows all filter headers.
    #[command(flatten)]
    plan: Plan,
    #[arg(long)]
    tip: BlockHash,
    #[arg(long = "peer", required = true)]
    peers: Vec<SocketAddr>,
    /// How often Kyoto may dial each of them: it gives up an address that it has lost.
    #[arg(long, default_value_t = 1)]
    dials: usize,
    /// Where to begin; without it, at the first block.
    #[arg(long)]
    start: Option<Start>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds @ 1..=604_800) => Ok(Duration::from_secs(seconds)),
        _ => Err("a number of seconds from 1 to 604800".to_owned()),
    }
}

fn main() -> ExitCode {
    let started = system::now();
    let Arguments { part, comparison } = Arguments::parse();
    let done = match part {
        None => compare::run(&comparison),
        Some(Part::Usage(usage)) => usage::run(&usage),
        Some(Part::Serve { plan }) => serve::run(plan).map(|()| ExitCode::SUCCESS),
        Some(Part::Andon { goal, directory }) => {
            andon::run(&goal, &directory, started).map(|()| ExitCode::SUCCESS)
        }
        Some(Part::Kyoto { goal }) => kyoto::run(&goal, started).map(|()| ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}
