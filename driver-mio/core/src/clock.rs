//! The only place where the clocks are read.

use std::time::{Duration, Instant as Monotonic, SystemTime};

use andon_kernel::{Instant, Now, UnixTime};

/// How long the calendar is not read again: it tells seconds, and each reading costs as much as the other clock's.
const CALENDAR: Duration = Duration::from_millis(1);

/// The time since the driver started, and the calendar's.
#[derive(Debug)]
pub(crate) struct Clock {
    start: Monotonic,
    unix: UnixTime,
    /// When the calendar was read.
    read: Instant,
}

#[expect(clippy::disallowed_methods, reason = "this is the driver: it gives machines their time")]
impl Clock {
    /// Starts it: now is zero.
    pub(crate) fn start() -> Self {
        Self { start: Monotonic::now(), unix: calendar(), read: Instant::ZERO }
    }

    /// The time since the start.
    pub(crate) fn instant(&self) -> Instant {
        Instant::ZERO + Monotonic::now().saturating_duration_since(self.start)
    }

    /// Both.
    pub(crate) fn now(&mut self) -> Now {
        let instant = self.instant();
        if instant.since(self.read) >= CALENDAR {
            self.unix = calendar();
            self.read = instant;
        }
        Now { instant, unix: self.unix }
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the driver: it gives machines their time")]
fn calendar() -> UnixTime {
    // A clock before 1970 is unset; zero says so as well as anything.
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    UnixTime::from_secs(since.as_secs())
}
