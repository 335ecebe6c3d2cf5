//! What a restart must not lose, and must leave alone.

use andon_bitcoin::broadcast::{BROADCASTS, MAX_EXPIRY, Options, Outgoing, Restoring, State};
use andon_kernel::{MemoryStore, Outbox, Output, Rng, Store, Ticket, UnixTime};

use super::table::{BEGIN, DAY, Table, one};

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

fn restore(rows: &[Row], table: &Table) -> Outgoing {
    let mut restoring = Restoring::new(Rng::new([9; 32]));
    for (key, value) in rows {
        restoring.take(key, value, table.now).unwrap();
    }
    restoring.finish()
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
