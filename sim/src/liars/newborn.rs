//! A client's first days: an empty book of addresses, DNS seeds of which some are poisoned, nodes that come and go, and restarts.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::BTreeSet;
use std::rc::Rc;

use andon_bitcoin::addresses::{DnsSeed, dns_seeds};
use andon_bitcoin::client::{Client, Config, Encryption, Endpoint};
use andon_bitcoin::server::{self, Chain};
use andon_bitcoin::wire::{Host as HostName, NodeAddress};
use andon_kernel::{MemoryStore, UnixTime};
use bitcoin::Network;
use bitcoin::constants::genesis_block;
use serde::Deserialize;

use super::log::Log;
use super::member::{Member, add_client, log};
use crate::adversary::{Budget, Camp, Controller, Lie, Means, poison};
use crate::experiment::{Measure, Model, Outcome, Sample};
use crate::nodes::{LazyServer, Origin};
use crate::random::{Chance, Stream};
use crate::world::{Crash, Host, INTERNET, Links, Name, NodeId, Place, Reach, Time, World};

/// Settings of [`Newborn`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    /// How many honest nodes there are, all of which serve filters; each is of another group.
    pub honest: u16,
    /// Which share of them is up at a time.
    pub up: f64,
    /// Which share of them comes and goes; the others stay as they are.
    pub intermittent: f64,
    /// Which share of those that are up leaves within a day. As many come back.
    pub leaves_per_day: f64,
    /// How many nodes the attacker has.
    pub attackers: u16,
    /// Of how many groups they are.
    pub attacker_groups: u16,
    /// How many of the DNS seeds answer for the attacker.
    pub poisoned: u8,
    /// Whether honest nodes tell of the attacker's nodes, too: those have been there for some time.
    pub attackers_are_known: bool,
    /// How long it goes on, in hours.
    pub hours: u32,
    /// After how many hours the client's process ends and begins anew, each time; zero: it never does.
    pub restart_hours: u32,
    /// Whether connections are encrypted.
    #[serde(default)]
    pub encrypted: bool,
}

/// A client of the main network with an empty book and no peers that were given, and that network's seeds. All nodes have the first block only, for
/// nothing but connections is asked about. The attacker's nodes tell of each other, as fast as they are listened to, and of nobody else.
///
/// Measures:
/// - `eclipsed`: at the end all its peers are the attacker's, and there is one at least. `time_eclipsed`: the share of all time in which it was
///   so, looked at each minute.
/// - `met_honest`: it was ever connected to an honest node; if so, `seconds_to_honest` after the first start.
/// - `theirs`: the attacker's share of its peers at the end.
/// - `seconds_to_peer`, `seconds_to_honest_again`: the mean, over restarts after which there was one, of the time to the first peer, and to the first
///   honest one. `restarts_without`: after how many restarts it met no honest one until the next.
/// - `attacker_bytes`, `attacker_addresses`, `attacker_groups`, `attacker_hours`: what the attack has cost.
///
/// Over time: `theirs_connected` and `connected`, how many of its peers are the attacker's, and how many there are.
#[derive(Debug)]
pub struct Newborn {
    settings: Settings,
    up: Chance,
    intermittent: Chance,
    leaves: Chance,
    returns: Chance,
}

/// When it begins.
const BEGINS: UnixTime = UnixTime::from_secs(1_767_225_600);
const NETWORK: Network = Network::Bitcoin;
const PORT: u16 = 8333;
/// How many addresses a seed knows.
const SEED_KNOWS: usize = 100;
const MINUTE: Duration = Duration::from_secs(60);

