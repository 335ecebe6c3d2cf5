//! A node of Bitcoin Core 0.18: whom it dials, and how likely that is the attacker.

use super::tables::{HOUR, Node, Rules, Tables};
use super::world::World;
use crate::random::Stream;

/// A node, its connections, and where the attacker's numbers begin.
#[derive(Debug)]
pub(super) struct Victim {
    pub(super) tables: Tables,
    pub(super) outgoing: Vec<Node>,
    slots: usize,
    attackers_from: Node,
    attacker_groups: u32,
}

/// Of draws that lead to a connection, how many lead to the attacker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Odds {
    /// In parts of 2³².
    pub(super) one: u64,
    /// That it is so of as many as there are connections, in parts of 2³².
    pub(super) all: u64,
    /// Of the cells that lead to a connection, those that are the attacker's, of the new and of the tried, in millionths.
    pub(super) new: i64,
    pub(super) tried: i64,
}

/// Gossip is taken for so much older.
const PENALTY: u32 = 2 * HOUR;
const MAX_DRAWS: u32 = 100;
const DRAWS_BEFORE_RECENT: u32 = 30;
const RECENT: u32 = 10 * 60;
/// Where the attacker's /16s begin: honest nodes are in those below.
const ATTACKER_GROUPS_FROM: u16 = super::world::HONEST_GROUPS as u16;

impl Victim {
    pub(super) fn new(
        rules: Rules,
        slots: usize,
        attackers_from: Node,
        attacker_groups: u32,
        stream: &mut Stream,
    ) -> Self {
        let tables = Tables::new(rules, stream.u64());
        Self { tables, outgoing: Vec::new(), slots, attackers_from, attacker_groups }
    }

    pub(super) const fn is_attacker(&self, node: Node) -> bool {
        node >= self.attackers_from
    }

    pub(super) fn is_owned(&self) -> bool {
        self.outgoing.len() == self.slots && self.outgoing.iter().all(|node| self.is_attacker(*node))
    }

    /// The /16 of the attacker's groups that has this number.
    pub(super) fn attacker_group(&self, number: u32) -> u16 {
        ATTACKER_GROUPS_FROM + (number % self.attacker_groups) as u16
    }

    fn group(&self, node: Node, world: &World) -> u16 {
        if self.is_attacker(node) {
            self.attacker_group(crate::random::mix(node.into()) as u32)
        } else {
            world.group(node)
        }
    }

    pub(super) fn hear(
        &mut self,
        (node, time): (Node, u32),
        source: u16,
        world: &World,
        now: u32,
        stream: &mut Stream,
    ) {
        let group = self.group(node, world);
        self.tables.add(node, group, source, time, PENALTY, now, stream);
    }

    /// Tests somebody: who stands in another's place, or one that was only heard of.
    pub(super) fn feeler(&mut self, world: &World, now: u32, stream: &mut Stream) {
        self.tables.resolve(now);
        let mut node = self.tables.collision(stream);
        for draw in 0..MAX_DRAWS {
            let candidate = match node.take() {
                Some(node) => self.tables.entry(node),
                None => self.tables.select(true, now, stream),
            };
            let Some(entry) = candidate else { return };
            let (node, is_recent) = (entry.node, now.saturating_sub(entry.last_try) < RECENT);
            if (is_recent && draw < DRAWS_BEFORE_RECENT) || self.outgoing.contains(&node) {
                continue;
            }
            self.dial(node, world, now);
            return;
        }
    }

    /// Fills the connections that are missing. Each dial takes a second.
    pub(super) fn fill(&mut self, world: &World, mut now: u32, stream: &mut Stream) {
        let mut draws = 0;
        for _ in 0..MOST_DRAWS {
            if self.outgoing.len() >= self.slots {
                return;
            }
            let Some(entry) = self.tables.select(false, now, stream) else { return };
            let (node, group) = (entry.node, entry.group);
            let is_recent = now.saturating_sub(entry.last_try) < RECENT && draws < DRAWS_BEFORE_RECENT;
            draws += 1;
            if is_recent || self.outgoing.iter().any(|other| self.group(*other, world) == group) {
                continue;
            }
            draws = 0;
            if self.dial(node, world, now) {
                self.outgoing.push(node);
            }
            now += 1;
        }
    }

    /// Drops who went away.
    pub(super) fn drop_gone(&mut self, world: &World, now: u32) {
        let attackers_from = self.attackers_from;
        let (stay, gone) =
            self.outgoing.iter().partition(|node| **node >= attackers_from || world.is_up(**node, now));
        self.outgoing = stay;
        let gone: Vec<Node> = gone;
        gone.into_iter().for_each(|node| self.tables.connected(node, now));
    }

    fn dial(&mut self, node: Node, world: &World, now: u32) -> bool {
        self.tables.attempt(node, now);
        let is_up = self.is_attacker(node) || world.is_up(node, now);
        if is_up {
            self.tables.good(node, now);
        }
        is_up
    }

    /// What a dial would come to now.
    pub(super) fn odds(&self, world: &World, now: u32) -> Odds {
        let mut odds = Odds::default();
        let (mut theirs, mut all) = (0, 0);
        for (table, cells) in self.tables.cells().into_iter().enumerate() {
            let (mut total, mut attacker, mut honest) = (0u64, 0u64, 0u64);
            let (mut attacker_cells, mut honest_cells) = (0i64, 0i64);
            for entry in cells {
                let chance = entry.chance(now);
                total += chance;
                if self.is_attacker(entry.node) {
                    attacker += chance;
                    attacker_cells += 1;
                } else if world.is_up(entry.node, now) {
                    honest += chance;
                    honest_cells += 1;
                }
            }
            // Either table is drawn from as often.
            theirs += part(attacker, total);
            all += part(attacker + honest, total);
            let share = attacker_cells * 1_000_000 / (attacker_cells + honest_cells).max(1);
            *if table == 0 { &mut odds.new } else { &mut odds.tried } = share;
        }
        odds.one = part(theirs, all);
        odds.all = (0..self.slots)
            .fold(1 << 32, |power, _| ((u128::from(power) * u128::from(odds.one)) >> 32) as u64);
        odds
    }
}

/// Draws for all connections at most: a node that finds nobody waits.
const MOST_DRAWS: u32 = 20_000;

/// In parts of 2³².
fn part(of: u64, whole: u64) -> u64 {
    ((u128::from(of) << 32) / u128::from(whole.max(1))) as u64
}
