//! A file of headers: all block headers and filter headers of a chain, to be carried from one data directory to another.
//!
//! | at | bytes | what it is |
//! |---|---|---|
//! | 0 | 8 | `89 61 6e 64 6f 6e 0d 0a`: what it is, and whether somebody took it for a text |
//! | 8 | 4 | the version of the format, 1 |
//! | 12 | 4 | the network, by the four bytes that its messages begin with |
//! | 16 | 4 | the height of the first block |
//! | 20 | 4 | how many block headers there are, at least one |
//! | 24 | 4 | how many filter headers there are, at most as many |
//! | 28 | 32 | the work of the chain up to and with the first block (big-endian) |
//! | 60 | 80 each | block headers, from the first block up, as on the wire |
//! | then | 32 each | filter headers (BIP157) of the same blocks from the first up, as on the wire |
//! | then | 32 | the SHA-256 of everything before |
//!
//! Other numbers are little-endian. The length of the file follows from the counts, so one that lies is found at once;
//! and nothing is as large in memory as a count says.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bitcoin::block::Header;
use bitcoin::consensus::{deserialize, serialize};
use bitcoin::hashes::{Hash, HashEngine, sha256};
use bitcoin::p2p::Magic;
use bitcoin::{FilterHeader, Network, Work};
use tempfile::NamedTempFile;

use crate::arguments::network_name;
use crate::error::Error;

const MARK: [u8; 8] = *b"\x89andon\r\n";
const VERSION: u32 = 1;
/// Bytes before the first header.
const PREAMBLE: usize = 60;
const HEADER: usize = 80;
const FILTER_HEADER: usize = 32;
const CHECKSUM: usize = 32;
/// What is read at once to be summed up.
const PIECE: usize = 256 * 1024;

const AGAIN: &str = "get the file again: copy or download it anew, or export it anew";

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Contents {
    /// Whose chain.
    pub(crate) network: Network,
    /// The height of the first block.
    pub(crate) start: u32,
    /// Work of the chain up to and with the first block.
    pub(crate) work: Work,
    /// Block headers; at least one, and the last one's height is no more than [`u32::MAX`] - 1.
    pub(crate) headers: u32,
    /// Filter headers; at most as many.
    pub(crate) filter_headers: u32,
}

impl Contents {
    /// The height of the last block.
    pub(crate) const fn last(&self) -> u32 {
        self.start + self.headers - 1
    }

    /// The height of the first block that has no filter header.
    pub(crate) const fn filter_headers_end(&self) -> u32 {
        self.start + self.filter_headers
    }

    /// Bytes of the file.
    fn len(&self) -> u64 {
        self.filter_headers_at() + FILTER_HEADER as u64 * u64::from(self.filter_headers) + CHECKSUM as u64
    }

    fn filter_headers_at(&self) -> u64 {
        PREAMBLE as u64 + HEADER as u64 * u64::from(self.headers)
    }

    fn encode(&self) -> [u8; PREAMBLE] {
        let mut bytes = [0; PREAMBLE];
        bytes[..8].copy_from_slice(&MARK);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.network.magic().to_bytes());
        bytes[16..20].copy_from_slice(&self.start.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.headers.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.filter_headers.to_le_bytes());
        bytes[28..].copy_from_slice(&self.work.to_be_bytes());
        bytes
    }

    /// Reads the beginning of a file of `len` bytes.
    fn decode(bytes: &[u8], len: u64, shown: &str) -> Result<Self, Error> {
        let (mark, rest) = bytes.split_at_checked(MARK.len()).unwrap_or((bytes, &[]));
        if !MARK.starts_with(mark) || bytes.is_empty() {
            let what = format!("{shown} is no file of headers");
            return Err(Error::new("foreign_file", what).help("give a file that `headers export` wrote"));
        }
        let truncated = |expected: &str| {
            let what = format!("{shown} is cut off: it has {len} bytes{expected}");
            Error::new("damaged_file", what).help(AGAIN)
        };
        let number = |at: usize| Some(u32::from_le_bytes(*rest.get(at - MARK.len()..)?.first_chunk()?));
        match number(8) {
            None => return Err(truncated("")),
            Some(VERSION) => {}
            Some(version) => {
                let what = format!(
                    "{shown} is in version {version} of the format, and this program reads version {VERSION}"
                );
                return Err(
                    Error::new("newer_file", what).help("use the version of this program that wrote it")
                );
            }
        }
        let bytes: &[u8; PREAMBLE] = bytes.first_chunk().ok_or_else(|| truncated(""))?;
        let number = |at: usize| u32::from_le_bytes(*bytes[at..].first_chunk().expect("it has them all"));
        let magic = Magic::from_bytes(*bytes[12..].first_chunk().expect("it has them all"));
        let Ok(network) = Network::try_from(magic) else {
            let what = format!("{shown} is of a network that this program does not know: {magic}");
            return Err(
                Error::new("other_network_file", what).help("give a file of the network that is meant")
            );
        };
        let contents = Self {
            network,
            start: number(16),
            headers: number(20),
            filter_headers: number(24),
            work: Work::from_be_bytes(*bytes[28..].first_chunk().expect("it has them all")),
        };
        let end = contents.start.checked_add(contents.headers);
        if contents.headers == 0 || contents.filter_headers > contents.headers || end.is_none() {
            let what = format!("{shown} is damaged: its counts contradict each other");
            return Err(Error::new("damaged_file", what).help(AGAIN));
        }
        match contents.len() {
            expected if expected == len => Ok(contents),
            expected if expected > len => Err(truncated(&format!(" of {expected}"))),
            expected => {
                let what = format!("{shown} is damaged: it has {len} bytes, and should have {expected}");
                Err(Error::new("damaged_file", what).help(AGAIN))
            }
        }
    }
}

