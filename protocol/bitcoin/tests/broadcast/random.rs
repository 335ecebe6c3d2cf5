//! Anything in any order: what is held is bounded and sound, and what is stored is what there is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use andon_bitcoin::broadcast::{
    BROADCASTS, Identity, MAX_EXPIRY, MAX_SERVED, MAX_TRANSACTIONS, Options, Outgoing, Restoring, State,
    Submission, Traits,
};
use andon_kernel::{ConnId, MemoryStore, Outbox, Output, Rng, Store, Ticket, UnixTime};
use bitcoin::{Amount, OutPoint, Transaction, Txid};

use super::table::{BEGIN, Table, by_txid, by_wtxid, coin, output, spend};

/// What a run keeps in mind.
struct Run {
    table: Table,
    rng: Rng,
    known: Vec<Transaction>,
    peers: Vec<ConnId>,
    private: Vec<ConnId>,
    served: BTreeMap<(ConnId, Txid), u32>,
    /// Who is at the other end.
    identities: BTreeMap<ConnId, Identity>,
    /// Who was told of what.
    told: BTreeMap<Txid, BTreeSet<Identity>>,
    store: MemoryStore,
    batches: u64,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let rng = Rng::new(bytes);
        Self {
            table: Table::with(Outgoing::new(rng.fork("outgoing"))),
            rng,
            known: Vec::new(),
            peers: Vec::new(),
            private: Vec::new(),
            served: BTreeMap::new(),
            identities: BTreeMap::new(),
            told: BTreeMap::new(),
            store: MemoryStore::default(),
            batches: 0,
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        self.rng.below(bound as u64) as usize
    }

    fn one_known(&mut self) -> Transaction {
        let place = self.below(self.known.len());
        self.known[place].clone()
    }

    fn one_peer(&mut self) -> ConnId {
        let place = self.below(self.peers.len());
        self.peers[place]
    }

    /// One that spends a few of few coins, or outputs of others: many spend the same.
    fn transaction(&mut self) -> Transaction {
        let mut coins: BTreeSet<OutPoint> = BTreeSet::new();
        for _ in 0..=self.below(2) {
            let place = self.below(2 * self.known.len() + 8);
            coins.insert(match self.known.get(place) {
                Some(parent) => output(parent, 0),
                None => coin(self.rng.below(40) as u8 + 1),
            });
        }
        let mut transaction = spend(&coins.into_iter().collect::<Vec<_>>(), 2);
        transaction.output[1].value = Amount::from_sat(self.rng.below(3) + 1);
        transaction
    }

    fn step(&mut self) {
        let now = self.table.now;
        match self.below(14) {
            0 | 1 => {
                let package = (0..=self.below(3)).map(|_| {
                    let transaction = self.transaction();
                    self.known.push(transaction.clone());
                    let fee = [None, Some(Amount::from_sat(self.rng.below(2000)))][self.below(2)];
                    Submission { fee, ..Submission::new(transaction) }
                });
                let package = package.collect();
                let longest = [100_000, MAX_EXPIRY.as_secs()][self.below(2)];
                let expiry = Duration::from_secs(self.rng.below(longest) + 1);
                let options = Options { private: self.below(3) == 0, expiry };
                // Some contradict each other, or are refused for want of room.
                let txids = self.table.outgoing.submit(package, &options, now).unwrap_or_default();
                self.served.retain(|(_, txid), _| !txids.contains(txid));
            }
            2 => {
                let traits = Traits { relays: self.below(5) > 0, wtxid_relay: self.below(2) == 0 };
                let identity = self.identity();
                let conn = self.table.peer_as(identity, traits);
                self.identities.insert(conn, identity);
                self.peers.push(conn);
            }
            3 if !self.peers.is_empty() => {
                let place = self.below(self.peers.len());
                let conn = self.peers.swap_remove(place);
                self.table.outgoing.peer_gone(conn);
            }
            4 if !self.peers.is_empty() => {
                let conn = self.one_peer();
                let least = [0, 1000, 5000, 9_170_997][self.below(4)];
                self.table.outgoing.fee_filter(conn, least);
            }
            5 | 6 if !self.known.is_empty() => {
                let all: Vec<ConnId> = self.peers.iter().chain(&self.private).copied().collect();
                let place = self.below(self.known.len());
                let transaction = self.known[place].clone();
                for conn in all {
                    let request =
                        if self.below(2) == 0 { by_wtxid(&transaction) } else { by_txid(&transaction, 1) };
                    if self.table.outgoing.serve(conn, &request, now).is_some() {
                        *self.served.entry((conn, transaction.compute_txid())).or_default() += 1;
                    }
                }
            }
            7 if !self.known.is_empty() && !self.peers.is_empty() => {
                let conn = self.one_peer();
                let transaction = self.one_known();
                let txid = transaction.compute_txid();
                let is_seen =
                    |table: &Table| table.outgoing.find(&txid).is_some_and(|one| one.state == State::Seen);
                let was_seen = is_seen(&self.table);
                self.table.hear(conn, &transaction);
                if is_seen(&self.table) && !was_seen {
                    let told = self.told.get(&txid);
                    let identity = self.identities[&conn];
                    assert!(
                        !told.is_some_and(|told| told.contains(&identity)),
                        "it repeats what it was told"
                    );
                }
            }
            8 if !self.known.is_empty() => {
                let txid = self.one_known().compute_txid();
                self.table.outgoing.withdraw(&txid, now.instant);
            }
            9 if !self.known.is_empty() => {
                let transaction = self.one_known();
                let height = self.rng.below(300) as u32;
                self.table.in_block(&transaction, height);
            }
            10 => {
                let height = self.rng.below(300) as u32;
                self.table.outgoing.rewind(height, now.instant);
            }
            11 => {
                let height = self.below(500) as u32;
                self.table.outgoing.bury(height);
            }
            12 => {
                while let Some(txid) = self.table.outgoing.next_private(now) {
                    let conn = self.table.conn();
                    self.table.outgoing.dialled(conn, &txid);
                    if self.below(3) == 0 {
                        self.table.outgoing.peer_gone(conn);
                    } else {
                        let identity = self.identity();
                        self.identities.insert(conn, identity);
                        let traits = super::table::RELAYS;
                        self.table.outgoing.private_connected(conn, identity, txid, traits, now);
                        self.private.push(conn);
                    }
                }
            }
            _ => {
                // As a client does: timers, then what they bring, then what is to be closed.
                let time = Duration::from_secs(self.rng.below(1000));
                self.table.now.instant += time;
                self.table.now.unix = self.table.now.unix + time;
                if self.below(20) == 0 {
                    // The clock is set, by years.
                    let years = 4 * MAX_EXPIRY.as_secs();
                    self.table.now.unix = UnixTime::from_secs(BEGIN - years / 2 + self.rng.below(years));
                }
                self.table.outgoing.wake(self.table.now);
                self.served.clear();
                for conn in self.table.outgoing.to_close(self.table.now) {
                    self.private.retain(|private| *private != conn);
                    self.peers.retain(|peer| *peer != conn);
                    self.table.outgoing.peer_gone(conn);
                }
                while self.table.outgoing.next_private(self.table.now).is_some() {}
                if let Some(deadline) = self.table.outgoing.deadline() {
                    assert!(deadline > self.table.now.instant, "it would wake without end");
                }
            }
        }
        self.check();
    }

