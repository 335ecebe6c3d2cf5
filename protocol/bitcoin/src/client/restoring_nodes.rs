//! The address book, bans and anchors, taken up at the start, after all that concerns the chain.

use alloc::boxed::Box;

use andon_kernel::{Order, Rng, Rows};

use super::nodes::Nodes;
use super::start::{ALL, Fault, Loading, PAGE, Step, Went};
use super::{Client, Event, Turn};
use crate::addresses::{ADDRESSES, ANCHORS, Anchors, BANS, Barred, Restoring};

/// What has been read of it.
#[derive(Debug)]
pub(super) struct LoadingNodes {
    rng: Rng,
    restoring: Restoring,
    barred: Barred,
    anchors: Anchors,
    unusable: bool,
}

impl Client {
    /// Begins to read it, if nodes are to be found. False: they are not.
    pub(super) fn load_nodes(&mut self, turn: &mut Turn<'_>, loading: &mut Loading) -> bool {
        if self.config.discovery.is_none() {
            return false;
        }
        let mut rng = self.rng.fork("nodes");
        let restoring = Restoring::new(self.config.grouping.clone(), &mut rng);
        loading.nodes = Some(Box::new(LoadingNodes {
            rng,
            restoring,
            barred: Barred::new(),
            anchors: Anchors::new(),
            unusable: false,
        }));
        self.load_step(turn, loading, Step::Addresses, ADDRESSES, ALL, Order::Ascending, PAGE);
        true
    }

    pub(super) fn take_nodes(
        &mut self,
        turn: &mut Turn<'_>,
        loading: &mut Loading,
        rows: Rows<'_>,
        more: bool,
    ) -> Result<Went, Fault> {
        let Some(nodes) = &mut loading.nodes else { return Ok(Went::Done) };
        let step = loading.step;
        for (key, value) in rows.iter() {
            let taken = match step {
                Step::Addresses => nodes.restoring.take(key, value),
                Step::Bans => nodes.barred.bans.take(key, value),
                _ => nodes.anchors.take(key, value),
            };
            nodes.unusable |= taken.is_err();
        }
        if self.load_more(turn, loading, rows, more) {
            return Ok(Went::On);
        }
        let next = match step {
            Step::Addresses => (Step::Bans, BANS),
            Step::Bans => (Step::Anchors, ANCHORS),
            _ => {
                self.restore_nodes(turn, loading);
                return Ok(Went::Done);
            }
        };
        self.load_step(turn, loading, next.0, next.1, ALL, Order::Ascending, PAGE);
        Ok(Went::On)
    }

    fn restore_nodes(&mut self, turn: &mut Turn<'_>, loading: &mut Loading) {
        let Some(nodes) = loading.nodes.take() else { return };
        let LoadingNodes { rng, restoring, barred, anchors, unusable } = *nodes;
        if unusable {
            let what = "addresses of nodes, bans or anchors were unreadable, and are lost";
            turn.out.event(Event::Repaired { what, kept: self.chain.tip() });
        }
        let (book, _) = restoring.finish();
        self.nodes = Nodes::new(&self.config, book, barred, anchors, rng);
    }
}
