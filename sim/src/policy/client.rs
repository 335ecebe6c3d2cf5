//! A light client around a [`Book`]: how many nodes it dials at once, which of those drawn it passes over, and when it asks
//! the DNS seeds.

use core::time::Duration;
use std::collections::BTreeMap;

use andon_kernel::{Instant, Now};

use super::book::{Book, Drawn};
use super::{Address, Census, Policy, Purpose, Source, Step, Told};

/// How a client dials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Connections that there are to be.
    pub outgoing: usize,
    /// Dials under way at most.
    pub at_once: usize,
    /// Whether two connections may not be to one /16.
    pub one_per_group: bool,
    /// Whether nodes are passed over that are not said to serve what the client wants.
    pub only_serving: bool,
    /// Draws for one dial at most.
    pub draws: u32,
    /// For so many draws nodes are passed over that were dialled in the last ten minutes.
    pub draws_before_recent: u32,
    /// For so many draws nodes are passed over that listen on another port than [`DEFAULT_PORT`].
    pub draws_before_ports: u32,
    /// How long it waits when there was nobody to dial.
    pub pause: Duration,
    /// Failures in a row after which it waits as long before each dial.
    pub failures_to_pause: u32,
    /// When the DNS seeds are asked.
    pub seeds: Seeds,
    /// How long a connection is kept.
    pub longest: Option<Duration>,
}

/// When a client asks the DNS seeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seeds {
    /// At each start.
    AtStart,
    /// At a start at which the book is empty.
    AtStartIfEmpty,
    /// Whenever somebody is to be dialled and the book is empty.
    WheneverEmpty,
}

/// The port of the network.
pub const DEFAULT_PORT: u16 = 8333;

const RECENT: Duration = Duration::from_secs(10 * 60);

/// A client: a book, and the connections that there are.
#[derive(Debug)]
pub struct Client<B> {
    book: B,
    rules: Rules,
    /// By when the handshake was done; `None`: being dialled.
    open: BTreeMap<Address, Option<Instant>>,
    seeds_due: bool,
    /// Nobody is dialled until then.
    paused_until: Instant,
    failures: u32,
}

impl<B: Book> Client<B> {
    /// A client that has not started.
    pub const fn new(book: B, rules: Rules) -> Self {
        let open = BTreeMap::new();
        Self { book, rules, open, seeds_due: false, paused_until: Instant::ZERO, failures: 0 }
    }

    fn candidate(&mut self, now: Now) -> Option<Address> {
        for draw in 0..self.rules.draws {
            let Drawn { address, serves, last_try } = self.book.draw(now.unix)?;
            let is_recent =
                last_try.is_some_and(|at| now.unix.as_secs().saturating_sub(at.as_secs()) < RECENT.as_secs());
            let group = address.slash16();
            let passed_over = self.open.contains_key(&address)
                || (self.rules.only_serving && !serves)
                || (self.rules.one_per_group && self.open.keys().any(|open| open.slash16() == group))
                || (is_recent && draw < self.rules.draws_before_recent)
                || (address.port != DEFAULT_PORT && draw < self.rules.draws_before_ports);
            if !passed_over {
                return Some(address);
            }
        }
        None
    }
}

impl<B: Book> Policy for Client<B> {
    fn start(&mut self, now: Now) {
        self.open.clear();
        self.failures = 0;
        self.paused_until = now.instant;
        self.seeds_due = match self.rules.seeds {
            Seeds::AtStart => true,
            Seeds::AtStartIfEmpty => self.book.is_empty(),
            Seeds::WheneverEmpty => false,
        };
    }

    fn hear(&mut self, now: Now, source: Source, told: &[Told], _asked: bool) {
        // None of these clients limits what is told unasked.
        self.book.hear(now.unix, source, told);
    }

    /// A light client listens to nobody.
    fn accepted(&mut self, _now: Now, _address: Address) {}

    fn next(&mut self, now: Now) -> Step {
        if core::mem::take(&mut self.seeds_due) {
            return Step::AskSeeds;
        }
        let ends = |since: Instant| self.rules.longest.map(|longest| since + longest);
        let old = self.open.iter().filter_map(|(address, since)| Some((ends((*since)?)?, *address))).min();
        if let Some((end, address)) = old
            && end <= now.instant
        {
            self.open.remove(&address);
            self.book.ended(now.unix, address);
            return Step::Close(address);
        }
        let mut wait = old.map(|(end, _)| end);
        let dialling = self.open.values().filter(|since| since.is_none()).count();
        if self.open.len() < self.rules.outgoing && dialling < self.rules.at_once {
            if self.paused_until <= now.instant {
                if let Some(address) = self.candidate(now) {
                    self.book.dialled(now.unix, address);
                    self.open.insert(address, None);
                    return Step::Dial { address, purpose: Purpose::Full };
                }
                self.paused_until = now.instant + self.rules.pause;
                if self.rules.seeds == Seeds::WheneverEmpty && self.book.is_empty() {
                    return Step::AskSeeds;
                }
            }
            wait = Some(wait.map_or(self.paused_until, |wait| wait.min(self.paused_until)));
        }
        Step::Wait(wait)
    }

    fn connected(&mut self, now: Now, address: Address, _purpose: Purpose) -> bool {
        let Some(since) = self.open.get_mut(&address) else { return false };
        *since = Some(now.instant);
        self.failures = 0;
        self.book.reached(now.unix, address);
        true
    }

    fn failed(&mut self, now: Now, address: Address, _purpose: Purpose) {
        if self.open.remove(&address).is_none() {
            return;
        }
        self.book.failed(now.unix, address);
        self.failures = self.failures.saturating_add(1);
        if self.failures >= self.rules.failures_to_pause {
            self.paused_until = now.instant + self.rules.pause;
        }
    }

    fn ended(&mut self, now: Now, address: Address) {
        if self.open.remove(&address).is_some() {
            self.book.ended(now.unix, address);
        }
    }

    fn outgoing(&self) -> Vec<(Address, Purpose)> {
        let connected = self.open.iter().filter(|(_, since)| since.is_some());
        connected.map(|(address, _)| (*address, Purpose::Full)).collect()
    }

    fn census(&self, is_adversary: &mut dyn FnMut(Address) -> bool) -> Census {
        self.book.census(is_adversary)
    }

    fn tell(&mut self, now: Now) -> Vec<Told> {
        self.book.tell(now.unix)
    }
}
