//! The first schema, in which a space's table had the space's own name: its tables are renamed, and nothing is copied.

use rusqlite::{Connection, ErrorCode, Result};

use crate::directory::SCHEMA;
use crate::tables::{self, quoted};

/// The version of the first schema.
pub(crate) const OLD_SCHEMA: i32 = 1;

/// Renames the tables, all of them or none.
pub(crate) fn run(connection: &Connection) -> Result<()> {
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let renamed = rename_all(connection);
    let end = if renamed.is_ok() { "COMMIT" } else { "ROLLBACK" };
    let ended = connection.execute_batch(end);
    // What went wrong first says more.
    renamed.and(ended)
}

fn rename_all(connection: &Connection) -> Result<()> {
    let mut statement = connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")?;
    let tables: Vec<String> = statement.query_map((), |row| row.get(0))?.collect::<Result<_>>()?;
    for table in &tables {
        if let Some(space) = space_of(table).filter(|_| tables::space_of(table).is_none()) {
            rename(connection, table, &tables::table_of(space))?;
        }
    }
    connection.execute_batch(&format!("PRAGMA user_version = {SCHEMA}"))
}

fn rename(connection: &Connection, from: &str, to: &str) -> Result<()> {
    let rename = format!("ALTER TABLE {} RENAME TO {}", quoted(from), quoted(to));
    match connection.execute_batch(&rename) {
        // Views that somebody made follow, unless one of them is broken: then none does.
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::Unknown) => {
            connection.execute_batch("PRAGMA legacy_alter_table = ON")?;
            let renamed = connection.execute_batch(&rename);
            connection.execute_batch("PRAGMA legacy_alter_table = OFF")?;
            renamed
        }
        renamed => renamed,
    }
}

/// The name of the space that a table was of; `None` if it was none's. A table's name was the space's own, except that SQLite
/// keeps names that start with `sqlite_` to itself: those, and those that they would then collide with, had one more
/// underscore in front.
pub(crate) fn space_of(table: &str) -> Option<&str> {
    let name = if is_reserved(table) { table.strip_prefix('_')? } else { table };
    tables::is_space(name).then_some(name)
}

fn is_reserved(name: &str) -> bool {
    name.trim_start_matches('_').starts_with("sqlite_")
}
