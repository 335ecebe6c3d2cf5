//! The tables of Bitcoin Core 0.18's `addrman`, for months of gossip in seconds: nodes are numbers, and places come from a
//! quick keyed function.
//!
//! The rules are Core's: a place follows from address and source, is given up only by who is not worth it or stands elsewhere
//! too, and among the tried only after a test that fails. A test holds them against [`andon_bitcoin`]'s own book, of the same rules.

use andon_bitcoin::addresses::limits::{MAX_COLLISIONS, MAX_REFERENCES};

use crate::policy::book::keyed;
use crate::random::Stream;

/// A node, by its number.
pub(crate) type Node = u32;

/// Sizes of the tables, and what is done in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rules {
    pub(crate) new_buckets: u32,
    pub(crate) tried_buckets: u32,
    /// Whether who stands among the tried is tested before another takes the place.
    pub(crate) tests: bool,
}

impl Rules {
    /// Core's since 0.17.
    pub(crate) const CORE: Self = Self { new_buckets: 1024, tried_buckets: 256, tests: true };
}

const BUCKET: u32 = 64;
const NEW_BUCKETS_PER_SOURCE: u64 = 64;
const TRIED_BUCKETS_PER_GROUP: u64 = 8;
const NOBODY: u32 = u32::MAX;

const MINUTE: u32 = 60;
pub(crate) const HOUR: u32 = 60 * MINUTE;
pub(crate) const DAY: u32 = 24 * HOUR;
/// A failed test counts for so long, and a success spares a test.
const REPLACEMENT: u32 = 4 * HOUR;
/// How long a test may stay away.
const TEST_WINDOW: u32 = 40 * MINUTE;

/// What is known of a node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) node: Node,
    pub(crate) group: u16,
    source: u16,
    time: u32,
    pub(crate) last_try: u32,
    last_success: u32,
    last_counted: u32,
    attempts: u8,
    pub(crate) is_tried: bool,
    references: u8,
    cells: [u32; MAX_REFERENCES],
}

/// Both tables.
#[derive(Debug)]
pub(crate) struct Tables {
    rules: Rules,
    key: u64,
    entries: Vec<Entry>,
    free: Vec<u32>,
    /// Entries by node.
    found: Vec<u32>,
    new: Vec<u32>,
    tried: Vec<u32>,
    pub(crate) new_count: u32,
    pub(crate) tried_count: u32,
    /// Nodes that wait for a place among the tried.
    collisions: Vec<Node>,
    last_good: u32,
}

impl Entry {
    fn is_terrible(&self, now: u32) -> bool {
        if self.last_try != 0 && self.last_try + MINUTE >= now {
            return false;
        }
        self.time > now + 10 * MINUTE
            || self.time == 0
            || now.saturating_sub(self.time) > 30 * DAY
            || (self.last_success == 0 && self.attempts >= 3)
            || (now.saturating_sub(self.last_success) > 7 * DAY && self.attempts >= 10)
    }

    /// In parts of 2³².
    pub(crate) fn chance(&self, now: u32) -> u64 {
        let chance = CHANCES[usize::from(self.attempts.min(8))];
        if now.saturating_sub(self.last_try) < 10 * MINUTE { chance / 100 } else { chance }
    }
}

/// The powers of 0.66.
const CHANCES: [u64; 9] = {
    let mut chances = [1 << 32; 9];
    let mut at = 1;
    while at < chances.len() {
        chances[at] = chances[at - 1] * 66 / 100;
        at += 1;
    }
    chances
};

impl Tables {
    pub(crate) fn new(rules: Rules, key: u64) -> Self {
        Self {
            rules,
            key,
            entries: Vec::new(),
            free: Vec::new(),
            found: Vec::new(),
            new: vec![NOBODY; (rules.new_buckets * BUCKET) as usize],
            tried: vec![NOBODY; (rules.tried_buckets * BUCKET) as usize],
            new_count: 0,
            tried_count: 0,
            collisions: Vec::new(),
            last_good: 1,
        }
    }

    pub(crate) fn entry(&self, node: Node) -> Option<&Entry> {
        Some(&self.entries[self.find(node)?])
    }

    /// Who stands in the cells of the tables, new and tried.
    pub(crate) fn cells(&self) -> [impl Iterator<Item = &Entry>; 2] {
        let entries = &self.entries;
        [&self.new, &self.tried].map(|cells| {
            cells.iter().filter(|index| **index != NOBODY).map(|index| &entries[*index as usize])
        })
    }

