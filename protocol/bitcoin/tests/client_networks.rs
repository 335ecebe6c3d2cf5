//! Networks that not every machine is in, in the laboratory: who is dialled there, which way, and who is not.
#![allow(clippy::unwrap_used, reason = "a test that can not go on has failed")]

mod lab;

use std::net::{Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use andon_bitcoin::addresses::{AddressNetwork, AddressNetworks, i2p_name, onion_key};
use andon_bitcoin::client::{
    Config, Discovery, Encryption, Endpoint, EndpointError, Event, Misbehaviour, PeerPurpose, ProxyLogin,
    Reason, SamFailure,
};
use andon_bitcoin::wire::{Host, NodeAddress};
use andon_kernel::Disconnect;
use bitcoin::Network;
use bitcoin::p2p::ServiceFlags;
use lab::chain::script;
use lab::proxy::{self, Proxy};
use lab::router::{self, Router};
use lab::{BEGIN, Chain, Lab, Peer, config};

const ONION: &str = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd";

fn chain() -> Rc<Chain> {
    let mut chain = Chain::new();
    chain.grow_blocks(20, 1, |height| script(u64::from(height)));
    Rc::new(chain)
}

/// An address of CJDNS, at which the laboratory's first peer is.
fn cjdns() -> SocketAddr {
    SocketAddr::from((Ipv6Addr::new(0xfc12, 0x3456, 0, 0, 0, 0, 0, 7), 30_000))
}

/// A laboratory with one peer.
fn lab(config: Config, proxy: Option<Proxy>) -> Lab {
    let mut lab = Lab::new(config, vec![Peer::new(&chain())]);
    lab.proxy = proxy;
    lab
}

fn given(endpoint: Endpoint, cjdns: bool, through: bool) -> Lab {
    let proxy = through.then(|| proxy::configured(ProxyLogin::None)).flatten();
    let config = Config { peers: vec![endpoint], cjdns, proxy, ..config(0) };
    lab(config, through.then(Proxy::default))
}

#[test]
fn cjdns_is_dialled_by_those_who_are_in_it() {
    let endpoint = Endpoint::Address(cjdns());
    let mut inside = given(endpoint.clone(), true, false);
    inside.sync();
    assert_eq!(inside.dialled, [cjdns()]);
    let mut inside = given(endpoint.clone(), true, true);
    inside.sync();
    let told = &inside.proxy.as_ref().unwrap().targets;
    assert_eq!(
        (inside.dialled.as_slice(), told.as_slice()),
        (&[proxy::address()][..], &[cjdns().to_string()][..])
    );

    for through in [false, true] {
        let mut outside = given(endpoint.clone(), false, through);
        outside.run_for(Duration::from_secs(3600));
        let farewells = outside.farewells();
        assert!(farewells.len() > 1, "it is tried again");
        assert!(farewells.iter().all(|farewell| *farewell == (endpoint.clone(), Reason::OutsideCjdns)));
        assert_eq!(outside.dialled, Vec::<SocketAddr>::new(), "not even a proxy is told of it");
    }
    // The other half of these addresses is of private networks.
    let private = Endpoint::Address(SocketAddr::from((Ipv6Addr::new(0xfd12, 0, 0, 0, 0, 0, 0, 7), 30_000)));
    given(private, false, false).sync();
}

/// A name whose first address is one of CJDNS: the next one is tried.
#[test]
fn a_name_may_stand_for_an_address_of_cjdns() {
    let clear = SocketAddr::from(([60, 0, 3, 4], 30_000));
    for (is_inside, dialled) in [(false, clear), (true, cjdns())] {
        let endpoint = Endpoint::Host { name: "node.example".into(), port: 30_000 };
        let mut lab = given(endpoint.clone(), is_inside, false);
        lab.names.insert("node.example".into(), vec![cjdns(), clear]);
        lab.sync();
        assert_eq!(lab.dialled, [dialled]);
        assert_eq!(lab.farewells(), []);
        // None but such: that is said.
        let mut lab = given(endpoint.clone(), false, false);
        lab.names.insert("node.example".into(), vec![cjdns(); 16]);
        lab.run_for(Duration::from_secs(1));
        assert_eq!(lab.farewells(), [(endpoint, Reason::OutsideCjdns)]);
        assert!(lab.dialled.is_empty());
    }
}

/// One peer is given, and tells of one that is in another network.
fn told_of(host: Host, networks: AddressNetworks, config: Config) -> Lab {
    let chain = chain();
    let mut peers = vec![Peer::new(&chain), Peer::new(&chain)];
    let services = ServiceFlags::NETWORK | ServiceFlags::WITNESS | ServiceFlags::COMPACT_FILTERS;
    peers[0].tells = vec![NodeAddress { time: BEGIN as u32 - 3600, services, host, port: 30_001 }];
    let discovery = Discovery { networks, dns_seeds: false, fixed_seeds: false, ..Discovery::default() };
    let peer = Endpoint::Address(SocketAddr::from(([60, 0, 3, 4], 30_000)));
    let config = Config { peers: vec![peer], discovery: Some(discovery), ..config };
    let through = config.proxy.is_some();
    let mut lab = Lab::new(config, peers);
    lab.proxy = through.then(|| Proxy { names: [(format!("{ONION}.onion"), 1)].into(), ..Proxy::default() });
    lab.run_for(Duration::from_secs(600));
    lab
}

/// Where nodes were found that the client works with.
fn found(lab: &Lab) -> Vec<Endpoint> {
    let found = lab.events.iter().filter_map(|event| match event {
        Event::PeerConnected { endpoint, purpose: PeerPurpose::Found, .. } => Some(endpoint.clone()),
        _ => None,
    });
    found.collect()
}

#[test]
fn nodes_of_other_networks_are_found_by_those_who_get_there() {
    let onion = Host::TorV3(onion_key(ONION).unwrap());
    let named = Endpoint::Host { name: format!("{ONION}.onion"), port: 30_001 };
    let there = Ipv6Addr::new(0xfc98, 0, 0, 0, 0, 0, 0, 7);
    let addressed = Endpoint::Address(SocketAddr::from((there, 30_001)));
    let tor = AddressNetworks::CLEAR.with(AddressNetwork::TorV3);
    let all = AddressNetworks::ALL;
    for (host, networks, through, cjdns, expected) in [
        (onion, all, true, false, Some(&named)),
        (onion, tor, true, false, Some(&named)),
        // Not wanted, though there is a way; and no way, though wanted.
        (onion, AddressNetworks::CLEAR, true, true, None),
        (onion, all, false, true, None),
        (Host::Cjdns(there), all, false, true, Some(&addressed)),
        (Host::Cjdns(there), all, true, true, Some(&addressed)),
        (Host::Cjdns(there), all, true, false, None),
        (Host::Cjdns(there), all, false, false, None),
        (Host::Cjdns(there), AddressNetworks::CLEAR, false, true, None),
        // Without a router nothing leads to these.
        (Host::I2p([7; 32]), all, true, true, None),
    ] {
        let proxy = through.then(|| proxy::configured(ProxyLogin::None)).flatten();
        let lab = told_of(host, networks, Config { proxy, cjdns, ..config(0) });
        assert_eq!(found(&lab), Vec::from_iter(expected.cloned()), "{host:?} {networks:?} {through} {cjdns}");
        if through {
            assert!(lab.dialled.iter().all(|addr| *addr == proxy::address()));
        }
        assert!(lab.resolved.is_empty());
        if expected.is_none() {
            let told = lab.proxy.as_ref().map_or(0, |proxy| proxy.targets.len());
            assert_eq!((lab.dialled.len(), told), (1, usize::from(through)), "nobody else was dialled");
        }
    }
}

/// The name of the destination at which a peer of the laboratory is.
fn destination(peer: usize) -> String {
    i2p_name(&[peer as u8 + 1; 32])
}

/// A laboratory whose peers are in I2P.
fn in_i2p(peers: Vec<Peer>, config: Config) -> Lab {
    let names: Vec<String> = (0..peers.len()).map(destination).collect();
    let given = names.iter().map(|name| Endpoint::parse(name, Network::Regtest).unwrap()).collect();
    let mut lab = Lab::new(Config { peers: given, i2p: Some(router::address()), ..config }, peers);
    let names = names.into_iter().enumerate().map(|(peer, name)| (name, peer)).collect();
    lab.router = Some(Router { names, ..Router::default() });
    lab
}

fn knowing(encryption: bool) -> Peer {
    let mut peer = Peer::new(&chain());
    peer.knows_encryption = encryption;
    peer
}

/// With a proxy or without, peers in I2P are reached by the router alone, each in a session of its own, which ends with the
/// connection.
#[test]
fn destinations_of_i2p_are_reached_by_the_router() {
    for (encryption, knows, streams) in [
        (Encryption::Preferred, true, 1),
        // The second connection is in the same session.
        (Encryption::Preferred, false, 2),
        (Encryption::Off, true, 1),
    ] {
        for through in [false, true] {
            let proxy = through.then(|| proxy::configured(ProxyLogin::None)).flatten();
            let config = Config { encryption, proxy, ..config(0) };
            let mut lab = in_i2p(vec![knowing(knows), knowing(knows)], config);
            lab.proxy = through.then(Proxy::default);
            lab.sync();
            let connections = |lab: &Lab| {
                lab.events.iter().filter(|event| matches!(event, Event::PeerConnected { .. })).count()
            };
            lab.run_until("both connections", |lab| connections(lab) == 2);
            assert_eq!(lab.farewells(), []);
            assert_eq!(lab.dialled, vec![router::address(); 2 * (1 + streams)]);
            assert_eq!(lab.resolved, Vec::<String>::new());
            assert_eq!(lab.open_connections(), 4, "two to peers, and two that hold sessions");
            let router = lab.router.as_ref().unwrap();
            assert_eq!(router.sessions.len(), 2, "{:?}", router.sessions);
            let of = |begin: &str| router.lines.iter().filter(|line| line.starts_with(begin)).count();
            assert_eq!((of("SESSION"), of("STREAM")), (2, 2 * streams));

            // A peer that goes takes its session with it; the next connection has another.
            lab.cut(0);
            lab.run_until("the next connection", |lab| connections(lab) == 3);
            assert_eq!(lab.farewells().len(), 1);
            assert_eq!((lab.router.as_ref().unwrap().sessions.len(), lab.open_connections()), (3, 4));
            // A session that ends takes its peer with it.
            lab.end_sessions();
            lab.run_until("farewells", |lab| lab.farewells().len() == 3);
            let ended = Reason::I2p(SamFailure::SessionEnded);
            assert!(lab.farewells()[1..].iter().all(|(_, reason)| *reason == ended), "{:?}", lab.farewells());
            lab.run_until("the next connections", |lab| connections(lab) == 5);
            assert_eq!(lab.open_connections(), 4);
        }
    }
}

#[test]
fn a_router_of_i2p_that_fails_is_told_by_name() {
    let own = |failure| Reason::I2p(failure);
    let endless: &str = "HELLO REPLY RESULT=OK ".repeat(1000).leak();
    let table = [
        (Some(("HELLO", "HTTP/1.1 400 Bad Request\r\n")), None, own(SamFailure::NotSam)),
        (Some(("HELLO", "HELLO REPLY RESULT=NOVERSION\n")), None, own(SamFailure::NoVersion)),
        (Some(("HELLO", "")), None, Reason::HandshakeTimeout),
        (Some(("HELLO", endless)), None, own(SamFailure::TooLong)),
        (
            Some(("SESSION", "SESSION STATUS RESULT=I2P_ERROR MESSAGE=\"a b\"\n")),
            None,
            own(SamFailure::Router),
        ),
        (Some(("SESSION", "")), None, Reason::HandshakeTimeout),
        (Some(("NAMING", "NAMING REPLY RESULT=KEY_NOT_FOUND NAME=x\n")), None, own(SamFailure::NotFound)),
        (Some(("NAMING", "NAMING REPLY RESULT=OK NAME=x VALUE=x\n")), None, own(SamFailure::NotSam)),
        (Some(("STREAM", "STREAM STATUS RESULT=TIMEOUT\n")), None, own(SamFailure::Expired)),
        (Some(("STREAM", "STREAM STATUS RESULT=INVALID_ID\n")), None, own(SamFailure::InvalidId)),
        (Some(("STREAM", "")), None, Reason::HandshakeTimeout),
        (
            Some(("STREAM", "STREAM STATUS RESULT=OK\njunk")),
            None,
            Reason::Misbehaved(Misbehaviour::WrongNetwork(*b"junk")),
        ),
        (None, Some("HELLO"), own(SamFailure::Closed)),
        (None, Some("SESSION"), own(SamFailure::Closed)),
        (None, Some("NAMING"), own(SamFailure::Closed)),
        (None, Some("STREAM"), own(SamFailure::Closed)),
    ];
    for (instead, hangs_up_at, reason) in table {
        let config = Config { encryption: Encryption::Off, ..config(0) };
        let mut lab = in_i2p(vec![Peer::new(&chain())], config);
        let router = lab.router.as_mut().unwrap();
        (router.instead, router.hangs_up_at) = (instead, hangs_up_at);
        lab.run_until("a farewell", |lab| !lab.farewells().is_empty());
        assert_eq!(lab.farewells()[0].1, reason, "{instead:?} {hangs_up_at:?}");
        assert_eq!(lab.open_connections(), 0, "{instead:?} {hangs_up_at:?}");
        // It recovers as soon as the router does.
        let router = lab.router.as_mut().unwrap();
        (router.instead, router.hangs_up_at) = (None, None);
        lab.sync();
        assert_eq!(lab.open_connections(), 2);
    }

    let mut without = in_i2p(vec![Peer::new(&chain())], config(0));
    without.router = None;
    without.run_until("a farewell", |lab| !lab.farewells().is_empty());
    assert_eq!(without.farewells()[0].1, Reason::I2pUnreachable(Disconnect::Refused));
    let mut down = in_i2p(vec![Peer::new(&chain())], config(0));
    down.peers[0].up = false;
    down.run_until("a farewell", |lab| !lab.farewells().is_empty());
    assert_eq!(down.farewells()[0].1, own(SamFailure::Unreachable));
    assert_eq!(down.open_connections(), 0);
}

/// Without a router nobody hears of them: no proxy, no server of names.
#[test]
fn without_a_router_nothing_leads_to_i2p() {
    for through in [false, true] {
        let endpoint = Endpoint::Host { name: destination(0), port: 0 };
        let mut lab = given(endpoint.clone(), true, through);
        lab.run_for(Duration::from_secs(600));
        assert!(
            lab.farewells().iter().all(|farewell| *farewell == (endpoint.clone(), Reason::I2pWithoutRouter))
        );
        assert!(!lab.farewells().is_empty() && lab.dialled.is_empty() && lab.resolved.is_empty());
    }
    // A name that only a router's own book could know is not asked for.
    let config = Config {
        peers: vec![Endpoint::Host { name: "node.i2p".into(), port: 0 }],
        i2p: Some(router::address()),
        ..config(0)
    };
    let mut lab = Lab::new(config, Vec::new());
    lab.router = Some(Router::default());
    lab.run_until("a farewell", |lab| !lab.farewells().is_empty());
    assert_eq!(lab.farewells()[0].1, Reason::I2p(SamFailure::UnusableName));
    assert!(lab.resolved.is_empty());
}

#[test]
fn names_in_i2p_have_no_port() {
    let read = |text: &str| Endpoint::parse(text, Network::Bitcoin);
    let name = destination(0);
    let endpoint = Endpoint::Host { name: name.clone(), port: 0 };
    for text in [&name, &format!("{name}:0"), &format!("{name}.")] {
        assert_eq!(read(text), Ok(endpoint.clone()), "{text}");
    }
    assert_eq!(read(&endpoint.to_string()), Ok(endpoint.clone()));
    assert!(endpoint.is_i2p() && read(&name.to_uppercase()).unwrap().is_i2p());
    assert_eq!(read(&format!("{name}:8333")), Err(EndpointError::I2pPort));
    for text in
        ["node.i2p", "i2p", "short.b32.i2p", &name[1..], &format!("a.{name}"), &name.replace(".b32", "")]
    {
        assert_eq!(read(text), Err(EndpointError::I2p), "{text}");
    }
    for text in ["node.i2p.example", "i2pd.example"] {
        assert!(!read(text).unwrap().is_i2p(), "{text}");
    }
}

#[test]
fn nodes_in_i2p_are_found() {
    let host = Host::I2p([2; 32]);
    let networks = AddressNetworks::CLEAR.with(AddressNetwork::I2p);
    let services = ServiceFlags::NETWORK | ServiceFlags::WITNESS | ServiceFlags::COMPACT_FILTERS;
    for (port, expected) in [(0, true), (8333, false)] {
        let mut peers = vec![Peer::new(&chain()), Peer::new(&chain())];
        peers[0].tells = vec![NodeAddress { time: BEGIN as u32 - 3600, services, host, port }];
        let discovery = Discovery { networks, dns_seeds: false, fixed_seeds: false, ..Discovery::default() };
        let given = Endpoint::Address(SocketAddr::from(([60, 0, 3, 4], 30_000)));
        let config = Config {
            peers: vec![given],
            discovery: Some(discovery),
            i2p: Some(router::address()),
            ..config(0)
        };
        let mut lab = Lab::new(config, peers);
        lab.router = Some(Router { names: [(destination(1), 1)].into(), ..Router::default() });
        lab.run_for(Duration::from_secs(600));
        let named = Endpoint::Host { name: destination(1), port: 0 };
        assert_eq!(found(&lab), if expected { vec![named] } else { Vec::new() }, "{port}");
    }
}
