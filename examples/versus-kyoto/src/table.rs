//! What is printed of the runs.

use std::fmt::Write;
use std::thread;
use std::time::Duration;

use crate::compare::{Outcome, Run};
use crate::units::{Unit, grouped};
use crate::{Client, kyoto};

/// One run, in a line.
pub(crate) fn line(client: Client, outcome: &Outcome) -> String {
    match outcome {
        Ok(run) => format!(
            "{client:?}: headers {}, filter headers {}, {}{} at its peak, {} of processor time",
            Unit::Seconds.text(run.done.headers.as_secs_f64()),
            Unit::Seconds.text(run.done.filter_headers.as_secs_f64()),
            run.done.searched.map_or(String::new(), |searched| {
                format!(
                    "filters {}, {} found, ",
                    Unit::Seconds.text(searched.as_secs_f64()),
                    run.done.found.count
                )
            }),
            Unit::Megabytes.text(run.done.peak_memory as f64),
            Unit::Seconds.text(run.done.processor.as_secs_f64()),
        ),
        Err(unfinished) => {
            let memory = unfinished.peak_memory.map_or(String::new(), |bytes| {
                format!(", and {} at its peak", Unit::Megabytes.text(bytes as f64))
            });
            format!(
                "{client:?}: {} after {}, with {} headers and {} filter headers{memory}",
                unfinished.why,
                Unit::Seconds.text(unfinished.after.as_secs_f64()),
                grouped(unfinished.reached.headers),
                grouped(unfinished.reached.filter_headers),
            )
        }
    }
}

/// All runs of both clients over `blocks` blocks.
pub(crate) fn table(blocks: u32, andon: &[Outcome], kyoto: &[Outcome]) -> String {
    let (finished_andon, finished_kyoto) = (finished(andon), finished(kyoto));
    let processors =
        thread::available_parallelism().map_or_else(|_| "?".to_owned(), |count| count.to_string());
    let mut text = format!(
        "\n{} blocks over loopback, {processors} processors; Andon {} runs, Kyoto {} {} runs: median (least to most)\n\n",
        grouped(blocks),
        finished_andon.len(),
        kyoto::VERSION,
        finished_kyoto.len(),
    );
    let mut row = |name: &str, cells: [String; 3]| {
        let [andon, kyoto, ratio] = cells;
        let line = format!("{name:<32}{andon:>30}{kyoto:>30}{ratio:>14}");
        let _ = writeln!(text, "{}", line.trim_end());
    };
    row("", ["Andon".to_owned(), "Kyoto".to_owned(), "Andon/Kyoto".to_owned()]);
    for Row { name, unit, of } in ROWS {
        let [andon, kyoto] =
            [&finished_andon, &finished_kyoto].map(|runs| Spread::of(runs.iter().filter_map(|run| of(run))));
        let ratio = match (&andon, &kyoto) {
            (Some(andon), Some(kyoto)) if andon.median > 0.0 && kyoto.median > 0.0 => {
                format!("{:.3}", andon.median / kyoto.median)
            }
            _ => String::new(),
        };
        let cell = |spread: Option<Spread>| spread.map_or("-".to_owned(), |spread| spread.text(*unit));
        row(name, [cell(andon), cell(kyoto), ratio]);
    }
    for (client, outcomes) in [(Client::Andon, andon), (Client::Kyoto, kyoto)] {
        for outcome in outcomes.iter().filter(|outcome| outcome.is_err()) {
            let _ = writeln!(text, "{}", line(client, outcome));
        }
    }
    text
}

fn finished(outcomes: &[Outcome]) -> Vec<&Run> {
    outcomes.iter().filter_map(|outcome| outcome.as_ref().ok()).collect()
}

/// A line of the table: what it is called and where it is found.
struct Row {
    name: &'static str,
    unit: Unit,
    of: fn(&Run) -> Option<f64>,
}

const ROWS: &[Row] = &[
    Row { name: "every header known", unit: Unit::Seconds, of: |run| seconds(run.done.headers) },
    Row {
        name: "every filter header known",
        unit: Unit::Seconds,
        of: |run| seconds(run.done.filter_headers),
    },
    Row { name: "everything on the disk", unit: Unit::Seconds, of: |run| run.done.stored.and_then(seconds) },
    Row { name: "every filter searched", unit: Unit::Seconds, of: |run| run.done.searched.and_then(seconds) },
    Row { name: "processor time", unit: Unit::Seconds, of: |run| seconds(run.done.processor) },
    Row { name: "the server's processor time", unit: Unit::Seconds, of: |run| seconds(run.serving) },
    Row { name: "peak memory", unit: Unit::Megabytes, of: |run| Some(run.done.peak_memory as f64) },
    Row { name: "received", unit: Unit::Megabytes, of: |run| Some(run.sent as f64) },
    Row { name: "sent", unit: Unit::Kilobytes, of: |run| Some(run.received as f64) },
    Row {
        name: "written to the disk",
        unit: Unit::Megabytes,
        of: |run| Some(run.done.disk.written as f64).filter(|_| run.kept.is_some()),
    },
    Row {
        name: "on the disk, a block",
        unit: Unit::Bytes,
        of: |run| Some(run.kept.as_ref()?.bytes as f64 / f64::from(run.done.height)),
    },
    Row {
        name: "restart: what is stored is read",
        unit: Unit::Seconds,
        of: |run| seconds(run.kept.as_ref()?.restart.ready),
    },
    Row {
        name: "restart: the peer has no more",
        unit: Unit::Seconds,
        of: |run| run.kept.as_ref()?.restart.stored.and_then(seconds),
    },
    Row {
        name: "restart: peak memory",
        unit: Unit::Megabytes,
        of: |run| Some(run.kept.as_ref()?.restart.peak_memory as f64),
    },
];

fn seconds(time: Duration) -> Option<f64> {
    Some(time.as_secs_f64())
}

/// The middle and the ends of some numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Spread {
    least: f64,
    median: f64,
    most: f64,
}

impl Spread {
    /// `None` of none.
    fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Some(Self { least, median, most })
    }

    fn text(self, unit: Unit) -> String {
        let plain = |value| unit.text(value).split(' ').next().unwrap_or_default().to_owned();
        format!("{} ({} to {})", unit.text(self.median), plain(self.least), plain(self.most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_the_middle_and_the_ends() {
        for (values, expected) in [
            (vec![], None),
            (vec![2.0], Some((2.0, 2.0, 2.0))),
            (vec![3.0, 1.0], Some((1.0, 2.0, 3.0))),
            (vec![9.0, 1.0, 2.0], Some((1.0, 2.0, 9.0))),
            (vec![4.0, 1.0, 2.0, 9.0], Some((1.0, 3.0, 9.0))),
        ] {
            let expected = expected.map(|(least, median, most)| Spread { least, median, most });
            assert_eq!(Spread::of(values.into_iter()), expected);
        }
    }
}
