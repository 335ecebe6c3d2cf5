//! Eclipse attacks: whoever has all of a node's connections shows it the world that he likes.
//!
//! After E. Heilman, A. Kendler, A. Zohar and S. Goldberg, "Eclipse Attacks on Bitcoin's Peer-to-Peer Network", USENIX Security
//! 2015. Each model here is a kind of experiment's file: see [`load`].

mod attack;
pub mod closed_form;
mod people;
mod settings;
mod tables;

pub use attack::Attack;
pub use settings::{
    Action, Adversary, Ages, Eclipsed, Event, Groups, Kind, Measured, Node, Pace, Population, Role, Settings,
    Span, Time, Trash, World,
};

pub use tables::{Fill, FillSettings, Selection, SelectionSettings, Table};

use crate::experiment::Model;

/// The kinds of experiments that [`load`] knows, each with what it is in a line.
pub const KINDS: &[(&str, &str)] = &[
    ("eclipse", "an attack on one victim: rounds of connections, a restart, and who it then connects to"),
    ("fill", "how much of a release's tables an attacker reaches and fills"),
    ("selection", "who is drawn out of a full table in which the attacker's nodes are fresher"),
    (
        "table",
        "places that are taken over one by one: what countermeasures 1, 2, 3, 6 and 7 make of the tried",
    ),
];

/// The model of a kind of experiment, with what else its file says of it. `None`: there is none of that kind here.
pub fn load(kind: &str, rest: toml::Table) -> Option<Result<Box<dyn Model>, String>> {
    fn read<T: serde::de::DeserializeOwned>(rest: toml::Table) -> Result<T, String> {
        rest.try_into().map_err(|error: toml::de::Error| error.to_string())
    }
    Some(match kind {
        "eclipse" => read(rest).and_then(Attack::new).map(|model| -> Box<dyn Model> { Box::new(model) }),
        "selection" => read(rest).and_then(Selection::new).map(|model| -> Box<dyn Model> { Box::new(model) }),
        "fill" => read(rest).and_then(Fill::new).map(|model| -> Box<dyn Model> { Box::new(model) }),
        "table" => read(rest).and_then(Table::check).map(|model| -> Box<dyn Model> { Box::new(model) }),
        _ => return None,
    })
}
