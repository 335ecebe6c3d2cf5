//! How often no block comes for so long that the client looks for another peer.

use core::time::Duration;

use andon_bitcoin::addresses::exponential;
use andon_bitcoin::client::{Birthday, Command};
use andon_bitcoin::server::{self, Server};
use andon_kernel::{MemoryStore, Rng};
use serde::Deserialize;

use super::member::{Member, add_client, after, client, command, given, log, serve, served};
use crate::experiment::{Measure, Model, Outcome};
use crate::nodes::{Mine, mine};
use crate::random::Stream;
use crate::world::{Host, Links, Place, World};

/// Settings of [`StaleTip`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    /// How many blocks come.
    pub blocks: u32,
    /// The mean time between two blocks, in seconds: 600, or more if the client hears only of those that a part of all miners finds.
    pub mean_seconds: u64,
}

/// A client with one peer, and blocks at random times.
///
/// Measures:
/// - `alarmed`: the share of blocks before which the tip was found stale.
/// - `alarms`: how often it was, for each block.
/// - `behind`: how many blocks the client had not checked by the end, a minute after the last: zero as a rule.
#[derive(Debug)]
pub struct StaleTip {
    settings: Settings,
}

impl StaleTip {
    /// One with these settings.
    ///
    /// # Errors
    /// If one is not as it must be.
    pub(super) fn new(settings: Settings) -> Result<Self, String> {
        if !(1..=10_000).contains(&settings.blocks) || !(60..=1_000_000).contains(&settings.mean_seconds) {
            return Err("`blocks` are 1 to 10000, and `mean_seconds` 60 to 1000000".to_owned());
        }
        Ok(Self { settings })
    }
}

impl Model for StaleTip {
    fn trial(&self, seed: u64) -> Outcome {
        let stream = Stream::new(seed);
        let mut times = Rng::new(stream.fork("times").seed());
        let mut quarry = Mine::new(1, 600);
        quarry.grow(1, |height| vec![mine::script(height.into())]);
        let begins = after(quarry.time());
        let mut world = World::new(stream.fork("world").u64(), begins, Links::default());
        let server = Server::new(served(stream.fork("server").seed(), false), quarry.chain().clone());
        let server = Member::Server(Box::new(Host::new(server, MemoryStore::new(), ())));
        let server = world.add(Place::at(given(0)), server);
        let config = client(&stream, 1, false);
        let id = add_client(&mut world, config, Place::at(([30, 0, 0, 1], 18_444).into()));
        let scripts = vec![mine::script(u64::MAX)];
        command(&mut world, id, Command::Watch { scripts, from: Birthday::Height(0) });

        // The first wait begins with a block, as each other does.
        let mean = Duration::from_secs(self.settings.mean_seconds);
        world.run_for(Duration::from_secs(60));
        let block = |world: &mut World<Member>, quarry: &mut Mine| {
            let time = u32::try_from(world.unix().as_secs()).unwrap_or(u32::MAX);
            quarry.grow_at(time, vec![mine::script(time.into())]);
            serve(world, server, server::Command::Follow(quarry.chain().clone()));
        };
        block(&mut world, &mut quarry);
        let before_all = log(&world, id).stale_tips;
        let mut alarmed = 0;
        for _ in 0..self.settings.blocks {
            let before = log(&world, id).stale_tips;
            world.run_for(exponential(mean, &mut times));
            alarmed += i64::from(log(&world, id).stale_tips > before);
            block(&mut world, &mut quarry);
        }
        let alarms = i64::from(log(&world, id).stale_tips - before_all);
        world.run_for(Duration::from_secs(60));
        let checked = log(&world, id).synced.map_or(0, |block| block.height);
        let share = |part: i64| Measure::Millionths(part * 1_000_000 / i64::from(self.settings.blocks));
        let measures = [
            ("alarmed", share(alarmed)),
            ("alarms", share(alarms)),
            ("behind", Measure::Count(i64::from(quarry.chain().height()) - i64::from(checked))),
        ];
        Outcome { measures: measures.into(), series: Vec::new(), digest: world.digest() }
    }
}
