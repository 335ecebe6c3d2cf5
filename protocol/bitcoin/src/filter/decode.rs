//! Reading a filter, element by element.

use core::fmt;

use super::REMAINDER_BITS;
use crate::wire::Reader;

/// Why bytes are no filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// The number of elements is missing, not in its shortest form, or above 2^25.
    Count,
    /// Whole bytes follow the last element.
    Excess,
    /// It ends before the last element.
    Truncated,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Count => "the filter's number of elements is not well-formed",
            Self::Excess => "the filter goes on after its last element",
            Self::Truncated => "the filter ends before its last element",
        })
    }
}

impl core::error::Error for DecodeError {}

/// The elements of a filter, smallest first.
pub(super) struct Elements<'a> {
    count: u64,
    bits: Bits<'a>,
}

impl<'a> Elements<'a> {
    /// Those that `filter` says it has.
    ///
    /// # Errors
    /// If their number is not well-formed, or more than there are bits for.
    pub(super) fn new(filter: &'a [u8]) -> Result<Self, DecodeError> {
        let mut front = Reader::new(filter);
        let count = front.compact_size().map_err(|_| DecodeError::Count)? as u64;
        let bytes = front.rest();
        // An element takes a bit to end its quotient, and its remainder: what can't be there need not be looked for.
        if count * u64::from(1 + REMAINDER_BITS) > bytes.len() as u64 * 8 {
            return Err(DecodeError::Truncated);
        }
        Ok(Self { count, bits: Bits { bytes, position: 0 } })
    }

    /// How many they are.
    pub(super) const fn count(&self) -> u64 {
        self.count
    }

    /// Shows one after the other, until `show` has seen enough and says false.
    ///
    /// # Errors
    /// If it ends before the last, or goes on behind it.
    #[inline]
    pub(super) fn each(mut self, mut show: impl FnMut(u64) -> bool) -> Result<(), DecodeError> {
        let mut value: u64 = 0;
        for _ in 0..self.count {
            let distance = match self.bits.short_distance() {
                Some(distance) => distance,
                None => self.bits.distance()?,
            };
            // All distances together are fewer than the bits there are, times the size of a remainder: no overflow.
            value = value.wrapping_add(distance);
            if !show(value) {
                return Ok(());
            }
        }
        if self.bits.whole_byte_is_left() { Err(DecodeError::Excess) } else { Ok(()) }
    }
}

/// Bits, the most significant of each byte first.
struct Bits<'a> {
    bytes: &'a [u8],
    /// Of the next bit.
    position: u64,
}

impl Bits<'_> {
    /// The next distance between elements, if it is as short as nearly all are, and does not lie at the end.
    #[inline]
    fn short_distance(&mut self) -> Option<u64> {
        // Of a word that begins with any bit of its first byte, so many bits are known.
        const KNOWN: u32 = u64::BITS - 7;
        let first = (self.position / 8) as usize;
        let word = self.bytes.get(first..first.wrapping_add(size_of::<u64>()))?.first_chunk()?;
        let window = u64::from_be_bytes(*word) << (self.position % 8);
        let quotient = window.leading_ones();
        if quotient >= KNOWN - REMAINDER_BITS {
            return None;
        }
        let remainder = (window << (quotient + 1)) >> (u64::BITS - REMAINDER_BITS);
        self.position += u64::from(quotient + 1 + REMAINDER_BITS);
        Some(u64::from(quotient) << REMAINDER_BITS | remainder)
    }

    /// The next distance, wherever it lies and however long it is.
    #[cold]
    fn distance(&mut self) -> Result<u64, DecodeError> {
        let mut quotient: u64 = 0;
        while self.bit()? {
            quotient += 1;
        }
        let mut remainder = 0;
        for _ in 0..REMAINDER_BITS {
            remainder = remainder << 1 | u64::from(self.bit()?);
        }
        // The quotient is at most the number of bits there are: no slice is long enough to overflow this.
        Ok(quotient << REMAINDER_BITS | remainder)
    }

    fn bit(&mut self) -> Result<bool, DecodeError> {
        let byte = self.bytes.get((self.position / 8) as usize).ok_or(DecodeError::Truncated)?;
        let bit = byte >> (7 - self.position % 8) & 1 == 1;
        self.position += 1;
        Ok(bit)
    }

    /// Whether a byte is left of which no bit was read.
    fn whole_byte_is_left(&self) -> bool {
        self.position + 8 <= self.bytes.len() as u64 * 8
    }
}
