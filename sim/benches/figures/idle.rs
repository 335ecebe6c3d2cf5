//! Networks in which little happens.

use std::net::SocketAddr;

use andon_bitcoin::client::{Client, Config, Discovery, Endpoint};
use andon_bitcoin::server;
use andon_bitcoin::wire::{Host as HostName, NodeAddress};
use andon_kernel::MemoryStore;
use andon_sim::nodes::Origin;
use andon_sim::random::Stream;
use andon_sim::world::{Host, Links, Place, Time, World};
use bitcoin::Network;
use bitcoin::p2p::ServiceFlags;

use crate::clients::{BEGINS, Member, Real, Tally, add_servers, address, chain, watch};
use crate::measure::{Wanted, figure, median, seconds};

const RUNS: u64 = 5;

pub(crate) fn run() {
    for (servers, hours, wanted, other) in [(200, 2000, 20_000.0, Some(29.6)), (10_000, 1000, 50_000.0, None)]
    {
        let rate = median(RUNS, |seed| {
            let mut world = discovering(seed, servers);
            let limit = Time::from_secs(3600 * hours);
            let seconds = seconds(|| world.run_until(limit));
            f64::from(servers + 1) * (hours - 1) as f64 / seconds
        });
        let what = format!("1 client, {servers} servers");
        figure(&what, rate, "node-hours/s", Wanted::AtLeast(wanted), other);
    }
    let rate = median(3, |seed| {
        let mut real = Real::new(seed, 1090, false);
        real.sync();
        let seconds = seconds(|| real.follow(12));
        1000.0 * 2.0 / seconds
    });
    figure(
        "1,000 clients that follow blocks, 90 servers",
        rate,
        "node-hours/s",
        Wanted::AtLeast(250.0),
        None,
    );
}

/// A client that is told of all servers by the first, connects to eight and has been synced for a while.
fn discovering(seed: u64, servers: u32) -> World<Member> {
    let mut stream = Stream::new(seed);
    let mut config = server::Config::new(Network::Regtest, [0; 32]);
    let services = ServiceFlags::NETWORK | ServiceFlags::WITNESS | ServiceFlags::COMPACT_FILTERS;
    config.addresses = (0..servers.min(1000))
        .map(|node| {
            let addr = address(node);
            let time = BEGINS.as_secs() as u32;
            NodeAddress { time, services, host: HostName::Ip(addr.ip()), port: addr.port() }
        })
        .collect();
    let origin = Origin::new(config, chain());
    let mut world = World::new(seed, BEGINS, Links::internet());
    add_servers(&mut world, &mut stream, &origin, servers);
    let mut config = Config::new(Network::Regtest, stream.seed());
    config.discovery = Some(Discovery::default());
    config.peers = vec![Endpoint::Address(address(0))];
    let host = Host::new(Client::new(config), MemoryStore::new(), Tally::default());
    let id = world.add(Place::at(SocketAddr::from(([99, 1, 1, 1], 18_444))), Member::Client(Box::new(host)));
    world.run_until(Time::ZERO);
    watch(&mut world, id);
    world.run_until(Time::from_secs(3600));
    let tally = world.node(id).tally().unwrap();
    assert!(tally.synced > 0 && tally.peers > 8, "{} peers", tally.peers);
    world
}
