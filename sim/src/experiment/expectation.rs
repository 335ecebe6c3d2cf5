//! What is expected of a measure, by whom, and whether it came so.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::statistics::{Estimate, Interval, MeasureKind, wilson};

/// From how many trials on a closed form is held against its standard error.
pub const CLOSED_FORM_TRIALS: u64 = 10_000;

/// What is expected of a measure's mean.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    /// The value that was published or computed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// Instead of a value: another measure, whose mean is expected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measure: Option<String>,
    /// From how many trials the value is a frequency: it passes within Wilson's 95 % interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n: Option<u64>,
    /// How far off it may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<f64>,
    /// How far off it may be, as a part of the value. Of several allowances the widest counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relative: Option<f64>,
    /// How many standard errors it may be off. Of a proportion, the error of the expected value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standard_errors: Option<f64>,
    /// It must not be more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<f64>,
    /// It must not be less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<f64>,
    /// Where the number is from.
    pub source: String,
    /// Why it is known to come otherwise: that is then listed, and fails no run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known_deviation: Option<String>,
}

/// Whether it came as expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    /// As expected.
    Pass,
    /// Not as expected.
    Deviates,
    /// Not as expected, which is known.
    Known,
}

/// What an expectation comes to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Judgement {
    /// What was expected, where that is one value.
    pub value: Option<f64>,
    /// What passes at least.
    pub low: Option<f64>,
    /// What passes at most.
    pub high: Option<f64>,
    /// Whether it passes.
    pub verdict: Verdict,
    /// What else there is to say.
    pub note: Option<String>,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pass => "PASS",
            Self::Deviates => "DEVIATES",
            Self::Known => "KNOWN",
        })
    }
}

impl Expectation {
    /// Whether it says what it must and nothing that contradicts itself.
    ///
    /// # Errors
    /// What is missing or too much.
    pub fn check(&self) -> Result<(), String> {
        let numbers = [
            ("value", self.value, f64::MIN),
            ("tolerance", self.tolerance, 0.0),
            ("relative", self.relative, 0.0),
            ("standard_errors", self.standard_errors, 0.0),
            ("at_most", self.at_most, f64::MIN),
            ("at_least", self.at_least, f64::MIN),
        ];
        for (name, number, least) in numbers {
            if number.is_some_and(|number| !number.is_finite() || number < least) {
                return Err(format!("`{name}` is a finite number, and no allowance is negative"));
            }
        }
        let allowance = [self.tolerance, self.relative, self.standard_errors].iter().any(Option::is_some);
        let bound = self.at_most.is_some() || self.at_least.is_some();
        let target = self.value.is_some() || self.measure.is_some();
        if self.value.is_some() && self.measure.is_some() {
            return Err("`value` and `measure` say the same thing twice".to_owned());
        }
        if !target && (allowance || self.n.is_some()) {
            return Err(
                "there is a tolerance, but neither a `value` nor a `measure` that it is of".to_owned()
            );
        }
        if !(allowance || bound || self.n.is_some()) {
            return Err(
                "nothing says what passes: give `n` (a published frequency), `tolerance`, `relative`, \
                        `standard_errors`, `at_most` or `at_least`"
                    .to_owned(),
            );
        }
        if let Some(n) = self.n {
            let frequency = self.value.is_some_and(|value| (0.0..=1.0).contains(&value));
            if allowance || !frequency || n == 0 || n > 1 << 32 {
                return Err(
                    "`n` says from how many trials a `value` from 0 to 1 is a frequency; the tolerance \
                            follows from it, so there is no other"
                        .to_owned(),
                );
            }
        }
        if let (Some(least), Some(most)) = (self.at_least, self.at_most)
            && least > most
        {
            return Err("`at_least` is more than `at_most`".to_owned());
        }
        if self.source.trim().is_empty() {
            return Err("`source` says where the number is from".to_owned());
        }
        Ok(())
    }

