//! Two sides of one connection, without anything between them.

#![allow(dead_code, reason = "each test uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use andon_bitcoin::transport::{
    Incoming, Reader, Shape, TransportError, TransportVersion, Writer, initiate, respond, unencrypted,
};
use andon_bitcoin::wire::{CommandName, Message, Version};
use andon_kernel::Rng;
use bitcoin::p2p::ServiceFlags;

pub(crate) const MAGIC: [u8; 4] = [0xfa, 0xbf, 0xb5, 0xda];

pub(crate) struct Side {
    pub(crate) reader: Reader,
    pub(crate) writer: Writer,
    /// What it has sent and nobody has taken.
    pub(crate) sent: Vec<u8>,
    /// Names and contents of what it has read.
    pub(crate) read: Vec<(CommandName, Vec<u8>)>,
    pub(crate) passed_over: usize,
    rng: Rng,
}

impl Side {
    pub(crate) fn new((reader, writer): (Reader, Writer), sent: Vec<u8>) -> Self {
        Self { reader, writer, sent, read: Vec::new(), passed_over: 0, rng: by(99) }
    }

    pub(crate) fn unencrypted() -> Self {
        Self::new(unencrypted(MAGIC), Vec::new())
    }

    pub(crate) fn version(&self) -> Option<TransportVersion> {
        self.writer.version()
    }

    pub(crate) fn pending(&self) -> usize {
        self.reader.pending()
    }

    pub(crate) fn write(&mut self, message: &Message<'_>) {
        self.writer.write(message, &mut self.sent);
    }

    pub(crate) fn decoy(&mut self, length: usize) {
        self.writer.write_decoy(length, &mut self.sent);
    }

    /// One turn.
    pub(crate) fn receive(&mut self, bytes: &mut [u8]) -> Option<TransportError> {
        let mut incoming = Incoming::new(bytes);
        if let Err(error) = self.reader.shake_hands(&mut incoming, &mut self.writer, &mut self.sent) {
            return Some(error);
        }
        loop {
            match self.reader.next(&mut incoming) {
                Ok(Some(frame)) => self.read.push((frame.command, frame.payload.to_vec())),
                Ok(None) => break,
                Err(error) => return Some(error),
            }
        }
        assert!(incoming.rest().is_empty(), "all of it is taken");
        self.passed_over += self.reader.take_passed_over();
        None
    }

    /// In pieces of this size, or of any size if it is zero.
    pub(crate) fn receive_in(&mut self, bytes: &[u8], piece: usize) -> Option<TransportError> {
        let mut rest = bytes.to_vec();
        let mut rest = rest.as_mut_slice();
        while !rest.is_empty() {
            let length = if piece > 0 { piece } else { self.rng.below(5000) as usize + 1 };
            let (now, later) = rest.split_at_mut(length.min(rest.len()));
            if let Some(error) = self.receive(now) {
                return Some(error);
            }
            rest = later;
        }
        None
    }
}

/// A generator for each number.
pub(crate) fn by(number: u64) -> Rng {
    Rng::new([5; 32]).fork_indexed("side", number)
}

/// So much garbage, and no decoys.
pub(crate) fn shaped(garbage: u16) -> Shape {
    Shape { garbage: garbage..=garbage, decoys: None }
}

pub(crate) fn quiet() -> Shape {
    shaped(0)
}

/// Both sides of a connection of version 2, before the first byte.
pub(crate) fn pair(number: u64, shape: Shape) -> (Side, Side) {
    let mut sent = Vec::new();
    let halves = initiate(MAGIC, by(2 * number), shape.clone(), &mut sent);
    (Side::new(halves, sent), Side::new(respond(MAGIC, by(2 * number + 1), shape), Vec::new()))
}

/// Carries what each side sends to the other until neither has anything to send.
pub(crate) fn exchange(ours: &mut Side, theirs: &mut Side, piece: usize) {
    while !(ours.sent.is_empty() && theirs.sent.is_empty()) {
        let bytes = std::mem::take(&mut ours.sent);
        assert_eq!(theirs.receive_in(&bytes, piece), None);
        let bytes = std::mem::take(&mut theirs.sent);
        assert_eq!(ours.receive_in(&bytes, piece), None);
    }
}

/// A message as it is read.
pub(crate) fn named(message: &Message<'_>) -> (CommandName, Vec<u8>) {
    let mut frame = Vec::new();
    message.write(&mut frame, MAGIC);
    (message.command(), frame[24..].to_vec())
}

pub(crate) fn version() -> Version<'static> {
    Version {
        protocol: 70016,
        services: ServiceFlags::NETWORK,
        time: 1,
        nonce: 2,
        user_agent: b"/pair/",
        start_height: 3,
        relay: false,
    }
}
