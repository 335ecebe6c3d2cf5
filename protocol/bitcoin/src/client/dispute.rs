//! A peer whose filter headers are not ours: where it first differs, and what the block there says of either side's filter.
//!
//! The height is found by halving. Both sides are asked for their filter of that block, and one of them for the block. A
//! filter that lacks what the block shows ([`filter::omission`]) is proven false, and so is everyone who vouched for it. A
//! filter that holds too much can't be told from a right one: then the peers that there are decide, in `agreement`.
//! One dispute at a time holds two filters and a block at most.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use andon_kernel::{ConnId, Rows, Ticket};
use bitcoin::hashes::Hash;
use bitcoin::p2p::ServiceFlags;
use bitcoin::{Block, BlockHash, FilterHeader};

use super::agreement::Dissent;
use super::api::{BlockId, Event, Reason};
use super::downloads::LIMITED_DEPTH;
use super::{Client, Misbehaviour, Turn, record};
use crate::block;
use crate::filter::{self, Omission, Place};
use crate::wire::{FILTER_TYPE_BASIC, FilterRequest, INV_WITNESS_BLOCK, Inventory, Message};

/// A peer that differs.
#[derive(Debug)]
pub(super) struct Dispute {
    conn: ConnId,
    /// Below this height it has the same filter headers.
    low: u32,
    /// At this height it has another.
    high: u32,
    theirs: FilterHeader,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// The next height is to be chosen.
    Choosing,
    /// What we have there is being loaded.
    Loading(Loading),
    /// The peer is asked for its filter header of this block, where we have `ours`.
    Asked {
        block: BlockId,
        ours: FilterHeader,
    },
    Judging(Judging),
}

/// A block's hash, and the filter headers before it and its own.
#[derive(Debug)]
struct Loading {
    height: u32,
    headers: Ticket,
    hash: Option<BlockHash>,
    filter_headers: Ticket,
    links: Option<[FilterHeader; 2]>,
}

#[derive(Debug)]
struct Judging {
    block: BlockId,
    /// The filter header before it, and ours of it.
    links: [FilterHeader; 2],
    theirs: Option<Vec<u8>>,
    /// Whether it was asked of the peer.
    asked: bool,
    /// Who is asked for our side's filter.
    defender: Option<ConnId>,
    ours: Option<Vec<u8>>,
    body: Option<Block>,
    bearer: Option<ConnId>,
    /// Peers that had nothing to give.
    silent: BTreeSet<ConnId>,
}

impl Dispute {
    /// The height up to which, without it, both have the same filter headers.
    pub(super) fn low(&self) -> u32 {
        self.low
    }

    /// A height at which they differ.
    pub(super) fn high(&self) -> u32 {
        self.high
    }

    /// Whether a peer owes an answer.
    pub(super) fn waits_for(&self, conn: ConnId) -> bool {
        match &self.stage {
            Stage::Choosing | Stage::Loading(_) => false,
            Stage::Asked { .. } => self.conn == conn,
            Stage::Judging(judging) => {
                self.conn == conn && judging.asked && judging.theirs.is_none()
                    || judging.defender == Some(conn) && judging.ours.is_none()
                    || judging.bearer == Some(conn) && judging.body.is_none()
            }
        }
    }
}

impl Client {
    /// A peer has another filter header at this height than we have.
    pub(super) fn begin_dispute(
        &mut self,
        turn: &mut Turn<'_>,
        conn: ConnId,
        height: u32,
        theirs: FilterHeader,
    ) -> Result<(), Misbehaviour> {
        if let Some(known) = self.agreement.known_above(height, self.filter_headers.next()) {
            // What we have there is proven.
            return Err(Misbehaviour::ContradictsKnownFilterHeader(known));
        }
        let Some(peer) = self.peers.get(&conn) else { return Ok(()) };
        let low = peer.agrees.max(self.chain.start().height()).min(height);
        self.agreement.dispute = Some(Dispute { conn, low, high: height, theirs, stage: Stage::Choosing });
        self.go_on_disputing(turn);
        Ok(())
    }

    /// Does what is next about the dispute.
    pub(super) fn go_on_disputing(&mut self, turn: &mut Turn<'_>) {
        let Some(dispute) = &self.agreement.dispute else { return };
        match &dispute.stage {
            Stage::Choosing => {
                let proven = self.agreement.last_known(dispute.high).filter(|known| *known >= dispute.low);
                // First whether it contradicts what is known.
                let height = proven.unwrap_or(dispute.low + (dispute.high - dispute.low) / 2);
                self.load_disputed(turn, height);
            }
            Stage::Judging(_) => self.go_on_judging(turn),
            Stage::Loading(_) | Stage::Asked { .. } => {}
        }
    }

