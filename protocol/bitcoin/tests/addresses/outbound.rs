//! Whom to dial.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use andon_bitcoin::addresses::{
    AddressBook, AddressNetwork, AddressNetworks, Anchor, Barred, Dial, Grouping, Location, Outbound, Policy,
    Purpose, Reached, Required, Source, Welcome, exponential,
};
use andon_bitcoin::client::Encryption;
use andon_bitcoin::wire::{Host, NodeAddress};
use andon_kernel::{Instant, Now, Rng};
use bitcoin::p2p::ServiceFlags;

use super::people::{HOUR, MINUTE, NOW, any, at, book, force, node, rivals, v4};

fn services(bits: u64) -> ServiceFlags {
    ServiceFlags::from(bits)
}

fn now(seconds: u64) -> Now {
    Now { instant: Instant::from_micros(seconds * 1_000_000), unix: at(NOW + seconds) }
}

/// A book, and connections, and those that were dialled.
struct Case {
    book: AddressBook,
    barred: Barred,
    outbound: Outbound,
    rng: Rng,
    seconds: u64,
    is_stale: bool,
}

impl Case {
    fn new(policy: Policy) -> Self {
        let outbound = Outbound::new(policy, &[]);
        let rng = Rng::new([3; 32]);
        Self { book: book(1), barred: Barred::new(), outbound, rng, seconds: 0, is_stale: false }
    }

    /// With so many nodes that serve what is required, all of different groups mostly.
    fn with_nodes(policy: Policy, count: u32) -> Self {
        let mut case = Self::new(policy);
        for index in 0..count {
            force(&mut case.book, any(index), NOW, &mut case.rng);
        }
        case
    }

    fn now(&self) -> Now {
        now(self.seconds)
    }

    fn next(&mut self) -> Option<Dial> {
        self.outbound.next(&mut self.book, &self.barred, self.is_stale, now(self.seconds), &mut self.rng)
    }

    /// All that are due, each of which is given no answer yet.
    fn all(&mut self) -> Vec<Dial> {
        let mut dials = Vec::new();
        while let Some(dial) = self.next() {
            dials.push(dial);
            assert!(dials.len() < 100, "it ends");
        }
        assert!(self.outbound.deadline().is_none_or(|deadline| deadline > self.now().instant));
        dials
    }

    fn welcome(&mut self, location: &Location, services: ServiceFlags) -> Welcome {
        let now = self.now();
        self.outbound.welcome(location, services, &mut self.book, now)
    }

    fn ended(&mut self, location: &Location) {
        let now = self.now();
        self.outbound.ended(location, &mut self.book, now);
    }

    /// Connects to as many as there are to be.
    fn fill(&mut self) -> Vec<Location> {
        let mut locations = Vec::new();
        for dial in self.all() {
            assert_eq!(self.welcome(&dial.location, dial.services), Welcome::Keep);
            locations.push(dial.location);
        }
        locations
    }
}

const QUIET: fn() -> Policy = || Policy { has_feelers: false, ..Policy::default() };

#[test]
fn each_group_is_dialled_once() {
    // An attacker has ten times as many nodes as there are others, in two groups.
    let mut case = Case::new(QUIET());
    for index in 0..3000u32 {
        let [_, _, third, fourth] = index.to_be_bytes();
        force(&mut case.book, v4(66, (index % 2) as u8, third, fourth), NOW, &mut case.rng);
    }
    for index in 0..300 {
        force(&mut case.book, any(index), NOW, &mut case.rng);
    }
    for _ in 0..30 {
        let dials = case.all();
        assert_eq!(dials.len(), 8);
        let groups: BTreeSet<_> = dials.iter().map(|dial| case.book.group(&dial.location)).collect();
        assert_eq!(groups.len(), 8);
        for dial in dials {
            assert_eq!(dial.purpose, Purpose::Peer);
            case.ended(&dial.location);
        }
        case.seconds += 1000;
        case.outbound.wake();
    }
}

