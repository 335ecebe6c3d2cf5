//! The store as a machine sees it: opaque keys and values in named spaces, written in atomic batches, read in order.
//!
//! What the bytes mean, and their versions, is the machine's business; a store keeps them and knows no more.

use alloc::vec::Vec;
use core::fmt;
use core::ops::Bound;

use crate::Ticket;

/// A named set of keys. A store gives each space a table of its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Space(&'static str);

impl Space {
    /// The space of that name: a lower-case word, which a store may use as the name of a table.
    ///
    /// # Panics
    /// If the name is empty, longer than 32 bytes or has other characters than `a`-`z` and `_`.
    pub const fn new(name: &'static str) -> Self {
        let bytes = name.as_bytes();
        assert!(!bytes.is_empty() && bytes.len() <= 32, "the name of a space has 1 to 32 characters");
        let mut index = 0;
        while index < bytes.len() {
            let byte = bytes[index];
            assert!(byte.is_ascii_lowercase() || byte == b'_', "the name of a space is a lower-case word");
            index += 1;
        }
        Self(name)
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        self.0
    }
}

impl fmt::Debug for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// One change of a [`Batch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// Sets a key, in place of the value it had.
    Put {
        /// Where.
        space: Space,
        /// Ordered as bytes.
        key: &'a [u8],
        /// Of any length.
        value: &'a [u8],
    },
    /// Removes the keys from `from` (included) to `to` (excluded; `None`: to the end of the space).
    Delete {
        /// Where.
        space: Space,
        /// The first key that goes.
        from: &'a [u8],
        /// The first key after it that stays.
        to: Option<&'a [u8]>,
    },
}

/// Changes that become durable together or not at all, applied in their order.
#[derive(Clone, Copy)]
pub struct Batch<'a> {
    pub(crate) changes: &'a [ChangeSpan],
    pub(crate) bytes: &'a [u8],
}

impl<'a> Batch<'a> {
    /// The changes, in order.
    pub fn changes(&self) -> impl ExactSizeIterator<Item = Change<'a>> + use<'a> {
        let bytes = self.bytes;
        self.changes.iter().map(move |span| span.resolve(bytes))
    }

    /// Bytes of keys and values: what a store holds until the batch is durable.
    pub fn size(&self) -> usize {
        self.changes.iter().map(|span| (span.middle - span.start + span.tail_len()) as usize).sum()
    }
}

impl fmt::Debug for Batch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.changes()).finish()
    }
}

/// A change as it lies in an outbox's arena: `start..middle` is the key, `middle..end` the value or the end key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChangeSpan {
    pub(crate) kind: ChangeKind,
    pub(crate) space: Space,
    pub(crate) start: u32,
    pub(crate) middle: u32,
    pub(crate) end: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChangeKind {
    Put,
    DeleteTo,
    DeleteToEnd,
}

impl ChangeSpan {
    fn tail_len(&self) -> u32 {
        self.end - self.middle
    }

    fn resolve<'a>(&self, bytes: &'a [u8]) -> Change<'a> {
        let head = &bytes[self.start as usize..self.middle as usize];
        let tail = &bytes[self.middle as usize..self.end as usize];
        match self.kind {
            ChangeKind::Put => Change::Put { space: self.space, key: head, value: tail },
            ChangeKind::DeleteTo => Change::Delete { space: self.space, from: head, to: Some(tail) },
            ChangeKind::DeleteToEnd => Change::Delete { space: self.space, from: head, to: None },
        }
    }
}

/// Which way a [`Scan`] goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// From the lowest key up.
    Ascending,
    /// From the highest key down.
    Descending,
}

/// A request for the rows of a range of keys, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scan<'a> {
    /// Comes back with the rows.
    pub ticket: Ticket,
    /// Where.
    pub space: Space,
    /// The low end, whichever the order.
    pub from: Bound<&'a [u8]>,
    /// The high end, whichever the order.
    pub to: Bound<&'a [u8]>,
    /// Which end comes first.
    pub order: Order,
    /// At most this many rows; never more than [`PAGE_BYTES`] and one row either.
    pub limit: u32,
}

impl Scan<'_> {
    /// Whether a page of `rows` rows and `bytes` bytes may take no more.
    pub fn is_full(&self, rows: usize, bytes: usize) -> bool {
        rows >= self.limit as usize || bytes >= PAGE_BYTES
    }
}

/// Bytes of keys and values after which a page of rows ends, so that one answer is bounded whatever was stored.
pub const PAGE_BYTES: usize = 1 << 20;

/// A page of rows, lent to a machine for one turn.
#[derive(Clone, Copy, Default)]
pub struct Rows<'a> {
    bytes: &'a [u8],
    spans: &'a [(u32, u32)],
}

impl<'a> Rows<'a> {
    /// How many rows.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Keys with their values, in the scan's order.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let mut rest = self.bytes;
        self.spans.iter().map(move |&(key, value)| {
            let (row, after) = rest.split_at(key as usize + value as usize);
            rest = after;
            row.split_at(key as usize)
        })
    }
}

impl fmt::Debug for Rows<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// Rows that a store gathers, in one piece of memory that it uses again.
#[derive(Clone, Debug, Default)]
pub struct RowsBuffer {
    bytes: Vec<u8>,
    spans: Vec<(u32, u32)>,
}

impl RowsBuffer {
    /// An empty one.
    pub const fn new() -> Self {
        Self { bytes: Vec::new(), spans: Vec::new() }
    }

    /// Adds a row.
    ///
    /// # Panics
    /// If the key or the value is 4 GiB or longer.
    pub fn push(&mut self, key: &[u8], value: &[u8]) {
        let len = |bytes: &[u8]| u32::try_from(bytes.len()).expect("a key or value is shorter than 4 GiB");
        self.spans.push((len(key), len(value)));
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
    }

    /// Removes all rows and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.spans.clear();
    }

    /// Bytes of keys and values so far.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The rows, lent.
    pub fn rows(&self) -> Rows<'_> {
        Rows { bytes: &self.bytes, spans: &self.spans }
    }
}

/// What a store has finished.
#[derive(Clone, Copy, Debug)]
pub enum Completion<'a> {
    /// A scan's page of rows.
    Loaded {
        /// Of the scan.
        ticket: Ticket,
        /// In the scan's order.
        rows: Rows<'a>,
        /// Whether the range holds rows after these.
        more: bool,
    },
    /// A batch is durable.
    Stored {
        /// Of the batch.
        ticket: Ticket,
    },
}

/// Keeps what a machine stores.
///
/// Requests take effect in the order they were submitted: a scan sees each batch submitted before it and none
/// submitted after. They complete in that order too, at once or later.
pub trait Store {
    /// Why it can go on no longer: the disk is full, the file is damaged.
    type Error: core::error::Error + 'static;

    /// Asks for rows.
    ///
    /// # Errors
    /// If the store can go on no longer.
    fn load(&mut self, scan: Scan<'_>) -> Result<(), Self::Error>;

    /// Asks for a batch to be made durable.
    ///
    /// # Errors
    /// If the store can go on no longer.
    fn store(&mut self, ticket: Ticket, batch: Batch<'_>) -> Result<(), Self::Error>;

    /// The next request that is complete, if one is.
    ///
    /// # Errors
    /// If the store can go on no longer: nothing that has not been completed by then is durable for certain.
    fn complete(&mut self) -> Result<Option<Completion<'_>>, Self::Error>;

    /// How many requests are not complete.
    fn outstanding(&self) -> usize;

    /// Whether it holds so much unfinished work that the driver should let no more come in.
    fn is_congested(&self) -> bool;
}
