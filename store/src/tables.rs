//! Spaces as tables: one table of keys and values for each, made at its first row, and its statements, prepared once.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use andon_kernel::{Batch, Change, Order, RowsBuffer, Scan, Space};
use rusqlite::{Connection, OptionalExtension, Result, Statement};

/// The tables of a database, seen through one connection.
pub(crate) struct Tables<'c> {
    connection: &'c Connection,
    made: BTreeSet<Space>,
    statements: BTreeMap<(Space, Action), Statement<'c>>,
}

/// What is done to a table: one statement each.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Action {
    Put,
    DeleteTo,
    DeleteToEnd,
    Scan { from: Edge, to: Edge, descending: bool },
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Edge {
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
        while let Some(row) = rows.next()? {
            if scan.is_full(page.len(), page.size()) {
                return Ok(true);
            }
            page.push(row.get_ref(0)?.as_blob()?, row.get_ref(1)?.as_blob()?);
        }
        Ok(false)
    }

    fn has(&mut self, space: Space) -> Result<bool> {
        if self.made.contains(&space) {
            return Ok(true);
        }
        let sql = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1";
        let found = self.connection.prepare_cached(sql)?.query_row((table(space),), |_| Ok(())).optional()?;
        if found.is_some() {
            self.made.insert(space);
        }
        Ok(found.is_some())
    }

    fn make(&mut self, space: Space) -> Result<()> {
        let table = quoted(space);
        self.connection.execute_batch(&format!(
            "CREATE TABLE {table} (key BLOB NOT NULL PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID"
        ))?;
        self.made.insert(space);
        Ok(())
    }

    fn statement(&mut self, space: Space, action: Action) -> Result<&mut Statement<'c>> {
        use std::collections::btree_map::Entry;
        match self.statements.entry((space, action)) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => Ok(entry.insert(self.connection.prepare(&action.sql(&quoted(space)))?)),
        }
    }
}

impl Action {
    fn sql(self, table: &str) -> String {
        match self {
            Self::Put => format!("REPLACE INTO {table} (key, value) VALUES (?1, ?2)"),
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
    fn of(bound: Bound<&[u8]>) -> Self {
        match bound {
            Bound::Included(_) => Self::Included,
            Bound::Excluded(_) => Self::Excluded,
            Bound::Unbounded => Self::Unbounded,
        }
    }
}

/// The name of a space's table: the space's own, except that SQLite keeps names that start with `sqlite_` to itself.
/// Those, and those that they would then collide with, get one more underscore in front.
fn table(space: Space) -> String {
    let name = space.name();
    let reserved = name.trim_start_matches('_').starts_with("sqlite_");
    if reserved { format!("_{name}") } else { name.into() }
}

fn quoted(space: Space) -> String {
    format!("\"{}\"", table(space).replace('"', "\"\""))
}
