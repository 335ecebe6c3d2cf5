//! An attack on one victim, at the level of books: nobody sends a byte, dials come to something or not.

use std::time::Duration;

use andon_kernel::{Instant, Now, UnixTime};

use super::people::{Living, adversary, age, honest, is_adversary, is_trash, trash};
use super::settings::{Adversary, Pace, Population, Settings, Span};
use crate::experiment::{Measure, Model, Outcome, Sample};
use crate::policy::{Make, Policy, Purpose, Saved, Source, Step, Told};
use crate::random::{Chance, Stream, mix};

/// When trials begin, in Unix seconds: after the paper's experiments. No rule depends on it.
const BEGIN: u64 = 1_420_000_000;
/// Nodes that are put up for each one that a book is to have, at most: a table's last places are hard to fill.
const TRIES_PER_NODE: usize = 60;
/// How long the victim runs before the attack, at most, in seconds.
const BEFORE: u64 = 60 * 60;
/// Nodes that a book is to have at most: several times as many as the largest has places.
const MOST_NODES: usize = 1 << 20;
/// How often series are looked at, at most: every sample is kept until the trial's end.
const MOST_SAMPLES: u64 = 100_000;
/// Addresses in a message.
const MESSAGE_SIZE: u32 = 1000;
/// A dial that somebody answers takes as long.
const HANDSHAKE: Duration = Duration::from_secs(1);

/// An attack on one victim.
pub struct Attack {
    settings: Settings,
    make: Make,
    live: [Chance; 2],
    series: Vec<&'static str>,
}

/// What can be looked at over time.
const SERIES: [&str; 6] =
    ["tried.total", "tried.attacker", "new.total", "new.attacker", "outgoing.total", "outgoing.attacker"];

impl Attack {
    /// Checks settings.
    ///
    /// # Errors
    /// If they can't be met, with what is wrong.
    pub fn new(settings: Settings) -> Result<Self, String> {
        let [victim] = &settings.node[..] else { return Err("node: there is one victim".into()) };
        let make = crate::policy::load(&victim.policy, victim.flags.clone())?;
        let share = |population: &Population, name| {
            Chance::new(population.live).ok_or_else(|| format!("world.{name}.live: a share from 0 to 1"))
        };
        let live = [share(&settings.world.honest, "honest")?, share(&settings.world.new, "new")?];
        for (population, name) in [(&settings.world.honest, "honest"), (&settings.world.new, "new")] {
            if population.count > MOST_NODES {
                return Err(format!("world.{name}.count: up to {MOST_NODES} nodes"));
            }
        }
        if settings.adversary.len() > 1 {
            return Err("adversary: there is one at most".into());
        }
        for adversary in &settings.adversary {
            let has_room = (1..=1 << 14).contains(&adversary.groups)
                && (1..=1 << 16).contains(&adversary.per_group)
                && adversary.round.0 > 0;
            if !has_room {
                return Err("adversary: up to 16384 groups of up to 65536, and rounds that take time".into());
            }
            if let Some(trash) = &adversary.trash_addr
                && (trash.source_groups == 0 || trash.source_groups > adversary.groups || trash.within.0 == 0)
            {
                return Err(
                    "adversary.trash_addr: told by some of the attacker's groups, in some time".into()
                );
            }
            if let Some(trash) = &adversary.trash_addr
                && !(1..=MESSAGE_SIZE).contains(&trash.per_msg)
            {
                return Err(format!("adversary.trash_addr.per_msg: 1 to {MESSAGE_SIZE} addresses"));
            }
        }
        if settings.event.iter().any(|event| event.at > settings.time.horizon) {
            return Err("event: nothing happens after the horizon".into());
        }
        let named = |name: &String| {
            let known = SERIES.into_iter().find(|known| known == name);
            known.ok_or_else(|| format!("measure.series: \"{name}\" is none of {SERIES:?}"))
        };
        let series: Vec<_> = settings.measure.series.iter().map(named).collect::<Result<_, _>>()?;
        if series.iter().enumerate().any(|(at, name)| series[..at].contains(name)) {
            return Err("measure.series: each is looked at once".into());
        }
        let every = settings.measure.every.0;
        if !series.is_empty() && (every == 0 || settings.time.horizon.0 / every > MOST_SAMPLES) {
            return Err(format!(
                "measure.every: how often the series are looked at, up to {MOST_SAMPLES} times"
            ));
        }
        Ok(Self { settings, make, live, series })
    }
}

