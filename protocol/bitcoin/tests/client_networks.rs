//! Networks that not every machine is in, in the laboratory: who is dialled there, which way, and who is not.
#![allow(clippy::unwrap_used, reason = "a test that can not go on has failed")]

mod lab;

use std::net::{Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use andon_bitcoin::addresses::{AddressNetwork, AddressNetworks, onion_key};
use andon_bitcoin::client::{Config, Discovery, Endpoint, Event, PeerPurpose, ProxyLogin, Reason};
use andon_bitcoin::wire::{Host, NodeAddress};
use bitcoin::p2p::ServiceFlags;
use lab::chain::script;
use lab::proxy::{self, Proxy};
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
        // Nothing leads to these.
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
