//! A client at work on a data directory without any peer: it answers what it is asked, and what it was given to keep is
//! kept.

use std::path::{Path, PathBuf};
use std::time::Duration;

use andon_bitcoin::client::{BlockId, Command, Config, Event, HeaderQuery, Import, ImportError, Start};
use andon_driver::{Handle, Received};
use bitcoin::block::Header;
use bitcoin::{FilterHeader, Network, ScriptBuf};

use crate::End;
use crate::arguments::DataArguments;
use crate::error::Error;
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::recording::Recording;
use crate::runtime::Runtime;
use crate::units::grouped;
use crate::{client, json, store, system};

/// Headers that are asked for or given at once: what the client takes at most.
pub(crate) const BATCH: u32 = 2000;

/// No answer takes as long as this: data of an older format may be taken over first, on a slow disk.
const PATIENCE: Duration = Duration::from_secs(1800);

/// The database in a data directory. Where it is missing there is no data.
const DATABASE: &str = "andon.sqlite";

/// Why a command ended before it was through.
#[derive(Debug)]
pub(crate) enum Halt {
    /// Ctrl-C.
    Interrupted,
    /// Anything else.
    Failed(Error),
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Halt {
    /// As the end of the program.
    ///
    /// # Errors
    /// If it is one.
    pub(crate) fn end(self) -> Result<End, Error> {
        match self {
            Self::Interrupted => Ok(End::Interrupted),
            Self::Failed(error) => Err(error),
        }
    }
}

/// Whether there is data in a directory.
pub(crate) fn is_there(data_dir: &Path) -> bool {
    data_dir.join(DATABASE).exists()
}

/// Whose data a command is to read, and where it is.
///
/// # Errors
/// If there is none.
pub(crate) fn existing(data: &DataArguments) -> Result<(Network, PathBuf), Error> {
    let data_dir = data.directory()?;
    if is_there(&data_dir) {
        return Ok((data.network(), data_dir));
    }
    Err(Error::new("no_data", format!("there is no data in {}", data_dir.display())).help(
        "give the --data-dir and the --network of an earlier sync; or fill a new one by `sync` or `headers import`",
    ))
}

/// A client without peers.
pub(crate) struct Offline<'a> {
    network: Network,
    data_dir: PathBuf,
    /// Taken at the end.
    client: Option<Handle<Command, Event>>,
    output: &'a mut Output,
    interrupt: &'a Interrupt,
    tip: Option<BlockId>,
    filter_headers: u32,
    findings: u64,
    /// Up to where headers were kept when the client found a fault in them while it was at work.
    repaired: Option<BlockId>,
}

/// What the client has come to after an import.
#[derive(Clone, Debug)]
pub(crate) struct Imported {
    /// The best block.
    pub(crate) tip: BlockId,
    /// The first height without a filter header.
    pub(crate) filter_headers: u32,
    /// Why not all of it was taken.
    pub(crate) stopped: Option<ImportError>,
}

