//! A driver before it runs: its sockets are bound, and it waits for a machine and a store.

use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use andon_kernel::{Machine, Store};
use mio::{Poll, Token};

use crate::channel::{Commands, Events};
use crate::datagram::Datagrams;
use crate::handle::{DriverError, Handle, Shared, Stopper};
use crate::listener::Listener;
use crate::network::Network;
use crate::rounds::Rounds;
use crate::{Options, Waker};

/// The token of the waker.
pub(crate) const WAKER: Token = Token(0);
/// The token of the socket for datagrams.
pub(crate) const DATAGRAMS: Token = Token(1);
/// The token of the first listener; those of connections come after the last.
pub(crate) const FIRST_LISTENER: usize = 2;

/// A driver that has its sockets and no machine yet.
#[derive(Debug)]
pub struct Driver {
    options: Options,
    addresses: Vec<SocketAddr>,
    waker: Waker,
    sockets: Sockets,
}

/// What the system waits at, and what is bound.
#[derive(Debug)]
pub(crate) struct Sockets {
    pub(crate) poll: Poll,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) datagrams: Option<Datagrams>,
}

impl Driver {
    /// Binds the sockets that `options` name. Those who connect from here on are accepted when the machine runs.
    ///
    /// # Errors
    /// If an address can't be bound, as when its port is in use, or the system has no room for a driver.
    pub fn new(options: Options) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let mut listeners = Vec::new();
        for (index, address) in options.listen.iter().enumerate() {
            listeners.push(Listener::bind(poll.registry(), Token(FIRST_LISTENER + index), *address)?);
        }
        let bind = |address| Datagrams::bind(poll.registry(), DATAGRAMS, address);
        let datagrams = options.datagram.map(bind).transpose()?;
        let addresses = listeners.iter().map(Listener::address).collect();
        Ok(Self { options, addresses, waker, sockets: Sockets { poll, listeners, datagrams } })
    }

    /// Where the driver accepts connections, in the order of [`Options::listen`]; ports that the system chose are known.
    pub fn local_addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where the socket for datagrams is bound, if there is one.
    pub fn datagram_address(&self) -> Option<SocketAddr> {
        self.sockets.datagrams.as_ref().map(Datagrams::address)
    }

    /// What a store with a thread of its own calls when a request is complete.
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Starts a thread, named `andon-mio`, that runs `machine` over `store`.
    ///
    /// # Errors
    /// If the system has no room for a thread.
    pub fn spawn<M, S>(self, machine: M, store: S) -> io::Result<Handle<M::Command, M::Event>>
    where
        M: Machine + Send + 'static,
        S: Store + Send + 'static,
        S::Error: Send + Sync,
        M::Command: Send,
        M::Event: Send,
    {
        let Self { options, addresses: _, waker, sockets } = self;
        let registry = sockets.poll.registry().try_clone()?;
        let network = Network::new(registry, FIRST_LISTENER + sockets.listeners.len(), &options);
        let stopper = Stopper::new(waker.clone());
        let shared = Arc::new(Shared {
            commands: Commands::new(options.command_queue),
            events: Events::new(options.event_queue, waker.clone()),
        });
        let own = (Arc::clone(&shared), stopper.clone());
        let run = move || {
            let (shared, stopper) = own;
            let for_rounds = Arc::clone(&shared);
            // Nothing of what a panic leaves is used again: the rounds own it all, and only queues are shared.
            let result = catch_unwind(AssertUnwindSafe(|| {
                Rounds::new(machine, store, sockets, network, for_rounds, stopper, waker).run()
            }));
            // The sockets and the store are closed by now, so whoever hears of the end may open them again.
            drop(shared.commands.close());
            shared.events.end();
            result.unwrap_or_else(|payload| Err(DriverError::panicked(&*payload)))
        };
        let thread = thread::Builder::new().name("andon-mio".to_owned()).spawn(run)?;
        Ok(Handle::new(shared, stopper, thread))
    }
}
