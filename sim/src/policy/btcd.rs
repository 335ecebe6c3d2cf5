//! btcd's book (`addrmgr`), as Neutrino uses it: 1024 buckets of nodes that were heard of, 64 of nodes that were reached.
//!
//! The buckets are those of Bitcoin Core before version 0.10.1: an address has no place of its own in one. A full bucket of new
//! ones always gives way: whoever is not worth a place goes, and the oldest with them. So does the oldest of the tried. Nothing
//! is taken off the time that gossip gives, so a liar's addresses are always the youngest.

use core::time::Duration;
use std::collections::BTreeMap;

use andon_kernel::UnixTime;

use super::book::{Book, Drawn, is_routable, keyed};
use super::client::{Client, Rules, Seeds};
use super::{Address, Census, Source, Told};
use crate::random::Stream;

/// Buckets of nodes that were heard of.
pub const NEW_BUCKETS: u64 = 1024;
/// A new one comes as long as a bucket has no more than 64: so it takes one more.
pub const NEW_BUCKET_SIZE: usize = 64 + 1;
/// Buckets of nodes that were reached.
pub const TRIED_BUCKETS: u64 = 64;
/// How many each of these takes.
pub const TRIED_BUCKET_SIZE: usize = 256;
/// Over how many buckets a source's group is spread.
pub const NEW_BUCKETS_PER_GROUP: u64 = 64;
/// Over how many buckets a group is spread.
pub const TRIED_BUCKETS_PER_GROUP: u64 = 8;
const MAX_REFERENCES: usize = 8;

const MINUTE: u64 = 60;
const DAY: u64 = 24 * 60 * MINUTE;
/// Addresses are told as long as they are these at most, of 23 in a hundred.
const MAX_TOLD: usize = 2500;

/// Neutrino's client.
pub const RULES: Rules = Rules {
    outgoing: 8,
    at_once: 8,
    one_per_group: true,
    only_serving: true,
    draws: 100,
    draws_before_recent: 30,
    draws_before_ports: 50,
    pause: Duration::from_secs(5),
    failures_to_pause: 25,
    seeds: Seeds::AtStart,
    longest: None,
};

/// btcd's book.
#[derive(Debug)]
pub struct Btcd {
    stream: Stream,
    key: u64,
    known: BTreeMap<Address, Known>,
    new: Vec<Vec<Address>>,
    tried: Vec<Vec<Address>>,
    /// Who stands among the tried.
    tried_count: usize,
}

#[derive(Clone, Debug)]
struct Known {
    source: u64,
    time: u64,
    serves: bool,
    attempts: u32,
    last_attempt: Option<u64>,
    last_success: Option<u64>,
    is_tried: bool,
    /// The buckets of new ones that it is in.
    buckets: Vec<u16>,
}

impl Known {
    fn is_bad(&self, now: u64) -> bool {
        if self.last_attempt.is_some_and(|at| at + MINUTE > now) {
            return false;
        }
        self.time > now + 10 * MINUTE
            || self.time + 30 * DAY < now
            || (self.last_success.is_none() && self.attempts >= 3)
            || (self.last_success.is_none_or(|at| at + 7 * DAY <= now) && self.attempts >= 10)
    }

    /// In parts of 2⁶⁰: a hundredth for one that was just dialled, a third less for each attempt since it was last reached.
    fn chance(&self, now: u64) -> u128 {
        let is_recent = self.last_attempt.is_some_and(|at| now.saturating_sub(at) < 10 * MINUTE);
        let at_first = if is_recent { ONE / 100 } else { ONE };
        // After sixty it is a part of 2³⁶, and none is without a chance.
        (0..self.attempts.min(60)).fold(at_first, |chance, _| chance * 2 / 3)
    }
}

const ONE: u128 = 1 << 60;

impl Btcd {
    /// An empty book.
    pub fn new(mut stream: Stream) -> Self {
        let key = stream.u64();
        let (new, tried) = (vec![Vec::new(); NEW_BUCKETS as usize], vec![Vec::new(); TRIED_BUCKETS as usize]);
        Self { stream, key, known: BTreeMap::new(), new, tried, tried_count: 0 }
    }

    /// A client with an empty book.
    pub fn client(stream: Stream) -> Client<Self> {
        Client::new(Self::new(stream), RULES)
    }

