//! SQLite's file format, as far as a test needs it to know on which pages a row lies.
//!
//! <https://www.sqlite.org/fileformat2.html>, of tables WITHOUT ROWID.

use std::collections::{BTreeMap, BTreeSet};

/// Bytes of a page.
pub(crate) const PAGE: usize = 4096;

/// The pages of each row of a table: those on the way to it, its own, and those that its value overflows to.
pub(crate) fn rows(file: &[u8], root: u32) -> BTreeMap<Vec<u8>, BTreeSet<u32>> {
    let mut rows = BTreeMap::new();
    walk(file, root, &BTreeSet::new(), &mut rows);
    rows
}

/// The pages that a write-ahead log holds.
pub(crate) fn in_log(log: &[u8]) -> BTreeSet<u32> {
    if log.is_empty() {
        return BTreeSet::new();
    }
    let frames = log[32..].chunks_exact(24 + PAGE);
    // Those of an earlier round of the log have other salts.
    frames.take_while(|frame| frame[8..16] == log[16..24]).map(|frame| number(frame, 0)).collect()
}

fn walk(file: &[u8], page: u32, above: &BTreeSet<u32>, rows: &mut BTreeMap<Vec<u8>, BTreeSet<u32>>) {
    let content = &file[(page as usize - 1) * PAGE..][..PAGE];
    let is_leaf = match content[0] {
        2 => false,
        10 => true,
        other => panic!("page {page} is of kind {other}"),
    };
    let mut pages = above.clone();
    pages.insert(page);
    let cells = usize::from(short(content, 3));
    let pointers = &content[if is_leaf { 8 } else { 12 }..];
    for index in 0..cells {
        let mut cell = &content[usize::from(short(pointers, 2 * index))..];
        if !is_leaf {
            walk(file, number(cell, 0), &pages, rows);
            cell = &cell[4..];
        }
        let payload = varint(&mut cell);
        let (local, overflows) = local(payload);
        let mut row = pages.clone();
        if overflows {
            let mut next = number(cell, local);
            while next != 0 {
                row.insert(next);
                next = number(file, (next as usize - 1) * PAGE);
            }
        }
        rows.insert(key(cell), row);
    }
    if !is_leaf {
        walk(file, number(content, 8), &pages, rows);
    }
}

/// Bytes of a row that lie on its page, and whether there are more.
fn local(payload: usize) -> (usize, bool) {
    let most = (PAGE - 12) * 64 / 255 - 23;
    let least = (PAGE - 12) * 32 / 255 - 23;
    if payload <= most {
        return (payload, false);
    }
    let rest = least + (payload - least) % (PAGE - 4);
    (if rest <= most { rest } else { least }, true)
}

fn key(mut record: &[u8]) -> Vec<u8> {
    let whole = record;
    let header = varint(&mut record);
    let length = (varint(&mut record) - 12) / 2;
    whole[header..header + length].to_vec()
}

fn varint(bytes: &mut &[u8]) -> usize {
    let mut number = 0;
    loop {
        let byte = bytes[0];
        *bytes = &bytes[1..];
        number = number << 7 | usize::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return number;
        }
    }
}

fn short(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}
