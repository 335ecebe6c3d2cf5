//! `fees`: what the last blocks paid, and what nodes take at least.

use std::path::Path;
use std::time::{Duration, Instant};

use andon_bitcoin::client::{
    Birthday, BlockId, Client, Command, Event, Fees, HeaderQuery, PeerPurpose, Start,
};
use andon_store::SqliteStore;
use bitcoin::{FeeRate, Network};
use serde_json::json;

use crate::arguments::{FeesArguments, network_name};
use crate::error::Error;
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::peers::Peers;
use crate::runtime::{Received, Running, Runtime};
use crate::units::counted;
use crate::{End, offline, store, system};

/// How long the client may take to end.
const LAST_EVENTS: Duration = Duration::from_secs(60);

/// Blocks that are asked for at once: a few more than the client fetches, so that it never waits for this program.
const AT_ONCE: u32 = 8;

/// Runs the command.
///
/// # Errors
/// Everything that keeps it from its end.
pub(crate) fn run<R: Runtime>(
    arguments: &FeesArguments,
    output: &mut Output,
    interrupt: &Interrupt,
) -> Result<End, Error> {
    let network = arguments.data.network();
    let mut config = arguments.nodes.configure(network)?;
    let data_dir = arguments.data.directory()?;
    if !offline::is_there(&data_dir) {
        config.start = Start::Before(Birthday::Height(u32::MAX));
    }
    output.news(&format!(
        "Reading the last {} of {}",
        counted(arguments.blocks, "block"),
        network_name(network)
    ));
    let mut run = Run {
        network,
        data_dir: &data_dir,
        blocks: arguments.blocks,
        peers: Peers::new(network, config.peers.iter().cloned(), config.discovery.is_some()),
        output,
        started_at: system::now(),
        tip: None,
        next: 0,
        awaited: 0,
        asked: false,
        fees: None,
    };
    let started = R::start(Client::new(config), None, |wake| SqliteStore::open(&data_dir, wake))
        .map_err(|error| store::start_error(error, network, &data_dir))?;
    interrupt.on_request(started.running.stopper());
    let ended = run.wait(&*started.running, Duration::from_secs(arguments.timeout), interrupt);
    started.running.stop();
    while let Received::Event(_) = started.running.receive(LAST_EVENTS) {}
    let joined = started.running.join().map_err(|error| store::run_error(error, network, &data_dir));
    let end = joined.and(ended)?;
    run.print_result();
    Ok(end)
}

/// One run of the client.
struct Run<'a> {
    network: Network,
    data_dir: &'a Path,
    blocks: u32,
    peers: Peers,
    output: &'a mut Output,
    started_at: Instant,
    /// The last block when the others were asked for.
    tip: Option<BlockId>,
    /// The next to ask for, and how many of those that were asked for have not come.
    next: u32,
    awaited: u32,
    /// Whether what they say was asked for.
    asked: bool,
    fees: Option<Fees>,
}

