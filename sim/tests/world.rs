//! The network of a world: what TCP promises, what it does not, and what ends how.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use andon_kernel::{ConnId, Disconnect, Instant, Link, Now, Ticket, UnixTime};
use andon_sim::random::{Chance, Stream};
use andon_sim::world::{
    Crash, GilbertElliott, Latency, Limits, Links, Name, Node, NodeId, NodeInput, Place, Port, Reach, Time,
    World,
};

#[path = "world/faults.rs"]
mod faults;

/// A node that writes down what it is told, and does what the test says.
#[derive(Debug, Default)]
struct Puppet {
    told: Vec<(Instant, Told)>,
    wakes_at: Option<Instant>,
    is_full: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Told {
    Start(UnixTime),
    Wake,
    Connected(ConnId, SocketAddr, Link),
    Received(ConnId, Vec<u8>),
    Drained(ConnId),
    HalfClosed(ConnId),
    Disconnected(ConnId, Disconnect),
    Datagram(SocketAddr, Vec<u8>),
    Resolved(Ticket, Vec<SocketAddr>),
    Due,
}

impl Node for Puppet {
    fn turn(&mut self, now: Now, input: NodeInput<'_>, _: &mut Port<'_>) {
        if self.wakes_at.is_some_and(|at| at <= now.instant) {
            self.wakes_at = None;
        }
        let told = match input {
            NodeInput::Start => Told::Start(now.unix),
            NodeInput::Wake => Told::Wake,
            NodeInput::Connected { conn, remote, link } => Told::Connected(conn, remote, link),
            NodeInput::Received { conn, bytes } => Told::Received(conn, bytes.to_vec()),
            NodeInput::Drained { conn } => Told::Drained(conn),
            NodeInput::Disconnected { conn, reason } => Told::Disconnected(conn, reason),
            NodeInput::Datagram { from, bytes } => Told::Datagram(from, bytes.to_vec()),
            NodeInput::Resolved { ticket, addrs } => Told::Resolved(ticket, addrs.to_vec()),
            NodeInput::HalfClosed { conn } => Told::HalfClosed(conn),
            NodeInput::Due => Told::Due,
        };
        self.told.push((now.instant, told));
    }

    fn deadline(&self) -> Option<Instant> {
        self.wakes_at
    }

    fn reads(&self) -> bool {
        !self.is_full
    }
}

const LATENCY: Duration = Duration::from_millis(40);
const DIALLED: ConnId = ConnId::dialled(0);
const ACCEPTED: ConnId = ConnId::accepted(0);

fn address(node: u32) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, node as u8], 8333))
}

struct Net {
    world: World<Puppet>,
}

impl Net {
    fn new(nodes: u32, links: Links) -> Self {
        let mut world = World::new(1, UnixTime::from_secs(1_000_000), links);
        for node in 0..nodes {
            world.add(Place::at(address(node)), Puppet::default());
        }
        world.run_until(Time::ZERO);
        let mut net = Self { world };
        for node in 0..nodes {
            assert_eq!(net.told(node), [Told::Start(UnixTime::from_secs(1_000_000))]);
        }
        net
    }

    /// Two nodes, the first of which has dialled the second.
    fn connected(links: Links) -> Self {
        let mut net = Self::new(2, links);
        net.act(0, |port| port.connect(DIALLED, address(1)));
        net.run(Duration::from_secs(1));
        assert_eq!(net.told(0), [Told::Connected(DIALLED, address(1), Link::Outbound)]);
        let told = net.told(1);
        let [Told::Connected(ACCEPTED, remote, Link::Inbound)] = told[..] else { panic!("{told:?}") };
        assert_eq!(remote.ip(), address(0).ip());
        net
    }

