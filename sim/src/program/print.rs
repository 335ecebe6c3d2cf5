//! What the program prints: results on standard output, errors on standard error.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anstyle::{AnsiColor, Style};

use super::Ending;
use crate::experiment::expectation::Verdict;
use crate::experiment::output::table::{HEADINGS, Shown, TableRow, notes, table};
use crate::experiment::shard::Shard;
use crate::experiment::{CellResult, Error, Results, output};

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default();

/// Columns that are numbers stand at the right.
const RIGHT: [bool; 8] = [false, false, true, true, false, false, false, false];

/// Prints a text on standard output.
pub(super) fn text(text: &str) -> Result<(), Error> {
    let mut output = anstream::stdout().lock();
    let printed = output.write_all(text.as_bytes()).and_then(|()| output.flush());
    match printed {
        // Who reads it has read enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        printed => printed.map_err(Error::storage(Path::new("standard output"))),
    }
}

/// Prints an error.
pub(super) fn error(error: &Error) {
    // Where standard error is closed there is nobody to tell.
    let _ = writeln!(anstream::stderr(), "{BAD}error{BAD:#}: {error}");
}

/// Prints where a part was written.
pub(super) fn part(results: &Results, shard: Shard, path: &Path, quiet: bool) -> Result<(), Error> {
    if quiet {
        return Ok(());
    }
    let trials: u64 = results.cells.iter().map(CellResult::trials).sum();
    let name = &results.experiment.name;
    text(&format!("{BOLD}{name}{BOLD:#}: part {shard}, {trials} trials, in {}\n", path.display()))
}

/// Prints what came of an experiment; if `quiet`, only what deviates.
pub(super) fn results(results: &Results, written: &[PathBuf], quiet: bool) -> Result<Ending, Error> {
    let rows = table(results, Shown::Expected);
    let count = |verdict| rows.iter().filter(|row| row.verdict == Some(verdict)).count();
    let ending = match output::verdict(results) {
        Some(Verdict::Deviates) => Ending::Deviates,
        Some(Verdict::Pass | Verdict::Known) | None => Ending::Fine,
    };
    if quiet {
        let deviating: Vec<_> =
            rows.into_iter().filter(|row| row.verdict == Some(Verdict::Deviates)).collect();
        if !deviating.is_empty() {
            text(&format!("{BOLD}{}{BOLD:#}\n{}", results.experiment.title, lines(&deviating)))?;
        }
        return Ok(ending);
    }
    let mut all = format!("{BOLD}{}{BOLD:#}\n{}", results.experiment.title, lines(&rows));
    notes(&rows).iter().for_each(|note| all.push_str(&format!("{DIM}{note}{DIM:#}\n")));
    let (pass, deviate, known) = (count(Verdict::Pass), count(Verdict::Deviates), count(Verdict::Known));
    if pass + deviate + known > 0 {
        all.push_str(&format!("{pass} pass, {deviate} deviate, {known} deviate as is known\n"));
    }
    all.push_str(&format!("digest {}\n", results.digest()));
    if let Some(folder) = written.first().and_then(|path| path.parent()) {
        let figures =
            written.iter().filter(|path| path.extension().is_some_and(|kind| kind == "svg")).count();
        all.push_str(&format!("written to {}, with {figures} figures: see report.md\n", folder.display()));
    }
    text(&all)?;
    Ok(ending)
}

/// A table, with a column as wide as its widest field.
fn lines(rows: &[TableRow]) -> String {
    let headings = HEADINGS.map(str::to_owned);
    let every = || std::iter::once(&headings).chain(rows.iter().map(|row| &row.fields));
    let width =
        |column: usize| every().map(|fields| fields[column].chars().count()).max().unwrap_or_default();
    let empty = |column: usize| rows.iter().all(|row| row.fields[column].is_empty());
    let columns: Vec<_> = (0..headings.len()).filter(|&column| !empty(column)).collect();
    let line = |fields: &[String; 8], style: [Style; 8]| {
        let field = |&column: &usize| {
            let (text, style) = (&fields[column], style[column]);
            let width = if Some(&column) == columns.last() { 0 } else { width(column) };
            if RIGHT[column] {
                format!("{style}{text:>width$}{style:#}")
            } else {
                format!("{style}{text:<width$}{style:#}")
            }
        };
        let line = columns.iter().map(field).collect::<Vec<_>>().join("  ");
        format!("  {}\n", line.trim_end())
    };
    let mut text = line(&headings, [DIM; 8]);
    let mut before = "";
    for row in rows {
        let mut fields = row.fields.clone();
        // The cell's name stands once above what belongs to it.
        if row.fields[0] == before {
            fields[0].clear();
        }
        before = &row.fields[0];
        let mut style = [Style::new(); 8];
        style[7] = match row.verdict {
            Some(Verdict::Pass) => GOOD,
            Some(Verdict::Deviates) => BAD,
            Some(Verdict::Known) => WARNING,
            None => Style::new(),
        };
        text.push_str(&line(&fields, style));
    }
    text
}
