//! Where the first addresses come from.

use std::collections::BTreeSet;
use std::net::IpAddr;

use andon_bitcoin::addresses::{
    AddressNetwork, AddressNetworks, AsMap, Grouping, MAX_SEED_ANSWER, dns_seeds, fixed_seeds, is_routable,
};
use andon_bitcoin::client::{Endpoint, default_port};
use andon_bitcoin::wire::Host;
use andon_kernel::Rng;
use bitcoin::Network;
use bitcoin::p2p::ServiceFlags;

use super::common;
use super::people::{DAY, NOW, any, at, book};

const NETWORKS: [(Network, usize, usize); 5] = [
    (Network::Bitcoin, 7, 343),
    (Network::Testnet, 5, 61),
    (Network::Testnet4, 2, 63),
    (Network::Signet, 2, 63),
    (Network::Regtest, 0, 0),
];

#[test]
fn dns_seeds_are_asked_for_what_they_know() {
    for (network, count, _) in NETWORKS {
        let seeds = dns_seeds(network);
        assert_eq!(seeds.len(), count);
        for seed in seeds {
            let queries = seed.queries();
            assert!(!queries.is_empty(), "{}", seed.name());
            for query in &queries {
                assert!(
                    matches!(Endpoint::parse(&query.host, network), Ok(Endpoint::Host { .. })),
                    "{}",
                    query.host
                );
                assert_eq!(query.host, format!("x{:x}.{}", query.services.to_u64(), seed.name()));
                assert!(query.services.has(ServiceFlags::NETWORK | ServiceFlags::WITNESS));
                assert_eq!(
                    query.source, queries[0].source,
                    "one seed is one source, whatever it was asked for"
                );
                assert!(seed.knows(query.services));
            }
        }
        let sources: BTreeSet<_> = seeds.iter().map(|seed| seed.queries()[0].source).collect();
        assert_eq!(sources.len(), count);
    }
    let hosts = |index: usize| -> Vec<String> {
        dns_seeds(Network::Bitcoin)[index].queries().into_iter().map(|query| query.host).collect()
    };
    assert_eq!(hosts(0), ["x9.dnsseed.bluematt.me."]);
    assert_eq!(hosts(1), ["x9.seed.bitcoin.jonasschnelli.ch."]);
    assert_eq!(hosts(3), ["x849.seed.bitcoin.sprovoost.nl.", "x49.seed.bitcoin.sprovoost.nl."]);
    assert_eq!(hosts(6), ["x849.seed.mainnet.achownodes.xyz.", "x49.seed.mainnet.achownodes.xyz."]);
}

#[test]
fn an_answer_is_taken_in_as_some_days_old_and_in_part_if_it_is_large() {
    let (mut book, mut rng) = (book(1), Rng::new([1; 32]));
    let query = &dns_seeds(Network::Bitcoin)[3].queries()[0];
    let answer: Vec<IpAddr> = (0..2000)
        .map(|index| any(index).socket_addr().unwrap().ip())
        .chain(["127.0.0.1".parse().unwrap()])
        .collect();
    let new = book.add_seed_answer(query, &answer, Network::Bitcoin, at(NOW), &mut rng);
    assert!(new > 200 && new <= MAX_SEED_ANSWER && book.len() == new, "{new}");
    for entry in book.entries() {
        assert_eq!((entry.services, entry.source, entry.location.port), (query.services, query.source, 8333));
        assert!((NOW - 7 * DAY..NOW - 3 * DAY + 1).contains(&entry.time.into()), "{}", entry.time);
    }
    let local = ["10.0.0.1".parse().unwrap(), "::1".parse().unwrap()];
    assert_eq!(book.add_seed_answer(query, &local, Network::Bitcoin, at(NOW), &mut rng), 0);
}

#[test]
fn compiled_in_nodes_are_many_and_apart() {
    for (network, _, count) in NETWORKS {
        let seeds = fixed_seeds(network);
        let different: BTreeSet<_> = seeds.iter().copied().collect();
        assert_eq!((seeds.len(), different.len()), (count, count), "{network}");
        assert!(seeds.iter().all(|seed| is_routable(&seed.host)));
        for seed in &seeds {
            let port = if matches!(seed.host, Host::I2p(_)) { 0 } else { default_port(network) };
            assert_eq!(seed.port, port, "{seed:?}");
        }
    }
    let mainnet = fixed_seeds(Network::Bitcoin);
    let count =
        |network| mainnet.iter().filter(|seed| AddressNetwork::of(&seed.host) == Some(network)).count();
    assert_eq!(AddressNetwork::ALL.map(count), [160, 100, 40, 32, 11]);
    let groups: BTreeSet<_> = mainnet.iter().map(|seed| Grouping::by_prefix().of(&seed.host)).collect();
    assert!(groups.len() > 240, "{} groups", groups.len());

    let (mut book, mut rng) = (book(1), Rng::new([1; 32]));
    let networks = AddressNetworks::NONE.with(AddressNetwork::TorV3).with(AddressNetwork::Ipv4);
    let new = book.add_fixed_seeds(Network::Bitcoin, networks, at(NOW), &mut rng);
    // One source reaches 64 buckets: a few share a place.
    assert!((190..=200).contains(&new), "{new}");
    for entry in book.entries() {
        assert!(networks.contains(AddressNetwork::of(&entry.location.host).unwrap()));
        assert!(
            entry.services.has(ServiceFlags::NETWORK) && !entry.services.has(ServiceFlags::COMPACT_FILTERS)
        );
        assert!((NOW - 14 * DAY..NOW - 7 * DAY + 1).contains(&entry.time.into()));
    }
    assert_eq!(book.add_fixed_seeds(Network::Regtest, networks, at(NOW), &mut rng), 0);
}

/// The compiled-in nodes of IPv4 and of IPv6 are each of an autonomous system of its own.
#[test]
fn compiled_in_nodes_are_in_different_systems() {
    let Some(folder) = common::chain_data() else { return };
    let map = AsMap::new(common::read(&folder.join("p2p/asmap-1764864000.dat.xz"))).unwrap();
    let grouping = Grouping::by_map(map);
    for (network, ..) in NETWORKS {
        let mut seen = BTreeSet::new();
        for seed in fixed_seeds(network) {
            let (Host::Ip(ip), system) = (seed.host, grouping.autonomous_system(&seed.host)) else {
                continue;
            };
            assert!(seen.insert((ip.is_ipv4(), system.unwrap())), "{seed:?} is in a system of another");
        }
    }
}
