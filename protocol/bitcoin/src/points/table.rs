//! How the tables are written: facts as other programs print them, read by the compiler. A digit too many or too few
//! does not build.

use alloc::vec;

use bitcoin::block::Header;
use bitcoin::consensus::Decodable;
use bitcoin::hashes::Hash;
use bitcoin::{BlockHash, FilterHeader, Work};

use super::StartPoint;

const HEADER_LEN: usize = 80;
/// Where a header's time begins: after the version, the parent's hash and the merkle root.
const TIME_AT: usize = 4 + 32 + 32;

/// A known block.
pub(super) struct KnownRow {
    height: u32,
    /// As it is printed: the reverse of the order in which it is hashed.
    printed: [u8; 32],
}

impl KnownRow {
    pub(super) fn read(&self) -> (u32, BlockHash) {
        let mut hash = self.printed;
        hash.reverse();
        (self.height, BlockHash::from_byte_array(hash))
    }
}

/// A known filter header.
pub(super) struct FilterHeaderRow {
    height: u32,
    /// As it is printed: the reverse of the order in which it is hashed.
    printed: [u8; 32],
}

impl FilterHeaderRow {
    pub(super) fn read(&self) -> (u32, FilterHeader) {
        let mut header = self.printed;
        header.reverse();
        (self.height, FilterHeader::from_byte_array(header))
    }
}

/// A start point.
pub(super) struct StartRow {
    pub(super) height: u32,
    work: u128,
    header: [u8; HEADER_LEN],
}

impl StartRow {
    /// The time in the header, in seconds since 1970.
    pub(super) fn time(&self) -> u32 {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&self.header[TIME_AT..TIME_AT + 4]);
        u32::from_le_bytes(bytes)
    }

    pub(super) fn read(&self) -> StartPoint {
        let header = Header::consensus_decode(&mut &self.header[..]).expect("any 80 bytes are a header");
        StartPoint { height: self.height, work: work(self.work), headers: vec![header] }
    }
}

/// A block and its hash, as it is printed.
pub(super) const fn block(height: u32, hash: &str) -> KnownRow {
    KnownRow { height, printed: bytes(hash) }
}

/// A block's height and the header of its basic filter, as it is printed.
pub(super) const fn filter_header(height: u32, header: &str) -> FilterHeaderRow {
    FilterHeaderRow { height, printed: bytes(header) }
}

/// A block, the work of the chain up to and with it, and its header.
pub(super) const fn start(height: u32, work: u128, header: &str) -> StartRow {
    StartRow { height, work, header: bytes(header) }
}

/// Work from a number. All work that was ever done has a hundred bits.
pub(super) fn work(number: u128) -> Work {
    let mut bytes = [0; 32];
    bytes[16..].copy_from_slice(&number.to_be_bytes());
    Work::from_be_bytes(bytes)
}

const fn bytes<const LEN: usize>(hex: &str) -> [u8; LEN] {
    let hex = hex.as_bytes();
    assert!(hex.len() == 2 * LEN, "two digits for each byte");
    let mut bytes = [0; LEN];
    let mut at = 0;
    while at < LEN {
        bytes[at] = digit(hex[2 * at]) << 4 | digit(hex[2 * at + 1]);
        at += 1;
    }
    bytes
}

const fn digit(character: u8) -> u8 {
    match character {
        b'0'..=b'9' => character - b'0',
        b'a'..=b'f' => character - b'a' + 10,
        _ => panic!("a digit is one of 0 to 9 and a to f"),
    }
}
