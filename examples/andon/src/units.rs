//! Numbers as people read them.

use std::time::Duration;

/// `0.00011125 BTC (11,125 sat)`.
pub(crate) fn amount(sats: u128) -> String {
    format!("{} BTC ({} sat)", bitcoins(sats), grouped(sats))
}

/// `0.00011125`.
pub(crate) fn bitcoins(sats: u128) -> String {
    format!("{}.{:08}", sats / 100_000_000, sats % 100_000_000)
}

/// `1,234,567`.
pub(crate) fn grouped(number: impl Into<u128>) -> String {
    let digits = number.into().to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `987 bytes`, `1.5 kB`, `13.0 GB`: decimal, as data plans count.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if count < 1000 {
        return counted(count, "byte");
    }
    // In tenths of the unit, so that no rounding shows 1000.0 of one.
    let mut tenths = count / 100 + u64::from(count % 100 >= 50);
    let mut unit = 0;
    while tenths >= 10_000 && unit + 1 < UNITS.len() {
        tenths = (tenths + 500) / 1000;
        unit += 1;
    }
    format!("{}.{} {}", grouped(tenths / 10), tenths % 10, UNITS[unit])
}

/// `83 ms`, `1.5 s`, `12 s`, `3 min 20 s`, `2 h 5 min`.
pub(crate) fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 => format!("{} ms", time.as_millis()),
        1..10 => format!("{:.1} s", time.as_secs_f64()),
        10..120 => format!("{seconds} s"),
        120..7200 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// `512 times as fast`, `2.5 times as fast`, `0.8 times as fast`.
pub(crate) fn times_as_fast(ratio: f64) -> String {
    if ratio < 9.95 { format!("{ratio:.1} times as fast") } else { format!("{ratio:.0} times as fast") }
}

/// `1 block`, `2 blocks`.
pub(crate) fn counted(number: impl Into<u128>, noun: &str) -> String {
    let number = number.into();
    format!("{} {noun}{}", grouped(number), if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(amount(11_125), "0.00011125 BTC (11,125 sat)");
        assert_eq!(amount(2_100_000_000_000_000), "21000000.00000000 BTC (2,100,000,000,000,000 sat)");
        for (number, text) in
            [(0u32, "0"), (999, "999"), (1000, "1,000"), (123_456, "123,456"), (1_234_567, "1,234,567")]
        {
            assert_eq!(grouped(number), text);
        }
        for (count, text) in [
            (0, "0 bytes"),
            (1, "1 byte"),
            (999, "999 bytes"),
            (1000, "1.0 kB"),
            (1_549, "1.5 kB"),
            (1_550, "1.6 kB"),
            (999_949, "999.9 kB"),
            (999_950, "1.0 MB"),
            (12_920_000_000, "12.9 GB"),
            (u64::MAX, "18,446,744.1 TB"),
        ] {
            assert_eq!(bytes(count), text);
        }
        for (millis, text) in [
            (83, "83 ms"),
            (1_420, "1.4 s"),
            (59_999, "59 s"),
            (200_000, "3 min 20 s"),
            (7_500_000, "2 h 5 min"),
        ] {
            assert_eq!(duration(Duration::from_millis(millis)), text);
        }
        for (ratio, text) in [(0.8, "0.8"), (2.54, "2.5"), (9.96, "10"), (512.4, "512")] {
            assert_eq!(times_as_fast(ratio), format!("{text} times as fast"));
        }
        assert_eq!(counted(1u32, "block"), "1 block");
        assert_eq!(counted(0u32, "block"), "0 blocks");
    }
}
