//! The clock, and what the system tells of a process.

use std::fs;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::Error;
use crate::lines::Disk;

/// Of the times in `/proc`: the same on every Linux.
const TICKS_A_SECOND: u64 = 100;

/// The monotonic clock.
#[expect(clippy::disallowed_methods, reason = "no machine's time: this is what is measured")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Seconds since 1970.
///
/// # Errors
/// If the clock is set to before that, or to after 2106.
#[expect(clippy::disallowed_methods, reason = "no machine's time: where the served chain ends")]
fn unix_time() -> Result<u32, Error> {
    Ok(u32::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?)
}

/// The last full hour, in seconds since 1970: a chain that ends there has nothing odd about it for a client.
///
/// # Errors
/// As [`unix_time`].
pub(crate) fn last_hour() -> Result<u32, Error> {
    let now = unix_time()?;
    Ok(now - now % (60 * 60))
}

/// The most memory that a process has had (`VmHWM`), in bytes. `process` is its id, or `self`.
///
/// # Errors
/// If the system doesn't tell; Linux does.
pub(crate) fn peak_memory(process: &str) -> Result<u64, Error> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    Ok(kibibytes.ok_or("the system does not tell how much memory the process had")? * 1024)
}

/// The time that processors have worked for a process, in it and in the system. `process` is its id, or `self`.
///
/// # Errors
/// If the system doesn't tell; Linux does.
pub(crate) fn processor_time(process: &str) -> Result<Duration, Error> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The second field is the program's name in brackets, and may hold anything.
    let fields = stat.rsplit_once(')').map(|(_, fields)| fields.split_whitespace());
    let ticks = fields.and_then(|mut fields| {
        let user: u64 = fields.nth(11)?.parse().ok()?;
        let system: u64 = fields.next()?.parse().ok()?;
        Some(user + system)
    });
    let ticks = ticks.ok_or("the system does not tell the processor time of the process")?;
    Ok(Duration::from_millis(ticks * 1000 / TICKS_A_SECOND))
}

/// What a process has had the system read from a disk and write to one. What lies in memory anyway is not read, and what is
/// written into a file in memory is not written.
///
/// # Errors
/// If the system doesn't tell; Linux does.
pub(crate) fn disk(process: &str) -> Result<Disk, Error> {
    let counts = fs::read_to_string(format!("/proc/{process}/io"))?;
    let count = |name: &str| -> Result<u64, Error> {
        let line = counts.lines().find_map(|line| line.strip_prefix(name));
        Ok(line.ok_or("the system does not tell what the process wrote to a disk")?.trim().parse()?)
    };
    Ok(Disk { read: count("read_bytes:")?, written: count("write_bytes:")? })
}
