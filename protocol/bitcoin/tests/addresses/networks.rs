//! Which addresses can be reached, and which are one group: the ranges that Bitcoin Core leaves out and puts together.

use std::net::{IpAddr, Ipv6Addr};

use andon_bitcoin::addresses::{AddressNetwork, AddressNetworks, Grouping, Source, is_routable};
use andon_bitcoin::wire::Host;

fn ip(text: &str) -> Host {
    Host::Ip(text.parse::<IpAddr>().unwrap())
}

#[test]
fn addresses_that_can_be_reached() {
    let rows = [
        ("8.8.8.8", true),
        ("0.0.0.0", false),
        ("0.1.2.3", false),
        ("1.0.0.0", true),
        ("9.255.255.255", true),
        ("10.0.0.0", false),
        ("10.255.255.255", false),
        ("11.0.0.0", true),
        ("100.63.255.255", true),
        ("100.64.0.0", false),
        ("100.127.255.255", false),
        ("100.128.0.0", true),
        ("126.255.255.255", true),
        ("127.0.0.1", false),
        ("127.255.255.255", false),
        ("128.0.0.0", true),
        ("169.253.255.255", true),
        ("169.254.0.0", false),
        ("169.255.0.0", true),
        ("172.15.255.255", true),
        ("172.16.0.0", false),
        ("172.31.255.255", false),
        ("172.32.0.0", true),
        ("192.0.1.255", true),
        ("192.0.2.1", false),
        ("192.0.3.0", true),
        ("192.167.255.255", true),
        ("192.168.0.0", false),
        ("192.169.0.0", true),
        ("198.17.255.255", true),
        ("198.18.0.0", false),
        ("198.19.255.255", false),
        ("198.20.0.0", true),
        ("198.51.99.255", true),
        ("198.51.100.1", false),
        ("203.0.113.1", false),
        ("203.0.114.0", true),
        ("255.255.255.254", true),
        ("255.255.255.255", false),
        ("2001:4860:4860::8888", true),
        ("::", false),
        ("::1", false),
        ("::2", true),
        ("::ffff:8.8.8.8", false),
        ("::ffff:0:8.8.8.8", true),
        ("64:ff9b::8.8.8.8", true),
        ("2001:db8::1", false),
        ("2001:db9::1", true),
        ("2001::1", true),
        ("2001:10::1", false),
        ("2001:1f:ffff::1", false),
        ("2001:20::1", false),
        ("2001:2f:ffff::1", false),
        ("2001:30::1", true),
        ("2002:808:808::1", true),
        ("fe80::1", false),
        ("fe80:0:0:1::1", true),
        ("fbff::1", true),
        ("fc00::1", false),
        ("fd87:d87e:eb43:1::1", false),
        ("fd6b:88c0:8724::1", false),
        ("fdff::1", false),
        ("fe00::1", true),
    ];
    for (text, routable) in rows {
        assert_eq!(is_routable(&ip(text)), routable, "{text}");
        assert_eq!(AddressNetwork::of(&ip(text)).is_some(), routable, "{text}");
    }
    let cjdns = |text: &str| Host::Cjdns(text.parse::<Ipv6Addr>().unwrap());
    for (host, network) in [
        (ip("8.8.8.8"), Some(AddressNetwork::Ipv4)),
        (ip("2002:808:808::1"), Some(AddressNetwork::Ipv6)),
        (cjdns("fc00::1"), Some(AddressNetwork::Cjdns)),
        (cjdns("fd00::1"), None),
        (cjdns("2001:4860::1"), None),
        (Host::TorV3([7; 32]), Some(AddressNetwork::TorV3)),
        (Host::I2p([7; 32]), Some(AddressNetwork::I2p)),
    ] {
        assert_eq!(AddressNetwork::of(&host), network, "{host:?}");
    }
}

#[test]
fn groups() {
    let grouping = Grouping::by_prefix();
    let rows: [(Host, &[u8]); 20] = [
        (ip("8.8.4.4"), &[1, 8, 8]),
        (ip("8.9.4.4"), &[1, 8, 9]),
        // Whatever else an IPv4 address is written as.
        (ip("64:ff9b::8.8.4.4"), &[1, 8, 8]),
        (ip("::ffff:0:8.8.4.4"), &[1, 8, 8]),
        (ip("2002:808:404:1::1"), &[1, 8, 8]),
        (ip("2001:0:1:2:3:4:f7f7:fbfb"), &[1, 8, 8]),
        (ip("2001:4860:4860::8888"), &[2, 0x20, 0x01, 0x48, 0x60]),
        (ip("2001:470:1f0a::1"), &[2, 0x20, 0x01, 0x04, 0x70, 0x1f]),
        (ip("2001:470:1f1a::1"), &[2, 0x20, 0x01, 0x04, 0x70, 0x1f]),
        (ip("2001:470:2f1a::1"), &[2, 0x20, 0x01, 0x04, 0x70, 0x2f]),
        (ip("2001:471:2f1a::1"), &[2, 0x20, 0x01, 0x04, 0x71]),
        (Host::TorV3([0x5a; 32]), &[3, 0x5f]),
        (Host::I2p([0xa5; 32]), &[4, 0xaf]),
        (Host::Cjdns("fc31:2::1".parse().unwrap()), &[5, 0xfc, 0x3f]),
        (Host::Cjdns("fd31:2::1".parse().unwrap()), &[0]),
        // All that can't be reached is one group.
        (ip("127.0.0.1"), &[0]),
        (ip("192.168.1.1"), &[0]),
        (ip("::1"), &[0]),
        (ip("2001:db8::1"), &[0]),
        (ip("fe80::1"), &[0]),
    ];
    for (host, group) in rows {
        assert_eq!(grouping.of(&host).as_bytes(), group, "{host:?}");
        assert_eq!(grouping.of_source(&Source::Node(host)).as_bytes(), group, "{host:?}");
        assert_eq!(grouping.autonomous_system(&host), None);
    }
    let names: Vec<_> = ["a", "b", ""].map(|name| grouping.of_source(&Source::named(name))).to_vec();
    assert!(names.iter().all(|name| name.as_bytes().len() == 11 && name.as_bytes()[0] == 6));
    assert!(names[0] != names[1] && names[1] != names[2] && names[0] != names[2]);
    // The first ten bytes of the name's hash, as Bitcoin Core takes them.
    assert_eq!(names[2].as_bytes()[1..], [0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb]);
}

#[test]
fn sets_of_networks() {
    let some: AddressNetworks = [AddressNetwork::Cjdns, AddressNetwork::Ipv4].into_iter().collect();
    assert_eq!(some.iter().collect::<Vec<_>>(), [AddressNetwork::Ipv4, AddressNetwork::Cjdns]);
    assert_eq!(AddressNetworks::ALL.iter().collect::<Vec<_>>(), AddressNetwork::ALL);
    assert_eq!(AddressNetworks::CLEAR.iter().collect::<Vec<_>>(), AddressNetwork::ALL[..2]);
    assert_eq!(AddressNetworks::NONE.iter().count(), 0);
    assert_eq!(AddressNetwork::ALL.map(AddressNetwork::is_private), [false, false, true, true, true]);
}
