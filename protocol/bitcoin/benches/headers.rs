//! How fast headers are taken, beside what nothing can save: hashing them twice.
//!
//! `cargo bench --bench headers`, in this folder
//!
//! Headers come as they do from a peer: in messages of 2000, decoded from the bytes that were sent. Those of regtest are
//! mined here, up to a million; those of mainnet are real, where `ANDON_CHAIN_DATA` has them. At the end stands a table
//! of what taking costs beside hashing, message by message in turn, so that both meet the same machine; the benchmark
//! fails if a claim about it does not hold.
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark that can not go on has failed")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::hint::black_box;
use std::time::Instant;

use andon_bitcoin::headers::{HeaderChain, Lineage, Rules, WorkProof};
use andon_bitcoin::wire::{CommandName, Items, MAX_HEADERS, Message};
use andon_kernel::{Rng, UnixTime};
use bitcoin::block::{Header, Version};
use bitcoin::consensus::deserialize;
use bitcoin::hashes::Hash;
use bitcoin::{BlockHash, Network, TxMerkleNode, Work};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};

const NOW: UnixTime = UnixTime::from_secs(4_000_000_000);

/// Bytes of a header in a message: 80, and a count of transactions.
const STRIDE: usize = 81;

/// Messages that are taken in one run: more than a difficulty period, so that the window's cut is among what is measured.
const MESSAGES: usize = 10;

/// How often taking and hashing are compared. Their median is reported.
const ROUNDS: usize = 61;

/// Taking costs at most that many times as much as hashing.
const MOST_BESIDE_HASHING: f64 = 2.0;

/// A header at height 1,000,000 costs at most that many times as much as one at 10,000.
const MOST_BESIDE_LOW: f64 = 1.1;

/// A chain, and the messages that come next.
struct Case {
    name: &'static str,
    chain: HeaderChain,
    messages: Vec<Vec<u8>>,
    headers: usize,
}

impl Case {
    fn new(name: &'static str, chain: HeaderChain, messages: Vec<Vec<u8>>) -> Self {
        let headers = messages.iter().map(|message| decode(message).len()).sum();
        Self { name, chain, messages, headers }
    }

    /// A proof of the work that the messages have, in its first pass; and one in its second.
    fn proofs(&self) -> [WorkProof; 2] {
        let mut chain = self.chain.clone();
        self.messages.iter().for_each(|message| take(&mut chain, message));
        let (rules, base) = (self.chain.rules().clone(), *self.chain.lineage());
        let first = WorkProof::new(rules, base, chain.work(), u32::MAX, NOW, &mut Rng::new([1; 32]));
        let mut second = first.clone();
        self.messages.iter().for_each(|message| prove(&mut second, message, &mut Vec::new()));
        assert!(second.is_proven());
        [first, second]
    }
}

/// The hashing alone: the same bytes, in the same library.
fn hash(message: &[u8]) {
    // In front there is the number of headers.
    let headers = &message[message.len() % STRIDE..];
    for header in headers.chunks_exact(STRIDE) {
        black_box(BlockHash::hash(&header[..80]));
    }
}

fn take(chain: &mut HeaderChain, message: &[u8]) {
    let taken = chain.take(decode(message).hashed(), NOW);
    assert!(taken.stopped.is_none());
}

/// Takes headers of a chain that must show its work before any of it is kept.
fn prove(proof: &mut WorkProof, message: &[u8], released: &mut Vec<Header>) {
    released.clear();
    black_box(proof.take(decode(message).hashed(), NOW, released).unwrap());
}

fn decode(message: &[u8]) -> Items<'_, Header> {
    match Message::decode(CommandName::new("headers"), message) {
        Ok(Message::Headers(headers)) => headers,
        other => panic!("{other:?}"),
    }
}

/// The contents of a `headers` message.
fn encode(headers: &[Header]) -> Vec<u8> {
    const FRAME: usize = 24;
    let mut frame = Vec::new();
    Message::Headers(Items::from(headers)).write(&mut frame, [0; 4]);
    frame.split_off(FRAME)
}

/// The next message of a chain of regtest's that goes on for ever. Times go up and down as those of real blocks.
fn mine(parent: &mut Header, rng: &mut Rng) -> Vec<u8> {
    let first = *parent;
    let headers: Vec<Header> = (1..=MAX_HEADERS as u32)
        .map(|number| {
            let mut header = Header {
                version: Version::from_consensus(0x2000_0000),
                prev_blockhash: parent.block_hash(),
                merkle_root: TxMerkleNode::from_byte_array(rng.bytes()),
                time: first.time + 600 * number + rng.below(2400) as u32 - 1200,
                bits: parent.bits,
                nonce: 0,
            };
            // The last of a message is on time: the next begins with it.
            if number == MAX_HEADERS as u32 {
                header.time = first.time + 600 * number;
            }
            while !header.target().is_met_by(header.block_hash()) {
                header.nonce += 1;
            }
            *parent = header;
            header
        })
        .collect();
    encode(&headers)
}