    fn load_disputed(&mut self, turn: &mut Turn<'_>, height: u32) {
        let start = self.chain.start().height();
        let hash = self.chain.at(height).map(|(_, hash)| hash);
        let links = match (self.filter_headers.before(height), self.filter_headers.before(height + 1)) {
            (Some(before), Some(own)) => Some([before, own]),
            // There is none before the first of a chain that starts further up.
            (None, Some(own)) if height == start => Some([FilterHeader::all_zeros(), own]),
            _ => None,
        };
        if let (Some(hash), Some(links)) = (hash, links) {
            return self.disputed_loaded_all(turn, BlockId { height, hash }, links);
        }
        let headers = self.load_headers(turn, record::HEADERS, height, height);
        let before = height.saturating_sub(1).max(start);
        let filter_headers = self.load_headers(turn, record::FILTER_HEADERS, before, height);
        if let Some(dispute) = &mut self.agreement.dispute {
            dispute.stage =
                Stage::Loading(Loading { height, headers, hash: None, filter_headers, links: None });
        }
    }

    /// Takes loaded rows, if they were loaded for this. False: they were not.
    pub(super) fn dispute_loaded(&mut self, turn: &mut Turn<'_>, ticket: Ticket, rows: Rows<'_>) -> bool {
        let start = self.chain.start().height();
        let Some(Dispute { stage: Stage::Loading(loading), .. }) = &mut self.agreement.dispute else {
            return false;
        };
        let height = loading.height;
        if ticket == loading.headers {
            let found = record::read_headers(rows, height, height);
            loading.hash = found.and_then(|found| found.first().map(|stored| stored.hash));
            if loading.hash.is_none() {
                self.repair(turn, "block headers are missing or do not follow each other");
                return true;
            }
        } else if ticket == loading.filter_headers {
            let before = height.saturating_sub(1).max(start);
            let found = record::read_filter_headers(rows, before, height).unwrap_or_default();
            loading.links = match found.as_slice() {
                [before, own] => Some([*before, *own]),
                [own] => Some([FilterHeader::all_zeros(), *own]),
                _ => None,
            };
            if loading.links.is_none() {
                self.repair(turn, "filter headers are missing");
                return true;
            }
        } else {
            return false;
        }
        if let (Some(hash), Some(links)) = (loading.hash, loading.links) {
            self.disputed_loaded_all(turn, BlockId { height, hash }, links);
        }
        true
    }

    fn disputed_loaded_all(&mut self, turn: &mut Turn<'_>, block: BlockId, links: [FilterHeader; 2]) {
        let Some(dispute) = &mut self.agreement.dispute else { return };
        if block.height < dispute.high {
            let conn = dispute.conn;
            dispute.stage = Stage::Asked { block, ours: links[1] };
            return self.ask_for_filter_header(turn, conn, block);
        }
        dispute.stage = Stage::Judging(Judging {
            block,
            links,
            theirs: None,
            asked: false,
            defender: None,
            ours: None,
            body: None,
            bearer: None,
            silent: BTreeSet::new(),
        });
        if block.height > 0 && block.height == self.chain.start().height() {
            // What it follows from is not known: no filter shows who is right.
            return self.unproven();
        }
        self.go_on_judging(turn);
    }

    /// Takes a filter header that the peer was asked for. False: it was not.
    pub(super) fn on_disputed_filter_header(
        &mut self,
        conn: ConnId,
        stop_hash: BlockHash,
        header: FilterHeader,
    ) -> Result<bool, Misbehaviour> {
        let next = self.filter_headers.next();
        let Some(dispute) = self.agreement.dispute.as_mut().filter(|dispute| dispute.conn == conn) else {
            return Ok(false);
        };
        let Stage::Asked { block, ours } = dispute.stage else { return Ok(false) };
        if block.hash != stop_hash {
            return Ok(false);
        }
        dispute.stage = Stage::Choosing;
        if header == ours {
            dispute.low = block.height + 1;
            self.agrees_up_to(conn, block.height);
        } else {
            (dispute.high, dispute.theirs) = (block.height, header);
            if let Some(known) = self.agreement.known_above(block.height, next) {
                return Err(Misbehaviour::ContradictsKnownFilterHeader(known));
            }
        }
        Ok(true)
    }

