//! Where addresses stand, beside the tables of a real Bitcoin Core that was given 4,000 of them, twice: with and without
//! an AS map. `tests/data/core_addresses_*.txt.xz` has its secret, then for each address in the order in which it was added: port,
//! AS (zero without a map), the table it was meant for, whether that came about, and where it stood in the end.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use andon_bitcoin::addresses::{
    Added, AddressBook, AsMap, Cell, Grouping, Location, Placement, Reached, Source, Table,
};
use andon_bitcoin::wire::NodeAddress;
use andon_kernel::{Rng, UnixTime};
use bitcoin::hex::FromHex;
use bitcoin::p2p::ServiceFlags;

use super::trie::Trie;

const NOW: UnixTime = UnixTime::from_secs(1_750_000_000);

struct Line {
    location: Location,
    system: u32,
    is_for_tried: bool,
    was_accepted: bool,
    stood: Option<(Table, Cell)>,
}

fn read(compressed: &[u8]) -> ([u8; 32], Vec<Line>) {
    let mut text = Vec::new();
    lzma_rs::xz_decompress(&mut &*compressed, &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    let mut lines = text.lines();
    let salt = FromHex::from_hex(lines.next().unwrap()).unwrap();
    let line = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let table = |word: &str| if word == "tried" { Table::Tried } else { Table::New };
        let stood = (words[5] != "-").then(|| {
            let cell = Cell::new(words[6].parse().unwrap(), words[7].parse().unwrap());
            (table(words[5]), cell)
        });
        let ip = IpAddr::from_str(words[0]).unwrap();
        Line {
            location: SocketAddr::new(ip, words[1].parse().unwrap()).into(),
            system: words[2].parse().unwrap(),
            is_for_tried: table(words[3]) == Table::Tried,
            was_accepted: words[4] == "yes",
            stood,
        }
    };
    (salt, lines.map(line).collect())
}

/// Groups addresses as the map did that Core had: a map of just these addresses.
fn grouping(lines: &[Line]) -> Grouping {
    let mut trie = Trie::Unknown;
    for line in lines.iter().filter(|line| line.system > 0) {
        let ip = match line.location.socket_addr().unwrap().ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        trie.insert(ip, 128, line.system);
    }
    match trie {
        Trie::Unknown => Grouping::by_prefix(),
        _ => Grouping::by_map(AsMap::new(trie.encode()).unwrap()),
    }
}

/// Computes each place, and plays the additions, which must give the same tables. Returns how many places agreed.
fn agrees(compressed: &[u8]) -> usize {
    let (salt, lines) = read(compressed);
    let (grouping, placement) = (grouping(&lines), Placement::new(salt));
    let mut book = AddressBook::with_placement(grouping.clone(), placement);
    let mut rng = Rng::new([1; 32]);
    let mut expected = BTreeMap::new();
    for line in &lines {
        let group = grouping.of(&line.location.host);
        assert_eq!(grouping.autonomous_system(&line.location.host).unwrap_or(0), line.system);
        match line.stood {
            Some((Table::New, cell)) => {
                assert_eq!(placement.new_from(&line.location, &group, &group), cell, "{:?}", line.location);
            }
            Some((Table::Tried, cell)) => {
                assert_eq!(placement.tried(&line.location, &group), cell, "{:?}", line.location);
            }
            None => {}
        }
        expected.extend(line.stood.map(|(table, cell)| ((table == Table::Tried, cell), line.location)));

        // The same through the book: each address is its own source.
        let Location { host, port } = line.location;
        let time = NOW.as_secs() as u32;
        let address = NodeAddress { time, services: ServiceFlags::NETWORK, host, port };
        let added = book.add(&address, &Source::Node(host), core::time::Duration::ZERO, NOW, &mut rng);
        let accepted = match added {
            Added::New if line.is_for_tried => book.good(&line.location, NOW) == Reached::Moved,
            Added::New => true,
            Added::Taken => false,
            other => panic!("{other:?} {:?}", line.location),
        };
        assert_eq!(accepted, line.was_accepted, "{:?}", line.location);
    }
    let mut tables = BTreeMap::new();
    for bucket in 0..1024 {
        for position in 0..64 {
            let cell = Cell::new(bucket, position);
            for table in [Table::New, Table::Tried] {
                let entry = book.at(table, cell);
                tables.extend(entry.map(|entry| ((table == Table::Tried, cell), entry.location)));
            }
        }
    }
    assert_eq!(tables, expected);
    tables.len()
}

#[test]
fn places_are_those_of_bitcoin_core() {
    assert_eq!(agrees(include_bytes!("../data/core_addresses_ip.txt.xz")), 3889);
}

#[test]
fn places_are_those_of_bitcoin_core_with_an_as_map() {
    assert_eq!(agrees(include_bytes!("../data/core_addresses_asmap.txt.xz")), 3394);
}
