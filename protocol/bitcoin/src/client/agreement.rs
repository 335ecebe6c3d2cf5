//! Filter headers that can be trusted (BIP157): whose word is asked for, and up to where it is enough.
//!
//! A filter header commits to the filters of all blocks up to its own. So whoever names the same one at a height has the
//! same ones below, and 122 bytes say so: a range of one filter header is asked of each peer, at the end of what is known.
//! While many are missing, what it has named at every thousandth block says so without being asked: see `checkpoints`.
//! Up to the last known filter header ([`Config::known_filter_headers`](super::Config::known_filter_headers)) nobody is
//! asked. Above it, filters are searched as far as peers of so many groups agree, or of all groups that there are if there
//! are fewer; a peer has one vote while it is connected, and so has a group. Who disagrees is heard: see `dispute`.
//!
//! A group is what one operator is likely to hold together: the addresses of an IPv4 network with the same first 16 bits,
//! of an IPv6 network with the same first 32. A host name is a group of its own, and so is each address of this machine and
//! of private networks, with its port.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

use andon_kernel::ConnId;
use bitcoin::FilterHeader;

use super::api::{BlockId, Decision, Event, Reason};
use super::config::Endpoint;
use super::dial::TargetId;
use super::dispute::Dispute;
use super::peer::{Headers, Origin, Peer, Whom};
use super::{Client, Misbehaviour, Then, Turn, record};
use crate::addresses::{Group, Grouping, Location, is_routable};
use crate::points;
use crate::wire::{FILTER_TYPE_BASIC, FilterRequest, Message};

/// How many more filter headers must be known until a peer is asked again whether its own are the same, while they are
/// still coming: the search need not wait for the last.
const STEP: u32 = 10_000;

/// New blocks whose filter headers all peers are asked for at once.
const EARLY: u32 = 3;

/// Filter headers that were proven false and are remembered, the last ones.
const MAX_PROVEN_FALSE: usize = 64;

/// Requests in a row that a peer may answer with silence and still be waited for: seconds. A node's filter index lags a
/// moment behind its blocks, and a new filter header must not be believed of another for that.
const PATIENCE: u32 = 4;

/// Who agrees, and who does not.
#[derive(Debug, Default)]
pub(super) struct Agreement {
    /// Filter headers that are known beforehand, by height.
    known: BTreeMap<u32, FilterHeader>,
    /// The block at which each peer was asked for its filter header, and has not answered.
    asked: BTreeMap<ConnId, BlockId>,
    /// What peers said of new blocks before ours had come.
    early: BTreeMap<ConnId, (BlockId, FilterHeader)>,
    pub(super) dispute: Option<Dispute>,
    /// Filter headers that their blocks prove false: nobody is believed them again, who comes back after it was let go among
    /// others, and may be alone then.
    proven_false: VecDeque<(BlockId, FilterHeader)>,
    /// What was told last of filter headers that nothing can be proven about.
    told: Option<(u32, FilterHeader, Decision)>,
    /// The height below which those must be that are searched, for peers differ there and none are more.
    undecided: Option<u32>,
}

/// A peer's own filter header at the first height where it differs, after both sides were heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dissent {
    pub(super) height: u32,
    pub(super) theirs: FilterHeader,
    /// What we have instead.
    pub(super) ours: FilterHeader,
}

/// Peers that have one vote together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Voter {
    /// Those whose addresses one owner may have many of.
    Group(Group),
    /// One that was given by name, or is of this machine or a private network.
    Own(TargetId),
}

impl Agreement {
    pub(super) fn new(config: &super::Config) -> Self {
        let compiled = points::known_filter_headers(config.network);
        // Those of the user's own are looked at last, and stand.
        let known = compiled.chain(config.known_filter_headers.iter().copied()).collect();
        Self { known, ..Self::default() }
    }

    /// Whether a peer was asked for its filter header and has not answered.
    pub(super) fn is_waiting_for(&self, conn: ConnId) -> bool {
        self.asked.contains_key(&conn) || self.dispute.as_ref().is_some_and(|dispute| dispute.waits_for(conn))
    }

    /// The lowest known height whose filter header is not the one that stands for it, of some from the height `first` on.
    pub(super) fn contradicted_by(&self, first: u32, headers: &[FilterHeader]) -> Option<u32> {
        let other = |(height, known): (&u32, &FilterHeader)| {
            let header = headers.get((height - first) as usize);
            header.map(|header| (header != known).then_some(*height))
        };
        self.known.range(first..).map_while(other).flatten().next()
    }

