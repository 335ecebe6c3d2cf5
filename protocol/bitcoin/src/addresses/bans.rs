//! Who is not to be dialled: by the user's word (bans, by address or subnet, until a time, stored) or since it broke the
//! protocol (discouraged: by address, for a day or two, not stored).

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::str::FromStr;

use andon_kernel::{BatchWriter, Instant, UnixTime};

use super::limits::{DISCOURAGED_FOR, MAX_BANS, MAX_DISCOURAGED};
use super::location::Location;
use super::rows::{BANS, RowError, VERSION, delete, put, read_host, read_version, unseal, write_host};
use crate::wire::{Host, Reader};

/// An address, or all that begin as it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "record", serde(try_from = "written::Subnet"))]
pub struct Subnet {
    /// All bits beyond the prefix are zero.
    host: Host,
    /// Bits.
    prefix: u16,
}

/// A text is neither an IP address nor one with the length of a prefix behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSubnet;

impl fmt::Display for NoSubnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("neither an IP address nor a subnet like 192.0.2.0/24")
    }
}

impl core::error::Error for NoSubnet {}

impl Subnet {
    /// One host.
    pub fn host(host: &Host) -> Self {
        Self { host: canonical(host), prefix: bits(host) }
    }

    /// All addresses that have their first `prefix` bits in common with `ip`. `None`: it has fewer.
    ///
    /// IPv4 addresses that are written as ones of IPv6 are what they are.
    pub fn new(ip: IpAddr, prefix: u8) -> Option<Self> {
        let (ip, prefix) = match (ip, ip.to_canonical()) {
            (IpAddr::V6(_), short @ IpAddr::V4(_)) if (96..=128).contains(&prefix) => (short, prefix - 96),
            _ => (ip, prefix),
        };
        let host = Host::Ip(ip);
        (u16::from(prefix) <= bits(&host)).then(|| Self::of(&host, prefix.into()))
    }

    /// Whether a host is in it.
    pub fn contains(&self, host: &Host) -> bool {
        let host = canonical(host);
        core::mem::discriminant(&host) == core::mem::discriminant(&self.host)
            && bits(&host) == bits(&self.host)
            && Self::of(&host, self.prefix) == *self
    }

    /// The subnet of that prefix which a host is in. Names of Tor and I2P have no prefixes.
    fn of(host: &Host, prefix: u16) -> Self {
        let ipv6 = |ip: &Ipv6Addr| {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            Ipv6Addr::from_bits(ip.to_bits() & mask)
        };
        let host = match host {
            Host::Ip(IpAddr::V4(ip)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
                Host::Ip(Ipv4Addr::from_bits(ip.to_bits() & mask).into())
            }
            Host::Ip(IpAddr::V6(ip)) => Host::Ip(ipv6(ip).into()),
            Host::Cjdns(ip) => Host::Cjdns(ipv6(ip)),
            host @ (Host::TorV3(_) | Host::I2p(_)) => *host,
        };
        Self { host, prefix }
    }

    fn kind(&self) -> (u8, u16) {
        (Location { host: self.host, port: 0 }.host_number(), self.prefix)
    }
}

/// An IPv4 address that is written as one of IPv6 is what it is.
fn canonical(host: &Host) -> Host {
    match host {
        Host::Ip(ip) => Host::Ip(ip.to_canonical()),
        other => *other,
    }
}

const fn bits(host: &Host) -> u16 {
    match host {
        Host::Ip(IpAddr::V4(_)) => 32,
        Host::Ip(IpAddr::V6(_)) | Host::Cjdns(_) => 128,
        Host::TorV3(_) | Host::I2p(_) => 256,
    }
}

impl FromStr for Subnet {
    type Err = NoSubnet;

    /// Reads `192.0.2.1`, `192.0.2.0/24`, `2001:db8::/32`.
    fn from_str(text: &str) -> Result<Self, NoSubnet> {
        let ip = |text: &str| text.parse::<IpAddr>().map_err(|_| NoSubnet);
        match text.split_once('/') {
            None => Ok(Self::host(&Host::Ip(ip(text)?))),
            Some((address, prefix)) => {
                let digits = prefix.bytes().all(|byte| byte.is_ascii_digit());
                let prefix = prefix.parse().ok().filter(|_| digits).ok_or(NoSubnet)?;
                Self::new(ip(address)?, prefix).ok_or(NoSubnet)
            }
        }
    }
}

