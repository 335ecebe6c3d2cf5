//! How a connection comes to its keys (BIP324): each side sends a key and garbage, then a terminator that only the other
//! side knows, then packets, the first of which vouches for the garbage.

use alloc::boxed::Box;
use alloc::vec::Vec;

use andon_kernel::Rng;

use super::cipher::{Cipher, KEY, KeyPair, Role, Session, TERMINATOR};
use super::packets::{PacketReader, PacketWriter};
use super::{Incoming, Shape, TransportError};
use crate::wire::FrameError;

/// The most garbage that a side may send.
pub(super) const MAX_GARBAGE: usize = 4095;

/// What a connection of version 1 begins with, behind the network's four bytes.
const VERSION: &[u8; 12] = b"version\0\0\0\0\0";

/// The bytes that tell version 1 from a key.
const PREFIX: usize = 16;

/// A handshake, from the first byte to the peer's terminator.
#[derive(Debug)]
pub(super) struct Handshake {
    magic: [u8; 4],
    rng: Rng,
    shape: Shape,
    stage: Stage,
    /// What came and belongs to the stage: at most a key, or garbage and a terminator.
    received: Vec<u8>,
}

#[derive(Debug)]
enum Stage {
    /// The peer has not shown which version it speaks.
    Open,
    /// Our key and garbage are sent, the peer's key has not come whole.
    Key { role: Role, ours: Box<KeyPair>, garbage: Vec<u8> },
    /// Our terminator and version packet are sent, the peer's terminator has not come.
    Garbage { terminator: [u8; TERMINATOR], opener: Option<Cipher> },
}

/// What has come of some bytes.
pub(super) enum Step {
    /// All were taken, and more are needed.
    More,
    /// The peer speaks version 1. These bytes of it had come before; what came now was not taken.
    Unencrypted(Vec<u8>),
    /// From here on packets can be sent.
    CanWrite(PacketWriter),
    /// From here on packets come.
    CanRead(PacketReader),
}

impl Handshake {
    /// For a connection that we have opened. Appends what is sent first.
    pub(super) fn initiate(magic: [u8; 4], rng: Rng, shape: Shape, out: &mut Vec<u8>) -> Self {
        let mut handshake = Self::respond(magic, rng, shape);
        handshake.begin(Role::Initiator, out);
        handshake
    }

    /// For a connection that was opened to us.
    pub(super) const fn respond(magic: [u8; 4], rng: Rng, shape: Shape) -> Self {
        Self { magic, rng, shape, stage: Stage::Open, received: Vec::new() }
    }

    pub(super) const fn magic(&self) -> [u8; 4] {
        self.magic
    }

    /// Bytes of it that have come and not led on.
    pub(super) fn pending(&self) -> usize {
        self.received.len()
    }

    pub(super) fn garbage_without_end(&self) -> Option<usize> {
        matches!(self.stage, Stage::Garbage { .. }).then_some(self.received.len())
    }

    /// Takes what belongs to the handshake from the front of `input`, one stage at a time, and appends what it sends.
    pub(super) fn step(
        &mut self,
        input: &mut Incoming<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Step, TransportError> {
        if matches!(self.stage, Stage::Open) {
            let fresh = input.rest();
            let fresh = &fresh[..fresh.len().min(PREFIX - self.received.len())];
            let expected = [&self.magic[..], VERSION].concat();
            let (held, more) = expected.split_at(self.received.len());
            if self.received == held && more.starts_with(fresh) {
                if fresh.len() == more.len() {
                    return Ok(Step::Unencrypted(core::mem::take(&mut self.received)));
                }
                self.received.extend_from_slice(input.take_up_to(PREFIX));
                return Ok(Step::More);
            }
            self.begin(Role::Responder, out);
        }
        match &self.stage {
            Stage::Open => unreachable!("it has begun"),
            Stage::Key { .. } => self.take_key(input, out),
            Stage::Garbage { .. } => self.take_garbage(input),
        }
    }

    /// Sends our key and garbage.
    fn begin(&mut self, role: Role, out: &mut Vec<u8>) {
        let ours = KeyPair::draw(&mut self.rng);
        let (least, most) = (u64::from(*self.shape.garbage.start()), u64::from(*self.shape.garbage.end()));
        let length = least + self.rng.below(most.saturating_sub(least) + 1);
        let mut garbage = alloc::vec![0; (length as usize).min(MAX_GARBAGE)];
        self.rng.fill(&mut garbage);
        out.extend_from_slice(&ours.public());
        out.extend_from_slice(&garbage);
        self.stage = Stage::Key { role, ours: Box::new(ours), garbage };
    }

    fn take_key(&mut self, input: &mut Incoming<'_>, out: &mut Vec<u8>) -> Result<Step, TransportError> {
        let Stage::Key { role, ours, garbage } = &self.stage else { unreachable!("it is that stage") };
        self.received.extend_from_slice(input.take_up_to(KEY - self.received.len()));
        if let Some((magic, rest)) = self.received.split_first_chunk::<4>()
            && rest.starts_with(VERSION)
        {
            // No key looks like that but one in 2^96.
            return Err(match *magic == self.magic {
                true => TransportError::Unencrypted,
                false => FrameError::WrongMagic(*magic).into(),
            });
        }
        let Ok(theirs) = <[u8; KEY]>::try_from(self.received.as_slice()) else { return Ok(Step::More) };
        if theirs == ours.public() {
            return Err(TransportError::OwnKey);
        }
        let Session { our_terminator, their_terminator, sealer, opener, .. } =
            ours.agree(theirs, *role, self.magic);
        out.extend_from_slice(&our_terminator);
        let decoys = self.shape.decoys.map(|longest| (longest, self.rng.fork("decoys")));
        let writer = PacketWriter::begin(sealer, garbage, decoys, out);
        self.received = Vec::new();
        self.stage = Stage::Garbage { terminator: their_terminator, opener: Some(opener) };
        Ok(Step::CanWrite(writer))
    }

    fn take_garbage(&mut self, input: &mut Incoming<'_>) -> Result<Step, TransportError> {
        let Stage::Garbage { terminator, opener } = &mut self.stage else { unreachable!("it is that stage") };
        let before = self.received.len();
        let fresh = input.rest();
        let room = MAX_GARBAGE + TERMINATOR - before;
        self.received.extend_from_slice(&fresh[..fresh.len().min(room)]);
        // What came before does not hold it whole.
        let start = before.saturating_sub(TERMINATOR - 1);
        let found = self.received[start..].windows(TERMINATOR).position(|window| window == terminator);
        let Some(place) = found else {
            input.take_up_to(room);
            return if self.received.len() < MAX_GARBAGE + TERMINATOR {
                Ok(Step::More)
            } else {
                Err(TransportError::NoTerminator)
            };
        };
        let length = start + place;
        input.take_up_to(length + TERMINATOR - before);
        let mut garbage = core::mem::take(&mut self.received);
        garbage.truncate(length);
        let opener = opener.take().expect("the terminator is found once");
        Ok(Step::CanRead(PacketReader::new(opener, garbage)))
    }
}