#[test]
fn private_networks_have_no_groups_and_closed_ones_are_not_dialled() {
    // All of one sixteenth.
    let tor =
        |index: u8| Location { host: Host::TorV3([0x50 + index % 16; 32]), port: 8333 + u16::from(index) };
    let networks = AddressNetworks::NONE.with(AddressNetwork::TorV3);
    let mut case = Case::with_nodes(Policy { networks, ..QUIET() }, 100);
    for index in 0..20 {
        force(&mut case.book, tor(index), NOW, &mut case.rng);
    }
    let dials = case.all();
    assert_eq!(dials.len(), 8);
    assert!(dials.iter().all(|dial| matches!(dial.location.host, Host::TorV3(_))));
}

#[test]
fn nodes_serve_what_is_required() {
    let rows = [
        (Required::light_client(), 0x49, true),
        (Required::light_client(), 0x448, true),
        (Required::light_client(), 0x849, true),
        (Required::light_client(), 0x48, false),
        (Required::light_client(), 0x41, false),
        (Required::light_client(), 0x9, false),
        (Required::light_client(), 0, false),
        (Required::whole_chain(), 0x49, true),
        (Required::whole_chain(), 0x448, false),
        (Required::addresses(), 0x1, true),
        (Required::addresses(), 0x400, true),
        (Required::addresses(), 0x48, false),
    ];
    for (required, bits, met) in rows {
        assert_eq!(required.are_met_by(services(bits)), met, "{bits:x}");
    }
    let mut case = Case::with_nodes(QUIET(), 300);
    let others: Vec<_> = case.book.entries().map(|entry| entry.location).collect();
    for location in others.iter().skip(10) {
        case.book.set_services(location, services(0x9));
    }
    // Ten of three hundred: a hundred draws for each find some of them, and nobody else.
    let mut dialled = 0;
    for _ in 0..50 {
        case.outbound.wake();
        for dial in case.all().into_iter().filter(|dial| dial.purpose == Purpose::Peer) {
            assert!(dial.services.has(ServiceFlags::COMPACT_FILTERS));
            dialled += 1;
        }
    }
    assert_eq!(dialled, 8);
}

#[test]
fn the_encrypted_transport_is_preferred() {
    let cases = [(Encryption::Required, 8, 8), (Encryption::Preferred, 7, 8), (Encryption::Off, 0, 5)];
    for (encryption, least, most) in cases {
        let mut case = Case::with_nodes(Policy { encryption, ..QUIET() }, 300);
        let all: Vec<_> = case.book.entries().map(|entry| entry.location).collect();
        for location in all.iter().take(75) {
            case.book.set_services(location, services(0x849));
        }
        let encrypted = case.all().iter().filter(|dial| dial.services.has(ServiceFlags::P2P_V2)).count();
        assert!((least..=most).contains(&encrypted), "{encrypted} of eight");
    }
    // Where nobody has it, everybody does.
    assert_eq!(Case::with_nodes(QUIET(), 300).all().len(), 8);
}

#[test]
fn who_was_tried_a_moment_ago_and_odd_ports_come_last() {
    let mut case = Case::new(Policy { peers: 1, ..QUIET() });
    for index in 0..20 {
        force(&mut case.book, any(index), NOW, &mut case.rng);
        case.book.attempt(&any(index), false, at(NOW));
    }
    force(&mut case.book, any(20), NOW, &mut case.rng);
    assert_eq!(case.next().unwrap().location, any(20));
    case.ended(&any(20));
    // With nobody else they are dialled all the same.
    case.book.remove(&any(20));
    assert!(case.next().is_some());

    let mut case = Case::new(Policy { peers: 1, ..QUIET() });
    for index in 0..20 {
        force(&mut case.book, Location { port: 22, ..any(index) }, NOW, &mut case.rng);
    }
    force(&mut case.book, any(20), NOW, &mut case.rng);
    assert_eq!(case.next().unwrap().location, any(20));
    case.ended(&any(20));
    case.book.remove(&any(20));
    assert_eq!(case.next().unwrap().location.port, 22);
    // No port is none.
    let mut case = Case::new(QUIET());
    force(&mut case.book, Location { port: 0, ..any(0) }, NOW, &mut case.rng);
    assert_eq!(case.next(), None);
    // Where networks have no ports, none is odd.
    let networks = AddressNetworks::ALL;
    let mut case = Case::new(Policy { networks, ..QUIET() });
    force(&mut case.book, Location { host: Host::I2p([1; 32]), port: 0 }, NOW, &mut case.rng);
    assert!(case.next().is_some());
}

