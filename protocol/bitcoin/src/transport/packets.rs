//! Packets of transport version 2: an encrypted length of three bytes, a byte of flags and the contents, a tag.

use alloc::vec::Vec;

use andon_kernel::Rng;

use super::cipher::{Cipher, TAG};
use super::{Incoming, TransportError, names};
use crate::wire::{Frame, FrameError, KEPT_BYTES, MAX_PAYLOAD, Message, make_room};

/// The bytes of a length.
const LENGTH: usize = 3;
/// The byte of flags before the contents.
const HEADER: usize = 1;
/// The flag of a packet that stands for nothing.
const IGNORE: u8 = 0x80;
/// The longest contents that Bitcoin Core takes.
const MAX_CONTENTS: usize = names::LONGEST + MAX_PAYLOAD as usize;

/// Opens what the peer sends.
///
/// Packets are opened where they lie. What is cut off at the end of the bytes is kept, and grows as bytes come, never by
/// the length that a packet claims.
#[derive(Debug)]
pub(super) struct PacketReader {
    opener: Cipher,
    /// The peer's garbage, until the first packet vouches for it.
    garbage: Vec<u8>,
    /// Whether the first packet that counts has come, which says nothing yet.
    version_came: bool,
    /// Of the next packet, once its length has come: how long its contents are.
    contents: Option<usize>,
    tail: Vec<u8>,
    tail_was_read: bool,
    passed_over: usize,
}

/// Where a packet lies that was opened: its flags and its contents.
enum Place<'i> {
    Input(&'i [u8]),
    Tail,
}

impl PacketReader {
    pub(super) const fn new(opener: Cipher, garbage: Vec<u8>) -> Self {
        Self {
            opener,
            garbage,
            version_came: false,
            contents: None,
            tail: Vec::new(),
            tail_was_read: false,
            passed_over: 0,
        }
    }

    pub(super) fn next<'a, 'i: 'a>(
        &'a mut self,
        input: &mut Incoming<'i>,
    ) -> Result<Option<Frame<'a>>, TransportError> {
        if self.tail_was_read {
            self.empty_tail();
        }
        let (place, command, start) = loop {
            let Some(place) = self.open_next(input)? else { return Ok(None) };
            let packet = match &place {
                Place::Input(packet) => packet,
                Place::Tail => self.tail.as_slice(),
            };
            let length = packet.len();
            if packet[0] & IGNORE == 0 {
                let is_version = !core::mem::replace(&mut self.version_came, true);
                match names::read(&packet[HEADER..]) {
                    Some((command, name)) if !is_version => break (place, command, HEADER + name),
                    _ => {}
                }
            }
            self.passed_over += LENGTH + length + TAG;
            if matches!(place, Place::Tail) {
                self.empty_tail();
            }
        };
        let packet = match place {
            Place::Input(packet) => packet,
            Place::Tail => {
                self.tail_was_read = true;
                &self.tail
            }
        };
        Ok(Some(Frame::authentic(command, &packet[start..])))
    }

    /// Bytes of a packet that has not come whole.
    pub(super) fn pending(&self) -> usize {
        if self.tail_was_read { 0 } else { self.tail.len() }
    }

    /// Bytes of packets that stood for nothing, or for a message without a name, since this was asked last.
    pub(super) fn take_passed_over(&mut self) -> usize {
        core::mem::take(&mut self.passed_over)
    }

    fn open_next<'i>(&mut self, input: &mut Incoming<'i>) -> Result<Option<Place<'i>>, TransportError> {
        let contents = match self.contents {
            Some(contents) => contents,
            None => {
                let mut length = [0; LENGTH];
                let whole = if self.tail.is_empty() { input.take(LENGTH) } else { None };
                match whole {
                    Some(bytes) => length.copy_from_slice(bytes),
                    None => {
                        self.fill(LENGTH, input);
                        if self.tail.len() < LENGTH {
                            return Ok(None);
                        }
                        length.copy_from_slice(&self.tail);
                        self.tail.clear();
                    }
                }
                self.opener.length(&mut length);
                let contents = u32::from_le_bytes([length[0], length[1], length[2], 0]);
                if contents as usize > MAX_CONTENTS {
                    return Err(FrameError::TooLong(contents).into());
                }
                self.contents = Some(contents as usize);
                contents as usize
            }
        };
        let length = HEADER + contents + TAG;
        if self.tail.is_empty()
            && let Some(bytes) = input.take(length)
        {
            self.contents = None;
            let garbage = core::mem::take(&mut self.garbage);
            return open(&mut self.opener, &garbage, bytes).map(|packet| Some(Place::Input(packet)));
        }
        self.fill(length, input);
        if self.tail.len() < length {
            return Ok(None);
        }
        self.contents = None;
        let garbage = core::mem::take(&mut self.garbage);
        open(&mut self.opener, &garbage, &mut self.tail)?;
        self.tail.truncate(HEADER + contents);
        Ok(Some(Place::Tail))
    }

    fn fill(&mut self, length: usize, input: &mut Incoming<'_>) {
        let missing = length.saturating_sub(self.tail.len());
        let bytes = input.take_up_to(missing);
        make_room(&mut self.tail, bytes.len(), length);
        self.tail.extend_from_slice(bytes);
    }

    fn empty_tail(&mut self) {
        self.tail_was_read = false;
        self.tail.clear();
        self.tail.shrink_to(KEPT_BYTES);
    }
}

