//! Recordings of runs in files: where they are written, and where they are read.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use andon_kernel::recording::{Recordable, Recorded, RecordingStatus, Sink, Source};
use andon_kernel::{Input, Instant as Time, Machine, Now, Outbox};
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

/// How long what was recorded is kept back at most while more comes: so much is lost if the process is killed.
const KEPT_BACK: Duration = Duration::from_secs(1);

/// Bytes that are written at once.
const BUFFER: usize = 64 * 1024;

/// Whether a recording is compressed. What came encrypted does not get smaller; the rest does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// It is not.
    #[default]
    None,
    /// In the format of gzip, as fast as that goes.
    Gzip,
}

/// A file that a run is [recorded](Self::record) in, under any driver: the sink of an [`andon_kernel::recording::Recorded`].
///
/// ```
/// # use andon_driver::{Compression, RecordingFile};
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("run.andonrec.gz");
/// let (file, monitor) = RecordingFile::create(&path, Compression::Gzip)?;
/// // file.record::<Client>(config, 1 << 30) takes the place of Client::new(config).
/// # use andon_kernel::recording::Sink;
/// # let mut file = file;
/// # file.append(b"bytes")?;
/// # file.finish()?;
/// assert_eq!((monitor.bytes(), monitor.error()), (5, None));
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// **It holds secrets.** Whoever has the file has
///
/// - the seed: every key of the run's encrypted connections, every nonce and random choice, logins drawn for a proxy;
/// - what is watched: scripts, output descriptors (with their extended public keys), outputs, and what was found;
/// - transactions that were broadcast, and that they came from here;
/// - the addresses of all peers, with everything they sent and when;
/// - how the client is configured, with the user's name and password at a proxy;
/// - rows of the store that were read, such as the address book and its secret.
///
/// No private key of a wallet is in it, since the client never has one. On Unix only the file's owner may read it.
///
/// It is written in pieces, at least once a second while inputs come: so much is lost if the process is killed. A panic loses
/// nothing where it unwinds; a program that aborts instead calls [`RecordingMonitor::flush`] in its panic hook. It is not
/// forced to the disk.
#[derive(Debug)]
pub struct RecordingFile {
    shared: Arc<Shared>,
}

/// Looks at a recording from outside the driver.
#[derive(Clone, Debug)]
pub struct RecordingMonitor {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared(Mutex<State>);

#[derive(Debug)]
struct State {
    /// `None`: nothing more is written.
    writer: Option<Writer>,
    bytes: u64,
    error: Option<String>,
    is_bounded: bool,
    written_at: Instant,
}

enum Writer {
    Plain(BufWriter<File>),
    Gzip(GzEncoder<BufWriter<File>>),
}

impl RecordingFile {
    /// Begins a file that is not there yet.
    ///
    /// # Errors
    /// If there is one, or the system refuses.
    pub fn create(path: &Path, compression: Compression) -> io::Result<(Self, RecordingMonitor)> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = BufWriter::with_capacity(BUFFER, options.open(path)?);
        let writer = match compression {
            Compression::None => Writer::Plain(file),
            Compression::Gzip => Writer::Gzip(GzEncoder::new(file, flate2::Compression::fast())),
        };
        let state =
            State { writer: Some(writer), bytes: 0, error: None, is_bounded: false, written_at: now() };
        let shared = Arc::new(Shared(Mutex::new(state)));
        Ok((Self { shared: Arc::clone(&shared) }, RecordingMonitor { shared }))
    }

    /// Builds a machine whose run is recorded here, until the recording would have more than `limit` bytes (before any
    /// compression): as [`Recorded::with_limit`], of which the monitor knows [that](RecordingMonitor::is_bounded), too.
    ///
    /// # Panics
    /// As [`Recorded::new`].
    pub fn record<M: Recordable>(self, construction: M::Construction, limit: u64) -> RecordedMachine<M> {
        let shared = Arc::clone(&self.shared);
        RecordedMachine { machine: Recorded::with_limit(construction, self, limit), shared, is_over: false }
    }
}