    /// One of few.
    fn identity(&mut self) -> Identity {
        Identity::Own(self.below(6) as u32)
    }

    fn check(&mut self) {
        let outgoing = &self.table.outgoing;
        self.told.retain(|txid, _| outgoing.find(txid).is_some());
        let private = &self.private;
        for (conn, list) in self.table.outgoing.announce(self.table.now) {
            assert!(list.len() <= MAX_TRANSACTIONS);
            for inventory in list {
                let told = self.table.outgoing.iter().find(|(txid, broadcast)| {
                    let hash = inventory.hash;
                    *bitcoin::hashes::Hash::as_byte_array(txid) == hash
                        || *bitcoin::hashes::Hash::as_byte_array(&broadcast.wtxid) == hash
                });
                let (txid, told) = told.expect("what is announced is there");
                self.told.entry(txid).or_default().insert(self.identities[&conn]);
                assert_eq!(told.private, private.contains(&conn), "who is told of what is private");
                assert!(
                    matches!(told.state, State::Announced | State::Sent | State::Seen),
                    "{:?} is told of",
                    told.state
                );
            }
        }
        assert_eq!(self.table.outgoing.announce(self.table.now), [], "told twice");
        assert!(self.table.outgoing.len() <= MAX_TRANSACTIONS);
        assert!(self.served.values().all(|served| *served <= u32::from(MAX_SERVED)));
        // No two that spend the same are broadcast.
        let mut spent = BTreeMap::new();
        for (txid, broadcast) in self.table.outgoing.iter() {
            let is_live =
                matches!(broadcast.state, State::Waiting | State::Announced | State::Sent | State::Seen);
            for input in broadcast.transaction.input.iter().filter(|_| is_live) {
                let other = spent.insert(input.previous_output, txid);
                assert_eq!(other, None, "{txid} and another spend the same");
            }
        }
        while self.table.outgoing.next_notice().is_some() {}
        self.batches += 1;
        let mut out = Outbox::<()>::new();
        out.store(Ticket::new(self.batches), |batch| self.table.outgoing.store(batch));
        let Some(Output::Store { ticket, batch }) = out.pop() else { panic!("a batch was stored") };
        self.store.store(ticket, batch).unwrap();
    }

    fn restart(&mut self) {
        let mut restoring = Restoring::new(self.rng.fork("again"));
        for (key, value) in self.store.rows(BROADCASTS) {
            restoring.take(key, value, self.table.now).unwrap();
        }
        let restored = restoring.finish();
        let now = self.table.now.unix;
        let look = |outgoing: &Outgoing| -> Vec<_> {
            let all = outgoing.iter().map(|(txid, one)| {
                // The clock may have been years ahead when it was given.
                let expires = one.expires.min(one.added.max(now) + MAX_EXPIRY);
                (txid, one.wtxid, one.fee, one.private, one.state, one.added, expires)
            });
            all.collect()
        };
        assert_eq!(look(&restored), look(&self.table.outgoing));
        assert_eq!(restored.searched(), self.table.outgoing.searched());
        self.table.outgoing = restored;
        (self.peers, self.private) = (Vec::new(), Vec::new());
        self.served.clear();
        self.told.clear();
        self.table.outgoing.wake(self.table.now);
    }
}

#[test]
fn whatever_happens_what_is_held_is_sound() {
    for seed in 0..60 {
        let mut run = Run::new(seed);
        for step in 0..400 {
            run.step();
            if step % 97 == 96 {
                run.restart();
            }
        }
    }
}
