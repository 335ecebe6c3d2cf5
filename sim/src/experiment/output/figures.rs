//! Which figures an experiment has, and what is on them.
//!
//! Each measure has one: along a path that is swept over numbers, with a line for each other combination; or cell below cell, if there is none. What was looked at over time has
//! one for each measure, with a line for each cell.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::super::expectation::Expectation;
use super::super::statistics::{Interval, MeasureKind};
use super::super::{Cell, CellResult, Column, Error, Results};
use super::lines::{Chart, Line, MOST_LINES, Point};
use super::ticks::Axis;
use super::{dots, lines};

/// A figure that was drawn.
pub(super) struct Figure {
    pub(super) file: String,
    pub(super) title: String,
    pub(super) caption: String,
    pub(super) svg: String,
}

/// How many figures a measure has at most, where one doesn't hold all its lines.
const MOST_FIGURES: usize = 12;

/// Of lines over time a figure has fewer: their bands overlap.
const MOST_OVER_TIME: usize = 4;

/// How many marks a line can have without being hidden by them.
const MOST_MARKS: usize = 60;

/// Draws all figures.
pub(super) fn draw(results: &Results) -> Result<Vec<Figure>, Error> {
    let mut figures = Figures { results, drawn: vec![], names: BTreeSet::new() };
    let wanted = results.experiment.figures.measures.as_ref();
    let is_wanted = |name: &String| wanted.is_none_or(|names| names.contains(name));
    let along = along(results);
    for column in results.columns().iter().filter(|column| is_wanted(&column.name)) {
        match along {
            Some(path) => figures.lines(column, path)?,
            None => figures.dots(column)?,
        }
    }
    figures.series()?;
    Ok(figures.drawn)
}

/// The path along which values are drawn: the one asked for, or the one with the most numbers.
fn along(results: &Results) -> Option<&str> {
    let experiment = &results.experiment;
    let numbers = |values: &[Value]| values.len() > 1 && values.iter().all(Value::is_number);
    let swept = experiment.sweep.iter().filter(|(_, values)| numbers(values));
    // Of several as long, the first.
    let longest = swept.rev().max_by_key(|(_, values)| values.len()).map(|(path, _)| path.as_str());
    experiment.figures.x.as_deref().or(longest)
}

struct Figures<'a> {
    results: &'a Results,
    drawn: Vec<Figure>,
    names: BTreeSet<String>,
}

impl<'a> Figures<'a> {
    fn cells(&self) -> impl Iterator<Item = (&'a Cell, &'a CellResult)> {
        self.results.experiment.cells.iter().zip(&self.results.cells)
    }

    fn title(&self) -> String {
        self.results.experiment.title.clone()
    }

    fn lines(&mut self, column: &Column, path: &str) -> Result<(), Error> {
        let values = &self.results.experiment.sweep[path];
        let numbers = values.iter().map(Value::as_f64).collect::<Option<Vec<_>>>();
        let x_names = numbers.is_none().then(|| values.iter().map(label).collect());
        let place = |value: &Value| values.iter().position(|one| one == value).unwrap_or_default();
        let mut all: Vec<Line> = vec![];
        for (cell, result) in self.cells() {
            let value = &cell.at[path];
            let x = numbers.as_ref().map_or(place(value) as f64, |numbers| numbers[place(value)]);
            let others = cell.at.iter().filter(|(other, _)| *other != path);
            let others = others.map(|(other, value)| format!("{other}={}", label(value)));
            let name = cell.given.clone().into_iter().chain(others).collect::<Vec<_>>().join(", ");
            let line = match all.iter_mut().position(|line| line.label == name) {
                Some(line) => line,
                None => {
                    all.push(Line { label: name, points: vec![], published: vec![], marked: true });
                    all.len() - 1
                }
            };
            all[line].points.extend(found(result, column).map(|(y, band)| Point { x, y, band }));
            let published = cell.expect.get(&column.name).and_then(|expected| published(expected, result));
            all[line].published.extend(published.map(|(y, band)| Point { x, y, band }));
        }
        let every = all.iter().flat_map(|line| line.points.iter().chain(&line.published)).copied();
        let every = every.collect::<Vec<_>>();
        let x = Axis::of(every.iter().map(|point| point.x)).padded();
        let y = values_axis(column.kind, &every);
        for line in &mut all {
            // A file may sweep its values in any order.
            line.points.sort_by(|left, right| left.x.total_cmp(&right.x));
            line.marked = line.points.len() <= MOST_MARKS;
            if line.label.is_empty() {
                line.label = "found".to_owned();
            }
        }
        let caption = "With 95 % intervals; crosses are what was expected, with what passes.";
        let chart = |lines| Chart {
            title: self.title(),
            x_label: path.to_owned(),
            y_label: named(column),
            x: x.clone(),
            y: y.clone(),
            x_names: Option::clone(&x_names),
            lines,
        };
        let svgs = chunks(all, MOST_LINES).into_iter().map(|lines| lines::draw(&chart(lines)));
        let svgs = svgs.collect::<Result<_, _>>()?;
        self.add(&column.name, &format!("{} along {path}", column.name), caption, svgs);
        Ok(())
    }

