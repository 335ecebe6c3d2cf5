//! How much of the table of new nodes addresses of so many prefixes reach.

use serde::Deserialize;

use super::tables::{Rules, Tables};
use crate::experiment::{Measure, Model, Outcome};
use crate::random::{Stream, mix};

/// Nodes of so many groups tell of nodes of the same groups.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fill {
    /// How many groups.
    pub groups: u32,
    /// How many nodes are told of.
    pub told: u32,
}

impl Fill {
    pub(super) fn check(&self) -> Result<(), String> {
        if !(1..=60_000).contains(&self.groups) || !(1..=50_000_000).contains(&self.told) {
            return Err("groups are 1 to 60000, and nodes that are told of 1 to 50000000".to_owned());
        }
        Ok(())
    }
}

impl Model for Fill {
    /// - `buckets`, `cells`: how many of the 1024 buckets, and of their 65 536 cells, are reached.
    /// - `paper`: buckets by the paper's formula, 1024(1 - (1 - 1/1024)^(g²)).
    /// - `corrected`: the same, but that a group of sources reaches 64 buckets: with g·64(1 - (63/64)^g) as exponent.
    fn trial(&self, seed: u64) -> Outcome {
        let mut stream = Stream::new(seed).fork("fill");
        let mut tables = Tables::new(Rules::CORE, stream.u64());
        let groups = u64::from(self.groups);
        let now = 1_546_300_800;
        for node in 0..self.told {
            let (group, source) = (stream.below(groups) as u16, stream.below(groups) as u16);
            tables.add(node, group, source, now, 0, now, &mut stream);
        }
        let [new, _] = tables.cells();
        let (buckets, cells) = (i64::from(tables.new_buckets()), new.count() as i64);
        let missed = |exponent: f64| 1024.0 * (1.0 - power(1023.0 / 1024.0, exponent as u32));
        let shares = 64.0 * (1.0 - power(63.0 / 64.0, self.groups));
        let paper = missed(f64::from(self.groups.min(10_000)) * f64::from(self.groups.min(10_000)));
        let corrected = missed(f64::from(self.groups) * shares);
        let measures = [
            ("buckets", Measure::Count(buckets)),
            ("cells", Measure::Count(cells)),
            ("paper", Measure::Millionths((paper * 1e6) as i64)),
            ("corrected", Measure::Millionths((corrected * 1e6) as i64)),
        ];
        let digest = mix(mix(mix(seed) ^ buckets as u64) ^ cells as u64);
        Outcome { measures: measures.into(), series: Vec::new(), digest }
    }
}

/// By multiplications alone: the same on every machine.
fn power(base: f64, exponent: u32) -> f64 {
    let (mut result, mut square, mut rest) = (1.0, base, exponent);
    while rest > 0 {
        if rest % 2 == 1 {
            result *= square;
        }
        square *= square;
        rest /= 2;
    }
    result
}
