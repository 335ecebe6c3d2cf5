//! The bundled chain: what this project computes is what Bitcoin Core computed.
#![allow(clippy::unwrap_used, reason = "a test that can not go on has failed")]

mod common;

use std::collections::BTreeMap;

use andon_bitcoin::filter::{self, Query, Scratch};
use andon_bitcoin::fixture::{self, ExpectedOutput, FixtureBlock};
use andon_bitcoin::server::Chain;
use bitcoin::constants::genesis_block;
use bitcoin::hashes::Hash;
use bitcoin::{BlockHash, FilterHeader, Network, OutPoint, Script, ScriptBuf};

#[test]
fn it_is_what_its_makers_said() {
    let fixture = fixture::regtest();
    assert_eq!(fixture.made_by, "/Satoshi:28.1.0(testnode0)/");
    assert_eq!((fixture.chain.len(), fixture.stale.len(), fixture.fork_height), (290, 7, 280));
    assert_eq!((fixture.watch_scripts.len(), fixture.expected.len()), (20, 76));
    assert_eq!(fixture.chain[0].block(), genesis_block(Network::Regtest));
    let work = fixture.chain.iter().map(|block| block.block().header.work()).reduce(|sum, work| sum + work);
    assert_eq!(work, Some(fixture.chain_work));
    for block in &fixture.chain[1..=120] {
        assert_eq!(block.block().txdata[0].output[0].script_pubkey, *fixture.coinbase_script);
    }

    let mut parent = BlockHash::all_zeros();
    for (block, height) in fixture.chain.iter().zip(0..) {
        assert_eq!((block.height, block.block().header.prev_blockhash), (height, parent));
        assert!(block.block().header.validate_pow(block.block().header.target()).is_ok());
        parent = block.hash();
    }
    parent = fixture.chain[280].hash();
    for (block, height) in fixture.stale.iter().zip(281..) {
        assert_eq!((block.height, block.block().header.prev_blockhash), (height, parent));
        parent = block.hash();
    }
}

#[test]
fn every_filter_and_filter_header_is_the_one_that_bitcoin_core_computed() {
    type Unspent = BTreeMap<OutPoint, ScriptBuf>;
    fn compare(
        blocks: &[FixtureBlock],
        mut unspent: Unspent,
        mut header: FilterHeader,
    ) -> (Unspent, FilterHeader) {
        for expected in blocks {
            let block = expected.block();
            for transaction in &block.txdata {
                let txid = transaction.compute_txid();
                for (number, output) in (0..).zip(&transaction.output) {
                    unspent.insert(OutPoint::new(txid, number), output.script_pubkey.clone());
                }
            }
            let filter = filter::basic(&block, |outpoint| unspent.remove(outpoint)).unwrap();
            header = filter::header(filter::hash(&filter), header);
            assert_eq!(filter, expected.filter, "at height {}", expected.height);
            assert_eq!(header, expected.filter_header, "at height {}", expected.height);
        }
        (unspent, header)
    }
    let fixture = fixture::regtest();
    let (shared, best) = fixture.chain.split_at(fixture.fork_height as usize + 1);
    let (unspent, header) = compare(shared, Unspent::new(), FilterHeader::all_zeros());
    compare(best, unspent.clone(), header);
    compare(&fixture.stale, unspent, header);
}

#[test]
fn a_served_chain_computes_the_same_across_a_reorganisation_and_back() {
    let fixture = fixture::regtest();
    let fork = fixture.fork_height;
    let (shared, best) = fixture.chain.split_at(fork as usize + 1);
    let blocks = |blocks: &[FixtureBlock]| blocks.iter().map(FixtureBlock::block).collect::<Vec<_>>();
    let mut chain = Chain::new(blocks(shared)).unwrap();
    chain.extend(&blocks(&fixture.stale)).unwrap();
    assert_eq!(chain.tip(), fixture.stale[6].hash());
    chain.reorganise(fork, &blocks(best)).unwrap();
    assert_eq!((chain.height(), chain.tip()), (289, fixture.chain[289].hash()));
    for block in fixture.chain.iter().chain(&fixture.stale) {
        assert_eq!(chain.filter_header(&block.hash()), Some(block.filter_header), "{}", block.height);
    }
    // Back on the stale branch, which common blocks make the heavier one.
    let mut longer = blocks(&fixture.stale);
    longer.extend(common::branch(chain_tip(&longer), 288, 3, 9));
    chain.reorganise(fork, &longer).unwrap();
    assert_eq!(chain.height(), 290);
    for block in &fixture.stale {
        assert_eq!(chain.hash_at(block.height), Some(block.hash()));
    }
}

fn chain_tip(blocks: &[bitcoin::Block]) -> BlockHash {
    blocks.last().unwrap().block_hash()
}

#[test]
fn a_search_by_filters_finds_exactly_the_expected_outputs() {
    let fixture = fixture::regtest();
    let query = Query::new(fixture.watch_scripts.iter().map(|script| script.as_bytes()));
    let mut scratch = Scratch::default();
    let mut found = Vec::new();
    for block in &fixture.chain {
        if !query.matches(&block.hash(), block.filter, &mut scratch).unwrap() {
            continue;
        }
        for transaction in &block.block().txdata {
            let txid = transaction.compute_txid();
            for (number, output) in (0..).zip(&transaction.output) {
                let is_watched = |script: &&&Script| ***script == *output.script_pubkey;
                if let Some(&script) = fixture.watch_scripts.iter().find(is_watched) {
                    let outpoint = OutPoint::new(txid, number);
                    found.push(ExpectedOutput {
                        height: block.height,
                        outpoint,
                        script,
                        amount: output.value,
                    });
                }
            }
        }
    }
    let mut expected = fixture.expected;
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
}
