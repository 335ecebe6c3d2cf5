//! How a client is built: the network, where its chain starts, its peers, and how patient it is.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, SocketAddr};
use core::num::NonZeroU32;
use core::str::FromStr;
use core::time::Duration;

use bitcoin::{FilterHeader, Network, Work};

use super::api::{Birthday, BlockId};
use crate::addresses::limits::OUTBOUND;
use crate::addresses::{AddressNetworks, Grouping, i2p_hash, onion_key};
use crate::points::StartPoint;

/// How a client is built. [`Config::new`] has the defaults.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
pub struct Config {
    /// Whose chain.
    pub network: Network,
    /// Where every random choice comes from. Secret; from the operating system, except in a simulation.
    pub seed: [u8; 32],
    /// Where the chain of headers begins, in an empty store.
    pub start: Start,
    /// What a chain must have in work before any of it is kept. `None`: what the network's best chain is known to have.
    pub minimum_work: Option<Work>,
    /// Blocks that are known to be in the best chain, beside those that are compiled in: headers between two of them are
    /// asked of several peers at once, and a peer that contradicts them is let go. Each lies at most
    /// [`MAX_KNOWN_BLOCK_GAP`] above another or above a start of the user's own, for what lies
    /// between two is held in memory until the upper one proves it: else the client fails with
    /// [`Failure::UnusableKnownBlocks`](super::Failure::UnusableKnownBlocks).
    pub known_blocks: Vec<BlockId>,
    /// Filter headers that are known beforehand, beside those that are compiled in
    /// ([`known_filter_headers`](crate::points::known_filter_headers)), in whose place they stand: by height. Up to the last
    /// of them one peer is believed, and one that contradicts them is let go.
    pub known_filter_headers: Vec<(u32, FilterHeader)>,
    /// How many peers must name the same filter headers above those that are known, before filters are searched with them.
    /// They are counted by group, as [`grouping`](Self::grouping) has it: peers whose addresses have the first 16 bits (IPv4)
    /// or 32 bits (IPv6) in common have one vote together; a host name is a group of its own, and so is each address and port
    /// of this machine and of private networks. Where fewer groups are connected, as many are enough; zero is one.
    pub filter_header_quorum: u8,
    /// What counts as one owner's of addresses: of each group one node of the address book is connected at a time, and peers
    /// of one group have one vote together. By the first bits of addresses, or by a map of autonomous systems.
    pub grouping: Grouping,
    /// The peers to connect to. More can be added by [`Command::AddPeer`](super::Command::AddPeer).
    pub peers: Vec<Endpoint>,
    /// How nodes are found beside the given peers. `None`: nobody else is dialled.
    pub discovery: Option<Discovery>,
    /// Whether connections are encrypted (BIP324).
    pub encryption: Encryption,
    /// Whether encrypted connections carry decoys: one before each message, of a random length up to this many bytes, which
    /// hides how long messages are and how many.
    pub decoys: Option<u16>,
    /// The proxy that all connections go through. Then nothing goes around it: nobody else is dialled, and host names are
    /// looked up there.
    pub proxy: Option<Proxy>,
    /// The router of I2P that connections to destinations of that network go through, where it speaks SAM (version 3.1). They
    /// never go another way, and nothing else goes this way. Each has a session of its own, so that nobody can tell that they
    /// are of one client.
    pub i2p: Option<SocketAddr>,
    /// Whether this machine, or the proxy's, is in CJDNS: only then peers with addresses of that network (`fc00::/8`) are
    /// dialled, or told to the proxy.
    pub cjdns: bool,
    /// What the client calls itself to its peers (BIP14), at most 256 bytes; more is cut off.
    pub user_agent: String,
    /// How long a peer may take from the dial to the end of the handshake.
    pub handshake_timeout: Duration,
    /// How long a peer may send less than 4096 bytes of what it was asked for before another is asked. Bytes count, not
    /// answers: a slow link is no time-out, however long a block takes.
    pub stall_timeout: Duration,
    /// Bytes that the window of filters may hold, which come from many peers in any order while the search goes on in the
    /// chain's order: 66 for a filter of the window. With little room a slow peer holds the others up; one part of 250
    /// filters is always open.
    pub filter_window: usize,
    /// Which filters are kept on the disk, so that scripts that are watched later are searched for without a network. Blocks
    /// whose filters match are asked for all the same.
    pub filter_cache: FilterCache,
    /// Of how many blocks whose filters do not match one is asked for all the same, so that a request for a block says little
    /// about what is watched. `None`: none is. A block of mainnet has about 1.5 MB: with a thousand a year costs 80 MB.
    pub decoy_blocks: Option<NonZeroU32>,
    /// Scripts and descriptors that are watched from an earlier block on are searched for from the tip downwards: what was paid
    /// lately is found first, as soon as headers and filter headers are here. Findings come in steps from the newest to the
    /// oldest, each step in the chain's order; that an output was spent is told together with the output, or after it.
    /// [`Event::Checked`](super::Event::Checked) comes at the end. Watched outputs, searches for spendings and
    /// [`Command::Rescan`](super::Command::Rescan) go upwards all the same, and scripts wait for them.
    pub newest_first: bool,
    /// Whether the client begins as after [`Command::Pause`](super::Command::Pause): it dials nobody until [`Command::Resume`](super::Command::Resume).
    pub paused: bool,
    /// Whether each byte costs, from the start on: as [`Command::SetMetered`](super::Command::SetMetered).
    pub metered: bool,
    /// Whether the application says what it has kept of what it was told, by [`Command::Acknowledge`](super::Command::Acknowledge).
    ///
    /// Then findings ([`Event::Touched`](super::Event::Touched), [`Event::TakenBack`](super::Event::TakenBack)) and states of broadcasts
    /// ([`Event::Broadcast`](super::Event::Broadcast)) are stored, with what brings them about, until they are acknowledged; at the
    /// start those that are not are told again, as they were told first, and no others. An [`Event::Mark`](super::Event::Mark)
    /// follows each of their groups. After 100,000 that are not acknowledged the search waits.
    /// Else all findings that stand are told at each start.
    pub acknowledged: bool,
    /// How long a connection may be silent before it is pinged, and how often it is pinged.
    pub ping_interval: Duration,
    /// How long a ping may go unanswered while nothing else comes either.
    pub ping_timeout: Duration,
    /// How long no block may come before one more peer is asked for headers, and again after each third of it.
    pub stale_tip: Duration,
    /// How long after a failure a peer is first dialled again; it doubles with each further one, up to a hundredfold.
    pub retry_delay: Duration,
}

