//! The application: it believes what it is told, and says at once what can't be so.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

use andon_bitcoin::addresses::Subnet;
use andon_bitcoin::client::{
    Answer, BlockId, Command, Endpoint, Event, PeerPurpose, Reason, RequestId, Touch, TouchKind,
    TransportVersion,
};
use andon_bitcoin::wire::Host;
use andon_kernel::{Disconnect, Now};
use bitcoin::{BlockHash, OutPoint, ScriptBuf};

use super::failure::{Fault, Kind};
use super::sabotage::{Sabotage, Saboteur};
use super::seen::{Seen, Sight};
use crate::chain::{Finding, History, Mined, Watched};
use crate::world::{Digest, Room, Watch};

/// What the client's application knows and wants. It outlives the client's process as a wallet's own file does.
#[derive(Debug)]
pub(super) struct Wallet {
    /// What has been told and not been taken in yet.
    queue: VecDeque<Event>,
    room: usize,
    saboteur: Saboteur,
    /// Whether it takes no events for now.
    pub(super) is_stalled: bool,
    acknowledges: bool,
    /// What it was told and what has not been taken back.
    standing: BTreeMap<Finding, Touch>,
    /// The same as of the last mark, and that.
    kept: (u64, BTreeMap<Finding, Touch>),
    /// What it had been told and not kept when it crashed.
    lost: BTreeSet<Finding>,
    /// What is to be acknowledged.
    pub(super) mark: Option<u64>,
    /// What it wants to be watched, and what it ever wanted.
    pub(super) watched: Watched,
    pub(super) ever: (BTreeSet<ScriptBuf>, BTreeSet<OutPoint>),
    /// Questions that are open, and how many there were.
    requests: BTreeMap<RequestId, Asked>,
    asked: u64,
    /// Searches for spendings that are open.
    searches: BTreeMap<OutPoint, u32>,
    /// The last block up to which everything is said to be known.
    pub(super) synced: Option<BlockHash>,
    /// How many have been told since somebody looked.
    pub(super) told: usize,
    pub(super) seen: Seen,
    /// Takes in all that is told of findings.
    pub(super) digest: Digest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Block(u32),
    Filters(u32),
}

/// What the application's judge knows of the world.
pub(super) struct Judge<'a> {
    pub(super) history: &'a History,
    /// Honest nodes by address and by name.
    pub(super) honest: &'a BTreeSet<SocketAddr>,
    pub(super) honest_names: &'a BTreeSet<String>,
    /// Whether some liar makes blocks of its own: then what is told of unknown blocks may be told, if it is taken back.
    pub(super) is_mined_elsewhere: bool,
}

impl Wallet {
    pub(super) fn new(room: usize, acknowledges: bool, sabotage: Option<Sabotage>) -> Self {
        Self {
            queue: VecDeque::new(),
            room: room.max(1),
            saboteur: Saboteur::new(sabotage),
            is_stalled: false,
            acknowledges,
            standing: BTreeMap::new(),
            kept: (0, BTreeMap::new()),
            lost: BTreeSet::new(),
            mark: None,
            watched: Watched::default(),
            ever: Default::default(),
            requests: BTreeMap::new(),
            asked: 0,
            searches: BTreeMap::new(),
            synced: None,
            told: 0,
            seen: Seen::default(),
            digest: Digest::default(),
        }
    }

    /// What it holds to be true.
    pub(super) fn findings(&self) -> BTreeSet<Finding> {
        self.standing.keys().copied().collect()
    }

    /// What it was told last, and has not looked at.
    pub(super) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// What it was told in the last turn, as far as it was given it.
    pub(super) fn news(&self) -> impl Iterator<Item = &Event> {
        self.queue.iter().skip(self.queue.len().saturating_sub(self.told))
    }

    /// Questions and searches that are open.
    pub(super) fn open(&self) -> usize {
        self.requests.len() + self.searches.len()
    }

    /// Its process ends, with the client's. Gives up to where it has kept what it was told.
    pub(super) fn crash(&mut self) {
        let queue = core::mem::take(&mut self.queue);
        self.requests.clear();
        self.searches.clear();
        self.mark = None;
        self.synced = None;
        self.is_stalled = false;
        if self.acknowledges {
            let before = core::mem::replace(&mut self.standing, self.kept.1.clone());
            let heard = before.into_keys().filter(|finding| !self.standing.contains_key(finding));
            let told = queue.into_iter().filter_map(|event| match event {
                Event::Touched(touch) => Some((touch.block.height, touch.txid, touch.kind)),
                _ => None,
            });
            self.lost = heard.chain(told).collect();
        }
    }

