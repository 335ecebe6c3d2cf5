//! What lies between two nodes: delay, jitter, loss and bandwidth.
//!
//! Nothing is stored for pairs of nodes: what a pair has of its own comes from a hash of the world's seed and the two.

use core::time::Duration;

use super::node::NodeId;
use crate::random::{Chance, Stream, mix};

/// How long bytes take, and what is lost.
#[derive(Clone, Debug)]
pub struct Links {
    /// One way between two nodes.
    pub latency: Latency,
    /// How much longer a segment may take, in thousandths of the latency; evenly spread. Order is kept.
    pub jitter: u32,
    /// How often a packet of 1,460 bytes of a connection is lost, and each half of a dial. It comes later, and all behind it wait.
    pub loss: Chance,
    /// How datagrams are lost.
    pub datagrams: GilbertElliott,
    /// Bytes come in pieces of a random size up to this; `None`: as large as a read.
    pub pieces: Option<u32>,
}

/// How long a segment takes from one node to another.
#[derive(Clone, Debug)]
pub enum Latency {
    /// The same between all.
    Fixed(Duration),
    /// By the regions of the two, times a factor from 1 to 2 that each pair has of its own: what lies between a node and its region's exchange.
    Regions(&'static Regions),
}

/// Milliseconds one way between regions, and how many of a thousand nodes are in each.
#[derive(Debug)]
pub struct Regions {
    /// What they are called.
    pub names: [&'static str; 5],
    /// Of a thousand nodes.
    pub share: [u32; 5],
    /// From one to another.
    pub millis: [[u32; 5]; 5],
}

/// The public network: with the pairs' factor, half of all round trips take less than about 156 ms, as measured between nodes of the live network in 2024 and 2025.
pub static INTERNET: Regions = Regions {
    names: ["Europe", "North America", "Asia", "South America", "Oceania"],
    share: [480, 330, 140, 30, 20],
    millis: [
        [18, 52, 95, 100, 140],
        [52, 25, 85, 75, 85],
        [95, 85, 40, 150, 65],
        [100, 75, 150, 20, 150],
        [140, 85, 65, 150, 15],
    ],
};

impl Default for Links {
    /// A fixed latency of 40 ms; nothing is lost.
    fn default() -> Self {
        Self {
            latency: Latency::Fixed(Duration::from_millis(40)),
            jitter: 0,
            loss: Chance::NEVER,
            datagrams: GilbertElliott::NONE,
            pieces: None,
        }
    }
}

impl Links {
    /// As between nodes of the public network: regions, a tenth of jitter, one packet in a thousand lost.
    pub fn internet() -> Self {
        Self {
            latency: Latency::Regions(&INTERNET),
            jitter: 100,
            loss: Chance::of(1, 1000),
            datagrams: GilbertElliott::WIDE_AREA,
            pieces: None,
        }
    }

    /// One way between two nodes, without jitter, in nanoseconds. The same in both directions.
    pub(super) fn between(&self, seed: u64, (a, in_a): (NodeId, u8), (b, in_b): (NodeId, u8)) -> u64 {
        match self.latency {
            Latency::Fixed(latency) => u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX),
            Latency::Regions(regions) => {
                let (low, high) = (a.min(b), a.max(b));
                let pair = mix(seed ^ mix(u64::from(low.0) << 32 | u64::from(high.0)));
                let millis = regions.millis[in_a as usize % 5][in_b as usize % 5];
                // From 1 to 2 in steps of a 65,536th.
                let nanos = u128::from(millis) * 1_000_000 * u128::from(65_536 + (pair >> 48)) / 65_536;
                u64::try_from(nanos).unwrap_or(u64::MAX)
            }
        }
    }

    /// How much longer than the latency a segment takes at most, if it is not lost.
    pub(super) fn most_jitter(&self, latency: u64) -> u64 {
        (latency / 1000).saturating_mul(u64::from(self.jitter))
    }

