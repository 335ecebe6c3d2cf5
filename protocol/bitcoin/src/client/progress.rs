//! How far everything is, how fast it goes, and how long the rest will take.

use core::time::Duration;

use andon_kernel::Instant;

use super::peer::Headers;
use super::{BYTES_INTERVAL, Client, Event, PROGRESS_INTERVAL, Timer, Told, Turn};

/// The time over which bytes are counted for one measurement of the rate.
const SAMPLE: Duration = Duration::from_secs(1);

/// Bytes of a header and of a filter header as they are sent.
const HEADER_BYTES: u64 = 81;
const FILTER_HEADER_BYTES: u64 = 32;

/// New blocks that are behind the tip without the client being taken to have fallen behind.
const AT_THE_TIP: u32 = 6;

/// How far each part is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// What the client waits for most.
    pub phase: SyncPhase,
    /// Block headers; the total is the highest that a peer claims.
    pub headers: Count,
    /// Filter headers, up to the block headers' tip.
    pub filter_headers: Count,
    /// Filters from the birthday to the tip.
    pub filters: Count,
    /// Blocks whose filters matched.
    pub blocks: Count,
    /// Bytes received since the start.
    pub bytes_received: u64,
    /// Bytes sent since the start.
    pub bytes_sent: u64,
    /// Bytes received a second, on average over the last seconds in which something was owed. `None`: not measured yet.
    pub rate: Option<u64>,
    /// How long it takes to receive all that is known to be missing, at that rate: an estimate, of blocks that match only those
    /// that are known of. `None`: nothing is known of the rate. Zero: nothing is missing.
    pub time_left: Option<Duration>,
}

/// What a client waits for most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum SyncPhase {
    /// A peer: none is connected.
    #[default]
    Connecting,
    /// Block headers.
    Headers,
    /// Filter headers.
    FilterHeaders,
    /// Filters, and blocks whose filters match.
    Filters,
    /// New blocks: the client has been at the tip, and is no more than six blocks behind it.
    Following,
    /// An [order](super::Command::Resume) to go on.
    Paused,
}

/// A part of a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Of them, these are done.
    pub done: u32,
    /// Of all that are known of now.
    pub total: u32,
}

impl Count {
    fn left(&self) -> u64 {
        self.total.saturating_sub(self.done).into()
    }
}

/// How fast bytes come.
#[derive(Debug, Default)]
pub(super) struct Meter {
    rate: Option<u64>,
    /// When the measurement began, and how many bytes had come.
    from: Option<(Instant, u64)>,
}

impl Meter {
    /// Takes in how many bytes have come; only the time counts in which something was `owed`.
    fn measure(&mut self, now: Instant, bytes: u64, owed: bool) {
        let Some((since, before)) = self.from.filter(|_| owed) else {
            self.from = owed.then_some((now, bytes));
            return;
        };
        let time = now.since(since);
        if time >= SAMPLE {
            let sample = u128::from(bytes - before) * 1_000_000 / time.as_micros();
            let sample = u64::try_from(sample).unwrap_or(u64::MAX);
            // A measurement of a long time says as much as several of a short one.
            let weight = u32::try_from(time.as_secs()).unwrap_or(u32::MAX).clamp(1, 4);
            self.rate = Some(match self.rate {
                None => sample,
                Some(rate) => rate / 4 * u64::from(4 - weight) + sample / 4 * u64::from(weight),
            });
            self.from = Some((now, bytes));
        }
    }
}

impl Client {
    pub(super) fn tell_progress(&mut self, turn: &mut Turn<'_>) {
        let is_waiting = self.is_waiting_for_answers();
        self.meter.measure(turn.now.instant, self.bytes_received, is_waiting);
        let progress = self.measure_progress();
        let before = self.progress.value;
        let told = Progress {
            bytes_received: progress.bytes_received,
            bytes_sent: progress.bytes_sent,
            rate: progress.rate,
            time_left: progress.time_left,
            ..before
        };
        let interval = if progress != told {
            PROGRESS_INTERVAL
        } else if is_waiting && progress.bytes_received != before.bytes_received {
            BYTES_INTERVAL
        } else {
            // Bytes that answer nothing are no progress: a ping would wake the application.
            self.timers.cancel(Timer::Progress);
            return;
        };
        let due = self.progress.at + interval;
        if turn.now.instant < due && self.progress.at != Instant::ZERO {
            self.timers.set(Timer::Progress, due);
            return;
        }
        self.timers.cancel(Timer::Progress);
        self.progress = Told { value: progress, at: turn.now.instant };
        turn.out.event(Event::Progress(progress));
    }

