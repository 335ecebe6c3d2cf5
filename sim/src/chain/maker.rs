//! Blocks, made on the spot.

use std::sync::Arc;

use bitcoin::absolute::LockTime;
use bitcoin::block::{Header, Version};
use bitcoin::hashes::Hash;
use bitcoin::{
    Amount, Block, BlockHash, CompactTarget, Network, OutPoint, ScriptBuf, Sequence, Transaction, TxIn,
    TxMerkleNode, TxOut, Txid, Witness, transaction,
};

use super::scripts::{SCRIPTS, script, signature};
use crate::random::Stream;

/// A block, and what there is to know of it.
#[derive(Debug)]
pub struct Mined {
    /// The block.
    pub block: Block,
    /// Its hash.
    pub hash: BlockHash,
    /// Of its transactions.
    pub txids: Vec<Txid>,
    /// For each transaction what each of its inputs spends. A coinbase has none.
    pub spends: Vec<Vec<TxOut>>,
    /// For each transaction the numbers of the scripts that its outputs pay.
    payees: Vec<Vec<u8>>,
}

impl Mined {
    /// Regtest's first block.
    pub fn genesis() -> Arc<Self> {
        let block = bitcoin::constants::genesis_block(Network::Regtest);
        let txids = vec![block.txdata[0].compute_txid()];
        Arc::new(Self {
            hash: block.block_hash(),
            txids,
            spends: vec![vec![]],
            // It pays nobody who could spend it.
            payees: vec![vec![]],
            block,
        })
    }
}

/// Makes blocks, all of one stream.
#[derive(Debug)]
pub struct Maker {
    stream: Stream,
}

/// Outputs are spent that are up to so many blocks old, mostly; and sometimes older ones.
const YOUNG: u64 = 12;
/// See [`YOUNG`]. More than a day has, so that searches that go by days cross it.
const OLD: u64 = 200;

impl Maker {
    /// One with this stream.
    pub const fn new(stream: Stream) -> Self {
        Self { stream }
    }

    /// A block to follow the last of a chain, made at about this time (in seconds since 1970).
    pub fn block(&mut self, chain: &[Arc<Mined>], time: u32) -> Arc<Mined> {
        let parent = chain.last().expect("a chain has a first block");
        let mut making = Making::default();
        making.add(self.coinbase(), vec![], &mut self.stream);
        for _ in 0..[0, 0, 1, 1, 2, 5][self.stream.index(6)] {
            if let Some((outpoint, paid, payee)) = self.unspent(chain, &making) {
                let spend = spend(outpoint, payee);
                making.add(spend, vec![paid], &mut self.stream);
            }
        }
        let time = time.max(median_time(chain) + 1);
        let mut block = Block {
            header: Header {
                version: Version::from_consensus(0x2000_0000),
                prev_blockhash: parent.hash,
                merkle_root: TxMerkleNode::all_zeros(),
                time,
                bits: CompactTarget::from_consensus(0x207f_ffff),
                nonce: 0,
            },
            txdata: making.transactions,
        };
        block.header.merkle_root = block.compute_merkle_root().expect("there is a coinbase");
        let target = block.header.target();
        let hash = loop {
            match block.header.validate_pow(target) {
                Ok(hash) => break hash,
                Err(_) => block.header.nonce += 1,
            }
        };
        Arc::new(Mined { block, hash, txids: making.txids, spends: making.spends, payees: making.payees })
    }

    /// Without outputs. No two are the same.
    fn coinbase(&mut self) -> Transaction {
        let tag = self.stream.u64().to_le_bytes();
        let input = TxIn { script_sig: ScriptBuf::from_bytes(tag.into()), ..TxIn::default() };
        bare(input)
    }

    /// An output that nobody has spent yet: of an earlier block, or of this one.
    fn unspent(&mut self, chain: &[Arc<Mined>], making: &Making) -> Option<(OutPoint, TxOut, u8)> {
        let age = match self.stream.below(8) {
            0 => 0,
            1 => self.stream.within(1..=OLD),
            _ => self.stream.within(1..=YOUNG),
        };
        let choice = self.stream.u64();
        let from = chain.len().checked_sub(age as usize)?;
        let (transactions, txids, payees) = match chain.get(from) {
            None => (&making.transactions, &making.txids, &making.payees),
            Some(mined) => (&mined.block.txdata, &mined.txids, &mined.payees),
        };
        let index = (choice % transactions.len() as u64) as usize;
        let output = (choice >> 32) as usize % payees[index].len().max(1);
        let payee = *payees[index].get(output)?;
        let outpoint = OutPoint { txid: txids[index], vout: output as u32 };
        let later = chain[from..].iter().flat_map(|mined| &mined.block.txdata);
        let mut inputs = later.chain(&making.transactions).flat_map(|transaction| &transaction.input);
        let is_spent = inputs.any(|input| input.previous_output == outpoint);
        (!is_spent).then(|| (outpoint, transactions[index].output[output].clone(), payee))
    }
}

/// A block's transactions, as far as they are made.
#[derive(Default)]
struct Making {
    transactions: Vec<Transaction>,
    txids: Vec<Txid>,
    spends: Vec<Vec<TxOut>>,
    payees: Vec<Vec<u8>>,
}

impl Making {
    /// Adds a transaction, which pays whom the stream says.
    fn add(&mut self, mut transaction: Transaction, spends: Vec<TxOut>, stream: &mut Stream) {
        let payees: Vec<u8> =
            (0..[1, 1, 1, 2, 3][stream.index(5)]).map(|_| stream.below(SCRIPTS.into()) as u8).collect();
        let pay = |payee: &u8| TxOut {
            value: Amount::from_sat(1000 + stream.below(1_000_000)),
            script_pubkey: script(*payee),
        };
        transaction.output = payees.iter().map(pay).collect();
        self.txids.push(transaction.compute_txid());
        self.transactions.push(transaction);
        self.spends.push(spends);
        self.payees.push(payees);
    }
}

fn spend(outpoint: OutPoint, payee: u8) -> Transaction {
    bare(TxIn {
        previous_output: outpoint,
        script_sig: signature(payee),
        sequence: Sequence::MAX,
        witness: Witness::new(),
    })
}

fn bare(input: TxIn) -> Transaction {
    Transaction {
        version: transaction::Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![input],
        output: vec![],
    }
}

/// What the next block's time must be above.
fn median_time(chain: &[Arc<Mined>]) -> u32 {
    let mut times: Vec<u32> = chain.iter().rev().take(11).map(|mined| mined.block.header.time).collect();
    times.sort_unstable();
    times[times.len() / 2]
}
