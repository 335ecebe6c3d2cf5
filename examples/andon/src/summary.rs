//! What a run came to: for people in words, for programs as JSON.

use std::fmt::Write;
use std::time::Duration;

use andon_bitcoin::client::{BlockId, Progress};
use anstyle::Style;
use bitcoin::Network;

use crate::arguments::network_name;
use crate::findings::Findings;
use crate::units::{amount, bytes, counted, duration, grouped};

/// The state at the end of a run.
#[derive(Debug)]
pub(crate) struct Summary<'a> {
    /// Whether everything up to the tip has been checked.
    pub(crate) complete: bool,
    /// Whose chain.
    pub(crate) network: Network,
    /// The best block known; where the run is not complete, perhaps only the last one that has been checked.
    pub(crate) tip: Option<BlockId>,
    /// Up to where everything has been checked.
    pub(crate) checked: Option<u32>,
    /// What was found.
    pub(crate) findings: &'a Findings,
    /// As the client told it last.
    pub(crate) progress: Progress,
    /// How long everything took.
    pub(crate) times: Times,
    /// Where the system tells it.
    pub(crate) peak_memory_bytes: Option<u64>,
}

/// Times from the start of the run to the end of each phase of the first synchronisation. `None`: there was nothing to
/// do, or it was not done.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Times {
    pub(crate) headers: Option<Duration>,
    pub(crate) filter_headers: Option<Duration>,
    pub(crate) filters: Option<Duration>,
    pub(crate) blocks: Option<Duration>,
    /// To its end, or to the end of the run if it did not come so far.
    pub(crate) total: Duration,
}

impl Times {
    /// When each phase was done, where that took long enough to be of interest.
    fn phases(&self) -> String {
        let phases = [
            ("headers", self.headers),
            ("filter headers", self.filter_headers),
            ("filters", self.filters),
            ("blocks", self.blocks),
        ];
        let phases: Vec<String> = phases
            .into_iter()
            .filter_map(|(name, time)| Some(format!("{name} {}", duration(time?))))
            .collect();
        if phases.is_empty() || self.total < Duration::from_secs(1) {
            return String::new();
        }
        format!("; until the end of\n             {}", phases.join(", "))
    }
}

impl Summary<'_> {
    /// In words, several lines.
    pub(crate) fn text(&self) -> String {
        const BOLD: Style = Style::new().bold();
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = self.write(&mut text, BOLD);
        text
    }

    fn write(&self, f: &mut impl Write, bold: Style) -> std::fmt::Result {
        let network = network_name(self.network);
        match (self.complete, self.tip) {
            (true, Some(tip)) => {
                writeln!(
                    f,
                    "{bold}Everything is checked up to block {} of {network}.{bold:#}",
                    grouped(tip.height)
                )?;
            }
            _ => match self.checked {
                Some(checked) => writeln!(
                    f,
                    "{bold}Not finished: checked up to block {} of {network}.{bold:#} The next run goes on from there.",
                    grouped(checked)
                )?,
                None => writeln!(f, "{bold}Not finished: no block of {network} has been checked.{bold:#}")?,
            },
        }
        if let Some(tip) = self.tip.filter(|_| self.complete) {
            writeln!(f, "  Tip        {}", tip.hash)?;
        }
        let findings = self.findings;
        writeln!(f, "  Received   {}", total(findings.received().len(), findings.received_sats()))?;
        writeln!(f, "  Spent      {}", total(findings.spent().len(), findings.spent_sats()))?;
        let matched = counted(findings.heights_matched().len() as u64, "block");
        let chance = match findings.false_matches() {
            0 => String::new(),
            chance => format!(", {} of them by chance and for nothing", grouped(chance as u64)),
        };
        writeln!(f, "  Read       {matched}{chance}")?;
        writeln!(
            f,
            "  Traffic    {} received, {} sent",
            bytes(self.progress.bytes_received),
            bytes(self.progress.bytes_sent)
        )?;
        writeln!(f, "  Time       {}{}", duration(self.times.total), self.times.phases())?;
        if let Some(peak) = self.peak_memory_bytes {
            writeln!(f, "  Memory     {} at its peak", bytes(peak))?;
        }
        Ok(())
    }
}

fn total(count: usize, sats: u128) -> String {
    match count {
        0 => "nothing".into(),
        1 => format!("1 payment of {}", amount(sats)),
        _ => format!("{} payments, together {}", grouped(count as u64), amount(sats)),
    }
}
