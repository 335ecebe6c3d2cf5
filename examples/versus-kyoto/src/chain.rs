//! The blocks that are served: a minute apart, with regtest's proof of work, most of them with a coinbase alone.

use std::collections::BTreeSet;
use std::ffi::OsString;

use bitcoin::absolute::LockTime;
use bitcoin::block::{Header, Version};
use bitcoin::blockdata::constants::{SUBSIDY_HALVING_INTERVAL, genesis_block};
use bitcoin::hashes::Hash;
use bitcoin::script::Builder;
use bitcoin::{
    Amount, Block, Network, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxMerkleNode, TxOut,
    WPubkeyHash, Witness, transaction,
};
use clap::Args;

use crate::findings::{Findings, Sum};
use crate::full;

/// Seconds between blocks. A million of them fit between regtest's first block and today, with times that rise.
const SPACING: u32 = 60;

/// Payments to what is looked for, spread over the chain.
const PAYMENTS: u32 = 20;

/// What is served and looked for. The same blocks come of the same numbers, in every process.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Plan {
    /// Blocks after the first one.
    #[arg(long)]
    pub(crate) blocks: u32,
    /// How many of these lie below where the search begins.
    #[arg(long, default_value_t = 0)]
    pub(crate) below: u32,
    /// Elements of each filter from there on; with none they are the blocks' own.
    #[arg(long)]
    pub(crate) elements: u32,
    /// How many scripts are looked for.
    #[arg(long)]
    pub(crate) scripts: u32,
    /// Whether blocks that pay to them are as large as today's, and not just a coinbase.
    #[arg(long)]
    pub(crate) full: bool,
    /// When the last block was made, in seconds since 1970.
    #[arg(long)]
    pub(crate) end: u32,
}

impl Plan {
    /// For another process, as arguments.
    pub(crate) fn arguments(self) -> Vec<OsString> {
        let numbers = [
            ("--blocks", self.blocks),
            ("--below", self.below),
            ("--elements", self.elements),
            ("--scripts", self.scripts),
            ("--end", self.end),
        ];
        let mut arguments: Vec<OsString> =
            numbers.iter().flat_map(|(name, number)| [(*name).into(), number.to_string().into()]).collect();
        arguments.extend(self.full.then(|| "--full".into()));
        arguments
    }

    /// Regtest's first block and those after it.
    ///
    /// # Panics
    /// If they don't fit between the first block's time and the end.
    pub(crate) fn blocks(self) -> impl Iterator<Item = Block> {
        let genesis = genesis_block(Network::Regtest);
        let first = self.blocks.checked_mul(SPACING).and_then(|span| self.end.checked_sub(span));
        let start =
            first.filter(|&start| start >= genesis.header.time).expect("the blocks fit before their end");
        let full: BTreeSet<u32> = self.paid().filter(|_| self.full).collect();
        let mut parent = (genesis.header, genesis.txdata[0].compute_txid());
        std::iter::once(genesis).chain((1..=self.blocks).map(move |height| {
            let mut coinbase = coinbase(height);
            if full.contains(&(height + 1)) {
                coinbase.output.push(full::output(&script(FILLING + height + 1, 1)));
            }
            let transactions = if full.contains(&height) {
                let scripts: Vec<ScriptBuf> =
                    (2..self.elements).map(|number| script(FILLING + height, number)).collect();
                full::transactions(coinbase, OutPoint { txid: parent.1, vout: 1 }, &scripts)
            } else {
                vec![coinbase]
            };
            let block = block(&parent.0, transactions, start + height * SPACING);
            parent = (block.header, block.txdata[0].compute_txid());
            block
        }))
    }

    /// The heights that pay to one of the scripts that are looked for.
    pub(crate) fn paid(self) -> impl ExactSizeIterator<Item = u32> {
        let count = self.blocks - self.below;
        let payments = PAYMENTS.min(self.scripts).min(count);
        let place = move |number| (u64::from(count) * u64::from(number) / u64::from(payments)) as u32;
        (0..payments).map(move |number| self.below + 1 + place(number))
    }