/// As it stands in a recording, which may be anybody's.
#[cfg(feature = "record")]
mod written {
    use super::{Host, IpAddr, NoSubnet};

    #[derive(serde::Deserialize)]
    pub(super) struct Subnet {
        host: Host,
        prefix: u16,
    }

    impl TryFrom<Subnet> for super::Subnet {
        type Error = NoSubnet;

        fn try_from(written: Subnet) -> Result<Self, NoSubnet> {
            let read = match (written.host, u8::try_from(written.prefix)) {
                (Host::Ip(ip @ (IpAddr::V4(_) | IpAddr::V6(_))), Ok(prefix)) => Self::new(ip, prefix),
                (host, _) => Some(Self::host(&host)),
            };
            let same = |read: &Self| read.host == written.host && read.prefix == written.prefix;
            read.filter(same).ok_or(NoSubnet)
        }
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(ip) => write!(f, "{ip}")?,
            Host::Cjdns(ip) => write!(f, "{ip}")?,
            host => return write!(f, "{host:?}"),
        }
        if self.prefix < bits(&self.host) { write!(f, "/{}", self.prefix) } else { Ok(()) }
    }
}

/// A ban: since when, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ban {
    /// When it was made.
    pub since: UnixTime,
    /// When it ends.
    pub until: UnixTime,
}

/// There are as many bans as there can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyBans;

impl fmt::Display for TooManyBans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there are {MAX_BANS} bans, and can't be more")
    }
}

impl core::error::Error for TooManyBans {}

/// Bans. They are the user's, or follow from proof of a lie: nothing else makes one, for a mistake of ours must not split the
/// network.
#[derive(Clone, Debug, Default)]
pub struct Bans {
    bans: BTreeMap<Subnet, Ban>,
    /// How many there are of each network and prefix: only these are looked for.
    kinds: BTreeMap<(u8, u16), usize>,
    changed: BTreeSet<Subnet>,
    /// Keys of rows that could not be read.
    unreadable: Vec<Vec<u8>>,
}

impl Bans {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bans a subnet until a time, in place of the ban that it may have.
    ///
    /// # Errors
    /// If there are [`MAX_BANS`] in force.
    pub fn ban(&mut self, subnet: Subnet, until: UnixTime, now: UnixTime) -> Result<(), TooManyBans> {
        if self.bans.len() >= MAX_BANS && !self.bans.contains_key(&subnet) {
            self.sweep(now);
            if self.bans.len() >= MAX_BANS {
                return Err(TooManyBans);
            }
        }
        self.insert(subnet, Ban { since: now, until });
        self.changed.insert(subnet);
        Ok(())
    }

    /// Lifts the ban of exactly this subnet. False: it had none.
    pub fn lift(&mut self, subnet: &Subnet) -> bool {
        let was_banned = self.bans.remove(subnet).is_some();
        if was_banned {
            let count = self.kinds.get_mut(&subnet.kind()).expect("what is in force was counted");
            *count -= 1;
            if *count == 0 {
                self.kinds.remove(&subnet.kind());
            }
            self.changed.insert(*subnet);
        }
        was_banned
    }

    /// Whether a host is in a subnet that is banned.
    pub fn is_banned(&self, host: &Host, now: UnixTime) -> bool {
        let host = canonical(host);
        let number = Location { host, port: 0 }.host_number();
        let mut kinds = self.kinds.range((number, 0)..=(number, u16::MAX));
        kinds.any(|(&(_, prefix), _)| {
            self.bans.get(&Subnet::of(&host, prefix)).is_some_and(|ban| now < ban.until)
        })
    }

