//! What a world consists of, and what happens in it: plain data, which a seed or a file gives.
//!
//! Each event is whole by itself: what it makes ends by itself, and its blocks depend on nothing but their own number. So any of them
//! can be left out, and the others stay what they are.

use serde::{Deserialize, Serialize};

use crate::adversary::Lie;

/// A world.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// The version of this format: [`SCHEMA`](super::file::SCHEMA).
    pub schema: u32,
    /// Where all that is random in it comes from.
    pub seed: u64,
    /// Blocks above the first one when it begins: one of [`chain::LENGTHS`](crate::chain::LENGTHS).
    pub trunk: u32,
    /// How old the last of them is then, in seconds.
    pub age: u32,
    /// When the faults stop, in milliseconds.
    pub ends: u64,
    /// How long the client then has to come to know what is true, in seconds.
    pub within: u64,
    /// The client and its application.
    pub client: ClientPart,
    /// What lies between nodes.
    pub links: LinksPart,
    /// The nodes that serve a chain.
    #[serde(rename = "peer")]
    pub peers: Vec<PeerPart>,
    /// What happens, in order.
    #[serde(rename = "event", default)]
    pub events: Vec<Happening>,
}

/// The client and its application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClientPart {
    /// As [`Config::encryption`](andon_bitcoin::client::Config::encryption).
    pub encryption: Encryption,
    /// As [`Config::filter_header_quorum`](andon_bitcoin::client::Config::filter_header_quorum).
    pub quorum: u8,
    /// As [`Config::filter_cache`](andon_bitcoin::client::Config::filter_cache).
    pub cache: Cache,
    /// As [`Config::newest_first`](andon_bitcoin::client::Config::newest_first).
    pub newest_first: bool,
    /// As [`Config::acknowledged`](andon_bitcoin::client::Config::acknowledged).
    pub acknowledged: bool,
    /// How many nodes are to be found beside those that are given; zero: none are looked for.
    pub discovery: u8,
    /// As [`Config::metered`](andon_bitcoin::client::Config::metered).
    pub metered: bool,
    /// As [`Config::decoy_blocks`](andon_bitcoin::client::Config::decoy_blocks); zero: none.
    pub decoy_blocks: u32,
    /// As [`Config::decoys`](andon_bitcoin::client::Config::decoys); zero: none.
    pub decoys: u16,
    /// As [`Config::filter_window`](andon_bitcoin::client::Config::filter_window).
    pub window: u32,
    /// As [`Config::stall_timeout`](andon_bitcoin::client::Config::stall_timeout), in milliseconds.
    pub stall: u32,
    /// As [`Config::retry_delay`](andon_bitcoin::client::Config::retry_delay), in milliseconds.
    pub retry: u32,
    /// How many events the application's queue has room for.
    pub room: u32,
    /// Whether its disk is a slow one.
    pub slow_disk: bool,
    /// What its line carries towards it, in bytes a second; zero: any amount.
    pub line: u32,
}

impl Default for ClientPart {
    /// As a client begins unless it is told otherwise, but that no nodes are looked for.
    fn default() -> Self {
        Self {
            encryption: Encryption::Preferred,
            quorum: 2,
            cache: Cache::Off,
            newest_first: false,
            acknowledged: false,
            discovery: 0,
            metered: false,
            decoy_blocks: 0,
            decoys: 0,
            window: 1 << 20,
            stall: 20_000,
            retry: 5000,
            room: 1000,
            slow_disk: false,
            line: 0,
        }
    }
}

/// As [`client::Encryption`](andon_bitcoin::client::Encryption).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is the client's of the same name")]
pub enum Encryption {
    Preferred,
    Required,
    Off,
}

/// As [`client::FilterCache`](andon_bitcoin::client::FilterCache).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is the client's of the same name")]
pub enum Cache {
    Off,
    All,
    Bytes(u64),
}

/// What lies between nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LinksPart {
    /// One way between two nodes, in milliseconds; zero: as between regions of the public network.
    pub latency: u32,
    /// As [`Links::jitter`](crate::world::Links::jitter), in thousandths.
    pub jitter: u32,
    /// How many of ten thousand packets are lost.
    pub loss: u32,
    /// The largest piece in which bytes come; zero: any.
    pub pieces: u32,
}

impl Default for LinksPart {
    /// A fixed latency of 40 ms; nothing is lost.
    fn default() -> Self {
        Self { latency: 40, jitter: 0, loss: 0, pieces: 0 }
    }
}

