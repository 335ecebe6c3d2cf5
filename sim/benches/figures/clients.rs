//! Worlds of real clients and servers.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use andon_bitcoin::client::{Birthday, Client, Command, Config, Encryption, Endpoint, Event};
use andon_bitcoin::fixture::{FixtureBlock, regtest};
use andon_bitcoin::server::{self, Chain};
use andon_kernel::recording::Recorded;
use andon_kernel::{Instant, MemoryStore, Now, UnixTime};
use andon_sim::nodes::{LazyServer, Origin};
use andon_sim::random::Stream;
use andon_sim::world::{Host, INTERNET, Links, Node, NodeId, NodeInput, Place, Port, Watch, World};
use bitcoin::block::Header;
use bitcoin::hashes::Hash;
use bitcoin::transaction::Version;
use bitcoin::{
    Amount, Block, Network, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxMerkleNode, TxOut, Witness,
    absolute,
};

use crate::measure::{Wanted, figure, median, seconds};

pub(crate) const BEGINS: UnixTime = UnixTime::from_secs(1_800_000_000);
const SPACING: Duration = Duration::from_secs(600);

#[derive(Default)]
pub(crate) struct Tally {
    /// The height of the tip that it was last synced to.
    pub(crate) synced: u32,
    pub(crate) peers: u32,
}

impl Watch<Event> for Tally {
    fn event(&mut self, _: Now, event: Event) {
        match event {
            Event::Synced(block) => self.synced = block.height,
            Event::PeerConnected { .. } => self.peers += 1,
            _ => {}
        }
    }
}

pub(crate) type Plain = Host<Client, MemoryStore, Tally>;
pub(crate) type Taped = Host<Recorded<Client, Vec<u8>>, MemoryStore, Tally>;

pub(crate) enum Member {
    Server(LazyServer<()>),
    Client(Box<Plain>),
    Taped(Box<Taped>),
}

impl Node for Member {
    fn turn(&mut self, now: Now, input: NodeInput<'_>, port: &mut Port<'_>) {
        match self {
            Self::Server(node) => node.turn(now, input, port),
            Self::Client(node) => node.turn(now, input, port),
            Self::Taped(node) => node.turn(now, input, port),
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Server(node) => node.deadline(),
            Self::Client(node) => node.deadline(),
            Self::Taped(node) => node.deadline(),
        }
    }

    fn reads(&self) -> bool {
        match self {
            Self::Server(node) => node.reads(),
            Self::Client(node) => node.reads(),
            Self::Taped(node) => node.reads(),
        }
    }
}

impl Member {
    pub(crate) fn tally(&self) -> Option<&Tally> {
        match self {
            Self::Server(_) => None,
            Self::Client(host) => Some(&host.watch),
            Self::Taped(host) => Some(&host.watch),
        }
    }

    fn command(&mut self, now: Now, command: Command, port: &mut Port<'_>) {
        match self {
            Self::Server(_) => panic!("a server is no client"),
            Self::Client(host) => host.command(now, command, port),
            Self::Taped(host) => host.command(now, command, port),
        }
    }
}

pub(crate) fn address(node: u32) -> SocketAddr {
    // Of the public network, each of another group as far as there are groups.
    let [_, a, b, c] = node.to_be_bytes();
    SocketAddr::from(([23 + c % 64, c, b, a.wrapping_add(1)], 18_444))
}

pub(crate) fn chain() -> Chain {
    Chain::new(regtest().chain.iter().take(280).map(FixtureBlock::block)).unwrap()
}

pub(crate) fn add_servers(world: &mut World<Member>, stream: &mut Stream, origin: &Rc<Origin>, count: u32) {
    for node in 0..count {
        let region = INTERNET.pick(stream.u64());
        let server = LazyServer::new(origin, node.into());
        world.add(Place { region, ..Place::at(address(node)) }, Member::Server(server));
    }
}

pub(crate) fn watch(world: &mut World<Member>, id: NodeId) {
    let scripts = regtest().watch_scripts.iter().map(|script| (*script).into()).collect();
    world.with(id, |member, now, port| {
        member.command(now, Command::Watch { scripts, from: Birthday::Height(0) }, port);
    });
}

/// Clients and servers, and the chain that they follow.
pub(crate) struct Real {
    pub(crate) world: World<Member>,
    origin: Rc<Origin>,
    servers: u32,
    tip: Header,
    height: u32,
}

