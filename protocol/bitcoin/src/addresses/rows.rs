//! What is stored: a row for each node, and what the places are computed from; bans and anchors.
//!
//! | space | key | value |
//! |---|---|---|
//! | `addresses` | 0 (1 byte) | version (1), secret (32), version of the grouping (32), when a node was last reached (4) |
//! | `addresses` | 1 (1), location | services (8), last heard of, reached, dialled, dialled so that it counted (4 each), attempts (1), source, places: 255, or how many (1) and their cells (2 each) |
//! | `bans` | length of the prefix in bits (2, big-endian), host | version (1), since, until (8 each) |
//! | `anchors` | 0, 1… (1) | version (1), location, services (8) |
//!
//! A location is the network's number in BIP155 (1), 4, 16 or 32 bytes, and the port (2, big-endian); a source a host in the
//! same way, or 0 and ten bytes. Numbers are little-endian. Each value ends with a checksum (4) of its key and of what comes
//! before it. Which nodes wait for the place of another is not stored: time in which nothing ran would count as a failed
//! test.

use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use andon_kernel::{BatchWriter, Rng, Space};
use bitcoin::p2p::ServiceFlags;

use super::book::AddressBook;
use super::entry::{Entry, Places, References};
use super::group::Grouping;
use super::location::{Location, Source};
use super::network::is_routable;
use super::placement::{Cell, Placement};
use super::tables::Table;
use crate::rows;
use crate::wire::{Host, Malformed, Reader};

/// Nodes, and what their places are computed from.
pub const ADDRESSES: Space = Space::new("addresses");
/// Who is not to be dialled.
pub const BANS: Space = Space::new("bans");
/// Who is to be dialled first.
pub const ANCHORS: Space = Space::new("anchors");

/// The version of these encodings.
pub(super) const VERSION: u8 = 1;

const STATE_KEY: &[u8] = &[0];
const ENTRY_TAG: u8 = 1;
const TRIED: u8 = 255;
const NAMED: u8 = 0;

/// Why a row can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowError {
    /// It is not what was stored: its checksum or its form is wrong.
    Damaged,
    /// A version that is not known here wrote it.
    Version(u8),
    /// It is well-formed, and there can't be such a one: an address that nobody can reach, a node without a place.
    Impossible,
}

impl fmt::Display for RowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged => f.write_str("the row is damaged"),
            Self::Version(version) => write!(f, "the row is of version {version}"),
            Self::Impossible => f.write_str("the row says what can't be"),
        }
    }
}

impl core::error::Error for RowError {}

impl From<Malformed> for RowError {
    fn from(Malformed: Malformed) -> Self {
        Self::Damaged
    }
}

impl AddressBook {
    /// How many rows [`store`](Self::store) would write or remove now.
    pub fn unstored(&self) -> usize {
        self.tables.changed() + usize::from(self.state_changed)
    }

    /// Puts into a batch what has changed since the last time: a row for each node that has.
    ///
    /// After a restart from rows that could not all be used, and the first time, it writes all of them anew.
    pub fn store(&mut self, batch: &mut BatchWriter<'_>) {
        if core::mem::take(&mut self.rewrite) {
            batch.delete_from(ADDRESSES, &[]);
            self.tables.nothing_is_stored();
            self.state_changed = true;
        }
        if core::mem::take(&mut self.state_changed) {
            let mut value = Vec::with_capacity(73);
            value.push(VERSION);
            value.extend_from_slice(self.tables.placement.salt());
            value.extend_from_slice(&self.tables.grouping.version());
            value.extend_from_slice(&self.last_good.to_le_bytes());
            put(batch, ADDRESSES, STATE_KEY, value);
        }
        for (location, entry) in self.tables.take_changed() {
            let mut key = Vec::with_capacity(36);
            key.push(ENTRY_TAG);
            write_location(&location, &mut key);
            match entry {
                Some(entry) => put(batch, ADDRESSES, &key, encode(&entry)),
                None => delete(batch, ADDRESSES, key),
            }
        }
    }
}

/// A book that is read from its rows, which come in the order of their keys.
///
/// Reading is total: a row that can't be used is told of and left out, whatever it is, and the others make a sound book.
/// If the map that addresses are grouped by is another, or the secret is lost, every node gets the place that it has now, if
/// that is empty. Of rows of another version none is used.
#[derive(Debug)]
pub struct Restoring {
    book: AddressBook,
    has_state: bool,
    /// Whether places are to be computed anew.
    replace: bool,
    /// That of all rows, if it is not known here.
    foreign: Option<u8>,
    restored: Restored,
}

