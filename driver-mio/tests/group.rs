//! The suite that every driver passes, over this one in a group: all tests' machines share one thread.

use std::io;
use std::net::SocketAddr;
use std::sync::LazyLock;

use andon_driver_conformance::Driver;
use andon_kernel::{Machine, Store};
use andon_mio::{Group, Handle, Options, Waker};

andon_driver_conformance::conformance!(of InGroup);

static GROUP: LazyLock<Group> = LazyLock::new(|| Group::new().expect("a thread"));

/// The driver, in that group.
struct InGroup(andon_mio::Driver);

impl Driver for InGroup {
    fn new(options: Options) -> io::Result<Self> {
        GROUP.driver(options).map(Self)
    }

    fn local_addresses(&self) -> &[SocketAddr] {
        self.0.local_addresses()
    }

    fn datagram_address(&self) -> Option<SocketAddr> {
        self.0.datagram_address()
    }

    fn waker(&self) -> Waker {
        self.0.waker()
    }

    fn spawn<M, S>(self, machine: M, store: S) -> io::Result<Handle<M::Command, M::Event>>
    where
        M: Machine + Send + 'static,
        S: Store + Send + 'static,
        S::Error: Send + Sync,
        M::Command: Send,
        M::Event: Send,
    {
        self.0.spawn(machine, store)
    }
}
