//! What lies between the bytes of a connection and its messages: transport version 1, which is bare frames, and version 2
//! (BIP324), which is encrypted and looks like random bytes.
//!
//! A [`Reader`] and a [`Writer`] are the two halves of one connection. Bytes that come go through
//! [`Reader::shake_hands`], which does nothing once the handshake is over, and then, message by message, through
//! [`Reader::next`]. Both own no socket and no randomness: keys and garbage are drawn from the generator that they are
//! given. A connection through a proxy has [`Socks5`] before both, and
//! one through a router of I2P [`Sam`].

mod cipher;
mod handshake;
mod names;
mod packets;
mod sam;
mod socks5;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::ops::RangeInclusive;

use andon_kernel::Rng;

use crate::wire::{CommandName, Frame, FrameError, FrameReader, Message};
use handshake::{Handshake, MAX_GARBAGE, Step};
use packets::{PacketReader, PacketWriter};
pub use sam::{Sam, SamFailure};
pub use socks5::{ProxyFailure, ProxyTarget, Socks5};

/// A version of the transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TransportVersion {
    /// Bare frames.
    V1,
    /// Encrypted (BIP324).
    V2,
}

impl fmt::Display for TransportVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        })
    }
}

/// Why a connection can't be read on, or a message of it can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransportError {
    /// The bytes are not a frame, or a packet claims to be longer than one may be.
    Frame(FrameError),
    /// No terminator came behind the most garbage that there may be (4095 bytes): the peer has other keys, or none.
    NoTerminator,
    /// A packet, or the garbage that it vouches for, is not what its sender sealed.
    Forged,
    /// The peer's key is our own.
    OwnKey,
    /// The peer answers version 2 by version 1.
    Unencrypted,
}

impl From<FrameError> for TransportError {
    fn from(error: FrameError) -> Self {
        Self::Frame(error)
    }
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frame(FrameError::TooLong(length)) => write!(f, "a message of {length} bytes"),
            Self::Frame(FrameError::WrongMagic(magic)) => write!(f, "bytes of another network: {magic:02x?}"),
            Self::Frame(FrameError::WrongChecksum(command)) => write!(f, "a wrong checksum of {command}"),
            Self::NoTerminator => f.write_str("no end of the garbage in the encrypted handshake"),
            Self::Forged => f.write_str("an encrypted packet that was changed"),
            Self::OwnKey => f.write_str("our own key"),
            Self::Unencrypted => f.write_str("an unencrypted answer to an encrypted handshake"),
        }
    }
}

impl core::error::Error for TransportError {}

/// How a connection of version 2 looks from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// How many bytes of garbage follow the key, drawn from this range; 4095 at most.
    pub garbage: RangeInclusive<u16>,
    /// Whether a decoy goes out before the version packet and before each message: the longest it may be, in bytes, of
    /// which as many are drawn.
    pub decoys: Option<u16>,
}

impl Default for Shape {
    /// As much garbage as Bitcoin Core sends, and no decoys.
    fn default() -> Self {
        Self { garbage: 0..=MAX_GARBAGE as u16, decoys: None }
    }
}

/// Both halves of a connection of version 1.
pub fn unencrypted(magic: [u8; 4]) -> (Reader, Writer) {
    (Reader(Reading::Frames(FrameReader::new(magic))), Writer(Writing::Frames(magic)))
}

/// Both halves of a connection of version 2 that we have opened, on the network with these four bytes; appends what is
/// sent first. The generator must be of this connection alone.
pub fn initiate(magic: [u8; 4], rng: Rng, shape: Shape, out: &mut Vec<u8>) -> (Reader, Writer) {
    let handshake = Handshake::initiate(magic, rng, shape, out);
    (Reader(Reading::Handshake(Box::new(handshake))), Writer(Writing::NotYet))
}

/// Both halves of a connection that was opened to us, in whichever version its peer begins. The generator must be of this
/// connection alone.
pub fn respond(magic: [u8; 4], rng: Rng, shape: Shape) -> (Reader, Writer) {
    let handshake = Handshake::respond(magic, rng, shape);
    (Reader(Reading::Handshake(Box::new(handshake))), Writer(Writing::NotYet))
}

/// Makes messages of the bytes that come.
#[derive(Debug)]
pub struct Reader(Reading);

#[derive(Debug)]
enum Reading {
    Frames(FrameReader),
    Handshake(Box<Handshake>),
    Packets(Box<PacketReader>),
}

impl Reader {
    /// Takes what belongs to the handshake from the front of `input`, appends what it sends to `out`, and lets `writer`
    /// write when it can. Once the handshake is over it does nothing.
    ///
    /// # Errors
    /// If it has failed. The connection can't be read on.
    pub fn shake_hands(
        &mut self,
        input: &mut Incoming<'_>,
        writer: &mut Writer,
        out: &mut Vec<u8>,
    ) -> Result<(), TransportError> {
        while let Reading::Handshake(handshake) = &mut self.0 {
            match handshake.step(input, out)? {
                Step::More => return Ok(()),
                Step::CanWrite(packets) => writer.0 = Writing::Packets(Box::new(packets)),
                Step::CanRead(packets) => self.0 = Reading::Packets(Box::new(packets)),
                Step::Unencrypted(held) => {
                    let magic = handshake.magic();
                    let mut frames = FrameReader::new(magic);
                    // Less than a frame's header.
                    let none = frames.next(&mut held.as_slice());
                    debug_assert_eq!(none, Ok(None), "it begins as a frame does");
                    self.0 = Reading::Frames(frames);
                    writer.0 = Writing::Frames(magic);
                }
            }
        }
        Ok(())
    }

