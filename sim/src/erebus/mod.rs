//! The Erebus attack (Tran, Choi, Moon, Vu, Kang, S&P 2020), on the rules of Bitcoin Core 0.18.
//!
//! - `erebus-fill` ([`Fill`]): how much of the table of new nodes addresses of so many prefixes reach.
//! - `erebus` ([`Trickle`]): the attack over weeks.

mod fill;
pub(crate) mod tables;
mod trickle;
mod victim;
pub(crate) mod world;

pub use fill::Fill;
pub use trickle::{AttackSettings, HonestSettings, Trickle, VictimSettings};

use crate::experiment::Model;

/// The kinds of models here, with what each is in a line.
pub const KINDS: [(&str, &str); 2] = [
    ("erebus-fill", "how much of Core's table of new nodes addresses of so many prefixes reach"),
    ("erebus", "an attacker on the route tells a node of Core 0.18 of its addresses for weeks"),
];

/// Loads a model of these kinds. `None`: the kind is another's.
pub fn load(kind: &str, settings: toml::Table) -> Option<Result<Box<dyn Model>, String>> {
    Some(match kind {
        "erebus-fill" => crate::settings::load::<Fill>(settings, Fill::check),
        "erebus" => crate::settings::load::<Trickle>(settings, Trickle::check),
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