    /// What it says to a client that has just started.
    pub(super) fn greeting(&self, height: u32) -> Vec<Command> {
        use andon_bitcoin::client::{Birthday, WatchedOutput};
        let mut commands = Vec::new();
        if self.acknowledges && self.kept.0 > 0 {
            commands.push(Command::Acknowledge(self.kept.0));
        }
        if self.ever.0.is_empty() && self.ever.1.is_empty() {
            return commands;
        }
        let scripts = self.watched.scripts.keys().cloned().collect();
        // What is watched already from below is not touched by this.
        commands.push(Command::WatchOnly { scripts, from: Birthday::Height(height + 1) });
        for (script, from) in &self.watched.scripts {
            let from = Birthday::Height(*from);
            commands.push(Command::Watch { scripts: vec![script.clone()], from });
        }
        let gone = self.ever.1.iter().filter(|outpoint| !self.watched.outputs.contains_key(outpoint));
        let outputs: Vec<OutPoint> = gone.copied().collect();
        if !outputs.is_empty() {
            commands.push(Command::Unwatch { scripts: vec![], outputs });
        }
        for (outpoint, (script, from)) in &self.watched.outputs {
            let output = WatchedOutput { outpoint: *outpoint, script: script.clone(), amount: None };
            commands.push(Command::WatchOutputs { outputs: vec![output], from: Birthday::Height(*from) });
        }
        commands
    }

    /// Asks for a block.
    pub(super) fn ask_block(&mut self, height: u32, within: core::time::Duration) -> Command {
        use andon_bitcoin::client::HeaderQuery;
        let command = Command::FetchBlock(HeaderQuery::Height(height));
        self.request(Asked::Block(height), command, within)
    }

    /// Asks for filters.
    pub(super) fn ask_filters(&mut self, from: u32, within: core::time::Duration) -> Command {
        self.request(Asked::Filters(from), Command::FetchFilters { from, count: 20 }, within)
    }

    fn request(&mut self, asked: Asked, command: Command, within: core::time::Duration) -> Command {
        let id = RequestId(self.asked);
        self.asked += 1;
        self.requests.insert(id, asked);
        Command::Request { id, command: Box::new(command), within: Some(within) }
    }

    /// Searches for what spends an output.
    pub(super) fn search(&mut self, outpoint: OutPoint, script: ScriptBuf, height: u32) -> Command {
        *self.searches.entry(outpoint).or_default() += 1;
        Command::FindSpend { outpoint, script, from: andon_bitcoin::client::Birthday::Height(height) }
    }

    /// Takes in what it has been told, and judges it.
    pub(super) fn take(&mut self, judge: &Judge<'_>) -> Result<(), Fault> {
        if self.queue.len() >= self.room {
            self.seen.note(Sight::Full);
        }
        if self.is_stalled {
            return Ok(());
        }
        while let Some(event) = self.queue.pop_front() {
            self.hear(event, judge)?;
        }
        Ok(())
    }

