//! AS maps: written here and read back, broken in every way, and a real one.

use std::net::{Ipv6Addr, SocketAddr};

use andon_bitcoin::addresses::{AsMap, AsMapError, Grouping, Location};
use andon_kernel::Rng;

use super::common;
use super::trie::Trie;

fn address(rng: &mut Rng) -> Ipv6Addr {
    Ipv6Addr::from(rng.bytes::<16>())
}

#[test]
fn a_map_says_what_was_written_into_it() {
    let mut rng = Rng::new([1; 32]);
    let mut systems = 0;
    for round in 0..400 {
        let depth = if round % 40 == 0 { 128 } else { 1 + round % 24 };
        let trie = Trie::random(&mut rng, depth);
        let map = AsMap::new(trie.encode()).unwrap_or_else(|error| panic!("{error}: {trie:?}"));
        for _ in 0..200 {
            let address = address(&mut rng);
            let system = trie.lookup(address);
            assert_eq!(map.lookup(address).unwrap_or(0), system, "{address} in {trie:?}");
            systems += usize::from(system > 0);
        }
    }
    assert!(systems > 10_000, "{systems} addresses had a system");
}

#[test]
fn prefixes_end_where_they_end() {
    let mut trie = Trie::Unknown;
    let prefixes = [
        ("2001:db8::", 32, 1),
        ("2001:db8:8000::", 33, 2),
        ("::ffff:1.2.3.0", 120, 3),
        ("::ffff:1.2.3.4", 128, 4),
    ];
    for (prefix, length, system) in prefixes {
        trie.insert(prefix.parse().unwrap(), length, system);
    }
    let map = AsMap::new(trie.encode()).unwrap();
    for (address, system) in [
        ("2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", None),
        ("2001:db8::", Some(1)),
        ("2001:db8:7fff:ffff:ffff:ffff:ffff:ffff", Some(1)),
        ("2001:db8:8000::", Some(2)),
        ("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", Some(2)),
        ("2001:db9::", None),
        ("::ffff:1.2.2.255", None),
        ("::ffff:1.2.3.3", Some(3)),
        ("::ffff:1.2.3.4", Some(4)),
        ("::ffff:1.2.3.5", Some(3)),
        ("::ffff:1.2.4.0", None),
    ] {
        assert_eq!(map.lookup(address.parse().unwrap()), system, "{address}");
    }
    // The same address, in all the ways that it is written into IPv6, is in one system and one group.
    let grouping = Grouping::by_map(map);
    for address in
        ["1.2.3.4", "64:ff9b::1.2.3.4", "::ffff:0:1.2.3.4", "2002:102:304::1", "2001:0:5:6:7:8:fefd:fcfb"]
    {
        let location = Location::from(SocketAddr::new(address.parse().unwrap(), 8333));
        assert_eq!(grouping.autonomous_system(&location.host), Some(4), "{address}");
        assert_eq!(grouping.of(&location.host).as_bytes(), [2, 4, 0, 0, 0], "{address}");
    }
}

/// Bits, as they are written: the first is the lowest of the first byte.
fn program(bits: &str) -> Vec<u8> {
    let bits: Vec<u8> = bits.bytes().filter(|byte| *byte != b' ').map(|byte| byte - b'0').collect();
    bits.chunks(8).map(|bits| bits.iter().rev().fold(0, |byte, bit| byte << 1 | bit)).collect()
}

