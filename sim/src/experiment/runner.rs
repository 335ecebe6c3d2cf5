//! Runs an experiment's trials on several threads, and gathers what comes of them in order.
//!
//! Threads take trials by number, and what they come to is recorded by number: so nothing that is recorded depends on which thread was faster. No thread runs far ahead of what
//! has been recorded, so what waits for its turn stays little. Whether a cell has enough trials is decided where a batch of them ends, in trials and not in time.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, PoisonError, mpsc};
use std::thread;

use super::shard::Shard;
use super::{Error, Experiment, Model, Outcome, Results, Stop};

/// How many trials for each thread may be done or in work beyond the last that is recorded.
const AHEAD: u64 = 32;

/// How many trials are kept at most: of ten measures, two gigabytes.
pub(super) const MOST_KEPT: u64 = 10_000_000;

/// An experiment with its models, one for each cell.
pub struct Runnable {
    /// The experiment.
    pub experiment: Experiment,
    /// The models.
    pub models: Vec<Box<dyn Model>>,
}

/// How an experiment is run: nothing of what comes out depends on it, but a part is less than the whole.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// On how many threads.
    pub threads: NonZeroUsize,
    /// Which part of the trials. A part has all its trials: where the rule stops a cell is seen when the parts are merged.
    pub shard: Option<Shard>,
    /// Whether each trial is kept, for [`output`](super::output) or for a part.
    pub keep_trials: bool,
}

/// Runs an experiment. `progress` hears how many more trials are recorded, and how many there are to be at most from here on.
///
/// # Errors
/// If a trial panics, a model measures the same by two kinds, or more trials are to be kept than there is room for.
pub fn run(
    runnable: &Runnable,
    options: Options,
    progress: &mut dyn FnMut(Progress),
) -> Result<Results, Error> {
    let experiment = &runnable.experiment;
    let each = experiment.trials / options.shard.map_or(1, Shard::count);
    let kept = each.saturating_mul(experiment.cells.len() as u64);
    if options.keep_trials && kept > MOST_KEPT {
        return Err(Error::Usage(format!(
            "{}: every trial is kept until it is written, and {kept} are more than {MOST_KEPT}: run fewer, or without `--out`",
            experiment.name
        )));
    }
    let mut results = Results::new(experiment.clone(), options.keep_trials, options.shard.is_some());
    let stop = experiment.stop.as_ref().filter(|_| options.shard.is_none());
    let step = if stop.is_some() { Stop::BATCH } else { experiment.trials };
    let mut begin = 0;
    while begin < experiment.trials {
        let end = begin.saturating_add(step).min(experiment.trials);
        let cells =
            (0..results.cells.len()).filter(|&cell| !results.cells[cell].stopped()).collect::<Vec<_>>();
        if cells.is_empty() {
            break;
        }
        let round = Round::new(runnable, &cells, options.shard, begin..end);
        let later = if stop.is_some() { cells.len() as u64 * (experiment.trials - end) } else { 0 };
        let mut left = round.length + later;
        round.run(options.threads, &mut |job: Job, outcome| {
            let failed = |message| Error::Trial {
                experiment: experiment.name.clone(),
                cell: experiment.cells[job.cell].name.clone(),
                trial: job.trial,
                seed: job.seed,
                message,
            };
            let outcome = outcome.map_err(failed)?;
            results.cells[job.cell].record(job.trial, &outcome).map_err(|message| Error::Results {
                experiment: experiment.name.clone(),
                message: format!("cell `{}`: {message}", experiment.cells[job.cell].name),
            })?;
            left -= 1;
            progress(Progress { left });
            Ok(())
        })?;
        if let Some(stop) = stop {
            cells.iter().for_each(|&cell| results.cells[cell].decide(stop));
        }
        begin = end;
    }
    Ok(results)
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// How many trials there still are, at most.
    pub left: u64,
}

/// A trial that is to be run.
#[derive(Clone, Copy, Debug)]
struct Job {
    cell: usize,
    trial: u64,
    seed: u64,
}

/// The same range of trials of some cells, cell by cell.
struct Round<'a> {
    runnable: &'a Runnable,
    cells: &'a [usize],
    /// The first trial of each cell, the distance to the next, and how many.
    first: u64,
    stride: u64,
    each: u64,
    length: u64,
}

/// Who has taken how many jobs, and how many are recorded.
struct Turn {
    taken: u64,
    recorded: u64,
    /// No further job is begun.
    over: bool,
}

impl<'a> Round<'a> {
    fn new(runnable: &'a Runnable, cells: &'a [usize], shard: Option<Shard>, trials: Range<u64>) -> Self {
        let (index, stride) = shard.map_or((0, 1), |shard| (shard.index(), shard.count()));
        // The first trial from the range's start on that is of this part.
        let first = trials.start + (index + stride - trials.start % stride) % stride;
        let each = trials.end.saturating_sub(first).div_ceil(stride);
        Self { runnable, cells, first, stride, each, length: each * cells.len() as u64 }
    }

    fn job(&self, number: u64) -> Job {
        let cell = self.cells[(number / self.each) as usize];
        let trial = self.first + number % self.each * self.stride;
        Job { cell, trial, seed: self.runnable.experiment.trial_seed(cell, trial) }
    }

    /// Runs each job, and hands what comes of it to `record` in the jobs' order.
    fn run(
        &self,
        threads: NonZeroUsize,
        record: &mut dyn FnMut(Job, Result<Outcome, String>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let threads = (threads.get() as u64).min(self.length);
        let ahead = threads * AHEAD;
        let (turn, moved) = (Mutex::new(Turn { taken: 0, recorded: 0, over: false }), Condvar::new());
        let lock = || turn.lock().unwrap_or_else(PoisonError::into_inner);
        let (sender, receiver) = mpsc::channel();
        thread::scope(|scope| {
            for _ in 0..threads {
                let (sender, moved, lock) = (sender.clone(), &moved, &lock);
                scope.spawn(move || {
                    loop {
                        let held = |turn: &mut Turn| {
                            !turn.over && turn.taken < self.length && turn.taken >= turn.recorded + ahead
                        };
                        let mut turn = moved.wait_while(lock(), held).unwrap_or_else(PoisonError::into_inner);
                        if turn.over || turn.taken == self.length {
                            return;
                        }
                        let number = turn.taken;
                        turn.taken += 1;
                        drop(turn);
                        let job = self.job(number);
                        let model = &self.runnable.models[job.cell];
                        // What a trial leaves behind is its own, and nobody looks at it after a panic.
                        let outcome = catch_unwind(AssertUnwindSafe(|| model.trial(job.seed)));
                        let outcome = outcome.map_err(|panic| said(panic.as_ref()));
                        if sender.send((number, job, outcome)).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(sender);
            let mut waiting = BTreeMap::new();
            let mut next = 0;
            for (number, job, outcome) in receiver {
                waiting.insert(number, (job, outcome));
                let begin = next;
                while let Some((job, outcome)) = waiting.remove(&next) {
                    let recorded = record(job, outcome);
                    next += 1;
                    if recorded.is_err() {
                        lock().over = true;
                        moved.notify_all();
                        return recorded;
                    }
                }
                if next > begin {
                    lock().recorded = next;
                    moved.notify_all();
                }
            }
            Ok(())
        })
    }
}

fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "it said nothing".to_owned())
}

#[cfg(test)]
mod tests;
