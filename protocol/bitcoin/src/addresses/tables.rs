//! The two tables and the entries in them, kept in agreement. Which entry goes where, and when, is decided elsewhere.
//!
//! A bucket takes memory only while something is in it. No entry is without a place, so there are never more entries
//! than places.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use andon_kernel::Rng;

use super::entry::{Entry, Places, References};
use super::group::Grouping;
use super::limits::{BUCKET_SIZE, NEW_BUCKETS, TRIED_BUCKETS};
use super::location::Location;
use super::network::{AddressNetwork, AddressNetworks};
use super::placement::{Cell, Placement};

/// Where an entry is in the list. It changes when another entry is removed: none is held over that.
pub(super) type Index = u32;

/// Networks that entries are counted by.
const NETWORKS: usize = AddressNetwork::ALL.len();

/// Which of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// Of nodes that were heard of.
    New,
    /// Of nodes that were reached.
    Tried,
}

#[derive(Debug)]
pub(super) struct Tables {
    pub(super) grouping: Grouping,
    pub(super) placement: Placement,
    entries: Vec<Entry>,
    /// For each entry, what is on the disk.
    rows: Vec<Row>,
    /// By what identifies a location.
    found: BTreeMap<u64, Index>,
    new: Grid,
    tried: Grid,
    /// Entries in each table, by network.
    counts: [[u32; NETWORKS]; 2],
    /// Entries that were marked as changed; some have gone since, some stand here twice.
    changed: Vec<Location>,
    /// How many entries are marked so.
    marked: usize,
    /// Who has a row and is no entry any more.
    gone: BTreeSet<Location>,
}

/// What is on the disk of an entry.
#[derive(Clone, Copy, Debug)]
struct Row {
    /// Whether there is a row.
    is_there: bool,
    /// Whether the entry has changed since, or is new.
    is_stale: bool,
}

