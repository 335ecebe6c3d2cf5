//! What went wrong, in words for a person: what it is, and what to do about it.

use std::fmt;

/// A failure, told once, at the end of the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Error {
    /// For programs: a short stable name.
    pub(crate) kind: &'static str,
    /// For people: what happened.
    pub(crate) what: String,
    /// For people: what they can do.
    pub(crate) help: Option<String>,
    /// Of the process.
    pub(crate) exit_code: u8,
}

/// The exit code of a run that failed.
pub(crate) const FAILED: u8 = 1;
/// The exit code for wrong arguments; clap's.
pub(crate) const USAGE: u8 = 2;
/// The exit code after Ctrl-C, as a shell has it for a program that the signal ended.
pub(crate) const INTERRUPTED: u8 = 130;
/// The exit code where standard output was closed, as a shell has it for a program that the signal ended.
pub(crate) const BROKEN_PIPE: u8 = 141;

impl Error {
    /// A failure at run time.
    pub(crate) fn new(kind: &'static str, what: impl Into<String>) -> Self {
        Self { kind, what: what.into(), help: None, exit_code: FAILED }
    }

    /// Wrong arguments.
    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self { kind: "arguments", what: what.into(), help: None, exit_code: USAGE }
    }

    /// With advice.
    pub(crate) fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Error {}
