//! The application's end of the light client in [`andon_bitcoin::client`]: the same over every driver, for plain threads and for
//! tasks of any executor.
//!
//! ```
//! use std::net::{Ipv4Addr, SocketAddr};
//!
//! use andon_bitcoin::client::{self, Birthday, Budget, Endpoint, Event, PauseReason};
//! use andon_bitcoin::{fixture, server};
//! use andon_client::Client;
//! use andon_kernel::MemoryStore;
//! use bitcoin::Network;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // A node on this machine, which serves a small real chain.
//! let fixture = fixture::regtest();
//! let chain = server::Chain::new(fixture.chain.iter().map(|block| block.block()))?;
//! let node = server::Server::new(server::Config::new(Network::Regtest, [1; 32]), chain);
//! let listen = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))];
//! let driver = andon_mio::Driver::new(andon_mio::Options { listen, ..Default::default() })?;
//! let address = driver.local_addresses()[0];
//! let node = driver.spawn(node, MemoryStore::new())?;
//!
//! // A client of it. Any driver will do; a wallet has the `SqliteStore` of `andon_store`, and a seed from the system.
//! let mut config = client::Config::new(Network::Regtest, [2; 32]);
//! config.peers = vec![Endpoint::Address(address)];
//! config.discovery = None;
//! let driver = andon_mio::Driver::new(andon_mio::Options::default())?;
//! let handle = driver.spawn(client::Client::new(config), MemoryStore::new())?;
//! let (client, mut events, ending) = Client::new(handle, Network::Regtest);
//!
//! // What is found is told in events, which somebody reads.
//! let reader = std::thread::spawn(move || {
//!     events.blocking_iter().filter(|event| matches!(event, Event::Touched(_))).count()
//! });
//!
//! // Requests are futures, and can be waited for without any executor.
//! let scripts = fixture.watch_scripts.iter().map(|script| script.to_owned().into());
//! client.watch(scripts, Birthday::Height(0)).wait()?;
//! let outcome = client.sync_once(Budget::default()).wait()?;
//! assert_eq!(outcome.reason, PauseReason::Synced);
//! let tip = client.tip().wait()?;
//! assert_eq!(tip.block.height as usize, fixture.chain.len() - 1);
//!
//! client.shutdown();
//! ending.join()?;
//! assert!(reader.join().unwrap() >= fixture.expected.len());
//! # node.stop();
//! # node.join()?;
//! # Ok(())
//! # }
//! ```
//!
//! - [`Client`] asks. It is `Clone + Send + Sync`; each of its methods that gives a [`Request`] asks for one thing, and the request
//!   completes exactly once: with what was asked for, or with a [`RequestError`]. It can have a deadline, and dropping it gives it up.
//! - [`Events`] tells what nobody asked for, in order: findings, progress, peers, warnings. One reader, blocking or awaiting.
//! - [`Ending`](andon_driver::Ending) says why the driver ended.
//! - [`Life`] follows one transaction that is broadcast.
//!
//! # Events must be read, or let go
//!
//! They wait in a bounded queue. While it is full nothing is read from the network, so that a slow application slows its client
//! down, and what is stored completes no more. Requests for what is at hand go on, and so do deadlines; those that need the network or
//! the store wait until events are taken, and so does what was asked before the client had read what is stored. When as many events
//! again have come from timers and commands alone, nothing goes on but a stop.
//!
//! So a thread that reads the events does not wait for a request without a deadline: it [starts](Request::start) it and goes on reading,
//! [lets it go](Request::detach), or leaves it to another thread. A task awaits both at once. An application that wants no events drops
//! [`Events`]: they are not kept then, and nothing waits for them.
//!
//! # What a crash leaves
//!
//! With [`Config::acknowledged`](andon_bitcoin::client::Config::acknowledged) each group of findings is followed by an
//! [`Event::Mark`](andon_bitcoin::client::Event::Mark). An application keeps what it was told up to there, and then gives the mark to
//! [`Client::acknowledge`]. After a crash at any instant nothing is told again that had been acknowledged, and everything else is. What
//! had been kept and not acknowledged comes once more, perhaps under a later mark: so it is kept by what it is (its transaction,
//! its output or input).

mod answers;
mod client;
mod desk;
mod events;
mod life;
mod parking;
mod request;
mod requests;

pub mod migration {
    #![doc = include_str!("migration.md")]

    #[cfg(doc)]
    use {crate::Client, andon_bitcoin::client::Event};
}

pub use answers::{Exported, Imported, RequestError, SpendSearch, SyncOutcome};
pub use client::Client;
pub use events::{Events, Next};
pub use life::{Changed, Life};
pub use request::Request;

/// What holds on every driver, whatever it is.
const _: () = {
    const fn is_shared<T: Clone + Send + Sync + 'static>() {}
    const fn is_future<T: Future + Unpin + Send + Sync + 'static>() {}
    is_shared::<Client>();
    is_future::<Request<andon_bitcoin::client::ChainTip>>();
    const fn is_sent<T: Send + Sync + 'static>() {}
    is_sent::<Events>();
    is_sent::<Life>();
};