    /// Whether `name` of these estimates comes as expected; `None` of a measure that no trial gave.
    pub fn judge(
        &self,
        name: &str,
        estimates: &BTreeMap<&str, (MeasureKind, Option<Estimate>)>,
    ) -> Judgement {
        let estimate_of =
            |name: &str| estimates.get(name).and_then(|&(kind, estimate)| Some((kind, estimate?)));
        let value = self.value.or_else(|| Some(estimate_of(self.measure.as_deref()?)?.1.mean));
        let Some((kind, estimate)) = estimate_of(name) else {
            return self.conclude(value, None, None, false, Some("no trial gave it".to_owned()));
        };
        let band = value.and_then(|value| self.band(value, kind, &estimate));
        let low = greater(band.map(|band| band.low), self.at_least);
        let high = lesser(band.map(|band| band.high), self.at_most);
        // What is expected of a measure that no trial gave can't be met.
        let comparable = self.measure.is_none() || value.is_some();
        let passes = comparable
            && low.is_none_or(|low| estimate.mean >= low)
            && high.is_none_or(|high| estimate.mean <= high);
        let note = (self.standard_errors.is_some() && estimate.n < CLOSED_FORM_TRIALS)
            .then(|| format!("held against its standard error with less than {CLOSED_FORM_TRIALS} trials"));
        self.conclude(value, low, high, passes, note)
    }

    /// What is drawn as published: its value, and the band around it where that doesn't depend on the trials.
    pub fn published(&self) -> Option<(f64, Option<Interval>)> {
        let value = self.value?;
        let band = match self.n {
            Some(_) => Some(self.frequency(value)),
            None if self.standard_errors.is_some() => None,
            None => self.allowance(value, 0.0).map(|off| Interval { low: value - off, high: value + off }),
        };
        Some((value, band))
    }

    fn band(&self, value: f64, kind: MeasureKind, estimate: &Estimate) -> Option<Interval> {
        if self.n.is_some() {
            return Some(self.frequency(value));
        }
        let error = match kind {
            MeasureKind::Happened if (0.0..=1.0).contains(&value) => {
                (value * (1.0 - value) / estimate.n as f64).sqrt()
            }
            _ => estimate.standard_error.unwrap_or(0.0),
        };
        let off = self.allowance(value, error)?;
        Some(Interval { low: value - off, high: value + off })
    }

    fn frequency(&self, value: f64) -> Interval {
        let n = self.n.unwrap_or_default();
        wilson((value * n as f64).round() as u64, n)
    }

    /// The widest of what is allowed, and as much more as a decimal fraction may be off in binary.
    fn allowance(&self, value: f64, error: f64) -> Option<f64> {
        let allowed = [
            self.tolerance,
            self.relative.map(|part| part * value.abs()),
            self.standard_errors.map(|errors| errors * error),
        ];
        let widest = allowed.into_iter().flatten().reduce(f64::max)?;
        Some(widest + value.abs().max(widest) * 1e-12)
    }

    fn conclude(
        &self,
        value: Option<f64>,
        low: Option<f64>,
        high: Option<f64>,
        passes: bool,
        note: Option<String>,
    ) -> Judgement {
        let (verdict, said) = match (&self.known_deviation, passes) {
            (None, true) => (Verdict::Pass, None),
            (None, false) => (Verdict::Deviates, None),
            (Some(_), true) => {
                (Verdict::Pass, Some("passes, though it is listed as a known deviation".to_owned()))
            }
            (Some(reason), false) => (Verdict::Known, Some(reason.clone())),
        };
        let note = [said, note].into_iter().flatten().reduce(|all, note| format!("{all}; {note}"));
        Judgement { value, low, high, verdict, note }
    }
}

fn greater(left: Option<f64>, right: Option<f64>) -> Option<f64> {
    left.into_iter().chain(right).reduce(f64::max)
}

fn lesser(left: Option<f64>, right: Option<f64>) -> Option<f64> {
    left.into_iter().chain(right).reduce(f64::min)
}

#[cfg(test)]
mod tests {
    use super::super::statistics::Histogram;
    use super::*;

    fn happened(times: u64, of: u64) -> (MeasureKind, Option<Estimate>) {
        let mut histogram = Histogram::default();
        for (value, times) in [(1, times), (0, of - times)] {
            if times > 0 {
                histogram.add_times(value, times);
            }
        }
        (MeasureKind::Happened, histogram.estimate(MeasureKind::Happened))
    }

    fn expectation(text: &str) -> Expectation {
        toml::from_str(&format!("source = 'a table'\n{}", text.replace(", ", "\n"))).unwrap()
    }

