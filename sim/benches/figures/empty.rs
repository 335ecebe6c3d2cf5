//! Nodes that do nothing, so that what is measured is the world.

use std::net::SocketAddr;

use andon_kernel::{ConnId, Instant, Now};
use andon_sim::random::Stream;
use andon_sim::world::{INTERNET, Links, Node, NodeInput, Place, Port, Time, World};

use crate::clients::{BEGINS, address};
use crate::measure::{Wanted, figure, median, seconds};

const RUNS: u64 = 7;
const EVENTS: u64 = 4_000_000;

/// Answers each message by another of sixteen bytes.
struct Answers {
    dials: Option<SocketAddr>,
}

impl Node for Answers {
    fn turn(&mut self, _: Now, input: NodeInput<'_>, port: &mut Port<'_>) {
        match input {
            NodeInput::Start => {
                if let Some(addr) = self.dials {
                    port.connect(ConnId::dialled(0), addr);
                }
            }
            NodeInput::Connected { conn, .. } | NodeInput::Received { conn, .. } => port.send(conn, &[7; 16]),
            _ => {}
        }
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }
}

/// Is woken again and again, after times from a millisecond to two seconds.
struct Wakes {
    stream: Stream,
    at: Instant,
}

impl Node for Wakes {
    fn turn(&mut self, now: Now, _: NodeInput<'_>, _: &mut Port<'_>) {
        let micros = self.stream.within(1000..=2_000_000);
        self.at = Instant::from_micros(now.instant.as_micros() + micros);
    }

    fn deadline(&self) -> Option<Instant> {
        Some(self.at)
    }
}

pub(crate) fn run() {
    for (nodes, wanted) in [(100, Wanted::AtLeast(5e6)), (10_000, Wanted::Nothing)] {
        let rate = median(RUNS, |seed| {
            let mut stream = Stream::new(seed);
            measured(seed, nodes, |node: u32| Answers {
                dials: (node > 0).then(|| address(stream.below(node.into()) as u32)),
            })
        });
        figure(&format!("{nodes} nodes that answer bytes"), rate, "events/s", wanted, None);
        let rate = median(RUNS, |seed| {
            measured(seed, nodes, |node: u32| Wakes {
                stream: Stream::new(seed).fork_indexed("node", node.into()),
                at: Instant::ZERO,
            })
        });
        figure(&format!("{nodes} nodes that set timers"), rate, "events/s", wanted, None);
    }
}

/// Events in a second of a world of these nodes.
fn measured<N: Node>(seed: u64, nodes: u32, mut node: impl FnMut(u32) -> N) -> f64 {
    let mut world = World::new(seed, BEGINS, Links::internet());
    let mut regions = Stream::new(seed).fork("regions");
    for index in 0..nodes {
        let region = INTERNET.pick(regions.u64());
        world.add(Place { region, ..Place::at(address(index)) }, node(index));
    }
    world.run_until(Time::from_secs(5));
    let limit = world.counts().events + EVENTS;
    let seconds = seconds(|| while world.counts().events < limit && world.step(Time::NEVER).is_some() {});
    assert_eq!(world.counts().events, limit, "something happens for ever");
    EVENTS as f64 / seconds
}
