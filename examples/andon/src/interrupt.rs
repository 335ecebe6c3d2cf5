//! Ctrl-C: the first one stops everything in order, the second one ends the process at once.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use andon_driver::Stopper;

use crate::error::{Error, INTERRUPTED};

/// Whether the program has been told to stop, and what to stop then.
#[derive(Clone, Default)]
pub(crate) struct Interrupt {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    requested: AtomicBool,
    stoppers: Mutex<Vec<Stopper>>,
}

impl Interrupt {
    /// Takes the signals over (Ctrl-C, and on Unix those that ask to terminate). Once in a process.
    ///
    /// # Errors
    /// If the system refuses.
    pub(crate) fn install() -> Result<Self, Error> {
        let interrupt = Self::default();
        let handler = interrupt.clone();
        ctrlc::set_handler(move || {
            if handler.shared.requested.swap(true, Ordering::SeqCst) {
                std::process::exit(i32::from(INTERRUPTED));
            }
            handler.stoppers().iter().for_each(Stopper::stop);
        })
        .map_err(|error| Error::new("system", format!("Ctrl-C can't be handled: {error}")))?;
        Ok(interrupt)
    }

    /// Whether a signal came.
    pub(crate) fn is_requested(&self) -> bool {
        self.shared.requested.load(Ordering::SeqCst)
    }

    /// Stops this at the first signal; at once if it came already.
    pub(crate) fn on_request(&self, stopper: Stopper) {
        let mut stoppers = self.stoppers();
        if self.is_requested() {
            stopper.stop();
        }
        stoppers.push(stopper);
    }

    fn stoppers(&self) -> std::sync::MutexGuard<'_, Vec<Stopper>> {
        self.shared.stoppers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Interrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interrupt").field("requested", &self.is_requested()).finish_non_exhaustive()
    }
}