/// What came of reading a book.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Nodes that stand where they stood.
    pub kept: usize,
    /// Nodes that stand elsewhere now.
    pub moved: usize,
    /// Nodes for which no place is left.
    pub without_place: usize,
    /// Rows that could not be used.
    pub unusable: usize,
}

impl Restoring {
    /// Before the first row. The generator gives the secret, if the rows have none.
    pub fn new(grouping: Grouping, rng: &mut Rng) -> Self {
        let book = AddressBook::new(grouping, rng);
        Self { book, has_state: false, replace: false, foreign: None, restored: Restored::default() }
    }

    /// Takes a row.
    ///
    /// # Errors
    /// If it can't be used. The book is written anew then, without it, when it is stored next.
    pub fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), RowError> {
        let taken = match key {
            STATE_KEY => self.take_state(key, value),
            [ENTRY_TAG, ..] => self.take_entry(key, value),
            _ => Err(RowError::Damaged),
        };
        if taken.is_err() {
            self.restored.unusable += 1;
        }
        taken
    }

    /// The book, and what came of its rows.
    pub fn finish(mut self) -> (AddressBook, Restored) {
        let is_whole = self.restored.unusable == 0 && self.restored.without_place == 0;
        self.book.rewrite = !(self.has_state && is_whole && !self.replace);
        self.book.state_changed = self.book.rewrite;
        (self.book, self.restored)
    }

    fn take_state(&mut self, key: &[u8], value: &[u8]) -> Result<(), RowError> {
        let mut reader = Reader::new(unseal(key, value)?);
        read_version(&mut reader).inspect_err(|error| {
            if let RowError::Version(version) = error {
                self.foreign = Some(*version);
            }
        })?;
        let salt = reader.array()?;
        let grouping: [u8; 32] = reader.array()?;
        let last_good = reader.u32()?;
        if !reader.rest().is_empty() || self.has_state {
            return Err(RowError::Damaged);
        }
        if !self.book.is_empty() {
            return Err(RowError::Impossible);
        }
        let ours = self.book.tables.grouping.clone();
        self.replace = ours.version() != grouping;
        self.book = AddressBook::with_placement(ours, Placement::new(salt));
        self.book.last_good = last_good;
        self.has_state = true;
        Ok(())
    }

    fn take_entry(&mut self, key: &[u8], value: &[u8]) -> Result<(), RowError> {
        if let Some(version) = self.foreign {
            return Err(RowError::Version(version));
        }
        // Without the secret no place is what it was.
        self.replace |= !self.has_state;
        let entry = decode(key, value)?;
        let tables = &mut self.book.tables;
        if tables.find(&entry.location).is_some() || tables.is_shadowed(&entry.location) {
            return Err(RowError::Impossible);
        }
        match &entry.places {
            Places::Tried => {
                if tables.at(Table::Tried, tables.tried_cell(&entry.location)).is_none() {
                    tables.insert_tried(entry);
                }
            }
            Places::New(references) if !self.replace => {
                let stands = |cell: &Cell| tables.placement.new_in(cell.bucket(), &entry.location) == *cell;
                if !references.cells().iter().all(stands) {
                    return Err(RowError::Impossible);
                }
                for &cell in references.cells() {
                    if tables.at(Table::New, cell).is_some() {
                        continue;
                    }
                    match tables.find(&entry.location) {
                        None => tables.insert_new(entry, cell),
                        Some(index) => tables.refer(index, cell),
                    }
                }
            }
            Places::New(_) => {}
        }
        if tables.find(&entry.location).is_none() {
            let cell = tables.first_new_cell(&entry);
            if tables.at(Table::New, cell).is_none() {
                tables.insert_new(entry, cell);
            }
        }
        let Some(index) = tables.find(&entry.location) else {
            self.restored.without_place += 1;
            return Ok(());
        };
        let is_same = *tables.entry(index) == entry;
        tables.has_row(index, is_same);
        *if is_same { &mut self.restored.kept } else { &mut self.restored.moved } += 1;
        Ok(())
    }
}

