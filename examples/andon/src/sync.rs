//! `sync`: finds what touches the watched scripts, up to the tip or beyond.

use std::time::Duration;

use andon_bitcoin::client::{self, Start};
use bitcoin::Network;

use crate::End;
use crate::arguments::{SyncArguments, network_name};
use crate::birthday::Birthday;
use crate::error::Error;
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::recording::Recording;
use crate::runtime::Runtime;
use crate::session::{Session, Turn};
use crate::units::{counted, grouped};
use crate::watch::Watch;
use crate::{offline, system};

/// Runs the command.
///
/// # Errors
/// Everything that keeps it from its end.
pub(crate) fn run<R: Runtime>(
    arguments: &SyncArguments,
    output: &mut Output,
    interrupt: &Interrupt,
) -> Result<End, Error> {
    let network = arguments.data.network();
    let mut config = arguments.nodes.configure(network)?;
    let watch = Watch::parse(&arguments.watch, network)?;
    let data_dir = arguments.data.directory()?;
    let (scripts, descriptors) = (watch.scripts().len(), watch.descriptors().0.len());
    let watched =
        [(scripts, "script"), (descriptors, "descriptor")].into_iter().filter(|(count, _)| *count > 0);
    let watched: Vec<String> = watched.map(|(count, what)| counted(count as u64, what)).collect();
    output.news(&format!(
        "Watching {} on {}; data in {}",
        watched.join(" and "),
        network_name(network),
        data_dir.display()
    ));
    if network == Network::Bitcoin
        && arguments.birthday == Birthday::Height(0)
        && !offline::is_there(&data_dir)
    {
        output.news(
            "The search begins with the first block, which means about 13 GB of filters: a --birthday spares what was \
             before the first payment",
        );
    }
    config.minimum_work = arguments.minimum_work;
    config.filter_cache = arguments.keep_filters.unwrap_or_default();
    config.newest_first = arguments.newest_first;
    config.decoy_blocks = arguments.decoy_blocks;
    let birthday = arguments.birthday.to_client();
    // The network's first block is the last one that is known before block 0; so a chain that begins later begins anew.
    let first = if arguments.from_genesis { client::Birthday::Height(0) } else { birthday };
    config.start = Start::Before(first);
    let recording = Recording::new(&arguments.recording);
    let mut session = Session::start::<R>(config, watch, birthday, &data_dir, &recording, output, interrupt)?;
    let ran = work(&mut session, arguments, interrupt);
    // Where the client ended by itself, its end says why.
    let ended = session.end();
    recording.tell(session.output());
    match ended.and(ran) {
        Ok(end) => {
            session.print_summary();
            Ok(end)
        }
        Err(error) => {
            // What was done is of interest if anything was.
            if session.peers().ever_connected() {
                session.print_summary();
            }
            Err(error)
        }
    }
}

fn work(session: &mut Session<'_>, arguments: &SyncArguments, interrupt: &Interrupt) -> Result<End, Error> {
    /// Nothing but an event ends this wait, and it costs nothing to wait again.
    const LONG: Duration = Duration::from_secs(3600);
    let limit = Duration::from_secs(arguments.timeout);
    let mut waiting = false;
    loop {
        let still = system::now().saturating_duration_since(session.moved_at());
        if !arguments.follow && still >= limit {
            return Err(timed_out(session, limit, arguments.minimum_work.is_some()));
        }
        let wait = if arguments.follow { LONG } else { limit.saturating_sub(still) };
        let turn = session.turn(wait)?;
        if interrupt.is_requested() {
            return Ok(End::Interrupted);
        }
        if session.peers().all_failed() {
            return Err(session.peers().error());
        }
        if turn == Turn::Ended {
            return Err(Error::new("fault", "the client has ended before its work was done"));
        }
        if let Some(tip) = session.synced() {
            if !arguments.follow {
                return Ok(End::Done);
            }
            if !std::mem::replace(&mut waiting, true) {
                let height = grouped(tip.height);
                session
                    .output()
                    .news(&format!("Up to date at block {height}; waiting for new ones (Ctrl-C ends)"));
            }
        }
    }
}

fn timed_out(session: &Session<'_>, limit: Duration, asks_for_work: bool) -> Error {
    let limit = counted(limit.as_secs(), "second");
    let peers = session.peers();
    let reasons = peers.last_reasons();
    match peers.count() {
        0 if peers.ever_connected() => Error::new("no_peer", format!("no peer has been connected for {limit}{reasons}")).help(
            "what was done so far is kept: run it again, with more peers if you know any; --timeout makes it wait longer",
        ),
        0 => Error::new("no_peer", format!("no peer has answered for {limit}{reasons}"))
            .help("check the peers, or the network; --timeout makes it wait longer"),
        count => {
            let connected = counted(count as u64, "connected peer");
            let work = if asks_for_work { "its chain may have less work than --minimum-work asks for; or " } else { "" };
            Error::new("stalled", format!("nothing new has come for {limit} from {connected}{reasons}")).help(format!(
                "{work}the peer may be syncing itself, or building its filter index: try later, or another --peer; what was \
                 done so far is kept, and --timeout makes it wait longer"
            ))
        }
    }
}
