//! A run of the client for one thing: from the start of the driver until that is done, has failed, or takes too long.

use std::path::Path;
use std::time::{Duration, Instant};

use andon_bitcoin::client::{Birthday, Command, Config, Event, PeerPurpose, Start};
use andon_driver::{Handle, Received};
use bitcoin::Network;

use crate::error::Error;
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::peers::Peers;
use crate::recording::Recording;
use crate::runtime::Runtime;
use crate::units::counted;
use crate::{End, client, offline, store, system};

/// How long the client may take to end.
const LAST_EVENTS: Duration = Duration::from_secs(60);

/// What a client is run for.
pub(crate) trait Errand {
    /// What the client is given first.
    fn begin(&mut self, client: &Handle<Command, Event>);

    /// Looks at an event. Returns whether it is to be told.
    ///
    /// # Errors
    /// Why it can't be done.
    fn observe(&mut self, event: &Event, client: &Handle<Command, Event>) -> Result<bool, Error>;

    /// Whether it is done.
    ///
    /// # Errors
    /// Why it can't be done any more.
    fn is_done(&self) -> Result<bool, Error>;

    /// What it has come to when it took too long, and what to do.
    fn left(&self) -> (String, &'static str);
}

/// Runs a client as configured, on what is kept, for an errand. The time is what it took.
///
/// # Errors
/// Everything that keeps it from its end.
pub(crate) fn run<R: Runtime>(
    mut config: Config,
    data_dir: &Path,
    limit: Duration,
    errand: &mut dyn Errand,
    recording: &Recording,
    output: &mut Output,
    interrupt: &Interrupt,
) -> (Duration, Result<End, Error>) {
    let started_at = system::now();
    let network = config.network;
    if !offline::is_there(data_dir) {
        // The last block that is known: nothing is searched for that lies further back.
        config.start = Start::Before(Birthday::Height(u32::MAX));
    }
    let peers = Peers::new(network, config.peers.iter().cloned(), config.discovery.is_some());
    let mut run = Run { network, data_dir, peers, output, errand, started_at, is_synced: false };
    let ended = run.start::<R>(config, limit, recording, interrupt);
    (system::now().saturating_duration_since(started_at), ended)
}

struct Run<'a> {
    network: Network,
    data_dir: &'a Path,
    peers: Peers,
    output: &'a mut Output,
    errand: &'a mut dyn Errand,
    started_at: Instant,
    is_synced: bool,
}

impl Run<'_> {
    fn start<R: Runtime>(
        &mut self,
        config: Config,
        limit: Duration,
        recording: &Recording,
        interrupt: &Interrupt,
    ) -> Result<End, Error> {
        let (network, data_dir) = (self.network, self.data_dir);
        let client = client::start::<R>(config, data_dir, recording, interrupt)?;
        self.errand.begin(&client);
        let ended = self.wait(&client, limit, interrupt);
        client.stop();
        while let Received::Event(_) = client.recv_timeout(LAST_EVENTS) {}
        let joined = client.join().map_err(|error| store::run_error(error, network, data_dir));
        recording.tell(self.output);
        joined.and(ended)
    }

    fn wait(
        &mut self,
        client: &Handle<Command, Event>,
        limit: Duration,
        interrupt: &Interrupt,
    ) -> Result<End, Error> {
        loop {
            let passed = system::now().saturating_duration_since(self.started_at);
            let Some(wait) = limit.checked_sub(passed).filter(|wait| !wait.is_zero()) else {
                let (what, help) = self.errand.left();
                let limit = counted(limit.as_secs(), "second");
                let reasons = self.peers.last_reasons();
                return Err(Error::new("timed out", format!("after {limit} {what}{reasons}")).help(help));
            };
            let received = client.recv_timeout(wait);
            if interrupt.is_requested() {
                return Ok(End::Interrupted);
            }
            match received {
                Received::Event(event) => {
                    log::debug!("{event:?}");
                    self.observe(&event, client)?;
                }
                Received::TimedOut => {}
                Received::Ended => {
                    return Err(Error::new("fault", "the client has ended before its work was done"));
                }
            }
            self.output.check()?;
            if self.errand.is_done()? {
                return Ok(End::Done);
            }
            if self.peers.all_failed() {
                return Err(self.peers.error());
            }
        }
    }

    fn observe(&mut self, event: &Event, client: &Handle<Command, Event>) -> Result<(), Error> {
        match event {
            Event::Failed(failure) => return Err(store::failure(failure, self.network, self.data_dir)),
            Event::PeerConnected { purpose: PeerPurpose::Broadcast, .. }
            | Event::PeerDisconnected { purpose: PeerPurpose::Broadcast, .. } => {}
            Event::PeerConnected { endpoint, .. } => self.peers.connected(endpoint),
            Event::PeerDisconnected { endpoint, connected, reason, .. } => {
                if let Some(text) = self.peers.disconnected(endpoint, *connected, reason) {
                    self.output.warning(&text);
                }
            }
            // What is watched in the same directory is another command's business.
            Event::Touched(_) | Event::TakenBack(_) | Event::Matched(_) => return Ok(()),
            _ => {}
        }
        let is_told = self.errand.observe(event, client)?;
        if is_told {
            self.output.event(event, self.network, self.is_synced);
        }
        self.is_synced |= matches!(event, Event::Synced(_));
        Ok(())
    }
}
