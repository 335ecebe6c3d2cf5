//! The suite that every driver passes, over this one under an executor that knows nothing of async-io: it polls a future
//! whenever that was woken, and parks in between.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Wake};
use std::thread::{self, Thread};

use andon_driver_conformance::Driver;
use andon_kernel::{Machine, Store};
use andon_smol::{Handle, Options, Waker};

andon_driver_conformance::conformance!(of OnExecutor);

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn execute(future: impl Future<Output = ()>) {
    let waker = Arc::new(Unpark(thread::current())).into();
    let mut future = pin!(future);
    while future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
        thread::park();
    }
}

/// The driver, under that executor.
struct OnExecutor(andon_smol::Driver);

impl Driver for OnExecutor {
    fn new(options: Options) -> io::Result<Self> {
        andon_smol::Driver::new(options).map(Self)
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
        let (handle, future) = self.0.future(machine, store)?;
        thread::Builder::new().spawn(move || execute(future))?;
        Ok(handle)
    }
}
