//! The attack: an autonomous system that lies on the victim's routes speaks for addresses behind it, tells of millions of them
//! slowly, and waits until the victim has replaced what it knew.

use serde::Deserialize;

use super::tables::{DAY, Rules};
use super::victim::{Odds, Victim};
use super::world::{Churn, World};
use crate::experiment::{Measure, Model, Outcome, Sample};
use crate::random::{Chance, Stream, mix};

/// An attack over weeks on a node that has run for weeks.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trickle {
    /// The node.
    pub victim: VictimSettings,
    /// What it hears without the attack. The trace of the paper is not public: all of this is assumed.
    pub honest: HonestSettings,
    /// The attack.
    pub attack: AttackSettings,
}

/// The node that is attacked.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VictimSettings {
    /// Days that it has run before.
    pub age_days: u32,
    /// Outgoing connections.
    pub outgoing: u32,
    /// Buckets of the table of nodes that were heard of; 1024 in Core.
    pub new_buckets: u32,
    /// Buckets of the table of nodes that were reached; 256 in Core.
    pub tried_buckets: u32,
    /// Whether it has feelers, one in two minutes.
    pub feelers: bool,
    /// Whether who stands among the tried is tested before another takes the place.
    pub tests: bool,
}

/// The network as the node hears of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HonestSettings {
    /// Nodes that can be reached.
    pub reachable: u32,
    /// Nodes that are told of and can't.
    pub unreachable: u32,
    /// The share of addresses told that are of the former.
    pub told_reachable: f64,
    /// Addresses told in a thousand seconds.
    pub told_per_1000s: u32,
    /// The share of that which goes on during the attack.
    pub during_attack: f64,
    /// How likely a node that is up goes away on a day.
    pub leaves_per_day: f64,
    /// How likely it is then gone for good; else it is back a day later.
    pub for_good: f64,
}

/// What the attacker does.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttackSettings {
    /// Days.
    pub days: u32,
    /// Addresses told in a thousand seconds, a thousand in each message.
    pub told_per_1000s: u32,
    /// Each address is told again after so many days.
    pub again_days: u32,
    /// The /16s of its addresses.
    pub groups: u32,
    /// It makes the node restart every day from when it wins so likely.
    pub restart_above: f64,
}

/// Time is looked at in steps of so many seconds.
const STEP: u32 = 10;
/// When the node started: any time.
const START: u32 = 1_546_300_800;
/// The mean time between feelers.
const FEELER: u64 = 120;
const MESSAGE: u32 = 1000;
/// So many nodes an attacker may tell of: each takes a few bytes, whether or not it finds a place.
const MOST_ATTACKERS: u64 = 50_000_000;
/// Connections of others to the node, each of which may tell.
const INCOMING: usize = 117;
/// How many of these go away in a day, of ten.
const INCOMING_CHURN: u64 = 3;

impl Trickle {
    pub(super) fn check(&self) -> Result<(), String> {
        let Self { victim, honest, attack } = self;
        let is_chance = |value| Chance::new(value).is_some();
        if ![
            honest.told_reachable,
            honest.during_attack,
            honest.leaves_per_day,
            honest.for_good,
            attack.restart_above,
        ]
        .into_iter()
        .all(is_chance)
        {
            return Err("shares and probabilities are from 0 to 1".to_owned());
        }
        let buckets = [victim.new_buckets, victim.tried_buckets];
        if buckets.iter().any(|count| !(1..=65_536).contains(count)) || !(1..=100).contains(&victim.outgoing)
        {
            return Err("buckets are 1 to 65536, outgoing connections 1 to 100".to_owned());
        }
        if !(1000..=100_000).contains(&honest.reachable) || !(1..=1_000_000).contains(&honest.unreachable) {
            return Err("reachable nodes are 1000 to 100000, others 1 to 1000000".to_owned());
        }
        let days = victim.age_days.saturating_add(attack.days);
        if attack.days == 0 || days > 1000 || attack.again_days == 0 || attack.again_days > 100 {
            return Err("an attack lasts a day at least, all of it a thousand at most, and a round 1 to 100"
                .to_owned());
        }
        let round = u64::from(attack.told_per_1000s) * u64::from(attack.again_days) * u64::from(DAY) / 1000;
        if round > MOST_ATTACKERS {
            return Err(format!("an attacker tells of {MOST_ATTACKERS} nodes at most before it begins anew"));
        }
        if honest.told_per_1000s > 100_000
            || attack.told_per_1000s > 100_000
            || !(1..=60_000).contains(&attack.groups)
        {
            return Err("a hundred addresses in a second are told at most, of 1 to 60000 groups".to_owned());
        }
        Ok(())
    }
}

