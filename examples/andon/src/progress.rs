//! Progress bars on standard error, with rate and time left.

use std::fmt;
use std::io::{self, IsTerminal, Write};

use andon_bitcoin::client::{Count, Progress};
use anstream::{AutoStream, ColorChoice};
use indicatif::{
    HumanDuration, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle,
};

use crate::units::{bytes, grouped};

/// One bar for each phase. A bar appears when its phase has something to do.
#[derive(Debug)]
pub(crate) struct Bars {
    all: MultiProgress,
    phases: [Phase; 4],
    traffic: Option<ProgressBar>,
}

#[derive(Debug)]
struct Phase {
    name: &'static str,
    bar: Option<ProgressBar>,
    done_before: u64,
}

impl Bars {
    /// Bars, if they are wanted and standard error is a terminal.
    pub(crate) fn new(wanted: bool) -> Option<Self> {
        if !wanted || !io::stderr().is_terminal() {
            return None;
        }
        let phase = |name| Phase { name, bar: None, done_before: 0 };
        Some(Self {
            // Five times a second is quick enough to read, and spares a slow terminal.
            all: MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(5)),
            phases: [phase("Headers"), phase("Filter headers"), phase("Filters"), phase("Blocks")],
            traffic: None,
        })
    }

    /// Shows how far everything is.
    pub(crate) fn update(&mut self, progress: &Progress) {
        let Progress { headers, filter_headers, filters, blocks, bytes_received, .. } = *progress;
        let mut above = 0;
        for (phase, count) in self.phases.iter_mut().zip([headers, filter_headers, filters, blocks]) {
            phase.update(&self.all, above, count);
            above += usize::from(phase.bar.is_some());
        }
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
    fn update(&mut self, all: &MultiProgress, above: usize, count: Count) {
        let (done, total) = (u64::from(count.done), u64::from(count.total));
        if total == 0 {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::new(total).with_style(running()).with_prefix(self.name);
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
        if let Some(bar) = &self.bar {
            bar.set_style(finished());
            bar.finish();
        }
    }
}

fn running() -> ProgressStyle {
    style("{human_pos:>9} of {human_len:<9} {rate:>10} {left:>12}")
        .with_key("rate", write_rate)
        .with_key("left", write_left)
}

fn finished() -> ProgressStyle {
    style("{human_pos:>9} of {human_len:<9}")
}

fn style(rest: &str) -> ProgressStyle {
    let colour = if AutoStream::choice(&io::stderr()) == ColorChoice::Never { "" } else { ":.cyan/dim" };
    ProgressStyle::with_template(&format!("{{prefix:>14}} {{wide_bar{colour}}} {rest}"))
        .expect("the template is well-formed")
        .progress_chars("━╸─")
}

/// How many a second, as soon as anything is known of it.
fn write_rate(state: &ProgressState, text: &mut dyn fmt::Write) {
    let rate = state.per_sec();
    // An error of the writer's is not ours to handle: it ends in the terminal.
    let _ = match (is_known(state), rate < 10.0) {
        (false, _) => Ok(()),
        (true, true) => write!(text, "{rate:.1}/s"),
        (true, false) => write!(text, "{}/s", grouped(rate as u64)),
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
