//! A disk that takes its time: what it was given waits, and is lost if the process ends before it is written.

use core::ops::Bound;
use core::time::Duration;
use std::collections::VecDeque;
use std::convert::Infallible;

use andon_kernel::{
    Batch, Change, Completion, MemoryStore, Order, Outbox, Output, Scan, Space, Store, Ticket,
};

use crate::random::Stream;

/// A store that a [`Host`](super::Host) can have.
pub trait Storage: Store {
    /// How long until it goes on; `None`: nothing waits for it.
    fn takes(&mut self) -> Option<Duration>;

    /// Goes on.
    fn go_on(&mut self);

    /// The process ends, and another begins on what is written.
    fn restart(&mut self);
}

/// Nothing is waited for, and nothing is lost.
impl Storage for MemoryStore {
    fn takes(&mut self) -> Option<Duration> {
        None
    }

    fn go_on(&mut self) {}

    fn restart(&mut self) {
        Self::restart(self);
    }
}

/// How fast a disk is.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// From a request to its completion at least.
    pub least: Duration,
    /// And at most.
    pub most: Duration,
    /// How many requests may wait before the node reads no more from its connections.
    pub congested: usize,
}

impl Pace {
    /// A solid-state disk's: up to 2 ms.
    pub const SOLID_STATE: Self =
        Self { least: Duration::from_micros(50), most: Duration::from_millis(2), congested: 64 };

    /// A turning disk's, or a worn card's: up to 80 ms.
    pub const SLOW: Self =
        Self { least: Duration::from_millis(2), most: Duration::from_millis(80), congested: 64 };
}

/// A disk.
#[derive(Debug)]
pub struct Disk {
    written: MemoryStore,
    waiting: VecDeque<Request>,
    pace: Pace,
    stream: Stream,
    is_asked: bool,
    batches: u64,
}

#[derive(Debug)]
enum Request {
    Load { ticket: Ticket, space: Space, from: Bound<Vec<u8>>, to: Bound<Vec<u8>>, order: Order, limit: u32 },
    Store { ticket: Ticket, changes: Vec<Owned> },
}

#[derive(Debug)]
enum Owned {
    Put { space: Space, key: Vec<u8>, value: Vec<u8> },
    Delete { space: Space, from: Vec<u8>, to: Option<Vec<u8>> },
}

impl Disk {
    /// An empty one.
    pub fn new(pace: Pace, stream: Stream) -> Self {
        Self {
            written: MemoryStore::new(),
            waiting: VecDeque::new(),
            pace,
            stream,
            is_asked: false,
            batches: 0,
        }
    }

    /// What is written.
    pub const fn written(&self) -> &MemoryStore {
        &self.written
    }

    /// How many batches have been written.
    pub const fn batches(&self) -> u64 {
        self.batches
    }

    /// How fast it is from here on.
    pub const fn set_pace(&mut self, pace: Pace) {
        self.pace = pace;
    }

    fn carry_out(&mut self, request: Request) {
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
                    unreachable!("it was put there")
                };
                self.written.store(ticket, batch)
            }
        };
    }
}

impl Storage for Disk {
    fn takes(&mut self) -> Option<Duration> {
        if self.waiting.is_empty() || core::mem::replace(&mut self.is_asked, true) {
            return None;
        }
        let spread =
            u64::try_from(self.pace.most.saturating_sub(self.pace.least).as_nanos()).unwrap_or(u64::MAX);
        let more = Duration::from_nanos(self.stream.below(spread.saturating_add(1)));
        Some(self.pace.least.saturating_add(more))
    }

    /// Carries out some of what waits, in order.
    fn go_on(&mut self) {
        self.is_asked = false;
        for _ in 0..self.stream.below(self.waiting.len() as u64 + 1).max(1) {
            let Some(request) = self.waiting.pop_front() else { break };
            self.carry_out(request);
        }
    }

    fn restart(&mut self) {
        self.waiting.clear();
        self.is_asked = false;
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
        self.waiting.len() >= self.pace.congested
    }
}
