//! Output descriptors (BIP380): their scripts are derived as far ahead as is wanted, and further when one near the end is
//! used. What is derived then is searched for from where the descriptor is watched, so that nothing is missed, in whatever
//! order the chain has it.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;
use core::time::Duration;

use bitcoin::secp256k1::{Secp256k1, VerifyOnly};
use bitcoin::{Network, NetworkKind, ScriptBuf};
use miniscript::descriptor::{DescriptorSecretKey, XKeyNetwork};
use miniscript::{DescriptorPublicKey, descriptor};

use super::api::{Derivation, Event, Touch};
use super::watches::{Origin, Watches};
use super::{Client, Then, Timer, Turn, record};

/// Scripts that are derived in a turn: each takes some 50 microseconds.
const SLICE: u32 = 100;

/// Scripts of a descriptor at most.
const MOST: u32 = 100_000;

/// An output descriptor (BIP380) without secrets, of a network. One with several paths (`<0;1>`, BIP389) is several that are
/// watched together.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "record", serde(try_from = "written::Descriptor"))]
pub struct Descriptor {
    /// One for each path. Texts, for what is parsed can't be shared between threads.
    paths: Vec<String>,
    is_ranged: bool,
}

type Part = descriptor::Descriptor<DescriptorPublicKey>;

/// Why a text is no [`Descriptor`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DescriptorError {
    /// There is a private key in it: watching needs no secret.
    PrivateKey,
    /// Its keys are another network's.
    OtherNetwork,
    /// It has hardened steps after an extended public key, or no script can be derived of it for another reason.
    Underivable(String),
    /// It can't be read.
    Malformed(String),
}

impl fmt::Display for DescriptorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PrivateKey => f.write_str("it has a private key in it"),
            Self::OtherNetwork => f.write_str("its keys are of another network"),
            Self::Underivable(why) | Self::Malformed(why) => f.write_str(why),
        }
    }
}

impl core::error::Error for DescriptorError {}

impl Descriptor {
    /// Reads a descriptor, with or without a checksum.
    ///
    /// # Errors
    /// If it is none, or has secrets, or is another network's.
    pub fn parse(text: &str, network: Network) -> Result<Self, DescriptorError> {
        let parsed = Part::from_str(text).map_err(|error| match has_private_key(text) {
            // The text is not repeated: it is a secret.
            true => DescriptorError::PrivateKey,
            false => DescriptorError::Malformed(error.to_string()),
        })?;
        match parsed.xkey_network() {
            XKeyNetwork::NoXKeys => {}
            XKeyNetwork::Single(found) if found == NetworkKind::from(network) => {}
            XKeyNetwork::Single(_) | XKeyNetwork::Mixed => return Err(DescriptorError::OtherNetwork),
        }
        let underivable = |error: &dyn fmt::Display| DescriptorError::Underivable(error.to_string());
        let parts = parsed.into_single_descriptors().map_err(|error| underivable(&error))?;
        let secp = Secp256k1::verification_only();
        for part in &parts {
            part.derived_descriptor(&secp, 0).map_err(|error| underivable(&error))?;
        }
        let is_ranged = parts.iter().any(Part::has_wildcard);
        Ok(Self { paths: parts.iter().map(ToString::to_string).collect(), is_ranged })
    }

    /// The descriptor of each of its paths, with a checksum.
    pub fn paths(&self) -> &[String] {
        &self.paths
    }

    /// Whether scripts of more than one index can be derived.
    pub fn is_ranged(&self) -> bool {
        self.is_ranged
    }
}

/// As it stands in a recording, which may be anybody's.
#[cfg(feature = "record")]
mod written {
    use super::{DescriptorError, Network, String, Vec};

    #[derive(serde::Deserialize)]
    pub(super) struct Descriptor {
        paths: Vec<String>,
    }

    impl TryFrom<Descriptor> for super::Descriptor {
        type Error = DescriptorError;

        fn try_from(Descriptor { paths }: Descriptor) -> Result<Self, DescriptorError> {
            let read = |network| -> Result<Vec<Self>, DescriptorError> {
                paths.iter().map(|path| Self::parse(path, network)).collect()
            };
            // Of either kind of network, but all of the same one.
            let parts = read(Network::Bitcoin).or_else(|_| read(Network::Testnet))?;
            let is_ranged = parts.iter().any(Self::is_ranged);
            if parts.is_empty() || !parts.iter().zip(&paths).all(|(part, path)| part.paths == [path.as_str()])
            {
                return Err(DescriptorError::Malformed("a path is not written as a path is".into()));
            }
            Ok(Self { paths, is_ranged })
        }
    }
}

