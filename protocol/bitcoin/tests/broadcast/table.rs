//! Transactions and peers, and what becomes of them as lines of text.

use std::collections::BTreeMap;
use std::time::Duration;

use andon_bitcoin::broadcast::{
    Identity, Notice, Options, Outgoing, Skip, State, Submission, SubmitError, Traits,
};
use andon_bitcoin::headers::BlockId;
use andon_bitcoin::wire::{INV_TX, INV_WITNESS_TX, INV_WTX, Inventory};
use andon_kernel::{ConnId, Instant, Names, Now, Rng, UnixTime};
use bitcoin::absolute::LockTime;
use bitcoin::hashes::Hash;
use bitcoin::{
    Amount, BlockHash, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid, Witness, transaction,
};

pub(crate) const WITNESS_TX: u32 = INV_WITNESS_TX;
pub(crate) const RELAYS: Traits = Traits { relays: true, wtxid_relay: true };
pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);
pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);
pub(crate) const BEGIN: u64 = 1_700_000_000;

/// An output that is not one of those broadcast.
pub(crate) fn coin(number: u8) -> OutPoint {
    OutPoint::new(Txid::from_byte_array([number; 32]), 0)
}

/// A transaction that spends these, with a witness. It has 110 virtual bytes with one input and one output.
pub(crate) fn spend(coins: &[OutPoint], outputs: u8) -> Transaction {
    let input = |outpoint: &OutPoint| TxIn {
        previous_output: *outpoint,
        script_sig: ScriptBuf::new(),
        sequence: Sequence::MAX,
        witness: Witness::from_slice(&[vec![0x30; 71], vec![2; 33]]),
    };
    let tag = coins.iter().fold(0, |tag, coin| tag * 7 + u64::from(coin.txid.to_byte_array()[0]));
    let output = |number: u8| TxOut {
        value: Amount::from_sat(10_000),
        script_pubkey: crate::common::script(tag << 8 | u64::from(number)),
    };
    Transaction {
        version: transaction::Version::TWO,
        lock_time: LockTime::ZERO,
        input: coins.iter().map(input).collect(),
        output: (0..outputs).map(output).collect(),
    }
}

pub(crate) fn one(number: u8) -> Transaction {
    spend(&[coin(number)], 1)
}

pub(crate) fn output(transaction: &Transaction, number: u32) -> OutPoint {
    OutPoint::new(transaction.compute_txid(), number)
}

pub(crate) fn block(height: u32) -> BlockId {
    BlockId { height, hash: BlockHash::from_byte_array([height as u8; 32]) }
}

pub(crate) fn by_wtxid(transaction: &Transaction) -> Inventory {
    Inventory { kind: INV_WTX, hash: transaction.compute_wtxid().to_byte_array() }
}

pub(crate) fn by_txid(transaction: &Transaction, kind: u32) -> Inventory {
    Inventory { kind, hash: transaction.compute_txid().to_byte_array() }
}

pub(crate) struct Table {
    pub(crate) outgoing: Outgoing,
    pub(crate) now: Now,
    names: Names,
    /// Names for transactions, to read by.
    called: BTreeMap<Txid, &'static str>,
    /// Those who are told, and listened to.
    peers: BTreeMap<ConnId, Traits>,
    /// How many there were.
    identities: u32,
}

impl Table {
    pub(crate) fn new() -> Self {
        Self::with(Outgoing::new(Rng::new([5; 32])))
    }

    pub(crate) fn with(outgoing: Outgoing) -> Self {
        Self {
            outgoing,
            now: Now { instant: Instant::from_micros(5_000_000), unix: UnixTime::from_secs(BEGIN) },
            names: Names::default(),
            called: BTreeMap::new(),
            peers: BTreeMap::new(),
            identities: 0,
        }
    }

    /// Broadcasts one, called so.
    pub(crate) fn submit(&mut self, name: &'static str, transaction: &Transaction) -> Txid {
        self.submit_all(&[(name, transaction, None)], &Options::default())[0]
    }

