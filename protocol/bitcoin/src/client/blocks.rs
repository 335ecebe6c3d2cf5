//! Blocks whose filters matched: fetched with their witnesses from as soon as that is known, checked against their
//! headers, kept as digests until all blocks before them are read.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use andon_kernel::ConnId;
use bitcoin::BlockHash;

use super::api::BlockId;
use super::filters::Matched;
use super::findings::Digest;

/// Blocks that may be asked for or wait as digests at a time. The lowest that is wanted may always be asked for.
const MAX_AHEAD: usize = 16;

/// What a block is taken to have before one has come: as a recent one.
const USUAL_BLOCK: u64 = 1_500_000;

/// The blocks that are wanted, by height.
#[derive(Debug)]
pub(super) struct Blocks {
    wanted: BTreeMap<u32, Wanted>,
    /// Who is asked for which: a block of one peer, or of a second one too where the first is slow.
    asked: Vec<Asked>,
    /// Digests that wait.
    digests: usize,
    read: u32,
    /// Bytes of a block, on average over the last ones.
    average: u64,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    peer: ConnId,
    height: u32,
    /// Of the request.
    serial: u64,
}

#[derive(Debug)]
struct Wanted {
    hash: BlockHash,
    is_decoy: bool,
    digest: Option<Digest>,
    /// Peers that have said that they do not have it.
    refused: Vec<ConnId>,
}

impl Default for Blocks {
    fn default() -> Self {
        Self { wanted: BTreeMap::new(), asked: Vec::new(), digests: 0, read: 0, average: USUAL_BLOCK }
    }
}

impl Blocks {
    /// Wants a block.
    pub(super) fn want(&mut self, Matched { block, is_decoy }: Matched) {
        let wanted = Wanted { hash: block.hash, is_decoy, digest: None, refused: Vec::new() };
        self.wanted.insert(block.height, wanted);
    }

    /// How many are wanted and not taken out.
    pub(super) fn len(&self) -> usize {
        self.wanted.len()
    }

    /// The lowest block that is wanted and not taken out, of those from `next` to `limit`.
    pub(super) fn first(&self, next: u32, limit: u32) -> Option<u32> {
        self.wanted.range(next..).next().map(|(height, _)| *height).filter(|height| *height <= limit)
    }

    /// Bytes of a block, on average.
    pub(super) fn average(&self) -> u64 {
        self.average
    }

    /// Blocks that can be asked for now and that nobody is asked for, lowest first.
    pub(super) fn free(&self) -> Vec<u32> {
        let room = MAX_AHEAD.saturating_sub(self.asked.len() + self.digests);
        let is_free =
            |(height, wanted): &(&u32, &Wanted)| wanted.digest.is_none() && !self.is_asked(**height);
        if room == 0 {
            return self.wanted.iter().take(1).filter(is_free).map(|(height, _)| *height).collect();
        }
        self.wanted.iter().filter(is_free).take(room).map(|(height, _)| *height).collect()
    }

    fn is_asked(&self, height: u32) -> bool {
        self.asked.iter().any(|asked| asked.height == height)
    }

    /// Blocks that one peer is asked for, and who that is.
    pub(super) fn single(&self) -> Vec<(u32, ConnId)> {
        let count = |height| self.asked.iter().filter(|asked| asked.height == height).count();
        let single = self.asked.iter().filter(|asked| count(asked.height) == 1);
        single.map(|asked| (asked.height, asked.peer)).collect()
    }

    /// Whether a peer has said that it does not have a block.
    pub(super) fn is_refused_by(&self, height: u32, peer: ConnId) -> bool {
        self.wanted.get(&height).is_some_and(|wanted| wanted.refused.contains(&peer))
    }

    /// Notes that `peer` is asked for a block.
    pub(super) fn ask(&mut self, peer: ConnId, serial: u64, height: u32) -> Option<BlockHash> {
        let hash = self.wanted.get(&height)?.hash;
        self.asked.push(Asked { peer, height, serial });
        Some(hash)
    }

