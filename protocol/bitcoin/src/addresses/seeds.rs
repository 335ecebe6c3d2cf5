//! Where the first addresses come from: DNS seeds, and nodes that are compiled in.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};
use core::time::Duration;

use andon_kernel::{Rng, UnixTime};
use bitcoin::Network;
use bitcoin::p2p::ServiceFlags;

use super::book::{Added, AddressBook, seconds};
use super::fixed::{self, Table};
use super::location::{Location, Source};
use super::names::{i2p_hash, onion_key};
use super::network::{AddressNetwork, AddressNetworks};
use crate::client::default_port;
use crate::wire::{Host, NodeAddress};

/// What a client needs of a node to take filters and blocks: it has those, and all blocks.
const FILTERS: u64 = 0x49;
/// The same in the encrypted transport.
const ENCRYPTED_FILTERS: u64 = 0x849;
/// Whole nodes, whatever else they serve.
const WHOLE: u64 = 0x9;

/// A host name that answers with addresses of nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DnsSeed {
    name: &'static str,
    prefixes: Prefixes,
}

/// By which services a seed can be asked, as `x49.` in front of its name: bits in hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Prefixes {
    Any,
    These(&'static [u64]),
}

const BASIC: Prefixes = Prefixes::These(&[0x1, 0x5, 0x9, 0xd]);
const ONLY_WHOLE: Prefixes = Prefixes::These(&[0x9]);
const WIDE: Prefixes = Prefixes::These(&[
    0x1, 0x5, 0x9, 0x49, 0x809, 0x849, 0xd, 0x400, 0x404, 0x408, 0x448, 0xc08, 0xc48, 0x40c,
]);

const fn seed(name: &'static str, prefixes: Prefixes) -> DnsSeed {
    DnsSeed { name, prefixes }
}

// As in Bitcoin Core, which names who runs each and what it can be asked for.
static MAINNET: &[DnsSeed] = &[
    seed("dnsseed.bluematt.me.", ONLY_WHOLE),
    seed("seed.bitcoin.jonasschnelli.ch.", BASIC),
    seed("seed.btc.petertodd.net.", BASIC),
    seed("seed.bitcoin.sprovoost.nl.", Prefixes::Any),
    seed("dnsseed.emzy.de.", Prefixes::Any),
    seed("seed.bitcoin.wiz.biz.", Prefixes::Any),
    seed("seed.mainnet.achownodes.xyz.", WIDE),
];
static TESTNET3: &[DnsSeed] = &[
    seed("testnet-seed.bitcoin.jonasschnelli.ch.", Prefixes::Any),
    seed("seed.tbtc.petertodd.net.", Prefixes::Any),
    seed("seed.testnet.bitcoin.sprovoost.nl.", Prefixes::Any),
    seed("testnet-seed.bluematt.me.", ONLY_WHOLE),
    seed("seed.testnet.achownodes.xyz.", WIDE),
];
static TESTNET4: &[DnsSeed] = &[
    seed("seed.testnet4.bitcoin.sprovoost.nl.", Prefixes::Any),
    seed("seed.testnet4.wiz.biz.", Prefixes::Any),
];
static SIGNET: &[DnsSeed] =
    &[seed("seed.signet.bitcoin.sprovoost.nl.", Prefixes::Any), seed("seed.signet.achownodes.xyz.", WIDE)];

/// The DNS seeds of a network.
pub fn dns_seeds(network: Network) -> &'static [DnsSeed] {
    match network {
        Network::Bitcoin => MAINNET,
        Network::Testnet => TESTNET3,
        Network::Testnet4 => TESTNET4,
        Network::Signet => SIGNET,
        Network::Regtest => &[],
    }
}

/// A question to a DNS seed. Over a proxy it must go through that, or not be asked: else it shows who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeedQuery {
    /// The name to look up.
    pub host: String,
    /// What the nodes of the answer are said to serve.
    pub services: ServiceFlags,
    /// Who tells of them.
    pub source: Source,
}

impl DnsSeed {
    /// Its name, without a prefix.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Whether it can be asked for nodes that serve these.
    pub fn knows(&self, services: ServiceFlags) -> bool {
        match self.prefixes {
            Prefixes::Any => true,
            Prefixes::These(these) => these.contains(&services.to_u64()),
        }
    }

