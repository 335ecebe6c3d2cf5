//! `report.md`: the results for people.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;

use super::super::Results;
use super::super::expectation::Verdict;
use super::figures::Figure;
use super::table::{HEADINGS, Shown, TableRow, table};

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
    write_settings(&mut text, results);
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

/// What was run: what all cells have in common, and what each has of its own.
fn write_settings(text: &mut String, results: &Results) {
    let cells: Vec<BTreeMap<String, String>> =
        results.experiment.cells.iter().map(|cell| flat(&cell.settings)).collect();
    let Some(first) = cells.first() else { return };
    let is_common = |path: &String, value: &String| cells.iter().all(|cell| cell.get(path) == Some(value));
    text.push_str("\n## Settings\n\n");
    for (path, value) in first.iter().filter(|(path, value)| is_common(path, value)) {
        let _ = writeln!(text, "- `{path}`: {}", code(value));
    }
    if cells.len() == 1 {
        return;
    }
    let _ = writeln!(text, "\n| cell | its own |\n|---|---|");
    for (cell, settings) in results.experiment.cells.iter().zip(&cells).take(MOST_ROWS) {
        let own = settings.iter().filter(|(path, value)| !is_common(path, value));
        let own: Vec<_> = own.map(|(path, value)| format!("`{path}` {}", code(value))).collect();
        let _ = writeln!(text, "| {} | {} |", escape(&cell.name), escape(&own.join(", ")));
    }
    if cells.len() > MOST_ROWS {
        let _ = writeln!(text, "\nAll {} cells are in `summary.json`.", cells.len());
    }
}

/// Every value by its path.
fn flat(settings: &Value) -> BTreeMap<String, String> {
    fn walk(path: &str, value: &Value, into: &mut BTreeMap<String, String>) {
        let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        match value {
            Value::Object(table) if !table.is_empty() => {
                table.iter().for_each(|(key, value)| walk(&below(key), value, into));
            }
            // A list of settings; lists of values are one.
            Value::Array(items) if items.iter().any(Value::is_object) => {
                for (index, value) in items.iter().enumerate() {
                    walk(&below(&index.to_string()), value, into);
                }
            }
            _ => {
                into.insert(path.to_owned(), value.to_string());
            }
        }
    }
    let mut all = BTreeMap::new();
    walk("", settings, &mut all);
    all
}

/// As code, whatever is in it.
fn code(value: &str) -> String {
    if value.contains('`') { format!("`` {value} ``") } else { format!("`{value}`") }
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

/// What else there is to say, with all rows of which it is said: of what deviates as is known, why.
fn write_notes(text: &mut String, rows: &[&TableRow]) {
    let mut notes: Vec<(&str, Vec<&TableRow>)> = vec![];
    for row in rows {
        let Some(note) = row.note.as_deref() else { continue };
        match notes.iter_mut().find(|(known, _)| *known == note) {
            Some((_, rows)) => rows.push(row),
            None => notes.push((note, vec![row])),
        }
    }
    if !notes.is_empty() {
        text.push_str("\n### Notes\n\n");
    }
    for (note, rows) in notes {
        let who: Vec<_> = rows.iter().map(|row| format!("{}, `{}`", row.fields[0], row.fields[1])).collect();
        let _ = writeln!(text, "- {}: {}", escape(&who.join("; ")), escape(note));
    }
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
