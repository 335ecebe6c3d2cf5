//! Chains of headers made on the spot, with regtest's proof of work, and what a node knows of their blocks.

use std::collections::{BTreeMap, HashMap};

use andon_bitcoin::client::BlockId;
use andon_bitcoin::filter;
use bitcoin::block::{Header, Version};
use bitcoin::consensus::serialize;
use bitcoin::constants::genesis_block;
use bitcoin::hashes::Hash;
use bitcoin::{
    Amount, Block, BlockHash, FilterHash, FilterHeader, Network, OutPoint, ScriptBuf, Sequence, Target,
    Transaction, TxIn, TxMerkleNode, TxOut, Witness, Work, absolute, transaction,
};

/// Headers that one message has at most.
const MESSAGE: usize = 2000;

/// Seconds from one block to the next, unless it is said otherwise.
const SPACING: u32 = 60;

/// A chain from regtest's first block on. Most of its blocks are headers only, and their filters hashes only.
#[derive(Clone)]
pub(crate) struct Chain {
    headers: Vec<Header>,
    hashes: Vec<BlockHash>,
    heights: HashMap<BlockHash, u32>,
    filter_hashes: Vec<FilterHash>,
    filter_headers: Vec<FilterHeader>,
    bodies: BTreeMap<u32, Body>,
    /// Seconds from one block to the next.
    pub(crate) spacing: u32,
    /// Bytes that whole blocks have beside what they pay.
    pub(crate) bulk: usize,
}

/// What a node serves of a block beside its header.
#[derive(Clone)]
pub(crate) struct Body {
    pub(crate) block: Vec<u8>,
    pub(crate) filter: Vec<u8>,
}

impl Chain {
    /// The first block alone.
    pub(crate) fn new() -> Self {
        let mut chain = Self {
            headers: Vec::new(),
            hashes: Vec::new(),
            heights: HashMap::new(),
            filter_hashes: Vec::new(),
            filter_headers: Vec::new(),
            bodies: BTreeMap::new(),
            spacing: SPACING,
            bulk: 0,
        };
        let genesis = genesis_block(Network::Regtest);
        let filter = filter::basic(&genesis, |_| None::<ScriptBuf>).expect("a coinbase spends nothing");
        let body = Body { block: serialize(&genesis), filter };
        chain.push(genesis.header, genesis.block_hash(), Some(body));
        chain
    }

    /// A chain of `height` blocks after the first. Those with other tags part from it at once.
    pub(crate) fn with_height(height: u32, tag: u8) -> Self {
        let mut chain = Self::new();
        chain.grow(height, tag);
        chain
    }

    /// Adds `count` blocks without transactions.
    pub(crate) fn grow(&mut self, count: u32, tag: u8) {
        for _ in 0..count {
            let parent = self.headers[self.headers.len() - 1];
            let root = TxMerkleNode::from_byte_array([tag; 32]);
            let (header, hash) = mine(self.hashes[self.hashes.len() - 1], root, parent.time + self.spacing);
            self.push(header, hash, None);
        }
    }

    /// Adds `count` whole blocks; `pays` says to which script the one at a height pays.
    pub(crate) fn grow_blocks(&mut self, count: u32, tag: u8, pays: impl Fn(u32) -> ScriptBuf) {
        for _ in 0..count {
            let height = self.headers.len() as u32;
            let time = self.headers[self.headers.len() - 1].time + self.spacing;
            let mut coinbase = coinbase(u64::from(tag) << 32 | u64::from(height), pays(height));
            if self.bulk > 0 {
                let data = ScriptBuf::from_bytes(vec![0x6a; self.bulk]);
                coinbase.output.push(TxOut { value: Amount::ZERO, script_pubkey: data });
            }
            let root = TxMerkleNode::from_raw_hash(coinbase.compute_txid().to_raw_hash());
            let (header, hash) = mine(self.hashes[self.hashes.len() - 1], root, time);
            let block = Block { header, txdata: vec![coinbase] };
            let filter = filter::basic(&block, |_| None::<ScriptBuf>).expect("a coinbase spends nothing");
            self.push(header, hash, Some(Body { block: serialize(&block), filter }));
        }
    }

    /// Adds `count` blocks with a filter that is some other block's: it can be decoded, and matches by chance only.
    pub(crate) fn grow_filters(&mut self, count: u32, tag: u8, filter: &[u8]) {
        for _ in 0..count {
            let time = self.headers[self.headers.len() - 1].time + self.spacing;
            let root = TxMerkleNode::from_byte_array([tag; 32]);
            let (header, hash) = mine(self.hashes[self.hashes.len() - 1], root, time);
            self.push(header, hash, Some(Body { block: Vec::new(), filter: filter.into() }));
        }
    }

