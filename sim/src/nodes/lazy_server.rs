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
