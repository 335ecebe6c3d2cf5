//! What is stored: read back, damaged in every way.

use andon_bitcoin::addresses::RowError;
use andon_bitcoin::broadcast::{BROADCASTS, Options, Outgoing, Restoring, State, Submission};
use andon_kernel::{MemoryStore, Outbox, Output, Rng, Store, Ticket};
use bitcoin::Amount;
use bitcoin::hashes::Hash;
use bitcoin::hex::DisplayHex;

use super::common::script;
use super::table::{DAY, HOUR, MINUTE, Table, block, one, output, spend};

type Row = (Vec<u8>, Vec<u8>);

#[derive(Default)]
struct Disk {
    store: MemoryStore,
    batches: u64,
}

impl Disk {
    /// Returns how many changes there were.
    fn write(&mut self, outgoing: &mut Outgoing) -> usize {
        let mut out = Outbox::<()>::new();
        self.batches += 1;
        out.store(Ticket::new(self.batches), |batch| outgoing.store(batch));
        assert!(!outgoing.is_unstored());
        let Some(Output::Store { ticket, batch }) = out.pop() else { panic!("a batch was stored") };
        self.store.store(ticket, batch).unwrap();
        batch.changes().len()
    }

    fn rows(&self) -> Vec<Row> {
        self.store.rows(BROADCASTS).map(|(key, value)| (key.to_vec(), value.to_vec())).collect()
    }
}

fn restore(rows: &[Row], table: &Table) -> (Outgoing, Vec<RowError>) {
    let mut restoring = Restoring::new(Rng::new([9; 32]));
    let errors = rows.iter().filter_map(|(key, value)| restoring.take(key, value, table.now).err()).collect();
    (restoring.finish(), errors)
}

/// Transactions in many states.
fn some() -> Table {
    let mut table = Table::new();
    let parent = one(1);
    let child = spend(&[output(&parent, 0)], 1);
    table.submit_all(&[("p", &parent, Some(500)), ("c", &child, None)], &Options::default());
    table.submit_all(&[("x", &one(2), Some(0))], &Options { private: true, expiry: DAY });
    let peer = table.peer();
    table.told();
    table.ask(peer, &parent);
    table.submit("confirmed", &one(3));
    table.in_block(&one(3), 9);
    table.submit("conflicted", &one(4));
    table.in_block(&spend(&[super::table::coin(4), super::table::coin(99)], 1), 10);
    table.submit("old", &one(5));
    let mut bumped = one(5);
    bumped.output[0].value = Amount::from_sat(5);
    table.submit("new", &bumped);
    let submission = Submission { spent_scripts: vec![script(7)], ..Submission::new(one(6)) };
    table.outgoing.submit(vec![submission], &Options::default(), table.now).unwrap();
    table.submit("seen", &one(7));
    let other = table.peer();
    table.hear(other, &one(7));
    table
}

#[test]
fn what_is_broadcast_survives_a_restart() {
    let mut table = some();
    let mut disk = Disk::default();
    disk.write(&mut table.outgoing);
    assert_eq!(disk.write(&mut table.outgoing), 0, "nothing has changed since");
    let rows = disk.rows();
    assert_eq!(rows.len(), 2 * 9);
    let (restored, errors) = restore(&rows, &table);
    assert_eq!(errors, []);
    assert!(!restored.is_unstored());
    assert_eq!(restored.len(), 9);
    for ((txid, was), (restored_txid, is)) in table.outgoing.iter().zip(restored.iter()) {
        assert_eq!(txid, restored_txid);
        assert_eq!(was.transaction, is.transaction);
        assert_eq!(
            (was.wtxid, was.fee, was.private, was.state, was.added, was.expires),
            (is.wtxid, is.fee, is.private, is.state, is.added, is.expires)
        );
    }
    assert_eq!(restored.scripts(), table.outgoing.scripts());
    let mut again = Table::with(restored);
    again.now = table.now;
    again.outgoing.wake(again.now);
    // It goes on at once with what was not seen yet; what a block undoes comes back too.
    let peer = again.peer();
    let told = again.outgoing.announce(again.now);
    assert_eq!(told.len(), 1);
    let names: Vec<_> = told[0].1.iter().map(|inventory| inventory.hash).collect();
    let expected = [one(1), spend(&[output(&one(1), 0)], 1), one(6)]
        .map(|transaction| transaction.compute_wtxid().to_byte_array());
    assert!(expected.iter().all(|hash| names.contains(hash)));
    assert_eq!(names.len(), 4, "and the one that took another's place");
    assert_eq!(told[0].0, peer);
    again.outgoing.rewind(9, again.now.instant);
    assert_eq!(again.state(&one(4).compute_txid()), State::Waiting);
    assert_eq!(again.state(&one(3).compute_txid()), State::Confirmed { block: block(9) });
    assert_eq!(again.outgoing.next_private(again.now), Some(one(2).compute_txid()));
}

