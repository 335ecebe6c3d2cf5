//! How fast rows are stored and read: a million rows of 36 + 84 bytes, in batches of 2000.
//!
//! `cargo run --release -p andon-store --example throughput [DIRECTORY]`; without a directory in a temporary one.
#![allow(clippy::disallowed_methods, reason = "it measures time")]

use std::error::Error;
use std::ops::Bound::{Excluded, Unbounded};
use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::time::Instant;

use andon_kernel::{Completion, Names, Order, Outbox, Output, Space, Store};
use andon_store::SqliteStore;

const SPACE: Space = Space::new("rows");
const BATCHES: u64 = 500;
const BATCH: u64 = 2000;

fn main() -> Result<(), Box<dyn Error>> {
    let temporary = tempfile::tempdir()?;
    let directory = std::env::args_os().nth(1).map_or_else(|| temporary.path().into(), PathBuf::from);
    for (name, scattered) in [("in order", false), ("scattered", true)] {
        let directory = directory.join(name);
        let (sender, woken) = channel();
        let mut store = SqliteStore::open(&directory, move || {
            let _ = sender.send(());
        })?;
        let mut names = Names::default();
        let mut outbox = Outbox::<()>::new();

        let start = Instant::now();
        let mut congested = 0;
        for batch in 0..BATCHES {
            outbox.store(names.ticket(), |writer| {
                for index in batch * BATCH..(batch + 1) * BATCH {
                    writer.put(SPACE, &key(index, scattered), &[index as u8; 84]);
                }
            });
            while let Some(Output::Store { ticket, batch }) = outbox.pop() {
                store.store(ticket, batch)?;
            }
            while store.complete()?.is_some() {}
            while store.is_congested() {
                congested += 1;
                woken.recv()?;
                while store.complete()?.is_some() {}
            }
        }
        while store.outstanding() > 0 {
            woken.recv()?;
            while store.complete()?.is_some() {}
        }
        let seconds = start.elapsed().as_secs_f64();
        let rows = BATCHES * BATCH;
        println!("{name}: stored {rows} rows in {seconds:.2} s ({congested} waits)");

        let start = Instant::now();
        let (mut read, mut after) = (0, Vec::new());
        loop {
            let from = if after.is_empty() { Unbounded } else { Excluded(&after[..]) };
            outbox.load(names.ticket(), SPACE, (from, Unbounded), Order::Ascending, u32::MAX);
            while let Some(Output::Load(scan)) = outbox.pop() {
                store.load(scan)?;
            }
            let more = loop {
                match store.complete()? {
                    Some(Completion::Loaded { rows, more, .. }) => {
                        read += rows.len() as u64;
                        after = rows.iter().last().map_or_else(Vec::new, |(key, _)| key.to_vec());
                        break more;
                    }
                    Some(Completion::Stored { .. }) => {}
                    None => woken.recv()?,
                }
            };
            if !more {
                break;
            }
        }
        println!("{name}: read {read} rows in {:.2} s", start.elapsed().as_secs_f64());
        let start = Instant::now();
        store.close()?;
        let bytes = std::fs::metadata(directory.join("andon.sqlite"))?.len();
        println!("{name}: closed in {:.2} s, {} MiB on disk", start.elapsed().as_secs_f64(), bytes >> 20);
    }
    Ok(())
}

/// The height in front of a hash, as a header or filter is stored; or the hash in front, as an index of hashes is.
fn key(index: u64, scattered: bool) -> [u8; 36] {
    let mut key = [0x5a; 36];
    let number = if scattered { index.wrapping_mul(0x9e37_79b9_7f4a_7c15) } else { index };
    key[..8].copy_from_slice(&number.to_be_bytes());
    key
}
