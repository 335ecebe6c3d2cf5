//! What is left of a damaged database, moved into a new one.
//!
//! Each row that SQLite still reaches is copied, table by table, into a new file, which then takes the damaged one's
//! place (`replacement.rs`). Rows are read through SQLite and not from the pages themselves: so a row is in the table
//! that it was in, and none comes back that had been deleted.

mod report;
mod source;
mod survey;
mod target;

use std::fs;
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::path::Path;

use andon_kernel::{Order, Space};

use crate::directory::{self, DATABASE};
use crate::{OpenError, replacement, tables};
use source::{Source, Table};
use target::Target;

/// The space in which a salvage says what it kept, as rows:
///
/// | key | value |
/// |---|---|
/// | empty | 1 if anything was lost, else 0 (1 byte) |
/// | the name of a space | the rows that were kept (8 bytes, big-endian), 1 if others were lost, else 0 (1 byte) |
///
/// It comes with the rows themselves, so a machine learns of the salvage even if the process was killed just then. A
/// machine that has checked what is left deletes these rows; until then another salvage counts as lost what was.
pub const SALVAGED: Space = Space::new("salvaged");

/// What a salvage kept.
///
/// SQLite has no checksums: what damage changed without breaking the format is kept as it is, and only who knows what
/// the rows mean can tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Salvage {
    /// The spaces, in the order of their names.
    pub spaces: Vec<SalvagedSpace>,
    /// Whether anything could not be read: rows of these spaces, or a whole one.
    pub lost: bool,
}

/// What a salvage kept of a space.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SalvagedSpace {
    /// Its name.
    pub name: String,
    /// How many rows were kept.
    pub rows: u64,
    /// Whether others could not be read.
    pub lost: bool,
}

/// Makes a store that can be opened of a damaged one: keeps each row that can still be read.
///
/// The damaged database stays beside the new one, as `andon.sqlite.damaged`, until another salvage; so for some time
/// both need room on the disk. A process that is killed meanwhile leaves either the damaged store, as it was, or the new
/// one, which then comes into its place when the store is opened or salvaged. Memory is bounded whatever the size of the
/// file. A store that is not damaged comes out with all its rows.
///
/// It blocks until it is done: a second for 100 MB, and as long again as the disk takes.
///
/// # Errors
/// As [`OpenError`] lists. What is there is not changed then. A file that is no SQLite database is salvaged as one of
/// which nothing is left; the database of another program, or of a newer version of this one, is refused.
pub fn salvage(directory: impl AsRef<Path>) -> Result<Salvage, OpenError> {
    let directory = directory.as_ref();
    if !directory.is_dir() {
        return Err(OpenError::NotADirectory { path: directory.into() });
    }
    let _lock = directory::lock(directory)?;
    let path = directory.join(DATABASE);
    if replacement::finish(directory)? {
        // Of a process that was killed: all but the last step was done.
        return report::read(&Source::open(&path)?);
    }
    if !fs::metadata(&path).map_err(|error| OpenError::from_io(&path, &error))?.is_file() {
        return Err(OpenError::NotADatabase { path });
    }
    let new = replacement::begin(directory)?;
    match copy_all(&path, &new) {
        Ok(salvage) => {
            replacement::commit(directory)?;
            Ok(salvage)
        }
        Err(error) => {
            // The next salvage would do it too.
            let _ = replacement::abandon(directory);
            Err(error)
        }
    }
}

fn copy_all(old: &Path, new: &Path) -> Result<Salvage, OpenError> {
    let source = Source::open(old)?;
    let target = Target::create(new)?;
    let mut salvage = Salvage { spaces: Vec::new(), lost: !source.is_whole() };
    for name in source.spaces() {
        if name != SALVAGED.name() {
            salvage.spaces.push(copy(source.table(&name), &target, name)?);
        }
    }
    salvage.lost |= salvage.spaces.iter().any(|space| space.lost);
    if source.spaces().iter().any(|name| name == SALVAGED.name()) {
        salvage.add_earlier(report::read(&source)?);
    }
    report::write(&salvage, &target)?;
    source.views().iter().for_each(|sql| target.view(sql));
    target.close()?;
    Ok(salvage)
}

/// Copies what can be read of a space, in the order of its keys: SQLite then fills its pages well.
fn copy(mut table: Table<'_>, target: &Target, name: String) -> Result<SalvagedSpace, OpenError> {
    let mut rows = 0;
    let mut writer = target.table(&tables::table_of(&name))?;
    let mut keep = |key: &[u8], value: &[u8]| {
        rows += u64::from(writer.put(key, value)?);
        Ok(())
    };
    let read = table.read((Unbounded, Unbounded), Order::Ascending, &mut keep)?;
    if read.damaged {
        for run in survey::readable(&mut table, read.last)? {
            let (first, last) = (Included(&run.first[..]), Included(&run.last[..]));
            // The first row is looked for from above: a search from below may lead into the damage before it.
            let has_first = table.read((first, first), Order::Descending, &mut keep)?.last.is_some();
            let rest = table.read((Excluded(&run.first), last), Order::Ascending, &mut keep)?;
            if !has_first || rest.last.unwrap_or(run.first) != run.last {
                // As it was found: a damaged value may be in the way of a search, and not of going from row to row.
                table.read(run.gap.range(), run.order, &mut keep)?;
            }
        }
    }
    drop(writer);
    Ok(SalvagedSpace { name, rows, lost: read.damaged })
}

impl Salvage {
    /// Adds what an earlier salvage lost that no machine has taken note of.
    fn add_earlier(&mut self, earlier: Self) {
        self.lost |= earlier.lost;
        for space in &mut self.spaces {
            space.lost |= earlier.spaces.iter().any(|before| before.name == space.name && before.lost);
        }
    }
}
