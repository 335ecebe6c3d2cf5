//! `headers import`: block headers and filter headers from a file, into the data directory.
//!
//! The file is read twice: first all of it, to be compared with its checksum, so that a damaged one changes nothing; then
//! what the data directory lacks, a batch at a time, which the client checks as it checks what peers send.

use std::path::Path;
use std::time::Duration;

use andon_bitcoin::client::{BlockId, HeaderQuery, Import, ImportError, Start};
use andon_bitcoin::points::{self, StartPoint};
use serde_json::json;

use crate::End;
use crate::archive::{self, Archive, Contents};
use crate::arguments::{DataArguments, network_name};
use crate::error::Error;
use crate::interrupt::Interrupt;
use crate::offline::{self, BATCH, Halt, Offline};
use crate::output::Output;
use crate::progress::Part;
use crate::runtime::Runtime;
use crate::units::{counted, grouped};
use crate::{json, system};

/// Runs the command.
///
/// # Errors
/// If the file or the data can't be used. What was sound up to there is kept.
pub(crate) fn run<R: Runtime>(
    path: &Path,
    with_filter_headers: bool,
    data: &DataArguments,
    output: &mut Output,
    interrupt: &Interrupt,
) -> Result<End, Error> {
    let started_at = system::now();
    let (network, data_dir) = (data.network(), data.directory()?);
    let mut archive = Archive::open(path)?;
    let contents = *archive.contents();
    if contents.network != network {
        return Err(archive::other_network(path, contents.network, network));
    }
    let len = archive.len();
    let whole = archive.check(|done| {
        output.parts(&[Part::new("Checksum", done, len).in_bytes()]);
        !interrupt.is_requested()
    })?;
    if !whole {
        return Ok(End::Interrupted);
    }
    let known = known_start(&mut archive)?;
    let start = match known {
        Some(point) => Start::Point(point),
        None if offline::is_there(&data_dir) => Start::Genesis,
        None => return Err(unknown_start(path, &contents)),
    };
    let mut taken = Taken::default();
    let imported = offline::run::<R, _>(network, start, &data_dir, output, interrupt, |chain| {
        let first = chain.first()?.0.height;
        let filter_headers = with_filter_headers && contents.filter_headers > 0;
        let importing =
            Importing { first, filter_headers, chain, archive: &mut archive, path, taken: &mut taken };
        // An end of this is none of the client's: what was taken is durable then, and told.
        Ok(importing.run())
    });
    output.end_bars();
    let end = match imported {
        Ok(Ok(())) => Ok(End::Done),
        Ok(Err(halt)) => halt.end(),
        Err(halt) => return halt.end(),
    };
    if let Some(tip) = taken.tip {
        let complete = end == Ok(End::Done);
        let place = Place { file: path, data_dir: &data_dir, contents: &contents };
        taken.tell(complete, &place, tip, system::now() - started_at, output);
    }
    end
}

/// The block that the file begins with, if it is one that this program knows.
///
/// # Errors
/// If the file contradicts what is known of it, or can't be read.
fn known_start(archive: &mut Archive) -> Result<Option<StartPoint>, Error> {
    let Contents { network, start, work, .. } = *archive.contents();
    let point = points::before_height(network, start);
    if point.height != start {
        return Ok(None);
    }
    if point.headers.last() == Some(&archive.header(start)?) && point.work == work {
        return Ok(Some(point));
    }
    let height = grouped(start);
    let what = format!(
        "block {height}, with which the file begins, is not the one that {} has there",
        network_name(network)
    );
    Err(Error::new("other_chain", what)
        .help("the file is of another chain, or somebody made it up: get it from elsewhere"))
}

fn unknown_start(path: &Path, contents: &Contents) -> Error {
    let (shown, height) = (path.display(), grouped(contents.start));
    Error::new("unknown_start", format!("{shown} begins with block {height}, which this program does not know"))
        .help("no chain can begin there: give a --data-dir whose chain reaches that block, or a file that begins earlier")
}

/// An import at work.
struct Importing<'a, 'o> {
    /// The height of the chain's first block.
    first: u32,
    /// Whether filter headers are to be taken.
    filter_headers: bool,
    chain: &'a mut Offline<'o>,
    archive: &'a mut Archive,
    path: &'a Path,
    taken: &'a mut Taken,
}

/// From where to where.
struct Place<'a> {
    file: &'a Path,
    data_dir: &'a Path,
    contents: &'a Contents,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    headers: u32,
    filter_headers: u32,
    /// Block headers of the file that are sound so far, and not kept.
    left: Option<Left>,
    /// Filter headers of the file that are not taken, for the data directory lacks those before them.
    filter_header_gap: bool,
    tip: Option<BlockId>,
    /// The first height without a filter header. `None`: none has one.
    filter_headers_end: Option<u32>,
}

/// Why the file's last block headers are not in the best chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// So many do not reach the next block that is known.
    Unproven(u32),
    /// They branch off after this height, and the chain that was there has more work.
    Branch(u32),
    /// All of them are of blocks below the one that the chain begins with.
    Below,
}

