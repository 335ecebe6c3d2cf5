//! Received blocks: every real one passes, and every way to change one is noticed.
#![allow(clippy::unwrap_used, reason = "a test that can not go on has failed")]

mod common;

use andon_bitcoin::block::{BlockError, segwit_height, verify};
use andon_bitcoin::fixture;
use bitcoin::consensus::serialize;
use bitcoin::hashes::Hash;
use bitcoin::{Amount, Block, BlockHash, Network, OutPoint, ScriptBuf, Transaction, TxOut, Witness};

use common::{RUNS, chain_data, decode, framed_blocks, read};

/// Reads a block whose hash is taken from itself.
fn check(bytes: &[u8], segwit: bool) -> Result<Block, BlockError> {
    verify(bytes, &BlockHash::hash(&bytes[..80]), segwit)
}

fn check_block(block: &Block) -> Result<(), BlockError> {
    let bytes = serialize(block);
    check(&bytes, true).map(|read| assert_eq!(serialize(&read), bytes))
}

#[test]
fn the_blocks_of_the_fixture_pass() {
    let fixture = fixture::regtest();
    for block in fixture.chain.iter().chain(&fixture.stale) {
        assert!(block.height >= segwit_height(Network::Regtest));
        let read = verify(block.bytes, &block.hash(), true).unwrap();
        assert_eq!(serialize(&read), block.bytes);
    }
}

#[test]
fn real_blocks_pass() {
    let Some(folder) = chain_data() else { return };
    for ((blocks, _), network) in RUNS.iter().zip([Network::Bitcoin, Network::Testnet, Network::Signet]) {
        for (height, bytes) in (0..).zip(framed_blocks(&folder.join(blocks))) {
            check(&bytes, height >= segwit_height(network)).unwrap();
        }
    }
    for (name, segwit) in [
        ("individual/main-481829-000000000000000000917cba.blk.xz", true),
        ("individual/main-702861-000000000000000000000c83.blk.xz", true),
        ("individual/main-758300-000000000000000000034900.blk", true),
        ("individual/main-830000-000000000000000000011d55.blk.xz", true),
        ("individual/main-938472-000000000000000000006ad5.blk.xz", true),
        ("individual/signet-167179-00000108715c8833bd5f5e62.blk", true),
        ("individual/testnet4-40000-000000000000000c1a1fad82.blk", true),
        ("with-prevouts/main-300025.blk.xz", false),
        ("with-prevouts/main-866342.blk.xz", true),
        ("with-prevouts/testnet3-1087400.blk", true),
        ("with-prevouts/testnet3-928848.blk.xz", true),
    ] {
        let bytes = read(&folder.join("blocks").join(name));
        let block = check(&bytes, segwit).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(serialize(&block), bytes, "{name}");
    }
}

/// A block of the fixture with at least `count` transactions, of which one after the coinbase has a witness.
fn sample(has_length: impl Fn(usize) -> bool) -> Block {
    let fixture = fixture::regtest();
    let mut blocks = fixture.chain.iter().map(|block| block.block());
    blocks
        .find(|block| {
            let witnesses = block.txdata[1..].iter().any(|tx| !tx.input[0].witness.is_empty());
            has_length(block.txdata.len()) && witnesses
        })
        .unwrap()
}

#[test]
fn a_list_made_longer_is_noticed() {
    // 3 hashes have the root of 4 with the last one twice, 6 that of 8 with the last two twice.
    for (length, again) in [(3, 1), (5, 1), (7, 1), (6, 2)] {
        let mut block = common::block(BlockHash::all_zeros(), 0, transactions(length));
        assert_eq!(check_block(&block), Ok(()));
        let root = block.compute_merkle_root();
        block.txdata.extend_from_within(length - again..);
        assert_eq!(block.compute_merkle_root(), root);
        assert_eq!(check_block(&block), Err(BlockError::Mutated), "{length} and {again}");
    }
}