/// Opens a packet with its tag where it lies.
fn open<'i>(
    opener: &mut Cipher,
    unencrypted: &[u8],
    bytes: &'i mut [u8],
) -> Result<&'i [u8], TransportError> {
    let (packet, tag) = bytes.split_last_chunk_mut::<TAG>().expect("a packet has a tag");
    if opener.open(unencrypted, packet, tag) { Ok(packet) } else { Err(TransportError::Forged) }
}

/// Seals what is sent.
#[derive(Debug)]
pub(super) struct PacketWriter {
    sealer: Cipher,
    /// The longest contents of decoys, and what draws them, if there are to be any.
    decoys: Option<(u16, Rng)>,
}

impl PacketWriter {
    /// Appends what comes before all messages: a decoy, if there are to be any, and the version packet, which is empty. The
    /// first of them vouches for our garbage.
    pub(super) fn begin(
        sealer: Cipher,
        garbage: &[u8],
        decoys: Option<(u16, Rng)>,
        out: &mut Vec<u8>,
    ) -> Self {
        let mut writer = Self { sealer, decoys };
        let drawn = writer.draw_decoy();
        if let Some(length) = drawn {
            seal(&mut writer.sealer, IGNORE, garbage, out, |out| out.resize(out.len() + length, 0));
        }
        let vouched: &[u8] = if drawn.is_some() { &[] } else { garbage };
        seal(&mut writer.sealer, 0, vouched, out, |_| {});
        writer
    }

    pub(super) fn write(&mut self, message: &Message<'_>, out: &mut Vec<u8>) {
        if let Some(length) = self.draw_decoy() {
            self.write_decoy(length, out);
        }
        seal(&mut self.sealer, 0, &[], out, |out| {
            names::write(message.command(), out);
            let start = out.len();
            message.write_payload(out);
            let length = out.len() - start;
            assert!(length <= MAX_PAYLOAD as usize, "a message that is sent is not longer than allowed");
        });
    }

    /// Appends a packet that stands for nothing.
    pub(super) fn write_decoy(&mut self, length: usize, out: &mut Vec<u8>) {
        assert!(length <= MAX_CONTENTS, "a decoy is not longer than a message may be");
        seal(&mut self.sealer, IGNORE, &[], out, |out| out.resize(out.len() + length, 0));
    }

    fn draw_decoy(&mut self) -> Option<usize> {
        let (longest, rng) = self.decoys.as_mut()?;
        Some(rng.below(u64::from(*longest) + 1) as usize)
    }
}

/// Appends a packet whose contents `write` appends; its tag vouches for `unencrypted` too.
pub(super) fn seal(
    sealer: &mut Cipher,
    flags: u8,
    unencrypted: &[u8],
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>),
) {
    let start = out.len();
    out.extend_from_slice(&[0, 0, 0, flags]);
    write(out);
    let contents = out.len() - start - LENGTH - HEADER;
    assert!(contents < 1 << 24, "a length has three bytes");
    let [a, b, c, _] = (contents as u32).to_le_bytes();
    let mut length = [a, b, c];
    sealer.length(&mut length);
    out[start..start + LENGTH].copy_from_slice(&length);
    let tag = sealer.seal(unencrypted, &mut out[start + LENGTH..]);
    out.extend_from_slice(&tag);
}
