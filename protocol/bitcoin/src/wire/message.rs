//! The messages that a light client and its servers exchange (BIP31, 130, 133, 152, 155, 157, 339 and the first
//! protocol), decoded without a copy.

use alloc::vec::Vec;

use bitcoin::block::Header;
use bitcoin::hashes::Hash;
use bitcoin::{BlockHash, FilterHash, FilterHeader};

use super::codec::{Item, Items, Malformed, Reader, write_compact_size};
use super::{CommandName, NodeAddress, Version, address, write_frame};

/// Headers in a `headers` message, at most.
pub const MAX_HEADERS: usize = 2000;
/// Hashes in a locator, at most.
pub const MAX_LOCATOR: usize = 101;
/// Filters for one `getcfilters`, at most.
pub const MAX_CFILTERS: u32 = 1000;
/// Filter hashes for one `getcfheaders`, at most.
pub const MAX_CFHEADERS: u32 = 2000;
/// Entries in an `inv`, `getdata` or `notfound`, at most.
pub const MAX_INVENTORY: usize = 50_000;

/// The type of the basic filters of BIP158.
pub const FILTER_TYPE_BASIC: u8 = 0;

/// A transaction by its txid.
pub const INV_TX: u32 = 1;
/// A block; asked for so, it comes without witnesses.
pub const INV_BLOCK: u32 = 2;
/// A block; asked for so, it may come as a compact one (BIP152).
pub const INV_COMPACT_BLOCK: u32 = 4;
/// A transaction by its wtxid (BIP339).
pub const INV_WTX: u32 = 5;
/// Added to a kind in `getdata`: with witnesses (BIP144).
pub const INV_WITNESS_FLAG: u32 = 1 << 30;
/// A transaction by its txid, to come with witnesses.
pub const INV_WITNESS_TX: u32 = INV_TX | INV_WITNESS_FLAG;
/// A block, to come with witnesses.
pub const INV_WITNESS_BLOCK: u32 = INV_BLOCK | INV_WITNESS_FLAG;