impl Tables {
    pub(super) fn new(grouping: Grouping, placement: Placement) -> Self {
        Self {
            grouping,
            placement,
            entries: Vec::new(),
            rows: Vec::new(),
            found: BTreeMap::new(),
            new: Grid::new(NEW_BUCKETS),
            tried: Grid::new(TRIED_BUCKETS),
            counts: [[0; NETWORKS]; 2],
            changed: Vec::new(),
            marked: 0,
            gone: BTreeSet::new(),
        }
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub(super) fn entry(&self, index: Index) -> &Entry {
        &self.entries[index as usize]
    }

    /// The entry of a location.
    pub(super) fn find(&self, location: &Location) -> Option<Index> {
        let index = *self.found.get(&self.placement.fingerprint(location))?;
        (self.entry(index).location == *location).then_some(index)
    }

    /// Whether another location is found by the same number. It happens once in 10^10 books, and then it can't be added.
    pub(super) fn is_shadowed(&self, location: &Location) -> bool {
        self.find(location).is_none() && self.found.contains_key(&self.placement.fingerprint(location))
    }

    /// Changes what is known of an entry, but neither its location nor its places.
    pub(super) fn update(&mut self, index: Index, change: impl FnOnce(&mut Entry)) {
        let entry = &mut self.entries[index as usize];
        let before = *entry;
        change(entry);
        debug_assert!(entry.location == before.location && entry.places == before.places);
        if *entry != before {
            self.mark(index);
        }
    }

    /// How many entries a table has of these networks.
    pub(super) fn count(&self, table: Table, networks: AddressNetworks) -> usize {
        let counts = &self.counts[table as usize];
        networks.iter().map(|network| counts[network as usize] as usize).sum()
    }

    /// The place of an entry among those that were reached, wherever it stands now.
    pub(super) fn tried_cell(&self, location: &Location) -> Cell {
        self.placement.tried(location, &self.grouping.of(&location.host))
    }

    /// Its place among those that were heard of, by who told of it first.
    pub(super) fn first_new_cell(&self, entry: &Entry) -> Cell {
        let group = self.grouping.of(&entry.location.host);
        self.placement.new_from(&entry.location, &group, &self.grouping.of_source(&entry.source))
    }

    /// Who stands in a cell.
    pub(super) fn at(&self, table: Table, cell: Cell) -> Option<Index> {
        self.grid(table).at(cell)
    }

    /// Adds an entry that has no place yet to an empty cell of those that were heard of.
    pub(super) fn insert_new(&mut self, mut entry: Entry, cell: Cell) {
        entry.places = Places::New(References::NONE);
        let index = self.insert(entry, Table::New);
        self.refer(index, cell);
    }

    /// Adds an entry to its own cell among those that were reached, which must be empty.
    pub(super) fn insert_tried(&mut self, mut entry: Entry) {
        entry.places = Places::Tried;
        let cell = self.tried_cell(&entry.location);
        let index = self.insert(entry, Table::Tried);
        self.tried.put(cell, index, network(&entry));
    }

    /// Gives an entry that was heard of one more place, which must be empty. It must have fewer than it may have.
    pub(super) fn refer(&mut self, index: Index, cell: Cell) {
        let entry = &mut self.entries[index as usize];
        let Places::New(references) = &mut entry.places else {
            panic!("one place is enough among the tried")
        };
        assert!(references.add(cell), "a place is given once, and not more than may be");
        let network = network(entry);
        self.new.put(cell, index, network);
        self.mark(index);
    }

    /// Empties a cell of those that were heard of. An entry without another place is removed: then indices change.
    pub(super) fn clear_new(&mut self, cell: Cell) {
        let Some(index) = self.new.at(cell) else { return };
        let entry = &mut self.entries[index as usize];
        let Places::New(references) = &mut entry.places else {
            panic!("the tried have no place among the new")
        };
        references.remove(cell);
        let (network, is_last) = (network(entry), entry.references() == 0);
        self.new.clear(cell, network);
        if is_last {
            self.remove(index);
        } else {
            self.mark(index);
        }
    }

    /// Takes an entry out altogether. Indices change.
    pub(super) fn forget(&mut self, index: Index) {
        self.unplace(index);
        self.remove(index);
    }

    /// Moves an entry from those that were reached to an empty cell of those that were heard of.
    pub(super) fn make_new(&mut self, index: Index, cell: Cell) {
        self.unplace(index);
        self.enter(index, Places::New(References::NONE));
        self.refer(index, cell);
    }

    /// Draws a bucket that has entries of these networks, each such bucket as likely as the others, then one of them in it,
    /// each as likely as the others: a source that fills its buckets gains nothing over one with a few nodes in each.
    ///
    /// Bitcoin Core takes the first entry from a random place in the bucket on, so that what stands behind a gap is up to
    /// 64 times likelier than what stands behind another entry. In the full buckets of a node that has run for months that
    /// is the same; in those of a client they are mostly gaps.
    pub(super) fn draw(&self, table: Table, networks: AddressNetworks, rng: &mut Rng) -> Option<&Entry> {
        let bucket = self.grid(table).draw_bucket(networks, rng)?;
        let is_wanted = |entry: &&Entry| networks.contains(AddressNetwork::claimed(&entry.location.host));
        let cells = bucket.cells.iter().filter(|cell| **cell != EMPTY);
        let mut entries = cells.map(|cell| self.entry(*cell)).filter(is_wanted);
        entries.nth(rng.below(bucket.count(networks)) as usize)
    }

    /// Locations whose rows are to be written, with what, or removed. Afterwards the rows are as the entries are.
    pub(super) fn take_changed(&mut self) -> impl Iterator<Item = (Location, Option<Entry>)> + use<'_> {
        let gone = core::mem::take(&mut self.gone).into_iter().map(|location| (location, None));
        let mut changed = core::mem::take(&mut self.changed);
        changed.sort_unstable();
        self.marked = 0;
        let changed = changed.into_iter().filter_map(|location| {
            let index = self.find(&location)? as usize;
            let row = core::mem::replace(&mut self.rows[index], Row { is_there: true, is_stale: false });
            row.is_stale.then(|| (location, Some(self.entries[index])))
        });
        gone.chain(changed)
    }