    /// The lowest known height at which `named` is another filter header.
    pub(super) fn contradicted_at(&self, named: impl Fn(u32) -> Option<FilterHeader>) -> Option<u32> {
        let mut known = self.known.iter();
        known
            .find(|(height, known)| named(**height).is_some_and(|named| named != **known))
            .map(|(height, _)| *height)
    }

    /// The highest known height below `next`.
    pub(super) fn last_known(&self, next: u32) -> Option<u32> {
        self.known.range(..next).next_back().map(|(height, _)| *height)
    }

    /// The lowest known height at or above `height`, below `next`.
    pub(super) fn known_above(&self, height: u32, next: u32) -> Option<u32> {
        (height < next).then(|| self.known.range(height..next).next().map(|(height, _)| *height)).flatten()
    }

    /// Notes that a filter header was proven false by its block.
    pub(super) fn note_false(&mut self, block: BlockId, header: FilterHeader) {
        if !self.proven_false.contains(&(block, header)) {
            if self.proven_false.len() == MAX_PROVEN_FALSE {
                self.proven_false.pop_front();
            }
            self.proven_false.push_back((block, header));
        }
    }

    /// The block whose filter header was proven false before, of some filter headers from the height `first` on.
    pub(super) fn proven_false_among(&self, first: u32, headers: &[FilterHeader]) -> Option<BlockId> {
        let is_among = |(block, header): &&(BlockId, FilterHeader)| {
            block.height.checked_sub(first).and_then(|index| headers.get(index as usize)) == Some(header)
        };
        self.proven_false.iter().find(is_among).map(|(block, _)| *block)
    }

    /// A peer is asked for nothing any more. Returns how many answers it owes.
    pub(super) fn release(&mut self, conn: ConnId) -> u32 {
        self.early.remove(&conn);
        u32::from(self.asked.remove(&conn).is_some())
    }
}

impl Client {
    /// The number of filter headers, from the first block on, that known ones prove.
    pub(super) fn proven_filter_headers(&self) -> u32 {
        let start = self.chain.start().height();
        let last = self.agreement.last_known(self.filter_headers.next()).filter(|last| *last >= start);
        last.map_or(0, |last| last + 1)
    }

    /// The number of filter headers, from the first block on, whose filters are searched.
    pub(super) fn trusted_filter_headers(&self) -> u32 {
        let caps = [self.agreement.undecided, self.agreement.dispute.as_ref().map(Dispute::low)];
        caps.into_iter().flatten().fold(self.filter_headers.trusted(), u32::min)
    }

    /// The height up to which a peer can be asked for filters: no further than it names the same filter headers, so that it
    /// is not taken to break its word where it never gave it.
    pub(super) fn serves_filters(&self, peer: &Peer) -> Option<u32> {
        self.serves(peer)?.min(peer.agrees.max(self.proven_filter_headers()).checked_sub(1)?).into()
    }

    /// Asks peers whether their filter headers are the same, and notes how far they are to be trusted.
    pub(super) fn agree(&mut self, turn: &mut Turn<'_>) {
        self.compare_early(turn);
        self.go_on_disputing(turn);
        if self.agreement.dispute.is_none() {
            self.tally(turn);
            self.ask_for_agreement(turn);
        }
        self.count_votes();
    }

    fn ask_for_agreement(&mut self, turn: &mut Turn<'_>) {
        let Some(last) = self.filter_headers.last() else { return };
        let proven = self.proven_filter_headers();
        for conn in self.connections() {
            let Some(peer) = self.peers.get(&conn) else { continue };
            let Some(best) = self.serves_filter_headers(peer) else { continue };
            let gives = self.filter_ranges.is_waiting_for(conn);
            if gives || !peer.is_of_one_mind() || self.agreement.asked.contains_key(&conn) {
                continue;
            }
            // Of new blocks at the tip it is asked while ours is on its way: nobody waits for it.
            let is_near = best <= last + EARLY && self.filter_ranges.is_waiting();
            let height = if is_near { best } else { best.min(last) };
            let new = (height + 1).saturating_sub(peer.agrees.max(proven));
            if new == 0 || (new < STEP && height < best) {
                continue;
            }
            // One whose best block has sunk below the window shows a better one before long.
            let Some((_, hash)) = self.chain.at(height) else { continue };
            self.ask_for_filter_header(turn, conn, BlockId { height, hash });
            self.agreement.asked.insert(conn, BlockId { height, hash });
        }
    }

