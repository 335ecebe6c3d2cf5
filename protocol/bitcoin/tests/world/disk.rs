//! A disk that takes its time: what it was given waits, and is lost if the process ends before it is written.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::ops::Bound;

use andon_kernel::{
    Batch, Change, Completion, MemoryStore, Order, Outbox, Output, Scan, Space, Store, Ticket,
};

#[derive(Default)]
pub(crate) struct Disk {
    written: MemoryStore,
    waiting: VecDeque<Request>,
    batches: usize,
}

enum Request {
    Load { ticket: Ticket, space: Space, from: Bound<Vec<u8>>, to: Bound<Vec<u8>>, order: Order, limit: u32 },
    Store { ticket: Ticket, changes: Vec<Owned> },
}

enum Owned {
    Put { space: Space, key: Vec<u8>, value: Vec<u8> },
    Delete { space: Space, from: Vec<u8>, to: Option<Vec<u8>> },
}

impl Disk {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// One on which this is written.
    pub(crate) fn holding(written: MemoryStore) -> Self {
        Self { written, ..Self::default() }
    }

    /// What is written.
    pub(crate) fn written(&self) -> &MemoryStore {
        &self.written
    }

    /// How many batches have been written.
    pub(crate) fn batches(&self) -> usize {
        self.batches
    }

    /// How many requests wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Carries out the oldest `count` requests that wait.
    pub(crate) fn write(&mut self, count: usize) {
        for request in self.waiting.drain(..count) {
            let Ok(()) = match request {
                Request::Load { ticket, space, from, to, order, limit } => {
                    let (from, to) = (from.as_ref().map(Vec::as_slice), to.as_ref().map(Vec::as_slice));
                    self.written.load(Scan { ticket, space, from, to, order, limit })
                }
                Request::Store { ticket, changes } => {
                    self.batches += 1;
                    let mut outbox: Outbox<()> = Outbox::new();
                    outbox.store(ticket, |batch| {
                        for change in &changes {
                            match change {
                                Owned::Put { space, key, value } => batch.put(*space, key, value),
                                Owned::Delete { space, from, to: Some(to) } => batch.delete(*space, from, to),
                                Owned::Delete { space, from, to: None } => batch.delete_from(*space, from),
                            }
                        }
                    });
                    let Some(Output::Store { ticket, batch }) = outbox.pop() else {
                        panic!("it was put there")
                    };
                    self.written.store(ticket, batch)
                }
            };
        }
    }

    /// The process ends: what waits is lost.
    pub(crate) fn restart(&mut self) {
        self.waiting.clear();
        self.written.restart();
    }
}

impl Store for Disk {
    type Error = Infallible;

    fn load(&mut self, scan: Scan<'_>) -> Result<(), Infallible> {
        let Scan { ticket, space, from, to, order, limit } = scan;
        let (from, to) = (from.map(Vec::from), to.map(Vec::from));
        self.waiting.push_back(Request::Load { ticket, space, from, to, order, limit });
        Ok(())
    }

    fn store(&mut self, ticket: Ticket, batch: Batch<'_>) -> Result<(), Infallible> {
        let changes = batch.changes().map(|change| match change {
            Change::Put { space, key, value } => Owned::Put { space, key: key.into(), value: value.into() },
            Change::Delete { space, from, to } => {
                Owned::Delete { space, from: from.into(), to: to.map(Vec::from) }
            }
        });
        self.waiting.push_back(Request::Store { ticket, changes: changes.collect() });
        Ok(())
    }

    fn complete(&mut self) -> Result<Option<Completion<'_>>, Infallible> {
        self.written.complete()
    }

    fn outstanding(&self) -> usize {
        self.waiting.len() + self.written.outstanding()
    }

    fn is_congested(&self) -> bool {
        false
    }
}
