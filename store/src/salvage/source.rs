//! The damaged database, read and not changed: which spaces it has, and of their rows what SQLite reaches.

use std::collections::BTreeMap;
use std::ops::{Bound, RangeBounds};
use std::path::{Path, PathBuf};

use andon_kernel::Order;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Row};

use crate::directory::{APPLICATION_ID, BUSY_TIMEOUT, SCHEMA};
use crate::tables::{self, Action, Edge};
use crate::{OpenError, StoreError, migration};

pub(super) struct Source {
    connection: Connection,
    path: PathBuf,
    /// The table of each.
    spaces: BTreeMap<String, String>,
    views: Vec<String>,
    whole: bool,
    /// Whether its tables have the names of the first schema.
    is_old: bool,
}

impl Source {
    /// # Errors
    /// Damage is none: the less of it can be read.
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        let refused = |error: rusqlite::Error| OpenError::from_sqlite(path, &error);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(refused)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(refused)?;
        // The log stays as it is, so that a salvage that is cut short finds again what it found.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(refused)?;
        // "Writable" also means that a schema is used as far as it can be read, and a file that is too short too.
        connection
            .execute_batch(
                "PRAGMA writable_schema = ON; PRAGMA query_only = ON; PRAGMA trusted_schema = OFF;",
            )
            .map_err(refused)?;
        let mut source = Self {
            connection,
            path: path.into(),
            spaces: BTreeMap::new(),
            views: Vec::new(),
            whole: false,
            is_old: false,
        };
        if source.recognise()? {
            source.read_schema()?;
        }
        Ok(source)
    }

    /// The spaces that have a table, in the order of their names.
    pub(super) fn spaces(&self) -> Vec<String> {
        self.spaces.keys().cloned().collect()
    }

    /// Whether these are all.
    pub(super) fn is_whole(&self) -> bool {
        self.whole
    }

    pub(super) fn table(&self, space: &str) -> Table<'_> {
        let name = self.spaces.get(space).cloned().unwrap_or_else(|| tables::table_of(space));
        Table { source: self, name, longest_key: 0 }
    }

    /// The texts of views. None of the first schema: what they read has other names now.
    pub(super) fn views(&self) -> &[String] {
        &self.views
    }

    /// Whether it is a database of ours; not: it is none that can be read.
    fn recognise(&mut self) -> Result<bool, OpenError> {
        let number = |sql| self.connection.query_row(sql, (), |row| row.get::<_, i32>(0));
        let (application, schema) = match (number("PRAGMA application_id"), number("PRAGMA user_version")) {
            (Ok(application), Ok(schema)) => (application, schema),
            (Err(error), _) | (_, Err(error)) => return self.damaged(&error).map(|()| false),
        };
        let path = || self.path.clone();
        match (application, schema) {
            (APPLICATION_ID, found) if found > SCHEMA => {
                Err(OpenError::Newer { path: path(), found, supported: SCHEMA })
            }
            (APPLICATION_ID, found) => {
                self.is_old = found == migration::OLD_SCHEMA;
                Ok(true)
            }
            // New, or cut down to nothing.
            (0, 0) if self.count_schema()? == 0 => Ok(false),
            _ => Err(OpenError::Foreign { path: path() }),
        }
    }

    /// Entries of the schema; none if it can't be read.
    fn count_schema(&self) -> Result<i64, OpenError> {
        let count = self.connection.query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0));
        count.or_else(|error| self.damaged(&error).map(|()| 0))
    }

    fn read_schema(&mut self) -> Result<(), OpenError> {
        // The first statement fails if the schema is damaged, and those after it have what could be read.
        if let Err(error) = self.connection.prepare("SELECT 1 FROM sqlite_schema") {
            self.damaged(&error)?;
        }
        let mut spaces = BTreeMap::new();
        let mut views = Vec::new();
        let is_old = self.is_old;
        let read = self.for_each_entry(|kind, name, sql| match kind {
            "table" if name.starts_with("sqlite_") => true,
            "table" => match space_of(name, is_old) {
                Some(space) if sql == tables::create(name) => {
                    spaces.insert(space.to_owned(), name.to_owned());
                    true
                }
                _ => false,
            },
            // What is made of the rows: it is no loss.
            "view" => {
                if !is_old && sql.starts_with("CREATE VIEW ") {
                    views.push(sql.to_owned());
                }
                true
            }
            "index" | "trigger" => true,
            _ => false,
        });
        self.whole = match read {
            Ok(whole) => whole,
            Err(error) => self.damaged(&error).map(|()| false)?,
        };
        self.spaces = spaces;
        self.views = views;
        // A page is trusted as a whole or not at all; but for the schema, whose entries were just compared.
        let pragmas = "PRAGMA cell_size_check = ON; PRAGMA cache_size = -2048; PRAGMA mmap_size = 0;";
        self.connection.execute_batch(pragmas).or_else(|error| self.damaged(&error))
    }

    /// Reads the schema, by the kind, name and text of each entry. False: at least one was not understood.
    fn for_each_entry(&self, mut understand: impl FnMut(&str, &str, &str) -> bool) -> rusqlite::Result<bool> {
        let mut statement = self.connection.prepare("SELECT type, name, sql FROM sqlite_schema")?;
        let mut rows = statement.raw_query();
        let mut whole = true;
        while let Some(row) = rows.next()? {
            let text = |index| row.get_ref(index).ok().and_then(|value| value.as_str().ok()).unwrap_or("");
            whole &= understand(text(0), text(1), text(2));
        }
        Ok(whole)
    }

    /// Takes an error as damage, unless it is none: the database is in use.
    fn damaged(&self, error: &rusqlite::Error) -> Result<(), OpenError> {
        match StoreError::from_sqlite(error) {
            StoreError::Busy => Err(OpenError::Locked { path: self.path.clone() }),
            StoreError::NoPermission => Err(OpenError::NoPermission { path: self.path.clone() }),
            _ => Ok(()),
        }
    }
}

