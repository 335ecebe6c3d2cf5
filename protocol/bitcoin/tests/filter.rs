//! Filters against BIP158's vectors, real chains, another implementation, and hostile bytes.
#![allow(clippy::unwrap_used, reason = "a test that can not go on has failed")]

mod common;

use std::collections::HashMap;

use andon_bitcoin::filter::{self, DecodeError, MissingPrevout, Query, Scratch};
use andon_kernel::Rng;
use bitcoin::bip158::{BlockFilter, GcsFilterWriter};
use bitcoin::consensus::deserialize;
use bitcoin::hashes::Hash;
use bitcoin::hex::{DisplayHex, FromHex};
use bitcoin::{Block, BlockHash, FilterHeader, OutPoint, ScriptBuf};

use common::{LargeBlock, RUNS, chain_data, decode, framed_blocks, large_blocks, read};

/// Scripts in the order of the inputs that spend them.
fn basic_in_order(block: &Block, scripts: &[ScriptBuf]) -> Vec<u8> {
    let mut scripts = scripts.iter();
    let filter = filter::basic(block, |_| scripts.next()).unwrap();
    assert_eq!(scripts.next(), None);
    filter
}

#[test]
fn equals_the_vectors_of_bip158() {
    let Some(folder) = chain_data() else { return };
    let text = read(&folder.join("vectors/bip-0158/testnet-19.json"));
    let rows: Vec<serde_json::Value> = serde_json::from_slice(&text).unwrap();
    for row in &rows[1..] {
        let hex = |value: &serde_json::Value| Vec::from_hex(value.as_str().unwrap()).unwrap();
        let block: Block = deserialize(&hex(&row[2])).unwrap();
        assert_eq!(block.block_hash().to_string(), row[1].as_str().unwrap());
        let scripts: Vec<_> = row[3].as_array().unwrap().iter().map(|script| hex(script).into()).collect();
        let previous: FilterHeader = row[4].as_str().unwrap().parse().unwrap();
        let filter = basic_in_order(&block, &scripts);
        assert_eq!(filter, hex(&row[5]), "{}", row[7]);
        assert_eq!(filter::header(filter::hash(&filter), previous).to_string(), row[6].as_str().unwrap());
    }
    assert_eq!(rows.len(), 11);
}

#[test]
fn equals_the_filters_of_real_chains() {
    let Some(folder) = chain_data() else { return };
    for (blocks, filters) in RUNS {
        let table = String::from_utf8(read(&folder.join(filters))).unwrap();
        let mut lines = table.lines();
        let names: Vec<&str> = lines.next().unwrap().split(',').collect();
        let column = |name| names.iter().position(|&column| column == name).unwrap();
        let columns = ["block_hash", "filter_hex", "filter_hash", "filter_header"].map(column);

        let mut scripts: HashMap<OutPoint, ScriptBuf> = HashMap::new();
        let mut header = FilterHeader::all_zeros();
        let mut scratch = Scratch::default();
        let blocks = framed_blocks(&folder.join(blocks));
        let count = blocks.len();
        for bytes in blocks {
            let block = decode(&bytes);
            for transaction in &block.txdata {
                let txid = transaction.compute_txid();
                for (number, output) in (0..).zip(&transaction.output) {
                    scripts.insert(OutPoint::new(txid, number), output.script_pubkey.clone());
                }
            }
            let filter = filter::basic(&block, |outpoint| scripts.remove(outpoint)).unwrap();
            let hash = filter::hash(&filter);
            header = filter::header(hash, header);
            let line: Vec<&str> = lines.next().unwrap().split(',').collect();
            let expected = columns.map(|column| line[column]);
            let found = [
                block.block_hash().to_string(),
                filter.to_lower_hex_string(),
                hash.to_string(),
                header.to_string(),
            ];
            assert_eq!(found, expected);

            let own = block.txdata[0].output.iter().map(|output| output.script_pubkey.as_bytes());
            let has_own = own.clone().any(|script| !script.is_empty() && script[0] != 0x6a);
            let matches = Query::new(own).matches(&block.block_hash(), &filter, &mut scratch);
            assert_eq!(matches, Ok(has_own));
        }
        assert_eq!(lines.next(), None);
        println!("{count} filters of {filters} are equal");
    }
}

#[test]
fn equals_the_filters_of_single_large_blocks() {
    let Some(blocks) = large_blocks() else { return };
    for LargeBlock { name, block, spent, filter } in blocks {
        assert!(basic_in_order(&block, &spent) == filter, "{name} differs");

        let hash = block.block_hash();
        let mut scratch = Scratch::default();
        for script in spent.iter().filter(|script| !script.is_empty()).step_by(50) {
            assert_eq!(Query::new([script.as_bytes()]).matches(&hash, &filter, &mut scratch), Ok(true));
        }
    }
}

