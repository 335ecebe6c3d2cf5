//! The thread: takes what is queued, groups batches into transactions, answers scans between them, in order.
//!
//! Batches that wait together are committed together, for a sync costs the same for one as for a thousand. A scan within a
//! group reads through the open transaction and is answered after its commit, so completions keep their order.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use andon_kernel::{Batch, Outbox, Output, PAGE_BYTES, RowsBuffer, Scan, Ticket};

use crate::directory::Database;
use crate::tables::Tables;
use crate::{StoreError, cost};

/// Bytes of batches after which a group is committed: what SQLite must hold of it stays small, and what is queued
/// meanwhile too.
const GROUP_BYTES: usize = 1 << 20;

/// Pages in SQLite's log after which it is copied into the database.
const CHECKPOINT_PAGES: i64 = 1024;

/// After so long without a request a new database has been filled.
const QUIET: Duration = Duration::from_secs(2);

/// While a new database is filled, and so many bytes of batches are in it, a group waits so long for more: each commit writes
/// some pages once more.
const BULK_BYTES: usize = 1 << 18;
const LINGERING: Duration = Duration::from_millis(250);

/// A group of at least so many bytes waits again and again, while more comes: over a slow link the pages that each commit
/// writes once more would be as many as what it is about. Small batches say what an application waits for.
const LARGE_GROUP: usize = 1 << 16;

/// How often it waits at most, and how often in a row for nothing.
const MAX_WAITS: u32 = 12;
const MAX_IDLE_WAITS: u32 = 2;

/// Bytes of pages that may wait to be collected; the thread then waits too.
const WAITING_BYTES: usize = 4 * PAGE_BYTES;

/// Memory for pages that is kept for the next: how many pages, and none larger than this.
const KEPT_PAGES: usize = 4;
const KEPT_BYTES: usize = 256 * 1024;

/// What the store and its thread share.
#[derive(Default)]
pub(crate) struct Shared {
    state: Mutex<State>,
    /// The thread waits here: for requests, for pages to be collected, for the end.
    pub(crate) changed: Condvar,
}

#[derive(Default)]
pub(crate) struct State {
    /// Requests that the thread has not taken yet. A machine's outbox serves well: it holds any number of them in two
    /// pieces of memory, and gives back what a burst took.
    queue: Outbox<Infallible>,
    /// Of batches that are not durable yet, in the queue or out of it.
    pub(crate) queued_bytes: usize,
    /// Whether there are scans in the queue.
    wants_rows: bool,
    done: VecDeque<Done>,
    done_bytes: usize,
    spare: Vec<RowsBuffer>,
    failure: Option<StoreError>,
    pub(crate) closing: bool,
}

/// A request that is complete.
pub(crate) enum Done {
    Loaded { ticket: Ticket, rows: RowsBuffer, more: bool },
    Stored { ticket: Ticket },
}

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two statements that could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues one request with `bytes` bytes of a batch.
    pub(crate) fn submit(
        &self,
        bytes: usize,
        request: impl FnOnce(&mut Outbox<Infallible>),
    ) -> Result<(), StoreError> {
        let mut state = self.lock();
        state.check()?;
        let is_scan = bytes == 0;
        let wakes = state.queue.is_empty() || is_scan;
        request(&mut state.queue);
        state.queued_bytes += bytes;
        state.wants_rows |= is_scan;
        drop(state);
        if wakes {
            self.changed.notify_one();
        }
        Ok(())
    }

    /// Takes the next completion; `lent` is a page that has been read.
    pub(crate) fn collect(&self, lent: RowsBuffer) -> Result<Option<Done>, StoreError> {
        let mut state = self.lock();
        state.check()?;
        state.keep(lent);
        let done = state.done.pop_front();
        if let Some(Done::Loaded { rows, .. }) = &done {
            state.done_bytes -= rows.size();
            drop(state);
            self.changed.notify_one();
        }
        Ok(done)
    }
}

impl State {
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        self.failure.clone().map_or(Ok(()), Err)
    }

    fn keep(&mut self, mut page: RowsBuffer) {
        if !page.is_empty() && page.size() <= KEPT_BYTES && self.spare.len() < KEPT_PAGES {
            page.clear();
            self.spare.push(page);
        }
    }

    fn fail(&mut self, error: StoreError) {
        self.failure.get_or_insert(error);
        self.queue = Outbox::new();
        self.done.clear();
        self.done_bytes = 0;
        self.queued_bytes = 0;
    }
}

/// The thread's own part.
pub(crate) struct Worker<W: Fn()> {
    shared: Arc<Shared>,
    wake: W,
}

impl<W: Fn()> Worker<W> {
    pub(crate) fn new(shared: Arc<Shared>, wake: W) -> Self {
        Self { shared, wake }
    }

    /// Works until the store ends or fails.
    pub(crate) fn run(self, database: Database) {
        let Database { connection, lock, is_new } = database;
        let mut group = Group::new(Tables::new(&connection));
        if let Err(error) = self.work(&mut group, is_new).and_then(|()| group.tables.checkpoint(1)) {
            self.shared.lock().fail(StoreError::from_sqlite(&error));
            (self.wake)();
        }
        drop(group);
        drop(connection);
        drop(lock);
    }

    fn work(&self, group: &mut Group<'_>, is_new: bool) -> rusqlite::Result<()> {
        let mut queue = Outbox::new();
        let mut is_filling = is_new;
        while let Some(closing) = self.take(&mut queue, is_filling) {
            if queue.is_empty() {
                is_filling = !group.tables.end_filling()?;
            }
            self.carry_out(group, &mut queue, closing)?;
            while is_filling && !closing && group.is_bulk() {
                let before = group.written;
                self.linger(&mut queue);
                self.carry_out(group, &mut queue, closing)?;
                if group.written == before {
                    break;
                }
                // What did not go with the full group is the beginning of the next, and no group of its own.
            }
            self.publish(group)?;
        }
        Ok(())
    }