    /// What to ask it: for nodes with filters, in the encrypted transport, and others; or for whole nodes, if it knows no
    /// more. Those are good for asking them for addresses.
    pub fn queries(&self) -> Vec<SeedQuery> {
        let ask = |bits| {
            let services = ServiceFlags::from(bits);
            self.knows(services).then(|| SeedQuery {
                host: format!("x{bits:x}.{}", self.name),
                services,
                source: Source::named(self.name),
            })
        };
        let with_filters: Vec<_> = [ENCRYPTED_FILTERS, FILTERS].into_iter().filter_map(ask).collect();
        if with_filters.is_empty() { ask(WHOLE).into_iter().collect() } else { with_filters }
    }
}

/// What a DNS seed's answer is said to be that old, at least and at most.
const ANSWER_AGE: (u64, u64) = (3 * DAY, 7 * DAY);
/// What a compiled-in node is said to be that old.
const FIXED_AGE: (u64, u64) = (7 * DAY, 14 * DAY);
const DAY: u64 = 24 * 60 * 60;

/// Addresses of one answer that are taken at most: a few dozen are usual, and one seed must not fill a book.
pub const MAX_SEED_ANSWER: usize = 256;

impl AddressBook {
    /// Notes what a DNS seed answered. Returns how many nodes are new.
    pub fn add_seed_answer(
        &mut self,
        query: &SeedQuery,
        answer: &[IpAddr],
        network: Network,
        now: UnixTime,
        rng: &mut Rng,
    ) -> usize {
        let locations = answer
            .iter()
            .take(MAX_SEED_ANSWER)
            .map(|ip| Location { host: Host::Ip(ip.to_canonical()), port: default_port(network) });
        self.add_seeds(locations, query.services, &query.source, ANSWER_AGE, now, rng)
    }

    /// Notes the nodes that are compiled in, of these networks: those that the book has no node of, for whoever can choose
    /// needs no last resort. Returns how many nodes are new.
    pub fn add_fixed_seeds(
        &mut self,
        network: Network,
        networks: AddressNetworks,
        now: UnixTime,
        rng: &mut Rng,
    ) -> usize {
        let wanted = |location: &Location| {
            AddressNetwork::of(&location.host).is_some_and(|network| networks.contains(network))
        };
        let locations = fixed_seeds(network).into_iter().filter(wanted);
        let source = Source::named("fixed seeds");
        self.add_seeds(locations, ServiceFlags::from(WHOLE), &source, FIXED_AGE, now, rng)
    }

    fn add_seeds(
        &mut self,
        locations: impl Iterator<Item = Location>,
        services: ServiceFlags,
        source: &Source,
        (least, most): (u64, u64),
        now: UnixTime,
        rng: &mut Rng,
    ) -> usize {
        let mut count = 0;
        for Location { host, port } in locations {
            let time = seconds(now).saturating_sub((least + rng.below(most - least)) as u32);
            let address = NodeAddress { time, services, host, port };
            count += usize::from(self.add(&address, source, Duration::ZERO, now, rng) == Added::New);
        }
        count
    }
}

/// The nodes of a network that are compiled in.
pub fn fixed_seeds(network: Network) -> Vec<Location> {
    let table: &Table = match network {
        Network::Bitcoin => &fixed::MAINNET,
        Network::Testnet => &fixed::TESTNET3,
        Network::Testnet4 => &fixed::TESTNET4,
        Network::Signet => &fixed::SIGNET,
        Network::Regtest => return Vec::new(),
    };
    let port = default_port(network);
    let ip = |text: &str| Host::Ip(text.parse().expect("a compiled-in address is one"));
    let cjdns = |text: &str| Host::Cjdns(text.parse::<Ipv6Addr>().expect("a compiled-in address is one"));
    let onion = |text: &str| onion_key(text).expect("a compiled-in name is one");
    let i2p = |text: &str| i2p_hash(text).expect("a compiled-in name is one");
    let mut seeds = Vec::new();
    let mut read = |list: &str, port: u16, host: &dyn Fn(&str) -> Host| {
        seeds.extend(list.split_ascii_whitespace().map(|text| Location { host: host(text), port }));
    };
    read(table.ipv4, port, &ip);
    read(table.ipv6, port, &ip);
    read(table.tor_v3, port, &|text| Host::TorV3(onion(text)));
    read(table.i2p, 0, &|text| Host::I2p(i2p(text)));
    read(table.cjdns, port, &cjdns);
    seeds
}
