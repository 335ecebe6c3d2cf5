//! What a client stores, as its views show it: row for row what its events and the chain say.

#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use andon_bitcoin::addresses::{AddressBook, Bans, Grouping, Location, Source, Subnet, i2p_name, onion_name};
use andon_bitcoin::client::{
    Birthday, BroadcastOptions, Client, Command, Config, Descriptor, Endpoint, Event, Lookahead, Submission,
    Touch, TouchKind, WatchedOutput, views,
};
use andon_bitcoin::fixture;
use andon_bitcoin::server::{self, Chain, Server};
use andon_bitcoin::wire::{Host, NodeAddress};
use andon_kernel::{MemoryStore, Rng, UnixTime};
use andon_mio::{Driver, Handle, Received};
use andon_store::{Options, SqliteStore, salvage};
use bitcoin::absolute::LockTime;
use bitcoin::hashes::Hash;
use bitcoin::p2p::ServiceFlags;
use bitcoin::{Amount, Block, Network, OutPoint, ScriptBuf, Transaction, TxIn, TxOut, Txid};
use common::try_sqlite;
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags};
use tempfile::tempdir;

/// Nothing takes as long, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

fn with_views() -> Options {
    let mut options = Options::default();
    options.views = views();
    options
}

/// Rows of a query, as another program reads them, each value as text; `NULL` as a dash.
fn table(directory: &Path, sql: &str) -> Vec<Vec<String>> {
    let path = directory.join("andon.sqlite");
    let reader = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let mut statement = reader.prepare(sql).unwrap();
    let columns = statement.column_count();
    let rows = statement.query_map((), |row| {
        let text = |column| match row.get(column).unwrap() {
            Value::Null => "-".into(),
            Value::Integer(number) => number.to_string(),
            Value::Text(text) => text,
            other => panic!("{other:?}"),
        };
        Ok((0..columns).map(text).collect())
    });
    rows.unwrap().map(Result::unwrap).collect()
}

/// A node with a chain of these blocks, on loopback.
fn node(blocks: Vec<Block>) -> (Handle<server::Command, server::Event>, SocketAddr) {
    let listen = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))];
    let driver = Driver::new(andon_mio::Options { listen, ..Default::default() }).unwrap();
    let address = driver.local_addresses()[0];
    let server = Server::new(server::Config::new(Network::Regtest, [1; 32]), Chain::new(blocks).unwrap());
    (driver.spawn(server, MemoryStore::new()).unwrap(), address)
}

/// Runs a client with these commands until an event satisfies the condition; all that it told.
fn run(
    directory: &Path,
    node: SocketAddr,
    commands: impl IntoIterator<Item = Command>,
    is_done: impl Fn(&Event) -> bool,
) -> Vec<Event> {
    let mut config = Config::new(Network::Regtest, [2; 32]);
    config.peers.push(Endpoint::parse(&node.to_string(), Network::Regtest).unwrap());
    let driver = Driver::new(andon_mio::Options::default()).unwrap();
    let waker = driver.waker();
    let store = SqliteStore::open_with(directory, &with_views(), move || waker.wake()).unwrap();
    let handle = driver.spawn(Client::new(config), store).unwrap();
    for command in commands {
        handle.command(command).unwrap();
    }
    let mut events = Vec::new();
    loop {
        match handle.recv_timeout(PATIENCE) {
            Received::Event(event) => {
                let done = is_done(&event);
                events.push(event);
                if done {
                    break;
                }
            }
            other => panic!("{other:?} after {:?}", events.last()),
        }
    }
    handle.stop();
    handle.join().unwrap();
    events
}

/// Findings that stand, in the order of the chain's blocks.
fn standing(events: &[Event]) -> BTreeSet<Vec<String>> {
    let mut found = BTreeSet::new();
    for event in events {
        match event {
            Event::Touched(touch) => found.insert(row(touch)),
            Event::TakenBack(touch) => found.remove(&row(touch)),
            _ => continue,
        };
    }
    found
}

const MATCHES: &str =
    "SELECT height, block, txid, kind, vin, vout, satoshis, script, spends_txid, spends_vout FROM matches";

