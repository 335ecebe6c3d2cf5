//! One run of the client: events come in, the state of the run follows from them, and what is news is printed.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use andon_bitcoin::client::{Birthday, BlockId, Command, Config, Count, Event, PeerPurpose, Progress, Start};
use andon_bitcoin::points;
use andon_driver::{Handle, Received};
use bitcoin::Network;

use crate::error::Error;
use crate::findings::Findings;
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::peers::Peers;
use crate::recording::Recording;
use crate::runtime::Runtime;
use crate::summary::{Summary, Times};
use crate::units::grouped;
use crate::watch::Watch;
use crate::{client, offline, store, system};

/// Bytes by which the traffic must grow to count as a sign of life: more than pings make.
const SIGN_OF_LIFE: u64 = 4096;

/// How long the client's last words may take; a store may have much to write.
const LAST_EVENTS: Duration = Duration::from_secs(60);

/// A client at work.
pub(crate) struct Session<'a> {
    network: Network,
    watch: Watch,
    data_dir: PathBuf,
    /// Taken at the end.
    client: Option<Handle<Command, Event>>,
    output: &'a mut Output,
    findings: Findings,
    peers: Peers,
    progress: Progress,
    /// Where a new chain of headers begins.
    start: u32,
    /// Whether there is none yet.
    fresh: bool,
    tip: Option<BlockId>,
    checked: Option<u32>,
    synced: Option<BlockId>,
    started_at: Instant,
    moved_at: Instant,
    bytes_at_move: u64,
    times: Times,
    first_sync: Option<Duration>,
}

/// What a [`Session::turn`] brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Something happened.
    Event,
    /// Nothing did, for as long as was to be waited.
    TimedOut,
    /// The client has ended.
    Ended,
}

impl<'a> Session<'a> {
    /// Starts a client that keeps its data in `data_dir` and watches `watch` and nothing else.
    ///
    /// # Errors
    /// If the directory or the system refuses.
    pub(crate) fn start<R: Runtime>(
        config: Config,
        watch: Watch,
        birthday: Birthday,
        data_dir: &Path,
        recording: &Recording,
        output: &'a mut Output,
        interrupt: &Interrupt,
    ) -> Result<Self, Error> {
        let network = config.network;
        let peers = Peers::new(network, config.peers.iter().cloned(), config.discovery.is_some());
        let start = match &config.start {
            Start::Genesis => 0,
            Start::Before(Birthday::Height(height)) => {
                points::before_height(network, height.saturating_sub(1)).height
            }
            Start::Before(Birthday::Time(time)) => points::before_time(network, *time).height,
            Start::Point(point) => point.height,
        };
        let fresh = !offline::is_there(data_dir);
        let started_at = system::now();
        let (descriptors, lookahead) = watch.descriptors();
        log::info!(
            "{} scripts and {} descriptors to watch; data in {}",
            watch.scripts().len(),
            descriptors.len(),
            data_dir.display()
        );
        let client = client::start::<R>(config, data_dir, recording, interrupt)?;
        let scripts = watch.scripts().cloned().collect();
        // Not taken only if the client has ended already, and then its end says why.
        let _ = client.command(Command::WatchOnly { scripts, from: birthday });
        let descriptors = descriptors.to_vec();
        let only = Command::WatchDescriptors { descriptors, lookahead, from: birthday, only: true };
        let _ = client.command(only);
        Ok(Self {
            network,
            watch,
            data_dir: data_dir.into(),
            client: Some(client),
            output,
            findings: Findings::default(),
            peers,
            progress: Progress::default(),
            start,
            fresh,
            tip: None,
            checked: None,
            synced: None,
            started_at,
            moved_at: started_at,
            bytes_at_move: 0,
            times: Times::default(),
            first_sync: None,
        })
    }

    /// Takes in one event, or waits for `timeout`.
    ///
    /// # Errors
    /// If the run can't go on.
    pub(crate) fn turn(&mut self, timeout: Duration) -> Result<Turn, Error> {
        /// How often the rates on the screen are computed anew while nothing comes.
        const TICK: Duration = Duration::from_millis(500);
        let wait = if self.output.is_drawing() { timeout.min(TICK) } else { timeout };
        let Some(client) = &self.client else { return Ok(Turn::Ended) };
        let turn = match client.recv_timeout(wait) {
            Received::Event(event) => {
                log::debug!("{event:?}");
                self.observe(&event)?;
                Turn::Event
            }
            Received::TimedOut => {
                self.output.tick();
                Turn::TimedOut
            }
            Received::Ended => Turn::Ended,
        };
        self.output.check()?;
        Ok(turn)
    }