    /// What a segment takes longer than the latency says: jitter, and waiting until what was lost has come again.
    /// In nanoseconds, as the latency.
    pub(super) fn delay(&self, latency: u64, bytes: usize, stream: &mut Stream) -> u64 {
        let mut delay = 0;
        if self.jitter > 0 {
            delay += stream.below(self.most_jitter(latency).saturating_add(1));
        }
        if self.loss != Chance::NEVER {
            // Who sends again waits for two round trips, 200 ms at least, and twice as long each time.
            let first = latency.saturating_mul(4).max(200_000_000);
            for _ in 0..bytes.div_ceil(PACKET).max(1) {
                let mut wait = first;
                let mut lost = 0_u64;
                for _ in 0..REPEATS {
                    if !stream.happens(self.loss) {
                        break;
                    }
                    lost = lost.saturating_add(wait);
                    wait = wait.saturating_mul(2);
                }
                delay = delay.max(lost);
            }
        }
        delay
    }
}

/// How often one packet is lost at most: the last wait is of 51 seconds at least.
const REPEATS: u32 = 9;
/// What TCP sends at once.
const PACKET: usize = 1460;

/// A link with two states (Gilbert 1960, Elliott 1963): in a good one packets are seldom lost, in a bad one often, so
/// that losses come in bursts. Each node's way out is one of its own.
#[derive(Clone, Copy, Debug)]
pub struct GilbertElliott {
    /// From good to bad, with each datagram.
    pub to_bad: Chance,
    /// From bad to good.
    pub to_good: Chance,
    /// Lost in the good state.
    pub lost_good: Chance,
    /// Lost in the bad state.
    pub lost_bad: Chance,
}

impl GilbertElliott {
    /// Nothing is lost.
    pub const NONE: Self = Self {
        to_bad: Chance::NEVER,
        to_good: Chance::ALWAYS,
        lost_good: Chance::NEVER,
        lost_bad: Chance::NEVER,
    };

    /// A good link over a wide area: one datagram in two hundred is lost, mostly in bursts of some four.
    pub const WIDE_AREA: Self = Self {
        to_bad: Chance::parts(1 << 55),  // One of 512.
        to_good: Chance::parts(1 << 62), // One of four.
        lost_good: Chance::parts(1 << 52),
        lost_bad: Chance::parts(5 << 61),
    };

    /// One datagram: whether it is lost, and the state after it.
    pub(super) fn step(&self, is_bad: &mut bool, stream: &mut Stream) -> bool {
        *is_bad = if *is_bad { !stream.happens(self.to_good) } else { stream.happens(self.to_bad) };
        stream.happens(if *is_bad { self.lost_bad } else { self.lost_good })
    }
}

impl Regions {
    /// The region of a node, by a number that is evenly spread.
    pub fn pick(&self, random: u64) -> u8 {
        let mut rest = (random % 1000) as u32;
        for (region, &share) in self.share.iter().enumerate() {
            if rest < share {
                return region as u8;
            }
            rest -= share;
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_are_as_measured() {
        let links = Links::internet();
        let mut stream = Stream::new(1);
        let mut trips: Vec<u64> = (0..20_001)
            .map(|pair| {
                let ends = [INTERNET.pick(stream.u64()), INTERNET.pick(stream.u64())];
                let one_way = links.between(7, (NodeId(pair), ends[0]), (NodeId(pair + 1), ends[1]));
                assert_eq!(one_way, links.between(7, (NodeId(pair + 1), ends[1]), (NodeId(pair), ends[0])));
                2 * one_way / 1_000_000
            })
            .collect();
        trips.sort_unstable();
        let median = trips[10_000];
        assert!((130..180).contains(&median), "{median} ms");
    }

    #[test]
    fn losses_delay_and_come_in_bursts() {
        let links = Links { loss: Chance::of(1, 100), ..Links::default() };
        let mut stream = Stream::new(2);
        let latency = 40_000_000;
        let delays: Vec<_> = (0..100_000).map(|_| links.delay(latency, 100, &mut stream)).collect();
        let late = delays.iter().filter(|delay| **delay > 0).count();
        assert!((900..1100).contains(&late), "{late}");
        assert!(delays.contains(&200_000_000) && delays.contains(&600_000_000));

        let mut is_bad = false;
        let lost: Vec<bool> =
            (0..1_000_000).map(|_| GilbertElliott::WIDE_AREA.step(&mut is_bad, &mut stream)).collect();
        let all = lost.iter().filter(|lost| **lost).count();
        assert!((4000..6500).contains(&all), "{all}");
        let pairs = lost.windows(2).filter(|pair| pair[0] && pair[1]).count();
        assert!(pairs * 3 > all, "{pairs} of {all} follow another");
    }
}
