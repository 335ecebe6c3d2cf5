//! How many messages a second a driver echoes, beside a bare loop on the same reactor.
//!
//! `cargo bench --bench echo` measures all; `-- mio smol` only these. In the same run, on the same machine, by the same
//! load: driver and bare loop take turns, and each figure is the median of its runs. `ANDON_RUNS` says how many there are of
//! each, `ANDON_MILLISECONDS` how long one is.

#![allow(clippy::unwrap_used, reason = "a benchmark that can't go on has nothing to tell")]

mod bare_mio;
mod bare_smol;
mod bare_tokio;
mod driver;
mod load;

use std::net::SocketAddr;
use std::time::Duration;

use load::{Load, Measured};

/// How many bytes a message has.
const MESSAGE_BYTES: usize = 64;

/// How many messages are under way on each connection in the variant that waits for none.
const PIPELINED: usize = 32;

/// How many connections.
const CONNECTIONS: [usize; 3] = [1, 16, 256];

/// Something that listens and echoes until it is stopped.
struct Echo {
    addr: SocketAddr,
    stop: Box<dyn FnOnce()>,
}

/// What is compared: a driver and a bare loop.
struct Pair {
    name: &'static str,
    driver: fn() -> Echo,
    bare: fn() -> Echo,
}

const PAIRS: [Pair; 3] = [
    Pair { name: "mio", driver: driver::mio, bare: bare_mio::start },
    Pair { name: "smol", driver: driver::smol, bare: bare_smol::start },
    Pair { name: "tokio", driver: driver::tokio, bare: bare_tokio::start },
];

fn main() {
    // Cargo adds an argument of its own.
    let chosen: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let runs = number("ANDON_RUNS", 7);
    let time = Duration::from_millis(number("ANDON_MILLISECONDS", 700));
    println!(
        "| reactor | connections | under way on each | driver, messages/s | bare loop, messages/s | ratio | driver, µs of processor for each | bare loop |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for pair in PAIRS.iter().filter(|pair| chosen.is_empty() || chosen.iter().any(|name| name == pair.name)) {
        for under_way in [1, PIPELINED] {
            for connections in CONNECTIONS {
                compare(pair, &Load { connections, under_way, time }, runs);
            }
        }
    }
}

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().expect("a number"))
}

fn compare(pair: &Pair, load: &Load, runs: u64) {
    let measure = |start: fn() -> Echo| {
        let echo = start();
        let measured = load.run(echo.addr);
        (echo.stop)();
        measured
    };
    let (mut driver, mut bare) = (Vec::new(), Vec::new());
    for run in 0..runs {
        // Who is first takes turns, too.
        if run % 2 == 0 {
            driver.push(measure(pair.driver));
            bare.push(measure(pair.bare));
        } else {
            bare.push(measure(pair.bare));
            driver.push(measure(pair.driver));
        }
    }
    let rate = |all: &[Measured]| median(all.iter().map(|measured| measured.messages_per_second));
    let cost = |all: &[Measured]| median(all.iter().map(|measured| measured.microseconds));
    let ratio = median(
        driver.iter().zip(&bare).map(|(driver, bare)| driver.messages_per_second / bare.messages_per_second),
    );
    println!(
        "| {} | {} | {} | {:.0} | {:.0} | {ratio:.2} | {:.2} | {:.2} |",
        pair.name,
        load.connections,
        load.under_way,
        rate(&driver),
        rate(&bare),
        cost(&driver),
        cost(&bare),
    );
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
