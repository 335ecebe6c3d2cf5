//! Reads a recording, whoever wrote it: every length is checked, memory grows by what has come, and each part is held
//! against its seal before anything is made of it.

use alloc::string::String;
use alloc::vec::Vec;
use core::convert::Infallible;

use super::chain::Chain;
use super::fields::Number;
use super::recorded::ending;
use super::{FORMAT, LENGTH_SEAL_BYTES, MAGIC, MAX_BLOB, MAX_NAME, RecordingError, part};

/// Where a recording comes from.
pub trait Source {
    /// Why it can't be read any further.
    type Error;

    /// Reads some bytes into `buffer`, which is not empty. How many; zero: there are no more.
    ///
    /// # Errors
    /// If it can't be read any further.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Self::Error>;
}

impl Source for &[u8] {
    type Error = Infallible;

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        let (head, rest) = self.split_at(buffer.len().min(self.len()));
        buffer[..head.len()].copy_from_slice(head);
        *self = rest;
        Ok(head.len())
    }
}

/// How a recording ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordingEnd {
    /// With the machine.
    Complete,
    /// With the bound on its size: the run went on.
    Bounded,
    /// With a panic of the machine, in the last turn.
    Panicked,
    /// In the middle: the process was killed, or the end of the file is lost. What there is was replayed.
    CutOff,
}

/// A recording that is read: its header has been.
#[derive(Debug)]
pub struct Recording<S> {
    source: S,
    /// Bytes read so far.
    offset: u64,
    chain: Chain,
    machine: String,
    version: String,
    construction: Vec<u8>,
    /// The last input.
    pub(super) input: Vec<u8>,
    /// The part that comes next, if it was looked at.
    next: Option<u8>,
    /// Whether the last input had no outcome. Only an end may follow then.
    is_open: bool,
    end: Option<RecordingEnd>,
}

/// What is read of an input, which lies in [`Recording::input`].
#[derive(Clone, Copy, Debug)]
pub(super) struct InputPart {
    /// Where it begins.
    pub(super) offset: u64,
    /// The sum before the turn.
    pub(super) seal: u64,
    /// The sum after it; `None`: it did not come to its end.
    pub(super) outcome: Option<u64>,
}

/// What was read, or that there is no more.
type Read<T, S> = Result<Option<T>, RecordingError<<S as Source>::Error>>;

impl<S: Source> Recording<S> {
    /// Reads the header.
    ///
    /// # Errors
    /// If it is none, or is damaged.
    pub fn open(source: S) -> Result<Self, RecordingError<S::Error>> {
        let mut recording = Self {
            source,
            offset: 0,
            chain: Chain::new(),
            machine: String::new(),
            version: String::new(),
            construction: Vec::new(),
            input: Vec::new(),
            next: None,
            is_open: false,
            end: None,
        };
        recording.header()?.ok_or(RecordingError::CutOff)?;
        Ok(recording)
    }

    /// The name of the machine that was recorded, as it stands there.
    pub fn machine(&self) -> &str {
        &self.machine
    }

    /// Its version, as it stands there.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// What it was built from, as its own crate encodes it.
    pub fn construction(&self) -> &[u8] {
        &self.construction
    }

    /// How it ends, once everything before was read.
    pub fn end(&self) -> Option<RecordingEnd> {
        self.end
    }

