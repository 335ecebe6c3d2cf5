//! Filter headers at every thousandth block, as each peer names them (BIP157, `getcfcheckpt`): what lets ranges of filter
//! headers come from several peers at once, each proven by the peer's own word.
//!
//! Peers are asked only while many filter headers are missing. A peer that says nothing, for its filter index is not that
//! far or it does not know the message, is asked again after a while, and serves meanwhile as it can. What peers name is
//! compared with what is known as that grows: who names the same agrees up to there, and who does not is heard: see
//! `agreement` and `dispute`. At heights whose filter headers are known beforehand there is nothing to be heard.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use andon_kernel::{ConnId, Instant};
use bitcoin::{BlockHash, FilterHeader};

use super::api::{BlockId, Reason};
use super::peer::{Headers, Peer};
use super::{Client, Misbehaviour, Turn};
use crate::wire::{CommandName, FILTER_TYPE_BASIC, Items, MAX_CFHEADERS, Message};

/// Heights between the filter headers that are named.
pub(super) const INTERVAL: u32 = 1000;

/// Filter headers that are missing, and that no checkpoints cover, for which these are asked for: as many as one peer is
/// asked for at once. Nearer to the tip nobody has to help.
pub(super) const FAR: u32 = 4 * MAX_CFHEADERS;

/// While block headers are still coming: by which part more of them there must be than checkpoints cover. Each answer has all
/// checkpoints from the first on; so they are nine times the last answer at most, altogether.
const GROWTH: u32 = 8;

/// When a peer that has said nothing is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(60);

const CFCHECKPT: CommandName = CommandName::new("cfcheckpt");

/// What peers were asked for and have named.
#[derive(Debug, Default)]
pub(super) struct Checkpoints {
    asked: BTreeMap<ConnId, Asked>,
    /// Answers that may still come to what a peer was asked for before.
    late: BTreeMap<ConnId, u32>,
    named: BTreeMap<ConnId, Named>,
}

#[derive(Debug)]
struct Asked {
    stop: BlockId,
    /// The height up to which the block's chain is ours: no reorganisation since has been below it.
    common: u32,
    /// The peer has answered other requests since: when it is asked again.
    again: Option<Instant>,
}

/// A peer's own filter headers, for blocks of our chain.
#[derive(Debug)]
struct Named {
    /// It has the blocks up to this height.
    to: u32,
    /// At each multiple of the interval, from the first on. Empty when all have been compared.
    headers: Vec<FilterHeader>,
    /// How many of them have been compared with ours, and are the same as far as those are at hand.
    compared: usize,
    /// Whether the next one is not the same.
    differs: bool,
}

impl Named {
    fn at(&self, height: u32) -> Option<FilterHeader> {
        if !height.is_multiple_of(INTERVAL) {
            return None;
        }
        self.headers.get((height / INTERVAL).checked_sub(1)? as usize).copied()
    }
}

impl Checkpoints {
    /// The filter header that a peer has named at a height, if it has.
    pub(super) fn at(&self, conn: ConnId, height: u32) -> Option<FilterHeader> {
        self.named.get(&conn)?.at(height)
    }

    /// The height up to which a peer has shown that it has the blocks.
    pub(super) fn shown(&self, conn: ConnId) -> Option<u32> {
        self.named.get(&conn).map(|named| named.to)
    }

    /// The highest height at which a peer has named a filter header; zero if it has named none.
    pub(super) fn last(&self, conn: ConnId) -> u32 {
        self.named.get(&conn).map_or(0, |named| named.headers.len() as u32 * INTERVAL)
    }

    /// Whether a peer has named filter headers at or above a height.
    pub(super) fn reach(&self, conn: ConnId, height: u32) -> bool {
        let last = self.last(conn);
        last > 0 && last >= height
    }

    /// Whether a peer has named another filter header than ours, and it was not the peer's fault so far.
    pub(super) fn differ(&self, conn: ConnId) -> bool {
        self.named.get(&conn).is_some_and(|named| named.differs)
    }

