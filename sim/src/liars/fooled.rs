//! Peers of which some lie: whether a payment stays hidden.

use andon_bitcoin::client::{Birthday, Command, Endpoint};
use andon_bitcoin::server::{Chain, Server};
use andon_kernel::{MemoryStore, UnixTime};
use serde::Deserialize;

use super::member::{Member, add_client, after, client, command, given, log, served};
use crate::adversary::{Camp, Lie, Means};
use crate::experiment::{Measure, Model, Outcome};
use crate::nodes::{Mine, mine};
use crate::random::{Chance, Stream};
use crate::world::{Host, INTERNET, Links, Place, Time, World};

/// Settings of [`Fooled`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    /// How many peers the client has.
    pub peers: u8,
    /// The share of liars among all that a peer is drawn from.
    pub share: f64,
    /// What the liars do.
    pub lie: Lie,
    /// How many blocks the chain has after the first.
    pub blocks: u32,
    /// How many of the last are lied about; the payment is in the first of them.
    pub hidden: u32,
    /// How long it goes on, in virtual seconds.
    pub seconds: u64,
    /// In how many camps the liars are, each with a lie of its own.
    #[serde(default = "one")]
    pub camps: u8,
    /// How many groups of peers must agree: [`Config::filter_header_quorum`](andon_bitcoin::client::Config::filter_header_quorum).
    #[serde(default = "two")]
    pub quorum: u8,
    /// Whether connections are encrypted.
    #[serde(default)]
    pub encrypted: bool,
}

const fn one() -> u8 {
    1
}

const fn two() -> u8 {
    2
}

/// A client whose peers are drawn, each for itself, from many of whom a share lies. The liars of a camp say the same. The client watches
/// one script, which one block pays, and the liars hide that payment.
///
/// Measures:
/// - `fooled`: at the end the client says that all is checked, and has not found the payment.
/// - `denied`: at the end it has neither found the payment nor said that all is checked.
/// - `liars`: how many of its peers lie.
/// - where at least one peer lies and one does not: `detected`, whether at least one liar was named to the application, and `unnamed`, how many
///   were not; `fooled_beside_honest`, as `fooled`; `fooled_for_a_moment`, whether it ever said that all is checked while it had not found the payment.
/// - `fooled_by_camp`: where all lie, as `fooled`.
#[derive(Debug)]
pub struct Fooled {
    settings: Settings,
    chance: Chance,
    chain: Chain,
    camps: Vec<Camp>,
    begins: UnixTime,
}

/// The script that is watched.
const WATCHED: u64 = 1 << 40;

impl Fooled {
    /// One with these settings.
    ///
    /// # Errors
    /// If one is not as it must be.
    pub(super) fn new(settings: Settings) -> Result<Self, String> {
        let chance = Chance::new(settings.share).ok_or("`share` is a number from 0 to 1")?;
        if !(1..=64).contains(&settings.peers) || settings.camps == 0 {
            return Err("`peers` are 1 to 64, and `camps` one at least".to_owned());
        }
        if settings.hidden == 0 || settings.hidden > settings.blocks || settings.blocks > 20_000 {
            return Err("`blocks` are 20000 at most, and `hidden` 1 to all of them".to_owned());
        }
        let pays = settings.blocks - settings.hidden + 1;
        let mut quarry = Mine::new(1, 600);
        quarry.grow(settings.blocks, |height| {
            let all = [mine::script(height.into()), mine::script(WATCHED)];
            all[..1 + usize::from(height == pays)].to_vec()
        });
        let camps = (0..settings.camps).map(|camp| {
            let mut means = Means::new(served([0; 32], settings.encrypted));
            means.from = pays;
            means.depth = settings.hidden;
            means.hides = vec![mine::script(WATCHED)];
            Camp::new(settings.lie, means, quarry.chain().clone(), camp.into())
        });
        let camps = camps.collect();
        Ok(Self { chance, chain: quarry.chain().clone(), camps, begins: after(quarry.time()), settings })
    }
}

impl Model for Fooled {
    fn trial(&self, seed: u64) -> Outcome {
        let stream = Stream::new(seed);
        let mut draws = stream.fork("peers");
        let Settings { peers, encrypted, quorum, seconds, .. } = self.settings;
        let mut world = World::new(stream.fork("world").u64(), self.begins, Links::internet());
        let mut liars = Vec::new();
        for peer in 0..peers {
            let place = Place { region: INTERNET.pick(draws.u64()), ..Place::at(given(peer)) };
            let own = stream.fork_indexed("peer", peer.into()).seed();
            let camp = &self.camps[draws.index(self.camps.len())];
            let member = if draws.happens(self.chance) {
                liars.push(Endpoint::Address(given(peer)));
                Member::Liar(Box::new(camp.member(own)))
            } else {
                let server = Server::new(served(own, encrypted), self.chain.clone());
                Member::Server(Box::new(Host::new(server, MemoryStore::new(), ())))
            };
            world.add(place, member);
        }
        let mut config = client(&stream, peers, encrypted);
        config.filter_header_quorum = quorum;
        let place = Place::at(([30, 0, 0, 1], 18_444).into());
        let id = add_client(&mut world, config, place);
        let scripts = vec![mine::script(WATCHED)];
        command(&mut world, id, Command::Watch { scripts, from: Birthday::Height(0) });
        world.run_until(Time::from_secs(seconds));

        let log = log(&world, id);
        let (is_found, is_synced) = (!log.found.is_empty(), log.synced.is_some());
        let is_fooled = is_synced && !is_found;
        let unnamed = liars.iter().filter(|liar| !log.named.contains(liar)).count();
        let mut outcome = Outcome { digest: world.digest(), ..Outcome::default() };
        let mut happened = |name, happened| outcome.measures.insert(name, Measure::Happened(happened));
        happened("fooled", is_fooled);
        happened("denied", !is_synced && !is_found);
        match liars.len() {
            0 => {}
            all if all == usize::from(peers) => {
                happened("fooled_by_camp", is_fooled);
            }
            some => {
                happened("detected", unnamed < some);
                happened("fooled_beside_honest", is_fooled);
                happened("fooled_for_a_moment", log.synced_with_nothing);
                outcome.measures.insert("unnamed", Measure::Count(unnamed as i64));
            }
        }
        outcome.measures.insert("liars", Measure::Count(liars.len() as i64));
        outcome
    }
}
