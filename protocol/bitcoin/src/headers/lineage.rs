//! What the rules must know of a chain to judge its next header: a few numbers, whatever the chain's length.

use andon_kernel::UnixTime;
use bitcoin::block::Header;
use bitcoin::hashes::Hash;
use bitcoin::{BlockHash, CompactTarget, Target, Work};

use super::BlockId;
use super::rules::{HeaderError, PERIOD, Rules};
use crate::wire::Reader;

/// Times whose median the next block's time must exceed.
const MEDIAN_TIMES: usize = 11;

/// A chain as the rules see it: its last header, the eleven last times, how its difficulty came to be, its work.
///
/// It goes on header by header; along a fork it is the fork's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lineage {
    height: u32,
    hash: BlockHash,
    work: Work,
    bits: CompactTarget,
    regular_bits: CompactTarget,
    period_first: PeriodFirst,
    /// Of the last blocks, that of height `h` at `h % 11`.
    times: [u32; MEDIAN_TIMES],
    /// How many of them are known.
    known: u8,
    /// Of the last header's bits, worked out once for a run of headers that share them.
    target: Target,
    proof: Work,
}

/// The first block of a difficulty period, as far as the next period depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PeriodFirst {
    pub(super) time: u32,
    pub(super) bits: CompactTarget,
}

/// Bytes of an encoded [`Lineage`].
const ENCODED: usize = 4 + 32 + 32 + 4 + 4 + 8 + 4 * MEDIAN_TIMES + 1;

impl Lineage {
    /// The chain that ends with the first block of a difficulty period, or with the network's first: `work` is that of all
    /// blocks up to and with it. Of the times below it nothing is known.
    pub fn at_period(header: &Header, height: u32, work: Work) -> Self {
        let target = Target::from_compact(header.bits);
        let mut times = [0; MEDIAN_TIMES];
        times[height as usize % MEDIAN_TIMES] = header.time;
        Self {
            height,
            hash: header.block_hash(),
            work,
            bits: header.bits,
            regular_bits: header.bits,
            period_first: PeriodFirst { time: header.time, bits: header.bits },
            times,
            known: 1,
            target,
            proof: target.to_work(),
        }
    }

    /// The chain that is nothing but a network's first block.
    pub fn genesis(rules: &Rules) -> Self {
        let header = rules.genesis();
        Self::at_period(&header, 0, header.work())
    }

    /// The chain that ends with the last of `headers`, which follow each other and end at `height`, with `work` in all.
    ///
    /// `None`: they do not follow each other, lack their own proof of work, or do not reach down to the first block of
    /// their period. Where they hold fewer than eleven headers, the times below are not known.
    pub fn from_headers(rules: &Rules, headers: &[Header], height: u32, work: Work) -> Option<Self> {
        let from_period = (height % PERIOD) as usize;
        let start = headers.len().checked_sub(from_period + 1)?;
        let linked = headers.windows(2).all(|pair| pair[1].prev_blockhash == pair[0].block_hash());
        let proven = headers.iter().all(|header| {
            rules.claimed_work(header.bits).is_some() && header.target().is_met_by(header.block_hash())
        });
        if !linked || !proven || headers.len() > height as usize + 1 {
            return None;
        }
        let first = headers.get(start)?;
        let mut lineage = Self::at_period(first, height - from_period as u32, first.work());
        for header in &headers[start + 1..] {
            lineage.push(rules, header, header.block_hash());
        }
        lineage.work = work;
        let below = headers.iter().rev().take(MEDIAN_TIMES);
        for (time, at) in below.map(|header| header.time).zip((0..=height).rev()) {
            lineage.times[at as usize % MEDIAN_TIMES] = time;
        }
        lineage.known = headers.len().min(MEDIAN_TIMES) as u8;
        Some(lineage)
    }

    /// Height and hash of the last header.
    pub const fn block(&self) -> BlockId {
        BlockId { height: self.height, hash: self.hash }
    }

    /// Of the last header.
    pub const fn height(&self) -> u32 {
        self.height
    }

    /// Of the last header.
    pub const fn hash(&self) -> &BlockHash {
        &self.hash
    }

    /// Of all blocks up to and with the last.
    pub const fn work(&self) -> Work {
        self.work
    }

    /// Of the last header alone.
    pub const fn proof(&self) -> Work {
        self.proof
    }

    /// The time of the last header.
    pub const fn time(&self) -> u32 {
        self.times[self.height as usize % MEDIAN_TIMES]
    }

    /// The difficulty of the last header.
    pub const fn bits(&self) -> CompactTarget {
        self.bits
    }

    /// The difficulty that the last header passes on within its period.
    pub(super) const fn regular_bits(&self) -> CompactTarget {
        self.regular_bits
    }

    pub(super) const fn period_first(&self) -> &PeriodFirst {
        &self.period_first
    }

    /// The times of the blocks before the last, as far as they are known, latest first.
    pub(super) fn times_below(&self) -> impl Iterator<Item = u32> {
        let below = (0..self.height).rev().take(usize::from(self.known) - 1);
        below.map(|height| self.times[height as usize % MEDIAN_TIMES])
    }

