//! Blocks whose filters matched: fetched with their witnesses, checked against their headers, kept as digests until
//! all blocks before them are read.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use andon_kernel::ConnId;
use bitcoin::BlockHash;

use super::api::BlockId;
use super::findings::Digest;

/// Blocks above the first missing one that may be asked for: what is held out of order is bounded by it.
const MAX_AHEAD: usize = 16;

/// Blocks that are asked of one peer at a time.
const MAX_ASKED: usize = 8;

/// The blocks that are wanted, by height.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    wanted: BTreeMap<u32, Wanted>,
    read: u32,
}

#[derive(Debug)]
struct Wanted {
    hash: BlockHash,
    state: State,
}

#[derive(Debug)]
enum State {
    Free,
    Asked(ConnId),
    Read(Digest),
}

impl Blocks {
    /// Wants a block.
    pub(super) fn want(&mut self, block: BlockId) {
        self.wanted.insert(block.height, Wanted { hash: block.hash, state: State::Free });
    }

    /// How many are wanted and not taken out.
    pub(super) fn len(&self) -> usize {
        self.wanted.len()
    }

    /// The lowest block that is wanted and not taken out.
    pub(super) fn first(&self) -> Option<u32> {
        self.wanted.keys().next().copied()
    }

    /// Chooses blocks to ask of `peer`, which can serve those from `least` up to `best`.
    pub(super) fn ask(&mut self, peer: ConnId, least: u32, best: u32) -> Vec<BlockHash> {
        let asked =
            self.wanted.values().filter(|wanted| matches!(wanted.state, State::Asked(conn) if conn == peer));
        let room = MAX_ASKED.saturating_sub(asked.count());
        let ahead = self.wanted.iter_mut().take(MAX_AHEAD);
        let free = ahead.filter(|(height, wanted)| {
            matches!(wanted.state, State::Free) && (least..=best).contains(*height)
        });
        free.take(room)
            .map(|(_, wanted)| {
                wanted.state = State::Asked(peer);
                wanted.hash
            })
            .collect()
    }

    /// The height of a block that `peer` is asked for.
    pub(super) fn asked_of(&self, peer: ConnId, hash: &BlockHash) -> Option<u32> {
        let mut wanted = self.wanted.iter().take(MAX_AHEAD);
        let found = wanted.find(|(_, wanted)| {
            wanted.hash == *hash && matches!(wanted.state, State::Asked(conn) if conn == peer)
        });
        found.map(|(height, _)| *height)
    }

    /// Takes the digest of a block in.
    pub(super) fn receive(&mut self, height: u32, digest: Digest) {
        if let Some(wanted) = self.wanted.get_mut(&height) {
            wanted.state = State::Read(digest);
            self.read += 1;
        }
    }

    /// Takes out the lowest block if it has been read.
    pub(super) fn take_read(&mut self) -> Option<(BlockId, Digest)> {
        let entry = self.wanted.first_entry().filter(|entry| matches!(entry.get().state, State::Read(_)))?;
        let (height, wanted) = entry.remove_entry();
        match wanted.state {
            State::Read(digest) => Some((BlockId { height, hash: wanted.hash }, digest)),
            State::Free | State::Asked(_) => unreachable!("it was seen to be read"),
        }
    }

    /// Whether `peer` owes a block.
    pub(super) fn is_waiting_for(&self, peer: ConnId) -> bool {
        self.wanted.values().any(|wanted| matches!(wanted.state, State::Asked(conn) if conn == peer))
    }

    /// Takes back what `peer` was asked for and has not sent.
    pub(super) fn release(&mut self, peer: ConnId) -> Vec<BlockHash> {
        let asked = self.wanted.values_mut();
        let asked = asked.filter(|wanted| matches!(wanted.state, State::Asked(conn) if conn == peer));
        asked
            .map(|wanted| {
                wanted.state = State::Free;
                wanted.hash
            })
            .collect()
    }

    /// Gives all up. Returns what was asked of whom.
    pub(super) fn clear(&mut self) -> Vec<(ConnId, BlockHash)> {
        let wanted = core::mem::take(&mut self.wanted);
        let asked = wanted.into_values().filter_map(|wanted| match wanted.state {
            State::Asked(peer) => Some((peer, wanted.hash)),
            State::Free | State::Read(_) => None,
        });
        asked.collect()
    }

    /// How many have been read since the start.
    pub(super) fn read(&self) -> u32 {
        self.read
    }

    /// How many are wanted and not read.
    pub(super) fn unread(&self) -> u32 {
        self.wanted.values().filter(|wanted| !matches!(wanted.state, State::Read(_))).count() as u32
    }
}
