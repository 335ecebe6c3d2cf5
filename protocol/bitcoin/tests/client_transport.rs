//! Encrypted connections (BIP324) and proxies (SOCKS5) in the laboratory: what the client finds through them, when it goes
//! without, and what goes wrong.

mod lab;

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use andon_bitcoin::client::{
    Birthday, Command, Config, Encryption, Endpoint, Event, Misbehaviour, ProxyFailure, ProxyLogin, Reason,
    TransportVersion,
};
use andon_kernel::Disconnect;
use lab::chain::script;
use lab::proxy::{self, Conduct, Proxy};
use lab::{Chain, Lab, Peer, config, endpoint};

const ONION: &str = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion";

/// A chain whose 60 blocks pay a script each.
fn chain() -> Rc<Chain> {
    let mut chain = Chain::new();
    chain.grow_blocks(60, 1, |height| script(u64::from(height)));
    Rc::new(chain)
}

/// A client that watches two of the scripts.
fn lab(config: Config, peers: Vec<Peer>) -> Lab {
    behind(None, config, peers)
}

/// One whose peers stand behind a proxy.
fn behind(proxy: Option<Proxy>, config: Config, peers: Vec<Peer>) -> Lab {
    let mut lab = Lab::new(config, peers);
    lab.proxy = proxy;
    lab.command(Command::Watch { scripts: vec![script(7), script(50)], from: Birthday::Height(0) });
    lab
}

fn knowing(chain: &Rc<Chain>, encryption: bool) -> Peer {
    let mut peer = Peer::new(chain);
    peer.knows_encryption = encryption;
    peer
}

/// The versions of the connections that were told, in order.
fn versions(lab: &Lab) -> Vec<TransportVersion> {
    let told = lab.events.iter().filter_map(|event| match event {
        Event::PeerConnected { transport, .. } => Some(*transport),
        _ => None,
    });
    told.collect()
}

fn found(lab: &Lab) -> Vec<u32> {
    let touched = lab.events.iter().filter_map(|event| match event {
        Event::Touched(touch) => Some(touch.block.height),
        _ => None,
    });
    touched.collect()
}

fn first_reason(lab: &mut Lab) -> Reason {
    lab.run_until("a farewell", |lab| !lab.farewells().is_empty());
    lab.farewells().remove(0).1
}

#[test]
fn the_same_is_found_over_either_transport() {
    let chain = chain();
    for (encryption, knows, version, dials) in [
        (Encryption::Preferred, true, TransportVersion::V2, 1),
        (Encryption::Preferred, false, TransportVersion::V1, 2),
        (Encryption::Required, true, TransportVersion::V2, 1),
        (Encryption::Off, true, TransportVersion::V1, 1),
        (Encryption::Off, false, TransportVersion::V1, 1),
    ] {
        for (decoys, rate) in [(None, None), (None, Some(997)), (Some(2000), None)] {
            let mut peer = knowing(&chain, knows);
            peer.rate = rate;
            let mut lab = lab(Config { encryption, decoys, ..config(1) }, vec![peer]);
            lab.sync();
            assert_eq!(found(&lab), [7, 50], "{encryption:?}, {knows}");
            assert_eq!(versions(&lab), [version]);
            assert_eq!(lab.dialled.len(), dials);
            assert_eq!(lab.farewells(), []);
        }
    }
    let mut lab = lab(Config { encryption: Encryption::Required, ..config(1) }, vec![knowing(&chain, false)]);
    assert_eq!(first_reason(&mut lab), Reason::EncryptionRefused);
    assert_eq!(lab.dialled.len(), 1);
}

/// A peer that goes without is dialled so for a day, and then asked again.
#[test]
fn who_goes_without_encryption_is_remembered_for_a_day() {
    let config = Config { encryption: Encryption::Preferred, ..config(1) };
    let mut lab = lab(config, vec![knowing(&chain(), false)]);
    lab.sync();
    assert_eq!(lab.dialled.len(), 2);
    for (pause, dials) in [(1, 3), (3600 * 23, 4), (3600 * 2, 6), (1, 7)] {
        lab.run_for(Duration::from_secs(pause));
        let before = versions(&lab).len();
        lab.cut(0);
        lab.run_until("the next connection", |lab| versions(lab).len() > before);
        assert_eq!(lab.dialled.len(), dials, "after {pause} s");
    }
    assert!(versions(&lab).iter().all(|version| *version == TransportVersion::V1));
}

