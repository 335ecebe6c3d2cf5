//! What a peer can do to a light client that it serves.

use core::fmt;

use serde::{Deserialize, Serialize};

/// One way of lying, by the name that it has in experiments: `false_filter_headers`, and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lie {
    /// It tells of nodes without end, as many in a message as there may be, so that a book of addresses fills with them.
    AddressFlood,
    /// Its filter headers are those of filters that lack payments, from some height on, and so are its checkpoints and its
    /// filters: all of it fits together, and nobody who asks no one else finds anything wrong.
    FalseFilterHeaders,
    /// Its filters lack payments, but its filter headers are right: it breaks its own word.
    FalseFilters,
    /// Garbage at every layer, another on each connection: before the handshake, in frames and packets, in messages; and
    /// filters, blocks, headers and addresses that nobody asked for. See [`Garbage`](super::Garbage).
    Garbage,
    /// Its filter index lags behind its chain: it says nothing to who asks for the filters, or filter headers, of the newest
    /// blocks. Honest nodes do so for a moment.
    LaggingIndex,
    /// It shows chains of many headers that cost next to nothing, from the first block on: each has a proof of work, and all of
    /// them together less than the chain's end.
    LowWorkFlood,
    /// It leaves filters out of its answers, and sends the others.
    OmittedFilters,
    /// It announces branch after branch from shortly below the tip, each with as much work as the best chain: who hears of one
    /// first has it in place of the newest blocks. It serves none of their blocks.
    ReorganisationStorm,
    /// It announces the newest block again and again, by its hash and by its header.
    RepeatedAnnouncements,
    /// All that it sends comes, a few bytes at a time.
    SlowDrip,
    /// It has an old part of the chain only, says so, and knows of nothing newer.
    StaleChain,
    /// It announces blocks as everybody does, and never sends one.
    WithheldBlocks,
    /// It says how high its chain is, and holds back the headers of the newest blocks.
    WithheldHeaders,
}

impl Lie {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::AddressFlood,
        Self::FalseFilterHeaders,
        Self::FalseFilters,
        Self::Garbage,
        Self::LaggingIndex,
        Self::LowWorkFlood,
        Self::OmittedFilters,
        Self::ReorganisationStorm,
        Self::RepeatedAnnouncements,
        Self::SlowDrip,
        Self::StaleChain,
        Self::WithheldBlocks,
        Self::WithheldHeaders,
    ];

    /// Its name in experiments.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AddressFlood => "address_flood",
            Self::FalseFilterHeaders => "false_filter_headers",
            Self::FalseFilters => "false_filters",
            Self::Garbage => "garbage",
            Self::LaggingIndex => "lagging_index",
            Self::LowWorkFlood => "low_work_flood",
            Self::OmittedFilters => "omitted_filters",
            Self::ReorganisationStorm => "reorganisation_storm",
            Self::RepeatedAnnouncements => "repeated_announcements",
            Self::SlowDrip => "slow_drip",
            Self::StaleChain => "stale_chain",
            Self::WithheldBlocks => "withheld_blocks",
            Self::WithheldHeaders => "withheld_headers",
        }
    }

    /// Whether it consists of what nobody asked for, beside answers that are right.
    pub(super) const fn is_unasked(self) -> bool {
        matches!(
            self,
            Self::AddressFlood
                | Self::Garbage
                | Self::LowWorkFlood
                | Self::ReorganisationStorm
                | Self::RepeatedAnnouncements
        )
    }
}

impl fmt::Display for Lie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
