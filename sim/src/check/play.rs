//! Plays a scenario, and asks after each step what must never be so.

use core::cell::Cell;
use core::fmt::{self, Write};
use core::time::Duration;
use std::cell::RefCell;
use std::rc::Rc;

use andon_kernel::Store;

use super::explain::{Cause, Explaining, Listening};
use super::failure::{Failure, Fault, Kind};
use super::quiet;
use super::sabotage::Sabotage;
use super::scenario::Scenario;
use super::seen::{Seen, Sight};
use super::stage::Stage;
use crate::chain::{Truth, Watched};
use crate::world::{Counts, Digest, NodeId, Step, Time, Trace};

/// How a scenario is played.
#[derive(Default)]
pub struct Options<'a> {
    /// What the client does wrong on purpose.
    pub sabotage: Option<Sabotage>,
    /// When to stop looking; none: at the end.
    pub until: Option<Until>,
    /// Of which peer it is to be told how it came to be dialled.
    pub explains: Option<u8>,
    /// Who looks, once it is known what nodes are called.
    pub watcher: Option<Watcher<'a>>,
}

/// Makes one who looks at a run; it is told what nodes are called.
pub type Watcher<'a> = &'a mut dyn FnMut(std::collections::BTreeMap<NodeId, String>) -> Box<dyn Trace>;

/// Where to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// At a time.
    Time(Time),
    /// After so many turns of nodes.
    Turn(u64),
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What went wrong, if anything did.
    pub failure: Option<Failure>,
    /// Of everything that happened in it.
    pub digest: u64,
    /// What it has come to.
    pub seen: Seen,
    /// Turns of all nodes.
    pub turns: u64,
    /// How long it was.
    pub time: Time,
    /// How long it took the client, after the faults, to know what is true. None: it did not come to that.
    pub settled: Option<Duration>,
    /// The size of the client's own description, at the end: all that it holds in memory is in it.
    pub held: usize,
    /// What has happened in the world.
    pub counts: Counts,
    /// How the peer came to be dialled that was asked about.
    pub causes: Vec<Cause>,
}

impl fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("sabotage", &self.sabotage)
            .field("until", &self.until)
            .finish_non_exhaustive()
    }
}

/// Turns of a client within a second, at most: more, and it goes round in circles.
const TURNS: u64 = 50_000;
/// What may wait for the store.
const REQUESTS: usize = 5000;
/// What one turn may tell.
const EVENTS: usize = 20_000;
/// Commands that wait, beyond those that a start gives at once.
const COMMANDS: usize = 500;
/// What a client's description may have, and what more for each block of the chain.
const HELD: usize = 400_000;
/// The same, where somebody lies: branches, and addresses of nodes that there are not.
const HELD_OF_LIES: usize = 20_000_000;
/// See [`HELD`].
const HELD_PER_BLOCK: usize = 2000;
/// How long it takes from a block to the next, where more are needed.
const BETWEEN_BLOCKS: Duration = Duration::from_secs(600);
/// How long the client is looked at when everything is quiet.
const QUIET: Duration = Duration::from_secs(150);

