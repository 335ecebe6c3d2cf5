//! What stands at the moment: payments found and not taken back, and the blocks that were read for them.

use std::collections::{BTreeMap, BTreeSet};

use andon_bitcoin::client::{Event, Touch, TouchKind};
use bitcoin::{OutPoint, Txid};

use crate::watch::Watch;

/// Everything found so far, in the order of the chain.
#[derive(Clone, Debug, Default)]
pub(crate) struct Findings {
    received: BTreeMap<(u32, OutPoint), Touch>,
    spent: BTreeMap<(u32, Txid, u32), Touch>,
    matched: BTreeSet<u32>,
}

impl Findings {
    /// Takes an event in. `false`: it says nothing new, or is about a script that is not watched (it was, in an
    /// earlier run).
    pub(crate) fn apply(&mut self, event: &Event, watch: &Watch) -> bool {
        match event {
            Event::Matched(block) => self.matched.insert(block.height),
            Event::Touched(touch) if !watch.contains(touch) => false,
            Event::Touched(touch) => match touch.kind {
                TouchKind::Received { output } => {
                    let key = (touch.block.height, OutPoint::new(touch.txid, output));
                    self.received.insert(key, touch.clone()).as_ref() != Some(touch)
                }
                TouchKind::Spent { input, .. } => {
                    let key = (touch.block.height, touch.txid, input);
                    self.spent.insert(key, touch.clone()).as_ref() != Some(touch)
                }
            },
            Event::TakenBack(touch) => match touch.kind {
                TouchKind::Received { output } => {
                    let key = (touch.block.height, OutPoint::new(touch.txid, output));
                    self.received.remove(&key).is_some()
                }
                TouchKind::Spent { input, .. } => {
                    self.spent.remove(&(touch.block.height, touch.txid, input)).is_some()
                }
            },
            Event::Reorganised { fork, .. } => {
                self.matched.retain(|&height| height <= fork.height);
                true
            }
            Event::FilterHeadersReplaced { from } => {
                self.matched.retain(|&height| height < *from);
                true
            }
            _ => true,
        }
    }

    /// Payments to watched scripts.
    pub(crate) fn received(&self) -> impl ExactSizeIterator<Item = &Touch> {
        self.received.values()
    }

    /// Payments from watched scripts.
    pub(crate) fn spent(&self) -> impl ExactSizeIterator<Item = &Touch> {
        self.spent.values()
    }

    /// Satoshis of all that was received. Wider than an amount: the same coin may pay again and again.
    pub(crate) fn received_sats(&self) -> u128 {
        self.received().map(sats).sum()
    }

    /// Satoshis of all that was spent.
    pub(crate) fn spent_sats(&self) -> u128 {
        self.spent().map(sats).sum()
    }

    /// Heights whose filters matched in this run, or where something was found in any.
    pub(crate) fn heights_matched(&self) -> BTreeSet<u32> {
        let mut heights = self.heights_touched();
        heights.extend(&self.matched);
        heights
    }

    /// How many filters of this run matched though nothing was there.
    pub(crate) fn false_matches(&self) -> usize {
        let touched = self.heights_touched();
        self.matched.difference(&touched).count()
    }

    fn heights_touched(&self) -> BTreeSet<u32> {
        self.received().chain(self.spent()).map(|touch| touch.block.height).collect()
    }
}

/// What a touch came to: scripts alone are watched, so it is always known.
fn sats(touch: &Touch) -> u128 {
    touch.amount.map_or(0, |amount| amount.to_sat().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use andon_bitcoin::client::BlockId;
    use bitcoin::hashes::Hash;
    use bitcoin::{Amount, BlockHash, ScriptBuf};

    fn block(height: u32) -> BlockId {
        BlockId { height, hash: BlockHash::all_zeros() }
    }

    fn touch(height: u32, script: u8, kind: TouchKind) -> Touch {
        let script = ScriptBuf::from_bytes(vec![script]);
        let amount = Some(Amount::from_sat(7));
        Touch { block: block(height), txid: Txid::all_zeros(), kind, script, amount, derivation: None }
    }

    #[test]
    fn what_is_taken_back_goes() {
        let watch = Watch::of_scripts([ScriptBuf::from_bytes(vec![1])]);
        let mut findings = Findings::default();
        let mut apply = |event| {
            let new = findings.apply(&event, &watch);
            (new, findings.received_sats(), findings.spent_sats(), findings.false_matches())
        };
        let output = TouchKind::Received { output: 3 };
        let input = TouchKind::Spent { input: 0, outpoint: OutPoint::null() };
        assert_eq!(apply(Event::Matched(block(5))), (true, 0, 0, 1));
        assert_eq!(apply(Event::Touched(touch(5, 1, output))), (true, 7, 0, 0));
        assert_eq!(apply(Event::Touched(touch(5, 1, output))), (false, 7, 0, 0), "told twice");
        assert_eq!(apply(Event::Touched(touch(5, 2, input))), (false, 7, 0, 0), "watched in an earlier run");
        assert_eq!(apply(Event::Touched(touch(6, 1, input))), (true, 7, 7, 0));
        assert_eq!(apply(Event::Matched(block(7))), (true, 7, 7, 1));
        let reorganised = Event::Reorganised { fork: block(5), old_tip: block(7), new_tip: block(8) };
        assert_eq!(apply(reorganised), (true, 7, 7, 0));
        assert_eq!(apply(Event::TakenBack(touch(6, 1, input))), (true, 7, 0, 0));
        assert_eq!(apply(Event::TakenBack(touch(6, 1, input))), (false, 7, 0, 0));
        assert_eq!(apply(Event::Rescan { from: 5 }), (true, 7, 0, 0), "what was found stands");
        assert_eq!(apply(Event::TakenBack(touch(5, 1, output))), (true, 0, 0, 1));
        assert_eq!(findings.heights_matched(), BTreeSet::from([5]));
    }
}
