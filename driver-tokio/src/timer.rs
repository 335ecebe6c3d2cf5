//! The one timer of a driver.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use andon_kernel::Instant;
use tokio::time::{Instant as TokioInstant, Sleep, sleep};

/// Who waits for longer is woken once in between.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// A timer that is set anew, or not at all.
#[derive(Debug, Default)]
pub(crate) struct Timer {
    /// None: not set, so that nothing fires.
    sleep: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl Timer {
    /// Sets it to what is due at a time, which is so far from now. Ready: it fires at once.
    pub(crate) fn set(&mut self, context: &mut Context<'_>, timer: Option<(Instant, Duration)>) -> Poll<()> {
        let Some((at, left)) = timer else {
            self.sleep = None;
            return Poll::Pending;
        };
        let left = left.min(LONGEST);
        let sleep = match &mut self.sleep {
            Some((set, sleep)) => {
                if *set != at {
                    *set = at;
                    sleep.as_mut().reset(TokioInstant::now() + left);
                }
                sleep
            }
            none => &mut none.insert((at, Box::pin(sleep(left)))).1,
        };
        let fired = sleep.as_mut().poll(context);
        if fired.is_ready() {
            self.sleep = None;
        }
        fired
    }
}
