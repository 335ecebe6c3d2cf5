//! Progress bars on standard error, with rate and time left.

use std::fmt;
use std::io::{self, IsTerminal, Write};

use anstream::{AutoStream, ColorChoice};
use indicatif::{
    HumanDuration, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle,
};

use crate::units::{bytes, grouped};

/// How far one part of the work is, as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// For people; for programs in lower case with underscores.
    pub(crate) name: &'static str,
    pub(crate) unit: Unit,
    /// Where the bar begins: a chain of headers may begin far above zero.
    pub(crate) from: u64,
    pub(crate) done: u64,
    pub(crate) total: u64,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Heights, or things.
    Count,
    /// Bytes.
    Bytes,
}

impl Part {
    /// A part that is counted from zero.
    pub(crate) fn new(name: &'static str, done: impl Into<u64>, total: impl Into<u64>) -> Self {
        Self { name, unit: Unit::Count, from: 0, done: done.into(), total: total.into() }
    }

    /// With a bar that begins there.
    pub(crate) fn from(self, from: impl Into<u64>) -> Self {
        Self { from: from.into().min(self.done), ..self }
    }

    /// Of bytes.
    pub(crate) fn in_bytes(self) -> Self {
        Self { unit: Unit::Bytes, ..self }
    }

    /// `275 of 289`.
    pub(crate) fn text(&self) -> String {
        format!("{} of {}", self.unit.text(self.done), self.unit.text(self.total))
    }
}

impl Unit {
    fn text(self, number: u64) -> String {
        match self {
            Self::Count => grouped(number),
            Self::Bytes => bytes(number),
        }
    }
}

/// One bar for each part of the work. A bar appears when its part has something to do.
#[derive(Debug)]
pub(crate) struct Bars {
    all: MultiProgress,
    phases: Vec<Phase>,
    traffic: Option<ProgressBar>,
}

#[derive(Debug, Default)]
struct Phase {
    bar: Option<ProgressBar>,
    unit: Option<Unit>,
    from: u64,
    done_before: u64,
}

impl Bars {
    /// Bars, if they are wanted and standard error is a terminal.
    pub(crate) fn new(wanted: bool) -> Option<Self> {
        if !wanted || !io::stderr().is_terminal() {
            return None;
        }
        Some(Self {
            // Five times a second is quick enough to read, and spares a slow terminal.
            all: MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(5)),
            phases: Vec::new(),
            traffic: None,
        })
    }

    /// Shows how far everything is: the same parts in the same order each time.
    pub(crate) fn update(&mut self, parts: &[Part]) {
        let missing = parts.len().saturating_sub(self.phases.len());
        self.phases.extend((0..missing).map(|_| Phase::default()));
        let mut above = 0;
        for (phase, part) in self.phases.iter_mut().zip(parts) {
            phase.update(&self.all, above, part);
            above += usize::from(phase.bar.is_some());
        }
    }

    /// Shows below the bars how much has come.
    pub(crate) fn update_traffic(&mut self, bytes_received: u64) {
        let traffic = self.traffic.get_or_insert_with(|| {
            let style =
                ProgressStyle::with_template("{prefix:>14} {msg}").expect("the template is well-formed");
            self.all.add(ProgressBar::no_length().with_style(style).with_prefix("Received"))
        });
        traffic.set_message(bytes(bytes_received));
    }

    /// Runs what writes to the terminal while the bars are away.
    pub(crate) fn suspend<T>(&self, write: impl FnOnce() -> T) -> T {
        self.all.suspend(write)
    }

    /// Computes rates and times left anew.
    pub(crate) fn tick(&self) {
        for bar in self.phases.iter().filter_map(|phase| phase.bar.as_ref()) {
            if !bar.is_finished() {
                bar.tick();
            }
        }
    }

    /// Leaves the bars on the screen as they are.
    pub(crate) fn finish(self) {
        for phase in &self.phases {
            phase.finish();
        }
        if let Some(traffic) = self.traffic {
            traffic.finish();
        }
        // The cursor stands behind the last bar. A terminal that is gone needs no new line.
        let _ = writeln!(io::stderr());
    }

    /// Takes the bars off the screen.
    pub(crate) fn clear(self) {
        // A terminal that is gone needs no clearing.
        let _ = self.all.clear();
    }
}

