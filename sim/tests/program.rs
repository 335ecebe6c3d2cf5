//! The program as its users have it: exit codes, errors, and files that are the same to the byte however they came about.

#![allow(clippy::unwrap_used, reason = "what fails fails the test")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Two kinds of cells, one measure that some trials don't have, and a comma and quotes in a name.
const COINS: &str = r#"
schema = 1
name = "heads"
title = "Heads & <tails>"
kind = "coins"
seed = 7
trials = 250
coins = 6
chance = 0.5

[sweep]
"chance" = [0.25, 0.75]

[[cell]]
name = "few, or \"none\""
set = { "coins" = 2 }

[[cell]]
name = "more"

[expect]
share = { measure = "chance", standard_errors = 4, source = "by definition" }
first_head = { at_least = 1, at_most = 6, source = "counted from 1" }
"#;

const STOP: &str = "stop = { metric = 'share', half_width = 0.036 }\n";

struct Sandbox(tempfile::TempDir);

impl Sandbox {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self, name: &str, text: &str) -> String {
        fs::write(self.path(name), text).unwrap();
        name.to_owned()
    }

    fn run(&self, arguments: &str) -> Output {
        let words = arguments.split(' ');
        Command::new(env!("CARGO_BIN_EXE_andon-sim")).args(words).current_dir(self.0.path()).output().unwrap()
    }

    /// Runs it, expects this exit code, and returns what it printed on both.
    fn expect(&self, code: i32, arguments: &str) -> String {
        let Output { status, stdout, stderr } = self.run(arguments);
        let text = [stdout, stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
        assert_eq!(status.code(), Some(code), "{arguments}: {text}");
        text
    }

    /// Every file of a folder of results.
    fn files(&self, folder: &str) -> BTreeMap<String, Vec<u8>> {
        let entries = fs::read_dir(self.path(folder)).unwrap().map(|entry| entry.unwrap().path());
        let read = |path: PathBuf| (name_of(&path), fs::read(&path).unwrap());
        entries.map(read).collect()
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

fn assert_same(left: &BTreeMap<String, Vec<u8>>, right: &BTreeMap<String, Vec<u8>>, how: &str) {
    assert_eq!(left.keys().collect::<Vec<_>>(), right.keys().collect::<Vec<_>>(), "{how}");
    for (name, bytes) in left {
        assert!(*bytes == right[name], "{how}: {name} differs");
    }
}

#[test]
fn exit_codes_tell_what_came_of_it() {
    let sandbox = Sandbox::new();
    let deviates = "[[cell]]\nname = 'a'\nexpect.heads = { at_most = 0, source = 'nowhere' }\n";
    let coins = COINS.split("[sweep]").next().unwrap();
    let known = deviates.replace("'nowhere'", "'nowhere', known_deviation = 'coins have heads'");
    let passes = known.replace("at_most = 0", "at_most = 6");
    for (text, code, expected) in [
        (coins.to_owned(), 0, "digest "),
        (format!("{coins}{deviates}"), 1, "0 pass, 1 deviate, 0 deviate as is known"),
        (format!("{coins}{known}"), 0, "0 pass, 0 deviate, 1 deviate as is known"),
        (format!("{coins}{known}"), 0, "a, heads: coins have heads"),
        (format!("{coins}{passes}"), 0, "passes, though it is listed as a known deviation"),
        (
            format!("{coins}{}", deviates.replace("heads", "tails")),
            2,
            "heads: no trial gave the measure `tails`; there",
        ),
        (format!("coin = 3{coins}"), 2, "error: it.toml:1:1: in cell `all`: unknown field `coin`"),
        (coins.replace("0.5", "2"), 2, "error: it.toml:9:1: in cell `all`: `chance` is a number from 0 to 1"),
    ] {
        let file = sandbox.file("it.toml", &text);
        let printed = sandbox.expect(code, &format!("run {file}"));
        assert!(printed.contains(expected), "{expected} is not in {printed}");
    }
}

#[test]
fn what_makes_no_sense_is_an_error_that_says_so() {
    let sandbox = Sandbox::new();
    sandbox.file("it.toml", COINS);
    fs::create_dir(sandbox.path("empty")).unwrap();
    for (arguments, expected) in [
        ("run nothing.toml", "nothing.toml: there is no such file, and no experiment of this name"),
        ("run it.toml it.toml", "two experiments are called `heads`"),
        ("run it.toml --shard 0/2", "--out <FOLDER>"),
        ("run it.toml --out x --shard 2/2", "`0/4` is the first of four parts"),
        ("run it.toml --threads 0", "invalid value '0'"),
        ("run it.toml --trials 0", "a cell has 1 to 1000000000 trials"),
        ("run it.toml --out it.toml", "it.toml/heads"),
        (
            "run it.toml --trials 1000000000 --out x",
            "4000000000 are more than 10000000: run fewer, or without",
        ),
        ("run core", "did you mean `e4-countermeasures-core`?"),
        ("list e3-tabel-2", ": did you mean `e3-table-2`?"),
        ("merge empty --out x", "empty: there are no parts in it"),
        ("merge none --out x", "none: No such file"),
        ("list nothing", "no experiment `nothing` comes with the program, but "),
        ("", "Usage: andon-sim"),
    ] {
        let printed = sandbox.expect(2, arguments);
        assert!(printed.contains(expected), "{arguments}: {expected} is not in {printed}");
    }
}

/// However many threads and parts, the files are the same to the byte; also where a rule stops cells.
#[test]
fn threads_and_parts_change_no_byte() {
    for (stop, text) in [("", COINS.to_owned()), (STOP, format!("{STOP}{COINS}"))] {
        let sandbox = Sandbox::new();
        sandbox.file("it.toml", &text);
        sandbox.expect(0, "run it.toml --threads 1 --out one");
        let one = sandbox.files("one/heads");
        let names: Vec<_> = one.keys().map(String::as_str).collect();
        let figures = ["all", "chance", "chance_of_all", "first_head", "heads-over-time", "heads", "share"];
        let figures = figures.iter().map(|name| format!("fig-{name}.svg"));
        let files = ["report.md", "series.csv", "summary.json", "trials.csv"].map(str::to_owned);
        assert_eq!(names, figures.chain(files).collect::<Vec<_>>());
        let trials = String::from_utf8(one["trials.csv"].clone()).unwrap().lines().count() - 1;
        // A fair coin thrown twice has a wider interval than one thrown six times.
        assert_eq!(trials, if stop.is_empty() { 4 * 250 } else { 2 * 250 + 2 * 100 });
        for threads in [2, 8] {
            sandbox.expect(0, &format!("run it.toml --threads {threads} --out t{threads}"));
            assert_same(&one, &sandbox.files(&format!("t{threads}/heads")), &format!("{threads} threads"));
        }
        for count in [1, 2, 3] {
            // Each in a folder of its own, or all in the same.
            let folders: Vec<_> = (0..count)
                .map(|index| if count == 3 { "all".into() } else { format!("p{count}{index}") })
                .collect();
            for (index, folder) in folders.iter().enumerate() {
                let threads = [1, 2, 8][index];
                sandbox.expect(
                    0,
                    &format!("run it.toml --threads {threads} --shard {index}/{count} --out {folder}"),
                );
            }
            let folders = if count == 3 { "all".to_owned() } else { folders.join(" ") };
            sandbox.expect(0, &format!("merge {folders} --out m{count}"));
            assert_same(&one, &sandbox.files(&format!("m{count}/heads")), &format!("{count} parts"));
        }
    }
}

#[test]
fn more_parts_than_trials_are_as_good() {
    let sandbox = Sandbox::new();
    sandbox.file("it.toml", COINS);
    // Two trials deviate, and so do they when they are merged.
    sandbox.expect(1, "run it.toml --trials 2 --out one");
    for index in 0..3 {
        sandbox.expect(0, &format!("run it.toml --trials 2 --shard {index}/3 --out parts"));
    }
    sandbox.expect(1, "merge parts --out merged");
    assert_same(&sandbox.files("one/heads"), &sandbox.files("merged/heads"), "3 parts of 2 trials");
}

#[test]
fn parts_that_make_no_whole_are_refused() {
    let sandbox = Sandbox::new();
    sandbox.file("it.toml", COINS);
    let part = |arguments: &str, folder: &str| {
        sandbox.expect(0, &format!("run it.toml {arguments} --out {folder}"));
    };
    part("--shard 0/2", "a");
    part("--shard 1/2", "b");
    part("--shard 1/2 --seed 8", "seed");
    part("--shard 1/2 --trials 9", "trials");
    part("--shard 1/3", "third");
    sandbox.expect(0, "merge a b --out whole");
    for (folders, expected) in [
        ("a", "heads: these parts are missing: 1/2"),
        ("b", "heads: these parts are missing: 0/2"),
        ("a b b", "heads: part 1/2 is there twice: b/heads/part-1-of-2.json and b/heads/part-1-of-2.json"),
        ("a seed", "have different seeds: 7 and 8"),
        ("a trials", "are parts of different experiments of this name"),
        ("a third", "are parts of runs in 2 and in 3 parts"),
    ] {
        let printed = sandbox.expect(2, &format!("merge {folders} --out merged"));
        assert!(printed.contains(expected), "{folders}: {expected} is not in {printed}");
    }
    assert!(!sandbox.path("merged").exists());
}

/// A part comes from another machine: whatever is in it, merging says what is wrong.
#[test]
fn parts_that_were_changed_are_refused() {
    let sandbox = Sandbox::new();
    sandbox.file("it.toml", COINS);
    sandbox.expect(0, "run it.toml --shard 0/1 --trials 4 --out a");
    let good = fs::read_to_string(sandbox.path("a/heads/part-0-of-1.json")).unwrap();
    let version = format!("\"version\":\"{}\"", env!("CARGO_PKG_VERSION"));
    let first = good.split("\"trials\":[[0,\"").nth(1).unwrap().split('"').next().unwrap();
    for (from, to, expected) in [
        (version.as_str(), "\"version\":\"0.0.9\"", "it was run by version 0.0.9, and this is "),
        ("andon-sim part 1", "andon-sim part 2", "its format is `andon-sim part 2`"),
        ("\"seed\":7", "\"seed\":8", "its experiment is not the one that its digest is of"),
        ("\"name\":\"heads\"", "\"name\":\"../x\"", "it is no experiment of schema 1"),
        (first, "0123456789abcdef", "its trials are not those that its digest is of"),
        (first, "something", "a trial's digest is no number"),
        ("[[0,", "[[1,", "it doesn't have all trials of part 0/1, in order"),
        ("\"shard\":[0,1]", "\"shard\":[1,1]", "there is no part 1 of 1"),
        ("\"shard\":[0,1]", "\"shard\":[0,2]", "it doesn't have all trials of part 0/2"),
        (
            "\"cells\":[{\"columns\"",
            "\"cells\":[],\"more\":[{\"columns\"",
            "it is no part of a run, or was cut off: unknown field",
        ),
        ("\"count\"},", "\"happened\"},", "happens or doesn't: 0 or 1"),
    ] {
        assert!(good.contains(from), "{from}");
        fs::write(sandbox.path("a/heads/part-0-of-1.json"), good.replace(from, to)).unwrap();
        let printed = sandbox.expect(2, "merge a --out merged");
        assert!(printed.contains(expected), "{from}: {expected} is not in {printed}");
    }
    for length in [0, 1, good.len() / 2, good.len() - 2] {
        fs::write(sandbox.path("a/heads/part-0-of-1.json"), &good[..length]).unwrap();
        let printed = sandbox.expect(2, "merge a --out merged");
        assert!(printed.contains("it is no part of a run, or was cut off"), "{printed}");
    }
}

#[test]
fn a_digest_is_the_runs() {
    let sandbox = Sandbox::new();
    sandbox.file("it.toml", COINS);
    let digest = sandbox.expect(0, "digest it.toml --threads 2");
    assert_eq!(digest.len(), 64 + "  heads\n".len());
    sandbox.expect(0, "run it.toml --out out");
    let summary = String::from_utf8(sandbox.files("out/heads")["summary.json"].clone()).unwrap();
    assert!(summary.contains(&format!("\"digest\": \"{}\"", &digest[..64])), "{summary}");
    for other in ["--seed 8", "--trials 249"] {
        assert_ne!(sandbox.expect(0, &format!("digest it.toml {other}")), digest);
    }
}

/// Published experiments name a seed: what comes of it must not change without anybody noticing.
#[test]
fn the_digest_of_a_known_experiment_is_known() {
    let digest = Sandbox::new().expect(0, "digest coins --trials 100");
    assert_eq!(digest, "159ed41575eaee89fa40bb76c8efb7123e80b9cf2769c88eb65f7de6a72aff5c  coins\n");
}

#[test]
fn what_comes_with_the_program_is_listed_and_can_be_copied() {
    let sandbox = Sandbox::new();
    let list = sandbox.expect(0, "list");
    for expected in [
        "  coins ",
        "closed forms",
        "  core-28 ",
        "  nakamoto ",
        "  feelers ",
        "Flags of kyoto-0.1, kyoto-0.2",
    ] {
        assert!(list.contains(expected), "{expected} is not in {list}");
    }
    let text = sandbox.expect(0, "list coins");
    sandbox.file("mine.toml", &text);
    assert_eq!(
        sandbox.expect(0, "digest mine.toml --trials 9"),
        sandbox.expect(0, "digest coins --trials 9")
    );
    let quiet = sandbox.expect(0, "run coins --quiet");
    assert_eq!(quiet, "");
}

#[test]
fn worlds_are_checked_and_replayed() {
    let sandbox = Sandbox::new();
    let printed = sandbox.expect(0, "check --seeds 12 --threads 2");
    assert!(printed.contains("12 worlds from seed 0") && printed.contains(": 0 failed"), "{printed}");
    let digest = sandbox.expect(0, "check --seeds 12 --digest --threads 1");
    assert!(printed.contains(&digest[..64]) && digest.ends_with("  check of 12 from 0\n"), "{digest}");
    assert_eq!(sandbox.expect(0, "check --seeds 12 --digest --threads 8"), digest);
    assert_eq!(sandbox.expect(0, "check --seeds 12 --quiet"), "");
    // A world by its number and by its file.
    sandbox.expect(0, "replay 3 --write it.toml");
    let one = sandbox.expect(0, "replay 3 --quiet");
    assert_eq!(sandbox.expect(0, "replay it.toml --quiet"), one);
    let shown = sandbox.expect(0, "replay it.toml");
    assert!(
        shown.contains(" client: starts") && shown.contains(" dials ") && shown.ends_with(&one),
        "{shown}"
    );
    assert!(sandbox.expect(0, "replay 3 --until 20").contains("\n20 turns, until "));
    assert!(sandbox.expect(0, "replay 3 --until 1.5s").contains(" turns, until 00:00:0"));
    assert!(sandbox.expect(0, "replay 3 --all").len() > shown.len());
    // What fails is cut down, and fails again from its file.
    let failed = sandbox.expect(1, "check --seeds 5 --sabotage invent-payment --quiet --out found");
    let command = failed.lines().find_map(|line| line.strip_prefix("run it again by: andon-sim ")).unwrap();
    let again = sandbox.expect(1, command);
    assert!(
        failed.contains("something untrue was told") && again.contains("failed: something untrue was told")
    );
    sandbox.expect(0, command.split(" --sabotage").next().unwrap());
    for (arguments, expected) in [
        ("check --seeds 0", "one world at least"),
        ("check --first-seed 18446744073709551615", "there are seeds from 0 to"),
        ("check --sabotage nothing", "there are invent-payment, "),
        ("replay nothing.toml", "nothing.toml: No such file"),
        ("replay 18446744073709551615", "there are seeds from 0 to"),
        ("replay 3 --until 5x", "a time is a number with"),
        ("replay 3 --until 5..5s", "a time is a number with"),
        ("replay 3 --explain 200", "there is no peer 200 in this world"),
    ] {
        let printed = sandbox.expect(2, arguments);
        assert!(printed.contains(expected), "{arguments}: {expected} is not in {printed}");
    }
}

/// How a peer that nobody gave came to be dialled.
#[test]
fn a_peer_that_was_found_is_explained() {
    let sandbox = Sandbox::new();
    sandbox.file("found.toml", FOUND);
    let printed = sandbox.expect(0, "replay found.toml --explain 2");
    let mut rest = printed.as_str();
    for expected in [
        "62.1.2.1:18444: it is not given",
        "peer1 tells of it",
        "it is dialled, as ",
        "its handshake is finished, for Found",
        "the book has it written down: peer1 told of it first; among those ",
    ] {
        let at = rest.find(expected).unwrap_or_else(|| panic!("{expected} is not in its place in {printed}"));
        rest = &rest[at..];
    }
}

const FOUND: &str = r#"
schema = 1
seed = 2
trunk = 25
age = 600
ends = 900000
within = 3600

[client]
encryption = "off"
discovery = 2

[links]

[[peer]]
number = 1
given = "address"
group = 1
tells = true

[[peer]]
number = 2
given = "no"
group = 2

[[event]]
at = 0
what.watch = { script = 1, from = 0 }
"#;
