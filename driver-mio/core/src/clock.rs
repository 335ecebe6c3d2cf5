//! The only place where the clocks are read.

use std::time::{Duration, Instant as Monotonic, SystemTime};

use andon_kernel::{Instant, Now, UnixTime};

/// The time since the driver started, and the calendar's.
#[derive(Debug)]
pub(crate) struct Clock {
    start: Monotonic,
}

#[expect(clippy::disallowed_methods, reason = "this is the driver: it gives machines their time")]
impl Clock {
    /// Starts it: now is zero.
    pub(crate) fn start() -> Self {
        Self { start: Monotonic::now() }
    }

    /// Reads both clocks.
    pub(crate) fn now(&self) -> Now {
        let instant = Instant::ZERO + Monotonic::now().saturating_duration_since(self.start);
        // A clock before 1970 is unset; zero says so as well as anything.
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Now { instant, unix: UnixTime::from_secs(unix.as_secs()) }
    }
}
