//! The runs: for each number of blocks one server, and the clients in turn.

use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use crate::chain::Plan;
use crate::child::Server;
use crate::findings::Sum;
use crate::lines::Done;
use crate::task::{Task, Unfinished};
use crate::{Client, Comparison, Error, system, table};

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

/// Runs it all and prints a table for each number of blocks. Fails if a client did not get to the end.
///
/// # Errors
/// If a process can't be run, or a client reached another block than the one that is served.
pub(crate) fn run(comparison: &Comparison) -> Result<ExitCode, Error> {
    let mut complete = true;
    for &blocks in &comparison.blocks {
        eprintln!("making a chain of {blocks} blocks");
        let Comparison { elements, scripts, .. } = *comparison;
        let scripts = if elements > 0 { scripts } else { 0 };
        let plan = Plan { blocks, below: 0, elements, scripts, full: false, end: system::last_hour()? };
        let mut server = Server::start(plan)?;
        let truth = plan.truth(0);
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
                let outcome = run_client(client, plan, truth, &mut server, comparison.time_limit)?;
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
    plan: Plan,
    truth: Sum,
    server: &mut Server,
    time_limit: Duration,
) -> Result<Outcome, Error> {
    let directory = tempfile::Builder::new().prefix("versus-kyoto-").tempdir()?;
    let peers = [server.address];
    let (tip, directory) = (server.tip, directory.path());
    let task = Task { client, plan, tip, peers: &peers, dials: 1, start: None, truth, directory, time_limit };
    let (sent, received) = server.traffic()?;
    let serving = server.processor_time()?;
    let done = match task.run()? {
        Ok(done) => done,
        Err(unfinished) => return Ok(Err(unfinished)),
    };
    let (sent_then, received_then) = server.traffic()?;
    let serving = server.processor_time()? - serving;
    let kept = match client {
        Client::Kyoto => None,
        Client::Andon => {
            let bytes = size(directory)?;
            match task.run()? {
                Ok(restart) => Some(Kept { bytes, restart }),
                Err(unfinished) => return Ok(Err(unfinished)),
            }
        }
    };
    Ok(Ok(Run { done, sent: sent_then - sent, received: received_then - received, serving, kept }))
}

/// Bytes of the files in a directory.
fn size(directory: &Path) -> io::Result<u64> {
    fs::read_dir(directory)?.map(|entry| entry?.metadata().map(|metadata| metadata.len())).sum()
}
