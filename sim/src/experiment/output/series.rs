//! `series.csv`: what was looked at over time, as quantiles over trials.

use super::super::Results;
use super::super::statistics::QUANTILES;
use super::trials::line;

/// Its bytes: cell, measure, second, in how many trials, quantiles.
pub(super) fn write(results: &Results) -> Vec<u8> {
    let mut bytes = vec![];
    line(
        &mut bytes,
        ["cell", "measure", "t", "n", "min", "p05", "p25", "median", "p75", "p95", "max"].into_iter(),
    );
    for (cell, result) in results.experiment.cells.iter().zip(&results.cells) {
        for (measure, moments) in result.series() {
            for (at, counted) in moments {
                let quantiles = QUANTILES.map(|part| counted.quantile(part).unwrap_or_default().to_string());
                let begin = [cell.name.clone(), measure.clone(), at.to_string(), counted.count().to_string()];
                line(&mut bytes, begin.into_iter().chain(quantiles));
            }
        }
    }
    bytes
}
