//! Whose the addresses are that experiments with books are about: each group is a /16, and every one is routable.

use core::net::Ipv4Addr;

use super::NOW;
use crate::policy::kyoto::Kyoto;
use crate::policy::{Address, Told};
use crate::random::Stream;

/// Different /16s, all routable, in a random order.
pub(super) fn groups(stream: &mut Stream) -> impl Iterator<Item = u16> + use<> {
    let mut groups: Vec<u16> = (0x0200..0x6000).filter(|group| group >> 8 != 10).collect();
    stream.shuffle(&mut groups);
    groups.into_iter()
}

/// As many as [`groups`] has.
pub(super) const GROUPS: u32 = 0x5e00 - 0x100;

/// Groups of which the first eight have a part of Kyoto's table each, `offset` parts from `from` on: what everybody can work
/// out, since placement has no secret.
pub(super) fn aimed(groups: impl Iterator<Item = u16>, from: u32, offset: u32) -> Vec<u16> {
    let mut found = [None; 8];
    for group in groups {
        let part = (Kyoto::part(source(group)) + 16 - from - offset) % 8;
        found[part as usize].get_or_insert(group);
        if found.iter().all(Option::is_some) {
            break;
        }
    }
    found.into_iter().flatten().collect()
}

/// The node of a group that tells of others.
pub(super) fn source(group: u16) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::from(group) << 16 | 0x0101)
}

/// A node of a group, told of as seen lately.
pub(super) fn node(group: u16, stream: &mut Stream) -> Told {
    let address = Address { ip: u32::from(group) << 16 | stream.below(0x1_0000) as u32, port: 8333 };
    Told { address, time: (NOW.as_secs() - stream.below(86_400)) as u32, serves: true }
}
