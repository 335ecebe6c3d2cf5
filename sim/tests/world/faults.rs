//! Crashes, power failures, divisions and resets at the moments at which they are hard to get right.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn received(told: &[Told]) -> usize {
    told.iter().map(|told| if let Told::Received(_, bytes) = told { bytes.len() } else { 0 }).sum()
}

fn ended(told: &[Told]) -> Vec<Disconnect> {
    told.iter()
        .filter_map(|told| if let Told::Disconnected(_, reason) = told { Some(*reason) } else { None })
        .collect()
}

#[test]
fn a_process_can_die_while_its_connections_are_closing() {
    let mut net = Net::connected(Links::default());
    net.world.set_bandwidth(NodeId(0), (1_000_000, 0));
    net.act(0, |port| {
        port.send(DIALLED, &vec![1; 6_000_000]);
        port.close(DIALLED, true);
    });
    net.act(1, |port| port.close(ACCEPTED, true));
    net.run(Duration::from_millis(200));
    net.world.crash(NodeId(0), Crash::Process);
    net.run(60 * SECOND);
    assert_eq!(net.told(1), [Told::Disconnected(ACCEPTED, Disconnect::Closed)]);
    assert_eq!(net.world.connections(), 0);
    // Nothing is left over that counts towards the next process's limits.
    net.world.restart(NodeId(0), Puppet::default());
    net.act(0, |port| port.connect(DIALLED, address(1)));
    net.run(SECOND);
    assert!(matches!(net.told(0)[..], [Told::Start(_), Told::Connected(DIALLED, ..)]));
}

#[test]
fn a_machine_without_power_sends_nothing_more() {
    // What waits for the other side's window.
    let mut net = Net::connected(Links::default());
    net.act(1, |port| port.pause(ACCEPTED, true));
    net.act(0, |port| {
        port.send(DIALLED, &vec![1; 6 << 20]);
        port.close(DIALLED, false);
    });
    net.run(SECOND);
    net.world.crash(NodeId(0), Crash::Power);
    net.act(1, |port| port.pause(ACCEPTED, false));
    net.run(60 * SECOND);
    let told = net.told(1);
    assert_eq!((received(&told), ended(&told)), (4 << 20, vec![]));

    // What waits for its own line: after a quarter of a second a quarter of a megabyte has gone.
    let mut net = Net::connected(Links::default());
    net.world.set_bandwidth(NodeId(0), (1_000_000, 0));
    net.act(0, |port| port.send(DIALLED, &vec![1; 2_000_000]));
    net.run(Duration::from_millis(250));
    net.world.crash(NodeId(0), Crash::Power);
    net.run(60 * SECOND);
    let told = net.told(1);
    let got = received(&told);
    assert!((150_000..=250_000).contains(&got) && ended(&told).is_empty(), "{got}");

    let mut net = Net::connected(Links::default());
    net.world.set_bandwidth(NodeId(0), (1_000_000, 0));
    net.act(0, |port| {
        for size in [200_000, 50_001] {
            port.datagram(address(1), &vec![1; size]);
        }
    });
    net.run(Duration::from_millis(250));
    net.world.crash(NodeId(0), Crash::Power);
    net.run(60 * SECOND);
    assert!(matches!(&net.told(1)[..], [Told::Datagram(_, bytes)] if bytes.len() == 200_000));
    // Another machine's line is free from the start.
    net.world.restart(NodeId(0), Puppet::default());
    let begin = net.world.now().as_nanos() / 1000;
    net.act(0, |port| port.datagram(address(1), &[0; 1000]));
    net.run(SECOND);
    let told = net.timed(1);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].0.as_micros() - begin, 41_000);
}

#[test]
fn a_machine_without_power_answers_for_nothing_that_its_processes_left() {
    let mut net = Net::connected(Links::default());
    net.act(1, |port| port.pause(ACCEPTED, true));
    net.world.crash(NodeId(0), Crash::Process);
    net.run(SECOND);
    net.world.restart(NodeId(0), Puppet::default());
    net.world.crash(NodeId(0), Crash::Power);
    net.act(1, |port| port.send(ACCEPTED, b"are you there?"));
    net.run(60 * SECOND);
    net.act(1, |port| port.pause(ACCEPTED, false));
    net.run(SECOND);
    assert_eq!(net.told(1), [Told::Disconnected(ACCEPTED, Disconnect::ClosedByPeer)]);
    assert_eq!(net.world.connections(), 0);
}

