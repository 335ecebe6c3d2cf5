//! Real headers: each stretch of a public network's chain that is at hand is taken exactly as it is, and nothing that
//! differs from it in one bit is.
//!
//! Proof of work can't be made up, so a rule that is looked at after it is tried the other way round: the header stays
//! what it is, and the chain before it is changed.
#![allow(clippy::unwrap_used, reason = "a test that can not go on has failed")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use andon_bitcoin::headers::{
    BlockId, HeaderChain, HeaderError, Kept, Lineage, PERIOD, Rules, Stop, Taken, WorkProof, WorkProofError,
};
use andon_bitcoin::points::{known_blocks, start_points};
use andon_bitcoin::wire::MAX_HEADERS;
use andon_kernel::{Rng, UnixTime};
use bitcoin::block::{Header, Version};
use bitcoin::consensus::{deserialize, serialize};
use bitcoin::hashes::Hash;
use bitcoin::params::Params;
use bitcoin::{BlockHash, CompactTarget, Network, TxMerkleNode, Work};

use common::{chain_data, read};

/// Later than all that is looked at.
const NOW: UnixTime = UnixTime::from_secs(4_000_000_000);

/// The least difficulty of mainnet and of the first testnets.
const EASIEST: u32 = 0x1d00_ffff;

/// One header in that many is mutated in every way.
const SAMPLED: u64 = 40;

/// Times whose median a header's must exceed.
const TIMES: usize = 11;

type Hashed = (Header, BlockHash);

/// Headers of consecutive blocks.
struct Run {
    name: String,
    network: Network,
    /// Height of the first one.
    first: u32,
    headers: Vec<Hashed>,
    /// Of the chain up to and with each.
    works: Vec<Work>,
    /// First blocks of difficulty periods, where the run does not have them.
    period_firsts: BTreeMap<u32, Header>,
}

/// Everything that is at hand.
struct Data {
    runs: Vec<Run>,
    /// First and last blocks of mainnet's difficulty periods.
    boundaries: BTreeMap<u32, Header>,
    /// Mainnet's runs by name: work before the first and up to the last.
    works: Vec<(String, Work, Work)>,
    /// Work up to and with first blocks of periods, as bitcoinj's checkpoints have it.
    checkpoints: BTreeMap<(Network, u32), Work>,
}

/// A chain as far as the rules for its next header depend on it, each part of which can be made up.
#[derive(Clone)]
struct Past {
    height: u32,
    hash: BlockHash,
    work: Work,
    bits: CompactTarget,
    period_first: (u32, CompactTarget),
    /// Of the last blocks, latest first.
    times: Vec<u32>,
}

impl Past {
    /// By way of its stored form: nothing else can say what no chain has shown.
    fn lineage(&self) -> Lineage {
        let mut ring = [0; TIMES];
        for (time, height) in self.times.iter().zip((0..=self.height).rev()) {
            ring[height as usize % TIMES] = *time;
        }
        let (time, period_bits) = self.period_first;
        let mut bytes = self.height.to_be_bytes().to_vec();
        bytes.extend_from_slice(self.hash.as_byte_array());
        bytes.extend_from_slice(&self.work.to_be_bytes());
        // Within a period all blocks have the difficulty of its first, or the least.
        let numbers = [self.bits, period_bits].map(CompactTarget::to_consensus).into_iter();
        for number in numbers.chain([time, period_bits.to_consensus()]).chain(ring) {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        bytes.push(self.times.len() as u8);
        Lineage::decode(&bytes).unwrap()
    }

    /// What the rules say of a header after it. The header need not name the last block: who takes it looks after that.
    fn judge(&self, rules: &Rules, header: &Header) -> Result<(), HeaderError> {
        self.judge_at(rules, header, NOW)
    }

    fn judge_at(&self, rules: &Rules, header: &Header, now: UnixTime) -> Result<(), HeaderError> {
        self.lineage().advance(rules, header, header.block_hash(), now, false)
    }
}

impl Run {
    fn rules(&self) -> Rules {
        Rules::new(self.network)
    }

    fn last(&self) -> u32 {
        self.first + self.headers.len() as u32 - 1
    }

    fn header(&self, height: u32) -> &Header {
        &self.headers[(height - self.first) as usize].0
    }

    fn has(&self, height: u32) -> bool {
        (self.first..=self.last()).contains(&height)
    }

    fn block(&self, height: u32) -> BlockId {
        BlockId { height, hash: self.headers[(height - self.first) as usize].1 }
    }

    /// The headers from a height on.
    fn from(&self, height: u32) -> &[Hashed] {
        &self.headers[(height - self.first) as usize..]
    }

    fn above(&self, height: u32) -> &[Hashed] {
        &self.headers[(height - self.first) as usize + 1..]
    }

    /// Takes the headers above a chain's tip up to a height.
    fn lead(&self, chain: &mut HeaderChain, height: u32) {
        let tip = chain.tip_height();
        take_whole(chain, &self.above(tip)[..(height - tip) as usize]);
        assert_eq!(chain.tip(), self.block(height), "{}", self.name);
    }

    /// Work of the chain up to and with a block.
    fn work_at(&self, height: u32) -> Work {
        self.works[(height - self.first) as usize]
    }

    /// The chain up to and with a block, as whoever had followed it from the network's first block on would know it.
    fn past(&self, height: u32) -> Past {
        let first = height / PERIOD * PERIOD;
        let period_first = if self.has(first) { self.header(first) } else { &self.period_firsts[&first] };
        let times = (self.first..=height).rev().take(TIMES).map(|height| self.header(height).time);
        Past {
            height,
            hash: self.block(height).hash,
            work: self.work_at(height),
            bits: self.header(height).bits,
            period_first: (period_first.time, period_first.bits),
            times: times.collect(),
        }
    }

