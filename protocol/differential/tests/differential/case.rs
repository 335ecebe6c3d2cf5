//! A tree of headers and the order in which it is told, without the hashes: so that a part can be left out and the
//! rest mined again.

use std::fmt;

use bitcoin::block::{Header, Version};
use bitcoin::hashes::Hash;
use bitcoin::{BlockHash, CompactTarget, Network, Target, TxMerkleNode};

/// The bits of every honest header on regtest.
pub(crate) const REGTEST_BITS: u32 = 0x207f_ffff;

/// The hardest target that is mined for: 4,096 hashes.
const HARDEST: u32 = 0x1f0f_ffff;

/// The place of the network's first block among the nodes.
pub(crate) const FIRST_BLOCK: usize = 0;

/// A tree and how it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Case {
    /// A parent comes before its children. The first stands for the network's first block.
    pub(crate) nodes: Vec<Node>,
    pub(crate) messages: Vec<Message>,
}

/// A header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) parent: Parent,
    pub(crate) version: i32,
    pub(crate) time: u32,
    pub(crate) bits: u32,
    /// Whether its hash is to be at or below the target that it states.
    pub(crate) mined: bool,
    /// Makes headers differ that are else alike.
    pub(crate) salt: u64,
}

/// What a header names as its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parent {
    Node(usize),
    /// A block that nobody has.
    Unknown(u64),
}

/// Headers that are told together, each the parent of the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// The clock, in seconds after 1970.
    pub(crate) now: u64,
    pub(crate) nodes: Vec<usize>,
}

impl Case {
    /// The headers of all nodes.
    pub(crate) fn headers(&self) -> Vec<Header> {
        let mut headers: Vec<Header> = Vec::with_capacity(self.nodes.len());
        let mut hashes: Vec<BlockHash> = Vec::with_capacity(self.nodes.len());
        for (place, node) in self.nodes.iter().enumerate() {
            let header = if place == FIRST_BLOCK {
                bitcoin::constants::genesis_block(Network::Regtest).header
            } else {
                let parent = match node.parent {
                    Parent::Node(parent) => hashes[parent],
                    Parent::Unknown(salt) => BlockHash::hash(&salt.to_le_bytes()),
                };
                mine(node, parent)
            };
            headers.push(header);
            hashes.push(header.block_hash());
        }
        headers
    }
}

impl Node {
    /// The network's first block. Nothing of this is looked at but the time.
    pub(crate) fn first_block() -> Self {
        let header = bitcoin::constants::genesis_block(Network::Regtest).header;
        Self {
            parent: Parent::Unknown(0),
            version: header.version.to_consensus(),
            time: header.time,
            bits: header.bits.to_consensus(),
            mined: true,
            salt: 0,
        }
    }
}

/// The header of a node, with a hash on the asked side of the target that it states. Where that is no target of
/// regtest's, or too hard a one, the hash is any.
fn mine(node: &Node, parent: BlockHash) -> Header {
    let mut header = Header {
        version: Version::from_consensus(node.version),
        prev_blockhash: parent,
        merkle_root: TxMerkleNode::hash(&node.salt.to_le_bytes()),
        time: node.time,
        bits: CompactTarget::from_consensus(node.bits),
        nonce: 0,
    };
    let [target, easiest, hardest] = [node.bits, REGTEST_BITS, HARDEST]
        .map(|bits| Target::from_compact(CompactTarget::from_consensus(bits)));
    if (hardest..=easiest).contains(&target) {
        while target.is_met_by(header.block_hash()) != node.mined {
            header.nonce += 1;
        }
    }
    header
}

impl fmt::Display for Case {
    /// As a table that a reader can follow, and a test can be written from.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers = self.headers();
        for (place, (node, header)) in self.nodes.iter().zip(&headers).enumerate().skip(1) {
            let parent = match node.parent {
                Parent::Node(parent) => parent.to_string(),
                Parent::Unknown(_) => "unknown".to_owned(),
            };
            writeln!(
                f,
                "  header {place}: parent {parent}, version {:#x}, time {}, bits {:#010x}, {}, {}",
                node.version,
                node.time,
                node.bits,
                if node.mined { "mined" } else { "not mined" },
                header.block_hash(),
            )?;
            writeln!(f, "    {}", bitcoin::consensus::encode::serialize_hex(header))?;
        }
        for message in &self.messages {
            writeln!(f, "  at {}: {:?}", message.now, message.nodes)?;
        }
        Ok(())
    }
}
