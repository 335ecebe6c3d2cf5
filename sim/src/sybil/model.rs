//! Nodes that each choose their outgoing connections, one of a group, among all that there are.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::population::{Honest, OWN_GROUPS_FROM, Place, Population};
use crate::experiment::{Measure, Model, Outcome};
use crate::random::{Stream, mix};

/// The settings, as they are written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    honest: Honest,
    attack: Attack,
    grouped: Grouped,
    slots: u32,
    victims: u32,
    share: f64,
}

/// A passive Sybil.
#[derive(Debug)]
pub struct Sybil {
    settings: Settings,
    population: Population,
}

/// Where the attacker's nodes are.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(tag = "where", rename_all = "lowercase", deny_unknown_fields)]
pub enum Attack {
    /// Each in a group of its own.
    Anywhere,
    /// As the honest ones are.
    Alike,
    /// In the systems that have the most honest nodes: where machines are let.
    Largest {
        /// How many systems.
        systems: u32,
        /// /16s in each, if it has as many.
        prefixes: u32,
    },
    /// In systems with no honest node.
    Own {
        /// How many systems.
        systems: u32,
        /// /16s in each.
        prefixes: u32,
    },
}

/// What two outgoing connections must not have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Grouped {
    /// Anything may be.
    Not,
    /// The /16.
    Prefix,
    /// The autonomous system.
    System,
}

/// More nodes than this are not tried.
const MOST: u64 = 1 << 24;
/// Draws for one connection at most. A node that finds nobody has nobody of the attacker's there either.
const MOST_DRAWS: u32 = 10_000;

impl Sybil {
    pub(super) fn new(settings: Settings) -> Result<Self, String> {
        let Settings { honest, attack, slots, victims, share, .. } = &settings;
        if !(1..=10_000_000).contains(&honest.count()) || !(1..=1000).contains(slots) {
            return Err("honest nodes are 1 to 10000000, slots 1 to 1000".to_owned());
        }
        if *victims == 0 || !(*share > 0.0 && *share < 1.0) {
            return Err("victims are one at least, and the share is between 0 and 1".to_owned());
        }
        if let Attack::Largest { systems, prefixes } | Attack::Own { systems, prefixes } = attack
            && (*systems == 0 || *prefixes == 0 || *systems > 100_000 || *prefixes > 10_000)
        {
            return Err("the attacker's systems are 1 to 100000, with 1 to 10000 prefixes each".to_owned());
        }
        let population = honest.population()?;
        if matches!(attack, Attack::Largest { .. }) && population.systems.is_empty() {
            return Err("without real data no system is larger than another".to_owned());
        }
        Ok(Self { settings, population })
    }

    /// Where the attacker's node of that number is.
    fn attacker(&self, number: u64, salt: u64) -> Place {
        let own = |system: u64, prefix: u64| Place {
            system: OWN_GROUPS_FROM + system as u32,
            prefix: OWN_GROUPS_FROM + prefix as u32,
        };
        match self.settings.attack {
            Attack::Anywhere => own(number, number),
            Attack::Alike => {
                self.population.sample[(mix(salt ^ number) % self.population.sample.len() as u64) as usize]
            }
            Attack::Largest { systems, prefixes } => {
                let systems = u64::from(systems).min(self.population.systems.len() as u64);
                let (system, theirs) = &self.population.systems[(number % systems) as usize];
                let count = u64::from(prefixes).min(theirs.len() as u64);
                Place { system: *system, prefix: theirs[(number / systems % count) as usize] }
            }
            Attack::Own { systems, prefixes } => {
                let (systems, prefixes) = (u64::from(systems), u64::from(prefixes));
                let system = number % systems;
                own(system, system * prefixes + number / systems % prefixes)
            }
        }
    }

    const fn group(&self, place: Place) -> u32 {
        match self.settings.grouped {
            Grouped::System => place.system,
            Grouped::Prefix | Grouped::Not => place.prefix,
        }
    }

