//! What nodes take.

use andon_bitcoin::server;
use andon_kernel::{Instant, Now, UnixTime};
use andon_sim::nodes::Origin;
use andon_sim::policy::{Address, Saved, Source, Told};
use andon_sim::random::Stream;
use andon_sim::world::{Links, Time, World};
use bitcoin::Network;

use crate::clients::{BEGINS, Real, add_servers, chain};
use crate::measure::{Wanted, figure, resident};

const KIB: f64 = 1024.0;

pub(crate) fn run() {
    stubs();
    // Each in a process of its own: what one gives back another would take up.
    for name in ["own", "core-28", "core-0.9.3", "kyoto-0.2", "btcd"] {
        crate::run_apart(&["--book", name]);
    }
}

/// Nodes that nobody has dialled.
fn stubs() {
    let origin = Origin::new(server::Config::new(Network::Regtest, [0; 32]), chain());
    let before = resident();
    let mut world = World::new(1, BEGINS, Links::internet());
    let nodes = 200_000;
    add_servers(&mut world, &mut Stream::new(1), &origin, nodes);
    world.run_until(Time::ZERO);
    let each = (resident() - before) / f64::from(nodes);
    figure("a node that sleeps", each, "bytes", Wanted::AtMost(256.0), None);
}

/// Nodes that are a book and the rules of dialling: each was told of 1,000 addresses by ten peers, and has reached 100.
pub(crate) fn book(name: &str) {
    let make = andon_sim::policy::load(name, toml::Table::new()).unwrap();
    let nodes = 2000;
    let mut stream = Stream::new(2);
    let any = |stream: &mut Stream| Address { ip: stream.u64() as u32 >> 1 | 1 << 30, port: 8333 };
    let known: Vec<Address> = (0..1000).map(|_| any(&mut stream)).collect();
    let peers: Vec<Address> = (0..10).map(|_| any(&mut stream)).collect();
    let now = Now { instant: Instant::ZERO, unix: UnixTime::from_secs(1_800_000_000) };
    let time = 1_799_990_000;
    let before = resident();
    let all: Vec<_> = (0..nodes)
        .map(|node| {
            let mut policy = make(&Stream::new(node).fork("policy"));
            let saved = known.iter().enumerate().map(|(index, &address)| Saved {
                address,
                source: Source::Peer(peers[index % peers.len()]),
                time,
                reached: (index % 10 == 0).then_some(time),
            });
            policy.load(now, &saved.collect::<Vec<_>>());
            policy.start(now);
            let told: Vec<Told> = known.iter().map(|&address| Told { address, time, serves: true }).collect();
            policy.hear(now, Source::Peer(peers[0]), &told, true);
            policy
        })
        .collect();
    let each = (resident() - before) / KIB / nodes as f64;
    drop(all);
    figure(&format!("a node of policy {name}, 1,000 addresses"), each, "KiB", Wanted::AtMost(64.0), None);
}

/// Real nodes, while they sync and when they follow.
pub(crate) fn run_many() {
    let nodes = 10_000;
    let before = resident();
    let mut real = Real::new(1, nodes, false);
    let begun = resident() - before;
    real.sync();
    let synced = resident() - before;
    real.follow(3);
    let followed = resident() - before;
    let each = |bytes: f64| bytes / KIB / f64::from(nodes);
    figure("a real node, just started", each(begun), "KiB", Wanted::Nothing, None);
    figure("a real node, synced", each(synced), "KiB", Wanted::Nothing, None);
    figure("a real node, following", each(followed), "KiB", Wanted::AtMost(64.0), None);
    figure("10,000 real nodes", followed / KIB / KIB, "MiB", Wanted::AtMost(1024.0), None);
}
