//! Which rules a node of Bitcoin Core has: those of a release, with each countermeasure as a switch.

use serde::Deserialize;

/// Places in a bucket, in every release.
pub const BUCKET_SIZE: u32 = 64;

/// The most buckets that a table may have.
pub const MAX_BUCKETS: u32 = 1024;

/// Who goes when a newcomer's bucket among the tried is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Eviction {
    /// Of four random ones the one that was reached the longest ago: as it was meant.
    #[serde(rename = "oldest_of_4")]
    OldestOfFour,
    /// As it was written up to 0.10.0: the oldest of four is looked for, and the one goes that was swapped into its place.
    #[serde(rename = "as_coded_0.9")]
    AsCoded,
    /// Any.
    #[serde(rename = "random")]
    Random,
    /// Who stands in the one place that the newcomer's address has in its bucket.
    #[serde(rename = "deterministic")]
    Deterministic,
}

/// How a node is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Selection {
    /// The more likely the later it was heard of, and out of the tried the more likely the more there are of them, and the
    /// fewer connections there are.
    Fresh,
    /// The same, but whoever stands in a table is as likely to be drawn as any other, and not any bucket as any other: as the
    /// paper's closed form has it, and no release.
    FreshEntries,
    /// Half of the time out of the tried; all of a table are as likely as the others, but for failed attempts.
    Random,
}

/// How the nodes that were heard of are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NewTable {
    /// A bucket holds any 64; of a full one the oldest of four random ones goes.
    Sets,
    /// An address has one place in a bucket, and who stands there stays unless he is not worth it.
    Cells,
}

/// What else differs between releases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Era {
    /// 0.9: one port per host; a dial that fails leaves no trace; connected peers' times are kept fresh.
    Old,
    /// 0.10.1: every dial counts.
    Middle,
    /// 28: a dial counts as failed only if it may not be us who are offline; whoever is reached is not told of as fresh.
    Today,
}

/// The rules of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    pub(super) era: Era,
    /// Buckets of those that were reached, and over how many those of one group are spread.
    pub tried_buckets: u32,
    /// See [`tried_buckets`](Self::tried_buckets).
    pub tried_buckets_per_group: u32,
    /// Buckets of those that were heard of, and over how many those are spread that one group of sources tells of.
    pub new_buckets: u32,
    /// See [`new_buckets`](Self::new_buckets).
    pub new_buckets_per_source_group: u32,
    /// Places that one address takes among the new at most: eight or fewer.
    pub max_references: u8,
    /// Who goes when there is no room among the tried (countermeasure 1).
    pub eviction: Eviction,
    /// How nodes are chosen (countermeasure 2).
    pub selection: Selection,
    /// How the new are kept.
    pub new_table: NewTable,
    /// Whether nobody goes from the tried before a connection has shown that he is gone (countermeasure 3).
    pub test_before_evict: bool,
    /// Whether there are connections that only test whether there is a node (countermeasure 4).
    pub feelers: bool,
    /// Connections that are remembered over a restart (countermeasure 5).
    pub anchors: u32,
    /// Connections for everything (countermeasure 7).
    pub outgoing: u32,
    /// Connections for blocks alone.
    pub block_relay: u32,
    /// Whether a peer may tell a tenth of an address a second unasked, and no more (countermeasure 8).
    pub address_limit: bool,
    /// Whether who connects to us, and says that he listens, counts as reached.
    pub inbound_enters_tried: bool,
    /// Whether no two connections go to the same group.
    pub distinct_groups: bool,
}

/// What differs from a release's rules, as an experiment says it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "each is a field of Rules by the same name")]
pub struct Flags {
    pub tried_buckets: Option<u32>,
    pub tried_buckets_per_group: Option<u32>,
    pub new_buckets: Option<u32>,
    pub new_buckets_per_source_group: Option<u32>,
    pub max_references: Option<u8>,
    pub eviction: Option<Eviction>,
    pub selection: Option<Selection>,
    pub new_table: Option<NewTable>,
    pub test_before_evict: Option<bool>,
    pub feelers: Option<bool>,
    pub anchors: Option<u32>,
    pub outgoing: Option<u32>,
    pub block_relay: Option<u32>,
    pub address_limit: Option<bool>,
    pub inbound_enters_tried: Option<bool>,
    pub distinct_groups: Option<bool>,
}

impl Rules {
    /// Bitcoin Core 0.9.3, but for the eviction, which is as it was meant.
    pub const CORE_0_9_3: Self = Self {
        era: Era::Old,
        tried_buckets: 64,
        tried_buckets_per_group: 4,
        new_buckets: 256,
        new_buckets_per_source_group: 32,
        max_references: 4,
        eviction: Eviction::OldestOfFour,
        selection: Selection::Fresh,
        new_table: NewTable::Sets,
        test_before_evict: false,
        feelers: false,
        anchors: 0,
        outgoing: 8,
        block_relay: 0,
        address_limit: false,
        inbound_enters_tried: true,
        distinct_groups: true,
    };

    /// Bitcoin Core 0.10.1, with countermeasures 1, 2 and 6 of Heilman et al. (2015).
    pub const CORE_0_10_1: Self = Self {
        era: Era::Middle,
        tried_buckets: 256,
        tried_buckets_per_group: 8,
        new_buckets: 1024,
        new_buckets_per_source_group: 64,
        max_references: 8,
        eviction: Eviction::Deterministic,
        selection: Selection::Random,
        new_table: NewTable::Cells,
        ..Self::CORE_0_9_3
    };

    /// Bitcoin Core 28.
    pub const CORE_28: Self = Self {
        era: Era::Today,
        test_before_evict: true,
        feelers: true,
        anchors: 2,
        block_relay: 2,
        address_limit: true,
        inbound_enters_tried: false,
        ..Self::CORE_0_10_1
    };

    /// The rules of a release by its name. `None`: there is none of that name here.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "core-0.9.3" => Self::CORE_0_9_3,
            "core-0.10.1" => Self::CORE_0_10_1,
            "core-28" => Self::CORE_28,
            _ => return None,
        })
    }

    /// With what an experiment changes.
    ///
    /// # Errors
    /// If nobody could keep to them.
    pub fn with(mut self, flags: &Flags) -> Result<Self, String> {
        macro_rules! take {
            ($($field:ident)*) => { $(if let Some(value) = flags.$field { self.$field = value; })* };
        }
        take!(tried_buckets tried_buckets_per_group new_buckets new_buckets_per_source_group max_references);
        take!(eviction selection new_table test_before_evict feelers anchors outgoing block_relay);
        take!(address_limit inbound_enters_tried distinct_groups);
        for (name, buckets, share) in [
            ("tried_buckets", self.tried_buckets, self.tried_buckets_per_group),
            ("new_buckets", self.new_buckets, self.new_buckets_per_source_group),
        ] {
            if buckets == 0 || buckets > MAX_BUCKETS || share == 0 || share > buckets {
                return Err(format!("{name}: from 1 to {MAX_BUCKETS}, and no fewer than one group reaches"));
            }
        }
        if !(1..=8).contains(&self.max_references) {
            return Err("max_references: from 1 to 8".into());
        }
        if self.test_before_evict && self.eviction != Eviction::Deterministic {
            return Err(
                "test_before_evict: it is only known who is to be tested if eviction is deterministic".into(),
            );
        }
        if self.outgoing == 0 || self.outgoing > 125 || self.block_relay > 125 || self.anchors > 125 {
            return Err(
                "outgoing, block_relay, anchors: 125 connections at most, and one outgoing at least".into()
            );
        }
        Ok(self)
    }
}
