//! Recordings: a run as its inputs, so that it can be run again elsewhere, turn by turn, with the same effects.
//!
//! [`Recorded`] is a machine around a machine: it writes each input down before the machine takes it, and a digest of what
//! the turn did after it. It runs wherever a machine runs. [`Recording`] reads such bytes, whoever wrote them, and [`Replay`]
//! gives them to a machine that it builds as the first one was built. No network, clock or store is needed: what they said
//! is in the inputs.
//!
//! **A recording holds secrets:** the seed, and with it every key, nonce and random choice of the run; all that went over
//! its connections; the application's commands; rows that were read from the store.
//!
//! # The format
//!
//! A *number* is in groups of seven bits, the lowest first, each byte but the last with its highest bit set; a *blob* is a
//! number and as many bytes. A *seal* is eight bytes, little-endian: a sum over everything before it. It tells damage from
//! what was written; it is no proof against somebody who wants to deceive.
//!
//! | part | |
//! |---|---|
//! | header | the eight bytes `andonrec`, the number of this format (1), three blobs: the machine's name, its version, how it was built; a seal |
//! | input | the byte 1, a blob with the four lowest bytes of a seal between its length and its bytes, a seal |
//! | outcome of that turn | the byte 2, a seal that counts the turn's effects in, and the deadline after it |
//! | end | the byte 3, why (0: the machine's end, 1: the bound on the recording, 2: the turn panicked), a seal |
//!
//! An input's blob is the microseconds since the input before, the seconds of the calendar since then (a number whose lowest
//! bit is the sign), the kind and its fields. A recording that has no end was cut off there; what there is of it replays.

mod chain;
mod error;
mod fields;
mod input;
mod reader;
mod recorded;
mod replay;

pub use error::RecordingError;
pub use reader::{Recording, RecordingEnd, Source};
pub use recorded::{Recordable, Recorded, RecordingStatus, Sink};
pub use replay::{Outcome, Replay, Replayed, Turn, Verdict};

/// What every recording begins with.
pub(crate) const MAGIC: [u8; 8] = *b"andonrec";

/// The format that is written here, and the only one that is read.
pub(crate) const FORMAT: u64 = 1;

/// Bytes that an input, or how a machine was built, has at most in a recording.
pub(crate) const MAX_BLOB: u64 = 1 << 28;

/// Bytes that a machine's name and version have at most, each.
pub(crate) const MAX_NAME: u64 = 64;

/// Bytes of a seal.
pub(crate) const SEAL_BYTES: u64 = 8;

/// Bytes of the seal of an input's length: enough that a length that was changed is not taken for a recording cut off.
pub(crate) const LENGTH_SEAL_BYTES: u64 = 4;

/// What begins each part after the header.
pub(crate) mod part {
    pub(crate) const INPUT: u8 = 1;
    pub(crate) const OUTCOME: u8 = 2;
    pub(crate) const END: u8 = 3;
}
