//! Many machines on one thread, which has one wait for all of their sockets.

mod closing;
mod member;
mod place;
mod thread;

use std::io;
use std::sync::Arc;
use std::thread::Builder;

use andon_driver::Options;
use mio::Poll;

use crate::Driver;
pub(crate) use place::Place;
use place::Shared;
use thread::Members;

/// A thread, named `andon-mio`, that runs as many machines as are given to it, each as its own
/// [`Driver`](Driver::new) would: with its own store, options, [`Handle`](crate::Handle) and end.
///
/// - A machine costs the thread nothing while it has nothing to do: a wake-up is a round for those that it is for.
/// - Each has one round, a bounded piece of work, and then the others have theirs. Those whose deadline has come are first, but for those that stand in line already.
/// - What ends one, a store that fails or a panic, ends no other. Sockets and store of one that has ended are closed on a
///   second thread, since a store may take its time for it.
///
/// Machines come at any time. The group is a handle: when its last clone has been dropped, and every machine has ended,
/// the thread ends.
///
/// ```no_run
/// # use andon_kernel::{Machine, MemoryStore};
/// # fn run<M>(machines: Vec<M>) -> Result<(), Box<dyn std::error::Error>>
/// # where M: Machine + Send + 'static, M::Command: Send, M::Event: Send + std::fmt::Debug {
/// let group = andon_mio::Group::new()?;
/// let mut handles = Vec::new();
/// for machine in machines {
///     handles.push(group.driver(andon_mio::Options::default())?.spawn(machine, MemoryStore::new())?);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Group {
    shared: Arc<Shared>,
    /// As long as one is held the thread goes on.
    _hold: Arc<Hold>,
}

/// That somebody may still add machines.
#[derive(Debug)]
struct Hold(Arc<Shared>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.let_go();
    }
}

impl Group {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system has no room for one.
    pub fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let shared = Shared::new(poll.registry())?;
        let hold = Arc::new(Hold(Arc::clone(&shared)));
        let members = Members::new(poll, Arc::clone(&shared));
        Builder::new().name("andon-mio".to_owned()).spawn(move || members.run())?;
        Ok(Self { shared, _hold: hold })
    }

    /// As [`Driver::new`], for a machine that is to run on this group's thread: it does once the driver is
    /// [started](Driver::spawn).
    ///
    /// # Errors
    /// If an address can't be bound, as when its port is in use; or if there are as many machines as a group can have
    /// (65,536 on systems of 32 bits, and else as many as there is memory for).
    pub fn driver(&self, options: Options) -> io::Result<Driver> {
        Driver::in_group(Place::take(&self.shared)?, options)
    }
}