struct Run<'a> {
    settings: &'a Trickle,
    stream: Stream,
    world: World,
    victim: Victim,
    now: u32,
    feeler_due: u32,
    /// Groups of those that have connected to the node.
    incoming: Vec<u16>,
    /// Thousandths of an address that are due.
    honest_credit: u64,
    attack_credit: u64,
    /// How many addresses the attacker has told.
    told: u64,
}

impl Model for Trickle {
    /// - `eclipsed`: whether all outgoing connections have become the attacker's.
    /// - `day_eclipsed`: on which day of the attack; only where it happened.
    /// - `day_threshold`: on which day a restart first succeeds as likely as `restart_above`; only where it came to that.
    /// - `success`, `success_day_40`: how likely a restart succeeds at the end, and on day 40 where there is one.
    /// - `new`, `tried`: the attacker's share of cells that lead to a connection, at the end.
    /// - `tried_before`: nodes among the tried when the attack began.
    ///
    /// Over time: `success`, `new`, `tried` in millionths, `outgoing` of the attacker.
    fn trial(&self, seed: u64) -> Outcome {
        let mut run = Run::new(self, seed);
        for _ in 0..self.victim.age_days {
            run.day(false);
        }
        let mut outcome = Outcome::default();
        let mut set = |name, measure| outcome.measures.insert(name, measure);
        set("tried_before", Measure::Count(run.victim.tables.tried_count.into()));
        let threshold = parts(self.attack.restart_above);
        let (mut is_above, mut is_eclipsed) = (false, false);
        let mut odds = Odds::default();
        for day in 1..=self.attack.days {
            run.day(true);
            odds = run.victim.odds(&run.world, run.now);
            if odds.all >= threshold && !is_above {
                is_above = true;
                set("day_threshold", Measure::Count(day.into()));
            }
            if is_above && !is_eclipsed {
                run.restart();
            }
            if run.victim.is_owned() && !is_eclipsed {
                is_eclipsed = true;
                set("day_eclipsed", Measure::Count(day.into()));
            }
            if day == 40 {
                set("success_day_40", Measure::Millionths(millionths(odds.all)));
            }
            let owned = run.victim.outgoing.iter().filter(|node| run.victim.is_attacker(**node)).count();
            let samples = [
                ("success", millionths(odds.all)),
                ("new", odds.new),
                ("tried", odds.tried),
                ("outgoing", owned as i64),
            ];
            let at = u64::from(day * DAY);
            outcome.series.extend(samples.map(|(measure, value)| Sample { at, measure, value }));
        }
        set("eclipsed", Measure::Happened(is_eclipsed));
        set("success", Measure::Millionths(millionths(odds.all)));
        set("new", Measure::Millionths(odds.new));
        set("tried", Measure::Millionths(odds.tried));
        outcome.digest =
            outcome.series.iter().fold(mix(seed), |digest, sample| mix(digest ^ sample.value as u64));
        outcome.digest = mix(outcome.digest ^ run.stream.u64());
        outcome
    }
}

impl<'a> Run<'a> {
    fn new(settings: &'a Trickle, seed: u64) -> Self {
        let Trickle { victim, honest, attack } = settings;
        let mut stream = Stream::new(seed).fork("trickle");
        let chance = |value| Chance::new(value).expect("the settings were checked");
        let churn = Churn { leaves: chance(honest.leaves_per_day), for_good: chance(honest.for_good) };
        let days = victim.age_days + attack.days;
        let world = World::new(honest.reachable, honest.unreachable, days, churn, &mut stream);
        let rules = Rules {
            new_buckets: victim.new_buckets,
            tried_buckets: victim.tried_buckets,
            tests: victim.tests,
        };
        let victim = Victim::new(rules, victim.outgoing as usize, world.end(), attack.groups, &mut stream);
        let mut run = Self {
            settings,
            stream,
            world,
            victim,
            now: START,
            feeler_due: START,
            incoming: Vec::new(),
            honest_credit: 0,
            attack_credit: 0,
            told: 0,
        };
        run.bootstrap();
        run
    }

