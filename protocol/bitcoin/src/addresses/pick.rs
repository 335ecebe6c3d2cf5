//! One node out of the book, for one connection.

use andon_kernel::{Rng, UnixTime};
use bitcoin::p2p::ServiceFlags;

use super::book::{AddressBook, Choice, seconds};
use super::entry::{Entry, is_longer};
use super::limits::{DRAWS_BEFORE_BAD_PORTS, DRAWS_BEFORE_RECENT, DRAWS_FOR_ENCRYPTED, MAX_DRAWS, RECENT};
use super::location::Location;
use super::network::{AddressNetwork, AddressNetworks};
use super::outbound::Required;
use crate::wire::Host;

/// What a node must be like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) networks: AddressNetworks,
    pub(super) required: Required,
    /// Whether it is to be tested: one whose place another waits for, or one that was never reached.
    pub(super) is_feeler: bool,
    pub(super) prefers_encrypted: bool,
}

/// Draws until a node is as wanted, a hundred times at most.
pub(super) fn pick(
    book: &AddressBook,
    wanted: &Wanted,
    is_free: impl Fn(&Location, &AddressBook) -> bool,
    now: UnixTime,
    rng: &mut Rng,
) -> Option<Entry> {
    let choice = Choice { networks: wanted.networks, only_new: wanted.is_feeler };
    let mut collision = if wanted.is_feeler { book.collision(rng) } else { None };
    // One that would do, and the draws since.
    let mut found: Option<(&Entry, u32)> = None;
    for draw in 1..=MAX_DRAWS {
        if let Some((entry, since)) = found
            && draw - since > DRAWS_FOR_ENCRYPTED
        {
            return Some(*entry);
        }
        let entry = match collision.take() {
            Some(entry) => entry,
            None => book.select(choice, now, rng)?,
        };
        let Entry { location, services, .. } = entry;
        let network = AddressNetwork::claimed(&location.host);
        let is_recent = !is_longer(entry.last_try, seconds(now), RECENT);
        let is_as_wanted = wanted.networks.contains(network)
            && wanted.required.are_met_by(*services)
            && !(is_recent && draw < DRAWS_BEFORE_RECENT)
            && !(location.port == 0 && matches!(location.host, Host::Ip(_)))
            && !(is_bad_port(location) && draw < DRAWS_BEFORE_BAD_PORTS)
            && is_free(location, book);
        if !is_as_wanted {
            continue;
        }
        if !wanted.prefers_encrypted || services.has(ServiceFlags::P2P_V2) {
            return Some(*entry);
        }
        found = found.or(Some((entry, draw)));
    }
    found.map(|(entry, _)| *entry)
}

/// Whether a port belongs to another service, which would be the victim of a list of addresses made up for that.
fn is_bad_port(location: &Location) -> bool {
    matches!(location.host, Host::Ip(_)) && BAD_PORTS.binary_search(&location.port).is_ok()
}

/// Ports that browsers and Bitcoin Core do not connect to.
const BAD_PORTS: [u16; 85] = [
    1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104,
    109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515,
    526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049,
    3306, 3389, 3659, 4045, 5060, 5061, 5432, 5900, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6697, 10080,
    27017,
];
