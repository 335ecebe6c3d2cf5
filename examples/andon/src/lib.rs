//! A Bitcoin light client for the command line, and a demonstration of itself.
//!
//! Everything is here but the driver: a program names one (see [`runtime::Runtime`]) and calls [`run`]. Each feature of
//! this package brings a driver with its program, and nothing of the others.

mod archive;
mod arguments;
mod birthday;
mod broadcast;
mod client;
mod connection;
mod demo;
mod discovery;
mod errand;
mod error;
mod export;
mod fees;
mod findings;
mod import;
mod interrupt;
mod json;
mod nodes;
mod offline;
mod output;
mod peers;
mod progress;
mod recording;
mod repair;
mod replay;
pub mod runtime;
mod session;
mod show;
mod store;
mod summary;
mod sync;
mod system;
mod turns;
mod units;
mod watch;

use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use arguments::{Arguments, Command, HeadersCommand};
use error::{Error, INTERRUPTED};
use interrupt::Interrupt;
use output::Output;
use runtime::Runtime;

/// The program: reads the command line, does what it says under the driver `R`, and tells how it ended.
pub fn run<R: Runtime>() -> ExitCode {
    let arguments = match parse(R::PROGRAM) {
        Ok(arguments) => arguments,
        Err(error) => return refuse(&error),
    };
    log_to_stderr(arguments.output.verbose);
    let mut output = Output::new(arguments.output);
    let done = Interrupt::install().and_then(|interrupt| match arguments.command {
        None | Some(Command::Demo) => demo::run::<R>(&mut output, &interrupt),
        Some(Command::Sync(arguments)) => sync::run::<R>(&arguments, &mut output, &interrupt),
        Some(Command::Broadcast(arguments)) => broadcast::run::<R>(&arguments, &mut output, &interrupt),
        Some(Command::Fees(arguments)) => fees::run::<R>(&arguments, &mut output, &interrupt),
        Some(Command::Headers(HeadersCommand::Show { block, data })) => {
            show::run::<R>(block, &data, &mut output, &interrupt)
        }
        Some(Command::Headers(HeadersCommand::Export { file, force, data })) => {
            export::run::<R>(&file, force, &data, &mut output, &interrupt)
        }
        Some(Command::Headers(HeadersCommand::Import { file, no_filter_headers, data })) => {
            import::run::<R>(&file, !no_filter_headers, &data, &mut output, &interrupt)
        }
        Some(Command::Replay(arguments)) => replay::run(&arguments, &mut output, &interrupt),
        Some(Command::Repair(data)) => repair::run::<R>(&data, &mut output, &interrupt),
    });
    match done.and_then(|end| output.check().map(|()| end)) {
        Ok(End::Done) => ExitCode::SUCCESS,
        Ok(End::Interrupted) => ExitCode::from(INTERRUPTED),
        Err(error) => {
            output.error(&error);
            ExitCode::from(error.exit_code)
        }
    }
}

/// How a run ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Done,
    Interrupted,
}

/// Parses the command line of the program of this name.
fn parse(program: &'static str) -> Result<Arguments, clap::Error> {
    let mut command = Arguments::command().name(program);
    let mut matches = command.try_get_matches_from_mut(std::env::args_os())?;
    Arguments::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))
}

/// Help and version, which clap has as errors too, or arguments that it does not take.
fn refuse(error: &clap::Error) -> ExitCode {
    // If nobody reads it, there is nobody to tell.
    let _ = error.print();
    if error.use_stderr() && std::env::args_os().any(|argument| argument == "--json") {
        let text = error.to_string();
        let text = text.strip_prefix("error: ").unwrap_or(&text);
        let what: Vec<&str> = text.split("\n\n").next().unwrap_or_default().lines().map(str::trim).collect();
        let error = Error::usage(what.join(" ")).help("try '--help'");
        let _ = writeln!(std::io::stdout(), "{}", json::error(&error));
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(error::USAGE))
}

fn log_to_stderr(verbose: u8) {
    let level = match verbose {
        0 => log::LevelFilter::Off,
        1 => log::LevelFilter::Info,
        2 => log::LevelFilter::Debug,
        _ => log::LevelFilter::Trace,
    };
    env_logger::Builder::new().filter_level(level).init();
}

/// What the README shows compiles.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
