//! What is known of a node, and what follows from it: whether it is worth its place, and how often it is chosen.

use core::time::Duration;

use bitcoin::p2p::ServiceFlags;

use super::limits::{
    FAILING_FOR, HORIZON, MAX_AHEAD, MAX_ATTEMPTS_UNREACHED, MAX_FAILURES, MAX_PENALISED_ATTEMPTS,
    MAX_REFERENCES, RECENT, TRIAL,
};
use super::location::{Location, Source};
use super::placement::Cell;
use crate::wire::NodeAddress;

/// A node of the book. Times are seconds since 1970; zero: never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it listens.
    pub location: Location,
    /// What it is said to serve; what it said itself, once it was reached.
    pub services: ServiceFlags,
    /// Who told of it first.
    pub source: Source,
    /// When it was last heard of.
    pub time: u32,
    /// When it was last reached.
    pub last_success: u32,
    /// When it was last dialled.
    pub last_try: u32,
    /// When it was last dialled so that it counted.
    pub last_counted: u32,
    /// Attempts that counted since it was last reached.
    pub attempts: u8,
    /// Where it stands in the tables.
    pub places: Places,
}

/// Where an entry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Places {
    /// Among those that were reached. Its place follows from its address.
    Tried,
    /// Among those that were heard of, in one to [`MAX_REFERENCES`] places.
    New(References),
}

/// Places of one address among those that were heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct References {
    count: u8,
    /// In order. What is beyond the count is the first cell.
    cells: [Cell; MAX_REFERENCES],
}

impl References {
    pub(super) const NONE: Self = Self { count: 0, cells: [Cell::from_number(0); MAX_REFERENCES] };

    /// The places, in order.
    pub fn cells(&self) -> &[Cell] {
        &self.cells[..usize::from(self.count)]
    }

    /// Adds a place. False: it is there, or there are as many as there can be.
    pub(super) fn add(&mut self, cell: Cell) -> bool {
        let count = usize::from(self.count);
        let Err(at) = self.cells().binary_search(&cell) else { return false };
        if count == MAX_REFERENCES {
            return false;
        }
        self.cells.copy_within(at..count, at + 1);
        self.cells[at] = cell;
        self.count += 1;
        true
    }

    /// Takes a place out, which must be there.
    pub(super) fn remove(&mut self, cell: Cell) {
        let at = self.cells().binary_search(&cell).expect("a place is taken out where it is");
        self.cells.copy_within(at + 1.., at);
        self.cells[MAX_REFERENCES - 1] = Cell::from_number(0);
        self.count -= 1;
    }
}

impl Entry {
    /// What is said of `address` and not known from elsewhere yet.
    pub(super) fn new(address: &NodeAddress, time: u32, source: &Source) -> Self {
        Self {
            location: address.into(),
            services: address.services,
            source: *source,
            time,
            last_success: 0,
            last_try: 0,
            last_counted: 0,
            attempts: 0,
            places: Places::New(References::NONE),
        }
    }

    /// As it is told to others.
    pub const fn address(&self) -> NodeAddress {
        let Location { host, port } = self.location;
        NodeAddress { time: self.time, services: self.services, host, port }
    }

    /// Whether it was reached and stands among those.
    pub const fn is_tried(&self) -> bool {
        matches!(self.places, Places::Tried)
    }

    /// In how many places it stands among those that were heard of.
    pub const fn references(&self) -> usize {
        match &self.places {
            Places::Tried => 0,
            Places::New(references) => references.count as usize,
        }
    }

    /// Whether it is not worth its place: not heard of for a month, or never reached, or out of reach for a week.
    pub fn is_terrible(&self, now: u32) -> bool {
        if !is_longer(self.last_try, now, TRIAL) {
            return false;
        }
        self.time > now.saturating_add(MAX_AHEAD.as_secs() as u32)
            || is_longer(self.time, now, HORIZON)
            || (self.last_success == 0 && self.attempts >= MAX_ATTEMPTS_UNREACHED)
            || (is_longer(self.last_success, now, FAILING_FOR) && self.attempts >= MAX_FAILURES)
    }

    /// How likely it is taken when it was drawn, in parts of 2^32: less by a third for each failure in a row, and a
    /// hundredth of that when it was tried a moment ago.
    pub fn chance(&self, now: u32) -> u64 {
        let chance = CHANCES[usize::from(self.attempts.min(MAX_PENALISED_ATTEMPTS))];
        if is_longer(self.last_try, now, RECENT - Duration::from_secs(1)) { chance } else { chance / 100 }
    }
}

