//! A world as a scenario has it, and what happens in it.

use core::time::Duration;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::Arc;

use andon_bitcoin::client::{self, Birthday, Client, Command, Config, Discovery, Endpoint, WatchedOutput};
use andon_bitcoin::server::{self, Chain, Server};
use andon_bitcoin::wire::{Host as NodeHost, NodeAddress};
use andon_kernel::{Checked, Store, UnixTime};
use bitcoin::p2p::ServiceFlags;
use bitcoin::{Block, Network, OutPoint};

use super::explain::Explaining;
use super::failure::Fault;
use super::member::{Member, Watched as WatchedClient};
use super::sabotage::Sabotage;
use super::scenario::{Cache, Crash, Encryption, Given, LinksPart, PeerPart, Scenario, What};
use super::seen::{Seen, Sight};
use super::wallet::{Judge, Wallet};
use crate::adversary::{Lie, LyingServer, Means};
use crate::chain::{History, Maker, Mined, Trunk, script};
use crate::random::{Chance, Stream};
use crate::world::{
    self, Disk, Host, Latency, Links, Name, NodeId, Pace, Place, Reach, Room, Time, Watch, World,
};

/// A world, and what is known of it.
pub(super) struct Stage {
    pub(super) world: World<Member>,
    pub(super) client: NodeId,
    scenario: Scenario,
    sabotage: Option<Sabotage>,
    peers: BTreeMap<u8, Peer>,
    pub(super) history: History,
    honest: BTreeSet<SocketAddr>,
    honest_names: BTreeSet<String>,
    /// What ends when.
    agenda: BTreeMap<(Time, u64), Due>,
    added: u64,
    /// How many processes the client has had.
    processes: u64,
    /// Whether the one that there is has been told to stop.
    is_stopping: bool,
    /// Whether it is configured the other way.
    is_changed: bool,
    pub(super) seen: Seen,
}

/// A node that serves a chain.
struct Peer {
    part: PeerPart,
    node: NodeId,
    /// What it serves, also when it comes back.
    blocks: Vec<Arc<Mined>>,
    chain: Chain,
    /// Whether it ever had blocks of its own: then it can't share the best chain.
    is_apart: bool,
}

/// What ends.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Due {
    ClientBack,
    PeerBack(u8),
    Reachable(u8),
    Joined,
    Fast(u8),
    Weather,
    Clock,
    Names,
    Disk,
    Application,
    Resume,
    Given(u8),
}

/// Where the client is.
const CLIENT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)), PORT);
const PORT: u16 = 18_444;

/// How many messages that nobody asked for a liar sends over one connection.
const MOST_UNASKED: u64 = 40;

/// How many groups of addresses there can be.
pub(super) const GROUPS: u8 = 30;

/// Where a node is.
pub(super) fn address(part: &PeerPart) -> SocketAddr {
    SocketAddr::from(([60 + part.group % GROUPS, 1, part.number, 1], PORT))
}

/// What it is called.
pub(super) fn name(number: u8) -> String {
    format!("peer{number}.example")
}

impl Stage {
    /// A world that is about to begin. The scenario is a sound one.
    pub(super) fn new(scenario: &Scenario, sabotage: Option<Sabotage>) -> Self {
        let trunk = Trunk::of(scenario.trunk);
        let begins = UnixTime::from_secs(u64::from(trunk.time()) + u64::from(scenario.age));
        let stream = Stream::new(scenario.seed);
        let mut world = World::new(stream.fork("world").u64(), begins, links(scenario.links));
        let history = History::new(trunk);
        let mut peers = BTreeMap::new();
        let (mut honest, mut honest_names) = (BTreeSet::new(), BTreeSet::new());
        for part in &scenario.peers {
            let (blocks, chain) = (history.best().to_vec(), history.chain().clone());
            if part.lie.is_none() {
                honest.insert(address(part));
                honest_names.insert(name(part.number));
            }
            let place = Place { region: part.region, bandwidth: (part.line, 0), ..Place::at(address(part)) };
            let node = world.add(place, Member::Nobody);
            peers.insert(part.number, Peer { part: part.clone(), node, blocks, chain, is_apart: false });
        }
        let place = Place { bandwidth: (0, scenario.client.line), ..Place::at(CLIENT) };
        let client = world.add(place, Member::Nobody);
        let mut stage = Self {
            world,
            client,
            scenario: scenario.clone(),
            sabotage,
            peers,
            history,
            honest,
            honest_names,
            agenda: BTreeMap::new(),
            added: 0,
            processes: 0,
            is_stopping: false,
            is_changed: false,
            seen: Seen::default(),
        };
        stage.set_names(true);
        for number in stage.numbers() {
            let member = stage.member(&stage.peers[&number]);
            *stage.world.node_mut(stage.peers[&number].node) = member;
        }
        let wallet = Wallet::new(scenario.client.room as usize, scenario.client.acknowledged, sabotage);
        let disk = Disk::new(stage.pace(), stream.fork("disk"));
        *stage.world.node_mut(client) = stage.process(disk, wallet);
        let liars = scenario.peers.iter().filter(|part| part.lie.is_some()).count();
        if liars > 0 && scenario.peers.len() - liars == 1 {
            stage.seen.note(Sight::OneHonest);
        }
        stage
    }