    /// Adds a whole block with a transaction that spends `spent` and pays nobody who is watched.
    pub(crate) fn grow_spend(
        &mut self,
        outpoint: OutPoint,
        script_sig: ScriptBuf,
        witness: Witness,
        spent: &ScriptBuf,
        pays: ScriptBuf,
    ) {
        let height = self.headers.len() as u32;
        let time = self.headers[self.headers.len() - 1].time + self.spacing;
        let mut first = coinbase(u64::from(height), pays);
        let mut spend = coinbase(0, script(99));
        spend.input[0].previous_output = outpoint;
        spend.input[0].script_sig = script_sig;
        spend.input[0].witness = witness;
        first.input[0].witness = Witness::from_slice(&[[0; 32]]);
        let mut block = Block { header: genesis_block_header(), txdata: vec![first, spend] };
        let root = block.witness_root().unwrap();
        let commitment = Block::compute_witness_commitment(&root, &[0; 32]);
        let mut bytes = vec![0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed];
        bytes.extend_from_slice(commitment.as_byte_array());
        block.txdata[0].output.push(TxOut { value: Amount::ZERO, script_pubkey: bytes.into() });
        let root = block.compute_merkle_root().unwrap();
        let (header, hash) = mine(self.hashes[self.hashes.len() - 1], root, time);
        block.header = header;
        let filter = filter::basic(&block, |_| Some(spent)).unwrap();
        self.push(header, hash, Some(Body { block: serialize(&block), filter }));
    }

    /// The same blocks, with another filter of the whole one at `height`.
    pub(crate) fn with_filter(&self, height: u32, filter: Vec<u8>) -> Self {
        let mut chain = self.clone();
        chain.filter_hashes[height as usize] = filter::hash(&filter);
        chain.bodies.get_mut(&height).unwrap().filter = filter;
        for height in height..=self.height() {
            let before =
                height.checked_sub(1).map_or(FilterHeader::all_zeros(), |below| chain.filter_header(below));
            chain.filter_headers[height as usize] = filter::header(chain.filter_hash(height), before);
        }
        chain
    }

    /// The chain up to the block at `fork`, with `count` other blocks after it.
    pub(crate) fn fork(&self, fork: u32, count: u32, tag: u8) -> Self {
        let mut chain = self.cut(fork);
        chain.grow(count, tag);
        chain
    }

    /// The chain up to the block at `height`.
    pub(crate) fn cut(&self, height: u32) -> Self {
        let length = height as usize + 1;
        let hashes = self.hashes[..length].to_vec();
        Self {
            headers: self.headers[..length].to_vec(),
            heights: hashes.iter().copied().zip(0..).collect(),
            hashes,
            filter_hashes: self.filter_hashes[..length].to_vec(),
            filter_headers: self.filter_headers[..length].to_vec(),
            bodies: self.bodies.range(..=height).map(|(height, body)| (*height, body.clone())).collect(),
            spacing: self.spacing,
            bulk: self.bulk,
        }
    }

    fn push(&mut self, header: Header, hash: BlockHash, body: Option<Body>) {
        let height = self.headers.len() as u32;
        let filter_hash = body.as_ref().map_or_else(|| bare_filter(&hash), |body| filter::hash(&body.filter));
        let before = self.filter_headers.last().copied().unwrap_or(FilterHeader::all_zeros());
        self.filter_hashes.push(filter_hash);
        self.filter_headers.push(filter::header(filter_hash, before));
        self.headers.push(header);
        self.hashes.push(hash);
        self.heights.insert(hash, height);
        if let Some(body) = body {
            self.bodies.insert(height, body);
        }
    }

    pub(crate) fn height(&self) -> u32 {
        self.headers.len() as u32 - 1
    }

    pub(crate) fn tip(&self) -> BlockId {
        self.block(self.height())
    }

    pub(crate) fn block(&self, height: u32) -> BlockId {
        BlockId { height, hash: self.hashes[height as usize] }
    }

    pub(crate) fn hash(&self, height: u32) -> BlockHash {
        self.hashes[height as usize]
    }

    pub(crate) fn headers(&self, from: u32, to: u32) -> &[Header] {
        &self.headers[from as usize..=to as usize]
    }

    pub(crate) fn filter_header(&self, height: u32) -> FilterHeader {
        self.filter_headers[height as usize]
    }