fn encode(entry: &Entry) -> Vec<u8> {
    let mut value = Vec::with_capacity(80);
    value.extend_from_slice(&entry.services.to_u64().to_le_bytes());
    for time in [entry.time, entry.last_success, entry.last_try, entry.last_counted] {
        value.extend_from_slice(&time.to_le_bytes());
    }
    value.push(entry.attempts);
    match &entry.source {
        Source::Node(host) => write_host(host, &mut value),
        Source::Named(name) => {
            value.push(NAMED);
            value.extend_from_slice(name);
        }
    }
    match &entry.places {
        Places::Tried => value.push(TRIED),
        Places::New(references) => {
            value.push(references.cells().len() as u8);
            for cell in references.cells() {
                value.extend_from_slice(&cell.number().to_le_bytes());
            }
        }
    }
    value
}

fn decode(key: &[u8], value: &[u8]) -> Result<Entry, RowError> {
    let mut place = Reader::new(&key[1..]);
    let location = read_location(&mut place)?;
    let mut reader = Reader::new(unseal(key, value)?);
    let services = ServiceFlags::from(reader.u64()?);
    let [time, last_success, last_try, last_counted] =
        [reader.u32()?, reader.u32()?, reader.u32()?, reader.u32()?];
    let attempts = reader.u8()?;
    let source = match reader.rest().first() {
        Some(&NAMED) => {
            reader.u8()?;
            Source::Named(reader.array()?)
        }
        _ => Source::Node(read_host(&mut reader)?),
    };
    let places = match reader.u8()? {
        TRIED => Places::Tried,
        count => {
            let mut references = References::NONE;
            for _ in 0..count {
                if !references.add(Cell::from_number(u16::from_le_bytes(reader.array()?))) {
                    return Err(RowError::Impossible);
                }
            }
            Places::New(references)
        }
    };
    if !reader.rest().is_empty() || !place.rest().is_empty() {
        return Err(RowError::Damaged);
    }
    let entry =
        Entry { location, services, source, time, last_success, last_try, last_counted, attempts, places };
    // What stands among the tried was reached, what does not has a place.
    let is_placed = if entry.is_tried() { last_success > 0 } else { entry.references() > 0 };
    if is_placed && is_routable(&location.host) { Ok(entry) } else { Err(RowError::Impossible) }
}

pub(super) fn write_location(location: &Location, out: &mut Vec<u8>) {
    write_host(&location.host, out);
    out.extend_from_slice(&location.port.to_be_bytes());
}

pub(super) fn read_location(reader: &mut Reader<'_>) -> Result<Location, Malformed> {
    Ok(Location { host: read_host(reader)?, port: u16::from_be_bytes(reader.array()?) })
}

pub(super) fn write_host(host: &Host, out: &mut Vec<u8>) {
    out.push(Location { host: *host, port: 0 }.host_number());
    match host {
        Host::Ip(IpAddr::V4(ip)) => out.extend_from_slice(&ip.octets()),
        Host::Ip(IpAddr::V6(ip)) | Host::Cjdns(ip) => out.extend_from_slice(&ip.octets()),
        Host::TorV3(bytes) | Host::I2p(bytes) => out.extend_from_slice(bytes),
    }
}

pub(super) fn read_host(reader: &mut Reader<'_>) -> Result<Host, Malformed> {
    Ok(match reader.u8()? {
        1 => Host::Ip(Ipv4Addr::from(reader.array::<4>()?).into()),
        2 => Host::Ip(Ipv6Addr::from(reader.array::<16>()?).into()),
        4 => Host::TorV3(reader.array()?),
        5 => Host::I2p(reader.array()?),
        6 => Host::Cjdns(Ipv6Addr::from(reader.array::<16>()?)),
        _ => return Err(Malformed),
    })
}

/// Reads the version that a value begins with.
pub(super) fn read_version(reader: &mut Reader<'_>) -> Result<(), RowError> {
    match reader.u8()? {
        VERSION => Ok(()),
        version => Err(RowError::Version(version)),
    }
}

/// A value without its checksum.
pub(super) fn unseal<'a>(key: &[u8], value: &'a [u8]) -> Result<&'a [u8], RowError> {
    rows::unseal(key, value).ok_or(RowError::Damaged)
}

/// Puts a row, with its checksum.
pub(super) fn put(batch: &mut BatchWriter<'_>, space: Space, key: &[u8], mut value: Vec<u8>) {
    rows::put(batch, space, key, &mut value);
}

/// Removes a row.
pub(super) fn delete(batch: &mut BatchWriter<'_>, space: Space, key: Vec<u8>) {
    let mut after = key.clone();
    after.push(0);
    batch.delete(space, &key, &after);
}
