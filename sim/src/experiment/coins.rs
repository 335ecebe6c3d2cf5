//! Coins: an experiment on the statistics themselves, of which everything is known in closed form.
//!
//! A trial throws some coins, one each second. That all of them show heads has the form of an eclipse: each of a node's connections goes to the adversary with
//! the same probability.

use serde::Deserialize;
use toml::Table;

use super::{Measure, Model, Outcome, Sample};
use crate::random::{Chance, Stream, mix};

/// What is thrown.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Coins {
    /// How many.
    coins: u32,
    /// The probability of heads.
    chance: f64,
}

/// The most coins in a trial.
const MOST: u32 = 100_000;

/// The kinds that [`load`] knows, each with what it is in a line.
pub const KINDS: [(&str, &str); 1] =
    [("coins", "throws coins: the statistics themselves, against closed forms")];

/// Loads a model of this kind. `None`: the kind is another's.
pub fn load(kind: &str, settings: Table) -> Option<Result<Box<dyn Model>, String>> {
    (kind == "coins").then(|| {
        let settings: Coins = settings.try_into().map_err(|error: toml::de::Error| error.to_string())?;
        if settings.coins > MOST {
            return Err(format!("`coins` is at most {MOST}"));
        }
        let chance = Chance::new(settings.chance).ok_or("`chance` is a number from 0 to 1")?;
        let millionths = |chance: f64| (chance * 1_000_000.0).round() as i64;
        let all = (0..settings.coins).fold(1.0, |all, _| all * settings.chance);
        let expected = [("chance", millionths(settings.chance)), ("chance_of_all", millionths(all))];
        Ok(Box::new(Throws { coins: settings.coins, chance, expected }) as Box<dyn Model>)
    })
}

struct Throws {
    coins: u32,
    chance: Chance,
    /// What is known of it in closed form, in millionths.
    expected: [(&'static str, i64); 2],
}

impl Model for Throws {
    fn trial(&self, seed: u64) -> Outcome {
        let mut stream = Stream::new(seed);
        let mut outcome = Outcome::default();
        let mut heads = 0;
        for thrown in 1..=i64::from(self.coins) {
            let head = stream.happens(self.chance);
            if head && heads == 0 {
                outcome.measures.insert("first_head", Measure::Count(thrown));
            }
            heads += i64::from(head);
            outcome.digest = mix(outcome.digest ^ mix(u64::from(head) + 1));
            outcome.series.push(Sample { at: thrown as u64, measure: "heads", value: heads });
        }
        let share = if self.coins == 0 { 0 } else { heads * 1_000_000 / i64::from(self.coins) };
        outcome.measures.insert("all", Measure::Happened(heads == i64::from(self.coins)));
        outcome.measures.insert("heads", Measure::Count(heads));
        outcome.measures.insert("share", Measure::Millionths(share));
        outcome.measures.extend(self.expected.map(|(name, value)| (name, Measure::Millionths(value))));
        outcome
    }
}
