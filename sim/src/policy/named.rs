//! Policies and books by the names that experiments call them by.

use andon_bitcoin::addresses::Grouping;

use super::Policy;
use super::book::Book;
use super::btcd::Btcd;
use super::kyoto::{Kyoto, Version};
use super::nakamoto::Nakamoto;
use super::own::{Own, OwnBook};
use crate::random::Stream;

/// Light clients, and how many connections each keeps unless it is told otherwise.
pub const LIGHT_CLIENTS: [&str; 5] = ["own", "kyoto-0.1", "kyoto-0.2", "btcd", "nakamoto"];

/// A light client that knows nobody and has not started. `None`: there is none of that name.
///
/// `outgoing` is for Kyoto, whose users set how many connections it keeps: one to 15. The others keep eight.
pub fn by_name(name: &str, outgoing: usize, stream: Stream) -> Option<Box<dyn Policy>> {
    Some(match name {
        "own" => Box::new(Own::new(Grouping::by_prefix(), stream)),
        "kyoto-0.1" => Box::new(Kyoto::client(Version::V0_1, outgoing, stream)),
        "kyoto-0.2" => Box::new(Kyoto::client(Version::V0_2, outgoing, stream)),
        "btcd" => Box::new(Btcd::client(stream)),
        "nakamoto" => Box::new(Nakamoto::client(stream)),
        _ => return None,
    })
}

/// How to make light clients of a name. `flags` may have `outgoing`, for Kyoto's. `None`: there is none of that name.
///
/// The error says which flag is wrong.
pub(super) fn load(name: &str, mut flags: toml::Table) -> Option<Result<super::Make, String>> {
    let name = LIGHT_CLIENTS.into_iter().find(|known| *known == name)?;
    let outgoing =
        flags.remove("outgoing").map_or(Some(1), |count| usize::try_from(count.as_integer()?).ok());
    let is_kyoto = name.starts_with("kyoto");
    let outgoing = match outgoing {
        Some(outgoing) if (1..=15).contains(&outgoing) && (is_kyoto || outgoing == 1) => outgoing,
        _ => return Some(Err("`outgoing` is 1 to 15, and only Kyoto's users set it".to_owned())),
    };
    let make = move |stream: &Stream| {
        by_name(name, outgoing, stream.fork("client")).expect("it is one of the names that there are")
    };
    Some(Ok(Box::new(make)))
}

/// The empty book of a light client. `None`: there is none of that name.
pub fn book_by_name(name: &str, stream: Stream) -> Option<Box<dyn Book>> {
    Some(match name {
        "own" => Box::new(OwnBook::new(Grouping::by_prefix(), stream)),
        "kyoto-0.1" => Box::new(Kyoto::new(Version::V0_1, stream)),
        "kyoto-0.2" => Box::new(Kyoto::new(Version::V0_2, stream)),
        "btcd" => Box::new(Btcd::new(stream)),
        "nakamoto" => Box::new(Nakamoto::new(stream)),
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
