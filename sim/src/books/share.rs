//! How often an attacker is drawn from a book in which others were before.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{NOW, cells, sources};
use crate::experiment::{Measure, Model, Outcome};
use crate::policy::kyoto::Kyoto;
use crate::policy::named::book_by_name;
use crate::policy::{Address, Source, Told};
use crate::random::{Stream, mix};

/// DNS seeds answer, then an attacker's nodes tell of others of the attacker's, all of different groups.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// Which light client's.
    pub book: String,
    /// Seeds that answer.
    pub seeds: u8,
    /// Addresses in each answer.
    pub answer: u32,
    /// Groups of the attacker's that tell.
    pub attackers: u32,
    /// Nodes that each of these tells of.
    pub told: u32,
    /// How many parts of Kyoto's table lie from where the seeds' addresses stand to where the attacker's first group has its
    /// place. The attacker can choose, since anybody can compute it. Without it the groups are random ones.
    #[serde(default)]
    pub offset: Option<u32>,
    /// How often is drawn.
    pub draws: u32,
}

/// Kyoto takes all seeds for this address.
const KYOTO_SEEDS: core::net::Ipv4Addr = core::net::Ipv4Addr::new(1, 1, 1, 1);

impl Share {
    pub(super) fn check(&self) -> Result<(), String> {
        cells::check_book(&self.book, self.offset.is_some())?;
        let groups = u64::from(self.seeds) * u64::from(self.answer) + u64::from(self.attackers);
        if groups + u64::from(HOSTS) > u64::from(sources::GROUPS) {
            return Err(format!(
                "there are {} groups for all that tell and that seeds tell of",
                sources::GROUPS
            ));
        }
        if self.offset.is_some() && self.attackers != 1 {
            return Err("with an offset there is one attacker".to_owned());
        }
        if u64::from(self.attackers) * u64::from(self.told) > cells::MOST_TOLD {
            return Err(format!("all attackers together tell of {} nodes at most", cells::MOST_TOLD));
        }
        if !(1..=MOST_DRAWS).contains(&self.draws) {
            return Err(format!("draws are 1 to {MOST_DRAWS}"));
        }
        Ok(())
    }
}

const MOST_DRAWS: u32 = 10_000_000;
/// Groups of the nodes that the attacker tells of.
const HOSTS: u32 = 1000;

impl Model for Share {
    /// - `share`: the part of the draws that is the attacker's.
    /// - `cells`, `honest`: the places that are the attacker's, and the others' that are left.
    /// - `bias`: how much oftener the node that was drawn most is drawn than the one that was drawn least.
    fn trial(&self, seed: u64) -> Outcome {
        let stream = Stream::new(seed);
        let mut random = stream.fork("addresses");
        let mut book = book_by_name(&self.book, stream.fork("book")).expect("the settings were checked");
        let mut groups = sources::groups(&mut random);
        for seed in 0..self.seeds {
            let answer: Vec<Told> = groups
                .by_ref()
                .take(self.answer as usize)
                .map(|group| sources::node(group, &mut random))
                .collect();
            book.hear(NOW, Source::DnsSeed(seed), &answer);
        }
        let mut hosts: Vec<u16> = groups.by_ref().take(HOSTS as usize).collect();
        hosts.sort_unstable();
        let attackers: Vec<u16> = match self.offset {
            Some(offset) => {
                sources::aimed(groups, Kyoto::part(KYOTO_SEEDS), offset).into_iter().take(1).collect()
            }
            None => groups.take(self.attackers as usize).collect(),
        };
        let is_adversary = |address: Address| hosts.binary_search(&address.slash16()).is_ok();
        for attacker in attackers {
            let attacker = Source::Peer(Address { ip: sources::source(attacker).to_bits(), port: 8333 });
            for _ in 0..self.told {
                let told = sources::node(hosts[random.index(hosts.len())], &mut random);
                book.hear(NOW, attacker, &[told]);
            }
        }
        let census = book.census(&mut { is_adversary });
        let mut drawn: BTreeMap<Address, i64> = BTreeMap::new();
        let mut later = NOW.as_secs();
        for _ in 0..self.draws {
            if let Some(one) = book.draw(andon_kernel::UnixTime::from_secs(later)) {
                *drawn.entry(one.address).or_default() += 1;
            }
            // Whoever was drawn may be drawn again.
            later += 600;
        }
        let all: i64 = drawn.values().sum();
        let theirs: i64 =
            drawn.iter().filter(|(address, _)| is_adversary(**address)).map(|(_, count)| count).sum();
        let most = drawn.values().max().copied().unwrap_or(0);
        let least = drawn.values().min().copied().unwrap_or(1);
        let digest = drawn.iter().fold(mix(seed), |digest, (address, count)| {
            mix(mix(digest ^ u64::from(address.ip)) ^ *count as u64)
        });
        let measures = [
            ("share", Measure::Millionths(theirs * 1_000_000 / all.max(1))),
            ("cells", Measure::Count(i64::from(census.new_adversary))),
            ("honest", Measure::Count(i64::from(census.new - census.new_adversary))),
            ("bias", Measure::Millionths(most * 1_000_000 / least)),
        ];
        Outcome { measures: measures.into(), series: Vec::new(), digest }
    }
}
