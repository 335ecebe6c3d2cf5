//! What went wrong.

use std::fmt;

use crate::world::Time;

/// What must never be so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Something panicked: the client, or one side of the contract between it and its driver was broken.
    Panic,
    /// The application was told of something that is in no honest chain.
    Invented,
    /// It was told twice of the same.
    Repeated,
    /// It was told that something is void which it never heard of.
    NeverTold,
    /// An honest peer was accused, or banned.
    Accused,
    /// The client gave up: it can't work with what it has stored itself.
    GaveUp,
    /// A question was answered twice, wrongly, or not at all.
    Unanswered,
    /// Something grew without bound, or went round in circles.
    Unbounded,
    /// When the faults had stopped, the client did not come to rest at the honest tip.
    Stuck,
    /// It came to rest there, and a payment had not been told.
    Missed,
    /// It came to rest there, and something untrue still stood.
    Wrong,
}

/// What went wrong in a world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What.
    pub kind: Kind,
    /// In words.
    pub message: String,
    /// When.
    pub at: Time,
    /// After how many turns of nodes.
    pub turn: u64,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Panic => "panic",
            Self::Invented => "something untrue was told",
            Self::Repeated => "something was told twice",
            Self::NeverTold => "something was taken back that had not been told",
            Self::Accused => "an honest peer was accused",
            Self::GaveUp => "the client gave up",
            Self::Unanswered => "a question was not answered once and truly",
            Self::Unbounded => "something grew without bound",
            Self::Stuck => "the client did not reach the honest tip",
            Self::Missed => "a payment was missed",
            Self::Wrong => "something untrue stood in the end",
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {} (turn {}): {}", self.kind, self.at, self.turn, self.message)
    }
}

/// What was found wrong, before it is known when that was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    pub(super) message: String,
}

impl Fault {
    pub(super) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}
