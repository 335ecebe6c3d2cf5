//! The nodes of such a world.

use andon_bitcoin::client::{self, Client};
use andon_bitcoin::server::{self, Server};
use andon_kernel::{Checked, ConnId, Instant, MemoryStore, Now};

use super::sabotage::Sabotage;
use super::wallet::Wallet;
use crate::adversary::LyingServer;
use crate::world::{Disk, Host, Node, NodeInput, Port};

pub(super) type ClientHost = Host<Checked<Client>, Disk, Wallet>;
type ServerHost = Host<Server, MemoryStore, ()>;

/// A node.
#[derive(Debug)]
pub(super) enum Member {
    /// The client, with its application.
    Client(Box<Watched>),
    /// A node that serves a chain.
    Server(Box<ServerHost>),
    /// One that lies.
    Liar(Box<LyingServer>),
    /// What is there while something takes another's place.
    Nobody,
}

/// The client, and what is noted of it.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) host: ClientHost,
    /// Connections that are open or being opened.
    pub(super) connections: usize,
    turns: u64,
    sabotage: Option<Sabotage>,
}

/// A client that is sabotaged to be deaf hears so many turns.
const HEARS: u64 = 50;

impl Member {
    pub(super) fn client(host: ClientHost, sabotage: Option<Sabotage>) -> Self {
        Self::Client(Box::new(Watched { host, connections: 0, turns: 0, sabotage }))
    }

    pub(super) fn server(server: Server) -> Self {
        Self::Server(Box::new(Host::new(server, MemoryStore::new(), ())))
    }

    /// Gives the client a command.
    pub(super) fn command(&mut self, now: Now, command: client::Command, port: &mut Port<'_>) {
        if let Self::Client(client) = self {
            client.host.command(now, command, port);
        }
    }

    /// Gives a server a command.
    pub(super) fn serve(&mut self, now: Now, command: server::Command, port: &mut Port<'_>) {
        if let Self::Server(host) = self {
            host.command(now, command, port);
        }
    }

    /// A liar hears what the honest chain has become.
    pub(super) fn follow(&mut self, now: Now, chain: &server::Chain, port: &mut Port<'_>) {
        if let Self::Liar(liar) = self {
            liar.follow(now, chain, port);
        }
    }

    pub(super) const fn as_client(&self) -> Option<&Watched> {
        match self {
            Self::Client(client) => Some(client),
            Self::Server(_) | Self::Liar(_) | Self::Nobody => None,
        }
    }

    pub(super) const fn as_client_mut(&mut self) -> Option<&mut Watched> {
        match self {
            Self::Client(client) => Some(client),
            Self::Server(_) | Self::Liar(_) | Self::Nobody => None,
        }
    }
}

impl Watched {
    /// Whether it has had its first turn.
    pub(super) const fn has_started(&self) -> bool {
        self.turns > 0
    }

    fn is_deaf(&self) -> bool {
        self.sabotage == Some(Sabotage::GoDeaf) && self.turns > HEARS
    }
}

impl Node for Member {
    fn turn(&mut self, now: Now, input: NodeInput<'_>, port: &mut Port<'_>) {
        match self {
            Self::Client(client) => {
                client.turns += 1;
                if client.is_deaf() {
                    return;
                }
                let to = match (&input, client.sabotage) {
                    (NodeInput::Connected { remote, .. }, Some(Sabotage::HoardConnections)) => Some(*remote),
                    _ => None,
                };
                // Connections that the saboteur has dialled are none of the machine's.
                let is_hoarded = match &input {
                    NodeInput::Connected { conn, .. } | NodeInput::Disconnected { conn, .. } => {
                        *conn >= HOARDED && !conn.is_accepted()
                    }
                    NodeInput::Received { conn, .. } => *conn >= HOARDED && !conn.is_accepted(),
                    _ => false,
                };
                if !is_hoarded {
                    client.host.turn(now, input, port);
                }
                if let Some(remote) = to {
                    port.connect(ConnId::dialled((1 << 40) + client.turns), remote);
                }
                client.connections = port.connections();
                for event in client.host.watch.news() {
                    port.note(|| format!("{event:?}"));
                }
            }
            Self::Server(host) => host.turn(now, input, port),
            Self::Liar(liar) => liar.turn(now, input, port),
            Self::Nobody => {}
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Client(client) if client.is_deaf() => None,
            Self::Client(client) if client.sabotage == Some(Sabotage::Spin) => Some(Instant::ZERO),
            Self::Client(client) => client.host.deadline(),
            Self::Server(host) => host.deadline(),
            Self::Liar(liar) => liar.deadline(),
            Self::Nobody => None,
        }
    }

    fn reads(&self) -> bool {
        match self {
            Self::Client(client) => client.host.reads(),
            Self::Server(host) => host.reads(),
            Self::Liar(liar) => liar.reads(),
            Self::Nobody => true,
        }
    }
}

const HOARDED: ConnId = ConnId::dialled(1 << 40);