fn named(name: &str) -> Endpoint {
    Endpoint::Host { name: name.into(), port: 8333 }
}

/// Whatever the peers are, addresses, names or onion services: the proxy alone is dialled, and no name is looked up.
#[test]
fn nothing_goes_around_a_proxy() {
    let chain = chain();
    for (encryption, knows) in [
        (Encryption::Preferred, true),
        (Encryption::Preferred, false),
        (Encryption::Required, true),
        (Encryption::Off, true),
    ] {
        for login in [
            ProxyLogin::None,
            ProxyLogin::Password { username: "user".into(), password: "secret".into() },
            ProxyLogin::Isolate,
        ] {
            let mut config = Config { encryption, ..config(1) };
            config.peers.extend([named("node.example"), named(ONION)]);
            config.proxy = proxy::configured(login.clone());
            let proxy = Proxy {
                names: [("node.example".into(), 1), (ONION.into(), 2)].into(),
                wants_login: login != ProxyLogin::None,
                ..Proxy::default()
            };
            let peers = (0..3).map(|_| knowing(&chain, knows)).collect();
            let mut lab = behind(Some(proxy), config, peers);
            lab.sync();
            lab.run_until("all connections", |lab| versions(lab).len() == 3);
            assert_eq!(found(&lab), [7, 50]);
            assert_eq!(lab.farewells(), []);
            let encrypted = knows && encryption != Encryption::Off;
            let version = if encrypted { TransportVersion::V2 } else { TransportVersion::V1 };
            assert_eq!(versions(&lab), [version; 3]);
            let dials = if encryption == Encryption::Preferred && !knows { 6 } else { 3 };
            assert_eq!(lab.dialled, vec![proxy::address(); dials]);

            let met = lab.proxy.as_ref().expect("it is there");
            let mut targets = met.targets.clone();
            targets.sort_unstable();
            targets.dedup();
            assert_eq!(targets, ["127.0.0.1:30000", "node.example:8333", &format!("{ONION}:8333")]);
            let mut logins = met.logins.clone();
            logins.sort_unstable();
            logins.dedup();
            match login {
                ProxyLogin::None => assert!(logins.is_empty()),
                ProxyLogin::Password { username, password } => assert_eq!(logins, [(username, password)]),
                ProxyLogin::Isolate => {
                    assert_eq!(logins.len(), dials, "no two connections have the same");
                    assert!(logins.iter().all(|(name, word)| name.len() == 32 && word.len() == 32));
                }
            }
        }
    }
}

