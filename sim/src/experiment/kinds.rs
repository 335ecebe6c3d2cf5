//! Which kinds of models there are, and how each is loaded from its settings.

use toml::Table;

use super::{Model, coins};
use crate::nearest::{hint, short};
use crate::{ablation, books, eclipse, erebus, liars, sybil};

/// Loads a model of a kind from an experiment's settings, all of which it must know. `None`: the kind is another's.
pub type Loader = fn(kind: &str, settings: Table) -> Option<Result<Box<dyn Model>, String>>;

/// Kinds that one loader loads.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// Each kind's name, with what it is in a line.
    pub kinds: &'static [(&'static str, &'static str)],
    /// Loads them.
    pub load: Loader,
}

/// Those that come with the simulator.
const BUILT_IN: &[Family] = &[
    Family { kinds: &coins::KINDS, load: coins::load },
    Family { kinds: eclipse::KINDS, load: eclipse::load },
    Family { kinds: &erebus::KINDS, load: erebus::load },
    Family { kinds: &sybil::KINDS, load: sybil::load },
    Family { kinds: &books::KINDS, load: books::load },
    Family { kinds: &ablation::KINDS, load: ablation::load },
    Family { kinds: &liars::KINDS, load: liars::load },
];

/// All kinds of models that an experiment may be of.
#[derive(Clone, Debug)]
pub struct Kinds(Vec<Family>);

impl Default for Kinds {
    fn default() -> Self {
        Self(BUILT_IN.to_vec())
    }
}

impl Kinds {
    /// And these.
    pub fn with(mut self, family: Family) -> Self {
        self.0.push(family);
        self
    }

    /// Each kind's name, with what it is in a line.
    pub fn names(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.0.iter().flat_map(|family| family.kinds).copied()
    }

    /// The model of a kind with these settings.
    ///
    /// # Errors
    /// If nothing is of this kind, or its settings are wrong.
    pub fn load(&self, kind: &str, settings: Table) -> Result<Box<dyn Model>, String> {
        // A loader takes the settings whether or not the kind is its own.
        self.0.iter().find_map(|family| (family.load)(kind, settings.clone())).unwrap_or_else(|| {
            let names: Vec<_> = self.names().map(|(name, _)| format!("`{name}`")).collect();
            let hint = hint(kind, self.names().map(|(name, _)| name));
            Err(format!("no model is of kind `{}`, but of {}{hint}", short(kind), names.join(", ")))
        })
    }
}