    fn act(&mut self, node: u32, act: impl FnOnce(&mut Port<'_>)) {
        self.world.with(NodeId(node), |_, _, port| act(port));
    }

    fn run(&mut self, time: Duration) {
        self.world.run_for(time);
    }

    fn told(&mut self, node: u32) -> Vec<Told> {
        self.timed(node).into_iter().map(|(_, told)| told).collect()
    }

    fn timed(&mut self, node: u32) -> Vec<(Instant, Told)> {
        std::mem::take(&mut self.world.node_mut(NodeId(node)).told)
    }

    /// What a node received, as one string of bytes; nothing else happened to it.
    fn bytes(&mut self, node: u32) -> Vec<u8> {
        let told = self.told(node);
        told.into_iter()
            .flat_map(|told| match told {
                Told::Received(_, bytes) => bytes,
                other => panic!("{other:?}"),
            })
            .collect()
    }
}

fn micros(duration: Duration) -> u64 {
    duration.as_micros() as u64
}

#[test]
fn a_dial_takes_a_round_trip_and_bytes_half_of_one() {
    let mut net = Net::new(2, Links::default());
    net.act(0, |port| port.connect(DIALLED, address(1)));
    net.run(Duration::from_secs(1));
    assert_eq!(net.timed(0)[0].0.as_micros(), micros(2 * LATENCY));
    assert_eq!(net.timed(1)[0].0.as_micros(), micros(LATENCY));
    net.act(0, |port| {
        port.send(DIALLED, b"abc");
        port.send(DIALLED, b"def");
    });
    net.act(1, |port| port.send(ACCEPTED, b"back"));
    net.run(Duration::from_secs(1));
    let at = |instant: Instant| instant.as_micros() - 1_000_000;
    let told = net.timed(1);
    assert_eq!(told.len(), 1, "what is sent in one turn goes as one");
    assert_eq!((at(told[0].0), &told[0].1), (micros(LATENCY), &Told::Received(ACCEPTED, b"abcdef".to_vec())));
    assert_eq!(net.bytes(0), b"back");
    assert_eq!(net.world.counts().bytes, 10);
}

#[test]
fn whoever_is_dialled_lets_in_refuses_or_says_nothing() {
    let mut net = Net::new(4, Links::default());
    net.world.set_reach(NodeId(1), Reach::Closed);
    net.world.set_reach(NodeId(2), Reach::Hidden);
    net.world.crash(NodeId(3), Crash::Power);
    for target in 1..=4 {
        net.act(0, |port| port.connect(ConnId::dialled(target.into()), address(target)));
    }
    net.run(Duration::from_secs(60));
    let told: Vec<_> = net.timed(0).into_iter().map(|(at, told)| (at.as_micros(), told)).collect();
    let ended = |conn, reason| Told::Disconnected(ConnId::dialled(conn), reason);
    assert_eq!(told[0], (80_000, ended(1, Disconnect::Refused)));
    let mut late = told[1..].to_vec();
    late.sort_by_key(|(_, told)| format!("{told:?}"));
    let expected = [2, 3, 4].map(|conn| (10_000_000, ended(conn, Disconnect::TimedOut)));
    assert_eq!(late, expected);
    assert_eq!(net.world.connections(), 0);
}

#[test]
fn a_full_node_lets_in_and_closes() {
    let mut world = World::new(1, UnixTime::default(), Links::default());
    for node in 0..3 {
        world.add(Place { inbound: 1, ..Place::at(address(node)) }, Puppet::default());
    }
    world.run_until(Time::ZERO);
    let mut net = Net { world };
    for dialler in [1, 2] {
        net.act(dialler, |port| port.connect(DIALLED, address(0)));
    }
    net.run(Duration::from_secs(1));
    assert_eq!(net.told(1)[1..], [Told::Connected(DIALLED, address(0), Link::Outbound)]);
    let closed = Told::Disconnected(DIALLED, Disconnect::ClosedByPeer);
    assert_eq!(net.told(2)[1..], [Told::Connected(DIALLED, address(0), Link::Outbound), closed]);
    assert_eq!(net.told(0).len(), 2);
    net.act(1, |port| port.close(DIALLED, false));
    net.run(Duration::from_secs(1));
    net.act(2, |port| port.connect(ConnId::dialled(1), address(0)));
    net.run(Duration::from_secs(1));
    assert_eq!(net.told(2).len(), 1, "the place is free again");
}

#[test]
fn each_end_is_told_once_that_it_is_over() {
    for flush in [false, true] {
        let mut net = Net::connected(Links::default());
        net.act(1, |port| port.send(ACCEPTED, b"last words"));
        net.act(1, |port| port.close(ACCEPTED, flush));
        // Nothing comes of what is done with it after that.
        net.act(1, |port| {
            port.send(ACCEPTED, b"more");
            port.flush(ACCEPTED);
            port.close(ACCEPTED, true);
        });
        net.run(Duration::from_secs(1));
        assert_eq!(net.told(1), [Told::Disconnected(ACCEPTED, Disconnect::Closed)]);
        let words = Told::Received(DIALLED, b"last words".to_vec());
        assert_eq!(net.told(0), [words, Told::Disconnected(DIALLED, Disconnect::ClosedByPeer)]);
        assert_eq!(net.world.connections(), 0);
    }
}

#[test]
fn ends_that_close_at_the_same_time_are_told_once_each() {
    let mut net = Net::connected(Links::default());
    net.act(0, |port| port.close(DIALLED, true));
    net.act(1, |port| port.close(ACCEPTED, true));
    net.run(Duration::from_secs(1));
    assert_eq!(net.told(0), [Told::Disconnected(DIALLED, Disconnect::Closed)]);
    assert_eq!(net.told(1), [Told::Disconnected(ACCEPTED, Disconnect::Closed)]);
    assert_eq!(net.world.connections(), 0);
}

#[test]
fn a_dial_can_be_closed_before_it_is_answered() {
    for wait in [0, 20, 60] {
        let mut net = Net::new(2, Links::default());
        net.act(0, |port| port.connect(DIALLED, address(1)));
        net.run(Duration::from_millis(wait));
        net.act(0, |port| port.close(DIALLED, false));
        net.run(Duration::from_secs(1));
        assert_eq!(net.told(0), [Told::Disconnected(DIALLED, Disconnect::Closed)]);
        let told = net.told(1);
        if wait < 40 {
            assert_eq!(told, []);
        } else {
            // Who is told that the dial was let in, and has no socket for it any more, says so.
            assert_eq!(told[1..], [Told::Disconnected(ACCEPTED, Disconnect::Reset)]);
        }
        assert_eq!(net.world.connections(), 0);
    }
}

#[test]
fn a_reset_and_a_cut_are_told_as_such() {
    let mut net = Net::connected(Links::default());
    net.act(0, |port| port.reset(DIALLED));
    net.run(Duration::from_secs(1));
    assert_eq!(net.told(0), [Told::Disconnected(DIALLED, Disconnect::Closed)]);
    assert_eq!(net.told(1), [Told::Disconnected(ACCEPTED, Disconnect::Reset)]);

    let mut net = Net::connected(Links::default());
    net.act(0, |port| port.send(DIALLED, b"on its way"));
    net.world.cut(NodeId(0), None);
    net.run(Duration::from_secs(1));
    assert_eq!(net.told(0), [Told::Disconnected(DIALLED, Disconnect::Reset)]);
    assert_eq!(net.told(1), [Told::Disconnected(ACCEPTED, Disconnect::Reset)]);
    assert_eq!(net.world.connections(), 0);
}

#[test]
fn bytes_come_in_order_whatever_is_lost_and_however_they_are_cut() {
    let links = Links {
        latency: Latency::Regions(&andon_sim::world::INTERNET),
        jitter: 500,
        loss: Chance::of(1, 20),
        pieces: Some(100),
        ..Links::default()
    };
    let mut net = Net::connected(links);
    let sent: Vec<u8> = (0..100_000_u32).map(|index| (index * 7 / 3) as u8).collect();
    for chunk in sent.chunks(5000) {
        net.act(0, |port| port.send(DIALLED, chunk));
        net.run(Duration::from_millis(1));
    }
    net.run(Duration::from_secs(300));
    assert!(net.world.node(NodeId(1)).told.len() > 1000);
    assert_eq!(net.bytes(1), sent);
}

#[test]
fn a_line_carries_what_it_carries() {
    // A megabyte a second away from the one, half of that towards the other.
    let mut net = Net::connected(Links::default());
    net.world.set_bandwidth(NodeId(0), (1_000_000, 0));
    let start = net.world.now();
    net.act(0, |port| port.send(DIALLED, &[7; 1_000_000]));
    net.run(Duration::from_secs(30));
    let last = net.timed(1).last().unwrap().0.as_micros() - start.as_nanos() / 1000;
    assert_eq!(last, 1_040_000);

    net.world.set_bandwidth(NodeId(1), (0, 500_000));
    let start = net.world.now();
    net.act(0, |port| port.send(DIALLED, &[7; 1_000_000]));
    net.run(Duration::from_secs(30));
    let last = net.timed(1).last().unwrap().0.as_micros() - start.as_nanos() / 1000;
    assert!((2_040_000..2_200_000).contains(&last), "{last}");
}

#[test]
fn a_line_is_shared_by_all_that_goes_over_it() {
    let mut net = Net::new(3, Links::default());
    for dialler in [1, 2] {
        net.act(dialler, |port| port.connect(DIALLED, address(0)));
    }
    net.run(Duration::from_secs(1));
    net.world.set_bandwidth(NodeId(0), (1_000_000, 0));
    for node in 0..3 {
        net.told(node);
    }
    net.act(0, |port| {
        port.send(ConnId::accepted(0), &[1; 500_000]);
        port.send(ConnId::accepted(1), &[2; 500_000]);
    });
    net.run(Duration::from_secs(30));
    let last = |net: &mut Net, node| net.timed(node).last().unwrap().0.as_micros() - 1_000_000;
    // Both at the same time, but for what goes over the line at once.
    assert_eq!([last(&mut net, 1), last(&mut net, 2)], [998_752, 1_040_000]);
}

#[test]
fn who_reads_nothing_holds_the_sender_up_and_loses_nothing() {
    const BYTES: usize = 12_000_000;
    let mut net = Net::connected(Links::default());
    net.act(1, |port| port.pause(ACCEPTED, true));
    net.act(0, |port| {
        port.send(DIALLED, &vec![5; BYTES]);
        port.flush(DIALLED);
        port.send(DIALLED, b"behind");
    });
    net.run(Duration::from_secs(100));
    assert_eq!(net.told(0), [], "not drained");
    assert_eq!(net.told(1), []);
    net.act(0, |port| port.close(DIALLED, true));
    net.run(Duration::from_secs(1));
    assert_eq!(net.told(0), [], "not closed");
    net.act(1, |port| port.pause(ACCEPTED, false));
    net.run(Duration::from_secs(100));
    let told = net.told(1);
    let (end, bytes) = told.split_last().unwrap();
    assert_eq!(*end, Told::Disconnected(ACCEPTED, Disconnect::ClosedByPeer));
    let taken: usize = bytes
        .iter()
        .map(|told| match told {
            Told::Received(_, bytes) => bytes.len(),
            other => panic!("{other:?}"),
        })
        .sum();
    assert_eq!(taken, BYTES + 6);
    // It was closing: what it asked for before is no longer answered.
    assert_eq!(net.told(0), [Told::Disconnected(DIALLED, Disconnect::Closed)]);
}

#[test]
fn who_never_reads_is_waited_for_for_five_seconds() {
    let mut net = Net::connected(Links::default());
    net.act(1, |port| port.pause(ACCEPTED, true));
    net.act(0, |port| {
        port.send(DIALLED, &[1; 8 << 20]);
        port.close(DIALLED, true);
    });
    net.run(Duration::from_secs(60));
    let ended = Told::Disconnected(DIALLED, Disconnect::Closed);
    assert_eq!(net.timed(0), [(Instant::from_micros(6_000_000), ended)]);
    // What the sockets had taken by then is there.
    net.act(1, |port| port.pause(ACCEPTED, false));
    net.run(Duration::from_secs(60));
    let told = net.told(1);
    let (end, bytes) = told.split_last().unwrap();
    assert_eq!(*end, Told::Disconnected(ACCEPTED, Disconnect::ClosedByPeer));
    let taken = bytes.iter().map(|told| if let Told::Received(_, bytes) = told { bytes.len() } else { 0 });
    assert_eq!(taken.sum::<usize>(), (4 << 20) + (256 << 10));
    assert_eq!(net.world.connections(), 0);
}

#[test]
fn an_end_is_told_when_what_came_before_it_may_be_read() {
    for has_bytes in [false, true] {
        let mut net = Net::connected(Links::default());
        net.act(1, |port| port.pause(ACCEPTED, true));
        net.act(0, |port| {
            if has_bytes {
                port.send(DIALLED, b"last words");
            }
            port.close(DIALLED, false);
        });
        net.run(Duration::from_secs(60));
        assert_eq!(net.told(1), []);
        net.act(1, |port| port.pause(ACCEPTED, false));
        net.run(Duration::ZERO);
        let told = net.told(1);
        assert_eq!(told.len(), 1 + usize::from(has_bytes));
        assert_eq!(told.last(), Some(&Told::Disconnected(ACCEPTED, Disconnect::ClosedByPeer)));
        assert_eq!(net.world.connections(), 0);
    }
}

#[test]
fn a_node_that_takes_nothing_is_told_everything_later_in_order() {
    let mut net = Net::connected(Links::default());
    net.world.node_mut(NodeId(1)).is_full = true;
    net.act(1, |port| {
        port.connect(DIALLED, address(0));
        port.resolve(Ticket::new(0), "nobody.example", 1);
    });
    net.act(0, |port| {
        port.connect(ConnId::dialled(1), address(1));
        port.datagram(address(1), b"one");
    });
    net.run(Duration::from_secs(1));
    // The system lets the dial in, as systems do, and takes what is sent.
    assert!(net.told(0).contains(&Told::Connected(ConnId::dialled(1), address(1), Link::Outbound)));
    net.act(0, |port| {
        port.send(ConnId::dialled(1), b"early");
        port.close(ConnId::dialled(1), true);
        port.send(DIALLED, b"bytes");
    });
    net.run(Duration::from_secs(60));
    assert_eq!(net.told(1), []);
    net.world.node_mut(NodeId(1)).is_full = false;
    net.act(1, |_| {});
    net.run(Duration::from_secs(1));
    let told = net.told(1);
    let place = |wanted: fn(&Told) -> bool| told.iter().position(wanted).unwrap();
    let second = ConnId::accepted(1);
    assert_eq!(told.len(), 7);
    assert!(told.contains(&Told::Received(ACCEPTED, b"bytes".to_vec())));
    assert!(place(|told| matches!(told, Told::Connected(DIALLED, ..))) < 4);
    assert!(place(|told| matches!(told, Told::Datagram(..))) < 4);
    assert!(place(|told| matches!(told, Told::Resolved(..))) < 4);
    let is_of_second = |told: &&Told| matches!(**told, Told::Connected(conn, ..) | Told::Received(conn, _) | Told::Disconnected(conn, _) if conn == second);
    let of_second: Vec<_> = told.iter().filter(is_of_second).collect();
    assert!(matches!(of_second[0], Told::Connected(..)));
    let early = Told::Received(second, b"early".to_vec());
    assert_eq!(of_second[1..], [&early, &Told::Disconnected(second, Disconnect::ClosedByPeer)]);
}

#[test]
fn who_waits_to_be_let_in_hears_of_a_crash_and_of_a_cut() {
    let is_told = |end: &dyn Fn(&mut Net)| {
        let mut net = Net::new(2, Links::default());
        net.world.node_mut(NodeId(1)).is_full = true;
        net.act(1, |_| {});
        net.act(0, |port| port.connect(DIALLED, address(1)));
        net.run(Duration::from_secs(1));
        assert!(matches!(net.told(0)[..], [Told::Connected(DIALLED, ..)]));
        end(&mut net);
        net.run(Duration::from_secs(1));
        let told = net.told(0);
        assert!(told.len() <= 1 && net.told(1).is_empty());
        told.first().cloned()
    };
    let ended = |reason| Some(Told::Disconnected(DIALLED, reason));
    let crash = |how| is_told(&|net: &mut Net| net.world.crash(NodeId(1), how));
    assert_eq!(crash(Crash::Process), ended(Disconnect::ClosedByPeer));
    assert_eq!(crash(Crash::Power), None);
    assert_eq!(is_told(&|net: &mut Net| net.world.cut(NodeId(1), None)), ended(Disconnect::Reset));
    let stop = |net: &mut Net| net.act(1, |port| port.stop());
    let stopped = |net: &mut Net| {
        stop(net);
        net.world.node_mut(NodeId(1)).is_full = false;
        net.act(1, |_| {});
    };
    assert_eq!(is_told(&stopped), ended(Disconnect::ClosedByPeer));
}

#[test]
fn a_flush_is_answered_once_when_the_socket_has_it() {
    let mut net = Net::connected(Links::default());
    net.act(0, |port| port.flush(DIALLED));
    net.run(Duration::ZERO);
    assert_eq!(net.told(0), [Told::Drained(DIALLED)]);
    net.act(1, |port| port.pause(ACCEPTED, true));
    net.act(0, |port| {
        port.send(DIALLED, &vec![1; 10_000_000]);
        port.flush(DIALLED);
        port.flush(DIALLED);
    });
    net.run(Duration::from_secs(10));
    assert_eq!(net.told(0), []);
    net.act(1, |port| port.pause(ACCEPTED, false));
    net.run(Duration::from_secs(10));
    assert_eq!(net.told(0), [Told::Drained(DIALLED), Told::Drained(DIALLED)]);
    assert_eq!(net.bytes(1).len(), 10_000_000);
}

#[test]
fn a_queue_that_grows_too_long_ends_the_connection() {
    let mut net = Net::connected(Links::default());
    net.act(1, |port| port.pause(ACCEPTED, true));
    for _ in 0..20 {
        net.act(0, |port| port.send(DIALLED, &vec![1; 4 << 20]));
    }
    net.run(Duration::from_secs(1));
    assert_eq!(net.told(0), [Told::Disconnected(DIALLED, Disconnect::SendQueueFull)]);
    net.act(1, |port| port.pause(ACCEPTED, false));
    net.run(Duration::from_secs(1));
    // What the sockets had taken still comes, and an end in order, as when a driver closes its socket.
    assert_eq!(net.told(1).last(), Some(&Told::Disconnected(ACCEPTED, Disconnect::ClosedByPeer)));
}

#[test]
fn a_node_that_does_not_read_is_woken_all_the_same() {
    let mut net = Net::connected(Links::default());
    let node = net.world.node_mut(NodeId(1));
    (node.is_full, node.wakes_at) = (true, Some(Instant::from_micros(3_000_000)));
    net.act(1, |_| {});
    net.act(0, |port| port.send(DIALLED, b"later"));
    net.run(Duration::from_secs(5));
    assert_eq!(net.timed(1), [(Instant::from_micros(3_000_000), Told::Wake)]);
    net.world.node_mut(NodeId(1)).is_full = false;
    net.act(1, |_| {});
    net.run(Duration::ZERO);
    assert_eq!(net.bytes(1), b"later");
}

#[test]
fn a_process_that_dies_is_heard_of_and_a_machine_that_loses_its_power_is_not() {
    let mut net = Net::connected(Links::default());
    net.act(1, |port| port.send(ACCEPTED, b"sent before"));
    net.world.crash(NodeId(1), Crash::Process);
    net.run(Duration::from_secs(1));
    let before = Told::Received(DIALLED, b"sent before".to_vec());
    assert_eq!(net.told(0), [before, Told::Disconnected(DIALLED, Disconnect::ClosedByPeer)]);

    // With bytes that it had not read it is a reset.
    let mut net = Net::connected(Links::default());
    net.act(1, |port| port.pause(ACCEPTED, true));
    net.act(0, |port| port.send(DIALLED, b"never read"));
    net.run(Duration::from_secs(1));
    net.world.crash(NodeId(1), Crash::Process);
    net.run(Duration::from_secs(1));
    assert_eq!(net.told(0), [Told::Disconnected(DIALLED, Disconnect::Reset)]);

    // Nothing is heard of the other until something is sent, and then only if somebody is there to answer.
    for (is_back, reason, after) in
        [(true, Disconnect::Reset, 80_000), (false, Disconnect::TimedOut, 924_000_000)]
    {
        let mut net = Net::connected(Links::default());
        net.world.crash(NodeId(1), Crash::Power);
        net.run(Duration::from_secs(3600));
        assert_eq!(net.told(0), []);
        if is_back {
            net.world.restart(NodeId(1), Puppet::default());
            net.run(Duration::from_secs(10));
        }
        let begin = net.world.now().as_nanos() / 1000;
        net.act(0, |port| port.send(DIALLED, b"are you there?"));
        net.run(Duration::from_secs(1000));
        let told = net.timed(0);
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].1, Told::Disconnected(DIALLED, reason));
        assert_eq!(told[0].0.as_micros() - begin, after);
        assert_eq!(net.world.connections(), 0);
    }
}

