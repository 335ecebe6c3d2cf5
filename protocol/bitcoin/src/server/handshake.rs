//! What a peer's messages do: the handshake (BIP155, BIP339), and which message is answered, ignored, or ends the
//! connection.

use super::answer::Answer;
use super::limits::{
    COMPACT_BLOCKS, FEE_FILTER_SINCE, MIN_VERSION, PING_NONCE_SINCE, SEND_ADDR_V2_SINCE, SEND_CMPCT_SINCE,
    WTXID_RELAY_SINCE,
};
use super::peer::Phase;
use super::session::Session;
use super::{Event, Reason, Refusal};
use bitcoin::BlockHash;
use bitcoin::hashes::Hash;
use bitcoin::p2p::ServiceFlags;

use crate::wire::{
    CommandName, Frame, INV_BLOCK, INV_TX, INV_WITNESS_TX, INV_WTX, Inventory, Items, MAX_ADDRESSES,
    MAX_HEADERS, MAX_INVENTORY, Malformed, Message, PROTOCOL_VERSION, Reader, Version,
};

const ADDR: CommandName = CommandName::new("addr");
const ADDRV2: CommandName = CommandName::new("addrv2");
const HEADERS: CommandName = CommandName::new("headers");
const MEMPOOL: CommandName = CommandName::new("mempool");
const SENDCMPCT: CommandName = CommandName::new("sendcmpct");
const BLOOM: [CommandName; 3] =
    [CommandName::new("filteradd"), CommandName::new("filterclear"), CommandName::new("filterload")];

impl Session<'_> {
    /// Does what a message asks for. One that can't be decoded is ignored, as Bitcoin Core does.
    pub(super) fn message(&mut self, frame: Frame<'_>) -> Result<(), Reason> {
        let Phase::Introduced { common, connected, .. } = self.peer.phase else {
            // The first thing that counts is the version.
            return match Message::decode(frame.command, frame.payload) {
                Ok(Message::Version(version)) => self.version(&version),
                _ => Ok(()),
            };
        };
        check_lengths(&frame, connected)?;
        // What other peers gossip is not kept, so it need not be decoded.
        if frame.command == ADDR || frame.command == ADDRV2 {
            return Ok(());
        }
        let Ok(message) = Message::decode(frame.command, frame.payload) else { return Ok(()) };
        match message {
            Message::Verack if !connected => self.verack(),
            Message::SendHeaders => {
                self.peer.prefers_headers = true;
                Ok(())
            }
            Message::SendAddrV2 | Message::WtxidRelay if connected => {
                Err(Reason::Refused(Refusal::FeatureAfterVerack))
            }
            Message::SendAddrV2 => {
                self.peer.wants_addrv2 = true;
                Ok(())
            }
            Message::WtxidRelay => {
                self.peer.relay.wtxid_relay = true;
                Ok(())
            }
            _ if !connected => Ok(()),
            Message::Ping(nonce) => {
                if common >= PING_NONCE_SINCE {
                    self.send(&Message::Pong(nonce));
                }
                Ok(())
            }
            Message::Pong(nonce) => {
                self.pong(nonce);
                Ok(())
            }
            Message::GetHeaders(request) => self.headers(&request),
            Message::GetCFilters(request) => self.filters(&request),
            Message::GetCFHeaders(request) => self.filter_headers(&request),
            Message::GetCFCheckpt { filter_type, stop_hash } => self.checkpoints(filter_type, stop_hash),
            Message::GetData(requests) => {
                within_limit(requests.len(), MAX_INVENTORY, Refusal::LongInventory)?;
                self.peer.answer = Some(Answer::Data { requests: requests.iter().collect(), done: 0 });
                Ok(())
            }
            Message::GetAddr => {
                self.addresses();
                Ok(())
            }
            Message::Inv(inventory) => self.inventory(&inventory),
            Message::Headers(headers) => {
                if let Some(last) = headers.len().checked_sub(1).and_then(|last| headers.at(last)) {
                    self.learn(&last.block_hash());
                }
                Ok(())
            }
            Message::Tx(_) if !self.shared.config.relay => Err(Reason::Refused(Refusal::Transaction)),
            Message::Tx(bytes) => self.transaction(bytes),
            Message::NotFound(inventory) => {
                self.not_found(inventory.iter());
                Ok(())
            }
            Message::Other(command, _) if command == MEMPOOL || BLOOM.contains(&command) => {
                if self.shared.config.services.has(ServiceFlags::BLOOM) {
                    return Ok(());
                }
                Err(Reason::Refused(Refusal::BloomFilter))
            }
            _ => Ok(()),
        }
    }

    fn version(&mut self, version: &Version<'_>) -> Result<(), Reason> {
        // Bitcoin Core reads it as a signed number.
        if (version.protocol as i32) < MIN_VERSION as i32 {
            return Err(Reason::ObsoleteVersion(version.protocol));
        }
        let common = version.protocol.min(PROTOCOL_VERSION);
        self.peer.phase = Phase::Introduced { common, relay: version.relay, connected: false };
        self.peer.user_agent = version.user_agent_text();
        self.peer.services = version.services;

        let nonce = self.shared.rng.u64();
        let user_agent = self.shared.config.user_agent.clone();
        let mut services = self.shared.config.services;
        if self.shared.config.encryption {
            services.add(ServiceFlags::P2P_V2);
        }
        self.send(&Message::Version(Version {
            protocol: PROTOCOL_VERSION,
            services,
            time: i64::try_from(self.now.unix.as_secs()).unwrap_or(i64::MAX),
            nonce,
            user_agent: user_agent.as_bytes(),
            start_height: i32::try_from(self.shared.chain.height()).unwrap_or(i32::MAX),
            relay: self.shared.config.relay,
        }));
        if common >= WTXID_RELAY_SINCE {
            self.send(&Message::WtxidRelay);
        }
        if common >= SEND_ADDR_V2_SINCE {
            self.send(&Message::SendAddrV2);
        }
        self.send(&Message::Verack);
        Ok(())
    }

    fn verack(&mut self) -> Result<(), Reason> {
        let Phase::Introduced { common, connected, .. } = &mut self.peer.phase else { return Ok(()) };
        *connected = true;
        let common = *common;
        self.timers.cancel((self.conn, super::Alarm::Handshake));
        self.out.event(Event::PeerConnected {
            peer: self.conn,
            remote: self.peer.remote,
            user_agent: self.peer.user_agent.clone(),
            services: self.peer.services,
            transport: self.peer.writer.version().expect("messages have come, in one version"),
        });
        if common >= SEND_CMPCT_SINCE {
            self.send(&Message::SendCmpct { high_bandwidth: false, version: COMPACT_BLOCKS });
        }
        if common >= PING_NONCE_SINCE {
            self.send_ping();
        }
        if self.shared.config.relay && common >= FEE_FILTER_SINCE {
            self.send(&Message::FeeFilter(self.shared.config.fee_filter));
        }
        Ok(())
    }

    fn inventory(&mut self, inventory: &Items<'_, Inventory>) -> Result<(), Reason> {
        within_limit(inventory.len(), MAX_INVENTORY, Refusal::LongInventory)?;
        for entry in inventory.iter() {
            match entry.kind {
                INV_BLOCK => self.learn(&BlockHash::from_byte_array(entry.hash)),
                kind if is_transaction(kind) && !self.shared.config.relay => {
                    return Err(Reason::Refused(Refusal::Transaction));
                }
                kind if is_transaction(kind) => self.offered(&entry),
                _ => {}
            }
        }
        Ok(())
    }

    /// Answers `getaddr`, once.
    fn addresses(&mut self) {
        if core::mem::replace(&mut self.peer.was_told_addresses, true) {
            return;
        }
        let drawn = self.shared.addresses.draw(self.now.instant, &mut self.shared.rng);
        let v2 = self.peer.wants_addrv2;
        let told = drawn.iter().filter(|address| v2 || matches!(address.host, crate::wire::Host::Ip(_)));
        let told: alloc::vec::Vec<_> = told.copied().collect();
        if !told.is_empty() {
            self.send(&if v2 { Message::AddrV2(told) } else { Message::Addr(told) });
        }
    }
}

