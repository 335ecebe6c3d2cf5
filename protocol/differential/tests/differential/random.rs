//! Random trees: how headers branch, what is wrong with some of them, and in which order they are told.

use andon_kernel::Rng;

use crate::case::{Case, FIRST_BLOCK, Message, Node, Parent, REGTEST_BITS};
use crate::screen::DEPTH;

/// How far ahead of the clock a header may be.
pub(crate) const MAX_FUTURE: u64 = 2 * 60 * 60;

/// Trees in a case.
pub(crate) const TREES: u64 = 20;

/// Headers in a tree.
const MAX_HEADERS: u64 = 40;

/// Headers in a message, as on the wire.
const MAX_MESSAGE: usize = 2000;

/// How far back among the headers one is taken that is told again: what lies deeper a side may have let go.
const MAX_AGAIN: u64 = 2000;

/// How deep below the best block a tree begins at most. With its height that stays well within the 144 blocks below
/// which a message is judged by its work before it comes to the engine.
const MAX_DEPTH: u64 = 50;

/// Stated targets other than regtest's own.
const WRONG_BITS: [u32; 28] = [
    // Harder, by a little and by much; the last three can't be mined here.
    0x207f_fffe,
    0x2000_ffff,
    0x203f_ffff,
    0x2040_0000,
    0x201f_ffff,
    0x1f7f_ffff,
    0x1f0f_ffff,
    // The same as another encoding would have it, and just below.
    0x2100_7fff,
    0x2100_7ffe,
    0x1f00_0001,
    0x1d00_ffff,
    0x0300_0001,
    // Easier than regtest allows.
    0x2100_8000,
    0x2100_ffff,
    0x2101_0000,
    0x2200_00ff,
    // No number of 256 bits.
    0x2200_0100,
    0x2300_0001,
    0x217f_ffff,
    0xff12_3456,
    // Negative.
    0x20ff_ffff,
    0x2080_0001,
    0x0492_3456,
    // Zero: as written, with a sign, by what is shifted out.
    0x0000_0000,
    0x2000_0000,
    0x2080_0000,
    0x0100_3456,
    0x01fe_dcba,
];

/// Versions that are not what miners write.
const ODD_VERSIONS: [i32; 14] =
    [3, 3, 2, 2, 1, 1, 0, -1, i32::MIN, i32::MIN + 4, 5, 0x1fff_ffff, 0x3fff_e000, i32::MAX];

/// The case that `seed` stands for: always the same. Some honest headers, then trees, each of which begins near the
/// best block that the ones before it led to.
pub(crate) fn case(seed: u64) -> Case {
    let mut growth = Growth::new("trees of headers", seed);
    growth.set_clock();
    let length = growth.trunk_length();
    growth.trunk(length);
    for _ in 0..TREES {
        growth.tree();
    }
    growth.case()
}

/// A case that begins with so many honest headers.
pub(crate) fn case_upon(seed: u64, length: u64, trees: u64) -> Case {
    let mut growth = Growth::new("trees upon a long chain", seed);
    growth.now = u64::from(growth.nodes[FIRST_BLOCK].time) + 500_000_000;
    growth.trunk(length);
    for _ in 0..trees {
        growth.tree();
    }
    growth.case()
}

/// A case of honest headers alone: branches that begin at any depth, and end below, near and above the best block.
pub(crate) fn deep_case(seed: u64) -> Case {
    let mut growth = Growth::new("deep branches", seed);
    growth.now = u64::from(growth.nodes[FIRST_BLOCK].time) + 500_000_000;
    let length = 120 + growth.rng.below(100);
    growth.trunk(length);
    for _ in 0..10 {
        growth.deep_branch();
    }
    growth.case()
}

struct Growth {
    rng: Rng,
    nodes: Vec<Node>,
    /// Whether a node and all before it keep the rules, if they are told in time.
    sound: Vec<bool>,
    heights: Vec<u64>,
    /// What the clock was when a node was made.
    told_at: Vec<u64>,
    messages: Vec<Message>,
    now: u64,
}

impl Growth {
    fn new(family: &str, seed: u64) -> Self {
        Self {
            rng: Rng::new([31; 32]).fork_indexed(family, seed),
            nodes: vec![Node::first_block()],
            sound: vec![true],
            heights: vec![0],
            told_at: vec![0],
            messages: Vec::new(),
            now: 0,
        }
    }

    fn case(self) -> Case {
        Case { nodes: self.nodes, messages: self.messages }
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.rng.below(100) < percent
    }

