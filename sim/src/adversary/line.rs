//! One connection of a liar's: the transport towards whoever is lied to, and bare frames towards the node that it is at heart.

use std::collections::VecDeque;

use andon_bitcoin::transport::{Incoming, Reader, Shape, TransportError, Writer, respond, unencrypted};
use andon_bitcoin::wire::{CommandName, FrameError, Message, write_frame};
use andon_kernel::Rng;
use bitcoin::BlockHash;

use super::Garbage;

/// A connection.
#[derive(Debug)]
pub(super) struct Line {
    reader: Reader,
    writer: Writer,
    /// Reads what the node at heart says.
    inner: Reader,
    /// Whether the other side has finished the handshake.
    pub(super) is_ready: bool,
    /// Whether nothing goes out any more.
    pub(super) is_closed: bool,
    /// Messages that nobody asked for, so far.
    pub(super) unasked: u64,
    /// Requests for headers that the node at heart has not answered.
    pub(super) owed_headers: u32,
    /// The last header of the chain of little work that is being shown, with its height and its time.
    pub(super) cheap: Option<(BlockHash, u32, u32)>,
    pub(super) garbage: Garbage,
    /// What has not dripped yet.
    pub(super) dripping: VecDeque<u8>,
}

/// A message as it came: its name and its contents.
pub(super) type Said = (CommandName, Vec<u8>);

impl Line {
    pub(super) fn new(magic: [u8; 4], encryption: bool, rng: Rng, garbage: Garbage) -> Self {
        let (reader, writer) =
            if encryption { respond(magic, rng, Shape::default()) } else { unencrypted(magic) };
        Self {
            reader,
            writer,
            inner: unencrypted(magic).0,
            is_ready: false,
            is_closed: false,
            unasked: 0,
            owed_headers: 0,
            cheap: None,
            garbage,
            dripping: VecDeque::new(),
        }
    }

    /// Reads what came from the other side; `reply` is what its handshake is answered with.
    pub(super) fn hear(
        &mut self,
        bytes: &mut [u8],
        reply: &mut Vec<u8>,
    ) -> Result<Vec<Said>, TransportError> {
        let mut incoming = Incoming::new(bytes);
        self.reader.shake_hands(&mut incoming, &mut self.writer, reply)?;
        read(&mut self.reader, &mut incoming)
    }

    /// Reads what the node at heart says.
    ///
    /// # Panics
    /// If that is no frames: it is ours.
    pub(super) fn overhear(&mut self, bytes: &mut [u8]) -> Vec<Said> {
        read(&mut self.inner, &mut Incoming::new(bytes)).expect("a server of ours writes frames")
    }

    /// The bytes of a message; none while the handshake has not come so far.
    pub(super) fn write(&mut self, message: &Message<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        if self.writer.version().is_some() {
            self.writer.write(message, &mut bytes);
        }
        bytes
    }

    /// The bytes of a decoy (BIP324); none where there are no such.
    pub(super) fn decoy(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.writer.write_decoy(length, &mut bytes);
        bytes
    }

    /// Whether it is encrypted, once that is known.
    pub(super) fn is_encrypted(&self) -> Option<bool> {
        self.writer.version().map(|version| version == andon_bitcoin::transport::TransportVersion::V2)
    }
}

fn read(reader: &mut Reader, incoming: &mut Incoming<'_>) -> Result<Vec<Said>, TransportError> {
    let mut said = Vec::new();
    loop {
        match reader.next(incoming) {
            Ok(Some(frame)) => said.push((frame.command, frame.payload.to_vec())),
            Ok(None) => return Ok(said),
            // As a node does: the message is dropped.
            Err(TransportError::Frame(FrameError::WrongChecksum(_))) => {}
            Err(error) => return Err(error),
        }
    }
}

/// A message as a frame, for the node at heart.
pub(super) fn frame(magic: [u8; 4], command: CommandName, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(24 + payload.len());
    write_frame(&mut bytes, magic, command, |out| out.extend_from_slice(payload));
    bytes
}