/// Whether a text that is no public descriptor has something in it that reads as a private key.
fn has_private_key(text: &str) -> bool {
    text.split(['(', ')', ',', '{', '}', '#', ']']).any(|part| {
        part.starts_with("xprv") || part.starts_with("tprv") || DescriptorSecretKey::from_str(part).is_ok()
    })
}

/// How far ahead scripts of a descriptor with a wildcard are watched: at most 100,000 of each are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
pub struct Lookahead {
    /// So many indexes after the last that is used are always watched: as many as a wallet may leave unused between two.
    pub gap: u32,
    /// So many indexes are watched at first. It doubles when the gap reaches its end, and what is new is searched for from
    /// where the descriptor is watched; so a wallet of more used indexes than this is searched for several times, unless
    /// filters are kept.
    pub first: u32,
}

impl Default for Lookahead {
    fn default() -> Self {
        // BIP44's gap; a thousand scripts match by chance once in 785 blocks.
        Self { gap: 20, first: 1000 }
    }
}

/// The descriptors that are watched, by number.
#[derive(Debug)]
pub(super) struct Descriptors {
    tracked: BTreeMap<u32, Tracked>,
    secp: Secp256k1<VerifyOnly>,
}

/// One that is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tracked {
    part: Part,
    /// Its text.
    path: String,
    /// The height from which it is watched.
    pub(super) from: u32,
    lookahead: Lookahead,
    /// Scripts below this index have been derived.
    derived: u32,
    /// Scripts below this index are to be.
    target: u32,
    /// Indexes below this have been used, or lie below one that has.
    used: u32,
}

impl Tracked {
    /// Takes a new end into view if the gap reaches beyond the one that is. It doubles, so that however many are used, that
    /// happens a few times only.
    fn aim(&mut self) {
        let Lookahead { gap, first } = self.lookahead;
        let least = match self.part.has_wildcard() {
            true => self.used.saturating_add(gap).max(first).clamp(1, MOST),
            false => 1,
        };
        if least > self.target {
            self.target = least.max(self.target.saturating_mul(2)).min(MOST);
        }
    }

    /// As it is stored.
    pub(super) fn encode(&self) -> Vec<u8> {
        let Lookahead { gap, first } = self.lookahead;
        let mut value = [self.from, gap, first, self.derived].map(u32::to_be_bytes).concat();
        value.extend_from_slice(self.path.as_bytes());
        value
    }

    /// `None`: it is no such value.
    pub(super) fn decode(value: &[u8]) -> Option<Self> {
        let (numbers, text) = value.split_first_chunk::<16>()?;
        let (numbers, _) = numbers.as_chunks::<4>();
        let [from, gap, first, derived] = [0, 1, 2, 3].map(|at| u32::from_be_bytes(numbers[at]));
        let path = String::from(core::str::from_utf8(text).ok()?);
        let part = Part::from_str(&path).ok()?;
        let lookahead = Lookahead { gap, first };
        Some(Self { part, path, from, lookahead, derived, target: derived, used: 0 })
    }
}

impl Default for Descriptors {
    fn default() -> Self {
        Self { tracked: BTreeMap::new(), secp: Secp256k1::verification_only() }
    }
}

impl Descriptors {
    /// Takes one up that was stored.
    pub(super) fn restore(&mut self, number: u32, mut tracked: Tracked) {
        tracked.aim();
        self.tracked.insert(number, tracked);
    }

    /// Says of a finding what its script was derived of, and notes that the script is used.
    pub(super) fn note_derivation(&mut self, touch: &mut Touch, watches: &Watches) {
        let watch = watches.scripts().get(&touch.script);
        let Some(Origin { descriptor, index }) = watch.and_then(|watch| watch.origin) else { return };
        if let Some(tracked) = self.tracked.get_mut(&descriptor) {
            tracked.used = tracked.used.max(index.saturating_add(1));
            tracked.aim();
            touch.derivation = Some(Derivation { descriptor: tracked.path.clone(), index });
        }
    }

