//! When a node dials, whom, and what for.

use std::collections::VecDeque;
use std::time::Duration;

use andon_bitcoin::addresses::{AsMap, Placement};
use andon_kernel::{Instant, Now};

use super::book::{Book, Heard};
use super::entry::{DAY, HOUR, MINUTE};
use super::grid::Grid;
use super::placement::{GroupNumber, Placer, group_of_source};
use super::rules::{Era, Rules};
use crate::policy::{Address, Census, Policy, Purpose, Saved, Source, Step, Told};
use crate::random::Stream;

/// Between two looks at whom to dial.
const PACE: Duration = Duration::from_millis(500);
/// Draws from the book for one dial; the first of them in which nodes are passed over that were tried lately, or listen on
/// an odd port.
const MAX_DRAWS: u32 = 100;
const DRAWS_BEFORE_RECENT: u32 = 30;
const DRAWS_BEFORE_ODD_PORTS: u32 = 50;
const PORT: u16 = 8333;
/// How often the times of connected peers are looked at, where they are kept fresh: at each ping and each announcement, of
/// which a peer sends several in a minute.
const REFRESH: Duration = Duration::from_secs(10);
const FEELER_INTERVAL: Duration = Duration::from_secs(2 * 60);
const EXTRA_INTERVAL: Duration = Duration::from_secs(5 * 60);
/// When the DNS seeds are asked: after so long with fewer than two connections; later if the book has many nodes.
const SEEDS_AFTER: Duration = Duration::from_secs(11);
const SEEDS_AFTER_LONG: Duration = Duration::from_secs(5 * 60);
const MANY_ADDRESSES: u32 = 1000;
/// Addresses in a message, and those that a peer may have saved up to tell, in tenths of a second's worth of ten.
const MAX_TOLD: usize = 1000;
const BURST: u64 = 1000 * TOKEN;
/// One address, in microseconds of a tenth of an address a second.
const TOKEN: u64 = 10_000_000;
/// Peers of whom it is known how much they told: as many as may be connected.
const MAX_TELLERS: usize = 125;

/// A node of Bitcoin Core.
#[derive(Debug)]
pub struct Core {
    book: Book,
    stream: Stream,
    open: Vec<Open>,
    is_dialling: bool,
    anchors: Vec<Address>,
    /// Nothing is dialled before.
    ready: Instant,
    refresh: Instant,
    feeler: Instant,
    extra: Instant,
    seeds: Option<Instant>,
    tellers: VecDeque<Teller>,
}

/// A node's book that changes no more.
#[derive(Debug)]
pub struct Still {
    book: Book,
}

impl Still {
    /// Draws a node, as for a connection beside so many others.
    pub fn draw(&self, now: Now, outgoing: u32, stream: &mut Stream) -> Option<Address> {
        let id = self.book.select(outgoing, false, seconds(now), stream)?;
        Some(self.book.entry(id).address())
    }
}

#[derive(Clone, Copy, Debug)]
struct Open {
    address: Address,
    group: GroupNumber,
    purpose: Purpose,
}

#[derive(Clone, Copy, Debug)]
struct Teller {
    address: Address,
    tokens: u64,
    at: Instant,
}

impl Core {
    /// A node with an empty book. `map`: groups are autonomous systems, where it knows them (countermeasure to Erebus).
    pub fn new(rules: Rules, map: Option<AsMap>, stream: &Stream) -> Self {
        Self::with_placer(rules, map, Placer::mixed(&mut stream.fork("placement")), stream)
    }

    /// A node of today's rules with an empty book, where each address has the places that Bitcoin Core gives it under this
    /// secret. It takes several times as long; groups are by prefix.
    pub fn placed_exactly(placement: Placement, stream: &Stream) -> Self {
        Self::with_placer(Rules::CORE_28, None, Placer::Exact(placement), stream)
    }

    fn with_placer(rules: Rules, map: Option<AsMap>, placer: Placer, stream: &Stream) -> Self {
        Self {
            book: Book::new(rules, placer, map),
            stream: stream.fork("choices"),
            open: Vec::new(),
            is_dialling: false,
            anchors: Vec::new(),
            ready: Instant::ZERO,
            refresh: Instant::ZERO,
            feeler: Instant::ZERO,
            extra: Instant::ZERO,
            seeds: None,
            tellers: VecDeque::new(),
        }
    }

