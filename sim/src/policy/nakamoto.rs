//! Nakamoto's book, of its version 0.4: up to 256 addresses in each of 255 ranges, by the first two bytes of an address.
//!
//! There is no table of nodes that were reached, no secret, no limit to what one source fills, and one node per IP address. A
//! range that is full gives up one of its addresses at random, whether it was ever reached or not. One dial that fails rules
//! a node out for good, unless it was reached before.

use core::time::Duration;
use std::collections::BTreeMap;

use andon_kernel::UnixTime;

use super::book::{Book, Drawn, ip};
use super::client::{Client, Rules, Seeds};
use super::{Address, Census, Source, Told};
use crate::random::Stream;

/// A range has so many addresses at most.
pub const RANGE_SIZE: usize = 256;
/// The first 16 bits modulo this number are the range: there is none of the number 255.
pub const RANGES: u16 = 255;
/// Messages with more are passed over.
const MAX_TOLD: usize = 1000;
/// An address that was drawn is not drawn again within this time.
const SAMPLE: Duration = Duration::from_secs(3 * 60);
/// A time further ahead is not believed.
const MAX_AHEAD: Duration = Duration::from_secs(60 * 60);

/// Nakamoto's client: eight connections, whoever they are to.
pub const RULES: Rules = Rules {
    outgoing: 8,
    at_once: 8,
    one_per_group: false,
    only_serving: true,
    draws: 1,
    draws_before_recent: 0,
    draws_before_ports: 0,
    pause: Duration::from_secs(60),
    failures_to_pause: u32::MAX,
    seeds: Seeds::AtStartIfEmpty,
    longest: None,
};

/// Nakamoto's book.
#[derive(Debug)]
pub struct Nakamoto {
    stream: Stream,
    known: BTreeMap<u32, Known>,
    /// Addresses by range.
    ranges: BTreeMap<u16, Vec<u32>>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    port: u16,
    serves: bool,
    time: u32,
    last_sampled: Option<UnixTime>,
    last_attempt: Option<UnixTime>,
    was_reached: bool,
    is_connected: bool,
}

impl Nakamoto {
    /// An empty book.
    pub const fn new(stream: Stream) -> Self {
        Self { stream, known: BTreeMap::new(), ranges: BTreeMap::new() }
    }

    /// A client with an empty book.
    pub const fn client(stream: Stream) -> Client<Self> {
        Client::new(Self::new(stream), RULES)
    }

    /// Of those of which `wants` is true, one out of a random range, each range as likely as the others.
    fn sample(&mut self, now: UnixTime, wants: impl Fn(&Known) -> bool) -> Option<Drawn> {
        let mut ranges: Vec<&Vec<u32>> = self.ranges.values().collect();
        // Shuffled as far as it takes.
        while !ranges.is_empty() {
            let mut range = ranges.swap_remove(self.stream.index(ranges.len())).clone();
            while !range.is_empty() {
                let ip = range.swap_remove(self.stream.index(range.len()));
                let known = self.known.get_mut(&ip).expect("what is in a range is known");
                let never_answered = known.last_attempt.is_some() && !known.was_reached;
                let since = |at: UnixTime| now.as_secs().saturating_sub(at.as_secs());
                let is_sampled = known.last_sampled.is_some_and(|at| since(at) < SAMPLE.as_secs());
                if never_answered || is_sampled || known.is_connected || !wants(known) {
                    continue;
                }
                known.last_sampled = Some(now);
                let address = Address { ip, port: known.port };
                return Some(Drawn { address, serves: known.serves, last_try: known.last_attempt });
            }
        }
        None
    }

    fn update(&mut self, address: Address, change: impl FnOnce(&mut Known)) {
        if let Some(known) = self.known.get_mut(&address.ip) {
            change(known);
        }
    }
}

impl Book for Nakamoto {
    fn hear(&mut self, now: UnixTime, source: Source, told: &[Told]) {
        if told.len() > MAX_TOLD && matches!(source, Source::Peer(_)) {
            return;
        }
        for told in told {
            let ip_address = ip(told.address);
            let is_usable = !ip_address.is_private()
                && !ip_address.is_loopback()
                && !ip_address.is_link_local()
                && !ip_address.is_broadcast()
                && !ip_address.is_documentation()
                && ip_address.octets()[0] != 0;
            let is_ahead = u64::from(told.time) > now.as_secs() + MAX_AHEAD.as_secs();
            // What seeds answer has no time, and needs none.
            let has_time = told.time != 0 || matches!(source, Source::DnsSeed(_));
            if !is_usable || !has_time || is_ahead || self.known.contains_key(&told.address.ip) {
                continue;
            }
            let range = self.ranges.entry(told.address.slash16() % RANGES).or_default();
            if range.len() == RANGE_SIZE {
                let gone = range.swap_remove(self.stream.index(RANGE_SIZE));
                self.known.remove(&gone);
            }
            range.push(told.address.ip);
            let known = Known {
                port: told.address.port,
                // A seed's answer does not say.
                serves: told.serves && matches!(source, Source::Peer(_)),
                time: told.time,
                last_sampled: None,
                last_attempt: None,
                was_reached: false,
                is_connected: false,
            };
            self.known.insert(told.address.ip, known);
        }
    }

    fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Among those that serve what is wanted, if there are any left; else among all: they may know some.
    fn draw(&mut self, now: UnixTime) -> Option<Drawn> {
        let serving = self.sample(now, |known| known.serves);
        // It is dialled although it serves nothing.
        serving.or_else(|| self.sample(now, |_| true).map(|drawn| Drawn { serves: true, ..drawn }))
    }

    fn dialled(&mut self, now: UnixTime, address: Address) {
        self.update(address, |known| known.last_attempt = Some(now));
    }

    fn reached(&mut self, now: UnixTime, address: Address) {
        self.update(address, |known| {
            known.was_reached = true;
            known.serves = true;
            known.is_connected = true;
            known.time = u32::try_from(now.as_secs()).unwrap_or(u32::MAX);
        });
    }

    /// The node stays, and is passed over if it was never reached: only who was connected is taken out.
    fn failed(&mut self, _now: UnixTime, _address: Address) {}

    fn ended(&mut self, _now: UnixTime, address: Address) {
        self.update(address, |known| known.is_connected = false);
    }

    fn census(&self, is_adversary: &mut dyn FnMut(Address) -> bool) -> Census {
        let mut census = Census::default();
        for (ip, known) in &self.known {
            census.new += 1;
            census.new_adversary += u32::from(is_adversary(Address { ip: *ip, port: known.port }));
        }
        census
    }

    fn buckets(&self, is_wanted: &mut dyn FnMut(Address) -> bool) -> (u32, u32) {
        let known = |ip: &u32| Address { ip: *ip, port: self.known[ip].port };
        (self.ranges.values().filter(|range| range.iter().any(|ip| is_wanted(known(ip)))).count() as u32, 0)
    }

    /// One of each range.
    fn tell(&mut self, _now: UnixTime) -> Vec<Told> {
        let Self { stream, known, ranges } = self;
        let one = |range: &Vec<u32>| {
            let ip = range[stream.index(range.len())];
            let Known { port, serves, time, .. } = known[&ip];
            Told { address: Address { ip, port }, time, serves }
        };
        ranges.values().map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime::from_secs(1_700_000_000);

    fn told(ip: u32) -> Told {
        Told { address: Address { ip, port: 8333 }, time: NOW.as_secs() as u32, serves: true }
    }

    fn peer(ip: u32) -> Source {
        Source::Peer(Address { ip, port: 8333 })
    }

    /// One source, of one address, takes the whole book.
    #[test]
    fn one_source_fills_every_range() {
        let mut book = Nakamoto::new(Stream::new(1));
        for n in 0..300 {
            let honest: Vec<_> = (0..255).map(|group| told(0x1000_0000 + group * 0x1_0000 + n)).collect();
            book.hear(NOW, peer(0x3000_0001 + n * 0x1_0000), &honest);
        }
        for n in 0..3000u32 {
            let list: Vec<_> = (0..255).map(|group| told(0x8000_0000 + group * 0x1_0000 + n)).collect();
            book.hear(NOW, peer(0x0808_0808), &list);
        }
        let census = book.census(&mut |address| address.ip >= 0x8000_0000);
        assert_eq!((census.new, census.tried), (255 * 256, 0));
        assert!(census.new_adversary > census.new * 99 / 100, "{census:?}");
        assert!(book.ranges.values().all(|range| range.len() <= RANGE_SIZE));
    }

    #[test]
    fn who_failed_once_is_not_drawn_again() {
        let mut book = Nakamoto::new(Stream::new(2));
        book.hear(
            NOW,
            peer(0x0808_0808),
            &[told(0x0909_0909), told(0x0a00_0001), Told { time: 0, ..told(0x0b0b_0b0b) }],
        );
        let drawn = book.draw(NOW).expect("there is one").address;
        assert_eq!((drawn.ip, book.draw(NOW)), (0x0909_0909, None));
        let later = UnixTime::from_secs(NOW.as_secs() + 180);
        assert!(book.draw(later).is_some());
        book.dialled(later, drawn);
        book.failed(later, drawn);
        assert_eq!(book.draw(UnixTime::from_secs(later.as_secs() + 86_400)), None);
        book.reached(later, drawn);
        assert_eq!(book.draw(UnixTime::from_secs(later.as_secs() + 86_400)), None, "it is connected");
        book.ended(later, drawn);
        assert!(book.draw(UnixTime::from_secs(later.as_secs() + 86_400)).is_some());
    }
}