/// A node that serves a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerPart {
    /// By which events name it. No two have the same.
    pub number: u8,
    /// What it lies about; none: it is honest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lie: Option<Lie>,
    /// The first height that it lies about, if it does.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub since: u32,
    /// The numbers of the scripts whose payments it hides, if it hides any; none: of all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hides: Vec<u8>,
    /// How the client knows of it.
    pub given: Given,
    /// Which group of addresses it is in; those of a group have one vote together.
    #[serde(default)]
    pub group: u8,
    /// Its region.
    #[serde(default)]
    pub region: u8,
    /// Whether it takes encrypted connections.
    #[serde(default = "yes")]
    pub encrypts: bool,
    /// Whether it serves filters.
    #[serde(default = "yes")]
    pub filters: bool,
    /// The height above which it has no filters; zero: it has all.
    #[serde(default)]
    pub lags_from: u32,
    /// Whether it tells of the other nodes.
    #[serde(default)]
    pub tells: bool,
    /// What its line carries away from it, in bytes a second; zero: any amount.
    #[serde(default)]
    pub line: u32,
}

impl PeerPart {
    /// Whether it is honest and serves all that a client needs.
    pub const fn is_whole(&self) -> bool {
        self.lie.is_none() && self.filters && self.lags_from == 0
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

const fn yes() -> bool {
    true
}

/// How the client knows of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Given {
    /// By its address.
    Address,
    /// By a name that leads to it.
    Name,
    /// Not, until somebody tells.
    No,
}

/// Something that happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Happening {
    /// When, in milliseconds since the world began.
    pub at: u64,
    /// What.
    pub what: What,
}

/// What happens. Times are in milliseconds. What names a node that there is not, or undoes what is not so, changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum What {
    /// The best chain loses its last `depth` blocks and has `depth + count` others. `tells` learn of it at once, and liars do.
    Blocks {
        /// Zero: it grows.
        depth: u32,
        /// By how many it is longer then.
        count: u32,
        /// What makes its blocks unlike others'.
        salt: u32,
        /// Who learns of it at once.
        tells: Vec<u8>,
    },
    /// An honest node learns of the best chain.
    Learn {
        /// Which.
        peer: u8,
    },
    /// An honest node has blocks that nobody else has.
    Rival {
        /// Which.
        peer: u8,
        /// How many.
        count: u32,
        /// What makes them unlike others.
        salt: u32,
    },
    /// A node's process ends, or its machine loses its power, and it comes back later.
    PeerDown {
        /// Which.
        peer: u8,
        /// How.
        how: Crash,
        /// For how long.
        time: u64,
    },
    /// A node can't be dialled for a time.
    Unreachable {
        /// Which.
        peer: u8,
        /// Whether dials are refused; else they aren't answered.
        refuses: bool,
        /// For how long.
        time: u64,
    },
    /// The connections to a node break off.
    Cut {
        /// Which.
        peer: u8,
    },
    /// Nodes are on another island than the client.
    Divide {
        /// Which.
        peers: Vec<u8>,
        /// For how long.
        time: u64,
    },
    /// A node's line carries little.
    Slow {
        /// Which.
        peer: u8,
        /// Bytes a second.
        line: u32,
        /// For how long.
        time: u64,
    },
    /// Links are bad.
    Weather {
        /// How bad.
        links: LinksPart,
        /// For how long.
        time: u64,
    },
    /// The client's calendar is off.
    Skew {
        /// By so many seconds.
        seconds: i64,
        /// For how long.
        time: u64,
    },
    /// Names lead nowhere.
    NoNames {
        /// For how long.
        time: u64,
    },
    /// The client's disk is a slow one.
    SlowDisk {
        /// For how long.
        time: u64,
    },
    /// The application takes no events.
    Stall {
        /// For how long.
        time: u64,
    },
    /// The client ends, and comes back later on what was written.
    Crash {
        /// How.
        how: Crash,
        /// For how long.
        time: u64,
        /// Whether it then searches the other way, and keeps filters otherwise.
        changes: bool,
    },
    /// The application watches a script.
    Watch {
        /// Its [number](crate::chain::script). Of even ones an output is watched in its place, the last that the best chain has.
        script: u8,
        /// From this height on.
        from: u32,
    },
    /// The application watches a script no more, and the first of the outputs that it watches.
    Unwatch {
        /// Its number.
        script: u8,
    },
    /// The application has everything searched for once more.
    Rescan {
        /// From this height on.
        from: u32,
    },
    /// The application searches for what spends the first output of a block.
    FindSpend {
        /// The block's height.
        height: u32,
    },
    /// The application asks for a block.
    Ask {
        /// The block's height.
        height: u32,
        /// How long it waits.
        time: u64,
    },
    /// The application asks for filters.
    Filters {
        /// The first height.
        from: u32,
    },
    /// The client pauses.
    Pause {
        /// For how long.
        time: u64,
    },
    /// Each byte costs, or not any more.
    Metered {
        /// Which.
        on: bool,
    },
    /// A given node is not given any more.
    Forget {
        /// Which.
        peer: u8,
        /// For how long.
        time: u64,
    },
}

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Crash {
    /// It dies.
    Process,
    /// Its power fails.
    Power,
    /// It is stopped, as a driver stops it, if it has the time.
    Stop,
}
