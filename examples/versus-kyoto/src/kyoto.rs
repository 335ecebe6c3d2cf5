//! The process of Kyoto's client: the crate `bip157`, with its default settings, one peer and no other.

use std::process;
use std::time::{Duration, Instant};

use bip157::chain::BlockHeaderChanges;
use bip157::tokio::{self, select};
use bip157::{Builder, Client, Event, Info, TrustedPeer, Warning};
use bitcoin::{BlockHash, Network};

use crate::lines::{Done, Progress, Told};
use crate::{Error, Goal, system};

/// As `Cargo.toml` pins it.
pub(crate) const VERSION: &str = "0.8.1";

/// How often progress is told.
const INTERVAL: Duration = Duration::from_secs(1);

/// Syncs until every filter header is known, tells on standard output what that took since `started`, and ends the
/// process: what Kyoto would do next is download the filters.
///
/// # Errors
/// If the client ends before that.
pub(crate) fn run(goal: Goal, started: Instant) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(sync(goal, started))?;
    println!("{}", Told::Done(done));
    // Taking its memory apart is no part of the sync.
    process::exit(0)
}

async fn sync(goal: Goal, started: Instant) -> Result<Done, Error> {
    let peer = TrustedPeer::from_socket_addr(goal.peer);
    let (node, client) = Builder::new(Network::Regtest).add_peer(peer).whitelist_only().build();
    let ready = started.elapsed();
    let mut node = tokio::spawn(node.run());
    // The requester is kept: a node ends when nobody can ask it for anything.
    let Client { requester: _requester, mut info_rx, mut warn_rx, mut event_rx } = client;

    let mut progress = Progress::default();
    let mut headers: Option<(Duration, BlockHash)> = None;
    let mut told = started;
    loop {
        // Whether every filter header is known. Its information says so, but what does not fit the channel for that is
        // lost. The first filter says so too: none is asked for before.
        let complete = select! {
            // Events first: the last header is told by one, and must not be overtaken.
            biased;
            Some(event) = event_rx.recv() => match event {
                Event::ChainUpdate(BlockHeaderChanges::Connected(header)) => {
                    progress.headers = header.height;
                    if header.height == goal.height {
                        headers = Some((started.elapsed(), header.block_hash()));
                    }
                    false
                }
                Event::ChainUpdate(_) => return Err("the chain that is served has no branches".into()),
                Event::IndexedFilter(_) | Event::FiltersSynced(_) => true,
            },
            Some(info) = info_rx.recv() => {
                if let Info::CFHeadersAdded(height) = info {
                    progress.filter_headers = height;
                }
                progress.filter_headers == goal.height
            }
            Some(warning) = warn_rx.recv() => {
                // It begins without a connection, and says so. One that it loses it can't replace: the node then ends.
                if !matches!(warning, Warning::NeedConnections { .. }) {
                    eprintln!("Kyoto warns: {warning}");
                }
                false
            }
            ended = &mut node => return Err(format!("the node has ended: {ended:?}").into()),
        };
        if complete {
            let filter_headers = started.elapsed();
            let (headers, tip) = headers.ok_or("the node never told of the tip")?;
            return Ok(Done {
                height: progress.headers,
                tip,
                ready,
                headers,
                filter_headers,
                stored: None,
                processor: system::processor_time("self")?,
                peak_memory: system::peak_memory("self")?,
            });
        }
        if told.elapsed() >= INTERVAL {
            told = system::now();
            println!("{}", Told::Progress(progress));
        }
    }
}