    /// Asks a peer for one filter header.
    pub(super) fn ask_for_filter_header(&mut self, turn: &mut Turn<'_>, conn: ConnId, block: BlockId) {
        let (start_height, stop_hash) = (block.height, block.hash);
        let request = FilterRequest { filter_type: FILTER_TYPE_BASIC, start_height, stop_hash };
        self.send(turn, conn, &Message::GetCFHeaders(request));
        self.asked.insert(conn);
    }

    /// Takes the filter header that a peer was asked for, if this is one. False: it was not asked for it.
    pub(super) fn on_filter_header(
        &mut self,
        turn: &mut Turn<'_>,
        conn: ConnId,
        stop_hash: bitcoin::BlockHash,
        header: FilterHeader,
    ) -> Result<bool, Misbehaviour> {
        if self.agreement.asked.get(&conn).is_some_and(|asked| asked.hash == stop_hash) {
            let Some(block @ BlockId { height, .. }) = self.agreement.asked.remove(&conn) else {
                return Ok(true);
            };
            let same = self.filter_headers.before(height + 1).map(|ours| ours == header);
            match same {
                Some(true) => self.agrees_up_to(conn, height),
                // One dispute at a time: it is asked again when that is over.
                Some(false) if self.agreement.dispute.is_none() => {
                    self.begin_dispute(turn, conn, height, header)?;
                }
                None if height >= self.filter_headers.next() => {
                    self.agreement.early.insert(conn, (block, header));
                }
                Some(false) | None => {}
            }
            return Ok(true);
        }
        self.on_disputed_filter_header(conn, stop_hash, header)
    }

    /// Compares what peers said of new blocks with ours, which have come since.
    fn compare_early(&mut self, turn: &mut Turn<'_>) {
        let next = self.filter_headers.next();
        let early = self.agreement.early.iter().filter(|(_, (block, _))| block.height < next);
        let early: Vec<_> = early.map(|(conn, (block, header))| (*conn, *block, *header)).collect();
        for (conn, block, header) in early {
            self.agreement.early.remove(&conn);
            // The chain may have left the block.
            if !self.chain.holds(block) {
                continue;
            }
            let height = block.height;
            match self.filter_headers.before(height + 1) {
                Some(ours) if ours == header => self.agrees_up_to(conn, height),
                Some(_) if self.agreement.dispute.is_none() => {
                    if let Err(misbehaviour) = self.begin_dispute(turn, conn, height, header) {
                        self.drop_peer(turn, conn, Reason::Misbehaved(misbehaviour));
                    }
                }
                // It is asked again when that is over.
                Some(_) | None => {}
            }
        }
    }

    /// Notes that a peer has the same filter headers, up to this height.
    pub(super) fn agrees_up_to(&mut self, conn: ConnId, height: u32) {
        if let Some(peer) = self.peers.get_mut(&conn) {
            peer.agrees = peer.agrees.max(height + 1);
        }
    }

    /// Notes how far peers agree.
    fn count_votes(&mut self) {
        let mut trusted = self.trusted_filter_headers().max(self.proven_filter_headers());
        let next = self.filter_headers.next();
        if trusted < next && self.agreement.dispute.is_none() {
            // What each group has said, and could say.
            let mut groups: BTreeMap<Voter, (u32, u32)> = BTreeMap::new();
            for peer in self.peers.values().filter(|peer| peer.is_of_one_mind() && is_waited_for(peer)) {
                let Some(best) = peer.best.and_then(|best| self.chain.common(best)) else { continue };
                let (agrees, shown) = groups.entry(self.voter(peer)).or_default();
                *agrees = peer.agrees.max(*agrees);
                *shown = (best + 1).max(*shown);
            }
            let quorum = usize::from(self.config.filter_header_quorum).max(1);
            let enough = |height: u32| {
                let agree = groups.values().filter(|(agrees, _)| *agrees >= height).count();
                let able = groups.values().filter(|(_, shown)| *shown >= height).count();
                agree >= quorum.min(able).max(1)
            };
            if !groups.is_empty()
                && groups.values().all(|(_, shown)| *shown < next)
                && self.headers_are_current()
            {
                // Nobody who is there has these blocks: what was believed of others stands.
                trusted = next;
            }
            let said: BTreeSet<u32> = groups.values().map(|(agrees, _)| *agrees).collect();
            if let Some(height) = said.into_iter().rev().find(|height| *height > trusted && enough(*height)) {
                trusted = height;
            }
        }
        let cap = self.agreement.undecided.unwrap_or(u32::MAX);
        self.filter_headers.trust(trusted.min(cap).min(next));
    }