    /// In how many buckets of the new ones anybody is.
    pub(crate) fn new_buckets(&self) -> u32 {
        let is_used = |bucket: &&[u32]| bucket.iter().any(|index| *index != NOBODY);
        self.new.chunks(BUCKET as usize).filter(is_used).count() as u32
    }

    /// Notes what a node of group `source` told of one of `group`.
    #[expect(clippy::too_many_arguments, reason = "all of it is what was told")]
    pub(crate) fn add(
        &mut self,
        node: Node,
        group: u16,
        source: u16,
        time: u32,
        penalty: u32,
        now: u32,
        stream: &mut Stream,
    ) {
        let known = self.find(node);
        if let Some(index) = known {
            let entry = &mut self.entries[index];
            let step = if now.saturating_sub(time) < DAY { HOUR } else { DAY };
            if entry.time + step + penalty < time {
                entry.time = time.saturating_sub(penalty);
            }
            let references = entry.references;
            if time <= entry.time || entry.is_tried || usize::from(references) == MAX_REFERENCES {
                return;
            }
            if stream.below(1 << references) != 0 {
                return;
            }
        }
        let cell = self.new_cell(node, group, source);
        let occupant = self.new[cell as usize];
        if occupant != NOBODY {
            if known == Some(occupant as usize) {
                return;
            }
            let entry = &self.entries[occupant as usize];
            if !entry.is_terrible(now) && (entry.references == 1 || known.is_some()) {
                return;
            }
            self.clear_new(cell);
        }
        let index = known.unwrap_or_else(|| {
            self.insert(Entry {
                node,
                group,
                source,
                time: time.saturating_sub(penalty),
                last_try: 0,
                last_success: 0,
                last_counted: 0,
                attempts: 0,
                is_tried: false,
                references: 0,
                cells: [0; MAX_REFERENCES],
            })
        });
        self.refer(index, cell);
    }

    /// Notes a dial.
    pub(crate) fn attempt(&mut self, node: Node, now: u32) {
        let Some(index) = self.find(node) else { return };
        let entry = &mut self.entries[index];
        entry.last_try = now;
        if entry.last_counted < self.last_good {
            entry.last_counted = now;
            entry.attempts = entry.attempts.saturating_add(1);
        }
    }

    /// Notes a handshake.
    pub(crate) fn good(&mut self, node: Node, now: u32) {
        self.last_good = now;
        let Some(index) = self.find(node) else { return };
        let entry = &mut self.entries[index];
        entry.last_success = now;
        entry.last_try = now;
        entry.attempts = 0;
        if entry.is_tried {
            return;
        }
        let cell = self.tried_cell(index);
        if self.rules.tests && self.tried[cell as usize] != NOBODY {
            if self.collisions.len() < MAX_COLLISIONS && !self.collisions.contains(&node) {
                self.collisions.push(node);
            }
            return;
        }
        self.make_tried(index);
    }

    /// Notes that a node is connected.
    pub(crate) fn connected(&mut self, node: Node, now: u32) {
        let Some(index) = self.find(node) else { return };
        let entry = &mut self.entries[index];
        if now.saturating_sub(entry.time) > 20 * MINUTE {
            entry.time = now;
        }
    }

    /// Decides on those that wait for another's place among the tried.
    pub(crate) fn resolve(&mut self, now: u32) {
        for node in core::mem::take(&mut self.collisions) {
            let Some(index) = self.find(node) else { continue };
            let older = self.tried[self.tried_cell(index) as usize];
            if older == NOBODY {
                self.make_tried(index);
                continue;
            }
            let older = self.entries[older as usize];
            if now.saturating_sub(older.last_success) < REPLACEMENT {
                continue;
            }
            let was_tested = now.saturating_sub(older.last_try) < REPLACEMENT;
            let has_failed = was_tested && now.saturating_sub(older.last_try) > MINUTE;
            let is_untested =
                !was_tested && now.saturating_sub(self.entries[index].last_success) > TEST_WINDOW;
            if has_failed || is_untested {
                self.make_tried(index);
            } else {
                self.collisions.push(node);
            }
        }
    }

    /// Who stands in the place of one that waits, and is to be tested.
    pub(crate) fn collision(&self, stream: &mut Stream) -> Option<Node> {
        if self.collisions.is_empty() {
            return None;
        }
        let index = self.find(self.collisions[stream.index(self.collisions.len())])?;
        let older = self.tried[self.tried_cell(index) as usize];
        (older != NOBODY).then(|| self.entries[older as usize].node)
    }

