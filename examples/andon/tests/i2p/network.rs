//! An I2P network of one's own: routers that know each other, and one destination that leads to a node.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use andon_bitcoin::addresses::i2p_name;
use bitcoin::hashes::{Hash, sha256};

use crate::common::daemon::Daemon;
use crate::common::namespace::shell;

const ROUTERS: u8 = 8;
/// So many of them, the first ones, keep what others publish.
const FLOODFILL: u8 = 4;
/// Neither the real network's number nor anybody else's.
const NETWORK: u8 = 77;

/// I2P's letters of base 64.
const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-~";

pub(crate) struct I2pNetwork(Vec<Daemon>);

impl I2pNetwork {
    /// Starts the routers, with all that they keep in this directory. Each has an address of its own: routers take none of
    /// loopback, so these are other people's, on a machine from which nothing leads out.
    pub(crate) fn start(program: &Path, directory: &Path) -> Self {
        let homes: Vec<PathBuf> =
            (0..ROUTERS).map(|router| directory.join(format!("router{router}"))).collect();
        for (router, home) in (0..).zip(&homes) {
            shell(&format!("ip addr add {}/32 dev lo", address(router)));
            fs::create_dir(home).unwrap();
            fs::write(home.join("i2pd.conf"), configuration(router)).unwrap();
        }
        let start = || homes.iter().map(|home| run(program, home)).collect();
        // For the first time they make their keys and say who they are.
        let first = Self(start());
        let infos: Vec<Vec<u8>> = homes.iter().map(|home| info(home)).collect();
        drop(first);
        for home in &homes {
            for info in &infos {
                let name = encode(sha256::Hash::hash(identity(info)).as_byte_array());
                let folder = home.join(format!("netDb/r{}", &name[..1]));
                fs::create_dir_all(&folder).unwrap();
                fs::write(folder.join(format!("routerInfo-{name}.dat")), info).unwrap();
            }
        }
        Self(start())
    }

    /// Where a router speaks SAM.
    pub(crate) fn sam(router: u8) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, 7656 + u16::from(router)))
    }

    /// Demands that all of them run.
    pub(crate) fn assert_running(&mut self) {
        self.0.iter_mut().for_each(Daemon::assert_running);
    }
}

/// A destination that leads to a node, for as long as this is there.
pub(crate) struct Destination {
    _session: Bridge,
    _forward: Bridge,
    pub(crate) name: String,
}

impl Destination {
    /// One at this router, as soon as it has tunnels.
    pub(crate) fn lead_to(node: SocketAddr, router: u8, network: &mut I2pNetwork) -> Self {
        let mut session = Bridge::open(router, network);
        session.ask("SESSION CREATE STYLE=STREAM ID=node DESTINATION=TRANSIENT SIGNATURE_TYPE=7 i2cp.leaseSetEncType=4,0");
        let answer = session.ask("NAMING LOOKUP NAME=ME");
        let value = answer.split(' ').find_map(|word| word.strip_prefix("VALUE=")).unwrap();
        let name = i2p_name(sha256::Hash::hash(&decode(value)).as_byte_array());
        let mut forward = Bridge::open(router, network);
        forward.ask(&format!("STREAM FORWARD ID=node HOST={} PORT={} SILENT=true", node.ip(), node.port()));
        Self { _session: session, _forward: forward, name }
    }
}

/// A connection to a router's bridge.
struct Bridge(BufReader<TcpStream>);

impl Bridge {
    fn open(router: u8, network: &mut I2pNetwork) -> Self {
        let stream = wait("a router's bridge", || {
            network.assert_running();
            TcpStream::connect(I2pNetwork::sam(router)).ok()
        });
        stream.set_read_timeout(Some(Duration::from_secs(180))).unwrap();
        let mut bridge = Self(BufReader::new(stream));
        bridge.ask("HELLO VERSION MIN=3.1 MAX=3.1");
        bridge
    }

    fn ask(&mut self, line: &str) -> String {
        self.0.get_mut().write_all(format!("{line}\n").as_bytes()).unwrap();
        let mut answer = String::new();
        self.0.read_line(&mut answer).unwrap();
        assert!(answer.contains(" RESULT=OK"), "{line}: {answer}");
        answer.trim_end().to_owned()
    }
}

/// Where a router listens for others: each in another /16, since no two of a tunnel may be in one.
fn address(router: u8) -> Ipv4Addr {
    Ipv4Addr::new(30, 11 + router, 1, 1)
}

fn configuration(router: u8) -> String {
    let (address, port, is_floodfill) = (address(router), 9111 + u16::from(router), router < FLOODFILL);
    let sam = I2pNetwork::sam(router).port();
    // Not its book of names: without it i2pd 2.45 crashes when a name is looked up.
    let off = ["http", "httpproxy", "socksproxy", "bob", "i2cp", "i2pcontrol", "upnp", "nettime"];
    let off: String = off.iter().map(|part| format!("[{part}]\nenabled = false\n")).collect();
    format!(
        "log = file\nloglevel = warn\nipv4 = true\nipv6 = false\nnat = false\nhost = {address}\naddress4 = {address}\n\
         port = {port}\nnetid = {NETWORK}\nbandwidth = X\nshare = 100\nfloodfill = {is_floodfill}\nreservedrange = false\n\
         [ntcp2]\nenabled = true\npublished = true\nport = {port}\n[ssu2]\nenabled = true\npublished = true\nport = {port}\n\
         [sam]\nenabled = true\naddress = 127.0.0.1\nport = {sam}\n{off}\
         [exploratory]\ninbound.length = 1\noutbound.length = 1\n[persist]\nprofiles = false\n\
         [reseed]\nverify = false\nurls = http://127.0.0.1:1/\nyggurls =\nthreshold = 0\n"
    )
}

fn run(program: &Path, home: &Path) -> Daemon {
    let mut command = Command::new(program);
    command.arg(format!("--conf={}", home.join("i2pd.conf").display()));
    command.arg(format!("--datadir={}", home.display()));
    command.arg(format!("--logfile={}", home.join("i2pd.log").display()));
    command.arg(format!("--tunnelsdir={}", home.join("none").display()));
    Daemon::start(command.env("HOME", home), home, &["i2pd.log"])
}

/// What a router says of itself, once it has written that down.
fn info(home: &Path) -> Vec<u8> {
    wait("what a router says of itself", || {
        let info = fs::read(home.join("router.info")).ok()?;
        // A signature of 64 bytes is the least that follows.
        (info.len() > 391 + 64 && info.len() > identity(&info).len() + 64).then_some(info)
    })
}

/// Keys of 384 bytes, the kind of certificate, its length and itself.
fn identity(bytes: &[u8]) -> &[u8] {
    let length = 387 + usize::from(u16::from_be_bytes([bytes[385], bytes[386]]));
    &bytes[..length]
}

fn wait<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "after a minute there is not {what}");
        thread::sleep(Duration::from_millis(100));
    }
}

fn encode(bytes: &[u8; 32]) -> String {
    let bit = |place: usize| bytes.get(place / 8).map_or(0, |byte| byte >> (7 - place % 8) & 1);
    let letter = |first: usize| {
        let value = (first..first + 6).fold(0, |value, place| value << 1 | bit(place));
        char::from(LETTERS[usize::from(value)])
    };
    (0..256).step_by(6).map(letter).chain(['=']).collect()
}

fn decode(text: &str) -> Vec<u8> {
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for letter in text.trim_end_matches('=').bytes() {
        let value = LETTERS.iter().position(|other| *other == letter).unwrap();
        bits = (bits << 6 | value as u32) & 0xffff;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}