    /// A process of the client's on what there is.
    fn process(&mut self, disk: Disk, wallet: Wallet) -> Member {
        self.processes += 1;
        let client = Checked::new(Client::new(self.config()));
        Member::client(Host::new(client, disk, wallet), self.sabotage)
    }

    fn config(&self) -> Config {
        let part = &self.scenario.client;
        let stream = Stream::new(self.scenario.seed);
        let mut config = Config::new(Network::Regtest, stream.fork_indexed("client", self.processes).seed());
        config.encryption = match part.encryption {
            Encryption::Preferred => client::Encryption::Preferred,
            Encryption::Required => client::Encryption::Required,
            Encryption::Off => client::Encryption::Off,
        };
        config.filter_header_quorum = part.quorum;
        let cache = match (part.cache, self.is_changed) {
            (cache, false) => cache,
            (Cache::Off, true) => Cache::All,
            (Cache::All, true) => Cache::Bytes(3000),
            (Cache::Bytes(_), true) => Cache::Off,
        };
        config.filter_cache = match cache {
            Cache::Off => client::FilterCache::Off,
            Cache::All => client::FilterCache::All,
            Cache::Bytes(bytes) => client::FilterCache::Bytes(bytes),
        };
        config.newest_first = part.newest_first != self.is_changed;
        config.acknowledged = part.acknowledged;
        config.discovery = (part.discovery > 0)
            .then(|| Discovery { connections: part.discovery.into(), ..Discovery::default() });
        config.metered = part.metered;
        config.decoy_blocks = NonZeroU32::new(part.decoy_blocks);
        config.decoys = (part.decoys > 0).then_some(part.decoys);
        config.filter_window = part.window as usize;
        config.stall_timeout = Duration::from_millis(part.stall.into());
        config.retry_delay = Duration::from_millis(part.retry.into());
        config.peers = self.peers.values().filter_map(|peer| endpoint(&peer.part)).collect();
        config
    }

    /// A process of a node's that serves a chain.
    fn member(&self, peer: &Peer) -> Member {
        let config = self.server(peer);
        let Some(lie) = peer.part.lie else {
            return Member::server(Server::new(config, peer.chain.clone()));
        };
        let mut means = Means::new(config);
        means.from = peer.part.since.max(1);
        means.hides = peer.part.hides.iter().map(|number| script(*number)).collect();
        means.most = MOST_UNASKED;
        // Nobody is there.
        let nowhere = |number: u32| NodeAddress {
            time: 0,
            services: services(&peer.part),
            host: NodeHost::Ip(std::net::Ipv4Addr::from(0x6e00_0001 + (number << 12)).into()),
            port: PORT,
        };
        means.tells = (0..300).map(nowhere).collect();
        // Those who lie in the same way say the same.
        let seed = Stream::new(self.scenario.seed).fork(lie.name()).u64();
        Member::Liar(Box::new(LyingServer::new(lie, means, self.history.chain(), seed)))
    }

