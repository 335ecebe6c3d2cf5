//! Blocks that are asked for though their filters do not match: so that a request for a block says little about what is
//! watched.
//!
//! Each block is one with the same chance, whatever is watched and found, and the secret that decides it is drawn anew at each
//! start. Who sees all requests of a client sees its own blocks among so many more of any other's.

use core::num::NonZeroU32;

use andon_kernel::Rng;
use bitcoin::BlockHash;
use bitcoin::hashes::{Hash, siphash24};

/// Which blocks are decoys.
#[derive(Debug)]
pub(super) struct Decoys {
    /// One of so many; `None`: none.
    of: Option<NonZeroU32>,
    /// Whether none are for now.
    is_off: bool,
    secret: (u64, u64),
}

impl Decoys {
    pub(super) fn new(of: Option<NonZeroU32>, rng: &mut Rng) -> Self {
        Self { of, is_off: false, secret: (rng.u64(), rng.u64()) }
    }

    pub(super) const fn set_off(&mut self, is_off: bool) {
        self.is_off = is_off;
    }

    pub(super) fn contain(&self, block: &BlockHash) -> bool {
        !self.is_off
            && self.of.is_some_and(|of| {
                let (first, second) = self.secret;
                let drawn = siphash24::Hash::hash_to_u64_with_keys(first, second, block.as_byte_array());
                // Of 64 bits so many remainders are as good as equally likely.
                drawn.is_multiple_of(u64::from(of.get()))
            })
    }
}
