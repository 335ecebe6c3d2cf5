//! How fast worlds run, and what they take: `cargo bench -p andon-sim --bench figures`, with numbers of parts for these alone.
//!
//! What is measured, on one thread:
//!
//! - An *event* is an input that a node is given: bytes that come, a wake, an end, the first turn. What happens in the world without a node's being
//!   told costs time and counts for nothing. That is [`Counts::events`](andon_sim::world::Counts).
//! - *Empty nodes* have a machine that does nothing but answer sixteen bytes with sixteen, over links as the internet's (latency by region, jitter,
//!   loss), each over one connection to a random other; or nothing but set the next timer. So that is what the world itself takes.
//! - *Real nodes* are the client that wallets run and the server that tests sync from: eleven twelfths are clients, each with four connections to servers
//!   of its own choice and scripts to watch, without encryption. *Syncing* is their first ten minutes, from nothing to the tip of 280 blocks. *Following* is what comes
//!   after, when all are at the tip: a block every ten minutes, with its filter and, for who watches something in it, the block; pings and timers.
//! - *Idle* networks are as Nakamoto's simulator was measured: one client that finds its peers by itself, among servers that do nothing, with no block.
//! - *A recording* writes every turn of every client down as [`Recorded`](andon_kernel::recording::Recorded) does for wallets, a *trace* every input and every effect of every node, bytes
//!   included. What they cost is the time with them over the time without, in the same world.
//! - *Memory* is what the system counts as this process's own, less what it was before, by node. Each part is a process of its own, so that
//!   none has what another left.
//! - *Experiments* are as they are shipped, on one thread.
//!
//! Seconds are those for which the processor worked for us, not those that passed: others on the machine cost their share of its caches and no more.
//! Each figure is a median of several runs. Beside it stands what is wanted, and what Nakamoto's simulator comes to where it was measured: one client and its idle
//! peers for 60 simulated minutes, release, on one core of a machine of two.

#![allow(clippy::unwrap_used, reason = "in a benchmark a panic is the report")]

mod clients;
mod empty;
mod experiments;
mod idle;
mod measure;
mod memory;
mod recordings;

use measure::load;

/// The parts, in order.
const PARTS: [(&str, fn()); 7] = [
    ("empty nodes", empty::run),
    ("real nodes", clients::run),
    ("idle networks", idle::run),
    ("memory", memory::run),
    ("memory of ten thousand", memory::run_many),
    ("recordings", recordings::run),
    ("experiments", experiments::run),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--test") {
        return; // `cargo test --benches` only wants to know that it builds.
    }
    match &arguments[..] {
        [flag, part] if flag == "--part" => {
            let (name, run) = PARTS[part.parse::<usize>().unwrap() - 1];
            println!("{part}. {name} (load: {})", load());
            return run();
        }
        [flag, name] if flag == "--book" => return memory::book(name),
        _ => {}
    }
    let wanted: Vec<usize> = arguments.iter().filter_map(|argument| argument.parse().ok()).collect();
    for part in 1..=PARTS.len() {
        if wanted.is_empty() || wanted.contains(&part) {
            run_apart(&["--part", &part.to_string()]);
        }
    }
}

/// Runs this program in a process of its own.
fn run_apart(arguments: &[&str]) {
    let program = std::env::current_exe().unwrap();
    assert!(
        std::process::Command::new(program).args(arguments).status().unwrap().success(),
        "{arguments:?} failed"
    );
}
