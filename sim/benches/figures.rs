//! How fast worlds run, and what they take: `cargo bench -p andon-sim`. One thread; each figure is a median of several runs.

#![allow(clippy::unwrap_used, reason = "in a benchmark a panic is the report")]

use std::net::SocketAddr;
use std::time::{Duration, Instant as Clock};

use andon_bitcoin::client::{Birthday, Client, Command, Config, Discovery, Encryption, Endpoint, Event};
use andon_bitcoin::fixture::{FixtureBlock, regtest};
use andon_bitcoin::server::{self, Chain};
use andon_bitcoin::wire::{Host as HostName, NodeAddress};
use andon_kernel::{ConnId, Instant, MemoryStore, Now, UnixTime};
use andon_sim::nodes::{LazyServer, Origin};
use andon_sim::random::Stream;
use andon_sim::world::{Host, INTERNET, Links, Node, NodeId, NodeInput, Place, Port, Time, Watch, World};
use bitcoin::p2p::ServiceFlags;
use bitcoin::{Block, Network};

const RUNS: usize = 5;
const BEGINS: UnixTime = UnixTime::from_secs(1_800_000_000);

fn main() {
    if std::env::args().any(|arg| arg == "--test") {
        return; // `cargo test --benches` only wants to know that it builds.
    }
    println!("one thread, medians of {RUNS} runs\n");
    // A part alone, by its number.
    let only: Option<u32> = std::env::args().nth(1).and_then(|part| part.parse().ok());
    let wanted = |part: u32| only.is_none_or(|only| only == part);
    if wanted(1) {
        empty_nodes(100);
        empty_nodes(10_000);
    }
    if wanted(2) {
        compare_real_clients();
    }
    if wanted(3) {
        idle_network(200);
        idle_network(10_000);
    }
    if wanted(4) {
        memory();
    }
}

