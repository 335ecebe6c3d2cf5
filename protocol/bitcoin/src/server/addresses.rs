//! The nodes that a server tells its peers of.

use alloc::vec::Vec;
use core::time::Duration;

use andon_kernel::{Instant, Rng};

use super::limits::{ADDRESS_SHARE, DRAWN, DRAWN_SPREAD, MAX_KNOWN_ADDRESSES};
use crate::wire::{MAX_ADDRESSES, NodeAddress};

/// Known addresses, and those that peers are told for now. A fresh draw for each would give all away.
#[derive(Debug)]
pub(super) struct Addresses {
    known: Vec<NodeAddress>,
    drawn: Vec<NodeAddress>,
    drawn_until: Option<Instant>,
}

impl Addresses {
    /// Those known at the start; what is too much is left out.
    pub(super) fn new(mut known: Vec<NodeAddress>) -> Self {
        known.truncate(MAX_KNOWN_ADDRESSES);
        Self { known, drawn: Vec::new(), drawn_until: None }
    }

    /// Adds some. False: they would be too many, and none was added.
    pub(super) fn add(&mut self, more: Vec<NodeAddress>) -> bool {
        let fits = more.len() <= MAX_KNOWN_ADDRESSES - self.known.len();
        if fits {
            self.known.extend(more);
        }
        fits
    }

    /// What a peer that asks is told: at most 1000, and at most 23 in a hundred.
    pub(super) fn draw(&mut self, now: Instant, rng: &mut Rng) -> &[NodeAddress] {
        if self.drawn_until.is_none_or(|until| until < now) {
            let count = (self.known.len() * ADDRESS_SHARE / 100).min(MAX_ADDRESSES);
            // The first part of a shuffle: each choice of so many is as likely as any other.
            for place in 0..count {
                let other = place as u64 + rng.below((self.known.len() - place) as u64);
                self.known.swap(place, other as usize);
            }
            self.drawn = self.known[..count].to_vec();
            self.drawn_until = Some(now + DRAWN + Duration::from_secs(rng.below(DRAWN_SPREAD)));
        }
        &self.drawn
    }
}
