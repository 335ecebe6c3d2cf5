//! What the suite needs of a driver.

use std::io;
use std::net::SocketAddr;

use andon_driver::{Handle, Options, Waker};
use andon_kernel::{Machine, Store};

/// A driver whose sockets are bound and that waits for a machine and a store.
pub trait Driver: Sized {
    /// Binds the sockets that the options name.
    fn new(options: Options) -> io::Result<Self>;

    /// Where it accepts connections.
    fn local_addresses(&self) -> &[SocketAddr];

    /// Where the socket for datagrams is bound.
    fn datagram_address(&self) -> Option<SocketAddr>;

    /// What a store calls when a request is complete.
    fn waker(&self) -> Waker;

    /// Runs a machine over a store, in the background.
    fn spawn<M, S>(self, machine: M, store: S) -> io::Result<Handle<M::Command, M::Event>>
    where
        M: Machine + Send + 'static,
        S: Store + Send + 'static,
        S::Error: Send + Sync,
        M::Command: Send,
        M::Event: Send;
}
