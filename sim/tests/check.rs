//! Random worlds with the light client in them: they pass, they repeat, each thing that should occur in them does, and each check can
//! fail. Every scenario in the folder `scenarios` is one in which something was wrong once.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use andon_sim::check::{Kind, Options, Outcome, Sabotage, Scenario, draw, file, many, run, shrink};

fn threads(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).unwrap()
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

fn play(scenario: &Scenario) -> Outcome {
    run(scenario, Options::default())
}

fn sabotaged(scenario: &Scenario, sabotage: Sabotage) -> Outcome {
    run(scenario, Options { sabotage: Some(sabotage), ..Options::default() })
}

/// Every file of the folder of kept scenarios, or of one in it.
fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|kind| kind == "toml")).collect();
    files.sort();
    files
}

#[test]
fn what_was_wrong_once_is_right() {
    let files = files();
    assert!(!files.is_empty());
    for path in files {
        let scenario = file::read(&path).unwrap_or_else(|error| panic!("{error}"));
        let outcome = play(&scenario);
        assert_eq!(outcome.failure, None, "{}", path.display());
    }
}

/// In a few hundred worlds nothing fails, and each state is come to that worlds should come to.
#[test]
fn random_worlds_pass_and_come_to_everything() {
    let (first, count) = (number("ANDON_FIRST_SEED", 0), number("ANDON_SEEDS", 400));
    let summary = many(first, count, threads(2), None, &mut |_| {});
    let failures: Vec<String> =
        summary.failures.iter().map(|(seed, failure)| format!("seed {seed}: {failure}")).collect();
    assert!(failures.is_empty(), "{}\nsee it by: andon-sim replay SEED", failures.join("\n"));
    if count >= 400 {
        let never: Vec<_> = summary.seen.iter().filter(|(_, _, count)| *count == 0).collect();
        assert!(never.is_empty(), "no world came to {never:?}");
    }
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let digest = |count| many(1000, 60, threads(count), None, &mut |_| {}).digest;
    let one = digest(1);
    assert_eq!(one, digest(2));
    assert_eq!(one, digest(8));
    assert_ne!(one, many(1001, 60, threads(2), None, &mut |_| {}).digest);
}

/// What comes of the same seeds must be the same in debug and in release, on each machine.
#[test]
fn the_digest_of_known_seeds_is_known() {
    let digest = many(0, 20, threads(2), None, &mut |_| {}).digest.to_string();
    assert_eq!(digest, KNOWN);
}
const KNOWN: &str = "e1b39d3cd5fc9cb3c587588d2f359f539772eaad10b5e2800d992090d513b374";