    /// Decides between filter headers that nothing can be proven about: those of more groups are taken. With as many on
    /// either side none is; the search waits for another peer.
    fn tally(&mut self, turn: &mut Turn<'_>) {
        self.agreement.undecided = None;
        let dissents = self.peers.values().filter_map(|peer| peer.dissent);
        let Some(Dissent { height, ours, .. }) = dissents.min_by_key(|dissent| dissent.height) else {
            self.agreement.told = None;
            return;
        };
        if self.filter_headers.last().is_none_or(|last| last < height) {
            // What was decided is on its way, and nobody has named it anew.
            return;
        }
        let mut votes: BTreeMap<Voter, Option<FilterHeader>> = BTreeMap::new();
        for peer in self.peers.values().filter(|peer| is_waited_for(peer)) {
            let vote = match peer.dissent {
                Some(dissent) if dissent.height == height => dissent.theirs,
                None if peer.agrees > height => ours,
                // It has the same here and differs above, or has not said.
                Some(_) => ours,
                None => continue,
            };
            let group = votes.entry(self.voter(peer)).or_insert(Some(vote));
            // Who says both says nothing.
            *group = group.filter(|before| *before == vote);
        }
        let mut counts: BTreeMap<FilterHeader, u32> = BTreeMap::new();
        votes.values().flatten().for_each(|vote| *counts.entry(*vote).or_default() += 1);
        let for_ours = counts.remove(&ours).unwrap_or(0);
        let other = counts.into_iter().max_by_key(|(_, votes)| *votes);
        let Some((theirs, for_theirs)) = other else { return };
        let decision = match for_theirs.cmp(&for_ours) {
            core::cmp::Ordering::Less => Decision::Kept,
            core::cmp::Ordering::Equal => Decision::Open,
            core::cmp::Ordering::Greater => Decision::Replaced,
        };
        if self.agreement.told != Some((height, theirs, decision)) {
            self.agreement.told = Some((height, theirs, decision));
            turn.out.event(Event::FilterHeadersDisputed {
                height,
                ours: for_ours,
                theirs: for_theirs,
                decision,
            });
        }
        match decision {
            Decision::Kept => {}
            Decision::Open => self.agreement.undecided = Some(height),
            Decision::Replaced => {
                let named = |peer: &Peer| match peer.dissent {
                    None if peer.agrees > height => Some(ours),
                    Some(dissent) if dissent.height == height => Some(dissent.theirs),
                    _ => None,
                };
                let dissents: Vec<(ConnId, Dissent)> = self
                    .peers
                    .iter()
                    .filter_map(|(conn, peer)| Some((*conn, named(peer)?)))
                    .filter(|(_, named)| *named != theirs)
                    .map(|(conn, named)| (conn, Dissent { height, theirs: named, ours: theirs }))
                    .collect();
                self.replace_filter_headers(turn, height);
                for (conn, dissent) in dissents {
                    if let Some(peer) = self.peers.get_mut(&conn) {
                        peer.dissent = Some(dissent);
                    }
                }
            }
        }
    }

    /// With whom a peer that was given votes.
    pub(super) fn target_voter(&self, target: TargetId) -> Voter {
        voter(Origin::Given(target), self.targets.endpoint(target), &self.config.grouping)
    }

    pub(super) fn voter(&self, peer: &Peer) -> Voter {
        let endpoint = match peer.origin {
            Origin::Broadcast { whom: Whom::Given(target), .. } => self.targets.endpoint(target),
            _ => &peer.endpoint,
        };
        voter(peer.origin, endpoint, &self.config.grouping)
    }

    /// Drops the filter headers from this height on, and what was found with them: they were not the right ones.
    pub(super) fn replace_filter_headers(&mut self, turn: &mut Turn<'_>, from: u32) {
        let start = self.chain.start().height();
        let row = record::row_first(start, from.max(start));
        if self.filter_headers.before(row + 1).is_none() && row < self.filter_headers.next() {
            return self.replace_deep_filter_headers(turn, row);
        }
        self.forget_filter_headers_from(from);
        self.restart_fetch(from);
        let then = if self.search_goes_back(turn, from) { Then::TakeBack } else { Then::Nothing };
        let filter_row = self.filter_header_row(from.max(start));
        let positions = self.search.watches.positions();
        self.synced = None;
        let events = Vec::from([Event::FilterHeadersReplaced { from }]);
        self.store(turn, events, then, |batch| {
            batch.delete_from(record::FILTER_HEADERS, &record::height_key(row));
            if let Some((first, row)) = filter_row {
                record::put_filter_headers(batch, first, row);
            }
            record::put_positions(batch, &positions);
        });
    }

