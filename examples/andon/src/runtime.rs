//! What the program runs on: a driver, whichever. Each feature of this package brings one, and each program names one;
//! nothing else here knows which.

use std::io;
use std::net::SocketAddr;

use andon_driver::{Handle, Options, Waker};
use andon_kernel::{Machine, Store};

/// A driver that has its sockets and no machine yet. All drivers have these methods, and give the same [`Handle`].
pub trait Runtime: Sized {
    /// The name of the program that runs on this driver.
    const PROGRAM: &'static str;

    /// Binds the sockets that `options` name.
    ///
    /// # Errors
    /// If an address can't be bound, or the system has no room for a driver.
    fn bind(options: Options) -> io::Result<Self>;

    /// Where connections are accepted, in the order of [`Options::listen`].
    fn local_addresses(&self) -> &[SocketAddr];

    /// What a store with a thread of its own calls when a request is complete.
    fn waker(&self) -> Waker;

    /// Runs a machine over a store, on a thread of its own.
    ///
    /// # Errors
    /// If the system has no room for it.
    fn spawn<M, S>(self, machine: M, store: S) -> io::Result<Handle<M::Command, M::Event>>
    where
        M: Machine + Send + 'static,
        M::Command: Send + 'static,
        M::Event: Send + 'static,
        S: Store + Send + 'static,
        S::Error: Send + Sync;

    /// All of it: binds, opens the store, which is given what wakes the driver, and runs the machine. Beside the handle
    /// where it accepts connections, if it was asked to.
    ///
    /// # Errors
    /// If the driver can't be set up, or as `open`.
    #[expect(clippy::type_complexity, reason = "two values, one of which takes two types")]
    fn start<M, S, E>(
        machine: M,
        listen: Option<SocketAddr>,
        open: impl FnOnce(Waker) -> Result<S, E>,
    ) -> Result<(Handle<M::Command, M::Event>, Option<SocketAddr>), StartError<E>>
    where
        M: Machine + Send + 'static,
        M::Command: Send + 'static,
        M::Event: Send + 'static,
        S: Store + Send + 'static,
        S::Error: Send + Sync,
    {
        let options = Options { listen: listen.into_iter().collect(), ..Options::default() };
        let driver = Self::bind(options).map_err(StartError::Driver)?;
        let listening = driver.local_addresses().first().copied();
        let store = open(driver.waker()).map_err(StartError::Store)?;
        let handle = driver.spawn(machine, store).map_err(StartError::Driver)?;
        Ok((handle, listening))
    }
}

/// Why a machine could not be started.
#[derive(Debug)]
pub enum StartError<E> {
    /// The system refused the driver something: a socket, a thread, the address to listen on.
    Driver(io::Error),
    /// The store could not be opened.
    Store(E),
}

#[cfg(any(feature = "mio", feature = "smol", feature = "tokio"))]
macro_rules! runtime {
    ($driver:ty, $program:literal) => {
        impl Runtime for $driver {
            const PROGRAM: &'static str = $program;

            fn bind(options: Options) -> io::Result<Self> {
                Self::new(options)
            }

            fn local_addresses(&self) -> &[SocketAddr] {
                self.local_addresses()
            }

            fn waker(&self) -> Waker {
                self.waker()
            }

            fn spawn<M, S>(self, machine: M, store: S) -> io::Result<Handle<M::Command, M::Event>>
            where
                M: Machine + Send + 'static,
                M::Command: Send + 'static,
                M::Event: Send + 'static,
                S: Store + Send + 'static,
                S::Error: Send + Sync,
            {
                self.spawn(machine, store)
            }
        }
    };
}

#[cfg(feature = "mio")]
runtime!(andon_mio::Driver, "andon-mio");
#[cfg(feature = "smol")]
runtime!(andon_smol::Driver, "andon-smol");
#[cfg(feature = "tokio")]
runtime!(andon_tokio::Driver, "andon-tokio");