#[test]
fn a_scenario_is_the_same_after_it_was_written_and_read() {
    for seed in 0..200 {
        let scenario = draw(seed);
        file::check(&scenario).unwrap();
        let text = file::write(&scenario);
        let read = file::parse(Path::new("it.toml"), &text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(read, scenario);
    }
}

#[test]
fn a_scenario_that_makes_no_sense_is_refused() {
    let scenario = draw(7);
    let text = file::write(&scenario);
    let change = |change: fn(&mut Scenario)| {
        let mut scenario = scenario.clone();
        change(&mut scenario);
        file::write(&scenario)
    };
    for (text, expected) in [
        (format!("colour = 'red'\n{text}"), "it.toml:1:1: unknown field `colour`"),
        (text.replace("[client]", "[client]\ncolour = 'red'"), "unknown field `colour`"),
        (change(|scenario| scenario.schema = 2), "`schema` is 2, and this program reads 1"),
        (change(|scenario| scenario.trunk = 26), "`trunk` is one of [0, 25, 80, 160, 1100, 2100]"),
        (change(|scenario| scenario.peers.clear()), "no honest peer with all filters"),
        (change(|scenario| scenario.peers.push(scenario.peers[0].clone())), "two peers have the same number"),
        (
            change(|scenario| scenario.peers.retain(|peer| peer.lie.is_some())),
            "no honest peer with all filters",
        ),
        (change(|scenario| scenario.peers[0].group = 99), "there are groups from 0 to 29"),
        (change(|scenario| scenario.client.room = 0), "`room` is from 1 to 100000"),
        (change(|scenario| scenario.ends = u64::MAX / 2), "nothing takes longer than a year"),
        (change(|scenario| scenario.events.reverse()), "events are in the order of time"),
        ("schema = 1".to_owned(), "missing field"),
        ("schema = ".to_owned(), "it.toml:1:"),
    ] {
        let refused = file::parse(Path::new("it.toml"), &text).map(|_| ());
        let said = refused.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(said.contains(expected), "{expected} is not in: {said}");
    }
}

/// Each check, and a client that must not pass it: within a hundred worlds it is caught, and by that check.
#[test]
fn each_check_can_fail() {
    for (sabotage, kinds) in [
        (Sabotage::InventPayment, &[Kind::Invented][..]),
        (Sabotage::ChangeAmount, &[Kind::Invented]),
        (Sabotage::InventBlock, &[Kind::Invented]),
        (Sabotage::RepeatPayment, &[Kind::Repeated]),
        // What was hidden is missed, or taken back later.
        (Sabotage::HidePayment, &[Kind::Missed, Kind::NeverTold]),
        // What stands wrongly may be found again on the other branch.
        (Sabotage::KeepVoid, &[Kind::Wrong, Kind::Repeated]),
        (Sabotage::TakeBackUnknown, &[Kind::NeverTold]),
        (Sabotage::AccuseHonest, &[Kind::Accused]),
        (Sabotage::BanHonest, &[Kind::Accused]),
        (Sabotage::AnswerUnasked, &[Kind::Unanswered]),
        (Sabotage::AnswerNothing, &[Kind::Unanswered]),
        (Sabotage::GiveUp, &[Kind::GaveUp]),
        (Sabotage::Panic, &[Kind::Panic]),
        (Sabotage::GoDeaf, &[Kind::Stuck]),
        (Sabotage::Spin, &[Kind::Unbounded]),
        (Sabotage::HoardConnections, &[Kind::Unbounded]),
    ] {
        let summary = many(0, 30, threads(2), Some(sabotage), &mut |_| {});
        let found: Vec<Kind> = summary.failures.iter().map(|(_, failure)| failure.kind).collect();
        assert!(!found.is_empty(), "{sabotage:?} passes");
        assert!(found.iter().all(|kind| kinds.contains(kind)), "{sabotage:?}: {found:?}");
        for kind in kinds {
            assert!(found.contains(kind), "{sabotage:?} is never {kind:?}: {found:?}");
        }
    }
}

/// What fails is cut down to what it fails by, fails in the same way from a file, and does so again to the bit.
#[test]
fn a_failure_is_shrunk_to_a_scenario_that_replays() {
    let (sabotage, seeds) = (Sabotage::KeepVoid, 0..100);
    let failing = seeds.map(draw).find(|scenario| {
        scenario.events.len() > 15
            && sabotaged(scenario, sabotage).failure.is_some_and(|failure| failure.kind == Kind::Wrong)
    });
    let scenario = failing.expect("some world has a finding that is void");
    let shrunk = shrink(&scenario, Some(sabotage), 3000).unwrap();
    assert_eq!(shrunk.failure.kind, Kind::Wrong);
    // Something is watched, and a block that pays it goes.
    assert!(shrunk.scenario.events.len() <= 4, "{:#?}", shrunk.scenario);
    assert_eq!(shrunk.scenario.peers.len(), 1);
    let read = file::parse(Path::new("it.toml"), &file::write(&shrunk.scenario)).unwrap();
    let again = sabotaged(&read, sabotage);
    assert_eq!(again.failure.as_ref(), Some(&shrunk.failure));
    assert_eq!(again, sabotaged(&read, sabotage));
    // It is the client's fault, and not the scenario's.
    assert_eq!(play(&read).failure, None);
    assert!(shrink(&read, None, 10).is_none());
}
