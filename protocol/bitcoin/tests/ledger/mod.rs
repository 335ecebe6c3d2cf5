//! A chain in memory, peers that answer from it at once, and a client whose store can be looked at, damaged and cut
//! short: for tests of what outlives a run.
//!
//! Most blocks of a made-up chain have a header and an empty filter, and no more: a client asks for no others.

#![allow(dead_code, reason = "each test uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

pub(crate) mod harm;
pub(crate) mod old;
mod room;
mod shelf;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use andon_bitcoin::client::{BlockId, TouchKind};
use andon_bitcoin::filter;
use andon_bitcoin::fixture::{Fixture, FixtureBlock};
use andon_bitcoin::wire::{FILTER_TYPE_BASIC, MAX_HEADERS, Message};
use bitcoin::block::{Header, Version};
use bitcoin::hashes::Hash;
use bitcoin::{
    Amount, Block, BlockHash, CompactTarget, FilterHash, FilterHeader, Network, OutPoint, ScriptBuf,
    TxMerkleNode, Txid, Work,
};

use crate::common;

pub(crate) use room::Room;
pub(crate) use shelf::{Dump, Shelf};

/// After every block of any chain here.
pub(crate) const BEGIN: u64 = 1_800_000_000;

/// A checksum ends each value.
pub(crate) const SEAL: usize = 4;

/// The key of a row that begins at a height.
pub(crate) fn key(height: u32) -> [u8; 4] {
    height.to_be_bytes()
}

/// A filter that holds nothing.
const EMPTY_FILTER: [u8; 1] = [0];

/// A script that is watched in most tests is paid in each of these blocks, and in the one at the tip.
const PAID_EVERY: u32 = 397;

/// Where, in which transaction, which way, and how much.
pub(crate) type Finding = (u32, Txid, TouchKind, Amount);

/// A chain as a peer has it.
#[derive(Clone)]
pub(crate) struct Ledger {
    pub(crate) network: Network,
    /// The height of the first header.
    pub(crate) base: u32,
    pub(crate) headers: Vec<Header>,
    pub(crate) hashes: Vec<BlockHash>,
    heights: HashMap<BlockHash, u32>,
    /// The filter header before the first one.
    before: FilterHeader,
    filter_hashes: Vec<FilterHash>,
    pub(crate) filter_headers: Vec<FilterHeader>,
    /// Those that are not empty.
    filters: BTreeMap<u32, Vec<u8>>,
    /// Those that a filter speaks of.
    blocks: BTreeMap<u32, Block>,
}

/// The script that the blocks of a made-up chain pay, of a few.
pub(crate) fn payee(number: u64) -> ScriptBuf {
    common::script(0xfeed_0000 + number)
}

/// Those that are paid, in turns.
pub(crate) const PAYEES: u64 = 3;

impl Ledger {
    fn new(network: Network, base: u32) -> Self {
        let before = match base {
            0 => FilterHeader::all_zeros(),
            base => FilterHeader::hash(&base.to_le_bytes()),
        };
        Self {
            network,
            base,
            headers: Vec::new(),
            hashes: Vec::new(),
            heights: HashMap::new(),
            before,
            filter_hashes: Vec::new(),
            filter_headers: Vec::new(),
            filters: BTreeMap::new(),
            blocks: BTreeMap::new(),
        }
    }

    /// A regtest chain with its tip at this height. Some blocks pay [`payee`]s, and some of those spend what an earlier one
    /// paid.
    pub(crate) fn regtest(tip: u32) -> Self {
        let mut ledger = Self::new(Network::Regtest, 0);
        ledger.push(bitcoin::constants::genesis_block(Network::Regtest).header, &EMPTY_FILTER);
        ledger.grow(tip, 0);
        ledger
    }

    /// The chain of Bitcoin Core's that is bundled.
    pub(crate) fn fixture(fixture: &Fixture) -> Self {
        let mut ledger = Self::new(Network::Regtest, 0);
        ledger.push_fixture(&fixture.chain);
        ledger
    }

    /// As that, on the branch that was given up.
    pub(crate) fn fixture_stale(fixture: &Fixture) -> Self {
        let mut ledger = Self::new(Network::Regtest, 0);
        ledger.push_fixture(&fixture.chain[..=fixture.fork_height as usize]);
        ledger.push_fixture(&fixture.stale);
        ledger
    }

    /// Headers of a real chain from a height on. Their filters are made up: empty ones.
    pub(crate) fn real(network: Network, base: u32, headers: &[Header]) -> Self {
        let mut ledger = Self::new(network, base);
        headers.iter().for_each(|header| ledger.push(*header, &EMPTY_FILTER));
        ledger
    }

