//! Experiments as they are shipped.

use std::path::Path;

use andon_sim::experiment::file::{self, Overrides};
use andon_sim::experiment::{Kinds, Runnable, catalogue};

use crate::measure::{Wanted, figure, median, seconds};

/// Of each row of the table so many trials are timed; what all take is that many times as much.
const SAMPLE: u64 = 100;

pub(crate) fn run() {
    let table = load("e3-table-2");
    let trials = table.experiment.trials;
    assert_eq!((table.models.len(), trials % SAMPLE), (11, 0), "the table is another");
    let sampled = seconds(|| {
        for (cell, model) in table.models.iter().enumerate() {
            for trial in 0..SAMPLE {
                model.trial(table.experiment.trial_seed(cell, trial));
            }
        }
    });
    let whole = sampled * (trials / SAMPLE) as f64;
    figure("Heilman's table 2, 11 rows of 1,000 trials", whole, "s", Wanted::AtMost(60.0), None);

    let erebus = load("e6-erebus-trickle");
    let days: Vec<u64> = erebus
        .experiment
        .cells
        .iter()
        .map(|cell| cell.settings["attack"]["days"].as_u64().unwrap())
        .collect();
    let longest = (0..erebus.models.len())
        .filter(|&cell| days[cell] == 50)
        .map(|cell| {
            median(5, |trial| {
                seconds(|| {
                    erebus.models[cell].trial(erebus.experiment.trial_seed(cell, trial));
                })
            })
        })
        .fold(0.0, f64::max);
    figure("50 days of Erebus, the slowest cell", longest, "s", Wanted::AtMost(5.0), None);
}

fn load(name: &str) -> Runnable {
    let text = catalogue::find(name).unwrap();
    file::parse(Path::new(name), text, &Kinds::default(), Overrides::default()).unwrap()
}
