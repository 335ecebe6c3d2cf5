//! What came of an experiment's trials, gathered in the trials' order.

use std::collections::{BTreeMap, BTreeSet};

use bitcoin::hashes::{Hash, HashEngine, sha256};
use serde::{Deserialize, Serialize};

use super::expectation::Judgement;
use super::statistics::{Estimate, Histogram, MeasureKind};
use super::{Error, Experiment, Measure, Outcome, Sample, Stop};

/// A measure, as the trials of a cell have it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: MeasureKind,
}

/// A trial, as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Which of the cell.
    pub trial: u64,
    /// The digest of everything that happened.
    pub digest: u64,
    /// The whole number of each of the cell's columns, as far as it has come: the trial may not have measured it, and then there is none.
    pub values: Box<[Option<i64>]>,
}

/// What was looked at over time: by measure and second, how often each value came.
pub type Series = BTreeMap<String, BTreeMap<u64, Histogram>>;

/// What came of a cell.
#[derive(Clone)]
pub struct CellResult {
    /// What was measured, in the order in which it came.
    columns: Vec<Column>,
    /// Of each column how often each value came.
    histograms: Vec<Histogram>,
    /// Every trial, in order, if they are kept.
    rows: Option<Vec<Row>>,
    /// All in one, or by batches of trials.
    series: Vec<Series>,
    /// How many trials each batch of `series` has.
    batch: u64,
    trials: u64,
    stopped: bool,
    engine: sha256::HashEngine,
}

/// What came of an experiment, or of a part of it.
#[derive(Clone)]
pub struct Results {
    /// The experiment.
    pub experiment: Experiment,
    /// Of each cell.
    pub cells: Vec<CellResult>,
}

impl CellResult {
    /// Of no trial yet. `keep`: whether every trial's row is kept, of 16 bytes for each measure and 32. `batched`: whether it can be told later what came over time
    /// up to a batch's end.
    fn new(keep: bool, batched: bool) -> Self {
        Self {
            columns: vec![],
            histograms: vec![],
            rows: keep.then(Vec::new),
            series: vec![],
            batch: if batched { Stop::BATCH } else { u64::MAX },
            trials: 0,
            stopped: false,
            engine: sha256::Hash::engine(),
        }
    }

    /// What was measured, in the order in which it came.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Every trial, in order; empty if they weren't kept.
    pub fn rows(&self) -> &[Row] {
        self.rows.as_deref().unwrap_or_default()
    }

    /// How many trials there were.
    pub fn trials(&self) -> u64 {
        self.trials
    }

    /// Whether the rule to stop has stopped it.
    pub fn stopped(&self) -> bool {
        self.stopped
    }

    /// The digest of all trials so far.
    pub fn digest(&self) -> sha256::Hash {
        sha256::Hash::from_engine(self.engine.clone())
    }

    /// What was looked at over time, in all trials.
    pub fn series(&self) -> Series {
        let mut all = Series::new();
        self.series.iter().for_each(|batch| merge_series(&mut all, batch));
        all
    }

    /// Of each measure what the trials say, by its name.
    pub fn estimates(&self) -> BTreeMap<&str, (MeasureKind, Option<Estimate>)> {
        let each = self.columns.iter().zip(&self.histograms);
        each.map(|(column, counted)| (column.name.as_str(), (column.kind, counted.estimate(column.kind))))
            .collect()
    }

    /// Takes the outcome of the next trial.
    ///
    /// # Errors
    /// If the model measures the same by two kinds, or looks at one moment of one trial twice.
    pub(super) fn record(&mut self, trial: u64, outcome: &Outcome) -> Result<(), String> {
        let measures = outcome.measures.iter().map(|(&name, &measure)| (name, measure));
        self.record_measures(trial, outcome.digest, measures)?;
        let batch = usize::try_from(trial / self.batch).unwrap_or(usize::MAX);
        if self.series.len() <= batch {
            self.series.resize_with(batch + 1, Series::new);
        }
        for &Sample { at, measure, value } in &outcome.series {
            // Looked up before the name is copied: it is there for all trials but the first.
            let series = &mut self.series[batch];
            if !series.contains_key(measure) {
                series.insert(measure.to_owned(), BTreeMap::new());
            }
            if let Some(moments) = series.get_mut(measure) {
                moments.entry(at).or_default().add(value);
            }
        }
        Ok(())
    }

    /// Takes what the next trial measured, without what it looked at over time.
    pub(super) fn record_measures<'a>(
        &mut self,
        trial: u64,
        digest: u64,
        measures: impl Iterator<Item = (&'a str, Measure)>,
    ) -> Result<(), String> {
        self.trials += 1;
        self.engine.input(&trial.to_le_bytes());
        self.engine.input(&digest.to_le_bytes());
        let mut values = vec![None; self.columns.len()];
        for (name, measure) in measures {
            let place = self.column(name, measure.kind())?;
            values.resize(values.len().max(place + 1), None);
            values[place] = Some(measure.whole());
            self.histograms[place].add(measure.whole());
            self.engine.input(&(name.len() as u64).to_le_bytes());
            self.engine.input(name.as_bytes());
            self.engine.input(&[measure.kind() as u8]);
            self.engine.input(&measure.whole().to_le_bytes());
        }
        if let Some(rows) = &mut self.rows {
            rows.push(Row { trial, digest, values: values.into() });
        }
        Ok(())
    }

