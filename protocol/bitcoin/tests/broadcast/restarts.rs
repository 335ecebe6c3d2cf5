//! What a restart must not lose, and must leave alone.

use andon_bitcoin::addresses::RowError;
use andon_bitcoin::broadcast::{BROADCASTS, Identity, MAX_EXPIRY, Options, Outgoing, Restoring, State};
use andon_kernel::{MemoryStore, Outbox, Output, Rng, Store, Ticket, UnixTime};
use bitcoin::hashes::siphash24;

use super::table::{BEGIN, DAY, MINUTE, RELAYS, Table, one};

/// The key of how far the chain was searched.
const SEARCHED_KEY: [u8; 1] = [0];

type Row = (Vec<u8>, Vec<u8>);

/// What is stored after the rows that there are.
fn write(rows: &[Row], outgoing: &mut Outgoing) -> Vec<Row> {
    let mut store = MemoryStore::default();
    for number in 0..2 {
        let mut out = Outbox::<()>::new();
        out.store(Ticket::new(number + 1), |batch| match number {
            0 => rows.iter().for_each(|(key, value)| batch.put(BROADCASTS, key, value)),
            _ => outgoing.store(batch),
        });
        let Some(Output::Store { ticket, batch }) = out.pop() else { panic!("a batch was stored") };
        store.store(ticket, batch).unwrap();
    }
    assert!(!outgoing.is_unstored());
    store.rows(BROADCASTS).map(|(key, value)| (key.to_vec(), value.to_vec())).collect()
}

fn try_restore(rows: &[Row], table: &Table) -> (Outgoing, Vec<RowError>) {
    let mut restoring = Restoring::new(Rng::new([9; 32]));
    let errors = rows.iter().filter_map(|(key, value)| restoring.take(key, value, table.now).err()).collect();
    (restoring.finish(), errors)
}

fn restore(rows: &[Row], table: &Table) -> Outgoing {
    let (outgoing, errors) = try_restore(rows, table);
    assert_eq!(errors, []);
    outgoing
}

/// A row with these contents, and a checksum that is right.
fn sealed(key: &[u8], contents: &[u8]) -> Row {
    let seal = siphash24::Hash::hash_to_u64_with_keys(
        key.len() as u64,
        contents.len() as u64,
        &[key, contents].concat(),
    );
    (key.to_vec(), [contents, &(seal as u32).to_le_bytes()].concat())
}

/// The same row, as another version would have written it.
fn of_version((key, value): &Row, version: u8) -> Row {
    let mut contents = value[..value.len() - 4].to_vec();
    contents[0] = version;
    sealed(key, &contents)
}

#[test]
fn what_was_given_again_after_long_is_not_lost() {
    let mut table = Table::new();
    let transaction = one(1);
    let options = Options { expiry: MAX_EXPIRY, ..Options::default() };
    let txid = table.submit_all(&[("a", &transaction, None)], &options)[0];
    table.now.unix = table.now.unix + 30 * DAY;
    table.submit_all(&[("a", &transaction, None)], &options);
    let rows = write(&[], &mut table.outgoing);
    let restored = restore(&rows, &table);
    let found = restored.find(&txid).unwrap();
    assert_eq!(found.added, UnixTime::from_secs(BEGIN));
    assert_eq!(found.expires, table.now.unix + MAX_EXPIRY);
}

#[test]
fn what_was_given_again_after_the_clock_was_set_back_is_not_lost() {
    let mut table = Table::new();
    let transaction = one(1);
    let txid = table.submit("a", &transaction);
    table.now.unix = UnixTime::from_secs(BEGIN - 100 * DAY.as_secs());
    table.submit("a", &transaction);
    let expires = table.now.unix + 14 * DAY;
    let rows = write(&[], &mut table.outgoing);
    let mut table = Table::with(restore(&rows, &table));
    table.now.unix = UnixTime::from_secs(BEGIN - 99 * DAY.as_secs());
    assert_eq!(table.outgoing.find(&txid).unwrap().expires, expires);
    assert_eq!(table.state(&txid), State::Waiting);
    table.now.unix = expires;
    table.outgoing.wake(table.now);
    assert!(table.outgoing.is_empty());
}

#[test]
fn what_was_given_while_the_clock_was_far_ahead_ends_after_a_year() {
    let mut table = Table::new();
    let begin = table.now.unix;
    let txid = table.submit("a", &one(1));
    table.now.unix = begin + 3650 * DAY;
    table.submit("a", &one(1));
    table.now.unix = begin;
    let rows = write(&[], &mut table.outgoing);
    assert_eq!(restore(&rows, &table).find(&txid).unwrap().expires, begin + MAX_EXPIRY);
}

