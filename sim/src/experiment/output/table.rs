//! What came of each cell and measure, row by row.

use std::collections::BTreeSet;

use super::super::Results;
use super::super::expectation::{Expectation, Judgement, Verdict};
use super::number::{interval, number, range};

/// The names of the columns.
pub const HEADINGS: [&str; 8] =
    ["cell", "measure", "trials", "mean", "95 % interval", "expected", "passes", "verdict"];

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableRow {
    /// A text for each of [`HEADINGS`].
    pub fields: [String; 8],
    /// Whether it came as expected, if something was expected.
    pub verdict: Option<Verdict>,
    /// What else there is to say.
    pub note: Option<String>,
    /// Where the expected value is from.
    pub source: Option<String>,
}

/// Which measures are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Those of which something is expected in any cell; all if there are none.
    Expected,
    /// All.
    All,
}

/// A row for each cell and measure.
pub fn table(results: &Results, shown: Shown) -> Vec<TableRow> {
    let expected: BTreeSet<&str> =
        results.experiment.cells.iter().flat_map(|cell| cell.expect.keys()).map(String::as_str).collect();
    let judgements = results.judgements();
    let mut rows = vec![];
    for ((cell, result), judgements) in results.experiment.cells.iter().zip(&results.cells).zip(&judgements) {
        let estimates = result.estimates();
        let names: BTreeSet<&str> =
            estimates.keys().copied().chain(cell.expect.keys().map(String::as_str)).collect();
        let all = shown == Shown::All || expected.is_empty();
        for name in names.into_iter().filter(|name| all || expected.contains(name)) {
            let estimate = estimates.get(name).and_then(|&(_, estimate)| estimate);
            let (judgement, expectation) = (judgements.get(name), cell.expect.get(name));
            rows.push(TableRow {
                fields: [
                    cell.name.clone(),
                    name.to_owned(),
                    estimate.map_or(0, |estimate| estimate.n).to_string(),
                    estimate.map_or("–".to_owned(), |estimate| number(estimate.mean)),
                    interval(estimate.and_then(|estimate| estimate.interval)),
                    judgement
                        .zip(expectation)
                        .map_or(String::new(), |(judged, expected)| said(judged, expected)),
                    judgement.map_or(String::new(), |judged| range(judged.low, judged.high)),
                    judgement.map_or(String::new(), |judged| judged.verdict.to_string()),
                ],
                verdict: judgement.map(|judged| judged.verdict),
                note: judgement.and_then(|judged| judged.note.clone()),
                source: expectation.map(|expected| expected.source.clone()),
            });
        }
    }
    rows
}

/// What else there is to say of these rows, each with the first row of which it is to be said and how many more there are.
pub fn notes<'a>(rows: impl IntoIterator<Item = &'a TableRow>) -> Vec<String> {
    let mut notes: Vec<(&str, &TableRow, usize)> = vec![];
    for row in rows {
        let Some(note) = &row.note else { continue };
        match notes.iter_mut().find(|(known, ..)| known == note) {
            Some((.., count)) => *count += 1,
            None => notes.push((note, row, 0)),
        }
    }
    let said = |(note, row, more): (&str, &TableRow, usize)| {
        let [cell, measure, ..] = &row.fields;
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        format!("{cell}, {measure}{more}: {note}")
    };
    notes.into_iter().map(said).collect()
}

fn said(judgement: &Judgement, expectation: &Expectation) -> String {
    match (judgement.value, expectation.n) {
        (None, _) => "–".to_owned(),
        (Some(value), Some(n)) => format!("{} (n = {n})", number(value)),
        (Some(value), None) => number(value),
    }
}