    /// The lowest block above which each rule finds what it needs.
    fn start(&self) -> u32 {
        let lowest = if self.first == 0 { 0 } else { self.first + TIMES as u32 - 1 };
        let period_first = lowest / PERIOD * PERIOD;
        let is_known = self.has(period_first) || self.period_firsts.contains_key(&period_first);
        if is_known { lowest } else { period_first + PERIOD }
    }

    fn chain_at(&self, height: u32) -> HeaderChain {
        HeaderChain::from_start(self.rules(), self.header(height), self.past(height).lineage())
    }

    /// The chain that begins with the block at a height, given what `from_headers` asks for and no more.
    fn chain_from_headers(&self, height: u32) -> HeaderChain {
        let lowest = (height / PERIOD * PERIOD).min(height.saturating_sub(TIMES as u32 - 1));
        let headers: Vec<Header> = (lowest..=height).map(|height| *self.header(height)).collect();
        let work = self.work_at(height);
        let lineage = Lineage::from_headers(&self.rules(), &headers, height, work).unwrap();
        assert_eq!(lineage, self.past(height).lineage());
        HeaderChain::from_start(self.rules(), self.header(height), lineage)
    }
}

/// Everything that is at hand, read once; `None`, where nothing is.
fn data() -> Option<&'static Data> {
    static DATA: OnceLock<Option<Data>> = OnceLock::new();
    DATA.get_or_init(|| chain_data().map(|folder| Data::read(&folder))).as_ref()
}

impl Data {
    fn read(folder: &Path) -> Self {
        let (headers, anchors) = (folder.join("headers"), folder.join("anchors"));
        let boundaries = read(&headers.join("mainnet-epoch-boundary-headers.bin"));
        let boundaries: BTreeMap<u32, Header> = boundaries
            .chunks_exact(84)
            .map(|row| (u32::from_le_bytes(row[..4].try_into().unwrap()), deserialize(&row[4..]).unwrap()))
            .collect();
        let works: Vec<(String, String, String)> =
            serde_json::from_slice(&read(&headers.join("chainwork.json"))).unwrap();
        let hex = |text: &str| work(u128::from_str_radix(&text[2..], 16).unwrap());
        let works: Vec<(String, Work, Work)> =
            works.iter().map(|(name, before, after)| (name.clone(), hex(before), hex(after))).collect();
        let mut checkpoints = BTreeMap::new();
        let mut testnet_firsts = BTreeMap::new();
        for (network, file) in [
            (Network::Bitcoin, "bitcoinj-production.checkpoints.txt"),
            (Network::Testnet, "bitcoinj-test.checkpoints.txt.xz"),
            (Network::Signet, "bitcoinj-signet.checkpoints.txt"),
        ] {
            // Lines of base64: work (12 bytes), height (4), header (80).
            for line in String::from_utf8(read(&anchors.join(file))).unwrap().lines().skip(3) {
                let row = base64(line);
                let (mut number, height) = ([0; 16], u32::from_be_bytes(row[12..16].try_into().unwrap()));
                number[4..].copy_from_slice(&row[..12]);
                checkpoints.insert((network, height), work(u128::from_be_bytes(number)));
                if network == Network::Testnet {
                    testnet_firsts.insert(height, deserialize(&row[16..]).unwrap());
                }
            }
        }
        let names = std::fs::read_dir(&headers).unwrap();
        let names: BTreeSet<String> =
            names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        let mut runs = Vec::new();
        for name in names {
            let Some((prefix, heights)) = name.split_once('-') else { continue };
            let (network, period_firsts) = match prefix {
                "main" => (Network::Bitcoin, boundaries.clone()),
                "testnet3" => (Network::Testnet, testnet_firsts.clone()),
                "signet" => (Network::Signet, BTreeMap::new()),
                _ => continue,
            };
            let headers: Vec<Hashed> = read(&headers.join(&name)).chunks_exact(80).map(hashed).collect();
            let first: u32 = heights.split('-').next().unwrap().parse().unwrap();
            let sums = |before: Work| -> Vec<Work> {
                let add = |sum: &mut Work, (header, _): &Hashed| {
                    *sum = *sum + header.work();
                    Some(*sum)
                };
                headers.iter().scan(before, add).collect()
            };
            let before = works.iter().find(|row| name.starts_with(&row.0)).map_or(work(0), |row| row.1);
            let mut sums_above = sums(before);
            if network == Network::Testnet && first > 0 {
                // What a checkpoint in the run has, less what the run has up to there.
                let height = first.div_ceil(PERIOD) * PERIOD;
                sums_above = sums(checkpoints[&(network, height)] - sums_above[(height - first) as usize]);
            }
            runs.push(Run { name, network, first, headers, works: sums_above, period_firsts });
        }
        Self { runs, boundaries, works, checkpoints }
    }
}

fn hashed(bytes: &[u8]) -> Hashed {
    let header: Header = deserialize(bytes).unwrap();
    (header, header.block_hash())
}

/// Work from a number.
fn work(number: u128) -> Work {
    let mut bytes = [0; 32];
    bytes[16..].copy_from_slice(&number.to_be_bytes());
    Work::from_be_bytes(bytes)
}

fn base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |character| DIGITS.iter().position(|&digit| digit == character).unwrap() as u32;
    let group = |group: &[u8]| group.iter().fold(0, |number, &character| number << 6 | digit(character));
    text.as_bytes().chunks_exact(4).flat_map(|four| group(four).to_be_bytes().into_iter().skip(1)).collect()
}

fn take(chain: &mut HeaderChain, headers: &[Hashed]) -> Taken {
    chain.take(headers.iter().copied(), NOW)
}

