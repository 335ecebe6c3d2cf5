//! Runs a recording again, turn by turn.

use alloc::string::String;
use core::fmt;

use super::chain::Chain;
use super::input::{InputFault, Lent};
use super::reader::{Recording, RecordingEnd, Source};
use super::recorded::Recordable;
use super::{RecordingError, input};
use crate::{Input, Instant, Machine, Now, Outbox, Output, UnixTime};

/// A machine that is given what another one was given, and held to what that one did.
pub struct Replay<M: Machine, S> {
    recording: Recording<S>,
    machine: M,
    command: fn(&[u8]) -> Result<M::Command, String>,
    outbox: Outbox<M::Event>,
    lent: Lent,
    last: Now,
    /// The number of the next turn.
    next: u64,
    replayed: Replayed,
    failed: bool,
}

/// What a replay has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Turns that were run, with one that panicked.
    pub turns: u64,
    /// Turns that did what was recorded, bit for bit.
    pub agreed: u64,
    /// The first turn that did something else, by its number.
    pub first_difference: Option<u64>,
    /// Turns of which the recording does not say what they did: the last one, at most.
    pub unknown: u64,
}

/// A turn that is about to be run. One that is dropped is left out of the run, and what follows will differ.
#[must_use = "a turn that is not run is missing in the replay"]
pub struct Turn<'a, M: Machine> {
    number: u64,
    offset: u64,
    now: Now,
    input: Input<'a, M::Command>,
    seal: u64,
    recorded: Option<u64>,
    machine: &'a mut M,
    outbox: &'a mut Outbox<M::Event>,
    replayed: &'a mut Replayed,
}

/// What a turn did.
pub struct Outcome<'a, M: Machine> {
    verdict: Verdict,
    deadline: Option<Instant>,
    outbox: &'a Outbox<M::Event>,
}

/// Whether a turn did what was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Bit for bit.
    Agrees,
    /// Its effects or its deadline are others.
    Differs,
    /// The recording ends within the turn.
    Unknown,
}

impl<M: Recordable, S: Source> Replay<M, S> {
    /// Builds the machine that was recorded.
    ///
    /// # Errors
    /// If the recording is of another machine, or can't be read by this version.
    pub fn new(recording: Recording<S>) -> Result<Self, RecordingError<S::Error>> {
        Self::wrapped(recording, |machine: M| machine)
    }
}

impl<M: Machine, S: Source> Replay<M, S> {
    /// Builds the machine that was recorded, with something around it: what checks it, for example.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn wrapped<R>(
        recording: Recording<S>,
        wrap: impl FnOnce(R) -> M,
    ) -> Result<Self, RecordingError<S::Error>>
    where
        R: Recordable<Command = M::Command>,
    {
        if recording.machine() != R::NAME {
            let found = recording.machine().into();
            return Err(RecordingError::OtherMachine { found, expected: R::NAME });
        }
        let construction = R::decode_construction(recording.construction())
            .map_err(|why| RecordingError::Construction { why })?;
        Ok(Self {
            recording,
            machine: wrap(R::build(construction)),
            command: R::decode_command,
            outbox: Outbox::new(),
            lent: Lent::default(),
            last: Now { instant: Instant::ZERO, unix: UnixTime::from_secs(0) },
            next: 0,
            replayed: Replayed::default(),
            failed: false,
        })
    }

    /// Reads the next turn. `None`: there is none, and [`end`](Self::end) says why.
    ///
    /// # Errors
    /// If the recording can't be read any further. There is no other turn then.
    pub fn next_turn(&mut self) -> Result<Option<Turn<'_, M>>, RecordingError<S::Error>> {
        while self.outbox.pop().is_some() {}
        if self.failed {
            return Ok(None);
        }
        // Until this turn has been read.
        self.failed = true;
        let Some(part) = self.recording.next_input()? else {
            self.failed = false;
            return Ok(None);
        };
        let offset = part.offset;
        let (now, input) = input::read(&mut self.recording.input, self.last, &mut self.lent, self.command)
            .map_err(|fault| match fault {
                InputFault::Malformed(what) => RecordingError::Damaged { offset, what },
                InputFault::Command(why) => RecordingError::Command { offset, why },
            })?;
        self.failed = false;
        self.last = now;
        let number = self.next;
        self.next += 1;
        Ok(Some(Turn {
            number,
            offset,
            now,
            input,
            seal: part.seal,
            recorded: part.outcome,
            machine: &mut self.machine,
            outbox: &mut self.outbox,
            replayed: &mut self.replayed,
        }))
    }

    /// How the recording ends, once all turns were read.
    pub fn end(&self) -> Option<RecordingEnd> {
        self.recording.end()
    }

    /// What it has come to so far.
    pub fn replayed(&self) -> Replayed {
        self.replayed
    }

    /// The recording, to look at.
    pub fn recording(&self) -> &Recording<S> {
        &self.recording
    }

    /// The machine, to look at.
    pub fn machine(&self) -> &M {
        &self.machine
    }
}

impl<'a, M: Machine> Turn<'a, M> {
    /// Its number, from zero.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Where it begins in the recording, in bytes.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Its time.
    pub fn now(&self) -> Now {
        self.now
    }

    /// What comes in.
    pub fn input(&self) -> &Input<'a, M::Command> {
        &self.input
    }

    /// Whether the recording says what it did: else its machine panicked in this turn, or the recording is cut off there.
    pub fn is_whole(&self) -> bool {
        self.recorded.is_some()
    }

    /// Runs it.
    ///
    /// # Panics
    /// Where the machine does.
    pub fn run(self) -> Outcome<'a, M>
    where
        M::Event: fmt::Debug,
    {
        self.replayed.turns += 1;
        self.machine.handle(self.now, self.input, self.outbox);
        let deadline = self.machine.deadline();
        let mut chain = Chain::after(self.seal);
        chain.add_turn(self.outbox.peek_from(0), deadline);
        let verdict = match self.recorded {
            None => Verdict::Unknown,
            Some(recorded) if recorded == chain.seal() => Verdict::Agrees,
            Some(_) => Verdict::Differs,
        };
        match verdict {
            Verdict::Agrees => self.replayed.agreed += 1,
            Verdict::Differs => {
                self.replayed.first_difference.get_or_insert(self.number);
            }
            Verdict::Unknown => self.replayed.unknown += 1,
        }
        Outcome { verdict, deadline, outbox: self.outbox }
    }
}

impl<M: Machine> Outcome<'_, M> {
    /// Whether it did what was recorded.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// What went out, in order.
    pub fn effects(&self) -> impl Iterator<Item = Output<'_, &M::Event>> {
        self.outbox.peek_from(0)
    }

    /// When the machine wants to be woken.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }
}

impl<M: Machine + fmt::Debug, S> fmt::Debug for Replay<M, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replay")
            .field("machine", &self.machine)
            .field("replayed", &self.replayed)
            .finish_non_exhaustive()
    }
}

impl<M: Machine> fmt::Debug for Turn<'_, M>
where
    M::Command: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turn")
            .field("number", &self.number)
            .field("now", &self.now)
            .field("input", &self.input)
            .finish_non_exhaustive()
    }
}

impl<M: Machine> fmt::Debug for Outcome<'_, M>
where
    M::Event: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outcome")
            .field("verdict", &self.verdict)
            .field("deadline", &self.deadline)
            .field("effects", &self.outbox)
            .finish()
    }
}
