//! Blocks whose filters matched: fetched with their witnesses from as soon as that is known, checked against their
//! headers, kept as digests until all blocks before them are read.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use andon_kernel::ConnId;
use bitcoin::BlockHash;

use super::api::BlockId;
use super::findings::Digest;

/// Blocks that may be asked for or wait as digests at a time. The lowest that is wanted may always be asked for.
const MAX_AHEAD: usize = 16;

/// What a block is taken to have before one has come: as a recent one.
const USUAL_BLOCK: u64 = 1_500_000;

/// The blocks that are wanted, by height.
#[derive(Debug)]
pub(super) struct Blocks {
    wanted: BTreeMap<u32, Wanted>,
    read: u32,
    /// Bytes of a block, on average over the last ones.
    average: u64,
}

#[derive(Debug)]
struct Wanted {
    hash: BlockHash,
    state: State,
    /// Peers that have said that they do not have it.
    refused: Vec<ConnId>,
}

#[derive(Debug)]
enum State {
    /// These are asked: none, one, or a second one where the first is slow.
    Asked(Vec<ConnId>),
    Read(Digest),
}

impl Wanted {
    fn asked(&self) -> &[ConnId] {
        match &self.state {
            State::Asked(peers) => peers,
            State::Read(_) => &[],
        }
    }

    fn is_free(&self) -> bool {
        matches!(&self.state, State::Asked(peers) if peers.is_empty())
    }
}

impl Default for Blocks {
    fn default() -> Self {
        Self { wanted: BTreeMap::new(), read: 0, average: USUAL_BLOCK }
    }
}

impl Blocks {
    /// Wants a block.
    pub(super) fn want(&mut self, block: BlockId) {
        let wanted = Wanted { hash: block.hash, state: State::Asked(Vec::new()), refused: Vec::new() };
        self.wanted.insert(block.height, wanted);
    }

    /// How many are wanted and not taken out.
    pub(super) fn len(&self) -> usize {
        self.wanted.len()
    }

    /// The lowest block that is wanted and not taken out.
    pub(super) fn first(&self) -> Option<u32> {
        self.wanted.keys().next().copied()
    }

    /// Bytes of a block, on average.
    pub(super) fn average(&self) -> u64 {
        self.average
    }

    /// Blocks that can be asked for now and that nobody is asked for, lowest first.
    pub(super) fn free(&self) -> Vec<u32> {
        let under_way = self.wanted.values().filter(|wanted| !wanted.is_free()).count();
        let lowest = self.first().filter(|_| under_way >= MAX_AHEAD);
        let room = MAX_AHEAD.saturating_sub(under_way).max(usize::from(lowest.is_some()));
        let free = self.wanted.iter().filter(|(_, wanted)| wanted.is_free()).map(|(height, _)| *height);
        free.filter(|height| lowest.is_none_or(|lowest| *height == lowest)).take(room).collect()
    }

    /// Blocks that one peer is asked for, and who that is, lowest first.
    pub(super) fn single(&self) -> Vec<(u32, ConnId)> {
        let asked = self.wanted.iter().filter_map(|(height, wanted)| match wanted.asked() {
            [peer] => Some((*height, *peer)),
            _ => None,
        });
        asked.collect()
    }

    /// Whether a peer has said that it does not have a block.
    pub(super) fn is_refused_by(&self, height: u32, peer: ConnId) -> bool {
        self.wanted.get(&height).is_some_and(|wanted| wanted.refused.contains(&peer))
    }

    /// Notes that `peer` is asked for a block.
    pub(super) fn ask(&mut self, peer: ConnId, height: u32) -> Option<BlockHash> {
        let wanted = self.wanted.get_mut(&height)?;
        let State::Asked(peers) = &mut wanted.state else { return None };
        peers.push(peer);
        Some(wanted.hash)
    }

    /// How many blocks `peer` is asked for.
    pub(super) fn owed_by(&self, peer: ConnId) -> usize {
        self.wanted.values().filter(|wanted| wanted.asked().contains(&peer)).count()
    }

    /// The height of a block that `peer` is asked for.
    pub(super) fn asked_of(&self, peer: ConnId, hash: &BlockHash) -> Option<u32> {
        let mut wanted = self.wanted.iter();
        let found = wanted.find(|(_, wanted)| wanted.hash == *hash && wanted.asked().contains(&peer));
        found.map(|(height, _)| *height)
    }

    /// Takes the digest of a block in, which had so many bytes. Returns who else is asked for it.
    pub(super) fn receive(
        &mut self,
        peer: ConnId,
        height: u32,
        length: usize,
        digest: Digest,
    ) -> Option<ConnId> {
        self.average = (self.average * 3 + length as u64) / 4;
        let wanted = self.wanted.get_mut(&height)?;
        let other = wanted.asked().iter().copied().find(|asked| *asked != peer);
        wanted.state = State::Read(digest);
        self.read += 1;
        other
    }

    /// Notes that a peer says that it does not have a block it was asked for.
    pub(super) fn refuse(&mut self, peer: ConnId, hash: &BlockHash) -> bool {
        let Some(height) = self.asked_of(peer, hash) else { return false };
        let Some(wanted) = self.wanted.get_mut(&height) else { return false };
        if let State::Asked(peers) = &mut wanted.state {
            peers.retain(|asked| *asked != peer);
        }
        wanted.refused.push(peer);
        true
    }

    /// What a peer did not have it may have now.
    pub(super) fn forget_refusals(&mut self, peer: ConnId) {
        self.wanted.values_mut().for_each(|wanted| wanted.refused.retain(|refused| *refused != peer));
    }

    /// Takes out the lowest block if it has been read, and is not above `limit`.
    pub(super) fn take_read(&mut self, limit: u32) -> Option<(BlockId, Digest)> {
        let entry = self.wanted.first_entry().filter(|entry| *entry.key() <= limit)?;
        if !matches!(entry.get().state, State::Read(_)) {
            return None;
        }
        let (height, wanted) = entry.remove_entry();
        match wanted.state {
            State::Read(digest) => Some((BlockId { height, hash: wanted.hash }, digest)),
            State::Asked(_) => unreachable!("it was seen to be read"),
        }
    }

    /// Whether `peer` owes a block.
    pub(super) fn is_waiting_for(&self, peer: ConnId) -> bool {
        self.owed_by(peer) > 0
    }

    /// Takes back what `peer` was asked for and has not sent.
    pub(super) fn release(&mut self, peer: ConnId) -> Vec<BlockHash> {
        let mut released = Vec::new();
        for wanted in self.wanted.values_mut() {
            if let State::Asked(peers) = &mut wanted.state
                && peers.contains(&peer)
            {
                peers.retain(|asked| *asked != peer);
                released.push(wanted.hash);
            }
        }
        released
    }

    /// Gives all up. Returns what was asked of whom.
    pub(super) fn clear(&mut self) -> Vec<(ConnId, BlockHash)> {
        let wanted = core::mem::take(&mut self.wanted);
        let asked = wanted.values().flat_map(|wanted| wanted.asked().iter().map(|peer| (*peer, wanted.hash)));
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