/// Takes headers that follow the tip in messages, and each to its end.
fn take_whole(chain: &mut HeaderChain, headers: &[Hashed]) {
    for message in headers.chunks(MAX_HEADERS) {
        let below = chain.tip_height();
        let taken = take(chain, message);
        let last = BlockId { height: below + message.len() as u32, hash: message.last().unwrap().1 };
        let whole = Taken { changed_from: Some(below + 1), last: Some(last), ..Taken::default() };
        assert_eq!(taken, whole);
        assert_eq!(chain.tip(), last);
    }
}

#[test]
fn every_run_is_taken_exactly() {
    let Some(data) = data() else { return };
    let (mut headers, mut checkpoints, mut easy_changes, mut counts) = (0, 0, 0, BTreeMap::new());
    for run in &data.runs {
        *counts.entry(run.network).or_insert(0) += 1;
        headers += run.headers.len();
        let mut chain = run.chain_at(run.start());
        // Where the run has the first block of a period, a chain can begin with what it has.
        let boundary = (run.first.div_ceil(PERIOD) * PERIOD).max(run.start());
        run.lead(&mut chain, boundary);
        let mut begun = run.chain_from_headers(boundary);
        assert_eq!(begun.lineage(), chain.lineage(), "{}", run.name);
        for message in run.above(boundary).chunks(MAX_HEADERS) {
            take_whole(&mut begun, message);
            take_whole(&mut chain, message);
            for height in begun.tip_height() + 1 - message.len() as u32..=begun.tip_height() {
                if let Some(work) = data.checkpoints.get(&(run.network, height)) {
                    assert_eq!(begun.work_at(height), Some(*work), "{} {height}", run.name);
                    checkpoints += 1;
                }
            }
        }
        assert_eq!(begun.lineage(), chain.lineage(), "{}", run.name);
        assert_eq!(chain.tip(), run.block(run.last()), "{}", run.name);
        assert_eq!(chain.work(), run.work_at(run.last()), "{}", run.name);
        if run.network == Network::Bitcoin {
            let after = data.works.iter().find(|row| run.name.starts_with(&row.0)).unwrap().2;
            assert_eq!(chain.work(), after, "{}", run.name);
        }
        let pairs = run.headers.windows(2).zip(run.first + 1..);
        let change = |(pair, height): &(&[Hashed], u32)| {
            pair[0].0.bits != pair[1].0.bits && !height.is_multiple_of(PERIOD)
        };
        easy_changes += pairs.filter(change).count();
        println!(
            "{}: {} headers above {} taken, work {:x}",
            run.name,
            run.last() - run.start(),
            run.start(),
            chain.work()
        );
    }
    println!(
        "{headers} headers; work at {checkpoints} checkpoints; {easy_changes} changes to or from testnet's least"
    );
    assert_eq!(counts, BTreeMap::from([(Network::Bitcoin, 13), (Network::Testnet, 6), (Network::Signet, 1)]));
    assert_eq!(headers, 256_459 + 43_930 + 2017);
    assert!(checkpoints >= 100 && easy_changes >= 3212);
}

#[test]
fn every_run_is_taken_as_a_chain_that_must_show_its_work() {
    let Some(data) = data() else { return };
    for run in &data.runs {
        let base = run.past(run.start()).lineage();
        let goal = run.work_at(run.last());
        let mut proof = WorkProof::new(run.rules(), base, goal, u32::MAX, NOW, &mut Rng::new([3; 32]));
        let mut released = Vec::new();
        for end in [Kept::Again, Kept::Done] {
            let messages = run.above(run.start()).chunks(MAX_HEADERS);
            let took =
                messages.map(|message| proof.take(message.iter().copied(), NOW, &mut released).unwrap());
            assert_eq!(took.last(), Some(end), "{}", run.name);
        }
        assert!(released.iter().eq(run.above(run.start()).iter().map(|(header, _)| header)));
        assert_eq!((proof.last().block(), proof.last().work()), (run.block(run.last()), goal));
    }
}

// What is not in the chain.

/// Parts of a header, and where their bits lie in its 80 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Version,
    Parent,
    MerkleRoot,
    Time,
    Bits,
    Nonce,
}

const PARTS: [(Part, usize, usize); 6] = [
    (Part::Version, 0, 4),
    (Part::Parent, 4, 32),
    (Part::MerkleRoot, 36, 32),
    (Part::Time, 68, 4),
    (Part::Bits, 72, 4),
    (Part::Nonce, 76, 4),
];

fn with_bit_flipped(header: &Header, bit: usize) -> Hashed {
    let mut bytes = serialize(header);
    bytes[bit / 8] ^= 1 << (bit % 8);
    hashed(&bytes)
}

/// Why a header is refused of which a bit of `part` was changed, after a block of the run; `alone`: nothing that leads
/// there is in front of it.
fn reason(run: &Run, height: u32, part: Part, mutated: &Header, alone: bool) -> Stop {
    match part {
        Part::Parent if alone => return Stop::Unconnected,
        Part::Parent => return Stop::Discontinuous,
        Part::Bits => return Stop::Invalid(HeaderError::Difficulty),
        _ => {}
    }
    // On testnet a block that comes late must be easy, and no other may: another time asks for another difficulty.
    let late = |header: &Header| header.time > run.header(height - 1).time + 20 * 60;
    if part == Part::Time
        && run.network == Network::Testnet
        && !height.is_multiple_of(PERIOD)
        && late(mutated) != late(run.header(height))
        && run.past(height - 1).period_first.1.to_consensus() != EASIEST
    {
        return Stop::Invalid(HeaderError::Difficulty);
    }
    Stop::Invalid(HeaderError::ProofOfWork)
}

/// The same, of a chain that must show its work.
fn proofs_reason(stop: &Stop) -> WorkProofError {
    match stop {
        Stop::Invalid(error) => WorkProofError::Invalid(*error),
        _ => WorkProofError::Discontinuous,
    }
}

