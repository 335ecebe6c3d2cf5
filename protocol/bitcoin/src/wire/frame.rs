//! Frames of transport version 1: four bytes of the network, twelve of the name, length, checksum, contents.

use alloc::vec::Vec;

use bitcoin::hashes::{Hash, sha256d};

use super::CommandName;

/// The longest contents of a message that Bitcoin Core sends or takes, in bytes.
pub const MAX_PAYLOAD: u32 = 4_000_000;

const HEADER: usize = 24;

/// Memory that a reader keeps between messages.
pub(crate) const KEPT_BYTES: usize = 4096;

/// A message as it came: its name and its contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// As in its header.
    pub command: CommandName,
    /// Lies in what was received, or in the reader where it came in pieces.
    pub payload: &'a [u8],
    /// As in its header, if the contents have not been held against it.
    unchecked: Option<[u8; 4]>,
}

impl<'a> Frame<'a> {
    /// One that needs no checksum: its transport vouches for it.
    pub(crate) const fn authentic(command: CommandName, payload: &'a [u8]) -> Self {
        Self { command, payload, unchecked: None }
    }

    /// Holds the contents against the checksum, if [`FrameReader::next_unless`] has left that out.
    ///
    /// # Errors
    /// If the checksum is another.
    pub fn check(&self) -> Result<(), FrameError> {
        match self.unchecked {
            Some(expected) if expected != checksum(self.payload) => {
                Err(FrameError::WrongChecksum(self.command))
            }
            _ => Ok(()),
        }
    }
}

/// Why bytes are not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// It begins with other bytes than this network's. The stream can't be read on.
    WrongMagic([u8; 4]),
    /// It claims more than [`MAX_PAYLOAD`] bytes. The stream can't be read on.
    TooLong(u32),
    /// The checksum is not that of the contents. The frame has been passed over; the next can be read.
    WrongChecksum(CommandName),
}

/// Cuts a stream of bytes into frames.
///
/// Whole frames are read where they lie. What is cut off at the end of the bytes is kept, and grows as bytes come,
/// never by the length that a header claims.
#[derive(Debug)]
pub struct FrameReader {
    magic: [u8; 4],
    tail: Vec<u8>,
    tail_was_read: bool,
}

impl FrameReader {
    /// Reads a stream of the network with these four bytes.
    pub const fn new(magic: [u8; 4]) -> Self {
        Self { magic, tail: Vec::new(), tail_was_read: false }
    }

    /// The next frame, taken from the front of `input`. `None`: all of `input` was taken and more is needed.
    ///
    /// # Errors
    /// If the bytes are not a frame; whether the stream can be read on is said at the [`FrameError`].
    pub fn next<'a, 'i: 'a>(&'a mut self, input: &mut &'i [u8]) -> Result<Option<Frame<'a>>, FrameError> {
        self.next_unless(input, |_| false)
    }

    /// As [`next`](Self::next), but messages that `is_proven` are not held against their checksum: what checks them against
    /// a hash of its own need not have them hashed twice. Who finds such a message wrong asks [`Frame::check`] whether it
    /// came as it was sent.
    ///
    /// # Errors
    /// As there.
    pub fn next_unless<'a, 'i: 'a>(
        &'a mut self,
        input: &mut &'i [u8],
        is_proven: impl Fn(CommandName) -> bool,
    ) -> Result<Option<Frame<'a>>, FrameError> {
        if self.tail_was_read {
            self.tail_was_read = false;
            self.tail.clear();
            self.tail.shrink_to(KEPT_BYTES);
        }
        if self.tail.is_empty() {
            if let Some(length) = self.frame_length(input)?.filter(|&length| length <= input.len()) {
                let (frame, rest) = input.split_at(length);
                *input = rest;
                return open(frame, is_proven).map(Some);
            }
            self.tail.extend_from_slice(input);
            *input = &[];
            return Ok(None);
        }
        self.fill(HEADER, input);
        let Some(length) = self.frame_length(&self.tail)? else { return Ok(None) };
        self.fill(length, input);
        if self.tail.len() < length {
            return Ok(None);
        }
        self.tail_was_read = true;
        open(&self.tail, is_proven).map(Some)
    }

    /// Bytes of a frame that has not come whole.
    pub fn pending(&self) -> usize {
        if self.tail_was_read { 0 } else { self.tail.len() }
    }

    /// The length of the frame at the front of `bytes`, header included, once the header is there.
    fn frame_length(&self, bytes: &[u8]) -> Result<Option<usize>, FrameError> {
        // Four wrong bytes are told at once: a peer of another protocol may never send a whole header.
        if let Some(magic) = bytes.first_chunk::<4>().filter(|&&magic| magic != self.magic) {
            return Err(FrameError::WrongMagic(*magic));
        }
        let Some(header) = bytes.first_chunk::<HEADER>() else { return Ok(None) };
        let length = u32::from_le_bytes([header[16], header[17], header[18], header[19]]);
        if length > MAX_PAYLOAD {
            return Err(FrameError::TooLong(length));
        }
        Ok(Some(HEADER + length as usize))
    }

    fn fill(&mut self, length: usize, input: &mut &[u8]) {
        let (taken, rest) = input.split_at(length.saturating_sub(self.tail.len()).min(input.len()));
        make_room(&mut self.tail, taken.len(), length);
        self.tail.extend_from_slice(taken);
        *input = rest;
    }
}

/// Makes room in `tail` for bytes that have come, of a message that claims `length` bytes in all: twice as much as before, so
/// that it is moved a few times only, but no more than the message will take.
pub(crate) fn make_room(tail: &mut Vec<u8>, came: usize, length: usize) {
    let wanted = tail.len() + came;
    if wanted > tail.capacity() {
        let room = tail.len().saturating_mul(2).min(length).max(wanted);
        tail.reserve_exact(room - tail.len());
    }
}

fn open(frame: &[u8], is_proven: impl Fn(CommandName) -> bool) -> Result<Frame<'_>, FrameError> {
    let (header, payload) = frame.split_at(HEADER);
    let command = CommandName::from_bytes(header[4..16].try_into().expect("twelve bytes"));
    let expected = header[20..].try_into().expect("four bytes");
    let frame = Frame { command, payload, unchecked: Some(expected) };
    if is_proven(command) {
        return Ok(frame);
    }
    frame.check()?;
    Ok(Frame { unchecked: None, ..frame })
}

fn checksum(payload: &[u8]) -> [u8; 4] {
    *sha256d::Hash::hash(payload).as_byte_array().first_chunk().expect("a hash has 32 bytes")
}

/// Appends a frame whose contents `write` appends.
///
/// # Panics
/// If the contents are longer than [`MAX_PAYLOAD`]: nobody would take them.
pub fn write_frame(
    out: &mut Vec<u8>,
    magic: [u8; 4],
    command: CommandName,
    write: impl FnOnce(&mut Vec<u8>),
) {
    out.extend_from_slice(&magic);
    out.extend_from_slice(command.as_bytes());
    let start = out.len() + 8;
    out.extend_from_slice(&[0; 8]);
    write(out);
    let length = u32::try_from(out.len() - start).ok().filter(|&length| length <= MAX_PAYLOAD);
    let length = length.expect("a message that is sent is not longer than allowed");
    let checksum = checksum(&out[start..]);
    out[start - 8..start - 4].copy_from_slice(&length.to_le_bytes());
    out[start - 4..start].copy_from_slice(&checksum);
}
