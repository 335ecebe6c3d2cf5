//! The shortest scenario that fails as a given one does: delta debugging (Zeller and Hildebrandt 2002), of faults first, then of the
//! population, then of time, then of what the client is configured to do.

use super::failure::{Failure, Kind};
use super::file;
use super::play::{Options, run};
use super::sabotage::Sabotage;
use super::scenario::{ClientPart, LinksPart, Scenario, What};

/// What is left.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The scenario.
    pub scenario: Scenario,
    /// How it fails.
    pub failure: Failure,
    /// How many were tried.
    pub tried: u32,
}

/// Shrinks a scenario that fails. Tries `most` others at most.
///
/// `None`: it does not fail.
pub fn shrink(scenario: &Scenario, sabotage: Option<Sabotage>, most: u32) -> Option<Shrunk> {
    let failure = run(scenario, Options { sabotage, ..Options::default() }).failure?;
    let mut shrinking =
        Shrinking { best: scenario.clone(), kind: class(&failure), failure, sabotage, tried: 0, most };
    loop {
        let before = shrinking.best.clone();
        shrinking.cut_time();
        shrinking.drop_events();
        shrinking.drop_peers();
        shrinking.simplify();
        shrinking.shorten();
        if shrinking.best == before || shrinking.is_over() {
            break;
        }
    }
    let Shrinking { best, failure, tried, .. } = shrinking;
    Some(Shrunk { scenario: best, failure, tried })
}

/// Two failures are the same if they are of a kind; panics also have to come from the same line.
fn class(failure: &Failure) -> (Kind, String) {
    let line = failure.message.lines().next().unwrap_or_default();
    (failure.kind, if failure.kind == Kind::Panic { line.to_owned() } else { String::new() })
}

struct Shrinking {
    best: Scenario,
    failure: Failure,
    kind: (Kind, String),
    sabotage: Option<Sabotage>,
    tried: u32,
    most: u32,
}

impl Shrinking {
    const fn is_over(&self) -> bool {
        self.tried >= self.most
    }

    /// Takes a scenario if it fails in the same way.
    fn try_out(&mut self, scenario: Scenario) -> bool {
        if self.is_over() || scenario == self.best || file::check(&scenario).is_err() {
            return false;
        }
        self.tried += 1;
        let failure = run(&scenario, Options { sabotage: self.sabotage, ..Options::default() }).failure;
        match failure {
            Some(failure) if class(&failure) == self.kind => {
                (self.best, self.failure) = (scenario, failure);
                true
            }
            _ => false,
        }
    }

    fn try_change(&mut self, change: impl FnOnce(&mut Scenario)) -> bool {
        let mut scenario = self.best.clone();
        change(&mut scenario);
        self.try_out(scenario)
    }

    /// What comes after the failure is of no use.
    fn cut_time(&mut self) {
        let failed = self.failure.at.as_nanos() / 1_000_000 + 1;
        self.try_change(|scenario| {
            scenario.events.retain(|event| event.at <= failed);
        });
        let last = self.best.events.last().map_or(0, |event| event.at);
        self.try_change(|scenario| scenario.ends = last + 1);
    }

    /// Leaves out events: half of them, a quarter, and so on down to single ones.
    fn drop_events(&mut self) {
        let mut size = self.best.events.len().div_ceil(2);
        while size > 0 {
            let mut from = 0;
            while from < self.best.events.len() {
                let dropped = self.try_change(|scenario| {
                    let to = (from + size).min(scenario.events.len());
                    scenario.events.drain(from..to);
                });
                if !dropped {
                    from += size;
                }
                if self.is_over() {
                    return;
                }
            }
            size /= 2;
        }
    }

    fn drop_peers(&mut self) {
        for at in (0..self.best.peers.len()).rev() {
            self.try_change(|scenario| {
                let number = scenario.peers.remove(at).number;
                scenario.events.retain_mut(|event| match &mut event.what {
                    What::Blocks { tells, .. } => {
                        tells.retain(|told| *told != number);
                        true
                    }
                    What::Divide { peers, .. } => {
                        peers.retain(|peer| *peer != number);
                        true
                    }
                    _ => true,
                });
            });
        }
        for at in 0..self.best.peers.len() {
            self.try_change(|scenario| scenario.peers[at].lie = None);
        }
    }

    /// Takes the usual in the place of the unusual.
    fn simplify(&mut self) {
        self.try_change(|scenario| scenario.client = ClientPart::default());
        let usual = ClientPart::default();
        let changes: [fn(&mut ClientPart, &ClientPart); 15] = [
            |client, usual| client.encryption = usual.encryption,
            |client, usual| client.quorum = usual.quorum,
            |client, usual| client.cache = usual.cache,
            |client, usual| client.newest_first = usual.newest_first,
            |client, usual| client.acknowledged = usual.acknowledged,
            |client, usual| client.discovery = usual.discovery,
            |client, usual| client.metered = usual.metered,
            |client, usual| client.decoy_blocks = usual.decoy_blocks,
            |client, usual| client.decoys = usual.decoys,
            |client, usual| client.window = usual.window,
            |client, usual| client.stall = usual.stall,
            |client, usual| client.retry = usual.retry,
            |client, usual| client.room = usual.room,
            |client, usual| client.slow_disk = usual.slow_disk,
            |client, usual| client.line = usual.line,
        ];
        for change in changes {
            self.try_change(|scenario| change(&mut scenario.client, &usual));
        }
        self.try_change(|scenario| scenario.links = LinksPart::default());
        self.try_change(|scenario| scenario.links.pieces = 0);
        self.try_change(|scenario| scenario.links.loss = 0);
        self.try_change(|scenario| scenario.links.jitter = 0);
        for at in 0..self.best.peers.len() {
            self.try_change(|scenario| {
                let peer = &mut scenario.peers[at];
                (peer.line, peer.region, peer.lags_from, peer.filters) = (0, 0, 0, true);
            });
            self.try_change(|scenario| scenario.peers[at].tells = false);
        }
        for trunk in crate::chain::LENGTHS {
            if trunk < self.best.trunk && self.try_change(|scenario| scenario.trunk = trunk) {
                break;
            }
        }
        self.try_change(|scenario| scenario.age = 0);
    }

    /// Shorter times, fewer blocks.
    fn shorten(&mut self) {
        for at in 0..self.best.events.len() {
            self.try_change(|scenario| match &mut scenario.events[at].what {
                What::Blocks { depth, count, tells, .. } => {
                    (*depth, *count) = ((*depth).min(1), 1);
                    tells.sort_unstable();
                }
                What::Rival { count, .. } => *count = 1,
                What::PeerDown { time, .. }
                | What::Unreachable { time, .. }
                | What::Divide { time, .. }
                | What::Slow { time, .. }
                | What::Weather { time, .. }
                | What::Skew { time, .. }
                | What::NoNames { time }
                | What::SlowDisk { time }
                | What::Stall { time }
                | What::Crash { time, .. }
                | What::Pause { time }
                | What::Forget { time, .. } => *time /= 10,
                What::Watch { from, .. } => *from = 0,
                _ => {}
            });
        }
        // Everything earlier: by half, as often as that goes.
        while self.try_change(|scenario| {
            scenario.events.iter_mut().for_each(|event| event.at /= 2);
            scenario.ends = scenario.ends.div_ceil(2);
        }) {}
    }
}