    fn carry_out(
        &self,
        group: &mut Group<'_>,
        queue: &mut Outbox<Infallible>,
        closing: bool,
    ) -> rusqlite::Result<()> {
        while let Some(request) = queue.pop() {
            match request {
                // Nobody is left to read its rows.
                Output::Load(_) if closing => {}
                Output::Load(scan) => group.load(&scan)?,
                Output::Store { ticket, batch } => group.store(ticket, &batch)?,
                _ => unreachable!("only requests to the store are queued"),
            }
            if group.is_full() {
                self.publish(group)?;
            }
        }
        Ok(())
    }

    /// Waits a moment for more batches of a group, unless somebody waits for rows, and takes what has come.
    fn linger(&self, queue: &mut Outbox<Infallible>) {
        let mut state = self.shared.lock();
        let mut idle = 0;
        for _ in 0..MAX_WAITS {
            let before = state.queued_bytes;
            let goes_on =
                |state: &mut State| !state.closing && !state.wants_rows && state.queued_bytes < GROUP_BYTES;
            let waited = self.shared.changed.wait_timeout_while(state, LINGERING, goes_on);
            let (waited, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            state = waited;
            idle = if state.queued_bytes > before { 0 } else { idle + 1 };
            if !timeout.timed_out() || state.queued_bytes < LARGE_GROUP || idle == MAX_IDLE_WAITS {
                break;
            }
        }
        state.wants_rows = false;
        mem::swap(&mut state.queue, queue);
    }

    /// Waits for requests and takes them all. `None`: the store ends and none is left; else whether it ends. There are none if
    /// the database is being filled and nothing has come for a while.
    fn take(&self, queue: &mut Outbox<Infallible>, is_filling: bool) -> Option<bool> {
        let mut state = self.shared.lock();
        while state.queue.is_empty() {
            if state.closing {
                return None;
            }
            if is_filling {
                let waited = self.shared.changed.wait_timeout(state, QUIET);
                let (left, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                state = left;
                if timeout.timed_out() {
                    break;
                }
            } else {
                state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
        state.wants_rows = false;
        mem::swap(&mut state.queue, queue);
        Some(state.closing)
    }

    /// Makes a group durable, hands its completions over and waits while too much of them waits.
    fn publish(&self, group: &mut Group<'_>) -> rusqlite::Result<()> {
        group.commit()?;
        if group.done.is_empty() {
            return Ok(());
        }
        let mut state = self.shared.lock();
        state.done.append(&mut group.done);
        state.done_bytes += mem::take(&mut group.page_bytes);
        state.queued_bytes -= group.batch_bytes;
        group.written += mem::take(&mut group.batch_bytes);
        group.spare.append(&mut state.spare);
        group.spare.truncate(KEPT_PAGES);
        drop(state);
        (self.wake)();
        group.tables.checkpoint(CHECKPOINT_PAGES)?;
        let mut state = self.shared.lock();
        while state.done_bytes >= WAITING_BYTES && !state.closing {
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }
}

impl<W: Fn()> Drop for Worker<W> {
    /// A thread that ends by a panic says so, or the driver would wait for ever.
    fn drop(&mut self) {
        if thread::panicking() {
            self.shared.lock().fail(StoreError::Stopped);
            (self.wake)();
        }
    }
}

/// Requests that are carried out and not handed over yet: at most one transaction's.
struct Group<'c> {
    tables: Tables<'c>,
    open: bool,
    done: VecDeque<Done>,
    batch_bytes: usize,
    page_bytes: usize,
    spare: Vec<RowsBuffer>,
    /// Bytes of all batches of the groups before.
    written: usize,
}

impl<'c> Group<'c> {
    fn new(tables: Tables<'c>) -> Self {
        Self {
            tables,
            open: false,
            done: VecDeque::new(),
            batch_bytes: 0,
            page_bytes: 0,
            spare: Vec::new(),
            written: 0,
        }
    }

    fn load(&mut self, scan: &Scan<'_>) -> rusqlite::Result<()> {
        let mut rows = self.spare.pop().unwrap_or_default();
        let more = self.tables.scan(scan, &mut rows)?;
        self.page_bytes += rows.size();
        self.done.push_back(Done::Loaded { ticket: scan.ticket, rows, more });
        Ok(())
    }

    fn store(&mut self, ticket: Ticket, batch: &Batch<'_>) -> rusqlite::Result<()> {
        if !self.open {
            self.tables.begin()?;
            self.open = true;
        }
        self.tables.apply(batch)?;
        self.batch_bytes += cost(batch);
        self.done.push_back(Done::Stored { ticket });
        Ok(())
    }

    /// Whether it is one of many that fill a new database, and nobody waits for its rows: then it may wait for more.
    fn is_bulk(&self) -> bool {
        let has_rows = self.done.iter().any(|done| matches!(done, Done::Loaded { .. }));
        self.open && self.written >= BULK_BYTES && !has_rows
    }

    fn is_full(&self) -> bool {
        self.batch_bytes >= GROUP_BYTES || self.page_bytes >= WAITING_BYTES
    }

    fn commit(&mut self) -> rusqlite::Result<()> {
        if mem::take(&mut self.open) {
            self.tables.commit()?;
        }
        Ok(())
    }
}