#[test]
fn another_process_has_a_clock_and_names_of_its_own() {
    let mut net = Net::connected(Links::default());
    net.act(1, |port| port.after(Duration::from_secs(5)));
    net.world.node_mut(NodeId(1)).wakes_at = Some(Instant::from_micros(7_000_000));
    net.act(1, |_| {});
    net.world.crash(NodeId(1), Crash::Process);
    net.run(Duration::from_secs(2));
    net.world.set_skew(NodeId(1), -100);
    net.world.restart(NodeId(1), Puppet::default());
    net.run(Duration::from_secs(20));
    let started = Told::Start(UnixTime::from_secs(1_000_000 + 3 - 100));
    assert_eq!(net.timed(1), [(Instant::ZERO, started)], "what the old one waited for is not the new one's");
    net.told(0);
    net.act(0, |port| port.connect(ConnId::dialled(1), address(1)));
    net.run(Duration::from_secs(1));
    assert!(matches!(net.told(1)[..], [Told::Connected(ACCEPTED, ..)]));
}

#[test]
fn islands_hear_nothing_of_each_other_until_they_are_joined() {
    let mut net = Net::connected(Links::default());
    net.world.divide([NodeId(1)], 1);
    net.act(0, |port| port.send(DIALLED, b"through the cut"));
    net.act(0, |port| port.connect(ConnId::dialled(1), address(1)));
    net.run(Duration::from_secs(60));
    assert_eq!(net.told(0), [Told::Disconnected(ConnId::dialled(1), Disconnect::TimedOut)]);
    assert_eq!(net.told(1), []);
    net.world.divide([NodeId(1)], 0);
    net.run(Duration::from_secs(1));
    assert_eq!(net.bytes(1), b"through the cut");

    // After a quarter of an hour, who has something to send gives up; the other learns it when it can.
    net.world.divide([NodeId(1)], 1);
    net.act(0, |port| port.send(DIALLED, b"never heard"));
    net.run(Duration::from_secs(1000));
    assert_eq!(net.told(0), [Told::Disconnected(DIALLED, Disconnect::TimedOut)]);
    assert_eq!(net.told(1), []);
    net.world.divide([NodeId(1)], 0);
    net.run(Duration::from_secs(1));
    assert_eq!(net.told(1), [Told::Disconnected(ACCEPTED, Disconnect::Reset)]);
    assert_eq!(net.world.connections(), 0);
}

