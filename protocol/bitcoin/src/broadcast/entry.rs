//! A transaction that is being broadcast, and how far it is.

use alloc::collections::{BTreeMap, VecDeque};

use andon_kernel::{ConnId, Instant, UnixTime};
use bitcoin::{Amount, Txid, Wtxid};

use super::limits::MAX_INFORMED;
use super::peers::Identity;
use super::submission::Submission;
use crate::headers::BlockId;

/// How far a transaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// No peer has been told of it yet.
    Waiting,
    /// A peer was told of it. Nobody has asked for it.
    Announced,
    /// A peer asked for it, and got it. What the peer thinks of it, nobody says.
    Sent,
    /// A peer that had not heard of it from here announced it, or a transaction that spends it: it spreads.
    Seen,
    /// It is in a block of the best chain: this one, or one below it if only a transaction that spends it was found.
    Confirmed {
        /// The block.
        block: BlockId,
    },
    /// Something that it spends is spent otherwise, in a block of the best chain.
    Conflicted {
        /// The transaction that does.
        by: Txid,
        /// Its block.
        block: BlockId,
    },
    /// It is broadcast no more, since a later one that spends the same was given. It may be confirmed all the same.
    Replaced {
        /// The later one.
        by: Txid,
    },
    /// It is broadcast no more, since its time is over.
    Expired,
    /// It is broadcast no more, as the application has asked.
    Withdrawn,
}

/// What peers have done with a transaction so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Progress {
    Waiting,
    Announced,
    Sent,
    Seen,
}

/// What the best chain says of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    Confirmed { block: BlockId },
    Conflicted { by: Txid, block: BlockId },
}

impl Settled {
    pub(super) const fn height(self) -> u32 {
        match self {
            Self::Confirmed { block } | Self::Conflicted { block, .. } => block.height,
        }
    }
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) submission: Submission,
    pub(super) wtxid: Wtxid,
    pub(super) virtual_size: u64,
    /// Bytes, as they are counted.
    pub(super) size: usize,
    pub(super) private: bool,
    pub(super) added: UnixTime,
    pub(super) expires: UnixTime,
    pub(super) progress: Progress,
    pub(super) settled: Option<Settled>,
    pub(super) replaced_by: Option<Txid>,
    /// When the last round of announcements began.
    pub(super) round_since: Option<UnixTime>,
    /// When the next one begins.
    pub(super) due: Instant,
    /// Whether peers are to be told in this round.
    pub(super) is_open: bool,
    /// Who was told in this round; of those who are gone, who had asked.
    pub(super) told: BTreeMap<ConnId, Identity>,
    /// Who was told of it, or may have asked for it as another's parent: the last of them.
    pub(super) informed: VecDeque<Identity>,
    /// One of these who has announced it on a connection on which it was not told.
    pub(super) repeated_by: Option<Identity>,
    /// Since when nobody else is there who would take it.
    pub(super) alone_since: Option<Instant>,
    /// When all are told, if nobody has asked by then.
    pub(super) rest_at: Option<Instant>,
    /// Whether all are told.
    pub(super) tells_rest: bool,
    /// The private connection that is open or being opened for it.
    pub(super) connection: Option<ConnId>,
    /// Private connections that came to nothing, in a row.
    pub(super) failures: u32,
}

impl Entry {
    pub(super) fn new(submission: Submission, private: bool, added: UnixTime, due: Instant) -> Self {
        let transaction = &submission.transaction;
        Self {
            wtxid: transaction.compute_wtxid(),
            virtual_size: transaction.vsize() as u64,
            size: submission.size(),
            submission,
            private,
            added,
            expires: added,
            progress: Progress::Waiting,
            settled: None,
            replaced_by: None,
            round_since: None,
            due,
            is_open: false,
            told: BTreeMap::new(),
            informed: VecDeque::new(),
            repeated_by: None,
            alone_since: None,
            rest_at: None,
            tells_rest: false,
            connection: None,
            failures: 0,
        }
    }

    pub(super) fn state(&self) -> State {
        match (self.settled, self.replaced_by) {
            (Some(Settled::Confirmed { block }), _) => State::Confirmed { block },
            (Some(Settled::Conflicted { by, block }), _) => State::Conflicted { by, block },
            (None, Some(by)) => State::Replaced { by },
            (None, None) => match self.progress {
                Progress::Waiting => State::Waiting,
                Progress::Announced => State::Announced,
                Progress::Sent => State::Sent,
                Progress::Seen => State::Seen,
            },
        }
    }

    /// Whether anybody is to be told of it, now or later.
    pub(super) const fn is_live(&self) -> bool {
        self.settled.is_none() && self.replaced_by.is_none()
    }

    /// Whether it is to be announced, or was not seen yet.
    pub(super) fn needs_peers(&self) -> bool {
        // Who was told of one that was seen before may ask for it until the round ends.
        self.is_live() && (self.progress < Progress::Seen || self.is_open)
    }

    pub(super) fn fee(&self) -> Option<u64> {
        self.submission.fee.map(Amount::to_sat)
    }

    /// Notes that somebody is told of it.
    pub(super) fn inform(&mut self, identity: Identity) {
        self.informed.retain(|informed| *informed != identity);
        if self.informed.len() == MAX_INFORMED {
            self.informed.pop_front();
        }
        self.informed.push_back(identity);
    }

    /// Forgets the round that is under way, so that a new one begins at `due`.
    pub(super) fn begin_again(&mut self, due: Instant) {
        self.due = due;
        self.failures = 0;
        self.close_round();
    }

    /// It is broadcast no more, for now: what its last round came to, nobody knows.
    pub(super) fn stop(&mut self) {
        self.told.clear();
        self.alone_since = None;
        self.close_round();
    }

    pub(super) fn close_round(&mut self) {
        self.is_open = false;
        self.rest_at = None;
    }
}
