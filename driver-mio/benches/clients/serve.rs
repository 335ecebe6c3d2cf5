//! A node.

use std::io::{Read as _, stdin};
use std::net::{Ipv4Addr, SocketAddr};

use andon_bitcoin::server::{Chain, Config, Server};
use andon_kernel::MemoryStore;
use andon_mio::{Driver, Options};
use bitcoin::Network;

use crate::blocks::{Miner, fixture, script};

/// More than there are clients.
const MAX_PEERS: usize = 10_000;

/// Serves the fixture's chain and so many blocks after it, tells where, and ends with standard input.
pub(crate) fn run(length: u32) {
    let mut blocks = fixture();
    let mut miner = Miner::after(&blocks);
    blocks.extend((0..length).map(|number| miner.mine(&script(1_000_000 + number), 0)));
    let listen = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))];
    let driver = Driver::new(Options { listen, max_connections: MAX_PEERS, ..Options::default() }).unwrap();
    let address = driver.local_addresses()[0];
    let mut config = Config::new(Network::Regtest, [5; 32]);
    config.max_peers = MAX_PEERS;
    let server = driver.spawn(Server::new(config, Chain::new(blocks).unwrap()), MemoryStore::new()).unwrap();
    let (application, ending) = server.split();
    println!("{address}");
    let stopper = application.stopper();
    let events = std::thread::spawn(move || while application.recv().is_some() {});
    stdin().read_to_end(&mut Vec::new()).unwrap();
    stopper.stop();
    events.join().unwrap();
    ending.join().unwrap();
}
