//! Nodes that nobody has configured: how they are found, which are dialled, what is remembered of them, and who is barred.
#![allow(clippy::unwrap_used, reason = "a test that can not go on has failed")]

mod lab;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use andon_bitcoin::addresses::{AddressNetworks, Subnet};
use andon_bitcoin::client::{
    Birthday, Command, Config, Discovery, Endpoint, Event, PeerPurpose, Proxy, ProxyLogin, Reason,
};
use andon_bitcoin::filter;
use andon_bitcoin::wire::{Host, Message, NodeAddress};
use andon_kernel::UnixTime;
use bitcoin::Network;
use bitcoin::p2p::ServiceFlags;
use lab::chain::script;
use lab::damage::change;
use lab::nodes::{at, chain, connected, finding, found, full, lab_of, told};
use lab::{BEGIN, Chain, Lab, Peer, endpoint};

#[test]
fn what_one_peer_tells_is_enough_to_find_others() {
    let mut lab = lab_of(12, 5);
    lab.run_until("five connections", |lab| found(lab) == 5);
    let time = lab.now.as_micros();
    assert!(time < 10_000_000, "{time}");
    lab.run_for(Duration::from_secs(60));
    assert_eq!(found(&lab), 5);
    assert!(connected(&lab).contains(&(at(0), PeerPurpose::Configured)));
    // Each of them was asked for others, once.
    for (addr, _) in connected(&lab) {
        assert_eq!(lab.peers[usize::from(addr.port() - 30_000)].asked_for_addresses, 1);
    }
    // Nobody who was given was dialled as one who was found.
    assert_eq!(lab.dialled.iter().filter(|addr| **addr == at(0)).count(), 1);
    // One that goes is replaced by another.
    let (gone, _) = connected(&lab).into_iter().find(|(_, purpose)| *purpose == PeerPurpose::Found).unwrap();
    let number = usize::from(gone.port() - 30_000);
    lab.peers[number].up = false;
    lab.cut(number);
    lab.run_for(Duration::from_secs(30));
    assert_eq!(found(&lab), 5);
    assert!(!connected(&lab).iter().any(|(addr, _)| *addr == gone));
}

#[test]
fn without_discovery_nobody_else_is_dialled_and_nothing_is_asked() {
    let mut lab = lab_of(5, 4);
    lab.config.discovery = None;
    lab.sync();
    lab.run_for(Duration::from_secs(3600));
    assert_eq!((lab.dialled.len(), lab.peers[0].asked_for_addresses), (1, 0));
    assert!(lab.rows("addresses").is_empty());
}

/// Four nodes in one group, three in that of the given one, one alone; the given one tells of all.
fn grouped(connections: usize) -> Lab {
    let chain = chain(5);
    let mut peers: Vec<Peer> = (0..9).map(|_| Peer::new(&chain)).collect();
    let near = |peer: u16| SocketAddr::from(([77, 9, 1, peer as u8], 30_000 + peer));
    let beside = |peer: u16| SocketAddr::new(IpAddr::V4(Ipv4Addr::new(60, 0, 200, 7)), 30_000 + peer);
    let all = (1..5).map(near).chain((5..8).map(beside)).chain([at(8)]);
    peers[0].tells = all.map(|at| told(at, full())).collect();
    let mut config = finding(connections);
    config.peers = vec![Endpoint::Address(at(0))];
    Lab::new(config, peers)
}

#[test]
fn of_a_group_one_is_dialled() {
    let mut lab = grouped(8);
    lab.run_for(Duration::from_secs(3600));
    let works: Vec<_> = connected(&lab).into_iter().map(|(addr, _)| addr).collect();
    assert_eq!(works.len(), 3, "{works:?}");
    assert!(works.contains(&at(0)) && works.contains(&at(8)));
}

/// Once there are as many as there are to be, the others are tested, now and then, until all have been.
#[test]
fn others_are_tested_by_connections_for_nothing_else() {
    let mut lab = grouped(2);
    lab.run_for(Duration::from_secs(3 * 3600));
    assert_eq!(connected(&lab).len(), 3);
    let tested = |event: &Event| {
        matches!(
            event,
            Event::PeerDisconnected {
                purpose: PeerPurpose::Feeler,
                reason: Reason::Tested,
                connected: false,
                ..
            }
        )
    };
    assert_eq!(lab.events.iter().filter(|event| tested(event)).count(), 6);
    assert!(
        lab.asked
            .iter()
            .all(|(_, peer, _)| connected(&lab).iter().any(|(addr, _)| addr.port() == 30_000 + *peer as u16))
    );
}

