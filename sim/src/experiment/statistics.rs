//! What many trials say: means, intervals and quantiles.
//!
//! Values are counted as whole numbers, so that it doesn't matter in which order or on how many machines they came. What is computed from the counts uses only
//! `+ - * /` and the square root, whose results IEEE 754 prescribes to the bit.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Measure;

/// The normal distribution's 97.5 % quantile: intervals are of 95 %.
const Z: f64 = 1.959_963_984_540_054;

/// What kind a measure is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MeasureKind {
    /// It happened or it did not.
    Happened,
    /// A whole number.
    Count,
    /// A fraction, in millionths.
    Millionths,
}

impl MeasureKind {
    /// How many make one.
    pub const fn scale(self) -> f64 {
        match self {
            Self::Happened | Self::Count => 1.0,
            Self::Millionths => 1_000_000.0,
        }
    }
}

impl Measure {
    /// What kind it is of.
    pub const fn kind(self) -> MeasureKind {
        match self {
            Self::Happened(_) => MeasureKind::Happened,
            Self::Count(_) => MeasureKind::Count,
            Self::Millionths(_) => MeasureKind::Millionths,
        }
    }

    /// The whole number that stands for it: 0 or 1, the count, the millionths.
    pub const fn whole(self) -> i64 {
        match self {
            Self::Happened(happened) => happened as i64,
            Self::Count(value) | Self::Millionths(value) => value,
        }
    }
}

/// How often each value came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    counts: BTreeMap<i64, u64>,
    n: u64,
}

/// The ends of an interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// What the trials say of a measure, in the measure's own unit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// In how many trials it was measured.
    pub n: u64,
    /// The mean; for what happens or not, how often it did.
    pub mean: f64,
    /// The mean's 95 % interval: Wilson's for a proportion, else by the standard error. None of a single value.
    pub interval: Option<Interval>,
    /// The mean's standard error; none of a single value.
    pub standard_error: Option<f64>,
    /// The least, the 5 %, 25 %, 50 %, 75 % and 95 % quantile, and the greatest value.
    pub quantiles: [f64; 7],
}

/// The parts of [`Estimate::quantiles`], in hundredths.
pub const QUANTILES: [u64; 7] = [0, 5, 25, 50, 75, 95, 100];

impl Histogram {
    /// Counts a value.
    pub fn add(&mut self, value: i64) {
        self.add_times(value, 1);
    }

    /// Counts a value so many times.
    pub fn add_times(&mut self, value: i64, times: u64) {
        *self.counts.entry(value).or_default() += times;
        self.n += times;
    }

    /// Counts what another counted.
    pub fn merge(&mut self, other: &Self) {
        for (&value, &times) in &other.counts {
            self.add_times(value, times);
        }
    }

    /// How many values were counted.
    pub fn count(&self) -> u64 {
        self.n
    }

    /// Each value with how often it came, by value.
    pub fn counts(&self) -> impl Iterator<Item = (i64, u64)> {
        self.counts.iter().map(|(&value, &times)| (value, times))
    }

    /// The value below or at which lie so many hundredths of all, by the nearest rank: one that came. `None` if nothing did.
    pub fn quantile(&self, hundredths: u64) -> Option<i64> {
        let rank = (u128::from(self.n) * u128::from(hundredths)).div_ceil(100).max(1);
        let mut seen = 0;
        self.counts().find_map(|(value, times)| {
            seen += u128::from(times);
            (seen >= rank).then_some(value)
        })
    }

    /// What the values say of a measure of this kind. `None` if there are none.
    pub fn estimate(&self, kind: MeasureKind) -> Option<Estimate> {
        if self.n == 0 {
            return None;
        }
        let n = self.n as f64;
        let sum: i128 = self.counts().map(|(value, times)| i128::from(value) * i128::from(times)).sum();
        let mean = sum as f64 / n;
        let (standard_error, interval) = if self.n == 1 {
            (None, None)
        } else {
            let squares: f64 =
                self.counts().map(|(value, times)| times as f64 * square(value as f64 - mean)).sum();
            let error = (squares / (n - 1.0) / n).sqrt() / kind.scale();
            let mean = mean / kind.scale();
            (Some(error), Some(Interval { low: mean - Z * error, high: mean + Z * error }))
        };
        let interval = match kind {
            MeasureKind::Happened => Some(wilson(sum as u64, self.n)),
            MeasureKind::Count | MeasureKind::Millionths => interval,
        };
        let quantiles = QUANTILES.map(|part| self.quantile(part).unwrap_or_default() as f64 / kind.scale());
        Some(Estimate { n: self.n, mean: mean / kind.scale(), interval, standard_error, quantiles })
    }
}

