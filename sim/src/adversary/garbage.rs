//! Garbage, for each layer of a connection.

use andon_bitcoin::server::Chain;
use andon_bitcoin::wire::{
    CommandName, FILTER_TYPE_BASIC, Host, MAX_ADDRESSES, Message, NodeAddress, write_compact_size,
};
use bitcoin::block::Header;
use bitcoin::consensus::serialize;
use bitcoin::hashes::Hash;
use bitcoin::p2p::ServiceFlags;
use bitcoin::{BlockHash, FilterHash, FilterHeader};

use super::line::{Line, frame};
use crate::random::Stream;

/// What a connection to a liar that talks [garbage](super::Lie::Garbage) is filled with: the first by the camp's seed, each further
/// one with the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Garbage {
    /// Random bytes in place of a handshake.
    RandomBytes,
    /// A frame of another network in place of a handshake.
    OtherNetwork,
    /// A frame of this network in place of a handshake, encrypted or not, that is no `version`.
    OtherMessage,
    /// Random bytes behind the handshake: the header of a frame, or a packet that nobody has sealed.
    BrokenFrame,
    /// The header of a frame that says it has five million bytes; of an encrypted connection it is a packet that nobody has sealed.
    LongFrame,
    /// Frames whose checksum is not that of their contents; on an encrypted connection, which has none, packets for nothing.
    WrongChecksum,
    /// Messages with names that nobody knows.
    UnknownMessage,
    /// Messages with names that everybody knows, and contents that are too short, or of which a list claims to have more than there is.
    Malformed,
    /// A `version` after the handshake.
    SecondVersion,
    /// A filter that nobody asked for.
    UnaskedFilter,
    /// Filter headers that nobody asked for.
    UnaskedFilterHeaders,
    /// Checkpoints that nobody asked for.
    UnaskedCheckpoints,
    /// A block that nobody asked for.
    UnaskedBlock,
    /// Headers without a parent.
    UnaskedHeaders,
    /// Headers whose proof of work is none.
    HeadersWithoutWork,
    /// A thousand random addresses.
    UnaskedAddresses,
    /// That everything is missing.
    UnaskedNotFound,
}

impl Garbage {
    /// All of it.
    pub const ALL: [Self; 17] = [
        Self::RandomBytes,
        Self::OtherNetwork,
        Self::OtherMessage,
        Self::BrokenFrame,
        Self::LongFrame,
        Self::WrongChecksum,
        Self::UnknownMessage,
        Self::Malformed,
        Self::SecondVersion,
        Self::UnaskedFilter,
        Self::UnaskedFilterHeaders,
        Self::UnaskedCheckpoints,
        Self::UnaskedBlock,
        Self::UnaskedHeaders,
        Self::HeadersWithoutWork,
        Self::UnaskedAddresses,
        Self::UnaskedNotFound,
    ];

    /// What the `index`-th connection is filled with.
    pub(super) const fn of(index: u64) -> Self {
        Self::ALL[(index % Self::ALL.len() as u64) as usize]
    }

    /// Whether it comes in place of a handshake.
    pub(super) const fn is_first(self) -> bool {
        matches!(self, Self::RandomBytes | Self::OtherNetwork | Self::OtherMessage)
    }

