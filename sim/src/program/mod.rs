//! The program `andon-sim`. Who has models of their own makes a program of their own with it, by [`main`] with their [`Kinds`].
//!
//! Every subcommand is a file here. Exit codes: 0 where everything came as expected, 1 where something deviates, 2 for an error.

mod check;
mod digest;
mod list;
mod merge;
mod print;
mod progress;
mod replay;
mod run;
mod sources;

use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::thread;

use clap::{Args, Parser, Subcommand};

use crate::experiment::Kinds;
use crate::experiment::file::Overrides;

/// Everything that can be said on the command line.
#[derive(Debug, Parser)]
#[command(
    name = "andon-sim",
    version,
    about = "A world in virtual time: runs experiments on peer selection, eclipse attacks and light clients",
    after_help = "Exit codes: 0 everything came as expected, 1 something deviates, 2 error."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run experiments, and hold what comes of them against what was expected
    Run(run::Arguments),
    /// Merge the parts of runs with --shard into what one run would have written
    Merge(merge::Arguments),
    /// Print the digest of all that happens in experiments: the same on every machine, with any number of threads
    Digest(digest::Arguments),
    /// Look for what goes wrong in random worlds with the light client in them
    Check(check::Arguments),
    /// Run one of the worlds of `check` again, and show it turn by turn
    Replay(replay::Arguments),
    /// List the kinds of models and the experiments that come with the program, or print one of these
    List(list::Arguments),
}

/// What is said of any experiment that is run.
#[derive(Clone, Copy, Debug, Args)]
struct Running {
    /// How many trials each cell has, instead of what the file says
    #[arg(long, value_name = "NUMBER")]
    trials: Option<u64>,
    /// The seed, instead of the file's
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// On how many threads; nothing but the time depends on it [default: as many as there are processors]
    #[arg(long, value_name = "NUMBER")]
    threads: Option<NonZeroUsize>,
}

/// The most threads: more than processors are of no use.
const MOST_THREADS: NonZeroUsize = NonZeroUsize::new(1024).unwrap();

impl Running {
    fn overrides(self) -> Overrides {
        Overrides { seed: self.seed, trials: self.trials }
    }

    fn threads(self) -> NonZeroUsize {
        all_threads(self.threads)
    }
}

/// So many, or as many as there are processors.
fn all_threads(threads: Option<NonZeroUsize>) -> NonZeroUsize {
    let all = || thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    threads.unwrap_or_else(all).min(MOST_THREADS)
}

/// What a subcommand comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Ending {
    Fine,
    Deviates,
}

/// Does what the command line says, with models of these kinds.
pub fn main(kinds: &Kinds) -> ExitCode {
    let ending = match Arguments::parse().command {
        Command::Run(arguments) => run::run(&arguments, kinds),
        Command::Merge(arguments) => merge::run(&arguments),
        Command::Digest(arguments) => digest::run(&arguments, kinds),
        Command::Check(arguments) => check::run(&arguments),
        Command::Replay(arguments) => replay::run_one(&arguments),
        Command::List(arguments) => list::run(&arguments, kinds),
    };
    match ending {
        Ok(Ending::Fine) => ExitCode::SUCCESS,
        Ok(Ending::Deviates) => ExitCode::from(1),
        Err(error) => {
            print::error(&error);
            ExitCode::from(2)
        }
    }
}
