//! A store that notes when it is given something and when that is durable.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use andon_kernel::{Batch, Completion, Scan, Store, Ticket};
use tempfile::TempDir;

use crate::now;

/// What was noted since the last block.
#[derive(Clone, Debug, Default)]
pub(crate) struct Times(Arc<Mutex<Noted>>);

#[derive(Debug, Default)]
struct Noted {
    stored: Vec<Instant>,
    durable: Vec<Instant>,
}

impl Times {
    pub(crate) fn clear(&self) {
        *self.0.lock().unwrap() = Noted::default();
    }

    /// The store's thread says that something is complete.
    pub(crate) fn durable(&self) {
        self.0.lock().unwrap().durable.push(now());
    }

    fn stored(&self) {
        self.0.lock().unwrap().stored.push(now());
    }

    /// When what an event told was given to the store, after the message that it follows from, and when it was durable; and
    /// how many times something became durable up to then.
    pub(crate) fn of(&self, message: Instant, event: Instant) -> (Instant, Instant, usize) {
        let noted = self.0.lock().unwrap();
        let durable = noted.durable.iter().rfind(|&&at| at <= event).copied();
        let until = durable.unwrap_or(event);
        let stored = noted.stored.iter().rfind(|&&at| at >= message && at <= until).copied();
        let stored = stored.expect("what is told was stored before");
        let commits = noted.durable.iter().filter(|&&at| at <= event).count();
        // A store in memory is durable at once.
        (stored, durable.unwrap_or(stored), commits)
    }
}

/// A store and its times.
pub(crate) struct Timed<S> {
    store: S,
    times: Times,
    _within: Option<TempDir>,
}

impl<S> Timed<S> {
    pub(crate) fn new(store: S, times: Times) -> Self {
        Self { store, times, _within: None }
    }

    /// The directory goes with the store.
    pub(crate) fn within(self, directory: TempDir) -> Self {
        Self { _within: Some(directory), ..self }
    }
}

impl<S: Store> Store for Timed<S> {
    type Error = S::Error;

    fn load(&mut self, scan: Scan<'_>) -> Result<(), S::Error> {
        self.store.load(scan)
    }

    fn store(&mut self, ticket: Ticket, batch: Batch<'_>) -> Result<(), S::Error> {
        self.times.stored();
        self.store.store(ticket, batch)
    }

    fn complete(&mut self) -> Result<Option<Completion<'_>>, S::Error> {
        self.store.complete()
    }

    fn outstanding(&self) -> usize {
        self.store.outstanding()
    }

    fn is_congested(&self) -> bool {
        self.store.is_congested()
    }
}