    /// A piece of it, as bytes of the connection.
    pub(super) fn piece(
        self,
        magic: [u8; 4],
        chain: &Chain,
        stream: &mut Stream,
        line: &mut Line,
    ) -> Vec<u8> {
        match self {
            Self::RandomBytes | Self::BrokenFrame => random(stream, 300),
            Self::OtherNetwork => frame([0xf9, 0xbe, 0xb4, 0xd9], name("version"), &random(stream, 100)),
            Self::OtherMessage => {
                let bytes = line.write(&Message::Other(name("inv"), &[0]));
                if bytes.is_empty() { frame(magic, name("inv"), &[0]) } else { bytes }
            }
            Self::LongFrame => {
                let mut bytes = frame(magic, name("block"), &[]);
                bytes[16..20].copy_from_slice(&5_000_000u32.to_le_bytes());
                bytes
            }
            Self::WrongChecksum if line.is_encrypted() == Some(false) => {
                let mut bytes = frame(magic, name("inv"), &[0]);
                bytes[20] ^= 1;
                bytes
            }
            Self::WrongChecksum => {
                let length = stream.index(1000);
                line.decoy(length)
            }
            Self::UnknownMessage => {
                let contents = random(stream, 1000);
                line.write(&Message::Other(name("nobodyknows"), &contents))
            }
            Self::Malformed => {
                const KNOWN: [&str; 9] = [
                    "headers",
                    "inv",
                    "cfilter",
                    "cfheaders",
                    "cfcheckpt",
                    "addr",
                    "addrv2",
                    "notfound",
                    "pong",
                ];
                let command = name(KNOWN[stream.index(KNOWN.len())]);
                // A list of more items than anything has, and bytes for one of them; or next to nothing.
                let mut contents = Vec::new();
                if stream.below(2) == 0 {
                    write_compact_size(&mut contents, 1 << 31);
                    contents.extend_from_slice(&random(stream, 81));
                } else {
                    contents.extend_from_slice(&random(stream, 1));
                }
                line.write(&Message::Other(command, &contents))
            }
            Self::SecondVersion => line.write(&Message::Other(name("version"), &[0; 86])),
            Self::UnaskedFilter => {
                let block_hash = any_block(chain, stream);
                let filter = random(stream, 50);
                line.write(&Message::CFilter { filter_type: FILTER_TYPE_BASIC, block_hash, filter: &filter })
            }
            Self::UnaskedFilterHeaders => {
                let filter_hashes = [FilterHash::from_byte_array(stream.seed())];
                line.write(&Message::CFHeaders {
                    filter_type: FILTER_TYPE_BASIC,
                    stop_hash: any_block(chain, stream),
                    previous_filter_header: FilterHeader::from_byte_array(stream.seed()),
                    filter_hashes: filter_hashes.as_slice().into(),
                })
            }
            Self::UnaskedCheckpoints => {
                let filter_headers = [FilterHeader::from_byte_array(stream.seed())];
                line.write(&Message::CFCheckpt {
                    filter_type: FILTER_TYPE_BASIC,
                    stop_hash: any_block(chain, stream),
                    filter_headers: filter_headers.as_slice().into(),
                })
            }
            Self::UnaskedBlock => {
                let height = stream.below(u64::from(chain.height()) + 1) as u32;
                let block = chain.block_at(height).map(|block| serialize(&block)).unwrap_or_default();
                line.write(&Message::Block(&block))
            }
            Self::UnaskedHeaders => {
                let headers = orphans(chain, stream, true);
                line.write(&Message::Headers(headers.as_slice().into()))
            }
            Self::HeadersWithoutWork => {
                let headers = orphans(chain, stream, false);
                line.write(&Message::Headers(headers.as_slice().into()))
            }
            Self::UnaskedAddresses => {
                let told: Vec<NodeAddress> = (0..MAX_ADDRESSES).map(|_| anybody(stream)).collect();
                line.write(&Message::AddrV2(told))
            }
            Self::UnaskedNotFound => {
                let inventory = [andon_bitcoin::wire::Inventory::block(
                    andon_bitcoin::wire::INV_WITNESS_BLOCK,
                    any_block(chain, stream),
                )];
                line.write(&Message::NotFound(inventory.as_slice().into()))
            }
        }
    }
}

fn name(text: &str) -> CommandName {
    CommandName::new(text)
}

fn random(stream: &mut Stream, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 32);
    while bytes.len() < length {
        bytes.extend_from_slice(&stream.seed());
    }
    bytes.truncate(length);
    bytes
}

fn any_block(chain: &Chain, stream: &mut Stream) -> BlockHash {
    let height = stream.below(u64::from(chain.height()) + 1) as u32;
    chain.hash_at(height).unwrap_or_else(BlockHash::all_zeros)
}

/// Headers that follow each other, and nothing that anybody has; or the tip, with next to no chance of a proof of work.
fn orphans(chain: &Chain, stream: &mut Stream, is_orphaned: bool) -> Vec<Header> {
    let Some(mut header) = chain.header_at(chain.height()) else { return Vec::new() };
    header.prev_blockhash = if is_orphaned { BlockHash::from_byte_array(stream.seed()) } else { chain.tip() };
    if !is_orphaned {
        // A hundred times as much work as regtest wants, and a twelfth of a chance in a thousand to have it.
        header.bits = bitcoin::CompactTarget::from_consensus(0x1d00_ffff);
    }
    (0..5)
        .map(|_| {
            header.merkle_root = bitcoin::TxMerkleNode::from_byte_array(stream.seed());
            let this = header;
            header.prev_blockhash = this.block_hash();
            this
        })
        .collect()
}

fn anybody(stream: &mut Stream) -> NodeAddress {
    let [a, b, c, d, ..] = stream.u64().to_le_bytes();
    NodeAddress {
        time: stream.u64() as u32,
        services: ServiceFlags::from(stream.u64()),
        host: Host::Ip([a, b, c, d].into()),
        port: stream.u64() as u16,
    }
}
