//! A connection through a router of I2P (SAM, version 3.1): what is said to its bridge before the bytes are those of the other
//! end.
//!
//! It takes two connections to the bridge. The first has a session made, with a destination of its own that nobody has
//! seen before, and holds it open; the second is led to the other end. One line is said at a time, and one answers it.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use super::Incoming;
use crate::addresses::{i2p_hash, i2p_name};

/// The longest line that an answer may be, in bytes. A destination has 516 letters today, and a few thousand with the
/// longest kinds of keys.
const LONGEST: usize = 16 * 1024;

/// The version that was first to know all that is needed here.
const HELLO: &str = "HELLO VERSION MIN=3.1 MAX=3.1\n";

/// Why an I2P router did not connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SamFailure {
    /// Its answer is none of SAM to what was asked.
    NotSam,
    /// Its answer is longer than 16 KiB.
    TooLong,
    /// It closed the connection before it had answered.
    Closed,
    /// It speaks no version of SAM that is spoken here.
    NoVersion,
    /// It failed, and says no more than that.
    Router,
    /// It has a session of this name.
    DuplicatedId,
    /// It has a session with this destination.
    DuplicatedDestination,
    /// It has no session of this name.
    InvalidId,
    /// A key, or the destination, is none to it.
    InvalidKey,
    /// It can't find the destination.
    NotFound,
    /// It can't reach the destination.
    Unreachable,
    /// It took too long.
    Expired,
    /// The name is not that of a destination: 52 letters and digits, and `.b32.i2p`.
    UnusableName,
    /// The session, and with it the connection, was ended there.
    SessionEnded,
    /// It failed in a way that has no meaning here.
    Unknown,
}

impl SamFailure {
    fn of_result(result: &str) -> Self {
        match result {
            "NOVERSION" => Self::NoVersion,
            "I2P_ERROR" => Self::Router,
            "DUPLICATED_ID" => Self::DuplicatedId,
            "DUPLICATED_DEST" => Self::DuplicatedDestination,
            "INVALID_ID" => Self::InvalidId,
            "INVALID_KEY" => Self::InvalidKey,
            "KEY_NOT_FOUND" | "PEER_NOT_FOUND" | "LEASESET_NOT_FOUND" => Self::NotFound,
            "CANT_REACH_PEER" => Self::Unreachable,
            "TIMEOUT" => Self::Expired,
            _ => Self::Unknown,
        }
    }
}

impl fmt::Display for SamFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotSam => "its answer is none of SAM",
            Self::TooLong => "its answer is longer than 16 KiB",
            Self::Closed => "it closed the connection before it had answered",
            Self::NoVersion => "it does not speak version 3.1 of SAM",
            Self::Router => "it failed, and does not say why",
            Self::DuplicatedId => "it has a session of this name",
            Self::DuplicatedDestination => "it has a session with this destination",
            Self::InvalidId => "it has no session of this name",
            Self::InvalidKey => "it takes a key or the destination for invalid",
            Self::NotFound => "the destination can't be found",
            Self::Unreachable => "the destination can't be reached",
            Self::Expired => "connecting from there took too long",
            Self::UnusableName => {
                "the name is not that of a destination (52 letters and digits, and .b32.i2p)"
            }
            Self::SessionEnded => "it ended the session",
            Self::Unknown => "it failed in an unknown way",
        })
    }
}

impl core::error::Error for SamFailure {}

/// What is said to a bridge, on one of the two connections.
#[derive(Debug)]
pub struct Sam {
    stage: Stage,
    /// The session's name.
    id: String,
    /// Where the connection is to lead; none in that which holds the session.
    name: Option<String>,
    /// What has come of the present answer.
    answer: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Hello,
    Session,
    LookUp,
    Connect,
}

impl Stage {
    /// What an answer begins with.
    const fn words(self) -> &'static str {
        match self {
            Self::Hello => "HELLO REPLY ",
            Self::Session => "SESSION STATUS ",
            Self::LookUp => "NAMING REPLY ",
            Self::Connect => "STREAM STATUS ",
        }
    }
}

impl Sam {
    /// The connection that has a session made, and holds it: with a destination that is made for it. Its name must be of
    /// letters and digits, and used for nothing else. Appends what is said first.
    pub fn session(id: &str, out: &mut Vec<u8>) -> Self {
        out.extend_from_slice(HELLO.as_bytes());
        Self { stage: Stage::Hello, id: id.to_string(), name: None, answer: Vec::new() }
    }

