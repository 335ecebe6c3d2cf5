//! SQLite behind the kernel's [`Store`], on a thread of its own.
//!
//! A store is a directory: the database `andon.sqlite`, what SQLite keeps beside it, and `andon.lock`, which one process
//! holds at a time. Each space is one table of keys and values, `raw_` and its name, and what the bytes mean is the
//! machine's business; who knows it can give views that make tables for people of them ([`Options::views`]).
//! A batch is stored once the system says that it is on the disk; a killed process, or a machine without power, starts
//! again from what was stored and from nothing else.
//!
//! # Looking inside
//!
//! The lock keeps other clients out, not readers, so the `sqlite3` shell can look into a directory in use:
//!
//! ```text
//! $ sqlite3 -readonly DIRECTORY/andon.sqlite .tables
//! $ sqlite3 -readonly DIRECTORY/andon.sqlite 'SELECT hex(key), length(value) FROM raw_some_space LIMIT 10'
//! ```
//!
//! Views are a part of the schema alone: nothing is written for them when a row is.
//!
//! A read that stays open for long keeps SQLite's log from being reused, and so lets it grow.
//!
//! # Room on the disk
//!
//! SQLite's pages have 4096 bytes, and rows lie in them in the order of their keys. Rows that are written in that order
//! fill them well, those written in another less so, and rows written from the last to the first leave more than half of
//! each page empty. A row takes the bytes of its key and value and about 9 more, of the 4088 of a page; one of more than
//! about 1000 bytes takes pages of its own beside that. So it is well to have few rows of 800 or 990 bytes (five and four
//! to a page) rather than many small ones. `examples/throughput.rs` measures this.
//!
//! What is deleted leaves pages that later rows fill; the file itself never becomes smaller.
//!
//! # Damage
//!
//! A page that SQLite finds malformed ends the store with [`StoreError::Damaged`], or keeps it from being opened.
//! [`salvage`] then makes a store of what can still be read, and keeps the damaged file beside it:
//!
//! | file | what it is |
//! |---|---|
//! | `andon.sqlite`, `andon.sqlite-wal`, `andon.sqlite-shm` | the database, and what SQLite keeps beside it: while a new one is filled, `andon.sqlite-journal` |
//! | `andon.lock` | who has it locked, has the store |
//! | `andon.sqlite.damaged`, … | the damaged one, of the last salvage: nothing reads it |
//! | `andon.sqlite.new`, `andon.sqlite.salvaged` | of a salvage at work, or of one that was cut short |
//!
//! # What it does not do
//!
//! It does not read what is stored, or migrate it; and where SQLite sees nothing wrong, neither does it.
//!
//! # Versions
//!
//! The first schema had the spaces' own names for their tables. They are renamed when such a database is opened, in one
//! transaction that writes a page or two, whatever the size; programs that know only the first refuse it then
//! ([`OpenError::Newer`]), and change nothing.

mod directory;
mod error;
mod migration;
mod replacement;
mod salvage;
mod tables;
mod views;
mod worker;

pub use error::{OpenError, StoreError};
pub use salvage::{SALVAGED, Salvage, SalvagedSpace, salvage};

use core::fmt;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use andon_kernel::{Batch, Change, Completion, RowsBuffer, Scan, Store, Ticket};

use worker::{Done, Shared, Worker};

/// Bytes of batches that are not durable yet at which the store is congested. A few batches of what a client stores
/// at a time, and little beside what a process takes anyway: they are all in memory.
const CONGESTED_BYTES: usize = 2 << 20;

/// Requests that are not complete at which the store is congested, whatever their size.
const CONGESTED_REQUESTS: usize = 4096;

/// What a change takes in the queue beside its key and value.
const CHANGE_BYTES: usize = 48;

/// How a store is opened.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Options {
    /// The most bytes that the database may take, SQLite's log aside; `None`: as many as the disk has. A store that
    /// is at its limit fails as one on a full disk does.
    pub max_bytes: Option<u64>,
    /// Views for people and other programs: the name of each, and its `SELECT`, in which `{space}` stands for the table of
    /// a space. They are made when the store is opened, in the place of views of the same names that are
    /// different; the tables that they need are made with them. A table or index that somebody made under such a name stays,
    /// and the view is not made. The store reads none of them, and who opens it without them finds them there.
    ///
    /// A name has what a space's has (1 to 32 of `a` to `z` and `_`), and begins with neither `raw_` nor `sqlite_`.
    pub views: Vec<(String, String)>,
}

