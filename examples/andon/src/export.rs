//! `headers export`: all block headers and filter headers of the best chain, written to a file.

use std::path::Path;
use std::time::Duration;

use andon_bitcoin::client::{BlockId, Start};
use andon_bitcoin::points;
use bitcoin::Work;
use bitcoin::hashes::sha256;
use serde_json::json;

use crate::End;
use crate::archive::{ArchiveWriter, Contents};
use crate::arguments::{DataArguments, network_name};
use crate::error::Error;
use crate::interrupt::Interrupt;
use crate::offline::{self, BATCH, Halt, Offline};
use crate::output::Output;
use crate::progress::Part;
use crate::runtime::Runtime;
use crate::units::{bytes, counted, grouped};
use crate::{json, system};

/// Runs the command.
///
/// # Errors
/// If the data can't be used, or the file not be written: then there is none.
pub(crate) fn run<R: Runtime>(
    path: &Path,
    force: bool,
    data: &DataArguments,
    output: &mut Output,
    interrupt: &Interrupt,
) -> Result<End, Error> {
    let (network, data_dir) = offline::existing(data)?;
    let started_at = system::now();
    let exported = offline::run::<R, _>(network, Start::Genesis, &data_dir, output, interrupt, |chain| {
        export(chain, path, force)
    });
    match exported {
        Ok(exported) => {
            exported.tell(path, system::now() - started_at, output);
            Ok(End::Done)
        }
        Err(halt) => halt.end(),
    }
}

fn export(chain: &mut Offline<'_>, path: &Path, force: bool) -> Result<Exported, Halt> {
    let (first, work) = start(chain)?;
    let tip = chain.tip();
    let end = chain.filter_headers_end(first.height);
    let contents = Contents {
        network: chain.network(),
        start: first.height,
        work,
        headers: tip.height - first.height + 1,
        filter_headers: 0,
    };
    let mut writer = ArchiveWriter::create(path, force, contents)?;
    let mut from = first.height;
    while from <= tip.height {
        chain.check_interrupt()?;
        let count = BATCH.min(tip.height - from + 1);
        let (headers, mut filter_headers) = chain.export(from, count)?;
        let known = count.min(end.saturating_sub(from));
        if (filter_headers.len() as u32) < known {
            return Err(chain.unreadable(from + filter_headers.len() as u32));
        }
        filter_headers.truncate(known as usize);
        writer.add(&headers, &filter_headers)?;
        from += count;
        let mut parts = vec![Part::new("Headers", from - 1, tip.height).from(first.height)];
        if end > first.height {
            parts.push(Part::new("Filter headers", from.min(end) - 1, end - 1).from(first.height));
        }
        chain.output().parts(&parts);
    }
    let (contents, bytes, digest) = writer.finish()?;
    Ok(Exported { contents, tip, bytes, digest })
}

/// The block that the chain begins with, and the work up to and with it.
fn start(chain: &mut Offline<'_>) -> Result<(BlockId, Work), Halt> {
    let (first, header) = chain.first()?;
    let known = points::start_points(chain.network());
    match known.iter().find(|point| point.height == first.height && point.headers.last() == Some(&header)) {
        Some(point) => Ok((first, point.work)),
        None => {
            let height = grouped(first.height);
            let what = format!("the chain begins with block {height}, which this program does not know");
            let help = "only a chain that begins with the network's first block, or another one that this program \
                        knows, can be exported: begin anew, in another --data-dir or with sync --from-genesis";
            Err(Error::new("unknown_start", what).help(help).into())
        }
    }
}

/// What has been written.
struct Exported {
    contents: Contents,
    tip: BlockId,
    bytes: u64,
    digest: sha256::Hash,
}

impl Exported {
    fn tell(&self, path: &Path, time: Duration, output: &mut Output) {
        let Self { contents, tip, bytes: len, digest } = self;
        output.end_bars();
        let network = network_name(contents.network);
        output.extra(&json!({
            "event": "exported",
            "network": network,
            "file": path.display().to_string(),
            "first": contents.start,
            "tip": json::block(tip),
            "headers": contents.headers,
            "filter_headers": contents.filter_headers,
            "bytes": len,
            "sha256": digest.to_string(),
            "seconds": json::seconds(time),
            "peak_memory_bytes": system::peak_memory_bytes(),
        }));
        output.headline(&format!(
            "Wrote {} and {} of {network}.",
            counted(contents.headers, "block header"),
            counted(contents.filter_headers, "filter header"),
        ));
        output.say(&format!("  File       {}", path.display()));
        output.say(&format!("  Blocks     {} to {}", grouped(contents.start), grouped(tip.height)));
        output.say(&format!("  Tip        {}", tip.hash));
        output.say(&format!("  Size       {}", bytes(*len)));
        output.say(&format!("  SHA-256    {digest}"));
        output.say_cost(time);
    }
}
