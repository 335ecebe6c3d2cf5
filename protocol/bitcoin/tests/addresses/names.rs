//! Names that are keys, written and read: onion services with their checksum, and destinations of I2P.

use andon_bitcoin::addresses::{Location, fixed_seeds, i2p_hash, i2p_name, onion_key, onion_name};
use andon_bitcoin::wire::Host;
use bitcoin::Network;

/// Those in Tor's own description of the checksum.
const ONIONS: [&str; 3] = [
    "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd",
    "sp3k262uwy4r2k3ycr5awluarykdpag6a7y33jxop4cs2lu5uz5sseqd",
    "xa4r2iadxm55fbnqgwwi5mymqdcofiu3w6rpbtqn7b2dyn7mgwj64jyd",
];

const LETTERS: &str = "abcdefghijklmnopqrstuvwxyz234567";

#[test]
fn onion_services_have_a_checksum() {
    for name in ONIONS {
        let key = onion_key(name).unwrap();
        assert_eq!(onion_name(&key), format!("{name}.onion"));
        assert_eq!(onion_key(&name.to_uppercase()), Some(key));
        let location = Location { host: Host::TorV3(key), port: 8333 };
        assert_eq!(format!("{location:?}"), format!("{name}.onion:8333"));
        // One letter for another, and two neighbours for each other.
        for place in 0..name.len() {
            let (before, after) = name.split_at(place);
            for letter in LETTERS.chars().filter(|letter| !after.starts_with(*letter)) {
                let mistyped = format!("{before}{letter}{}", &after[1..]);
                assert_eq!(onion_key(&mistyped), None, "{mistyped}");
            }
            let mut swapped = name.as_bytes().to_vec();
            swapped.swap(place, (place + 1) % name.len());
            let swapped = String::from_utf8(swapped).unwrap();
            assert!(swapped == name || onion_key(&swapped).is_none(), "{swapped}");
        }
        let (long, accent) = (format!("{name}a"), name.replacen('a', "é", 1));
        for other in ["", &name[1..], &long, &accent, &name.replacen('a', "1", 1)] {
            assert_eq!(onion_key(other), None, "{other}");
        }
    }
}

/// Dozens of real ones.
#[test]
fn what_is_compiled_in_is_written_as_it_is_read() {
    let (mut onions, mut destinations) = (0, 0);
    for network in [Network::Bitcoin, Network::Testnet, Network::Testnet4, Network::Signet] {
        for seed in fixed_seeds(network) {
            match seed.host {
                Host::TorV3(key) => {
                    onions += 1;
                    assert_eq!(onion_name(&key).strip_suffix(".onion").and_then(onion_key), Some(key));
                }
                Host::I2p(hash) => {
                    destinations += 1;
                    assert_eq!(i2p_name(&hash).strip_suffix(".b32.i2p").and_then(i2p_hash), Some(hash));
                }
                _ => {}
            }
        }
    }
    println!("{onions} onion services, {destinations} destinations of I2P");
    assert!(onions >= 50 && destinations >= 50);
}

#[test]
fn destinations_of_i2p_fill_their_last_letter_up() {
    let hash: [u8; 32] = std::array::from_fn(|place| place as u8);
    let name = i2p_name(&hash);
    // The last byte's lowest bit is the last letter's highest, and four that are zero follow.
    assert_eq!(name, "aaaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbwha5dypq.b32.i2p");
    let label = name.strip_suffix(".b32.i2p").unwrap();
    assert_eq!(i2p_hash(label), Some(hash));
    for last in LETTERS.chars() {
        let other = format!("{}{last}", &label[..51]);
        assert_eq!(i2p_hash(&other).is_some(), matches!(last, 'a' | 'q'), "{other}");
    }
    for other in ["", &label[1..], &format!("{label}a"), &label.replacen('a', "0", 1)] {
        assert_eq!(i2p_hash(other), None, "{other}");
    }
}
