//! Changes of what is on the disk, between two runs.

use andon_kernel::{BatchWriter, MemoryStore, Names, Outbox, Output, Store};

/// Changes what is written.
pub(crate) fn change(store: &mut MemoryStore, write: impl FnOnce(&mut BatchWriter<'_>)) {
    let mut outbox: Outbox<()> = Outbox::new();
    outbox.store(Names::default().ticket(), write);
    let Some(Output::Store { ticket, batch }) = outbox.pop() else { panic!("it was put there") };
    store.restart();
    let Ok(()) = store.store(ticket, batch);
    store.restart();
}
