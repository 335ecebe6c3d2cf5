//! A real client with one honest peer and one that lies: it comes to the truth, whatever the lie, and the lie was told.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use andon_bitcoin::client::{
    Birthday, Client, Command, Config, Encryption, Endpoint, Event, Misbehaviour, Reason, TouchKind,
};
use andon_bitcoin::server::{self, Chain, Server};
use andon_bitcoin::wire::{Host as HostName, NodeAddress};
use andon_kernel::{Checked, Instant, MemoryStore, Now, UnixTime};
use andon_sim::adversary::{Budget, Camp, Controller, Garbage, Lie, LyingServer, Means, Squatter};
use andon_sim::nodes::{Mine, mine};
use andon_sim::world::{Host, Links, Node, NodeId, NodeInput, Place, Port, Time, World};
use bitcoin::{Network, OutPoint, ScriptBuf};

type ClientHost = Host<Checked<Client>, MemoryStore, Vec<Event>>;
type ServerHost = Host<Checked<Server>, MemoryStore, Vec<server::Event>>;

enum Member {
    Client(Box<ClientHost>),
    Server(Box<ServerHost>),
    Liar(Box<LyingServer>),
    Squatter(Box<Squatter>),
}

impl Member {
    fn node(&self) -> &dyn Node {
        match self {
            Self::Client(node) => &**node,
            Self::Server(node) => &**node,
            Self::Liar(node) => &**node,
            Self::Squatter(node) => &**node,
        }
    }
}

impl Node for Member {
    fn turn(&mut self, now: Now, input: NodeInput<'_>, port: &mut Port<'_>) {
        match self {
            Self::Client(node) => node.turn(now, input, port),
            Self::Server(node) => node.turn(now, input, port),
            Self::Liar(node) => node.turn(now, input, port),
            Self::Squatter(node) => node.turn(now, input, port),
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.node().deadline()
    }

    fn reads(&self) -> bool {
        self.node().reads()
    }
}

const BEGINS: UnixTime = UnixTime::from_secs(1_800_000_000);

/// The client's script.
fn watched() -> ScriptBuf {
    mine::script(1 << 40)
}

/// Every fifth block pays the client.
fn pays(height: u32) -> Vec<ScriptBuf> {
    let all = [mine::script(height.into()), watched()];
    all[..1 + usize::from(height.is_multiple_of(5))].to_vec()
}

fn quarry(blocks: u32) -> Mine {
    let mut quarry = Mine::new(7, 600);
    quarry.grow(blocks, pays);
    quarry
}

fn address(node: u8) -> SocketAddr {
    SocketAddr::from(([20, node, 0, 1], 18_444))
}

fn served(node: u8) -> server::Config {
    server::Config::new(Network::Regtest, [node + 100; 32])
}

/// A client with an honest peer, the first, and those that are put beside it.
struct Scene {
    world: World<Member>,
    quarry: Mine,
    client: NodeId,
    honest: NodeId,
    liars: Vec<NodeId>,
}

impl Scene {
    fn new(seed: u64, quarry: Mine, encryption: Encryption, liars: Vec<LyingServer>) -> Self {
        Self::with(seed, quarry, liars, |config| config.encryption = encryption)
    }

    fn with(seed: u64, quarry: Mine, liars: Vec<LyingServer>, change: impl FnOnce(&mut Config)) -> Self {
        let mut world = World::new(seed, BEGINS, Links::internet());
        let server = Checked::new(Server::new(served(0), quarry.chain().clone()));
        let host = Host::new(server, MemoryStore::new(), Vec::new());
        let honest = world.add(Place::at(address(0)), Member::Server(Box::new(host)));
        let liars: Vec<NodeId> = (1..)
            .zip(liars)
            .map(|(node, liar)| world.add(Place::at(address(node)), Member::Liar(Box::new(liar))))
            .collect();
        let mut config = Config::new(Network::Regtest, [1; 32]);
        config.discovery = None;
        config.peers = (0..=liars.len() as u8).map(|node| Endpoint::Address(address(node))).collect();
        change(&mut config);
        let host = Host::new(Checked::new(Client::new(config)), MemoryStore::new(), Vec::new());
        let client = world.add(Place::at(address(200)), Member::Client(Box::new(host)));
        world.run_until(Time::ZERO);
        let mut scene = Self { world, quarry, client, honest, liars };
        scene.command(Command::Watch { scripts: vec![watched()], from: Birthday::Height(0) });
        scene
    }

    fn command(&mut self, command: Command) {
        self.world.with(self.client, |member, now, port| match member {
            Member::Client(host) => host.command(now, command, port),
            _ => unreachable!(),
        });
    }

    fn events(&self) -> &[Event] {
        match self.world.node(self.client) {
            Member::Client(host) => &host.watch,
            _ => unreachable!(),
        }
    }

