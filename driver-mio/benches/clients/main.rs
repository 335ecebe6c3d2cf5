//! What an idle client costs, of many on one thread: memory, wake-ups and processor time.
//!
//! One process has a group of clients, each synced to nodes on loopback, which are in processes of their own. Each watches ten
//! scripts from the tip on, over a store of its own: in memory, or SQLite's with a thread for each. Then nothing happens but
//! what clients do by themselves, and is counted.
//!
//! `cargo bench --bench clients`. `ANDON_CLIENTS` says how many, `ANDON_SECONDS` how long is counted; `ANDON_DIRECTORY` where
//! SQLite's files are. Needs Linux, and leave to open four files for each client.

#![allow(clippy::unwrap_used, reason = "a benchmark that can't go on has nothing to tell")]

#[path = "../common/blocks.rs"]
mod blocks;
mod crowd;
mod serve;
mod system;

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use crowd::Crowd;

/// Which part of the benchmark a process is, and what for.
const ROLE: &str = "ANDON_BENCH_ROLE";
const SERVES: &str = "ANDON_BENCH_SERVES";

/// Blocks of the longer chain: what is kept of headers in memory is full then, as with any public network's.
const LONG: u32 = 10_000;

fn main() {
    match std::env::var(ROLE).as_deref() {
        Ok("serve") => serve::run(std::env::var(SERVES).unwrap().parse().unwrap()),
        Ok(plan) => println!("{}", Crowd::parse(plan).run()),
        Err(_) => compare(),
    }
}

fn compare() {
    let count = system::number("ANDON_CLIENTS", 1000);
    println!(
        "| clients | chain | peers of each | store | memory for each | threads | wake-ups of the thread for each in an hour | \
         turns of each in an hour | wake-ups of the stores' threads for each in an hour | processor time for each in an hour |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for (length, peers, store) in
        [(0, 1, "memory"), (0, 2, "memory"), (0, 1, "sqlite"), (LONG, 1, "memory"), (LONG, 1, "sqlite")]
    {
        let mut nodes: Vec<(Child, String)> = (0..peers).map(|_| node(length)).collect();
        let addresses: Vec<&str> = nodes.iter().map(|(_, address)| address.as_str()).collect();
        let tip = blocks::fixture().len() as u32 - 1 + length;
        let plan = format!("{count} {tip} {store} {}", addresses.join(" "));
        let output = own(&plan).stdout(Stdio::piped()).output().unwrap();
        assert!(output.status.success(), "the clients' process failed");
        let chain = if length == 0 { "short".to_owned() } else { format!("{tip} blocks") };
        print!("| {count} | {chain} | {peers} | {store} {}", String::from_utf8(output.stdout).unwrap());
        for (node, _) in &mut nodes {
            // It ends when nobody can write to it.
            drop(node.stdin.take());
            node.wait().unwrap();
        }
    }
}

/// This program, in another part.
fn own(role: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env(ROLE, role);
    command
}

/// A node that serves the fixture's chain and so many blocks after it, and where it is.
fn node(length: u32) -> (Child, String) {
    let mut command = own("serve");
    command.env(SERVES, length.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut node = command.spawn().unwrap();
    let mut address = String::new();
    BufReader::new(node.stdout.take().unwrap()).read_line(&mut address).unwrap();
    (node, address.trim_end().to_owned())
}
