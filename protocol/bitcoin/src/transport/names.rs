//! How packets name their messages (BIP324): by a byte, or by a zero byte and the twelve of version 1.

use alloc::vec::Vec;

use crate::wire::CommandName;

/// The names that have a byte of their own: the first is 1.
const SHORT: [CommandName; 28] = [
    CommandName::new("addr"),
    CommandName::new("block"),
    CommandName::new("blocktxn"),
    CommandName::new("cmpctblock"),
    CommandName::new("feefilter"),
    CommandName::new("filteradd"),
    CommandName::new("filterclear"),
    CommandName::new("filterload"),
    CommandName::new("getblocks"),
    CommandName::new("getblocktxn"),
    CommandName::new("getdata"),
    CommandName::new("getheaders"),
    CommandName::new("headers"),
    CommandName::new("inv"),
    CommandName::new("mempool"),
    CommandName::new("merkleblock"),
    CommandName::new("notfound"),
    CommandName::new("ping"),
    CommandName::new("pong"),
    CommandName::new("sendcmpct"),
    CommandName::new("tx"),
    CommandName::new("getcfilters"),
    CommandName::new("cfilter"),
    CommandName::new("getcfheaders"),
    CommandName::new("cfheaders"),
    CommandName::new("getcfcheckpt"),
    CommandName::new("cfcheckpt"),
    CommandName::new("addrv2"),
];

/// The longest a name is written, in bytes.
pub(super) const LONGEST: usize = 13;

/// Appends a name, as short as it can be.
pub(super) fn write(name: CommandName, out: &mut Vec<u8>) {
    match SHORT.iter().position(|short| *short == name) {
        Some(place) => out.push(place as u8 + 1),
        None => {
            out.push(0);
            out.extend_from_slice(name.as_bytes());
        }
    }
}

/// The name at the front of a packet's contents, and how many bytes it takes. `None`: it is none that is known, or no name
/// at all; Bitcoin Core passes over such a message.
pub(super) fn read(contents: &[u8]) -> Option<(CommandName, usize)> {
    let (&first, rest) = contents.split_first()?;
    if first != 0 {
        return SHORT.get(usize::from(first) - 1).map(|name| (*name, 1));
    }
    let bytes = rest.first_chunk::<12>()?;
    let used = bytes.iter().position(|&byte| byte == 0).unwrap_or(12);
    let (text, padding) = bytes.split_at(used);
    let sound = text.iter().all(|byte| (0x20..0x80).contains(byte)) && padding.iter().all(|&byte| byte == 0);
    sound.then_some((CommandName::from_bytes(*bytes), LONGEST))
}
