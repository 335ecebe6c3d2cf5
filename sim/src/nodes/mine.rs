//! Chains made on the spot, with regtest's proof of work: two hashes a block.

use andon_bitcoin::server::Chain;
use bitcoin::block::{Header, Version};
use bitcoin::constants::genesis_block;
use bitcoin::{
    Amount, Block, BlockHash, CompactTarget, Network, OutPoint, ScriptBuf, Sequence, Target, Transaction,
    TxIn, TxMerkleNode, TxOut, Witness, absolute, transaction,
};

/// A header after `parent` with regtest's proof of work.
pub fn header(parent: BlockHash, merkle_root: TxMerkleNode, time: u32) -> Header {
    let mut header = Header {
        version: Version::from_consensus(4),
        prev_blockhash: parent,
        merkle_root,
        time,
        bits: CompactTarget::from_consensus(0x207f_ffff),
        nonce: 0,
    };
    while !Target::MAX_ATTAINABLE_REGTEST.is_met_by(header.block_hash()) {
        header.nonce += 1;
    }
    header
}

/// A script that no other number has (P2WPKH, of a key that nobody has).
pub fn script(number: u64) -> ScriptBuf {
    let mut bytes = vec![0, 20];
    bytes.extend_from_slice(&[0; 12]);
    bytes.extend_from_slice(&number.to_be_bytes());
    ScriptBuf::from_bytes(bytes)
}

/// A chain of regtest that grows: blocks with a coinbase each.
#[derive(Clone, Debug)]
pub struct Mine {
    chain: Chain,
    spacing: u32,
    tag: u64,
}

impl Mine {
    /// Regtest's first block. Blocks of another tag are others; they are `spacing` seconds apart.
    ///
    /// # Panics
    /// Never: the first block is a chain.
    pub fn new(tag: u64, spacing: u32) -> Self {
        let chain = Chain::new([genesis_block(Network::Regtest)]).expect("the first block is a chain");
        Self { chain, spacing, tag }
    }

    /// The chain.
    pub const fn chain(&self) -> &Chain {
        &self.chain
    }

    /// The time of its last block.
    ///
    /// # Panics
    /// Never: a chain has a tip.
    pub fn time(&self) -> u32 {
        self.chain.header_at(self.chain.height()).expect("a chain has a tip").time
    }

    /// Adds so many blocks; the one at a height pays to these scripts, to nobody if there is none.
    ///
    /// # Panics
    /// Never: blocks that are mined here follow each other.
    pub fn grow(&mut self, count: u32, pays: impl FnMut(u32) -> Vec<ScriptBuf>) {
        let blocks = self.branch(self.chain.height(), count, self.tag, pays);
        if !blocks.is_empty() {
            self.chain.extend(&blocks).expect("they follow the tip, and spend nothing");
        }
    }

    /// Adds a block of this time.
    ///
    /// # Panics
    /// Never, as [`grow`](Self::grow).
    pub fn grow_at(&mut self, time: u32, pays: Vec<ScriptBuf>) {
        let usual = self.spacing;
        self.spacing = time.saturating_sub(self.time()).max(1);
        self.grow(1, |_| pays.clone());
        self.spacing = usual;
    }

    /// Replaces the last `depth` blocks, but not the first, by one more than as many.
    ///
    /// # Panics
    /// Never, as [`grow`](Self::grow).
    pub fn reorganise(&mut self, depth: u32, pays: impl FnMut(u32) -> Vec<ScriptBuf>) {
        let depth = depth.min(self.chain.height());
        let fork = self.chain.height() - depth;
        self.tag += 1;
        let blocks = self.branch(fork, depth + 1, self.tag, pays);
        self.chain.reorganise(fork, &blocks).expect("the branch is longer, and spends nothing");
    }

    fn branch(
        &self,
        fork: u32,
        count: u32,
        tag: u64,
        mut pays: impl FnMut(u32) -> Vec<ScriptBuf>,
    ) -> Vec<Block> {
        let below = self.chain.header_at(fork).expect("the fork is not above the tip");
        let (mut parent, mut time) = (below.block_hash(), below.time);
        (fork + 1..=fork + count)
            .map(|height| {
                time += self.spacing;
                let coinbase = coinbase(tag, height, pays(height));
                let root = TxMerkleNode::from_raw_hash(coinbase.compute_txid().to_raw_hash());
                let header = header(parent, root, time);
                parent = header.block_hash();
                Block { header, txdata: vec![coinbase] }
            })
            .collect()
    }
}

/// The first transaction of a block. No two of a chain are the same.
fn coinbase(tag: u64, height: u32, pays: Vec<ScriptBuf>) -> Transaction {
    let mut script_sig = tag.to_le_bytes().to_vec();
    script_sig.extend_from_slice(&height.to_le_bytes());
    let nobody = || ScriptBuf::from_bytes(vec![0x6a]);
    let pays = if pays.is_empty() { vec![nobody()] } else { pays };
    let output = |script_pubkey| TxOut { value: Amount::from_sat(1_000_000), script_pubkey };
    Transaction {
        version: transaction::Version::TWO,
        lock_time: absolute::LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::null(),
            script_sig: ScriptBuf::from_bytes(script_sig),
            sequence: Sequence::MAX,
            witness: Witness::new(),
        }],
        output: pays.into_iter().map(output).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_grow_and_fork() {
        let mut first = Mine::new(1, 600);
        first.grow(5, |height| vec![script(height.into())]);
        let before = first.chain().clone();
        assert_eq!((before.height(), first.time()), (5, genesis_block(Network::Regtest).header.time + 3000));
        let block = before.block_at(3).expect("it is there");
        assert_eq!(block.txdata[0].output[0].script_pubkey, script(3));
        assert!(block.check_merkle_root() && Target::MAX_ATTAINABLE_REGTEST.is_met_by(block.block_hash()));

        first.reorganise(2, |_| Vec::new());
        assert_eq!(first.chain().height(), 6);
        assert_eq!(first.chain().hash_at(3), before.hash_at(3));
        assert_ne!(first.chain().hash_at(4), before.hash_at(4));
        assert_eq!(before.clone().follow(first.chain()), Ok(3));

        let mut other = Mine::new(2, 600);
        other.grow(1, |height| vec![script(height.into())]);
        assert_ne!(other.chain().hash_at(1), before.hash_at(1));
    }
}
