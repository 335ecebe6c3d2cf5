//! A new database in the place of a damaged one, at whatever moment the process is killed.
//!
//! | file | what it is |
//! |---|---|
//! | `andon.sqlite.new` | being written; worth nothing |
//! | `andon.sqlite.salvaged` | written as a whole and durable; from here on it will be the database |
//! | `andon.sqlite.damaged` | the one that it takes the place of |
//!
//! SQLite keeps a log beside a database and takes up whatever log lies there: so the old one's goes away before the new
//! one comes. Each step is durable before the next is taken, and each can be taken again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::OpenError;
use crate::directory::{APPLICATION_ID, DATABASE, private, sync_names};

const NEW: &str = "andon.sqlite.new";
const SALVAGED: &str = "andon.sqlite.salvaged";
pub(crate) const DAMAGED: &str = "andon.sqlite.damaged";

/// What SQLite keeps beside a database, by what it appends to its name.
const BESIDE: [&str; 3] = ["-wal", "-shm", "-journal"];

/// Bytes of SQLite's header up to the number of the application.
const HEADER: u64 = 72;

/// Makes an empty file to write the new database to; one that was being written before is gone.
pub(crate) fn begin(directory: &Path) -> Result<PathBuf, OpenError> {
    abandon(directory)?;
    let path = directory.join(NEW);
    private(&path).map_err(|error| OpenError::from_io(&path, &error))?;
    Ok(path)
}

/// Removes a new database that is not complete.
pub(crate) fn abandon(directory: &Path) -> Result<(), OpenError> {
    remove(directory, NEW)
}

/// Puts the new database, which is closed, in the place of the old one, which is closed too.
pub(crate) fn commit(directory: &Path) -> Result<(), OpenError> {
    let new = directory.join(NEW);
    let synced = OpenOptions::new().write(true).open(&new).and_then(|file| file.sync_all());
    synced.map_err(|error| OpenError::from_io(&new, &error))?;
    rename(directory, NEW, SALVAGED)?;
    sync_names(directory);
    finish(directory).map(drop)
}

/// Puts a new database that is complete in its place, if there is one: whether there was.
pub(crate) fn finish(directory: &Path) -> Result<bool, OpenError> {
    if !exists(directory, SALVAGED)? {
        return Ok(false);
    }
    let path = directory.join(SALVAGED);
    if !is_ours(&path).map_err(|error| OpenError::from_io(&path, &error))? {
        // Nothing that a salvage made: it takes nothing's place.
        return Err(OpenError::NotADatabase { path });
    }
    for step in STEPS {
        step(directory)?;
        sync_names(directory);
    }
    Ok(true)
}

type Step = fn(&Path) -> Result<(), OpenError>;

const STEPS: [Step; 4] = [drop_older, move_database, move_beside, install];

/// Removes what an earlier salvage left, unless its place is taken already.
fn drop_older(directory: &Path) -> Result<(), OpenError> {
    if exists(directory, DATABASE)? { remove(directory, DAMAGED) } else { Ok(()) }
}

fn move_database(directory: &Path) -> Result<(), OpenError> {
    if exists(directory, DATABASE)? { rename(directory, DATABASE, DAMAGED) } else { Ok(()) }
}

fn move_beside(directory: &Path) -> Result<(), OpenError> {
    for suffix in BESIDE {
        let from = format!("{DATABASE}{suffix}");
        if exists(directory, &from)? {
            rename(directory, &from, &format!("{DAMAGED}{suffix}"))?;
        }
    }
    Ok(())
}

fn install(directory: &Path) -> Result<(), OpenError> {
    rename(directory, SALVAGED, DATABASE)
}

/// Whether a file begins as a database of ours does.
fn is_ours(path: &Path) -> io::Result<bool> {
    let mut header = Vec::new();
    File::open(path)?.take(HEADER).read_to_end(&mut header)?;
    Ok(header.starts_with(b"SQLite format 3\0") && header.ends_with(&APPLICATION_ID.to_be_bytes()))
}

fn exists(directory: &Path, name: &str) -> Result<bool, OpenError> {
    let path = directory.join(name);
    fs::exists(&path).map_err(|error| OpenError::from_io(&path, &error))
}

fn rename(directory: &Path, from: &str, to: &str) -> Result<(), OpenError> {
    let from = directory.join(from);
    fs::rename(&from, directory.join(to)).map_err(|error| OpenError::from_io(&from, &error))
}

