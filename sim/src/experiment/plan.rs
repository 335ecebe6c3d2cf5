//! An experiment with everything filled in: what its result depends on, and nothing else.

use std::collections::BTreeMap;

use bitcoin::hashes::{Hash, sha256};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::expectation::Expectation;
use crate::random::Stream;

/// An experiment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// The format's version: 1.
    pub schema: u32,
    /// What it is called, also in names of files.
    pub name: String,
    /// A heading.
    pub title: String,
    /// What it is about.
    pub description: String,
    /// What the models are of.
    pub kind: String,
    /// The seed that all trials' seeds derive from.
    pub seed: u64,
    /// How many trials each cell has, at most if there is a rule to stop.
    pub trials: u64,
    /// When a cell has enough trials.
    pub stop: Option<Stop>,
    /// What is drawn.
    pub figures: Figures,
    /// The paths that are swept, each with its values.
    pub sweep: BTreeMap<String, Vec<Value>>,
    /// The cells, in order.
    pub cells: Vec<Cell>,
}

/// A rule to stop by: after every [`BATCH`](Self::BATCH) trials of a cell, whether its interval is narrow enough.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stop {
    /// Of which measure.
    pub metric: String,
    /// Half of the 95 % interval's width at which it stops, in the measure's unit.
    pub half_width: f64,
}

/// What is drawn.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figures {
    /// Of the paths that are swept, the one along which values are drawn. Without it the one with the most numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub x: Option<String>,
    /// The measures that have a figure, once or over time. Without it all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measures: Option<Vec<String>>,
}

/// One cell: settings that trials have in common.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cell {
    /// What it is called. Its trials' seeds derive from that, so that a further cell changes nothing in the others.
    pub name: String,
    /// The name it was given in the file, if it was; without what is swept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given: Option<String>,
    /// The value of each path that is swept.
    pub at: BTreeMap<String, Value>,
    /// The model's settings.
    pub settings: Value,
    /// What is expected of its measures.
    pub expect: BTreeMap<String, Expectation>,
}

impl Stop {
    /// After how many trials of a cell it is decided each time. Part of the schema: with another number another trial were the last.
    pub const BATCH: u64 = 100;
}

impl Experiment {
    /// How many trials a cell may have.
    pub const MOST_TRIALS: u64 = 1_000_000_000;

    /// What must hold of any experiment, wherever it was read from.
    ///
    /// # Errors
    /// What does not.
    pub(super) fn check(&self) -> Result<(), String> {
        let fine = self.schema == 1
            && is_name(&self.name)
            && (1..=Self::MOST_TRIALS).contains(&self.trials)
            && !self.cells.is_empty();
        if !fine {
            return Err("it is no experiment of schema 1 with a name, trials and cells".to_owned());
        }
        self.cells.iter().flat_map(|cell| cell.expect.values()).try_for_each(Expectation::check)
    }

    /// The digest of everything that the result depends on, program aside.
    ///
    /// # Panics
    /// Never: what it holds was text.
    pub fn digest(&self) -> sha256::Hash {
        sha256::Hash::hash(&serde_json::to_vec(self).expect("settings are text and finite numbers"))
    }

    /// The seed of a trial of a cell.
    ///
    /// # Panics
    /// If there is no such cell.
    pub fn trial_seed(&self, cell: usize, trial: u64) -> u64 {
        Stream::new(self.seed).fork("cell").fork(&self.cells[cell].name).fork_indexed("trial", trial).u64()
    }
}

/// Whether a folder may be called so.
pub(super) fn is_name(name: &str) -> bool {
    let fine = name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    fine && (1..=64).contains(&name.len()) && !name.starts_with('-')
}