    fn dots(&mut self, column: &Column) -> Result<(), Error> {
        let judgements = self.results.judgements();
        let mut rows = vec![];
        for ((cell, result), judged) in self.cells().zip(&judgements) {
            let point = |(x, band)| Point { x, y: 0.0, band };
            let expected = cell.expect.get(&column.name);
            let judgement = judged.get(column.name.as_str());
            let bounds = judgement.and_then(|judgement| match (judgement.low, judgement.high) {
                (None, None) => None,
                (low, high) => Some(Interval {
                    low: low.unwrap_or(f64::NEG_INFINITY),
                    high: high.unwrap_or(f64::INFINITY),
                }),
            });
            rows.push(dots::Row {
                label: cell.name.clone(),
                bounds,
                found: found(result, column).map(point),
                published: expected.and_then(|expected| published(expected, result)).map(point),
                verdict: judgement.map(|judgement| judgement.verdict),
            });
        }
        let every = rows.iter().flat_map(|row| row.found.iter().chain(&row.published));
        let every = every.map(|point| Point { y: point.x, ..*point });
        // Where what passes ends is on the figure too.
        let ends = rows.iter().filter_map(|row| row.bounds).flat_map(|Interval { low, high }| [low, high]);
        let ends = ends.filter(|end| end.is_finite()).map(|y| Point { x: y, y, band: None });
        let every = every.chain(ends).collect::<Vec<_>>();
        let axis = values_axis(column.kind, &every);
        let caption = "Dots are what was found, with 95 % intervals; below them what was expected: crosses, and grey what passes. Orange deviates; yellow is known to.";
        let chart = |rows| dots::Chart { title: self.title(), x_label: named(column), x: axis.clone(), rows };
        let svgs = chunks(rows, dots::MOST_ROWS).into_iter().map(|rows| dots::draw(&chart(rows)));
        let svgs = svgs.collect::<Result<_, _>>()?;
        self.add(&column.name, &column.name, caption, svgs);
        Ok(())
    }

