//! Where an axis has its numbers: at round ones, found without a logarithm, whose last digit differs between machines.

use std::ops::Range;

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};

/// An axis: where it begins and ends, where it has numbers, and with how many decimals.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Axis {
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) ticks: Vec<f64>,
    decimals: usize,
}

/// As many numbers an axis has at most.
const MOST: f64 = 9.0;

impl Axis {
    /// An axis on which all of these are, and that ends at them. Of one value or none: with a little room.
    pub(super) fn of(values: impl Iterator<Item = f64>) -> Self {
        let ends = values.filter(|value| value.is_finite()).fold(None, |ends: Option<(f64, f64)>, value| {
            Some(ends.map_or((value, value), |(low, high)| (low.min(value), high.max(value))))
        });
        let (low, high) = ends.unwrap_or((0.0, 1.0));
        // Nothing that a trial measures is larger; wider axes have no meaning.
        let (low, high) = (low.clamp(-1e19, 1e19), high.clamp(-1e19, 1e19));
        let least = (low.abs().max(high.abs()) * 1e-9).max(1e-9);
        if high - low < least {
            let room = (low.abs() * 0.1).max(0.5);
            return Self::between(low - room, high + room);
        }
        Self::between(low, high)
    }

    /// With room on both sides: points at an end are then seen whole.
    pub(super) fn padded(self) -> Self {
        let room = (self.high - self.low) * 0.05;
        Self::between(self.low - room, self.high + room)
    }

    /// From and to these.
    pub(super) fn between(low: f64, high: f64) -> Self {
        let span = high - low;
        // The smallest of 1, 2 and 5 times a power of ten that makes few enough steps.
        let (mut decimals, mut whole) = (12_usize, 1.0);
        let mut tens = power(decimals);
        let step = loop {
            let fits = |step: &f64| span * tens / step <= MOST;
            if let Some(step) = [whole, 2.0 * whole, 5.0 * whole].into_iter().find(fits) {
                break step;
            }
            if decimals > 0 {
                decimals -= 1;
                tens = power(decimals);
            } else {
                whole *= 10.0;
            }
        };
        let (first, last) = ((low * tens / step - 1e-9).ceil(), (high * tens / step + 1e-9).floor());
        let count = (last - first).clamp(0.0, 2.0 * MOST) as u32;
        // Without the sign of a zero.
        let ticks = (0..=count).map(|index| (first + f64::from(index)) * step / tens + 0.0).collect();
        Self { low, high, ticks, decimals }
    }

    /// Of places 0, 1, 2 … in the middle of a row each.
    pub(super) fn rows(count: usize) -> Self {
        let ticks: Vec<_> = (0..count).map(|row| row as f64).collect();
        Self { low: -0.5, high: count as f64 - 0.5, ticks, decimals: 0 }
    }

    /// A number as the axis has it.
    pub(super) fn label(&self, value: f64) -> String {
        format!("{value:.*}", self.decimals)
    }
}

impl Ranged for Axis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        let part = ((value - self.low) / (self.high - self.low)).clamp(-1.0, 2.0);
        (f64::from(from) + f64::from(to - from) * part).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> Range<f64> {
        self.low..self.high
    }
}

fn power(decimals: usize) -> f64 {
    (0..decimals).fold(1.0, |power, _| power * 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(low: f64, high: f64) -> Vec<String> {
        let axis = Axis::of([low, high].into_iter());
        axis.ticks.iter().map(|&tick| axis.label(tick)).collect()
    }

    #[test]
    fn numbers_are_round_and_few() {
        for (low, high, expected) in [
            (0.0, 1.0, "0.0 0.2 0.4 0.6 0.8 1.0"),
            (0.0, 0.6, "0.0 0.1 0.2 0.3 0.4 0.5 0.6"),
            (-3.0, 3.0, "-3 -2 -1 0 1 2 3"),
            (1000.0, 6000.0, "1000 2000 3000 4000 5000 6000"),
            (0.911, 0.916, "0.911 0.912 0.913 0.914 0.915 0.916"),
            (0.0, 70_000.0, "0 10000 20000 30000 40000 50000 60000 70000"),
            (
                0.0,
                0.000_04,
                "0.000000 0.000005 0.000010 0.000015 0.000020 0.000025 0.000030 0.000035 0.000040",
            ),
            (5.0, 5.0, "4.6 4.8 5.0 5.2 5.4"),
            (f64::NAN, f64::INFINITY, "0.0 0.2 0.4 0.6 0.8 1.0"),
        ] {
            assert_eq!(labels(low, high).join(" "), expected, "{low} to {high}");
        }
        assert!((2..=19).contains(&labels(i64::MIN as f64, i64::MAX as f64).len()));
    }
}
