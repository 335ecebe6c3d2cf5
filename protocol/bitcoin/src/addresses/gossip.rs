//! What peers tell of nodes: how much of it is taken in, and what is made of it.

use andon_kernel::{Instant, Now, Rng};

use super::bans::Barred;
use super::book::{Added, AddressBook, seconds, seconds_of};
use super::limits::{AGE_OF_UNKNOWN, GOSSIP_BURST, GOSSIP_INTERVAL, GOSSIP_PENALTY, LEAST_TIME, MAX_AHEAD};
use super::location::Source;
use super::network::{AddressNetwork, AddressNetworks};
use super::outbound::Required;
use crate::wire::NodeAddress;

/// How many addresses a peer may tell now: one in ten seconds, and what it was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    /// Microseconds, of which an address takes ten seconds' worth.
    saved: u64,
    at: Instant,
}

impl Allowance {
    /// Of a peer that has just connected: one, for its own.
    pub const fn new(now: Instant) -> Self {
        Self { saved: PRICE, at: now }
    }

    /// Notes that the peer is asked for addresses: it may answer in full.
    pub const fn asked(&mut self) {
        self.saved = self.saved.saturating_add(GOSSIP_BURST * PRICE);
    }

    /// Takes one address's worth. False: there is none left.
    pub fn take(&mut self, now: Instant) -> bool {
        let most = GOSSIP_BURST * PRICE;
        if self.saved < most {
            let earned = u64::try_from(now.since(self.at).as_micros()).unwrap_or(u64::MAX);
            self.saved = self.saved.saturating_add(earned).min(most);
        }
        self.at = self.at.max(now);
        let left = self.saved.checked_sub(PRICE);
        self.saved = left.unwrap_or(self.saved);
        left.is_some()
    }
}

/// What an address costs.
const PRICE: u64 = GOSSIP_INTERVAL.as_micros() as u64;

/// What became of gossip.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Nodes that are new to the book.
    pub new: usize,
    /// Addresses that were noted, new or not, or whose place is taken.
    pub noted: usize,
    /// Addresses that can't be used: of networks that can't be reached, of barred hosts, of nodes that serve nothing.
    pub useless: usize,
    /// Addresses that were too many.
    pub surplus: usize,
}

impl AddressBook {
    /// Notes what a peer told. The caller sees to it that no message has more than a thousand.
    ///
    /// If they are more than its allowance, which of them are taken is drawn: the order is the teller's.
    #[expect(clippy::too_many_arguments, reason = "all of it is what happened")]
    pub fn hear(
        &mut self,
        told: &mut [NodeAddress],
        teller: &Source,
        allowance: &mut Allowance,
        networks: AddressNetworks,
        barred: &Barred,
        now: Now,
        rng: &mut Rng,
    ) -> Heard {
        rng.shuffle(told);
        let seconds_now = seconds(now.unix);
        let mut heard = Heard::default();
        for address in told {
            if !allowance.take(now.instant) {
                heard.surplus += 1;
                continue;
            }
            let network = AddressNetwork::of(&address.host);
            let is_useful = network.is_some_and(|network| networks.contains(network))
                && Required::addresses().are_met_by(address.services)
                && !barred.contains(&address.host, now);
            if !is_useful {
                heard.useless += 1;
                continue;
            }
            let is_ahead = address.time > seconds_now.saturating_add(seconds_of(MAX_AHEAD));
            if address.time <= LEAST_TIME || is_ahead {
                address.time = seconds_now.saturating_sub(seconds_of(AGE_OF_UNKNOWN));
            }
            heard.noted += 1;
            heard.new += usize::from(self.add(address, teller, GOSSIP_PENALTY, now.unix, rng) == Added::New);
        }
        heard
    }
}