#[test]
fn both_sides_of_a_division_give_up_if_both_have_something_to_send() {
    let mut net = Net::connected(Links::default());
    net.world.divide([NodeId(1)], 1);
    net.act(0, |port| port.send(DIALLED, b"never heard"));
    net.run(Duration::from_secs(1000));
    net.act(1, |port| port.send(ACCEPTED, b"nor this"));
    net.run(Duration::from_secs(1000));
    assert_eq!(net.told(0), [Told::Disconnected(DIALLED, Disconnect::TimedOut)]);
    assert_eq!(net.told(1), [Told::Disconnected(ACCEPTED, Disconnect::TimedOut)]);
    assert_eq!(net.world.connections(), 0);
}

#[test]
fn names_lead_to_some_of_their_addresses_or_nowhere() {
    let mut net = Net::new(1, Links::default());
    let addresses: Vec<SocketAddr> = (0..100).map(address).collect();
    net.world.set_name("seed.example", Some(Name { answer: 10, ..Name::of(addresses) }));
    net.world.set_name("broken.example", Some(Name { fails: Chance::ALWAYS, ..Name::of(vec![address(1)]) }));
    for (ticket, host) in
        ["Seed.Example", "broken.example", "other.example", "10.0.0.9"].into_iter().enumerate()
    {
        net.act(0, |port| port.resolve(Ticket::new(ticket as u64), host, 18_444));
    }
    net.run(Duration::from_secs(60));
    let mut found: Vec<Vec<SocketAddr>> = vec![Vec::new(); 4];
    for told in net.told(0) {
        let Told::Resolved(ticket, addrs) = told else { panic!("{told:?}") };
        found[ticket.as_u64() as usize] = addrs;
    }
    assert_eq!(found[0].len(), 10);
    assert!(found[0].iter().all(|addr| addr.port() == 18_444));
    assert_eq!(found[1..3], [vec![], vec![]]);
    assert_eq!(found[3], [SocketAddr::from(([10, 0, 0, 9], 18_444))]);
    net.world.set_name("seed.example", None);
    net.act(0, |port| port.resolve(Ticket::new(9), "seed.example", 1));
    net.run(Duration::from_secs(60));
    assert_eq!(net.told(0), [Told::Resolved(Ticket::new(9), vec![])]);
}

