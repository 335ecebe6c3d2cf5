//! Files of headers, made here byte by byte as their description says, sound or not.

use std::fs;
use std::path::Path;

use bitcoin::block::{Header, Version};
use bitcoin::consensus::serialize;
use bitcoin::constants::genesis_block;
use bitcoin::hashes::{Hash, sha256};
use bitcoin::{FilterHeader, Network, Work};

use super::FIXTURE;

/// What goes into a file, and what of it is a lie.
#[derive(Clone)]
pub(crate) struct HeaderFile {
    pub(crate) mark: [u8; 8],
    pub(crate) version: u32,
    pub(crate) magic: [u8; 4],
    pub(crate) start: u32,
    pub(crate) work: Work,
    pub(crate) headers: Vec<Header>,
    pub(crate) filter_headers: Vec<FilterHeader>,
}

impl HeaderFile {
    /// One that begins with a network's first block.
    pub(crate) fn new(network: Network, headers: Vec<Header>, filter_headers: Vec<FilterHeader>) -> Self {
        Self {
            mark: *b"\x89andon\r\n",
            version: 1,
            magic: network.magic().to_bytes(),
            start: 0,
            work: genesis_block(network).header.work(),
            headers,
            filter_headers,
        }
    }

    /// The bundled chain.
    pub(crate) fn bundled() -> Self {
        let headers = FIXTURE.chain.iter().map(|block| block.block().header).collect();
        let filter_headers = FIXTURE.chain.iter().map(|block| block.filter_header).collect();
        Self::new(Network::Regtest, headers, filter_headers)
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(self.mark);
        bytes.extend(self.version.to_le_bytes());
        bytes.extend(self.magic);
        for number in [self.start, self.headers.len() as u32, self.filter_headers.len() as u32] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(self.work.to_be_bytes());
        bytes.extend(self.headers.iter().flat_map(serialize));
        bytes.extend(self.filter_headers.iter().flat_map(|header| header.to_byte_array()));
        sealed(bytes)
    }

    pub(crate) fn write(&self, path: &Path) {
        fs::write(path, self.bytes()).unwrap();
    }
}

/// With the checksum of what is there.
pub(crate) fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let digest = sha256::Hash::hash(&bytes);
    bytes.extend(digest.to_byte_array());
    bytes
}

/// A header of a regtest chain after this one, with its proof of work.
pub(crate) fn next(parent: &Header, seconds: u32) -> Header {
    mined(Header {
        version: Version::from_consensus(0x2000_0000),
        prev_blockhash: parent.block_hash(),
        time: parent.time + seconds,
        nonce: 0,
        ..*parent
    })
}

/// The same header with proof of work.
pub(crate) fn mined(mut header: Header) -> Header {
    while !header.target().is_met_by(header.block_hash()) {
        header.nonce += 1;
    }
    header
}

/// The same header without proof of work.
pub(crate) fn without_work(mut header: Header) -> Header {
    while header.target().is_met_by(header.block_hash()) {
        header.nonce += 1;
    }
    header
}

/// A regtest chain of so many headers, a minute apart, and as many filter headers.
pub(crate) fn long_chain(count: usize) -> HeaderFile {
    let genesis = genesis_block(Network::Regtest).header;
    let headers: Vec<Header> =
        std::iter::successors(Some(genesis), |parent| Some(next(parent, 60))).take(count).collect();
    // Any 32 bytes that depend on the block.
    let filter_header = |header: &Header| {
        FilterHeader::from_byte_array(sha256::Hash::hash(header.block_hash().as_byte_array()).to_byte_array())
    };
    let filter_headers = headers.iter().map(filter_header).collect();
    HeaderFile::new(Network::Regtest, headers, filter_headers)
}
