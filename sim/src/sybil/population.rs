//! The honest nodes, by the groups that they are in.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use andon_bitcoin::addresses::{AsMap, Grouping, is_routable};
use andon_bitcoin::wire::Host;
use serde::Deserialize;

/// Who the honest nodes are.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "shape", rename_all = "lowercase", deny_unknown_fields)]
pub enum Honest {
    /// Each in a group of its own.
    Homogeneous {
        /// How many.
        count: u32,
    },
    /// In autonomous systems as the nodes of a real address book that were reached, and in the /16s of these.
    Real {
        /// How many.
        count: u32,
        /// Systems that are left out.
        #[serde(default)]
        without: Vec<u32>,
    },
}

/// A group as it is told apart: a system, or a /16.
pub(super) type Group = u32;

/// Where a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) system: Group,
    pub(super) prefix: Group,
}

/// Where nodes are.
#[derive(Debug)]
pub(super) struct Population {
    /// One for each node of the sample: honest nodes are drawn from it.
    pub(super) sample: Vec<Place>,
    /// Systems, those with the most nodes first, with all /16s of each.
    pub(super) systems: Vec<(Group, Vec<Group>)>,
}

impl Honest {
    pub(super) const fn count(&self) -> u32 {
        match self {
            Self::Homogeneous { count } | Self::Real { count, .. } => *count,
        }
    }

    pub(super) fn population(&self) -> Result<Population, String> {
        match self {
            Self::Homogeneous { count } => {
                let sample = (0..*count).map(|node| Place { system: node, prefix: node }).collect();
                Ok(Population { sample, systems: Vec::new() })
            }
            Self::Real { without, .. } => {
                let folder = folder()
                    .ok_or("skipped: no chain data: a population of real shape needs ANDON_CHAIN_DATA")?;
                Population::read(&folder.join("p2p"), without)
            }
        }
    }
}

/// Where real data are.
pub(super) fn folder() -> Option<PathBuf> {
    std::env::var_os("ANDON_CHAIN_DATA").map(PathBuf::from).filter(|folder| folder.is_dir())
}

/// The groups of the attacker's own, where it has not those of a system: above all others.
pub(super) const OWN_GROUPS_FROM: Group = 1 << 31;

impl Population {
    fn read(folder: &Path, without: &[u32]) -> Result<Self, String> {
        let book = String::from_utf8(decompressed(&folder.join("addrman-2026-02-asn.csv.xz"))?);
        let book = book.map_err(|error| error.to_string())?;
        let map = AsMap::new(decompressed(&folder.join("asmap-1764864000.dat.xz"))?);
        let grouping = Grouping::by_map(map.map_err(|error| error.to_string())?);
        // Which system has which /16, by an address in the middle of it.
        let mut prefixes: BTreeMap<Group, Vec<Group>> = BTreeMap::new();
        for prefix in 0x0100..0xe000u32 {
            let host = Host::Ip(core::net::Ipv4Addr::from_bits(prefix << 16 | 0x8001).into());
            if is_routable(&host)
                && let Some(system) = grouping.autonomous_system(&host)
            {
                prefixes.entry(system).or_default().push(prefix);
            }
        }
        let mut counts: BTreeMap<Group, u32> = BTreeMap::new();
        for line in book.lines().skip(1) {
            let columns: Vec<&str> = line.split(',').collect();
            let [network, system, port, _, _, _, tried, _] = columns[..] else {
                return Err(format!(
                    "a line of the address book has {} columns, and not eight",
                    columns.len()
                ));
            };
            let system = system.parse().map_err(|_| format!("`{system}` is no autonomous system"))?;
            if network == "ipv4" && port == "8333" && tried == "1" && !without.contains(&system) {
                *counts.entry(system).or_default() += 1;
            }
        }
        let mut systems: Vec<(Group, u32)> = counts.into_iter().collect();
        systems.sort_by_key(|(system, count)| (core::cmp::Reverse(*count), *system));
        let taken: BTreeSet<Group> = prefixes.values().flatten().copied().collect();
        let mut spare = (0x1_0000..).filter(|prefix| !taken.contains(prefix));
        let mut sample = Vec::new();
        let mut places = Vec::new();
        for (system, count) in systems {
            // One that has no /16 of its own has a part of one.
            let prefixes = prefixes.remove(&system).unwrap_or_else(|| spare.by_ref().take(1).collect());
            let prefix =
                |node: u32| prefixes[(crate::random::mix(node.into()) % prefixes.len() as u64) as usize];
            sample.extend((0..count).map(|node| Place { system, prefix: prefix(node) }));
            places.push((system, prefixes));
        }
        if sample.is_empty() {
            return Err("the address book has no node that was reached".to_owned());
        }
        Ok(Self { sample, systems: places })
    }
}

fn decompressed(path: &Path) -> Result<Vec<u8>, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut plain = Vec::new();
    lzma_rs::xz_decompress(&mut bytes.as_slice(), &mut plain)
        .map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(plain)
}
