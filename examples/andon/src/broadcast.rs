//! `broadcast`: gives transactions to the network, and waits until they spread or are in a block.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use andon_bitcoin::client::{
    Birthday, BroadcastOptions, BroadcastState, Client, Command, Event, PeerPurpose, Start, Submission,
};
use andon_store::SqliteStore;
use bitcoin::consensus::encode::deserialize_hex;
use bitcoin::{Amount, Network, Transaction, Txid};
use serde_json::json;

use crate::arguments::{BroadcastArguments, Until, network_name};
use crate::error::Error;
use crate::interrupt::Interrupt;
use crate::json::{broadcast_state, state_name};
use crate::output::Output;
use crate::peers::Peers;
use crate::runtime::{Received, Running, Runtime};
use crate::units::counted;
use crate::{End, offline, store, system};

/// A file may be as long as this: two digits for each byte of the heaviest transactions that go together, and some room.
const MAX_FILE_BYTES: u64 = 10 << 20;

/// How long the client may take to end.
const LAST_EVENTS: Duration = Duration::from_secs(60);

/// Runs the command.
///
/// # Errors
/// Everything that keeps it from its end.
pub(crate) fn run<R: Runtime>(
    arguments: &BroadcastArguments,
    output: &mut Output,
    interrupt: &Interrupt,
) -> Result<End, Error> {
    let network = arguments.data.network();
    let transactions = read_transactions(arguments)?;
    let mut config = arguments.nodes.configure(network)?;
    let data_dir = arguments.data.directory()?;
    if !offline::is_there(&data_dir) {
        // The last block that is known: nothing is searched for that lies further back.
        config.start = Start::Before(Birthday::Height(u32::MAX));
    }
    output.news(&format!(
        "Broadcasting {} on {}; kept in {}",
        counted(transactions.len() as u64, "transaction"),
        network_name(network),
        data_dir.display()
    ));
    let mut run = Run {
        network,
        data_dir: &data_dir,
        states: transactions.iter().map(|one| (one.transaction.compute_txid(), None)).collect(),
        peers: Peers::new(network, config.peers.iter().cloned(), config.discovery.is_some()),
        output,
        started_at: system::now(),
    };
    let started = R::start(Client::new(config), None, |wake| SqliteStore::open(&data_dir, wake))
        .map_err(|error| store::start_error(error, network, &data_dir))?;
    interrupt.on_request(started.running.stopper());
    let options = BroadcastOptions { private: arguments.private, ..BroadcastOptions::default() };
    // Not taken only if the client has ended already, and then its end says why.
    let _ = started.running.command(Command::Broadcast { transactions, options });
    let ended = run.wait(&*started.running, arguments, interrupt);
    started.running.stop();
    while let Received::Event(_) = started.running.receive(LAST_EVENTS) {}
    let joined = started.running.join().map_err(|error| store::run_error(error, network, &data_dir));
    match joined.and(ended) {
        Ok(end) => {
            run.print_result();
            Ok(end)
        }
        Err(error) => {
            if run.states.iter().any(|(_, state)| state.is_some()) {
                run.print_result();
            }
            Err(error)
        }
    }
}

/// One run of the client.
struct Run<'a> {
    network: Network,
    data_dir: &'a Path,
    states: Vec<(Txid, Option<BroadcastState>)>,
    peers: Peers,
    output: &'a mut Output,
    started_at: Instant,
}