impl Importing<'_, '_> {
    fn run(mut self) -> Result<(), Halt> {
        self.note();
        let Some(common) = self.common()? else {
            self.taken.left = Some(Left::Below);
            return Ok(());
        };
        self.take_headers(common)?;
        if self.filter_headers {
            self.take_filter_headers()?;
        }
        Ok(())
    }

    fn contents(&self) -> Contents {
        *self.archive.contents()
    }

    fn note(&mut self) {
        self.taken.tip = Some(self.chain.tip());
        let end = self.chain.filter_headers_end(self.first);
        self.taken.filter_headers_end = (end > self.first).then_some(end);
    }

    /// The highest block that the best chain and the file have in common. `None`: the file ends below the chain's first
    /// block.
    fn common(&mut self) -> Result<Option<u32>, Halt> {
        let (contents, tip) = (self.contents(), self.chain.tip());
        if contents.last() < self.first {
            return Ok(None);
        }
        if contents.start > tip.height {
            let follows = contents.start == tip.height + 1;
            if follows && self.archive.header(contents.start)?.prev_blockhash == tip.hash {
                return Ok(Some(tip.height));
            }
            return Err(if follows { self.other_chain(tip.height) } else { self.gap(tip) });
        }
        let (mut low, mut high) = (self.first.max(contents.start), tip.height.min(contents.last()));
        if !self.is_common(low)? {
            return Err(self.other_chain(low));
        }
        while low < high {
            let middle = high - (high - low) / 2;
            if self.is_common(middle)? { low = middle } else { high = middle - 1 }
        }
        Ok(Some(low))
    }

    fn is_common(&mut self, height: u32) -> Result<bool, Halt> {
        let Some((block, _)) = self.chain.find(HeaderQuery::Height(height))? else {
            return Err(self.chain.unreadable(height));
        };
        Ok(self.archive.header(height)?.block_hash() == block.hash)
    }

    fn take_headers(&mut self, common: u32) -> Result<(), Halt> {
        let contents = self.contents();
        let last = contents.last();
        // Below the last known block, from the known one at or below what is kept: the client takes headers between known
        // blocks whole.
        let known = points::known_blocks(contents.network).map(|(height, _)| height);
        let is_last = known.clone().next_back().is_none_or(|height| height <= common);
        let known = known.rev().find(|height| *height <= common).filter(|_| !is_last).unwrap_or(common);
        let mut from = match common < last {
            true => (known.max(self.first) + 1).max(contents.start),
            false => last + 1,
        };
        while from <= last {
            self.chain.check_interrupt()?;
            let count = BATCH.min(last - from + 1);
            let headers = self.archive.headers(from, count)?;
            let imported = self.chain.import(Import { headers, ..Import::default() })?;
            self.note();
            from += count;
            if let Some(stopped) = imported.stopped {
                self.count_headers(common)?;
                self.taken.left = None;
                return Err(self.refused(&stopped, from - count, from - 1));
            }
            self.show(from - 1);
        }
        self.count_headers(common)
    }

    /// Counts what has been taken.
    fn count_headers(&mut self, common: u32) -> Result<(), Halt> {
        let (contents, tip) = (self.contents(), self.chain.tip());
        if common == contents.last() {
            return Ok(());
        }
        let follows = tip.height == common || tip.height <= contents.last() && self.is_common(tip.height)?;
        if !follows {
            self.taken.left = Some(Left::Branch(common));
            return Ok(());
        }
        self.taken.headers = tip.height - common;
        if tip.height < contents.last() {
            self.taken.left = Some(Left::Unproven(contents.last() - tip.height));
        }
        Ok(())
    }

    fn take_filter_headers(&mut self) -> Result<(), Halt> {
        let contents = self.contents();
        let Some(common) = self.common()? else { return Ok(()) };
        let end = contents.filter_headers_end().min(common + 1);
        let known = self.chain.filter_headers_end(self.first);
        if end <= contents.start {
            return Ok(());
        }
        if known < contents.start {
            self.taken.filter_header_gap = true;
            return Ok(());
        }
        // The last one that is known comes along, to be compared: each follows from all before it.
        let mut from = known.saturating_sub(1).max(contents.start).max(self.first).min(end - 1);
        while from < end {
            self.chain.check_interrupt()?;
            let count = BATCH.min(end - from);
            let filter_headers = self.archive.filter_headers(from, count)?;
            let import = Import { filter_headers_from: from, filter_headers, ..Import::default() };
            let imported = self.chain.import(import)?;
            self.note();
            self.taken.filter_headers = self.chain.filter_headers_end(self.first).saturating_sub(known);
            if let Some(stopped) = imported.stopped {
                return Err(self.refused(&stopped, from, from + count - 1));
            }
            from += count;
            self.show(contents.last());
        }
        Ok(())
    }

