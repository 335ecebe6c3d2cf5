//! Blocks whose filters matched, and those that the application wants to have: fetched with their witnesses from as soon as
//! that is known, and checked against their headers. Of the former digests are kept until all blocks before them are read.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use andon_kernel::ConnId;
use bitcoin::block::Header;
use bitcoin::consensus::encode::Decodable;
use bitcoin::{Block, BlockHash, Weight};

use super::api::{BlockId, Event, HeaderQuery, RequestId};
use super::filters::Matched;
use super::findings::Digest;
use super::search::BLOCK;
use super::{Client, Misbehaviour, Turn};
use crate::block;
use crate::fees::BlockFees;

/// Blocks that may be asked for or wait as digests at a time. The lowest that is wanted may always be asked for.
const MAX_AHEAD: usize = 16;

/// Blocks for the application that may be asked for at a time.
const MAX_FETCHED: usize = 4;

/// What a block is taken to have before one has come: as a recent one.
const USUAL_BLOCK: u64 = 1_500_000;

/// The blocks that are wanted, by height.
#[derive(Debug)]
pub(super) struct Blocks {
    wanted: BTreeMap<u32, Wanted>,
    /// Who is asked for which: a block of one peer, or of a second one too where the first is slow.
    asked: Vec<Asked>,
    /// How many of them the search wants, and how many of those have been read.
    searched: usize,
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

/// A block that is wanted: for the search, for the application, or for both.
#[derive(Debug)]
struct Wanted {
    hash: BlockHash,
    search: Option<Searched>,
    /// What the application asked for.
    queries: Vec<Fetch>,
    /// Peers that have said that they do not have it.
    refused: Vec<ConnId>,
}

/// What the application asked for, and by which number it knows that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fetch {
    pub(super) query: HeaderQuery,
    pub(super) request: Option<RequestId>,
}

/// What the search wants it for.
#[derive(Debug)]
struct Searched {
    is_decoy: bool,
    digest: Option<Digest>,
}

impl Wanted {
    fn new(hash: BlockHash) -> Self {
        Self { hash, search: None, queries: Vec::new(), refused: Vec::new() }
    }

    /// Whether the search waits for it.
    fn is_searched(&self) -> bool {
        self.search.as_ref().is_some_and(|search| search.digest.is_none())
    }

    fn has_digest(&self) -> bool {
        self.search.as_ref().is_some_and(|search| search.digest.is_some())
    }
}

impl Default for Blocks {
    fn default() -> Self {
        Self {
            wanted: BTreeMap::new(),
            asked: Vec::new(),
            searched: 0,
            digests: 0,
            read: 0,
            average: USUAL_BLOCK,
        }
    }
}

impl Blocks {
    /// Wants a block for the search.
    pub(super) fn want(&mut self, Matched { block, is_decoy }: Matched) {
        let search = &mut self.entry(block).search;
        if search.is_none() {
            *search = Some(Searched { is_decoy, digest: None });
            self.searched += 1;
        }
    }

    /// Wants a block for the application.
    pub(super) fn fetch(&mut self, fetch: Fetch, block: BlockId) {
        self.entry(block).queries.push(fetch);
    }

    /// How many the application has asked for.
    pub(super) fn fetches(&self) -> usize {
        self.wanted.values().map(|wanted| wanted.queries.len()).sum()
    }

    /// The application gives a request up. Returns what was asked of whom, and nobody wants any more.
    pub(super) fn cancel(&mut self, id: RequestId) -> Vec<(ConnId, BlockHash)> {
        self.wanted.values_mut().for_each(|wanted| wanted.queries.retain(|fetch| fetch.request != Some(id)));
        self.forget_unwanted()
    }

    fn entry(&mut self, block: BlockId) -> &mut Wanted {
        self.wanted.entry(block.height).or_insert_with(|| Wanted::new(block.hash))
    }

    /// Those that the application asked for from a height on are not in the best chain any more. Returns what it asked for, to
    /// be looked up again, and what was asked of whom.
    pub(super) fn unfetch(&mut self, first: u32) -> (Vec<Fetch>, Vec<(ConnId, BlockHash)>) {
        let wanted = self.wanted.range_mut(first..);
        let queries = wanted.flat_map(|(_, wanted)| core::mem::take(&mut wanted.queries)).collect();
        (queries, self.forget_unwanted())
    }