#[test]
fn joined_again_everything_goes_on_whichever_side_is_moved() {
    for moved_back in [0, 1] {
        let mut net = Net::connected(Links::default());
        net.world.divide([NodeId(1)], 1);
        net.act(0, |port| {
            port.send(DIALLED, b"through the cut");
            port.close(DIALLED, false);
        });
        net.run(10 * SECOND);
        assert_eq!(net.told(1), []);
        net.world.divide([NodeId(moved_back)], 1 - moved_back as u8);
        net.run(SECOND);
        let words = Told::Received(ACCEPTED, b"through the cut".to_vec());
        assert_eq!(net.told(1), [words, Told::Disconnected(ACCEPTED, Disconnect::ClosedByPeer)]);
        assert_eq!(net.world.connections(), 0);
    }
}

#[test]
fn a_reset_while_bytes_wait_is_told_even_if_paused() {
    let waiting = |before: bool| {
        let mut net = Net::connected(Links::default());
        net.act(1, |port| port.pause(ACCEPTED, true));
        net.act(0, |port| {
            if before {
                port.pause(DIALLED, true);
            }
            port.send(DIALLED, &vec![1; 8 << 20]);
            port.flush(DIALLED);
        });
        net.run(SECOND);
        assert_eq!(net.told(0), []);
        net
    };
    let mut net = waiting(true);
    net.act(1, |port| port.reset(ACCEPTED));
    net.run(SECOND);
    assert_eq!(net.told(0), [Told::Disconnected(DIALLED, Disconnect::Reset)]);

    // It is paused when it could hear of it.
    let mut net = waiting(false);
    net.world.node_mut(NodeId(0)).is_full = true;
    net.act(0, |_| {});
    net.act(1, |port| port.reset(ACCEPTED));
    net.run(SECOND);
    net.world.node_mut(NodeId(0)).is_full = false;
    net.act(0, |port| port.pause(DIALLED, true));
    net.run(SECOND);
    assert_eq!(net.told(0), [Told::Disconnected(DIALLED, Disconnect::Reset)]);
    assert_eq!(net.world.connections(), 0);
}

#[test]
fn a_node_starts_before_anything_else_happens_to_it() {
    let mut net = Net::new(1, Links::default());
    let id = net.world.add(Place::at(address(1)), Puppet::default());
    net.act(1, |port| port.note(String::new));
    assert!(matches!(net.told(1)[..], [Told::Start(_)]));
    // A dial that comes at the moment at which it is started again.
    net.act(0, |port| port.connect(DIALLED, address(1)));
    net.world.crash(id, Crash::Process);
    net.run(LATENCY - Duration::from_nanos(1));
    net.world.run_for(Duration::ZERO);
    let mut net = {
        let mut net = Net::new(2, Links::default());
        net.world.node_mut(NodeId(1)).is_full = true;
        net.act(1, |port| port.datagram(address(0), b"x"));
        net.run(LATENCY);
        net.told(0);
        net.world.crash(NodeId(1), Crash::Process);
        net
    };
    net.act(0, |port| port.datagram(address(1), b"early"));
    net.world.links_mut().latency = Latency::Fixed(Duration::ZERO);
    net.act(0, |port| port.datagram(address(1), b"at once"));
    net.world.restart(NodeId(1), Puppet::default());
    net.run(SECOND);
    let told = net.told(1);
    assert!(matches!(told[..], [Told::Start(_), Told::Datagram(..), Told::Datagram(..)]), "{told:?}");
}

/// Answers everything with as much, and sends last words at an end that it could still answer.
#[derive(Debug, Default)]
struct Echo(Vec<Told>);

impl Node for Echo {
    fn turn(&mut self, _: Now, input: NodeInput<'_>, port: &mut Port<'_>) {
        match input {
            NodeInput::Received { conn, bytes } => {
                self.0.push(Told::Received(conn, bytes.to_vec()));
                port.send(conn, bytes);
            }
            NodeInput::Disconnected { conn, reason } => self.0.push(Told::Disconnected(conn, reason)),
            _ => {}
        }
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }
}

enum Either {
    Echo(Echo),
    Half(Half),
}

/// Closes its half, and hears what comes.
#[derive(Debug, Default)]
struct Half(Vec<Told>);

impl Node for Either {
    fn turn(&mut self, now: Now, input: NodeInput<'_>, port: &mut Port<'_>) {
        match self {
            Self::Echo(echo) => echo.turn(now, input, port),
            Self::Half(half) => match input {
                NodeInput::Connected { conn, .. } => {
                    port.send(conn, b"first and last");
                    port.shut(conn);
                }
                NodeInput::Received { conn, bytes } => half.0.push(Told::Received(conn, bytes.to_vec())),
                NodeInput::HalfClosed { conn } => half.0.push(Told::HalfClosed(conn)),
                _ => {}
            },
        }
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }

    fn keeps_half(&self) -> bool {
        matches!(self, Self::Half(_))
    }
}

#[test]
fn the_last_bytes_before_an_end_can_be_answered() {
    let mut world = World::new(1, UnixTime::default(), Links::default());
    let half = world.add(Place::at(address(0)), Either::Half(Half::default()));
    let echo = world.add(Place::at(address(1)), Either::Echo(Echo::default()));
    world.with(half, |_, _, port| port.connect(DIALLED, address(1)));
    world.run_for(LATENCY * 3 / 2);
    // Bytes and end come while it is paused.
    world.with(echo, |_, _, port| port.pause(ACCEPTED, true));
    world.run_for(SECOND);
    world.with(echo, |_, _, port| port.pause(ACCEPTED, false));
    world.run_for(SECOND);
    let Either::Half(half) = world.node(half) else { panic!() };
    let words = Told::Received(DIALLED, b"first and last".to_vec());
    assert_eq!(half.0, [words, Told::HalfClosed(DIALLED)]);
    let Either::Echo(echo) = world.node(echo) else { panic!() };
    assert_eq!(echo.0[1..], [Told::Disconnected(ACCEPTED, Disconnect::ClosedByPeer)]);
}

#[test]
fn what_is_sent_before_a_pause_ends_goes_out_before_an_end_is_heard() {
    let mut net = Net::connected(Links::default());
    net.act(0, |port| port.pause(DIALLED, true));
    net.act(1, |port| port.shut(ACCEPTED));
    net.run(SECOND);
    net.act(0, |port| {
        port.send(DIALLED, b"an answer");
        port.pause(DIALLED, false);
    });
    net.run(SECOND);
    assert_eq!(received(&net.told(1)), 9);
}

#[test]
fn who_waits_for_a_machine_that_vanished_gives_up() {
    for has_end in [false, true] {
        let mut net = Net::connected(Links::default());
        net.act(1, |port| port.pause(ACCEPTED, true));
        net.act(0, |port| {
            port.send(DIALLED, &vec![1; 6 << 20]);
            if has_end {
                port.shut(DIALLED);
            }
        });
        net.run(SECOND);
        net.world.crash(NodeId(1), Crash::Power);
        net.run(2000 * SECOND);
        assert_eq!(net.told(0), [Told::Disconnected(DIALLED, Disconnect::TimedOut)]);
        assert_eq!(net.world.connections(), 0);
    }
}

#[test]
fn bytes_to_a_machine_that_vanished_are_not_taken_for_ever() {
    let mut net = Net::connected(Links::default());
    net.world.crash(NodeId(1), Crash::Power);
    net.act(0, |port| {
        port.send(DIALLED, &vec![1; 1 << 20]);
        port.flush(DIALLED);
    });
    net.run(10 * SECOND);
    assert_eq!(net.told(0), [], "no socket holds a megabyte");
    net.act(0, |port| port.send(DIALLED, &vec![1; 20 << 20]));
    net.run(SECOND);
    assert_eq!(net.told(0), [Told::Disconnected(DIALLED, Disconnect::SendQueueFull)]);
}

#[test]
fn a_machine_that_comes_back_answers_when_it_is_asked_again() {
    let mut net = Net::connected(Links::default());
    net.world.crash(NodeId(1), Crash::Power);
    net.act(0, |port| port.send(DIALLED, b"are you there?"));
    net.run(60 * SECOND);
    assert_eq!(net.told(0), []);
    net.world.restart(NodeId(1), Puppet::default());
    let begin = net.world.now().as_nanos() / 1000;
    net.run(200 * SECOND);
    let told = net.timed(0);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].1, Told::Disconnected(DIALLED, Disconnect::Reset));
    assert!(told[0].0.as_micros() - begin <= 61_000_000, "{told:?}");

    // It is there, and nothing gets to it until the network is joined.
    let mut net = Net::connected(Links::default());
    net.world.crash(NodeId(1), Crash::Power);
    net.world.restart(NodeId(1), Puppet::default());
    net.act(0, |port| port.send(DIALLED, b"are you there?"));
    net.world.divide([NodeId(1)], 1);
    net.run(60 * SECOND);
    assert_eq!(net.told(0), []);
    net.world.divide([NodeId(1)], 0);
    net.run(200 * SECOND);
    assert_eq!(net.told(0), [Told::Disconnected(DIALLED, Disconnect::Reset)]);
}

