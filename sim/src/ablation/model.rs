//! A node with a rule or without it.

use serde::Deserialize;

use super::network::{Gossip, Network, Size};
use crate::erebus::world::Churn;
use crate::experiment::{Measure, Model, Outcome};
use crate::policy::{self, Policy, Purpose, Source, Told};
use crate::random::{Chance, Stream, mix};

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    policy: String,
    #[serde(default)]
    flags: toml::Table,
    days: u32,
    honest: Honest,
    #[serde(default)]
    attack: Option<Attack>,
    /// Flags of a node in the same world, without the attack, that this one is compared with.
    #[serde(default)]
    compare: Option<toml::Table>,
}

/// The network as the node hears of it.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Honest {
    /// Nodes that can be reached.
    pub reachable: u32,
    /// Nodes that are told of and can't.
    pub unreachable: u32,
    /// The share of addresses told that are of the former.
    pub told_reachable: f64,
    /// Addresses told in a thousand seconds.
    pub told_per_1000s: u32,
    /// Nodes that connect to the node in a day, each of those that can be reached, and say that they listen. It takes all of them.
    #[serde(default)]
    pub connect_per_day: u32,
    /// How likely a node that is up goes away on a day.
    pub leaves_per_day: f64,
    /// How likely it is then gone for good; else it is back a day later.
    pub for_good: f64,
}

/// What the attacker does after those days.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Attack {
    /// So many nodes connect to the node, each of another group, and tell a thousand addresses of its own each minute.
    Flood {
        /// How many.
        connections: u32,
        /// For how many minutes.
        minutes: u32,
    },
    /// So many nodes connect to the node, each once.
    Incoming {
        /// How many.
        nodes: u32,
        /// Their /16s.
        groups: u32,
    },
    /// So many of the attacker's nodes, of so many /16s, are told of as this share of gossip for so many days. Then the node restarts.
    Restart {
        /// How many.
        nodes: u32,
        /// Their /16s.
        groups: u32,
        /// The share.
        told: f64,
        /// Days.
        days: u32,
    },
}

/// A node in a network for some days, and then an attack.
pub struct Ablation {
    settings: Settings,
    make: policy::Make,
    compare: Option<policy::Make>,
}

/// How many addresses a flood tells of: more than there are places.
const FLOOD_NODES: u32 = 200_000;
const FLOOD_GROUPS: u32 = 1000;
const MESSAGE: usize = 1000;
/// A /16 has a few more addresses; who looks for a free one looks the longer the fewer are left.
const MOST_PER_GROUP: u32 = 50_000;

impl Ablation {
    pub(super) fn new(settings: Settings) -> Result<Self, String> {
        let Settings { days, honest, attack, .. } = &settings;
        let shares = [honest.told_reachable, honest.leaves_per_day, honest.for_good];
        let told = if let Some(Attack::Restart { told, .. }) = attack { *told } else { 0.0 };
        if shares.into_iter().chain([told]).any(|share| Chance::new(share).is_none()) {
            return Err("shares and probabilities are from 0 to 1".to_owned());
        }
        let (nodes, groups, more_days) = match attack {
            Some(Attack::Incoming { nodes, groups }) => (*nodes, *groups, 0),
            Some(Attack::Restart { nodes, groups, days, .. }) => (*nodes, *groups, *days),
            Some(Attack::Flood { connections, minutes }) => {
                (*connections, *connections, minutes.div_ceil(24 * 60))
            }
            None => (1, 1, 0),
        };
        if !(1..=1_000_000).contains(&nodes)
            || !(1..=10_000).contains(&groups)
            || groups > nodes
            || matches!(attack, Some(Attack::Flood { .. }) if groups > FLOOD_GROUPS)
        {
            return Err(
                "the attacker's nodes are 1 to 1000000, of 1 to 10000 groups, one for each connection"
                    .to_owned(),
            );
        }
        if nodes.div_ceil(groups) > MOST_PER_GROUP {
            return Err(format!("a group has room for {MOST_PER_GROUP} of the attacker's nodes"));
        }
        if !(100..=100_000).contains(&honest.reachable) || !(1..=1_000_000).contains(&honest.unreachable) {
            return Err("reachable nodes are 100 to 100000, others 1 to 1000000".to_owned());
        }
        if honest.connect_per_day > 100_000 {
            return Err("a hundred thousand nodes connect in a day at most".to_owned());
        }
        if honest.told_per_1000s > 100_000 || !(1..=400).contains(&days.saturating_add(more_days)) {
            return Err("days are 1 to 400, and a hundred addresses in a second are told at most".to_owned());
        }
        let make = policy::load(&settings.policy, settings.flags.clone())?;
        let compare =
            settings.compare.clone().map(|flags| policy::load(&settings.policy, flags)).transpose()?;
        Ok(Self { settings, make, compare })
    }

    /// The node after those days.
    fn lived(&self, make: &policy::Make, stream: &Stream) -> (Box<dyn Policy>, Network) {
        let mut policy = make(&stream.fork("policy"));
        let mut network = self.network(stream.fork("network"));
        network.start(&mut *policy);
        for _ in 0..self.settings.days {
            network.day(&mut *policy);
        }
        (policy, network)
    }