impl Real {
    /// So many nodes, a twelfth of them servers, four at least.
    pub(crate) fn new(seed: u64, nodes: u32, recorded: bool) -> Self {
        let mut stream = Stream::new(seed);
        let chain = chain();
        let (tip, height) = (regtest().chain[chain.height() as usize].block().header, chain.height());
        let origin = Origin::new(server::Config::new(Network::Regtest, [0; 32]), chain);
        let mut world = World::new(seed, BEGINS, Links::internet());
        let servers = nodes.div_ceil(12).max(4);
        add_servers(&mut world, &mut stream, &origin, servers);
        for node in servers..nodes {
            let mut peers: Vec<u32> = (0..servers).collect();
            stream.shuffle(&mut peers);
            let mut config = Config::new(Network::Regtest, stream.seed());
            config.discovery = None;
            config.encryption = Encryption::Off;
            config.peers = peers.into_iter().take(4).map(|peer| Endpoint::Address(address(peer))).collect();
            let (store, tally) = (MemoryStore::new(), Tally::default());
            let member = if recorded {
                Member::Taped(Box::new(Host::new(Recorded::new(config, Vec::new()), store, tally)))
            } else {
                Member::Client(Box::new(Host::new(Client::new(config), store, tally)))
            };
            let region = INTERNET.pick(stream.u64());
            let id = world.add(Place { region, ..Place::at(address(node)) }, member);
            let now = world.now();
            world.run_until(now);
            watch(&mut world, id);
        }
        Self { world, origin, servers, tip, height }
    }

    /// Ten minutes, after which all are synced.
    pub(crate) fn sync(&mut self) {
        self.world.run_for(SPACING);
        self.check();
    }

    /// So many blocks, ten minutes each, with what follows the last.
    pub(crate) fn follow(&mut self, blocks: u32) {
        for _ in 0..blocks {
            self.mine();
            self.world.run_for(SPACING);
        }
        self.check();
    }

    fn check(&self) {
        let clients = self.world.nodes().filter_map(|(_, member)| member.tally());
        let late = clients.filter(|tally| tally.synced < self.height).count();
        assert!(late * 100 <= self.world.len(), "{late} of {} are not at the tip", self.world.len());
    }

    /// One more block, which all servers announce.
    fn mine(&mut self) {
        self.height += 1;
        let coinbase = Transaction {
            version: Version::TWO,
            lock_time: absolute::LockTime::ZERO,
            input: vec![TxIn {
                previous_output: OutPoint::null(),
                script_sig: ScriptBuf::from_bytes([&[4][..], &self.height.to_le_bytes()].concat()),
                sequence: Sequence::MAX,
                witness: Witness::new(),
            }],
            output: vec![TxOut {
                value: Amount::from_sat(625),
                script_pubkey: ScriptBuf::from_bytes(vec![0x51; 30]),
            }],
        };
        let mut header = Header {
            prev_blockhash: self.tip.block_hash(),
            merkle_root: TxMerkleNode::from_byte_array(coinbase.compute_txid().to_byte_array()),
            time: self.world.unix().as_secs() as u32,
            nonce: 0,
            ..self.tip
        };
        while header.validate_pow(header.target()).is_err() {
            header.nonce += 1;
        }
        self.tip = header;
        let mut chain = self.origin.chain();
        chain.extend(&[Block { header, txdata: vec![coinbase] }]).unwrap();
        self.origin.set_chain(chain);
        for server in 0..self.servers {
            self.world.with(NodeId(server), |member, now, port| {
                let Member::Server(server) = member else { panic!("it is a server") };
                server.follow(now, port);
            });
        }
    }

    /// Events in a second while something is done.
    pub(crate) fn rate(&mut self, act: impl FnOnce(&mut Self)) -> f64 {
        let before = self.world.counts().events;
        let seconds = seconds(|| act(self));
        (self.world.counts().events - before) as f64 / seconds
    }
}

pub(crate) fn run() {
    let mut following = Vec::new();
    for (nodes, blocks, runs, other) in
        [(100, 300, 5, Some(1586.0)), (1000, 30, 5, None), (10_000, 6, 3, None)]
    {
        let (mut syncing, mut digest) = (Vec::new(), 0);
        let rate = median(runs, |seed| {
            let mut real = Real::new(seed, nodes, false);
            syncing.push(real.rate(Real::sync));
            let rate = real.rate(|real| real.follow(blocks));
            digest ^= real.world.digest();
            rate
        });
        let wanted = if nodes == 1000 { Wanted::Nothing } else { Wanted::AtLeast(5e5) };
        figure(&format!("{nodes} real nodes, following"), rate, "events/s", wanted, other);
        let syncing = median(runs, |run| syncing[run as usize]);
        figure(&format!("{nodes} real nodes, syncing"), syncing, "events/s", Wanted::Nothing, None);
        println!("  the digests of these runs together are {digest:016x}");
        following.push(rate);
    }
    let slower = following[0] / following[2];
    figure("how much slower 10,000 are than 100", slower, "times", Wanted::AtMost(2.0), None);
}
