//! What several tests need: real chain data where it lies, and small chains made on the spot.
#![allow(dead_code, reason = "each test uses a part")]
#![allow(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::path::{Path, PathBuf};

use bitcoin::absolute::LockTime;
use bitcoin::block::{Header, Version};
use bitcoin::consensus::{Decodable, deserialize};
use bitcoin::hashes::Hash;
use bitcoin::{
    Amount, Block, BlockHash, CompactTarget, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxMerkleNode,
    TxOut, Witness, transaction,
};

/// The folder of real chain data; `None`, and a line that says so, where there is none.
pub(crate) fn chain_data() -> Option<PathBuf> {
    let folder = match std::env::var_os("ANDON_CHAIN_DATA") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/chain-data"),
    };
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: no chain data");
    None
}

/// A file, decompressed if its name ends so.
pub(crate) fn read(path: &Path) -> Vec<u8> {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    if path.extension().is_none_or(|extension| extension != "xz") {
        return bytes;
    }
    let mut plain = Vec::new();
    lzma_rs::xz_decompress(&mut bytes.as_slice(), &mut plain).unwrap();
    plain
}

/// Blocks that each have their length before them.
pub(crate) fn framed_blocks(path: &Path) -> Vec<Vec<u8>> {
    let bytes = read(path);
    let mut rest = bytes.as_slice();
    let mut blocks = Vec::new();
    while let Some((length, behind)) = rest.split_first_chunk() {
        let (block, behind) = behind.split_at(u32::from_le_bytes(*length) as usize);
        blocks.push(block.to_vec());
        rest = behind;
    }
    assert!(rest.is_empty());
    blocks
}

/// The three runs of real blocks from a genesis block on: their file, and that of their filters.
pub(crate) const RUNS: [(&str, &str); 3] = [
    ("blocks/main-blocks-0-4312.u32le-framed.bin.xz", "filters/main-0-4312-basic-filters.csv.xz"),
    ("blocks/testnet3-blocks-0-4000.u32le-framed.bin.xz", "filters/testnet3-0-4000-basic-filters.csv.xz"),
    ("blocks/signet-blocks-0-120.u32le-framed.bin", "filters/signet-0-120-basic-filters.csv"),
];

/// A large real block, what its inputs spend, in their order, and its filter as Bitcoin Core made it.
pub(crate) struct LargeBlock {
    pub(crate) name: &'static str,
    pub(crate) block: Block,
    pub(crate) spent: Vec<ScriptBuf>,
    pub(crate) filter: Vec<u8>,
}

/// The large real blocks, one after the other; `None`, and a line that says so, where there is no chain data.
pub(crate) fn large_blocks() -> Option<impl Iterator<Item = LargeBlock>> {
    let files = [
        ("main-300025", "blk.xz", "prevout-scripts"),
        ("main-866342", "blk.xz", "prevout-scripts.xz"),
        ("testnet3-1087400", "blk", "prevout-scripts"),
        ("testnet3-928848", "blk.xz", "prevout-scripts.xz"),
    ];
    let folder = chain_data()?.join("blocks/with-prevouts");
    Some(files.into_iter().map(move |(name, block, spent)| {
        let file = |kind: &str| read(&folder.join(format!("{name}.{kind}")));
        LargeBlock {
            name,
            block: decode(&file(block)),
            spent: scripts(&file(spent)),
            filter: file("basicfilter"),
        }
    }))
}

/// Scripts that each have their length before them, as in a transaction.
fn scripts(mut bytes: &[u8]) -> Vec<ScriptBuf> {
    let mut scripts = Vec::new();
    while !bytes.is_empty() {
        scripts.push(ScriptBuf::consensus_decode(&mut bytes).unwrap());
    }
    scripts
}

pub(crate) fn decode(bytes: &[u8]) -> Block {
    deserialize(bytes).unwrap()
}

/// A script that no other number has.
pub(crate) fn script(number: u64) -> ScriptBuf {
    let mut bytes = vec![0, 20];
    bytes.extend_from_slice(&[0; 12]);
    bytes.extend_from_slice(&number.to_be_bytes());
    ScriptBuf::from_bytes(bytes)
}

/// A coinbase that pays `script`, unlike any with another tag.
pub(crate) fn coinbase(tag: u64, script: ScriptBuf) -> Transaction {
    let mut input = TxIn { script_sig: ScriptBuf::from_bytes(tag.to_le_bytes().into()), ..TxIn::default() };
    input.sequence = Sequence::MAX;
    Transaction {
        version: transaction::Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![input],
        output: vec![TxOut { value: Amount::from_sat(5_000_000_000), script_pubkey: script }],
    }
}

/// A transaction that spends one output to `script`.
pub(crate) fn spend(outpoint: OutPoint, script: ScriptBuf) -> Transaction {
    Transaction {
        version: transaction::Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: outpoint,
            script_sig: ScriptBuf::new(),
            sequence: Sequence::MAX,
            witness: Witness::new(),
        }],
        output: vec![TxOut { value: Amount::from_sat(1000), script_pubkey: script }],
    }
}

/// A block of these transactions, with the right merkle root and no proof of work.
pub(crate) fn block(parent: BlockHash, time: u32, transactions: Vec<Transaction>) -> Block {
    let mut block = Block {
        header: Header {
            version: Version::TWO,
            prev_blockhash: parent,
            merkle_root: TxMerkleNode::all_zeros(),
            time,
            bits: CompactTarget::from_consensus(0x207f_ffff),
            nonce: 0,
        },
        txdata: transactions,
    };
    block.header.merkle_root = block.compute_merkle_root().unwrap();
    block
}

/// Seconds since 1970 of the first block of [`blocks`]; each that follows is ten minutes later.
pub(crate) const START: u32 = 1_600_000_000;

/// A branch of `count` blocks after `parent`, from `height` on; branches with other tags differ in each block.
pub(crate) fn branch(parent: BlockHash, height: u32, count: u32, tag: u64) -> Vec<Block> {
    let mut parent = parent;
    (height..height + count)
        .map(|height| {
            let number = tag << 32 | u64::from(height);
            let block = block(parent, START + height * 600, vec![coinbase(number, script(number))]);
            parent = block.block_hash();
            block
        })
        .collect()
}

/// A chain of `count` blocks from a genesis block of its own on.
pub(crate) fn blocks(count: u32) -> Vec<Block> {
    branch(BlockHash::all_zeros(), 0, count, 0)
}
