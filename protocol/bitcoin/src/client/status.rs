//! What the application asks of the client's state: the chain's end, the peers.

use alloc::vec::Vec;

use super::api::{ChainTip, Event, PeerPurpose, PeerStage, PeerStatistics, PeerStatus, RequestId};
use super::peer::{Origin, Peer};
use super::{Client, Timer, Turn};
use andon_kernel::{ConnId, Instant};

impl Client {
    pub(super) fn tell_tip(&mut self, turn: &mut Turn<'_>, request: Option<RequestId>) {
        let block = self.chain.tip();
        let (header, _) = self.chain.at(block.height).expect("the tip is in the window");
        let header = *header;
        let tip = ChainTip {
            block,
            header,
            work: self.chain.work(),
            target: header.target(),
            is_current: self.headers_are_current(),
            checked: self.search.watches.told_below().and_then(|next| next.checked_sub(1)),
        };
        self.answer(turn, request, Event::Tip(tip));
    }

    /// The last block up to which all that is watched has been searched for.
    pub(super) fn checked(&self) -> Option<u32> {
        self.search.watches.checked_below().and_then(|next| next.checked_sub(1))
    }

    pub(super) fn tell_peers(&mut self, turn: &mut Turn<'_>, request: Option<RequestId>) {
        let now = turn.now.instant;
        let mut peers: Vec<PeerStatus> =
            self.peers.iter().map(|(conn, peer)| self.status(*conn, peer, now)).collect();
        for target in self.targets.ids() {
            let is_there = self.peers.values().any(|peer| peer.origin == Origin::Given(target));
            if is_there {
                continue;
            }
            let (failures, reason) = self.targets.failures(target);
            let due = self.timers.get(Timer::Dial(target));
            peers.push(PeerStatus {
                endpoint: self.targets.endpoint(target).clone(),
                purpose: PeerPurpose::Configured,
                stage: PeerStage::Waiting {
                    dialled_in: due.map(|due| due.since(now)),
                    reason: reason.cloned(),
                    failures,
                },
            });
        }
        self.answer(turn, request, Event::Peers(peers));
    }

    fn status(&self, conn: ConnId, peer: &Peer, now: Instant) -> PeerStatus {
        let elapsed = now.since(peer.since);
        let stage = match peer.writer.version().filter(|_| peer.has_shaken_hands()) {
            None => PeerStage::Connecting { elapsed },
            Some(transport) => PeerStage::Connected(PeerStatistics {
                peer: conn,
                elapsed,
                user_agent: peer.user_agent.clone(),
                services: peer.services,
                transport,
                claimed: peer.claimed,
                shown: peer.best,
                bytes_received: peer.bytes_received,
                bytes_sent: peer.bytes_sent,
                latency: peer.pace.measured_latency(),
                rate: peer.pace.rate(now),
                silent: now.since(peer.heard),
                owed_bytes: self.backlog(conn),
                is_passed_over: peer.passed_over.is_some(),
            }),
        };
        PeerStatus { endpoint: peer.endpoint.clone(), purpose: peer.purpose(), stage }
    }
}
