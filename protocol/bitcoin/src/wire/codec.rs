//! The encodings that messages are made of: little-endian numbers, compact sizes, lists of items of one size.

use alloc::vec::Vec;
use core::fmt;
use core::marker::PhantomData;

use bitcoin::block::{Header, Version};
use bitcoin::consensus::encode::Encodable;
use bitcoin::hashes::Hash;
use bitcoin::{BlockHash, CompactTarget, FilterHash, FilterHeader, TxMerkleNode};

/// A message's contents are not what its name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Reads from the front of a slice.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a>(&'a [u8]);

/// The largest count or length that Bitcoin Core reads.
const MAX_COMPACT_SIZE: u64 = 0x0200_0000;

impl<'a> Reader<'a> {
    /// Reads `bytes` from the start.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// What has not been read.
    pub const fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// The next `count` bytes.
    ///
    /// # Errors
    /// As all of these: if there are fewer, or what is there is not well-formed.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    /// The next `N` bytes.
    #[expect(clippy::missing_errors_doc, reason = "as take")]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        Ok(self.take(N)?.try_into().expect("N bytes were taken"))
    }

    /// A byte.
    #[expect(clippy::missing_errors_doc, reason = "as take")]
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.array::<1>()?[0])
    }

    /// A little-endian number.
    #[expect(clippy::missing_errors_doc, reason = "as take")]
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    /// A little-endian number.
    #[expect(clippy::missing_errors_doc, reason = "as take")]
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    /// A compact size, in its shortest form and not above Bitcoin Core's limit.
    #[expect(clippy::missing_errors_doc, reason = "as take")]
    pub fn compact_size(&mut self) -> Result<usize, Malformed> {
        let (value, least) = match self.u8()? {
            0xff => (self.u64()?, 0x1_0000_0000),
            0xfe => (self.u32()?.into(), 0x1_0000),
            0xfd => (u16::from_le_bytes(self.array()?).into(), 0xfd),
            byte => (byte.into(), 0),
        };
        if value < least || value > MAX_COMPACT_SIZE {
            return Err(Malformed);
        }
        Ok(value as usize)
    }

    /// A value of fixed size.
    #[expect(clippy::missing_errors_doc, reason = "as take")]
    pub fn item<T: Item>(&mut self) -> Result<T, Malformed> {
        T::read(self.take(T::SIZE)?)
    }

    /// A counted list of values of fixed size: checked whole, read later.
    #[expect(clippy::missing_errors_doc, reason = "as take")]
    pub fn items<T: Item>(&mut self) -> Result<Items<'a, T>, Malformed> {
        let count = self.compact_size()?;
        // At most 2^25 items of less than 2^7 bytes: no overflow, and nothing is allocated.
        let bytes = self.take(count * T::SIZE)?;
        for chunk in bytes.chunks_exact(T::SIZE) {
            T::check(chunk)?;
        }
        Ok(Items(Repr::Wire(bytes, PhantomData)))
    }
}

/// Appends a compact size.
pub fn write_compact_size(out: &mut Vec<u8>, value: u64) {
    match value {
        0..=0xfc => out.push(value as u8),
        0xfd..=0xffff => {
            out.push(0xfd);
            out.extend_from_slice(&(value as u16).to_le_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            out.push(0xfe);
            out.extend_from_slice(&(value as u32).to_le_bytes());
        }
        _ => {
            out.push(0xff);
            out.extend_from_slice(&value.to_le_bytes());
        }
    }
}

/// A value of one size on the wire.
pub trait Item: Clone {
    /// Bytes.
    const SIZE: usize;

    /// From exactly [`SIZE`](Self::SIZE) bytes.
    ///
    /// # Errors
    /// If no value is written so.
    fn read(bytes: &[u8]) -> Result<Self, Malformed>;

    /// Appends exactly [`SIZE`](Self::SIZE) bytes.
    fn write(&self, out: &mut Vec<u8>);

    /// Whether [`read`](Self::read) would succeed, for less work.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    fn check(_bytes: &[u8]) -> Result<(), Malformed> {
        Ok(())
    }
}

