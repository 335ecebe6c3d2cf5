//! The network around one node: who answers, who tells whom, and who comes and goes.

use std::collections::{BTreeMap, BTreeSet};

use andon_kernel::{Instant, Now, UnixTime};

use crate::erebus::world::{Churn, HONEST_GROUPS, World};
use crate::policy::{Address, Policy, Purpose, Source, Step, Told};
use crate::random::{Chance, Stream};

/// Everybody but the node.
pub(super) struct Network {
    pub(super) stream: Stream,
    world: World,
    /// By number: the honest, then the attacker's.
    addresses: Vec<Address>,
    /// Of nodes that can be reached at times.
    found: BTreeMap<Address, u32>,
    pub(super) now: u32,
    gossip: Gossip,
    /// Thousandths of an address that are due.
    credit: u64,
    /// How much of a day is due to those who connect, in parts of a day's seconds.
    connect_credit: u64,
    /// The share of what is told that is of the attacker's.
    pub(super) attacker_told: Chance,
    /// Whom the node is connected to, as it was told.
    connected: BTreeSet<Address>,
    pub(super) counts: Counts,
}

/// What honest nodes tell, and how many come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gossip {
    pub(super) reachable: Chance,
    pub(super) per_1000s: u32,
    pub(super) connect_per_day: u32,
}

/// What has happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Dials.
    pub(super) dials: u64,
    /// Dials that only tested.
    pub(super) feelers: u64,
    /// Dials that were answered.
    pub(super) reached: u64,
    /// Honest nodes among those that were dialled first after the last restart, and answered.
    pub(super) anchors: u64,
}

pub(super) struct Size {
    pub(super) reachable: u32,
    pub(super) unreachable: u32,
    pub(super) days: u32,
    pub(super) attackers: u32,
    pub(super) attacker_groups: u32,
}

/// When it all began: any time.
const START: u32 = 1_735_689_600;
/// Time is looked at in steps of so many seconds, and whenever the node wants to.
const STEP: u32 = 20;
const DAY: u32 = 24 * 60 * 60;
/// Groups begin here: those that follow are routable.
const FIRST_GROUP: u32 = 0x1000;
/// What an answer to `getaddr` has.
const ANSWER: u32 = 1000;
const SEEDS: u8 = 4;
const SEED_ANSWER: u32 = 25;
/// Steps of the node at one moment: more are a mistake.
const MOST_STEPS: u32 = 100_000;

impl Network {
    pub(super) fn new(size: &Size, gossip: Gossip, churn: Churn, mut stream: Stream) -> Self {
        let world = World::new(size.reachable, size.unreachable, size.days, churn, &mut stream);
        let mut taken = BTreeSet::new();
        let mut address = |group: u32, node: u32| {
            let mut host = crate::random::mix(node.into()) as u16;
            let at = |host: u16| Address { ip: (FIRST_GROUP + group) << 16 | u32::from(host), port: 8333 };
            while !taken.insert(at(host)) {
                host = host.wrapping_add(1);
            }
            at(host)
        };
        let honest = (0..world.end()).map(|node| (u32::from(world.group(node)), node));
        let attackers = (0..size.attackers)
            .map(|number| (HONEST_GROUPS as u32 + number % size.attacker_groups, world.end() + number));
        let addresses: Vec<Address> =
            honest.chain(attackers).map(|(group, node)| address(group, node)).collect();
        let found = (0..).zip(&addresses).map(|(node, address)| (*address, node)).collect();
        Self {
            stream,
            world,
            addresses,
            found,
            now: START,
            gossip,
            credit: 0,
            connect_credit: 0,
            attacker_told: Chance::NEVER,
            connected: BTreeSet::new(),
            counts: Counts::default(),
        }
    }

    pub(super) fn time(&self) -> Now {
        let instant = Instant::from_micros(u64::from(self.now - START + 1) * 1_000_000);
        Now { instant, unix: UnixTime::from_secs(self.now.into()) }
    }

    pub(super) const fn is_attacker(address: Address) -> bool {
        address.ip >> 16 >= FIRST_GROUP + HONEST_GROUPS as u32
    }

    pub(super) fn attackers(&self) -> &[Address] {
        &self.addresses[self.world.end() as usize..]
    }

    /// So many of the attacker's addresses.
    pub(super) fn addresses_of_attacker(&mut self, count: usize) -> Vec<Address> {
        let first = self.world.end() as usize;
        (0..count).map(|_| self.addresses[first + self.stream.index(self.addresses.len() - first)]).collect()
    }

