//! A client at work on a data directory.

use std::path::Path;

use andon_bitcoin::client::{Client, Command, Config, Event, views};
use andon_driver::Handle;
use andon_store::{Options, SqliteStore};

use crate::error::Error;
use crate::interrupt::Interrupt;
use crate::recording::Recording;
use crate::runtime::Runtime;
use crate::store;

/// Starts a client that keeps its data in `data_dir`, where other programs find views of it, and records its run if that is
/// wanted. Ctrl-C stops it.
///
/// # Errors
/// If the directory or the system refuses.
pub(crate) fn start<R: Runtime>(
    config: Config,
    data_dir: &Path,
    recording: &Recording,
    interrupt: &Interrupt,
) -> Result<Handle<Command, Event>, Error> {
    let network = config.network;
    let mut options = Options::default();
    options.views = views();
    let open = |waker: andon_driver::Waker| SqliteStore::open_with(data_dir, &options, move || waker.wake());
    let started = match recording.begin()? {
        None => R::start(Client::new(config), None, open),
        Some(file) => R::start(file.record::<Client>(config, recording.limit()), None, open),
    };
    let (client, _) = started.map_err(|error| {
        recording.discard();
        store::start_error(error, network, data_dir)
    })?;
    interrupt.on_request(client.stopper());
    Ok(client)
}
