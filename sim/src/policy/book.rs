//! A book of addresses without the rules by which its client dials: what differs most between light clients.

use andon_kernel::UnixTime;

use super::{Address, Census, Source, Told};

/// Whom a client knows, and whom of them it would dial.
///
/// Everything that a book draws comes from the stream that it was made with.
pub trait Book {
    /// Takes in what someone tells.
    fn hear(&mut self, now: UnixTime, source: Source, told: &[Told]);

    /// Whether it knows nobody.
    fn is_empty(&self) -> bool;

    /// A node by the book's own rule, whatever the client makes of it. `None`: there is none, or none that the book would
    /// dial now.
    fn draw(&mut self, now: UnixTime) -> Option<Drawn>;

    /// A node that was drawn is dialled.
    fn dialled(&mut self, now: UnixTime, address: Address);

    /// It has shaken hands.
    fn reached(&mut self, now: UnixTime, address: Address);

    /// It has not.
    fn failed(&mut self, now: UnixTime, address: Address);

    /// Its connection has ended.
    fn ended(&mut self, now: UnixTime, address: Address);

    /// How much of the book is whose. A book that makes no difference between nodes that were reached and others has all in
    /// its table of new ones.
    fn census(&self, is_adversary: &mut dyn FnMut(Address) -> bool) -> Census;

    /// In how many buckets addresses are of which something is true: of the table of new ones, and of the tried.
    fn buckets(&self, is_wanted: &mut dyn FnMut(Address) -> bool) -> (u32, u32);

    /// The addresses that it would tell others.
    fn tell(&mut self, now: UnixTime) -> Vec<Told>;
}

/// A node that was drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drawn {
    /// Which.
    pub address: Address,
    /// Whether it is said to serve what the client wants.
    pub serves: bool,
    /// When it was last dialled.
    pub last_try: Option<UnixTime>,
}

/// A number that nobody can foretell who does not know `key`: what clients compute by keyed hashes. The function itself makes
/// no difference to an experiment, so it is a quick one.
pub(crate) fn keyed(key: u64, parts: &[u64]) -> u64 {
    // An odd factor spreads the small numbers that parts are over all bits.
    parts.iter().fold(key, |state, part| {
        crate::random::mix(state.rotate_left(17) ^ part.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    })
}

/// Whether an address can be reached from anywhere.
pub(crate) fn is_routable(address: Address) -> bool {
    andon_bitcoin::addresses::is_routable(&andon_bitcoin::wire::Host::Ip(ip(address).into()))
}

pub(crate) const fn ip(address: Address) -> core::net::Ipv4Addr {
    core::net::Ipv4Addr::from_bits(address.ip)
}