/// A machine whose run is recorded in a file. See [`RecordingFile::record`].
pub struct RecordedMachine<M: Recordable> {
    machine: Recorded<M, RecordingFile>,
    shared: Arc<Shared>,
    /// Nothing more is recorded, and the monitor has been told why.
    is_over: bool,
}

impl<M: Recordable> Machine for RecordedMachine<M>
where
    M::Event: fmt::Debug,
{
    type Command = M::Command;
    type Event = M::Event;

    fn handle(&mut self, now: Now, input: Input<'_, M::Command>, out: &mut Outbox<M::Event>) {
        self.machine.handle(now, input, out);
        if !self.is_over && !matches!(self.machine.status(), RecordingStatus::Recording) {
            self.is_over = true;
            self.shared.lock().is_bounded = matches!(self.machine.status(), RecordingStatus::Bounded);
        }
    }

    fn deadline(&self) -> Option<Time> {
        self.machine.deadline()
    }
}

impl<M: Recordable + fmt::Debug> fmt::Debug for RecordedMachine<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.machine.fmt(f)
    }
}

impl Sink for RecordingFile {
    type Error = io::Error;

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.shared.lock();
        let Some(writer) = &mut state.writer else {
            return Err(io::Error::other("the recording has ended"));
        };
        let appended = writer.write_all(bytes);
        state.note(appended)?;
        state.bytes += bytes.len() as u64;
        if state.written_at.elapsed() >= KEPT_BACK {
            state.flush()?;
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        let mut state = self.shared.lock();
        let Some(writer) = state.writer.take() else { return Ok(()) };
        let finished = writer.finish();
        state.note(finished)
    }
}

impl RecordingMonitor {
    /// Bytes that were recorded so far, before any compression.
    pub fn bytes(&self) -> u64 {
        self.shared.lock().bytes
    }

    /// Why the recording ended early, if the file took no more. The run goes on without it.
    pub fn error(&self) -> Option<String> {
        self.shared.lock().error.clone()
    }

    /// Whether it ended before the run did, as it had as many bytes as it [may have](RecordingFile::record). What is there until
    /// then can be replayed.
    pub fn is_bounded(&self) -> bool {
        self.shared.lock().is_bounded
    }

    /// Writes what is kept back.
    ///
    /// # Errors
    /// If the file takes no more.
    pub fn flush(&self) -> io::Result<()> {
        self.shared.lock().flush()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Whoever panicked did so outside of here: nothing in it is half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn flush(&mut self) -> io::Result<()> {
        self.written_at = now();
        let flushed = self.writer.as_mut().map_or(Ok(()), Writer::flush);
        self.note(flushed)
    }

    fn note(&mut self, done: io::Result<()>) -> io::Result<()> {
        if let Err(error) = &done {
            self.error.get_or_insert_with(|| error.to_string());
            self.writer = None;
        }
        done
    }
}

impl Writer {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(file) => file.write_all(bytes),
            Self::Gzip(encoder) => encoder.write_all(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(file) => file.flush(),
            Self::Gzip(encoder) => encoder.flush(),
        }
    }

    fn finish(self) -> io::Result<()> {
        match self {
            Self::Plain(mut file) => file.flush(),
            Self::Gzip(encoder) => encoder.finish()?.flush(),
        }
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain(_) => "Plain",
            Self::Gzip(_) => "Gzip",
        })
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "it decides when a buffer is written, and nothing that a machine sees"
)]
fn now() -> Instant {
    Instant::now()
}

/// A recording in a file, compressed or not, to be read.
pub struct RecordingReader {
    reader: Box<dyn Read + Send>,
}

