//! Parts of the attack alone: who is drawn out of a table, how much of it an attacker fills, and what it needs to own it.

use andon_kernel::{Instant, Now, UnixTime};
use serde::Deserialize;

use super::closed_form;
use super::people::{adversary, honest as honest_node, is_adversary, trash};
use super::settings::Span;
use crate::experiment::{Measure, Model, Outcome};
use crate::policy::core::{Core, Flags, Rules, Selection as CoreSelection, Still};
use crate::policy::{Policy, Saved, Source, Told};
use crate::random::{Chance, Stream, mix};

const BEGIN: u32 = 1_420_000_000;
/// Addresses that are put up for each place of a table until it is full.
const TRIES_PER_CELL: u32 = 100;

const fn now() -> Now {
    Now { instant: Instant::ZERO, unix: UnixTime::from_secs(BEGIN as u64) }
}

fn rules(policy: &str, flags: &Flags) -> Result<Rules, String> {
    Rules::named(policy).ok_or_else(|| format!("there is no release \"{policy}\" here"))?.with(flags)
}

fn millionths(fraction: f64) -> Measure {
    Measure::Millionths((fraction * 1e6 + 0.5) as i64)
}

fn outcome(measures: &[(&'static str, Measure)]) -> Outcome {
    let digest = measures.iter().fold(0u64, |digest, (_, measure)| {
        let value = match *measure {
            Measure::Happened(happened) => i64::from(happened),
            Measure::Count(count) | Measure::Millionths(count) => count,
        };
        mix(digest.rotate_left(5) ^ value as u64)
    });
    Outcome { measures: measures.iter().copied().collect(), series: Vec::new(), digest }
}

/// Who is drawn out of a table of nodes that were reached: the bias that the paper's figures 1 and 2 show, and what its table 2
/// predicts. The table is full, a share of it the attacker's; or it holds so many of the attacker's and so many others.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SelectionSettings {
    /// By which release's rules.
    pub policy: String,
    /// What is different of them.
    #[serde(default)]
    pub flags: Flags,
    /// The attacker's share of a full table. Instead of `attackers` and `honest`.
    pub attacker: Option<f64>,
    /// The attacker's nodes.
    pub attackers: Option<usize>,
    /// All others.
    pub honest: Option<usize>,
    /// Of the others, those that were connected until the restart: just heard of.
    pub connected: usize,
    /// Since when the attacker's nodes were heard of.
    pub attacker_age: Span,
    /// Since when all others were.
    pub age: Span,
    /// For so many connections, each chosen by itself.
    pub draws: u32,
}

/// See [`SelectionSettings`]. The measures are "eclipsed", "attacker", the share of the draws, and "closed_form", what "eclipsed" is to be.
#[derive(Debug)]
pub struct Selection {
    draws: u32,
    closed_form: f64,
    /// Drawing changes nothing, and it does not matter who stands where.
    table: Still,
}

impl Selection {
    /// Checks settings.
    ///
    /// # Errors
    /// If they can't be met, with what is wrong.
    pub fn new(settings: SelectionSettings) -> Result<Self, String> {
        let rules = rules(&settings.policy, &settings.flags)?;
        let cells = (rules.tried_buckets * crate::policy::core::BUCKET_SIZE) as usize;
        let (attackers, honest) = match (settings.attacker, settings.attackers, settings.honest) {
            (Some(share), None, None) => {
                let share = Chance::new(share).ok_or("attacker: a share from 0 to 1")?;
                let attackers = share.part_of(cells as u64) as usize;
                (attackers, cells - attackers)
            }
            (None, Some(attackers), Some(honest)) => (attackers, honest),
            _ => {
                return Err(
                    "either `attacker`, a share of a full table, or `attackers` and `honest`, how many of each"
                        .into(),
                );
            }
        };
        let is_room = attackers.checked_add(honest).is_some_and(|all| (1..=cells).contains(&all));
        if !is_room || settings.connected > honest || settings.draws == 0 {
            return Err(format!(
                "attackers, honest, connected, draws: one node at least and {cells} at most, of the honest no more \
                 connected than there are, and one draw at least"
            ));
        }
        let mut stream = Stream::new(1).fork("selection");
        // In which order they find their places.
        let mut order: Vec<u8> = vec![2; attackers + honest];
        order[..attackers].fill(0);
        order[attackers..attackers + settings.connected].fill(1);
        stream.shuffle(&mut order);
        let mut book = Core::new(rules, None, &stream.fork("book"));
        for _ in 0..cells as u32 * TRIES_PER_CELL {
            let Some(&class) = order.last() else { break };
            let (address, age) = match class {
                0 => {
                    let number = stream.u64() as u32;
                    (adversary(number >> 16 & 0x3fff, number & 0xffff, 0), settings.attacker_age.0)
                }
                1 => (honest_node(true, &mut stream), 0),
                _ => (honest_node(true, &mut stream), settings.age.0),
            };
            let time = BEGIN - age as u32;
            let one = Saved { address, source: Source::Fixed, time, reached: Some(time) };
            if book.load(now(), &[one]) == 1 {
                order.pop();
            }
        }
        if !order.is_empty() {
            return Err("a table this large is not filled by chance".into());
        }
        let all = (attackers + honest) as f64;
        let closed_form = closed_form::Selection {
            attacker: attackers as f64 / all,
            connected: settings.connected as f64 / all,
            attacker_age: settings.attacker_age.0,
            age: settings.age.0,
        };
        let closed_form = match rules.selection {
            CoreSelection::Random => closed_form::power(closed_form.attacker, settings.draws.into()),
            _ => closed_form.all(settings.draws.into()),
        };
        Ok(Self { draws: settings.draws, closed_form, table: book.still() })
    }
}

impl Model for Selection {
    fn trial(&self, seed: u64) -> Outcome {
        let mut stream = Stream::new(seed);
        let mut won = 0u32;
        for _ in 0..self.draws {
            won += u32::from(self.table.draw(now(), 0, &mut stream).is_some_and(is_adversary));
        }
        let share = i64::from(won) * 1_000_000 / i64::from(self.draws);
        outcome(&[
            ("eclipsed", Measure::Happened(won == self.draws)),
            ("attacker", Measure::Millionths(share)),
            ("closed_form", millionths(self.closed_form)),
        ])
    }
}

/// How much of the tables an attacker fills that connects once from each address: the paper's figures 3 to 5.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FillSettings {
    /// By which release's rules.
    pub policy: String,
    /// What is different of them.
    #[serde(default)]
    pub flags: Flags,
    /// Groups of addresses.
    pub groups: u32,
    /// Addresses in each.
    pub per_group: u32,
    /// Addresses where nobody is that are told from each group.
    #[serde(default)]
    pub told_per_group: u32,
    /// Whether honest nodes stand everywhere among the tried.
    #[serde(default)]
    pub is_full: bool,
}