impl Config {
    /// The defaults for a network; `seed` as in [`Config::seed`].
    pub fn new(network: Network, seed: [u8; 32]) -> Self {
        Self {
            network,
            seed,
            start: Start::Genesis,
            minimum_work: None,
            known_blocks: Vec::new(),
            known_filter_headers: Vec::new(),
            filter_header_quorum: 2,
            grouping: Grouping::by_prefix(),
            peers: Vec::new(),
            discovery: Some(Discovery::default()),
            encryption: Encryption::Preferred,
            decoys: None,
            proxy: None,
            i2p: None,
            cjdns: false,
            user_agent: concat!("/andon:", env!("CARGO_PKG_VERSION"), "/").to_string(),
            // Bitcoin Core's own limit; a Tor circuit alone can take half of it.
            handshake_timeout: Duration::from_secs(60),
            // Long enough for a slow disk on the other side, short enough that a silent peer costs little.
            stall_timeout: Duration::from_secs(20),
            // 15,000 filters: many peers have enough to do while a slow one sends its part.
            filter_window: 1 << 20,
            filter_cache: FilterCache::Off,
            decoy_blocks: None,
            newest_first: false,
            paused: false,
            metered: false,
            acknowledged: false,
            // Both as Bitcoin Core has them: it drops a silent peer after 20 minutes.
            ping_interval: Duration::from_secs(120),
            ping_timeout: Duration::from_secs(1200),
            // As Bitcoin Core: three times the time between two blocks.
            stale_tip: Duration::from_secs(30 * 60),
            retry_delay: Duration::from_secs(5),
        }
    }
}

