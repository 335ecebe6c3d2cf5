//! Watched scripts, looked for in filters.
//!
//! Decoding a filter of N elements takes about three nanoseconds for each, and hashing a script with the block's key
//! ten or more: so nothing else must take long. Few scripts are sorted by their hashes and met with the elements in one
//! pass. Of many, each sets a bit of a table by its hash, and an element is looked at more closely only where a bit is
//! set: nothing is sorted, and what does not match, nearly all, costs one look at memory that lies in order.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use bitcoin::BlockHash;

use super::decode::{DecodeError, Elements};
use super::siphash::{Keys, Messages};
use super::{keys_of, range_of, reduce};

/// From so many scripts on, a table is cheaper than sorting: what it costs hardly rises with their number.
const MANY: usize = 200;

/// Bits of a table for each value, where that is little memory: an element that is none of the scripts' meets a bit that
/// is set once in so many times, or once in twice as many.
const SPREAD: usize = 64;

/// The same for more values: a second look is cheaper then than memory that the processor does not have near.
const LEAST_SPREAD: usize = 16;

/// Bits that are near: 32 KiB.
const NEAR: usize = 1 << 18;

/// Bits of a table at most.
const MAX_BITS: usize = 1 << 23;

/// Watched scripts, ready to be looked for in filters.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// By their number of words.
    scripts: Vec<Messages>,
    len: usize,
}

/// Memory that one search after the other uses. What is in it is of no concern.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    /// What the scripts map to.
    wanted: Vec<u64>,
    table: Table,
    /// Elements that may be among them.
    suspects: Vec<u64>,
    suspected: Table,
}

impl Scratch {
    /// How much memory it holds.
    pub fn bytes(&self) -> usize {
        let lists = [&self.wanted, &self.table.words, &self.suspects, &self.suspected.words];
        lists.iter().map(|list| list.capacity() * size_of::<u64>()).sum()
    }
}

impl Query {
    /// Looks for any of `scripts`. Duplicates and empty ones do no harm: no filter holds an empty script.
    pub fn new<'a>(scripts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut scripts: Vec<&[u8]> = scripts.into_iter().filter(|script| !script.is_empty()).collect();
        scripts.sort_unstable();
        scripts.dedup();
        let mut by_words: BTreeMap<usize, Messages> = BTreeMap::new();
        for script in &scripts {
            let words = script.len() / 8 + 1;
            by_words.entry(words).or_insert_with(|| Messages::new(words)).push(script);
        }
        Self { scripts: by_words.into_values().collect(), len: scripts.len() }
    }

    /// How many scripts are looked for.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether a block's filter holds one of the scripts. One in 784,931 scripts that it does not hold matches too.
    ///
    /// It is read as far as it takes to know: to the first match, or past the last script. An answer says nothing of
    /// what comes after that.
    ///
    /// # Errors
    /// If `filter` is not the encoding of a set, as far as it was read. The work is bounded by its length, whatever it
    /// claims, and the memory by the number of scripts and its length.
    pub fn matches(
        &self,
        block_hash: &BlockHash,
        filter: &[u8],
        scratch: &mut Scratch,
    ) -> Result<bool, DecodeError> {
        let elements = Elements::new(filter)?;
        let Scratch { wanted, table, .. } = scratch;
        wanted.clear();
        if elements.count() == 0 {
            return by_order(elements, wanted);
        }
        let (keys, range) = (keys_of(block_hash), range_of(elements.count()));
        wanted.reserve(self.len);
        if self.len < MANY {
            self.map(keys, range, |value| wanted.push(value));
            return by_order(elements, wanted);
        }
        table.clear(range, self.len);
        self.map(keys, range, |value| {
            wanted.push(value);
            table.set(value);
        });
        by_table(elements, range, scratch)
    }

    /// Shows what the scripts map to, in no order.
    #[inline]
    fn map(&self, keys: Keys, range: u64, mut show: impl FnMut(u64)) {
        for scripts in &self.scripts {
            scripts.hashes(keys, |hash| show(reduce(hash, range)));
        }
    }
}

fn by_order(elements: Elements<'_>, wanted: &mut [u64]) -> Result<bool, DecodeError> {
    wanted.sort_unstable();
    let mut wanted = wanted.iter().copied();
    let mut next = wanted.next();
    let mut found = false;
    elements.each(|value| {
        while let Some(candidate) = next
            && candidate <= value
        {
            if candidate == value {
                found = true;
                return false;
            }
            next = wanted.next();
        }
        next.is_some()
    })?;
    Ok(found)
}

/// The table has what the scripts map to already.
fn by_table(elements: Elements<'_>, range: u64, scratch: &mut Scratch) -> Result<bool, DecodeError> {
    let Scratch { wanted, table, suspects, suspected } = scratch;
    suspects.clear();
    elements.each(|value| {
        if table.has(value) {
            suspects.push(value);
        }
        true
    })?;
    // They came in order.
    suspected.clear(range, suspects.len());
    suspects.iter().for_each(|value| suspected.set(*value));
    Ok(wanted.iter().any(|value| suspected.has(*value) && suspects.binary_search(value).is_ok()))
}

/// A bit for each range of values of the same length.
#[derive(Clone, Debug, Default)]
struct Table {
    words: Vec<u64>,
    shift: u32,
}

impl Table {
    /// For so many values below `range`: none is set.
    fn clear(&mut self, range: u64, values: usize) {
        let near = values.saturating_mul(SPREAD).min(NEAR);
        let bits = near.max(values.saturating_mul(LEAST_SPREAD)).clamp(64, MAX_BITS).next_power_of_two();
        self.shift = (u64::BITS - range.leading_zeros()).saturating_sub(bits.ilog2());
        self.words.clear();
        self.words.resize(bits / 64, 0);
    }

    #[inline]
    fn set(&mut self, value: u64) {
        let bit = value >> self.shift;
        if let Some(word) = self.words.get_mut((bit / 64) as usize) {
            *word |= 1 << (bit % 64);
        }
    }

    /// Whether a value is set, or one near it. No value at or above `range` is.
    #[inline]
    fn has(&self, value: u64) -> bool {
        let bit = value >> self.shift;
        self.words.get((bit / 64) as usize).is_some_and(|word| word.wrapping_shr(bit as u32) & 1 == 1)
    }
}