/// A file that is read.
#[derive(Debug)]
pub(crate) struct Archive {
    file: File,
    path: PathBuf,
    contents: Contents,
}

impl Archive {
    /// Opens a file and looks at its beginning and its length. Nothing else in it has been checked then.
    ///
    /// # Errors
    /// If it can't be read, or is no such file, or none that this program can read.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let unreadable = |error: io::Error| unreadable(path, &error);
        // Before it is opened: a pipe would have us wait for who writes into it.
        let metadata = fs::metadata(path).map_err(unreadable)?;
        if !metadata.is_file() {
            let what = format!("{} is no file", path.display());
            return Err(Error::new("file", what).help("give the path of a file"));
        }
        let mut file = File::open(path).map_err(unreadable)?;
        let mut beginning = Vec::with_capacity(PREAMBLE);
        (&mut file).take(PREAMBLE as u64).read_to_end(&mut beginning).map_err(unreadable)?;
        let contents = Contents::decode(&beginning, metadata.len(), &path.display().to_string())?;
        Ok(Self { file, path: path.into(), contents })
    }

    /// What it says that it holds.
    pub(crate) const fn contents(&self) -> &Contents {
        &self.contents
    }

    /// Bytes of the file.
    pub(crate) fn len(&self) -> u64 {
        self.contents.len()
    }

    /// Reads all of it and compares it with its checksum. `progress` is told how many bytes have been read and says
    /// whether to go on: if not, `false` is returned.
    ///
    /// # Errors
    /// If it is not what was written, or can't be read.
    pub(crate) fn check(&mut self, progress: impl FnMut(u64) -> bool) -> Result<bool, Error> {
        let end = self.len() - CHECKSUM as u64;
        let read = self.file.seek(SeekFrom::Start(0)).and_then(|_| sum(&mut self.file, end, progress));
        let Some(engine) = read.map_err(|error| unreadable(&self.path, &error))? else { return Ok(false) };
        let mut expected = [0; CHECKSUM];
        self.file.read_exact(&mut expected).map_err(|error| unreadable(&self.path, &error))?;
        if sha256::Hash::from_engine(engine).to_byte_array() != expected {
            let what =
                format!("{} is damaged: its checksum is not that of its contents", self.path.display());
            return Err(Error::new("damaged_file", what).help(AGAIN));
        }
        Ok(true)
    }

    /// The block headers from a height on, `count` of them.
    ///
    /// # Errors
    /// If they can't be read.
    ///
    /// # Panics
    /// If they are not all in the file.
    pub(crate) fn headers(&mut self, from: u32, count: u32) -> Result<Vec<Header>, Error> {
        let index = from.checked_sub(self.contents.start).expect("the file has headers from its start on");
        assert!(
            u64::from(index) + u64::from(count) <= u64::from(self.contents.headers),
            "none is behind the last"
        );
        let at = PREAMBLE as u64 + HEADER as u64 * u64::from(index);
        let bytes = self.read(at, HEADER * count as usize)?;
        let header = |bytes: &[u8; HEADER]| deserialize(bytes).expect("any 80 bytes are a header");
        Ok(bytes.as_chunks().0.iter().map(header).collect())
    }

    /// The block header at a height.
    ///
    /// # Errors
    /// If it can't be read.
    ///
    /// # Panics
    /// If it is not in the file.
    pub(crate) fn header(&mut self, height: u32) -> Result<Header, Error> {
        self.headers(height, 1).map(|headers| headers[0])
    }

    /// The filter headers from a height on, `count` of them.
    ///
    /// # Errors
    /// If they can't be read.
    ///
    /// # Panics
    /// If they are not all in the file.
    pub(crate) fn filter_headers(&mut self, from: u32, count: u32) -> Result<Vec<FilterHeader>, Error> {
        let index = from.checked_sub(self.contents.start).expect("the file has headers from its start on");
        let end = u64::from(index) + u64::from(count);
        assert!(end <= u64::from(self.contents.filter_headers), "none is behind the last");
        let at = self.contents.filter_headers_at() + FILTER_HEADER as u64 * u64::from(index);
        let bytes = self.read(at, FILTER_HEADER * count as usize)?;
        Ok(bytes.as_chunks().0.iter().map(|bytes| FilterHeader::from_byte_array(*bytes)).collect())
    }

    fn read(&mut self, at: u64, len: usize) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; len];
        let read = self.file.seek(SeekFrom::Start(at)).and_then(|_| self.file.read_exact(&mut bytes));
        read.map_err(|error| unreadable(&self.path, &error))?;
        Ok(bytes)
    }
}

