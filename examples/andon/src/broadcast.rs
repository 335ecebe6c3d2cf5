//! `broadcast`: gives transactions to the network, and waits until they spread or are in a block.

use std::fs::File;
use std::io::Read;
use std::time::Duration;

use andon_bitcoin::client::{BroadcastOptions, BroadcastState, Command, Event, Submission};
use andon_driver::Handle;
use bitcoin::consensus::encode::deserialize_hex;
use bitcoin::{Amount, Transaction, Txid};
use serde_json::{Value, json};

use crate::End;
use crate::arguments::{BroadcastArguments, Until, network_name};
use crate::errand::{self, Errand};
use crate::error::Error;
use crate::interrupt::Interrupt;
use crate::json::{broadcast_state, state_name};
use crate::output::Output;
use crate::recording::Recording;
use crate::runtime::Runtime;
use crate::units::counted;

/// A file may be as long as this: two digits for each byte of the heaviest transactions that go together, and some room.
const MAX_FILE_BYTES: u64 = 10 << 20;

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
    let config = arguments.nodes.configure(network)?;
    let data_dir = arguments.data.directory()?;
    output.news(&format!(
        "Broadcasting {} on {}; kept in {}",
        counted(transactions.len() as u64, "transaction"),
        network_name(network),
        data_dir.display()
    ));
    let mut broadcast = Broadcast {
        states: transactions.iter().map(|one| (one.transaction.compute_txid(), None)).collect(),
        transactions,
        options: BroadcastOptions { private: arguments.private, ..BroadcastOptions::default() },
        until: arguments.until,
        is_given: false,
    };
    let limit = Duration::from_secs(arguments.timeout);
    let recording = Recording::new(&arguments.recording);
    let (time, ended) =
        errand::run::<R>(config, &data_dir, limit, &mut broadcast, &recording, output, interrupt);
    if ended.is_ok() || broadcast.states.iter().any(|(_, state)| state.is_some()) {
        output.extra(&broadcast.result(time));
    }
    ended
}

/// Transactions on their way.
struct Broadcast {
    transactions: Vec<Submission>,
    options: BroadcastOptions,
    until: Until,
    states: Vec<(Txid, Option<BroadcastState>)>,
    /// Whether the client has taken them.
    is_given: bool,
}

impl Errand for Broadcast {
    fn begin(&mut self, client: &Handle<Command, Event>) {
        let transactions = std::mem::take(&mut self.transactions);
        // Not taken only if the client has ended already, and then its end says why.
        let _ = client.command(Command::Broadcast { transactions, options: self.options });
    }

    fn observe(&mut self, event: &Event, _: &Handle<Command, Event>) -> Result<bool, Error> {
        match event {
            Event::BroadcastRefused { error, .. } => {
                return Err(Error::usage(format!("it can't be broadcast: {error}"))
                    .help("check that what was given is a whole, signed transaction of this network"));
            }
            // Of an earlier broadcast: this one has just begun.
            Event::Broadcast { state: BroadcastState::Expired, .. } if !self.is_given => return Ok(false),
            Event::Broadcast { txid, state, .. } => {
                if let Some(entry) = self.states.iter_mut().find(|(ours, _)| ours == txid) {
                    entry.1 = Some(*state);
                    self.is_given = true;
                }
            }
            Event::Progress(_) => return Ok(false),
            _ => {}
        }
        Ok(true)
    }

    fn is_done(&self) -> Result<bool, Error> {
        if let Some(error) = self.failure() {
            return Err(error);
        }
        let is_done = |state: &BroadcastState| match state {
            BroadcastState::Confirmed { .. } => true,
            BroadcastState::Seen => self.until == Until::Seen,
            _ => false,
        };
        Ok(self.is_given && self.states.iter().all(|(_, state)| state.as_ref().is_some_and(is_done)))
    }

    fn left(&self) -> (String, &'static str) {
        let order = ["waiting", "announced", "sent", "seen"];
        let names =
            self.states.iter().map(|(_, state)| state.as_ref().map_or("waiting", |state| state_name(*state)));
        let worst = names.filter_map(|name| order.iter().position(|one| *one == name)).min();
        let worst = worst.map_or("waiting", |place| order[place]);
        let help = match worst {
            "sent" => {
                "a peer has it, and none was heard of it: it may not be valid, or pay too little; peers do not say which. It \
                 is kept, and goes on with the next broadcast or sync"
            }
            "seen" => {
                "it spreads, and is in no block yet; it is kept, and goes on with the next broadcast or sync"
            }
            _ => {
                "nobody has asked for it: peers that have it already do not, nor those that are syncing; it is kept, and goes \
                 on with the next broadcast or sync"
            }
        };
        (format!("it is {worst}"), help)
    }
}

impl Broadcast {
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

    fn result(&self, time: Duration) -> Value {
        let transactions = self.states.iter().map(|(txid, state)| {
            let mut object = state.map_or_else(|| json!({"state": "waiting"}), broadcast_state);
            object["txid"] = txid.to_string().into();
            object
        });
        let transactions: Vec<_> = transactions.collect();
        json!({"event": "broadcasts", "transactions": transactions, "seconds": time.as_secs_f64()})
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
