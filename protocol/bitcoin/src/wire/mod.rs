//! Messages of Bitcoin's peer-to-peer protocol, and the frames of transport version 1, shared by the client and the server.
//! [`transport`](crate::transport) has what goes over a connection.
//!
//! Decoding borrows from the bytes that came and allocates nothing by a length that a peer claims. What a message
//! means, and whether it is allowed, is decided elsewhere.

mod address;
mod codec;
mod frame;
mod message;
mod version;

pub use address::{Host, MAX_ADDRESSES, NodeAddress};
pub use codec::{Item, Items, Malformed, Reader, write_compact_size};
pub use frame::{Frame, FrameError, FrameReader, MAX_PAYLOAD, write_frame};
pub(crate) use frame::{KEPT_BYTES, make_room};
pub use message::{
    FILTER_TYPE_BASIC, FilterRequest, GetHeaders, INV_BLOCK, INV_COMPACT_BLOCK, INV_TX, INV_WITNESS_BLOCK,
    INV_WITNESS_FLAG, INV_WITNESS_TX, INV_WTX, Inventory, MAX_CFHEADERS, MAX_CFILTERS, MAX_HEADERS,
    MAX_INVENTORY, MAX_LOCATOR, Message,
};
pub use version::{PROTOCOL_VERSION, Version};

use core::fmt;

/// The name of a message: ASCII, filled up with zeros.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandName([u8; 12]);

impl CommandName {
    /// The name `text`.
    ///
    /// # Panics
    /// If it is longer than 12 bytes.
    pub const fn new(text: &str) -> Self {
        let mut bytes = [0; 12];
        let text = text.as_bytes();
        let mut index = 0;
        while index < text.len() {
            bytes[index] = text[index];
            index += 1;
        }
        Self(bytes)
    }

    /// The twelve bytes of a frame's header, whatever they are.
    pub const fn from_bytes(bytes: [u8; 12]) -> Self {
        Self(bytes)
    }

    /// As in a frame's header.
    pub const fn as_bytes(&self) -> &[u8; 12] {
        &self.0
    }
}

impl fmt::Display for CommandName {
    /// Shows letters, digits and the like as they are and anything else as `?`: a peer chose the bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let used = 12 - self.0.iter().rev().take_while(|&&byte| byte == 0).count();
        for &byte in &self.0[..used] {
            fmt::Write::write_char(f, if byte.is_ascii_graphic() { byte as char } else { '?' })?;
        }
        Ok(())
    }
}

impl fmt::Debug for CommandName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