    /// The rules it keeps to.
    pub const fn rules(&self) -> &Rules {
        &self.book.rules
    }

    /// In how many buckets of the tried and of the new somebody stands of whom something holds.
    pub fn buckets(&self, is_it: &mut dyn FnMut(Address) -> bool) -> (u32, u32) {
        let mut count = |grid: &Grid| {
            let mut holds = |id: u32| is_it(self.book.entry(id).address());
            (0..grid.buckets()).filter(|&bucket| grid.standing(bucket).any(&mut holds)).count() as u32
        };
        (count(&self.book.tried), count(&self.book.new))
    }

    /// The book alone, from which any thread may draw.
    pub fn still(self) -> Still {
        Still { book: self.book }
    }

    fn count(&self, is_it: impl Fn(Purpose) -> bool) -> u32 {
        self.open.iter().filter(|open| is_it(open.purpose)).count() as u32
    }

    fn full(&self) -> u32 {
        self.count(|purpose| purpose == Purpose::Full)
    }

    fn block_relay(&self) -> u32 {
        self.count(|purpose| matches!(purpose, Purpose::BlockRelay | Purpose::Anchor))
    }

    /// What the next dial is for, and when if not now.
    fn purpose(&mut self, now: Instant) -> Result<Purpose, Option<Instant>> {
        let rules = self.book.rules;
        if !self.anchors.is_empty() && self.block_relay() < rules.block_relay.max(rules.anchors) {
            return Ok(Purpose::Anchor);
        }
        if self.full() < rules.outgoing {
            return Ok(Purpose::Full);
        }
        if self.block_relay() < rules.block_relay {
            return Ok(Purpose::BlockRelay);
        }
        let extra = (rules.block_relay > 0 && rules.era == Era::Today).then_some(self.extra);
        let feeler = rules.feelers.then_some(self.feeler);
        if extra.is_some_and(|due| due <= now) {
            self.extra = now + exponential(EXTRA_INTERVAL, &mut self.stream);
            return Ok(Purpose::Extra);
        }
        if feeler.is_some_and(|due| due <= now) {
            self.feeler = now + exponential(FEELER_INTERVAL, &mut self.stream);
            return Ok(Purpose::Feeler);
        }
        Err(extra.into_iter().chain(feeler).min())
    }

    /// Whom to dial for it.
    fn choose(&mut self, purpose: Purpose, now: u32) -> Option<Address> {
        let rules = self.book.rules;
        if rules.test_before_evict {
            self.book.resolve(now, &mut self.stream);
        }
        if purpose == Purpose::Anchor {
            while let Some(address) = self.anchors.pop() {
                let group = self.book.group(address);
                if !self.is_taken(group) {
                    return Some(address);
                }
            }
            return None;
        }
        let is_feeler = purpose == Purpose::Feeler;
        let outgoing = self.open.len() as u32;
        let mut to_be_tested = if is_feeler { self.book.to_be_tested(&mut self.stream) } else { None };
        // Who is connected needs no test.
        if let Some(address) = to_be_tested
            && self.open.iter().any(|open| open.address == address)
        {
            self.book.good(address, now, &mut self.stream);
            to_be_tested = None;
        }
        for draw in 1..=MAX_DRAWS {
            let id = match to_be_tested.take() {
                Some(address) => self.book.find(address)?,
                None => self.book.select(outgoing, is_feeler, now, &mut self.stream)?,
            };
            let entry = *self.book.entry(id);
            let address = entry.address();
            if self.open.iter().any(|open| open.address == address)
                || !is_feeler && self.is_taken(self.book.group(address))
            {
                // Up to 0.10 that ends this look; the next comes half a second later.
                if rules.era < Era::Today {
                    return None;
                }
                continue;
            }
            let is_recent = now.saturating_sub(entry.last_try) < 10 * MINUTE;
            if is_recent && draw < DRAWS_BEFORE_RECENT || entry.port != PORT && draw < DRAWS_BEFORE_ODD_PORTS
            {
                continue;
            }
            return Some(address);
        }
        None
    }

    fn is_taken(&self, group: GroupNumber) -> bool {
        self.book.rules.distinct_groups && self.open.iter().any(|open| open.group == group)
    }

    /// Whether it is surely not us who are offline when a dial fails.
    fn is_online(&self) -> bool {
        let mut groups: Vec<_> = self.open.iter().map(|open| open.group).collect();
        groups.sort_unstable();
        groups.dedup();
        groups.len() >= 2
    }