#[test]
fn who_serves_too_little_is_asked_for_others_and_let_go() {
    let chain = chain(5);
    let mut peers: Vec<Peer> = (0..4).map(|_| Peer::new(&chain)).collect();
    peers[0].tells = vec![told(at(1), ServiceFlags::NETWORK | ServiceFlags::WITNESS)];
    peers[1].serves = Some(ServiceFlags::NETWORK | ServiceFlags::WITNESS);
    peers[1].tells = vec![told(at(2), full()), told(at(3), full())];
    // It is not what it was said to be.
    peers[3].serves = Some(ServiceFlags::NETWORK);
    let mut config = finding(2);
    config.peers = vec![Endpoint::Address(at(0))];
    let mut lab = Lab::new(config, peers);
    lab.run_for(Duration::from_secs(60));
    assert_eq!(connected(&lab), [(at(0), PeerPurpose::Configured), (at(2), PeerPurpose::Found)]);
    let farewells = lab.farewells();
    assert!(farewells.contains(&(Endpoint::Address(at(1)), Reason::Asked)), "{farewells:?}");
    // It served less than was said; it was asked for others, for the book is poor, and told none.
    assert!(farewells.contains(&(Endpoint::Address(at(3)), Reason::Asked)), "{farewells:?}");
    // Nothing else was asked of them.
    assert!(lab.asked.iter().all(|(_, peer, _)| [0, 2].contains(peer)));
}

/// The network that has seeds. The laboratory's nodes speak another one's messages: here it is looked at who is dialled.
fn seeded(discovery: Discovery) -> Lab {
    let config = Config { network: Network::Signet, discovery: Some(discovery), ..finding(8) };
    Lab::new(config, Vec::new())
}

#[test]
fn seeds_are_asked_by_an_empty_book_and_again_when_the_network_is_back() {
    let mut lab = seeded(Discovery::default());
    lab.run_for(Duration::from_secs(1));
    let first = lab.resolved.clone();
    assert!((1..=3).contains(&first.len()) && first.iter().all(|name| name.starts_with('x')), "{first:?}");
    assert!(lab.dialled.is_empty());
    // Nobody answers: after a minute those that are compiled in are dialled.
    lab.run_for(Duration::from_secs(50));
    assert!(lab.dialled.is_empty());
    lab.run_for(Duration::from_secs(30));
    assert!(!lab.dialled.is_empty());
    // Seeds are asked again and again, ever more seldom.
    let count = lab.resolved.len();
    lab.run_for(Duration::from_secs(6 * 3600));
    let later = lab.resolved.len() - count;
    assert!((5..200).contains(&later), "{later}");
    let seeds: Vec<SocketAddr> = (1..20).map(|host| SocketAddr::from(([90, host, 7, 7], 38_333))).collect();
    for name in lab.resolved.clone() {
        lab.names.insert(name, seeds.clone());
    }
    lab.run_for(Duration::from_secs(3 * 3600));
    assert!(seeds.iter().any(|seed| lab.dialled.contains(seed)));
}

/// Two seeds, and twenty nodes of as many groups of each. Who is dialled first, by seed.
fn dialled_of_two_seeds(seed: u8, mute: Vec<&'static str>) -> (Vec<usize>, u64) {
    let mut lab = seeded(Discovery { fixed_seeds: false, ..Discovery::default() });
    lab.config.seed = [seed; 32];
    lab.mute = mute;
    for (seed, name) in
        ["seed.signet.bitcoin.sprovoost.nl.", "seed.signet.achownodes.xyz."].into_iter().enumerate()
    {
        let nodes: Vec<SocketAddr> =
            (1..20).map(|host| SocketAddr::from(([90 + seed as u8, host, 7, 7], 38_333))).collect();
        for prefix in ["x849.", "x49."] {
            lab.names.insert(format!("{prefix}{name}"), nodes.clone());
        }
    }
    lab.run_until("eight dials", |lab| lab.dialled.len() >= 8);
    let seed_of = |addr: &SocketAddr| match addr.ip() {
        IpAddr::V4(ip) => usize::from(ip.octets()[0] - 90),
        IpAddr::V6(_) => unreachable!(),
    };
    (lab.dialled.iter().take(8).map(seed_of).collect(), lab.now.as_micros())
}

