//! The blocks that are served: one coinbase each, a minute apart, with regtest's proof of work.

use bitcoin::absolute::LockTime;
use bitcoin::block::{Header, Version};
use bitcoin::blockdata::constants::{SUBSIDY_HALVING_INTERVAL, genesis_block};
use bitcoin::hashes::{Hash, hash160};
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
    let key = WPubkeyHash::from_raw_hash(hash160::Hash::hash(&height.to_le_bytes()));
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
            script_pubkey: ScriptBuf::new_p2wpkh(&key),
        }],
    }
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
    fn the_same_blocks_come_of_the_same_numbers() {
        let tip = |count, end| blocks(count, end).last().map(|block: Block| block.block_hash());
        let known: Option<BlockHash> = tip(10, 1_700_000_000);
        assert!(known.is_some());
        assert_eq!(tip(10, 1_700_000_000), known);
        assert_ne!(tip(10, 1_700_003_600), known);
    }
}
