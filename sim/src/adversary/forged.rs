//! Filters that lack payments, and the filter headers that are theirs (BIP157, BIP158).

use std::collections::{BTreeMap, BTreeSet};

use andon_bitcoin::filter;
use andon_bitcoin::server::Chain;
use bitcoin::hashes::Hash;
use bitcoin::{Block, BlockHash, FilterHash, FilterHeader, OutPoint, ScriptBuf};

use crate::random::Stream;

/// What a camp says of the filters of a chain, by height.
#[derive(Clone, Debug)]
pub(super) struct Forged {
    from: u32,
    hides: BTreeSet<ScriptBuf>,
    /// A script that nobody has, in each false filter: two camps do not even agree about what they leave out.
    mark: ScriptBuf,
    /// The outputs of the chain, as far as they are looked at.
    outputs: BTreeMap<OutPoint, ScriptBuf>,
    entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    block: BlockHash,
    /// Where it is false.
    filter: Option<Vec<u8>>,
    filter_hash: FilterHash,
    filter_header: FilterHeader,
}

impl Forged {
    pub(super) fn new(from: u32, hides: Vec<ScriptBuf>, seed: u64) -> Self {
        let mut mark = vec![0, 20];
        mark.extend_from_slice(&Stream::new(seed).fork("mark").seed()[..20]);
        Self {
            from,
            hides: hides.into_iter().collect(),
            mark: ScriptBuf::from_bytes(mark),
            outputs: BTreeMap::new(),
            entries: Vec::new(),
        }
    }

    /// Says as much of what a chain has become.
    pub(super) fn follow(&mut self, chain: &Chain) {
        let both = (0..).zip(&self.entries);
        let same = both.take_while(|(height, entry)| chain.hash_at(*height) == Some(entry.block)).count();
        self.entries.truncate(same);
        for height in same as u32..=chain.height() {
            let (Some(block), Some(right)) = (chain.block_at(height), chain.filter_at(height)) else { break };
            let filter = self.falsified(height, &block);
            let filter_hash = filter::hash(filter.as_deref().unwrap_or(right));
            let before = self.entries.last().map_or(FilterHeader::all_zeros(), |entry| entry.filter_header);
            let filter_header = filter::header(filter_hash, before);
            let block = block.block_hash();
            self.entries.push(Entry { block, filter, filter_hash, filter_header });
        }
    }

    /// The filter that a block is said to have, if it is not its own.
    fn falsified(&mut self, height: u32, block: &Block) -> Option<Vec<u8>> {
        let mut scripts: Vec<ScriptBuf> = Vec::new();
        for (position, transaction) in block.txdata.iter().enumerate() {
            let txid = transaction.compute_txid();
            for (output, number) in transaction.output.iter().zip(0..) {
                self.outputs.insert(OutPoint::new(txid, number), output.script_pubkey.clone());
                scripts.push(output.script_pubkey.clone());
            }
            if position > 0 {
                let spent = transaction.input.iter();
                scripts.extend(spent.filter_map(|input| self.outputs.get(&input.previous_output).cloned()));
            }
        }
        let hides_all = self.hides.is_empty();
        let is_false = hides_all || scripts.iter().any(|script| self.hides.contains(script));
        if height < self.from || !is_false {
            return None;
        }
        let counts = |script: &&ScriptBuf| {
            !hides_all && !script.is_empty() && !script.is_op_return() && !self.hides.contains(*script)
        };
        let told: BTreeSet<&ScriptBuf> = scripts.iter().filter(counts).chain([&self.mark]).collect();
        Some(filter::build(&block.block_hash(), told.into_iter().map(|script| script.as_bytes())))
    }

    /// The false filter of a block, if it has one.
    pub(super) fn filter(&self, height: u32) -> Option<&[u8]> {
        self.entries.get(height as usize)?.filter.as_deref()
    }

    pub(super) fn filter_hash(&self, height: u32) -> Option<FilterHash> {
        Some(self.entries.get(height as usize)?.filter_hash)
    }

    pub(super) fn filter_header(&self, height: u32) -> Option<FilterHeader> {
        Some(self.entries.get(height as usize)?.filter_header)
    }
}
