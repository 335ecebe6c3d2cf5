//! The directory: made, locked, and its database recognised and set up.
//!
//! The lock is the system's lock on a file of its own. It goes with the process, however that ends; and unlike SQLite's
//! exclusive mode, which is for a new database while it is filled, it lets a person read a database in use.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::{OpenError, Options, migration, replacement, views};

/// A database and the right to use it. The fields are dropped in their order: the lock goes last.
pub(crate) struct Database {
    pub(crate) connection: Connection,
    pub(crate) lock: Lock,
    /// Whether it is being filled: see [`keep_log`].
    pub(crate) is_new: bool,
}

/// The lock, until it is dropped.
pub(crate) struct Lock(File);

impl Drop for Lock {
    /// Gives the lock up by name: a child that this process is just about to start has a copy of the file, and closing ours
    /// alone would leave the lock to the copy until the child runs.
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

pub(crate) const DATABASE: &str = "andon.sqlite";
const LOCK: &str = "andon.lock";

/// Marks the file as ours, in SQLite's header: "ANDN".
pub(crate) const APPLICATION_ID: i32 = 0x414e_444e;

/// The version of the schema: a table for each space, of a name that leaves the plain ones to views.
pub(crate) const SCHEMA: i32 = 2;

/// SQLite's own choice. Five rows of 800 bytes fill a page, and a page is what one more block writes.
const PAGE_BYTES: u64 = 4096;

/// How long a person at the `sqlite3` shell may hold the database before the store gives up.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) fn open(directory: &Path, options: &Options) -> Result<Database, OpenError> {
    make(directory).map_err(|error| OpenError::from_io(directory, &error))?;
    if !directory.is_dir() {
        return Err(OpenError::NotADirectory { path: directory.into() });
    }
    let lock = lock(directory)?;
    replacement::finish(directory)?;
    let path = directory.join(DATABASE);
    // Made here and not by SQLite, so that it is its owner's alone; SQLite gives the files beside it the same mode.
    private(&path).map_err(|error| OpenError::from_io(&path, &error))?;
    let (connection, age) = connect(&path, options)?;
    Ok(Database { connection, lock, is_new: age == Age::New })
}

/// Makes a directory and those above it, and has the system write that down, where it can.
fn make(directory: &Path) -> io::Result<()> {
    if fs::exists(directory)? {
        return Ok(());
    }
    let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or_else(|| Path::new("."));
    make(parent)?;
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    // Else a power cut could take the directory with all that was stored in it.
    sync_names(parent);
    Ok(())
}

/// Has the system write down the names in a directory. Not every file system can do this.
pub(crate) fn sync_names(directory: &Path) {
    #[cfg(unix)]
    let _ = File::open(directory).and_then(|directory| directory.sync_all());
    #[cfg(not(unix))]
    let _ = directory;
}

pub(crate) fn lock(directory: &Path) -> Result<Lock, OpenError> {
    let path = directory.join(LOCK);
    let file = private(&path).map_err(|error| OpenError::from_io(&path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked { path: directory.into() }),
        Err(TryLockError::Error(error)) => Err(OpenError::from_io(&path, &error)),
    }
}

/// Opens a file for writing and makes it, for its owner alone, if it is missing.
pub(crate) fn private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn connect(path: &Path, options: &Options) -> Result<(Connection, Age), OpenError> {
    let refused = |error: rusqlite::Error| OpenError::from_sqlite(path, &error);
    // No URI flag: a path is a path, whatever characters it has.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(refused)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(refused)?;
    if connection.is_readonly(rusqlite::MAIN_DB).map_err(refused)? {
        return Err(OpenError::NoPermission { path: path.into() });
    }
    let age = recognise(path, &connection)?;
    if connection.is_readonly(rusqlite::MAIN_DB).map_err(refused)? {
        let detail = "its header says that this version of SQLite may not write it".into();
        return Err(OpenError::Damaged { path: path.into(), detail });
    }
    set_up(path, &connection, options, age)?;
    if age == Age::Old {
        migration::run(&connection).map_err(refused)?;
    }
    views::make(path, &connection, &options.views)?;
    Ok((connection, age))
}

/// Whether a database has been used before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Age {
    New,
    Known,
    /// Its schema is to be [migrated](migration).
    Old,
}

