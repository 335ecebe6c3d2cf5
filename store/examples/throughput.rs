//! How fast rows are stored and read, what room they take on the disk, and how much memory that costs.
//!
//! `cargo run --release -p andon-store --example throughput [DIRECTORY]`; without a directory in a temporary one.
//!
//! - `chain`: a million blocks as a client keeps them, several in a row: headers with an index of their hashes, then
//!   filter headers, then blocks one by one, each of which writes the last rows again; and then the store is damaged
//!   and salvaged.
//! - `rows in order`, `rows scattered`: a million rows of 36 + 84 bytes in batches of 2000.
//!
//! Bytes are of all files in the directory after the store is closed; memory is the process's peak (on Linux), which
//! the program itself has a small part in.
#![allow(clippy::disallowed_methods, reason = "it measures time")]

use std::error::Error;
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use andon_kernel::{BatchWriter, Completion, Names, Order, Outbox, Output, Space, Store};
use andon_store::{SqliteStore, salvage};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let temporary = tempfile::tempdir()?;
    let directory = std::env::args_os().nth(1).map_or_else(|| temporary.path().into(), PathBuf::from);
    println!("idle: {}", peak_memory());
    chain(&directory.join("chain"))?;
    rows("rows in order", &directory.join("in-order"), |index| index)?;
    rows("rows scattered", &directory.join("scattered"), |index| index.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

const BLOCKS: u32 = 1_000_000;
/// What a peer sends at a time.
const MESSAGE: u32 = 2000;
/// Blocks that come one at a time.
const LIVE: u32 = 1000;

/// A space with a row for each run of blocks.
struct Packed {
    space: Space,
    blocks: u32,
    /// Bytes of a row beside those of its blocks.
    head: fn(u32) -> usize,
    bytes: usize,
}

/// 16 headers of 48 bytes after the hash before them, and one more hash where a difficulty period begins.
const HEADERS: Packed = Packed {
    space: Space::new("headers"),
    blocks: 16,
    head: |first| if first.is_multiple_of(2016) { 64 } else { 32 },
    bytes: 48,
};
const FILTER_HEADERS: Packed =
    Packed { space: Space::new("filter_headers"), blocks: 24, head: |_| 0, bytes: 32 };
/// Runs of sorted entries of 8 bytes.
const HASHES: Packed = Packed { space: Space::new("hashes"), blocks: 100, head: |_| 0, bytes: 8 };

impl Packed {
    /// Writes the rows of some blocks, the first row and the last whole or in part.
    fn put(&self, batch: &mut BatchWriter<'_>, heights: &Range<u32>, noise: &[u8]) {
        let mut first = heights.start - heights.start % self.blocks;
        while first < heights.end {
            let blocks = (heights.end - first).min(self.blocks) as usize;
            let len = (self.head)(first) + blocks * self.bytes;
            let start = first as usize % (noise.len() - len);
            batch.put(self.space, &first.to_be_bytes(), &noise[start..start + len]);
            first += self.blocks;
        }
    }
}

/// A client's first sync, its life after that, and what it reads.
fn chain(directory: &Path) -> Result<()> {
    let mut random = 1u64;
    let noise: Vec<u8> = (0..65_536).map(|_| (next(&mut random) >> 56) as u8).collect();
    let synced = BLOCKS - LIVE;
    let mut client = Client::open(directory)?;

    let start = Instant::now();
    for spaces in [&[HEADERS, HASHES][..], &[FILTER_HEADERS]] {
        for first in (0..synced).step_by(MESSAGE as usize) {
            let heights = first..synced.min(first + MESSAGE);
            client.store(|batch| spaces.iter().for_each(|space| space.put(batch, &heights, &noise)))?;
        }
    }
    client.settle()?;
    let written = start.elapsed().as_secs_f64();

    let start = Instant::now();
    for height in synced..BLOCKS {
        if height % 50 == 0 {
            // A block goes that another takes the place of.
            client.store(|batch| batch.delete_from(HEADERS.space, &(height - height % 16).to_be_bytes()))?;
        }
        for space in [HEADERS, HASHES, FILTER_HEADERS] {
            client.store(|batch| space.put(batch, &(height..height + 1), &noise))?;
        }
        client.settle()?;
    }
    let live = start.elapsed().as_secs_f64();
    client.store.close()?;
    let bytes = size(directory)?;
    println!(
        "chain: stored {synced} blocks in {written:.2} s, and {LIVE} more one by one in {live:.2} s; {:.1} bytes a block; {}",
        bytes as f64 / f64::from(BLOCKS),
        peak_memory()
    );

    let mut client = Client::open(directory)?;
    let start = Instant::now();
    let mut read = 0;
    for space in [HEADERS, FILTER_HEADERS, HASHES] {
        read += client.read_all(space.space)?;
    }
    let ranges = start.elapsed().as_secs_f64();
    let start = Instant::now();
    const POINTS: u32 = 10_000;
    for _ in 0..POINTS {
        let height = (next(&mut random) >> 32) as u32 % BLOCKS;
        let key = height.to_be_bytes();
        client.load(HEADERS.space, &key, Order::Descending, 1)?;
    }
    let points = start.elapsed().as_secs_f64() / f64::from(POINTS) * 1e6;
    client.store.close()?;
    println!("chain: read {read} rows in {ranges:.2} s, one header in {points:.0} µs; {}", peak_memory());

    // Every thousandth page is zeroed.
    let mut file = fs::OpenOptions::new().write(true).open(directory.join("andon.sqlite"))?;
    let pages = file.metadata()?.len() / 4096;
    for page in (500..pages).step_by(1000) {
        file.seek(SeekFrom::Start(page * 4096))?;
        file.write_all(&[0; 4096])?;
    }
    let start = Instant::now();
    let kept = salvage(directory)?.spaces.iter().map(|space| space.rows).sum::<u64>();
    println!(
        "chain: {} of {pages} pages damaged: {kept} rows salvaged in {:.2} s; {:.1} bytes a block; {}",
        pages.div_ceil(1000),
        start.elapsed().as_secs_f64(),
        fs::metadata(directory.join("andon.sqlite"))?.len() as f64 / f64::from(BLOCKS),
        peak_memory()
    );
    Ok(())
}

const BATCHES: u64 = 500;
const BATCH: u64 = 2000;

fn rows(name: &str, directory: &Path, number: fn(u64) -> u64) -> Result<()> {
    const ROWS: Space = Space::new("rows");
    let mut client = Client::open(directory)?;
    let start = Instant::now();
    for batch in 0..BATCHES {
        client.store(|writer| {
            for index in batch * BATCH..(batch + 1) * BATCH {
                // The height in front of a hash, or the hash in front.
                let mut key = [0x5a; 36];
                key[..8].copy_from_slice(&number(index).to_be_bytes());
                writer.put(ROWS, &key, &[index as u8; 84]);
            }
        })?;
    }
    client.settle()?;
    let written = start.elapsed().as_secs_f64();
    let start = Instant::now();
    let read = client.read_all(ROWS)?;
    let ranges = start.elapsed().as_secs_f64();
    let start = Instant::now();
    client.store.close()?;
    let closed = start.elapsed().as_secs_f64();
    let bytes = size(directory)? as f64 / read as f64;
    println!(
        "{name}: stored {read} rows in {written:.2} s, read in {ranges:.2} s, closed in {closed:.2} s; {bytes:.1} bytes a row; {}",
        peak_memory()
    );
    Ok(())
}

/// A store and what a driver has around it.
struct Client {
    store: SqliteStore,
    woken: Receiver<()>,
    names: Names,
    outbox: Outbox<()>,
}

impl Client {
    fn open(directory: &Path) -> Result<Self> {
        let (sender, woken) = channel();
        let store = SqliteStore::open(directory, move || {
            let _ = sender.send(());
        })?;
        Ok(Self { store, woken, names: Names::default(), outbox: Outbox::new() })
    }

    /// Submits a batch, and waits while the store is congested.
    fn store(&mut self, write: impl FnOnce(&mut BatchWriter<'_>)) -> Result<()> {
        self.outbox.store(self.names.ticket(), write);
        while let Some(Output::Store { ticket, batch }) = self.outbox.pop() {
            self.store.store(ticket, batch)?;
        }
        while self.store.complete()?.is_some() {}
        while self.store.is_congested() {
            self.woken.recv()?;
            while self.store.complete()?.is_some() {}
        }
        Ok(())
    }

    fn settle(&mut self) -> Result<()> {
        while self.store.outstanding() > 0 {
            self.woken.recv()?;
            while self.store.complete()?.is_some() {}
        }
        Ok(())
    }

    /// Reads a page from a key on: how many rows, the last one's key, whether more follow.
    fn load(&mut self, space: Space, key: &[u8], order: Order, limit: u32) -> Result<(usize, Vec<u8>, bool)> {
        let range = match order {
            Order::Ascending if key.is_empty() => (Unbounded, Unbounded),
            Order::Ascending => (Excluded(key), Unbounded),
            Order::Descending => (Unbounded, Included(key)),
        };
        self.outbox.load(self.names.ticket(), space, range, order, limit);
        while let Some(Output::Load(scan)) = self.outbox.pop() {
            self.store.load(scan)?;
        }
        loop {
            match self.store.complete()? {
                Some(Completion::Loaded { rows, more, .. }) => {
                    let last = rows.iter().last().map_or_else(Vec::new, |(key, _)| key.to_vec());
                    return Ok((rows.len(), last, more));
                }
                Some(Completion::Stored { .. }) => {}
                None => self.woken.recv()?,
            }
        }
    }

    fn read_all(&mut self, space: Space) -> Result<usize> {
        let (mut read, mut after) = (0, Vec::new());
        loop {
            let (rows, last, more) = self.load(space, &after, Order::Ascending, u32::MAX)?;
            read += rows;
            after = last;
            if !more {
                return Ok(read);
            }
        }
    }
}

/// Bytes of all files in a directory.
fn size(directory: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(directory)? {
        bytes += entry?.metadata()?.len();
    }
    Ok(bytes)
}

/// The most memory that the process had since the last call, in words.
fn peak_memory() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = peak.and_then(|peak| peak.trim().strip_suffix(" kB")?.parse::<u32>().ok());
    // Begins anew.
    let _ = fs::write("/proc/self/clear_refs", "5");
    kibibytes.map_or("memory unknown".into(), |kibibytes| {
        format!("at most {:.1} MiB of memory", f64::from(kibibytes) / 1024.0)
    })
}

fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
    *state
}
