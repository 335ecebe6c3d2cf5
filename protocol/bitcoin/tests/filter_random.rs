//! Filters at random, sound and hostile, against rust-bitcoin's and against a reader that takes one bit at a time.
//!
//! `ANDON_FILTERS` is how many are tried, instead of 4000; `ANDON_FIRST_SEED` the seed of the first.
#![allow(clippy::unwrap_used, reason = "a test that can not go on has failed")]

use andon_bitcoin::filter::{self, DecodeError, Omission, Place, Query, Scratch};
use andon_kernel::Rng;
use bitcoin::bip158::{BlockFilter, GcsFilterWriter};
use bitcoin::block::{Header, Version};
use bitcoin::hashes::{Hash, siphash24};
use bitcoin::{
    Amount, Block, BlockHash, CompactTarget, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxMerkleNode,
    TxOut, Witness, absolute, transaction,
};

/// Golomb and Rice's parameter, and the inverse of the rate of false positives (BIP158).
const P: u32 = 19;
const M: u64 = 784_931;

/// From so many scripts on, a query reads a filter to its end, whatever it finds.
const MANY: usize = 200;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

/// The filter's elements as far as they can be read, and why no further.
struct Reading {
    count: u64,
    elements: Vec<u128>,
    end: Result<(), DecodeError>,
}

/// Reads a filter as BIP158 says it, in the dullest way; strict where it leaves a choice: one form of the count, none above
/// 2^25, none that the bits can't hold, no byte behind the last element.
fn read(filter: &[u8]) -> Reading {
    let refuse = |count, end| Reading { count, elements: Vec::new(), end: Err(end) };
    let Some((first, rest)) = filter.split_first() else { return refuse(0, DecodeError::Count) };
    let width = match first {
        0xfd => 2,
        0xfe => 4,
        0xff => 8,
        _ => 0,
    };
    if rest.len() < width {
        return refuse(0, DecodeError::Count);
    }
    let (digits, rest) = rest.split_at(width);
    let count = match width {
        0 => u64::from(*first),
        _ => digits.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)),
    };
    let least = match width {
        0 => 0,
        2 => 0xfd,
        4 => 0x1_0000,
        _ => 0x1_0000_0000,
    };
    if count < least || count > 1 << 25 {
        return refuse(0, DecodeError::Count);
    }
    let mut bits = rest.iter().flat_map(|byte| (0..8).rev().map(move |place| byte >> place & 1));
    let mut elements: Vec<u128> = Vec::new();
    let mut read = 0;
    if count * u64::from(P + 1) > rest.len() as u64 * 8 {
        return refuse(count, DecodeError::Truncated);
    }
    for _ in 0..count {
        let mut distance: u128 = 0;
        loop {
            let Some(bit) = bits.next() else {
                return Reading { count, elements, end: Err(DecodeError::Truncated) };
            };
            read += 1;
            if bit == 0 {
                break;
            }
            distance += 1;
        }
        for _ in 0..P {
            let Some(bit) = bits.next() else {
                return Reading { count, elements, end: Err(DecodeError::Truncated) };
            };
            read += 1;
            distance = distance << 1 | u128::from(bit);
        }
        elements.push(elements.last().copied().unwrap_or(0) + distance);
    }
    let end = if rest.len() * 8 - read >= 8 { Err(DecodeError::Excess) } else { Ok(()) };
    Reading { count, elements, end }
}

/// What a script is in a filter of so many elements.
fn mapped(hash: &BlockHash, script: &[u8], count: u64) -> u128 {
    let bytes = hash.as_byte_array();
    let key = |start: usize| u64::from_le_bytes(bytes[start..start + 8].try_into().unwrap());
    let value = siphash24::Hash::hash_to_u64_with_keys(key(0), key(8), script);
    (u128::from(value) * u128::from(count * M)) >> 64
}

/// What a query is to say: it reads as far as it takes to know, or, of many scripts, to the end.
fn expected(reading: &Reading, hash: &BlockHash, scripts: &[Vec<u8>]) -> Result<bool, DecodeError> {
    let mut scripts: Vec<&Vec<u8>> = scripts.iter().filter(|script| !script.is_empty()).collect();
    scripts.sort_unstable();
    scripts.dedup();
    let wanted: Vec<u128> = scripts.iter().map(|script| mapped(hash, script, reading.count)).collect();
    let found = wanted.iter().any(|value| reading.elements.binary_search(value).is_ok());
    let Some(last) = reading.elements.last() else { return reading.end.map(|()| false) };
    if scripts.len() < MANY {
        if found {
            return Ok(true);
        }
        if wanted.iter().all(|value| value < last) {
            return Ok(false);
        }
    }
    reading.end.map(|()| found)
}

