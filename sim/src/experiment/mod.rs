//! Experiments: what a trial is, and what comes of it.
//!
//! A [`Model`] is one cell of an experiment, all its settings known. Trials are independent of each other, so they run on any number of threads and machines.
//!
//! What an experiment is stands in a file ([`mod@file`]), and is a value ([`Experiment`]) that says everything the result depends on. [`run`] runs it, and [`output`]
//! writes what came of it. Not one byte of that depends on the number of threads, nor on whether one machine ran all trials or many each a part ([`shard`]).
//!
//! A researcher's own models join by [`Kinds::with`].

pub mod catalogue;
pub mod coins;
mod error;
pub mod expectation;
pub mod file;
mod kinds;
pub mod output;
mod paths;
mod plan;
mod results;
mod runner;
pub mod shard;

pub mod statistics;

use std::collections::BTreeMap;

pub use error::Error;
pub use kinds::{Family, Kinds, Loader};
pub use plan::{Cell, Experiment, Figures, Stop};
pub use results::{CellResult, Column, Results, Row, Series};
pub use runner::{Options, Progress, Runnable, run};

/// One cell of an experiment.
pub trait Model: Send + Sync {
    /// Runs one trial. The outcome is a function of the seed alone.
    fn trial(&self, seed: u64) -> Outcome;
}

/// What comes of a trial.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Every measure by its name.
    pub measures: BTreeMap<&'static str, Measure>,
    /// What was looked at over time, where the experiment asks for it.
    pub series: Vec<Sample>,
    /// A digest of everything that happened.
    pub digest: u64,
}

/// What is measured once in a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Whether it happened: a proportion over trials.
    Happened(bool),
    /// How many: a mean over trials, and quantiles.
    Count(i64),
    /// A fraction in millionths: a mean over trials, and quantiles.
    Millionths(i64),
}

/// A measure at a moment of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Virtual time from the trial's start, in seconds.
    pub at: u64,
    /// What.
    pub measure: &'static str,
    /// How much.
    pub value: i64,
}