    /// Sets what lies below an entry of a window: the caller has it at hand.
    pub(super) fn with_past(
        mut self,
        regular_bits: CompactTarget,
        period_first: &Header,
        times: impl Iterator<Item = u32>,
    ) -> Self {
        self.regular_bits = regular_bits;
        self.period_first = PeriodFirst { time: period_first.time, bits: period_first.bits };
        self.known = 0;
        for (time, at) in times.take(MEDIAN_TIMES).zip((0..=self.height).rev()) {
            self.times[at as usize % MEDIAN_TIMES] = time;
            self.known += 1;
        }
        self
    }

    /// Whether `time` is above the median time of the last eleven blocks, or of all if there are fewer. `None`: some are
    /// not known.
    pub(super) fn is_above_median(&self, time: u32) -> Option<bool> {
        let count = MEDIAN_TIMES.min(self.height as usize + 1);
        if usize::from(self.known) < count {
            return None;
        }
        // With fewer than eleven blocks the ring is filled from its beginning. It is above the median if it is above the
        // median and all before it in their order: that takes a count, and no sorting.
        let below = self.times[..count].iter().map(|known| usize::from(*known < time)).sum::<usize>();
        Some(below > count / 2)
    }

    /// The target of `bits`, remembered for a run of headers that share them.
    pub(super) fn target_of(&self, bits: CompactTarget) -> Target {
        if bits == self.bits { self.target } else { Target::from_compact(bits) }
    }

    /// Takes the next header if it keeps the rules.
    ///
    /// `proven`: a known block above is known to have it among its ancestors; its time then needs no check where the
    /// times below it are not known.
    ///
    /// # Errors
    /// The rule that it breaks; nothing has changed then.
    pub fn advance(
        &mut self,
        rules: &Rules,
        header: &Header,
        hash: BlockHash,
        now: UnixTime,
        proven: bool,
    ) -> Result<(), HeaderError> {
        rules.check(self, header, &hash, now, proven)?;
        self.push(rules, header, hash);
        Ok(())
    }

    fn push(&mut self, rules: &Rules, header: &Header, hash: BlockHash) {
        let height = self.height + 1;
        if header.bits != self.bits {
            self.bits = header.bits;
            self.target = Target::from_compact(header.bits);
            self.proof = self.target.to_work();
        }
        self.regular_bits = rules.regular_bits(header.bits, height, self.regular_bits);
        if height.is_multiple_of(PERIOD) {
            self.period_first = PeriodFirst { time: header.time, bits: header.bits };
        }
        self.height = height;
        self.hash = hash;
        self.work = self.work + self.proof;
        self.times[height as usize % MEDIAN_TIMES] = header.time;
        self.known = (self.known + 1).min(MEDIAN_TIMES as u8);
    }

    /// As bytes, to be stored.
    pub fn encode(&self) -> [u8; ENCODED] {
        let mut bytes = [0; ENCODED];
        let mut rest = &mut bytes[..];
        let mut put = |part: &[u8]| {
            let (head, tail) = core::mem::take(&mut rest).split_at_mut(part.len());
            head.copy_from_slice(part);
            rest = tail;
        };
        put(&self.height.to_be_bytes());
        put(self.hash.as_byte_array());
        put(&self.work.to_be_bytes());
        put(&self.bits.to_consensus().to_be_bytes());
        put(&self.regular_bits.to_consensus().to_be_bytes());
        put(&self.period_first.time.to_be_bytes());
        put(&self.period_first.bits.to_consensus().to_be_bytes());
        self.times.iter().for_each(|time| put(&time.to_be_bytes()));
        put(&[self.known]);
        bytes
    }

    /// From what [`encode`](Self::encode) gave. `None`: it is none of those.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let number = |reader: &mut Reader<'_>| reader.array().ok().map(u32::from_be_bytes);
        let height = number(&mut reader)?;
        let hash = reader.item().ok()?;
        let work = Work::from_be_bytes(reader.array().ok()?);
        let bits = CompactTarget::from_consensus(number(&mut reader)?);
        let regular_bits = CompactTarget::from_consensus(number(&mut reader)?);
        let time = number(&mut reader)?;
        let period_first = PeriodFirst { time, bits: CompactTarget::from_consensus(number(&mut reader)?) };
        let mut times = [0; MEDIAN_TIMES];
        for time in &mut times {
            *time = number(&mut reader)?;
        }
        let known = reader.u8().ok().filter(|known| (1..=MEDIAN_TIMES as u8).contains(known))?;
        if !reader.rest().is_empty() {
            return None;
        }
        if bits.to_consensus() >> 24 > 32 {
            return None;
        }
        let target = Target::from_compact(bits);
        Some(Self {
            height,
            hash,
            work,
            bits,
            regular_bits,
            period_first,
            times,
            known,
            target,
            proof: (target != Target::ZERO).then(|| target.to_work())?,
        })
    }
}
