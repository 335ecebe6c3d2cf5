//! A store that a test can look into, damage, and cut short at any batch.

use std::collections::BTreeMap;
use std::convert::Infallible;

use andon_kernel::{Batch, Completion, MemoryStore, Names, Outbox, Output, Scan, Space, Store, Ticket};

/// All rows, by space and key.
pub(crate) type Dump = BTreeMap<(&'static str, Vec<u8>), Vec<u8>>;

/// Each space that any version writes.
const SPACES: [Space; 15] = [
    Space::new("meta"),
    Space::new("headers"),
    Space::new("filter_headers"),
    Space::new("hashes"),
    Space::new("staged"),
    Space::new("watched"),
    Space::new("touches"),
    Space::new("outputs"),
    Space::new("filters"),
    Space::new("cached"),
    Space::new("broadcasts"),
    Space::new("watch"),
    Space::new("touch"),
    Space::new("header"),
    Space::new("filter_header"),
];

/// Keeps everything in memory, up to the batch at which the process is to end.
#[derive(Clone, Default)]
pub(crate) struct Shelf {
    memory: MemoryStore,
    /// How many more batches are written. `None`: all are.
    left: Option<usize>,
    /// How many batches were written.
    pub(crate) written: usize,
    cut: bool,
}

impl Shelf {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// The process ends after this many more batches: nothing that is asked for later is done.
    pub(crate) fn cut_after(mut self, batches: usize) -> Self {
        self.left = Some(batches);
        self
    }

    /// Whether the process has ended so.
    pub(crate) fn is_cut(&self) -> bool {
        self.cut
    }

    /// As the next process finds it.
    pub(crate) fn restart(&mut self) {
        self.memory.restart();
        (self.left, self.cut, self.written) = (None, false, 0);
    }

    pub(crate) fn dump(&self) -> Dump {
        let row = |space: Space| {
            let rows = self.memory.rows(space);
            rows.map(move |(key, value)| ((space.name(), key.to_vec()), value.to_vec()))
        };
        SPACES.into_iter().flat_map(row).collect()
    }

    /// The rows of a space.
    pub(crate) fn rows(&self, space: &'static str) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.memory.rows(Space::new(space)).map(|(key, value)| (key.to_vec(), value.to_vec())).collect()
    }

    pub(crate) fn get(&self, space: &'static str, key: &[u8]) -> Option<Vec<u8>> {
        self.rows(space).into_iter().find(|(at, _)| at == key).map(|(_, value)| value)
    }

    pub(crate) fn put(&mut self, space: &'static str, key: &[u8], value: &[u8]) {
        self.change(|batch| batch.put(Space::new(space), key, value));
    }

    pub(crate) fn put_all(
        &mut self,
        space: &'static str,
        rows: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>,
    ) {
        self.change(|batch| {
            rows.into_iter().for_each(|(key, value)| batch.put(Space::new(space), &key, &value))
        });
    }

    pub(crate) fn delete(&mut self, space: &'static str, key: &[u8]) {
        let after = [key, &[0]].concat();
        self.change(|batch| batch.delete(Space::new(space), key, &after));
    }

    pub(crate) fn clear(&mut self, space: &'static str) {
        self.change(|batch| batch.delete_from(Space::new(space), &[]));
    }

    fn change(&mut self, write: impl FnOnce(&mut andon_kernel::BatchWriter<'_>)) {
        let mut outbox: Outbox<()> = Outbox::new();
        outbox.store(Names::default().ticket(), write);
        let Some(Output::Store { ticket, batch }) = outbox.pop() else { panic!("it was put there") };
        let mut memory = self.memory.clone();
        memory.restart();
        let Ok(()) = memory.store(ticket, batch);
        memory.restart();
        self.memory = memory;
    }
}

impl Store for Shelf {
    type Error = Infallible;

    fn load(&mut self, scan: Scan<'_>) -> Result<(), Infallible> {
        if self.cut { Ok(()) } else { self.memory.load(scan) }
    }

    fn store(&mut self, ticket: Ticket, batch: Batch<'_>) -> Result<(), Infallible> {
        self.cut |= self.left == Some(0);
        if self.cut {
            return Ok(());
        }
        self.left = self.left.map(|left| left - 1);
        self.written += 1;
        self.memory.store(ticket, batch)
    }

    fn complete(&mut self) -> Result<Option<Completion<'_>>, Infallible> {
        if self.cut { Ok(None) } else { self.memory.complete() }
    }

    fn outstanding(&self) -> usize {
        self.memory.outstanding()
    }

    fn is_congested(&self) -> bool {
        false
    }
}
