//! What is known of a node, and what follows from it: whether it is worth its place, and how often it is chosen.

use super::placement::GroupNumber;
use crate::policy::Address;

pub(super) const MINUTE: u32 = 60;
pub(super) const HOUR: u32 = 60 * MINUTE;
pub(super) const DAY: u32 = 24 * HOUR;
pub(super) const HORIZON: u32 = 30 * DAY;

/// What is known of a node. Times are in Unix seconds; zero: never.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) ip: u32,
    pub(super) port: u16,
    pub(super) attempts: u8,
    /// Places among the new; zero: it stands among the tried, or nowhere.
    pub(super) references: u8,
    pub(super) is_tried: bool,
    /// The first of its places among the new: a bucket in tables of sets, a cell in tables of cells. Few have more.
    pub(super) place: u16,
    /// The group of who told of it first.
    pub(super) source: GroupNumber,
    pub(super) time: u32,
    pub(super) last_success: u32,
    pub(super) last_try: u32,
    pub(super) last_counted: u32,
}

// Two to a line of the cache: there are twenty thousand, and most steps look at five.
const _: () = assert!(core::mem::size_of::<Entry>() == 32);

/// A chance of one, as chances are counted here.
pub(super) const ONE: u64 = 1 << 32;

/// Powers of 0.66.
const CHANCES: [u64; 9] = {
    let mut chances = [ONE; 9];
    let mut at = 1;
    while at < chances.len() {
        chances[at] = chances[at - 1] * 66 / 100;
        at += 1;
    }
    chances
};

impl Entry {
    pub(super) const fn is_terrible(&self, now: u32) -> bool {
        if self.last_try != 0 && self.last_try >= now.saturating_sub(MINUTE) {
            return false;
        }
        self.time > now + 10 * MINUTE
            || now.saturating_sub(self.time) > HORIZON
            || self.last_success == 0 && self.attempts >= 3
            || now.saturating_sub(self.last_success) > 7 * DAY && self.attempts >= 10
    }

    pub(super) const fn address(&self) -> Address {
        Address { ip: self.ip, port: self.port }
    }

    pub(super) const fn is_there(&self) -> bool {
        self.is_tried || self.references > 0
    }

    /// How likely it is taken when it was drawn: less by a third for each failure in a row, and a hundredth of that when it
    /// was tried a moment ago. `by_age`: the less, the longer ago it was heard of; ten minutes ago, half.
    pub(super) const fn chance(&self, by_age: bool, now: u32) -> u64 {
        let mut chance = if by_age {
            let age = now.saturating_sub(self.time) as u64;
            let mut chance = 600 * ONE / (600 + age);
            let mut attempts = self.attempts;
            while attempts > 0 && chance > 0 {
                chance = chance * 2 / 3;
                attempts -= 1;
            }
            chance
        } else {
            CHANCES[if self.attempts > 8 { 8 } else { self.attempts as usize }]
        };
        if now.saturating_sub(self.last_try) < 10 * MINUTE {
            chance /= 100;
        }
        chance
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u32 = 1_700_000_000;

    fn entry() -> Entry {
        Entry {
            ip: 0x0808_0808,
            port: 8333,
            attempts: 0,
            references: 1,
            is_tried: false,
            place: 0,
            source: 0x0909,
            time: NOW - DAY,
            last_success: 0,
            last_try: 0,
            last_counted: 0,
        }
    }

    #[test]
    fn what_is_not_worth_its_place() {
        type Change = fn(&mut Entry);
        let rows: [(&str, Change, bool); 11] = [
            ("heard of yesterday", |_| (), false),
            ("30 days ago", |entry| entry.time = NOW - 30 * DAY, false),
            ("a second longer", |entry| entry.time = NOW - 30 * DAY - 1, true),
            ("never", |entry| entry.time = 0, true),
            ("ten minutes ahead", |entry| entry.time = NOW + 600, false),
            ("a second further", |entry| entry.time = NOW + 601, true),
            ("three attempts, never reached", |entry| entry.attempts = 3, true),
            ("the last a minute ago", |entry| (entry.attempts, entry.last_try) = (3, NOW - 60), false),
            ("once reached", |entry| (entry.attempts, entry.last_success) = (3, 1), false),
            ("ten, a week", |entry| (entry.attempts, entry.last_success) = (10, NOW - 7 * DAY), false),
            ("longer", |entry| (entry.attempts, entry.last_success) = (10, NOW - 7 * DAY - 1), true),
        ];
        for (name, change, terrible) in rows {
            let mut entry = entry();
            change(&mut entry);
            assert_eq!(entry.is_terrible(NOW), terrible, "{name}");
        }
    }

    #[test]
    fn chances() {
        for (by_age, age, attempts, last_try, expected) in [
            (true, 0, 0, 0, 1.0),
            (true, 600, 0, 0, 0.5),
            (true, 1620, 0, 0, 1.0 / 3.7),
            (true, 0, 2, 0, 1.0 / 2.25),
            (true, 600, 1, NOW - 599, 0.5 / 1.5 / 100.0),
            (true, 600, 0, NOW - 600, 0.5),
            (true, 0, 255, 0, 0.0),
            (false, 9999, 0, 0, 1.0),
            (false, 0, 2, 0, 0.4356),
            (false, 0, 200, 0, 0.036_004_1),
            (false, 0, 1, NOW, 0.0066),
        ] {
            let entry = Entry { time: NOW - age, attempts, last_try, ..entry() };
            let chance = entry.chance(by_age, NOW) as f64 / ONE as f64;
            assert!((chance - expected).abs() < 1e-7, "{age} {attempts} {last_try}: {chance}");
        }
    }
}