/// How nodes are found that nobody has configured: an address book that fills from DNS seeds and from what peers tell, and is
/// stored with the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "record", serde(default))]
pub struct Discovery {
    /// How many of them are to be connected for the client's work, beside the given peers: each is of another group of
    /// addresses. 64 at most.
    pub connections: usize,
    /// The networks in which they are, as far as there is a way: to onion services a [`proxy`](Config::proxy), which should
    /// be Tor then, to I2P a [router](Config::i2p), to CJDNS what [`cjdns`](Config::cjdns) says.
    pub networks: AddressNetworks,
    /// Whether DNS seeds are asked when the book finds nobody. Whoever runs one, or the resolver, learns that somebody here
    /// uses Bitcoin; through a proxy that is somewhere behind it.
    pub dns_seeds: bool,
    /// Whether nodes that are compiled in are dialled when DNS seeds have given none for a minute.
    pub fixed_seeds: bool,
    /// Whether news of nodes that a peer tells go to two others, as Bitcoin Core passes them on. It serves the network; and it
    /// shows who is connected to whom to an observer that makes addresses up for that.
    pub tells: bool,
    /// Whether nodes of the book are tested now and then, every two minutes on average, by a connection for nothing else: an
    /// attacker's addresses do not crowd out those of real nodes then. It costs a few kilobytes an hour.
    pub feelers: bool,
}

impl Default for Discovery {
    /// Eight connections in IPv4 and IPv6, all sources of addresses, tests.
    fn default() -> Self {
        Self {
            connections: OUTBOUND,
            networks: AddressNetworks::CLEAR,
            dns_seeds: true,
            fixed_seeds: true,
            tells: false,
            feelers: true,
        }
    }
}

/// Whether connections are encrypted (BIP324). Nobody can read them then, or change them without ending them; who the peer is
/// it does not prove.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
pub enum Encryption {
    /// Yes, but a peer that closes an encrypted connection without a word, as one does that does not know them, is dialled
    /// again at once without; if it answers, for a day only so.
    #[default]
    Preferred,
    /// Always. A peer that does not know it can't be used.
    Required,
    /// Never.
    Off,
}

/// A SOCKS5 proxy (RFC 1928): Tor, say.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
pub struct Proxy {
    /// Where it is. No name: looking it up would go around it.
    pub address: SocketAddr,
    /// How to log in.
    pub login: ProxyLogin,
}

/// How to log in to a proxy (RFC 1929).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
pub enum ProxyLogin {
    /// Not at all.
    #[default]
    None,
    /// With these, of 1 to 255 bytes each.
    Password {
        /// The user's name.
        username: String,
        /// In the clear.
        password: String,
    },
    /// With random ones, others for each connection: Tor then leads each over a circuit of its own, so that nobody can tell
    /// that they are of one client. The proxy must take any.
    Isolate,
}

/// Which filters are kept on the disk. Those of mainnet have 25 KB each today, 13 GB in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
pub enum FilterCache {
    /// None. Those that an earlier run has kept are removed.
    #[default]
    Off,
    /// All that have been searched: those since the earliest birthday.
    All,
    /// The last of them, up to so many bytes.
    Bytes(u64),
}

/// How many blocks a known block may lie above the one below it.
pub const MAX_KNOWN_BLOCK_GAP: u32 = 32_000;

/// Where a chain of headers begins. What lies below is never asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
pub enum Start {
    /// With the network's first block.
    Genesis,
    /// With the last compiled-in start point before this birthday. Later runs begin lower if their birthday is lower.
    Before(Birthday),
    /// With a block of the user's own. Its headers must reach down to the first block of its difficulty period, and be
    /// eleven or more unless a known block follows: else the client fails with [`Failure::UnusableStart`](super::Failure::UnusableStart).
    Point(StartPoint),
}

/// Where a peer is: a socket address, or a host name to look up.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
pub enum Endpoint {
    /// `203.0.113.5:8333`, `[2001:db8::1]:8333`.
    Address(SocketAddr),
    /// `node.example.org:8333`. All its addresses stand for one peer. Through a proxy also an onion service:
    /// 56 letters and digits, and `.onion`. And, through a router of I2P, a destination there: 52 letters and digits, and
    /// `.b32.i2p`.
    Host {
        /// Without the port.
        name: String,
        /// Of the Bitcoin node. Zero in I2P, which has none; any other is passed over there.
        port: u16,
    },
}

