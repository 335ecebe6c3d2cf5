//! What liars have done, counted: that a lie was told is to be seen.

use super::Lie;

/// What a liar has done so far, on all its connections together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Connections that it was dialled for.
    pub connections: u64,
    /// Handshakes that were finished.
    pub handshakes: u64,
    /// Bytes that it sent.
    pub bytes: u64,
    /// Addresses that nobody asked for.
    pub addresses: u64,
    /// Messages with filter headers, or checkpoints, that are not the chain's.
    pub false_filter_headers: u64,
    /// Filters that are not their blocks'.
    pub false_filters: u64,
    /// Pieces of garbage.
    pub garbage: u64,
    /// Requests for filters and filter headers that were not answered.
    pub unanswered: u64,
    /// Headers of chains of little work.
    pub cheap_headers: u64,
    /// Filters that were left out.
    pub omitted_filters: u64,
    /// Branches that were announced.
    pub branches: u64,
    /// Announcements of what was known.
    pub announcements: u64,
    /// Drips.
    pub drips: u64,
    /// Blocks that were asked for and not sent.
    pub withheld_blocks: u64,
    /// Messages from which headers were held back, or announcements that were.
    pub withheld_headers: u64,
}

/// What was asked of a liar, or of [one that waits](super::LyingServer::waiting), on all its connections together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Requests for headers.
    pub headers: u64,
    /// Requests for one filter header.
    pub filter_header: u64,
    /// Requests for more of them.
    pub filter_headers: u64,
    /// Requests for checkpoints.
    pub checkpoints: u64,
    /// Requests for one filter.
    pub filter: u64,
    /// Requests for more of them.
    pub filters: u64,
    /// Blocks.
    pub blocks: u64,
    /// Requests for addresses.
    pub addresses: u64,
}

impl Told {
    /// How often a lie was told.
    pub const fn times(&self, lie: Lie) -> u64 {
        match lie {
            Lie::AddressFlood => self.addresses,
            Lie::FalseFilterHeaders => self.false_filter_headers,
            Lie::FalseFilters => self.false_filters,
            Lie::Garbage => self.garbage,
            Lie::LaggingIndex => self.unanswered,
            Lie::LowWorkFlood => self.cheap_headers,
            Lie::OmittedFilters => self.omitted_filters,
            Lie::ReorganisationStorm => self.branches,
            Lie::RepeatedAnnouncements => self.announcements,
            Lie::SlowDrip => self.drips,
            Lie::StaleChain | Lie::WithheldHeaders => self.withheld_headers,
            Lie::WithheldBlocks => self.withheld_blocks,
        }
    }
}