#[test]
fn every_change_of_a_header_is_refused_for_its_reason() {
    let Some(data) = data() else { return };
    let mut rng = Rng::new([11; 32]);
    let (mut sampled, mut counts) = (0, BTreeMap::new());
    for run in &data.runs {
        let mut chain = run.chain_at(run.start());
        loop {
            // In front of the changed header there are none to four that are new, and behind it one.
            let ahead = rng.below(5) as u32;
            let height = chain.tip_height() + 1 + ahead + rng.below(2 * SAMPLED) as u32;
            if height + 2 > run.last() {
                break;
            }
            let tip = height - 1 - ahead;
            run.lead(&mut chain, tip);
            sampled += 1;
            let front = &run.above(tip)[..ahead as usize];
            let [this, next, after] = run.from(height)[..3] else { unreachable!() };
            let mut changed: Vec<(String, Vec<Hashed>, Stop)> = PARTS
                .iter()
                .map(|&(part, offset, length)| {
                    let bit = 8 * offset + rng.below(8 * length as u64) as usize;
                    let mutated = with_bit_flipped(&this.0, bit);
                    let stop = reason(run, height, part, &mutated.0, ahead == 0);
                    (format!("{part:?}"), vec![mutated, next], stop)
                })
                .collect();
            let gap = if ahead == 0 { Stop::Unconnected } else { Stop::Discontinuous };
            changed.push(("left out".to_owned(), vec![next, after], gap.clone()));
            changed.push(("swapped".to_owned(), vec![next, this, after], gap));
            let base = *chain.lineage();
            for (name, rest, stop) in changed {
                let message = [front, &rest].concat();
                let goal = base.work() + base.work();
                let mut proof = WorkProof::new(run.rules(), base, goal, u32::MAX, NOW, &mut rng);
                let refused = proof.take(message.iter().copied(), NOW, &mut Vec::new());
                assert_eq!(refused, Err(proofs_reason(&stop)), "{} {height}: {name}", run.name);
                let taken = take(&mut chain, &message);
                assert_eq!(taken.stopped, Some(stop.clone()), "{} {height}: {name}", run.name);
                // What comes before it is sound, and nothing else is kept.
                assert_eq!(chain.tip(), run.block(height - 1), "{} {height}: {name}", run.name);
                assert_eq!(taken.last, front.last().map(|_| chain.tip()));
                assert_eq!(chain.branch_headers(), 0);
                *counts.entry((name, format!("{stop:?}"))).or_insert(0) += 1;
            }
        }
        run.lead(&mut chain, run.last());
        assert_eq!(chain.work(), run.work_at(run.last()));
    }
    println!("{sampled} headers");
    for ((change, reason), count) in &counts {
        println!("{change:12} {reason:24} {count:6}");
    }
    assert!(sampled >= 5000);
    assert!(counts.values().sum::<i32>() == 8 * sampled);
    // A late testnet block that claims to have come in time, or the other way round.
    assert!(counts[&("Time".to_owned(), "Invalid(Difficulty)".to_owned())] >= 50);
}

/// A chain that begins at a start point knows nothing below it, and has no gap above it for that.
#[test]
fn nothing_above_a_start_point_is_passed_over() {
    let Some(data) = data() else { return };
    let (mut started, mut changes) = (Vec::new(), 0);
    for run in &data.runs {
        let rules = run.rules();
        for start in start_points(run.network).into_iter().filter(|start| run.has(start.height)) {
            let height = start.height;
            assert_eq!(start.headers, [*run.header(height)]);
            let lineage = Lineage::from_headers(&rules, &start.headers, height, start.work).unwrap();
            let begin = || HeaderChain::from_start(rules.clone(), &start.headers[0], lineage);

            let mut chain = begin();
            for next in height + 1..=height + TIMES as u32 {
                let this = run.from(next)[0];
                if height > 0 && next < height + TIMES as u32 {
                    let unproven = take(&mut chain.clone(), &[this]).stopped;
                    assert_eq!(unproven, Some(Stop::Invalid(HeaderError::OutOfReach)));
                }
                for (part, offset, length) in PARTS {
                    for bit in 8 * offset..8 * (offset + length) {
                        let mutated = with_bit_flipped(&this.0, bit);
                        let taken = chain.take_proven([mutated].into_iter(), NOW);
                        let reason = reason(run, next, part, &mutated.0, true);
                        assert_eq!(taken.stopped, Some(reason), "{} {next} {bit}", run.network);
                        changes += 1;
                    }
                }
                for gap in [1, 2] {
                    let taken = chain.take_proven(run.from(next + gap)[..2].iter().copied(), NOW);
                    assert_eq!(taken.stopped, Some(Stop::Unconnected));
                    changes += 1;
                }
                assert_eq!(chain.tip(), run.block(next - 1));
                assert_eq!(chain.take_proven([this].into_iter(), NOW).stopped, None);
            }

            // As a client follows it: up to a known block without the times below the start, then with all rules.
            let mut chain = begin();
            let known: Vec<BlockId> = known_blocks(run.network)
                .map(|(height, hash)| BlockId { height, hash })
                .filter(|known| known.height > height && run.has(known.height))
                .collect();
            // Of a network's first block all is known that the rules ask for; and one run ends below the next known block.
            let otherwise = run.block(if height == 0 { 0 } else { run.last() });
            let next = known.first().copied().unwrap_or(otherwise);
            for message in run.above(height)[..(next.height - height) as usize].chunks(MAX_HEADERS) {
                assert_eq!(chain.take_proven(message.iter().copied(), NOW).stopped, None);
            }
            assert_eq!(chain.tip(), next);
            run.lead(&mut chain, run.last());
            assert!(known.iter().all(|known| run.block(known.height) == *known));
            assert_eq!(chain.work(), run.work_at(run.last()));
            started.push((run.network, height));
        }
    }
    println!("{changes} changes refused above the start points {started:?}");
    let mainnet =
        [0, 165_312, 217_728, 270_144, 322_560, 741_888, 899_136].map(|height| (Network::Bitcoin, height));
    assert_eq!(started.iter().filter(|start| start.0 == Network::Bitcoin).count(), mainnet.len());
    assert!(mainnet.iter().all(|start| started.contains(start)));
    assert!(started.contains(&(Network::Testnet, 0)) && started.contains(&(Network::Signet, 0)));
    assert_eq!(changes, started.len() * TIMES * (640 + 2));
}