    /// Of so many victims, how many have chosen only the attacker's nodes, if it has `attackers`.
    fn eclipsed(&self, attackers: u64, honest: &[Place], stream: &Stream, salt: u64) -> u32 {
        let mut stream = stream.fork("victims");
        let all = honest.len() as u64 + attackers;
        let mut eclipsed = 0;
        let mut groups = Vec::new();
        let mut chosen = Vec::new();
        for _ in 0..self.settings.victims {
            groups.clear();
            chosen.clear();
            // The same numbers for any count of attackers: then more of them eclipse more.
            let seed = stream.u64();
            let mut draw = 0;
            let is_eclipsed = (0..self.settings.slots).all(|_| {
                for _ in 0..MOST_DRAWS {
                    draw += 1;
                    let node = ((u128::from(mix(seed ^ mix(draw))) * u128::from(all)) >> 64) as u64;
                    // The honest ones are the last, so that more attackers make of an honest node an attacker's.
                    let place = match node.checked_sub(attackers) {
                        Some(honest_node) => honest[honest_node as usize],
                        None => self.attacker(node, salt),
                    };
                    let group = self.group(place);
                    let is_free = match self.settings.grouped {
                        Grouped::Not => !chosen.contains(&node),
                        Grouped::Prefix | Grouped::System => !groups.contains(&group),
                    };
                    if is_free {
                        groups.push(group);
                        chosen.push(node);
                        return node < attackers;
                    }
                }
                false
            });
            eclipsed += u32::from(is_eclipsed);
        }
        eclipsed
    }

    /// In how many systems the connections of a node are, without an attack: how many nodes have eight at least, and ten.
    fn diversity(&self, honest: &[Place], stream: &Stream) -> (u32, u32) {
        let mut stream = stream.fork("diversity");
        let (mut eight, mut ten) = (0, 0);
        for _ in 0..self.settings.victims {
            let (mut groups, mut systems) = (BTreeSet::new(), BTreeSet::new());
            for _ in 0..MOST_DRAWS {
                if groups.len() == self.settings.slots as usize {
                    break;
                }
                let node = stream.index(honest.len());
                let group = if self.settings.grouped == Grouped::Not {
                    node as u32
                } else {
                    self.group(honest[node])
                };
                if groups.insert(group) {
                    systems.insert(honest[node].system);
                }
            }
            eight += u32::from(systems.len() >= 8);
            ten += u32::from(systems.len() >= 10);
        }
        (eight, ten)
    }
}

impl Model for Sybil {
    /// - `needed`: nodes that it takes; none, if even sixteen millions are too few.
    /// - `eight`, `ten`: the share of nodes whose connections are in as many systems at least, without an attack.
    fn trial(&self, seed: u64) -> Outcome {
        let mut stream = Stream::new(seed).fork("sybil");
        let salt = stream.u64();
        let Settings { honest, victims, share, .. } = &self.settings;
        let honest: Vec<Place> = match honest {
            Honest::Homogeneous { .. } => self.population.sample.clone(),
            Honest::Real { count, .. } => (0..*count)
                .map(|_| self.population.sample[stream.index(self.population.sample.len())])
                .collect(),
        };
        let enough = (f64::from(*victims) * share).ceil() as u32;
        let mut outcome = Outcome::default();
        let is_enough = |attackers| self.eclipsed(attackers, &honest, &stream, salt) >= enough;
        let mut digest = mix(seed);
        if is_enough(MOST) {
            let (mut few, mut many) = (0, MOST);
            // To a thousandth.
            while many - few > 1 + few / 1000 {
                let middle = few + (many - few) / 2;
                if is_enough(middle) {
                    many = middle;
                } else {
                    few = middle;
                }
            }
            digest = mix(digest ^ many);
            outcome.measures.insert("needed", Measure::Count(many as i64));
        }
        let (eight, ten) = self.diversity(&honest, &stream);
        let millionths = |count: u32| i64::from(count) * 1_000_000 / i64::from(*victims);
        outcome.measures.insert("eight", Measure::Millionths(millionths(eight)));
        outcome.measures.insert("ten", Measure::Millionths(millionths(ten)));
        outcome.digest = mix(mix(digest ^ u64::from(eight)) ^ u64::from(ten));
        outcome
    }
}
