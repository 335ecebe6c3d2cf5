//! A node on loopback that serves the bundled chain, and clients of it over each driver.
#![allow(clippy::unwrap_used, reason = "a test that can not go on has failed")]
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake};
use std::thread::{self, Thread};
use std::time::Duration;

use andon_bitcoin::client::{self, Endpoint, Event};
use andon_bitcoin::fixture::{self, Fixture};
use andon_bitcoin::server::{self, Server};
use andon_client::{Client, Events};
use andon_driver::{Ending, Handle, Options, Received, Waker};
use andon_kernel::{Machine, MemoryStore, Store};
use bitcoin::{Network, ScriptBuf};

/// Only keeps a failure from hanging.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// What all drivers can do.
pub trait Driver {
    fn spawn<M, S>(
        options: Options,
        machine: M,
        store: impl FnOnce(Waker) -> S,
    ) -> Handle<M::Command, M::Event>
    where
        M: Machine + Send + 'static,
        S: Store + Send + 'static,
        S::Error: Send + Sync,
        M::Command: Send,
        M::Event: Send;
}

macro_rules! driver {
    ($name:ident, $driver:ty) => {
        pub struct $name;

        impl Driver for $name {
            fn spawn<M, S>(
                options: Options,
                machine: M,
                store: impl FnOnce(Waker) -> S,
            ) -> Handle<M::Command, M::Event>
            where
                M: Machine + Send + 'static,
                S: Store + Send + 'static,
                S::Error: Send + Sync,
                M::Command: Send,
                M::Event: Send,
            {
                let driver = <$driver>::new(options).unwrap();
                let store = store(driver.waker());
                driver.spawn(machine, store).unwrap()
            }
        }
    };
}

driver!(Mio, andon_mio::Driver);
driver!(Smol, andon_smol::Driver);
driver!(Tokio, andon_tokio::Driver);

/// One `#[test]` for each driver and case.
#[macro_export]
macro_rules! over_each_driver {
    ($($case:ident)*) => {
        mod over_mio { $(#[test] fn $case() { super::$case::<super::common::Mio>(); })* }
        mod over_smol { $(#[test] fn $case() { super::$case::<super::common::Smol>(); })* }
        mod over_tokio { $(#[test] fn $case() { super::$case::<super::common::Tokio>(); })* }
    };
}

/// A node that serves the bundled chain up to a height.
pub struct Node {
    pub address: SocketAddr,
    handle: Option<Handle<server::Command, server::Event>>,
}

impl Node {
    pub fn start(fixture: &Fixture, tip: usize) -> Self {
        let blocks = fixture.chain[..=tip].iter().map(|block| block.block());
        let chain = server::Chain::new(blocks).unwrap();
        let mut config = server::Config::new(Network::Regtest, [1; 32]);
        config.transaction_delay = Duration::from_millis(1);
        let listen = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))];
        let driver = andon_mio::Driver::new(Options { listen, ..Options::default() }).unwrap();
        let address = driver.local_addresses()[0];
        let handle = driver.spawn(Server::new(config, chain), MemoryStore::new()).unwrap();
        Self { address, handle: Some(handle) }
    }

    pub fn whole(fixture: &Fixture) -> Self {
        Self::start(fixture, fixture.chain.len() - 1)
    }

    pub fn extend(&self, fixture: &Fixture, heights: std::ops::RangeInclusive<usize>) {
        let blocks = fixture.chain[heights].iter().map(|block| block.block()).collect();
        self.handle.as_ref().unwrap().command(server::Command::Extend(blocks)).unwrap();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(handle) = self.handle.take() {
            handle.stop();
            handle.join().unwrap();
        }
    }
}

pub fn fixture() -> Fixture {
    fixture::regtest()
}

pub fn scripts(fixture: &Fixture) -> Vec<ScriptBuf> {
    fixture.watch_scripts.iter().map(|&script| script.to_owned()).collect()
}

/// A client's configuration with these peers and nobody else.
pub fn config(peers: impl IntoIterator<Item = SocketAddr>) -> client::Config {
    let mut config = client::Config::new(Network::Regtest, [2; 32]);
    config.discovery = None;
    config.peers = peers.into_iter().map(Endpoint::Address).collect();
    config.retry_delay = Duration::from_millis(50);
    config
}

/// A client in memory.
pub fn start<D: Driver>(config: client::Config) -> (Client, Events, Ending) {
    start_with::<D>(Options::default(), config)
}

pub fn start_with<D: Driver>(options: Options, config: client::Config) -> (Client, Events, Ending) {
    let handle = D::spawn(options, client::Client::new(config), |_| MemoryStore::new());
    Client::new(handle, Network::Regtest)
}

/// Reads events until one that is looked for.
pub fn until(events: &mut Events, what: &str, mut is_it: impl FnMut(&Event) -> bool) -> Event {
    loop {
        match events.recv_timeout(PATIENCE) {
            Received::Event(event) if is_it(&event) => return event,
            Received::Event(_) => {}
            other => panic!("waiting for {what}: {other:?}"),
        }
    }
}

pub fn until_synced(events: &mut Events, height: usize) {
    until(events, "the sync", |event| matches!(event, Event::Synced(tip) if tip.height as usize == height));
}

/// Reads whatever comes, in the background.
pub fn read(mut events: Events) -> thread::JoinHandle<Vec<Event>> {
    thread::spawn(move || events.blocking_iter().collect())
}

/// Stops a client, and waits for that.
pub fn stop(client: Client, ending: Ending) {
    client.shutdown();
    ending.join().unwrap();
    assert!(!client.is_running());
    assert_eq!((client.open_requests(), client.waiting_commands()), (0, 0));
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// An executor that knows nothing of any other.
pub fn execute<F: Future>(future: F) -> F::Output {
    let waker = Arc::new(Unpark(thread::current())).into();
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        thread::park_timeout(PATIENCE);
    }
}