    /// Whether `peer` has not answered one of the requests up to `serial`, though it has answered what came after them.
    pub(super) fn is_unanswered(&self, peer: ConnId, serial: u64) -> bool {
        self.asked.iter().any(|asked| asked.peer == peer && asked.serial <= serial)
    }

    /// How many blocks `peer` is asked for.
    pub(super) fn owed_by(&self, peer: ConnId) -> usize {
        self.asked.iter().filter(|asked| asked.peer == peer).count()
    }

    /// The height of a block that `peer` is asked for.
    pub(super) fn asked_of(&self, peer: ConnId, hash: &BlockHash) -> Option<u32> {
        let mut heights = self.asked.iter().filter(|asked| asked.peer == peer).map(|asked| asked.height);
        heights.find(|height| self.wanted.get(height).is_some_and(|wanted| wanted.hash == *hash))
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
        wanted.digest = Some(digest);
        self.digests += 1;
        self.read += 1;
        let other = self.asked.iter().find(|asked| asked.height == height && asked.peer != peer);
        let other = other.map(|other| other.peer);
        self.asked.retain(|asked| asked.height != height);
        other
    }

    /// Notes that a peer says that it does not have a block. False: it was not asked for it.
    pub(super) fn refuse(&mut self, peer: ConnId, hash: &BlockHash) -> bool {
        let Some(height) = self.asked_of(peer, hash) else { return false };
        self.asked.retain(|asked| (asked.peer, asked.height) != (peer, height));
        if let Some(wanted) = self.wanted.get_mut(&height) {
            wanted.refused.push(peer);
        }
        true
    }

    /// What a peer did not have it may have now.
    pub(super) fn forget_refusals(&mut self, peer: ConnId) {
        self.wanted.values_mut().for_each(|wanted| wanted.refused.retain(|refused| *refused != peer));
    }

    /// Takes out the lowest block of those from `next` to `limit` if it has been read.
    pub(super) fn take_read(&mut self, next: u32, limit: u32) -> Option<(Matched, Digest)> {
        let height = self.first(next, limit)?;
        let wanted = self.wanted.get_mut(&height)?;
        let digest = wanted.digest.take()?;
        let block = BlockId { height, hash: wanted.hash };
        let is_decoy = wanted.is_decoy;
        self.digests -= 1;
        self.wanted.remove(&height);
        Some((Matched { block, is_decoy }, digest))
    }

    /// Whether `peer` owes a block.
    pub(super) fn is_waiting_for(&self, peer: ConnId) -> bool {
        self.owed_by(peer) > 0
    }

    /// Takes back what `peer` was asked for and has not sent.
    pub(super) fn release(&mut self, peer: ConnId) -> Vec<BlockHash> {
        let released = self.asked.iter().filter(|asked| asked.peer == peer);
        let hashes = released.filter_map(|asked| Some(self.wanted.get(&asked.height)?.hash)).collect();
        self.asked.retain(|asked| asked.peer != peer);
        hashes
    }

    /// Gives up those at these heights. Returns what was asked of whom.
    pub(super) fn give_up(&mut self, first: u32, last: u32) -> Vec<(ConnId, BlockHash)> {
        let given_up = first..=last;
        let asked = self.asked.extract_if(.., |asked| given_up.contains(&asked.height));
        let late =
            asked.filter_map(|asked| Some((asked.peer, self.wanted.get(&asked.height)?.hash))).collect();
        self.wanted.retain(|height, _| !given_up.contains(height));
        self.digests = self.wanted.values().filter(|wanted| wanted.digest.is_some()).count();
        late
    }

    /// How many have been read since the start.
    pub(super) fn read(&self) -> u32 {
        self.read
    }

    /// How many are wanted and not read.
    pub(super) fn unread(&self) -> u32 {
        (self.wanted.len() - self.digests) as u32
    }
}
