//! Views: tables for people, which another program reads. Who knows what the rows mean gives their SQL; the store makes them
//! and never looks at them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rusqlite::{Connection, ErrorCode};

use crate::OpenError;
use crate::tables::{self, quoted};

/// Makes the views that are not there as they should be. One look at the schema, if all are.
pub(crate) fn make(
    path: &Path,
    connection: &Connection,
    views: &[(String, String)],
) -> Result<(), OpenError> {
    if views.is_empty() {
        return Ok(());
    }
    let refused = |error: rusqlite::Error| OpenError::from_sqlite(path, &error);
    let views = views.iter().map(|(name, select)| View::new(name, select)).collect::<Result<Vec<_>, _>>()?;
    let schema = Schema::read(connection).map_err(refused)?;
    let missing: Vec<&View> = views.iter().filter(|view| schema.lacks(view)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    connection.execute_batch("BEGIN IMMEDIATE").map_err(refused)?;
    let made = missing.iter().try_for_each(|view| view.make(path, connection, &schema));
    let end = if made.is_ok() { "COMMIT" } else { "ROLLBACK" };
    let ended = connection.execute_batch(end).map_err(refused);
    // What went wrong first says more.
    made.and(ended)
}

/// A view, with the names of its tables in the place of those of their spaces.
struct View<'v> {
    name: &'v str,
    /// As SQLite keeps it.
    sql: String,
    tables: BTreeSet<String>,
}

impl<'v> View<'v> {
    fn new(name: &'v str, select: &str) -> Result<Self, OpenError> {
        let wrong = |detail: &str| OpenError::View { name: name.into(), detail: detail.into() };
        let is_taken = tables::space_of(name).is_some() || name.starts_with("sqlite_");
        if !tables::is_space(name) || is_taken {
            return Err(wrong("a view can't have this name"));
        }
        let mut view =
            Self { name, sql: format!("CREATE VIEW {} AS ", quoted(name)), tables: BTreeSet::new() };
        let mut rest = select;
        while let Some((before, after)) = rest.split_once('{') {
            let (space, after) = after.split_once('}').ok_or_else(|| wrong("a space's name has no end"))?;
            if !tables::is_space(space) {
                return Err(wrong("a space can't have this name"));
            }
            let table = tables::table_of(space);
            view.sql.push_str(before);
            view.sql.push_str(&quoted(&table));
            view.tables.insert(table);
            rest = after;
        }
        view.sql.push_str(rest.trim_end());
        Ok(view)
    }

    fn make(&self, path: &Path, connection: &Connection, schema: &Schema) -> Result<(), OpenError> {
        let run = |sql: &str| connection.execute_batch(sql);
        let make = || {
            for table in self.tables.iter().filter(|table| !schema.has_table(table)) {
                // Another view may just have made it.
                run(&tables::create(table).replacen("CREATE TABLE", "CREATE TABLE IF NOT EXISTS", 1))?;
            }
            run(&format!("DROP VIEW IF EXISTS {}", quoted(self.name)))?;
            // One statement, whatever there is in the text; and then whether it can be read.
            connection.prepare(&self.sql)?.execute(())?;
            connection.prepare(&format!("SELECT * FROM {}", quoted(self.name))).map(drop)
        };
        make().map_err(|error: rusqlite::Error| match error.sqlite_error_code() {
            None | Some(ErrorCode::Unknown) => {
                OpenError::View { name: self.name.into(), detail: error.to_string() }
            }
            _ => OpenError::from_sqlite(path, &error),
        })
    }
}

/// What there is, by name: its kind and its text.
struct Schema(BTreeMap<String, (String, String)>);

impl Schema {
    fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let mut statement = connection.prepare("SELECT name, type, coalesce(sql, '') FROM sqlite_schema")?;
        let entries = statement.query_map((), |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))))?;
        entries.collect::<rusqlite::Result<_>>().map(Self)
    }

    fn has_table(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|(kind, _)| kind == "table")
    }

    /// Whether a view is to be made. Not where somebody else's table or index has its name.
    fn lacks(&self, view: &View<'_>) -> bool {
        match self.0.get(view.name) {
            Some((kind, _)) if kind != "view" => false,
            Some((_, sql)) if *sql == view.sql => !view.tables.iter().all(|table| self.has_table(table)),
            _ => true,
        }
    }
}