macro_rules! hash_item {
    ($($hash:ty),*) => {$(
        impl Item for $hash {
            const SIZE: usize = 32;

            fn read(bytes: &[u8]) -> Result<Self, Malformed> {
                Self::from_slice(bytes).map_err(|_| Malformed)
            }

            fn write(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(self.as_byte_array());
            }
        }
    )*};
}

hash_item!(BlockHash, FilterHash, FilterHeader);

/// A block header as `headers` has it: 80 bytes, and a count of transactions that is always zero.
impl Item for Header {
    const SIZE: usize = 81;

    #[inline]
    fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        Self::check(bytes)?;
        // By hand: the general decoder, which reads from any source, takes a third of the time that the hashing takes.
        let mut reader = Reader::new(bytes);
        Ok(Self {
            version: Version::from_consensus(i32::from_le_bytes(reader.array()?)),
            prev_blockhash: BlockHash::from_byte_array(reader.array()?),
            merkle_root: TxMerkleNode::from_byte_array(reader.array()?),
            time: u32::from_le_bytes(reader.array()?),
            bits: CompactTarget::from_consensus(u32::from_le_bytes(reader.array()?)),
            nonce: u32::from_le_bytes(reader.array()?),
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        self.consensus_encode(out).expect("writing to memory succeeds");
        out.push(0);
    }

    fn check(bytes: &[u8]) -> Result<(), Malformed> {
        if bytes[80] == 0 { Ok(()) } else { Err(Malformed) }
    }
}

/// A list: as it came, or as it is to be sent.
pub struct Items<'a, T>(Repr<'a, T>);

enum Repr<'a, T> {
    Wire(&'a [u8], PhantomData<T>),
    Values(&'a [T]),
}

impl<'a, T: Item> Items<'a, T> {
    /// How many.
    pub fn len(&self) -> usize {
        match &self.0 {
            Repr::Wire(bytes, _) => bytes.len() / T::SIZE,
            Repr::Values(values) => values.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The item at `index`, if there are as many.
    pub fn at(&self, index: usize) -> Option<T> {
        match &self.0 {
            Repr::Wire(bytes, _) => {
                let start = index.checked_mul(T::SIZE)?;
                let bytes = bytes.get(start..start.checked_add(T::SIZE)?)?;
                Some(T::read(bytes).unwrap_or_else(|_| unreachable!("each item was checked")))
            }
            Repr::Values(values) => values.get(index).cloned(),
        }
    }

    /// In order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = T> {
        (0..self.len()).map(|index| self.at(index).expect("the index is below the length"))
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        write_compact_size(out, self.len() as u64);
        match &self.0 {
            Repr::Wire(bytes, _) => out.extend_from_slice(bytes),
            Repr::Values(values) => values.iter().for_each(|value| value.write(out)),
        }
    }
}

impl Items<'_, Header> {
    /// Each header with its hash, in order. Of bytes that came it is the hash of those bytes: nothing is encoded again.
    pub fn hashed(&self) -> impl Iterator<Item = (Header, BlockHash)> {
        const SIZE: usize = <Header as Item>::SIZE;
        let (wire, values) = match self.0 {
            Repr::Wire(bytes, _) => (bytes, &[][..]),
            Repr::Values(values) => (&[][..], values),
        };
        let wire = wire.as_chunks::<SIZE>().0.iter().map(|bytes| {
            let header = Header::read(bytes).unwrap_or_else(|_| unreachable!("each item was checked"));
            (header, BlockHash::hash(&bytes[..Header::SIZE]))
        });
        wire.chain(values.iter().map(|header| (*header, header.block_hash())))
    }
}

impl<'a, T> From<&'a [T]> for Items<'a, T> {
    fn from(values: &'a [T]) -> Self {
        Self(Repr::Values(values))
    }
}

impl<T> Clone for Items<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Items<'_, T> {}

impl<T> Clone for Repr<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Repr<'_, T> {}

impl<T: Item + PartialEq> PartialEq for Items<'_, T> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<T: Item + fmt::Debug> fmt::Debug for Items<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