impl Run<'_> {
    fn wait(
        &mut self,
        running: &dyn Running<Command, Event>,
        arguments: &BroadcastArguments,
        interrupt: &Interrupt,
    ) -> Result<End, Error> {
        let limit = Duration::from_secs(arguments.timeout);
        let mut given = false;
        loop {
            let passed = system::now().saturating_duration_since(self.started_at);
            let Some(wait) = limit.checked_sub(passed).filter(|wait| !wait.is_zero()) else {
                return Err(self.timed_out(limit));
            };
            let received = running.receive(wait);
            if interrupt.is_requested() {
                return Ok(End::Interrupted);
            }
            match received {
                Received::Event(event) => {
                    log::debug!("{event:?}");
                    self.observe(&event, &mut given)?;
                }
                Received::TimedOut => {}
                Received::Ended => {
                    return Err(Error::new("fault", "the client has ended before its work was done"));
                }
            }
            self.output.check()?;
            if self.peers.all_failed() {
                return Err(self.peers.error());
            }
            if let Some(error) = self.failure() {
                return Err(error);
            }
            let is_done = |state: &BroadcastState| match state {
                BroadcastState::Confirmed { .. } => true,
                BroadcastState::Seen => arguments.until == Until::Seen,
                _ => false,
            };
            if given && self.states.iter().all(|(_, state)| state.as_ref().is_some_and(is_done)) {
                return Ok(End::Done);
            }
        }
    }

    fn observe(&mut self, event: &Event, given: &mut bool) -> Result<(), Error> {
        match event {
            Event::Failed(failure) => return Err(store::failure(failure, self.network, self.data_dir)),
            Event::PeerConnected { purpose: PeerPurpose::Broadcast, .. }
            | Event::PeerDisconnected { purpose: PeerPurpose::Broadcast, .. } => {}
            Event::PeerConnected { endpoint, .. } => self.peers.connected(endpoint),
            Event::PeerDisconnected { endpoint, connected, reason, .. } => {
                if let Some(text) = self.peers.disconnected(endpoint, *connected, reason) {
                    self.output.warning(&text);
                }
            }
            Event::BroadcastRefused { error, .. } => {
                return Err(Error::usage(format!("it can't be broadcast: {error}"))
                    .help("check that what was given is a whole, signed transaction of this network"));
            }
            // Of an earlier broadcast: this one has just begun.
            Event::Broadcast { state: BroadcastState::Expired, .. } if !*given => return Ok(()),
            Event::Broadcast { txid, state, .. } => {
                if let Some(entry) = self.states.iter_mut().find(|(ours, _)| ours == txid) {
                    entry.1 = Some(*state);
                    *given = true;
                }
            }
            // What is watched in the same directory is another command's business.
            Event::Touched(_) | Event::TakenBack(_) | Event::Matched(_) | Event::Progress(_) => return Ok(()),
            _ => {}
        }
        self.output.event(event, self.network, false);
        Ok(())
    }

    /// The error for a transaction that can't come to anything any more.
    fn failure(&self) -> Option<Error> {
        self.states.iter().find_map(|(txid, state)| match state {
            Some(BroadcastState::Conflicted { by, .. }) => {
                Some(Error::new("conflicted", format!("{by}, which is in a block, spends what {txid} spends")).help(
                    "it can't be confirmed any more, unless that block is replaced: make another transaction",
                ))
            }
            Some(BroadcastState::Expired) => Some(Error::new("expired", format!("the time of {txid} is over"))),
            _ => None,
        })
    }

    fn timed_out(&self, limit: Duration) -> Error {
        let limit = counted(limit.as_secs(), "second");
        let worst =
            self.states.iter().map(|(_, state)| state.as_ref().map_or("waiting", |state| state_name(*state)));
        let order = ["waiting", "announced", "sent", "seen"];
        let worst = worst.filter_map(|name| order.iter().position(|one| *one == name)).min();
        let worst = worst.map(|place| order[place]);
        let help = match worst {
            Some("sent") => {
                "a peer has it, and none was heard of it: it may not be valid, or pay too little; peers do not say which. It \
                 is kept, and goes on with the next broadcast or sync"
            }
            Some("seen") => {
                "it spreads, and is in no block yet; it is kept, and goes on with the next broadcast or sync"
            }
            _ => {
                "nobody has asked for it: peers that have it already do not, nor those that are syncing; it is kept, and goes \
                 on with the next broadcast or sync"
            }
        };
        let reasons = self.peers.last_reasons();
        Error::new("timed_out", format!("after {limit} it is {}{reasons}", worst.unwrap_or("waiting")))
            .help(help)
    }

    fn print_result(&mut self) {
        let seconds = (system::now() - self.started_at).as_secs_f64();
        let transactions = self.states.iter().map(|(txid, state)| {
            let mut object = state.map_or_else(|| json!({"state": "waiting"}), broadcast_state);
            object["txid"] = txid.to_string().into();
            object
        });
        let transactions: Vec<_> = transactions.collect();
        let object = json!({"event": "broadcasts", "transactions": transactions, "seconds": seconds});
        self.output.extra(&object);
    }
}

fn read_transactions(arguments: &BroadcastArguments) -> Result<Vec<Submission>, Error> {
    let mut submissions = Vec::new();
    for text in &arguments.transactions {
        submissions.extend(read_one(text)?.into_iter().map(Submission::new));
    }
    if arguments.fees.len() > submissions.len() {
        return Err(Error::usage("there are more fees than transactions")
            .help("give one --fee for each transaction, in the same order, or none"));
    }
    for (submission, fee) in submissions.iter_mut().zip(&arguments.fees) {
        submission.fee = Some(Amount::from_sat(*fee));
    }
    Ok(submissions)
}

/// Transactions in hex, or in a file of that, one a line.
fn read_one(text: &str) -> Result<Vec<Transaction>, Error> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let transaction = parse(text).map_err(|why| {
            Error::usage(format!("the transaction can't be read: {why}"))
                .help("give a whole, signed transaction in hex, or the name of a file that has one")
        })?;
        return Ok(vec![transaction]);
    }
    let unreadable = |error: std::io::Error| {
        Error::usage(format!("the file {text} can't be read: {error}"))
            .help("give a signed transaction in hex, or the name of a file that has one")
    };
    let mut contents = String::new();
    File::open(text)
        .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_string(&mut contents))
        .map_err(unreadable)?;
    if contents.len() as u64 > MAX_FILE_BYTES {
        return Err(Error::usage(format!("the file {text} has more than {MAX_FILE_BYTES} bytes"))
            .help("give no more than 25 transactions at once"));
    }
    let lines = contents.lines().map(str::trim).filter(|line| !line.is_empty());
    let transactions = lines.map(parse).collect::<Result<Vec<_>, _>>().map_err(|why| {
        Error::usage(format!("the file {text} holds no transactions: {why}"))
            .help("each line holds one signed transaction in hex")
    })?;
    if transactions.is_empty() {
        return Err(Error::usage(format!("the file {text} is empty"))
            .help("each line holds one signed transaction in hex"));
    }
    Ok(transactions)
}

fn parse(text: &str) -> Result<Transaction, String> {
    deserialize_hex(text).map_err(|error| error.to_string())
}