    /// Forgets blocks that nobody wants. Returns what was asked of whom.
    fn forget_unwanted(&mut self) -> Vec<(ConnId, BlockHash)> {
        let is_wanted = |wanted: &Wanted| wanted.search.is_some() || !wanted.queries.is_empty();
        let needed = |wanted: &Wanted| wanted.is_searched() || !wanted.queries.is_empty();
        let over = self.asked.extract_if(.., |asked| !self.wanted.get(&asked.height).is_some_and(needed));
        let late =
            over.filter_map(|asked| Some((asked.peer, self.wanted.get(&asked.height)?.hash))).collect();
        self.wanted.retain(|_, wanted| is_wanted(wanted));
        late
    }

    /// How many the search wants and has not taken out.
    pub(super) fn searched(&self) -> usize {
        self.searched
    }

    /// Whether nobody wants any.
    pub(super) fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    /// The lowest block that the search wants and has not taken out, of those from `next` to `limit`.
    pub(super) fn first(&self, next: u32, limit: u32) -> Option<u32> {
        let mut searched = self.wanted.range(next..).filter(|(_, wanted)| wanted.search.is_some());
        searched.next().map(|(height, _)| *height).filter(|height| *height <= limit)
    }

    /// Bytes of a block, on average.
    pub(super) fn average(&self) -> u64 {
        self.average
    }

    /// Blocks that the search wants, that can be asked for now and that nobody is asked for, lowest first.
    pub(super) fn free(&self) -> Vec<u32> {
        let searched = self.wanted.iter().filter(|(_, wanted)| wanted.is_searched());
        let room = MAX_AHEAD.saturating_sub(self.asked.len() + self.digests);
        let free = |height: &u32| !self.is_asked(*height);
        if room > 0 {
            return searched.map(|(height, _)| *height).filter(free).take(room).collect();
        }
        // The lowest may always be asked for.
        let lowest = self.wanted.iter().find(|(_, wanted)| wanted.search.is_some());
        let lowest = lowest.filter(|(_, wanted)| wanted.is_searched());
        lowest.map(|(height, _)| *height).filter(free).into_iter().collect()
    }

    /// The same, of those that the application alone waits for.
    pub(super) fn free_to_fetch(&self) -> Vec<u32> {
        let fetched =
            || self.wanted.iter().filter(|(_, wanted)| !wanted.is_searched() && !wanted.queries.is_empty());
        let (asked, free): (Vec<u32>, Vec<u32>) =
            fetched().map(|(height, _)| *height).partition(|height| self.is_asked(*height));
        let room = MAX_FETCHED.saturating_sub(asked.len());
        free.into_iter().take(room).collect()
    }

    fn is_asked(&self, height: u32) -> bool {
        self.asked.iter().any(|asked| asked.height == height)
    }