/// A store in a directory.
///
/// Dropping it waits until everything submitted is durable; [`close`](Self::close) also says whether it is.
pub struct SqliteStore {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    outstanding: usize,
    lent: RowsBuffer,
}

impl SqliteStore {
    /// Opens the store in `directory`, which is made if it is missing (for its owner alone).
    ///
    /// The store's thread calls `wake` each time that completions are ready or the store has failed: the driver then
    /// calls [`complete`](Store::complete) until there is none. It must not block.
    ///
    /// # Errors
    /// As [`OpenError`] lists. What is there is not changed then.
    pub fn open(directory: impl AsRef<Path>, wake: impl Fn() + Send + 'static) -> Result<Self, OpenError> {
        Self::open_with(directory, &Options::default(), wake)
    }

    /// As [`open`](Self::open), with options.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(
        directory: impl AsRef<Path>,
        options: &Options,
        wake: impl Fn() + Send + 'static,
    ) -> Result<Self, OpenError> {
        let directory = directory.as_ref();
        let database = directory::open(directory, options)?;
        let shared = Arc::new(Shared::default());
        let worker = Worker::new(Arc::clone(&shared), wake);
        let thread = thread::Builder::new()
            .name("andon-store".into())
            .spawn(move || worker.run(database))
            .map_err(|error| OpenError::from_io(directory, &error))?;
        Ok(Self { shared, thread: Some(thread), outstanding: 0, lent: RowsBuffer::new() })
    }

    /// Ends the store, after everything submitted is durable.
    ///
    /// # Errors
    /// If it is not.
    pub fn close(mut self) -> Result<(), StoreError> {
        self.end();
        self.shared.lock().check()
    }

    fn end(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        self.shared.lock().closing = true;
        self.shared.changed.notify_one();
        // A panic of the thread has been noted as a failure by the thread itself.
        let _ = thread.join();
    }
}

impl Store for SqliteStore {
    type Error = StoreError;

    fn load(&mut self, scan: Scan<'_>) -> Result<(), StoreError> {
        self.shared.submit(0, |queue| {
            queue.load(scan.ticket, scan.space, (scan.from, scan.to), scan.order, scan.limit);
        })?;
        self.outstanding += 1;
        Ok(())
    }

    fn store(&mut self, ticket: Ticket, batch: Batch<'_>) -> Result<(), StoreError> {
        self.shared.submit(cost(&batch), |queue| {
            queue.store(ticket, |writer| {
                for change in batch.changes() {
                    match change {
                        Change::Put { space, key, value } => writer.put(space, key, value),
                        Change::Delete { space, from, to: Some(to) } => writer.delete(space, from, to),
                        Change::Delete { space, from, to: None } => writer.delete_from(space, from),
                    }
                }
            });
        })?;
        self.outstanding += 1;
        Ok(())
    }

    fn complete(&mut self) -> Result<Option<Completion<'_>>, StoreError> {
        let lent = core::mem::take(&mut self.lent);
        let Some(done) = self.shared.collect(lent)? else { return Ok(None) };
        self.outstanding -= 1;
        Ok(Some(match done {
            Done::Stored { ticket } => Completion::Stored { ticket },
            Done::Loaded { ticket, rows, more } => {
                self.lent = rows;
                Completion::Loaded { ticket, rows: self.lent.rows(), more }
            }
        }))
    }

    fn outstanding(&self) -> usize {
        self.outstanding
    }

    fn is_congested(&self) -> bool {
        self.outstanding >= CONGESTED_REQUESTS || self.shared.lock().queued_bytes >= CONGESTED_BYTES
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.end();
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").field("outstanding", &self.outstanding).finish_non_exhaustive()
    }
}

/// Bytes that a batch takes in the queue.
fn cost(batch: &Batch<'_>) -> usize {
    batch.size() + batch.changes().len() * CHANGE_BYTES
}