#[test]
fn what_is_no_map_is_refused() {
    // Instructions: 0 return, 10 jump, 110 match, 111 default; a system 1 is a zero and fifteen zeros.
    const ONE: &str = "0 000000000000000";
    const RETURN: &str = "0 0 000000000000000";
    const DEFAULT: &str = "111 0 000000000000000";
    // A jump over one return: 17 bits.
    const JUMP: &str = "10 0 00000";
    const MATCH_1: &str = "110 0 0";
    let eight = "110 1111111 00000000";
    let rows: [(&str, String, Option<AsMapError>); 16] = [
        ("nothing", String::new(), Some(AsMapError::CutOff)),
        ("a return", RETURN.into(), None),
        ("half of one", "0 0 00000".into(), Some(AsMapError::CutOff)),
        ("a byte more", format!("{RETURN} 00000000 00000000"), Some(AsMapError::Surplus)),
        ("padding that is not zero", format!("{RETURN} 0000001"), Some(AsMapError::Surplus)),
        ("two behind a jump", format!("{JUMP} {RETURN} {RETURN}"), None),
        ("one behind a jump", format!("{JUMP} {RETURN}"), Some(AsMapError::CutOff)),
        ("a jump beyond the end", format!("10 0 11111 {RETURN}"), Some(AsMapError::Jump)),
        (
            "a jump into an instruction",
            format!("{JUMP} {DEFAULT} {MATCH_1} {RETURN}"),
            Some(AsMapError::Jump),
        ),
        ("unreachable", format!("10 0 00001 {RETURN} 0 {RETURN}"), Some(AsMapError::Surplus)),
        ("a match", format!("{MATCH_1} {RETURN}"), None),
        ("two short matches", format!("{MATCH_1} {MATCH_1} {RETURN}"), Some(AsMapError::Wasteful)),
        ("two defaults", format!("{DEFAULT} {DEFAULT} {MATCH_1} {RETURN}"), Some(AsMapError::Wasteful)),
        ("a default for nothing", format!("{DEFAULT} {RETURN}"), Some(AsMapError::Wasteful)),
        ("128 bits", format!("{} {RETURN}", eight.repeat(16)), None),
        ("129 bits", format!("{} {MATCH_1} {RETURN}", eight.repeat(16)), Some(AsMapError::TooDeep)),
    ];
    assert_eq!(RETURN.replace(' ', ""), format!("0{ONE}").replace(' ', ""));
    for (name, bits, error) in rows {
        assert_eq!(AsMap::new(program(&bits)).err(), error, "{name}");
    }
    let large = vec![0; andon_bitcoin::addresses::limits::MAX_AS_MAP + 1];
    assert_eq!(AsMap::new(large).err(), Some(AsMapError::TooLarge));
}

#[test]
fn every_answer_is_one_whatever_the_bytes() {
    let mut rng = Rng::new([2; 32]);
    let mut taken = 0;
    for round in 0..60 {
        let bytes = Trie::random(&mut rng, 4 + round % 8).encode();
        // Each bit changed, each byte cut off.
        for bit in 0..bytes.len().min(200) * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            if let Ok(map) = AsMap::new(changed) {
                taken += 1;
                for _ in 0..4 {
                    map.lookup(address(&mut rng));
                }
            }
        }
        for length in 0..bytes.len() {
            assert!(AsMap::new(&bytes[..length]).is_err());
        }
    }
    assert!(taken > 100, "{taken} changed maps are maps still");
    for _ in 0..20_000 {
        let mut bytes = vec![0; rng.below(40) as usize];
        rng.fill(&mut bytes);
        if let Ok(map) = AsMap::new(bytes) {
            map.lookup(address(&mut rng));
        }
    }
}

/// The nodes that Bitcoin Core 29 began with, and the AS of each as it was known then, beside a map of ten months later.
#[test]
fn a_real_map_knows_real_nodes() {
    let Some(folder) = common::chain_data() else { return };
    let map = common::read(&folder.join("p2p/asmap-1764864000.dat.xz"));
    for length in [1, map.len() / 2, map.len() - 1] {
        assert!(AsMap::new(&map[..length]).is_err());
    }
    let grouping = Grouping::by_map(AsMap::new(map).unwrap());
    let nodes = String::from_utf8(common::read(&folder.join("p2p/nodes_main-2025-02.txt.xz"))).unwrap();
    let (mut nodes_with_system, mut known, mut same) = (0, 0, 0);
    for line in nodes.lines() {
        let Some((address, system)) = line.split_once(" # AS") else { continue };
        let location = Location::from(address.parse::<SocketAddr>().unwrap());
        let ours = grouping.autonomous_system(&location.host);
        nodes_with_system += 1;
        known += u32::from(ours.is_some());
        same += u32::from(ours == Some(system.parse().unwrap()));
        if let Some(ours) = ours {
            let [a, b, c, d] = ours.to_le_bytes();
            assert_eq!(grouping.of(&location.host).as_bytes(), [2, a, b, c, d], "{location:?}");
        }
    }
    println!("{same} of {nodes_with_system} real nodes are in the AS they were in, {known} in some");
    assert_eq!(nodes_with_system, 1024);
    assert!(known >= 1000 && same >= 950, "{same} of {known} in the same system");
}
