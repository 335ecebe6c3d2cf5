//! Figures as they are printed.

/// In what a figure is printed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unit {
    Bytes,
    Kilobytes,
    Megabytes,
    Seconds,
}

impl Unit {
    /// A number of bytes or seconds in this unit, with the unit's name.
    pub(crate) fn text(self, value: f64) -> String {
        match self {
            Self::Bytes => format!("{value:.1} B"),
            Self::Kilobytes => format!("{:.1} kB", value / 1e3),
            Self::Megabytes => format!("{:.1} MB", value / 1e6),
            Self::Seconds => format!("{value:.2} s"),
        }
    }
}

/// A number in groups of three digits.
pub(crate) fn grouped(number: u32) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_stand_in_groups() {
        for (number, expected) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), expected);
        }
    }
}