/// A file that is written. Until it is [finished](Self::finish) it has another name, and it is removed when it is dropped.
#[derive(Debug)]
pub(crate) struct ArchiveWriter {
    file: NamedTempFile,
    path: PathBuf,
    force: bool,
    contents: Contents,
    written: u32,
}

impl ArchiveWriter {
    /// Begins a file of headers as `contents` says; how many filter headers there are shows as they come. With `force`
    /// it takes the place of a file that has this name.
    ///
    /// # Errors
    /// If there is such a file and no `force`, or none can be written there.
    pub(crate) fn create(path: &Path, force: bool, contents: Contents) -> Result<Self, Error> {
        if fs::symlink_metadata(path).is_ok_and(|found| !force || found.is_dir()) {
            return Err(exists(path));
        }
        let mut builder = tempfile::Builder::new();
        builder.prefix(".andon-").suffix(".new");
        // What a chain is made of is no secret: as the user has it for other files.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = directory.unwrap_or_else(|| Path::new("."));
        let file = builder.tempfile_in(directory).map_err(|error| unwritable(path, &error))?;
        let contents = Contents { filter_headers: 0, ..contents };
        Ok(Self { file, path: path.into(), force, contents, written: 0 })
    }

    /// Adds block headers, and filter headers that go on from those before.
    ///
    /// # Errors
    /// If they can't be written.
    ///
    /// # Panics
    /// If there are more than the file is to have.
    pub(crate) fn add(&mut self, headers: &[Header], filter_headers: &[FilterHeader]) -> Result<(), Error> {
        let at = PREAMBLE as u64 + HEADER as u64 * u64::from(self.written);
        let filter_headers_at = self.contents.filter_headers_at()
            + FILTER_HEADER as u64 * u64::from(self.contents.filter_headers);
        self.written += headers.len() as u32;
        self.contents.filter_headers += filter_headers.len() as u32;
        assert!(
            self.written <= self.contents.headers && self.contents.filter_headers <= self.written,
            "as many as were announced"
        );
        let headers: Vec<u8> = headers.iter().flat_map(serialize).collect();
        self.write(at, &headers)?;
        let filter_headers: Vec<u8> =
            filter_headers.iter().flat_map(|header| header.to_byte_array()).collect();
        self.write(filter_headers_at, &filter_headers)
    }