    /// What is looked for: scripts that the chain pays to, and others that stand nowhere in it.
    pub(crate) fn watched(self) -> Vec<ScriptBuf> {
        let paid = self.paid();
        let absent = (0..self.scripts - paid.len() as u32).map(|number| script(ABSENT, number));
        paid.map(|height| script(PAID, height)).chain(absent).collect()
    }

    /// What is there to be found above `below`.
    pub(crate) fn truth(self, below: u32) -> Sum {
        let mut findings = Findings::default();
        if self.scripts > 0 {
            let watched = self.watched().into_iter().collect();
            for (height, block) in (0..).zip(self.blocks()).skip(below as usize + 1) {
                findings.read(height, &block, &watched);
            }
        }
        findings.sum()
    }

    /// A block's filter, filled up with scripts of no other block; `None` if it is to be the block's own.
    pub(crate) fn filter(self, block: &Block, height: u32) -> Option<Vec<u8>> {
        if self.elements == 0 || height <= self.below {
            return None;
        }
        let outputs = block.txdata.iter().flat_map(|transaction| &transaction.output);
        let own = outputs.map(|output| output.script_pubkey.clone()).filter(|script| !script.is_op_return());
        let scripts: BTreeSet<ScriptBuf> =
            own.chain((1..self.elements).map(|number| script(FILLING + height, number))).collect();
        Some(andon_bitcoin::filter::build(
            &block.block_hash(),
            scripts.iter().map(|script| script.as_bytes()),
        ))
    }
}

/// A block of these transactions after `parent`.
fn block(parent: &Header, transactions: Vec<Transaction>, time: u32) -> Block {
    let mut header = Header {
        version: Version::from_consensus(0x2000_0000),
        prev_blockhash: parent.block_hash(),
        merkle_root: TxMerkleNode::all_zeros(),
        time,
        bits: parent.bits,
        nonce: 0,
    };
    let mut block = Block { header, txdata: transactions };
    header.merkle_root = block.compute_merkle_root().expect("there is a coinbase");
    let target = header.target();
    while !target.is_met_by(header.block_hash()) {
        header.nonce += 1;
    }
    block.header = header;
    block
}

/// A coinbase unlike any other: with its height (BIP34), and to a key of its own, so that no two filters are alike.
fn coinbase(height: u32) -> Transaction {
    let halvings = height / SUBSIDY_HALVING_INTERVAL;
    Transaction {
        version: transaction::Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::null(),
            script_sig: Builder::new().push_int(height.into()).push_slice(b"versus").into_script(),
            sequence: Sequence::MAX,
            witness: Witness::new(),
        }],
        output: vec![TxOut {
            value: Amount::from_sat((50 * Amount::ONE_BTC.to_sat()) >> halvings),
            script_pubkey: script(PAID, height),
        }],
    }
}

/// Kinds of scripts: of a coinbase, of none at all, and of what a block's filter is filled up with.
const PAID: u32 = 0;
const ABSENT: u32 = 1;
const FILLING: u32 = 2;

/// One for each kind and number: filters hash scripts, so that these need not be hashes of anything.
fn script(kind: u32, number: u32) -> ScriptBuf {
    let mut key = [0; 20];
    key[..4].copy_from_slice(&kind.to_le_bytes());
    key[4..8].copy_from_slice(&number.to_le_bytes());
    ScriptBuf::new_p2wpkh(&WPubkeyHash::from_byte_array(key))
}

#[cfg(test)]
mod tests {
    use andon_bitcoin::filter::{self, Query, Scratch};

    use super::*;

    const END: u32 = 1_700_000_000;

    fn plan(blocks: u32) -> Plan {
        Plan { blocks, below: 0, elements: 0, scripts: 0, full: false, end: END }
    }

