//! A running digest of everything that happens, to compare runs by one number.
//!
//! It tells whether two runs are the same; it is no defence against someone who makes runs to collide.

use core::net::{IpAddr, SocketAddr};

use crate::random::mix;

/// A digest of what was absorbed so far, in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Digest(u64);

impl Digest {
    /// Takes in a number.
    pub(crate) const fn absorb(&mut self, number: u64) {
        self.0 = fold(self.0 ^ number ^ LANES[3], LANES[0]);
    }

    /// Takes in bytes and their count.
    pub(crate) fn absorb_bytes(&mut self, bytes: &[u8]) {
        self.absorb(bytes.len() as u64);
        // Four chains beside each other, since each step waits for a multiplication: a filter costs a tenth of what it
        // costs to decode.
        let mut lanes = [self.0, self.0 ^ LANES[1], self.0 ^ LANES[2], self.0 ^ LANES[3]];
        let mut blocks = bytes.chunks_exact(32);
        for block in &mut blocks {
            for (lane, word) in lanes.iter_mut().zip(block.chunks_exact(8)) {
                let word = u64::from_le_bytes(word.try_into().expect("eight bytes"));
                *lane = (*lane ^ word).wrapping_mul(LANES[0]).rotate_left(29);
            }
        }
        let mut words = blocks.remainder().chunks_exact(8);
        for word in &mut words {
            self.absorb(u64::from_le_bytes(word.try_into().expect("eight bytes")));
        }
        if !words.remainder().is_empty() {
            self.absorb(words.remainder().iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)));
        }
        if bytes.len() >= 32 {
            for lane in lanes {
                self.absorb(lane);
            }
        }
    }

    /// Takes in an address with its port.
    pub(crate) fn absorb_address(&mut self, address: SocketAddr) {
        match address.ip() {
            IpAddr::V4(ip) => self.absorb(u64::from(ip.to_bits())),
            IpAddr::V6(ip) => {
                self.absorb((ip.to_bits() >> 64) as u64);
                self.absorb(ip.to_bits() as u64);
            }
        }
        self.absorb(u64::from(address.port()) << 1 | u64::from(address.is_ipv6()));
    }

    /// What it comes to.
    pub(crate) const fn value(self) -> u64 {
        mix(self.0)
    }
}

/// Both halves of a product: each bit of the one depends on each bit of the other, at the price of one multiplication.
const fn fold(a: u64, b: u64) -> u64 {
    let product = a as u128 * b as u128;
    (product as u64) ^ (product >> 64) as u64
}

const LANES: [u64; 4] =
    [0x9e37_79b9_7f4a_7c15, 0xbf58_476d_1ce4_e5b9, 0x94d0_49bb_1331_11eb, 0xd6e8_feb8_6659_fd93];

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: &[u8]) -> u64 {
        let mut digest = Digest::default();
        digest.absorb_bytes(bytes);
        digest.value()
    }

    #[test]
    fn every_byte_and_every_order_counts() {
        let bytes: Vec<u8> = (0..200).collect();
        let mut seen = std::collections::BTreeSet::new();
        for length in 0..=bytes.len() {
            assert!(seen.insert(of(&bytes[..length])));
        }
        for changed in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[changed] ^= 1;
            assert!(seen.insert(of(&bytes)));
        }
        let (mut first, mut second) = (Digest::default(), Digest::default());
        first.absorb(1);
        first.absorb(2);
        second.absorb(2);
        second.absorb(1);
        assert_ne!(first, second);
    }
}