    fn network(&self, stream: Stream) -> Network {
        let Settings { days, honest, attack, .. } = &self.settings;
        let chance = |share| Chance::new(share).expect("the settings were checked");
        let (attackers, attacker_groups, more) = match *attack {
            Some(Attack::Flood { minutes, .. }) => (FLOOD_NODES, FLOOD_GROUPS, minutes.div_ceil(24 * 60)),
            Some(Attack::Incoming { nodes, groups }) => (nodes, groups, 0),
            Some(Attack::Restart { nodes, groups, days, .. }) => (nodes, groups, days),
            None => (0, 1, 0),
        };
        let days = days + more;
        let Honest { reachable, unreachable, .. } = *honest;
        let size = Size { reachable, unreachable, days, attackers, attacker_groups };
        let gossip = Gossip {
            reachable: chance(honest.told_reachable),
            per_1000s: honest.told_per_1000s,
            connect_per_day: honest.connect_per_day,
        };
        let churn = Churn { leaves: chance(honest.leaves_per_day), for_good: chance(honest.for_good) };
        Network::new(&size, gossip, churn, stream)
    }
}

impl Model for Ablation {
    /// - `tried`: nodes among the tried after those days.
    /// - `ratio`: how many times as many as the other node's, where one is compared with.
    /// - `reached_per_day`, `feelers_per_day`: dials that were answered, and that only tested, on average.
    ///
    /// After a flood or incoming connections: `new_theirs`, `tried_theirs`, the attacker's places. After a restart: `owned`, whether
    /// all full connections are the attacker's; `anchored`, whether an honest node of the last run answered; `eclipsed`, whether all
    /// connections are the attacker's; and `impossible`, whether that came about with an anchor, or without owning the full ones.
    fn trial(&self, seed: u64) -> Outcome {
        let stream = Stream::new(seed).fork("ablation");
        let (mut policy, mut network) = self.lived(&self.make, &stream);
        let mut outcome = Outcome::default();
        let mut set = |name, measure| outcome.measures.insert(name, measure);
        let days = i64::from(self.settings.days);
        let tried = |policy: &dyn Policy| i64::from(policy.census(&mut |_| false).tried);
        set("tried", Measure::Count(tried(&*policy)));
        if let Some(compare) = &self.compare {
            let (other, _) = self.lived(compare, &stream);
            set("ratio", Measure::Millionths(tried(&*policy) * 1_000_000 / tried(&*other).max(1)));
        }
        set("reached_per_day", Measure::Millionths(network.counts.reached as i64 * 1_000_000 / days));
        set("feelers_per_day", Measure::Millionths(network.counts.feelers as i64 * 1_000_000 / days));
        match self.settings.attack {
            Some(Attack::Flood { connections, minutes }) => {
                let tellers = network.attackers()[..connections as usize].to_vec();
                for teller in &tellers {
                    policy.accepted(network.time(), *teller);
                }
                for _ in 0..minutes {
                    network.now += 60;
                    let now = network.time();
                    for teller in &tellers {
                        let told = |address| Told { address, time: now.unix.as_secs() as u32, serves: true };
                        let told: Vec<Told> =
                            network.addresses_of_attacker(MESSAGE).into_iter().map(told).collect();
                        policy.hear(now, Source::Peer(*teller), &told, false);
                    }
                }
            }
            Some(Attack::Incoming { .. }) => {
                for address in network.attackers().to_vec() {
                    policy.accepted(network.time(), address);
                    network.now += 1;
                }
            }
            Some(Attack::Restart { told, days, .. }) => {
                network.attacker_told = Chance::new(told).expect("the settings were checked");
                for _ in 0..days {
                    network.day(&mut *policy);
                }
                network.start(&mut *policy);
                network.fill(&mut *policy);
                let outgoing = policy.outgoing();
                let is_theirs = |address| Network::is_attacker(address);
                let mut full = outgoing.iter().filter(|(_, purpose)| *purpose == Purpose::Full);
                let owned = full.all(|(address, _)| is_theirs(*address));
                let eclipsed =
                    !outgoing.is_empty() && outgoing.iter().all(|(address, _)| is_theirs(*address));
                let anchored = network.counts.anchors > 0;
                set("owned", Measure::Happened(owned));
                set("anchored", Measure::Happened(anchored));
                set("eclipsed", Measure::Happened(eclipsed));
                set("impossible", Measure::Happened(eclipsed && (anchored || !owned)));
            }
            None => {}
        }
        let census = policy.census(&mut Network::is_attacker);
        if matches!(self.settings.attack, Some(Attack::Flood { .. } | Attack::Incoming { .. })) {
            set("new_theirs", Measure::Count(census.new_adversary.into()));
            set("tried_theirs", Measure::Count(census.tried_adversary.into()));
        }
        let counts = [census.new, census.new_adversary, census.tried, census.tried_adversary];
        outcome.digest = counts.iter().fold(mix(seed), |digest, count| mix(digest ^ u64::from(*count)));
        outcome.digest = mix(outcome.digest ^ network.stream.u64());
        outcome
    }
}

impl core::fmt::Debug for Ablation {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("Ablation").field(&self.settings).finish()
    }
}
