//! Compares Andon's light client with Kyoto (the crate `bip157`): both sync the headers and filter headers of the same
//! chain, and search its filters if they are asked to, from the same server, over loopback, one after the other.
//!
//! The server and each run of a client is a process of its own, which this program makes of itself: so the peak memory
//! of a client's process is that client's alone.
//!
//! | file | owns |
//! |---|---|
//! | `chain` | the blocks that are served |
//! | `serve` | the process that serves them |
//! | `andon`, `kyoto` | the process of each client |
//! | `lines` | what these processes tell on standard output |
//! | `child` | starting them, listening to them and ending them in time |
//! | `compare` | the runs |
//! | `table` | what is printed of them |
//! | `system` | clock, memory, processor time |

mod andon;
mod chain;
mod child;
mod compare;
mod kyoto;
mod lines;
mod serve;
mod system;
mod table;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bitcoin::BlockHash;
use clap::{Args, Parser, Subcommand, ValueEnum};

/// What goes wrong is told to a person; nothing decides by its kind.
type Error = Box<dyn std::error::Error + Send + Sync>;

/// Andon and Kyoto sync the headers and filter headers of the same chain.
#[derive(Debug, Parser)]
#[command(version, subcommand_negates_reqs = true)]
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

/// What a process does that this program made of itself.
#[derive(Debug, Subcommand)]
enum Part {
    #[command(hide = true)]
    Serve {
        #[arg(long)]
        blocks: u32,
        #[arg(long)]
        elements: u32,
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
#[derive(Clone, Copy, Debug, Args)]
struct Goal {
    #[arg(long)]
    peer: SocketAddr,
    #[arg(long)]
    height: u32,
    #[arg(long)]
    tip: BlockHash,
    /// How many scripts it looks for. With none it is done when it knows all filter headers.
    #[arg(long)]
    scripts: u32,
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
        Some(Part::Serve { blocks, elements }) => serve::run(blocks, elements).map(|()| ExitCode::SUCCESS),
        Some(Part::Andon { goal, directory }) => {
            andon::run(goal, &directory, started).map(|()| ExitCode::SUCCESS)
        }
        Some(Part::Kyoto { goal }) => kyoto::run(goal, started).map(|()| ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}
