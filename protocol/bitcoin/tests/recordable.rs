//! What a client is built from and asked is read as it was written; what anybody else wrote is refused, or is as sound as what
//! the client's own interface makes.

#![allow(clippy::unwrap_used, reason = "a test fails so")]

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::num::NonZeroU32;
use std::time::Duration;

use andon_bitcoin::addresses::{AddressNetworks, AsMap, Grouping, Subnet};
use andon_bitcoin::client::{
    Birthday, BlockId, BroadcastOptions, Budget, Client, Command, Config, Descriptor, Discovery, Encryption,
    Endpoint, FilterCache, HeaderQuery, Import, Lookahead, Proxy, ProxyLogin, RequestId, Start, Submission,
    WatchedOutput,
};
use andon_bitcoin::{fixture, points, wire::Host};
use andon_kernel::recording::Recordable;
use andon_kernel::{Rng, UnixTime};
use bitcoin::hashes::Hash;
use bitcoin::{Amount, FilterHeader, Network, OutPoint, ScriptBuf, Work};

const XPUB: &str = "tpubD6NzVbkrYhZ4XgiXtGrdW5XDAPFCL9h7we1vwNCpn8tGbBcgfVYjXyhWo4E1xkh56hjod1RhGjxbaTLV3X4FyWuejifB9jusQ46QzG87VKp";

fn text(value: &impl Debug) -> String {
    format!("{value:?}")
}

fn encoded_config(config: &Config) -> Vec<u8> {
    let mut bytes = Vec::new();
    Client::encode_construction(config, &mut bytes);
    bytes
}

fn encoded(command: &Command) -> Vec<u8> {
    let mut bytes = Vec::new();
    Client::encode_command(command, &mut bytes);
    bytes
}

/// One with nothing as it is by default.
fn full_config() -> Config {
    let fixture = fixture::regtest();
    let block = BlockId { height: 7, hash: fixture.chain[7].hash() };
    Config {
        start: Start::Point(points::start_points(Network::Bitcoin)[1].clone()),
        minimum_work: Some(Work::from_be_bytes([
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4,
        ])),
        known_blocks: vec![block],
        known_filter_headers: vec![(3, FilterHeader::all_zeros())],
        filter_header_quorum: 5,
        // Every address is in system 1.
        grouping: Grouping::by_map(AsMap::new([0; 3]).unwrap()),
        peers: vec![
            Endpoint::Address("[fe80::1%4]:8333".parse().unwrap()),
            Endpoint::Host { name: "node.example.org".into(), port: 18_444 },
        ],
        discovery: Some(Discovery { connections: 3, networks: AddressNetworks::ALL, ..Discovery::default() }),
        encryption: Encryption::Required,
        decoys: Some(77),
        proxy: Some(Proxy {
            address: "127.0.0.1:9050".parse().unwrap(),
            login: ProxyLogin::Password { username: "name".into(), password: "\"\u{1f3ee}\\".into() },
        }),
        i2p: Some("127.0.0.1:7656".parse().unwrap()),
        cjdns: true,
        user_agent: "/other:1/".into(),
        handshake_timeout: Duration::new(3, 999_999_999),
        stall_timeout: Duration::MAX,
        filter_window: usize::MAX,
        filter_cache: FilterCache::Bytes(u64::MAX),
        decoy_blocks: NonZeroU32::new(1000),
        newest_first: true,
        ping_interval: Duration::from_micros(1),
        ping_timeout: Duration::from_secs(5),
        stale_tip: Duration::from_secs(6),
        retry_delay: Duration::ZERO,
        ..Config::new(Network::Testnet4, [0xa5; 32])
    }
}