    fn liar(&self, index: usize) -> &LyingServer {
        match self.world.node(self.liars[index]) {
            Member::Liar(liar) => liar,
            _ => unreachable!(),
        }
    }

    /// The honest chain grows, and all hear of it.
    fn grow(&mut self, count: u32) {
        self.quarry.grow(count, pays);
        self.tell();
    }

    fn tell(&mut self) {
        let chain: Chain = self.quarry.chain().clone();
        self.world.with(self.honest, |member, now, port| match member {
            Member::Server(host) => host.command(now, server::Command::Follow(chain.clone()), port),
            _ => unreachable!(),
        });
        for liar in self.liars.clone() {
            self.world.with(liar, |member, now, port| match member {
                Member::Liar(liar) => liar.follow(now, &chain, port),
                _ => unreachable!(),
            });
        }
    }

    fn found(&self) -> BTreeSet<(u32, OutPoint)> {
        let mut found = BTreeSet::new();
        for event in self.events() {
            match event {
                Event::Touched(touch) | Event::TakenBack(touch) => {
                    let TouchKind::Received { output } = touch.kind else { continue };
                    let one = (touch.block.height, OutPoint { txid: touch.txid, vout: output });
                    let is_new = matches!(event, Event::Touched(_));
                    let fits = if is_new { found.insert(one) } else { found.remove(&one) };
                    assert!(fits, "{event:?} does not follow from what was told before");
                }
                _ => {}
            }
        }
        found
    }

    fn truth(&self) -> BTreeSet<(u32, OutPoint)> {
        let chain = self.quarry.chain();
        let mut all = BTreeSet::new();
        for height in 0..=chain.height() {
            for transaction in chain.block_at(height).unwrap().txdata {
                let txid = transaction.compute_txid();
                for (vout, output) in (0..).zip(&transaction.output) {
                    if output.script_pubkey == watched() {
                        all.insert((height, OutPoint { txid, vout }));
                    }
                }
            }
        }
        all
    }

    fn is_at_the_truth(&self) -> bool {
        let synced = self.events().iter().rev().find_map(|event| match event {
            Event::Synced(block) => Some(block.hash),
            _ => None,
        });
        synced == Some(self.quarry.chain().tip()) && self.found() == self.truth()
    }

    /// Runs until the client has the truth.
    fn come_to_the_truth(&mut self, seconds: u64, what: &str) {
        let limit = self.world.now() + Duration::from_secs(seconds);
        // Looked at each tenth of a second: looking takes time.
        while !self.is_at_the_truth() {
            assert!(
                self.world.now() < limit,
                "{what}: the truth did not come in {seconds} s: {:?} of {:?}; {:?}",
                self.found().len(),
                self.truth().len(),
                self.events()
            );
            self.world.run_for(Duration::from_millis(100));
        }
    }

    fn reasons(&self) -> impl Iterator<Item = &Reason> {
        self.events().iter().filter_map(|event| match event {
            Event::PeerDisconnected { reason, .. } => Some(reason),
            _ => None,
        })
    }

