//! What can be wrong with an experiment, and with running it.

use std::fmt;
use std::path::{Path, PathBuf};

/// Why an experiment gives no result.
#[derive(Debug)]
pub enum Error {
    /// An experiment's file says what it can't.
    File {
        /// Which.
        path: PathBuf,
        /// Line and column, both from 1, where they are known.
        place: Option<(usize, usize)>,
        /// What is wrong, and what would be right.
        message: String,
    },
    /// A trial panicked. It repeats by its seed.
    Trial {
        /// The experiment's name.
        experiment: String,
        /// The cell's name.
        cell: String,
        /// Which trial of the cell.
        trial: u64,
        /// Its seed.
        seed: u64,
        /// What it said.
        message: String,
    },
    /// The results aren't what the experiment speaks of.
    Results {
        /// The experiment's name.
        experiment: String,
        /// What is missing.
        message: String,
    },
    /// A file could not be read or written.
    Storage {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A part of a run is not what it should be.
    Part {
        /// Its file.
        path: PathBuf,
        /// Why.
        message: String,
    },
    /// Parts don't make a whole.
    Merge {
        /// The experiment's name.
        experiment: String,
        /// Why.
        message: String,
    },
    /// A figure could not be drawn.
    Figure(String),
    /// What was asked for makes no sense.
    Usage(String),
}

impl Error {
    pub(crate) fn storage(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        |error| Self::Storage { path: path.to_owned(), error }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, place: Some((line, column)), message } => {
                write!(f, "{}:{line}:{column}: {message}", path.display())
            }
            Self::File { path, place: None, message } => write!(f, "{}: {message}", path.display()),
            Self::Trial { experiment, cell, trial, seed, message } => {
                write!(
                    f,
                    "{experiment}: trial {trial} of cell `{cell}` (its seed is {seed}) panicked: {message}"
                )
            }
            Self::Results { experiment, message } => write!(f, "{experiment}: {message}"),
            Self::Storage { path, error } => write!(f, "{}: {error}", path.display()),
            Self::Part { path, message } => write!(f, "{}: {message}", path.display()),
            Self::Merge { experiment, message } => write!(f, "{experiment}: {message}"),
            Self::Figure(message) => write!(f, "a figure could not be drawn: {message}"),
            Self::Usage(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Storage { error, .. } => Some(error),
            _ => None,
        }
    }
}