fn script(rng: &mut Rng) -> Vec<u8> {
    let length = match rng.below(12) {
        0 => rng.below(600) as usize,
        1 => rng.below(9) as usize,
        2 => 0,
        _ => 22 + rng.below(13) as usize,
    };
    let mut script = vec![0; length];
    rng.fill(&mut script);
    script
}

/// What happens to a filter on its way; nothing, half of the time.
fn mangle(rng: &mut Rng, filter: &mut Vec<u8>) -> &'static str {
    let place = |rng: &mut Rng, filter: &[u8]| rng.below(filter.len().max(1) as u64) as usize;
    match rng.below(24) {
        0 => {
            for _ in 0..=rng.below(3) {
                let at = place(rng, filter);
                if let Some(byte) = filter.get_mut(at) {
                    *byte ^= 1 << rng.below(8);
                }
            }
            "changed bits"
        }
        1 => {
            filter.truncate(place(rng, filter));
            "cut"
        }
        2 => {
            let more: Vec<u8> = (0..=rng.below(4)).map(|_| rng.below(256) as u8).collect();
            filter.extend(more);
            "bytes behind"
        }
        3 => {
            // Behind the last element they say nothing.
            if let Some(last) = filter.last_mut() {
                *last |= (1 << rng.below(8)) - 1;
            }
            "bits behind"
        }
        4 => {
            let reading = read(filter);
            let front = count_length(filter);
            let count = match rng.below(6) {
                0 => reading.count.saturating_sub(1),
                1 => reading.count + 1,
                2 => rng.below(1 << 26),
                3 => rng.u64(),
                4 => 1 << 25,
                _ => rng.below(1 << 16),
            };
            let width = [0, 2, 4, 8][rng.below(4) as usize];
            filter.splice(..front, write_count(count, width));
            "another count"
        }
        5 => {
            let at = place(rng, filter);
            let run = vec![[0xff, 0x00][rng.below(2) as usize]; rng.below(40) as usize];
            filter.splice(at..at, run);
            "a run"
        }
        6 => {
            let at = place(rng, filter);
            if at < filter.len() {
                filter.remove(at);
            }
            "a byte less"
        }
        7 => {
            *filter = vec![0; rng.below(120) as usize];
            rng.fill(filter);
            if rng.below(2) == 0
                && let Some(first) = filter.first_mut()
            {
                *first %= 40;
            }
            "anything"
        }
        8 => {
            // A count that fits the bits, and bits that are all ones but for a few.
            let length = rng.below(300) as usize + 10;
            *filter = vec![0xff; length];
            filter[0] = rng.below(length as u64 * 8 / 20 + 2).min(0xfc) as u8;
            for _ in 0..rng.below(30) {
                let at = 1 + rng.below(length as u64 - 1) as usize;
                filter[at] = rng.below(256) as u8;
            }
            "ones"
        }
        9 => {
            let half = place(rng, filter);
            let copy = filter[half..].to_vec();
            filter.extend(copy);
            "its end again"
        }
        _ => "nothing",
    }
}

fn count_length(filter: &[u8]) -> usize {
    let length = match filter.first() {
        Some(0xfd) => 3,
        Some(0xfe) => 5,
        Some(0xff) => 9,
        _ => 1,
    };
    length.min(filter.len())
}

/// A count in so many bytes behind the mark, if it fits; in the next that it fits, else.
fn write_count(count: u64, width: usize) -> Vec<u8> {
    match (width, count) {
        (0, 0..=0xfc) => vec![count as u8],
        (0 | 2, 0..=0xffff) => [&[0xfd], &count.to_le_bytes()[..2]].concat(),
        (0 | 2 | 4, 0..=0xffff_ffff) => [&[0xfe], &count.to_le_bytes()[..4]].concat(),
        _ => [&[0xff], &count.to_le_bytes()[..]].concat(),
    }
}

/// A block that pays these scripts, and nothing else.
fn paying(scripts: &[Vec<u8>]) -> Block {
    let coinbase = Transaction {
        version: transaction::Version::TWO,
        lock_time: absolute::LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::null(),
            script_sig: ScriptBuf::new(),
            sequence: Sequence::MAX,
            witness: Witness::new(),
        }],
        output: scripts
            .iter()
            .map(|script| TxOut { value: Amount::ZERO, script_pubkey: ScriptBuf::from_bytes(script.clone()) })
            .collect(),
    };
    let header = Header {
        version: Version::ONE,
        prev_blockhash: BlockHash::all_zeros(),
        merkle_root: TxMerkleNode::from_raw_hash(coinbase.compute_txid().to_raw_hash()),
        time: scripts.len() as u32,
        bits: CompactTarget::from_consensus(0x207f_ffff),
        nonce: 0,
    };
    Block { header, txdata: vec![coinbase] }
}

#[derive(Debug, Default)]
struct Tally {
    sound: u64,
    hostile_and_sound: u64,
    counts: u64,
    truncated: u64,
    excess: u64,
    answered_before_the_fault: u64,
    matched: u64,
}

