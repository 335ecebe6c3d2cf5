//! Parts of a run, on machines that know nothing of each other, and how they become the whole again.
//!
//! Of `n` parts the `i`-th has the trials whose number leaves the remainder `i` when divided by `n`. A part is a file that holds the experiment, every trial of it, and what was looked at over
//! time. Merged, they give exactly what one machine would have got, to the byte.
//!
//! Where a rule stops a cell can't be seen in a part: each has all of its trials, and merging drops those that would not have been run.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::results::Series;
use super::runner::MOST_KEPT;
use super::statistics::{Histogram, MeasureKind};
use super::{CellResult, Column, Error, Experiment, Measure, Results, Stop};

/// What a file says first that is a part.
const FORMAT: &str = "andon-sim part 1";
/// How many parts a run may have.
const MOST: u64 = 65_536;

/// Which part of how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "(u64, u64)", into = "(u64, u64)")]
pub struct Shard {
    index: u64,
    count: u64,
}

/// A part of a run that was read.
pub struct Part {
    path: PathBuf,
    content: Content,
    /// What it looked at over time, by cell; its trials are in `content`.
    results: Results,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    format: String,
    version: String,
    /// The experiment's digest.
    configuration: String,
    shard: Shard,
    /// The digest of this part's trials.
    digest: String,
    experiment: Experiment,
    cells: Vec<CellContent>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CellContent {
    columns: Vec<Column>,
    trials: Vec<TrialContent>,
    /// By batch of trials.
    series: Vec<SeriesContent>,
}

/// By measure what each second had: values, each with how often it came.
type SeriesContent = BTreeMap<String, Vec<(u64, Vec<(i64, u64)>)>>;

/// A trial's number, its digest, and the value of each column.
type TrialContent = (u64, String, Vec<Option<i64>>);

impl Shard {
    /// The `index`-th of `count` parts, counted from 0. `None` if there is no such part.
    pub fn new(index: u64, count: u64) -> Option<Self> {
        (index < count && count <= MOST).then_some(Self { index, count })
    }

    /// Which, from 0.
    pub fn index(self) -> u64 {
        self.index
    }

    /// Of how many.
    pub fn count(self) -> u64 {
        self.count
    }

    /// What its file is called.
    pub fn file_name(self) -> String {
        format!("part-{}-of-{}.json", self.index, self.count)
    }

    /// How many of so many trials it has.
    fn trials(self, of: u64) -> u64 {
        of.saturating_sub(self.index).div_ceil(self.count)
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers =
            text.split_once('/').and_then(|(index, count)| Some((index.parse().ok()?, count.parse().ok()?)));
        let shard = numbers.and_then(|(index, count)| Self::new(index, count));
        shard.ok_or_else(|| {
            format!("`0/4` is the first of four parts and `3/4` the last; there are at most {MOST}")
        })
    }
}

impl TryFrom<(u64, u64)> for Shard {
    type Error = String;

