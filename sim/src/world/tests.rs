//! What cannot be seen from outside: that nothing is left over.

use core::time::Duration;

use super::*;

/// A node that is told by the test when to wake.
#[derive(Default)]
struct Sleeper {
    wakes_at: Option<Instant>,
    wakes: u64,
    is_full: bool,
    /// Whether it is full after each datagram.
    fills: bool,
    datagrams: u32,
    connected: u32,
}

impl Node for Sleeper {
    fn turn(&mut self, now: Now, input: NodeInput<'_>, _: &mut Port<'_>) {
        match input {
            NodeInput::Wake => {
                self.wakes += 1;
                assert!(
                    self.wakes_at.is_some_and(|at| at <= now.instant),
                    "it is woken when it asked for it"
                );
                self.wakes_at = Some(far(now));
            }
            NodeInput::Datagram { .. } => {
                self.datagrams += 1;
                self.is_full = self.fills;
            }
            NodeInput::Connected { .. } => self.connected += 1,
            _ => {}
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.wakes_at
    }

    fn reads(&self) -> bool {
        !self.is_full
    }
}

fn far(now: Now) -> Instant {
    Instant::from_micros(now.instant.as_micros() / 1_000_000_000 * 1_000_000_000 + 1_000_000_000)
}

fn address(node: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, node], 8333))
}

fn world() -> World<Sleeper> {
    let mut world = World::new(1, UnixTime::default(), Links::default());
    for node in 0..2 {
        world.add(Place::at(address(node)), Sleeper::default());
    }
    world.run_until(Time::ZERO);
    world
}

#[test]
fn timers_that_are_asked_for_again_and_again_stand_in_the_queue_once() {
    let mut world = world();
    let id = NodeId(0);
    let mut most = 0;
    for cycle in 0..10_000_u64 {
        // One far ahead, one nearer and one at once: each is put off until the one before it is over.
        for ahead in [Duration::from_millis(7), Duration::from_millis(3)] {
            world.with(id, |node, now, _| node.wakes_at = Some(far(now)));
            world.with(id, |node, now, _| {
                node.wakes_at =
                    Some(Instant::from_micros(now.instant.as_micros() + ahead.as_micros() as u64));
            });
        }
        world.run_for(Duration::from_millis(10));
        assert!(world.node(id).wakes > cycle);
        most = most.max(world.network.queue.len());
    }
    assert!(most <= 4, "{most}");
}

#[test]
fn nothing_is_left_of_what_was_put_off_when_a_process_ends() {
    for how in [Crash::Process, Crash::Power] {
        let mut world = world();
        world.with(NodeId(1), |node, _, port| {
            node.is_full = true;
            port.resolve(andon_kernel::Ticket::new(0), "nobody.example", 1);
        });
        world.with(NodeId(0), |_, _, port| port.datagram(address(1), b"late"));
        world.run_for(Duration::from_secs(1));
        let left = |world: &World<Sleeper>| (world.network.datagrams.len(), world.network.look_ups.len());
        assert_eq!(left(&world), (1, 1));
        world.crash(NodeId(1), how);
        world.run_for(Duration::from_secs(1));
        assert_eq!(left(&world), (0, 0));
    }
}

/// A node that takes one thing at a time: what waits is looked at once for each, and not all of it each time.
#[test]
fn what_was_put_off_is_gone_through_once() {
    let mut world = world();
    world.with(NodeId(1), |node, _, _| (node.is_full, node.fills) = (true, true));
    for _ in 0..2000 {
        world.with(NodeId(0), |_, _, port| port.datagram(address(1), b"one of many"));
    }
    world.run_for(Duration::from_secs(1));
    let mut steps = 0;
    for told in 0..2000 {
        assert_eq!(world.node(NodeId(1)).datagrams, told);
        world.with(NodeId(1), |node, _, _| node.is_full = false);
        while world.step(world.now()).is_some() {
            steps += 1;
        }
    }
    assert_eq!(world.node(NodeId(1)).datagrams, 2000);
    assert!(steps <= 3 * 2000, "{steps}");
}

/// As many datagrams as may wait keep no dial out.
#[test]
fn dials_and_datagrams_wait_beside_each_other() {
    let mut world = world();
    world.with(NodeId(1), |node, _, _| node.is_full = true);
    for _ in 0..5000 {
        world.with(NodeId(0), |_, _, port| port.datagram(address(1), b"one of many"));
    }
    world.run_for(Duration::from_secs(1));
    world.with(NodeId(0), |_, _, port| port.connect(andon_kernel::ConnId::dialled(0), address(1)));
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.node(NodeId(0)).connected, 1);
    world.with(NodeId(1), |node, _, _| node.is_full = false);
    world.run_for(Duration::from_secs(1));
    assert_eq!((world.node(NodeId(1)).connected, world.node(NodeId(1)).datagrams), (1, 4096));
    assert_eq!(world.counts().datagrams_lost, 5000 - 4096);
}