    #[test]
    fn judges_by_the_rules_of_tolerance() {
        for (text, times, of, verdict) in [
            // 44 of 50: from 0.762 to 0.944.
            ("value = 0.88, n = 50", 763, 1000, Verdict::Pass),
            ("value = 0.88, n = 50", 761, 1000, Verdict::Deviates),
            ("value = 0.88, n = 50", 943, 1000, Verdict::Pass),
            ("value = 0.88, n = 50", 945, 1000, Verdict::Deviates),
            // The ends count, as decimals are meant.
            ("value = 0.3, tolerance = 0.1", 400, 1000, Verdict::Pass),
            ("value = 0.3, tolerance = 0.1", 401, 1000, Verdict::Deviates),
            ("value = 0.3, relative = 0.1", 330, 1000, Verdict::Pass),
            ("value = 0.3, relative = 0.1", 331, 1000, Verdict::Deviates),
            // The widest counts.
            ("value = 0.3, relative = 0.1, tolerance = 0.2", 500, 1000, Verdict::Pass),
            // Three errors of 0.5 with 10,000 trials are 0.015.
            ("value = 0.5, standard_errors = 3", 5149, 10_000, Verdict::Pass),
            ("value = 0.5, standard_errors = 3", 5151, 10_000, Verdict::Deviates),
            // The expected value's error, not that of none of 10,000, which is none.
            ("value = 1e-8, standard_errors = 3", 0, 10_000, Verdict::Pass),
            ("value = 1e-8, standard_errors = 3", 1, 10_000, Verdict::Deviates),
            ("at_most = 0.5", 5, 10, Verdict::Pass),
            ("at_most = 0.5", 6, 10, Verdict::Deviates),
            ("at_least = 0.5", 4, 10, Verdict::Deviates),
            ("at_least = 0.4, at_most = 0.5", 5, 10, Verdict::Pass),
            ("at_most = 0.5, known_deviation = 'why'", 6, 10, Verdict::Known),
            ("at_most = 0.5, known_deviation = 'why'", 5, 10, Verdict::Pass),
        ] {
            let expectation = expectation(text);
            expectation.check().unwrap();
            let judgement = expectation.judge("it", &BTreeMap::from([("it", happened(times, of))]));
            assert_eq!(judgement.verdict, verdict, "{text}: {times} of {of}: {judgement:?}");
            assert_eq!(judgement.note.is_some(), text.contains("known"), "{judgement:?}");
        }
    }

    #[test]
    fn another_measure_may_be_what_is_expected() {
        let mut estimates =
            BTreeMap::from([("it", happened(5, 10)), ("other", happened(1, 2)), ("far", happened(0, 2))]);
        estimates.insert("never", (MeasureKind::Count, None));
        let judge = |measure: &str, of: &str| {
            let expectation = expectation(&format!("measure = '{measure}', tolerance = 0"));
            expectation.check().unwrap();
            expectation.judge(of, &estimates).verdict
        };
        assert_eq!(judge("other", "it"), Verdict::Pass);
        assert_eq!(judge("far", "it"), Verdict::Deviates);
        assert_eq!(judge("never", "it"), Verdict::Deviates);
        assert_eq!(judge("it", "never"), Verdict::Deviates);
    }

    #[test]
    fn says_so_when_there_are_few_trials_for_a_standard_error() {
        let judge = |of| {
            expectation("value = 0.5, standard_errors = 3")
                .judge("it", &BTreeMap::from([("it", happened(of / 2, of))]))
        };
        assert!(judge(9_998).note.is_some_and(|note| note.contains("10000")));
        assert_eq!(judge(10_000).note, None);
    }

    #[test]
    fn refuses_what_says_nothing_or_too_much() {
        for (text, expected) in [
            ("value = 0.5", "nothing says what passes"),
            ("tolerance = 1", "neither a `value`"),
            ("value = 1, measure = 'a', tolerance = 1", "twice"),
            ("value = 2, n = 50", "`value` from 0 to 1"),
            ("value = 0.5, n = 0", "`value` from 0 to 1"),
            ("value = 0.5, n = 50, tolerance = 0.1", "there is no other"),
            ("value = 0.5, tolerance = -0.1", "`tolerance` is a finite"),
            ("value = nan, tolerance = 0.1", "`value` is a finite"),
            ("at_least = 2, at_most = 1", "more than"),
        ] {
            let message = expectation(text).check().unwrap_err();
            assert!(message.contains(expected), "{text}: {message}");
        }
        let nowhere = Expectation { at_most: Some(1.0), source: " ".to_owned(), ..Expectation::default() };
        assert!(nowhere.check().unwrap_err().contains("`source`"));
    }
}
