//! A passive Sybil: an attacker who runs nodes as everybody does, and waits to be dialled.
//!
//! - `sybil` ([`Sybil`]): how many nodes it takes until a share of all nodes has nobody else for its outgoing connections, by how
//!   addresses are grouped.

mod model;
mod population;

pub use model::{Attack, Grouped, Sybil};
pub use population::Honest;

use crate::experiment::Model;

/// The kinds of models here, with what each is in a line.
pub const KINDS: [(&str, &str); 1] =
    [("sybil", "how many nodes an attacker runs until a share of all nodes is connected to nobody else")];

/// Loads a model of this kind. `None`: the kind is another's.
///
/// A population that is shaped like the real one needs real data, in the folder that `ANDON_CHAIN_DATA` names.
pub fn load(kind: &str, settings: toml::Table) -> Option<Result<Box<dyn Model>, String>> {
    (kind == "sybil").then(|| {
        let settings: model::Settings =
            settings.try_into().map_err(|error: toml::de::Error| error.to_string())?;
        Ok(Box::new(Sybil::new(settings)?) as Box<dyn Model>)
    })
}

#[cfg(test)]
mod tests;