/// See [`FillSettings`]. The measures are "tried.attacker" and "new.attacker", places, and "tried.buckets" and "new.buckets", those
/// in which the attacker has a place.
#[derive(Debug)]
pub struct Fill {
    settings: FillSettings,
    rules: Rules,
}

impl Fill {
    /// Checks settings.
    ///
    /// # Errors
    /// If they can't be met, with what is wrong.
    pub fn new(settings: FillSettings) -> Result<Self, String> {
        let rules = rules(&settings.policy, &settings.flags)?;
        if settings.groups > 1 << 14 || settings.per_group > 1 << 16 {
            return Err("groups, per_group: up to 16384 groups of up to 65536".into());
        }
        Ok(Self { settings, rules })
    }
}

impl Model for Fill {
    fn trial(&self, seed: u64) -> Outcome {
        let root = Stream::new(seed);
        let mut stream = root.fork("world");
        let mut book = Core::new(self.rules, None, &root.fork("book"));
        let key = stream.below(1 << 14) as u32;
        let cells = self.rules.tried_buckets * crate::policy::core::BUCKET_SIZE;
        let mut missing = if self.settings.is_full { cells as usize } else { 0 };
        for _ in 0..TRIES_PER_CELL * cells {
            if missing == 0 {
                break;
            }
            let address = honest_node(true, &mut stream);
            let one = Saved { address, source: Source::Fixed, time: BEGIN, reached: Some(BEGIN) };
            missing -= book.load(now(), &[one]);
        }
        let mut message = Vec::new();
        for group in 0..self.settings.groups {
            for index in 0..self.settings.per_group {
                book.accepted(now(), adversary(group, index, key));
            }
            let mut left = self.settings.told_per_group;
            while left > 0 {
                let size = left.min(1000);
                message.clear();
                message.extend((0..size).map(|_| Told {
                    address: trash(&mut stream),
                    time: BEGIN,
                    serves: true,
                }));
                book.hear(now(), Source::Peer(adversary(group, 0, key)), &message, false);
                left -= size;
            }
        }
        let census = book.census(&mut is_adversary);
        let (tried, new) = book.buckets(&mut is_adversary);
        let count = |number: u32| Measure::Count(number.into());
        outcome(&[
            ("tried.attacker", count(census.tried_adversary)),
            ("new.attacker", count(census.new_adversary)),
            ("tried.buckets", count(tried)),
            ("new.buckets", count(new)),
        ])
    }
}

