//! What requests complete with.

use std::error::Error;
use std::fmt;

use andon_bitcoin::client::{Answer, BlockId, Event, ImportError, PauseReason, Refusal, Spend, SubmitError};
use andon_bitcoin::fees::NoFees;
use bitcoin::block::Header;
use bitcoin::{FilterHeader, OutPoint};

/// Why a request completed without what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestError {
    /// The driver has ended, or has been asked to, before it was answered. What had been carried out by then stands.
    Ended,
    /// The deadline passed. What had been carried out by then stands.
    TimedOut,
    /// It was given up in favour of another: a later order to go on takes the place of one with a budget.
    Cancelled,
    /// It is not carried out, and nothing has changed: the [`Refusal`] says why. [`Refusal::TooMany`] stands for 4096 requests
    /// that the client has not answered, and for 65,536 commands that its driver has not taken.
    Refused(Refusal),
    /// The transactions are not broadcast; nothing has changed.
    BroadcastRefused(SubmitError),
    /// There is no such block in the best chain, above its start.
    UnknownBlock,
    /// The block does not say what its transactions paid.
    NoFees(NoFees),
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended => f.write_str("the client has ended"),
            Self::TimedOut => f.write_str("it was not answered in time"),
            Self::Cancelled => f.write_str("a later request took its place"),
            Self::Refused(refusal) => refusal.fmt(f),
            Self::BroadcastRefused(error) => write!(f, "the transactions are not broadcast: {error}"),
            Self::UnknownBlock => f.write_str("the block is not in the best chain"),
            Self::NoFees(error) => error.fmt(f),
        }
    }
}

impl Error for RequestError {}

/// What a budget was spent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncOutcome {
    /// Why the client is paused: [`PauseReason::Synced`] if everything is done.
    pub reason: PauseReason,
    /// Everything up to this height has been searched. `None`: nothing is watched, or nothing has been searched.
    pub checked: Option<u32>,
    /// Bytes that came and went.
    pub bytes: u64,
}

/// What a search for the spending of an output found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpendSearch {
    /// The output.
    pub outpoint: OutPoint,
    /// Its spending, if there is one up to `checked`.
    pub spend: Option<Spend>,
    /// The last block that was searched.
    pub checked: BlockId,
}

/// A part of the best chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// The first height.
    pub from: u32,
    /// Consecutive headers: fewer than asked where the chain ends, none where it does not reach.
    pub headers: Vec<Header>,
    /// Consecutive filter headers from the same height on, as far as they are known.
    pub filter_headers: Vec<FilterHeader>,
}

/// What came of headers that were brought in. What was sound in it is kept, also if not all was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The best block now.
    pub tip: BlockId,
    /// How many filter headers are known, counted from height 0.
    pub filter_headers: u32,
    /// Why not all of it was taken.
    pub stopped: Option<ImportError>,
}

/// Reads what all answers have in common: the event that was asked for; `None`: it is carried out.
pub(crate) fn carried(answer: Answer) -> Result<Option<Event>, RequestError> {
    Err(match answer {
        Answer::Done => return Ok(None),
        Answer::Event(event) => return Ok(Some(*event)),
        Answer::Cancelled => RequestError::Cancelled,
        Answer::TimedOut => RequestError::TimedOut,
        Answer::Refused(refusal) => RequestError::Refused(refusal),
        other => unreachable!("no request is answered by {other:?}"),
    })
}

/// Reads the answer to what is only carried out.
pub(crate) fn done(answer: Answer) -> Result<(), RequestError> {
    match carried(answer)? {
        None => Ok(()),
        Some(event) => unreachable!("what is carried out is not answered by {event:?}"),
    }
}

/// Reads the answer to what asks for an event.
pub(crate) fn event(answer: Answer) -> Result<Event, RequestError> {
    let Some(event) = carried(answer)? else { unreachable!("what is asked for is told") };
    Ok(event)
}