    /// Those that there are, in order; some may have ended.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Subnet, &Ban)> {
        self.bans.iter()
    }

    /// Forgets those that have ended.
    pub fn sweep(&mut self, now: UnixTime) {
        let ended = self.bans.iter().filter(|(_, ban)| ban.until <= now).map(|(subnet, _)| *subnet);
        for subnet in ended.collect::<Vec<_>>() {
            self.lift(&subnet);
        }
    }

    /// Whether something has changed since the last time it was put into a batch.
    pub fn is_changed(&self) -> bool {
        !self.changed.is_empty() || !self.unreadable.is_empty()
    }

    /// Puts what has changed since the last time into a batch.
    pub fn store(&mut self, batch: &mut BatchWriter<'_>) {
        for key in core::mem::take(&mut self.unreadable) {
            delete(batch, BANS, key);
        }
        for subnet in core::mem::take(&mut self.changed) {
            let mut key = Vec::with_capacity(35);
            key.extend_from_slice(&subnet.prefix.to_be_bytes());
            write_host(&subnet.host, &mut key);
            match self.bans.get(&subnet) {
                Some(ban) => {
                    let mut value = Vec::from([VERSION]);
                    value.extend_from_slice(&ban.since.as_secs().to_le_bytes());
                    value.extend_from_slice(&ban.until.as_secs().to_le_bytes());
                    put(batch, BANS, &key, value);
                }
                None => delete(batch, BANS, key),
            }
        }
    }

    /// Takes a row.
    ///
    /// # Errors
    /// If it is no ban, or one too many.
    pub fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), RowError> {
        let taken = self.take_row(key, value);
        if taken.is_err() {
            self.unreadable.push(key.into());
        }
        taken
    }

    fn take_row(&mut self, key: &[u8], value: &[u8]) -> Result<(), RowError> {
        let mut reader = Reader::new(unseal(key, value)?);
        read_version(&mut reader)?;
        let since = UnixTime::from_secs(reader.u64()?);
        let until = UnixTime::from_secs(reader.u64()?);
        let mut place = Reader::new(key);
        let prefix = u16::from_be_bytes(place.array()?);
        let host = read_host(&mut place)?;
        if !reader.rest().is_empty() || !place.rest().is_empty() {
            return Err(RowError::Damaged);
        }
        let has_prefixes = !matches!(host, Host::TorV3(_) | Host::I2p(_));
        let is_one = if has_prefixes { prefix <= bits(&host) } else { prefix == bits(&host) };
        if !is_one || Subnet::of(&host, prefix).host != canonical(&host) || self.bans.len() >= MAX_BANS {
            return Err(RowError::Impossible);
        }
        self.insert(Subnet { host, prefix }, Ban { since, until });
        Ok(())
    }

    fn insert(&mut self, subnet: Subnet, ban: Ban) {
        if self.bans.insert(subnet, ban).is_none() {
            *self.kinds.entry(subnet.kind()).or_default() += 1;
        }
    }
}

/// Hosts that broke the protocol: they are not dialled and not told of for a day or two. Not by the port: who broke it can
/// have as many of those as it likes.
///
/// Of [`MAX_DISCOURAGED`] hosts the older ones are forgotten, so that nothing grows, and nobody is shut out for good by a
/// mistake.
#[derive(Clone, Debug, Default)]
pub struct Discouraged {
    newer: BTreeSet<Host>,
    older: BTreeSet<Host>,
    /// When the newer ones become the older.
    turns: Option<Instant>,
}

impl Discouraged {
    /// Nobody.
    pub fn new() -> Self {
        Self::default()
    }

    /// Discourages a host.
    pub fn add(&mut self, host: &Host, now: Instant) {
        self.turn(now);
        if self.newer.len() >= MAX_DISCOURAGED / 2 {
            self.older = core::mem::take(&mut self.newer);
        }
        self.newer.insert(canonical(host));
        self.turns.get_or_insert(now + DISCOURAGED_FOR);
    }

    /// Whether a host is discouraged.
    pub fn contains(&self, host: &Host, now: Instant) -> bool {
        let host = canonical(host);
        // What has been forgotten since the last addition.
        match self.turns {
            Some(turns) if turns + DISCOURAGED_FOR <= now => false,
            Some(turns) if turns <= now => self.newer.contains(&host),
            _ => self.newer.contains(&host) || self.older.contains(&host),
        }
    }

    /// How many hosts are remembered.
    pub fn len(&self) -> usize {
        self.newer.len() + self.older.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn turn(&mut self, now: Instant) {
        while let Some(turns) = self.turns.filter(|turns| *turns <= now) {
            self.older = core::mem::take(&mut self.newer);
            self.turns = (!self.older.is_empty()).then_some(turns + DISCOURAGED_FOR);
        }
    }
}

/// Everybody who is not to be dialled.
#[derive(Clone, Debug, Default)]
pub struct Barred {
    /// By the user's word.
    pub bans: Bans,
    /// For what they did.
    pub discouraged: Discouraged,
}

impl Barred {
    /// Nobody.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether a host is banned or discouraged.
    pub fn contains(&self, host: &Host, now: andon_kernel::Now) -> bool {
        self.bans.is_banned(host, now.unix) || self.discouraged.contains(host, now.instant)
    }
}