/// A script that no other number has.
fn element(number: u64) -> Vec<u8> {
    let mut bytes = b"element ".to_vec();
    bytes.extend_from_slice(&number.to_le_bytes()[..1 + number as usize % 8]);
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes
}

#[test]
fn equals_another_implementation_on_random_sets() {
    let mut rng = Rng::new([3; 32]);
    let mut scratch = Scratch::default();
    for round in 0..600 {
        let hash = BlockHash::from_byte_array(rng.bytes());
        let count = if round < 20 { round } else { rng.below(400) };
        let elements: Vec<Vec<u8>> = (0..count).map(|_| element(rng.below(500))).collect();

        let key = |range: std::ops::Range<usize>| {
            u64::from_le_bytes(hash.as_byte_array()[range].try_into().unwrap())
        };
        let mut expected = Vec::new();
        let mut writer = GcsFilterWriter::new(&mut expected, key(0..8), key(8..16), 784_931, 19);
        elements.iter().for_each(|element| writer.add_element(element));
        writer.finish().unwrap();
        let filter = filter::build(&hash, elements.iter().map(Vec::as_slice).chain([[].as_slice()]));
        assert_eq!(filter, expected);

        let model = BlockFilter::new(&filter);
        for watched in [0, 1, 2, 40, 300] {
            // Half of the watched scripts can be in the filter.
            let watched: Vec<Vec<u8>> = (0..watched).map(|_| element(rng.below(500) + 480)).collect();
            let query = Query::new(watched.iter().map(Vec::as_slice));
            let expected =
                !watched.is_empty() && model.match_any(&hash, watched.iter().map(Vec::as_slice)).unwrap();
            assert_eq!(query.matches(&hash, &filter, &mut scratch), Ok(expected));
        }
    }
}

#[test]
fn a_query_leaves_out_duplicates_and_empty_scripts() {
    let query = Query::new([b"a".as_slice(), b"", b"b", b"a"]);
    assert_eq!(query.len(), 2);
    let query = Query::new([[].as_slice()]);
    assert!(query.is_empty());
    let hash = BlockHash::all_zeros();
    let filter = filter::build(&hash, [b"a".as_slice()]);
    assert_eq!(query.matches(&hash, &filter, &mut Scratch::default()), Ok(false));
}

#[test]
fn the_outputs_that_a_filter_leaves_out_are_those_that_bitcoin_core_leaves_out() {
    let outputs = [vec![], vec![0x6a], vec![0x6a, 1, 2], vec![0x51], vec![0x00, 0x6a]];
    let mut coinbase = common::coinbase(0, ScriptBuf::new());
    coinbase.output = outputs
        .iter()
        .map(|script| bitcoin::TxOut { value: bitcoin::Amount::ZERO, script_pubkey: script.clone().into() })
        .collect();
    let outpoint = OutPoint::new(coinbase.compute_txid(), 1);
    let block =
        common::block(BlockHash::all_zeros(), 0, vec![coinbase, common::spend(outpoint, vec![0x51].into())]);
    // A script that is spent counts even where it would not count as an output.
    let filter = filter::basic(&block, |asked| (*asked == outpoint).then_some([0x6a, 9])).unwrap();
    let hash = block.block_hash();
    assert_eq!(filter, filter::build(&hash, [[0x51].as_slice(), &[0x00, 0x6a], &[0x6a, 9]]));
    assert_eq!(filter::basic(&block, |_| None::<ScriptBuf>), Err(MissingPrevout(outpoint)));
}

