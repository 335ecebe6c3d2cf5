//! What it costs to find out who lies about filter headers.

use andon_bitcoin::client::{Birthday, BlockId, Command};
use andon_kernel::UnixTime;
use serde::Deserialize;

use super::member::{Member, add_client, after, client, command, given, liar, log, served};
use crate::adversary::{Asked, Camp, Lie, Means};
use crate::experiment::{Measure, Model, Outcome};
use crate::nodes::{Mine, mine};
use crate::random::Stream;
use crate::world::{INTERNET, Links, Place, Time, World};

/// Settings of [`Dispute`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    /// How many blocks the chain has after the first.
    pub blocks: u32,
    /// How many honest peers there are.
    pub honest: u8,
    /// How many liars.
    pub liars: u8,
    /// How long it may take, in virtual seconds.
    pub seconds: u64,
    /// How far known blocks are apart, as there are some on the main network: headers come from all peers at once then, and filter headers
    /// can't keep up. Without it there are none.
    #[serde(default)]
    pub known_every: Option<u32>,
}

/// So many different lies are drawn from, fewer of long chains: forging one takes as long as a trial.
const CAMPS: u32 = 64;
const FORGED_BLOCKS: u32 = 160_000;

/// Liars whose filter headers are false from some height on, which is drawn, and honest peers, until the first lie is proven.
///
/// Measures:
/// - `proven`: whether it was, in time; the others are of trials in which it was.
/// - `steps`: how many times one filter header was asked of the peer that was asked most, but for the first: the questions by which a dispute
///   finds the height.
/// - `checkpoints`: how often checkpoints were asked for, of all peers together; `filters`: how often the filter of the block of the proof was,
///   and no other with it; `blocks`: how many blocks were.
/// - `right`: whether the height that the proof is about is the first false one.
/// - `milliseconds`: from the start to the proof.
#[derive(Debug)]
pub struct Dispute {
    settings: Settings,
    camps: Vec<(u32, Camp)>,
    begins: UnixTime,
    known: Vec<BlockId>,
}

impl Dispute {
    /// One with these settings.
    ///
    /// # Errors
    /// If one is not as it must be.
    pub(super) fn new(settings: Settings) -> Result<Self, String> {
        if settings.honest == 0 || settings.liars == 0 || settings.honest.saturating_add(settings.liars) > 64
        {
            return Err(
                "of `honest` and `liars` there is one at least each, and 64 at most together".to_owned()
            );
        }
        if !(1..=20_000).contains(&settings.blocks) || settings.known_every == Some(0) {
            return Err("`blocks` are 1 to 20000, and `known_every` is one at least".to_owned());
        }
        let mut quarry = Mine::new(1, 600);
        quarry.grow(settings.blocks, |height| vec![mine::script(height.into())]);
        let mut draws = Stream::new(u64::from(settings.blocks)).fork("lies");
        let camps = (0..CAMPS.min(settings.blocks).min(FORGED_BLOCKS / settings.blocks)).map(|camp| {
            let mut means = Means::new(served([0; 32], false));
            means.from = 1 + draws.below(settings.blocks.into()) as u32;
            (means.from, Camp::new(Lie::FalseFilterHeaders, means, quarry.chain().clone(), camp.into()))
        });
        let chain = quarry.chain();
        let known = settings
            .known_every
            .into_iter()
            .flat_map(|every| (1..=settings.blocks / every).map(move |number| number * every));
        let known =
            known.filter_map(|height| Some(BlockId { height, hash: chain.hash_at(height)? })).collect();
        Ok(Self { camps: camps.collect(), begins: after(quarry.time()), known, settings })
    }
}

impl Model for Dispute {
    fn trial(&self, seed: u64) -> Outcome {
        let stream = Stream::new(seed);
        let mut draws = stream.fork("peers");
        let Settings { honest, liars, seconds, .. } = self.settings;
        let (from, camp) = &self.camps[draws.index(self.camps.len())];
        let mut world = World::new(stream.fork("world").u64(), self.begins, Links::internet());
        let mut order: Vec<bool> = (0..honest + liars).map(|peer| peer < liars).collect();
        draws.shuffle(&mut order);
        let mut ids = Vec::new();
        for (peer, lies) in (0..).zip(order) {
            let place = Place { region: INTERNET.pick(draws.u64()), ..Place::at(given(peer)) };
            let one = camp.member(stream.fork_indexed("peer", peer.into()).seed());
            let one = if lies { one } else { one.waiting() };
            ids.push(world.add(place, Member::Liar(Box::new(one))));
        }
        let mut config = client(&stream, honest + liars, false);
        config.known_blocks.clone_from(&self.known);
        let id = add_client(&mut world, config, Place::at(([30, 0, 0, 1], 18_444).into()));
        // Of nobody: no block but that of the dispute is wanted.
        let scripts = vec![mine::script(u64::MAX)];
        command(&mut world, id, Command::Watch { scripts, from: Birthday::Height(0) });
        let is_proven =
            world.run_while(Time::from_secs(seconds), |world| log(world, id).first_proof.is_none());

        let mut outcome = Outcome { digest: world.digest(), ..Outcome::default() };
        outcome.measures.insert("proven", Measure::Happened(is_proven));
        if let Some((at, block)) = log(&world, id).first_proof {
            let asked: Vec<Asked> = ids.iter().map(|peer| *liar(&world, *peer).asked()).collect();
            let steps = asked.iter().map(|asked| asked.filter_header.saturating_sub(1)).max().unwrap_or(0);
            let sum = |of: fn(&Asked) -> u64| asked.iter().map(of).sum::<u64>();
            let counts = [
                ("steps", steps),
                ("checkpoints", sum(|asked| asked.checkpoints)),
                ("filters", ids.iter().map(|peer| liar(&world, *peer).asked_for_filter(block.height)).sum()),
                ("blocks", sum(|asked| asked.blocks)),
                ("milliseconds", at.as_micros() / 1000),
            ];
            let count = |count: u64| Measure::Count(i64::try_from(count).unwrap_or(i64::MAX));
            outcome.measures.extend(counts.map(|(name, value)| (name, count(value))));
            outcome.measures.insert("right", Measure::Happened(block.height == *from));
        }
        outcome
    }
}
