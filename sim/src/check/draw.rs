//! A scenario from a seed.

use super::file::SCHEMA;
use super::scenario::{
    Cache, ClientPart, Crash, Encryption, Given, Happening, LinksPart, PeerPart, Scenario, What,
};
use crate::adversary::Lie;
use crate::chain::{LENGTHS, SCRIPTS};
use crate::random::Stream;

/// How long the client has, after the faults, to come to know what is true: longer than every delay that grows, and than a silent
/// connection lives.
const WITHIN: u64 = 4 * 60 * 60;

/// The scenario of a seed. It is a sound one.
pub fn draw(seed: u64) -> Scenario {
    let stream = Stream::new(seed).fork("scenario");
    let mut draws = stream.fork("world");
    let trunk = match draws.below(40) {
        0 => LENGTHS[5],
        1 => LENGTHS[4],
        2..8 => LENGTHS[3],
        8..18 => LENGTHS[2],
        18..36 => LENGTHS[1],
        _ => LENGTHS[0],
    };
    let ends = match draws.below(10) {
        0..3 => draws.within(2_000..20_000),
        3..7 => draws.within(20_000..300_000),
        7..9 => draws.within(300_000..1_800_000),
        _ => draws.within(1_800_000..7_200_000),
    };
    let age = [0, 60, 600, 7200, 86_400][draws.index(5)];
    let client = client(&mut stream.fork("client"));
    let links = links(&mut stream.fork("links"));
    let peers = peers(&mut stream.fork("peers"), &client);
    let numbers: Vec<u8> = peers.iter().map(|peer| peer.number).collect();
    let mut drawing = Drawing { draws: stream.fork("events"), trunk, ends, numbers, salt: 0 };
    let events = drawing.events();
    Scenario { schema: SCHEMA, seed, trunk, age, ends, within: WITHIN, client, links, peers, events }
}

/// Whether something happens once in so many times.
fn once(draws: &mut Stream, of: u64) -> bool {
    draws.below(of) == 0
}

fn client(draws: &mut Stream) -> ClientPart {
    ClientPart {
        encryption: match draws.below(6) {
            0 | 1 => Encryption::Off,
            2 => Encryption::Required,
            _ => Encryption::Preferred,
        },
        quorum: draws.within(1..=4) as u8,
        // A filter here has some tens of bytes.
        cache: match draws.below(4) {
            0 => Cache::All,
            1 => Cache::Bytes(draws.within(500..5000)),
            _ => Cache::Off,
        },
        newest_first: once(draws, 3),
        acknowledged: once(draws, 2),
        discovery: if once(draws, 3) { draws.within(1..=8) as u8 } else { 0 },
        metered: once(draws, 8),
        decoy_blocks: if once(draws, 4) { draws.within(1..=50) as u32 } else { 0 },
        decoys: if once(draws, 6) { draws.within(1..=300) as u16 } else { 0 },
        window: [2000, 16_500, 1 << 20][draws.index(3)],
        stall: [2000, 20_000, 20_000][draws.index(3)],
        retry: [300, 5000, 5000][draws.index(3)],
        room: [3, 50, 1000][draws.index(3)],
        slow_disk: once(draws, 4),
        line: if once(draws, 5) { draws.within(3000..200_000) as u32 } else { 0 },
    }
}

fn links(draws: &mut Stream) -> LinksPart {
    LinksPart {
        latency: [0, 5, 40, 300][draws.index(4)],
        jitter: [0, 100, 1000][draws.index(3)],
        loss: [0, 0, 10, 200][draws.index(4)],
        pieces: [0, 0, 0, 3000, 300][draws.index(5)],
    }
}