/// Whoever owns the seed that answers first would else have all connections of a new client.
#[test]
fn the_seed_that_answers_first_does_not_get_all_connections() {
    let mut mixed = 0;
    for seed in 0..16 {
        let (dialled, micros) = dialled_of_two_seeds(seed, Vec::new());
        assert!(micros < 1_000_000, "nothing is waited for once all have answered: {micros}");
        mixed += usize::from(dialled.contains(&0) && dialled.contains(&1));
    }
    // By chance one in a hundred has none of the other seed's.
    assert!(mixed >= 14, "{mixed} of 16");
}

#[test]
fn a_seed_that_never_answers_is_not_waited_for_long() {
    for seed in 0..4 {
        let (dialled, micros) = dialled_of_two_seeds(seed, vec!["sprovoost.nl."]);
        assert_eq!(dialled, [1; 8]);
        assert!(micros < 7_000_000, "{micros}");
    }
}

#[test]
fn seeds_are_not_asked_where_they_are_not_wanted() {
    let mut lab = seeded(Discovery { dns_seeds: false, ..Discovery::default() });
    lab.run_for(Duration::from_secs(5));
    assert!(lab.resolved.is_empty() && !lab.dialled.is_empty());
    let mut lab = seeded(Discovery { dns_seeds: false, fixed_seeds: false, ..Discovery::default() });
    lab.run_for(Duration::from_secs(24 * 3600));
    assert!(lab.resolved.is_empty() && lab.dialled.is_empty());
    let only_onions = AddressNetworks::NONE.with(andon_bitcoin::addresses::AddressNetwork::TorV3);
    let mut lab = seeded(Discovery { networks: only_onions, ..Discovery::default() });
    lab.run_for(Duration::from_secs(3600));
    assert!(lab.dialled.is_empty());
}

/// Through a proxy no name is looked up here: the proxy connects to one of a seed's nodes, which is asked for others.
#[test]
fn seeds_are_asked_through_the_proxy() {
    let mut lab = seeded(Discovery::default());
    let address = lab::proxy::address();
    lab.config.proxy = Some(Proxy { address, login: ProxyLogin::None });
    lab.run_for(Duration::from_secs(30));
    assert!(lab.resolved.is_empty());
    assert!(!lab.dialled.is_empty() && lab.dialled.iter().all(|addr| *addr == address));
    let seed = |event: &Event| {
        matches!(event, Event::PeerDisconnected { endpoint: Endpoint::Host { name, .. }, purpose: PeerPurpose::Addresses, .. }
            if name.starts_with('x') && !name.ends_with('.'))
    };
    assert!(lab.events.iter().any(seed));
}

#[test]
fn the_book_and_the_anchors_outlive_the_process() {
    let mut lab = lab_of(12, 3);
    lab.run_until("three connections", |lab| found(lab) == 3);
    lab.run_for(Duration::from_secs(1200));
    let before: Vec<SocketAddr> = connected(&lab)
        .into_iter()
        .filter(|(_, purpose)| *purpose == PeerPurpose::Found)
        .map(|(addr, _)| addr)
        .collect();
    assert_eq!(lab.rows("anchors").len(), 2);
    lab.restart();
    // Nobody is given any more.
    lab.config.peers.clear();
    lab.dialled.clear();
    lab.run_until("three connections", |lab| found(lab) == 3);
    // The two that had served the longest are dialled first.
    assert!(lab.dialled[..2].iter().all(|addr| before.contains(addr)), "{:?} {before:?}", lab.dialled);
}

