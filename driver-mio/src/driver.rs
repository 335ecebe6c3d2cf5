//! A driver before it runs: its sockets are bound, and it waits for a machine and a store.

use std::io;
use std::net::SocketAddr;
use std::thread;

use andon_driver::{Handle, Options, Rounds, Waker, ends};
use andon_kernel::{Machine, Store};
use mio::Poll;

use crate::sockets::{Sockets, WAKER};
use crate::wait::run;

/// A driver that has its sockets and no machine yet.
#[derive(Debug)]
pub struct Driver {
    options: Options,
    addresses: Vec<SocketAddr>,
    datagram_address: Option<SocketAddr>,
    waker: Waker,
    poll: Poll,
    sockets: Sockets,
}

impl Driver {
    /// Binds the sockets that `options` name. Those who connect from here on are accepted when the machine runs.
    ///
    /// # Errors
    /// If an address can't be bound, as when its port is in use, or the system has no room for a driver.
    pub fn new(options: Options) -> io::Result<Self> {
        let poll = Poll::new()?;
        let interrupt = mio::Waker::new(poll.registry(), WAKER)?;
        let waker = Waker::new(move || interrupt.wake());
        let sockets = Sockets::bind(poll.registry().try_clone()?, &options)?;
        let (addresses, datagram_address) = (sockets.listening()?, sockets.datagrams()?);
        Ok(Self { options, addresses, datagram_address, waker, poll, sockets })
    }

    /// Where the driver accepts connections, in the order of [`Options::listen`]; ports that the system chose are known.
    pub fn local_addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where the socket for datagrams is bound, if there is one.
    pub fn datagram_address(&self) -> Option<SocketAddr> {
        self.datagram_address
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
        let Self { options, waker, poll, sockets, .. } = self;
        let (handle, end) = ends(&options, waker.clone());
        let rounds = Rounds::new(machine, store, sockets, &options, &end);
        let work = move || end.run(move || run(rounds, poll, &waker));
        thread::Builder::new().name("andon-mio".to_owned()).spawn(work)?;
        Ok(handle)
    }
}
