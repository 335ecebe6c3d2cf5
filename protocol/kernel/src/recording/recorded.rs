//! The machine around a machine that writes its run down.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::convert::Infallible;
use core::fmt;

use super::chain::Chain;
use super::fields::{MAX_NUMBER, put_blob, put_number};
use super::{FORMAT, LENGTH_SEAL_BYTES, MAGIC, MAX_BLOB, MAX_NAME, SEAL_BYTES, input, part};
use crate::{Input, Instant, Machine, Now, Outbox, UnixTime};

/// A machine whose runs can be recorded: how it is built, and what it is asked, can be written and read.
///
/// Written forms should stay readable: a recording is kept as a test, and read by later versions.
pub trait Recordable: Machine + Sized {
    /// Its name, for good: at most 64 bytes.
    const NAME: &'static str;
    /// Its version, for whoever reads a recording: at most 64 bytes.
    const VERSION: &'static str;

    /// Everything that it is built from, with its seed.
    type Construction;

    /// Builds it.
    fn build(construction: Self::Construction) -> Self;

    /// Appends what it is built from.
    fn encode_construction(construction: &Self::Construction, out: &mut Vec<u8>);

    /// Reads what it is built from. Total, and bounded by the bytes: they may come from anybody.
    ///
    /// # Errors
    /// Says why it can't be read.
    fn decode_construction(bytes: &[u8]) -> Result<Self::Construction, String>;

    /// Appends a command.
    fn encode_command(command: &Self::Command, out: &mut Vec<u8>);

    /// Reads a command, as [`decode_construction`](Self::decode_construction) does.
    ///
    /// # Errors
    /// Says why it can't be read.
    fn decode_command(bytes: &[u8]) -> Result<Self::Command, String>;
}

/// Where a recording goes.
pub trait Sink {
    /// Why it takes no more.
    type Error;

    /// Appends bytes. It may keep them back for a while, and must not block for long: the machine's driver waits.
    ///
    /// # Errors
    /// If it takes no more. The recording ends there, and the run goes on.
    fn append(&mut self, bytes: &[u8]) -> Result<(), Self::Error>;

    /// Nothing more comes.
    ///
    /// # Errors
    /// If what was appended may not all have got where it was to go.
    fn finish(&mut self) -> Result<(), Self::Error>;
}

impl Sink for Vec<u8> {
    type Error = Infallible;