    /// The block that one peer is asked for and that is waited for most, and who that is: the search's lowest first.
    pub(super) fn single(&self) -> Option<(u32, ConnId)> {
        let count = |height| self.asked.iter().filter(|asked| asked.height == height).count();
        let single = self.asked.iter().filter(|asked| count(asked.height) == 1);
        let first = single.min_by_key(|asked| (!self.uses(asked.height).0, asked.height));
        first.map(|asked| (asked.height, asked.peer))
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

    /// What a block is wanted for: whether the search waits for it, and what the application asked for.
    pub(super) fn uses(&self, height: u32) -> (bool, &[Fetch]) {
        self.wanted.get(&height).map_or((false, &[]), |wanted| (wanted.is_searched(), &wanted.queries))
    }

    /// Notes that a block has come, which had so many bytes; its digest if the search waits for it. Returns who else is asked
    /// for it, and what the application asked for.
    pub(super) fn receive(
        &mut self,
        peer: ConnId,
        height: u32,
        length: usize,
        digest: Option<Digest>,
    ) -> (Option<ConnId>, Vec<Fetch>) {
        self.average = (self.average * 3 + length as u64) / 4;
        let other = self.asked.iter().find(|asked| asked.height == height && asked.peer != peer);
        let other = other.map(|other| other.peer);
        self.asked.retain(|asked| asked.height != height);
        let Some(wanted) = self.wanted.get_mut(&height) else { return (other, Vec::new()) };
        let queries = core::mem::take(&mut wanted.queries);
        match (&mut wanted.search, digest) {
            (Some(search @ Searched { digest: None, .. }), Some(digest)) => {
                search.digest = Some(digest);
                self.digests += 1;
                self.read += 1;
            }
            (Some(_), _) => {}
            (None, _) => drop(self.wanted.remove(&height)),
        }
        (other, queries)
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

    /// Takes out the lowest block that the search wants of those from `next` to `limit`, if it has been read.
    pub(super) fn take_read(&mut self, next: u32, limit: u32) -> Option<(Matched, Digest)> {
        let height = self.first(next, limit)?;
        let wanted = self.wanted.get_mut(&height)?;
        let Searched { is_decoy, digest } = wanted.search.as_mut()?;
        let (is_decoy, digest) = (*is_decoy, digest.take()?);
        let block = BlockId { height, hash: wanted.hash };
        wanted.search = None;
        self.digests -= 1;
        self.searched -= 1;
        if wanted.queries.is_empty() {
            self.wanted.remove(&height);
        }
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

    /// The search gives those at these heights up. Returns what was asked of whom.
    pub(super) fn give_up(&mut self, first: u32, last: u32) -> Vec<(ConnId, BlockHash)> {
        if first <= last {
            self.wanted.range_mut(first..=last).for_each(|(_, wanted)| wanted.search = None);
        }
        self.searched = self.wanted.values().filter(|wanted| wanted.search.is_some()).count();
        self.digests = self.wanted.values().filter(|wanted| wanted.has_digest()).count();
        self.forget_unwanted()
    }

    /// How many have been read since the start.
    pub(super) fn read(&self) -> u32 {
        self.read
    }

    /// How many the search wants and has not read.
    pub(super) fn unread(&self) -> u32 {
        (self.searched - self.digests) as u32
    }
}

impl Client {
    /// Reads a block that was asked for: for the search, for the application, or for both.
    pub(super) fn on_block(
        &mut self,
        turn: &mut Turn<'_>,
        conn: ConnId,
        bytes: &[u8],
    ) -> Result<(), Misbehaviour> {
        let header = Header::consensus_decode(&mut &*bytes).map_err(|_| Misbehaviour::Malformed(BLOCK))?;
        let hash = header.block_hash();
        if self.on_disputed_block(conn, hash, bytes)? {
            return Ok(());
        }
        let Some(peer) = self.peers.get_mut(&conn) else { return Ok(()) };
        let Some(height) = self.search.blocks.asked_of(conn, &hash) else {
            return if peer.take_late_block(&hash) { Ok(()) } else { Err(Misbehaviour::Unrequested(BLOCK)) };
        };
        let network = self.config.network;
        let (is_searched, queries) = self.search.blocks.uses(height);
        let mut digest = is_searched.then(Digest::default);
        let mut fetched = (!queries.is_empty()).then(Vec::new);
        let watches = &self.search.watches;
        let outgoing = &self.broadcasting.outgoing;
        let mut coinbase = None;
        let (mut weight, mut count) = (Weight::ZERO, 0);
        block::visit(bytes, &hash, height >= block::segwit_height(network), |txid, transaction| {
            weight += transaction.weight();
            count += 1;
            if coinbase.is_none() {
                coinbase = Some(transaction.clone());
            }
            if let Some(fetched) = &mut fetched {
                fetched.push(transaction.clone());
            }
            if let Some(digest) = &mut digest {
                digest.add(txid, transaction, watches, outgoing);
            }
        })
        .map_err(|_| Misbehaviour::WrongBlock)?;
        peer.note_answer();
        let fees =
            coinbase.and_then(|coinbase| BlockFees::new(&coinbase, weight, count, height, network).ok());
        if let Some(digest) = &mut digest {
            digest.shrink();
            digest.fees = fees;
        }
        let (other, queries) = self.search.blocks.receive(conn, height, bytes.len(), digest);
        if let Some(peer) = other.and_then(|other| self.peers.get_mut(&other)) {
            peer.expect_late_block(hash);
        }
        if let Some(txdata) = fetched {
            let block = BlockId { height, hash };
            if let Some(fees) = fees {
                self.fees.recent.add(block, fees);
            }
            for Fetch { query, request } in queries {
                let found = Some((block, Block { header, txdata: txdata.clone() }));
                self.answer(turn, request, Event::Block { query, found });
            }
        }
        Ok(())
    }
}
