//! What the server and the clients tell on standard output: one line each, a word and its numbers.

use std::fmt;
use std::net::SocketAddr;
use std::str::{FromStr, SplitWhitespace};
use std::time::Duration;

use bitcoin::BlockHash;

use crate::Error;
use crate::findings::Sum;

/// What the server tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Served {
    /// It serves: where, and up to which block.
    Ready { address: SocketAddr, tip: BlockHash },
    /// What it has sent and received since its start, in bytes; told each time that it is asked.
    Traffic { sent: u64, received: u64 },
}

/// What a client tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// How far it is. Once a second.
    Progress(Progress),
    /// It is done. The last line.
    Done(Done),
}

/// How many headers and filter headers a client knows, the first block's aside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) headers: u32,
    pub(crate) filter_headers: u32,
}

/// What a client's process measured. Times are from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Done {
    /// The last block that it knows, of which it knows the filter header.
    pub(crate) height: u32,
    pub(crate) tip: BlockHash,
    /// Until it was ready to ask peers: what had been stored was read.
    pub(crate) ready: Duration,
    /// Until it knew every header.
    pub(crate) headers: Duration,
    /// Until it knew every filter header.
    pub(crate) filter_headers: Duration,
    /// Until everything was on the disk, if it stores anything.
    pub(crate) stored: Option<Duration>,
    /// Until every filter was searched and every block that matched was read, if anything was looked for.
    pub(crate) searched: Option<Duration>,
    /// Payments to what was looked for.
    pub(crate) found: Sum,
    /// Processor time until then.
    pub(crate) processor: Duration,
    /// The most memory until then, in bytes.
    pub(crate) peak_memory: u64,
    /// What it had the system read from a disk and write to it, in bytes, with the closing.
    pub(crate) disk: Disk,
}

/// Bytes that went from and to a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Disk {
    pub(crate) read: u64,
    pub(crate) written: u64,
}

impl fmt::Display for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready { address, tip } => write!(f, "ready {address} {tip}"),
            Self::Traffic { sent, received } => write!(f, "traffic {sent} {received}"),
        }
    }
}

impl FromStr for Served {
    type Err = Error;

    fn from_str(line: &str) -> Result<Self, Error> {
        let mut words = Words(line.split_whitespace());
        match words.next::<String>()?.as_str() {
            "ready" => Ok(Self::Ready { address: words.next()?, tip: words.next()? }),
            "traffic" => Ok(Self::Traffic { sent: words.next()?, received: words.next()? }),
            _ => Err(format!("the server says {line:?}").into()),
        }
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Progress(Progress { headers, filter_headers }) => {
                write!(f, "progress {headers} {filter_headers}")
            }
            Self::Done(done) => {
                let micros = |time: Duration| time.as_micros();
                write!(
                    f,
                    "done {} {} {} {} {} {} {} {} {} {} {} {}",
                    done.height,
                    done.tip,
                    micros(done.ready),
                    micros(done.headers),
                    micros(done.filter_headers),
                    micros(done.stored.unwrap_or_default()),
                    micros(done.searched.unwrap_or_default()),
                    done.found,
                    micros(done.processor),
                    done.peak_memory,
                    done.disk.read,
                    done.disk.written
                )
            }
        }
    }
}

impl FromStr for Told {
    type Err = Error;

    fn from_str(line: &str) -> Result<Self, Error> {
        let mut words = Words(line.split_whitespace());
        match words.next::<String>()?.as_str() {
            "progress" => {
                Ok(Self::Progress(Progress { headers: words.next()?, filter_headers: words.next()? }))
            }
            "done" => Ok(Self::Done(Done {
                height: words.next()?,
                tip: words.next()?,
                ready: words.time()?,
                headers: words.time()?,
                filter_headers: words.time()?,
                // Nothing is on the disk after no time.
                stored: Some(words.time()?).filter(|time| !time.is_zero()),
                searched: Some(words.time()?).filter(|time| !time.is_zero()),
                found: words.next()?,
                processor: words.time()?,
                peak_memory: words.next()?,
                disk: Disk { read: words.next()?, written: words.next()? },
            })),
            _ => Err(format!("the client says {line:?}").into()),
        }
    }
}

/// The words of a line.
struct Words<'a>(SplitWhitespace<'a>);

impl Words<'_> {
    fn next<T: FromStr<Err: Into<Error>>>(&mut self) -> Result<T, Error> {
        self.0.next().ok_or("a line is cut off")?.parse().map_err(Into::into)
    }

    fn time(&mut self) -> Result<Duration, Error> {
        self.next().map(Duration::from_micros)
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::hashes::Hash;

    use super::*;
    use crate::findings::Findings;

    #[test]
    fn what_is_written_is_read() -> Result<(), Error> {
        let tip = BlockHash::from_byte_array([7; 32]);
        let done = Done {
            height: 1_000_000,
            tip,
            ready: Duration::from_micros(1),
            headers: Duration::from_micros(2_000_000),
            filter_headers: Duration::from_secs(3),
            stored: Some(Duration::from_secs(4)),
            searched: Some(Duration::from_secs(5)),
            found: Findings::default().sum(),
            processor: Duration::from_millis(50),
            peak_memory: u64::MAX,
            disk: Disk { read: 1, written: 2 },
        };
        for told in [
            Told::Progress(Progress { headers: 3, filter_headers: 2 }),
            Told::Done(done),
            Told::Done(Done { stored: None, searched: None, ..done }),
        ] {
            assert_eq!(told.to_string().parse::<Told>()?, told);
        }
        for served in [
            Served::Ready { address: SocketAddr::from(([127, 0, 0, 1], 18444)), tip },
            Served::Traffic { sent: u64::MAX, received: 0 },
        ] {
            assert_eq!(served.to_string().parse::<Served>()?, served);
        }
        Ok(())
    }

    #[test]
    fn what_is_cut_off_or_unknown_is_an_error() {
        for line in ["", "done", "done 5", "progress 1", "progress 1 x", "else 1 2"] {
            assert!(line.parse::<Told>().is_err(), "{line:?}");
        }
        for line in ["", "ready", "ready 127.0.0.1:1", "traffic 1", "else 1 2"] {
            assert!(line.parse::<Served>().is_err(), "{line:?}");
        }
    }
}
