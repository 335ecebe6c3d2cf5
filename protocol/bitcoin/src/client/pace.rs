//! How fast a peer is: bytes a second while it owed something, and how long an answer takes to begin. Measured on the
//! machine's clock alone.

use core::time::Duration;

use andon_kernel::Instant;

/// The time over which bytes are counted for one measurement: long enough that the pieces a network cuts them into do not
/// show.
const SAMPLE: Duration = Duration::from_millis(200);

/// Silence beyond the latency at which a peer that owes something is taken to be getting slower.
const HICCUP: Duration = Duration::from_secs(1);

/// What is known of a peer's link.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    /// Bytes a second; `None`: not measured yet.
    rate: Option<u64>,
    /// From a request, while nothing else is owed, to the first byte after it.
    latency: Option<Duration>,
    state: State,
    /// When bytes came last, or were first waited for.
    last: Instant,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    /// It owes nothing.
    #[default]
    Idle,
    /// It was asked, and nothing has come.
    Asked,
    /// Bytes come: since it was asked, and since the measurement began.
    Busy { asked: Instant, bytes: u64, from: Instant, counted: u64 },
}

impl Pace {
    /// Notes that the peer was asked for something.
    pub(super) fn asked(&mut self, now: Instant) {
        if matches!(self.state, State::Idle) {
            self.state = State::Asked;
            self.last = now;
        }
    }

    /// Notes that bytes came.
    pub(super) fn received(&mut self, now: Instant, length: usize) {
        let length = length as u64;
        match &mut self.state {
            State::Idle => return,
            // What came first took a time to be sent that is not known.
            State::Asked => {
                let latency = now.since(self.last);
                // Something that was not asked for may have come first: it does not count for long.
                self.latency = Some(self.latency.map_or(latency, |before| (before + latency) / 2));
                self.state = State::Busy { asked: self.last, bytes: length, from: now, counted: 0 };
            }
            State::Busy { bytes, from, counted, .. } => {
                *bytes += length;
                *counted += length;
                let time = now.since(*from);
                if time >= SAMPLE {
                    let sample = per_second(*counted, time);
                    self.rate = Some(self.rate.map_or(sample, |rate| (rate + sample) / 2));
                    (*from, *counted) = (now, 0);
                }
            }
        }
        self.last = now;
    }

    /// Notes that the peer owes nothing any more.
    pub(super) fn idle(&mut self, now: Instant) {
        if let State::Busy { asked, bytes, .. } = self.state {
            // So fast it was at least: a short answer comes whole, and says nothing else of the rate.
            let least = per_second(bytes, now.since(asked));
            self.rate = Some(self.rate.map_or(least, |rate| rate.max(least)));
        }
        self.state = State::Idle;
    }

    /// Bytes a second that are to be expected. Falls while a peer that owes something is silent. `None`: it has not shown
    /// any, and has not been silent for long.
    pub(super) fn rate(&self, now: Instant) -> Option<u64> {
        let patience = self.latency() + HICCUP;
        let silence = if matches!(self.state, State::Idle) { Duration::ZERO } else { now.since(self.last) };
        if silence <= patience {
            return self.rate.map(|rate| rate.max(1));
        }
        let share = |rate: u64| (u128::from(rate) * patience.as_micros() / silence.as_micros()) as u64;
        Some(share(self.rate.unwrap_or(1)).max(1))
    }

    /// How long an answer takes to begin.
    pub(super) fn latency(&self) -> Duration {
        self.latency.unwrap_or_default()
    }

    /// How long an answer takes to begin, if that has been measured.
    pub(super) const fn measured_latency(&self) -> Option<Duration> {
        self.latency
    }

    /// How long so many bytes take, at the rate that is to be expected.
    pub(super) fn time_for(&self, bytes: u64, now: Instant) -> Option<Duration> {
        let micros = u128::from(bytes) * 1_000_000 / u128::from(self.rate(now)?);
        Some(Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX)))
    }
}

fn per_second(bytes: u64, time: Duration) -> u64 {
    (u128::from(bytes) * 1_000_000 / time.as_micros().max(1)) as u64
}
