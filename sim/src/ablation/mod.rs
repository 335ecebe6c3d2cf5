//! What single rules of a node are worth: the same world with a rule and without it.
//!
//! `ablation` ([`Ablation`]) plays the network for any policy: some days without an attack, then one of these ([`Attack`]): nodes that
//! tell of others as fast as they can, nodes that connect from so many groups, or nodes that the victim has heard of all along,
//! and a restart.

mod model;
mod network;

pub use model::{Ablation, Attack, Honest};

use crate::experiment::Model;

/// The kinds of models here, with what each is in a line.
pub const KINDS: [(&str, &str); 1] =
    [("ablation", "a node for some days, then an attack that one of its rules is against")];

/// Loads a model of this kind. `None`: the kind is another's.
pub fn load(kind: &str, settings: toml::Table) -> Option<Result<Box<dyn Model>, String>> {
    (kind == "ablation").then(|| {
        let settings: model::Settings =
            settings.try_into().map_err(|error: toml::de::Error| error.to_string())?;
        Ok(Box::new(Ablation::new(settings)?) as Box<dyn Model>)
    })
}

#[cfg(test)]
mod tests;