    /// The connection that is led to a destination, by the session of this name, which stands. Appends what is said first.
    ///
    /// # Errors
    /// If the name is not 52 letters and digits and `.b32.i2p`.
    pub fn stream(id: &str, name: &str, out: &mut Vec<u8>) -> Result<Self, SamFailure> {
        let name = name.to_ascii_lowercase();
        let hash = name.strip_suffix(".b32.i2p").and_then(i2p_hash).ok_or(SamFailure::UnusableName)?;
        out.extend_from_slice(HELLO.as_bytes());
        Ok(Self { stage: Stage::Hello, id: id.to_string(), name: Some(i2p_name(&hash)), answer: Vec::new() })
    }

    /// Takes what the bridge says from the front of `input`, and appends what is said next. True: the session stands, or the
    /// destination is connected, and what is left of `input`, and comes from now on, is the other end's.
    ///
    /// # Errors
    /// If it does not come about.
    pub fn received(&mut self, input: &mut Incoming<'_>, out: &mut Vec<u8>) -> Result<bool, SamFailure> {
        loop {
            let end = input.rest().iter().position(|&byte| byte == b'\n');
            let room = (LONGEST + 1).saturating_sub(self.answer.len());
            self.answer.extend_from_slice(input.take_up_to(end.map_or(usize::MAX, |end| end + 1).min(room)));
            // Whoever speaks something else need not end a line.
            let words = self.stage.words().as_bytes();
            let come = self.answer.len().min(words.len());
            if self.answer[..come] != words[..come] {
                return Err(SamFailure::NotSam);
            }
            if self.answer.len() > LONGEST {
                return Err(SamFailure::TooLong);
            }
            if self.answer.last() != Some(&b'\n') {
                return Ok(false);
            }
            let answer = core::mem::take(&mut self.answer);
            if self.answered(&answer, out)? {
                return Ok(true);
            }
        }
    }

    /// Takes a line. True: it was the last one.
    fn answered(&mut self, line: &[u8], out: &mut Vec<u8>) -> Result<bool, SamFailure> {
        let line = core::str::from_utf8(line).map_err(|_| SamFailure::NotSam)?;
        match value(line, "RESULT") {
            Some("OK") => {}
            // So i2pd says of a destination that it can't find. That the name is one has been seen to.
            Some("INVALID_KEY") if self.stage == Stage::LookUp => return Err(SamFailure::NotFound),
            Some(other) => return Err(SamFailure::of_result(other)),
            None => return Err(SamFailure::NotSam),
        }
        let id = &self.id;
        let (next, request) = match (self.stage, &self.name) {
            (Stage::Hello, None) => (
                Stage::Session,
                // Ed25519, and both kinds of encryption: what is in use, and what Bitcoin Core asks for. One tunnel each way
                // is enough for one connection.
                alloc::format!(
                    "SESSION CREATE STYLE=STREAM ID={id} DESTINATION=TRANSIENT SIGNATURE_TYPE=7 \
                     i2cp.leaseSetEncType=4,0 inbound.quantity=1 outbound.quantity=1\n"
                ),
            ),
            (Stage::Hello, Some(name)) => (Stage::LookUp, alloc::format!("NAMING LOOKUP NAME={name}\n")),
            (Stage::LookUp, _) => {
                let destination = value(line, "VALUE").filter(|text| is_destination(text));
                let destination = destination.ok_or(SamFailure::NotSam)?;
                let request =
                    alloc::format!("STREAM CONNECT ID={id} DESTINATION={destination} SILENT=false\n");
                (Stage::Connect, request)
            }
            (Stage::Session | Stage::Connect, _) => return Ok(true),
        };
        self.stage = next;
        out.extend_from_slice(request.as_bytes());
        Ok(false)
    }
}

/// What a line says of a key. A value with spaces is in quotes, and a quote within has a backslash before it.
fn value<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let mut rest = line.trim_end();
    while !rest.is_empty() {
        let (mut quoted, mut escaped) = (false, false);
        let end = rest.find(|letter| {
            quoted ^= letter == '"' && !escaped;
            escaped = letter == '\\' && !escaped;
            letter == ' ' && !quoted
        });
        let (word, after) = rest.split_at(end.unwrap_or(rest.len()));
        if let Some((found, value)) = word.split_once('=')
            && found == key
        {
            return Some(value);
        }
        rest = after.trim_start_matches(' ');
    }
    None
}

/// Whether a text can be a destination: in base 64 with I2P's letters. It is said back to the bridge.
fn is_destination(text: &str) -> bool {
    text.len() >= 516 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-~=".contains(&byte))
}