impl Model for Attack {
    fn trial(&self, seed: u64) -> Outcome {
        let mut trial = Trial::new(self, &Stream::new(seed));
        trial.fill();
        trial.warm_up();
        trial.attack();
        trial.outcome()
    }
}

/// A dial under way.
struct Dialled {
    until: Instant,
    address: crate::policy::Address,
    purpose: Purpose,
    is_answered: bool,
}

struct Trial<'a> {
    model: &'a Attack,
    victim: Box<dyn Policy>,
    stream: Stream,
    living: Living,
    key: u32,
    now: Instant,
    /// When the attack began.
    begin: Instant,
    dialled: Vec<Dialled>,
    /// When the victim is to be asked for its next step.
    wake: Option<Instant>,
    timeout: Duration,
    dials: i64,
    samples: Vec<Sample>,
    digest: u64,
}

impl<'a> Trial<'a> {
    fn new(model: &'a Attack, root: &Stream) -> Self {
        let mut stream = root.fork("world");
        Self {
            model,
            victim: (model.make)(&root.fork("victim")),
            living: Living::new(model.live[0], model.live[1], &mut stream),
            key: stream.below(1 << 14) as u32,
            stream,
            now: Instant::ZERO,
            begin: Instant::ZERO,
            dialled: Vec::new(),
            wake: None,
            timeout: Duration::ZERO,
            dials: 0,
            samples: Vec::new(),
            digest: 0,
        }
    }

    const fn now(&self) -> Now {
        Now { instant: self.now, unix: UnixTime::from_secs(BEGIN + self.now.as_micros() / 1_000_000) }
    }

    fn note(&mut self, what: u64) {
        self.digest = mix(self.digest.rotate_left(5) ^ what);
    }

    /// Puts into the victim's book whom it knows.
    fn fill(&mut self) {
        let world = &self.model.settings.world;
        for (population, is_tried) in [(&world.new, false), (&world.honest, true)] {
            let (mut missing, mut left) = (population.count, population.count * TRIES_PER_NODE);
            let mut batch = Vec::new();
            while missing > 0 && left > 0 {
                batch.clear();
                // More than are missing would be too many if all found a place.
                let size = missing.min(left);
                batch.extend((0..size).map(|_| {
                    let address = honest(is_tried, &mut self.stream);
                    let time = BEGIN as u32 - age(population.ages, &mut self.stream);
                    let source = Source::Peer(honest(false, &mut self.stream));
                    Saved { address, source, time, reached: is_tried.then_some(time) }
                }));
                let loaded = self.victim.load(self.now(), &batch);
                missing -= loaded.min(missing);
                left -= size;
            }
        }
    }

    /// Lets the victim connect, for which a dial takes no time, and go on for any part of an hour. So the attack ends at any
    /// moment of what the victim does at regular times: how lately it has noted that its peers are there.
    fn warm_up(&mut self) {
        self.victim.start(self.now());
        self.wake = Some(self.now);
        let end = self.now + Duration::from_secs(self.model.settings.time.settle.0);
        self.settle(end);
        let before = Duration::from_secs(self.stream.below(BEFORE));
        self.wait(self.now + before);
        self.begin = self.now;
        self.timeout = Duration::from_secs(self.model.settings.time.timeout.0);
    }

    /// Goes on until the victim has the connections that it wants, up to an instant.
    fn settle(&mut self, end: Instant) {
        let wanted = self.victim.wanted().unwrap_or(usize::MAX);
        loop {
            self.ask();
            if self.victim.outgoing().len() >= wanted {
                return;
            }
            let Some(next) = self.due().filter(|&due| due <= end) else {
                self.now = end.max(self.now);
                return;
            };
            self.now = next.max(self.now);
            self.answer();
        }
    }

    /// Lets time go by.
    fn wait(&mut self, end: Instant) {
        loop {
            self.ask();
            let Some(next) = self.due().filter(|&due| due <= end) else { break };
            self.now = next.max(self.now);
            self.answer();
        }
        self.now = end;
    }