// Difficulty.

/// Each of mainnet's first 413 changes of difficulty, from the blocks at the ends of the period before it.
#[test]
fn every_change_of_mainnets_difficulty_is_exact() {
    let Some(data) = data() else { return };
    let rules = Rules::new(Network::Bitcoin);
    let (mut changes, mut work_before, mut compared) = (0, work(0), 0);
    for period in 0.. {
        let first = period * PERIOD;
        let blocks = [first, first + PERIOD - 1, first + PERIOD].map(|height| data.boundaries.get(&height));
        let [Some(begins), Some(ends), Some(next)] = blocks else { break };
        let period_work = (0..PERIOD).fold(work(0), |sum, _| sum + begins.work());
        let past = Past {
            height: first + PERIOD - 1,
            hash: ends.block_hash(),
            work: work_before + period_work,
            bits: ends.bits,
            period_first: (begins.time, begins.bits),
            times: vec![ends.time],
        };
        let judge = |header: &Header, proven| {
            let mut lineage = past.lineage();
            lineage.advance(&rules, header, header.block_hash(), NOW, proven).map(|()| lineage)
        };
        assert_eq!(next.prev_blockhash, past.hash);
        let lineage = judge(next, true).unwrap();
        assert_eq!((lineage.block().hash, lineage.bits()), (next.block_hash(), next.bits));
        assert_eq!(judge(next, false), Err(HeaderError::OutOfReach));
        for bit in 0..32 {
            let bits = CompactTarget::from_consensus(next.bits.to_consensus() ^ 1 << bit);
            let refused = judge(&Header { bits, ..*next }, true);
            assert_eq!(refused, Err(HeaderError::Difficulty), "{} {bit}", first + PERIOD);
        }
        let runs = data.runs.iter().filter(|run| run.network == Network::Bitcoin);
        for run in runs.filter(|run| run.has(first + PERIOD)) {
            assert_eq!(lineage.work(), run.work_at(first + PERIOD), "{}", first + PERIOD);
            compared += 1;
        }
        assert!(
            data.checkpoints
                .get(&(Network::Bitcoin, first + PERIOD))
                .is_none_or(|work| *work == lineage.work())
        );
        work_before = past.work;
        changes += 1;
    }
    println!("{changes} changes; work at {compared} of them as in the runs");
    assert_eq!(changes, 413);
    assert!(compared >= 100);
}

/// Where a period ends with an easy block, testnet4 takes the next one's difficulty from the first (BIP94), and testnet3
/// from that one.
#[test]
fn testnet4_keeps_a_difficulty_that_testnet3_forgets() {
    let Some(data) = data() else { return };
    let [three, four] = [Network::Testnet, Network::Testnet4].map(Rules::new);
    let easiest = CompactTarget::from_consensus(EASIEST);
    let mut changes = 0;
    for run in data.runs.iter().filter(|run| run.network == Network::Testnet) {
        let boundaries = (run.start() + 1..=run.last()).filter(|height| height.is_multiple_of(PERIOD));
        for (height, header) in boundaries.map(|height| (height, run.header(height))) {
            let past = run.past(height - 1);
            assert_eq!(past.judge(&three, header), Ok(()), "{height}");
            if past.bits == easiest {
                continue;
            }
            let past = Past { bits: easiest, ..past };
            let span = u64::from(past.times[0] - past.period_first.0);
            let bits = CompactTarget::from_next_work_required(easiest, span, Params::new(Network::Testnet));
            if bits == header.bits {
                continue;
            }
            // What testnet4 may have against it comes after the difficulty.
            let judged = if header.time + 600 < past.times[0] {
                Err(HeaderError::TimeWarp)
            } else if header.version.to_consensus() < 4 {
                Err(HeaderError::Version)
            } else {
                Ok(())
            };
            assert_eq!(past.judge(&four, header), judged, "{height}");
            assert_eq!(past.judge(&three, header), Err(HeaderError::Difficulty), "{height}");
            let forgotten = Header { bits, ..*header };
            assert_eq!(past.judge(&four, &forgotten), Err(HeaderError::Difficulty), "{height}");
            assert_eq!(past.judge(&three, &forgotten), Err(HeaderError::ProofOfWork), "{height}");
            changes += 1;
        }
    }
    println!("{changes} changes of difficulty after an easy block");
    assert!(changes >= 10);
}

// Times and versions.

/// Heights from which a version is the least that is allowed: BIP34, BIP66, BIP65.
const MAINNET_FLOORS: [(u32, i32); 3] = [(227_931, 2), (363_725, 3), (388_381, 4)];
const TESTNET3_FLOORS: [(u32, i32); 3] = [(21_111, 2), (330_776, 3), (581_885, 4)];

/// Ten times that, with `last`, have the median `median`: some are far below it, some far above.
fn times_around(median: u32, last: u32, rng: &mut Rng) -> Vec<u32> {
    let low = rng.below(if last < median { 5 } else { 6 }) as usize;
    let high = rng.below(if last > median { 5 } else { 6 }) as usize;
    let mut times = vec![median; TIMES - 1];
    times[..low].iter_mut().for_each(|time| *time -= 1 + rng.below(100_000) as u32);
    times[low..][..high].iter_mut().for_each(|time| *time += 1 + rng.below(100_000) as u32);
    rng.shuffle(&mut times);
    times.insert(0, last);
    times
}