    fn new_bucket(&self, address: Address, source: u64) -> u16 {
        let share = keyed(self.key, &[u64::from(address.slash16()), source]) % NEW_BUCKETS_PER_GROUP;
        (keyed(self.key, &[NEW, source, share]) % NEW_BUCKETS) as u16
    }

    fn tried_bucket(&self, address: Address) -> usize {
        let share =
            keyed(self.key, &[u64::from(address.ip), u64::from(address.port)]) % TRIED_BUCKETS_PER_GROUP;
        (keyed(self.key, &[TRIED, u64::from(address.slash16()), share]) % TRIED_BUCKETS) as usize
    }

    fn add(&mut self, now: u64, told: &Told, source: u64) {
        let Told { address, time, serves } = *told;
        if !is_routable(address) {
            return;
        }
        let mut references = 0;
        if let Some(known) = self.known.get_mut(&address) {
            // What serves more than was known gets the time that comes with it, be it older.
            if u64::from(time) > known.time || (serves && !known.serves) {
                known.time = u64::from(time);
                known.serves |= serves;
            }
            references = known.buckets.len();
            if known.is_tried || references == MAX_REFERENCES {
                return;
            }
            // Twice as many as it has: so one that is in one bucket comes into a second every other time.
            if references > 0 && self.stream.below(2 * references as u64) != 0 {
                return;
            }
        }
        let bucket = self.new_bucket(address, source);
        if self.new[usize::from(bucket)].contains(&address) {
            return;
        }
        if references == 0 {
            let known = Known {
                source,
                time: u64::from(time),
                serves,
                attempts: 0,
                last_attempt: None,
                last_success: None,
                is_tried: false,
                buckets: Vec::new(),
            };
            self.known.insert(address, known);
        }
        if self.new[usize::from(bucket)].len() >= NEW_BUCKET_SIZE {
            self.expire(now, bucket);
        }
        self.enter(address, bucket);
    }

    fn enter(&mut self, address: Address, bucket: u16) {
        self.new[usize::from(bucket)].push(address);
        self.known.get_mut(&address).expect("who enters is known").buckets.push(bucket);
    }

    /// Takes out who is not worth the place, and the oldest of the others.
    fn expire(&mut self, now: u64, bucket: u16) {
        let held = core::mem::take(&mut self.new[usize::from(bucket)]);
        let (bad, mut others): (Vec<_>, Vec<_>) =
            held.into_iter().partition(|address| self.known[address].is_bad(now));
        let oldest = (0..others.len()).min_by_key(|at| self.known[&others[*at]].time);
        let gone: Vec<_> = bad.into_iter().chain(oldest.map(|at| others.swap_remove(at))).collect();
        self.new[usize::from(bucket)] = others;
        for address in gone {
            let known = self.known.get_mut(&address).expect("who stands in a bucket is known");
            known.buckets.retain(|other| *other != bucket);
            // The one that comes in is not in a bucket yet, and not in this list.
            if known.buckets.is_empty() {
                self.known.remove(&address);
            }
        }
    }

    fn make_tried(&mut self, address: Address) {
        let known = self.known.get_mut(&address).expect("who is reached is known");
        known.is_tried = true;
        let left = core::mem::take(&mut known.buckets);
        for bucket in &left {
            self.new[usize::from(*bucket)].retain(|other| *other != address);
        }
        let bucket = self.tried_bucket(address);
        self.tried[bucket].push(address);
        if self.tried[bucket].len() <= TRIED_BUCKET_SIZE {
            self.tried_count += 1;
            return;
        }
        // No room: the one heard of the longest ago goes back, to where it came from or to where room is now.
        let others = 0..TRIED_BUCKET_SIZE;
        let oldest =
            others.min_by_key(|at| self.known[&self.tried[bucket][*at]].time).expect("there are some");
        let oldest = self.tried[bucket].swap_remove(oldest);
        let source = self.known[&oldest].source;
        let first = self.new_bucket(oldest, source);
        let is_full = self.new[usize::from(first)].len() >= NEW_BUCKET_SIZE - 1;
        let back = if is_full { *left.iter().min().expect("it was in a bucket") } else { first };
        self.known.get_mut(&oldest).expect("who is tried is known").is_tried = false;
        self.enter(oldest, back);
    }
}

const NEW: u64 = 1;
const TRIED: u64 = 2;