#[test]
fn hostile_filters_are_errors() {
    let hash = BlockHash::from_byte_array([9; 32]);
    let elements: Vec<Vec<u8>> = (0..300).map(element).collect();
    let query = Query::new(elements.iter().map(Vec::as_slice));
    let filter = filter::build(&hash, elements.iter().map(Vec::as_slice));
    let matches = |filter: &[u8]| query.matches(&hash, filter, &mut Scratch::default());
    assert_eq!(matches(&filter), Ok(true));

    for length in 0..filter.len() {
        let expected = if length < 3 { DecodeError::Count } else { DecodeError::Truncated };
        assert_eq!(matches(&filter[..length]), Err(expected), "cut to {length}");
    }
    for more in [0x00, 0x01, 0xff] {
        assert_eq!(matches(&[filter.as_slice(), &[more]].concat()), Err(DecodeError::Excess));
    }
    for (bytes, expected) in [
        ([0xff; 20].as_slice(), DecodeError::Count),
        (&[0xff, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0], DecodeError::Count),
        (&[0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0], DecodeError::Count),
        (&[0xfe, 0x01, 0x00, 0x00, 0x02, 0, 0, 0], DecodeError::Count),
        (&[0xfe, 0x00, 0x00, 0x00, 0x02, 0, 0, 0], DecodeError::Truncated),
        (&[0xfd, 0xfc, 0x00], DecodeError::Count),
        (&[0x01], DecodeError::Truncated),
        (&[0x01, 0xff, 0xff, 0xff], DecodeError::Truncated),
        (&[0x01, 0, 0], DecodeError::Truncated),
        (&[0x00, 0x00], DecodeError::Excess),
        (&[0x01, 0, 0, 0, 0], DecodeError::Excess),
    ] {
        assert_eq!(matches(bytes), Err(expected), "{bytes:02x?}");
    }
    assert_eq!(matches(&[0x00]), Ok(false));
    assert_eq!(matches(&[0x01, 0, 0, 0]), Ok(false));
}

/// Few scripts and many are looked for in different ways: both find each of them, wherever it stands, and nothing else.
#[test]
fn each_script_is_found_among_any_number_of_others() {
    let hash = BlockHash::from_byte_array([4; 32]);
    for count in [1, 2, 50, 3000] {
        let elements: Vec<Vec<u8>> = (0..count).map(element).collect();
        let filter = filter::build(&hash, elements.iter().map(Vec::as_slice));
        let mut scratch = Scratch::default();
        for others in [0, 1, 100, 198, 199, 200, 5000] {
            let others: Vec<Vec<u8>> = (count..count + others).map(element).collect();
            let without = Query::new(others.iter().map(Vec::as_slice));
            assert_eq!(without.matches(&hash, &filter, &mut scratch), Ok(false), "{count}, {}", others.len());
            for watched in elements.iter().step_by(elements.len().div_ceil(40)) {
                let query = Query::new(others.iter().chain([watched]).map(Vec::as_slice));
                assert_eq!(query.len(), others.len() + 1);
                assert_eq!(
                    query.matches(&hash, &filter, &mut scratch),
                    Ok(true),
                    "{count}, {}",
                    others.len()
                );
            }
        }
    }
}

/// A filter is read as far as it takes to know; what is wrong with the rest is told if it is read.
#[test]
fn what_is_wrong_behind_an_answer_is_not_told() {
    let hash = BlockHash::from_byte_array([4; 32]);
    let elements: Vec<Vec<u8>> = (0..100).map(element).collect();
    let mut filter = filter::build(&hash, elements.iter().map(Vec::as_slice));
    filter.push(0);
    let mut found = 0;
    for watched in &elements {
        let query = Query::new([watched.as_slice()]);
        assert_eq!(query.matches(&hash, &filter, &mut Scratch::default()), Ok(true));
        found += 1;
    }
    assert_eq!(found, 100);
    // So many that one of them maps to more than any element does, as good as certainly.
    let absent: Vec<Vec<u8>> = (1000..2000).map(element).collect();
    let query = Query::new(absent.iter().map(Vec::as_slice));
    assert_eq!(query.matches(&hash, &filter, &mut Scratch::default()), Err(DecodeError::Excess));
}

#[test]
fn the_work_is_bounded_by_the_length() {
    let hash = BlockHash::from_byte_array([5; 32]);
    let query = Query::new([b"script".as_slice()]);
    let mut scratch = Scratch::default();
    let mut ones = vec![0xff; 4_000_000];
    ones[..5].copy_from_slice(&[0xfe, 0x00, 0x10, 0x10, 0x00]);
    assert_eq!(query.matches(&hash, &ones, &mut scratch), Err(DecodeError::Truncated));
    // One distance that takes up everything.
    let last = ones.len() - 1;
    ones[..5].copy_from_slice(&[0x01, 0xff, 0xff, 0xff, 0xff]);
    ones[last - 2..].copy_from_slice(&[0, 0, 0]);
    assert_eq!(query.matches(&hash, &ones, &mut scratch), Ok(false));

    let mut rng = Rng::new([6; 32]);
    for length in 0..2000 {
        let mut bytes = vec![0; length % 100];
        rng.fill(&mut bytes);
        if let Some(first) = bytes.first_mut() {
            *first %= 8;
        }
        let _ = query.matches(&hash, &bytes, &mut scratch);
    }
    assert!(scratch.bytes() <= 64, "memory is taken for what is there, not for what is claimed");
}