fn try_one(seed: u64, scratch: &mut Scratch, tally: &mut Tally) {
    let mut rng = Rng::new([21; 32]).fork_indexed("filter", seed);
    let count = match rng.below(40) {
        0 => rng.below(3000),
        1..=3 => rng.below(3),
        _ => rng.below(80),
    };
    let scripts: Vec<Vec<u8>> = (0..count).map(|_| script(&mut rng)).collect();
    // The block's hash is the filter's key: whatever the block, it is as good as random.
    let block = paying(&scripts);
    let hash = block.block_hash();
    let mut filter = filter::build(&hash, scripts.iter().map(Vec::as_slice));

    let key = |start: usize| u64::from_le_bytes(hash.as_byte_array()[start..start + 8].try_into().unwrap());
    let mut theirs = Vec::new();
    let mut writer = GcsFilterWriter::new(&mut theirs, key(0), key(8), M, P as u8);
    scripts.iter().filter(|script| !script.is_empty()).for_each(|script| writer.add_element(script));
    writer.finish().unwrap();
    assert_eq!(filter, theirs, "seed {seed}: built otherwise");

    let before = filter.clone();
    let what = mangle(&mut rng, &mut filter);
    let reading = read(&filter);
    let is_hostile = filter != before;
    match reading.end {
        Ok(()) if is_hostile => tally.hostile_and_sound += 1,
        Ok(()) => tally.sound += 1,
        Err(DecodeError::Count) => tally.counts += 1,
        Err(DecodeError::Truncated) => tally.truncated += 1,
        Err(_) => tally.excess += 1,
    }
    assert!(is_hostile || reading.end == Ok(()), "seed {seed}: a filter that was built is none");

    for size in [0, 1, 3, 30, MANY - 1, MANY, 350] {
        // Of a few, each can be in the filter; of many, most are not.
        let mut watched: Vec<Vec<u8>> = (0..size)
            .map(|_| match rng.below(30) {
                0 if !scripts.is_empty() => scripts[rng.below(scripts.len() as u64) as usize].clone(),
                _ => script(&mut rng),
            })
            .collect();
        if rng.below(3) == 0 && size > 0 && !scripts.is_empty() {
            watched[0] = scripts[rng.below(scripts.len() as u64) as usize].clone();
        }
        let query = Query::new(watched.iter().map(Vec::as_slice));
        let said = query.matches(&hash, &filter, scratch);
        assert_eq!(said, expected(&reading, &hash, &watched), "seed {seed}: {what}, {size} scripts");
        tally.answered_before_the_fault += u64::from(reading.end.is_err() && said.is_ok());
        tally.matched += u64::from(said == Ok(true));
        // Where there is an answer, theirs is the same. (It says true where nothing is looked for; an empty script is one
        // for it.)
        let sought = || watched.iter().filter(|script| !script.is_empty()).map(Vec::as_slice);
        if let Ok(said) = said
            && sought().next().is_some()
        {
            let theirs = BlockFilter::new(&filter).match_any(&hash, sought());
            assert_eq!(theirs.ok(), Some(said), "seed {seed}: {what}, {size} scripts, rust-bitcoin");
        }
    }
    // The judge reads all of it, and misses what is not in it.
    let first_missing = block.txdata[0].output.iter().position(|output| {
        let script = output.script_pubkey.as_bytes();
        let counts = !script.is_empty() && script[0] != 0x6a;
        counts && reading.elements.binary_search(&mapped(&hash, script, reading.count)).is_err()
    });
    let judged = filter::omission(&block, &filter, |_| None::<ScriptBuf>);
    let place = judged.map(|omission| omission.map(|Omission { place, .. }| place));
    let expected = reading.end.map(|()| first_missing.map(|index| Place::Output(index as u32)));
    assert_eq!(place, expected, "seed {seed}: {what}, judged");
}

#[test]
fn filters_are_read_as_by_others_and_hostile_ones_are_refused() {
    let first = number("ANDON_FIRST_SEED", 0);
    let mut scratch = Scratch::default();
    let mut tally = Tally::default();
    let count = number("ANDON_FILTERS", 4000);
    for seed in first..first + count {
        try_one(seed, &mut scratch, &mut tally);
    }
    println!("{tally:?}");
    let Tally { sound, hostile_and_sound, counts, truncated, excess, answered_before_the_fault, matched } =
        tally;
    if count >= 1000 {
        let kinds = [sound, hostile_and_sound, counts, truncated, excess, answered_before_the_fault, matched];
        assert!(kinds.iter().all(|kind| *kind >= count / 200), "each kind is there: {kinds:?}");
    }
    // What was held for one filter is reused for the next.
    assert!(scratch.bytes() < 100_000, "{} bytes", scratch.bytes());
}