impl Book for Btcd {
    fn hear(&mut self, now: UnixTime, source: Source, told: &[Told]) {
        let now = now.as_secs();
        let source_group = match source {
            Source::Peer(peer) => peer.slash16(),
            // All of an answer is taken as told by the first address in it.
            Source::DnsSeed(_) => told.first().map_or(0, |first| first.address.slash16()),
            // There is no such list.
            Source::Fixed => return,
        };
        for one in told {
            let mut one = *one;
            // Neutrino asks the seeds for nodes that serve what it wants, and takes in no others from peers.
            if !one.serves && matches!(source, Source::Peer(_)) {
                continue;
            }
            one.serves = true;
            if u64::from(one.time) > now + 10 * MINUTE {
                one.time = u32::try_from(now.saturating_sub(5 * DAY)).unwrap_or(u32::MAX);
            }
            self.add(now, &one, u64::from(source_group));
        }
    }

    fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    fn draw(&mut self, now: UnixTime) -> Option<Drawn> {
        let new_count = self.known.len() - self.tried_count;
        let is_tried = self.tried_count > 0 && (new_count == 0 || self.stream.below(2) == 0);
        let table = if is_tried { &self.tried } else { &self.new };
        if self.known.is_empty() {
            return None;
        }
        let now = now.as_secs();
        let mut factor = ONE;
        // Each draw that is not taken makes the next a fifth likelier.
        loop {
            let bucket = &table[self.stream.index(table.len())];
            if bucket.is_empty() {
                continue;
            }
            let address = bucket[self.stream.index(bucket.len())];
            let known = &self.known[&address];
            let chance = known.chance(now).checked_mul(factor).map(|product| product >> 60);
            let drawn = u128::from(self.stream.u64() >> 4);
            if chance.is_none_or(|chance| drawn < chance) {
                let last_try = known.last_attempt.map(UnixTime::from_secs);
                return Some(Drawn { address, serves: known.serves, last_try });
            }
            factor = factor.saturating_add(factor / 5);
        }
    }

    fn dialled(&mut self, now: UnixTime, address: Address) {
        if let Some(known) = self.known.get_mut(&address) {
            known.attempts += 1;
            known.last_attempt = Some(now.as_secs());
        }
    }

    fn reached(&mut self, now: UnixTime, address: Address) {
        // It is told of once more, by itself.
        let time = u32::try_from(now.as_secs()).unwrap_or(u32::MAX);
        self.hear(now, Source::Peer(address), &[Told { address, time, serves: true }]);
        let Some(known) = self.known.get_mut(&address) else { return };
        known.attempts = 0;
        known.last_attempt = Some(now.as_secs());
        known.last_success = Some(now.as_secs());
        if !known.is_tried {
            self.make_tried(address);
        }
    }

    /// The attempt was counted when it was made.
    fn failed(&mut self, _now: UnixTime, _address: Address) {}

    fn ended(&mut self, _now: UnixTime, _address: Address) {}

    fn census(&self, is_adversary: &mut dyn FnMut(Address) -> bool) -> Census {
        let mut census = Census::default();
        for address in self.new.iter().flatten() {
            census.new += 1;
            census.new_adversary += u32::from(is_adversary(*address));
        }
        for address in self.tried.iter().flatten() {
            census.tried += 1;
            census.tried_adversary += u32::from(is_adversary(*address));
        }
        census
    }

    fn buckets(&self, is_wanted: &mut dyn FnMut(Address) -> bool) -> (u32, u32) {
        let mut count = |table: &[Vec<Address>]| {
            let has = |bucket: &&Vec<Address>| bucket.iter().any(|address| is_wanted(*address));
            table.iter().filter(has).count() as u32
        };
        (count(&self.new), count(&self.tried))
    }