/// A finding as the view has it.
fn row(touch: &Touch) -> Vec<String> {
    let none = || String::from("-");
    let (kind, vin, vout, spends) = match touch.kind {
        TouchKind::Received { output } => ("received", none(), output.to_string(), None),
        TouchKind::Spent { input, outpoint } => ("spent", input.to_string(), none(), Some(outpoint)),
    };
    vec![
        touch.block.height.to_string(),
        touch.block.hash.to_string(),
        touch.txid.to_string(),
        kind.into(),
        vin,
        vout,
        touch.amount.map_or_else(none, |amount| amount.to_sat().to_string()),
        touch.script.to_hex_string(),
        spends.map_or_else(none, |outpoint| outpoint.txid.to_string()),
        spends.map_or_else(none, |outpoint| outpoint.vout.to_string()),
    ]
}

/// The headers of a chain up to a height as the view must have them.
fn assert_headers(directory: &Path, chain: &[Block]) {
    let sql = "SELECT height, hash, previous_hash, merkle_root, CAST(strftime('%s', time) AS INTEGER), version, bits, nonce \
               FROM headers";
    let rows = table(directory, sql);
    assert_eq!(rows.len(), chain.len());
    for (height, row) in rows.iter().rev().enumerate() {
        let header = chain[height].header;
        let known = height % 16 == 15 || height + 1 == chain.len();
        let first = height % 16 == 0;
        let expected = [
            height.to_string(),
            if known { header.block_hash().to_string() } else { "-".into() },
            if first { header.prev_blockhash.to_string() } else { "-".into() },
            header.merkle_root.to_string(),
            header.time.to_string(),
            header.version.to_consensus().to_string(),
            format!("{:08x}", header.bits.to_consensus()),
            header.nonce.to_string(),
        ];
        assert_eq!(row[..], expected);
    }
    let time = table(directory, "SELECT time FROM headers WHERE height = 0");
    assert_eq!(time, [["2011-02-02 23:16:42"]]);
}

#[test]
fn views_say_what_the_client_said() {
    let fixture = fixture::regtest();
    let directory = tempdir().unwrap();
    let best: Vec<Block> = fixture.chain.iter().map(|block| block.block()).collect();
    let mut chain = best[..=fixture.fork_height as usize].to_vec();
    chain.extend(fixture.stale.iter().map(|block| block.block()));
    let (node, address) = node(chain.clone());
    let mut scripts: Vec<ScriptBuf> =
        fixture.watch_scripts.iter().map(|script| (*script).to_owned()).collect();
    scripts.push(fixture.coinbase_script.to_owned());
    let birthday = Birthday::Height(3);
    let descriptor = "wpkh(02c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5)";
    let descriptors = vec![Descriptor::parse(descriptor, Network::Regtest).unwrap()];
    let lookahead = Lookahead { gap: 5, first: 7 };
    let output = WatchedOutput {
        outpoint: OutPoint::new(Txid::from_byte_array([0xab; 32]), 258),
        script: ScriptBuf::from_bytes(vec![0x51, 0x52]),
        amount: None,
    };
    let commands = [
        Command::Watch { scripts: scripts.clone(), from: birthday },
        Command::WatchOutputs { outputs: vec![output], from: Birthday::Height(200) },
        Command::WatchDescriptors { descriptors, lookahead, from: birthday, only: false },
    ];
    let events = run(directory.path(), address, commands, |event| matches!(event, Event::Synced(_)));
    let found = standing(&events);
    assert!(found.iter().any(|row| row[3] == "spent") && found.iter().any(|row| row[3] == "received"));
    let rows = table(directory.path(), MATCHES);
    assert_eq!(rows.len(), found.len());
    assert_eq!(rows.iter().cloned().collect::<BTreeSet<_>>(), found);
    assert!(rows.is_sorted_by_key(|row| row[0].parse::<u32>().unwrap()));
    assert_headers(directory.path(), &chain);

    let watched =
        table(directory.path(), "SELECT script, since_height, descriptor, derivation_index FROM watched");
    let derived = watched.iter().filter(|row| row[2] != "-").collect::<Vec<_>>();
    assert_eq!(derived.len(), 1, "{watched:?}");
    assert_eq!(derived[0][1..], ["3", "0", "0"]);
    let given: BTreeSet<String> = scripts.iter().map(|script| script.to_hex_string()).collect();
    let shown: BTreeSet<String> =
        watched.iter().filter(|row| row[2] == "-").map(|row| row[0].clone()).collect();
    assert_eq!(shown, given);
    assert!(watched.iter().all(|row| row[1] == "3"));
    let outputs =
        table(directory.path(), "SELECT txid, vout, since_height, satoshis, script FROM watched_outputs");
    assert_eq!(outputs, [["ab".repeat(32), "258".into(), "200".into(), "-".into(), "5152".into()]]);
    let descriptors =
        table(directory.path(), "SELECT number, descriptor, since_height, gap, scripts FROM descriptors");
    assert_eq!(descriptors.len(), 1);
    assert!(descriptors[0][1].starts_with(descriptor), "{descriptors:?}");
    assert_eq!(
        (&descriptors[0][0], &descriptors[0][2], &descriptors[0][3]),
        (&"0".into(), &"3".into(), &"5".into())
    );

    // A reorganisation takes some back; and a salvage keeps the rest.
    let blocks = best[fixture.fork_height as usize + 1..].to_vec();
    node.command(server::Command::Reorganise { fork_height: fixture.fork_height, blocks }).unwrap();
    let last = best.len() - 1;
    let events = run(
        directory.path(),
        address,
        [],
        |event| matches!(event, Event::Synced(tip) if tip.height as usize == last),
    );
    assert!(events.iter().any(|event| matches!(event, Event::TakenBack(_))));
    let found = standing(&events);
    for salvages in [false, true] {
        if salvages {
            assert!(!salvage(directory.path()).unwrap().lost);
        }
        assert_eq!(table(directory.path(), MATCHES).into_iter().collect::<BTreeSet<_>>(), found);
        assert_headers(directory.path(), &best);
    }
    node.stop();
    node.join().unwrap();
}