/// The two that have served the longest, as they are stored.
fn with_anchors() -> (Lab, Vec<SocketAddr>) {
    let mut lab = lab_of(12, 2);
    lab.run_until("two connections", |lab| found(lab) == 2);
    lab.run_for(Duration::from_secs(1200));
    let anchors = connected(&lab).into_iter().filter(|(_, purpose)| *purpose == PeerPurpose::Found);
    let anchors = anchors.map(|(addr, _)| addr).collect();
    assert_eq!(lab.rows("anchors").len(), 2);
    lab.restart();
    lab.config.peers.clear();
    lab.dialled.clear();
    (lab, anchors)
}

#[test]
fn an_anchor_that_is_gone_is_no_anchor_again() {
    let (mut lab, anchors) = with_anchors();
    let before = lab.rows("anchors");
    for gone in &anchors {
        lab.peers[usize::from(gone.port() - 30_000)].up = false;
    }
    lab.run_for(Duration::from_secs(1200));
    assert!(anchors.iter().all(|anchor| lab.dialled[..2].contains(anchor)), "{:?}", lab.dialled);
    let after = lab.rows("anchors");
    assert_eq!(after.len(), 2);
    assert!(after.iter().all(|row| !before.contains(row)), "others have taken their place");
}

#[test]
fn a_start_without_a_network_costs_no_anchor() {
    let (mut lab, anchors) = with_anchors();
    let before = lab.rows("anchors");
    lab.peers.iter_mut().for_each(|peer| peer.up = false);
    lab.run_for(Duration::from_secs(600));
    assert_eq!(lab.rows("anchors"), before);
    lab.restart();
    lab.dialled.clear();
    lab.peers.iter_mut().for_each(|peer| peer.up = true);
    lab.run_until("two connections", |lab| found(lab) == 2);
    assert!(anchors.iter().all(|anchor| lab.dialled[..2].contains(anchor)), "{:?}", lab.dialled);
}

#[test]
fn what_is_damaged_of_the_book_is_lost_and_no_more() {
    for space in ["addresses", "bans", "anchors"] {
        let mut lab = lab_of(12, 3);
        lab.run_until("three connections", |lab| found(lab) == 3);
        lab.command(Command::Ban {
            subnet: "77.1.0.0/16".parse().unwrap(),
            until: UnixTime::from_secs(BEGIN + 10_000_000),
        });
        lab.run_for(Duration::from_secs(1200));
        let mut store = lab.store().clone();
        let rows = lab.rows(space);
        let (key, mut value) = rows.last().unwrap().clone();
        let place = value.len() / 2;
        value[place] ^= 1;
        change(&mut store, |batch| batch.put(andon_kernel::Space::new(space), &key, &value));
        let mut config = lab.config.clone();
        config.peers.clear();
        let mut lab = Lab::on(store, config, lab.peers);
        lab.run_until("three connections", |lab| found(lab) == 3);
        let repaired = lab.events.iter().filter(|event| matches!(event, Event::Repaired { .. }));
        assert_eq!(repaired.count(), 1, "{space}");
        // What was lost is not there the next time.
        lab.run_for(Duration::from_secs(1200));
        lab.restart();
        lab.run_until("three connections", |lab| found(lab) == 3);
        assert!(!lab.events.iter().any(|event| matches!(event, Event::Repaired { .. })), "{space}");
    }
}

#[test]
fn a_ban_ends_connections_prevents_new_ones_and_outlives_the_process() {
    let mut lab = lab_of(8, 7);
    lab.run_until("seven connections", |lab| found(lab) == 7);
    let subnet: Subnet = format!("{}", at(3).ip()).parse().unwrap();
    let until = UnixTime::from_secs(BEGIN + 3600);
    lab.command(Command::Ban { subnet, until });
    assert!(lab.events.contains(&Event::Banned { subnet, until }));
    assert!(lab.farewells().contains(&(Endpoint::Address(at(3)), Reason::Banned)));
    // Who is given is not concerned.
    let given = format!("{}", at(0).ip()).parse().unwrap();
    lab.command(Command::Ban { subnet: given, until });
    lab.dialled.clear();
    lab.run_for(Duration::from_secs(1200));
    assert_eq!(found(&lab), 6);
    assert!(connected(&lab).contains(&(at(0), PeerPurpose::Configured)));
    lab.restart();
    lab.run_for(Duration::from_secs(600));
    assert!(!lab.dialled.contains(&at(3)) && found(&lab) == 6);
    // It ends by itself.
    lab.run_for(Duration::from_secs(3600));
    assert!(lab.dialled.contains(&at(3)) && found(&lab) == 7);
    // Or by the application's word, also before the client has begun.
    lab.command(Command::Ban { subnet, until: UnixTime::from_secs(BEGIN + 1_000_000) });
    lab.run_for(Duration::from_secs(1));
    assert_eq!(found(&lab), 6);
    lab.restart();
    lab.dialled.clear();
    lab.command(Command::LiftBan { subnet });
    lab.run_for(Duration::from_secs(600));
    assert!(lab.events.contains(&Event::BanLifted { subnet }));
    assert!(lab.dialled.contains(&at(3)) && found(&lab) == 7);
    assert!(lab.rows("bans").iter().all(|(key, _)| key.len() == 7 && key[3..] != [60, 3, 3, 4]));
}

