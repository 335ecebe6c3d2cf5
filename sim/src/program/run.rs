//! `andon-sim run`.

use std::path::PathBuf;

use super::progress::Bar;
use super::{Ending, Running, print, sources};
use crate::experiment::shard::{self, Shard};
use crate::experiment::{Error, Kinds, Options, Results, output, run as run_experiment};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Experiments: files, or names of those that come with the program
    #[arg(required = true, value_name = "FILE")]
    experiments: Vec<PathBuf>,
    #[command(flatten)]
    running: Running,
    /// Write tables, figures and a report here, into a folder for each experiment
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Run one of several parts, such as 0/4, for `merge` to put together
    #[arg(long, value_name = "PART/PARTS", requires = "out")]
    shard: Option<Shard>,
    /// Show no progress and no table
    #[arg(long, short)]
    quiet: bool,
}

pub(super) fn run(arguments: &Arguments, kinds: &Kinds) -> Result<Ending, Error> {
    let mut ending = Ending::Fine;
    for runnable in sources::read(&arguments.experiments, kinds, arguments.running.overrides())? {
        let options = Options {
            threads: arguments.running.threads(),
            shard: arguments.shard,
            keep_trials: arguments.out.is_some(),
        };
        let bar = Bar::new(&runnable.experiment.name, arguments.quiet);
        let results = run_experiment(&runnable, options, &mut |progress| bar.show(progress))?;
        bar.finish();
        ending = ending.max(match (arguments.shard, &arguments.out) {
            (Some(shard), Some(out)) => {
                let path = shard::write(&results, shard, &out.join(&results.experiment.name))?;
                print::part(&results, shard, &path, arguments.quiet)?;
                Ending::Fine
            }
            (_, out) => conclude(&results, out.as_ref(), arguments.quiet)?,
        });
    }
    Ok(ending)
}

/// Writes and prints what came of an experiment.
pub(super) fn conclude(results: &Results, out: Option<&PathBuf>, quiet: bool) -> Result<Ending, Error> {
    results.check()?;
    let written = match out {
        Some(out) => output::write(results, &out.join(&results.experiment.name))?,
        None => vec![],
    };
    print::results(results, &written, quiet)
}