#[test]
fn the_barred_are_not_dialled_and_the_configured_are_left_alone() {
    let mut case = Case::with_nodes(Policy { peers: 200, ..QUIET() }, 60);
    let barred: Vec<_> = (0..20).map(any).collect();
    for (index, location) in barred.iter().enumerate() {
        if index % 2 == 0 {
            case.barred.discouraged.add(&location.host, Instant::ZERO);
        } else {
            let subnet = andon_bitcoin::addresses::Subnet::host(&location.host);
            case.barred.bans.ban(subnet, at(NOW + HOUR), at(NOW)).unwrap();
        }
    }
    // A configured peer, and a node of its group.
    let configured = any(30);
    let Some(std::net::SocketAddr::V4(address)) = configured.socket_addr() else { unreachable!() };
    let [first, second, ..] = address.ip().octets();
    let neighbour = v4(first, second, 1, 77);
    force(&mut case.book, neighbour, NOW, &mut case.rng);
    case.outbound.configure(configured);
    let peers = |case: &mut Case| -> BTreeSet<_> {
        let dials = case.all();
        // A connection to ask for addresses does not stay, so its group is nothing to it.
        dials.iter().filter(|dial| dial.purpose == Purpose::Peer).map(|dial| dial.location).collect()
    };
    let dialled = peers(&mut case);
    assert!(dialled.len() > 25, "{}", dialled.len());
    assert!(barred.iter().chain([&configured, &neighbour]).all(|location| !dialled.contains(location)));
    case.outbound.unconfigure(&configured);
    case.outbound.wake();
    let now: BTreeSet<_> = (0..20)
        .flat_map(|_| {
            case.outbound.wake();
            peers(&mut case)
        })
        .collect();
    assert!(now.contains(&configured) != now.contains(&neighbour), "one of them, since they are one group");
}

/// Who hears of transactions is not asked for filters, then or later, nor anybody of its group while it is there; and the other
/// way round. Unless there is nobody else.
#[test]
fn who_is_told_of_transactions_is_asked_for_nothing() {
    let broadcast = |case: &mut Case| {
        let now = case.now();
        case.outbound.next_for_broadcast(&mut case.book, &case.barred, now, &mut case.rng)
    };
    let mut case = Case::with_nodes(Policy { peers: 200, ..QUIET() }, 60);
    let mut told = BTreeSet::new();
    for _ in 0..10 {
        let dial = broadcast(&mut case).unwrap();
        assert_eq!(case.welcome(&dial.location, dial.services), Welcome::Keep);
        told.insert(dial.location);
        let Some(std::net::SocketAddr::V4(address)) = dial.location.socket_addr() else { unreachable!() };
        let [first, second, ..] = address.ip().octets();
        force(&mut case.book, v4(first, second, 1, 77), NOW, &mut case.rng);
    }
    let groups: BTreeSet<_> = told.iter().map(|location| case.book.group(location)).collect();
    assert_eq!(groups.len(), 10);
    let works = |dial: &Dial| dial.purpose == Purpose::Peer;
    let worked: BTreeSet<_> = case.all().into_iter().filter(works).map(|dial| dial.location).collect();
    for location in &worked {
        assert_eq!(case.welcome(location, services(0x849)), Welcome::Keep);
    }
    assert!(worked.len() > 25, "{}", worked.len());
    assert!(worked.iter().all(|location| !groups.contains(&case.book.group(location))));
    worked.iter().chain(&told).for_each(|location| case.ended(location));
    // They are gone, and what they were told or asked is not.
    case.seconds += 1000;
    for _ in 0..8 {
        let dial = broadcast(&mut case).unwrap();
        assert!(!worked.contains(&dial.location));
        case.ended(&dial.location);
    }
    case.outbound.set_policy(QUIET());
    for _ in 0..10 {
        case.outbound.wake();
        for dial in case.all() {
            assert!(!works(&dial) || !told.contains(&dial.location));
            case.ended(&dial.location);
        }
        case.seconds += 1000;
    }
    // Of three nodes each has to do for both.
    let mut case = Case::with_nodes(Policy { peers: 3, ..QUIET() }, 3);
    let worked = case.fill();
    assert_eq!(worked.len(), 3);
    assert_eq!(broadcast(&mut case), None, "they are connected");
    worked.iter().for_each(|location| case.ended(location));
    assert!(worked.contains(&broadcast(&mut case).unwrap().location));
}

