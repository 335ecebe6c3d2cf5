//! What it costs to write a run down.

use std::cell::Cell;
use std::rc::Rc;

use andon_sim::world::{NodeId, NodeInput, Time, Trace, Traced};

use crate::clients::Real;
use crate::measure::{Wanted, figure, seconds};

const RUNS: u64 = 9;
const NODES: u32 = 100;
const BLOCKS: u32 = 100;

/// Writes down every input and every effect, with what is in it, into memory that is used again, as a file's buffer is.
#[derive(Default)]
struct Tape {
    buffer: Vec<u8>,
    written: Rc<Cell<u64>>,
}

impl Trace for Tape {
    fn happened(&mut self, at: Time, node: NodeId, what: Traced<'_>) {
        let (kind, number, bytes): (u8, u64, &[u8]) = match &what {
            Traced::Input(NodeInput::Received { conn, bytes }) => (1, conn.as_u64(), bytes),
            Traced::Input(NodeInput::Datagram { bytes, .. }) => (2, 0, bytes),
            Traced::Input(_) => (3, 0, &[]),
            Traced::Send { conn, bytes } => (4, conn.as_u64(), bytes),
            Traced::Connect { conn, .. } => (5, conn.as_u64(), &[]),
            Traced::Close { conn, .. } => (6, conn.as_u64(), &[]),
            _ => (7, 0, &[]),
        };
        self.buffer.push(kind);
        for number in [at.as_nanos(), node.0.into(), number, bytes.len() as u64] {
            self.buffer.extend_from_slice(&number.to_le_bytes());
        }
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() > 1 << 16 {
            self.written.set(self.written.get() + self.buffer.len() as u64);
            self.buffer.clear();
        }
    }
}

pub(crate) fn run() {
    // Each beside each, so that what slows the machine down for a while slows all of them.
    let mut costs = [Vec::new(), Vec::new()];
    let mut events = 0;
    for seed in 0..RUNS {
        let (bare, digest) = run_once(seed, false, None, &mut events);
        let (recorded, same) = run_once(seed, true, None, &mut events);
        assert_eq!(digest, same, "a recording changes nothing");
        let written = Rc::default();
        let (traced, same) = run_once(seed, false, Some(Rc::clone(&written)), &mut events);
        assert_eq!(digest, same, "a trace changes nothing");
        assert!(written.get() > 1_000_000);
        costs[0].push((recorded / bare - 1.0) * 100.0);
        costs[1].push((traced / bare - 1.0) * 100.0);
    }
    for (what, mut costs) in ["recording every client", "tracing every node"].into_iter().zip(costs) {
        costs.sort_by(f64::total_cmp);
        figure(what, costs[costs.len() / 2], "% more time", Wanted::AtMost(15.0), None);
    }
    println!("  {events} events a run");
}

fn run_once(seed: u64, recorded: bool, written: Option<Rc<Cell<u64>>>, events: &mut u64) -> (f64, u64) {
    let mut real = Real::new(seed, NODES, recorded);
    if let Some(written) = written {
        real.world.set_trace(Some(Box::new(Tape { buffer: Vec::new(), written })));
    }
    let seconds = seconds(|| {
        real.sync();
        real.follow(BLOCKS);
    });
    *events = real.world.counts().events;
    (seconds, real.world.digest())
}