    /// Watches one from a height on, if it is not watched already from there.
    pub(super) fn watch(&mut self, descriptor: &Descriptor, from: u32, lookahead: Lookahead) {
        for path in &descriptor.paths {
            let Ok(part) = Part::from_str(path) else { continue };
            let known =
                self.tracked.iter().find(|(_, tracked)| tracked.path == *path).map(|(number, _)| *number);
            let next = self.tracked.keys().next_back().map_or(0, |last| last + 1);
            let path = path.clone();
            let new = Tracked { part, path, from, lookahead, derived: 0, target: 0, used: 0 };
            let tracked = self.tracked.entry(known.unwrap_or(next)).or_insert(new);
            tracked.lookahead = lookahead;
            if from < tracked.from {
                // All its scripts are watched from there.
                (tracked.from, tracked.derived) = (from, 0);
            }
            tracked.aim();
        }
    }

    /// Those of which not all that is to be is derived, with their numbers.
    fn underived(&self) -> Vec<(u32, Tracked)> {
        let underived = self.tracked.iter().filter(|(_, tracked)| tracked.derived < tracked.target);
        underived.map(|(number, tracked)| (*number, tracked.clone())).collect()
    }

    /// Watches these no more, or all but these. Returns their numbers.
    pub(super) fn unwatch(&mut self, descriptors: &[Descriptor], others: bool) -> Vec<u32> {
        let is_named =
            |tracked: &Tracked| descriptors.iter().any(|named| named.paths.contains(&tracked.path));
        let gone = self.tracked.iter().filter(|(_, tracked)| is_named(tracked) != others);
        let gone: Vec<u32> = gone.map(|(number, _)| *number).collect();
        gone.iter().for_each(|number| drop(self.tracked.remove(number)));
        gone
    }

    /// Whether scripts are to be derived.
    pub(super) fn is_deriving(&self) -> bool {
        self.tracked.values().any(|tracked| tracked.derived < tracked.target)
    }

    /// Derives the next scripts, each with where it comes from, and the height from which they are watched.
    fn derive(&mut self) -> Option<(u32, Vec<(ScriptBuf, Origin)>)> {
        let mut tracked = self.tracked.iter_mut();
        let (descriptor, tracked) = tracked.find(|(_, tracked)| tracked.derived < tracked.target)?;
        let end = tracked.target.min(tracked.derived + SLICE);
        let script = |index| {
            let derived = tracked.part.derived_descriptor(&self.secp, index).ok()?;
            Some((derived.script_pubkey(), Origin { descriptor: *descriptor, index }))
        };
        // An index of which no key can be derived is one in 2^127.
        let scripts = (tracked.derived..end).filter_map(script).collect();
        tracked.derived = end;
        Some((*descriptor, scripts))
    }
}

impl Client {
    /// Derives scripts that are to be watched, as many as a turn allows.
    pub(super) fn derive_scripts(&mut self, turn: &mut Turn<'_>) {
        let Some((number, scripts)) = self.search.descriptors.derive() else { return };
        let Some(tracked) = self.search.descriptors.tracked.get(&number).cloned() else { return };
        self.watch_derived(turn, scripts, tracked.from);
        let mut events = Vec::new();
        if tracked.derived == tracked.target {
            let descriptor = tracked.path.clone();
            events.push(Event::DescriptorDerived { descriptor, scripts: tracked.derived });
        }
        // Behind its scripts: what is cut short in between is derived once more.
        self.store(turn, events, Then::Nothing, |batch| record::put_descriptor(batch, number, &tracked));
        self.derive_more(turn);
    }

    /// Comes back at once if there is more to derive.
    pub(super) fn derive_more(&mut self, turn: &Turn<'_>) {
        if self.search.descriptors.is_deriving() {
            self.timers.set(Timer::Derive, turn.now.instant + Duration::from_micros(1));
        }
    }