    fn measure_progress(&self) -> Progress {
        let tip = self.chain.tip_height();
        // Who claims more than it shows is not believed.
        let ready = self.peers.values().filter(|peer| peer.is_ready() && peer.headers != Headers::Withheld);
        let claimed = ready.map(|peer| peer.claimed).max().unwrap_or(0);
        let mut progress = Progress {
            headers: super::Count { done: tip, total: tip.max(claimed) },
            filter_headers: super::Count { done: self.filter_headers.next().saturating_sub(1), total: tip },
            bytes_received: self.bytes_received,
            bytes_sent: self.bytes_sent,
            ..Progress::default()
        };
        self.search.count(tip, self.filter_headers.first_filter(), &mut progress);
        progress.phase = self.phase_of(&progress);
        let left = self.bytes_left(&progress);
        progress.rate = self.meter.rate;
        progress.time_left = match (left, self.meter.rate) {
            (0, _) => Some(Duration::ZERO),
            (_, None | Some(0)) => None,
            (left, Some(rate)) => Some(Duration::from_secs(left.div_ceil(rate))),
        };
        progress
    }

    fn phase_of(&self, progress: &Progress) -> SyncPhase {
        let Progress { headers, filter_headers, filters, blocks, .. } = progress;
        let is_connected = self.peers.values().any(|peer| peer.is_ready());
        let behind = headers.left().max(filter_headers.left()).max(filters.left());
        if self.pause.is_paused() {
            SyncPhase::Paused
        } else if !is_connected {
            SyncPhase::Connecting
        } else if self.has_synced && behind <= AT_THE_TIP.into() && !self.ranges.is_active() {
            SyncPhase::Following
        } else if !self.headers_are_current() {
            SyncPhase::Headers
        } else if filter_headers.left() > 0 {
            SyncPhase::FilterHeaders
        } else if filters.left() > 0 || blocks.left() > 0 {
            SyncPhase::Filters
        } else {
            SyncPhase::Following
        }
    }

    /// About how many bytes are to come of what is known to be missing.
    fn bytes_left(&self, progress: &Progress) -> u64 {
        let Progress { headers, filter_headers, filters, blocks, .. } = progress;
        // What is not known to be there yet has filter headers, and filters if anything is watched, as the rest has.
        let unknown = headers.left();
        let filters = if filters.total > 0 { filters.left() + unknown } else { 0 };
        unknown * HEADER_BYTES
            + (filter_headers.left() + unknown) * FILTER_HEADER_BYTES
            + filters * self.search.filters.average()
            + blocks.left() * self.search.blocks.average()
    }

    pub(super) fn is_waiting_for_answers(&self) -> bool {
        let mut waiting = self.peers.keys().flat_map(|conn| [Timer::Headers(*conn), Timer::Stall(*conn)]);
        waiting.any(|timer| self.timers.get(timer).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_of_the_seconds_in_which_something_was_owed() {
        let at = |millis: u64| Instant::from_micros(millis * 1000);
        let mut meter = Meter::default();
        meter.measure(at(0), 1_000, true);
        meter.measure(at(500), 2_000, true);
        assert_eq!(meter.rate, None);
        meter.measure(at(1_000), 5_000, true);
        assert_eq!(meter.rate, Some(4_000));
        // An hour of silence in which nothing was owed.
        meter.measure(at(1_500), 5_000, false);
        meter.measure(at(3_600_000), 5_000, true);
        meter.measure(at(3_602_000), 5_800, true);
        assert_eq!(meter.rate, Some(2_200));
        // A stall of minutes counts whole.
        meter.measure(at(3_900_000), 5_800, true);
        assert_eq!(meter.rate, Some(0));
    }
}