impl Estimate {
    /// Half of the interval's width.
    pub fn half_width(&self) -> Option<f64> {
        self.interval.map(|Interval { low, high }| (high - low) / 2.0)
    }
}

/// Wilson's 95 % interval of a proportion. All of 0 to 1 if nothing was tried.
///
/// # Panics
/// If it happened more often than it was tried.
pub fn wilson(happened: u64, tried: u64) -> Interval {
    assert!(happened <= tried, "it happens at most as often as it is tried");
    if tried == 0 {
        return Interval { low: 0.0, high: 1.0 };
    }
    let (n, z2) = (tried as f64, Z * Z);
    let p = happened as f64 / n;
    let shrink = 1.0 + z2 / n;
    let middle = (p + z2 / (2.0 * n)) / shrink;
    let half = Z * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt() / shrink;
    // At the ends both terms are equal but for rounding.
    let low = if happened == 0 { 0.0 } else { middle - half };
    let high = if happened == tried { 1.0 } else { middle + half };
    Interval { low, high }
}

fn square(x: f64) -> f64 {
    x * x
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[i64]) -> Histogram {
        let mut histogram = Histogram::default();
        values.iter().for_each(|&value| histogram.add(value));
        histogram
    }

    fn near(left: f64, right: f64) -> bool {
        (left - right).abs() < 5e-4
    }

    /// Against the published bands of 50 restarts each, and against values by R's `binom.confint`.
    #[test]
    fn wilson_is_as_published() {
        for (happened, tried, low, high) in [
            (49, 50, 0.8950, 0.9965),
            (41, 50, 0.6920, 0.9023),
            (30, 50, 0.4618, 0.7239),
            (50, 50, 0.9287, 1.0),
            (0, 10, 0.0, 0.2775),
            (1, 1, 0.2065, 1.0),
            (0, 0, 0.0, 1.0),
        ] {
            let interval = wilson(happened, tried);
            assert!(
                near(interval.low, low) && near(interval.high, high),
                "{happened} of {tried}: {interval:?}"
            );
        }
    }

    #[test]
    fn quantiles_are_values_that_came() {
        let histogram = of(&[5, 1, 4, 2, 3]);
        let quantiles: Vec<_> =
            [0, 5, 20, 21, 50, 95, 100].into_iter().map(|part| histogram.quantile(part)).collect();
        assert_eq!(quantiles, [1, 1, 1, 2, 3, 5, 5].map(Some));
        assert_eq!(of(&[]).quantile(50), None);
    }

    #[test]
    fn means_have_intervals_by_their_standard_error() {
        let estimate = of(&[2, 4, 4, 4, 5, 5, 7, 9]).estimate(MeasureKind::Count).unwrap();
        // Squares sum to 32, so that the variance is 32/7 and the error the root of 4/7.
        let error = (4.0_f64 / 7.0).sqrt();
        assert_eq!((estimate.n, estimate.mean, estimate.standard_error), (8, 5.0, Some(error)));
        assert!(near(estimate.interval.unwrap().low, 5.0 - 1.96 * error));
        assert!(near(estimate.half_width().unwrap(), 1.96 * error));
        let millionths = of(&[500_000, 1_500_000]).estimate(MeasureKind::Millionths).unwrap();
        assert_eq!((millionths.mean, millionths.standard_error), (1.0, Some(0.5)));
        assert_eq!(millionths.quantiles, [0.5, 0.5, 0.5, 0.5, 1.5, 1.5, 1.5]);
    }

    #[test]
    fn one_value_has_no_error_and_none_no_estimate() {
        let one = of(&[3]).estimate(MeasureKind::Count).unwrap();
        assert_eq!((one.mean, one.interval, one.standard_error), (3.0, None, None));
        assert_eq!(of(&[]).estimate(MeasureKind::Count), None);
        assert_eq!(of(&[1]).estimate(MeasureKind::Happened).unwrap().interval, Some(wilson(1, 1)));
    }

    #[test]
    fn values_are_as_good_in_parts_and_however_large() {
        let mut parts = of(&[i64::MAX, 1]);
        parts.merge(&of(&[i64::MAX, i64::MIN]));
        let whole = of(&[i64::MIN, i64::MAX, i64::MAX, 1]);
        assert_eq!(parts, whole);
        assert!(whole.estimate(MeasureKind::Count).unwrap().mean.is_finite());
    }
}
