//! `report.md`: the results for people.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::super::Results;
use super::super::expectation::Verdict;
use super::figures::Figure;
use super::table::{HEADINGS, Shown, TableRow, notes, table};

/// How many rows the table of all measures has at most: beyond that, who wants them reads `summary.json`.
const MOST_ROWS: usize = 1_000;

/// Its text.
pub(super) fn write(results: &Results, figures: &[Figure]) -> Vec<u8> {
    let experiment = &results.experiment;
    let mut text = format!("# {}\n\n", experiment.title);
    if !experiment.description.is_empty() {
        let _ = writeln!(text, "{}\n", experiment.description.trim_end());
    }
    let trials: u64 = results.cells.iter().map(super::super::CellResult::trials).sum();
    for (what, value) in [
        ("Experiment", format!("`{}`, of kind `{}`", experiment.name, experiment.kind)),
        ("Trials", format!("{trials} in {} cells, from seed {}", results.cells.len(), experiment.seed)),
        ("Run by", format!("andon-sim {}", env!("CARGO_PKG_VERSION"))),
        ("Digest of the experiment", format!("`{}`", experiment.digest())),
        ("Digest of all trials", format!("`{}`", results.digest())),
    ] {
        let _ = writeln!(text, "- {what}: {value}");
    }
    let rows = table(results, Shown::Expected);
    let judged: Vec<_> = rows.iter().filter(|row| row.verdict.is_some()).collect();
    if !judged.is_empty() {
        let _ = writeln!(text, "\n## Expected and found\n\n{}\n", verdicts(&judged));
        write_table(&mut text, judged.iter().copied());
        write_notes(&mut text, &judged);
        write_sources(&mut text, &judged);
    }
    if !figures.is_empty() {
        text.push_str("\n## Figures\n");
        for figure in figures {
            let _ = writeln!(text, "\n![{}]({})\n\n{}", figure.title, figure.file, figure.caption);
        }
    }
    let rows = table(results, Shown::All);
    text.push_str("\n## All measures\n\n");
    if rows.len() > MOST_ROWS {
        let _ = writeln!(text, "{} rows: see `summary.json`.", rows.len());
    } else {
        write_table(&mut text, rows.iter());
    }
    text.into_bytes()
}

fn verdicts(rows: &[&TableRow]) -> String {
    let count = |verdict| rows.iter().filter(|row| row.verdict == Some(verdict)).count();
    format!(
        "{} of {} pass, {} deviate, {} deviate as is known.",
        count(Verdict::Pass),
        rows.len(),
        count(Verdict::Deviates),
        count(Verdict::Known)
    )
}

fn write_table<'a>(text: &mut String, rows: impl Iterator<Item = &'a TableRow>) {
    let line = |text: &mut String, fields: &[String]| {
        let _ = writeln!(
            text,
            "| {} |",
            fields.iter().map(|field| escape(field)).collect::<Vec<_>>().join(" | ")
        );
    };
    line(text, &HEADINGS.map(str::to_owned));
    text.push_str("|---|---|--:|--:|---|---|---|---|\n");
    rows.for_each(|row| line(text, &row.fields));
}

fn write_notes(text: &mut String, rows: &[&TableRow]) {
    let notes = notes(rows.iter().copied());
    if !notes.is_empty() {
        text.push_str("\n### Notes\n\n");
    }
    notes.iter().for_each(|note| text.push_str(&format!("- {}\n", escape(note))));
}

fn write_sources(text: &mut String, rows: &[&TableRow]) {
    let mut sources: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for row in rows {
        let measure = format!("`{}`", row.fields[1]);
        let measures = row.source.as_deref().map(|source| sources.entry(source).or_default());
        if let Some(measures) = measures.filter(|measures| !measures.contains(&measure)) {
            measures.push(measure);
        }
    }
    text.push_str("\n### Where the numbers are from\n\n");
    for (source, measures) in sources {
        let _ = writeln!(text, "- {}: {}", measures.join(", "), escape(source));
    }
}

/// As a field of a table: a bar or a new line would end it.
fn escape(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
