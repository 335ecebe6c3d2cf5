//! One who controls liars and other attackers, sees all of them, and has so much to spend.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use andon_kernel::UnixTime;

use super::Lie;

/// What an attack may cost; `None`: anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Budget {
    /// Addresses from which it listens or dials.
    pub addresses: Option<u64>,
    /// Groups of those: an IPv4 /16, an IPv6 /32.
    pub groups: Option<u64>,
    /// Bytes that it sends.
    pub bytes: Option<u64>,
    /// Hours, from the first address on.
    pub hours: Option<u64>,
}

/// What an attack has cost so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Addresses.
    pub addresses: u64,
    /// Groups of those.
    pub groups: u64,
    /// Bytes.
    pub bytes: u64,
    /// Seconds, until whatever was done last.
    pub seconds: u64,
}

/// What is not left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exhausted {
    /// Another address.
    Addresses,
    /// An address of another group.
    Groups,
}

impl core::fmt::Display for Exhausted {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Addresses => "there are no more addresses to be had",
            Self::Groups => "there are no more groups of addresses to be had",
        })
    }
}

impl core::error::Error for Exhausted {}

/// One will behind many nodes: it has one budget for all, and says when they act and what they do. Copies are the same one.
#[derive(Clone, Debug)]
pub struct Controller(Rc<RefCell<State>>);

#[derive(Debug)]
struct State {
    budget: Budget,
    held: BTreeSet<SocketAddr>,
    groups: BTreeSet<[u8; 4]>,
    bytes: u64,
    begun: Option<UnixTime>,
    latest: Option<UnixTime>,
    is_striking: bool,
    lie: Option<Lie>,
}

impl Controller {
    /// One with so much to spend, whose nodes act from the beginning.
    pub fn new(budget: Budget) -> Self {
        Self(Rc::new(RefCell::new(State {
            budget,
            held: BTreeSet::new(),
            groups: BTreeSet::new(),
            bytes: 0,
            begun: None,
            latest: None,
            is_striking: true,
            lie: None,
        })))
    }

    /// Takes an address into use. One that is in use already costs nothing.
    ///
    /// # Errors
    /// If there are as many addresses, or groups, as the budget allows. Then it is not in use.
    pub fn take_address(&self, address: SocketAddr) -> Result<(), Exhausted> {
        let mut state = self.0.borrow_mut();
        let group = group(address);
        if state.held.contains(&address) {
            return Ok(());
        }
        if state.budget.addresses.is_some_and(|most| state.held.len() as u64 >= most) {
            return Err(Exhausted::Addresses);
        }
        if !state.groups.contains(&group)
            && state.budget.groups.is_some_and(|most| state.groups.len() as u64 >= most)
        {
            return Err(Exhausted::Groups);
        }
        state.held.insert(address);
        state.groups.insert(group);
        Ok(())
    }

    /// Has them all wait, as honest nodes, or strike.
    pub fn strike(&self, strikes: bool) {
        self.0.borrow_mut().is_striking = strikes;
    }

    /// Has them all lie in another way from here on; `None`: each in its own. Filters are forged only by those that began with
    /// that.
    pub fn order(&self, lie: Option<Lie>) {
        self.0.borrow_mut().lie = lie;
    }

    /// Whether an address is one of theirs.
    pub fn holds(&self, address: SocketAddr) -> bool {
        self.0.borrow().held.contains(&address)
    }

    /// What they have spent.
    pub fn spent(&self) -> Spent {
        let state = self.0.borrow();
        let seconds = match (state.begun, state.latest) {
            (Some(begun), Some(latest)) => latest.as_secs().saturating_sub(begun.as_secs()),
            _ => 0,
        };
        let (addresses, groups) = (state.held.len() as u64, state.groups.len() as u64);
        Spent { addresses, groups, bytes: state.bytes, seconds }
    }

    /// Whether all bytes, or all hours, that there were are spent. From then on its nodes do what honest ones do.
    pub fn is_exhausted(&self, now: UnixTime) -> bool {
        let state = self.0.borrow();
        let bytes = state.budget.bytes.is_some_and(|most| state.bytes >= most);
        let limit = state.budget.hours.map(|hours| Duration::from_secs(hours.saturating_mul(3600)));
        let hours = limit
            .zip(state.begun)
            .is_some_and(|(limit, begun)| now.as_secs().saturating_sub(begun.as_secs()) >= limit.as_secs());
        bytes || hours
    }

    /// Whether somebody who does nothing else is to act now.
    pub(super) fn strikes(&self, now: UnixTime) -> bool {
        self.ordered(Lie::Garbage, now).is_some()
    }

    /// What one of them is to do now, whose own lie is this; `None`: what an honest node does.
    pub(super) fn ordered(&self, own: Lie, now: UnixTime) -> Option<Lie> {
        let strikes = {
            let mut state = self.0.borrow_mut();
            state.begun.get_or_insert(now);
            state.latest = Some(now);
            state.is_striking.then(|| state.lie.unwrap_or(own))
        };
        strikes.filter(|_| !self.is_exhausted(now))
    }

    /// Pays for bytes.
    pub(super) fn pay(&self, now: UnixTime, bytes: usize) {
        let mut state = self.0.borrow_mut();
        state.bytes += bytes as u64;
        state.begun.get_or_insert(now);
        state.latest = Some(now);
    }
}

/// The first 16 bits of an IPv4 address, the first 32 of an IPv6 one.
fn group(address: SocketAddr) -> [u8; 4] {
    match address.ip() {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            [0, 0, a, b]
        }
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.octets();
            [a, b, c, d]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(a: u8, b: u8) -> SocketAddr {
        SocketAddr::from(([20, a, 0, b], 8333))
    }

    #[test]
    fn one_budget_is_everybodys() {
        let budget = Budget { addresses: Some(3), groups: Some(2), bytes: Some(100), hours: Some(1) };
        let controller = Controller::new(budget);
        let same = controller.clone();
        assert_eq!(controller.take_address(at(1, 1)), Ok(()));
        assert_eq!(same.take_address(at(1, 1)), Ok(()), "it has it already");
        assert_eq!(same.take_address(at(2, 1)), Ok(()));
        assert_eq!(controller.take_address(at(3, 1)), Err(Exhausted::Groups));
        assert_eq!(controller.take_address(at(2, 2)), Ok(()));
        assert_eq!(controller.take_address(at(2, 3)), Err(Exhausted::Addresses));
        assert!(same.holds(at(2, 2)) && !same.holds(at(2, 3)));

        let (own, now) = (Lie::Garbage, UnixTime::from_secs(1000));
        assert_eq!(controller.ordered(own, now), Some(own));
        same.order(Some(Lie::SlowDrip));
        assert_eq!(controller.ordered(own, now), Some(Lie::SlowDrip));
        same.strike(false);
        assert_eq!(controller.ordered(own, now), None);
        same.strike(true);
        controller.pay(now, 99);
        assert_eq!(controller.ordered(own, UnixTime::from_secs(1010)), Some(Lie::SlowDrip));
        assert_eq!(same.spent(), Spent { addresses: 3, groups: 2, bytes: 99, seconds: 10 });
        same.pay(UnixTime::from_secs(1010), 1);
        assert_eq!(controller.ordered(own, now), None, "the bytes are spent");

        let controller = Controller::new(Budget { hours: Some(1), ..Budget::default() });
        assert_eq!(controller.ordered(own, now), Some(own));
        assert_eq!(controller.ordered(own, UnixTime::from_secs(1000 + 3599)), Some(own));
        assert_eq!(controller.ordered(own, UnixTime::from_secs(1000 + 3600)), None);
    }
}
