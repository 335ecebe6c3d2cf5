//! Spaces as tables: one table of keys and values for each, made at its first row, and its statements, prepared once.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, RangeBounds};

use andon_kernel::{Batch, Change, Order, RowsBuffer, Scan, Space};
use rusqlite::{Connection, ErrorCode, OptionalExtension, Result, Statement};

use crate::StoreError;
use crate::directory::keep_log;
use crate::error::damage;

/// The tables of a database, seen through one connection.
pub(crate) struct Tables<'c> {
    connection: &'c Connection,
    made: BTreeSet<Space>,
    statements: BTreeMap<(Space, Action), Statement<'c>>,
}

/// What is done to a table: one statement each.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Action {
    Put,
    /// Puts a row unless there is one of that key.
    Add,
    DeleteTo,
    DeleteToEnd,
    Scan {
        from: Edge,
        to: Edge,
        descending: bool,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Edge {
    Included,
    Excluded,
    Unbounded,
}

impl<'c> Tables<'c> {
    pub(crate) fn new(connection: &'c Connection) -> Self {
        Self { connection, made: BTreeSet::new(), statements: BTreeMap::new() }
    }

    pub(crate) fn begin(&self) -> Result<()> {
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute(()).map(drop)
    }

    pub(crate) fn commit(&self) -> Result<()> {
        self.connection.prepare_cached("COMMIT")?.execute(()).map(drop)
    }

    /// Copies SQLite's log into the database, if at least `pages` pages of it are not copied yet. What is durable in the
    /// log is durable: copying it is tidiness, which a reader or a full disk may prevent, and only damage is an error.
    pub(crate) fn checkpoint(&self, pages: i64) -> Result<()> {
        match self.try_checkpoint(pages) {
            Err(error) if matches!(StoreError::from_sqlite(&error), StoreError::Damaged { .. }) => Err(error),
            _ => Ok(()),
        }
    }

    fn try_checkpoint(&self, pages: i64) -> Result<()> {
        let mut count = self.connection.prepare_cached("PRAGMA wal_checkpoint(NOOP)")?;
        let waiting: i64 = count.query_row((), |row| Ok(row.get::<_, i64>(1)? - row.get::<_, i64>(2)?))?;
        if waiting >= pages {
            self.connection.prepare_cached("PRAGMA wal_checkpoint(PASSIVE)")?.query_row((), |_| Ok(()))?;
        }
        Ok(())
    }

    /// Has SQLite write ahead to a log from now on. False: somebody is reading.
    pub(crate) fn end_filling(&self) -> Result<bool> {
        match keep_log(self.connection) {
            // It stays as it is where the file system lacks what a log needs.
            Ok(_) => Ok(true),
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Applies the changes of a batch, in order, within the transaction that is open.
    pub(crate) fn apply(&mut self, batch: &Batch<'_>) -> Result<()> {
        for change in batch.changes() {
            match change {
                Change::Put { space, key, value } => {
                    if !self.has(space)? {
                        self.make(space)?;
                    }
                    self.statement(space, Action::Put)?.execute((key, value))?;
                }
                Change::Delete { space, .. } if !self.has(space)? => {}
                Change::Delete { space, from, to: Some(to) } => {
                    self.statement(space, Action::DeleteTo)?.execute((from, to))?;
                }
                Change::Delete { space, from, to: None } => {
                    self.statement(space, Action::DeleteToEnd)?.execute((from,))?;
                }
            }
        }
        Ok(())
    }

    /// Gathers a page of rows. True: the range holds rows after these.
    ///
    /// Rows that are not in order, or not in the range, are damage that SQLite does not look for. Who reads page by page
    /// would go round in circles.
    pub(crate) fn scan(&mut self, scan: &Scan<'_>, page: &mut RowsBuffer) -> Result<bool> {
        if !self.has(scan.space)? {
            return Ok(false);
        }
        let action = Action::Scan {
            from: Edge::of(scan.from),
            to: Edge::of(scan.to),
            descending: scan.order == Order::Descending,
        };
        let statement = self.statement(scan.space, action)?;
        for (index, bound) in [(1, scan.from), (2, scan.to)] {
            if let Bound::Included(key) | Bound::Excluded(key) = bound {
                statement.raw_bind_parameter(index, key)?;
            }
        }
        let mut rows = statement.raw_query();
        let mut order = KeyOrder::new(scan.order);
        while let Some(row) = rows.next()? {
            if scan.is_full(page.len(), page.size()) {
                return Ok(true);
            }
            let key = row.get_ref(0)?.as_blob()?;
            if !order.admits(key) || !(scan.from, scan.to).contains(key) {
                return Err(damage("rows are out of order"));
            }
            page.push(key, row.get_ref(1)?.as_blob()?);
        }
        Ok(false)
    }

    fn has(&mut self, space: Space) -> Result<bool> {
        if self.made.contains(&space) {
            return Ok(true);
        }
        let sql = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1";
        let found = self
            .connection
            .prepare_cached(sql)?
            .query_row((table_of(space.name()),), |_| Ok(()))
            .optional()?;
        if found.is_some() {
            self.made.insert(space);
        }
        Ok(found.is_some())
    }

    fn make(&mut self, space: Space) -> Result<()> {
        self.connection.execute_batch(&create(&table_of(space.name())))?;
        self.made.insert(space);
        Ok(())
    }

    fn statement(&mut self, space: Space, action: Action) -> Result<&mut Statement<'c>> {
        use std::collections::btree_map::Entry;
        match self.statements.entry((space, action)) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => {
                Ok(entry.insert(self.connection.prepare(&action.sql(&table_of(space.name())))?))
            }
        }
    }
}

impl Action {
    /// The statement for a table.
    pub(crate) fn sql(self, table: &str) -> String {
        let table = quoted(table);
        match self {
            Self::Put => format!("REPLACE INTO {table} (key, value) VALUES (?1, ?2)"),
            Self::Add => format!("INSERT OR IGNORE INTO {table} (key, value) VALUES (?1, ?2)"),
            Self::DeleteTo => format!("DELETE FROM {table} WHERE key >= ?1 AND key < ?2"),
            Self::DeleteToEnd => format!("DELETE FROM {table} WHERE key >= ?1"),
            Self::Scan { from, to, descending } => {
                let from = match from {
                    Edge::Included => "key >= ?1",
                    Edge::Excluded => "key > ?1",
                    Edge::Unbounded => "true",
                };
                let to = match to {
                    Edge::Included => "key <= ?2",
                    Edge::Excluded => "key < ?2",
                    Edge::Unbounded => "true",
                };
                let order = if descending { "DESC" } else { "ASC" };
                format!("SELECT key, value FROM {table} WHERE {from} AND {to} ORDER BY key {order}")
            }
        }
    }
}

impl Edge {
    pub(crate) fn of(bound: Bound<&[u8]>) -> Self {
        match bound {
            Bound::Included(_) => Self::Included,
            Bound::Excluded(_) => Self::Excluded,
            Bound::Unbounded => Self::Unbounded,
        }
    }
}

/// Whether keys come in order.
struct KeyOrder {
    order: Order,
    last: Option<Vec<u8>>,
}

impl KeyOrder {
    fn new(order: Order) -> Self {
        Self { order, last: None }
    }

    /// Whether a key may follow those before it.
    fn admits(&mut self, key: &[u8]) -> bool {
        let Some(last) = &mut self.last else {
            self.last = Some(key.to_vec());
            return true;
        };
        let follows = follows(self.order, last, key);
        last.clear();
        last.extend_from_slice(key);
        follows
    }
}

/// Whether a key may come after another.
pub(crate) fn follows(order: Order, last: &[u8], key: &[u8]) -> bool {
    match order {
        Order::Ascending => key > last,
        Order::Descending => key < last,
    }
}

/// What makes a table, and what SQLite's schema then says of it.
pub(crate) fn create(table: &str) -> String {
    let table = quoted(table);
    format!("CREATE TABLE {table} (key BLOB NOT NULL PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID")
}

/// What the name of a space's table begins with, before the space's own: names without it are for people.
const PREFIX: &str = "raw_";

/// The name of a space's table.
pub(crate) fn table_of(space: &str) -> String {
    format!("{PREFIX}{space}")
}

/// The name of the space that a table is of; `None` if it is none's.
pub(crate) fn space_of(table: &str) -> Option<&str> {
    table.strip_prefix(PREFIX).filter(|name| is_space(name))
}

/// Whether a space can have that name.
pub(crate) fn is_space(name: &str) -> bool {
    (1..=32).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

/// A name as SQL has it.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