/// A table in which each address has one place, whoever stands in it, and all are as likely to be drawn: what countermeasures 1, 2, 3, 6
/// and 7 make of the tried.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Places. Or buckets, if the attacker's addresses fill each that they reach.
    pub cells: u32,
    /// Honest addresses that came into it before. Without it one stands in every place.
    pub honest: Option<u32>,
    /// Which share of them is live.
    pub live: f64,
    /// Addresses that the attacker connects from. Or buckets that it reaches, each for itself: four for each of its groups.
    pub attackers: u32,
    /// Whether who stands there is tested, and stays if he is live (countermeasure 3).
    #[serde(default)]
    pub is_tested: bool,
    /// For so many connections, each chosen by itself.
    pub draws: u32,
}

impl Table {
    /// Checks settings.
    ///
    /// # Errors
    /// If they can't be met, with what is wrong.
    pub fn check(self) -> Result<Self, String> {
        if self.cells == 0 || self.cells > 1 << 20 || self.draws == 0 {
            return Err("cells, draws: up to 2^20 places, and one draw at least".into());
        }
        Chance::new(self.live).ok_or("live: a share from 0 to 1")?;
        Ok(self)
    }
}

impl Table {
    fn closed_form(&self) -> f64 {
        let (cells, attackers) = (self.cells.into(), self.attackers.into());
        let draws = self.draws.into();
        match self.honest {
            Some(honest) => {
                let (honest, live, is_tested) = (honest.into(), self.live, self.is_tested);
                closed_form::Tested { cells, honest, live, attackers, is_tested }.all_draws(draws)
            }
            None => closed_form::all_draws_among(cells, attackers, self.live, self.is_tested, draws),
        }
    }
}

/// Who stands in a place.
#[derive(Clone, Copy, PartialEq)]
enum Stands {
    Nobody,
    Dead,
    Live,
    Attacker,
}

impl Model for Table {
    fn trial(&self, seed: u64) -> Outcome {
        let mut stream = Stream::new(seed);
        let live = Chance::new(self.live).expect("it was checked");
        let one = |stream: &mut Stream| if stream.happens(live) { Stands::Live } else { Stands::Dead };
        let mut table = vec![Stands::Nobody; self.cells as usize];
        match self.honest {
            None => table.iter_mut().for_each(|place| *place = one(&mut stream)),
            Some(honest) => {
                for _ in 0..honest {
                    let place = stream.index(table.len());
                    table[place] = one(&mut stream);
                }
            }
        }
        for _ in 0..self.attackers {
            let place = stream.index(table.len());
            if !(self.is_tested && table[place] == Stands::Live) {
                table[place] = Stands::Attacker;
            }
        }
        let count = |who: Stands| table.iter().filter(|held| **held == who).count();
        let (attackers, honest) = (count(Stands::Attacker) as u64, count(Stands::Live) as u64);
        // Whoever is dead is not reached, and another one is drawn.
        let answering = attackers + honest;
        let is_eclipsed = answering > 0 && (0..self.draws).all(|_| stream.below(answering) < attackers);
        outcome(&[
            ("eclipsed", Measure::Happened(is_eclipsed)),
            ("attacker", Measure::Count(attackers as i64)),
            ("closed_form", millionths(self.closed_form())),
        ])
    }
}
