//! Time, memory, and lines of figures.

/// What is wanted of a figure.
#[derive(Clone, Copy)]
pub(crate) enum Wanted {
    AtLeast(f64),
    AtMost(f64),
    /// It stands there for comparison.
    Nothing,
}

/// Prints a figure, with what is wanted and what another simulator comes to.
pub(crate) fn figure(what: &str, value: f64, unit: &str, wanted: Wanted, other: Option<f64>) {
    let (wanted, verdict) = match wanted {
        Wanted::AtLeast(least) => (format!("≥ {}", number(least)), Some(value >= least)),
        Wanted::AtMost(most) => (format!("≤ {}", number(most)), Some(value <= most)),
        Wanted::Nothing => (String::new(), None),
    };
    let verdict = match verdict {
        Some(true) => "met",
        Some(false) => "missed",
        None => "",
    };
    let other = other.map_or_else(String::new, |other| format!("Nakamoto's: {}", number(other)));
    let line = format!("  {what:<46} {:>11} {unit:<18} {wanted:>12} {verdict:<6} {other}", number(value));
    println!("{}", line.trim_end());
}

fn number(value: f64) -> String {
    if value >= 1000.0 {
        let digits = format!("{value:.0}");
        let groups: Vec<&str> =
            digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap()).collect();
        groups.join(",")
    } else if value >= 100.0 || value == value.trunc() {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

/// The median of what several runs come to, each by its number.
pub(crate) fn median(runs: u64, run: impl FnMut(u64) -> f64) -> f64 {
    let mut values: Vec<f64> = (0..runs).map(run).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Seconds for which the processor worked on something on this thread.
pub(crate) fn seconds(run: impl FnOnce()) -> f64 {
    let before = worked();
    run();
    worked() - before
}

/// Seconds for which the processor has worked for this thread; where the system doesn't say, that have passed.
#[allow(clippy::disallowed_methods, reason = "this is what is measured")]
fn worked() -> f64 {
    use std::sync::LazyLock;
    use std::time::Instant;
    static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    let passed = BEGIN.elapsed().as_secs_f64();
    let said = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = said.and_then(|said| said.split_whitespace().next()?.parse::<u64>().ok());
    nanos.filter(|nanos| *nanos > 0).map_or(passed, |nanos| nanos as f64 / 1e9)
}

/// Bytes of memory of this process, as the system counts them.
pub(crate) fn resident() -> f64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    pages.split_whitespace().nth(1).and_then(|pages| pages.parse::<f64>().ok()).unwrap_or(0.0) * 4096.0
}

/// How much else there is to do on this machine.
pub(crate) fn load() -> String {
    let said = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    said.split_whitespace().next().unwrap_or("not known").to_owned()
}
