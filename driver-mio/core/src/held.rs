//! What a store has completed while the machine may be given nothing.

use std::collections::VecDeque;

use andon_kernel::{Completion, RowsBuffer, Ticket};

/// How many completions are held.
const MAX_COMPLETIONS: usize = 4096;

/// Bytes of rows after which no more is held, as much as a page has: so there are two pages at most.
const MAX_BYTES: usize = andon_kernel::PAGE_BYTES;

/// Completions in the order in which the store gave them.
#[derive(Debug, Default)]
pub(crate) struct Held {
    completions: VecDeque<HeldCompletion>,
    /// Of rows.
    bytes: usize,
}

/// As [`Completion`], with rows of its own.
#[derive(Debug)]
pub(crate) enum HeldCompletion {
    Loaded { ticket: Ticket, rows: RowsBuffer, more: bool },
    Stored { ticket: Ticket },
}

impl Held {
    /// None.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Whether no more is to be held.
    pub(crate) fn is_full(&self) -> bool {
        self.completions.len() >= MAX_COMPLETIONS || self.bytes >= MAX_BYTES
    }

    pub(crate) fn len(&self) -> usize {
        self.completions.len()
    }

    pub(crate) fn push(&mut self, completion: Completion<'_>) {
        self.completions.push_back(match completion {
            Completion::Loaded { ticket, rows: lent, more } => {
                let mut rows = RowsBuffer::new();
                lent.iter().for_each(|(key, value)| rows.push(key, value));
                self.bytes += rows.size();
                HeldCompletion::Loaded { ticket, rows, more }
            }
            Completion::Stored { ticket } => HeldCompletion::Stored { ticket },
        });
    }

    pub(crate) fn pop(&mut self) -> Option<HeldCompletion> {
        let completion = self.completions.pop_front()?;
        if let HeldCompletion::Loaded { rows, .. } = &completion {
            self.bytes -= rows.size();
        }
        Some(completion)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_comes_back_in_order_and_is_bounded() {
        let mut held = Held::new();
        let mut page = RowsBuffer::new();
        page.push(b"key", &[7; 1000]);
        let mut count = 0;
        while !held.is_full() {
            let ticket = Ticket::new(count);
            held.push(match count % 2 {
                0 => Completion::Loaded { ticket, rows: page.rows(), more: count % 4 == 0 },
                _ => Completion::Stored { ticket },
            });
            count += 1;
        }
        assert!((MAX_BYTES as u64 / 1003 * 2..MAX_BYTES as u64 / 1003 * 2 + 2).contains(&count), "{count}");
        assert_eq!(held.len() as u64, count);
        for expected in 0..count {
            match held.pop() {
                Some(HeldCompletion::Loaded { ticket, rows, more }) => {
                    assert_eq!((ticket, more), (Ticket::new(expected), expected % 4 == 0));
                    assert!(rows.rows().iter().eq([(&b"key"[..], &[7; 1000][..])]));
                }
                Some(HeldCompletion::Stored { ticket }) => assert_eq!(ticket, Ticket::new(expected)),
                None => panic!("{expected} of {count}"),
            }
            assert!(!held.is_full());
        }
        assert!(held.pop().is_none());
        while !held.is_full() {
            held.push(Completion::Stored { ticket: Ticket::new(1) });
        }
        assert_eq!(held.len(), MAX_COMPLETIONS);
    }
}