/// A coinbase and others, without witnesses.
fn transactions(count: usize) -> Vec<Transaction> {
    let coinbase = common::coinbase(0, common::script(0));
    let outpoint = OutPoint::new(coinbase.compute_txid(), 0);
    let others = (1..count).map(|number| common::spend(outpoint, common::script(number as u64)));
    std::iter::once(coinbase).chain(others).collect()
}

#[test]
fn changed_transactions_are_noticed() {
    let block = sample(|length| length >= 4);
    assert_eq!(check_block(&block), Ok(()));
    let changed = |change: &dyn Fn(&mut Block)| {
        let mut block = block.clone();
        change(&mut block);
        check_block(&block)
    };
    let wrong = Err(BlockError::WrongMerkleRoot);
    assert_eq!(changed(&|block| block.txdata.swap(1, 2)), wrong);
    assert_eq!(changed(&|block| block.txdata.swap(0, 1)), wrong);
    assert_eq!(changed(&|block| drop(block.txdata.pop())), wrong);
    assert_eq!(changed(&|block| block.txdata[2].output[0].value += Amount::from_sat(1)), wrong);
    assert_eq!(changed(&|block| block.txdata.clear()), Err(BlockError::NoTransactions));
}

#[test]
fn a_changed_witness_is_noticed() {
    let block = sample(|length| length >= 2);
    let changed = |change: &dyn Fn(&mut Block)| {
        let mut block = block.clone();
        change(&mut block);
        assert_eq!(block.compute_merkle_root(), Some(block.header.merkle_root));
        check_block(&block)
    };
    let with_witness = 1 + block.txdata[1..].iter().position(|tx| !tx.input[0].witness.is_empty()).unwrap();
    let strip = |transaction: &mut Transaction| {
        transaction.input.iter_mut().for_each(|input| input.witness.clear());
    };
    let other = Err(BlockError::WrongWitnessCommitment);
    assert_eq!(changed(&|block| block.txdata[with_witness].input[0].witness.push([1])), other);
    assert_eq!(changed(&|block| strip(&mut block.txdata[with_witness])), other);
    assert_eq!(changed(&|block| block.txdata[0].input[0].witness = Witness::from_slice(&[[1; 32]])), other);
    let lacking = Err(BlockError::NoReservedValue);
    assert_eq!(changed(&|block| strip(&mut block.txdata[0])), lacking);
    assert_eq!(changed(&|block| block.txdata.iter_mut().for_each(strip)), lacking);
    assert_eq!(changed(&|block| block.txdata[0].input[0].witness.push([0; 32])), lacking);
    assert_eq!(changed(&|block| block.txdata[0].input[0].witness = Witness::from_slice(&[[0; 31]])), lacking);

    // Before segregated witness is in force a commitment means nothing, and no witness may be there.
    let mut stripped = block.clone();
    stripped.txdata.iter_mut().for_each(strip);
    assert!(check(&serialize(&stripped), false).is_ok());
    assert_eq!(check(&serialize(&block), false), Err(BlockError::UnexpectedWitness));
}

#[test]
fn a_witness_without_a_commitment_is_noticed() {
    let mut transactions = transactions(3);
    transactions[2].input[0].witness.push([1]);
    let block = common::block(BlockHash::all_zeros(), 0, transactions);
    assert_eq!(check_block(&block), Err(BlockError::UnexpectedWitness));
}

