//! What is stored of a book: read back, damaged in every way, and with another map of groups.

use andon_bitcoin::addresses::{
    ADDRESSES, AddressNetworks, AsMap, Grouping, Placement, Reached, RowError, Table,
};
use andon_bitcoin::addresses::{AddressBook, Location};
use andon_bitcoin::wire::Host;
use andon_kernel::Rng;
use bitcoin::hashes::{HashEngine, siphash24};

use super::disk::{Disk, restore, rows_of};
use super::people::{HOUR, NOW, any, at, book, force};
use super::trie::Trie;

/// A book with nodes of all networks in both tables.
fn some_book() -> AddressBook {
    let (mut book, mut rng) = (book(1), Rng::new([2; 32]));
    for index in 0..40 {
        let location = match index % 5 {
            0 => Location { host: Host::TorV3([index as u8; 32]), port: 8333 },
            1 => Location { host: Host::I2p([index as u8; 32]), port: 0 },
            2 => Location { host: Host::Cjdns(format!("fc00::{index}").parse().unwrap()), port: 8333 },
            3 => Location { host: Host::Ip(format!("2a01::{index}").parse().unwrap()), port: 8333 },
            _ => any(index),
        };
        force(&mut book, location, NOW, &mut rng);
        if index % 3 == 0 {
            assert_eq!(book.good(&location, at(NOW + u64::from(index))), Reached::Moved);
        }
        if index % 4 == 0 {
            book.attempt(&location, true, at(NOW + HOUR));
        }
    }
    book
}

#[test]
fn a_book_is_read_back_as_it_was() {
    let mut book = some_book();
    let rows = rows_of(&mut book);
    assert_eq!(rows.len(), 41);
    let (restored, came, errors) = restore(&rows, Grouping::by_prefix());
    assert_eq!((came.kept, came.moved, came.without_place, came.unusable, errors.len()), (40, 0, 0, 0, 0));
    for entry in book.entries() {
        assert_eq!(restored.entry(&entry.location), Some(entry));
    }
    assert_eq!(restored.len(), 40);
    assert_eq!(restored.unstored(), 0);
}

#[test]
fn rows_are_pinned() {
    // A change here is a change of the format: it needs a new version, and a way to read this one.
    let (mut book, mut rng) = (book(1), Rng::new([2; 32]));
    force(&mut book, any(0), NOW, &mut rng);
    book.good(&any(0), at(NOW + 1));
    force(&mut book, any(1), NOW, &mut rng);
    let rows: Vec<String> =
        rows_of(&mut book).into_iter().map(|(key, value)| format!("{} {}", hex(&key), hex(&value))).collect();
    assert_eq!(rows, PINNED);
}

const PINNED: [&str; 3] = [
    "00 01010101010101010101010101010101010101010101010101010101010101010100000000000000000000000000000000000000000000\
     0000000000000000000081e14e6833f44ef4",
    "010112345677208d 490000000000000080e14e6881e14e6881e14e6800000000000114000101fff427fe7d",
    "0101b06bd028208d 490000000000000080e14e68000000000000000000000000000114000101011ba4efc0c006",
];

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_changed_row_is_left_out_and_the_others_stand() {
    let mut book = some_book();
    let rows = rows_of(&mut book);
    for (number, (key, value)) in rows.iter().enumerate() {
        let changes = (0..value.len()).map(|at| {
            let mut changed = value.clone();
            changed[at] ^= 1 << (at % 8);
            changed
        });
        let cuts = (0..value.len()).map(|length| value[..length].to_vec());
        for changed in changes.chain(cuts).step_by(if number < 4 { 1 } else { 17 }) {
            let mut rows = rows.clone();
            rows[number] = (key.clone(), changed);
            let (mut restored, came, errors) = restore(&rows, Grouping::by_prefix());
            assert_eq!(errors, [RowError::Damaged]);
            assert_eq!(came.unusable, 1);
            if number > 0 {
                assert_eq!((came.kept, came.moved, came.without_place), (39, 0, 0));
            } else {
                // The secret is lost: every node is placed anew.
                assert_eq!(came.kept + came.moved + came.without_place, 40);
                assert!(came.without_place < 5 && came.kept < 30, "{came:?}");
            }
            // It is whole again when it is stored: also where there are rows.
            let mut disk = Disk::default();
            disk.write(|batch| rows.iter().for_each(|(key, value)| batch.put(ADDRESSES, key, value)));
            disk.write(|batch| restored.store(batch));
            let (again, came, errors) = restore(&disk.rows(ADDRESSES), Grouping::by_prefix());
            assert_eq!((errors.len(), came.kept, again.len()), (0, restored.len(), restored.len()));
        }
    }
}