impl RecordingReader {
    /// Opens a file.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::new(File::open(path)?)
    }

    /// Reads from anything that can be read. What is compressed is known by how it begins.
    ///
    /// # Errors
    /// If its beginning can't be read.
    pub fn new(reader: impl Read + Send + 'static) -> io::Result<Self> {
        /// What files of gzip begin with.
        const GZIP: [u8; 2] = [0x1f, 0x8b];
        let mut reader = BufReader::with_capacity(BUFFER, reader);
        let mut head = Vec::new();
        reader.by_ref().take(GZIP.len() as u64).read_to_end(&mut head)?;
        let is_compressed = head == GZIP;
        let whole = io::Cursor::new(head).chain(reader);
        let reader: Box<dyn Read + Send> = match is_compressed {
            true => Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(whole))),
            false => Box::new(whole),
        };
        Ok(Self { reader })
    }
}

impl Source for RecordingReader {
    type Error = io::Error;

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.reader.read(buffer) {
                // The compressed file is cut off, and so is the recording.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }
}

impl fmt::Debug for RecordingReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecordingReader")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(path: &Path) -> Vec<u8> {
        let mut reader = RecordingReader::open(path).unwrap();
        let mut bytes = Vec::new();
        let mut buffer = [0; 1000];
        loop {
            match reader.read(&mut buffer).unwrap() {
                0 => return bytes,
                count => bytes.extend_from_slice(&buffer[..count]),
            }
        }
    }

    #[test]
    fn what_was_appended_is_read_however_it_is_compressed() {
        let directory = tempfile::tempdir().unwrap();
        let pieces: Vec<Vec<u8>> = (0..300u32).map(|size| vec![size as u8; size as usize * 7]).collect();
        let whole = pieces.concat();
        for (name, compression) in [("plain", Compression::None), ("gzip", Compression::Gzip)] {
            let path = directory.path().join(name);
            let (mut file, monitor) = RecordingFile::create(&path, compression).unwrap();
            for (index, piece) in pieces.iter().enumerate() {
                file.append(piece).unwrap();
                if index == 100 {
                    // What is there then can be read, whatever becomes of the process.
                    monitor.flush().unwrap();
                    assert_eq!(contents(&path), pieces[..=100].concat());
                }
            }
            file.finish().unwrap();
            assert_eq!(contents(&path), whole);
            assert_eq!((monitor.bytes(), monitor.error()), (whole.len() as u64, None));
            let size = std::fs::metadata(&path).unwrap().len();
            assert_eq!(size < whole.len() as u64 / 10, compression == Compression::Gzip);
            assert!(file.append(b"more").is_err());
            let again = RecordingFile::create(&path, compression).unwrap_err();
            assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
            #[cfg(unix)]
            {
                use std::os::unix::fs::PermissionsExt;
                assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            }
        }
    }

    #[test]
    fn a_file_that_is_cut_off_gives_what_is_left_of_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("whole");
        let whole: Vec<u8> = (0..5000u32).flat_map(|number| number.to_le_bytes()).collect();
        let (mut file, _) = RecordingFile::create(&path, Compression::Gzip).unwrap();
        file.append(&whole).unwrap();
        drop(file);
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(contents(&path), whole, "what is dropped is finished");
        let cut = directory.path().join("cut");
        for length in (0..bytes.len()).step_by(11) {
            std::fs::write(&cut, &bytes[..length]).unwrap();
            assert!(whole.starts_with(&contents(&cut)));
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_told_to_whoever_asks() {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let writer = Some(Writer::Plain(BufWriter::with_capacity(8, full)));
        let state = State { writer, bytes: 0, error: None, is_bounded: false, written_at: now() };
        let shared = Arc::new(Shared(Mutex::new(state)));
        let (mut file, monitor) =
            (RecordingFile { shared: Arc::clone(&shared) }, RecordingMonitor { shared });
        file.append(b"short").unwrap();
        let error = file.append(b"longer than there is room for").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!((monitor.bytes(), monitor.error()), (5, Some(error.to_string())));
        assert!(file.append(b"more").is_err());
    }
}
