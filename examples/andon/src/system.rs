//! What the program asks of the system: the clock, secret random bytes, its own peak memory, a place for its data.

use std::path::PathBuf;
use std::time::Instant;

use bitcoin::Network;
use directories::ProjectDirs;

use crate::arguments::network_name;
use crate::error::Error;

/// The monotonic clock, for deadlines and for the times in the summary.
#[expect(
    clippy::disallowed_methods,
    reason = "no machine's time: only what is shown to a person, and when to give up"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// A secret seed.
///
/// # Errors
/// If the system has no randomness to give.
pub(crate) fn seed() -> Result<[u8; 32], Error> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)
        .map_err(|error| Error::new("system", format!("the system gives no random bytes: {error}")))?;
    Ok(seed)
}

/// The most memory that this process has had, in bytes, where the system tells it (Linux).
pub(crate) fn peak_memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// Where a network's data is kept unless the user says otherwise.
///
/// # Errors
/// If the system names no place for a user's data.
pub(crate) fn default_data_dir(network: Network) -> Result<PathBuf, Error> {
    let projects = ProjectDirs::from("", "", "andon").ok_or_else(|| {
        Error::usage("this system names no home directory to keep data in").help("say where: --data-dir DIR")
    })?;
    Ok(projects.data_dir().join(network_name(network)))
}