    /// Completes the file and gives it its name: what it holds, its length, and the SHA-256 of all of it.
    ///
    /// # Errors
    /// If it can't be written, or if there is a file of this name now.
    ///
    /// # Panics
    /// If headers are missing.
    pub(crate) fn finish(mut self) -> Result<(Contents, u64, sha256::Hash), Error> {
        assert_eq!(self.written, self.contents.headers, "as many as were announced");
        let preamble = self.contents.encode();
        self.write(0, &preamble)?;
        let end = self.contents.len() - CHECKSUM as u64;
        let file = self.file.as_file_mut();
        // Read back, so that the sum is of what is in the file.
        let summed = file.seek(SeekFrom::Start(0)).and_then(|_| sum(file, end, |_| true));
        let summed = summed.map_err(|error| unwritable(&self.path, &error))?;
        let mut engine = summed.expect("nobody ended it");
        let checksum = sha256::Hash::from_engine(engine.clone()).to_byte_array();
        engine.input(&checksum);
        self.write(end, &checksum)?;
        self.file.as_file().sync_all().map_err(|error| unwritable(&self.path, &error))?;
        let named = match self.force {
            true => self.file.persist(&self.path),
            false => self.file.persist_noclobber(&self.path),
        };
        match named {
            Ok(_) => Ok((self.contents, self.contents.len(), sha256::Hash::from_engine(engine))),
            Err(error) if error.error.kind() == ErrorKind::AlreadyExists => Err(exists(&self.path)),
            Err(error) => Err(unwritable(&self.path, &error.error)),
        }
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), Error> {
        let file = self.file.as_file_mut();
        let written = file.seek(SeekFrom::Start(at)).and_then(|_| file.write_all(bytes));
        written.map_err(|error| unwritable(&self.path, &error))
    }
}

/// Sums up the next `len` bytes. `None`: `progress` ended it.
fn sum(
    file: &mut File,
    len: u64,
    mut progress: impl FnMut(u64) -> bool,
) -> io::Result<Option<sha256::HashEngine>> {
    let mut engine = sha256::Hash::engine();
    let mut piece = vec![0; PIECE];
    let mut done = 0;
    while done < len {
        let next = usize::try_from(len - done).unwrap_or(PIECE).min(PIECE);
        file.read_exact(&mut piece[..next])?;
        engine.input(&piece[..next]);
        done += next as u64;
        if !progress(done) {
            return Ok(None);
        }
    }
    Ok(Some(engine))
}

/// The error for a file of another network than `network`.
pub(crate) fn other_network(path: &Path, found: Network, network: Network) -> Error {
    let (found, wanted) = (network_name(found), network_name(network));
    Error::new("other_network_file", format!("{} is of {found}, not of {wanted}", path.display()))
        .help(format!("give a file of {wanted}, or --network {found} if that is meant"))
}

fn unreadable(path: &Path, error: &io::Error) -> Error {
    let shown = path.display();
    if error.kind() == ErrorKind::UnexpectedEof {
        let what = format!("{shown} is cut off: it ended while it was read");
        return Error::new("damaged_file", what).help(AGAIN);
    }
    let help = "check the path, its permissions and the disk";
    Error::new("file", format!("{shown} can't be read: {error}")).help(help)
}

fn unwritable(path: &Path, error: &io::Error) -> Error {
    let what = format!("{} can't be written: {error}", path.display());
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            Error::new("full", what).help("make room on the disk, or give a file on another one")
        }
        _ => Error::new("file", what).help("check the path and its permissions, or give another one"),
    }
}

