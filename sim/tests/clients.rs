//! The real client and real servers in a world: they find each other, sync, crash and go on.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use andon_bitcoin::client::{Birthday, Client, Command, Config, Endpoint, Event, TouchKind};
use andon_bitcoin::fixture::{Fixture, FixtureBlock, regtest};
use andon_bitcoin::server::{self, Chain, Server};
use andon_kernel::{Checked, Instant, MemoryStore, Now, Space, UnixTime};
use andon_sim::random::Stream;
use andon_sim::world::{Crash, Disk, Host, Links, Node, NodeId, NodeInput, Pace, Place, Port, Time, World};
use bitcoin::{Block, Network, OutPoint};

type ClientHost = Host<Checked<Client>, Disk, Vec<Event>>;
type ServerHost = Host<Checked<Server>, MemoryStore, ()>;

#[allow(clippy::large_enum_variant, reason = "there are four of them")]
enum Member {
    Client(ClientHost),
    Server(ServerHost),
}

impl Node for Member {
    fn turn(&mut self, now: Now, input: NodeInput<'_>, port: &mut Port<'_>) {
        match self {
            Self::Client(host) => host.turn(now, input, port),
            Self::Server(host) => host.turn(now, input, port),
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Client(host) => host.deadline(),
            Self::Server(host) => host.deadline(),
        }
    }

    fn reads(&self) -> bool {
        match self {
            Self::Client(host) => host.reads(),
            Self::Server(host) => host.reads(),
        }
    }
}

fn address(server: u8) -> SocketAddr {
    SocketAddr::from(([10, server, 0, 1], 18_444))
}

fn client(servers: u8, seed: u8) -> Checked<Client> {
    let mut config = Config::new(Network::Regtest, [seed; 32]);
    config.discovery = None;
    config.peers = (0..servers).map(|server| Endpoint::Address(address(server))).collect();
    Checked::new(Client::new(config))
}

fn watch(fixture: &Fixture) -> Command {
    let scripts = fixture.watch_scripts.iter().map(|script| (*script).into()).collect();
    Command::Watch { scripts, from: Birthday::Height(0) }
}

fn world(seed: u64, links: Links, servers: u8) -> (World<Member>, NodeId, Fixture) {
    let fixture = regtest();
    let blocks: Vec<Block> = fixture.chain.iter().map(FixtureBlock::block).collect();
    let chain = Chain::new(blocks).unwrap();
    let mut world = World::new(seed, UnixTime::from_secs(1_800_000_000), links);
    for index in 0..servers {
        let config = server::Config::new(Network::Regtest, [index + 100; 32]);
        let host = Host::new(Checked::new(Server::new(config, chain.clone())), MemoryStore::new(), ());
        world.add(Place { region: index % 5, ..Place::at(address(index)) }, Member::Server(host));
    }
    let disk = Disk::new(Pace::SOLID_STATE, Stream::new(seed).fork("disk"));
    let place = Place::at(SocketAddr::from(([10, 200, 0, 1], 18_444)));
    let id = world.add(place, Member::Client(Host::new(client(servers, 1), disk, Vec::new())));
    command(&mut world, id, watch(&fixture));
    (world, id, fixture)
}

fn command(world: &mut World<Member>, id: NodeId, command: Command) {
    world.with(id, |member, now, port| match member {
        Member::Client(host) => host.command(now, command, port),
        Member::Server(_) => panic!("a server is no client"),
    });
}

fn events(world: &World<Member>, id: NodeId) -> &[Event] {
    match world.node(id) {
        Member::Client(host) => &host.watch,
        Member::Server(_) => panic!("a server is no client"),
    }
}

fn is_synced(world: &World<Member>, id: NodeId) -> bool {
    events(world, id).iter().any(|event| matches!(event, Event::Synced(block) if block.height == 289))
}

fn received(events: &[Event]) -> BTreeSet<(u32, OutPoint)> {
    let mut found = BTreeSet::new();
    for event in events {
        match event {
            Event::Started { .. } => found.clear(),
            Event::Touched(touch) => {
                if let TouchKind::Received { output } = touch.kind {
                    let new = found.insert((touch.block.height, OutPoint { txid: touch.txid, vout: output }));
                    assert!(new, "{touch:?} was told twice");
                }
            }
            _ => {}
        }
    }
    found
}

fn expected(fixture: &Fixture) -> BTreeSet<(u32, OutPoint)> {
    fixture.expected.iter().map(|output| (output.height, output.outpoint)).collect()
}

#[test]
fn a_client_syncs_over_the_internet_and_the_run_repeats() {
    let run = |seed| {
        let (mut world, id, fixture) = world(seed, Links::internet(), 3);
        assert!(world.run_while(Time::from_secs(120), |world| !is_synced(world, id)));
        assert_eq!(received(events(&world, id)), expected(&fixture));
        (world.digest(), world.counts(), world.now())
    };
    let first = run(1);
    assert_eq!(first, run(1));
    assert_ne!(first.0, run(2).0);
}

/// What is written of chain and filters: rows, and bytes.
fn written(disk: &Disk) -> (usize, usize) {
    let spaces = ["headers", "filter_headers", "filters", "hashes", "staged"];
    let rows = spaces.iter().flat_map(|space| disk.written().rows(Space::new(space)));
    rows.fold((0, 0), |(rows, bytes), (key, value)| (rows + 1, bytes + key.len() + value.len()))
}

#[test]
fn a_client_that_crashes_at_any_moment_goes_on_with_what_was_written() {
    let mut resumed = 0;
    for (index, how) in [Crash::Process, Crash::Power].into_iter().cycle().take(20).enumerate() {
        let links = Links { pieces: Some(3000), ..Links::internet() };
        let (mut whole, id, _) = world(index as u64, links.clone(), 2);
        assert!(whole.run_while(Time::from_secs(300), |world| !is_synced(world, id)), "{index}");
        let all = whole.counts().bytes;

        let (mut world, id, fixture) = world(index as u64, links, 2);
        world.run_for(Duration::from_millis(100 + 97 * index as u64));
        let Member::Client(host) = world.node(id) else { panic!() };
        let before_crash = written(host.store());
        world.crash(id, how);
        world.run_for(Duration::from_secs(3));
        let before = world.node_mut(id);
        let placeholder = Host::new(client(2, 9), Disk::new(Pace::SOLID_STATE, Stream::new(0)), Vec::new());
        let Member::Client(old) = std::mem::replace(before, Member::Client(placeholder)) else { panic!() };
        let (disk, _) = old.into_parts();
        assert_eq!(written(&disk), before_crash, "{index}: a crash takes nothing of it, and adds nothing");
        world.restart(id, Member::Client(Host::new(client(2, 2), disk, Vec::new())));
        let bytes = world.counts().bytes;
        command(&mut world, id, watch(&fixture));
        assert!(world.run_while(Time::from_secs(300), |world| !is_synced(world, id)), "{index}");
        assert_eq!(received(events(&world, id)), expected(&fixture), "{index}");
        let rest = world.counts().bytes - bytes;
        if before_crash.0 > 1 {
            resumed += 1;
            // What it has it does not ask for again: a chain of 289 headers, each of 81 bytes with its count, at least.
            assert!(rest + 289 * 81 <= all, "{index}: {before_crash:?} written, {rest} of {all} bytes");
        }
    }
    assert!(resumed >= 10, "{resumed}");
}