    fn try_from((index, count): (u64, u64)) -> Result<Self, String> {
        Self::new(index, count).ok_or_else(|| format!("there is no part {index} of {count}"))
    }
}

impl From<Shard> for (u64, u64) {
    fn from(shard: Shard) -> Self {
        (shard.index, shard.count)
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

/// Writes a part's results, whose trials were kept, into a folder, under its [file's name](Shard::file_name). It is there as a whole or not at all.
///
/// # Errors
/// If it can't be written.
pub fn write(results: &Results, shard: Shard, folder: &Path) -> Result<PathBuf, Error> {
    std::fs::create_dir_all(folder).map_err(Error::storage(folder))?;
    let path = folder.join(shard.file_name());
    let unfinished = folder.join(format!("{}.unfinished", shard.file_name()));
    let content = Content {
        format: FORMAT.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        configuration: results.experiment.digest().to_string(),
        shard,
        digest: results.digest().to_string(),
        experiment: results.experiment.clone(),
        cells: results.cells.iter().map(CellContent::of).collect(),
    };
    let save = || {
        let mut file = BufWriter::new(File::create(&unfinished)?);
        serde_json::to_writer(&mut file, &content)?;
        file.write_all(b"\n")?;
        file.into_inner()?.sync_all()?;
        std::fs::rename(&unfinished, &path)
    };
    save().map_err(Error::storage(&path))?;
    Ok(path)
}

impl CellContent {
    fn of(cell: &CellResult) -> Self {
        let trials =
            cell.rows().iter().map(|row| (row.trial, format!("{:016x}", row.digest), row.values.to_vec()));
        let moments = |moments: &BTreeMap<u64, Histogram>| {
            moments.iter().map(|(&at, counted)| (at, counted.counts().collect())).collect()
        };
        let series =
            |series: &Series| series.iter().map(|(name, all)| (name.clone(), moments(all))).collect();
        Self {
            columns: cell.columns().to_vec(),
            trials: trials.collect(),
            series: cell.batches().iter().map(series).collect(),
        }
    }
}

impl Part {
    /// Reads a part.
    ///
    /// # Errors
    /// If it can't be read, was cut off or changed, or is of another version of this program.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let wrong = |message: String| Error::Part { path: path.to_owned(), message };
        let file = File::open(path).map_err(Error::storage(path))?;
        let content: Content = serde_json::from_reader(BufReader::new(file))
            .map_err(|error| wrong(format!("it is no part of a run, or was cut off: {error}")))?;
        let ours = env!("CARGO_PKG_VERSION");
        if content.format != FORMAT {
            return Err(wrong(format!("its format is `{}`, not `{FORMAT}`", content.format)));
        }
        if content.version != ours {
            return Err(wrong(format!("it was run by version {}, and this is {ours}", content.version)));
        }
        content.experiment.check().map_err(wrong)?;
        if content.configuration != content.experiment.digest().to_string() {
            return Err(wrong("its experiment is not the one that its digest is of".to_owned()));
        }
        let results = content.results().map_err(wrong)?;
        if content.digest != results.digest().to_string() {
            return Err(wrong("its trials are not those that its digest is of".to_owned()));
        }
        Ok(Self { path: path.to_owned(), content, results })
    }

    /// The experiment's name.
    pub fn name(&self) -> &str {
        &self.content.experiment.name
    }
}

impl Content {
    /// The part's results, without rows.
    fn results(&self) -> Result<Results, String> {
        let experiment = &self.experiment;
        if self.cells.len() != experiment.cells.len() {
            return Err("it has results of more or fewer cells than its experiment has".to_owned());
        }
        let mut results = Results::new(experiment.clone(), false, true);
        let length = self.shard.trials(experiment.trials);
        for (content, cell) in self.cells.iter().zip(&mut results.cells) {
            let expected = (0..length).map(|place| self.shard.index + place * self.shard.count);
            if !expected.eq(content.trials.iter().map(|(trial, ..)| *trial)) {
                return Err(format!("it doesn't have all trials of part {}, in order", self.shard));
            }
            for trial in &content.trials {
                content.record(trial, cell)?;
            }
            let batches = if experiment.stop.is_some() { experiment.trials.div_ceil(Stop::BATCH) } else { 1 };
            if content.series.len() as u64 > batches {
                return Err("what it looked at over time is of more trials than there are".to_owned());
            }
            for (batch, series) in content.series.iter().enumerate() {
                cell.record_series(batch, &read_series(series, length)?);
            }
        }
        Ok(results)
    }
}

impl CellContent {
    fn record(&self, (trial, digest, values): &TrialContent, cell: &mut CellResult) -> Result<(), String> {
        let digest =
            u64::from_str_radix(digest, 16).map_err(|_| "a trial's digest is no number".to_owned())?;
        if values.len() > self.columns.len() {
            return Err("a trial has more values than there are measures".to_owned());
        }
        let mut measures = BTreeMap::new();
        for (column, value) in self.columns.iter().zip(values) {
            let Some(value) = *value else { continue };
            let measure = match column.kind {
                MeasureKind::Happened if value == 0 || value == 1 => Measure::Happened(value == 1),
                MeasureKind::Happened => return Err(format!("`{}` happens or doesn't: 0 or 1", column.name)),
                MeasureKind::Count => Measure::Count(value),
                MeasureKind::Millionths => Measure::Millionths(value),
            };
            measures.insert(column.name.as_str(), measure);
        }
        cell.record_measures(*trial, digest, measures.into_iter())
    }
}

fn read_series(content: &SeriesContent, trials: u64) -> Result<Series, String> {
    let mut series = Series::new();
    for (measure, moments) in content {
        let all = series.entry(measure.clone()).or_default();
        for (at, values) in moments {
            let counted: &mut Histogram = all.entry(*at).or_default();
            for &(value, times) in values {
                // A trial may look at a moment more than once, but not without end.
                if times == 0 || times > trials << 20 || counted.count() > trials << 20 {
                    return Err(format!("`{measure}` was looked at more often than there are trials"));
                }
                counted.add_times(value, times);
            }
        }
    }
    Ok(series)
}

/// Merges all parts of an experiment's run.
///
/// # Errors
/// If they are of several experiments, one is missing or there twice, or there are more trials than there is room for.
///
/// # Panics
/// If there is no part at all.
pub fn merge(mut parts: Vec<Part>) -> Result<Results, Error> {
    parts.sort_by(|left, right| (left.content.shard, &left.path).cmp(&(right.content.shard, &right.path)));
    let first = parts.first().expect("there is at least one part");
    check(&parts, first)?;
    let experiment = first.content.experiment.clone();
    let wrong = |message| Error::Merge { experiment: experiment.name.clone(), message };
    let kept = experiment.trials.saturating_mul(experiment.cells.len() as u64);
    if kept > MOST_KEPT {
        return Err(wrong(format!(
            "{kept} trials are more than the {MOST_KEPT} that are kept until they are written"
        )));
    }
    let mut results = Results::new(experiment.clone(), true, false);
    for (index, cell) in results.cells.iter_mut().enumerate() {
        for trial in 0..experiment.trials {
            let part = &parts[(trial % parts.len() as u64) as usize];
            let content = &part.content.cells[index];
            content.record(&content.trials[(trial / parts.len() as u64) as usize], cell).map_err(wrong)?;
            if let Some(stop) = &experiment.stop {
                cell.decide(stop);
                if cell.stopped() {
                    break;
                }
            }
        }
        let batches = if experiment.stop.is_some() { cell.trials().div_ceil(Stop::BATCH) } else { 1 };
        for part in &parts {
            let series = part.results.cells[index].batches();
            series.iter().take(batches as usize).for_each(|batch| cell.record_series(0, batch));
        }
    }
    Ok(results)
}

/// Whether the parts, which are in order, are all of one run.
fn check(parts: &[Part], first: &Part) -> Result<(), Error> {
    let wrong = |message| Err(Error::Merge { experiment: first.name().to_owned(), message });
    let count = first.content.shard.count;
    for part in parts {
        let (one, other) = (&first.content, &part.content);
        let files = format!("{} and {}", first.path.display(), part.path.display());
        if one.experiment.seed != other.experiment.seed {
            let seeds = (one.experiment.seed, other.experiment.seed);
            return wrong(format!("{files} have different seeds: {} and {}", seeds.0, seeds.1));
        }
        if one.configuration != other.configuration {
            return wrong(format!("{files} are parts of different experiments of this name"));
        }
        if count != other.shard.count {
            return wrong(format!("{files} are parts of runs in {count} and in {} parts", other.shard.count));
        }
    }
    if let Some(two) = parts.windows(2).find(|two| two[0].content.shard == two[1].content.shard) {
        let files = format!("{} and {}", two[0].path.display(), two[1].path.display());
        return wrong(format!("part {} is there twice: {files}", two[0].content.shard));
    }
    let there: BTreeSet<u64> = parts.iter().map(|part| part.content.shard.index).collect();
    let missing: Vec<_> =
        (0..count).filter(|index| !there.contains(index)).map(|index| format!("{index}/{count}")).collect();
    if !missing.is_empty() {
        let (some, more) = missing.split_at(missing.len().min(8));
        let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
        return wrong(format!("these parts are missing: {}{more}", some.join(", ")));
    }
    Ok(())
}
