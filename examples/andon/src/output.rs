//! Everything the program prints. Findings and the summary go to standard output, news of peers, progress, warnings and
//! errors to standard error; with `--json` everything goes to standard output, one object a line.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use andon_bitcoin::client::{
    BroadcastState, Count, Decision, Event, PeerPurpose, Progress, Touch, TouchKind, TransportVersion,
};
use anstream::AutoStream;
use anstyle::{AnsiColor, Style};
use bitcoin::Network;
use serde_json::Value;

use crate::arguments::OutputArguments;
use crate::error::{BROKEN_PIPE, Error};
use crate::json::state_name;
use crate::progress::{Bars, Part};
use crate::summary::Summary;
use crate::units::{bitcoins, bytes, duration, grouped};
use crate::{json, system, watch};

const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default();
const WARNING: Style = AnsiColor::Yellow.on_default();
const ERROR: Style = AnsiColor::Red.on_default().bold();
const DIM: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();

/// How often programs are told of progress at most: as often as the client tells it.
const JSON_PROGRESS: Duration = Duration::from_millis(100);

/// How often progress is told where there is no terminal to draw bars on.
const PLAIN_PROGRESS: Duration = Duration::from_secs(10);

/// Where and how to print.
#[derive(Debug)]
pub(crate) struct Output {
    json: bool,
    quiet: bool,
    /// Whether lines should fit a screen of 80 columns.
    short: bool,
    /// The same, of standard error.
    folded: bool,
    bars: Option<Bars>,
    plain_progress: Option<Instant>,
    json_progress: Option<Instant>,
    /// The height at which the chain of headers begins.
    chain_start: u32,
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
            folded: io::stderr().is_terminal(),
            bars: Bars::new(!json && !quiet && verbose == 0),
            plain_progress: None,
            json_progress: None,
            chain_start: 0,
            headed: false,
            failed: None,
        }
    }

    /// Whether a person reads along.
    pub(crate) fn is_watched(&self) -> bool {
        !self.json && self.short
    }

    /// Whether only what it came to is printed.
    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet
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
            // Connections for transactions alone come and go.
            Event::PeerConnected { purpose: PeerPurpose::Broadcast, .. } => {}
            Event::PeerConnected { endpoint, user_agent, height, transport, .. } => {
                let user_agent = printable(user_agent);
                let encrypted = if *transport == TransportVersion::V2 { ", encrypted" } else { "" };
                self.news(&format!(
                    "Connected to {endpoint} ({user_agent}{encrypted}), at height {}",
                    grouped(*height)
                ));
            }
            Event::PeerWithholds { endpoint, claimed } => self.warning(&format!(
                "the peer {endpoint} claims {} blocks and shows fewer: it may be syncing itself",
                grouped(*claimed)
            )),
            Event::FilterLeftOut { endpoint, block } => self.warning(&format!(
                "the peer {endpoint} left out the filter of block {}: it is asked for again",
                grouped(block.height)
            )),
            Event::Repaired { what, kept } => self.warning(&format!(
                "what was kept had a fault ({what}): headers up to block {} are sound, the rest is fetched again",
                grouped(kept.height)
            )),
            Event::Migrated { from } => self.news(&format!(
                "The data was in format {from}, of an earlier version, and has been taken over"
            )),
            Event::HeavierBelowStart { endpoint, height, .. } => self.warning(&format!(
                "the peer {endpoint} shows a chain with more work, up to block {}, that parts from the one kept here \
                 below its first block; --from-genesis begins anew and takes the one with the most work",
                grouped(*height)
            )),
            Event::BirthdayBelowStart { birthday, first } => self.warning(&format!(
                "the chain kept here begins after block {}: payments are looked for from block {} on",
                grouped(*birthday),
                grouped(*first)
            )),
            Event::FalseFilter { endpoint, block, .. } => self.warning(&format!(
                "the peer {endpoint} vouched for a filter of block {} that the block proves false",
                grouped(block.height)
            )),
            Event::FilterHeadersDisputed { height, ours, theirs, decision } => {
                let height = grouped(*height);
                self.warning(&match decision {
                    Decision::Open => format!(
                        "peers differ about the filters from block {height} on, {ours} to {theirs}, and none is proven \
                         wrong: the search waits there for another peer"
                    ),
                    Decision::Kept => format!(
                        "peers differ about the filters from block {height} on: those that {ours} have are kept, {theirs} \
                         have others"
                    ),
                    Decision::Replaced => format!(
                        "peers differ about the filters from block {height} on: those that {theirs} have are taken, {ours} \
                         have the ones before"
                    ),
                });
            }
            Event::FilterHeadersReplaced { from } => {
                self.warning(&format!("false filters: searching again from block {} on", grouped(*from)));
            }
            Event::StaleTip { tip } => self.news(&format!(
                "No block has come for a while after block {}; another peer is asked",
                grouped(tip.height)
            )),
            Event::Progress(progress) => self.progress(progress),
            Event::Reorganised { fork, old_tip, new_tip } => self.line(&format!(
                "{WARNING}Reorganisation{WARNING:#} after block {}: {} taken back, {} new",
                grouped(fork.height),
                blocks(old_tip.height - fork.height.min(old_tip.height)),
                blocks(new_tip.height - fork.height.min(new_tip.height)),
            )),
            Event::Rescan { from } => {
                self.news(&format!("Searching from block {} on for what is new", grouped(*from)));
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
            Event::Broadcast { txid, state, .. } => {
                let (txid, name) = (self.fit(&txid.to_string(), 8, 24), state_name(*state));
                let more = match state {
                    BroadcastState::Confirmed { block } => format!("  in block {}", grouped(block.height)),
                    BroadcastState::Conflicted { by, block } => {
                        format!("  {by} in block {} spends the same", grouped(block.height))
                    }
                    BroadcastState::Replaced { by } => format!("  by {by}"),
                    _ => String::new(),
                };
                self.line(&format!("  {name:<10} {txid}{more}"));
            }
            Event::BroadcastSkipped { endpoint, reason, .. } => {
                self.news(&format!("Not told: {endpoint}, for {reason}"));
            }
            Event::BroadcastRefused { error, .. } => {
                self.warning(&format!("nothing of it is broadcast: {error}"));
            }
            Event::Banned { subnet, .. } => {
                self.warning(&format!("{subnet} is banned for a day: it vouched for a false filter"));
            }
            Event::Started { .. }
            | Event::Failed(_)
            | Event::BanRefused { .. }
            | Event::CommandRefused(_)
            | Event::BanLifted { .. }
            | Event::PeerDisconnected { .. }
            | Event::Header { .. }
            | Event::Exported { .. }
            | Event::Imported { .. }
            | Event::SpendSearched { .. }
            | Event::Block { .. }
            | Event::Answered { .. }
            | Event::Mark(_)
            | Event::Paused { .. }
            | Event::Tip(_)
            | Event::Peers(_)
        | Event::Filters { .. }
            | Event::Fees(_)
            | Event::DescriptorDerived { .. }
            | Event::Matched(_)
            | Event::Checked(_) => {}
        }
    }

    /// Notes where the chain of headers begins, for the bars.
    pub(crate) fn chain_starts(&mut self, height: u32) {
        self.chain_start = height;
    }

    /// Takes the bars away: what they showed is done.
    pub(crate) fn end_bars(&mut self) {
        self.drop_bars();
    }

    /// Tells of a thing in progress, to people only.
    pub(crate) fn news(&self, text: &str) {
        if !self.json && !self.quiet {
            let text = self.fold(text, 0, 2);
            self.status(&format!("{DIM}{text}{DIM:#}"));
        }
    }

    /// Tells what went wrong though the run goes on.
    pub(crate) fn warning(&mut self, text: &str) {
        if self.json {
            self.object(&json::warning(text));
        } else {
            let text = self.fold(text, 9, 2);
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
        let mut text = format!("{ERROR}error{ERROR:#}: {}", self.fold(&error.what, 7, 2));
        if let Some(help) = &error.help {
            text.push_str(&format!("\n  {BOLD}help{BOLD:#}: {}", self.fold(help, 8, 8)));
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

    /// Says to people what a command has cost.
    pub(crate) fn say_cost(&mut self, time: Duration) {
        self.say(&format!("  Time       {}", duration(time)));
        if let Some(peak) = system::peak_memory_bytes() {
            self.say(&format!("  Memory     {} at its peak", bytes(peak)));
        }
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
        let Progress { headers, filter_headers, filters, blocks, bytes_received, .. } = *progress;
        let part = |name, count: Count| Part::new(name, count.done, count.total);
        let parts = [
            part("Headers", headers).from(self.chain_start),
            part("Filter headers", filter_headers).from(self.chain_start),
            part("Filters", filters),
            part("Blocks", blocks),
        ];
        if let Some(bars) = &mut self.bars {
            bars.update(&parts);
            bars.update_traffic(bytes_received);
        } else {
            self.plain_progress(&parts, &format!("; {} received", bytes(bytes_received)));
        }
    }

    /// Tells how far a command without a network is: the same parts in the same order each time.
    pub(crate) fn parts(&mut self, parts: &[Part]) {
        if self.json {
            let now = system::now();
            let last = self.json_progress.replace(now);
            if last.is_some_and(|last| now.saturating_duration_since(last) < JSON_PROGRESS) {
                self.json_progress = last;
                return;
            }
            self.object(&json::parts(parts));
        } else if let Some(bars) = &mut self.bars {
            bars.update(parts);
        } else {
            self.plain_progress(parts, "");
        }
    }

    fn plain_progress(&mut self, parts: &[Part], more: &str) {
        if self.quiet || io::stderr().is_terminal() {
            return;
        }
        let now = system::now();
        let last = *self.plain_progress.get_or_insert(now);
        if now.saturating_duration_since(last) >= PLAIN_PROGRESS {
            self.plain_progress = Some(now);
            let parts: Vec<String> =
                parts.iter().map(|part| format!("{} {}", part.name, part.text())).collect();
            self.news(&format!("{}{more}", parts.join(", ")));
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
        let amount = bitcoins(touch.amount.map_or(0, |amount| amount.to_sat().into()));
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

    /// Breaks the lines of a text between words, so that none is broken within one by a screen; a file gets them whole.
    /// `used`: columns before the first line; `indent`: those before each line that is made.
    fn fold(&self, text: &str, used: usize, indent: usize) -> String {
        if self.folded { fold(text, used, indent) } else { text.into() }
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

fn fold(text: &str, used: usize, indent: usize) -> String {
    const COLUMNS: usize = 80;
    let mut folded = String::with_capacity(text.len() + 16);
    let mut column = used;
    for (index, line) in text.split('\n').enumerate() {
        if index > 0 {
            folded.push('\n');
            column = 0;
        }
        for (index, word) in line.split(' ').enumerate() {
            let width = word.chars().count();
            if index > 0 && width > 0 && column + 1 + width > COLUMNS {
                folded.push('\n');
                folded.extend(std::iter::repeat_n(' ', indent));
                column = indent;
            } else if index > 0 {
                folded.push(' ');
                column += 1;
            }
            folded.push_str(word);
            column += width;
        }
    }
    folded
}

/// What a peer says of itself goes to a terminal: nothing in it may be taken for a command to that.
fn printable(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { '\u{fffd}' } else { char }).collect()
}

#[cfg(test)]
mod tests {
    use super::fold;

    #[test]
    fn lines_are_broken_between_words() {
        let words = |count: usize| vec!["word"; count].join(" ");
        for (text, used, indent, expected) in [
            (String::new(), 7, 2, String::new()),
            ("short".into(), 7, 2, "short".into()),
            (words(16), 1, 2, words(16)),
            (words(16), 2, 2, format!("{}\n  word", words(15))),
            (words(40), 0, 4, format!("{}\n    {}\n    {}", words(16), words(15), words(9))),
            ("x".repeat(100), 7, 2, "x".repeat(100)),
            (format!("a {}", "x".repeat(100)), 7, 2, format!("a\n  {}", "x".repeat(100))),
            ("one:\n    two: three".into(), 7, 2, "one:\n    two: three".into()),
        ] {
            let folded = fold(&text, used, indent);
            assert_eq!(folded, expected);
            let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            assert_eq!(words(&folded), words(&text));
        }
    }
}