    /// This chain up to `fork`, and other blocks above up to `tip`. Branches with other tags differ.
    pub(crate) fn branch(&self, fork: u32, tip: u32, tag: u64) -> Self {
        let mut branch = self.up_to(fork);
        branch.grow(tip, tag);
        branch
    }

    /// This chain up to a height.
    pub(crate) fn up_to(&self, tip: u32) -> Self {
        let count = (tip + 1 - self.base) as usize;
        let mut shorter = self.clone();
        shorter.headers.truncate(count);
        for hash in shorter.hashes.drain(count..) {
            shorter.heights.remove(&hash);
        }
        shorter.filter_hashes.truncate(count);
        shorter.filter_headers.truncate(count);
        shorter.filters.split_off(&(tip + 1));
        shorter.blocks.split_off(&(tip + 1));
        shorter
    }

    fn grow(&mut self, tip: u32, tag: u64) {
        for height in self.tip().height + 1..=tip {
            if height % PAID_EVERY == 1 || height == tip {
                self.pay(height, tag);
            } else {
                let mut header = self.next_header();
                header.merkle_root =
                    TxMerkleNode::hash(&[tag.to_le_bytes(), u64::from(height).to_le_bytes()].concat());
                solve(&mut header);
                self.push(header, &EMPTY_FILTER);
            }
        }
    }

    /// A block that pays a script, and spends what the one before such paid, if it is not spent.
    fn pay(&mut self, height: u32, tag: u64) {
        let number = tag << 32 | u64::from(height);
        let script = payee(u64::from(height) % PAYEES);
        let mut transactions = vec![common::coinbase(number, script)];
        let mut scripts: Vec<Vec<u8>> = vec![transactions[0].output[0].script_pubkey.to_bytes()];
        if height.is_multiple_of(2)
            && let Some((_, earlier)) = self.blocks.last_key_value()
        {
            let spent = &earlier.txdata[0];
            let outpoint = OutPoint { txid: spent.compute_txid(), vout: 0 };
            transactions.push(common::spend(outpoint, payee(0)));
            scripts.push(spent.output[0].script_pubkey.to_bytes());
            scripts.push(payee(0).to_bytes());
        }
        let header = self.next_header();
        let mut block = common::block(header.prev_blockhash, header.time, transactions);
        block.header.version = header.version;
        solve(&mut block.header);
        let filter = filter::build(&block.block_hash(), scripts.iter().map(Vec::as_slice));
        self.push(block.header, &filter);
        self.blocks.insert(height, block);
    }

    fn next_header(&self) -> Header {
        Header {
            version: Version::from_consensus(0x2000_0000),
            prev_blockhash: self.tip().hash,
            merkle_root: TxMerkleNode::all_zeros(),
            time: self.headers.last().unwrap().time + 60,
            bits: CompactTarget::from_consensus(0x207f_ffff),
            nonce: 0,
        }
    }

    fn push_fixture(&mut self, blocks: &[FixtureBlock]) {
        for block in blocks {
            self.push(block.block().header, block.filter);
            assert_eq!(self.filter_headers.last(), Some(&block.filter_header));
            self.blocks.insert(block.height, block.block());
        }
    }

    fn push(&mut self, header: Header, filter: &[u8]) {
        let height = self.base + self.headers.len() as u32;
        let hash = header.block_hash();
        self.headers.push(header);
        self.hashes.push(hash);
        self.heights.insert(hash, height);
        let previous = self.filter_headers.last().copied().unwrap_or(self.before);
        let filter_hash = filter::hash(filter);
        self.filter_hashes.push(filter_hash);
        self.filter_headers.push(filter::header(filter_hash, previous));
        if *filter != EMPTY_FILTER {
            self.filters.insert(height, filter.into());
        }
    }

    /// The last block.
    pub(crate) fn tip(&self) -> BlockId {
        self.block(self.base + self.headers.len() as u32 - 1)
    }

    pub(crate) fn block(&self, height: u32) -> BlockId {
        BlockId { height, hash: self.hashes[(height - self.base) as usize] }
    }

    pub(crate) fn header(&self, height: u32) -> Header {
        self.headers[(height - self.base) as usize]
    }

    pub(crate) fn headers(&self, from: u32, to: u32) -> &[Header] {
        &self.headers[(from - self.base) as usize..=(to - self.base) as usize]
    }

    pub(crate) fn filter_headers(&self, from: u32, to: u32) -> &[FilterHeader] {
        &self.filter_headers[(from - self.base) as usize..=(to - self.base) as usize]
    }

    pub(crate) fn height_of(&self, hash: &BlockHash) -> Option<u32> {
        self.heights.get(hash).copied()
    }