impl Newborn {
    /// One with these settings.
    ///
    /// # Errors
    /// If one is not as it must be.
    pub(super) fn new(settings: Settings) -> Result<Self, String> {
        let Settings { honest, attackers, attacker_groups, .. } = settings;
        let chance = |name: &str, value: f64| Chance::new(value).ok_or(format!("`{name}` is from 0 to 1"));
        if usize::from(settings.poisoned) > dns_seeds(NETWORK).len() {
            return Err(format!("`poisoned` is {} at most", dns_seeds(NETWORK).len()));
        }
        if honest == 0 || honest > 10_000 || attackers > 10_000 {
            return Err("`honest` is 1 to 10000, and `attackers` 10000 at most".to_owned());
        }
        if attackers > 0 && (attacker_groups == 0 || attacker_groups > attackers) {
            return Err("`attacker_groups` is 1 to `attackers`".to_owned());
        }
        if attackers == 0 && settings.poisoned > 0 {
            return Err("who poisons seeds has `attackers` to name".to_owned());
        }
        if settings.hours == 0 || settings.hours > 10_000 || !(0.01..=1.0).contains(&settings.up) {
            return Err("`hours` are 1 to 10000, and `up` is from 0.01 to 1".to_owned());
        }
        // Looked at each hour.
        let leaves = settings.leaves_per_day / 24.0;
        let returns = if settings.up < 1.0 { leaves * settings.up / (1.0 - settings.up) } else { 1.0 };
        Ok(Self {
            up: chance("up", settings.up)?,
            intermittent: chance("intermittent", settings.intermittent)?,
            leaves: chance("leaves_per_day", leaves)?,
            returns: chance("leaves_per_day", returns.min(1.0))?,
            settings,
        })
    }
}

/// A world in which a trial runs.
struct Run<'a> {
    model: &'a Newborn,
    world: World<Member>,
    stream: Stream,
    origin: Rc<Origin>,
    /// Honest nodes, and whether each comes and goes.
    honest: Vec<(NodeId, bool)>,
    controller: Controller,
    client: NodeId,
    processes: u64,
    series: Vec<Sample>,
    minutes: i64,
    minutes_eclipsed: i64,
    /// Of each process that has begun anew: milliseconds to the first peer, and to the first honest one.
    again: Vec<[Option<i64>; 2]>,
}

impl Model for Newborn {
    fn trial(&self, seed: u64) -> Outcome {
        let mut run = self.begin(Stream::new(seed));
        let mut churn = run.stream.fork("churn");
        let mut first = None;
        for hour in 1..=self.settings.hours {
            run.go_through_an_hour();
            first = first.or_else(|| run.milliseconds_to(true).filter(|_| run.processes == 1));
            let restarts = self.settings.restart_hours;
            if restarts > 0 && hour.is_multiple_of(restarts) && hour < self.settings.hours {
                run.restart();
            }
            run.come_and_go(&mut churn);
        }
        run.note_process();
        run.outcome(first)
    }
}

impl Newborn {
    fn begin(&self, stream: Stream) -> Run<'_> {
        let mut draws = stream.fork("people");
        let Settings { honest, attackers, attacker_groups, encrypted, .. } = self.settings;
        let mut groups: Vec<u16> = (0x0200..0x6000).filter(|group| group >> 8 != 10).collect();
        draws.shuffle(&mut groups);
        let mut node = |group: u16| {
            let [a, b] = group.to_be_bytes();
            let rest = draws.below(0xfffe) as u16 + 1;
            let [c, d] = rest.to_be_bytes();
            SocketAddr::from(([a, b, c, d], PORT))
        };
        let honest: Vec<SocketAddr> = groups.iter().take(honest.into()).map(|group| node(*group)).collect();
        let theirs: Vec<u16> =
            groups.iter().skip(honest.len()).take(attacker_groups.into()).copied().collect();
        let mut attackers_at: BTreeSet<SocketAddr> = BTreeSet::new();
        while attackers_at.len() < attackers.into() {
            attackers_at.insert(node(theirs[attackers_at.len() % theirs.len()]));
        }
        let attackers: Vec<SocketAddr> = attackers_at.into_iter().collect();

