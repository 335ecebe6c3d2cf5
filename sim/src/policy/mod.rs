//! Books of addresses, and the rules by which a node dials: what an eclipse attack is against.
//!
//! A [`Policy`] is a node reduced to whom it knows and whom it connects to. It draws from a stream of its own and takes the time with
//! each call. Whoever runs it plays the network: says who was told of whom, and whether a dial came to anything.

pub mod book;
pub mod btcd;
pub mod catalogue;
pub mod client;
pub mod kyoto;
pub mod nakamoto;
pub mod named;
pub mod own;

use andon_kernel::Now;

use crate::nearest::{hint, short};

pub mod core;

/// A node, as policies are compared: by IPv4 address and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// The address, the first byte on top.
    pub ip: u32,
    /// The port.
    pub port: u16,
}

impl Address {
    /// The first two bytes, by which most clients tell owners apart.
    pub const fn slash16(self) -> u16 {
        (self.ip >> 16) as u16
    }
}

/// Who tells of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A peer.
    Peer(Address),
    /// A DNS seed, by its number.
    DnsSeed(u8),
    /// The list that is compiled in.
    Fixed,
}

/// An address that someone tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// Whose.
    pub address: Address,
    /// When it is said to have been seen, in Unix seconds.
    pub time: u32,
    /// Whether it is said to serve what the node wants: a light client wants compact filters.
    pub serves: bool,
}

/// A node of a book that a former run saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Saved {
    /// Whose.
    pub address: Address,
    /// Who told of it first.
    pub source: Source,
    /// When it was last heard of, in Unix seconds.
    pub time: u32,
    /// When it was last reached, if it was.
    pub reached: Option<u32>,
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// All of a node's work.
    Full,
    /// Blocks only; no addresses are asked for or taken.
    BlockRelay,
    /// As [`BlockRelay`](Self::BlockRelay), to one of the last run's.
    Anchor,
    /// To see whether there is a node. Nothing else.
    Feeler,
    /// One more than there are to be, since the chain seems to stand still.
    Extra,
}

/// What a policy does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Dials a node. Exactly one of [`Policy::connected`] and [`Policy::failed`] answers.
    Dial {
        /// Whom.
        address: Address,
        /// What for.
        purpose: Purpose,
    },
    /// Asks the DNS seeds. Each answer comes as [`Policy::hear`].
    AskSeeds,
    /// Closes a connection that it has enough of. [`Policy::ended`] does not follow.
    Close(Address),
    /// Nothing before this instant; `None`: before something happens.
    Wait(Option<andon_kernel::Instant>),
}

/// How much of a book is whose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Places taken in the table of nodes that were heard of.
    pub new: u32,
    /// Of these, the adversary's.
    pub new_adversary: u32,
    /// Places taken in the table of nodes that were reached.
    pub tried: u32,
    /// Of these, the adversary's.
    pub tried_adversary: u32,
}

/// Makes a fresh node for a trial; all that it draws comes from the stream.
pub type Make = Box<dyn Fn(&crate::random::Stream) -> Box<dyn Policy> + Send + Sync>;

/// How to make nodes of a policy by its name, with what its `flags` change.
///
/// # Errors
/// If there is no policy of that name, or it has no such flags.
pub fn load(name: &str, flags: toml::Table) -> Result<Make, String> {
    catalogue::check(name, &flags)?;
    let made = core::load(name, flags.clone()).or_else(|| named::load(name, flags));
    made.unwrap_or_else(|| {
        let known = || catalogue::ALL.iter().map(|policy| policy.name);
        let (names, hint) = (known().collect::<Vec<_>>().join(", "), hint(name, known()));
        Err(format!("there is no policy `{}`, but {names}{hint}", short(name)))
    })
}

/// A node's book of addresses and the rules by which it dials.
pub trait Policy {
    /// The process begins (again), with what it had saved.
    fn start(&mut self, now: Now);

    /// Puts nodes into the book as they were in a file of a former run, before [`start`](Self::start): whoever finds its place
    /// taken is left out. Returns how many were put in.
    ///
    /// Unless a policy has a way of its own, they are heard of one by one, and nobody counts as reached.
    fn load(&mut self, now: Now, saved: &[Saved]) -> usize {
        for &Saved { address, source, time, .. } in saved {
            self.hear(now, source, &[Told { address, time, serves: true }], true);
        }
        saved.len()
    }

    /// Someone tells of addresses. `asked`: as an answer to a `getaddr` of ours.
    fn hear(&mut self, now: Now, source: Source, told: &[Told], asked: bool);

    /// A node has connected to us, and says that it listens at its own address.
    fn accepted(&mut self, now: Now, address: Address);

    /// What it does next; asked again after each answer, and when the instant it waits for has come.
    fn next(&mut self, now: Now) -> Step;

    /// A dial came to a handshake. False: the connection was closed, as a feeler is.
    fn connected(&mut self, now: Now, address: Address, purpose: Purpose) -> bool;

    /// A dial came to nothing.
    fn failed(&mut self, now: Now, address: Address, purpose: Purpose);

    /// A connection that was dialled has ended.
    fn ended(&mut self, now: Now, address: Address);

    /// The connections that were dialled and are open, with what for, feelers aside.
    fn outgoing(&self) -> Vec<(Address, Purpose)>;

    /// How many connections it is to have, feelers and extra ones aside. `None`: that varies.
    fn wanted(&self) -> Option<usize> {
        None
    }

    /// How much of the book is whose.
    fn census(&self, is_adversary: &mut dyn FnMut(Address) -> bool) -> Census;

    /// The addresses that it would answer a `getaddr` with.
    fn tell(&mut self, now: Now) -> Vec<Told>;
}
