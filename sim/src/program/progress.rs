//! A progress bar on standard error, if that is a terminal.

use std::fmt::Write;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::experiment::Progress;

pub(super) struct Bar(ProgressBar);

impl Bar {
    pub(super) fn new(name: &str, quiet: bool) -> Self {
        let target =
            if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr_with_hz(10) };
        let bar = ProgressBar::with_draw_target(None, target).with_prefix(name.to_owned());
        let template = "{prefix} [{bar:32}] {human_pos} of {human_len} trials, {rate} a second, {eta} left";
        let style = ProgressStyle::with_template(template).expect("the template is sound");
        let rate = |state: &ProgressState, text: &mut dyn Write| {
            // Where it can't be written nobody sees it.
            let _ = write!(text, "{:.0}", state.per_sec());
        };
        bar.set_style(style.with_key("rate", rate).progress_chars("=> "));
        Self(bar)
    }

    pub(super) fn show(&self, progress: Progress) {
        self.0.inc(1);
        // A cell that stops makes it shorter.
        let length = self.0.position() + progress.left;
        if self.0.length() != Some(length) {
            self.0.set_length(length);
        }
    }

    pub(super) fn finish(self) {
        self.0.finish_and_clear();
    }
}
