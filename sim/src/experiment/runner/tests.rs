use std::collections::BTreeMap;

use super::super::{Cell, CellResult, Figures, Measure, Sample};
use super::*;

/// Says how often it was asked, which would differ if trials were run twice, and takes longer for some seeds than for others.
struct Uneven;

impl Model for Uneven {
    fn trial(&self, seed: u64) -> Outcome {
        let turns = seed % 7 * 2_000;
        let digest = (0..turns).fold(seed, |digest, turn| crate::random::mix(digest ^ turn));
        let mut measures = BTreeMap::from([("odd", Measure::Happened(seed % 2 == 1))]);
        // Some measures are not measured in every trial.
        if seed.is_multiple_of(5) {
            measures.insert("fifth", Measure::Count((seed % 11) as i64));
        }
        let series = vec![Sample { at: seed % 3, measure: "third", value: (seed % 13) as i64 }];
        Outcome { measures, series, digest }
    }
}

/// Panics in the trials of one seed in many.
struct Fragile(u64);

impl Model for Fragile {
    fn trial(&self, seed: u64) -> Outcome {
        assert_ne!(seed, self.0, "this seed is one too many");
        Uneven.trial(seed)
    }
}

fn runnable(cells: usize, trials: u64, stop: Option<Stop>) -> Runnable {
    let cell = |index: usize| Cell {
        name: format!("cell {index}"),
        given: None,
        at: BTreeMap::new(),
        settings: serde_json::Value::Null,
        expect: BTreeMap::new(),
    };
    let experiment = Experiment {
        schema: 1,
        name: "uneven".to_owned(),
        title: String::new(),
        description: String::new(),
        kind: String::new(),
        seed: 9,
        trials,
        stop,
        figures: Figures::default(),
        sweep: BTreeMap::new(),
        cells: (0..cells).map(cell).collect(),
    };
    Runnable { experiment, models: (0..cells).map(|_| Box::new(Uneven) as Box<dyn Model>).collect() }
}

fn on(threads: usize, runnable: &Runnable, shard: Option<Shard>) -> Result<Results, Error> {
    let options = Options { threads: threads.try_into().unwrap(), shard, keep_trials: true };
    run(runnable, options, &mut |_| {})
}

fn trials(results: &Results) -> Vec<Vec<u64>> {
    results.cells.iter().map(|cell| cell.rows().iter().map(|row| row.trial).collect()).collect()
}

#[test]
fn threads_change_nothing() {
    let runnable = runnable(3, 250, None);
    let one = on(1, &runnable, None).unwrap();
    assert_eq!(trials(&one), vec![(0..250).collect::<Vec<_>>(); 3]);
    for threads in [2, 8, 1000] {
        let other = on(threads, &runnable, None).unwrap();
        assert_eq!(other.digest(), one.digest());
        for (left, right) in one.cells.iter().zip(&other.cells) {
            assert_eq!(
                (left.rows(), left.columns(), left.series()),
                (right.rows(), right.columns(), right.series())
            );
        }
    }
}

#[test]
fn parts_have_each_trial_once() {
    let runnable = runnable(2, 10, None);
    for count in [1, 3, 11] {
        let parts = (0..count).map(|index| on(2, &runnable, Shard::new(index, count)).unwrap());
        let mut all: Vec<u64> = parts.flat_map(|part| trials(&part)[1].clone()).collect();
        all.sort_unstable();
        assert_eq!(all, (0..10).collect::<Vec<_>>(), "{count} parts");
    }
}

#[test]
fn a_cell_stops_where_a_batch_ends_whatever_the_threads() {
    // A proportion of a half has an interval of ±0.05 from 381 trials on.
    let stop = Stop { metric: "odd".to_owned(), half_width: 0.05 };
    let runnable = runnable(2, 100_000, Some(stop));
    let counts = |results: &Results| results.cells.iter().map(CellResult::trials).collect::<Vec<_>>();
    let one = on(1, &runnable, None).unwrap();
    assert_eq!(counts(&one), [400, 400]);
    assert!(one.cells.iter().all(CellResult::stopped));
    for threads in [2, 8] {
        assert_eq!(on(threads, &runnable, None).unwrap().digest(), one.digest());
    }
    // A part can't know.
    assert_eq!(counts(&on(2, &runnable, Shard::new(0, 1000)).unwrap()), [100, 100]);
}

#[test]
fn progress_counts_down_to_nothing() {
    let runnable = runnable(2, 150, None);
    let mut left = vec![];
    let options = Options { threads: NonZeroUsize::MIN, shard: None, keep_trials: false };
    run(&runnable, options, &mut |progress| left.push(progress.left)).unwrap();
    assert_eq!(left, (0..300).rev().collect::<Vec<_>>());
}

#[test]
fn a_panic_names_its_trial_and_ends_the_run() {
    let mut runnable = runnable(2, 1000, None);
    let seed = runnable.experiment.trial_seed(1, 3);
    runnable.models[1] = Box::new(Fragile(seed));
    for threads in [1, 4] {
        let error = on(threads, &runnable, None).map(|_| ()).unwrap_err().to_string();
        let expected = format!("uneven: trial 3 of cell `cell 1` (its seed is {seed}) panicked: ");
        assert!(error.starts_with(&expected) && error.contains("this seed is one too many"), "{error}");
    }
}

#[test]
fn what_nobody_measures_is_found_out() {
    let stop = Stop { metric: "even".to_owned(), half_width: 0.05 };
    let error = on(1, &runnable(1, 100, Some(stop)), None).unwrap().check().unwrap_err().to_string();
    assert_eq!(error, "uneven: no trial gave the measure `even`; there are `fifth`, `odd`");
}