    /// Watches descriptors from a height on; `only` these.
    pub(super) fn watch_descriptors(
        &mut self,
        turn: &mut Turn<'_>,
        descriptors: Vec<Descriptor>,
        from: u32,
        lookahead: Lookahead,
        only: bool,
    ) {
        let from = self.first_searched(turn, from);
        if only {
            let gone = self.search.descriptors.unwatch(&descriptors, true);
            self.forget_descriptors(turn, &gone);
        }
        for descriptor in descriptors {
            self.search.descriptors.watch(&descriptor, from, lookahead);
        }
        // What is not derived yet is derived at the next start, should this one end before.
        let new: Vec<(u32, Tracked)> = self.search.descriptors.underived();
        if !new.is_empty() {
            self.store(turn, Vec::new(), Then::Nothing, |batch| {
                new.iter().for_each(|(number, tracked)| record::put_descriptor(batch, *number, tracked));
            });
        }
        self.derive_more(turn);
    }

    /// Watches descriptors no more.
    pub(super) fn unwatch_descriptors(&mut self, turn: &mut Turn<'_>, descriptors: &[Descriptor]) {
        let gone = self.search.descriptors.unwatch(descriptors, false);
        self.forget_descriptors(turn, &gone);
    }

    fn forget_descriptors(&mut self, turn: &mut Turn<'_>, gone: &[u32]) {
        let is_gone = |origin: Origin| gone.contains(&origin.descriptor);
        let scripts = self.search.watches.scripts().iter();
        let scripts = scripts.filter(|(_, watch)| watch.origin.is_some_and(is_gone));
        let scripts: Vec<ScriptBuf> = scripts.map(|(script, _)| script.clone()).collect();
        self.store(turn, Vec::new(), Then::Nothing, |batch| {
            gone.iter().for_each(|number| record::delete_descriptor(batch, *number));
        });
        self.unwatch(turn, &scripts, &[]);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that can not go on has failed")]

    use bitcoin::Address;

    use super::*;

    /// The first addresses of BIP84's and BIP86's test vectors.
    #[test]
    fn descriptors_derive_the_scripts_of_the_standards() {
        let accounts = [
            (
                "wpkh(xpub6CatWdiZiodmUeTDp8LT5or8nmbKNcuyvz7WyksVFkKB4RHwCD3XyuvPEbvqAQY3rAPshWcMLoP2fMFMKHPJ4ZeZXYVUhLv1VMrjPC7PW6V/<0;1>/*)",
                [
                    (0, 0, "bc1qcr8te4kr609gcawutmrza0j4xv80jy8z306fyu"),
                    (0, 1, "bc1qnjg0jd8228aq7egyzacy8cys3knf9xvrerkf9g"),
                    (1, 0, "bc1q8c6fshw2dlwun7ekn9qwf37cu2rn755upcp6el"),
                ],
            ),
            (
                "tr(xpub6BgBgsespWvERF3LHQu6CnqdvfEvtMcQjYrcRzx53QJjSxarj2afYWcLteoGVky7D3UKDP9QyrLprQ3VCECoY49yfdDEHGCtMMj92pReUsQ/<0;1>/*)",
                [
                    (0, 0, "bc1p5cyxnuxmeuwuvkwfem96lqzszd02n6xdcjrs20cac6yqjjwudpxqkedrcr"),
                    (0, 1, "bc1p4qhjn9zdvkux4e44uhx8tc55attvtyu358kutcqkudyccelu0was9fqzwh"),
                    (1, 0, "bc1p3qkhfews2uk44qtvauqyr2ttdsw7svhkl9nkm9s9c3x4ax5h60wqwruhk7"),
                ],
            ),
        ];
        for (text, addresses) in accounts {
            let descriptor = Descriptor::parse(text, Network::Bitcoin).unwrap();
            assert_eq!((descriptor.paths().len(), descriptor.is_ranged()), (2, true));
            let mut descriptors = Descriptors::default();
            let lookahead = Lookahead { gap: 20, first: 30 };
            descriptors.watch(&descriptor, 0, lookahead);
            let mut derived = BTreeMap::new();
            while let Some((_, scripts)) = descriptors.derive() {
                derived.extend(
                    scripts.into_iter().map(|(script, origin)| ((origin.descriptor, origin.index), script)),
                );
            }
            assert_eq!(derived.len(), 60);
            for (path, index, address) in addresses {
                let address: Address<_> = address.parse().unwrap();
                let script = address.assume_checked().script_pubkey();
                assert_eq!(derived.get(&(path, index)), Some(&script), "{path} {index}");
            }
        }
    }
}
