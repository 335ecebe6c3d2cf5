//! What can happen to a row of a store.

use andon_kernel::Rng;

use super::Shelf;

/// What can happen to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Harm {
    Gone,
    Empty,
    Short,
    Long,
    Zeros,
    Garbage(u64),
    /// One bit at a place, counted in thousandths of the row's length.
    Flipped(usize),
}

pub(crate) const HARMS: [Harm; 9] = [
    Harm::Gone,
    Harm::Empty,
    Harm::Short,
    Harm::Long,
    Harm::Zeros,
    Harm::Garbage(1),
    Harm::Flipped(0),
    Harm::Flipped(500),
    Harm::Flipped(999),
];

impl Harm {
    /// Does it to a row that is there.
    pub(crate) fn befall(self, shelf: &mut Shelf, space: &'static str, at: &[u8]) {
        let mut value = shelf.get(space, at).unwrap_or_else(|| panic!("{space} has a row {at:02x?}"));
        match self {
            Self::Gone => return shelf.delete(space, at),
            Self::Empty => value.clear(),
            Self::Short => drop(value.pop()),
            Self::Long => value.push(7),
            Self::Zeros => value.fill(0),
            Self::Garbage(seed) => {
                let mut rng = Rng::new([13; 32]).fork_indexed("garbage", seed);
                let length = if seed % 2 == 0 { rng.below(1000) as usize } else { value.len() };
                value = (0..length).map(|_| rng.below(256) as u8).collect();
            }
            Self::Flipped(thousandth) => {
                let byte = value.len() * thousandth / 1000;
                value[byte] ^= 1 << (thousandth % 8);
            }
        }
        shelf.put(space, at, &value);
    }
}