    /// How many rows are to be written or removed.
    pub(super) fn changed(&self) -> usize {
        self.marked + self.gone.len()
    }

    /// Notes that every row is to be written, and that none is there.
    pub(super) fn nothing_is_stored(&mut self) {
        self.gone.clear();
        self.rows.fill(Row { is_there: false, is_stale: true });
        self.marked = self.entries.len();
        self.changed = self.entries.iter().map(|entry| entry.location).collect();
    }

    /// Notes that an entry, which has just been added, has a row; and whether it is as the entry is.
    pub(super) fn has_row(&mut self, index: Index, is_same: bool) {
        let row = &mut self.rows[index as usize];
        row.is_there = true;
        if is_same && row.is_stale {
            row.is_stale = false;
            self.marked -= 1;
            self.changed.pop_if(|location| *location == self.entries[index as usize].location);
        }
    }

    /// Notes that the row of an entry is not as the entry is.
    fn mark(&mut self, index: Index) {
        let row = &mut self.rows[index as usize];
        if core::mem::replace(&mut row.is_stale, true) {
            return;
        }
        self.marked += 1;
        self.note(index);
    }

    fn note(&mut self, index: Index) {
        self.changed.push(self.entry(index).location);
        // What comes and goes between two batches would add up.
        if self.changed.len() > 2 * self.entries.len() + 64 {
            let stale = self.entries.iter().zip(&self.rows).filter(|(_, row)| row.is_stale);
            self.changed = stale.map(|(entry, _)| entry.location).collect();
        }
    }

    fn grid(&self, table: Table) -> &Grid {
        match table {
            Table::New => &self.new,
            Table::Tried => &self.tried,
        }
    }

    fn insert(&mut self, entry: Entry, table: Table) -> Index {
        let index = self.entries.len() as Index;
        let replaced = self.found.insert(self.placement.fingerprint(&entry.location), index);
        assert!(replaced.is_none(), "an entry is added once");
        self.counts[table as usize][network(&entry) as usize] += 1;
        let is_there = self.gone.remove(&entry.location);
        // A quarter more: to double would take more at once than all entries of a full book.
        if self.entries.len() == self.entries.capacity() {
            self.entries.reserve_exact((self.entries.len() / 4).max(64));
        }
        self.entries.push(entry);
        self.rows.push(Row { is_there, is_stale: true });
        self.marked += 1;
        self.note(index);
        index
    }

    /// Sets where an entry stands. It has no place.
    fn enter(&mut self, index: Index, places: Places) {
        let entry = &mut self.entries[index as usize];
        let network = network(entry) as usize;
        self.counts[table_of(&entry.places) as usize][network] -= 1;
        self.counts[table_of(&places) as usize][network] += 1;
        entry.places = places;
        self.mark(index);
    }

    /// Takes an entry out of all its places.
    fn unplace(&mut self, index: Index) {
        let entry = &mut self.entries[index as usize];
        let network = network(entry);
        match &mut entry.places {
            Places::New(references) => {
                for &cell in core::mem::replace(references, References::NONE).cells() {
                    self.new.clear(cell, network);
                }
            }
            Places::Tried => {
                let location = entry.location;
                self.tried.clear(self.tried_cell(&location), network);
            }
        }
    }

