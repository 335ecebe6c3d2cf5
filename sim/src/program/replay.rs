//! `andon-sim replay`.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::{Ending, print};
use crate::check::{Options, Outcome, Sabotage, Scenario, Show, Until, draw, file, run};
use crate::experiment::Error;
use crate::world::Time;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The number of a world, or the file of a scenario
    #[arg(value_name = "SEED|FILE")]
    world: String,
    /// Stop at a time, such as 12.5s, 3m or 1h, or after so many turns, such as 4000
    #[arg(long, value_name = "TIME|TURN", value_parser = until)]
    until: Option<Until>,
    /// Show what every node does, not the client alone
    #[arg(long)]
    all: bool,
    /// Say how the peer of this number came to be dialled, in the place of what happens turn by turn
    #[arg(long, value_name = "PEER")]
    explain: Option<u8>,
    /// Have the client do something wrong, as `check --sabotage` has it
    #[arg(long, value_name = "WRONG")]
    sabotage: Option<Sabotage>,
    /// Show no turns, only what comes of it
    #[arg(long, short)]
    quiet: bool,
    /// Write the scenario to a file, and run nothing
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

pub(super) fn run_one(arguments: &Arguments) -> Result<Ending, Error> {
    let scenario = scenario(&arguments.world)?;
    if let Some(path) = &arguments.write {
        std::fs::write(path, file::write(&scenario)).map_err(Error::storage(path))?;
        return Ok(Ending::Fine);
    }
    let failed: Rc<RefCell<Option<Error>>> = Rc::default();
    let mut watcher = |names| -> Box<dyn crate::world::Trace> {
        let failed = failed.clone();
        let print = move |line: &str| {
            if failed.borrow().is_none()
                && let Err(error) = print::text(&format!("{line}\n"))
            {
                *failed.borrow_mut() = Some(error);
            }
        };
        Box::new(Show::new(names, arguments.all, Box::new(print)))
    };
    let outcome = run(
        &scenario,
        Options {
            sabotage: arguments.sabotage,
            until: arguments.until,
            explains: arguments.explain,
            watcher: (!arguments.quiet && arguments.explain.is_none()).then_some(&mut watcher),
        },
    );
    if let Some(error) = failed.borrow_mut().take() {
        return Err(error);
    }
    let Outcome { failure, digest, turns, time, settled, causes, .. } = outcome;
    if let Some(peer) = arguments.explain
        && causes.is_empty()
    {
        return Err(Error::Usage(format!("there is no peer {peer} in this world")));
    }
    for cause in causes {
        print::text(&format!("{} {:>7} {}\n", cause.at, cause.turn, cause.what))?;
    }
    let mut text = format!("{turns} turns, until {time}; digest {digest:016x}\n");
    if let Some(settled) = settled {
        text.push_str(&format!(
            "after the faults the client knew what is true within {:.3} s\n",
            settled.as_secs_f64()
        ));
    }
    if let Some(failure) = &failure {
        text.push_str(&format!("failed: {failure}\n"));
    }
    print::text(&text)?;
    Ok(if failure.is_some() { Ending::Deviates } else { Ending::Fine })
}

fn scenario(text: &str) -> Result<Scenario, Error> {
    match text.parse::<u64>() {
        Ok(seed) if i64::try_from(seed).is_ok() => Ok(draw(seed)),
        Ok(_) => Err(Error::Usage(format!("there are seeds from 0 to {}", i64::MAX))),
        Err(_) => file::read(Path::new(text)),
    }
}

fn until(text: &str) -> Result<Until, String> {
    let wrong =
        || "a time is a number with `ms`, `s`, `m` or `h` behind it; a number alone counts turns".to_owned();
    if let Ok(turn) = text.parse() {
        return Ok(Until::Turn(turn));
    }
    let split = text.find(|letter: char| letter.is_ascii_alphabetic()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(split);
    let unit: u64 = match unit {
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return Err(wrong()),
    };
    // Whole numbers, so that the same text means the same everywhere.
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.len() <= 9 && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(part) || number.is_empty() || number == "." {
        return Err(wrong());
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| wrong())? };
    let parts: u64 = if part.is_empty() { 0 } else { part.parse().map_err(|_| wrong())? };
    let scale = 10_u64.pow(part.len() as u32);
    let nanos =
        u128::from(whole) * u128::from(unit) + u128::from(parts) * u128::from(unit) / u128::from(scale);
    Ok(Until::Time(Time::from_nanos(u64::try_from(nanos).map_err(|_| wrong())?)))
}
