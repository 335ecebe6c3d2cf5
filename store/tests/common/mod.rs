//! A client of a store for tests: submits requests and waits for their completions.

#![allow(dead_code, reason = "each test file uses a part of it")]

pub(crate) mod disk;
pub(crate) mod pages;

use std::collections::VecDeque;
use std::fmt::Debug;
use std::ops::Bound;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use andon_kernel::{
    BatchWriter, Completion, MemoryStore, Names, Order, Outbox, Output, Space, Store, Ticket,
};
use andon_store::{OpenError, Options, SqliteStore};

pub(crate) const SPACE: Space = Space::new("some_space");
pub(crate) const OTHER: Space = Space::new("other_space");

/// No store takes as long: a test that waits longer hangs.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) type Row = (Vec<u8>, Vec<u8>);

/// A completion, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    Stored(Ticket),
    Loaded { ticket: Ticket, rows: Vec<Row>, more: bool },
}

/// What a scan asks for, beside its ticket.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    pub(crate) space: Space,
    pub(crate) from: Bound<Vec<u8>>,
    pub(crate) to: Bound<Vec<u8>>,
    pub(crate) order: Order,
    pub(crate) limit: u32,
}

impl Query {
    /// All rows of a space, in ascending order.
    pub(crate) fn all(space: Space) -> Self {
        Self { space, from: Bound::Unbounded, to: Bound::Unbounded, order: Order::Ascending, limit: u32::MAX }
    }

    pub(crate) fn range(from: Bound<&[u8]>, to: Bound<&[u8]>) -> Self {
        Self { from: from.map(<[u8]>::to_vec), to: to.map(<[u8]>::to_vec), ..Self::all(SPACE) }
    }

    pub(crate) fn descending(self) -> Self {
        Self { order: Order::Descending, ..self }
    }

    pub(crate) fn limit(self, limit: u32) -> Self {
        Self { limit, ..self }
    }
}

pub(crate) struct Client<S: Store> {
    pub(crate) store: S,
    names: Names,
    outbox: Outbox<()>,
    woken: Option<Receiver<()>>,
}

/// A client of a store in memory.
pub(crate) fn memory() -> Client<MemoryStore> {
    Client { store: MemoryStore::new(), names: Names::default(), outbox: Outbox::new(), woken: None }
}

/// A client of the SQLite store in a directory.
pub(crate) fn sqlite(directory: &Path) -> Client<SqliteStore> {
    try_sqlite(directory, &Options::default()).expect("the store opens")
}

pub(crate) fn try_sqlite(directory: &Path, options: &Options) -> Result<Client<SqliteStore>, OpenError> {
    let (sender, woken) = channel();
    let wake = move || {
        let _ = sender.send(());
    };
    let store = SqliteStore::open_with(directory, options, wake)?;
    Ok(Client { store, names: Names::default(), outbox: Outbox::new(), woken: Some(woken) })
}

impl<S: Store> Client<S> {
    /// Submits a batch.
    pub(crate) fn try_put(&mut self, write: impl FnOnce(&mut BatchWriter<'_>)) -> Result<Ticket, S::Error> {
        let ticket = self.names.ticket();
        self.outbox.store(ticket, write);
        let Some(Output::Store { ticket, batch }) = self.outbox.pop() else { panic!("not a batch") };
        let result = self.store.store(ticket, batch);
        assert!(self.outbox.pop().is_none());
        result.map(|()| ticket)
    }

    /// Submits a scan.
    pub(crate) fn try_load(&mut self, query: &Query) -> Result<Ticket, S::Error> {
        let ticket = self.names.ticket();
        let range = (query.from.as_ref().map(Vec::as_slice), query.to.as_ref().map(Vec::as_slice));
        self.outbox.load(ticket, query.space, range, query.order, query.limit);
        let Some(Output::Load(scan)) = self.outbox.pop() else { panic!("not a scan") };
        let result = self.store.load(scan);
        assert!(self.outbox.pop().is_none());
        result.map(|()| ticket)
    }

    /// The next completion, if one is ready.
    pub(crate) fn poll(&mut self) -> Result<Option<Done>, S::Error> {
        Ok(self.store.complete()?.map(|completion| match completion {
            Completion::Stored { ticket } => Done::Stored(ticket),
            Completion::Loaded { ticket, rows, more } => {
                let owned: Vec<Row> =
                    rows.iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
                assert_eq!(owned.len(), rows.len());
                Done::Loaded { ticket, rows: owned, more }
            }
        }))
    }

    /// Waits for the next completion, as a driver does: until it is woken.
    pub(crate) fn try_next(&mut self) -> Result<Done, S::Error> {
        loop {
            if let Some(done) = self.poll()? {
                return Ok(done);
            }
            let woken = self.woken.as_ref().expect("a store in memory completes at once");
            woken.recv_timeout(PATIENCE).expect("the store wakes its driver");
        }
    }

    pub(crate) fn put(&mut self, write: impl FnOnce(&mut BatchWriter<'_>)) -> Ticket {
        self.try_put(write).unwrap_or_else(|error| panic!("a batch was refused: {error}"))
    }

    pub(crate) fn load(&mut self, query: &Query) -> Ticket {
        self.try_load(query).unwrap_or_else(|error| panic!("a scan was refused: {error}"))
    }

    pub(crate) fn next(&mut self) -> Done {
        self.try_next().unwrap_or_else(|error| panic!("the store failed: {error}"))
    }

    /// Waits for every completion that is due.
    pub(crate) fn settle(&mut self) -> Vec<Done> {
        let mut all = Vec::new();
        while self.store.outstanding() > 0 {
            all.push(self.next());
        }
        all
    }

    /// The answer to a scan, after everything submitted before it.
    pub(crate) fn page(&mut self, query: &Query) -> (Vec<Row>, bool) {
        let asked = self.load(query);
        match self.settle().pop() {
            Some(Done::Loaded { ticket, rows, more }) if ticket == asked => (rows, more),
            other => panic!("a scan was answered by {other:?}"),
        }
    }

    /// All rows of a space, page by page.
    pub(crate) fn rows(&mut self, space: Space) -> Vec<Row> {
        let mut query = Query::all(space);
        let mut all: VecDeque<Row> = VecDeque::new();
        loop {
            let (rows, more) = self.page(&query);
            all.extend(rows);
            if !more {
                return all.into();
            }
            query.from = Bound::Excluded(all.back().expect("a page that is not the last has rows").0.clone());
        }
    }
}

/// Rows from text.
pub(crate) fn rows(text: &[(&str, &str)]) -> Vec<Row> {
    text.iter().map(|(key, value)| (key.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
}