    /// The rounds of the attack, and what happens meanwhile.
    fn attack(&mut self) {
        let (settings, begin) = (&self.model.settings, self.begin);
        let horizon = Duration::from_secs(settings.time.horizon.0);
        let end = self.begin + horizon;
        let mut restarts: Vec<Span> = settings.event.iter().map(|event| event.at).collect();
        restarts.sort_unstable();
        let mut restarts = restarts.into_iter().map(|at| begin + Duration::from_secs(at.0)).peekable();
        let mut script =
            settings.adversary.first().map(|adversary| Script::new(adversary, self.begin, horizon));
        let every = Duration::from_secs(settings.measure.every.0);
        let mut sample = (!self.model.series.is_empty()).then_some(self.begin);
        loop {
            let attack = script.as_ref().and_then(Script::due).filter(|&due| due < end);
            let restart = restarts.peek().copied();
            let due = [attack, restart, sample, self.due()].into_iter().flatten().min();
            let Some(due) = due.filter(|&due| due <= end) else { break };
            self.now = due.max(self.now);
            if sample == Some(due) {
                self.sample();
                sample = Some(due + every);
            } else if attack == Some(due) {
                // Up to whatever else comes: thousands of connections in a row.
                let script = script.as_mut().expect("it is due");
                let other = [restart, self.due()].into_iter().flatten().min().unwrap_or(end);
                let before = sample.unwrap_or(end).min(end);
                loop {
                    script.step(self);
                    match script.due() {
                        Some(due) if due <= other && due < before => self.now = due,
                        _ => break,
                    }
                }
            } else if restart == Some(due) {
                restarts.next();
                self.dialled.clear();
                self.victim.start(self.now());
                self.wake = Some(self.now);
                self.note(1);
                if restarts.peek().is_none() && self.now == end {
                    break;
                }
            } else {
                self.answer();
                self.ask();
            }
        }
        self.now = end.max(self.now);
        self.settle(self.now + Duration::from_secs(settings.time.settle.0));
    }

    /// When something of the victim's is due.
    fn due(&self) -> Option<Instant> {
        self.dialled.iter().map(|dialled| dialled.until).chain(self.wake).min()
    }

    /// Answers the dials that are due.
    fn answer(&mut self) {
        while let Some(at) = self.dialled.iter().position(|dialled| dialled.until <= self.now) {
            let Dialled { address, purpose, is_answered, .. } = self.dialled.remove(at);
            if is_answered {
                self.victim.connected(self.now(), address, purpose);
            } else {
                self.victim.failed(self.now(), address, purpose);
            }
            self.note(u64::from(address.ip) << 1 | u64::from(is_answered));
            self.wake = Some(self.now);
        }
    }

    /// Asks the victim what it does, until it waits.
    fn ask(&mut self) {
        while self.wake.is_some_and(|wake| wake <= self.now) {
            match self.victim.next(self.now()) {
                Step::Wait(until) => self.wake = until,
                Step::Dial { address, purpose } => {
                    let is_answered = self.living.is_live(address);
                    let takes = match is_answered {
                        _ if self.timeout.is_zero() => Duration::ZERO,
                        true => HANDSHAKE,
                        // No route leads there.
                        false if is_trash(address) => Duration::ZERO,
                        false => self.timeout,
                    };
                    self.dials += 1;
                    self.dialled.push(Dialled { until: self.now + takes, address, purpose, is_answered });
                }
                // Nobody answers here.
                Step::AskSeeds => {}
                Step::Close(address) => self.note(u64::from(address.ip)),
            }
        }
    }

    fn counts(&self) -> [i64; 6] {
        let census = self.victim.census(&mut is_adversary);
        let outgoing = self.victim.outgoing();
        let adversarial = outgoing.iter().filter(|(address, _)| is_adversary(*address)).count();
        [
            census.tried.into(),
            census.tried_adversary.into(),
            census.new.into(),
            census.new_adversary.into(),
            outgoing.len() as i64,
            adversarial as i64,
        ]
    }

    fn sample(&mut self) {
        let at = self.now.since(self.begin).as_secs();
        let counts = self.counts();
        for &measure in &self.model.series {
            let place = SERIES.iter().position(|name| *name == measure).expect("its name was checked");
            self.samples.push(Sample { at, measure, value: counts[place] });
        }
    }