    fn server(&self, peer: &Peer) -> server::Config {
        let stream = Stream::new(self.scenario.seed);
        let seed = stream.fork_indexed("server", peer.part.number.into()).seed();
        let mut config = server::Config::new(Network::Regtest, seed);
        config.encryption = peer.part.encrypts;
        config.services = services(&peer.part);
        config.filter_index_height = (peer.part.lags_from > 0).then_some(peer.part.lags_from);
        if peer.part.tells {
            let time = self.world.unix().as_secs() as u32;
            let entry = |peer: &Peer| {
                let address = address(&peer.part);
                let mut services = services(&peer.part);
                if peer.part.encrypts {
                    services |= ServiceFlags::P2P_V2;
                }
                NodeAddress { time, services, host: NodeHost::Ip(address.ip()), port: address.port() }
            };
            // Nobody hears of all that a node knows; some of these are long gone.
            let gone = (0..12).map(|number| {
                let ip = std::net::Ipv4Addr::new(120 + number, 1, 1, 1);
                let host = NodeHost::Ip(ip.into());
                NodeAddress { time, services: services(&peer.part), host, port: PORT }
            });
            config.addresses = self.peers.values().map(entry).chain(gone).collect();
        }
        config
    }

    fn pace(&self) -> Pace {
        if self.scenario.client.slow_disk { Pace::SLOW } else { Pace::SOLID_STATE }
    }

    fn numbers(&self) -> Vec<u8> {
        self.peers.keys().copied().collect()
    }

    // Looking.

    /// The client, unless something has panicked while there was none.
    pub(super) fn client(&self) -> Option<&WatchedClient> {
        self.world.node(self.client).as_client()
    }

    pub(super) fn watched(&self) -> &WatchedClient {
        self.world.node(self.client).as_client().expect("the client's place has the client")
    }

    pub(super) fn watched_mut(&mut self) -> &mut WatchedClient {
        self.world.node_mut(self.client).as_client_mut().expect("the client's place has the client")
    }

    pub(super) fn wallet(&self) -> &Wallet {
        &self.watched().host.watch
    }

    pub(super) fn wallet_mut(&mut self) -> &mut Wallet {
        &mut self.watched_mut().host.watch
    }

    /// The application takes in what it has been told, and says what is wrong with it.
    pub(super) fn judge(&mut self) -> Result<(), Fault> {
        let is_mined_elsewhere = self.is_mined_elsewhere();
        loop {
            let judge = Judge {
                history: &self.history,
                honest: &self.honest,
                honest_names: &self.honest_names,
                is_mined_elsewhere,
            };
            let client = self.world.node_mut(self.client).as_client_mut().expect("it is there");
            let was_full = client.host.watch.room() != Room::Open;
            client.host.watch.take(&judge)?;
            let has_room = client.host.watch.room() == Room::Open;
            if let Some(mark) = client.host.watch.mark.take() {
                self.command(Command::Acknowledge(mark));
            }
            if !was_full || !has_room || !self.world.is_up(self.client) {
                return Ok(());
            }
            // What was held off goes on.
            self.go_on();
        }
    }

    fn go_on(&mut self) {
        self.world.with(self.client, |member, now, port| {
            if let Some(client) = member.as_client_mut() {
                client.host.go_on(now, port);
            }
        });
    }

    /// How many connections the client may have.
    pub(super) fn most_connections(&self) -> usize {
        // While the application takes nothing the client goes on dialling, and is not told what came of it, until what it tells has filled
        // the queue twice.
        let stalls = self.scenario.events.iter().any(|event| matches!(event.what, What::Stall { .. }));
        let untold = if stalls { 2 * self.scenario.client.room as usize } else { 0 };
        // One to test an address, one when the tip is stale, two to ask for addresses; and as many again that are being closed.
        2 * (self.peers.len() + usize::from(self.scenario.client.discovery) + 4) + untold
    }

    /// What a node is called in what is shown.
    pub(super) fn names(&self) -> BTreeMap<NodeId, String> {
        let peer = |(number, peer): (&u8, &Peer)| {
            let kind = match peer.part.lie {
                Some(lie) => format!("liar{number} ({lie:?})"),
                None => format!("peer{number}"),
            };
            (peer.node, kind)
        };
        self.peers.iter().map(peer).chain([(self.client, "client".to_owned())]).collect()
    }