#[test]
fn rows_of_another_version_are_not_used() {
    let mut rows = rows_of(&mut some_book());
    // As a later version would write it.
    let (key, value) = (&rows[0].0, &rows[0].1);
    let mut later = value[..value.len() - 4].to_vec();
    later[0] = 2;
    let mut engine = siphash24::HashEngine::with_keys(key.len() as u64, later.len() as u64);
    engine.input(key);
    engine.input(&later);
    later.extend_from_slice(&(siphash24::Hash::from_engine_to_u64(engine) as u32).to_le_bytes());
    rows[0].1 = later;
    let (book, came, errors) = restore(&rows, Grouping::by_prefix());
    assert!(book.is_empty());
    assert_eq!((came.unusable, errors), (41, vec![RowError::Version(2); 41]));
}

#[test]
fn any_rows_make_a_sound_book() {
    let mut rng = Rng::new([3; 32]);
    let rows = rows_of(&mut some_book());
    let mut refused = 0;
    for _ in 0..3000 {
        let mut rows = rows.clone();
        for _ in 0..rng.below(6) {
            let number = rng.below(rows.len() as u64) as usize;
            match rng.below(5) {
                0 => {
                    rows.remove(number);
                }
                1 => rows[number].0 = rng.bytes::<8>()[..rng.below(9) as usize].to_vec(),
                2 => rows[number].1 = rng.bytes::<90>()[..rng.below(91) as usize].to_vec(),
                3 => {
                    let row = rows[number].clone();
                    rows.push(row);
                }
                _ => rng.shuffle(&mut rows),
            }
        }
        let (mut restored, came, errors) = restore(&rows, Grouping::by_prefix());
        refused += errors.len();
        assert_eq!(came.unusable, errors.len());
        assert_eq!(restored.len(), came.kept + came.moved);
        let both = [Table::New, Table::Tried].map(|table| restored.count(table, AddressNetworks::ALL));
        assert_eq!(both[0] + both[1], restored.len());
        let mut disk = Disk::default();
        disk.write(|batch| rows.iter().for_each(|(key, value)| batch.put(ADDRESSES, key, value)));
        disk.write(|batch| restored.store(batch));
        let (again, came, errors) = restore(&disk.rows(ADDRESSES), Grouping::by_prefix());
        assert_eq!((again.len(), came.kept, errors.len()), (restored.len(), restored.len(), 0));
    }
    assert!(refused > 1000, "{refused} rows were refused");
}

#[test]
fn another_map_places_every_node_anew() {
    let mut book = some_book();
    let rows = rows_of(&mut book);
    let mut trie = Trie::Unknown;
    trie.insert("::ffff:0:0".parse().unwrap(), 96, 1);
    let grouping = Grouping::by_map(AsMap::new(trie.encode()).unwrap());
    let (mut restored, came, errors) = restore(&rows, grouping.clone());
    assert_eq!((errors.len(), came.unusable), (0, 0));
    assert_eq!(came.kept + came.moved + came.without_place, 40);
    assert!(came.moved > 5 && came.without_place < 5, "{came:?}");
    for entry in restored.entries().filter(|entry| entry.is_tried()) {
        let cell = Placement::new([1; 32]).tried(&entry.location, &grouping.of(&entry.location.host));
        assert_eq!(restored.at(Table::Tried, cell), Some(entry));
    }
    // Stored with the new places, it is as it is.
    let rows = rows_of(&mut restored);
    let (_, came, _) = restore(&rows, grouping);
    assert_eq!((came.kept, came.moved), (restored.len(), 0));
}
