//! `andon-sim digest`.

use std::path::PathBuf;

use super::{Ending, Running, print, sources};
use crate::experiment::{Error, Kinds, Options, run as run_experiment};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Experiments: files, or names of those that come with the program
    #[arg(required = true, value_name = "FILE")]
    experiments: Vec<PathBuf>,
    #[command(flatten)]
    running: Running,
}

pub(super) fn run(arguments: &Arguments, kinds: &Kinds) -> Result<Ending, Error> {
    for runnable in sources::read(&arguments.experiments, kinds, arguments.running.overrides())? {
        let options = Options { threads: arguments.running.threads(), shard: None, keep_trials: false };
        let results = run_experiment(&runnable, options, &mut |_| {})?;
        print::text(&format!("{}  {}\n", results.digest(), results.experiment.name))?;
    }
    Ok(Ending::Fine)
}