#[test]
fn datagrams_come_or_do_not() {
    let mut net = Net::new(2, Links::default());
    net.act(0, |port| port.datagram(address(1), b"one"));
    net.act(0, |port| port.datagram(address(77), b"to nobody"));
    net.run(Duration::from_secs(1));
    assert_eq!(net.told(1), [Told::Datagram(address(0), b"one".to_vec())]);
    net.world.links_mut().datagrams = GilbertElliott::WIDE_AREA;
    for _ in 0..10_000 {
        net.act(0, |port| port.datagram(address(1), b"many"));
    }
    net.run(Duration::from_secs(1));
    let lost = 10_000 - net.told(1).len();
    assert!((10..150).contains(&lost), "{lost}");
    assert_eq!(net.world.counts().datagrams_lost, lost as u64 + 1);
}

#[test]
fn each_datagram_that_nobody_is_told_of_is_counted() {
    let mut world = World::new(1, UnixTime::default(), Links::default());
    for node in 0..4 {
        let limits = Limits { datagrams: node != 3, ..Limits::WIDE };
        world.add(Place { limits, ..Place::at(address(node)) }, Puppet::default());
    }
    let mut net = Net { world };
    net.world.set_reach(NodeId(1), Reach::Hidden);
    net.world.crash(NodeId(2), Crash::Process);
    // From who has no socket, to nobody, to who is hidden, to who is down, to who has no socket.
    net.act(3, |port| port.datagram(address(0), b"x"));
    for to in [77, 1, 2, 3] {
        net.act(0, |port| port.datagram(address(to), b"x"));
    }
    net.run(Duration::from_secs(1));
    assert_eq!(net.world.counts().datagrams_lost, 5);
    net.world.divide([NodeId(3)], 1);
    net.act(0, |port| port.datagram(address(3), b"x"));
    assert_eq!(net.world.counts().datagrams_lost, 6);
    assert_eq!(net.told(0).len(), 1);
}