    /// Begins to explain how a peer comes to be dialled, if there is one of this number.
    pub(super) fn explaining(&self, number: u8) -> Option<Rc<RefCell<Explaining>>> {
        let part = &self.peers.get(&number)?.part;
        let given = match part.given {
            Given::Address => "it is given by its address",
            Given::Name => "it is given by a name",
            Given::No => "it is not given",
        };
        let names =
            self.peers.values().map(|peer| (address(&peer.part).ip(), format!("peer{}", peer.part.number)));
        let names = names.collect();
        Some(Explaining::new(self.client, address(part), name(number), given, names))
    }

    // Time.

    /// When something ends next.
    pub(super) fn next_due(&self) -> Option<Time> {
        self.agenda.keys().next().map(|(at, _)| *at)
    }

    /// What is due has its end.
    pub(super) fn end_due(&mut self) {
        while let Some(entry) = self.agenda.first_entry().filter(|entry| entry.key().0 <= self.world.now()) {
            let due = entry.remove();
            self.end(due);
        }
    }

    fn later(&mut self, time: u64, due: Due) {
        self.added += 1;
        self.agenda.insert((self.world.now() + Duration::from_millis(time), self.added), due);
    }

    /// Everything that goes wrong ends; liars stay. The best chain is longer than all others and every honest node has it.
    pub(super) fn end_faults(&mut self) {
        for due in core::mem::take(&mut self.agenda).into_values() {
            self.end(due);
        }
        let longest = self.peers.values().map(|peer| peer.blocks.len()).max().unwrap_or(0);
        let count = longest.saturating_sub(self.history.best().len()) as u32 + 1;
        let mut maker = self.maker("last", 0);
        let time = self.world.unix().as_secs() as u32;
        self.history.reorganise(0, count, &mut maker, time);
        for number in self.numbers() {
            self.learn(number);
        }
        self.tell_liars();
    }

    /// The best chain has one more block, of which every honest node knows.
    pub(super) fn grow(&mut self, salt: u32) {
        let mut maker = self.maker("more", salt);
        let time = self.world.unix().as_secs() as u32;
        self.history.reorganise(0, 1, &mut maker, time);
        for number in self.numbers() {
            self.learn(number);
        }
        self.tell_liars();
    }

    /// Whether some liar makes blocks of its own.
    pub(super) fn is_mined_elsewhere(&self) -> bool {
        let mines = |lie| matches!(lie, Lie::ReorganisationStorm | Lie::LowWorkFlood | Lie::Garbage);
        self.peers.values().any(|peer| peer.part.lie.is_some_and(mines))
    }

    /// Liars know what the best chain is.
    fn tell_liars(&mut self) {
        for peer in self.peers.values().filter(|peer| peer.part.lie.is_some()) {
            if self.world.is_up(peer.node) {
                let chain = self.history.chain();
                self.world.with(peer.node, |member, now, port| member.follow(now, chain, port));
            }
        }
    }

    fn end(&mut self, due: Due) {
        match due {
            Due::ClientBack => self.client_back(),
            Due::PeerBack(number) => self.peer_back(number),
            Due::Reachable(number) => {
                if let Some(node) = self.node(number) {
                    self.world.set_reach(node, Reach::Open);
                }
            }
            Due::Joined => {
                let nodes: Vec<NodeId> = self.peers.values().map(|peer| peer.node).collect();
                self.world.divide(nodes, 0);
            }
            Due::Fast(number) => {
                if let Some(peer) = self.peers.get(&number) {
                    self.world.set_bandwidth(peer.node, (peer.part.line, 0));
                }
            }
            Due::Weather => *self.world.links_mut() = links(self.scenario.links),
            Due::Clock => self.world.set_skew(self.client, 0),
            Due::Names => self.set_names(true),
            Due::Disk => {
                let pace = self.pace();
                self.watched_mut().host.store_mut().set_pace(pace);
            }
            Due::Application => {
                self.wallet_mut().is_stalled = false;
                if self.world.is_up(self.client) {
                    self.go_on();
                }
            }
            Due::Resume => self.command(Command::Resume(None)),
            Due::Given(number) => {
                if let Some(endpoint) = self.peers.get(&number).and_then(|peer| endpoint(&peer.part)) {
                    self.command(Command::AddPeer(endpoint));
                }
            }
        }
    }