/// Removes a database and what is beside it.
fn remove(directory: &Path, name: &str) -> Result<(), OpenError> {
    for suffix in BESIDE.into_iter().chain([""]) {
        let path = directory.join(format!("{name}{suffix}"));
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(OpenError::from_io(&path, &error));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

    use std::collections::BTreeMap;

    use super::*;

    fn files(directory: &Path) -> BTreeMap<String, String> {
        let file = |entry: io::Result<fs::DirEntry>| {
            let path = entry.unwrap().path();
            let content = fs::read_to_string(&path).unwrap();
            let content = if content == database() { "new".into() } else { content };
            (path.file_name().unwrap().to_str().unwrap().into(), content)
        };
        fs::read_dir(directory).unwrap().map(file).collect()
    }

    fn write(directory: &Path, files: &[(&str, &str)]) {
        for (name, content) in files {
            let content = if *content == "new" { database() } else { (*content).into() };
            fs::write(directory.join(name), content).unwrap();
        }
    }

    /// What stands for a database, as far as it is looked at.
    fn database() -> String {
        format!("{:\0<68}ANDN", "SQLite format 3")
    }

    const BEFORE: &[(&str, &str)] = &[
        ("andon.lock", ""),
        ("andon.sqlite", "old"),
        ("andon.sqlite-shm", "index of the old log"),
        ("andon.sqlite-wal", "old log"),
        ("andon.sqlite.damaged", "older"),
        ("andon.sqlite.damaged-journal", "older journal"),
        ("andon.sqlite.damaged-wal", "older log"),
        ("andon.sqlite.salvaged", "new"),
    ];

    const AFTER: &[(&str, &str)] = &[
        ("andon.lock", ""),
        ("andon.sqlite", "new"),
        ("andon.sqlite.damaged", "old"),
        ("andon.sqlite.damaged-shm", "index of the old log"),
        ("andon.sqlite.damaged-wal", "old log"),
    ];

    fn expected() -> BTreeMap<String, String> {
        AFTER.iter().map(|(name, content)| ((*name).into(), (*content).into())).collect()
    }

    #[test]
    fn it_goes_on_after_each_step() {
        for done in 0..=STEPS.len() {
            let directory = tempfile::tempdir().unwrap();
            write(directory.path(), BEFORE);
            for step in &STEPS[..done] {
                step(directory.path()).unwrap();
                let files = files(directory.path());
                // Never a log beside a database that it is not of.
                let database = files.get(DATABASE).map(String::as_str);
                assert!(database != Some("new") || !files.contains_key("andon.sqlite-wal"), "{files:?}");
                let damaged = files.get(DAMAGED).map(String::as_str);
                assert!(
                    damaged != Some("old")
                        || files.get("andon.sqlite.damaged-wal").is_none_or(|log| log == "old log"),
                    "{files:?}"
                );
            }
            assert_eq!(finish(directory.path()).unwrap(), done < STEPS.len());
            assert_eq!(files(directory.path()), expected(), "after {done} steps");
            assert!(!finish(directory.path()).unwrap());
            assert_eq!(files(directory.path()), expected());
        }
    }

    #[test]
    fn what_no_salvage_made_takes_no_place() {
        for content in ["", "noise", &database()[..71], &database().replace("ANDN", "NDNA")] {
            let directory = tempfile::tempdir().unwrap();
            write(directory.path(), &BEFORE[..4]);
            write(directory.path(), &[("andon.sqlite.salvaged", content)]);
            let before = files(directory.path());
            let path = directory.path().join(SALVAGED);
            assert_eq!(finish(directory.path()).unwrap_err(), OpenError::NotADatabase { path });
            assert_eq!(files(directory.path()), before);
        }
    }

    #[test]
    fn one_that_is_not_complete_is_begun_anew() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), &BEFORE[..4]);
        write(directory.path(), &[("andon.sqlite.new", "half"), ("andon.sqlite.new-journal", "journal")]);
        assert!(!finish(directory.path()).unwrap());
        assert_eq!(fs::read_to_string(directory.path().join(DATABASE)).unwrap(), "old");
        let path = begin(directory.path()).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "");
        fs::write(&path, database()).unwrap();
        commit(directory.path()).unwrap();
        assert_eq!(files(directory.path()), expected());
    }
}