fn exists(path: &Path) -> Error {
    Error::new("exists", format!("{} exists", path.display()))
        .help("give the name of a new file, or --force to write over a file")
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::constants::genesis_block;

    fn contents() -> Contents {
        let mut work = [0; 32];
        work[30] = 7;
        Contents {
            network: Network::Signet,
            start: 10,
            work: Work::from_be_bytes(work),
            headers: 3,
            filter_headers: 2,
        }
    }

    fn header(nonce: u32) -> Header {
        Header { nonce, ..genesis_block(Network::Signet).header }
    }

    fn filter_header(byte: u8) -> FilterHeader {
        FilterHeader::from_byte_array([byte; 32])
    }

    fn write(path: &Path, force: bool) -> Result<(Contents, u64, sha256::Hash), Error> {
        let mut writer = ArchiveWriter::create(path, force, contents())?;
        writer.add(&[header(10), header(11)], &[filter_header(10)])?;
        writer.add(&[header(12)], &[filter_header(11)])?;
        writer.finish()
    }

    /// The bytes of a file, and what opening and checking it says.
    fn kind(bytes: &[u8]) -> Result<(), &'static str> {
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        let checked = Archive::open(file.path()).and_then(|mut archive| archive.check(|_| true));
        checked.map(|whole| assert!(whole)).map_err(|error| {
            assert!(error.what.contains(&file.path().display().to_string()), "{}", error.what);
            assert!(error.help.is_some(), "{}", error.what);
            error.kind
        })
    }

    #[test]
    fn what_is_written_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("headers");
        let (contents, len, digest) = write(&path, false).unwrap();
        assert_eq!(contents, self::contents());
        let bytes = fs::read(&path).unwrap();
        assert_eq!((len, bytes.len()), (60 + 3 * 80 + 2 * 32 + 32, 60 + 3 * 80 + 2 * 32 + 32));
        assert_eq!(digest, sha256::Hash::hash(&bytes), "what sha256sum would say");
        assert_eq!(bytes[..8], *b"\x89andon\r\n");
        assert_eq!(bytes[12..16], Network::Signet.magic().to_bytes());
        assert_eq!(bytes[60..140], serialize(&header(10)));
        let mut archive = Archive::open(&path).unwrap();
        assert_eq!((archive.contents(), archive.len()), (&contents, len));
        let mut told = Vec::new();
        assert_eq!(
            archive.check(|done| {
                told.push(done);
                true
            }),
            Ok(true)
        );
        assert_eq!(told, [len - 32]);
        assert_eq!(archive.check(|_| false), Ok(false));
        assert_eq!(archive.headers(10, 3).unwrap(), [header(10), header(11), header(12)]);
        assert_eq!(archive.header(12).unwrap(), header(12));
        assert_eq!(archive.filter_headers(10, 2).unwrap(), [filter_header(10), filter_header(11)]);
        assert_eq!(archive.filter_headers(11, 1).unwrap(), [filter_header(11)]);
        let names: Vec<_> =
            fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(names, [path], "nothing else is left");
    }

    #[test]
    fn no_file_is_written_over_unasked() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("headers");
        fs::write(&path, "mine").unwrap();
        assert_eq!(write(&path, false).unwrap_err().kind, "exists");
        assert_eq!(fs::read(&path).unwrap(), b"mine");
        // One that appears meanwhile too.
        fs::remove_file(&path).unwrap();
        let mut writer = ArchiveWriter::create(&path, false, Contents { headers: 1, ..contents() }).unwrap();
        writer.add(&[header(10)], &[]).unwrap();
        fs::write(&path, "mine").unwrap();
        assert_eq!(writer.finish().unwrap_err().kind, "exists");
        assert_eq!(fs::read(&path).unwrap(), b"mine");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing else is left");
        write(&path, true).unwrap();
        assert_eq!(kind(&fs::read(&path).unwrap()), Ok(()));
        assert_eq!(write(directory.path(), true).unwrap_err().kind, "exists", "a directory stays one");
        assert_eq!(write(&directory.path().join("no/where"), false).unwrap_err().kind, "file");
    }

    #[test]
    fn what_is_no_such_file_is_told_apart() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("headers");
        write(&path, false).unwrap();
        let good = fs::read(&path).unwrap();
        assert_eq!(kind(&good), Ok(()));
        // Each file that is cut off, and each bit that is turned.
        for len in 0..good.len() {
            let expected = if len == 0 { "foreign_file" } else { "damaged_file" };
            assert_eq!(kind(&good[..len]), Err(expected), "of {len} bytes");
        }
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            let expected = match at {
                0..8 => "foreign_file",
                8..12 => "newer_file",
                12..16 => "other_network_file",
                _ => "damaged_file",
            };
            assert_eq!(kind(&bad), Err(expected), "byte {at}");
        }
        assert_eq!(kind(&[&good[..], &[0]].concat()), Err("damaged_file"), "a byte too many");
        // As a transfer as text would have it.
        let text = good.iter().filter(|byte| **byte != b'\r').copied().collect::<Vec<u8>>();
        assert_eq!(kind(&text), Err("foreign_file"));
        assert_eq!(kind(b"height,hash\n0,00"), Err("foreign_file"));
        assert_eq!(Archive::open(directory.path()).unwrap_err().kind, "file", "a directory");
        assert_eq!(Archive::open(&directory.path().join("none")).unwrap_err().kind, "file");
    }

    #[test]
    fn counts_that_lie_cost_nothing() {
        let mut bytes = contents().encode().to_vec();
        let numbers = [
            (u32::MAX, 1, 0),
            (0, u32::MAX, u32::MAX),
            (0, u32::MAX, 0),
            (1, u32::MAX, 0),
            (0, 0, 0),
            (0, 1, 2),
            (u32::MAX - 1, 2, 0),
        ];
        for (start, headers, filter_headers) in numbers {
            bytes[16..20].copy_from_slice(&start.to_le_bytes());
            bytes[20..24].copy_from_slice(&headers.to_le_bytes());
            bytes[24..28].copy_from_slice(&filter_headers.to_le_bytes());
            assert_eq!(kind(&bytes), Err("damaged_file"), "{start} {headers} {filter_headers}");
        }
    }
}