        let config = |known: &[SocketAddr]| {
            let mut config = server::Config::new(NETWORK, [0; 32]);
            config.encryption = encrypted;
            config.addresses = known.iter().map(|addr| told(&config, *addr)).collect();
            config
        };
        let chain = Chain::new([genesis_block(NETWORK)]).expect("the first block is a chain");
        let mut known = honest.clone();
        if self.settings.attackers_are_known {
            known.extend(&attackers);
            draws.shuffle(&mut known);
        }
        let origin = Origin::new(config(&known), chain.clone());
        let mut world = World::new(stream.fork("world").u64(), BEGINS, Links::internet());
        let mut place = |addr| Place { region: INTERNET.pick(draws.u64()), ..Place::at(addr) };
        let mut state = stream.fork("states");
        let mut up = Vec::new();
        let honest = honest.iter().zip(0..).map(|(addr, number)| {
            let id = world.add(place(*addr), Member::Sleeper(LazyServer::new(&origin, number)));
            if state.happens(self.up) {
                up.push(*addr);
            } else {
                world.crash(id, Crash::Power);
                world.set_reach(id, Reach::Hidden);
            }
            (id, state.happens(self.intermittent))
        });
        let honest: Vec<(NodeId, bool)> = honest.collect();

        let controller = Controller::new(Budget::default());
        let mut means = Means::new(config(&attackers));
        means.tells = means.server.addresses.clone();
        // A thousand addresses are what a node may tell at first, and one in ten seconds from then on.
        means.pace = Duration::from_secs(100);
        let camp = Camp::new(Lie::AddressFlood, means, chain, 0);
        for (addr, number) in attackers.iter().zip(0..) {
            controller.take_address(*addr).expect("there is no limit");
            let one = camp.member(stream.fork_indexed("attacker", number).seed()).controlled_by(&controller);
            world.add(place(*addr), Member::Liar(Box::new(one)));
        }
        let mut order: Vec<&DnsSeed> = dns_seeds(NETWORK).iter().collect();
        let mut seeds = stream.fork("seeds");
        seeds.shuffle(&mut order);
        let (poisoned, right) = order.split_at(self.settings.poisoned.into());
        for seed in poisoned {
            poison(&mut world, seed, &attackers);
        }
        for seed in right {
            // What it has found up.
            seeds.shuffle(&mut up);
            let knows = &up[..up.len().min(SEED_KNOWS)];
            for query in seed.queries() {
                world.set_name(&query.host, Some(Name::of(knows.to_vec())));
            }
        }
        let config = self.config(&stream, 0);
        let client = add_client(&mut world, config, Place::at(([30, 200, 0, 1], PORT).into()));
        Run {
            model: self,
            world,
            stream,
            origin,
            honest,
            controller,
            client,
            processes: 1,
            series: Vec::new(),
            minutes: 0,
            minutes_eclipsed: 0,
            again: Vec::new(),
        }
    }

    fn config(&self, stream: &Stream, process: u64) -> Config {
        let mut config = Config::new(NETWORK, stream.fork_indexed("client", process).seed());
        config.encryption = if self.settings.encrypted { Encryption::Preferred } else { Encryption::Off };
        if let Some(discovery) = &mut config.discovery {
            // Nobody in this world has their addresses.
            discovery.fixed_seeds = false;
        }
        config
    }
}

/// How others are told of a node.
fn told(config: &server::Config, addr: SocketAddr) -> NodeAddress {
    let time = u32::try_from(BEGINS.as_secs()).unwrap_or(u32::MAX);
    NodeAddress { time, services: config.services, host: HostName::Ip(addr.ip()), port: addr.port() }
}

