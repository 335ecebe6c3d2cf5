//! A server that is nothing but an address until somebody dials it, so that a world can have tens of thousands.

use std::cell::RefCell;
use std::rc::Rc;

use andon_bitcoin::server::{Chain, Command, Config, Event, Server};
use andon_kernel::{Instant, MemoryStore, Now};

use crate::random::Stream;
use crate::world::{Host, Node, NodeInput, Port, Watch};

/// What many servers have in common: the chain that they serve, and how they are built.
#[derive(Debug)]
pub struct Origin {
    config: RefCell<Config>,
    chain: RefCell<Chain>,
}

impl Origin {
    /// Servers of this chain, built like this but for their seeds.
    pub fn new(config: Config, chain: Chain) -> Rc<Self> {
        Rc::new(Self { config: RefCell::new(config), chain: RefCell::new(chain) })
    }

    /// The chain, as those that wake up from here on serve it. Those that are awake are told by [`LazyServer::follow`].
    pub fn set_chain(&self, chain: Chain) {
        *self.chain.borrow_mut() = chain;
    }

    /// The chain.
    pub fn chain(&self) -> Chain {
        self.chain.borrow().clone()
    }

    /// How those that wake up from here on are built.
    pub fn set_config(&self, config: Config) {
        *self.config.borrow_mut() = config;
    }
}

/// A server that sleeps while nobody is connected to it. What it forgets then is what a server of its kind keeps of peers and of
/// transactions.
pub struct LazyServer<W> {
    origin: Rc<Origin>,
    seed: u64,
    connections: u32,
    /// The application, while it sleeps.
    watch: W,
    awake: Option<Box<Host<Server, MemoryStore, W>>>,
}

impl<W> core::fmt::Debug for LazyServer<W> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("LazyServer")
            .field("seed", &self.seed)
            .field("connections", &self.connections)
            .finish()
    }
}

impl<W: Watch<Event> + Default> LazyServer<W> {
    /// One of this origin; `seed` makes it differ from the others.
    pub fn new(origin: &Rc<Origin>, seed: u64) -> Self {
        Self { origin: origin.clone(), seed, connections: 0, watch: W::default(), awake: None }
    }

    /// Whether somebody is connected to it.
    pub const fn is_awake(&self) -> bool {
        self.awake.is_some()
    }

    /// The application: it keeps what it was told while the server sleeps.
    pub fn watch(&self) -> &W {
        self.awake.as_ref().map_or(&self.watch, |host| &host.watch)
    }

    /// The application, to change.
    pub fn watch_mut(&mut self) -> &mut W {
        self.awake.as_mut().map_or(&mut self.watch, |host| &mut host.watch)
    }

    /// What has become of its origin's chain, for one that is awake.
    pub fn follow(&mut self, now: Now, port: &mut Port<'_>) {
        if let Some(host) = &mut self.awake {
            host.command(now, Command::Follow(self.origin.chain()), port);
        }
    }

    fn wake(&mut self, now: Now, port: &mut Port<'_>) {
        let mut config = self.origin.config.borrow().clone();
        config.seed = Stream::new(self.seed).fork("server").seed();
        let server = Server::new(config, self.origin.chain());
        let mut host = Box::new(Host::new(server, MemoryStore::new(), core::mem::take(&mut self.watch)));
        host.turn(now, NodeInput::Start, port);
        self.awake = Some(host);
    }
}

impl<W: Watch<Event> + Default> Node for LazyServer<W> {
    fn turn(&mut self, now: Now, input: NodeInput<'_>, port: &mut Port<'_>) {
        match input {
            NodeInput::Start => return,
            NodeInput::Connected { .. } => {
                if self.awake.is_none() {
                    self.wake(now, port);
                }
                self.connections += 1;
            }
            NodeInput::Disconnected { .. } => self.connections = self.connections.saturating_sub(1),
            _ => {}
        }
        if let Some(host) = &mut self.awake {
            host.turn(now, input, port);
            if self.connections == 0 {
                self.watch = self.awake.take().map(|host| host.into_parts().1).unwrap_or_default();
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.awake.as_ref()?.deadline()
    }

    fn reads(&self) -> bool {
        self.awake.as_ref().is_none_or(|host| host.reads())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use core::net::SocketAddr;
    use core::time::Duration;

    use andon_bitcoin::fixture::{FixtureBlock, regtest};
    use andon_kernel::{ConnId, UnixTime};
    use bitcoin::Network;

    use super::*;
    use crate::world::{Links, NodeId, Place, World};

    enum Member {
        Server(LazyServer<Vec<Event>>),
        Dialler,
    }

    impl Node for Member {
        fn turn(&mut self, now: Now, input: NodeInput<'_>, port: &mut Port<'_>) {
            if let Self::Server(server) = self {
                server.turn(now, input, port);
            }
        }

        fn deadline(&self) -> Option<Instant> {
            if let Self::Server(server) = self { server.deadline() } else { None }
        }
    }

    #[test]
    fn what_it_was_told_is_kept_while_it_sleeps() {
        let chain = Chain::new(regtest().chain.iter().map(FixtureBlock::block).collect::<Vec<_>>()).unwrap();
        let origin = Origin::new(Config::new(Network::Regtest, [0; 32]), chain);
        let mut world = World::new(1, UnixTime::default(), Links::default());
        let address = |node: u8| SocketAddr::from(([10, 0, 0, node], 18_444));
        let id = world.add(Place::at(address(0)), Member::Server(LazyServer::new(&origin, 1)));
        let dialler = world.add(Place::at(address(1)), Member::Dialler);
        let seen = |world: &World<Member>, id: NodeId| {
            let Member::Server(server) = world.node(id) else { panic!("it is the server") };
            (server.is_awake(), server.watch().len())
        };
        for visit in 0..2 {
            world.with(dialler, |_, _, port| port.connect(ConnId::dialled(visit), address(0)));
            world.run_for(Duration::from_secs(1));
            assert_eq!(seen(&world, id), (true, visit as usize));
            world.with(dialler, |_, _, port| port.close(ConnId::dialled(visit), false));
            world.run_for(Duration::from_secs(1));
            // That the peer is gone.
            assert_eq!(seen(&world, id), (false, visit as usize + 1));
        }
        let Member::Server(server) = world.node_mut(id) else { panic!("it is the server") };
        assert!(matches!(
            server.watch_mut()[..],
            [Event::PeerDisconnected { .. }, Event::PeerDisconnected { .. }]
        ));
    }
}