fn compare_real_clients() {
    let hundred = real_clients(100, Duration::from_secs(4 * 3600));
    let thousand = real_clients(1000, Duration::from_secs(1800));
    let ten_thousand = real_clients(10_000, Duration::from_secs(600));
    println!(
        "  events a second at 100 nodes and 1,000 beside 10,000: {:.2}, {:.2}",
        hundred / ten_thousand,
        thousand / ten_thousand
    );
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[allow(clippy::disallowed_methods, reason = "this is what is measured")]
fn timed(run: impl FnOnce()) -> f64 {
    let begin = Clock::now();
    run();
    begin.elapsed().as_secs_f64()
}

/// Answers each message by another of sixteen bytes.
struct Empty {
    dials: Option<SocketAddr>,
}

impl Node for Empty {
    fn turn(&mut self, _: Now, input: NodeInput<'_>, port: &mut Port<'_>) {
        match input {
            NodeInput::Start => {
                if let Some(addr) = self.dials {
                    port.connect(ConnId::dialled(0), addr);
                }
            }
            NodeInput::Connected { conn, .. } | NodeInput::Received { conn, .. } => port.send(conn, &[7; 16]),
            _ => {}
        }
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }
}

fn address(node: u32) -> SocketAddr {
    // Of the public network, each of another group as far as there are groups.
    let [_, a, b, c] = node.to_be_bytes();
    SocketAddr::from(([23 + c % 64, c, b, a.wrapping_add(1)], 18_444))
}

fn empty_nodes(nodes: u32) {
    let rates = (0..RUNS as u64).map(|seed| {
        let mut world = World::new(seed, BEGINS, Links::internet());
        let mut stream = Stream::new(seed);
        for node in 0..nodes {
            let dials = (node > 0).then(|| address(stream.below(node.into()) as u32));
            let region = INTERNET.pick(stream.u64());
            world.add(Place { region, ..Place::at(address(node)) }, Empty { dials });
        }
        world.run_until(Time::from_secs(5));
        let before = world.counts().events;
        let limit = 4_000_000;
        let seconds =
            timed(|| while world.counts().events < before + limit && world.step(Time::NEVER).is_some() {});
        limit as f64 / seconds
    });
    let rate = median(rates.collect());
    println!("{nodes:>6} empty nodes:              {:>8.2} million events a second", rate / 1e6);
}

#[derive(Default)]
struct Tally {
    synced: u32,
    peers: u32,
}

impl Watch<Event> for Tally {
    fn event(&mut self, _: Now, event: Event) {
        match event {
            Event::Synced(_) => self.synced += 1,
            Event::PeerConnected { .. } => self.peers += 1,
            _ => {}
        }
    }
}

#[allow(clippy::large_enum_variant, reason = "the other one is a box")]
enum Member {
    Server(LazyServer<()>),
    Client(Box<Host<Client, MemoryStore, Tally>>),
}

impl Node for Member {
    fn turn(&mut self, now: Now, input: NodeInput<'_>, port: &mut Port<'_>) {
        match self {
            Self::Server(node) => node.turn(now, input, port),
            Self::Client(node) => node.turn(now, input, port),
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Server(node) => node.deadline(),
            Self::Client(node) => node.deadline(),
        }
    }
}

fn chain() -> (Chain, Vec<Block>) {
    let blocks: Vec<Block> = regtest().chain.iter().map(FixtureBlock::block).collect();
    let (first, rest) = blocks.split_at(280);
    (Chain::new(first.to_vec()).unwrap(), rest.to_vec())
}

fn population(world: &mut World<Member>, stream: &mut Stream, origin: &std::rc::Rc<Origin>, nodes: u32) {
    for node in 0..nodes {
        let region = INTERNET.pick(stream.u64());
        let server = LazyServer::new(origin, node.into());
        world.add(Place { region, ..Place::at(address(node)) }, Member::Server(server));
    }
}

fn client(stream: &mut Stream, peers: impl Iterator<Item = u32>) -> Member {
    let mut config = Config::new(Network::Regtest, stream.seed());
    config.discovery = None;
    config.encryption = Encryption::Off;
    config.peers = peers.map(|peer| Endpoint::Address(address(peer))).collect();
    Member::Client(Box::new(Host::new(Client::new(config), MemoryStore::new(), Tally::default())))
}

fn watch(world: &mut World<Member>, id: NodeId) {
    let scripts = regtest().watch_scripts.iter().map(|script| (*script).into()).collect();
    world.with(id, |member, now, port| {
        let Member::Client(host) = member else { panic!("it is a client") };
        host.command(now, Command::Watch { scripts, from: Birthday::Height(0) }, port);
    });
}

/// Real clients with four connections each to real servers, a twelfth as many; a block every ten minutes.
fn real_clients(nodes: u32, time: Duration) -> f64 {
    let mut memory = 0;
    let runs = if nodes > 1000 { 3 } else { RUNS };
    let rates = (0..runs as u64).map(|seed| {
        let before = resident();
        let (chain, blocks) = chain();
        let mut stream = Stream::new(seed);
        let origin = Origin::new(server::Config::new(Network::Regtest, [0; 32]), chain);
        let mut world = World::new(seed, BEGINS, Links::internet());
        let servers = nodes.div_ceil(12).max(4);
        population(&mut world, &mut stream, &origin, servers);
        for node in servers..nodes {
            let mut peers: Vec<u32> = (0..servers).collect();
            stream.shuffle(&mut peers);
            let member = client(&mut stream, peers.into_iter().take(4));
            let region = INTERNET.pick(stream.u64());
            let id = world.add(Place { region, ..Place::at(address(node)) }, member);
            watch(&mut world, id);
        }
        let mut blocks = blocks.into_iter();
        let events = world.counts().events;
        let seconds = timed(|| {
            let mut left = time;
            while left > Duration::ZERO {
                let step = left.min(Duration::from_secs(600));
                world.run_for(step);
                left -= step;
                if let Some(block) = blocks.next() {
                    let mut chain = origin.chain();
                    chain.extend(&[block]).unwrap();
                    origin.set_chain(chain);
                    for server in 0..servers {
                        world.with(NodeId(server), |member, now, port| {
                            let Member::Server(server) = member else { panic!("it is a server") };
                            server.follow(now, port);
                        });
                    }
                }
            }
        });
        let clients = || {
            world.nodes().filter_map(|(_, member)| match member {
                Member::Client(host) => Some(&host.watch),
                Member::Server(_) => None,
            })
        };
        let synced = clients().filter(|tally| tally.synced > 0).count();
        assert!(synced as u32 * 100 >= (nodes - servers) * 99, "{synced} of {} are synced", nodes - servers);
        memory = memory.max(resident().saturating_sub(before));
        (world.counts().events - events) as f64 / seconds
    });
    let rate = median(rates.collect());
    println!(
        "{nodes:>6} real nodes, syncing too:  {:>8.3} million events a second; {} KiB a node",
        rate / 1e6,
        memory / 1024 / nodes as usize
    );
    rate
}

/// One client that finds its peers by itself among idle real servers, as the simulator of Nakamoto has it.
fn idle_network(servers: u32) {
    let rates = (0..RUNS as u64).map(|seed| {
        let mut world = discovering(seed, servers);
        let limit = Time::from_secs(3600 * 1000);
        let seconds = timed(|| world.run_until(limit));
        f64::from(servers + 1) * 1000.0 / seconds
    });
    println!(
        "{:>6} nodes, idle:              {:>8.0} node-hours a second",
        servers + 1,
        median(rates.collect())
    );
}

/// A client that is told of all servers by the first, connects to eight and has been synced for a while.
fn discovering(seed: u64, servers: u32) -> World<Member> {
    let (chain, _) = chain();
    let mut stream = Stream::new(seed);
    let mut config = server::Config::new(Network::Regtest, [0; 32]);
    let services = ServiceFlags::NETWORK | ServiceFlags::WITNESS | ServiceFlags::COMPACT_FILTERS;
    config.addresses = (0..servers.min(1000))
        .map(|node| {
            let addr = address(node);
            NodeAddress {
                time: BEGINS.as_secs() as u32,
                services,
                host: HostName::Ip(addr.ip()),
                port: addr.port(),
            }
        })
        .collect();
    let origin = Origin::new(config, chain);
    let mut world = World::new(seed, BEGINS, Links::internet());
    population(&mut world, &mut stream, &origin, servers);
    let mut config = Config::new(Network::Regtest, stream.seed());
    config.discovery = Some(Discovery::default());
    config.peers = vec![Endpoint::Address(address(0))];
    let host = Host::new(Client::new(config), MemoryStore::new(), Tally::default());
    let id = world.add(Place::at(SocketAddr::from(([99, 1, 1, 1], 18_444))), Member::Client(Box::new(host)));
    world.run_until(Time::ZERO);
    watch(&mut world, id);
    world.run_until(Time::from_secs(3600));
    let Member::Client(host) = world.node(id) else { panic!("it is the client") };
    assert!(host.watch.synced > 0 && host.watch.peers > 8, "{} peers", host.watch.peers);
    world
}

fn memory() {
    let before = resident();
    let (chain, _) = chain();
    let origin = Origin::new(server::Config::new(Network::Regtest, [0; 32]), chain);
    let mut world = World::new(1, BEGINS, Links::internet());
    let nodes = 200_000;
    population(&mut world, &mut Stream::new(1), &origin, nodes);
    world.run_until(Time::ZERO);
    println!("{nodes:>6} nodes that sleep:        {:>8} bytes each", (resident() - before) / nodes as usize);
}

/// Bytes of memory of this process, as the system counts them.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    pages.split_whitespace().nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}
