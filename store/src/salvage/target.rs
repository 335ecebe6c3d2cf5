//! The new database: nobody sees it before it is complete, so it needs no journal.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, Statement};

use crate::OpenError;
use crate::directory::{APPLICATION_ID, SCHEMA};
use crate::tables::{self, Action};

pub(super) struct Target {
    connection: Connection,
    path: PathBuf,
}

impl Target {
    /// Begins a database in an empty file.
    pub(super) fn create(path: &Path) -> Result<Self, OpenError> {
        let refused = |error: rusqlite::Error| OpenError::from_sqlite(path, &error);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(refused)?;
        let set_up = format!(
            "PRAGMA journal_mode = OFF;
             PRAGMA synchronous = OFF;
             PRAGMA cache_size = -2048;
             PRAGMA temp_store = MEMORY;
             BEGIN EXCLUSIVE;
             PRAGMA application_id = {APPLICATION_ID};
             PRAGMA user_version = {SCHEMA};"
        );
        connection.execute_batch(&set_up).map_err(refused)?;
        Ok(Self { connection, path: path.into() })
    }

    /// Makes a table, for its rows.
    pub(super) fn table(&self, name: &str) -> Result<Writer<'_>, OpenError> {
        let refused = |error: rusqlite::Error| OpenError::from_sqlite(&self.path, &error);
        self.connection.execute_batch(&tables::create(name)).map_err(refused)?;
        let put = self.connection.prepare(&Action::Add.sql(name)).map_err(refused)?;
        Ok(Writer { put, path: &self.path })
    }

    /// Makes a view, if it can be made of this text: one statement, which reads nothing yet.
    pub(super) fn view(&self, sql: &str) {
        // What is wrong with it is no loss: the store's own views are made again when it is opened.
        let _ = self.connection.prepare(sql).and_then(|mut statement| statement.execute(()));
    }

    /// Completes it. It is not durable yet.
    pub(super) fn close(self) -> Result<(), OpenError> {
        let refused = |error: rusqlite::Error| OpenError::from_sqlite(&self.path, &error);
        self.connection.execute_batch("COMMIT").map_err(refused)?;
        self.connection.close().map_err(|(_, error)| refused(error))
    }
}

pub(super) struct Writer<'t> {
    put: Statement<'t>,
    path: &'t Path,
}

impl Writer<'_> {
    /// Writes a row, unless one of that key is there: whether it was not.
    pub(super) fn put(&mut self, key: &[u8], value: &[u8]) -> Result<bool, OpenError> {
        let put = self.put.execute((key, value));
        put.map(|rows| rows == 1).map_err(|error| OpenError::from_sqlite(self.path, &error))
    }
}
