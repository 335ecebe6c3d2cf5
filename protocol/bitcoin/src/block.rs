//! A received block, checked against the header that was asked for: that the transactions are those the header commits
//! to, each whole and in its place.
//!
//! It does not check what only a full node can: scripts, amounts, double spends. The header's proof of work was
//! checked when the header came.

use alloc::vec::Vec;
use core::fmt;

use bitcoin::consensus::{Decodable, deserialize};
use bitcoin::hashes::{Hash, HashEngine, sha256d};
use bitcoin::{Block, BlockHash, Network, Transaction, block::Header};

/// The most that a block may weigh (BIP141).
const MAX_WEIGHT: u64 = 4_000_000;
/// An output script of the coinbase that begins so holds the witness commitment (BIP141).
const COMMITMENT_PREFIX: [u8; 6] = [0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed];
const COMMITMENT_LEN: usize = 38;

/// Reads the payload of a `block` message and checks it against the hash of the header that was asked for.
///
/// `segwit` says whether segregated witness is in force in this block ([`segwit_height`]): then what the coinbase
/// commits to must be there; before, miners wrote commitments that mean nothing, and no witness may be there at all.
/// The block must have been asked for with its witness.
///
/// A transaction of 64 bytes is no error: blocks of the real chain hold some. To pass off two inner hashes of the
/// merkle tree as a transaction (CVE-2017-12842), the first of them would have to read as a coinbase, which takes 224
/// bits of work; so the demand for a coinbase is the protection, as it is in Bitcoin Core.
///
/// # Errors
/// If the bytes are not that block. That is the sender's fault: the header says nothing of it, another peer has it.
pub fn verify(bytes: &[u8], expected: &BlockHash, segwit: bool) -> Result<Block, BlockError> {
    let header = Header::consensus_decode(&mut &*bytes).map_err(|_| BlockError::Undecodable)?;
    if header.block_hash() != *expected {
        return Err(BlockError::OtherBlock);
    }
    // The least that so many bytes can weigh. Most of what is too heavy need not be parsed.
    if bytes.len() as u64 > MAX_WEIGHT {
        return Err(BlockError::TooHeavy);
    }
    let block: Block = deserialize(bytes).map_err(|_| BlockError::Undecodable)?;

    let Some((coinbase, others)) = block.txdata.split_first() else {
        return Err(BlockError::NoTransactions);
    };
    let txids = block.txdata.iter().map(|transaction| transaction.compute_txid().to_byte_array());
    let (root, mutated) = merkle_root(txids.collect());
    if root != header.merkle_root.to_byte_array() {
        return Err(BlockError::WrongMerkleRoot);
    }
    if mutated {
        return Err(BlockError::Mutated);
    }
    if !coinbase.is_coinbase() {
        return Err(BlockError::NoCoinbase);
    }
    if others.iter().any(Transaction::is_coinbase) {
        return Err(BlockError::SecondCoinbase);
    }
    if block.weight().to_wu() > MAX_WEIGHT {
        return Err(BlockError::TooHeavy);
    }
    check_witness(coinbase, others, segwit)?;
    Ok(block)
}

/// The first height at which segregated witness is in force, as Bitcoin Core has it.
pub const fn segwit_height(network: Network) -> u32 {
    match network {
        Network::Bitcoin => 481_824,
        Network::Testnet => 834_624,
        Network::Testnet4 | Network::Signet => 1,
        Network::Regtest => 0,
    }
}

/// Checks that the witness is the one the coinbase commits to, or that there is none.
fn check_witness(coinbase: &Transaction, others: &[Transaction], segwit: bool) -> Result<(), BlockError> {
    let commitment = coinbase.output.iter().rev().find_map(|output| {
        let script = output.script_pubkey.as_bytes();
        if script.len() < COMMITMENT_LEN || !script.starts_with(&COMMITMENT_PREFIX) {
            return None;
        }
        Some(&script[COMMITMENT_PREFIX.len()..COMMITMENT_LEN])
    });
    let Some(commitment) = commitment.filter(|_| segwit) else {
        let has_witness =
            |transaction: &Transaction| transaction.input.iter().any(|input| !input.witness.is_empty());
        return if has_witness(coinbase) || others.iter().any(has_witness) {
            Err(BlockError::UnexpectedWitness)
        } else {
            Ok(())
        };
    };

    let witness = &coinbase.input[0].witness;
    let reserved = match (witness.len(), witness.nth(0)) {
        (1, Some(element)) if element.len() == 32 => element,
        _ => return Err(BlockError::NoReservedValue),
    };
    // The coinbase can't commit to itself: zeros stand in its place. Two transactions that are alike would have
    // shown in the tree of the txids.
    let wtxids = others.iter().map(|transaction| transaction.compute_wtxid().to_byte_array());
    let (root, _) = merkle_root(core::iter::once([0; 32]).chain(wtxids).collect());
    let mut engine = sha256d::Hash::engine();
    engine.input(&root);
    engine.input(reserved);
    if sha256d::Hash::from_engine(engine).as_byte_array() == commitment {
        Ok(())
    } else {
        Err(BlockError::WrongWitnessCommitment)
    }
}

/// The root of the merkle tree over `hashes`, and whether a shorter list has the same root: where a level has an odd
/// number of hashes its last is paired with itself, so a real pair of equal ones is a list made longer (CVE-2012-2459).
fn merkle_root(mut hashes: Vec<[u8; 32]>) -> ([u8; 32], bool) {
    let mut mutated = false;
    while hashes.len() > 1 {
        let parents = hashes.len().div_ceil(2);
        for parent in 0..parents {
            let left = hashes[2 * parent];
            let right = hashes.get(2 * parent + 1);
            mutated |= right == Some(&left);
            let mut engine = sha256d::Hash::engine();
            engine.input(&left);
            engine.input(right.unwrap_or(&left));
            hashes[parent] = sha256d::Hash::from_engine(engine).to_byte_array();
        }
        hashes.truncate(parents);
    }
    (hashes.first().copied().unwrap_or_default(), mutated)
}

/// Why bytes are not the block that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BlockError {
    /// The list of transactions was made longer without a change of the merkle root.
    Mutated,
    /// The first transaction is not a coinbase.
    NoCoinbase,
    /// The coinbase commits to the witness, and does not have the one value of 32 bytes that goes with it.
    NoReservedValue,
    /// There is not even a coinbase.
    NoTransactions,
    /// The header is another one.
    OtherBlock,
    /// A later transaction is a coinbase too.
    SecondCoinbase,
    /// It weighs more than a block may.
    TooHeavy,
    /// The bytes are no block, or more or less than one.
    Undecodable,
    /// A transaction has a witness, and the block does not commit to any.
    UnexpectedWitness,
    /// The transactions are not those that the header commits to.
    WrongMerkleRoot,
    /// The witness is not the one that the coinbase commits to.
    WrongWitnessCommitment,
}

impl fmt::Display for BlockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mutated => "the block's list of transactions was made longer",
            Self::NoCoinbase => "the block does not begin with a coinbase",
            Self::NoReservedValue => "the block commits to a witness that it lacks",
            Self::NoTransactions => "the block has no transactions",
            Self::OtherBlock => "the block has another header",
            Self::SecondCoinbase => "the block has two coinbases",
            Self::TooHeavy => "the block is too heavy",
            Self::Undecodable => "the bytes are no block",
            Self::UnexpectedWitness => "the block has a witness that it does not commit to",
            Self::WrongMerkleRoot => "the block's transactions are not those of its header",
            Self::WrongWitnessCommitment => "the block's witness is not the one it commits to",
        })
    }
}

impl core::error::Error for BlockError {}