#[test]
fn anchors_come_first() {
    let anchor = |index| Anchor { location: any(index), services: services(0x49) };
    let mut case = Case::with_nodes(QUIET(), 100);
    case.outbound = Outbound::new(QUIET(), &[anchor(500), anchor(501), anchor(502)]);
    let dials = case.all();
    let purposes: Vec<_> = dials.iter().map(|dial| dial.purpose).collect();
    assert_eq!(purposes[..3], [Purpose::Anchor, Purpose::Anchor, Purpose::Peer]);
    assert_eq!([dials[0].location, dials[1].location], [any(500), any(501)]);
    assert_eq!(dials.len(), 8);
    // They are not dialled first again.
    case.ended(&any(500));
    case.seconds += 10;
    assert_eq!(case.all()[0].purpose, Purpose::Peer);
    // Not if they are barred, or can't be reached.
    case.outbound = Outbound::new(QUIET(), &[anchor(500), anchor(501)]);
    case.barred.discouraged.add(&any(500).host, Instant::ZERO);
    assert_eq!(case.all()[0].location, any(501));
    let networks = AddressNetworks::NONE.with(AddressNetwork::I2p);
    case.outbound = Outbound::new(Policy { networks, ..QUIET() }, &[anchor(501)]);
    assert_eq!(case.all(), []);
}

#[test]
fn who_has_served_longest_becomes_an_anchor() {
    let mut case = Case::with_nodes(Policy { peers: 3, ..QUIET() }, 100);
    let mut peers = Vec::new();
    for dial in case.all() {
        case.seconds += 60;
        case.welcome(&dial.location, services(0x849));
        peers.push(dial.location);
    }
    assert_eq!(case.outbound.best(now(180 + 419).instant), []);
    let best = |seconds| -> Vec<_> {
        case.outbound.best(now(seconds).instant).iter().map(|anchor| anchor.location).collect()
    };
    assert_eq!(best(660), peers[..1]);
    assert_eq!(best(10_000), peers[..2]);
    assert_eq!(case.outbound.best(now(10_000).instant)[0].services, services(0x849));
    case.ended(&peers[0]);
    assert_eq!(case.outbound.best(now(10_000).instant).len(), 2);
}

#[test]
fn feelers_come_every_two_minutes_when_all_is_well() {
    let mut case = Case::with_nodes(Policy::default(), 400);
    case.fill();
    let mut feelers = 0u64;
    while feelers < 300 {
        let due = case.outbound.deadline().expect("a feeler will be due");
        case.seconds = case.seconds.max(due.as_micros().div_ceil(1_000_000));
        for dial in case.all() {
            assert_eq!(dial.purpose, Purpose::Feeler);
            assert!(!case.book.entry(&dial.location).unwrap().is_tried());
            feelers += 1;
            // Some of them answer, and their connection ends with that.
            if feelers.is_multiple_of(3) {
                assert_eq!(case.welcome(&dial.location, services(0x49)), Welcome::Close);
                assert!(case.book.entry(&dial.location).unwrap().last_success > 0);
            }
            case.ended(&dial.location);
        }
    }
    let mean = case.seconds / feelers;
    assert!((100..140).contains(&mean), "every {mean} seconds");
}

