//! `andon-sim merge`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Ending, run};
use crate::experiment::Error;
use crate::experiment::shard::{self, Part};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Where the parts are: what was given to `run --out`, for each part its own or one for all
    #[arg(required = true, value_name = "FOLDER")]
    parts: Vec<PathBuf>,
    /// Write tables, figures and a report here, into a folder for each experiment
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// Show no table
    #[arg(long, short)]
    quiet: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<Ending, Error> {
    let mut by_name: BTreeMap<String, Vec<Part>> = BTreeMap::new();
    for folder in &arguments.parts {
        let files = parts(folder)?;
        if files.is_empty() {
            return Err(Error::Part { path: folder.clone(), message: "there are no parts in it".to_owned() });
        }
        for file in files {
            let part = Part::read(&file)?;
            by_name.entry(part.name().to_owned()).or_default().push(part);
        }
    }
    let mut ending = Ending::Fine;
    for parts in by_name.into_values() {
        let results = shard::merge(parts)?;
        ending = ending.max(run::conclude(&results, Some(&arguments.out), arguments.quiet)?);
    }
    Ok(ending)
}

/// The parts in a folder and in the folders in it; or a part itself.
fn parts(path: &Path) -> Result<Vec<PathBuf>, Error> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = vec![];
    for entry in entries(path)? {
        if entry.is_dir() {
            found.extend(entries(&entry)?.into_iter().filter(|path| is_part(path)));
        } else if is_part(&entry) {
            found.push(entry);
        }
    }
    found.sort();
    Ok(found)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = std::fs::read_dir(folder).map_err(Error::storage(folder))?;
    entries.map(|entry| Ok(entry.map_err(Error::storage(folder))?.path())).collect()
}

fn is_part(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.starts_with("part-") && name.ends_with(".json")
}
