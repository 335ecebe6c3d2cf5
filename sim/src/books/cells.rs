//! The places that somebody can take in an empty book.

use serde::Deserialize;

use super::{NOW, sources};
use crate::experiment::{Measure, Model, Outcome};
use crate::nearest::{hint, short};
use crate::policy::named::book_by_name;
use crate::policy::{Address, Source};
use crate::random::{Stream, mix};

/// So many nodes, each of another group, tell of nodes of so many groups; and those are reached, if the question is about the
/// table of nodes that were.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cells {
    /// Which light client's.
    pub book: String,
    /// Which table.
    pub table: Table,
    /// How many groups of sources.
    pub sources: u32,
    /// How many nodes each tells of.
    pub told: u32,
    /// Of how many groups those are.
    pub groups: u32,
    /// Whether the sources' groups are chosen so that each fills what the others do not: that takes a book whose placement
    /// anybody can compute.
    #[serde(default)]
    pub aimed: bool,
}

/// A table of a book.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Table {
    /// Nodes that were heard of.
    New,
    /// Nodes that were reached.
    Tried,
}

/// Nodes that are told of at most: many times as many as any book has places.
pub(super) const MOST_TOLD: u64 = 10_000_000;

impl Cells {
    pub(super) fn check(&self) -> Result<(), String> {
        check_book(&self.book, self.aimed)?;
        if self.aimed && self.sources > 8 {
            return Err("sources have eight parts of Kyoto's table to aim at".to_owned());
        }
        if u64::from(self.sources) * u64::from(self.told) > MOST_TOLD {
            return Err(format!("all sources together tell of {MOST_TOLD} nodes at most"));
        }
        if self.sources == 0 || self.groups == 0 || self.sources + self.groups > sources::GROUPS {
            return Err(format!(
                "sources and groups are at least one each, and {} together at most",
                sources::GROUPS
            ));
        }
        Ok(())
    }
}

pub(super) fn check_book(book: &str, is_aimed: bool) -> Result<(), String> {
    if book_by_name(book, Stream::new(0)).is_none() {
        let names = crate::policy::named::LIGHT_CLIENTS.join(", ");
        let hint = hint(book, crate::policy::named::LIGHT_CLIENTS);
        return Err(format!("no light client is called `{}`, but {names}{hint}", short(book)));
    }
    if is_aimed && !book.starts_with("kyoto") {
        return Err(format!("nobody can tell where in `{book}` an address stands, so nobody can aim"));
    }
    Ok(())
}

impl Model for Cells {
    /// - `cells`: the places that are taken.
    /// - `buckets`: in how many buckets.
    fn trial(&self, seed: u64) -> Outcome {
        let stream = Stream::new(seed);
        let mut draws = stream.fork("addresses");
        let mut book = book_by_name(&self.book, stream.fork("book")).expect("the settings were checked");
        let mut groups = sources::groups(&mut draws);
        let theirs: Vec<u16> = groups.by_ref().take(self.groups as usize).collect();
        let tellers: Vec<u16> = if self.aimed {
            sources::aimed(groups, 0, 0).into_iter().take(self.sources as usize).collect()
        } else {
            groups.take(self.sources as usize).collect()
        };
        for teller in tellers {
            let teller = Source::Peer(Address { ip: sources::source(teller).to_bits(), port: 8333 });
            for _ in 0..self.told {
                let told = sources::node(theirs[draws.index(theirs.len())], &mut draws);
                book.hear(NOW, teller, &[told]);
                if self.table == Table::Tried {
                    book.reached(NOW, told.address);
                }
            }
        }
        let census = book.census(&mut |_| true);
        let buckets = book.buckets(&mut |_| true);
        let (cells, buckets) = match self.table {
            Table::New => (census.new, buckets.0),
            Table::Tried => (census.tried, buckets.1),
        };
        let counts = [("cells", cells), ("buckets", buckets)];
        let digest = counts.iter().fold(mix(seed), |digest, (_, count)| mix(digest ^ u64::from(*count)));
        let measures = counts.map(|(name, count)| (name, Measure::Count(i64::from(count)))).into();
        Outcome { measures, series: Vec::new(), digest }
    }
}