    /// Ends the client in order. What was learnt is kept.
    ///
    /// # Errors
    /// If the client had ended by a fault.
    pub(crate) fn end(&mut self) -> Result<(), Error> {
        let Some(client) = self.client.take() else { return Ok(()) };
        client.stop();
        // What still comes is in the data directory, and the next run tells it; only the traffic is of this one.
        while let Received::Event(event) = client.recv_timeout(LAST_EVENTS) {
            if let Event::Progress(progress) = event {
                self.progress = progress;
            }
        }
        client.join().map_err(|error| store::run_error(error, self.network, &self.data_dir))
    }

    /// The tip, if everything up to it has been checked.
    pub(crate) fn synced(&self) -> Option<BlockId> {
        self.synced
    }

    /// What stands.
    pub(crate) fn findings(&self) -> &Findings {
        &self.findings
    }

    /// The given peers.
    pub(crate) fn peers(&self) -> &Peers {
        &self.peers
    }

    /// When something last went forward.
    pub(crate) fn moved_at(&self) -> Instant {
        self.moved_at
    }

    /// Where to print.
    pub(crate) fn output(&mut self) -> &mut Output {
        self.output
    }

    /// Prints what the run has come to.
    pub(crate) fn print_summary(&mut self) {
        let total = self.first_sync.unwrap_or_else(|| system::now() - self.started_at);
        self.output.summary(&Summary {
            complete: self.synced.is_some(),
            network: self.network,
            tip: self.tip,
            checked: self.checked,
            findings: &self.findings,
            progress: self.progress,
            times: Times { total, ..self.times },
            peak_memory_bytes: system::peak_memory_bytes(),
        });
    }

    fn observe(&mut self, event: &Event) -> Result<(), Error> {
        let news = self.findings.apply(event, &self.watch);
        match event {
            Event::Started { tip, checked } => {
                self.tip = Some(*tip);
                self.checked = *checked;
                // One that was begun earlier may begin lower.
                self.output.chain_starts(self.start.min(tip.height));
                if self.fresh && tip.height > 0 {
                    let height = grouped(tip.height);
                    self.output.news(&format!(
                        "The chain begins with block {height}, a known one: none below is asked for"
                    ));
                }
            }
            Event::Failed(failure) => return Err(store::failure(failure, self.network, &self.data_dir)),
            Event::PeerConnected { purpose: PeerPurpose::Broadcast, .. }
            | Event::PeerDisconnected { purpose: PeerPurpose::Broadcast, .. } => {}
            Event::PeerConnected { endpoint, .. } => {
                self.peers.connected(endpoint);
                self.moved();
            }
            Event::PeerDisconnected { endpoint, connected, reason, .. } => {
                if *connected {
                    // From here on it may take as long as before any peer was there.
                    self.moved();
                }
                if let Some(text) = self.peers.disconnected(endpoint, *connected, reason) {
                    self.output.warning(&text);
                }
            }
            Event::Progress(progress) => self.progressed(*progress),
            Event::Reorganised { fork, new_tip, .. } => {
                self.tip = Some(*new_tip);
                self.checked = self.checked.map(|checked| checked.min(fork.height));
                self.synced = None;
            }
            Event::Rescan { from } => {
                self.checked =
                    self.checked.and_then(|checked| from.checked_sub(1).map(|last| checked.min(last)));
                self.synced = None;
            }
            Event::Checked(block) => {
                self.checked = Some(block.height);
                if self.tip.is_none_or(|tip| tip.height <= block.height) {
                    self.tip = Some(*block);
                }
                if self.synced != Some(*block) {
                    self.synced = None;
                }
                self.moved();
            }
            Event::Synced(block) => {
                self.tip = Some(*block);
                self.checked = Some(block.height);
                self.synced = Some(*block);
                self.first_sync.get_or_insert(system::now() - self.started_at);
                self.moved();
            }
            _ => {}
        }
        if news {
            self.output.event(event, self.network, self.first_sync.is_some());
        }
        Ok(())
    }

    fn progressed(&mut self, progress: Progress) {
        let before = std::mem::replace(&mut self.progress, progress);
        if self.first_sync.is_none() {
            let elapsed = system::now() - self.started_at;
            let ended = |time: &mut Option<Duration>, before: Count, now: Count| {
                if now.total == 0 || now.done != now.total {
                    *time = None;
                } else if now != before {
                    *time = Some(elapsed);
                }
            };
            ended(&mut self.times.headers, before.headers, progress.headers);
            ended(&mut self.times.filter_headers, before.filter_headers, progress.filter_headers);
            ended(&mut self.times.filters, before.filters, progress.filters);
            ended(&mut self.times.blocks, before.blocks, progress.blocks);
        }
        let done = |progress: &Progress| {
            [progress.headers, progress.filter_headers, progress.filters, progress.blocks]
                .map(|count| count.done)
        };
        if done(&before) != done(&progress)
            || progress.bytes_received.saturating_sub(self.bytes_at_move) >= SIGN_OF_LIFE
        {
            self.moved();
        }
    }

    fn moved(&mut self) {
        self.moved_at = system::now();
        self.bytes_at_move = self.progress.bytes_received;
    }
}
