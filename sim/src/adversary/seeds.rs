//! DNS seeds that answer for an attacker.

use core::net::SocketAddr;

use andon_bitcoin::addresses::DnsSeed;

use crate::world::{Name, Node, World};

/// Has a DNS seed answer with these addresses alone, whatever services it is asked for: its resolver is poisoned, or its owner
/// bribed. Each answer has up to 25 of them, drawn anew.
pub fn poison<N: Node>(world: &mut World<N>, seed: &DnsSeed, addresses: &[SocketAddr]) {
    for query in seed.queries() {
        world.set_name(&query.host, Some(Name::of(addresses.to_vec())));
    }
}