#[test]
fn a_feeler_tests_who_stands_in_the_way_first() {
    let mut case = Case::with_nodes(Policy { peers: 0, ..Policy::default() }, 300);
    let (older, newer) = rivals(&case.book, 1000);
    force(&mut case.book, older, NOW, &mut case.rng);
    force(&mut case.book, newer, NOW, &mut case.rng);
    assert_eq!(case.book.good(&older, at(NOW)), Reached::Moved);
    case.seconds = 5 * HOUR;
    assert_eq!(case.all().len(), 0, "the first is not due at once");
    assert_eq!(case.book.good(&newer, case.now().unix), Reached::Collides(older));
    case.seconds += HOUR;
    let dials = case.all();
    assert_eq!((dials.len(), dials[0].location, dials[0].purpose), (1, older, Purpose::Feeler));
    case.welcome(&older, services(0x49));
    case.ended(&older);
    case.seconds += HOUR;
    assert_ne!(case.all()[0].location, older, "it has passed");
    assert_eq!(case.book.collisions(), 0);
    assert!(case.book.entry(&older).unwrap().is_tried());
}

#[test]
fn who_is_connected_needs_no_test() {
    let mut case = Case::new(Policy { peers: 1, ..Policy::default() });
    let (older, newer) = rivals(&case.book, 0);
    force(&mut case.book, older, NOW, &mut case.rng);
    let dials = case.all();
    assert_eq!(dials[0].location, older);
    assert_eq!(case.welcome(&older, services(0x49)), Welcome::Keep);
    assert!(case.book.entry(&older).unwrap().is_tried());
    force(&mut case.book, newer, NOW, &mut case.rng);
    case.seconds = 5 * HOUR;
    assert_eq!(case.book.good(&newer, case.now().unix), Reached::Collides(older));
    assert!(case.book.is_to_be_tested(&older) && !case.book.is_to_be_tested(&newer));
    case.all();
    case.seconds += 1;
    case.all();
    assert_eq!(case.book.collisions(), 0);
    assert!(case.book.entry(&older).unwrap().is_tried());
}

#[test]
fn one_more_peer_when_the_tip_is_stale() {
    let mut case = Case::with_nodes(QUIET(), 300);
    assert_eq!(case.fill().len(), 8);
    assert_eq!(case.all(), []);
    case.is_stale = true;
    let dials = case.all();
    assert_eq!((dials.len(), dials[0].purpose), (1, Purpose::Extra));
    assert_eq!(case.welcome(&dials[0].location, services(0x49)), Welcome::Keep);
    case.seconds += 1000;
    assert_eq!(case.all(), [], "one is enough");
    case.ended(&dials[0].location);
    assert_eq!(case.all().len(), 1);
}

#[test]
fn a_book_without_filters_is_asked_for_addresses() {
    let mut case = Case::new(QUIET());
    for index in 0..10 {
        force(&mut case.book, any(index), NOW, &mut case.rng);
        case.book.set_services(&any(index), services(0x9));
    }
    let dials = case.all();
    assert_eq!(dials.iter().map(|dial| dial.purpose).collect::<Vec<_>>(), [Purpose::Addresses]);
    assert_eq!(case.welcome(&dials[0].location, services(0x9)), Welcome::AskAndClose);
    case.ended(&dials[0].location);
    case.seconds += 10;
    let dials = case.all();
    assert_eq!(dials[0].purpose, Purpose::Addresses);
    // It has more than was known of it.
    assert_eq!(case.welcome(&dials[0].location, services(0x49)), Welcome::Keep);
    assert_eq!(case.outbound.open().map(|(_, purpose)| purpose).collect::<Vec<_>>(), [Purpose::Peer]);
    // A peer that has less, in a poor book.
    force(&mut case.book, any(100), NOW, &mut case.rng);
    case.outbound.wake();
    let dial = case.all().into_iter().find(|dial| dial.location == any(100)).unwrap();
    assert_eq!(dial.purpose, Purpose::Peer);
    assert_eq!(case.welcome(&any(100), services(0x9)), Welcome::AskAndClose);
    assert_eq!(case.book.entry(&any(100)).unwrap().services, services(0x9), "what it says of itself counts");
    // In a rich one it is let go at once.
    let mut case = Case::with_nodes(QUIET(), 1100);
    let dial = case.next().unwrap();
    assert_eq!(case.welcome(&dial.location, services(0x9)), Welcome::Close);
}

