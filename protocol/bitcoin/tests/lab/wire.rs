//! A peer's end of a connection: frames, or packets if the client begins so and the peer knows them.

use andon_bitcoin::transport::{
    Incoming, Reader, Shape, TransportError, TransportVersion, Writer, respond, unencrypted,
};
use andon_bitcoin::wire::{CommandName, FrameError, FrameReader, Message};
use andon_kernel::{ConnId, Rng};

use super::MAGIC;

pub(super) struct Wire {
    reader: Reader,
    writer: Writer,
}

/// What has come, and what is to be said at once.
#[derive(Default)]
pub(super) struct Came {
    pub(super) messages: Vec<(CommandName, Vec<u8>)>,
    pub(super) answer: Vec<u8>,
}

impl Wire {
    pub(super) fn new(conn: ConnId, knows_encryption: bool) -> Self {
        let (reader, writer) = match knows_encryption {
            true => respond(MAGIC, Rng::new([12; 32]).fork_indexed("peer", conn.as_u64()), Shape::default()),
            false => unencrypted(MAGIC),
        };
        Self { reader, writer }
    }

    /// Takes bytes in. `None`: it can make nothing of them.
    pub(super) fn receive(&mut self, mut bytes: Vec<u8>) -> Option<Came> {
        let mut came = Came::default();
        let mut input = Incoming::new(&mut bytes);
        let shaken = self.reader.shake_hands(&mut input, &mut self.writer, &mut came.answer);
        shaken.expect("the client shakes hands");
        loop {
            match self.reader.next(&mut input) {
                Ok(Some(frame)) => came.messages.push((frame.command, frame.payload.to_vec())),
                Ok(None) => return Some(came),
                Err(TransportError::Frame(FrameError::WrongMagic(_))) => return None,
                Err(error) => panic!("the client sends messages, not {error}"),
            }
        }
    }

    /// A frame, as it goes over the connection.
    pub(super) fn write(&mut self, frame: Vec<u8>) -> Vec<u8> {
        if self.writer.version() != Some(TransportVersion::V2) {
            return frame;
        }
        let mut rest = frame.as_slice();
        let mut frames = FrameReader::new(MAGIC);
        let mut out = Vec::new();
        while let Some(frame) = frames.next(&mut rest).expect("the peer sends frames") {
            self.writer.write(&Message::Other(frame.command, frame.payload), &mut out);
        }
        out
    }
}
