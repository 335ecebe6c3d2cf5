//! The blocks that are served: one coinbase each, a minute apart, with regtest's proof of work.

use bitcoin::absolute::LockTime;
use bitcoin::block::{Header, Version};
use bitcoin::blockdata::constants::{SUBSIDY_HALVING_INTERVAL, genesis_block};
use bitcoin::hashes::Hash;
use bitcoin::script::Builder;
use bitcoin::{
    Amount, Block, Network, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxMerkleNode, TxOut,
    WPubkeyHash, Witness, transaction,
};

/// Seconds between blocks. A million of them fit between regtest's first block and today, with times that rise.
const SPACING: u32 = 60;

/// Regtest's first block and `count` blocks after it, the last one at `end` (seconds since 1970).
///
/// # Panics
/// If they don't fit between the first block's time and `end`.
pub(crate) fn blocks(count: u32, end: u32) -> impl Iterator<Item = Block> {
    let genesis = genesis_block(Network::Regtest);
    let first = count.checked_mul(SPACING).and_then(|span| end.checked_sub(span));
    let start = first.filter(|&start| start >= genesis.header.time).expect("the blocks fit before their end");
    let mut header = genesis.header;
    std::iter::once(genesis).chain((1..=count).map(move |height| {
        let block = block(&header, height, start + height * SPACING);
        header = block.header;
        block
    }))
}

/// The block at `height`, after `parent`.
fn block(parent: &Header, height: u32, time: u32) -> Block {
    let coinbase = coinbase(height);
    let mut header = Header {
        version: Version::from_consensus(0x2000_0000),
        prev_blockhash: parent.block_hash(),
        // With one transaction, the root of the tree is its leaf.
        merkle_root: TxMerkleNode::from_raw_hash(coinbase.compute_txid().to_raw_hash()),
        time,
        bits: parent.bits,
        nonce: 0,
    };
    let target = header.target();
    while !target.is_met_by(header.block_hash()) {
        header.nonce += 1;
    }
    Block { header, txdata: vec![coinbase] }
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

/// Payments to what is looked for, spread over the chain.
const PAYMENTS: u32 = 20;

/// The heights that pay to one of `scripts` that are looked for in a chain of `count` blocks after the first.
pub(crate) fn paid(count: u32, scripts: u32) -> impl ExactSizeIterator<Item = u32> {
    let payments = PAYMENTS.min(scripts).min(count);
    (0..payments).map(move |number| 1 + (u64::from(count) * u64::from(number) / u64::from(payments)) as u32)
}

/// What is looked for: scripts that the chain pays to, and others that stand nowhere in it.
pub(crate) fn watched(count: u32, scripts: u32) -> Vec<ScriptBuf> {
    let paid = paid(count, scripts);
    let absent = (0..scripts - paid.len() as u32).map(|number| script(ABSENT, number));
    paid.map(|height| script(PAID, height)).chain(absent).collect()
}

/// A block's filter, filled up to so many elements with scripts that stand in no block.
pub(crate) fn filter(block: &Block, height: u32, elements: u32) -> Vec<u8> {
    let own = block.txdata[0].output.iter().map(|output| output.script_pubkey.clone());
    let scripts: Vec<ScriptBuf> =
        own.chain((1..elements).map(|number| script(FILLING + height, number))).collect();
    andon_bitcoin::filter::build(&block.block_hash(), scripts.iter().map(|script| script.as_bytes()))
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
    use std::collections::BTreeSet;

    use bitcoin::BlockHash;

    use super::*;

    #[test]
    fn blocks_follow_each_other_with_work_and_rising_times() {
        let (count, end) = (400, 1_700_000_000);
        let blocks: Vec<Block> = blocks(count, end).collect();
        assert_eq!(blocks.len(), count as usize + 1);
        assert_eq!(blocks[0], genesis_block(Network::Regtest));
        assert_eq!(blocks[count as usize].header.time, end);
        for (height, pair) in (1..).zip(blocks.windows(2)) {
            let [parent, block] = pair else { unreachable!("windows of two") };
            assert_eq!(block.header.prev_blockhash, parent.block_hash(), "{height}");
            assert!(block.header.time > parent.header.time, "{height}");
            assert!(block.header.validate_pow(parent.header.target()).is_ok(), "{height}");
            assert!(block.check_merkle_root(), "{height}");
            // Up to 16 the height is one opcode, which this reader does not know.
            if height > 16 {
                assert_eq!(block.bip34_block_height(), Ok(height), "{height}");
            }
        }
        let scripts: BTreeSet<&ScriptBuf> =
            blocks.iter().map(|block| &block.txdata[0].output[0].script_pubkey).collect();
        assert_eq!(scripts.len(), blocks.len());
    }

    #[test]
    fn what_is_looked_for_is_paid_where_it_should_be() {
        use andon_bitcoin::filter::{Query, Scratch};

        let (count, scripts, elements) = (100, 30, 50);
        let watched = watched(count, scripts);
        assert_eq!(watched.iter().collect::<BTreeSet<_>>().len(), scripts as usize);
        let query = Query::new(watched.iter().map(|script| script.as_bytes()));
        let mut matched = Vec::new();
        for (height, block) in (0..).zip(blocks(count, 1_700_000_000)) {
            let filter = filter(&block, height, elements);
            let own = &block.txdata[0].output[0].script_pubkey;
            let has = |query: Query| query.matches(&block.block_hash(), &filter, &mut Scratch::default());
            assert_eq!(has(Query::new([own.as_bytes()])), Ok(true));
            if has(query.clone()) == Ok(true) {
                matched.push(height);
            }
            assert_eq!(watched.contains(own), paid(count, scripts).any(|paid| paid == height), "{height}");
        }
        assert_eq!(matched, paid(count, scripts).collect::<Vec<u32>>());
        assert_eq!((paid(5, 30).len(), paid(100, 3).len()), (5, 3));
    }

    #[test]
    fn the_same_blocks_come_of_the_same_numbers() {
        let tip = |count, end| blocks(count, end).last().map(|block: Block| block.block_hash());
        let known: Option<BlockHash> = tip(10, 1_700_000_000);
        assert!(known.is_some());
        assert_eq!(tip(10, 1_700_000_000), known);
        assert_ne!(tip(10, 1_700_003_600), known);
    }
}
