use super::*;
use crate::cells_for_tests::models;
use crate::experiment::{Measure, Outcome};

const CELLS: &str = include_str!("../../experiments/e7-ablation.toml");

fn trial(cell: &str, seed: u64) -> Outcome {
    let models = models(CELLS, load);
    let (_, model) = models.iter().find(|(name, _)| name == cell).expect("it is a cell");
    model.trial(seed)
}

fn measure(outcome: &Outcome, name: &str) -> i64 {
    match outcome.measures[name] {
        Measure::Happened(happened) => i64::from(happened),
        Measure::Count(count) | Measure::Millionths(count) => count,
    }
}

#[test]
fn each_rule_is_worth_what_it_claims() {
    for (cell, name, band) in [
        ("ten connections flood for an hour", "new_theirs", 500..=3610),
        ("the same without the limit", "new_theirs", 10_000..=40_960),
        ("2000 nodes connect", "tried_theirs", 0..=0),
        ("2000 nodes connect, before PR 8594", "tried_theirs", 500..=2000),
        ("10000 nodes of 64 prefixes connect, by prefix", "tried_theirs", 2000..=10_000),
        ("10000 nodes of 64 prefixes in one system connect, by AS", "tried_theirs", 50..=512),
    ] {
        let outcome = trial(cell, 1);
        let value = measure(&outcome, name);
        assert!(band.contains(&value), "{cell}: {name} {value}");
        let feelers = measure(&outcome, "feelers_per_day");
        assert!((500_000_000..=820_000_000).contains(&feelers), "{cell}: {feelers}");
    }
}

/// In the same worlds: whoever is eclipsed without anchors is not with them.
#[test]
fn an_anchor_that_answers_saves_the_node() {
    let eclipsed = |cell: &str| {
        let outcomes: Vec<_> = (0..12).map(|seed| trial(cell, seed)).collect();
        assert!(outcomes.iter().all(|outcome| measure(outcome, "impossible") == 0), "{cell}");
        let count = |name: &str| outcomes.iter().map(|outcome| measure(outcome, name)).sum::<i64>();
        (count("eclipsed"), count("owned"), count("anchored"))
    };
    let (with, owned, anchored) = eclipsed("a restart with anchors");
    let (without, _, none) = eclipsed("a restart without");
    assert!(without > with, "{without} {with}");
    assert!(owned > 0 && anchored > 6 && none == 0, "{owned} {anchored} {none}");
}

#[test]
fn a_trial_is_a_function_of_its_seed() {
    let cell = "a restart with anchors";
    assert_eq!(trial(cell, 3), trial(cell, 3));
    assert_ne!(trial(cell, 3).digest, trial(cell, 4).digest);
}

/// Any client can stand in the world.
#[test]
fn light_clients_live_in_it_too() {
    for name in crate::policy::named::LIGHT_CLIENTS {
        let text = CELLS.replace("policy = \"core-28\"", &format!("policy = \"{name}\""));
        let text = text.split("[expect]").next().expect("there is a part before").to_owned();
        let (_, model) = models(&text, load).remove(0);
        let outcome = model.trial(1);
        assert!(measure(&outcome, "reached_per_day") >= 1_000_000, "{name}: {:?}", outcome.measures);
    }
}

/// Takes ten seconds without optimisation.
#[test]
#[ignore = "takes ten seconds"]
fn feelers_fill_the_table_of_tried_nodes() {
    let old = trial("a month with feelers", 1);
    let today = trial("a month, today", 1);
    println!("{:?}\n{:?}", old.measures, today.measures);
    assert!(measure(&old, "ratio") > 5_000_000 && measure(&today, "ratio") > 2_000_000);
    assert!(measure(&old, "reached_per_day") <= 720_000_000);
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let right = "policy = 'core-28'\ndays = 1\n[honest]\nreachable = 100\nunreachable = 100\ntold_reachable = 0.5\n\
        told_per_1000s = 10\nleaves_per_day = 0.1\nfor_good = 0.1\n[attack]\nkind = 'incoming'\nnodes = 10\ngroups = 5\n";
    let load = |text: &str| load("ablation", text.parse().expect("it is TOML")).expect("it is its kind");
    assert!(load(right).is_ok());
    for (from, to) in [
        ("core-28", "core-99"),
        ("days = 1", "days = 0"),
        ("days = 1", "days = 1\nflags = { colour = true }"),
        ("days = 1", "days = 1\ncompare = { colour = true }"),
        ("reachable = 100\n", "reachable = 1\n"),
        ("for_good = 0.1", "for_good = 2.0"),
        ("groups = 5", "groups = 11"),
        ("nodes = 10\ngroups = 5", "nodes = 60000\ngroups = 1"),
        ("told_per_1000s = 10", "told_per_1000s = 10\nconnect_per_day = 100001"),
        ("'incoming'", "'tickling'"),
        ("kind = 'incoming'\nnodes = 10\ngroups = 5", "kind = 'flood'\nconnections = 2000\nminutes = 1"),
    ] {
        assert!(load(&right.replace(from, to)).is_err(), "{to}");
    }
    assert!(super::load("nothing", toml::Table::new()).is_none());
}
