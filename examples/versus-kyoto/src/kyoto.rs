//! The process of Kyoto's client: the crate `bip157`, with its default settings, one peer and no other.

use std::collections::BTreeSet;
use std::process;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use bip157::chain::{BlockHeaderChanges, ChainState};
use bip157::tokio::runtime::Handle;
use bip157::tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use bip157::tokio::{self, select};
use bip157::{
    Builder, Client, Event, HashCheckpoint, IndexedBlock, IndexedFilter, Info, Requester, TrustedPeer,
    Warning,
};
use bitcoin::{BlockHash, Network, ScriptBuf};

use crate::chain::Plan;
use crate::findings::Findings;
use crate::lines::{Done, Progress, Told};
use crate::start::Start;
use crate::{Error, Goal, system};

/// As `Cargo.toml` pins it.
pub(crate) const VERSION: &str = "0.8.1";

/// How often progress is told.
const INTERVAL: Duration = Duration::from_secs(1);

/// Syncs until every filter header is known, or, if anything is looked for, until all filters have been searched and what
/// matched has been read; tells on standard output what that took since `started`, and ends the process.
///
/// # Errors
/// If the client ends before that.
pub(crate) fn run(goal: &Goal, started: Instant) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(sync(goal, started))?;
    println!("{}", Told::Done(done));
    // Taking its memory apart is no part of the sync.
    process::exit(0)
}

async fn sync(goal: &Goal, started: Instant) -> Result<Done, Error> {
    let plan = goal.plan;
    // It dials each address that it is given once.
    let peers = goal.peers.iter().copied().cycle().take(goal.dials * goal.peers.len());
    let mut builder = Builder::new(Network::Regtest)
        .add_peers(peers.map(TrustedPeer::from_socket_addr))
        .required_peers(u8::try_from(goal.peers.len())?)
        .whitelist_only();
    if let Some(Start(start)) = &goal.start {
        let header = start.headers.last().ok_or("a start has a header")?;
        let checkpoint = HashCheckpoint::new(start.height, header.block_hash());
        builder = builder.chain_state(ChainState::Checkpoint(checkpoint));
    }
    let (node, client) = builder.build();
    let ready = started.elapsed();
    let mut node = tokio::spawn(node.run());
    // The requester is kept: a node ends when nobody can ask it for anything.
    let Client { requester, mut info_rx, mut warn_rx, mut event_rx } = client;
    let mut search = Search::new(plan, requester);

    let mut progress = Progress::default();
    let mut headers: Option<(Duration, BlockHash)> = None;
    let mut filter_headers: Option<Duration> = None;
    let mut told = started;
    let mut warned: BTreeSet<String> = BTreeSet::new();
    loop {
        // Whether every filter header is known. Its information says so, but what does not fit the channel for that is
        // lost. The first filter says so too: none is asked for before.
        let complete = select! {
            // Events first: the last header is told by one, and must not be overtaken.
            biased;
            Some(event) = event_rx.recv() => match event {
                Event::ChainUpdate(BlockHeaderChanges::Connected(header)) => {
                    progress.headers = header.height;
                    if header.height == plan.blocks {
                        headers = Some((started.elapsed(), header.block_hash()));
                    }
                    false
                }
                Event::ChainUpdate(_) => return Err("the chain that is served has no branches".into()),
                Event::IndexedFilter(filter) => {
                    search.take(filter)?;
                    true
                }
                Event::FiltersSynced(_) => {
                    search.all_came = true;
                    true
                }
            },
            Some(searched) = search.searched.recv() => {
                search.note(searched?);
                false
            }
            Some(info) = info_rx.recv() => {
                if let Info::CFHeadersAdded(height) = info {
                    progress.filter_headers = height;
                }
                progress.filter_headers == plan.blocks
            }
            Some(warning) = warn_rx.recv() => {
                // It begins without a connection, and says so.
                let warning = (!matches!(warning, Warning::NeedConnections { .. })).then(|| warning.to_string());
                if let Some(warning) = warning.filter(|warning| !warned.contains(warning)) {
                    eprintln!("Kyoto warns: {warning}");
                    warned.insert(warning);
                }
                false
            }
            ended = &mut node => return Err(format!("the node has ended: {ended:?}").into()),
        };
        if complete && filter_headers.is_none() {
            filter_headers = Some(started.elapsed());
        }
        if let Some(filter_headers) = filter_headers.filter(|_| plan.scripts == 0 || search.is_done()) {
            let (headers, tip) = headers.ok_or("the node never told of the tip")?;
            return Ok(Done {
                height: progress.headers,
                tip,
                ready,
                headers,
                filter_headers,
                stored: None,
                searched: (plan.scripts > 0).then(|| started.elapsed()),
                found: search.found.sum(),
                processor: system::processor_time("self")?,
                peak_memory: system::peak_memory("self")?,
                disk: system::disk("self")?,
            });
        }
        if told.elapsed() >= INTERVAL {
            told = system::now();
            println!("{}", Told::Progress(progress));
        }
    }
}

/// Threads that search filters: Kyoto leaves that to the application.
const THREADS: usize = 2;

/// Filters that wait for a thread at most: a few megabytes.
const WAITING: usize = 64;

/// What the application does with filters: search them, and read the blocks that match.
struct Search {
    threads: Vec<SyncSender<IndexedFilter>>,
    next: usize,
    searched: UnboundedReceiver<Result<Searched, Error>>,
    /// Filters and blocks that are not done with.
    open: u64,
    /// Whether there are no more filters to come.
    all_came: bool,
    found: Findings,
}

/// One filter less to wait for.
struct Searched {
    payments: Findings,
}

impl Search {
    fn new(plan: Plan, requester: Requester) -> Self {
        let scripts: Arc<BTreeSet<ScriptBuf>> =
            Arc::new(if plan.scripts > 0 { plan.watched().into_iter().collect() } else { BTreeSet::new() });
        let (tell, searched) = unbounded_channel();
        let runtime = Handle::current();
        let thread = |_| {
            let (give, filters) = sync_channel::<IndexedFilter>(WAITING);
            let (scripts, tell) = (Arc::clone(&scripts), tell.clone());
            let (requester, runtime) = (requester.clone(), runtime.clone());
            thread::spawn(move || {
                for filter in filters {
                    if !filter.contains_any(scripts.iter()) {
                        let _ = tell.send(Ok(Searched { payments: Findings::default() }));
                        continue;
                    }
                    let (scripts, tell, requester) = (Arc::clone(&scripts), tell.clone(), requester.clone());
                    runtime.spawn(async move {
                        let block = requester.get_block(filter.block_hash()).await;
                        let payments = |IndexedBlock { height, block }| {
                            let mut payments = Findings::default();
                            payments.read(height, &block, &scripts);
                            payments
                        };
                        let read = block.map(|block| Searched { payments: payments(block) });
                        let _ = tell
                            .send(read.map_err(|error| format!("a block was not fetched: {error}").into()));
                    });
                }
            });
            give
        };
        let threads = (0..THREADS).map(thread).collect();
        Self { threads, next: 0, searched, open: 0, all_came: false, found: Findings::default() }
    }

    /// Gives a filter to the next thread.
    fn take(&mut self, filter: IndexedFilter) -> Result<(), Error> {
        self.open += 1;
        self.next = (self.next + 1) % THREADS;
        self.threads[self.next].send(filter).map_err(|_| "a thread that searches filters has ended".into())
    }

    fn note(&mut self, searched: Searched) {
        self.open -= 1;
        self.found.append(searched.payments);
    }

    fn is_done(&self) -> bool {
        self.all_came && self.open == 0
    }
}
