//! Bitcoin Core's address manager and the rules by which it connects, of three releases, with every countermeasure that came
//! in between as a switch.
//!
//! What a node stands for is its IPv4 address and port; nothing is hashed as slowly as a real node must. The rules are
//! those of the releases: see [`Rules`]. Where a release decides by floating-point numbers, whole numbers decide here, to 32
//! binary places.

mod book;
mod connections;
#[cfg(test)]
mod differential;
mod entry;
mod grid;
mod index;
mod moves;
mod placement;
mod rules;
mod select;

use std::io::Read;

pub use connections::{Core, Still};
pub use rules::{BUCKET_SIZE, Eviction, Flags, MAX_BUCKETS, NewTable, Rules, Selection};

/// How to make nodes of a release by its name: see [`Flags`], and `as_map`, the path of a map of autonomous systems. `None`: there
/// is no release of that name here.
pub(super) fn load(name: &str, mut flags: toml::Table) -> Option<Result<super::Make, String>> {
    let rules = Rules::named(name)?;
    let mut make = || {
        let map = flags.remove("as_map").filter(|path| path.as_str() != Some(""));
        let map = map.map(|path| {
            let path = path.as_str().ok_or("as_map: the path of a file")?;
            let bytes = read(path).map_err(|error| format!("{path}: {error}"))?;
            andon_bitcoin::addresses::AsMap::new(bytes).map_err(|error| format!("{path}: {error}"))
        });
        let map = map.transpose()?;
        let flags: Flags = flags.clone().try_into().map_err(|error: toml::de::Error| error.to_string())?;
        let rules = rules.with(&flags)?;
        let make: super::Make = Box::new(move |stream| Box::new(Core::new(rules, map.clone(), stream)));
        Ok(make)
    };
    Some(make())
}

/// A map has a few megabytes. What is longer is none, or has no end.
const LARGEST_MAP: u64 = 1 << 26;

fn read(path: &str) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(LARGEST_MAP + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST_MAP {
        return Err(std::io::Error::other(format!("a map has at most {LARGEST_MAP} bytes")));
    }
    Ok(bytes)
}