#[test]
fn times_hold_to_the_second() {
    let Some(data) = data() else { return };
    let mut rng = Rng::new([13; 32]);
    let mut tried = 0;
    for run in &data.runs {
        let rules = run.rules();
        let mut height = run.start().max(TIMES as u32) + 1;
        while height <= run.last() {
            let header = run.header(height);
            let past = run.past(height - 1);
            for (median, judged) in [(header.time - 1, Ok(())), (header.time, Err(HeaderError::TimeTooEarly))]
            {
                let times = times_around(median, past.times[0], &mut rng);
                let changed = Past { times, ..past.clone() };
                assert_eq!(changed.judge(&rules, header), judged, "{} {height}", run.name);
            }
            let two_hours_before = UnixTime::from_secs(u64::from(header.time) - 7200);
            assert_eq!(past.judge_at(&rules, header, two_hours_before), Ok(()));
            let earlier = UnixTime::from_secs(two_hours_before.as_secs() - 1);
            assert_eq!(past.judge_at(&rules, header, earlier), Err(HeaderError::NotYet));
            tried += 1;
            height += 1 + rng.below(40) as u32;
        }
    }
    println!("{tried} headers at the edges of what their times may be");
    assert!(tried >= 10_000);
}

/// Headers of each version, at the last block where it is allowed, and one higher.
#[test]
fn versions_are_given_up_at_their_heights() {
    let Some(data) = data() else { return };
    let mut refused = BTreeMap::new();
    for run in &data.runs {
        let floors = match run.network {
            Network::Bitcoin => MAINNET_FLOORS,
            Network::Testnet => TESTNET3_FLOORS,
            _ => continue,
        };
        let rules = run.rules();
        let least = |height| floors.iter().rfind(|floor| height >= floor.0).map_or(i32::MIN, |floor| floor.1);
        for height in (run.start().max(TIMES as u32) + 1..=run.last()).step_by(17) {
            let header = run.header(height);
            // Where a period begins the difficulty would be another.
            if height.is_multiple_of(PERIOD) {
                continue;
            }
            let past = run.past(height - 1);
            let version = header.version.to_consensus();
            for moved in floors.iter().flat_map(|floor| [floor.0 - 1, floor.0]) {
                let judged = Past { height: moved - 1, ..past.clone() }.judge(&rules, header);
                let obsolete = version < least(moved);
                let expected = if obsolete { Err(HeaderError::Version) } else { Ok(()) };
                assert_eq!(judged, expected, "{} {height} at {moved}", run.name);
                if obsolete {
                    *refused.entry((run.network, version, moved)).or_insert(0) += 1;
                }
            }
        }
    }
    println!("refused at a height: {refused:?}");
    for (network, version, height) in [
        (Network::Bitcoin, 1, MAINNET_FLOORS[0].0),
        (Network::Bitcoin, 2, MAINNET_FLOORS[1].0),
        (Network::Testnet, 1, TESTNET3_FLOORS[0].0),
        (Network::Testnet, 2, TESTNET3_FLOORS[1].0),
    ] {
        assert!(refused[&(network, version, height)] >= 500, "{network} {version} {height}");
        assert!(!refused.contains_key(&(network, version, height - 1)));
    }
}

/// The first block of a period may lie 600 seconds before the block in front of it on testnet4, and no more (BIP94).
#[test]
fn testnet4s_periods_do_not_warp_time() {
    let Some(data) = data() else { return };
    let [three, four] = [Network::Testnet, Network::Testnet4].map(Rules::new);
    let easiest = CompactTarget::from_consensus(EASIEST);
    let mut tried = 0;
    for run in data.runs.iter().filter(|run| run.network == Network::Testnet && run.first > 1_000_000) {
        for (header, _) in run.headers.iter().filter(|(header, _)| header.bits == easiest) {
            let past = |height, back| Past {
                height,
                hash: header.prev_blockhash,
                work: work(0),
                bits: easiest,
                // A period of three weeks: it can't become easier.
                period_first: (header.time - 3 * 7 * 24 * 3600, easiest),
                times: [vec![header.time + back], vec![header.time - 1; TIMES - 1]].concat(),
            };
            let last = 20 * PERIOD - 1;
            assert_eq!(past(last, 600).judge(&four, header), Ok(()));
            assert_eq!(past(last, 601).judge(&four, header), Err(HeaderError::TimeWarp));
            assert_eq!(past(last, 601).judge(&three, header), Ok(()));
            // Within a period it is no matter.
            assert_eq!(past(last + 1, 7200).judge(&four, header), Ok(()));
            tried += 1;
        }
    }
    println!("{tried} headers at the edge of the time warp");
    assert!(tried >= 60);
}

// Branches.

fn fork(folder: &Path, name: &str) -> Vec<Hashed> {
    read(&folder.join("headers/forks").join(name)).chunks_exact(80).map(hashed).collect()
}

