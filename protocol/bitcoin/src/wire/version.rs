//! The `version` message, with which each side introduces itself.

use alloc::string::String;
use alloc::vec::Vec;

use bitcoin::p2p::ServiceFlags;

use super::codec::{Malformed, Reader, write_compact_size};

/// The version of the protocol that is spoken here: with `sendaddrv2` (BIP155) and `wtxidrelay` (BIP339).
pub const PROTOCOL_VERSION: u32 = 70016;

/// The longest user agent that Bitcoin Core takes, in bytes.
const MAX_USER_AGENT: usize = 256;

/// How a node introduces itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version<'a> {
    /// The newest version of the protocol that it speaks.
    pub protocol: u32,
    /// What it serves.
    pub services: ServiceFlags,
    /// Its clock, in seconds since 1970.
    pub time: i64,
    /// Drawn for this connection, so that a node notices that it has dialled itself.
    pub nonce: u64,
    /// What it calls itself (BIP14).
    pub user_agent: &'a [u8],
    /// Of its best block.
    pub start_height: i32,
    /// Whether it wants to hear of transactions (BIP37).
    pub relay: bool,
}

impl<'a> Version<'a> {
    /// The user agent as text. A peer chose the bytes: what is not plain shows as `?`, for a terminal or a log would
    /// obey some of it.
    pub fn user_agent_text(&self) -> String {
        let plain = |&byte: &u8| if (b' '..=b'~').contains(&byte) { char::from(byte) } else { '?' };
        self.user_agent.iter().map(plain).collect::<String>().trim().into()
    }

    /// Reads it as Bitcoin Core does: what is behind the receiver's address may be missing.
    pub(super) fn read(payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        let mut version = Self {
            protocol: reader.u32()?,
            services: ServiceFlags::from(reader.u64()?),
            time: reader.u64()? as i64,
            nonce: 1,
            user_agent: &[],
            start_height: -1,
            relay: true,
        };
        // The receiver's services, address and port, as the sender sees them.
        reader.take(26)?;
        if !reader.rest().is_empty() {
            reader.take(26)?;
            version.nonce = reader.u64()?;
        }
        if !reader.rest().is_empty() {
            let length = reader.compact_size()?;
            if length > MAX_USER_AGENT {
                return Err(Malformed);
            }
            version.user_agent = reader.take(length)?;
        }
        if !reader.rest().is_empty() {
            version.start_height = reader.u32()? as i32;
        }
        if !reader.rest().is_empty() {
            version.relay = reader.u8()? != 0;
        }
        Ok(version)
    }

    /// Says nothing of where either side is: both addresses are zero.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.protocol.to_le_bytes());
        out.extend_from_slice(&self.services.to_u64().to_le_bytes());
        out.extend_from_slice(&self.time.to_le_bytes());
        out.extend_from_slice(&[0; 26]);
        out.extend_from_slice(&self.services.to_u64().to_le_bytes());
        out.extend_from_slice(&[0; 18]);
        out.extend_from_slice(&self.nonce.to_le_bytes());
        let user_agent = &self.user_agent[..self.user_agent.len().min(MAX_USER_AGENT)];
        write_compact_size(out, user_agent.len() as u64);
        out.extend_from_slice(user_agent);
        out.extend_from_slice(&self.start_height.to_le_bytes());
        out.push(self.relay.into());
    }
}