#[test]
fn what_was_seen_is_not_told_again_because_of_a_restart() {
    let mut table = Table::new();
    let transaction = one(1);
    table.submit("a", &transaction);
    let [_, _] = table.peers();
    let told = table.told()[0];
    table.ask(told, &transaction);
    let other = table.peer();
    table.hear(other, &transaction);
    let mut disk = Disk::default();
    disk.write(&mut table.outgoing);
    for (passed, is_told) in [(HOUR, false), (11 * HOUR, false), (37 * HOUR, true)] {
        let mut later = Table::new();
        later.pass(passed);
        let (restored, _) = restore(&disk.rows(), &later);
        later.outgoing = restored;
        later.outgoing.wake(later.now);
        later.peer();
        assert_eq!(!later.outgoing.announce(later.now).is_empty(), is_told, "after {passed:?}");
    }
}

#[test]
fn a_change_of_state_writes_little_and_the_end_removes_all() {
    let mut table = Table::new();
    let transaction = one(1);
    let txid = table.submit("a", &transaction);
    let mut disk = Disk::default();
    assert_eq!(disk.write(&mut table.outgoing), 2);
    let peer = table.peer();
    table.told();
    table.ask(peer, &transaction);
    assert_eq!(disk.write(&mut table.outgoing), 1);
    table.pass(16 * MINUTE);
    assert_eq!(disk.write(&mut table.outgoing), 1);
    table.outgoing.withdraw(&txid, table.now.instant);
    assert_eq!(disk.write(&mut table.outgoing), 1);
    assert_eq!(disk.rows(), []);
}

#[test]
fn a_changed_row_is_left_out_and_removed_and_the_others_stand() {
    let mut table = some();
    let mut disk = Disk::default();
    disk.write(&mut table.outgoing);
    let rows = disk.rows();
    for number in 0..rows.len() {
        for bit in (0..rows[number].1.len() * 8).step_by(37) {
            let mut damaged = rows.clone();
            damaged[number].1[bit / 8] ^= 1 << (bit % 8);
            let (mut restored, errors) = restore(&damaged, &table);
            assert_eq!(restored.len(), 8);
            // A body's state has nothing to stand on, and a state's body nothing that says it is to be broadcast.
            assert!(errors[0] == RowError::Damaged && errors.len() <= 2, "{errors:?}");
            let mut disk = Disk::default();
            assert_eq!(disk.write(&mut restored), 1, "it is removed");
        }
        for length in 0..rows[number].1.len().min(300) {
            let mut damaged = rows.clone();
            damaged[number].1.truncate(length);
            assert_eq!(restore(&damaged, &table).0.len(), 8);
        }
        let mut missing = rows.clone();
        missing.remove(number);
        assert_eq!(restore(&missing, &table).0.len(), 8);
    }
    let mut twice = rows.clone();
    twice.extend(rows);
    assert_eq!(restore(&twice, &table).0.len(), 9);
}

#[test]
fn rows_are_pinned() {
    // A change here is a change of the format: it needs a new version, and a way to read this one.
    let mut table = Table::new();
    let submission = Submission { spent_scripts: vec![script(7)], ..Submission::new(one(1)) };
    let submission = submission.with_fee(Amount::from_sat(0x1234));
    table.outgoing.submit(vec![submission], &Options::default(), table.now).unwrap();
    table.in_block(&one(1), 258);
    let mut disk = Disk::default();
    disk.write(&mut table.outgoing);
    let rows: Vec<String> =
        disk.rows().iter().map(|(key, value)| format!("{} {}", key.as_hex(), value.as_hex())).collect();
    assert_eq!(rows, PINNED);
}

const PINNED: [&str; 2] = [
    "243f3a6947ab67e35c387f4f4fcfdec25d774b63e26a3e84ca7919e2c44ea43300 01341200000000000001001600001400000000\
     000000000000000000000000000000070200000000010101010101010101010101010101010101010101010101010101010101010\
     101010000000000ffffffff0110270000000000001600140000000000000000000000000000000000000100024730303030303030\
     303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303\
     03030303030303030303030210202020202020202020202020202020202020202020202020202020202020202020000000027badd\
     68",
    "243f3a6947ab67e35c387f4f4fcfdec25d774b63e26a3e84ca7919e2c44ea43301 01000000f15365000000000066666500000000\
     000000000000000000000000000000000000000000000000000000000000000000000000000000000102010000020202020202020\
     202020202020202020202020202020202020202020202020246ad491e",
];
