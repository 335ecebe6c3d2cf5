//! Books of light clients: how much of one an attacker gets, and how often it is then dialled.
//!
//! - `book-cells` ([`Cells`]): the places that so many sources, or nodes of so many groups, take in an empty book.
//! - `book-share` ([`Share`]): the share of draws that is an attacker's in a book that some DNS seeds' answers were in before.
//!
//! Both ask the book alone. What limits how much a client takes in at all, as an allowance for gossip, comes on top of that.

mod cells;
mod share;
mod sources;

pub use cells::{Cells, Table};
pub use share::Share;

use crate::experiment::Model;

/// The kinds of models here, with what each is in a line.
pub const KINDS: [(&str, &str); 2] = [
    ("book-cells", "places that so many sources or groups take in a light client's empty book"),
    ("book-share", "an attacker's share of a light client's draws, after DNS seeds have answered"),
];

/// Loads a model of these kinds. `None`: the kind is another's.
pub fn load(kind: &str, settings: toml::Table) -> Option<Result<Box<dyn Model>, String>> {
    Some(match kind {
        "book-cells" => crate::settings::load::<Cells>(settings, Cells::check),
        "book-share" => crate::settings::load::<Share>(settings, Share::check),
        _ => return None,
    })
}

/// The time at which the experiments begin: any.
const NOW: andon_kernel::UnixTime = andon_kernel::UnixTime::from_secs(1_767_225_600);

#[cfg(test)]
mod tests;
