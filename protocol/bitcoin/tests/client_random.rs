//! Random worlds: chains grow and are reorganised, servers lag behind each other and go away, the client is killed and
//! told to watch other scripts, all from one seed. Then the faults stop, and the client must know exactly what is true.
//!
//! `ANDON_SEEDS` is how many worlds there are, `ANDON_FIRST_SEED` the first.

mod common;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use andon_bitcoin::client::{Birthday, Command, Config, Endpoint, Event, Touch, TouchKind};
use andon_bitcoin::server::{self, Chain, Server};
use andon_kernel::Rng;
use bitcoin::block::Version;
use bitcoin::{Amount, Block, Network, OutPoint, ScriptBuf, Txid};
use world::{World, address};

/// Worlds in which something went wrong once.
const KEPT: [u64; 4] = [1027, 5029, 20_146, 30_025];

/// Scripts that blocks pay; some of them are watched.
const SCRIPTS: u64 = 30;

/// Where, in which transaction, which way, and how much.
type Finding = (u32, Txid, TouchKind, Amount);

struct Scene {
    rng: Rng,
    world: World,
    /// The best chain that there is.
    best: Vec<Block>,
    /// What each server has of it, or had.
    served: Vec<Vec<Block>>,
    watched: BTreeSet<ScriptBuf>,
    blocks_made: u64,
    restarts: u32,
}

fn config(servers: usize) -> Config {
    let mut config = Config::new(Network::Regtest, [4; 32]);
    config.peers = (0..servers).map(|server| Endpoint::Address(address(server))).collect();
    config.retry_delay = Duration::from_millis(300);
    config
}

impl Scene {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new([7; 32]).fork_indexed("world", seed);
        let genesis = bitcoin::constants::genesis_block(Network::Regtest);
        let mut blocks_made = 0;
        let best = branch(&mut rng, &[genesis], 5, &mut blocks_made);
        let servers = rng.below(3) as usize + 1;
        let served = vec![best.clone(); servers];
        // The last of several may have an index that got no further.
        let lagging = (servers > 1 && rng.below(3) == 0).then(|| (servers - 1, rng.below(400) as u32));
        let machines = (0..servers).map(|server| {
            let mut config = server::Config::new(Network::Regtest, [server as u8 + 50; 32]);
            config.filter_index_height =
                lagging.filter(|(lagging, _)| *lagging == server).map(|(_, height)| height);
            Server::new(config, Chain::new(best.clone()).expect("it is a chain"))
        });
        let mut world = World::new(seed, config(servers), machines.collect());
        world.disk_delay =
            [None, Some(Duration::from_millis(5)), Some(Duration::from_millis(300))][rng.below(3) as usize];
        world.piece = [1, 100, 3000, 100_000][rng.below(4) as usize];
        Self { rng, world, best, served, watched: BTreeSet::new(), blocks_made, restarts: 0 }
    }

    fn act(&mut self) {
        match self.rng.below(16) {
            0..=3 => self.grow(),
            4 | 5 => self.reorganise(),
            6 | 7 => self.update(),
            8 => {
                let server = self.any_server();
                self.world.cut(server);
            }
            9 => self.restart(),
            10 | 11 => self.watch(),
            12 => {
                let server = self.any_server();
                if !self.world.down.remove(&server) {
                    self.world.down.insert(server);
                }
            }
            _ => {
                let pause = Duration::from_millis(self.rng.below(2500));
                self.world.run_for(pause);
            }
        }
        let pause = Duration::from_millis(self.rng.below(150));
        self.world.run_for(pause);
    }

    fn any_server(&mut self) -> usize {
        self.rng.below(self.served.len() as u64) as usize
    }

    fn grow(&mut self) {
        let count = [1, 2, 8, 9, 30, 300][self.rng.below(6) as usize];
        self.best = branch(&mut self.rng, &self.best, count, &mut self.blocks_made);
        self.update();
    }

    fn reorganise(&mut self) {
        let depth = (self.rng.below(20) as usize + 1).min(self.best.len() - 1);
        let count = depth as u32 + 1 + self.rng.below(4) as u32;
        let trunk = &self.best[..self.best.len() - depth];
        self.best = branch(&mut self.rng, trunk, count, &mut self.blocks_made);
        self.update();
    }

    /// Some server learns of the best chain.
    fn update(&mut self) {
        let server = self.any_server();
        self.bring_up_to_date(server);
    }

    fn bring_up_to_date(&mut self, server: usize) {
        let served = &self.served[server];
        let common =
            served.iter().zip(&self.best).take_while(|(left, right)| left.header == right.header).count();
        let blocks = self.best[common..].to_vec();
        if !blocks.is_empty() {
            let fork_height = common as u32 - 1;
            self.world.server_command(server, server::Command::Reorganise { fork_height, blocks });
            self.served[server] = self.best.clone();
        }
    }

    fn restart(&mut self) {
        self.restarts += 1;
        self.world.restart(config(self.served.len()));
        // As an application would, it says again what it wants.
        let scripts = self.watched.iter().cloned().collect();
        self.world.command(Command::WatchOnly { scripts, from: Birthday::Height(0) });
    }

    fn watch(&mut self) {
        let scripts: Vec<ScriptBuf> =
            (0..=self.rng.below(3)).map(|_| common::script(self.rng.below(SCRIPTS))).collect();
        if self.rng.below(4) == 0 {
            self.watched = scripts.iter().cloned().collect();
            self.world.command(Command::WatchOnly { scripts, from: Birthday::Height(0) });
        } else {
            self.watched.extend(scripts.iter().cloned());
            self.world.command(Command::Watch { scripts, from: Birthday::Height(0) });
        }
    }

    /// The faults stop, and everything must come to rest in the right place.
    fn settle(&mut self) {
        self.world.down.clear();
        if self.watched.is_empty() {
            self.watch();
        }
        for server in 0..self.served.len() {
            self.bring_up_to_date(server);
        }
        let tip = self.best.last().expect("a chain is not empty").block_hash();
        self.world.run_until("the last sync", |world| {
            world.client.events.iter().rev().find_map(|event| match event {
                Event::Synced(block) => Some(block.hash == tip),
                Event::Rescan { .. } | Event::Reorganised { .. } => Some(false),
                _ => None,
            }) == Some(true)
        });
        self.world.run_for(Duration::from_secs(200));
        assert_eq!(view(&self.world.client.events), self.truth());
        for event in &self.world.client.events {
            if let Event::PeerDisconnected { reason, .. } = event {
                assert!(
                    !matches!(reason, andon_bitcoin::client::Reason::Misbehaved(_)),
                    "{reason} of an honest peer"
                );
            }
        }
    }

    /// What the best chain has to do with the watched scripts.
    fn truth(&self) -> BTreeSet<Finding> {
        let mut outputs = BTreeMap::new();
        let mut truth = BTreeSet::new();
        for (height, block) in (0..).zip(&self.best) {
            for transaction in &block.txdata {
                let txid = transaction.compute_txid();
                for (input, spent) in (0..).zip(&transaction.input) {
                    if let Some(amount) = outputs.remove(&spent.previous_output) {
                        let kind = TouchKind::Spent { input, outpoint: spent.previous_output };
                        truth.insert((height, txid, kind, amount));
                    }
                }
                for (output, paid) in (0..).zip(&transaction.output) {
                    if self.watched.contains(&paid.script_pubkey) {
                        outputs.insert(OutPoint { txid, vout: output }, paid.value);
                        truth.insert((height, txid, TouchKind::Received { output }, paid.value));
                    }
                }
            }
        }
        truth
    }
}

