//! What a light client has told its application, as far as experiments ask.

use std::collections::BTreeSet;

use andon_bitcoin::client::{BlockId, Endpoint, Event, PeerPurpose, Reason, Touch};
use andon_kernel::{Instant, Now};
use bitcoin::OutPoint;

use crate::world::Watch;

/// The application.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// The outputs that were found and not taken back.
    pub(super) found: BTreeSet<OutPoint>,
    /// The block up to which all is said to be checked.
    pub(super) synced: Option<BlockId>,
    /// Whether it was ever said that all is checked while nothing was found.
    pub(super) synced_with_nothing: bool,
    /// Who was named as a liar: by proof, by the breach of a rule, or by what it left out or held back.
    pub(super) named: BTreeSet<Endpoint>,
    /// Proofs of false filters.
    pub(super) proofs: u32,
    /// The first of those.
    pub(super) first_proof: Option<(Instant, BlockId)>,
    /// How often the tip was found stale.
    pub(super) stale_tips: u32,
    /// Who is connected for the client's work.
    pub(super) connected: BTreeSet<Endpoint>,
    /// Who was ever, and when first.
    pub(super) met: Vec<(Instant, Endpoint)>,
}

impl Log {
    fn touched(&mut self, touch: &Touch, is_found: bool) {
        if let andon_bitcoin::client::TouchKind::Received { output } = touch.kind {
            let outpoint = OutPoint::new(touch.txid, output);
            if is_found {
                self.found.insert(outpoint);
            } else {
                self.found.remove(&outpoint);
            }
        }
    }
}

impl Watch<Event> for Log {
    fn event(&mut self, now: Now, event: Event) {
        match event {
            // After a restart what was found is told anew.
            Event::Started { .. } => {
                self.found.clear();
                self.connected.clear();
                self.synced = None;
            }
            Event::Touched(touch) => self.touched(&touch, true),
            Event::TakenBack(touch) => self.touched(&touch, false),
            Event::Synced(block) => {
                self.synced = Some(block);
                self.synced_with_nothing |= self.found.is_empty();
            }
            // What was checked is not any more, until that is said again.
            Event::FilterHeadersReplaced { .. } | Event::Rescan { .. } | Event::Reorganised { .. } => {
                self.synced = None;
            }
            Event::FalseFilter { endpoint, block, .. } => {
                self.named.insert(endpoint);
                self.proofs += 1;
                self.first_proof.get_or_insert((now.instant, block));
            }
            Event::FilterLeftOut { endpoint, .. } | Event::PeerWithholds { endpoint, .. } => {
                self.named.insert(endpoint);
            }
            Event::PeerConnected { endpoint, purpose, .. } => {
                if matches!(purpose, PeerPurpose::Configured | PeerPurpose::Found) {
                    self.met.push((now.instant, endpoint.clone()));
                    self.connected.insert(endpoint);
                }
            }
            Event::PeerDisconnected { endpoint, purpose, reason, .. } => {
                if matches!(purpose, PeerPurpose::Configured | PeerPurpose::Found) {
                    self.connected.remove(&endpoint);
                }
                if matches!(reason, Reason::Misbehaved(_) | Reason::OtherChain) {
                    self.named.insert(endpoint);
                }
            }
            Event::StaleTip { .. } => self.stale_tips += 1,
            _ => {}
        }
    }
}
