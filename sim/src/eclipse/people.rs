//! Who is who in a trial, told by the address alone: so that nobody is looked up, and nothing is allocated per node.
//!
//! | first bits | who |
//! |---|---|
//! | `00` | nodes that the victim has reached before |
//! | `01` | nodes that it has heard of |
//! | `10` | the attacker's |
//! | `111111` | addresses where nobody is, of 252.0.0.0/6, which no network has |

use super::settings::Ages;
use crate::policy::Address;
use crate::random::{Chance, Stream, mix};

const PORT: u16 = 8333;
const DAY: u64 = 24 * 60 * 60;

/// Which share of the nodes that were reached, and of those that were heard of, answers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Living {
    key: u64,
    tried: Chance,
    new: Chance,
}

impl Living {
    pub(super) fn new(tried: Chance, new: Chance, stream: &mut Stream) -> Self {
        Self { key: stream.u64(), tried, new }
    }

    /// Whether a node answers: the same each time.
    pub(super) fn is_live(&self, address: Address) -> bool {
        let share = match address.ip >> 30 {
            0b00 => self.tried,
            0b01 => self.new,
            0b10 => Chance::ALWAYS,
            _ => Chance::NEVER,
        };
        share.covers(mix(self.key ^ u64::from(address.ip)))
    }
}

pub(super) const fn is_adversary(address: Address) -> bool {
    address.ip >> 31 == 1
}

pub(super) const fn is_trash(address: Address) -> bool {
    address.ip >> 30 == 0b11
}

const fn node(ip: u32) -> Address {
    Address { ip, port: PORT }
}

/// Any node that was reached before, or that was heard of.
pub(super) fn honest(is_tried: bool, stream: &mut Stream) -> Address {
    let number = stream.u64() as u32 >> 2;
    node(if is_tried { number } else { number | 0b01 << 30 })
}

/// The attacker's nodes lie in groups that are spread over its part by `key`, a number from zero to 2¹⁴.
pub(super) const fn adversary(group: u32, index: u32, key: u32) -> Address {
    // An odd factor makes a bijection of the groups.
    let group = group.wrapping_mul(0x2545).wrapping_add(key) & 0x3fff;
    node(0b10 << 30 | group << 16 | index & 0xffff)
}

/// Any address where nobody is.
pub(super) fn trash(stream: &mut Stream) -> Address {
    node(0b11_1111 << 26 | stream.u64() as u32 >> 6)
}

/// Ages of the nodes that the authors had run for 38 to 43 days, in days: 243, 162, 244, 195 and 219 of them together.
const TABLE_ONE: [(u64, u64, u64); 5] =
    [(0, 1, 173), (1, 5, 242), (5, 10, 130), (10, 30, 332), (30, 41, 186)];

/// How many seconds ago a node was reached.
pub(super) fn age(ages: Ages, stream: &mut Stream) -> u32 {
    let seconds = match ages {
        Ages::Fresh => 0,
        Ages::Between(least, most) => stream.within(least.0..=most.0),
        Ages::HeilmanTableOne => {
            let mut drawn = stream.below(TABLE_ONE.iter().map(|row| row.2).sum());
            let row = TABLE_ONE.iter().find(|row| {
                let is_it = drawn < row.2;
                drawn = drawn.wrapping_sub(row.2);
                is_it
            });
            let (from, to, _) = row.expect("the counts add up");
            stream.within(from * DAY..to * DAY)
        }
    };
    seconds as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_who() {
        let mut stream = Stream::new(1);
        let living = Living::new(Chance::of(1, 4), Chance::NEVER, &mut stream);
        let mut live = 0;
        for number in 0..10_000u32 {
            let (tried, new) = (honest(true, &mut stream), honest(false, &mut stream));
            live += u32::from(living.is_live(tried));
            assert_eq!(living.is_live(tried), living.is_live(tried));
            assert!(!living.is_live(new) && !is_adversary(tried) && !is_adversary(new));
            let (attacker, trash) = (adversary(number, 7, 99), trash(&mut stream));
            assert!(is_adversary(attacker) && living.is_live(attacker) && !is_trash(attacker));
            assert!(
                is_adversary(trash) && is_trash(trash) && !living.is_live(trash) && trash.ip >= 252 << 24
            );
        }
        assert!((2300..2700).contains(&live), "{live}");
        let groups: std::collections::BTreeSet<_> =
            (0..16_384).map(|group| adversary(group, 0, 99).slash16()).collect();
        assert_eq!(groups.len(), 16_384);
    }

    /// Of the paper's text: 17 % are older than thirty days, and 48 % than ten.
    #[test]
    fn ages_are_those_of_the_table() {
        let mut stream = Stream::new(2);
        let ages: Vec<_> =
            (0..100_000).map(|_| u64::from(age(Ages::HeilmanTableOne, &mut stream)) / DAY).collect();
        let older = |days| ages.iter().filter(|&&age| age >= days).count() as f64 / ages.len() as f64;
        for (days, share) in [(1, 0.837), (5, 0.61), (10, 0.487), (30, 0.175), (41, 0.0)] {
            assert!((older(days) - share).abs() < 0.006, "{days}: {}", older(days));
        }
    }
}