#[test]
fn views_say_what_is_broadcast() {
    let fixture = fixture::regtest();
    let directory = tempdir().unwrap();
    let (node, address) = node(fixture.chain[..=20].iter().map(|block| block.block()).collect());
    let coinbase = fixture.chain[1].block().txdata[0].compute_txid();
    let transaction = Transaction {
        version: bitcoin::transaction::Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![TxIn { previous_output: OutPoint::new(coinbase, 0), ..TxIn::default() }],
        output: vec![TxOut {
            value: Amount::from_sat(1000),
            script_pubkey: ScriptBuf::from_bytes([&[0, 20][..], &[7; 20]].concat()),
        }],
    };
    let txid = transaction.compute_txid();
    let submission = Submission::new(transaction).with_fee(Amount::from_sat(1234));
    let broadcast = |options| Command::Broadcast { transactions: vec![submission.clone()], options };
    let is_stored = |event: &Event| matches!(event, Event::Broadcast { txid: told, .. } if *told == txid);
    let options = BroadcastOptions { private: true, ..BroadcastOptions::default() };
    run(directory.path(), address, [broadcast(options)], is_stored);
    let sql = "SELECT txid, state, private, fee, strftime('%s', expires) - strftime('%s', added), height, block, \
               conflicts_with, replaced_by FROM broadcasts";
    let rows = table(directory.path(), sql);
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert!(["waiting", "announced", "sent"].contains(&rows[0][1].as_str()), "{rows:?}");
    let fortnight = (14 * 24 * 60 * 60).to_string();
    assert_eq!(rows[0][2..], ["1", "1234", &fortnight, "-", "-", "-", "-"].map(String::from));
    assert_eq!(rows[0][0], txid.to_string());
    node.stop();
    node.join().unwrap();
}