#[test]
fn a_wider_window_lets_more_come() {
    let mut net = Net::connected(Links::default());
    net.act(1, |port| {
        port.pause(ACCEPTED, true);
        port.set_window(ACCEPTED, 100_000);
    });
    net.act(0, |port| {
        port.send(DIALLED, &vec![1; 1 << 20]);
        port.flush(DIALLED);
    });
    net.run(Duration::from_secs(1));
    assert_eq!(net.told(0), []);
    net.act(1, |port| port.set_window(ACCEPTED, 2 << 20));
    net.run(Duration::from_secs(1));
    assert_eq!(net.told(0), [Told::Drained(DIALLED)]);
}

#[test]
fn a_node_uses_the_addresses_that_it_has() {
    let mut net = Net::new(2, Links::default());
    let [sixth, fourth]: [SocketAddr; 2] =
        ["[2001:db8::1]:8333", "10.9.9.9:8333"].map(|addr| addr.parse().unwrap());
    let there: SocketAddr = "[2001:db8::2]:8333".parse().unwrap();
    net.world.add_address(NodeId(0), sixth);
    net.world.add_address(NodeId(0), fourth);
    net.world.add_address(NodeId(1), there);
    let from = |net: &mut Net, conn, to| {
        net.act(0, |port| {
            port.datagram(to, b"x");
            port.connect(ConnId::dialled(conn), to);
        });
        net.run(Duration::from_secs(1));
        let told = net.told(1);
        let [Told::Datagram(by, _), Told::Connected(_, remote, _)] = &told[..] else { panic!("{told:?}") };
        assert_eq!(by.ip(), remote.ip());
        *by
    };
    assert_eq!(from(&mut net, 0, there), sixth);
    assert_eq!(from(&mut net, 1, address(1)), address(0));
    net.world.remove_address(address(0));
    assert_eq!(from(&mut net, 2, address(1)), fourth);
    net.world.remove_address(sixth);
    assert_eq!(from(&mut net, 3, there), fourth, "the only one");
    assert_eq!((net.world.at(address(0)), net.world.at(sixth)), (None, None));
    net.world.add(Place::at(sixth), Puppet::default());
}

/// Parameters that mean "as much as there is" are no overflow.
#[test]
fn the_largest_parameters_are_no_overflow() {
    let mut world = World::new(1, UnixTime::from_secs(u64::MAX), Links::default());
    let limits = Limits { send_queue: usize::MAX, dial: Duration::MAX, ..Limits::WIDE };
    for node in 0..2 {
        world.add(Place { limits, skew: i64::MAX, ..Place::at(address(node)) }, Puppet::default());
    }
    let mut net = Net { world };
    net.run(Duration::from_secs(1));
    net.act(0, |port| {
        port.connect(DIALLED, address(1));
        port.set_window(DIALLED, usize::MAX);
    });
    net.run(Duration::from_secs(1));
    net.act(1, |port| port.pause(ACCEPTED, true));
    net.act(0, |port| port.send(DIALLED, &vec![1; 12 << 20]));
    net.run(Duration::from_secs(1));
    assert!(matches!(net.told(0)[..], [Told::Start(_), Told::Connected(..)]));
    *net.world.links_mut() = Links {
        latency: Latency::Fixed(Duration::MAX),
        jitter: u32::MAX,
        loss: Chance::of(1, 2),
        ..Links::default()
    };
    net.act(0, |port| {
        port.datagram(address(1), b"never");
        port.connect(ConnId::dialled(1), address(1));
        port.after(Duration::MAX);
    });
    net.act(1, |port| port.send(ACCEPTED, b"never"));
    net.world.crash(NodeId(1), Crash::Power);
    net.run(Duration::from_secs(1_000_000));
    assert_eq!(ended_of(&net.told(0)), [(DIALLED, Disconnect::TimedOut)]);
}