    fn hear(&mut self, event: Event, judge: &Judge<'_>) -> Result<(), Fault> {
        match event {
            Event::Started { tip, .. } => {
                if !self.acknowledges {
                    self.standing.clear();
                }
                judge.block("it starts with", tip)?;
            }
            Event::Failed(failure) => return Err(Fault::new(Kind::GaveUp, failure.to_string())),
            Event::Repaired { what, .. } => return Err(Fault::new(Kind::GaveUp, what)),
            Event::Touched(touch) => self.touched(touch, judge)?,
            Event::TakenBack(touch) => self.taken_back(&touch)?,
            Event::Mark(number) => {
                if number <= self.kept.0 {
                    let message = format!("mark {number}, after {} was acknowledged", self.kept.0);
                    return Err(Fault::new(Kind::Repeated, message));
                }
                self.kept = (number, self.standing.clone());
                self.mark = Some(number);
            }
            Event::Checked(block) => judge.block("it has checked", block)?,
            Event::Synced(block) => {
                judge.block("it is synced to", block)?;
                self.synced = Some(block.hash);
            }
            Event::Reorganised { new_tip, .. } => {
                self.seen.note(Sight::Reorganisation);
                judge.block("it switches to", new_tip)?;
                self.synced = None;
            }
            Event::Rescan { .. } => {
                self.seen.note(Sight::Rescan);
                self.synced = None;
            }
            Event::PeerConnected { purpose, transport, endpoint, .. } => {
                self.seen.note(match transport {
                    TransportVersion::V2 => Sight::Encrypted,
                    TransportVersion::V1 => Sight::Unencrypted,
                });
                if matches!(endpoint, Endpoint::Host { .. }) {
                    self.seen.note(Sight::Named);
                }
                if purpose == PeerPurpose::Found {
                    self.seen.note(Sight::Discovered);
                }
            }
            Event::PeerDisconnected { endpoint, reason, .. } => self.gone(&endpoint, &reason, judge)?,
            Event::FalseFilter { endpoint, block, .. } => {
                self.seen.note(Sight::FalseFilter);
                self.seen.note(Sight::Dispute);
                if judge.is_honest(&endpoint) {
                    let message = format!("{endpoint} is said to vouch for a false filter of {block:?}");
                    return Err(Fault::new(Kind::Accused, message));
                }
            }
            Event::Banned { subnet, .. } => {
                if judge.has_honest(&subnet) {
                    return Err(Fault::new(Kind::Accused, format!("{subnet} is banned")));
                }
                self.seen.note(Sight::LiarBanned);
            }
            Event::PeerWithholds { .. } => self.seen.note(Sight::Withheld),
            Event::FilterLeftOut { .. } => self.seen.note(Sight::LeftOut),
            Event::FilterHeadersDisputed { .. } => self.seen.note(Sight::Dispute),
            Event::FilterHeadersReplaced { .. } => {
                self.seen.note(Sight::Replaced);
                self.synced = None;
            }
            Event::StaleTip { .. } => self.seen.note(Sight::StaleTip),
            Event::Paused { .. } => self.seen.note(Sight::Paused),
            Event::SpendSearched { outpoint, spend, .. } => {
                self.seen.note(Sight::SpendSearched);
                let open = self.searches.get_mut(&outpoint).filter(|open| **open > 0);
                let Some(open) = open else {
                    let message = format!("what spends {outpoint} is told, and nobody waits for it");
                    return Err(Fault::new(Kind::Unanswered, message));
                };
                *open -= 1;
                self.searches.retain(|_, open| *open > 0);
                if let Some(spend) = spend {
                    let input = spend.transaction.input.get(spend.input as usize);
                    if input.is_none_or(|input| input.previous_output != outpoint) {
                        let message = format!("{spend:?} is said to spend {outpoint}");
                        return Err(Fault::new(Kind::Unanswered, message));
                    }
                    let txid = spend.transaction.compute_txid();
                    if let Some(mined) = judge.block_of("spends in", spend.block)?
                        && !mined.txids.contains(&txid)
                    {
                        let message = format!("{txid} is said to be in {:?}", spend.block);
                        return Err(Fault::new(Kind::Invented, message));
                    }
                }
            }
            Event::Answered { id, answer } => self.answered(id, answer, judge)?,
            _ => {}
        }
        Ok(())
    }

    fn touched(&mut self, touch: Touch, judge: &Judge<'_>) -> Result<(), Fault> {
        let finding = (touch.block.height, touch.txid, touch.kind);
        self.digest.absorb_bytes(touch.txid.as_ref());
        self.seen.note(match touch.kind {
            TouchKind::Received { .. } => Sight::Payment,
            TouchKind::Spent { .. } => Sight::Spending,
        });
        if self.acknowledges && self.lost.remove(&finding) {
            self.seen.note(Sight::ToldAgain);
        }
        if let Some(mined) = judge.block_of("there is something in", touch.block)?
            && let Err(message) = is_there(mined, &touch)
        {
            return Err(Fault::new(Kind::Invented, format!("{touch:?}: {message}")));
        }
        let is_output = match touch.kind {
            TouchKind::Spent { outpoint, .. } => self.ever.1.contains(&outpoint),
            TouchKind::Received { .. } => false,
        };
        if !is_output && !self.ever.0.contains(&touch.script) {
            return Err(Fault::new(Kind::Invented, format!("{touch:?} touches nothing that was watched")));
        }
        match self.standing.insert(finding, touch) {
            None => Ok(()),
            Some(before) => Err(Fault::new(Kind::Repeated, format!("{before:?}"))),
        }
    }

    fn taken_back(&mut self, touch: &Touch) -> Result<(), Fault> {
        self.seen.note(Sight::TakenBack);
        self.digest.absorb(1);
        self.digest.absorb_bytes(touch.txid.as_ref());
        let finding = (touch.block.height, touch.txid, touch.kind);
        match self.standing.remove(&finding) {
            Some(standing) if standing == *touch => Ok(()),
            Some(standing) => {
                Err(Fault::new(Kind::NeverTold, format!("{touch:?}, and what was told was {standing:?}")))
            }
            None => Err(Fault::new(Kind::NeverTold, format!("{touch:?}"))),
        }
    }