/// Runs `work` with a client without peers, and ends the client in order, whatever comes of it. In a directory without
/// data the chain begins at `start`; others stay as they are.
///
/// # Errors
/// If the data can't be used; or those of `work`.
pub(crate) fn run<R: Runtime, T>(
    network: Network,
    start: Start,
    data_dir: &Path,
    output: &mut Output,
    interrupt: &Interrupt,
    work: impl FnOnce(&mut Offline<'_>) -> Result<T, Halt>,
) -> Result<T, Halt> {
    let mut config = Config::new(network, system::seed()?);
    config.discovery = None;
    config.start = start;
    let client = client::start::<R>(config, data_dir, &Recording::none(), interrupt)?;
    let mut offline = Offline {
        network,
        data_dir: data_dir.into(),
        client: Some(client),
        output,
        interrupt,
        tip: None,
        filter_headers: 0,
        findings: 0,
        repaired: None,
    };
    // Its answer comes when everything has been read, and tells how far the chain goes. What was repaired on the way is
    // not missed then.
    let worked = offline.import(Import::default()).and_then(|_| {
        offline.repaired = None;
        work(&mut offline)
    });
    let ended = offline.end();
    // Where the client ended by itself, its end says why.
    ended.and(worked)
}

impl Offline<'_> {
    /// Whose chain.
    pub(crate) fn network(&self) -> Network {
        self.network
    }

    /// Where the data is.
    pub(crate) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Where to print.
    pub(crate) fn output(&mut self) -> &mut Output {
        self.output
    }

    /// The best block.
    pub(crate) fn tip(&self) -> BlockId {
        self.tip.expect("the client has told it before any work began")
    }

    /// The first height without a filter header, of a chain whose first block is at `first`.
    pub(crate) fn filter_headers_end(&self, first: u32) -> u32 {
        match self.filter_headers {
            // That of the block which a chain begins with comes along with the next one; the client counts it as known.
            end if first > 0 && end == first + 1 => first,
            end => end,
        }
    }

    /// How many payments, to and from, are recorded.
    pub(crate) fn findings(&self) -> u64 {
        self.findings
    }

    /// The first block of the chain: the client is asked for ever narrower heights.
    ///
    /// # Errors
    /// If the client has ended.
    pub(crate) fn first(&mut self) -> Result<(BlockId, Header), Halt> {
        let (mut low, mut high) = (0, self.tip().height);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.find(HeaderQuery::Height(middle))? {
                Some(_) => high = middle,
                None => low = middle + 1,
            }
        }
        self.find(HeaderQuery::Height(low))?.ok_or_else(|| self.unreadable(low))
    }

    /// Looks a header up.
    ///
    /// # Errors
    /// If the client has ended.
    pub(crate) fn find(&mut self, query: HeaderQuery) -> Result<Option<(BlockId, Header)>, Halt> {
        self.ask(Command::FindHeader(query), |event| match event {
            Event::Header { found, .. } => Ok(found),
            other => Err(Box::new(other)),
        })
    }

    /// Reads the headers of up to [`BATCH`] blocks of the chain, and the filter headers that are known of them.
    ///
    /// # Errors
    /// If the client has ended, or lacks a header that it should have.
    pub(crate) fn export(&mut self, from: u32, count: u32) -> Result<(Vec<Header>, Vec<FilterHeader>), Halt> {
        let (headers, filter_headers) = self.ask(Command::Export { from, count }, |event| match event {
            Event::Exported { headers, filter_headers, .. } => Ok((headers, filter_headers)),
            other => Err(Box::new(other)),
        })?;
        if (headers.len() as u32) < count {
            return Err(self.unreadable(from + headers.len() as u32));
        }
        Ok((headers, filter_headers))
    }

    /// Gives the client something to keep.
    ///
    /// # Errors
    /// If the client has ended.
    pub(crate) fn import(&mut self, import: Import) -> Result<Imported, Halt> {
        let imported = self.ask(Command::Import(import), |event| match event {
            Event::Imported { tip, filter_headers, stopped } => Ok(Imported { tip, filter_headers, stopped }),
            other => Err(Box::new(other)),
        })?;
        self.tip = Some(imported.tip);
        self.filter_headers = imported.filter_headers;
        Ok(imported)
    }

    /// Has the client forget what it watches and what it found: the next search begins anew.
    ///
    /// # Errors
    /// If the client has ended.
    pub(crate) fn forget_findings(&mut self) -> Result<(), Halt> {
        let from = andon_bitcoin::client::Birthday::Height(0);
        self.tell(Command::WatchOnly { scripts: Vec::<ScriptBuf>::new(), from });
        // It has been carried out when what comes after it is answered.
        self.import(Import::default()).map(drop)
    }

    /// Whether Ctrl-C was pressed.
    ///
    /// # Errors
    /// If it was.
    pub(crate) fn check_interrupt(&self) -> Result<(), Halt> {
        if self.interrupt.is_requested() { Err(Halt::Interrupted) } else { Ok(()) }
    }

    /// The error for a block that is part of the chain and can't be read.
    pub(crate) fn unreadable(&self, height: u32) -> Halt {
        let error = match self.repaired {
            Some(kept) => Error::new(
                "damaged",
                format!(
                    "the data in {} had a fault at block {}, and ends with block {} now",
                    self.data_dir.display(),
                    grouped(height),
                    grouped(kept.height)
                ),
            )
            .help("the next sync fetches the rest; what is there can be used as it is: run this again"),
            None => {
                let what = format!("the headers at block {} can't be read", grouped(height));
                store::damaged(&what, self.network, &self.data_dir)
            }
        };
        error.into()
    }

    fn tell(&self, command: Command) {
        if let Some(client) = &self.client {
            // Not taken only if the client has ended, which shows when its answer is waited for.
            let _ = client.command(command);
        }
    }

    fn ask<T>(
        &mut self,
        command: Command,
        answer: impl Fn(Event) -> Result<T, Box<Event>>,
    ) -> Result<T, Halt> {
        self.tell(command);
        loop {
            let Some(client) = &self.client else { return Err(Halt::Interrupted) };
            let event = match client.recv_timeout(PATIENCE) {
                Received::Event(event) => event,
                Received::Ended if self.interrupt.is_requested() => return Err(Halt::Interrupted),
                Received::Ended => return Err(fault("the client has ended before its work was done")),
                Received::TimedOut => return Err(fault("the client does not answer")),
            };
            log::debug!("{event:?}");
            match answer(event) {
                Ok(answer) => return Ok(answer),
                Err(event) => self.observe(&event)?,
            }
        }
    }

    /// Takes in what the client says by itself.
    fn observe(&mut self, event: &Event) -> Result<(), Halt> {
        match event {
            Event::Failed(failure) => {
                return Err(store::failure(failure, self.network, &self.data_dir).into());
            }
            Event::Repaired { kept, .. } => {
                (self.tip, self.repaired) = (Some(*kept), Some(*kept));
                self.output.event(event, self.network, false);
            }
            Event::Touched(_) => self.findings += 1,
            Event::TakenBack(_) => self.findings = self.findings.saturating_sub(1),
            Event::Started { .. } => {
                if let Some(object) = json::event(event, self.network) {
                    self.output.extra(&object);
                }
            }
            Event::Migrated { .. } | Event::Reorganised { .. } => {
                self.output.event(event, self.network, false);
            }
            _ => {}
        }
        Ok(self.output.check()?)
    }

    /// Ends the client: what it was given is durable then.
    fn end(mut self) -> Result<(), Halt> {
        let Some(client) = self.client.take() else { return Ok(()) };
        client.stop();
        let mut observed = Ok(());
        while let Received::Event(event) = client.recv_timeout(PATIENCE) {
            observed = observed.and_then(|()| self.observe(&event));
        }
        client.join().map_err(|error| store::run_error(error, self.network, &self.data_dir))?;
        observed
    }
}

fn fault(what: &str) -> Halt {
    Error::new("fault", what).help("please report this, with what you did before").into()
}