/// Plays a scenario.
///
/// # Panics
/// If the scenario is [not a sound one](super::file::check).
pub fn run(scenario: &Scenario, options: Options<'_>) -> Outcome {
    let mut stage = Stage::new(scenario, options.sabotage);
    let other = options.watcher.map(|watcher| watcher(stage.names()));
    let explaining = options.explains.and_then(|number| stage.explaining(number));
    stage.world.set_trace(match &explaining {
        Some(explaining) => Some(Box::new(Listening { explaining: explaining.clone(), other })),
        None => other,
    });
    let (turns, time) = (Cell::new(0), Cell::new(Time::ZERO));
    let mut play = Play {
        stage: &mut stage,
        scenario,
        until: options.until,
        turns: &turns,
        time: &time,
        explaining: explaining.clone(),
        second: (0, 0),
        settled: None,
        held: 0,
        has_news: false,
    };
    let played = quiet::caught(|| play.play());
    let (settled, held) = (play.settled, play.held);
    let failure = match played {
        Ok(Ok(()) | Err(End::Stopped)) => None,
        Ok(Err(End::Fault(fault))) => Some(fault),
        Err(said) => Some(Fault::new(Kind::Panic, said)),
    };
    let failure =
        failure.map(|Fault { kind, message }| Failure { kind, message, at: time.get(), turn: turns.get() });
    let mut digest = Digest::default();
    digest.absorb(stage.world.digest());
    let mut seen = stage.seen;
    if let Some(client) = stage.client() {
        digest.absorb(client.host.watch.digest.value());
        seen.add(client.host.watch.seen);
    }
    digest.absorb(seen.bits());
    if let Some(failure) = &failure {
        digest.absorb_bytes(failure.to_string().as_bytes());
    }
    Outcome {
        failure,
        digest: digest.value(),
        seen,
        turns: turns.get(),
        time: time.get(),
        settled,
        held,
        counts: stage.world.counts(),
        causes: explaining.map(|explaining| explaining.borrow_mut().take()).unwrap_or_default(),
    }
}

struct Play<'a> {
    stage: &'a mut Stage,
    scenario: &'a Scenario,
    until: Option<Until>,
    turns: &'a Cell<u64>,
    time: &'a Cell<Time>,
    explaining: Option<Rc<RefCell<Explaining>>>,
    /// Which one it is, and how many turns the client has had in it.
    second: (u64, u64),
    settled: Option<Duration>,
    /// How long the client's description was in the end.
    held: usize,
    /// Whether the application has been told anything.
    has_news: bool,
}

enum End {
    Fault(Fault),
    /// Nobody wants to see more.
    Stopped,
}

impl From<Fault> for End {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl Play<'_> {
    fn play(&mut self) -> Result<(), End> {
        for happening in &self.scenario.events {
            self.run_until(millis(happening.at.min(self.scenario.ends)))?;
            self.stage.happen(&happening.what);
            self.look()?;
        }
        self.run_until(millis(self.scenario.ends))?;
        self.stage.end_faults();
        self.look()?;
        self.settle()?;
        Ok(())
    }

    /// Runs until a time; what ends on the way ends.
    fn run_until(&mut self, limit: Time) -> Result<(), End> {
        loop {
            let due = self.stage.next_due().filter(|due| *due <= limit);
            while let Some(step) = self.stage.world.step(due.unwrap_or(limit)) {
                self.stepped(step)?;
            }
            if due.is_none() {
                return Ok(());
            }
            self.stage.end_due();
            self.look()?;
        }
    }

    fn stepped(&mut self, step: Step) -> Result<(), End> {
        self.turns.set(self.stage.world.counts().events);
        self.time.set(self.stage.world.now());
        if step == Step::Turn(self.stage.client) {
            let second = self.stage.world.now().as_secs();
            self.second = if self.second.0 == second { (second, self.second.1 + 1) } else { (second, 1) };
            if self.second.1 > TURNS {
                let message = format!("{TURNS} turns of the client in one second");
                return Err(Fault::new(Kind::Unbounded, message).into());
            }
            self.look()?;
        }
        match self.until {
            Some(Until::Time(until)) if self.stage.world.now() >= until => Err(End::Stopped),
            Some(Until::Turn(until)) if self.turns.get() >= until => Err(End::Stopped),
            _ => Ok(()),
        }
    }

    /// Asks what must never be so.
    fn look(&mut self) -> Result<(), End> {
        if let Some(explaining) = &self.explaining {
            explaining.borrow_mut().look(self.stage.world.now(), self.stage.watched());
        }
        self.stage.judge()?;
        let most = self.stage.most_connections();
        let client = self.stage.watched_mut();
        let told = core::mem::take(&mut client.host.watch.told);
        self.has_news |= told > 0;
        let counts = [
            ("connections", client.connections, most),
            ("events of one turn", told, EVENTS),
            ("requests that wait for the store", client.host.store().outstanding(), REQUESTS),
            ("commands that wait", client.host.waiting(), COMMANDS),
            ("events that wait", client.host.watch.waiting(), 3 * EVENTS),
        ];
        if client.host.store().is_congested() {
            client.host.watch.seen.note(Sight::Congested);
        }
        for (what, count, most) in counts {
            if count > most {
                return Err(Fault::new(Kind::Unbounded, format!("{count} {what}; {most} at most")).into());
            }
        }
        Ok(())
    }