/// Regtest's chain at each of these heights.
fn grown(heights: &[(u32, &'static str)]) -> Vec<Case> {
    let mut chain = HeaderChain::new(Network::Regtest);
    let mut tip = Rules::new(Network::Regtest).genesis();
    let mut rng = Rng::new([7; 32]);
    let mut cases = Vec::new();
    for &(height, name) in heights {
        while chain.tip_height() < height {
            let message = mine(&mut tip, &mut rng);
            assert!(chain.take(decode(&message).hashed(), NOW).stopped.is_none());
        }
        assert_eq!(chain.tip_height(), height);
        let (mut above, mut rng) = (tip, Rng::new([8; 32]));
        let messages = (0..MESSAGES).map(|_| mine(&mut above, &mut rng)).collect();
        cases.push(Case::new(name, chain.clone(), messages));
    }
    cases
}

/// Mainnet's headers from height 151,210 to 340,000, above what was known of them before.
fn mainnet() -> Option<Case> {
    const FIRST: u32 = 150_000;
    const START: u32 = 151_210;
    let file = common::read(&common::chain_data()?.join("headers/main-150000-340000.bin.xz"));
    let headers: Vec<Header> = file.chunks_exact(80).map(|header| deserialize(header).unwrap()).collect();
    let (known, above) = headers.split_at((START - FIRST + 1) as usize);
    let mut work = [0; 32];
    work[16..].copy_from_slice(&0x8_054a_3ff9_3f66_2d00_u128.to_be_bytes());
    let work = known.iter().fold(Work::from_be_bytes(work), |work, header| work + header.work());
    let rules = Rules::new(Network::Bitcoin);
    let lineage = Lineage::from_headers(&rules, known, START, work).unwrap();
    let chain = HeaderChain::from_start(rules, known.last().unwrap(), lineage);
    Some(Case::new("mainnet 151,210", chain, above.chunks(MAX_HEADERS).map(encode).collect()))
}

fn benchmark(criterion: &mut Criterion, cases: &[Case]) {
    let mut group = criterion.benchmark_group("headers");
    for case in cases {
        group.throughput(Throughput::Elements(case.headers as u64));
        group.bench_function(BenchmarkId::new("hash", case.name), |bencher| {
            bencher.iter(|| case.messages.iter().for_each(|message| hash(message)));
        });
        group.bench_function(BenchmarkId::new("take", case.name), |bencher| {
            let setup = || case.chain.clone();
            let run = |chain: &mut _| case.messages.iter().for_each(|message| take(chain, message));
            bencher.iter_batched_ref(setup, run, BatchSize::PerIteration);
        });
        for (name, proof) in ["prove", "prove again"].into_iter().zip(case.proofs()) {
            group.bench_function(BenchmarkId::new(name, case.name), |bencher| {
                let setup = || (proof.clone(), Vec::new());
                let run = |(proof, released): &mut (_, _)| {
                    case.messages.iter().for_each(|message| prove(proof, message, released));
                };
                bencher.iter_batched_ref(setup, run, BatchSize::PerIteration);
            });
        }
    }
    group.finish();
}

/// What is compared, and what it costs in nanoseconds a header.
const COLUMNS: [&str; 4] = ["hash", "take", "prove", "prove again"];

/// Measures each message of each case in turn, again and again, and prints what it costs beside the hashing.
fn compare(cases: &[Case]) {
    let proofs: Vec<[WorkProof; 2]> = cases.iter().map(Case::proofs).collect();
    // By case, column and message: a time from each round.
    let mut times: Vec<[Vec<Vec<f64>>; 4]> =
        cases.iter().map(|case| COLUMNS.map(|_| vec![Vec::new(); case.messages.len()])).collect();
    for _ in 0..ROUNDS {
        for ((case, times), proofs) in cases.iter().zip(&mut times).zip(&proofs) {
            let mut chain = case.chain.clone();
            let [mut first, mut second] = proofs.clone();
            let mut released = Vec::new();
            for (at, message) in case.messages.iter().enumerate() {
                times[0][at].push(time(|| hash(message)));
                times[1][at].push(time(|| take(&mut chain, message)));
                times[2][at].push(time(|| prove(&mut first, message, &mut released)));
                times[3][at].push(time(|| prove(&mut second, message, &mut released)));
            }
        }
    }
    println!("\nnanoseconds a header: medians of {ROUNDS} rounds, of each message");
    println!("| chain | {} | taken a second | take beside hash |", COLUMNS.join(" | "));
    println!("|---|---:|---:|---:|---:|---:|---:|");
    let mut taking = Vec::new();
    for (case, times) in cases.iter().zip(times) {
        let of_message = |times: Vec<Vec<f64>>| times.into_iter().map(median).sum::<f64>();
        let [hash, take, prove, again] = times.map(|times| of_message(times) * 1e9 / case.headers as f64);
        let (rate, beside) = (1e9 / take, take / hash);
        println!(
            "| {} | {hash:.0} | {take:.0} | {prove:.0} | {again:.0} | {rate:.0} | {beside:.2} |",
            case.name
        );
        taking.push((take, beside));
    }
    let rise = taking[HIGH].0 / taking[LOW].0;
    println!("{} beside {}: {rise:.3} times", cases[HIGH].name, cases[LOW].name);
    assert!(rise <= MOST_BESIDE_LOW);
    assert!(taking.iter().all(|(_, beside)| *beside <= MOST_BESIDE_HASHING));
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn time(run: impl FnOnce()) -> f64 {
    let start = Instant::now();
    run();
    start.elapsed().as_secs_f64()
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// The heights up to which a chain is grown. The ends of what must not differ are at `LOW` and `HIGH`.
const HEIGHTS: [(u32, &str); 3] =
    [(10_000, "regtest 10,000"), (100_000, "regtest 100,000"), (1_000_000, "regtest 1,000,000")];
const LOW: usize = 0;
const HIGH: usize = 2;

fn main() {
    // Without it, this is a test that everything here runs.
    let measured = std::env::args().any(|argument| argument == "--bench");
    let mut cases = grown(if measured { &HEIGHTS } else { &HEIGHTS[..1] });
    cases.extend(mainnet());
    let mut criterion = Criterion::default().configure_from_args();
    benchmark(&mut criterion, &cases);
    criterion.final_summary();
    if measured {
        compare(&cases);
    }
}