/// Checks whose database it is, and marks an empty one as ours.
fn recognise(path: &Path, connection: &Connection) -> Result<Age, OpenError> {
    let refused = |error: rusqlite::Error| OpenError::from_sqlite(path, &error);
    let number = |sql| connection.query_row(sql, (), |row| row.get::<_, i32>(0)).map_err(refused);
    let application = number("PRAGMA application_id")?;
    let schema = number("PRAGMA user_version")?;
    let path = || path.to_path_buf();
    match (application, schema) {
        (APPLICATION_ID, SCHEMA) => Ok(Age::Known),
        (APPLICATION_ID, migration::OLD_SCHEMA) => Ok(Age::Old),
        (APPLICATION_ID, found) if found > SCHEMA => {
            Err(OpenError::Newer { path: path(), found, supported: SCHEMA })
        }
        (APPLICATION_ID, found) => {
            Err(OpenError::Damaged { path: path(), detail: format!("its schema's version is {found}") })
        }
        // New, or left so by a process that was killed here.
        (0, 0) if number("SELECT count(*) FROM sqlite_schema")? == 0 => {
            let mark = format!(
                "BEGIN IMMEDIATE; PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA}; COMMIT"
            );
            connection.execute_batch(&mark).map_err(refused).map(|()| Age::New)
        }
        _ => Err(OpenError::Foreign { path: path() }),
    }
}

/// Has SQLite keep a journal to go back by, for a new database that is being filled: nearly all that is written is new, and
/// of what is new such a journal keeps nothing. So it is written once, where a log to go forward by has it written twice. False:
/// it can't be done.
///
/// Meanwhile others can't read it: the counter by which they would know that it has changed is on the first page, which each
/// commit would write.
fn keep_journal(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("PRAGMA locking_mode = EXCLUSIVE", (), |_| Ok(()))?;
    Ok(mode(connection, "TRUNCATE")? == "truncate")
}

/// Has SQLite write ahead to a log: a commit is one sync, and who reads does not hold it up. A new database gets it when it
/// has been filled. False: it can't be done.
pub(crate) fn keep_log(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("PRAGMA locking_mode = NORMAL", (), |_| Ok(()))?;
    // A lock of before goes with the next access.
    connection.query_row("SELECT count(*) FROM sqlite_schema", (), |_| Ok(()))?;
    Ok(mode(connection, "WAL")? == "wal")
}

fn mode(connection: &Connection, mode: &str) -> rusqlite::Result<String> {
    connection.query_row(&format!("PRAGMA journal_mode = {mode}"), (), |row| row.get(0))
}

/// Chooses durability before speed, and little memory.
fn set_up(path: &Path, connection: &Connection, options: &Options, age: Age) -> Result<(), OpenError> {
    let refused = |error: rusqlite::Error| OpenError::from_sqlite(path, &error);
    let is_set = match age {
        Age::New => keep_journal(connection),
        Age::Known | Age::Old => keep_log(connection),
    };
    if !is_set.map_err(refused)? {
        let detail = "the file system lacks what SQLite's journals need".into();
        return Err(OpenError::Io { path: path.into(), detail });
    }
    connection
        .execute_batch(
            // FULL syncs the log at each commit, and the two after it make a sync reach the disk on macOS too. The log
            // is copied into the database by the thread, which wants to know what comes of it, and is cut back to 16 MiB
            // after a large transaction. No file is mapped: a disk that can't be read is an error then, and not the end
            // of the process. A damaged page is found when it is read, before it is written on; and what a foreign hand
            // put into the schema runs nothing.
            "PRAGMA synchronous = FULL;
             PRAGMA fullfsync = ON;
             PRAGMA checkpoint_fullfsync = ON;
             PRAGMA wal_autocheckpoint = 0;
             PRAGMA journal_size_limit = 16777216;
             PRAGMA cache_size = -2048;
             PRAGMA mmap_size = 0;
             PRAGMA temp_store = MEMORY;
             PRAGMA cell_size_check = ON;
             PRAGMA trusted_schema = OFF;",
        )
        .map_err(refused)?;
    if let Some(bytes) = options.max_bytes {
        let pages = (bytes / PAGE_BYTES).clamp(1, u64::from(u32::MAX - 1));
        let sql = format!("PRAGMA max_page_count = {pages}");
        connection.query_row(&sql, (), |_| Ok(())).map_err(refused)?;
    }
    Ok(())
}
