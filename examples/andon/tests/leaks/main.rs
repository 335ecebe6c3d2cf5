//! With a proxy nothing goes around it: the program on a machine of its own, from which a single wire leads to a proxy, and
//! every frame on the wire is looked at. The machine is a network namespace; Linux only.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "it is a test")]

mod capture;
#[path = "../common/mod.rs"]
mod common;
mod names;

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bitcoin::consensus::encode::serialize_hex;
use capture::{Capture, Packet};
use common::namespace::{enter, shell};
use common::proxy::Proxy;
use common::spending::{assert_spread, spending};
use common::{Ended, Node, andon, assert_found_everything, blocks, run, watch};
use names::Names;

const ONION: &str = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion";
const NAME: &str = "node.example";
/// Where the nodes are said to be: addresses for documents, which are nobody's.
const IPV4: &str = "203.0.113.7:18444";
const IPV6: &str = "[2001:db8::7]:18444";
const I2P: &str = "ukeu3k5oycgaauneqgtnvselmt4yemvoilkln7jpvamvfx7dnkdq.b32.i2p";
const CJDNS: &str = "[fc12::7]:18444";

/// On the other end of the wire.
const PROXY: &str = "10.83.0.1:9050";
const DEAD_PROXY: &str = "10.83.0.1:9";
const DNS: &str = "10.83.0.53:53";

/// The program's machine: no loopback, and one wire, which is the way to everywhere. Nothing leads on from its other end.
/// Names are looked up there, and nowhere else.
const MACHINES: &str = "
    touch /run/machine
    unshare --net=/run/machine true
    ip link add way address 02:00:00:00:00:01 type veth peer name out address 02:00:00:00:00:02 netns /run/machine
    ip addr add 10.83.0.1/24 dev way
    ip addr add 10.83.0.53/24 dev way
    if [ -e /proc/net/if_inet6 ]; then ip addr add fd83::1/64 dev way nodad; fi
    ip link set way up
    printf 'nameserver 10.83.0.53\\noptions timeout:1 attempts:1\\n' >/run/resolv.conf
    mount --bind /run/resolv.conf /etc/resolv.conf
    printf 'hosts: files dns\\n' >/run/nsswitch.conf
    if [ -e /etc/nsswitch.conf ]; then mount --bind /run/nsswitch.conf /etc/nsswitch.conf; fi
";
const WIRE: &str = "
    ip addr add 10.83.0.2/24 dev out
    if [ -e /proc/net/if_inet6 ]; then ip addr add fd83::2/64 dev out nodad; fi
    ip link set out up
    ip route add default via 10.83.0.1
    if [ -e /proc/net/if_inet6 ]; then ip -6 route add default via fd83::1; fi
";
const MACHINE_ADDRESS: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// The program on its machine, syncing from these peers.
fn sync(home: &Path, peers: &[&str], more: &[&str]) -> Ended {
    let peers: Vec<&str> = peers.iter().flat_map(|peer| ["--peer", peer]).collect();
    on_the_machine(home, "sync", &watch(), &[&["--network", "regtest"], &peers[..], more].concat())
}

/// The program on its machine, broadcasting by way of this peer.
fn broadcast(home: &Path, peer: &str, transaction: &str, more: &[&str]) -> Ended {
    let arguments = ["--network", "regtest", "--peer", peer, "--timeout", "40", transaction];
    on_the_machine(home, "broadcast", &[] as &[&str], &[&arguments, more].concat())
}

/// The program on its machine, looking for nodes of a network that has seeds. There are none here.
fn discover(home: &Path, more: &[&str]) -> Ended {
    on_the_machine(home, "sync", &watch(), &[&["--network", "signet", "--timeout", "6"], more].concat())
}

fn on_the_machine(home: &Path, command: &str, watched: &[impl AsRef<OsStr>], more: &[&str]) -> Ended {
    let mut program = andon(home, [command, "--json"]);
    program.args(watched).arg("--data-dir").arg(home.join("data")).args(more);
    let mut command = Command::new("nsenter");
    command.arg("--net=/run/machine").arg(program.get_program()).args(program.get_args());
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    run(&mut command)
}