    pub(crate) fn submit_all(
        &mut self,
        package: &[(&'static str, &Transaction, Option<u64>)],
        options: &Options,
    ) -> Vec<Txid> {
        self.try_submit(package, options).unwrap()
    }

    pub(crate) fn try_submit(
        &mut self,
        package: &[(&'static str, &Transaction, Option<u64>)],
        options: &Options,
    ) -> Result<Vec<Txid>, SubmitError> {
        let submissions = package.iter().map(|(name, transaction, fee)| {
            self.called.insert(transaction.compute_txid(), name);
            let fee = fee.map(Amount::from_sat);
            Submission { fee, ..Submission::new((*transaction).clone()) }
        });
        let submissions = submissions.collect();
        let txids = self.outgoing.submit(submissions, options, self.now);
        self.outgoing.wake(self.now);
        txids
    }

    pub(crate) fn peer(&mut self) -> ConnId {
        self.peer_with(RELAYS)
    }

    pub(crate) fn peer_with(&mut self, traits: Traits) -> ConnId {
        self.identities += 1;
        self.peer_as(Identity::Own(self.identities), traits)
    }

    pub(crate) fn peer_as(&mut self, identity: Identity, traits: Traits) -> ConnId {
        let conn = self.conn();
        self.outgoing.peer_connected(conn, identity, traits);
        self.peers.insert(conn, traits);
        conn
    }

    /// Those who are there.
    pub(crate) fn here(&self) -> Vec<ConnId> {
        self.peers.keys().copied().filter(|conn| self.outgoing.is_connected(*conn)).collect()
    }

    pub(crate) fn peers<const N: usize>(&mut self) -> [ConnId; N] {
        [(); N].map(|()| self.peer())
    }

    pub(crate) fn conn(&mut self) -> ConnId {
        self.names.conn()
    }

    /// Lets time pass, and the machine wake whenever it is due; what is announced meanwhile is told. Whoever is to be let go
    /// leaves its place to somebody else.
    pub(crate) fn pass(&mut self, time: Duration) -> Vec<(ConnId, Vec<Inventory>)> {
        let end = self.now.instant + time;
        let mut announced = Vec::new();
        let mut turns = 0;
        while let Some(deadline) = self.outgoing.deadline().filter(|deadline| *deadline <= end) {
            self.go_to(deadline.max(self.now.instant));
            self.outgoing.wake(self.now);
            announced.extend(self.outgoing.announce(self.now));
            for conn in self.outgoing.to_close(self.now) {
                self.outgoing.peer_gone(conn);
                if let Some(traits) = self.peers.remove(&conn) {
                    self.peer_with(traits);
                }
            }
            announced.extend(self.outgoing.announce(self.now));
            turns += 1;
            assert!(turns < 100_000, "it wakes without end");
        }
        self.go_to(end);
        announced.extend(self.outgoing.announce(self.now));
        announced
    }

    fn go_to(&mut self, instant: Instant) {
        self.now.instant = instant;
        self.now.unix = UnixTime::from_secs(BEGIN + instant.as_micros() / 1_000_000 - 5);
    }

    /// Who is told now, with what, by the names of the transactions.
    pub(crate) fn announce(&mut self) -> Vec<(ConnId, Vec<&'static str>)> {
        let lists = self.outgoing.announce(self.now);
        lists.into_iter().map(|(conn, list)| (conn, self.read(&list))).collect()
    }

    pub(crate) fn read(&self, list: &[Inventory]) -> Vec<&'static str> {
        let names = list.iter().map(|inventory| {
            let mut all = self.outgoing.iter();
            let found = all.find(|(txid, broadcast)| match inventory.kind {
                INV_WTX => broadcast.wtxid.to_byte_array() == inventory.hash,
                INV_TX => txid.to_byte_array() == inventory.hash,
                kind => panic!("announced as {kind}"),
            });
            self.called[&found.unwrap().0]
        });
        names.collect()
    }

    /// How many are told now.
    pub(crate) fn told(&mut self) -> Vec<ConnId> {
        self.announce().into_iter().map(|(conn, _)| conn).collect()
    }

    /// Asks for one by its wtxid.
    pub(crate) fn ask(&mut self, conn: ConnId, transaction: &Transaction) -> bool {
        let served = self.outgoing.serve(conn, &by_wtxid(transaction), self.now);
        if let Some(bytes) = &served {
            assert_eq!(*bytes, bitcoin::consensus::serialize(transaction));
        }
        served.is_some()
    }

    pub(crate) fn hear(&mut self, conn: ConnId, transaction: &Transaction) {
        self.outgoing.heard(conn, &by_wtxid(transaction), self.now);
    }

    pub(crate) fn state(&self, txid: &Txid) -> State {
        self.outgoing.find(txid).unwrap().state
    }

    /// A transaction of a block.
    pub(crate) fn in_block(&mut self, transaction: &Transaction, height: u32) -> bool {
        let touch = self.outgoing.touch(transaction.compute_txid(), transaction);
        if let Some(touch) = &touch {
            self.outgoing.settle(touch, block(height));
        }
        touch.is_some()
    }

    /// What has happened.
    pub(crate) fn notices(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(notice) = self.outgoing.next_notice() {
            let name = |txid| self.called.get(&txid).copied().unwrap_or("?");
            lines.push(match notice {
                Notice::Changed { txid, state, .. } => format!("{} {}", name(txid), self.describe(state)),
                Notice::Skipped { txid, reason, .. } => match reason {
                    Skip::TakesNone => format!("{} not for who takes none", name(txid)),
                    Skip::FeeFilter { least } => format!("{} not for less than {least}", name(txid)),
                },
            });
        }
        lines
    }

    fn describe(&self, state: State) -> String {
        let name = |txid| self.called.get(&txid).copied().unwrap_or("another");
        match state {
            State::Confirmed { block } => format!("confirmed {}", block.height),
            State::Conflicted { by, block } => format!("conflicted by {} {}", name(by), block.height),
            State::Replaced { by } => format!("replaced by {}", name(by)),
            other => format!("{other:?}").to_lowercase(),
        }
    }
}