/// It floods: it is let go, and neither dialled nor believed for a day.
#[test]
fn who_breaks_the_protocol_is_discouraged() {
    let mut lab = lab_of(4, 3);
    lab.run_until("three connections", |lab| found(lab) == 3);
    let headers: Vec<_> = {
        let other = chain(30);
        other.answer(&[other.hash(0)], bitcoin::BlockHash::from_raw_hash(bitcoin::hashes::Hash::all_zeros()))
    };
    let mut broken = headers;
    broken.swap(3, 9);
    lab.push_headers(2, &broken);
    lab.dialled.clear();
    lab.run_for(Duration::from_secs(20 * 3600));
    assert!(!lab.dialled.contains(&at(2)), "{:?}", lab.farewells());
    assert_eq!(found(&lab), 2);
    lab.run_for(Duration::from_secs(40 * 3600));
    assert!(lab.dialled.contains(&at(2)));
}

/// A node that vouches for a false filter is banned, durably; others take its place.
#[test]
fn a_proven_liar_is_banned() {
    let mut lab = lab_of(5, 4);
    let mut false_chain = Chain::new();
    false_chain.grow_blocks(20, 1, |height| script(u64::from(height)));
    // It leaves everything out of the filter of block 9.
    let nothing = filter::build(&false_chain.hash(9), std::iter::empty());
    lab.peers[3].chain = Rc::new(false_chain.with_filter(9, nothing));
    lab.command(Command::Watch { scripts: vec![script(9)], from: Birthday::Height(1) });
    lab.run_for(Duration::from_secs(120));
    let farewells = lab.farewells();
    let liar = farewells.iter().find(|(endpoint, _)| *endpoint == Endpoint::Address(at(3)));
    assert!(matches!(liar, Some((_, Reason::Misbehaved(_)))), "{farewells:?}");
    let banned = lab
        .events
        .iter()
        .any(|event| matches!(event, Event::Banned { subnet, .. } if subnet.contains(&Host::Ip(at(3).ip()))));
    assert!(banned);
    lab.restart();
    lab.dialled.clear();
    lab.run_for(Duration::from_secs(3600));
    assert!(!lab.dialled.contains(&at(3)));
}

/// No block comes: one more is connected, and those that are there stay. When blocks come again, one goes: the one that
/// is behind.
#[test]
fn a_stale_tip_opens_one_connection_more() {
    let mut lab = lab_of(10, 3);
    lab.config.stale_tip = Duration::from_secs(1800);
    lab.run_until("three connections", |lab| found(lab) == 3);
    let before = connected(&lab);
    lab.run_for(Duration::from_secs(1900));
    assert_eq!(found(&lab), 4);
    let now = connected(&lab);
    assert!(before.iter().all(|one| now.contains(one)));
    // And no more than that, however long it lasts.
    lab.run_for(Duration::from_secs(4 * 3600));
    assert_eq!(found(&lab), 4);
    let longer = chain(21);
    let (behind, _) = before.iter().find(|(_, purpose)| *purpose == PeerPurpose::Found).unwrap();
    for number in 0..10 {
        if usize::from(behind.port() - 30_000) != number {
            lab.switch(number, &longer);
        }
    }
    lab.run_for(Duration::from_secs(900));
    assert_eq!(found(&lab), 3);
    assert!(!connected(&lab).iter().any(|(addr, _)| addr == behind));
    assert!(lab.farewells().contains(&(Endpoint::Address(*behind), Reason::Surplus)));
    // The next stale tip opens one again.
    lab.run_for(Duration::from_secs(1900));
    assert_eq!(found(&lab), 4);
}