/// On 4 July 2015 six blocks were mined on one that still had version 2, by those who did not look.
#[test]
fn the_branch_of_july_2015_is_refused_for_its_version() {
    let (Some(data), Some(folder)) = (data(), chain_data()) else { return };
    let canonical = fork(&folder, "bip66-363730-canonical-14.bin");
    let invalid = fork(&folder, "bip66-363730-invalid-v2-7.bin");
    assert_eq!(invalid[1..], fork(&folder, "bip66-fork-20150704-6headers.bin"));
    let (shared, height) = (canonical[0], 363_730);
    assert_eq!(invalid[0], shared);
    let first = height / PERIOD * PERIOD;
    let past = Past {
        height,
        hash: shared.1,
        work: (first..height)
            .fold(data.checkpoints[&(Network::Bitcoin, first)], |sum, _| sum + shared.0.work()),
        bits: shared.0.bits,
        period_first: (data.boundaries[&first].time, data.boundaries[&first].bits),
        // Those of the ten blocks below it are not at hand.
        times: vec![shared.0.time; TIMES],
    };
    let begin = || HeaderChain::from_start(Rules::new(Network::Bitcoin), &shared.0, past.lineage());
    for known in 0..canonical.len() {
        let mut chain = begin();
        if known > 0 {
            take_whole(&mut chain, &canonical[1..=known]);
        }
        for branch in [&invalid[..], &invalid[1..]] {
            let taken = take(&mut chain, branch);
            assert_eq!(taken.stopped, Some(Stop::Invalid(HeaderError::Version)));
            assert_eq!((taken.changed_from, taken.beside, chain.branch_headers()), (None, 0, 0));
        }
        // What builds on it does so on nothing.
        assert_eq!(take(&mut chain, &invalid[2..]).stopped, Some(Stop::Unconnected));
        let rest = take(&mut chain, &canonical);
        assert_eq!(rest.stopped, None);
        let last = height + canonical.len() as u32 - 1;
        assert_eq!(chain.tip(), BlockId { height: last, hash: canonical.last().unwrap().1 });
        let work = canonical[1..].iter().fold(past.work, |work, (header, _)| work + header.work());
        assert_eq!(chain.work(), work);
    }
    // Half a year later version 3 went the same way.
    let rules = Rules::new(Network::Bitcoin);
    for (at, judged) in [(388_380, Ok(())), (388_381, Err(HeaderError::Version))] {
        assert_eq!(Past { height: at - 1, ..past.clone() }.judge(&rules, &canonical[1].0), judged, "{at}");
    }
}

/// A block that was found at once with another. Whichever comes first stays until one of them is built on.
#[test]
fn a_stale_block_is_kept_beside_the_best_chain() {
    let (Some(data), Some(folder)) = (data(), chain_data()) else { return };
    let height = 823_226;
    let stale = fork(&folder, "stale-0823226.bin")[0];
    let run = data.runs.iter().find(|run| run.network == Network::Bitcoin && run.has(height)).unwrap();
    let (block, tip) = (BlockId { height, hash: stale.1 }, run.block(height));
    assert_ne!(block, tip);
    let mut below = run.chain_at(run.start());
    run.lead(&mut below, height - 1);

    let mut chain = below.clone();
    run.lead(&mut chain, height);
    let taken = take(&mut chain, &[stale]);
    assert_eq!(taken, Taken { last: Some(block), beside: 1, ..Taken::default() });
    assert_eq!((chain.tip(), chain.find(&stale.1)), (tip, Some(block)));
    assert_eq!(chain.common(block), Some(height - 1));
    run.lead(&mut chain, run.last());
    assert_eq!(chain.work(), run.work_at(run.last()));

    let mut chain = below;
    assert_eq!(take(&mut chain, &[stale]).changed_from, Some(height));
    assert_eq!(take(&mut chain, &run.from(height)[..1]).beside, 1);
    assert_eq!(chain.tip(), block);
    let taken = take(&mut chain, &run.above(height)[..1]);
    assert_eq!((taken.changed_from, taken.left), (Some(height), Some(block)));
    assert_eq!((chain.find(&stale.1), chain.branch_headers()), (Some(block), 1));
    run.lead(&mut chain, run.last());
    assert_eq!(chain.work(), run.work_at(run.last()));
}

// The chains of BIP54's vectors: worked from mainnet's first block on, to warp time.

/// The end of a chain, and what BIP54 would say of it.
struct Warped {
    comment: String,
    bip54: bool,
    headers: Vec<Hashed>,
    chain: HeaderChain,
}

/// Takes a node of the tree and all that goes on from it.
fn walk(node: &serde_json::Value, below: &[Hashed], chain: &HeaderChain, ends: &mut Vec<Warped>) {
    let hex = |text: &str| -> Vec<u8> {
        let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
        (0..text.len()).step_by(2).map(digit).collect()
    };
    let own = node["block_headers"].as_array().unwrap();
    let mut own: Vec<Hashed> = own.iter().map(|header| hashed(&hex(header.as_str().unwrap()))).collect();
    let mut chain = chain.clone();
    if below.is_empty() {
        assert_eq!(own.remove(0).1, chain.tip().hash);
        own.insert(0, (*chain.at(0).unwrap().0, chain.tip().hash));
        take_whole(&mut chain, &own[1..]);
    } else {
        take_whole(&mut chain, &own);
    }
    let headers = [below, &own].concat();
    for next in node["extensions"].as_array().into_iter().flatten() {
        walk(next, &headers, &chain, ends);
    }
    if let Some(bip54) = node["valid"].as_bool() {
        let comment = node["comment"].as_str().unwrap().to_owned();
        ends.push(Warped { comment, bip54, headers, chain });
    }
}