    // Acting.

    /// Something happens.
    pub(super) fn happen(&mut self, what: &What) {
        match what {
            What::Blocks { depth, count, salt, tells } => {
                let mut maker = self.maker("blocks", *salt);
                let time = self.world.unix().as_secs() as u32;
                self.history.reorganise(*depth, *count, &mut maker, time);
                tells.iter().for_each(|number| self.learn(*number));
                self.tell_liars();
            }
            What::Learn { peer } => self.learn(*peer),
            What::Rival { peer, count, salt } => self.rival(*peer, *count, *salt),
            What::PeerDown { peer, how, time } => self.peer_down(*peer, *how, *time),
            What::Unreachable { peer, refuses, time } => {
                if let Some(node) = self.node(*peer) {
                    self.world.set_reach(node, if *refuses { Reach::Closed } else { Reach::Hidden });
                    self.later(*time, Due::Reachable(*peer));
                }
            }
            What::Cut { peer } => {
                if let Some(node) = self.node(*peer) {
                    self.world.cut(node, Some(self.client));
                }
            }
            What::Divide { peers, time } => self.divide(peers, *time),
            What::Slow { peer, line, time } => {
                if let Some(node) = self.node(*peer) {
                    self.world.set_bandwidth(node, ((*line).max(1), 0));
                    self.later(*time, Due::Fast(*peer));
                }
            }
            What::Weather { links: bad, time } => {
                *self.world.links_mut() = links(*bad);
                self.later(*time, Due::Weather);
            }
            What::Skew { seconds, time } => {
                self.seen.note(Sight::Skewed);
                self.world.set_skew(self.client, *seconds);
                self.later(*time, Due::Clock);
            }
            What::NoNames { time } => {
                self.set_names(false);
                self.later(*time, Due::Names);
            }
            What::SlowDisk { time } => {
                let pace =
                    Pace { least: Duration::from_millis(50), most: Duration::from_secs(2), congested: 8 };
                self.watched_mut().host.store_mut().set_pace(pace);
                self.later(*time, Due::Disk);
            }
            What::Stall { time } => {
                self.wallet_mut().is_stalled = true;
                self.later(*time, Due::Application);
            }
            What::Crash { how, time, changes } => self.crash(*how, *time, *changes),
            _ => self.ask(what),
        }
    }

    /// The application wants something.
    fn ask(&mut self, what: &What) {
        match what {
            What::Watch { script: number, from } => self.watch(*number, *from),
            What::Unwatch { script: number } => {
                let unwatched = script(*number);
                let watched = &mut self.wallet_mut().watched;
                watched.scripts.remove(&unwatched);
                let outputs: Vec<OutPoint> = watched.outputs.keys().take(1).copied().collect();
                watched.outputs.retain(|outpoint, _| !outputs.contains(outpoint));
                self.command(Command::Unwatch { scripts: vec![unwatched], outputs });
            }
            What::Rescan { from } => self.command(Command::Rescan { from: Birthday::Height(*from) }),
            What::FindSpend { height } => {
                let Some(mined) = self.history.best().get(*height as usize).filter(|_| *height > 0) else {
                    return;
                };
                let output = &mined.block.txdata[0].output[0];
                let (outpoint, script) = (OutPoint::new(mined.txids[0], 0), output.script_pubkey.clone());
                if self.world.is_up(self.client) {
                    let command = self.wallet_mut().search(outpoint, script, *height);
                    self.command(command);
                }
            }
            What::Ask { height, time } if self.world.is_up(self.client) => {
                let command = self.wallet_mut().ask_block(*height, Duration::from_millis(*time));
                self.command(command);
            }
            What::Filters { from } if self.world.is_up(self.client) => {
                let command = self.wallet_mut().ask_filters(*from, Duration::from_secs(60));
                self.command(command);
            }
            What::Pause { time } => {
                self.command(Command::Pause);
                self.later(*time, Due::Resume);
            }
            What::Metered { on } => self.command(Command::SetMetered(*on)),
            What::Forget { peer, time } => {
                if let Some(endpoint) = self.peers.get(peer).and_then(|peer| endpoint(&peer.part)) {
                    self.command(Command::RemovePeer(endpoint));
                    self.later(*time, Due::Given(*peer));
                }
            }
            _ => {}
        }
    }

