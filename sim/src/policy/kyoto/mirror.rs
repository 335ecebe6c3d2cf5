//! In which cell of a table of the crate what stands, and which of it is drawn.

use core::hash::{Hash, Hasher};
use core::net::Ipv4Addr;
use std::hash::DefaultHasher;

use andon_kernel::UnixTime;

use super::{Record, Version};
use crate::policy::Address;
use crate::random::Stream;

/// Places in a bucket, in both tables.
const SLOTS: usize = 16;
/// In 0.2 who was dialled within it is passed over.
const MINUTE: u64 = 60;

/// What stands in a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) record: Record,
    pub(super) last_attempt: Option<UnixTime>,
}

/// A table.
#[derive(Debug)]
pub(super) struct Mirror {
    version: Version,
    buckets: Vec<[Option<Held>; SLOTS]>,
    /// Over how many buckets a source is spread.
    width: usize,
}

impl Mirror {
    pub(super) fn new(version: Version, buckets: usize, width: usize) -> Self {
        Self { version, buckets: vec![[None; SLOTS]; buckets], width }
    }

    pub(super) fn add(&mut self, record: Record) -> Option<Address> {
        let cell = self.cell(&record);
        if let Some(held) = cell {
            return Some(held.record.address);
        }
        *cell = Some(Held { record, last_attempt: None });
        None
    }

    pub(super) fn remove(&mut self, record: &Record) {
        *self.cell(record) = None;
    }

    /// Notes a dial of whoever has the place.
    pub(super) fn attempted(&mut self, record: &Record, now: UnixTime) {
        if let Some(held) = self.cell(record) {
            held.last_attempt = Some(now);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held().next().is_none()
    }

    pub(super) fn held(&self) -> impl Iterator<Item = &Held> {
        self.buckets.iter().flatten().flatten()
    }

    /// In how many buckets addresses are of which something is true.
    pub(super) fn buckets(&self, is_wanted: &mut dyn FnMut(Address) -> bool) -> u32 {
        let mut has = |bucket: &[Option<Held>; SLOTS]| {
            bucket.iter().flatten().any(|held| is_wanted(held.record.address))
        };
        self.buckets.iter().filter(|bucket| has(bucket)).count() as u32
    }

    /// A random bucket, or the next that has somebody; in it the first from a random place on.
    ///
    /// So who stands behind a gap is likelier by as many times as it is long.
    pub(super) fn draw(&self, now: UnixTime, stream: &mut Stream) -> Option<Held> {
        let first = stream.index(self.buckets.len());
        let from_first =
            (0..self.buckets.len()).map(|step| &self.buckets[(first + step) % self.buckets.len()]);
        let bucket = from_first.into_iter().find(|bucket| bucket.iter().any(Option::is_some))?;
        let last = stream.index(SLOTS);
        let is_drawn = |held: &&Held| match (self.version, held.last_attempt) {
            (Version::V0_1, _) | (Version::V0_2, None) => true,
            (Version::V0_2, Some(at)) => now.as_secs().saturating_sub(at.as_secs()) > MINUTE,
        };
        let others = (1..SLOTS).filter_map(|step| bucket[(last + step) % SLOTS].as_ref());
        let drawn = others.into_iter().find(is_drawn);
        drawn.or(bucket[last].as_ref()).or_else(|| bucket.iter().flatten().next()).copied()
    }

    fn cell(&mut self, record: &Record) -> &mut Option<Held> {
        let buckets = self.buckets.len();
        let source = hash_source(record.source.into()) as usize % self.width;
        let hash = low_half(&super::super::book::ip(record.address).octets());
        let number = u32::from_le_bytes(hash) as usize;
        let bucket = (source * (buckets / self.width) + number % self.width) % buckets;
        let slot = match self.version {
            Version::V0_1 => number % SLOTS,
            Version::V0_2 => (full_hash(&hash) % SLOTS as u64) as usize,
        };
        &mut self.buckets[bucket][slot]
    }
}

/// What the /16 of a source is told apart by.
pub(super) fn hash_source(source: Ipv4Addr) -> u32 {
    let [first, second, ..] = source.octets();
    u32::from_le_bytes(low_half(&[first, second]))
}

fn low_half<const N: usize>(bytes: &[u8; N]) -> [u8; 4] {
    *full_hash(bytes).to_le_bytes().first_chunk().expect("four of eight bytes")
}

fn full_hash<const N: usize>(bytes: &[u8; N]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}