/// Whether more than `duration` has gone by since a time. What lies ahead has not.
pub(super) fn is_longer(since: u32, now: u32, duration: Duration) -> bool {
    u64::from(now.saturating_sub(since)) > duration.as_secs()
}

/// Powers of 0.66, in parts of 2^32.
const CHANCES: [u64; MAX_PENALISED_ATTEMPTS as usize + 1] = {
    let mut chances = [1 << 32; MAX_PENALISED_ATTEMPTS as usize + 1];
    let mut at = 1;
    while at < chances.len() {
        chances[at] = chances[at - 1] * 66 / 100;
        at += 1;
    }
    chances
};

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u32 = 1_700_000_000;
    const MINUTE: u32 = 60;
    const DAY: u32 = 24 * 60 * MINUTE;

    fn entry() -> Entry {
        let location = Location::from(core::net::SocketAddr::from(([8, 8, 8, 8], 8333)));
        let address = NodeAddress {
            time: NOW - DAY,
            services: ServiceFlags::NONE,
            host: location.host,
            port: location.port,
        };
        Entry::new(&address, address.time, &Source::named("test"))
    }

    #[test]
    fn what_is_not_worth_its_place() {
        type Change = fn(&mut Entry);
        let rows: [(&str, Change, bool); 14] = [
            ("heard of yesterday", |_| (), false),
            ("heard of 30 days ago", |entry| entry.time = NOW - 30 * DAY, false),
            ("a second longer", |entry| entry.time = NOW - 30 * DAY - 1, true),
            ("never heard of", |entry| entry.time = 0, true),
            ("ten minutes ahead", |entry| entry.time = NOW + 10 * MINUTE, false),
            ("a second further", |entry| entry.time = NOW + 10 * MINUTE + 1, true),
            ("two attempts, never reached", |entry| entry.attempts = 2, false),
            ("three", |entry| entry.attempts = 3, true),
            (
                "three, the last a minute ago",
                |entry| (entry.attempts, entry.last_try) = (3, NOW - MINUTE),
                false,
            ),
            ("a second before", |entry| (entry.attempts, entry.last_try) = (3, NOW - MINUTE - 1), true),
            ("three, once reached", |entry| (entry.attempts, entry.last_success) = (3, 1), false),
            (
                "ten, reached a week ago",
                |entry| (entry.attempts, entry.last_success) = (10, NOW - 7 * DAY),
                false,
            ),
            ("a second before", |entry| (entry.attempts, entry.last_success) = (10, NOW - 7 * DAY - 1), true),
            ("nine", |entry| (entry.attempts, entry.last_success) = (9, NOW - 8 * DAY), false),
        ];
        for (name, change, terrible) in rows {
            let mut entry = entry();
            change(&mut entry);
            assert_eq!(entry.is_terrible(NOW), terrible, "{name}");
        }
    }

    #[test]
    fn failures_and_a_recent_attempt_lower_the_chance() {
        let one = f64::from(u32::MAX) + 1.0;
        for (attempts, last_try, expected) in [
            (0, 0, 1.0),
            (1, 0, 0.66),
            (2, 0, 0.4356),
            (8, 0, 0.036_003),
            (200, 0, 0.036_003),
            (0, NOW - 10 * MINUTE, 1.0),
            (0, NOW - 10 * MINUTE + 1, 0.01),
            (1, NOW, 0.0066),
            // The clock was set back.
            (0, NOW + DAY, 0.01),
        ] {
            let chance = Entry { attempts, last_try, ..entry() }.chance(NOW) as f64 / one;
            assert!((chance - expected).abs() < 1e-5, "{attempts} {last_try}: {chance}");
        }
    }

    #[test]
    fn references_are_a_small_ordered_set() {
        let mut references = References::NONE;
        for number in [70, 5, 900, 5, 64, 1, 2, 3, 4, 6] {
            references.add(Cell::from_number(number));
        }
        let numbers = |references: &References| references.cells().iter().map(|cell| cell.number()).collect();
        let held: alloc::vec::Vec<u16> = numbers(&references);
        assert_eq!(held, [1, 2, 3, 4, 5, 64, 70, 900]);
        for number in [64, 1, 900, 2, 3, 4, 5, 70] {
            references.remove(Cell::from_number(number));
        }
        assert_eq!(references, References::NONE);
    }
}
