//! The process of Andon's client: embedded as a wallet would.

use std::path::Path;
use std::time::{Duration, Instant};

use andon_bitcoin::client::{Birthday, Client, Command, Config, Endpoint, Event};
use andon_store::SqliteStore;
use bitcoin::Network;

use crate::lines::{Done, Progress, Told};
use crate::{Error, Goal, chain, system};

/// How often progress is told.
const INTERVAL: Duration = Duration::from_secs(1);

/// Syncs into `directory`, or goes on there, until everything is known and on the disk; tells on standard output what
/// that took since `started`; then closes everything in order.
///
/// # Errors
/// If the client fails or ends at another block.
pub(crate) fn run(goal: Goal, directory: &Path, started: Instant) -> Result<(), Error> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)?;
    let mut config = Config::new(Network::Regtest, seed);
    config.peers.push(Endpoint::Address(goal.peer));
    let driver = andon_mio::Driver::new(andon_mio::Options::default())?;
    let waker = driver.waker();
    let store = SqliteStore::open(directory, move || waker.wake())?;
    let client = driver.spawn(Client::new(config), store)?;
    if goal.scripts > 0 {
        let scripts = chain::watched(goal.height, goal.scripts);
        client.command(Command::Watch { scripts, from: Birthday::Height(0) })?;
    }

    let [mut ready, mut headers, mut filter_headers] = [None; 3];
    let mut found = 0;
    let mut told = started;
    let tip = loop {
        match client.recv() {
            Some(Event::Started { .. }) => ready = Some(started.elapsed()),
            Some(Event::Progress(progress)) => {
                let now = started.elapsed();
                if headers.is_none() && progress.headers.done == goal.height {
                    headers = Some(now);
                }
                if filter_headers.is_none() && progress.filter_headers.done == goal.height {
                    filter_headers = Some(now);
                }
                if told.elapsed() >= INTERVAL {
                    told = system::now();
                    let (headers, filter_headers) = (progress.headers.done, progress.filter_headers.done);
                    println!("{}", Told::Progress(Progress { headers, filter_headers }));
                }
            }
            Some(Event::Touched(_)) => found += 1,
            Some(Event::Synced(tip)) if tip.height == goal.height => break tip,
            Some(Event::Failed(failure)) => return Err(failure.to_string().into()),
            Some(Event::PeerDisconnected { reason, .. }) => {
                return Err(format!("the peer is gone: {reason}").into());
            }
            Some(_) => {}
            None => {
                // The end has a reason, unless somebody asked for it.
                client.join()?;
                return Err("the client has ended".into());
            }
        }
    };
    let stored = started.elapsed();
    let processor = system::processor_time("self")?;
    client.stop();
    client.join()?;
    let told = Told::Done(Done {
        height: tip.height,
        tip: tip.hash,
        ready: ready.ok_or("the client never said that it had started")?,
        headers: headers.ok_or("the client never said that it knew every header")?,
        filter_headers: filter_headers.ok_or("the client never said that it knew every filter header")?,
        stored: Some(stored),
        searched: (goal.scripts > 0).then_some(stored),
        found,
        processor,
        // With what the closing took.
        peak_memory: system::peak_memory("self")?,
    });
    println!("{told}");
    Ok(())
}