#[test]
fn views_say_who_is_known() {
    const NOW: u64 = 1_750_000_000;
    let now = UnixTime::from_secs(NOW);
    let mut rng = Rng::new([3; 32]);
    let mut book = AddressBook::new(Grouping::default(), &mut rng);
    let hosts = [
        Host::Ip(Ipv4Addr::new(8, 9, 10, 255).into()),
        Host::Ip("2a01:4f8:0:1::ff".parse().unwrap()),
        Host::TorV3(core::array::from_fn(|index| (index * 37 + 200) as u8)),
        Host::I2p(core::array::from_fn(|index| 255 - (index * 91) as u8)),
        Host::Cjdns("fc00:1:0:2::9".parse().unwrap()),
    ];
    let sources = [
        Source::Node(Host::Ip(Ipv4Addr::new(8, 8, 8, 8).into())),
        Source::Node(Host::Ip("2a01::1".parse().unwrap())),
        Source::Node(Host::I2p([9; 32])),
        Source::named("seed.example.org"),
        Source::Node(Host::Cjdns("fc00::7".parse().unwrap())),
    ];
    let flags =
        ServiceFlags::NETWORK | ServiceFlags::WITNESS | ServiceFlags::COMPACT_FILTERS | ServiceFlags::P2P_V2;
    for (index, (host, source)) in hosts.iter().zip(&sources).enumerate() {
        let services = if index == 1 { ServiceFlags::NONE } else { flags };
        let address =
            NodeAddress { time: (NOW - 1000) as u32, services, host: *host, port: 8333 - index as u16 };
        book.add(&address, source, Duration::ZERO, now, &mut rng);
    }
    let first = Location { host: hosts[0], port: 8333 };
    book.good(&first, now);
    book.attempt(&Location { host: hosts[3], port: 8330 }, true, UnixTime::from_secs(NOW + 60));
    let mut bans = Bans::new();
    for subnet in ["192.0.2.7", "198.51.100.0/24", "2a01:4f8::/32"] {
        bans.ban(subnet.parse::<Subnet>().unwrap(), UnixTime::from_secs(NOW + 86400), now).unwrap();
    }
    let directory = tempdir().unwrap();
    let mut client = try_sqlite(directory.path(), &with_views()).unwrap();
    client.put(|batch| {
        book.store(batch);
        bans.store(batch);
    });
    drop(client);

    let rows = table(
        directory.path(),
        "SELECT address, network, port, services, place, CAST(strftime('%s', heard_of) AS INTEGER), \
         reached, dialled, attempts FROM peers",
    );
    let rows: BTreeMap<String, Vec<String>> =
        rows.into_iter().map(|row| (row[0].clone(), row[1..].to_vec())).collect();
    assert_eq!(rows.len(), 5, "{rows:?}");
    let (Host::TorV3(key), Host::I2p(hash)) = (&hosts[2], &hosts[3]) else { unreachable!() };
    let onion = onion_name(key);
    // All but what follows from the checksum.
    let onion = format!("{}?????.onion", &onion[..51]);
    let services = "NETWORK WITNESS COMPACT_FILTERS P2P_V2";
    let time = "2025-06-15 15:06:40";
    let expected: [(String, [&str; 8]); 5] = [
        ("8.9.10.255".into(), ["ipv4", "8333", services, "tried", "1749999000", time, time, "0"]),
        ("2a01:4f8:0:1:0:0:0:ff".into(), ["ipv6", "8332", "", "new", "1749999000", "-", "-", "0"]),
        (onion, ["onion", "8331", services, "new", "1749999000", "-", "-", "0"]),
        (i2p_name(hash), ["i2p", "8330", services, "new", "1749999000", "-", "2025-06-15 15:07:40", "1"]),
        ("fc00:1:0:2:0:0:0:9".into(), ["cjdns", "8329", services, "new", "1749999000", "-", "-", "0"]),
    ];
    for (address, row) in expected {
        assert_eq!(
            rows.get(&address).map(|row| row.iter().map(String::as_str).collect::<Vec<_>>()),
            Some(row.to_vec()),
            "{address}: {rows:?}"
        );
    }
    let bans = table(directory.path(), "SELECT subnet, since, until FROM bans ORDER BY subnet");
    let expected = ["192.0.2.7", "198.51.100.0/24", "2a01:4f8:0:0:0:0:0:0/32"];
    assert_eq!(bans, expected.map(|subnet| [subnet, time, "2025-06-16 15:06:40"].map(String::from).to_vec()));
}