    /// The next message, taken from the front of `input`. `None`: all of `input` was taken and more is needed.
    ///
    /// # Errors
    /// If the bytes are none. Only after a [`FrameError::WrongChecksum`] the next can be read.
    pub fn next<'a, 'i: 'a>(
        &'a mut self,
        input: &mut Incoming<'i>,
    ) -> Result<Option<Frame<'a>>, TransportError> {
        self.next_unless(input, |_| false)
    }

    /// As [`next`](Self::next), but messages that `is_proven` are not held against a checksum, as
    /// [`FrameReader::next_unless`] has it. Packets have none, and are authentic.
    ///
    /// # Errors
    /// As there.
    pub fn next_unless<'a, 'i: 'a>(
        &'a mut self,
        input: &mut Incoming<'i>,
        is_proven: impl Fn(CommandName) -> bool,
    ) -> Result<Option<Frame<'a>>, TransportError> {
        match &mut self.0 {
            Reading::Frames(frames) => Ok(frames.next_unless(input.shared(), is_proven)?),
            Reading::Handshake(_) => Ok(None),
            Reading::Packets(packets) => packets.next(input),
        }
    }

    /// Bytes of a message, or of a handshake, that has not come whole.
    pub fn pending(&self) -> usize {
        match &self.0 {
            Reading::Frames(frames) => frames.pending(),
            Reading::Handshake(handshake) => handshake.pending(),
            Reading::Packets(packets) => packets.pending(),
        }
    }

    /// Whether the peer's key has come and the end of its garbage has not: how many bytes have come behind the key.
    pub fn garbage_without_end(&self) -> Option<usize> {
        match &self.0 {
            Reading::Handshake(handshake) => handshake.garbage_without_end(),
            Reading::Frames(_) | Reading::Packets(_) => None,
        }
    }

    /// Bytes that came for nothing since this was asked last: decoys, and messages without a name that is known.
    pub fn take_passed_over(&mut self) -> usize {
        match &mut self.0 {
            Reading::Packets(packets) => packets.take_passed_over(),
            Reading::Frames(_) | Reading::Handshake(_) => 0,
        }
    }
}

/// Makes bytes of the messages that are sent.
#[derive(Debug)]
pub struct Writer(Writing);

#[derive(Debug)]
enum Writing {
    Frames([u8; 4]),
    NotYet,
    Packets(Box<PacketWriter>),
}

impl Writer {
    /// Which version the connection has, once that is known; from then on messages can be written.
    pub const fn version(&self) -> Option<TransportVersion> {
        match self.0 {
            Writing::Frames(_) => Some(TransportVersion::V1),
            Writing::Packets(_) => Some(TransportVersion::V2),
            Writing::NotYet => None,
        }
    }

    /// Appends a message.
    ///
    /// # Panics
    /// If it is longer than a message may be, or the handshake has not come so far.
    pub fn write(&mut self, message: &Message<'_>, out: &mut Vec<u8>) {
        match &mut self.0 {
            Writing::Frames(magic) => message.write(out, *magic),
            Writing::Packets(packets) => packets.write(message, out),
            Writing::NotYet => panic!("a message is written once the handshake has come so far"),
        }
    }

    /// Appends a packet that stands for nothing, with contents of so many bytes, in version 2; else nothing.
    ///
    /// # Panics
    /// If it is longer than a message may be.
    pub fn write_decoy(&mut self, length: usize, out: &mut Vec<u8>) {
        if let Writing::Packets(packets) = &mut self.0 {
            packets.write_decoy(length, out);
        }
    }
}

/// Bytes that came, as far as they have not been taken. They are lent mutably, and packets are opened where they lie.
///
/// All of it goes to one [`Reader`].
#[derive(Debug)]
pub struct Incoming<'i>(Rest<'i>);

#[derive(Debug)]
enum Rest<'i> {
    Exclusive(&'i mut [u8]),
    /// Of a connection whose messages are not changed.
    Shared(&'i [u8]),
}

impl<'i> Incoming<'i> {
    /// All of these.
    pub const fn new(bytes: &'i mut [u8]) -> Self {
        Self(Rest::Exclusive(bytes))
    }

    /// What has not been taken.
    pub fn rest(&self) -> &[u8] {
        match &self.0 {
            Rest::Exclusive(rest) => rest,
            Rest::Shared(rest) => rest,
        }
    }

    /// As bytes that nobody changes any more.
    fn shared(&mut self) -> &mut &'i [u8] {
        if let Rest::Exclusive(rest) = &mut self.0 {
            let rest: &'i mut [u8] = core::mem::take(rest);
            self.0 = Rest::Shared(rest);
        }
        match &mut self.0 {
            Rest::Shared(rest) => rest,
            Rest::Exclusive(_) => unreachable!("it has just become shared"),
        }
    }

    /// The first `count` bytes, if there are as many.
    fn take(&mut self, count: usize) -> Option<&'i mut [u8]> {
        let rest = match &mut self.0 {
            Rest::Exclusive(rest) => rest,
            Rest::Shared(_) => panic!("what came is read by one reader"),
        };
        if rest.len() < count {
            return None;
        }
        let (taken, after) = core::mem::take(rest).split_at_mut(count);
        *rest = after;
        Some(taken)
    }

    /// The first `count` bytes, or as many as there are.
    fn take_up_to(&mut self, count: usize) -> &'i mut [u8] {
        let count = count.min(self.rest().len());
        self.take(count).expect("there are as many")
    }
}