fn peers(draws: &mut Stream, client: &ClientPart) -> Vec<PeerPart> {
    let count = draws.within(1..=6) as u8;
    // The first is honest, and serves all.
    let mut peers: Vec<PeerPart> = (0..count)
        .map(|number| PeerPart {
            number,
            lie: None,
            since: 0,
            hides: vec![],
            given: match draws.below(if client.discovery > 0 { 5 } else { 3 }) {
                0 | 1 => Given::Address,
                2 => Given::Name,
                _ => Given::No,
            },
            group: if once(draws, 4) { 0 } else { number },
            region: draws.below(5) as u8,
            encrypts: !once(draws, 4),
            filters: !once(draws, 8),
            lags_from: if once(draws, 8) { draws.within(1..=200) as u32 } else { 0 },
            tells: once(draws, 2),
            line: if once(draws, 6) { draws.within(2000..100_000) as u32 } else { 0 },
        })
        .collect();
    let most = count - 1;
    let liars = match draws.below(4) {
        0 => most,
        1 => draws.below(u64::from(most) + 1) as u8,
        _ => 0,
    };
    // All lie in the same way, or each in its own.
    let common = once(draws, 2).then(|| Lie::ALL[draws.index(Lie::ALL.len())]);
    let since = [1, 1, 20, 90][draws.index(4)];
    let hides: Vec<u8> =
        if once(draws, 2) { (0..SCRIPTS).filter(|_| once(draws, 3)).collect() } else { vec![] };
    for peer in peers.iter_mut().rev().take(liars.into()) {
        let own = Lie::ALL[draws.index(Lie::ALL.len())];
        (peer.lie, peer.filters, peer.lags_from) = (Some(common.unwrap_or(own)), true, 0);
        (peer.since, peer.hides) = (since, hides.clone());
    }
    let first = &mut peers[0];
    (first.filters, first.lags_from) = (true, 0);
    first.encrypts |= client.encryption == Encryption::Required;
    first.tells |= client.discovery > 0;
    if first.given == Given::No {
        first.given = Given::Address;
    }
    // Events name numbers, and the order in which peers are given should not say who is honest.
    let mut numbers: Vec<u8> = (0..count).collect();
    draws.shuffle(&mut numbers);
    for (peer, number) in peers.iter_mut().zip(numbers) {
        peer.number = number;
    }
    peers.sort_by_key(|peer| peer.number);
    peers
}

struct Drawing {
    draws: Stream,
    trunk: u32,
    ends: u64,
    numbers: Vec<u8>,
    salt: u32,
}

impl Drawing {
    fn events(&mut self) -> Vec<Happening> {
        let mut events: Vec<Happening> =
            (0..self.draws.within(1..=4)).map(|_| Happening { at: 0, what: self.watch() }).collect();
        // Each world has some kinds of what can happen, and not others: what all do at once covers what one does alone.
        let kinds: Vec<u64> = (0..self.draws.within(2..=8)).map(|_| self.draws.below(KINDS)).collect();
        if once(&mut self.draws, 4) {
            self.cut_short(&mut events);
        }
        for _ in 0..self.draws.within(0..=30) {
            // Much goes on in the first seconds.
            let most = if once(&mut self.draws, 3) { self.ends.min(8000) } else { self.ends };
            let at = self.draws.below(most);
            let kind = match self.draws.below(3) {
                0 => 0,
                _ => kinds[self.draws.index(kinds.len())],
            };
            let what = self.what(kind);
            events.push(Happening { at, what });
        }
        events.sort_by_key(|event| event.at);
        events
    }

    /// The client ends in the midst of a search, and perhaps before its application has taken what was told.
    fn cut_short(&mut self, events: &mut Vec<Happening>) {
        let at = self.draws.below(self.ends);
        let script = self.draws.below(u64::from(SCRIPTS) / 2) as u8 * 2 + 1;
        if once(&mut self.draws, 2) {
            events.push(Happening { at, what: What::Stall { time: 10_000 } });
        }
        events.push(Happening { at, what: What::Watch { script, from: 0 } });
        let after = at + self.draws.within(1..1500);
        let time = self.draws.within(1..10_000);
        events.push(Happening { at: after, what: What::Crash { how: self.how(), time, changes: false } });
    }