/// A message.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "each is the message of that name, in the words of its BIP")]
pub enum Message<'a> {
    Addr(Vec<NodeAddress>),
    AddrV2(Vec<NodeAddress>),
    /// Not decoded here: it is large, and what it must be is known only to who asked for it.
    Block(&'a [u8]),
    CFCheckpt {
        filter_type: u8,
        stop_hash: BlockHash,
        filter_headers: Items<'a, FilterHeader>,
    },
    CFHeaders {
        filter_type: u8,
        stop_hash: BlockHash,
        previous_filter_header: FilterHeader,
        filter_hashes: Items<'a, FilterHash>,
    },
    CFilter {
        filter_type: u8,
        block_hash: BlockHash,
        filter: &'a [u8],
    },
    /// The lowest fee rate of transactions that the sender wants to hear of, in satoshis for 1000 virtual bytes.
    FeeFilter(u64),
    GetAddr,
    GetCFCheckpt {
        filter_type: u8,
        stop_hash: BlockHash,
    },
    GetCFHeaders(FilterRequest),
    GetCFilters(FilterRequest),
    GetData(Items<'a, Inventory>),
    GetHeaders(GetHeaders<'a>),
    Headers(Items<'a, Header>),
    Inv(Items<'a, Inventory>),
    NotFound(Items<'a, Inventory>),
    Ping(u64),
    Pong(u64),
    SendAddrV2,
    SendCmpct {
        high_bandwidth: bool,
        version: u64,
    },
    SendHeaders,
    /// Not decoded here.
    Tx(&'a [u8]),
    Verack,
    Version(Version<'a>),
    WtxidRelay,
    /// Any other: its contents are not looked at.
    Other(CommandName, &'a [u8]),
}

/// What `getcfilters` and `getcfheaders` ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "in the words of BIP157")]
pub struct FilterRequest {
    pub filter_type: u8,
    pub start_height: u32,
    pub stop_hash: BlockHash,
}

/// What `getheaders` asks for: the headers after the first hash of the locator that the other side knows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GetHeaders<'a> {
    /// Newest first.
    pub locator: Items<'a, BlockHash>,
    /// The last that is wanted; all zeros: as many as there are.
    pub stop_hash: BlockHash,
}

/// One entry of an `inv`, `getdata` or `notfound`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inventory {
    /// One of the `INV_` constants, or something newer.
    pub kind: u32,
    /// Of the transaction or block.
    pub hash: [u8; 32],
}

impl Inventory {
    /// A block.
    pub fn block(kind: u32, hash: BlockHash) -> Self {
        Self { kind, hash: hash.to_byte_array() }
    }
}

impl Item for Inventory {
    const SIZE: usize = 36;

    fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        Ok(Self { kind: reader.u32()?, hash: reader.array()? })
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.kind.to_le_bytes());
        out.extend_from_slice(&self.hash);
    }
}

macro_rules! names {
    ($($name:ident = $text:literal,)*) => {
        $(const $name: CommandName = CommandName::new($text);)*
    };
}

names! {
    ADDR = "addr",
    ADDRV2 = "addrv2",
    BLOCK = "block",
    CFCHECKPT = "cfcheckpt",
    CFHEADERS = "cfheaders",
    CFILTER = "cfilter",
    FEEFILTER = "feefilter",
    GETADDR = "getaddr",
    GETCFCHECKPT = "getcfcheckpt",
    GETCFHEADERS = "getcfheaders",
    GETCFILTERS = "getcfilters",
    GETDATA = "getdata",
    GETHEADERS = "getheaders",
    HEADERS = "headers",
    INV = "inv",
    NOTFOUND = "notfound",
    PING = "ping",
    PONG = "pong",
    SENDADDRV2 = "sendaddrv2",
    SENDCMPCT = "sendcmpct",
    SENDHEADERS = "sendheaders",
    TX = "tx",
    VERACK = "verack",
    VERSION = "version",
    WTXIDRELAY = "wtxidrelay",
}

impl<'a> Message<'a> {
    /// Decodes a frame's contents. What follows a well-formed message is passed over, as Bitcoin Core does.
    ///
    /// # Errors
    /// If the contents of a message known here are not what its name says.
    pub fn decode(command: CommandName, payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        Ok(match command {
            ADDR => Self::Addr(address::read_v1(&mut reader)?),
            ADDRV2 => Self::AddrV2(address::read_v2(&mut reader)?),
            BLOCK => Self::Block(payload),
            CFCHECKPT => Self::CFCheckpt {
                filter_type: reader.u8()?,
                stop_hash: reader.item()?,
                filter_headers: reader.items()?,
            },
            CFHEADERS => Self::CFHeaders {
                filter_type: reader.u8()?,
                stop_hash: reader.item()?,
                previous_filter_header: reader.item()?,
                filter_hashes: reader.items()?,
            },
            CFILTER => Self::CFilter {
                filter_type: reader.u8()?,
                block_hash: reader.item()?,
                filter: {
                    let length = reader.compact_size()?;
                    reader.take(length)?
                },
            },
            FEEFILTER => Self::FeeFilter(reader.u64()?),
            GETADDR => Self::GetAddr,
            GETCFCHECKPT => Self::GetCFCheckpt { filter_type: reader.u8()?, stop_hash: reader.item()? },
            GETCFHEADERS => Self::GetCFHeaders(FilterRequest::read(&mut reader)?),
            GETCFILTERS => Self::GetCFilters(FilterRequest::read(&mut reader)?),
            GETDATA => Self::GetData(reader.items()?),
            GETHEADERS => {
                reader.u32()?;
                Self::GetHeaders(GetHeaders { locator: reader.items()?, stop_hash: reader.item()? })
            }
            HEADERS => Self::Headers(reader.items()?),
            INV => Self::Inv(reader.items()?),
            NOTFOUND => Self::NotFound(reader.items()?),
            PING => Self::Ping(reader.u64()?),
            PONG => Self::Pong(reader.u64()?),
            SENDADDRV2 => Self::SendAddrV2,
            SENDCMPCT => Self::SendCmpct { high_bandwidth: reader.u8()? != 0, version: reader.u64()? },
            SENDHEADERS => Self::SendHeaders,
            TX => Self::Tx(payload),
            VERACK => Self::Verack,
            VERSION => Self::Version(Version::read(payload)?),
            WTXIDRELAY => Self::WtxidRelay,
            other => Self::Other(other, payload),
        })
    }

    /// Its name.
    pub const fn command(&self) -> CommandName {
        match self {
            Self::Addr(_) => ADDR,
            Self::AddrV2(_) => ADDRV2,
            Self::Block(_) => BLOCK,
            Self::CFCheckpt { .. } => CFCHECKPT,
            Self::CFHeaders { .. } => CFHEADERS,
            Self::CFilter { .. } => CFILTER,
            Self::FeeFilter(_) => FEEFILTER,
            Self::GetAddr => GETADDR,
            Self::GetCFCheckpt { .. } => GETCFCHECKPT,
            Self::GetCFHeaders(_) => GETCFHEADERS,
            Self::GetCFilters(_) => GETCFILTERS,
            Self::GetData(_) => GETDATA,
            Self::GetHeaders(_) => GETHEADERS,
            Self::Headers(_) => HEADERS,
            Self::Inv(_) => INV,
            Self::NotFound(_) => NOTFOUND,
            Self::Ping(_) => PING,
            Self::Pong(_) => PONG,
            Self::SendAddrV2 => SENDADDRV2,
            Self::SendCmpct { .. } => SENDCMPCT,
            Self::SendHeaders => SENDHEADERS,
            Self::Tx(_) => TX,
            Self::Verack => VERACK,
            Self::Version(_) => VERSION,
            Self::WtxidRelay => WTXIDRELAY,
            Self::Other(command, _) => *command,
        }
    }

    /// Appends it as a frame of the network with the four bytes `magic`.
    ///
    /// # Panics
    /// If it is longer than a message may be.
    pub fn write(&self, out: &mut Vec<u8>, magic: [u8; 4]) {
        write_frame(out, magic, self.command(), |out| self.write_payload(out));
    }

    /// Appends its contents.
    pub(crate) fn write_payload(&self, out: &mut Vec<u8>) {
        match self {
            Self::GetAddr | Self::SendAddrV2 | Self::SendHeaders | Self::Verack | Self::WtxidRelay => {}
            Self::Addr(addresses) => address::write_v1(addresses, out),
            Self::AddrV2(addresses) => address::write_v2(addresses, out),
            Self::Block(bytes) | Self::Tx(bytes) | Self::Other(_, bytes) => out.extend_from_slice(bytes),
            Self::CFCheckpt { filter_type, stop_hash, filter_headers } => {
                out.push(*filter_type);
                stop_hash.write(out);
                filter_headers.write(out);
            }
            Self::CFHeaders { filter_type, stop_hash, previous_filter_header, filter_hashes } => {
                out.push(*filter_type);
                stop_hash.write(out);
                previous_filter_header.write(out);
                filter_hashes.write(out);
            }
            Self::CFilter { filter_type, block_hash, filter } => {
                out.push(*filter_type);
                block_hash.write(out);
                write_compact_size(out, filter.len() as u64);
                out.extend_from_slice(filter);
            }
            Self::FeeFilter(number) | Self::Ping(number) | Self::Pong(number) => {
                out.extend_from_slice(&number.to_le_bytes());
            }
            Self::GetCFCheckpt { filter_type, stop_hash } => {
                out.push(*filter_type);
                stop_hash.write(out);
            }
            Self::GetCFHeaders(request) | Self::GetCFilters(request) => request.write(out),
            Self::GetData(items) | Self::Inv(items) | Self::NotFound(items) => items.write(out),
            Self::GetHeaders(request) => {
                out.extend_from_slice(&super::PROTOCOL_VERSION.to_le_bytes());
                request.locator.write(out);
                request.stop_hash.write(out);
            }
            Self::Headers(headers) => headers.write(out),
            Self::SendCmpct { high_bandwidth, version } => {
                out.push((*high_bandwidth).into());
                out.extend_from_slice(&version.to_le_bytes());
            }
            Self::Version(version) => version.write(out),
        }
    }
}

impl FilterRequest {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { filter_type: reader.u8()?, start_height: reader.u32()?, stop_hash: reader.item()? })
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.push(self.filter_type);
        out.extend_from_slice(&self.start_height.to_le_bytes());
        self.stop_hash.write(out);
    }
}