/// BIP54 is not in force: all of its chains are valid, those that it would forbid too.
#[test]
fn chains_that_warp_time_are_judged_by_todays_rules() {
    let Some(folder) = chain_data() else { return };
    let tree = read(&folder.join("vectors/bip-0054/timestamps.json.xz"));
    let mut ends = Vec::new();
    let chain = HeaderChain::new(Network::Bitcoin);
    walk(&serde_json::from_slice(&tree).unwrap(), &[], &chain, &mut ends);
    let testnet4 = Rules::new(Network::Testnet4);
    let (mut forbidden, mut warps) = (0, 0);
    for Warped { comment, bip54, headers, chain } in &ends {
        let tip = BlockId { height: headers.len() as u32 - 1, hash: headers.last().unwrap().1 };
        assert_eq!(chain.tip(), tip, "{comment}");
        let work = headers.iter().fold(work(0), |work, (header, _)| work + header.work());
        assert_eq!(chain.work(), work, "{comment}");
        forbidden += u32::from(!bip54);
        // On testnet4 a period must not begin far below the end of the one before it. All have version 1, which is
        // looked at later, and never was allowed there.
        let mut verdicts = Vec::new();
        for first in (PERIOD as usize..headers.len()).step_by(PERIOD as usize) {
            let below: Vec<Header> = headers[..first].iter().map(|(header, _)| *header).collect();
            let mut lineage = Lineage::from_headers(&testnet4, &below, first as u32 - 1, work).unwrap();
            let (header, hash) = headers[first];
            let verdict = lineage.advance(&testnet4, &header, hash, NOW, false).unwrap_err();
            let back = i64::from(below[first - 1].time) - i64::from(header.time);
            let expected = if back > 600 { HeaderError::TimeWarp } else { HeaderError::Version };
            assert_eq!(verdict, expected, "{comment}");
            warps += u32::from(back > 600);
            verdicts.push((first, back, verdict));
        }
        println!(
            "{} BIP54 {bip54}, BIP94 at a height, with seconds back: {verdicts:?}: {comment}",
            tip.height
        );
    }
    assert_eq!((ends.len(), forbidden, warps), (9, 2, 2));
}

// What no real chain shows is mined at regtest's difficulty.

fn mine(parent: &Header, time: u32, version: i32) -> Hashed {
    let mut header = Header {
        version: Version::from_consensus(version),
        prev_blockhash: parent.block_hash(),
        merkle_root: TxMerkleNode::all_zeros(),
        time,
        bits: parent.bits,
        nonce: 0,
    };
    while !header.target().is_met_by(header.block_hash()) {
        header.nonce += 1;
    }
    (header, header.block_hash())
}

#[test]
fn a_time_must_be_above_the_median_from_the_first_block_on() {
    let mut rng = Rng::new([17; 32]);
    for _ in 0..20 {
        let mut chain = HeaderChain::new(Network::Regtest);
        let mut parent = *chain.at(0).unwrap().0;
        let mut times = vec![parent.time];
        for height in 1..=40 {
            let mut last: Vec<u32> = times.iter().rev().take(TIMES).copied().collect();
            last.sort_unstable();
            let median = last[last.len() / 2];
            for early in [median, median - 1, median - rng.below(u64::from(median)) as u32] {
                let early = take(&mut chain, &[mine(&parent, early, 4)]);
                assert_eq!(early.stopped, Some(Stop::Invalid(HeaderError::TimeTooEarly)), "{height}");
            }
            // As early as can be, or as late, so that times go up and down.
            let time = median + 1 + if rng.below(2) == 0 { 0 } else { rng.below(50_000) as u32 };
            let next = mine(&parent, time, 4);
            assert_eq!(take(&mut chain, &[next]).changed_from, Some(height));
            parent = next.0;
            times.push(time);
        }
    }
}

#[test]
fn what_is_two_hours_ahead_is_taken_when_its_time_has_come() {
    let mut chain = HeaderChain::new(Network::Regtest);
    let genesis = *chain.at(0).unwrap().0;
    let header = mine(&genesis, genesis.time + 100_000, 4);
    let next = mine(&header.0, header.0.time + 1, 4);
    let due = u64::from(header.0.time) - 2 * 60 * 60;
    for (now, tip, stopped) in [
        (due - 50_000, 0, Some(Stop::Invalid(HeaderError::NotYet))),
        (due - 1, 0, Some(Stop::Invalid(HeaderError::NotYet))),
        (due, 1, Some(Stop::Invalid(HeaderError::NotYet))),
        (due + 1, 2, None),
    ] {
        let taken = chain.take([header, next].into_iter(), UnixTime::from_secs(now));
        assert_eq!((chain.tip_height(), taken.stopped), (tip, stopped));
        assert_eq!(chain.branch_headers(), 0);
    }
    // Nor is any kept beside the best chain before its time.
    let beside = mine(&genesis, genesis.time + 300_000, 4);
    let now = UnixTime::from_secs(u64::from(beside.0.time)) + Duration::from_secs(1);
    let early = chain.take([beside].into_iter(), UnixTime::from_secs(due + 1));
    assert_eq!((early.stopped, early.beside), (Some(Stop::Invalid(HeaderError::NotYet)), 0));
    assert_eq!(chain.take([beside].into_iter(), now).beside, 1);
}

#[test]
fn regtest_takes_no_obsolete_version_and_no_other_difficulty() {
    let mut chain = HeaderChain::new(Network::Regtest);
    let genesis = *chain.at(0).unwrap().0;
    for version in [i32::MIN, -1, 0, 1, 2, 3] {
        let obsolete = take(&mut chain, &[mine(&genesis, genesis.time + 1, version)]);
        assert_eq!(obsolete.stopped, Some(Stop::Invalid(HeaderError::Version)), "{version}");
    }
    let mut parent = genesis;
    for height in 1..=2 * PERIOD + 1 {
        let version = [4, 5, 0x2000_0000, i32::MAX][height as usize % 4];
        // A second each: anywhere else the difficulty would rise.
        let next = mine(&parent, parent.time + 1, version);
        let bits = CompactTarget::from_consensus(next.0.bits.to_consensus() - 1);
        let harder = Header { bits, ..next.0 };
        let refused = take(&mut chain, &[(harder, harder.block_hash())]);
        assert_eq!(refused.stopped, Some(Stop::Invalid(HeaderError::Difficulty)), "{height}");
        assert_eq!(take(&mut chain, &[next]).stopped, None);
        parent = next.0;
    }
    assert_eq!(chain.tip_height(), 2 * PERIOD + 1);
}