    fn misbehaviours(&self) -> impl Iterator<Item = Misbehaviour> {
        self.reasons().filter_map(|reason| match reason {
            Reason::Misbehaved(misbehaviour) => Some(*misbehaviour),
            _ => None,
        })
    }
}

fn means(node: u8) -> Means {
    let mut means = Means::new(served(node));
    means.hides = vec![watched()];
    means.from = 12;
    means.tells = (0..3000u32)
        .map(|index| {
            let [_, a, b, c] = index.wrapping_mul(7919).to_be_bytes();
            let ip = [60 + a % 64, b, c, 1];
            let services = served(node).services;
            NodeAddress { time: 0, services, host: HostName::Ip(ip.into()), port: 18_444 }
        })
        .collect();
    means
}

/// What the client tells that names the lie; `None`: nothing has to, for an honest node may do the same for a while.
fn names(lie: Lie) -> Option<fn(&Scene) -> bool> {
    Some(match lie {
        Lie::FalseFilterHeaders => |scene| {
            let is_proof = |event: &Event| matches!(event, Event::FalseFilter { omission: Some(_), block, .. } if block.height == 15);
            scene.events().iter().any(is_proof)
                && scene.misbehaviours().any(|named| named == Misbehaviour::FalseFilterHeader(15))
        },
        Lie::FalseFilters => |scene| scene.misbehaviours().any(|named| named == Misbehaviour::WrongFilter),
        Lie::OmittedFilters => {
            |scene| scene.events().iter().any(|event| matches!(event, Event::FilterLeftOut { .. }))
        }
        Lie::Garbage | Lie::LowWorkFlood => |scene| scene.misbehaviours().next().is_some(),
        Lie::AddressFlood
        | Lie::LaggingIndex
        | Lie::ReorganisationStorm
        | Lie::RepeatedAnnouncements
        | Lie::SlowDrip
        | Lie::StaleChain
        | Lie::WithheldBlocks
        // It is named if nobody else has shown what it claims.
        | Lie::WithheldHeaders => return None,
    })
}

fn one_liar(lie: Lie, blocks: u32, encryption: Encryption, seed: u64) -> Scene {
    let quarry = quarry(blocks);
    let liar = LyingServer::new(lie, means(1), quarry.chain(), seed);
    let mut scene = Scene::new(seed, quarry, encryption, vec![liar]);
    let what = format!("{lie}, {encryption:?}, seed {seed}");
    scene.come_to_the_truth(600, &what);
    // The tip goes on, and a little later comes another block: whoever heard of a branch first has to leave it by then.
    scene.grow(2);
    scene.world.run_for(Duration::from_secs(30));
    scene.grow(1);
    scene.come_to_the_truth(600, &what);
    scene
}

fn beside_one_honest_peer_the_truth_comes_out(lie: Lie) {
    for (seed, encryption) in [(1, Encryption::Off), (2, Encryption::Preferred)] {
        let blocks = match lie {
            // So many that both are asked for some.
            Lie::FalseFilters | Lie::OmittedFilters => 600,
            // So many that a chain of a whole message has too little work.
            Lie::LowWorkFlood => 2400,
            _ => 60,
        };
        let scene = one_liar(lie, blocks, encryption, seed);
        let told = scene.liar(0).told();
        println!("{lie}: {told:?}\n  {:?}", scene.reasons().collect::<Vec<_>>());
        assert!(scene.liar(0).times() > 0, "{lie} was not told: {told:?}");
        if let Some(is_named) = names(lie) {
            assert!(is_named(&scene), "{lie} was not named: {:?}", scene.reasons().collect::<Vec<_>>());
        }
    }
}

macro_rules! lies {
    ($($name:ident: $lie:ident,)*) => {
        $(#[test]
        fn $name() {
            beside_one_honest_peer_the_truth_comes_out(Lie::$lie);
        })*

        #[test]
        fn each_lie_has_its_test() {
            assert_eq!(Lie::ALL.to_vec(), [$(Lie::$lie),*]);
        }
    };
}

lies! {
    address_flood: AddressFlood,
    false_filter_headers: FalseFilterHeaders,
    false_filters: FalseFilters,
    garbage: Garbage,
    lagging_index: LaggingIndex,
    low_work_flood: LowWorkFlood,
    omitted_filters: OmittedFilters,
    reorganisation_storm: ReorganisationStorm,
    repeated_announcements: RepeatedAnnouncements,
    slow_drip: SlowDrip,
    stale_chain: StaleChain,
    withheld_blocks: WithheldBlocks,
    withheld_headers: WithheldHeaders,
}

#[test]
fn garbage_of_every_kind_is_outlived() {
    let quarry = quarry(30);
    for encryption in [Encryption::Off, Encryption::Preferred] {
        let camp = Camp::new(Lie::Garbage, means(1), quarry.chain().clone(), 3);
        let mut scene = Scene::new(3, quarry.clone(), encryption, vec![camp.member([9; 32])]);
        scene.come_to_the_truth(600, "garbage");
        // The client dials again and again, more and more seldom.
        while scene.liar(0).told().connections < 2 * Garbage::ALL.len() as u64 {
            let before = scene.liar(0).told().connections;
            scene.world.run_for(Duration::from_secs(600));
            let told = scene.liar(0).told();
            // What does no harm may go on as long as it is little.
            if told.connections == before && told.garbage > 0 {
                let liar = scene.liars[0];
                scene.world.cut(liar, None);
            }
        }
        let named: BTreeSet<String> = scene.misbehaviours().map(|named| format!("{named:?}")).collect();
        println!("{encryption:?}: {named:#?}");
        assert!(named.len() > 7, "{named:?}");
        scene.grow(5);
        scene.come_to_the_truth(600, "garbage, later");
    }
}

#[test]
fn a_camp_of_seven_is_beaten_by_one() {
    let quarry = quarry(100);
    let camp = Camp::new(Lie::FalseFilterHeaders, means(1), quarry.chain().clone(), 3);
    let liars = (0..7).map(|liar| camp.member([liar; 32])).collect();
    let mut scene = Scene::new(4, quarry, Encryption::Off, liars);
    scene.come_to_the_truth(600, "seven liars");
    scene.grow(5);
    scene.come_to_the_truth(600, "seven liars, later");
    let told = (0..7).filter(|liar| scene.liar(*liar).told().false_filter_headers > 0).count();
    assert!(told >= 2, "{told}");
}

#[test]
fn two_of_a_camp_say_the_same_and_two_camps_do_not() {
    let chain = quarry(40).chain().clone();
    let said = |seed: u64, own: u8, lie: Lie| {
        let camp = Camp::new(lie, means(own), chain.clone(), seed);
        let liars = vec![camp.member([own; 32]), camp.member([own + 1; 32])];
        let mut scene = Scene::with(5, quarry(40), liars, |config| {
            config.encryption = Encryption::Off;
            // The honest one is not among them.
            config.peers.remove(0);
        });
        scene.world.run_for(Duration::from_secs(60));
        let synced =
            scene.events().iter().any(|event| matches!(event, Event::Synced(block) if block.height == 40));
        let filter_headers =
            scene.events().iter().filter(|event| matches!(event, Event::FilterHeadersDisputed { .. }));
        (synced, filter_headers.count(), scene.found().len())
    };
    // Whoever asks only them believes them: the payments up to height 10 are all that is found.
    assert_eq!(said(1, 1, Lie::FalseFilterHeaders), (true, 0, 2));
    assert_eq!(said(2, 3, Lie::StaleChain).2, 2);
}

#[test]
fn who_waits_is_honest_until_the_strike() {
    let quarry = quarry(60);
    let budget = Budget { addresses: Some(1), bytes: Some(200_000), ..Budget::default() };
    let controller = Controller::new(budget);
    controller.take_address(address(1)).unwrap();
    assert!(controller.take_address(address(2)).is_err());
    controller.strike(false);
    let liar =
        LyingServer::new(Lie::RepeatedAnnouncements, means(1), quarry.chain(), 1).controlled_by(&controller);
    let mut scene = Scene::new(6, quarry, Encryption::Off, vec![liar]);
    scene.come_to_the_truth(60, "it waits");
    scene.world.run_for(Duration::from_secs(300));
    assert_eq!(scene.liar(0).times(), 0);
    controller.strike(true);
    // It strikes with whatever it does next: an answer to a ping at the latest.
    scene.grow(1);
    scene.world.run_for(Duration::from_secs(3600));
    scene.grow(1);
    scene.come_to_the_truth(60, "it strikes");
    let told = *scene.liar(0).told();
    assert!(told.announcements > 0, "{told:?}");
    let spent = controller.spent();
    assert_eq!((spent.addresses, spent.groups, spent.bytes), (1, 1, told.bytes));
    assert!(controller.is_exhausted(scene.world.unix()), "{spent:?}");
    scene.world.run_for(Duration::from_secs(3600));
    assert_eq!(scene.liar(0).told().announcements, told.announcements, "what was spent is spent");
    assert!(controller.spent().seconds >= 7200);
}

/// Heilman et al. (2015) give some 4 bytes a second as the cost of keeping the 117 connections that a node had for others; since then
/// nodes ping each two minutes and have 114.
#[test]
fn who_takes_all_places_leaves_none() {
    let quarry = quarry(20);
    let mut scene = Scene::with(7, quarry, Vec::new(), |config| config.paused = true);
    let controller = Controller::new(Budget::default());
    let mut squatters = Vec::new();
    for node in 0..6 {
        let at = address(100 + node);
        controller.take_address(at).unwrap();
        let squatter = Squatter::new(Network::Regtest, address(0), 19).controlled_by(&controller);
        squatters.push(scene.world.add(Place::at(at), Member::Squatter(Box::new(squatter))));
    }
    scene.world.run_for(Duration::from_secs(60));
    let held = |scene: &Scene| -> usize {
        let of = |id: &NodeId| match scene.world.node(*id) {
            Member::Squatter(squatter) => squatter.holds(),
            _ => unreachable!(),
        };
        squatters.iter().map(of).sum()
    };
    assert_eq!(held(&scene), 114);
    scene.command(Command::Resume(None));
    scene.world.run_for(Duration::from_secs(6 * 3600));
    assert_eq!(held(&scene), 114, "the places are kept");
    let refused = scene.reasons().filter(|reason| matches!(reason, Reason::ClosedBeforeVersion)).count();
    assert!(refused > 0 && scene.found().is_empty(), "{:?}", scene.reasons().collect::<Vec<_>>());
    let spent = controller.spent();
    assert_eq!((spent.addresses, spent.groups), (6, 6));
    // A pong for each ping in two minutes, of 32 bytes.
    let rate = spent.bytes / spent.seconds;
    assert!((25..40).contains(&rate), "{rate} bytes a second: {spent:?}");
    controller.strike(false);
    for squatter in squatters {
        scene.world.crash(squatter, andon_sim::world::Crash::Process);
    }
    scene.come_to_the_truth(3600, "there is room again");
}