    fn outcome(mut self) -> Outcome {
        let counts = self.counts();
        let [.., total, attacker] = counts;
        let is_whole = self.victim.wanted().is_none_or(|wanted| total as usize >= wanted);
        let mut outcome = Outcome { series: std::mem::take(&mut self.samples), ..Outcome::default() };
        let is_eclipsed = is_whole && total > 0 && total == attacker;
        outcome.measures.insert("eclipsed", Measure::Happened(is_eclipsed));
        outcome.measures.insert("dials", Measure::Count(self.dials));
        for (name, count) in SERIES.into_iter().zip(counts) {
            outcome.measures.insert(name, Measure::Count(count));
            self.note(count as u64);
        }
        outcome.digest = self.digest;
        outcome
    }
}

/// So many addresses are worth a message.
const MESSAGE: u64 = 4;

/// What the attacker does, step by step.
struct Script<'a> {
    adversary: &'a Adversary,
    first: Instant,
    /// Connections in a round, and those that were made.
    size: u64,
    done: u64,
    /// Rounds that begin.
    rounds: u64,
    /// Addresses where nobody is that were told so far.
    told: u64,
    message: Vec<Told>,
    /// Whose turn it is to tell.
    teller: u32,
    end: Instant,
}

impl<'a> Script<'a> {
    fn new(adversary: &'a Adversary, begin: Instant, horizon: Duration) -> Self {
        let (end, round, horizon) = (begin + horizon, adversary.round.0, horizon.as_secs());
        // A round's connections are as old as a round is long when it ends: it must end with the attack.
        let (first, rounds) = match adversary.pace {
            Pace::Even => (0, horizon.div_ceil(round)),
            Pace::Burst => (horizon % round, horizon / round),
        };
        Self {
            adversary,
            first: begin + Duration::from_secs(first),
            size: u64::from(adversary.groups) * u64::from(adversary.per_group),
            done: 0,
            rounds,
            told: 0,
            message: Vec::new(),
            teller: 0,
            end,
        }
    }

    /// When the next step is due.
    fn due(&self) -> Option<Instant> {
        let (round, within) = (self.done / self.size, self.done % self.size);
        let micros = self.adversary.round.0 * 1_000_000;
        let within = match self.adversary.pace {
            Pace::Even => match micros.checked_mul(within) {
                Some(product) => product / self.size,
                None => (u128::from(micros) * u128::from(within) / u128::from(self.size)) as u64,
            },
            Pace::Burst => 0,
        };
        (round < self.rounds).then(|| self.first + Duration::from_micros(round * micros + within))
    }

    fn step(&mut self, trial: &mut Trial<'_>) {
        let within = (self.done % self.size) as u32;
        let Adversary { groups, .. } = *self.adversary;
        let (group, index) = (within % groups, within / groups);
        trial.victim.accepted(trial.now(), adversary(group, index, trial.key));
        self.done += 1;
        self.tell(trial);
    }

    /// Tells of addresses where nobody is, if enough are due: evenly in the last part of the attack.
    fn tell(&mut self, trial: &mut Trial<'_>) {
        let Some(trash_addr) = &self.adversary.trash_addr else { return };
        let (within, now) = (trash_addr.within.0 * 1_000_000, trial.now());
        let left = self.end.since(now.instant).as_micros() as u64;
        // All that is due of it, and the rest with the last connection.
        let share = within.saturating_sub(left);
        let mut total = (u128::from(trash_addr.addresses) * u128::from(share) / u128::from(within)) as u64;
        if self.done == self.size * self.rounds {
            total = trash_addr.addresses.into();
        }
        let due = total - self.told;
        if due < MESSAGE {
            return;
        }
        self.told = total;
        let time = now.unix.as_secs() as u32;
        // Every group tells as many, give or take one message.
        let groups = trash_addr.source_groups;
        let size = due.div_ceil(groups.into()).max(MESSAGE).min(trash_addr.per_msg.into());
        let mut left = due;
        while left > 0 {
            self.message.clear();
            self.message.extend((0..size.min(left)).map(|_| Told {
                address: trash(&mut trial.stream),
                time,
                serves: true,
            }));
            let source = Source::Peer(adversary(self.teller % groups, 0, trial.key));
            trial.victim.hear(now, source, &self.message, false);
            left -= size.min(left);
            self.teller += 1;
        }
    }
}
