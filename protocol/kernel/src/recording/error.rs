//! Why a recording can't be replayed, or not on.

use alloc::string::String;
use core::fmt;

/// Why bytes are no recording that can be replayed, or no longer one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecordingError<E> {
    /// They can't be read any further.
    Source(E),
    /// They do not begin as recordings do.
    NotARecording,
    /// They are in another format.
    Format {
        /// Its number.
        found: u64,
    },
    /// They end before the first input.
    CutOff,
    /// They are of another machine.
    OtherMachine {
        /// Its name, as it stands there.
        found: String,
        /// The one that was to replay.
        expected: &'static str,
    },
    /// The machine can't be built: by another version, for example.
    Construction {
        /// Why.
        why: String,
    },
    /// A command can't be read: it may be of another version.
    Command {
        /// Where the input with it begins, in bytes.
        offset: u64,
        /// Why.
        why: String,
    },
    /// They are not as they were written.
    Damaged {
        /// Where the part begins that is damaged, in bytes (of the recording before any compression).
        offset: u64,
        /// How it shows.
        what: &'static str,
    },
}

impl<E: fmt::Display> fmt::Display for RecordingError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source(error) => write!(f, "the recording can't be read: {error}"),
            Self::NotARecording => f.write_str("it is no recording"),
            Self::Format { found } => {
                write!(
                    f,
                    "the recording is in format {found}, and this program reads format {}",
                    super::FORMAT
                )
            }
            Self::CutOff => f.write_str("the recording is cut off before its first input"),
            Self::OtherMachine { found, expected } => {
                write!(f, "the recording is of {found:?}, and not of {expected:?}")
            }
            Self::Construction { why } => write!(f, "what was recorded can't be built: {why}"),
            Self::Command { offset, why } => write!(f, "the command at byte {offset} can't be read: {why}"),
            Self::Damaged { offset, what } => write!(f, "the recording is damaged at byte {offset}: {what}"),
        }
    }
}

impl<E: core::error::Error + 'static> core::error::Error for RecordingError<E> {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Source(error) => Some(error),
            _ => None,
        }
    }
}