#[test]
fn a_division_that_is_over_counts_for_nothing_in_the_next() {
    let mut net = Net::connected(Links::default());
    net.world.divide([NodeId(1)], 1);
    net.act(0, |port| port.send(DIALLED, b"first"));
    net.run(600 * SECOND);
    net.world.divide([NodeId(1)], 0);
    net.run(SECOND);
    assert_eq!(net.bytes(1), b"first");
    net.world.divide([NodeId(1)], 1);
    net.act(0, |port| port.send(DIALLED, b"second"));
    net.run(900 * SECOND);
    assert_eq!(net.told(0), []);
    net.run(25 * SECOND);
    assert_eq!(net.told(0), [Told::Disconnected(DIALLED, Disconnect::TimedOut)]);
}

#[test]
fn what_is_on_its_way_waits_for_a_division_to_end() {
    let mut net = Net::connected(Links::default());
    net.act(0, |port| {
        port.send(DIALLED, b"on its way");
        port.datagram(address(1), b"lost");
    });
    net.run(LATENCY / 2);
    net.world.divide([NodeId(1)], 1);
    net.run(60 * SECOND);
    assert_eq!(net.told(1), []);
    net.world.divide([NodeId(1)], 0);
    net.run(SECOND);
    assert_eq!(net.told(1), [Told::Received(ACCEPTED, b"on its way".to_vec())]);

    // The answer to a dial, too.
    let mut net = Net::new(2, Links::default());
    net.act(0, |port| port.connect(DIALLED, address(1)));
    net.run(LATENCY * 3 / 2);
    net.world.divide([NodeId(1)], 1);
    net.run(5 * SECOND);
    assert_eq!(net.told(0), []);
    net.world.divide([NodeId(1)], 0);
    net.run(4 * SECOND);
    assert_eq!(net.told(0), [Told::Connected(DIALLED, address(1), Link::Outbound)]);

    let mut net = Net::new(2, Links::default());
    net.act(0, |port| port.connect(DIALLED, address(1)));
    net.run(LATENCY * 3 / 2);
    net.world.divide([NodeId(1)], 1);
    net.run(60 * SECOND);
    assert_eq!(net.told(0), [Told::Disconnected(DIALLED, Disconnect::TimedOut)]);
}

#[test]
fn a_connection_that_is_open_is_not_ended_by_the_limit_of_its_dial() {
    let slow = Links { latency: Latency::Fixed(6 * SECOND), ..Links::default() };
    let mut net = Net::new(2, slow);
    net.act(0, |port| port.connect(DIALLED, address(1)));
    net.run(6 * SECOND - Duration::from_millis(1));
    net.world.links_mut().latency = Latency::Fixed(SECOND);
    net.run(60 * SECOND);
    assert_eq!(net.told(0), [Told::Connected(DIALLED, address(1), Link::Outbound)]);

    // And the limit counts when the way becomes longer after the dial.
    let mut net = Net::new(2, Links::default());
    net.act(0, |port| port.connect(DIALLED, address(1)));
    net.world.links_mut().latency = Latency::Fixed(20 * SECOND);
    net.run(15 * SECOND);
    assert_eq!(net.told(0), [Told::Disconnected(DIALLED, Disconnect::TimedOut)]);
    net.run(60 * SECOND);
    assert_eq!(net.world.connections(), 0);
}

#[test]
fn few_bytes_do_not_wait_for_all_of_another_connections() {
    let mut net = Net::new(3, Links::default());
    for dialler in [1, 2] {
        net.act(dialler, |port| port.connect(DIALLED, address(0)));
    }
    net.run(SECOND);
    for node in 0..3 {
        net.told(node);
    }
    net.world.set_bandwidth(NodeId(0), (125_000, 0));
    net.act(0, |port| {
        port.send(ConnId::accepted(0), &vec![1; 4 << 20]);
        port.send(ConnId::accepted(1), &[2; 100]);
    });
    net.run(60 * SECOND);
    let told = net.timed(2);
    assert_eq!(told.len(), 1);
    assert!(told[0].0.as_micros() - 1_000_000 < 600_000, "{}", told[0].0.as_micros());
    // The line is never idle meanwhile.
    let last = net.timed(1).last().unwrap().0.as_micros() - 1_000_000;
    let line = ((4 << 20) + 100) * 8;
    assert!((line..=line + 41_000).contains(&last), "{last}");
}