impl Run<'_> {
    fn wait(
        &mut self,
        running: &dyn Running<Command, Event>,
        limit: Duration,
        interrupt: &Interrupt,
    ) -> Result<End, Error> {
        loop {
            let passed = system::now().saturating_duration_since(self.started_at);
            let Some(wait) = limit.checked_sub(passed).filter(|wait| !wait.is_zero()) else {
                let limit = counted(limit.as_secs(), "second");
                let what = if self.tip.is_some() { "blocks have not come" } else { "the tip is not known" };
                return Err(Error::new(
                    "timed out",
                    format!("after {limit} {what}{}", self.peers.last_reasons()),
                )
                .help("try again: what was fetched of the chain is kept; or give --timeout more"));
            };
            let received = running.receive(wait);
            if interrupt.is_requested() {
                return Ok(End::Interrupted);
            }
            match received {
                Received::Event(event) => {
                    log::debug!("{event:?}");
                    self.observe(&event, running)?;
                }
                Received::TimedOut => {}
                Received::Ended => {
                    return Err(Error::new("fault", "the client has ended before its work was done"));
                }
            }
            self.output.check()?;
            if self.fees.is_some() {
                return Ok(End::Done);
            }
            if self.peers.all_failed() {
                return Err(self.peers.error());
            }
        }
    }

    fn observe(&mut self, event: &Event, running: &dyn Running<Command, Event>) -> Result<(), Error> {
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
            Event::Synced(tip) if self.tip.is_none() => {
                self.tip = Some(*tip);
                self.next = (tip.height + 1).saturating_sub(self.blocks);
                for _ in 0..AT_ONCE {
                    self.ask(running);
                }
            }
            Event::Block { .. } => {
                self.awaited = self.awaited.saturating_sub(1);
                self.ask(running);
            }
            Event::Fees(fees) => self.fees = Some(fees.clone()),
            // What is watched in the same directory is another command's business.
            Event::Touched(_) | Event::TakenBack(_) | Event::Matched(_) => return Ok(()),
            _ => {}
        }
        self.output.event(event, self.network, self.tip.is_some());
        Ok(())
    }

    /// Asks for the next block, or, when all have come, for what they say.
    fn ask(&mut self, running: &dyn Running<Command, Event>) {
        let Some(tip) = self.tip else { return };
        // None is refused but by a client that has ended, whose end says why: few are given at a time.
        if self.next <= tip.height {
            running.command(Command::FetchBlock(HeaderQuery::Height(self.next)));
            self.next += 1;
            self.awaited += 1;
        } else if self.awaited == 0 && !self.asked {
            self.asked = true;
            running.command(Command::TellFees { blocks: self.blocks });
        }
    }

    fn print_result(&mut self) {
        self.output.end_bars();
        let Some(Fees { least, paid }) = &self.fees else { return };
        let (lowest, median, highest) =
            (paid.first(), paid.get(paid.len().saturating_sub(1) / 2), paid.last());
        let object = json!({
            "event": "fees",
            "tip": self.tip.map(|tip| tip.height),
            "blocks": paid.len(),
            "paid_sat_per_kvb": paid.iter().map(|rate| per_kvb(*rate)).collect::<Vec<_>>(),
            "least_sat_per_kvb": least.map(|(rate, _)| per_kvb(rate)),
            "least_groups": least.map_or(0, |(_, groups)| groups),
            "seconds": (system::now() - self.started_at).as_secs_f64(),
        });
        self.output.extra(&object);
        match (lowest, median, highest) {
            (Some(lowest), Some(median), Some(highest)) => {
                let blocks = counted(paid.len() as u64, "block");
                self.output.headline(&format!("Paid on average in {blocks}"));
                self.output.say(&format!("  Lowest     {}", per_vb(*lowest)));
                self.output.say(&format!("  Median     {}", per_vb(*median)));
                self.output.say(&format!("  Highest    {}", per_vb(*highest)));
            }
            _ => self.output.headline("None of the blocks says what was paid"),
        }
        match least {
            Some((rate, groups)) => {
                let groups = counted(*groups as u64, "group");
                self.output.say(&format!(
                    "  Taken      {} at least, says the median of {groups} of nodes",
                    per_vb(*rate)
                ));
            }
            None => self.output.say("  Taken      no node has said what it takes at least"),
        }
    }
}

/// In satoshis for 1000 virtual bytes.
fn per_kvb(rate: FeeRate) -> u64 {
    rate.to_sat_per_kwu().saturating_mul(4)
}

/// `12.34 sat/vB`.
fn per_vb(rate: FeeRate) -> String {
    let hundredths = per_kvb(rate) / 10;
    format!("{}.{:02} sat/vB", hundredths / 100, hundredths % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_read_well() {
        for (per_kwu, text) in
            [(250, "1.00 sat/vB"), (3085, "12.34 sat/vB"), (25, "0.10 sat/vB"), (0, "0.00 sat/vB")]
        {
            assert_eq!(per_vb(FeeRate::from_sat_per_kwu(per_kwu)), text);
        }
    }
}