    /// How many addresses are taken of so many that a peer tells.
    fn allowance(&mut self, now: Instant, peer: Address, told: usize, asked: bool) -> usize {
        let at = self.tellers.iter().position(|teller| teller.address == peer).unwrap_or_else(|| {
            if self.tellers.len() == MAX_TELLERS {
                self.tellers.pop_front();
            }
            self.tellers.push_back(Teller { address: peer, tokens: TOKEN, at: now });
            self.tellers.len() - 1
        });
        let teller = &mut self.tellers[at];
        if teller.tokens < BURST {
            let earned = u64::try_from(now.since(teller.at).as_micros()).unwrap_or(u64::MAX);
            teller.tokens = teller.tokens.saturating_add(earned).min(BURST);
        }
        teller.at = now;
        if asked {
            teller.tokens += BURST;
        }
        let taken = told.min((teller.tokens / TOKEN) as usize);
        teller.tokens -= taken as u64 * TOKEN;
        taken
    }

    fn close(&mut self, address: Address) -> Option<Open> {
        let at = self.open.iter().position(|open| open.address == address)?;
        Some(self.open.remove(at))
    }
}

impl Policy for Core {
    fn load(&mut self, now: Now, saved: &[Saved]) -> usize {
        let mut loaded = 0;
        for &Saved { address, source, time, reached } in saved {
            let source = group_of_source(source, self.book.map.as_ref());
            let heard = Heard { address, source, time, penalty: 0 };
            loaded += usize::from(self.book.load(&heard, reached, seconds(now)));
        }
        loaded
    }

    fn start(&mut self, now: Now) {
        // The last run was ended in order: it noted who was connected, and who relayed blocks is dialled first.
        let open = std::mem::take(&mut self.open);
        for open in open.iter().filter(|open| open.purpose == Purpose::Full) {
            self.book.connected(open.address, seconds(now));
        }
        let relays = open.iter().filter(|open| matches!(open.purpose, Purpose::BlockRelay | Purpose::Anchor));
        let any: Vec<_> = if self.book.rules.block_relay > 0 {
            relays.map(|open| open.address).collect()
        } else {
            open.iter().map(|open| open.address).collect()
        };
        self.anchors = any.into_iter().take(self.book.rules.anchors as usize).collect();
        self.is_dialling = false;
        self.tellers.clear();
        self.book.restart();
        self.ready = now.instant;
        self.refresh = now.instant + REFRESH;
        self.feeler = now.instant + exponential(FEELER_INTERVAL, &mut self.stream);
        self.extra = now.instant + exponential(EXTRA_INTERVAL, &mut self.stream);
        let len = self.book.len();
        self.seeds = Some(match self.book.rules.era {
            _ if len == 0 => now.instant,
            Era::Today if len >= MANY_ADDRESSES => now.instant + SEEDS_AFTER_LONG,
            _ => now.instant + SEEDS_AFTER,
        });
    }

    fn hear(&mut self, now: Now, source: Source, told: &[Told], asked: bool) {
        let seconds = seconds(now);
        let source_group = group_of_source(source, self.book.map.as_ref());
        let mut taken = told.len().min(MAX_TOLD);
        let (mut penalty, mut own) = (0, None);
        if let Source::Peer(peer) = source {
            if self.book.rules.address_limit {
                taken = self.allowance(now.instant, peer, taken, asked);
            }
            (penalty, own) = (2 * HOUR, Some(peer));
        } else {
            // Whatever seeds tell is of some days ago, as is what is compiled in.
            taken = told.len();
        }
        for &Told { address, mut time, .. } in &told[..taken] {
            if time <= 100_000_000 || time > seconds + 10 * MINUTE {
                time = seconds - 5 * DAY;
            }
            let penalty = if own.is_some_and(|own| own.ip == address.ip) { 0 } else { penalty };
            let heard = Heard { address, source: source_group, time, penalty };
            self.book.add(&heard, seconds, &mut self.stream);
        }
    }

    fn accepted(&mut self, now: Now, address: Address) {
        if !self.book.rules.inbound_enters_tried {
            return;
        }
        let seconds = seconds(now);
        let group = self.book.group(address);
        let heard = Heard { address, source: group, time: seconds, penalty: 0 };
        self.book.accept(&heard, seconds, &mut self.stream);
    }

