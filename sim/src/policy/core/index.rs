//! Finds entries by their address: a table of open addressing, which is never walked in its own order.

/// Entries by a 64-bit number that the caller computes of each address.
#[derive(Debug)]
pub(super) struct Index {
    /// The upper half of the number, and whose it is.
    slots: Vec<(u32, u32)>,
    len: usize,
}

const EMPTY: u32 = u32::MAX;

impl Index {
    pub(super) fn new() -> Self {
        Self { slots: vec![(0, EMPTY); 1 << 10], len: 0 }
    }

    /// Forgets all, and keeps the room.
    pub(super) fn clear(&mut self) {
        self.slots.fill((0, EMPTY));
        self.len = 0;
    }

    const fn mask(&self) -> usize {
        self.slots.len() - 1
    }

    /// The entry with this number for which `is_it` holds.
    pub(super) fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let high = (hash >> 32) as u32;
        let mut at = high as usize & self.mask();
        loop {
            let (held, id) = self.slots[at];
            if id == EMPTY {
                return None;
            }
            if held == high && is_it(id) {
                return Some(id);
            }
            at = (at + 1) & self.mask();
        }
    }

    /// Adds an entry, which must not be there.
    pub(super) fn insert(&mut self, hash: u64, id: u32) {
        if (self.len + 1) * 4 > self.slots.len() * 3 {
            self.grow();
        }
        self.len += 1;
        self.put((hash >> 32) as u32, id);
    }

    /// Takes an entry out, which must be there.
    pub(super) fn remove(&mut self, hash: u64, id: u32) {
        let mask = self.mask();
        let mut hole = (hash >> 32) as usize & mask;
        while self.slots[hole].1 != id {
            assert!(self.slots[hole].1 != EMPTY, "an entry is taken out where it is");
            hole = (hole + 1) & mask;
        }
        self.len -= 1;
        // Whoever follows and would be cut off from where he is looked for moves up.
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let (high, id) = self.slots[at];
            if id == EMPTY {
                break;
            }
            let from_home = at.wrapping_sub(high as usize) & mask;
            let from_hole = at.wrapping_sub(hole) & mask;
            if from_home >= from_hole {
                self.slots[hole] = (high, id);
                hole = at;
            }
        }
        self.slots[hole] = (0, EMPTY);
    }

    fn put(&mut self, high: u32, id: u32) {
        let mut at = high as usize & self.mask();
        while self.slots[at].1 != EMPTY {
            at = (at + 1) & self.mask();
        }
        self.slots[at] = (high, id);
    }

    fn grow(&mut self) {
        let doubled = vec![(0, EMPTY); self.slots.len() * 2];
        for (high, id) in core::mem::replace(&mut self.slots, doubled) {
            if id != EMPTY {
                self.put(high, id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Stream, mix};

    #[test]
    fn finds_what_a_map_finds() {
        let (mut index, mut stream) = (Index::new(), Stream::new(1));
        let mut there = std::collections::BTreeSet::new();
        // Few numbers, and all close to each other: what is in the way of others is taken out too.
        let hash = |id: u32| (u64::from(id) / 3) << 32;
        for step in 0..200_000u32 {
            let id = stream.below(if step < 100_000 { 400 } else { 20_000 }) as u32;
            let found = index.find(hash(id), |held| held == id);
            assert_eq!(found.is_some(), there.contains(&id));
            if found.is_some() {
                index.remove(hash(id), id);
                there.remove(&id);
            } else {
                index.insert(hash(id), id);
                there.insert(id);
            }
        }
        assert!(there.len() > 5000 && index.len == there.len());
        assert!(
            (0..20_000).all(|id| index.find(hash(id), |held| held == id).is_some() == there.contains(&id))
        );
        assert_ne!(mix(1), mix(2));
    }
}
