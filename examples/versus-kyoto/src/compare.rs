//! The runs: for each number of blocks one server, and the clients in turn.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use crate::child::{Child, Heard, Server};
use crate::lines::{Done, Progress, Told};
use crate::{Client, Comparison, Error, chain, system, table};

/// What came of one run of a client.
pub(crate) type Outcome = Result<Run, Unfinished>;

/// A run that reached the end.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) done: Done,
    /// Bytes that the server sent, until the client was done.
    pub(crate) sent: u64,
    /// Bytes that the server received, until the client was done.
    pub(crate) received: u64,
    /// Processor time of the server.
    pub(crate) serving: Duration,
    /// What the client left on the disk, if it stores anything.
    pub(crate) kept: Option<Kept>,
}

/// What a client leaves, and what it is good for.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    /// Bytes of all files, after the client had closed them.
    pub(crate) bytes: u64,
    /// A second start on the same files.
    pub(crate) restart: Done,
}

/// A run that did not reach the end.
#[derive(Clone, Debug)]
pub(crate) struct Unfinished {
    pub(crate) why: &'static str,
    pub(crate) after: Duration,
    pub(crate) reached: Progress,
    /// The most memory until then, in bytes, if the process was still there to be asked.
    pub(crate) peak_memory: Option<u64>,
}

/// Runs it all and prints a table for each number of blocks. Fails if a client did not get to the end.
///
/// # Errors
/// If a process can't be run, or a client reached another block than the one that is served.
pub(crate) fn run(comparison: &Comparison) -> Result<ExitCode, Error> {
    let mut complete = true;
    for &blocks in &comparison.blocks {
        eprintln!("making a chain of {blocks} blocks");
        let mut server = Server::start(blocks, comparison.elements)?;
        let scripts = if comparison.elements > 0 { comparison.scripts } else { 0 };
        let [mut andon, mut kyoto] = [Vec::new(), Vec::new()];
        for run in 0..comparison.runs {
            // Whatever favours the first or the second of a pair then favours each in turn.
            let order =
                if run % 2 == 0 { [Client::Andon, Client::Kyoto] } else { [Client::Kyoto, Client::Andon] };
            for client in order {
                let outcomes = if client == Client::Andon { &mut andon } else { &mut kyoto };
                let failed = matches!(outcomes.last(), Some(Err(_)));
                if failed || comparison.only.is_some_and(|only| only != client) {
                    continue;
                }
                let outcome = run_client(client, blocks, scripts, &mut server, comparison.time_limit)?;
                eprintln!("run {} of {}, {}", run + 1, comparison.runs, table::line(client, &outcome));
                complete &= outcome.is_ok();
                outcomes.push(outcome);
            }
        }
        println!("{}", table::table(blocks, &andon, &kyoto));
    }
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs one client in a process of its own, and again if it stores anything.
fn run_client(
    client: Client,
    blocks: u32,
    scripts: u32,
    server: &mut Server,
    time_limit: Duration,
) -> Result<Outcome, Error> {
    let directory = tempfile::Builder::new().prefix("versus-kyoto-").tempdir()?;
    let (sent, received) = server.traffic()?;
    let serving = server.processor_time()?;
    let done = match sync(client, blocks, scripts, server, directory.path(), time_limit)? {
        Ok(done) => done,
        Err(unfinished) => return Ok(Err(unfinished)),
    };
    let (sent_then, received_then) = server.traffic()?;
    let serving = server.processor_time()? - serving;
    let kept = match client {
        Client::Kyoto => None,
        Client::Andon => {
            let bytes = size(directory.path())?;
            match sync(client, blocks, scripts, server, directory.path(), time_limit)? {
                Ok(restart) => Some(Kept { bytes, restart }),
                Err(unfinished) => return Ok(Err(unfinished)),
            }
        }
    };
    Ok(Ok(Run { done, sent: sent_then - sent, received: received_then - received, serving, kept }))
}

/// Has a client sync, and checks that it reached what is served.
fn sync(
    client: Client,
    blocks: u32,
    scripts: u32,
    server: &Server,
    directory: &Path,
    time_limit: Duration,
) -> Result<Result<Done, Unfinished>, Error> {
    let goal = [
        ("--peer", server.address.to_string()),
        ("--height", blocks.to_string()),
        ("--tip", server.tip.to_string()),
        ("--scripts", scripts.to_string()),
    ];
    let part = if client == Client::Andon { "andon" } else { "kyoto" };
    let mut arguments = vec![OsString::from(part)];
    arguments.extend(goal.into_iter().flat_map(|(name, value)| [name.into(), value.into()]));
    if client == Client::Andon {
        arguments.extend(["--directory".into(), directory.into()]);
    }
    let started = system::now();
    let child = Child::start(arguments)?;
    let mut reached = Progress::default();
    let unfinished = |why, reached, child: &Child| Unfinished {
        why,
        after: started.elapsed(),
        reached,
        peak_memory: system::peak_memory(&child.id()).ok(),
    };
    let done = loop {
        match child.hear(started + time_limit)? {
            Heard::Line(Told::Progress(progress)) => reached = progress,
            Heard::Line(Told::Done(done)) => break done,
            Heard::TimedOut => return Ok(Err(unfinished("ended at the time limit", reached, &child))),
            Heard::Ended => return Ok(Err(unfinished("failed", reached, &child))),
        }
    };
    if !child.wait()? {
        return Err(format!("{part} failed after it was done").into());
    }
    if (done.height, done.tip) != (blocks, server.tip) {
        let (height, tip) = (done.height, done.tip);
        return Err(
            format!("{part} ended at block {height}, {tip}, and not at {blocks}, {}", server.tip).into()
        );
    }
    let expected = chain::paid(blocks, scripts).len() as u32;
    if done.found != expected {
        return Err(format!("{part} found {} payments of {expected}", done.found).into());
    }
    Ok(Ok(done))
}

/// Bytes of the files in a directory.
fn size(directory: &Path) -> io::Result<u64> {
    fs::read_dir(directory)?.map(|entry| entry?.metadata().map(|metadata| metadata.len())).sum()
}
