//! `summary.json`: everything but the trials themselves.

use std::collections::BTreeMap;

use serde::Serialize;

use super::super::expectation::{Judgement, Verdict};
use super::super::statistics::{Estimate, MeasureKind};
use super::super::{Experiment, Results};

#[derive(Serialize)]
struct Summary<'a> {
    program: &'static str,
    version: &'static str,
    name: &'a str,
    /// Of the experiment as it stands below.
    configuration_digest: String,
    /// Of all trials.
    digest: String,
    verdict: Option<Verdict>,
    cells: Vec<CellSummary<'a>>,
    experiment: &'a Experiment,
}

#[derive(Serialize)]
struct CellSummary<'a> {
    name: &'a str,
    trials: u64,
    /// Whether the rule to stop had it stop.
    stopped: bool,
    digest: String,
    measures: BTreeMap<&'a str, MeasureSummary<'a>>,
    /// What was expected of measures that no trial gave.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    missing: BTreeMap<&'a str, Expected<'a>>,
}

#[derive(Serialize)]
struct MeasureSummary<'a> {
    kind: MeasureKind,
    n: u64,
    mean: Option<f64>,
    /// The mean's 95 % interval.
    low: Option<f64>,
    high: Option<f64>,
    standard_error: Option<f64>,
    quantiles: Option<Quantiles>,
    expected: Option<Expected<'a>>,
}

#[derive(Serialize)]
struct Quantiles {
    min: f64,
    p05: f64,
    p25: f64,
    median: f64,
    p75: f64,
    p95: f64,
    max: f64,
}

#[derive(Serialize)]
struct Expected<'a> {
    #[serde(flatten)]
    judgement: Judgement,
    source: &'a str,
}

/// Its text.
pub(super) fn write(results: &Results) -> Vec<u8> {
    let mut judgements = results.judgements();
    let cells = results.experiment.cells.iter().zip(&results.cells).zip(&mut judgements);
    let cells = cells.map(|((cell, result), judgements)| {
        let mut expected = |name: &str| {
            let judgement = judgements.remove(name)?;
            Some(Expected { judgement, source: &cell.expect[name].source })
        };
        let measures = result.estimates().into_iter();
        let measures =
            measures.map(|(name, (kind, estimate))| (name, measure(kind, estimate, expected(name))));
        let measures = measures.collect();
        let missing = cell.expect.keys().filter_map(|name| Some((name.as_str(), expected(name)?)));
        CellSummary {
            name: &cell.name,
            trials: result.trials(),
            stopped: result.stopped(),
            digest: result.digest().to_string(),
            measures,
            missing: missing.collect(),
        }
    });
    let summary = Summary {
        program: "andon-sim",
        version: env!("CARGO_PKG_VERSION"),
        name: &results.experiment.name,
        configuration_digest: results.experiment.digest().to_string(),
        digest: results.digest().to_string(),
        verdict: super::verdict(results),
        cells: cells.collect(),
        experiment: &results.experiment,
    };
    let mut text = serde_json::to_vec_pretty(&summary).expect("names are text and numbers finite");
    text.push(b'\n');
    text
}

fn measure<'a>(
    kind: MeasureKind,
    estimate: Option<Estimate>,
    expected: Option<Expected<'a>>,
) -> MeasureSummary<'a> {
    let interval = estimate.and_then(|estimate| estimate.interval);
    MeasureSummary {
        kind,
        n: estimate.map_or(0, |estimate| estimate.n),
        mean: estimate.map(|estimate| estimate.mean),
        low: interval.map(|interval| interval.low),
        high: interval.map(|interval| interval.high),
        standard_error: estimate.and_then(|estimate| estimate.standard_error),
        quantiles: estimate.map(|estimate| {
            let [min, p05, p25, median, p75, p95, max] = estimate.quantiles;
            Quantiles { min, p05, p25, median, p75, p95, max }
        }),
        expected,
    }
}