    /// A node to dial: of either table alike, then each place as likely, then by how often it failed.
    pub(crate) fn select(&self, only_new: bool, now: u32, stream: &mut Stream) -> Option<&Entry> {
        let (has_new, has_tried) = (self.new_count > 0, self.tried_count > 0 && !only_new);
        let table = match (has_new, has_tried) {
            (false, false) => return None,
            (true, false) => &self.new,
            (false, true) => &self.tried,
            (true, true) if stream.below(2) == 0 => &self.new,
            (true, true) => &self.tried,
        };
        let mut factor = 1u128 << 32;
        loop {
            let index = table[stream.index(table.len())];
            if index == NOBODY {
                continue;
            }
            let entry = &self.entries[index as usize];
            if u128::from(stream.u64() >> 32) < (u128::from(entry.chance(now)) * factor) >> 32 {
                return Some(entry);
            }
            factor += factor / 5;
        }
    }

    fn find(&self, node: Node) -> Option<usize> {
        self.found.get(node as usize).filter(|index| **index != NOBODY).map(|index| *index as usize)
    }

    fn new_cell(&self, node: Node, group: u16, source: u16) -> u32 {
        let (group, source) = (u64::from(group), u64::from(source));
        let share = keyed(self.key, &[group, source]) % NEW_BUCKETS_PER_SOURCE;
        let bucket = keyed(self.key, &[1, source, share]) % u64::from(self.rules.new_buckets);
        self.cell(bucket as u32, node, 2)
    }

    fn tried_cell(&self, index: usize) -> u32 {
        let Entry { node, group, .. } = self.entries[index];
        let share = keyed(self.key, &[3, u64::from(node)]) % TRIED_BUCKETS_PER_GROUP;
        let bucket = keyed(self.key, &[4, u64::from(group), share]) % u64::from(self.rules.tried_buckets);
        self.cell(bucket as u32, node, 5)
    }

    fn cell(&self, bucket: u32, node: Node, table: u64) -> u32 {
        let place = keyed(self.key, &[table, u64::from(bucket), u64::from(node)]) % u64::from(BUCKET);
        bucket * BUCKET + place as u32
    }

    fn insert(&mut self, entry: Entry) -> usize {
        let index = self.free.pop().unwrap_or_else(|| {
            self.entries.push(entry);
            self.entries.len() as u32 - 1
        });
        self.entries[index as usize] = entry;
        if self.found.len() <= entry.node as usize {
            self.found.resize(entry.node as usize + 1, NOBODY);
        }
        self.found[entry.node as usize] = index;
        self.new_count += 1;
        index as usize
    }

    fn refer(&mut self, index: usize, cell: u32) {
        let entry = &mut self.entries[index];
        entry.cells[usize::from(entry.references)] = cell;
        entry.references += 1;
        self.new[cell as usize] = index as u32;
    }

    /// Empties a cell. Who had no other is forgotten.
    fn clear_new(&mut self, cell: u32) {
        let index = core::mem::replace(&mut self.new[cell as usize], NOBODY);
        if index == NOBODY {
            return;
        }
        let entry = &mut self.entries[index as usize];
        let references = usize::from(entry.references);
        let at = entry.cells[..references]
            .iter()
            .position(|other| *other == cell)
            .expect("it stands where it stands");
        entry.cells[at] = entry.cells[references - 1];
        entry.references -= 1;
        if entry.references == 0 {
            self.found[entry.node as usize] = NOBODY;
            self.free.push(index);
            self.new_count -= 1;
        }
    }

    /// Moves a node to its place among the tried. Who is there goes back to its first place among the new.
    fn make_tried(&mut self, index: usize) {
        let entry = &mut self.entries[index];
        for cell in entry.cells.into_iter().take(usize::from(core::mem::take(&mut entry.references))) {
            self.new[cell as usize] = NOBODY;
        }
        self.new_count -= 1;
        let cell = self.tried_cell(index) as usize;
        let older = core::mem::replace(&mut self.tried[cell], NOBODY);
        if older != NOBODY {
            let Entry { node, group, source, .. } = self.entries[older as usize];
            self.entries[older as usize].is_tried = false;
            let back = self.new_cell(node, group, source);
            self.clear_new(back);
            self.new_count += 1;
            self.tried_count -= 1;
            self.refer(older as usize, back);
        }
        self.entries[index].is_tried = true;
        self.tried[cell] = index as u32;
        self.tried_count += 1;
    }
}