    fn next(&mut self, now: Now) -> Step {
        if self.book.rules.era == Era::Old && self.refresh <= now.instant {
            self.refresh = now.instant + REFRESH;
            for at in 0..self.open.len() {
                self.book.connected(self.open[at].address, seconds(now));
            }
        }
        let refresh = (self.book.rules.era == Era::Old).then_some(self.refresh);
        let earliest = |at: Option<Instant>| Step::Wait(at.into_iter().chain(refresh).min());
        if self.is_dialling {
            return earliest(None);
        }
        if self.seeds.is_some_and(|due| due <= now.instant) {
            self.seeds = None;
            if self.open.len() < 2 {
                return Step::AskSeeds;
            }
        }
        if now.instant < self.ready {
            return earliest(Some(self.ready));
        }
        let purpose = match self.purpose(now.instant) {
            Ok(purpose) => purpose,
            Err(due) => return earliest(due.into_iter().chain(self.seeds).min()),
        };
        let Some(address) = self.choose(purpose, seconds(now)) else {
            self.ready = now.instant + PACE;
            return earliest(Some(self.ready));
        };
        self.is_dialling = true;
        // Up to 0.9 only a dial that came to a connection was noted.
        if self.book.rules.era > Era::Old {
            let is_counted = self.is_online();
            self.book.attempt(address, is_counted, seconds(now));
        }
        Step::Dial { address, purpose }
    }

    fn connected(&mut self, now: Now, address: Address, purpose: Purpose) -> bool {
        self.is_dialling = false;
        self.ready = now.instant + PACE;
        if self.book.rules.era == Era::Old {
            self.book.attempt(address, true, seconds(now));
        }
        self.book.good(address, seconds(now), &mut self.stream);
        // An extra one replaces another only if it has a later block; here none has.
        if matches!(purpose, Purpose::Feeler | Purpose::Extra) {
            return false;
        }
        let group = self.book.group(address);
        self.open.push(Open { address, group, purpose });
        true
    }

    fn failed(&mut self, now: Now, _: Address, _: Purpose) {
        self.is_dialling = false;
        self.ready = now.instant + PACE;
    }

    fn ended(&mut self, now: Now, address: Address) {
        if let Some(open) = self.close(address)
            && open.purpose == Purpose::Full
        {
            self.book.connected(address, seconds(now));
        }
    }

    fn outgoing(&self) -> Vec<(Address, Purpose)> {
        self.open.iter().map(|open| (open.address, open.purpose)).collect()
    }

    fn wanted(&self) -> Option<usize> {
        Some((self.book.rules.outgoing + self.book.rules.block_relay) as usize)
    }

    fn census(&self, is_adversary: &mut dyn FnMut(Address) -> bool) -> Census {
        self.book.census(is_adversary)
    }

    fn tell(&mut self, now: Now) -> Vec<Told> {
        let most = (self.book.len() as usize * 23).div_ceil(100);
        let most = most.min(if self.book.rules.era == Era::Today { 1000 } else { 2500 });
        let mut all: Vec<_> = self.book.standing().filter(|entry| !entry.is_terrible(seconds(now))).collect();
        // The first part of a shuffle.
        for at in 0..most.min(all.len()) {
            let other = at + self.stream.index(all.len() - at);
            all.swap(at, other);
        }
        let told =
            |entry: &super::entry::Entry| Told { address: entry.address(), time: entry.time, serves: true };
        all.into_iter().take(most).map(told).collect()
    }
}

fn seconds(now: Now) -> u32 {
    u32::try_from(now.unix.as_secs()).unwrap_or(u32::MAX)
}

/// A time of the exponential distribution with this mean, by comparisons alone (von Neumann, 1951).
fn exponential(mean: Duration, stream: &mut Stream) -> Duration {
    let mut whole = 0u32;
    loop {
        let first = stream.u64() >> 32;
        let (mut last, mut length) = (first, 1u32);
        loop {
            let next = stream.u64() >> 32;
            if next >= last {
                break;
            }
            (last, length) = (next, length + 1);
        }
        if length % 2 == 1 {
            let part = (mean.as_micros() * u128::from(first)) >> 32;
            return mean.saturating_mul(whole) + Duration::from_micros(part as u64);
        }
        whole += 1;
    }
}

#[cfg(test)]
mod tests;
