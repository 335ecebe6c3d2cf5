//! A driver before it runs: its sockets are bound, and it waits for a machine, a store and a runtime.

use std::io;
use std::net::SocketAddr;
use std::thread;

use andon_driver::{Bound, DriverEnd, Handle, Options, Signals, Task, Waker, ends};
use andon_kernel::{Machine, Store};
use tokio::runtime::{Builder, Handle as Runtime};
use tokio::task::unconstrained;

use crate::sockets::Sockets;

/// A driver that has its sockets and no machine yet.
#[derive(Debug)]
pub struct Driver {
    options: Options,
    bound: Bound,
    signals: Signals,
}

impl Driver {
    /// Binds the sockets that `options` name. Those who connect from here on are accepted when the machine runs. Needs no
    /// runtime.
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

    /// Runs `machine` over `store` as one task of a runtime, which has to have its I/O and its time enabled. A runtime that
    /// is shut down before the driver has ended closes everything at once; else sockets and store are closed on a thread of
    /// their own, since a store may take its time for it.
    ///
    /// # Errors
    /// If the system has no room for the sockets' registration.
    ///
    /// # Panics
    /// If the runtime's I/O is not enabled.
    pub fn spawn_on<M, S>(
        self,
        runtime: &Runtime,
        machine: M,
        store: S,
    ) -> io::Result<Handle<M::Command, M::Event>>
    where
        M: Machine + Send + 'static,
        S: Store + Send + 'static,
        S::Error: Send + Sync,
        M::Command: Send,
        M::Event: Send,
    {
        let (handle, end) = ends(&self.options, self.waker());
        let _within = runtime.enter();
        let task = self.task(machine, store, end)?;
        // The driver's own rounds are bounded, and it gives way after each: tokio need not count its sockets.
        drop(runtime.spawn(unconstrained(task)));
        Ok(handle)
    }

    /// Starts a thread, named `andon-tokio`, with a runtime of its own, that runs `machine` over `store`.
    ///
    /// # Errors
    /// If the system has no room for a thread, or for a runtime.
    pub fn spawn<M, S>(self, machine: M, store: S) -> io::Result<Handle<M::Command, M::Event>>
    where
        M: Machine + Send + 'static,
        S: Store + Send + 'static,
        S::Error: Send + Sync,
        M::Command: Send,
        M::Event: Send,
    {
        let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
        let (handle, end) = ends(&self.options, self.waker());
        let within = runtime.enter();
        let task = self.task(machine, store, end)?;
        drop(within);
        let work = move || runtime.block_on(unconstrained(task));
        thread::Builder::new().name("andon-tokio".to_owned()).spawn(work)?;
        Ok(handle)
    }

    /// Within a runtime.
    fn task<M, S>(
        self,
        machine: M,
        store: S,
        end: DriverEnd<M::Command, M::Event>,
    ) -> io::Result<Task<M, S, Sockets>>
    where
        M: Machine,
        S: Store,
        S::Error: Send + Sync,
    {
        let sockets = Sockets::new(self.signals.clone(), self.bound.listeners, self.bound.datagrams)?;
        Ok(Task::new(machine, store, sockets, &self.options, self.signals, end))
    }
}