    fn any<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.rng.below(of.len() as u64) as usize]
    }

    /// Now: soon after the first block, some years later, or where 31 and 32 bits end.
    fn set_clock(&mut self) {
        let first = u64::from(self.nodes[FIRST_BLOCK].time);
        self.now = match self.rng.below(20) {
            0 | 1 => first + self.rng.below(20_000),
            2 | 3 => (1 << 31) - 30_000 + self.rng.below(50_000),
            4 => (1 << 32) - 30_000 + self.rng.below(50_000),
            _ => first + self.rng.below(600_000_000),
        };
    }

    /// Clocks go on, jump, and are set back.
    fn move_clock(&mut self) {
        match self.rng.below(20) {
            0 | 1 => self.now += self.rng.below(3000),
            2 => self.now += self.rng.below(100_000),
            3 => self.now -= self.rng.below(5000),
            _ => {}
        }
    }

    fn trunk_length(&mut self) -> u64 {
        match self.rng.below(200) {
            // Past where retargets, and the versions of other networks, set in.
            0 => 1300 + self.rng.below(900),
            1..50 => 0,
            50..120 => self.rng.below(15),
            120..180 => self.rng.below(60),
            _ => 90 + self.rng.below(120),
        }
    }

    /// Honest headers to begin with.
    fn trunk(&mut self, length: u64) {
        let first = u64::from(self.nodes[FIRST_BLOCK].time);
        let latest = self.now.min(u64::from(u32::MAX) - 10_000);
        let room = latest.saturating_sub(first) / (length + 1);
        let step = 1 + self.rng.below(room.clamp(1, 1500));
        let start = latest.saturating_sub(step * length).max(first);
        for place in 1..=length {
            let mut node = self.honest(place as usize - 1);
            node.time = (start + step * place) as u32;
            self.add(node, true);
        }
        let all: Vec<usize> = (1..self.nodes.len()).collect();
        let chunks = all.chunks(MAX_MESSAGE).map(|chunk| Message { now: self.now, nodes: chunk.to_vec() });
        self.messages.extend(chunks);
    }

    /// A tree, and how it is told.
    fn tree(&mut self) {
        let begin = self.nodes.len();
        let best = self.best();
        for _ in 0..=self.rng.below(MAX_HEADERS) {
            self.branch(best, begin);
            self.move_clock();
        }
        self.tell(begin);
        // Whatever was made of the order, all know the branch now on which the next tree begins.
        let mut path = vec![self.best()];
        while path[0] >= begin
            && let Parent::Node(parent) = self.nodes[path[0]].parent
        {
            path.insert(0, parent);
        }
        let now = self.told_at.iter().copied().fold(self.now, u64::max);
        self.messages.push(Message { now, nodes: path });
    }

    /// A branch from anywhere, told at once or in two messages.
    fn deep_branch(&mut self) {
        let from = self.rng.below(self.nodes.len() as u64) as usize;
        let best = self.heights[self.best()];
        // Mostly such that it ends where the work that is asked for begins.
        let length = match best.saturating_sub(u64::from(DEPTH)).checked_sub(self.heights[from]) {
            Some(least) if self.chance(70) => (least + self.rng.below(3)).saturating_sub(1).max(1),
            _ => 1 + self.rng.below(60),
        };
        let begin = self.nodes.len();
        for place in 0..length as usize {
            let parent = if place == 0 { from } else { begin + place - 1 };
            let mut node = self.honest(parent);
            node.time = self.nodes[parent].time + 1 + self.rng.below(100) as u32;
            self.add(node, true);
        }
        let mut nodes: Vec<usize> = (begin..self.nodes.len()).collect();
        if self.chance(30) {
            let rest = nodes.split_off(self.rng.below(length) as usize);
            self.messages.push(Message { now: self.now, nodes });
            nodes = rest;
        }
        self.messages.push(Message { now: self.now, nodes });
    }

    /// The highest of the sound nodes, of several the first.
    fn best(&self) -> usize {
        let sound = (FIRST_BLOCK..self.nodes.len()).filter(|&node| self.sound[node]);
        sound.rev().max_by_key(|&node| self.heights[node]).expect("the first block is sound")
    }

    fn honest(&mut self, parent: usize) -> Node {
        Node {
            parent: Parent::Node(parent),
            version: self.any(&[4, 0x2000_0000, 0x2000_0000]),
            time: 0,
            bits: REGTEST_BITS,
            mined: true,
            salt: self.rng.u64(),
        }
    }

    fn add(&mut self, node: Node, keeps_rules: bool) {
        let (sound, height) = match node.parent {
            Parent::Node(parent) => (self.sound[parent], self.heights[parent] + 1),
            Parent::Unknown(_) => (false, 0),
        };
        self.nodes.push(node);
        self.sound.push(sound && keeps_rules);
        self.heights.push(height);
        self.told_at.push(self.now);
    }

    /// A header somewhere on the tree that began as node `begin` near `best`, with something wrong or not.
    fn branch(&mut self, best: usize, begin: usize) {
        let parent = self.parent(best, begin);
        let mut node = self.honest(parent);
        let (time, in_time) = self.time(parent);
        node.time = time;
        if self.chance(15) {
            node.version = if self.chance(90) { self.any(&ODD_VERSIONS) } else { self.rng.u64() as i32 };
        }
        if self.chance(8) {
            node.bits = if self.chance(85) { self.any(&WRONG_BITS) } else { self.rng.u64() as u32 };
        }
        node.mined = !self.chance(4);
        if self.chance(2) {
            node.parent = Parent::Unknown(self.rng.u64());
        }
        let keeps_rules = in_time && node.version >= 4 && node.bits == REGTEST_BITS && node.mined;
        self.add(node, keeps_rules);
    }

    fn parent(&mut self, best: usize, begin: usize) -> usize {
        let size = (self.nodes.len() - begin) as u64;
        let last = self.nodes.len() as u64 - 1;
        let mut parent = best;
        // Most of those that come upon something unsound look further: else most of a tree would be.
        for _ in 0..3 {
            parent = match self.rng.below(100) {
                0..55 if size > 0 => last as usize,
                55..75 if size > 0 => (last - self.rng.below(size.min(10))) as usize,
                75..90 if size > 0 => (last - self.rng.below(size)) as usize,
                0..60 => best,
                60..90 => {
                    let depth = self.rng.below(6);
                    self.ancestor(best, depth)
                }
                _ => {
                    let depth = self.rng.below(MAX_DEPTH + 1);
                    self.ancestor(best, depth)
                }
            };
            if self.sound[parent] || self.chance(20) {
                break;
            }
        }
        parent
    }

    /// The node `depth` below, or the first block.
    fn ancestor(&self, node: usize, depth: u64) -> usize {
        (0..depth).fold(node, |node, _| match self.nodes[node].parent {
            Parent::Node(parent) => parent,
            Parent::Unknown(_) => node,
        })
    }

    /// A time for a child of `parent`, and whether it keeps the rules when the clock is as it is.
    fn time(&mut self, parent: usize) -> (u32, bool) {
        let median = self.median(parent);
        let last = u64::from(self.nodes[parent].time);
        let limit = self.now + MAX_FUTURE;
        let time = match self.rng.below(100) {
            0..50 => last.max(median) + 1 + self.rng.below(1200),
            // Where testnets have their exception for slow blocks.
            50..54 => last + 1199 + self.rng.below(4),
            54..58 => last + 1201 + self.rng.below(5000),
            58..67 => median + 1,
            67..72 => median + 2 + self.rng.below(20),
            72..77 => median,
            77..80 => median.saturating_sub(self.rng.below(1000)),
            80..85 => limit,
            85..88 => limit - self.rng.below(4),
            88..92 => limit + 1,
            92..95 => limit + 2 + self.rng.below(3000),
            95..97 => last,
            97 => self.rng.u64() & u64::from(u32::MAX),
            98 => 0,
            _ => u64::from(u32::MAX),
        };
        let time = time.min(u32::MAX.into());
        (time as u32, time > median && time <= limit)
    }

    /// The median time of up to eleven blocks that end in `node`.
    fn median(&self, node: usize) -> u64 {
        let mut times = Vec::with_capacity(11);
        let mut place = Some(node);
        while let Some(node) = place.filter(|_| times.len() < 11).map(|place| self.nodes[place]) {
            times.push(node.time);
            place = match node.parent {
                Parent::Node(parent) => Some(parent),
                Parent::Unknown(_) => None,
            };
        }
        times.sort_unstable();
        times[times.len() / 2].into()
    }

    /// In which messages the nodes from `begin` on are told.
    fn tell(&mut self, begin: usize) {
        let mut order: Vec<usize> = (begin..self.nodes.len()).collect();
        if self.chance(30) {
            for _ in 0..=self.rng.below(6) {
                let from = self.rng.below(order.len() as u64) as usize;
                let to = (from + self.rng.below(5) as usize).min(order.len() - 1);
                order.swap(from, to);
            }
        } else if self.chance(10) {
            self.rng.shuffle(&mut order);
        }
        self.tell_in_order(&order, false);
        // What came before its parent, or too soon, now finds its place; all else is a duplicate.
        if self.chance(40) {
            order.sort_unstable();
            self.tell_in_order(&order, true);
        }
    }

    /// Tells them when they were made, or all by the clock as it is.
    fn tell_in_order(&mut self, order: &[usize], by_the_clock: bool) {
        let mut order = order;
        while let Some((&first, _)) = order.split_first() {
            let mut nodes = vec![first];
            if self.chance(30) {
                // With what follows from it, as far as that comes next.
                while let Some(&next) = order.get(nodes.len())
                    && self.nodes[next].parent == Parent::Node(order[nodes.len() - 1])
                    && !self.chance(10)
                {
                    nodes.push(next);
                }
            }
            let told = nodes.len();
            if self.chance(15) {
                // After what it follows from, some of which is known.
                for _ in 0..=self.rng.below(20) {
                    let Parent::Node(parent) = self.nodes[nodes[0]].parent else { break };
                    nodes.insert(0, parent);
                }
            }
            let now = if by_the_clock { self.now } else { self.told_at[order[told - 1]] };
            self.messages.push(Message { now, nodes });
            if self.chance(8) {
                let again = first - self.rng.below((first as u64).min(MAX_AGAIN) + 1) as usize;
                self.messages.push(Message { now, nodes: vec![again] });
            }
            order = &order[told..];
        }
    }
}