impl Phase {
    /// `above`: how many bars are above this phase's.
    fn update(&mut self, all: &MultiProgress, above: usize, part: &Part) {
        if part.total == 0 {
            return;
        }
        if self.unit != Some(part.unit) || part.from < self.from {
            (self.unit, self.from) = (Some(part.unit), part.from);
            if let Some(bar) = &self.bar {
                bar.set_style(running(part.unit, part.from));
            }
        }
        let from = self.from;
        let (done, total) = (part.done.saturating_sub(from), part.total.saturating_sub(from));
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::new(total).with_style(running(part.unit, from)).with_prefix(part.name);
            let bar = all.insert(above, bar);
            self.done_before = done;
            bar
        });
        bar.set_length(total.max(done));
        bar.set_position(done);
        if done <= self.done_before {
            // Neither what was done before this run nor the wait for other phases says anything about the rate.
            bar.reset_eta();
        }
    }

    fn finish(&self) {
        if let (Some(bar), Some(unit)) = (&self.bar, self.unit) {
            bar.set_style(finished(unit, self.from));
            bar.finish();
        }
    }
}

fn running(unit: Unit, from: u64) -> ProgressStyle {
    style(unit, from, " {rate:>10} {left:>12}")
        .with_key("rate", move |state: &ProgressState, text: &mut dyn fmt::Write| {
            write_rate(unit, state, text);
        })
        .with_key("left", write_left)
}

fn finished(unit: Unit, from: u64) -> ProgressStyle {
    style(unit, from, "")
}

fn style(unit: Unit, from: u64, rest: &str) -> ProgressStyle {
    let colour = if AutoStream::choice(&io::stderr()) == ColorChoice::Never { "" } else { ":.cyan/dim" };
    // The bar shows what there is to do, the numbers where it is.
    let number = move |number: u64| unit.text(number.saturating_add(from));
    ProgressStyle::with_template(&format!(
        "{{prefix:>14}} {{wide_bar{colour}}} {{done:>9}} of {{all:<9}}{rest}"
    ))
    .expect("the template is well-formed")
    .progress_chars("━╸─")
    .with_key("done", move |state: &ProgressState, text: &mut dyn fmt::Write| {
        // An error of the writer's is not ours to handle: it ends in the terminal.
        let _ = text.write_str(&number(state.pos()));
    })
    .with_key("all", move |state: &ProgressState, text: &mut dyn fmt::Write| {
        let _ = text.write_str(&number(state.len().unwrap_or(state.pos())));
    })
}

/// How many a second, as soon as anything is known of it.
fn write_rate(unit: Unit, state: &ProgressState, text: &mut dyn fmt::Write) {
    let rate = state.per_sec();
    let _ = match (is_known(state), unit, rate < 10.0) {
        (false, ..) => Ok(()),
        (true, Unit::Count, true) => write!(text, "{rate:.1}/s"),
        (true, ..) => write!(text, "{}/s", unit.text(rate as u64)),
    };
}

fn write_left(state: &ProgressState, text: &mut dyn fmt::Write) {
    let left = HumanDuration(state.eta());
    let _ = match (is_known(state), state.len() == Some(state.pos())) {
        (_, true) => write!(text, "done"),
        (true, false) => write!(text, "{left:#} left"),
        (false, false) => Ok(()),
    };
}

/// Whether something has been done in this run, and something is left.
fn is_known(state: &ProgressState) -> bool {
    state.per_sec() > 0.0 && state.len() != Some(state.pos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_begins_where_its_bar_does_and_tells_heights() {
        let part = Part::new("Headers", 850_000u32, 900_000u32).from(846_720u32);
        assert_eq!((part.from, part.text()), (846_720, "850,000 of 900,000".into()));
        // A chain that was begun with a lower block than is thought.
        assert_eq!(Part::new("Headers", 10u32, 20u32).from(846_720u32).from, 10);
        assert_eq!(Part::new("Checksum", 1_500u64, 3_000u64).in_bytes().text(), "1.5 kB of 3.0 kB");
    }
}
