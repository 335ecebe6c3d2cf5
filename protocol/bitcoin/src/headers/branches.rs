//! Headers beside the best chain, in bounded number: those with the least work make room.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use bitcoin::{BlockHash, Work};

use super::chain::Entry;

/// Headers beside the best chain that are kept at most. With real proof of work they are few.
pub(super) const MAX_BRANCH_HEADERS: usize = 10_000;

#[derive(Clone, Copy, Debug)]
pub(super) struct Branch {
    pub(super) entry: Entry,
    pub(super) height: u32,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Branches(BTreeMap<BlockHash, Branch>);

impl Branches {
    pub(super) fn get(&self, hash: &BlockHash) -> Option<&Branch> {
        self.0.get(hash)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn insert(&mut self, entry: Entry, height: u32) {
        self.0.insert(entry.hash, Branch { entry, height });
    }

    pub(super) fn remove(&mut self, hash: &BlockHash) -> Option<Branch> {
        self.0.remove(hash)
    }

    /// Removes headers until `count` more fit, from the ends of branches down, those whose end has the least work first.
    /// The branch that goes on from `keep` stays.
    pub(super) fn make_room(&mut self, count: usize, keep: &BlockHash) {
        let mut surplus = (self.0.len() + count).saturating_sub(MAX_BRANCH_HEADERS);
        if surplus == 0 {
            return;
        }
        let mut children: BTreeMap<BlockHash, u32> = BTreeMap::from([(*keep, 1)]);
        for branch in self.0.values() {
            *children.entry(branch.entry.header.prev_blockhash).or_default() += 1;
        }
        let ends = self.0.values().filter(|branch| !children.contains_key(&branch.entry.hash));
        let mut ends: Vec<(Work, u32, BlockHash)> =
            ends.map(|branch| (branch.entry.work, branch.height, branch.entry.hash)).collect();
        ends.sort_unstable();
        for (_, _, end) in ends {
            let mut hash = end;
            while surplus > 0
                && let Some(branch) = self.0.remove(&hash)
            {
                surplus -= 1;
                hash = branch.entry.header.prev_blockhash;
                let siblings = children.entry(hash).or_default();
                *siblings = siblings.saturating_sub(1);
                if *siblings > 0 {
                    break;
                }
            }
        }
    }

    /// Removes what does not hang on a header that `holds` any more.
    pub(super) fn prune(&mut self, holds: impl Fn(u32, &BlockHash) -> bool) {
        // Lowest first, so that a header goes with its parent.
        let mut order: Vec<(u32, BlockHash)> =
            self.0.iter().map(|(hash, branch)| (branch.height, *hash)).collect();
        order.sort_unstable();
        for (height, hash) in order {
            let Some(branch) = self.0.get(&hash) else { continue };
            let parent = branch.entry.header.prev_blockhash;
            if !self.0.contains_key(&parent) && !holds(height - 1, &parent) {
                self.0.remove(&hash);
            }
        }
    }
}