    /// The lowest height at which a peer's own word is not what it sent: its filter headers from the height `first` on, which
    /// follow from `previous`.
    pub(super) fn contradicted_by(
        &self,
        conn: ConnId,
        first: u32,
        previous: FilterHeader,
        headers: &[FilterHeader],
    ) -> Option<u32> {
        let named = self.named.get(&conn)?;
        let other = |(height, header): (u32, &FilterHeader)| {
            named.at(height).is_some_and(|named| named != *header).then_some(height)
        };
        let before = first.checked_sub(1).and_then(|below| other((below, &previous)));
        before.or_else(|| (first..).zip(headers).find_map(other))
    }

    /// A peer has answered what it was asked for later.
    pub(super) fn decline(&mut self, conn: ConnId, now: Instant) {
        if let Some(asked) = self.asked.get_mut(&conn) {
            asked.again.get_or_insert(now + ASK_AGAIN);
        }
    }

    /// A peer is gone.
    pub(super) fn forget(&mut self, conn: ConnId) {
        self.asked.remove(&conn);
        self.late.remove(&conn);
        self.named.remove(&conn);
    }

    /// Whether an answer is one that comes late.
    fn take_late(&mut self, conn: ConnId) -> bool {
        let late = self.late.get_mut(&conn).filter(|late| **late > 0);
        late.map(|late| *late -= 1).is_some()
    }

    /// Forgets all that was named.
    pub(super) fn forget_all(&mut self) {
        self.forget_above(0);
        self.named.clear();
    }

    /// The chain has left the blocks above a height.
    pub(super) fn forget_above(&mut self, height: u32) {
        for asked in self.asked.values_mut() {
            asked.common = asked.common.min(height);
        }
        for named in self.named.values_mut() {
            named.to = named.to.min(height);
            named.headers.truncate((height / INTERVAL) as usize);
        }
        self.compare_from(height.saturating_add(1));
    }

    /// What is known from a height on is another now: it is to be compared again.
    pub(super) fn compare_from(&mut self, height: u32) {
        // Whoever has nothing left to compare is asked anew.
        self.named.retain(|_, named| !named.headers.is_empty());
        for named in self.named.values_mut() {
            named.compared = named.compared.min((height.saturating_sub(1) / INTERVAL) as usize);
            named.differs = false;
        }
    }
}

impl Client {
    /// Asks peers for checkpoints while many filter headers are missing.
    pub(super) fn ask_for_checkpoints(&mut self, turn: &mut Turn<'_>) {
        let next = self.filter_headers.next();
        for conn in self.connections() {
            let Some(peer) = self.peers.get(&conn) else { continue };
            if !peer.is_ready() || peer.passed_over.is_some() || !peer.is_of_one_mind() {
                continue;
            }
            let waits = self.checkpoints.asked.get(&conn);
            if waits.is_some_and(|asked| asked.again.is_none_or(|again| again > turn.now.instant)) {
                continue;
            }
            let covered = self.checkpoints.shown(conn).unwrap_or(0);
            let is_far = |block: &BlockId| block.height >= covered.max(next).saturating_add(FAR);
            if !peer.best.as_ref().is_some_and(is_far) {
                continue;
            }
            let has_grown = matches!(peer.headers, Headers::Done | Headers::Withheld);
            let Some(stop) = self
                .last_shown(peer)
                .filter(is_far)
                .filter(|stop| has_grown || stop.height - covered >= covered / GROWTH)
            else {
                continue;
            };
            let asked = Asked { stop, common: stop.height, again: None };
            if self.checkpoints.asked.insert(conn, asked).is_some() {
                *self.checkpoints.late.entry(conn).or_default() += 1;
            }
            let request = Message::GetCFCheckpt { filter_type: FILTER_TYPE_BASIC, stop_hash: stop.hash };
            self.send(turn, conn, &request);
            self.asked.insert(conn);
        }
    }

