//! A received block, checked against the header that was asked for: that the transactions are those the header commits
//! to, each whole and in its place.
//!
//! It does not check what only a full node can: scripts, amounts, double spends. The header's proof of work was
//! checked when the header came.

use alloc::vec::Vec;
use core::fmt;

use bitcoin::consensus::Decodable;
use bitcoin::hashes::{Hash, HashEngine, sha256d};
use bitcoin::{Block, BlockHash, Network, Transaction, Txid, VarInt, block::Header};

/// The most that a block may weigh (BIP141).
const MAX_WEIGHT: u64 = 4_000_000;
/// An output script of the coinbase that begins so holds the witness commitment (BIP141).
const COMMITMENT_PREFIX: [u8; 6] = [0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed];

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
/// The whole block takes three times the memory of its bytes, and more; [`visit`] holds one transaction at a time.
///
/// # Errors
/// If the bytes are not that block. That is the sender's fault: the header says nothing of it, another peer has it.
pub fn verify(bytes: &[u8], expected: &BlockHash, segwit: bool) -> Result<Block, BlockError> {
    let mut txdata = Vec::new();
    let header = visit(bytes, expected, segwit, |_, transaction| txdata.push(transaction))?;
    Ok(Block { header, txdata })
}

/// As [`verify`], but hands the transactions to `take` as they are read, each with its id, and holds none of them.
///
/// Only when this returns are they the block's: what was gathered from them is worth nothing after an error. Returns the
/// block's header.
///
/// # Errors
/// As [`verify`].
pub fn visit(
    bytes: &[u8],
    expected: &BlockHash,
    segwit: bool,
    mut take: impl FnMut(Txid, Transaction),
) -> Result<Header, BlockError> {
    let mut rest = bytes;
    let header = Header::consensus_decode(&mut rest).map_err(|_| BlockError::Undecodable)?;
    if header.block_hash() != *expected {
        return Err(BlockError::OtherBlock);
    }
    // The least that so many bytes can weigh. Most of what is too heavy need not be parsed.
    if bytes.len() as u64 > MAX_WEIGHT {
        return Err(BlockError::TooHeavy);
    }
    let count = VarInt::consensus_decode(&mut rest).map_err(|_| BlockError::Undecodable)?;
    let size = Header::SIZE + count.size();
    let mut summary = Summary { base_size: size, total_size: size, ..Summary::new(segwit) };
    // No room is made for the number that is claimed.
    for _ in 0..count.0 {
        let transaction = Transaction::consensus_decode_from_finite_reader(&mut rest)
            .map_err(|_| BlockError::Undecodable)?;
        take(summary.add(&transaction), transaction);
    }
    if !rest.is_empty() {
        return Err(BlockError::Undecodable);
    }
    summary.check(&header)?;
    Ok(header)
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

/// What is kept of a block's transactions to check it by.
struct Summary {
    segwit: bool,
    txids: Vec<[u8; 32]>,
    /// Of all but the coinbase, for which zeros stand, as it can't commit to itself. Empty where nothing commits to them.
    wtxids: Vec<[u8; 32]>,
    commitment: Option<Commitment>,
    has_coinbase: bool,
    has_second_coinbase: bool,
    has_witness: bool,
    /// Of the whole block without witnesses, and with them.
    base_size: usize,
    total_size: usize,
}

/// What a coinbase says of the witness.
struct Commitment {
    hash: [u8; 32],
    /// The value that is hashed together with the root, if the coinbase has it.
    reserved: Option<[u8; 32]>,
}

impl Summary {
    const fn new(segwit: bool) -> Self {
        Self {
            segwit,
            txids: Vec::new(),
            wtxids: Vec::new(),
            commitment: None,
            has_coinbase: false,
            has_second_coinbase: false,
            has_witness: false,
            base_size: 0,
            total_size: 0,
        }
    }

    /// Takes in the next transaction.
    fn add(&mut self, transaction: &Transaction) -> Txid {
        let is_first = self.txids.is_empty();
        if is_first {
            self.has_coinbase = transaction.is_coinbase();
            self.commitment = Commitment::of(transaction).filter(|_| self.segwit);
        } else {
            self.has_second_coinbase |= transaction.is_coinbase();
        }
        if self.commitment.is_some() {
            self.wtxids.push(if is_first { [0; 32] } else { transaction.compute_wtxid().to_byte_array() });
        }
        self.has_witness |= transaction.input.iter().any(|input| !input.witness.is_empty());
        self.base_size += transaction.base_size();
        self.total_size += transaction.total_size();
        let txid = transaction.compute_txid();
        self.txids.push(txid.to_byte_array());
        txid
    }

    /// Checks what all transactions came to.
    fn check(self, header: &Header) -> Result<(), BlockError> {
        if self.txids.is_empty() {
            return Err(BlockError::NoTransactions);
        }
        let (root, mutated) = merkle_root(self.txids);
        if root != header.merkle_root.to_byte_array() {
            return Err(BlockError::WrongMerkleRoot);
        }
        if mutated {
            return Err(BlockError::Mutated);
        }
        if !self.has_coinbase {
            return Err(BlockError::NoCoinbase);
        }
        if self.has_second_coinbase {
            return Err(BlockError::SecondCoinbase);
        }
        // The definition of weight (BIP141).
        if (3 * self.base_size + self.total_size) as u64 > MAX_WEIGHT {
            return Err(BlockError::TooHeavy);
        }
        match self.commitment {
            Some(commitment) => commitment.check(self.wtxids),
            None if self.has_witness => Err(BlockError::UnexpectedWitness),
            None => Ok(()),
        }
    }
}

impl Commitment {
    /// The last output that is one counts.
    fn of(coinbase: &Transaction) -> Option<Self> {
        let hash = coinbase.output.iter().rev().find_map(|output| {
            let hash = output.script_pubkey.as_bytes().strip_prefix(&COMMITMENT_PREFIX)?;
            hash.first_chunk::<32>().copied()
        })?;
        let witness = coinbase.input.first().map(|input| &input.witness);
        let element = witness.filter(|witness| witness.len() == 1).and_then(|witness| witness.nth(0));
        Some(Self { hash, reserved: element.and_then(|element| element.try_into().ok()) })
    }

    /// Checks that the witnesses with these ids are the ones committed to.
    fn check(&self, wtxids: Vec<[u8; 32]>) -> Result<(), BlockError> {
        let reserved = self.reserved.ok_or(BlockError::NoReservedValue)?;
        // Two transactions that are alike would have shown in the tree of the txids.
        let (root, _) = merkle_root(wtxids);
        let mut engine = sha256d::Hash::engine();
        engine.input(&root);
        engine.input(&reserved);
        if sha256d::Hash::from_engine(engine).to_byte_array() == self.hash {
            Ok(())
        } else {
            Err(BlockError::WrongWitnessCommitment)
        }
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