    /// The same where what stands before them is no longer at hand: with it what is stored is read anew.
    fn replace_deep_filter_headers(&mut self, turn: &mut Turn<'_>, from: u32) {
        self.forget_filter_headers_from(from);
        self.search_goes_back(turn, from);
        let positions = self.search.watches.positions();
        self.start_again(turn, |client, turn, loading| {
            let events = Vec::from([Event::FilterHeadersReplaced { from }]);
            client.store(turn, events, Then::Nothing, |batch| {
                batch.delete_from(record::FILTER_HEADERS, &record::height_key(from));
                record::put_positions(batch, &positions);
            });
            client.load_anew(turn, loading);
        });
    }

    /// Takes back what was said of filter headers from this height on.
    pub(super) fn forget_agreement_from(&mut self, from: u32) {
        for peer in self.peers.values_mut() {
            peer.agrees = peer.agrees.min(from);
            peer.dissent = peer.dissent.filter(|dissent| dissent.height < from);
        }
        self.agreement.early.clear();
        let asked: Vec<ConnId> = self.agreement.asked.keys().copied().collect();
        for conn in asked {
            let owed = self.agreement.release(conn);
            if let Some(peer) = self.peers.get_mut(&conn) {
                peer.expect_late_filter_headers(owed);
            }
        }
        if self.agreement.dispute.as_ref().is_some_and(|dispute| dispute.high() >= from) {
            self.drop_dispute();
        }
    }

    /// A peer is gone, or passed over: nothing of it is waited for.
    pub(super) fn release_agreement(&mut self, conn: ConnId) {
        let owed = self.agreement.release(conn);
        if let Some(peer) = self.peers.get_mut(&conn) {
            peer.expect_late_filter_headers(owed);
        }
        self.release_dispute(conn);
    }
}

/// Whether a peer has a say: it is there, has shown what blocks it has, and is no more than a moment behind with filters.
fn is_waited_for(peer: &Peer) -> bool {
    let shown = matches!(peer.headers, Headers::Done | Headers::Withheld);
    let lags = (1..PATIENCE).contains(&peer.silences);
    peer.is_ready() && (shown || peer.agrees > 0) && (peer.passed_over.is_none() || lags)
}

fn voter(origin: Origin, endpoint: &Endpoint, grouping: &Grouping) -> Voter {
    let host = match (origin, endpoint) {
        (
            Origin::Given(target) | Origin::Broadcast { whom: Whom::Given(target), .. },
            Endpoint::Host { .. },
        ) => {
            return Voter::Own(target);
        }
        (
            Origin::Given(target) | Origin::Broadcast { whom: Whom::Given(target), .. },
            Endpoint::Address(address),
        ) => {
            let host = Location::from(*address).host;
            if !is_routable(&host) {
                return Voter::Own(target);
            }
            host
        }
        (Origin::Book { location, .. } | Origin::Broadcast { whom: Whom::Found(location), .. }, _) => {
            location.host
        }
        (Origin::Seed(source), _) => return Voter::Group(grouping.of_source(&source)),
    };
    Voter::Group(grouping.of(&host))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that can not go on has failed")]

    use super::*;
    use crate::client::dial::Targets;

    #[test]
    fn addresses_of_one_network_are_one_group() {
        let endpoints = [
            ("203.0.114.5:8333", 0),
            ("203.0.7.1:8334", 0),
            ("[::ffff:203.0.9.9]:8333", 0),
            ("203.1.113.5:8333", 3),
            ("[2001:dc8::1]:8333", 4),
            ("[2001:dc8:7::2]:8333", 4),
            ("[2001:db9::1]:8333", 6),
            ("127.0.0.1:8333", 7),
            ("127.0.0.1:8334", 8),
            ("10.0.0.1:8333", 9),
            ("10.0.0.2:8333", 10),
            ("192.168.1.1:8333", 11),
            ("169.254.1.1:8333", 12),
            ("[::1]:8333", 13),
            ("[fd00::1]:8333", 14),
            ("[fd00::2]:8333", 15),
            ("[fe80::1]:8333", 16),
            ("node.example.org:8333", 17),
            ("other.example.org:8333", 18),
        ];
        let mut targets = Targets::default();
        let mut groups = Vec::new();
        for (text, same) in endpoints {
            targets.add(&Endpoint::parse(text, bitcoin::Network::Bitcoin).unwrap());
            let target = *targets.ids().last().unwrap();
            groups.push(voter(Origin::Given(target), targets.endpoint(target), &Grouping::by_prefix()));
            let first = groups.iter().position(|group| group == groups.last().unwrap());
            assert_eq!(first, Some(same), "{text}");
        }
    }
}
