use super::*;
use crate::cells_for_tests::{mean, models};
use crate::experiment::Measure;

const LIARS: &str = include_str!("../../experiments/e10-liars.toml");
const DISPUTES: &str = include_str!("../../experiments/e10-disputes.toml");
const STALE: &str = include_str!("../../experiments/e10-stale-tip.toml");
const SEEDS: &str = include_str!("../../experiments/e11-seeds.toml");
const CHURN: &str = include_str!("../../experiments/e11-churn.toml");

/// What must be so in every trial, however few there are.
#[test]
fn one_honest_peer_is_enough() {
    for (name, model) in models(LIARS, load) {
        for seed in 0..6 {
            let measures = model.trial(seed).measures;
            let is = |name: &str| match measures.get(name) {
                Some(Measure::Happened(happened)) => Some(*happened),
                _ => None,
            };
            assert_ne!(is("fooled_beside_honest"), Some(true), "{name}, seed {seed}: {measures:?}");
            // Where all say the same, nothing contradicts them.
            if name.contains("peers") && !name.contains("camps") && is("fooled_by_camp") == Some(false) {
                panic!("{name}, seed {seed}: {measures:?}");
            }
        }
    }
}

#[test]
fn a_dispute_costs_a_block() {
    for (name, model) in models(DISPUTES, load) {
        for measure in ["proven", "right"] {
            assert_eq!(mean(&*model, measure, 2), 1.0, "{name}: {measure}");
        }
        // In few trials of the longest chains a second one is fetched: the experiment says how few.
        let blocks = mean(&*model, "blocks", 2);
        assert!((1.0..=1.5).contains(&blocks), "{name}: {blocks}");
        assert_eq!(mean(&*model, "filters", 2), 2.0, "{name}");
        let steps = mean(&*model, "steps", 2);
        // Halving 20,000 blocks takes 15.
        assert!((1.0..=15.0).contains(&steps), "{name}: {steps}");
    }
}

#[test]
fn blocks_are_late_as_often_as_they_must_be() {
    let bands = [0.03..0.08, 0.3..0.5, 0.6..0.85];
    for ((name, model), band) in models(STALE, load).into_iter().zip(bands) {
        let alarmed = mean(&*model, "alarmed", 30);
        assert!(band.contains(&alarmed), "{name}: {alarmed}");
        assert_eq!(mean(&*model, "behind", 3), 0.0, "{name}");
    }
}

#[test]
fn a_trial_is_a_function_of_its_seed() {
    for text in [LIARS, DISPUTES, STALE, SEEDS, CHURN] {
        let (name, model) = models(text, load).swap_remove(0);
        assert_eq!(model.trial(5), model.trial(5), "{name}");
        assert_ne!(model.trial(5).digest, model.trial(6).digest, "{name}");
    }
}

#[test]
fn nobody_honest_is_met_where_all_seeds_are_poisoned() {
    let settings = |poisoned: u8| {
        let text = SEEDS.split("[sweep]").next().unwrap_or_default();
        let mut settings: toml::Table = text.parse().expect("it is TOML");
        for common in ["schema", "name", "title", "description", "kind", "seed", "trials"] {
            settings.remove(common);
        }
        settings.insert("poisoned".into(), i64::from(poisoned).into());
        settings.insert("hours".into(), 1.into());
        load("newborn", settings).expect("it is a kind").expect("they are right")
    };
    assert_eq!(mean(&*settings(7), "eclipsed", 2), 1.0);
    assert_eq!(mean(&*settings(7), "met_honest", 2), 0.0);
    assert_eq!(mean(&*settings(0), "theirs", 2), 0.0);
    assert!(mean(&*settings(0), "seconds_to_honest", 2) < 30.0);
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let right = "peers = 3\nshare = 0.5\nlie = 'slow_drip'\nblocks = 12\nhidden = 4\nseconds = 60";
    let load = |text: &str| super::load("fooled", text.parse().expect("it is TOML")).expect("it is a kind");
    assert!(load(right).is_ok());
    for (from, to, why) in [
        ("peers = 3", "peers = 0", "peers"),
        ("share = 0.5", "share = 1.5", "share"),
        ("slow_drip", "drip", "drip"),
        ("hidden = 4", "hidden = 13", "hidden"),
        ("seconds = 60", "seconds = 60\ncolour = 'red'", "colour"),
        ("seconds = 60", "", "seconds"),
    ] {
        let error = load(&right.replace(from, to)).err().expect(to);
        assert!(error.contains(why), "{to}: {error}");
    }
    assert!(super::load("nothing", toml::Table::new()).is_none());
}