    fn go_on_judging(&mut self, turn: &mut Turn<'_>) {
        let Some(Dispute { conn, stage: Stage::Judging(judging), .. }) = &self.agreement.dispute else {
            return;
        };
        let (conn, block) = (*conn, judging.block);
        let able = |other: ConnId| {
            !judging.silent.contains(&other)
                && self.peers.get(&other).is_some_and(|peer| {
                    self.serves_filter_headers(peer).is_some_and(|best| best >= block.height)
                })
        };
        let limited = self.chain.tip_height().saturating_sub(block.height) > LIMITED_DEPTH;
        let bears = |other: ConnId| {
            able(other)
                && self
                    .peers
                    .get(&other)
                    .is_some_and(|peer| !limited || peer.services.has(ServiceFlags::NETWORK))
        };
        let mut others =
            self.peers.iter().filter(|(other, peer)| **other != conn && peer.agrees > block.height);
        let defender = match judging.ours.is_some() || judging.defender.is_some() {
            true => None,
            false => others.find(|(other, _)| able(**other)).map(|(other, _)| *other),
        };
        let bearer = match judging.body.is_some() || judging.bearer.is_some() {
            true => None,
            false => self.peers.keys().copied().find(|other| bears(*other)),
        };
        let request = FilterRequest {
            filter_type: FILTER_TYPE_BASIC,
            start_height: block.height,
            stop_hash: block.hash,
        };
        let asks = !judging.asked;
        let Some(Dispute { stage: Stage::Judging(judging), .. }) = &mut self.agreement.dispute else {
            return;
        };
        judging.asked = true;
        judging.defender = judging.defender.or(defender);
        judging.bearer = judging.bearer.or(bearer);
        let complete = judging.theirs.is_some()
            && (judging.ours.is_some() || judging.defender.is_none())
            && (judging.body.is_some() || judging.bearer.is_none());
        for other in asks.then_some(conn).into_iter().chain(defender) {
            self.send(turn, other, &Message::GetCFilters(request));
            self.asked.insert(other);
        }
        if let Some(other) = bearer {
            let wanted = [Inventory::block(INV_WITNESS_BLOCK, block.hash)];
            self.send(turn, other, &Message::GetData(wanted.as_slice().into()));
            self.asked.insert(other);
        }
        if complete {
            self.judge(turn);
        }
    }

    /// Takes a filter that was asked for here. False: it was not.
    pub(super) fn on_disputed_filter(
        &mut self,
        conn: ConnId,
        block_hash: BlockHash,
        bytes: &[u8],
    ) -> Result<bool, Misbehaviour> {
        let Some(dispute) = &mut self.agreement.dispute else { return Ok(false) };
        let Stage::Judging(judging) = &mut dispute.stage else { return Ok(false) };
        if judging.block.hash != block_hash {
            return Ok(false);
        }
        let [before, own] = judging.links;
        let (place, header) = if conn == dispute.conn && judging.theirs.is_none() {
            (&mut judging.theirs, dispute.theirs)
        } else if judging.defender == Some(conn) && judging.ours.is_none() {
            (&mut judging.ours, own)
        } else {
            return Ok(false);
        };
        if filter::header(filter::hash(bytes), before) != header {
            // It is not even the one that it named itself.
            return Err(Misbehaviour::WrongFilter);
        }
        *place = Some(bytes.into());
        if let Some(peer) = self.peers.get_mut(&conn) {
            peer.note_answer();
        }
        Ok(true)
    }

    /// Takes a block that was asked for here. False: it was not.
    pub(super) fn on_disputed_block(
        &mut self,
        conn: ConnId,
        hash: BlockHash,
        bytes: &[u8],
    ) -> Result<bool, Misbehaviour> {
        let Some(Dispute { stage: Stage::Judging(judging), .. }) = &mut self.agreement.dispute else {
            return Ok(false);
        };
        if judging.block.hash != hash || judging.bearer != Some(conn) || judging.body.is_some() {
            return Ok(false);
        }
        let segwit = judging.block.height >= block::segwit_height(self.config.network);
        let body = block::verify(bytes, &hash, segwit).map_err(|_| Misbehaviour::WrongBlock)?;
        judging.body = Some(body);
        if let Some(peer) = self.peers.get_mut(&conn) {
            peer.note_answer();
        }
        Ok(true)
    }