fn ended_of(told: &[Told]) -> Vec<(ConnId, Disconnect)> {
    told.iter()
        .filter_map(
            |told| if let Told::Disconnected(conn, reason) = told { Some((*conn, *reason)) } else { None },
        )
        .collect()
}

#[test]
fn dials_are_lost_as_bytes_are() {
    let mut net = Net::new(2, Links { loss: Chance::of(1, 4), ..Links::default() });
    for conn in 0..200 {
        net.act(0, |port| port.connect(ConnId::dialled(conn), address(1)));
    }
    net.run(Duration::from_secs(60));
    let told = net.timed(0);
    assert_eq!(told.len(), 200);
    // A half in four is late, on the way there or back: seven dials in sixteen.
    let late = told.iter().filter(|(at, _)| at.as_micros() > 80_000).count();
    assert!((60..115).contains(&late), "{late}");

    let mut net = Net::new(2, Links { loss: Chance::ALWAYS, ..Links::default() });
    net.act(0, |port| port.connect(DIALLED, address(1)));
    net.run(Duration::from_secs(600));
    let ended = Told::Disconnected(DIALLED, Disconnect::TimedOut);
    assert_eq!(net.timed(0), [(Instant::from_micros(10_000_000), ended)]);
    assert_eq!((net.told(1), net.world.connections()), (vec![], 0));
}

#[test]
fn who_is_hidden_hears_from_those_to_whom_it_has_sent_datagrams() {
    let mut net = Net::new(4, Links::default());
    net.world.set_reach(NodeId(0), Reach::Hidden);
    let asks = |net: &mut Net, node: u32| {
        net.act(node, |port| port.datagram(address(0), b"are you there?"));
        net.run(Duration::from_secs(1));
        net.told(0) == [Told::Datagram(address(node), b"are you there?".to_vec())]
    };
    assert!(!asks(&mut net, 1));
    net.act(0, |port| port.datagram(address(1), b"a question"));
    net.run(Duration::from_secs(1));
    assert!(asks(&mut net, 1) && !asks(&mut net, 2));
    // Not for ever.
    for other in 2..66 {
        net.act(0, |port| port.datagram(address(other), b"another question"));
    }
    net.run(Duration::from_secs(1));
    assert!(asks(&mut net, 2) && !asks(&mut net, 1));
}

#[test]
fn nothing_comes_of_what_is_done_after_an_exit() {
    let mut net = Net::new(2, Links::default());
    net.act(0, |port| {
        port.exit();
        port.connect(DIALLED, address(1));
        port.send(DIALLED, b"to nobody");
        port.datagram(address(1), b"from nobody");
        port.resolve(Ticket::new(0), "seed.example", 1);
        port.after(Duration::from_secs(1));
    });
    assert_eq!(net.world.connections(), 0);
    net.world.restart(NodeId(0), Puppet::default());
    net.act(0, |port| port.connect(DIALLED, address(1)));
    net.run(Duration::from_secs(60));
    assert!(matches!(net.told(0)[..], [Told::Start(_), Told::Connected(DIALLED, ..)]));
    assert!(matches!(net.told(1)[..], [Told::Connected(..)]));
}

#[test]
fn bursts_of_lost_datagrams_are_each_senders_own() {
    // Once in the bad state, for ever: as everything is lost there, who has sent nothing so far must lose nothing at once.
    let mut net = Net::new(3, Links::default());
    net.world.links_mut().datagrams = GilbertElliott {
        to_bad: Chance::ALWAYS,
        to_good: Chance::NEVER,
        lost_good: Chance::NEVER,
        lost_bad: Chance::ALWAYS,
    };
    net.act(0, |port| port.datagram(address(1), b"lost"));
    net.world.links_mut().datagrams.to_bad = Chance::NEVER;
    net.act(0, |port| port.datagram(address(1), b"lost, too"));
    net.act(2, |port| port.datagram(address(1), b"comes"));
    net.run(Duration::from_secs(1));
    assert_eq!(net.told(1), [Told::Datagram(address(2), b"comes".to_vec())]);
    assert_eq!(net.world.counts().datagrams_lost, 2);
}

/// What is drawn for one purpose changes nothing for another.
#[test]
fn more_datagrams_and_look_ups_change_nothing_of_connections() {
    let run = |datagrams: u32| {
        let links = Links { jitter: 500, loss: Chance::of(1, 20), ..Links::internet() };
        let mut net = Net::new(3, links);
        net.world
            .set_name("seed.example", Some(Name { fails: Chance::of(1, 2), ..Name::of(vec![address(1)]) }));
        net.act(0, |port| port.connect(DIALLED, address(1)));
        for _ in 0..20 {
            net.act(2, |port| (0..datagrams).for_each(|_| port.datagram(address(0), b"x")));
            net.act(2, |port| {
                (0..datagrams).for_each(|index| port.resolve(Ticket::new(index.into()), "seed.example", 1))
            });
            net.act(0, |port| port.send(DIALLED, &[1; 5000]));
            net.run(Duration::from_millis(300));
        }
        net.run(Duration::from_secs(60));
        net.timed(1)
    };
    let alone = run(0);
    assert!(alone.len() > 10);
    assert_eq!(alone, run(7));
}

#[test]
fn a_busy_node_is_woken_in_time() {
    let mut net =
        Net::connected(Links { latency: Latency::Fixed(Duration::from_micros(10)), ..Links::default() });
    net.world.node_mut(NodeId(1)).wakes_at = Some(Instant::from_micros(1_500_000));
    for _ in 0..1000 {
        net.act(0, |port| port.send(DIALLED, &[0; 100]));
        net.run(Duration::from_millis(1));
    }
    let told = net.timed(1);
    // The puppet takes any turn at or after its time for the wake; the world must have given it one at that very time.
    let at: Vec<_> =
        told.iter().filter(|(_, told)| *told == Told::Wake).map(|(at, _)| at.as_micros()).collect();
    assert_eq!(at, [1_500_000]);
}

