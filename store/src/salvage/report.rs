//! What a salvage kept, as rows of the space `salvaged`.

use std::ops::Bound::Unbounded;

use andon_kernel::Order;

use super::source::Source;
use super::target::Target;
use super::{SALVAGED, Salvage, SalvagedSpace};
use crate::{OpenError, tables};

pub(super) fn write(salvage: &Salvage, target: &Target) -> Result<(), OpenError> {
    let mut writer = target.table(&tables::table_of(SALVAGED.name()))?;
    writer.put(b"", &[u8::from(salvage.lost)])?;
    for space in &salvage.spaces {
        let mut value = [0; 9];
        value[..8].copy_from_slice(&space.rows.to_be_bytes());
        value[8] = u8::from(space.lost);
        writer.put(space.name.as_bytes(), &value)?;
    }
    Ok(())
}

/// Reads them. What is not understood of them counts as lost; no rows at all: a machine has taken note of them.
pub(super) fn read(source: &Source) -> Result<Salvage, OpenError> {
    let mut salvage = Salvage::default();
    let mut table = source.table(SALVAGED.name());
    let read = table.read((Unbounded, Unbounded), Order::Ascending, |key, value| {
        match (str::from_utf8(key), value) {
            (Ok(""), [lost]) => salvage.lost |= *lost != 0,
            (Ok(name), [rows @ .., lost]) if rows.len() == 8 => {
                let rows = rows.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
                salvage.spaces.push(SalvagedSpace { name: name.into(), rows, lost: *lost != 0 });
            }
            _ => salvage.lost = true,
        }
        Ok(())
    })?;
    salvage.lost |= read.damaged;
    Ok(salvage)
}
