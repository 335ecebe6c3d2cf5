//! Where in the tables an address has its places: by a secret, so that nobody outside can aim at one.
//!
//! The computation is Bitcoin Core's, bit for bit, so that real tables can be held against it: SHA-256 twice, over the
//! secret and what follows, of which the first eight bytes count.

use bitcoin::hashes::{Hash, HashEngine, sha256d, siphash24};

use super::group::Group;
use super::limits::{
    BUCKET_SIZE, NEW_BUCKETS, NEW_BUCKETS_PER_SOURCE_GROUP, TRIED_BUCKETS, TRIED_BUCKETS_PER_GROUP,
};
use super::location::Location;
use crate::wire::Host;

/// A place in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell(u16);

impl Cell {
    /// The cell in a bucket.
    ///
    /// # Panics
    /// If a table has no such cell.
    pub const fn new(bucket: u16, position: u16) -> Self {
        assert!(bucket < NEW_BUCKETS && position < BUCKET_SIZE, "a cell lies in a table");
        Self(bucket * BUCKET_SIZE + position)
    }

    /// The number of its bucket.
    pub const fn bucket(self) -> u16 {
        self.0 / BUCKET_SIZE
    }

    /// Its place in the bucket.
    pub const fn position(self) -> u16 {
        self.0 % BUCKET_SIZE
    }

    pub(super) const fn number(self) -> u16 {
        self.0
    }

    /// Every number is a cell of the larger table.
    pub(super) const fn from_number(number: u16) -> Self {
        Self(number)
    }
}

const _: () = assert!(NEW_BUCKETS as u32 * BUCKET_SIZE as u32 == 1 << 16 && TRIED_BUCKETS <= NEW_BUCKETS);

/// The secret that decides on places.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    salt: [u8; 32],
}

impl Placement {
    /// With a secret of 32 random bytes.
    pub const fn new(salt: [u8; 32]) -> Self {
        Self { salt }
    }

    pub(super) const fn salt(&self) -> &[u8; 32] {
        &self.salt
    }

    /// The place of an address among those that were reached: one.
    pub fn tried(&self, location: &Location, group: &Group) -> Cell {
        let key = Key::of(location);
        let share = self.hash().item(key.as_bytes()).end() % TRIED_BUCKETS_PER_GROUP;
        let bucket = self.hash().item(group.as_bytes()).bytes(&share.to_le_bytes()).end();
        let bucket = (bucket % u64::from(TRIED_BUCKETS)) as u16;
        Cell::new(bucket, self.position(b'K', bucket, &key))
    }

    /// The place of an address of that group among those that were heard of, from a source of this group: one for each
    /// of [`NEW_BUCKETS_PER_SOURCE_GROUP`] groups of addresses that have other remainders.
    pub fn new_from(&self, location: &Location, group: &Group, source: &Group) -> Cell {
        let share = self.hash().item(group.as_bytes()).item(source.as_bytes()).end();
        let share = share % NEW_BUCKETS_PER_SOURCE_GROUP;
        let bucket = self.hash().item(source.as_bytes()).bytes(&share.to_le_bytes()).end();
        self.new_in((bucket % u64::from(NEW_BUCKETS)) as u16, location)
    }

    /// The place of an address in a bucket of those that were heard of.
    pub(super) fn new_in(&self, bucket: u16, location: &Location) -> Cell {
        Cell::new(bucket, self.position(b'N', bucket, &Key::of(location)))
    }

    /// A number by which an address is found.
    pub(super) fn fingerprint(&self, location: &Location) -> u64 {
        let half = |at: usize| u64::from_le_bytes(self.salt[at..at + 8].try_into().expect("eight bytes"));
        // Another part of the secret than any that is hashed with a key of its own: it is never shown.
        let mut engine = siphash24::HashEngine::with_keys(half(0) ^ half(16), half(8) ^ half(24));
        engine.input(&[location.host_number()]);
        engine.input(Key::of(location).as_bytes());
        siphash24::Hash::from_engine_to_u64(engine)
    }

    fn position(&self, table: u8, bucket: u16, key: &Key) -> u16 {
        let hash = self.hash().bytes(&[table]).bytes(&u32::from(bucket).to_le_bytes()).item(key.as_bytes());
        (hash.end() % u64::from(BUCKET_SIZE)) as u16
    }

    fn hash(&self) -> Hasher {
        let mut engine = sha256d::Hash::engine();
        engine.input(&self.salt);
        Hasher(engine)
    }
}

impl core::fmt::Debug for Placement {
    /// Shows nothing of the secret.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Placement")
    }
}

struct Hasher(<sha256d::Hash as Hash>::Engine);

impl Hasher {
    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.input(bytes);
        self
    }

    /// With the length in front; all that is hashed here is short.
    fn item(self, bytes: &[u8]) -> Self {
        self.bytes(&[bytes.len() as u8]).bytes(bytes)
    }

    fn end(self) -> u64 {
        let hash = sha256d::Hash::from_engine(self.0);
        u64::from_le_bytes(*hash.as_byte_array().first_chunk().expect("a hash has 32 bytes"))
    }
}

/// An address as it is hashed: 16 or 32 bytes, IPv4 as what it is mapped to in IPv6, and the port.
struct Key {
    bytes: [u8; 34],
    length: usize,
}

impl Key {
    fn of(location: &Location) -> Self {
        let mut key = Self { bytes: [0; 34], length: 0 };
        match &location.host {
            Host::Ip(core::net::IpAddr::V4(ip)) => key.push(&ip.to_ipv6_mapped().octets()),
            Host::Ip(core::net::IpAddr::V6(ip)) | Host::Cjdns(ip) => key.push(&ip.octets()),
            Host::TorV3(bytes) | Host::I2p(bytes) => key.push(bytes),
        }
        key.push(&location.port.to_be_bytes());
        key
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.length..self.length + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Location {
    /// Of the network, as BIP155 numbers them: a key that is 32 bytes long may be of either of two.
    pub(super) const fn host_number(&self) -> u8 {
        match self.host {
            Host::Ip(core::net::IpAddr::V4(_)) => 1,
            Host::Ip(core::net::IpAddr::V6(_)) => 2,
            Host::TorV3(_) => 4,
            Host::I2p(_) => 5,
            Host::Cjdns(_) => 6,
        }
    }
}