/// One of each kind.
fn commands() -> Vec<Command> {
    let fixture = fixture::regtest();
    let scripts: Vec<ScriptBuf> = fixture.watch_scripts.iter().map(|&script| script.to_owned()).collect();
    let block = fixture.chain.last().unwrap().block();
    let transaction = block.txdata.last().unwrap().clone();
    let outpoint = OutPoint { txid: transaction.compute_txid(), vout: u32::MAX };
    let from = Birthday::Time(UnixTime::from_secs(u64::MAX));
    let descriptor = |text: &str| Descriptor::parse(text, Network::Regtest).unwrap();
    let descriptors = vec![
        descriptor(&format!("wpkh({XPUB}/<0;1>/*)")),
        descriptor("pk(0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798)"),
    ];
    let subnets = [
        "192.0.2.0/24".parse().unwrap(),
        "2001:db8::/32".parse().unwrap(),
        "0.0.0.0/0".parse().unwrap(),
        Subnet::host(&Host::TorV3([3; 32])),
        Subnet::host(&Host::I2p([4; 32])),
        Subnet::host(&Host::Cjdns("fc00::1".parse().unwrap())),
    ];
    let submission = Submission {
        spent_scripts: scripts.clone(),
        ..Submission::new(transaction.clone()).with_fee(Amount::from_sat(u64::MAX))
    };
    let request = Command::Request {
        id: RequestId(u64::MAX),
        command: Box::new(Command::Rescan { from }),
        within: Some(Duration::from_millis(1500)),
    };
    let mut commands = vec![
        Command::RemovePeer(Endpoint::Address("[::1]:1".parse().unwrap())),
        Command::Pause,
        Command::Resume(None),
        Command::Resume(Some(Budget { bytes: Some(5), time: Some(Duration::MAX), until_synced: true })),
        Command::SetMetered(true),
        Command::Acknowledge(7),
        request,
        Command::Cancel(RequestId(0)),
        Command::TellTip,
        Command::TellPeers,
        Command::AddPeer(Endpoint::Host { name: "a.b".into(), port: 0 }),
        Command::Watch { scripts: scripts.clone(), from },
        Command::WatchOnly { scripts: Vec::new(), from: Birthday::Height(5) },
        Command::WatchOutputs {
            outputs: vec![
                WatchedOutput { outpoint, script: scripts[0].clone(), amount: None },
                WatchedOutput { outpoint, script: ScriptBuf::new(), amount: Some(Amount::from_sat(1)) },
            ],
            from,
        },
        Command::Unwatch { scripts, outputs: vec![outpoint] },
        Command::WatchDescriptors {
            descriptors: descriptors.clone(),
            lookahead: Lookahead { gap: 3, first: 4 },
            from,
            only: true,
        },
        Command::UnwatchDescriptors { descriptors },
        Command::Rescan { from },
        Command::FindSpend { outpoint, script: ScriptBuf::from_bytes(vec![0x4c]), from },
        Command::Broadcast {
            transactions: vec![submission, Submission::new(transaction)],
            options: BroadcastOptions { private: true, expiry: Duration::from_secs(9) },
        },
        Command::WithdrawBroadcast { txid: outpoint.txid },
        Command::TellFees { blocks: 6 },
        Command::FindHeader(HeaderQuery::Hash(block.block_hash())),
        Command::FetchBlock(HeaderQuery::Height(9)),
        Command::Export { from: 1, count: 2 },
        Command::Import(Import {
            headers: vec![block.header; 3],
            filter_headers_from: 4,
            filter_headers: vec![FilterHeader::from_byte_array([1; 32]); 2],
        }),
    ];
    for subnet in subnets {
        commands.push(Command::Ban { subnet, until: UnixTime::from_secs(1) });
        commands.push(Command::LiftBan { subnet });
    }
    commands
}

#[test]
fn configurations_are_read_as_they_were_written() {
    for network in [Network::Bitcoin, Network::Testnet, Network::Testnet4, Network::Signet, Network::Regtest]
    {
        let config = Config::new(network, [1; 32]);
        let read = Client::decode_construction(&encoded_config(&config)).unwrap();
        assert_eq!(text(&read), text(&config));
    }
    let config = full_config();
    let read = Client::decode_construction(&encoded_config(&config)).unwrap();
    assert_eq!(text(&read), text(&config));
    assert_eq!(read.grouping.version(), config.grouping.version());
}

#[test]
fn commands_are_read_as_they_were_written() {
    for command in commands() {
        let read =
            Client::decode_command(&encoded(&command)).unwrap_or_else(|why| panic!("{command:?}: {why}"));
        assert_eq!(text(&read), text(&command));
    }
}

#[test]
fn a_setting_that_an_older_version_had_not_is_as_by_default() {
    let whole: serde_json::Value = serde_json::from_slice(&encoded_config(&full_config())).unwrap();
    let fields: Vec<String> = whole.as_object().unwrap().keys().cloned().collect();
    for field in fields {
        let mut older = whole.clone();
        older.as_object_mut().unwrap().remove(&field);
        let read = Client::decode_construction(older.to_string().as_bytes());
        if ["network", "seed"].contains(&field.as_str()) {
            assert!(read.unwrap_err().contains(&field));
            continue;
        }
        let expected = serde_json::to_value(Config::new(Network::Testnet4, [0xa5; 32])).unwrap();
        let read = serde_json::to_value(read.unwrap()).unwrap();
        assert_eq!(read[&field], expected[&field], "{field}");
    }
    // And one that a newer version had does no harm.
    let mut newer = whole;
    newer["colour"] = "red".into();
    assert!(Client::decode_construction(newer.to_string().as_bytes()).is_ok());
}

