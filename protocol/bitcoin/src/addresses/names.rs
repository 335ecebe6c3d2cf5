//! Names of hosts in networks where a name is a key: onion services of Tor and destinations of I2P, both in base 32
//! (RFC 4648) and in letters of either case.

use alloc::string::String;

use sha3::{Digest, Sha3_256};

const LETTERS: [u8; 32] = *b"abcdefghijklmnopqrstuvwxyz234567";

/// The only version of onion services that there is.
const ONION_VERSION: u8 = 3;

/// The name of the onion service (version 3) with this key: 56 letters and digits, two of whose bytes are a checksum, and
/// `.onion`.
pub fn onion_name(key: &[u8; 32]) -> String {
    let [first, second] = onion_checksum(key);
    let mut bytes = [0; 35];
    bytes[..32].copy_from_slice(key);
    bytes[32..].copy_from_slice(&[first, second, ONION_VERSION]);
    encode(&bytes) + ".onion"
}

/// The key of an onion service, from what stands before `.onion`. `None`: no service of version 3 has that name; a mistyped
/// one has another checksum, but for one in 65,536.
pub fn onion_key(label: &str) -> Option<[u8; 32]> {
    let bytes = decode::<35>(label)?;
    let (key, rest) = bytes.split_first_chunk()?;
    let [first, second] = onion_checksum(key);
    (rest == [first, second, ONION_VERSION]).then_some(*key)
}

fn onion_checksum(key: &[u8; 32]) -> [u8; 2] {
    let hash =
        Sha3_256::new().chain_update(b".onion checksum").chain_update(key).chain_update([ONION_VERSION]);
    let hash: [u8; 32] = hash.finalize().into();
    [hash[0], hash[1]]
}

/// The name of the destination of I2P with this hash: 52 letters and digits, without a checksum, and `.b32.i2p`.
pub fn i2p_name(hash: &[u8; 32]) -> String {
    encode(hash) + ".b32.i2p"
}

/// The hash of a destination of I2P, from what stands before `.b32.i2p`. `None`: it is no such name.
pub fn i2p_hash(label: &str) -> Option<[u8; 32]> {
    decode(label)
}

fn encode(bytes: &[u8]) -> String {
    let bit = |place: usize| bytes.get(place / 8).map_or(0, |byte| byte >> (7 - place % 8) & 1);
    let letter = |first: usize| {
        let value = (first..first + 5).fold(0, |value, place| value << 1 | bit(place));
        char::from(LETTERS[usize::from(value)])
    };
    (0..bytes.len() * 8).step_by(5).map(letter).collect()
}

/// So many bytes and no more. The bits that fill the last letter up are zero.
fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != (N * 8).div_ceil(5) {
        return None;
    }
    let mut bytes = [0; N];
    for (place, letter) in text.bytes().enumerate() {
        let value = LETTERS.iter().position(|other| *other == letter.to_ascii_lowercase())?;
        for bit in (0..5).filter(|bit| value >> (4 - bit) & 1 == 1) {
            let place = place * 5 + bit;
            *bytes.get_mut(place / 8)? |= 0x80 >> (place % 8);
        }
    }
    Some(bytes)
}
