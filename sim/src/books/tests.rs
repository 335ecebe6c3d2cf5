use super::*;
use crate::cells_for_tests::{mean, models};
use crate::experiment::Measure;

const CELLS: &str = include_str!("../../experiments/e9-book-cells.toml");
const SHARE: &str = include_str!("../../experiments/e9-book-share.toml");

/// What was published of Kyoto's book, and what follows from the rules of the others.
#[test]
fn so_many_cells_can_be_taken() {
    let expected = [
        ("kyoto 0.1, one source", "cells", 16..=16i64),
        ("kyoto 0.1, two sources", "cells", 32..=32),
        ("kyoto 0.1, four sources", "cells", 64..=64),
        ("kyoto 0.1, all that can be filled", "cells", 128..=128),
        ("kyoto 0.1, all of the tried that can be filled", "cells", 32..=32),
        ("kyoto 0.2, one source", "cells", 128..=128),
        ("kyoto 0.2, all that can be filled", "cells", 256..=256),
        ("own, one source", "buckets", 56..=64),
        ("own, one source", "cells", 3000..=4096),
        ("own, one group reached", "buckets", 5..=8),
        ("own, one group reached", "cells", 200..=512),
        ("btcd, one source", "buckets", 56..=64),
        ("btcd, one group reached", "buckets", 5..=8),
        ("btcd, one group reached", "cells", 1000..=2048),
    ];
    for (name, model) in models(CELLS, load) {
        let outcome = expected.iter().any(|(cell, ..)| *cell == name).then(|| model.trial(1));
        for (_, measure, band) in expected.iter().filter(|(cell, ..)| *cell == name) {
            let Some(Measure::Count(count)) = outcome.as_ref().map(|outcome| outcome.measures[measure])
            else {
                panic!("{name}: {measure} is no count")
            };
            assert!(band.contains(&count), "{name}: {count} {measure}");
        }
    }
}

#[test]
fn one_attacker_is_drawn_so_often() {
    let expected = [
        ("kyoto 0.1, offset 5", "share", 0.57..=0.61),
        ("kyoto 0.1, offset 5", "bias", 10.0..=14.5),
        ("kyoto 0.1, offset 5", "honest", 16.0..=16.0),
        ("kyoto 0.1, where the seeds' addresses stand", "share", 0.0..=0.0),
        ("kyoto 0.2, offset 5", "share", 0.45..=0.65),
        ("btcd", "share", 0.25..=0.55),
        ("nakamoto", "share", 1.0..=1.0),
        ("own", "share", 0.2..=0.5),
    ];
    let models = models(SHARE, load);
    for (cell, measure, band) in expected {
        let (_, model) = models.iter().find(|(name, _)| name == cell).expect("it is a cell");
        let value = mean(&**model, measure, 1);
        assert!(band.contains(&value), "{cell}: {measure} {value}");
    }
}

#[test]
fn a_trial_is_a_function_of_its_seed() {
    for (name, model) in models(SHARE, load).iter().filter(|(name, _)| !name.contains("offset")) {
        assert_eq!(model.trial(5), model.trial(5), "{name}");
        assert_ne!(model.trial(5).digest, model.trial(6).digest, "{name}");
    }
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let right = "book = 'own'\ntable = 'new'\nsources = 1\ntold = 1\ngroups = 1\n";
    let rows = [
        ("book = 'own'", "book = 'nobody'", "nobody"),
        ("sources = 1", "sources = 0", "at least one"),
        ("groups = 1", "groups = 30000", "together at most"),
        ("groups = 1", "groups = 1\naimed = true", "aim"),
        ("table = 'new'", "table = 'old'", "old"),
        ("told = 1", "told = 1\ncolour = 'red'", "colour"),
        ("told = 1", "", "told"),
        ("told = 1", "told = 4294967295", "10000000 nodes at most"),
    ];
    let load = |text: &str| load("book-cells", text.parse().expect("it is TOML")).expect("it is a kind");
    assert!(load(right).is_ok());
    for (from, to, why) in rows {
        let error = load(&right.replace(from, to)).err().expect(to);
        assert!(error.contains(why), "{to}: {error}");
    }
    assert!(super::load("nothing", toml::Table::new()).is_none());
}
