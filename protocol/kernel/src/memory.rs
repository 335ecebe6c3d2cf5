//! A store in memory: for tests, for machines that keep nothing, and the model that other stores are held against.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::borrow::Borrow;
use core::cmp::Ordering;
use core::convert::Infallible;
use core::fmt;
use core::ops::Bound;

use crate::{Batch, Change, Completion, Order, RowsBuffer, Scan, Space, Store, Ticket};

/// Keeps everything in ordered maps. It never fails, and what it holds ends with it.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    spaces: BTreeMap<Space, BTreeSet<Row>>,
    done: VecDeque<Done>,
    lent: RowsBuffer,
}

/// A key and its value in one piece of memory: most rows are short, and a world has thousands of stores.
#[derive(Clone)]
struct Row {
    bytes: Box<[u8]>,
    key: u32,
}

impl Row {
    fn new(key: &[u8], value: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(key.len() + value.len());
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(value);
        let key = u32::try_from(key.len()).expect("a key is shorter than 4 GiB");
        Self { bytes: bytes.into_boxed_slice(), key }
    }

    fn parts(&self) -> (&[u8], &[u8]) {
        self.bytes.split_at(self.key as usize)
    }
}

/// By its key: no space has two rows of one.
impl Borrow<[u8]> for Row {
    fn borrow(&self) -> &[u8] {
        self.parts().0
    }
}

impl Ord for Row {
    fn cmp(&self, other: &Self) -> Ordering {
        self.parts().0.cmp(other.parts().0)
    }
}

impl PartialOrd for Row {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Row {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Row {}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts().fmt(f)
    }
}

#[derive(Clone, Debug)]
enum Done {
    Loaded { ticket: Ticket, rows: RowsBuffer, more: bool },
    Stored { ticket: Ticket },
}

impl MemoryStore {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Everything that a space holds, in order.
    pub fn rows(&self, space: Space) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.spaces.get(&space).into_iter().flatten().map(Row::parts)
    }

    /// Forgets the requests that are not complete, as a restart does. What was stored stays.
    pub fn restart(&mut self) {
        self.done.clear();
    }
}

impl Store for MemoryStore {
    type Error = Infallible;

    fn load(&mut self, scan: Scan<'_>) -> Result<(), Infallible> {
        let mut rows = RowsBuffer::new();
        let mut more = false;
        if let Some(space) = self.spaces.get(&scan.space).filter(|_| !is_empty(scan.from, scan.to)) {
            let mut range = space.range::<[u8], _>((scan.from, scan.to));
            let mut next = || match scan.order {
                Order::Ascending => range.next(),
                Order::Descending => range.next_back(),
            };
            while let Some((key, value)) = next().map(Row::parts) {
                if scan.is_full(rows.len(), rows.size()) {
                    more = true;
                    break;
                }
                rows.push(key, value);
            }
        }
        self.done.push_back(Done::Loaded { ticket: scan.ticket, rows, more });
        Ok(())
    }

    fn store(&mut self, ticket: Ticket, batch: Batch<'_>) -> Result<(), Infallible> {
        for change in batch.changes() {
            match change {
                Change::Put { space, key, value } => {
                    self.spaces.entry(space).or_default().replace(Row::new(key, value));
                }
                Change::Delete { space, from, to } => {
                    let to = to.map_or(Bound::Unbounded, Bound::Excluded);
                    if is_empty(Bound::Included(from), to) {
                        continue;
                    }
                    let Some(rows) = self.spaces.get_mut(&space) else { continue };
                    let keys: Vec<Vec<u8>> = rows
                        .range::<[u8], _>((Bound::Included(from), to))
                        .map(|row| row.parts().0.into())
                        .collect();
                    for key in keys {
                        rows.remove(key.as_slice());
                    }
                }
            }
        }
        self.done.push_back(Done::Stored { ticket });
        Ok(())
    }

    fn complete(&mut self) -> Result<Option<Completion<'_>>, Infallible> {
        Ok(self.done.pop_front().map(|done| match done {
            Done::Stored { ticket } => Completion::Stored { ticket },
            Done::Loaded { ticket, rows, more } => {
                self.lent = rows;
                Completion::Loaded { ticket, rows: self.lent.rows(), more }
            }
        }))
    }

    fn outstanding(&self) -> usize {
        self.done.len()
    }

    fn is_congested(&self) -> bool {
        false
    }
}

/// Whether no key lies in the range: the maps of the standard library panic on such a one.
fn is_empty(from: Bound<&[u8]>, to: Bound<&[u8]>) -> bool {
    match (from, to) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(from), Bound::Included(to)) => from > to,
        (Bound::Included(from) | Bound::Excluded(from), Bound::Included(to) | Bound::Excluded(to)) => {
            from >= to
        }
    }
}