/// What an application that believes every event holds at the end. Nothing is told twice, nothing taken back that had
/// not been told.
fn view(events: &[Event]) -> BTreeSet<Finding> {
    let mut view: BTreeSet<Finding> = BTreeSet::new();
    let key = |touch: &Touch| (touch.block.height, touch.txid, touch.kind, touch.amount);
    for event in events {
        match event {
            Event::Started { .. } => view.clear(),
            Event::Touched(touch) => assert!(view.insert(key(touch)), "told twice: {touch:?}"),
            Event::TakenBack(touch) => {
                assert!(view.remove(&key(touch)), "taken back and never told: {touch:?}");
            }
            Event::Rescan { from } => view.retain(|finding| finding.0 < *from),
            _ => {}
        }
    }
    view
}

/// `trunk` with `count` blocks after it. Each pays some script, and some spend what an earlier one paid.
fn branch(rng: &mut Rng, trunk: &[Block], count: u32, made: &mut u64) -> Vec<Block> {
    let mut chain = trunk.to_vec();
    for _ in 0..count {
        *made += 1;
        let parent = chain.last().expect("a chain is not empty").header;
        let mut transactions = vec![common::coinbase(*made, common::script(rng.below(SCRIPTS)))];
        // The coinbase of a block that nothing has spent from yet: each is spent in the tenth block after it at most.
        if let Some(earlier) = chain.len().checked_sub(10).filter(|&height| height > 0 && rng.below(2) == 0) {
            let outpoint = OutPoint { txid: chain[earlier].txdata[0].compute_txid(), vout: 0 };
            transactions.push(common::spend(outpoint, common::script(rng.below(SCRIPTS))));
        }
        let mut block = common::block(parent.block_hash(), parent.time + 60, transactions);
        block.header.version = Version::from_consensus(0x2000_0000);
        while block.header.validate_pow(block.header.target()).is_err() {
            block.header.nonce += 1;
        }
        chain.push(block);
    }
    chain
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn what_is_true_is_known_in_the_end() {
    let first = number("ANDON_FIRST_SEED", 0);
    let (mut restarts, mut findings) = (0, 0);
    let seeds = first..first + number("ANDON_SEEDS", 20);
    for seed in seeds.chain(if first == 0 { KEPT.as_slice() } else { &[] }.iter().copied()) {
        let run = catch_unwind(AssertUnwindSafe(|| {
            let mut scene = Scene::new(seed);
            for _ in 0..40 {
                scene.act();
            }
            scene.settle();
            (scene.restarts, scene.truth().len())
        }));
        match run {
            Ok((killed, found)) => {
                restarts += killed;
                findings += found;
            }
            Err(_) => panic!("run it again by ANDON_FIRST_SEED={seed} ANDON_SEEDS=1"),
        }
    }
    println!("{restarts} restarts, {findings} findings");
    assert!(findings > 0);
}
