//! The light client for the command line, on mio.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use andon::runtime::{Received, RunError, Running, Runtime, StartError, Started, Wake};
use andon_kernel::{Machine, Store};
use andon_mio::{Driver, DriverError, Handle, Options};

fn main() -> ExitCode {
    andon::run::<Mio>()
}

struct Mio;

impl Runtime for Mio {
    fn start<M, S, E>(
        machine: M,
        listen: Option<SocketAddr>,
        open: impl FnOnce(Wake) -> Result<S, E>,
    ) -> Result<Started<M::Command, M::Event>, StartError<E>>
    where
        M: Machine + Send + 'static,
        M::Command: Send + 'static,
        M::Event: Send + 'static,
        S: Store + Send + 'static,
        S::Error: Send + Sync,
    {
        let options = Options { listen: listen.into_iter().collect(), ..Options::default() };
        let driver = Driver::new(options).map_err(StartError::Driver)?;
        let listening = driver.local_addresses().first().copied();
        let waker = driver.waker();
        let store = open(Box::new(move || waker.wake())).map_err(StartError::Store)?;
        let handle = driver.spawn(machine, store).map_err(StartError::Driver)?;
        Ok(Started { running: Box::new(Under(handle)), listening })
    }
}

struct Under<C, E>(Handle<C, E>);

impl<C, E> Running<C, E> for Under<C, E> {
    fn command(&self, command: C) -> bool {
        self.0.command(command).is_ok()
    }

    fn receive(&self, timeout: Duration) -> Received<E> {
        match self.0.recv_timeout(timeout) {
            andon_mio::Received::Event(event) => Received::Event(event),
            andon_mio::Received::TimedOut => Received::TimedOut,
            andon_mio::Received::Ended => Received::Ended,
        }
    }

    fn stop(&self) {
        self.0.stop();
    }

    fn stopper(&self) -> Box<dyn Fn() + Send> {
        let stopper = self.0.stopper();
        Box::new(move || stopper.stop())
    }

    fn join(self: Box<Self>) -> Result<(), RunError> {
        self.0.join().map_err(|error| match error {
            DriverError::Io(error) => RunError::Network(error),
            DriverError::Store(error) => RunError::Store(error),
            DriverError::Panicked(message) => RunError::Panicked(message),
            other => RunError::Other(other.to_string()),
        })
    }
}
