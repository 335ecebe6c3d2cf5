//! How fast filters are searched, beside rust-bitcoin's `match_any`, and beside what nothing can save: decoding them.
//!
//! `cargo bench --bench filters`, in this folder
//!
//! Filters have the 10,000 elements that those of today's blocks have, made of scripts of the usual kinds; what is watched
//! is in none of them, as is nearly always so. At the end stands a table, of medians over filters and rounds, taken in
//! turn so that all meet the same machine; the benchmark fails if a claim about it does not hold.
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark that can not go on has failed")]

use std::hint::black_box;
use std::time::Instant;

use andon_bitcoin::filter::{self, Query, Scratch};
use andon_kernel::Rng;
use bitcoin::BlockHash;
use bitcoin::bip158::BlockFilter;
use bitcoin::hashes::Hash;
use criterion::{BenchmarkId, Criterion, Throughput};

const ELEMENTS: u64 = 10_000;

/// Different filters, so that no processor learns one by heart.
const FILTERS: u64 = 16;

/// How often all are taken in turn. Their median is reported.
const ROUNDS: usize = 41;

/// How many scripts are watched, and how much of rust-bitcoin's time searching for them may take. From thousands on nearly
/// all of it is hashing them with each block's key, one way or the other.
const CLAIMS: [(u64, f64); 4] = [(1, 0.22), (100, 0.20), (2_000, 0.30), (10_000, 0.40)];

/// A script of one of the usual kinds, and another for each number.
fn script(rng: &mut Rng) -> Vec<u8> {
    let (front, hash, back): (&[u8], usize, &[u8]) = match rng.below(100) {
        0..45 => (&[0x00, 0x14], 20, &[]),
        45..75 => (&[0x51, 0x20], 32, &[]),
        75..85 => (&[0x76, 0xa9, 0x14], 20, &[0x88, 0xac]),
        85..95 => (&[0xa9, 0x14], 20, &[0x87]),
        _ => (&[0x00, 0x20], 32, &[]),
    };
    [front, &rng.bytes::<32>()[..hash], back].concat()
}

struct Case {
    hash: BlockHash,
    filter: Vec<u8>,
}

fn cases() -> Vec<Case> {
    let mut rng = Rng::new([3; 32]);
    let case = |_| {
        let hash = BlockHash::from_byte_array(rng.bytes());
        let scripts: Vec<Vec<u8>> = (0..ELEMENTS).map(|_| script(&mut rng)).collect();
        let filter = filter::build(&hash, scripts.iter().map(Vec::as_slice));
        Case { hash, filter }
    };
    (0..FILTERS).map(case).collect()
}

struct Watched {
    scripts: Vec<Vec<u8>>,
    query: Query,
}

fn watched(count: u64) -> Watched {
    let mut rng = Rng::new([4; 32]);
    let scripts: Vec<Vec<u8>> = (0..count).map(|_| script(&mut rng)).collect();
    let query = Query::new(scripts.iter().map(Vec::as_slice));
    Watched { scripts, query }
}

fn ours(case: &Case, watched: &Watched, scratch: &mut Scratch) -> bool {
    watched.query.matches(&case.hash, &case.filter, scratch).unwrap()
}

fn theirs(case: &Case, watched: &Watched) -> bool {
    let filter = BlockFilter::new(&case.filter);
    filter.match_any(&case.hash, watched.scripts.iter().map(Vec::as_slice)).unwrap()
}

/// Seconds that one call takes, of a median over rounds; both in turn.
fn compare(cases: &[Case], watched: &Watched, scratch: &mut Scratch) -> (f64, f64) {
    let mut times: [Vec<f64>; 2] = Default::default();
    for _ in 0..ROUNDS {
        for case in cases {
            let begin = now();
            let found = black_box(ours(case, watched, scratch));
            let middle = now();
            assert_eq!(found, black_box(theirs(case, watched)), "both say the same");
            let end = now();
            times[0].push((middle - begin).as_secs_f64());
            times[1].push((end - middle).as_secs_f64());
        }
    }
    let [ours, theirs] = times.map(|mut times| {
        times.sort_unstable_by(f64::total_cmp);
        times[times.len() / 2]
    });
    (ours, theirs)
}

#[allow(clippy::disallowed_methods, reason = "time is what is measured")]
fn now() -> Instant {
    Instant::now()
}

fn main() {
    let cases = cases();
    let mut scratch = Scratch::default();
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("filters");
    group.throughput(Throughput::Elements(ELEMENTS * FILTERS));
    for (count, _) in CLAIMS {
        let watched = watched(count);
        group.bench_with_input(BenchmarkId::new("ours", count), &watched, |bencher, watched| {
            bencher.iter(|| cases.iter().filter(|case| ours(case, watched, &mut scratch)).count());
        });
        group.bench_with_input(BenchmarkId::new("rust-bitcoin", count), &watched, |bencher, watched| {
            bencher.iter(|| cases.iter().filter(|case| theirs(case, watched)).count());
        });
    }
    group.finish();

    println!(
        "\nmedians over {FILTERS} filters of {ELEMENTS} elements, {ROUNDS} rounds; nanoseconds an element"
    );
    println!("| scripts | rust-bitcoin | ours | times | filters a second |\n|---:|---:|---:|---:|---:|");
    let mut failed = Vec::new();
    for (count, most) in CLAIMS {
        let (ours, theirs) = compare(&cases, &watched(count), &mut scratch);
        let each = |seconds: f64| seconds * 1e9 / ELEMENTS as f64;
        println!(
            "| {count} | {:.1} | {:.1} | {:.3} | {:.0} |",
            each(theirs),
            each(ours),
            ours / theirs,
            1.0 / ours
        );
        if ours / theirs > most {
            failed.push(format!("{count} scripts: more than {most}"));
        }
    }
    criterion.final_summary();
    assert!(failed.is_empty(), "{failed:?}");
}