/// The space that a table is of. Its name says so where it can: the schema's version may be what is damaged.
fn space_of(table: &str, is_old: bool) -> Option<&str> {
    match tables::space_of(table) {
        None if is_old => migration::space_of(table),
        space => space,
    }
}

/// The table of a space.
pub(super) struct Table<'s> {
    source: &'s Source,
    name: String,
    longest_key: usize,
}

/// How far a range was read.
#[derive(Debug)]
pub(super) struct Read {
    /// The first key and the last, as they came.
    pub(super) first: Option<Vec<u8>>,
    pub(super) last: Option<Vec<u8>>,
    /// Whether damage ended it.
    pub(super) damaged: bool,
}

impl Table<'_> {
    /// Bytes of the longest key at which reading began or ended so far.
    pub(super) fn longest_key(&self) -> usize {
        self.longest_key
    }

    /// Gives the rows of a range to `each`, until its end or damage.
    ///
    /// Where two rows are not in order, it is not known which of them is damaged, and neither is given. The last one
    /// before damage is given if a search for its key leads to it: else the key may be what is damaged, and all rows
    /// beyond would be missed.
    ///
    /// # Errors
    /// Those of `each`; and if the database is in use.
    pub(super) fn read(
        &mut self,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        order: Order,
        mut each: impl FnMut(&[u8], &[u8]) -> Result<(), OpenError>,
    ) -> Result<Read, OpenError> {
        let mut read = Read { first: None, last: None, damaged: false };
        let mut waiting = None;
        let stop = self.read_rows(range, order, &mut waiting, |key, value| {
            each(key, value)?;
            read.note(key);
            Ok(())
        });
        match stop {
            Ok(()) => {}
            Err(Stop::Damage(error)) => {
                self.source.damaged(&error)?;
                read.damaged = true;
                waiting = waiting.filter(|(key, _)| self.finds(key, order));
            }
            Err(Stop::Disorder) => {
                waiting = None;
                read.damaged = true;
            }
            Err(Stop::Failure(error)) => return Err(error),
        }
        if let Some((key, value)) = waiting {
            each(&key, &value)?;
            read.note(&key);
        }
        for key in [&read.first, &read.last].into_iter().flatten() {
            self.longest_key = self.longest_key.max(key.len());
        }
        Ok(read)
    }

    /// Whether a search leads to a key, from the side where the rows before it are.
    fn finds(&self, key: &[u8], order: Order) -> bool {
        let descending = order == Order::Descending;
        let action = Action::Scan { from: Edge::Included, to: Edge::Included, descending };
        let statement = self.source.connection.prepare_cached(&action.sql(&self.name));
        statement.is_ok_and(|mut statement| statement.exists((key, key)).unwrap_or(false))
    }

    /// Gives each row to `each` that another one in order follows; the last one is left `waiting`.
    fn read_rows(
        &self,
        (from, to): (Bound<&[u8]>, Bound<&[u8]>),
        order: Order,
        waiting: &mut Option<(Vec<u8>, Vec<u8>)>,
        mut each: impl FnMut(&[u8], &[u8]) -> Result<(), OpenError>,
    ) -> Result<(), Stop> {
        let action =
            Action::Scan { from: Edge::of(from), to: Edge::of(to), descending: order == Order::Descending };
        let mut statement = self.source.connection.prepare_cached(&action.sql(&self.name))?;
        for (index, bound) in [(1, from), (2, to)] {
            if let Bound::Included(key) | Bound::Excluded(key) = bound {
                statement.raw_bind_parameter(index, key)?;
            }
        }
        let end = match order {
            Order::Ascending => to,
            Order::Descending => from,
        };
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next()? {
            let (key, value) = columns(row)?;
            if !(from, to).contains(key) {
                return Err(Stop::Disorder);
            }
            if let Some((last, its_value)) = waiting {
                if !tables::follows(order, last, key) {
                    return Err(Stop::Disorder);
                }
                each(last, its_value).map_err(Stop::Failure)?;
            }
            let (next_key, next_value) = waiting.get_or_insert_default();
            next_key.clear();
            next_key.extend_from_slice(key);
            next_value.clear();
            next_value.extend_from_slice(value);
            // What follows is not asked for, and may be damaged.
            if matches!(end, Bound::Included(end) if end == key) {
                break;
            }
        }
        Ok(())
    }
}

impl Read {
    fn note(&mut self, key: &[u8]) {
        if self.first.is_none() {
            self.first = Some(key.to_vec());
        }
        let last = self.last.get_or_insert_default();
        last.clear();
        last.extend_from_slice(key);
    }
}

fn columns<'r>(row: &'r Row<'_>) -> rusqlite::Result<(&'r [u8], &'r [u8])> {
    Ok((row.get_ref(0)?.as_blob()?, row.get_ref(1)?.as_blob()?))
}

/// Why reading ended before the end.
enum Stop {
    Damage(rusqlite::Error),
    Disorder,
    Failure(OpenError),
}

impl From<rusqlite::Error> for Stop {
    fn from(error: rusqlite::Error) -> Self {
        Self::Damage(error)
    }
}