    fn series(&mut self) -> Result<(), Error> {
        let mut by_measure: BTreeMap<String, Vec<Line>> = BTreeMap::new();
        for (cell, result) in self.cells() {
            let wanted = self.results.experiment.figures.measures.as_ref();
            let is_wanted = |name: &String| wanted.is_none_or(|names| names.contains(name));
            for (measure, moments) in result.series().into_iter().filter(|(name, _)| is_wanted(name)) {
                let points = moments.iter().filter_map(|(&at, counted)| {
                    let quantile = |part| counted.quantile(part).map(|value| value as f64);
                    let band = Interval { low: quantile(5)?, high: quantile(95)? };
                    Some(Point { x: at as f64, y: quantile(50)?, band: Some(band) })
                });
                let (label, points) = (cell.name.clone(), points.collect());
                let line = Line { label, points, published: vec![], marked: false };
                by_measure.entry(measure).or_default().push(line);
            }
        }
        for (measure, mut all) in by_measure {
            let latest = all.iter().flat_map(|line| &line.points).map(|point| point.x).fold(0.0, f64::max);
            let (unit, seconds) = time_unit(latest);
            for point in all.iter_mut().flat_map(|line| &mut line.points) {
                point.x /= seconds;
            }
            let every = all.iter().flat_map(|line| &line.points).copied().collect::<Vec<_>>();
            let x = Axis::of(every.iter().map(|point| point.x));
            let y = values_axis(MeasureKind::Count, &every);
            let chart = |lines| Chart {
                title: self.title(),
                x_label: format!("time in {unit}"),
                y_label: measure.clone(),
                x: x.clone(),
                y: y.clone(),
                x_names: None,
                lines,
            };
            let svgs = chunks(all, MOST_OVER_TIME).into_iter().map(|lines| lines::draw(&chart(lines)));
            let svgs = svgs.collect::<Result<_, _>>()?;
            let caption = "Medians over trials, with what lies between their 5 % and 95 % quantiles.";
            self.add(&format!("{measure}-over-time"), &format!("{measure} over time"), caption, svgs);
        }
        Ok(())
    }

    fn add(&mut self, name: &str, title: &str, caption: &str, svgs: Vec<String>) {
        let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
        let name: String = name.chars().map(plain).collect();
        let several = svgs.len() > 1;
        for (index, svg) in svgs.into_iter().enumerate() {
            let mut file = if several { format!("fig-{name}-{}", index + 1) } else { format!("fig-{name}") };
            while !self.names.insert(file.to_lowercase()) {
                file.push('_');
            }
            let (title, caption) = (title.to_owned(), caption.to_owned());
            self.drawn.push(Figure { file: format!("{file}.svg"), title, caption, svg });
        }
    }
}

/// A measure's mean in a cell, with its interval.
fn found(result: &CellResult, column: &Column) -> Option<(f64, Option<Interval>)> {
    let estimates = result.estimates();
    let estimate = estimates.get(column.name.as_str())?.1?;
    Some((estimate.mean, estimate.interval))
}

/// What is expected of a measure in a cell, with what passes where that does not depend on the trials.
fn published(expected: &Expectation, result: &CellResult) -> Option<(f64, Option<Interval>)> {
    let other = || Some((result.estimates().get(expected.measure.as_deref()?)?.1?.mean, None));
    expected.published().or_else(other)
}

/// A measure's name with what of it is drawn.
fn named(column: &Column) -> String {
    let what = match column.kind {
        MeasureKind::Happened => "share of trials",
        MeasureKind::Count | MeasureKind::Millionths => "mean of trials",
    };
    format!("{}: {what}", column.name)
}

/// The axis of a measure: from 0 to 1 for what happens or not, else as wide as values and intervals are.
fn values_axis(kind: MeasureKind, points: &[Point]) -> Axis {
    if kind == MeasureKind::Happened {
        return Axis::between(-0.02, 1.02);
    }
    let ends = |point: &Point| point.band.map_or([point.y; 2], |band| [band.low, band.high]);
    Axis::of(points.iter().flat_map(|point| ends(point).into_iter().chain([point.y]))).padded()
}

fn chunks<T>(all: Vec<T>, most: usize) -> Vec<Vec<T>> {
    let mut all = all.into_iter().peekable();
    let mut chunks = vec![];
    while all.peek().is_some() && chunks.len() < MOST_FIGURES {
        chunks.push(all.by_ref().take(most).collect());
    }
    chunks
}

fn time_unit(latest: f64) -> (&'static str, f64) {
    match latest {
        latest if latest > 3.0 * 86_400.0 => ("days", 86_400.0),
        latest if latest > 3.0 * 3_600.0 => ("hours", 3_600.0),
        latest if latest > 180.0 => ("minutes", 60.0),
        _ => ("seconds", 1.0),
    }
}

fn label(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
