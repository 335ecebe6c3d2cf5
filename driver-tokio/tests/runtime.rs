//! The suite that every driver passes, over this one as a task of a runtime with several threads, which all tests share.

use std::io;
use std::net::SocketAddr;
use std::sync::LazyLock;

use andon_driver_conformance::Driver;
use andon_kernel::{Machine, Store};
use andon_tokio::{Handle, Options, Waker};
use tokio::runtime::{Builder, Runtime};

andon_driver_conformance::conformance!(of OnRuntime);

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime"));

/// The driver, on that runtime.
struct OnRuntime(andon_tokio::Driver);

impl Driver for OnRuntime {
    fn new(options: Options) -> io::Result<Self> {
        andon_tokio::Driver::new(options).map(Self)
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
        self.0.spawn_on(RUNTIME.handle(), machine, store)
    }
}
