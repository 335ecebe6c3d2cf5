//! Liars that say the same: what they have in common.

use core::time::Duration;
use std::sync::Arc;

use andon_bitcoin::server::{self, Chain};
use andon_bitcoin::wire::NodeAddress;
use bitcoin::ScriptBuf;

use super::forged::Forged;
use super::{Lie, LyingServer};

/// What liars of a kind need to know. [`Means::new`] has the defaults.
#[derive(Clone, Debug)]
pub struct Means {
    /// As what they appear: the network, services, whether they take encrypted connections. Their seed is each liar's own.
    pub server: server::Config,
    /// The first height that is lied about. Of a [stale chain](Lie::StaleChain) it is the first that is not there.
    pub from: u32,
    /// Payments to these scripts, and from them, are hidden by false and omitted filters. If there is none every filter from
    /// [`from`](Self::from) on is false, or omitted.
    pub hides: Vec<ScriptBuf>,
    /// How many of the newest blocks are held back, by how many an index lags, or how deep branches go.
    pub depth: u32,
    /// How long it is from one message that nobody asked for to the next, or from one drip to the next.
    pub pace: Duration,
    /// How many bytes a drip has.
    pub drip: usize,
    /// How many messages that nobody asked for go over a connection at most, and how many answers are replaced by chains of
    /// little work.
    pub most: u64,
    /// Nodes that a flood of addresses tells of, a thousand in a message, from the first on again.
    pub tells: Vec<NodeAddress>,
}

impl Means {
    /// They lie about everything from the first block on, twice a second as long as the connection stands.
    pub const fn new(server: server::Config) -> Self {
        Self {
            server,
            from: 1,
            hides: Vec::new(),
            depth: 6,
            pace: Duration::from_millis(500),
            // A message of 2,000 headers takes an hour and a half.
            drip: 16,
            most: u64::MAX,
            tells: Vec::new(),
        }
    }
}

/// Liars that say the same. Copies share what is forged, and go to other threads.
#[derive(Clone, Debug)]
pub struct Camp {
    pub(super) lie: Lie,
    pub(super) means: Means,
    pub(super) chain: Chain,
    pub(super) seed: u64,
    pub(super) forged: Option<Arc<Forged>>,
}

impl Camp {
    /// Those who lie in one way about a chain. Another seed makes another camp: its false filters, branches and garbage are
    /// others.
    pub fn new(lie: Lie, means: Means, chain: Chain, seed: u64) -> Self {
        let forges = matches!(lie, Lie::FalseFilterHeaders | Lie::FalseFilters);
        let mut camp = Self { lie, means, chain, seed, forged: None };
        if forges {
            let mut forged = Forged::new(camp.means.from, camp.means.hides.clone(), seed);
            forged.follow(&camp.chain);
            camp.forged = Some(Arc::new(forged));
        }
        camp
    }

    /// One of them; `seed` is for its keys and the like.
    pub fn member(&self, seed: [u8; 32]) -> LyingServer {
        LyingServer::of(self, seed)
    }

    /// What they do.
    pub const fn lie(&self) -> Lie {
        self.lie
    }
}