#[test]
fn failures_count_while_two_groups_are_connected() {
    let mut case = Case::with_nodes(QUIET(), 300);
    let dials = case.all();
    let attempts = |case: &Case, dial: &Dial| case.book.entry(&dial.location).unwrap().attempts;
    assert!(dials.iter().all(|dial| attempts(&case, dial) == 0), "it may be us who are offline");
    for dial in &dials[..2] {
        case.welcome(&dial.location, services(0x49));
    }
    for dial in &dials[2..] {
        case.ended(&dial.location);
    }
    case.seconds += 60;
    for dial in case.all() {
        assert_eq!(attempts(&case, &dial), 1);
    }
}

#[test]
fn offline_it_dials_ever_less() {
    let mut case = Case::with_nodes(Policy::default(), 500);
    let mut dials = BTreeMap::<u64, u32>::new();
    for second in 0..2 * HOUR {
        case.seconds = second;
        while let Some(dial) = case.next() {
            *dials.entry(second / (10 * MINUTE)).or_default() += 1;
            case.ended(&dial.location);
        }
    }
    let counts: Vec<_> = dials.values().copied().collect();
    assert!(counts[0] > 60 && counts[0] < 200 && *counts.last().unwrap() <= 20, "{counts:?}");
    // Nobody is given up for that.
    assert!(case.book.entries().all(|entry| entry.attempts == 0));
    // And the first second online is as good as any.
    case.outbound.wake();
    let peers = case.all().iter().filter(|dial| dial.purpose == Purpose::Peer).count();
    assert_eq!(peers, 8);
}

/// Dials for transactions have a pace of their own: however many fail, the others are made when they would be.
#[test]
fn failed_dials_for_transactions_hold_up_no_others() {
    let dialled = |broadcasts: u32| {
        let mut case = Case::with_nodes(QUIET(), 2000);
        let mut seconds = Vec::new();
        for second in 0..10 * MINUTE {
            case.seconds = second;
            for _ in 0..broadcasts {
                let now = case.now();
                let Case { outbound, book, barred, rng, .. } = &mut case;
                let dial = outbound.next_for_broadcast(book, barred, now, rng).expect("there are many");
                assert_eq!(dial.purpose, Purpose::Broadcast);
                case.ended(&dial.location);
            }
            while let Some(dial) = case.next() {
                seconds.push(second);
                case.ended(&dial.location);
            }
        }
        seconds
    };
    let expected = dialled(0);
    assert!(expected.len() > 60, "{expected:?}");
    assert_eq!(dialled(4), expected);
}

#[test]
fn nobody_is_asked_for_addresses_all_the_time() {
    let mut case = Case::new(QUIET());
    for index in 0..200 {
        force(&mut case.book, any(index), NOW, &mut case.rng);
        case.book.set_services(&any(index), services(0x9));
    }
    let mut asked = 0;
    for second in 0..HOUR {
        case.seconds = second;
        for dial in case.all() {
            assert_eq!(dial.purpose, Purpose::Addresses);
            case.welcome(&dial.location, services(0x9));
            case.ended(&dial.location);
            asked += 1;
        }
    }
    assert!((12..25).contains(&asked), "{asked} in an hour");
}

#[test]
fn nothing_to_dial_is_looked_at_ever_less() {
    let mut case = Case::new(QUIET());
    assert_eq!(case.next(), None);
    assert_eq!(case.outbound.deadline(), Some(Instant::from_micros(10_000_000)));
    force(&mut case.book, any(0), NOW, &mut case.rng);
    case.seconds = 9;
    assert_eq!(case.next(), None);
    case.outbound.wake();
    assert_eq!(case.next().map(|dial| dial.location), Some(any(0)));
    // A policy of other networks takes effect at once.
    force(&mut case.book, Location { host: Host::TorV3([1; 32]), port: 8333 }, NOW, &mut case.rng);
    assert_eq!(case.all(), []);
    case.outbound.set_policy(Policy { networks: AddressNetworks::ALL, ..QUIET() });
    assert!(matches!(case.next().unwrap().location.host, Host::TorV3(_)));
    assert_eq!(case.outbound.policy().networks, AddressNetworks::ALL);
}