    /// Removes an entry that has no place. The last one takes its index.
    fn remove(&mut self, index: Index) {
        let entry = self.entries.swap_remove(index as usize);
        self.found.remove(&self.placement.fingerprint(&entry.location));
        self.counts[table_of(&entry.places) as usize][network(&entry) as usize] -= 1;
        let row = self.rows.swap_remove(index as usize);
        self.marked -= usize::from(row.is_stale);
        // What has never been stored leaves no trace: so there are never more changes than entries and rows.
        if row.is_there {
            self.gone.insert(entry.location);
        }
        let Some(moved) = self.entries.get(index as usize) else { return };
        self.found.insert(self.placement.fingerprint(&moved.location), index);
        match &moved.places {
            Places::Tried => {
                let cell = self.tried_cell(&moved.location);
                self.tried.rename(cell, index);
            }
            Places::New(references) => {
                for &cell in references.cells() {
                    self.new.rename(cell, index);
                }
            }
        }
    }
}

fn network(entry: &Entry) -> AddressNetwork {
    AddressNetwork::claimed(&entry.location.host)
}

const fn table_of(places: &Places) -> Table {
    match places {
        Places::New(_) => Table::New,
        Places::Tried => Table::Tried,
    }
}

/// An empty cell.
const EMPTY: Index = Index::MAX;

/// Draws of a bucket before those that have something are listed: by then most are empty.
const BUCKET_DRAWS: u32 = 8;

#[derive(Debug)]
struct Grid(Vec<Option<Box<Bucket>>>);

#[derive(Debug)]
struct Bucket {
    cells: [Index; BUCKET_SIZE as usize],
    /// Cells that are taken, by network.
    counts: [u8; NETWORKS],
}

impl Bucket {
    /// Cells that are taken by these networks.
    fn count(&self, networks: AddressNetworks) -> u64 {
        networks.iter().map(|network| u64::from(self.counts[network as usize])).sum()
    }
}

impl Grid {
    fn new(buckets: u16) -> Self {
        Self((0..buckets).map(|_| None).collect())
    }

    fn at(&self, cell: Cell) -> Option<Index> {
        let bucket = self.0[usize::from(cell.bucket())].as_ref()?;
        Some(bucket.cells[usize::from(cell.position())]).filter(|index| *index != EMPTY)
    }

    fn put(&mut self, cell: Cell, index: Index, network: AddressNetwork) {
        let empty = || Box::new(Bucket { cells: [EMPTY; BUCKET_SIZE as usize], counts: [0; NETWORKS] });
        let bucket = self.0[usize::from(cell.bucket())].get_or_insert_with(empty);
        let place = &mut bucket.cells[usize::from(cell.position())];
        assert!(*place == EMPTY, "a place is given when it is empty");
        *place = index;
        bucket.counts[network as usize] += 1;
    }

    fn clear(&mut self, cell: Cell, network: AddressNetwork) {
        let slot = &mut self.0[usize::from(cell.bucket())];
        let bucket = slot.as_mut().expect("what is in a cell is in its bucket");
        bucket.cells[usize::from(cell.position())] = EMPTY;
        bucket.counts[network as usize] -= 1;
        if bucket.counts.iter().all(|count| *count == 0) {
            *slot = None;
        }
    }

    fn rename(&mut self, cell: Cell, index: Index) {
        let bucket = self.0[usize::from(cell.bucket())].as_mut();
        bucket.expect("what is in a cell is in its bucket").cells[usize::from(cell.position())] = index;
    }

    /// One of the buckets that have something of these networks, each as likely as the others.
    fn draw_bucket(&self, networks: AddressNetworks, rng: &mut Rng) -> Option<&Bucket> {
        let has = |bucket: &&Bucket| bucket.count(networks) > 0;
        for _ in 0..BUCKET_DRAWS {
            let bucket = &self.0[rng.below(self.0.len() as u64) as usize];
            if let Some(bucket) = bucket.as_deref().filter(has) {
                return Some(bucket);
            }
        }
        let buckets = || self.0.iter().flatten().map(|bucket| &**bucket).filter(has);
        let count = buckets().count() as u64;
        if count == 0 { None } else { buckets().nth(rng.below(count) as usize) }
    }
}