    fn tell(&mut self, _now: UnixTime) -> Vec<Told> {
        let count = (self.known.len() * 23 / 100).min(MAX_TOLD);
        let mut all: Vec<_> = self.known.iter().collect();
        self.stream.shuffle(&mut all);
        let told = |(address, known): (&Address, &Known)| Told {
            address: *address,
            time: u32::try_from(known.time).unwrap_or(u32::MAX),
            serves: known.serves,
        };
        all.into_iter().take(count).map(told).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime::from_secs(1_700_000_000);

    fn peer(ip: u32) -> Source {
        Source::Peer(Address { ip, port: 8333 })
    }

    fn told(ip: u32, time: u64) -> Told {
        Told { address: Address { ip, port: 8333 }, time: time as u32, serves: true }
    }

    fn count(book: &Btcd) -> (u32, u32) {
        let census = book.census(&mut |_| false);
        (census.new, census.tried)
    }

    /// An attacker's fresh addresses push out everybody in the buckets of its group, and nobody elsewhere.
    #[test]
    fn one_source_fills_its_buckets_and_the_oldest_go() {
        let mut book = Btcd::new(Stream::new(1));
        let mut stream = Stream::new(9);
        for n in 0..90_000 {
            let mut group = || stream.below(2000) as u32 * 0x1_0000;
            let (told, source) = (told(0x1000_0000 + group() + n % 0x1_0000, NOW.as_secs() - 1000), group());
            book.hear(NOW, peer(0x1000_0001 + source), &[told]);
        }
        assert!(count(&book).0 > 66_000);
        for group in 0..2000u32 {
            let list: Vec<_> =
                (0..20).map(|n| told(0xa000_0000 + group * 0x1_0000 + n, NOW.as_secs())).collect();
            book.hear(NOW, peer(0x8080_0001), &list);
        }
        let census = book.census(&mut |address| address.ip >= 0xa000_0000);
        // 64 draws of 1024 buckets are 62 distinct ones or so.
        let buckets = census.new_adversary as usize / NEW_BUCKET_SIZE;
        assert!((57..=64).contains(&buckets), "{census:?}");
        assert_eq!(census.new_adversary as usize, buckets * NEW_BUCKET_SIZE);
        assert!(census.new > 66_000);
    }

    #[test]
    fn a_group_reaches_an_eighth_of_the_tried() {
        let mut book = Btcd::new(Stream::new(2));
        for n in 0..3000 {
            let address = told(0x2020_0000 + n, NOW.as_secs()).address;
            book.hear(NOW, peer(0x3030_0001), &[told(address.ip, NOW.as_secs())]);
            book.reached(NOW, address);
        }
        let (new, tried) = count(&book);
        assert_eq!(book.known.len() as u32, new + tried, "nobody is in two places: {new} {tried}");
        assert_eq!(book.tried_count as u32, tried);
        assert!(tried <= 8 * TRIED_BUCKET_SIZE as u32 && tried >= 4 * TRIED_BUCKET_SIZE as u32, "{tried}");
        assert!(book.tried.iter().all(|bucket| bucket.len() <= TRIED_BUCKET_SIZE));
    }

    #[test]
    fn failures_and_a_recent_attempt_lower_the_chance() {
        let known = |attempts, last_attempt| Known {
            source: 0,
            time: 0,
            serves: true,
            attempts,
            last_attempt,
            last_success: None,
            is_tried: false,
            buckets: Vec::new(),
        };
        let rows = [
            (0, None, 1.0),
            (1, None, 0.666_667),
            (3, None, 0.296_296),
            (0, Some(1000), 0.01),
            (2, Some(1000), 0.004_444),
            (0, Some(400), 1.0),
        ];
        for (attempts, last, expected) in rows {
            let chance = known(attempts, last).chance(1000) as f64 / ONE as f64;
            assert!((chance - expected).abs() < 1e-6, "{attempts} {last:?}: {chance}");
        }
        assert!(known(u32::MAX, Some(1000)).chance(1000) > 0);
    }

    #[test]
    fn whom_it_draws_of_is_worth_a_dial() {
        let mut book = Btcd::new(Stream::new(3));
        assert_eq!(book.draw(NOW), None);
        book.hear(
            NOW,
            peer(0x0808_0808),
            &[told(0x0909_0909, NOW.as_secs()), told(0x0a00_0001, NOW.as_secs())],
        );
        book.hear(NOW, peer(0x0808_0808), &[Told { serves: false, ..told(0x0b0b_0b0b, NOW.as_secs()) }]);
        let drawn = book.draw(NOW).expect("there is one");
        assert_eq!(drawn, Drawn { address: told(0x0909_0909, 0).address, serves: true, last_try: None });
        for _ in 0..100 {
            book.dialled(NOW, drawn.address);
        }
        // However often it failed: there is nobody else.
        assert_eq!(book.draw(NOW).map(|drawn| drawn.last_try), Some(Some(NOW)));
    }
}
