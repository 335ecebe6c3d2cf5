//! One run of a client: in a process of its own, ended in time, and checked against the truth.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bitcoin::BlockHash;

use crate::chain::Plan;
use crate::child::{Child, Heard};
use crate::findings::Sum;
use crate::lines::{Done, Progress, Told};
use crate::start::Start;
use crate::{Client, Error, system};

/// What a client is to do.
#[derive(Clone, Debug)]
pub(crate) struct Task<'a> {
    pub(crate) client: Client,
    /// What is served, up to `tip`.
    pub(crate) plan: Plan,
    pub(crate) tip: BlockHash,
    pub(crate) peers: &'a [SocketAddr],
    /// How often a client may dial each peer that does so only as often as it is told to.
    pub(crate) dials: usize,
    /// Where it begins; `None`: at the first block.
    pub(crate) start: Option<&'a Start>,
    /// What it is to find.
    pub(crate) truth: Sum,
    /// Where it may keep what it wants to.
    pub(crate) directory: &'a Path,
    /// After how long it is ended.
    pub(crate) time_limit: Duration,
}

/// A run that did not reach the end.
#[derive(Clone, Debug)]
pub(crate) struct Unfinished {
    pub(crate) why: &'static str,
    pub(crate) after: Duration,
    pub(crate) reached: Progress,
    /// The most memory until then, in bytes, if the process was still there to be asked.
    pub(crate) peak_memory: Option<u64>,
}

impl Task<'_> {
    /// Has the client do it.
    ///
    /// # Errors
    /// If the process can't be run, or it reached another block, or found anything else than there is to be found.
    pub(crate) fn run(&self) -> Result<Result<Done, Unfinished>, Error> {
        let started = system::now();
        let child = Child::start(self.arguments())?;
        let mut reached = Progress::default();
        let unfinished = |why, reached, child: &Child| Unfinished {
            why,
            after: started.elapsed(),
            reached,
            peak_memory: system::peak_memory(&child.id()).ok(),
        };
        let done = loop {
            match child.hear(started + self.time_limit)? {
                Heard::Line(Told::Progress(progress)) => reached = progress,
                Heard::Line(Told::Done(done)) => break done,
                Heard::TimedOut => return Ok(Err(unfinished("ended at the time limit", reached, &child))),
                Heard::Ended => return Ok(Err(unfinished("failed", reached, &child))),
            }
        };
        let client = self.client;
        if !child.wait()? {
            return Err(format!("{client:?} failed after it was done").into());
        }
        let (blocks, tip) = (self.plan.blocks, self.tip);
        if (done.height, done.tip) != (blocks, tip) {
            let (height, other) = (done.height, done.tip);
            return Err(
                format!("{client:?} ended at block {height}, {other}, and not at {blocks}, {tip}").into()
            );
        }
        if done.found != self.truth {
            let (found, truth) = (done.found, self.truth);
            return Err(format!("{client:?} found {found}, and there is {truth}").into());
        }
        Ok(Ok(done))
    }

    fn arguments(&self) -> Vec<OsString> {
        let part = if self.client == Client::Andon { "andon" } else { "kyoto" };
        let mut arguments: Vec<OsString> = vec![part.into()];
        arguments.extend(self.plan.arguments());
        let mut add = |name: &str, value: String| arguments.extend([name.into(), value.into()]);
        add("--tip", self.tip.to_string());
        add("--dials", self.dials.to_string());
        for peer in self.peers {
            add("--peer", peer.to_string());
        }
        if let Some(start) = self.start {
            add("--start", start.to_string());
        }
        if self.client == Client::Andon {
            arguments.extend(["--directory".into(), self.directory.into()]);
        }
        arguments
    }
}
