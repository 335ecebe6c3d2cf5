//! `--record`: where a run of the client is written down, for `replay`.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use andon_driver::{Compression, RecordingFile, RecordingMonitor};
use clap::Args;

use crate::error::Error;
use crate::output::Output;
use crate::units::bytes;

/// Whether and where to record.
#[derive(Debug, Args)]
#[command(next_help_heading = "Recording")]
pub(crate) struct RecordingArguments {
    /// Record the run in a new file, compressed if its name ends with .gz: `replay` runs it again
    ///
    /// It holds secrets: the run's keys, all that is watched, transactions, the addresses of peers, a proxy's password. Give it
    /// to nobody who may not have them.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Record no more than this, before compression: bytes, or with K, M or G behind it thousands, millions, milliards of them
    #[arg(long, value_name = "SIZE", requires = "record", default_value = "1G", value_parser = parse_size)]
    record_limit: u64,
}

/// A recording that is to be made, or none.
#[derive(Debug)]
pub(crate) struct Recording {
    path: Option<PathBuf>,
    limit: u64,
    /// Once it has begun.
    monitor: OnceLock<RecordingMonitor>,
}

impl Recording {
    /// As the arguments say.
    pub(crate) fn new(arguments: &RecordingArguments) -> Self {
        Self { path: arguments.record.clone(), limit: arguments.record_limit, monitor: OnceLock::new() }
    }

    /// None.
    pub(crate) const fn none() -> Self {
        Self { path: None, limit: 0, monitor: OnceLock::new() }
    }

    /// Bytes that it may have.
    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// Begins it, if there is to be one.
    ///
    /// # Errors
    /// If the file is there already, or can't be made.
    pub(crate) fn begin(&self) -> Result<Option<RecordingFile>, Error> {
        let Some(path) = &self.path else { return Ok(None) };
        let is_compressed = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz"));
        let compression = if is_compressed { Compression::Gzip } else { Compression::None };
        let (file, monitor) =
            RecordingFile::create(path, compression).map_err(|error| refused(path, &error))?;
        self.monitor.get_or_init(|| monitor);
        Ok(Some(file))
    }

    /// Removes it: nothing has run, so it has nothing but secrets, and would be in the way of another attempt.
    pub(crate) fn discard(&self) {
        if let (Some(path), Some(_)) = (&self.path, self.monitor.get()) {
            // Whoever can't remove it finds it there, and is told so by the next attempt.
            let _ = std::fs::remove_file(path);
        }
    }

    /// Tells what has become of it, after the client has ended.
    pub(crate) fn tell(&self, output: &mut Output) {
        let (Some(path), Some(monitor)) = (&self.path, self.monitor.get()) else { return };
        let path = path.display();
        if let Some(error) = monitor.error() {
            output.warning(&format!("the recording in {path} is not whole: {error}"));
            return;
        }
        if monitor.is_bounded() {
            output.warning(&format!(
                "the recording in {path} is not whole: it ends at --record-limit, before the run did"
            ));
        }
        output.news(&format!(
            "Recorded {} in {path}, with the run's secrets; 'andon replay' runs it again",
            bytes(monitor.bytes())
        ));
    }
}

fn refused(path: &Path, error: &std::io::Error) -> Error {
    Error::new("recording", format!("the recording {} can't be made: {error}", path.display()))
        .help("name a new file in a directory that can be written")
}

/// A number of bytes.
fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || "not a number of bytes, such as 500M".to_owned();
    let (digits, factor) = match text.char_indices().next_back() {
        Some((at, 'k' | 'K')) => (&text[..at], 1000),
        Some((at, 'm' | 'M')) => (&text[..at], 1_000_000),
        Some((at, 'g' | 'G')) => (&text[..at], 1_000_000_000),
        _ => (text, 1),
    };
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    number.checked_mul(factor).ok_or_else(wrong)
}