    fn show(&mut self, height: u32) {
        let contents = self.contents();
        let (start, len) = (contents.start, self.archive.len());
        let end = contents.filter_headers_end();
        let filter_headers = self.chain.filter_headers_end(self.first).min(end);
        let mut parts = vec![
            Part::new("Checksum", len, len).in_bytes(),
            Part::new("Headers", height, contents.last()).from(start),
        ];
        if self.filter_headers {
            let (done, all) = (filter_headers.saturating_sub(1), end.saturating_sub(1));
            parts.push(Part::new("Filter headers", done, all).from(start));
        }
        self.chain.output().parts(&parts);
    }

    fn refused(&self, error: &ImportError, low: u32, high: u32) -> Halt {
        let (shown, tip) = (self.path.display(), self.chain.tip());
        let between = format!("between blocks {} and {}", grouped(low), grouped(high));
        let (kind, what, help) = match error {
            ImportError::LowWork => (
                "low_work",
                format!("the chain in {shown} has too little work to be kept, {between}"),
                "give a file that goes further; or go on by sync, or import into a new --data-dir",
            ),
            ImportError::Unconnected => (
                "other_chain",
                format!("the chain in {shown} is not the one that is kept, or that is known, {between}"),
                "if the file is right, import it into a new --data-dir",
            ),
            ImportError::FilterHeadersContradict { height } => (
                "other_filter_headers",
                format!(
                    "the filter header of block {} in {shown} is not the one that is kept",
                    grouped(*height)
                ),
                "one of the two is wrong: sync into a new --data-dir, with a peer that you trust, shows which",
            ),
            ImportError::Invalid(error) if tip.height + 1 >= low && tip.height < high => (
                "invalid_file",
                format!("block {} in {shown} is not valid: {error}", grouped(tip.height + 1)),
                "somebody made the file up, or the clock of this machine is wrong; nothing from there on is kept",
            ),
            other => (
                "invalid_file",
                format!("{shown} is not valid {between}: {other}"),
                "somebody made the file up; nothing from there on is kept",
            ),
        };
        Error::new(kind, what).help(help).into()
    }

    fn gap(&self, tip: BlockId) -> Halt {
        let (shown, start) = (self.path.display(), grouped(self.contents().start));
        let what = format!(
            "{shown} begins with block {start}, and the chain in {} ends with block {}",
            self.chain.data_dir().display(),
            grouped(tip.height)
        );
        Error::new("gap", what)
            .help("sync up to there first, give a file that begins earlier, or import into a new --data-dir")
            .into()
    }

    fn other_chain(&self, height: u32) -> Halt {
        let (shown, height) = (self.path.display(), grouped(height));
        let what = format!(
            "the chain in {shown} is another one than that in {}, from block {height} or below on",
            self.chain.data_dir().display()
        );
        Error::new("other_chain", what).help("if the file is right, import it into a new --data-dir").into()
    }
}

impl Taken {
    fn tell(&self, complete: bool, place: &Place<'_>, tip: BlockId, time: Duration, output: &mut Output) {
        let Place { file, data_dir, contents } = place;
        let network = network_name(contents.network);
        let not_kept = match self.left {
            None => 0,
            Some(Left::Unproven(count)) => count,
            Some(Left::Branch(after)) => contents.last() - after,
            Some(Left::Below) => contents.headers,
        };
        match self.left {
            Some(Left::Unproven(count)) => output.warning(&format!(
                "the last {} of the file are not kept: they do not reach the next block that this program knows",
                counted(count, "block header")
            )),
            Some(Left::Branch(after)) => output.warning(&format!(
                "the file's chain parts from the one that is kept after block {}, and has less work: it is not followed",
                grouped(after)
            )),
            Some(Left::Below) => output.warning(
                "the file ends below the block that the chain kept here begins with: nothing in it is of use here",
            ),
            None => {}
        }
        if self.filter_header_gap {
            output.warning("the file's filter headers are not taken: those before them are not known here");
        }
        output.extra(&json!({
            "event": "imported",
            "complete": complete,
            "network": network,
            "file": file.display().to_string(),
            "data_dir": data_dir.display().to_string(),
            "headers": self.headers,
            "filter_headers": self.filter_headers,
            "headers_not_kept": not_kept,
            "tip": json::block(&tip),
            "filter_headers_tip": self.filter_headers_end.map(|end| end - 1),
            "seconds": json::seconds(time),
            "peak_memory_bytes": system::peak_memory_bytes(),
        }));
        let took = match (self.headers, self.filter_headers) {
            (0, 0) => "Nothing new was taken.".into(),
            (headers, filter_headers) => format!(
                "Took {} and {} of {network}.",
                counted(headers, "block header"),
                counted(filter_headers, "filter header")
            ),
        };
        output.headline(&took);
        output.say(&format!("  Data       {}", data_dir.display()));
        output.say(&format!("  Headers    up to block {}", grouped(tip.height)));
        output.say(&format!("  Tip        {}", tip.hash));
        let filter_headers = match self.filter_headers_end {
            Some(end) => format!("filter headers up to block {}", grouped(end - 1)),
            None => "no filter headers yet".into(),
        };
        output.say(&format!("  Filters    {filter_headers}"));
        output.say_cost(time);
    }
}