/// While no block comes one more node is looked for at the pace of any other, however many of the book are gone.
#[test]
fn a_stale_tip_is_no_reason_to_hurry() {
    let mut lab = lab_of(3, 1);
    // Hundreds of nodes, of as many groups, where nobody is.
    lab.peers[1].tells = (0..500).map(|number| told(at(300 + number), full())).collect();
    lab.peers[2].tells = lab.peers[1].tells.clone();
    lab.config.peers.clear();
    lab.config.discovery = Some(Discovery { connections: 1, feelers: false, ..Discovery::default() });
    lab.config.peers = vec![Endpoint::Address(at(0))];
    lab.peers[0].tells = vec![told(at(1), full())];
    lab.run_until("one connection", |lab| found(lab) == 1);
    lab.run_for(Duration::from_secs(60));
    lab.dialled.clear();
    lab.run_for(Duration::from_secs(3600));
    let dials = lab.dialled.len();
    assert!((20..400).contains(&dials), "{dials}");
}

/// A peer that tells more than it may is not heard in full, and who is told of by it can't fill the book.
#[test]
fn gossip_is_bounded() {
    let mut lab = lab_of(2, 1);
    lab.run_until("one connection", |lab| found(lab) == 1);
    lab.run_for(Duration::from_secs(5));
    lab.peers[1].tells.clear();
    for round in 0..20u16 {
        let many: Vec<NodeAddress> = (0..1000)
            .map(|index| {
                told(
                    SocketAddr::from((
                        [100 + round as u8, (index / 4) as u8, 1, (index % 4) as u8 + 1],
                        8333,
                    )),
                    full(),
                )
            })
            .collect();
        lab.push_message(0, &Message::AddrV2(many));
    }
    lab.run_for(Duration::from_secs(600));
    // It was asked once, for a thousand, and may tell one in ten seconds besides.
    let rows = lab.rows("addresses").len();
    assert!((100..1100).contains(&rows), "{rows}");
}

#[test]
fn nobody_who_is_found_is_this_client_or_given_twice() {
    let mut lab = lab_of(3, 2);
    // It tells of the one that was given, by its address.
    lab.peers[0].tells.push(told(at(0), full()));
    lab.peers[1].tells = vec![told(at(0), full()), told(at(2), full())];
    lab.run_for(Duration::from_secs(600));
    assert_eq!(found(&lab), 2);
    assert_eq!(lab.dialled.iter().filter(|addr| **addr == at(0)).count(), 1);
    assert_eq!(endpoint(0), Endpoint::Address(SocketAddr::from(([127, 0, 0, 1], 30_000))));
}

/// An onion service that was given is in the book too, for nodes tell of themselves: it is dialled once.
#[test]
fn a_name_that_is_a_key_is_known_in_the_book() {
    use andon_bitcoin::addresses::onion_name;
    let keys: Vec<[u8; 32]> = (1..=6).map(|key| [key; 32]).collect();
    let named = |key: &[u8; 32]| Endpoint::Host { name: onion_name(key), port: 8333 };
    let mut config = finding(6);
    let only_nodes =
        Discovery { dns_seeds: false, fixed_seeds: false, connections: 6, ..Discovery::default() };
    config.discovery = Some(Discovery { networks: AddressNetworks::ALL, ..only_nodes });
    config.proxy = Some(Proxy { address: lab::proxy::address(), login: ProxyLogin::None });
    config.peers = vec![named(&keys[0]), Endpoint::Address(at(0))];
    let chain = chain(20);
    let mut peers = vec![Peer::new(&chain)];
    peers[0].takes_addrv2 = true;
    peers[0].tells = keys
        .iter()
        .map(|key| NodeAddress {
            time: BEGIN as u32 - 3600,
            services: full(),
            host: Host::TorV3(*key),
            port: 8333,
        })
        .collect();
    let mut lab = Lab::new(config, peers);
    lab.proxy = Some(lab::proxy::Proxy::default());
    lab.run_for(Duration::from_secs(600));
    let mut purposes = BTreeMap::new();
    for event in &lab.events {
        if let Event::PeerDisconnected { endpoint: Endpoint::Host { name, .. }, purpose, .. } = event {
            purposes.entry(name.clone()).or_insert_with(Vec::new).push(*purpose);
        }
    }
    assert_eq!(purposes.len(), 6, "all were dialled: {purposes:?}");
    let given = &purposes[&onion_name(&keys[0])];
    assert!(given.iter().all(|purpose| *purpose == PeerPurpose::Configured), "{given:?}");
    assert!(
        purposes
            .iter()
            .filter(|(name, _)| **name != onion_name(&keys[0]))
            .all(|(_, purposes)| { purposes.iter().all(|purpose| *purpose != PeerPurpose::Configured) })
    );
}