    pub(crate) fn height_of(&self, hash: &BlockHash) -> Option<u32> {
        self.heights.get(hash).copied()
    }

    pub(crate) fn body(&self, height: u32) -> Option<&Body> {
        self.bodies.get(&height)
    }

    pub(crate) fn filter_hash(&self, height: u32) -> FilterHash {
        self.filter_hashes[height as usize]
    }

    /// The filter header before the block at `first`, and the hashes of the filters from there to `last`.
    pub(crate) fn filter_range(&self, first: u32, last: u32) -> (FilterHeader, Vec<FilterHash>) {
        let before =
            first.checked_sub(1).map_or(FilterHeader::all_zeros(), |below| self.filter_header(below));
        (before, (first..=last).map(|height| self.filter_hash(height)).collect())
    }

    /// The filter headers at every thousandth block, up to a height.
    pub(crate) fn checkpoints(&self, height: u32) -> Vec<FilterHeader> {
        (1..=height / 1000).map(|number| self.filter_header(number * 1000)).collect()
    }

    /// The work up to and with the block at a height.
    pub(crate) fn work(&self, height: u32) -> Work {
        let mut bytes = [0; 32];
        // Each of regtest's blocks has that of two hashes.
        bytes[24..].copy_from_slice(&(2 * (u64::from(height) + 1)).to_be_bytes());
        Work::from_be_bytes(bytes)
    }

    /// Known blocks of this chain, `gap` apart, up to the height `to`.
    pub(crate) fn known(&self, gap: u32, to: u32) -> Vec<BlockId> {
        (1..=to / gap).map(|number| self.block(number * gap)).collect()
    }

    /// What Bitcoin Core answers to `getheaders`: what follows the first block of the locator that is in the chain.
    pub(crate) fn answer(&self, locator: &[BlockHash], stop: BlockHash) -> Vec<Header> {
        let fork = locator.iter().find_map(|hash| self.height_of(hash)).unwrap_or(0);
        let stop = self.height_of(&stop).filter(|stop| *stop > fork).unwrap_or(self.height());
        let last = stop.min(fork + MESSAGE as u32);
        self.headers[fork as usize + 1..=last as usize].to_vec()
    }
}

/// A header after `parent` with regtest's proof of work, and its hash.
pub(crate) fn mine(parent: BlockHash, merkle_root: TxMerkleNode, time: u32) -> (Header, BlockHash) {
    let mut header = genesis_block_header();
    header.version = Version::from_consensus(4);
    header.prev_blockhash = parent;
    header.merkle_root = merkle_root;
    header.time = time;
    header.nonce = 0;
    let target = Target::MAX_ATTAINABLE_REGTEST;
    loop {
        let hash = header.block_hash();
        if target.is_met_by(hash) {
            return (header, hash);
        }
        header.nonce += 1;
    }
}

fn genesis_block_header() -> Header {
    Header {
        version: Version::ONE,
        prev_blockhash: BlockHash::all_zeros(),
        merkle_root: TxMerkleNode::all_zeros(),
        time: 0,
        bits: bitcoin::CompactTarget::from_consensus(0x207f_ffff),
        nonce: 0,
    }
}

/// Stands for the filter of a block that nobody asks the filter of.
fn bare_filter(hash: &BlockHash) -> FilterHash {
    FilterHash::hash(hash.as_byte_array())
}

/// A filter of so many elements: 2.6 bytes for each.
pub(crate) fn filter_of(elements: u64) -> Vec<u8> {
    let mut transaction = coinbase(0, script(0));
    let output = |number| TxOut { value: Amount::ZERO, script_pubkey: script(number) };
    transaction.output = (0..elements).map(output).collect();
    let block = Block { header: genesis_block_header(), txdata: vec![transaction] };
    filter::basic(&block, |_| None::<ScriptBuf>).expect("a coinbase spends nothing")
}

/// A script that no other number has.
pub(crate) fn script(number: u64) -> ScriptBuf {
    let mut bytes = vec![0, 20];
    bytes.extend_from_slice(&[0; 12]);
    bytes.extend_from_slice(&number.to_be_bytes());
    ScriptBuf::from_bytes(bytes)
}

fn coinbase(tag: u64, script_pubkey: ScriptBuf) -> Transaction {
    Transaction {
        version: transaction::Version::TWO,
        lock_time: absolute::LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::null(),
            script_sig: ScriptBuf::from_bytes(tag.to_le_bytes().into()),
            sequence: Sequence::MAX,
            witness: Witness::new(),
        }],
        output: vec![TxOut { value: Amount::from_sat(5_000_000_000), script_pubkey }],
    }
}
