//! Rows on a disk that crashes at will.

use andon_bitcoin::addresses::{ADDRESSES, AddressBook, Grouping, Restored, Restoring, RowError};
use andon_kernel::{BatchWriter, MemoryStore, Outbox, Output, Rng, Space, Store, Ticket};

/// What is durable.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    store: MemoryStore,
    batches: u64,
}

impl Disk {
    /// Makes a batch durable. Returns how many changes it had.
    pub(crate) fn write(&mut self, write: impl FnOnce(&mut BatchWriter<'_>)) -> usize {
        let mut out = Outbox::<()>::new();
        self.batches += 1;
        out.store(Ticket::new(self.batches), write);
        let Some(Output::Store { ticket, batch }) = out.pop() else { panic!("a batch was stored") };
        self.store.store(ticket, batch).unwrap();
        batch.changes().len()
    }

    /// How many batches were made durable.
    pub(crate) const fn batches(&self) -> u64 {
        self.batches
    }

    pub(crate) fn rows(&self, space: Space) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.store.rows(space).map(|(key, value)| (key.to_vec(), value.to_vec())).collect()
    }
}

/// The book that rows make, what came of them, and the errors.
pub(crate) fn restore(
    rows: &[(Vec<u8>, Vec<u8>)],
    grouping: Grouping,
) -> (AddressBook, Restored, Vec<RowError>) {
    let mut restoring = Restoring::new(grouping, &mut Rng::new([77; 32]));
    let errors = rows.iter().filter_map(|(key, value)| restoring.take(key, value).err()).collect();
    let (book, restored) = restoring.finish();
    (book, restored, errors)
}

/// The rows that a book has.
pub(crate) fn rows_of(book: &mut AddressBook) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut disk = Disk::default();
    disk.write(|batch| book.store(batch));
    disk.rows(ADDRESSES)
}
