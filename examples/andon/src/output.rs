//! Everything the program prints. Findings and the summary go to standard output, news of peers, progress, warnings and
//! errors to standard error; with `--json` everything goes to standard output, one object a line.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use andon_bitcoin::client::{Event, Progress, Touch, TouchKind};
use anstream::AutoStream;
use anstyle::{AnsiColor, Style};
use bitcoin::Network;
use serde_json::Value;

use crate::arguments::OutputArguments;
use crate::error::{BROKEN_PIPE, Error};
use crate::progress::Bars;
use crate::summary::Summary;
use crate::units::{bitcoins, bytes, grouped};
use crate::{json, system, watch};

const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default();
const WARNING: Style = AnsiColor::Yellow.on_default();
const ERROR: Style = AnsiColor::Red.on_default().bold();
const DIM: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();

/// How often progress is told where there is no terminal to draw bars on.
const PLAIN_PROGRESS: Duration = Duration::from_secs(10);

/// Where and how to print.
#[derive(Debug)]
pub(crate) struct Output {
    json: bool,
    quiet: bool,
    /// Whether lines should fit a screen of 80 columns.
    short: bool,
    bars: Option<Bars>,
    plain_progress: Option<Instant>,
    /// Whether the columns of findings have been named.
    headed: bool,
    failed: Option<Error>,
}

impl Output {
    /// As the arguments and the terminal say.
    pub(crate) fn new(arguments: OutputArguments) -> Self {
        let OutputArguments { json, quiet, verbose } = arguments;
        Self {
            json,
            quiet,
            short: io::stdout().is_terminal(),
            bars: Bars::new(!json && !quiet && verbose == 0),
            plain_progress: None,
            headed: false,
            failed: None,
        }
    }

    /// Whether a person reads along.
    pub(crate) fn is_watched(&self) -> bool {
        !self.json && self.short
    }

    /// Whether bars are on the screen.
    pub(crate) fn is_drawing(&self) -> bool {
        self.bars.is_some()
    }

    /// Tells an event of the client. `synced`: the tip had been reached before.
    pub(crate) fn event(&mut self, event: &Event, network: Network, synced: bool) {
        if self.json {
            if let Some(object) = json::event(event, network) {
                self.object(&object);
            }
            return;
        }
        match event {
            Event::Started { checked: Some(checked), .. } => {
                self.news(&format!(
                    "Going on: everything up to block {} was checked before",
                    grouped(*checked)
                ));
            }
            Event::PeerConnected { endpoint, user_agent, height, .. } => {
                let user_agent = printable(user_agent);
                self.news(&format!("Connected to {endpoint} ({user_agent}), at height {}", grouped(*height)));
            }
            Event::PeerWithholds { endpoint, claimed } => self.warning(&format!(
                "the peer {endpoint} claims {} blocks and shows fewer: it may be syncing itself",
                grouped(*claimed)
            )),
            Event::Repaired { what, kept } => self.warning(&format!(
                "the data had a fault ({what}): headers are kept up to block {}, the rest is fetched again",
                grouped(kept.height)
            )),
            Event::Migrated { from } => {
                self.news(&format!("The data was in the older format {from} and has been taken over"));
            }
            Event::HeavierBelowStart { endpoint, height, .. } => self.warning(&format!(
                "the peer {endpoint} has a chain with more work, up to block {}, that branches off below the block at \
                 which this one starts",
                grouped(*height)
            )),
            Event::BirthdayBelowStart { birthday, first } => self.warning(&format!(
                "blocks from {} on were to be searched; the chain that is kept starts later, and they are searched from \
                 {} on",
                grouped(*birthday),
                grouped(*first)
            )),
            Event::StaleTip { .. } => self.news("No block has come for a long time: one more peer is asked"),
            Event::Progress(progress) => self.progress(progress),
            Event::Reorganised { fork, old_tip, new_tip } => self.line(&format!(
                "{WARNING}Reorganisation{WARNING:#} after block {}: {} taken back, {} new",
                grouped(fork.height),
                blocks(old_tip.height - fork.height.min(old_tip.height)),
                blocks(new_tip.height - fork.height.min(new_tip.height)),
            )),
            Event::Rescan { from } => {
                self.news(&format!("Searching again from block {} on", grouped(*from)));
            }
            Event::Touched(touch) => self.touch(touch, network, false),
            Event::TakenBack(touch) => self.touch(touch, network, true),
            Event::Checked(block) if synced && !self.quiet => {
                let hash = self.fit(&block.hash.to_string(), 8, 24);
                self.line(&format!("  {DIM}checked    {:>7}  {hash}{DIM:#}", grouped(block.height)));
            }
            Event::Synced(_) => {
                if let Some(bars) = self.bars.take() {
                    bars.finish();
                }
            }
            Event::Started { .. }
            | Event::Failed(_)
            | Event::PeerDisconnected { .. }
            | Event::Header { .. }
            | Event::Exported { .. }
            | Event::Imported { .. }
            | Event::Matched(_)
            | Event::Checked(_) => {}
        }
    }

    /// Tells of a thing in progress, to people only.
    pub(crate) fn news(&self, text: &str) {
        if !self.json && !self.quiet {
            self.status(&format!("{DIM}{text}{DIM:#}"));
        }
    }

    /// Tells what went wrong though the run goes on.
    pub(crate) fn warning(&mut self, text: &str) {
        if self.json {
            self.object(&json::warning(text));
        } else {
            self.status(&format!("{WARNING}warning{WARNING:#}: {text}"));
        }
    }

