//! The experiments that a command line names: files, or what comes with the program.

use std::collections::BTreeSet;
use std::io::{Error as IoError, ErrorKind};
use std::path::{Path, PathBuf};

use crate::experiment::file::{self, Overrides};
use crate::experiment::{Error, Kinds, Runnable, catalogue};
use crate::nearest::hint;

/// Reads all, so that no error comes after hours. None is there twice: its results would be written over the other's.
pub(super) fn read(sources: &[PathBuf], kinds: &Kinds, overrides: Overrides) -> Result<Vec<Runnable>, Error> {
    let mut names = BTreeSet::new();
    let mut all = vec![];
    for source in sources {
        let runnable = read_one(source, kinds, overrides)?;
        let name = &runnable.experiment.name;
        if !names.insert(name.clone()) {
            return Err(Error::Usage(format!("two experiments are called `{name}`")));
        }
        all.push(runnable);
    }
    Ok(all)
}

fn read_one(source: &Path, kinds: &Kinds, overrides: Overrides) -> Result<Runnable, Error> {
    match source.to_str().and_then(catalogue::find) {
        // A file may be called as one that comes with the program.
        Some(text) if !source.exists() => file::parse(source, text, kinds, overrides),
        None if !source.exists() => {
            let known = catalogue::ALL.iter().map(|(name, _)| *name);
            let hint = source.to_str().map_or_else(String::new, |name| hint(name, known));
            let message = format!(
                "there is no such file, and no experiment of this name comes with the program (see `andon-sim list`){hint}"
            );
            Err(Error::Storage { path: source.to_owned(), error: IoError::new(ErrorKind::NotFound, message) })
        }
        _ => file::read(source, kinds, overrides),
    }
}