    /// Lets ten minutes go by without a word: the node finds whom it can.
    pub(super) fn fill(&mut self, policy: &mut dyn Policy) {
        for _ in 0..600 {
            self.now += 1;
            self.settle(policy);
        }
    }

    pub(super) fn start(&mut self, policy: &mut dyn Policy) {
        self.connected.clear();
        self.counts.anchors = 0;
        policy.start(self.time());
        self.settle(policy);
    }

    /// Lets a day go by.
    pub(super) fn day(&mut self, policy: &mut dyn Policy) {
        self.world.day(self.now, &mut self.stream);
        for _ in 0..DAY / STEP {
            self.now += STEP;
            self.gossip(policy);
            self.connect(policy);
            self.drop_gone(policy);
            self.settle(policy);
        }
    }

    /// Does what the node wants to do now.
    pub(super) fn settle(&mut self, policy: &mut dyn Policy) {
        for _ in 0..MOST_STEPS {
            let now = self.time();
            match policy.next(now) {
                Step::Wait(_) => return,
                Step::Close(address) => {
                    self.connected.remove(&address);
                }
                Step::AskSeeds => {
                    for seed in 0..SEEDS {
                        let told: Vec<Told> = (0..SEED_ANSWER)
                            .map(|_| {
                                let node = self.world.anybody(self.now, &mut self.stream);
                                Told {
                                    address: self.addresses[node as usize],
                                    time: self.now - 4 * DAY,
                                    serves: true,
                                }
                            })
                            .collect();
                        policy.hear(now, Source::DnsSeed(seed), &told, true);
                    }
                }
                Step::Dial { address, purpose } => self.dial(policy, address, purpose),
            }
        }
        panic!("a node at rest waits");
    }

    fn dial(&mut self, policy: &mut dyn Policy, address: Address, purpose: Purpose) {
        self.counts.dials += 1;
        self.counts.feelers += u64::from(purpose == Purpose::Feeler);
        let now = self.time();
        if !self.is_up(address) {
            policy.failed(now, address, purpose);
            return;
        }
        self.counts.reached += 1;
        self.counts.anchors += u64::from(purpose == Purpose::Anchor && !Self::is_attacker(address));
        if !policy.connected(now, address, purpose) {
            return;
        }
        self.connected.insert(address);
        if purpose == Purpose::Full {
            let told: Vec<Told> = (0..ANSWER).map(|_| self.told(Self::is_attacker(address))).collect();
            policy.hear(now, Source::Peer(address), &told, true);
        }
    }

    fn is_up(&self, address: Address) -> bool {
        Self::is_attacker(address)
            || self.found.get(&address).is_some_and(|node| self.world.is_up(*node, self.now))
    }

    /// What somebody tells: the attacker of its own alone.
    fn told(&mut self, by_attacker: bool) -> Told {
        if by_attacker || self.stream.happens(self.attacker_told) {
            let attackers = self.addresses.len() - self.world.end() as usize;
            if attackers > 0 {
                let at = self.world.end() as usize + self.stream.index(attackers);
                return Told { address: self.addresses[at], time: self.now, serves: true };
            }
        }
        let heard = self.world.heard(self.gossip.reachable, self.now, &mut self.stream);
        Told { address: self.addresses[heard.node as usize], time: heard.time, serves: true }
    }

    /// Honest peers tell unasked: those that the node is connected to, each as often.
    fn gossip(&mut self, policy: &mut dyn Policy) {
        self.credit += u64::from(self.gossip.per_1000s * STEP);
        let count = (self.credit / 1000) as usize;
        self.credit %= 1000;
        let peers: Vec<Address> = self.connected.iter().copied().collect();
        if peers.is_empty() {
            return;
        }
        for _ in 0..count {
            let peer = peers[self.stream.index(peers.len())];
            let told = self.told(Self::is_attacker(peer));
            policy.hear(self.time(), Source::Peer(peer), &[told], false);
        }
    }

    /// Honest nodes connect, evenly over the day: the node has room for them, and they don't stay.
    fn connect(&mut self, policy: &mut dyn Policy) {
        self.connect_credit += u64::from(self.gossip.connect_per_day) * u64::from(STEP);
        while self.connect_credit >= u64::from(DAY) {
            self.connect_credit -= u64::from(DAY);
            let node = self.world.anybody(self.now, &mut self.stream);
            policy.accepted(self.time(), self.addresses[node as usize]);
        }
    }

    fn drop_gone(&mut self, policy: &mut dyn Policy) {
        let gone: Vec<Address> =
            self.connected.iter().copied().filter(|address| !self.is_up(*address)).collect();
        for address in gone {
            self.connected.remove(&address);
            policy.ended(self.time(), address);
        }
    }
}