    /// The first peers are anybody's; each is asked for addresses.
    fn bootstrap(&mut self) {
        for _ in 0..self.settings.victim.outgoing {
            let peer = self.world.anybody(self.now, &mut self.stream);
            let source = self.world.group(peer);
            for _ in 0..MESSAGE {
                self.hear_honest(source);
            }
        }
        self.victim.fill(&self.world, self.now, &mut self.stream);
    }

    fn day(&mut self, is_attacked: bool) {
        self.world.day(self.now, &mut self.stream);
        self.victim.drop_gone(&self.world, self.now);
        self.victim.fill(&self.world, self.now, &mut self.stream);
        if is_attacked {
            // The attacker's nodes have taken all the room.
            self.incoming.clear();
        } else {
            for slot in 0..INCOMING {
                if slot >= self.incoming.len() {
                    let group = self.stream.below(super::world::HONEST_GROUPS) as u16;
                    self.incoming.push(group);
                } else if self.stream.below(10) < INCOMING_CHURN {
                    self.incoming[slot] = self.stream.below(super::world::HONEST_GROUPS) as u16;
                }
            }
        }
        for _ in 0..DAY / STEP {
            self.now += STEP;
            self.gossip(is_attacked);
            if self.settings.victim.feelers && self.feeler_due <= self.now {
                self.victim.feeler(&self.world, self.now, &mut self.stream);
                self.feeler_due = self.now + exponential(FEELER, &mut self.stream) as u32;
            }
        }
    }

    fn gossip(&mut self, is_attacked: bool) {
        let Trickle { honest, attack, .. } = self.settings;
        let during = if is_attacked { parts(honest.during_attack) } else { 1 << 32 };
        self.honest_credit += (u64::from(honest.told_per_1000s * STEP) * during) >> 32;
        while self.honest_credit >= 1000 {
            self.honest_credit -= 1000;
            let honest = self.victim.outgoing.iter().filter(|node| !self.victim.is_attacker(**node));
            let mut sources: Vec<u16> = honest.map(|node| self.world.group(*node)).collect();
            sources.extend(&self.incoming);
            // Nobody honest is left to tell.
            if sources.is_empty() {
                break;
            }
            let source = sources[self.stream.index(sources.len())];
            self.hear_honest(source);
        }
        if !is_attacked {
            return;
        }
        self.attack_credit += u64::from(attack.told_per_1000s * STEP);
        if self.attack_credit < 1000 * u64::from(MESSAGE) {
            return;
        }
        self.attack_credit -= 1000 * u64::from(MESSAGE);
        let round = u64::from(attack.told_per_1000s) * u64::from(attack.again_days * DAY) / 1000;
        let source = self.victim.attacker_group(self.stream.below(u64::from(attack.groups)) as u32);
        for _ in 0..MESSAGE {
            let node = self.world.end() + (self.told % round.max(1)) as u32;
            self.told += 1;
            self.victim.hear((node, self.now), source, &self.world, self.now, &mut self.stream);
        }
    }

    fn hear_honest(&mut self, source: u16) {
        let reachable = Chance::new(self.settings.honest.told_reachable).expect("the settings were checked");
        let heard = self.world.heard(reachable, self.now, &mut self.stream);
        self.victim.hear((heard.node, heard.time), source, &self.world, self.now, &mut self.stream);
    }

    fn restart(&mut self) {
        self.victim.outgoing.clear();
        self.victim.fill(&self.world, self.now, &mut self.stream);
    }
}

/// In parts of 2³².
fn parts(probability: f64) -> u64 {
    // Exact: a product with a power of two.
    (probability * 4_294_967_296.0) as u64
}

const fn millionths(parts: u64) -> i64 {
    ((parts as u128 * 1_000_000) >> 32) as i64
}

/// Von Neumann's: a time of the exponential distribution by comparing random numbers.
fn exponential(mean: u64, stream: &mut Stream) -> u64 {
    let mut whole = 0;
    loop {
        let first = stream.u64() >> 32;
        let (mut last, mut length) = (first, 1);
        loop {
            let next = stream.u64() >> 32;
            if next >= last {
                break;
            }
            last = next;
            length += 1;
        }
        if length % 2 == 1 {
            return mean * whole + ((mean * first) >> 32);
        }
        whole += 1;
    }
}