    fn what(&mut self, kind: u64) -> What {
        match kind {
            0 | 1 => self.blocks(0),
            2 | 3 => {
                let depth = match self.draws.below(6) {
                    0 => self.draws.within(1..=100),
                    1 => self.draws.within(1..=20),
                    _ => self.draws.within(1..=4),
                };
                self.blocks(depth as u32)
            }
            4 => What::Learn { peer: self.peer() },
            5 => What::Rival { peer: self.peer(), count: self.draws.within(1..=3) as u32, salt: self.salt() },
            6 => What::PeerDown { peer: self.peer(), how: self.how(), time: self.time() },
            7 => {
                What::Unreachable { peer: self.peer(), refuses: once(&mut self.draws, 2), time: self.time() }
            }
            8 => What::Cut { peer: self.peer() },
            9 => What::Divide { peers: self.some(), time: self.time() },
            10 => What::Slow {
                peer: self.peer(),
                line: self.draws.within(200..20_000) as u32,
                time: self.time(),
            },
            11 => What::Weather { links: self.weather(), time: self.time() },
            12 => What::Skew { seconds: self.draws.below(20_000) as i64 - 10_000, time: self.time() },
            13 => What::NoNames { time: self.time() },
            14 => What::SlowDisk { time: self.time() },
            15 => What::Stall { time: self.time() },
            16 | 17 => What::Crash {
                how: self.how(),
                time: self.draws.within(1..10_000),
                changes: once(&mut self.draws, 3),
            },
            18 | 19 => self.watch(),
            20 => What::Unwatch { script: self.draws.below(SCRIPTS.into()) as u8 },
            21 => What::Rescan { from: self.height() },
            22 => What::FindSpend { height: self.height() },
            23 => What::Ask { height: self.height(), time: self.draws.within(100..100_000) },
            24 => What::Filters { from: self.height() },
            25 => What::Pause { time: self.time() },
            26 => What::Metered { on: once(&mut self.draws, 2) },
            _ => What::Forget { peer: self.peer(), time: self.time() },
        }
    }

    fn blocks(&mut self, depth: u32) -> What {
        let count = [1, 1, 1, 2, 3, 9, 30][self.draws.index(7)];
        What::Blocks { depth, count, salt: self.salt(), tells: self.some() }
    }

    fn watch(&mut self) -> What {
        let from = if once(&mut self.draws, 2) { 0 } else { self.height() };
        What::Watch { script: self.draws.below(SCRIPTS.into()) as u8, from }
    }

    fn weather(&mut self) -> LinksPart {
        LinksPart {
            latency: [100, 1000][self.draws.index(2)],
            jitter: [0, 2000][self.draws.index(2)],
            loss: [0, 500, 2000][self.draws.index(3)],
            pieces: [0, 50][self.draws.index(2)],
        }
    }

    fn how(&mut self) -> Crash {
        [Crash::Process, Crash::Power, Crash::Stop][self.draws.index(3)]
    }

    fn salt(&mut self) -> u32 {
        self.salt += 1;
        self.salt
    }

    fn peer(&mut self) -> u8 {
        self.numbers[self.draws.index(self.numbers.len())]
    }

    /// Some of the peers, all of them more often than not.
    fn some(&mut self) -> Vec<u8> {
        let mut some = self.numbers.clone();
        if once(&mut self.draws, 2) {
            some.retain(|_| once(&mut self.draws, 2));
        }
        some
    }

    fn height(&mut self) -> u32 {
        self.draws.below(u64::from(self.trunk) + 20) as u32
    }

    /// For how long something lasts: mostly a part of the world's time.
    fn time(&mut self) -> u64 {
        match self.draws.below(3) {
            0 => self.draws.within(10..2000),
            1 => self.draws.within(500..30_000),
            _ => self.draws.within(1..=self.ends),
        }
    }
}

/// How many kinds of events [`Drawing::what`] knows.
const KINDS: u64 = 28;