    /// Gives the client a command, if it is up.
    fn command(&mut self, command: Command) {
        if self.world.is_up(self.client) {
            self.world.with(self.client, |member, now, port| member.command(now, command, port));
        }
    }

    fn watch(&mut self, number: u8, from: u32) {
        let watched = script(number);
        // What is told both ways would be told twice: scripts of odd numbers are watched as such, of even ones only their outputs.
        if number % 2 == 1 {
            let wallet = self.wallet_mut();
            let since = wallet.watched.scripts.entry(watched.clone()).or_insert(from);
            *since = from.min(*since);
            wallet.ever.0.insert(watched.clone());
            return self.command(Command::Watch { scripts: vec![watched], from: Birthday::Height(from) });
        }
        let paid = self.history.best().iter().rev().find_map(|mined| {
            let outputs = mined.block.txdata.iter().zip(&mined.txids).flat_map(|(transaction, txid)| {
                (0..).zip(&transaction.output).map(|(output, paid)| (OutPoint::new(*txid, output), paid))
            });
            outputs.into_iter().find(|(_, paid)| paid.script_pubkey == watched)
        });
        let Some((outpoint, paid)) = paid else { return };
        let amount = Some(paid.value);
        let wallet = self.wallet_mut();
        let (_, since) = wallet.watched.outputs.entry(outpoint).or_insert_with(|| (watched.clone(), from));
        *since = from.min(*since);
        wallet.ever.1.insert(outpoint);
        let outputs = vec![WatchedOutput { outpoint, script: watched, amount }];
        self.command(Command::WatchOutputs { outputs, from: Birthday::Height(from) });
    }

    fn maker(&self, label: &str, salt: u32) -> Maker {
        Maker::new(Stream::new(self.scenario.seed).fork_indexed(label, salt.into()))
    }

    fn node(&self, number: u8) -> Option<NodeId> {
        self.peers.get(&number).map(|peer| peer.node)
    }

    /// An honest node has the best chain.
    fn learn(&mut self, number: u8) {
        let Some(peer) = self.peers.get_mut(&number).filter(|peer| peer.part.lie.is_none()) else { return };
        if peer.blocks.len() >= self.history.best().len() {
            return;
        }
        let command = if peer.is_apart {
            let both = peer.blocks.iter().zip(self.history.best());
            let fork = both.take_while(|(mine, best)| mine.hash == best.hash).count() - 1;
            let new = &self.history.best()[fork + 1..];
            let blocks: Vec<Block> = new.iter().map(|mined| mined.block.clone()).collect();
            peer.chain.reorganise(fork as u32, &blocks).expect("it is longer");
            server::Command::Reorganise { fork_height: fork as u32, blocks }
        } else {
            peer.chain = self.history.chain().clone();
            server::Command::Follow(peer.chain.clone())
        };
        peer.blocks = self.history.best().to_vec();
        self.serve(number, command);
    }

    /// An honest node has blocks that nobody else has.
    fn rival(&mut self, number: u8, count: u32, salt: u32) {
        let mut maker = self.maker("rival", salt);
        let time = self.world.unix().as_secs() as u32;
        let Some(peer) = self.peers.get_mut(&number).filter(|peer| peer.part.lie.is_none()) else { return };
        let branch = self.history.branch(&peer.blocks, count, &mut maker, time);
        let new: Vec<Block> = branch[peer.blocks.len()..].iter().map(|mined| mined.block.clone()).collect();
        peer.chain.extend(&new).expect("what was made follows what was there");
        peer.blocks = branch;
        peer.is_apart = true;
        self.seen.note(Sight::Rival);
        self.serve(number, server::Command::Extend(new));
    }

    fn serve(&mut self, number: u8, command: server::Command) {
        let Some(node) = self.node(number).filter(|node| self.world.is_up(*node)) else { return };
        self.world.with(node, |member, now, port| member.serve(now, command, port));
    }

