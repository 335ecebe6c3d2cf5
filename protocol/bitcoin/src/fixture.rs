//! A small regtest chain made by real Bitcoin Core nodes (28.1): for tests and demonstrations.
//!
//! Two nodes mined it, with transactions of every common output type, and a branch of 7 blocks that one of 9 blocks
//! took the place of. The filters and filter headers are those that the nodes computed, so they judge ours.
//!
//! The bundled file, `data/regtest.bin`, is a list of fields without padding. Numbers are little-endian, a *blob* is a
//! `u32` length and as many bytes, a *list* is a `u32` count and as many items, hashes are in internal byte order:
//!
//! | field | |
//! |---|---|
//! | format | the 16 bytes `andon fixture 1\n` |
//! | made by | blob: the nodes' user agent |
//! | fork height | `u32` |
//! | chain work of the tip | 32 bytes, big-endian |
//! | coinbase script | blob |
//! | watched scripts | list of blobs |
//! | chain | list, from height 0: block (blob), filter (blob), filter header (32 bytes) |
//! | stale branch | list, from the height after the fork: the same |
//! | expected outputs | list: height `u32`, txid (32 bytes), output index `u32`, index of the watched script `u32`, satoshis `u64` |

use alloc::vec::Vec;

use bitcoin::consensus::deserialize;
use bitcoin::hashes::Hash;
use bitcoin::{Amount, Block, BlockHash, FilterHeader, OutPoint, Script, Txid, Work};

use crate::wire::Reader;

static REGTEST: &[u8] = include_bytes!("../data/regtest.bin");

/// The chain, what was reorganised away, and what a search of it must find.
#[derive(Clone, Debug)]
pub struct Fixture {
    /// The user agent of the nodes that made it.
    pub made_by: &'static str,
    /// From the genesis block to the tip.
    pub chain: Vec<FixtureBlock>,
    /// The branch that was the best once, from the height after the fork.
    pub stale: Vec<FixtureBlock>,
    /// The last block that both branches have.
    pub fork_height: u32,
    /// Of the tip, from the genesis block on.
    pub chain_work: Work,
    /// The script that the coinbases of the first 120 blocks pay to, and that many transactions spend from.
    pub coinbase_script: &'static Script,
    /// Scripts that some transactions pay to.
    pub watch_scripts: Vec<&'static Script>,
    /// Each output of the chain that pays one of them, in the chain's order.
    pub expected: Vec<ExpectedOutput>,
}

/// A block with what Bitcoin Core computed for it.
#[derive(Clone, Copy, Debug)]
pub struct FixtureBlock {
    /// Blocks before it.
    pub height: u32,
    /// As it goes over the wire, with witnesses.
    pub bytes: &'static [u8],
    /// Its basic filter (BIP158).
    pub filter: &'static [u8],
    /// The header of that filter.
    pub filter_header: FilterHeader,
}

impl FixtureBlock {
    /// The block.
    ///
    /// # Panics
    /// Never: each bundled block can be read, and a test reads them all.
    pub fn block(&self) -> Block {
        deserialize(self.bytes).expect("the bundled blocks are well-formed")
    }

    /// The hash of its header.
    pub fn hash(&self) -> BlockHash {
        BlockHash::hash(&self.bytes[..80])
    }
}

/// An output that a search must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExpectedOutput {
    /// Of its block.
    pub height: u32,
    /// Its transaction and index.
    pub outpoint: OutPoint,
    /// The watched script.
    pub script: &'static Script,
    /// What it is worth.
    pub amount: Amount,
}

/// The bundled regtest chain.
///
/// # Panics
/// If the bundled file is damaged, which a test would have told.
pub fn regtest() -> Fixture {
    let mut file = File(Reader::new(REGTEST));
    assert_eq!(file.take(16), b"andon fixture 1\n", "the bundled file has another format");
    let made_by = core::str::from_utf8(file.blob()).expect("a user agent is text");
    let fork_height = file.u32();
    let chain_work = Work::from_be_bytes(file.array());
    let coinbase_script = Script::from_bytes(file.blob());
    let watch_scripts: Vec<_> = (0..file.u32()).map(|_| Script::from_bytes(file.blob())).collect();
    let chain = file.blocks(0);
    let stale = file.blocks(fork_height + 1);
    let expected = (0..file.u32())
        .map(|_| ExpectedOutput {
            height: file.u32(),
            outpoint: OutPoint::new(Txid::from_byte_array(file.array()), file.u32()),
            script: watch_scripts[file.u32() as usize],
            amount: Amount::from_sat(u64::from_le_bytes(file.array())),
        })
        .collect();
    assert!(file.0.rest().is_empty(), "the bundled file goes on after its end");
    Fixture { made_by, chain, stale, fork_height, chain_work, coinbase_script, watch_scripts, expected }
}

/// The bundled file, as far as it has not been read. It is ours: what is wrong with it is a bug.
struct File(Reader<'static>);

impl File {
    fn take(&mut self, count: usize) -> &'static [u8] {
        self.0.take(count).expect("the bundled file is whole")
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        self.0.array().expect("the bundled file is whole")
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    fn blob(&mut self) -> &'static [u8] {
        let length = self.u32();
        self.take(length as usize)
    }

    fn blocks(&mut self, from: u32) -> Vec<FixtureBlock> {
        (from..from + self.u32())
            .map(|height| FixtureBlock {
                height,
                bytes: self.blob(),
                filter: self.blob(),
                filter_header: FilterHeader::from_byte_array(self.array()),
            })
            .collect()
    }
}
