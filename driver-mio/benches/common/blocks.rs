//! Blocks after the fixture's chain, with regtest's proof of work, that pay what they are told to.

use bitcoin::absolute::LockTime;
use bitcoin::block::{Header, Version};
use bitcoin::hashes::Hash;
use bitcoin::script::Builder;
use bitcoin::{
    Amount, Block, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxMerkleNode, TxOut, WPubkeyHash,
    Witness, transaction,
};

/// A chain that grows.
pub(crate) struct Miner {
    tip: Header,
    pub(crate) height: u32,
}

impl Miner {
    /// Goes on from the last of these.
    pub(crate) fn after(blocks: &[Block]) -> Self {
        let tip = blocks.last().expect("a chain has a block").header;
        Self { tip, height: blocks.len() as u32 - 1 }
    }

    /// One more block, of about so many bytes at least, with one output that pays a script.
    pub(crate) fn mine(&mut self, pays: &ScriptBuf, bytes: usize) -> Block {
        self.height += 1;
        let mut outputs = vec![TxOut { value: Amount::from_sat(1000), script_pubkey: pays.clone() }];
        let filling = TxOut { value: Amount::ZERO, script_pubkey: script(u32::MAX) };
        outputs.resize(1 + bytes / filling.size(), filling);
        let coinbase = Transaction {
            version: transaction::Version::TWO,
            lock_time: LockTime::ZERO,
            input: vec![TxIn {
                previous_output: OutPoint::null(),
                script_sig: Builder::new().push_int(self.height.into()).push_slice(b"bench").into_script(),
                sequence: Sequence::MAX,
                witness: Witness::new(),
            }],
            output: outputs,
        };
        let header = Header {
            version: Version::from_consensus(0x2000_0000),
            prev_blockhash: self.tip.block_hash(),
            merkle_root: TxMerkleNode::all_zeros(),
            time: self.tip.time + 1,
            bits: self.tip.bits,
            nonce: 0,
        };
        let mut block = Block { header, txdata: vec![coinbase] };
        block.header.merkle_root = block.compute_merkle_root().expect("there is a coinbase");
        let target = block.header.target();
        while !target.is_met_by(block.header.block_hash()) {
            block.header.nonce += 1;
        }
        self.tip = block.header;
        block
    }
}

/// A script like no other.
pub(crate) fn script(number: u32) -> ScriptBuf {
    let mut key = [7; 20];
    key[..4].copy_from_slice(&number.to_le_bytes());
    ScriptBuf::new_p2wpkh(&WPubkeyHash::from_byte_array(key))
}

/// The fixture's chain.
pub(crate) fn fixture() -> Vec<Block> {
    andon_bitcoin::fixture::regtest().chain.iter().map(|block| block.block()).collect()
}