#[test]
fn the_last_commitment_counts() {
    let commitment = |block: &Block, reserved: &[u8; 32]| {
        let root = block.witness_root().unwrap();
        let mut script = vec![0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed];
        script.extend(Block::compute_witness_commitment(&root, reserved).to_byte_array());
        // More may follow it.
        script.extend([1, 2, 3]);
        TxOut { value: Amount::ZERO, script_pubkey: ScriptBuf::from_bytes(script) }
    };
    let mut transactions = transactions(4);
    transactions[0].input[0].witness = Witness::from_slice(&[[7; 32]]);
    transactions[3].input[0].witness.push([1]);
    let block = common::block(BlockHash::all_zeros(), 0, transactions);
    let (right, wrong) = (commitment(&block, &[7; 32]), commitment(&block, &[8; 32]));
    let with = |outputs: &[&TxOut]| {
        let mut transactions = block.txdata.clone();
        transactions[0].output.extend(outputs.iter().copied().cloned());
        check_block(&common::block(BlockHash::all_zeros(), 0, transactions))
    };
    assert_eq!(with(&[&right]), Ok(()));
    assert_eq!(with(&[&wrong, &right]), Ok(()));
    assert_eq!(with(&[&right, &wrong]), Err(BlockError::WrongWitnessCommitment));
    let mut short = wrong;
    short.script_pubkey = ScriptBuf::from_bytes(short.script_pubkey.as_bytes()[..37].to_vec());
    assert_eq!(with(&[&right, &short]), Ok(()));
    assert_eq!(with(&[]), Err(BlockError::UnexpectedWitness));
}

#[test]
fn the_coinbase_is_the_first_and_only_the_first() {
    let of = |transactions| check_block(&common::block(BlockHash::all_zeros(), 0, transactions));
    let mut transactions = transactions(3);
    assert_eq!(of(transactions[1..].to_vec()), Err(BlockError::NoCoinbase));
    transactions.push(common::coinbase(1, common::script(1)));
    assert_eq!(of(transactions), Err(BlockError::SecondCoinbase));
}

#[test]
fn inner_hashes_are_no_transactions() {
    // 64 bytes that are two hashes to the merkle tree, and a transaction to a decoder.
    let mut small = common::spend(OutPoint::null(), ScriptBuf::from_bytes(vec![1, 2, 3, 4]));
    small.input[0].previous_output = OutPoint::new(bitcoin::Txid::from_byte_array([5; 32]), 5);
    assert_eq!(serialize(&small).len(), 64);
    let alone = common::block(BlockHash::all_zeros(), 0, vec![small.clone()]);
    assert_eq!(check_block(&alone), Err(BlockError::NoCoinbase));
    // One behind a coinbase is a transaction: the real chain has such blocks.
    let block = common::block(BlockHash::all_zeros(), 0, vec![common::coinbase(0, common::script(0)), small]);
    assert_eq!(check_block(&block), Ok(()));
}

#[test]
fn bytes_that_are_no_block_are_noticed() {
    let block = sample(|length| length >= 2);
    let bytes = serialize(&block);
    let hash = block.block_hash();
    for length in 0..bytes.len() {
        assert_eq!(verify(&bytes[..length], &hash, true), Err(BlockError::Undecodable), "cut to {length}");
    }
    assert_eq!(verify(&[bytes.as_slice(), &[0]].concat(), &hash, true), Err(BlockError::Undecodable));
    let mut other = bytes.clone();
    other[79] ^= 1;
    assert_eq!(verify(&other, &hash, true), Err(BlockError::OtherBlock));
    // A count of transactions that the bytes don't bear out.
    let mut many = bytes[..80].to_vec();
    many.extend([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    assert_eq!(verify(&many, &hash, true), Err(BlockError::Undecodable));
}

#[test]
fn a_block_that_is_too_heavy_is_noticed() {
    let heavy = |bytes| {
        let mut coinbase = common::coinbase(0, common::script(0));
        coinbase.output[0].script_pubkey = ScriptBuf::from_bytes(vec![0; bytes]);
        common::block(BlockHash::all_zeros(), 0, vec![coinbase])
    };
    let overhead = heavy(900_000).weight().to_wu() as usize - 4 * 900_000;
    let most = (4_000_000 - overhead) / 4;
    assert_eq!(check_block(&heavy(most)), Ok(()));
    assert_eq!(check_block(&heavy(most + 1)), Err(BlockError::TooHeavy));
    assert_eq!(check_block(&heavy(4_000_000)), Err(BlockError::TooHeavy));
    assert_eq!(decode(&serialize(&heavy(1))), heavy(1));
}
