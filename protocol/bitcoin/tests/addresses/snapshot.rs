//! A book filled with what a real one has: 75,424 nodes of February 2026, by network, autonomous system, port, services, age and
//! teller. Their addresses are not known: each system has a group of addresses of its own here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use andon_bitcoin::addresses::limits::{NEW_BUCKETS, TRIED_BUCKETS};
use andon_bitcoin::addresses::{
    AddressNetworks, Barred, Grouping, Location, Outbound, Policy, Purpose, Required, Source, Table,
    is_routable,
};
use andon_bitcoin::wire::{Host, NodeAddress};
use andon_kernel::{Instant, Now, Rng, UnixTime};
use bitcoin::p2p::ServiceFlags;

use super::common;
use super::disk::{restore, rows_of};
use super::people::{NOW, at, book};

/// A node of a system: in its /16, or its /32.
#[derive(Default)]
struct Systems {
    groups: BTreeMap<(bool, u32), (u16, u32)>,
    next: u16,
}

impl Systems {
    fn host(&mut self, is_v6: bool, system: u32) -> Host {
        let group = self.groups.entry((is_v6, system)).or_insert_with(|| {
            // The next /16 that can be reached.
            loop {
                self.next += 1;
                let [first, second] = self.next.to_be_bytes();
                if is_v6 || is_routable(&Host::Ip(Ipv4Addr::new(first, second, 1, 1).into())) {
                    return (self.next, 0);
                }
            }
        });
        group.1 += 1;
        let ([first, second], number) = (group.0.to_be_bytes(), group.1);
        Host::Ip(match is_v6 {
            true => {
                let prefix = u128::from(0x2a00_0000 + u32::from(group.0)) << 96;
                IpAddr::V6(Ipv6Addr::from_bits(prefix | u128::from(number)))
            }
            false => Ipv4Addr::new(first, second, (number >> 8) as u8, number as u8).into(),
        })
    }
}

#[test]
fn a_real_book_fits_and_is_chosen_from() {
    let Some(folder) = common::chain_data() else { return };
    let text = common::read(&folder.join("p2p/addrman-2026-02-asn.csv.xz"));
    let text = String::from_utf8(text).unwrap();
    let (mut book, mut rng) = (book(9), Rng::new([3; 32]));
    let (mut systems, mut tellers) = (Systems::default(), BTreeMap::new());
    let (mut lines, mut reached, mut places) = (0, 0, BTreeMap::new());
    for line in text.lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let [network, system, port, services, age, _, tried, teller] = fields[..] else { panic!("{line}") };
        let number = |text: &str| text.parse::<u64>().unwrap_or(0);
        lines += 1;
        let host = systems.host(network == "ipv6", number(system) as u32);
        let services = ServiceFlags::from(number(services));
        let time = (NOW - number(age).min(NOW)) as u32;
        let address = NodeAddress { time, services, host, port: number(port) as u16 };
        let teller = *tellers.entry(teller).or_insert_with(|| systems.host(false, number(teller) as u32));
        book.add(&address, &Source::Node(teller), Duration::ZERO, at(NOW), &mut rng);
        places.insert(Location::from(&address), (network == "ipv6", number(system)));
        if tried == "1" && book.entry(&Location::from(&address)).is_some() {
            book.good(&Location::from(&address), at(NOW - 3600));
            reached += 1;
        }
    }
    assert_eq!(lines, 75_424);
    let (new, tried) =
        (book.count(Table::New, AddressNetworks::ALL), book.count(Table::Tried, AddressNetworks::ALL));
    println!(
        "{lines} nodes of {} systems: {new} stand among the new, {tried} of {reached} among the tried",
        systems.groups.len()
    );
    assert_eq!(new + tried, book.len());
    assert!(new <= usize::from(NEW_BUCKETS) * 64 && tried <= usize::from(TRIED_BUCKETS) * 64);
    // Half of what a real book has comes from few tellers, each of which reaches 64 buckets: not all of it fits.
    assert!(new > 25_000 && tried > reached / 2, "{new} {tried}");
    // No system has more of the tried than its eight buckets.
    let mut shares: BTreeMap<_, usize> = BTreeMap::new();
    for entry in book.entries().filter(|entry| entry.is_tried()) {
        *shares.entry(book.group(&entry.location)).or_default() += 1;
    }
    assert!(shares.values().all(|share| *share <= 8 * 64));

    // Whom a client dials that begins with it, a hundred times: eight of different groups, with filters, encrypted nearly all.
    let (mut encrypted, mut dialled) = (0, BTreeSet::new());
    for _ in 0..100 {
        let mut outbound = Outbound::new(Policy::default(), &[]);
        let now = Now { instant: Instant::ZERO, unix: UnixTime::from_secs(NOW + 7200) };
        let mut chosen = BTreeSet::new();
        while let Some(dial) = outbound.next(&mut book, &Barred::new(), false, now, &mut rng) {
            assert_eq!(dial.purpose, Purpose::Peer);
            assert!(Required::light_client().are_met_by(dial.services), "{dial:?}");
            assert!(chosen.insert(places[&dial.location]), "two of one group: {dial:?}");
            encrypted += u32::from(dial.services.has(ServiceFlags::P2P_V2));
            dialled.insert(dial.location);
        }
        assert_eq!(chosen.len(), 8);
    }
    println!("of 800 dials {encrypted} were of nodes that encrypt, to {} nodes", dialled.len());
    assert!(encrypted > 760 && dialled.len() > 500);

    let rows = rows_of(&mut book);
    let (restored, came, errors) = restore(&rows, Grouping::by_prefix());
    assert_eq!((came.kept, errors.len(), restored.len()), (book.len(), 0, book.len()));
}