/// Days of a life: nodes come and go, answer or not, and what must hold holds.
#[test]
fn whatever_happens_connections_are_as_they_are_to_be() {
    let mut case = Case::new(Policy { networks: AddressNetworks::ALL, ..Policy::default() });
    let mut open = BTreeMap::<Location, (Purpose, bool)>::new();
    let grouping = Grouping::by_prefix();
    let mut counts = BTreeMap::<String, u32>::new();
    for step in 0..60_000u32 {
        if case.rng.below(20) == 0 {
            case.seconds += case.rng.below(300);
        }
        case.is_stale = case.rng.below(30) == 0;
        let some = any(case.rng.below(3000) as u32);
        match case.rng.below(10) {
            0..=2 => {
                let host = if step % 9 == 0 { Host::TorV3([(step % 251) as u8; 32]) } else { some.host };
                let bits = [0x49, 0x849, 0x9, 0x448, 0][case.rng.below(5) as usize];
                let time = NOW + case.seconds;
                let address = NodeAddress { host, services: services(bits), ..node(some, time) };
                let source = Source::Node(any(case.rng.below(300) as u32).host);
                case.book.add(&address, &source, Duration::ZERO, at(time), &mut case.rng);
            }
            3 if case.rng.below(30) == 0 => case.barred.discouraged.add(&some.host, case.now().instant),
            3 | 4 => {
                let Some(location) =
                    open.keys().nth(case.rng.below(open.len().max(1) as u64) as usize).copied()
                else {
                    continue;
                };
                let is_ended = case.rng.below(3) == 0 || open[&location].1;
                if is_ended {
                    open.remove(&location);
                    case.ended(&location);
                } else {
                    let bits = [0x49, 0x849, 0x9][case.rng.below(3) as usize];
                    let answer = case.welcome(&location, services(bits));
                    *counts.entry(format!("{:?} {answer:?}", open[&location].0)).or_default() += 1;
                    if answer == Welcome::Keep {
                        open.insert(location, (Purpose::Peer, true));
                    } else {
                        open.remove(&location);
                        case.ended(&location);
                    }
                }
            }
            _ => {
                for dial in case.all() {
                    assert!(!case.barred.contains(&dial.location.host, case.now()));
                    assert!(open.insert(dial.location, (dial.purpose, false)).is_none());
                    *counts.entry(format!("{:?}", dial.purpose)).or_default() += 1;
                }
            }
        }
        let kept: Vec<_> = case
            .outbound
            .open()
            .filter(|(_, purpose)| matches!(purpose, Purpose::Anchor | Purpose::Peer | Purpose::Extra))
            .map(|(location, _)| *location)
            .collect();
        assert!(kept.len() <= 9 && case.outbound.open().len() <= 11);
        assert_eq!(case.outbound.open().map(|(location, _)| *location).collect::<Vec<_>>(), {
            open.keys().copied().collect::<Vec<_>>()
        });
        let clear = kept.iter().filter(|location| !matches!(location.host, Host::TorV3(_)));
        let groups: Vec<_> = clear.map(|location| grouping.of(&location.host)).collect();
        assert_eq!(groups.iter().collect::<BTreeSet<_>>().len(), groups.len());
    }
    println!("{counts:?}");
    for what in ["Peer Keep", "Peer AskAndClose", "Peer Close", "Feeler Close", "Extra Keep", "Extra Close"] {
        assert!(counts.get(what).is_some_and(|count| *count > 0), "{what}: {counts:?}");
    }
}

#[test]
fn times_are_exponential() {
    let mut rng = Rng::new([1; 32]);
    let mean = Duration::from_secs(120);
    let times: Vec<f64> = (0..100_000).map(|_| exponential(mean, &mut rng).as_secs_f64() / 120.0).collect();
    let average: f64 = times.iter().sum::<f64>() / times.len() as f64;
    assert!((average - 1.0).abs() < 0.02, "{average}");
    for limit in [0.1f64, 0.5, 1.0, 2.0, 4.0] {
        let beyond = times.iter().filter(|time| **time > limit).count() as f64 / times.len() as f64;
        assert!((beyond - (-limit).exp()).abs() < 0.01, "{beyond} beyond {limit}");
    }
}