impl Endpoint {
    /// Reads `HOST[:PORT]`; without a port it is the network's default one, or zero in I2P. An IPv6 address with a port is in brackets.
    ///
    /// # Errors
    /// If the text is neither an address nor a host name, or the port is not a number from 1 to 65535.
    pub fn parse(text: &str, network: Network) -> Result<Self, EndpointError> {
        let default = default_port(network);
        if let Ok(addr) = SocketAddr::from_str(text) {
            return if addr.port() == 0 { Err(EndpointError::Port) } else { Ok(Self::Address(addr)) };
        }
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        if let Ok(ip) = IpAddr::from_str(bare) {
            return Ok(Self::Address(SocketAddr::new(ip, default)));
        }
        let (name, port) = match text.rsplit_once(':') {
            None => (text, default),
            // It is written so.
            Some((name, "0")) if i2p(name).is_some() => (name, default),
            Some((name, _)) if i2p(name).is_some() => return Err(EndpointError::I2pPort),
            Some((name, port)) => {
                let port = port.parse().ok().filter(|&port| port != 0);
                (name, port.ok_or(EndpointError::Port)?)
            }
        };
        let label = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        };
        let labels = name.strip_suffix('.').unwrap_or(name);
        if labels.len() > 253 || !labels.split('.').all(label) {
            return Err(EndpointError::Host);
        }
        // A resolver would read 1.2.3 as 1.2.0.3; whoever writes four numbers, or too few, means an address.
        if labels.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
            return Err(EndpointError::Host);
        }
        if onion(labels).is_some_and(|service| !is_onion_service(service)) {
            return Err(EndpointError::Onion);
        }
        if let Some(destination) = i2p(labels) {
            let label = before("b32", destination).filter(|label| i2p_hash(label).is_some());
            return match label {
                Some(_) => Ok(Self::Host { name: labels.into(), port: 0 }),
                None => Err(EndpointError::I2p),
            };
        }
        Ok(Self::Host { name: name.into(), port })
    }

    /// Whether it is in I2P, which only a router of that network can reach.
    pub fn is_i2p(&self) -> bool {
        match self {
            Self::Address(_) => false,
            Self::Host { name, .. } => i2p(name.strip_suffix('.').unwrap_or(name)).is_some(),
        }
    }

    /// Whether it is an onion service, which only Tor can reach (RFC 7686).
    pub fn is_onion(&self) -> bool {
        match self {
            Self::Address(_) => false,
            Self::Host { name, .. } => onion(name.strip_suffix('.').unwrap_or(name)).is_some(),
        }
    }
}

/// What stands before `.onion`, if a name ends with it.
fn onion(name: &str) -> Option<&str> {
    before("onion", name)
}

/// What stands before `.i2p`, if a name ends with it.
fn i2p(name: &str) -> Option<&str> {
    before("i2p", name)
}

fn before<'a>(expected: &str, name: &'a str) -> Option<&'a str> {
    let (before, last) = name.rsplit_once('.').unwrap_or(("", name));
    last.eq_ignore_ascii_case(expected).then_some(before)
}

/// Whether the last label is an onion service's of version 3, the only one there is, with a checksum that fits.
fn is_onion_service(name: &str) -> bool {
    onion_key(name.rsplit('.').next().unwrap_or(name)).is_some()
}

/// The port that nodes of a network listen on unless told otherwise.
pub const fn default_port(network: Network) -> u16 {
    match network {
        Network::Bitcoin => 8333,
        Network::Testnet => 18333,
        Network::Testnet4 => 48333,
        Network::Signet => 38333,
        Network::Regtest => 18444,
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(addr) => addr.fmt(f),
            Self::Host { name, port } => write!(f, "{name}:{port}"),
        }
    }
}

/// Why a text is no [`Endpoint`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndpointError {
    /// It is neither an address nor a host name.
    Host,
    /// The port is not a number from 1 to 65535.
    Port,
    /// It ends with `.i2p`, and is not the hash of a destination and `.b32.i2p`.
    I2p,
    /// It is a destination of I2P with a port, and there are none.
    I2pPort,
    /// It ends with `.onion`, and no onion service has such a name: it may be mistyped.
    Onion,
}

impl fmt::Display for EndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "neither an IP address nor a host name",
            Self::Port => "the port is not a number from 1 to 65535",
            Self::I2p => "no address of I2P (52 letters and digits, and .b32.i2p)",
            Self::I2pPort => "there are no ports in I2P: leave it out",
            Self::Onion => {
                "no onion address (56 letters and digits whose checksum fits, and .onion): it may be mistyped"
            }
        })
    }
}

impl core::error::Error for EndpointError {}