/// News of a few fresh nodes go to two others each, once, after a while; by option only, and to those alone that can read them.
#[test]
fn news_are_told_on_if_that_is_wanted() {
    let fresh = |lab: &Lab, host: Host| NodeAddress {
        time: (BEGIN + lab.now.as_micros() / 1_000_000) as u32 - 60,
        services: full(),
        host,
        port: 8333,
    };
    for tells in [false, true] {
        let mut lab = lab_of(9, 8);
        lab.peers.iter_mut().skip(4).for_each(|peer| peer.takes_addrv2 = true);
        lab.config.discovery = Some(Discovery { connections: 8, tells, ..Discovery::default() });
        lab.run_until("eight connections", |lab| found(lab) == 8);
        lab.run_for(Duration::from_secs(200));
        let news: Vec<NodeAddress> =
            (1..=10).map(|host| fresh(&lab, Host::Ip(IpAddr::from([99, host, 1, 1])))).collect();
        lab.push_message(3, &Message::AddrV2(news.clone()));
        lab.run_for(Duration::from_secs(400));
        let heard = |lab: &Lab| lab.peers.iter().map(|peer| peer.heard.len()).sum::<usize>();
        if !tells {
            assert_eq!(heard(&lab), 0);
            continue;
        }
        for one in &news {
            let tellers: Vec<usize> =
                (0..9).filter(|number| lab.peers[*number].heard.iter().any(|heard| heard == one)).collect();
            assert!(tellers.len() == 2 && !tellers.contains(&3), "{tellers:?}");
        }
        assert_eq!(heard(&lab), 20);
        // What they know they are not told again; what is old, or comes with many others, is no news.
        lab.run_for(Duration::from_secs(100));
        lab.push_message(3, &Message::AddrV2(news));
        lab.push_message(3, &Message::AddrV2(vec![told(at(200), full())]));
        let many = (1..=11).map(|host| fresh(&lab, Host::Ip(IpAddr::from([98, host, 1, 1])))).collect();
        lab.push_message(3, &Message::AddrV2(many));
        // Nor are nodes that serve nothing, or that are banned.
        let nothing = fresh(&lab, Host::Ip(IpAddr::from([97, 1, 1, 1])));
        lab.push_message(3, &Message::AddrV2(vec![NodeAddress { services: ServiceFlags::NONE, ..nothing }]));
        let banned = IpAddr::from([97, 2, 1, 1]);
        let until = UnixTime::from_secs(BEGIN + 100_000);
        lab.command(Command::Ban { subnet: Subnet::host(&Host::Ip(banned)), until });
        let banned = fresh(&lab, Host::Ip(banned));
        lab.push_message(3, &Message::AddrV2(vec![banned]));
        // Nor is what nobody can reach.
        lab.push_message(3, &Message::AddrV2(vec![fresh(&lab, Host::Ip(IpAddr::from([10, 1, 1, 1])))]));
        lab.run_for(Duration::from_secs(400));
        assert_eq!(heard(&lab), 20);
        // An onion service can't be told by the old message, and is not reached from here: one is told of it, if it can read it.
        for key in 1..=20 {
            lab.run_for(Duration::from_secs(100));
            lab.push_message(3, &Message::AddrV2(vec![fresh(&lab, Host::TorV3([key; 32]))]));
        }
        lab.run_for(Duration::from_secs(400));
        let onions = heard(&lab) - 20;
        assert!((5..20).contains(&onions), "{onions}");
    }
}