    fn peer_down(&mut self, number: u8, how: Crash, time: u64) {
        let Some(node) = self.node(number).filter(|node| self.world.is_up(*node)) else { return };
        self.seen.note(Sight::PeerDown);
        let how = if how == Crash::Power { world::Crash::Power } else { world::Crash::Process };
        self.world.crash(node, how);
        self.later(time, Due::PeerBack(number));
    }

    fn peer_back(&mut self, number: u8) {
        let Some(peer) = self.peers.get(&number).filter(|peer| !self.world.is_up(peer.node)) else { return };
        let (node, member) = (peer.node, self.member(peer));
        self.world.restart(node, member);
    }

    fn divide(&mut self, numbers: &[u8], time: u64) {
        let nodes: Vec<NodeId> = numbers.iter().filter_map(|number| self.node(*number)).collect();
        self.seen.note(if nodes.len() == self.peers.len() { Sight::Offline } else { Sight::Partition });
        self.world.divide(nodes, 1);
        self.later(time, Due::Joined);
    }

    fn crash(&mut self, how: Crash, time: u64, changes: bool) {
        if !self.world.is_up(self.client) {
            return;
        }
        if changes {
            self.seen.note(Sight::Changed);
            self.is_changed = !self.is_changed;
        }
        match how {
            Crash::Process => {
                self.seen.note(Sight::ProcessCrash);
                self.world.crash(self.client, world::Crash::Process);
            }
            Crash::Power => {
                self.seen.note(Sight::PowerCrash);
                self.world.crash(self.client, world::Crash::Power);
            }
            Crash::Stop => {
                self.seen.note(Sight::Stop);
                self.is_stopping = true;
                self.world.with(self.client, |member, now, port| {
                    if let Some(client) = member.as_client_mut() {
                        client.host.stop(now, port);
                    }
                });
            }
        }
        self.later(time, Due::ClientBack);
    }

    fn client_back(&mut self) {
        if self.world.is_up(self.client) {
            if !core::mem::take(&mut self.is_stopping) {
                return;
            }
            // It has had its time, or has ended long ago.
            self.world.crash(self.client, world::Crash::Process);
        }
        let Member::Client(old) = core::mem::replace(self.world.node_mut(self.client), Member::Nobody) else {
            unreachable!("the client's place has the client")
        };
        if old.host.store().outstanding() > 0 {
            self.seen.note(Sight::LostWrite);
        }
        self.is_stopping = false;
        let (disk, mut wallet) = old.host.into_parts();
        wallet.crash();
        let greeting = wallet.greeting(self.history.height());
        let member = self.process(disk, wallet);
        self.world.restart(self.client, member);
        // It starts before anything is said to it.
        let now = self.world.now();
        while !self.watched().has_started() {
            if self.world.step(now).is_none() {
                break;
            }
        }
        greeting.into_iter().for_each(|command| self.command(command));
    }

    fn set_names(&mut self, lead: bool) {
        for peer in self.peers.values().filter(|peer| peer.part.given == Given::Name) {
            let leads = lead.then(|| Name::of(vec![address(&peer.part)]));
            self.world.set_name(&name(peer.part.number), leads);
        }
    }
}

fn services(part: &PeerPart) -> ServiceFlags {
    let all = ServiceFlags::NETWORK | ServiceFlags::WITNESS | ServiceFlags::NETWORK_LIMITED;
    if part.filters { all | ServiceFlags::COMPACT_FILTERS } else { all }
}

fn endpoint(part: &PeerPart) -> Option<Endpoint> {
    match part.given {
        Given::Address => Some(Endpoint::Address(address(part))),
        Given::Name => Some(Endpoint::Host { name: name(part.number), port: PORT }),
        Given::No => None,
    }
}

fn links(part: LinksPart) -> Links {
    let latency = Duration::from_millis(part.latency.into());
    Links {
        latency: if part.latency == 0 { Links::internet().latency } else { Latency::Fixed(latency) },
        jitter: part.jitter,
        loss: Chance::of(part.loss.into(), 10_000),
        pieces: (part.pieces > 0).then_some(part.pieces),
        ..Links::default()
    }
}
