//! What can go wrong, told apart as far as a person would do something else about it.

use core::fmt;
use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{ErrorCode, ffi};

/// Why a store can't be opened, or [salvaged](crate::salvage).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process, or another store of this one, has it open.
    Locked {
        /// The store's directory.
        path: PathBuf,
    },
    /// The system does not let us read and write here.
    NoPermission {
        /// The directory or file in question.
        path: PathBuf,
    },
    /// There is something else where the directory should be.
    NotADirectory {
        /// Where.
        path: PathBuf,
    },
    /// The file in the directory is not an SQLite database.
    NotADatabase {
        /// The file.
        path: PathBuf,
    },
    /// The file is an SQLite database of another program.
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file was made by a newer version of this program.
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema's version.
        found: i32,
        /// The newest that this program knows.
        supported: i32,
    },
    /// The file is damaged.
    Damaged {
        /// The file.
        path: PathBuf,
        /// What SQLite says of it.
        detail: String,
    },
    /// The disk is full, or the store's own limit is reached.
    Full {
        /// The directory.
        path: PathBuf,
    },
    /// A view that was asked for can't be made: a fault in the program.
    View {
        /// Its name.
        name: String,
        /// Why not.
        detail: String,
    },
    /// Anything else that the system or SQLite refused.
    Io {
        /// The directory or file in question.
        path: PathBuf,
        /// What it said.
        detail: String,
    },
}

impl OpenError {
    pub(crate) fn from_io(path: &Path, error: &io::Error) -> Self {
        let path = path.to_path_buf();
        match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::NoPermission { path }
            }
            io::ErrorKind::NotADirectory => Self::NotADirectory { path },
            io::ErrorKind::IsADirectory => Self::NotADatabase { path },
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { path },
            _ => Self::Io { path, detail: error.to_string() },
        }
    }

    pub(crate) fn from_sqlite(path: &Path, error: &rusqlite::Error) -> Self {
        let code = error.sqlite_error_code();
        let path = path.to_path_buf();
        if code == Some(ErrorCode::NotADatabase) {
            return Self::NotADatabase { path };
        }
        match StoreError::from_sqlite(error) {
            StoreError::Busy => Self::Locked { path },
            StoreError::Damaged { detail } => Self::Damaged { path, detail },
            StoreError::Full => Self::Full { path },
            StoreError::NoPermission => Self::NoPermission { path },
            StoreError::Io { detail } => Self::Io { path, detail },
            StoreError::Stopped => Self::Io { path, detail: error.to_string() },
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked { path } => write!(f, "{} is in use by another process", path.display()),
            Self::NoPermission { path } => write!(f, "no permission to read and write {}", path.display()),
            Self::NotADirectory { path } => write!(f, "{} is not a directory", path.display()),
            Self::NotADatabase { path } => write!(f, "{} is not an SQLite database", path.display()),
            Self::Foreign { path } => write!(f, "{} is the database of another program", path.display()),
            Self::Newer { path, found, supported } => write!(
                f,
                "{} was made by a newer version: its schema is {found}, the newest known here is {supported}",
                path.display()
            ),
            Self::Damaged { path, detail } => write!(f, "{} is damaged: {detail}", path.display()),
            Self::Full { path } => write!(f, "no room is left for {}", path.display()),
            Self::View { name, detail } => write!(f, "the view {name} can't be made: {detail}"),
            Self::Io { path, detail } => write!(f, "can't open {}: {detail}", path.display()),
        }
    }
}

impl Error for OpenError {}

/// An error as SQLite's own for a damaged database, for damage that SQLite does not look for.
pub(crate) fn damage(detail: &str) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_CORRUPT), Some(detail.into()))
}

/// Why a store can go on no longer. It says the same from then on: what was not completed by then is not stored for
/// certain.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreError {
    /// Another program keeps the database from being written.
    Busy,
    /// The database is damaged, or someone changed its tables.
    Damaged {
        /// What SQLite says of it.
        detail: String,
    },
    /// The disk is full, or the store's own limit is reached.
    Full,
    /// The system does not let us write any more.
    NoPermission,
    /// Anything else that the system or SQLite refused.
    Io {
        /// What it said.
        detail: String,
    },
    /// The store's thread panicked.
    Stopped,
}

impl StoreError {
    pub(crate) fn from_sqlite(error: &rusqlite::Error) -> Self {
        let detail = error.to_string();
        let rusqlite::Error::SqliteFailure(failure, _) = error else {
            // A statement of ours that does not fit the table, or a column of another type.
            return Self::Damaged { detail };
        };
        match failure.extended_code {
            // What SQLite answers where the file it shares with readers can't be made as large as it must be.
            ffi::SQLITE_IOERR_SHMSIZE => return Self::Full,
            // A file system that finds its own damage, and files that end too early.
            ffi::SQLITE_IOERR_CORRUPTFS | ffi::SQLITE_IOERR_DATA | ffi::SQLITE_IOERR_SHORT_READ => {
                return Self::Damaged { detail };
            }
            _ => {}
        }
        match failure.code {
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Self::Busy,
            ErrorCode::DiskFull => Self::Full,
            ErrorCode::PermissionDenied | ErrorCode::ReadOnly | ErrorCode::CannotOpen => Self::NoPermission,
            ErrorCode::DatabaseCorrupt
            | ErrorCode::NotADatabase
            // Of a length that a damaged row claims: no batch holds as much.
            | ErrorCode::TooBig
            | ErrorCode::ConstraintViolation
            | ErrorCode::TypeMismatch
            | ErrorCode::Unknown => Self::Damaged { detail },
            _ => Self::Io { detail },
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => f.write_str("another program keeps the database from being written"),
            Self::Damaged { detail } => write!(f, "the database is damaged: {detail}"),
            Self::Full => f.write_str("no room is left for the database"),
            Self::NoPermission => f.write_str("the database can no longer be written"),
            Self::Io { detail } => write!(f, "the database can't be read or written: {detail}"),
            Self::Stopped => f.write_str("the store's thread ended by a fault of its own"),
        }
    }
}

impl Error for StoreError {}