    /// The highest block that a peer has shown and that is in our chain, or is known to become part of it.
    fn last_shown(&self, peer: &Peer) -> Option<BlockId> {
        let best = peer.best?;
        if self.ranges.lead_to(best) {
            return Some(best);
        }
        match self.chain.common(best)? {
            height if height == best.height => Some(best),
            height => self.chain.at(height).map(|(_, hash)| BlockId { height, hash }),
        }
    }

    /// Takes the checkpoints that a peer was asked for.
    pub(super) fn on_checkpoints(
        &mut self,
        turn: &mut Turn<'_>,
        conn: ConnId,
        filter_type: u8,
        stop_hash: BlockHash,
        headers: Items<'_, FilterHeader>,
    ) -> Result<(), Misbehaviour> {
        if filter_type != FILTER_TYPE_BASIC {
            return Err(Misbehaviour::WrongAnswer(CFCHECKPT));
        }
        let asked = self.checkpoints.asked.get(&conn).map(|asked| (asked.stop, asked.common));
        let Some((stop, common)) = asked.filter(|(stop, _)| stop.hash == stop_hash) else {
            return match self.checkpoints.take_late(conn) {
                true => Ok(()),
                false if asked.is_some() => Err(Misbehaviour::WrongAnswer(CFCHECKPT)),
                false => Err(Misbehaviour::Unrequested(CFCHECKPT)),
            };
        };
        self.checkpoints.asked.remove(&conn);
        if headers.len() as u32 != stop.height / INTERVAL {
            return Err(Misbehaviour::WrongAnswer(CFCHECKPT));
        }
        let ours = headers.iter().take((common / INTERVAL) as usize);
        let named = Named { to: common, headers: ours.collect(), compared: 0, differs: false };
        if let Some(height) = self.agreement.contradicted_at(|height| named.at(height)) {
            self.drop_unproven_of(turn, conn);
            return Err(Misbehaviour::ContradictsKnownFilterHeader(height));
        }
        if let Some(peer) = self.peers.get_mut(&conn) {
            peer.note_answer();
        }
        self.checkpoints.named.insert(conn, named);
        Ok(())
    }

    /// Compares what peers have named with what has become known: who names the same has the same, up to there.
    pub(super) fn compare_checkpoints(&mut self, turn: &mut Turn<'_>) {
        let next = self.filter_headers.next();
        let mut agree: Vec<(ConnId, u32)> = Vec::new();
        let mut differ: Vec<(ConnId, u32, FilterHeader)> = Vec::new();
        for (&conn, named) in &mut self.checkpoints.named {
            named.differs = false;
            let known = named.headers.len().min((next.saturating_sub(1) / INTERVAL) as usize);
            while named.compared < known {
                let height = (named.compared as u32 + 1) * INTERVAL;
                let theirs = named.headers[named.compared];
                match self.filter_headers.before(height + 1) {
                    Some(ours) if ours != theirs => {
                        named.differs = true;
                        differ.push((conn, height, theirs));
                        break;
                    }
                    Some(_) => agree.push((conn, height)),
                    // Those that are too far down are the same if a higher one is.
                    None => {}
                }
                named.compared += 1;
            }
            if named.compared == named.headers.len() {
                named.headers = Vec::new();
                named.compared = 0;
            }
        }
        for (conn, height) in agree {
            self.agrees_up_to(conn, height);
        }
        for (conn, height, theirs) in differ {
            let Some(peer) = self.peers.get(&conn).filter(|peer| peer.is_of_one_mind()) else { continue };
            let result = if peer.agrees > height {
                // It has named ours before.
                Err(Misbehaviour::ContradictsOwnFilterHeader(height))
            } else if self.agreement.dispute.is_none() && peer.passed_over.is_none() {
                self.begin_dispute(turn, conn, height, theirs)
            } else {
                Ok(())
            };
            if let Err(misbehaviour) = result {
                self.drop_peer(turn, conn, Reason::Misbehaved(misbehaviour));
            }
        }
    }
}
