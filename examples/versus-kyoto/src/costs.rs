//! What is printed of the runs over links.

use std::fmt::Write;
use std::thread;

use crate::lines::Done;
use crate::task::Unfinished;
use crate::units::{Unit, grouped};
use crate::usage::{Column, Cost};
use crate::{Client, kyoto};

/// One run, in a line.
pub(crate) fn line(client: Client, outcome: &Result<Done, Unfinished>) -> String {
    match outcome {
        Ok(done) => format!(
            "{client:?}: {}, {} of processor time, {} at its peak, {} read and {} written, {} payments",
            Unit::Seconds.text(time(done)),
            Unit::Seconds.text(done.processor.as_secs_f64()),
            Unit::Megabytes.text(done.peak_memory as f64),
            Unit::Megabytes.text(done.disk.read as f64),
            Unit::Megabytes.text(done.disk.written as f64),
            done.found.count,
        ),
        Err(Unfinished { why, after, .. }) => {
            format!("{client:?}: {why} after {}", Unit::Seconds.text(after.as_secs_f64()))
        }
    }
}

/// All runs: a column for each link, and below it what each client took.
pub(crate) fn table(at_once: bool, elements: u32, scripts: u32, filter: usize, columns: &[Column]) -> String {
    let processors =
        thread::available_parallelism().map_or_else(|_| "?".to_owned(), |count| count.to_string());
    let blocks =
        columns.iter().map(|column| column.plan.blocks - column.plan.below).max().unwrap_or_default();
    let mut text = format!(
        "\n{} blocks from a start point, filters of {} elements ({}), {} scripts; loopback, {processors} processors\n\n",
        grouped(blocks),
        grouped(elements),
        Unit::Kilobytes.text(filter as f64),
        grouped(scripts),
    );
    let mut row = |name: &str, cells: Vec<String>| {
        let mut line = format!("{name:<24}");
        for cell in cells {
            let _ = write!(line, "{cell:>18}");
        }
        let _ = writeln!(text, "{}", line.trim_end());
    };
    let each = |cell: &dyn Fn(&Column) -> String| columns.iter().map(cell).collect::<Vec<String>>();
    row("", each(&|column| column.speeds.to_string()));
    row("blocks", each(&|column| grouped(column.blocks())));
    row("payments to be found", each(&|column| grouped(column.truth.count)));
    for client in [Client::Andon, Client::Kyoto] {
        let cost = |column: &Column| match client {
            Client::Andon => column.andon.clone(),
            Client::Kyoto => column.kyoto.clone(),
        };
        if columns.iter().all(|column| cost(column).is_none()) {
            continue;
        }
        let name = if client == Client::Kyoto { format!("Kyoto {}", kyoto::VERSION) } else { "Andon".into() };
        row("", Vec::new());
        row(&name, Vec::new());
        for Row { name, of } in ROWS {
            row(
                &format!("  {name}"),
                each(&|column| cost(column).and_then(|cost| of(column, &cost)).unwrap_or_else(|| "-".into())),
            );
        }
    }
    let short: Vec<String> = columns
        .iter()
        .filter(|column| column.blocks() < blocks)
        .map(|column| format!("{} with {} blocks", column.speeds, grouped(column.blocks())))
        .collect();
    if !short.is_empty() {
        let _ = writeln!(text, "\nNot with all blocks, for the time that takes: {}.", short.join("; "));
    }
    if at_once {
        text.push_str("\nThe runs over links with a limit were all at the same time.\n");
    }
    for column in columns {
        for (client, cost) in [(Client::Andon, &column.andon), (Client::Kyoto, &column.kyoto)] {
            if let Some(cost) = cost.as_ref().filter(|cost| cost.outcome.is_err()) {
                let _ = writeln!(text, "{}: {}", column.speeds, line(client, &cost.outcome));
            }
        }
    }
    text
}

/// A line of the table, of one client: what it is called, and the cell of a column; none of a run that did not get there.
struct Row {
    name: &'static str,
    of: fn(&Column, &Cost) -> Option<String>,
}

const ROWS: &[Row] = &[
    Row { name: "received", of: |_, cost| Some(Unit::Megabytes.text(cost.received as f64)) },
    Row {
        name: "time",
        of: |_, cost| {
            Some(cost.outcome.as_ref().map_or("not done".into(), |done| Unit::Seconds.text(time(done))))
        },
    },
    Row {
        name: "the link alone",
        of: |column, cost| {
            done(cost)?;
            Some(Unit::Seconds.text(cost.received as f64 / column.speeds.rate()?))
        },
    },
    Row {
        name: "processor time",
        of: |_, cost| Some(Unit::Seconds.text(done(cost)?.processor.as_secs_f64())),
    },
    Row {
        name: "of one processor",
        of: |_, cost| {
            let done = done(cost)?;
            Some(format!("{:.0} %", 100.0 * done.processor.as_secs_f64() / time(done)))
        },
    },
    Row { name: "peak memory", of: |_, cost| Some(Unit::Megabytes.text(done(cost)?.peak_memory as f64)) },
    Row { name: "disk: read", of: |_, cost| Some(Unit::Megabytes.text(done(cost)?.disk.read as f64)) },
    Row { name: "disk: written", of: |_, cost| Some(Unit::Megabytes.text(done(cost)?.disk.written as f64)) },
    Row { name: "connections", of: |_, cost| Some(cost.connections?.to_string()) },
];

fn done(cost: &Cost) -> Option<&Done> {
    cost.outcome.as_ref().ok()
}

/// Until all was searched, and durable if it is kept.
fn time(done: &Done) -> f64 {
    done.searched.unwrap_or(done.filter_headers).as_secs_f64()
}