/// Which connections were opened, and which ended: each once, and in this order.
fn check(told: &[(Instant, Told)]) -> (BTreeSet<ConnId>, BTreeSet<ConnId>) {
    let (mut open, mut ended) = (BTreeSet::new(), BTreeSet::new());
    for (at, told) in told {
        match told {
            Told::Connected(conn, ..) => assert!(open.insert(*conn)),
            Told::Received(conn, _) | Told::Drained(conn) => {
                assert!(open.contains(conn) && !ended.contains(conn));
            }
            Told::Disconnected(conn, _) => assert!(ended.insert(*conn), "{conn:?} ended twice, at {at:?}"),
            _ => {}
        }
    }
    (open, ended)
}

/// Of seed 0.
const PINNED: u64 = 16_462_419_963_470_347_073;

/// A thousand random acts on random connections: everything that was opened ends, once, and the run repeats.
#[test]
fn random_acts_end_each_connection_once_and_the_run_repeats() {
    let run = |seed: u64| {
        let links = Links { jitter: 300, loss: Chance::of(1, 50), pieces: Some(2000), ..Links::internet() };
        let mut stream = Stream::new(seed).fork("acts");
        let mut world = World::new(seed, UnixTime::default(), links);
        for node in 0..5 {
            world
                .add(Place { inbound: 6, region: node as u8, ..Place::at(address(node)) }, Puppet::default());
        }
        world.run_until(Time::ZERO);
        let mut dialled = [0_u64; 5];
        for _ in 0..1000 {
            let node = stream.index(5);
            let id = NodeId(node as u32);
            let (what, target, size) =
                (stream.below(22), stream.below(6) as u32, stream.below(100_000) as usize);
            if !world.is_up(id) {
                let ended = std::mem::take(&mut world.node_mut(id).told);
                dialled[node] = 0;
                check(&ended);
                world.restart(id, Puppet::default());
            }
            let conn = if stream.below(2) == 0 {
                ConnId::dialled(stream.below(dialled[node] + 1))
            } else {
                ConnId::accepted(stream.below(10))
            };
            match what {
                0..5 => {
                    world
                        .with(id, |_, _, port| port.connect(ConnId::dialled(dialled[node]), address(target)));
                    dialled[node] += 1;
                }
                5..10 => world.with(id, |_, _, port| port.send(conn, &vec![9; size])),
                10..12 => world.with(id, |_, _, port| port.flush(conn)),
                12..14 => world.with(id, |_, _, port| port.close(conn, size % 2 == 0)),
                14 => world.with(id, |_, _, port| port.reset(conn)),
                15 | 16 => world.with(id, |_, _, port| port.pause(conn, size % 2 == 0)),
                17 => world.cut(id, Some(NodeId(target % 5))),
                18 => world.divide([id], (size % 2) as u8),
                19 => world.crash(id, if size % 2 == 0 { Crash::Process } else { Crash::Power }),
                20 => world.set_bandwidth(id, (size as u32 * 10, target * 100_000)),
                _ => {
                    world.node_mut(id).is_full = size % 2 == 0;
                    world.with(id, |_, _, _| ());
                }
            }
            world.run_for(Duration::from_millis(stream.below(300)));
        }
        // Whoever is paused or divided goes on, and everyone closes.
        for node in 0..5 {
            if !world.is_up(NodeId(node)) {
                dialled[node as usize] = 0;
                world.restart(NodeId(node), Puppet::default());
            }
            world.divide([NodeId(node)], 0);
            world.node_mut(NodeId(node)).is_full = false;
            world.with(NodeId(node), |_, _, _| ());
        }
        world.run_for(Duration::from_secs(2000));
        for node in 0..5 {
            for conn in 0..2000 {
                world.with(NodeId(node), |_, _, port| {
                    port.close(ConnId::dialled(conn), false);
                    port.close(ConnId::accepted(conn), false);
                });
            }
        }
        world.run_for(Duration::from_secs(2000));
        assert_eq!(world.connections(), 0, "seed {seed}");
        for (id, node) in world.nodes() {
            let (open, ended) = check(&node.told);
            assert!(open.is_subset(&ended));
            let dialled = dialled[id.0 as usize];
            assert_eq!(ended.iter().filter(|conn| !conn.is_accepted()).count() as u64, dialled);
        }
        world.digest()
    };
    let digests: Vec<u64> = (0..30).map(run).collect();
    assert_eq!(digests[..3], (0..3).map(run).collect::<Vec<_>>());
    assert_ne!(digests[0], digests[1]);
    assert_eq!(
        digests[0], PINNED,
        "a change of what happens is deliberate, and the same in debug and release"
    );
}

/// Everything that a node is told counts: two worlds that differ in one thing of it differ in the digest.
#[test]
fn the_digest_covers_every_input() {
    let run = |from: u32, name: u32, skew: i64, datagram: bool| {
        let mut world = World::new(1, UnixTime::from_secs(1_000_000), Links::default());
        world.add(Place::at(address(from)), Puppet::default());
        world.add(Place { skew, ..Place::at(address(200)) }, Puppet::default());
        world.set_name("seed.example", Some(Name::of(vec![address(name)])));
        world.with(NodeId(0), |_, _, port| {
            if datagram {
                port.datagram(address(200), b"one");
            } else {
                port.connect(DIALLED, address(200));
            }
        });
        world.with(NodeId(1), |_, _, port| port.resolve(Ticket::new(0), "seed.example", 1));
        world.run_for(Duration::from_secs(1));
        world.digest()
    };
    let mut seen = BTreeSet::new();
    for datagram in [false, true] {
        for (from, name, skew) in [(0, 9, 0), (1, 9, 0), (0, 8, 0), (0, 9, 1)] {
            assert!(seen.insert(run(from, name, skew, datagram)), "{from} {name} {skew} {datagram}");
        }
    }
}