    /// Bytes read so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    fn header(&mut self) -> Read<(), S> {
        match self.array::<{ MAGIC.len() }>()? {
            Some(MAGIC) => {}
            Some(_) => return Err(RecordingError::NotARecording),
            None => {
                return if self.offset == 0 { Err(RecordingError::NotARecording) } else { Ok(None) };
            }
        }
        self.chain.add(&MAGIC);
        let Some(format) = self.number(0)? else { return Ok(None) };
        if format != FORMAT {
            return Err(RecordingError::Format { found: format });
        }
        let mut names = [String::new(), String::new()];
        for name in &mut names {
            let Some(length) = self.number(0)? else { return Ok(None) };
            let Some(bytes) = self.bytes(length, MAX_NAME, 0, Vec::new())? else { return Ok(None) };
            *name = String::from_utf8(bytes).map_err(|_| damaged(0, "a name is no text"))?;
        }
        [self.machine, self.version] = names;
        let Some(length) = self.number(0)? else { return Ok(None) };
        let Some(construction) = self.bytes(length, MAX_BLOB, 0, Vec::new())? else { return Ok(None) };
        self.construction = construction;
        Ok(self.seal(0)?.map(|_| ()))
    }

    /// Reads the next input into [`input`](Self::input), with its outcome. `None`: there is none, and the end is known.
    pub(super) fn next_input(&mut self) -> Read<InputPart, S> {
        if self.end.is_some() {
            return Ok(None);
        }
        let read = self.part();
        if !matches!(read, Ok(Some(_))) {
            self.end.get_or_insert(RecordingEnd::CutOff);
        }
        read
    }

    fn part(&mut self) -> Read<InputPart, S> {
        let offset = self.offset - u64::from(self.next.is_some());
        let next = match self.next.take() {
            Some(next) => next,
            None => match self.array()? {
                Some([next]) => next,
                None => return Ok(None),
            },
        };
        match next {
            part::INPUT if !self.is_open => {}
            part::END => return self.ending(offset),
            _ => return Err(damaged(offset, "what comes here is neither an input nor an end")),
        }
        self.chain.add(&[part::INPUT]);
        let Some(length) = self.number(offset)? else { return Ok(None) };
        let expected = self.chain.seal().to_le_bytes();
        match self.array::<{ LENGTH_SEAL_BYTES as usize }>()? {
            Some(seal) if expected.starts_with(&seal) => {}
            Some(_) => return Err(damaged(offset, "it is not what was written there")),
            None => return Ok(None),
        }
        let memory = core::mem::take(&mut self.input);
        let Some(input) = self.bytes(length, MAX_BLOB, offset, memory)? else { return Ok(None) };
        self.input = input;
        let Some(seal) = self.seal(offset)? else { return Ok(None) };
        let outcome = match self.array()? {
            Some([part::OUTCOME]) => self.array()?.map(u64::from_le_bytes),
            Some([other]) => {
                self.next = Some(other);
                None
            }
            None => None,
        };
        match outcome {
            Some(outcome) => self.chain = Chain::after(outcome),
            None => self.is_open = true,
        }
        Ok(Some(InputPart { offset, seal, outcome }))
    }

    fn ending(&mut self, offset: u64) -> Read<InputPart, S> {
        let Some([why]) = self.array()? else { return Ok(None) };
        self.chain.add(&[part::END, why]);
        let Some(_) = self.seal(offset)? else { return Ok(None) };
        let end = match why {
            ending::COMPLETE if !self.is_open => RecordingEnd::Complete,
            ending::BOUNDED if !self.is_open => RecordingEnd::Bounded,
            ending::PANICKED if self.is_open => RecordingEnd::Panicked,
            _ => return Err(damaged(offset, "it ends for no known reason")),
        };
        let after = self.offset;
        if self.array::<1>()?.is_some() {
            return Err(damaged(after, "it goes on after its end"));
        }
        self.end = Some(end);
        Ok(None)
    }

    /// Reads a seal and holds it against what was read. Gives the sum.
    fn seal(&mut self, offset: u64) -> Read<u64, S> {
        let expected = self.chain.seal();
        match self.array()?.map(u64::from_le_bytes) {
            Some(seal) if seal == expected => Ok(Some(seal)),
            Some(_) => Err(damaged(offset, "it is not what was written there")),
            None => Ok(None),
        }
    }

    fn number(&mut self, offset: u64) -> Read<u64, S> {
        let mut number = Number::default();
        loop {
            let Some([byte]) = self.array()? else { return Ok(None) };
            self.chain.add(&[byte]);
            if let Some(number) = number.add(byte).map_err(|what| damaged(offset, what))? {
                return Ok(Some(number));
            }
        }
    }

    /// Reads so many bytes into memory that is used again, which grows by what comes.
    fn bytes(&mut self, length: u64, most: u64, offset: u64, mut memory: Vec<u8>) -> Read<Vec<u8>, S> {
        /// Bytes that are made room for at once.
        const STEP: u64 = 64 * 1024;
        if length > most {
            return Err(damaged(offset, "it claims to be longer than anything that is recorded"));
        }
        memory.clear();
        memory.shrink_to(1 << 20);
        while (memory.len() as u64) < length {
            let from = memory.len();
            let step = STEP.min(length - from as u64) as usize;
            memory.resize(from + step, 0);
            if !self.fill(&mut memory[from..])? {
                return Ok(None);
            }
        }
        self.chain.add(&memory);
        Ok(Some(memory))
    }

    fn array<const N: usize>(&mut self) -> Read<[u8; N], S> {
        let mut array = [0; N];
        Ok(self.fill(&mut array)?.then_some(array))
    }

    /// Fills the buffer. `false`: the bytes end before.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<bool, RecordingError<S::Error>> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.source.read(&mut buffer[filled..]).map_err(RecordingError::Source)? {
                0 => return Ok(false),
                // A source that says more than it did is not believed.
                count => filled = (filled + count).min(buffer.len()),
            }
        }
        self.offset += filled as u64;
        Ok(true)
    }
}

fn damaged<E>(offset: u64, what: &'static str) -> RecordingError<E> {
    RecordingError::Damaged { offset, what }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::fields::put_number;

    /// A sound header, and an input that claims to have `length` bytes and has a hundred.
    fn claiming(length: u64) -> Vec<u8> {
        let mut bytes = Vec::from(MAGIC);
        bytes.extend_from_slice(&[1, 0, 0, 0]);
        let mut chain = Chain::new();
        chain.add(&bytes);
        bytes.extend_from_slice(&chain.seal().to_le_bytes());
        let mut head = Vec::from([part::INPUT]);
        put_number(&mut head, length);
        chain.add(&head);
        bytes.extend_from_slice(&head);
        bytes.extend_from_slice(&chain.seal().to_le_bytes()[..4]);
        bytes.extend_from_slice(&[7; 100]);
        bytes
    }

    #[test]
    fn a_claimed_length_is_not_believed() {
        for length in [101, 100_000, MAX_BLOB] {
            let bytes = claiming(length);
            let mut recording = Recording::open(bytes.as_slice()).expect("a header");
            assert!(matches!(recording.next_input(), Ok(None)));
            assert_eq!(recording.end(), Some(RecordingEnd::CutOff));
            assert!(recording.input.capacity() < 1 << 20);
        }
        for length in [MAX_BLOB + 1, u64::MAX] {
            let bytes = claiming(length);
            let mut recording = Recording::open(bytes.as_slice()).expect("a header");
            let expected = damaged(20, "it claims to be longer than anything that is recorded");
            assert_eq!(recording.next_input().map(|_| ()), Err(expected));
            assert!(matches!(recording.next_input(), Ok(None)));
        }
    }
}
