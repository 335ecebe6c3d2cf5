//! Who lives in these worlds.

use core::net::SocketAddr;

use andon_bitcoin::client::{Client, Command, Config, Encryption, Endpoint};
use andon_bitcoin::server::{self, Server};
use andon_kernel::{Instant, MemoryStore, Now, UnixTime};
use bitcoin::Network;

use super::log::Log;
use crate::adversary::LyingServer;
use crate::nodes::LazyServer;
use crate::random::Stream;
use crate::world::{Host, Node, NodeId, NodeInput, Place, Port, World};

/// A client with its store and its application.
pub(super) type ClientHost = Host<Client, MemoryStore, Log>;

pub(super) enum Member {
    Client(Box<ClientHost>),
    Server(Box<Host<Server, MemoryStore, ()>>),
    Sleeper(LazyServer<()>),
    Liar(Box<LyingServer>),
}

impl Node for Member {
    fn turn(&mut self, now: Now, input: NodeInput<'_>, port: &mut Port<'_>) {
        match self {
            Self::Client(node) => node.turn(now, input, port),
            Self::Server(node) => node.turn(now, input, port),
            Self::Sleeper(node) => node.turn(now, input, port),
            Self::Liar(node) => node.turn(now, input, port),
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Client(node) => node.deadline(),
            Self::Server(node) => node.deadline(),
            Self::Sleeper(node) => node.deadline(),
            Self::Liar(node) => node.deadline(),
        }
    }

    fn reads(&self) -> bool {
        match self {
            Self::Client(node) => node.reads(),
            Self::Server(node) => node.reads(),
            Self::Sleeper(node) => node.reads(),
            Self::Liar(node) => node.reads(),
        }
    }
}

/// What a client has told.
pub(super) fn log(world: &World<Member>, client: NodeId) -> &Log {
    match world.node(client) {
        Member::Client(host) => &host.watch,
        _ => unreachable!("the client's number was given"),
    }
}

/// A liar, or one that waits.
pub(super) fn liar(world: &World<Member>, id: NodeId) -> &LyingServer {
    match world.node(id) {
        Member::Liar(liar) => liar,
        _ => unreachable!("a liar's number was given"),
    }
}

/// Gives a client a command.
pub(super) fn command(world: &mut World<Member>, client: NodeId, command: Command) {
    world.with(client, |member, now, port| {
        if let Member::Client(host) = member {
            host.command(now, command, port);
        }
    });
}

/// Gives a server a command.
pub(super) fn serve(world: &mut World<Member>, id: NodeId, command: server::Command) {
    world.with(id, |member, now, port| {
        if let Member::Server(host) = member {
            host.command(now, command, port);
        }
    });
}

/// The address of a peer that is given: each is of a group of its own.
pub(super) fn given(peer: u8) -> SocketAddr {
    SocketAddr::from(([20, peer, 0, 1], 18_444))
}

/// A client with so many given peers on regtest.
pub(super) fn client(stream: &Stream, peers: u8, encrypts: bool) -> Config {
    let mut config = Config::new(Network::Regtest, stream.fork("client").seed());
    config.discovery = None;
    config.encryption = if encrypts { Encryption::Preferred } else { Encryption::Off };
    config.peers = (0..peers).map(|peer| Endpoint::Address(given(peer))).collect();
    config
}

/// Puts a client into a world, which has had its first turn.
pub(super) fn add_client(world: &mut World<Member>, config: Config, place: Place) -> NodeId {
    let host = Host::new(Client::new(config), MemoryStore::new(), Log::default());
    let id = world.add(place, Member::Client(Box::new(host)));
    let now = world.now();
    world.run_until(now);
    id
}

/// A server on regtest, honest, or a liar at heart.
pub(super) fn served(seed: [u8; 32], encrypts: bool) -> server::Config {
    let mut config = server::Config::new(Network::Regtest, seed);
    config.encryption = encrypts;
    config
}

/// When a world begins whose chain has come to this time.
pub(super) fn after(time: u32) -> UnixTime {
    UnixTime::from_secs(u64::from(time) + 60)
}
