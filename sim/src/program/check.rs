//! `andon-sim check`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use super::progress::Bar;
use super::{Ending, all_threads, print};
use crate::check::{Failure, Sabotage, Summary, draw, file, many, shrink};
use crate::experiment::{Error, Progress};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// How many worlds
    #[arg(long, value_name = "NUMBER", default_value_t = 1000)]
    seeds: u64,
    /// The first one's seed
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    first_seed: u64,
    /// On how many threads; nothing but the time depends on it [default: as many as there are processors]
    #[arg(long, value_name = "NUMBER")]
    threads: Option<NonZeroUsize>,
    /// Where the shortest scenario that was found of the first failure is written
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    out: PathBuf,
    /// How many scenarios are tried to find a shorter one
    #[arg(long, value_name = "NUMBER", default_value_t = 2000)]
    tries: u32,
    /// Have the client do something wrong, such as `hide-payment`, to see that it is found
    #[arg(long, value_name = "WRONG")]
    sabotage: Option<Sabotage>,
    /// Show no progress, and of what comes of it only failures
    #[arg(long, short)]
    quiet: bool,
    /// Print only the digest of all that happens: the same on every machine, with any number of threads
    #[arg(long, conflicts_with = "quiet")]
    digest: bool,
}

/// How many failures are told of in full.
const TOLD: usize = 10;

pub(super) fn run(arguments: &Arguments) -> Result<Ending, Error> {
    let Arguments { seeds, first_seed, .. } = *arguments;
    let last = first_seed.checked_add(seeds.saturating_sub(1)).filter(|last| i64::try_from(*last).is_ok());
    if seeds == 0 || last.is_none() {
        return Err(Error::Usage(format!("there are seeds from 0 to {}, and one world at least", i64::MAX)));
    }
    let bar = Bar::new("check", arguments.quiet || arguments.digest);
    let mut left = seeds;
    let summary = many(first_seed, seeds, all_threads(arguments.threads), arguments.sabotage, &mut |_| {
        left -= 1;
        bar.show(Progress { left });
    });
    bar.finish();
    if arguments.digest {
        print::text(&format!("{}  check of {seeds} from {first_seed}\n", summary.digest))?;
    } else if !arguments.quiet {
        print::text(&report(&summary))?;
    }
    let Some((seed, failure)) = summary.failures.first() else { return Ok(Ending::Fine) };
    let mut text = String::new();
    for (seed, failure) in summary.failures.iter().take(TOLD) {
        text.push_str(&format!("seed {seed}: {failure}\n"));
    }
    if summary.failures.len() > TOLD {
        text.push_str(&format!("and {} more\n", summary.failures.len() - TOLD));
    }
    print::text(&text)?;
    print::text(&reproduction(*seed, failure, arguments)?)?;
    Ok(Ending::Deviates)
}

/// Finds a shorter scenario that fails in the same way, and writes it down.
fn reproduction(seed: u64, failure: &Failure, arguments: &Arguments) -> Result<String, Error> {
    let scenario = draw(seed);
    let Some(shrunk) = shrink(&scenario, arguments.sabotage, arguments.tries) else {
        return Ok(format!("seed {seed} does not fail a second time: {failure}\n"));
    };
    let path = arguments.out.join(format!("check-{seed}.toml"));
    std::fs::create_dir_all(&arguments.out).map_err(Error::storage(&arguments.out))?;
    std::fs::write(&path, file::write(&shrunk.scenario)).map_err(Error::storage(&path))?;
    let size = |scenario: &crate::check::Scenario| {
        format!(
            "{} events, {} peers, {} s",
            scenario.events.len(),
            scenario.peers.len(),
            scenario.ends.div_ceil(1000)
        )
    };
    Ok(format!(
        "\nshortest of {} tried ({} instead of {}): {}\nrun it again by: andon-sim replay {}{}\n",
        shrunk.tried,
        size(&shrunk.scenario),
        size(&scenario),
        shrunk.failure,
        path.display(),
        arguments.sabotage.map(|sabotage| format!(" --sabotage {}", sabotage.name())).unwrap_or_default()
    ))
}

fn report(summary: &Summary) -> String {
    let Summary { first, worlds, failures, seen, digest, turns, seconds, settled, held } = summary;
    let mut text = format!(
        "{worlds} worlds from seed {first}, {turns} turns, {} days of theirs: {} failed\n",
        seconds / 86_400,
        failures.len()
    );
    text.push_str("how many of them came to what:\n");
    for (_, name, count) in seen {
        text.push_str(&format!("  {count:>9}  {name}\n"));
    }
    let (half, most, (slowest, seed)) = settled;
    let seconds = |millis: &u64| *millis as f64 / 1000.0;
    text.push_str(&format!(
        "after the faults the client knew what is true within {:.1} s in half of them, {:.1} s in 99 of 100, {:.1} s in all (seed {seed})\n",
        seconds(half),
        seconds(most),
        seconds(slowest)
    ));
    text.push_str(&format!(
        "its own description had {} bytes at most (seed {})\ndigest {digest}\n",
        held.0, held.1
    ));
    text
}
