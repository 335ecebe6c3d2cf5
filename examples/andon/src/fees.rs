//! `fees`: what the last blocks paid, and what nodes take at least.

use std::time::Duration;

use andon_bitcoin::client::{BlockId, Command, Event, Fees, HeaderQuery};
use andon_driver::Handle;
use bitcoin::FeeRate;
use serde_json::json;

use crate::End;
use crate::arguments::{FeesArguments, network_name};
use crate::errand::{self, Errand};
use crate::error::Error;
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::recording::Recording;
use crate::runtime::Runtime;
use crate::units::counted;

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
    let config = arguments.nodes.configure(network)?;
    let data_dir = arguments.data.directory()?;
    let blocks = arguments.blocks;
    output.news(&format!("Reading the last {} of {}", counted(blocks, "block"), network_name(network)));
    let mut reading = Reading { blocks, tip: None, next: 0, awaited: 0, asked: false, fees: None };
    let limit = Duration::from_secs(arguments.timeout);
    let recording = Recording::new(&arguments.recording);
    let (time, ended) =
        errand::run::<R>(config, &data_dir, limit, &mut reading, &recording, output, interrupt);
    let end = ended?;
    reading.print(output, time);
    Ok(end)
}

/// The last blocks, as far as they have come.
struct Reading {
    blocks: u32,
    /// The last block when the others were asked for.
    tip: Option<BlockId>,
    /// The next to ask for, and how many of those that were asked for have not come.
    next: u32,
    awaited: u32,
    /// Whether what they say was asked for.
    asked: bool,
    fees: Option<Fees>,
}

impl Errand for Reading {
    fn begin(&mut self, _: &Handle<Command, Event>) {}

    fn observe(&mut self, event: &Event, client: &Handle<Command, Event>) -> Result<bool, Error> {
        match event {
            Event::Synced(tip) if self.tip.is_none() => {
                self.tip = Some(*tip);
                self.next = (tip.height + 1).saturating_sub(self.blocks);
                for _ in 0..AT_ONCE {
                    self.ask(client);
                }
            }
            Event::Block { .. } => {
                self.awaited = self.awaited.saturating_sub(1);
                self.ask(client);
            }
            Event::Fees(fees) => self.fees = Some(fees.clone()),
            _ => {}
        }
        Ok(true)
    }

    fn is_done(&self) -> Result<bool, Error> {
        Ok(self.fees.is_some())
    }

    fn left(&self) -> (String, &'static str) {
        let what = match self.tip {
            Some(_) => format!("{} have not come", counted(self.awaited, "block")),
            None => "the tip is not known".into(),
        };
        (what, "try again: what was fetched of the chain is kept; or give --timeout more")
    }
}

impl Reading {
    /// Asks for the next block, or, when all have come, for what they say.
    fn ask(&mut self, client: &Handle<Command, Event>) {
        let Some(tip) = self.tip else { return };
        // None is refused but by a client that has ended, whose end says why: few are given at a time.
        if self.next <= tip.height {
            let _ = client.command(Command::FetchBlock(HeaderQuery::Height(self.next)));
            self.next += 1;
            self.awaited += 1;
        } else if self.awaited == 0 && !self.asked {
            self.asked = true;
            let _ = client.command(Command::TellFees { blocks: self.blocks });
        }
    }

    fn print(&self, output: &mut Output, time: Duration) {
        output.end_bars();
        let Some(Fees { least, paid }) = &self.fees else { return };
        output.extra(&json!({
            "event": "fees",
            "tip": self.tip.map(|tip| tip.height),
            "blocks": paid.len(),
            "paid_sat_per_kvb": paid.iter().map(|rate| per_kvb(*rate)).collect::<Vec<_>>(),
            "least_sat_per_kvb": least.map(|(rate, _)| per_kvb(rate)),
            "least_groups": least.map_or(0, |(_, groups)| groups),
            "seconds": time.as_secs_f64(),
        }));
        let median = paid.get(paid.len().saturating_sub(1) / 2);
        match (paid.first(), median, paid.last()) {
            (Some(lowest), Some(median), Some(highest)) => {
                output.headline(&format!("Paid on average in {}", counted(paid.len() as u64, "block")));
                output.say(&format!("  Lowest     {}", per_vb(*lowest)));
                output.say(&format!("  Median     {}", per_vb(*median)));
                output.say(&format!("  Highest    {}", per_vb(*highest)));
            }
            _ => output.headline("None of the blocks says what was paid"),
        }
        match least {
            Some((rate, groups)) => {
                let groups = counted(*groups as u64, "group");
                let rate = per_vb(*rate);
                output.say(&format!("  Taken      {rate} at least, says the median of {groups} of nodes"));
            }
            None => output.say("  Taken      no node has said what it takes at least"),
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
