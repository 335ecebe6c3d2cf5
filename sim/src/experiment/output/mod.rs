//! What is written of an experiment's results: the same bytes for the same results, on every machine.
//!
//! | file | what |
//! |---|---|
//! | `summary.json` | the experiment with everything filled in, its digest and the run's, and of each cell and measure what the trials say and whether that was expected |
//! | `trials.csv` | every trial: its cell, number, seed, measures and digest |
//! | `series.csv` | quantiles over trials of what was looked at over time |
//! | `fig-*.svg` | a figure of each measure, with intervals and what was published, and of what was looked at over time |
//! | `report.md` | the same for people |

mod dots;
mod figures;
mod lines;
pub mod number;
mod report;
mod series;
mod summary;
pub mod table;
mod ticks;
mod trials;

use std::path::{Path, PathBuf};

use super::expectation::Verdict;
use super::{Error, Results};

/// Writes all files into a folder, over those of a former run; figures of that one which this one has not are removed. Returns what was written.
///
/// # Errors
/// If something can't be written.
pub fn write(results: &Results, folder: &Path) -> Result<Vec<PathBuf>, Error> {
    std::fs::create_dir_all(folder).map_err(Error::storage(folder))?;
    remove_figures(folder)?;
    let figures = figures::draw(results)?;
    let report = report::write(results, &figures);
    let files = [
        ("summary.json".to_owned(), summary::write(results)),
        ("trials.csv".to_owned(), trials::write(results)),
        ("series.csv".to_owned(), series::write(results)),
        ("report.md".to_owned(), report),
    ];
    let figures = figures.into_iter().map(|figure| (figure.file, figure.svg.into_bytes()));
    let mut written = vec![];
    for (name, content) in files.into_iter().chain(figures) {
        let path = folder.join(name);
        std::fs::write(&path, content).map_err(Error::storage(&path))?;
        written.push(path);
    }
    Ok(written)
}

fn remove_figures(folder: &Path) -> Result<(), Error> {
    for entry in std::fs::read_dir(folder).map_err(Error::storage(folder))? {
        let path = entry.map_err(Error::storage(folder))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with("fig-") && name.ends_with(".svg") {
            std::fs::remove_file(&path).map_err(Error::storage(&path))?;
        }
    }
    Ok(())
}

/// Whether everything came as expected; `None` if nothing was expected.
pub fn verdict(results: &Results) -> Option<Verdict> {
    let judgements = results.judgements();
    let all = judgements.iter().flat_map(|cell| cell.values()).map(|judgement| judgement.verdict);
    let rank = |verdict: &Verdict| match verdict {
        Verdict::Pass => 0,
        Verdict::Known => 1,
        Verdict::Deviates => 2,
    };
    all.max_by_key(rank)
}
