//! A block as large as those of today: what its transactions pay to is what its filter is filled up with.

use bitcoin::absolute::LockTime;
use bitcoin::hashes::Hash;
use bitcoin::{
    Amount, Block, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid, Witness, WitnessMerkleNode,
    merkle_tree, transaction,
};

/// Outputs of a transaction, all of which the next one spends: 9,000 of them make a block of 3.7 million weight units.
const OUTPUTS: usize = 3;

/// What an input carries that spends from the hash of a key: a signature, which nobody checks here, and the key.
const SIGNATURE: [u8; 72] = [0x30; 72];
const KEY: [u8; 33] = [2; 33];

/// The value with which a coinbase's witness is filled (BIP141).
const RESERVED: [u8; 32] = [0; 32];

/// The transactions of a block: its coinbase, which is made to commit to the witnesses of the others, and these. The first
/// of them spends `fed`, each later one what the one before it pays; together they pay to each of `scripts`.
pub(crate) fn transactions(
    mut coinbase: Transaction,
    fed: OutPoint,
    scripts: &[ScriptBuf],
) -> Vec<Transaction> {
    let mut others: Vec<Transaction> = Vec::new();
    for scripts in scripts.chunks(OUTPUTS) {
        let spent = match others.last() {
            None => vec![fed],
            Some(parent) => outputs(parent.compute_txid(), parent.output.len()),
        };
        others.push(Transaction {
            version: transaction::Version::TWO,
            lock_time: LockTime::ZERO,
            input: spent.into_iter().map(input).collect(),
            output: scripts.iter().map(output).collect(),
        });
    }
    coinbase.input[0].witness = Witness::from_slice(&[RESERVED]);
    // The coinbase can't commit to itself: zeros stand in its place.
    let hashes =
        others.iter().map(|other| WitnessMerkleNode::from_raw_hash(other.compute_wtxid().to_raw_hash()));
    let hashes = std::iter::once(WitnessMerkleNode::all_zeros()).chain(hashes);
    let root = merkle_tree::calculate_root(hashes).expect("there is a coinbase");
    let commitment = Block::compute_witness_commitment(&root, &RESERVED);
    let mut script = vec![0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed];
    script.extend_from_slice(commitment.as_byte_array());
    coinbase.output.push(TxOut { value: Amount::ZERO, script_pubkey: script.into() });
    std::iter::once(coinbase).chain(others).collect()
}

fn outputs(txid: Txid, count: usize) -> Vec<OutPoint> {
    (0..count as u32).map(|vout| OutPoint { txid, vout }).collect()
}

fn input(previous_output: OutPoint) -> TxIn {
    TxIn {
        previous_output,
        script_sig: ScriptBuf::new(),
        sequence: Sequence::MAX,
        witness: Witness::from_slice(&[&SIGNATURE[..], &KEY[..]]),
    }
}

/// A payment of no matter how much.
pub(crate) fn output(script: &ScriptBuf) -> TxOut {
    TxOut { value: Amount::from_sat(1000), script_pubkey: script.clone() }
}