    /// Says who is proven false, if anyone is.
    fn judge(&mut self, turn: &mut Turn<'_>) {
        let Some(Dispute { conn, theirs, stage: Stage::Judging(judging), .. }) = &mut self.agreement.dispute
        else {
            return;
        };
        let (conn, at) = (*conn, judging.block);
        let headers = [*theirs, judging.links[1]];
        let Some(body) = judging.body.take() else { return self.unproven() };
        let (theirs, ours) = (judging.theirs.take(), judging.ours.take());
        let findings = &self.search.findings;
        let charge = |bytes: &Option<Vec<u8>>| {
            let bytes = bytes.as_ref()?;
            match filter::omission(&body, bytes, |outpoint| findings.script_of(outpoint)) {
                Ok(None) => None,
                Ok(Some(omission)) => Some((filter::hash(bytes), Some(omission))),
                Err(_) => Some((filter::hash(bytes), None)),
            }
        };
        let (mut against_theirs, mut against_ours) = (charge(&theirs), charge(&ours));
        let inferred = |charge: &Option<(_, Option<Omission>)>| {
            matches!(charge, Some((_, Some(Omission { place: Place::Input(_), .. }))))
        };
        if inferred(&against_theirs) && inferred(&against_ours) {
            // What neither has is more likely to be inferred wrongly.
            (against_theirs, against_ours) = (None, None);
        }
        if against_theirs.is_none() && against_ours.is_none() {
            return self.unproven();
        }
        self.agreement.dispute = None;
        for (charge, header) in [&against_theirs, &against_ours].into_iter().zip(headers) {
            // What was inferred may be wrong, and is judged anew each time.
            if charge.is_some() && !inferred(charge) {
                self.agreement.note_false(at, header);
            }
        }
        if let Some((filter_hash, omission)) = against_theirs {
            self.convict(turn, conn, at, filter_hash, omission);
        }
        if let Some((filter_hash, omission)) = against_ours {
            let vouched: Vec<ConnId> = self
                .peers
                .iter()
                .filter(|(_, peer)| peer.agrees > at.height)
                .map(|(conn, _)| *conn)
                .collect();
            for conn in vouched {
                self.convict(turn, conn, at, filter_hash, omission.clone());
            }
            self.replace_filter_headers(turn, at.height);
        }
    }

    fn convict(
        &mut self,
        turn: &mut Turn<'_>,
        conn: ConnId,
        block: BlockId,
        filter_hash: bitcoin::FilterHash,
        omission: Option<Omission>,
    ) {
        let Some(peer) = self.peers.get(&conn) else { return };
        let endpoint = peer.endpoint.clone();
        turn.out.event(Event::FalseFilter { endpoint, block, filter_hash, omission });
        self.drop_peer(turn, conn, Reason::Misbehaved(Misbehaviour::FalseFilterHeader(block.height)));
    }

    /// Nothing is proven: the peers decide.
    fn unproven(&mut self) {
        let Some(dispute) = &self.agreement.dispute else { return };
        let (conn, height, theirs) = (dispute.conn, dispute.high, dispute.theirs);
        let Stage::Judging(judging) = &dispute.stage else { return };
        let ours = judging.links[1];
        self.drop_dispute();
        if let Some(peer) = self.peers.get_mut(&conn) {
            peer.dissent = Some(Dissent { height, theirs, ours });
        }
    }

    /// Gives the dispute up. What was asked for may come late.
    pub(super) fn drop_dispute(&mut self) {
        let conns = self.connections();
        conns.into_iter().for_each(|conn| self.expect_late_of_dispute(conn));
        self.agreement.dispute = None;
    }

    fn expect_late_of_dispute(&mut self, conn: ConnId) {
        let Some(dispute) = &self.agreement.dispute else { return };
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        match &dispute.stage {
            Stage::Choosing | Stage::Loading(_) => {}
            Stage::Asked { .. } => peer.expect_late_filter_headers(u32::from(dispute.conn == conn)),
            Stage::Judging(judging) => {
                let theirs = dispute.conn == conn && judging.asked && judging.theirs.is_none();
                let ours = judging.defender == Some(conn) && judging.ours.is_none();
                peer.expect_late_filters(u32::from(theirs || ours));
                if judging.bearer == Some(conn) && judging.body.is_none() {
                    peer.expect_late_block(judging.block.hash);
                }
            }
        }
    }

    /// A peer is gone, or has not answered: its side is not heard. It is no proof of anything.
    pub(super) fn release_dispute(&mut self, conn: ConnId) {
        if self.agreement.dispute.as_ref().is_some_and(|dispute| dispute.conn == conn) {
            // It is heard when it comes back, a few times.
            if let Some(peer) = self.peers.get_mut(&conn) {
                peer.unheard += 1;
            }
            return self.drop_dispute();
        }
        self.expect_late_of_dispute(conn);
        let Some(dispute) = &mut self.agreement.dispute else { return };
        if let Stage::Judging(judging) = &mut dispute.stage {
            judging.silent.insert(conn);
            judging.defender = judging.defender.filter(|other| *other != conn || judging.ours.is_some());
            judging.bearer = judging.bearer.filter(|other| *other != conn || judging.body.is_some());
        }
    }
}
