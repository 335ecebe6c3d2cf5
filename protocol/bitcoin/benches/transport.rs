//! How fast messages come out of the bytes of a connection: encrypted (BIP324), bare, and bare with every checksum looked at.
//!
//! `cargo bench --bench transport`, in this folder
//!
//! Messages are filters of the size that those of today's blocks have, or pings. They come in reads of 64 KiB, as a driver
//! lends them, so that some are cut in two. A read is copied first, since it is changed where it lies; that is measured by
//! itself. At the end stands a table of medians over rounds, taken in turn so that all meet the same machine; the
//! benchmark fails if a claim about it does not hold.
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark that can not go on has failed")]

use std::hint::black_box;
use std::time::Instant;

use andon_bitcoin::transport::{Incoming, Reader, Shape, Writer, initiate, respond, unencrypted};
use andon_bitcoin::wire::Message;
use andon_kernel::Rng;
use bitcoin::BlockHash;
use bitcoin::hashes::Hash;
use criterion::{Criterion, Throughput};

const MAGIC: [u8; 4] = [0xfa, 0xbf, 0xb5, 0xda];

/// Bytes that are lent at once.
const READ: usize = 64 * 1024;

/// How often all are taken in turn. Their median is reported.
const ROUNDS: usize = 41;

/// Messages of a round, and bytes of the filter in each; none: a ping.
const CASES: [(&str, usize, usize); 2] = [("filters of 25 kB", 400, 25_000), ("pings", 20_000, 0)];

/// How often the time that the checksums of bare filters take their decryption may take.
const CLAIM: f64 = 1.5;

/// Both ends of an encrypted connection after the handshake: who reads, and who writes.
fn encrypted() -> (Reader, Writer) {
    let rng = Rng::new([1; 32]);
    let mut bytes = Vec::new();
    let (mut reader, mut writer) = initiate(MAGIC, rng.fork("ours"), Shape::default(), &mut bytes);
    let (mut far_reader, mut far_writer) = respond(MAGIC, rng.fork("theirs"), Shape::default());
    let mut answer = Vec::new();
    far_reader.shake_hands(&mut Incoming::new(&mut bytes), &mut far_writer, &mut answer).unwrap();
    let mut input = Incoming::new(&mut answer);
    reader.shake_hands(&mut input, &mut writer, &mut Vec::new()).unwrap();
    assert!(reader.next(&mut input).unwrap().is_none());
    (reader, far_writer)
}

fn stream(writer: &mut Writer, messages: usize, size: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let filter = Rng::new([2; 32]).bytes::<25_000>();
    for number in 0..messages {
        let message = match size {
            0 => Message::Ping(number as u64),
            size => Message::CFilter {
                filter_type: 0,
                block_hash: BlockHash::all_zeros(),
                filter: &filter[..size],
            },
        };
        writer.write(&message, &mut bytes);
    }
    bytes
}

/// Reads a stream; returns how many messages were in it.
fn read(reader: &mut Reader, bytes: &[u8], lent: &mut [u8], checks: bool) -> usize {
    let mut count = 0;
    for piece in bytes.chunks(READ) {
        let lent = &mut lent[..piece.len()];
        lent.copy_from_slice(piece);
        let mut input = Incoming::new(lent);
        while let Some(frame) = reader.next_unless(&mut input, |_| !checks).unwrap() {
            black_box(frame.payload);
            count += 1;
        }
    }
    count
}

#[allow(clippy::disallowed_methods, reason = "time is what is measured")]
fn now() -> Instant {
    Instant::now()
}

/// Seconds of a round, by median: the copy alone, bare, bare with checksums, encrypted.
fn compare(messages: usize, size: usize) -> ([f64; 4], usize) {
    let (mut reader, mut writer) = encrypted();
    let (mut bare, mut bare_writer) = unencrypted(MAGIC);
    let frames = stream(&mut bare_writer, messages, size);
    let mut lent = vec![0; READ];
    let mut times: [Vec<f64>; 4] = Default::default();
    for _ in 0..ROUNDS {
        // Each round has packets of its own: what was opened once does not open again.
        let packets = stream(&mut writer, messages, size);
        let mut stamps = [now(); 5];
        for piece in frames.chunks(READ) {
            lent[..piece.len()].copy_from_slice(piece);
            black_box(&mut lent);
        }
        stamps[1] = now();
        assert_eq!(read(&mut bare, &frames, &mut lent, false), messages);
        stamps[2] = now();
        assert_eq!(read(&mut bare, &frames, &mut lent, true), messages);
        stamps[3] = now();
        assert_eq!(read(&mut reader, &packets, &mut lent, true), messages);
        stamps[4] = now();
        for (times, stamps) in times.iter_mut().zip(stamps.windows(2)) {
            times.push((stamps[1] - stamps[0]).as_secs_f64());
        }
    }
    let medians = times.map(|mut times| {
        times.sort_unstable_by(f64::total_cmp);
        times[times.len() / 2]
    });
    (medians, frames.len())
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("transport");
    for (name, messages, size) in CASES {
        let (mut bare, mut writer) = unencrypted(MAGIC);
        let frames = stream(&mut writer, messages, size);
        let mut lent = vec![0; READ];
        group.throughput(Throughput::Bytes(frames.len() as u64));
        group.bench_function(format!("{name}, bare"), |bencher| {
            bencher.iter(|| read(&mut bare, &frames, &mut lent, true));
        });
        let (mut reader, mut writer) = encrypted();
        group.bench_function(format!("{name}, encrypted"), |bencher| {
            bencher.iter_batched(
                || stream(&mut writer, messages, size),
                |packets| read(&mut reader, &packets, &mut lent, true),
                criterion::BatchSize::PerIteration,
            );
        });
    }
    group.finish();
    criterion.final_summary();

    println!("\nmedians over {ROUNDS} rounds; megabytes of frames a second");
    println!("| | the copy alone | bare | with checksums | encrypted |\n|---|---:|---:|---:|---:|");
    for (name, messages, size) in CASES {
        let (seconds, bytes) = compare(messages, size);
        let [copy, bare, checked, encrypted] = seconds.map(|seconds| bytes as f64 / seconds / 1e6);
        println!("| {name} | {copy:.0} | {bare:.0} | {checked:.0} | {encrypted:.0} |");
        let share = seconds[3] / seconds[2];
        if size > 0 {
            assert!(share <= CLAIM, "decryption takes {share:.2} of the time that checksums take");
        }
    }
}