    fn append(&mut self, bytes: &[u8]) -> Result<(), Infallible> {
        self.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

impl<W: Sink + ?Sized> Sink for &mut W {
    type Error = W::Error;

    fn append(&mut self, bytes: &[u8]) -> Result<(), W::Error> {
        (**self).append(bytes)
    }

    fn finish(&mut self) -> Result<(), W::Error> {
        (**self).finish()
    }
}

impl<W: Sink + ?Sized> Sink for Box<W> {
    type Error = W::Error;

    fn append(&mut self, bytes: &[u8]) -> Result<(), W::Error> {
        (**self).append(bytes)
    }

    fn finish(&mut self) -> Result<(), W::Error> {
        (**self).finish()
    }
}

/// How far a recording is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordingStatus<'a, E> {
    /// It goes on.
    Recording,
    /// It is as long as it may be. The run goes on.
    Bounded,
    /// Its sink took no more. The run goes on.
    Failed(&'a E),
}

/// A machine that records its run: each input before the machine takes it, so that one that it panics at is there too, and a
/// digest of the turn's effects after it.
///
/// The recording ends when this is dropped, in order or by a panic. It holds [secrets](crate::recording).
pub struct Recorded<M: Recordable, W: Sink> {
    machine: M,
    sink: W,
    state: State<W::Error>,
    limit: u64,
    written: u64,
    last: Now,
    chain: Chain,
    /// Used again for each input.
    scratch: Vec<u8>,
}

#[derive(Debug)]
enum State<E> {
    Between,
    /// The machine is at work, or has panicked.
    InTurn,
    Bounded,
    Failed(E),
}

/// Why a recording ends, in its last part.
pub(super) mod ending {
    pub(in crate::recording) const COMPLETE: u8 = 0;
    pub(in crate::recording) const BOUNDED: u8 = 1;
    pub(in crate::recording) const PANICKED: u8 = 2;
}

/// Bytes of what follows an input whatever happens: its outcome and the recording's end.
const RESERVE: u64 = 1 + SEAL_BYTES + 2 + SEAL_BYTES;

impl<M: Recordable, W: Sink> Recorded<M, W> {
    /// Builds a machine and records its whole run.
    ///
    /// # Panics
    /// If the machine's name or version is longer than 64 bytes, or how it is built than 256 MiB.
    pub fn new(construction: M::Construction, sink: W) -> Self {
        Self::with_limit(construction, sink, u64::MAX)
    }

    /// Builds a machine and records its run until the recording would have more than `limit` bytes (before any compression);
    /// what is there until then can be replayed. Shorter than its header it never is.
    ///
    /// # Panics
    /// As [`new`](Self::new).
    pub fn with_limit(construction: M::Construction, sink: W, limit: u64) -> Self {
        assert!(M::NAME.len() as u64 <= MAX_NAME && M::VERSION.len() as u64 <= MAX_NAME, "names are short");
        let mut scratch = Vec::new();
        M::encode_construction(&construction, &mut scratch);
        assert!(scratch.len() as u64 <= MAX_BLOB, "what a machine is built from has at most 256 MiB");
        let mut recorded = Self {
            machine: M::build(construction),
            sink,
            state: State::Between,
            limit,
            written: 0,
            last: Now { instant: Instant::ZERO, unix: UnixTime::from_secs(0) },
            chain: Chain::new(),
            scratch: Vec::new(),
        };
        let mut header = Vec::from(MAGIC);
        put_number(&mut header, FORMAT);
        put_blob(&mut header, M::NAME.as_bytes());
        put_blob(&mut header, M::VERSION.as_bytes());
        put_blob(&mut header, &scratch);
        recorded.append_sealed(&[&header]);
        recorded
    }

    /// The machine, to look at.
    pub fn machine(&self) -> &M {
        &self.machine
    }

    /// How far the recording is.
    pub fn status(&self) -> RecordingStatus<'_, W::Error> {
        match &self.state {
            State::Between | State::InTurn => RecordingStatus::Recording,
            State::Bounded => RecordingStatus::Bounded,
            State::Failed(error) => RecordingStatus::Failed(error),
        }
    }

    /// Writes an input down, unless the recording has ended.
    fn begin(&mut self, now: Now, input: &Input<'_, M::Command>) {
        if !matches!(self.state, State::Between) {
            return;
        }
        let mut fields = core::mem::take(&mut self.scratch);
        fields.clear();
        let bytes = input::write(&mut fields, self.last, now, input, M::encode_command);
        let length = (fields.len() + bytes.len()) as u64;
        let whole = 1 + MAX_NUMBER as u64 + LENGTH_SEAL_BYTES + length + SEAL_BYTES + RESERVE;
        if length > MAX_BLOB || whole > self.limit.saturating_sub(self.written) {
            self.end(ending::BOUNDED);
            if matches!(self.state, State::Between) {
                self.state = State::Bounded;
            }
        } else {
            let mut head = Vec::with_capacity(1 + MAX_NUMBER);
            head.push(part::INPUT);
            put_number(&mut head, length);
            self.append_length(&head);
            self.append_sealed(&[&fields, bytes]);
            if matches!(self.state, State::Between) {
                self.state = State::InTurn;
            }
            self.last = now;
        }
        /// Memory that is kept for the next input; what a large one took goes back.
        const KEPT: usize = 256 * 1024;
        fields.clear();
        fields.shrink_to(KEPT);
        self.scratch = fields;
    }

    /// Writes down what came of it.
    fn complete(&mut self, before: usize, out: &Outbox<M::Event>)
    where
        M::Event: fmt::Debug,
    {
        if !matches!(self.state, State::InTurn) {
            return;
        }
        // Showing an event is the machine's code, and may panic: the turn is not complete then.
        let mut chain = self.chain.clone();
        chain.add_turn(out.peek_from(before), self.machine.deadline());
        self.chain = chain;
        self.state = State::Between;
        let seal = self.chain.seal().to_le_bytes();
        let mut outcome = [part::OUTCOME; 1 + SEAL_BYTES as usize];
        outcome[1..].copy_from_slice(&seal);
        self.append(&outcome);
    }

    fn end(&mut self, why: u8) {
        self.append_sealed(&[&[part::END, why]]);
        let finished = self.sink.finish();
        self.note(finished);
    }

    fn append_length(&mut self, head: &[u8]) {
        self.chain.add(head);
        self.append(head);
        let seal = self.chain.seal();
        self.append(&seal.to_le_bytes()[..LENGTH_SEAL_BYTES as usize]);
    }

    /// Appends bytes, and the seal of everything up to them.
    fn append_sealed(&mut self, pieces: &[&[u8]]) {
        for piece in pieces {
            self.chain.add(piece);
            self.append(piece);
        }
        let seal = self.chain.seal();
        self.append(&seal.to_le_bytes());
    }

    fn append(&mut self, bytes: &[u8]) {
        if matches!(self.state, State::Failed(_)) || bytes.is_empty() {
            return;
        }
        self.written += bytes.len() as u64;
        let appended = self.sink.append(bytes);
        self.note(appended);
    }

    fn note(&mut self, done: Result<(), W::Error>) {
        if let Err(error) = done {
            self.state = State::Failed(error);
        }
    }
}

impl<M: Recordable, W: Sink> Machine for Recorded<M, W>
where
    M::Event: fmt::Debug,
{
    type Command = M::Command;
    type Event = M::Event;

    fn handle(&mut self, now: Now, input: Input<'_, M::Command>, out: &mut Outbox<M::Event>) {
        self.begin(now, &input);
        let before = out.len();
        self.machine.handle(now, input, out);
        self.complete(before, out);
    }

    fn deadline(&self) -> Option<Instant> {
        self.machine.deadline()
    }
}

impl<M: Recordable, W: Sink> Drop for Recorded<M, W> {
    fn drop(&mut self) {
        match self.state {
            State::Between => self.end(ending::COMPLETE),
            State::InTurn => self.end(ending::PANICKED),
            State::Bounded | State::Failed(_) => {}
        }
    }
}

impl<M: Recordable + fmt::Debug, W: Sink> fmt::Debug for Recorded<M, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorded")
            .field("machine", &self.machine)
            .field("written", &self.written)
            .finish_non_exhaustive()
    }
}