/// Whether an entry of an `inv` or `getdata` names a transaction.
pub(super) fn is_transaction(kind: u32) -> bool {
    matches!(kind, INV_TX | INV_WTX | INV_WITNESS_TX)
}

/// Refuses what Bitcoin Core refuses before it decodes the rest.
fn check_lengths(frame: &Frame<'_>, connected: bool) -> Result<(), Reason> {
    let (command, payload) = (frame.command, frame.payload);
    if command == SENDCMPCT {
        // Its first byte is a truth value, which must be 0 or 1.
        return match payload {
            [first, rest @ ..] if *first > 1 && rest.len() >= 8 => {
                Err(Reason::Refused(Refusal::MalformedSendCmpct))
            }
            _ => Ok(()),
        };
    }
    let (limit, refusal) = match command {
        _ if !connected => return Ok(()),
        ADDR | ADDRV2 => (MAX_ADDRESSES, Refusal::LongAddressList),
        HEADERS => (MAX_HEADERS, Refusal::LongHeaders),
        _ => return Ok(()),
    };
    let mut reader = Reader::new(payload);
    let Ok(count) = reader.compact_size() else { return Ok(()) };
    // A list of addresses is looked at once it has been read whole, one of headers by its count.
    if command != HEADERS && (0..count).any(|_| skip_address(&mut reader, command).is_err()) {
        return Ok(());
    }
    within_limit(count, limit, refusal)
}

/// Passes over an entry of an `addr` or `addrv2`.
fn skip_address(reader: &mut Reader<'_>, command: CommandName) -> Result<(), Malformed> {
    if command == ADDR {
        return reader.take(30).map(|_| ());
    }
    reader.take(4)?;
    let services = match reader.u8()? {
        0xff => 8,
        0xfe => 4,
        0xfd => 2,
        _ => 0,
    };
    reader.take(services + 1)?;
    let host = reader.compact_size()?;
    reader.take(host.saturating_add(2)).map(|_| ())
}

fn within_limit(count: usize, limit: usize, refusal: Refusal) -> Result<(), Reason> {
    if count > limit { Err(Reason::Refused(refusal)) } else { Ok(()) }
}
