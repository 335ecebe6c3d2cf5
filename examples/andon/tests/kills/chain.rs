//! A regtest chain that is mined here: it pays watched scripts and spends what they have, grows, and reorganises.

use std::collections::BTreeSet;

use andon_bitcoin::server;
use bitcoin::absolute::LockTime;
use bitcoin::block::{Header, Version};
use bitcoin::constants::genesis_block;
use bitcoin::{
    Amount, Block, BlockHash, Network, OutPoint, ScriptBuf, Sequence, Target, Transaction, TxIn, TxOut,
    Witness,
};
use fastrand::Rng;

/// How many scripts are watched: those with the numbers below.
pub(crate) const WATCHED: u32 = 5;

/// A reorganisation leaves so many blocks at most.
const DEEPEST: usize = 9;

/// What a finding is told by: its kind, its block, the transaction, and which input or output.
pub(crate) type Finding = (String, String, String, u64);

/// The chain as its node serves it.
pub(crate) struct Mined {
    blocks: Vec<Block>,
    /// Blocks that were in the best chain and are not, or were not all the time.
    left: BTreeSet<String>,
    /// What watched scripts have, with the height where they got it.
    unspent: Vec<(usize, OutPoint)>,
    salt: u32,
}

impl Mined {
    pub(crate) fn new(rng: &mut Rng, blocks: u32) -> Self {
        let genesis = genesis_block(Network::Regtest);
        let mut mined = Self { blocks: vec![genesis], left: BTreeSet::new(), unspent: Vec::new(), salt: 0 };
        mined.grow(rng, blocks as usize);
        mined
    }

    pub(crate) fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Whether a block was ever left for another.
    pub(crate) fn was_left(&self, block: &str) -> bool {
        self.left.contains(block)
    }

    /// One to three more blocks, or others in the place of the last few, and one more.
    pub(crate) fn change(&mut self, rng: &mut Rng) -> server::Command {
        if rng.u32(..5) < 3 {
            let from = self.blocks.len();
            self.grow(rng, 1);
            return server::Command::Extend(self.blocks[from..].to_vec());
        }
        let depth = rng.usize(1..=DEEPEST);
        let fork = self.blocks.len() - 1 - depth;
        self.left.extend(self.blocks.drain(fork + 1..).map(|block| block.block_hash().to_string()));
        // What was spent above the fork is not spent again: that would be another matter.
        self.unspent.retain(|(height, _)| *height <= fork);
        self.grow(rng, depth + 1);
        server::Command::Reorganise { fork_height: fork as u32, blocks: self.blocks[fork + 1..].to_vec() }
    }

    /// Everything in the best chain that touches watched scripts.
    pub(crate) fn findings(&self) -> BTreeSet<Finding> {
        let mut outputs = BTreeSet::new();
        let mut findings = BTreeSet::new();
        for block in &self.blocks {
            let hash = block.block_hash().to_string();
            for transaction in &block.txdata {
                let txid = transaction.compute_txid();
                let spent = transaction.input.iter().map(|input| input.previous_output).enumerate();
                for (index, _) in spent.filter(|(_, outpoint)| outputs.contains(outpoint)) {
                    findings.insert(("spent".into(), hash.clone(), txid.to_string(), index as u64));
                }
                for (index, output) in transaction.output.iter().enumerate() {
                    if (0..WATCHED).any(|number| output.script_pubkey == script(number)) {
                        outputs.insert(OutPoint::new(txid, index as u32));
                        findings.insert(("received".into(), hash.clone(), txid.to_string(), index as u64));
                    }
                }
            }
        }
        findings
    }

    fn grow(&mut self, rng: &mut Rng, blocks: usize) {
        for _ in 0..blocks {
            let height = self.blocks.len();
            // Some blocks are none of the client's business, as most are.
            let number = rng.u32(..2 * WATCHED);
            let mut transactions = vec![self.coinbase(height as u32, script(number))];
            if rng.bool() && !self.unspent.is_empty() {
                let (_, outpoint) = self.unspent.swap_remove(rng.usize(..self.unspent.len()));
                transactions.push(transaction(outpoint, script(rng.u32(..2 * WATCHED))));
            }
            let parent = self.blocks[height - 1].header;
            let block = mine(parent.block_hash(), parent.time + 60, transactions);
            for transaction in &block.txdata {
                if (0..WATCHED).any(|number| transaction.output[0].script_pubkey == script(number)) {
                    self.unspent.push((height, OutPoint::new(transaction.compute_txid(), 0)));
                }
            }
            self.blocks.push(block);
        }
    }

    /// No two are the same, on any branch.
    fn coinbase(&mut self, height: u32, script_pubkey: ScriptBuf) -> Transaction {
        self.salt += 1;
        let mut transaction = transaction(OutPoint::null(), script_pubkey);
        let tag = [&[3][..], &height.to_le_bytes()[..3], &[4], &self.salt.to_le_bytes()].concat();
        transaction.input[0].script_sig = ScriptBuf::from_bytes(tag);
        transaction
    }
}

fn transaction(previous_output: OutPoint, script_pubkey: ScriptBuf) -> Transaction {
    let input = TxIn {
        previous_output,
        script_sig: ScriptBuf::new(),
        sequence: Sequence::MAX,
        witness: Witness::new(),
    };
    Transaction {
        version: bitcoin::transaction::Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![input],
        output: vec![TxOut { value: Amount::from_sat(5000), script_pubkey }],
    }
}

/// A block with regtest's proof of work.
fn mine(prev_blockhash: BlockHash, time: u32, txdata: Vec<Transaction>) -> Block {
    let genesis = genesis_block(Network::Regtest).header;
    let header =
        Header { version: Version::from_consensus(0x2000_0000), prev_blockhash, time, nonce: 0, ..genesis };
    let mut block = Block { header, txdata };
    block.header.merkle_root = block.compute_merkle_root().unwrap();
    while !Target::MAX_ATTAINABLE_REGTEST.is_met_by(block.block_hash()) {
        block.header.nonce += 1;
    }
    block
}

/// A script that no other number has; the first few are watched.
pub(crate) fn script(number: u32) -> ScriptBuf {
    let mut bytes = vec![0, 20];
    bytes.resize(18, 0xee);
    bytes.extend_from_slice(&number.to_be_bytes());
    ScriptBuf::from_bytes(bytes)
}