#[test]
fn nothing_goes_around_a_proxy() {
    if !enter("nothing_goes_around_a_proxy", Duration::from_secs(300)) {
        return;
    }
    shell(MACHINES);
    let mut wire = Capture::start("way", MACHINE_ADDRESS);
    shell(&format!("nsenter --net=/run/machine sh -e -c '{WIRE}'"));
    let names = Names::start(DNS.parse().unwrap());
    // On the loopback of the other end, where the proxy alone gets to.
    let node = Node::start(blocks(0..290));
    let known = [NAME, ONION, "203.0.113.7", "2001:db8::7"].map(|name| (name, node.address));
    let address: SocketAddr = PROXY.parse().unwrap();
    let proxy = Proxy::start_at(address, &known);
    let onion = format!("{ONION}:18444");
    let all = [NAME, IPV4, IPV6, ONION];
    let mut frames = 0;
    let mut runs = 0;

    for (peers, wanted) in [
        (&[NAME][..], "node.example:18444"),
        (&[IPV4], "203.0.113.7:18444"),
        (&[IPV6], "2001:db8::7:18444"),
        (&[ONION], &onion),
        (&all, &onion),
    ] {
        for more in [&["--transport", "v2"][..], &["--transport", "v1", "--proxy-isolation", "off"]] {
            let home = tempfile::tempdir().unwrap();
            let before = proxy.met().targets.len();
            let ended = sync(home.path(), peers, &[&["--proxy", PROXY], more].concat());
            assert_eq!(ended.code, Some(0), "{peers:?} {more:?} {ended:?}");
            assert_found_everything(&ended.last());
            assert!(proxy.met().targets[before..].iter().any(|target| target == wanted), "{:?}", proxy.met());
            let sent = wire.take();
            assert!(!sent.is_empty());
            assert!(sent.iter().all(|packet| *packet == Packet::Tcp(address)), "{peers:?} {more:?} {sent:?}");
            assert_eq!(names.take(), Vec::<String>::new(), "{peers:?} {more:?}");
            frames += sent.len();
            runs += 1;
        }
    }

    // Nor when nobody gets anywhere: a proxy that knows no such name, and one that is not there.
    let unknown = ["unknown.example", "anything.invalid"];
    for (peers, proxy) in [(&unknown[..], PROXY), (&all, DEAD_PROXY)] {
        let home = tempfile::tempdir().unwrap();
        let ended = sync(home.path(), peers, &["--proxy", proxy, "--timeout", "8", "--follow"]);
        ended.failed(1, &["none of the peers can be used"]);
        let address: SocketAddr = proxy.parse().unwrap();
        let sent = wire.take();
        assert!(sent.len() >= peers.len());
        assert!(sent.iter().all(|packet| *packet == Packet::Tcp(address)), "{peers:?} {sent:?}");
        assert_eq!(names.take(), Vec::<String>::new(), "{peers:?}");
        frames += sent.len();
        runs += 1;
    }
    // Nor when nodes are looked for: names of seeds, and nodes that are compiled in, are told to the proxy.
    for (more, is_name) in [(&[][..], true), (&["--no-dns-seeds"], false)] {
        let home = tempfile::tempdir().unwrap();
        let before = proxy.met().targets.len();
        let ended = discover(home.path(), &[&["--proxy", PROXY], more].concat());
        assert_eq!(ended.code, Some(1), "{ended:?}");
        let told = proxy.met().targets[before..].to_vec();
        assert!(!told.is_empty(), "{ended:?}");
        assert!(told.iter().all(|target| target.contains("seed") == is_name), "{told:?}");
        let sent = wire.take();
        assert!(sent.iter().all(|packet| *packet == Packet::Tcp(address)), "{more:?} {sent:?}");
        assert_eq!(names.take(), Vec::<String>::new(), "{more:?}");
        frames += sent.len();
        runs += 1;
    }

    // Nor with a transaction, in either way: the connections that are made for it go to the proxy too.
    let mut transactions = spending();
    for more in [&[][..], &["--private"]] {
        let home = tempfile::tempdir().unwrap();
        let before = proxy.met().targets.len();
        let transaction = serialize_hex(&transactions.next().unwrap());
        let ended = broadcast(home.path(), NAME, &transaction, &[&["--proxy", PROXY], more].concat());
        assert_spread(&ended);
        let told = proxy.met().targets[before..].to_vec();
        assert!(!told.is_empty() && told.iter().all(|target| target == "node.example:18444"), "{told:?}");
        let sent = wire.take();
        assert!(sent.iter().all(|packet| *packet == Packet::Tcp(address)), "{more:?} {sent:?}");
        assert_eq!(names.take(), Vec::<String>::new(), "{more:?}");
        frames += sent.len();
        runs += 1;
    }

    // Networks that this machine is not in: nobody is asked, not even the proxy.
    for (peer, kind) in [(CJDNS, "no_cjdns"), (I2P, "no_i2p")] {
        for more in [&["--proxy", PROXY][..], &[]] {
            let home = tempfile::tempdir().unwrap();
            let ended = sync(home.path(), &[peer], more);
            ended.failed_as(kind);
            assert_eq!((wire.take(), names.take()), (Vec::new(), Vec::new()), "{peer}");
        }
    }
    println!("{runs} runs with a proxy: {frames} frames, all of them to and from it; no name was asked for");

    // What would be seen otherwise: the same peers without a proxy.
    let home = tempfile::tempdir().unwrap();
    let ended = sync(home.path(), &[NAME], &["--timeout", "2"]);
    ended.failed(1, &["the host name has no address"]);
    let asked = names.take();
    assert!(!asked.is_empty() && asked.iter().all(|name| name == NAME), "{asked:?}");
    let sent = wire.take();
    assert!(sent.contains(&Packet::Udp(DNS.parse().unwrap())), "{sent:?}");
    let elsewhere = tempfile::tempdir().unwrap();
    let ended = discover(elsewhere.path(), &[]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let asked = names.take();
    assert!(!asked.is_empty() && asked.iter().all(|name| name.contains("seed")), "{asked:?}");
    assert!(wire.take().contains(&Packet::Udp(DNS.parse().unwrap())));
    let mut addresses = vec![IPV4];
    if Path::new("/proc/net/if_inet6").exists() {
        addresses.extend([IPV6, CJDNS]);
    }
    for peer in addresses {
        let ended = sync(home.path(), &[peer], &["--timeout", "2", "--cjdns"]);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        let sent = wire.take();
        assert!(sent.contains(&Packet::Tcp(peer.parse().unwrap())), "{peer}: {sent:?}");
        assert_eq!(names.take(), Vec::<String>::new());
    }
    node.stop();
}
