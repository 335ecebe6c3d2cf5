//! The address book: nodes that are known, where each stands, and which to dial next.
//!
//! Everything here is plain data with methods that return values: time and randomness come in with each call, and what
//! changed goes out as rows. Whoever fills a victim's book owns its connections, so who may fill what is the point of it
//! all; the rules and the places are Bitcoin Core's, which have been attacked and mended for ten years.
//!
//! - [`AddressBook`]: two tables, of nodes that were heard of and of nodes that were reached. A group of sources reaches a
//!   sixteenth of the one, a group of addresses a thirty-second of the other, and nobody without the secret can aim.
//! - [`Grouping`]: what counts as one owner, by prefix or by a map of autonomous systems ([`AsMap`]).
//! - [`Outbound`]: which connections there are to be, and with whom; [`Barred`]: with whom not; [`Anchors`]: with whom first.
//! - [`dns_seeds`] and [`fixed_seeds`]: where the first addresses come from.
//! - [`onion_name`], [`i2p_name`]: what hosts are called in networks where a name is a key; and back.
//! - [`limits`]: every number, with its reason.

mod anchors;
mod as_map;
mod bans;
mod book;
mod entry;
mod fixed;
mod gossip;
mod group;
pub mod limits;
mod location;
mod names;
mod network;
mod outbound;
mod pick;
mod placement;
mod rows;
mod seeds;
mod tables;

pub use anchors::{Anchor, Anchors};
pub use as_map::{AsMap, AsMapError};
pub use bans::{Ban, Bans, Barred, Discouraged, NoSubnet, Subnet, TooManyBans};
pub use book::{Added, AddressBook, Choice, Reached};
pub use entry::{Entry, Places, References};
pub use gossip::{Allowance, Heard};
pub use group::{Group, Grouping};
pub use location::{Location, Source};
pub use names::{i2p_hash, i2p_name, onion_key, onion_name};
pub use network::{AddressNetwork, AddressNetworks, is_cjdns, is_routable};
pub use outbound::{Dial, Outbound, Policy, Purpose, Required, Welcome, exponential};
pub use placement::{Cell, Placement};
pub use rows::{ADDRESSES, ANCHORS, BANS, Restored, Restoring, RowError};
pub use seeds::{DnsSeed, MAX_SEED_ANSWER, SeedQuery, dns_seeds, fixed_seeds};
pub use tables::Table;
