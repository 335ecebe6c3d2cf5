//! `repair`: saves what can be saved of a damaged data directory.

use std::path::Path;

use andon_bitcoin::client::{BlockId, Start};
use andon_store::Salvage;
use serde_json::json;

use crate::End;
use crate::arguments::{DataArguments, network_name};
use crate::error::Error;
use crate::interrupt::Interrupt;
use crate::offline::{self, Halt, Offline};
use crate::output::Output;
use crate::runtime::Runtime;
use crate::units::grouped;
use crate::{json, store};

/// Spaces of the database without which the chain is fetched again, and nothing else is missed.
const CHAIN: [&str; 4] = ["headers", "filter_headers", "hashes", "staged"];

/// Runs the command.
///
/// # Errors
/// If there is nothing, or it can't be read or written; or if what is left is of no use.
pub(crate) fn run<R: Runtime>(
    data: &DataArguments,
    output: &mut Output,
    interrupt: &Interrupt,
) -> Result<End, Error> {
    let (network, data_dir) = offline::existing(data)?;
    output.news(&format!("Saving what can be read of the data in {}", data_dir.display()));
    let salvage =
        andon_store::salvage(&data_dir).map_err(|error| store::open_error(&error, network, &data_dir))?;
    let mut repaired = Repaired { salvage, chain: None, forgotten: false };
    if repaired.is_empty() {
        // A client would begin a chain in it, and not where the next sync would.
        repaired.tell(&data_dir, data, output);
        return Ok(End::Done);
    }
    let looked = offline::run::<R, _>(network, Start::Genesis, &data_dir, output, interrupt, |chain| {
        repaired.look(chain)
    });
    match looked {
        Ok(()) => {
            repaired.tell(&data_dir, data, output);
            Ok(End::Done)
        }
        Err(halt) => halt.end(),
    }
}

/// What has been saved.
struct Repaired {
    salvage: Salvage,
    /// What the client makes of it: the tip, the first height without a filter header, and how many findings there are.
    chain: Option<(BlockId, u32, u64)>,
    /// Whether what was found is to be searched for again.
    forgotten: bool,
}

impl Repaired {
    fn is_empty(&self) -> bool {
        self.salvage.spaces.iter().all(|space| space.rows == 0)
    }

    /// Has the client look at what is left.
    fn look(&mut self, chain: &mut Offline<'_>) -> Result<(), Halt> {
        // A payment that is missing from what was found would never be missed: so all of it is searched for again. What
        // is lost of a space that can't be named may be that.
        let of_chain = |name: &str| CHAIN.contains(&name);
        let lost = self.salvage.lost
            && (self.salvage.spaces.iter().all(|space| !space.lost)
                || self.salvage.spaces.iter().any(|space| space.lost && !of_chain(&space.name)));
        if lost {
            chain.forget_findings()?;
            self.forgotten = true;
        }
        let first = chain.first()?.0.height;
        self.chain = Some((chain.tip(), chain.filter_headers_end(first), chain.findings()));
        Ok(())
    }

    fn tell(&self, data_dir: &Path, data: &DataArguments, output: &mut Output) {
        let spaces: Vec<_> = self
            .salvage
            .spaces
            .iter()
            .map(|space| json!({"name": space.name, "rows": space.rows, "lost": space.lost}))
            .collect();
        let (network, shown) = (network_name(data.network()), data_dir.display());
        output.extra(&json!({
            "event": "salvaged",
            "network": network,
            "data_dir": shown.to_string(),
            "lost": self.salvage.lost,
            "spaces": spaces,
            "tip": self.chain.map(|(tip, ..)| json::block(&tip)),
            "filter_headers_tip": self.chain.and_then(|(_, end, _)| end.checked_sub(1)),
            "search_again": self.forgotten || self.is_empty(),
        }));
        match (self.salvage.lost, self.is_empty()) {
            (_, true) => output.headline("Nothing could be saved."),
            (true, false) => output.headline("Saved what could be read; some of it was lost."),
            (false, false) => output.headline("Everything could be read: nothing is lost."),
        }
        if let Some((tip, filter_headers, findings)) = self.chain {
            output.say(&format!("  Headers    of {network}, up to block {}", grouped(tip.height)));
            let filter_headers = match filter_headers.checked_sub(1) {
                Some(last) => format!("filter headers up to block {}", grouped(last)),
                None => "no filter headers".into(),
            };
            output.say(&format!("  Filters    {filter_headers}"));
            let payments = match self.forgotten {
                true => "some may be lost: all are searched for again".into(),
                false => format!("{} kept", grouped(findings)),
            };
            output.say(&format!("  Payments   {payments}"));
        }
        output.say(&format!("  Before     {}", data_dir.join("andon.sqlite.damaged").display()));
        output.say(
            "The next sync goes on from there and fetches what is missing. The file from\nbefore is not needed for that: it \
             can be removed.",
        );
    }
}
