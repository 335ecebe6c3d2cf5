use super::*;
use crate::cells_for_tests::models;
use crate::experiment::Measure;

const HOMOGENEOUS: &str = include_str!("../../experiments/e8-sybil-homogeneous.toml");
const REAL: &str = include_str!("../../experiments/e8-sybil-real.toml");

fn needed(settings: &str) -> i64 {
    let model =
        load("sybil", settings.parse().expect("it is TOML")).expect("it is its kind").expect("it is right");
    let outcome = model.trial(1);
    assert_eq!(outcome, model.trial(1));
    match outcome.measures["needed"] {
        Measure::Count(count) => count,
        other => panic!("{other:?} is no count"),
    }
}

#[test]
fn equal_nodes_come_out_as_the_closed_form_says() {
    for (name, model) in models(&HOMOGENEOUS.replace("victims = 100000", "victims = 4000"), load) {
        let Measure::Count(needed) = model.trial(1).measures["needed"] else { panic!("it is a count") };
        let expected = if name.starts_with("half") { 117_230 } else { 32_496 };
        // Four thousand nodes that choose are a sample.
        assert!((needed - expected).abs() < expected / 12, "{name}: {needed}");
    }
}

/// With a group for each of its nodes an attacker loses nothing by groups, with few it loses much, and with fewer than there are
/// connections it never wins.
#[test]
fn few_groups_cost() {
    let settings = |systems: u32, prefixes: u32, grouped: &str| {
        format!(
            "honest = {{ shape = 'homogeneous', count = 1000 }}\n\
             attack = {{ where = 'own', systems = {systems}, prefixes = {prefixes} }}\n\
             grouped = '{grouped}'\nslots = 4\nvictims = 2000\nshare = 0.1\n"
        )
    };
    let free = needed(&settings(1000, 1, "not"));
    assert!((needed(&settings(1000, 1, "system")) - free).abs() < free / 20);
    assert!(needed(&settings(6, 100, "system")) > free * 5 / 4);
    assert!(needed(&settings(6, 100, "prefix")) < free * 21 / 20);
    let hopeless = settings(3, 100, "system").parse().expect("it is TOML");
    let model = load("sybil", hopeless).expect("it is its kind").expect("it is right");
    assert!(!model.trial(1).measures.contains_key("needed"));
}

#[test]
fn nodes_as_they_are_need_so_many() {
    if population::folder().is_none() {
        println!("skipped: no chain data");
        let model = load("sybil", "kind = 1".parse().expect("it is TOML")).expect("it is its kind");
        assert!(model.is_err());
        return;
    }
    let models = models(&REAL.replace("victims = 20000", "victims = 2000"), load);
    for (cell, band) in [
        ("10 systems, by prefix", 30_600..=41_400),
        ("10 systems, by AS", 45_000..=100_800),
        ("50 systems, by AS", 30_600..=41_400),
    ] {
        let (_, model) = models.iter().find(|(name, _)| name == cell).expect("it is a cell");
        let Measure::Count(needed) = model.trial(1).measures["needed"] else { panic!("it is a count") };
        assert!(band.contains(&needed), "{cell}: {needed}");
    }
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let right = "honest = { shape = 'homogeneous', count = 10 }\nattack = { where = 'anywhere' }\n\
        grouped = 'not'\nslots = 2\nvictims = 2\nshare = 0.5\n";
    let load = |text: &str| load("sybil", text.parse().expect("it is TOML")).expect("it is its kind");
    assert!(load(right).is_ok());
    for (from, to) in [
        ("count = 10", "count = 0"),
        ("share = 0.5", "share = 1.0"),
        ("share = 0.5", "share = 0.5\ncolour = 'red'"),
        ("victims = 2", "victims = 0"),
        ("'not'", "'colour'"),
        ("{ where = 'anywhere' }", "{ where = 'largest', systems = 3, prefixes = 1 }"),
        ("{ where = 'anywhere' }", "{ where = 'own', systems = 0, prefixes = 1 }"),
    ] {
        assert!(load(&right.replace(from, to)).is_err(), "{to}");
    }
}
