//! What a real node and ours have in common for a test: to be connected to, to be told, to be listened to.

use andon_bitcoin::wire::{CommandName, FrameReader, Message, Version};
use bitcoin::Block;
use bitcoin::p2p::ServiceFlags;

pub(crate) const MAGIC: [u8; 4] = [0xfa, 0xbf, 0xb5, 0xda];

/// A message as it came.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Received(pub(crate) CommandName, pub(crate) Vec<u8>);

impl std::fmt::Debug for Received {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} bytes", self.0, self.1.len())
    }
}

/// What followed a request: messages, and whether the connection ended.
pub(crate) type Answer = (Vec<Received>, bool);

pub(crate) trait Node {
    fn connect(&mut self);
    fn say(&mut self, bytes: &[u8]);
    /// Everything up to the `pong` with this nonce, or to the end of the connection.
    fn hear(&mut self, nonce: u64) -> Answer;
    /// Adds blocks above `fork_height` and returns the message that announces them.
    fn adopt(&mut self, fork_height: u32, blocks: &[Block]) -> Received;
}

/// Says something, and hears what follows it.
pub(crate) fn ask(node: &mut dyn Node, request: &[u8], nonce: u64) -> Answer {
    node.say(&[request, &bytes(&Message::Ping(nonce))].concat());
    node.hear(nonce)
}

pub(crate) fn bytes(message: &Message<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.write(&mut bytes, MAGIC);
    bytes
}

pub(crate) fn version(relay: bool) -> Message<'static> {
    Message::Version(Version {
        protocol: 70016,
        services: ServiceFlags::NONE,
        time: 0,
        nonce: 5,
        user_agent: b"/test/",
        start_height: 0,
        relay,
    })
}

/// Cuts a stream into messages, and tells which of them are worth comparing.
pub(crate) struct Stream(FrameReader);

impl Stream {
    pub(crate) fn new() -> Self {
        Self(FrameReader::new(MAGIC))
    }

    pub(crate) fn cut(&mut self, mut bytes: &[u8]) -> Vec<Received> {
        let mut messages = Vec::new();
        while let Some(frame) = self.0.next(&mut bytes).unwrap() {
            messages.push(Received(frame.command, frame.payload.to_vec()));
        }
        messages
    }
}

pub(crate) fn is_pong(message: &Received, nonce: u64) -> bool {
    Message::decode(message.0, &message.1) == Ok(Message::Pong(nonce))
}

pub(crate) fn is_announcement(message: &Received) -> bool {
    matches!(Message::decode(message.0, &message.1), Ok(Message::Headers(_) | Message::Inv(_)))
}