    /// The work up to and with a block, where that up to and with the first one is `first`.
    pub(crate) fn work_from(&self, first: Work, height: u32) -> Work {
        let above = self.headers(self.base, height).iter().skip(1);
        above.fold(first, |work, header| work + header.work())
    }

    /// The work up to and with a block of a chain from the network's first one on.
    pub(crate) fn work(&self, height: u32) -> Work {
        assert_eq!(self.base, 0);
        self.work_from(self.headers[0].work(), height)
    }

    /// What a search for these scripts finds, from a height on.
    pub(crate) fn findings(&self, scripts: &[ScriptBuf], from: u32) -> BTreeSet<Finding> {
        let mut outputs = BTreeMap::new();
        let mut found = BTreeSet::new();
        for (&height, block) in self.blocks.range(from..) {
            for transaction in &block.txdata {
                let txid = transaction.compute_txid();
                for (input, spent) in (0..).zip(&transaction.input) {
                    if let Some(amount) = outputs.remove(&spent.previous_output) {
                        let kind = TouchKind::Spent { input, outpoint: spent.previous_output };
                        found.insert((height, txid, kind, amount));
                    }
                }
                for (output, paid) in (0..).zip(&transaction.output) {
                    if scripts.contains(&paid.script_pubkey) {
                        outputs.insert(OutPoint { txid, vout: output }, paid.value);
                        found.insert((height, txid, TouchKind::Received { output }, paid.value));
                    }
                }
            }
        }
        found
    }

    /// Appends what an honest node with this chain answers.
    fn answer(&self, question: &Message<'_>, out: &mut Vec<u8>) {
        let magic = self.network.magic().to_bytes();
        match question {
            Message::Ping(nonce) => Message::Pong(*nonce).write(out, magic),
            Message::GetHeaders(request) => {
                let known = request.locator.iter().find_map(|hash| self.height_of(&hash));
                let from = known.map_or(self.base, |height| height + 1) - self.base;
                let stop = self
                    .height_of(&request.stop_hash)
                    .map_or(usize::MAX, |stop| (stop - self.base) as usize + 1);
                let to = self.headers.len().min(from as usize + MAX_HEADERS).min(stop);
                let headers = self.headers.get(from as usize..to).unwrap_or_default();
                Message::Headers(headers.into()).write(out, magic);
            }
            Message::GetCFHeaders(request) => {
                let Some(stop) = self.height_of(&request.stop_hash) else { return };
                let (from, to) = ((request.start_height - self.base) as usize, (stop - self.base) as usize);
                let previous = from.checked_sub(1).map_or(self.before, |below| self.filter_headers[below]);
                Message::CFHeaders {
                    filter_type: FILTER_TYPE_BASIC,
                    stop_hash: request.stop_hash,
                    previous_filter_header: previous,
                    filter_hashes: self.filter_hashes[from..=to].into(),
                }
                .write(out, magic);
            }
            Message::GetCFilters(request) => {
                let Some(stop) = self.height_of(&request.stop_hash) else { return };
                for height in request.start_height..=stop {
                    let filter = self.filters.get(&height).map_or(&EMPTY_FILTER[..], Vec::as_slice);
                    let block_hash = self.block(height).hash;
                    Message::CFilter { filter_type: FILTER_TYPE_BASIC, block_hash, filter }.write(out, magic);
                }
            }
            Message::GetData(wanted) => {
                for item in wanted.iter() {
                    let height = self.height_of(&BlockHash::from_byte_array(item.hash)).unwrap();
                    let bytes = bitcoin::consensus::serialize(&self.blocks[&height]);
                    Message::Block(&bytes).write(out, magic);
                }
            }
            _ => {}
        }
    }
}

fn solve(header: &mut Header) {
    while !header.target().is_met_by(header.block_hash()) {
        header.nonce += 1;
    }
}

/// # Panics
/// If a row of one is not in the other, or has another value there.
pub(crate) fn same(found: &Dump, expected: &Dump, what: &str) {
    let differs = |row: &(&'static str, Vec<u8>)| found.get(row) != expected.get(row);
    let all: BTreeSet<_> = found.keys().chain(expected.keys()).collect();
    let rows: Vec<_> = all.into_iter().filter(|row| differs(row)).collect();
    let shown: Vec<String> = rows
        .iter()
        .take(8)
        .map(|row| {
            let length = |dump: &Dump| dump.get(*row).map(Vec::len);
            format!(
                "{} {:02x?}: found {:?} bytes, expected {:?}",
                row.0,
                row.1,
                length(found),
                length(expected)
            )
        })
        .collect();
    assert!(rows.is_empty(), "{what}: {} rows differ:\n{}", rows.len(), shown.join("\n"));
}