#[test]
fn rows_that_can_not_be_read_are_told_of_once() {
    let mut table = Table::new();
    table.submit("a", &one(1));
    table.outgoing.set_searched(700);
    let sound = write(&[], &mut table.outgoing);
    assert_eq!(sound.len(), 3);
    let txid = &sound[1].0[..32];
    for (damaged, expected) in [
        ((SEARCHED_KEY.to_vec(), sound[0].1[..8].to_vec()), RowError::Damaged),
        (sealed(&SEARCHED_KEY, &[1, 2, 3]), RowError::Damaged),
        (sealed(&SEARCHED_KEY, &[1, 2, 3, 4, 5, 6]), RowError::Damaged),
        ((vec![7], vec![1, 2, 3]), RowError::Damaged),
        (sealed(&[], &[1, 2, 3]), RowError::Damaged),
        (sealed(&[txid, &[2]].concat(), &[1, 2, 3]), RowError::Damaged),
        (sealed(&[txid, &[0, 0]].concat(), &[1, 2, 3]), RowError::Damaged),
        ((vec![255; 40], vec![]), RowError::Damaged),
    ] {
        let mut rows = sound[1..].to_vec();
        rows.push(damaged.clone());
        rows.sort();
        let (mut restored, errors) = try_restore(&rows, &table);
        assert_eq!(errors, [expected]);
        assert_eq!((restored.len(), restored.searched()), (1, None));
        // From when on it is to be looked for, since it is not known how far it was.
        assert_eq!(restored.oldest_added(), Some(UnixTime::from_secs(BEGIN)));
        assert!(restored.is_unstored());
        assert_eq!(write(&rows, &mut restored), sound[1..], "{damaged:?} is removed");
        // What is known by then is written in its place.
        let (mut restored, _) = try_restore(&rows, &table);
        restored.set_searched(700);
        assert_eq!(write(&rows, &mut restored), sound);
    }
}

#[test]
fn what_another_version_wrote_is_left_alone() {
    let mut table = Table::new();
    table.submit("a", &one(1));
    table.submit("b", &one(2));
    table.outgoing.set_searched(700);
    let sound = write(&[], &mut table.outgoing);
    assert_eq!(sound.len(), 5);
    for (places, left) in [(&[1][..], 1), (&[2], 1), (&[1, 2], 1), (&[3], 1), (&[4], 1), (&[2, 3], 0)] {
        let mut rows = sound.clone();
        places.iter().for_each(|place| rows[*place] = of_version(&rows[*place], 2));
        let (mut restored, errors) = try_restore(&rows, &table);
        assert!(errors.iter().all(|error| *error == RowError::Version(2)), "{errors:?}");
        assert_eq!(restored.len(), left);
        assert_eq!(write(&rows, &mut restored), rows, "rows {places:?} of another version");
    }
    // How far that had searched, too; and a kind of row that it may have more.
    let mut rows = sound;
    rows[0] = of_version(&rows[0], 2);
    rows.push(sealed(&[&[255; 32][..], &[2]].concat(), &[2, 3, 4]));
    let (mut restored, errors) = try_restore(&rows, &table);
    assert_eq!(errors, [RowError::Version(2); 2]);
    restored.set_searched(9);
    assert_eq!(restored.searched(), Some(9));
    assert_eq!(write(&rows, &mut restored), rows);
}

#[test]
fn what_is_looked_for_says_since_when() {
    let mut table = Table::new();
    assert_eq!(table.outgoing.oldest_added(), None);
    let begin = table.now.unix;
    table.submit("a", &one(1));
    table.pass(DAY);
    table.submit("b", &one(2));
    assert_eq!(table.outgoing.oldest_added(), Some(begin));
    table.in_block(&one(1), 7);
    assert_eq!(table.outgoing.oldest_added(), Some(begin + DAY));
    table.in_block(&one(2), 8);
    assert_eq!(table.outgoing.oldest_added(), None);
}

#[test]
fn what_was_sent_privately_is_not_sent_again_because_of_a_restart() {
    let private = Options { private: true, ..Options::default() };
    for (passed, is_due) in [(MINUTE, false), (9 * MINUTE, false), (16 * MINUTE, true)] {
        let mut table = Table::new();
        let transaction = one(1);
        table.submit_all(&[("a", &transaction, None)], &private);
        let txid = table.outgoing.next_private(table.now).unwrap();
        let conn = table.conn();
        table.outgoing.dialled(conn, &txid);
        table.outgoing.private_connected(conn, Identity::Connection(conn), txid, RELAYS, table.now);
        table.announce();
        assert!(table.ask(conn, &transaction));
        let rows = write(&[], &mut table.outgoing);
        let mut later = Table::new();
        later.pass(passed);
        later.outgoing = restore(&rows, &later);
        later.outgoing.wake(later.now);
        assert_eq!(later.outgoing.next_private(later.now).is_some(), is_due, "after {passed:?}");
    }
}