    fn column(&mut self, name: &str, kind: MeasureKind) -> Result<usize, String> {
        if let Some(place) = self.columns.iter().position(|column| column.name == name) {
            let known = self.columns[place].kind;
            let same = known == kind;
            return if same {
                Ok(place)
            } else {
                Err(format!("`{name}` is of two kinds: {known:?}, {kind:?}"))
            };
        }
        self.columns.push(Column { name: name.to_owned(), kind });
        self.histograms.push(Histogram::default());
        Ok(self.columns.len() - 1)
    }

    /// What was looked at over time, by batch.
    pub(super) fn batches(&self) -> &[Series] {
        &self.series
    }

    /// Takes what a part looked at over time in a batch of trials.
    pub(super) fn record_series(&mut self, batch: usize, series: &Series) {
        if self.series.len() <= batch {
            self.series.resize_with(batch + 1, Series::new);
        }
        merge_series(&mut self.series[batch], series);
    }

    /// Whether the cell has enough trials, after so many that a batch is complete.
    pub(super) fn decide(&mut self, stop: &Stop) {
        if !self.trials.is_multiple_of(Stop::BATCH) || self.trials == 0 {
            return;
        }
        let estimates = self.estimates();
        let estimate = estimates.get(stop.metric.as_str()).and_then(|&(_, estimate)| estimate);
        self.stopped =
            estimate.and_then(|estimate| estimate.half_width()).is_some_and(|half| half <= stop.half_width);
    }
}

impl Results {
    /// Of no trial yet. A part can't stop by a rule, so it keeps by batches what came over time.
    pub(super) fn new(experiment: Experiment, keep: bool, part: bool) -> Self {
        let batched = part && experiment.stop.is_some();
        let cells = experiment.cells.iter().map(|_| CellResult::new(keep, batched)).collect();
        Self { experiment, cells }
    }

    /// The digest of everything that happened, cell by cell and trial by trial.
    pub fn digest(&self) -> sha256::Hash {
        let mut engine = sha256::Hash::engine();
        for (cell, result) in self.experiment.cells.iter().zip(&self.cells) {
            engine.input(&(cell.name.len() as u64).to_le_bytes());
            engine.input(cell.name.as_bytes());
            engine.input(result.digest().as_byte_array());
        }
        sha256::Hash::from_engine(engine)
    }

    /// Every measure of any cell, by name.
    pub fn columns(&self) -> Vec<Column> {
        let all: BTreeSet<_> = self.cells.iter().flat_map(|cell| &cell.columns).cloned().collect();
        all.into_iter().collect()
    }

    /// What each expectation comes to, by cell and measure.
    pub fn judgements(&self) -> Vec<BTreeMap<&str, Judgement>> {
        let judge = |cell: usize| {
            let estimates = self.cells[cell].estimates();
            let expected = self.experiment.cells[cell].expect.iter();
            expected.map(|(name, expected)| (name.as_str(), expected.judge(name, &estimates))).collect()
        };
        (0..self.cells.len()).map(judge).collect()
    }

    /// Whether the experiment speaks only of what is measured.
    ///
    /// # Errors
    /// If an expectation, a figure or the rule to stop is of what no trial of any cell gave, or a measure is of two kinds.
    pub fn check(&self) -> Result<(), Error> {
        let columns = self.columns();
        let wrong = |message| Error::Results { experiment: self.experiment.name.clone(), message };
        if let Some(two) = columns.windows(2).find(|two| two[0].name == two[1].name) {
            return Err(wrong(format!("`{}` is of two kinds in two cells", two[0].name)));
        }
        let expected = self.experiment.cells.iter().flat_map(|cell| &cell.expect);
        let expected = expected.flat_map(|(name, expected)| std::iter::once(name).chain(&expected.measure));
        let over_time = |name: &String| {
            self.cells.iter().flat_map(|cell| &cell.series).any(|series| series.contains_key(name))
        };
        let drawn = self.experiment.figures.measures.iter().flatten().filter(|name| !over_time(name));
        let metric = self.experiment.stop.iter().map(|stop| &stop.metric);
        for name in expected.chain(drawn).chain(metric) {
            if !columns.iter().any(|column| column.name == *name) {
                let names: Vec<_> = columns.iter().map(|column| format!("`{}`", column.name)).collect();
                let names = names.join(", ");
                return Err(wrong(format!("no trial gave the measure `{name}`; there are {names}")));
            }
        }
        Ok(())
    }
}

fn merge_series(into: &mut Series, from: &Series) {
    for (measure, moments) in from {
        let all = into.entry(measure.clone()).or_default();
        for (&at, counted) in moments {
            all.entry(at).or_default().merge(counted);
        }
    }
}