    fn gone(&mut self, endpoint: &Endpoint, reason: &Reason, judge: &Judge<'_>) -> Result<(), Fault> {
        match reason {
            Reason::Misbehaved(_) | Reason::Banned | Reason::OtherChain if judge.is_honest(endpoint) => {
                return Err(Fault::new(Kind::Accused, format!("{endpoint}: {reason}")));
            }
            Reason::Misbehaved(_) => self.seen.note(Sight::LiarCaught),
            Reason::Unresolved => self.seen.note(Sight::NoName),
            Reason::Tested => self.seen.note(Sight::Feeler),
            Reason::Connection(Disconnect::Refused | Disconnect::TimedOut) => {
                self.seen.note(Sight::DialFailed);
            }
            _ => {}
        }
        Ok(())
    }

    fn answered(&mut self, id: RequestId, answer: Answer, judge: &Judge<'_>) -> Result<(), Fault> {
        let Some(asked) = self.requests.remove(&id) else {
            let message = format!("{id:?} is answered, and was not asked or was answered: {answer:?}");
            return Err(Fault::new(Kind::Unanswered, message));
        };
        let event = match answer {
            Answer::Event(event) => event,
            Answer::TimedOut => {
                self.seen.note(Sight::TimedOut);
                return Ok(());
            }
            other => {
                let message = format!("{id:?} is answered by {other:?}");
                return Err(Fault::new(Kind::Unanswered, message));
            }
        };
        match (asked, *event) {
            (Asked::Block(height), Event::Block { found, .. }) => {
                self.seen.note(Sight::Fetched);
                let Some((id, block)) = found else { return Ok(()) };
                let known = judge.block_of("it has fetched", id)?;
                if id.height != height || known.is_some_and(|known| known.block != block) {
                    return Err(Fault::new(Kind::Unanswered, format!("block {height} is said to be {id:?}")));
                }
            }
            (Asked::Filters(_), Event::Filters { filters, .. }) => {
                self.seen.note(Sight::Filters);
                for filter in filters {
                    judge.block("it has a filter of", filter.block)?;
                }
            }
            (asked, event) => {
                let message = format!("{asked:?} is answered by {event:?}");
                return Err(Fault::new(Kind::Unanswered, message));
            }
        }
        Ok(())
    }
}

impl Watch<Event> for Wallet {
    fn event(&mut self, _: Now, event: Event) {
        self.told += 1;
        self.saboteur.tamper(event, &mut self.queue);
    }

    fn room(&self) -> Room {
        if self.queue.len() < self.room {
            Room::Open
        } else if self.queue.len() < 2 * self.room {
            Room::Full
        } else {
            Room::Overfull
        }
    }
}

impl<'a> Judge<'a> {
    /// A block that the client speaks of is in some honest chain, or was.
    fn block(&self, what: &str, block: BlockId) -> Result<(), Fault> {
        self.block_of(what, block).map(|_| ())
    }

    fn block_of(&self, what: &str, block: BlockId) -> Result<Option<&'a Mined>, Fault> {
        match self.history.find(&block.hash) {
            Some((height, mined)) if height == block.height => Ok(Some(mined)),
            Some((height, _)) => {
                let message = format!("{what} {block:?}, which is at height {height}");
                Err(Fault::new(Kind::Invented, message))
            }
            None if self.is_mined_elsewhere => Ok(None),
            None => Err(Fault::new(Kind::Invented, format!("{what} {block:?}, which nobody has made"))),
        }
    }

    fn is_honest(&self, endpoint: &Endpoint) -> bool {
        match endpoint {
            Endpoint::Address(address) => self.honest.contains(address),
            Endpoint::Host { name, .. } => self.honest_names.contains(name),
        }
    }

    fn has_honest(&self, subnet: &Subnet) -> bool {
        self.honest.iter().any(|address| subnet.contains(&Host::Ip(address.ip())))
    }
}

/// Whether a block has what is said of it.
fn is_there(mined: &Mined, touch: &Touch) -> Result<(), &'static str> {
    let at = mined.txids.iter().position(|txid| *txid == touch.txid).ok_or("no such transaction")?;
    let transaction = &mined.block.txdata[at];
    let paid = match touch.kind {
        TouchKind::Received { output } => transaction.output.get(output as usize).ok_or("no such output")?,
        TouchKind::Spent { input, outpoint } => {
            let input = input as usize;
            let spent = transaction.input.get(input).ok_or("no such input")?;
            if spent.previous_output != outpoint {
                return Err("it spends another output");
            }
            mined.spends[at].get(input).ok_or("a coinbase spends nothing")?
        }
    };
    if paid.script_pubkey != touch.script {
        return Err("it has another script");
    }
    match (touch.amount, touch.kind) {
        (Some(amount), _) if amount == paid.value => Ok(()),
        (None, TouchKind::Spent { .. }) => Ok(()),
        _ => Err("it has another amount"),
    }
}
