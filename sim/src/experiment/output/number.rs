//! Numbers as people read them.

use super::super::statistics::Interval;

/// A number with about four digits that count; whole numbers whole.
pub fn number(value: f64) -> String {
    // A whole number but for rounding is one, and zero has no sign.
    let whole = (value - value.round()).abs() <= value.abs() * 1e-9;
    let value = if whole { value.round() + 0.0 } else { value };
    let size = value.abs();
    if value == value.trunc() && size < 1e15 {
        format!("{value:.0}")
    } else if !(1e-3..1e7).contains(&size) {
        format!("{value:.2e}")
    } else if size >= 1000.0 {
        format!("{value:.1}")
    } else if size >= 100.0 {
        format!("{value:.2}")
    } else if size >= 1.0 {
        format!("{value:.3}")
    } else {
        format!("{value:.4}")
    }
}

/// From where to where.
pub fn interval(interval: Option<Interval>) -> String {
    interval.map_or("–".to_owned(), |Interval { low, high }| format!("{} … {}", number(low), number(high)))
}

/// What is between two ends, either of which may be open.
pub fn range(low: Option<f64>, high: Option<f64>) -> String {
    match (low, high) {
        (Some(low), Some(high)) => interval(Some(Interval { low, high })),
        (Some(low), None) => format!("≥ {}", number(low)),
        (None, Some(high)) => format!("≤ {}", number(high)),
        (None, None) => "–".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn have_the_digits_that_count() {
        for (value, expected) in [
            (0.0, "0"),
            (-0.0, "0"),
            (4096.0, "4096"),
            (4047.64, "4047.6"),
            (235.123, "235.12"),
            (12.3456, "12.346"),
            (1.000_000_000_001, "1"),
            (0.88, "0.8800"),
            (-0.5, "-0.5000"),
            (0.000_123, "1.23e-4"),
            (12_345_678.9, "1.23e7"),
        ] {
            assert_eq!(number(value), expected);
        }
        assert_eq!(range(Some(0.5), None), "≥ 0.5000");
    }
}
