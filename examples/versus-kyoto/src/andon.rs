//! The process of Andon's client: embedded as a wallet would.

use std::path::Path;
use std::time::{Duration, Instant};

use andon_bitcoin::client::{
    Birthday, Client, Command, Config, Encryption, Endpoint, Event, Start, TouchKind,
};
use andon_store::SqliteStore;
use bitcoin::{Network, OutPoint};

use crate::findings::Findings;
use crate::lines::{Done, Progress, Told};
use crate::{Error, Goal, system};

/// How often progress is told.
const INTERVAL: Duration = Duration::from_secs(1);

/// Syncs into `directory`, or goes on there, until everything is known and on the disk; tells on standard output what
/// that took since `started`; then closes everything in order.
///
/// # Errors
/// If the client fails or ends at another block.
pub(crate) fn run(goal: &Goal, directory: &Path, started: Instant) -> Result<(), Error> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)?;
    let mut config = Config::new(Network::Regtest, seed);
    config.discovery = None;
    config.peers.extend(goal.peers.iter().copied().map(Endpoint::Address));
    // As Kyoto, which does not encrypt connections to peers that it knows nothing of.
    config.encryption = Encryption::Off;
    if let Some(start) = &goal.start {
        config.start = Start::Point(start.0.clone());
    }
    let driver = andon_mio::Driver::new(andon_mio::Options::default())?;
    let waker = driver.waker();
    let store = SqliteStore::open(directory, move || waker.wake())?;
    let client = driver.spawn(Client::new(config), store)?;
    let plan = goal.plan;
    if plan.scripts > 0 {
        let from = Birthday::Height(goal.start.as_ref().map_or(0, |start| start.0.height + 1));
        let command = Command::Watch { scripts: plan.watched(), from };
        client.command(command).map_err(|error| error.to_string())?;
    }

    let [mut ready, mut headers, mut filter_headers] = [None; 3];
    let mut findings = Findings::default();
    let mut told = started;
    let tip = loop {
        match client.recv() {
            Some(Event::Started { .. }) => ready = Some(started.elapsed()),
            Some(Event::Progress(progress)) => {
                let now = started.elapsed();
                if headers.is_none() && progress.headers.done == plan.blocks {
                    headers = Some(now);
                }
                if filter_headers.is_none() && progress.filter_headers.done == plan.blocks {
                    filter_headers = Some(now);
                }
                if told.elapsed() >= INTERVAL {
                    told = system::now();
                    let (headers, filter_headers) = (progress.headers.done, progress.filter_headers.done);
                    println!("{}", Told::Progress(Progress { headers, filter_headers }));
                }
            }
            Some(Event::Touched(touch)) => {
                let TouchKind::Received { output } = touch.kind else {
                    return Err("nothing that is looked for is spent".into());
                };
                let output = OutPoint { txid: touch.txid, vout: output };
                let amount = touch.amount.ok_or("what is received has an amount")?;
                findings.add(touch.block.height, output, amount);
            }
            Some(Event::TakenBack(_)) => return Err("the chain that is served has no branches".into()),
            Some(Event::Synced(tip)) if tip.height == plan.blocks => break tip,
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
        searched: (plan.scripts > 0).then_some(stored),
        found: findings.sum(),
        processor,
        // With what the closing took.
        peak_memory: system::peak_memory("self")?,
        disk: system::disk("self")?,
    });
    println!("{told}");
    Ok(())
}
