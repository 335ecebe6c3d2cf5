//! The honest nodes: who is up, and what is told of whom.

use super::tables::{DAY, HOUR, Node};
use crate::random::{Chance, Stream, mix};

/// Nodes that come and go. Their numbers begin with zero.
#[derive(Debug)]
pub(crate) struct World {
    /// Those that can be reached, up or not, without those that are gone for good.
    known: Vec<Node>,
    /// By number: until when it is away.
    away: Vec<u32>,
    /// Numbers from here on are of nodes that nobody can reach.
    unreachable: Node,
    unreachable_count: u32,
    next: Node,
    churn: Churn,
    salt: u64,
}

/// How nodes come and go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Churn {
    /// How likely a node that is up goes away on a day.
    pub(crate) leaves: Chance,
    /// How likely it is then gone for good, and another comes.
    pub(crate) for_good: Chance,
}

/// An address that is told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heard {
    pub(crate) node: Node,
    pub(crate) time: u32,
}

impl World {
    /// `most` reachable ones at most may come in all the time that is simulated.
    pub(crate) fn new(
        reachable: u32,
        unreachable: u32,
        days: u32,
        churn: Churn,
        stream: &mut Stream,
    ) -> Self {
        let most = reachable + reachable * days / 8;
        Self {
            known: (0..reachable).collect(),
            away: vec![0; most as usize],
            unreachable: most,
            unreachable_count: unreachable,
            next: reachable,
            churn,
            salt: stream.u64(),
        }
    }

    /// The number that no honest node has.
    pub(crate) const fn end(&self) -> Node {
        self.unreachable + self.unreachable_count
    }

    /// The /16 of a node, out of those of `groups` that honest nodes are in.
    pub(crate) fn group(&self, node: Node) -> u16 {
        // Half of the nodes are in a tenth of the groups.
        let draw = mix(self.salt ^ u64::from(node));
        let groups = if draw >> 63 == 0 { HONEST_GROUPS / 10 } else { HONEST_GROUPS };
        (mix(draw) % groups) as u16
    }

    pub(crate) fn is_up(&self, node: Node, now: u32) -> bool {
        self.away.get(node as usize).is_some_and(|until| node < self.next && *until <= now)
    }

    /// A day has gone by.
    pub(crate) fn day(&mut self, now: u32, stream: &mut Stream) {
        for at in 0..self.known.len() {
            let node = self.known[at];
            if self.away[node as usize] > now || !stream.happens(self.churn.leaves) {
                continue;
            }
            if stream.happens(self.churn.for_good) && self.next < self.unreachable {
                self.away[node as usize] = u32::MAX;
                self.known[at] = self.next;
                self.next += 1;
            } else {
                // Half a day to one and a half.
                self.away[node as usize] = now + DAY / 2 + stream.below(u64::from(DAY)) as u32;
            }
        }
    }

    /// Somebody who is told of: one that can be reached, with that probability.
    pub(crate) fn heard(&self, reachable: Chance, now: u32, stream: &mut Stream) -> Heard {
        if stream.happens(reachable) {
            let node = self.known[stream.index(self.known.len())];
            // Who is up says so once a day; who is away did so before.
            let age = if self.is_up(node, now) { DAY } else { 2 * DAY };
            return Heard { node, time: now - stream.below(u64::from(age)) as u32 };
        }
        let node = self.unreachable + stream.below(u64::from(self.unreachable_count)) as u32;
        Heard { node, time: now - HOUR - stream.below(u64::from(5 * DAY)) as u32 }
    }

    /// A node that can be reached and is up.
    pub(crate) fn anybody(&self, now: u32, stream: &mut Stream) -> Node {
        loop {
            let node = self.known[stream.index(self.known.len())];
            if self.is_up(node, now) {
                return node;
            }
        }
    }
}

/// How many /16s honest nodes are in.
pub(crate) const HONEST_GROUPS: u64 = 4000;