#[test]
fn a_proxy_that_fails_is_told_by_name() {
    let connected = [5, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    let table = [
        (Conduct::HangUp, Reason::Proxy(ProxyFailure::Closed)),
        (Conduct::Silence, Reason::HandshakeTimeout),
        (Conduct::Begin(b"HTTP/1.1 400 Bad Request".to_vec()), Reason::Proxy(ProxyFailure::NotSocks5(b'H'))),
        (Conduct::Begin(vec![5, 0xff]), Reason::Proxy(ProxyFailure::NoMethod)),
        (Conduct::Begin(vec![5, 2]), Reason::Proxy(ProxyFailure::UnofferedMethod(2))),
        (Conduct::End(vec![5, 1]), Reason::Proxy(ProxyFailure::General)),
        (Conduct::End(vec![5, 5, 0, 1, 0, 0, 0, 0, 0, 0]), Reason::Proxy(ProxyFailure::Refused)),
        (Conduct::End(vec![5, 0xf0, 0, 1, 0, 0]), Reason::Proxy(ProxyFailure::OnionNotFound)),
        (Conduct::End(vec![5, 0, 7]), Reason::HandshakeTimeout),
        (Conduct::End(vec![5, 0, 7, 1]), Reason::Proxy(ProxyFailure::Malformed)),
        // A name without an end.
        (Conduct::End([&[5, 0, 0, 3, 255], [0; 200].as_slice()].concat()), Reason::HandshakeTimeout),
        // All at once, before it is asked for.
        (
            Conduct::Begin([&[5, 0], connected.as_slice(), b"junk"].concat()),
            Reason::Misbehaved(Misbehaviour::WrongNetwork(*b"junk")),
        ),
        (Conduct::Behind(b"junk".to_vec()), Reason::Misbehaved(Misbehaviour::WrongNetwork(*b"junk"))),
    ];
    for (conduct, reason) in table {
        let mut config = config(1);
        config.encryption = Encryption::Off;
        config.proxy = proxy::configured(ProxyLogin::None);
        let proxy = Proxy { conduct: conduct.clone(), ..Proxy::default() };
        let mut lab = behind(Some(proxy), config, vec![Peer::new(&chain())]);
        assert_eq!(first_reason(&mut lab), reason, "{conduct:?}");
        // It recovers as soon as the proxy does.
        lab.proxy = Some(Proxy::default());
        lab.sync();
    }
    // No proxy, a peer that is not there, and a login that can't be said.
    let mut config = config(1);
    config.proxy = proxy::configured(ProxyLogin::None);
    let mut without = lab(config.clone(), vec![Peer::new(&chain())]);
    assert_eq!(first_reason(&mut without), Reason::ProxyUnreachable(Disconnect::Refused));
    let mut peer = Peer::new(&chain());
    peer.up = false;
    let mut down = behind(Some(Proxy::default()), config.clone(), vec![peer]);
    assert_eq!(first_reason(&mut down), Reason::Proxy(ProxyFailure::HostUnreachable));
    config.proxy = proxy::configured(ProxyLogin::Password { username: String::new(), password: "a".into() });
    let mut nameless = behind(Some(Proxy::default()), config, vec![Peer::new(&chain())]);
    assert_eq!(first_reason(&mut nameless), Reason::Proxy(ProxyFailure::UnusableLogin));
}

#[test]
fn an_onion_service_needs_a_proxy() {
    let mut config = config(0);
    config.peers = vec![named(ONION), named("Other.ONION")];
    let mut lab = lab(config, Vec::new());
    lab.run_for(Duration::from_secs(1));
    let expected =
        [(named(ONION), Reason::OnionWithoutProxy), (named("Other.ONION"), Reason::OnionWithoutProxy)];
    assert_eq!(lab.farewells(), expected);
    assert_eq!(lab.dialled, Vec::<SocketAddr>::new());
    assert!(!endpoint(0).is_onion());
}

#[test]
fn onion_services_have_names_of_their_own() {
    use andon_bitcoin::client::EndpointError;
    use bitcoin::Network;
    let read = |text: &str| Endpoint::parse(text, Network::Bitcoin);
    let upper = ONION.to_uppercase();
    for name in [ONION, &upper, &format!("a.{ONION}"), &format!("{ONION}.")] {
        let endpoint = Endpoint::Host { name: name.into(), port: 8333 };
        assert!(endpoint.is_onion());
        assert_eq!(read(name), Ok(endpoint));
        assert_eq!(read(&format!("{name}:1")), Ok(Endpoint::Host { name: name.into(), port: 1 }));
    }
    let of_version_2 = "expyuzz4wqqyqhjn.onion";
    let of_another = ONION.replace("cryd.", "cryc.");
    let digits = ONION.replacen('p', "1", 1);
    // One letter is wrong: the checksum shows it.
    let mistyped = ONION.replacen('g', "q", 1);
    for name in [of_version_2, &of_another, &digits, &mistyped, "onion", "a.onion", &ONION[1..]] {
        assert_eq!(read(name), Err(EndpointError::Onion), "{name}");
    }
    for name in ["onion.example", "anonion", "node.example"] {
        assert!(!read(name).expect("it is a name").is_onion(), "{name}");
    }
}
