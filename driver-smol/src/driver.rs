//! A driver before it runs: its sockets are bound, and it waits for a machine, a store and an executor.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::thread;

use andon_driver::{Bound, Handle, Options, Signals, Task, Waker, ends};
use andon_kernel::{Machine, Store};

use crate::sockets::Sockets;

/// A driver that has its sockets and no machine yet.
#[derive(Debug)]
pub struct Driver {
    options: Options,
    bound: Bound,
    signals: Signals,
}

impl Driver {
    /// Binds the sockets that `options` name. Those who connect from here on are accepted when the machine runs.
    ///
    /// # Errors
    /// If an address can't be bound, as when its port is in use.
    pub fn new(options: Options) -> io::Result<Self> {
        let bound = Bound::new(&options)?;
        Ok(Self { options, bound, signals: Signals::new() })
    }

    /// Where the driver accepts connections, in the order of [`Options::listen`]; ports that the system chose are known.
    pub fn local_addresses(&self) -> &[SocketAddr] {
        self.bound.addresses()
    }

    /// Where the socket for datagrams is bound, if there is one.
    pub fn datagram_address(&self) -> Option<SocketAddr> {
        self.bound.datagram_address()
    }

    /// What a store with a thread of its own calls when a request is complete.
    pub fn waker(&self) -> Waker {
        self.signals.waker().clone()
    }

    /// A future that runs `machine` over `store`, for any executor, and the application's end of it. The future is ready
    /// when the driver has ended: it waits for a thread that closes its sockets and its store, since that may take its time.
    /// Dropped before the end, it closes everything at once.
    ///
    /// # Errors
    /// If the system has no room for the sockets' registration.
    #[expect(clippy::type_complexity, reason = "two values, and what the second is can't be named")]
    pub fn future<M, S>(
        self,
        machine: M,
        store: S,
    ) -> io::Result<(Handle<M::Command, M::Event>, impl Future<Output = ()> + Send + 'static)>
    where
        M: Machine + Send + 'static,
        S: Store + Send + 'static,
        S::Error: Send + Sync,
        M::Command: Send,
        M::Event: Send,
    {
        let (handle, end) = ends(&self.options, self.waker());
        let sockets = Sockets::new(self.signals.clone(), self.bound.listeners, self.bound.datagrams)?;
        Ok((handle, Task::new(machine, store, sockets, &self.options, self.signals, end)))
    }

    /// Starts a thread, named `andon-smol`, that runs `machine` over `store`.
    ///
    /// # Errors
    /// If the system has no room for a thread, or for the sockets' registration.
    pub fn spawn<M, S>(self, machine: M, store: S) -> io::Result<Handle<M::Command, M::Event>>
    where
        M: Machine + Send + 'static,
        S: Store + Send + 'static,
        S::Error: Send + Sync,
        M::Command: Send,
        M::Event: Send,
    {
        let (handle, future) = self.future(machine, store)?;
        let work = move || async_io::block_on(future);
        thread::Builder::new().name("andon-smol".to_owned()).spawn(work)?;
        Ok(handle)
    }
}