impl Run<'_> {
    fn is_theirs(&self, endpoint: &Endpoint) -> bool {
        matches!(endpoint, Endpoint::Address(addr) if self.controller.holds(*addr))
    }

    /// How many peers the client has, and how many of them are the attacker's.
    fn connected(&self) -> (i64, i64) {
        let connected = &log(&self.world, self.client).connected;
        let theirs = connected.iter().filter(|endpoint| self.is_theirs(endpoint)).count();
        (connected.len() as i64, theirs as i64)
    }

    fn go_through_an_hour(&mut self) {
        for minute in 0..60 {
            self.world.run_for(MINUTE);
            let (all, theirs) = self.connected();
            self.minutes += 1;
            self.minutes_eclipsed += i64::from(all > 0 && all == theirs);
            if minute % 10 == 9 {
                let at = (self.world.now() - Time::ZERO).as_secs();
                self.series.push(Sample { at, measure: "theirs_connected", value: theirs });
                self.series.push(Sample { at, measure: "connected", value: all });
            }
        }
    }

    /// The time from the start of the client's process to its first peer, or its first honest one.
    fn milliseconds_to(&self, honest: bool) -> Option<i64> {
        let met = &log(&self.world, self.client).met;
        let first = met.iter().find(|(_, endpoint)| !honest || !self.is_theirs(endpoint))?;
        i64::try_from(first.0.as_micros() / 1000).ok()
    }

    /// A process of the client's has ended, or is about to.
    fn note_process(&mut self) {
        if self.processes > 1 {
            self.again.push([self.milliseconds_to(false), self.milliseconds_to(true)]);
        }
    }

    fn restart(&mut self) {
        self.note_process();
        self.world.crash(self.client, Crash::Process);
        let fresh = |config| Host::new(Client::new(config), MemoryStore::new(), Log::default());
        let config = self.model.config(&self.stream, self.processes);
        let nobody = Member::Client(Box::new(fresh(config.clone())));
        let Member::Client(old) = core::mem::replace(self.world.node_mut(self.client), nobody) else {
            unreachable!("the client's number was given")
        };
        let (store, _) = old.into_parts();
        let host = Host::new(Client::new(config), store, Log::default());
        self.world.restart(self.client, Member::Client(Box::new(host)));
        self.processes += 1;
    }

    fn come_and_go(&mut self, churn: &mut Stream) {
        for (id, _) in self.honest.iter().filter(|(_, is_intermittent)| *is_intermittent) {
            if self.world.is_up(*id) {
                if churn.happens(self.model.leaves) {
                    self.world.crash(*id, Crash::Process);
                    self.world.set_reach(*id, Reach::Hidden);
                }
            } else if churn.happens(self.model.returns) {
                let server = LazyServer::new(&self.origin, churn.u64());
                self.world.set_reach(*id, Reach::Open);
                self.world.restart(*id, Member::Sleeper(server));
            }
        }
    }

    fn outcome(self, first: Option<i64>) -> Outcome {
        let (all, theirs) = self.connected();
        let spent = self.controller.spent();
        let mut outcome = Outcome { digest: self.world.digest(), ..Outcome::default() };
        let measures = &mut outcome.measures;
        measures.insert("eclipsed", Measure::Happened(all > 0 && all == theirs));
        measures.insert("met_honest", Measure::Happened(first.is_some()));
        let share = |part: i64, of: i64| Measure::Millionths(part * 1_000_000 / of.max(1));
        measures.insert("theirs", share(theirs, all));
        measures.insert("time_eclipsed", share(self.minutes_eclipsed, self.minutes));
        // Seconds, in millionths.
        if let Some(first) = first {
            measures.insert("seconds_to_honest", Measure::Millionths(first * 1000));
        }
        for (name, which) in [("seconds_to_peer", 0), ("seconds_to_honest_again", 1)] {
            let known: Vec<i64> = self.again.iter().filter_map(|times| times[which]).collect();
            if !known.is_empty() {
                let mean = known.iter().sum::<i64>() * 1000 / known.len() as i64;
                measures.insert(name, Measure::Millionths(mean));
            }
        }
        if !self.again.is_empty() {
            let without = self.again.iter().filter(|times| times[1].is_none()).count();
            measures.insert("restarts_without", Measure::Count(without as i64));
        }
        let count = |count: u64| Measure::Count(i64::try_from(count).unwrap_or(i64::MAX));
        let costs = [
            ("attacker_bytes", spent.bytes),
            ("attacker_addresses", spent.addresses),
            ("attacker_groups", spent.groups),
            ("attacker_hours", spent.seconds / 3600),
        ];
        measures.extend(costs.map(|(name, cost)| (name, count(cost))));
        outcome.series = self.series;
        outcome
    }
}