    /// Tells why the run failed. Nothing else may follow.
    pub(crate) fn error(&mut self, error: &Error) {
        self.drop_bars();
        if error.exit_code == BROKEN_PIPE {
            return;
        }
        if self.json {
            self.object(&json::error(error));
        }
        let mut text = format!("{ERROR}error{ERROR:#}: {}", error.what);
        if let Some(help) = &error.help {
            text.push_str(&format!("\n  {BOLD}help{BOLD:#}: {help}"));
        }
        self.status(&text);
    }

    /// Prints the summary.
    pub(crate) fn summary(&mut self, summary: &Summary<'_>) {
        self.drop_bars();
        if self.json {
            self.object(&json::summary(summary));
        } else {
            self.line("");
            self.line(summary.text().trim_end());
        }
    }

    /// Says something to people, as part of the result.
    pub(crate) fn say(&mut self, text: &str) {
        if !self.json {
            self.line(text);
        }
    }

    /// Says something to people, with weight.
    pub(crate) fn headline(&mut self, text: &str) {
        self.say(&format!("{BOLD}{text}{BOLD:#}"));
    }

    /// Prints one object of its own kind.
    pub(crate) fn extra(&mut self, object: &Value) {
        if self.json {
            self.object(object);
        }
    }

    /// Draws the bars again, so that rate and time left stay true while nothing comes.
    pub(crate) fn tick(&self) {
        if let Some(bars) = &self.bars {
            bars.tick();
        }
    }

    /// Whether everything could be printed.
    ///
    /// # Errors
    /// If not. Where the reader has gone, the error is quiet.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    fn progress(&mut self, progress: &Progress) {
        if let Some(bars) = &mut self.bars {
            bars.update(progress);
        } else if !self.quiet && !io::stderr().is_terminal() {
            let now = system::now();
            let last = *self.plain_progress.get_or_insert(now);
            if now.saturating_duration_since(last) >= PLAIN_PROGRESS {
                self.plain_progress = Some(now);
                let count = |count: andon_bitcoin::client::Count| {
                    format!("{} of {}", grouped(count.done), grouped(count.total))
                };
                self.news(&format!(
                    "Headers {}, filter headers {}, filters {}, blocks {}; {} received",
                    count(progress.headers),
                    count(progress.filter_headers),
                    count(progress.filters),
                    count(progress.blocks),
                    bytes(progress.bytes_received)
                ));
            }
        }
    }

    fn touch(&mut self, touch: &Touch, network: Network, void: bool) {
        let (style, word, sign) = match (void, touch.kind) {
            (true, _) => (BAD, "taken back", '-'),
            (false, TouchKind::Received { .. }) => (GOOD, "received", '+'),
            (false, TouchKind::Spent { .. }) => (WARNING, "spent", '-'),
        };
        // What is taken back of a spending comes back.
        let sign = if void && matches!(touch.kind, TouchKind::Spent { .. }) { '+' } else { sign };
        let whose = watch::address(&touch.script, network)
            .unwrap_or_else(|| format!("script {}", touch.script.to_hex_string()));
        let txid = self.fit(&touch.txid.to_string(), 8, 4);
        let part = match touch.kind {
            TouchKind::Received { output } => format!("{txid}:{output}"),
            TouchKind::Spent { input, .. } => format!("{txid} input {input}"),
        };
        if !std::mem::replace(&mut self.headed, true) {
            let whose = if self.short { "address            " } else { "address" };
            self.line(&format!(
                "{DIM}               block  amount           {whose}  transaction:output{DIM:#}"
            ));
        }
        let amount = bitcoins(u128::from(touch.amount.to_sat()));
        self.line(&format!(
            "  {style}{word:<10}{style:#} {:>7}  {style}{sign}{amount}{style:#} BTC  {}  {DIM}{part}{DIM:#}",
            grouped(touch.block.height),
            self.fit(&whose, 10, 8),
        ));
    }

    /// Cuts the middle out of a text that is too long for a line of a screen; a file gets it whole.
    fn fit(&self, text: &str, head: usize, tail: usize) -> String {
        let length = text.chars().count();
        if !self.short || length <= head + tail + 1 {
            return text.into();
        }
        let start: String = text.chars().take(head).collect();
        let end: String = text.chars().skip(length - tail).collect();
        format!("{start}…{end}")
    }

    fn object(&mut self, object: &Value) {
        self.print(&object.to_string());
    }

    fn line(&mut self, text: &str) {
        self.print(text);
    }

    fn print(&mut self, text: &str) {
        if self.failed.is_some() {
            return;
        }
        let mut stdout = AutoStream::auto(io::stdout());
        let mut write = || writeln!(stdout, "{text}").and_then(|()| stdout.flush());
        let written = match &self.bars {
            Some(bars) => bars.suspend(write),
            None => write(),
        };
        if let Err(error) = written {
            self.failed = Some(if error.kind() == io::ErrorKind::BrokenPipe {
                Error { kind: "broken_pipe", what: String::new(), help: None, exit_code: BROKEN_PIPE }
            } else {
                Error::new("output", format!("standard output can't be written: {error}"))
                    .help("check where it is redirected to")
            });
        }
    }

    /// Standard error going away is no reason to fail: nobody reads it then.
    fn status(&self, text: &str) {
        let mut stderr = AutoStream::auto(io::stderr());
        let mut write = || {
            let _ = writeln!(stderr, "{text}");
        };
        match &self.bars {
            Some(bars) => bars.suspend(write),
            None => write(),
        }
    }

    fn drop_bars(&mut self) {
        if let Some(bars) = self.bars.take() {
            bars.clear();
        }
    }
}

fn blocks(count: u32) -> String {
    crate::units::counted(count, "block")
}

/// What a peer says of itself goes to a terminal: nothing in it may be taken for a command to that.
fn printable(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { '\u{fffd}' } else { char }).collect()
}
