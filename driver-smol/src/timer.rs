//! The one timer of a driver.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use andon_kernel::Instant;

/// A timer that is set anew, or not at all.
#[derive(Debug, Default)]
pub(crate) struct Timer {
    /// None: not set, so that nothing fires.
    timer: Option<(Instant, async_io::Timer)>,
}

impl Timer {
    /// Sets it to what is due at a time, which is so far from now. Ready: it fires at once.
    pub(crate) fn set(&mut self, context: &mut Context<'_>, timer: Option<(Instant, Duration)>) -> Poll<()> {
        let Some((at, left)) = timer else {
            self.timer = None;
            return Poll::Pending;
        };
        let timer = match &mut self.timer {
            Some((set, timer)) => {
                if *set != at {
                    *set = at;
                    timer.set_after(left);
                }
                timer
            }
            none => &mut none.insert((at, async_io::Timer::after(left))).1,
        };
        let fired = Pin::new(timer).poll(context);
        if fired.is_ready() {
            self.timer = None;
        }
        fired.map(drop)
    }
}
