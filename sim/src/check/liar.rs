//! Nodes that lie.

use serde::{Deserialize, Serialize};

/// What a node lies about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lie {
    /// It serves an old chain as if nothing had come after it.
    Stale,
}

impl Lie {
    /// All of them.
    pub const ALL: [Self; 1] = [Self::Stale];
}