    fn assert_sound(plan: Plan) -> Vec<Block> {
        let blocks: Vec<Block> = plan.blocks().collect();
        assert_eq!(blocks.len(), plan.blocks as usize + 1);
        assert_eq!(blocks[0], genesis_block(Network::Regtest));
        assert_eq!(blocks[plan.blocks as usize].header.time, plan.end);
        for (height, pair) in (1..).zip(blocks.windows(2)) {
            let [parent, block] = pair else { unreachable!("windows of two") };
            assert_eq!(block.header.prev_blockhash, parent.block_hash(), "{height}");
            assert!(block.header.time > parent.header.time, "{height}");
            assert!(block.header.validate_pow(parent.header.target()).is_ok(), "{height}");
            assert!(block.check_merkle_root(), "{height}");
            assert!(block.check_witness_commitment(), "{height}");
            // Up to 16 the height is one opcode, which this reader does not know.
            if height > 16 {
                assert_eq!(block.bip34_block_height(), Ok(height), "{height}");
            }
        }
        blocks
    }

    #[test]
    fn blocks_follow_each_other_with_work_and_rising_times() {
        let blocks = assert_sound(plan(400));
        let scripts: BTreeSet<&ScriptBuf> =
            blocks.iter().map(|block| &block.txdata[0].output[0].script_pubkey).collect();
        assert_eq!(scripts.len(), blocks.len());
    }

    #[test]
    fn what_is_looked_for_is_paid_where_it_should_be() {
        for (below, full) in [(0, false), (30, false), (30, true)] {
            let plan = Plan { below, elements: 50, scripts: 30, full, ..plan(100) };
            let watched = plan.watched();
            assert_eq!(watched.iter().collect::<BTreeSet<_>>().len(), 30);
            let query = Query::new(watched.iter().map(|script| script.as_bytes()));
            let mut matched = Vec::new();
            for (height, block) in (0..).zip(assert_sound(plan)) {
                let filter = plan.filter(&block, height);
                assert_eq!(filter.is_some(), height > below);
                let Some(filter) = filter else { continue };
                let own = &block.txdata[0].output[0].script_pubkey;
                let has = |query: Query| query.matches(&block.block_hash(), &filter, &mut Scratch::default());
                assert_eq!(has(Query::new([own.as_bytes()])), Ok(true));
                if has(query.clone()) == Ok(true) {
                    matched.push(height);
                }
                assert_eq!(watched.contains(own), plan.paid().any(|paid| paid == height), "{height}");
            }
            assert_eq!(matched, plan.paid().collect::<Vec<u32>>());
        }
        let payments = |blocks, scripts| Plan { scripts, ..plan(blocks) }.paid().len();
        assert_eq!((payments(5, 30), payments(100, 3)), (5, 3));
    }

    /// The filter of a full block is its own, as any node would make it.
    #[test]
    fn a_full_block_is_one_of_today() {
        let elements = 9000;
        let plan = Plan { below: 5, elements, scripts: 2, full: true, ..plan(15) };
        let blocks = assert_sound(plan);
        let paid: Vec<u32> = plan.paid().collect();
        assert_eq!(paid, [6, 11]);
        for height in paid {
            let block = &blocks[height as usize];
            let mut unspent: Vec<(OutPoint, ScriptBuf)> = Vec::new();
            for transaction in blocks[height as usize - 1].txdata.iter().chain(&block.txdata) {
                let txid = transaction.compute_txid();
                let outputs = (0..).zip(&transaction.output);
                unspent.extend(
                    outputs.map(|(vout, output)| (OutPoint { txid, vout }, output.script_pubkey.clone())),
                );
            }
            let unspent: std::collections::BTreeMap<_, _> = unspent.into_iter().collect();
            let own = filter::basic(block, |outpoint| unspent.get(outpoint));
            assert_eq!(own.ok(), plan.filter(block, height), "{height}");
            assert!((3_600_000..4_000_000).contains(&block.weight().to_wu()), "{}", block.weight());
            assert!((1_500_000..2_000_000).contains(&block.total_size()), "{}", block.total_size());
        }
    }

    #[test]
    fn the_same_blocks_come_of_the_same_numbers() {
        let tip = |end| Plan { end, ..plan(10) }.blocks().last().map(|block: Block| block.block_hash());
        let known = tip(END);
        assert!(known.is_some());
        assert_eq!(tip(END), known);
        assert_ne!(tip(END + 3600), known);
    }
}
