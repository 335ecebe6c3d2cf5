//! The sum that goes through a whole recording, over its bytes and over the effects of its turns.
//!
//! Each step is a bijection of the state for given bytes, and of the bytes (eight of them) for a given state: so a change
//! within one word always changes what follows, and others do but once in 2^64 times. It guards against accidents and tells
//! runs apart; who makes a recording up can make its sums up too.

use core::fmt;
use core::ops::Bound;

use crate::{Change, Instant, Order, Output};

use super::fields::address_bytes;

/// Odd, with its bits spread evenly: 2^64 divided by the golden ratio.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// The sum. What is added is a stream of bytes, however it is cut into pieces.
#[derive(Clone, Debug)]
pub(super) struct Chain {
    state: u64,
    pending: [u8; 8],
    filled: usize,
    length: u64,
}

impl Chain {
    /// Of nothing.
    pub(super) const fn new() -> Self {
        Self { state: FACTOR, pending: [0; 8], filled: 0, length: 0 }
    }

    /// One that goes on from a seal.
    pub(super) const fn after(seal: u64) -> Self {
        Self { state: seal, ..Self::new() }
    }

    /// Adds bytes.
    pub(super) fn add(&mut self, mut bytes: &[u8]) {
        self.length = self.length.wrapping_add(bytes.len() as u64);
        if self.filled > 0 {
            let (head, rest) = bytes.split_at(bytes.len().min(8 - self.filled));
            self.pending[self.filled..self.filled + head.len()].copy_from_slice(head);
            self.filled += head.len();
            bytes = rest;
            if self.filled < 8 {
                return;
            }
            self.step(u64::from_le_bytes(self.pending));
            self.filled = 0;
        }
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.step(u64::from_le_bytes(*word));
        }
        self.pending[..rest.len()].copy_from_slice(rest);
        self.filled = rest.len();
    }

    /// Ends what was added since the last seal, and gives the sum of everything so far.
    pub(super) fn seal(&mut self) -> u64 {
        self.pending[self.filled..].fill(0);
        self.step(u64::from_le_bytes(self.pending));
        self.step(self.length);
        // Twice more, so that the last bits reach all others too.
        self.step(FACTOR);
        self.step(FACTOR);
        (self.filled, self.length) = (0, 0);
        self.state
    }

    fn step(&mut self, word: u64) {
        let mixed = (self.state ^ word).wrapping_mul(FACTOR);
        self.state = mixed ^ mixed >> 32;
    }

    fn number(&mut self, number: u64) {
        self.add(&number.to_le_bytes());
    }

    fn blob(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.add(bytes);
    }

    fn bound(&mut self, bound: Bound<&[u8]>) {
        match bound {
            Bound::Unbounded => self.add(&[0]),
            Bound::Included(key) => {
                self.add(&[1]);
                self.blob(key);
            }
            Bound::Excluded(key) => {
                self.add(&[2]);
                self.blob(key);
            }
        }
    }

    /// Adds everything that a turn did: its effects in their order, and the deadline after it.
    pub(super) fn add_turn<'a, E: fmt::Debug + 'a>(
        &mut self,
        effects: impl Iterator<Item = Output<'a, &'a E>>,
        deadline: Option<Instant>,
    ) {
        for effect in effects {
            self.effect(&effect);
        }
        match deadline {
            None => self.add(&[0xff]),
            Some(deadline) => {
                self.add(&[0xfe]);
                self.number(deadline.as_micros());
            }
        }
    }

    fn effect<E: fmt::Debug>(&mut self, effect: &Output<'_, &E>) {
        match effect {
            Output::Connect { conn, addr } => {
                self.add(&[1]);
                self.number(conn.as_u64());
                self.add(&address_bytes(*addr));
            }
            Output::Send { conn, bytes } => {
                self.add(&[2]);
                self.number(conn.as_u64());
                self.blob(bytes);
            }
            Output::Pause { conn, paused } => {
                self.add(&[3, u8::from(*paused)]);
                self.number(conn.as_u64());
            }
            Output::Flush { conn } => {
                self.add(&[4]);
                self.number(conn.as_u64());
            }
            Output::Close { conn, flush } => {
                self.add(&[5, u8::from(*flush)]);
                self.number(conn.as_u64());
            }
            Output::Datagram { to, bytes } => {
                self.add(&[6]);
                self.add(&address_bytes(*to));
                self.blob(bytes);
            }
            Output::Resolve { ticket, host, port } => {
                self.add(&[7]);
                self.number(ticket.as_u64());
                self.blob(host.as_bytes());
                self.add(&port.to_le_bytes());
            }
            Output::Load(scan) => {
                self.add(&[8, u8::from(scan.order == Order::Descending)]);
                self.number(scan.ticket.as_u64());
                self.blob(scan.space.name().as_bytes());
                self.bound(scan.from);
                self.bound(scan.to);
                self.add(&scan.limit.to_le_bytes());
            }
            Output::Store { ticket, batch } => {
                self.add(&[9]);
                self.number(ticket.as_u64());
                let changes = batch.changes();
                self.number(changes.len() as u64);
                for change in changes {
                    self.change(&change);
                }
            }
            Output::Event(event) => {
                self.add(&[10]);
                let before = self.length;
                // It can't fail: nothing here does.
                let _ = fmt::write(self, format_args!("{event:?}"));
                self.number(self.length.wrapping_sub(before));
            }
        }
    }

    fn change(&mut self, change: &Change<'_>) {
        match change {
            Change::Put { space, key, value } => {
                self.add(&[1]);
                self.blob(space.name().as_bytes());
                self.blob(key);
                self.blob(value);
            }
            Change::Delete { space, from, to } => {
                self.add(&[2]);
                self.blob(space.name().as_bytes());
                self.bound(Bound::Included(from));
                self.bound(to.map_or(Bound::Unbounded, Bound::Excluded));
            }
        }
    }
}

impl fmt::Write for Chain {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.add(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;

    fn sum(pieces: &[&[u8]]) -> u64 {
        let mut chain = Chain::new();
        for piece in pieces {
            chain.add(piece);
        }
        chain.seal()
    }

    #[test]
    fn it_does_not_matter_how_bytes_are_cut() {
        let bytes: Vec<u8> = (0..100).collect();
        let whole = sum(&[&bytes]);
        for first in 0..=bytes.len() {
            for second in [first, (first + 3).min(100), 100] {
                assert_eq!(sum(&[&bytes[..first], &bytes[first..second], &bytes[second..]]), whole);
            }
        }
    }

    #[test]
    fn any_other_bit_and_any_other_length_is_another_sum() {
        let bytes = vec![0; 40];
        let mut sums = vec![sum(&[&bytes])];
        for bit in 0..320 {
            let mut other = bytes.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            sums.push(sum(&[&other]));
        }
        sums.extend((0..40).map(|length| sum(&[&bytes[..length]])));
        let count = sums.len();
        sums.sort_unstable();
        sums.dedup();
        assert_eq!(sums.len(), count);
    }

    #[test]
    fn sums_are_pinned() {
        // A change here makes every recording unreadable: it needs another number of the format.
        assert_eq!([sum(&[]), sum(&[b"andon"])], PINNED);
    }

    const PINNED: [u64; 2] = [12_832_688_265_132_791_414, 16_764_686_843_758_145_484];
}