    /// The client comes to know exactly what is true.
    fn settle(&mut self) -> Result<(), End> {
        let begin = self.stage.world.now();
        let limit = begin + Duration::from_secs(self.scenario.within);
        let watched = self.stage.wallet().watched.clone();
        let mut truth = Truth::of(self.stage.history.best(), &watched);
        // Where liars make blocks with as much work as the best chain has, nobody can say which came first, until the next one comes.
        let mut next = if self.stage.is_mined_elsewhere() { begin + BETWEEN_BLOCKS } else { Time::NEVER };
        let mut more = 0;
        self.has_news = true;
        while !core::mem::take(&mut self.has_news) || self.wrong(&truth, &watched).is_some() {
            if let Some(step) = self.stage.world.step(limit.min(next)) {
                self.stepped(step)?;
                continue;
            }
            if next < limit {
                more += 1;
                next = next + BETWEEN_BLOCKS;
                self.stage.grow(more);
                truth = Truth::of(self.stage.history.best(), &watched);
                self.look()?;
                continue;
            }
            let Some(fault) = self.wrong(&truth, &watched) else { break };
            return Err(fault.into());
        }
        self.settled = Some(self.stage.world.now() - begin);
        let quiet = self.stage.world.now() + QUIET;
        self.run_until(quiet)?;
        if let Some(Fault { kind, message }) = self.wrong(&truth, &watched) {
            return Err(Fault::new(kind, format!("all was well, and then: {message}")).into());
        }
        let held = size_of_description(self.stage.watched().host.machine());
        let lies = self.scenario.peers.iter().any(|peer| peer.lie.is_some());
        let most = if lies { HELD_OF_LIES } else { HELD } + HELD_PER_BLOCK * self.stage.history.best().len();
        self.held = held;
        if held > most {
            let message = format!("the client's description has {held} bytes; {most} at most");
            return Err(Fault::new(Kind::Unbounded, message).into());
        }
        Ok(())
    }

    /// What is not as it should be in the end.
    fn wrong(&self, truth: &Truth, watched: &Watched) -> Option<Fault> {
        let wallet = self.stage.wallet();
        let watches = !watched.scripts.is_empty() || !watched.outputs.is_empty();
        let tip = self.stage.history.tip();
        if watches && wallet.synced != Some(tip) {
            let message = format!(
                "it is synced to {:?}, and the best block is {tip} at height {}",
                wallet.synced,
                self.stage.history.height()
            );
            return Some(Fault::new(Kind::Stuck, message));
        }
        let findings = wallet.findings();
        if let Some(missed) = truth.found.difference(&findings).next() {
            return Some(Fault::new(Kind::Missed, format!("{missed:?}")));
        }
        let is_true = |finding| truth.found.contains(finding) || truth.possible.contains(finding);
        if let Some(wrong) = findings.iter().find(|finding| !is_true(finding)) {
            return Some(Fault::new(Kind::Wrong, format!("{wrong:?}")));
        }
        (wallet.open() > 0)
            .then(|| Fault::new(Kind::Unanswered, format!("{} questions are not answered", wallet.open())))
    }
}

const fn millis(millis: u64) -> Time {
    Time::from_nanos(millis.saturating_mul(1_000_000))
}

/// How long a thing's description is: what it holds in maps, lists and texts is all in it, whatever it is.
fn size_of_description(thing: &impl fmt::Debug) -> usize {
    struct Count(usize);
    impl Write for Count {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0 += text.len();
            Ok(())
        }
    }
    let mut count = Count(0);
    // Counting never fails.
    let _ = write!(count, "{thing:?}");
    count.0
}