#[test]
fn what_the_interface_would_not_make_is_refused() {
    let ban = |subnet: &str| format!(r#"{{"Ban":{{"subnet":{subnet},"until":1}}}}"#);
    let watch = |descriptors: &str| format!(r#"{{"UnwatchDescriptors":{{"descriptors":[{descriptors}]}}}}"#);
    assert!(Client::decode_command(ban(r#"{"host":{"Ip":"1.2.3.0"},"prefix":24}"#).as_bytes()).is_ok());
    let ones = "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]";
    for wrong in [
        ban(r#"{"host":{"Ip":"1.2.3.4"},"prefix":24}"#),
        ban(r#"{"host":{"Ip":"1.2.3.0"},"prefix":33}"#),
        ban(r#"{"host":{"Ip":"1.2.3.0"},"prefix":280}"#),
        ban(r#"{"host":{"Ip":"::ffff:1.2.3.4"},"prefix":128}"#),
        ban(&format!(r#"{{"host":{{"TorV3":{ones}}},"prefix":8}}"#)),
        ban(r#"{"host":{"Cjdns":"fc00::"},"prefix":8}"#),
        watch(r#"{"paths":[]}"#),
        watch(r#"{"paths":["pk(nonsense)"]}"#),
        watch(&format!(r#"{{"paths":["wpkh({XPUB}/<0;1>/*)"]}}"#)),
        watch(&format!(r#"{{"paths":["wpkh({XPUB}/*)"]}}"#)),
        watch(r#"{"paths":["wpkh(cMceqPhUCc1Ky9Bv1X3UWh3TF9eQBHxcZbLgJzUtRNSsdLVyAiXp)"]}"#),
        r#""Start""#.into(),
        "{}".into(),
        String::new(),
    ] {
        assert!(Client::decode_command(wrong.as_bytes()).is_err(), "{wrong}");
    }
    let mut config: serde_json::Value = serde_json::from_slice(&encoded_config(&full_config())).unwrap();
    for (field, wrong) in [
        ("grouping", r#"{"map":"00"}"#),
        ("grouping", r#"{"map":"0"}"#),
        ("discovery", r#"{"networks":32}"#),
        ("seed", "[1,2]"),
        ("decoy_blocks", "0"),
        ("handshake_timeout", r#"{"secs":18446744073709551615,"nanos":1000000000}"#),
    ] {
        let sound = std::mem::replace(&mut config[field], serde_json::from_str(wrong).unwrap());
        assert!(Client::decode_construction(config.to_string().as_bytes()).is_err(), "{field}: {wrong}");
        config[field] = sound;
    }
}

/// Bytes as they are, cut off, and changed here and there: reading ends with an answer, and a client is built of what is read.
#[test]
fn what_was_damaged_is_read_or_refused() {
    let mut rng = Rng::new([2; 32]);
    let mut read = BTreeSet::new();
    let config = encoded_config(&full_config());
    let commands: Vec<Vec<u8>> = commands().iter().map(encoded).collect();
    for round in 0..3000 {
        let from =
            if round % 4 == 0 { &config } else { &commands[rng.below(commands.len() as u64) as usize] };
        let mut bytes = from.clone();
        bytes.truncate(rng.below(4 * bytes.len() as u64 + 1) as usize);
        for _ in 0..rng.below(4) {
            if let Some(last) = (bytes.len() as u64).checked_sub(1) {
                bytes[rng.below(last + 1) as usize] = b"\"{}[],:-0159eabf\\u\xff\0"[rng.below(20) as usize];
            }
        }
        if round % 4 == 0 {
            let built = Client::decode_construction(&bytes).map(Client::build);
            read.insert((true, built.is_ok()));
        } else {
            read.insert((false, Client::decode_command(&bytes).is_ok()));
        }
    }
    assert_eq!(read.len(), 4, "some of each are read and some refused: {read:?}");
    // As deep as anybody likes.
    let deep = "[".repeat(1_000_000);
    assert!(Client::decode_command(deep.as_bytes()).is_err());
    assert!(Client::decode_construction(deep.as_bytes()).is_err());
}
